/* Filters that look at whole sequences: ends, joining, sorting, grouping, sums. */
#include <string.h>

#include "base/os.h"
#include "chat/vocabulary.h"

/* ---- ends and copies ---- */

static bool f_first(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct iter *it;
    bool more;
    (void)c;
    if (!chat_iter(r, v, &it) || !chat_next(r, it, out, &more)) {
        return false;
    }
    return more || chat_undefined_hint(r, "No first item, sequence was empty.", out);
}

/* The items of what Python can walk backwards. */
static bool reversible(struct render *r, struct val v, struct list **out)
{
    if (v.kind == VAL_UNDEFINED) { /* has __len__ but its items cannot be had */
        return (*out = chat_list_new(r, 0)) != NULL;
    }
    if (v.kind == VAL_ITER || v.kind == VAL_LOOP || !chat_is_iterable(v)) {
        return chat_fail(r, "'%s' object is not reversible", chat_type_name(v));
    }
    if (v.kind == VAL_LIST || v.kind == VAL_TUPLE) {
        *out = v.list;
        return chat_list_load(r, v.list);
    }
    return chat_to_list(r, v, out);
}

static bool f_last(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct list *l;
    (void)c;
    if (!reversible(r, v, &l)) {
        return false;
    }
    if (!l->count) {
        return chat_undefined_hint(r, "No last item, sequence was empty.", out);
    }
    *out = l->items[l->count - 1];
    return true;
}

static bool f_random(struct render *r, struct val v, struct call *c, struct val *out)
{
    int64_t n;
    uint64_t choice;
    (void)c;
    if (!chat_length(r, v, &n)) {
        return false;
    }
    if (n == 0) {
        return chat_undefined_hint(r, "No random item, sequence was empty.", out);
    }
    os_random(&choice, sizeof(choice));
    return chat_get_item(r, v, val_int((int64_t)(choice % (uint64_t)n)), out);
}

static bool f_reverse(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct list *l;
    (void)c;
    if (v.kind == VAL_TEXT) {
        struct val parts[3] = {val_none(), val_none(), val_int(-1)};
        return chat_get_slice(r, v, parts, out);
    }
    if (!chat_is_iterable(v)) {
        return chat_fail(r, "argument must be iterable");
    }
    if (v.kind == VAL_ITER) { /* cannot be walked backwards: a list is made */
        if (!chat_to_list(r, v, &l)) {
            return false;
        }
        for (size_t i = 0; i < l->count / 2; i++) {
            struct val swap = l->items[i];
            l->items[i] = l->items[l->count - 1 - i];
            l->items[l->count - 1 - i] = swap;
        }
        *out = val_list(l);
        return true;
    }
    if (!reversible(r, v, &l)) {
        return false;
    }
    struct iter *it = chat_iter_new(r, ITER_REVERSED, "list_reverseiterator");
    if (!it) {
        return false;
    }
    it->source = val_list(l);
    it->pos = (int64_t)l->count;
    *out = (struct val){.kind = VAL_ITER, .iter = it};
    return true;
}

static bool f_list(struct render *r, struct val v, struct call *c, struct val *out)
{
    (void)c;
    *out = (struct val){.kind = VAL_LIST};
    return chat_to_list(r, v, &out->list);
}

static bool f_items(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct iter *it = chat_iter_new(r, ITER_EMPTY, "generator");
    (void)c;
    if (!it) {
        return false;
    }
    *out = (struct val){.kind = VAL_ITER, .iter = it};
    if (v.kind == VAL_UNDEFINED) {
        return true;
    }
    it->kind = ITER_DICT;
    it->source = v;
    it->view = VIEW_ITEMS;
    return true;
}

/* ---- joining ---- */

/* The texts to join. Where autoescape is on and one of them is markup, all are escaped. */
static bool join_texts(struct render *r, struct list *l, struct val attribute, bool *markup)
{
    struct txt *t;
    for (size_t i = 0; i < l->count; i++) {
        struct val item = l->items[i];
        if (val_is_given(attribute) && !chat_attr_path(r, item, attribute, val_none(), &item)) {
            return false;
        }
        if (!chat_to_text(r, item, &t) || !chat_step(r, 1)) {
            return false;
        }
        l->items[i] = val_text(t);
        *markup |= r->autoescape && t->markup;
    }
    for (size_t i = 0; i < l->count && *markup; i++) {
        if (!chat_escape(r, l->items[i], &l->items[i])) {
            return false;
        }
    }
    return true;
}

