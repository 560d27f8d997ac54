/* Loading: the plan is reserved first, then the weights are packed from guarded windows of the
 * file.
 *
 * Packing is cut in pieces of about 1 MiB of file bytes, each with its own window, so that a window
 * of a large file never takes more address space than that per thread; pieces run on the pool in
 * rounds, and between rounds the caller reports progress. A file that shrinks meanwhile reads as
 * zeros, not as a signal, and is noticed at the end. */
#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "model/instance.h"
#include "model/rope.h"
#include "tensor/codec.h"

enum { PIECE_BYTES = 1 << 20, ROUND_PIECES = 128 };

struct piece {
    const struct weight_item *item;
    uint64_t row, count; /* rows of the item */
};

struct loading {
    struct model *model;
    const struct gguf *gguf;
    struct piece *pieces; /* [ROUND_PIECES] of this round */
    size_t piece_count;
    uint64_t done, all;
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void *progress_arg;
    atomic_bool failed;
    struct err *err; /* written by the piece that sets `failed` */
};

/* ---- one piece ---- */

/* The transpose of the item's rows, packed as float. */
static bool store_turned(const struct weight_item *item, uint8_t *to, const unsigned char *source,
                         struct err *err)
{
    const struct matrix *matrix = item->slot;
    const struct gguf_tensor *tensor = item->tensor;
    size_t rows = matrix->rows, cols = matrix->cols; /* those of the result */
    float *row = mem_alloc(rows, sizeof *row), *turned = mem_alloc(rows * cols, sizeof *turned);
    bool ok = row && turned;
    for (size_t c = 0; c < cols && ok; c++) {
        codec_decode_row(tensor->type, source + c * tensor->row_bytes, row, rows);
        for (size_t r = 0; r < rows; r++) {
            turned[r * cols + c] = row[r];
        }
    }
    if (ok) {
        matrix_pack(matrix, 0, (rows + MATRIX_PANEL_ROWS - 1) / MATRIX_PANEL_ROWS, turned, to);
    }
    mem_free(row);
    mem_free(turned);
    return ok || err_set_memory(err, rows * (cols + 1) * sizeof(float));
}

static bool store_piece(const struct piece *piece, uint8_t *base, const unsigned char *source,
                        struct err *err)
{
    const struct weight_item *item = piece->item;
    const struct gguf_tensor *tensor = item->tensor;
    uint8_t *to = base + item->at;
    if (item->kind == WEIGHT_TURNED) {
        return store_turned(item, to, source, err);
    }
    if (item->kind == WEIGHT_MATRIX) {
        size_t panel = piece->row / MATRIX_PANEL_ROWS;
        size_t panels = (piece->count + MATRIX_PANEL_ROWS - 1) / MATRIX_PANEL_ROWS;
        matrix_pack(item->slot, panel, panels, source, to);
    } else if (item->kind == WEIGHT_ROWS) {
        memcpy(to + piece->row * tensor->row_bytes, source, piece->count * tensor->row_bytes);
    } else {
        for (uint64_t row = 0; row < piece->count; row++) {
            codec_decode_row(tensor->type, source + row * tensor->row_bytes,
                             (float *)(void *)to + (piece->row + row) * tensor->dims[0],
                             tensor->dims[0]);
        }
    }
    return true;
}

static void run_piece(void *arg, size_t index, size_t thread)
{
    struct loading *l = arg;
    const struct piece *piece = &l->pieces[index];
    struct os_map map = {0};
    struct err err = {0};
    (void)thread;
    if (atomic_load(&l->failed)) {
        return;
    }
    bool ok = gguf_rows_open(l->gguf, piece->item->tensor, piece->item->row + piece->row,
                             piece->count, &map, &err);
    if (ok) {
        ok = store_piece(piece, l->model->weights, map.ptr, &err);
        if (ok && os_map_is_lost(&map)) {
            ok = err_set(&err, ERR_FORMAT, "the file became shorter while it was read");
        }
        os_map_close(&map);
    }
    if (!ok && !atomic_exchange(&l->failed, true)) {
        char quoted[STR_QUOTE_MAX];
        err_wrap(&err, "tensor %s", str_quote(quoted, piece->item->tensor->name));
        if (l->err) {
            *l->err = err;
        }
    }
}

