#include "engine/sampler.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/random.h"
#include "engine/truncate.h"

/* Far outside what a model gives, far inside what penalties and temperatures can scale. */
static const float logit_max = 1e30f;

bool engine_sampler_init(struct engine_sampler *sampler, const struct engine_sampling *params,
                         const struct text *text, struct arena *arena, struct err *err)
{
    *sampler = (struct engine_sampler){.params = params, .mu = 2 * params->mirostat_tau};
    return engine_breakers_init(&sampler->breakers, params, text, arena, err);
}

bool engine_logits_clean(float *logits, size_t count)
{
    bool has_finite = false;
    for (size_t i = 0; i < count; i++) {
        has_finite |= isfinite(logits[i]) != 0;
        if (!(logits[i] <= logit_max)) {
            logits[i] = logits[i] > logit_max ? logit_max : -INFINITY;
        } else if (logits[i] < -logit_max && logits[i] != -INFINITY) {
            logits[i] = -logit_max;
        }
    }
    return has_finite;
}

/* ---- log probabilities ---- */

void engine_logprobs(const float *logits, size_t vocab_count, text_id chosen, uint32_t top_count,
                     struct engine_token *token)
{
    float max = -INFINITY;
    for (size_t i = 0; i < vocab_count; i++) {
        max = logits[i] > max ? logits[i] : max;
    }
    double sum = 0;
    uint32_t count = 0;
    struct engine_logprob *top = token->top;
    for (size_t i = 0; i < vocab_count; i++) {
        float distance = logits[i] - max;
        if (!(distance > -104.0f)) { /* also NaN: -inf minus -inf */
            if (logits[i] == -INFINITY || max == -INFINITY) {
                continue;
            }
        } else {
            sum += exp((double)distance);
        }
        if (top_count == 0 || (count == top_count && logits[i] <= top[count - 1].logprob)) {
            continue;
        }
        /* Insertion; a later id among equals stays behind. logprob holds the logit so far. */
        uint32_t at = count < top_count ? count++ : count - 1;
        for (; at > 0 && top[at - 1].logprob < logits[i]; at--) {
            top[at] = top[at - 1];
        }
        top[at] = (struct engine_logprob){(text_id)i, logits[i]};
    }
    const double shift = (double)max + log(sum);
    for (uint32_t i = 0; i < count; i++) {
        top[i].logprob = (float)((double)top[i].logprob - shift);
    }
    token->top_count = count;
    token->chosen = (struct engine_logprob){chosen, (float)((double)logits[chosen] - shift)};
}

/* ---- the chain ---- */

static void keep_only_best(struct engine_candidates *c)
{
    size_t best = 0;
    for (size_t i = 1; i < c->count; i++) {
        if (c->items[i].logit > c->items[best].logit ||
            (c->items[i].logit == c->items[best].logit && c->items[i].id < c->items[best].id)) {
            best = i;
        }
    }
    c->items[0] = c->items[best];
    c->count = 1;
    c->is_sorted = true;
}

void engine_temperature(const struct engine_sampling *params, struct engine_candidates *c)
{
    float temperature = params->temperature;
    if (params->dynatemp_range > 0 && c->count > 1) {
        const float low = fmaxf(0, params->temperature - params->dynatemp_range);
        const float high = params->temperature + params->dynatemp_range;
        engine_candidates_softmax(c);
        double share = engine_candidates_entropy(c) / log((double)c->count);
        share = share > 1 ? 1 : share; /* rounding */
        temperature = low + (high - low) * powf((float)share, params->dynatemp_exponent);
    }
    if (temperature <= 0) {
        keep_only_best(c);
        return;
    }
    /* Relative to the best, so that a tiny temperature cannot overflow. */
    const float max = engine_candidates_max(c);
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].logit != -INFINITY) {
            c->items[i].logit = (c->items[i].logit - max) / temperature;
        }
    }
}

void engine_sampler_narrow(const struct engine_sampler *sampler, double chance,
                           struct engine_candidates *c)
{
    const struct engine_sampling *p = sampler->params;
    const size_t min_keep = p->min_keep ? p->min_keep : 1;
    engine_top_n_sigma(c, p->top_n_sigma);
    engine_top_k(c, p->top_k);
    engine_typical(c, p->typical_p, min_keep);
    engine_top_p(c, p->top_p, min_keep);
    engine_min_p(c, p->min_p, min_keep);
    if (p->xtc_probability > 0 && chance <= (double)p->xtc_probability) {
        engine_xtc(c, p->xtc_threshold, min_keep);
    }
    engine_temperature(p, c);
    engine_candidates_softmax(c);
}

void engine_mirostat_narrow(const struct engine_sampler *sampler, struct engine_candidates *c)
{
    engine_temperature(sampler->params, c);
    engine_candidates_softmax(c);
    size_t kept = 0, best = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].logit > c->items[best].logit) {
            best = i;
        }
    }
    struct engine_candidate best_item = c->items[best];
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].p > 0 && -log2f(c->items[i].p) <= sampler->mu) {
            c->items[kept++] = c->items[i];
        }
    }
    if (kept == 0) {
        c->items[kept++] = best_item;
    }
    c->count = kept;
    engine_candidates_softmax(c);
}

