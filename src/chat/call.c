/* Calls: binding of arguments to parameters, and the global functions. */
#include <stdio.h>
#include <string.h>

#include "chat/interp.h"

enum { RANGE_MAX = 100000 }; /* of Jinja2's sandbox */

/* The index-th parameter of "a,b=,c=": its name and whether it may be left out. */
static bool param_at(const char *params, size_t index, struct str *name, bool *optional)
{
    struct str rest = str_of(params);
    for (size_t i = 0;; i++) {
        if (!rest.len) {
            return false;
        }
        *name = str_cut(&rest, ',');
        if (i == index) {
            break;
        }
    }
    *optional = name->len && name->ptr[name->len - 1] == '=';
    name->len -= *optional;
    return true;
}

bool chat_bind(struct render *r, const char *name, const char *params, const struct call *call,
               struct call *out)
{
    char quoted[STR_QUOTE_MAX];
    size_t count = 0;
    struct str param;
    bool optional;
    if (params[0] == '/') { /* positional only */
        params++;
        if (call->keyword_count) {
            return chat_fail(r, "%s() takes no keyword arguments", name);
        }
    }
    while (param_at(params, count, &param, &optional)) {
        count++;
    }
    *out = (struct call){.count = count, .args = chat_alloc(r, count, sizeof(struct val))};
    if (!out->args) {
        return false;
    }
    if (call->count > count) {
        return chat_fail(r, "%s() takes at most %zu argument%s (%zu given)", name, count,
                         count == 1 ? "" : "s", call->count);
    }
    for (size_t i = 0; i < call->count; i++) {
        out->args[i] = call->args[i];
    }
    for (size_t k = 0; k < call->keyword_count; k++) {
        size_t i = 0;
        while (param_at(params, i, &param, &optional) && !str_eq(param, call->keywords[k].name)) {
            i++;
        }
        str_quote(quoted, call->keywords[k].name);
        if (i == count) {
            return chat_fail(r, "%s() got an unexpected keyword argument '%s'", name, quoted);
        }
        if (!val_is_missing(out->args[i])) {
            return chat_fail(r, "%s() got multiple values for argument '%s'", name, quoted);
        }
        out->args[i] = call->keywords[k].value;
    }
    for (size_t i = 0; param_at(params, i, &param, &optional); i++) {
        if (!optional && val_is_missing(out->args[i])) {
            return chat_fail(r, "%s() missing required argument '%s'", name,
                             str_quote(quoted, param));
        }
    }
    return true;
}

bool chat_arg_int(struct render *r, struct val v, int64_t *out)
{
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (!val_is_int(v)) {
        return chat_fail(r, "'%s' object cannot be interpreted as an integer", chat_type_name(v));
    }
    *out = val_as_int(v);
    return true;
}

bool chat_arg_text(struct render *r, struct val v, const char *what, struct txt **out)
{
    if (v.kind != VAL_TEXT) {
        return chat_fail(r, "%s must be str, not %s", what, chat_type_name(v));
    }
    *out = v.text;
    return true;
}

/* ---- global functions ---- */

static bool no_keywords(struct render *r, const struct call *call, const char *name)
{
    return !call->keyword_count || chat_fail(r, "%s() takes no keyword arguments", name);
}

static bool fn_range(struct render *r, struct call *call, struct val *out)
{
    int64_t parts[3] = {0, 0, 1};
    if (!no_keywords(r, call, "range")) {
        return false;
    }
    if (!call->count || call->count > 3) {
        return chat_fail(r, "range expected %s, got %zu",
                         call->count ? "at most 3 arguments" : "at least 1 argument", call->count);
    }
    for (size_t i = 0; i < call->count; i++) {
        if (!chat_arg_int(r, call->args[i], &parts[call->count == 1 ? 1 : i])) {
            return false;
        }
    }
    if (parts[2] == 0) {
        return chat_fail(r, "range() arg 3 must not be zero");
    }
    struct range *range = chat_alloc(r, 1, sizeof(*range));
    if (!range) {
        return false;
    }
    *range = (struct range){parts[0], parts[1], parts[2]};
    if (chat_range_count(range) > RANGE_MAX) {
        return chat_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                         RANGE_MAX);
    }
    *out = (struct val){.kind = VAL_RANGE, .range = range};
    return true;
}

/* dict(mapping_or_pairs, **keywords), also behind namespace(). */
static bool build_dict(struct render *r, struct call *call, const char *name, struct dict **out)
{
    struct dict *d = chat_dict_new(r, call->keyword_count);
    struct val key;
    if (!d) {
        return false;
    }
    if (call->count > 1) {
        return chat_fail(r, "%s expected at most 1 argument, got %zu", name, call->count);
    }
    if (call->count && call->args[0].kind == VAL_DICT) {
        struct dict *from = call->args[0].dict;
        if (!chat_dict_load(r, from)) {
            return false;
        }
        for (size_t i = 0; i < from->count; i++) {
            if (!chat_dict_set(r, d, from->entries[i].key, from->entries[i].value)) {
                return false;
            }
        }
    } else if (call->count) {
        struct iter *it;
        bool more = true;
        if (!chat_iter(r, call->args[0], &it)) {
            return false;
        }
        for (;;) {
            struct val item;
            struct list *pair;
            if (!chat_next(r, it, &item, &more)) {
                return false;
            }
            if (!more) {
                break;
            }
            if (!chat_is_iterable(item)) {
                return chat_fail(r, "cannot convert dictionary update sequence element to a "
                                    "sequence");
            }
            if (!chat_to_list(r, item, &pair)) {
                return false;
            }
            if (pair->count != 2) {
                return chat_fail(r,
                                 "dictionary update sequence element has length %zu; 2 is "
                                 "required",
                                 pair->count);
            }
            if (!chat_dict_set(r, d, pair->items[0], pair->items[1])) {
                return false;
            }
        }
    }
    for (size_t i = 0; i < call->keyword_count; i++) {
        if (!chat_text_view(r, call->keywords[i].name, true, &key) ||
            !chat_dict_set(r, d, key, call->keywords[i].value)) {
            return false;
        }
    }
    *out = d;
    return true;
}

