/* From a row of logits to a token: the chain of samplers in llama.cpp's default order
 *
 *     bias and bans -> [logprobs] -> penalties -> DRY -> top_n_sigma -> top_k -> typical -> top_p
 *     -> min_p -> xtc -> temperature -> draw
 *
 * with mirostat v2 in place of truncation (arXiv 2007.14966). Candidates and probabilities are
 * llama.cpp's; the draw is ours: inverse transform with the counter-based numbers of random.h, so a
 * seed does not give llama.cpp's text but gives the same text here always.
 *
 * Weights may hold NaN: such logits count as -infinity and infinite ones as 1e30; a row without a
 * finite value is an error, never a crash. */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include "base/arena.h"
#include "engine/candidates.h"
#include "engine/engine.h"
#include "engine/penalties.h"

/* State of one sequence. */
struct engine_sampler {
    const struct engine_sampling *params; /* borrowed */
    struct engine_breakers breakers;
    float mu;       /* mirostat */
    uint64_t draws; /* tokens drawn so far, resampled ones included */
};

/* Tokens that may not be chosen here: any number of bit sets and lists, all may be NULL. */
struct engine_bans {
    const uint64_t *bits[2]; /* bit per token, for the first bit_count[i] tokens */
    size_t bit_count[2];
    const text_id *ids;
    size_t id_count;
    const uint32_t *allowed; /* bit per token, for the first allowed_count: all others are banned */
    size_t allowed_count;
};

bool engine_sampler_init(struct engine_sampler *sampler, const struct engine_sampling *params,
                         const struct text *text, struct arena *arena, struct err *err);

enum engine_sample {
    ENGINE_SAMPLED,
    ENGINE_SAMPLE_NOT_FINITE, /* the model gave no finite logit */
    ENGINE_SAMPLE_NONE_LEFT   /* biases and bans leave nothing */
};

/* Chooses. logits ([scratch->vocab_count]) is changed. `candidates` has room for the vocabulary.
 * token (may be NULL) receives log probabilities with top_count entries (fewer when fewer have a
 * probability). */
enum engine_sample engine_sample(struct engine_sampler *sampler, float *logits,
                                 const struct engine_bans *bans, const text_id *history,
                                 size_t history_count, uint32_t top_count,
                                 struct engine_candidates *candidates,
                                 struct engine_scratch *scratch, text_id *id,
                                 struct engine_token *token);

/* Takes `id` without a draw: biases and log probabilities as above. False: NOT_FINITE. */
bool engine_sample_forced(const struct engine_sampler *sampler, float *logits, text_id id,
                          uint32_t top_count, size_t vocab_count, struct engine_token *token);

/* Log probabilities of `chosen` and of the top_count best under softmax(logits). */
void engine_logprobs(const float *logits, size_t vocab_count, text_id chosen, uint32_t top_count,
                     struct engine_token *token);

/* Replaces NaN and infinities; false when nothing finite is there. */
bool engine_logits_clean(float *logits, size_t count);

/* Candidates and probabilities (p) of the chain behind the penalties, without the draw; for tests
 * and for engine_sample. `chance` is the number XTC compares with its probability. */
void engine_sampler_narrow(const struct engine_sampler *sampler, double chance,
                           struct engine_candidates *c);

/* Mirostat v2: truncation by surprise, then, with the chosen candidate, the update of mu. */
void engine_mirostat_narrow(const struct engine_sampler *sampler, struct engine_candidates *c);
void engine_mirostat_update(struct engine_sampler *sampler, float chosen_p);

/* Temperature with its dynamic range; 0 keeps the best alone. */
void engine_temperature(const struct engine_sampling *params, struct engine_candidates *c);

#endif
