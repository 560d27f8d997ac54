/* Subscripts, slices and attributes, as the sandbox allows them: an attribute that starts with an
 * underscore, or that would change a list or a dict, is an undefined value that fails when used. */
#include <stdio.h>
#include <string.h>

#include "chat/interp.h"

/* ---- undefined ---- */

static struct undef *undef_new(struct render *r)
{
    return chat_alloc(r, 1, sizeof(struct undef));
}

struct val chat_undefined_name(struct render *r, struct str name)
{
    struct val v = {.kind = VAL_UNDEFINED};
    struct undef *u = undef_new(r);
    if (u && chat_text_view(r, name, true, &u->name)) {
        v.undef = u;
    }
    return v;
}

bool chat_undefined_hint(struct render *r, const char *hint, struct val *out)
{
    struct undef *u = undef_new(r);
    if (!u) {
        return false;
    }
    u->hint = str_of(hint);
    *out = (struct val){.kind = VAL_UNDEFINED, .undef = u};
    return true;
}

bool chat_undefined_attr(struct render *r, struct val obj, struct val name, bool security,
                         struct val *out)
{
    struct undef *u = undef_new(r);
    if (!u) {
        return false;
    }
    u->obj = obj;
    u->has_obj = true;
    u->name = name;
    u->security = security;
    *out = (struct val){.kind = VAL_UNDEFINED, .undef = u};
    return true;
}

/* "dict object", "None", "jinja2.utils.Namespace object" */
static const char *object_name(struct val v, char out[64])
{
    const char *module = "";
    switch (v.kind) {
    case VAL_NONE:
        return "None";
    case VAL_NAMESPACE:
    case VAL_CYCLER:
    case VAL_JOINER:
        module = "jinja2.utils.";
        break;
    case VAL_MACRO:
    case VAL_LOOP:
    case VAL_SELF:
    case VAL_BLOCK:
        module = "jinja2.runtime.";
        break;
    case VAL_TEXT:
        module = v.text->markup ? "markupsafe." : "";
        break;
    default:
        break;
    }
    snprintf(out, 64, "%s%s object", module, chat_type_name(v));
    return out;
}

bool chat_fail_undefined(struct render *r, struct val v)
{
    char name[STR_QUOTE_MAX], object[64];
    const struct undef *u = v.undef;
    if (!u) {
        return chat_fail(r, "a value is undefined");
    }
    if (u->hint.len) {
        return chat_fail(r, "%.*s", STR_ARG(u->hint));
    }
    if (u->security) {
        return chat_fail(r, "access to attribute '%s' of '%s' object is unsafe.",
                         str_quote(name, chat_str(u->name.text)), chat_type_name(u->obj));
    }
    if (!u->has_obj) {
        return chat_fail(r, "'%s' is undefined", str_quote(name, chat_str(u->name.text)));
    }
    if (u->name.kind == VAL_TEXT) {
        return chat_fail(r, "'%s' has no attribute '%s'", object_name(u->obj, object),
                         str_quote(name, chat_str(u->name.text)));
    }
    struct builder b = chat_builder(r);
    struct val text;
    if (!chat_repr(r, u->name, &b) || !chat_build_done(&b, &text)) {
        return false;
    }
    return chat_fail(r, "%s has no element %s", object_name(u->obj, object),
                     str_quote(name, chat_str(text.text)));
}

/* ---- subscripts ---- */

/* Whether an index, possibly negative, is inside; makes it positive. */
static bool index_in(int64_t *index, size_t count)
{
    if (*index < 0) {
        *index += (int64_t)count;
    }
    return *index >= 0 && (uint64_t)*index < count;
}

/* One item by position. *found false: out of range. */
static bool item_at(struct render *r, struct val obj, int64_t index, struct val *out, bool *found)
{
    switch (obj.kind) {
    case VAL_LIST:
    case VAL_TUPLE:
        if (!chat_list_load(r, obj.list)) {
            return false;
        }
        *found = index_in(&index, obj.list->count);
        if (*found) {
            *out = obj.list->items[index];
        }
        return true;
    case VAL_RANGE:
        *found = index_in(&index, chat_range_count(obj.range));
        if (*found) {
            *out = val_int(obj.range->start + index * obj.range->step);
        }
        return true;
    default: {
        struct txt *t = obj.text;
        *found = index_in(&index, chat_text_chars(t));
        if (!*found) {
            return true;
        }
        size_t from = chat_text_offset(t, (size_t)index);
        uint32_t code;
        size_t n = chat_text_decode(chat_str(t), from, &code);
        return (t->chars == t->len || chat_step(r, from / 16)) &&
               chat_text_slice(r, t, from, from + n, out);
    }
    }
}

