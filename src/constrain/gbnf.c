/* GBNF, the grammar notation of llama.cpp (its grammars/README.md):
 *
 *     root  ::= "{" pair ("," pair)* "}"     # a comment
 *     pair  ::= [a-z_]+ ":" [^\n]{1,80}
 *
 * A rule ends at a line break outside of parentheses, unless that follows `|`. */
#include "base/mem.h"
#include "base/utf8.h"
#include "constrain/front.h"
#include "constrain/grammar.h"
#include "constrain/regex.h"

enum { NAME_BYTES_MAX = 128, PIECE = 64 };

struct parser {
    struct constrain_build *b;
    struct str source;
    size_t at;
    int depth;
    uint32_t *table; /* hash of rule names: index + 1 */
    size_t table_size;
    bool *defined;  /* [RULES_MAX as they come] */
    uint32_t first; /* rule of this grammar */
    struct constrain_set *set;
};

static const struct constrain_expr *fault(struct parser *p, const char *what)
{
    size_t line = 1;
    for (size_t i = 0; i < p->at && i < p->source.len; i++) {
        line += p->source.ptr[i] == '\n';
    }
    return constrain_fail(p->b, ERR_INVALID, "grammar, line %zu: %s", line, what);
}

static char peek(const struct parser *p)
{
    return p->at < p->source.len && !p->b->failed ? p->source.ptr[p->at] : 0;
}

static bool eat(struct parser *p, const char *text)
{
    if (!p->b->failed && str_starts(str_slice(p->source, p->at, p->source.len), str_of(text))) {
        p->at += strlen(text);
        return true;
    }
    return false;
}

