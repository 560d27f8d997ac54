/* The forward pass of a decoder.
 *
 *     x = embedding[token]
 *     for each layer
 *         n = norm(x)                       q, k, v = W n (+ bias), one job
 *         q, k = rope(norm(q)), rope(...)   keys and values to the pages
 *         x = x + W_out attention(q)
 *         n = norm(x)                       gate, up = W n, one job
 *         x = x + W_down (silu(gate) * up)
 *     logits = W_output norm(x)
 *
 * Every step treats a row by itself (attention reads the pages of the row's own sequence), so the
 * rows of a call do not touch each other, and how a prompt is cut into calls makes no difference.
 *
 * In the last layer, after the keys and values are stored, only rows that want logits go on: the
 * others are done. Steps between products are short; they run on the pool only when there are
 * enough rows to be worth waking it. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "model/attention.h"
#include "model/instance.h"
#include "model/rope.h"
#include "tensor/codec.h"

struct forward {
    struct model *m;
    const struct kernels *k;
    struct scratch *s;
    const struct model_batch *batch;
    const struct model_row *rows; /* those that go on */
    size_t row_count;
    const struct layer *layer; /* of this step */
    const struct layer_shape *shape;
    const float *norm_weight;
    bool adds_block; /* the block's output in s->norm is still to be added to x */
};

/* ---- rows ---- */

typedef void row_fn(struct forward *f, size_t row);

struct row_job {
    struct forward *f;
    row_fn *fn;
    size_t rows, step;
};

static void run_row_piece(void *arg, size_t piece, size_t thread)
{
    const struct row_job *job = arg;
    size_t end = size_min(job->rows, (piece + 1) * job->step);
    (void)thread;
    for (size_t row = piece * job->step; row < end; row++) {
        job->fn(job->f, row);
    }
}

/* Calls fn for each row; `width` is about how many floats it touches. */
static void each_row(struct forward *f, row_fn *fn, size_t width)
{
    enum { ALONE_FLOATS = 65536, PIECE_FLOATS = 16384 };
    struct row_job job = {.f = f, .fn = fn, .rows = f->row_count, .step = f->row_count};
    if (f->row_count == 0) {
        return;
    }
    if (f->row_count > 1 && f->row_count * width > ALONE_FLOATS) {
        job.step = size_max(1, PIECE_FLOATS / width);
    }
    size_t pieces = (job.rows + job.step - 1) / job.step;
    if (pieces > 1) {
        pool_run(f->m->pool, run_row_piece, &job, pieces);
    } else {
        run_row_piece(&job, 0, 0);
    }
}

static void embed_row(struct forward *f, size_t row)
{
    const struct model *m = f->m;
    const struct weights *w = &m->layout.weights;
    size_t token = (size_t)f->rows[row].token, dim = m->h.embed_dim, pairs = m->h.rope.dim / 2;
    float *x = f->s->x + row * dim;

    if (w->embed_rows) {
        codec_decode_row(w->embed_type, w->embed_rows + token * w->embed_row_bytes, x, dim);
    } else {
        matrix_row(&w->output, token, x);
    }
    if (m->h.embed_scale != 1) {
        for (size_t i = 0; i < dim; i++) {
            x[i] *= (float)m->h.embed_scale;
        }
    }
    model_rope_table(m->rope_freq, m->rope_magnitude, pairs, f->rows[row].pos,
                     f->s->cos + row * pairs, f->s->sin + row * pairs);
}

/* x += the block's output; norm = the next block's input. */
static void norm_row(struct forward *f, size_t row)
{
    size_t dim = f->m->h.embed_dim;
    float *x = f->s->x + row * dim, *norm = f->s->norm + row * dim;
    if (f->adds_block) {
        if (f->m->h.residual_scale != 1) {
            for (size_t i = 0; i < dim; i++) {
                norm[i] *= (float)f->m->h.residual_scale;
            }
        }
        f->k->add(x, norm, x, dim);
    }
    f->k->rms_norm(x, f->norm_weight, f->m->h.norm_eps, norm, dim);
}