/* ---- rounds ---- */

static bool run_round(struct loading *l)
{
    pool_run(l->model->pool, run_piece, l, l->piece_count);
    for (size_t i = 0; i < l->piece_count; i++) {
        l->done += l->pieces[i].count * l->pieces[i].item->tensor->row_bytes;
    }
    l->piece_count = 0;
    if (l->progress) {
        l->progress(l->progress_arg, l->done, l->all);
    }
    return !atomic_load(&l->failed);
}

/* Pieces hold whole panels. */
static bool add_item(struct loading *l, const struct weight_item *item)
{
    const struct gguf_tensor *tensor = item->tensor;
    uint64_t step = PIECE_BYTES / (tensor->row_bytes + 1) / MATRIX_PANEL_ROWS * MATRIX_PANEL_ROWS;
    step = step < MATRIX_PANEL_ROWS ? MATRIX_PANEL_ROWS : step;
    step = item->kind == WEIGHT_TURNED ? item->row_count : step;
    for (uint64_t row = 0; row < item->row_count; row += step) {
        uint64_t left = item->row_count - row;
        l->pieces[l->piece_count++] =
            (struct piece){.item = item, .row = row, .count = left < step ? left : step};
        if (l->piece_count == ROUND_PIECES && !run_round(l)) {
            return false;
        }
    }
    return true;
}

static const float *stacked(const float *biases, size_t index, size_t count)
{
    return biases ? biases + index * count : NULL;
}

/* What stands inside of a tensor with others. */
static void bind_parts(struct model *m, struct layer *layer)
{
    if (layer->has_fused_bias) {
        layer->k_bias = layer->q_bias + layer->q.rows;
        layer->v_bias = layer->k_bias + layer->k.rows;
    }
    for (uint32_t e = 0; layer->experts && e < m->h.expert_count; e++) {
        struct expert *expert = &layer->experts[e];
        expert->gate_bias = stacked(layer->gate_biases, e, expert->gate.rows);
        expert->up_bias = stacked(layer->up_biases, e, expert->up.rows);
        expert->down_bias = stacked(layer->down_biases, e, expert->down.rows);
    }
}

/* Points the layout at its region; matrices are made again over their bytes. */
static void bind_items(struct model *m)
{
    for (size_t i = 0; i < m->layout.item_count; i++) {
        const struct weight_item *item = &m->layout.items[i];
        uint8_t *at = m->weights + item->at;
        if (item->kind == WEIGHT_MATRIX || item->kind == WEIGHT_TURNED) {
            struct matrix *matrix = item->slot;
            matrix_init(matrix, matrix->type, matrix->rows, matrix->cols, at);
        } else if (item->kind == WEIGHT_ROWS) {
            memcpy(item->slot, &at, sizeof at);
        } else {
            memcpy(item->slot, &at, sizeof at);
        }
    }
    for (uint32_t i = 0; i < m->h.layer_count; i++) {
        bind_parts(m, &m->layout.weights.layers[i]);
    }
}

static bool load_weights(struct loading *l)
{
    struct model *m = l->model;
    bool ok = true;
    bind_items(m);
    for (size_t i = 0; i < m->layout.item_count; i++) {
        l->all += m->layout.items[i].row_count * m->layout.items[i].tensor->row_bytes;
    }
    for (size_t i = 0; i < m->layout.item_count && ok; i++) {
        ok = add_item(l, &m->layout.items[i]);
    }
    ok = ok && run_round(l);
    if (ok && gguf_has_changed(l->gguf)) {
        ok = err_set(l->err, ERR_FORMAT, "the file changed while it was read");
    }
    return ok;
}

/* ---- the model ---- */

/* The type that holds most bytes. */
static void find_quantization(const struct gguf *gguf, char *out, size_t size)
{
    uint64_t bytes[64] = {0}, best = 0;
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        size_t id = (size_t)gguf->tensors[i].type & 63;
        bytes[id] += gguf->tensors[i].bytes;
        if (bytes[id] >= best) {
            best = bytes[id];
        }
    }
    for (uint32_t id = 0; id < 64; id++) {
        const struct dtype_info *info = dtype_find(id);
        if (info && bytes[id] == best) {
            snprintf(out, size, "%s", info->name);
            return;
        }
    }
}

