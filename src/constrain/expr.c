#include "constrain/expr.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "constrain/dfa.h"

static const struct constrain_expr never = {.kind = EXPR_NEVER, .size = 1};
static const struct constrain_expr empty = {.kind = EXPR_EMPTY, .size = 1};
static const struct constrain_expr begin = {.kind = EXPR_BEGIN, .size = 2};
static const struct constrain_expr end = {.kind = EXPR_END, .size = 2};

const struct constrain_expr *constrain_fail(struct constrain_build *b, enum err_code code,
                                            const char *format, ...)
{
    if (!b->failed) {
        char text[512];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        err_set(b->err, code, "%s", text);
        b->failed = true;
    }
    return &never;
}

const struct constrain_expr *constrain_fail_memory(struct constrain_build *b)
{
    return constrain_fail(b, ERR_TOO_LARGE,
                          "the grammar needs more than the %zu MiB of memory a grammar may take",
                          b->arena->limit_bytes >> 20);
}

const struct constrain_expr *constrain_never(void)
{
    return &never;
}

const struct constrain_expr *constrain_empty(void)
{
    return &empty;
}

const struct constrain_expr *constrain_assert(bool is_end)
{
    return is_end ? &end : &begin;
}

static struct constrain_expr *expr_new(struct constrain_build *b, enum constrain_expr_kind kind)
{
    struct constrain_expr *e = b->failed ? NULL : ARENA_NEW(b->arena, struct constrain_expr);
    if (!e) {
        constrain_fail_memory(b);
        return NULL;
    }
    e->kind = kind;
    return e;
}

static uint64_t saturated_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t saturated_mul(uint64_t a, uint64_t b)
{
    return a != 0 && b > UINT64_MAX / a ? UINT64_MAX : a * b;
}

const struct constrain_expr *constrain_bytes(struct constrain_build *b, struct str bytes)
{
    if (bytes.len == 0) {
        return &empty;
    }
    struct constrain_expr *e = expr_new(b, EXPR_BYTES);
    const char *copy = e ? arena_copy(b->arena, bytes) : NULL;
    if (!copy) {
        return constrain_fail_memory(b);
    }
    e->bytes = (struct str){.ptr = copy, .len = bytes.len};
    e->size = bytes.len + 1;
    return e;
}

const struct constrain_expr *constrain_text(struct constrain_build *b, const char *text)
{
    return constrain_bytes(b, str_of(text));
}

const struct constrain_expr *constrain_range(struct constrain_build *b, int lo, int hi)
{
    if (lo > hi) {
        return &never;
    }
    struct constrain_expr *e = expr_new(b, EXPR_RANGE);
    if (!e) {
        return &never;
    }
    e->lo = (uint8_t)lo;
    e->hi = (uint8_t)hi;
    e->size = 2;
    return e;
}

/* SEQ and ALT share their shape: nested ones of the same kind are taken apart, neutral parts left
 * out; one part stands for itself. */
static const struct constrain_expr *list(struct constrain_build *b, enum constrain_expr_kind kind,
                                         size_t count, const struct constrain_expr *const *parts)
{
    const struct constrain_expr *neutral = kind == EXPR_SEQ ? &empty : &never;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += parts[i]->kind == kind ? parts[i]->count : 1;
        if (kind == EXPR_SEQ && parts[i]->kind == EXPR_NEVER) {
            return &never;
        }
    }
    struct constrain_expr *e = expr_new(b, kind);
    const struct constrain_expr **out =
        e ? ARENA_ARRAY(b->arena, const struct constrain_expr *, total) : NULL;
    if (!out) {
        return constrain_fail_memory(b);
    }
    for (size_t i = 0; i < count; i++) {
        const bool nested = parts[i]->kind == kind;
        const struct constrain_expr *const *from = nested ? parts[i]->parts : &parts[i];
        for (size_t j = 0; j < (nested ? parts[i]->count : 1); j++) {
            if (from[j]->kind != neutral->kind) {
                out[e->count++] = from[j];
                e->size = saturated_add(e->size, from[j]->size);
            }
        }
    }
    e->parts = out;
    e->size = saturated_add(e->size, 2);
    return e->count == 0 ? neutral : e->count == 1 ? out[0] : e;
}

const struct constrain_expr *constrain_seq(struct constrain_build *b, size_t count,
                                           const struct constrain_expr *const *parts)
{
    return list(b, EXPR_SEQ, count, parts);
}

