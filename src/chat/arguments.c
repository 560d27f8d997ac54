#include "chat/arguments.h"

#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

enum { KEY_BYTES_MAX = 1024, DEPTH_MAX = 128 };

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

void chat_arguments_init(struct chat_arguments *a, const struct chat_spelling *spelling, char kind,
                         const struct chat_tool *tool)
{
    *a =
        (struct chat_arguments){.kind = kind, .spelling = spelling, .tool = tool, .is_first = true};
}

void chat_arguments_deinit(struct chat_arguments *a)
{
    buf_deinit(&a->held);
    buf_deinit(&a->word);
}

/* One byte of a string that becomes the inside of a JSON string. */
static void add_escaped(struct buf *out, char c)
{
    switch (c) {
    case '"':
    case '\\':
        buf_add_char(out, '\\');
        buf_add_char(out, c);
        return;
    case '\n':
        buf_add_text(out, "\\n");
        return;
    case '\r':
        buf_add_text(out, "\\r");
        return;
    case '\t':
        buf_add_text(out, "\\t");
        return;
    default:
        if ((unsigned char)c < 0x20) {
            buf_add_format(out, "\\u%04x", (unsigned)c);
        } else {
            buf_add_char(out, c);
        }
    }
}

static void begin_member(struct chat_arguments *a, struct buf *out)
{
    buf_add_text(out, a->is_first ? "{" : ", ");
    a->is_first = false;
    json_write_string(out, buf_view(&a->word));
    buf_add_text(out, ": ");
    buf_clear(&a->word);
}

/* ---- JSON ---- */

static enum chat_step feed_json(struct chat_arguments *a, char c, struct buf *out)
{
    if (a->depth == 0) {
        if (is_space(c)) {
            return CHAT_STEP_MORE;
        }
        if (c != '{') {
            return CHAT_STEP_BAD;
        }
        a->depth = 1;
        buf_add_char(out, c);
        return CHAT_STEP_MORE;
    }
    buf_add_char(out, c);
    if (a->in_string) {
        a->in_string = a->is_escaped || c != '"';
        a->is_escaped = !a->is_escaped && c == '\\';
        return CHAT_STEP_MORE;
    }
    a->in_string = c == '"';
    a->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    return a->depth == 0 ? CHAT_STEP_DONE : CHAT_STEP_MORE;
}

/* ---- elements ---- */

enum { BEFORE, IN_KEY, IN_VALUE };

/* The words around keys and values without the white space at their ends. */
static struct str core(const struct chat_arguments *a, int which)
{
    return str_trim(a->spelling->param[which]);
}

static const json_t *schema_of(const struct chat_arguments *a, struct str key)
{
    json_t *properties = json_object_get(a->tool->parameters, "properties"), *schema;
    const char *name;
    json_object_foreach(properties, name, schema)
    {
        if (str_eq(str_of(name), key)) {
            return schema;
        }
    }
    return NULL;
}

/* A value that should be JSON: as it is, or as text when it is not. */
static void add_value(struct chat_arguments *a, struct buf *out)
{
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    struct str text = str_trim(buf_view(&a->word));
    struct json_limits limits = {.depth_max = DEPTH_MAX, .values_max = 1000000};
    struct buf list = {0};
    struct err ignored;
    for (size_t i = 0; i < 3; i++) {
        text = str_eq(text, str_of(words[i][0])) ? str_of(words[i][1]) : text;
    }
    buf_add_char(&list, '[');
    buf_add(&list, text);
    buf_add_char(&list, ']');
    json_t *value = json_parse(buf_view(&list), &limits, &ignored);
    if (json_array_size(value) == 1) {
        buf_add(out, text);
    } else {
        json_write_string(out, buf_view(&a->word));
    }
    json_decref(value);
    buf_deinit(&list);
    buf_clear(&a->word);
}

/* The start of a value: one line break of the pattern is not part of it. */
static void begin_value(struct chat_arguments *a, struct buf *out)
{
    const json_t *schema = schema_of(a, buf_view(&a->word));
    begin_member(a, out);
    a->is_bare = !schema || chat_is_bare(schema);
    if (a->is_bare) {
        buf_add_char(out, '"');
    }
    a->state = IN_VALUE;
    a->depth = 0; /* bytes of the value so far, up to 1 */
}

static void end_value(struct chat_arguments *a, struct buf *out)
{
    if (a->is_bare) {
        buf_add_char(out, '"');
    } else {
        add_value(a, out);
    }
    buf_clear(&a->held);
    a->state = BEFORE;
}

