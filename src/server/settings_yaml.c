/* YAML config files: the part of YAML that settings need. libyaml scans (YAML 1.1 syntax); plain
 * scalars are resolved here by the core schema of YAML 1.2, so `no` and `on` stay texts and 010 is
 * ten. Anchors, aliases, tags, several documents and nested mappings are refused: nothing here
 * needs them, and an alias bomb cannot be written without them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/json.h"
#include "server/settings.h"

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    char *message;
};

static bool fail(struct reader *reader, const char *reason)
{
    size_t line = reader->has_event ? reader->event.start_mark.line : 0;
    snprintf(reader->message, 256, "%zu: %s", line + 1, reason);
    return false;
}

static bool next(struct reader *reader)
{
    if (reader->has_event) {
        yaml_event_delete(&reader->event);
        reader->has_event = false;
    }
    if (!yaml_parser_parse(&reader->parser, &reader->event)) {
        snprintf(reader->message, 256, "%zu: %s", reader->parser.problem_mark.line + 1,
                 reader->parser.problem ? reader->parser.problem : "malformed YAML");
        return false;
    }
    reader->has_event = true;
    return true;
}

static bool is_one_of(struct str s, const char *words)
{
    struct str rest = str_of(words);
    while (rest.len) {
        if (str_eq(str_cut(&rest, ' '), s)) {
            return true;
        }
    }
    return false;
}

/* Core schema: null, booleans, integers (decimal, 0o, 0x), floats; everything else is text. */
static json_t *resolve(struct str s)
{
    int64_t whole;
    double number;
    struct str digits = s;
    if (s.len == 0 || is_one_of(s, "~ null Null NULL")) {
        return json_null();
    }
    if (is_one_of(s, "true True TRUE")) {
        return json_true();
    }
    if (is_one_of(s, "false False FALSE")) {
        return json_false();
    }
    if (digits.ptr[0] == '+') {
        digits = str_slice(digits, 1, digits.len);
    }
    if (str_to_i64(digits, &whole)) {
        return json_integer(whole);
    }
    if (str_starts(s, STR("0x")) || str_starts(s, STR("0o"))) {
        char *end, text[32];
        snprintf(text, sizeof text, "%.*s", (int)(s.len < 31 ? s.len : 31) - 2, s.ptr + 2);
        long long value = strtoll(text, &end, s.ptr[1] == 'x' ? 16 : 8);
        if (*end == 0 && end != text && text[0] != '-' && text[0] != '+' && s.len < 18) {
            return json_integer(value);
        }
    }
    bool has_digit = false;
    for (size_t i = 0; i < s.len; i++) {
        has_digit = has_digit || (s.ptr[i] >= '0' && s.ptr[i] <= '9');
    }
    if (has_digit && str_to_f64(s, &number)) {
        return json_real(number);
    }
    return json_stringn(s.ptr, s.len);
}

static json_t *read_scalar(struct reader *reader)
{
    const yaml_event_t *event = &reader->event;
    struct str text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    if (event->data.scalar.anchor || event->data.scalar.tag) {
        fail(reader, "anchors and tags are not used here");
        return NULL;
    }
    json_t *value = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE
                        ? resolve(text)
                        : json_stringn(text.ptr, text.len);
    if (!value) {
        fail(reader, "the text is not UTF-8");
    }
    return value;
}

static json_t *read_list(struct reader *reader)
{
    json_t *list = json_array();
    while (list) {
        if (!next(reader)) {
            break;
        }
        if (reader->event.type == YAML_SEQUENCE_END_EVENT) {
            return list;
        }
        if (reader->event.type != YAML_SCALAR_EVENT) {
            fail(reader, "lists hold plain values only");
            break;
        }
        json_t *item = read_scalar(reader);
        if (!item || json_array_append_new(list, item) != 0) {
            break;
        }
    }
    json_decref(list);
    return NULL;
}

static bool read_entry(struct reader *reader, json_t *values, json_t *lines)
{
    char key[256];
    if (reader->event.type != YAML_SCALAR_EVENT || reader->event.data.scalar.length >= sizeof key) {
        return fail(reader, "a key must be a short text");
    }
    snprintf(key, sizeof key, "%s", (const char *)reader->event.data.scalar.value);
    size_t line = reader->event.start_mark.line + 1;
    if (json_object_get(values, key)) {
        return fail(reader, "a key stands twice");
    }
    if (!next(reader)) {
        return false;
    }
    json_t *value = NULL;
    if (reader->event.type == YAML_SCALAR_EVENT) {
        value = read_scalar(reader);
    } else if (reader->event.type == YAML_SEQUENCE_START_EVENT) {
        value = read_list(reader);
    } else {
        fail(reader, "settings are plain values or lists, without nesting or aliases");
    }
    return value && json_object_set_new(values, key, value) == 0 &&
           json_object_set_new(lines, key, json_integer((json_int_t)line)) == 0;
}

static bool read_document(struct reader *reader, json_t *values, json_t *lines)
{
    if (!next(reader)) { /* stream start */
        return false;
    }
    if (!next(reader)) {
        return false;
    }
    if (reader->event.type == YAML_STREAM_END_EVENT) {
        return true; /* an empty file */
    }
    if (!next(reader)) {
        return false;
    }
    bool is_empty =
        reader->event.type == YAML_SCALAR_EVENT && reader->event.data.scalar.length == 0;
    if (!is_empty && reader->event.type != YAML_MAPPING_START_EVENT) {
        return fail(reader, "the file must be a mapping of names to values");
    }
    while (!is_empty) {
        if (!next(reader)) {
            return false;
        }
        if (reader->event.type == YAML_MAPPING_END_EVENT) {
            break;
        }
        if (!read_entry(reader, values, lines)) {
            return false;
        }
    }
    if (!next(reader) || !next(reader)) { /* document end, then the stream's */
        return false;
    }
    return reader->event.type == YAML_STREAM_END_EVENT ||
           fail(reader, "the file must hold one document");
}

bool server_yaml_read(struct str text, json_t **values, json_t **lines, char message[256])
{
    struct reader reader = {.message = message};
    snprintf(message, 256, "1: out of memory");
    *values = json_object();
    *lines = json_object();
    if (!*values || !*lines || !yaml_parser_initialize(&reader.parser)) {
        return false;
    }
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text.ptr, text.len);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    bool ok = read_document(&reader, *values, *lines);
    if (reader.has_event) {
        yaml_event_delete(&reader.event);
    }
    yaml_parser_delete(&reader.parser);
    return ok;
}
