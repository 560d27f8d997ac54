/* Iteration: what `for`, filters and unpacking walk. Filters that are generators in Jinja2 are lazy
 * here too: an error in the third item is not met by who takes the first. */
#include <string.h>

#include "chat/interp.h"

struct iter *chat_iter_new(struct render *r, enum iter_kind kind, const char *type_name)
{
    struct iter *it = chat_alloc(r, 1, sizeof(*it));
    if (it) {
        it->kind = kind;
        it->type_name = type_name;
        it->attribute = it->fallback = it->fill = val_none();
    }
    return it;
}

bool chat_is_iterable(struct val v)
{
    switch (v.kind) {
    case VAL_UNDEFINED:
    case VAL_TEXT:
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_DICT:
    case VAL_RANGE:
    case VAL_ITER:
    case VAL_VIEW:
    case VAL_LOOP:
        return true;
    default:
        return false;
    }
}

bool chat_iter(struct render *r, struct val v, struct iter **out)
{
    struct iter *it;
    if (v.kind == VAL_ITER) {
        *out = v.iter;
        return true;
    }
    if (!chat_is_iterable(v)) {
        return chat_fail(r, "'%s' object is not iterable", chat_type_name(v));
    }
    it = chat_iter_new(r, ITER_EMPTY, "generator");
    if (!it) {
        return false;
    }
    it->source = v;
    switch (v.kind) {
    case VAL_TEXT:
        it->kind = ITER_TEXT;
        it->type_name = "str_iterator";
        break;
    case VAL_LIST:
    case VAL_TUPLE:
        it->kind = ITER_LIST;
        it->type_name = v.kind == VAL_LIST ? "list_iterator" : "tuple_iterator";
        if (!chat_list_load(r, v.list)) {
            return false;
        }
        break;
    case VAL_DICT:
    case VAL_VIEW:
        it->kind = ITER_DICT;
        it->type_name = "dict_keyiterator";
        it->view = v.kind == VAL_VIEW ? v.view->kind : VIEW_KEYS;
        it->source = val_dict(v.kind == VAL_VIEW ? v.view->dict : v.dict);
        if (!chat_dict_load(r, it->source.dict)) {
            return false;
        }
        break;
    case VAL_RANGE:
        it->kind = ITER_RANGE;
        it->type_name = "range_iterator";
        it->end = (int64_t)chat_range_count(v.range);
        break;
    case VAL_LOOP: /* walks on with the loop's own items */
        return chat_fail(r, "'LoopContext' object cannot be iterated here");
    default:
        break;
    }
    *out = it;
    return true;
}

static bool next_dict(struct render *r, struct iter *it, struct val *out, bool *more)
{
    struct dict *d = it->source.dict;
    if (it->source.kind != VAL_DICT) {
        return chat_fail(r, "Can only get item pairs from a mapping.");
    }
    if (!chat_dict_load(r, d)) {
        return false;
    }
    *more = (size_t)it->pos < d->count;
    if (!*more) {
        return true;
    }
    struct dict_entry *e = &d->entries[it->pos++];
    if (it->view != VIEW_ITEMS) {
        *out = it->view == VIEW_KEYS ? e->key : e->value;
        return true;
    }
    struct list *pair = chat_list_new(r, 2);
    if (!pair) {
        return false;
    }
    pair->items[0] = e->key;
    pair->items[1] = e->value;
    pair->count = 2;
    *out = val_tuple(pair);
    return true;
}

static bool next_text(struct render *r, struct iter *it, struct val *out, bool *more)
{
    struct txt *t = it->source.text;
    size_t at = (size_t)it->pos;
    *more = at < t->len;
    if (!*more) {
        return true;
    }
    uint32_t code;
    size_t n = chat_text_decode(chat_str(t), at, &code);
    it->pos += (int64_t)n;
    if (!chat_text_slice(r, t, at, at + n, out)) {
        return false;
    }
    out->text->markup = false; /* iterating markup gives plain characters */
    return true;
}

/* getattr along a path as the filters do: "a.b.0"; `fallback` not none replaces what is undefined.
 */
