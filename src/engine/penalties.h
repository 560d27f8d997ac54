/* Samplers that change logits because of what was said before: bias, repetition penalties, DRY.
 * They work on the row of logits itself ([vocab_count], index = id), before there are candidates.
 *
 * The history is prompt and answer together, as in llama-server; a window of n is its last n
 * tokens. */
#ifndef ENGINE_PENALTIES_H
#define ENGINE_PENALTIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "engine/engine.h"

/* Work space shared by the sequences of one engine; between calls `counts` is all zero. */
struct engine_scratch {
    uint32_t *counts;  /* [vocab_count] */
    uint32_t *repeats; /* [ctx_tokens] */
    float *row;        /* [vocab_count] */
    size_t vocab_count, ctx_tokens;
};

/* Repetition, presence and frequency penalty over the window repeat_last_n:
 *     logit = logit > 0 ? logit / repeat : logit * repeat
 *     logit -= count * frequency + presence                 for each token that occurs */
void engine_penalize(const struct engine_sampling *sampling, float *logits, const text_id *history,
                     size_t history_count, struct engine_scratch *scratch);

/* The sequence breakers of DRY in tokens: a repetition is not counted across them. */
struct engine_breakers {
    uint64_t *is_single; /* bit per token: its text holds a whole breaker; NULL without breakers */
    struct engine_breaker {
        text_id head;     /* its text ends with the start of a breaker ... */
        text_id tail[20]; /* ... whose rest are these tokens */
        uint32_t tail_count;
    } * split; /* sorted by head */
    size_t split_count;
    size_t vocab_count; /* of the tokenizer; the model may have more (padding) */
};

enum { ENGINE_BREAKER_TAIL_MAX = 20, ENGINE_BREAKER_BYTES_MAX = 40 };

/* Looks through the vocabulary (a few milliseconds for 128K tokens and the usual breakers). Nothing
 * is done when DRY is off. Memory comes from the arena. */
bool engine_breakers_init(struct engine_breakers *breakers, const struct engine_sampling *sampling,
                          const struct text *text, struct arena *arena, struct err *err);

/* DRY ("don't repeat yourself", p-e-w, text-generation-webui pull request 5677): a token that would
 * make a repetition of length n longer, n >= allowed_length, loses
 * multiplier * base^(n - allowed_length). */
void engine_dry(const struct engine_sampling *sampling, const struct engine_breakers *breakers,
                float *logits, const text_id *history, size_t history_count,
                struct engine_scratch *scratch);

#endif
