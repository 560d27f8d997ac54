/* Fields of chat completions that say what the model may call and how it thinks. */
#include <stdio.h>

#include "api/openai.h"
#include "base/json.h"

enum { NAME_BYTES_MAX = 128 };

static bool is_named(const json_t *value, const char *name)
{
    return str_eq(json_str(value), str_of(name));
}

static bool only(const json_t *value, const char *const *names, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)value;
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

/* ---- tools ---- */

static bool check_name(const json_t *name, struct err *err)
{
    const struct str s = json_str(name);
    if (!json_is_string(name)) {
        return name ? api_type_error("name", "a string", name, err)
                    : err_set_param(err, ERR_MISSING, "name", "a tool needs a 'name'");
    }
    bool ok = s.len > 0 && s.len <= NAME_BYTES_MAX;
    for (size_t i = 0; i < s.len; i++) {
        const char c = s.ptr[i];
        ok = ok && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '-' || c == '.');
    }
    return ok || err_set_param(err, ERR_INVALID, "name",
                               "a tool's name is 1 to %d letters, digits, '_', '-' and '.'",
                               NAME_BYTES_MAX);
}

static bool check_inner(const json_t *inner, bool is_custom, struct err *err)
{
    static const char *const function[] = {"name", "description", "parameters", "strict", NULL};
    static const char *const custom[] = {"name", "description", "format", NULL};
    const json_t *description = json_object_get(inner, "description");
    const json_t *parameters = json_object_get(inner, "parameters");
    const json_t *strict = json_object_get(inner, "strict");
    const json_t *format = json_object_get(inner, "format");
    if (!only(inner, is_custom ? custom : function, err) ||
        !check_name(json_object_get(inner, "name"), err)) {
        return false;
    }
    if (description && !json_is_string(description) && !json_is_null(description)) {
        return api_type_error("description", "a string", description, err);
    }
    if (parameters && !json_is_object(parameters) && !json_is_null(parameters)) {
        return api_type_error("parameters", "an object", parameters, err);
    }
    if (strict && !json_is_boolean(strict) && !json_is_null(strict)) {
        return api_type_error("strict", "a boolean", strict, err);
    }
    return !format || json_is_object(format) || json_is_null(format) ||
           api_type_error("format", "an object", format, err);
}

static const json_t *find_tool(const struct gen_request *request, struct str name)
{
    for (size_t i = 0; i < json_array_size(request->tools); i++) {
        const json_t *tool = json_array_get(request->tools, i);
        const json_t *function = json_object_get(tool, "function");
        const json_t *inner = function ? function : json_object_get(tool, "custom");
        if (str_eq(json_str(json_object_get(inner, "name")), name)) {
            return tool;
        }
    }
    return NULL;
}

static bool add_tool(struct gen_request *request, const json_t *tool, struct err *err)
{
    static const char *const names[] = {"type", "function", "custom", NULL};
    const bool is_custom = is_named(json_object_get(tool, "type"), "custom");
    const char *key = is_custom ? "custom" : "function";
    const json_t *inner = json_object_get(tool, key);
    char quoted[STR_QUOTE_MAX];
    if (!json_is_object(tool)) {
        return api_type_error("", "an object", tool, err);
    }
    if (!is_custom && !is_named(json_object_get(tool, "type"), "function")) {
        return err_set_param(err, json_object_get(tool, "type") ? ERR_INVALID : ERR_MISSING, "type",
                             "a tool is of type 'function' or 'custom'");
    }
    if (!only(tool, names, err)) {
        return false;
    }
    if (!json_is_object(inner)) {
        return inner ? api_type_error(key, "an object", inner, err)
                     : err_set_param(err, ERR_MISSING, key, "a tool needs the object '%s'", key);
    }
    if (!check_inner(inner, is_custom, err)) {
        return err_wrap_param(err, "%s", key);
    }
    const struct str name = json_str(json_object_get(inner, "name"));
    if (find_tool(request, name)) {
        err_set_param(err, ERR_INVALID, "name", "two tools have the name '%s'",
                      str_quote(quoted, name));
        return err_wrap_param(err, "%s", key);
    }
    return json_array_append(request->tools, (json_t *)(uintptr_t)tool) == 0 ||
           err_set_memory(err, sizeof *tool);
}

