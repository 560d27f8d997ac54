/* The fields of POST /v1/responses. */
#include <stdio.h>

#include "api/responses.h"
#include "base/json.h"

enum { INCLUDES_MAX = 16 };

struct api_responses_request *api_responses_own(const struct gen_request *request)
{
    return request->own;
}

static void release(void *own)
{
    struct api_responses_request *mine = own;
    json_decref(mine->input);
    json_decref(mine->context);
    json_decref(mine->tool_json);
}

static bool wrong_type(const struct api_field *field, const char *wanted, const json_t *value,
                       struct err *err)
{
    return api_type_error(field->name, wanted, value, err);
}

/* ---- what is asked ---- */

static bool apply_input(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    struct api_responses_request *own = api_responses_own(request);
    own->input = json_array();
    if (json_is_string(value)) {
        json_t *items = json_pack("[{s:s,s:O}]", "role", "user", "content", value);
        bool ok = items && api_responses_read_items(items, "input", own->input, err);
        json_decref(items);
        return ok;
    }
    if (!json_is_array(value)) {
        return wrong_type(field, "a string or an array of items", value, err);
    }
    return api_responses_read_items(value, "input", own->input, err);
}

static bool take_text(const struct api_field *field, const json_t *value, struct str *out,
                      struct err *err)
{
    if (!json_is_string(value)) {
        return wrong_type(field, "a string", value, err);
    }
    *out = json_str(value);
    return true;
}

static bool apply_instructions(struct gen_request *request, const struct api_field *field,
                               const json_t *value, struct err *err)
{
    return take_text(field, value, &api_responses_own(request)->instructions, err);
}

static bool apply_previous(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    return take_text(field, value, &api_responses_own(request)->previous, err);
}

static bool apply_conversation(struct gen_request *request, const struct api_field *field,
                               const json_t *value, struct err *err)
{
    const json_t *id = json_is_object(value) ? json_object_get(value, "id") : value;
    if (!json_is_string(id)) {
        return wrong_type(field, "an id, or an object with the string 'id'", value, err);
    }
    api_responses_own(request)->conversation = json_str(id);
    return true;
}

/* ---- how it is answered ---- */

static bool apply_max_output(struct gen_request *request, const struct api_field *field,
                             const json_t *value, struct err *err)
{
    return api_apply_max_tokens(request, field, value, err);
}

static bool read_schema(struct gen_request *request, const json_t *format, struct err *err)
{
    static const char *const names[] = {"type", "name", "schema", "strict", "description", NULL};
    const json_t *schema = json_object_get(format, "schema");
    const json_t *strict = json_object_get(format, "strict");
    json_t *object = (json_t *)(uintptr_t)format;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], json_object_iter_key(it)) != 0) {
            i++;
        }
        if (!names[i]) {
            return api_unknown_error(json_object_iter_key(it), err);
        }
    }
    if (!json_is_string(json_object_get(format, "name"))) {
        return err_set_param(err, json_object_get(format, "name") ? ERR_TYPE : ERR_MISSING, "name",
                             "a JSON schema needs the string 'name'");
    }
    if (!json_is_object(schema)) {
        return err_set_param(err, schema ? ERR_TYPE : ERR_MISSING, "schema",
                             "the format needs the object 'schema'");
    }
    if (strict && !json_is_boolean(strict) && !json_is_null(strict)) {
        return api_type_error("strict", "a boolean", strict, err);
    }
    request->format = GEN_FORMAT_SCHEMA;
    request->schema = schema;
    request->schema_strict = json_is_true(strict);
    return true;
}

static bool read_format(struct gen_request *request, const json_t *format, struct err *err)
{
    struct str type = json_str(json_object_get(format, "type"));
    char quoted[STR_QUOTE_MAX];
    if (!json_is_object(format)) {
        return api_type_error("", "an object", format, err);
    }
    if (!json_is_string(json_object_get(format, "type"))) {
        return err_set_param(err, json_object_get(format, "type") ? ERR_TYPE : ERR_MISSING, "type",
                             "a format needs the string 'type'");
    }
    if (str_eq(type, STR("json_schema"))) {
        return read_schema(request, format, err);
    }
    if (str_eq(type, STR("json_object"))) {
        request->format = GEN_FORMAT_JSON_OBJECT;
        return true;
    }
    return str_eq(type, STR("text")) ||
           err_set_param(err, ERR_INVALID, "type",
                         "invalid format '%s': must be text, json_object or json_schema",
                         str_quote(quoted, type));
}

