/* Answers of POST /api/generate and /api/chat: one JSON object per line while streaming, the last
 * one with the figures; or that one alone with the whole text.
 *
 *     {"model":..,"created_at":..,"response":"a","done":false}
 *     {"model":..,"created_at":..,"response":"","done":true,"done_reason":"stop",
 *      "context":[..],"total_duration":..,...}
 *
 * A chat has "message":{"role":"assistant","content":"a"} in the place of "response". Thinking is
 * told beside the text; a call as a whole, once it has ended. */
#include "api/ollama.h"

#include "api/openai.h"
#include "base/clock.h"
#include "base/json.h"

void api_ollama_error(const struct err *failure, struct str request_id, struct buf *out)
{
    struct buf text = {0};
    (void)request_id; /* the header has it */
    api_error_text(failure, &text);
    buf_add_text(out, "{\"error\":");
    json_write_string(out, buf_view(&text));
    buf_add_char(out, '}');
    out->failed = out->failed || text.failed;
    buf_deinit(&text);
}

/* A piece of an answer, or all of it: text, thinking, and whole calls as JSON, without brackets. */
struct said {
    struct str text, thinking, calls;
};

/* {"model":..,"created_at":..,  and what was said in the shape of the endpoint. */
static void add_head(const struct api_render *render, bool is_chat, const struct said *said,
                     struct buf *out)
{
    char stamp[32];
    clock_format_utc(clock_wall_ms(), stamp);
    buf_add_text(out, "{\"model\":");
    json_write_string(out, render->model);
    buf_add_format(out, ",\"created_at\":\"%s\",", stamp);
    buf_add_text(out,
                 is_chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"response\":");
    json_write_string(out, said->text);
    if (said->thinking.len) {
        buf_add_text(out, ",\"thinking\":");
        json_write_string(out, said->thinking);
    }
    if (said->calls.len) {
        buf_add_text(out, ",\"tool_calls\":[");
        buf_add(out, said->calls);
        buf_add_char(out, ']');
    }
    buf_add_text(out, is_chat ? "}" : "");
}

/* {"id":..,"function":{"index":..,"name":..,"arguments":{..}}}. Arguments that a limit cut are no
 * JSON; they are left out. */
static void add_call(const struct api_part *part, size_t index, struct buf *out)
{
    const struct json_limits limits = {.depth_max = API_BODY_DEPTH_MAX};
    struct err ignored;
    json_t *arguments = json_parse(buf_view(&part->text), &limits, &ignored);
    buf_add_text(out, out->len ? ",{\"id\":" : "{\"id\":");
    json_write_string(out, part->id);
    buf_add_format(out, ",\"function\":{\"index\":%zu,\"name\":", index);
    json_write_string(out, part->name);
    buf_add_text(out, ",\"arguments\":");
    if (json_is_object(arguments)) {
        json_write(out, arguments);
    } else {
        buf_add_text(out, "{}");
    }
    buf_add_text(out, "}}");
    json_decref(arguments);
}

static void add_logprobs(const struct api_render *render, const struct engine_token *tokens,
                         size_t count, struct buf *out)
{
    if (!render->request->wants_logprobs || count == 0) {
        return;
    }
    buf_add_text(out, ",\"logprobs\":[");
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, i ? ",{" : "{");
        api_openai_token(render, &tokens[i].chosen, out);
        for (uint32_t j = 0; j < tokens[i].top_count; j++) {
            buf_add_text(out, j ? ",{" : ",\"top_logprobs\":[{");
            api_openai_token(render, &tokens[i].top[j], out);
            buf_add_char(out, '}');
        }
        buf_add_text(out, tokens[i].top_count ? "]}" : "}");
    }
    buf_add_char(out, ']');
}

/* ,"context":[...]: prompt, answer and, if the model ended it, an end token; so that the next
 * question can follow. */
static void add_context(struct api_render *render, struct buf *out)
{
    const struct api_choice *choice = &render->choices[0];
    const struct text_ids *prompt = &render->request->prompts[0].ids;
    struct text_encode_opts opts = {0};
    struct text_ids answer = {0};
    struct err err;
    bool ok = text_encode(render->text, buf_view(&choice->raw), &opts, &answer, &err);
    if (choice->finish == GEN_FINISH_STOP && choice->stop_hit.len == 0 &&
        text_eos(render->text) != TEXT_NONE) {
        ok = ok && text_ids_add(&answer, text_eos(render->text));
    }
    render->failed = render->failed || !ok;
    buf_add_text(out, ",\"context\":[");
    for (size_t i = 0; i < prompt->count + answer.count; i++) {
        text_id id = i < prompt->count ? prompt->ids[i] : answer.ids[i - prompt->count];
        buf_add_format(out, i ? ",%d" : "%d", (int)id);
    }
    buf_add_char(out, ']');
    text_ids_deinit(&answer);
}

static long long ns_of(double ms)
{
    return ms > 0 ? (long long)(ms * 1e6) : 0;
}

static const char *done_reason(const struct api_choice *choice)
{
    const bool is_cut = choice->finish == GEN_FINISH_LENGTH || choice->finish == GEN_FINISH_CONTEXT;
    return is_cut ? "length" : "stop";
}

/* The rest of the last object. load_duration is what passed before the model took the request. */
static void add_figures(struct api_render *render, bool is_chat, struct buf *out)
{
    const struct api_choice *choice = &render->choices[0];
    const struct engine_timing *timing = &choice->timing;
    buf_add_format(out, ",\"done\":true,\"done_reason\":\"%s\"", done_reason(choice));
    if (!is_chat && render->request->kind == GEN_CHAT) {
        add_context(render, out);
    }
    buf_add_format(out,
                   ",\"total_duration\":%lld,\"load_duration\":%lld,\"prompt_eval_count\":%u,"
                   "\"prompt_eval_duration\":%lld,\"eval_count\":%u,\"eval_duration\":%lld}",
                   (long long)(clock_now_ns() - render->started_ns + render->load_ns),
                   (long long)render->load_ns + ns_of(timing->queue_ms), choice->prompt_tokens,
                   ns_of(timing->prefill_ms), choice->completion_tokens, ns_of(timing->decode_ms));
}

