#include "constrain/regex.h"

#include "base/utf8.h"
#include "constrain/constrain.h"
#include "constrain/dfa.h"

struct parser {
    struct constrain_build *b;
    const struct constrain_regex *opts;
    struct str source;
    size_t at;
    int depth;
    const struct constrain_expr *tail; /* what may follow the whole: anything in a search */
    bool looked;                       /* a look-ahead took the tail into its automaton */
    struct constrain_set *set;         /* scratch of classes */
};

static const struct constrain_expr *fault(struct parser *p, const char *what)
{
    char quoted[STR_QUOTE_MAX];
    return constrain_fail(p->b, ERR_INVALID, "%s: %s at byte %zu of %s", p->opts->what, what, p->at,
                          str_quote(quoted, p->source));
}

static bool at_end(const struct parser *p)
{
    return p->at >= p->source.len || p->b->failed;
}

static bool eat(struct parser *p, const char *text)
{
    struct str rest = str_slice(p->source, p->at, p->source.len);
    if (!p->b->failed && str_starts(rest, str_of(text))) {
        p->at += strlen(text);
        return true;
    }
    return false;
}

static uint32_t next_char(struct parser *p)
{
    uint32_t code = 0;
    const size_t len = utf8_decode(p->source, p->at, &code);
    if (len == 0) {
        fault(p, "invalid UTF-8");
    }
    p->at += len ? len : 1;
    return code;
}

static const struct constrain_expr *one_char(struct parser *p, uint32_t code)
{
    p->set->count = 0;
    constrain_set_add(p->set, code, code);
    return p->opts->chars(p->b, p->set);
}

/* `digits` hexadecimal digits. */
static uint32_t hex(struct parser *p, int digits)
{
    uint32_t value = 0;
    for (int i = 0; i < digits; i++) {
        const char c = p->at < p->source.len ? p->source.ptr[p->at] : 0;
        const char *all = "0123456789abcdef", *found = c ? strchr(all, c | 0x20) : NULL;
        if (!found || (c < '0') || (c > '9' && c < 'A')) {
            fault(p, "a hexadecimal digit is missing");
            return 0;
        }
        value = value * 16 + (uint32_t)(found - all);
        p->at++;
    }
    return value;
}

static uint32_t unicode_escape(struct parser *p)
{
    if (eat(p, "{")) {
        uint32_t value = 0;
        while (!at_end(p) && p->source.ptr[p->at] != '}' && value <= CONSTRAIN_CODE_MAX) {
            value = value * 16 + hex(p, 1);
        }
        if (!eat(p, "}") || value > CONSTRAIN_CODE_MAX) {
            fault(p, "a bad \\u{...}");
            return 0;
        }
        return value;
    }
    uint32_t code = hex(p, 4);
    if (code >= 0xD800 && code < 0xDC00 && eat(p, "\\u")) {
        const uint32_t low = hex(p, 4);
        if (low < 0xDC00 || low > 0xDFFF) {
            fault(p, "a lone surrogate");
        }
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code >= 0xD800 && code <= 0xDFFF) {
        fault(p, "a lone surrogate");
    }
    return code;
}

