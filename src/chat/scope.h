/* What the files of the name analysis share: symbols.c (what a frame knows of a name), analyze.c
 * (first pass: which names a frame loads and stores) and scope.c (second pass, and the whole
 * story). Everything lives in the tree's arena. */
#ifndef CHAT_SCOPE_H
#define CHAT_SCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chat/ast.h"

struct cell_name {
    uint32_t level;
    struct str name;
};

struct table { /* open addressing over entries; grows in the arena */
    uint32_t *index;
    size_t cap;
};

struct fn { /* a `struct func` under construction */
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

struct scope {
    struct tree *tree;
    struct err *err;
    bool failed;
    uint64_t steps;
    bool blocks_use_loop; /* some scoped block does */
};

/* Records "template line N: message" once (format takes the quoted name); always false. */
bool chat_scope_fail(struct scope *s, const struct node *n, const char *format, struct str name);
void *chat_scope_alloc(struct scope *s, size_t count, size_t size);
bool chat_scope_step(struct scope *s); /* false: too much work */

/* ---- symbols ---- */

struct symbols *chat_symbols_new(struct scope *s, struct symbols *parent, struct fn *fn);
struct fn *chat_fn_new(struct scope *s, struct fn *parent);
/* The symbol of the top overlay, or NULL. */
struct symbol *chat_symbol_own(struct scope *s, const struct symbols *t, struct str name);
/* The same, made if it is not there: copied up from below, or new. NULL without memory. */
struct symbol *chat_symbol_edit(struct scope *s, struct symbols *t, struct str name);
/* The cell of a name as seen from `from`, in `t` or an enclosing frame. */
bool chat_symbol_ref(struct scope *s, const struct symbols *t, const struct fn *from,
                     struct str name, struct ref *out);
bool chat_symbol_param(struct scope *s, struct symbols *t, struct str name, struct ref *out);
bool chat_symbol_store(struct scope *s, struct symbols *t, struct str name);
bool chat_symbol_load(struct scope *s, struct symbols *t, struct str name);
/* Merges the overlays of the three branches of an if (body, elif, else) into `t`. */
bool chat_symbols_merge(struct scope *s, struct symbols *t, struct symbols *branches[3]);
bool chat_symbols_finish(struct scope *s, const struct symbols *t, struct frame *out);

/* ---- first pass ---- */

/* Enters into *t the names that a node loads and stores; inner frames are not entered. `as_param`:
 * a loop's or with's target. n may be NULL. */
bool chat_analyze(struct scope *s, struct symbols **t, const struct node *n, bool as_param);
bool chat_analyze_all(struct scope *s, struct symbols **t, struct nodes list, bool as_param);
/* Whether a body uses a special name (loop, caller ...) before it assigns it. */
bool chat_uses_name(struct scope *s, struct nodes body, const char *name);
/* Whether a node assigns the name anywhere inside. */
bool chat_assigns_name(struct scope *s, const struct node *n, const char *name);

#endif
