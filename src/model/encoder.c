/* The pass over whole texts. It is made of the steps of forward.c; what differs:
 *
 *     rows      | text 0 ........ | text 1 .. | text 2 ............ |     packed, no padding
 *     pieces    |--- 256 rows ---|--- 256 rows ---|---              |     see below
 *     keys      text 0 at page 0, text 1 at the next free page, ...       one layer's at a time
 *
 *     for each layer
 *         for each piece    norm, q, k, v; keys and values to the pages
 *         for each piece    attention to all keys of the row's text, W_out, feed-forward block
 *
 * Keys and values of all rows must be there before the first query, hence two sweeps; pages are
 * used again by the next layer. Rows go in pieces so that what a block makes of them (the ffn is
 * the widest) stays in the second-level cache.
 *
 * Where only the first or the last token of a text counts, the others end with the keys and values
 * of the last layer. */
#include "model/encoder.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "model/activate.h"
#include "model/encoder_work.h"
#include "model/forward.h"
#include "model/instance.h"

struct model_encoder {
    struct model *model; /* the caller's, or `view` */
    struct model view;   /* of a decoder: its weights, with scratch and pages of ours */
    struct model_encoder_info info;
    struct encoder_work work;
    size_t class_count;
    uint8_t *own_pages, *own_work; /* of os_pages_alloc; NULL for an encoder's file */
    size_t own_pages_bytes, own_work_bytes;
};

/* ---- memory ---- */

size_t model_encoder_rows(size_t tokens_max)
{
    return size_max(tokens_max, MODEL_ENCODER_ROWS_DEFAULT);
}

size_t model_encoder_pages(size_t tokens_max)
{
    return model_encoder_rows(tokens_max) / KV_PAGE_TOKENS + MODEL_ENCODER_TEXTS_MAX;
}

bool model_encoder_page_bytes(const struct hparams *h, size_t *bytes)
{
    size_t per_token;
    return size_mul(h->max.kv_head_count, (size_t)h->max.key_dim + h->max.value_dim, &per_token) &&
           size_mul(per_token, KV_PAGE_TOKENS * sizeof(float), bytes);
}

/* The widest vector between the last layer and the result. */
static size_t head_width(const struct layout *layout, const struct hparams *h)
{
    const struct head *head = &layout->weights.head;
    size_t dense = size_max(head->dense.rows, head->out.rows);
    return size_max(h->embed_dim,
                    size_max(dense, size_max(head->dense_2.rows, head->dense_3.rows)));
}

void model_encoder_carve(struct carver *c, struct encoder_work *work, const struct layout *layout,
                         const struct hparams *h, size_t tokens_max, size_t class_count)
{
    size_t rows = model_encoder_rows(tokens_max), widest = head_width(layout, h);
    *work = (struct encoder_work){0};
    model_layout_scratch(c, &work->scratch, h, rows, MODEL_ENCODER_PIECE_ROWS, 1);
    work->rows = carve(c, rows, 1, sizeof *work->rows);
    work->blocks =
        carve(c, model_whole_blocks(rows, MODEL_ENCODER_TEXTS_MAX), 1, sizeof *work->blocks);
    work->seqs = carve(c, MODEL_ENCODER_TEXTS_MAX, 1, sizeof *work->seqs);
    work->counts = carve(c, MODEL_ENCODER_TEXTS_MAX, 1, sizeof *work->counts);
    work->pages = carve(c, model_encoder_pages(tokens_max), 1, sizeof *work->pages);
    work->pooled = carve(c, MODEL_ENCODER_TEXTS_MAX, widest, sizeof(float));
    work->inner = carve(c, MODEL_ENCODER_TEXTS_MAX, widest, sizeof(float));
    work->act = carve(c, activation_bytes(MODEL_ENCODER_TEXTS_MAX, widest), 1, 1);
    work->classes = carve(c, class_count, h->embed_dim, sizeof(float));
}

/* ---- making one ---- */

const char *model_encoder_pooling_name(enum model_encoder_pooling pooling)
{
    static const char *const names[] = {"none", "mean", "cls", "last", "rank"};
    return names[pooling];
}