bool chat_attr_path(struct render *r, struct val item, struct val attribute, struct val fallback,
                    struct val *out)
{
    *out = item;
    if (attribute.kind == VAL_NONE || attribute.kind == VAL_MISSING) {
        return true;
    }
    if (attribute.kind != VAL_TEXT) {
        if (!chat_get_item(r, item, attribute, out)) {
            return false;
        }
        if (out->kind == VAL_UNDEFINED && fallback.kind != VAL_NONE) {
            *out = fallback;
        }
        return true;
    }
    struct str rest = chat_str(attribute.text);
    for (bool more = true; more;) {
        size_t dot = str_find(rest, STR("."), 0);
        struct str part = str_slice(rest, 0, dot);
        struct val key;
        int64_t number;
        more = dot != SIZE_MAX;
        rest = more ? str_slice(rest, dot + 1, rest.len) : rest;
        bool digits = part.len > 0;
        for (size_t i = 0; i < part.len; i++) {
            digits &= part.ptr[i] >= '0' && part.ptr[i] <= '9';
        }
        if (digits && str_to_i64(part, &number)) {
            key = val_int(number);
        } else if (!chat_text_view(r, part, true, &key)) {
            return false;
        }
        if (!chat_get_item(r, *out, key, out)) {
            return false;
        }
        if (out->kind == VAL_UNDEFINED && fallback.kind != VAL_NONE) {
            *out = fallback;
        }
    }
    return true;
}

static bool map_one(struct render *r, struct iter *it, struct val item, struct val *out)
{
    char quoted[STR_QUOTE_MAX];
    if (it->has_attribute) {
        return chat_attr_path(r, item, it->attribute, it->fallback, out);
    }
    if (!it->filter) {
        return chat_fail(r, "No filter named '%s'.", str_quote(quoted, it->filter_name));
    }
    return chat_filter_apply(r, it->filter, item, &it->call, out);
}

static bool select_one(struct render *r, struct iter *it, struct val item, bool *keep)
{
    char quoted[STR_QUOTE_MAX];
    struct val v = item;
    if (it->lookup && !chat_attr_path(r, item, it->attribute, val_none(), &v)) {
        return false;
    }
    if (!it->test && it->filter_name.len) {
        return chat_fail(r, "No test named '%s'.", str_quote(quoted, it->filter_name));
    }
    if (it->test ? !chat_test_apply(r, it->test, v, &it->call, keep) : !chat_truth(r, v, keep)) {
        return false;
    }
    *keep = *keep != it->reject;
    return true;
}

static bool unique_one(struct render *r, struct iter *it, struct val item, bool *keep)
{
    struct val key, seen;
    if (!chat_attr_path(r, item, it->attribute, val_none(), &key)) {
        return false;
    }
    if (!it->case_sensitive && key.kind == VAL_TEXT &&
        !chat_text_case(r, key.text, CASE_LOWER, &key)) {
        return false;
    }
    if (!chat_dict_get(r, it->seen, key, &seen)) {
        return false;
    }
    *keep = val_is_missing(seen);
    return !*keep || chat_dict_set(r, it->seen, key, val_none());
}

static bool next_kept(struct render *r, struct iter *it, struct val *out, bool *more)
{
    for (;;) {
        bool keep;
        if (!chat_next(r, it->inner, out, more) || !chat_step(r, 1)) {
            return false;
        }
        if (!*more) {
            return true;
        }
        if (it->kind == ITER_SELECT   ? !select_one(r, it, *out, &keep)
            : it->kind == ITER_UNIQUE ? !unique_one(r, it, *out, &keep)
                                      : !chat_loop_filter(r, it, *out, &keep)) {
            return false;
        }
        if (keep) {
            return true;
        }
    }
}

/* Rows of `end` items, the last one filled up. */
static bool next_batch(struct render *r, struct iter *it, struct val *out, bool *more)
{
    struct list *row = chat_list_new(r, 0);
    bool item_more = true;
    if (!row) {
        return false;
    }
    if (!it->started) { /* a row length of 0 or less never ends a row but the first item's */
        it->started = true;
    }
    for (;;) {
        struct val item;
        if (it->call.count) { /* the item that did not fit the row before */
            item = it->call.args[0];
            it->call.count = 0;
        } else {
            if (!chat_next(r, it->inner, &item, &item_more)) {
                return false;
            }
            if (!item_more) {
                break;
            }
            if ((int64_t)row->count == it->end) {
                it->call.args[0] = item;
                it->call.count = 1;
                *out = val_list(row);
                *more = true;
                return true;
            }
        }
        if (!chat_list_add(r, row, item) || !chat_step(r, 1)) {
            return false;
        }
    }
    *more = row->count > 0;
    it->done = true;
    if (it->fill.kind != VAL_NONE && *more && (int64_t)row->count < it->end) {
        uint64_t extra = (uint64_t)it->end - row->count;
        if (!chat_room(r, extra > SIZE_MAX / 64 ? UINT64_MAX : extra * sizeof(struct val)) ||
            !chat_step(r, extra)) {
            return false;
        }
        while ((int64_t)row->count < it->end) {
            if (!chat_list_add(r, row, it->fill)) {
                return false;
            }
        }
    }
    *out = val_list(row);
    return true;
}

