/* The loop that owns the live state: admit, plan a step, forward, sample, tell.
 *
 *     queue   [E] [F] [G]                     admitted in order; the head waits until its pages are
 *                                             free, and nobody overtakes it
 *     step    | A | B | C | D D D D D D |     one row for each sequence that generates (more after
 *               decode      prefill           forced tokens), then prompt rows, oldest sequence
 *                                             first, up to batch_rows_max
 *
 * There are never more running sequences than rows in a step, so none waits for another. All pages
 * a sequence will ever need are promised when it is admitted: running sequences finish whatever
 * comes, so the head of the queue gets its pages after a bounded time. Without work the thread
 * sleeps on a condition variable. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/size.h"
#include "engine/state.h"

/* ---- queue ---- */

/* Takes the cancelled ones (all when the engine stops) out of the queue. Lock held. */
static struct engine_sequence *take_cancelled(struct engine *engine)
{
    struct engine_sequence *taken = NULL, **link = &engine->queue_first;
    struct engine_sequence *previous = NULL;
    if (!engine->has_cancelled && !engine->is_stopping) {
        return NULL;
    }
    engine->has_cancelled = false;
    engine->head_waits = false; /* it may be another one */
    while (*link) {
        struct engine_sequence *seq = *link;
        if (engine->is_stopping || atomic_load(&seq->stream->is_cancelled)) {
            *link = seq->next;
            seq->next = taken;
            taken = seq;
            engine->queue_count--;
        } else {
            previous = seq;
            link = &seq->next;
        }
    }
    engine->queue_last = previous;
    return taken;
}

static struct engine_sequence *peek(struct engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    struct engine_sequence *seq = engine->queue_first;
    pthread_mutex_unlock(&engine->lock);
    return seq;
}

static void take_head(struct engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    struct engine_sequence *seq = engine->queue_first;
    engine->queue_first = seq->next;
    if (!seq->next) {
        engine->queue_last = NULL;
    }
    engine->queue_count--;
    engine->stats.running = engine->running_count + 1;
    pthread_mutex_unlock(&engine->lock);
    seq->next = NULL;
}

/* Moves the head of the queue to the running ones while there is room. Nobody else takes from the
 * queue, so the lock is not held while the cache is searched. */
static uint32_t admit(struct engine *engine)
{
    uint32_t count = 0;
    while (engine->running_count < engine->params.sequences_max) {
        struct engine_sequence *seq = peek(engine);
        engine->head_waits = seq && !engine_sequence_admit(engine, seq);
        if (!seq || engine->head_waits) {
            break;
        }
        take_head(engine);
        seq->admitted_ns = clock_now_ns();
        engine->running[engine->running_count++] = seq;
        engine_histogram_add(&engine->step_stats.queue_wait,
                             (double)(seq->admitted_ns - seq->submitted_ns) / 1e9);
        count++;
    }
    return count;
}

/* Nothing can be done before something new comes. Lock held. */
static bool is_idle(const struct engine *engine)
{
    const bool may_admit = engine->queue_first && !engine->head_waits &&
                           engine->running_count < engine->params.sequences_max;
    return engine->running_count == engine->spill.loading_count && !may_admit &&
           !engine->is_stopping && !engine->has_cancelled && !engine->disk_done;
}

/* Waits for work, admits, and ends what was cancelled while it waited. False: the engine stops. */
static bool take_work(struct engine *engine, uint32_t *admitted)
{
    pthread_mutex_lock(&engine->lock);
    while (is_idle(engine)) {
        pthread_cond_wait(&engine->work, &engine->lock);
    }
    struct engine_sequence *cancelled = take_cancelled(engine);
    bool goes_on = !engine->is_stopping;
    pthread_mutex_unlock(&engine->lock);
    while (cancelled) {
        struct engine_sequence *seq = cancelled;
        cancelled = seq->next;
        engine_sequence_finish(engine, seq, ENGINE_CANCELLED, (struct str){0});
        engine_sequence_destroy(seq);
    }
    engine_spill_collect(engine);
    *admitted = goes_on ? admit(engine) : 0;
    return goes_on;
}

/* ---- running sequences ---- */

/* Takes the ended ones (NULL) off the list; the others keep their order. */
static void close_ranks(struct engine *engine)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < engine->running_count; i++) {
        if (engine->running[i]) {
            engine->running[kept++] = engine->running[i];
        }
    }
    engine->running_count = kept;
}

static void start_admitted(struct engine *engine, uint32_t count)
{
    for (uint32_t i = engine->running_count - count; i < engine->running_count; i++) {
        if (!engine_sequence_start(engine, engine->running[i])) {
            engine_sequence_destroy(engine->running[i]);
            engine->running[i] = NULL;
        }
    }
    close_ranks(engine);
}

