/* JSON through jansson: strict parsing with bounds, and writing into a `struct buf`. Above this
 * header code uses jansson's json_t API directly; objects keep the order of their keys. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct json_limits {
    size_t depth_max;  /* nesting of arrays and objects; 0: 128 */
    size_t values_max; /* values of all kinds: bounds memory, ~100 bytes each; 0: unlimited */
};

/* Parses one JSON text. Refused, with line and column in the message (ERR_JSON): duplicate keys,
 * trailing bytes, a byte order mark, invalid UTF-8, lone surrogates, numbers that do not fit,
 * nesting or more values than the limits (checked before parsing, so they cost neither stack nor
 * memory). "\u0000" inside a
 * string is allowed and kept. The result is a new reference. */
json_t *json_parse(struct str text, const struct json_limits *limits, struct err *err);

/* Appends compact JSON; ASCII control characters escaped, other text as UTF-8. Reals are written
 * with the fewest digits that read back as the same double. */
void json_write(struct buf *out, const json_t *value);
void json_write_indent(struct buf *out, const json_t *value, int indent);
void json_write_spaced(struct buf *out, const json_t *value); /* one line, ", " and ": " */

/* Appends a JSON string literal with quotes. Invalid UTF-8 is replaced by U+FFFD. */
void json_write_string(struct buf *out, struct str s);

/* Shortest text that reads back as `value` ("0.1", "1e+30", "5.0"); "null" for NaN and infinities.
 * Returns the length. */
size_t json_format_double(double value, char out[32]);
size_t json_format_float(float value, char out[32]); /* shortest that reads back as a float */

/* Borrowed members; all tolerate NULL and wrong types by giving NULL / the empty string. */
struct str json_str(const json_t *value);

#endif
