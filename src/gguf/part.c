/* The front of a GGUF file.
 *
 *     "GGUF"  u32 version  u64 tensor count  u64 entry count
 *     entry:  string key   u32 kind          value
 *     tensor: string name  u32 dim count     u64 dims[]   u32 type   u64 offset
 *     padding to `general.alignment`
 *     tensor bytes, each at (start of this section + offset)
 *
 *     string: u64 length, bytes             array: u32 kind of items, u64 count, items
 *
 * All numbers are little endian; v2 and v3 differ only in that v3 also exists big endian, which is
 * recognised and refused. v1 had 32-bit counts and is refused as every reader does.
 * Source: docs/gguf.md of ggml; what real readers accept: gguf.cpp of llama.cpp.
 *
 * Nothing in the file is believed: a count is compared with the least bytes its items could take in
 * what is left of the file, arrays grow as their items are really read, and all of it is charged to
 * a budget. A sparse file of 1 TiB therefore costs what its non-zero start is worth: the first zero
 * key length ends it. */
#include "gguf/part.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "base/utf8.h"

enum {
    KEY_BYTES_MAX = 65535,   /* the format's own limit */
    ENTRY_BYTES_MIN = 14,    /* key length, one byte of key, kind, one byte of value */
    TENSOR_BYTES_MIN = 33,   /* name length, one byte of name, dim count, one dim, type, offset */
    ALIGNMENT_LOG2_MAX = 30, /* 2 MiB is the largest with a use */
};

struct reader {
    struct gguf_part *part;
    struct gguf_cursor cursor;
    struct gguf_text text;
    struct gguf_budget *budget;
    struct arena *arena;
};

static const struct {
    const char *name;
    uint8_t bytes; /* 0: of variable length */
} kinds[GGUF_KIND_COUNT] = {
    [GGUF_U8] = {"an 8-bit unsigned integer", 1},
    [GGUF_I8] = {"an 8-bit integer", 1},
    [GGUF_U16] = {"a 16-bit unsigned integer", 2},
    [GGUF_I16] = {"a 16-bit integer", 2},
    [GGUF_U32] = {"a 32-bit unsigned integer", 4},
    [GGUF_I32] = {"a 32-bit integer", 4},
    [GGUF_F32] = {"a 32-bit float", 4},
    [GGUF_BOOL] = {"a truth value", 1},
    [GGUF_STRING] = {"a string", 0},
    [GGUF_ARRAY] = {"an array", 0},
    [GGUF_U64] = {"a 64-bit unsigned integer", 8},
    [GGUF_I64] = {"a 64-bit integer", 8},
    [GGUF_F64] = {"a 64-bit float", 8},
};

const char *gguf_kind_name(enum gguf_kind kind)
{
    return kinds[kind].name;
}

size_t gguf_kind_bytes(enum gguf_kind kind)
{
    return kinds[kind].bytes;
}

bool gguf_wrap_key(struct err *err, const struct gguf_entry *entry)
{
    char quoted[STR_QUOTE_MAX];
    return err_wrap(err, "key \"%s\" at byte %llu", str_quote(quoted, entry->key),
                    (unsigned long long)entry->offset);
}

bool gguf_grow(void **items, size_t count, size_t *cap, size_t size, struct gguf_budget *budget,
               struct err *err)
{
    if (count < *cap) {
        return true;
    }
    size_t cap_new = *cap ? *cap * 2 : 16;
    if (!gguf_budget_take(budget, (uint64_t)(cap_new - *cap) * size, err)) {
        return false;
    }
    void *moved = mem_resize(*items, cap_new, size);
    if (!moved) {
        return err_set_memory(err, (unsigned long long)cap_new * size);
    }
    *items = moved;
    *cap = cap_new;
    return true;
}

/* ---- values ---- */

