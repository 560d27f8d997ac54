/* Writing GGUF v3: entries and tensors are collected, begin() fixes the offsets and writes the
 * front, data() streams the tensor bytes behind it, commit() gives the file its name. The layout is
 * drawn in part.c; padding follows every tensor, the last one too, as other writers do. */
#include "gguf/writer.h"

#include <assert.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/size.h"
#include "base/utf8.h"
#include "gguf/part.h"

enum { FLUSH_BYTES = 256 << 10, KEY_BYTES_MAX = 65535, VERSION = 3 };

struct tensor_plan {
    struct str name; /* first, for the table */
    enum dtype type;
    uint32_t dim_count;
    uint64_t dims[GGUF_DIMS_MAX];
    uint64_t bytes, offset; /* offset from the start of the data section */
};

struct gguf_writer {
    struct arena arena; /* keys, values, names */
    struct gguf_entry *entries;
    size_t entry_count, entry_cap;
    struct tensor_plan *tensors;
    size_t tensor_count, tensor_cap;
    struct gguf_table entry_table, tensor_table; /* hold every item; rebuilt when the array grows */
    uint32_t alignment;
    bool has_begun, is_done;
    struct os_out out;
    struct buf pending;      /* bytes not yet given to the file */
    size_t current;          /* tensor that data() fills */
    uint64_t current_filled; /* bytes of it */
};

struct gguf_writer *gguf_writer_create(struct err *err)
{
    struct gguf_writer *writer = MEM_NEW(struct gguf_writer);
    if (!writer) {
        err_set_memory(err, sizeof *writer);
        return NULL;
    }
    writer->arena = arena_init(0);
    writer->out.fd = -1;
    return writer;
}

void gguf_writer_destroy(struct gguf_writer *writer)
{
    if (!writer) {
        return;
    }
    if (writer->has_begun && !writer->is_done) {
        os_out_abort(&writer->out);
    }
    gguf_table_deinit(&writer->entry_table);
    gguf_table_deinit(&writer->tensor_table);
    arena_deinit(&writer->arena);
    buf_deinit(&writer->pending);
    mem_free(writer->entries);
    mem_free(writer->tensors);
    mem_free(writer);
}

/* Room for one more item; the table follows the moved array. */
static bool grow(void **items, size_t count, size_t *cap, size_t size, struct gguf_table *table,
                 struct err *err)
{
    if (count < *cap) {
        return true;
    }
    size_t cap_new = *cap ? *cap * 2 : 32, first, second;
    struct gguf_table table_new;
    void *moved = mem_resize(*items, cap_new, size);
    if (!moved) {
        return err_set_memory(err, (unsigned long long)cap_new * size);
    }
    *items = moved;
    table->items = moved;
    if (!gguf_table_init(&table_new, moved, count, cap_new, size, &first, &second, err)) {
        return false;
    }
    gguf_table_deinit(table);
    *table = table_new;
    *cap = cap_new;
    return true;
}

static bool copy_text(struct gguf_writer *writer, struct str *text, struct err *err)
{
    char *copy = arena_copy(&writer->arena, *text);
    if (!copy) {
        return err_set_memory(err, text->len + 1);
    }
    text->ptr = copy;
    return true;
}

/* ---- metadata ---- */

static bool copy_array(struct gguf_writer *writer, struct gguf_value *value, struct err *err)
{
    if (value->item_kind == GGUF_STRING) {
        struct str *texts = ARENA_ARRAY(&writer->arena, struct str, (size_t)value->count);
        if (!texts) {
            return err_set_memory(err, value->count * sizeof *texts);
        }
        for (uint64_t i = 0; i < value->count; i++) {
            texts[i] = value->texts[i];
            if (!copy_text(writer, &texts[i], err)) {
                return false;
            }
        }
        value->texts = texts;
        return true;
    }
    size_t size = gguf_kind_bytes(value->item_kind);
    void *items = arena_alloc(&writer->arena, (size_t)value->count, size);
    if (!items) {
        return err_set_memory(err, value->count * size);
    }
    if (value->count) {
        memcpy(items, value->items, (size_t)value->count * size);
    }
    value->items = items;
    return true;
}

