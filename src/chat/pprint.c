/* The pprint filter: Python's pprint.pformat with its defaults (80 columns, sorted keys). A value
 * whose repr fits stays on one line; else containers put one item per line and long strings are cut
 * into adjacent literals at white space. */
#include <string.h>

#include "chat/interp.h"
#include "chat/unicode.h"

enum { WIDTH = 80 };

struct printer {
    struct render *r;
    struct builder b;
};

static bool put(struct printer *p, struct val v, size_t indent, size_t allowance);

static bool spaces(struct printer *p, size_t n)
{
    struct txt blank = {.ptr = " ", .len = 1};
    return chat_build_fill(&p->b, &blank, n);
}

/* Dicts are shown sorted: by key where all keys can be ordered, else by the names of their types.
 */
static bool sorted_keys(struct render *r, struct dict *d, struct list **order)
{
    struct list *keys = chat_list_new(r, d->count);
    *order = chat_list_new(r, d->count);
    if (!keys || !*order) {
        return false;
    }
    bool texts = true, numbers = true;
    for (size_t i = 0; i < d->count; i++) {
        texts &= d->entries[i].key.kind == VAL_TEXT;
        numbers &= val_is_number(d->entries[i].key);
    }
    for (size_t i = 0; i < d->count; i++) {
        struct val key = d->entries[i].key;
        (*order)->items[(*order)->count++] = val_int((int64_t)i);
        if (!texts && !numbers && !chat_text_view(r, str_of(chat_type_name(key)), false, &key)) {
            return false;
        }
        keys->items[keys->count++] = key;
    }
    return chat_sort(r, *order, keys, false);
}

/* repr with sorted dicts */
static bool flat(struct render *r, struct val v, struct builder *b)
{
    if (v.kind == VAL_DICT) {
        struct list *order;
        if (!chat_dict_load(r, v.dict) || !sorted_keys(r, v.dict, &order) || !chat_data_enter(r) ||
            !chat_build_literal(b, "{")) {
            return false;
        }
        for (size_t i = 0; i < order->count; i++) {
            struct dict_entry *e = &v.dict->entries[order->items[i].integer];
            if ((i && !chat_build_literal(b, ", ")) || !flat(r, e->key, b) ||
                !chat_build_literal(b, ": ") || !flat(r, e->value, b)) {
                return false;
            }
        }
        r->data_depth--;
        return chat_build_literal(b, "}");
    }
    if (v.kind != VAL_LIST && v.kind != VAL_TUPLE) {
        return chat_repr(r, v, b);
    }
    bool tuple = v.kind == VAL_TUPLE;
    if (!chat_list_load(r, v.list) || !chat_data_enter(r) ||
        !chat_build_literal(b, tuple ? "(" : "[")) {
        return false;
    }
    for (size_t i = 0; i < v.list->count; i++) {
        if ((i && !chat_build_literal(b, ", ")) || !flat(r, v.list->items[i], b)) {
            return false;
        }
    }
    r->data_depth--;
    return chat_build_literal(b, !tuple ? "]" : v.list->count == 1 ? ",)" : ")");
}

static bool flat_text(struct render *r, struct val v, struct txt **out)
{
    struct builder b = chat_builder(r);
    struct val text;
    if (!flat(r, v, &b) || !chat_build_done(&b, &text)) {
        return false;
    }
    *out = text.text;
    return true;
}

static bool put_items(struct printer *p, struct list *l, size_t indent, size_t allowance)
{
    for (size_t i = 0; i < l->count; i++) {
        bool last = i + 1 == l->count;
        if ((i && (!chat_build_literal(&p->b, ",\n") || !spaces(p, indent))) ||
            !put(p, l->items[i], indent, last ? allowance : 1)) {
            return false;
        }
    }
    return true;
}

static bool put_list(struct printer *p, struct val v, size_t indent, size_t allowance)
{
    bool tuple = v.kind == VAL_TUPLE;
    const char *end = !tuple ? "]" : v.list->count == 1 ? ",)" : ")";
    return chat_build_literal(&p->b, tuple ? "(" : "[") &&
           put_items(p, v.list, indent + 1, allowance + strlen(end)) &&
           chat_build_literal(&p->b, end);
}

static bool put_dict(struct printer *p, struct dict *d, size_t indent, size_t allowance)
{
    struct list *order;
    if (!sorted_keys(p->r, d, &order) || !chat_build_literal(&p->b, "{")) {
        return false;
    }
    for (size_t i = 0; i < order->count; i++) {
        struct dict_entry *e = &d->entries[order->items[i].integer];
        bool last = i + 1 == order->count;
        struct txt *key;
        if ((i && (!chat_build_literal(&p->b, ",\n") || !spaces(p, indent + 1))) ||
            !flat_text(p->r, e->key, &key) || !chat_build_text(&p->b, key, 0, key->len) ||
            !chat_build_literal(&p->b, ": ") ||
            !put(p, e->value, indent + 1 + chat_text_chars(key) + 2, last ? allowance + 1 : 1)) {
            return false;
        }
    }
    return chat_build_literal(&p->b, "}");
}

