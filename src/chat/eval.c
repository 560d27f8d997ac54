/* Expressions and statements, by walking the tree. `act` holds the variables of the function that
 * runs (see ast.h). Text goes to a builder: the output, or the capture of a macro, set or filter
 * block. Both walks count their depth, which bounds the C stack. */
#include <string.h>

#include "chat/interp.h"

/* Each level of depth costs at most about 1 KiB of C stack (2 KiB under ASan). */
enum { EVAL_DEPTH_FACTOR = 8 };

static bool eval(struct render *r, struct activation *act, const struct node *n, struct val *out);
static enum flow exec(struct render *r, struct activation *act, struct nodes body,
                      struct builder *sink);

static bool enter(struct render *r)
{
    if (r->depth >= r->depth_max * EVAL_DEPTH_FACTOR) {
        return chat_fail(r, "calls and expressions nested too deep");
    }
    r->depth++;
    return chat_step(r, 1);
}

/* ---- variables ---- */

static struct val *cell(struct activation *act, struct ref ref)
{
    while (ref.hops--) {
        act = act->parent;
    }
    return &act->cells[ref.cell];
}

static struct activation *activation_new(struct render *r, const struct func *func,
                                         struct activation *parent)
{
    struct activation *a = chat_alloc(r, 1, sizeof(*a) + func->cell_count * sizeof(a->cells[0]));
    if (a) {
        a->parent = parent; /* zeroed: every cell is VAL_MISSING */
    }
    return a;
}

static bool resolve(struct render *r, struct str name, struct val *out)
{
    *out = val_missing();
    if (r->exported && !chat_dict_get_str(r, r->exported, name, out)) {
        return false;
    }
    if (val_is_missing(*out) && !chat_dict_get_str(r, r->context, name, out)) {
        return false;
    }
    if (val_is_missing(*out)) {
        const struct func_def *f = chat_func_find(name);
        if (f) {
            *out = (struct val){.kind = VAL_FUNC, .func = f};
        }
    }
    return true;
}

static bool frame_enter(struct render *r, struct activation *act, const struct frame *frame)
{
    for (size_t i = 0; i < frame->load_count; i++) {
        const struct load *l = &frame->loads[i];
        if (l->kind == LOAD_RESOLVE) {
            if (!resolve(r, l->name, &act->cells[l->cell])) {
                return false;
            }
        } else if (l->kind == LOAD_ALIAS) {
            act->cells[l->cell] = *cell(act, l->alias);
        } else if (l->kind == LOAD_UNDEFINED) {
            act->cells[l->cell] = val_missing();
        }
    }
    return chat_step(r, frame->load_count);
}

static void frame_leave(struct activation *act, const struct frame *frame)
{
    for (size_t i = 0; i < frame->load_count; i++) {
        act->cells[frame->loads[i].cell] = val_missing();
    }
}

