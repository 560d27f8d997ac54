/* The syntax tree of a template and what its names mean. Built once by the parser and resolved by
 * scope.c; read-only afterwards. All of it lives in the template's arena.
 *
 * Names follow Jinja2's compiler, which makes Python functions with local variables: the root, each
 * macro, each recursive loop, each loop filter and each block is a function (`struct func`) whose
 * variables are numbered cells; a name is a (hops to the enclosing function, cell) pair. A frame
 * (loop body, with, set block ...) lists what its variables start as each time it is entered. That
 * is why a name's value is taken from the context when its frame is entered and not when it is
 * read, and why `set` in a loop does not leak. */
#ifndef CHAT_AST_H
#define CHAT_AST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "chat/value.h"

enum node_kind {
    /* expressions */
    NODE_CONST,
    NODE_NAME,
    NODE_TUPLE,
    NODE_LIST,
    NODE_DICT, /* items: key, value, key, value ... */
    NODE_COND, /* a if b else c; c may be NULL */
    NODE_OR,   /* items */
    NODE_AND,  /* items */
    NODE_NOT,
    NODE_COMPARE, /* a, then ops[i] items[i] */
    NODE_MATH,    /* a, then ops[i] items[i], left to right */
    NODE_CONCAT,  /* items */
    NODE_NEG,
    NODE_POS,
    NODE_ATTR,   /* a . name */
    NODE_ITEM,   /* a [ b ] */
    NODE_SLICE,  /* a : b : c, each may be NULL */
    NODE_CALL,   /* a ( args ) */
    NODE_FILTER, /* a | name ( args ); a NULL: the text of the block */
    NODE_TEST,   /* a is name args */
    NODE_NSREF,  /* target name.attr of a set */
    /* statements */
    NODE_DATA,   /* template text */
    NODE_OUTPUT, /* items are printed */
    NODE_FOR,
    NODE_IF, /* a, body, other: the else body, or one NODE_IF of an elif */
    NODE_SET,
    NODE_SET_BLOCK,
    NODE_WITH,
    NODE_MACRO,
    NODE_CALL_BLOCK,
    NODE_FILTER_BLOCK,
    NODE_AUTOESCAPE,
    NODE_BLOCK,
    NODE_IMPORT, /* include, import, from, extends: there is no loader */
    NODE_BREAK,
    NODE_CONTINUE
};

enum node_op {
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW
};

struct ref {
    uint32_t hops; /* 0: this function's own cell */
    uint32_t cell;
};

/* What a cell starts as when its frame is entered. */
enum load_kind { LOAD_PARAM, LOAD_RESOLVE, LOAD_ALIAS, LOAD_UNDEFINED };

struct load {
    uint32_t cell;
    enum load_kind kind;
    struct str name;  /* RESOLVE: from the context */
    struct ref alias; /* ALIAS */
};

struct frame {
    struct load *loads;
    size_t load_count;
    bool top; /* assignments are visible to blocks */
};

struct func {
    uint32_t cell_count;
    bool is_root;
};

struct nodes {
    struct node **items;
    size_t count;
};

struct arg {
    struct str name;
    struct node *value;
};

struct signature { /* of a call, filter or test */
    struct nodes args;
    struct arg *keywords;
    size_t keyword_count;
    struct node *star, *star_star; /* *args, **kwargs; NULL */
};

struct macro_info {
    struct nodes params, defaults;
    struct func *func;
    struct frame frame;
    bool caller, kwargs, varargs; /* special names the body uses */
    bool explicit_caller;
    struct ref caller_ref, kwargs_ref, varargs_ref;
};

struct for_info {
    struct node *target, *iter, *test;
    struct nodes body, other;
    bool recursive, extended;
    struct func *func, *test_func; /* of a recursive loop; of the filter */
    struct ref loop_ref;
    struct frame frame, test_frame, other_frame;
    struct node *test_target; /* the target with the cells of test_func */
};

struct node {
    enum node_kind kind;
    uint32_t line;
    uint32_t depth; /* of this tree, for the stack bound */
    bool negated;   /* `is not`; a block: scoped */
    bool constant;  /* depends on nothing, so that Jinja2 folds it */
    /* FILTER, TEST: unknown ones fail only when reached. ITEM: part of what Jinja2 folds, where a
     * slice of what has none is undefined instead of an error. */
    bool soft;
    bool is_elif;
    bool store; /* NAME as a target */
    bool param; /* ... of a macro or with */
    bool top;   /* target of a set at the top level */
    struct str name;
    struct ref ref;
    struct node *a, *b, *c; /* BLOCK: a is a tuple of the names a scoped one sees */
    struct nodes items;     /* also body of blocks */
    unsigned char *ops;     /* enum node_op */
    struct val value;
    union {
        struct signature *sig;
        struct for_info *loop;
        struct macro_info *macro;
        struct {
            struct nodes other; /* else branch of IF */
        };
        struct frame *frame; /* SET_BLOCK, WITH, FILTER_BLOCK, AUTOESCAPE, BLOCK */
        const void *def;
    };
    const void *callee; /* the filter's or test's row */
    struct func *func;  /* BLOCK */
};

struct tree {
    struct arena arena;
    struct nodes body;
    struct func *root;
    struct frame frame;
    struct ref self_ref;
    bool uses_self;
    struct node **blocks;
    size_t block_count, block_cap;
    size_t depth_max;
};

/* The elif of an `if`, or NULL. */
static inline struct node *chat_elif(const struct node *n)
{
    bool is =
        n->other.count == 1 && n->other.items[0]->kind == NODE_IF && n->other.items[0]->is_elif;
    return is ? n->other.items[0] : NULL;
}

/* Parses into tree->arena (already initialised). ERR_TEMPLATE with the line. */
bool chat_parse(struct tree *tree, struct str source, struct err *err);

/* Numbers the cells and checks what Jinja2's compiler checks. */
bool chat_scope(struct tree *tree, struct err *err);

#endif
