#include "gguf/cursor.h"

#include <string.h>

#include "base/mem.h"
#include "base/size.h"

enum { CHUNK_FIRST = 4 << 10, CHUNK_MAX = 256 << 10 };

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "hearth reads GGUF numbers and tensors in place, which needs a little-endian machine"
#endif

bool gguf_budget_take(struct gguf_budget *budget, uint64_t bytes, struct err *err)
{
    if (bytes > budget->left) {
        return err_set(err, budget->is_memory_short ? ERR_MEMORY : ERR_FORMAT,
                       "the metadata needs %llu bytes more than the %llu that may be spent on it",
                       (unsigned long long)(bytes - budget->left),
                       (unsigned long long)budget->total);
    }
    budget->left -= bytes;
    return true;
}

bool gguf_cursor_init(struct gguf_cursor *cursor, const struct os_file *file, struct err *err)
{
    *cursor = (struct gguf_cursor){.file = file, .window = mem_alloc(GGUF_WINDOW_BYTES, 1)};
    return cursor->window || err_set_memory(err, GGUF_WINDOW_BYTES);
}

void gguf_cursor_deinit(struct gguf_cursor *cursor)
{
    mem_free(cursor->window);
    cursor->window = NULL;
}

uint64_t gguf_cursor_offset(const struct gguf_cursor *cursor)
{
    return cursor->window_offset + cursor->at;
}

uint64_t gguf_cursor_remaining(const struct gguf_cursor *cursor)
{
    return cursor->file->size - gguf_cursor_offset(cursor);
}

static bool window_fill(struct gguf_cursor *cursor, struct err *err)
{
    cursor->window_offset += cursor->at;
    cursor->at = cursor->len = 0;
    uint64_t left = cursor->file->size - cursor->window_offset;
    size_t len = left < GGUF_WINDOW_BYTES ? (size_t)left : GGUF_WINDOW_BYTES;
    if (!os_file_read(cursor->file, cursor->window_offset, cursor->window, len, err)) {
        return false;
    }
    cursor->len = len;
    return true;
}

bool gguf_cursor_bytes(struct gguf_cursor *cursor, void *out, size_t len, const char *what,
                       struct err *err)
{
    unsigned char *to = out;
    if (len > gguf_cursor_remaining(cursor)) {
        return err_set(err, ERR_FORMAT, "the file ends inside the %s at byte %llu", what,
                       (unsigned long long)gguf_cursor_offset(cursor));
    }
    while (len > 0) {
        if (cursor->at == cursor->len && len >= GGUF_WINDOW_BYTES) { /* past the window, uncopied */
            cursor->window_offset += cursor->at;
            cursor->at = cursor->len = 0;
            if (!os_file_read(cursor->file, cursor->window_offset, to, len, err)) {
                return err_wrap(err, "%s", what);
            }
            cursor->window_offset += len;
            return true;
        }
        if (cursor->at == cursor->len && !window_fill(cursor, err)) {
            return err_wrap(err, "%s", what);
        }
        size_t n = size_min(len, cursor->len - cursor->at);
        memcpy(to, cursor->window + cursor->at, n);
        cursor->at += n;
        to += n;
        len -= n;
    }
    return true;
}

bool gguf_cursor_u8(struct gguf_cursor *cursor, uint8_t *out, const char *what, struct err *err)
{
    return gguf_cursor_bytes(cursor, out, sizeof *out, what, err);
}

bool gguf_cursor_u32(struct gguf_cursor *cursor, uint32_t *out, const char *what, struct err *err)
{
    return gguf_cursor_bytes(cursor, out, sizeof *out, what, err);
}

bool gguf_cursor_u64(struct gguf_cursor *cursor, uint64_t *out, const char *what, struct err *err)
{
    return gguf_cursor_bytes(cursor, out, sizeof *out, what, err);
}

/* Room for len bytes; large strings get their own block, small ones share chunks. */
static char *text_room(struct gguf_text *text, size_t len, struct err *err)
{
    if (len <= text->chunk_left) {
        char *room = text->chunk;
        text->chunk += len;
        text->chunk_left -= len;
        return room;
    }
    bool is_shared = len < CHUNK_MAX / 4;
    size_t chunk = size_max(text->chunk_next, CHUNK_FIRST);
    size_t want = is_shared ? size_max(chunk, len) : len;
    char *room = NULL;
    if (!gguf_budget_take(text->budget, want, err)) {
        return NULL;
    }
    if (!(room = arena_alloc(text->arena, want, 1))) {
        err_set_memory(err, want);
        return NULL;
    }
    if (is_shared) {
        text->chunk = room + len;
        text->chunk_left = want - len;
        text->chunk_next = size_min(chunk * 2, CHUNK_MAX);
    }
    return room;
}

bool gguf_cursor_string(struct gguf_cursor *cursor, struct gguf_text *text, uint64_t max,
                        struct str *out, const char *what, struct err *err)
{
    uint64_t start = gguf_cursor_offset(cursor), len;
    if (!gguf_cursor_u64(cursor, &len, what, err)) {
        return false;
    }
    if (len > gguf_cursor_remaining(cursor)) {
        return err_set(err, ERR_FORMAT,
                       "the %s at byte %llu claims %llu bytes, but the file has only %llu more",
                       what, (unsigned long long)start, (unsigned long long)len,
                       (unsigned long long)gguf_cursor_remaining(cursor));
    }
    if (len > max) {
        return err_set(err, ERR_FORMAT, "the %s at byte %llu has %llu bytes, the limit is %llu",
                       what, (unsigned long long)start, (unsigned long long)len,
                       (unsigned long long)max);
    }
    if (len == 0) {
        *out = STR("");
        return true;
    }
    char *room = text_room(text, (size_t)len, err);
    if (!room || !gguf_cursor_bytes(cursor, room, (size_t)len, what, err)) {
        return false;
    }
    *out = (struct str){.ptr = room, .len = (size_t)len};
    return true;
}
