/* Finds special tokens in a text: leftmost first, longest first at one place (as the Hugging Face
 * tokenizers do). No trie is built: the tokens stand sorted, and matching narrows a range of them
 * by one byte at a time.
 *
 *     sorted:   <s>  <s>x  <unk>  [INST]         text "<s>!"
 *     depth 1   '<'  [<s> <s>x <unk>]
 *     depth 2   's'  [<s> <s>x]
 *     depth 3   '>'  [<s> <s>x]    -> <s> ends here: a match; '!' leaves nothing */
#ifndef TEXT_SPECIAL_H
#define TEXT_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/table.h"

/* A longer special token is never looked for: bounds the work per byte of text. */
enum { TEXT_SPECIAL_BYTES_MAX = 512 };

struct text_special {
    const struct text_strings *raw;
    uint32_t *ids; /* sorted by bytes */
    size_t count;
    uint32_t first[257];  /* ids[first[b], first[b + 1]) begin with byte b */
    bool free_first[256]; /* bytes that tokens which are looked for everywhere begin with */
    bool has_free;
    uint8_t *is_free; /* of ids[i]: looked for everywhere, not only in allowed ranges */
};

struct text_special_match {
    size_t from, to;
    uint32_t id;
};

/* kinds[id] tells: CONTROL and UNKNOWN are looked for in allowed ranges, USER_DEFINED everywhere.
 */
bool text_special_init(struct text_special *special, const struct text_strings *raw,
                       const uint8_t *kinds, struct err *err);
void text_special_deinit(struct text_special *special);

/* The longest token that begins at s[at] and ends at or before `limit`, of those that may stand
 * there; `limit` <= at means that only free tokens may. */
bool text_special_match_at(const struct text_special *special, struct str s, size_t at,
                           size_t limit, struct text_special_match *match);

#endif
