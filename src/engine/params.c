/* Neutral values and ranges of a request, in one place. Names in err->param are those of the OpenAI
 * API and of llama-server, whose ranges these are where they state one; the others keep arithmetic
 * finite. */
#include <math.h>

#include "base/size.h"
#include "engine/engine.h"
#include "engine/state.h"

struct engine_sampling engine_sampling_default(void)
{
    return (struct engine_sampling){
        .repeat_last_n = 64,
        .repeat_penalty = 1,
        .dry_base = 1.75f,
        .dry_allowed_length = 2,
        .dry_penalty_last_n = UINT32_MAX,
        .typical_p = 1,
        .top_p = 1,
        .min_keep = 1,
        .xtc_threshold = 0.1f,
        .temperature = 1,
        .dynatemp_exponent = 1,
        .mirostat_tau = 5,
        .mirostat_eta = 0.1f,
    };
}

static bool check_biases(const struct engine_sampling *s, size_t vocab_count, struct err *err)
{
    if (s->bias_count > ENGINE_BIASES_MAX) {
        return err_set_param(err, ERR_INVALID, "logit_bias", "%zu entries; at most %d are allowed",
                             s->bias_count, ENGINE_BIASES_MAX);
    }
    for (size_t i = 0; i < s->bias_count; i++) {
        const struct engine_bias *b = &s->biases[i];
        if (b->id < 0 || (size_t)b->id >= vocab_count) {
            return err_set_param(err, ERR_INVALID, "logit_bias",
                                 "token id %ld is not in the vocabulary of %zu tokens", (long)b->id,
                                 vocab_count);
        }
        if (b->bias != -INFINITY && !(b->bias >= -100 && b->bias <= 100)) {
            return err_set_param(err, ERR_INVALID, "logit_bias",
                                 "the bias of token %ld is not between -100 and 100", (long)b->id);
        }
    }
    return true;
}

static bool check_breakers(const struct engine_sampling *s, struct err *err)
{
    if (s->dry_breaker_count > ENGINE_BREAKERS_MAX) {
        return err_set_param(err, ERR_INVALID, "dry_sequence_breakers",
                             "%zu strings; at most %d are allowed", s->dry_breaker_count,
                             ENGINE_BREAKERS_MAX);
    }
    for (size_t i = 0; i < s->dry_breaker_count; i++) {
        if (s->dry_sequence_breakers[i].len == 0) {
            return err_set_param(err, ERR_INVALID, "dry_sequence_breakers", "string %zu is empty",
                                 i);
        }
    }
    return true;
}

bool engine_sampling_check(const struct engine_sampling *s, size_t vocab_count, struct err *err)
{
    const struct {
        const char *param;
        double value, low, high;
    } ranges[] = {
        {"temperature", (double)s->temperature, 0, 2},
        {"top_p", (double)s->top_p, 0, 1},
        {"min_p", (double)s->min_p, 0, 1},
        {"typical_p", (double)s->typical_p, 0, 1},
        {"top_n_sigma", (double)s->top_n_sigma, -1, 100},
        {"xtc_probability", (double)s->xtc_probability, 0, 1},
        {"xtc_threshold", (double)s->xtc_threshold, 0, 1},
        {"dynatemp_range", (double)s->dynatemp_range, 0, 10},
        {"dynatemp_exponent", (double)s->dynatemp_exponent, 0, 100},
        {"repeat_penalty", (double)s->repeat_penalty, (double)0.01f, 100},
        {"presence_penalty", (double)s->presence_penalty, -2, 2},
        {"frequency_penalty", (double)s->frequency_penalty, -2, 2},
        {"dry_multiplier", (double)s->dry_multiplier, 0, 100},
        {"dry_base", (double)s->dry_base, 1, 100},
        {"mirostat_tau", (double)s->mirostat_tau, 0, 100},
        {"mirostat_eta", (double)s->mirostat_eta, 0, 1},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high)) {
            return err_set_param(err, ERR_INVALID, ranges[i].param, "%g is not between %g and %g",
                                 ranges[i].value, ranges[i].low, ranges[i].high);
        }
    }
    return check_biases(s, vocab_count, err) && check_breakers(s, err);
}

static bool check_strings(const char *param, const struct str *strings, size_t count,
                          size_t count_max, struct err *err)
{
    if (count > count_max) {
        return err_set_param(err, ERR_INVALID, param, "%zu strings; at most %zu are allowed", count,
                             count_max);
    }
    for (size_t i = 0; i < count; i++) {
        if (strings[i].len == 0 || strings[i].len > ENGINE_STRING_BYTES_MAX) {
            return err_set_param(err, ERR_INVALID, param,
                                 "string %zu has %zu bytes; 1 to %d are allowed", i, strings[i].len,
                                 ENGINE_STRING_BYTES_MAX);
        }
    }
    return true;
}

bool engine_request_check(const struct engine_request *r, size_t vocab_count, uint32_t ctx_tokens,
                          struct err *err)
{
    if (r->prompt_count == 0) {
        return err_set_param(err, ERR_INVALID, "prompt", "the prompt has no tokens");
    }
    if (r->prompt_count > ctx_tokens) {
        return err_set(err, ERR_CONTEXT, "the prompt has %zu tokens; the context holds %lu",
                       r->prompt_count, (unsigned long)ctx_tokens);
    }
    for (size_t i = 0; i < r->prompt_count; i++) {
        if (r->prompt[i] < 0 || (size_t)r->prompt[i] >= vocab_count) {
            return err_set_param(err, ERR_INVALID, "prompt",
                                 "token id %ld is not in the vocabulary of %zu tokens",
                                 (long)r->prompt[i], vocab_count);
        }
    }
    if (r->top_logprobs > ENGINE_TOP_MAX) {
        return err_set_param(err, ERR_INVALID, "top_logprobs", "%lu is more than %d",
                             (unsigned long)r->top_logprobs, ENGINE_TOP_MAX);
    }
    if (r->has_max_tokens && r->min_tokens > r->max_tokens) {
        return err_set_param(err, ERR_INVALID, "min_tokens", "%lu is more than max_tokens (%lu)",
                             (unsigned long)r->min_tokens, (unsigned long)r->max_tokens);
    }
    if (r->cache_salt.len > ENGINE_SALT_BYTES_MAX) {
        return err_set_param(err, ERR_INVALID, "cache_salt", "%zu bytes; at most %d are allowed",
                             r->cache_salt.len, ENGINE_SALT_BYTES_MAX);
    }
    for (size_t i = 0; i < r->prediction_count + r->draft_count; i++) {
        const text_id id =
            i < r->prediction_count ? r->prediction[i] : r->draft[i - r->prediction_count];
        if (id < 0 || (size_t)id >= vocab_count) {
            return err_set_param(err, ERR_INVALID, "prediction",
                                 "token id %ld is not in the vocabulary of %zu tokens", (long)id,
                                 vocab_count);
        }
    }
    if (r->tenant.len > ENGINE_TENANT_BYTES_MAX || (unsigned)r->lane >= ENGINE_LANES) {
        return err_set(err, ERR_INTERNAL, "a request of no tenant or lane");
    }
    return check_strings("stop", r->stops, r->stop_count, ENGINE_STOPS_MAX, err) &&
           check_strings("banned_strings", r->banned, r->banned_count, ENGINE_BANNED_MAX, err) &&
           engine_sampling_check(&r->sampling, vocab_count, err);
}
