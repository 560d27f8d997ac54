/* Bodies of POST /completion and /infill. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/llama.h"
#include "api/lora.h"
#include "base/json.h"

#define SLOT(member) offsetof(struct gen_request, member)
#define REFUSED(field, reason)                                                                     \
    {                                                                                              \
        .name = field, .kind = API_REFUSED, .note = reason                                         \
    }
#define NUMBER(field, member, low, high)                                                           \
    {                                                                                              \
        .name = field, .kind = API_F32, .offset = SLOT(sampling.member), .min = low, .max = high   \
    }

/* ---- values ---- */

static bool integer(const struct api_field *field, const json_t *value, json_int_t *out,
                    struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    *out = json_integer_value(value);
    if (*out < (json_int_t)field->min || *out > (json_int_t)field->max) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid value for '%s': must be between %.15g and %.15g", field->name,
                             field->min, field->max);
    }
    return true;
}

/* -1: until the end. */
static bool apply_predict(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    json_int_t tokens = 0;
    if (!integer(field, value, &tokens, err)) {
        return false;
    }
    request->has_max_tokens = tokens >= 0;
    request->max_tokens = tokens >= 0 ? (uint32_t)tokens : 0;
    return true;
}

/* 0 and below: all tokens. */
static bool apply_top_k(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    json_int_t tokens = 0;
    if (!integer(field, value, &tokens, err)) {
        return false;
    }
    request->sampling.top_k = tokens > 0 ? (uint32_t)tokens : 0;
    return true;
}

static bool apply_min_keep(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    json_int_t tokens = 0;
    if (!integer(field, value, &tokens, err)) {
        return false;
    }
    request->sampling.min_keep = tokens > 0 ? (uint32_t)tokens : 1;
    return true;
}

/* -1 chooses one, as no seed does. */
static bool apply_seed(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    if (json_is_integer(value) && json_integer_value(value) == -1) {
        request->has_seed = false;
        return true;
    }
    return api_apply_seed(request, field, value, err);
}

static bool apply_probs(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    json_int_t count = 0;
    if (!integer(field, value, &count, err)) {
        return false;
    }
    request->top_logprobs = (uint32_t)count;
    request->wants_logprobs = request->wants_logprobs || count > 0;
    return true;
}

/* Ids of generated tokens come with their probabilities. */
static bool apply_return_tokens(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err)
{
    if (!json_is_boolean(value)) {
        return api_type_error(field->name, "a boolean", value, err);
    }
    request->wants_ids = json_is_true(value);
    request->wants_logprobs = request->wants_logprobs || request->wants_ids;
    return true;
}

static bool apply_cache_prompt(struct gen_request *request, const struct api_field *field,
                               const json_t *value, struct err *err)
{
    if (!json_is_boolean(value)) {
        return api_type_error(field->name, "a boolean", value, err);
    }
    request->shuns_cache = json_is_false(value);
    return true;
}

static bool apply_schema(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    request->format = GEN_FORMAT_SCHEMA;
    request->schema = value;
    request->schema_strict = true;
    return true;
}

static bool apply_grammar(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    if (json_string_length(value) > 0) {
        request->format = GEN_FORMAT_GBNF;
        request->grammar = json_str(value);
    }
    return true;
}

