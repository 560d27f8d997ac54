/* The forward pass of a decoder.
 *
 *     x = embedding[token] (scaled, normed, + position[pos])
 *     for each layer
 *         n = norm(x)                       q, k, v = W n (+ bias), one job
 *         q, k, v finished (heads.c)        keys and values to the pages
 *         x = x + post(W_out attention(q))
 *         n = norm(x)                       gate, up = W n, one job
 *         x = x + post(W_down (act(gate) * up))
 *     logits = cap(W_output norm(x))
 *
 * Families leave steps out or move them; traits.h names every way. A parallel layer takes the
 * inputs of both blocks from the same x, so the second waits in s->side.
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
#include "model/activate.h"
#include "model/forward.h"
#include "model/rope.h"
#include "tensor/codec.h"

/* What happens to a row between two blocks. */
struct join {
    bool adds_block; /* the block's output in s->norm is still to be added to x, */
    /* after this norm, or as the norm of the sum: */
    const float *post_norm, *post_norm_bias;
    const float *again, *again_bias; /* x = norm(x + sum) once more, by these; or NULL */
    /* norm(x) to s->norm and s->side, by weight and bias; not without has_norm or side. */
    bool has_norm, has_side;
    const float *weight, *bias, *side_weight, *side_bias;
};

/* ---- rows ---- */

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
void model_each_row(struct forward *f, row_fn *fn, size_t width)
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

void model_rope_row(const struct forward *f, size_t row, enum rope_table table, const float **cos,
                    const float **sin)
{
    const struct hparams *h = &f->m->h;
    size_t at = row * model_rope_pairs(h);
    at += table == ROPE_TABLE_WINDOW ? h->rope[ROPE_TABLE_MAIN].dim / 2 : 0;
    *cos = f->s->cos + at;
    *sin = f->s->sin + at;
}

static void make_angles(struct forward *f, size_t row)
{
    const struct model *m = f->m;
    size_t at = row * model_rope_pairs(&m->h);
    for (int i = 0; i < (m->h.has_two_tables ? ROPE_TABLE_COUNT : 1); i++) {
        size_t pairs = m->h.rope[i].dim / 2;
        model_rope_table(m->rope_freq[i], m->rope_magnitude[i], pairs, f->rows[row].pos,
                         f->s->cos + at, f->s->sin + at);
        at += pairs;
    }
}

static void embed_row(struct forward *f, size_t row)
{
    const struct model *m = f->m;
    const struct weights *w = &m->layout.weights;
    size_t token = (size_t)f->rows[row].token, dim = m->h.embed_dim;
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
    if (w->pos_rows) {
        float *add = f->s->norm + row * dim;
        codec_decode_row(w->pos_type, w->pos_rows + f->rows[row].pos * w->pos_row_bytes, add, dim);
        f->k->add(x, add, x, dim);
    }
    if (w->type_rows) {
        float *add = f->s->norm + row * dim;
        size_t type = size_min(f->rows[row].type, w->type_count - 1);
        codec_decode_row(w->type_type, w->type_rows + type * w->type_row_bytes, add, dim);
        f->k->add(x, add, x, dim);
    }
    if (w->embed_norm) {
        model_normalize(f, x, w->embed_norm, w->embed_norm_bias, x, dim);
    }
    make_angles(f, row);
}

void model_embed(struct forward *f)
{
    const struct hparams *h = &f->m->h;
    model_each_row(f, embed_row, (size_t)h->embed_dim * 2 + model_rope_pairs(h) * 64);
}

/* ---- between blocks ---- */

void model_normalize(const struct forward *f, const float *x, const float *w, const float *b,
                     float *y, size_t n)
{
    if (f->m->h.traits->norm == NORM_LAYER) {
        model_layer_norm(f->k, x, w, b, f->m->h.norm_eps, y, n);
    } else {
        f->k->rms_norm(x, w, f->m->h.norm_eps, y, n);
    }
}

/* x = norm(x + y), and once more with x in the place of y where the layer has a second norm. */
static void norm_sum(const struct forward *f, float *x, float *y, size_t dim)
{
    const struct join *join = f->join;
    f->k->add(x, y, y, dim);
    if (!join->again) {
        model_normalize(f, y, join->post_norm, join->post_norm_bias, x, dim);
        return;
    }
    model_normalize(f, y, join->post_norm, join->post_norm_bias, y, dim);
    f->k->add(x, y, y, dim);
    model_normalize(f, y, join->again, join->again_bias, x, dim);
}

