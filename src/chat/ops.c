/* Truth, equality, order, membership and arithmetic of values, as Python defines them. */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "chat/interp.h"

const char *chat_type_name(struct val v)
{
    switch (v.kind) {
    case VAL_MISSING:
    case VAL_UNDEFINED:
        return "Undefined";
    case VAL_NONE:
        return "NoneType";
    case VAL_BOOL:
        return "bool";
    case VAL_INT:
        return "int";
    case VAL_FLOAT:
        return "float";
    case VAL_TEXT:
        return v.text->markup ? "Markup" : "str";
    case VAL_LIST:
        return "list";
    case VAL_TUPLE:
        return v.list->group ? "_GroupTuple" : "tuple";
    case VAL_DICT:
        return "dict";
    case VAL_RANGE:
        return "range";
    case VAL_ITER:
        return v.iter->type_name;
    case VAL_VIEW:
        return v.view->kind == VIEW_KEYS     ? "dict_keys"
               : v.view->kind == VIEW_VALUES ? "dict_values"
                                             : "dict_items";
    case VAL_NAMESPACE:
        return "Namespace";
    case VAL_MACRO:
        return "Macro";
    case VAL_LOOP:
        return "LoopContext";
    case VAL_FUNC:
        return "function";
    case VAL_METHOD:
        return "builtin_function_or_method";
    case VAL_CYCLER:
        return "Cycler";
    case VAL_JOINER:
        return "Joiner";
    case VAL_SELF:
        return "TemplateReference";
    case VAL_BLOCK:
        return "BlockReference";
    case VAL_SLICE:
        return "slice";
    }
    return "object";
}

size_t chat_range_count(const struct range *range)
{
    __extension__ typedef __int128 wide;
    wide span =
        range->step > 0 ? (wide)range->stop - range->start : (wide)range->start - range->stop;
    wide step = range->step > 0 ? (wide)range->step : -(wide)range->step;
    return span <= 0 ? 0 : (size_t)((span + step - 1) / step);
}

bool chat_has_length(struct val v)
{
    switch (v.kind) {
    case VAL_UNDEFINED:
    case VAL_TEXT:
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_DICT:
    case VAL_RANGE:
    case VAL_VIEW:
    case VAL_LOOP:
        return true;
    default:
        return false;
    }
}

bool chat_length(struct render *r, struct val v, int64_t *out)
{
    switch (v.kind) {
    case VAL_UNDEFINED:
        *out = 0;
        return true;
    case VAL_TEXT:
        *out = (int64_t)chat_text_chars(v.text);
        return chat_step(r, v.text->len / 64);
    case VAL_LIST:
    case VAL_TUPLE:
        *out = (int64_t)(v.list->json ? json_array_size(v.list->json) : v.list->count);
        return true;
    case VAL_DICT:
        *out = (int64_t)(v.dict->json ? json_object_size(v.dict->json) : v.dict->count);
        return true;
    case VAL_VIEW:
        return chat_length(r, val_dict(v.view->dict), out);
    case VAL_RANGE:
        *out = (int64_t)chat_range_count(v.range);
        return true;
    case VAL_LOOP: {
        struct val length;
        if (!chat_loop_attr(r, v.loop, STR("length"), &length)) {
            return false;
        }
        *out = length.integer;
        return true;
    }
    default:
        return chat_fail(r, "object of type '%s' has no len()", chat_type_name(v));
    }
}

bool chat_truth(struct render *r, struct val v, bool *out)
{
    switch (v.kind) {
    case VAL_MISSING:
    case VAL_UNDEFINED:
    case VAL_NONE:
        *out = false;
        return true;
    case VAL_BOOL:
        *out = v.boolean;
        return true;
    case VAL_INT:
        *out = v.integer != 0;
        return true;
    case VAL_FLOAT:
        *out = v.real != 0;
        return true;
    case VAL_TEXT:
        *out = v.text->len != 0;
        return true;
    default:
        *out = true;
        if (chat_has_length(v)) {
            int64_t length;
            if (!chat_length(r, v, &length)) {
                return false;
            }
            *out = length != 0;
        }
        return true;
    }
}