static bool read_scalar(struct gguf_cursor *cursor, enum gguf_kind kind, struct gguf_value *value,
                        struct err *err)
{
    union {
        uint64_t u64;
        int8_t i8;
        int16_t i16;
        int32_t i32;
        float f32;
        double f64;
    } raw = {0};
    if (!gguf_cursor_bytes(cursor, &raw, kinds[kind].bytes, kinds[kind].name, err)) {
        return false;
    }
    switch (kind) {
    case GGUF_I8:
        value->i64 = raw.i8;
        break;
    case GGUF_I16:
        value->i64 = raw.i16;
        break;
    case GGUF_I32:
        value->i64 = raw.i32;
        break;
    case GGUF_F32:
        value->f64 = (double)raw.f32;
        break;
    case GGUF_F64:
        value->f64 = raw.f64;
        break;
    case GGUF_BOOL:
        value->u64 = raw.u64 != 0; /* every reader takes any non-zero byte as true */
        break;
    default:
        value->u64 = raw.u64; /* zero-extended by the initialiser */
        break;
    }
    return true;
}

static bool read_strings(struct reader *r, struct gguf_value *value, struct err *err)
{
    uint64_t bytes;
    struct str *texts;
    if (!size_mul_u64(value->count, sizeof *texts, &bytes)) {
        bytes = UINT64_MAX;
    }
    if (!gguf_budget_take(r->budget, bytes, err)) {
        return false;
    }
    texts = ARENA_ARRAY(r->arena, struct str, (size_t)value->count);
    if (!texts) {
        return err_set_memory(err, bytes);
    }
    value->texts = texts;
    for (uint64_t i = 0; i < value->count; i++) {
        if (!gguf_cursor_string(&r->cursor, &r->text, UINT64_MAX, &texts[i], "string", err)) {
            return err_wrap(err, "item %llu of %llu", (unsigned long long)i,
                            (unsigned long long)value->count);
        }
    }
    return true;
}

static bool read_numbers(struct reader *r, struct gguf_value *value, struct err *err)
{
    uint64_t bytes = value->count * kinds[value->item_kind].bytes; /* <= what is left of the file */
    if (!gguf_budget_take(r->budget, bytes, err)) {
        return false;
    }
    unsigned char *items = arena_alloc(r->arena, (size_t)bytes, 1);
    if (!items) {
        return err_set_memory(err, bytes);
    }
    value->items = items;
    if (!gguf_cursor_bytes(&r->cursor, items, (size_t)bytes, "array", err)) {
        return false;
    }
    for (uint64_t i = 0; value->item_kind == GGUF_BOOL && i < value->count; i++) {
        items[i] = items[i] != 0;
    }
    return true;
}

static bool read_array(struct reader *r, struct gguf_value *value, struct err *err)
{
    uint64_t start = gguf_cursor_offset(&r->cursor);
    uint32_t kind;
    if (!gguf_cursor_u32(&r->cursor, &kind, "kind of the array's items", err) ||
        !gguf_cursor_u64(&r->cursor, &value->count, "count of the array's items", err)) {
        return false;
    }
    if (kind == GGUF_ARRAY) {
        return err_set(err, ERR_FORMAT, "is an array of arrays (byte %llu), which no model uses",
                       (unsigned long long)start);
    }
    if (kind >= GGUF_KIND_COUNT) {
        return err_set(err, ERR_FORMAT, "is an array of an unknown kind %u (byte %llu)",
                       (unsigned)kind, (unsigned long long)start);
    }
    value->item_kind = (enum gguf_kind)kind;
    uint64_t item_min = kind == GGUF_STRING ? 8 : kinds[kind].bytes;
    if (value->count > gguf_cursor_remaining(&r->cursor) / item_min) {
        return err_set(err, ERR_FORMAT,
                       "claims %llu items (byte %llu), but the file has only %llu bytes more",
                       (unsigned long long)value->count, (unsigned long long)start + 4,
                       (unsigned long long)gguf_cursor_remaining(&r->cursor));
    }
    return kind == GGUF_STRING ? read_strings(r, value, err) : read_numbers(r, value, err);
}

