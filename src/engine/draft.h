/* Speculation: tokens that a sequence will perhaps say next, whose rows are computed along with the
 * one that is due. See draft.c. Owned by the worker. */
#ifndef ENGINE_DRAFT_H
#define ENGINE_DRAFT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "text/text.h"

struct engine;
struct engine_sequence;

/* What is known of a sequence's drafts. */
struct engine_drafter {
    float hit_share;                  /* moving mean: the next draft token is the one that comes */
    uint32_t accepted, wasted;        /* draft tokens, ever */
    uint32_t probed_at;               /* generated tokens when it last tried in spite of the odds */
    text_id tokens[ENGINE_DRAFT_MAX]; /* [count] of this step */
    uint32_t count;
};

/* What a further row costs a step in which sequences generate. */
struct engine_row_cost {
    double step_ns;   /* moving mean of steps without drafts, per generating sequence count */
    double row_share; /* of it, that a draft's row adds */
    uint32_t rows;    /* rows of the steps in step_ns */
};

void engine_drafter_init(struct engine_drafter *drafter);

/* Fills seq->drafter.tokens with at most `most`. */
void engine_draft(struct engine *engine, struct engine_sequence *seq, uint32_t most);

/* Of the step's drafts so many came true. */
void engine_draft_learn(struct engine *engine, struct engine_sequence *seq, uint32_t accepted);

/* A step of `rows` rows of generating sequences, `drafts` of them drafts, took ns. */
void engine_row_cost_note(struct engine_row_cost *cost, uint32_t rows, uint32_t drafts, int64_t ns);

#endif
