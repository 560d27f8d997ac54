/* Filters that give text. */
#include <string.h>

#include "chat/unicode.h"
#include "chat/vocabulary.h"

/* ---- HTML ---- */

bool chat_escape(struct render *r, struct val v, struct val *out)
{
    struct txt *t;
    if (!chat_to_text(r, v, &t)) {
        return false;
    }
    if (t->markup) {
        *out = val_text(t);
        return true;
    }
    struct builder b = chat_builder(r);
    size_t start = 0;
    for (size_t i = 0; i <= t->len; i++) {
        const char *entity = NULL;
        switch (i < t->len ? t->ptr[i] : 'x') {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        case '\'':
            entity = "&#39;";
            break;
        case '"':
            entity = "&#34;";
            break;
        default:
            break;
        }
        if (!entity && i < t->len) {
            continue;
        }
        if (!chat_build_text(&b, t, start, i) || (entity && !chat_build_literal(&b, entity))) {
            return false;
        }
        start = i + 1;
    }
    if (!chat_build_done(&b, out)) {
        return false;
    }
    out->text->markup = true;
    return true;
}

static bool f_escape(struct render *r, struct val v, struct call *c, struct val *out)
{
    (void)c;
    return chat_escape(r, v, out);
}

static bool plain(struct render *r, struct val v, bool markup, struct val *out)
{
    struct txt *t;
    if (!chat_to_text(r, v, &t) || !chat_text_slice(r, t, 0, t->len, out)) {
        return false;
    }
    out->text->markup = markup;
    return true;
}

static bool f_forceescape(struct render *r, struct val v, struct call *c, struct val *out)
{
    (void)c;
    return plain(r, v, false, &v) && chat_escape(r, v, out);
}

static bool f_safe(struct render *r, struct val v, struct call *c, struct val *out)
{
    (void)c;
    return plain(r, v, true, out);
}

/* ---- case, space, words ---- */

static bool f_upper(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t;
    (void)c;
    return chat_to_text(r, v, &t) && chat_text_case(r, t, CASE_UPPER, out);
}

static bool f_lower(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t;
    (void)c;
    return chat_to_text(r, v, &t) && chat_text_case(r, t, CASE_LOWER, out);
}

static bool f_capitalize(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t;
    (void)c;
    return chat_to_text(r, v, &t) && chat_text_case(r, t, CASE_CAPITALIZE, out);
}

static bool f_title(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t;
    (void)c;
    return chat_to_text(r, v, &t) && chat_text_case(r, t, CASE_JINJA_TITLE, out);
}

static bool f_trim(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t;
    return chat_to_text(r, v, &t) && chat_text_strip(r, t, c->args[0], true, true, out);
}

static bool f_center(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t, space = {.ptr = " ", .len = 1, .chars = 1};
    int64_t width = 80;
    if (!chat_to_text(r, v, &t) ||
        (!val_is_missing(c->args[0]) && !chat_arg_int(r, c->args[0], &width))) {
        return false;
    }
    return chat_text_center(r, t, width, &space, 0, out);
}

static bool f_replace(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t, *from, *to;
    int64_t count = -1;
    if (!chat_to_text(r, v, &t) || !chat_to_text(r, c->args[0], &from) ||
        !chat_to_text(r, c->args[1], &to) ||
        (val_is_given(c->args[2]) && !chat_arg_int(r, c->args[2], &count))) {
        return false;
    }
    if (!chat_text_replace(r, t, from, to, count, out)) {
        return false;
    }
    return plain(r, *out, false, out);
}

static bool f_indent(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t, *indent, space = {.ptr = " ", .len = 1, .chars = 1},
                            newline = {.ptr = "\n", .len = 1, .chars = 1};
    struct builder b = chat_builder(r);
    struct val width = c->args[0], text;
    struct list *lines;
    bool first, blank;
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (v.kind != VAL_TEXT) {
        return chat_fail(r, "unsupported operand type(s) for +=: '%s' and 'str'",
                         chat_type_name(v));
    }
    if (width.kind != VAL_TEXT) {
        int64_t n = 4;
        if (!val_is_missing(width) && !chat_arg_int(r, width, &n)) {
            return false;
        }
        if (!chat_build_fill(&b, &space, n > 0 ? (uint64_t)n : 0) || !chat_build_done(&b, &width)) {
            return false;
        }
    }
    indent = width.text;
    if (!chat_truth(r, c->args[1], &first) || !chat_truth(r, c->args[2], &blank) ||
        !chat_text_concat(r, v.text, &newline, &text) ||
        !chat_text_lines(r, text.text, false, &lines)) {
        return false;
    }
    for (size_t i = 0; i < lines->count; i++) {
        t = lines->items[i].text;
        bool wanted = i ? blank || t->len : first;
        if ((i && !chat_build(&b, STR("\n"), false)) ||
            (wanted && !chat_build_text(&b, indent, 0, indent->len)) ||
            !chat_build_text(&b, t, 0, t->len)) {
            return false;
        }
    }
    if (!chat_build_done(&b, out)) {
        return false;
    }
    out->text->markup = v.text->markup;
    return true;
}

