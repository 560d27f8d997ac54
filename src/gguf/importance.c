#include "gguf/importance.h"

#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/size.h"
#include "gguf/writer.h"

struct means {
    const struct gguf_tensor *tensor; /* of the sums */
    struct str name;                  /* without ".in_sum2" */
    float *values;                    /* owned, [planes][columns] */
};

struct gguf_importance {
    struct gguf *gguf;
    struct means *means;
    size_t count;
};

static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";

static bool fail(const struct gguf_tensor *tensor, const char *what, struct err *err)
{
    char name[STR_QUOTE_MAX];
    return err_set(err, ERR_FORMAT, "importance matrix: tensor \"%s\" %s",
                   str_quote(name, tensor->name), what);
}

/* The floats of a tensor; NULL with an error. mem_free them. */
static float *read_floats(const struct gguf *gguf, const struct gguf_tensor *tensor,
                          struct err *err)
{
    struct os_map map;
    float *out;

    if (tensor->type != DTYPE_F32 || tensor->bytes > SIZE_MAX) {
        fail(tensor, "is not F32", err);
        return NULL;
    }
    if (!(out = mem_alloc((size_t)tensor->bytes, 1))) {
        err_set_memory(err, tensor->bytes);
        return NULL;
    }
    if (!gguf_rows_open(gguf, tensor, 0, tensor->row_count, &map, err)) {
        mem_free(out);
        return NULL;
    }
    memcpy(out, map.ptr, (size_t)tensor->bytes);
    bool is_lost = os_map_is_lost(&map);
    os_map_close(&map);
    if (is_lost) {
        fail(tensor, "changed while it was read", err);
        mem_free(out);
        return NULL;
    }
    return out;
}

static const struct gguf_tensor *find_counts(const struct gguf *gguf, struct str name)
{
    struct buf text = {0};

    buf_add(&text, name);
    buf_add_text(&text, counts_suffix);
    const struct gguf_tensor *counts = text.failed ? NULL : gguf_find_tensor(gguf, buf_view(&text));
    buf_deinit(&text);
    return counts;
}

/* Sums to means; an expert that was never asked counts as 1 everywhere, as llama-quantize has it.
 */
static bool divide(const struct gguf_tensor *tensor, float *values, const float *counts,
                   struct err *err)
{
    for (uint64_t p = 0; p < tensor->row_count; p++) {
        if (!isfinite(counts[p]) || counts[p] < 0) {
            return fail(tensor, "has a count that is none", err);
        }
        for (uint64_t i = 0; i < tensor->dims[0]; i++) {
            float *value = values + p * tensor->dims[0] + i;
            if (!isfinite(*value) || *value < 0) {
                return fail(tensor, "has a sum of squares that is none", err);
            }
            *value = counts[p] > 0 ? *value / counts[p] : 1;
        }
    }
    return true;
}

static bool read_means(struct gguf_importance *im, const struct gguf_tensor *tensor,
                       struct err *err)
{
    struct means *means = &im->means[im->count];
    struct str name = {tensor->name.ptr, tensor->name.len - strlen(sums_suffix)};
    const struct gguf_tensor *counts = find_counts(im->gguf, name);

    if (!counts || counts->dims[0] != 1 || counts->row_count != tensor->row_count) {
        return fail(tensor, "has no counts of its shape", err);
    }
    *means = (struct means){.tensor = tensor, .name = name};
    means->values = read_floats(im->gguf, tensor, err);
    im->count += means->values != NULL;
    float *n = means->values ? read_floats(im->gguf, counts, err) : NULL;
    bool ok = n && divide(tensor, means->values, n, err);
    mem_free(n);
    return ok;
}

static bool read_all(struct gguf_importance *im, struct err *err)
{
    for (size_t i = 0; i < im->gguf->tensor_count; i++) {
        const struct gguf_tensor *tensor = &im->gguf->tensors[i];
        if (str_ends(tensor->name, str_of(sums_suffix)) && !read_means(im, tensor, err)) {
            return false;
        }
    }
    return im->count > 0 ||
           err_set(err, ERR_FORMAT, "not an importance matrix: it has no tensor \"*%s\"",
                   sums_suffix);
}

struct gguf_importance *gguf_importance_open(const char *path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct gguf_importance *im = MEM_NEW(struct gguf_importance);

    if (!im) {
        err_set_memory(err, sizeof *im);
        return NULL;
    }
    im->gguf = gguf_open(path, err);
    if (!im->gguf) {
        gguf_importance_close(im);
        return NULL;
    }
    im->means = MEM_ARRAY(struct means, im->gguf->tensor_count + 1);
    if (!im->means || !read_all(im, err)) {
        if (!im->means) {
            err_set_memory(err, im->gguf->tensor_count * sizeof *im->means);
        }
        err_wrap(err, "%s", str_quote(quoted, str_of(path)));
        gguf_importance_close(im);
        return NULL;
    }
    return im;
}