/* x += the block's output; norm = the next block's input. */
static void join_row(struct forward *f, size_t row)
{
    const struct join *join = f->join;
    size_t dim = f->m->h.embed_dim;
    float *x = f->s->x + row * dim, *norm = f->s->norm + row * dim;
    if (join->adds_block && f->m->h.traits->norm_place == NORM_OF_SUM) {
        norm_sum(f, x, norm, dim);
    } else if (join->adds_block) {
        if (join->post_norm) {
            model_normalize(f, norm, join->post_norm, NULL, norm, dim);
        }
        if (f->m->h.residual_scale != 1) {
            for (size_t i = 0; i < dim; i++) {
                norm[i] *= (float)f->m->h.residual_scale;
            }
        }
        f->k->add(x, norm, x, dim);
    }
    if (join->has_norm) {
        model_normalize(f, x, join->weight, join->bias, norm, dim);
    }
    if (join->has_side) {
        model_normalize(f, x, join->side_weight, join->side_bias, f->s->side + row * dim, dim);
    }
}

static void join_rows(struct forward *f, const struct join *join)
{
    f->join = join;
    model_each_row(f, join_row, (size_t)f->m->h.embed_dim * 3);
}

/* False where the layer's attention reads x itself. */
static bool has_attention_norm(const struct forward *f)
{
    const struct traits *t = f->m->h.traits;
    return traits_norm_input(t) && (f->layer->attn_norm || !t->has_open_start);
}

/* Before attention. A parallel layer prepares the input of its ffn as well. */
void model_enter_attention(struct forward *f, const struct layer *before)
{
    const struct layer *layer = f->layer;
    bool has_second = layer->attn_norm_2 != NULL, has_ffn = layer->ffn_norm != NULL;
    const struct join join = {
        .adds_block = before != NULL,
        .post_norm = before ? before->ffn_post_norm : NULL,
        .post_norm_bias = before ? before->ffn_post_norm_bias : NULL,
        .has_norm = has_attention_norm(f),
        .weight = has_second ? layer->attn_norm_2 : layer->attn_norm,
        .bias = has_second ? layer->attn_norm_2_bias : layer->attn_norm_bias,
        .has_side = layer->is_parallel,
        .side_weight = has_ffn ? layer->ffn_norm : layer->attn_norm,
        .side_bias = has_ffn ? layer->ffn_norm_bias : layer->attn_norm_bias,
    };
    join_rows(f, &join);
}

void model_enter_ffn(struct forward *f)
{
    const struct layer *layer = f->layer;
    const bool is_sum = f->m->h.traits->norm_place == NORM_OF_SUM;
    const struct join join = {
        .adds_block = true,
        .post_norm = layer->attn_post_norm,
        .post_norm_bias = layer->attn_post_norm_bias,
        .again = is_sum ? layer->attn_norm_2 : NULL,
        .again_bias = is_sum ? layer->attn_norm_2_bias : NULL,
        .has_norm = traits_norm_input(f->m->h.traits) && !layer->is_parallel,
        .weight = layer->ffn_norm,
        .bias = layer->ffn_norm_bias,
    };
    join_rows(f, &join);
}

void model_leave(struct forward *f)
{
    const struct join join = {.adds_block = true,
                              .post_norm = f->layer->ffn_post_norm,
                              .post_norm_bias = f->layer->ffn_post_norm_bias};
    join_rows(f, &join);
}

void model_activate_row(struct forward *f, size_t row)
{
    size_t dim = f->ffn_dim;
    enum ffn_act activation = f->m->h.traits->activation;
    bool is_gated = f->m->h.gate != GATE_NONE;
    float *up = f->s->up + row * dim, *y = f->s->gate + row * dim;
    const float *x = is_gated ? y : up, *z = is_gated ? up : NULL;
    if (activation == ACT_GELU) {
        model_gelu_mul(f->k, x, z, y, dim);
    } else if (activation == ACT_RELU2) {
        model_relu2_mul(x, z, y, dim);
    } else if (activation == ACT_XIELU) {
        model_xielu(f->shape->xielu, up, y, dim);
    } else if (activation == ACT_SWIGLU_CUT) {
        model_swiglu_cut(f->k, y, up, y, dim);
    } else {
        assert(is_gated);
        f->k->silu_mul(x, z, y, dim);
    }
}

