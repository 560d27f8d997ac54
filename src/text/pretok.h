/* Pre-tokenizers: how a byte-level BPE cuts a text into words before it merges bytes. One row of
 * the table in pretok.c per pre-tokenizer: names, regexes, flags. */
#ifndef TEXT_PRETOK_H
#define TEXT_PRETOK_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

enum { TEXT_STAGES_MAX = 6 };

enum {
    TEXT_PRETOK_WHOLE_WORDS = 1, /* a word that is a token is not merged ("ignore_merges") */
    TEXT_PRETOK_ADD_BOS = 2,     /* unless the metadata says otherwise */
    TEXT_PRETOK_ADD_SEP = 4      /* the same, between the texts of a pair */
};

struct text_pretok {
    const char *names;                   /* values of tokenizer.ggml.pre, separated by spaces */
    const char *stages[TEXT_STAGES_MAX]; /* regexes as their tokenizer.json has them */
    unsigned flags;
};

/* Not a regex: cuts each run of \p{N} into groups of three, counted from its right end. */
extern const char text_pretok_digits3[];

/* The same for each run of \d that no letter, digit or underscore follows. */
extern const char text_pretok_numbers3[];

/* NULL if unknown. */
const struct text_pretok *text_pretok_find(struct str name);

/* Appends all known names: "gpt-2, phi-2, ...". */
void text_pretok_list(struct buf *out);

#endif
