#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/size.h"

void buf_deinit(struct buf *b)
{
    mem_free(b->ptr);
    *b = (struct buf){.limit = b->limit};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->ptr) {
        b->ptr[0] = 0;
    }
}

bool buf_reserve(struct buf *b, size_t extra)
{
    size_t need, with_nul;
    if (b->failed) {
        return false;
    }
    if (!size_add(b->len, extra, &need) || (b->limit && need > b->limit) ||
        !size_add(need, 1, &with_nul)) {
        b->failed = true;
        return false;
    }
    if (with_nul > b->cap) {
        size_t cap = size_max(with_nul, b->cap < SIZE_MAX / 2 ? b->cap * 2 : with_nul);
        cap = size_max(cap, 64);
        char *grown = mem_resize(b->ptr, cap, 1);
        if (!grown) {
            b->failed = true;
            return false;
        }
        b->ptr = grown;
        b->cap = cap;
    }
    return true;
}

void buf_add(struct buf *b, struct str s)
{
    if (!buf_reserve(b, s.len)) {
        return;
    }
    if (s.len) {
        memcpy(b->ptr + b->len, s.ptr, s.len);
    }
    b->len += s.len;
    b->ptr[b->len] = 0;
}

void buf_add_char(struct buf *b, char c)
{
    buf_add(b, (struct str){.ptr = &c, .len = 1});
}

void buf_add_text(struct buf *b, const char *text)
{
    buf_add(b, str_of(text));
}

void buf_add_format(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n < 0) {
        b->failed = true;
    } else if (buf_reserve(b, (size_t)n)) {
        vsnprintf(b->ptr + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

struct str buf_view(const struct buf *b)
{
    return (struct str){.ptr = b->ptr, .len = b->len};
}

char *buf_take(struct buf *b, size_t *len)
{
    if (b->failed || !buf_reserve(b, 0)) {
        return NULL;
    }
    char *bytes = b->ptr;
    bytes[b->len] = 0;
    if (len) {
        *len = b->len;
    }
    *b = (struct buf){.limit = b->limit};
    return bytes;
}
