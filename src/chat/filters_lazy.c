/* Filters that are generators in Jinja2 and lazy iterators here: they set up a `struct iter`, and
 * iter.c does the work item by item, when and only if someone draws. */
#include "chat/vocabulary.h"

static bool over(struct render *r, enum iter_kind kind, struct val v, struct val *out)
{
    struct iter *it = chat_iter_new(r, kind, "generator");
    if (!it) {
        return false;
    }
    it->source = v; /* looked at with the first item, as a generator does */
    *out = (struct val){.kind = VAL_ITER, .iter = it};
    return true;
}

static bool f_unique(struct render *r, struct val v, struct call *c, struct val *out)
{
    if (!over(r, ITER_UNIQUE, v, out) || !chat_truth(r, c->args[0], &out->iter->case_sensitive) ||
        !(out->iter->seen = chat_dict_new(r, 0))) {
        return false;
    }
    out->iter->attribute = c->args[1];
    return true;
}

static bool f_batch(struct render *r, struct val v, struct call *c, struct val *out)
{
    if (!over(r, ITER_BATCH, v, out) || !chat_arg_int(r, c->args[0], &out->iter->end)) {
        return false;
    }
    out->iter->fill = val_is_given(c->args[1]) ? c->args[1] : val_none();
    out->iter->call.args = chat_alloc(r, 1, sizeof(struct val));
    return out->iter->call.args != NULL;
}

static bool f_slice(struct render *r, struct val v, struct call *c, struct val *out)
{
    if (!over(r, ITER_SLICES, v, out) || !chat_arg_int(r, c->args[0], &out->iter->end)) {
        return false;
    }
    out->iter->fill = val_is_given(c->args[1]) ? c->args[1] : val_none();
    return true;
}

/* ---- map, select and their kin ---- */

static struct call rest_of(const struct call *c, size_t skip)
{
    struct call rest = *c;
    rest.args += skip;
    rest.count -= skip;
    return rest;
}

static bool empty_iter(struct render *r, struct val *out)
{
    *out = (struct val){.kind = VAL_ITER, .iter = chat_iter_new(r, ITER_EMPTY, "generator")};
    return out->iter != NULL;
}

static bool f_map(struct render *r, struct val v, struct call *c, struct val *out)
{
    char quoted[STR_QUOTE_MAX];
    bool truth, attribute = false;
    struct txt *name;
    if (!chat_truth(r, v, &truth)) {
        return false;
    }
    if (!truth) {
        return empty_iter(r, out);
    }
    if (!over(r, ITER_MAP, v, out)) {
        return false;
    }
    struct iter *it = out->iter;
    for (size_t i = 0; i < c->keyword_count && !c->count; i++) {
        attribute |= str_eq(c->keywords[i].name, STR("attribute"));
    }
    if (!attribute) {
        if (!c->count) {
            return chat_fail(r, "map requires a filter argument");
        }
        if (!chat_arg_text(r, c->args[0], "filter name", &name)) {
            return false;
        }
        it->filter_name = chat_str(name);
        it->filter = chat_filter_find(it->filter_name);
        it->call = rest_of(c, 1);
        return true;
    }
    it->has_attribute = true;
    for (size_t i = 0; i < c->keyword_count; i++) {
        if (str_eq(c->keywords[i].name, STR("attribute"))) {
            it->attribute = c->keywords[i].value;
        } else if (str_eq(c->keywords[i].name, STR("default"))) {
            it->fallback = c->keywords[i].value;
        } else {
            return chat_fail(r, "Unexpected keyword argument '%s'",
                             str_quote(quoted, c->keywords[i].name));
        }
    }
    return true;
}

static bool select_or_reject(struct render *r, struct val v, struct call *c, bool reject,
                             bool lookup, struct val *out)
{
    bool truth;
    struct txt *name;
    if (!chat_truth(r, v, &truth)) {
        return false;
    }
    if (!truth) {
        return empty_iter(r, out);
    }
    if (!over(r, ITER_SELECT, v, out)) {
        return false;
    }
    struct iter *it = out->iter;
    it->reject = reject;
    it->lookup = lookup;
    if (lookup) {
        if (!c->count) {
            return chat_fail(r, "Missing parameter for attribute name");
        }
        it->attribute = c->args[0];
    }
    if (c->count <= lookup) {
        return true;
    }
    if (!chat_arg_text(r, c->args[lookup], "test name", &name)) {
        return false;
    }
    it->filter_name = chat_str(name);
    it->test = chat_test_find(it->filter_name);
    it->call = rest_of(c, (size_t)1 + lookup);
    return true;
}

static bool f_select(struct render *r, struct val v, struct call *c, struct val *out)
{
    return select_or_reject(r, v, c, false, false, out);
}

static bool f_reject(struct render *r, struct val v, struct call *c, struct val *out)
{
    return select_or_reject(r, v, c, true, false, out);
}

static bool f_selectattr(struct render *r, struct val v, struct call *c, struct val *out)
{
    return select_or_reject(r, v, c, false, true, out);
}

static bool f_rejectattr(struct render *r, struct val v, struct call *c, struct val *out)
{
    return select_or_reject(r, v, c, true, true, out);
}

const struct filter_def chat_filters_lazy[] = {
    {"batch", f_batch, "linecount,fill_with="},
    {"map", f_map, NULL},
    {"reject", f_reject, NULL},
    {"rejectattr", f_rejectattr, NULL},
    {"select", f_select, NULL},
    {"selectattr", f_selectattr, NULL},
    {"slice", f_slice, "slices,fill_with="},
    {"unique", f_unique, "case_sensitive=,attribute="},
    {NULL, NULL, NULL},
};
