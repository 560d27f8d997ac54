/* Answers of POST /v1/messages. A stream is a sequence of named events:
 *
 *     message_start                        the message, empty, with the usage so far
 *     content_block_start i                thinking, text or tool_use; the first is followed by a
 * ping content_block_delta i ...            thinking_delta, text_delta, input_json_delta
 *     content_block_delta i                signature_delta, the last of a thinking block
 *     content_block_stop i
 *     ...                                  the next block, i + 1
 *     message_delta                        stop_reason, stop_sequence, usage in sum
 *     message_stop
 *
 * or, at any point, `error` as the last one. Blocks do not overlap. */
#include <stdio.h>

#include "api/anthropic.h"
#include "base/json.h"

enum { PAGE_TOKENS = KV_PAGE_TOKENS }; /* what the cache keeps is whole pages */

/* ---- the message ---- */

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

/* Tokens of the prompt: found in the cache, added to it for a client that asked for that with
 * cache_control, and the rest. Before the end nothing is known: the whole prompt is the rest. */
static void add_usage(const struct api_render *render, bool is_whole, struct buf *out)
{
    const struct gen_request *request = render->request;
    const struct api_choice *choice = &render->choices[0];
    uint32_t prompt = (uint32_t)request->prompts[0].ids.count, read = choice->cached_tokens;
    uint32_t kept = (prompt - 1) / PAGE_TOKENS * PAGE_TOKENS; /* not the last token's page */
    bool is_asked = choice->is_done && request->cache_breakpoints > 0;
    uint32_t created = is_asked && kept > read ? kept - read : 0;
    buf_add_format(out,
                   "\"usage\":{\"input_tokens\":%u,\"cache_creation_input_tokens\":%u,"
                   "\"cache_read_input_tokens\":%u,\"output_tokens\":%u",
                   prompt - read - created, created, read, choice->completion_tokens);
    if (is_whole) {
        buf_add_format(out,
                       ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":%u,"
                       "\"ephemeral_1h_input_tokens\":%u},\"server_tool_use\":null,"
                       "\"service_tier\":\"standard\"",
                       request->cache_is_long ? 0 : created, request->cache_is_long ? created : 0);
    }
    buf_add_char(out, '}');
}

/* The message; `content` is JSON. */
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

/* Names the answer that a thinking block comes from; any is accepted when it comes back. */
static void add_signature(const struct api_render *render, struct buf *out)
{
    buf_add_format(out, "\"signature\":\"hearth-%s\"", render->id);
}

/* ---- streaming ---- */

/* "event: content_block_X, data: {type, index" without the closing brace. */
static void open_event(const char *name, uint32_t index, struct buf *out)
{
    buf_add_format(out, "event: %s\ndata: {\"type\":\"%s\",\"index\":%u", name, name,
                   (unsigned)index);
}

static void add_delta(const struct api_choice *choice, const char *type, const char *key,
                      struct str text, struct buf *out)
{
    open_event("content_block_delta", choice->block, out);
    buf_add_format(out, ",\"delta\":{\"type\":\"%s\",\"%s\":", type, key);
    json_write_string(out, text);
    buf_add_text(out, "}}\n\n");
}

static void close_block(const struct api_render *render, struct api_choice *choice, struct buf *out)
{
    if (choice->block_kind == GEN_PART_CALL_END) {
        return; /* none is open */
    }
    if (choice->block_kind == GEN_PART_REASONING) {
        open_event("content_block_delta", choice->block, out);
        buf_add_text(out, ",\"delta\":{\"type\":\"signature_delta\",");
        add_signature(render, out);
        buf_add_text(out, "}}\n\n");
    }
    open_event("content_block_stop", choice->block, out);
    buf_add_text(out, "}\n\n");
    choice->block_kind = GEN_PART_CALL_END;
    choice->block++;
}

