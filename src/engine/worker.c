/* The loop that owns the live state: admit, plan a step, forward, sample, tell.
 *
 *     lanes   [E] [F] [G]                     admitted by turn (lanes.c); the one whose turn it is
 *                                             waits until its pages are free, nobody overtakes it
 *     step    | A | B | C | D D D D D D |     one row for each sequence that generates (more after
 *               decode      prefill           forced tokens), then prompt
 *                                             rows by turn, up to batch_rows_max, and fewer while
 *                                             somebody listens (pace.c)
 *
 * There are never more running sequences than rows in a step, so none waits for another. A sequence
 * grows by pages; when there is none, the last one by lane and arrival is paused, and so is one of
 * a later lane when one of an earlier waits for its place. What is paused gives its pages to the
 * cache and comes back by its turn. Without work the thread sleeps on a condition variable. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/size.h"
#include "engine/state.h"

/* Computed before somebody may be paused for another: what a pause costs at most, again and again,
 * is to read the end of a page. */
enum { TURN_TOKENS = 64 };

/* ---- those that wait ---- */

struct taken {
    struct engine *engine;
    struct engine_sequence *first; /* linked by `next_taken` */
};

static void take_if_cancelled(void *arg, struct engine_sequence *seq)
{
    struct taken *taken = arg;
    if (taken->engine->is_stopping || atomic_load(&seq->stream->is_cancelled)) {
        seq->next_taken = taken->first;
        taken->first = seq;
    }
}

/* Takes the cancelled ones (all when the engine stops) out of the lanes. Lock held. */
static struct engine_sequence *take_cancelled(struct engine *engine)
{
    struct taken taken = {.engine = engine};
    if (!engine->has_cancelled && !engine->is_stopping) {
        return NULL;
    }
    engine->has_cancelled = false;
    engine->head_waits = false; /* it may be another one */
    engine_lanes_each(&engine->lanes, take_if_cancelled, &taken);
    for (struct engine_sequence *seq = taken.first; seq; seq = seq->next_taken) {
        engine_lanes_remove(&engine->lanes, seq);
    }
    return taken.first;
}

static struct engine_sequence *peek(struct engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    struct engine_sequence *seq = engine_lanes_next(&engine->lanes);
    pthread_mutex_unlock(&engine->lock);
    return seq;
}

/* ---- pausing ---- */

/* Takes a running sequence off the list, to wait again; the others keep their order. */
static void pause_running(struct engine *engine, struct engine_sequence *seq)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < engine->running_count; i++) {
        if (engine->running[i] != seq) {
            engine->running[kept++] = engine->running[i];
        }
    }
    engine->running_count = kept;
    engine_sequence_pause(engine, seq);
    log_write(LOG_DEBUG, "generation paused",
              LOG_FIELDS(LOG_S("request", seq->request.id), LOG_I("tokens", seq->token_count)));
    pthread_mutex_lock(&engine->lock);
    engine_lanes_return(&engine->lanes, seq);
    pthread_mutex_unlock(&engine->lock);
}

/* A running one that has to make room for one that waits: of a later lane, or of a tenant that has
 * two more, when that was served more and has had its turn. Lock held. */
static bool must_yield(const struct engine *engine, const struct engine_sequence *running,
                       const struct engine_sequence *waiting)
{
    const struct engine_tenant *has = running->tenant, *wants = waiting->tenant;
    const bool is_behind =
        has->lane > wants->lane || (has->lane == wants->lane && has->running >= wants->running + 2);
    return is_behind && !running->load && running->turn_tokens >= TURN_TOKENS &&
           engine_lanes_before(&engine->lanes, wants, has);
}

/* The one that came last in the last lane among those that must yield. */
static struct engine_sequence *find_yielding(struct engine *engine,
                                             const struct engine_sequence *waiting)
{
    struct engine_sequence *found = NULL;
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = engine->running_count; i-- > 0;) {
        struct engine_sequence *seq = engine->running[i];
        if (must_yield(engine, seq, waiting) &&
            (!found || seq->tenant->lane > found->tenant->lane)) {
            found = seq;
        }
    }
    pthread_mutex_unlock(&engine->lock);
    return found;
}

/* ---- admission ---- */

/* A place and pages for the one whose turn it is, at others' cost if it must be. */
static bool make_place(struct engine *engine, struct engine_sequence *seq)
{
    for (;;) {
        if (engine->running_count < engine->params.sequences_max &&
            engine_sequence_admit(engine, seq)) {
            return true;
        }
        struct engine_sequence *yielding = find_yielding(engine, seq);
        if (!yielding) {
            return false;
        }
        pause_running(engine, yielding);
    }
}

