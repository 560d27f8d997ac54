#include "constrain/json_text.h"

#include <stdio.h>

#include "base/buf.h"
#include "constrain/dfa.h"

static const struct constrain_expr *leaf(struct constrain_build *b, const struct constrain_expr *e)
{
    return constrain_leaf(b, constrain_dfa_of(b, e));
}

static const struct constrain_expr *class(struct constrain_build *b, const char *bytes)
{
    const struct constrain_expr *parts[64];
    size_t count = 0;
    for (; bytes[count]; count++) {
        parts[count] = constrain_range(b, bytes[count], bytes[count]);
    }
    return constrain_alt(b, count, parts);
}

const struct constrain_expr *constrain_json_chars(struct constrain_build *b,
                                                  const struct constrain_set *set)
{
    static const char shorts[][3] = {"\bb", "\ff", "\nn", "\rr", "\tt", "\"\"", "\\\\"};
    const struct constrain_expr *parts[40];
    struct constrain_set *raw = ARENA_NEW(b->arena, struct constrain_set);
    size_t count = 0;
    if (!raw || set->overflow) {
        return set->overflow ? constrain_chars(b, set) : constrain_fail_memory(b);
    }
    for (size_t i = 0; i < set->count; i++) {
        const struct constrain_span s = set->spans[i];
        const uint32_t cuts[4][2] = {{0x20, '!'}, {'#', '['}, {']', CONSTRAIN_CODE_MAX}, {1, 0}};
        for (int j = 0; cuts[j][0] <= cuts[j][1]; j++) {
            constrain_set_add(raw, s.lo > cuts[j][0] ? s.lo : cuts[j][0],
                              s.hi < cuts[j][1] ? s.hi : cuts[j][1]);
        }
        for (uint32_t code = s.lo; code <= s.hi && code <= '\\'; code++) {
            char text[8] = {0};
            for (size_t k = 0; k < 7; k++) {
                if ((uint32_t)shorts[k][0] == code) {
                    snprintf(text, sizeof text, "\\%c", shorts[k][1]);
                }
            }
            if (!text[0] && code < 0x20) {
                snprintf(text, sizeof text, "\\u%04x", (unsigned)code);
            }
            if (text[0] && count < 39) {
                parts[count++] = constrain_text(b, text);
            }
        }
    }
    parts[count++] = constrain_chars(b, raw);
    return constrain_alt(b, count, parts);
}

/* One character of a string in any spelling: as it is, a short escape, \uXXXX; surrogates only in
 * pairs. */
static const struct constrain_expr *any_char(struct constrain_build *b)
{
    struct constrain_set *raw = ARENA_NEW(b->arena, struct constrain_set);
    if (!raw) {
        return constrain_fail_memory(b);
    }
    constrain_set_add(raw, 0x20, '!');
    constrain_set_add(raw, '#', '[');
    constrain_set_add(raw, ']', CONSTRAIN_CODE_MAX);
    const struct constrain_expr *hex = class(b, "0123456789abcdefABCDEF");
    const struct constrain_expr *d = class(b, "dD"), *low = class(b, "01234567");
    const struct constrain_expr *high = class(b, "89abAB"), *last = class(b, "cdefCDEF");
    const struct constrain_expr *u = constrain_text(b, "\\u");
    const struct constrain_expr *plain = constrain_either(
        b, constrain_join(b, class(b, "0123456789abcefABCEF"), hex), constrain_join(b, d, low));
    return constrain_either(b, constrain_chars(b, raw),
                            constrain_join(b, constrain_text(b, "\\"), class(b, "\"\\/bfnrt")),
                            constrain_join(b, u, plain, hex, hex),
                            constrain_join(b, u, d, high, hex, hex, u, d, last, hex, hex));
}

/* What separates tokens: nothing, one space, or a line break with an indentation. */
static const struct constrain_expr *space(struct constrain_build *b)
{
    enum { INDENT_MAX = 40, TABS_MAX = 16 };
    const struct constrain_expr *indent =
        constrain_either(b, constrain_rep(b, constrain_text(b, " "), 0, INDENT_MAX),
                         constrain_rep(b, constrain_text(b, "\t"), 1, TABS_MAX));
    return leaf(b, constrain_either(b, constrain_empty(), constrain_text(b, " "),
                                    constrain_join(b, constrain_text(b, "\n"), indent)));
}

/* Any number that is finite as a double: plain, or one digit before the point and an exponent. */
static const struct constrain_expr *number(struct constrain_build *b)
{
    const struct constrain_expr *digit = constrain_range(b, '0', '9');
    const struct constrain_expr *first = constrain_range(b, '1', '9');
    const struct constrain_expr *sign = constrain_rep(b, constrain_text(b, "-"), 0, 1);
    const struct constrain_expr *fraction = constrain_rep(
        b, constrain_join(b, constrain_text(b, "."), constrain_rep(b, digit, 1, 20)), 0, 1);
    const struct constrain_expr *whole = constrain_either(
        b, constrain_text(b, "0"), constrain_join(b, first, constrain_rep(b, digit, 0, 20)));
    const struct constrain_expr *exponent = constrain_either(
        b, constrain_rep(b, digit, 1, 2), constrain_join(b, class(b, "12"), digit, digit),
        constrain_join(b, constrain_text(b, "30"), constrain_range(b, '0', '7')));
    const struct constrain_expr *scientific = constrain_join(
        b, first, fraction, class(b, "eE"), constrain_rep(b, class(b, "+-"), 0, 1), exponent);
    const struct constrain_expr *largest = constrain_join(
        b, constrain_text(b, "1"), constrain_rep(b, constrain_text(b, ".0"), 0, 1), class(b, "eE"),
        constrain_rep(b, constrain_text(b, "+"), 0, 1), constrain_text(b, "308"));
    return leaf(b, constrain_join(b, sign,
                                  constrain_either(b, constrain_join(b, whole, fraction),
                                                   scientific, largest)));
}

