/* Formatting: `"%s" % x`, "{}".format(x) with its mini-language, and strings to numbers.
 * Widths and precisions come from hostile templates: room is checked before it is filled. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat/interp.h"
#include "chat/unicode.h"

/* ---- numbers from text ---- */

static struct str strip_spaces(struct str s)
{
    uint32_t code;
    while (s.len) {
        size_t n = chat_text_decode(s, 0, &code);
        if (!chat_char_is_space(code)) {
            break;
        }
        s = str_slice(s, n, s.len);
    }
    while (s.len) {
        size_t start = s.len - 1;
        while (start > 0 && ((unsigned char)s.ptr[start] & 0xC0) == 0x80) {
            start--;
        }
        chat_text_decode(s, start, &code);
        if (!chat_char_is_space(code)) {
            break;
        }
        s.len = start;
    }
    return s;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 32;
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* int(s, base). *valid false: a ValueError; false: beyond 64 bits. */
bool chat_int_parse(struct render *r, struct str s, int base, int64_t *out, bool *valid)
{
    *valid = false;
    s = strip_spaces(s);
    bool negative = s.len && s.ptr[0] == '-';
    if (s.len && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        s = str_slice(s, 1, s.len);
    }
    bool prefixed = false;
    if (s.len > 1 && s.ptr[0] == '0') {
        char c = s.ptr[1] | 32;
        int named = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
        if (named && (base == 0 || base == named)) {
            base = named;
            s = str_slice(s, 2, s.len);
            prefixed = true;
        }
    }
    bool zero_only = base == 0 && s.len && s.ptr[0] == '0';
    if (base == 0) {
        base = 10;
    }
    int64_t value = 0;
    bool overflow = false, digit_before = prefixed;
    if (!s.len) {
        return true;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '_' && digit_before && i + 1 < s.len) {
            digit_before = false;
            continue;
        }
        int digit = digit_of(s.ptr[i]);
        if (digit >= base || (zero_only && digit)) {
            return true;
        }
        digit_before = true;
        overflow |= __builtin_mul_overflow(value, (int64_t)base, &value) ||
                    __builtin_sub_overflow(value, (int64_t)digit, &value);
    }
    if (!digit_before) {
        return true;
    }
    if (overflow || (!negative && value == INT64_MIN)) {
        return chat_fail(r, "an integer beyond 64 bits");
    }
    *valid = true;
    *out = negative ? value : -value;
    return true;
}

/* float(s): decimal, "inf", "nan"; no hexadecimal. False: a ValueError. */
bool chat_float_parse(struct str s, double *out)
{
    char text[400];
    size_t n = 0;
    s = strip_spaces(s);
    if (!s.len || s.len >= sizeof(text)) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '_') {
            if (!i || i + 1 == s.len || !isdigit((unsigned char)s.ptr[i - 1]) ||
                !isdigit((unsigned char)s.ptr[i + 1])) {
                return false;
            }
            continue;
        }
        text[n++] = c;
    }
    text[n] = '\0';
    const char *p = text + (text[0] == '-' || text[0] == '+');
    bool word = str_eq_nocase(str_of(p), STR("inf")) || str_eq_nocase(str_of(p), STR("infinity")) ||
                str_eq_nocase(str_of(p), STR("nan"));
    if (!word && (strlen(text) != n || strspn(p, "0123456789.eE+-") != strlen(p))) {
        return false;
    }
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0';
}

/* ---- numbers to text ---- */

struct spec {
    uint32_t fill;
    char align; /* '<' '>' '^' '=' or 0 */
    char sign;  /* '+' ' ' or 0 */
    bool alternate, zero;
    int64_t width;     /* 0: none */
    char grouping;     /* ',' '_' or 0 */
    int64_t precision; /* < 0: none */
    char type;
};

enum { PRECISION_MAX = 100000 };