static bool fill_info(struct model_encoder *e, const struct model_encoder_params *params,
                      uint32_t tokens_max, struct err *err)
{
    const struct model *m = e->model;
    const struct head *head = &m->layout.weights.head;
    e->info = (struct model_encoder_info){.pooling = m->info.pooling,
                                          .has_pooling_key = m->h.has_pooling_key,
                                          .is_causal = m->h.is_causal,
                                          .width = m->info.vector_width,
                                          .tokens_max = tokens_max,
                                          .rows_max = (uint32_t)model_encoder_rows(tokens_max)};
    e->class_count = params->class_count;
    if (params->class_count > 0) {
        e->info.pooling = MODEL_ENCODER_RANK;
        e->info.width = (uint32_t)params->class_count;
    } else if (e->info.pooling == MODEL_ENCODER_RANK) {
        e->info.width = (uint32_t)(head->out.rows != 0 ? head->out.rows : head->dense.rows);
        return e->info.width != 0 ||
               err_set(err, ERR_FORMAT,
                       "key %s.pooling_type asks for ranks, but there is neither cls.weight nor "
                       "cls.output.weight",
                       m->h.traits->architecture);
    }
    return true;
}

/* Scratch and pages of a decoder's encoder. */
static bool reserve(struct model_encoder *e, const struct model_encoder_params *params,
                    uint32_t tokens_max, struct err *err)
{
    struct model *m = &e->view;
    struct carver counted = {0};
    size_t page_bytes = 0;
    model_encoder_carve(&counted, &e->work, &m->layout, &m->h, tokens_max, params->class_count);
    bool fits = !counted.overflowed && model_encoder_page_bytes(&m->h, &page_bytes) &&
                size_mul(page_bytes, model_encoder_pages(tokens_max), &e->own_pages_bytes);
    uint64_t budget = params->memory_max ? params->memory_max : os_memory_available();
    uint64_t wanted = (uint64_t)counted.used + e->own_pages_bytes;
    if (!fits || wanted > budget) {
        e->own_pages_bytes = 0;
        return err_set(err, ERR_MEMORY,
                       "reading texts of %u tokens needs %llu bytes, %llu are available",
                       tokens_max, (unsigned long long)(fits ? wanted : UINT64_MAX),
                       (unsigned long long)budget);
    }
    e->own_work_bytes = counted.used;
    e->own_pages = os_pages_alloc(e->own_pages_bytes, err);
    e->own_work = e->own_pages ? os_pages_alloc(e->own_work_bytes, err) : NULL;
    m->pages = e->own_pages;
    m->plan.page_bytes = page_bytes;
    m->params.kv_type = KV_F32;
    return e->own_work != NULL;
}

/* Its layers stand at the beginning of a page: pages hold one layer at a time. */
static bool take_view(struct model_encoder *e, const struct model *model, struct err *err)
{
    size_t count = model->h.layer_count;
    struct layer *layers = mem_alloc(count, sizeof *layers);
    if (!layers) {
        return err_set_memory(err, count * sizeof *layers);
    }
    e->view = *model;
    memcpy(layers, model->layout.weights.layers, count * sizeof *layers);
    for (size_t i = 0; i < count; i++) {
        layers[i].kv_offset = 0;
    }
    e->view.layout.weights.layers = layers;
    e->model = &e->view;
    return true;
}

static uint32_t text_tokens(const struct model *model, const struct model_encoder_params *params)
{
    uint32_t tokens = params->tokens_max ? params->tokens_max : MODEL_ENCODER_TOKENS_DEFAULT;
    return tokens < model->plan.ctx_tokens ? tokens : model->plan.ctx_tokens;
}

static void read_classes(struct model_encoder *e, const struct model_encoder_params *params)
{
    const struct weights *w = &e->model->layout.weights;
    for (size_t i = 0; i < params->class_count; i++) {
        matrix_row(&w->output, (size_t)params->class_tokens[i],
                   e->work.classes + i * e->model->h.embed_dim);
    }
}

static bool set_up(struct model_encoder *e, struct model *model,
                   const struct model_encoder_params *params, struct err *err)
{
    const bool is_own = !model->h.traits->is_encoder;
    uint32_t tokens_max = text_tokens(model, params);
    e->model = model;
    if (is_own && (!take_view(e, model, err) || !reserve(e, params, tokens_max, err))) {
        return false;
    }
    if (!fill_info(e, params, tokens_max, err)) {
        return false;
    }
    struct carver c = {.base = is_own ? e->own_work : model->work + model->plan.table_bytes};
    model_encoder_carve(&c, &e->work, &e->model->layout, &e->model->h, tokens_max,
                        params->class_count);
    assert(is_own ? c.used == e->own_work_bytes : c.used == model->plan.scratch_bytes);
    e->info.scratch_bytes = c.used + (is_own ? e->own_pages_bytes : model->plan.kv_bytes);
    for (uint32_t i = 0; i < model_encoder_pages(tokens_max); i++) {
        e->work.pages[i] = i;
    }
    read_classes(e, params);
    return true;
}