/* obj[key] as Python sees it; *found false where Python raises TypeError or LookupError. */
static bool subscript(struct render *r, struct val obj, struct val key, struct val *out,
                      bool *found)
{
    *found = false;
    switch (obj.kind) {
    case VAL_DICT:
        if (key.kind == VAL_LIST || key.kind == VAL_DICT || key.kind == VAL_SLICE) {
            return true; /* TypeError: unhashable */
        }
        if (!chat_dict_get(r, obj.dict, key, out)) {
            return false;
        }
        *found = !val_is_missing(*out);
        return true;
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_RANGE:
    case VAL_TEXT:
        return !val_is_int(key) || item_at(r, obj, val_as_int(key), out, found);
    case VAL_SELF:
        if (key.kind != VAL_TEXT) {
            return true;
        }
        for (size_t i = 0; i < r->tree->block_count; i++) {
            if (str_eq(r->tree->blocks[i]->name, chat_str(key.text))) {
                *out = (struct val){.kind = VAL_BLOCK, .block = r->tree->blocks[i]};
                *found = true;
            }
        }
        return true;
    default:
        return true;
    }
}

bool chat_get_item(struct render *r, struct val obj, struct val key, struct val *out)
{
    bool found;
    if (obj.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, obj);
    }
    if (key.kind == VAL_SLICE) {
        return chat_get_slice(r, obj, key.slice, out);
    }
    if (!subscript(r, obj, key, out, &found)) {
        return false;
    }
    if (found) {
        return true;
    }
    if (key.kind == VAL_TEXT) {
        return chat_get_attr(r, obj, chat_str(key.text), out);
    }
    return chat_undefined_attr(r, obj, key, false, out);
}

/* ---- attributes that are no methods ---- */

/* A table of kinds and names as code. NOLINT(readability-function-size) */
static bool plain_attr(struct render *r, struct val obj, struct str name, struct val *out,
                       bool *found)
{
    *found = true;
    switch (obj.kind) {
    case VAL_NAMESPACE:
        if (!chat_dict_get_str(r, obj.dict, name, out)) {
            return false;
        }
        *found = !val_is_missing(*out);
        return true;
    case VAL_LOOP:
        if (!chat_loop_attr(r, obj.loop, name, out)) {
            return false;
        }
        *found = !val_is_missing(*out);
        return true;
    case VAL_RANGE:
        if (str_eq(name, STR("start"))) {
            *out = val_int(obj.range->start);
        } else if (str_eq(name, STR("stop"))) {
            *out = val_int(obj.range->stop);
        } else if (str_eq(name, STR("step"))) {
            *out = val_int(obj.range->step);
        } else {
            *found = false;
        }
        return true;
    case VAL_TUPLE:
        *found = obj.list->group && (str_eq(name, STR("grouper")) || str_eq(name, STR("list")));
        if (*found) {
            *out = obj.list->items[str_eq(name, STR("list"))];
        }
        return true;
    case VAL_BOOL:
    case VAL_INT:
        if (str_eq(name, STR("real")) || str_eq(name, STR("numerator"))) {
            *out = val_int(val_as_int(obj));
        } else if (str_eq(name, STR("imag"))) {
            *out = val_int(0);
        } else if (str_eq(name, STR("denominator"))) {
            *out = val_int(1);
        } else {
            *found = false;
        }
        return true;
    case VAL_FLOAT:
        if (str_eq(name, STR("real"))) {
            *out = obj;
        } else if (str_eq(name, STR("imag"))) {
            *out = val_float(0);
        } else {
            *found = false;
        }
        return true;
    case VAL_CYCLER:
        if (str_eq(name, STR("current"))) {
            *out = obj.cycler->items[obj.cycler->pos];
        } else if (str_eq(name, STR("pos"))) {
            *out = val_int((int64_t)obj.cycler->pos);
        } else {
            *found = false;
        }
        return true;
    case VAL_JOINER:
        if (str_eq(name, STR("sep"))) {
            *out = obj.joiner->separator;
        } else if (str_eq(name, STR("used"))) {
            *out = val_bool(obj.joiner->used);
        } else {
            *found = false;
        }
        return true;
    default:
        *found = false;
        return true;
    }
}

