/* The % operator of texts: C's conversions with Python's rules for types, keys and widths. */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "chat/format.h"

struct percent {
    struct render *r;
    struct builder b;
    const struct txt *format;
    size_t at;
    struct val args;
    bool is_tuple, is_mapping;
    size_t used;
};

static bool next_arg(struct percent *p, struct val *out)
{
    size_t count = p->is_tuple ? p->args.list->count : 1;
    if (p->used >= count) {
        return chat_fail(p->r, "not enough arguments for format string");
    }
    *out = p->is_tuple ? p->args.list->items[p->used] : p->args;
    p->used++;
    return true;
}

static bool percent_number(struct percent *p, int64_t *out)
{
    struct str s = chat_str(p->format);
    struct val v;
    if (p->at < s.len && s.ptr[p->at] == '*') {
        p->at++;
        if (!next_arg(p, &v)) {
            return false;
        }
        if (!val_is_int(v)) {
            return chat_fail(p->r, "* wants int");
        }
        *out = val_as_int(v);
        return true;
    }
    int64_t value = 0;
    while (p->at < s.len && isdigit((unsigned char)s.ptr[p->at])) {
        value = value * 10 + (s.ptr[p->at++] - '0');
        if (value > INT32_MAX) {
            return chat_fail(p->r, "width or precision too big");
        }
    }
    *out = value;
    return true;
}

static bool percent_integer(struct percent *p, struct spec *s, struct val v)
{
    struct builder b = chat_builder(p->r);
    struct val text;
    bool wants_int = s->type == 'x' || s->type == 'X' || s->type == 'o';
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(p->r, v);
    }
    if (v.kind == VAL_FLOAT && !wants_int) {
        if (!isfinite(v.real) || fabs(v.real) >= 9.2e18) {
            return chat_fail(p->r, "cannot convert this float to an integer");
        }
        v = val_int((int64_t)v.real);
    }
    if (!val_is_int(v)) {
        return chat_fail(p->r, "%%%c format: %s is required, not %s", s->type,
                         wants_int ? "an integer" : "a real number", chat_type_name(v));
    }
    int64_t i = val_as_int(v);
    uint64_t magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    unsigned base = s->type == 'o' ? 8 : wants_int ? 16 : 10;
    if (!chat_build_sign(&b, i < 0, s->sign)) {
        return false;
    }
    if (s->alternate && base != 10 &&
        !chat_build_literal(&b, base == 8        ? "0o"
                                : s->type == 'X' ? "0X"
                                                 : "0x")) {
        return false;
    }
    size_t digits_at = b.len;
    if (s->precision > 0 && !chat_room(p->r, (uint64_t)s->precision)) {
        return false;
    }
    return chat_build_digits(&b, magnitude, base, s->type == 'X', s->precision, 0) &&
           chat_build_done(&b, &text) && chat_build_padded(&p->b, s, text.text, digits_at, '>');
}

static bool percent_float(struct percent *p, struct spec *s, struct val v)
{
    struct builder b = chat_builder(p->r);
    struct val text;
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(p->r, v);
    }
    if (!val_is_number(v)) {
        return chat_fail(p->r, "must be real number, not %s", chat_type_name(v));
    }
    double f = val_as_float(v);
    if (!chat_build_sign(&b, signbit(f) && !isnan(f), s->sign)) {
        return false;
    }
    size_t digits_at = b.len;
    return chat_build_double(&b, fabs(f), s, s->type) && chat_build_done(&b, &text) &&
           chat_build_padded(&p->b, s, text.text, digits_at, '>');
}

static bool percent_text(struct percent *p, struct spec *s, struct val v)
{
    struct builder b = chat_builder(p->r);
    struct txt *t;
    struct val cut;
    if (s->type == 's'   ? !chat_to_text(p->r, v, &t)
        : s->type == 'a' ? !chat_ascii_repr(p->r, v, &t)
                         : !chat_repr(p->r, v, &b) || !chat_build_done(&b, &cut) ||
                               ((void)(t = cut.text), false)) {
        return false;
    }
    if (s->precision >= 0 && (uint64_t)s->precision < chat_text_chars(t)) {
        if (!chat_text_slice(p->r, t, 0, chat_text_offset(t, (size_t)s->precision), &cut)) {
            return false;
        }
        t = cut.text;
    }
    s->zero = false;
    return chat_build_padded(&p->b, s, t, 0, '>');
}

static bool percent_char(struct percent *p, struct spec *s, struct val v)
{
    struct builder b = chat_builder(p->r);
    struct val text = v;
    if (val_is_int(v)) {
        if (val_as_int(v) < 0 || val_as_int(v) > 0x10FFFF) {
            return chat_fail(p->r, "%%c arg not in range(0x110000)");
        }
        if (!chat_build_char(&b, (uint32_t)val_as_int(v), false) || !chat_build_done(&b, &text)) {
            return false;
        }
    } else if (v.kind != VAL_TEXT || chat_text_chars(v.text) != 1) {
        return chat_fail(p->r, "%%c requires int or char");
    }
    s->zero = false;
    return chat_build_padded(&p->b, s, text.text, 0, '>');
}

