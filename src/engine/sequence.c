/* One sequence: its copy of the request, and what happens with the logits of a step. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/size.h"
#include "engine/record.h"
#include "engine/state.h"
#include "tensor/kernels.h"

static uint32_t pages_for(uint32_t tokens)
{
    return (tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}

/* ---- copying a request ---- */

static const struct str *copy_strings(struct arena *arena, const struct str *strings, size_t count)
{
    struct str *copy = ARENA_ARRAY(arena, struct str, count);
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = (struct str){arena_copy(arena, strings[i]), strings[i].len};
        if (!copy[i].ptr) {
            return NULL;
        }
    }
    return copy;
}

static const text_id *copy_ids(struct arena *arena, const text_id *ids, size_t count)
{
    text_id *copy = ARENA_ARRAY(arena, text_id, count);
    if (copy && count) {
        memcpy(copy, ids, count * sizeof *copy);
    }
    return copy;
}

static bool copy_request(struct engine_sequence *seq, const struct engine_request *from)
{
    struct arena *arena = &seq->stream->arena;
    struct engine_request *to = &seq->request;
    *to = *from;
    to->prompt = NULL; /* the tokens have it */
    to->stops = copy_strings(arena, from->stops, from->stop_count);
    to->banned = copy_strings(arena, from->banned, from->banned_count);
    to->sampling.dry_sequence_breakers =
        copy_strings(arena, from->sampling.dry_sequence_breakers, from->sampling.dry_breaker_count);
    to->id = (struct str){arena_copy(arena, from->id), from->id.len};
    struct engine_bias *biases = ARENA_ARRAY(arena, struct engine_bias, from->sampling.bias_count);
    if (!to->stops || !to->banned || !to->sampling.dry_sequence_breakers || !to->id.ptr ||
        !biases) {
        return false;
    }
    if (from->sampling.bias_count) {
        memcpy(biases, from->sampling.biases, from->sampling.bias_count * sizeof *biases);
    }
    to->sampling.biases = biases;
    to->prediction = copy_ids(arena, from->prediction, from->prediction_count);
    to->draft = copy_ids(arena, from->draft, from->draft_count);
    if (!to->prediction || !to->draft) {
        return false;
    }
    seq->tokens = MEM_ARRAY(text_id, from->prompt_count);
    seq->pages = MEM_ARRAY(uint32_t, pages_for(seq->token_max));
    if (!seq->tokens || !seq->pages) {
        return false;
    }
    memcpy(seq->tokens, from->prompt, from->prompt_count * sizeof *seq->tokens);
    seq->salt.len = (uint32_t)from->cache_salt.len;
    if (seq->salt.len > 0) {
        memcpy(seq->salt.bytes, from->cache_salt.ptr, seq->salt.len);
    }
    if (!engine_adapters_settle(seq->stream->engine, seq)) {
        return false;
    }
    to->cache_salt = (struct str){0}; /* in seq->salt */
    to->grammar = NULL;               /* in seq->guide */
    to->reasoning = (struct engine_reasoning){0};
    to->tenant = (struct str){0}; /* in seq->tenant */
    return true;
}

uint32_t engine_sequence_tokens_max(const struct engine *engine,
                                    const struct engine_request *request)
{
    uint32_t left = engine->ctx_tokens - (uint32_t)request->prompt_count;
    bool is_bounded = request->has_max_tokens && request->max_tokens < left;
    return (uint32_t)request->prompt_count + (is_bounded ? request->max_tokens : left);
}