static void take_value_byte(struct chat_arguments *a, char c, struct buf *out)
{
    const bool begins = a->depth == 0;
    a->depth = 1;
    if (begins && c == '\n' && str_ends(a->spelling->param[1], STR("\n"))) {
        return;
    }
    if (a->is_bare) {
        add_escaped(out, c);
    } else {
        buf_add_char(&a->word, c);
    }
}

/* Bytes are held while they may be the closing word, with the line break before it. */
static enum chat_step feed_value(struct chat_arguments *a, char c, struct buf *out)
{
    const struct str close = core(a, 2);
    const bool has_break = a->spelling->param[2].len > 0 && a->spelling->param[2].ptr[0] == '\n';
    buf_add_char(&a->held, c);
    while (a->held.len > 0) {
        struct str held = buf_view(&a->held);
        if (has_break && held.ptr[0] == '\n' && a->depth > 0) {
            held = str_slice(held, 1, held.len);
        }
        if (str_eq(held, close)) {
            end_value(a, out);
            return CHAT_STEP_MORE;
        }
        if (str_starts(close, held)) {
            break;
        }
        take_value_byte(a, a->held.ptr[0], out);
        a->held.len--;
        memmove(a->held.ptr, a->held.ptr + 1, a->held.len);
    }
    return CHAT_STEP_MORE;
}

static enum chat_step feed_elements(struct chat_arguments *a, char c, struct buf *out)
{
    if (a->state == IN_VALUE) {
        return feed_value(a, c, out);
    }
    if (a->state == IN_KEY) {
        buf_add_char(&a->word, c);
        const struct str close = core(a, 1);
        if (str_ends(buf_view(&a->word), close)) {
            a->word.len -= close.len;
            begin_value(a, out);
        }
        return a->word.len > KEY_BYTES_MAX && a->state == IN_KEY ? CHAT_STEP_BAD : CHAT_STEP_MORE;
    }
    if (a->held.len == 0 && is_space(c)) {
        return CHAT_STEP_MORE;
    }
    buf_add_char(&a->held, c);
    const struct str open = core(a, 0);
    if (str_eq(buf_view(&a->held), open)) {
        buf_clear(&a->held);
        a->state = IN_KEY;
    } else if (!str_starts(open, buf_view(&a->held))) {
        return CHAT_STEP_DONE; /* what is held belongs to what follows */
    }
    return CHAT_STEP_MORE;
}

void chat_arguments_end(struct chat_arguments *a, struct buf *out)
{
    if (a->kind == 'x' && !a->tool->is_custom) {
        buf_add_text(out, a->is_first ? "{}" : "}");
    }
}

/* ---- keywords ---- */

enum { KEY, VALUE };

static void add_word(struct chat_arguments *a, struct buf *out)
{
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    struct str word = buf_view(&a->word);
    for (size_t i = 0; i < 3; i++) {
        word = str_eq(word, str_of(words[i][0])) ? str_of(words[i][1]) : word;
    }
    buf_add(out, word);
    buf_clear(&a->word);
}

static void feed_python_string(struct chat_arguments *a, char c, struct buf *out)
{
    if (a->hex_left > 0) {
        buf_add_char(out, c);
        a->hex_left--;
    } else if (a->is_escaped) {
        a->is_escaped = false;
        if (c == '\'') {
            buf_add_char(out, c);
        } else if (c == 'x') {
            buf_add_text(out, "\\u00");
            a->hex_left = 2;
        } else if (c != '\n') { /* a line that goes on */
            buf_add_text(out, strchr("\"\\/bfnrtu", c) && c ? "\\" : "\\\\");
            buf_add_char(out, c);
        }
    } else if (c == '\\') {
        a->is_escaped = true;
    } else if (c == a->quote) {
        a->in_string = false;
        buf_add_char(out, '"');
    } else {
        add_escaped(out, c);
    }
}

