/* The normaliser of SentencePiece models (tokenizer.ggml.precompiled_charsmap): a table of strings
 * and what they become. See charsmap.c. */
#ifndef TEXT_CHARSMAP_H
#define TEXT_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct text_charsmap {
    uint32_t *units; /* owned; NULL: nothing is changed */
    size_t unit_count;
    char *texts; /* owned; the last byte is NUL */
    size_t texts_len;
};

/* Copies. Any bytes are safe; ERR_FORMAT for those that are no table at all. */
bool text_charsmap_init(struct text_charsmap *map, struct str blob, struct err *err);
void text_charsmap_deinit(struct text_charsmap *map);

/* Appends `s`, changed. Bytes that are no UTF-8 become U+FFFD each. */
void text_charsmap_apply(const struct text_charsmap *map, struct str s, struct buf *out);

#endif