struct engine_sequence *engine_sequence_create(struct engine *engine,
                                               const struct engine_request *request,
                                               void (*notify)(void *arg), void *notify_arg,
                                               struct err *err)
{
    struct engine_sequence *seq = MEM_NEW(struct engine_sequence);
    struct engine_stream *stream = engine_stream_create(engine, notify, notify_arg, err);
    if (!seq || !stream) {
        mem_free(seq);
        if (stream) {
            engine_stream_unref(stream);
            engine_stream_unref(stream);
            err_set_memory(err, sizeof *seq);
        }
        return NULL;
    }
    seq->stream = stream;
    seq->submitted_ns = clock_now_ns();
    seq->prompt_count = (uint32_t)request->prompt_count;
    seq->token_count = seq->read_to = seq->prompt_count;
    engine_drafter_init(&seq->drafter);
    seq->token_max = engine_sequence_tokens_max(engine, request);
    seq->state = seq->base = ENGINE_STATE_NONE;
    const struct text *text = engine->params.text;
    const struct constrain_vocab *vocab = request->grammar ? engine_vocab(engine, err) : NULL;
    if (!copy_request(seq, request)) {
        err_set_memory(err, request->prompt_count * sizeof *seq->tokens);
    } else if ((vocab || !request->grammar) &&
               engine_guide_init(&seq->guide, request, text, vocab, &stream->arena, err) &&
               engine_sampler_init(&seq->sampler, &seq->request.sampling, text, &stream->arena,
                                   err) &&
               engine_output_init(&seq->output, stream, &seq->request, text, err)) {
        return seq;
    }
    engine_stream_unref(stream); /* the reader's */
    engine_sequence_destroy(seq);
    return NULL;
}

void engine_sequence_destroy(struct engine_sequence *seq)
{
    if (seq) {
        engine_output_deinit(&seq->output);
        engine_guide_deinit(&seq->guide);
        mem_free(seq->tokens);
        mem_free(seq->pages);
        engine_stream_unref(seq->stream);
        mem_free(seq);
    }
}

/* ---- pages ---- */

/* Pages of the prompt that can be shared while it runs: the last token's logits are always
 * computed, and a step back computes its row once more. */
uint32_t engine_sequence_shareable(const struct engine_sequence *seq)
{
    return (seq->prompt_count - 1) / KV_PAGE_TOKENS;
}

uint32_t engine_sequence_takeable(const struct engine_sequence *seq)
{
    if (seq->request.prompt_logprobs && seq->prompt_told < seq->prompt_count) {
        return 0;
    }
    return seq->request.banned_count ? engine_sequence_shareable(seq)
                                     : (seq->token_count - 1) / KV_PAGE_TOKENS;
}

/* Cached tokens are told of the first admission: what a pause costs is nobody's affair. */
static void count_cached(struct engine *engine, struct engine_sequence *seq, uint32_t tokens)
{
    if (seq->token_count == seq->prompt_count) {
        seq->cached_tokens += tokens;
        engine->step_stats.cached_tokens += tokens;
    }
}

/* Continues the held pages with those of the cache. */
static uint32_t match(struct engine *engine, struct engine_sequence *seq,
                      struct engine_cache_miss *miss)
{
    const uint32_t held = seq->held_count, from = held * KV_PAGE_TOKENS;
    const uint32_t found =
        engine_cache_match(&engine->cache, held ? seq->pages[held - 1] : ENGINE_CACHE_NONE,
                           &seq->salt, seq->tokens + from, seq->token_count - from,
                           engine_sequence_takeable(seq) - held, seq->pages + held, miss);
    seq->held_count += found;
    seq->published = seq->held_count;
    seq->ready_count = seq->held_count * KV_PAGE_TOKENS;
    engine_sequence_resume(engine, seq);
    return found;
}

bool engine_sequence_admit(struct engine *engine, struct engine_sequence *seq)
{
    struct engine_cache_miss miss = {0};
    if (engine_states_are(&engine->states)) {
        seq->state = engine_states_take(&engine->states);
    }
    const uint32_t found = engine_sequence_takeable(seq) ? match(engine, seq, &miss) : 0;
    const uint32_t next = seq->token_count + (seq->token_count < seq->token_max);
    const uint32_t want = pages_for(next);
    /* A page for each that runs already, or it would soon be paused again. */
    if (!engine_cache_promise(&engine->cache, want - found, engine->running_count)) {
        engine_cache_release(&engine->cache, seq->pages, found);
        seq->held_count = seq->published = 0;
        engine_sequence_drop_states(engine, seq, false);
        return false;
    }
    seq->page_count = want;
    count_cached(engine, seq, seq->kv_count);
    engine_spill_load(engine, seq);
    if (miss.is_near && miss.position < seq->prompt_count && seq->admitted_ns == 0) {
        seq->near_miss = (struct engine_near_miss){true, miss.position, seq->tokens[miss.position]};
    }
    return true;
}

