#include "api/request.h"

#include <string.h>

#include "api/fill.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "chat/reply.h"

/* What a request may build beside its body: message copies, biases, stop lists. */
enum { ARENA_BYTES_MAX = 64 << 20 };

void api_request_init(struct gen_request *request, enum gen_kind kind)
{
    *request = (struct gen_request){
        .kind = kind, .n = 1, .parallel_tool_calls = true, .lane = GEN_LANE_NORMAL};
    request->arena = arena_init(ARENA_BYTES_MAX);
    request->sampling = engine_sampling_default();
}

void api_request_deinit(struct gen_request *request)
{
    for (size_t i = 0; i < request->prompt_count; i++) {
        text_ids_deinit(&request->prompts[i].ids);
    }
    text_ids_deinit(&request->prefix);
    text_ids_deinit(&request->prediction_ids);
    json_decref(request->tools);
    chat_reply_destroy(request->reply);
    if (request->release) {
        request->release(request->own);
    }
    json_decref(request->own_kwargs);
    buf_deinit(&request->words);
    chat_close(request->own_chat);
    json_decref(request->own_choice);
    json_decref(request->messages);
    json_decref(request->body);
    arena_deinit(&request->arena);
    *request = (struct gen_request){0};
}

bool api_request_read(struct gen_request *request, struct str body, struct err *err)
{
    struct json_limits limits = {.depth_max = API_BODY_DEPTH_MAX,
                                 .values_max = API_BODY_VALUES_MAX};
    request->body = json_parse(body, &limits, err);
    if (!request->body) {
        return false;
    }
    if (!json_is_object(request->body)) {
        return err_set(err, ERR_TYPE, "the body must be a JSON object");
    }
    return true;
}

static bool check_ids(const struct gen_prompt *prompt, size_t vocab_count, struct err *err)
{
    for (size_t i = 0; i < prompt->ids.count; i++) {
        if (prompt->ids.ids[i] < 0 || (size_t)prompt->ids.ids[i] >= vocab_count) {
            err_set_param(err, ERR_INVALID, "", "token id %d is outside the vocabulary of %zu",
                          (int)prompt->ids.ids[i], vocab_count);
            return err_wrap_param(err, "%s[%zu]", prompt->path, i);
        }
    }
    return true;
}

/* The ids of an earlier answer, then the conversation without a second BOS. */
static bool add_prefix(const struct gen_request *request, const struct text *text,
                       struct text_ids *ids, struct err *err)
{
    struct gen_prompt prefix = {.ids = request->prefix, .path = "context"};
    struct text_ids all = {0};
    bool ok = check_ids(&prefix, text_vocab_count(text), err);
    size_t skip = ids->count > 0 && ids->ids[0] == text_bos(text) ? 1 : 0;
    for (size_t i = 0; ok && i < request->prefix.count; i++) {
        ok = text_ids_add(&all, request->prefix.ids[i]) || err_set_memory(err, sizeof(text_id));
    }
    for (size_t i = skip; ok && i < ids->count; i++) {
        ok = text_ids_add(&all, ids->ids[i]) || err_set_memory(err, sizeof(text_id));
    }
    text_ids_deinit(ids);
    *ids = all;
    return ok;
}

/* The request's own template, else the definition's, else the model's. */
static const struct chat *choose_chat(struct gen_request *request, const struct route_local *local,
                                      struct err *err)
{
    const struct chat_params params = {.gguf = route_local_gguf(local),
                                       .text = route_local_text(local),
                                       .template_text = request->template_text};
    if (request->template_text.len) {
        request->own_chat = chat_open(&params, err);
        if (!request->own_chat) {
            err_wrap_param(err, "template");
        }
        return request->own_chat;
    }
    return request->chat ? request->chat : route_local_chat(local);
}

static const char *effort_of(const struct gen_reasoning *reasoning, bool is_harmony)
{
    static const char *const renamed[][2] = {
        {"minimal", "low"}, {"xhigh", "high"}, {"max", "high"}, {NULL, NULL}};
    if (is_harmony && reasoning->mode == GEN_REASONING_OFF) {
        return "low"; /* it cannot do without */
    }
    for (size_t i = 0; is_harmony && renamed[i][0]; i++) {
        if (str_eq(reasoning->effort, str_of(renamed[i][0]))) {
            return renamed[i][1];
        }
    }
    return reasoning->effort.len ? reasoning->effort.ptr : NULL;
}

/* What the template is told: of reasoning, then what the client itself says. Owned. */
static json_t *make_kwargs(const struct gen_request *request, bool is_harmony)
{
    const struct gen_reasoning *reasoning = &request->reasoning;
    json_t *kwargs = json_object();
    const char *effort = effort_of(reasoning, is_harmony);
    if (reasoning->mode != GEN_REASONING_DEFAULT) {
        const bool is_on = reasoning->mode == GEN_REASONING_ON;
        json_object_set_new(kwargs, "enable_thinking", json_boolean(is_on));
        json_object_set_new(kwargs, "thinking", json_boolean(is_on));
    }
    if (effort) {
        json_object_set_new(kwargs, "reasoning_effort", json_string(effort));
    }
    if (json_is_object(request->template_kwargs)) {
        json_object_update(kwargs, (json_t *)(uintptr_t)request->template_kwargs);
    }
    return kwargs;
}