static void start_running(struct engine *engine, struct engine_sequence *seq)
{
    pthread_mutex_lock(&engine->lock);
    engine_lanes_take(&engine->lanes, seq);
    engine->stats.running = engine->running_count + 1;
    pthread_mutex_unlock(&engine->lock);
    seq->turn_tokens = 0;
    if (seq->admitted_ns == 0) {
        seq->admitted_ns = clock_now_ns();
        engine_histogram_add(&engine->step_stats.queue_wait,
                             (double)(seq->admitted_ns - seq->submitted_ns) / 1e9);
    }
    engine->running[engine->running_count++] = seq;
}

/* Admits while there is room, in the order of the lanes; nobody overtakes. Nobody else takes from
 * the lanes, so the lock is not held while the cache is searched. */
static void admit(struct engine *engine)
{
    for (;;) {
        struct engine_sequence *seq = peek(engine);
        engine->head_waits = seq && !make_place(engine, seq);
        if (!seq || engine->head_waits) {
            break;
        }
        start_running(engine, seq);
    }
}

/* Nothing can be done before something new comes. Lock held. */
static bool is_idle(const struct engine *engine)
{
    const bool may_admit = engine->lanes.waiting > 0 && !engine->head_waits &&
                           engine->running_count < engine->params.sequences_max;
    const bool may_run = engine->running_count > engine->spill.loading_count && !engine->is_stuck;
    return !may_run && !may_admit && !engine->is_stopping && !engine->has_cancelled &&
           !engine->disk_done;
}

/* Waits for work, admits, and ends what was cancelled while it waited. False: the engine stops. */
static bool take_work(struct engine *engine)
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
        cancelled = seq->next_taken;
        engine_sequence_finish(engine, seq, ENGINE_CANCELLED, (struct str){0});
        engine_sequence_destroy(seq);
    }
    engine_spill_collect(engine);
    if (goes_on) {
        admit(engine);
    }
    return goes_on;
}

/* ---- telling those that wait ---- */

enum { TOLD_AT_ONCE = 64 };

struct beat {
    struct engine *engine;
    int64_t now;
    uint32_t count;
    struct told {
        struct engine_sequence *seq;
        uint32_t ahead, eta_s;
    } told[TOLD_AT_ONCE];
};

static void note_place(void *arg, struct engine_sequence *seq)
{
    struct beat *beat = arg;
    const int64_t due_ns = seq->queue_told_ns
                               ? seq->queue_told_ns + ENGINE_BEAT_MS * 1000000ll
                               : seq->submitted_ns + ENGINE_BEAT_FIRST_MS * 1000000ll;
    const bool is_due = beat->now >= due_ns;
    if (seq->request.wants_place && is_due && seq->token_count == seq->prompt_count &&
        beat->count < TOLD_AT_ONCE) {
        const uint32_t ahead = engine_lanes_ahead(&beat->engine->lanes, seq);
        beat->told[beat->count++] = (struct told){seq, ahead, engine_eta_s(beat->engine, ahead)};
    }
}

/* The worker alone takes from the lanes, so what was noted is still there without the lock. */
static void tell_places(struct engine *engine)
{
    struct beat beat = {.engine = engine, .now = clock_now_ns()};
    pthread_mutex_lock(&engine->lock);
    engine_lanes_each(&engine->lanes, note_place, &beat);
    pthread_mutex_unlock(&engine->lock);
    for (uint32_t i = 0; i < beat.count; i++) {
        beat.told[i].seq->queue_told_ns = beat.now;
        engine_stream_place(beat.told[i].seq->stream, beat.told[i].ahead, beat.told[i].eta_s);
    }
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

/* Ends a running sequence that engine_sequence_finish or fail has been called for. */
static void drop_running(struct engine *engine, uint32_t index)
{
    struct engine_sequence *seq = engine->running[index];
    const double seconds = (double)(clock_now_ns() - seq->admitted_ns) / 1e9;
    pthread_mutex_lock(&engine->lock);
    engine_lanes_end(&engine->lanes, seq);
    engine->service_s += engine->service_s > 0 ? (seconds - engine->service_s) / 8 : seconds;
    pthread_mutex_unlock(&engine->lock);
    engine_sequence_destroy(seq);
    engine->running[index] = NULL;
}

static void start_admitted(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->running_count; i++) {
        if (!engine_sequence_start(engine, engine->running[i])) {
            drop_running(engine, i);
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
            drop_running(engine, i);
        }
    }
    close_ranks(engine);
}

