/* The language of all front ends: JSON Schema, GBNF and regex become expressions over bytes, and
 * grammar.c makes an automaton of them.
 *
 *     never            nothing matches             empty            the empty text
 *     bytes "abc"      a literal                   range a-z        one byte
 *     seq, alt         n-ary                       rep x {m,n}      counted, never unrolled here
 *     ref RULE         by index                    dfa D            a regular language, ready made
 *     begin, end       the assertions ^ and $, only inside of what becomes a DFA
 *
 * Expressions are immutable and may be shared (a DAG). They live in the arena of the build.
 * Building never fails at the call: after the first failure `never` comes back and `failed` stays
 * set, with the reason in *err; the front end looks once at its end. */
#ifndef CONSTRAIN_EXPR_H
#define CONSTRAIN_EXPR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "constrain/constrain.h"

enum constrain_expr_kind {
    EXPR_NEVER,
    EXPR_EMPTY,
    EXPR_BYTES,
    EXPR_RANGE,
    EXPR_SEQ,
    EXPR_ALT,
    EXPR_REP,
    EXPR_REF,
    EXPR_DFA,
    EXPR_BEGIN,
    EXPR_END
};

#define EXPR_UNBOUNDED UINT64_MAX

struct constrain_dfa;

struct constrain_expr {
    enum constrain_expr_kind kind;
    uint8_t lo, hi;                      /* RANGE */
    uint32_t rule;                       /* REF */
    uint32_t mark;                       /* scratch of grammar.c */
    struct str bytes;                    /* BYTES */
    const struct constrain_dfa *dfa;     /* DFA */
    const struct constrain_expr **parts; /* SEQ, ALT; REP: parts[0] */
    size_t count;
    uint64_t min, max; /* REP */
    uint64_t size;     /* NFA states it would need; saturates; UINT64_MAX with a REF inside */
};

struct constrain_rule {
    const char *name; /* for messages; escaped */
    const struct constrain_expr *body;
};

/* One compilation. */
struct constrain_build {
    struct arena *arena; /* expressions; freed after the compilation */
    struct arena *keep;  /* automata; live as long as the grammar */
    struct constrain_rule *rules;
    size_t rule_count, rule_cap;
    struct err *err;
    bool failed;
    struct constrain_style style; /* of values */
};

/* Sets the error once. Returns `never`. */
const struct constrain_expr *constrain_fail(struct constrain_build *b, enum err_code code,
                                            const char *format, ...) ATTR_PRINTF(3, 4);
const struct constrain_expr *constrain_fail_memory(struct constrain_build *b);

const struct constrain_expr *constrain_never(void);
const struct constrain_expr *constrain_empty(void);
const struct constrain_expr *constrain_assert(bool is_end);
const struct constrain_expr *constrain_bytes(struct constrain_build *b, struct str bytes);
const struct constrain_expr *constrain_text(struct constrain_build *b, const char *text);
const struct constrain_expr *constrain_range(struct constrain_build *b, int lo, int hi);
const struct constrain_expr *constrain_seq(struct constrain_build *b, size_t count,
                                           const struct constrain_expr *const *parts);
const struct constrain_expr *constrain_alt(struct constrain_build *b, size_t count,
                                           const struct constrain_expr *const *parts);
const struct constrain_expr *constrain_rep(struct constrain_build *b,
                                           const struct constrain_expr *part, uint64_t min,
                                           uint64_t max);
const struct constrain_expr *constrain_ref(struct constrain_build *b, uint32_t rule);
const struct constrain_expr *constrain_leaf(struct constrain_build *b,
                                            const struct constrain_dfa *dfa);

/* constrain_join(b, x, y, z): a sequence of the arguments; constrain_any: their alternation. */
#define constrain_join(b, ...)                                                                     \
    constrain_seq((b),                                                                             \
                  sizeof((const struct constrain_expr *const[]){__VA_ARGS__}) / sizeof(void *),    \
                  (const struct constrain_expr *const[]){__VA_ARGS__})
#define constrain_either(b, ...)                                                                   \
    constrain_alt((b),                                                                             \
                  sizeof((const struct constrain_expr *const[]){__VA_ARGS__}) / sizeof(void *),    \
                  (const struct constrain_expr *const[]){__VA_ARGS__})

/* A new rule without a body; UINT32_MAX on failure. `name` is copied. */
uint32_t constrain_rule_add(struct constrain_build *b, const char *name);

/* ---- sets of characters ---- */

struct constrain_span {
    uint32_t lo, hi; /* inclusive */
};

enum { CONSTRAIN_SPANS_MAX = 1024, CONSTRAIN_CODE_MAX = 0x10FFFF };

struct constrain_set {
    struct constrain_span spans[CONSTRAIN_SPANS_MAX];
    size_t count;
    bool overflow;
};

void constrain_set_add(struct constrain_set *set, uint32_t lo, uint32_t hi);
void constrain_set_sort(struct constrain_set *set);   /* ascending, merged */
void constrain_set_negate(struct constrain_set *set); /* without the surrogates */

/* One character of a sorted set, as UTF-8. */
const struct constrain_expr *constrain_chars(struct constrain_build *b,
                                             const struct constrain_set *set);

#endif
