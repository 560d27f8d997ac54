/* Content blocks of Anthropic's messages: which there are, what each holds, and what it adds to its
 * turn. A block of a type that hearth cannot read is refused by that type's name. */
#include <stdio.h>

#include "api/anthropic.h"
#include "base/json.h"

enum { BREAKPOINTS_MAX = 4 }; /* blocks with cache_control in a request, as documented */

/* ---- values ---- */

static bool check_text(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || api_type_error(field->name, "a string", value, err);
}

static bool check_filled(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    if (!check_text(request, field, value, err)) {
        return false;
    }
    return json_string_length(value) > 0 ||
           err_set_param(err, ERR_INVALID, field->name, "'%s' must not be empty", field->name);
}

static bool check_bool(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_boolean(value) || api_type_error(field->name, "a boolean", value, err);
}

static bool check_object(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    (void)request;
    return json_is_object(value) || api_type_error(field->name, "an object", value, err);
}

/* Of a tool_result: read with the block. */
static bool check_content(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || json_is_array(value) ||
           api_type_error(field->name, "a string or an array of content blocks", value, err);
}

/* [] of a text, {"enabled":false} of a document: nothing is cited. */
static bool check_citations(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    (void)request;
    bool is_none = (json_is_array(value) && json_array_size(value) == 0) ||
                   (json_is_object(value) && !json_is_true(json_object_get(value, "enabled")));
    return is_none || err_set_param(err, ERR_UNSUPPORTED, field->name,
                                    "'citations' is not supported: %s", field->note);
}

/* {"type":"direct"}: called by the model itself, as all calls are here. */
static bool check_caller(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    (void)request;
    return str_eq(json_str(json_object_get(value, "type")), STR("direct")) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name, "'caller' is not supported: %s",
                         field->note);
}

/* `scope` is of a beta and says who may share; here that is who has the same key. */
bool api_anthropic_cache_control(struct gen_request *request, const struct api_field *field,
                                 const json_t *value, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)value;
    struct str ttl = json_str(json_object_get(object, "ttl"));
    (void)field;
    if (!json_is_object(value)) {
        return api_type_error("cache_control", "an object", value, err);
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        struct str text = json_str(json_object_iter_value(it));
        bool is_type = strcmp(key, "type") == 0, is_ttl = strcmp(key, "ttl") == 0;
        if (!is_type && !is_ttl && strcmp(key, "scope") != 0) {
            api_unknown_error(key, err);
            return err_wrap_param(err, "cache_control");
        }
        if (is_type && !str_eq(text, STR("ephemeral"))) {
            return err_set_param(err, ERR_INVALID, "cache_control.type", "must be 'ephemeral'");
        }
        if (is_ttl && !str_eq(text, STR("5m")) && !str_eq(text, STR("1h"))) {
            return err_set_param(err, ERR_INVALID, "cache_control.ttl", "must be '5m' or '1h'");
        }
    }
    if (!json_object_get(value, "type")) {
        return err_set_param(err, ERR_MISSING, "cache_control.type", "must be 'ephemeral'");
    }
    if (++request->cache_breakpoints > BREAKPOINTS_MAX) {
        return err_set_param(err, ERR_INVALID, "cache_control",
                             "at most %d blocks with cache_control may be given", BREAKPOINTS_MAX);
    }
    request->cache_is_long = request->cache_is_long || str_eq(ttl, STR("1h"));
    return true;
}

/* ---- blocks ---- */

#define ROW(field, check)                                                                          \
    {                                                                                              \
        .name = field, .kind = API_CUSTOM, .apply = check                                          \
    }
#define NEED(field, check)                                                                         \
    {                                                                                              \
        .name = field, .kind = API_CUSTOM, .apply = check, .is_required = true                     \
    }
#define LIMIT(field, check, why)                                                                   \
    {                                                                                              \
        .name = field, .kind = API_CUSTOM, .apply = check, .is_limited = true, .note = why         \
    }
#define CACHE                                                                                      \
    {                                                                                              \
        .name = "cache_control", .kind = API_CUSTOM, .apply = api_anthropic_cache_control,         \
        .note = "what the prompt adds to the cache is told in the usage"                           \
    }

static const struct api_field text_fields[] = {
    NEED("type", check_text),
    NEED("text", check_filled),
    CACHE,
    LIMIT("citations", check_citations, "there are none to refer to; null and [] are fine"),
    {0}};

static const struct api_field thinking_fields[] = {NEED("type", check_text),
                                                   NEED("thinking", check_text),
                                                   {.name = "signature",
                                                    .kind = API_CUSTOM,
                                                    .apply = check_text,
                                                    .note = "any: the text is not verified"},
                                                   {0}};

static const struct api_field redacted_fields[] = {
    NEED("type", check_text),
    {.name = "data",
     .kind = API_CUSTOM,
     .apply = check_text,
     .is_required = true,
     .note = "nobody can read it; the block adds nothing to the prompt"},
    {0}};