static bool is_word(const json_t *value, const char *words)
{
    struct str rest = str_of(words), word = json_str(value);
    while (json_is_string(value) && rest.len) {
        if (str_eq(str_cut(&rest, ' '), word)) {
            return true;
        }
    }
    return false;
}

static bool refuse(const char *param, const char *why, struct err *err)
{
    return err_set_param(err, ERR_UNSUPPORTED, param, "'%s' is not supported: %s", param, why);
}

static bool apply_text(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    if (!json_is_object(value)) {
        return wrong_type(field, "an object", value, err);
    }
    json_t *object = (json_t *)(uintptr_t)value;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        const json_t *item = json_object_iter_value(it);
        if (json_is_null(item)) {
            continue;
        }
        if (strcmp(key, "format") == 0) {
            if (!read_format(request, item, err)) {
                return err_wrap_param(err, "text.format");
            }
        } else if (strcmp(key, "verbosity") == 0) {
            if (is_word(item, "low high")) {
                return refuse("text.verbosity", "models here have no such control", err);
            }
            if (!is_word(item, "medium")) {
                return err_set_param(err, ERR_INVALID, "text.verbosity",
                                     "invalid value for 'text.verbosity': must be low, medium or "
                                     "high");
            }
        } else {
            api_unknown_error(key, err);
            return err_wrap_param(err, "text");
        }
    }
    return true;
}

static bool apply_reasoning(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    static const struct part {
        const char *name, *words;
    } parts[] = {{"effort", "none minimal low medium high xhigh max"},
                 {"summary", "auto concise detailed"},
                 {"generate_summary", "auto concise detailed"},
                 {"context", "auto all_turns"},
                 {"mode", "standard"}};
    if (!json_is_object(value)) {
        return wrong_type(field, "an object", value, err);
    }
    json_t *object = (json_t *)(uintptr_t)value;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        const json_t *item = json_object_iter_value(it);
        size_t i = 0;
        while (i < sizeof parts / sizeof *parts && strcmp(parts[i].name, key) != 0) {
            i++;
        }
        if (i == sizeof parts / sizeof *parts) {
            api_unknown_error(key, err);
            return err_wrap_param(err, "reasoning");
        }
        if (json_is_null(item)) {
            continue;
        }
        if (!is_word(item, parts[i].words)) {
            err_set_param(err, json_is_string(item) ? ERR_INVALID : ERR_TYPE, key,
                          "invalid value for 'reasoning.%s': must be one of %s", key,
                          parts[i].words);
            return err_wrap_param(err, "reasoning");
        }
        if (i == 0) {
            bool is_off = is_word(item, "none");
            request->reasoning.mode = is_off ? GEN_REASONING_OFF : GEN_REASONING_ON;
            request->reasoning.effort = is_off ? (struct str){0} : json_str(item);
        } else if (i <= 2) {
            api_responses_own(request)->has_summary = true;
        }
    }
    return true;
}

static bool apply_include(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    struct api_responses_request *own = api_responses_own(request);
    if (!json_is_array(value)) {
        return wrong_type(field, "an array", value, err);
    }
    if (json_array_size(value) > INCLUDES_MAX) {
        return err_set_param(err, ERR_INVALID, field->name, "'include' has more than %d members",
                             INCLUDES_MAX);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        char path[32], quoted[STR_QUOTE_MAX];
        snprintf(path, sizeof path, "include[%zu]", i);
        if (is_word(item, "message.output_text.logprobs")) {
            own->includes_logprobs = true;
        } else if (is_word(item, "reasoning.encrypted_content")) {
            own->includes_encrypted = true;
        } else if (is_word(item, "file_search_call.results web_search_call.results "
                                 "web_search_call.action.sources message.input_image.image_url "
                                 "computer_call_output.output.image_url "
                                 "code_interpreter_call.outputs")) {
            return refuse(path, "there is nothing of that kind to include", err);
        } else if (!json_is_string(item)) {
            return api_type_error(path, "a string", item, err);
        } else {
            return err_set_param(err, ERR_INVALID, path, "invalid value '%s' in 'include'",
                                 str_quote(quoted, json_str(item)));
        }
    }
    return true;
}

static bool apply_top_logprobs(struct gen_request *request, const struct api_field *field,
                               const json_t *value, struct err *err)
{
    if (!json_is_integer(value)) {
        return wrong_type(field, "an integer", value, err);
    }
    json_int_t top = json_integer_value(value);
    if (top < 0 || top > ENGINE_TOP_MAX) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid value for 'top_logprobs': must be between 0 and %d",
                             ENGINE_TOP_MAX);
    }
    api_responses_own(request)->top_logprobs = (uint32_t)top;
    return true;
}

