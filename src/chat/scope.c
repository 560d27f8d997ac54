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
#include <stdio.h>
#include <string.h>

#include "chat/interp.h"

enum { SCOPE_STEPS_MAX = 400 * 1000 * 1000 }; /* a template made to be slow to analyse */

struct cell_name {
    uint32_t level;
    struct str name;
};

struct table { /* open addressing over entries; grows in the arena */
    uint32_t *index;
    size_t cap;
};

struct fn {
    struct fn *parent;
    struct func *func;
    struct cell_name *cells;
    size_t cap;
    struct table table;
};

struct symbol {
    struct str name;
    bool ref, store, has_load;
    uint32_t cell;
    struct load load;
};

struct symbols {
    struct symbols *base;   /* an `if` branch: what is not here is there */
    struct symbols *parent; /* the enclosing frame */
    uint32_t level;
    struct fn *fn;
    struct symbol *items;
    size_t count, cap;
    struct table table;
};

struct place { /* where a visitor is */
    struct symbols *symbols;
    bool top;  /* the template's own level */
    bool soft; /* inside an if: unknown filters fail when reached */
    bool loop; /* break and continue have a loop */
};

struct scope {
    struct tree *tree;
    struct err *err;
    bool failed;
    uint64_t steps;
};

static bool fail(struct scope *s, const struct node *n, const char *format, struct str name)
{
    char quoted[STR_QUOTE_MAX], text[400];
    if (!s->failed) {
        s->failed = true;
        snprintf(text, sizeof(text), format, str_quote(quoted, name));
        err_set(s->err, ERR_TEMPLATE, "template line %u: %s", n->line, text);
    }
    return false;
}

static void *take(struct scope *s, size_t count, size_t size)
{
    void *m = arena_alloc(&s->tree->arena, count, size);
    if (!m && !s->failed) {
        s->failed = true;
        if (s->tree->arena.used_total > s->tree->arena.limit_bytes / 2) {
            err_set(s->err, ERR_TEMPLATE, "the template is too large to analyse");
        } else {
            err_set_memory(s->err, count * size);
        }
    }
    return m;
}

static bool step(struct scope *s)
{
    if (++s->steps > SCOPE_STEPS_MAX && !s->failed) {
        s->failed = true;
        err_set(s->err, ERR_TEMPLATE, "the template is too complex to analyse");
    }
    return !s->failed;
}

/* ---- tables ---- */

static struct symbol *symbol_own(struct scope *s, const struct symbols *t, struct str name)
{
    if (!t->table.cap) {
        return NULL;
    }
    for (size_t at = str_hash(name) & (t->table.cap - 1); t->table.index[at];
         at = (at + 1) & (t->table.cap - 1)) {
        struct symbol *y = &t->items[t->table.index[at] - 1];
        s->steps++;
        if (str_eq(y->name, name)) {
            return y;
        }
    }
    return NULL;
}

/* The symbol as the frame sees it, in the overlay or below. */
static struct symbol *symbol_find(struct scope *s, const struct symbols *t, struct str name)
{
    for (; t; t = t->base) {
        struct symbol *y = symbol_own(s, t, name);
        if (y) {
            return y;
        }
    }
    return NULL;
}

static bool table_grow(struct scope *s, struct table *t, size_t count)
{
    if (t->cap && count * 2 <= t->cap) {
        return true;
    }
    t->cap = t->cap ? t->cap * 4 : 16;
    t->index = take(s, t->cap, sizeof(*t->index));
    return t->index != NULL;
}

static void table_put(struct table *t, struct str name, size_t entry)
{
    size_t at = str_hash(name) & (t->cap - 1);
    while (t->index[at]) {
        at = (at + 1) & (t->cap - 1);
    }
    t->index[at] = (uint32_t)(entry + 1);
}

