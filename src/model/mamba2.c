/* Mamba 2 (Dao and Gu 2024). A head remembers a matrix S [key_dim][value_dim]:
 *
 *     z, xBC, t = W_in n               x, B, C = silu(conv(xBC))          t = softplus(t + bias)
 *     S = exp(t a) S + B (t x)^T       y = S^T C + d x
 *     out = W_out rms_norm(y * silu(z)), normed in groups
 *
 * B and C belong to a group of heads. */
#include <math.h>
#include <string.h>

#include "model/recurrent.h"

static size_t projection(const struct recurrence *rec)
{
    return rec->inner + (size_t)rec->channels + rec->heads;
}

static void run_head(struct forward *f, size_t first, size_t end, size_t head, float *memory)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    const struct layer *layer = f->layer;
    size_t keys = rec->key_dim, values = rec->value_dim;
    size_t group = head / (rec->heads / rec->groups);
    for (size_t row = first; row < end; row++) {
        const float *xbc = f->s->aux[1] + row * rec->channels, *x = xbc + head * values;
        const float *b = xbc + rec->inner + group * keys, *c = b + rec->groups * keys;
        const float *raw = f->s->aux[0] + row * projection(rec) + rec->inner + rec->channels;
        float *y = f->s->attn + row * rec->inner + head * values;
        float step = model_softplus(raw[head] + layer->step_bias[head]);
        float decay = expf(step * layer->decay[head]);
        for (size_t j = 0; j < values; j++) {
            y[j] = layer->skip[head] * x[j];
        }
        for (size_t i = 0; i < keys; i++) {
            float *s = memory + i * values, in = b[i] * step;
            for (size_t j = 0; j < values; j++) {
                s[j] = decay * s[j] + in * x[j];
                y[j] += s[j] * c[i];
            }
        }
    }
}

static void gate_row(struct forward *f, size_t row)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    size_t width = rec->inner / rec->groups;
    float *y = f->s->attn + row * rec->inner;
    const float *z = f->s->aux[0] + row * projection(rec);
    f->k->silu_mul(z, y, y, rec->inner);
    for (size_t g = 0; g < rec->groups; g++) {
        f->k->rms_norm(y + g * width, f->layer->mix_norm + g * width, f->m->h.norm_eps,
                       y + g * width, width);
    }
}

void model_run_mamba2(struct forward *f)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    struct scratch *s = f->s;
    const struct product in = model_product(&f->layer->mix_in, s->aux[0], NULL);
    const struct convolution convolution = {
        .x = s->aux[0] + rec->inner, .stride = projection(rec), .y = s->aux[1], .has_silu = true};
    const struct row_buffer kept = {s->attn, rec->inner};

    model_states_begin(f);
    model_multiply(f, model_block_input(f), f->m->h.embed_dim, &in, 1);
    model_convolve(f, &convolution);
    model_each_head(f, run_head);
    model_each_row(f, gate_row, 6 * (size_t)rec->inner);
    model_keep_wanted(f, &kept, 1);
    model_mix_heads(f);
}
