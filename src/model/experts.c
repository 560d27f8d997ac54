/* Mixture of experts: every row goes through the few experts its router scores best, and the
 * results are summed with their weights.
 *
 *     scores = W_router x        p = softmax(scores)        chosen = the `used` largest
 *     y = scale * sum of w_e * down_e(act(gate_e x) * up_e x)      w = p, or p / (sum of chosen p)
 *
 * Some routers use the logistic function instead of softmax, and add a bias to p to choose by, not
 * to weigh by (DeepSeek-AI 2024).
 *
 * Rows are grouped by expert: those that chose expert 0 are gathered side by side and go through
 * its matrices as one batch, then those of expert 1, and so on, so that an expert's weights are
 * read once for all rows of a call. Each row adds its results in the order of the experts' numbers,
 * not of the rows around it, and a product does not depend on how many rows share it: so neither
 * does the sum. */
#include <math.h>
#include <string.h>

#include "model/forward.h"

/* ---- the choice ---- */

static bool is_chosen(const uint32_t *chosen, size_t count, uint32_t expert)
{
    for (size_t i = 0; i < count; i++) {
        if (chosen[i] == expert) {
            return true;
        }
    }
    return false;
}

/* The best that is not chosen yet; of equals the first. Scores may be NaN: still one is found. */
static uint32_t best_of(const float *score, const float *bias, uint32_t count,
                        const uint32_t *chosen, size_t taken)
{
    uint32_t best = UINT32_MAX;
    float highest = 0;
    for (uint32_t e = 0; e < count; e++) {
        float s = bias ? score[e] + bias[e] : score[e];
        if ((best == UINT32_MAX || s > highest) && !is_chosen(chosen, taken, e)) {
            best = e;
            highest = s;
        }
    }
    return best;
}

/* 1 / (1 + exp(-x)) of each score. */
static void logistic(const struct kernels *k, float *score, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        score[i] = -score[i];
    }
    k->exp_sum(score, 0, count);
    for (size_t i = 0; i < count; i++) {
        score[i] = 1 / (1 + score[i]);
    }
}

static void softmax(const struct kernels *k, float *score, size_t count)
{
    float max = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        max = score[i] > max ? score[i] : max;
    }
    float inverse = 1 / k->exp_sum(score, max, count);
    for (size_t i = 0; i < count; i++) {
        score[i] *= inverse;
    }
}

/* Probabilities are needed as such only where a bias or the logistic function changes the choice.
 */
static void route_row(struct forward *f, size_t row)
{
    const struct hparams *h = &f->m->h;
    float *p = f->s->route + row * h->expert_count, *weights = f->s->weights + row * h->expert_used;
    uint32_t *chosen = f->s->chosen + row * h->expert_used;
    const float *bias = f->layer->router_bias;
    float sum = 0, all = 1;

    if (h->has_sigmoid) {
        logistic(f->k, p, h->expert_count);
    } else if (bias) {
        softmax(f->k, p, h->expert_count);
    }
    for (size_t i = 0; i < h->expert_used; i++) {
        chosen[i] = best_of(p, bias, h->expert_count, chosen, i);
    }
    if (!h->has_sigmoid && !bias) {
        all = f->k->exp_sum(p, p[chosen[0]], h->expert_count);
    }
    for (size_t i = 0; i < h->expert_used; i++) {
        weights[i] = p[chosen[i]];
        sum += weights[i];
    }
    for (size_t i = 0; i < h->expert_used; i++) {
        weights[i] *= (float)h->expert_scale / (h->has_plain_weights ? all : sum);
    }
}

/* ---- one expert ---- */

/* down(act(gate x) * up x) of f->row_count rows. */
static void run_expert(struct forward *f, const struct matrix *gate, const struct matrix *up,
                       const struct matrix *down, const float *x, float *y)
{
    const struct product inner[] = {model_product(up, f->s->up, NULL),
                                    model_product(gate, f->s->gate, NULL)};
    f->ffn_dim = up->rows;
    model_multiply(f, x, up->cols, inner, gate->rows != 0 ? 2 : 1);
    model_each_row(f, model_activate_row, up->rows * 2);
    const struct product outer = model_product(down, y, NULL);
    model_multiply(f, f->s->gate, down->cols, &outer, 1);
}

/* The weight a row gives an expert; false when it did not choose it. */
static bool weight_of(const struct forward *f, size_t row, uint32_t expert, float *weight)
{
    size_t used = f->m->h.expert_used;
    for (size_t i = row * used; i < (row + 1) * used; i++) {
        if (f->s->chosen[i] == expert) {
            *weight = f->s->weights[i];
            return true;
        }
    }
    return false;
}

static void take_expert(struct forward *f, uint32_t number)
{
    const struct expert *expert = &f->layer->experts[number];
    struct scratch *s = f->s;
    size_t dim = f->m->h.embed_dim, count = 0;
    const float *x = model_ffn_input(f);
    struct forward part = *f;
    float weight;

    for (size_t row = 0; row < f->row_count; row++) {
        if (weight_of(f, row, number, &weight)) {
            memcpy(s->expert_in + count++ * dim, x + row * dim, dim * sizeof(float));
        }
    }
    if (count == 0) {
        return;
    }
    part.row_count = count;
    run_expert(&part, &expert->gate, &expert->up, &expert->down, s->expert_in, s->expert_out);
    count = 0;
    for (size_t row = 0; row < f->row_count; row++) {
        if (weight_of(f, row, number, &weight)) {
            float *sum = s->expert_sum + row * dim;
            const float *out = s->expert_out + count++ * dim;
            for (size_t i = 0; i < dim; i++) {
                sum[i] += weight * out[i];
            }
        }
    }
}

/* The gate of the shared expert. */
static void share_row(struct forward *f, size_t row)
{
    size_t dim = f->m->h.embed_dim;
    const float *x = model_ffn_input(f) + row * dim, *w = f->layer->shared_gate;
    float *sum = f->s->expert_sum + row * dim;
    double score = 0;
    for (size_t i = 0; i < dim; i++) {
        score += (double)x[i] * (double)w[i];
    }
    float gate = (float)(1 / (1 + exp(-score)));
    for (size_t i = 0; i < dim; i++) {
        sum[i] *= gate;
    }
}

void model_run_experts(struct forward *f)
{
    const struct layer *layer = f->layer;
    struct scratch *s = f->s;
    size_t dim = f->m->h.embed_dim, bytes = f->row_count * dim * sizeof(float);
    const float *x = model_ffn_input(f);

    const struct product scores = model_product(&layer->router, s->route, NULL);
    model_multiply(f, x, dim, &scores, 1);
    model_each_row(f, route_row, (size_t)f->m->h.expert_count * f->m->h.expert_used);
    if (layer->up.rows != 0) {
        run_expert(f, &layer->gate, &layer->up, &layer->down, x, s->expert_sum);
    } else {
        memset(s->expert_sum, 0, bytes);
    }
    if (layer->shared_gate) {
        model_each_row(f, share_row, dim * 2);
    }
    for (uint32_t e = 0; e < f->m->h.expert_count; e++) {
        take_expert(f, e);
    }
    memcpy(s->norm, s->expert_sum, bytes);
}