static bool f_truncate(struct render *r, struct val v, struct call *c, struct val *out)
{
    int64_t length = 255, leeway = 5, chars, end_chars;
    struct txt dots = {.ptr = "...", .len = 3, .chars = 3}, *end = &dots;
    struct val cut;
    bool kill;
    if (!val_is_missing(c->args[0]) && !chat_arg_int(r, c->args[0], &length)) {
        return false;
    }
    if (!chat_truth(r, c->args[1], &kill) ||
        (!val_is_missing(c->args[2]) && !chat_arg_text(r, c->args[2], "end", &end)) ||
        (val_is_given(c->args[3]) && !chat_arg_int(r, c->args[3], &leeway))) {
        return false;
    }
    if (!chat_length(r, v, &chars) || !chat_length(r, val_text(end), &end_chars)) {
        return false;
    }
    if (length < end_chars) {
        return chat_fail(r, "expected length >= %lld, got %lld", (long long)end_chars,
                         (long long)length);
    }
    if (leeway < 0) {
        return chat_fail(r, "expected leeway >= 0, got %lld", (long long)leeway);
    }
    int64_t limit;
    if (__builtin_add_overflow(length, leeway, &limit) || chars <= limit) {
        *out = v;
        return true;
    }
    if (v.kind != VAL_TEXT) {
        return chat_fail(r, "cannot truncate '%s'", chat_type_name(v));
    }
    size_t to = chat_text_offset(v.text, (size_t)(length - end_chars));
    if (!kill) {
        for (size_t i = to; i > 0; i--) {
            if (v.text->ptr[i - 1] == ' ') {
                to = i - 1;
                break;
            }
        }
    }
    return chat_text_slice(r, v.text, 0, to, &cut) && chat_text_concat(r, cut.text, end, out);
}

static bool f_wordcount(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t;
    int64_t words = 0;
    bool inside = false;
    (void)c;
    if (!chat_to_text(r, v, &t) || !chat_step(r, t->len / 8)) {
        return false;
    }
    for (size_t i = 0; i < t->len;) {
        uint32_t code;
        i += chat_text_decode(chat_str(t), i, &code);
        bool word = chat_char_is_word(code);
        words += word && !inside;
        inside = word;
    }
    *out = val_int(words);
    return true;
}

static bool f_format(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct txt *t;
    struct val args;
    if (c->count && c->keyword_count) {
        return chat_fail(r, "can't handle positional and keyword arguments at the same time");
    }
    if (!chat_to_text(r, v, &t)) {
        return false;
    }
    if (c->keyword_count) {
        struct dict *d = chat_dict_new(r, c->keyword_count);
        struct val key;
        for (size_t i = 0; d && i < c->keyword_count; i++) {
            if (!chat_text_view(r, c->keywords[i].name, true, &key) ||
                !chat_dict_set(r, d, key, c->keywords[i].value)) {
                return false;
            }
        }
        if (!d) {
            return false;
        }
        args = val_dict(d);
    } else {
        struct list *l = chat_list_new(r, c->count);
        if (!l) {
            return false;
        }
        for (size_t i = 0; i < c->count; i++) {
            l->items[l->count++] = c->args[i];
        }
        args = val_tuple(l);
    }
    return chat_percent(r, t, args, out);
}

/* ---- URLs and attributes ---- */

