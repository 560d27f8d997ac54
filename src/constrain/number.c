/* Ranges of numbers as expressions over their decimal digits.
 *
 * A range is cut in magnitudes of one sign. Whole numbers of equal length compare digit by digit,
 * so a..b is a tree along the digits of both bounds:
 *
 *     17..324 = 17..99 | 100..324       100..324 = 1dd | 2dd | 3(0d | 1d | 2[0-4])
 *
 * Fractions compare the same way from the left; a shorter one is as if zeros followed. Zero has no
 * sign and no number has leading zeros. Generated fractions have at most FRACTION_MAX further
 * digits, so that random weights come to an end. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "constrain/dfa.h"
#include "constrain/json_text.h"

enum { FRACTION_MAX = 17, WHOLE_MAX = 21, DIVISOR_MAX = 10000 };

static void strip(struct constrain_bound *bound)
{
    size_t zeros = 0, len = strlen(bound->fraction);
    while (bound->whole[zeros] == '0' && bound->whole[zeros + 1]) {
        zeros++;
    }
    memmove(bound->whole, bound->whole + zeros, strlen(bound->whole + zeros) + 1);
    while (len > 0 && bound->fraction[len - 1] == '0') {
        bound->fraction[--len] = 0;
    }
    if (strcmp(bound->whole, "0") == 0 && len == 0) {
        bound->is_negative = false;
    }
}

void constrain_bound_set(struct constrain_bound *bound, const json_t *number, bool is_exclusive)
{
    char text[32], digits[32];
    size_t count = 0;
    long point = -1, exponent = 0;
    *bound = (struct constrain_bound){.is_set = true, .is_exclusive = is_exclusive};
    if (json_is_integer(number)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(number));
    } else {
        json_format_double(json_real_value(number), text);
    }
    for (const char *c = text; *c; c++) {
        if (*c == '-') {
            bound->is_negative = true;
        } else if (*c == '.') {
            point = (long)count;
        } else if (*c == 'e' || *c == 'E') {
            exponent = strtol(c + 1, NULL, 10);
            break;
        } else {
            digits[count++] = *c;
        }
    }
    point = (point < 0 ? (long)count : point) + exponent; /* digits before the point */
    size_t whole = 0, fraction = 0;
    for (long i = point < 0 ? point : 0; i < (long)count || i < point; i++) {
        const char digit = i >= 0 && i < (long)count ? digits[i] : '0';
        if (i < point && whole + 1 < CONSTRAIN_DIGITS_MAX) {
            bound->whole[whole++] = digit;
        } else if (i >= point && fraction + 1 < CONSTRAIN_DIGITS_MAX) {
            bound->fraction[fraction++] = digit;
        }
    }
    if (whole == 0) {
        bound->whole[0] = '0';
    }
    strip(bound);
}

static int compare_magnitude(const struct constrain_bound *a, const struct constrain_bound *b)
{
    const size_t len_a = strlen(a->whole), len_b = strlen(b->whole);
    const int whole = len_a != len_b ? (len_a < len_b ? -1 : 1) : strcmp(a->whole, b->whole);
    return whole ? whole : strcmp(a->fraction, b->fraction); /* no trailing zeros */
}

int constrain_bound_compare(const struct constrain_bound *a, const struct constrain_bound *b)
{
    if (a->is_negative != b->is_negative) {
        return a->is_negative ? -1 : 1;
    }
    const int order = compare_magnitude(a, b);
    return a->is_negative ? -order : order;
}

/* ---- digits ---- */

static const struct constrain_expr *digits(struct constrain_build *b, uint64_t min, uint64_t max)
{
    return constrain_rep(b, constrain_range(b, '0', '9'), min, max);
}

