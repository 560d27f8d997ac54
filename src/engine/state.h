/* What the engine's files share. Everything in struct engine belongs to the worker except what
 * stands behind `lock`. */
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H

#include <pthread.h>

#include "engine/cache.h"
#include "engine/disk.h"
#include "engine/draft.h"
#include "engine/engine.h"
#include "engine/guide.h"
#include "engine/lanes.h"
#include "engine/output.h"
#include "engine/pace.h"
#include "engine/sampler.h"
#include "engine/spill.h"
#include "engine/states.h"
#include "engine/stream.h"

/* One request on its way from the queue to its last event. Owned by the queue, then by the worker.
 *
 *     tokens   | prompt ............ | generated ... |
 *              0        kv_count          token_count          <= token_max
 *              in the pages  ^  rows still to be computed
 *
 * token_count - kv_count is 1 while it generates, more while the prompt is read or when tokens were
 * forced, and 1 again after a step back: the row before the place is computed once more, with the
 * same bits. A step back goes to the last prompt token at most, so pages that end before it never
 * change once they are full: they are published then, the rest when the sequence ends.
 *
 * A sequence that is paused has no pages and kv_count 0; what it generated is read again like a
 * prompt, from the cache where that still has it. */
struct engine_sequence {
    struct engine_stream *stream; /* holds a reference; owns the arena of what follows */
    struct engine_request request;
    struct engine_sampler sampler;
    struct engine_guide guide;
    struct engine_drafter drafter;
    struct engine_output output;
    text_id *tokens; /* [token_max] from admission on, [prompt_count] before */
    uint32_t prompt_count, token_count, token_max, kv_count;
    uint32_t read_to; /* it reads below, and generates behind: prompt_count, more after a pause */
    uint32_t *pages;  /* room for token_max; positions [64 i, 64 i + 64) */
    uint32_t page_count; /* held or promised */
    uint32_t held_count; /* of them that it has */
    uint32_t published;  /* of those that were given to the index, or came from it */
    uint32_t cached_tokens;
    /* Of a model with states: `state` stands at kv_count. When the text is taken back it is a copy
     * of `base`, which stands at base_count (0: empty), and the rows from there on are computed
     * again; the keys and values of positions below ready_count are there nevertheless. */
    uint32_t state, base, base_count, ready_count;
    uint32_t branch_count;    /* where the prompt left what the cache knew */
    struct engine_load *load; /* pages are being read from disk; not planned meanwhile */
    struct engine_salt salt;
    bool is_adapted; /* some scale of the request, where they stand, is not 0 */
    struct engine_near_miss near_miss;

    struct engine_tenant *tenant; /* while it waits or runs */
    uint32_t turn_tokens;         /* computed since it was admitted last */
    bool is_stuck;                /* no page for its next row, and nobody to pause */

    /* this step */
    uint32_t row_count, logits_count; /* with those of its drafts */

    uint32_t prompt_told; /* prompt_logprobs: tokens told so far */
    bool has_room;        /* `tokens` has its full length */
    bool has_end_token;   /* an end token was drawn; it is counted but not in `tokens` */
    int64_t submitted_ns, admitted_ns, first_token_ns, last_token_ns; /* admitted: at first */
    int64_t queue_told_ns;                                            /* ENGINE_EVENT_QUEUED */
    struct engine_sequence *next;                                     /* in its tenant's line */
    struct engine_sequence *next_taken; /* out of the lanes, to be ended */
};

struct engine {
    struct engine_params params; /* every 0 replaced */
    struct engine_adapter adapters[MODEL_ADAPTERS_MAX];
    uint32_t vocab_count, ctx_tokens;
    uint8_t *memory;    /* holds the arrays below */
    uint64_t *end_bits; /* bit per token at which generation ends */
    pthread_t worker;
    bool is_started;

    /* worker */
    struct engine_sequence **running; /* [sequences_max], oldest first */
    struct engine_sequence **batch;   /* [sequences_max], those of this step in row order */
    struct engine_sequence **readers; /* [sequences_max], with prompt rows, by turn */
    uint32_t running_count, batch_count, reader_count;
    uint32_t decode_rows, draft_rows; /* of this step; drafts are among the first */
    struct engine_cache cache;
    struct engine_states states;
    struct engine_spill spill;
    struct engine_pace pace;
    struct engine_row_cost row_cost;
    bool head_waits;        /* whose turn it is found too few pages */
    bool is_stuck;          /* no running sequence can go on before a page comes back */
    struct model_row *rows; /* [batch_rows_max] */
    struct model_seq *seqs; /* [sequences_max] */
    float *logits;          /* [logits_rows_max, vocab_count] */
    struct engine_candidates candidates;
    struct engine_scratch scratch;
    struct engine_stats step_stats; /* counters since the last engine_stats_add */

    pthread_mutex_t lock; /* guards what follows; never held with the lock of a stream inside */
    pthread_cond_t work;
    struct engine_lanes lanes;
    double service_s; /* moving mean from admission to end; 0: unknown */
    bool is_stopping, has_cancelled;
    struct engine_disk_job *disk_done; /* what the disk has finished */
    struct engine_stats stats;
    float scales[MODEL_ADAPTERS_MAX]; /* of requests that do not say */

