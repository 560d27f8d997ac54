/* The tensor index of one file. Each tensor must have a type we know, a shape whose element count
 * and byte count fit 63 bits, and a range of bytes that is aligned, lies inside the file and shares
 * no byte with another tensor. Gaps, any order and bytes behind the last tensor are fine. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "base/utf8.h"
#include "gguf/part.h"

enum { NAME_BYTES_MAX = 255 }; /* the format says 64, image models have longer ones */

static bool wrap_tensor(struct err *err, const struct gguf_tensor *tensor)
{
    char quoted[STR_QUOTE_MAX];
    return err_wrap(err, "tensor \"%s\" at byte %llu", str_quote(quoted, tensor->name),
                    (unsigned long long)tensor->info_offset);
}

static bool read_dims(struct gguf_cursor *cursor, struct gguf_tensor *tensor, struct err *err)
{
    uint64_t start = gguf_cursor_offset(cursor), elements = 1;
    if (!gguf_cursor_u32(cursor, &tensor->dim_count, "dimension count", err)) {
        return false;
    }
    if (tensor->dim_count < 1 || tensor->dim_count > GGUF_DIMS_MAX) {
        return err_set(err, ERR_FORMAT, "has %u dimensions (byte %llu), must have 1 to %d",
                       (unsigned)tensor->dim_count, (unsigned long long)start, GGUF_DIMS_MAX);
    }
    for (uint32_t i = 0; i < GGUF_DIMS_MAX; i++) {
        tensor->dims[i] = 1;
    }
    for (uint32_t i = 0; i < tensor->dim_count; i++) {
        uint64_t at = gguf_cursor_offset(cursor);
        if (!gguf_cursor_u64(cursor, &tensor->dims[i], "dimension", err)) {
            return false;
        }
        if (tensor->dims[i] == 0) {
            return err_set(err, ERR_FORMAT, "dimension %u is 0 (byte %llu)", (unsigned)i,
                           (unsigned long long)at);
        }
        if (!size_mul_u64(elements, tensor->dims[i], &elements) || elements > INT64_MAX) {
            return err_set(err, ERR_FORMAT,
                           "dimension %u is %llu (byte %llu): more than 2^63 elements", (unsigned)i,
                           (unsigned long long)tensor->dims[i], (unsigned long long)at);
        }
    }
    return true;
}

static bool read_type(struct gguf_cursor *cursor, struct gguf_tensor *tensor, struct err *err)
{
    uint64_t start = gguf_cursor_offset(cursor);
    uint32_t id;
    if (!gguf_cursor_u32(cursor, &id, "type", err)) {
        return false;
    }
    const struct dtype_info *info = dtype_find(id);
    if (!info) {
        const char *name = dtype_removed_name(id);
        return err_set(err, ERR_FORMAT, "has the %s type id %d%s%s%s (byte %llu)",
                       name ? "removed" : "unknown", (int)(int32_t)id, name ? " (" : "",
                       name ? name : "", name ? ")" : "", (unsigned long long)start);
    }
    tensor->type = info->type;
    if (tensor->dims[0] % info->block_len) {
        return err_set(err, ERR_FORMAT,
                       "has rows of %llu elements (byte %llu), but type %s packs blocks of %u",
                       (unsigned long long)tensor->dims[0], (unsigned long long)start, info->name,
                       (unsigned)info->block_len);
    }
    tensor->row_count = tensor->dims[1] * tensor->dims[2] * tensor->dims[3]; /* < 2^63, see dims */
    if (!size_mul_u64(tensor->dims[0] / info->block_len, info->block_bytes, &tensor->row_bytes) ||
        !size_mul_u64(tensor->row_bytes, tensor->row_count, &tensor->bytes) ||
        tensor->bytes > INT64_MAX) {
        return err_set(err, ERR_FORMAT, "has more than 2^63 bytes as type %s (byte %llu)",
                       info->name, (unsigned long long)start);
    }
    return true;
}

static bool read_tensor(struct gguf_cursor *cursor, struct gguf_text *text,
                        struct gguf_tensor *tensor, struct err *err)
{
    *tensor = (struct gguf_tensor){.info_offset = gguf_cursor_offset(cursor)};
    if (!gguf_cursor_string(cursor, text, NAME_BYTES_MAX, &tensor->name, "tensor name", err)) {
        return false;
    }
    if (tensor->name.len == 0) {
        return err_set(err, ERR_FORMAT, "the tensor name at byte %llu is empty",
                       (unsigned long long)tensor->info_offset);
    }
    if (memchr(tensor->name.ptr, 0, tensor->name.len) || !utf8_is_valid(tensor->name)) {
        err_set(err, ERR_FORMAT, "the name is not text (a NUL byte or invalid UTF-8)");
        return wrap_tensor(err, tensor);
    }
    return (read_dims(cursor, tensor, err) && read_type(cursor, tensor, err) &&
            gguf_cursor_u64(cursor, &tensor->offset, "tensor offset", err)) ||
           wrap_tensor(err, tensor);
}

