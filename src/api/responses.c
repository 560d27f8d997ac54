/* POST /v1/responses and /v1/responses/input_tokens: what the model says goes to the log, and the
 * log is told. */
#include <math.h>
#include <stdio.h>

#include "api/openai.h"
#include "api/responses.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

struct answer {
    struct api_responses_log log;
    struct api_responses_cursor cursor; /* of the stream */
    uint64_t reasoning_bytes, all_bytes;
};

/* ---- the response object ---- */

static bool set(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

/* What the client sent, or what stands for it. */
static json_t *given(const struct gen_request *request, const char *name, json_t *otherwise)
{
    json_t *value = json_object_get(request->body, name);
    if (!value || json_is_null(value)) {
        return otherwise;
    }
    json_decref(otherwise);
    return json_incref(value);
}

static json_t *text_json(const struct gen_request *request)
{
    json_t *text = json_object();
    const json_t *sent = json_object_get(request->body, "text");
    json_t *format = json_object_get(sent, "format");
    json_t *verbosity = json_object_get(sent, "verbosity");
    set(text, "format",
        json_is_object(format) ? json_incref(format) : json_pack("{s:s}", "type", "text"));
    set(text, "verbosity",
        json_is_string(verbosity) ? json_incref(verbosity) : json_string("medium"));
    return text;
}

static json_t *reasoning_json(const struct gen_request *request)
{
    const json_t *sent = json_object_get(request->body, "reasoning");
    json_t *reasoning = json_pack("{s:n,s:n}", "effort", "summary");
    json_object_update(reasoning, (json_t *)(uintptr_t)sent);
    return reasoning;
}

static json_t *tools_json(const struct gen_request *request)
{
    json_t *tools = json_array();
    const json_t *sent = json_object_get(request->body, "tools");
    for (size_t i = 0; i < json_array_size(sent); i++) {
        json_t *tool = json_copy(json_array_get(sent, i));
        bool is_function = str_eq(json_str(json_object_get(tool, "type")), STR("function"));
        if (is_function && !json_is_boolean(json_object_get(tool, "strict"))) {
            set(tool, "strict", json_false());
        }
        json_array_append_new(tools, tool);
    }
    return tools;
}

static json_t *conversation_json(const struct api_responses_request *own)
{
    return own->conversation.len
               ? json_pack("{s:s%}", "id", own->conversation.ptr, own->conversation.len)
               : json_null();
}

static json_t *number_json(float value)
{
    char text[32];
    json_format_float(value, text);
    return json_real(strtod(text, NULL)); /* 0.7, not 0.699999988079071 */
}

/* The object with all that does not change; what does has its place in it already. */
static json_t *base_json(const struct api_render *render)
{
    const struct gen_request *request = render->request;
    const struct api_responses_request *own = api_responses_own(request);
    json_t *base = json_object();
    set(base, "id", json_string(render->id));
    set(base, "object", json_string("response"));
    set(base, "created_at", json_integer(render->created_s));
    set(base, "status", json_null());
    set(base, "background", json_boolean(request->is_detached));
    set(base, "completed_at", json_null());
    set(base, "error", json_null());
    set(base, "incomplete_details", json_null());
    set(base, "instructions", given(request, "instructions", json_null()));
    set(base, "max_output_tokens", given(request, "max_output_tokens", json_null()));
    set(base, "max_tool_calls", given(request, "max_tool_calls", json_null()));
    set(base, "model", json_stringn(render->model.ptr, render->model.len));
    set(base, "output", json_null());
    set(base, "parallel_tool_calls", json_boolean(request->parallel_tool_calls));
    set(base, "previous_response_id", given(request, "previous_response_id", json_null()));
    set(base, "conversation", conversation_json(own));
    set(base, "prompt_cache_key", given(request, "prompt_cache_key", json_null()));
    set(base, "prompt_cache_retention", given(request, "prompt_cache_retention", json_null()));
    set(base, "reasoning", reasoning_json(request));
    set(base, "safety_identifier", given(request, "safety_identifier", json_null()));
    set(base, "service_tier", json_string("default"));
    set(base, "store", json_boolean(request->is_kept));
    set(base, "temperature", number_json(request->sampling.temperature));
    set(base, "text", text_json(request));
    set(base, "tool_choice", given(request, "tool_choice", json_string("auto")));
    set(base, "tools", tools_json(request));
    set(base, "top_logprobs", json_integer(own->top_logprobs));
    set(base, "top_p", number_json(request->sampling.top_p));
    set(base, "truncation", json_string(request->drops_oldest ? "auto" : "disabled"));
    set(base, "usage", json_null());
    set(base, "user", given(request, "user", json_null()));
    set(base, "metadata", given(request, "metadata", json_object()));
    json_t *client = json_object_get(request->body, "client_metadata");
    if (json_is_object(client)) {
        json_object_set(base, "client_metadata", client);
    }
    if (request->dropped_count) {
        set(base, "hearth",
            json_pack("{s:I}", "dropped_items", (json_int_t)request->dropped_count));
    }
    return base;
}

static struct answer *answer_of(struct api_render *render)
{
    struct answer *answer = render->own;
    if (answer) {
        return answer;
    }
    const struct api_responses_request *own = api_responses_own(render->request);
    answer = MEM_NEW(struct answer);
    if (!answer) {
        render->failed = true;
        return NULL;
    }
    answer->log.base = base_json(render);
    answer->log.status = render->request->is_detached ? RESPONSES_QUEUED : RESPONSES_RUNNING;
    answer->log.is_background = render->request->is_detached;
    answer->log.has_summary = own->has_summary;
    answer->log.has_encrypted = own->includes_encrypted;
    answer->log.is_obfuscated = own->is_obfuscated;
    render->own = answer;
    return answer;
}

struct api_responses_log *api_responses_log_of(struct api_render *render)
{
    struct answer *answer = answer_of(render);
    return answer ? &answer->log : NULL;
}

static void release(struct api_render *render)
{
    struct answer *answer = render->own;
    if (answer) {
        api_responses_log_deinit(&answer->log);
        mem_free(answer);
        render->own = NULL;
    }
}

/* ---- events ---- */

static void add_logprob(const struct api_render *render, const struct engine_token *token,
                        struct buf *out)
{
    buf_add_char(out, '{');
    api_openai_token(render, &token->chosen, out);
    buf_add_text(out, ",\"top_logprobs\":[");
    for (uint32_t i = 0; i < token->top_count; i++) {
        buf_add_text(out, i ? ",{" : "{");
        api_openai_token(render, &token->top[i], out);
        buf_add_char(out, '}');
    }
    buf_add_text(out, "]}");
}

/* The tokens of an event belong to the text that it tells. */
static void note_logprobs(struct api_render *render, struct api_responses_log *log,
                          const struct gen_event *event)
{
    for (size_t i = 0; render->request->wants_logprobs && i < event->token_count; i++) {
        struct buf json = {0};
        add_logprob(render, &event->tokens[i], &json);
        api_responses_log_logprob(log, buf_view(&json));
        log->failed = log->failed || json.failed;
        buf_deinit(&json);
    }
}

static bool is_open(const struct api_responses_log *log, enum api_responses_kind kind)
{
    const struct api_responses_item *item =
        log->item_count ? &log->items[log->item_count - 1] : NULL;
    return item && item->kind == kind && !item->is_closed;
}

static void note_call(const struct gen_request *request, struct api_responses_log *log,
                      const struct gen_part *part)
{
    bool is_shell = api_responses_own(request)->has_shell && !part->is_custom &&
                    str_eq(part->name, STR(RESPONSES_SHELL));
    struct api_responses_item *item = api_responses_log_open(log, part->is_custom ? RESPONSES_CUSTOM
                                                                  : is_shell ? RESPONSES_LOCAL_SHELL
                                                                             : RESPONSES_FUNCTION);
    if (item) {
        buf_add(&item->call_id, part->id);
        buf_add(&item->name, part->name);
    }
}

static void note_part(struct api_render *render, struct answer *answer, const struct gen_part *part,
                      const struct gen_event *event)
{
    struct api_responses_log *log = &answer->log;
    bool is_reasoning = part->kind == GEN_PART_REASONING;
    answer->all_bytes += part->text.len;
    switch (part->kind) {
    case GEN_PART_TEXT:
    case GEN_PART_REASONING:
        if (!is_open(log, is_reasoning ? RESPONSES_REASONING : RESPONSES_MESSAGE)) {
            api_responses_log_open(log, is_reasoning ? RESPONSES_REASONING : RESPONSES_MESSAGE);
        }
        api_responses_log_add(log, part->text);
        if (is_reasoning) {
            answer->reasoning_bytes += part->text.len;
        } else {
            note_logprobs(render, log, event);
        }
        api_responses_log_delta(log);
        break;
    case GEN_PART_CALL:
        note_call(render->request, log, part);
        break;
    case GEN_PART_ARGUMENTS:
        api_responses_log_add(log, part->text);
        api_responses_log_delta(log);
        break;
    case GEN_PART_CALL_END:
        api_responses_log_close(log, false);
        break;
    }
}

static void note_end(struct api_render *render, struct answer *answer)
{
    const struct api_choice *choice = &render->choices[0];
    bool is_cut = choice->finish == GEN_FINISH_LENGTH || choice->finish == GEN_FINISH_CONTEXT;
    if (answer->log.item_count == 0) {
        api_responses_log_open(&answer->log, RESPONSES_MESSAGE); /* nothing was said: so it says */
    }
    answer->log.usage = api_render_usage(render);
    answer->log.has_usage = true;
    answer->log.reasoning_tokens =
        answer->all_bytes
            ? answer->log.usage.completion_tokens * answer->reasoning_bytes / answer->all_bytes
            : 0;
    api_responses_log_end(&answer->log, is_cut ? RESPONSES_INCOMPLETE : RESPONSES_COMPLETED);
}

static void tell(struct api_render *render, struct answer *answer, struct buf *out)
{
    if (render->request->stream && !render->request->is_detached) {
        api_responses_log_events(&answer->log, &answer->cursor, -1, SIZE_MAX, out);
    }
}

static void begin(struct api_render *render, struct buf *out)
{
    struct answer *answer = answer_of(render);
    if (answer) {
        tell(render, answer, out);
    }
}

/* The last event waits for `end`: what it tells must be on the disk by then. */
static void event(struct api_render *render, size_t choice, const struct gen_event *event,
                  struct buf *out)
{
    struct answer *answer = answer_of(render);
    (void)choice; /* there is one */
    if (!answer) {
        return;
    }
    answer->log.status =
        answer->log.status == RESPONSES_QUEUED ? RESPONSES_RUNNING : answer->log.status;
    for (size_t i = 0; i < event->part_count; i++) {
        struct gen_event told = *event;
        told.token_count = i == 0 ? event->token_count : 0;
        note_part(render, answer, &event->parts[i], &told);
    }
    render->failed = render->failed || answer->log.failed;
    tell(render, answer, out);
    if (event->is_done) {
        note_end(render, answer);
    }
}

static void end(struct api_render *render, struct buf *out)
{
    struct answer *answer = answer_of(render);
    if (answer) {
        tell(render, answer, out);
    }
}

static void broken(struct api_render *render, const struct err *failure, struct buf *out)
{
    struct answer *answer = answer_of(render);
    if (answer) {
        answer->log.failure = *failure;
        api_responses_log_end(&answer->log, RESPONSES_FAILED);
        tell(render, answer, out);
    }
}

static void whole(struct api_render *render, struct buf *out)
{
    struct answer *answer = answer_of(render);
    json_t *object = answer ? api_responses_log_object(&answer->log) : NULL;
    if (object) {
        json_write(out, object);
    } else {
        out->failed = true;
    }
    json_decref(object);
}

/* ---- keeping ---- */

static bool keep(struct api_render *render, const struct api_run_owner *owner, struct err *err)
{
    struct answer *answer = answer_of(render);
    return answer ? api_responses_put(&answer->log, render->request, owner, true, false, err)
                  : err_set_memory(err, sizeof *answer);
}

static bool commit(struct api_render *render, const struct api_run_owner *owner, struct err *err)
{
    struct answer *answer = answer_of(render);
    return answer ? api_responses_put(&answer->log, render->request, owner, false, true, err)
                  : err_set_memory(err, sizeof *answer);
}

static void abandon(struct api_render *render, const struct api_run_owner *owner,
                    const struct err *failure)
{
    struct answer *answer = answer_of(render);
    struct err ignored; /* the row stays in_progress, and fails at the next start */
    if (!answer) {
        return;
    }
    if (failure) {
        answer->log.failure = *failure;
    }
    if (answer->log.status < RESPONSES_COMPLETED) {
        api_responses_log_end(&answer->log, failure ? RESPONSES_FAILED : RESPONSES_CANCELLED);
    }
    api_responses_put(&answer->log, render->request, owner, false, false, &ignored);
}

const struct api_dialect api_responses = {
    .id_prefix = "resp_",
    .parse = api_responses_parse,
    .tables = api_responses_tables,
    .begin = begin,
    .event = event,
    .end = end,
    .broken = broken,
    .whole = whole,
    .always_tells = true,
    .resolve = api_responses_resolve,
    .keep = keep,
    .commit = commit,
    .abandon = abandon,
    .release = release,
};

/* ---- input_tokens ---- */

static bool parse_count(struct gen_request *request, struct str body, struct err *err)
{
    bool ok = api_responses_parse(request, body, err);
    request->is_dry = true;
    request->is_detached = false;
    request->stream = false;
    return ok;
}

static bool resolve_count(struct gen_request *request, const struct api_run_owner *owner,
                          struct err *err)
{
    bool ok = api_responses_resolve(request, owner, err);
    request->is_kept = false;
    return ok;
}

static void whole_count(struct api_render *render, struct buf *out)
{
    buf_add_format(out, "{\"object\":\"response.input_tokens\",\"input_tokens\":%zu}",
                   render->request->prompts[0].ids.count);
}

const struct api_dialect api_responses_count = {
    .id_prefix = "resp_",
    .parse = parse_count,
    .tables = api_responses_tables,
    .begin = begin,
    .event = event,
    .end = end,
    .broken = broken,
    .whole = whole_count,
    .resolve = resolve_count,
    .release = release,
};
