/* The gated short convolution of LFM2 (Liquid AI 2025):
 *
 *     b, c, x = W_in n          y = c * conv(b * x)          out = W_out y
 *
 * Its state is the last two or so values of b * x. */
#include "model/recurrent.h"

static void gate_input_row(struct forward *f, size_t row)
{
    size_t dim = f->m->h.embed_dim;
    float *b = f->s->aux[0] + row * 3 * dim;
    const float *x = b + 2 * dim;
    for (size_t i = 0; i < dim; i++) {
        b[i] *= x[i];
    }
}

static void gate_output_row(struct forward *f, size_t row)
{
    size_t dim = f->m->h.embed_dim;
    const float *c = f->s->aux[0] + row * 3 * dim + dim;
    float *y = f->s->attn + row * dim;
    for (size_t i = 0; i < dim; i++) {
        y[i] *= c[i];
    }
}

void model_run_short_conv(struct forward *f)
{
    struct scratch *s = f->s;
    size_t dim = f->m->h.embed_dim;
    const struct product in = model_product(&f->layer->mix_in, s->aux[0], NULL);
    const struct convolution convolution = {.x = s->aux[0], .stride = 3 * dim, .y = s->attn};
    const struct row_buffer kept = {s->attn, dim};

    model_states_begin(f);
    model_multiply(f, model_block_input(f), dim, &in, 1);
    model_each_row(f, gate_input_row, dim * 2);
    model_convolve(f, &convolution);
    model_each_row(f, gate_output_row, dim * 2);
    model_keep_wanted(f, &kept, 1);
    model_mix_heads(f);
}
