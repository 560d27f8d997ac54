/* Methods of str: tests, case, padding, affixes, searching. Positions are code points in Python and
 * bytes inside; `window` converts. */
#include <string.h>

#include "chat/unicode.h"
#include "chat/vocabulary.h"

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
    if (!chat_arg_int_optional(r, c->args[0], &size)) {
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
    if (!chat_arg_int_optional(r, start, &a) || !chat_arg_int_optional(r, end, &b)) {
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
        at = last ? chat_text_find_last(s, chat_str(needle), from, to)
                  : str_find(s, chat_str(needle), from);
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

/* There are no bytes and no translation tables here. */
static bool m_no_bytes(struct render *r, struct val self, struct call *c, struct val *out)
{
    (void)self;
    (void)c;
    (void)out;
    return chat_fail(r, "str.encode and str.translate are not available");
}

const struct method_def chat_methods_text[] = {
    {"capitalize", m_capitalize, ""},
    {"casefold", m_casefold, ""},
    {"center", m_center, "/width,fillchar="},
    {"count", m_count, "/sub,start=,end="},
    {"encode", m_no_bytes, NULL},
    {"endswith", m_endswith, "/suffix,start=,end="},
    {"expandtabs", m_expandtabs, "tabsize="},
    {"find", m_find, "/sub,start=,end="},
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
    {"ljust", m_ljust, "/width,fillchar="},
    {"lower", m_lower, ""},
    {"lstrip", m_lstrip, "/chars="},
    {"removeprefix", m_removeprefix, "/prefix"},
    {"removesuffix", m_removesuffix, "/suffix"},
    {"rfind", m_rfind, "/sub,start=,end="},
    {"rindex", m_rindex, "/sub,start=,end="},
    {"rjust", m_rjust, "/width,fillchar="},
    {"rstrip", m_rstrip, "/chars="},
    {"startswith", m_startswith, "/prefix,start=,end="},
    {"strip", m_strip, "/chars="},
    {"swapcase", m_swapcase, ""},
    {"title", m_title, ""},
    {"translate", m_no_bytes, NULL},
    {"upper", m_upper, ""},
    {"zfill", m_zfill, "/width"},
    {NULL, NULL, NULL},
};