static bool f_join(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct builder b = chat_builder(r);
    struct txt empty = {.ptr = ""}, *separator = &empty;
    struct list *l;
    struct val escaped;
    if ((!val_is_missing(c->args[0]) && !chat_to_text(r, c->args[0], &separator)) ||
        !chat_to_list(r, v, &l)) {
        return false;
    }
    bool markup = r->autoescape && separator->markup;
    if (!join_texts(r, l, c->args[1], &markup)) {
        return false;
    }
    if (markup) {
        if (!chat_escape(r, val_text(separator), &escaped)) {
            return false;
        }
        separator = escaped.text;
    }
    for (size_t i = 0; i < l->count; i++) {
        const struct txt *t = l->items[i].text;
        if ((i && !chat_build_text(&b, separator, 0, separator->len)) ||
            !chat_build_text(&b, t, 0, t->len)) {
            return false;
        }
    }
    if (!chat_build_done(&b, out)) {
        return false;
    }
    out->text->markup = markup;
    return true;
}

/* ---- sorting and grouping ---- */

/* Stable merge sort of `items` by `keys`, as list.sort: with reverse, equal items keep their order.
 * Fails as Python does where two keys have no order. */
bool chat_sort(struct render *r, struct list *items, struct list *keys, bool reverse)
{
    size_t n = items->count;
    struct val *k = keys->items, *v = items->items;
    struct val *k2 = chat_alloc(r, n, sizeof(*k2)), *v2 = chat_alloc(r, n, sizeof(*v2));
    if (!k2 || !v2) {
        return false;
    }
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t low = 0; low < n; low += 2 * width) {
            size_t mid = low + width < n ? low + width : n;
            size_t high = low + 2 * width < n ? low + 2 * width : n;
            size_t a = low, b = mid;
            for (size_t to = low; to < high; to++) {
                bool take_b = a >= mid;
                if (a < mid && b < high &&
                    !(reverse ? chat_compare(r, k[a], k[b], "<", &take_b)
                              : chat_compare(r, k[b], k[a], "<", &take_b))) {
                    return false;
                }
                size_t from = take_b ? b++ : a++;
                k2[to] = k[from];
                v2[to] = v[from];
            }
            if (!chat_step(r, high - low)) {
                return false;
            }
        }
        struct val *swap = k;
        k = k2;
        k2 = swap;
        swap = v;
        v = v2;
        v2 = swap;
    }
    items->items = v;
    keys->items = k;
    return true;
}

/* A key for sorting and grouping: the attribute, in lower case unless case matters. */
static bool sort_key(struct render *r, struct val item, struct val attribute, struct val fallback,
                     bool case_sensitive, struct val *out)
{
    if (!chat_attr_path(r, item, attribute, fallback, out)) {
        return false;
    }
    if (!case_sensitive && out->kind == VAL_TEXT) {
        return chat_text_case(r, out->text, CASE_LOWER, out);
    }
    return true;
}

static bool f_sort(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct list *items, *keys;
    bool reverse, sensitive;
    if (!chat_truth(r, c->args[0], &reverse) || !chat_truth(r, c->args[1], &sensitive) ||
        !chat_to_list(r, v, &items) || !(keys = chat_list_new(r, items->count))) {
        return false;
    }
    for (size_t i = 0; i < items->count; i++) { /* "a,b": one key after the other */
        struct val attribute = c->args[2], key;
        struct list *parts = chat_list_new(r, 1);
        struct str rest = attribute.kind == VAL_TEXT ? chat_str(attribute.text) : STR("");
        bool more = true;
        while (parts && more) {
            more = memchr(rest.ptr ? rest.ptr : "", ',', rest.len) != NULL;
            struct str name = str_cut(&rest, ',');
            if (attribute.kind == VAL_TEXT && !chat_text_view(r, name, true, &attribute)) {
                return false;
            }
            if (!sort_key(r, items->items[i], attribute, val_none(), sensitive, &key) ||
                !chat_list_add(r, parts, key)) {
                return false;
            }
        }
        if (!parts) {
            return false;
        }
        keys->items[keys->count++] = val_list(parts);
    }
    *out = val_list(items);
    return chat_sort(r, items, keys, reverse);
}

static bool f_dictsort(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct view view = {.dict = v.dict, .kind = VIEW_ITEMS};
    struct list *items, *keys;
    bool sensitive, reverse, by_value = false;
    if (!val_is_missing(c->args[1])) {
        struct str by = c->args[1].kind == VAL_TEXT ? chat_str(c->args[1].text) : STR("");
        by_value = str_eq(by, STR("value"));
        if (!by_value && !str_eq(by, STR("key"))) {
            return chat_fail(r, "You can only sort by either \"key\" or \"value\"");
        }
    }
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (v.kind != VAL_DICT) {
        return chat_fail(r, "'%s' object has no attribute 'items'", chat_type_name(v));
    }
    if (!chat_truth(r, c->args[0], &sensitive) || !chat_truth(r, c->args[2], &reverse) ||
        !chat_to_list(r, (struct val){.kind = VAL_VIEW, .view = &view}, &items) ||
        !(keys = chat_list_new(r, items->count))) {
        return false;
    }
    for (size_t i = 0; i < items->count; i++) {
        if (!sort_key(r, items->items[i].list->items[by_value], val_none(), val_none(), sensitive,
                      &keys->items[keys->count++])) {
            return false;
        }
    }
    *out = val_list(items);
    return chat_sort(r, items, keys, reverse);
}