/* Exactly the length of the bound, at least or at most it. */
static const struct constrain_expr *one_sided(struct constrain_build *b, const char *bound,
                                              bool at_least)
{
    if (!*bound) {
        return constrain_empty();
    }
    const struct constrain_expr *other =
        at_least ? constrain_range(b, *bound + 1, '9') : constrain_range(b, '0', *bound - 1);
    const size_t rest = strlen(bound + 1);
    return constrain_either(
        b, constrain_join(b, constrain_range(b, *bound, *bound), one_sided(b, bound + 1, at_least)),
        constrain_join(b, other, digits(b, rest, rest)));
}

/* lo..hi, texts of equal length. */
static const struct constrain_expr *equal_length(struct constrain_build *b, const char *lo,
                                                 const char *hi)
{
    if (!*lo) {
        return constrain_empty();
    }
    if (*lo == *hi) {
        return constrain_join(b, constrain_range(b, *lo, *lo), equal_length(b, lo + 1, hi + 1));
    }
    const size_t rest = strlen(lo + 1);
    return constrain_either(
        b, constrain_join(b, constrain_range(b, *lo, *lo), one_sided(b, lo + 1, true)),
        constrain_join(b, constrain_range(b, *lo + 1, *hi - 1), digits(b, rest, rest)),
        constrain_join(b, constrain_range(b, *hi, *hi), one_sided(b, hi + 1, false)));
}

static int compare_whole(const char *a, const char *b)
{
    const size_t len_a = strlen(a), len_b = strlen(b);
    return len_a != len_b ? (len_a < len_b ? -1 : 1) : strcmp(a, b);
}

/* Whole numbers lo..hi without sign. */
static const struct constrain_expr *whole_range(struct constrain_build *b, const char *lo,
                                                const char *hi)
{
    const struct constrain_expr *out = constrain_never();
    const size_t from = strlen(lo), to = strlen(hi);
    if (compare_whole(lo, hi) > 0) {
        return out;
    }
    for (size_t len = from; len <= to; len++) {
        char low[CONSTRAIN_DIGITS_MAX] = "1", high[CONSTRAIN_DIGITS_MAX] = "";
        memset(low + 1, '0', len - 1);
        memset(high, '9', len);
        out = constrain_either(b, out,
                               equal_length(b, len == from ? lo : low, len == to ? hi : high));
    }
    return out;
}

static void add_one(char whole[CONSTRAIN_DIGITS_MAX])
{
    size_t i = strlen(whole);
    while (i > 0 && whole[i - 1] == '9') {
        whole[--i] = '0';
    }
    if (i > 0) {
        whole[i - 1]++;
    } else if (strlen(whole) + 2 < CONSTRAIN_DIGITS_MAX) {
        memmove(whole + 1, whole, strlen(whole) + 1);
        whole[0] = '1';
    }
}

/* Of a number above 0. */
static void subtract_one(char whole[CONSTRAIN_DIGITS_MAX])
{
    size_t i = strlen(whole);
    while (i > 0 && whole[i - 1] == '0') {
        whole[--i] = '9';
    }
    whole[i - 1]--;
    if (whole[0] == '0' && whole[1]) {
        memmove(whole, whole + 1, strlen(whole));
    }
}

/* ---- fractions, with the point or empty ---- */

static const struct constrain_expr *point(struct constrain_build *b, const struct constrain_expr *e)
{
    return constrain_join(b, constrain_text(b, "."), e);
}

static const struct constrain_expr *any_fraction(struct constrain_build *b)
{
    return constrain_rep(b, point(b, digits(b, 1, FRACTION_MAX)), 0, 1);
}

static const struct constrain_expr *fraction_at_least(struct constrain_build *b, const char *f,
                                                      bool is_exclusive)
{
    const struct constrain_expr *any = digits(b, 0, FRACTION_MAX), *out;
    const struct constrain_expr *above =
        constrain_join(b, constrain_rep(b, constrain_text(b, "0"), 0, FRACTION_MAX - 1),
                       constrain_range(b, '1', '9'), any);
    if (!*f) {
        return is_exclusive ? point(b, above) : any_fraction(b);
    }
    out = is_exclusive ? above : any;
    for (size_t i = strlen(f); i-- > 0;) {
        out = constrain_either(b, constrain_join(b, constrain_range(b, f[i], f[i]), out),
                               constrain_join(b, constrain_range(b, f[i] + 1, '9'), any));
    }
    return point(b, out);
}

