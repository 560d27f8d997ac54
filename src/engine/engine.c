/* Making and ending an engine, and the way in. */
#include "engine/engine.h"

#include <assert.h>
#include <string.h>

#include "base/carve.h"
#include "base/mem.h"
#include "base/size.h"
#include "engine/state.h"
#include "tensor/kernels.h"

static bool check_params(const struct engine_params *p, struct err *err)
{
    if (p->sequences_max == 0 || p->batch_rows_max == 0 || p->queue_max == 0) {
        return err_set(err, ERR_INVALID,
                       "sequences, rows of a step and places in the queue must be at least 1");
    }
    assert(p->adapter_count == model_info(p->model)->adapter_count);
    return true;
}

/* ---- memory ---- */

/* Everything the worker touches while it runs, besides pages: sets the pointers and gives the
 * bytes, 0 when they overflow. */
static size_t lay_out(struct engine *engine, const struct engine_params *p, size_t vocab,
                      size_t ctx_tokens, uint8_t *base)
{
    struct carver c = {.base = base};
    const size_t sequences = p->sequences_max;
    engine->running = carve(&c, 1, sequences, sizeof *engine->running);
    engine->readers = carve(&c, 1, sequences, sizeof *engine->readers);
    engine->batch = carve(&c, 1, sequences, sizeof *engine->batch);
    engine->rows = carve(&c, 1, p->batch_rows_max, sizeof *engine->rows);
    engine->seqs = carve(&c, 1, sequences, sizeof *engine->seqs);
    engine->candidates.items = carve(&c, 1, vocab, sizeof(struct engine_candidate));
    engine->scratch.counts = carve(&c, 1, vocab, sizeof *engine->scratch.counts);
    engine->scratch.repeats = carve(&c, 1, ctx_tokens, sizeof *engine->scratch.repeats);
    engine->scratch.row = carve(&c, 1, vocab, sizeof *engine->scratch.row);
    engine->scratch.vocab_count = vocab;
    engine->scratch.ctx_tokens = ctx_tokens;
    engine->end_bits = carve(&c, 1, vocab / 64 + 1, sizeof *engine->end_bits);
    engine->logits = carve(&c, p->logits_rows_max, vocab, sizeof *engine->logits);
    return carve_bytes(&c);
}

static bool allocate(struct engine *engine, struct err *err)
{
    const struct engine_params *p = &engine->params;
    size_t bytes = lay_out(engine, p, engine->vocab_count, engine->ctx_tokens, NULL);
    engine->memory = bytes ? mem_alloc(bytes, 1) : NULL;
    if (!engine->memory) {
        return err_set_memory(err, bytes ? bytes : UINT64_MAX);
    }
    lay_out(engine, p, engine->vocab_count, engine->ctx_tokens, engine->memory);
    return true;
}

/* Every 0 replaced. */
static struct engine_params settle(const struct engine_params *params)
{
    struct engine_params p = *params;
    p.sequences_max = p.sequences_max < p.batch_rows_max ? p.sequences_max : p.batch_rows_max;
    if (p.prefill_chunk == 0 || p.prefill_chunk > p.batch_rows_max) {
        p.prefill_chunk = p.batch_rows_max;
    }
    if (p.logits_rows_max < p.sequences_max) {
        p.logits_rows_max = p.sequences_max;
    }
    p.drafts_max = p.drafts_max < ENGINE_DRAFT_MAX ? p.drafts_max : ENGINE_DRAFT_MAX;
    static const uint32_t weights[ENGINE_LANES] = {8, 4, 1};
    if (p.lane_weights[0] + p.lane_weights[1] + p.lane_weights[2] == 0) {
        memcpy(p.lane_weights, weights, sizeof weights);
    }
    return p;
}

static uint32_t count_idle(const struct engine_params *p, uint32_t kv_pages)
{
    return (uint32_t)((uint64_t)kv_pages * size_min(p->cache_percent, 100) / 100);
}

uint64_t engine_bytes(const struct engine_params *params, uint32_t vocab_count, uint32_t ctx_tokens,
                      uint32_t kv_pages)
{
    const struct engine_params p = settle(params);
    struct engine nothing = {0};
    const size_t own = lay_out(&nothing, &p, vocab_count, ctx_tokens, NULL);
    const uint32_t idle_max = count_idle(&p, kv_pages);
    if (own == 0) {
        return UINT64_MAX;
    }
    return sizeof nothing + own + engine_cache_bytes(kv_pages, idle_max) +
           engine_states_bytes(p.sequences_max) +
           (p.disk && idle_max ? engine_spill_bytes(kv_pages) : 0);
}

static void mark_ends(struct engine *engine)
{
    const struct text *text = engine->params.text;
    const size_t count = size_min(text_vocab_count(text), engine->vocab_count);
    for (size_t id = 0; id < count; id++) {
        if (text_is_end(text, (text_id)id)) {
            engine->end_bits[id / 64] |= 1ull << (id % 64);
        }
    }
}

