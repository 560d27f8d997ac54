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

#include "model/activate.h"
#include "model/forward.h"

/* Weights that sum to less are not brought to 1: 2^-14, as other engines have it. */
#define WEIGHT_SUM_MIN 6.103515625e-5F

/* ---- the choice ---- */

/* What one row's experts are chosen by. */
struct choice {
    const float *score, *bias; /* [count]; bias may be NULL */
    uint32_t count, group_size;
    bool is_closed[MODEL_EXPERTS_MAX]; /* group */
    const uint32_t *chosen;
    size_t taken;
};

static bool may_take(const struct choice *c, uint32_t expert)
{
    if (c->is_closed[expert / c->group_size]) {
        return false;
    }
    for (size_t i = 0; i < c->taken; i++) {
        if (c->chosen[i] == expert) {
            return false;
        }
    }
    return true;
}

static float score_of(const struct choice *c, uint32_t expert)
{
    return c->bias ? c->score[expert] + c->bias[expert] : c->score[expert];
}

/* The best that may be taken; of equals the first. Scores may be NaN: still one is found. */
static uint32_t best_of(const struct choice *c)
{
    uint32_t best = UINT32_MAX;
    float highest = 0;
    for (uint32_t e = 0; e < c->count; e++) {
        float s = score_of(c, e);
        if ((best == UINT32_MAX || s > highest) && may_take(c, e)) {
            best = e;
            highest = s;
        }
    }
    return best;
}

/* A group is as good as its two best experts together. */
static float group_score(const struct choice *c, uint32_t group)
{
    float first = -INFINITY, second = -INFINITY;
    for (uint32_t e = group * c->group_size; e < (group + 1) * c->group_size; e++) {
        float s = score_of(c, e);
        if (s > first) {
            second = first;
            first = s;
        } else if (s > second) {
            second = s;
        }
    }
    return first + second;
}

/* Closes all groups but the `used` best; of equals the first. */
static void close_groups(struct choice *c, uint32_t groups, uint32_t used)
{
    float score[MODEL_EXPERTS_MAX];
    for (uint32_t g = 0; g < groups; g++) {
        score[g] = group_score(c, g);
        c->is_closed[g] = true;
    }
    for (uint32_t i = 0; i < used; i++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t g = 0; g < groups; g++) {
            if (c->is_closed[g] && (best == UINT32_MAX || score[g] > score[best])) {
                best = g;
            }
        }
        c->is_closed[best] = false;
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

/* The weights of the chosen ones. p: probabilities, or scores that are not yet. */
static void weigh(const struct forward *f, float *p, bool is_ready, const uint32_t *chosen,
                  float *weights)
{
    const struct hparams *h = &f->m->h;
    float sum = 0, all = 1;
    if (!is_ready && h->router == ROUTER_SOFTMAX) {
        all = f->k->exp_sum(p, p[chosen[0]], h->expert_count);
    }
    for (size_t i = 0; i < h->expert_used; i++) {
        weights[i] = p[chosen[i]];
    }
    if (h->router == ROUTER_LATE) {
        model_sigmoid(f->k, weights, h->expert_used);
    }
    for (size_t i = 0; i < h->expert_used; i++) {
        sum += weights[i];
    }
    sum = sum > WEIGHT_SUM_MIN ? sum : WEIGHT_SUM_MIN;
    for (size_t i = 0; i < h->expert_used; i++) {
        weights[i] *= (float)h->expert_scale / (h->has_plain_weights ? all : sum);
        weights[i] *= f->layer->expert_scales ? f->layer->expert_scales[chosen[i]] : 1;
    }
}

/* Softmax does not change the order, so it waits where nothing but the order is looked at. */
static void route_row(struct forward *f, size_t row)
{
    const struct hparams *h = &f->m->h;
    float *p = f->s->route + row * h->expert_count;
    uint32_t *chosen = f->s->chosen + row * h->expert_used;
    const float *bias = f->layer->router_bias;
    bool is_ready = h->router == ROUTER_LOGISTIC || bias || h->expert_groups != 0;
    struct choice c = {.score = p,
                       .bias = bias,
                       .count = h->expert_count,
                       .group_size = h->expert_count,
                       .chosen = chosen};

    if (h->router == ROUTER_LOGISTIC) {
        model_sigmoid(f->k, p, h->expert_count);
    } else if (h->router == ROUTER_SOFTMAX && is_ready) {
        softmax(f->k, p, h->expert_count);
    }
    if (h->expert_groups != 0) {
        c.group_size = h->expert_count / h->expert_groups;
        close_groups(&c, h->expert_groups, h->expert_groups_used);
    }
    for (; c.taken < h->expert_used; c.taken++) {
        chosen[c.taken] = best_of(&c);
    }
    weigh(f, p, is_ready, chosen, f->s->weights + row * h->expert_used);
}

/* ---- one expert ---- */

/* down(act(gate x) * up x) of f->row_count rows. */
static void run_expert(struct forward *f, const struct expert *e, const float *x, float *y)
{
    const struct product inner[] = {model_product(&e->up, f->s->up, e->up_bias),
                                    model_product(&e->gate, f->s->gate, e->gate_bias)};
    f->ffn_dim = e->up.rows;
    model_multiply(f, x, e->up.cols, inner, e->gate.rows != 0 ? 2 : 1);
    model_each_row(f, model_activate_row, e->up.rows * 2);
    const struct product outer = model_product(&e->down, y, e->down_bias);
    model_multiply(f, f->s->gate, e->down.cols, &outer, 1);
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

/* y += weight * x */
static void add_scaled(float *y, const float *x, float weight, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] += weight * x[i];
    }
}