static const struct constrain_expr *fraction_at_most(struct constrain_build *b, const char *f,
                                                     bool is_exclusive)
{
    const struct constrain_expr *any = digits(b, 0, FRACTION_MAX);
    const struct constrain_expr *zeros = constrain_rep(b, constrain_text(b, "0"), 0, FRACTION_MAX);
    if (!*f) {
        const struct constrain_expr *none = constrain_rep(
            b, point(b, constrain_rep(b, constrain_text(b, "0"), 1, FRACTION_MAX)), 0, 1);
        return is_exclusive ? constrain_never() : none;
    }
    const size_t len = strlen(f);
    const struct constrain_expr *out = is_exclusive ? constrain_never() : zeros;
    for (size_t i = len; i-- > 0;) {
        out = constrain_either(b, constrain_join(b, constrain_range(b, f[i], f[i]), out),
                               constrain_join(b, constrain_range(b, '0', f[i] - 1), any));
        if (i > 0) {
            out = constrain_either(b, out, constrain_empty()); /* shorter is less */
        }
    }
    return constrain_either(b, constrain_empty(), point(b, out));
}

/* ---- magnitudes ---- */

/* Numbers without sign from lo to hi; hi NULL: no bound. */
static const struct constrain_expr *real_range(struct constrain_build *b,
                                               const struct constrain_bound *lo,
                                               const struct constrain_bound *hi)
{
    char from[CONSTRAIN_DIGITS_MAX], to[CONSTRAIN_DIGITS_MAX] = "";
    const struct constrain_expr *at_lo = fraction_at_least(b, lo->fraction, lo->is_exclusive);
    memcpy(from, lo->whole, sizeof from);
    add_one(from);
    if (!hi) {
        const size_t len = strlen(lo->whole) + 1;
        memset(to, '9', len > WHOLE_MAX ? len : WHOLE_MAX);
        return constrain_either(b, constrain_join(b, constrain_text(b, lo->whole), at_lo),
                                constrain_join(b, whole_range(b, from, to), any_fraction(b)));
    }
    const int order = compare_whole(lo->whole, hi->whole);
    const struct constrain_expr *at_hi = fraction_at_most(b, hi->fraction, hi->is_exclusive);
    if (order > 0) {
        return constrain_never();
    }
    if (order == 0) {
        const struct constrain_dfa *both =
            constrain_dfa_and(b, constrain_dfa_of(b, at_lo), constrain_dfa_of(b, at_hi));
        return constrain_join(b, constrain_text(b, lo->whole), constrain_leaf(b, both));
    }
    memcpy(to, hi->whole, sizeof to);
    subtract_one(to);
    return constrain_either(b, constrain_join(b, constrain_text(b, lo->whole), at_lo),
                            constrain_join(b, whole_range(b, from, to), any_fraction(b)),
                            constrain_join(b, constrain_text(b, hi->whole), at_hi));
}

static const struct constrain_expr *integer_range(struct constrain_build *b,
                                                  const struct constrain_bound *lo,
                                                  const struct constrain_bound *hi,
                                                  const char *limit)
{
    char from[CONSTRAIN_DIGITS_MAX], to[CONSTRAIN_DIGITS_MAX];
    memcpy(from, lo->whole, sizeof from);
    if (lo->fraction[0] || lo->is_exclusive) {
        add_one(from);
    }
    if (!hi) {
        const size_t len = strlen(from) + 1;
        memset(to, 0, sizeof to);
        memset(to, '9', len);
        return whole_range(b, from, compare_whole(from, limit) <= 0 ? limit : to);
    }
    memcpy(to, hi->whole, sizeof to);
    if (hi->is_exclusive && !hi->fraction[0]) {
        if (strcmp(to, "0") == 0) {
            return constrain_never();
        }
        subtract_one(to);
    }
    return whole_range(b, from, to);
}

