/* For the tests of dialects: bodies in, requests or errors out; events in, bytes out. */
#ifndef API_DIALECT_FIXTURE_H
#define API_DIALECT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "api/render.h"
#include "base/json.h"
#include "base/mem.h"
#include "gguf/gguf.h"

static inline void dialect_parses(const struct api_dialect *dialect, const char *body,
                                  struct gen_request *out)
{
    struct err err = {0};
    if (!dialect->parse(out, str_of(body), &err)) {
        fail_msg("%s: %s (%s)", body, err.text, err.param);
    }
}

static inline void dialect_refuses(const struct api_dialect *dialect, const char *body,
                                   enum err_code code, const char *param)
{
    struct gen_request request;
    struct err err = {0};
    bool ok = dialect->parse(&request, str_of(body), &err);
    if (ok || err.code != code || strcmp(err.param, param) != 0) {
        fail_msg("%s: %s %s (%s)", body, ok ? "accepted" : err_info(err.code)->name, err.text,
                 err.param);
    }
    api_request_deinit(&request);
}

static inline void dialect_expects_messages(const struct gen_request *request, const char *wanted)
{
    struct buf messages = {0};
    json_write(&messages, request->messages);
    assert_string_equal(messages.ptr, wanted);
    buf_deinit(&messages);
}

/* Every allocation of ours fails once; nothing leaks (ASan) and the error says so. */
static inline void dialect_runs_out_of_memory(const struct api_dialect *dialect, const char *body)
{
    for (long after = 0; after < 20; after++) {
        struct gen_request request;
        struct err err = {0};
        mem_fail_after(after);
        bool ok = dialect->parse(&request, str_of(body), &err);
        mem_fail_after(-1);
        assert_true(ok || err.code == ERR_MEMORY);
        api_request_deinit(&request);
    }
}

/* A small model of others (stories260K) lends its vocabulary. */
struct dialect_fixture {
    struct gguf *gguf;
    struct text *text;
};

static inline int dialect_fixture_open(void **state)
{
    static struct dialect_fixture fixture;
    struct err err = {0};
    fixture.gguf = gguf_open(TEST_DATA "/models/stories260K.gguf", &err);
    fixture.text = fixture.gguf ? text_open(fixture.gguf, &err) : NULL;
    *state = &fixture;
    return fixture.text ? 0 : -1;
}

static inline int dialect_fixture_close(void **state)
{
    struct dialect_fixture *fixture = *state;
    text_close(fixture->text);
    gguf_close(fixture->gguf);
    return 0;
}

/* Plays pieces of text (ended by NULL) and `done` through the dialect. The prompt is 5 tokens. */
static inline void dialect_play(const struct api_dialect *dialect, const char *body,
                                const struct text *text, const char *const *pieces,
                                struct engine_event done, struct buf *out)
{
    struct gen_request request;
    struct api_render render;
    struct err err = {0};
    dialect_parses(dialect, body, &request);
    for (text_id id = 10; request.prompt_count && id < 15; id++) {
        assert_true(text_ids_add(&request.prompts[0].ids, id));
    }
    assert_true(api_render_init(&render, dialect, &request, text, STR("m\"x"), STR("f"), &err));
    snprintf(render.id, sizeof render.id, "ID");
    if (request.stream) {
        dialect->begin(&render, out);
    }
    for (size_t i = 0; render.choice_count > 0; i++) {
        struct engine_event event = {.kind = ENGINE_EVENT_TOKENS, .token_count = 1};
        if (!pieces[i]) {
            event = done;
            event.kind = ENGINE_EVENT_DONE;
        } else {
            buf_add_text(&event.text, pieces[i]);
        }
        struct gen_event told;
        api_render_collect(&render, 0, &event, &told);
        if (request.stream) {
            dialect->event(&render, 0, &told, out);
        }
        buf_deinit(&event.text);
        if (!pieces[i]) {
            break;
        }
    }
    assert_true(api_render_is_done(&render));
    if (request.stream) {
        dialect->end(&render, out);
    } else {
        dialect->whole(&render, out);
    }
    assert_false(out->failed || render.failed);
    api_render_deinit(&render);
    api_request_deinit(&request);
}

#endif