static bool percent_key(struct percent *p, struct val *out)
{
    struct str s = chat_str(p->format);
    size_t start = ++p->at;
    char quoted[STR_QUOTE_MAX];
    for (int depth = 1; p->at < s.len; p->at++) {
        depth += s.ptr[p->at] == '(';
        depth -= s.ptr[p->at] == ')';
        if (!depth) {
            break;
        }
    }
    if (!p->is_mapping) {
        return chat_fail(p->r, "format requires a mapping");
    }
    if (p->at >= s.len) {
        return chat_fail(p->r, "incomplete format key");
    }
    struct str key = str_slice(s, start, p->at++);
    if (p->args.kind != VAL_DICT) {
        return chat_fail_undefined(p->r, p->args);
    }
    if (!chat_dict_get_str(p->r, p->args.dict, key, out)) {
        return false;
    }
    return !val_is_missing(*out) || chat_fail(p->r, "'%s'", str_quote(quoted, key));
}

static bool percent_one(struct percent *p)
{
    struct str s = chat_str(p->format);
    struct spec spec = {.precision = -1};
    struct val v = val_missing();
    if (p->at < s.len && s.ptr[p->at] == '(' && !percent_key(p, &v)) {
        return false;
    }
    for (; p->at < s.len && s.ptr[p->at] && strchr("-+ #0", s.ptr[p->at]); p->at++) {
        char c = s.ptr[p->at];
        if (c == '-') {
            spec.align = '<';
        } else if (c == '+' || (c == ' ' && spec.sign != '+')) {
            spec.sign = c;
        }
        spec.alternate |= c == '#';
        spec.zero |= c == '0';
    }
    if (!percent_number(p, &spec.width)) {
        return false;
    }
    if (spec.width < 0) {
        spec.align = '<';
        spec.width = spec.width == INT64_MIN ? INT64_MAX : -spec.width;
    }
    spec.zero &= !spec.align;
    if (p->at < s.len && s.ptr[p->at] == '.') {
        p->at++;
        if (!percent_number(p, &spec.precision)) {
            return false;
        }
        spec.precision = spec.precision < 0 ? 0 : spec.precision;
    }
    if (p->at < s.len && s.ptr[p->at] && strchr("hlL", s.ptr[p->at])) {
        p->at++;
    }
    if (p->at >= s.len) {
        return chat_fail(p->r, "incomplete format");
    }
    spec.type = s.ptr[p->at++];
    if (spec.type == '%') {
        return chat_build_text(&p->b, p->format, p->at - 1, p->at);
    }
    if (!spec.type || !strchr("diuxXoeEfFgGsrac", spec.type)) {
        return chat_fail(p->r, "unsupported format character 0x%x at index %zu",
                         (unsigned)(unsigned char)spec.type, p->at - 1);
    }
    if (val_is_missing(v) && !next_arg(p, &v)) {
        return false;
    }
    switch (spec.type) {
    case 's':
    case 'r':
    case 'a':
        return percent_text(p, &spec, v);
    case 'c':
        return percent_char(p, &spec, v);
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        return percent_integer(p, &spec, v);
    default:
        return percent_float(p, &spec, v);
    }
}

bool chat_percent(struct render *r, const struct txt *format, struct val args, struct val *out)
{
    struct percent p = {.r = r,
                        .b = chat_builder(r),
                        .format = format,
                        .args = args,
                        .is_tuple = args.kind == VAL_TUPLE};
    p.is_mapping = args.kind == VAL_DICT || args.kind == VAL_LIST || args.kind == VAL_RANGE ||
                   args.kind == VAL_UNDEFINED;
    struct str s = chat_str(format);
    if (p.is_tuple && !chat_list_load(r, args.list)) {
        return false;
    }
    while (p.at < s.len) {
        size_t start = p.at;
        const char *hit = memchr(s.ptr + p.at, '%', s.len - p.at);
        p.at = hit ? (size_t)(hit - s.ptr) : s.len;
        if (!chat_build_text(&p.b, format, start, p.at) || !chat_step(r, 1)) {
            return false;
        }
        if (p.at < s.len && (p.at++, !percent_one(&p))) {
            return false;
        }
    }
    if (p.is_tuple ? p.used < args.list->count : !p.used && !p.is_mapping) {
        return chat_fail(r, "not all arguments converted during string formatting");
    }
    if (!chat_build_done(&p.b, out)) {
        return false;
    }
    out->text->markup = format->markup;
    return true;
}