static bool macro_attr(struct render *r, const struct macro *m, struct str name, struct val *out,
                       bool *found)
{
    const struct macro_info *info = m->node->macro;
    *found = true;
    if (str_eq(name, STR("name"))) {
        if (m->name.len) {
            return chat_text_view(r, m->name, true, out);
        }
        *out = val_none();
        return true;
    }
    if (str_eq(name, STR("arguments"))) {
        struct list *l = chat_list_new(r, info->params.count);
        for (size_t i = 0; l && i < info->params.count; i++) {
            if (!chat_text_view(r, info->params.items[i]->name, true, &l->items[l->count++])) {
                return false;
            }
        }
        *out = val_tuple(l);
        return l != NULL;
    }
    if (str_eq(name, STR("catch_kwargs"))) {
        *out = val_bool(info->kwargs);
    } else if (str_eq(name, STR("catch_varargs"))) {
        *out = val_bool(info->varargs);
    } else if (str_eq(name, STR("caller"))) {
        *out = val_bool(info->caller);
    } else if (str_eq(name, STR("explicit_caller"))) {
        *out = val_bool(info->explicit_caller);
    } else {
        *found = false;
    }
    return true;
}

/* Dunder names that Python objects answer to, before NULL those of undefined values too: using them
 * is what the sandbox forbids. */
static const char *const dunders[] = {
    "__class__",   "__delattr__",  "__dir__",           "__doc__",          "__eq__",
    "__format__",  "__ge__",       "__getattribute__",  "__getstate__",     "__gt__",
    "__hash__",    "__init__",     "__init_subclass__", "__le__",           "__lt__",
    "__ne__",      "__new__",      "__reduce__",        "__reduce_ex__",    "__repr__",
    "__setattr__", "__sizeof__",   "__str__",           "__subclasshook__", "__len__",
    "__getitem__", "__iter__",     "__add__",           "__mul__",          "__call__",
    "__bool__",    "__mod__",      "__rmod__",          "__rmul__",         "__module__",
    NULL,          "__contains__", "__globals__",       "__code__",         "__self__",
    "__func__",    "__dict__",     "__name__",          "__mro__",          "__subclasses__",
    "__setitem__", "__delitem__",  "__getnewargs__",    "__html__"};

static bool is_object_dunder(struct val obj, struct str name)
{
    for (size_t i = 0; i < sizeof(dunders) / sizeof(*dunders); i++) {
        if (!dunders[i] && obj.kind == VAL_UNDEFINED) {
            return false;
        }
        if (dunders[i] && str_eq(name, str_of(dunders[i]))) {
            return true;
        }
    }
    return false;
}

bool chat_get_attr(struct render *r, struct val obj, struct str name, struct val *out)
{
    bool found = false, is_unsafe = false;
    struct val key;
    if (!chat_text_view(r, name, true, &key)) {
        return false;
    }
    if (name.len && name.ptr[0] == '_' && is_object_dunder(obj, name)) {
        return chat_undefined_attr(r, obj, key, true, out);
    }
    if (obj.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, obj);
    }
    if (obj.kind == VAL_MACRO ? !macro_attr(r, obj.macro, name, out, &found)
                              : !plain_attr(r, obj, name, out, &found)) {
        return false;
    }
    if (found) {
        if (name.len && name.ptr[0] == '_') {
            return chat_undefined_attr(r, obj, key, true, out);
        }
        return true;
    }
    const struct method_def *def = chat_method_find(obj, name, &is_unsafe);
    if (is_unsafe) {
        return chat_undefined_attr(r, obj, key, true, out);
    }
    if (def) {
        struct method *m = chat_alloc(r, 1, sizeof(*m));
        if (!m) {
            return false;
        }
        *m = (struct method){.self = obj, .def = def};
        *out = (struct val){.kind = VAL_METHOD, .method = m};
        return true;
    }
    if (obj.kind == VAL_DICT || obj.kind == VAL_SELF) {
        if (!subscript(r, obj, key, out, &found)) {
            return false;
        }
        if (found) {
            return true;
        }
    }
    return chat_undefined_attr(r, obj, key, false, out);
}

/* ---- slices ---- */

static bool slice_part(struct render *r, struct val v, bool *given, int64_t *out)
{
    *given = v.kind != VAL_NONE;
    if (!*given) {
        return true;
    }
    if (!val_is_int(v)) {
        return chat_fail(r, "slice indices must be integers or None or have an __index__ method");
    }
    *out = val_as_int(v);
    return true;
}

struct bounds {
    int64_t start, stop, step, items;
};