/* ---- a step ---- */

/* Room that is left in the step being planned. */
struct room {
    uint32_t rows, drafts; /* drafts: rows that nobody else is sure to need */
    uint32_t logits;       /* beyond the one that every running sequence has */
};

/* Its prompt, or what it had before a pause; else it generates: one row, and more where tokens were
 * forced. */
static bool is_reading(const struct engine_sequence *seq)
{
    return seq->kv_count + 1 < seq->read_to;
}

/* Rows for guesses behind `count` rows of a sequence that generates, where there is room and a page
 * without pausing anybody. */
static uint32_t plan_drafts(struct engine *engine, struct engine_sequence *seq, uint32_t count,
                            struct room *room, size_t *row_count)
{
    seq->drafter.count = 0;
    if (is_reading(seq) || seq->kv_count + count < seq->token_count ||
        engine_states_are(&engine->states)) { /* a state cannot go back from a wrong guess */
        return 0;
    }
    const uint32_t most = room->drafts < room->logits ? room->drafts : room->logits;
    engine_draft(engine, seq, most);
    uint32_t drafts = seq->drafter.count;
    if (drafts && !engine_sequence_grow(engine, seq, seq->token_count + drafts)) {
        const uint32_t there = seq->page_count * KV_PAGE_TOKENS - seq->token_count;
        drafts = drafts < there ? drafts : there;
    }
    for (uint32_t i = 0; i < drafts; i++) {
        engine->rows[(*row_count)++] = (struct model_row){.token = seq->drafter.tokens[i],
                                                          .pos = seq->token_count + i,
                                                          .seq = engine->batch_count,
                                                          .wants_logits = true};
    }
    seq->drafter.count = drafts;
    room->drafts -= drafts;
    room->rows -= drafts;
    room->logits -= drafts;
    engine->draft_rows += drafts;
    return drafts;
}

static void plan_rows(struct engine *engine, struct engine_sequence *seq, uint32_t count,
                      struct room *room, size_t *row_count)
{
    const uint32_t index = engine->batch_count;
    uint32_t logits = 0;
    count = engine_sequence_stride(engine, seq, count);
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
    const uint32_t drafts = plan_drafts(engine, seq, count, room, row_count);
    seq->row_count = count + drafts;
    seq->logits_count = logits + drafts;
    room->rows -= count;
    engine_sequence_reach(engine, seq, seq->kv_count + count + drafts);
    engine->seqs[index] = (struct model_seq){.pages = seq->pages,
                                             .page_count = seq->held_count,
                                             .state = seq->state,
                                             .scales = seq->is_adapted ? seq->request.scales : NULL,
                                             .ready = seq->ready_count};
    engine->batch[engine->batch_count++] = seq;
}

/* The last one by lane and arrival that could be paused. */
static struct engine_sequence *find_last(const struct engine *engine)
{
    struct engine_sequence *last = NULL;
    for (uint32_t i = engine->running_count; i-- > 0;) {
        struct engine_sequence *seq = engine->running[i];
        if (!seq->load && (!last || seq->request.lane > last->request.lane)) {
            last = seq;
        }
    }
    return last;
}

/* Pages for the next row of all that generate; pauses as many of the last as that takes. The first
 * of the first lane is never paused: alone it has all pages, but those that the disk is writing. */
static void make_room(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->running_count; i++) {
        struct engine_sequence *seq = engine->running[i];
        seq->is_stuck = false;
        while (!seq->load && !is_reading(seq) &&
               !engine_sequence_grow(engine, seq, seq->token_count)) {
            struct engine_sequence *last = find_last(engine);
            if (last == seq && engine->running_count == engine->spill.loading_count + 1) {
                seq->is_stuck = true;
                break;
            }
            pause_running(engine, last);
            if (last == seq) {
                break;
            }
        }
        if (i < engine->running_count && engine->running[i] != seq) {
            i = UINT32_MAX; /* the list has changed: again from its beginning */
        }
    }
}

/* Those that read, by whose turn it is. */
static void order_readers(struct engine *engine)
{
    engine->reader_count = 0;
    pthread_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < engine->running_count; i++) {
        struct engine_sequence *seq = engine->running[i];
        if (seq->load || !is_reading(seq)) {
            continue;
        }
        uint32_t at = engine->reader_count++;
        for (; at > 0 &&
               engine_lanes_before(&engine->lanes, seq->tenant, engine->readers[at - 1]->tenant);
             at--) {
            engine->readers[at] = engine->readers[at - 1];
        }
        engine->readers[at] = seq;
    }
    pthread_mutex_unlock(&engine->lock);
}