static void take_expert(struct forward *f, uint32_t number)
{
    const struct expert *expert = &f->layer->experts[number];
    struct scratch *s = f->s;
    bool is_early = f->m->h.router == ROUTER_LATE; /* the weight multiplies the input */
    size_t dim = f->m->h.embed_dim, count = 0;
    const float *x = model_ffn_input(f);
    struct forward part = *f;
    float weight;

    for (size_t row = 0; row < f->row_count; row++) {
        if (weight_of(f, row, number, &weight)) {
            float *in = s->expert_in + count++ * dim;
            for (size_t i = 0; i < dim; i++) {
                in[i] = is_early ? weight * x[row * dim + i] : x[row * dim + i];
            }
        }
    }
    if (count == 0) {
        return;
    }
    part.row_count = count;
    run_expert(&part, expert, s->expert_in, s->expert_out);
    count = 0;
    for (size_t row = 0; row < f->row_count; row++) {
        if (weight_of(f, row, number, &weight)) {
            add_scaled(s->expert_sum + row * dim, s->expert_out + count++ * dim,
                       is_early ? 1 : weight, dim);
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

/* What the router reads where that is not what experts read. */
static void scale_router_row(struct forward *f, size_t row)
{
    size_t dim = f->m->h.embed_dim;
    float *x = f->s->expert_in + row * dim, factor = (float)(1 / sqrt((double)dim));
    f->k->rms_norm(f->s->x + row * dim, f->layer->router_scale, f->m->h.norm_eps, x, dim);
    for (size_t i = 0; i < dim; i++) {
        x[i] *= factor;
    }
}

void model_run_experts(struct forward *f)
{
    const struct layer *layer = f->layer;
    struct scratch *s = f->s;
    size_t dim = f->m->h.embed_dim, bytes = f->row_count * dim * sizeof(float);
    const float *x = model_ffn_input(f);

    const struct product scores = model_product(&layer->router, s->route, layer->score_bias);
    if (layer->router_scale) {
        model_each_row(f, scale_router_row, dim * 3);
    }
    model_multiply(f, layer->router_scale ? s->expert_in : x, dim, &scores, 1);
    model_each_row(f, route_row, (size_t)f->m->h.expert_count * f->m->h.expert_used);
    if (layer->up.rows != 0 && !f->m->h.traits->has_twin_ffn) {
        const struct expert shared = {.gate = layer->gate, .up = layer->up, .down = layer->down};
        run_expert(f, &shared, x, s->expert_sum);
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
