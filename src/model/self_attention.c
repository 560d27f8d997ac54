/* A layer of attention: q, k and v of the block's input, the page, the mix, its output matrix.
 *
 * Some families gate what attention gives: attn_q then has twice the rows, a gate behind each
 * head's query, and the mix is multiplied by sigmoid(gate) (Qwen3-Next). */
#include <string.h>

#include "model/activate.h"
#include "model/attention.h"
#include "model/forward.h"
#include "model/kv.h"

static void turn_queries(struct forward *f, size_t row)
{
    size_t heads = f->shape->head_count, dim = f->shape->key_dim;
    model_kv_turn(f->s->q + row * heads * dim, heads, dim);
}

static void turn_back_mix(struct forward *f, size_t row)
{
    size_t heads = f->shape->head_count, dim = f->shape->value_dim;
    model_kv_turn(f->s->attn + row * heads * dim, heads, dim);
}

void model_attend(struct forward *f)
{
    struct model *m = f->m;
    const struct layer_shape *shape = f->shape;
    size_t kv_heads = shape->kv_head_count;
    enum kv_type kv_type = m->params.kv_type;
    const struct attention attention = {
        .kernels = f->k,
        .kv_type = kv_type,
        .pages = m->pages,
        .page_bytes = m->plan.page_bytes,
        .k_offset = f->layer->kv_offset,
        .v_offset = f->layer->kv_offset + kv_heads * kv_head_bytes(kv_type, shape->key_dim),
        .head_count = shape->head_count,
        .kv_head_count = kv_heads,
        .key_dim = shape->key_dim,
        .value_dim = shape->value_dim,
        .scale = (float)m->h.attn_scale,
        .cap = (float)m->h.score_cap,
        .alibi_bias = (float)m->h.alibi_bias,
        .window = shape->window,
        .chunk = shape->chunk,
        .sinks = f->layer->sinks,
        .seqs = f->batch->seqs,
        .rows = f->rows,
        .row_count = f->row_count,
        .q = f->s->q,
        .out = f->s->attn,
        .part = f->s->part,
        .part_floats = f->s->part_floats,
    };
    bool is_turned = model_kv_is_turned(kv_type);
    if (is_turned) {
        model_each_row(f, turn_queries, (size_t)shape->head_count * shape->key_dim);
    }
    if (f->row_count > 0) {
        model_attention_run(&attention, m->pool);
    }
    if (is_turned) {
        model_each_row(f, turn_back_mix, (size_t)shape->head_count * shape->value_dim);
    }
}

/* ---- the gate ---- */

static void split_row(struct forward *f, size_t row)
{
    size_t heads = f->shape->head_count, dim = f->shape->key_dim;
    const float *both = f->s->aux[0] + row * heads * 2 * dim;
    for (size_t i = 0; i < heads; i++) {
        size_t at = (row * heads + i) * dim;
        memcpy(f->s->q + at, both + 2 * i * dim, dim * sizeof(float));
        memcpy(f->s->aux[1] + at, both + (2 * i + 1) * dim, dim * sizeof(float));
    }
}

static void gate_row(struct forward *f, size_t row)
{
    size_t n = (size_t)f->shape->head_count * f->shape->value_dim;
    float *x = f->s->attn + row * n, *gate = f->s->aux[1] + row * n;
    model_sigmoid(f->k, gate, n);
    for (size_t i = 0; i < n; i++) {
        x[i] *= gate[i];
    }
}

/* ---- the layer ---- */

void model_project(struct forward *f)
{
    const struct layer *layer = f->layer;
    struct scratch *s = f->s;
    bool has_gate = f->m->h.traits->has_query_gate;
    const struct product qkv[] = {
        model_product(&layer->q, has_gate ? s->aux[0] : s->q, layer->q_bias),
        model_product(&layer->k, s->k, layer->k_bias),
        model_product(&layer->v, s->v, layer->v_bias)};
    size_t count = layer->k.rows == 0 ? 1 : layer->v.rows == 0 ? 2 : 3;

    model_multiply(f, model_block_input(f), f->m->h.embed_dim, qkv, count);
    if (has_gate) {
        model_each_row(f, split_row, qkv[0].w->rows);
    }
    model_each_row(f, model_store_row, qkv[0].w->rows + 2 * qkv[1].w->rows);
}

void model_run_attention(struct forward *f)
{
    bool has_gate = f->m->h.traits->has_query_gate;
    size_t q_dim = (size_t)f->shape->head_count * f->shape->key_dim;
    const struct row_buffer kept[] = {{f->s->q, q_dim}, {f->s->aux[1], q_dim}};

    model_project(f);
    model_keep_wanted(f, kept, has_gate ? 2 : 1);
    model_attend(f);
    if (has_gate) {
        model_each_row(f, gate_row, q_dim * 4);
    }
    model_mix_heads(f);
}
