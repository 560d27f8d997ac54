/* A growing byte buffer. Failure is sticky: after an append that could not be stored, all further
 * appends do nothing and `failed` stays set, so that a writer checks once at the end. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/str.h"

struct buf {
    char *ptr; /* owned; always terminated when not NULL */
    size_t len;
    size_t cap;
    size_t limit; /* 0: unlimited; else an append past it fails */
    bool failed;
};

/* All-zero is a valid empty buffer, so `struct buf b = {0};` does as well. */
void buf_deinit(struct buf *b);

/* Empties without freeing; also clears `failed`. */
void buf_clear(struct buf *b);

void buf_add(struct buf *b, struct str s);
void buf_add_char(struct buf *b, char c);
void buf_add_text(struct buf *b, const char *text);
void buf_add_format(struct buf *b, const char *format, ...) ATTR_PRINTF(2, 3);

/* Room for `extra` more bytes without moving; false (and failed) if it cannot be had. */
bool buf_reserve(struct buf *b, size_t extra);

struct str buf_view(const struct buf *b);

/* Hands the bytes over (mem_free them) and empties the buffer. NULL only when failed; an empty
 * buffer gives an empty string. */
char *buf_take(struct buf *b, size_t *len);

#endif