static bool apply_truncation(struct gen_request *request, const struct api_field *field,
                             const json_t *value, struct err *err)
{
    if (!is_word(value, "auto disabled")) {
        return json_is_string(value)
                   ? err_set_param(err, ERR_INVALID, field->name,
                                   "invalid value for 'truncation': must be auto or disabled")
                   : wrong_type(field, "a string", value, err);
    }
    request->drops_oldest = is_word(value, "auto");
    return true;
}

static bool apply_tool_calls(struct gen_request *request, const struct api_field *field,
                             const json_t *value, struct err *err)
{
    (void)request; /* it bounds tools that a server runs itself, and this one runs none */
    if (!json_is_integer(value)) {
        return wrong_type(field, "an integer", value, err);
    }
    return json_integer_value(value) >= 1 ||
           err_set_param(err, ERR_INVALID, field->name,
                         "invalid value for 'max_tool_calls': must be at least 1");
}

/* ---- delivery and keeping ---- */

static bool apply_store(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    struct api_responses_request *own = api_responses_own(request);
    if (!json_is_boolean(value)) {
        return wrong_type(field, "a boolean", value, err);
    }
    own->has_store = true;
    own->wants_store = json_is_true(value);
    return true;
}

static bool apply_background(struct gen_request *request, const struct api_field *field,
                             const json_t *value, struct err *err)
{
    if (!json_is_boolean(value)) {
        return wrong_type(field, "a boolean", value, err);
    }
    request->is_detached = json_is_true(value);
    request->lane = request->is_detached ? GEN_LANE_NORMAL : request->lane;
    return true;
}

static bool apply_stream_options(struct gen_request *request, const struct api_field *field,
                                 const json_t *value, struct err *err)
{
    if (!json_is_object(value)) {
        return wrong_type(field, "an object", value, err);
    }
    json_t *object = (json_t *)(uintptr_t)value;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        const json_t *item = json_object_iter_value(it);
        if (strcmp(key, "include_obfuscation") != 0) {
            api_unknown_error(key, err);
            return err_wrap_param(err, "stream_options");
        }
        if (!json_is_boolean(item) && !json_is_null(item)) {
            return api_type_error("stream_options.include_obfuscation", "a boolean", item, err);
        }
        api_responses_own(request)->is_obfuscated = json_is_true(item);
    }
    return true;
}

static bool apply_metadata(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    request->metadata = value;
    return api_check_metadata(value, field->name, err);
}

static bool apply_client_metadata(struct gen_request *request, const struct api_field *field,
                                  const json_t *value, struct err *err)
{
    (void)request;
    return json_is_object(value) || wrong_type(field, "an object", value, err);
}

static bool apply_tier(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return is_word(value, "auto default") ||
           (json_is_string(value) ? refuse(field->name, field->note, err)
                                  : wrong_type(field, "a string", value, err));
}

static bool apply_retention(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    (void)request;
    return is_word(value, "in_memory 24h") ||
           (json_is_string(value)
                ? err_set_param(err, ERR_INVALID, field->name,
                                "invalid value for 'prompt_cache_retention': must be in_memory "
                                "or 24h")
                : wrong_type(field, "a string", value, err));
}

static bool apply_text_echoed(struct gen_request *request, const struct api_field *field,
                              const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || wrong_type(field, "a string", value, err);
}

#define SLOT(member) offsetof(struct gen_request, member)
#define CUSTOM(field, function)                                                                    \
    {                                                                                              \
        .name = field, .kind = API_CUSTOM, .apply = function                                       \
    }
#define NOTED(field, function, text)                                                               \
    {                                                                                              \
        .name = field, .kind = API_CUSTOM, .apply = function, .note = text                         \
    }
#define REFUSED(field, reason)                                                                     \
    {                                                                                              \
        .name = field, .kind = API_REFUSED, .note = reason                                         \
    }

