/* What stands between the products q, k, v and attention: heads are clamped, normed and rotated as
 * the family wants, keys and values go to the pages. */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "model/activate.h"
#include "model/forward.h"
#include "model/kv.h"

/* Llama 4 of so many experts does not norm its heads. */
enum { UNNORMED_EXPERTS = 128 };

static void norm_heads(const struct forward *f, float *x, size_t heads, const float *norm,
                       const float *bias)
{
    enum qk_norm kind = f->m->h.traits->qk_norm;
    bool is_whole = kind == QK_WHOLE || kind == QK_WHOLE_MAYBE;
    size_t dim = f->shape->key_dim, width = is_whole ? heads * dim : dim,
           count = is_whole ? 1 : heads;
    if (kind == QK_BARE) {
        count = f->shape->turns && f->m->h.expert_count != UNNORMED_EXPERTS ? count : 0;
    } else if (!norm) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const float *w = kind == QK_EACH_HEAD ? norm + i * width : norm;
        model_normalize(f, x + i * width, w, bias, x + i * width, width);
    }
}

static void turn_heads(const struct forward *f, size_t row, float *x, size_t heads)
{
    const struct hparams *h = &f->m->h;
    const float *cos, *sin;
    if (!f->shape->turns) {
        return;
    }
    model_rope_row(f, row, f->shape->table, &cos, &sin);
    if (h->traits->rope == ROPE_NEOX) {
        f->k->rope_neox(x, cos, sin, heads, f->shape->key_dim, h->rope[f->shape->table].dim);
    } else {
        f->k->rope_norm(x, cos, sin, heads, f->shape->key_dim, h->rope[f->shape->table].dim);
    }
}

/* Clamp, norm and rotation, in the order of the family. */
static void shape_heads(const struct forward *f, size_t row, float *x, size_t heads,
                        const float *norm, const float *bias)
{
    const struct hparams *h = &f->m->h;
    if (h->clamp != 0) {
        model_clamp(x, heads * f->shape->key_dim, (float)h->clamp);
    }
    if (h->traits->has_late_qk_norm) {
        turn_heads(f, row, x, heads);
        norm_heads(f, x, heads, norm, bias);
    } else {
        norm_heads(f, x, heads, norm, bias);
        turn_heads(f, row, x, heads);
    }
}

void model_sharpen(const struct forward *f, float *q, size_t n, uint32_t pos)
{
    const struct hparams *h = &f->m->h;
    if (h->temperature_scale == 0 || (h->traits->has_chunks && f->shape->turns)) {
        return;
    }
    double turns = floor(((double)pos + h->temperature_offset) / h->temperature_length);
    float factor = (float)(1 + h->temperature_scale * log(1 + turns));
    for (size_t i = 0; i < n; i++) {
        q[i] *= factor;
    }
}

void model_store_keys(const struct forward *f, size_t row, const float *k, const float *v)
{
    const struct model_row *at = &f->rows[row];
    const struct model_seq *seq = &f->batch->seqs[at->seq];
    if (at->pos < seq->ready) {
        return;
    }
    uint32_t number = seq->pages[at->pos / KV_PAGE_TOKENS];
    uint8_t *page = f->m->pages + number * f->m->plan.page_bytes + f->layer->kv_offset;
    const struct kv_page to = {f->k, f->m->params.kv_type, page, at->pos % KV_PAGE_TOKENS};
    model_kv_store(&to, f->shape->kv_head_count, k, f->shape->key_dim, v, f->shape->value_dim);
}

void model_store_row(struct forward *f, size_t row)
{
    const struct hparams *h = &f->m->h;
    const struct layer *layer = f->layer;
    const struct layer_shape *shape = f->shape;
    size_t heads = shape->head_count, kv_heads = shape->kv_head_count;
    float *q = f->s->q + row * heads * shape->key_dim;
    float *k = f->s->k + row * kv_heads * shape->key_dim;
    float *v = f->s->v + row * kv_heads * shape->value_dim;

    shape_heads(f, row, q, heads, layer->q_norm, layer->q_norm_bias);
    if (layer->k.rows == 0) { /* another layer's are read */
        return;
    }
    if (layer->v.rows == 0) {
        memcpy(v, k, kv_heads * shape->value_dim * sizeof(float));
    }
    for (size_t i = 0; h->traits->has_value_norm && i < kv_heads; i++) {
        float *head = v + i * shape->value_dim;
        model_normalize(f, head, NULL, NULL, head, shape->value_dim);
    }
    shape_heads(f, row, k, kv_heads, layer->k_norm, layer->k_norm_bias);
    if (h->clamp != 0) {
        model_clamp(v, kv_heads * shape->value_dim, (float)h->clamp);
    }
    model_sharpen(f, q, heads * shape->key_dim, f->rows[row].pos);
    model_store_keys(f, row, k, v);
}
