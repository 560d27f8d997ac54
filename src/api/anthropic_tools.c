/* Tools, tool_choice, thinking and output_config of Anthropic -> the one request.
 *
 *     {"name","description","input_schema","strict"}   {"type":"function","function":{"name",
 *                                                       "description","parameters","strict"}}
 *
 * Tools that Anthropic's own servers run, and those whose schema is part of its models, are refused
 * by their type. */
#include <stdio.h>

#include "api/anthropic.h"
#include "base/json.h"

enum { TOOL_NAME_MAX = 128, BUDGET_MIN = 1024 /* as documented */ };

/* ---- values ---- */

static bool check_name(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    struct str name = json_str(value);
    bool ok = name.len >= 1 && name.len <= TOOL_NAME_MAX;
    (void)request;
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    for (size_t i = 0; ok && i < name.len; i++) {
        char c = name.ptr[i];
        ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
             c == '_' || c == '-';
    }
    return ok || err_set_param(err, ERR_INVALID, field->name,
                               "'%s' must be 1 to %d letters, digits, '_' or '-'", field->name,
                               TOOL_NAME_MAX);
}

static bool check_type(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    (void)request;
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    return str_eq(json_str(value), STR("custom")) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name,
                         "tools of type '%s' are not supported, only 'custom': %s",
                         str_quote(quoted, json_str(value)), field->note);
}

static bool check_text(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || api_type_error(field->name, "a string", value, err);
}

static bool check_bool(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_boolean(value) || api_type_error(field->name, "a boolean", value, err);
}

static bool check_schema(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    (void)request;
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    return str_eq(json_str(json_object_get(value, "type")), STR("object")) ||
           err_set_param(err, ERR_INVALID, "input_schema.type", "must be 'object'");
}

static bool check_examples(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    (void)request;
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array of objects", value, err);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!json_is_object(json_array_get(value, i))) {
            return api_type_error(field->name, "an array of objects", json_array_get(value, i),
                                  err);
        }
    }
    return true;
}