/* Exact comparison of an integer with a double. */
static int int_float_order(int64_t i, double f)
{
    if (f >= 9223372036854775808.0) {
        return -1;
    }
    if (f < -9223372036854775808.0) {
        return 1;
    }
    double whole = floor(f);
    int64_t w = (int64_t)whole;
    if (i != w) {
        return i < w ? -1 : 1;
    }
    return f > whole ? -1 : 0;
}

/* 2: not comparable because of a NaN */
static int number_order(struct val a, struct val b)
{
    if (a.kind == VAL_FLOAT && b.kind == VAL_FLOAT) {
        return isnan(a.real) || isnan(b.real) ? 2 : (a.real > b.real) - (a.real < b.real);
    }
    if (a.kind == VAL_FLOAT) {
        return isnan(a.real) ? 2 : -int_float_order(val_as_int(b), a.real);
    }
    if (b.kind == VAL_FLOAT) {
        return isnan(b.real) ? 2 : int_float_order(val_as_int(a), b.real);
    }
    int64_t x = val_as_int(a), y = val_as_int(b);
    return (x > y) - (x < y);
}

static bool lists_equal(struct render *r, struct list *a, struct list *b, bool *out)
{
    *out = a == b;
    if (*out) {
        return true;
    }
    if (!chat_list_load(r, a) || !chat_list_load(r, b) || !chat_data_enter(r)) {
        return false;
    }
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++) {
        if (!chat_equal(r, a->items[i], b->items[i], out)) {
            return false;
        }
    }
    r->data_depth--;
    return true;
}

static bool dicts_equal(struct render *r, struct dict *a, struct dict *b, bool *out)
{
    *out = a == b;
    if (*out) {
        return true;
    }
    if (!chat_dict_load(r, a) || !chat_dict_load(r, b) || !chat_data_enter(r)) {
        return false;
    }
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++) {
        struct val other;
        if (!chat_dict_get(r, b, a->entries[i].key, &other)) {
            return false;
        }
        if (val_is_missing(other)) {
            *out = false;
        } else if (!chat_equal(r, a->entries[i].value, other, out)) {
            return false;
        }
    }
    r->data_depth--;
    return true;
}

bool chat_same(struct val a, struct val b)
{
    if (a.kind != b.kind) {
        return false;
    }
    switch (a.kind) {
    case VAL_NONE:
        return true;
    case VAL_BOOL:
        return a.boolean == b.boolean;
    case VAL_INT: /* CPython keeps one object per small integer */
        return a.integer == b.integer && a.integer >= -5 && a.integer <= 256;
    case VAL_FLOAT:
        return false;
    case VAL_TEXT:
        return a.text == b.text || (a.text->len <= 1 && a.text->len == b.text->len &&
                                    str_eq(chat_str(a.text), chat_str(b.text)));
    default:
        return a.list == b.list;
    }
}

bool chat_equal(struct render *r, struct val a, struct val b, bool *out)
{
    if (val_is_number(a) && val_is_number(b)) {
        *out = number_order(a, b) == 0;
        return true;
    }
    if (a.kind != b.kind) {
        *out = false;
        return true;
    }
    switch (a.kind) {
    case VAL_NONE:
    case VAL_UNDEFINED:
        *out = true;
        return true;
    case VAL_TEXT:
        *out = str_eq(chat_str(a.text), chat_str(b.text));
        return chat_step(r, 1 + (*out ? a.text->len / 64 : 0));
    case VAL_LIST:
    case VAL_TUPLE:
        return lists_equal(r, a.list, b.list, out);
    case VAL_DICT:
        return dicts_equal(r, a.dict, b.dict, out);
    case VAL_RANGE: {
        size_t n = chat_range_count(a.range);
        *out = n == chat_range_count(b.range) &&
               (n == 0 ||
                (a.range->start == b.range->start && (n == 1 || a.range->step == b.range->step)));
        return true;
    }
    case VAL_VIEW:
        if (a.view->kind == VIEW_VALUES || b.view->kind != a.view->kind) {
            *out = a.view == b.view;
            return true;
        }
        if (a.view->kind == VIEW_ITEMS) {
            return dicts_equal(r, a.view->dict, b.view->dict, out);
        }
        if (!chat_dict_load(r, a.view->dict) || !chat_dict_load(r, b.view->dict)) {
            return false;
        }
        *out = a.view->dict->count == b.view->dict->count;
        for (size_t i = 0; *out && i < a.view->dict->count; i++) {
            struct val other;
            if (!chat_dict_get(r, b.view->dict, a.view->dict->entries[i].key, &other)) {
                return false;
            }
            *out = !val_is_missing(other);
        }
        return true;
    default:
        *out = a.list == b.list;
        return true;
    }
}

