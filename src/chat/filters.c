/* The built-in filters of Jinja2 3.1. Those that are generators there are lazy iterators here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "chat/interp.h"
#include "chat/unicode.h"

static bool given(struct val v)
{
    return v.kind != VAL_MISSING && v.kind != VAL_NONE;
}

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

/* ---- text ---- */

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
        (given(c->args[2]) && !chat_arg_int(r, c->args[2], &count))) {
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
        (given(c->args[3]) && !chat_arg_int(r, c->args[3], &leeway))) {
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

/* ---- numbers ---- */

static bool f_abs(struct render *r, struct val v, struct call *c, struct val *out)
{
    (void)c;
    if (v.kind == VAL_UNDEFINED || !val_is_number(v)) {
        return chat_fail(r, "bad operand type for abs(): '%s'", chat_type_name(v));
    }
    if (v.kind == VAL_FLOAT) {
        *out = val_float(fabs(v.real));
    } else if (val_as_int(v) < 0) {
        return chat_math(r, OP_SUB, val_int(0), v, out);
    } else {
        *out = val_int(val_as_int(v));
    }
    return true;
}

/* int() of a float; false with *valid set when Python raises a ValueError instead of overflowing */
static bool float_to_int(struct render *r, double f, int64_t *out, bool *valid)
{
    *valid = !isnan(f);
    if (isnan(f)) {
        return true;
    }
    if (isinf(f)) {
        return chat_fail(r, "cannot convert float infinity to integer");
    }
    if (fabs(f) >= 9.2e18) {
        return chat_fail(r, "an integer beyond 64 bits");
    }
    *out = (int64_t)f;
    return true;
}

static bool f_int(struct render *r, struct val v, struct call *c, struct val *out)
{
    int64_t base = 10, number = 0;
    double f;
    bool valid = false;
    *out = val_is_missing(c->args[0]) ? val_int(0) : c->args[0];
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (val_is_int(v)) {
        *out = val_int(val_as_int(v));
        return true;
    }
    if (v.kind == VAL_FLOAT) {
        if (!float_to_int(r, v.real, &number, &valid)) {
            return false;
        }
    } else if (v.kind == VAL_TEXT) {
        if (!val_is_missing(c->args[1]) && !chat_arg_int(r, c->args[1], &base)) {
            return false;
        }
        bool good_base = base == 0 || (base >= 2 && base <= 36);
        if (good_base && !chat_int_parse(r, chat_str(v.text), (int)base, &number, &valid)) {
            return false;
        }
        if (!valid && chat_float_parse(chat_str(v.text), &f) &&
            !float_to_int(r, f, &number, &valid)) {
            return false;
        }
    }
    if (valid) {
        *out = val_int(number);
    }
    return true;
}

static bool f_float(struct render *r, struct val v, struct call *c, struct val *out)
{
    double f;
    *out = val_is_missing(c->args[0]) ? val_float(0) : c->args[0];
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (val_is_number(v)) {
        *out = val_float(val_as_float(v));
    } else if (v.kind == VAL_TEXT && chat_float_parse(chat_str(v.text), &f)) {
        *out = val_float(f);
    }
    return true;
}

/* Python's round(): half to even on the exact decimal value. */
static double round_to(double x, int64_t digits)
{
    char text[400];
    if (!isfinite(x) || digits > 323) {
        return x;
    }
    if (digits < -308) {
        return copysign(0, x);
    }
    if (digits >= 0) {
        snprintf(text, sizeof(text), "%.*f", (int)digits, x);
        return strtod(text, NULL);
    }
    double scale = pow(10, (double)-digits), y = x / scale, z = round(y);
    if (fabs(y - z) == 0.5) {
        z = 2 * round(y / 2);
    }
    return z * scale;
}

static bool round_int(struct render *r, int64_t x, int64_t digits, struct val *out)
{
    if (digits >= 0) {
        *out = val_int(x);
        return true;
    }
    if (digits < -18) {
        *out = val_int(0);
        return true;
    }
    int64_t scale = 1;
    for (int64_t i = digits; i < 0; i++) {
        scale *= 10;
    }
    int64_t rest = ((x % scale) + scale) % scale, low = x - rest, half = scale / 2;
    bool up = rest > half || (rest == half && (low / scale) % 2 != 0);
    if (up && __builtin_add_overflow(low, scale, &low)) {
        return chat_fail(r, "an integer beyond 64 bits");
    }
    *out = val_int(low);
    return true;
}

static bool f_round(struct render *r, struct val v, struct call *c, struct val *out)
{
    int64_t digits = 0;
    struct txt *method = NULL;
    if (!val_is_missing(c->args[0]) && !chat_arg_int(r, c->args[0], &digits)) {
        return false;
    }
    if (!val_is_missing(c->args[1]) && c->args[1].kind == VAL_TEXT) {
        method = c->args[1].text;
    }
    bool common = val_is_missing(c->args[1]) || (method && str_eq(chat_str(method), STR("common")));
    bool ceiling = method && str_eq(chat_str(method), STR("ceil"));
    if (!common && !ceiling && !(method && str_eq(chat_str(method), STR("floor")))) {
        return chat_fail(r, "method must be common, ceil or floor");
    }
    if (v.kind == VAL_UNDEFINED && !common) {
        return chat_fail_undefined(r, v);
    }
    if (!val_is_number(v)) {
        return chat_fail(r, "type %s doesn't define __round__ method", chat_type_name(v));
    }
    if (common) {
        if (val_is_int(v)) {
            return round_int(r, val_as_int(v), digits, out);
        }
        *out = val_float(round_to(v.real, digits));
        return true;
    }
    /* func(value * 10**precision) / 10**precision, where a negative power is a float */
    struct val power, scaled;
    if (!chat_math(r, OP_POW, val_int(10), val_int(digits), &power) ||
        !chat_math(r, OP_MUL, v, power, &scaled)) {
        return false;
    }
    if (scaled.kind == VAL_FLOAT) {
        double whole = ceiling ? ceil(scaled.real) : floor(scaled.real);
        int64_t i = 0;
        bool valid;
        if (!float_to_int(r, whole, &i, &valid)) {
            return false;
        }
        if (!valid) {
            return chat_fail(r, "cannot convert float NaN to integer");
        }
        scaled = val_int(i);
    }
    return chat_math(r, OP_DIV, scaled, power, out);
}

static bool f_filesizeformat(struct render *r, struct val v, struct call *c, struct val *out)
{
    static const char *const prefixes[2][8] = {
        {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
        {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    struct builder b = chat_builder(r);
    double bytes;
    bool binary;
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (val_is_number(v)) {
        bytes = val_as_float(v);
    } else if (v.kind != VAL_TEXT || !chat_float_parse(chat_str(v.text), &bytes)) {
        return chat_fail(r, "could not convert to float: '%s'", chat_type_name(v));
    }
    if (!chat_truth(r, c->args[0], &binary)) {
        return false;
    }
    double base = binary ? 1024 : 1000;
    if (bytes == 1) {
        return chat_text_view(r, STR("1 Byte"), false, out);
    }
    if (bytes < base) {
        if (!chat_build_format(&b, "%.0f Bytes", trunc(bytes))) {
            return false;
        }
        return chat_build_done(&b, out);
    }
    double unit = base;
    size_t i = 0;
    for (;; i++) {
        unit *= base;
        if (bytes < unit || i == 7) {
            break;
        }
    }
    return chat_build_format(&b, "%.1f %s", base * bytes / unit, prefixes[binary][i]) &&
           chat_build_done(&b, out);
}

/* ---- sequences ---- */

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
    if (v.kind == VAL_ITER ? !chat_to_list(r, v, &l) : !chat_is_iterable(v)) {
        return chat_fail(r, "argument must be iterable");
    }
    if (v.kind != VAL_ITER && !reversible(r, v, &l)) {
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

/* The texts to join. Where autoescape is on and one of them is markup, all are escaped. */
static bool join_texts(struct render *r, struct list *l, struct val attribute, bool *markup)
{
    struct txt *t;
    for (size_t i = 0; i < l->count; i++) {
        struct val item = l->items[i];
        if (given(attribute) && !chat_attr_path(r, item, attribute, val_none(), &item)) {
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
    struct val fallback = given(c->args[1]) ? c->args[1] : val_none(), key;
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
    out->iter->fill = given(c->args[1]) ? c->args[1] : val_none();
    out->iter->call.args = chat_alloc(r, 1, sizeof(struct val));
    return out->iter->call.args != NULL;
}

static bool f_slice(struct render *r, struct val v, struct call *c, struct val *out)
{
    struct iter *it = chat_iter_new(r, ITER_SLICES, "generator");
    struct list *all;
    if (!it || !chat_arg_int(r, c->args[0], &it->end) || !chat_to_list(r, v, &all)) {
        return false;
    }
    if (it->end == 0) {
        return chat_fail(r, "integer division or modulo by zero");
    }
    it->source = val_list(all);
    it->fill = given(c->args[1]) ? c->args[1] : val_none();
    *out = (struct val){.kind = VAL_ITER, .iter = it};
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

static const struct filter_def filters[] = {
    {"abs", f_abs, ""},
    {"attr", f_attr, "name"},
    {"batch", f_batch, "linecount,fill_with="},
    {"capitalize", f_capitalize, ""},
    {"center", f_center, "width="},
    {"count", f_length, ""},
    {"d", f_default, "default_value=,boolean="},
    {"default", f_default, "default_value=,boolean="},
    {"dictsort", f_dictsort, "case_sensitive=,by=,reverse="},
    {"e", f_escape, ""},
    {"escape", f_escape, ""},
    {"filesizeformat", f_filesizeformat, "binary="},
    {"first", f_first, ""},
    {"float", f_float, "default="},
    {"forceescape", f_forceescape, ""},
    {"format", f_format, NULL},
    {"groupby", f_groupby, "attribute,default=,case_sensitive="},
    {"indent", f_indent, "width=,first=,blank="},
    {"int", f_int, "default=,base="},
    {"items", f_items, ""},
    {"join", f_join, "d=,attribute="},
    {"last", f_last, ""},
    {"length", f_length, ""},
    {"list", f_list, ""},
    {"lower", f_lower, ""},
    {"map", f_map, NULL},
    {"max", f_max, "case_sensitive=,attribute="},
    {"min", f_min, "case_sensitive=,attribute="},
    {"pprint", f_pprint, ""},
    {"random", f_random, ""},
    {"reject", f_reject, NULL},
    {"rejectattr", f_rejectattr, NULL},
    {"replace", f_replace, "old,new,count="},
    {"reverse", f_reverse, ""},
    {"round", f_round, "precision=,method="},
    {"safe", f_safe, ""},
    {"select", f_select, NULL},
    {"selectattr", f_selectattr, NULL},
    {"slice", f_slice, "slices,fill_with="},
    {"sort", f_sort, "reverse=,case_sensitive=,attribute="},
    {"string", f_string, ""},
    {"striptags", chat_striptags, ""},
    {"sum", f_sum, "attribute=,start="},
    {"title", f_title, ""},
    {"tojson", f_tojson, "ensure_ascii=,indent=,separators=,sort_keys="},
    {"trim", f_trim, "chars="},
    {"truncate", f_truncate, "length=,killwords=,end=,leeway="},
    {"unique", f_unique, "case_sensitive=,attribute="},
    {"upper", f_upper, ""},
    {"urlencode", f_urlencode, ""},
    {"urlize", chat_urlize, "trim_url_limit=,nofollow=,target=,rel=,extra_schemes="},
    {"wordcount", f_wordcount, ""},
    {"wordwrap", chat_wordwrap, "width=,break_long_words=,wrapstring=,break_on_hyphens="},
    {"xmlattr", f_xmlattr, "autospace="},
};

const struct filter_def *chat_filter_find(struct str name)
{
    for (size_t i = 0; i < sizeof(filters) / sizeof(*filters); i++) {
        if (str_eq(name, str_of(filters[i].name))) {
            return &filters[i];
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