bool engine_sequence_grow(struct engine *engine, struct engine_sequence *seq, uint32_t end)
{
    const uint32_t want = pages_for(end);
    if (want > seq->page_count) {
        if (!engine_cache_promise(&engine->cache, want - seq->page_count, 0)) {
            return false;
        }
        seq->page_count = want;
    }
    return true;
}

void engine_sequence_reach(struct engine *engine, struct engine_sequence *seq, uint32_t end)
{
    assert(pages_for(end) <= seq->page_count);
    while (seq->held_count * KV_PAGE_TOKENS < end) {
        seq->pages[seq->held_count++] = engine_cache_take(&engine->cache);
    }
}

/* Gives full pages among the first `most` to the index. */
static void publish(struct engine *engine, struct engine_sequence *seq, uint32_t most)
{
    const uint32_t full = seq->ready_count / KV_PAGE_TOKENS;
    for (; seq->published < full && seq->published < most; seq->published++) {
        const uint32_t i = seq->published, own = seq->pages[i];
        const uint32_t parent = i ? seq->pages[i - 1] : ENGINE_CACHE_NONE;
        seq->pages[i] = engine_cache_publish(&engine->cache, parent, &seq->salt,
                                             seq->tokens + (size_t)i * KV_PAGE_TOKENS, own);
        if (seq->pages[i] == own) {
            engine_spill_note(engine, own);
        }
    }
    engine_sequence_save_state(engine, seq);
}

void engine_sequence_catch_up(struct engine *engine, struct engine_sequence *seq)
{
    if (seq->kv_count != seq->held_count * KV_PAGE_TOKENS ||
        seq->held_count >= engine_sequence_takeable(seq)) {
        return;
    }
    publish(engine, seq, engine_sequence_takeable(seq)); /* a copied page may have become full */
    const uint32_t before = seq->kv_count, found = match(engine, seq, NULL);
    engine_cache_absolve(&engine->cache, found);
    count_cached(engine, seq, seq->kv_count - before);
}

void engine_sequence_loaded(struct engine *engine, struct engine_sequence *seq, uint32_t pages,
                            uint32_t state, uint32_t state_count)
{
    const uint32_t before = seq->kv_count;
    seq->ready_count += pages * KV_PAGE_TOKENS;
    if (!engine_states_are(&engine->states)) {
        seq->kv_count = seq->ready_count;
    } else if (state != ENGINE_STATE_NONE) {
        engine_states_give(&engine->states, seq->state);
        seq->state = state;
        seq->kv_count = seq->branch_count = state_count;
    }
    count_cached(engine, seq, seq->kv_count - before);
    if (seq->near_miss.position < seq->kv_count) {
        seq->near_miss = (struct engine_near_miss){0}; /* memory had less than the disk */
    }
    publish(engine, seq, engine_sequence_takeable(seq));
}

static void give_back_pages(struct engine *engine, struct engine_sequence *seq, bool keep)
{
    if (keep) {
        publish(engine, seq, seq->held_count);
    }
    engine_sequence_drop_states(engine, seq, keep);
    engine_cache_release(&engine->cache, seq->pages, seq->held_count);
    engine_cache_absolve(&engine->cache, seq->page_count - seq->held_count);
    seq->held_count = seq->page_count = seq->published = 0;
    engine->head_waits = engine->is_stuck = false;
}

