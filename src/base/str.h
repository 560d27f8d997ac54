/* Strings that carry their length. A `struct str` borrows its bytes and never owns them; it may
 * hold NUL bytes and need not be UTF-8. The bytes are not terminated. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *ptr; /* may be NULL only when len is 0 */
    size_t len;
};

/* A `struct str` of a string literal. */
#define STR(literal) ((struct str){.ptr = (literal), .len = sizeof(literal) - 1})

/* printf("%.*s", STR_ARG(s)) for text that is known to be safe to print. */
#define STR_ARG(s) ((int)((s).len > 4096 ? 4096 : (s).len)), ((s).ptr ? (s).ptr : "")

/* Borrows a terminated C string; NULL gives the empty string. */
struct str str_of(const char *text);

/* Borrows bytes [from, to) of s; both ends are clamped to s. */
struct str str_slice(struct str s, size_t from, size_t to);

bool str_eq(struct str a, struct str b);
bool str_eq_nocase(struct str a, struct str b); /* ASCII case only */
int str_compare(struct str a, struct str b);    /* byte order, like memcmp, shorter first */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);

/* Removes prefix from *s and returns true, or leaves *s alone and returns false. */
bool str_eat(struct str *s, struct str prefix);

/* Index of the first occurrence of needle at or after `from`, or SIZE_MAX. An empty needle is
 * found at `from`. */
size_t str_find(struct str s, struct str needle, size_t from);

/* ASCII white space removed at both ends. */
struct str str_trim(struct str s);

/* Splits *rest at the first `separator`: returns the part before it and moves *rest behind it.
 * Without a separator returns all and leaves *rest empty. */
struct str str_cut(struct str *rest, char separator);

/* Whole string as a decimal number; false on empty, sign errors, trailing bytes or overflow. */
bool str_to_u64(struct str s, uint64_t *out);
bool str_to_i64(struct str s, int64_t *out);
bool str_to_f64(struct str s, double *out); /* finite only; no hex, no "inf", no "nan" */

/* FNV-1a with a final mix; for hash tables, not against attackers. */
uint64_t str_hash(struct str s);

/* Room for a quoted text from a file or a client inside a message. */
enum { STR_QUOTE_MAX = 128 };

/* Copies s to out as printable ASCII and valid UTF-8 letters, everything else (control bytes,
 * quotes, invalid UTF-8, bidirectional overrides) as \xNN or \u{N}, cut with "..." to fit. Returns
 * out, so that it can stand in an argument list: every text that a file or client controls goes
 * through this before it reaches a message, a log line or a terminal. */
const char *str_quote(char out[STR_QUOTE_MAX], struct str s);

#endif
