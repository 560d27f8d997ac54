#include "model/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "model/forward.h"
#include "tensor/codec.h"

enum { NAME_MAX_BYTES = 128, WINDOW_BYTES = 1 << 20 };

/* ---- what a file says ---- */

static bool need_text(const struct gguf *gguf, const char *key, struct str wanted, struct err *err)
{
    struct str text = {0};
    bool found = false;
    if (!gguf_get_str(gguf, str_of(key), &text, &found, err)) {
        return false;
    }
    if (!found) {
        return err_set(err, ERR_FORMAT, "%s is missing: this is no adapter", key);
    }
    char quoted[STR_QUOTE_MAX], other[STR_QUOTE_MAX];
    return str_eq(text, wanted) || err_set(err, ERR_ARCH, "%s is \"%s\": \"%s\" is needed", key,
                                           str_quote(quoted, text), str_quote(other, wanted));
}

/* The general header of an adapter for a model of that architecture. */
static bool read_head(const struct gguf *gguf, struct str architecture, float *alpha,
                      struct err *err)
{
    bool found = false;
    if (!need_text(gguf, "general.type", STR("adapter"), err) ||
        !need_text(gguf, "adapter.type", STR("lora"), err) ||
        !need_text(gguf, "general.architecture", architecture, err) ||
        !gguf_get_f32(gguf, STR("adapter.lora.alpha"), alpha, &found, err)) {
        return false;
    }
    if (gguf_find(gguf, STR("adapter.alora.invocation_tokens"))) {
        return err_set(err, ERR_ARCH,
                       "adapter.alora.invocation_tokens: adapters that begin to act at a token are "
                       "not supported");
    }
    return found || err_set(err, ERR_FORMAT, "adapter.lora.alpha is missing");
}

/* ---- places ---- */

struct finder {
    struct lora *lora;
    const struct layout *layout;
    const struct gguf *model, *gguf; /* the adapter that is looked at */
    uint32_t adapter;
    float alpha;
    bool *is_used; /* [gguf->tensor_count] */
    struct err *err;
};

/* True for the matrices that rows of a forward pass go through as they came: not stacked experts,
 * whose rows are gathered, nor what is turned, decoded by rows, or reads pooled texts. */
static bool can_change(const struct layout *layout, size_t index)
{
    const struct weight_item *item = &layout->items[index];
    const char *slot = item->slot, *head = (const char *)&layout->weights.head;
    const bool is_half =
        index > 0 && item[-1].tensor == item->tensor && item[-1].kind == WEIGHT_TURNED;
    return item->kind == WEIGHT_MATRIX && item->tensor->dims[2] == 1 && !is_half &&
           !(slot >= head && slot < head + sizeof layout->weights.head) &&
           !str_eq(item->tensor->name, STR("token_embd.weight"));
}

static const struct gguf_tensor *find_factor(const struct finder *f, struct str base, char which)
{
    char name[NAME_MAX_BYTES];
    int len = snprintf(name, sizeof name, "%.*s.lora_%c", (int)base.len, base.ptr, which);
    return len > 0 && (size_t)len < sizeof name
               ? gguf_find_tensor(f->gguf, (struct str){name, (size_t)len})
               : NULL;
}

static bool check_factor(const struct finder *f, const struct gguf_tensor *tensor, uint64_t cols,
                         uint64_t rows)
{
    char quoted[STR_QUOTE_MAX];
    str_quote(quoted, tensor->name);
    if (tensor->dims[0] != cols || tensor->dims[1] != rows || tensor->dims[2] != 1 ||
        tensor->dims[3] != 1) {
        return err_set(f->err, ERR_FORMAT,
                       "tensor %s has the shape %llu x %llu x %llu x %llu: %llu x %llu is needed",
                       quoted, (unsigned long long)tensor->dims[0],
                       (unsigned long long)tensor->dims[1], (unsigned long long)tensor->dims[2],
                       (unsigned long long)tensor->dims[3], (unsigned long long)cols,
                       (unsigned long long)rows);
    }
    return codec_can_decode(tensor->type) ||
           err_set(f->err, ERR_ARCH, "tensor %s has the type %s, which is not supported here",
                   quoted, dtype_info(tensor->type)->name);
}

