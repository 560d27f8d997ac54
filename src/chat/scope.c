/* What each name means, as Jinja2's idtracking.py and compiler.py decide it.
 *
 * A frame's symbol table says for each name it mentions where its cell is and what the cell starts
 * as when the frame is entered: a parameter; the context's value; a copy of the enclosing frame's
 * cell (ALIAS: a `set` inside a loop works on its own copy); or undefined (only assigned here). A
 * name found in an enclosing frame needs no cell of its own while it is only read.
 *
 * Branches of an `if` are analysed on overlays of the table and merged: a name assigned in some
 * branches but not all must start as what it was outside.
 *
 * Cells of one function are named by (nesting level, name), so that loops one after the other share
 * them, as the local variables of the Python function do. */
#include "chat/scope.h"
#include <string.h>

#include "chat/interp.h"

struct place { /* where a visitor is */
    struct symbols *symbols;
    bool top;  /* the template's own level */
    bool soft; /* inside an if: unknown filters fail when reached */
    bool loop; /* break and continue have a loop */
};

static bool visit(struct scope *s, struct place at, struct node *n);

static bool visit_all(struct scope *s, struct place at, struct nodes list)
{
    for (size_t i = 0; i < list.count; i++) {
        if (!visit(s, at, list.items[i])) {
            return false;
        }
    }
    return true;
}

static struct place inner(struct scope *s, struct place at)
{
    at.symbols = chat_symbols_new(s, at.symbols, at.symbols->fn);
    at.top = at.soft = false;
    return at;
}

static bool visit_name(struct scope *s, struct place at, struct node *n)
{
    if (!chat_symbol_ref(s, at.symbols, at.symbols->fn, n->name, &n->ref)) {
        /* a name the analysis does not see (filter arguments of a set block) */
        if (!chat_symbol_load(s, at.symbols, n->name) ||
            !chat_symbol_ref(s, at.symbols, at.symbols->fn, n->name, &n->ref)) {
            return false;
        }
    }
    n->top = n->store && at.top;
    return true;
}

static bool visit_signature(struct scope *s, struct place at, struct signature *sig)
{
    if (!visit_all(s, at, sig->args)) {
        return false;
    }
    for (size_t i = 0; i < sig->keyword_count; i++) {
        if (!visit(s, at, sig->keywords[i].value)) {
            return false;
        }
    }
    return visit(s, at, sig->star) && visit(s, at, sig->star_star);
}

static bool visit_callee(struct scope *s, struct place at, struct node *n)
{
    bool is_filter = n->kind == NODE_FILTER;
    n->callee =
        is_filter ? (const void *)chat_filter_find(n->name) : (const void *)chat_test_find(n->name);
    n->soft = at.soft;
    if (!n->callee && !at.soft) {
        return chat_scope_fail(s, n, is_filter ? "No filter named '%s'." : "No test named '%s'.",
                               n->name);
    }
    return visit(s, at, n->a) && visit_signature(s, at, n->sig);
}

static bool visit_body(struct scope *s, struct place at, struct nodes body, struct frame *frame)
{
    if (!at.symbols || !chat_analyze_all(s, &at.symbols, body, false)) {
        return false;
    }
    return visit_all(s, at, body) && chat_symbols_finish(s, at.symbols, frame);
}

/* A copy of a loop's target, whose names get the cells of the filter function. */
static struct node *copy_target(struct scope *s, const struct node *n)
{
    struct node *copy = chat_scope_alloc(s, 1, sizeof(*copy));
    if (!copy) {
        return NULL;
    }
    *copy = *n;
    if (n->items.count) {
        copy->items.items = chat_scope_alloc(s, n->items.count, sizeof(struct node *));
        for (size_t i = 0; copy->items.items && i < n->items.count; i++) {
            if (!(copy->items.items[i] = copy_target(s, n->items.items[i]))) {
                return NULL;
            }
        }
    }
    return copy->items.count && !copy->items.items ? NULL : copy;
}

static bool visit_for(struct scope *s, struct place at, struct node *n)
{
    struct for_info *f = n->loop;
    if (chat_assigns_name(s, n, "loop")) {
        return chat_scope_fail(s, n, "Can't assign to special loop variable in for-loop target",
                               STR(""));
    }
    f->extended = f->recursive || s->blocks_use_loop || chat_uses_name(s, f->body, "loop");
    struct fn *fn = at.symbols->fn;
    if (!visit(s, at, f->iter)) {
        return false;
    }
    if (f->test) {
        struct place test = inner(s, at);
        struct fn *test_fn = chat_fn_new(s, fn);
        if (!test.symbols || !test_fn || !(f->test_target = copy_target(s, f->target))) {
            return false;
        }
        test.symbols->fn = test_fn;
        f->test_func = test_fn->func;
        if (!chat_analyze(s, &test.symbols, f->target, true) ||
            !chat_analyze(s, &test.symbols, f->test, false) || !visit(s, test, f->test_target) ||
            !visit(s, test, f->test) || !chat_symbols_finish(s, test.symbols, &f->test_frame)) {
            return false;
        }
    }
    if (f->recursive) {
        fn = chat_fn_new(s, fn);
        if (!fn) {
            return false;
        }
        f->func = fn->func;
    }
    struct place body = inner(s, at), other = inner(s, at);
    if (!body.symbols || !other.symbols) {
        return false;
    }
    body.symbols->fn = other.symbols->fn = fn;
    body.loop = true;
    other.loop = at.loop && !f->recursive;
    if (f->extended && !chat_symbol_param(s, body.symbols, STR("loop"), &f->loop_ref)) {
        return false;
    }
    if (!chat_analyze(s, &body.symbols, f->target, true) ||
        !chat_analyze_all(s, &body.symbols, f->body, false) || !visit(s, body, f->target) ||
        !visit_all(s, body, f->body) || !chat_symbols_finish(s, body.symbols, &f->frame)) {
        return false;
    }
    return visit_body(s, other, f->other, &f->other_frame);
}