static bool fail_limited(const struct api_field *field, struct err *err)
{
    return err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

static bool check_callers(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    (void)request;
    bool is_direct =
        json_array_size(value) == 1 && str_eq(json_str(json_array_get(value, 0)), STR("direct"));
    return is_direct || fail_limited(field, err);
}

static bool check_false(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    return check_bool(request, field, value, err) &&
           (json_is_false(value) || fail_limited(field, err));
}

static bool check_true(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    return check_bool(request, field, value, err) &&
           (json_is_true(value) || fail_limited(field, err));
}

const struct api_field api_anthropic_tool_fields[] = {
    {.name = "type",
     .kind = API_CUSTOM,
     .apply = check_type,
     .is_limited = true,
     .note = "this server runs no tools itself, and its models bring no schemas of their own"},
    {.name = "name", .kind = API_CUSTOM, .apply = check_name, .is_required = true},
    {.name = "description", .kind = API_CUSTOM, .apply = check_text},
    {.name = "input_schema", .kind = API_CUSTOM, .apply = check_schema, .is_required = true},
    {.name = "strict",
     .kind = API_CUSTOM,
     .apply = check_bool,
     .note = "inputs are valid in any case; true refuses schemas that cannot be enforced"},
    {.name = "cache_control", .kind = API_CUSTOM, .apply = api_anthropic_cache_control},
    {.name = "input_examples",
     .kind = API_CUSTOM,
     .apply = check_examples,
     .note = "the model reads them behind the description"},
    {.name = "allowed_callers",
     .kind = API_CUSTOM,
     .apply = check_callers,
     .is_limited = true,
     .note = "only the model itself calls tools, which is 'direct'"},
    {.name = "defer_loading",
     .kind = API_CUSTOM,
     .apply = check_false,
     .is_limited = true,
     .note = "there is no search for tools: the model reads all of them"},
    {.name = "eager_input_streaming",
     .kind = API_CUSTOM,
     .apply = check_true,
     .is_limited = true,
     .note = "inputs are streamed as they come, which is true"},
    {0},
};

/* ---- tools ---- */

/* The description, and the examples as JSON behind it. */
static json_t *describe(const json_t *tool)
{
    const json_t *examples = json_object_get(tool, "input_examples");
    struct buf text = {0};
    buf_add(&text, json_str(json_object_get(tool, "description")));
    for (size_t i = 0; i < json_array_size(examples); i++) {
        buf_add_text(&text, i ? "\n" : text.len ? "\n\nExample inputs:\n" : "Example inputs:\n");
        json_write(&text, json_array_get(examples, i));
    }
    json_t *described = text.failed ? NULL : json_stringn(text.ptr ? text.ptr : "", text.len);
    buf_deinit(&text);
    return described;
}

static bool add_tool(struct gen_request *request, const json_t *tool, struct err *err)
{
    const json_t *strict = json_object_get(tool, "strict");
    json_t *function = json_pack("{s:O,s:O}", "name", json_object_get(tool, "name"), "parameters",
                                 json_object_get(tool, "input_schema"));
    bool has_words =
        json_object_get(tool, "description") || json_object_get(tool, "input_examples");
    bool ok = function &&
              (!has_words || json_object_set_new(function, "description", describe(tool)) == 0) &&
              (!json_is_boolean(strict) ||
               json_object_set(function, "strict", (json_t *)(uintptr_t)strict) == 0);
    json_t *canonical =
        ok ? json_pack("{s:s,s:O}", "type", "function", "function", function) : NULL;
    json_decref(function);
    return (canonical && json_array_append_new(request->tools, canonical) == 0) ||
           err_set_memory(err, sizeof *canonical);
}

static bool has_tool(const struct gen_request *request, struct str name)
{
    for (size_t i = 0; i < json_array_size(request->tools); i++) {
        const json_t *function = json_object_get(json_array_get(request->tools, i), "function");
        if (str_eq(json_str(json_object_get(function, "name")), name)) {
            return true;
        }
    }
    return false;
}

static bool read_tool(struct gen_request *request, const json_t *tool, struct err *err)
{
    static const struct api_field *const tables[] = {api_anthropic_tool_fields, NULL};
    char quoted[STR_QUOTE_MAX];
    if (!json_is_object(tool)) {
        return api_type_error("", "an object", tool, err);
    }
    const json_t *type = json_object_get(tool, "type");
    if (type && !json_is_null(type) &&
        !check_type(request, &api_anthropic_tool_fields[0], type, err)) {
        return false; /* of such a tool its type is the fault, not its other fields */
    }
    if (!api_fields_apply(request, tool, tables, err)) {
        return false;
    }
    struct str name = json_str(json_object_get(tool, "name"));
    if (has_tool(request, name)) {
        return err_set_param(err, ERR_INVALID, "name", "two tools have the name '%s'",
                             str_quote(quoted, name));
    }
    return add_tool(request, tool, err);
}

bool api_anthropic_apply_tools(struct gen_request *request, const struct api_field *field,
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

/* ---- tool_choice ---- */

static bool only_keys(const json_t *value, const char *const *keys, const char *where,
                      struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)value;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], json_object_iter_key(it)) != 0) {
            i++;
        }
        if (!keys[i]) {
            api_unknown_error(json_object_iter_key(it), err);
            return err_wrap_param(err, "%s", where);
        }
    }
    return true;
}