void engine_mirostat_update(struct engine_sampler *sampler, float chosen_p)
{
    const struct engine_sampling *p = sampler->params;
    float error = -log2f(chosen_p) - p->mirostat_tau;
    sampler->mu -= p->mirostat_eta * error;
}

/* Index of the candidate at which the running mass passes u; masked ones have no mass. */
static size_t draw(const struct engine_candidates *c, double u)
{
    double sum = 0, run = 0;
    size_t last = 0;
    for (size_t i = 0; i < c->count; i++) {
        sum += (double)c->items[i].p;
    }
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].p > 0) {
            run += (double)c->items[i].p;
            last = i;
            if (run > u * sum) {
                break;
            }
        }
    }
    return last;
}

static void keep_allowed(float *logits, size_t count, const struct engine_bans *bans)
{
    for (size_t first = 0; first < count; first += 32) {
        const uint32_t word = first < bans->allowed_count ? bans->allowed[first / 32] : 0;
        const size_t here = count - first < 32 ? count - first : 32;
        for (size_t i = 0; word != UINT32_MAX && i < here; i++) {
            if (!(word >> i & 1)) {
                logits[first + i] = -INFINITY;
            }
        }
    }
}

static void apply_bans(float *logits, size_t vocab_count, const struct engine_bans *bans)
{
    for (size_t set = 0; set < 2; set++) {
        const size_t count =
            bans->bit_count[set] < vocab_count ? bans->bit_count[set] : vocab_count;
        for (size_t word = 0; bans->bits[set] && word * 64 < count; word++) {
            for (uint64_t left = bans->bits[set][word]; left; left &= left - 1) {
                size_t id = word * 64 + (size_t)__builtin_ctzll(left);
                if (id < count) {
                    logits[id] = -INFINITY;
                }
            }
        }
    }
    for (size_t i = 0; i < bans->id_count; i++) {
        logits[bans->ids[i]] = -INFINITY;
    }
    if (bans->allowed) {
        keep_allowed(logits, vocab_count, bans);
    }
}

/* True when the best logit is the choice whatever the truncation: it is never taken away. */
static bool is_greedy(const struct engine_sampling *p)
{
    bool keeps_best = p->typical_p >= 1 && (p->xtc_probability <= 0 || p->xtc_threshold > 0.5f);
    return p->temperature <= 0 && p->dynatemp_range <= 0 && (keeps_best || p->mirostat);
}

static text_id find_best(const float *logits, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (logits[i] > logits[best]) {
            best = i;
        }
    }
    return (text_id)best;
}

static text_id choose(struct engine_sampler *sampler, const float *row, uint64_t number,
                      struct engine_candidates *candidates, const struct engine_scratch *scratch)
{
    const struct engine_sampling *p = sampler->params;
    engine_candidates_fill(candidates, row, scratch->vocab_count);
    if (p->mirostat) {
        engine_mirostat_narrow(sampler, candidates);
    } else {
        double chance = engine_random(p->seed, number, ENGINE_DRAW_XTC);
        engine_sampler_narrow(sampler, chance, candidates);
    }
    size_t chosen = draw(candidates, engine_random(p->seed, number, ENGINE_DRAW_TOKEN));
    if (p->mirostat) {
        engine_mirostat_update(sampler, candidates->items[chosen].p);
    }
    return candidates->items[chosen].id;
}

static void add_biases(const struct engine_sampling *p, float *logits)
{
    for (size_t i = 0; i < p->bias_count; i++) {
        logits[p->biases[i].id] += p->biases[i].bias;
    }
}

bool engine_sample_forced(const struct engine_sampler *sampler, float *logits, text_id id,
                          uint32_t top_count, size_t vocab_count, struct engine_token *token)
{
    if (!engine_logits_clean(logits, vocab_count)) {
        return false;
    }
    add_biases(sampler->params, logits);
    engine_logprobs(logits, vocab_count, id, top_count, token);
    return true;
}

enum engine_sample engine_sample(struct engine_sampler *sampler, float *logits,
                                 const struct engine_bans *bans, const text_id *history,
                                 size_t history_count, uint32_t top_count,
                                 struct engine_candidates *candidates,
                                 struct engine_scratch *scratch, text_id *id,
                                 struct engine_token *token)
{
    const struct engine_sampling *p = sampler->params;
    const size_t vocab_count = scratch->vocab_count;
    const uint64_t number = sampler->draws++;
    if (!engine_logits_clean(logits, vocab_count)) {
        return ENGINE_SAMPLE_NOT_FINITE;
    }
    add_biases(p, logits);
    apply_bans(logits, vocab_count, bans);
    if (logits[find_best(logits, vocab_count)] == -INFINITY) {
        return ENGINE_SAMPLE_NONE_LEFT;
    }
    float *row = logits;
    if (token) { /* log probabilities are of the row before the penalties */
        memcpy(scratch->row, logits, vocab_count * sizeof *logits);
        row = scratch->row;
    }
    engine_penalize(p, row, history, history_count, scratch);
    engine_dry(p, &sampler->breakers, row, history, history_count, scratch);
    *id = is_greedy(p) ? find_best(row, vocab_count)
                       : choose(sampler, row, number, candidates, scratch);
    if (token) {
        engine_logprobs(logits, vocab_count, *id, top_count, token);
    }
    return ENGINE_SAMPLED;
}
