/* The gated delta net (Yang et al. 2024) as Qwen3-Next and Qwen3.5 have it. A head remembers a
 * matrix S [key_dim][value_dim]; a position forgets a part of it, and corrects what S says about
 * its key towards its value:
 *
 *     q, k, v = silu(conv(W_in n))       q, k of length 1       q / sqrt(key_dim)
 *     S = decay S          S += k (beta (v - S^T k))^T          o = S^T q
 *     decay = exp(a softplus(alpha + step bias))                beta = sigmoid(W_beta n)
 *     out = W_out (rms_norm(o) * silu(W_gate n))
 *
 * Inner loops run along the values, so that vector instructions leave each sum the order of the
 * keys, on every instruction set. */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "model/activate.h"
#include "model/recurrent.h"

/* ---- inputs ---- */

/* [group][q | k | values | gates of its heads] to all q, all k, all values; and the gates. */
static void sort_row(struct forward *f, size_t row)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    size_t keys = rec->key_dim, values = rec->inner / rec->groups, all = rec->groups * keys;
    const float *from = f->s->aux[1] + row * (rec->channels + (size_t)rec->inner);
    float *to = f->s->aux[0] + row * rec->channels, *gate = f->s->aux[2] + row * rec->inner;
    for (size_t g = 0; g < rec->groups; g++) {
        memcpy(to + g * keys, from, keys * sizeof(float));
        memcpy(to + all + g * keys, from + keys, keys * sizeof(float));
        memcpy(to + 2 * all + g * values, from + 2 * keys, values * sizeof(float));
        memcpy(gate + g * values, from + 2 * keys + values, values * sizeof(float));
        from += 2 * (keys + values);
    }
}

static bool is_paired(const struct forward *f)
{
    return f->layer->mix_rates.rows != f->m->h.recurrence.heads;
}

/* q, k and v, the gate of the output, beta and alpha: as one job where the file has them apart. */
static void take_inputs(struct forward *f)
{
    const struct layer *layer = f->layer;
    const struct recurrence *rec = &f->m->h.recurrence;
    struct scratch *s = f->s;
    bool is_joint = layer->mix_gate.rows == 0;
    struct product products[4];
    size_t count = 0;

    products[count++] = model_product(&layer->mix_in, is_joint ? s->aux[1] : s->aux[0], NULL);
    if (!is_joint) {
        products[count++] = model_product(&layer->mix_gate, s->aux[2], NULL);
    }
    products[count] = model_product(&layer->mix_rates, s->aux[3], NULL);
    products[count++].y_stride = 2 * (size_t)rec->heads;
    if (!is_paired(f)) {
        products[count] = model_product(&layer->mix_decay, s->aux[3] + rec->heads, NULL);
        products[count++].y_stride = 2 * (size_t)rec->heads;
    }
    model_multiply(f, model_block_input(f), f->m->h.embed_dim, products, count);
    if (is_joint) {
        model_each_row(f, sort_row, rec->channels);
    }
}

/* ---- a row ---- */

static void scale_to(float *x, size_t n, float length, float eps)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    float factor = length / fmaxf((float)sqrt(sum), eps);
    for (size_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

/* Where beta of a head stands among the 2 * heads rates; alpha is `apart` behind it. */
static size_t rate_at(const struct forward *f, size_t head, size_t *apart)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    size_t each = rec->heads / rec->groups;
    *apart = is_paired(f) ? each : rec->heads;
    return is_paired(f) ? head / each * 2 * each + head % each : head;
}

/* Queries and keys get their length, the rates become beta and decay. */
static void prepare_row(struct forward *f, size_t row)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    float *q = f->s->aux[1] + row * rec->channels, *k = q + rec->groups * rec->key_dim;
    float *rates = f->s->aux[3] + row * 2 * rec->heads;
    for (size_t g = 0; g < rec->groups; g++) {
        scale_to(q + g * rec->key_dim, rec->key_dim, 1 / sqrtf((float)rec->key_dim),
                 f->m->h.norm_eps);
        scale_to(k + g * rec->key_dim, rec->key_dim, 1, f->m->h.norm_eps);
    }
    for (size_t h = 0; h < rec->heads; h++) {
        size_t apart, at = rate_at(f, h, &apart);
        float step = model_softplus(rates[at + apart] + f->layer->step_bias[h]);
        rates[at] = 1 / (1 + expf(-rates[at]));
        rates[at + apart] = expf(f->layer->decay[h] * step);
    }
}