/* The symbol in the top overlay, copied up from below if it is there; NULL without memory. */
static struct symbol *symbol_edit(struct scope *s, struct symbols *t, struct str name)
{
    struct symbol *y = symbol_own(s, t, name);
    if (y) {
        return y;
    }
    struct symbol *below = symbol_find(s, t->base, name);
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 4;
        struct symbol *items = take(s, cap, sizeof(*items));
        if (!items) {
            return NULL;
        }
        if (t->count) {
            memcpy(items, t->items, t->count * sizeof(*items));
        }
        t->items = items;
        t->cap = cap;
    }
    size_t cap = t->table.cap;
    if (!table_grow(s, &t->table, t->count + 1)) {
        return NULL;
    }
    if (cap != t->table.cap) {
        for (size_t i = 0; i < t->count; i++) {
            table_put(&t->table, t->items[i].name, i);
        }
    }
    y = &t->items[t->count];
    *y = below ? *below : (struct symbol){.name = name};
    table_put(&t->table, name, t->count++);
    return y;
}

static bool cell_of(struct scope *s, struct fn *fn, uint32_t level, struct str name, uint32_t *out)
{
    for (size_t at = fn->table.cap ? str_hash(name) & (fn->table.cap - 1) : 0;
         fn->table.cap && fn->table.index[at]; at = (at + 1) & (fn->table.cap - 1)) {
        uint32_t i = fn->table.index[at] - 1;
        s->steps++;
        if (fn->cells[i].level == level && str_eq(fn->cells[i].name, name)) {
            *out = i;
            return true;
        }
    }
    size_t count = fn->func->cell_count;
    if (count == fn->cap) {
        size_t cap = fn->cap ? fn->cap * 2 : 8;
        struct cell_name *cells = take(s, cap, sizeof(*cells));
        if (!cells) {
            return false;
        }
        if (count) {
            memcpy(cells, fn->cells, count * sizeof(*cells));
        }
        fn->cells = cells;
        fn->cap = cap;
    }
    size_t cap = fn->table.cap;
    if (!table_grow(s, &fn->table, count + 1)) {
        return false;
    }
    if (cap != fn->table.cap) {
        for (size_t i = 0; i < count; i++) {
            table_put(&fn->table, fn->cells[i].name, i);
        }
    }
    fn->cells[count] = (struct cell_name){level, name};
    table_put(&fn->table, name, count);
    *out = (uint32_t)count;
    fn->func->cell_count++;
    return true;
}

/* ---- symbols ---- */

static struct symbols *symbols_new(struct scope *s, struct symbols *parent, struct fn *fn)
{
    struct symbols *t = take(s, 1, sizeof(*t));
    if (t) {
        t->parent = parent;
        t->level = parent ? parent->level + 1 : 0;
        t->fn = fn;
    }
    return t;
}

static struct fn *fn_new(struct scope *s, struct fn *parent)
{
    struct fn *fn = take(s, 1, sizeof(*fn));
    if (fn) {
        fn->parent = parent;
        fn->func = take(s, 1, sizeof(*fn->func));
    }
    return fn && fn->func ? fn : NULL;
}

/* The cell of a name as seen from `from`, in `t` or an enclosing frame. */
static bool find_ref(struct scope *s, const struct symbols *t, const struct fn *from,
                     struct str name, struct ref *out)
{
    for (; t; t = t->parent) {
        struct symbol *y = symbol_find(s, t, name);
        if (y && y->ref) {
            out->hops = 0;
            out->cell = y->cell;
            for (const struct fn *f = from; f && f != t->fn; f = f->parent) {
                out->hops++;
            }
            return true;
        }
    }
    return false;
}

static struct symbol *define(struct scope *s, struct symbols *t, struct str name, struct load load)
{
    struct symbol *y = symbol_edit(s, t, name);
    if (!y || !cell_of(s, t->fn, t->level, name, &y->cell)) {
        return NULL;
    }
    y->ref = y->has_load = true;
    y->load = load;
    y->load.cell = y->cell;
    return y;
}

static bool symbol_param(struct scope *s, struct symbols *t, struct str name, struct ref *out)
{
    struct symbol *y = define(s, t, name, (struct load){.kind = LOAD_PARAM});
    if (!y) {
        return false;
    }
    y->store = true;
    if (out) {
        *out = (struct ref){0, y->cell};
    }
    return true;
}

static bool symbol_store(struct scope *s, struct symbols *t, struct str name)
{
    struct symbol *y = symbol_edit(s, t, name);
    if (!y) {
        return false;
    }
    y->store = true;
    if (y->ref) {
        return true;
    }
    struct load load = {.kind = LOAD_UNDEFINED};
    if (find_ref(s, t->parent, t->fn, name, &load.alias)) {
        load.kind = LOAD_ALIAS;
    }
    return define(s, t, name, load) != NULL;
}