static void norm_rows(struct forward *f, const float *weight, bool adds_block)
{
    f->norm_weight = weight;
    f->adds_block = adds_block;
    each_row(f, norm_row, (size_t)f->m->h.embed_dim * 3);
}

static void silu_row(struct forward *f, size_t row)
{
    size_t dim = f->shape->ffn_dim;
    float *gate = f->s->gate + row * dim;
    f->k->silu_mul(gate, f->s->up + row * dim, gate, dim);
}

/* ---- keys and values ---- */

/* Rotates the heads of a row, after their norm if the family has one. */
static void turn_heads(const struct forward *f, size_t row, float *x, size_t heads,
                       const float *norm)
{
    const struct hparams *h = &f->m->h;
    size_t pairs = h->rope.dim / 2;
    const float *cos = f->s->cos + row * pairs, *sin = f->s->sin + row * pairs;
    for (size_t i = 0; norm && i < heads; i++) {
        float *head = x + i * h->key_dim;
        f->k->rms_norm(head, norm, h->norm_eps, head, h->key_dim);
    }
    if (h->traits->rope == ROPE_NEOX) {
        f->k->rope_neox(x, cos, sin, heads, h->key_dim, h->rope.dim);
    } else {
        f->k->rope_norm(x, cos, sin, heads, h->key_dim, h->rope.dim);
    }
}

/* Queries far behind the original context attend more sharply (Llama 4, Ministral 3). */
static void sharpen(const struct forward *f, float *q, size_t n, uint32_t pos)
{
    const struct hparams *h = &f->m->h;
    if (h->temperature_scale == 0) {
        return;
    }
    double turns = floor((double)pos / h->rope.ctx_original);
    float factor = (float)(1 + h->temperature_scale * log(1 + turns));
    for (size_t i = 0; i < n; i++) {
        q[i] *= factor;
    }
}

static void convert(const struct forward *f, const float *x, uint16_t *y, size_t n)
{
    if (f->m->params.kv_type == KV_F16) {
        f->k->f32_to_f16(x, y, n);
    } else {
        f->k->f32_to_bf16(x, y, n);
    }
}

/* K stands [kv_head][key_dim][64] in a page, so that the lanes of a vector are keys; V stands
 * [kv_head][64][value_dim]. */
static void store_16(const struct forward *f, const float *k, const float *v, uint8_t *page,
                     size_t slot)
{
    enum { STEP = 256 };
    const struct hparams *h = &f->m->h;
    size_t kv_heads = f->shape->kv_head_count, k_count = kv_heads * h->key_dim;
    uint16_t *keys = (uint16_t *)(void *)page, narrow[STEP];
    uint16_t *values = keys + k_count * KV_PAGE_TOKENS;
    for (size_t i = 0; i < k_count; i += STEP) {
        size_t n = size_min(STEP, k_count - i);
        convert(f, k + i, narrow, n);
        for (size_t j = 0; j < n; j++) {
            keys[(i + j) * KV_PAGE_TOKENS + slot] = narrow[j];
        }
    }
    for (size_t i = 0; i < kv_heads; i++) {
        convert(f, v + i * h->value_dim, values + (i * KV_PAGE_TOKENS + slot) * h->value_dim,
                h->value_dim);
    }
}

static void store_32(const struct forward *f, const float *k, const float *v, uint8_t *page,
                     size_t slot)
{
    const struct hparams *h = &f->m->h;
    size_t kv_heads = f->shape->kv_head_count, k_count = kv_heads * h->key_dim;
    float *keys = (float *)(void *)page, *values = keys + k_count * KV_PAGE_TOKENS;
    for (size_t i = 0; i < k_count; i++) {
        keys[i * KV_PAGE_TOKENS + slot] = k[i];
    }
    for (size_t i = 0; i < kv_heads; i++) {
        memcpy(values + (i * KV_PAGE_TOKENS + slot) * h->value_dim, v + i * h->value_dim,
               h->value_dim * sizeof(float));
    }
}

