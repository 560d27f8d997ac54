/* The built-in filters of Jinja2 3.1: how they are found and applied, and those that take any
 * value. The others are in filters_text.c, filters_number.c, filters_list.c and filters_lazy.c. */
#include "chat/vocabulary.h"

/* ---- any value ---- */

static bool f_default(struct render *r, struct val v, struct call *c, struct val *out)
{
    bool truth = true, boolean;
    if (!chat_truth(r, c->args[1], &boolean) || (boolean && !chat_truth(r, v, &truth))) {
        return false;
    }
    if (v.kind != VAL_UNDEFINED && truth) {
        *out = v;
    } else if (val_is_missing(c->args[0])) {
        return chat_text_view(r, STR(""), true, out);
    } else {
        *out = c->args[0];
    }
    return true;
}

static bool f_string(struct render *r, struct val v, struct call *c, struct val *out)
{
    (void)c;
    *out = (struct val){.kind = VAL_TEXT};
    return chat_to_text(r, v, &out->text);
}

static bool f_length(struct render *r, struct val v, struct call *c, struct val *out)
{
    (void)c;
    *out = val_int(0);
    return chat_length(r, v, &out->integer);
}

static bool f_attr(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *name;
    if (!chat_arg_text(r, c->args[0], "attribute name", &name)) {
        return false;
    }
    /* only attributes, never items */
    bool is_unsafe = false;
    if (v.kind == VAL_DICT && name->len && name->ptr[0] != '_' &&
        !chat_method_find(v, chat_str(name), &is_unsafe) && !is_unsafe) {
        return chat_undefined_attr(r, v, c->args[0], false, out);
    }
    return chat_get_attr(r, v, chat_str(name), out);
}

static bool f_tojson(struct render *r, struct val v, struct call *c, struct val *out)
{
    return chat_tojson(r, v, c, out);
}

static bool f_pprint(struct render *r, struct val v, struct call *c, struct val *out)
{
    (void)c;
    return chat_pprint(r, v, out);
}

static const struct filter_def filters_any[] = {
    {"attr", f_attr, "name"},
    {"count", f_length, ""},
    {"d", f_default, "default_value=,boolean="},
    {"default", f_default, "default_value=,boolean="},
    {"length", f_length, ""},
    {"pprint", f_pprint, ""},
    {"string", f_string, ""},
    {"tojson", f_tojson, "ensure_ascii=,indent=,separators=,sort_keys="},
    {NULL, NULL, NULL},
};

/* ---- finding and applying ---- */

const struct filter_def *chat_filter_find(struct str name)
{
    static const struct filter_def *const tables[] = {
        filters_any, chat_filters_text, chat_filters_number, chat_filters_list, chat_filters_lazy};
    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
        for (const struct filter_def *f = tables[i]; f->name; f++) {
            if (str_eq(name, str_of(f->name))) {
                return f;
            }
        }
    }
    return NULL;
}

bool chat_filter_apply(struct render *r, const struct filter_def *def, struct val value,
                       const struct call *call, struct val *out)
{
    struct call bound = *call;
    if (def->params && !chat_bind(r, def->name, def->params, call, &bound)) {
        return false;
    }
    return def->fn(r, value, &bound, out);
}