static uint32_t vector_width(const struct model *m)
{
    const struct head *head = &m->layout.weights.head;
    size_t dense = head->dense_3.rows != 0 ? head->dense_3.rows : head->dense_2.rows;
    return m->h.pooling == POOLING_RANK ? 0 : dense != 0 ? (uint32_t)dense : m->h.embed_dim;
}

static void fill_info(struct model *m, const struct gguf *gguf)
{
    const struct hparams *h = &m->h;
    struct str name = {0};
    gguf_get_str(gguf, STR("general.name"), &name, NULL, NULL);
    m->info = (struct model_info){
        .layer_count = h->layer_count,
        .embed_dim = h->embed_dim,
        .head_count = h->max.head_count,
        .kv_head_count = h->max.kv_head_count,
        .head_dim = h->key_dim,
        .ffn_dim = h->max.ffn_dim,
        .vocab_count = h->vocab_count,
        .ctx_train_tokens = h->ctx_train_tokens,
        .parameter_count = m->layout.parameters,
        .adapter_count = m->layout.lora.adapter_count,
        .file_bytes = gguf->file_bytes,
        .read_bytes_per_token = m->layout.read_bytes,
        .macs_per_token = m->layout.macs,
        .is_encoder = h->traits->is_encoder,
        .pooling = (enum model_encoder_pooling)h->pooling,
        .has_pooling_key = h->has_pooling_key,
        .vector_width = vector_width(m),
    };
    snprintf(m->info.architecture, sizeof m->info.architecture, "%s", h->traits->architecture);
    str_quote(m->info.name, name);
    find_quantization(gguf, m->info.quantization, sizeof m->info.quantization);
}

static bool reserve(struct model *m, struct err *err)
{
    m->weights_bytes = m->plan.weights_bytes;
    m->adapters_bytes = m->plan.adapters_bytes;
    m->pages_bytes = m->plan.kv_bytes;
    m->work_bytes = m->plan.scratch_bytes + m->plan.table_bytes;
    m->states_bytes = m->plan.states_bytes;
    m->weights = os_pages_alloc(m->weights_bytes, err);
    m->pages = m->weights ? os_pages_alloc(m->pages_bytes, err) : NULL;
    m->work = m->pages ? os_pages_alloc(m->work_bytes, err) : NULL;
    if (m->work && m->states_bytes != 0) {
        m->states = os_pages_alloc(m->states_bytes, err);
    }
    if (m->work && m->adapters_bytes != 0) {
        m->adapters = os_pages_alloc(m->adapters_bytes, err);
    }
    if (!m->work || (m->states_bytes != 0 && !m->states) ||
        (m->adapters_bytes != 0 && !m->adapters)) {
        return false;
    }
    m->rope_freq[ROPE_TABLE_MAIN] = (double *)(void *)m->work;
    m->rope_freq[ROPE_TABLE_WINDOW] =
        m->rope_freq[ROPE_TABLE_MAIN] + m->h.rope[ROPE_TABLE_MAIN].dim / 2;
    if (!m->h.traits->is_encoder) { /* its encoder takes it */
        struct carver carver = {.base = m->work + m->plan.table_bytes};
        model_layout_scratch(&carver, &m->scratch, &m->h, m->params.batch_rows_max,
                             m->params.batch_rows_max, m->plan.ctx_tokens);
        assert(carver.used == m->plan.scratch_bytes);
    }
    return true;
}

/* "name.gguf: " before the message, once. */
static bool fail_file(const struct gguf *gguf, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    return err_wrap(err, "%s", str_quote(quoted, str_of(gguf->path)));
}

static bool plan_model(const struct gguf *gguf, const struct model_params *params,
                       struct hparams *h, struct layout *layout, struct model_plan *plan,
                       struct err *err)
{
    if (!model_hparams_read(h, gguf, err) || !model_layout_init(layout, h, gguf, err) ||
        !model_lora_init(&layout->lora, layout, h, gguf, params->adapters, params->adapter_count,
                         err)) {
        return false;
    }
    return model_layout_plan(layout, h, params->kv_type, params, plan, err);
}