bool api_anthropic_apply_tool_choice(struct gen_request *request, const struct api_field *field,
                                     const json_t *value, struct err *err)
{
    static const char *const keys[] = {"type", "name", "disable_parallel_tool_use", NULL};
    struct str type = json_str(json_object_get(value, "type"));
    const json_t *name = json_object_get(value, "name");
    const json_t *alone = json_object_get(value, "disable_parallel_tool_use");
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    if (!only_keys(value, keys, field->name, err)) {
        return false;
    }
    if (alone && !json_is_boolean(alone)) {
        return api_type_error("tool_choice.disable_parallel_tool_use", "a boolean", alone, err);
    }
    request->parallel_tool_calls = !json_is_true(alone);
    if (str_eq(type, STR("tool"))) {
        json_t *allowed = json_is_string(name) ? json_pack("[O]", name) : NULL;
        if (!allowed) {
            return err_set_param(err, ERR_MISSING, "tool_choice.name",
                                 "a choice of type 'tool' needs the tool's 'name'");
        }
        json_decref(request->own_choice);
        request->own_choice = allowed;
        request->tool_choice = (struct gen_tool_choice){GEN_TOOLS_REQUIRED, allowed};
        return true;
    }
    if (name) {
        return err_set_param(err, ERR_INVALID, "tool_choice.name", "only type 'tool' has a name");
    }
    if (str_eq(type, STR("any"))) {
        request->tool_choice.mode = GEN_TOOLS_REQUIRED;
    } else if (str_eq(type, STR("none"))) {
        request->tool_choice.mode = GEN_TOOLS_NONE;
    } else if (!str_eq(type, STR("auto"))) {
        return err_set_param(err, ERR_INVALID, "tool_choice.type",
                             "must be 'auto', 'any', 'tool' or 'none'");
    }
    return true;
}

/* ---- thinking ---- */

/* Without `display` thinking is shown whole: there is nobody to summarise it. */
static bool read_display(struct gen_request *request, const json_t *value, struct err *err)
{
    struct str display = json_str(value);
    request->reasoning.is_hidden = str_eq(display, STR("omitted"));
    return !value || json_is_null(value) || request->reasoning.is_hidden ||
           str_eq(display, STR("summarized")) ||
           err_set_param(err, ERR_INVALID, "thinking.display", "must be 'summarized' or 'omitted'");
}

bool api_anthropic_apply_thinking(struct gen_request *request, const struct api_field *field,
                                  const json_t *value, struct err *err)
{
    static const char *const keys[] = {"type", "budget_tokens", "display", NULL};
    struct str type = json_str(json_object_get(value, "type"));
    const json_t *budget = json_object_get(value, "budget_tokens");
    char quoted[STR_QUOTE_MAX];
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    if (!only_keys(value, keys, field->name, err) ||
        !read_display(request, json_object_get(value, "display"), err)) {
        return false;
    }
    if (str_eq(type, STR("disabled"))) {
        request->reasoning.mode = GEN_REASONING_OFF;
    } else if (str_eq(type, STR("enabled")) || str_eq(type, STR("adaptive"))) {
        request->reasoning.mode = GEN_REASONING_ON;
    } else {
        return err_set_param(
            err, str_eq(type, STR("between_tools")) ? ERR_UNSUPPORTED : ERR_INVALID,
            "thinking.type", "'%s' is not one of 'enabled', 'adaptive', 'disabled'",
            str_quote(quoted, type));
    }
    if (!str_eq(type, STR("enabled"))) {
        return !budget || err_set_param(err, ERR_INVALID, "thinking.budget_tokens",
                                        "only type 'enabled' has a budget");
    }
    if (!budget) {
        return err_set_param(err, ERR_MISSING, "thinking.budget_tokens",
                             "type 'enabled' needs a budget");
    }
    if (!json_is_integer(budget)) {
        return api_type_error("thinking.budget_tokens", "an integer", budget, err);
    }
    if (json_integer_value(budget) < BUDGET_MIN || json_integer_value(budget) > INT32_MAX) {
        return err_set_param(err, ERR_INVALID, "thinking.budget_tokens", "must be at least %d",
                             BUDGET_MIN);
    }
    request->reasoning.has_budget = true;
    request->reasoning.budget_tokens = (uint32_t)json_integer_value(budget);
    return true;
}

/* ---- output_config ---- */

