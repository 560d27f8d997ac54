#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

/* jansson's own depth limit is a build constant (2048) and it knows no limit of values: `[[],[],`
 * of a few MiB becomes a GiB of nodes. Both are checked on the text, before anything is allocated.
 * Brackets and commas inside strings do not count. A value is counted at the comma before it or the
 * bracket around it, so an empty array counts as two. */
static bool limits_ok(struct str text, size_t depth_max, size_t values_max, struct err *err)
{
    size_t depth = 0, values = 1;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            values++;
            if (++depth > depth_max) {
                return err_set(err, ERR_JSON, "JSON is nested more than %zu levels deep",
                               depth_max);
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        } else if (c == ',') {
            values++;
        }
    }
    if (values_max && values > values_max) {
        return err_set(err, ERR_JSON, "JSON has more than %zu values", values_max);
    }
    return true;
}

json_t *json_parse(struct str text, const struct json_limits *limits, struct err *err)
{
    size_t depth_max = limits && limits->depth_max ? limits->depth_max : 128;
    json_error_t fault;
    if (!limits_ok(text, depth_max, limits ? limits->values_max : 0, err)) {
        return NULL;
    }
    json_t *value = json_loadb(text.ptr ? text.ptr : "", text.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    if (!value) {
        char quoted[STR_QUOTE_MAX];
        if (json_error_code(&fault) == json_error_out_of_memory) {
            err_set_memory(err, text.len);
            return NULL;
        }
        err_set(err, ERR_JSON, "malformed JSON at line %d, column %d: %s", fault.line, fault.column,
                str_quote(quoted, str_of(fault.text)));
    }
    return value;
}

void json_write_string(struct buf *out, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    size_t plain = 0; /* start of the run that needs no escape */
    buf_add_char(out, '"');
    for (size_t i = 0; i < s.len;) {
        unsigned char byte = (unsigned char)s.ptr[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
            i++;
            continue;
        }
        uint32_t code;
        size_t len = utf8_decode(s, i, &code);
        if (len > 1) {
            i += len;
            continue;
        }
        buf_add(out, str_slice(s, plain, i));
        if (len == 0) {
            buf_add_text(out, "\xef\xbf\xbd");
        } else if (byte == '"' || byte == '\\') {
            buf_add(out, (struct str){(const char[]){'\\', (char)byte}, 2});
        } else if (byte == '\n') {
            buf_add_text(out, "\\n");
        } else if (byte == '\r') {
            buf_add_text(out, "\\r");
        } else if (byte == '\t') {
            buf_add_text(out, "\\t");
        } else if (byte == 0x7f) {
            buf_add_char(out, 0x7f);
        } else {
            buf_add(out,
                    (struct str){
                        (const char[]){'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6});
        }
        plain = ++i;
    }
    buf_add(out, str_slice(s, plain, s.len));
    buf_add_char(out, '"');
}

/* %.15g, %.16g, %.17g in turn: the first that reads back is the shortest of these, and 15 digits
 * are shortest for all numbers people write. */
size_t json_format_double(double value, char out[32])
{
    if (!isfinite(value)) {
        return (size_t)snprintf(out, 32, "null");
    }
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, 32, "%.*g", digits, value);
        if (strtod(out, NULL) == value) {
            break;
        }
    }
    if (!strpbrk(out, ".e")) {
        n += snprintf(out + n, 32 - (size_t)n, ".0");
    }
    return (size_t)n;
}

size_t json_format_float(float value, char out[32])
{
    if (!isfinite(value)) {
        return (size_t)snprintf(out, 32, "null");
    }
    int n = 0;
    for (int digits = 6; digits <= 9; digits++) {
        n = snprintf(out, 32, "%.*g", digits, (double)value);
        if (strtof(out, NULL) == value) {
            break;
        }
    }
    if (!strpbrk(out, ".e")) {
        n += snprintf(out + n, 32 - (size_t)n, ".0");
    }
    return (size_t)n;
}

static void new_line(struct buf *out, int indent, int level)
{
    if (indent > 0) {
        buf_add_char(out, '\n');
        for (int i = 0; i < indent * level; i++) {
            buf_add_char(out, ' ');
        }
    }
}

static void write_value(struct buf *out, const json_t *value, int indent, int level);

static void write_object(struct buf *out, const json_t *value, int indent, int level)
{
    const char *between = "";
    json_t *object = (json_t *)(uintptr_t)value; /* jansson's iterators take no const */
    buf_add_char(out, '{');
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        buf_add_text(out, between);
        new_line(out, indent, level + 1);
        json_write_string(out, str_of(json_object_iter_key(it)));
        buf_add_text(out, indent != 0 ? ": " : ":");
        write_value(out, json_object_iter_value(it), indent, level + 1);
        between = indent < 0 ? ", " : ",";
    }
    if (*between) {
        new_line(out, indent, level);
    }
    buf_add_char(out, '}');
}

static void write_array(struct buf *out, const json_t *value, int indent, int level)
{
    size_t count = json_array_size(value);
    buf_add_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, !i ? "" : indent < 0 ? ", " : ",");
        new_line(out, indent, level + 1);
        write_value(out, json_array_get(value, i), indent, level + 1);
    }
    if (count) {
        new_line(out, indent, level);
    }
    buf_add_char(out, ']');
}

static void write_value(struct buf *out, const json_t *value, int indent, int level)
{
    char number[32];
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        write_object(out, value, indent, level);
        break;
    case JSON_ARRAY:
        write_array(out, value, indent, level);
        break;
    case JSON_STRING:
        json_write_string(out, json_str(value));
        break;
    case JSON_INTEGER:
        buf_add_format(out, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        json_format_double(json_real_value(value), number);
        buf_add_text(out, number);
        break;
    case JSON_TRUE:
        buf_add_text(out, "true");
        break;
    case JSON_FALSE:
        buf_add_text(out, "false");
        break;
    case JSON_NULL:
        buf_add_text(out, "null");
        break;
    }
}

void json_write(struct buf *out, const json_t *value)
{
    write_value(out, value, 0, 0);
}

void json_write_indent(struct buf *out, const json_t *value, int indent)
{
    write_value(out, value, indent, 0);
}

void json_write_spaced(struct buf *out, const json_t *value)
{
    write_value(out, value, -1, 0);
}

struct str json_str(const json_t *value)
{
    if (!json_is_string(value)) {
        return (struct str){0};
    }
    return (struct str){.ptr = json_string_value(value), .len = json_string_length(value)};
}
