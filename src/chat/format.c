/* str.format: "{field!conversion:specification}" with its mini-language. Fields may nest once; what
 * they reach for goes through the sandbox. */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "chat/format.h"

/* ---- the mini-language ---- */

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
               chat_build_padded(out, s, text.text, 0, '<');
    }
    if (!chat_build_sign(&b, i < 0, s->sign) || (s->alternate && base != 10 &&
                                                 !chat_build_literal(&b, base == 2     ? "0b"
                                                                         : base == 8   ? "0o"
                                                                         : type == 'x' ? "0x"
                                                                                       : "0X"))) {
        return false;
    }
    size_t digits_at = b.len;
    return chat_build_digits(&b, magnitude, base, type == 'X', 0, s->grouping) &&
           chat_build_done(&b, &text) && chat_build_padded(out, s, text.text, digits_at, '>');
}

static bool format_float(struct builder *out, struct spec *s, double f)
{
    struct builder b = chat_builder(out->r);
    struct val text;
    char number[40], type = s->type;
    if (!chat_build_sign(&b, signbit(f) && !isnan(f), s->sign)) {
        return false;
    }
    size_t digits_at = b.len;
    if (!type && s->precision < 0) {
        chat_float_repr(fabs(f), number);
        if (!chat_build_literal(&b, number)) {
            return false;
        }
    } else if (type == '%') {
        if (!chat_build_double(&b, fabs(f) * 100, s, 'f') || !chat_build_literal(&b, "%")) {
            return false;
        }
    } else if (!type) { /* like 'g', but with a digit after the point */
        struct spec g = *s;
        size_t start = b.len;
        if (!chat_build_double(&b, fabs(f), &g, 'g')) {
            return false;
        }
        struct str digits = {b.block->bytes + start, b.len - start};
        if (isfinite(f) && !memchr(digits.ptr, '.', digits.len) &&
            !memchr(digits.ptr, 'e', digits.len) && !chat_build_literal(&b, ".0")) {
            return false;
        }
    } else if (!chat_build_double(&b, fabs(f), s, type == 'n' ? 'g' : type)) {
        return false;
    }
    return chat_build_done(&b, &text) && chat_build_padded(out, s, text.text, digits_at, '>');
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
        return chat_build_padded(out, &s, t, 0, '<');
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

/* ---- fields ---- */

struct formatter {
    struct render *r;
    struct call *call;
    bool is_map;
    int64_t automatic; /* next number; -1: fields are numbered by hand */
    bool manual;
};

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
        if (!chat_ascii_repr(r, v, &t)) {
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