/* Integers of which [min, max] is what happens anyway. */
static bool apply_within(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    (void)request;
    if (!json_is_number(value)) {
        return api_type_error(field->name, "a number", value, err);
    }
    double number = json_number_value(value);
    return (number >= field->min && number <= field->max) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

static bool apply_false(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    (void)request;
    if (!json_is_boolean(value)) {
        return api_type_error(field->name, "a boolean", value, err);
    }
    return json_is_false(value) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

static bool apply_no_items(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    (void)request;
    return (json_is_array(value) && json_array_size(value) == 0) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

/* ---- biases: [[id, 1.5], [id, false]] | {"id": 1.5} ---- */

static bool add_bias(struct engine_bias *bias, const json_t *id, struct str key,
                     const json_t *value, struct err *err)
{
    int64_t number = json_integer_value(id);
    bool is_id = id ? json_is_integer(id) : str_to_i64(key, &number);
    if (!is_id || number < 0 || number > INT32_MAX) {
        return err_set_param(err, ERR_INVALID, "logit_bias",
                             "'logit_bias' takes token ids; POST /tokenize tells those of a text");
    }
    if (!json_is_number(value) && !json_is_false(value)) {
        return api_type_error("logit_bias", "a number or false", value, err);
    }
    double weight = json_is_false(value) ? -INFINITY : json_number_value(value);
    if (!json_is_false(value) && !(weight >= -100 && weight <= 100)) {
        return err_set_param(err, ERR_INVALID, "logit_bias",
                             "the bias of token %lld is not between -100 and 100",
                             (long long)number);
    }
    *bias = (struct engine_bias){.id = (text_id)number, .bias = (float)weight};
    return true;
}

static bool apply_bias(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)value;
    size_t count = json_is_array(value) ? json_array_size(value) : json_object_size(value), at = 0;
    if (!json_is_array(value) && !json_is_object(value)) {
        return api_type_error(field->name, "an array of pairs or an object", value, err);
    }
    struct engine_bias *biases = ARENA_ARRAY(&request->arena, struct engine_bias, count);
    if (!biases) {
        return err_set_memory(err, count * sizeof *biases);
    }
    request->sampling.biases = biases;
    request->sampling.bias_count = count;
    if (json_is_object(value)) {
        for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
            if (!add_bias(&biases[at++], NULL, str_of(json_object_iter_key(it)),
                          json_object_iter_value(it), err)) {
                return false;
            }
        }
        return true;
    }
    for (; at < count; at++) {
        const json_t *pair = json_array_get(value, at);
        if (json_array_size(pair) != 2) {
            return err_set_param(err, ERR_TYPE, field->name,
                                 "'logit_bias' is a list of [token id, bias] pairs");
        }
        if (!add_bias(&biases[at], json_array_get(pair, 0), (struct str){0},
                      json_array_get(pair, 1), err)) {
            return false;
        }
    }
    return true;
}

/* ---- samplers ---- */

/* The order in which the engine has them; what a list leaves out is off. */
static const char *const samplers[] = {"penalties", "dry",   "top_n_sigma", "top_k",      "typ_p",
                                       "top_p",     "min_p", "xtc",         "temperature"};

enum { SAMPLER_COUNT = sizeof samplers / sizeof *samplers };

static void switch_off(struct engine_sampling *s, size_t sampler)
{
    const struct engine_sampling off = engine_sampling_default();
    switch (sampler) {
    case 0:
        s->repeat_penalty = 1;
        s->presence_penalty = s->frequency_penalty = 0;
        break;
    case 1:
        s->dry_multiplier = 0;
        break;
    case 2:
        s->top_n_sigma = off.top_n_sigma;
        break;
    case 3:
        s->top_k = 0;
        break;
    case 4:
        s->typical_p = 1;
        break;
    case 5:
        s->top_p = 1;
        break;
    case 6:
        s->min_p = 0;
        break;
    case 7:
        s->xtc_probability = 0;
        break;
    default:
        s->temperature = 1;
        s->dynatemp_range = 0;
    }
}

/* Used by choose_samplers, when all fields are read. */
static bool check_samplers(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    size_t at = 0;
    (void)request;
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array of names", value, err);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        char quoted[STR_QUOTE_MAX];
        struct str name = json_str(json_array_get(value, i));
        while (at < SAMPLER_COUNT && !str_eq(name, str_of(samplers[at]))) {
            at++;
        }
        if (at++ >= SAMPLER_COUNT) {
            return err_set_param(
                err, ERR_UNSUPPORTED, field->name,
                "'%s' is unknown or not in the one order there is: penalties, dry, "
                "top_n_sigma, top_k, typ_p, top_p, min_p, xtc, temperature",
                str_quote(quoted, name));
        }
    }
    return true;
}

static void choose_samplers(struct gen_request *request)
{
    const json_t *list = json_object_get(request->body, "samplers");
    for (size_t i = 0; json_is_array(list) && i < SAMPLER_COUNT; i++) {
        bool is_there = false;
        for (size_t j = 0; j < json_array_size(list); j++) {
            is_there |= str_eq(json_str(json_array_get(list, j)), str_of(samplers[i]));
        }
        if (!is_there) {
            switch_off(&request->sampling, i);
        }
    }
}

static bool check_names(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    (void)request;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!json_is_string(json_array_get(value, i))) {
            return api_type_error(field->name, "an array of names", json_array_get(value, i), err);
        }
    }
    return json_is_array(value) || api_type_error(field->name, "an array of names", value, err);
}

/* ---- tables ---- */