bool gguf_writer_set(struct gguf_writer *writer, struct str key, const struct gguf_value *value,
                     struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    assert(!writer->has_begun);
    if (key.len == 0 || key.len > KEY_BYTES_MAX || memchr(key.ptr, 0, key.len) ||
        !utf8_is_valid(key)) {
        return err_set(err, ERR_INVALID, "\"%s\" cannot be a GGUF key", str_quote(quoted, key));
    }
    struct gguf_entry entry = {.key = key, .value = *value};
    if (value->kind == GGUF_ARRAY && value->item_kind == GGUF_ARRAY) {
        return err_set(err, ERR_INVALID, "key \"%s\": arrays of arrays are not written",
                       str_quote(quoted, key));
    }
    if ((value->kind == GGUF_ARRAY && !copy_array(writer, &entry.value, err)) ||
        (value->kind == GGUF_STRING && !copy_text(writer, &entry.value.text, err))) {
        return false;
    }
    const struct gguf_entry *old = gguf_table_find(&writer->entry_table, key);
    if (old) {
        writer->entries[old - writer->entries].value = entry.value;
        return true;
    }
    void *items = writer->entries;
    if (!copy_text(writer, &entry.key, err) ||
        !grow(&items, writer->entry_count, &writer->entry_cap, sizeof entry, &writer->entry_table,
              err)) {
        writer->entries = items;
        return false;
    }
    writer->entries = items;
    writer->entries[writer->entry_count] = entry;
    gguf_table_insert(&writer->entry_table, writer->entry_count++);
    return true;
}

bool gguf_writer_set_u32(struct gguf_writer *writer, struct str key, uint32_t value,
                         struct err *err)
{
    struct gguf_value v = {.kind = GGUF_U32, .count = 1, .u64 = value};
    return gguf_writer_set(writer, key, &v, err);
}

bool gguf_writer_set_f32(struct gguf_writer *writer, struct str key, float value, struct err *err)
{
    struct gguf_value v = {.kind = GGUF_F32, .count = 1, .f64 = (double)value};
    return gguf_writer_set(writer, key, &v, err);
}

bool gguf_writer_set_bool(struct gguf_writer *writer, struct str key, bool value, struct err *err)
{
    struct gguf_value v = {.kind = GGUF_BOOL, .count = 1, .u64 = value};
    return gguf_writer_set(writer, key, &v, err);
}

bool gguf_writer_set_str(struct gguf_writer *writer, struct str key, struct str value,
                         struct err *err)
{
    struct gguf_value v = {.kind = GGUF_STRING, .count = 1, .text = value};
    return gguf_writer_set(writer, key, &v, err);
}

/* ---- tensors ---- */

bool gguf_writer_add(struct gguf_writer *writer, struct str name, enum dtype type,
                     uint32_t dim_count, const uint64_t *dims, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    const struct dtype_info *info = dtype_info(type);
    struct tensor_plan plan = {.name = name, .type = type, .dim_count = dim_count};
    uint64_t elements = 1;
    assert(!writer->has_begun && dim_count >= 1 && dim_count <= GGUF_DIMS_MAX);
    str_quote(quoted, name);
    if (name.len == 0 || gguf_table_find(&writer->tensor_table, name)) {
        return err_set(err, ERR_INVALID, "tensor \"%s\": the name is %s", quoted,
                       name.len ? "taken" : "empty");
    }
    for (uint32_t i = 0; i < dim_count; i++) {
        plan.dims[i] = dims[i];
        if (dims[i] == 0 || !size_mul_u64(elements, dims[i], &elements)) {
            return err_set(err, ERR_INVALID, "tensor \"%s\": dimension %u cannot be %llu", quoted,
                           (unsigned)i, (unsigned long long)dims[i]);
        }
    }
    if (dims[0] % info->block_len ||
        !size_mul_u64(elements / info->block_len, info->block_bytes, &plan.bytes)) {
        return err_set(err, ERR_INVALID, "tensor \"%s\": rows of %llu elements cannot be %s",
                       quoted, (unsigned long long)dims[0], info->name);
    }
    void *items = writer->tensors;
    bool ok = copy_text(writer, &plan.name, err) &&
              grow(&items, writer->tensor_count, &writer->tensor_cap, sizeof plan,
                   &writer->tensor_table, err);
    writer->tensors = items;
    if (ok) {
        writer->tensors[writer->tensor_count] = plan;
        gguf_table_insert(&writer->tensor_table, writer->tensor_count++);
    }
    return ok;
}

