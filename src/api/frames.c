#include "api/frames.h"

#include "api/openai.h"
#include "base/json.h"

static bool parse(struct gen_request *request, struct str message, struct err *err)
{
    struct api_frame frame;
    api_request_init(request, GEN_CHAT); /* whole also where the frame is refused */
    if (!api_frame_read(message, &frame, err) || frame.kind != API_FRAME_REQUEST) {
        return false;
    }
    if (!api_openai_chat.parse(request, frame.body, err)) {
        return false;
    }
    if (!json_object_get(request->body, "stream")) {
        request->stream = true;
    }
    request->label = (struct str){arena_copy(&request->arena, frame.id), frame.id.len};
    return request->label.ptr || err_set_memory(err, frame.id.len);
}

static void add_head(const char *type, struct str id, struct buf *out)
{
    buf_add_format(out, "{\"type\":\"%s\",\"id\":", type);
    if (id.len) {
        json_write_string(out, id);
    } else {
        buf_add_text(out, "null");
    }
}

static void add_choice_head(const struct api_render *render, const char *type, size_t choice,
                            struct buf *out)
{
    add_head(type, render->request->label, out);
    buf_add_format(out, ",\"index\":%zu", choice);
}

static void add_tokens(const struct api_render *render, const struct gen_event *event,
                       struct buf *out)
{
    buf_add_text(out, ",\"logprobs\":");
    api_openai_tokens(render, event->tokens, event->token_count, out);
}

static void begin(struct api_render *render, struct buf *out)
{
    (void)render;
    (void)out;
}

static void add_part(const struct api_render *render, size_t choice, const struct gen_part *part,
                     struct buf *out)
{
    switch (part->kind) {
    case GEN_PART_TEXT:
    case GEN_PART_REASONING:
        add_choice_head(render, part->kind == GEN_PART_TEXT ? "token" : "reasoning", choice, out);
        buf_add_text(out, ",\"text\":");
        json_write_string(out, part->text);
        return;
    case GEN_PART_CALL:
        add_choice_head(render, "tool", choice, out);
        buf_add_format(out, ",\"call\":%u,\"call_id\":", (unsigned)part->call);
        json_write_string(out, part->id);
        buf_add_text(out, ",\"name\":");
        json_write_string(out, part->name);
        return;
    case GEN_PART_ARGUMENTS:
        add_choice_head(render, "tool", choice, out);
        buf_add_format(out, ",\"call\":%u,\"%s\":", (unsigned)part->call,
                       part->is_custom ? "input" : "arguments");
        json_write_string(out, part->text);
        return;
    case GEN_PART_CALL_END:
        add_choice_head(render, "tool", choice, out);
        buf_add_format(out, ",\"call\":%u,\"end\":true", (unsigned)part->call);
        return;
    }
}

/* The tokens of an event stand beside its first text; if it has none, in a frame of their own. */
static void event(struct api_render *render, size_t choice, const struct gen_event *event,
                  struct buf *out)
{
    bool has_tokens = event->token_count > 0;
    for (size_t i = 0; i < event->part_count; i++) {
        add_part(render, choice, &event->parts[i], out);
        if (event->parts[i].kind == GEN_PART_TEXT && has_tokens) {
            add_tokens(render, event, out);
            has_tokens = false;
        }
        buf_add_text(out, "}\n");
    }
    if (has_tokens) {
        add_choice_head(render, "token", choice, out);
        buf_add_text(out, ",\"text\":\"\"");
        add_tokens(render, event, out);
        buf_add_text(out, "}\n");
    }
}

static void end(struct api_render *render, struct buf *out)
{
    add_head("done", render->request->label, out);
    buf_add_text(out, ",\"model\":");
    json_write_string(out, render->model);
    buf_add_format(out, ",\"created\":%lld,\"system_fingerprint\":\"%s\",\"choices\":[",
                   (long long)render->created_s, render->fingerprint);
    for (size_t i = 0; i < render->choice_count; i++) {
        buf_add_format(out, "%s{\"index\":%zu,\"finish_reason\":%s}", i ? "," : "", i,
                       api_openai_finish(&render->choices[i]));
    }
    buf_add_char(out, ']');
    api_openai_usage(render, out);
    api_openai_timings(render, out);
    buf_add_text(out, "}\n");
}

static void broken(struct api_render *render, const struct err *failure, struct buf *out)
{
    api_frame_error(render->request->label, failure, out);
}

static void queued(const struct api_render *render, uint32_t ahead, uint32_t eta_s, struct buf *out)
{
    add_head("queued", render->request->label, out);
    buf_add_format(out, ",\"ahead\":%lu", (unsigned long)ahead);
    if (eta_s) {
        buf_add_format(out, ",\"eta_s\":%lu", (unsigned long)eta_s);
    }
    buf_add_text(out, "}\n");
}

static void whole(struct api_render *render, struct buf *out)
{
    add_head("done", render->request->label, out);
    buf_add_text(out, ",\"answer\":");
    api_openai_chat.whole(render, out);
    buf_add_text(out, "}\n");
}

void api_frame_error(struct str id, const struct err *failure, struct buf *out)
{
    struct buf error = {0};
    api_openai_error(failure, &error);
    add_head("error", id, out);
    buf_add_format(out, ",\"status\":%d,", err_info(failure->code)->http_status);
    buf_add(out, str_slice(buf_view(&error), 1, error.len)); /* its members without the brace */
    buf_add_char(out, '\n');
    out->failed = out->failed || error.failed;
    buf_deinit(&error);
}

void api_frame_cancelled(struct str id, struct buf *out)
{
    add_head("cancelled", id, out);
    buf_add_text(out, "}\n");
}

const struct api_dialect api_frames_chat = {
    .id_prefix = "chatcmpl-",
    .parse = parse,
    .begin = begin,
    .event = event,
    .end = end,
    .broken = broken,
    .queued = queued,
    .whole = whole,
    .resolve = api_openai_stored_resolve,
    .commit = api_openai_stored_commit,
};