static bool begin_tools(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    if (json_array_size(value) > 0 && request->tools) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "'functions' is the older word for 'tools'; give one of them");
    }
    request->tools = json_array_size(value) > 0 ? json_array() : request->tools;
    return json_array_size(value) == 0 || request->tools || err_set_memory(err, sizeof *value);
}

static bool apply_tools(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    bool ok = begin_tools(request, field, value, err);
    for (size_t i = 0; ok && i < json_array_size(value); i++) {
        ok = add_tool(request, json_array_get(value, i), err) ||
             err_wrap_param(err, "%s[%zu]", field->name, i);
    }
    return ok;
}

/* The legacy form: functions without the tool around them. */
static bool apply_functions(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    bool ok = begin_tools(request, field, value, err);
    for (size_t i = 0; ok && i < json_array_size(value); i++) {
        const json_t *function = json_array_get(value, i);
        json_t *tool = json_pack("{s:s, s:O}", "type", "function", "function", function);
        ok = (tool || err_set_memory(err, sizeof *tool)) && add_tool(request, tool, err);
        ok = ok || err_wrap_param(err, "%s[%zu]", field->name, i);
        json_decref(tool);
    }
    request->parallel_tool_calls = false;
    return ok;
}

/* ---- tool_choice ---- */

/* {"type":"function","function":{"name":...}} or the same of a custom tool. */
static const json_t *named_tool(const json_t *value)
{
    const json_t *type = json_object_get(value, "type");
    const char *key = json_string_value(type);
    const bool is_known = is_named(type, "function") || is_named(type, "custom");
    const json_t *name = is_known ? json_object_get(json_object_get(value, key), "name") : NULL;
    return json_is_string(name) ? name : NULL;
}

static bool choose(struct gen_request *request, enum gen_tool_mode mode, json_t *names,
                   struct err *err)
{
    if (!names) {
        return err_set_memory(err, sizeof *names);
    }
    json_decref(request->own_choice);
    request->own_choice = names;
    request->tool_choice = (struct gen_tool_choice){mode, names};
    return true;
}

static bool choose_allowed(struct gen_request *request, const json_t *allowed, struct err *err)
{
    const json_t *mode = json_object_get(allowed, "mode");
    const json_t *tools = json_object_get(allowed, "tools");
    json_t *names = json_array();
    if (!json_is_array(tools) || json_array_size(tools) == 0 ||
        (!is_named(mode, "auto") && !is_named(mode, "required"))) {
        json_decref(names);
        return err_set_param(err, ERR_INVALID, "tool_choice.allowed_tools",
                             "needs a 'mode', 'auto' or 'required', and a list of 'tools'");
    }
    for (size_t i = 0; names && i < json_array_size(tools); i++) {
        const json_t *name = named_tool(json_array_get(tools, i));
        if (!name) {
            json_decref(names);
            err_set_param(err, ERR_INVALID, "", "must name a tool");
            return err_wrap_param(err, "tool_choice.allowed_tools.tools[%zu]", i);
        }
        json_array_append(names, (json_t *)(uintptr_t)name);
    }
    return choose(request, is_named(mode, "auto") ? GEN_TOOLS_AUTO : GEN_TOOLS_REQUIRED, names,
                  err);
}