static bool symbol_load(struct scope *s, struct symbols *t, struct str name)
{
    struct ref ref;
    if (find_ref(s, t, t->fn, name, &ref)) {
        return true;
    }
    return define(s, t, name, (struct load){.kind = LOAD_RESOLVE, .name = name}) != NULL;
}

/* Merges the overlays of the three branches of an if (body, elif, else) into `t`. */
static bool branch_update(struct scope *s, struct symbols *t, struct symbols *branches[3])
{
    struct symbols *partly = symbols_new(s, NULL, t->fn);
    if (!partly) {
        return false;
    }
    for (size_t b = 0; b < 3; b++) {
        for (size_t i = 0; i < branches[b]->count; i++) {
            struct symbol *y = &branches[b]->items[i];
            struct symbol *now = symbol_find(s, t, y->name);
            if (!y->store || (now && now->store)) {
                continue;
            }
            struct symbol *counted = symbol_edit(s, partly, y->name);
            if (!counted) {
                return false;
            }
            counted->cell++; /* in how many branches */
        }
    }
    for (size_t b = 0; b < 3; b++) {
        for (size_t i = 0; i < branches[b]->count; i++) {
            struct symbol *y = &branches[b]->items[i], *now = symbol_edit(s, t, y->name);
            if (!now) {
                return false;
            }
            bool store = now->store || y->store;
            if (y->ref) {
                *now = *y;
            }
            now->store = store;
        }
    }
    for (size_t i = 0; i < partly->count; i++) {
        struct symbol *now = symbol_edit(s, t, partly->items[i].name);
        if (partly->items[i].cell == 3) {
            continue;
        }
        if (!now) {
            return false;
        }
        now->load = (struct load){.cell = now->cell, .kind = LOAD_RESOLVE, .name = now->name};
        if (find_ref(s, t->parent, t->fn, now->name, &now->load.alias)) {
            now->load.kind = LOAD_ALIAS;
        }
        now->has_load = true;
    }
    return true;
}

static bool frame_finish(struct scope *s, const struct symbols *t, struct frame *out)
{
    out->loads = take(s, t->count ? t->count : 1, sizeof(*out->loads));
    if (!out->loads) {
        return false;
    }
    for (size_t i = 0; i < t->count; i++) {
        if (t->items[i].has_load) {
            out->loads[out->load_count++] = t->items[i].load;
        }
    }
    return true;
}

/* ---- first pass over a frame: which names it loads and stores ---- */

static bool analyze(struct scope *s, struct symbols **t, const struct node *n, bool as_param);

static bool analyze_all(struct scope *s, struct symbols **t, struct nodes list, bool as_param)
{
    for (size_t i = 0; i < list.count; i++) {
        if (!analyze(s, t, list.items[i], as_param)) {
            return false;
        }
    }
    return true;
}

static bool analyze_signature(struct scope *s, struct symbols **t, const struct signature *sig)
{
    if (!analyze_all(s, t, sig->args, false)) {
        return false;
    }
    for (size_t i = 0; i < sig->keyword_count; i++) {
        if (!analyze(s, t, sig->keywords[i].value, false)) {
            return false;
        }
    }
    return analyze(s, t, sig->star, false) && analyze(s, t, sig->star_star, false);
}

static bool overlays(struct scope *s, struct symbols *base, struct symbols *out[3])
{
    for (size_t b = 0; b < 3; b++) {
        out[b] = symbols_new(s, base->parent, base->fn);
        if (!out[b]) {
            return false;
        }
        out[b]->base = base;
        out[b]->level = base->level;
    }
    return true;
}