static void store_row(struct forward *f, size_t row)
{
    const struct hparams *h = &f->m->h;
    const struct layer *layer = f->layer;
    const struct model_row *at = &f->rows[row];
    size_t heads = f->shape->head_count, kv_heads = f->shape->kv_head_count;
    float *q = f->s->q + row * heads * h->key_dim, *k = f->s->k + row * kv_heads * h->key_dim;
    const float *v = f->s->v + row * kv_heads * h->value_dim;

    turn_heads(f, row, q, heads, layer->q_norm);
    turn_heads(f, row, k, kv_heads, layer->k_norm);
    sharpen(f, q, heads * h->key_dim, at->pos);
    uint32_t number = f->batch->seqs[at->seq].pages[at->pos / KV_PAGE_TOKENS];
    uint8_t *page = f->m->pages + number * f->m->plan.page_bytes + layer->kv_offset;
    if (f->m->params.kv_type == KV_F32) {
        store_32(f, k, v, page, at->pos % KV_PAGE_TOKENS);
    } else {
        store_16(f, k, v, page, at->pos % KV_PAGE_TOKENS);
    }
}

/* ---- products ---- */

/* y = W x for each product, all with the same input. */
static void multiply(struct forward *f, const float *x, size_t cols, const struct product *products,
                     size_t count)
{
    struct activation act;
    bool is_quantized = false;
    activation_init(&act, x, cols, f->row_count, cols, f->s->act);
    for (size_t i = 0; i < count; i++) {
        enum dtype type = products[i].w->type;
        is_quantized |= type != DTYPE_F32 && type != DTYPE_F16 && type != DTYPE_BF16;
    }
    if (is_quantized) {
        activation_quantize(&act, f->k, f->m->pool);
    }
    matrix_multiply(f->k, f->m->pool, &act, products, count);
}

static struct product product_of(const struct matrix *w, float *y, const float *bias)
{
    return (struct product){.w = w, .y = y, .y_stride = w->rows, .bias = bias};
}

/* ---- blocks ---- */

/* Leaves only the rows that want logits, in their order. */
static void keep_wanted(struct forward *f)
{
    size_t dim = f->m->h.embed_dim, q_dim = (size_t)f->shape->head_count * f->m->h.key_dim;
    size_t kept = 0;
    for (size_t i = 0; i < f->row_count; i++) {
        if (!f->rows[i].wants_logits) {
            continue;
        }
        if (kept != i) {
            memcpy(f->s->x + kept * dim, f->s->x + i * dim, dim * sizeof(float));
            memcpy(f->s->q + kept * q_dim, f->s->q + i * q_dim, q_dim * sizeof(float));
        }
        f->s->rows[kept++] = f->rows[i];
    }
    f->rows = f->s->rows;
    f->row_count = kept;
}

static void run_attention(struct forward *f, bool is_last)
{
    struct model *m = f->m;
    const struct layer *layer = f->layer;
    const struct hparams *h = &m->h;
    struct scratch *s = f->s;
    size_t kv_heads = f->shape->kv_head_count;
    size_t element = m->params.kv_type == KV_F32 ? 4 : 2;

    const struct product qkv[] = {product_of(&layer->q, s->q, layer->q_bias),
                                  product_of(&layer->k, s->k, layer->k_bias),
                                  product_of(&layer->v, s->v, layer->v_bias)};
    multiply(f, s->norm, h->embed_dim, qkv, 3);
    each_row(f, store_row, qkv[0].w->rows + 2 * qkv[1].w->rows);
    if (is_last) {
        keep_wanted(f);
    }
    const struct attention attention = {
        .kernels = f->k,
        .kv_type = m->params.kv_type,
        .pages = m->pages,
        .page_bytes = m->plan.page_bytes,
        .k_offset = layer->kv_offset,
        .v_offset = layer->kv_offset + kv_heads * h->key_dim * KV_PAGE_TOKENS * element,
        .head_count = f->shape->head_count,
        .kv_head_count = kv_heads,
        .key_dim = h->key_dim,
        .value_dim = h->value_dim,
        .scale = (float)h->attn_scale,
        .seqs = f->batch->seqs,
        .rows = f->rows,
        .row_count = f->row_count,
        .q = s->q,
        .out = s->attn,
        .part = s->part,
        .part_floats = s->part_floats,
    };
    if (f->row_count > 0) {
        model_attention_run(&attention, m->pool);
    }
    const struct product out = product_of(&layer->out, s->norm, layer->out_bias);
    multiply(f, s->attn, layer->out.cols, &out, 1);
}