/* Where beta and decay of a head's position, its q, k, v and o stand. */
struct position {
    const float *q, *k;
    float *v, *out; /* v becomes its correction */
    float beta, decay;
};

/* S^T k and S^T q, side by side: the kernel that mixes values does both while it reads S once. */
static void read_memory(const struct kernels *kernels, const float *memory, size_t keys,
                        size_t values, const struct position *p, float *both)
{
    float weights[2 * KV_PAGE_TOKENS];
    memset(both, 0, 2 * values * sizeof *both);
    for (size_t i = 0; i < keys; i += KV_PAGE_TOKENS) {
        size_t count = size_min(keys - i, KV_PAGE_TOKENS);
        memcpy(weights, p->k + i, count * sizeof *weights);
        memcpy(weights + KV_PAGE_TOKENS, p->q + i, count * sizeof *weights);
        kernels->attn_mix[KV_F32](weights, 2, memory + i * values, values, 0, count, both, values);
    }
}

/* One position: the memory is read as it was, so o = decay S^T q + (k q) correction. */
static void step(const struct kernels *kernels, float *memory, size_t keys, size_t values,
                 const struct position *p, float *both)
{
    float agreement = 0;
    read_memory(kernels, memory, keys, values, p, both);
    for (size_t i = 0; i < keys; i++) {
        agreement += p->k[i] * p->q[i];
    }
    for (size_t j = 0; j < values; j++) {
        p->v[j] = p->beta * (p->v[j] - p->decay * both[j]);
        p->out[j] = p->decay * both[values + j] + agreement * p->v[j];
    }
    for (size_t i = 0; i < keys; i++) {
        float *row = memory + i * values, key = p->k[i];
        for (size_t j = 0; j < values; j++) {
            row[j] = p->decay * row[j] + key * p->v[j];
        }
    }
}

static void run_head(struct forward *f, size_t first, size_t end, size_t head, float *memory)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    size_t keys = rec->key_dim, values = rec->value_dim, all = rec->groups * keys, apart;
    size_t group =
        f->m->h.traits->has_tiled_groups ? head % rec->groups : head / (rec->heads / rec->groups);
    float *free = f->s->aux[1] + f->row_count * rec->channels; /* [rows][heads][2][values] */
    for (size_t row = first; row < end; row++) {
        size_t at = rate_at(f, head, &apart);
        float *x = f->s->aux[1] + row * rec->channels;
        const float *rates = f->s->aux[3] + row * 2 * rec->heads;
        const struct position position = {
            .q = x + group * keys,
            .k = x + all + group * keys,
            .v = x + 2 * all + head * values,
            .out = f->s->attn + row * rec->inner + head * values,
            .beta = rates[at],
            .decay = rates[at + apart],
        };
        step(f->k, memory, keys, values, &position, free + (row * rec->heads + head) * 2 * values);
    }
}

static void gate_row(struct forward *f, size_t row)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    float *x = f->s->attn + row * rec->inner, *gate = f->s->aux[2] + row * rec->inner;
    for (size_t h = 0; h < rec->heads; h++) {
        float *head = x + h * rec->value_dim;
        f->k->rms_norm(head, f->layer->mix_norm, f->m->h.norm_eps, head, rec->value_dim);
    }
    f->k->silu_mul(gate, x, x, rec->inner);
}

void model_run_delta_net(struct forward *f)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    struct scratch *s = f->s;
    const struct convolution convolution = {
        .x = s->aux[0], .stride = rec->channels, .y = s->aux[1], .has_silu = true};
    const struct row_buffer kept[] = {{s->attn, rec->inner}, {s->aux[2], rec->inner}};

    model_states_begin(f);
    take_inputs(f);
    model_convolve(f, &convolution);
    model_each_row(f, prepare_row, rec->channels + 32 * (size_t)rec->heads);
    model_each_head(f, run_head);
    model_keep_wanted(f, kept, 2);
    model_each_row(f, gate_row, 6 * (size_t)rec->inner);
    model_mix_heads(f);
}
