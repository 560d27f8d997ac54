#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

struct str str_of(const char *text)
{
    return (struct str){.ptr = text, .len = text ? strlen(text) : 0};
}

struct str str_slice(struct str s, size_t from, size_t to)
{
    to = to > s.len ? s.len : to;
    from = from > to ? to : from;
    return (struct str){.ptr = s.ptr ? s.ptr + from : NULL, .len = to - from};
}

bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.ptr[i]) != lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

int str_compare(struct str a, struct str b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared ? memcmp(a.ptr, b.ptr, shared) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq(str_slice(s, 0, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_eq(str_slice(s, s.len - suffix.len, s.len), suffix);
}

bool str_eat(struct str *s, struct str prefix)
{
    if (!str_starts(*s, prefix)) {
        return false;
    }
    *s = str_slice(*s, prefix.len, s->len);
    return true;
}

size_t str_find(struct str s, struct str needle, size_t from)
{
    if (from > s.len || needle.len > s.len - from) {
        return SIZE_MAX;
    }
    if (needle.len == 0) {
        return from;
    }
    const char *hit = memmem(s.ptr + from, s.len - from, needle.ptr, needle.len);
    return hit ? (size_t)(hit - s.ptr) : SIZE_MAX;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
    while (s.len && is_space(s.ptr[0])) {
        s = str_slice(s, 1, s.len);
    }
    while (s.len && is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

struct str str_cut(struct str *rest, char separator)
{
    struct str whole = *rest;
    const char *hit = whole.len ? memchr(whole.ptr, separator, whole.len) : NULL;
    size_t at = hit ? (size_t)(hit - whole.ptr) : whole.len;
    *rest = str_slice(whole, hit ? at + 1 : at, whole.len);
    return str_slice(whole, 0, at);
}

bool str_to_u64(struct str s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.len == 0) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.ptr[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

bool str_to_i64(struct str s, int64_t *out)
{
    bool negative = str_eat(&s, STR("-"));
    uint64_t magnitude;
    if (!str_to_u64(s, &magnitude) || magnitude > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool str_to_f64(struct str s, double *out)
{
    char text[64];
    if (s.len == 0 || s.len >= sizeof text) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) { /* strtod alone would take "inf", "nan", hex and spaces */
        char c = s.ptr[i];
        if (!(c >= '0' && c <= '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E') {
            return false;
        }
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = 0;
    char *end;
    double value = strtod(text, &end);
    if (end != text + s.len || !isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

uint64_t str_hash(struct str s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.len; i++) {
        h = (h ^ (unsigned char)s.ptr[i]) * 0x100000001b3u;
    }
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

/* Characters that may hide or reorder what stands beside them on a terminal. */
static bool is_deceptive(uint32_t code)
{
    return (code >= 0x80 && code < 0xa0) || code == 0xad || (code >= 0x200b && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) ||
           code == 0xfeff || (code >= 0xfff0 && code <= 0xfffb) || code >= 0xe0000;
}

const char *str_quote(char out[STR_QUOTE_MAX], struct str s)
{
    size_t used = 0;
    for (size_t i = 0; i < s.len;) {
        char piece[16];
        uint32_t code;
        size_t len = utf8_decode(s, i, &code);
        unsigned char byte = (unsigned char)s.ptr[i];
        int n;
        if (len == 0 || byte < 0x20 || byte == 0x7f) {
            n = snprintf(piece, sizeof piece, "\\x%02x", byte);
        } else if (byte == '"' || byte == '\\') {
            n = snprintf(piece, sizeof piece, "\\%c", byte);
        } else if (is_deceptive(code)) {
            n = snprintf(piece, sizeof piece, "\\u{%x}", (unsigned)code);
        } else {
            memcpy(piece, s.ptr + i, len);
            n = (int)len;
        }
        if (used + (size_t)n + sizeof "..." > STR_QUOTE_MAX) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(out + used, piece, (size_t)n);
        used += (size_t)n;
        i += len ? len : 1;
    }
    out[used] = 0;
    return out;
}
