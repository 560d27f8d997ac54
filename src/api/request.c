#include "api/request.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"

/* What a request may build beside its body: message copies, biases, stop lists. */
enum { ARENA_BYTES_MAX = 64 << 20 };

void api_request_init(struct gen_request *request, enum gen_kind kind)
{
    *request = (struct gen_request){.kind = kind, .n = 1};
    request->arena = arena_init(ARENA_BYTES_MAX);
    request->sampling = engine_sampling_default();
}

void api_request_deinit(struct gen_request *request)
{
    for (size_t i = 0; i < request->prompt_count; i++) {
        text_ids_deinit(&request->prompts[i].ids);
    }
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

static bool prepare_chat(struct gen_request *request, const struct route_local *local,
                         struct err *err)
{
    struct chat_request chat = {.messages = request->messages,
                                .kwargs = request->template_kwargs,
                                .add_generation_prompt = true};
    if (!chat_encode(route_local_chat(local), &chat, &request->prompts[0].ids, NULL, err)) {
        if (err->code == ERR_TEMPLATE && err->param[0] == 0) {
            return err_wrap_param(err, "messages");
        }
        return false;
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

bool api_request_prepare(struct gen_request *request, const struct route_local *local,
                         struct err *err)
{
    const struct text *text = route_local_text(local);
    size_t vocab_count = text_vocab_count(text);
    if (!request->has_seed) {
        os_random(&request->sampling.seed, sizeof request->sampling.seed);
    }
    if (!engine_sampling_check(&request->sampling, vocab_count, err)) {
        return false;
    }
    for (size_t i = 0; i < request->prompt_count; i++) {
        struct gen_prompt *prompt = &request->prompts[i];
        struct text_encode_opts opts = {.add_special = true};
        bool ok = request->kind == GEN_CHAT ? prepare_chat(request, local, err)
                  : prompt->is_ids          ? check_ids(prompt, vocab_count, err)
                                   : text_encode(text, prompt->text, &opts, &prompt->ids, err);
        if (!ok) {
            return false;
        }
        if (prompt->ids.count == 0) {
            return err_set_param(err, ERR_INVALID, prompt->path, "'%s' has no tokens",
                                 prompt->path);
        }
    }
    return true;
}

size_t api_request_choices(const struct gen_request *request)
{
    return request->prompt_count * request->n;
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
        .wants_logprobs = request->wants_logprobs,
        .top_logprobs = request->top_logprobs,
        .prompt_logprobs = request->echo && request->wants_logprobs,
        .id = id,
    };
    out->sampling.seed += choice % request->n;
}