static bool read_value(struct reader *r, struct gguf_value *value, struct err *err)
{
    uint64_t start = gguf_cursor_offset(&r->cursor);
    uint32_t kind;
    if (!gguf_cursor_u32(&r->cursor, &kind, "kind of the value", err)) {
        return false;
    }
    if (kind >= GGUF_KIND_COUNT) {
        return err_set(err, ERR_FORMAT, "is of an unknown kind %u (byte %llu)", (unsigned)kind,
                       (unsigned long long)start);
    }
    value->kind = (enum gguf_kind)kind;
    value->count = 1;
    switch (value->kind) {
    case GGUF_STRING:
        return gguf_cursor_string(&r->cursor, &r->text, UINT64_MAX, &value->text, "string", err);
    case GGUF_ARRAY:
        return read_array(r, value, err);
    default:
        return read_scalar(&r->cursor, value->kind, value, err);
    }
}

bool gguf_value_u64(const struct gguf_value *value, uint64_t max, uint64_t *out)
{
    switch (value->kind) {
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
        if (value->i64 < 0) {
            return false;
        }
        break;
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
        break;
    default:
        return false;
    }
    if (value->u64 > max) { /* a non-negative i64 has the same bits */
        return false;
    }
    *out = value->u64;
    return true;
}

/* ---- entries ---- */

static bool read_entry(struct reader *r, struct gguf_entry *entry, struct err *err)
{
    *entry = (struct gguf_entry){.offset = gguf_cursor_offset(&r->cursor)};
    if (!gguf_cursor_string(&r->cursor, &r->text, KEY_BYTES_MAX, &entry->key, "key", err)) {
        return false;
    }
    if (entry->key.len == 0) {
        return err_set(err, ERR_FORMAT, "the key at byte %llu is empty",
                       (unsigned long long)entry->offset);
    }
    if (memchr(entry->key.ptr, 0, entry->key.len) || !utf8_is_valid(entry->key)) {
        err_set(err, ERR_FORMAT, "the key is not text (a NUL byte or invalid UTF-8)");
        return gguf_wrap_key(err, entry);
    }
    return read_value(r, &entry->value, err) || gguf_wrap_key(err, entry);
}

static bool read_entries(struct reader *r, uint64_t count, struct err *err)
{
    struct gguf_part *part = r->part;
    size_t cap = 0, first, second;
    for (uint64_t i = 0; i < count; i++) {
        void *items = part->entries;
        if (!gguf_grow(&items, part->entry_count, &cap, sizeof *part->entries, r->budget, err)) {
            return false;
        }
        part->entries = items;
        if (!read_entry(r, &part->entries[part->entry_count], err)) {
            return false;
        }
        part->entry_count++;
    }
    if (!gguf_budget_take(r->budget, gguf_table_bytes(part->entry_count), err) ||
        !gguf_table_init(&part->entry_table, part->entries, part->entry_count, part->entry_count,
                         sizeof *part->entries, &first, &second, err)) {
        return false;
    }
    if (second != SIZE_MAX) {
        err_set(err, ERR_FORMAT, "the key stands twice, first at byte %llu",
                (unsigned long long)part->entries[first].offset);
        return gguf_wrap_key(err, &part->entries[second]);
    }
    return true;
}

static bool read_alignment(struct gguf_part *part, struct err *err)
{
    const struct gguf_entry *entry = gguf_table_find(&part->entry_table, STR("general.alignment"));
    part->alignment = GGUF_ALIGNMENT_DEFAULT;
    if (!entry) {
        return true;
    }
    uint64_t value;
    if (!gguf_value_u64(&entry->value, UINT64_MAX, &value)) {
        err_set(err, ERR_FORMAT, "is not a positive integer");
        return gguf_wrap_key(err, entry);
    }
    if (value == 0 || (value & (value - 1)) || value > 1ull << ALIGNMENT_LOG2_MAX) {
        err_set(err, ERR_FORMAT, "is %llu, must be a power of two up to 2^%d",
                (unsigned long long)value, ALIGNMENT_LOG2_MAX);
        return gguf_wrap_key(err, entry);
    }
    part->alignment = (uint32_t)value;
    return true;
}

/* ---- header ---- */

