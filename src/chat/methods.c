/* Methods of str, list, tuple, dict and the small helper objects. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "chat/interp.h"
#include "chat/unicode.h"

typedef bool method_fn(struct render *r, struct val self, struct call *call, struct val *out);

static bool given(struct val v)
{
    return v.kind != VAL_MISSING && v.kind != VAL_NONE;
}

static bool optional_int(struct render *r, struct val v, int64_t *out)
{
    return !given(v) || chat_arg_int(r, v, out);
}

/* ---- str: tests and case ---- */

#define CASE_METHOD(fn_name, kind)                                                                 \
    static bool fn_name(struct render *r, struct val self, struct call *c, struct val *out)        \
    {                                                                                              \
        (void)c;                                                                                   \
        return chat_text_case(r, self.text, kind, out);                                            \
    }

CASE_METHOD(m_upper, CASE_UPPER)
CASE_METHOD(m_lower, CASE_LOWER)
CASE_METHOD(m_title, CASE_TITLE)
CASE_METHOD(m_capitalize, CASE_CAPITALIZE)
CASE_METHOD(m_swapcase, CASE_SWAP)
CASE_METHOD(m_casefold, CASE_FOLD)

#define CHAR_METHOD(fn_name, each, empty)                                                          \
    static bool fn_name(struct render *r, struct val self, struct call *c, struct val *out)        \
    {                                                                                              \
        (void)c;                                                                                   \
        *out = val_bool(chat_text_is(self.text, each, empty));                                     \
        return chat_step(r, 1 + self.text->len / 8);                                               \
    }

static bool is_ascii(uint32_t code)
{
    return code < 0x80;
}

CHAR_METHOD(m_isalpha, chat_char_is_alpha, false)
CHAR_METHOD(m_isalnum, chat_char_is_alnum, false)
CHAR_METHOD(m_isdecimal, chat_char_is_decimal, false)
CHAR_METHOD(m_isdigit, chat_char_is_digit, false)
CHAR_METHOD(m_isnumeric, chat_char_is_numeric, false)
CHAR_METHOD(m_isspace, chat_char_is_space, false)
CHAR_METHOD(m_isprintable, chat_char_is_printable, true)
CHAR_METHOD(m_isascii, is_ascii, true)

static bool m_isupper(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)c;
    *out = val_bool(chat_text_is_upper(self.text, true));
    return chat_step(r, 1 + self.text->len / 8);
}

static bool m_islower(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)c;
    *out = val_bool(chat_text_is_upper(self.text, false));
    return chat_step(r, 1 + self.text->len / 8);
}

static bool m_istitle(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct str s = chat_str(self.text);
    bool good = true, any = false, cased = false;
    uint32_t code;
    (void)c;
    for (size_t i = 0; i < s.len && good;) {
        i += chat_text_decode(s, i, &code);
        bool upper = chat_char_is_upper(code) || chat_char_is_title(code);
        bool lower = chat_char_is_lower(code);
        good = upper ? !cased : !lower || cased;
        cased = upper || lower;
        any |= cased;
    }
    *out = val_bool(good && any);
    return chat_step(r, 1 + s.len / 8);
}

static bool m_isidentifier(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct str s = chat_str(self.text);
    bool good = s.len > 0;
    uint32_t code;
    (void)c;
    for (size_t i = 0; i < s.len && good;) {
        bool first = i == 0;
        i += chat_text_decode(s, i, &code);
        good = chat_char_is_name(code, first);
    }
    *out = val_bool(good);
    return chat_step(r, 1 + s.len / 8);
}

/* ---- str: stripping, padding, affixes ---- */

static bool m_strip(struct render *r, struct val self, struct call *c, struct val *out)
{
    return chat_text_strip(r, self.text, c->args[0], true, true, out);
}

static bool m_lstrip(struct render *r, struct val self, struct call *c, struct val *out)
{
    return chat_text_strip(r, self.text, c->args[0], true, false, out);
}

static bool m_rstrip(struct render *r, struct val self, struct call *c, struct val *out)
{
    return chat_text_strip(r, self.text, c->args[0], false, true, out);
}