static void cap_row(struct forward *f, size_t row)
{
    size_t vocab = f->m->layout.weights.output.rows;
    model_soft_cap(f->k, f->logits + row * vocab, vocab, (float)f->m->h.logit_cap);
}

/* ---- products ---- */

/* y = W x for each product, all with the same input. */
void model_multiply(struct forward *f, const float *x, size_t cols, const struct product *products,
                    size_t count)
{
    model_multiply_part(f, x, cols, cols, products, count);
}

void model_multiply_part(struct forward *f, const float *x, size_t stride, size_t cols,
                         const struct product *products, size_t count)
{
    struct activation act;
    bool is_quantized = false;
    activation_init(&act, x, stride, f->row_count, cols, f->s->act);
    for (size_t i = 0; i < count; i++) {
        enum dtype type = products[i].w->type;
        is_quantized |= type != DTYPE_F32 && type != DTYPE_F16 && type != DTYPE_BF16;
        if (f->m->names) {
            model_observe(f->m->names, f->m->params.observer, products[i].w, x, f->row_count, cols);
        }
    }
    if (is_quantized) {
        activation_quantize(&act, f->k, f->m->pool);
    }
    matrix_multiply(f->k, f->m->pool, &act, products, count);
    for (size_t i = 0; f->lora.is_on && i < count; i++) {
        model_lora_add(f, &products[i], x, stride);
    }
}

struct product model_product(const struct matrix *w, float *y, const float *bias)
{
    return (struct product){.w = w, .y = y, .y_stride = w->rows, .bias = bias};
}

/* ---- blocks ---- */

void model_keep_wanted(struct forward *f, const struct row_buffer *buffers, size_t count)
{
    size_t dim = f->m->h.embed_dim, kept = 0;
    size_t inputs = (size_t)f->m->h.layer_count * f->m->h.layer_input_dim;
    if (!f->is_last) {
        return;
    }
    for (size_t i = 0; i < f->row_count; i++) {
        if (!f->rows[i].wants_logits) {
            continue;
        }
        for (size_t b = 0; b < count && kept != i; b++) {
            memcpy(buffers[b].floats + kept * buffers[b].width,
                   buffers[b].floats + i * buffers[b].width, buffers[b].width * sizeof(float));
        }
        if (kept != i) {
            memcpy(f->s->x + kept * dim, f->s->x + i * dim, dim * sizeof(float));
        }
        if (kept != i && f->s->layer_inputs) {
            memcpy(f->s->layer_inputs + kept * inputs, f->s->layer_inputs + i * inputs,
                   inputs * sizeof(float));
        }
        if (kept != i && f->layer->is_parallel) {
            memcpy(f->s->side + kept * dim, f->s->side + i * dim, dim * sizeof(float));
        }
        f->s->rows[kept++] = f->rows[i];
    }
    f->rows = f->s->rows;
    f->row_count = kept;
}

const float *model_block_input(const struct forward *f)
{
    return has_attention_norm(f) ? f->s->norm : f->s->x;
}

void model_mix_heads(struct forward *f)
{
    const struct layer *layer = f->layer;
    const struct product out = model_product(&layer->out, f->s->norm, layer->out_bias);
    model_multiply(f, f->s->attn, layer->out.cols, &out, 1);
}

static void run_mixer(struct forward *f)
{
    static void (*const mixers[MIXER_COUNT])(struct forward * f) = {
        [MIXER_ATTENTION] = model_run_attention,   [MIXER_LATENT] = model_run_latent,
        [MIXER_SHORT_CONV] = model_run_short_conv, [MIXER_DELTA_NET] = model_run_delta_net,
        [MIXER_MAMBA2] = model_run_mamba2,
    };
    mixers[f->shape->mixer](f);
}

const float *model_ffn_input(const struct forward *f)
{
    return f->layer->is_parallel               ? f->s->side
           : traits_norm_input(f->m->h.traits) ? f->s->norm
                                               : f->s->x;
}

