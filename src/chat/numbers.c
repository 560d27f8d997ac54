/* Numbers from text, as int() and float() read them, and to text, as the format languages write
 * them. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat/format.h"
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

enum { PRECISION_MAX = 100000 };

bool chat_build_digits(struct builder *b, uint64_t value, unsigned base, bool upper, int64_t least,
                       char grouping)
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

bool chat_build_padded(struct builder *b, const struct spec *s, struct txt *body, size_t digits_at,
                       char default_align)
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

bool chat_build_sign(struct builder *b, bool negative, char sign)
{
    return negative ? chat_build_literal(b, "-")
           : sign   ? chat_build_char(b, (unsigned char)sign, false)
                    : true;
}

bool chat_build_double(struct builder *b, double f, const struct spec *s, char type)
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
