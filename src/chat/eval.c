/* Expressions, by walking the tree. Each level of depth costs at most about 1 KiB of C stack (2 KiB
 * under ASan), and the walk counts it (chat_eval_enter). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "chat/eval.h"

/* ---- operators ---- */

static bool compare_one(struct render *r, enum node_op op, struct val a, struct val b, bool *out)
{
    static const char *const texts[] = {
        [OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">", [OP_GE] = ">="};
    switch (op) {
    case OP_EQ:
        return chat_equal(r, a, b, out);
    case OP_NE:
        if (!chat_equal(r, a, b, out)) {
            return false;
        }
        *out = !*out;
        return true;
    case OP_IN:
    case OP_NOT_IN:
        if (!chat_contains(r, a, b, out)) {
            return false;
        }
        *out = *out == (op == OP_IN);
        return true;
    default:
        return chat_compare(r, a, b, texts[op], out);
    }
}

static bool eval_compare(struct render *r, struct activation *act, const struct node *n,
                         struct val *out)
{
    struct val a, b;
    bool truth = true;
    if (!chat_eval(r, act, n->a, &a)) {
        return false;
    }
    for (size_t i = 0; i < n->items.count && truth; i++) {
        if (!chat_eval(r, act, n->items.items[i], &b)) {
            return false;
        }
        r->line = n->line;
        if (!compare_one(r, n->ops[i], a, b, &truth)) {
            return false;
        }
        a = b;
    }
    *out = val_bool(truth);
    return true;
}

static bool is_negative(struct val v)
{
    return v.kind == VAL_FLOAT ? signbit(v.real) && !isnan(v.real)
                               : v.kind == VAL_INT && v.integer < 0;
}

/* Jinja2 writes a folded constant into Python as it prints: "-2 ** x", which is -(2 ** x). */
static bool folded_power(struct render *r, struct val a, struct val b, struct val *out)
{
    return chat_math(r, OP_SUB, val_int(0), a, &a) && chat_math(r, OP_POW, a, b, &a) &&
           (a.kind == VAL_FLOAT ? (*out = val_float(-a.real), true)
                                : chat_math(r, OP_SUB, val_int(0), a, out));
}

static bool eval_math(struct render *r, struct activation *act, const struct node *n,
                      struct val *out)
{
    struct val a, b;
    bool constant = n->a->constant;
    if (!chat_eval(r, act, n->a, &a)) {
        return false;
    }
    for (size_t i = 0; i < n->items.count; i++) {
        if (!chat_eval(r, act, n->items.items[i], &b)) {
            return false;
        }
        r->line = n->line;
        const bool folded = constant;
        constant = constant && n->items.items[i]->constant;
        if (n->ops[i] == OP_POW && folded && !constant && is_negative(a)
                ? !folded_power(r, a, b, &a)
                : !chat_math(r, n->ops[i], a, b, &a)) {
            return false;
        }
    }
    *out = a;
    return true;
}

static bool eval_logic(struct render *r, struct activation *act, const struct node *n,
                       struct val *out)
{
    for (size_t i = 0; i < n->items.count; i++) {
        bool truth;
        if (!chat_eval(r, act, n->items.items[i], out)) {
            return false;
        }
        if (i + 1 == n->items.count) {
            break;
        }
        if (!chat_truth(r, *out, &truth)) {
            return false;
        }
        if (truth == (n->kind == NODE_OR)) {
            break;
        }
    }
    return true;
}

static bool eval_concat(struct render *r, struct activation *act, const struct node *n,
                        struct val *out)
{
    struct val v;
    struct txt *all, *t;
    if (!chat_eval(r, act, n->items.items[0], &v) || !chat_to_text(r, v, &all)) {
        return false;
    }
    for (size_t i = 1; i < n->items.count; i++) {
        if (!chat_eval(r, act, n->items.items[i], &v) || !chat_to_text(r, v, &t) ||
            !chat_text_concat(r, all, t, &v)) {
            return false;
        }
        all = v.text;
    }
    *out = val_text(all);
    return all->markup
               ? chat_text_slice(r, all, 0, all->len, out) && ((out->text->markup = false), true)
               : true;
}

static bool eval_sign(struct render *r, struct activation *act, const struct node *n,
                      struct val *out)
{
    struct val v;
    if (!chat_eval(r, act, n->a, &v)) {
        return false;
    }
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (!val_is_number(v)) {
        return chat_fail(r, "bad operand type for unary %c: '%s'", n->kind == NODE_NEG ? '-' : '+',
                         chat_type_name(v));
    }
    if (n->kind == NODE_POS) {
        *out = v.kind == VAL_BOOL ? val_int(val_as_int(v)) : v;
        return true;
    }
    if (v.kind == VAL_FLOAT) {
        *out = val_float(-v.real);
        return true;
    }
    return chat_math(r, OP_SUB, val_int(0), v, out);
}

/* ---- displays and subscripts ---- */

static bool eval_items(struct render *r, struct activation *act, const struct node *n,
                       struct val *out)
{
    struct list *l = chat_list_new(r, n->items.count);
    if (!l) {
        return false;
    }
    for (; l->count < n->items.count; l->count++) {
        if (!chat_eval(r, act, n->items.items[l->count], &l->items[l->count])) {
            return false;
        }
    }
    *out = n->kind == NODE_LIST ? val_list(l) : val_tuple(l);
    return true;
}

static bool eval_dict(struct render *r, struct activation *act, const struct node *n,
                      struct val *out)
{
    struct dict *d = chat_dict_new(r, n->items.count / 2);
    struct val key, value;
    if (!d) {
        return false;
    }
    for (size_t i = 0; i < n->items.count; i += 2) {
        if (!chat_eval(r, act, n->items.items[i], &key) ||
            !chat_eval(r, act, n->items.items[i + 1], &value) || !chat_dict_set(r, d, key, value)) {
            return false;
        }
    }
    *out = val_dict(d);
    return true;
}

static bool eval_slice(struct render *r, struct activation *act, const struct node *n,
                       struct val parts[3])
{
    const struct node *nodes[3] = {n->a, n->b, n->c};
    for (size_t i = 0; i < 3; i++) {
        parts[i] = val_none();
        if (nodes[i] && !chat_eval(r, act, nodes[i], &parts[i])) {
            return false;
        }
    }
    return true;
}

/* False where Python raises a TypeError. */
static bool can_slice(struct val obj, const struct val parts[3])
{
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].kind != VAL_NONE && !val_is_int(parts[i])) {
            return false;
        }
    }
    return obj.kind == VAL_TEXT || obj.kind == VAL_LIST || obj.kind == VAL_TUPLE ||
           obj.kind == VAL_UNDEFINED;
}

