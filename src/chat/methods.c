/* How methods are found, and those of list, tuple, dict and the small helper objects. Those of str
 * are in methods_text.c and methods_split.c. */
#include <math.h>

#include "chat/vocabulary.h"

/* ---- list and tuple ---- */

static bool m_list_index(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct list *l = self.list;
    int64_t from = 0, to;
    if (self.kind == VAL_RANGE) {
        if (!chat_to_list(r, self, &l)) {
            return false;
        }
    } else if (!chat_list_load(r, l)) {
        return false;
    }
    int64_t count = (int64_t)l->count;
    to = count;
    if (!chat_arg_int_optional(r, c->args[1], &from) ||
        !chat_arg_int_optional(r, c->args[2], &to)) {
        return false;
    }
    from = from < 0 ? (from + count < 0 ? 0 : from + count) : from;
    to = to < 0 ? to + count : to > count ? count : to;
    for (int64_t i = from; i < to; i++) {
        bool same;
        if (!chat_step(r, 1) || !chat_equal(r, l->items[i], c->args[0], &same)) {
            return false;
        }
        if (same) {
            *out = val_int(i);
            return true;
        }
    }
    return chat_fail(r, "the value is not in the %s", chat_type_name(self));
}

static bool m_list_count(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct list *l;
    int64_t n = 0;
    if (!chat_to_list(r, self, &l)) {
        return false;
    }
    for (size_t i = 0; i < l->count; i++) {
        bool same;
        if (!chat_step(r, 1) || !chat_equal(r, l->items[i], c->args[0], &same)) {
            return false;
        }
        n += same;
    }
    *out = val_int(n);
    return true;
}

static bool m_list_copy(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)c;
    *out = (struct val){.kind = VAL_LIST};
    return chat_to_list(r, self, &out->list);
}

/* ---- dict ---- */

static bool m_get(struct render *r, struct val self, struct call *c, struct val *out)
{
    if (!chat_dict_get(r, self.dict, c->args[0], out)) {
        return false;
    }
    if (val_is_missing(*out)) {
        *out = val_is_missing(c->args[1]) ? val_none() : c->args[1];
    }
    return true;
}

static bool view_of(struct render *r, struct val self, enum view_kind kind, struct val *out)
{
    struct view *view = chat_alloc(r, 1, sizeof(*view));
    if (!view) {
        return false;
    }
    *view = (struct view){.dict = self.dict, .kind = kind};
    *out = (struct val){.kind = VAL_VIEW, .view = view};
    return true;
}

static bool m_keys(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)c;
    return view_of(r, self, VIEW_KEYS, out);
}

static bool m_values(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)c;
    return view_of(r, self, VIEW_VALUES, out);
}

static bool m_items(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)c;
    return view_of(r, self, VIEW_ITEMS, out);
}

static bool m_dict_copy(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct dict *from = self.dict, *d;
    (void)c;
    if (!chat_dict_load(r, from) || !(d = chat_dict_new(r, from->count))) {
        return false;
    }
    for (size_t i = 0; i < from->count; i++) {
        if (!chat_dict_set(r, d, from->entries[i].key, from->entries[i].value)) {
            return false;
        }
    }
    *out = val_dict(d);
    return true;
}

static bool m_fromkeys(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct list *l;
    struct dict *d;
    (void)self;
    if (!chat_to_list(r, c->args[0], &l) || !(d = chat_dict_new(r, l->count))) {
        return false;
    }
    for (size_t i = 0; i < l->count; i++) {
        if (!chat_dict_set(r, d, l->items[i],
                           val_is_missing(c->args[1]) ? val_none() : c->args[1])) {
            return false;
        }
    }
    *out = val_dict(d);
    return true;
}

/* ---- numbers, loop, cycler ---- */

static bool m_bit_length(struct render *r, struct val self, struct call *c, struct val *out)
{
    int64_t i = val_as_int(self), n = 0;
    (void)r;
    (void)c;
    for (uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i; u; u >>= 1) {
        n++;
    }
    *out = val_int(n);
    return true;
}

static bool m_is_integer(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)r;
    (void)c;
    *out = val_bool(isfinite(self.real) && self.real == floor(self.real));
    return true;
}

