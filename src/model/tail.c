/* What some layers do after their blocks (Gemma 4): a further input of their own, made from the
 * token and from the embedding before the first layer, and a scale.
 *
 *     p = (norm(W_p x0 / sqrt(width)) + E_p[token] sqrt(d)) / sqrt(2)         [layers][d], once
 *     x = x + norm(W_out (gelu(W_in x) * p[layer]))
 *     x = x * scale */
#include <math.h>
#include <string.h>

#include "model/activate.h"
#include "model/forward.h"
#include "tensor/codec.h"

static void make_row(struct forward *f, size_t row)
{
    const struct hparams *h = &f->m->h;
    const struct weights *w = &f->m->layout.weights;
    size_t d = h->layer_input_dim, n = h->layer_count * d;
    float *p = f->s->layer_inputs + row * n, *token = f->s->layer_tokens + row * n;
    float scale = (float)(1 / sqrt((double)h->embed_dim)), root = (float)sqrt((double)d);
    const uint8_t *raw = w->layer_rows + (size_t)f->rows[row].token * w->layer_row_bytes;

    codec_decode_row(w->layer_type, raw, token, n);
    for (size_t i = 0; i < n; i++) {
        p[i] *= scale;
    }
    for (size_t i = 0; i < n; i += d) {
        f->k->rms_norm(p + i, w->layer_norm, h->norm_eps, p + i, d);
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = (p[i] + token[i] * root) * (float)M_SQRT1_2;
    }
}

void model_make_layer_inputs(struct forward *f)
{
    const struct weights *w = &f->m->layout.weights;
    if (f->m->h.layer_input_dim == 0) {
        return;
    }
    const struct product product = model_product(&w->layer_in, f->s->layer_inputs, NULL);
    model_multiply(f, f->s->x, f->m->h.embed_dim, &product, 1);
    model_each_row(f, make_row, 6 * product.w->rows);
}

static void mix_row(struct forward *f, size_t row)
{
    const struct hparams *h = &f->m->h;
    size_t d = h->layer_input_dim, layer = (size_t)(f->shape - h->layers);
    float *y = f->s->gate + row * d;
    model_gelu_mul(f->k, y, f->s->layer_inputs + (row * h->layer_count + layer) * d, y, d);
}

static void add_row(struct forward *f, size_t row)
{
    size_t dim = f->m->h.embed_dim;
    float *x = f->s->x + row * dim, *y = f->s->norm + row * dim;
    if (f->layer->tail_in.rows != 0) {
        model_normalize(f, y, f->layer->tail_norm, NULL, y, dim);
        f->k->add(x, y, x, dim);
    }
    for (size_t i = 0; f->layer->tail_scale && i < dim; i++) {
        x[i] *= f->layer->tail_scale[0];
    }
}

bool model_run_tail(struct forward *f)
{
    const struct layer *layer = f->layer;
    if (layer->tail_in.rows == 0 && !layer->tail_scale) {
        return false;
    }
    model_leave(f);
    if (layer->tail_in.rows != 0) {
        const struct product in = model_product(&layer->tail_in, f->s->gate, NULL);
        const struct product out = model_product(&layer->tail_out, f->s->norm, NULL);
        model_multiply(f, f->s->x, f->m->h.embed_dim, &in, 1);
        model_each_row(f, mix_row, 4 * in.w->rows);
        model_multiply(f, f->s->gate, in.w->rows, &out, 1);
    }
    model_each_row(f, add_row, 4 * (size_t)f->m->h.embed_dim);
    return true;
}
