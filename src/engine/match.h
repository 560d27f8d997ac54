/* Finds strings in a text that arrives byte by byte, over token borders: one Knuth-Morris-Pratt
 * automaton per string. The state of an automaton is the length of the longest end of the text that
 * is a beginning of its string, which is exactly what must be held back from the reader. */
#ifndef ENGINE_MATCH_H
#define ENGINE_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

struct engine_pattern {
    struct str text;
    uint32_t *fail; /* [len + 1]: state to fall back to from each state */
    uint32_t state;
};

struct engine_matcher {
    struct engine_pattern *patterns;
    size_t count;
    bool ignores_case; /* ASCII */
};

/* Copies the strings (none empty) into the arena; false when out of memory. */
bool engine_matcher_init(struct engine_matcher *matcher, const struct str *strings, size_t count,
                         bool ignores_case, struct arena *arena);

/* Back to the start of a text. */
void engine_matcher_reset(struct engine_matcher *matcher);

/* Feeds one byte. Index of the longest string that ends with it, or SIZE_MAX. */
size_t engine_matcher_feed(struct engine_matcher *matcher, char byte);

/* Bytes at the end of the text so far that may become a match. */
size_t engine_matcher_held(const struct engine_matcher *matcher);

#endif