/* Texts are read piece by piece, each layer for all of them: a state that is passed on has no place
 * in that order, and the attention over whole texts is the plain one. */
static bool check_layers(const struct model *model, struct err *err)
{
    for (uint32_t i = 0; i < model->h.layer_count; i++) {
        const struct layer_shape *layer = &model->h.layers[i];
        if (layer->mixer != MIXER_ATTENTION || layer->chunk != 0 ||
            model->h.traits->has_query_gate || model->h.traits->has_sinks ||
            model->h.traits->has_value_norm) {
            return err_set(err, ERR_ARCH, "models of architecture %s cannot make vectors of texts",
                           model->h.traits->architecture);
        }
    }
    return true;
}

struct model_encoder *model_encoder_create(struct model *model,
                                           const struct model_encoder_params *params,
                                           struct err *err)
{
    if (!check_layers(model, err)) {
        return NULL;
    }
    struct model_encoder *e = MEM_NEW(struct model_encoder);
    if (!e) {
        err_set_memory(err, sizeof *e);
        return NULL;
    }
    assert(params->class_count == 0 || !model->h.traits->is_encoder);
    if (!set_up(e, model, params, err)) {
        model_encoder_destroy(e);
        return NULL;
    }
    return e;
}

void model_encoder_destroy(struct model_encoder *e)
{
    if (!e) {
        return;
    }
    if (e->model == &e->view) {
        mem_free(e->view.layout.weights.layers);
    }
    if (e->own_pages) {
        os_pages_free(e->own_pages, e->own_pages_bytes);
    }
    if (e->own_work) {
        os_pages_free(e->own_work, e->own_work_bytes);
    }
    mem_free(e);
}

const struct model_encoder_info *model_encoder_info(const struct model_encoder *e)
{
    return &e->info;
}

/* ---- the layers ---- */

/* Rows [first, first + count) of f, with what is kept for all rows moved along. */
struct part {
    struct forward f;
    struct scratch s;
};

static void take_part(struct part *part, const struct forward *f, size_t first)
{
    const struct hparams *h = &f->m->h;
    size_t dim = h->embed_dim, q_dim = (size_t)f->shape->head_count * f->shape->key_dim;
    size_t angles = model_rope_pairs(h);
    part->f = *f;
    part->s = *f->s;
    part->f.s = &part->s;
    part->f.rows = f->rows + first;
    part->f.row_count = size_min(f->row_count - first, MODEL_ENCODER_PIECE_ROWS);
    part->s.x += first * dim;
    part->s.q += first * q_dim;
    part->s.cos += first * angles;
    part->s.sin += first * angles;
    part->s.side = part->s.side ? part->s.side + first * dim : NULL;
}

static void attend(const struct model_encoder *e, struct forward *f)
{
    const struct model *m = e->model;
    const struct hparams *h = &m->h;
    const struct whole whole = {
        .kernels = f->k,
        .pages = m->pages,
        .page_bytes = m->plan.page_bytes,
        .v_offset =
            (size_t)f->shape->kv_head_count * f->shape->key_dim * KV_PAGE_TOKENS * sizeof(float),
        .head_count = f->shape->head_count,
        .kv_head_count = f->shape->kv_head_count,
        .key_dim = f->shape->key_dim,
        .value_dim = f->shape->value_dim,
        .scale = (float)h->attn_scale,
        .cap = (float)h->score_cap,
        .alibi_bias = (float)h->alibi_bias,
        .window = f->shape->window,
        .is_causal = e->info.is_causal,
        .seqs = e->work.seqs,
        .counts = e->work.counts,
        .rows = f->rows,
        .row_count = f->row_count,
        .q = f->s->q,
        .out = f->s->attn,
        .blocks = e->work.blocks,
    };
    model_attend_whole(&whole, m->pool);
}

