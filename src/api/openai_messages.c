/* Messages as OpenAI has them -> messages as chat templates expect them: `developer` becomes
 * `system`, lists of text parts become one text. Roles and fields are tables; what is in neither is
 * refused by its path. */
#include "api/fields.h"
#include "api/openai.h"
#include "base/json.h"

enum role_mask { ROLE_SYSTEM = 1, ROLE_USER = 2, ROLE_ASSISTANT = 4, ROLE_TOOL = 8, ROLE_ALL = 15 };

static const struct role {
    const char *name, *template_name;
    enum role_mask mask;
} roles[] = {
    {"system", "system", ROLE_SYSTEM},
    {"developer", "system", ROLE_SYSTEM}, /* OpenAI's newer word for system */
    {"user", "user", ROLE_USER},
    {"assistant", "assistant", ROLE_ASSISTANT},
    {"tool", "tool", ROLE_TOOL},
    {"function", "tool", ROLE_TOOL}, /* the legacy word: `name` says which */
};

/* Fields of a message; `kind` says what a value that is not null must be. NEVER: clients send the
 * assistant's message back as they got it, with fields that are null or empty. */
static const struct message_field {
    const char *name;
    unsigned roles;
    enum { FIELD_ROLE, FIELD_CONTENT, FIELD_TEXT, FIELD_CALLS, FIELD_FUNCTION, FIELD_NEVER } kind;
} message_fields[] = {
    {"role", ROLE_ALL, FIELD_ROLE},
    {"content", ROLE_ALL, FIELD_CONTENT},
    {"name", ROLE_ALL, FIELD_TEXT},
    {"tool_call_id", ROLE_TOOL, FIELD_TEXT},
    {"tool_calls", ROLE_ASSISTANT, FIELD_CALLS},
    {"reasoning_content", ROLE_ASSISTANT, FIELD_TEXT},
    {"refusal", ROLE_ASSISTANT, FIELD_NEVER},
    {"annotations", ROLE_ASSISTANT, FIELD_NEVER},
    {"audio", ROLE_ASSISTANT, FIELD_NEVER},
    {"parsed", ROLE_ASSISTANT, FIELD_NEVER}, /* the openai client's stream helper adds it */
    {"function_call", ROLE_ASSISTANT, FIELD_FUNCTION},
};

enum { ROLE_COUNT = sizeof roles / sizeof *roles };
enum { MESSAGE_FIELD_COUNT = sizeof message_fields / sizeof *message_fields };

static bool text_of_part(const json_t *part, struct buf *text, struct err *err)
{
    if (!json_is_object(part)) {
        return api_type_error("", "an object", part, err);
    }
    const json_t *type = json_object_get(part, "type");
    const json_t *value = json_object_get(part, "text");
    if (!json_is_string(type)) {
        return err_set_param(err, type ? ERR_TYPE : ERR_MISSING, "type",
                             "a content part needs the string 'type'");
    }
    if (strcmp(json_string_value(type), "text") != 0) {
        char quoted[STR_QUOTE_MAX];
        return err_set_param(err, ERR_UNSUPPORTED, "type",
                             "content parts of type '%s' are not supported, only 'text'",
                             str_quote(quoted, json_str(type)));
    }
    if (!json_is_string(value)) {
        return err_set_param(err, value ? ERR_TYPE : ERR_MISSING, "text",
                             "a text part needs the string 'text'");
    }
    json_t *object = (json_t *)(uintptr_t)part;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        if (strcmp(key, "type") != 0 && strcmp(key, "text") != 0) {
            char quoted[STR_QUOTE_MAX];
            str_quote(quoted, str_of(key));
            return err_set_param(err, ERR_UNKNOWN, quoted, "unknown parameter: '%s'", quoted);
        }
    }
    buf_add_text(text, text->len ? "\n" : "");
    buf_add(text, json_str(value));
    return true;
}

/* A string, or the texts of a list of parts, one per line. New reference. */
static json_t *read_content(const json_t *content, struct err *err)
{
    if (json_is_string(content)) {
        return json_incref((json_t *)(uintptr_t)content);
    }
    if (!json_is_array(content)) {
        api_type_error("content", "a string or an array of parts", content, err);
        return NULL;
    }
    struct buf text = {0};
    for (size_t i = 0; i < json_array_size(content); i++) {
        if (!text_of_part(json_array_get(content, i), &text, err)) {
            err_wrap_param(err, "content[%zu]", i);
            buf_deinit(&text);
            return NULL;
        }
    }
    json_t *joined = text.failed ? NULL : json_stringn(text.ptr ? text.ptr : "", text.len);
    if (!joined) {
        err_set_memory(err, text.len);
    }
    buf_deinit(&text);
    return joined;
}