/* End of the next \S*\s* part. */
static size_t part_end(struct str s, size_t at)
{
    uint32_t code;
    bool space = false;
    while (at < s.len) {
        size_t n = chat_text_decode(s, at, &code);
        if (space && !chat_char_is_space(code)) {
            break;
        }
        space |= chat_char_is_space(code);
        at += n;
    }
    return at;
}

static bool repr_of(struct render *r, struct str s, struct txt **out)
{
    struct builder b = chat_builder(r);
    struct val text;
    if (!chat_build_repr(&b, s) || !chat_build_done(&b, &text)) {
        return false;
    }
    *out = text.text;
    return true;
}

static bool add_chunk(struct printer *p, struct list *chunks, struct str s)
{
    struct txt *repr;
    return repr_of(p->r, s, &repr) && chat_list_add(p->r, chunks, val_text(repr));
}

/* One line of a long string: as it is, or cut into parts that fit. */
static bool line_chunks(struct printer *p, struct list *chunks, const struct txt *line,
                        size_t width, bool last, size_t allowance)
{
    struct str s = chat_str(line);
    struct txt *repr;
    if (!repr_of(p->r, s, &repr)) {
        return false;
    }
    size_t room = last ? width > allowance ? width - allowance : 0 : width;
    if (chat_text_chars(repr) <= room) {
        return chat_list_add(p->r, chunks, val_text(repr));
    }
    size_t start = 0;
    for (size_t at = 0; at < s.len;) {
        size_t end = part_end(s, at);
        size_t fits = width;
        if (last && end == s.len) {
            fits = width > allowance ? width - allowance : 0;
        }
        if (!repr_of(p->r, str_slice(s, start, end), &repr)) {
            return false;
        }
        if (chat_text_chars(repr) > fits && at > start) {
            if (!add_chunk(p, chunks, str_slice(s, start, at))) {
                return false;
            }
            start = at;
        }
        at = end;
    }
    return start == s.len || add_chunk(p, chunks, str_slice(s, start, s.len));
}

static bool put_string(struct printer *p, struct txt *t, size_t indent, size_t allowance,
                       bool outer)
{
    struct list *lines, *chunks = chat_list_new(p->r, 0);
    if (!chunks || !chat_text_lines(p->r, t, true, &lines)) {
        return false;
    }
    if (outer) {
        indent++;
        allowance++;
    }
    size_t width = indent < WIDTH ? WIDTH - indent : 0;
    for (size_t i = 0; i < lines->count; i++) {
        if (!line_chunks(p, chunks, lines->items[i].text, width, i + 1 == lines->count,
                         allowance)) {
            return false;
        }
    }
    if (chunks->count == 1) {
        return chat_build_text(&p->b, chunks->items[0].text, 0, chunks->items[0].text->len);
    }
    if (outer && !chat_build_literal(&p->b, "(")) {
        return false;
    }
    for (size_t i = 0; i < chunks->count; i++) {
        if ((i && (!chat_build_literal(&p->b, "\n") || !spaces(p, indent))) ||
            !chat_build_text(&p->b, chunks->items[i].text, 0, chunks->items[i].text->len)) {
            return false;
        }
    }
    return !outer || chat_build_literal(&p->b, ")");
}

static bool put(struct printer *p, struct val v, size_t indent, size_t allowance)
{
    struct txt *text;
    bool good;
    if (!flat_text(p->r, v, &text) || !chat_data_enter(p->r)) {
        return false;
    }
    size_t room = indent + allowance < WIDTH ? WIDTH - indent - allowance : 0;
    bool splits = v.kind == VAL_DICT || v.kind == VAL_LIST || v.kind == VAL_TUPLE ||
                  (v.kind == VAL_TEXT && !v.text->markup && v.text->len);
    if (chat_text_chars(text) <= room || !splits) {
        good = chat_build_text(&p->b, text, 0, text->len);
    } else if (v.kind == VAL_DICT) {
        good = put_dict(p, v.dict, indent, allowance);
    } else if (v.kind == VAL_TEXT) {
        good = put_string(p, v.text, indent, allowance, p->r->data_depth == 1);
    } else {
        good = put_list(p, v, indent, allowance);
    }
    p->r->data_depth--;
    return good;
}

bool chat_pprint(struct render *r, struct val v, struct val *out)
{
    struct printer p = {.r = r, .b = chat_builder(r)};
    size_t saved = r->data_depth;
    r->data_depth = 0;
    bool good = put(&p, v, 0, 0);
    r->data_depth = saved;
    return good && chat_build_done(&p.b, out);
}