struct engine *engine_create(const struct engine_params *params, struct err *err)
{
    if (!check_params(params, err)) {
        return NULL;
    }
    struct engine *engine = MEM_NEW(struct engine);
    if (!engine) {
        err_set_memory(err, sizeof *engine);
        return NULL;
    }
    const struct model_plan *plan = model_plan_of(params->model);
    engine->params = settle(params);
    engine->vocab_count = model_info(params->model)->vocab_count;
    engine->ctx_tokens =
        (uint32_t)size_min(plan->ctx_tokens, (size_t)plan->kv_pages * KV_PAGE_TOKENS);
    for (size_t i = 0; i < params->adapter_count; i++) {
        engine->adapters[i] = params->adapters[i];
        engine->scales[i] = params->adapters[i].scale;
    }
    engine->params.adapters = engine->adapters;
    engine_lanes_init(&engine->lanes, engine->params.lane_weights);
    engine->pace.stretch = engine->params.decode_stretch;
    engine_row_cost_note(&engine->row_cost, 1, 0, 0);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_mutex_init(&engine->vocab_lock, NULL);
    pthread_cond_init(&engine->work, NULL);
    const uint32_t idle_max = count_idle(&engine->params, plan->kv_pages);
    bool ok = allocate(engine, err);
    if (ok && !engine_cache_init(&engine->cache, plan->kv_pages, idle_max)) {
        ok = err_set_memory(err, engine_cache_bytes(plan->kv_pages, idle_max));
    }
    if (ok && !engine_states_init(&engine->states, params->model, &engine->cache,
                                  engine->params.sequences_max)) {
        ok = err_set_memory(err, engine_states_bytes(engine->params.sequences_max));
    }
    if (!ok || !engine_spill_init(engine, err)) {
        engine_destroy(engine);
        return NULL;
    }
    engine->stats.pages_total = plan->kv_pages;
    mark_ends(engine);
    int fault = pthread_create(&engine->worker, NULL, engine_worker, engine);
    if (fault) {
        err_set_errno(err, fault, "start the engine's thread");
        engine_destroy(engine);
        return NULL;
    }
    engine->is_started = true;
    return engine;
}

void engine_destroy(struct engine *engine)
{
    if (!engine) {
        return;
    }
    if (engine->is_started) {
        pthread_mutex_lock(&engine->lock);
        engine->is_stopping = true;
        pthread_cond_signal(&engine->work);
        pthread_mutex_unlock(&engine->lock);
        pthread_join(engine->worker, NULL);
    }
    engine_spill_deinit(engine);
    engine_states_deinit(&engine->states);
    engine_cache_deinit(&engine->cache);
    mem_free(engine->memory);
    constrain_vocab_destroy(engine->vocab);
    pthread_cond_destroy(&engine->work);
    pthread_mutex_destroy(&engine->lock);
    pthread_mutex_destroy(&engine->vocab_lock);
    mem_free(engine);
}

const struct constrain_vocab *engine_vocab(struct engine *engine, struct err *err)
{
    pthread_mutex_lock(&engine->vocab_lock);
    if (!engine->vocab) {
        engine->vocab = constrain_vocab_create(engine->params.text, err);
    }
    const struct constrain_vocab *vocab = engine->vocab;
    pthread_mutex_unlock(&engine->vocab_lock);
    return vocab;
}

/* Puts a sequence in its lane; false when too many wait or the engine stops. */
static bool enqueue(struct engine *engine, struct engine_sequence *seq, struct str tenant,
                    struct err *err)
{
    pthread_mutex_lock(&engine->lock);
    const uint32_t waiting = engine->lanes.waiting, eta_s = engine_eta_s(engine, 0);
    const bool is_stopping = engine->is_stopping;
    const bool has_room = !is_stopping && waiting < engine->params.queue_max;
    const bool is_taken = has_room && engine_lanes_push(&engine->lanes, seq, tenant);
    if (is_taken) {
        engine->stats.requests++;
        pthread_cond_signal(&engine->work);
    } else {
        engine->stats.rejected++;
    }
    pthread_mutex_unlock(&engine->lock);
    if (is_taken) {
        return true;
    }
    if (has_room) {
        return err_set_memory(err, sizeof(struct engine_tenant));
    }
    if (is_stopping) {
        return err_set(err, ERR_BUSY, "the model is being closed");
    }
    err_set(err, ERR_BUSY, "%lu requests are waiting already; try again later",
            (unsigned long)waiting);
    err->retry_s = eta_s;
    return false;
}

uint32_t engine_eta_s(const struct engine *engine, uint32_t ahead)
{
    const double turns = ((double)ahead + 1) / engine->params.sequences_max;
    const double seconds = engine->service_s * turns;
    return seconds <= 0 ? 0 : seconds > 86400 ? 86400 : (uint32_t)seconds + 1;
}

struct engine_stream *engine_submit(struct engine *engine, const struct engine_request *request,
                                    void (*notify)(void *arg), void *notify_arg, struct err *err)
{
    if (!engine_request_check(request, engine->vocab_count, engine->ctx_tokens, err) ||
        !engine_adapters_check(engine, request, err)) {
        return NULL;
    }
    if (request->record && !engine->params.recorder) {
        err_set_param(err, ERR_UNSUPPORTED, "record",
                      "this server records nothing; see --record and --record-asked");
        return NULL;
    }
    struct engine_sequence *seq = engine_sequence_create(engine, request, notify, notify_arg, err);
    if (!seq) {
        return NULL;
    }
    /* Once queued, the sequence is the worker's and may be gone before enqueue returns. */
    struct engine_stream *stream = seq->stream;
    if (!enqueue(engine, seq, request->tenant, err)) {
        engine_sequence_destroy(seq);
        engine_stream_unref(stream);
        return NULL;
    }
    return stream;
}

void engine_wake(struct engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->has_cancelled = true;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->lock);
}

uint32_t engine_ctx_tokens(const struct engine *engine)
{
    return engine->ctx_tokens;
}
