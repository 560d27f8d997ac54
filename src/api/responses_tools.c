/* Tools of the Responses API, which are flat, in the nested form of chat completions. */
#include <stdio.h>

#include "api/responses.h"
#include "base/json.h"

static bool is_named(const json_t *value, const char *name)
{
    return str_eq(json_str(value), str_of(name));
}

/* What a tool of this type may hold; fields that are null or false say nothing. */
static bool check_names(json_t *tool, const char *const *names, struct err *err)
{
    static const char *const unsupported[] = {"allowed_callers", "async", "defer_loading",
                                              "output_schema", NULL};
    for (void *it = json_object_iter(tool); it; it = json_object_iter_next(tool, it)) {
        const char *key = json_object_iter_key(it);
        const json_t *value = json_object_iter_value(it);
        size_t i = 0;
        while (names[i] && strcmp(names[i], key) != 0) {
            i++;
        }
        if (names[i] || json_is_null(value)) {
            continue;
        }
        for (i = 0; unsupported[i] && strcmp(unsupported[i], key) != 0;) {
            i++;
        }
        if (!unsupported[i]) {
            return api_unknown_error(key, err);
        }
        if (!json_is_false(value)) {
            return err_set_param(err, ERR_UNSUPPORTED, key, "'%s' of tools is not supported", key);
        }
    }
    return true;
}

static bool check_text(const json_t *tool, const char *name, bool is_required, struct err *err)
{
    const json_t *value = json_object_get(tool, name);
    if (!value || json_is_null(value)) {
        return !is_required || err_set_param(err, ERR_MISSING, name, "a tool needs '%s'", name);
    }
    return json_is_string(value) || api_type_error(name, "a string", value, err);
}

static bool put(json_t *object, const char *name, const json_t *value)
{
    return !value || json_is_null(value) ||
           json_object_set(object, name, (json_t *)(uintptr_t)value) == 0;
}

static json_t *read_function(json_t *tool, struct err *err)
{
    static const char *const names[] = {"type",       "name",   "description",
                                        "parameters", "strict", NULL};
    const json_t *parameters = json_object_get(tool, "parameters");
    const json_t *strict = json_object_get(tool, "strict");
    if (!check_names(tool, names, err) || !check_text(tool, "name", true, err) ||
        !check_text(tool, "description", false, err)) {
        return NULL;
    }
    if (parameters && !json_is_object(parameters) && !json_is_null(parameters)) {
        api_type_error("parameters", "an object", parameters, err);
        return NULL;
    }
    if (strict && !json_is_boolean(strict) && !json_is_null(strict)) {
        api_type_error("strict", "a boolean", strict, err);
        return NULL;
    }
    json_t *function = json_object();
    bool ok = put(function, "name", json_object_get(tool, "name")) &&
              put(function, "description", json_object_get(tool, "description")) &&
              put(function, "parameters", parameters) && put(function, "strict", strict);
    return ok ? json_pack("{s:s,s:o}", "type", "function", "function", function) : NULL;
}

/* The grammar of a custom tool: chat completions have it one object deeper. New reference. */
static json_t *read_format(const json_t *format, struct err *err)
{
    const json_t *syntax = json_object_get(format, "syntax");
    const json_t *definition = json_object_get(format, "definition");
    if (!json_is_object(format)) {
        api_type_error("", "an object", format, err);
        return NULL;
    }
    if (is_named(json_object_get(format, "type"), "text")) {
        return json_pack("{s:s}", "type", "text");
    }
    if (!is_named(json_object_get(format, "type"), "grammar")) {
        err_set_param(err, ERR_INVALID, "type", "a format is of type 'text' or 'grammar'");
        return NULL;
    }
    if (!json_is_string(definition)) {
        err_set_param(err, definition ? ERR_TYPE : ERR_MISSING, "definition",
                      "a grammar needs the string 'definition'");
        return NULL;
    }
    if (!is_named(syntax, "regex")) {
        bool is_lark = is_named(syntax, "lark");
        err_set_param(err, is_lark ? ERR_UNSUPPORTED : ERR_INVALID, "syntax",
                      is_lark ? "grammars in the syntax 'lark' are not supported, use 'regex'"
                              : "the syntax of a grammar is 'regex'");
        return NULL;
    }
    return json_pack("{s:s,s:{s:O,s:O}}", "type", "grammar", "grammar", "syntax", syntax,
                     "definition", definition);
}

static json_t *read_custom(json_t *tool, struct err *err)
{
    static const char *const names[] = {"type", "name", "description", "format", NULL};
    const json_t *format = json_object_get(tool, "format");
    if (!check_names(tool, names, err) || !check_text(tool, "name", true, err) ||
        !check_text(tool, "description", false, err)) {
        return NULL;
    }
    json_t *custom = json_object();
    bool ok = put(custom, "name", json_object_get(tool, "name")) &&
              put(custom, "description", json_object_get(tool, "description"));
    if (ok && format && !json_is_null(format)) {
        json_t *read = read_format(format, err);
        if (!read) {
            err_wrap_param(err, "format");
            json_decref(custom);
            return NULL;
        }
        ok = json_object_set_new(custom, "format", read) == 0;
    }
    return ok ? json_pack("{s:s,s:o}", "type", "custom", "custom", custom) : NULL;
}

/* Codex's tool without a schema: a function to the model, local_shell_call items to the client. */
static json_t *shell_function(void)
{
    static const char text[] =
        "{\"type\":\"function\",\"function\":{\"name\":\"" RESPONSES_SHELL "\",\"description\":"
        "\"Runs a command on the user's machine.\",\"parameters\":{\"type\":\"object\","
        "\"properties\":{\"command\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
        "\"working_directory\":{\"type\":\"string\"},\"timeout_ms\":{\"type\":\"integer\"}},"
        "\"required\":[\"command\"],\"additionalProperties\":false}}}";
    return json_parse(str_of(text), NULL, NULL);
}