static size_t plan_step(struct engine *engine)
{
    const struct engine_params *p = &engine->params;
    struct room room = {.rows = p->batch_rows_max,
                        .logits = p->logits_rows_max - engine->running_count};
    size_t row_count = 0;
    bool has_listener = false;
    engine->batch_count = engine->draft_rows = 0;
    for (uint32_t i = 0; i < engine->running_count; i++) {
        struct engine_sequence *seq = engine->running[i];
        if (!seq->load && !is_reading(seq) && !seq->is_stuck) {
            const uint32_t left = seq->token_count - seq->kv_count;
            const uint32_t others = engine->running_count - i - 1;
            const uint32_t count = left < room.rows - others ? left : room.rows - others;
            room.drafts = room.rows - others - count;
            plan_rows(engine, seq, count, &room, &row_count);
            has_listener = has_listener || seq->request.lane != ENGINE_BATCH;
        }
    }
    engine->decode_rows = (uint32_t)row_count;
    if (has_listener) {
        room.rows = engine_pace_rows(&engine->pace, room.rows);
    }
    order_readers(engine);
    for (uint32_t i = 0; i < engine->reader_count && room.rows > 0; i++) {
        struct engine_sequence *seq = engine->readers[i];
        engine_sequence_take_common(engine, seq);
        if (engine_sequence_follows(engine, seq)) {
            continue;
        }
        const uint32_t left = seq->token_count - seq->kv_count;
        uint32_t count = left < p->prefill_chunk ? left : p->prefill_chunk;
        plan_rows(engine, seq, count < room.rows ? count : room.rows, &room, &row_count);
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
                drop_running(engine, i);
                break;
            }
        }
    }
    close_ranks(engine);
}

/* What the step cost, to those it was for. */
static void charge(struct engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    for (uint32_t b = 0; b < engine->batch_count; b++) {
        struct engine_sequence *seq = engine->batch[b];
        const uint32_t tokens =
            seq->row_count - seq->drafter.count; /* guesses are our own affair */
        engine_lanes_charge(&engine->lanes, seq, tokens);
        seq->turn_tokens += tokens;
    }
    pthread_mutex_unlock(&engine->lock);
}

/* A step of which most is for clients that have left is given up: one of 512 rows takes seconds
 * with a large model. What it cost the others is less than what it saves them. */
static bool is_step_wanted(void *arg)
{
    const struct engine *engine = arg;
    uint32_t rows = 0, lost = 0;
    for (uint32_t b = 0; b < engine->batch_count; b++) {
        const struct engine_sequence *seq = engine->batch[b];
        rows += seq->row_count;
        lost += atomic_load(&seq->stream->is_cancelled) ? seq->row_count : 0;
    }
    return 2 * lost <= rows;
}

static void run_step(struct engine *engine)
{
    struct model_batch batch = {.rows = engine->rows, .seqs = engine->seqs};
    make_room(engine);
    batch.row_count = plan_step(engine);
    batch.seq_count = engine->batch_count;
    engine->is_stuck = batch.row_count == 0;
    if (engine->is_stuck) {
        return; /* until the disk, or somebody else, gives a page back */
    }
    const int64_t start = clock_now_ns();
    mem_guard_begin();
    bool (*const is_wanted)(void *) =
        engine_states_are(&engine->states) ? NULL : is_step_wanted; /* a state cannot go back */
    const bool is_done =
        model_forward_while(engine->params.model, &batch, engine->logits, is_wanted, engine);
    mem_guard_end();
    if (!is_done) {
        return; /* the others' rows are computed in the next step, without the clients that left */
    }
    engine->step_stats.steps++;
    charge(engine);
    use_logits(engine);
    const uint32_t prompt_rows = (uint32_t)batch.row_count - engine->decode_rows;
    const int64_t ns = clock_now_ns() - start;
    engine_pace_note(&engine->pace, engine->decode_rows, prompt_rows, ns);
    if (prompt_rows == 0) {
        engine_row_cost_note(&engine->row_cost, engine->decode_rows, engine->draft_rows, ns);
    }
}

void *engine_worker(void *arg)
{
    struct engine *engine = arg;
    while (take_work(engine)) {
        start_admitted(engine);
        end_cancelled(engine, false);
        tell_places(engine);
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
