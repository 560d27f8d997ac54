/* For the tests of the engine: a model with everything around it, requests, and what came back. */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/identity.h"
#include "engine/states.h"
#include "gguf/gguf.h"

#define FIXTURE_STORIES TEST_DATA "/models/stories260K.gguf"
#define FIXTURE_NANO    TEST_MODELS "/hearth-nano.gguf"

struct fixture {
    struct gguf *gguf;
    struct text *text;
    struct pool *pool;
    struct model *model;
    struct engine *engine;
};

struct fixture_params {
    const char *path; /* NULL: the stories */
    size_t threads;   /* 0: 1 */
    uint32_t sequences, batch_rows, chunk, queue, ctx,
        kv_tokens; /* 0: 8, 64, batch, 16, 256, all */
    bool no_cache, speculates;
    float row_share; /* 0: as measured */
    struct engine_disk *disk;
    struct engine_recorder *recorder;
    const char *const *adapters; /* [adapter_count] files of tests/golden/lora */
    size_t adapter_count;
};

static inline void fixture_open(struct fixture *f, const struct fixture_params *p)
{
    struct err err = {0};
    struct gguf *files[MODEL_ADAPTERS_MAX] = {0};
    struct engine_adapter adapters[MODEL_ADAPTERS_MAX] = {0};
    log_set_level(LOG_ERROR);
    *f = (struct fixture){0};
    for (size_t i = 0; i < p->adapter_count; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/lora/%s", TEST_GOLDEN, p->adapters[i]);
        files[i] = gguf_open(path, &err);
        if (!files[i] || !engine_adapter_identity(files[i], &adapters[i].digest, &err)) {
            fail_msg("%s", err.text);
        }
    }
    f->gguf = gguf_open(p->path ? p->path : FIXTURE_STORIES, &err);
    f->text = f->gguf ? text_open(f->gguf, &err) : NULL;
    f->pool = pool_create(p->threads ? p->threads : 1, &err);
    const struct model_params mp = {
        .cpu_level = cpu_level_detect(),
        .kv_type = KV_F16,
        .ctx_tokens = p->ctx ? p->ctx : 256,
        .kv_tokens = p->kv_tokens,
        .sequences_max = p->sequences ? p->sequences : 8,
        .batch_rows_max = p->batch_rows ? p->batch_rows : 64,
        .states_max = engine_states_wanted(p->sequences ? p->sequences : 8),
        .logits_rows_max = 32,
        .adapters = (const struct gguf *const *)files,
        .adapter_count = p->adapter_count,
    };
    if (f->text && f->pool) {
        f->model = model_load(f->gguf, &mp, f->pool, NULL, NULL, &err);
    }
    if (f->model) {
        f->engine = engine_create(
            &(struct engine_params){
                .model = f->model,
                .text = f->text,
                .sequences_max = mp.sequences_max,
                .batch_rows_max = mp.batch_rows_max,
                .prefill_chunk = p->chunk,
                .queue_max = p->queue ? p->queue : 16,
                .cache_percent = p->no_cache ? 0 : 100,
                .drafts_max = p->speculates ? ENGINE_DRAFT_MAX : 0,
                .row_share = p->row_share,
                .logits_rows_max = 32,
                .disk = p->disk,
                .recorder = p->recorder,
                .adapters = adapters,
                .adapter_count = p->adapter_count,
            },
            &err);
    }
    if (!f->engine) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < p->adapter_count; i++) {
        gguf_close(files[i]);
    }
}

static inline void fixture_close(struct fixture *f)
{
    engine_destroy(f->engine);
    model_destroy(f->model);
    pool_destroy(f->pool);
    text_close(f->text);
    gguf_close(f->gguf);
}