void engine_sequence_pause(struct engine *engine, struct engine_sequence *seq)
{
    give_back_pages(engine, seq, true);
    seq->read_to = seq->token_count;
    engine->step_stats.preempted++;
}

/* ---- ends ---- */

static uint32_t count_generated(const struct engine_sequence *seq)
{
    return seq->token_count - seq->prompt_count + (seq->has_end_token ? 1 : 0);
}

static struct engine_timing measure(const struct engine_sequence *seq, int64_t now)
{
    int64_t admitted = seq->admitted_ns ? seq->admitted_ns : now;
    int64_t first = seq->first_token_ns ? seq->first_token_ns : now;
    return (struct engine_timing){
        .queue_ms = (double)(admitted - seq->submitted_ns) / 1e6,
        .prefill_ms = (double)(first - admitted) / 1e6,
        .decode_ms = (double)(now - first) / 1e6,
    };
}

static void end_sequence(struct engine *engine, struct engine_sequence *seq,
                         struct engine_event *event, const char *how)
{
    give_back_pages(engine, seq, event->kind == ENGINE_EVENT_DONE);
    event->cached_tokens = seq->cached_tokens;
    event->near_miss = seq->near_miss;
    event->prompt_tokens = seq->prompt_count;
    event->completion_tokens = count_generated(seq);
    event->drafted_tokens = seq->drafter.accepted + seq->drafter.wasted;
    event->accepted_tokens = seq->drafter.accepted;
    event->reasoning_tokens = seq->guide.thought;
    event->timing = measure(seq, clock_now_ns());
    log_write(LOG_INFO, "generation ended",
              LOG_FIELDS(LOG_S("request", seq->request.id), LOG_C("finish", how),
                         LOG_I("prompt_tokens", event->prompt_tokens),
                         LOG_I("cached_tokens", event->cached_tokens),
                         LOG_I("completion_tokens", event->completion_tokens),
                         LOG_F("queue_ms", event->timing.queue_ms),
                         LOG_F("prefill_ms", event->timing.prefill_ms),
                         LOG_F("decode_ms", event->timing.decode_ms)));
    /* Whoever sees the end of a stream sees it in the figures, and its pages free. */
    engine_stats_add(engine);
    engine_stream_finish(seq->stream, event);
}

static void record(struct engine *engine, struct engine_sequence *seq, enum engine_finish finish)
{
    struct engine_recorder *recorder = engine->params.recorder;
    struct buf text = {0};
    if (recorder && (seq->request.record || !recorder->only_asked)) {
        engine_record_write(engine, seq, finish, &text);
        recorder->put(recorder, seq->request.id, &text);
    }
}

void engine_sequence_finish(struct engine *engine, struct engine_sequence *seq,
                            enum engine_finish finish, struct str stop_hit)
{
    static const char *const names[] = {"stop", "length", "cancelled"};
    if (finish != ENGINE_CANCELLED && !engine_output_flush(&seq->output)) {
        struct err error;
        err_set_memory(&error, seq->output.text.len);
        engine_sequence_fail(engine, seq, &error);
        return;
    }
    struct engine_stats *stats = &engine->step_stats;
    stats->finished_stop += finish == ENGINE_STOP;
    stats->finished_length += finish == ENGINE_LENGTH;
    stats->cancelled += finish == ENGINE_CANCELLED;
    if (finish != ENGINE_CANCELLED) {
        record(engine, seq, finish);
    }
    struct engine_event event = {.kind = ENGINE_EVENT_DONE, .finish = finish, .stop_hit = stop_hit};
    end_sequence(engine, seq, &event, names[finish]);
}

void engine_sequence_fail(struct engine *engine, struct engine_sequence *seq,
                          const struct err *error)
{
    engine->step_stats.failed++;
    struct engine_event event = {.kind = ENGINE_EVENT_ERROR, .error = *error};
    end_sequence(engine, seq, &event, "error");
}