static const struct api_field completion_fields[] = {
    {.name = "model",
     .kind = API_TEXT,
     .offset = SLOT(model),
     .note = "an extension; needed where several are served"},
    {.name = "stream", .kind = API_BOOL, .offset = SLOT(stream)},
    {.name = "stream_interval",
     .kind = API_U32,
     .offset = SLOT(stream_interval),
     .min = 1,
     .max = 4096,
     .note = "an extension: tokens per event"},
    {.name = "num_ctx",
     .kind = API_U32,
     .offset = SLOT(ctx_tokens),
     .min = 1,
     .max = INT32_MAX,
     .note = "an extension: prompt and answer together"},
    {.name = "n_predict", .kind = API_CUSTOM, .apply = apply_predict, .min = -1, .max = INT32_MAX},
    {.name = "max_tokens", .kind = API_CUSTOM, .apply = apply_predict, .min = -1, .max = INT32_MAX},
    {.name = "n_cmpl", .kind = API_U32, .offset = SLOT(n), .min = 1, .max = API_CHOICES_MAX},
    {.name = "ignore_eos", .kind = API_BOOL, .offset = SLOT(ignore_eos)},
    {.name = "stop", .kind = API_CUSTOM, .apply = api_apply_stop},
    {.name = "seed", .kind = API_CUSTOM, .apply = apply_seed, .note = "-1 chooses one"},
    NUMBER("temperature", temperature, 0, 2),
    NUMBER("dynatemp_range", dynatemp_range, 0, 2),
    NUMBER("dynatemp_exponent", dynatemp_exponent, 0, 100),
    {.name = "top_k", .kind = API_CUSTOM, .apply = apply_top_k, .min = -1, .max = INT32_MAX},
    NUMBER("top_p", top_p, 0, 1),
    NUMBER("min_p", min_p, 0, 1),
    NUMBER("top_n_sigma", top_n_sigma, -1, 100),
    NUMBER("typical_p", typical_p, 0, 1),
    NUMBER("repeat_penalty", repeat_penalty, 0.01, 10),
    {.name = "repeat_last_n",
     .kind = API_CUSTOM,
     .apply = api_apply_window,
     .offset = SLOT(sampling.repeat_last_n),
     .min = -1,
     .max = INT32_MAX},
    NUMBER("presence_penalty", presence_penalty, -2, 2),
    NUMBER("frequency_penalty", frequency_penalty, -2, 2),
    NUMBER("dry_multiplier", dry_multiplier, 0, 100),
    NUMBER("dry_base", dry_base, 1, 100),
    {.name = "dry_allowed_length",
     .kind = API_U32,
     .offset = SLOT(sampling.dry_allowed_length),
     .max = INT32_MAX},
    {.name = "dry_penalty_last_n",
     .kind = API_CUSTOM,
     .apply = api_apply_window,
     .offset = SLOT(sampling.dry_penalty_last_n),
     .min = -1,
     .max = INT32_MAX},
    {.name = "dry_sequence_breakers", .kind = API_CUSTOM, .apply = api_apply_breakers},
    NUMBER("xtc_probability", xtc_probability, 0, 1),
    NUMBER("xtc_threshold", xtc_threshold, 0, 1),
    {.name = "mirostat",
     .kind = API_CUSTOM,
     .apply = api_apply_mirostat,
     .note = "0 or 2; version 1 is refused"},
    NUMBER("mirostat_tau", mirostat_tau, 0, 100),
    NUMBER("mirostat_eta", mirostat_eta, 0, 1),
    {.name = "min_keep", .kind = API_CUSTOM, .apply = apply_min_keep, .max = INT32_MAX},
    {.name = "samplers",
     .kind = API_CUSTOM,
     .apply = check_samplers,
     .note = "in the one order there is; what is left out is off"},
    {.name = "logit_bias", .kind = API_CUSTOM, .apply = apply_bias, .note = "of token ids"},
    {.name = "grammar", .kind = API_CUSTOM, .apply = apply_grammar, .note = "GBNF"},
    {.name = "json_schema", .kind = API_CUSTOM, .apply = apply_schema},
    {.name = "n_probs", .kind = API_CUSTOM, .apply = apply_probs, .max = ENGINE_TOP_MAX},
    {.name = "return_tokens", .kind = API_CUSTOM, .apply = apply_return_tokens},
    {.name = "response_fields",
     .kind = API_CUSTOM,
     .apply = check_names,
     .note = "of the last object; 'a/b' brings b up"},
    {.name = "cache_prompt",
     .kind = API_CUSTOM,
     .apply = apply_cache_prompt,
     .note = "false: nothing is taken from the cache"},
    {.name = "n_keep",
     .kind = API_CUSTOM,
     .apply = apply_within,
     .is_limited = true,
     .min = -1,
     .max = INT32_MAX,
     .note = "nothing of a prompt is ever discarded"},
    {.name = "id_slot",
     .kind = API_CUSTOM,
     .apply = apply_within,
     .is_limited = true,
     .min = -1,
     .max = -1,
     .note = "there are no slots to choose; -1 is fine"},
    {.name = "n_indent",
     .kind = API_CUSTOM,
     .apply = apply_within,
     .is_limited = true,
     .note = "indentation is not enforced; 0 is fine"},
    {.name = "n_cache_reuse",
     .kind = API_CUSTOM,
     .apply = apply_within,
     .is_limited = true,
     .note = "keys and values are not shifted; 0 is fine"},
    {.name = "t_max_predict_ms",
     .kind = API_CUSTOM,
     .apply = apply_within,
     .is_limited = true,
     .note = "an answer's length does not depend on the clock; 0 is fine"},
    {.name = "post_sampling_probs",
     .kind = API_CUSTOM,
     .apply = apply_false,
     .is_limited = true,
     .note = "probabilities are the model's, before sampling"},
    {.name = "timings_per_token",
     .kind = API_CUSTOM,
     .apply = apply_false,
     .is_limited = true,
     .note = "the last object has the timings"},
    {.name = "return_progress",
     .kind = API_CUSTOM,
     .apply = apply_false,
     .is_limited = true,
     .note = "the progress of a prompt is not told"},
    {.name = "lora",
     .kind = API_CUSTOM,
     .apply = api_apply_lora,
     .note = "a list of {\"id\",\"scale\"}: adapters of the start, the others are off"},
    {.name = "image_data",
     .kind = API_CUSTOM,
     .apply = apply_no_items,
     .is_limited = true,
     .note = "models here see no images"},
    {0},
};

