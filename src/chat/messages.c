#include "chat/messages.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

struct converter {
    struct chat_conversation *c;
    const struct chat_family *family;
    const struct chat_shape *shape;
    struct buf mask; /* of the text being written: 1 for a byte of ours */
    bool failed;
};

/* ---- known texts ---- */

static void add_verbatim(struct converter *v, const json_t *value, struct str text,
                         const unsigned char *mask)
{
    struct chat_conversation *c = v->c;
    if (c->verbatim_count == c->verbatim_cap) {
        const size_t cap = c->verbatim_cap * 2 + 8;
        struct chat_verbatim *grown = mem_resize(c->verbatim, cap, sizeof *grown);
        if (!grown) {
            v->failed = true;
            return;
        }
        c->verbatim = grown;
        c->verbatim_cap = cap;
    }
    c->verbatim[c->verbatim_count++] =
        (struct chat_verbatim){.value = value, .text = text, .mask = mask};
}

static int by_value(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const struct chat_verbatim *)a)->value;
    const uintptr_t y = (uintptr_t)((const struct chat_verbatim *)b)->value;
    return x < y ? -1 : x > y;
}

/* ---- calls ---- */

/* {"id","type":"function","function":{name,arguments}}, of a custom call too. New reference. */
static json_t *function_of(const json_t *call)
{
    const json_t *custom = json_object_get(call, "custom");
    if (!custom) {
        return json_incref(json_object_get(call, "function"));
    }
    return json_pack("{s:O?, s:{s:O?}}", "name", json_object_get(custom, "name"), "arguments",
                     "input", json_object_get(custom, "input"));
}

static json_t *parse_object(struct str text)
{
    struct json_limits limits = {.depth_max = 64, .values_max = 1000000};
    struct err ignored;
    json_t *value = json_parse(text, &limits, &ignored);
    if (json_is_object(value)) {
        return value;
    }
    json_decref(value);
    return NULL;
}

static json_t *text_of(const json_t *value)
{
    struct buf b = {0};
    json_write(&b, value);
    json_t *text = b.failed ? NULL : json_stringn(b.ptr ? b.ptr : "", b.len);
    buf_deinit(&b);
    return text;
}

/* A copy of the call with its arguments as object or text, as the template wants. */
static json_t *convert_call(struct converter *v, const json_t *call)
{
    json_t *function = function_of(call), *copy = json_copy((json_t *)(uintptr_t)call);
    json_t *inner = function ? json_copy(function) : NULL;
    const json_t *arguments = json_object_get(function, "arguments");
    json_t *converted = NULL;
    if (json_is_string(arguments) && !v->shape->arguments_text) {
        converted = parse_object(json_str(arguments));
        if (converted && !json_object_get(call, "custom")) {
            add_verbatim(v, converted, str_trim(json_str(arguments)), NULL);
        }
    } else if (json_is_object(arguments) && v->shape->arguments_text) {
        converted = text_of(arguments);
    }
    if (converted) {
        json_object_set_new(inner, "arguments", converted);
    }
    if (inner) {
        json_object_set_new(copy, "function", inner);
    }
    if (json_object_get(copy, "custom")) {
        json_object_del(copy, "custom");
        json_object_set_new(copy, "type", json_string("function"));
    }
    json_decref(function);
    v->failed = v->failed || !copy;
    return copy;
}

/* ---- what the family writes ---- */

static void add_own(struct buf *out, struct buf *mask, struct str text, bool is_own)
{
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        if (c != CONSTRAIN_MARK_BEGIN[0] && c != CONSTRAIN_MARK_END[0]) {
            buf_add_char(out, c);
            buf_add_char(mask, is_own);
        }
    }
}

static void add_json(struct buf *out, struct buf *mask, const json_t *value)
{
    struct buf b = {0};
    json_write_spaced(&b, value);
    add_own(out, mask, buf_view(&b), false);
    out->failed = out->failed || b.failed;
    buf_deinit(&b);
}

/* True, False and None for JSON's words at the top; inner ones stay JSON's. */
static void add_python(struct buf *out, struct buf *mask, const json_t *value)
{
    if (json_is_boolean(value) || json_is_null(value)) {
        add_own(out, mask,
                json_is_null(value)   ? STR("None")
                : json_is_true(value) ? STR("True")
                                      : STR("False"),
                false);
    } else {
        add_json(out, mask, value);
    }
}

static void add_members(const struct chat_spelling *s, char kind, const json_t *arguments,
                        struct buf *out, struct buf *mask)
{
    const char *key;
    json_t *value;
    bool is_first = true;
    json_object_foreach((json_t *)(uintptr_t)arguments, key, value)
    {
        if (kind == 'p') {
            add_own(out, mask, is_first ? STR("") : STR(", "), true);
            add_own(out, mask, str_of(key), false);
            add_own(out, mask, STR("="), true);
            add_python(out, mask, value);
        } else {
            add_own(out, mask, s->param[0], true);
            add_own(out, mask, str_of(key), false);
            add_own(out, mask, s->param[1], true);
            if (json_is_string(value)) {
                add_own(out, mask, json_str(value), false);
            } else {
                add_json(out, mask, value);
            }
            add_own(out, mask, s->param[2], true);
        }
        is_first = false;
    }
}

