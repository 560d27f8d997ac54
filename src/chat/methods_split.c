/* Methods of str that take texts apart and put them together. */
#include <string.h>

#include "chat/unicode.h"
#include "chat/vocabulary.h"

/* ---- splitting ---- */

static bool add_slice(struct render *r, struct list *l, const struct txt *t, size_t from, size_t to)
{
    struct val part;
    return chat_text_slice(r, t, from, to, &part) && chat_list_add(r, l, part);
}

static bool split_spaces(struct render *r, const struct txt *t, uint64_t max, struct list *l)
{
    struct str s = chat_str(t);
    uint32_t code;
    for (size_t i = 0; i < s.len;) {
        size_t n = chat_text_decode(s, i, &code);
        if (chat_char_is_space(code)) {
            i += n;
            continue;
        }
        size_t start = i;
        if (max-- == 0) { /* the rest as it is */
            return add_slice(r, l, t, start, s.len);
        }
        while (i < s.len) {
            n = chat_text_decode(s, i, &code);
            if (chat_char_is_space(code)) {
                break;
            }
            i += n;
        }
        if (!add_slice(r, l, t, start, i)) {
            return false;
        }
    }
    return true;
}

static size_t char_before(struct str s, size_t at)
{
    size_t start = at - 1;
    while (start > 0 && ((unsigned char)s.ptr[start] & 0xC0) == 0x80) {
        start--;
    }
    return start;
}

static bool rsplit_spaces(struct render *r, const struct txt *t, uint64_t max, struct list *l)
{
    struct str s = chat_str(t);
    uint32_t code;
    for (size_t i = s.len; i > 0;) {
        size_t start = char_before(s, i);
        chat_text_decode(s, start, &code);
        if (chat_char_is_space(code)) {
            i = start;
            continue;
        }
        size_t end = i;
        if (max-- == 0) {
            return add_slice(r, l, t, 0, end);
        }
        while (i > 0) {
            start = char_before(s, i);
            chat_text_decode(s, start, &code);
            if (chat_char_is_space(code)) {
                break;
            }
            i = start;
        }
        if (!add_slice(r, l, t, i, end)) {
            return false;
        }
    }
    return true;
}

static void reverse_items(struct list *l)
{
    for (size_t i = 0; i < l->count / 2; i++) {
        struct val swap = l->items[i];
        l->items[i] = l->items[l->count - 1 - i];
        l->items[l->count - 1 - i] = swap;
    }
}

static bool split(struct render *r, struct val self, struct call *c, bool right, struct val *out)
{
    struct txt *t = self.text, *separator;
    struct str s = chat_str(t);
    struct list *l = chat_list_new(r, 0);
    int64_t limit = -1;
    if (!l || (!val_is_missing(c->args[1]) && !chat_arg_int(r, c->args[1], &limit)) ||
        !chat_step(r, 1 + s.len / 8)) {
        return false;
    }
    uint64_t max = limit < 0 ? UINT64_MAX : (uint64_t)limit;
    *out = val_list(l);
    if (!val_is_given(c->args[0])) {
        if (!(right ? rsplit_spaces : split_spaces)(r, t, max, l)) {
            return false;
        }
        if (right) {
            reverse_items(l);
        }
        return true;
    }
    if (!chat_arg_text(r, c->args[0], "separator", &separator)) {
        return false;
    }
    if (!separator->len) {
        return chat_fail(r, "empty separator");
    }
    if (right) {
        size_t end = s.len;
        while (max-- > 0) {
            size_t at = chat_text_find_last(s, chat_str(separator), 0, end);
            if (at == SIZE_MAX) {
                break;
            }
            if (!add_slice(r, l, t, at + separator->len, end)) {
                return false;
            }
            end = at;
        }
        if (!add_slice(r, l, t, 0, end)) {
            return false;
        }
        reverse_items(l);
        return true;
    }
    size_t at = 0;
    while (max-- > 0) {
        size_t hit = str_find(s, chat_str(separator), at);
        if (hit == SIZE_MAX) {
            break;
        }
        if (!add_slice(r, l, t, at, hit)) {
            return false;
        }
        at = hit + separator->len;
    }
    return add_slice(r, l, t, at, s.len);
}