static void run_ffn(struct forward *f)
{
    const struct layer *layer = f->layer;
    struct scratch *s = f->s;
    const struct product gate_up[] = {product_of(&layer->gate, s->gate, layer->gate_bias),
                                      product_of(&layer->up, s->up, layer->up_bias)};
    multiply(f, s->norm, f->m->h.embed_dim, gate_up, 2);
    each_row(f, silu_row, (size_t)f->shape->ffn_dim * 2);
    const struct product down = product_of(&layer->down, s->norm, layer->down_bias);
    multiply(f, s->gate, f->shape->ffn_dim, &down, 1);
}

static void run_head(struct forward *f, float *logits)
{
    const struct weights *w = &f->m->layout.weights;
    double scale = f->m->h.logit_scale;
    norm_rows(f, w->output_norm, true);
    const struct product head = product_of(&w->output, logits, w->output_bias);
    multiply(f, f->s->norm, f->m->h.embed_dim, &head, 1);
    if (scale != 1) {
        float factor = (float)(1 / scale);
        for (size_t i = 0; i < f->row_count * w->output.rows; i++) {
            logits[i] *= factor;
        }
    }
}

static void check_batch(const struct model *m, const struct model_batch *batch)
{
    size_t wanted = 0;
    assert(batch->row_count <= m->params.batch_rows_max);
    assert(batch->seq_count <= m->params.sequences_max);
    for (size_t i = 0; i < batch->row_count; i++) {
        const struct model_row *row = &batch->rows[i];
        assert(row->token >= 0 && (uint32_t)row->token < m->h.vocab_count);
        assert(row->pos < m->plan.ctx_tokens && row->seq < batch->seq_count);
        assert(row->pos / KV_PAGE_TOKENS < batch->seqs[row->seq].page_count);
        assert(batch->seqs[row->seq].pages[row->pos / KV_PAGE_TOKENS] < m->plan.kv_pages);
        assert(i == 0 || row[-1].seq != row->seq || row[-1].pos + 1 == row->pos);
        wanted += row->wants_logits;
    }
    assert(wanted <=
           (m->params.logits_rows_max ? m->params.logits_rows_max : m->params.sequences_max));
    (void)m;
    (void)wanted;
}

void model_forward(struct model *m, const struct model_batch *batch, float *logits)
{
    struct forward f = {.m = m,
                        .k = m->kernels,
                        .s = &m->scratch,
                        .batch = batch,
                        .rows = batch->rows,
                        .row_count = batch->row_count};
    check_batch(m, batch);
    mem_guard_begin();
    each_row(&f, embed_row, (size_t)m->h.embed_dim * 2 + m->h.rope.dim * 32);
    for (uint32_t i = 0; i < m->h.layer_count && f.row_count > 0; i++) {
        f.layer = &m->layout.weights.layers[i];
        f.shape = &m->h.layers[i];
        norm_rows(&f, f.layer->attn_norm, i > 0);
        run_attention(&f, i + 1 == m->h.layer_count);
        norm_rows(&f, f.layer->ffn_norm, true);
        run_ffn(&f);
    }
    if (f.row_count > 0) {
        run_head(&f, logits);
    }
    mem_guard_end();
}
