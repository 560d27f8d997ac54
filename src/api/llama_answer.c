/* Answers of POST /completion and /infill: one JSON object, an array of them for several
 * completions, or a stream of events whose last one is the whole object without the text. */
#include <stdio.h>

#include "api/llama.h"
#include "api/openai.h"
#include "base/json.h"

/* ---- errors ---- */

void api_llama_error(const struct err *failure, struct str request_id, struct buf *out)
{
    struct buf text = {0};
    api_error_text(failure, &text);
    const char *type = "invalid_request_error";
    int status = err_info(failure->code)->http_status;
    (void)request_id;
    switch (failure->code) {
    case ERR_AUTH:
        type = "authentication_error";
        break;
    case ERR_FORBIDDEN:
        type = "permission_error";
        break;
    case ERR_MODEL:
    case ERR_NOT_FOUND:
        type = "not_found_error";
        break;
    case ERR_UNSUPPORTED:
        type = "not_supported_error";
        break;
    case ERR_CONTEXT:
        type = "exceed_context_size_error";
        break;
    case ERR_BUSY:
    case ERR_MEMORY:
        type = "unavailable_error";
        break;
    default:
        type = status >= 500 ? "server_error" : type;
    }
    buf_add_format(out, "{\"error\":{\"code\":%d,\"message\":", status);
    json_write_string(out, buf_view(&text));
    buf_add_format(out, ",\"type\":\"%s\"}}", type);
    out->failed = out->failed || text.failed;
    buf_deinit(&text);
}

/* ---- pieces ---- */

static void add_number(const char *key, double value, struct buf *out)
{
    char number[32];
    json_format_float((float)value, number);
    buf_add_format(out, ",\"%s\":%s", key, number);
}

static void add_window(const char *key, uint32_t tokens, struct buf *out)
{
    buf_add_format(out, ",\"%s\":%lld", key, tokens == UINT32_MAX ? -1ll : (long long)tokens);
}

static void add_strings(const char *key, const struct str *list, size_t count, struct buf *out)
{
    buf_add_format(out, ",\"%s\":[", key);
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, i ? "," : "");
        json_write_string(out, list[i]);
    }
    buf_add_char(out, ']');
}

void api_llama_settings(const struct gen_request *request, uint32_t ctx_tokens, struct buf *out)
{
    const struct engine_sampling *s = &request->sampling;
    long long predict = request->has_max_tokens ? (long long)request->max_tokens : -1;
    buf_add_format(out, "{\"n_predict\":%lld,\"max_tokens\":%lld,\"n_ctx\":%u,\"seed\":%llu",
                   predict, predict, ctx_tokens, (unsigned long long)s->seed);
    add_number("temperature", (double)s->temperature, out);
    add_number("dynatemp_range", (double)s->dynatemp_range, out);
    add_number("dynatemp_exponent", (double)s->dynatemp_exponent, out);
    buf_add_format(out, ",\"top_k\":%u", s->top_k);
    add_number("top_p", (double)s->top_p, out);
    add_number("min_p", (double)s->min_p, out);
    add_number("top_n_sigma", s->top_n_sigma > 0 ? (double)s->top_n_sigma : -1, out);
    add_number("xtc_probability", (double)s->xtc_probability, out);
    add_number("xtc_threshold", (double)s->xtc_threshold, out);
    add_number("typical_p", (double)s->typical_p, out);
    add_window("repeat_last_n", s->repeat_last_n, out);
    add_number("repeat_penalty", (double)s->repeat_penalty, out);
    add_number("presence_penalty", (double)s->presence_penalty, out);
    add_number("frequency_penalty", (double)s->frequency_penalty, out);
    add_number("dry_multiplier", (double)s->dry_multiplier, out);
    add_number("dry_base", (double)s->dry_base, out);
    buf_add_format(out, ",\"dry_allowed_length\":%u", s->dry_allowed_length);
    add_window("dry_penalty_last_n", s->dry_penalty_last_n, out);
    add_strings("dry_sequence_breakers", s->dry_sequence_breakers, s->dry_breaker_count, out);
    buf_add_format(out, ",\"mirostat\":%d", s->mirostat ? 2 : 0);
    add_number("mirostat_tau", (double)s->mirostat_tau, out);
    add_number("mirostat_eta", (double)s->mirostat_eta, out);
    add_strings("stop", request->stops, request->stop_count, out);
    buf_add_format(out,
                   ",\"n_keep\":0,\"n_discard\":0,\"ignore_eos\":%s,\"stream\":%s,\"n_probs\":%u,"
                   "\"min_keep\":%u,\"grammar\":",
                   request->ignore_eos ? "true" : "false", request->stream ? "true" : "false",
                   request->top_logprobs, s->min_keep);
    json_write_string(out, request->grammar);
    buf_add_text(out, ",\"samplers\":[\"penalties\",\"dry\",\"top_n_sigma\",\"top_k\",\"typ_p\","
                      "\"top_p\",\"min_p\",\"xtc\",\"temperature\"],\"timings_per_token\":false}");
}