static bool make_reply(struct gen_request *request, const struct chat *words, struct str prompt,
                       struct err *err)
{
    const bool may_call = request->tools && request->tool_choice.mode != GEN_TOOLS_NONE;
    const struct chat_reply_request wanted = {
        .tools = request->tools,
        .may_call = may_call,
        .must_call = request->tool_choice.mode == GEN_TOOLS_REQUIRED,
        .many_calls = request->parallel_tool_calls,
        .allowed = request->tool_choice.allowed,
        .answer = (enum chat_answer)request->format,
        .schema = request->schema,
        .is_strict = request->schema_strict,
        .source = request->grammar,
        .prompt_end = prompt,
        .no_reasoning = request->kind == GEN_TEXT || request->continues_final ||
                        request->reasoning.mode == GEN_REASONING_OFF,
    };
    request->reply = chat_reply_create(words, &wanted, err);
    if (!request->reply && err->param[0] == 0 && err->code != ERR_MEMORY) {
        return err_wrap_param(err, "%s",
                              request->format_param ? request->format_param : "response_format");
    }
    return request->reply != NULL;
}

/* A prompt that ends within reasoning although there should be none: it is closed at once. */
static bool close_reasoning(const struct gen_request *request, struct text_ids *ids,
                            struct err *err)
{
    const struct text_ids *close = &request->reply->close_ids;
    bool ok = true;
    for (size_t i = 0; request->reply->closes_prompt && i < close->count; i++) {
        ok = ok && text_ids_add(ids, close->ids[i]);
    }
    return ok || err_set_memory(err, close->count * sizeof *close->ids);
}

static bool prepare_chat(struct gen_request *request, const struct route_local *local,
                         struct err *err)
{
    const struct chat *words = choose_chat(request, local, err);
    if (!words) {
        return false;
    }
    json_t *kwargs = make_kwargs(request, chat_is_harmony(words));
    const bool may_call = request->tool_choice.mode != GEN_TOOLS_NONE;
    struct chat_request chat = {.messages = request->messages,
                                .tools = may_call ? request->tools : NULL,
                                .kwargs = kwargs,
                                .add_generation_prompt = true,
                                .continues_final = request->continues_final};
    struct text_ids *ids = &request->prompts[0].ids;
    struct buf prompt = {0};
    bool ok = kwargs ? chat_encode(words, &chat, ids, &prompt, err) : err_set_memory(err, 256);
    json_decref(kwargs);
    if (!ok && err->code == ERR_TEMPLATE && err->param[0] == 0) {
        err_wrap_param(err, "messages");
    }
    const size_t from = prompt.len > 256 ? prompt.len - 256 : 0;
    ok = ok && make_reply(request, words, str_slice(buf_view(&prompt), from, prompt.len), err) &&
         close_reasoning(request, ids, err);
    if (ok && request->wants_words) {
        buf_add(&request->words, buf_view(&prompt));
    }
    buf_deinit(&prompt);
    return ok &&
           (request->prefix.count == 0 || add_prefix(request, route_local_text(local), ids, err));
}

/* The model is loaded: what was asked of its loading is so, or it is refused with both figures. */
static bool check_load(const struct gen_request *request, const struct route_local *local,
                       struct err *err)
{
    const struct gen_load *want = &request->load;
    const struct route_local_params *have = route_local_params_of(local);
    uint32_t ctx_tokens = engine_ctx_tokens(route_local_engine(local));
    if (request->ctx_tokens > ctx_tokens) {
        return err_set_param(err, ERR_INVALID, "num_ctx",
                             "'num_ctx' is %u, but the model is loaded with a context of %u tokens",
                             request->ctx_tokens, ctx_tokens);
    }
    if (want->threads && want->threads != have->threads) {
        return err_set_param(err, ERR_INVALID, "num_thread",
                             "'num_thread' is %u, but the model is loaded with %u threads",
                             want->threads, have->threads);
    }
    if (want->batch_rows > have->batch_rows_max) {
        return err_set_param(err, ERR_INVALID, "num_batch",
                             "'num_batch' is %u, but the model is loaded for batches of %u",
                             want->batch_rows, have->batch_rows_max);
    }
    if ((want->kv == GEN_KV_F16 && have->kv_type != KV_F16) ||
        (want->kv == GEN_KV_F32 && have->kv_type != KV_F32)) {
        return err_set_param(err, ERR_INVALID, "f16_kv",
                             "'f16_kv' asks for another cache than the model is loaded with, %s",
                             route_kv_type_name(have->kv_type));
    }
    return true;
}

/* Ids as they are; texts between them with their special tokens; BOS before a text that comes
 * first.
 */