static bool m_split(struct render *r, struct val self, struct call *c, struct val *out)
{
    return split(r, self, c, false, out);
}

static bool m_rsplit(struct render *r, struct val self, struct call *c, struct val *out)
{
    return split(r, self, c, true, out);
}

static bool m_splitlines(struct render *r, struct val self, struct call *c, struct val *out)
{
    bool keep;
    *out = (struct val){.kind = VAL_LIST};
    return chat_truth(r, c->args[0], &keep) && chat_text_lines(r, self.text, keep, &out->list);
}

static bool partition(struct render *r, struct val self, struct call *c, bool right,
                      struct val *out)
{
    struct txt *separator, *t = self.text;
    struct list *l = chat_list_new(r, 3);
    if (!l || !chat_arg_text(r, c->args[0], "separator", &separator)) {
        return false;
    }
    if (!separator->len) {
        return chat_fail(r, "empty separator");
    }
    size_t at = right ? chat_text_find_last(chat_str(t), chat_str(separator), 0, t->len)
                      : str_find(chat_str(t), chat_str(separator), 0);
    *out = val_tuple(l);
    if (!chat_step(r, 1 + t->len / 8)) {
        return false;
    }
    if (at == SIZE_MAX) {
        return add_slice(r, l, t, 0, right ? 0 : t->len) && add_slice(r, l, t, 0, 0) &&
               add_slice(r, l, t, right ? 0 : t->len, t->len);
    }
    return add_slice(r, l, t, 0, at) && add_slice(r, l, t, at, at + separator->len) &&
           add_slice(r, l, t, at + separator->len, t->len);
}

static bool m_partition(struct render *r, struct val self, struct call *c, struct val *out)
{
    return partition(r, self, c, false, out);
}

static bool m_rpartition(struct render *r, struct val self, struct call *c, struct val *out)
{
    return partition(r, self, c, true, out);
}

/* ---- joining, replacing, formatting ---- */

static bool m_join(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct builder b = chat_builder(r);
    struct iter *it;
    if (!chat_is_iterable(c->args[0])) {
        return chat_fail(r, "can only join an iterable");
    }
    if (!chat_iter(r, c->args[0], &it)) {
        return false;
    }
    for (size_t i = 0;; i++) {
        struct val item;
        bool more;
        if (!chat_next(r, it, &item, &more) || !chat_step(r, 1)) {
            return false;
        }
        if (!more) {
            return chat_build_done(&b, out);
        }
        if (item.kind != VAL_TEXT) {
            return chat_fail(r, "sequence item %zu: expected str instance, %s found", i,
                             chat_type_name(item));
        }
        if ((i && !chat_build_text(&b, self.text, 0, self.text->len)) ||
            !chat_build_text(&b, item.text, 0, item.text->len)) {
            return false;
        }
    }
}

static bool m_replace(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct txt *from, *to;
    int64_t count = -1;
    return chat_arg_text(r, c->args[0], "replace() argument 1", &from) &&
           chat_arg_text(r, c->args[1], "replace() argument 2", &to) &&
           (val_is_missing(c->args[2]) || chat_arg_int(r, c->args[2], &count)) &&
           chat_text_replace(r, self.text, from, to, count, out);
}

static bool m_format(struct render *r, struct val self, struct call *c, struct val *out)
{
    return chat_format(r, self.text, c, false, out);
}

static bool m_format_map(struct render *r, struct val self, struct call *c, struct val *out)
{
    return chat_format(r, self.text, c, true, out);
}

const struct method_def chat_methods_split[] = {
    {"format", m_format, NULL},
    {"format_map", m_format_map, NULL},
    {"join", m_join, "/iterable"},
    {"partition", m_partition, "/sep"},
    {"replace", m_replace, "/old,new,count="},
    {"rpartition", m_rpartition, "/sep"},
    {"rsplit", m_rsplit, "sep=,maxsplit="},
    {"split", m_split, "sep=,maxsplit="},
    {"splitlines", m_splitlines, "keepends="},
    {NULL, NULL, NULL},
};