/* caller, kwargs and varargs are parameters of a macro whose body mentions them. */
static bool special_param(struct scope *s, struct symbols *t, const struct node *n,
                          const char *name, bool *used, struct ref *ref)
{
    struct macro_info *m = n->macro;
    struct str text = str_of(name);
    if (!chat_uses_name(s, n->items, name)) {
        return !s->failed;
    }
    for (size_t i = 0; i < m->params.count; i++) {
        if (!str_eq(m->params.items[i]->name, text)) {
            continue;
        }
        if (!str_eq(text, STR("caller"))) {
            return true;
        }
        if (i + m->defaults.count < m->params.count) {
            return chat_scope_fail(
                s, n,
                "When defining macros or call blocks the special \"%s\" argument "
                "must be omitted or be given a default.",
                text);
        }
        *used = true;
        return true;
    }
    *used = true;
    return chat_symbol_param(s, t, text, ref);
}

static bool visit_macro(struct scope *s, struct place at, struct node *n)
{
    struct macro_info *m = n->macro;
    struct place in = inner(s, at);
    struct fn *fn = chat_fn_new(s, at.symbols->fn);
    if (!in.symbols || !fn) {
        return false;
    }
    in.symbols->fn = fn;
    in.loop = false;
    m->func = fn->func;
    for (size_t i = 0; i < m->params.count; i++) {
        struct node *param = m->params.items[i];
        m->explicit_caller |= str_eq(param->name, STR("caller"));
        for (size_t j = 0; j < i; j++) {
            if (str_eq(m->params.items[j]->name, param->name)) {
                return chat_scope_fail(s, n, "duplicate argument '%s' in function definition",
                                       param->name);
            }
        }
        if (!chat_symbol_param(s, in.symbols, param->name, &param->ref)) {
            return false;
        }
    }
    if (!special_param(s, in.symbols, n, "caller", &m->caller, &m->caller_ref) ||
        !special_param(s, in.symbols, n, "kwargs", &m->kwargs, &m->kwargs_ref) ||
        !special_param(s, in.symbols, n, "varargs", &m->varargs, &m->varargs_ref) ||
        !chat_analyze_all(s, &in.symbols, m->defaults, false) || !visit_all(s, in, m->defaults) ||
        !visit_body(s, in, n->items, &m->frame)) {
        return false;
    }
    if (n->kind == NODE_CALL_BLOCK) {
        return visit(s, at, n->a);
    }
    n->top = at.top;
    return chat_symbol_ref(s, at.symbols, at.symbols->fn, n->name, &n->ref);
}

static bool visit_with(struct scope *s, struct place at, struct node *n)
{
    struct place in = inner(s, at);
    if (!in.symbols || !chat_analyze_all(s, &in.symbols, n->a->items, true) ||
        !chat_analyze_all(s, &in.symbols, n->items, false)) {
        return false;
    }
    return visit_all(s, at, n->b->items) && visit_all(s, in, n->a->items) &&
           visit_all(s, in, n->items) && chat_symbols_finish(s, in.symbols, n->frame);
}

/* What a scoped block sees: every name assigned in a frame around it, as n->a, a tuple of names. */
static bool collect_stores(struct scope *s, struct place at, struct node *n)
{
    struct symbols *seen = chat_symbols_new(s, NULL, at.symbols->fn);
    size_t cap = 0;
    if (!seen || !(n->a = chat_scope_alloc(s, 1, sizeof(*n->a)))) {
        return false;
    }
    *n->a = (struct node){.kind = NODE_TUPLE, .line = n->line};
    for (const struct symbols *t = at.symbols; t; t = t->parent) {
        for (size_t i = 0; i < t->count; i++) {
            const struct symbol *y = &t->items[i];
            size_t count = n->a->items.count;
            if (!chat_scope_step(s)) {
                return false;
            }
            if (!y->store || chat_symbol_own(s, seen, y->name)) {
                continue;
            }
            struct node *name = chat_scope_alloc(s, 1, sizeof(*name));
            if (!name || !chat_symbol_edit(s, seen, y->name)) {
                return false;
            }
            *name = (struct node){.kind = NODE_NAME, .line = n->line, .name = y->name};
            if (!chat_symbol_ref(s, at.symbols, at.symbols->fn, y->name, &name->ref)) {
                continue;
            }
            if (count == cap) {
                struct node **items = chat_scope_alloc(s, cap ? cap * 2 : 4, sizeof(*items));
                if (!items) {
                    return false;
                }
                if (count) {
                    memcpy(items, n->a->items.items, count * sizeof(struct node *));
                }
                n->a->items.items = items;
                cap = cap ? cap * 2 : 4;
            }
            n->a->items.items[n->a->items.count++] = name;
        }
    }
    return true;
}

