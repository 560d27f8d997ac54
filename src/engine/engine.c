/* Making and ending an engine, and the way in. */
#include "engine/engine.h"

#include <string.h>

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
    return true;
}

/* Everything the worker touches while it runs. */
static bool allocate(struct engine *engine, struct err *err)
{
    const struct engine_params *p = &engine->params;
    const size_t vocab = engine->vocab_count, sequences = p->sequences_max;
    engine->running = MEM_ARRAY(struct engine_sequence *, sequences);
    engine->batch = MEM_ARRAY(struct engine_sequence *, sequences);
    engine->rows = MEM_ARRAY(struct model_row, p->batch_rows_max);
    engine->seqs = MEM_ARRAY(struct model_seq, sequences);
    engine->logits = mem_alloc(vocab * p->logits_rows_max, sizeof(float));
    engine->candidates.items = MEM_ARRAY(struct engine_candidate, vocab);
    engine->scratch = (struct engine_scratch){
        .counts = MEM_ARRAY(uint32_t, vocab),
        .repeats = MEM_ARRAY(uint32_t, engine->ctx_tokens),
        .row = MEM_ARRAY(float, vocab),
        .vocab_count = vocab,
        .ctx_tokens = engine->ctx_tokens,
    };
    engine->end_bits = MEM_ARRAY(uint64_t, vocab / 64 + 1);
    bool is_complete = engine->running && engine->batch && engine->rows && engine->seqs &&
                       engine->logits && engine->candidates.items && engine->scratch.counts &&
                       engine->scratch.repeats && engine->scratch.row && engine->end_bits;
    return is_complete || err_set_memory(err, vocab * (p->logits_rows_max + 7ull) * sizeof(float));
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
    struct engine_params *p = &engine->params;
    *p = *params;
    p->sequences_max = p->sequences_max < p->batch_rows_max ? p->sequences_max : p->batch_rows_max;
    if (p->prefill_chunk == 0 || p->prefill_chunk > p->batch_rows_max) {
        p->prefill_chunk = p->batch_rows_max;
    }
    if (p->logits_rows_max < p->sequences_max) {
        p->logits_rows_max = p->sequences_max;
    }
    engine->vocab_count = model_info(params->model)->vocab_count;
    engine->ctx_tokens =
        (uint32_t)size_min(plan->ctx_tokens, (size_t)plan->kv_pages * KV_PAGE_TOKENS);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->work, NULL);
    const uint32_t idle_max =
        (uint32_t)((uint64_t)plan->kv_pages * size_min(p->cache_percent, 100) / 100);
    if (!allocate(engine, err) || !engine_cache_init(&engine->cache, plan->kv_pages, idle_max)) {
        if (engine->end_bits) {
            err_set_memory(err, engine_cache_bytes(plan->kv_pages, idle_max));
        }
        engine_destroy(engine);
        return NULL;
    }
    if (!engine_spill_init(engine, err)) {
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
    engine_cache_deinit(&engine->cache);
    mem_free(engine->running);
    mem_free(engine->batch);
    mem_free(engine->rows);
    mem_free(engine->seqs);
    mem_free(engine->logits);
    mem_free(engine->candidates.items);
    mem_free(engine->scratch.counts);
    mem_free(engine->scratch.repeats);
    mem_free(engine->scratch.row);
    mem_free(engine->end_bits);
    pthread_cond_destroy(&engine->work);
    pthread_mutex_destroy(&engine->lock);
    mem_free(engine);
}

/* Puts a sequence in the queue; false when it is full or the engine stops. */
static bool enqueue(struct engine *engine, struct engine_sequence *seq, struct err *err)
{
    pthread_mutex_lock(&engine->lock);
    const uint32_t waiting = engine->queue_count;
    const bool is_stopping = engine->is_stopping;
    const bool is_taken = !is_stopping && waiting < engine->params.queue_max;
    if (is_taken) {
        if (engine->queue_last) {
            engine->queue_last->next = seq;
        } else {
            engine->queue_first = seq;
        }
        engine->queue_last = seq;
        engine->queue_count++;
        engine->stats.requests++;
        pthread_cond_signal(&engine->work);
    } else {
        engine->stats.rejected++;
    }
    pthread_mutex_unlock(&engine->lock);
    if (is_taken) {
        return true;
    }
    return is_stopping ? err_set(err, ERR_BUSY, "the model is being closed")
                       : err_set(err, ERR_BUSY, "%lu requests are waiting already; try again later",
                                 (unsigned long)waiting);
}

struct engine_stream *engine_submit(struct engine *engine, const struct engine_request *request,
                                    void (*notify)(void *arg), void *notify_arg, struct err *err)
{
    if (!engine_request_check(request, engine->vocab_count, engine->ctx_tokens, err)) {
        return NULL;
    }
    struct engine_sequence *seq = engine_sequence_create(engine, request, notify, notify_arg, err);
    if (!seq) {
        return NULL;
    }
    /* Once queued, the sequence is the worker's and may be gone before enqueue returns. */
    struct engine_stream *stream = seq->stream;
    if (!enqueue(engine, seq, err)) {
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