static const struct api_field use_fields[] = {
    NEED("type", check_text),
    NEED("id", check_filled),
    NEED("name", check_filled),
    NEED("input", check_object),
    CACHE,
    LIMIT("caller", check_caller, "only the model itself calls tools; 'direct' is fine"),
    {.name = "toolset_name", .kind = API_REFUSED, .note = "there are no toolsets"},
    {0}};

static const struct api_field result_fields[] = {
    NEED("type", check_text),
    NEED("tool_use_id", check_filled),
    {.name = "content",
     .kind = API_CUSTOM,
     .apply = check_content,
     .note = "a string, or blocks of text, documents of text and search results"},
    {.name = "is_error",
     .kind = API_CUSTOM,
     .apply = check_bool,
     .note = "the model reads 'Error: ' before the text"},
    CACHE,
    {.name = "toolset_name", .kind = API_REFUSED, .note = "there are no toolsets"},
    {0}};

static const struct api_field document_fields[] = {
    NEED("type", check_text),
    {.name = "source",
     .kind = API_CUSTOM,
     .apply = check_object,
     .is_required = true,
     .note = "of type text or content; base64, url and file are refused"},
    ROW("title", check_text),
    ROW("context", check_text),
    CACHE,
    LIMIT("citations", check_citations, "answers do not cite"),
    {0}};

static const struct api_field search_fields[] = {
    NEED("type", check_text),
    NEED("source", check_text),
    NEED("title", check_text),
    NEED("content", check_content),
    CACHE,
    LIMIT("citations", check_citations, "answers do not cite"),
    {0}};

const struct api_anthropic_block api_anthropic_blocks[] = {
    {"text", text_fields, true, true, true, true},
    {"thinking", thinking_fields, false, true, false, false},
    {"redacted_thinking", redacted_fields, false, true, false, false},
    {"tool_use", use_fields, false, true, false, false},
    {"tool_result", result_fields, true, false, false, false},
    {"document", document_fields, true, false, false, true},
    {"search_result", search_fields, true, false, false, true},
    {0},
};

static const struct api_anthropic_block *find_block(struct str type)
{
    for (const struct api_anthropic_block *block = api_anthropic_blocks; block->type; block++) {
        if (str_eq(type, str_of(block->type))) {
            return block;
        }
    }
    return NULL;
}

static bool may_stand(const struct api_anthropic_block *block, enum api_anthropic_place place)
{
    switch (place) {
    case API_ANTHROPIC_USER:
        return block->in_user;
    case API_ANTHROPIC_ASSISTANT:
        return block->in_assistant;
    case API_ANTHROPIC_SYSTEM:
        return block->in_system;
    case API_ANTHROPIC_RESULT:
    default:
        return block->in_result;
    }
}

/* ---- what each adds ---- */

static void add_line(struct buf *out, struct str text)
{
    buf_add_text(out, out->len ? "\n" : "");
    buf_add(out, text);
}

static const json_t *get(const json_t *block, const char *key)
{
    return json_object_get(block, key);
}

/* Texts of a list of text blocks, or a string. */
static bool add_texts(struct gen_request *request, const char *name, const json_t *content,
                      struct buf *out, struct err *err)
{
    struct api_anthropic_turn turn = {0};
    bool ok = true;
    if (json_is_string(content)) {
        add_line(out, json_str(content));
        return true;
    }
    if (!json_is_array(content)) {
        return api_type_error(name, "a string or an array of content blocks", content, err);
    }
    for (size_t i = 0; ok && i < json_array_size(content); i++) {
        ok = api_anthropic_read_block(request, API_ANTHROPIC_RESULT, json_array_get(content, i),
                                      &turn, err) ||
             err_wrap_param(err, "%s[%zu]", name, i);
    }
    if (ok) {
        add_line(out, buf_view(&turn.text));
    }
    out->failed = out->failed || turn.text.failed;
    api_anthropic_turn_deinit(&turn);
    return ok;
}

static bool add_document(struct gen_request *request, const json_t *block, struct buf *out,
                         struct err *err)
{
    const json_t *source = get(block, "source");
    struct str type = json_str(get(source, "type"));
    struct str title = json_str(get(block, "title")), context = json_str(get(block, "context"));
    char quoted[STR_QUOTE_MAX];
    if (title.len) {
        add_line(out, title);
    }
    if (context.len) {
        add_line(out, context);
    }
    if (str_eq(type, STR("content"))) {
        return add_texts(request, "source.content", get(source, "content"), out, err);
    }
    if (!str_eq(type, STR("text"))) {
        return err_set_param(err, ERR_UNSUPPORTED, "source.type",
                             "documents of source '%s' are not supported, only 'text' and "
                             "'content'",
                             str_quote(quoted, type));
    }
    if (!json_is_string(get(source, "data"))) {
        return err_set_param(err, ERR_MISSING, "source.data", "a document of text needs 'data'");
    }
    struct str media = json_str(get(source, "media_type"));
    if (!str_eq(media, STR("text/plain"))) {
        return err_set_param(err, ERR_INVALID, "source.media_type", "must be 'text/plain'");
    }
    add_line(out, json_str(get(source, "data")));
    return true;
}

