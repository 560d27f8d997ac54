/* Cuts a text into words with the regexes of a pre-tokenizer. */
#ifndef TEXT_SPLIT_H
#define TEXT_SPLIT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "text/pretok.h"

struct text_split;

/* Compiles a row; immutable afterwards and shared by threads. */
struct text_split *text_split_open(const struct text_pretok *pretok, struct err *err);
void text_split_close(struct text_split *split);

/* What one use of a splitter needs; not shared. All-zero before text_split_begin. */
struct text_split_run {
    const struct text_split *split;
    void *match_data;
    size_t grouped_to; /* end of the run of digits whose first group is out */
};

bool text_split_begin(struct text_split_run *run, const struct text_split *split);
void text_split_end(struct text_split_run *run);

size_t text_split_stage_count(const struct text_split *split);

/* The parts that stage `stage` makes of `part`, one call after the other: sets *from and *to of the
 * next one, which begins at `at`; at < part.len. Matches and gaps alike are parts. `part` is valid
 * UTF-8. *more is the end of a match that follows a gap, to be given to the next call (0: none). */
void text_split_next(struct text_split_run *run, size_t stage, struct str part, size_t at,
                     size_t *to, size_t *match_to);

#endif
