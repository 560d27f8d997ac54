/* Messages as Anthropic has them -> messages as chat templates expect them.
 *
 *     system: "a" | [{text block}, ...]             {"role":"system","content":"a"}
 *     messages: [{role, "b" | [block, ...]}, ...]   {"role":"user","content":"b"}, ...
 *
 * The texts of blocks become one text, a block per line. Messages of one role in a row are one turn
 * and are joined in the same way. If the last one is the assistant's, the answer goes on in it. */
#include "api/anthropic.h"
#include "base/json.h"

static bool apply_cache_control(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err)
{
    (void)request;
    (void)field;
    return api_anthropic_cache_control(value, err);
}

static bool apply_type(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    (void)request;
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    return str_eq(json_str(value), STR("text")) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name,
                         "content blocks of type '%s' are not supported, only 'text'",
                         str_quote(quoted, json_str(value)));
}

static bool apply_text(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    return json_string_length(value) > 0 ||
           err_set_param(err, ERR_INVALID, field->name, "text content blocks must not be empty");
}

static bool apply_citations(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    (void)request;
    if (json_is_array(value) && json_array_size(value) == 0) {
        return true;
    }
    return err_set_param(err, ERR_UNSUPPORTED, field->name, "'citations' is not supported: %s",
                         field->note);
}

/* `type` stands first: of a block that is no text, its type is the fault, not its other fields. */
const struct api_field api_anthropic_block_fields[] = {
    {.name = "type",
     .kind = API_CUSTOM,
     .apply = apply_type,
     .is_required = true,
     .note = "text; image, document, search_result, thinking, tool_use, tool_result and all others "
             "are refused by name"},
    {.name = "text", .kind = API_CUSTOM, .apply = apply_text, .is_required = true},
    {.name = "cache_control",
     .kind = API_CUSTOM,
     .apply = apply_cache_control,
     .note = "checked; a hint that changes no answer"},
    {.name = "citations",
     .kind = API_CUSTOM,
     .apply = apply_citations,
     .is_limited = true,
     .note = "there are no documents to cite; null and an empty list are fine"},
    {0},
};

bool api_anthropic_cache_control(const json_t *value, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)value;
    if (json_is_null(value)) {
        return true;
    }
    if (!json_is_object(value)) {
        return api_type_error("cache_control", "an object", value, err);
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        struct str text = json_str(json_object_iter_value(it));
        bool is_type = strcmp(key, "type") == 0, is_ttl = strcmp(key, "ttl") == 0;
        if (!is_type && !is_ttl) {
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
    return json_object_get(value, "type") ||
           err_set_param(err, ERR_MISSING, "cache_control.type", "must be 'ephemeral'");
}

/* ---- content ---- */

static bool read_block(struct gen_request *request, const json_t *block, struct buf *text,
                       struct err *err)
{
    static const struct api_field *const tables[] = {api_anthropic_block_fields, NULL};
    if (!json_is_object(block)) {
        return api_type_error("", "an object", block, err);
    }
    const json_t *type = json_object_get(block, "type");
    if (type && !apply_type(request, &api_anthropic_block_fields[0], type, err)) {
        return false;
    }
    if (!api_fields_apply(request, block, tables, err)) {
        return false;
    }
    buf_add_text(text, text->len ? "\n" : "");
    buf_add(text, json_str(json_object_get(block, "text")));
    return true;
}

/* Appends a string, or the texts of blocks. Errors name the place below `name`. */
static bool read_content(struct gen_request *request, const char *name, const json_t *content,
                         struct buf *text, struct err *err)
{
    if (json_is_string(content)) {
        buf_add_text(text, text->len && json_string_length(content) ? "\n" : "");
        buf_add(text, json_str(content));
        return !text->failed || err_set_memory(err, json_string_length(content));
    }
    if (!json_is_array(content)) {
        return api_type_error(name, "a string or an array of content blocks", content, err);
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        if (!read_block(request, json_array_get(content, i), text, err)) {
            return err_wrap_param(err, "%s[%zu]", name, i);
        }
    }
    return !text->failed || err_set_memory(err, text->len);
}

static json_t *make_message(const char *role, const struct buf *text)
{
    json_t *message = text->failed ? NULL : json_object();
    json_t *content = json_stringn(text->ptr ? text->ptr : "", text->len);
    bool ok = message && json_object_set_new(message, "role", json_string(role)) == 0;
    if (!ok || json_object_set_new(message, "content", content) != 0) {
        if (!ok) {
            json_decref(content);
        }
        json_decref(message);
        return NULL;
    }
    return message;
}

bool api_anthropic_apply_system(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err)
{
    struct buf text = {0};
    bool ok = read_content(request, field->name, value, &text, err);
    if (ok && text.len > 0) {
        json_t *message = make_message("system", &text);
        if (!request->messages) {
            request->messages = json_array();
        }
        ok = json_array_insert_new(request->messages, 0, message) == 0 ||
             err_set_memory(err, text.len);
    }
    buf_deinit(&text);
    return ok;
}

/* ---- messages ---- */

static const char *read_role(const json_t *message, struct err *err)
{
    const json_t *role = json_object_get(message, "role");
    char quoted[STR_QUOTE_MAX];
    if (!role || json_is_null(role)) {
        err_set_param(err, ERR_MISSING, "role", "a message needs a 'role'");
    } else if (!json_is_string(role)) {
        api_type_error("role", "a string", role, err);
    } else if (str_eq(json_str(role), STR("user"))) {
        return "user";
    } else if (str_eq(json_str(role), STR("assistant"))) {
        return "assistant";
    } else {
        err_set_param(err, ERR_INVALID, "role",
                      "invalid role '%s': must be user or assistant; the system prompt is the "
                      "field 'system'",
                      str_quote(quoted, json_str(role)));
    }
    return NULL;
}

/* Checks one message and appends its text. */
static bool read_message(struct gen_request *request, const json_t *message, bool may_be_empty,
                         struct buf *text, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)message;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        if (strcmp(key, "role") != 0 && strcmp(key, "content") != 0) {
            return api_unknown_error(key, err);
        }
    }
    const json_t *content = json_object_get(message, "content");
    if (!content || json_is_null(content)) {
        return err_set_param(err, ERR_MISSING, "content", "a message needs 'content'");
    }
    size_t before = text->len;
    if (!read_content(request, "content", content, text, err)) {
        return false;
    }
    return text->len > before || may_be_empty ||
           err_set_param(err, ERR_INVALID, "content",
                         "all messages must have non-empty content, except for the optional final "
                         "assistant message");
}