/* Fields of `object` are in the list of names, or null. */
static bool check_names(const json_t *given, const char *const *names, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)given;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], json_object_iter_key(it)) != 0) {
            i++;
        }
        if (!names[i] && !json_is_null(json_object_iter_value(it))) {
            return api_unknown_error(json_object_iter_key(it), err);
        }
    }
    return true;
}

/* Names and shapes only; what the arguments should look like to a template is chat's business.
 * `index` is what is left of a stream's deltas. */
static bool check_call(const json_t *call, struct err *err)
{
    static const char *const call_names[] = {"id", "type", "function", "index", NULL};
    static const char *const function_names[] = {"name", "arguments", NULL};
    const json_t *function = json_object_get(call, "function");
    const json_t *type = json_object_get(call, "type");
    const json_t *id = json_object_get(call, "id");
    if (!json_is_object(call)) {
        return api_type_error("", "an object", call, err);
    }
    if (!json_is_object(function)) {
        return err_set_param(err, function ? ERR_TYPE : ERR_MISSING, "function",
                             "a tool call needs the object 'function'");
    }
    if (!check_names(call, call_names, err)) {
        return false;
    }
    if (!check_names(function, function_names, err)) {
        return err_wrap_param(err, "function");
    }
    if (id && !json_is_string(id) && !json_is_null(id)) {
        return api_type_error("id", "a string", id, err);
    }
    if (type && !json_is_string(type)) {
        return api_type_error("type", "a string", type, err);
    }
    if (type && !str_eq(json_str(type), STR("function"))) {
        return err_set_param(err, ERR_UNSUPPORTED, "type",
                             "only tool calls of type 'function' are supported");
    }
    if (!json_is_string(json_object_get(function, "name"))) {
        return err_set_param(err, json_object_get(function, "name") ? ERR_TYPE : ERR_MISSING,
                             "function.name", "a tool call needs the string 'function.name'");
    }
    if (!json_is_string(json_object_get(function, "arguments"))) {
        return err_set_param(err, json_object_get(function, "arguments") ? ERR_TYPE : ERR_MISSING,
                             "function.arguments",
                             "a tool call needs 'function.arguments', a string of JSON");
    }
    return true;
}

/* {"id","type":"custom","custom":{"name","input"}} */
static bool check_custom(const json_t *call, struct err *err)
{
    static const char *const call_names[] = {"id", "type", "custom", "index", NULL};
    static const char *const custom_names[] = {"name", "input", NULL};
    const json_t *custom = json_object_get(call, "custom");
    if (!check_names(call, call_names, err)) {
        return false;
    }
    if (!json_is_object(custom)) {
        return err_set_param(err, custom ? ERR_TYPE : ERR_MISSING, "custom",
                             "a custom tool call needs the object 'custom'");
    }
    if (!check_names(custom, custom_names, err)) {
        return err_wrap_param(err, "custom");
    }
    return (json_is_string(json_object_get(custom, "name")) &&
            json_is_string(json_object_get(custom, "input"))) ||
           err_set_param(err, ERR_TYPE, "custom",
                         "a custom tool call needs the strings 'name' and 'input'");
}

/* The legacy function_call as the one call of its message. */
static bool read_function(const json_t *function, json_t *message, struct err *err)
{
    json_t *call = json_pack("{s:s, s:s, s:O}", "id", "call_function", "type", "function",
                             "function", function);
    json_t *calls = json_array();
    bool ok = (call && calls) || err_set_memory(err, sizeof *call);
    ok = ok && (check_call(call, err) || err_wrap_param(err, "function_call"));
    ok = ok && (json_array_append(calls, call) == 0 &&
                json_object_set(message, "tool_calls", calls) == 0);
    json_decref(call);
    json_decref(calls);
    return ok;
}

static bool read_calls(const json_t *calls, json_t *message, struct err *err)
{
    if (!json_is_array(calls)) {
        return api_type_error("tool_calls", "an array", calls, err);
    }
    if (json_array_size(calls) == 0) {
        return true;
    }
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i);
        const bool is_custom = str_eq(json_str(json_object_get(call, "type")), STR("custom"));
        if (!(is_custom ? check_custom(call, err) : check_call(call, err))) {
            return err_wrap_param(err, "tool_calls[%zu]", i);
        }
    }
    return json_object_set(message, "tool_calls", (json_t *)(uintptr_t)calls) == 0 ||
           err_set_memory(err, 0);
}