static bool fail_memory(struct engine *engine, struct engine_sequence *seq, size_t bytes)
{
    struct err error;
    err_set_memory(&error, bytes);
    engine_sequence_fail(engine, seq, &error);
    return false;
}

/* ---- a step ---- */

bool engine_sequence_start(struct engine *engine, struct engine_sequence *seq)
{
    text_id *tokens = NULL;
    if (seq->has_room) {
        return true;
    }
    tokens = mem_resize(seq->tokens, seq->token_max, sizeof *tokens);
    if (!tokens) {
        return fail_memory(engine, seq, seq->token_max * sizeof *tokens);
    }
    seq->tokens = tokens;
    seq->has_room = true;
    return true;
}

bool engine_sequence_wants(const struct engine_sequence *seq, uint32_t pos)
{
    if (pos + 1 == seq->token_count) {
        return seq->token_count < seq->token_max;
    }
    return seq->request.prompt_logprobs && pos + 1 < seq->prompt_count &&
           pos + 1 >= seq->prompt_told; /* else told before a pause */
}

static bool fail_logits(struct engine *engine, struct engine_sequence *seq, uint32_t pos)
{
    struct err error;
    err_set(&error, ERR_INTERNAL,
            "the model gave no finite logit after token %lu (weights with NaN or infinity?)",
            (unsigned long)pos);
    engine_sequence_fail(engine, seq, &error);
    return false;
}

/* Log probabilities of the prompt's tokens whose predecessors are rows [from, kv_count). */
static bool tell_prompt(struct engine *engine, struct engine_sequence *seq, uint32_t from,
                        float *logits)
{
    struct engine_token token;
    for (uint32_t pos = from; pos < seq->kv_count && pos < seq->prompt_count; pos++) {
        if (seq->prompt_told == 0) {
            token = (struct engine_token){.chosen = {seq->tokens[0], NAN}};
            seq->prompt_told = 1;
            if (!engine_output_prompt(&seq->output, &token)) {
                return fail_memory(engine, seq, sizeof token);
            }
        }
        if (pos + 1 >= seq->prompt_count || pos + 1 < seq->prompt_told) {
            continue; /* nothing behind it, or computed again after a step back */
        }
        if (!engine_logits_clean(logits, engine->vocab_count)) {
            return fail_logits(engine, seq, pos);
        }
        engine_logprobs(logits, engine->vocab_count, seq->tokens[pos + 1],
                        seq->request.top_logprobs, &token);
        seq->prompt_told++;
        logits += engine->vocab_count;
        if (!engine_output_prompt(&seq->output, &token)) {
            return fail_memory(engine, seq, sizeof token);
        }
    }
    return true;
}

static void count_token(struct engine *engine, struct engine_sequence *seq)
{
    int64_t now = clock_now_ns();
    struct engine_stats *stats = &engine->step_stats;
    if (seq->first_token_ns == 0) {
        seq->first_token_ns = now;
        engine_histogram_add(&stats->ttft, (double)(now - seq->submitted_ns) / 1e9);
    } else {
        engine_histogram_add(&stats->inter_token, (double)(now - seq->last_token_ns) / 1e9);
    }
    seq->last_token_ns = now;
    stats->completion_tokens++;
}

static bool fail_dead_end(struct engine *engine, struct engine_sequence *seq)
{
    struct err error;
    if (seq->guide.run && seq->guide.allowed == 0) {
        err_set(&error, ERR_INVALID,
                "the format cannot be continued with the tokens of this model's vocabulary");
    } else {
        err_set(&error, ERR_INVALID,
                "no token is left to choose from: %slogit_bias, banned strings, min_tokens and "
                "ignore_eos exclude every one",
                seq->guide.run ? "the format, " : "");
    }
    engine_sequence_fail(engine, seq, &error);
    return false;
}