static void end_cancelled(struct engine *engine, bool all)
{
    for (uint32_t i = 0; i < engine->running_count; i++) {
        struct engine_sequence *seq = engine->running[i];
        if (!seq->load && (all || atomic_load(&seq->stream->is_cancelled))) {
            engine_sequence_finish(engine, seq, ENGINE_CANCELLED, (struct str){0});
            engine_sequence_destroy(seq);
            engine->running[i] = NULL;
        }
    }
    close_ranks(engine);
}

/* ---- a step ---- */

/* Room that is left in the step being planned. */
struct room {
    uint32_t rows, logits; /* logits: beyond the one that every running sequence has */
};

static void plan_rows(struct engine *engine, struct engine_sequence *seq, uint32_t count,
                      struct room *room, size_t *row_count)
{
    const uint32_t index = engine->batch_count;
    uint32_t logits = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t pos = seq->kv_count + i;
        const bool wants = engine_sequence_wants(seq, pos);
        if (wants && logits > 0 && room->logits == 0) {
            count = i; /* prompt_logprobs: the rest has to wait */
            break;
        }
        room->logits -= wants && logits > 0;
        logits += wants;
        engine->rows[(*row_count)++] = (struct model_row){
            .token = seq->tokens[pos], .pos = pos, .seq = index, .wants_logits = wants};
    }
    seq->row_count = count;
    seq->logits_count = logits;
    room->rows -= count;
    engine_sequence_reach(engine, seq, seq->kv_count + count);
    engine->seqs[index] = (struct model_seq){seq->pages, seq->held_count};
    engine->batch[engine->batch_count++] = seq;
}

/* Only generated tokens are to be computed, or the last one of the prompt: one, and more where some
 * were forced. */
static bool is_generating(const struct engine_sequence *seq)
{
    return seq->kv_count + 1 >= seq->prompt_count;
}

static size_t plan_step(struct engine *engine)
{
    const struct engine_params *p = &engine->params;
    struct room room = {p->batch_rows_max, p->logits_rows_max - engine->running_count};
    size_t row_count = 0;
    engine->batch_count = 0;
    for (uint32_t i = 0; i < engine->running_count; i++) {
        struct engine_sequence *seq = engine->running[i];
        if (!seq->load && is_generating(seq)) {
            const uint32_t left = seq->token_count - seq->kv_count;
            const uint32_t others = engine->running_count - i - 1;
            plan_rows(engine, seq, left < room.rows - others ? left : room.rows - others, &room,
                      &row_count);
        }
    }
    for (uint32_t i = 0; i < engine->running_count && room.rows > 0; i++) {
        struct engine_sequence *seq = engine->running[i];
        if (!seq->load && !is_generating(seq)) {
            engine_sequence_catch_up(engine, seq);
            const uint32_t left = seq->token_count - seq->kv_count;
            uint32_t count = left < p->prefill_chunk ? left : p->prefill_chunk;
            plan_rows(engine, seq, count < room.rows ? count : room.rows, &room, &row_count);
        }
    }
    return row_count;
}

static void use_logits(struct engine *engine)
{
    float *logits = engine->logits;
    for (uint32_t b = 0; b < engine->batch_count; b++) {
        struct engine_sequence *seq = engine->batch[b];
        float *mine = logits;
        logits += (size_t)seq->logits_count * engine->vocab_count;
        if (engine_sequence_advance(engine, seq, mine)) {
            continue;
        }
        for (uint32_t i = 0; i < engine->running_count; i++) {
            if (engine->running[i] == seq) {
                engine->running[i] = NULL;
            }
        }
        engine_sequence_destroy(seq);
    }
    close_ranks(engine);
}

static void run_step(struct engine *engine)
{
    struct model_batch batch = {.rows = engine->rows, .seqs = engine->seqs};
    batch.row_count = plan_step(engine);
    batch.seq_count = engine->batch_count;
    mem_guard_begin();
    model_forward(engine->params.model, &batch, engine->logits);
    mem_guard_end();
    engine->step_stats.steps++;
    use_logits(engine);
}

void *engine_worker(void *arg)
{
    struct engine *engine = arg;
    uint32_t admitted;
    while (take_work(engine, &admitted)) {
        start_admitted(engine, admitted);
        end_cancelled(engine, false);
        if (engine->running_count > engine->spill.loading_count) {
            run_step(engine);
        }
        engine_spill_feed(engine);
        engine_stats_add(engine);
    }
    engine_spill_wait_loads(engine);
    end_cancelled(engine, true);
    engine_spill_flush(engine);
    engine_stats_add(engine);
    return NULL;
}