static bool apply_choice(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    static const struct {
        const char *name;
        enum gen_tool_mode mode;
    } words[] = {
        {"auto", GEN_TOOLS_AUTO}, {"none", GEN_TOOLS_NONE}, {"required", GEN_TOOLS_REQUIRED}};
    for (size_t i = 0; i < 3; i++) {
        if (is_named(value, words[i].name)) {
            request->tool_choice.mode = words[i].mode;
            return true;
        }
    }
    if (is_named(json_object_get(value, "type"), "allowed_tools")) {
        return choose_allowed(request, json_object_get(value, "allowed_tools"), err);
    }
    const json_t *name = named_tool(value);
    if (name) {
        return choose(request, GEN_TOOLS_REQUIRED, json_pack("[O]", name), err);
    }
    return err_set_param(err, ERR_INVALID, field->name,
                         "'%s' is 'none', 'auto', 'required', a named tool or 'allowed_tools'",
                         field->name);
}

static bool apply_function_call(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err)
{
    const json_t *name = json_object_get(value, "name");
    if (json_is_string(name)) {
        return choose(request, GEN_TOOLS_REQUIRED, json_pack("[O]", name), err);
    }
    if (is_named(value, "auto") || is_named(value, "none")) {
        request->tool_choice.mode = is_named(value, "none") ? GEN_TOOLS_NONE : GEN_TOOLS_AUTO;
        return true;
    }
    return err_set_param(err, ERR_INVALID, field->name, "'%s' is 'none', 'auto' or {\"name\": ...}",
                         field->name);
}

/* ---- reasoning ---- */

static bool apply_effort(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    static const char *const efforts[] = {"minimal", "low", "medium", "high", "xhigh", NULL};
    if (is_named(value, "none")) {
        request->reasoning.mode = GEN_REASONING_OFF;
        return true;
    }
    for (size_t i = 0; efforts[i]; i++) {
        if (is_named(value, efforts[i])) {
            request->reasoning.mode = GEN_REASONING_ON;
            request->reasoning.effort = json_str(value);
            return true;
        }
    }
    return err_set_param(err, ERR_INVALID, field->name,
                         "'%s' is 'none', 'minimal', 'low', 'medium', 'high' or 'xhigh'",
                         field->name);
}

static bool apply_budget(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    const json_int_t tokens = json_integer_value(value);
    if (tokens < -1 || tokens > INT32_MAX) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "'%s' is a number of tokens, or -1 for no limit", field->name);
    }
    request->reasoning.has_budget = tokens >= 0;
    request->reasoning.budget_tokens = tokens >= 0 ? (uint32_t)tokens : 0;
    return true;
}

const struct api_field api_openai_tool_fields[] = {
    {.name = "tools", .kind = API_CUSTOM, .apply = apply_tools},
    {.name = "tool_choice", .kind = API_CUSTOM, .apply = apply_choice},
    {.name = "parallel_tool_calls",
     .kind = API_BOOL,
     .offset = offsetof(struct gen_request, parallel_tool_calls)},
    {.name = "functions", .kind = API_CUSTOM, .apply = apply_functions},
    {.name = "function_call", .kind = API_CUSTOM, .apply = apply_function_call},
    {.name = "reasoning_effort",
     .kind = API_CUSTOM,
     .apply = apply_effort,
     .note = "'none' turns reasoning off, the others go to the model's template"},
    {.name = "reasoning_budget",
     .kind = API_CUSTOM,
     .apply = apply_budget,
     .note = "an extension: tokens after which reasoning is closed; -1 no limit"},
    {0},
};

bool api_openai_finish_tools(const struct gen_request *request, struct err *err)
{
    const char *field =
        json_object_get(request->body, "function_call") ? "function_call" : "tool_choice";
    char quoted[STR_QUOTE_MAX];
    if (request->tool_choice.mode == GEN_TOOLS_REQUIRED && !request->tools) {
        return err_set_param(err, ERR_INVALID, field, "'%s' may only be given with 'tools'", field);
    }
    for (size_t i = 0; i < json_array_size(request->tool_choice.allowed); i++) {
        const struct str name = json_str(json_array_get(request->tool_choice.allowed, i));
        if (!find_tool(request, name)) {
            return err_set_param(err, ERR_INVALID, field, "there is no tool '%s'",
                                 str_quote(quoted, name));
        }
    }
    return true;
}