static void add_ids(const struct engine_token *tokens, size_t count, struct buf *out)
{
    buf_add_text(out, ",\"tokens\":[");
    for (size_t i = 0; i < count; i++) {
        buf_add_format(out, i ? ",%ld" : "%ld", (long)tokens[i].chosen.id);
    }
    buf_add_char(out, ']');
}

static void add_probability(const struct api_render *render, const struct engine_logprob *logprob,
                            struct buf *out)
{
    buf_add_format(out, "{\"id\":%ld,", (long)logprob->id);
    api_openai_token(render, logprob, out);
}

static void add_probabilities(const struct api_render *render, const struct engine_token *tokens,
                              size_t count, struct buf *out)
{
    if (render->request->top_logprobs == 0 || count == 0) {
        return;
    }
    buf_add_text(out, ",\"completion_probabilities\":[");
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, i ? "," : "");
        add_probability(render, &tokens[i].chosen, out);
        buf_add_text(out, ",\"top_logprobs\":[");
        for (uint32_t j = 0; j < tokens[i].top_count; j++) {
            buf_add_text(out, j ? "," : "");
            add_probability(render, &tokens[i].top[j], out);
            buf_add_char(out, '}');
        }
        buf_add_text(out, "]}");
    }
    buf_add_char(out, ']');
}

/* Rate of `count` things in `ms`; 0 for no time. */
static void add_rate(const char *name, uint32_t count, double ms, struct buf *out)
{
    buf_add_format(out,
                   ",\"%s_n\":%u,\"%s_ms\":%.3f,\"%s_per_token_ms\":%.3f,"
                   "\"%s_per_second\":%.3f",
                   name, count, name, ms, name, count ? ms / count : 0, name,
                   ms > 0 ? count * 1e3 / ms : 0);
}

static void add_timings(const struct api_choice *choice, struct buf *out)
{
    buf_add_format(out, ",\"timings\":{\"cache_n\":%u", choice->cached_tokens);
    add_rate("prompt", choice->prompt_tokens - choice->cached_tokens, choice->timing.prefill_ms,
             out);
    add_rate("predicted", choice->completion_tokens, choice->timing.decode_ms, out);
    buf_add_char(out, '}');
}

static const char *stop_type(const struct api_choice *choice)
{
    if (choice->finish == GEN_FINISH_LENGTH || choice->finish == GEN_FINISH_CONTEXT) {
        return "limit";
    }
    return choice->stop_hit.len ? "word" : "eos";
}

/* The object of a completion that has ended, `content` being its text. */
static void add_completion(const struct api_render *render, size_t index, struct str content,
                           struct buf *out)
{
    const struct gen_request *request = render->request;
    const struct api_choice *choice = &render->choices[index];
    const struct gen_prompt *prompt = &request->prompts[index / request->n];
    struct buf text = {0};
    buf_add_format(out, "{\"index\":%zu,\"content\":", index);
    json_write_string(out, content);
    add_ids(choice->tokens, request->wants_ids ? choice->token_count : 0, out);
    buf_add_text(out, ",\"id_slot\":-1,\"stop\":true,\"model\":");
    json_write_string(out, render->model);
    buf_add_format(out, ",\"tokens_predicted\":%u,\"tokens_evaluated\":%u,\"generation_settings\":",
                   choice->completion_tokens, choice->prompt_tokens);
    api_llama_settings(request, request->ctx_tokens ? request->ctx_tokens : render->ctx_tokens,
                       out);
    text_decode(render->text, prompt->ids.ids, prompt->ids.count, true, true, &text);
    buf_add_text(out, ",\"prompt\":");
    json_write_string(out, buf_view(&text));
    bool has_line = content.len && memchr(content.ptr, '\n', content.len);
    buf_add_format(out,
                   ",\"has_new_line\":%s,\"truncated\":%s,\"stop_type\":\"%s\","
                   "\"stopping_word\":",
                   has_line ? "true" : "false",
                   choice->finish == GEN_FINISH_CONTEXT ? "true" : "false", stop_type(choice));
    json_write_string(out, choice->stop_hit);
    buf_add_format(out, ",\"tokens_cached\":%u", choice->cached_tokens);
    add_timings(choice, out);
    add_probabilities(render, choice->tokens, choice->token_count, out);
    buf_add_char(out, '}');
    out->failed = out->failed || text.failed;
    buf_deinit(&text);
}

