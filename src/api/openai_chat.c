/* POST /v1/chat/completions. */
#include <stdio.h>

#include "api/fields.h"
#include "api/openai.h"
#include "base/json.h"

/* ---- other fields ---- */

static bool apply_logprobs(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    if (!json_is_boolean(value)) {
        return api_type_error(field->name, "a boolean", value, err);
    }
    request->wants_logprobs = json_is_true(value);
    return true;
}

static bool apply_kwargs(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    request->template_kwargs = value;
    return true;
}

/* Fields whose harmless values mean what happens anyway; any other value is refused by name. */
static bool apply_neutral(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    static const struct neutral {
        const char *name, *text;
    } neutral[] = {
        {"service_tier", "auto"},
        {"service_tier", "default"},
        {"modalities", "text"},
    };
    (void)request;
    const json_t *item = value;
    if (strcmp(field->name, "modalities") == 0 && json_array_size(value) == 1) {
        item = json_array_get(value, 0);
    }
    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++) {
        if (strcmp(neutral[i].name, field->name) == 0 &&
            str_eq(json_str(item), str_of(neutral[i].text))) {
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

static const struct api_field chat_fields[] = {
    {.name = "messages", .kind = API_CUSTOM, .apply = api_openai_messages, .is_required = true},
    {.name = "max_completion_tokens", .kind = API_CUSTOM, .apply = api_apply_max_tokens},
    {.name = "logprobs", .kind = API_CUSTOM, .apply = apply_logprobs},
    {.name = "top_logprobs", .kind = API_U32, .offset = SLOT(top_logprobs), .max = ENGINE_TOP_MAX},
    {.name = "chat_template_kwargs", .kind = API_CUSTOM, .apply = apply_kwargs},
    NEUTRAL("service_tier", "there is one tier, 'default'"),
    NEUTRAL("modalities", "the only modality is 'text'"),
    REFUSED("audio", "the only modality is 'text'"),
    REFUSED("moderation", "there is no moderation"),
    REFUSED("prompt_cache_options", "the cache has no options"),
    REFUSED("web_search_options", "there is no web search"),
    {0},
};

static const struct api_field *const tables[] = {chat_fields,
                                                 api_openai_tool_fields,
                                                 api_openai_format_fields,
                                                 api_openai_kept_fields,
                                                 api_fields_shared,
                                                 api_fields_sampling,
                                                 NULL};

static bool parse(struct gen_request *request, struct str body, struct err *err)
{
    api_request_init(request, GEN_CHAT);
    if (!api_request_read(request, body, err) ||
        !api_fields_apply(request, request->body, tables, err)) {
        return false;
    }
    if (!api_openai_finish_tools(request, err)) {
        return false;
    }
    if (request->top_logprobs > 0 && !request->wants_logprobs) {
        return err_set_param(err, ERR_INVALID, "top_logprobs",
                             "'top_logprobs' needs 'logprobs' to be true");
    }
    if (request->include_usage && !request->stream) {
        return err_set_param(err, ERR_INVALID, "stream_options",
                             "'stream_options' needs 'stream' to be true");
    }
    request->prompts = ARENA_NEW(&request->arena, struct gen_prompt);
    if (!request->prompts) {
        return err_set_memory(err, sizeof *request->prompts);
    }
    request->prompt_count = 1;
    snprintf(request->prompts[0].path, sizeof request->prompts[0].path, "messages");
    return true;
}

/* ---- answers ---- */

void api_openai_token(const struct api_render *render, const struct engine_logprob *token,
                      struct buf *out)
{
    struct str piece = text_piece(render->text, token->id, true);
    buf_add_text(out, "\"token\":");
    json_write_string(out, piece);
    buf_add_text(out, ",\"logprob\":");
    api_openai_logprob(token->logprob, out);
    buf_add_text(out, ",\"bytes\":[");
    for (size_t i = 0; i < piece.len; i++) {
        buf_add_format(out, i ? ",%u" : "%u", (unsigned)(unsigned char)piece.ptr[i]);
    }
    buf_add_char(out, ']');
}

void api_openai_tokens(const struct api_render *render, const struct engine_token *tokens,
                       size_t count, struct buf *out)
{
    buf_add_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, i ? ",{" : "{");
        api_openai_token(render, &tokens[i].chosen, out);
        buf_add_text(out, ",\"top_logprobs\":[");
        for (uint32_t j = 0; j < tokens[i].top_count; j++) {
            buf_add_text(out, j ? ",{" : "{");
            api_openai_token(render, &tokens[i].top[j], out);
            buf_add_char(out, '}');
        }
        buf_add_text(out, "]}");
    }
    buf_add_char(out, ']');
}

/* ,"logprobs":{"content":[...],"refusal":null} or ,"logprobs":null */
static void add_logprobs(const struct api_render *render, const struct engine_token *tokens,
                         size_t count, struct buf *out)
{
    if (!render->request->wants_logprobs) {
        buf_add_text(out, ",\"logprobs\":null");
        return;
    }
    buf_add_text(out, ",\"logprobs\":{\"content\":");
    api_openai_tokens(render, tokens, count, out);
    buf_add_text(out, ",\"refusal\":null}");
}

