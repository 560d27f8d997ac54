/* What leads a sequence beside its samplers: a grammar that says which tokens may come, and a
 * budget of tokens for reasoning.
 *
 *     sampled    t0 ---------> t3 ...        the mask leaves a choice
 *     forced        -> t1 -> t2              the grammar knows the bytes: no draw, and the rows of
 * all forced tokens are computed in one step closed     ... budget -> </think> ...  the tokens of
 * the closing marker, whatever was likely
 *
 * Forced bytes become the tokens that the tokenizer would choose, without the last one, which may
 * join with what follows. The mask is computed when it is first needed, after the forward pass of
 * its row or beside it. Memory of a run grows with its text, so none of this is done under the
 * guard of the decode loop. */
#ifndef ENGINE_GUIDE_H
#define ENGINE_GUIDE_H

#include "constrain/constrain.h"
#include "engine/engine.h"
#include "engine/match.h"
#include "engine/point.h"

struct engine_guide {
    const struct text *text;
    struct constrain_run *run; /* NULL: no grammar */
    uint32_t *bits;            /* its mask, once is_masked */
    size_t allowed;            /* tokens of the mask */
    bool is_masked;

    struct engine_matcher marks; /* 0: opens, 1: closes */
    const text_id *close_ids;    /* in the stream's arena */
    size_t close_count;
    bool tracks, has_budget, is_inside;
    uint32_t budget, thought; /* thought: tokens of reasoning so far, closing marker included */

    struct text_ids queue; /* tokens that come next without a draw */
    size_t queue_at;
    bool failed; /* out of memory */
};

/* Copies what it needs of the request; `vocab` is used only with a grammar and must outlive the
 * guide. */
bool engine_guide_init(struct engine_guide *guide, const struct engine_request *request,
                       const struct text *text, const struct constrain_vocab *vocab,
                       struct arena *arena, struct err *err);
void engine_guide_deinit(struct engine_guide *guide);

/* Where the guide is, for a step back. */
void engine_guide_save(const struct engine_guide *guide, struct engine_point *point);
void engine_guide_restore(struct engine_guide *guide, const struct engine_point *point);

/* Computes the mask of the next token unless that was done. May run in another thread than what
 * else is called for the guide, not at the same time. */
void engine_guide_mask(struct engine_guide *guide);

/* The token that comes next without a draw, or TEXT_NONE. It stays until it is accepted. */
text_id engine_guide_forced(struct engine_guide *guide);

/* Goes on by a token that the mask allowed, or a forced one. False: the grammar refuses it. */
bool engine_guide_accept(struct engine_guide *guide, text_id id);

/* The grammar's text is complete and nothing can follow. */
bool engine_guide_must_end(const struct engine_guide *guide);

#endif