static const struct api_field prompt_fields[] = {
    {.name = "prompt",
     .kind = API_CUSTOM,
     .apply = api_llama_prompt,
     .is_required = true,
     .note = "a string, token ids, both mixed, or a list of these"},
    {0},
};

static bool check_text(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || api_type_error(field->name, "a string", value, err);
}

static bool check_extra(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    (void)request;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *file = json_array_get(value, i);
        if (!json_is_string(json_object_get(file, "filename")) ||
            !json_is_string(json_object_get(file, "text"))) {
            return err_set_param(err, ERR_TYPE, field->name,
                                 "'input_extra' is a list of {\"filename\",\"text\"} objects");
        }
    }
    return json_is_array(value) || api_type_error(field->name, "an array", value, err);
}

static const struct api_field infill_fields[] = {
    {.name = "input_prefix", .kind = API_CUSTOM, .apply = check_text, .is_required = true},
    {.name = "input_suffix", .kind = API_CUSTOM, .apply = check_text, .is_required = true},
    {.name = "input_extra", .kind = API_CUSTOM, .apply = check_extra},
    {.name = "prompt", .kind = API_CUSTOM, .apply = check_text, .note = "how the answer begins"},
    {0},
};

const struct api_field *const api_llama_completion_tables[] = {prompt_fields, completion_fields,
                                                               NULL};
const struct api_field *const api_llama_infill_tables[] = {infill_fields, completion_fields, NULL};

/* ---- parsing ---- */

void api_llama_init(struct gen_request *request, enum gen_kind kind)
{
    api_request_init(request, kind);
    request->sampling.temperature = 0.8f;
    request->sampling.top_k = 40;
    request->sampling.top_p = 0.95f;
    request->sampling.min_p = 0.05f;
    request->sampling.repeat_last_n = 64;
}

bool api_llama_parse_completion(struct gen_request *request, struct str body, struct err *err)
{
    api_llama_init(request, GEN_TEXT);
    bool ok = api_request_read(request, body, err) &&
              api_fields_apply(request, request->body, api_llama_completion_tables, err);
    if (ok) {
        choose_samplers(request);
    }
    return ok;
}

bool api_llama_parse_infill(struct gen_request *request, struct str body, struct err *err)
{
    api_llama_init(request, GEN_TEXT);
    if (!api_request_read(request, body, err) ||
        !api_fields_apply(request, request->body, api_llama_infill_tables, err)) {
        return false;
    }
    request->prompts = ARENA_NEW(&request->arena, struct gen_prompt);
    if (!request->prompts) {
        return err_set_memory(err, sizeof *request->prompts);
    }
    request->prompt_count = 1;
    struct gen_prompt *prompt = request->prompts;
    snprintf(prompt->path, sizeof prompt->path, "input_prefix");
    prompt->has_suffix = true;
    prompt->text = json_str(json_object_get(request->body, "input_prefix"));
    prompt->suffix = json_str(json_object_get(request->body, "input_suffix"));
    prompt->begun = json_str(json_object_get(request->body, "prompt"));
    prompt->extra = json_object_get(request->body, "input_extra");
    choose_samplers(request);
    return true;
}