void model_run_dense(struct forward *f)
{
    const struct layer *layer = f->layer;
    struct scratch *s = f->s;
    const float *x = model_ffn_input(f);
    const struct product gate_up[] = {model_product(&layer->up, s->up, layer->up_bias),
                                      model_product(&layer->gate, s->gate, layer->gate_bias)};
    model_multiply(f, x, f->m->h.embed_dim, gate_up, layer->gate.rows != 0 ? 2 : 1);
    model_each_row(f, model_activate_row, (size_t)f->shape->ffn_dim * 2);
    const struct product down = model_product(&layer->down, s->norm, layer->down_bias);
    model_multiply(f, s->gate, f->shape->ffn_dim, &down, 1);
}

void model_feed_forward(struct forward *f)
{
    if (f->layer->experts && f->m->h.traits->has_twin_ffn) {
        model_run_twin(f);
    } else if (f->layer->experts) {
        model_run_experts(f);
    } else {
        model_run_dense(f);
    }
}

static void run_head(struct forward *f, float *logits)
{
    const struct weights *w = &f->m->layout.weights;
    double scale = f->m->h.logit_scale;
    const struct join join = {.adds_block = !f->is_added,
                              .post_norm = f->layer->ffn_post_norm,
                              .has_norm = true,
                              .weight = w->output_norm,
                              .bias = w->output_norm_bias};
    join_rows(f, &join);
    const struct product head = model_product(&w->output, logits, w->output_bias);
    model_multiply(f, f->s->norm, f->m->h.embed_dim, &head, 1);
    if (scale != 1) {
        float factor = (float)(1 / scale);
        for (size_t i = 0; i < f->row_count * w->output.rows; i++) {
            logits[i] *= factor;
        }
    }
    if (f->m->h.logit_cap != 0) {
        f->logits = logits;
        model_each_row(f, cap_row, (size_t)w->output.rows * 4);
    }
}

static void check_batch(const struct model *m, const struct model_batch *batch)
{
    size_t wanted = 0;
    assert(!m->h.traits->is_encoder);
    assert(batch->row_count <= m->params.batch_rows_max);
    assert(batch->seq_count <= m->params.sequences_max);
    for (size_t i = 0; i < batch->row_count; i++) {
        const struct model_row *row = &batch->rows[i];
        assert(row->token >= 0 && (uint32_t)row->token < m->h.vocab_count);
        assert(row->pos < m->plan.ctx_tokens && row->seq < batch->seq_count);
        assert(row->pos / KV_PAGE_TOKENS < batch->seqs[row->seq].page_count);
        assert(batch->seqs[row->seq].pages[row->pos / KV_PAGE_TOKENS] < m->plan.kv_pages);
        assert(m->plan.states == 0 || batch->seqs[row->seq].state < m->plan.states);
        assert(i == 0 || row[-1].seq != row->seq || row[-1].pos + 1 == row->pos);
        wanted += row->wants_logits;
    }
    assert(wanted <=
           (m->params.logits_rows_max ? m->params.logits_rows_max : m->params.sequences_max));
    (void)m;
    (void)wanted;
}

bool model_forward_while(struct model *m, const struct model_batch *batch, float *logits,
                         bool (*is_wanted)(void *arg), void *arg)
{
    struct forward f = {.m = m,
                        .k = m->kernels,
                        .s = &m->scratch,
                        .batch = batch,
                        .rows = batch->rows,
                        .row_count = batch->row_count};
    check_batch(m, batch);
    for (size_t i = 0; i < batch->seq_count; i++) {
        f.lora.is_on |= m->layout.lora.part_count > 0 && batch->seqs[i].scales;
    }
    mem_guard_begin();
    model_embed(&f);
    model_make_layer_inputs(&f);
    assert(!is_wanted || !m->states);
    for (uint32_t i = 0; i < m->h.layer_count && f.row_count > 0; i++) {
        if (is_wanted && !is_wanted(arg)) {
            mem_guard_end();
            return false;
        }
        const struct layer *before = f.is_added ? NULL : f.layer;
        f.layer = &m->layout.weights.layers[i];
        f.shape = &m->h.layers[i];
        f.ffn_dim = f.shape->ffn_dim;
        model_enter_attention(&f, before);
        f.is_last = i + 1 == m->h.layer_count;
        run_mixer(&f);
        model_enter_ffn(&f);
        model_feed_forward(&f);
        f.is_added = model_run_tail(&f);
    }
    if (f.row_count > 0) {
        run_head(&f, logits);
    }
    mem_guard_end();
    return true;
}

void model_forward(struct model *m, const struct model_batch *batch, float *logits)
{
    model_forward_while(m, batch, logits, NULL, NULL);
}