/* One turn: messages[*at] and those of the same role behind it. */
static bool read_turn(struct gen_request *request, const json_t *messages, size_t *at,
                      struct err *err)
{
    size_t count = json_array_size(messages), first = *at;
    struct buf text = {0};
    const char *role = NULL;
    bool ok = true;
    while (ok && *at < count) {
        const json_t *message = json_array_get(messages, *at);
        ok = json_is_object(message) || api_type_error("", "an object", message, err);
        const char *next = ok ? read_role(message, err) : NULL;
        ok = ok && next != NULL;
        if (ok && *at > first && strcmp(next, role) != 0) {
            break;
        }
        role = next;
        bool is_last = *at + 1 == count;
        ok = ok &&
             read_message(request, message, is_last && strcmp(role, "assistant") == 0, &text, err);
        if (!ok) {
            err_wrap_param(err, "messages[%zu]", *at);
        }
        ++*at;
    }
    if (ok && text.len > 0) {
        ok = json_array_append_new(request->messages, make_message(role, &text)) == 0 ||
             err_set_memory(err, text.len);
    }
    buf_deinit(&text);
    return ok;
}

bool api_anthropic_apply_messages(struct gen_request *request, const struct api_field *field,
                                  const json_t *value, struct err *err)
{
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    if (!request->messages) {
        request->messages = json_array();
    }
    for (size_t at = 0; at < json_array_size(value);) {
        if (!read_turn(request, value, &at, err)) {
            return false;
        }
    }
    return json_array_size(value) > 0 ||
           err_set_param(err, ERR_INVALID, field->name, "at least one message is required");
}

bool api_anthropic_finish_messages(struct gen_request *request, struct err *err)
{
    size_t count = json_array_size(request->messages);
    const json_t *last = count ? json_array_get(request->messages, count - 1) : NULL;
    struct str role = json_str(json_object_get(last, "role"));
    if (!str_eq(role, STR("assistant"))) {
        return count > 0 || err_set_param(err, ERR_INVALID, "messages",
                                          "at least one message with content is required");
    }
    struct str content = json_str(json_object_get(last, "content"));
    if (str_trim(content).len == 0 || strchr(" \t\r\n\f\v", content.ptr[content.len - 1])) {
        return err_set_param(err, ERR_INVALID, "messages",
                             "the final assistant message must not end with white space");
    }
    request->continues_final = true;
    return true;
}