static bool pad(struct render *r, struct val self, struct call *c, int align, struct val *out)
{
    struct txt space = {.ptr = " ", .len = 1, .chars = 1}, *fill = &space;
    int64_t width;
    if (!chat_arg_int(r, c->args[0], &width)) {
        return false;
    }
    if (!val_is_missing(c->args[1])) {
        if (!chat_arg_text(r, c->args[1], "the fill character", &fill)) {
            return false;
        }
        if (chat_text_chars(fill) != 1) {
            return chat_fail(r, "The fill character must be exactly one character long");
        }
    }
    return chat_text_center(r, self.text, width, fill, align, out);
}

static bool m_center(struct render *r, struct val self, struct call *c, struct val *out)
{
    return pad(r, self, c, 0, out);
}

static bool m_ljust(struct render *r, struct val self, struct call *c, struct val *out)
{
    return pad(r, self, c, -1, out);
}

static bool m_rjust(struct render *r, struct val self, struct call *c, struct val *out)
{
    return pad(r, self, c, 1, out);
}

static bool m_zfill(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct txt zero = {.ptr = "0", .len = 1, .chars = 1}, *t = self.text;
    int64_t width, chars = (int64_t)chat_text_chars(t);
    struct builder b = chat_builder(r);
    if (!chat_arg_int(r, c->args[0], &width)) {
        return false;
    }
    size_t sign = t->len && (t->ptr[0] == '-' || t->ptr[0] == '+');
    return chat_build_text(&b, t, 0, sign) &&
           chat_build_fill(&b, &zero, width > chars ? (uint64_t)(width - chars) : 0) &&
           chat_build_text(&b, t, sign, t->len) && chat_build_done(&b, out);
}

static bool m_expandtabs(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct txt space = {.ptr = " ", .len = 1, .chars = 1}, *t = self.text;
    struct builder b = chat_builder(r);
    int64_t size = 8, column = 0;
    uint32_t code;
    if (!optional_int(r, c->args[0], &size)) {
        return false;
    }
    for (size_t i = 0; i < t->len;) {
        size_t n = chat_text_decode(chat_str(t), i, &code);
        if (code == '\t') {
            int64_t blanks = size > 0 ? size - column % size : 0;
            if (!chat_build_fill(&b, &space, (uint64_t)blanks)) {
                return false;
            }
            column += blanks;
        } else {
            if (!chat_build_text(&b, t, i, i + n)) {
                return false;
            }
            column = code == '\n' || code == '\r' ? 0 : column + 1;
        }
        i += n;
    }
    return chat_step(r, t->len) && chat_build_done(&b, out);
}

static bool m_removeprefix(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct txt *affix, *t = self.text;
    if (!chat_arg_text(r, c->args[0], "removeprefix() argument", &affix)) {
        return false;
    }
    bool hit = str_starts(chat_str(t), chat_str(affix));
    return chat_text_slice(r, t, hit ? affix->len : 0, t->len, out);
}

static bool m_removesuffix(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct txt *affix, *t = self.text;
    if (!chat_arg_text(r, c->args[0], "removesuffix() argument", &affix)) {
        return false;
    }
    bool hit = affix->len && str_ends(chat_str(t), chat_str(affix));
    return chat_text_slice(r, t, 0, hit ? t->len - affix->len : t->len, out);
}

/* ---- str: searching ---- */

/* The window [start:end] of code points as bytes; *empty when start lies behind the end. */
static bool window(struct render *r, struct txt *t, struct val start, struct val end, size_t *from,
                   size_t *to, bool *empty)
{
    int64_t chars = (int64_t)chat_text_chars(t), a = 0, b = chars;
    if (!optional_int(r, start, &a) || !optional_int(r, end, &b)) {
        return false;
    }
    if (b > chars) {
        b = chars;
    } else if (b < 0) {
        b = b + chars < 0 ? 0 : b + chars;
    }
    if (a < 0) {
        a = a + chars < 0 ? 0 : a + chars;
    }
    *empty = a > b;
    if (*empty) {
        a = b;
    }
    *from = chat_text_offset(t, (size_t)a);
    *to = chat_text_offset(t, (size_t)b);
    return chat_step(r, 1 + t->len / 16);
}

static size_t find_last(struct str s, struct str needle, size_t from, size_t to)
{
    if (to - from < needle.len) {
        return SIZE_MAX;
    }
    for (size_t at = to - needle.len;; at--) {
        if (!needle.len || memcmp(s.ptr + at, needle.ptr, needle.len) == 0) {
            return at;
        }
        if (at == from) {
            return SIZE_MAX;
        }
    }
}