bool api_anthropic_apply_output_format(struct gen_request *request, const struct api_field *field,
                                       const json_t *value, struct err *err)
{
    static const char *const keys[] = {"type", "schema", NULL};
    const json_t *schema = json_object_get(value, "schema");
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    if (!only_keys(value, keys, field->name, err)) {
        return false;
    }
    if (!str_eq(json_str(json_object_get(value, "type")), STR("json_schema"))) {
        err_set_param(err, ERR_INVALID, "type", "must be 'json_schema'");
        return err_wrap_param(err, "%s", field->name);
    }
    if (!json_is_object(schema)) {
        err_set_param(err, schema ? ERR_TYPE : ERR_MISSING, "schema",
                      "a format needs a 'schema', which is an object");
        return err_wrap_param(err, "%s", field->name);
    }
    if (request->format != GEN_FORMAT_TEXT) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "'output_format' is the older word for 'output_config.format'; give "
                             "one of them");
    }
    request->format = GEN_FORMAT_SCHEMA;
    request->schema = schema;
    request->schema_strict = true;
    return true;
}

bool api_anthropic_apply_output_config(struct gen_request *request, const struct api_field *field,
                                       const json_t *value, struct err *err)
{
    static const char *const keys[] = {"effort", "format", NULL};
    static const char *const efforts[] = {"low", "medium", "high", "xhigh", "max"};
    static const struct api_field format_field = {.name = "output_config.format"};
    const json_t *effort = json_object_get(value, "effort"),
                 *format = json_object_get(value, "format");
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    if (!only_keys(value, keys, field->name, err)) {
        return false;
    }
    if (effort && !json_is_null(effort)) {
        size_t i = 0;
        while (i < 5 && !str_eq(json_str(effort), str_of(efforts[i]))) {
            i++;
        }
        if (i == 5) {
            return err_set_param(err, ERR_INVALID, "output_config.effort",
                                 "must be 'low', 'medium', 'high', 'xhigh' or 'max'");
        }
        request->reasoning.effort = json_str(effort);
    }
    return !format || json_is_null(format) ||
           api_anthropic_apply_output_format(request, &format_field, format, err);
}

/* Edits that ask for what happens anyway: thinking of earlier turns is kept whole. */
bool api_anthropic_apply_context(struct gen_request *request, const struct api_field *field,
                                 const json_t *value, struct err *err)
{
    const json_t *edits = json_object_get(value, "edits");
    (void)request;
    for (size_t i = 0; i < json_array_size(edits); i++) {
        const json_t *edit = json_array_get(edits, i);
        bool is_kept =
            str_eq(json_str(json_object_get(edit, "type")), STR("clear_thinking_20251015")) &&
            str_eq(json_str(json_object_get(edit, "keep")), STR("all"));
        if (!is_kept) {
            return fail_limited(field, err);
        }
    }
    return json_is_object(value) || api_type_error(field->name, "an object", value, err);
}

/* ---- what only the whole request shows ---- */

bool api_anthropic_finish_tools(struct gen_request *request, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    const struct gen_reasoning *reasoning = &request->reasoning;
    bool is_required = request->tool_choice.mode == GEN_TOOLS_REQUIRED;
    struct str name = json_str(json_array_get(request->tool_choice.allowed, 0));
    if (is_required && !request->tools) {
        return err_set_param(err, ERR_INVALID, "tool_choice",
                             "'tool_choice' may only be given with 'tools'");
    }
    if (is_required && request->tool_choice.allowed && !has_tool(request, name)) {
        return err_set_param(err, ERR_INVALID, "tool_choice.name", "there is no tool '%s'",
                             str_quote(quoted, name));
    }
    if (reasoning->has_budget && request->has_max_tokens &&
        reasoning->budget_tokens >= request->max_tokens) {
        return err_set_param(err, ERR_INVALID, "thinking.budget_tokens",
                             "%u is not less than 'max_tokens', %u", reasoning->budget_tokens,
                             request->max_tokens);
    }
    if (reasoning->mode == GEN_REASONING_DEFAULT) {
        /* Without "thinking" there is none; templates that can think do so unless told not to. */
        request->reasoning.mode = GEN_REASONING_OFF;
    }
    return true;
}