static enum chat_step feed_python_value(struct chat_arguments *a, char c, struct buf *out)
{
    if (a->in_string) {
        feed_python_string(a, c, out);
        return CHAT_STEP_MORE;
    }
    const bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (is_word || (a->word.len > 0 && c >= '0' && c <= '9')) {
        buf_add_char(&a->word, c);
        return a->word.len > KEY_BYTES_MAX ? CHAT_STEP_BAD : CHAT_STEP_MORE;
    }
    add_word(a, out);
    if (c == '"' || c == '\'') {
        a->in_string = true;
        a->quote = c;
        buf_add_char(out, '"');
    } else if (a->depth == 0 && (c == ',' || c == ')')) {
        a->state = KEY;
        if (c == ')') {
            buf_add_char(out, '}');
            return CHAT_STEP_DONE;
        }
    } else if (c == '(' || c == '[' || c == '{') {
        a->depth++;
        buf_add_char(out, (char)(c == '(' ? '[' : c));
    } else if (c == ')' || c == ']' || c == '}') {
        a->depth--;
        buf_add_char(out, (char)(c == ')' ? ']' : c));
    } else {
        buf_add_char(out, (char)(is_space(c) ? ' ' : c));
    }
    return a->depth < 0 || a->depth > DEPTH_MAX ? CHAT_STEP_BAD : CHAT_STEP_MORE;
}

static enum chat_step feed_keywords(struct chat_arguments *a, char c, struct buf *out)
{
    if (a->state == VALUE) {
        return feed_python_value(a, c, out);
    }
    if (c == '=' && a->word.len > 0) {
        begin_member(a, out);
        a->state = VALUE;
        return CHAT_STEP_MORE;
    }
    if (c == ')') {
        buf_add_text(out, a->is_first ? "{}" : "}");
        return a->word.len == 0 ? CHAT_STEP_DONE : CHAT_STEP_BAD;
    }
    if (!is_space(c)) {
        buf_add_char(&a->word, c);
    }
    const bool may_be = (unsigned char)c >= 0x80 || strchr("\"'([{,", c) == NULL;
    return may_be && a->word.len <= KEY_BYTES_MAX ? CHAT_STEP_MORE : CHAT_STEP_BAD;
}

/* ---- custom tools ---- */

enum { CUSTOM_BEFORE, CUSTOM_COLON, CUSTOM_IN, CUSTOM_ESCAPE, CUSTOM_HEX, CUSTOM_AFTER };

static void end_escape(struct chat_arguments *a, struct buf *out)
{
    uint32_t code = a->custom_code;
    if (code >= 0xD800 && code < 0xDC00) {
        a->custom_high = code;
        return;
    }
    if (code >= 0xDC00 && code < 0xE000) {
        code =
            a->custom_high ? 0x10000 + ((a->custom_high - 0xD800) << 10) + (code - 0xDC00) : 0xFFFD;
    }
    char utf8[4];
    a->custom_high = 0;
    buf_add(out, (struct str){utf8, utf8_encode(code, utf8)});
}

/* The value of the one member of {"input": "..."}, unescaped. */
static void unwrap(struct chat_arguments *a, char c, struct buf *out)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    switch (a->custom_state) {
    case CUSTOM_BEFORE:
        a->custom_state = c == ':' ? CUSTOM_COLON : CUSTOM_BEFORE;
        return;
    case CUSTOM_COLON:
        a->custom_state = c == '"' ? CUSTOM_IN : CUSTOM_COLON;
        return;
    case CUSTOM_IN:
        if (c == '\\' || c == '"') {
            a->custom_state = c == '"' ? CUSTOM_AFTER : CUSTOM_ESCAPE;
        } else {
            buf_add_char(out, c);
        }
        return;
    case CUSTOM_ESCAPE: {
        const char *hit = c ? strchr(from, c) : NULL;
        a->custom_state = c == 'u' ? CUSTOM_HEX : CUSTOM_IN;
        a->custom_hex = 4;
        a->custom_code = 0;
        if (c != 'u') {
            buf_add_char(out, hit ? to[hit - from] : c);
        }
        return;
    }
    case CUSTOM_HEX: {
        const uint32_t digit = (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        a->custom_code = a->custom_code * 16 + (digit & 15);
        if (--a->custom_hex == 0) {
            a->custom_state = CUSTOM_IN;
            end_escape(a, out);
        }
        return;
    }
    default:
        return;
    }
}

enum chat_step chat_arguments_feed(struct chat_arguments *a, char byte, struct buf *out)
{
    struct buf json = {0};
    struct buf *to = a->tool->is_custom ? &json : out;
    const enum chat_step step = a->kind == 'a'   ? feed_json(a, byte, to)
                                : a->kind == 'x' ? feed_elements(a, byte, to)
                                                 : feed_keywords(a, byte, to);
    for (size_t i = 0; a->tool->is_custom && i < json.len; i++) {
        unwrap(a, json.ptr[i], out);
    }
    out->failed = out->failed || json.failed || a->held.failed || a->word.failed;
    buf_deinit(&json);
    return step;
}