static bool visit_statement(struct scope *s, struct place at, struct node *n)
{
    struct place in = at;
    switch (n->kind) {
    case NODE_FOR:
        return visit_for(s, at, n);
    case NODE_IF:
        in.soft = true;
        for (; n; n = chat_elif(n)) {
            if (!visit(s, in, n->a) || !visit_all(s, in, n->items) ||
                (!chat_elif(n) && !visit_all(s, in, n->other))) {
                return false;
            }
        }
        return true;
    case NODE_SET:
        return visit(s, at, n->b) && visit(s, at, n->a);
    case NODE_SET_BLOCK:
    case NODE_FILTER_BLOCK:
        in = inner(s, at);
        if (!in.symbols || !chat_analyze_all(s, &in.symbols, n->items, false) ||
            !visit_all(s, in, n->items) || (n->b && !visit(s, in, n->b)) ||
            (n->a && !visit(s, at, n->a))) {
            return false;
        }
        return chat_symbols_finish(s, in.symbols, n->frame);
    case NODE_WITH:
        return visit_with(s, at, n);
    case NODE_MACRO:
    case NODE_CALL_BLOCK:
        return visit_macro(s, at, n);
    case NODE_AUTOESCAPE:
        in = inner(s, at);
        if (!in.symbols || !chat_analyze(s, &in.symbols, n->a, false) || !visit(s, in, n->a)) {
            return false;
        }
        return visit_body(s, in, n->items, n->frame);
    case NODE_BLOCK: /* its body is resolved on its own */
        return !n->negated || collect_stores(s, at, n);
    case NODE_IMPORT:
        if (str_eq(n->name, STR("extends")) && !at.top) {
            return chat_scope_fail(s, n, "cannot use extend from a non top-level scope", STR(""));
        }
        return visit(s, at, n->a);
    default: /* break, continue */
        if (!at.loop) {
            return chat_scope_fail(s, n,
                                   n->kind == NODE_BREAK ? "'break' outside loop"
                                                         : "'continue' not properly in loop",
                                   STR(""));
        }
        return true;
    }
}

static bool visit(struct scope *s, struct place at, struct node *n)
{
    if (!n) {
        return true;
    }
    if (!chat_scope_step(s)) {
        return false;
    }
    switch (n->kind) {
    case NODE_CONST:
    case NODE_DATA:
        return true;
    case NODE_NAME:
        return visit_name(s, at, n);
    case NODE_NSREF:
        return visit_name(s, at, n->a);
    case NODE_FILTER:
    case NODE_TEST:
        return visit_callee(s, at, n);
    case NODE_CALL:
        return visit(s, at, n->a) && visit_signature(s, at, n->sig);
    case NODE_COND:
        at.soft = true;
        break;
    default:
        break;
    }
    if (n->kind >= NODE_FOR) {
        return visit_statement(s, at, n);
    }
    return visit(s, at, n->a) && visit(s, at, n->b) && visit(s, at, n->c) &&
           visit_all(s, at, n->items);
}

static bool visit_block(struct scope *s, struct node *n)
{
    struct fn *fn = chat_fn_new(s, NULL);
    struct place at = {.symbols = fn ? chat_symbols_new(s, NULL, fn) : NULL};
    if (!at.symbols) {
        return false;
    }
    n->func = fn->func;
    return visit_body(s, at, n->items, n->frame);
}

bool chat_scope(struct tree *tree, struct err *err)
{
    struct scope s = {.tree = tree, .err = err};
    struct fn *fn = chat_fn_new(&s, NULL);
    struct place at = {.symbols = fn ? chat_symbols_new(&s, NULL, fn) : NULL, .top = true};
    if (!at.symbols) {
        return false;
    }
    fn->func->is_root = true;
    for (size_t i = 0; i < tree->block_count; i++) {
        s.blocks_use_loop |=
            tree->blocks[i]->negated && chat_uses_name(&s, tree->blocks[i]->items, "loop");
    }
    tree->root = fn->func;
    tree->uses_self = chat_uses_name(&s, tree->body, "self");
    if (tree->uses_self && !chat_symbol_param(&s, at.symbols, STR("self"), &tree->self_ref)) {
        return false;
    }
    if (!visit_body(&s, at, tree->body, &tree->frame)) {
        return false;
    }
    for (size_t i = 0; i < tree->block_count; i++) {
        if (!visit_block(&s, tree->blocks[i])) {
            return false;
        }
    }
    return !s.failed;
}
