#include "model/lora_export.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "gguf/writer.h"
#include "model/model.h"
#include "tensor/codec.h"
#include "tensor/convert.h"

enum { CHUNK_ELEMENTS = 4 << 20, NAME_BYTES_MAX = 128 };

/* One adapter's factors for the tensor that is written. */
struct factors {
    const struct gguf *gguf;
    const struct gguf_tensor *b;
    float *a; /* owned; [rank][cols] */
    size_t rank;
    float scale; /* with alpha / rank */
};

struct exporter {
    const struct model_lora_export *how;
    struct gguf_writer *writer;
    struct factors factors[MODEL_ADAPTERS_MAX];
    size_t factor_count; /* of this tensor */
    uint64_t bytes_done;
};

/* ---- factors ---- */

static bool read_rows(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t first,
                      uint64_t count, float *out, struct err *err)
{
    struct os_map map = {0};
    if (!gguf_rows_open(gguf, tensor, first, count, &map, err)) {
        return false;
    }
    const unsigned char *raw = map.ptr;
    for (uint64_t r = 0; r < count; r++) {
        codec_decode_row(tensor->type, raw + r * tensor->row_bytes, out + r * tensor->dims[0],
                         tensor->dims[0]);
    }
    const bool ok = !os_map_is_lost(&map) ||
                    err_set(err, ERR_FORMAT, "the file became shorter while it was read");
    os_map_close(&map);
    return ok;
}

static const struct gguf_tensor *find(const struct gguf *gguf, struct str base, char which)
{
    char name[NAME_BYTES_MAX];
    int len = snprintf(name, sizeof name, "%.*s.lora_%c", (int)base.len, base.ptr, which);
    return len > 0 && (size_t)len < sizeof name
               ? gguf_find_tensor(gguf, (struct str){name, (size_t)len})
               : NULL;
}

static void drop_factors(struct exporter *e)
{
    for (size_t i = 0; i < e->factor_count; i++) {
        mem_free(e->factors[i].a);
    }
    e->factor_count = 0;
}

/* Those of the adapters that change the tensor. */
static bool open_factors(struct exporter *e, const struct gguf_tensor *tensor, struct err *err)
{
    for (size_t i = 0; i < e->how->count; i++) {
        const struct gguf *gguf = e->how->adapters[i];
        const struct gguf_tensor *a = find(gguf, tensor->name, 'a');
        float alpha = 0;
        if (!a || e->how->scales[i] == 0) {
            continue;
        }
        if (!gguf_get_f32(gguf, STR("adapter.lora.alpha"), &alpha, NULL, err)) {
            return false;
        }
        struct factors *f = &e->factors[e->factor_count++];
        *f = (struct factors){.gguf = gguf,
                              .b = find(gguf, tensor->name, 'b'),
                              .a = MEM_ARRAY(float, (size_t)(a->dims[0] * a->dims[1])),
                              .rank = (size_t)a->dims[1],
                              .scale = e->how->scales[i] * (alpha / (float)a->dims[1])};
        if (!f->a) {
            return err_set_memory(err, a->dims[0] * a->dims[1] * sizeof(float));
        }
        if (!read_rows(gguf, a, 0, a->dims[1], f->a, err)) {
            return false;
        }
    }
    return true;
}

/* w[count][cols] += scale B A of the rows from `first` on. */
static bool add_factors(const struct factors *f, uint64_t first, uint64_t count, size_t cols,
                        float *w, struct err *err)
{
    float *b = MEM_ARRAY(float, (size_t)count * f->rank);
    bool ok = b || err_set_memory(err, count * f->rank * sizeof *b);
    ok = ok && read_rows(f->gguf, f->b, first, count, b, err);
    for (uint64_t r = 0; ok && r < count; r++) {
        for (size_t j = 0; j < f->rank; j++) {
            const float weight = f->scale * b[r * f->rank + j];
            for (size_t c = 0; c < cols; c++) {
                w[r * cols + c] += weight * f->a[j * cols + c];
            }
        }
    }
    mem_free(b);
    return ok;
}

/* ---- tensors ---- */

static bool write_floats(struct exporter *e, const struct gguf_tensor *tensor, uint64_t first,
                         size_t count, const float *w, struct err *err)
{
    struct pool *pool = e->how->pool;
    const size_t bytes = dtype_row_bytes(tensor->type, count);
    size_t bad = 0;
    if (tensor->type == DTYPE_F32) {
        return gguf_writer_data(e->writer, w, bytes, err);
    }
    void *out = mem_alloc(bytes, 1), *scratch = mem_alloc(codec_convert_bytes(pool, count), 1);
    struct codec_conversion conversion = {.from = DTYPE_F32,
                                          .to = tensor->type,
                                          .in = w,
                                          .out = out,
                                          .count = count,
                                          .first = first,
                                          .row_len = tensor->dims[0],
                                          .plane_len = tensor->dims[0] * tensor->dims[1]};
    bool ok = (out && scratch) || err_set_memory(err, bytes);
    if (ok && !codec_convert(pool, &conversion, scratch, &bad)) {
        ok = err_set(err, ERR_FORMAT, "element %llu becomes %g, which %s cannot hold",
                     (unsigned long long)(first + bad), (double)w[bad],
                     dtype_info(tensor->type)->name);
    }
    ok = ok && gguf_writer_data(e->writer, out, bytes, err);
    mem_free(out);
    mem_free(scratch);
    return ok;
}