static bool analyze_if(struct scope *s, struct symbols **t, const struct node *n)
{
    struct symbols *whole = *t, *branches[3];
    const struct node *last = n;
    if (!analyze(s, t, n->a, false)) {
        return false;
    }
    /* all elifs are one branch, visited one after the other; then the else */
    if (!overlays(s, whole, branches)) {
        return false;
    }
    *t = branches[1];
    for (const struct node *e = chat_elif(n); e; last = e, e = chat_elif(e)) {
        struct symbols *parts[3];
        if (!analyze(s, t, e->a, false) || !overlays(s, branches[1], parts)) {
            return false;
        }
        *t = parts[0];
        if (!analyze_all(s, t, e->items, false) || !branch_update(s, branches[1], parts)) {
            return false;
        }
        *t = branches[1];
    }
    *t = branches[0];
    if (!analyze_all(s, t, n->items, false)) {
        return false;
    }
    *t = branches[2];
    if (!analyze_all(s, t, last->other, false)) {
        return false;
    }
    *t = whole;
    return branch_update(s, whole, branches);
}

static bool analyze_statement(struct scope *s, struct symbols **t, const struct node *n)
{
    switch (n->kind) {
    case NODE_FOR:
        return analyze(s, t, n->loop->iter, false);
    case NODE_IF:
        return analyze_if(s, t, n);
    case NODE_SET:
        return analyze(s, t, n->b, false) && analyze(s, t, n->a, false);
    case NODE_SET_BLOCK:
        return analyze(s, t, n->a, false);
    case NODE_WITH:
        return analyze(s, t, n->b, false);
    case NODE_MACRO:
        return symbol_store(s, *t, n->name);
    case NODE_CALL_BLOCK:
        return analyze(s, t, n->a, false);
    case NODE_FILTER_BLOCK:
        return analyze(s, t, n->b, false);
    case NODE_IMPORT:
        if (!analyze(s, t, n->a, false)) {
            return false;
        }
        for (size_t i = 0; i < n->items.count; i++) {
            if (!symbol_store(s, *t, n->items.items[i]->name)) {
                return false;
            }
        }
        return true;
    default: /* blocks and autoescape are frames of their own */
        return true;
    }
}

static bool analyze(struct scope *s, struct symbols **t, const struct node *n, bool as_param)
{
    if (!n) {
        return true;
    }
    if (!step(s)) {
        return false;
    }
    switch (n->kind) {
    case NODE_CONST:
    case NODE_DATA:
        return true;
    case NODE_NAME:
        if (n->param || (n->store && as_param)) {
            return symbol_param(s, *t, n->name, NULL);
        }
        return n->store ? symbol_store(s, *t, n->name) : symbol_load(s, *t, n->name);
    case NODE_NSREF:
        return symbol_load(s, *t, n->a->name);
    case NODE_CALL:
    case NODE_FILTER:
    case NODE_TEST:
        return analyze(s, t, n->a, false) && analyze_signature(s, t, n->sig);
    case NODE_COND:
        return analyze(s, t, n->b, false) && analyze(s, t, n->a, false) &&
               analyze(s, t, n->c, false);
    default:
        break;
    }
    if (n->kind >= NODE_FOR) {
        return analyze_statement(s, t, n);
    }
    return analyze(s, t, n->a, as_param) && analyze(s, t, n->b, false) &&
           analyze(s, t, n->c, false) && analyze_all(s, t, n->items, as_param);
}

/* ---- does a body use a special name (loop, caller ...) before it assigns it? ---- */

struct search {
    struct str name;
    bool ended, found;
    bool any_store; /* looks for an assignment instead */
    bool into_blocks;
};

static void search(struct scope *s, struct search *q, const struct node *n);

static void search_all(struct scope *s, struct search *q, struct nodes list)
{
    for (size_t i = 0; i < list.count && !q->ended; i++) {
        search(s, q, list.items[i]);
    }
}

static void search_name(struct search *q, const struct node *n)
{
    if (!str_eq(n->name, q->name)) {
        return;
    }
    if (q->any_store) {
        q->found = q->ended = n->store && !n->param;
    } else {
        q->ended = true, q->found = !n->store;
    }
}

