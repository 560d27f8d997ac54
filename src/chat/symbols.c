/* What a frame knows of each name: symbol tables with overlays for the branches of an `if`, and the
 * numbering of cells. scope.c explains the terms. */
#include <stdio.h>
#include <string.h>

#include "chat/scope.h"

enum { SCOPE_STEPS_MAX = 400 * 1000 * 1000 }; /* a template made to be slow to analyse */

bool chat_scope_fail(struct scope *s, const struct node *n, const char *format, struct str name)
{
    char quoted[STR_QUOTE_MAX], text[400];
    if (!s->failed) {
        s->failed = true;
        snprintf(text, sizeof(text), format, str_quote(quoted, name));
        err_set(s->err, ERR_TEMPLATE, "template line %u: %s", n->line, text);
    }
    return false;
}

void *chat_scope_alloc(struct scope *s, size_t count, size_t size)
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

bool chat_scope_step(struct scope *s)
{
    if (++s->steps > SCOPE_STEPS_MAX && !s->failed) {
        s->failed = true;
        err_set(s->err, ERR_TEMPLATE, "the template is too complex to analyse");
    }
    return !s->failed;
}

/* ---- tables ---- */

struct symbol *chat_symbol_own(struct scope *s, const struct symbols *t, struct str name)
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
        struct symbol *y = chat_symbol_own(s, t, name);
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
    t->index = chat_scope_alloc(s, t->cap, sizeof(*t->index));
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
struct symbol *chat_symbol_edit(struct scope *s, struct symbols *t, struct str name)
{
    struct symbol *y = chat_symbol_own(s, t, name);
    if (y) {
        return y;
    }
    struct symbol *below = symbol_find(s, t->base, name);
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 4;
        struct symbol *items = chat_scope_alloc(s, cap, sizeof(*items));
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
        struct cell_name *cells = chat_scope_alloc(s, cap, sizeof(*cells));
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

struct symbols *chat_symbols_new(struct scope *s, struct symbols *parent, struct fn *fn)
{
    struct symbols *t = chat_scope_alloc(s, 1, sizeof(*t));
    if (t) {
        t->parent = parent;
        t->level = parent ? parent->level + 1 : 0;
        t->fn = fn;
    }
    return t;
}

struct fn *chat_fn_new(struct scope *s, struct fn *parent)
{
    struct fn *fn = chat_scope_alloc(s, 1, sizeof(*fn));
    if (fn) {
        fn->parent = parent;
        fn->func = chat_scope_alloc(s, 1, sizeof(*fn->func));
    }
    return fn && fn->func ? fn : NULL;
}

bool chat_symbol_ref(struct scope *s, const struct symbols *t, const struct fn *from,
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
    struct symbol *y = chat_symbol_edit(s, t, name);
    if (!y || !cell_of(s, t->fn, t->level, name, &y->cell)) {
        return NULL;
    }
    y->ref = y->has_load = true;
    y->load = load;
    y->load.cell = y->cell;
    return y;
}

bool chat_symbol_param(struct scope *s, struct symbols *t, struct str name, struct ref *out)
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

bool chat_symbol_store(struct scope *s, struct symbols *t, struct str name)
{
    struct symbol *y = chat_symbol_edit(s, t, name);
    if (!y) {
        return false;
    }
    y->store = true;
    if (y->ref) {
        return true;
    }
    struct load load = {.kind = LOAD_UNDEFINED};
    if (chat_symbol_ref(s, t->parent, t->fn, name, &load.alias)) {
        load.kind = LOAD_ALIAS;
    }
    return define(s, t, name, load) != NULL;
}

bool chat_symbol_load(struct scope *s, struct symbols *t, struct str name)
{
    struct ref ref;
    if (chat_symbol_ref(s, t, t->fn, name, &ref)) {
        return true;
    }
    return define(s, t, name, (struct load){.kind = LOAD_RESOLVE, .name = name}) != NULL;
}

bool chat_symbols_merge(struct scope *s, struct symbols *t, struct symbols *branches[3])
{
    struct symbols *partly = chat_symbols_new(s, NULL, t->fn);
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
            struct symbol *counted = chat_symbol_edit(s, partly, y->name);
            if (!counted) {
                return false;
            }
            counted->cell++; /* in how many branches */
        }
    }
    for (size_t b = 0; b < 3; b++) {
        for (size_t i = 0; i < branches[b]->count; i++) {
            struct symbol *y = &branches[b]->items[i], *now = chat_symbol_edit(s, t, y->name);
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
        struct symbol *now = chat_symbol_edit(s, t, partly->items[i].name);
        if (partly->items[i].cell == 3) {
            continue;
        }
        if (!now) {
            return false;
        }
        now->load = (struct load){.cell = now->cell, .kind = LOAD_RESOLVE, .name = now->name};
        if (chat_symbol_ref(s, t->parent, t->fn, now->name, &now->load.alias)) {
            now->load.kind = LOAD_ALIAS;
        }
        now->has_load = true;
    }
    return true;
}

bool chat_symbols_finish(struct scope *s, const struct symbols *t, struct frame *out)
{
    out->loads = chat_scope_alloc(s, t->count ? t->count : 1, sizeof(*out->loads));
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