const struct constrain_expr *constrain_number_range(struct constrain_build *b,
                                                    const struct constrain_bound *min,
                                                    const struct constrain_bound *max, bool integer)
{
    static const struct constrain_bound zero = {.is_set = true, .whole = "0"};
    static const struct constrain_bound above_zero = {
        .is_set = true, .is_exclusive = true, .whole = "0"};
    const struct constrain_expr *out = constrain_never();
    if (!max->is_set || !max->is_negative) {
        const struct constrain_bound *lo = min->is_set && !min->is_negative ? min : &zero;
        const struct constrain_bound *hi = max->is_set ? max : NULL;
        out = integer ? integer_range(b, lo, hi, "9223372036854775807") : real_range(b, lo, hi);
    }
    if (!min->is_set || min->is_negative) {
        const struct constrain_bound *lo = max->is_set && max->is_negative ? max : &above_zero;
        const struct constrain_bound *hi = min->is_set ? min : NULL;
        const struct constrain_expr *magnitude =
            integer ? integer_range(b, lo, hi, "9223372036854775808") : real_range(b, lo, hi);
        out = constrain_either(b, out, constrain_join(b, constrain_text(b, "-"), magnitude));
    }
    return out;
}

/* ---- multiples ---- */

/* The automaton of the remainder: state 0 is before the first digit, 1 + r behind digits that leave
 * the remainder r. From each remainder some digits lead to 0. */
const struct constrain_expr *constrain_number_multiple(struct constrain_build *b, uint64_t divisor,
                                                       bool is_bounded, const char *what)
{
    uint64_t tens = 0;
    while (divisor % 10 == 0) {
        divisor /= 10;
        tens++;
    }
    if (divisor > DIVISOR_MAX) {
        return constrain_fail(b, ERR_UNSUPPORTED,
                              "%s: multipleOf is supported up to %d, times a power of ten", what,
                              DIVISOR_MAX);
    }
    const uint32_t d = (uint32_t)divisor, count = d + 1;
    struct constrain_dfa *dfa = ARENA_NEW(b->keep, struct constrain_dfa);
    uint32_t *first = ARENA_ARRAY(b->keep, uint32_t, (size_t)count + 1);
    struct constrain_edge *edges = ARENA_ARRAY(b->keep, struct constrain_edge, (size_t)count * 10);
    uint8_t *flags = ARENA_ARRAY(b->keep, uint8_t, count);
    if (!dfa || !first || !edges || !flags) {
        return constrain_fail_memory(b);
    }
    uint32_t n = 0;
    for (uint32_t state = 0; state < count; state++) {
        const uint32_t remainder = state ? state - 1 : 0;
        first[state] = n;
        for (uint32_t digit = state ? 0 : 1; digit < 10; digit++) {
            edges[n++] = (struct constrain_edge){
                .lo = (uint8_t)('0' + digit),
                .hi = (uint8_t)('0' + digit),
                .target = (int32_t)(1 + (remainder * 10 + digit) % d),
            };
        }
        flags[state] = state == 1 ? DFA_ACCEPT : 0;
    }
    first[count] = n;
    *dfa = (struct constrain_dfa){count, first, edges, flags};
    const struct constrain_expr *zeros = constrain_rep(b, constrain_text(b, "0"), tens, tens);
    const struct constrain_expr *factor = constrain_leaf(b, dfa);
    if (!is_bounded) { /* short enough for the product of both automata, and for a double */
        const uint64_t most = 60000 / divisor > 15 ? 15 : 60000 / divisor;
        const uint64_t length = most > tens + 5 ? most - tens : 5;
        const struct constrain_expr *some = digits(b, 1, length);
        factor = constrain_leaf(b, constrain_dfa_and(b, dfa, constrain_dfa_of(b, some)));
    }
    return constrain_either(
        b, constrain_text(b, "0"),
        constrain_join(b, constrain_rep(b, constrain_text(b, "-"), 0, 1), factor, zeros));
}