/* open (item ("," item)*)? close, with white space inside. */
static const struct constrain_expr *list(struct constrain_json *j, const char *open,
                                         const struct constrain_expr *item, const char *close)
{
    struct constrain_build *b = j->b;
    const struct constrain_expr *more = constrain_join(b, constrain_text(b, ","), j->gap, item);
    const struct constrain_expr *items =
        constrain_join(b, item, constrain_rep(b, more, 0, EXPR_UNBOUNDED));
    return constrain_join(b, constrain_text(b, open), j->space, constrain_rep(b, items, 0, 1),
                          j->space, constrain_text(b, close));
}

static void any_rules(struct constrain_json *j)
{
    struct constrain_build *b = j->b;
    j->value_rule = constrain_rule_add(b, "any value");
    j->object_rule = constrain_rule_add(b, "any object");
    j->array_rule = constrain_rule_add(b, "any array");
    if (b->failed) {
        return;
    }
    const struct constrain_expr *value = constrain_ref(b, j->value_rule);
    const struct constrain_expr *member =
        constrain_join(b, j->string, constrain_text(b, ":"), j->gap, value);
    const struct constrain_expr *object = list(j, "{", member, "}");
    const struct constrain_expr *array = list(j, "[", value, "]");
    const struct constrain_expr *any =
        constrain_either(b, j->string, j->number, j->word, constrain_ref(b, j->object_rule),
                         constrain_ref(b, j->array_rule));
    if (!b->failed) {
        b->rules[j->value_rule].body = any;
        b->rules[j->object_rule].body = object;
        b->rules[j->array_rule].body = array;
    }
}

void constrain_json_init(struct constrain_json *j, struct constrain_build *b)
{
    const struct constrain_bound none = {0};
    const struct constrain_expr *one = any_char(b), *quote = constrain_text(b, "\"");
    struct constrain_set *all = ARENA_NEW(b->arena, struct constrain_set);
    *j = (struct constrain_json){.b = b};
    if (!all) {
        constrain_fail_memory(b);
        return;
    }
    constrain_set_negate(all);
    j->one = leaf(b, one);
    j->string = leaf(b, constrain_join(b, quote, constrain_rep(b, one, 0, EXPR_UNBOUNDED), quote));
    j->contents = constrain_rep(b, constrain_json_chars(b, all), 0, EXPR_UNBOUNDED);
    j->space = b->style.is_canonical ? constrain_empty() : space(b);
    j->gap = b->style.is_canonical ? constrain_text(b, " ") : j->space;
    j->word = leaf(b, constrain_either(b, constrain_json_word(b, json_true()),
                                       constrain_json_word(b, json_false()),
                                       constrain_json_word(b, json_null())));
    j->number = number(b);
    j->integer = leaf(b, constrain_number_range(b, &none, &none, true));
    any_rules(j);
}

const struct constrain_expr *constrain_json_word(struct constrain_build *b, const json_t *value)
{
    const bool py = b->style.is_python;
    return constrain_text(b, json_is_null(value)   ? (py ? "None" : "null")
                             : json_is_true(value) ? (py ? "True" : "true")
                                                   : (py ? "False" : "false"));
}

/* The text of a value in the style of the build, from its compact one: outside of strings a space
 * behind , and :, and Python's words. */
static void restyle(const struct constrain_style *style, struct buf *text)
{
    static const char *const words[][2] = {{"true", "True"}, {"false", "False"}, {"null", "None"}};
    struct buf out = {0};
    bool in_string = false;
    for (size_t i = 0; i < text->len; i++) {
        const char c = text->ptr[i];
        const char *word = NULL;
        for (size_t k = 0; k < 3 && !in_string && style->is_python; k++) {
            if (str_starts(str_slice(buf_view(text), i, text->len), str_of(words[k][0]))) {
                word = words[k][1];
                i += strlen(words[k][0]) - 1;
                break;
            }
        }
        if (word) {
            buf_add_text(&out, word);
            continue;
        }
        buf_add_char(&out, c);
        if (in_string && c == '\\' && i + 1 < text->len) {
            buf_add_char(&out, text->ptr[++i]);
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string && style->is_canonical && (c == ',' || c == ':')) {
            buf_add_char(&out, ' ');
        }
    }
    buf_deinit(text);
    *text = out;
}

/* JSON.stringify and this agree: whole numbers without a fraction, short escapes. */
const struct constrain_expr *constrain_json_literal(struct constrain_build *b, const json_t *value)
{
    struct buf text = {0};
    const double real = json_is_real(value) ? json_real_value(value) : 0.5;
    if (real == (double)(int64_t)real && real < 1e15 && real > -1e15) {
        buf_add_format(&text, "%lld", (long long)real);
    } else {
        json_write(&text, value);
    }
    for (size_t i = 0; i + 5 < text.len; i++) { /* \u001F -> \u001f */
        const bool is_code = text.ptr[i] == '\\' && text.ptr[i + 1] == 'u';
        for (size_t k = 2; is_code && k < 6; k++) {
            text.ptr[i + k] |= text.ptr[i + k] >= 'A' ? 0x20 : 0;
        }
        i += text.ptr[i] == '\\';
    }
    if (b->style.is_python || b->style.is_canonical) {
        restyle(&b->style, &text);
    }
    const struct constrain_expr *e =
        text.failed ? constrain_fail_memory(b) : constrain_bytes(b, buf_view(&text));
    buf_deinit(&text);
    return e;
}