/* `end` columns of as even a length as can be. */
static bool next_column(struct render *r, struct iter *it, struct val *out, bool *more)
{
    struct list *all;
    if (!it->started) {
        if (!chat_to_list(r, it->source, &all)) {
            return false;
        }
        if (it->end == 0) {
            return chat_fail(r, "integer division or modulo by zero");
        }
        it->source = val_list(all);
        it->started = true;
    }
    all = it->source.list;
    int64_t slices = it->end, length = (int64_t)all->count, n = it->pos;
    *more = n < slices;
    if (!*more) {
        return true;
    }
    int64_t per = length / slices, extra = length % slices;
    int64_t start = n * per + (n < extra ? n : extra);
    int64_t count = per + (n < extra);
    struct list *column = chat_list_new(r, (size_t)count + 1);
    if (!column || !chat_step(r, (uint64_t)count + 1)) {
        return false;
    }
    for (int64_t i = 0; i < count; i++) {
        column->items[column->count++] = all->items[start + i];
    }
    if (it->fill.kind != VAL_NONE && n >= extra) {
        column->items[column->count++] = it->fill;
    }
    it->pos++;
    *out = val_list(column);
    return true;
}

static bool next_inner(struct render *r, struct iter *it, struct val *out, bool *more)
{
    struct val item;
    switch (it->kind) {
    case ITER_LIST:
        *more = (size_t)it->pos < it->source.list->count;
        if (*more) {
            *out = it->source.list->items[it->pos++];
        }
        return true;
    case ITER_REVERSED:
        *more = it->pos > 0 && (size_t)it->pos <= it->source.list->count;
        if (*more) {
            *out = it->source.list->items[--it->pos];
        }
        return true;
    case ITER_TEXT:
        return next_text(r, it, out, more);
    case ITER_DICT:
        return next_dict(r, it, out, more);
    case ITER_RANGE:
        *more = it->pos < it->end;
        if (*more) {
            *out = val_int(it->source.range->start + it->pos++ * it->source.range->step);
        }
        return true;
    case ITER_MAP:
        if (!chat_next(r, it->inner, &item, more)) {
            return false;
        }
        return !*more || map_one(r, it, item, out);
    case ITER_SELECT:
    case ITER_UNIQUE:
    case ITER_FILTERED:
        return next_kept(r, it, out, more);
    case ITER_BATCH:
        return next_batch(r, it, out, more);
    case ITER_SLICES:
        return next_column(r, it, out, more);
    default:
        *more = false;
        return true;
    }
}

bool chat_next(struct render *r, struct iter *it, struct val *out, bool *more)
{
    *more = false;
    if (it->done) {
        return true;
    }
    if (!chat_data_enter(r)) { /* generators over generators */
        return false;
    }
    bool is_lazy = it->kind == ITER_MAP || it->kind == ITER_SELECT || it->kind == ITER_UNIQUE ||
                   it->kind == ITER_BATCH;
    if (is_lazy && !it->inner && !chat_iter(r, it->source, &it->inner)) {
        return false;
    }
    if (!next_inner(r, it, out, more)) {
        return false;
    }
    r->data_depth--;
    it->done |= !*more;
    return true;
}

bool chat_to_list(struct render *r, struct val v, struct list **out)
{
    struct iter *it;
    struct list *l;
    if (!chat_iter(r, v, &it) || !(l = chat_list_new(r, 0))) {
        return false;
    }
    for (;;) {
        struct val item;
        bool more;
        if (!chat_next(r, it, &item, &more)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (!chat_list_add(r, l, item)) {
            return false;
        }
    }
    *out = l;
    return true;
}