/* PySlice_AdjustIndices for a sequence of `count`. */
static bool slice_bounds(struct render *r, struct val *parts, int64_t count, struct bounds *b)
{
    bool has_start, has_stop, has_step;
    int64_t *start = &b->start, *step = &b->step, stop = 0;
    *step = 1;
    *start = 0;
    if (!slice_part(r, parts[0], &has_start, start) || !slice_part(r, parts[1], &has_stop, &stop) ||
        !slice_part(r, parts[2], &has_step, step)) {
        return false;
    }
    if (*step == 0) {
        return chat_fail(r, "slice step cannot be zero");
    }
    if (*step < -INT64_MAX) {
        *step = -INT64_MAX;
    }
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? count - 1 : count;
    if (!has_start) {
        *start = *step < 0 ? high : low;
    } else if (*start < 0) {
        *start = *start + count < low ? low : *start + count;
    } else if (*start > high) {
        *start = high;
    }
    if (!has_stop) {
        stop = *step < 0 ? low : high;
    } else if (stop < 0) {
        stop = stop + count < low ? low : stop + count;
    } else if (stop > high) {
        stop = high;
    }
    b->stop = stop;
    if (*step > 0) {
        b->items = *start < stop ? (stop - *start - 1) / *step + 1 : 0;
    } else {
        b->items = stop < *start ? (*start - stop - 1) / -*step + 1 : 0;
    }
    return true;
}

/* Every step-th character of a text that is not all ASCII. */
static bool slice_chars(struct render *r, struct txt *t, int64_t start, int64_t step, int64_t items,
                        struct val *out)
{
    size_t *offsets = chat_alloc(r, t->chars + 1, sizeof(*offsets));
    if (!offsets || !chat_step(r, t->chars)) {
        return false;
    }
    uint32_t code;
    size_t at = 0, n = 0;
    while (at < t->len) {
        offsets[n++] = at;
        at += chat_text_decode(chat_str(t), at, &code);
    }
    offsets[n] = t->len;
    struct builder b = chat_builder(r);
    for (int64_t i = 0, index = start; i < items; i++, index += i < items ? step : 0) {
        if (!chat_build_text(&b, t, offsets[index], offsets[index + 1])) {
            return false;
        }
    }
    return chat_build_done(&b, out);
}

static bool slice_text(struct render *r, struct txt *t, struct val *parts, struct val *out)
{
    struct bounds b;
    if (!slice_bounds(r, parts, (int64_t)chat_text_chars(t), &b) ||
        !chat_step(r, 1 + t->len / 64)) {
        return false;
    }
    if (b.items == 0) {
        return chat_text_slice(r, t, 0, 0, out);
    }
    if (b.step == 1) {
        return chat_text_slice(r, t, chat_text_offset(t, (size_t)b.start),
                               chat_text_offset(t, (size_t)(b.start + b.items)), out);
    }
    if (!slice_chars(r, t, b.start, b.step, b.items, out)) {
        return false;
    }
    out->text->markup = t->markup;
    return true;
}

bool chat_get_slice(struct render *r, struct val obj, struct val *parts, struct val *out)
{
    struct bounds b;
    switch (obj.kind) {
    case VAL_UNDEFINED:
        return chat_fail_undefined(r, obj);
    case VAL_TEXT:
        return slice_text(r, obj.text, parts, out);
    case VAL_LIST:
    case VAL_TUPLE: {
        if (!chat_list_load(r, obj.list) || !slice_bounds(r, parts, (int64_t)obj.list->count, &b) ||
            !chat_step(r, (uint64_t)b.items)) {
            return false;
        }
        struct list *l = chat_list_new(r, (size_t)b.items);
        if (!l) {
            return false;
        }
        for (int64_t i = 0, index = b.start; i < b.items; i++, index += i < b.items ? b.step : 0) {
            l->items[l->count++] = obj.list->items[index];
        }
        *out = obj.kind == VAL_LIST ? val_list(l) : val_tuple(l);
        return true;
    }
    case VAL_RANGE: {
        if (!slice_bounds(r, parts, (int64_t)chat_range_count(obj.range), &b)) {
            return false;
        }
        struct range *range = chat_alloc(r, 1, sizeof(*range));
        if (!range) {
            return false;
        }
        const struct range *of = obj.range;
        int64_t from, stop, inner; /* as Python: the items at the bounds, were there any */
        if (__builtin_mul_overflow(of->step, b.step, &inner) ||
            __builtin_mul_overflow(of->step, b.start, &from) ||
            __builtin_add_overflow(from, of->start, &from) ||
            __builtin_mul_overflow(of->step, b.stop, &stop) ||
            __builtin_add_overflow(stop, of->start, &stop)) {
            return chat_fail(r, "an integer beyond 64 bits");
        }
        *range = (struct range){.start = from, .stop = stop, .step = inner};
        *out = (struct val){.kind = VAL_RANGE, .range = range};
        return true;
    }
    case VAL_DICT:
        return chat_fail(r, "unhashable type: 'slice'");
    default:
        return chat_fail(r, "'%s' object is not subscriptable", chat_type_name(obj));
    }
}