static void search(struct scope *s, struct search *q, const struct node *n)
{
    if (!n || q->ended || !step(s)) {
        return;
    }
    switch (n->kind) {
    case NODE_NAME:
        search_name(q, n);
        return;
    case NODE_NSREF: /* no Name of its own */
        return;
    case NODE_CALL:
    case NODE_FILTER:
    case NODE_TEST:
        search(s, q, n->a);
        search_all(s, q, n->sig->args);
        for (size_t i = 0; i < n->sig->keyword_count; i++) {
            search(s, q, n->sig->keywords[i].value);
        }
        search(s, q, n->sig->star);
        search(s, q, n->sig->star_star);
        return;
    case NODE_FOR:
        search(s, q, n->loop->target);
        search(s, q, n->loop->iter);
        search_all(s, q, n->loop->body);
        search_all(s, q, n->loop->other);
        search(s, q, n->loop->test);
        return;
    case NODE_IF: /* a chain of elifs does not nest */
        for (; n; n = chat_elif(n)) {
            search(s, q, n->a);
            search_all(s, q, n->items);
            if (!chat_elif(n)) {
                search_all(s, q, n->other);
            }
        }
        return;
    case NODE_MACRO:
    case NODE_CALL_BLOCK:
        search(s, q, n->a);
        search_all(s, q, n->macro->params);
        search_all(s, q, n->macro->defaults);
        search_all(s, q, n->items);
        return;
    case NODE_BLOCK:
        if (q->into_blocks) {
            search_all(s, q, n->items);
        }
        return;
    case NODE_IMPORT:
        search(s, q, n->a);
        return;
    default:
        search(s, q, n->a);
        search(s, q, n->b);
        search(s, q, n->c);
        search_all(s, q, n->items);
        return;
    }
}

static bool uses(struct scope *s, struct nodes body, const char *name)
{
    struct search q = {.name = str_of(name)};
    search_all(s, &q, body);
    return q.found;
}

/* ---- second pass: names get their cells, inner frames are opened ---- */

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
    at.symbols = symbols_new(s, at.symbols, at.symbols->fn);
    at.top = at.soft = false;
    return at;
}

static bool visit_name(struct scope *s, struct place at, struct node *n)
{
    if (!find_ref(s, at.symbols, at.symbols->fn, n->name, &n->ref)) {
        /* a name the analysis does not see (filter arguments of a set block) */
        if (!symbol_load(s, at.symbols, n->name) ||
            !find_ref(s, at.symbols, at.symbols->fn, n->name, &n->ref)) {
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
        return fail(s, n, is_filter ? "No filter named '%s'." : "No test named '%s'.", n->name);
    }
    return visit(s, at, n->a) && visit_signature(s, at, n->sig);
}

static bool visit_body(struct scope *s, struct place at, struct nodes body, struct frame *frame)
{
    if (!at.symbols || !analyze_all(s, &at.symbols, body, false)) {
        return false;
    }
    return visit_all(s, at, body) && frame_finish(s, at.symbols, frame);
}

/* A copy of a loop's target, whose names get the cells of the filter function. */
static struct node *copy_target(struct scope *s, const struct node *n)
{
    struct node *copy = take(s, 1, sizeof(*copy));
    if (!copy) {
        return NULL;
    }
    *copy = *n;
    if (n->items.count) {
        copy->items.items = take(s, n->items.count, sizeof(struct node *));
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
    struct search q = {.name = STR("loop"), .any_store = true, .into_blocks = true};
    search(s, &q, n);
    if (q.found) {
        return fail(s, n, "Can't assign to special loop variable in for-loop target", STR(""));
    }
    f->extended = f->recursive || uses(s, f->body, "loop");
    struct fn *fn = at.symbols->fn;
    if (!visit(s, at, f->iter)) {
        return false;
    }
    if (f->test) {
        struct place test = inner(s, at);
        struct fn *test_fn = fn_new(s, fn);
        if (!test.symbols || !test_fn || !(f->test_target = copy_target(s, f->target))) {
            return false;
        }
        test.symbols->fn = test_fn;
        f->test_func = test_fn->func;
        if (!analyze(s, &test.symbols, f->target, true) ||
            !analyze(s, &test.symbols, f->test, false) || !visit(s, test, f->test_target) ||
            !visit(s, test, f->test) || !frame_finish(s, test.symbols, &f->test_frame)) {
            return false;
        }
    }
    if (f->recursive) {
        fn = fn_new(s, fn);
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
    if (f->extended && !symbol_param(s, body.symbols, STR("loop"), &f->loop_ref)) {
        return false;
    }
    if (!analyze(s, &body.symbols, f->target, true) ||
        !analyze_all(s, &body.symbols, f->body, false) || !visit(s, body, f->target) ||
        !visit_all(s, body, f->body) || !frame_finish(s, body.symbols, &f->frame)) {
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
    if (!uses(s, n->items, name)) {
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
            return fail(s, n,
                        "When defining macros or call blocks the special \"%s\" argument "
                        "must be omitted or be given a default.",
                        text);
        }
        *used = true;
        return true;
    }
    *used = true;
    return symbol_param(s, t, text, ref);
}

static bool visit_macro(struct scope *s, struct place at, struct node *n)
{
    struct macro_info *m = n->macro;
    struct place in = inner(s, at);
    struct fn *fn = fn_new(s, at.symbols->fn);
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
                return fail(s, n, "duplicate argument '%s' in function definition", param->name);
            }
        }
        if (!symbol_param(s, in.symbols, param->name, &param->ref)) {
            return false;
        }
    }
    if (!special_param(s, in.symbols, n, "caller", &m->caller, &m->caller_ref) ||
        !special_param(s, in.symbols, n, "kwargs", &m->kwargs, &m->kwargs_ref) ||
        !special_param(s, in.symbols, n, "varargs", &m->varargs, &m->varargs_ref) ||
        !analyze_all(s, &in.symbols, m->defaults, false) || !visit_all(s, in, m->defaults) ||
        !visit_body(s, in, n->items, &m->frame)) {
        return false;
    }
    if (n->kind == NODE_CALL_BLOCK) {
        return visit(s, at, n->a);
    }
    n->top = at.top;
    return find_ref(s, at.symbols, at.symbols->fn, n->name, &n->ref);
}