static bool encode_mixed(const struct text *text, struct gen_prompt *prompt, size_t vocab_count,
                         struct err *err)
{
    for (size_t i = 0; i < json_array_size(prompt->mixed); i++) {
        const json_t *item = json_array_get(prompt->mixed, i);
        struct text_encode_opts opts = {.add_special = i == 0, .parse_special = true};
        bool ok = json_is_string(item)
                      ? text_encode(text, json_str(item), &opts, &prompt->ids, err)
                      : text_ids_add(&prompt->ids, (text_id)json_integer_value(item)) ||
                            err_set_memory(err, sizeof(text_id));
        if (!ok) {
            return false;
        }
    }
    return check_ids(prompt, vocab_count, err);
}

bool api_request_prepare(struct gen_request *request, const struct route_local *local,
                         struct err *err)
{
    const struct text *text = route_local_text(local);
    size_t vocab_count = text_vocab_count(text);
    if (!request->has_seed) {
        os_random(&request->sampling.seed, sizeof request->sampling.seed);
        request->sampling.seed >>= 11; /* 53 bits: what every JSON client can send back exactly */
    }
    if (!check_load(request, local, err) ||
        !engine_sampling_check(&request->sampling, vocab_count, err)) {
        return false;
    }
    if (request->prediction.len &&
        !text_encode(text, request->prediction, &(struct text_encode_opts){0},
                     &request->prediction_ids, err)) {
        return false;
    }
    if (request->kind == GEN_TEXT && request->format != GEN_FORMAT_TEXT && request->prompt_count &&
        !make_reply(request, route_local_chat(local), (struct str){0}, err)) {
        return false;
    }
    for (size_t i = 0; i < request->prompt_count; i++) {
        struct gen_prompt *prompt = &request->prompts[i];
        struct text_encode_opts opts = {.add_special = !prompt->no_special,
                                        .parse_special = prompt->parses_special};
        bool ok = request->kind == GEN_CHAT ? prepare_chat(request, local, err)
                  : prompt->is_ids          ? check_ids(prompt, vocab_count, err)
                  : prompt->mixed           ? encode_mixed(text, prompt, vocab_count, err)
                  : prompt->has_suffix ? api_fill_encode(route_local_gguf(local), text, prompt, err)
                                       : text_encode(text, prompt->text, &opts, &prompt->ids, err);
        if (!ok) {
            return false;
        }
        if (prompt->ids.count == 0 && !request->is_dry) {
            return err_set_param(err, ERR_INVALID, prompt->path, "'%s' has no tokens",
                                 prompt->path);
        }
        if (request->ctx_tokens && prompt->ids.count > request->ctx_tokens) {
            return err_set_param(err, ERR_CONTEXT, prompt->path,
                                 "the prompt has %zu tokens; 'num_ctx' is %u", prompt->ids.count,
                                 request->ctx_tokens);
        }
    }
    return true;
}

size_t api_request_choices(const struct gen_request *request)
{
    return request->is_dry ? 0 : request->prompt_count * request->n;
}

static void add_reply(const struct gen_request *request, struct engine_request *out)
{
    const struct chat_reply *reply = request->reply;
    out->grammar = reply->grammar;
    out->marks = request->kind == GEN_CHAT;
    out->reasoning = (struct engine_reasoning){
        .is_open = reply->thinking == CHAT_IS_THINKING,
        .has_budget = request->reasoning.has_budget,
        .budget_tokens = request->reasoning.budget_tokens,
        .close_ids = reply->close_ids.ids,
        .close_count = reply->close_ids.count,
    };
    if (request->kind == GEN_CHAT && reply->thinking != CHAT_THINKS_NOT) {
        out->reasoning.open = reply->spelling->think_open;
        out->reasoning.close = reply->spelling->think_close;
    }
}

void api_request_engine(const struct gen_request *request, size_t choice, struct str id,
                        struct engine_request *out)
{
    const struct gen_prompt *prompt = &request->prompts[choice / request->n];
    *out = (struct engine_request){
        .prompt = prompt->ids.ids,
        .prompt_count = prompt->ids.count,
        .sampling = request->sampling,
        .has_max_tokens = request->has_max_tokens,
        .max_tokens = request->max_tokens,
        .min_tokens = request->min_tokens,
        .ignore_eos = request->ignore_eos,
        .stops = request->stops,
        .stop_count = request->stop_count,
        .banned = request->banned,
        .banned_count = request->banned_count,
        .wants_logprobs = request->wants_logprobs || request->best > 0,
        .top_logprobs = request->top_logprobs,
        .prompt_logprobs = request->echo && request->wants_logprobs,
        .id = id,
        .lane = (enum engine_lane)request->lane,
        .record = request->record,
        .prediction = request->prediction_ids.ids,
        .prediction_count = request->prediction_ids.count,
        .has_scales = request->has_scales,
        .scale_count = request->scale_count,
    };
    memcpy(out->scales, request->scales, sizeof out->scales);
    if (request->reply) {
        add_reply(request, out);
    }
    uint32_t room = (uint32_t)(request->ctx_tokens - prompt->ids.count);
    if (request->ctx_tokens && (!out->has_max_tokens || out->max_tokens > room)) {
        out->has_max_tokens = true; /* so that no more pages are reserved */
        out->max_tokens = room;
    }
    out->sampling.seed += choice % request->n;
}