static bool add_call(const json_t *block, struct api_anthropic_turn *turn, struct err *err)
{
    struct buf arguments = {0};
    json_write(&arguments, get(block, "input"));
    turn->calls = turn->calls ? turn->calls : json_array();
    json_t *call = arguments.failed
                       ? NULL
                       : json_pack("{s:O,s:s,s:{s:O,s:s%}}", "id", get(block, "id"), "type",
                                   "function", "function", "name", get(block, "name"), "arguments",
                                   arguments.ptr, arguments.len);
    bool ok = call && json_array_append_new(turn->calls, call) == 0;
    buf_deinit(&arguments);
    return ok || err_set_memory(err, sizeof *call);
}

/* A message of its own, of the role tool. */
static bool add_result(struct gen_request *request, const json_t *block,
                       struct api_anthropic_turn *turn, struct err *err)
{
    const json_t *id = get(block, "tool_use_id"), *content = get(block, "content");
    char quoted[STR_QUOTE_MAX];
    struct buf text = {0};
    if (turn->text.len > 0) {
        return err_set_param(err, ERR_INVALID, "type",
                             "`tool_result` blocks must stand before all text of their message");
    }
    if (json_object_del(turn->open, json_string_value(id)) != 0) {
        return err_set_param(err, ERR_INVALID, "tool_use_id",
                             "the previous message has no `tool_use` block of the id %s",
                             str_quote(quoted, json_str(id)));
    }
    bool ok =
        !content || json_is_null(content) || add_texts(request, "content", content, &text, err);
    if (ok) {
        bool is_error = json_is_true(get(block, "is_error"));
        struct buf whole = {0};
        buf_add_text(&whole, is_error ? "Error: " : "");
        buf_add(&whole, buf_view(&text));
        json_t *message = whole.failed || text.failed
                              ? NULL
                              : json_pack("{s:s,s:O,s:s%}", "role", "tool", "tool_call_id", id,
                                          "content", whole.ptr ? whole.ptr : "", whole.len);
        ok = (message && json_array_append_new(request->messages, message) == 0) ||
             err_set_memory(err, text.len);
        buf_deinit(&whole);
    }
    buf_deinit(&text);
    return ok;
}

static bool fail_type(enum api_anthropic_place place, const json_t *type, bool is_known,
                      struct err *err)
{
    static const char *const places[] = {"a user's message", "an assistant's message",
                                         "a system prompt", "a tool's result"};
    char quoted[STR_QUOTE_MAX];
    str_quote(quoted, json_str(type));
    return is_known ? err_set_param(err, ERR_INVALID, "type",
                                    "content blocks of type '%s' cannot stand in %s", quoted,
                                    places[place])
                    : err_set_param(err, ERR_UNSUPPORTED, "type",
                                    "content blocks of type '%s' are not supported", quoted);
}

bool api_anthropic_read_block(struct gen_request *request, enum api_anthropic_place place,
                              const json_t *block, struct api_anthropic_turn *turn, struct err *err)
{
    if (!json_is_object(block)) {
        return api_type_error("", "an object", block, err);
    }
    const json_t *type = get(block, "type");
    if (!type || json_is_null(type)) {
        return err_set_param(err, ERR_MISSING, "type", "a content block needs a 'type'");
    }
    if (!json_is_string(type)) {
        return api_type_error("type", "a string", type, err);
    }
    const struct api_anthropic_block *kind = find_block(json_str(type));
    if (!kind || !may_stand(kind, place)) {
        return fail_type(place, type, kind != NULL, err);
    }
    const struct api_field *const tables[] = {kind->fields, NULL};
    if (!api_fields_apply(request, block, tables, err)) {
        return false;
    }
    turn->block_count++;
    if (kind->fields == text_fields) {
        add_line(&turn->text, json_str(get(block, "text")));
    } else if (kind->fields == thinking_fields) {
        add_line(&turn->thinking, json_str(get(block, "thinking")));
    } else if (kind->fields == use_fields) {
        return add_call(block, turn, err);
    } else if (kind->fields == result_fields) {
        return add_result(request, block, turn, err);
    } else if (kind->fields == document_fields) {
        return add_document(request, block, &turn->text, err);
    } else if (kind->fields == search_fields) {
        add_line(&turn->text, json_str(get(block, "title")));
        add_line(&turn->text, json_str(get(block, "source")));
        return add_texts(request, "content", get(block, "content"), &turn->text, err);
    }
    return true;
}