/* Digits of a magnitude in a base, at least `least` of them, grouped. */
static bool build_digits(struct builder *b, uint64_t value, unsigned base, bool upper,
                         int64_t least, char grouping)
{
    char digits[72];
    size_t n = 0;
    do {
        digits[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
        value /= base;
    } while (value);
    struct txt zero = {.ptr = "0", .len = 1};
    if (least > (int64_t)n && !chat_build_fill(b, &zero, (uint64_t)(least - (int64_t)n))) {
        return false;
    }
    size_t step = base == 10 ? 3 : 4;
    while (n--) {
        if (!chat_build_char(b, (unsigned char)digits[n], false)) {
            return false;
        }
        if (grouping && n && n % step == 0 && !chat_build_char(b, (unsigned char)grouping, false)) {
            return false;
        }
    }
    return true;
}

/* Pads `sign prefix digits` (parts of body) to the width. `digits_at`: where '=' and zeros go. */
static bool build_padded(struct builder *b, const struct spec *s, struct txt *body,
                         size_t digits_at, char default_align)
{
    char fill_bytes[4];
    struct txt fill = {.ptr = fill_bytes, .chars = 1};
    struct builder one = chat_builder(b->r);
    struct val text;
    char align = s->align ? s->align : s->zero && default_align == '>' ? '=' : default_align;
    uint32_t code = s->fill ? s->fill : s->zero ? '0' : ' ';
    int64_t pad = s->width - (int64_t)chat_text_chars(body), left = 0;
    if (pad <= 0) {
        return chat_build_text(b, body, 0, body->len);
    }
    if (!chat_build_char(&one, code, false) || !chat_build_done(&one, &text) ||
        !chat_room(b->r, (uint64_t)pad)) {
        return false;
    }
    fill = *text.text;
    if (align == '>') {
        left = pad;
    } else if (align == '^') {
        left = pad / 2;
    }
    if (align == '=') {
        return chat_build_text(b, body, 0, digits_at) && chat_build_fill(b, &fill, (uint64_t)pad) &&
               chat_build_text(b, body, digits_at, body->len);
    }
    return chat_build_fill(b, &fill, (uint64_t)left) && chat_build_text(b, body, 0, body->len) &&
           chat_build_fill(b, &fill, (uint64_t)(pad - left));
}

static bool build_sign(struct builder *b, bool negative, char sign)
{
    return negative ? chat_build_literal(b, "-")
           : sign   ? chat_build_char(b, (unsigned char)sign, false)
                    : true;
}

/* The digits of a double as C prints them, which is what Python prints for these types. */
static bool build_double(struct builder *b, double f, const struct spec *s, char type)
{
    char format[16], small[64], *text = small;
    int64_t precision = s->precision < 0 ? 6 : s->precision;
    if (precision > PRECISION_MAX) {
        return chat_fail(b->r, "a precision of more than %d digits", PRECISION_MAX);
    }
    if (isinf(f) || isnan(f)) {
        return chat_build_literal(b, isnan(f) ? isupper((unsigned char)type) ? "NAN" : "nan"
                                     : isupper((unsigned char)type) ? "INF"
                                                                    : "inf");
    }
    snprintf(format, sizeof(format), "%%%s.*%c", s->alternate ? "#" : "", type);
    int n = snprintf(small, sizeof(small), format, (int)precision, f);
    if (n >= (int)sizeof(small)) {
        text = chat_alloc(b->r, (size_t)n + 1, 1);
        if (!text) {
            return false;
        }
        snprintf(text, (size_t)n + 1, format, (int)precision, f);
    }
    size_t whole = strspn(text, "0123456789");
    if (!s->grouping) {
        return chat_build(b, str_of(text), false);
    }
    for (size_t i = 0; i < whole; i++) {
        if ((i && (whole - i) % 3 == 0 && !chat_build_char(b, (unsigned char)s->grouping, false)) ||
            !chat_build_char(b, (unsigned char)text[i], false)) {
            return false;
        }
    }
    return chat_build(b, str_of(text + whole), false);
}

/* ---- the % operator ---- */

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
    if (!build_sign(&b, i < 0, s->sign)) {
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
    return build_digits(&b, magnitude, base, s->type == 'X', s->precision, 0) &&
           chat_build_done(&b, &text) && build_padded(&p->b, s, text.text, digits_at, '>');
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
    if (!build_sign(&b, signbit(f) && !isnan(f), s->sign)) {
        return false;
    }
    size_t digits_at = b.len;
    return build_double(&b, fabs(f), s, s->type) && chat_build_done(&b, &text) &&
           build_padded(&p->b, s, text.text, digits_at, '>');
}

static bool ascii_repr(struct render *r, struct val v, struct txt **out)
{
    struct builder b = chat_builder(r);
    struct val text;
    struct txt *t;
    if (!chat_repr(r, v, &b) || !chat_build_done(&b, &text)) {
        return false;
    }
    t = text.text;
    for (size_t i = 0; i < t->len;) {
        uint32_t code;
        size_t n = chat_text_decode(chat_str(t), i, &code);
        bool good = code < 0x80      ? chat_build_text(&b, t, i, i + n)
                    : code < 0x100   ? chat_build_format(&b, "\\x%02x", code)
                    : code < 0x10000 ? chat_build_format(&b, "\\u%04x", code)
                                     : chat_build_format(&b, "\\U%08x", code);
        if (!good) {
            return false;
        }
        i += n;
    }
    if (!chat_build_done(&b, &text)) {
        return false;
    }
    *out = text.text;
    return true;
}

static bool percent_text(struct percent *p, struct spec *s, struct val v)
{
    struct builder b = chat_builder(p->r);
    struct txt *t;
    struct val cut;
    if (s->type == 's'   ? !chat_to_text(p->r, v, &t)
        : s->type == 'a' ? !ascii_repr(p->r, v, &t)
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
    return build_padded(&p->b, s, t, 0, '>');
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
    return build_padded(&p->b, s, text.text, 0, '>');
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

/* ---- str.format ---- */

struct formatter {
    struct render *r;
    struct call *call;
    bool is_map;
    int64_t automatic; /* next number; -1: fields are numbered by hand */
    bool manual;
};

static bool bad_spec(struct render *r, struct val v)
{
    return chat_fail(r, "Invalid format specifier for object of type '%s'", chat_type_name(v));
}

static bool parse_spec(struct render *r, struct str s, struct val v, struct spec *out)
{
    size_t at = 0;
    uint32_t code, next;
    *out = (struct spec){.precision = -1};
    if (s.len) {
        size_t n = chat_text_decode(s, 0, &code);
        if (n < s.len && (chat_text_decode(s, n, &next), next && next < 0x80) &&
            strchr("<>=^", (int)next)) {
            out->fill = code;
            out->align = (char)next;
            at = n + 1;
        } else if (code && code < 0x80 && strchr("<>=^", (int)code)) {
            out->align = (char)code;
            at = 1;
        }
    }
    if (at < s.len && s.ptr[at] && strchr("+- ", s.ptr[at])) {
        out->sign = s.ptr[at] == '-' ? '\0' : s.ptr[at];
        at++;
    }
    if (at < s.len && s.ptr[at] == '#') {
        out->alternate = true;
        at++;
    }
    if (at < s.len && s.ptr[at] == '0') {
        out->zero = !out->align;
        at++;
    }
    for (int part = 0; part < 2; part++) {
        int64_t value = 0;
        size_t start = at;
        if (part == 1) {
            if (at < s.len && (s.ptr[at] == ',' || s.ptr[at] == '_')) {
                out->grouping = s.ptr[at++];
            }
            if (at >= s.len || s.ptr[at] != '.') {
                break;
            }
            start = ++at;
        }
        for (; at < s.len && isdigit((unsigned char)s.ptr[at]); at++) {
            value = value * 10 + (s.ptr[at] - '0');
            if (value > INT32_MAX) {
                return chat_fail(r, "Too many decimal digits in format string");
            }
        }
        if (part == 0) {
            out->width = value;
        } else if (at == start) {
            return chat_fail(r, "Format specifier missing precision");
        } else {
            out->precision = value;
        }
    }
    if (at < s.len) {
        out->type = s.ptr[at++];
    }
    return at == s.len || bad_spec(r, v);
}

static bool format_int(struct builder *out, struct spec *s, int64_t i)
{
    struct builder b = chat_builder(out->r);
    struct val text;
    char type = s->type ? s->type : 'd';
    unsigned base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
    uint64_t magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    if (s->precision >= 0) {
        return chat_fail(out->r, "Precision not allowed in integer format specifier");
    }
    if (type == 'c') {
        if (i < 0 || i > 0x10FFFF) {
            return chat_fail(out->r, "%%c arg not in range(0x110000)");
        }
        return chat_build_char(&b, (uint32_t)i, false) && chat_build_done(&b, &text) &&
               build_padded(out, s, text.text, 0, '<');
    }
    if (!build_sign(&b, i < 0, s->sign) || (s->alternate && base != 10 &&
                                            !chat_build_literal(&b, base == 2     ? "0b"
                                                                    : base == 8   ? "0o"
                                                                    : type == 'x' ? "0x"
                                                                                  : "0X"))) {
        return false;
    }
    size_t digits_at = b.len;
    return build_digits(&b, magnitude, base, type == 'X', 0, s->grouping) &&
           chat_build_done(&b, &text) && build_padded(out, s, text.text, digits_at, '>');
}

static bool format_float(struct builder *out, struct spec *s, double f)
{
    struct builder b = chat_builder(out->r);
    struct val text;
    char number[40], type = s->type;
    if (!build_sign(&b, signbit(f) && !isnan(f), s->sign)) {
        return false;
    }
    size_t digits_at = b.len;
    if (!type && s->precision < 0) {
        chat_float_repr(fabs(f), number);
        if (!chat_build_literal(&b, number)) {
            return false;
        }
    } else if (type == '%') {
        if (!build_double(&b, fabs(f) * 100, s, 'f') || !chat_build_literal(&b, "%")) {
            return false;
        }
    } else if (!type) { /* like 'g', but with a digit after the point */
        struct spec g = *s;
        size_t start = b.len;
        if (!build_double(&b, fabs(f), &g, 'g')) {
            return false;
        }
        struct str digits = {b.block->bytes + start, b.len - start};
        if (isfinite(f) && !memchr(digits.ptr, '.', digits.len) &&
            !memchr(digits.ptr, 'e', digits.len) && !chat_build_literal(&b, ".0")) {
            return false;
        }
    } else if (!build_double(&b, fabs(f), s, type == 'n' ? 'g' : type)) {
        return false;
    }
    return chat_build_done(&b, &text) && build_padded(out, s, text.text, digits_at, '>');
}

static bool format_value(struct builder *out, struct val v, struct str spec_text)
{
    struct render *r = out->r;
    struct spec s;
    struct txt *t;
    struct val cut;
    if (!spec_text.len || v.kind == VAL_UNDEFINED) {
        return chat_to_text(r, v, &t) && chat_build_text(out, t, 0, t->len);
    }
    if (!val_is_number(v) && v.kind != VAL_TEXT) {
        return chat_fail(r, "unsupported format string passed to %s.__format__", chat_type_name(v));
    }
    if (!parse_spec(r, spec_text, v, &s)) {
        return false;
    }
    if (v.kind == VAL_TEXT) {
        if ((s.type && s.type != 's') || s.sign || s.alternate || s.align == '=' || s.grouping) {
            return bad_spec(r, v);
        }
        t = v.text;
        if (s.precision >= 0 && (uint64_t)s.precision < chat_text_chars(t)) {
            if (!chat_text_slice(r, t, 0, chat_text_offset(t, (size_t)s.precision), &cut)) {
                return false;
            }
            t = cut.text;
        }
        return build_padded(out, &s, t, 0, '<');
    }
    if (v.kind != VAL_FLOAT && (!s.type || strchr("bcdoxXn", s.type))) {
        return format_int(out, &s, val_as_int(v));
    }
    if (s.type && !strchr("eEfFgGn%", s.type)) {
        return chat_fail(r, "Unknown format code '%c' for object of type '%s'",
                         isprint((unsigned char)s.type) ? s.type : '?', chat_type_name(v));
    }
    return format_float(out, &s, val_as_float(v));
}

static bool numbered(struct formatter *f, int64_t index, struct val *out)
{
    if (f->is_map || index < 0 || (uint64_t)index >= f->call->count) {
        return chat_fail(f->r, "Replacement index %lld out of range for positional args tuple",
                         (long long)index);
    }
    *out = f->call->args[index];
    return true;
}

static bool named(struct formatter *f, struct str name, struct val *out)
{
    char quoted[STR_QUOTE_MAX];
    *out = val_missing();
    if (f->is_map) {
        if (f->call->args[0].kind != VAL_DICT) {
            return chat_fail(f->r, "format_map() wants a mapping");
        }
        if (!chat_dict_get_str(f->r, f->call->args[0].dict, name, out)) {
            return false;
        }
    }
    for (size_t i = 0; !f->is_map && i < f->call->keyword_count; i++) {
        if (str_eq(f->call->keywords[i].name, name)) {
            *out = f->call->keywords[i].value;
        }
    }
    return !val_is_missing(*out) || chat_fail(f->r, "'%s'", str_quote(quoted, name));
}

/* "0.name[key]": the first part from the arguments, the rest as the sandbox allows. */
static bool get_field(struct formatter *f, struct str name, struct val *out)
{
    size_t at = 0;
    int64_t number;
    while (at < name.len && name.ptr[at] != '.' && name.ptr[at] != '[') {
        at++;
    }
    struct str first = str_slice(name, 0, at);
    bool digits = first.len > 0;
    for (size_t i = 0; i < first.len; i++) {
        digits &= isdigit((unsigned char)first.ptr[i]) != 0;
    }
    if (!first.len || digits) {
        if (first.len ? f->automatic > 0 : f->manual) {
            return chat_fail(f->r, first.len ? "cannot switch from automatic field numbering to "
                                               "manual field specification"
                                             : "cannot switch from manual field specification to "
                                               "automatic field numbering");
        }
        if (!first.len) {
            number = f->automatic++;
        } else if (!str_to_i64(first, &number)) {
            return chat_fail(f->r, "Too many decimal digits in format string");
        }
        f->manual |= first.len > 0;
        if (!numbered(f, number, out)) {
            return false;
        }
    } else if (!named(f, first, out)) {
        return false;
    }
    while (at < name.len) {
        bool bracket = name.ptr[at] == '[';
        size_t start = ++at;
        while (at < name.len &&
               (bracket ? name.ptr[at] != ']' : name.ptr[at] != '.' && name.ptr[at] != '[')) {
            at++;
        }
        struct str part = str_slice(name, start, at);
        struct val key;
        if (!part.len || (bracket && at >= name.len)) {
            return chat_fail(f->r, "Empty attribute in format string");
        }
        if (bracket && str_to_i64(part, &number) && isdigit((unsigned char)part.ptr[0])) {
            key = val_int(number);
        } else if (!chat_text_view(f->r, part, true, &key)) {
            return false;
        }
        if (bracket ? !chat_get_item(f->r, *out, key, out)
                    : !chat_get_attr(f->r, *out, part, out)) {
            return false;
        }
        at += bracket;
        if (bracket && at < name.len && name.ptr[at] != '.' && name.ptr[at] != '[') {
            return chat_fail(f->r, "Only '.' or '[' may follow ']' in format field specifier");
        }
    }
    return true;
}

static bool expand(struct formatter *f, const struct txt *format, int depth, struct builder *b);

static bool convert(struct render *r, char conversion, struct val v, struct val *out)
{
    struct builder b = chat_builder(r);
    struct txt *t;
    switch (conversion) {
    case 's':
        if (!chat_to_text(r, v, &t)) {
            return false;
        }
        *out = val_text(t);
        return true;
    case 'r':
        return chat_repr(r, v, &b) && chat_build_done(&b, out);
    case 'a':
        if (!ascii_repr(r, v, &t)) {
            return false;
        }
        *out = val_text(t);
        return true;
    default:
        return chat_fail(r, "Unknown conversion specifier %c",
                         isprint((unsigned char)conversion) ? conversion : '?');
    }
}

/* One replacement field; `at` stands behind its "{", and behind its "}" afterwards. */
static bool field(struct formatter *f, const struct txt *format, size_t *at, int depth,
                  struct builder *b)
{
    struct render *r = f->r;
    struct str s = chat_str(format);
    size_t start = *at, end = start, level = 1, name_end;
    bool in_bracket = false;
    struct val v, spec;
    if (depth < 0) {
        return chat_fail(r, "Max string recursion exceeded");
    }
    for (; end < s.len; end++) {
        level += s.ptr[end] == '{';
        level -= s.ptr[end] == '}';
        if (!level) {
            break;
        }
    }
    if (end >= s.len) {
        return chat_fail(r, start >= s.len ? "Single '{' encountered in format string"
                                           : "expected '}' before end of string");
    }
    for (name_end = start; name_end < end; name_end++) {
        char c = s.ptr[name_end];
        in_bracket = c == '[' || (in_bracket && c != ']');
        if (!in_bracket && (c == ':' || c == '!')) {
            break;
        }
        if (c == '{') {
            return chat_fail(r, "unexpected '{' in field name");
        }
    }
    if (!get_field(f, str_slice(s, start, name_end), &v)) {
        return false;
    }
    size_t p = name_end;
    if (p < end && s.ptr[p] == '!') {
        if (p + 1 >= end) {
            return chat_fail(r, "end of string while looking for conversion specifier");
        }
        if (!convert(r, s.ptr[p + 1], v, &v)) {
            return false;
        }
        p += 2;
        if (p < end && s.ptr[p] != ':') {
            return chat_fail(r, "expected ':' after conversion specifier");
        }
    }
    p += p < end;
    struct builder inner = chat_builder(r);
    struct txt part = {.ptr = s.ptr + p, .len = end - p, .chars = SIZE_MAX};
    if (!expand(f, &part, depth - 1, &inner) || !chat_build_done(&inner, &spec)) {
        return false;
    }
    *at = end + 1;
    return format_value(b, v, chat_str(spec.text));
}

static bool expand(struct formatter *f, const struct txt *format, int depth, struct builder *b)
{
    struct str s = chat_str(format);
    for (size_t at = 0; at < s.len;) {
        size_t start = at;
        while (at < s.len && s.ptr[at] != '{' && s.ptr[at] != '}') {
            at++;
        }
        if (!chat_build_text(b, format, start, at) || !chat_step(f->r, 1 + (at - start) / 16)) {
            return false;
        }
        if (at >= s.len) {
            break;
        }
        if (at + 1 < s.len && s.ptr[at + 1] == s.ptr[at]) {
            if (!chat_build_text(b, format, at, at + 1)) {
                return false;
            }
            at += 2;
        } else if (s.ptr[at] == '}') {
            return chat_fail(f->r, "Single '}' encountered in format string");
        } else {
            at++;
            if (!field(f, format, &at, depth, b)) {
                return false;
            }
        }
    }
    return true;
}

bool chat_format(struct render *r, const struct txt *format, struct call *call, bool is_map,
                 struct val *out)
{
    struct formatter f = {.r = r, .call = call, .is_map = is_map};
    struct builder b = chat_builder(r);
    if (is_map && (call->keyword_count || call->count != 1)) {
        return chat_fail(r, "format_map() takes exactly one argument (%zu given)", call->count);
    }
    return expand(&f, format, 1, &b) && chat_build_done(&b, out);
}