    pthread_mutex_t vocab_lock;    /* guards vocab; taken alone */
    struct constrain_vocab *vocab; /* made for the first grammar */
};

/* ---- params.c ---- */

bool engine_request_check(const struct engine_request *request, size_t vocab_count,
                          uint32_t ctx_tokens, struct err *err);

/* ---- adapters.c ---- */

bool engine_adapters_check(const struct engine *engine, const struct engine_request *request,
                           struct err *err);

/* The scales of a sequence whose salt is that of its request, and what they make of the salt;
 * false: no memory. */
bool engine_adapters_settle(struct engine *engine, struct engine_sequence *seq);

/* ---- engine.c ---- */

/* The vocabulary as masks need it; NULL: no memory. From any thread. */
const struct constrain_vocab *engine_vocab(struct engine *engine, struct err *err);

/* Tells the worker that a stream was cancelled. */
void engine_wake(struct engine *engine);

/* About when one that has so many before it will be served; 0: unknown. Lock held. */
uint32_t engine_eta_s(const struct engine *engine, uint32_t ahead);

/* ---- sequence.c ---- */

/* Copies the request; the prompt must have been checked. */
struct engine_sequence *engine_sequence_create(struct engine *engine,
                                               const struct engine_request *request,
                                               void (*notify)(void *arg), void *notify_arg,
                                               struct err *err);

/* Frees all but the reader's half of the stream. Pages must have been given back. */
void engine_sequence_destroy(struct engine_sequence *seq);

/* Tokens that its pages must hold. */
uint32_t engine_sequence_tokens_max(const struct engine *engine,
                                    const struct engine_request *request);

/* The end of a sequence: last event, log line, counters. Its pages are given back; the caller takes
 * it off its list and destroys it. */
void engine_sequence_finish(struct engine *engine, struct engine_sequence *seq,
                            enum engine_finish finish, struct str stop_hit);
void engine_sequence_fail(struct engine *engine, struct engine_sequence *seq,
                          const struct err *error);

/* Takes the cached beginning and a promise of the pages up to its next token; false: not yet. */
bool engine_sequence_admit(struct engine *engine, struct engine_sequence *seq);

/* A promise of pages for its positions below `end`; false when there are none. */
bool engine_sequence_grow(struct engine *engine, struct engine_sequence *seq, uint32_t end);

/* Gives all pages back, so that it can be admitted again. */
void engine_sequence_pause(struct engine *engine, struct engine_sequence *seq);

/* Takes what others have computed since, when the next row begins a page. */
void engine_sequence_catch_up(struct engine *engine, struct engine_sequence *seq);

/* The disk gave `pages` pages behind those it had; `state` (or NONE), which becomes its own, stands
 * behind position `state_count`. */
void engine_sequence_loaded(struct engine *engine, struct engine_sequence *seq, uint32_t pages,
                            uint32_t state, uint32_t state_count);

/* Pages for its positions below `end`, which were promised. */
void engine_sequence_reach(struct engine *engine, struct engine_sequence *seq, uint32_t end);

/* Room for the answer, when it is admitted at first. False: it has failed (engine_sequence_fail was
 * called). */
bool engine_sequence_start(struct engine *engine, struct engine_sequence *seq);

/* Pages at its beginning that may be other sequences' as well. */
uint32_t engine_sequence_takeable(const struct engine_sequence *seq);

/* True when the logits of the row at `pos` are needed. */
bool engine_sequence_wants(const struct engine_sequence *seq, uint32_t pos);

/* Uses the logits of this step ([seq->logits_count, vocab_count]). False: the sequence has ended
 * (finish or fail was called). */
bool engine_sequence_advance(struct engine *engine, struct engine_sequence *seq, float *logits);

/* Pages of the prompt that can be shared while it runs. */
uint32_t engine_sequence_shareable(const struct engine_sequence *seq);

/* ---- sequence_state.c ---- */

/* Rows up to the next border where a copy of the state is wanted, at most `count`. */
uint32_t engine_sequence_stride(const struct engine *engine, const struct engine_sequence *seq,
                                uint32_t count);

/* Copies the state when it stands at a border of pages. */
void engine_sequence_save_state(struct engine *engine, struct engine_sequence *seq);

/* kv_count as far as the held pages, which are filled, allow. */
void engine_sequence_resume(struct engine *engine, struct engine_sequence *seq);

/* Goes back to where `count` rows are computed, or as far before that as the state allows. */
void engine_sequence_rewind(struct engine *engine, struct engine_sequence *seq, uint32_t count);

/* When it gives its pages back: nothing is computed any more. */
void engine_sequence_drop_states(struct engine *engine, struct engine_sequence *seq, bool keep);

/* ---- share.c ---- */

/* True when one of the batch reads in this step what this one would read too. */
bool engine_sequence_follows(const struct engine *engine, const struct engine_sequence *seq);

/* Takes what others have computed for the same tokens: full pages from the cache, and copies of
 * pages that have begun. */
void engine_sequence_take_common(struct engine *engine, struct engine_sequence *seq);

/* ---- worker.c ---- */

void *engine_worker(void *engine);

/* ---- stats.c ---- */

void engine_histogram_add(struct engine_histogram *histogram, double seconds);

/* Adds the counters of a step to the engine's figures and clears them. */
void engine_stats_add(struct engine *engine);

#endif