static void begin(struct api_render *render, struct buf *out)
{
    (void)render; /* nothing is said before the first text */
    (void)out;
}

/* The call that a CALL_END of a stream ends: the request keeps it, since it is told as a whole. */
static void add_ended_call(const struct api_choice *choice, uint32_t call, struct buf *out)
{
    for (size_t i = 0, at = 0; i < choice->part_count; i++) {
        if (choice->parts[i].kind == GEN_PART_CALL && at++ == call) {
            add_call(&choice->parts[i], call, out);
        }
    }
}

static void add_said(const struct api_render *render, bool is_chat, const struct said *said,
                     const struct gen_event *event, size_t *tokens_left, struct buf *out)
{
    add_head(render, is_chat, said, out);
    add_logprobs(render, event->tokens, *tokens_left, out);
    *tokens_left = 0;
    buf_add_text(out, ",\"done\":false}\n");
}

static void add_event(const struct api_render *render, bool is_chat, size_t index,
                      const struct gen_event *event, struct buf *out)
{
    size_t tokens_left = event->token_count;
    for (size_t i = 0; i < event->part_count; i++) {
        const struct gen_part *part = &event->parts[i];
        struct buf calls = {0};
        struct said said = {0};
        if (part->kind == GEN_PART_TEXT) {
            said.text = part->text;
        } else if (part->kind == GEN_PART_REASONING) {
            said.thinking = part->text;
        } else if (part->kind == GEN_PART_CALL_END) {
            add_ended_call(&render->choices[index], part->call, &calls);
            said.calls = buf_view(&calls);
        }
        if (said.text.len || said.thinking.len || said.calls.len) {
            add_said(render, is_chat, &said, event, &tokens_left, out);
        }
        out->failed = out->failed || calls.failed;
        buf_deinit(&calls);
    }
    if (tokens_left > 0 && event->tokens) {
        struct said nothing = {0};
        add_said(render, is_chat, &nothing, event, &tokens_left, out);
    }
}

static void add_end(struct api_render *render, bool is_chat, struct buf *out)
{
    struct said nothing = {0};
    add_head(render, is_chat, &nothing, out);
    add_figures(render, is_chat, out);
    buf_add_char(out, '\n');
}

/* A model was loaded or unloaded; nothing else was asked for. */
static void add_dry(const struct api_render *render, bool is_chat, struct buf *out)
{
    struct said nothing = {0};
    add_head(render, is_chat, &nothing, out);
    buf_add_format(out, ",\"done\":true,\"done_reason\":\"%s\"}",
                   render->request->only_unloads ? "unload" : "load");
}

static void add_whole(struct api_render *render, bool is_chat, struct buf *out)
{
    if (render->request->is_dry) {
        add_dry(render, is_chat, out);
        return;
    }
    const struct api_choice *choice = &render->choices[0];
    struct buf text = {0}, thinking = {0}, calls = {0};
    api_choice_join(choice, GEN_PART_TEXT, &text);
    api_choice_join(choice, GEN_PART_REASONING, &thinking);
    for (size_t i = 0, at = 0; i < choice->part_count; i++) {
        if (choice->parts[i].kind == GEN_PART_CALL) {
            add_call(&choice->parts[i], at++, &calls);
        }
    }
    struct said said = {buf_view(&text), buf_view(&thinking), buf_view(&calls)};
    render->failed = render->failed || text.failed || thinking.failed || calls.failed;
    add_head(render, is_chat, &said, out);
    buf_deinit(&text);
    buf_deinit(&thinking);
    buf_deinit(&calls);
    add_logprobs(render, choice->tokens, choice->token_count, out);
    add_figures(render, is_chat, out);
}

static void broken(struct api_render *render, const struct err *failure, struct buf *out)
{
    (void)render;
    api_ollama_error(failure, (struct str){0}, out);
    buf_add_char(out, '\n');
}

static void generate_event(struct api_render *render, size_t choice, const struct gen_event *event,
                           struct buf *out)
{
    add_event(render, false, choice, event, out);
}

static void generate_end(struct api_render *render, struct buf *out)
{
    add_end(render, false, out);
}

static void generate_whole(struct api_render *render, struct buf *out)
{
    add_whole(render, false, out);
}

static void chat_event(struct api_render *render, size_t choice, const struct gen_event *event,
                       struct buf *out)
{
    add_event(render, true, choice, event, out);
}

static void chat_end(struct api_render *render, struct buf *out)
{
    add_end(render, true, out);
}

static void chat_whole(struct api_render *render, struct buf *out)
{
    add_whole(render, true, out);
}

const struct api_dialect api_ollama_generate = {
    .id_prefix = "gen-",
    .stream_type = "application/x-ndjson",
    .parse = api_ollama_parse_generate,
    .begin = begin,
    .event = generate_event,
    .end = generate_end,
    .broken = broken,
    .whole = generate_whole,
    .tables = api_ollama_generate_tables,
};

const struct api_dialect api_ollama_chat = {
    .id_prefix = "chat-",
    .stream_type = "application/x-ndjson",
    .parse = api_ollama_parse_chat,
    .begin = begin,
    .event = chat_event,
    .end = chat_end,
    .broken = broken,
    .whole = chat_whole,
    .tables = api_ollama_chat_tables,
};