static bool is_empty(const json_t *value)
{
    return json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0);
}

static bool read_message_field(const struct role *role, const char *name, const json_t *value,
                               json_t *message, struct err *err)
{
    const struct message_field *field = NULL;
    for (size_t i = 0; i < MESSAGE_FIELD_COUNT; i++) {
        if (strcmp(message_fields[i].name, name) == 0) {
            field = &message_fields[i];
        }
    }
    char quoted[STR_QUOTE_MAX];
    str_quote(quoted, str_of(name));
    if (!field) {
        return err_set_param(err, ERR_UNKNOWN, quoted, "unknown parameter: '%s'", quoted);
    }
    if (is_empty(value) && field->kind != FIELD_CONTENT) {
        return true;
    }
    if (!(field->roles & role->mask)) {
        return err_set_param(err, ERR_INVALID, name, "'%s' does not belong to a message of role %s",
                             name, role->name);
    }
    json_t *content;
    switch (field->kind) {
    case FIELD_ROLE:
        return true;
    case FIELD_CONTENT:
        if (json_is_null(value)) {
            return true;
        }
        content = read_content(value, err);
        return content && json_object_set_new(message, name, content) == 0;
    case FIELD_TEXT:
        if (!json_is_string(value)) {
            return api_type_error(name, "a string", value, err);
        }
        return json_object_set(message, name, (json_t *)(uintptr_t)value) == 0 ||
               err_set_memory(err, 0);
    case FIELD_CALLS:
        return read_calls(value, message, err);
    case FIELD_FUNCTION:
        return read_function(value, message, err);
    case FIELD_NEVER:
        break;
    }
    return err_set_param(err, ERR_UNSUPPORTED, name, "'%s' is not supported in messages", name);
}

static const struct role *find_role(const json_t *given, struct err *err)
{
    const json_t *name = json_object_get(given, "role");
    if (!name || json_is_null(name)) {
        err_set_param(err, ERR_MISSING, "role", "a message needs a 'role'");
        return NULL;
    }
    if (!json_is_string(name)) {
        api_type_error("role", "a string", name, err);
        return NULL;
    }
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        if (str_eq(json_str(name), str_of(roles[i].name))) {
            return &roles[i];
        }
    }
    char quoted[STR_QUOTE_MAX];
    err_set_param(err, ERR_INVALID, "role",
                  "invalid role '%s': must be system, developer, user, assistant or tool",
                  str_quote(quoted, json_str(name)));
    return NULL;
}

/* New reference; NULL and an error with a param below the message. */
static json_t *read_message(json_t *given, struct err *err)
{
    if (!json_is_object(given)) {
        api_type_error("", "an object", given, err);
        return NULL;
    }
    const struct role *role = find_role(given, err);
    json_t *message = role ? json_object() : NULL;
    if (!message || json_object_set_new(message, "role", json_string(role->template_name)) != 0) {
        json_decref(message);
        return NULL;
    }
    bool ok = true;
    for (void *it = json_object_iter(given); ok && it; it = json_object_iter_next(given, it)) {
        ok = read_message_field(role, json_object_iter_key(it), json_object_iter_value(it), message,
                                err);
    }
    if (ok && !json_object_get(message, "content")) {
        /* An assistant that only called tools has no content. */
        ok = json_object_get(message, "tool_calls") != NULL
                 ? json_object_set_new(message, "content", json_null()) == 0
                 : err_set_param(err, ERR_MISSING, "content", "a message needs 'content'");
    }
    if (!ok) {
        json_decref(message);
        return NULL;
    }
    return message;
}

bool api_openai_messages(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    if (json_array_size(value) == 0) {
        return err_set_param(err, ERR_INVALID, field->name, "'messages' must not be empty");
    }
    request->messages = json_array();
    for (size_t i = 0; i < json_array_size(value); i++) {
        err_set(err, ERR_MEMORY, "out of memory while reading the messages");
        json_t *message = read_message(json_array_get(value, i), err);
        if (!message || json_array_append_new(request->messages, message) != 0) {
            return err_wrap_param(err, "messages[%zu]", i);
        }
    }
    return true;
}