/* ---- answers ---- */

static bool is_legacy(const struct api_render *render)
{
    return json_array_size(json_object_get(render->request->body, "functions")) > 0;
}

/* "name":...,"arguments":... or, of a custom tool, "input". */
static void add_call_body(struct str name, struct str arguments, bool is_custom, struct buf *out)
{
    buf_add_text(out, "{\"name\":");
    json_write_string(out, name);
    buf_add_text(out, is_custom ? ",\"input\":" : ",\"arguments\":");
    json_write_string(out, arguments);
    buf_add_char(out, '}');
}

/* "id":...,"type":"function","function":{...} */
static void add_call(struct str id, struct str name, struct str arguments, bool is_custom,
                     struct buf *out)
{
    buf_add_text(out, "\"id\":");
    json_write_string(out, id);
    buf_add_text(out, is_custom ? ",\"type\":\"custom\",\"custom\":"
                                : ",\"type\":\"function\",\"function\":");
    add_call_body(name, arguments, is_custom, out);
}

bool api_openai_delta(const struct api_render *render, const struct gen_part *part, struct buf *out)
{
    switch (part->kind) {
    case GEN_PART_REASONING:
        buf_add_text(out, "{\"reasoning_content\":");
        json_write_string(out, part->text);
        buf_add_char(out, '}');
        return true;
    case GEN_PART_CALL:
        if (is_legacy(render)) {
            buf_add_text(out, "{\"function_call\":");
            add_call_body(part->name, (struct str){0}, false, out);
            buf_add_char(out, '}');
            return true;
        }
        buf_add_format(out, "{\"tool_calls\":[{\"index\":%u,", part->call);
        add_call(part->id, part->name, (struct str){0}, part->is_custom, out);
        buf_add_text(out, "}]}");
        return true;
    case GEN_PART_ARGUMENTS:
        if (is_legacy(render)) {
            buf_add_text(out, "{\"function_call\":{\"arguments\":");
            json_write_string(out, part->text);
            buf_add_text(out, "}}");
            return true;
        }
        buf_add_format(out, "{\"tool_calls\":[{\"index\":%u,\"%s\":", part->call,
                       part->is_custom ? "custom" : "function");
        buf_add_text(out, part->is_custom ? "{\"input\":" : "{\"arguments\":");
        json_write_string(out, part->text);
        buf_add_text(out, "}}]}");
        return true;
    case GEN_PART_TEXT:
    case GEN_PART_CALL_END:
    default:
        return false;
    }
}

void api_openai_message_parts(struct api_render *render, const struct api_choice *choice,
                              struct buf *out)
{
    struct buf reasoning = {0};
    size_t calls = 0;
    api_choice_join(choice, GEN_PART_REASONING, &reasoning);
    render->failed = render->failed || reasoning.failed;
    if (reasoning.len > 0 && !render->request->reasoning.is_hidden) {
        buf_add_text(out, ",\"reasoning_content\":");
        json_write_string(out, buf_view(&reasoning));
    }
    buf_deinit(&reasoning);
    for (size_t i = 0; i < choice->part_count; i++) {
        const struct api_part *part = &choice->parts[i];
        if (part->kind != GEN_PART_CALL) {
            continue;
        }
        if (is_legacy(render)) {
            buf_add_text(out, ",\"function_call\":");
            add_call_body(part->name, buf_view(&part->text), false, out);
            return;
        }
        buf_add_text(out, calls++ ? ",{" : ",\"tool_calls\":[{");
        add_call(part->id, part->name, buf_view(&part->text), part->is_custom, out);
        buf_add_char(out, '}');
    }
    buf_add_text(out, calls ? "]" : "");
}

const char *api_openai_chat_finish(const struct api_render *render, const struct api_choice *choice)
{
    const char *finish = api_openai_finish(choice);
    return strcmp(finish, "\"tool_calls\"") == 0 && is_legacy(render) ? "\"function_call\""
                                                                      : finish;
}