/* A greedy request for the tokens of a text; mem_free(prompt) when done. */
static inline struct engine_request fixture_request(const struct fixture *f, const char *prompt,
                                                    uint32_t max_tokens)
{
    struct text_ids ids = {0};
    struct err err;
    assert_true(text_encode(f->text, str_of(prompt),
                            &(struct text_encode_opts){.add_special = true}, &ids, &err));
    struct engine_request r = {.prompt = ids.ids,
                               .prompt_count = ids.count,
                               .sampling = engine_sampling_default(),
                               .has_max_tokens = true,
                               .max_tokens = max_tokens};
    r.sampling.temperature = 0;
    return r;
}

/* Everything a stream gave. */
struct fixture_result {
    struct buf text, prompt_text;
    struct engine_token *tokens, *prompt_tokens;
    size_t token_count, prompt_token_count; /* as the events said */
    size_t events;
    struct engine_event last;
};

static inline void fixture_take(struct fixture_result *r, const struct engine_event *event)
{
    struct engine_token **tokens = event->is_prompt ? &r->prompt_tokens : &r->tokens;
    size_t *count = event->is_prompt ? &r->prompt_token_count : &r->token_count;
    r->events++;
    buf_add(event->is_prompt ? &r->prompt_text : &r->text, buf_view(&event->text));
    if (event->tokens) {
        struct engine_token *grown =
            mem_resize(*tokens, *count + event->token_count, sizeof *grown);
        assert_non_null(grown);
        memcpy(grown + *count, event->tokens, event->token_count * sizeof *grown);
        *tokens = grown;
    }
    *count += event->token_count;
}

/* Reads a stream to its end and closes it. */
static inline struct fixture_result fixture_collect(struct engine_stream *stream)
{
    struct fixture_result r = {0};
    assert_non_null(stream);
    for (;;) {
        struct engine_event event;
        engine_wait(stream, &event);
        if (event.kind == ENGINE_EVENT_QUEUED) {
            continue;
        }
        if (event.kind != ENGINE_EVENT_TOKENS) {
            r.last = event;
            break;
        }
        fixture_take(&r, &event);
        engine_event_deinit(&event);
    }
    engine_stream_close(stream);
    buf_add_text(&r.text, ""); /* terminated also when empty */
    buf_add_text(&r.prompt_text, "");
    assert_false(r.text.failed);
    return r;
}

static inline struct engine_stream *fixture_submit(const struct fixture *f,
                                                   const struct engine_request *request)
{
    struct err err = {0};
    struct engine_stream *stream = engine_submit(f->engine, request, NULL, NULL, &err);
    if (!stream) {
        fail_msg("%s", err.text);
    }
    return stream;
}

static inline struct fixture_result fixture_run(const struct fixture *f,
                                                const struct engine_request *request)
{
    return fixture_collect(fixture_submit(f, request));
}

static inline void fixture_result_deinit(struct fixture_result *r)
{
    buf_deinit(&r->text);
    buf_deinit(&r->prompt_text);
    mem_free(r->tokens);
    mem_free(r->prompt_tokens);
}

/* Same text, ends, counts and, bit for bit, log probabilities. */
static inline void fixture_assert_equal(const struct fixture_result *a,
                                        const struct fixture_result *b)
{
    assert_int_equal(a->last.kind, b->last.kind);
    assert_int_equal(a->last.finish, b->last.finish);
    assert_int_equal(a->last.prompt_tokens, b->last.prompt_tokens);
    assert_int_equal(a->last.completion_tokens, b->last.completion_tokens);
    assert_int_equal(a->text.len, b->text.len);
    assert_memory_equal(a->text.ptr ? a->text.ptr : "", b->text.ptr ? b->text.ptr : "",
                        a->text.len);
    assert_int_equal(a->token_count, b->token_count);
    assert_true((a->tokens == NULL) == (b->tokens == NULL));
    for (size_t i = 0; a->tokens && i < a->token_count; i++) {
        const struct engine_token *x = &a->tokens[i], *y = &b->tokens[i];
        assert_memory_equal(&x->chosen, &y->chosen, sizeof x->chosen);
        assert_int_equal(x->top_count, y->top_count);
        assert_memory_equal(x->top, y->top, x->top_count * sizeof *x->top);
    }
}

#endif
