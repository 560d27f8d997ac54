/* The words of JSON as automata and expressions: strings, numbers, white space, any value. */
#ifndef CONSTRAIN_JSON_TEXT_H
#define CONSTRAIN_JSON_TEXT_H

#include "base/json.h"
#include "constrain/expr.h"

/* Made once per compilation. */
struct constrain_json {
    struct constrain_build *b;
    const struct constrain_expr *space;    /* within brackets: insignificant, bounded */
    const struct constrain_expr *gap;      /* the same behind , and : */
    const struct constrain_expr *word;     /* true, false or null */
    const struct constrain_expr *string;   /* any string, with its quotes */
    const struct constrain_expr *one;      /* one character of a string, escapes allowed */
    const struct constrain_expr *contents; /* canonical characters, any number */
    const struct constrain_expr *number, *integer;
    uint32_t value_rule, object_rule, array_rule; /* any of these */
};

void constrain_json_init(struct constrain_json *j, struct constrain_build *b);

/* A character of `set` inside of a string, written the one canonical way: as it is, or the short
 * escape, or \u00XX for other control characters. So two spellings of a key cannot be mixed. */
const struct constrain_expr *constrain_json_chars(struct constrain_build *b,
                                                  const struct constrain_set *set);

/* The text of a value: compact, or in the style of the build. */
const struct constrain_expr *constrain_json_literal(struct constrain_build *b, const json_t *value);

/* true, false or null, or Python's words for them. */
const struct constrain_expr *constrain_json_word(struct constrain_build *b, const json_t *value);

/* ---- numbers ---- */

/* A bound as the decimal text of its number. */
enum { CONSTRAIN_DIGITS_MAX = 400 };

struct constrain_bound {
    bool is_set, is_exclusive, is_negative;
    char whole[CONSTRAIN_DIGITS_MAX];    /* digits before the point, without leading zeros; "0" */
    char fraction[CONSTRAIN_DIGITS_MAX]; /* behind it, without trailing zeros; "" */
};

/* From a JSON number. */
void constrain_bound_set(struct constrain_bound *bound, const json_t *number, bool is_exclusive);
int constrain_bound_compare(const struct constrain_bound *a, const struct constrain_bound *b);

/* Numbers between the bounds, written without an exponent; whole numbers only with `integer`, then
 * between -2^63 and 2^63-1 where a bound is not set. */
const struct constrain_expr *constrain_number_range(struct constrain_build *b,
                                                    const struct constrain_bound *min,
                                                    const struct constrain_bound *max,
                                                    bool integer);

/* Whole numbers that `divisor` > 0 divides. Divisors are at most 10000, times a power of ten. With
 * `is_bounded` of any length: the caller intersects it with a range. */
const struct constrain_expr *constrain_number_multiple(struct constrain_build *b, uint64_t divisor,
                                                       bool is_bounded, const char *what);

#endif