static bool f_groupby(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct list *items, *keys, *groups = chat_list_new(r, 0), *group = NULL;
    struct val fallback = val_is_given(c->args[1]) ? c->args[1] : val_none(), key;
    bool sensitive;
    if (!groups || !chat_truth(r, c->args[2], &sensitive) || !chat_to_list(r, v, &items) ||
        !(keys = chat_list_new(r, items->count))) {
        return false;
    }
    for (size_t i = 0; i < items->count; i++) {
        if (!sort_key(r, items->items[i], c->args[0], fallback, sensitive,
                      &keys->items[keys->count++])) {
            return false;
        }
    }
    if (!chat_sort(r, items, keys, false)) {
        return false;
    }
    for (size_t i = 0; i < items->count; i++) {
        bool same = false;
        if (i && !chat_equal(r, keys->items[i - 1], keys->items[i], &same)) {
            return false;
        }
        if (!same) {
            struct list *tuple = chat_list_new(r, 2);
            group = chat_list_new(r, 0);
            if (!tuple || !group ||
                !chat_attr_path(r, items->items[i], c->args[0], fallback, &key) ||
                !chat_list_add(r, tuple, key) || !chat_list_add(r, tuple, val_list(group)) ||
                !chat_list_add(r, groups, val_tuple(tuple))) {
                return false;
            }
            tuple->group = true;
        }
        if (!chat_list_add(r, group, items->items[i])) {
            return false;
        }
    }
    *out = val_list(groups);
    return true;
}

/* ---- aggregates ---- */

static bool extreme(struct render *r, struct val v, struct call *c, const char *op, struct val *out)
{
    struct iter *it;
    struct val best = val_missing(), key;
    bool sensitive, better;
    if (!chat_truth(r, c->args[0], &sensitive) || !chat_iter(r, v, &it)) {
        return false;
    }
    for (;;) {
        struct val item, item_key;
        bool more;
        if (!chat_next(r, it, &item, &more) || !chat_step(r, 1)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (!sort_key(r, item, c->args[1], val_none(), sensitive, &item_key)) {
            return false;
        }
        if (val_is_missing(best)) {
            better = true;
        } else if (!chat_compare(r, item_key, key, op, &better)) {
            return false;
        }
        if (better) {
            best = item;
            key = item_key;
        }
    }
    *out = best;
    return !val_is_missing(best) ||
           chat_undefined_hint(r, "No aggregated item, sequence was empty.", out);
}

static bool f_min(struct render *r, struct val v, struct call *c, struct val *out)
{
    return extreme(r, v, c, "<", out);
}

static bool f_max(struct render *r, struct val v, struct call *c, struct val *out)
{
    return extreme(r, v, c, ">", out);
}

static bool f_sum(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct iter *it;
    struct val sum = val_is_missing(c->args[1]) ? val_int(0) : c->args[1];
    if (sum.kind == VAL_TEXT) {
        return chat_fail(r, "sum() can't sum strings [use ''.join(seq) instead]");
    }
    if (!chat_iter(r, v, &it)) {
        return false;
    }
    for (;;) {
        struct val item;
        bool more;
        if (!chat_next(r, it, &item, &more) || !chat_step(r, 1)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (!chat_attr_path(r, item, c->args[0], val_none(), &item) ||
            !chat_math(r, OP_ADD, sum, item, &sum)) {
            return false;
        }
    }
    *out = sum;
    return true;
}

const struct filter_def chat_filters_list[] = {
    {"dictsort", f_dictsort, "case_sensitive=,by=,reverse="},
    {"first", f_first, ""},
    {"groupby", f_groupby, "attribute,default=,case_sensitive="},
    {"items", f_items, ""},
    {"join", f_join, "d=,attribute="},
    {"last", f_last, ""},
    {"list", f_list, ""},
    {"max", f_max, "case_sensitive=,attribute="},
    {"min", f_min, "case_sensitive=,attribute="},
    {"random", f_random, ""},
    {"reverse", f_reverse, ""},
    {"sort", f_sort, "reverse=,case_sensitive=,attribute="},
    {"sum", f_sum, "attribute=,start="},
    {NULL, NULL, NULL},
};