static bool assign(struct render *r, struct activation *act, const struct node *target,
                   struct val v)
{
    if (target->kind == NODE_NAME) {
        *cell(act, target->ref) = v;
        if (!target->top || !r->exported) {
            return true;
        }
        struct val name;
        return chat_text_view(r, target->name, true, &name) &&
               chat_dict_set(r, r->exported, name, v);
    }
    if (target->kind == NODE_NSREF) {
        struct val *ns = cell(act, target->a->ref), name;
        if (ns->kind != VAL_NAMESPACE) {
            return chat_fail(r, "cannot assign attribute on non-namespace object");
        }
        return chat_text_view(r, target->name, true, &name) && chat_dict_set(r, ns->dict, name, v);
    }
    size_t want = target->items.count, got = 0;
    struct iter *it;
    if (!chat_is_iterable(v)) {
        return chat_fail(r, "cannot unpack non-iterable %s object", chat_type_name(v));
    }
    if (!chat_iter(r, v, &it)) {
        return false;
    }
    for (;; got++) {
        struct val item;
        bool more;
        if (!chat_next(r, it, &item, &more)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (got == want) {
            return chat_fail(r, "too many values to unpack (expected %zu)", want);
        }
        if (!assign(r, act, target->items.items[got], item)) {
            return false;
        }
    }
    if (got < want) {
        return chat_fail(r, "not enough values to unpack (expected %zu, got %zu)", want, got);
    }
    return true;
}

/* ---- calls ---- */

static bool add_stars(struct render *r, struct call *call, struct val star, struct val star_star,
                      size_t room)
{
    struct list *l;
    if (!val_is_missing(star)) {
        if (!chat_to_list(r, star, &l)) {
            return false;
        }
        struct val *args = chat_alloc(r, call->count + l->count, sizeof(*args));
        if (!args) {
            return false;
        }
        if (call->count) {
            memcpy(args, call->args, call->count * sizeof(*args));
        }
        for (size_t i = 0; i < l->count; i++) {
            args[call->count + i] = l->items[i];
        }
        call->args = args;
        call->count += l->count;
    }
    if (val_is_missing(star_star)) {
        return true;
    }
    if (star_star.kind != VAL_DICT) {
        return chat_fail(r, "argument after ** must be a mapping, not %s",
                         chat_type_name(star_star));
    }
    struct dict *d = star_star.dict;
    if (!chat_dict_load(r, d)) {
        return false;
    }
    struct keyword *keywords = chat_alloc(r, room + d->count, sizeof(*keywords));
    if (!keywords) {
        return false;
    }
    if (call->keyword_count) {
        memcpy(keywords, call->keywords, call->keyword_count * sizeof(*keywords));
    }
    for (size_t i = 0; i < d->count; i++) {
        if (d->entries[i].key.kind != VAL_TEXT) {
            return chat_fail(r, "keywords must be strings");
        }
        struct str name = chat_str(d->entries[i].key.text);
        for (size_t j = 0; j < call->keyword_count; j++) {
            if (str_eq(keywords[j].name, name)) {
                return chat_fail(r, "got multiple values for a keyword argument");
            }
        }
        keywords[call->keyword_count++] = (struct keyword){name, d->entries[i].value};
    }
    call->keywords = keywords;
    return true;
}

/* Evaluates arguments; `caller` (may be NULL) is added as the keyword of that name. */
static bool eval_args(struct render *r, struct activation *act, const struct signature *sig,
                      const struct val *caller, struct call *call)
{
    struct val star = val_missing(), star_star = val_missing();
    size_t room = sig->keyword_count + 1;
    *call = (struct call){0};
    if (sig->args.count) {
        call->args = chat_alloc(r, sig->args.count, sizeof(*call->args));
        if (!call->args) {
            return false;
        }
    }
    for (; call->count < sig->args.count; call->count++) {
        if (!eval(r, act, sig->args.items[call->count], &call->args[call->count])) {
            return false;
        }
    }
    if (sig->keyword_count || caller) {
        call->keywords = chat_alloc(r, room, sizeof(*call->keywords));
        if (!call->keywords) {
            return false;
        }
    }
    for (size_t i = 0; i < sig->keyword_count; i++) {
        call->keywords[i].name = sig->keywords[i].name;
        if (!eval(r, act, sig->keywords[i].value, &call->keywords[i].value)) {
            return false;
        }
        call->keyword_count++;
    }
    if (caller) {
        call->keywords[call->keyword_count++] = (struct keyword){STR("caller"), *caller};
    }
    if (!sig->star && !sig->star_star) {
        return true;
    }
    if ((sig->star && !eval(r, act, sig->star, &star)) ||
        (sig->star_star && !eval(r, act, sig->star_star, &star_star))) {
        return false;
    }
    return add_stars(r, call, star, star_star, room);
}

static bool eval_call(struct render *r, struct activation *act, const struct node *n,
                      const struct val *caller, struct val *out)
{
    struct val callee;
    struct call call;
    if (!eval(r, act, n->a, &callee) || !eval_args(r, act, n->sig, caller, &call)) {
        return false;
    }
    r->line = n->line;
    return chat_call(r, callee, &call, out);
}

static bool eval_filter(struct render *r, struct activation *act, const struct node *n,
                        struct val *out)
{
    char quoted[STR_QUOTE_MAX];
    struct val value = r->block_text;
    struct call call;
    if (n->a && !eval(r, act, n->a, &value)) {
        return false;
    }
    if (!eval_args(r, act, n->sig, NULL, &call)) {
        return false;
    }
    r->line = n->line;
    if (!n->callee) {
        return chat_fail(r, "No filter named '%s' found.", str_quote(quoted, n->name));
    }
    return chat_filter_apply(r, n->callee, value, &call, out);
}

static bool eval_test(struct render *r, struct activation *act, const struct node *n,
                      struct val *out)
{
    char quoted[STR_QUOTE_MAX];
    struct val value;
    struct call call;
    bool truth;
    if (!eval(r, act, n->a, &value) || !eval_args(r, act, n->sig, NULL, &call)) {
        return false;
    }
    r->line = n->line;
    if (!n->callee) {
        return chat_fail(r, "No test named '%s' found.", str_quote(quoted, n->name));
    }
    if (!chat_test_apply(r, n->callee, value, &call, &truth)) {
        return false;
    }
    *out = val_bool(truth != n->negated);
    return true;
}

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
    if (!eval(r, act, n->a, &a)) {
        return false;
    }
    for (size_t i = 0; i < n->items.count && truth; i++) {
        if (!eval(r, act, n->items.items[i], &b)) {
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

static bool eval_math(struct render *r, struct activation *act, const struct node *n,
                      struct val *out)
{
    struct val a, b;
    if (!eval(r, act, n->a, &a)) {
        return false;
    }
    for (size_t i = 0; i < n->items.count; i++) {
        if (!eval(r, act, n->items.items[i], &b)) {
            return false;
        }
        r->line = n->line;
        if (!chat_math(r, n->ops[i], a, b, &a)) {
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
        if (!eval(r, act, n->items.items[i], out)) {
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
    if (!eval(r, act, n->items.items[0], &v) || !chat_to_text(r, v, &all)) {
        return false;
    }
    for (size_t i = 1; i < n->items.count; i++) {
        if (!eval(r, act, n->items.items[i], &v) || !chat_to_text(r, v, &t) ||
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
    if (!eval(r, act, n->a, &v)) {
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
        if (!eval(r, act, n->items.items[l->count], &l->items[l->count])) {
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
        if (!eval(r, act, n->items.items[i], &key) ||
            !eval(r, act, n->items.items[i + 1], &value) || !chat_dict_set(r, d, key, value)) {
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
        if (nodes[i] && !eval(r, act, nodes[i], &parts[i])) {
            return false;
        }
    }
    return true;
}

static bool eval_item(struct render *r, struct activation *act, const struct node *n,
                      struct val *out)
{
    struct val obj, key, parts[3];
    if (!eval(r, act, n->a, &obj)) {
        return false;
    }
    if (n->b->kind == NODE_SLICE) {
        if (!eval_slice(r, act, n->b, parts)) {
            return false;
        }
        r->line = n->line;
        return chat_get_slice(r, obj, parts, out);
    }
    if (!eval(r, act, n->b, &key)) {
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
    if (!eval(r, act, n->b, &test) || !chat_truth(r, test, &truth)) {
        return false;
    }
    if (truth) {
        return eval(r, act, n->a, out);
    }
    if (n->c) {
        return eval(r, act, n->c, out);
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
        *out = *cell(act, n->ref);
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
        if (!eval(r, act, n->a, out) || !chat_truth(r, *out, &truth)) {
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
        if (!eval(r, act, n->a, out)) {
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
        return eval_call(r, act, n, NULL, out);
    case NODE_FILTER:
        return eval_filter(r, act, n, out);
    default:
        return eval_test(r, act, n, out);
    }
}

static bool eval(struct render *r, struct activation *act, const struct node *n, struct val *out)
{
    if (!enter(r)) {
        return false;
    }
    bool good = eval_inner(r, act, n, out);
    r->depth--;
    return good;
}

/* ---- loops ---- */

static bool loop_next(struct render *r, struct loop *loop, struct val *out, bool *more)
{
    if (!val_is_missing(loop->after)) {
        *out = loop->after;
        loop->after = val_missing();
        *more = true;
    } else if (!chat_next(r, loop->iter, out, more)) {
        return false;
    }
    if (*more) {
        loop->index0++;
        loop->before = loop->current;
        loop->current = *out;
    }
    return true;
}

static bool loop_peek(struct render *r, struct loop *loop)
{
    bool more;
    if (!val_is_missing(loop->after)) {
        return true;
    }
    if (!chat_next(r, loop->iter, &loop->after, &more)) {
        return false;
    }
    if (!more) {
        loop->after = val_missing();
    }
    return true;
}

static bool loop_length(struct render *r, struct loop *loop)
{
    if (loop->length >= 0) {
        return true;
    }
    if (chat_has_length(loop->iterable)) {
        return chat_length(r, loop->iterable, &loop->length);
    }
    struct list *rest;
    struct val v = {.kind = VAL_ITER, .iter = loop->iter};
    if (!chat_to_list(r, v, &rest) || !chat_iter(r, val_list(rest), &loop->iter)) {
        return false;
    }
    loop->length = (int64_t)rest->count + loop->index0 + 1 + !val_is_missing(loop->after);
    return true;
}

bool chat_loop_attr(struct render *r, struct loop *loop, struct str name, struct val *out)
{
    *out = val_missing();
    if (str_eq(name, STR("index0"))) {
        *out = val_int(loop->index0);
    } else if (str_eq(name, STR("index"))) {
        *out = val_int(loop->index0 + 1);
    } else if (str_eq(name, STR("first"))) {
        *out = val_bool(loop->index0 == 0);
    } else if (str_eq(name, STR("last"))) {
        if (!loop_peek(r, loop)) {
            return false;
        }
        *out = val_bool(val_is_missing(loop->after));
    } else if (str_eq(name, STR("length"))) {
        if (!loop_length(r, loop)) {
            return false;
        }
        *out = val_int(loop->length);
    } else if (str_eq(name, STR("revindex")) || str_eq(name, STR("revindex0"))) {
        if (!loop_length(r, loop)) {
            return false;
        }
        *out = val_int(loop->length - loop->index0 - (name.len == 9));
    } else if (str_eq(name, STR("depth0"))) {
        *out = val_int(loop->depth0);
    } else if (str_eq(name, STR("depth"))) {
        *out = val_int(loop->depth0 + 1);
    } else if (str_eq(name, STR("previtem"))) {
        if (loop->index0 == 0) {
            return chat_undefined_hint(r, "there is no previous item", out);
        }
        *out = loop->before;
    } else if (str_eq(name, STR("nextitem"))) {
        if (!loop_peek(r, loop)) {
            return false;
        }
        if (val_is_missing(loop->after)) {
            return chat_undefined_hint(r, "there is no next item", out);
        }
        *out = loop->after;
    }
    return true;
}

bool chat_loop_method(struct render *r, struct loop *loop, const char *name, struct call *call,
                      struct val *out)
{
    if (call->keyword_count) {
        return chat_fail(r, "%s() takes no keyword arguments", name);
    }
    if (strcmp(name, "cycle") == 0) {
        if (!call->count) {
            return chat_fail(r, "no items for cycling given");
        }
        *out = call->args[(uint64_t)loop->index0 % call->count];
        return true;
    }
    bool same = loop->changed && loop->changed->count == call->count;
    for (size_t i = 0; same && i < call->count; i++) {
        if (!chat_equal(r, loop->changed->items[i], call->args[i], &same)) {
            return false;
        }
    }
    if (!same) {
        loop->changed = chat_list_new(r, call->count);
        if (!loop->changed) {
            return false;
        }
        for (size_t i = 0; i < call->count; i++) {
            loop->changed->items[loop->changed->count++] = call->args[i];
        }
    }
    *out = val_bool(!same);
    return true;
}

/* Whether the `if` of a for loop keeps an item. */
bool chat_loop_filter(struct render *r, struct iter *it, struct val item, bool *keep)
{
    const struct for_info *f = it->node->loop;
    struct activation *act = it->activation;
    struct val test;
    return assign(r, act, f->test_target, item) && eval(r, act, f->test, &test) &&
           chat_truth(r, test, keep);
}

static bool loop_open(struct render *r, struct activation *outer, const struct node *n,
                      struct val iterable, int64_t depth0, struct loop *loop)
{
    const struct for_info *f = n->loop;
    *loop = (struct loop){.index0 = -1,
                          .length = -1,
                          .depth0 = depth0,
                          .iterable = iterable,
                          .node = f->recursive ? n : NULL,
                          .closure = outer};
    if (!chat_iter(r, iterable, &loop->iter)) {
        return false;
    }
    if (!f->test) {
        return true;
    }
    struct iter *filtered = chat_iter_new(r, ITER_FILTERED, "generator");
    struct activation *act = activation_new(r, f->test_func, outer);
    if (!filtered || !act || !frame_enter(r, act, &f->test_frame)) {
        return false;
    }
    filtered->inner = loop->iter;
    filtered->node = n;
    filtered->activation = act;
    loop->iter = filtered;
    loop->iterable = (struct val){.kind = VAL_ITER, .iter = filtered};
    return true;
}

/* `act` holds the loop's variables, `outer` those around it (the same unless it is recursive). */
static enum flow run_loop(struct render *r, struct activation *act, struct activation *outer,
                          const struct node *n, struct val iterable, int64_t depth0,
                          struct builder *sink)
{
    const struct for_info *f = n->loop;
    struct loop *loop = chat_alloc(r, 1, sizeof(*loop));
    bool ran = false;
    if (!loop || !loop_open(r, outer, n, iterable, depth0, loop)) {
        return FLOW_ERROR;
    }
    if (f->extended) {
        *cell(act, f->loop_ref) = val_missing();
    }
    for (;;) {
        struct val item;
        bool more;
        if (!loop_next(r, loop, &item, &more)) {
            return FLOW_ERROR;
        }
        if (!more) {
            break;
        }
        if (!assign(r, act, f->target, item)) {
            return FLOW_ERROR;
        }
        if (f->extended) {
            *cell(act, f->loop_ref) = (struct val){.kind = VAL_LOOP, .loop = loop};
        }
        if (!frame_enter(r, act, &f->frame)) {
            return FLOW_ERROR;
        }
        enum flow flow = exec(r, act, f->body, sink);
        if (flow == FLOW_ERROR) {
            return flow;
        }
        ran |= flow == FLOW_NEXT; /* Jinja2 notes it at the end of the body only */
        if (flow == FLOW_BREAK) {
            break;
        }
    }
    frame_leave(act, &f->frame);
    if (ran || !f->other.count) {
        return FLOW_NEXT;
    }
    if (!frame_enter(r, act, &f->other_frame)) {
        return FLOW_ERROR;
    }
    enum flow flow = exec(r, act, f->other, sink);
    frame_leave(act, &f->other_frame);
    return flow;
}

static bool captured(struct render *r, struct builder *b, struct val *out)
{
    if (!chat_build_done(b, out)) {
        return false;
    }
    out->text->markup = r->autoescape;
    return true;
}

bool chat_loop_call(struct render *r, struct loop *loop, struct val iterable, struct val *out)
{
    if (!loop->node) {
        return chat_fail(r, "The loop must have the 'recursive' marker to be called recursively.");
    }
    struct builder b = chat_builder(r);
    struct activation *act = activation_new(r, loop->node->loop->func, loop->closure);
    if (!act || !enter(r) ||
        run_loop(r, act, loop->closure, loop->node, iterable, loop->depth0 + 1, &b) == FLOW_ERROR) {
        return false;
    }
    r->depth--;
    return captured(r, &b, out);
}

static enum flow exec_for(struct render *r, struct activation *act, const struct node *n,
                          struct builder *sink)
{
    struct val iterable;
    if (!eval(r, act, n->loop->iter, &iterable)) {
        return FLOW_ERROR;
    }
    r->line = n->line;
    if (!n->loop->recursive) {
        return run_loop(r, act, act, n, iterable, 0, sink);
    }
    struct activation *inner = activation_new(r, n->loop->func, act);
    return inner ? run_loop(r, inner, act, n, iterable, 0, sink) : FLOW_ERROR;
}

/* ---- macros ---- */

static bool macro_keyword(struct call *rest, struct str name, struct val *out)
{
    for (size_t i = 0; i < rest->keyword_count; i++) {
        if (str_eq(rest->keywords[i].name, name)) {
            *out = rest->keywords[i].value;
            for (size_t j = i + 1; j < rest->keyword_count; j++) {
                rest->keywords[j - 1] = rest->keywords[j];
            }
            rest->keyword_count--;
            return true;
        }
    }
    return false;
}

/* Puts the arguments into the cells, as Macro.__call__ does; keywords used up leave `rest`. */
static bool macro_bind(struct render *r, const struct macro *macro, struct activation *act,
                       struct call *rest)
{
    const struct macro_info *m = macro->node->macro;
    char quoted[STR_QUOTE_MAX], name[STR_QUOTE_MAX];
    size_t given = rest->count < m->params.count ? rest->count : m->params.count;
    bool found_caller = given == m->params.count && m->explicit_caller;
    for (size_t i = 0; i < m->params.count; i++) {
        const struct node *param = m->params.items[i];
        struct val *to = cell(act, param->ref);
        if (i < given) {
            *to = rest->args[i];
            continue;
        }
        macro_keyword(rest, param->name, to);
        found_caller |= str_eq(param->name, STR("caller"));
    }
    if (m->caller && !found_caller) {
        struct val *caller = cell(act, m->caller_ref);
        if ((!macro_keyword(rest, STR("caller"), caller) || caller->kind == VAL_NONE) &&
            !chat_undefined_hint(r, "No caller defined", caller)) {
            return false;
        }
    }
    str_quote(name, macro->name.len ? macro->name : STR("None"));
    if (m->kwargs) {
        struct dict *d = chat_dict_new(r, rest->keyword_count);
        struct val key;
        for (size_t i = 0; d && i < rest->keyword_count; i++) {
            if (!chat_text_view(r, rest->keywords[i].name, true, &key) ||
                !chat_dict_set(r, d, key, rest->keywords[i].value)) {
                return false;
            }
        }
        if (!d) {
            return false;
        }
        *cell(act, m->kwargs_ref) = val_dict(d);
    } else if (rest->keyword_count) {
        return chat_fail(r, "macro '%s' takes no keyword argument '%s'", name,
                         str_quote(quoted, rest->keywords[0].name));
    }
    if (m->varargs) {
        struct list *l = chat_list_new(r, rest->count - given);
        for (size_t i = given; l && i < rest->count; i++) {
            l->items[l->count++] = rest->args[i];
        }
        *cell(act, m->varargs_ref) = val_tuple(l);
        return l != NULL;
    }
    if (rest->count > m->params.count) {
        return chat_fail(r, "macro '%s' takes not more than %zu argument(s)", name,
                         m->params.count);
    }
    return true;
}

static bool macro_defaults(struct render *r, const struct macro_info *m, struct activation *act)
{
    for (size_t i = 0; i < m->params.count; i++) {
        const struct node *param = m->params.items[i];
        struct val v;
        if (!val_is_missing(*cell(act, param->ref))) {
            continue;
        }
        if (i + m->defaults.count >= m->params.count) {
            if (!eval(r, act, m->defaults.items[i + m->defaults.count - m->params.count], &v)) {
                return false;
            }
        } else {
            char quoted[STR_QUOTE_MAX];
            char *hint = chat_alloc(r, STR_QUOTE_MAX + 64, 1);
            if (!hint) {
                return false;
            }
            snprintf(hint, STR_QUOTE_MAX + 64, "parameter '%s' was not provided",
                     str_quote(quoted, param->name));
            if (!chat_undefined_hint(r, hint, &v)) {
                return false;
            }
        }
        *cell(act, param->ref) = v;
    }
    return true;
}

bool chat_macro_call(struct render *r, const struct macro *macro, struct call *call,
                     struct val *out)
{
    const struct macro_info *m = macro->node->macro;
    struct activation *act = activation_new(r, m->func, macro->closure);
    struct call rest = *call;
    struct builder b = chat_builder(r);
    if (!act || !enter(r)) {
        return false;
    }
    if (rest.keyword_count) { /* used keywords are taken out of a copy */
        rest.keywords = chat_alloc(r, rest.keyword_count, sizeof(*rest.keywords));
        if (!rest.keywords) {
            return false;
        }
        memcpy(rest.keywords, call->keywords, rest.keyword_count * sizeof(*rest.keywords));
    }
    if (!macro_bind(r, macro, act, &rest) || !frame_enter(r, act, &m->frame) ||
        !macro_defaults(r, m, act) || exec(r, act, macro->node->items, &b) == FLOW_ERROR) {
        return false;
    }
    r->depth--;
    return captured(r, &b, out);
}

static bool make_macro(struct render *r, struct activation *act, const struct node *n,
                       struct val *out)
{
    struct macro *m = chat_alloc(r, 1, sizeof(*m));
    if (!m) {
        return false;
    }
    *m = (struct macro){.node = n, .closure = act, .name = n->name};
    *out = (struct val){.kind = VAL_MACRO, .macro = m};
    return true;
}

static bool exec_macro(struct render *r, struct activation *act, const struct node *n)
{
    struct val macro, name;
    if (!make_macro(r, act, n, &macro)) {
        return false;
    }
    *cell(act, n->ref) = macro;
    if (!n->top || !r->exported) {
        return true;
    }
    return chat_text_view(r, n->name, true, &name) && chat_dict_set(r, r->exported, name, macro);
}

/* ---- output ---- */

static bool print(struct render *r, struct val v, struct builder *sink)
{
    struct txt *t;
    if (r->autoescape && !chat_escape(r, v, &v)) {
        return false;
    }
    if (!chat_to_text(r, v, &t) || !chat_build_text(sink, t, 0, t->len)) {
        return false;
    }
    if (sink->len > r->output_max) {
        return chat_fail(r, "the output is longer than %zu bytes", r->output_max);
    }
    return true;
}

static bool exec_output(struct render *r, struct activation *act, const struct node *n,
                        struct builder *sink)
{
    for (size_t i = 0; i < n->items.count; i++) {
        const struct node *item = n->items.items[i];
        struct val v;
        if (item->kind == NODE_DATA) {
            const struct txt *t = item->value.text;
            if (!chat_step(r, 1) || !chat_build_text(sink, t, 0, t->len)) {
                return false;
            }
            if (sink->len > r->output_max) {
                return chat_fail(r, "the output is longer than %zu bytes", r->output_max);
            }
            continue;
        }
        r->line = item->line;
        if (!eval(r, act, item, &v) || !print(r, v, sink)) {
            return false;
        }
    }
    return true;
}

/* ---- statements ---- */

/* The body of a set or filter block, captured and filtered. */
static enum flow capture(struct render *r, struct activation *act, const struct node *n,
                         struct val *out)
{
    struct builder b = chat_builder(r);
    struct val saved = r->block_text;
    if (!frame_enter(r, act, n->frame)) {
        return FLOW_ERROR;
    }
    enum flow flow = exec(r, act, n->items, &b);
    if (flow != FLOW_NEXT) {
        return flow;
    }
    if (!captured(r, &b, out)) {
        return FLOW_ERROR;
    }
    if (n->b) {
        r->block_text = *out;
        if (!eval(r, act, n->b, out)) {
            return FLOW_ERROR;
        }
        r->block_text = saved;
    }
    return FLOW_NEXT;
}

static enum flow exec_capture(struct render *r, struct activation *act, const struct node *n,
                              struct builder *sink)
{
    struct val v;
    enum flow flow = capture(r, act, n, &v);
    if (flow != FLOW_NEXT) {
        return flow;
    }
    bool good = n->kind == NODE_SET_BLOCK ? assign(r, act, n->a, v) : print(r, v, sink);
    if (good) {
        frame_leave(act, n->frame);
    }
    return good ? FLOW_NEXT : FLOW_ERROR;
}

static enum flow exec_with(struct render *r, struct activation *act, const struct node *n,
                           struct builder *sink)
{
    if (!frame_enter(r, act, n->frame)) {
        return FLOW_ERROR;
    }
    for (size_t i = 0; i < n->a->items.count; i++) {
        struct val v;
        if (!eval(r, act, n->b->items.items[i], &v) || !assign(r, act, n->a->items.items[i], v)) {
            return FLOW_ERROR;
        }
    }
    enum flow flow = exec(r, act, n->items, sink);
    frame_leave(act, n->frame);
    return flow;
}

static enum flow exec_autoescape(struct render *r, struct activation *act, const struct node *n,
                                 struct builder *sink)
{
    struct val v;
    bool saved = r->autoescape;
    if (!frame_enter(r, act, n->frame) || !eval(r, act, n->a, &v) ||
        !chat_truth(r, v, &r->autoescape)) {
        return FLOW_ERROR;
    }
    enum flow flow = exec(r, act, n->items, sink);
    r->autoescape = saved;
    frame_leave(act, n->frame);
    return flow;
}

static enum flow exec_if(struct render *r, struct activation *act, const struct node *n,
                         struct builder *sink)
{
    for (;;) {
        struct val v;
        bool truth;
        r->line = n->line;
        if (!eval(r, act, n->a, &v) || !chat_truth(r, v, &truth) || !chat_step(r, 1)) {
            return FLOW_ERROR;
        }
        if (truth) {
            return exec(r, act, n->items, sink);
        }
        const struct node *next = chat_elif(n);
        if (!next) {
            return exec(r, act, n->other, sink);
        }
        n = next;
    }
}

static bool exec_call_block(struct render *r, struct activation *act, const struct node *n,
                            struct builder *sink)
{
    struct val caller, v;
    return make_macro(r, act, n, &caller) && eval_call(r, act, n->a, &caller, &v) &&
           print(r, v, sink);
}

static bool exec_set(struct render *r, struct activation *act, const struct node *n)
{
    struct val v;
    if (n->a->kind == NODE_NSREF && cell(act, n->a->a->ref)->kind != VAL_NAMESPACE) {
        return chat_fail(r, "cannot assign attribute on non-namespace object");
    }
    return eval(r, act, n->b, &v) && assign(r, act, n->a, v);
}

bool chat_block_call(struct render *r, const struct node *block, struct builder *out)
{
    struct activation *act = activation_new(r, block->func, NULL);
    if (block->is_elif) {
        return chat_fail(r, "Required block not found");
    }
    if (!act || !enter(r) || !frame_enter(r, act, block->frame) ||
        exec(r, act, block->items, out) == FLOW_ERROR) {
        return false;
    }
    r->depth--;
    return true;
}

static enum flow exec_one(struct render *r, struct activation *act, const struct node *n,
                          struct builder *sink)
{
    struct val v;
    r->line = n->line;
    switch (n->kind) {
    case NODE_OUTPUT:
        return exec_output(r, act, n, sink) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_FOR:
        return exec_for(r, act, n, sink);
    case NODE_IF:
        return exec_if(r, act, n, sink);
    case NODE_SET:
        return exec_set(r, act, n) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_SET_BLOCK:
    case NODE_FILTER_BLOCK:
        return exec_capture(r, act, n, sink);
    case NODE_WITH:
        return exec_with(r, act, n, sink);
    case NODE_AUTOESCAPE:
        return exec_autoescape(r, act, n, sink);
    case NODE_MACRO:
        return exec_macro(r, act, n) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_CALL_BLOCK:
        return exec_call_block(r, act, n, sink) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_BLOCK:
        return chat_block_call(r, n, sink) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_BREAK:
        return FLOW_BREAK;
    case NODE_CONTINUE:
        return FLOW_CONTINUE;
    default:
        if (eval(r, act, n->a, &v)) {
            chat_fail(r, "no loader for this environment specified");
        }
        return FLOW_ERROR;
    }
}

static enum flow exec(struct render *r, struct activation *act, struct nodes body,
                      struct builder *sink)
{
    if (!enter(r)) {
        return FLOW_ERROR;
    }
    enum flow flow = FLOW_NEXT;
    for (size_t i = 0; i < body.count && flow == FLOW_NEXT; i++) {
        flow = chat_step(r, 1) ? exec_one(r, act, body.items[i], sink) : FLOW_ERROR;
    }
    r->depth--;
    return flow;
}

bool chat_run(struct render *r, struct builder *out)
{
    const struct tree *tree = r->tree;
    struct activation *act = activation_new(r, tree->root, NULL);
    if (!act) {
        return false;
    }
    if (tree->uses_self) {
        *cell(act, tree->self_ref) = (struct val){.kind = VAL_SELF};
    }
    return frame_enter(r, act, &tree->frame) && exec(r, act, tree->body, out) != FLOW_ERROR;
}