static json_t *read_tool(struct gen_request *request, json_t *tool, struct err *err)
{
    static const char *const shell_names[] = {"type", NULL};
    const json_t *type = json_object_get(tool, "type");
    if (!json_is_object(tool)) {
        api_type_error("", "an object", tool, err);
        return NULL;
    }
    if (!json_is_string(type)) {
        err_set_param(err, type ? ERR_TYPE : ERR_MISSING, "type", "a tool needs the string 'type'");
        return NULL;
    }
    if (is_named(type, "function")) {
        return read_function(tool, err);
    }
    if (is_named(type, "custom")) {
        return read_custom(tool, err);
    }
    if (is_named(type, "local_shell")) {
        api_responses_own(request)->has_shell = true;
        return check_names(tool, shell_names, err) ? shell_function() : NULL;
    }
    char quoted[STR_QUOTE_MAX];
    err_set_param(err, ERR_UNSUPPORTED, "type",
                  "tools of type '%s' are not supported: this server runs no tools itself, use "
                  "'function', 'custom' or 'local_shell'",
                  str_quote(quoted, json_str(type)));
    return NULL;
}

bool api_responses_apply_tools(struct gen_request *request, const struct api_field *field,
                               const json_t *value, struct err *err)
{
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    if (json_array_size(value) == 0) {
        return true;
    }
    request->tools = json_array();
    for (size_t i = 0; i < json_array_size(value); i++) {
        err_set(err, ERR_MEMORY, "out of memory while reading the tools");
        json_t *tool = read_tool(request, json_array_get(value, i), err);
        if (!tool || json_array_append_new(request->tools, tool) != 0) {
            return err_wrap_param(err, "tools[%zu]", i);
        }
    }
    return true;
}

/* ---- tool_choice ---- */

/* The name of {"type":"function","name":...}, also of a custom tool and the shell. */
static json_t *name_of(const json_t *choice, struct err *err)
{
    const json_t *type = json_object_get(choice, "type");
    const json_t *name = json_object_get(choice, "name");
    if (is_named(type, "local_shell")) {
        return json_string(RESPONSES_SHELL);
    }
    if (!is_named(type, "function") && !is_named(type, "custom")) {
        char quoted[STR_QUOTE_MAX];
        err_set_param(err, ERR_UNSUPPORTED, "type", "choosing a tool of type '%s' is not supported",
                      str_quote(quoted, json_str(type)));
        return NULL;
    }
    if (!json_is_string(name)) {
        err_set_param(err, name ? ERR_TYPE : ERR_MISSING, "name",
                      "choosing a tool needs the string 'name'");
        return NULL;
    }
    return json_incref((json_t *)(uintptr_t)name);
}

static bool choose_word(struct gen_request *request, struct str word, struct err *err)
{
    static const struct word {
        const char *name;
        enum gen_tool_mode mode;
    } words[] = {
        {"none", GEN_TOOLS_NONE}, {"auto", GEN_TOOLS_AUTO}, {"required", GEN_TOOLS_REQUIRED}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (str_eq(word, str_of(words[i].name))) {
            request->tool_choice.mode = words[i].mode;
            return true;
        }
    }
    return err_set_param(err, ERR_INVALID, "tool_choice",
                         "invalid value for 'tool_choice': must be none, auto, required or an "
                         "object");
}

static bool choose_allowed(struct gen_request *request, const json_t *value, json_t *names,
                           struct err *err)
{
    const json_t *tools = json_object_get(value, "tools");
    const json_t *mode = json_object_get(value, "mode");
    if (!is_named(mode, "auto") && !is_named(mode, "required")) {
        return err_set_param(err, ERR_INVALID, "tool_choice.mode",
                             "invalid value for 'tool_choice.mode': must be auto or required");
    }
    if (!json_is_array(tools) || json_array_size(tools) == 0) {
        return err_set_param(err, tools ? ERR_INVALID : ERR_MISSING, "tool_choice.tools",
                             "'tool_choice.tools' must be an array of at least one tool");
    }
    for (size_t i = 0; i < json_array_size(tools); i++) {
        err_set(err, ERR_MEMORY, "out of memory");
        json_t *name = name_of(json_array_get(tools, i), err);
        if (!name || json_array_append_new(names, name) != 0) {
            return err_wrap_param(err, "tool_choice.tools[%zu]", i);
        }
    }
    request->tool_choice.mode = is_named(mode, "required") ? GEN_TOOLS_REQUIRED : GEN_TOOLS_AUTO;
    return true;
}

bool api_responses_apply_choice(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err)
{
    if (json_is_string(value)) {
        return choose_word(request, json_str(value), err);
    }
    if (!json_is_object(value)) {
        return api_type_error(field->name, "a string or an object", value, err);
    }
    json_t *names = json_array();
    api_responses_own(request)->tool_json = names;
    request->tool_choice.allowed = names;
    if (is_named(json_object_get(value, "type"), "allowed_tools")) {
        return choose_allowed(request, value, names, err);
    }
    err_set(err, ERR_MEMORY, "out of memory");
    json_t *name = name_of(value, err);
    if (!name || json_array_append_new(names, name) != 0) {
        return err_wrap_param(err, "tool_choice");
    }
    request->tool_choice.mode = GEN_TOOLS_REQUIRED;
    return true;
}