static bool m_cycle(struct render *r, struct val self, struct call *c, struct val *out)
{
    return chat_loop_method(r, self.loop, "cycle", c, out);
}

static bool m_changed(struct render *r, struct val self, struct call *c, struct val *out)
{
    return chat_loop_method(r, self.loop, "changed", c, out);
}

static bool m_next(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct cycler *y = self.cycler;
    (void)r;
    (void)c;
    *out = y->items[y->pos];
    y->pos = (y->pos + 1) % y->count;
    return true;
}

static bool m_reset(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)r;
    (void)c;
    self.cycler->pos = 0;
    *out = val_none();
    return true;
}

static bool m_self(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)r;
    (void)c;
    *out = self;
    return true;
}

static bool m_str(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)r;
    (void)c;
    *out = self;
    return true;
}

/* ---- tables ---- */

static const struct method_def list_methods[] = {
    {"copy", m_list_copy, ""},
    {"count", m_list_count, "/value"},
    {"index", m_list_index, "/value,start=,stop="},
    {NULL, NULL, NULL},
};

static const struct method_def tuple_methods[] = {
    {"count", m_list_count, "/value"},
    {"index", m_list_index, "/value,start=,stop="},
    {NULL, NULL, NULL},
};

static const struct method_def dict_methods[] = {
    {"copy", m_dict_copy, ""},
    {"fromkeys", m_fromkeys, "/iterable,value="},
    {"get", m_get, "/key,default="},
    {"items", m_items, ""},
    {"keys", m_keys, ""},
    {"values", m_values, ""},
    {NULL, NULL, NULL},
};

static const struct method_def int_methods[] = {
    {"bit_length", m_bit_length, ""}, {"conjugate", m_self, ""}, {NULL, NULL, NULL}};
static const struct method_def float_methods[] = {
    {"conjugate", m_self, ""}, {"is_integer", m_is_integer, ""}, {NULL, NULL, NULL}};
static const struct method_def loop_methods[] = {
    {"changed", m_changed, NULL}, {"cycle", m_cycle, NULL}, {NULL, NULL, NULL}};
static const struct method_def cycler_methods[] = {
    {"next", m_next, ""}, {"reset", m_reset, ""}, {NULL, NULL, NULL}};
static const struct method_def markup_methods[] = {
    {"striptags", chat_striptags, ""}, {"unescape", m_str, ""}, {NULL, NULL, NULL}};

/* What the sandbox forbids because it changes the object. Jinja2 before 3.1.5 let pop and clear of
 * a list pass. */
static const char *const list_unsafe[] = {"append", "clear",   "extend", "insert", "pop",
                                          "remove", "reverse", "sort",   NULL};
static const char *const dict_unsafe[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
static const char *const none[] = {NULL};

static const struct method_def *search(const struct method_def *table, struct str name)
{
    for (; table->name; table++) {
        if (str_eq(name, str_of(table->name))) {
            return table;
        }
    }
    return NULL;
}

const struct method_def *chat_method_find(struct val self, struct str name, bool *is_unsafe)
{
    const char *const *unsafe = none;
    const struct method_def *table = NULL, *hit = NULL;
    switch (self.kind) {
    case VAL_TEXT:
        if (self.text->markup) {
            hit = search(markup_methods, name);
        }
        hit = hit ? hit : search(chat_methods_split, name);
        table = chat_methods_text;
        break;
    case VAL_LIST:
        table = list_methods;
        unsafe = list_unsafe;
        break;
    case VAL_TUPLE:
    case VAL_RANGE:
        table = tuple_methods;
        break;
    case VAL_DICT:
        table = dict_methods;
        unsafe = dict_unsafe;
        break;
    case VAL_BOOL:
    case VAL_INT:
        table = int_methods;
        break;
    case VAL_FLOAT:
        table = float_methods;
        break;
    case VAL_LOOP:
        table = loop_methods;
        break;
    case VAL_CYCLER:
        table = cycler_methods;
        break;
    default:
        return NULL;
    }
    for (; *unsafe; unsafe++) {
        *is_unsafe |= str_eq(name, str_of(*unsafe));
    }
    return hit ? hit : search(table, name);
}