static const struct api_field fields[] = {
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model), .is_required = true},
    NOTED("input", apply_input, "text, messages, calls and their outputs, reasoning, references"),
    CUSTOM("instructions", apply_instructions),
    NOTED("previous_response_id", apply_previous, "of a stored response"),
    CUSTOM("conversation", apply_conversation),
    NOTED("tools", api_responses_apply_tools, "function, custom (text, regex) and local_shell"),
    CUSTOM("tool_choice", api_responses_apply_choice),
    {.name = "parallel_tool_calls", .kind = API_BOOL, .offset = SLOT(parallel_tool_calls)},
    NOTED("max_tool_calls", apply_tool_calls, "bounds tools run by the server: there are none"),
    NOTED("max_output_tokens", apply_max_output, "reasoning counts"),
    NOTED("text", apply_text, "format text, json_object, json_schema; verbosity only medium"),
    NOTED("reasoning", apply_reasoning,
          "effort; a summary is the reasoning itself; context and mode only as they are"),
    NOTED("include", apply_include,
          "message.output_text.logprobs; reasoning.encrypted_content, which is encoded only"),
    CUSTOM("top_logprobs", apply_top_logprobs),
    NOTED("truncation", apply_truncation,
          "auto drops the oldest turns, never instructions, and says how many items"),
    NOTED("store", apply_store, "true unless told otherwise or --data-dir is none"),
    {.name = "stream", .kind = API_BOOL, .offset = SLOT(stream)},
    CUSTOM("stream_options", apply_stream_options),
    {.name = "stream_interval",
     .kind = API_U32,
     .offset = SLOT(stream_interval),
     .max = 4096,
     .note = "extension: tokens per event"},
    NOTED("background", apply_background, "needs store"),
    NOTED("metadata", apply_metadata, "kept and told back"),
    NOTED("client_metadata", apply_client_metadata, "Codex's; told back"),
    {.name = "user", .kind = API_TEXT, .offset = SLOT(user), .note = "goes to the log"},
    {.name = "safety_identifier",
     .kind = API_TEXT,
     .offset = SLOT(user),
     .note = "as user; told back"},
    NOTED("prompt_cache_key", apply_text_echoed,
          "prompts are found by their tokens, so it changes nothing; told back"),
    NOTED("prompt_cache_retention", apply_retention,
          "beginnings of prompts stay as long as there is room"),
    {.name = "service_tier",
     .kind = API_CUSTOM,
     .apply = apply_tier,
     .is_limited = true,
     .note = "there is one tier, 'default'"},
    REFUSED("access_programs", "there are none"),
    REFUSED("background_options", "background responses have no deadline"),
    REFUSED("context_management", "contexts are not compacted, see truncation"),
    REFUSED("image", "this server reads text only"),
    REFUSED("moderation", "there is no moderation"),
    REFUSED("prompt", "there are no stored prompts"),
    REFUSED("prompt_cache_options", "the cache has no options"),
    {0},
};

const struct api_field *const api_responses_tables[] = {fields, api_fields_sampling, NULL};

static bool check(struct gen_request *request, struct err *err)
{
    struct api_responses_request *own = api_responses_own(request);
    if (!own->input && own->previous.len == 0 && own->conversation.len == 0) {
        return err_set_param(err, ERR_MISSING, "input", "missing required parameter: 'input'");
    }
    if (own->previous.len && own->conversation.len) {
        return err_set_param(err, ERR_INVALID, "conversation",
                             "'conversation' and 'previous_response_id' exclude each other");
    }
    if (request->is_detached && own->has_store && !own->wants_store) {
        return err_set_param(err, ERR_INVALID, "background",
                             "'background' needs 'store' to be true");
    }
    if (own->is_obfuscated && !request->stream) {
        return err_set_param(err, ERR_INVALID, "stream_options",
                             "'stream_options' needs 'stream' to be true");
    }
    if (request->tool_choice.mode == GEN_TOOLS_REQUIRED && !request->tools) {
        return err_set_param(err, ERR_INVALID, "tool_choice",
                             "'tool_choice' asks for a tool, but there are none in 'tools'");
    }
    return true;
}

bool api_responses_parse(struct gen_request *request, struct str body, struct err *err)
{
    api_request_init(request, GEN_CHAT);
    struct api_responses_request *own = ARENA_NEW(&request->arena, struct api_responses_request);
    request->prompts = ARENA_NEW(&request->arena, struct gen_prompt);
    if (!own || !request->prompts) {
        return err_set_memory(err, sizeof *own);
    }
    request->own = own;
    request->release = release;
    request->prompt_count = 1;
    snprintf(request->prompts[0].path, sizeof request->prompts[0].path, "input");
    if (!api_request_read(request, body, err) ||
        !api_fields_apply(request, request->body, api_responses_tables, err) ||
        !check(request, err)) {
        return false;
    }
    request->format_param = "text.format";
    request->wants_logprobs = own->includes_logprobs || own->top_logprobs > 0;
    request->top_logprobs = own->top_logprobs;
    if (!own->input) {
        own->input = json_array();
    }
    return true;
}
