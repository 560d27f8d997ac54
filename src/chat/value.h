/* Values of the template language, with Python's semantics: text by code point, 64-bit integers
 * (Python's are unbounded; here a result beyond 64 bits is an error), doubles, lists, tuples,
 * ordered dictionaries, lazy iterators. Everything lives in the memory of one rendering (`struct
 * render`) and is never freed one by one; nothing here is shared by threads.
 *
 * A text knows for each byte whether it comes from the template's own source (trusted) or from the
 * context: `mask` is a parallel array of 0/1 bytes, or NULL when all bytes are `trusted` alike.
 * Every operation carries the mask along; text that is computed (numbers, repr, tojson) is not
 * trusted.
 *
 * Functions return false after chat_fail has recorded the error in the render state. */
#ifndef CHAT_VALUE_H
#define CHAT_VALUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/err.h"
#include "base/str.h"

struct render;

enum val_kind {
    VAL_MISSING, /* a variable not set yet, an argument not given; never seen by templates */
    VAL_UNDEFINED,
    VAL_NONE,
    VAL_BOOL,
    VAL_INT,
    VAL_FLOAT,
    VAL_TEXT,
    VAL_LIST,
    VAL_TUPLE,
    VAL_DICT,
    VAL_RANGE,
    VAL_ITER,
    VAL_VIEW, /* dict.keys(), .values(), .items() */
    VAL_NAMESPACE,
    VAL_MACRO,
    VAL_LOOP,
    VAL_FUNC,   /* a global function */
    VAL_METHOD, /* bound to its object */
    VAL_CYCLER,
    VAL_JOINER,
    VAL_SELF,  /* `self` in templates with blocks */
    VAL_BLOCK, /* self.name */
    VAL_SLICE  /* a:b:c inside a subscript */
};

struct val {
    enum val_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        struct txt *text;
        struct list *list; /* LIST and TUPLE */
        struct dict *dict; /* DICT and NAMESPACE */
        struct range *range;
        struct iter *iter;
        struct view *view;
        struct undef *undef; /* may be NULL */
        struct macro *macro;
        struct loop *loop;
        const struct func_def *func;
        struct method *method;
        struct cycler *cycler;
        struct joiner *joiner;
        const struct node *block;
        struct val *slice; /* start, stop, step; VAL_NONE where left out */
    };
};

struct txt {
    const char *ptr;
    const unsigned char *mask; /* 1 per trusted byte; NULL: all as `trusted` says */
    size_t len;
    size_t chars;           /* code points; SIZE_MAX: not counted yet */
    struct txt_block *tail; /* set when this text ends at the used end of a growing block */
    bool trusted;
    bool markup; /* Jinja's Markup */
};

struct list {
    struct val *items;
    size_t count, cap;
    const json_t *json; /* not NULL: items are not converted yet */
    bool group;         /* a tuple of groupby: .grouper and .list */
};

struct dict_entry {
    struct val key, value;
    uint64_t hash;
};

struct dict {
    struct dict_entry *entries; /* in order of insertion */
    size_t count, cap;
    uint32_t *index; /* open addressing over entry number + 1; NULL for small ones */
    size_t index_cap;
    const json_t *json;  /* not NULL: entries are not converted yet */
    struct str verbatim; /* its JSON as it was written; empty: not known, or no longer so */
};

struct range {
    int64_t start, stop, step;
};

enum view_kind { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };

struct view {
    struct dict *dict;
    enum view_kind kind;
};

struct undef {
    struct str hint; /* whole message, or empty: made from obj and name */
    bool has_obj;
    struct val obj;
    struct val name;
    bool security; /* access to an unsafe attribute */
};

struct method {
    struct val self;
    const struct method_def *def;
};

struct cycler {
    struct val *items;
    size_t count, pos;
};

struct joiner {
    struct val separator;
    bool used;
};

/* What a filter, test, method or function is called with. */
struct keyword {
    struct str name;
    struct val value;
};

struct call {
    struct val *args;
    size_t count;
    struct keyword *keywords;
    size_t keyword_count;
};

/* ---- constructors ---- */

static inline struct val val_none(void)
{
    return (struct val){.kind = VAL_NONE};
}

static inline struct val val_bool(bool b)
{
    return (struct val){.kind = VAL_BOOL, .boolean = b};
}

static inline struct val val_int(int64_t i)
{
    return (struct val){.kind = VAL_INT, .integer = i};
}

static inline struct val val_float(double f)
{
    return (struct val){.kind = VAL_FLOAT, .real = f};
}

static inline struct val val_text(struct txt *t)
{
    return (struct val){.kind = VAL_TEXT, .text = t};
}

static inline struct val val_list(struct list *l)
{
    return (struct val){.kind = VAL_LIST, .list = l};
}

static inline struct val val_tuple(struct list *l)
{
    return (struct val){.kind = VAL_TUPLE, .list = l};
}

static inline struct val val_dict(struct dict *d)
{
    return (struct val){.kind = VAL_DICT, .dict = d};
}

static inline struct val val_missing(void)
{
    return (struct val){.kind = VAL_MISSING};
}

static inline bool val_is_missing(struct val v)
{
    return v.kind == VAL_MISSING;
}

static inline bool val_is_text(struct val v)
{
    return v.kind == VAL_TEXT;
}

/* Python's bool is an int. */
static inline bool val_is_int(struct val v)
{
    return v.kind == VAL_INT || v.kind == VAL_BOOL;
}