/* ---- output ---- */

static bool flush(struct gguf_writer *writer, size_t least, struct err *err)
{
    struct buf *pending = &writer->pending;
    if (pending->failed) {
        return err_set_memory(err, FLUSH_BYTES);
    }
    if (pending->len < least || pending->len == 0) {
        return true;
    }
    bool ok = os_out_write(&writer->out, pending->ptr, pending->len, err);
    buf_clear(pending);
    return ok;
}

static uint64_t position(const struct gguf_writer *writer)
{
    return writer->out.written + writer->pending.len;
}

static void put(struct gguf_writer *writer, const void *bytes, size_t len)
{
    buf_add(&writer->pending, (struct str){.ptr = bytes, .len = len});
}

static void put_u32(struct gguf_writer *writer, uint32_t value)
{
    put(writer, &value, sizeof value);
}

static void put_u64(struct gguf_writer *writer, uint64_t value)
{
    put(writer, &value, sizeof value);
}

/* Bytes of any length; long ones go out uncopied. */
static bool put_bytes(struct gguf_writer *writer, const void *bytes, size_t len, struct err *err)
{
    if (len >= FLUSH_BYTES) {
        return flush(writer, 0, err) && os_out_write(&writer->out, bytes, len, err);
    }
    put(writer, bytes, len);
    return flush(writer, FLUSH_BYTES, err);
}

static bool put_text(struct gguf_writer *writer, struct str text, struct err *err)
{
    put_u64(writer, text.len);
    return put_bytes(writer, text.ptr, text.len, err);
}

static bool put_padding(struct gguf_writer *writer, struct err *err)
{
    static const char zeros[4096];
    uint64_t padding = -position(writer) & (writer->alignment - 1);
    while (padding > 0) {
        size_t n = padding < sizeof zeros ? (size_t)padding : sizeof zeros;
        put(writer, zeros, n);
        padding -= n;
        if (!flush(writer, FLUSH_BYTES, err)) {
            return false;
        }
    }
    return true;
}

static void put_scalar(struct gguf_writer *writer, const struct gguf_value *value)
{
    float narrow = (float)value->f64;
    if (value->kind == GGUF_F32) {
        put(writer, &narrow, sizeof narrow);
    } else { /* little endian: the low bytes of a widened integer come first */
        put(writer, &value->u64, gguf_kind_bytes(value->kind));
    }
}

static bool put_value(struct gguf_writer *writer, const struct gguf_value *value, struct err *err)
{
    put_u32(writer, value->kind);
    if (value->kind == GGUF_STRING) {
        return put_text(writer, value->text, err);
    }
    if (value->kind != GGUF_ARRAY) {
        put_scalar(writer, value);
        return true;
    }
    put_u32(writer, value->item_kind);
    put_u64(writer, value->count);
    if (value->item_kind == GGUF_STRING) {
        for (uint64_t i = 0; i < value->count; i++) {
            if (!put_text(writer, value->texts[i], err)) {
                return false;
            }
        }
        return true;
    }
    return put_bytes(writer, value->items, (size_t)value->count * gguf_kind_bytes(value->item_kind),
                     err);
}

