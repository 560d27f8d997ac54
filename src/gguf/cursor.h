/* A bounded reader over one file: a 64 KiB window that moves forward. Every read names what it
 * wants, so that a short file says "ends inside the tensor count at byte 20"; nothing beyond the
 * size the file had when it was opened is ever asked for. */
#ifndef GGUF_CURSOR_H
#define GGUF_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/err.h"
#include "base/os.h"
#include "base/str.h"

enum { GGUF_WINDOW_BYTES = 64 << 10 };

struct gguf_cursor {
    const struct os_file *file;
    unsigned char *window;  /* owned */
    uint64_t window_offset; /* in the file, of window[0] */
    size_t at, len;         /* the next byte and the end of what is in the window */
};

/* What one model may still take from the heap for its metadata. Charged before each allocation, so
 * that no count or length of a file is ever trusted with more than this. */
struct gguf_budget {
    uint64_t left, total;
    bool is_memory_short; /* the machine set the limit, not GGUF_METADATA_BYTES_MAX */
};

/* ERR_FORMAT, or ERR_MEMORY when the machine is what falls short. */
bool gguf_budget_take(struct gguf_budget *budget, uint64_t bytes, struct err *err);

/* Packs strings of a file back to back: a vocabulary has 10^5 strings of 6 bytes each, so nothing
 * is spent on alignment. The bytes live in the arena. */
struct gguf_text {
    struct arena *arena;
    struct gguf_budget *budget;
    char *chunk;
    size_t chunk_left, chunk_next;
};

bool gguf_cursor_init(struct gguf_cursor *cursor, const struct os_file *file, struct err *err);
void gguf_cursor_deinit(struct gguf_cursor *cursor);

uint64_t gguf_cursor_offset(const struct gguf_cursor *cursor);
uint64_t gguf_cursor_remaining(const struct gguf_cursor *cursor); /* bytes to the end of the file */

bool gguf_cursor_bytes(struct gguf_cursor *cursor, void *out, size_t len, const char *what,
                       struct err *err);
bool gguf_cursor_u8(struct gguf_cursor *cursor, uint8_t *out, const char *what, struct err *err);
bool gguf_cursor_u32(struct gguf_cursor *cursor, uint32_t *out, const char *what, struct err *err);
bool gguf_cursor_u64(struct gguf_cursor *cursor, uint64_t *out, const char *what, struct err *err);

/* A 64-bit length and that many bytes, at most max. */
bool gguf_cursor_string(struct gguf_cursor *cursor, struct gguf_text *text, uint64_t max,
                        struct str *out, const char *what, struct err *err);

#endif
