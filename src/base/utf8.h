/* UTF-8 per RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* Decodes the character at s[at]. Returns its length in bytes and sets *code, or returns 0 when the
 * bytes there are not a complete valid character (also at the end of s). */
size_t utf8_decode(struct str s, size_t at, uint32_t *code);

/* Writes 1-4 bytes and returns how many; 0 for a code that is no character. */
size_t utf8_encode(uint32_t code, char out[4]);

/* Number of leading bytes of s that are valid UTF-8; s.len when all is. */
size_t utf8_valid_prefix(struct str s);
bool utf8_is_valid(struct str s);

/* Length of the trailing bytes of s that are the start of a character not yet complete: 0-3. What
 * a streaming writer must hold back. Bytes that can never become valid are not counted. */
size_t utf8_incomplete_tail(struct str s);

/* Number of characters; each invalid byte counts as one. */
size_t utf8_count(struct str s);

#endif