/* Ends the block before, unless it is of the same kind and no call. */
static void open_block(const struct api_render *render, struct api_choice *choice,
                       const struct gen_part *part, struct buf *out)
{
    if (choice->block_kind == part->kind && part->kind != GEN_PART_CALL) {
        return;
    }
    close_block(render, choice, out);
    choice->block_kind = part->kind;
    open_event("content_block_start", choice->block, out);
    if (part->kind == GEN_PART_TEXT) {
        buf_add_text(out, ",\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
    } else if (part->kind == GEN_PART_REASONING) {
        buf_add_text(out, ",\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\","
                          "\"signature\":\"\"}}\n\n");
    } else {
        buf_add_text(out, ",\"content_block\":{\"type\":\"tool_use\",\"id\":");
        json_write_string(out, part->id);
        buf_add_text(out, ",\"name\":");
        json_write_string(out, part->name);
        buf_add_text(out, ",\"input\":{}}}\n\n");
    }
    if (!choice->has_begun) {
        choice->has_begun = true;
        buf_add_text(out, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    }
}

static void tell_part(const struct api_render *render, struct api_choice *choice,
                      const struct gen_part *part, struct buf *out)
{
    switch (part->kind) {
    case GEN_PART_TEXT:
        if (part->text.len > 0) {
            open_block(render, choice, part, out);
            add_delta(choice, "text_delta", "text", part->text, out);
        }
        break;
    case GEN_PART_REASONING:
        if (part->text.len > 0) {
            open_block(render, choice, part, out);
            if (!render->request->reasoning.is_hidden) {
                add_delta(choice, "thinking_delta", "thinking", part->text, out);
            }
        }
        break;
    case GEN_PART_CALL:
        open_block(render, choice, part, out);
        break;
    case GEN_PART_ARGUMENTS:
        add_delta(choice, "input_json_delta", "partial_json", part->text, out);
        break;
    case GEN_PART_CALL_END:
        close_block(render, choice, out);
        break;
    }
}

void api_anthropic_begin(struct api_render *render, struct buf *out)
{
    render->choices[0].block_kind = GEN_PART_CALL_END;
    buf_add_text(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
    add_message(render, (struct str){0}, out);
    buf_add_text(out, "}\n\n");
}

void api_anthropic_event(struct api_render *render, size_t index, const struct gen_event *event,
                         struct buf *out)
{
    for (size_t i = 0; i < event->part_count; i++) {
        tell_part(render, &render->choices[index], &event->parts[i], out);
    }
}

void api_anthropic_end(struct api_render *render, struct buf *out)
{
    close_block(render, &render->choices[0], out);
    buf_add_text(out, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
    add_stop(render, out);
    buf_add_text(out, "},");
    add_usage(render, false, out);
    buf_add_text(out, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

void api_anthropic_loading(double progress, struct buf *out)
{
    (void)progress; /* a ping has no room for it */
    buf_add_text(out, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

void api_anthropic_broken(struct api_render *render, const struct err *failure, struct buf *out)
{
    (void)render;
    buf_add_text(out, "event: error\ndata: ");
    api_anthropic_add_error(failure, out);
    buf_add_text(out, "}\n\n");
}

/* ---- not streaming ---- */

/* An input that max_tokens cut is no JSON; it stands where the API puts such text. */
static void add_input(struct str arguments, struct buf *out)
{
    const struct json_limits limits = {.depth_max = API_BODY_DEPTH_MAX};
    struct err ignored;
    json_t *input = json_parse(arguments, &limits, &ignored);
    if (json_is_object(input)) {
        json_write(out, input);
    } else if (arguments.len == 0) {
        buf_add_text(out, "{}");
    } else {
        buf_add_text(out, "{\"INVALID_JSON\":");
        json_write_string(out, arguments);
        buf_add_char(out, '}');
    }
    json_decref(input);
}

static void add_block(const struct api_render *render, const struct api_part *part, struct buf *out)
{
    if (part->kind == GEN_PART_CALL) {
        buf_add_text(out, "{\"type\":\"tool_use\",\"id\":");
        json_write_string(out, part->id);
        buf_add_text(out, ",\"name\":");
        json_write_string(out, part->name);
        buf_add_text(out, ",\"input\":");
        add_input(buf_view(&part->text), out);
    } else if (part->kind == GEN_PART_REASONING) {
        buf_add_text(out, "{\"type\":\"thinking\",\"thinking\":");
        json_write_string(out, render->request->reasoning.is_hidden ? (struct str){0}
                                                                    : buf_view(&part->text));
        buf_add_char(out, ',');
        add_signature(render, out);
    } else {
        buf_add_text(out, "{\"type\":\"text\",\"text\":");
        json_write_string(out, buf_view(&part->text));
    }
    buf_add_char(out, '}');
}

void api_anthropic_whole(struct api_render *render, struct buf *out)
{
    const struct api_choice *choice = &render->choices[0];
    struct buf content = {0};
    for (size_t i = 0; i < choice->part_count; i++) {
        if (choice->parts[i].kind == GEN_PART_CALL || choice->parts[i].text.len > 0) {
            buf_add_text(&content, content.len ? "," : "");
            add_block(render, &choice->parts[i], &content);
        }
    }
    render->failed = render->failed || content.failed;
    add_message(render, buf_view(&content), out);
    buf_deinit(&content);
}