static const char chunk_object[] = "chat.completion.chunk";

/* One frame up to the delta, which the caller writes. */
static void frame_begin(const struct api_render *render, size_t choice, struct buf *out)
{
    buf_add_text(out, "data: ");
    api_openai_head(render, chunk_object, out);
    buf_add_format(out, ",\"choices\":[{\"index\":%zu,\"delta\":", choice);
}

static void frame_end(const struct api_render *render, const char *finish, size_t delta_bytes,
                      struct buf *out)
{
    buf_add_format(out, ",\"finish_reason\":%s}]", finish);
    if (render->request->pads_deltas && delta_bytes) {
        api_openai_obfuscate(delta_bytes, out);
    }
    buf_add_text(out, render->request->include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

static void begin(struct api_render *render, struct buf *out)
{
    for (size_t i = 0; i < render->choice_count; i++) {
        frame_begin(render, i, out);
        buf_add_text(out, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}"
                          ",\"logprobs\":null");
        frame_end(render, "null", 0, out);
    }
}

static void add_text_frame(const struct api_render *render, size_t choice, struct str text,
                           const struct engine_token *tokens, size_t token_count, struct buf *out)
{
    frame_begin(render, choice, out);
    buf_add_text(out, "{\"content\":");
    json_write_string(out, text);
    buf_add_char(out, '}');
    add_logprobs(render, tokens, token_count, out);
    frame_end(render, "null", text.len, out);
}

/* Reasoning, or a piece of a call. */
static void add_part_frame(const struct api_render *render, size_t choice,
                           const struct gen_part *part, struct buf *out)
{
    const bool is_hidden = part->kind == GEN_PART_REASONING && render->request->reasoning.is_hidden;
    if (is_hidden || part->kind == GEN_PART_CALL_END) {
        return;
    }
    frame_begin(render, choice, out);
    api_openai_delta(render, part, out);
    buf_add_text(out, ",\"logprobs\":null");
    frame_end(render, "null", part->text.len, out);
}

/* The tokens of an event stand beside its first text. */
static void event(struct api_render *render, size_t choice, const struct gen_event *event,
                  struct buf *out)
{
    size_t tokens_left = event->token_count;
    for (size_t i = 0; i < event->part_count; i++) {
        const struct gen_part *part = &event->parts[i];
        if (part->kind == GEN_PART_TEXT) {
            add_text_frame(render, choice, part->text, event->tokens, tokens_left, out);
            tokens_left = 0;
        } else {
            add_part_frame(render, choice, part, out);
        }
    }
    if (tokens_left > 0) {
        add_text_frame(render, choice, (struct str){0}, event->tokens, tokens_left, out);
    }
    if (event->is_done) {
        frame_begin(render, choice, out);
        buf_add_text(out, "{},\"logprobs\":null");
        frame_end(render, api_openai_chat_finish(render, &render->choices[choice]), 0, out);
    }
}

static void end(struct api_render *render, struct buf *out)
{
    api_openai_end(render, chunk_object, out);
}

static void add_content(struct api_render *render, const struct api_choice *choice, struct buf *out)
{
    struct buf text = {0};
    api_choice_join(choice, GEN_PART_TEXT, &text);
    render->failed = render->failed || text.failed;
    if (text.len == 0 && api_parts_calls(&choice->told) > 0) {
        buf_add_text(out, "null");
    } else {
        json_write_string(out, buf_view(&text));
    }
    buf_deinit(&text);
}

static void whole(struct api_render *render, struct buf *out)
{
    api_openai_head(render, "chat.completion", out);
    buf_add_text(out, ",\"choices\":[");
    for (size_t i = 0; i < render->choice_count; i++) {
        const struct api_choice *choice = &render->choices[i];
        buf_add_format(out, "%s{\"index\":%zu,\"message\":{\"role\":\"assistant\",\"content\":",
                       i ? "," : "", i);
        add_content(render, choice, out);
        buf_add_text(out, ",\"refusal\":null");
        api_openai_message_parts(render, choice, out);
        buf_add_char(out, '}');
        add_logprobs(render, choice->tokens, choice->token_count, out);
        buf_add_format(out, ",\"finish_reason\":%s}", api_openai_chat_finish(render, choice));
    }
    buf_add_char(out, ']');
    api_openai_usage(render, out);
    api_openai_timings(render, out);
    if (render->request->metadata) {
        buf_add_text(out, ",\"metadata\":");
        json_write(out, render->request->metadata);
    }
    buf_add_text(out, ",\"service_tier\":\"default\"}");
}

const struct api_dialect api_openai_chat = {
    .id_prefix = "chatcmpl-",
    .parse = parse,
    .begin = begin,
    .event = event,
    .end = end,
    .broken = api_openai_broken,
    .loading = api_openai_loading,
    .queued = api_openai_queued,
    .whole = whole,
    .resolve = api_openai_stored_resolve,
    .commit = api_openai_stored_commit,
    .tables = tables,
};
