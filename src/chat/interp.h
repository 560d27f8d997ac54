/* The state of one rendering and what its parts (eval, filters, predicates, methods, globals) offer
 * each other. A rendering belongs to one thread and ends with everything in it freed. */
#ifndef CHAT_INTERP_H
#define CHAT_INTERP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "chat/ast.h"
#include "chat/template.h"
#include "chat/value.h"

struct activation { /* the variables of one call of a `struct func` */
    struct activation *parent;
    struct dict *context; /* of a scoped block, with the variables around it; else NULL */
    struct val cells[];
};

struct render {
    struct arena arena;
    struct txt_block *blocks; /* texts that grow */
    size_t block_bytes;
    size_t memory_max, output_max, depth_max;
    uint64_t steps, steps_max;
    size_t depth;
    size_t data_depth; /* nesting of repr, tojson, comparison */
    uint32_t line;
    bool failed;
    struct err *err;
    const struct tree *tree;
    struct dict *context;  /* what the caller gave */
    struct dict *exported; /* assignments at the top level, for blocks */
    const struct chat_render_opts *opts;
    bool autoescape;
    struct val block_text; /* what a filter block's filter works on */
};

/* What ends a statement list. */
enum flow { FLOW_ERROR, FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

struct macro {
    const struct node *node;
    struct activation *closure;
    struct str name; /* empty: a call block */
    bool autoescape;
};

struct loop {
    struct iter *iter;
    struct val iterable;
    struct val after, current, before; /* VAL_MISSING: none */
    int64_t index0, length, depth0;    /* length < 0: not known */
    struct list *changed;              /* what loop.changed() saw last; NULL at first */
    const struct node *node;           /* recursive loops; else NULL */
    struct activation *closure;
};

typedef bool chat_fn(struct render *r, struct call *call, struct val *out);

struct func_def {
    const char *name;
    chat_fn *fn;
};

struct method_def {
    const char *name;
    bool (*fn)(struct render *r, struct val self, struct call *call, struct val *out);
    const char *params; /* "a,b=" as in filter_def; NULL: the method looks itself */
};

/* `params` names the parameters after the value, comma separated; a trailing '=' marks one that may
 * be left out, a leading '/' forbids keywords. With it, call->args has exactly one entry per
 * parameter, VAL_MISSING where left out. */
struct filter_def {
    const char *name;
    bool (*fn)(struct render *r, struct val value, struct call *call, struct val *out);
    const char *params;
};

struct test_def {
    const char *name;
    bool (*fn)(struct render *r, struct val value, struct call *call, bool *out);
    const char *params;
};

/* ---- errors and bounds ---- */

/* Records "line N: message" once and returns false. */
bool chat_fail(struct render *r, const char *format, ...) ATTR_PRINTF(2, 3);
bool chat_fail_memory(struct render *r, uint64_t bytes);
/* Counts work; false when there was too much. */
bool chat_step(struct render *r, uint64_t count);
void *chat_alloc(struct render *r, size_t count, size_t size) ATTR_MUST_CHECK;
/* One level of nested data; pair with r->data_depth--. */
bool chat_data_enter(struct render *r);

/* ---- calls ---- */

const struct filter_def *chat_filter_find(struct str name);
const struct test_def *chat_test_find(struct str name);
const struct func_def *chat_func_find(struct str name);
const struct method_def *chat_method_find(struct val self, struct str name, bool *is_unsafe);

/* Puts keywords at their place and checks counts; gives a call that fits `params`. */
bool chat_bind(struct render *r, const char *name, const char *params, const struct call *call,
               struct call *out);
bool chat_filter_apply(struct render *r, const struct filter_def *def, struct val value,
                       const struct call *call, struct val *out);
bool chat_test_apply(struct render *r, const struct test_def *def, struct val value,
                     const struct call *call, bool *out);
bool chat_call(struct render *r, struct val callee, struct call *call, struct val *out);
bool chat_macro_call(struct render *r, const struct macro *macro, struct call *call,
                     struct val *out);
bool chat_loop_call(struct render *r, struct loop *loop, struct val iterable, struct val *out);
bool chat_run(struct render *r, struct builder *out); /* the whole template */
/* `outer`: where the block stands; NULL: called by name, it sees the context only. */
bool chat_block_call(struct render *r, struct activation *outer, const struct node *block,
                     struct builder *out);
bool chat_loop_attr(struct render *r, struct loop *loop, struct str name, struct val *out);
bool chat_loop_method(struct render *r, struct loop *loop, const char *name, struct call *call,
                      struct val *out);

/* Integer argument (index, width, count); fails as Python does for other types. */
bool chat_arg_int(struct render *r, struct val v, int64_t *out);
bool chat_arg_text(struct render *r, struct val v, const char *what, struct txt **out);

/* ---- iterators ---- */

enum iter_kind {
    ITER_LIST,
    ITER_REVERSED,
    ITER_TEXT,
    ITER_DICT,
    ITER_RANGE,
    ITER_EMPTY,
    ITER_MAP,
    ITER_SELECT,
    ITER_UNIQUE,
    ITER_BATCH,
    ITER_SLICES,
    ITER_FILTERED /* `for ... if` */
};

struct iter {
    enum iter_kind kind;
    const char *type_name; /* "generator", "list_reverseiterator" ... */
    bool started, done;
    struct val source; /* what it walks; lists that change are seen as Python sees them */
    struct iter *inner;
    int64_t pos, end;
    enum view_kind view;
    /* map, select, unique */
    struct call call;
    const struct filter_def *filter;
    const struct test_def *test;
    struct str filter_name;
    bool has_attribute, reject, lookup, case_sensitive;
    struct val attribute, fallback;
    struct dict *seen;
    struct val fill;
    /* for ... if */
    const struct node *node;
    struct activation *activation;
};

bool chat_iter(struct render *r, struct val v, struct iter **out); /* fails if not iterable */
bool chat_is_iterable(struct val v);
/* *more false: at the end. */
bool chat_next(struct render *r, struct iter *it, struct val *out, bool *more);
bool chat_to_list(struct render *r, struct val v, struct list **out);
struct iter *chat_iter_new(struct render *r, enum iter_kind kind, const char *type_name);
bool chat_loop_filter(struct render *r, struct iter *it, struct val item, bool *keep);
bool chat_attr_path(struct render *r, struct val item, struct val attribute, struct val fallback,
                    struct val *out);

/* ---- expressions shared by filters and methods ---- */

bool chat_math(struct render *r, enum node_op op, struct val a, struct val b, struct val *out);
bool chat_percent(struct render *r, const struct txt *format, struct val args, struct val *out);
bool chat_format(struct render *r, const struct txt *format, struct call *call, bool is_map,
                 struct val *out);
bool chat_tojson(struct render *r, struct val v, struct call *call, struct val *out);
bool chat_pprint(struct render *r, struct val v, struct val *out);
bool chat_strftime(struct render *r, struct str format, struct val *out);
bool chat_escape(struct render *r, struct val v, struct val *out);
bool chat_urlize(struct render *r, struct val v, struct call *call, struct val *out);
bool chat_wordwrap(struct render *r, struct val v, struct call *call, struct val *out);
bool chat_striptags(struct render *r, struct val v, struct call *call, struct val *out);
bool chat_sort(struct render *r, struct list *items, struct list *keys, bool reverse);
bool chat_int_parse(struct render *r, struct str s, int base, int64_t *out, bool *valid);
bool chat_float_parse(struct str s, double *out);

/* text methods that filters need as well */
enum case_kind {
    CASE_UPPER,
    CASE_LOWER,
    CASE_CAPITALIZE,
    CASE_TITLE,
    CASE_SWAP,
    CASE_JINJA_TITLE,
    CASE_FOLD
};
bool chat_text_case(struct render *r, const struct txt *t, enum case_kind kind, struct val *out);
bool chat_text_strip(struct render *r, const struct txt *t, struct val chars, bool left, bool right,
                     struct val *out);
bool chat_text_replace(struct render *r, const struct txt *t, const struct txt *from,
                       const struct txt *to, int64_t count, struct val *out);
bool chat_text_center(struct render *r, struct txt *t, int64_t width, const struct txt *fill,
                      int align, struct val *out);
bool chat_text_lines(struct render *r, const struct txt *t, bool keep_ends, struct list **out);
/* The last place of needle in s[from:to], SIZE_MAX: none. */
size_t chat_text_find_last(struct str s, struct str needle, size_t from, size_t to);
bool chat_text_is(const struct txt *t, bool (*each)(uint32_t code), bool empty);
bool chat_text_is_upper(const struct txt *t, bool upper);

#endif
