/* The first pass over a frame: which names it loads and stores, in the order Jinja2's idtracking.py
 * meets them; and questions about special names. */
#include "chat/scope.h"

/* ---- names of a frame ---- */

bool chat_analyze_all(struct scope *s, struct symbols **t, struct nodes list, bool as_param)
{
    for (size_t i = 0; i < list.count; i++) {
        if (!chat_analyze(s, t, list.items[i], as_param)) {
            return false;
        }
    }
    return true;
}

static bool analyze_signature(struct scope *s, struct symbols **t, const struct signature *sig)
{
    if (!chat_analyze_all(s, t, sig->args, false)) {
        return false;
    }
    for (size_t i = 0; i < sig->keyword_count; i++) {
        if (!chat_analyze(s, t, sig->keywords[i].value, false)) {
            return false;
        }
    }
    return chat_analyze(s, t, sig->star, false) && chat_analyze(s, t, sig->star_star, false);
}

static bool overlays(struct scope *s, struct symbols *base, struct symbols *out[3])
{
    for (size_t b = 0; b < 3; b++) {
        out[b] = chat_symbols_new(s, base->parent, base->fn);
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
    if (!chat_analyze(s, t, n->a, false)) {
        return false;
    }
    /* all elifs are one branch, visited one after the other; then the else */
    if (!overlays(s, whole, branches)) {
        return false;
    }
    *t = branches[1];
    for (const struct node *e = chat_elif(n); e; last = e, e = chat_elif(e)) {
        struct symbols *parts[3];
        if (!chat_analyze(s, t, e->a, false) || !overlays(s, branches[1], parts)) {
            return false;
        }
        *t = parts[0];
        if (!chat_analyze_all(s, t, e->items, false) ||
            !chat_symbols_merge(s, branches[1], parts)) {
            return false;
        }
        *t = branches[1];
    }
    *t = branches[0];
    if (!chat_analyze_all(s, t, n->items, false)) {
        return false;
    }
    *t = branches[2];
    if (!chat_analyze_all(s, t, last->other, false)) {
        return false;
    }
    *t = whole;
    return chat_symbols_merge(s, whole, branches);
}

static bool analyze_statement(struct scope *s, struct symbols **t, const struct node *n)
{
    switch (n->kind) {
    case NODE_FOR:
        return chat_analyze(s, t, n->loop->iter, false);
    case NODE_IF:
        return analyze_if(s, t, n);
    case NODE_SET:
        return chat_analyze(s, t, n->b, false) && chat_analyze(s, t, n->a, false);
    case NODE_SET_BLOCK:
        return chat_analyze(s, t, n->a, false);
    case NODE_WITH:
        return chat_analyze(s, t, n->b, false);
    case NODE_MACRO:
        return chat_symbol_store(s, *t, n->name);
    case NODE_CALL_BLOCK:
        return chat_analyze(s, t, n->a, false);
    case NODE_FILTER_BLOCK:
        return chat_analyze(s, t, n->b, false);
    case NODE_IMPORT:
        if (!chat_analyze(s, t, n->a, false)) {
            return false;
        }
        for (size_t i = 0; i < n->items.count; i++) {
            if (!chat_symbol_store(s, *t, n->items.items[i]->name)) {
                return false;
            }
        }
        return true;
    default: /* blocks and autoescape are frames of their own */
        return true;
    }
}

bool chat_analyze(struct scope *s, struct symbols **t, const struct node *n, bool as_param)
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
        if (n->param || (n->store && as_param)) {
            return chat_symbol_param(s, *t, n->name, NULL);
        }
        return n->store ? chat_symbol_store(s, *t, n->name) : chat_symbol_load(s, *t, n->name);
    case NODE_NSREF:
        return chat_symbol_load(s, *t, n->a->name);
    case NODE_CALL:
    case NODE_FILTER:
    case NODE_TEST:
        return chat_analyze(s, t, n->a, false) && analyze_signature(s, t, n->sig);
    case NODE_COND:
        return chat_analyze(s, t, n->b, false) && chat_analyze(s, t, n->a, false) &&
               chat_analyze(s, t, n->c, false);
    default:
        break;
    }
    if (n->kind >= NODE_FOR) {
        return analyze_statement(s, t, n);
    }
    return chat_analyze(s, t, n->a, as_param) && chat_analyze(s, t, n->b, false) &&
           chat_analyze(s, t, n->c, false) && chat_analyze_all(s, t, n->items, as_param);
}

/* ---- special names (loop, caller ...) ---- */

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
    if (!n || q->ended || !chat_scope_step(s)) {
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

bool chat_uses_name(struct scope *s, struct nodes body, const char *name)
{
    struct search q = {.name = str_of(name)};
    search_all(s, &q, body);
    return q.found;
}

bool chat_assigns_name(struct scope *s, const struct node *n, const char *name)
{
    struct search q = {.name = str_of(name), .any_store = true, .into_blocks = true};
    search(s, &q, n);
    return q.found;
}
