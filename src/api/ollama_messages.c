/* Messages and tools of POST /api/chat -> as OpenAI's chat has them. Ollama's calls need no ids:
 * where one lacks, calls are numbered, and a message of the role tool answers the first open call
 * of its tool_name, else the first open one. */
#include <stdio.h>

#include "api/ollama.h"
#include "base/json.h"

static bool check_text(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || api_type_error(field->name, "a string", value, err);
}

static bool check_role(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct str role = json_str(value);
    (void)request;
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    return str_eq(role, STR("system")) || str_eq(role, STR("user")) ||
           str_eq(role, STR("assistant")) || str_eq(role, STR("tool")) ||
           err_set_param(err, ERR_INVALID, field->name,
                         "invalid role '%s': must be system, user, assistant or tool",
                         str_quote(quoted, role));
}

static bool check_calls(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    (void)request;
    return json_is_array(value) || api_type_error(field->name, "an array", value, err);
}

const struct api_field api_ollama_message_fields[] = {
    {.name = "role", .kind = API_CUSTOM, .apply = check_role, .is_required = true},
    {.name = "content", .kind = API_CUSTOM, .apply = check_text},
    {.name = "thinking", .kind = API_CUSTOM, .apply = check_text},
    {.name = "images",
     .kind = API_CUSTOM,
     .apply = api_ollama_empty,
     .is_limited = true,
     .note = "models here see no images"},
    {.name = "tool_calls", .kind = API_CUSTOM, .apply = check_calls, .note = "of an assistant"},
    {.name = "tool_name",
     .kind = API_CUSTOM,
     .apply = check_text,
     .note = "of a tool: whose call it answers"},
    {.name = "tool_call_id",
     .kind = API_CUSTOM,
     .apply = check_text,
     .note = "of a tool: which call it answers"},
    {0},
};

/* ---- calls ---- */

/* {"id"?,"type"?,"function":{"name","arguments":{}}} -> with an id and the arguments as text. */
static json_t *read_call(const json_t *given, size_t number, struct err *err)
{
    const json_t *function = json_object_get(given, "function");
    const json_t *name = json_object_get(function, "name"), *id = json_object_get(given, "id");
    const json_t *arguments = json_object_get(function, "arguments");
    char made[32];
    struct buf text = {0};
    if (!json_is_object(function)) {
        err_set_param(err, ERR_MISSING, "function", "a call needs a 'function'");
        return NULL;
    }
    if (json_str(name).len == 0) {
        err_set_param(err, ERR_MISSING, "function.name", "a call needs the function's 'name'");
        return NULL;
    }
    if (arguments && !json_is_object(arguments) && !json_is_null(arguments)) {
        api_type_error("function.arguments", "an object", arguments, err);
        return NULL;
    }
    if (json_is_object(arguments)) {
        json_write(&text, arguments);
    } else {
        buf_add_text(&text, "{}");
    }
    snprintf(made, sizeof made, "call_%zu", number);
    json_t *call =
        text.failed ? NULL
                    : json_pack("{s:s,s:s,s:{s:O,s:s%}}", "id",
                                json_str(id).len ? json_string_value(id) : made, "type", "function",
                                "function", "name", name, "arguments", text.ptr, text.len);
    buf_deinit(&text);
    if (!call) {
        err_set_memory(err, sizeof *call);
    }
    return call;
}

/* Calls of the conversation so far, and which of them were answered. */
struct calls {
    json_t *open; /* array of the calls that wait for an answer */
    size_t count;
};

static bool read_calls(struct calls *calls, const json_t *given, json_t *message, struct err *err)
{
    json_t *list = json_array();
    bool ok = list || err_set_memory(err, sizeof *list);
    for (size_t i = 0; ok && i < json_array_size(given); i++) {
        json_t *call = read_call(json_array_get(given, i), calls->count++, err);
        ok = call || err_wrap_param(err, "tool_calls[%zu]", i);
        ok = ok &&
             ((json_array_append(calls->open, call) == 0 && json_array_append(list, call) == 0) ||
              err_set_memory(err, sizeof *call));
        json_decref(call);
    }
    ok = ok &&
         (json_object_set(message, "tool_calls", list) == 0 || err_set_memory(err, sizeof *list));
    json_decref(list);
    return ok;
}