static void run_layer(const struct model_encoder *e, struct forward *f, bool is_last)
{
    struct part part;
    for (size_t first = 0; first < f->row_count; first += MODEL_ENCODER_PIECE_ROWS) {
        take_part(&part, f, first);
        model_enter_attention(&part.f, NULL);
        model_project(&part.f);
    }
    const struct row_buffer kept = {f->s->q, (size_t)f->shape->head_count * f->shape->key_dim};
    f->is_last = is_last;
    model_keep_wanted(f, &kept, 1);
    for (size_t first = 0; first < f->row_count; first += MODEL_ENCODER_PIECE_ROWS) {
        take_part(&part, f, first);
        attend(e, &part.f);
        model_mix_heads(&part.f);
        model_enter_ffn(&part.f);
        model_feed_forward(&part.f);
        model_leave(&part.f);
    }
}

/* ---- from hidden states to the result ---- */

static void end_row(struct forward *f, size_t row)
{
    const struct weights *w = &f->m->layout.weights;
    size_t dim = f->m->h.embed_dim;
    float *x = f->s->x + row * dim;
    if (w->output_norm || f->m->h.traits->has_bare_norms) {
        model_normalize(f, x, w->output_norm, w->output_norm_bias, x, dim);
    }
}

/* The mean of each text's rows, in their order. */
static void pool_mean(const struct model_encoder *e, const struct forward *f, size_t texts)
{
    size_t dim = e->model->h.embed_dim, row = 0;
    for (size_t i = 0; i < texts; i++) {
        float *sum = e->work.pooled + i * dim;
        size_t count = e->work.counts[i];
        memset(sum, 0, dim * sizeof *sum);
        for (size_t end = row + count; row < end; row++) {
            f->k->add(sum, f->s->x + row * dim, sum, dim);
        }
        for (size_t d = 0; d < dim; d++) {
            sum[d] /= (float)count;
        }
    }
}

static void multiply_head(const struct model_encoder *e, const struct forward *f,
                          const struct matrix *w, const float *bias, const float *x, float *y,
                          size_t texts)
{
    struct scratch s = {.act = e->work.act};
    struct forward part = *f;
    const struct product product = model_product(w, y, bias);
    part.s = &s;
    part.row_count = texts;
    model_multiply(&part, x, w->cols, &product, 1);
}

/* Classes: out(norm(act(dense x))), each step if the file has it. Returns where they are. */
static float *classify(const struct model_encoder *e, const struct forward *f, size_t texts)
{
    const struct head *head = &e->model->layout.weights.head;
    float *x = e->work.pooled, *y = e->work.inner;
    size_t width = head->dense.rows;
    if (width != 0) {
        multiply_head(e, f, &head->dense, head->dense_bias, x, y, texts);
        for (size_t i = 0; i < texts; i++) {
            float *v = y + i * width;
            if (e->model->h.traits->has_mean_head) {
                model_gelu_mul(f->k, v, NULL, v, width);
            } else {
                model_soft_cap(f->k, v, width, 1);
            }
            if (head->norm) {
                model_normalize(f, v, head->norm, NULL, v, width);
            }
        }
        x = y;
        y = e->work.pooled;
    }
    if (head->out.rows == 0) {
        return x;
    }
    multiply_head(e, f, &head->out, head->out_bias, x, y, texts);
    return y;
}

/* The logits of a few tokens. */
static float *classify_tokens(const struct model_encoder *e, size_t texts)
{
    size_t dim = e->model->h.embed_dim;
    for (size_t i = 0; i < texts; i++) {
        const float *x = e->work.pooled + i * dim;
        for (size_t c = 0; c < e->class_count; c++) {
            const float *w = e->work.classes + c * dim;
            double sum = 0;
            for (size_t d = 0; d < dim; d++) {
                sum += (double)x[d] * (double)w[d];
            }
            e->work.inner[i * e->class_count + c] = (float)(sum / e->model->h.logit_scale);
        }
    }
    return e->work.inner;
}

/* A decoder's classes are logits of tokens: they become probabilities. */
static void softmax(const struct forward *f, float *x, size_t count, size_t texts)
{
    for (size_t i = 0; i < texts; i++, x += count) {
        float max = -INFINITY;
        for (size_t c = 0; c < count; c++) {
            max = x[c] > max ? x[c] : max;
        }
        float inverse = 1 / f->k->exp_sum(x, max, count);
        for (size_t c = 0; c < count; c++) {
            x[c] *= inverse;
        }
    }
}

static float *rank(const struct model_encoder *e, const struct forward *f, size_t texts)
{
    float *x = e->class_count > 0 ? classify_tokens(e, texts) : classify(e, f, texts);
    if (!e->model->h.traits->is_encoder) {
        softmax(f, x, e->info.width, texts);
    }
    return x;
}

