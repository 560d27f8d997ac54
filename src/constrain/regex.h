/* Regular expressions: the dialect of ECMAScript with the u flag, as JSON Schema's `pattern` uses
 * it. No back references, no \b, no \p; look-ahead only at the top level of the expression, where
 * it is an intersection of automata. What is left is regular, so nothing can run away. */
#ifndef CONSTRAIN_REGEX_H
#define CONSTRAIN_REGEX_H

#include "constrain/expr.h"

struct constrain_regex {
    /* A character of a set; how it stands in the text (UTF-8, or escaped in a JSON string). */
    const struct constrain_expr *(*chars)(struct constrain_build *b,
                                          const struct constrain_set *set);
    bool is_search;   /* may match anywhere in the text, as `pattern` does */
    const char *what; /* for messages: "/properties/a/pattern" */
};

/* The texts that `source` matches, as one automaton or, when it has no assertion and is_search is
 * false, possibly as an expression. Failure is in b. */
const struct constrain_expr *constrain_regex_parse(struct constrain_build *b, struct str source,
                                                   const struct constrain_regex *opts);

#endif