static bool fn_dict(struct render *r, struct call *call, struct val *out)
{
    *out = (struct val){.kind = VAL_DICT};
    return build_dict(r, call, "dict", &out->dict);
}

static bool fn_namespace(struct render *r, struct call *call, struct val *out)
{
    *out = (struct val){.kind = VAL_NAMESPACE};
    return build_dict(r, call, "dict", &out->dict);
}

static bool fn_cycler(struct render *r, struct call *call, struct val *out)
{
    struct cycler *c = chat_alloc(r, 1, sizeof(*c));
    if (!c || !no_keywords(r, call, "cycler")) {
        return false;
    }
    if (!call->count) {
        return chat_fail(r, "at least one item has to be provided");
    }
    *c = (struct cycler){.items = call->args, .count = call->count};
    *out = (struct val){.kind = VAL_CYCLER, .cycler = c};
    return true;
}

static bool fn_joiner(struct render *r, struct call *call, struct val *out)
{
    struct call bound;
    struct joiner *j = chat_alloc(r, 1, sizeof(*j));
    if (!j || !chat_bind(r, "joiner", "sep=", call, &bound)) {
        return false;
    }
    j->separator = bound.args[0];
    if (val_is_missing(j->separator) && !chat_text_view(r, STR(", "), false, &j->separator)) {
        return false;
    }
    *out = (struct val){.kind = VAL_JOINER, .joiner = j};
    return true;
}

static bool fn_lipsum(struct render *r, struct call *call, struct val *out)
{
    (void)call;
    (void)out;
    return chat_fail(r, "lipsum() is random text and not available");
}

/* The message reaches the client as it is, less control bytes that would play with a terminal. */
static bool fn_raise(struct render *r, struct call *call, struct val *out)
{
    struct call bound;
    struct txt *t;
    (void)out;
    if (!chat_bind(r, "raise_exception", "message", call, &bound) ||
        !chat_to_text(r, bound.args[0], &t)) {
        return false;
    }
    if (r->failed) {
        return false;
    }
    r->failed = true;
    struct err *err = r->err;
    err_set(err, ERR_TEMPLATE, "raised");
    if (!err) {
        return false;
    }
    size_t n = 0;
    for (size_t i = 0; i < t->len;) {
        uint32_t code;
        size_t len = chat_text_decode(chat_str(t), i, &code);
        bool plain =
            (code >= 0x20 && code != 0x7F && code < 0x110000) || code == '\n' || code == '\t';
        if (n + (plain ? len : 4) >= sizeof(err->text)) {
            break;
        }
        if (plain) {
            memcpy(err->text + n, t->ptr + i, len);
        } else {
            snprintf(err->text + n, 5, "\\x%02x", (unsigned)(unsigned char)t->ptr[i]);
        }
        n += plain ? len : 4;
        i += len;
    }
    err->text[n] = '\0';
    return false;
}

static bool fn_strftime_now(struct render *r, struct call *call, struct val *out)
{
    struct call bound;
    struct txt *format = NULL;
    return chat_bind(r, "strftime_now", "format", call, &bound) &&
           chat_arg_text(r, bound.args[0], "strftime() argument 1", &format) &&
           chat_strftime(r, chat_str(format), out);
}

static const struct func_def funcs[] = {
    {"range", fn_range},           {"dict", fn_dict},
    {"namespace", fn_namespace},   {"cycler", fn_cycler},
    {"joiner", fn_joiner},         {"lipsum", fn_lipsum},
    {"raise_exception", fn_raise}, {"strftime_now", fn_strftime_now},
};

const struct func_def *chat_func_find(struct str name)
{
    for (size_t i = 0; i < sizeof(funcs) / sizeof(*funcs); i++) {
        if (str_eq(name, str_of(funcs[i].name))) {
            return &funcs[i];
        }
    }
    return NULL;
}

bool chat_call(struct render *r, struct val callee, struct call *call, struct val *out)
{
    struct call bound;
    struct builder b = chat_builder(r);
    switch (callee.kind) {
    case VAL_UNDEFINED:
        return chat_fail_undefined(r, callee);
    case VAL_FUNC:
        return callee.func->fn(r, call, out);
    case VAL_METHOD: {
        const struct method_def *def = callee.method->def;
        if (!def->params) {
            return def->fn(r, callee.method->self, call, out);
        }
        return chat_bind(r, def->name, def->params, call, &bound) &&
               def->fn(r, callee.method->self, &bound, out);
    }
    case VAL_MACRO:
        return chat_macro_call(r, callee.macro, call, out);
    case VAL_LOOP:
        return chat_bind(r, "loop", "iterable", call, &bound) &&
               chat_loop_call(r, callee.loop, bound.args[0], out);
    case VAL_JOINER:
        if (!chat_bind(r, "joiner", "", call, &bound)) {
            return false;
        }
        if (callee.joiner->used) {
            *out = callee.joiner->separator;
            return true;
        }
        callee.joiner->used = true;
        return chat_text_view(r, STR(""), true, out);
    case VAL_BLOCK:
        return chat_bind(r, "block", "", call, &bound) &&
               chat_block_call(r, NULL, callee.block, &b) && chat_build_done(&b, out);
    default:
        return chat_fail(r, "'%s' object is not callable", chat_type_name(callee));
    }
}
