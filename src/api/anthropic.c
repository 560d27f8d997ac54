/* POST /v1/messages and /v1/messages/count_tokens.
 *
 * A stream is a sequence of named events:
 *
 *     message_start                       the message, empty, with the usage so far
 *     content_block_start 0, ping         with the first text
 *     content_block_delta 0 ...           {"type":"text_delta","text":...}
 *     content_block_stop 0                if there was text
 *     message_delta                       stop_reason, stop_sequence, usage in sum
 *     message_stop
 *
 * or, at any point, `error` as the last one. */
#include "api/anthropic.h"

#include <stdio.h>

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

static bool apply_cache_control(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err)
{
    (void)request;
    (void)field;
    return api_anthropic_cache_control(value, err);
}

/* Fields of which some values mean what happens anyway; the others are refused by name. `key` is
 * the member that holds the value; NULL: the value itself. */
static const struct neutral {
    const char *name, *key, *value;
} neutral[] = {
    {"service_tier", NULL, "auto"},  {"service_tier", NULL, "standard_only"},
    {"speed", NULL, "standard"},     {"thinking", "type", "disabled"},
    {"tool_choice", "type", "none"},
};

static bool apply_neutral(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    (void)request;
    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++) {
        const struct neutral *row = &neutral[i];
        const json_t *item = row->key ? json_object_get(value, row->key) : value;
        if (strcmp(row->name, field->name) == 0 && str_eq(json_str(item), str_of(row->value)) &&
            (!row->key || json_object_size(value) == 1)) {
            return true;
        }
    }
    if (strcmp(field->name, "tools") == 0 && json_is_array(value) && json_array_size(value) == 0) {
        return true;
    }
    return err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

