/* POST /v1/messages and /v1/messages/count_tokens: the fields of their bodies. */
#include "api/anthropic.h"

#include <stdio.h>

#include "api/openai.h"
#include "base/json.h"

/* ---- fields ---- */

static bool apply_limit(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    json_int_t tokens = json_integer_value(value);
    if (tokens < 0) {
        return err_set_param(err, ERR_INVALID, field->name, "must not be negative");
    }
    request->has_max_tokens = true;
    request->max_tokens = tokens > UINT32_MAX ? UINT32_MAX : (uint32_t)tokens;
    return true;
}

static bool apply_metadata(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)value;
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const json_t *item = json_object_iter_value(it);
        if (strcmp(json_object_iter_key(it), "user_id") != 0) {
            api_unknown_error(json_object_iter_key(it), err);
            return err_wrap_param(err, "metadata");
        }
        if (!json_is_string(item) && !json_is_null(item)) {
            return api_type_error("metadata.user_id", "a string", item, err);
        }
        request->user = json_str(item);
    }
    return true;
}

/* Fields of which some values mean what happens anyway; the others are refused by name. */
static bool apply_neutral(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    static const struct neutral {
        const char *name, *value;
    } rows[] = {{"service_tier", "auto"}, {"service_tier", "standard_only"}, {"speed", "standard"}};
    (void)request;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, field->name) == 0 &&
            str_eq(json_str(value), str_of(rows[i].value))) {
            return true;
        }
    }
    return err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

#define SLOT(member) offsetof(struct gen_request, member)
#define NEUTRAL(field, reason)                                                                     \
    {                                                                                              \
        .name = field, .kind = API_CUSTOM, .apply = apply_neutral, .is_limited = true,             \
        .note = reason                                                                             \
    }
#define REFUSED(field, reason)                                                                     \
    {                                                                                              \
        .name = field, .kind = API_REFUSED, .note = reason                                         \
    }

/* What makes the prompt: also the fields of count_tokens. */
static const struct api_field prompt_fields[] = {
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model), .is_required = true},
    {.name = "messages",
     .kind = API_CUSTOM,
     .apply = api_anthropic_apply_messages,
     .is_required = true,
     .note = "content blocks see below; a final assistant message is continued"},
    {.name = "system", .kind = API_CUSTOM, .apply = api_anthropic_apply_system},
    {.name = "cache_control",
     .kind = API_CUSTOM,
     .apply = api_anthropic_cache_control,
     .note = "what the prompt adds to the cache is told in the usage"},
    {.name = "thinking",
     .kind = API_CUSTOM,
     .apply = api_anthropic_apply_thinking,
     .note = "enabled with budget_tokens, adaptive, disabled (as if absent); display"},
    {.name = "tools",
     .kind = API_CUSTOM,
     .apply = api_anthropic_apply_tools,
     .note = "fields of a tool see below"},
    {.name = "tool_choice",
     .kind = API_CUSTOM,
     .apply = api_anthropic_apply_tool_choice,
     .note = "auto, any, tool, none; disable_parallel_tool_use"},
    {.name = "output_config",
     .kind = API_CUSTOM,
     .apply = api_anthropic_apply_output_config,
     .note = "effort, told to the template; format of type json_schema"},
    {.name = "output_format",
     .kind = API_CUSTOM,
     .apply = api_anthropic_apply_output_format,
     .note = "the older word for output_config.format"},
    {.name = "context_management",
     .kind = API_CUSTOM,
     .apply = api_anthropic_apply_context,
     .is_limited = true,
     .note = "prompts are taken as they come; no edits, or thinking that is kept, are fine"},
    NEUTRAL("speed", "there is one speed, 'standard'"),
    REFUSED("compaction", "the server keeps no conversations"),
    REFUSED("mcp_servers", "this server calls no tools itself"),
    REFUSED("billing_policy", "nothing is billed"),
    {0},
};