/* Rows [item->row, + row_count) of B, and all of A. */
static bool add_part(struct finder *f, const struct weight_item *item, const struct gguf_tensor *a,
                     const struct gguf_tensor *b)
{
    char quoted[STR_QUOTE_MAX];
    const uint64_t rank = a->dims[1], cols = item->tensor->dims[0];
    size_t floats = 0, bytes = 0, end = 0;
    if (rank == 0 || rank > MODEL_ADAPTER_RANK_MAX) {
        return err_set(f->err, ERR_FORMAT, "tensor %s has the rank %llu: 1 to %d are possible",
                       str_quote(quoted, a->name), (unsigned long long)rank,
                       MODEL_ADAPTER_RANK_MAX);
    }
    if (!check_factor(f, a, cols, rank) || !check_factor(f, b, rank, item->tensor->row_count)) {
        return false;
    }
    if (!size_mul(rank, (size_t)(cols + item->row_count), &floats) ||
        !size_mul(floats, sizeof(float), &bytes) || !size_align(bytes, 64, &bytes) ||
        !size_add(f->lora->bytes, bytes, &end)) {
        return err_set_memory(f->err, UINT64_MAX);
    }
    f->is_used[a - f->gguf->tensors] = f->is_used[b - f->gguf->tensors] = true;
    f->lora->parts[f->lora->part_count++] = (struct lora_part){.matrix = item->slot,
                                                               .adapter = f->adapter,
                                                               .rank = (uint32_t)rank,
                                                               .factor = f->alpha / (float)rank,
                                                               .at = f->lora->bytes,
                                                               .a_tensor = a,
                                                               .b_tensor = b,
                                                               .row = item->row};
    f->lora->bytes = end;
    return true;
}

static bool refuse_unused(const struct finder *f)
{
    for (size_t i = 0; i < f->gguf->tensor_count; i++) {
        char quoted[STR_QUOTE_MAX];
        struct str name = f->gguf->tensors[i].name, base = name;
        if (f->is_used[i]) {
            continue;
        }
        str_quote(quoted, name);
        if (!str_ends(name, STR(".lora_a")) && !str_ends(name, STR(".lora_b"))) {
            return err_set(f->err, ERR_ARCH, "tensor %s is no part of a LoRA adapter", quoted);
        }
        base.len -= strlen(".lora_a");
        if (find_factor(f, base, 'a') == NULL || find_factor(f, base, 'b') == NULL) {
            return err_set(f->err, ERR_FORMAT, "tensor %s comes without its other half", quoted);
        }
        return gguf_find_tensor(f->model, base)
                   ? err_set(f->err, ERR_ARCH, "tensor %s changes what adapters cannot change here",
                             quoted)
                   : err_set(f->err, ERR_ARCH, "tensor %s: the model has no such matrix", quoted);
    }
    return true;
}

static bool find_parts(struct finder *f)
{
    bool ok = true;
    for (size_t i = 0; i < f->layout->item_count && ok; i++) {
        const struct weight_item *item = &f->layout->items[i];
        if (can_change(f->layout, i)) {
            const struct gguf_tensor *a = find_factor(f, item->tensor->name, 'a');
            const struct gguf_tensor *b = find_factor(f, item->tensor->name, 'b');
            ok = !a || !b || add_part(f, item, a, b);
        }
    }
    return ok && refuse_unused(f);
}

static bool find_adapter(struct finder *f, struct str architecture)
{
    char quoted[STR_QUOTE_MAX];
    bool ok = read_head(f->gguf, architecture, &f->alpha, f->err);
    f->is_used = ok ? MEM_ARRAY(bool, f->gguf->tensor_count + 1) : NULL;
    if (ok && !f->is_used) {
        ok = err_set_memory(f->err, f->gguf->tensor_count);
    }
    ok = ok && find_parts(f);
    mem_free(f->is_used);
    return ok || err_wrap(f->err, "adapter %s", str_quote(quoted, str_of(f->gguf->path)));
}

bool model_lora_init(struct lora *lora, const struct layout *layout, const struct hparams *h,
                     const struct gguf *model, const struct gguf *const *adapters, size_t count,
                     struct err *err)
{
    struct str architecture = {0};
    *lora = (struct lora){.adapter_count = count};
    if (count == 0) {
        return true;
    }
    if (count > MODEL_ADAPTERS_MAX) {
        return err_set(err, ERR_INVALID, "%zu adapters: at most %d are possible", count,
                       MODEL_ADAPTERS_MAX);
    }
    if (h->traits->is_encoder) {
        return err_set(err, ERR_ARCH, "adapters of encoders are not supported");
    }
    lora->parts = MEM_ARRAY(struct lora_part, layout->item_count * count);
    if (!lora->parts) {
        return err_set_memory(err, layout->item_count * count * sizeof *lora->parts);
    }
    bool ok = gguf_get_str(model, STR("general.architecture"), &architecture, NULL, err);
    for (size_t i = 0; i < count && ok; i++) {
        struct finder finder = {.lora = lora,
                                .layout = layout,
                                .model = model,
                                .gguf = adapters[i],
                                .adapter = (uint32_t)i,
                                .err = err};
        ok = find_adapter(&finder, architecture);
    }
    return ok;
}

void model_lora_deinit(struct lora *lora)
{
    mem_free(lora->parts);
    *lora = (struct lora){0};
}

/* ---- loading ---- */