/* Adds the set of \d \w \s or its complement. */
static bool add_named(struct constrain_set *to, uint32_t name)
{
    static const struct constrain_span digits[] = {{'0', '9'}};
    static const struct constrain_span words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const struct constrain_span spaces[] = {
        {9, 13},          {32, 32},         {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
        {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    const struct constrain_span *spans = digits;
    size_t count = 1;
    const uint32_t lower = name | 0x20;
    if (lower == 'w') {
        spans = words;
        count = 4;
    } else if (lower == 's') {
        spans = spaces;
        count = 10;
    } else if (lower != 'd') {
        return false;
    }
    uint32_t from = 0;
    for (size_t i = 0; i < count; i++) {
        if (name == lower) {
            constrain_set_add(to, spans[i].lo, spans[i].hi);
        } else if (spans[i].lo > from) {
            constrain_set_add(to, from, spans[i].lo - 1);
        }
        from = spans[i].hi + 1;
    }
    if (name != lower) {
        constrain_set_add(to, from, CONSTRAIN_CODE_MAX);
    }
    return true;
}

/* Behind a backslash, what stands for one character. */
static uint32_t escaped_char(struct parser *p, bool in_class)
{
    const uint32_t c = next_char(p);
    switch (c) {
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 'f':
        return '\f';
    case 'v':
        return '\v';
    case '0':
        if (p->at < p->source.len && p->source.ptr[p->at] >= '0' && p->source.ptr[p->at] <= '9') {
            fault(p, "octal escapes are not supported");
        }
        return 0;
    case 'x':
        return hex(p, 2);
    case 'u':
        return unicode_escape(p);
    case 'c': {
        const uint32_t letter = next_char(p) | 0x20;
        if (letter < 'a' || letter > 'z') {
            fault(p, "a bad control escape");
        }
        return letter & 31;
    }
    case 'b':
        if (in_class) {
            return '\b';
        }
        ATTR_FALLTHROUGH;
    case 'B':
        fault(p, "the assertions \\b and \\B are not supported");
        return 0;
    case 'p':
    case 'P':
        fault(p, "Unicode properties (\\p) are not supported");
        return 0;
    case 'k':
        fault(p, "back references are not supported");
        return 0;
    default:
        if (c >= '1' && c <= '9') {
            fault(p, "back references are not supported");
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') {
            fault(p, "an unknown escape");
        }
        return c;
    }
}

/* One side of a range in a class; false for a named set, which was added. */
static bool class_char(struct parser *p, struct constrain_set *set, uint32_t *code)
{
    if (!eat(p, "\\")) {
        *code = next_char(p);
        return true;
    }
    const uint32_t name = p->at < p->source.len ? (uint8_t)p->source.ptr[p->at] : 0;
    if (strchr("dDwWsS", (int)name) && name && add_named(set, name)) {
        p->at++;
        return false;
    }
    *code = escaped_char(p, true);
    return true;
}

static const struct constrain_expr *class(struct parser *p)
{
    struct constrain_set *set = p->set;
    const bool negated = eat(p, "^");
    set->count = 0;
    set->overflow = false;
    while (!at_end(p) && p->source.ptr[p->at] != ']') {
        uint32_t lo = 0, hi = 0;
        const bool is_char = class_char(p, set, &lo);
        const bool is_range = p->at + 1 < p->source.len && p->source.ptr[p->at] == '-' &&
                              p->source.ptr[p->at + 1] != ']';
        if (!is_range) {
            if (is_char) {
                constrain_set_add(set, lo, lo);
            }
            continue;
        }
        p->at++;
        if (!class_char(p, set, &hi) || !is_char) { /* [\w-x]: the dash is itself */
            constrain_set_add(set, '-', '-');
            if (is_char) {
                constrain_set_add(set, lo, lo);
            } else {
                constrain_set_add(set, hi, hi);
            }
        } else if (lo > hi) {
            return fault(p, "a range that runs backwards");
        } else {
            constrain_set_add(set, lo, hi);
        }
    }
    if (!eat(p, "]")) {
        return fault(p, "a class without its ]");
    }
    constrain_set_sort(set);
    if (negated) {
        constrain_set_negate(set);
    }
    return p->opts->chars(p->b, set);
}

static const struct constrain_expr *alternatives(struct parser *p);

static const struct constrain_expr *group(struct parser *p)
{
    if (eat(p, "?<") && !at_end(p) && p->source.ptr[p->at] != '=' && p->source.ptr[p->at] != '!') {
        while (!at_end(p) && p->source.ptr[p->at] != '>') {
            p->at++;
        }
        p->at++;
    } else if (!eat(p, "?:") && (eat(p, "?") || (p->at >= 2 && p->source.ptr[p->at - 1] == '<'))) {
        return fault(p, "look-behind, flags and look-ahead inside of groups are not supported");
    }
    if (++p->depth > CONSTRAIN_DEPTH_MAX) {
        return fault(p, "groups are nested too deep");
    }
    const struct constrain_expr *e = alternatives(p);
    p->depth--;
    return eat(p, ")") ? e : fault(p, "a group without its )");
}

static const struct constrain_expr *any_char(struct parser *p)
{
    static const uint32_t ends[] = {'\n', '\r', 0x2028, 0x2029};
    p->set->count = 0;
    for (size_t i = 0; i < 4; i++) {
        constrain_set_add(p->set, ends[i], ends[i]);
    }
    constrain_set_negate(p->set);
    return p->opts->chars(p->b, p->set);
}

static const struct constrain_expr *atom(struct parser *p)
{
    if (eat(p, "(")) {
        return group(p);
    }
    if (eat(p, "[")) {
        return class(p);
    }
    if (eat(p, ".")) {
        return any_char(p);
    }
    if (eat(p, "\\")) {
        p->set->count = 0;
        if (p->at < p->source.len && add_named(p->set, (uint8_t)p->source.ptr[p->at])) {
            p->at++;
            constrain_set_sort(p->set);
            return p->opts->chars(p->b, p->set);
        }
        if (p->at >= p->source.len) {
            return fault(p, "a backslash at the end");
        }
        return one_char(p, escaped_char(p, false));
    }
    if (strchr("*+?{", p->source.ptr[p->at]) && p->source.ptr[p->at]) {
        return fault(p, "a quantifier without anything before it");
    }
    return one_char(p, next_char(p));
}

static bool number(struct parser *p, uint64_t *out)
{
    const size_t from = p->at;
    *out = 0;
    while (!at_end(p) && p->source.ptr[p->at] >= '0' && p->source.ptr[p->at] <= '9') {
        *out = *out * 10 + (uint64_t)(p->source.ptr[p->at++] - '0');
        if (*out > 1000000000000u) {
            *out = 1000000000000u;
        }
    }
    return p->at > from;
}

static const struct constrain_expr *quantified(struct parser *p)
{
    const struct constrain_expr *e = atom(p);
    for (int quantifiers = 0; !at_end(p); quantifiers++) {
        uint64_t min = 0, max = EXPR_UNBOUNDED;
        if (eat(p, "+")) {
            min = 1;
        } else if (eat(p, "?")) {
            max = 1;
        } else if (eat(p, "{")) {
            if (!number(p, &min)) {
                return fault(p, "a count is missing");
            }
            max = min;
            if (eat(p, ",") && !number(p, &max)) {
                max = EXPR_UNBOUNDED;
            }
            if (!eat(p, "}") || min > max) {
                return fault(p, "a bad count");
            }
        } else if (!eat(p, "*")) {
            return e;
        }
        if (quantifiers > 0) {
            return fault(p, "a quantifier behind a quantifier");
        }
        eat(p, "?"); /* lazy: the same texts */
        e = constrain_rep(p->b, e, min, max);
    }
    return e;
}

static const struct constrain_expr *sequence(struct parser *p);

/* (?=x)rest and (?!x)rest: the texts of `rest` up to the very end, that begin with x or do not. */
static const struct constrain_expr *look_ahead(struct parser *p, bool is_negative)
{
    const struct constrain_regex inner_opts = *p->opts;
    if (p->depth > 0) {
        return fault(p, "look-ahead inside of groups is not supported");
    }
    p->depth++;
    const struct constrain_expr *x = alternatives(p);
    p->depth--;
    if (!eat(p, ")")) {
        return fault(p, "a group without its )");
    }
    p->set->count = 0;
    constrain_set_negate(p->set);
    const struct constrain_expr *anything =
        constrain_rep(p->b, inner_opts.chars(p->b, p->set), 0, EXPR_UNBOUNDED);
    const struct constrain_expr *rest = sequence(p);
    if (!p->looked) {
        rest = constrain_join(p->b, rest, p->tail);
    }
    p->looked = true;
    const struct constrain_dfa *of_rest = constrain_dfa_of(p->b, rest);
    const struct constrain_dfa *of_x = constrain_dfa_of(p->b, constrain_join(p->b, x, anything));
    return constrain_leaf(p->b, is_negative ? constrain_dfa_minus(p->b, of_rest, of_x)
                                            : constrain_dfa_and(p->b, of_rest, of_x));
}

/* Up to | or ) or the end. Built in pieces so that a long text does not take quadratic time. */
static const struct constrain_expr *sequence(struct parser *p)
{
    enum { PIECE = 64 };
    const struct constrain_expr *parts[PIECE], *whole = constrain_empty();
    size_t count = 0;
    while (!at_end(p) && p->source.ptr[p->at] != '|' && p->source.ptr[p->at] != ')') {
        if (count == PIECE) {
            whole = constrain_join(p->b, whole, constrain_seq(p->b, count, parts));
            count = 0;
        }
        if (eat(p, "^")) {
            parts[count++] = constrain_assert(false);
        } else if (eat(p, "$")) {
            parts[count++] = constrain_assert(true);
        } else if (eat(p, "(?=")) {
            parts[count++] = look_ahead(p, false);
        } else if (eat(p, "(?!")) {
            parts[count++] = look_ahead(p, true);
        } else {
            parts[count++] = quantified(p);
        }
    }
    return constrain_join(p->b, whole, constrain_seq(p->b, count, parts));
}

static const struct constrain_expr *alternatives(struct parser *p)
{
    enum { PIECE = 64 };
    const struct constrain_expr *parts[PIECE], *whole = constrain_never();
    size_t count = 0;
    do {
        if (count == PIECE) {
            whole = constrain_either(p->b, whole, constrain_alt(p->b, count, parts));
            count = 0;
        }
        p->looked = false;
        parts[count] = sequence(p);
        if (p->depth == 0 && !p->looked) {
            parts[count] = constrain_join(p->b, parts[count], p->tail);
        }
        count++;
    } while (eat(p, "|"));
    return constrain_either(p->b, whole, constrain_alt(p->b, count, parts));
}

const struct constrain_expr *constrain_regex_parse(struct constrain_build *b, struct str source,
                                                   const struct constrain_regex *opts)
{
    struct parser p = {.b = b, .opts = opts, .source = source, .tail = constrain_empty()};
    if (source.len > CONSTRAIN_SOURCE_BYTES_MAX) {
        return constrain_fail(b, ERR_TOO_LARGE, "%s: more than %d bytes", opts->what,
                              CONSTRAIN_SOURCE_BYTES_MAX);
    }
    p.set = ARENA_NEW(b->arena, struct constrain_set);
    if (!p.set) {
        return constrain_fail_memory(b);
    }
    if (opts->is_search) {
        constrain_set_negate(p.set);
        p.tail = constrain_rep(b, opts->chars(b, p.set), 0, EXPR_UNBOUNDED);
    }
    const struct constrain_expr *head = p.tail;
    const struct constrain_expr *e = alternatives(&p);
    if (!at_end(&p)) {
        return fault(&p, "a ) without its (");
    }
    return constrain_join(b, head, e);
}