/* The token that comes without a draw, or TEXT_NONE. */
static text_id find_forced(struct engine_sequence *seq)
{
    const text_id id = engine_guide_forced(&seq->guide);
    const uint32_t at = seq->token_count - seq->prompt_count;
    return id == TEXT_NONE || engine_output_is_banned(&seq->output, at, id) ? TEXT_NONE : id;
}

/* Draws the next token from the row behind the last one. False: it failed. */
static bool sample(struct engine *engine, struct engine_sequence *seq, float *logits, text_id *id,
                   struct engine_token *token)
{
    const struct engine_request *r = &seq->request;
    const uint32_t at = seq->token_count - seq->prompt_count;
    struct engine_bans bans = {0};
    engine_guide_mask(&seq->guide);
    bans.allowed = seq->guide.run ? seq->guide.bits : NULL;
    bans.allowed_count = text_vocab_count(engine->params.text);
    engine_output_bans(&seq->output, at, &bans);
    if (r->ignore_eos || at < r->min_tokens) {
        bans.bits[0] = engine->end_bits;
        bans.bit_count[0] = engine->vocab_count;
    }
    mem_guard_begin();
    enum engine_sample result =
        engine_sample(&seq->sampler, logits, &bans, seq->tokens, seq->token_count, r->top_logprobs,
                      &engine->candidates, &engine->scratch, id, r->wants_logprobs ? token : NULL);
    mem_guard_end();
    if (result == ENGINE_SAMPLE_NOT_FINITE) {
        return fail_logits(engine, seq, seq->token_count - 1);
    }
    if (result == ENGINE_SAMPLE_NONE_LEFT) {
        return fail_dead_end(engine, seq);
    }
    return true;
}

static bool follow(struct engine *engine, struct engine_sequence *seq,
                   const struct engine_accepted *accepted)
{
    struct err error;
    switch (accepted->verdict) {
    case ENGINE_GO_ON:
        if (engine_guide_must_end(&seq->guide)) {
            engine_sequence_finish(engine, seq, ENGINE_STOP, (struct str){0});
            return false;
        }
        if (seq->token_count == seq->token_max) {
            engine_sequence_finish(engine, seq, ENGINE_LENGTH, (struct str){0});
            return false;
        }
        return true;
    case ENGINE_HIT_STOP:
        engine_sequence_finish(engine, seq, ENGINE_STOP, seq->request.stops[accepted->stop]);
        return false;
    case ENGINE_STEP_BACK:
        seq->token_count = seq->prompt_count + accepted->keep;
        if (seq->kv_count >= seq->token_count) { /* fewer when forced tokens wait for their rows */
            engine_sequence_rewind(engine, seq, seq->token_count - 1);
            seq->read_to = seq->read_to < seq->token_count ? seq->read_to : seq->token_count;
        }
        seq->sampler.mu = accepted->point.mu;
        engine_guide_restore(&seq->guide, &accepted->point);
        return true;
    case ENGINE_NO_WAY:
        err_set(&error, ERR_INVALID, "no text without the banned strings was found in %d attempts",
                ENGINE_STEP_BACKS_MAX);
        engine_sequence_fail(engine, seq, &error);
        return false;
    case ENGINE_NO_MEMORY:
    default:
        return fail_memory(engine, seq, seq->output.text.len);
    }
}

/* Log probabilities of a token that comes without a draw. False: it failed. */
static bool tell_forced(struct engine *engine, struct engine_sequence *seq, float *logits,
                        text_id id, struct engine_token *token)
{
    const struct engine_request *r = &seq->request;
    return !r->wants_logprobs ||
           engine_sample_forced(&seq->sampler, logits, id, r->top_logprobs, engine->vocab_count,
                                token) ||
           fail_logits(engine, seq, seq->token_count - 1);
}