/* Row i of the tensor from `first` on becomes column i of out, [width][count]. */
static bool load_turned(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t first,
                        uint64_t count, float *out, struct err *err)
{
    const size_t width = (size_t)tensor->dims[0];
    const uint64_t step = size_max(1, WINDOW_BYTES / (size_t)(tensor->row_bytes + 1));
    float *row = MEM_ARRAY(float, width);
    bool ok = row || err_set_memory(err, width * sizeof *row);
    for (uint64_t at = 0; at < count && ok; at += step) {
        const uint64_t rows = count - at < step ? count - at : step;
        struct os_map map = {0};
        ok = gguf_rows_open(gguf, tensor, first + at, rows, &map, err);
        for (uint64_t r = 0; r < rows && ok; r++) {
            const unsigned char *raw = map.ptr;
            codec_decode_row(tensor->type, raw + r * tensor->row_bytes, row, width);
            for (size_t c = 0; c < width; c++) {
                out[c * count + at + r] = row[c];
            }
        }
        if (ok && os_map_is_lost(&map)) {
            ok = err_set(err, ERR_FORMAT, "the file became shorter while it was read");
        }
        os_map_close(&map);
    }
    mem_free(row);
    return ok;
}

static int compare_parts(const void *left, const void *right)
{
    const struct lora_part *a = left, *b = right;
    const uintptr_t x = (uintptr_t)a->matrix->bytes, y = (uintptr_t)b->matrix->bytes;
    return x != y ? (x < y ? -1 : 1) : a->adapter < b->adapter ? -1 : a->adapter > b->adapter;
}

bool model_lora_load(struct lora *lora, const struct gguf *const *adapters, uint8_t *region,
                     struct err *err)
{
    bool ok = true;
    for (size_t i = 0; i < lora->part_count && ok; i++) {
        struct lora_part *part = &lora->parts[i];
        const struct gguf *gguf = adapters[part->adapter];
        const size_t cols = part->matrix->cols, rows = part->matrix->rows;
        float *a = (float *)(void *)(region + part->at), *b = a + cols * part->rank;
        ok = load_turned(gguf, part->a_tensor, 0, part->rank, a, err) &&
             load_turned(gguf, part->b_tensor, part->row, rows, b, err);
        part->a = a;
        part->b = b;
        part->a_tensor = part->b_tensor = NULL; /* the files may be closed */
        if (ok && gguf_has_changed(gguf)) {
            ok = err_set(err, ERR_FORMAT, "the file changed while it was read");
        }
        if (!ok) {
            char quoted[STR_QUOTE_MAX];
            err_wrap(err, "adapter %s", str_quote(quoted, str_of(gguf->path)));
        }
    }
    if (lora->part_count > 0) {
        qsort(lora->parts, lora->part_count, sizeof *lora->parts, compare_parts);
    }
    return ok;
}

/* ---- the pass ---- */

/* The first part of the matrix; NULL: no adapter changes it. */
static const struct lora_part *find_first(const struct lora *lora, const struct matrix *matrix)
{
    size_t low = 0, high = lora->part_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if ((uintptr_t)lora->parts[middle].matrix->bytes < (uintptr_t)matrix->bytes) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < lora->part_count && lora->parts[low].matrix->bytes == matrix->bytes
               ? &lora->parts[low]
               : NULL;
}

/* y += sum over i < count of weights[i] * vectors[i][width], i ascending. */
static void mix(const struct kernels *k, const float *weights, size_t count, const float *vectors,
                size_t width, float *y)
{
    for (size_t i = 0; i < count; i += KV_PAGE_TOKENS) {
        k->attn_mix[KV_F32](weights + i, 1, vectors + i * width, width, 0,
                            size_min(count - i, KV_PAGE_TOKENS), y, width);
    }
}

static void add_row(struct forward *f, size_t row)
{
    const struct lora *lora = &f->m->layout.lora;
    const struct lora_part *end = lora->parts + lora->part_count;
    const float *scales = f->batch->seqs[f->rows[row].seq].scales;
    const float *x = f->lora.x + row * f->lora.stride;
    const struct matrix *w = f->lora.product->w;
    float *y = f->lora.product->y + row * f->lora.product->y_stride, inner[MODEL_ADAPTER_RANK_MAX];
    for (const struct lora_part *part = f->lora.first;
         scales && part < end && part->matrix->bytes == w->bytes; part++) {
        const float scale = scales[part->adapter] * part->factor;
        if (scales[part->adapter] == 0) {
            continue;
        }
        memset(inner, 0, part->rank * sizeof *inner);
        mix(f->k, x, w->cols, part->a, part->rank, inner);
        for (uint32_t i = 0; i < part->rank; i++) {
            inner[i] *= scale;
        }
        mix(f->k, inner, part->rank, part->b, w->rows, y);
    }
}

void model_lora_add(struct forward *f, const struct product *product, const float *x, size_t stride)
{
    f->lora.first = find_first(&f->m->layout.lora, product->w);
    f->lora.product = product;
    f->lora.x = x;
    f->lora.stride = stride;
    if (f->lora.first) {
        model_each_row(f, add_row, (product->w->rows + product->w->cols) * f->lora.first->rank);
    }
}