static float *finish(const struct model_encoder *e, const struct forward *f, size_t texts)
{
    const struct head *head = &e->model->layout.weights.head;
    float *x = e->work.pooled, *y = e->work.inner;
    if (e->info.pooling == MODEL_ENCODER_RANK) {
        return rank(e, f, texts);
    }
    if (head->dense_2.rows != 0) {
        multiply_head(e, f, &head->dense_2, NULL, x, y, texts);
        x = e->work.inner;
        y = e->work.pooled;
    }
    if (head->dense_3.rows != 0) {
        multiply_head(e, f, &head->dense_3, NULL, x, y, texts);
        x = y;
    }
    return x;
}

/* ---- a call ---- */

static bool is_mean(const struct model_encoder *e)
{
    return e->info.pooling == MODEL_ENCODER_MEAN ||
           (e->info.pooling == MODEL_ENCODER_RANK && e->model->h.traits->has_mean_head);
}

/* Ranks are read off the first token, which in an encoder has seen all, or off a decoder's last. */
static bool is_wanted(const struct model_encoder *e, size_t pos, size_t count)
{
    const enum model_encoder_pooling pooling = e->info.pooling;
    const bool is_rank = pooling == MODEL_ENCODER_RANK, is_encoder = e->model->h.traits->is_encoder;
    if (pooling == MODEL_ENCODER_NONE || is_mean(e)) {
        return true;
    }
    return pooling == MODEL_ENCODER_CLS || (is_rank && is_encoder) ? pos == 0 : pos + 1 == count;
}

static size_t pack_rows(struct model_encoder *e, const struct model_encoder_text *texts,
                        size_t count)
{
    size_t row = 0, page = 0;
    assert(count <= MODEL_ENCODER_TEXTS_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t tokens = texts[i].count;
        size_t second = texts[i].second_at != 0 ? texts[i].second_at : tokens;
        assert(tokens > 0 && tokens <= e->info.tokens_max && row + tokens <= e->info.rows_max);
        e->work.counts[i] = (uint32_t)tokens;
        e->work.seqs[i] = (struct model_seq){
            .pages = e->work.pages + page,
            .page_count = (tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS,
        };
        page += e->work.seqs[i].page_count;
        for (size_t pos = 0; pos < tokens; pos++, row++) {
            assert((uint32_t)texts[i].tokens[pos] < e->model->h.vocab_count);
            e->work.rows[row] = (struct model_row){.token = texts[i].tokens[pos],
                                                   .pos = (uint32_t)pos,
                                                   .seq = (uint32_t)i,
                                                   .type = pos >= second,
                                                   .wants_logits = is_wanted(e, pos, tokens)};
        }
    }
    return row;
}

void model_encoder_run(struct model_encoder *e, const struct model_encoder_text *texts,
                       size_t count, float *out)
{
    struct model *m = e->model;
    const struct model_batch batch = {.rows = e->work.rows,
                                      .row_count = pack_rows(e, texts, count),
                                      .seqs = e->work.seqs,
                                      .seq_count = count};
    struct forward f = {.m = m,
                        .k = m->kernels,
                        .s = &e->work.scratch,
                        .batch = &batch,
                        .rows = batch.rows,
                        .row_count = batch.row_count,
                        .shape = &m->h.layers[0]};
    struct part part;
    mem_guard_begin();
    for (size_t first = 0; first < f.row_count; first += MODEL_ENCODER_PIECE_ROWS) {
        take_part(&part, &f, first);
        model_embed(&part.f);
    }
    for (uint32_t i = 0; i < m->h.layer_count; i++) {
        f.layer = &m->layout.weights.layers[i];
        f.shape = &m->h.layers[i];
        f.ffn_dim = f.shape->ffn_dim;
        run_layer(e, &f, i + 1 == m->h.layer_count);
    }
    model_each_row(&f, end_row, (size_t)m->h.embed_dim * 2);
    size_t width = e->info.width;
    if (e->info.pooling == MODEL_ENCODER_NONE) {
        memcpy(out, f.s->x, f.row_count * width * sizeof *out);
    } else {
        if (is_mean(e)) {
            pool_mean(e, &f, count);
        } else {
            memcpy(e->work.pooled, f.s->x, count * m->h.embed_dim * sizeof *out);
        }
        memcpy(out, finish(e, &f, count), count * width * sizeof *out);
    }
    mem_guard_end();
}