static inline int64_t val_as_int(struct val v)
{
    return v.kind == VAL_BOOL ? (int64_t)v.boolean : v.integer;
}

static inline bool val_is_number(struct val v)
{
    return val_is_int(v) || v.kind == VAL_FLOAT;
}

static inline double val_as_float(struct val v)
{
    return v.kind == VAL_FLOAT ? v.real : (double)val_as_int(v);
}

/* An optional argument that was passed and is not None. */
static inline bool val_is_given(struct val v)
{
    return v.kind != VAL_MISSING && v.kind != VAL_NONE;
}

/* ---- text ---- */

/* Borrows bytes that live as long as the rendering. */
bool chat_text_view(struct render *r, struct str s, bool trusted, struct val *out);
/* Copies. */
bool chat_text_copy(struct render *r, struct str s, bool trusted, struct val *out);
/* Bytes [from, to) of t, sharing them. */
bool chat_text_slice(struct render *r, const struct txt *t, size_t from, size_t to,
                     struct val *out);
bool chat_text_concat(struct render *r, const struct txt *a, const struct txt *b, struct val *out);
size_t chat_text_chars(struct txt *t);
/* Byte offset of code point `index` (<= chars). */
size_t chat_text_offset(struct txt *t, size_t index);
/* Decodes at `at`; invalid bytes give a code above 0x10FFFF and length 1. */
size_t chat_text_decode(struct str s, size_t at, uint32_t *code);

static inline struct str chat_str(const struct txt *t)
{
    return (struct str){.ptr = t->ptr, .len = t->len};
}

/* A text that grows; its memory is counted and freed with the rendering. */
struct builder {
    struct render *r;
    struct txt_block *block;
    size_t len;
    bool trusted; /* of all bytes so far, when block->mask is NULL */
    bool masked;
};

struct txt_block {
    struct txt_block *prev, *next; /* all blocks of a rendering */
    size_t used, cap;
    char *bytes;
    unsigned char *mask; /* NULL: all bytes alike */
};

struct builder chat_builder(struct render *r);
bool chat_build(struct builder *b, struct str s, bool trusted);
bool chat_build_text(struct builder *b, const struct txt *t, size_t from, size_t to);
bool chat_build_fill(struct builder *b, const struct txt *t, uint64_t times);
bool chat_build_char(struct builder *b, uint32_t code, bool trusted);
static inline bool chat_build_literal(struct builder *b, const char *literal)
{
    return chat_build(b, str_of(literal), false);
}
bool chat_build_format(struct builder *b, const char *format, ...) ATTR_PRINTF(2, 3);
bool chat_build_done(struct builder *b, struct val *out);
/* Fails unless `bytes` more could be stored; call before work that grows with `bytes`. */
bool chat_room(struct render *r, uint64_t bytes);

/* ---- lists and dictionaries ---- */

struct list *chat_list_new(struct render *r, size_t cap);
bool chat_list_add(struct render *r, struct list *l, struct val v);
bool chat_list_load(struct render *r, struct list *l); /* converts from JSON if needed */
struct dict *chat_dict_new(struct render *r, size_t cap);
bool chat_dict_load(struct render *r, struct dict *d);
bool chat_dict_set(struct render *r, struct dict *d, struct val key, struct val value);
/* *out is VAL_MISSING when absent; fails for a key that cannot be hashed. */
bool chat_dict_get(struct render *r, struct dict *d, struct val key, struct val *out);
bool chat_dict_get_str(struct render *r, struct dict *d, struct str key, struct val *out);
bool chat_hash(struct render *r, struct val v, uint64_t *out);
bool chat_from_json(struct render *r, const json_t *json, struct val *out);

/* ---- operations ---- */

const char *chat_type_name(struct val v);
bool chat_truth(struct render *r, struct val v, bool *out);
bool chat_equal(struct render *r, struct val a, struct val b, bool *out);
/* -1, 0, 1; fails with Python's TypeError text for `op` when the types have no order. */
bool chat_order(struct render *r, struct val a, struct val b, const char *op, int *out);
/* The truth of a < b (or <=, >, >=); unlike chat_order right for NaN. */
bool chat_compare(struct render *r, struct val a, struct val b, const char *op, bool *out);
bool chat_contains(struct render *r, struct val needle, struct val haystack, bool *out);
bool chat_same(struct val a, struct val b);                     /* Python's `is` */
bool chat_length(struct render *r, struct val v, int64_t *out); /* len(); fails without one */
bool chat_has_length(struct val v);
size_t chat_range_count(const struct range *range);

/* str(v): a text stays what it is. */
bool chat_to_text(struct render *r, struct val v, struct txt **out);
bool chat_repr(struct render *r, struct val v, struct builder *b);
bool chat_build_repr(struct builder *b, struct str s);
bool chat_ascii_repr(struct render *r, struct val v, struct txt **out);
void chat_float_repr(double value, char out[40]);

struct val chat_undefined_name(struct render *r, struct str name);
bool chat_undefined_hint(struct render *r, const char *hint, struct val *out);
bool chat_undefined_attr(struct render *r, struct val obj, struct val name, bool security,
                         struct val *out);
bool chat_fail_undefined(struct render *r, struct val v);

/* Index of an int-like value for sequences; clamps nothing. */
bool chat_get_item(struct render *r, struct val obj, struct val key, struct val *out);
bool chat_get_attr(struct render *r, struct val obj, struct str name, struct val *out);
bool chat_get_slice(struct render *r, struct val obj, struct val *parts, struct val *out);

#endif