void gguf_importance_close(struct gguf_importance *im)
{
    for (size_t i = 0; im && i < im->count; i++) {
        mem_free(im->means[i].values);
    }
    if (im) {
        mem_free(im->means);
        gguf_close(im->gguf);
    }
    mem_free(im);
}

bool gguf_importance_find(const struct gguf_importance *im, const struct gguf_tensor *tensor,
                          const float **out, struct err *err)
{
    char name[STR_QUOTE_MAX];

    *out = NULL;
    for (size_t i = 0; i < im->count; i++) {
        const struct means *means = &im->means[i];
        if (!str_eq(means->name, tensor->name)) {
            continue;
        }
        uint64_t planes = tensor->dims[2] * tensor->dims[3];
        if (means->tensor->dims[0] != tensor->dims[0] || means->tensor->row_count != planes) {
            return err_set(err, ERR_INVALID,
                           "the importance matrix is of another model: tensor \"%s\" has %llu "
                           "columns and %llu planes there, %llu and %llu here",
                           str_quote(name, tensor->name),
                           (unsigned long long)means->tensor->dims[0],
                           (unsigned long long)means->tensor->row_count,
                           (unsigned long long)tensor->dims[0], (unsigned long long)planes);
        }
        *out = means->values;
        return true;
    }
    return true;
}

struct str gguf_importance_dataset(const struct gguf_importance *im)
{
    const struct gguf_entry *entry = gguf_find(im->gguf, STR("imatrix.datasets"));

    if (!entry || entry->value.kind != GGUF_ARRAY || entry->value.item_kind != GGUF_STRING ||
        entry->value.count == 0) {
        return STR("");
    }
    return entry->value.texts[0];
}

uint32_t gguf_importance_chunks(const struct gguf_importance *im)
{
    struct err ignored = {0};
    uint32_t chunks = 0;

    gguf_get_u32(im->gguf, STR("imatrix.chunk_count"), &chunks, NULL, &ignored);
    return chunks;
}

size_t gguf_importance_count(const struct gguf_importance *im)
{
    return im->count;
}

/* ---- writing ---- */

static bool declare(struct gguf_writer *w, const struct gguf_importance_entry *e,
                    const char *suffix, uint64_t cols, struct err *err)
{
    const uint64_t dims[2] = {cols, e->planes};
    struct buf name = {0};

    buf_add(&name, e->name);
    buf_add_text(&name, suffix);
    bool ok = name.failed ? err_set_memory(err, e->name.len)
                          : gguf_writer_add(w, buf_view(&name), DTYPE_F32, 2, dims, err);
    buf_deinit(&name);
    return ok;
}

static bool put(struct gguf_writer *w, const double *values, uint64_t count, struct err *err)
{
    for (uint64_t i = 0; i < count; i++) {
        float value = (float)values[i];
        if (!gguf_writer_data(w, &value, sizeof value, err)) {
            return false;
        }
    }
    return true;
}

static bool write_head(struct gguf_writer *w, struct str dataset, uint32_t chunks,
                       uint32_t chunk_tokens, struct err *err)
{
    const struct gguf_value datasets = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_STRING, .count = 1, .texts = &dataset};

    return gguf_writer_set_str(w, STR("general.type"), STR("imatrix"), err) &&
           gguf_writer_set(w, STR("imatrix.datasets"), &datasets, err) &&
           gguf_writer_set_u32(w, STR("imatrix.chunk_count"), chunks, err) &&
           gguf_writer_set_u32(w, STR("imatrix.chunk_size"), chunk_tokens, err);
}

bool gguf_importance_write(const char *path, const struct gguf_importance_entry *entries,
                           size_t count, struct str dataset, uint32_t chunks, uint32_t chunk_tokens,
                           struct err *err)
{
    struct gguf_writer *w = gguf_writer_create(err);
    bool ok = w && write_head(w, dataset, chunks, chunk_tokens, err);

    for (size_t i = 0; ok && i < count; i++) {
        ok = declare(w, &entries[i], sums_suffix, entries[i].cols, err) &&
             declare(w, &entries[i], counts_suffix, 1, err);
    }
    ok = ok && gguf_writer_begin(w, path, err);
    for (size_t i = 0; ok && i < count; i++) {
        ok = put(w, entries[i].sums, entries[i].cols * entries[i].planes, err) &&
             put(w, entries[i].counts, entries[i].planes, err);
    }
    ok = ok && gguf_writer_commit(w, err);
    gguf_writer_destroy(w);
    return ok;
}