/* Goes on by a token, drawn or forced. False: the sequence has ended. */
static bool take(struct engine *engine, struct engine_sequence *seq, text_id id,
                 const struct engine_token *token, struct engine_point *point)
{
    count_token(engine, seq);
    if (!seq->request.ignore_eos && text_is_end(engine->params.text, id)) {
        seq->has_end_token = true;
        engine_sequence_finish(engine, seq, ENGINE_STOP, (struct str){0});
        return false;
    }
    engine_guide_save(&seq->guide, point);
    if (!engine_guide_accept(&seq->guide, id) || seq->guide.failed) {
        return fail_memory(engine, seq, sizeof(text_id)); /* the mask allowed it */
    }
    seq->tokens[seq->token_count++] = id;
    struct engine_accepted accepted = engine_output_accept(&seq->output, id, token, point);
    return follow(engine, seq, &accepted);
}

/* Tokens that are the only way on. Log probabilities need the row before each token; without them
 * the rows come together. */
static bool take_forced(struct engine *engine, struct engine_sequence *seq)
{
    text_id id;
    bool goes_on = true;
    while (goes_on && !seq->request.wants_logprobs && (id = find_forced(seq)) != TEXT_NONE) {
        struct engine_point point = {.mu = seq->sampler.mu};
        goes_on = take(engine, seq, id, NULL, &point);
    }
    return goes_on;
}

/* The next token by the logits behind the last one, and those that it forces. */
static bool go_on(struct engine *engine, struct engine_sequence *seq, float *logits)
{
    struct engine_token token;
    struct engine_point point = {.mu = seq->sampler.mu};
    text_id id = find_forced(seq);
    if (id == TEXT_NONE ? !sample(engine, seq, logits, &id, &token)
                        : !tell_forced(engine, seq, logits, id, &token)) {
        return false;
    }
    return take(engine, seq, id, &token, &point) && take_forced(engine, seq);
}

/* Goes on while what came is what was guessed. `logits` are those of the row before the guesses. */
static bool go_along(struct engine *engine, struct engine_sequence *seq, float *logits)
{
    const struct engine_drafter *d = &seq->drafter;
    const uint32_t first = seq->token_count; /* position of the first guess */
    uint32_t hits = 0;
    bool goes_on = true;
    while (goes_on) {
        const uint32_t before = seq->token_count;
        goes_on = go_on(engine, seq, logits + (size_t)(before - first) * engine->vocab_count);
        if (seq->token_count <= before) {
            break; /* a step back, or the end */
        }
        while (seq->kv_count < seq->token_count && hits < d->count &&
               seq->tokens[seq->kv_count] == d->tokens[hits]) {
            seq->kv_count++;
            hits++;
        }
        seq->ready_count = seq->kv_count > seq->ready_count ? seq->kv_count : seq->ready_count;
        if (seq->kv_count < seq->token_count) {
            break;
        }
    }
    if (d->count) {
        engine_draft_learn(engine, seq, hits);
    }
    return goes_on;
}

bool engine_sequence_advance(struct engine *engine, struct engine_sequence *seq, float *logits)
{
    const uint32_t from = seq->kv_count, drafts = seq->drafter.count;
    const bool was_reading = from < seq->prompt_count;
    seq->kv_count += seq->row_count - drafts;
    seq->ready_count = seq->kv_count > seq->ready_count ? seq->kv_count : seq->ready_count;
    assert(seq->kv_count <= seq->token_count);
    if (was_reading && seq->token_count == seq->prompt_count && seq->first_token_ns == 0) {
        engine->step_stats.prompt_tokens += seq->row_count - drafts;
    }
    publish(engine, seq, engine_sequence_shareable(seq));
    if (seq->request.prompt_logprobs && from < seq->prompt_count &&
        !tell_prompt(engine, seq, from, logits)) {
        return false;
    }
    if (seq->kv_count < seq->token_count) {
        return true;
    }
    if (seq->token_count == seq->token_max) { /* max_tokens 0, or a prompt that fills the context */
        engine_sequence_finish(engine, seq, ENGINE_LENGTH, (struct str){0});
        return false;
    }
    return go_along(engine, seq,
                    logits + (size_t)(seq->logits_count - drafts - 1) * engine->vocab_count);
}