static void write_call(const struct chat_family *family, struct str name, struct str id,
                       const json_t *arguments, struct str arguments_text, size_t number,
                       struct buf *out, struct buf *mask)
{
    const struct chat_spelling *s = &family->spelling;
    for (size_t i = 0; i < s->call_count; i++) {
        const struct chat_piece *piece = &s->call[i];
        char digits[24];
        switch (piece->kind) {
        case 0:
            add_own(out, mask, piece->text, true);
            break;
        case 'n':
            add_own(out, mask, name, false);
            break;
        case 'i':
            add_own(out, mask, id, false);
            break;
        case 'd':
            snprintf(digits, sizeof digits, "%zu", number);
            add_own(out, mask, str_of(digits), true);
            break;
        case 'a':
            if (arguments_text.len > 0) {
                add_own(out, mask, arguments_text, false);
            } else {
                add_json(out, mask, arguments);
            }
            break;
        default:
            add_members(s, piece->kind, arguments, out, mask);
        }
    }
}

void chat_call_write(const struct chat_family *family, struct str name, struct str id,
                     const json_t *arguments, struct str arguments_text, size_t number,
                     struct buf *out)
{
    struct buf mask = {0};
    write_call(family, name, id, arguments, arguments_text, number, out, &mask);
    buf_deinit(&mask);
}

/* The calls of a message behind its content, as one text. */
static json_t *calls_as_text(struct converter *v, const json_t *message)
{
    const struct chat_spelling *s = &v->family->spelling;
    const json_t *calls = json_object_get(message, "tool_calls");
    const struct str content = json_str(json_object_get(message, "content"));
    struct buf out = {0}, mask = {0};
    add_own(&out, &mask, content, false);
    if (content.len > 0) {
        add_own(&out, &mask, STR("\n"), true);
    }
    add_own(&out, &mask, s->open, true);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i);
        json_t *function = function_of(call);
        const json_t *given = json_object_get(function, "arguments");
        json_t *arguments = json_is_string(given) ? parse_object(json_str(given))
                                                  : json_incref((json_t *)(uintptr_t)given);
        const struct str text =
            json_is_string(given) && arguments ? json_str(given) : (struct str){0};
        add_own(&out, &mask, i ? s->between : (struct str){0}, true);
        write_call(v->family, json_str(json_object_get(function, "name")),
                   json_str(json_object_get(call, "id")), arguments, text, i, &out, &mask);
        json_decref(arguments);
        json_decref(function);
    }
    add_own(&out, &mask, s->close, true);
    json_t *text = out.failed || mask.failed ? NULL : json_stringn(out.ptr ? out.ptr : "", out.len);
    unsigned char *kept =
        text ? (unsigned char *)mem_copy(mask.ptr ? mask.ptr : "", mask.len) : NULL;
    if (text && kept) {
        add_verbatim(v, text, json_str(text), kept);
    }
    v->failed = v->failed || !text || !kept;
    buf_deinit(&out);
    buf_deinit(&mask);
    return text;
}

/* ---- messages ---- */

static json_t *convert_assistant(struct converter *v, json_t *copy)
{
    const json_t *calls = json_object_get(copy, "tool_calls");
    if (json_array_size(calls) == 0) {
        return copy;
    }
    if (!v->shape->shows_calls) {
        json_object_set_new(copy, "content", calls_as_text(v, copy));
        json_object_del(copy, "tool_calls");
        return copy;
    }
    json_t *converted = json_array();
    for (size_t i = 0; i < json_array_size(calls); i++) {
        json_array_append_new(converted, convert_call(v, json_array_get(calls, i)));
    }
    json_object_set_new(copy, "tool_calls", converted);
    if (!json_object_get(copy, "content")) {
        json_object_set_new(copy, "content", json_null());
    }
    return copy;
}

static void convert_result(struct converter *v, json_t *copy)
{
    if (v->shape->shows_results) {
        return;
    }
    struct buf b = {0};
    buf_add_text(&b, "<tool_response>\n");
    buf_add(&b, json_str(json_object_get(copy, "content")));
    buf_add_text(&b, "\n</tool_response>");
    json_object_set_new(copy, "role", json_string("user"));
    json_object_set_new(copy, "content", b.failed ? NULL : json_stringn(b.ptr, b.len));
    json_object_del(copy, "tool_call_id");
    json_object_del(copy, "name");
    v->failed = v->failed || b.failed;
    buf_deinit(&b);
}

/* gpt-oss calls reasoning "thinking" and takes it only beside calls without text. */
static void convert_reasoning(const struct converter *v, json_t *copy)
{
    json_t *reasoning = json_object_get(copy, "reasoning_content");
    if (v->family->spelling.format->is_harmony && json_is_string(reasoning) &&
        json_str(json_object_get(copy, "content")).len == 0) {
        json_object_set(copy, "thinking", reasoning);
    }
}

