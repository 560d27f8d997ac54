/* Reading what an open model holds: look-up, typed values, rows of tensors. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "gguf/part.h"
#include "gguf/split.h"

const struct gguf_entry *gguf_find(const struct gguf *gguf, struct str key)
{
    return gguf_table_find(&gguf->index->entries, key);
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *gguf, struct str name)
{
    return gguf_table_find(&gguf->index->tensors, name);
}

const char *gguf_quote_path(char out[STR_QUOTE_MAX], const char *path)
{
    struct str s = str_of(path);
    if (s.len > STR_QUOTE_MAX - 8) {
        s = str_slice(s, s.len - (STR_QUOTE_MAX - 8), s.len);
    }
    return str_quote(out, s);
}

/* ---- typed values ---- */

static const struct gguf_entry *find_entry(const struct gguf *gguf, struct str key, bool *found)
{
    const struct gguf_entry *entry = gguf_find(gguf, key);
    if (found) {
        *found = entry != NULL;
    }
    return entry;
}

static bool refuse(const struct gguf *gguf, const struct gguf_entry *entry, const char *wanted,
                   struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    const struct gguf_value *value = &entry->value;
    err_set(err, ERR_FORMAT, "is %s, must be %s", gguf_kind_name(value->kind), wanted);
    gguf_wrap_key(err, entry);
    return err_wrap(err, "%s", gguf_quote_path(quoted, gguf->path));
}

/* An integer that does not fit is named with its value. */
static bool refuse_integer(const struct gguf *gguf, const struct gguf_entry *entry, uint64_t max,
                           struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    const struct gguf_value *value = &entry->value;
    switch (value->kind) {
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
        err_set(err, ERR_FORMAT, "is %lld, must be 0 to %llu", (long long)value->i64,
                (unsigned long long)max);
        break;
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
        err_set(err, ERR_FORMAT, "is %llu, must be 0 to %llu", (unsigned long long)value->u64,
                (unsigned long long)max);
        break;
    default:
        return refuse(gguf, entry, "an integer", err);
    }
    gguf_wrap_key(err, entry);
    return err_wrap(err, "%s", gguf_quote_path(quoted, gguf->path));
}

bool gguf_get_u64(const struct gguf *gguf, struct str key, uint64_t *out, bool *found,
                  struct err *err)
{
    const struct gguf_entry *entry = find_entry(gguf, key, found);
    return !entry || gguf_value_u64(&entry->value, UINT64_MAX, out) ||
           refuse_integer(gguf, entry, UINT64_MAX, err);
}

bool gguf_get_u32(const struct gguf *gguf, struct str key, uint32_t *out, bool *found,
                  struct err *err)
{
    uint64_t value;
    const struct gguf_entry *entry = find_entry(gguf, key, found);
    if (entry && !gguf_value_u64(&entry->value, UINT32_MAX, &value)) {
        return refuse_integer(gguf, entry, UINT32_MAX, err);
    }
    if (entry) {
        *out = (uint32_t)value;
    }
    return true;
}

bool gguf_get_f32(const struct gguf *gguf, struct str key, float *out, bool *found, struct err *err)
{
    const struct gguf_entry *entry = find_entry(gguf, key, found);
    if (!entry) {
        return true;
    }
    if (entry->value.kind != GGUF_F32 && entry->value.kind != GGUF_F64) {
        return refuse(gguf, entry, "a float", err);
    }
    if (!isfinite((float)entry->value.f64)) {
        char quoted[STR_QUOTE_MAX];
        err_set(err, ERR_FORMAT, "is %g, must be finite", entry->value.f64);
        gguf_wrap_key(err, entry);
        return err_wrap(err, "%s", gguf_quote_path(quoted, gguf->path));
    }
    *out = (float)entry->value.f64;
    return true;
}

bool gguf_get_bool(const struct gguf *gguf, struct str key, bool *out, bool *found, struct err *err)
{
    const struct gguf_entry *entry = find_entry(gguf, key, found);
    if (entry && entry->value.kind != GGUF_BOOL) {
        return refuse(gguf, entry, "a truth value", err);
    }
    if (entry) {
        *out = entry->value.u64 != 0;
    }
    return true;
}

bool gguf_get_str(const struct gguf *gguf, struct str key, struct str *out, bool *found,
                  struct err *err)
{
    const struct gguf_entry *entry = find_entry(gguf, key, found);
    if (entry && entry->value.kind != GGUF_STRING) {
        return refuse(gguf, entry, "a string", err);
    }
    if (entry) {
        *out = entry->value.text;
    }
    return true;
}

int64_t gguf_item_i64(const struct gguf_value *array, uint64_t index)
{
    assert(array->kind == GGUF_ARRAY && index < array->count);
    switch (array->item_kind) {
    case GGUF_U8:
    case GGUF_BOOL:
        return ((const uint8_t *)array->items)[index];
    case GGUF_I8:
        return ((const int8_t *)array->items)[index];
    case GGUF_U16:
        return ((const uint16_t *)array->items)[index];
    case GGUF_I16:
        return ((const int16_t *)array->items)[index];
    case GGUF_U32:
        return ((const uint32_t *)array->items)[index];
    case GGUF_I32:
        return ((const int32_t *)array->items)[index];
    case GGUF_U64: /* above 2^63 it comes out negative, as what no caller takes for valid */
    case GGUF_I64:
        return ((const int64_t *)array->items)[index];
    default:
        assert(false); /* not an array of integers */
        return 0;
    }
}

double gguf_item_f64(const struct gguf_value *array, uint64_t index)
{
    assert(array->kind == GGUF_ARRAY && index < array->count);
    switch (array->item_kind) {
    case GGUF_F32:
        return (double)((const float *)array->items)[index];
    case GGUF_F64:
        return ((const double *)array->items)[index];
    default:
        assert(false); /* not an array of floats */
        return 0;
    }
}

/* ---- tensor bytes ---- */

bool gguf_bytes_open(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t offset,
                     size_t len, struct os_map *map, struct err *err)
{
    char name[STR_QUOTE_MAX], path[STR_QUOTE_MAX];
    assert(offset <= tensor->bytes && len <= tensor->bytes - offset);
    if (os_map_open(map, &gguf->shards[tensor->shard], tensor->offset + offset, len, err)) {
        return true;
    }
    err_wrap(err, "tensor \"%s\" at byte %llu", str_quote(name, tensor->name),
             (unsigned long long)(tensor->offset + offset));
    return err_wrap(err, "%s", gguf_quote_path(path, gguf->path));
}

bool gguf_rows_open(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t row,
                    uint64_t count, struct os_map *map, struct err *err)
{
    assert(row <= tensor->row_count && count <= tensor->row_count - row);
    return gguf_bytes_open(gguf, tensor, row * tensor->row_bytes,
                           (size_t)(count * tensor->row_bytes), map, err);
}

bool gguf_has_changed(const struct gguf *gguf)
{
    for (size_t i = 0; i < gguf->shard_count; i++) {
        if (os_file_has_changed(&gguf->shards[i])) {
            return true;
        }
    }
    return false;
}

struct str gguf_model_id(const char *path)
{
    struct str id = str_of(path);
    struct gguf_split_name split;
    if (gguf_split_parse(id, &split)) {
        id = split.prefix;
    } else if (str_ends(id, STR(".gguf"))) {
        id.len -= 5;
    }
    for (size_t i = id.len; i > 0; i--) {
        if (id.ptr[i - 1] == '/') {
            return str_slice(id, i, id.len);
        }
    }
    return id;
}