const struct constrain_expr *constrain_alt(struct constrain_build *b, size_t count,
                                           const struct constrain_expr *const *parts)
{
    return list(b, EXPR_ALT, count, parts);
}

/* (x{a,b}){c,d} is x{ac,bd} when no count between is left out. The gap between c*b and (c+1)*a is
 * the widest. This keeps nested counts from multiplying the ways to count the same text. */
static bool folds(const struct constrain_expr *inner, uint64_t c, uint64_t d)
{
    if (inner->kind != EXPR_REP) {
        return false;
    }
    if (c == d) {
        return inner->min == inner->max || c == 1;
    }
    return inner->max == EXPR_UNBOUNDED ? inner->min <= 1 || c > 0
                                        : saturated_mul(saturated_add(c, 1), inner->min) <=
                                              saturated_add(saturated_mul(c, inner->max), 1);
}

const struct constrain_expr *constrain_rep(struct constrain_build *b,
                                           const struct constrain_expr *part, uint64_t min,
                                           uint64_t max)
{
    if (max == 0 || part->kind == EXPR_EMPTY) {
        return &empty;
    }
    if (part->kind == EXPR_NEVER) {
        return min == 0 ? &empty : &never;
    }
    if (folds(part, min, max)) {
        min = saturated_mul(min, part->min);
        max = saturated_mul(max, part->max);
        part = part->parts[0];
    }
    if (min == 1 && max == 1) {
        return part;
    }
    struct constrain_expr *e = expr_new(b, EXPR_REP);
    const struct constrain_expr **out =
        e ? ARENA_ARRAY(b->arena, const struct constrain_expr *, 1) : NULL;
    if (!out) {
        return constrain_fail_memory(b);
    }
    out[0] = part;
    e->parts = out;
    e->count = 1;
    e->min = min;
    e->max = max;
    const uint64_t copies = max == EXPR_UNBOUNDED ? saturated_add(min, 1) : max;
    e->size = saturated_mul(saturated_add(part->size, 2), copies);
    return e;
}

const struct constrain_expr *constrain_ref(struct constrain_build *b, uint32_t rule)
{
    struct constrain_expr *e = expr_new(b, EXPR_REF);
    if (!e) {
        return &never;
    }
    e->rule = rule;
    e->size = UINT64_MAX;
    return e;
}

const struct constrain_expr *constrain_leaf(struct constrain_build *b,
                                            const struct constrain_dfa *dfa)
{
    if (!dfa || dfa->state_count == 0) {
        return &never;
    }
    struct constrain_expr *e = expr_new(b, EXPR_DFA);
    if (!e) {
        return &never;
    }
    e->dfa = dfa;
    e->size = (uint64_t)dfa->state_count + 2;
    return e;
}

uint32_t constrain_rule_add(struct constrain_build *b, const char *name)
{
    enum { RULES_MAX = 100000 };
    if (b->failed) {
        return UINT32_MAX;
    }
    if (b->rule_count == RULES_MAX) {
        constrain_fail(b, ERR_TOO_LARGE, "the grammar has more than %d rules", RULES_MAX);
        return UINT32_MAX;
    }
    if (b->rule_count == b->rule_cap) {
        const size_t cap = b->rule_cap ? b->rule_cap * 2 : 16;
        struct constrain_rule *rules = ARENA_ARRAY(b->arena, struct constrain_rule, cap);
        if (!rules) {
            constrain_fail_memory(b);
            return UINT32_MAX;
        }
        if (b->rule_count) {
            memcpy(rules, b->rules, b->rule_count * sizeof *rules);
        }
        b->rules = rules;
        b->rule_cap = cap;
    }
    const char *copy = arena_copy(b->arena, str_of(name));
    if (!copy) {
        constrain_fail_memory(b);
        return UINT32_MAX;
    }
    b->rules[b->rule_count] = (struct constrain_rule){.name = copy, .body = &never};
    return (uint32_t)b->rule_count++;
}

/* ---- sets of characters ---- */

void constrain_set_add(struct constrain_set *set, uint32_t lo, uint32_t hi)
{
    if (lo > hi) {
        return;
    }
    if (set->count == CONSTRAIN_SPANS_MAX) {
        set->overflow = true;
        return;
    }
    set->spans[set->count++] = (struct constrain_span){lo, hi};
}

