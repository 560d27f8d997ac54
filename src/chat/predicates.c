/* The built-in tests of Jinja2 3.1: `x is name`. */
#include <math.h>
#include <string.h>

#include "chat/interp.h"

static bool remainder_is(struct render *r, struct val v, struct val divisor, int64_t wanted,
                         bool *out)
{
    struct val rest;
    return chat_math(r, OP_MOD, v, divisor, &rest) && chat_equal(r, rest, val_int(wanted), out);
}

static bool t_odd(struct render *r, struct val v, struct call *c, bool *out)
{
    (void)c;
    return remainder_is(r, v, val_int(2), 1, out);
}

static bool t_even(struct render *r, struct val v, struct call *c, bool *out)
{
    (void)c;
    return remainder_is(r, v, val_int(2), 0, out);
}

static bool t_divisibleby(struct render *r, struct val v, struct call *c, bool *out)
{
    return remainder_is(r, v, c->args[0], 0, out);
}

#define SIMPLE_TEST(test_name, expression)                                                         \
    static bool test_name(struct render *r, struct val v, struct call *c, bool *out)               \
    {                                                                                              \
        (void)r;                                                                                   \
        (void)c;                                                                                   \
        *out = (expression);                                                                       \
        return true;                                                                               \
    }

static bool is_callable(struct val v)
{
    switch (v.kind) {
    case VAL_UNDEFINED: /* the class has a __call__, which fails */
    case VAL_MACRO:
    case VAL_LOOP:
    case VAL_FUNC:
    case VAL_METHOD:
    case VAL_JOINER:
    case VAL_BLOCK:
        return true;
    default:
        return false;
    }
}

static bool is_sequence(struct val v)
{
    return v.kind == VAL_TEXT || v.kind == VAL_LIST || v.kind == VAL_TUPLE || v.kind == VAL_DICT ||
           v.kind == VAL_RANGE || v.kind == VAL_UNDEFINED;
}

SIMPLE_TEST(t_defined, v.kind != VAL_UNDEFINED)
SIMPLE_TEST(t_undefined, v.kind == VAL_UNDEFINED)
SIMPLE_TEST(t_none, v.kind == VAL_NONE)
SIMPLE_TEST(t_boolean, v.kind == VAL_BOOL)
SIMPLE_TEST(t_true, v.kind == VAL_BOOL && v.boolean)
SIMPLE_TEST(t_false, v.kind == VAL_BOOL && !v.boolean)
SIMPLE_TEST(t_integer, v.kind == VAL_INT)
SIMPLE_TEST(t_float, v.kind == VAL_FLOAT)
SIMPLE_TEST(t_number, val_is_number(v))
SIMPLE_TEST(t_string, v.kind == VAL_TEXT)
SIMPLE_TEST(t_mapping, v.kind == VAL_DICT)
SIMPLE_TEST(t_iterable, chat_is_iterable(v))
SIMPLE_TEST(t_sequence, is_sequence(v))
SIMPLE_TEST(t_callable, is_callable(v))
SIMPLE_TEST(t_escaped, v.kind == VAL_TEXT && v.text->markup)
SIMPLE_TEST(t_sameas, chat_same(v, c->args[0]))

static bool t_lower(struct render *r, struct val v, struct call *c, bool *out)
{
    struct txt *t;
    (void)c;
    if (!chat_to_text(r, v, &t)) {
        return false;
    }
    *out = chat_text_is_upper(t, false);
    return chat_step(r, t->len / 8);
}

static bool t_upper(struct render *r, struct val v, struct call *c, bool *out)
{
    struct txt *t;
    (void)c;
    if (!chat_to_text(r, v, &t)) {
        return false;
    }
    *out = chat_text_is_upper(t, true);
    return chat_step(r, t->len / 8);
}

static bool hashable(struct render *r, struct val v)
{
    uint64_t hash;
    return chat_hash(r, v, &hash);
}

static bool t_filter(struct render *r, struct val v, struct call *c, bool *out)
{
    (void)c;
    *out = v.kind == VAL_TEXT && chat_filter_find(chat_str(v.text));
    return hashable(r, v);
}

static bool t_test(struct render *r, struct val v, struct call *c, bool *out)
{
    (void)c;
    *out = v.kind == VAL_TEXT && chat_test_find(chat_str(v.text));
    return hashable(r, v);
}

static bool t_in(struct render *r, struct val v, struct call *c, bool *out)
{
    return chat_contains(r, v, c->args[0], out);
}

static bool t_eq(struct render *r, struct val v, struct call *c, bool *out)
{
    return chat_equal(r, v, c->args[0], out);
}

static bool t_ne(struct render *r, struct val v, struct call *c, bool *out)
{
    if (!chat_equal(r, v, c->args[0], out)) {
        return false;
    }
    *out = !*out;
    return true;
}

static bool t_gt(struct render *r, struct val v, struct call *c, bool *out)
{
    return chat_compare(r, v, c->args[0], ">", out);
}

static bool t_ge(struct render *r, struct val v, struct call *c, bool *out)
{
    return chat_compare(r, v, c->args[0], ">=", out);
}

static bool t_lt(struct render *r, struct val v, struct call *c, bool *out)
{
    return chat_compare(r, v, c->args[0], "<", out);
}

static bool t_le(struct render *r, struct val v, struct call *c, bool *out)
{
    return chat_compare(r, v, c->args[0], "<=", out);
}

static const struct test_def tests[] = {
    {"odd", t_odd, ""},
    {"even", t_even, ""},
    {"divisibleby", t_divisibleby, "num"},
    {"defined", t_defined, ""},
    {"undefined", t_undefined, ""},
    {"filter", t_filter, ""},
    {"test", t_test, ""},
    {"none", t_none, ""},
    {"boolean", t_boolean, ""},
    {"false", t_false, ""},
    {"true", t_true, ""},
    {"integer", t_integer, ""},
    {"float", t_float, ""},
    {"lower", t_lower, ""},
    {"upper", t_upper, ""},
    {"string", t_string, ""},
    {"mapping", t_mapping, ""},
    {"number", t_number, ""},
    {"sequence", t_sequence, ""},
    {"iterable", t_iterable, ""},
    {"callable", t_callable, ""},
    {"sameas", t_sameas, "other"},
    {"escaped", t_escaped, ""},
    {"in", t_in, "seq"},
    {"==", t_eq, "other"},
    {"eq", t_eq, "other"},
    {"equalto", t_eq, "other"},
    {"!=", t_ne, "other"},
    {"ne", t_ne, "other"},
    {">", t_gt, "other"},
    {"gt", t_gt, "other"},
    {"greaterthan", t_gt, "other"},
    {"ge", t_ge, "other"},
    {">=", t_ge, "other"},
    {"<", t_lt, "other"},
    {"lt", t_lt, "other"},
    {"lessthan", t_lt, "other"},
    {"<=", t_le, "other"},
    {"le", t_le, "other"},
};

const struct test_def *chat_test_find(struct str name)
{
    for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
        if (str_eq(name, str_of(tests[i].name))) {
            return &tests[i];
        }
    }
    return NULL;
}

bool chat_test_apply(struct render *r, const struct test_def *def, struct val value,
                     const struct call *call, bool *out)
{
    struct call bound;
    return chat_bind(r, def->name, def->params, call, &bound) && def->fn(r, value, &bound, out);
}