static const struct api_field create_fields[] = {
    {.name = "max_tokens", .kind = API_CUSTOM, .apply = apply_limit, .is_required = true},
    {.name = "stream", .kind = API_BOOL, .offset = SLOT(stream)},
    {.name = "stop_sequences", .kind = API_CUSTOM, .apply = api_apply_stop},
    {.name = "temperature", .kind = API_F32, .offset = SLOT(sampling.temperature), .max = 1},
    {.name = "top_p", .kind = API_F32, .offset = SLOT(sampling.top_p), .max = 1},
    {.name = "top_k", .kind = API_U32, .offset = SLOT(sampling.top_k), .max = INT32_MAX},
    {.name = "metadata",
     .kind = API_CUSTOM,
     .apply = apply_metadata,
     .note = "'user_id' goes to the log"},
    NEUTRAL("service_tier", "there is one tier: 'auto' and 'standard_only' are the same"),
    REFUSED("container", "there are no containers"),
    REFUSED("diagnostics", "there is no earlier request to compare with"),
    REFUSED("inference_geo", "inference happens on this machine"),
    REFUSED("fallbacks", "one model never answers for another"),
    REFUSED("fallback_credit_token", "nothing is billed"),
    REFUSED("thread", "the server keeps no conversations"),
    /* hearth's own */
    {.name = "seed", .kind = API_CUSTOM, .apply = api_apply_seed, .note = "an extension"},
    {.name = "num_ctx",
     .kind = API_U32,
     .offset = SLOT(ctx_tokens),
     .min = 1,
     .max = INT32_MAX,
     .note = "an extension: prompt and answer together; reserves no more of the cache"},
    {.name = "stream_interval",
     .kind = API_U32,
     .offset = SLOT(stream_interval),
     .min = 1,
     .max = 4096,
     .note = "an extension: tokens per event"},
    {0},
};

static const struct api_field *const create_tables[] = {prompt_fields, create_fields, NULL};
static const struct api_field *const count_tables[] = {prompt_fields, NULL};

static bool parse_with(struct gen_request *request, const struct api_field *const *tables,
                       struct str body, struct err *err)
{
    api_request_init(request, GEN_CHAT);
    if (!api_request_read(request, body, err) ||
        !api_fields_apply(request, request->body, tables, err) ||
        !api_anthropic_finish_messages(request, err) || !api_anthropic_finish_tools(request, err)) {
        return false;
    }
    request->prompts = ARENA_NEW(&request->arena, struct gen_prompt);
    if (!request->prompts) {
        return err_set_memory(err, sizeof *request->prompts);
    }
    request->prompt_count = 1;
    snprintf(request->prompts[0].path, sizeof request->prompts[0].path, "messages");
    return true;
}

static bool parse_create(struct gen_request *request, struct str body, struct err *err)
{
    return parse_with(request, create_tables, body, err);
}

static bool parse_count(struct gen_request *request, struct str body, struct err *err)
{
    bool ok = parse_with(request, count_tables, body, err);
    request->is_dry = true;
    return ok;
}

/* A date; later versions ask for the same shapes as far as text is concerned, earlier ones for
 * others. */
bool api_anthropic_version(struct str version, struct err *err)
{
    static const struct str first = {"2023-06-01", 10};
    bool is_date = version.len == first.len;
    char quoted[STR_QUOTE_MAX];
    for (size_t i = 0; is_date && i < first.len; i++) {
        char c = version.ptr[i];
        is_date = first.ptr[i] == '-' ? c == '-' : c >= '0' && c <= '9';
    }
    return version.len == 0 || (is_date && str_compare(version, first) >= 0) ||
           err_set_param(err, ERR_UNSUPPORTED, "anthropic-version",
                         "'%s' is no version that is spoken here; 2023-06-01 and later ones are",
                         str_quote(quoted, version));
}

static void count(struct api_render *render, struct buf *out)
{
    buf_add_format(out, "{\"input_tokens\":%zu}", render->request->prompts[0].ids.count);
}

const struct api_dialect api_anthropic_messages = {
    .id_prefix = "msg_",
    .parse = parse_create,
    .begin = api_anthropic_begin,
    .event = api_anthropic_event,
    .end = api_anthropic_end,
    .broken = api_anthropic_broken,
    .loading = api_anthropic_loading,
    .queued = api_openai_queued,
    .whole = api_anthropic_whole,
    .tables = create_tables,
};

const struct api_dialect api_anthropic_count = {
    .id_prefix = "msg_",
    .parse = parse_count,
    .whole = count,
    .tables = count_tables,
};