/* ---- response_fields ---- */

/* "a/b" is b of a; what is not there is left out. */
static void pick(const json_t *whole, const json_t *names, struct buf *out)
{
    bool any = false;
    buf_add_char(out, '{');
    for (size_t i = 0; i < json_array_size(names); i++) {
        struct str rest = json_str(json_array_get(names, i)), part = {0};
        const json_t *value = whole;
        while (value && rest.len) {
            char key[64];
            part = str_cut(&rest, '/');
            snprintf(key, sizeof key, "%.*s", STR_ARG(part));
            value = json_object_get(value, key);
        }
        if (value && part.len) {
            buf_add_text(out, any ? "," : "");
            any = true;
            json_write_string(out, part);
            buf_add_char(out, ':');
            json_write(out, value);
        }
    }
    buf_add_char(out, '}');
}

/* The last object, or the fields of it that were asked for. */
static void add_last(const struct api_render *render, size_t index, struct str content,
                     struct buf *out)
{
    const json_t *names = json_object_get(render->request->body, "response_fields");
    const struct json_limits limits = {.depth_max = API_BODY_DEPTH_MAX};
    struct buf whole = {0};
    struct err ignored;
    if (json_array_size(names) == 0) {
        add_completion(render, index, content, out);
        return;
    }
    add_completion(render, index, content, &whole);
    json_t *object = json_parse(buf_view(&whole), &limits, &ignored);
    out->failed = out->failed || whole.failed || !object;
    pick(object, names, out);
    json_decref(object);
    buf_deinit(&whole);
}

/* ---- streaming ---- */

static void begin(struct api_render *render, struct buf *out)
{
    (void)render;
    (void)out;
}

static void add_chunk(const struct api_render *render, size_t index, struct str text,
                      const struct engine_token *tokens, size_t count, struct buf *out)
{
    const struct gen_request *request = render->request;
    buf_add_format(out, "data: {\"index\":%zu,\"content\":", index);
    json_write_string(out, text);
    add_ids(tokens, request->wants_ids ? count : 0, out);
    buf_add_format(out, ",\"stop\":false,\"id_slot\":-1,\"tokens_evaluated\":%zu",
                   request->prompts[index / request->n].ids.count);
    add_probabilities(render, tokens, count, out);
    buf_add_text(out, "}\n\n");
}

static void event(struct api_render *render, size_t index, const struct gen_event *event,
                  struct buf *out)
{
    size_t count = event->tokens ? event->token_count : 0;
    struct str text = {0};
    for (size_t i = 0; i < event->part_count; i++) {
        text = event->parts[i].kind == GEN_PART_TEXT ? event->parts[i].text : text;
    }
    if (text.len > 0 || count > 0) {
        add_chunk(render, index, text, event->tokens, count, out);
    }
    if (event->is_done) {
        buf_add_text(out, "data: ");
        add_last(render, index, (struct str){0}, out);
        buf_add_text(out, "\n\n");
    }
}

static void end(struct api_render *render, struct buf *out)
{
    (void)render; /* each completion has told its own */
    (void)out;
}

static void broken(struct api_render *render, const struct err *failure, struct buf *out)
{
    (void)render;
    buf_add_text(out, "data: ");
    api_llama_error(failure, (struct str){0}, out);
    buf_add_text(out, "\n\n");
}

static void whole(struct api_render *render, struct buf *out)
{
    bool is_list = render->request->is_list || render->request->n > 1;
    buf_add_text(out, is_list ? "[" : "");
    for (size_t i = 0; i < render->choice_count; i++) {
        struct buf text = {0};
        api_choice_join(&render->choices[i], GEN_PART_TEXT, &text);
        render->failed = render->failed || text.failed;
        buf_add_text(out, i ? "," : "");
        add_last(render, i, buf_view(&text), out);
        buf_deinit(&text);
    }
    buf_add_text(out, is_list ? "]" : "");
}

const struct api_dialect api_llama_completion = {
    .id_prefix = "cmpl-",
    .parse = api_llama_parse_completion,
    .resolve = api_llama_resolve,
    .begin = begin,
    .event = event,
    .end = end,
    .broken = broken,
    .loading = api_openai_loading,
    .whole = whole,
    .tables = api_llama_completion_tables,
};

const struct api_dialect api_llama_infill = {
    .id_prefix = "cmpl-",
    .parse = api_llama_parse_infill,
    .resolve = api_llama_resolve,
    .begin = begin,
    .event = event,
    .end = end,
    .broken = broken,
    .loading = api_openai_loading,
    .whole = whole,
    .tables = api_llama_infill_tables,
};