static bool no_order(struct render *r, struct val a, struct val b, const char *op)
{
    if (a.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, a);
    }
    if (b.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, b);
    }
    return chat_fail(r, "'%s' not supported between instances of '%s' and '%s'", op,
                     chat_type_name(a), chat_type_name(b));
}

static bool lists_order(struct render *r, struct list *a, struct list *b, const char *op, int *out)
{
    if (!chat_list_load(r, a) || !chat_list_load(r, b) || !chat_data_enter(r)) {
        return false;
    }
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        bool same;
        if (!chat_equal(r, a->items[i], b->items[i], &same)) {
            return false;
        }
        if (!same) {
            r->data_depth--;
            return chat_order(r, a->items[i], b->items[i], op, out);
        }
    }
    r->data_depth--;
    *out = (a->count > b->count) - (a->count < b->count);
    return true;
}

bool chat_order(struct render *r, struct val a, struct val b, const char *op, int *out)
{
    if (val_is_number(a) && val_is_number(b)) {
        *out = number_order(a, b);
        return true;
    }
    if (a.kind == VAL_TEXT && b.kind == VAL_TEXT) {
        int c = str_compare(chat_str(a.text), chat_str(b.text));
        *out = (c > 0) - (c < 0); /* byte order of UTF-8 is code point order */
        return chat_step(r, 1);
    }
    if (a.kind == b.kind && (a.kind == VAL_LIST || a.kind == VAL_TUPLE)) {
        return lists_order(r, a.list, b.list, op, out);
    }
    return no_order(r, a, b, op);
}

bool chat_compare(struct render *r, struct val a, struct val b, const char *op, bool *out)
{
    int c;
    if (!chat_order(r, a, b, op, &c)) {
        return false;
    }
    if (c == 2) {
        *out = false;
    } else if (op[0] == '<') {
        *out = op[1] ? c <= 0 : c < 0;
    } else {
        *out = op[1] ? c >= 0 : c > 0;
    }
    return true;
}

static bool range_contains(const struct range *range, struct val v)
{
    if (v.kind == VAL_FLOAT) {
        if (v.real != floor(v.real) || fabs(v.real) > 9e18) {
            return false;
        }
        v = val_int((int64_t)v.real);
    }
    if (!val_is_int(v)) {
        return false;
    }
    int64_t i = val_as_int(v);
    bool inside = range->step > 0 ? i >= range->start && i < range->stop
                                  : i <= range->start && i > range->stop;
    return inside && ((uint64_t)i - (uint64_t)range->start) %
                             (uint64_t)(range->step > 0 ? range->step : -range->step) ==
                         0;
}

static bool iter_contains(struct render *r, struct val needle, struct val haystack, bool *out)
{
    struct iter *it;
    if (!chat_iter(r, haystack, &it)) {
        return false;
    }
    *out = false;
    bool more = true;
    while (!*out) {
        struct val item;
        if (!chat_next(r, it, &item, &more)) {
            return false;
        }
        if (!more) {
            return true;
        }
        if (!chat_equal(r, item, needle, out)) {
            return false;
        }
        if (chat_same(item, needle)) {
            *out = true;
        }
    }
    return true;
}

bool chat_contains(struct render *r, struct val needle, struct val haystack, bool *out)
{
    struct val found;
    switch (haystack.kind) {
    case VAL_TEXT:
        if (needle.kind != VAL_TEXT) {
            return chat_fail(r, "'in <string>' requires string as left operand, not %s",
                             chat_type_name(needle));
        }
        *out = str_find(chat_str(haystack.text), chat_str(needle.text), 0) != SIZE_MAX;
        return chat_step(r, 1 + haystack.text->len / 16);
    case VAL_DICT:
        if (!chat_dict_get(r, haystack.dict, needle, &found)) {
            return false;
        }
        *out = !val_is_missing(found);
        return true;
    case VAL_VIEW:
        if (haystack.view->kind == VIEW_KEYS) {
            return chat_contains(r, needle, val_dict(haystack.view->dict), out);
        }
        return iter_contains(r, needle, haystack, out);
    case VAL_RANGE:
        *out = range_contains(haystack.range, needle);
        return true;
    default:
        if (!chat_is_iterable(haystack)) {
            return chat_fail(r, "argument of type '%s' is not iterable", chat_type_name(haystack));
        }
        return iter_contains(r, needle, haystack, out);
    }
}