static bool find(struct render *r, struct val self, struct call *c, bool last, bool must,
                 struct val *out)
{
    struct txt *needle, *t = self.text;
    size_t from, to, at = SIZE_MAX;
    bool empty;
    if (!chat_arg_text(r, c->args[0], "the text to find", &needle) ||
        !window(r, t, c->args[1], c->args[2], &from, &to, &empty) ||
        (last && !chat_step(r, (to - from) / 4))) {
        return false;
    }
    struct str s = str_slice(chat_str(t), 0, to);
    if (!empty) {
        at = last ? find_last(s, chat_str(needle), from, to) : str_find(s, chat_str(needle), from);
    }
    if (at == SIZE_MAX) {
        *out = val_int(-1);
        return !must || chat_fail(r, "substring not found");
    }
    struct txt before = {.ptr = t->ptr, .len = at, .chars = SIZE_MAX};
    *out = val_int(t->chars == t->len ? (int64_t)at : (int64_t)chat_text_chars(&before));
    return true;
}

static bool m_find(struct render *r, struct val self, struct call *c, struct val *out)
{
    return find(r, self, c, false, false, out);
}

static bool m_rfind(struct render *r, struct val self, struct call *c, struct val *out)
{
    return find(r, self, c, true, false, out);
}

static bool m_index(struct render *r, struct val self, struct call *c, struct val *out)
{
    return find(r, self, c, false, true, out);
}

static bool m_rindex(struct render *r, struct val self, struct call *c, struct val *out)
{
    return find(r, self, c, true, true, out);
}

static bool m_count(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct txt *needle, *t = self.text;
    size_t from, to;
    int64_t n = 0;
    bool empty;
    if (!chat_arg_text(r, c->args[0], "count() argument", &needle) ||
        !window(r, t, c->args[1], c->args[2], &from, &to, &empty)) {
        return false;
    }
    struct str s = str_slice(chat_str(t), from, to);
    if (!empty && !needle->len) {
        struct txt part = {.ptr = s.ptr, .len = s.len, .chars = SIZE_MAX};
        n = (int64_t)chat_text_chars(&part) + 1;
    } else if (!empty) {
        for (size_t at = 0; (at = str_find(s, chat_str(needle), at)) != SIZE_MAX;
             at += needle->len) {
            n++;
        }
    }
    *out = val_int(n);
    return true;
}

static bool affix(struct render *r, struct val self, struct call *c, const char *name, bool starts,
                  struct val *out)
{
    size_t from, to, count = 1;
    bool empty, hit = false;
    struct val *items = &c->args[0];
    if (c->args[0].kind == VAL_TUPLE) {
        if (!chat_list_load(r, c->args[0].list)) {
            return false;
        }
        items = c->args[0].list->items;
        count = c->args[0].list->count;
    } else if (c->args[0].kind != VAL_TEXT) {
        return chat_fail(r, "%s first arg must be str or a tuple of str, not %s", name,
                         chat_type_name(c->args[0]));
    }
    if (!window(r, self.text, c->args[1], c->args[2], &from, &to, &empty)) {
        return false;
    }
    struct str s = str_slice(chat_str(self.text), from, to);
    for (size_t i = 0; i < count && !hit; i++) {
        if (items[i].kind != VAL_TEXT) {
            return chat_fail(r, "tuple for %s must only contain str, not %s", name,
                             chat_type_name(items[i]));
        }
        struct str part = chat_str(items[i].text);
        hit = !empty && (starts ? str_starts(s, part) : str_ends(s, part));
    }
    *out = val_bool(hit);
    return chat_step(r, count);
}

static bool m_startswith(struct render *r, struct val self, struct call *c, struct val *out)
{
    return affix(r, self, c, "startswith", true, out);
}

static bool m_endswith(struct render *r, struct val self, struct call *c, struct val *out)
{
    return affix(r, self, c, "endswith", false, out);
}

