#include "api/openai.h"

#include <math.h>

#include "base/json.h"

static void add_nullable(struct buf *out, const char *text)
{
    if (text && text[0]) {
        json_write_string(out, str_of(text));
    } else {
        buf_add_text(out, "null");
    }
}

void api_openai_error(const struct err *failure, struct buf *out)
{
    const struct err_info *info = err_info(failure->code);
    buf_add_text(out, "{\"error\":{\"message\":");
    json_write_string(out, str_of(failure->text));
    buf_add_text(out, ",\"type\":");
    json_write_string(out, str_of(info->type));
    buf_add_text(out, ",\"param\":");
    add_nullable(out, failure->param);
    buf_add_text(out, ",\"code\":");
    add_nullable(out, info->openai_code);
    buf_add_text(out, "}}");
}

void api_openai_head(const struct api_render *render, const char *object, struct buf *out)
{
    buf_add_format(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", render->id,
                   object, (long long)render->created_s);
    json_write_string(out, render->model);
    buf_add_format(out, ",\"system_fingerprint\":\"%s\"", render->fingerprint);
}

void api_openai_usage(const struct api_render *render, struct buf *out)
{
    struct api_usage usage = api_render_usage(render);
    buf_add_format(
        out,
        ",\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,"
        "\"total_tokens\":%llu,\"prompt_tokens_details\":{\"cached_tokens\":%llu},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":%llu}}",
        (unsigned long long)usage.prompt_tokens, (unsigned long long)usage.completion_tokens,
        (unsigned long long)(usage.prompt_tokens + usage.completion_tokens),
        (unsigned long long)usage.cached_tokens, (unsigned long long)usage.reasoning_tokens);
}

static void add_ms(const char *name, double ms, struct buf *out)
{
    char number[32];
    json_format_double(ms, number);
    buf_add_format(out, ",\"%s\":%s", name, number);
}

void api_openai_timings(const struct api_render *render, struct buf *out)
{
    const struct api_choice *choice = &render->choices[0];
    const struct engine_near_miss *miss = &choice->near_miss;
    if (!render->request->wants_timings) {
        return; /* equal requests give equal bytes, and a clock never reads the same twice */
    }
    buf_add_format(out, ",\"timings\":{\"cache_n\":%lu,\"prompt_n\":%lu,\"predicted_n\":%lu",
                   (unsigned long)choice->cached_tokens,
                   (unsigned long)(choice->prompt_tokens - choice->cached_tokens),
                   (unsigned long)choice->completion_tokens);
    add_ms("queue_ms", choice->timing.queue_ms, out);
    add_ms("prompt_ms", choice->timing.prefill_ms, out);
    add_ms("predicted_ms", choice->timing.decode_ms, out);
    if (choice->drafted_tokens) {
        buf_add_format(out, ",\"draft_n\":%lu,\"draft_n_accepted\":%lu",
                       (unsigned long)choice->drafted_tokens,
                       (unsigned long)choice->accepted_tokens);
    }
    if (miss->is_there) {
        buf_add_format(out, ",\"near_miss\":{\"position\":%lu,\"id\":%ld,\"text\":",
                       (unsigned long)miss->position, (long)miss->token);
        json_write_string(out, text_piece(render->text, miss->token, true));
        buf_add_text(out, "}}");
    } else {
        buf_add_text(out, ",\"near_miss\":null}");
    }
}

const char *api_openai_finish(const struct api_choice *choice)
{
    if (!choice->is_done) {
        return "null";
    }
    switch (choice->finish) {
    case GEN_FINISH_LENGTH:
    case GEN_FINISH_CONTEXT:
        return "\"length\"";
    case GEN_FINISH_CALLS:
        return "\"tool_calls\"";
    case GEN_FINISH_STOP:
    default:
        return "\"stop\"";
    }
}

void api_openai_logprob(float logprob, struct buf *out)
{
    char number[32];
    json_format_float(isinf(logprob) ? -9999.0f : logprob, number);
    buf_add_text(out, number);
}

void api_openai_obfuscate(size_t len, struct buf *out)
{
    enum { STEP = 32 };
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t count = STEP - len % STEP;
    buf_add_text(out, ",\"obfuscation\":\"");
    for (size_t i = 0; i < count; i++) {
        buf_add_char(out, letters[(len * 7 + i * 13) % (sizeof letters - 1)]);
    }
    buf_add_char(out, '"');
}

void api_openai_end(struct api_render *render, const char *object, struct buf *out)
{
    if (render->request->include_usage) {
        buf_add_text(out, "data: ");
        api_openai_head(render, object, out);
        buf_add_text(out, ",\"choices\":[]");
        api_openai_usage(render, out);
        api_openai_timings(render, out);
        buf_add_text(out, "}\n\n");
    }
    buf_add_text(out, "data: [DONE]\n\n");
}

/* A comment: the specification of event streams has clients skip it. */
void api_openai_loading(double progress, struct buf *out)
{
    buf_add_format(out, ": loading the model, %d %%\n\n", (int)(progress * 100));
}

void api_openai_queued(const struct api_render *render, uint32_t ahead, uint32_t eta_s,
                       struct buf *out)
{
    (void)render;
    buf_add_format(out, ": queued, %lu before this one", (unsigned long)ahead);
    if (eta_s) {
        buf_add_format(out, ", about %lu s", (unsigned long)eta_s);
    }
    buf_add_text(out, "\n\n");
}

void api_openai_broken(struct api_render *render, const struct err *failure, struct buf *out)
{
    (void)render;
    buf_add_text(out, "data: ");
    api_openai_error(failure, out);
    buf_add_text(out, "\n\n");
}