/* What else a user may have given us, by the first four bytes. */
static const char *other_format(const char magic[4])
{
    static const struct {
        char magic[5];
        const char *name;
    } others[] = {
        {"FUGG", " (the bytes are swapped: a GGUF file for another machine)"},
        {"lmgg", " (an old GGML model; convert it)"},
        {"tjgg", " (an old GGJT model; convert it)"},
        {"fmgg", " (an old GGMF model; convert it)"},
        {"algg", " (an old GGLA adapter; convert it)"},
        {"PK\3\4", " (a zip archive, perhaps a PyTorch checkpoint)"},
        {"vers", " (perhaps a Git LFS pointer; the model itself was not downloaded)"},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (memcmp(magic, others[i].magic, 4) == 0) {
            return others[i].name;
        }
    }
    return "";
}

static bool read_header(struct reader *r, uint64_t *tensor_count, uint64_t *entry_count,
                        struct err *err)
{
    char magic[4];
    uint32_t version;
    struct gguf_cursor *cursor = &r->cursor;
    if (cursor->file->size < sizeof magic) {
        return err_set(err, ERR_FORMAT, "not a GGUF file: it has only %llu bytes",
                       (unsigned long long)cursor->file->size);
    }
    if (!gguf_cursor_bytes(cursor, magic, sizeof magic, "magic", err)) {
        return false;
    }
    if (memcmp(magic, "GGUF", 4) != 0) {
        return err_set(err, ERR_FORMAT,
                       "not a GGUF file: byte 0 does not start the magic \"GGUF\"%s",
                       other_format(magic));
    }
    if (!gguf_cursor_u32(cursor, &version, "version", err)) {
        return false;
    }
    if (version && (version & 0xffff) == 0) {
        return err_set(err, ERR_FORMAT,
                       "the version at byte 4 is 0x%08x: a big-endian GGUF file, which hearth does "
                       "not read; convert it to little endian",
                       (unsigned)version);
    }
    if (version < 2 || version > 3) {
        return err_set(err, ERR_FORMAT, "GGUF version %u (byte 4) is not supported, only 2 and 3",
                       (unsigned)version);
    }
    r->part->version = version;
    if (!gguf_cursor_u64(cursor, tensor_count, "tensor count", err) ||
        !gguf_cursor_u64(cursor, entry_count, "metadata entry count", err)) {
        return false;
    }
    uint64_t left = gguf_cursor_remaining(cursor);
    if (*tensor_count > left / TENSOR_BYTES_MIN) {
        return err_set(
            err, ERR_FORMAT,
            "the tensor count at byte 8 is %llu, more than the file's %llu bytes can hold",
            (unsigned long long)*tensor_count, (unsigned long long)cursor->file->size);
    }
    if (*entry_count > left / ENTRY_BYTES_MIN) {
        return err_set(
            err, ERR_FORMAT,
            "the metadata entry count at byte 16 is %llu, more than the file's %llu bytes "
            "can hold",
            (unsigned long long)*entry_count, (unsigned long long)cursor->file->size);
    }
    return true;
}

static bool read_part(struct reader *r, struct err *err)
{
    uint64_t tensor_count, entry_count;
    return gguf_cursor_init(&r->cursor, &r->part->file, err) &&
           read_header(r, &tensor_count, &entry_count, err) && read_entries(r, entry_count, err) &&
           read_alignment(r->part, err) &&
           gguf_part_read_tensors(r->part, &r->cursor, &r->text, tensor_count, err);
}

bool gguf_part_open(struct gguf_part *part, const char *path, struct gguf_budget *budget,
                    struct arena *arena, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    *part = (struct gguf_part){.file = {.fd = -1}};
    if (!os_file_open(&part->file, path, err)) {
        return false;
    }
    struct reader r = {
        .part = part, .budget = budget, .arena = arena, .text = {.arena = arena, .budget = budget}};
    bool ok = read_part(&r, err);
    gguf_cursor_deinit(&r.cursor);
    if (!ok) {
        gguf_part_close(part);
        err_wrap(err, "%s", gguf_quote_path(quoted, path));
    }
    return ok;
}

void gguf_part_close(struct gguf_part *part)
{
    os_file_close(&part->file);
    mem_free(part->entries);
    mem_free(part->tensors);
    gguf_table_deinit(&part->entry_table);
    gguf_table_deinit(&part->tensor_table);
    *part = (struct gguf_part){.file = {.fd = -1}};
}