/* ---- str: splitting and joining ---- */

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
    if (!given(c->args[0])) {
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
            size_t at = find_last(s, chat_str(separator), 0, end);
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
    size_t at = right ? find_last(chat_str(t), chat_str(separator), 0, t->len)
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

static bool m_str(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)r;
    (void)c;
    *out = self;
    return true;
}

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
    if (!optional_int(r, c->args[1], &from) || !optional_int(r, c->args[2], &to)) {
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

/* Jinja2 3.1's sandbox forbids the methods that change a list, but not these two. */
static bool m_list_pop(struct render *r, struct val self, struct call *c, struct val *out)
{
    struct list *l = self.list;
    int64_t index = -1;
    if (!chat_list_load(r, l) ||
        (!val_is_missing(c->args[0]) && !chat_arg_int(r, c->args[0], &index))) {
        return false;
    }
    if (!l->count) {
        return chat_fail(r, "pop from empty list");
    }
    if (index < 0) {
        index += (int64_t)l->count;
    }
    if (index < 0 || (size_t)index >= l->count) {
        return chat_fail(r, "pop index out of range");
    }
    *out = l->items[index];
    for (size_t i = (size_t)index + 1; i < l->count; i++) {
        l->items[i - 1] = l->items[i];
    }
    l->count--;
    return chat_step(r, 1 + (l->count - (size_t)index) / 16);
}

static bool m_list_clear(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)c;
    if (!chat_list_load(r, self.list)) {
        return false;
    }
    self.list->count = 0;
    *out = val_none();
    return true;
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

/* There are no bytes and no translation tables here. */
static bool m_no_bytes(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)self;
    (void)c;
    (void)out;
    return chat_fail(r, "str.encode and str.translate are not available");
}

static const struct method_def text_methods[] = {
    {"capitalize", m_capitalize, ""},
    {"casefold", m_casefold, ""},
    {"center", m_center, "/width,fillchar="},
    {"count", m_count, "/sub,start=,end="},
    {"encode", m_no_bytes, NULL},
    {"endswith", m_endswith, "/suffix,start=,end="},
    {"expandtabs", m_expandtabs, "tabsize="},
    {"find", m_find, "/sub,start=,end="},
    {"format", m_format, NULL},
    {"format_map", m_format_map, NULL},
    {"index", m_index, "/sub,start=,end="},
    {"isalnum", m_isalnum, ""},
    {"isalpha", m_isalpha, ""},
    {"isascii", m_isascii, ""},
    {"isdecimal", m_isdecimal, ""},
    {"isdigit", m_isdigit, ""},
    {"isidentifier", m_isidentifier, ""},
    {"islower", m_islower, ""},
    {"isnumeric", m_isnumeric, ""},
    {"isprintable", m_isprintable, ""},
    {"isspace", m_isspace, ""},
    {"istitle", m_istitle, ""},
    {"isupper", m_isupper, ""},
    {"join", m_join, "/iterable"},
    {"ljust", m_ljust, "/width,fillchar="},
    {"lower", m_lower, ""},
    {"lstrip", m_lstrip, "/chars="},
    {"partition", m_partition, "/sep"},
    {"removeprefix", m_removeprefix, "/prefix"},
    {"removesuffix", m_removesuffix, "/suffix"},
    {"replace", m_replace, "/old,new,count="},
    {"rfind", m_rfind, "/sub,start=,end="},
    {"rindex", m_rindex, "/sub,start=,end="},
    {"rjust", m_rjust, "/width,fillchar="},
    {"rpartition", m_rpartition, "/sep"},
    {"rsplit", m_rsplit, "sep=,maxsplit="},
    {"rstrip", m_rstrip, "/chars="},
    {"split", m_split, "sep=,maxsplit="},
    {"splitlines", m_splitlines, "keepends="},
    {"startswith", m_startswith, "/prefix,start=,end="},
    {"strip", m_strip, "/chars="},
    {"swapcase", m_swapcase, ""},
    {"title", m_title, ""},
    {"translate", m_no_bytes, NULL},
    {"upper", m_upper, ""},
    {"zfill", m_zfill, "/width"},
    {NULL, NULL, NULL},
};

static const struct method_def list_methods[] = {
    {"clear", m_list_clear, ""},       {"copy", m_list_copy, ""},
    {"count", m_list_count, "/value"}, {"index", m_list_index, "/value,start=,stop="},
    {"pop", m_list_pop, "/index="},    {NULL, NULL, NULL},
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

static const char *const list_unsafe[] = {"append",  "extend", "insert", "remove",
                                          "reverse", "sort",   NULL};
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
        table = text_methods;
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