static int compare_spans(const void *a, const void *b)
{
    const struct constrain_span *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

void constrain_set_sort(struct constrain_set *set)
{
    size_t out = 0;
    if (set->count == 0) {
        return;
    }
    qsort(set->spans, set->count, sizeof set->spans[0], compare_spans);
    for (size_t i = 1; i < set->count; i++) {
        struct constrain_span *last = &set->spans[out];
        if (set->spans[i].lo <= last->hi + 1) {
            last->hi = set->spans[i].hi > last->hi ? set->spans[i].hi : last->hi;
        } else {
            set->spans[++out] = set->spans[i];
        }
    }
    set->count = out + 1;
}

void constrain_set_negate(struct constrain_set *set)
{
    struct constrain_set out = {.overflow = set->overflow};
    uint32_t from = 0;
    constrain_set_add(set, 0xD800, 0xDFFF);
    constrain_set_sort(set);
    for (size_t i = 0; i < set->count; i++) {
        if (set->spans[i].lo > from) {
            constrain_set_add(&out, from, set->spans[i].lo - 1);
        }
        from = set->spans[i].hi + 1;
    }
    if (from <= CONSTRAIN_CODE_MAX) {
        constrain_set_add(&out, from, CONSTRAIN_CODE_MAX);
    }
    out.overflow |= set->overflow;
    *set = out;
}

/* Cuts lo-hi until both ends have the same number of bytes and all bytes behind the first that
 * differs run through their whole range; then it is a sequence of byte ranges. */
static void add_utf8(struct constrain_build *b, uint32_t lo, uint32_t hi,
                     const struct constrain_expr **out, size_t *count)
{
    static const uint32_t lasts[] = {0x7F, 0x7FF, 0xFFFF};
    for (size_t i = 0; i < 3; i++) {
        if (lo <= lasts[i] && hi > lasts[i]) {
            add_utf8(b, lo, lasts[i], out, count);
            add_utf8(b, lasts[i] + 1, hi, out, count);
            return;
        }
    }
    for (uint32_t bits = 6; bits <= 18; bits += 6) {
        const uint32_t low = (1u << bits) - 1;
        if (hi < 0x80 || (lo & ~low) == (hi & ~low)) {
            break;
        }
        if ((lo & low) != 0) {
            add_utf8(b, lo, lo | low, out, count);
            add_utf8(b, (lo | low) + 1, hi, out, count);
            return;
        }
        if ((hi & low) != low) {
            add_utf8(b, lo, (hi & ~low) - 1, out, count);
            add_utf8(b, hi & ~low, hi, out, count);
            return;
        }
    }
    char from[4], to[4];
    const size_t len = utf8_encode(lo, from);
    const struct constrain_expr *bytes[4];
    utf8_encode(hi, to);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = constrain_range(b, (uint8_t)from[i], (uint8_t)to[i]);
    }
    out[(*count)++] = constrain_seq(b, len, bytes);
}

const struct constrain_expr *constrain_chars(struct constrain_build *b,
                                             const struct constrain_set *set)
{
    enum { PIECES_MAX = 32 }; /* of one span; at most 2 * 3 + 1 per length of the encoding */
    if (set->overflow) {
        return constrain_fail(b, ERR_TOO_LARGE, "a character class has more than %d ranges",
                              CONSTRAIN_SPANS_MAX);
    }
    const struct constrain_expr **spans =
        ARENA_ARRAY(b->arena, const struct constrain_expr *, set->count * 2);
    size_t count = 0;
    if (!spans) {
        return constrain_fail_memory(b);
    }
    for (size_t i = 0; i < set->count; i++) {
        /* the surrogates are no characters */
        const struct constrain_span parts[2] = {
            {set->spans[i].lo, set->spans[i].hi < 0xD7FF ? set->spans[i].hi : 0xD7FF},
            {set->spans[i].lo > 0xE000 ? set->spans[i].lo : 0xE000, set->spans[i].hi}};
        for (size_t j = 0; j < 2; j++) {
            const struct constrain_expr *pieces[PIECES_MAX];
            size_t n = 0;
            if (parts[j].lo <= parts[j].hi) {
                add_utf8(b, parts[j].lo, parts[j].hi, pieces, &n);
                spans[count++] = constrain_alt(b, n, pieces);
            }
        }
    }
    return constrain_alt(b, count, spans);
}