bool model_is_encoder(const struct gguf *gguf)
{
    struct str architecture = {0};
    struct err ignored;
    gguf_get_str(gguf, STR("general.architecture"), &architecture, NULL, &ignored);
    const struct traits *traits = model_traits_find(architecture);
    return traits && traits->is_encoder;
}

bool model_plan(const struct gguf *gguf, const struct model_params *params, struct model_plan *plan,
                struct err *err)
{
    struct hparams *h = MEM_NEW(struct hparams);
    struct layout layout = {0};
    bool ok = h ? plan_model(gguf, params, h, &layout, plan, err) : err_set_memory(err, sizeof *h);
    model_layout_deinit(&layout);
    mem_free(h);
    return ok || fail_file(gguf, err);
}

/* Factors for short and long contexts are chosen once, by the context of the plan, so that a row's
 * result does not depend on how long its sequence becomes. */
static void init_rope(struct model *m)
{
    const struct weights *w = &m->layout.weights;
    bool is_long = m->plan.ctx_tokens > m->h.rope[ROPE_TABLE_MAIN].ctx_original;
    const float *factors = w->rope_factors ? w->rope_factors
                           : is_long       ? w->rope_long
                                           : w->rope_short;
    for (int i = 0; i < (m->h.has_two_tables ? ROPE_TABLE_COUNT : 1); i++) {
        bool is_plain = i == ROPE_TABLE_WINDOW && m->h.traits->has_window_heads;
        model_rope_init(&m->h.rope[i], is_plain ? NULL : factors, m->rope_freq[i],
                        &m->rope_magnitude[i]);
    }
}

static bool load(struct model *m, struct loading *loading, struct err *err)
{
    if (!plan_model(loading->gguf, &m->params, &m->h, &m->layout, &m->plan, err)) {
        return false;
    }
    if (m->h.traits->is_encoder) {
        m->params.kv_type = KV_F32; /* keys live for one layer only */
    }
    fill_info(m, loading->gguf);
    if (!reserve(m, err) || !load_weights(loading) ||
        !model_lora_load(&m->layout.lora, m->params.adapters, m->adapters, err)) {
        return false;
    }
    init_rope(m);
    if (m->params.observer && !(m->names = model_names_create(&m->layout))) {
        return err_set_memory(err, m->layout.item_count);
    }
    mem_free(m->layout.items);
    m->layout.items = NULL;
    m->params.adapters = NULL;
    return true;
}

struct model *model_load(const struct gguf *gguf, const struct model_params *params,
                         struct pool *pool,
                         void (*progress)(void *arg, uint64_t done, uint64_t all),
                         void *progress_arg, struct err *err)
{
    struct model *m = MEM_NEW(struct model);
    struct piece *pieces = MEM_ARRAY(struct piece, ROUND_PIECES);
    if (!m || !pieces) {
        mem_free(m);
        mem_free(pieces);
        err_set_memory(err, sizeof *m);
        return NULL;
    }
    m->params = *params;
    m->pool = pool;
    m->kernels = kernels_get(params->cpu_level);
    struct loading loading = {.model = m,
                              .gguf = gguf,
                              .pieces = pieces,
                              .progress = progress,
                              .progress_arg = progress_arg,
                              .err = err};
    bool ok = load(m, &loading, err);
    mem_free(pieces);
    if (!ok) {
        fail_file(gguf, err);
        model_destroy(m);
        return NULL;
    }
    return m;
}

void model_destroy(struct model *m)
{
    if (!m) {
        return;
    }
    model_layout_deinit(&m->layout);
    model_names_destroy(m->names);
    os_pages_free(m->weights, m->weights_bytes);
    os_pages_free(m->adapters, m->adapters_bytes);
    os_pages_free(m->pages, m->pages_bytes);
    os_pages_free(m->work, m->work_bytes);
    os_pages_free(m->states, m->states_bytes);
    mem_free(m);
}

const struct model_info *model_info(const struct model *model)
{
    return &model->info;
}

const struct model_plan *model_plan_of(const struct model *model)
{
    return &model->plan;
}

void *model_page(struct model *model, uint32_t page)
{
    assert(page < model->plan.kv_pages);
    return model->pages + page * (size_t)model->plan.page_bytes;
}

void *model_state(struct model *model, uint32_t state)
{
    assert(state < model->plan.states);
    return model->states + state * (size_t)model->plan.state_bytes;
}