/* Sets the id of the call that a tool's message answers; without open calls it has none. */
static bool answer_call(struct calls *calls, const json_t *given, json_t *message)
{
    struct str name = json_str(json_object_get(given, "tool_name"));
    const json_t *id = json_object_get(given, "tool_call_id");
    size_t found = SIZE_MAX;
    for (size_t i = json_array_size(calls->open); i-- > 0;) {
        const json_t *call = json_array_get(calls->open, i);
        bool is_it =
            id ? json_equal(json_object_get(call, "id"), id)
               : name.len == 0 ||
                     str_eq(json_str(json_object_get(json_object_get(call, "function"), "name")),
                            name);
        found = is_it ? i : found;
    }
    bool ok =
        name.len == 0 || json_object_set(message, "name", json_object_get(given, "tool_name")) == 0;
    if (found != SIZE_MAX) {
        id = json_object_get(json_array_get(calls->open, found), "id");
    }
    ok = ok && (!id || json_object_set(message, "tool_call_id", (json_t *)(uintptr_t)id) == 0);
    if (found != SIZE_MAX) {
        json_array_remove(calls->open, found);
    }
    return ok;
}

/* ---- messages ---- */

static bool read_message(struct gen_request *request, struct calls *calls, const json_t *given,
                         struct err *err)
{
    static const struct api_field *const tables[] = {api_ollama_message_fields, NULL};
    if (!json_is_object(given)) {
        return api_type_error("", "an object", given, err);
    }
    if (!api_fields_apply(request, given, tables, err)) {
        return false;
    }
    const json_t *role = json_object_get(given, "role"),
                 *content = json_object_get(given, "content");
    const json_t *thinking = json_object_get(given, "thinking"),
                 *given_calls = json_object_get(given, "tool_calls");
    bool has_calls = json_array_size(given_calls) > 0;
    if (!json_is_string(content) && !has_calls) {
        return err_set_param(err, ERR_MISSING, "content", "a message needs 'content'");
    }
    json_t *text =
        json_is_string(content) ? json_incref((json_t *)(uintptr_t)content) : json_string("");
    bool ok = text && api_ollama_add_message(request, json_string_value(role), text);
    json_decref(text);
    if (!ok) {
        return err_set_memory(err, json_string_length(content));
    }
    json_t *message = json_array_get(request->messages, json_array_size(request->messages) - 1);
    if (has_calls && !read_calls(calls, given_calls, message, err)) {
        return false;
    }
    if (str_eq(json_str(role), STR("tool")) && !answer_call(calls, given, message)) {
        return err_set_memory(err, sizeof *message);
    }
    return json_str(thinking).len == 0 ||
           json_object_set(message, "reasoning_content", (json_t *)(uintptr_t)thinking) == 0 ||
           err_set_memory(err, json_string_length(thinking));
}

bool api_ollama_messages(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    struct calls calls = {.open = json_array()};
    request->messages = json_array();
    bool ok = (calls.open && request->messages) || err_set_memory(err, sizeof(json_t *));
    for (size_t i = 0; ok && i < json_array_size(value); i++) {
        ok = read_message(request, &calls, json_array_get(value, i), err) ||
             err_wrap_param(err, "messages[%zu]", i);
    }
    json_decref(calls.open);
    return ok;
}

/* ---- tools ---- */

static bool read_tool(struct gen_request *request, const json_t *tool, struct err *err)
{
    const json_t *type = json_object_get(tool, "type"),
                 *function = json_object_get(tool, "function");
    const json_t *parameters = json_object_get(function, "parameters");
    const json_t *description = json_object_get(function, "description");
    if (!json_is_object(tool)) {
        return api_type_error("", "an object", tool, err);
    }
    if (type && !str_eq(json_str(type), STR("function"))) {
        return err_set_param(err, ERR_UNSUPPORTED, "type",
                             "only tools of type 'function' are supported");
    }
    if (json_str(json_object_get(function, "name")).len == 0) {
        return err_set_param(err, ERR_MISSING, "function.name",
                             "a tool needs the function's 'name'");
    }
    if (parameters && !json_is_object(parameters) && !json_is_null(parameters)) {
        return api_type_error("function.parameters", "an object", parameters, err);
    }
    if (description && !json_is_string(description) && !json_is_null(description)) {
        return api_type_error("function.description", "a string", description, err);
    }
    json_t *canonical =
        json_pack("{s:s,s:O}", "type", "function", "function", (json_t *)(uintptr_t)function);
    return (canonical && json_array_append_new(request->tools, canonical) == 0) ||
           err_set_memory(err, sizeof *canonical);
}

bool api_ollama_tools(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err)
{
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    if (json_array_size(value) == 0) {
        return true;
    }
    request->tools = json_array();
    for (size_t i = 0; request->tools && i < json_array_size(value); i++) {
        if (!read_tool(request, json_array_get(value, i), err)) {
            return err_wrap_param(err, "%s[%zu]", field->name, i);
        }
    }
    return request->tools || err_set_memory(err, sizeof(json_t *));
}