/* ---- arithmetic ---- */

static const char *op_text(enum node_op op)
{
    static const char *const texts[] = {"==", "!=", "<", "<=", ">",  ">=", "in",         "not in",
                                        "+",  "-",  "*", "/",  "//", "%",  "** or pow()"};
    return texts[op];
}

static bool too_large(struct render *r)
{
    return chat_fail(r, "an integer beyond 64 bits");
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static bool int_pow(struct render *r, int64_t base, int64_t exponent, struct val *out)
{
    int64_t result = 1;
    if (exponent < 0) {
        if (base == 0) {
            return chat_fail(r, "0.0 cannot be raised to a negative power");
        }
        *out = val_float(pow((double)base, (double)exponent));
        return true;
    }
    while (exponent > 0) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) {
            return too_large(r);
        }
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) {
            return too_large(r);
        }
    }
    *out = val_int(result);
    return true;
}

static bool int_math(struct render *r, enum node_op op, int64_t a, int64_t b, struct val *out)
{
    int64_t c = 0;
    bool overflow = false;
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(a, b, &c);
        break;
    case OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &c);
        break;
    case OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &c);
        break;
    case OP_DIV:
        if (b == 0) {
            return chat_fail(r, "division by zero");
        }
        *out = val_float((double)((long double)a / (long double)b));
        return true;
    case OP_FLOORDIV:
    case OP_MOD:
        if (b == 0) {
            return chat_fail(r, op == OP_MOD ? "integer modulo by zero"
                                             : "integer division or modulo by zero");
        }
        if (b == -1) {
            overflow = op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &c);
        } else {
            c = floor_div(a, b);
            if (op == OP_MOD) {
                c = a - c * b;
            }
        }
        break;
    default:
        return int_pow(r, a, b, out);
    }
    if (overflow) {
        return too_large(r);
    }
    *out = val_int(c);
    return true;
}

/* Python's float // and %: the remainder has the sign of the divisor. */
static void float_divmod(double a, double b, double *quotient, double *rest)
{
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod != 0) {
        if ((b < 0) != (mod < 0)) {
            mod += b;
            div -= 1;
        }
    } else {
        mod = copysign(0, b);
    }
    if (div != 0) {
        double whole = floor(div);
        *quotient = div - whole > 0.5 ? whole + 1 : whole;
    } else {
        *quotient = copysign(0, a / b);
    }
    *rest = mod;
}

static bool float_math(struct render *r, enum node_op op, double a, double b, struct val *out)
{
    double quotient, rest, c = 0;
    switch (op) {
    case OP_ADD:
        c = a + b;
        break;
    case OP_SUB:
        c = a - b;
        break;
    case OP_MUL:
        c = a * b;
        break;
    case OP_DIV:
        if (b == 0) {
            return chat_fail(r, "float division by zero");
        }
        c = a / b;
        break;
    case OP_FLOORDIV:
    case OP_MOD:
        if (b == 0) {
            return chat_fail(r, op == OP_MOD ? "float modulo" : "float floor division by zero");
        }
        float_divmod(a, b, &quotient, &rest);
        c = op == OP_MOD ? rest : quotient;
        break;
    default:
        if (a == 0 && b < 0) {
            return chat_fail(r, "0.0 cannot be raised to a negative power");
        }
        if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b)) {
            return chat_fail(r, "a negative number to a fractional power");
        }
        c = pow(a, b);
        if (isinf(c) && isfinite(a) && isfinite(b)) {
            return chat_fail(r, "(34, 'Numerical result out of range')");
        }
        break;
    }
    *out = val_float(c);
    return true;
}

