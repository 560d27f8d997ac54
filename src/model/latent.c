/* Latent attention (DeepSeek-AI 2024): all heads share one latent vector c of a position, and one
 * rotated key r. The definition makes keys and values of each head from c:
 *
 *     q = W_q x or W_qb norm(W_qa x)      q of a head: [ plain | rotated ]
 *     c, r = W_kva x                      c = norm(c), r rotated
 *     key of head h = [ K_h c | r ]       value = V_h c
 *
 * Since (K_h c) q = c (K_h^T q), the cache holds [ c | r ] once for all heads, and each head's
 * query goes to the latent space instead: attention is that of `heads` queries over one key head
 * with values c, and V_h comes behind it.
 *
 *     page of a layer   K: 1 x (rank + rope) x 64 | V: 1 x 64 x rank
 *
 * Files have K_h^T (attn_k_b) and V_h (attn_v_b), or both in one matrix (attn_kv_b), whose half is
 * turned when it is loaded (load.c). */
#include <string.h>

#include "model/forward.h"

/* aux[0] the bottleneck of queries, [1] the queries, later what the heads give, [2] c and r. */
static size_t query_dim(const struct forward *f)
{
    return f->m->h.latent.nope_dim + (size_t)f->m->h.latent.rope_dim;
}

static void norm_query_row(struct forward *f, size_t row)
{
    size_t rank = f->layer->q_down.rows;
    float *x = f->s->aux[0] + row * rank;
    model_normalize(f, x, f->layer->q_down_norm, NULL, x, rank);
}

static void take_queries(struct forward *f, const float *x)
{
    const struct layer *layer = f->layer;
    struct scratch *s = f->s;
    const struct product direct[] = {model_product(&layer->kv_down, s->aux[2], NULL),
                                     model_product(&layer->q, s->aux[1], NULL)};
    const struct product down[] = {direct[0], model_product(&layer->q_down, s->aux[0], NULL)};
    bool has_bottleneck = layer->q_down.rows != 0;
    model_multiply(f, x, f->m->h.embed_dim, has_bottleneck ? down : direct, 2);
    if (has_bottleneck) {
        model_each_row(f, norm_query_row, layer->q_down.rows);
        model_multiply(f, s->aux[0], layer->q_down.rows, &direct[1], 1);
    }
}

/* The query of each head into the latent space, beside its rotated part. */
static void absorb(struct forward *f)
{
    const struct latent *l = &f->m->h.latent;
    size_t heads = f->shape->head_count, from = query_dim(f), to = f->shape->key_dim;
    for (size_t h = 0; h < heads; h++) {
        struct product product = model_product(&f->layer->k_up[h], f->s->q + h * to, NULL);
        product.y_stride = heads * to;
        model_multiply_part(f, f->s->aux[1] + h * from, heads * from, l->nope_dim, &product, 1);
    }
}

static void turn(const struct forward *f, size_t row, float *x)
{
    const struct hparams *h = &f->m->h;
    const float *cos, *sin;
    model_rope_row(f, row, ROPE_TABLE_MAIN, &cos, &sin);
    if (h->traits->rope == ROPE_NEOX) {
        f->k->rope_neox(x, cos, sin, 1, h->latent.rope_dim, h->latent.rope_dim);
    } else {
        f->k->rope_norm(x, cos, sin, 1, h->latent.rope_dim, h->latent.rope_dim);
    }
}

static void store_row(struct forward *f, size_t row)
{
    const struct latent *l = &f->m->h.latent;
    size_t heads = f->shape->head_count, dim = f->shape->key_dim,
           bytes = l->rope_dim * sizeof(float);
    float *c = f->s->aux[2] + row * dim, *q = f->s->q + row * heads * dim;
    const float *raw = f->s->aux[1] + row * heads * query_dim(f) + l->nope_dim;

    model_normalize(f, c, f->layer->kv_down_norm, NULL, c, l->rank);
    turn(f, row, c + l->rank);
    for (size_t h = 0; h < heads; h++) {
        memcpy(q + h * dim + l->rank, raw + h * query_dim(f), bytes);
        turn(f, row, q + h * dim + l->rank);
    }
    model_sharpen(f, q, heads * dim, f->rows[row].pos);
    model_store_keys(f, row, c, c);
}

/* What attention gives each head, out of the latent space and through the output matrix. */
static void release(struct forward *f)
{
    const struct layer *layer = f->layer;
    const struct latent *l = &f->m->h.latent;
    size_t heads = f->shape->head_count;
    for (size_t h = 0; h < heads; h++) {
        struct product product =
            model_product(&layer->v_up[h], f->s->aux[1] + h * l->value_dim, NULL);
        product.y_stride = heads * l->value_dim;
        model_multiply_part(f, f->s->attn + h * l->rank, heads * l->rank, l->rank, &product, 1);
    }
    const struct product out = model_product(&layer->out, f->s->norm, layer->out_bias);
    model_multiply(f, f->s->aux[1], layer->out.cols, &out, 1);
}

void model_run_latent(struct forward *f)
{
    const struct row_buffer kept = {f->s->q, (size_t)f->shape->head_count * f->shape->key_dim};
    take_queries(f, model_block_input(f));
    absorb(f);
    model_each_row(f, store_row, kept.width + f->shape->key_dim);
    model_keep_wanted(f, &kept, 1);
    model_attend(f);
    release(f);
}