static bool quote_url(struct builder *b, struct val v, bool query)
{
    struct txt *t;
    if (!chat_to_text(b->r, v, &t) || !chat_step(b->r, t->len)) {
        return false;
    }
    for (size_t i = 0; i < t->len; i++) {
        char c = t->ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' || c == '~' ||
                        (c == '/' && !query);
        if (is_plain            ? !chat_build_text(b, t, i, i + 1)
            : query && c == ' ' ? !chat_build_literal(b, "+")
                                : !chat_build_format(b, "%%%02X", (unsigned)(unsigned char)c)) {
            return false;
        }
    }
    return true;
}

static bool f_urlencode(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct builder b = chat_builder(r);
    struct view items = {.dict = v.dict, .kind = VIEW_ITEMS};
    struct list *pairs, *pair;
    (void)c;
    if (v.kind == VAL_TEXT || !chat_is_iterable(v)) {
        return quote_url(&b, v, false) && chat_build_done(&b, out);
    }
    if (v.kind == VAL_DICT) {
        v = (struct val){.kind = VAL_VIEW, .view = &items};
    }
    if (!chat_to_list(r, v, &pairs)) {
        return false;
    }
    for (size_t i = 0; i < pairs->count; i++) {
        if (!chat_to_list(r, pairs->items[i], &pair)) {
            return false;
        }
        if (pair->count != 2) {
            return chat_fail(r, "urlencode needs pairs");
        }
        if ((i && !chat_build_literal(&b, "&")) || !quote_url(&b, pair->items[0], true) ||
            !chat_build_literal(&b, "=") || !quote_url(&b, pair->items[1], true)) {
            return false;
        }
    }
    return chat_build_done(&b, out);
}

static bool f_xmlattr(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct builder b = chat_builder(r);
    bool space = true, any = false;
    char quoted[STR_QUOTE_MAX];
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (v.kind != VAL_DICT) {
        return chat_fail(r, "'%s' object has no attribute 'items'", chat_type_name(v));
    }
    if ((!val_is_missing(c->args[0]) && !chat_truth(r, c->args[0], &space)) ||
        !chat_dict_load(r, v.dict)) {
        return false;
    }
    for (size_t i = 0; i < v.dict->count; i++) {
        struct val key = v.dict->entries[i].key, value = v.dict->entries[i].value;
        if (value.kind == VAL_NONE || value.kind == VAL_UNDEFINED) {
            continue;
        }
        if (key.kind != VAL_TEXT) {
            return chat_fail(r, "expected string or bytes-like object, got '%s'",
                             chat_type_name(key));
        }
        for (size_t j = 0; j < key.text->len; j++) {
            if (memchr(" \t\n\r\f\v/>=", key.text->ptr[j], 9)) {
                return chat_fail(r, "Invalid character in attribute name: '%s'",
                                 str_quote(quoted, chat_str(key.text)));
            }
        }
        if (!chat_escape(r, key, &key) || !chat_escape(r, value, &value) ||
            ((any || space) && !chat_build_literal(&b, " ")) ||
            !chat_build_text(&b, key.text, 0, key.text->len) || !chat_build_literal(&b, "=\"") ||
            !chat_build_text(&b, value.text, 0, value.text->len) || !chat_build_literal(&b, "\"")) {
            return false;
        }
        any = true;
    }
    if (!chat_build_done(&b, out)) {
        return false;
    }
    out->text->markup = r->autoescape;
    return true;
}

const struct filter_def chat_filters_text[] = {
    {"capitalize", f_capitalize, ""},
    {"center", f_center, "width="},
    {"e", f_escape, ""},
    {"escape", f_escape, ""},
    {"forceescape", f_forceescape, ""},
    {"format", f_format, NULL},
    {"indent", f_indent, "width=,first=,blank="},
    {"lower", f_lower, ""},
    {"replace", f_replace, "old,new,count="},
    {"safe", f_safe, ""},
    {"striptags", chat_striptags, ""},
    {"title", f_title, ""},
    {"trim", f_trim, "chars="},
    {"truncate", f_truncate, "length=,killwords=,end=,leeway="},
    {"upper", f_upper, ""},
    {"urlencode", f_urlencode, ""},
    {"urlize", chat_urlize, "trim_url_limit=,nofollow=,target=,rel=,extra_schemes="},
    {"wordcount", f_wordcount, ""},
    {"wordwrap", chat_wordwrap, "width=,break_long_words=,wrapstring=,break_on_hyphens="},
    {"xmlattr", f_xmlattr, "autospace="},
    {NULL, NULL, NULL},
};