static bool visit_with(struct scope *s, struct place at, struct node *n)
{
    struct place in = inner(s, at);
    if (!in.symbols || !analyze_all(s, &in.symbols, n->a->items, true) ||
        !analyze_all(s, &in.symbols, n->items, false)) {
        return false;
    }
    return visit_all(s, at, n->b->items) && visit_all(s, in, n->a->items) &&
           visit_all(s, in, n->items) && frame_finish(s, in.symbols, n->frame);
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
        if (!in.symbols || !analyze_all(s, &in.symbols, n->items, false) ||
            !visit_all(s, in, n->items) || (n->b && !visit(s, in, n->b)) ||
            (n->a && !visit(s, at, n->a))) {
            return false;
        }
        return frame_finish(s, in.symbols, n->frame);
    case NODE_WITH:
        return visit_with(s, at, n);
    case NODE_MACRO:
    case NODE_CALL_BLOCK:
        return visit_macro(s, at, n);
    case NODE_AUTOESCAPE:
        in = inner(s, at);
        if (!in.symbols || !analyze(s, &in.symbols, n->a, false) || !visit(s, in, n->a)) {
            return false;
        }
        return visit_body(s, in, n->items, n->frame);
    case NODE_BLOCK:
        return true; /* resolved on its own */
    case NODE_IMPORT:
        if (str_eq(n->name, STR("extends")) && !at.top) {
            return fail(s, n, "cannot use extend from a non top-level scope", STR(""));
        }
        return visit(s, at, n->a);
    default: /* break, continue */
        if (!at.loop) {
            return fail(s, n,
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
    if (!step(s)) {
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
    struct fn *fn = fn_new(s, NULL);
    struct place at = {.symbols = fn ? symbols_new(s, NULL, fn) : NULL};
    if (!at.symbols) {
        return false;
    }
    n->func = fn->func;
    return visit_body(s, at, n->items, n->frame);
}

bool chat_scope(struct tree *tree, struct err *err)
{
    struct scope s = {.tree = tree, .err = err};
    struct fn *fn = fn_new(&s, NULL);
    struct place at = {.symbols = fn ? symbols_new(&s, NULL, fn) : NULL, .top = true};
    if (!at.symbols) {
        return false;
    }
    fn->func->is_root = true;
    tree->root = fn->func;
    tree->uses_self = uses(&s, tree->body, "self");
    if (tree->uses_self && !symbol_param(&s, at.symbols, STR("self"), &tree->self_ref)) {
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