static void skip_space(struct parser *p, bool over_lines)
{
    for (;;) {
        const char c = peek(p);
        if (c == '#') {
            while (peek(p) && peek(p) != '\n' && peek(p) != '\r') {
                p->at++;
            }
        } else if (c == ' ' || c == '\t' || (over_lines && (c == '\n' || c == '\r'))) {
            p->at++;
        } else {
            return;
        }
    }
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static struct str word(struct parser *p)
{
    const size_t from = p->at;
    while (is_word(peek(p))) {
        p->at++;
    }
    return str_slice(p->source, from, p->at);
}

static bool table_grow(struct parser *p)
{
    size_t size = p->table_size ? p->table_size * 2 : 256;
    while (size <= p->b->rule_count * 2) { /* there were rules before */
        size *= 2;
    }
    uint32_t *table = ARENA_ARRAY(p->b->arena, uint32_t, size);
    bool *defined = ARENA_ARRAY(p->b->arena, bool, size);
    if (!table || !defined) {
        constrain_fail_memory(p->b);
        return false;
    }
    for (size_t i = p->first; i < p->b->rule_count; i++) {
        size_t slot = str_hash(str_of(p->b->rules[i].name)) & (size - 1);
        while (table[slot]) {
            slot = (slot + 1) & (size - 1);
        }
        table[slot] = (uint32_t)i + 1;
        defined[i] = p->defined[i];
    }
    p->table = table;
    p->table_size = size;
    p->defined = defined;
    return true;
}

static uint32_t rule_of(struct parser *p, struct str name)
{
    char text[NAME_BYTES_MAX + 1];
    if (name.len == 0 || name.len > NAME_BYTES_MAX) {
        fault(p, name.len ? "a rule's name has more than 128 bytes" : "a rule's name is missing");
        return UINT32_MAX;
    }
    if (p->b->rule_count * 2 >= p->table_size && !table_grow(p)) {
        return UINT32_MAX;
    }
    size_t slot = str_hash(name) & (p->table_size - 1);
    for (; p->table[slot]; slot = (slot + 1) & (p->table_size - 1)) {
        if (str_eq(str_of(p->b->rules[p->table[slot] - 1].name), name)) {
            return p->table[slot] - 1;
        }
    }
    memcpy(text, name.ptr, name.len);
    text[name.len] = 0;
    const uint32_t rule = constrain_rule_add(p->b, text);
    if (rule != UINT32_MAX) {
        p->table[slot] = rule + 1;
    }
    return rule;
}

static uint32_t hex(struct parser *p, int digits)
{
    uint32_t value = 0;
    for (int i = 0; i < digits; i++) {
        const char c = peek(p), lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9') {
            value = value * 16 + (uint32_t)(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value * 16 + (uint32_t)(lower - 'a') + 10;
        } else {
            fault(p, "a hexadecimal digit is missing");
            return 0;
        }
        p->at++;
    }
    if (value > CONSTRAIN_CODE_MAX || (value >= 0xD800 && value <= 0xDFFF)) {
        fault(p, "an escape that is no character");
        return 0;
    }
    return value;
}

/* One character of a literal or a class. */
static uint32_t character(struct parser *p)
{
    uint32_t code = 0;
    if (!eat(p, "\\")) {
        const size_t len = utf8_decode(p->source, p->at, &code);
        if (len == 0) {
            fault(p, p->at < p->source.len ? "invalid UTF-8" : "the text ends too early");
        }
        p->at += len;
        return code;
    }
    const char c = peek(p);
    p->at++;
    switch (c) {
    case 'x':
        return hex(p, 2);
    case 'u':
        return hex(p, 4);
    case 'U':
        return hex(p, 8);
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case 'n':
        return '\n';
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^':
        return (uint32_t)c;
    default:
        fault(p, "an unknown escape");
        return 0;
    }
}

static const struct constrain_expr *literal(struct parser *p)
{
    struct buf text = {0};
    while (peek(p) != '"' && !p->b->failed) {
        char bytes[4];
        const size_t len = utf8_encode(character(p), bytes);
        buf_add(&text, (struct str){.ptr = bytes, .len = len});
    }
    p->at++;
    const struct constrain_expr *e =
        text.failed ? constrain_fail_memory(p->b) : constrain_bytes(p->b, buf_view(&text));
    buf_deinit(&text);
    return e;
}

static const struct constrain_expr *class(struct parser *p)
{
    const bool negated = eat(p, "^");
    p->set->count = 0;
    p->set->overflow = false;
    while (peek(p) != ']' && !p->b->failed) {
        const uint32_t lo = character(p);
        uint32_t hi = lo;
        if (peek(p) == '-' && p->at + 1 < p->source.len && p->source.ptr[p->at + 1] != ']') {
            p->at++;
            hi = character(p);
        }
        if (lo > hi) {
            return fault(p, "a range that runs backwards");
        }
        constrain_set_add(p->set, lo, hi);
    }
    p->at++;
    constrain_set_sort(p->set);
    if (negated) {
        constrain_set_negate(p->set);
    }
    return constrain_chars(p->b, p->set);
}

static const struct constrain_expr *alternatives(struct parser *p);

/* NULL where no symbol begins. */
static const struct constrain_expr *symbol(struct parser *p)
{
    const char c = peek(p);
    if (eat(p, "\"")) {
        return literal(p);
    }
    if (eat(p, "[")) {
        return class(p);
    }
    if (eat(p, ".")) {
        p->set->count = 0;
        constrain_set_negate(p->set);
        return constrain_chars(p->b, p->set);
    }
    if (eat(p, "(")) {
        if (++p->depth > CONSTRAIN_DEPTH_MAX) {
            return fault(p, "groups are nested more than 128 levels deep");
        }
        skip_space(p, true);
        const struct constrain_expr *e = alternatives(p);
        p->depth--;
        return eat(p, ")") ? e : fault(p, "a group without its )");
    }
    if (c == '<' || c == '!') {
        return constrain_fail(p->b, ERR_UNSUPPORTED,
                              "grammar: token terminals (<...>, !<...>) are not supported");
    }
    if (is_word(c)) {
        const uint32_t rule = rule_of(p, word(p));
        return rule == UINT32_MAX ? constrain_never() : constrain_ref(p->b, rule);
    }
    return NULL;
}

static uint64_t number(struct parser *p)
{
    uint64_t value = 0;
    if (peek(p) < '0' || peek(p) > '9') {
        fault(p, "a count is missing");
    }
    while (peek(p) >= '0' && peek(p) <= '9') {
        value = value * 10 + (uint64_t)(p->source.ptr[p->at++] - '0');
        value = value > 1000000000000000u ? 1000000000000000u : value;
    }
    return value;
}

static const struct constrain_expr *repeated(struct parser *p, const struct constrain_expr *e)
{
    for (int i = 0; !p->b->failed; i++) {
        uint64_t min = 0, max = EXPR_UNBOUNDED;
        if (eat(p, "+")) {
            min = 1;
        } else if (eat(p, "?")) {
            max = 1;
        } else if (eat(p, "{")) {
            skip_space(p, false);
            min = max = peek(p) == ',' ? 0 : number(p);
            skip_space(p, false);
            if (eat(p, ",")) {
                skip_space(p, false);
                max = peek(p) == '}' ? EXPR_UNBOUNDED : number(p);
                skip_space(p, false);
            }
            if (!eat(p, "}") || min > max) {
                return fault(p, "a bad count");
            }
        } else if (!eat(p, "*")) {
            return e;
        }
        e = constrain_rep(p->b, e, min, max);
        skip_space(p, p->depth > 0);
        if (i == CONSTRAIN_DEPTH_MAX) {
            return fault(p, "more than 128 quantifiers behind each other");
        }
    }
    return e;
}

static const struct constrain_expr *sequence(struct parser *p)
{
    const struct constrain_expr *parts[PIECE], *whole = constrain_empty(), *e;
    size_t count = 0;
    while ((e = symbol(p)) != NULL && !p->b->failed) {
        skip_space(p, p->depth > 0);
        if (count == PIECE) {
            whole = constrain_join(p->b, whole, constrain_seq(p->b, count, parts));
            count = 0;
        }
        parts[count++] = repeated(p, e);
    }
    return constrain_join(p->b, whole, constrain_seq(p->b, count, parts));
}

static const struct constrain_expr *alternatives(struct parser *p)
{
    const struct constrain_expr *parts[PIECE], *whole = constrain_never();
    size_t count = 0;
    do {
        skip_space(p, true);
        if (count == PIECE) {
            whole = constrain_either(p->b, whole, constrain_alt(p->b, count, parts));
            count = 0;
        }
        parts[count++] = sequence(p);
    } while (eat(p, "|"));
    return constrain_either(p->b, whole, constrain_alt(p->b, count, parts));
}

static void rule(struct parser *p)
{
    const struct str name = word(p);
    const uint32_t index = rule_of(p, name);
    skip_space(p, false);
    if (index == UINT32_MAX) {
        return;
    }
    if (!eat(p, "::=")) {
        fault(p, "::= is missing");
        return;
    }
    if (p->defined[index]) {
        fault(p, "a rule is defined twice");
        return;
    }
    const struct constrain_expr *body = alternatives(p);
    p->b->rules[index].body = body;
    p->defined[index] = true;
    if (p->at < p->source.len && peek(p) != '\n' && peek(p) != '\r') {
        fault(p, "an unexpected character");
    }
    skip_space(p, true);
}

const struct constrain_expr *constrain_gbnf_expr(struct constrain_build *b, struct str source)
{
    if (source.len > CONSTRAIN_SOURCE_BYTES_MAX) {
        return constrain_fail(b, ERR_TOO_LARGE, "the grammar has more than %d bytes",
                              CONSTRAIN_SOURCE_BYTES_MAX);
    }
    struct parser p = {.b = b, .source = source, .first = (uint32_t)b->rule_count};
    p.set = ARENA_NEW(b->arena, struct constrain_set);
    if (!p.set) {
        return constrain_fail_memory(b);
    }
    const uint32_t root = rule_of(&p, STR("root"));
    skip_space(&p, true);
    while (p.at < source.len && !b->failed) {
        rule(&p);
    }
    for (size_t i = p.first; i < b->rule_count && !b->failed; i++) {
        if (!p.defined[i]) {
            constrain_fail(b, ERR_INVALID, "grammar: the rule %s is not defined", b->rules[i].name);
        }
    }
    return b->failed ? constrain_never() : constrain_ref(b, root);
}

/* The whole as one automaton, which alone knows what assertions mean in the middle of it ("a^b" is
 * nothing). What is too large for that is left to the grammar when it has none. */
static const struct constrain_expr *one_automaton(struct constrain_build *b,
                                                  const struct constrain_expr *e, struct str source)
{
    struct err *outer = b->err, inner = {0};
    if (b->failed) {
        return e;
    }
    b->err = &inner;
    const struct constrain_dfa *dfa = constrain_dfa_of(b, e);
    b->err = outer;
    if (dfa) {
        return constrain_leaf(b, dfa);
    }
    const bool may_assert =
        str_find(source, STR("^"), 0) != SIZE_MAX || str_find(source, STR("$"), 0) != SIZE_MAX;
    b->failed = false;
    return inner.code == ERR_TOO_LARGE && !may_assert
               ? e
               : constrain_fail(b, inner.code, "regex: %s", inner.text);
}

const struct constrain_expr *constrain_regex_expr(struct constrain_build *b, struct str source)
{
    const struct constrain_regex opts = {.chars = constrain_chars, .what = "regex"};
    return one_automaton(b, constrain_regex_parse(b, source, &opts), source);
}

static struct constrain_grammar *
compile(struct str source, const char *name,
        const struct constrain_expr *(*front)(struct constrain_build *b, struct str source),
        struct err *err)
{
    struct constrain_build b;
    struct constrain_grammar *grammar = constrain_grammar_begin(&b, err);
    if (!grammar) {
        return NULL;
    }
    const uint32_t start = constrain_rule_add(&b, name);
    const struct constrain_expr *body = front(&b, source);
    if (!b.failed) {
        b.rules[start].body = body;
    }
    return constrain_grammar_end(&b, grammar, true);
}

struct constrain_grammar *constrain_compile_gbnf(struct str source, struct err *err)
{
    return compile(source, "the grammar", constrain_gbnf_expr, err);
}

struct constrain_grammar *constrain_compile_regex(struct str source, struct err *err)
{
    return compile(source, "the regex", constrain_regex_expr, err);
}