/* Rows [first, first + count), changed. */
static bool write_changed(struct exporter *e, const struct gguf_tensor *tensor, uint64_t first,
                          uint64_t count, struct err *err)
{
    const size_t cols = (size_t)tensor->dims[0], elements = (size_t)count * cols;
    float *w = MEM_ARRAY(float, elements);
    bool ok = w || err_set_memory(err, elements * sizeof *w);
    ok = ok && read_rows(e->how->model, tensor, first, count, w, err);
    for (size_t i = 0; ok && i < e->factor_count; i++) {
        ok = add_factors(&e->factors[i], first, count, cols, w, err);
    }
    ok = ok && write_floats(e, tensor, first * cols, elements, w, err);
    mem_free(w);
    return ok;
}

static bool write_same(struct exporter *e, const struct gguf_tensor *tensor, uint64_t first,
                       uint64_t count, struct err *err)
{
    struct os_map map = {0};
    if (!gguf_rows_open(e->how->model, tensor, first, count, &map, err)) {
        return false;
    }
    const bool ok = gguf_writer_data(e->writer, map.ptr, map.len, err);
    os_map_close(&map);
    return ok;
}

static bool write_tensor(struct exporter *e, const struct gguf_tensor *tensor, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    const uint64_t step = size_max(1, CHUNK_ELEMENTS / (size_t)(tensor->dims[0] + 1));
    bool ok = open_factors(e, tensor, err);
    if (ok && e->factor_count > 0 && tensor->type != DTYPE_F32 && !codec_can_encode(tensor->type)) {
        ok = err_set(err, ERR_UNSUPPORTED, "the type %s cannot be written again",
                     dtype_info(tensor->type)->name);
    }
    for (uint64_t at = 0; ok && at < tensor->row_count; at += step) {
        const uint64_t count = size_min(step, tensor->row_count - at);
        ok = e->factor_count > 0 ? write_changed(e, tensor, at, count, err)
                                 : write_same(e, tensor, at, count, err);
        e->bytes_done += count * tensor->row_bytes;
        if (ok && e->how->progress) {
            e->how->progress(e->how->arg, e->bytes_done, e->how->model->tensor_bytes);
        }
    }
    drop_factors(e);
    return ok || err_wrap(err, "tensor %s", str_quote(quoted, tensor->name));
}

/* ---- the file ---- */

static bool declare(struct exporter *e, struct err *err)
{
    const struct gguf *model = e->how->model;
    for (size_t i = 0; i < model->entry_count; i++) {
        const struct gguf_entry *entry = &model->entries[i];
        if (!str_starts(entry->key, STR("split.")) &&
            !gguf_writer_set(e->writer, entry->key, &entry->value, err)) {
            return false;
        }
    }
    for (size_t i = 0; i < model->tensor_count; i++) {
        const struct gguf_tensor *t = &model->tensors[i];
        if (!gguf_writer_add(e->writer, t->name, t->type, t->dim_count, t->dims, err)) {
            return false;
        }
    }
    return true;
}

/* The adapters must be of this model, and the output none of its files. */
static bool check(const struct model_lora_export *how, const char *out, struct err *err)
{
    const struct model_params params = {.cpu_level = CPU_REFERENCE,
                                        .kv_type = KV_F16,
                                        .ctx_tokens = KV_PAGE_TOKENS,
                                        .sequences_max = 1,
                                        .batch_rows_max = 1,
                                        .memory_max = UINT64_MAX / 4,
                                        .adapters = how->adapters,
                                        .adapter_count = how->count};
    struct model_plan plan;
    struct os_file file;
    struct err ignored;
    if (!model_plan(how->model, &params, &plan, err)) {
        return false;
    }
    if (!os_path_exists(out) || !os_file_open(&file, out, &ignored)) {
        return true;
    }
    bool is_input = false;
    for (size_t i = 0; i < how->model->shard_count; i++) {
        const struct os_file *shard = &how->model->shards[i];
        is_input |= shard->device == file.device && shard->inode == file.inode;
    }
    os_file_close(&file);
    return !is_input || err_set(err, ERR_INVALID, "the output is the model itself");
}

bool model_lora_export(const struct model_lora_export *how, const char *out, struct err *err)
{
    struct exporter e = {.how = how};
    if (!check(how, out, err) || !(e.writer = gguf_writer_create(err))) {
        return false;
    }
    bool ok = declare(&e, err) && gguf_writer_begin(e.writer, out, err);
    for (size_t i = 0; ok && i < how->model->tensor_count; i++) {
        ok = write_tensor(&e, &how->model->tensors[i], err);
    }
    if (ok && gguf_has_changed(how->model)) {
        ok = err_set(err, ERR_FORMAT, "the file changed while it was read");
    }
    ok = ok && gguf_writer_commit(e.writer, err);
    gguf_writer_destroy(e.writer); /* removes what is not complete */
    return ok;
}
