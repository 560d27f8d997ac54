#include "base/utf8.h"

/* Length promised by a first byte, 0 for a byte that cannot start a character, and the range of the
 * second byte (RFC 3629, section 4): E0 excludes overlong forms, ED surrogates, F4 > U+10FFFF. */
static size_t lead_len(unsigned char lead, unsigned char *second_min, unsigned char *second_max)
{
    *second_min = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *second_max = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return lead < 0x80   ? 1
           : lead < 0xc2 ? 0
           : lead < 0xe0 ? 2
           : lead < 0xf0 ? 3
           : lead < 0xf5 ? 4
                         : 0;
}

/* Number of bytes at s[at] that fit the start of one character, and in *want its whole length (0:
 * no character can start here). */
static size_t matched(struct str s, size_t at, size_t *want)
{
    unsigned char min, max;
    *want = lead_len((unsigned char)s.ptr[at], &min, &max);
    size_t n = *want ? 1 : 0;
    while (n && n < *want && at + n < s.len) {
        unsigned char byte = (unsigned char)s.ptr[at + n];
        if (byte < (n == 1 ? min : 0x80) || byte > (n == 1 ? max : 0xbf)) {
            break;
        }
        n++;
    }
    return n;
}

size_t utf8_decode(struct str s, size_t at, uint32_t *code)
{
    size_t want;
    if (at >= s.len || matched(s, at, &want) < want || want == 0) {
        return 0;
    }
    const unsigned char *p = (const unsigned char *)s.ptr + at;
    uint32_t value = want == 1 ? p[0] : p[0] & (0xffu >> (want + 1));
    for (size_t i = 1; i < want; i++) {
        value = value << 6 | (p[i] & 0x3fu);
    }
    *code = value;
    return want;
}

size_t utf8_encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        if (code >= 0xd800 && code < 0xe000) {
            return 0;
        }
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    if (code > 0x10ffff) {
        return 0;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

size_t utf8_valid_prefix(struct str s)
{
    size_t at = 0;
    while (at < s.len) {
        uint32_t code;
        if ((unsigned char)s.ptr[at] < 0x80) {
            at++;
            continue;
        }
        size_t len = utf8_decode(s, at, &code);
        if (len == 0) {
            break;
        }
        at += len;
    }
    return at;
}

bool utf8_is_valid(struct str s)
{
    return utf8_valid_prefix(s) == s.len;
}

size_t utf8_incomplete_tail(struct str s)
{
    for (size_t back = 1; back <= 3 && back <= s.len; back++) {
        size_t at = s.len - back, want;
        if (((unsigned char)s.ptr[at] & 0xc0) == 0x80) {
            continue;
        }
        return matched(s, at, &want) == back && want > back ? back : 0;
    }
    return 0;
}

size_t utf8_count(struct str s)
{
    size_t count = 0;
    for (size_t at = 0; at < s.len; count++) {
        uint32_t code;
        size_t len = utf8_decode(s, at, &code);
        at += len ? len : 1;
    }
    return count;
}