static bool repeat(struct render *r, struct val v, int64_t times, struct val *out)
{
    uint64_t n = times > 0 ? (uint64_t)times : 0;
    if (v.kind == VAL_TEXT) {
        struct builder b = chat_builder(r);
        if (v.text->len && !chat_build_fill(&b, v.text, n)) {
            return false;
        }
        if (!chat_build_done(&b, out)) {
            return false;
        }
        out->text->markup = v.text->markup;
        return true;
    }
    uint64_t total;
    if (!chat_list_load(r, v.list)) {
        return false;
    }
    if (!size_mul_u64(v.list->count, n, &total) || total > SIZE_MAX / sizeof(struct val)) {
        return chat_room(r, UINT64_MAX);
    }
    if (!chat_step(r, total)) {
        return false;
    }
    struct list *l = chat_list_new(r, (size_t)total);
    if (!l) {
        return false;
    }
    for (uint64_t i = 0; i < n && v.list->count; i++) {
        for (size_t j = 0; j < v.list->count; j++) {
            l->items[l->count++] = v.list->items[j];
        }
    }
    *out = v.kind == VAL_LIST ? val_list(l) : val_tuple(l);
    return true;
}

static bool add_lists(struct render *r, struct val a, struct val b, struct val *out)
{
    if (!chat_list_load(r, a.list) || !chat_list_load(r, b.list) ||
        !chat_step(r, a.list->count + b.list->count)) {
        return false;
    }
    struct list *l = chat_list_new(r, a.list->count + b.list->count);
    if (!l) {
        return false;
    }
    for (size_t i = 0; i < a.list->count; i++) {
        l->items[l->count++] = a.list->items[i];
    }
    for (size_t i = 0; i < b.list->count; i++) {
        l->items[l->count++] = b.list->items[i];
    }
    *out = a.kind == VAL_LIST ? val_list(l) : val_tuple(l);
    return true;
}

static bool add_texts(struct render *r, struct val a, struct val b, struct val *out)
{
    bool markup = a.text->markup || b.text->markup;
    if (markup && !a.text->markup && !chat_escape(r, a, &a)) {
        return false;
    }
    if (markup && !b.text->markup && !chat_escape(r, b, &b)) {
        return false;
    }
    if (!chat_text_concat(r, a.text, b.text, out)) {
        return false;
    }
    out->text->markup = markup;
    return true;
}

static bool is_sequence(struct val v)
{
    return v.kind == VAL_TEXT || v.kind == VAL_LIST || v.kind == VAL_TUPLE;
}

bool chat_math(struct render *r, enum node_op op, struct val a, struct val b, struct val *out)
{
    if (val_is_number(a) && val_is_number(b)) {
        if (a.kind == VAL_FLOAT || b.kind == VAL_FLOAT) {
            return float_math(r, op, val_as_float(a), val_as_float(b), out);
        }
        return int_math(r, op, val_as_int(a), val_as_int(b), out);
    }
    if (op == OP_MOD && a.kind == VAL_TEXT) {
        return chat_percent(r, a.text, b, out);
    }
    if (a.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, a);
    }
    if (b.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, b);
    }
    if (op == OP_ADD && a.kind == VAL_TEXT && b.kind == VAL_TEXT) {
        return add_texts(r, a, b, out);
    }
    if (op == OP_ADD && a.kind == b.kind && (a.kind == VAL_LIST || a.kind == VAL_TUPLE)) {
        return add_lists(r, a, b, out);
    }
    if (op == OP_ADD && is_sequence(a)) {
        return chat_fail(r, "can only concatenate %s (not \"%s\") to %s", chat_type_name(a),
                         chat_type_name(b), chat_type_name(a));
    }
    if (op == OP_MUL && is_sequence(a) && val_is_int(b)) {
        return repeat(r, a, val_as_int(b), out);
    }
    if (op == OP_MUL && is_sequence(b) && val_is_int(a)) {
        return repeat(r, b, val_as_int(a), out);
    }
    if (op == OP_MUL && (is_sequence(a) || is_sequence(b))) {
        return chat_fail(r, "can't multiply sequence by non-int of type '%s'",
                         chat_type_name(is_sequence(a) ? b : a));
    }
    return chat_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", op_text(op),
                     chat_type_name(a), chat_type_name(b));
}