/* Makes the offset absolute. */
static bool place_tensor(const struct gguf_part *part, struct gguf_tensor *tensor, uint64_t data,
                         struct err *err)
{
    uint64_t size = part->file.size, from, to;
    if (tensor->offset % part->alignment) {
        return err_set(err, ERR_FORMAT, "offset %llu is not a multiple of the alignment %u",
                       (unsigned long long)tensor->offset, (unsigned)part->alignment);
    }
    if (!size_add_u64(data, tensor->offset, &from) || !size_add_u64(from, tensor->bytes, &to) ||
        to > size) {
        return err_set(err, ERR_FORMAT,
                       "its %llu bytes at offset %llu of the data (which starts at byte %llu) end "
                       "past the end of the file (%llu bytes)",
                       (unsigned long long)tensor->bytes, (unsigned long long)tensor->offset,
                       (unsigned long long)data, (unsigned long long)size);
    }
    tensor->offset = from;
    return true;
}

static int compare_offset(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;
    return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

/* Tensors nearly always stand in file order; only otherwise they are sorted. */
static bool check_overlap(const struct gguf_part *part, struct gguf_budget *budget, struct err *err)
{
    size_t n = part->tensor_count, sorted = 1;
    while (sorted < n && part->tensors[sorted - 1].offset + part->tensors[sorted - 1].bytes <=
                             part->tensors[sorted].offset) {
        sorted++;
    }
    if (sorted >= n) {
        return true;
    }
    uint64_t bytes = (uint64_t)n * sizeof(struct gguf_tensor *);
    if (!gguf_budget_take(budget, bytes, err)) {
        return false;
    }
    const struct gguf_tensor **order = MEM_ARRAY(const struct gguf_tensor *, n);
    if (!order) {
        return err_set_memory(err, bytes);
    }
    for (size_t i = 0; i < n; i++) {
        order[i] = &part->tensors[i];
    }
    qsort(order, n, sizeof *order, compare_offset);
    bool ok = true;
    for (size_t i = 1; i < n && ok; i++) {
        if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset) {
            char quoted[STR_QUOTE_MAX];
            err_set(err, ERR_FORMAT, "its bytes from %llu on overlap tensor \"%s\"",
                    (unsigned long long)order[i]->offset, str_quote(quoted, order[i - 1]->name));
            ok = wrap_tensor(err, order[i]);
        }
    }
    budget->left += bytes;
    mem_free(order);
    return ok;
}

static bool check_tensors(struct gguf_part *part, uint64_t index_end, struct gguf_budget *budget,
                          struct err *err)
{
    size_t first, second;
    if (!gguf_budget_take(budget, gguf_table_bytes(part->tensor_count), err) ||
        !gguf_table_init(&part->tensor_table, part->tensors, part->tensor_count, part->tensor_count,
                         sizeof *part->tensors, &first, &second, err)) {
        return false;
    }
    if (second != SIZE_MAX) {
        err_set(err, ERR_FORMAT, "the name stands twice, first at byte %llu",
                (unsigned long long)part->tensors[first].info_offset);
        return wrap_tensor(err, &part->tensors[second]);
    }
    uint64_t mask = part->alignment - 1; /* index_end is a file offset: no wrap within 2^63 */
    uint64_t data = (index_end + mask) & ~mask;
    for (size_t i = 0; i < part->tensor_count; i++) {
        if (!place_tensor(part, &part->tensors[i], data, err)) {
            return wrap_tensor(err, &part->tensors[i]);
        }
    }
    return check_overlap(part, budget, err);
}

bool gguf_part_read_tensors(struct gguf_part *part, struct gguf_cursor *cursor,
                            struct gguf_text *text, uint64_t count, struct err *err)
{
    size_t cap = 0;
    for (uint64_t i = 0; i < count; i++) {
        void *items = part->tensors;
        if (!gguf_grow(&items, part->tensor_count, &cap, sizeof *part->tensors, text->budget,
                       err)) {
            return false;
        }
        part->tensors = items;
        if (!read_tensor(cursor, text, &part->tensors[part->tensor_count], err)) {
            return false;
        }
        part->tensor_count++;
    }
    return check_tensors(part, gguf_cursor_offset(cursor), text->budget, err);
}