static bool eval_item(struct render *r, struct activation *act, const struct node *n,
                      struct val *out)
{
    struct val obj, key, parts[3];
    if (!chat_eval(r, act, n->a, &obj)) {
        return false;
    }
    if (n->b->kind == NODE_SLICE) {
        if (!eval_slice(r, act, n->b, parts)) {
            return false;
        }
        r->line = n->line;
        if (n->soft && !can_slice(obj, parts)) {
            return chat_undefined_attr(r, obj, val_none(), false, out);
        }
        return chat_get_slice(r, obj, parts, out);
    }
    if (!chat_eval(r, act, n->b, &key)) {
        return false;
    }
    r->line = n->line;
    return chat_get_item(r, obj, key, out);
}

static bool eval_cond(struct render *r, struct activation *act, const struct node *n,
                      struct val *out)
{
    struct val test;
    bool truth;
    if (!chat_eval(r, act, n->b, &test) || !chat_truth(r, test, &truth)) {
        return false;
    }
    if (truth) {
        return chat_eval(r, act, n->a, out);
    }
    if (n->c) {
        return chat_eval(r, act, n->c, out);
    }
    char *hint = chat_alloc(r, 128, 1);
    if (!hint) {
        return false;
    }
    snprintf(hint, 128,
             "the inline if-expression on line %u evaluated to false and no else section was "
             "defined.",
             n->line);
    return chat_undefined_hint(r, hint, out);
}

static bool eval_inner(struct render *r, struct activation *act, const struct node *n,
                       struct val *out)
{
    bool truth;
    switch (n->kind) {
    case NODE_CONST:
    case NODE_DATA:
        *out = n->value;
        return true;
    case NODE_NAME:
        *out = *chat_cell(act, n->ref);
        if (val_is_missing(*out)) {
            *out = chat_undefined_name(r, n->name);
        }
        return !r->failed;
    case NODE_TUPLE:
    case NODE_LIST:
        return eval_items(r, act, n, out);
    case NODE_DICT:
        return eval_dict(r, act, n, out);
    case NODE_COND:
        return eval_cond(r, act, n, out);
    case NODE_OR:
    case NODE_AND:
        return eval_logic(r, act, n, out);
    case NODE_NOT:
        if (!chat_eval(r, act, n->a, out) || !chat_truth(r, *out, &truth)) {
            return false;
        }
        *out = val_bool(!truth);
        return true;
    case NODE_COMPARE:
        return eval_compare(r, act, n, out);
    case NODE_MATH:
        return eval_math(r, act, n, out);
    case NODE_CONCAT:
        return eval_concat(r, act, n, out);
    case NODE_NEG:
    case NODE_POS:
        return eval_sign(r, act, n, out);
    case NODE_ATTR:
        if (!chat_eval(r, act, n->a, out)) {
            return false;
        }
        r->line = n->line;
        return chat_get_attr(r, *out, n->name, out);
    case NODE_ITEM:
        return eval_item(r, act, n, out);
    case NODE_SLICE:
        *out = (struct val){.kind = VAL_SLICE, .slice = chat_alloc(r, 3, sizeof(struct val))};
        return out->slice && eval_slice(r, act, n, out->slice);
    case NODE_CALL:
        return chat_eval_call(r, act, n, NULL, out);
    case NODE_FILTER:
        return chat_eval_filter(r, act, n, out);
    default:
        return chat_eval_test(r, act, n, out);
    }
}

bool chat_eval(struct render *r, struct activation *act, const struct node *n, struct val *out)
{
    if (!chat_eval_enter(r)) {
        return false;
    }
    bool good = eval_inner(r, act, n, out);
    r->depth--;
    return good;
}