static bool put_front(struct gguf_writer *writer, struct err *err)
{
    put(writer, "GGUF", 4);
    put_u32(writer, VERSION);
    put_u64(writer, writer->tensor_count);
    put_u64(writer, writer->entry_count);
    for (size_t i = 0; i < writer->entry_count; i++) {
        if (!put_text(writer, writer->entries[i].key, err) ||
            !put_value(writer, &writer->entries[i].value, err)) {
            return false;
        }
    }
    for (size_t i = 0; i < writer->tensor_count; i++) {
        const struct tensor_plan *plan = &writer->tensors[i];
        if (!put_text(writer, plan->name, err)) {
            return false;
        }
        put_u32(writer, plan->dim_count);
        for (uint32_t j = 0; j < plan->dim_count; j++) {
            put_u64(writer, plan->dims[j]);
        }
        put_u32(writer, plan->type);
        put_u64(writer, plan->offset);
    }
    return put_padding(writer, err) && flush(writer, 0, err);
}

static bool plan_offsets(struct gguf_writer *writer, struct err *err)
{
    const struct gguf_entry *entry =
        gguf_table_find(&writer->entry_table, STR("general.alignment"));
    uint64_t alignment = GGUF_ALIGNMENT_DEFAULT, offset = 0;
    if (entry && (!gguf_value_u64(&entry->value, 1 << 30, &alignment) || alignment == 0 ||
                  (alignment & (alignment - 1)))) {
        return err_set(err, ERR_INVALID, "general.alignment must be a power of two");
    }
    writer->alignment = (uint32_t)alignment;
    for (size_t i = 0; i < writer->tensor_count; i++) {
        struct tensor_plan *plan = &writer->tensors[i];
        uint64_t end;
        plan->offset = offset;
        if (!size_add_u64(offset, plan->bytes, &end) || !size_add_u64(end, alignment - 1, &end)) {
            return err_set(err, ERR_INVALID, "the tensors have more than 2^64 bytes");
        }
        offset = end & ~(alignment - 1);
    }
    return true;
}

bool gguf_writer_begin(struct gguf_writer *writer, const char *path, struct err *err)
{
    assert(!writer->has_begun);
    if (!plan_offsets(writer, err) || !os_out_open(&writer->out, path, err)) {
        return false;
    }
    writer->has_begun = true;
    return put_front(writer, err);
}

bool gguf_writer_data(struct gguf_writer *writer, const void *bytes, size_t len, struct err *err)
{
    const char *from = bytes;
    assert(writer->has_begun && !writer->is_done);
    while (len > 0) {
        if (writer->current == writer->tensor_count) {
            return err_set(err, ERR_INTERNAL, "%zu bytes behind the last tensor", len);
        }
        uint64_t left = writer->tensors[writer->current].bytes - writer->current_filled;
        size_t n = left < len ? (size_t)left : len;
        if (!put_bytes(writer, from, n, err)) {
            return false;
        }
        from += n;
        len -= n;
        writer->current_filled += n;
        if (writer->current_filled == writer->tensors[writer->current].bytes) {
            if (!put_padding(writer, err)) {
                return false;
            }
            writer->current++;
            writer->current_filled = 0;
        }
    }
    return true;
}

bool gguf_writer_commit(struct gguf_writer *writer, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    assert(writer->has_begun && !writer->is_done);
    if (writer->current < writer->tensor_count) {
        const struct tensor_plan *plan = &writer->tensors[writer->current];
        return err_set(err, ERR_INTERNAL, "tensor \"%s\" got %llu of its %llu bytes",
                       str_quote(quoted, plan->name), (unsigned long long)writer->current_filled,
                       (unsigned long long)plan->bytes);
    }
    if (!flush(writer, 0, err) || !os_out_commit(&writer->out, err)) {
        return false;
    }
    writer->is_done = true;
    return true;
}