/* {"effort":null,"format":null} is how some clients say nothing. */
static bool apply_output_config(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)value;
    (void)request;
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        bool is_known = strcmp(key, "effort") == 0 || strcmp(key, "format") == 0;
        if (!is_known) {
            api_unknown_error(key, err);
            return err_wrap_param(err, "output_config");
        }
        if (!json_is_null(json_object_iter_value(it))) {
            char path[32];
            snprintf(path, sizeof path, "output_config.%s", key);
            return err_set_param(err, ERR_UNSUPPORTED, path, "'%s' is not supported: %s", path,
                                 field->note);
        }
    }
    return true;
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
     .note = "text; a final assistant message is continued"},
    {.name = "system", .kind = API_CUSTOM, .apply = api_anthropic_apply_system},
    {.name = "cache_control",
     .kind = API_CUSTOM,
     .apply = apply_cache_control,
     .note = "checked; a hint that changes no answer"},
    NEUTRAL("thinking", "models here have no separate thinking yet; only 'disabled'"),
    NEUTRAL("tools", "this server does not call tools yet; only an empty list"),
    NEUTRAL("tool_choice", "this server does not call tools yet; only 'none'"),
    NEUTRAL("speed", "there is one speed, 'standard'"),
    {.name = "output_config",
     .kind = API_CUSTOM,
     .apply = apply_output_config,
     .is_limited = true,
     .note = "there is neither an effort to set nor a format to enforce yet"},
    REFUSED("output_format", "no format can be enforced yet"),
    REFUSED("context_management", "the server keeps no conversations"),
    REFUSED("compaction", "the server keeps no conversations"),
    REFUSED("mcp_servers", "this server does not call tools yet"),
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
        !api_anthropic_finish_messages(request, err)) {
        return false;
    }
    /* Without "thinking" there is none; templates that can think do so unless told not to. */
    request->own_kwargs = json_pack("{s:b}", "enable_thinking", 0);
    request->template_kwargs = request->own_kwargs;
    request->prompts = ARENA_NEW(&request->arena, struct gen_prompt);
    if (!request->prompts || !request->own_kwargs) {
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

/* ---- errors ---- */

static const char *type_of(const struct err *failure)
{
    switch (failure->code) {
    case ERR_AUTH:
        return "authentication_error";
    case ERR_FORBIDDEN:
        return "permission_error";
    case ERR_MODEL:
    case ERR_NOT_FOUND:
        return "not_found_error";
    case ERR_TOO_LARGE:
        return "request_too_large";
    case ERR_TIMEOUT:
        return "timeout_error";
    case ERR_BUSY:
        return "overloaded_error";
    default:
        return err_info(failure->code)->http_status < 500 ? "invalid_request_error" : "api_error";
    }
}

int api_anthropic_status(const struct err *failure)
{
    return failure->code == ERR_BUSY ? 529 : err_info(failure->code)->http_status;
}

/* "messages[0].content[1]" -> "messages.0.content.1", as this API writes places. */
static void add_place(struct buf *out, const char *param)
{
    for (; *param; param++) {
        if (*param != ']') {
            buf_add_char(out, (char)(*param == '[' ? '.' : *param));
        }
    }
    buf_add_text(out, ": ");
}

static void add_error(const struct err *failure, struct buf *out)
{
    struct buf message = {0};
    if (failure->param[0]) {
        add_place(&message, failure->param);
    }
    buf_add_text(&message, failure->text);
    buf_add_format(out,
                   "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type_of(failure));
    json_write_string(out, message.failed ? str_of(failure->text) : buf_view(&message));
    buf_add_char(out, '}');
    buf_deinit(&message);
}

void api_anthropic_error(const struct err *failure, struct str request_id, struct buf *out)
{
    add_error(failure, out);
    buf_add_text(out, ",\"request_id\":");
    json_write_string(out, request_id);
    buf_add_char(out, '}');
}

/* ---- answers ---- */

static const char *stop_reason(const struct api_choice *choice)
{
    switch (choice->finish) {
    case GEN_FINISH_LENGTH:
        return "max_tokens";
    case GEN_FINISH_CONTEXT:
        return "model_context_window_exceeded";
    case GEN_FINISH_CALLS:
        return "tool_use";
    case GEN_FINISH_STOP:
    default:
        return choice->stop_hit.len > 0 ? "stop_sequence" : "end_turn";
    }
}

/* "stop_reason":...,"stop_sequence":... */
static void add_stop(const struct api_render *render, struct buf *out)
{
    const struct api_choice *choice = &render->choices[0];
    if (!choice->is_done) {
        buf_add_text(out, "\"stop_reason\":null,\"stop_sequence\":null");
        return;
    }
    buf_add_format(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", stop_reason(choice));
    if (choice->stop_hit.len > 0) {
        json_write_string(out, choice->stop_hit);
    } else {
        buf_add_text(out, "null");
    }
}

/* Before the end nothing is known of the cache: the whole prompt counts as read. */
static void add_usage(const struct api_render *render, bool with_tier, struct buf *out)
{
    const struct api_choice *choice = &render->choices[0];
    size_t prompt = render->request->prompts[0].ids.count;
    buf_add_format(out,
                   "\"usage\":{\"input_tokens\":%zu,\"cache_creation_input_tokens\":0,"
                   "\"cache_read_input_tokens\":%u,\"output_tokens\":%u%s}",
                   prompt - choice->cached_tokens, choice->cached_tokens, choice->completion_tokens,
                   with_tier ? ",\"service_tier\":\"standard\"" : "");
}

/* The message without its end, `content` being JSON. */
static void add_message(const struct api_render *render, struct str content, struct buf *out)
{
    buf_add_format(
        out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", render->id);
    json_write_string(out, render->model);
    buf_add_text(out, ",\"content\":[");
    buf_add(out, content);
    buf_add_text(out, "],");
    add_stop(render, out);
    buf_add_char(out, ',');
    add_usage(render, true, out);
    buf_add_char(out, '}');
}

static void begin(struct api_render *render, struct buf *out)
{
    buf_add_text(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
    add_message(render, (struct str){0}, out);
    buf_add_text(out, "}\n\n");
}

static void add_text(struct api_choice *choice, struct str text, struct buf *out)
{
    if (!choice->has_begun) {
        choice->has_begun = true;
        buf_add_text(out, "event: content_block_start\ndata: {\"type\":\"content_block_start\","
                          "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
                          "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    }
    buf_add_text(out, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
                      "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":");
    json_write_string(out, text);
    buf_add_text(out, "}}\n\n");
}

static void event(struct api_render *render, size_t index, const struct gen_event *event,
                  struct buf *out)
{
    for (size_t i = 0; i < event->part_count; i++) {
        if (event->parts[i].kind == GEN_PART_TEXT) {
            add_text(&render->choices[index], event->parts[i].text, out);
        }
    }
}

static void end(struct api_render *render, struct buf *out)
{
    if (render->choices[0].has_begun) {
        buf_add_text(out, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\","
                          "\"index\":0}\n\n");
    }
    buf_add_text(out, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
    add_stop(render, out);
    buf_add_text(out, "},");
    add_usage(render, false, out);
    buf_add_text(out, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void loading(double progress, struct buf *out)
{
    (void)progress; /* a ping has no room for it */
    buf_add_text(out, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

static void broken(struct api_render *render, const struct err *failure, struct buf *out)
{
    (void)render;
    buf_add_text(out, "event: error\ndata: ");
    add_error(failure, out);
    buf_add_text(out, "}\n\n");
}

static void whole(struct api_render *render, struct buf *out)
{
    struct buf content = {0}, text = {0};
    api_choice_join(&render->choices[0], GEN_PART_TEXT, &text);
    if (text.len > 0) {
        buf_add_text(&content, "{\"type\":\"text\",\"text\":");
        json_write_string(&content, buf_view(&text));
        buf_add_char(&content, '}');
    }
    render->failed = render->failed || content.failed || text.failed;
    buf_deinit(&text);
    add_message(render, buf_view(&content), out);
    buf_deinit(&content);
}

static void count(struct api_render *render, struct buf *out)
{
    buf_add_format(out, "{\"input_tokens\":%zu}", render->request->prompts[0].ids.count);
}

const struct api_dialect api_anthropic_messages = {
    .id_prefix = "msg_",
    .parse = parse_create,
    .begin = begin,
    .event = event,
    .end = end,
    .broken = broken,
    .loading = loading,
    .whole = whole,
    .tables = create_tables,
};

const struct api_dialect api_anthropic_count = {
    .id_prefix = "msg_",
    .parse = parse_count,
    .whole = count,
    .tables = count_tables,
};