static json_t *convert_message(struct converter *v, const json_t *message)
{
    const struct str role = json_str(json_object_get(message, "role"));
    const bool is_result = str_eq(role, STR("tool"));
    const bool has_calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
    const bool is_null = json_is_null(json_object_get(message, "content"));
    const bool has_reasoning = json_object_get(message, "reasoning_content") != NULL;
    if (!is_result && !has_calls && !has_reasoning && !(is_null && v->shape->content_empty)) {
        return json_incref((json_t *)(uintptr_t)message);
    }
    json_t *copy = json_copy((json_t *)(uintptr_t)message);
    if (is_result) {
        convert_result(v, copy);
    }
    if (has_reasoning) {
        convert_reasoning(v, copy);
    }
    copy = convert_assistant(v, copy);
    if (v->shape->content_empty && json_is_null(json_object_get(copy, "content"))) {
        json_object_set_new(copy, "content", json_string(""));
    }
    return copy;
}

/* ---- tools ---- */

static json_t *convert_tool(const json_t *tool)
{
    const json_t *custom = json_object_get(tool, "custom");
    if (!custom) {
        return json_incref((json_t *)(uintptr_t)tool);
    }
    return json_pack("{s:s, s:{s:O?, s:O?, s:{s:s, s:{s:{s:s}}, s:[s]}}}", "type", "function",
                     "function", "name", json_object_get(custom, "name"), "description",
                     json_object_get(custom, "description"), "parameters", "type", "object",
                     "properties", "input", "type", "string", "required", "input");
}

/* How to call, for a template that does not say it. */
static void add_instructions(const struct converter *v, const json_t *tools, struct buf *out)
{
    const struct chat_spelling *s = &v->family->spelling;
    struct buf unused = {0};
    buf_add_text(out, "You can call these tools:\n<tools>\n");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_write_spaced(out, json_array_get(tools, i));
        buf_add_char(out, '\n');
    }
    buf_add_text(out, "</tools>\nTo call a tool, answer with:\n");
    add_own(out, &unused, s->open, true);
    json_t *example = json_pack("{s:s}", "ARGUMENT", "VALUE");
    write_call(v->family, STR("TOOL_NAME"), STR("abc123def"), example, (struct str){0}, 0, out,
               &unused);
    add_own(out, &unused, s->close, true);
    json_decref(example);
    buf_deinit(&unused);
}

/* The instructions at the end of the system message, or as one. */
static void add_system(struct converter *v, json_t *messages, const json_t *tools)
{
    struct buf b = {0};
    json_t *first = json_array_get(messages, 0);
    const bool has_system = str_eq(json_str(json_object_get(first, "role")), STR("system")) &&
                            json_is_string(json_object_get(first, "content"));
    if (has_system) {
        buf_add(&b, json_str(json_object_get(first, "content")));
        buf_add_text(&b, "\n\n");
    }
    add_instructions(v, tools, &b);
    json_t *text = b.failed ? NULL : json_stringn(b.ptr, b.len);
    json_t *system = json_pack("{s:s, s:o?}", "role", "system", "content", text);
    v->failed = v->failed || !text || !system;
    buf_deinit(&b);
    if (has_system) {
        json_array_set_new(messages, 0, system);
    } else {
        json_array_insert_new(messages, 0, system);
    }
}

bool chat_conversation_init(struct chat_conversation *c, const struct chat_family *family,
                            const struct chat_shape *shape, const json_t *messages,
                            const json_t *tools, struct err *err)
{
    *c = (struct chat_conversation){.messages = json_array()};
    struct converter v = {.c = c, .family = family, .shape = shape};
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_array_append_new(c->messages, convert_message(&v, json_array_get(messages, i)));
    }
    v.failed = v.failed || json_array_size(c->messages) != json_array_size(messages);
    if (json_array_size(tools) > 0) {
        c->tools = json_array();
        for (size_t i = 0; i < json_array_size(tools); i++) {
            json_array_append_new(c->tools, convert_tool(json_array_get(tools, i)));
        }
        v.failed = v.failed || json_array_size(c->tools) != json_array_size(tools);
        if (!shape->shows_tools) {
            add_system(&v, c->messages, c->tools);
            json_decref(c->tools);
            c->tools = NULL;
        }
    }
    if (c->verbatim_count) {
        qsort(c->verbatim, c->verbatim_count, sizeof *c->verbatim, by_value);
    }
    return !v.failed || err_set_memory(err, sizeof *c);
}

void chat_conversation_deinit(struct chat_conversation *c)
{
    for (size_t i = 0; i < c->verbatim_count; i++) {
        mem_free((void *)(uintptr_t)c->verbatim[i].mask);
    }
    mem_free(c->verbatim);
    json_decref(c->messages);
    json_decref(c->tools);
    *c = (struct chat_conversation){0};
}
