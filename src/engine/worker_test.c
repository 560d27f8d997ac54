/* Queue, cancel, close and destroy, at every moment of a sequence's life. */
#include "engine/fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/os.h"

static struct engine_request endless(const struct fixture *f, size_t prompt_count)
{
    struct engine_request r = fixture_request(f, "Once", 0);
    text_id *prompt = mem_resize((void *)r.prompt, prompt_count, sizeof *prompt);
    for (size_t i = 1; i < prompt_count; i++) {
        prompt[i] = 300 + (text_id)(i % 97);
    }
    r.prompt = prompt;
    r.prompt_count = prompt_count;
    r.has_max_tokens = false;
    r.ignore_eos = true;
    return r;
}

static struct engine_stats read_stats(const struct fixture *f)
{
    struct engine_stats stats;
    engine_stats_read(f->engine, &stats);
    return stats;
}

static void test_queue_full(void **state)
{
    (void)state;
    struct fixture f;
    struct err err = {0};
    struct engine_stream *streams[16];
    size_t count = 0;
    fixture_open(&f, &(struct fixture_params){.sequences = 1, .queue = 3, .ctx = 512});
    struct engine_request r = endless(&f, 4);
    while (count < 16) {
        streams[count] = engine_submit(f.engine, &r, NULL, NULL, &err);
        if (!streams[count]) {
            break;
        }
        count++;
    }
    assert_int_equal(err.code, ERR_BUSY);
    assert_true(count == 3 || count == 4); /* the first may run already */
    assert_int_equal(read_stats(&f).rejected, 1);
    for (size_t i = 0; i < count; i++) {
        engine_stream_close(streams[i]); /* unread */
    }
    while (read_stats(&f).waiting > 0) { /* they leave within a step */
        clock_sleep_ns(100000);
    }
    struct engine_request brief = r;
    brief.has_max_tokens = true;
    brief.max_tokens = 2;
    struct fixture_result got = fixture_run(&f, &brief); /* and there is room again */
    assert_int_equal(got.last.finish, ENGINE_LENGTH);
    fixture_result_deinit(&got);
    mem_free((void *)r.prompt);
    fixture_close(&f);
}

/* ---- order ---- */

struct place {
    atomic_int *next;
    atomic_int mine; /* 1 for the stream that had its first event first */
};

static void take_place(void *arg)
{
    struct place *p = arg;
    if (atomic_load(&p->mine) == 0) {
        atomic_store(&p->mine, atomic_fetch_add(p->next, 1));
    }
}

/* The head of the queue waits for its pages; a small one behind it, for which there are pages, does
 * not overtake. */
static void test_first_come(void **state)
{
    (void)state;
    struct fixture f;
    struct err err;
    struct engine_stream *streams[3];
    atomic_int next = 1;
    struct place places[3] = {{&next, 0}, {&next, 0}, {&next, 0}};
    fixture_open(&f, &(struct fixture_params){.sequences = 8, .ctx = 512, .kv_tokens = 512});
    struct engine_request half = endless(&f, 8), large = half, small = half;
    half.has_max_tokens = small.has_max_tokens = true;
    half.max_tokens = 248;
    small.max_tokens = 2;
    const struct engine_request *requests[] = {&half, &large, &small};
    for (size_t i = 0; i < 3; i++) {
        streams[i] = engine_submit(f.engine, requests[i], take_place, &places[i], &err);
    }
    static const uint32_t counts[] = {248, 504, 2};
    for (size_t i = 0; i < 3; i++) {
        struct fixture_result got = fixture_collect(streams[i]);
        assert_int_equal(got.last.completion_tokens, counts[i]);
        assert_int_equal(atomic_load(&places[i].mine), (int)i + 1);
        fixture_result_deinit(&got);
    }
    mem_free((void *)half.prompt);
    fixture_close(&f);
}

static void expect_cancelled(struct engine_stream *stream)
{
    engine_cancel(stream);
    engine_cancel(stream); /* twice is fine */
    struct fixture_result got = fixture_collect(stream);
    assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
    assert_int_equal(got.last.finish, ENGINE_CANCELLED);
    fixture_result_deinit(&got);
}

static void test_cancel(void **state)
{
    (void)state;
    struct fixture f;
    struct engine_event event;
    /* A prompt that takes 400 steps to read. */
    fixture_open(
        &f, &(struct fixture_params){.sequences = 1, .ctx = 512, .batch_rows = 64, .chunk = 1});
    struct engine_request r = endless(&f, 400);
    struct engine_stream *running = fixture_submit(&f, &r);
    struct engine_stream *queued = fixture_submit(&f, &r);
    expect_cancelled(queued);
    while (read_stats(&f).steps < 3) {
        clock_sleep_ns(100000);
    }
    uint64_t before = read_stats(&f).steps;
    expect_cancelled(running); /* in the middle of its prompt */
    assert_true(read_stats(&f).completion_tokens == 0);
    assert_true(before < 390);
    assert_int_equal(read_stats(&f).pages_used, 0);

    r.prompt_count = 4;
    running = fixture_submit(&f, &r);
    engine_wait(running, &event); /* generates */
    assert_int_equal(event.kind, ENGINE_EVENT_TOKENS);
    engine_event_deinit(&event);
    expect_cancelled(running);

    r.has_max_tokens = true;
    r.max_tokens = 2;
    running = fixture_submit(&f, &r);
    while (read_stats(&f).finished_length < 1) {
        clock_sleep_ns(100000);
    }
    engine_cancel(running); /* after its end: nothing changes */
    struct fixture_result got = fixture_collect(running);
    assert_int_equal(got.last.finish, ENGINE_LENGTH);
    assert_int_equal(got.last.completion_tokens, 2);
    fixture_result_deinit(&got);
    assert_int_equal(read_stats(&f).cancelled, 3);
    mem_free((void *)r.prompt);
    fixture_close(&f);
}

/* Nobody reads: events are joined, and nothing is lost. */
static void test_stalled_reader(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, &(struct fixture_params){.ctx = 512});
    struct engine_request r = endless(&f, 4);
    struct fixture_result live = fixture_run(&f, &r);
    struct engine_stream *stream = fixture_submit(&f, &r);
    while (read_stats(&f).finished_length < 2) {
        clock_sleep_ns(1000000);
    }
    struct fixture_result late = fixture_collect(stream);
    assert_int_equal(late.events, ENGINE_EVENTS_APART);
    fixture_assert_equal(&live, &late);
    fixture_result_deinit(&live);
    fixture_result_deinit(&late);
    mem_free((void *)r.prompt);
    fixture_close(&f);
}

/* ---- notify ---- */

struct watcher {
    atomic_int calls;
    atomic_bool is_closed, was_late;
};

static void count_call(void *arg)
{
    struct watcher *w = arg;
    atomic_fetch_add(&w->calls, 1);
    if (atomic_load(&w->is_closed)) {
        atomic_store(&w->was_late, true);
    }
}

static void test_notify(void **state)
{
    (void)state;
    struct fixture f;
    struct err err;
    fixture_open(&f, &(struct fixture_params){.sequences = 4, .ctx = 512});
    struct engine_request r = endless(&f, 4);
    for (int round = 0; round < 20; round++) {
        struct watcher w = {0};
        struct engine_stream *stream = engine_submit(f.engine, &r, count_call, &w, &err);
        assert_non_null(stream);
        while (atomic_load(&w.calls) <= round) {
            clock_sleep_ns(20000);
        }
        engine_stream_close(stream);
        atomic_store(&w.is_closed, true);
        clock_sleep_ns(500000);
        assert_false(atomic_load(&w.was_late));
    }
    r.has_max_tokens = true;
    r.max_tokens = 5;
    struct watcher w = {0};
    struct engine_stream *stream = engine_submit(f.engine, &r, count_call, &w, &err);
    struct engine_event event;
    int seen = 0;
    for (;;) { /* a reader that only looks when it was told */
        while (atomic_load(&w.calls) == seen) {
            clock_sleep_ns(20000);
        }
        seen = atomic_load(&w.calls);
        bool is_last = false;
        while (engine_next(stream, &event)) {
            is_last = event.kind != ENGINE_EVENT_TOKENS;
            engine_event_deinit(&event);
        }
        if (is_last) {
            break;
        }
    }
    engine_stream_close(stream);
    mem_free((void *)r.prompt);
    fixture_close(&f);
}

/* ---- destroy ---- */

static void test_destroy_while_running(void **state)
{
    (void)state;
    for (int64_t pause_us = 0; pause_us < 4000; pause_us = pause_us * 3 + 100) {
        struct fixture f;
        struct engine_stream *streams[6];
        fixture_open(&f, &(struct fixture_params){.sequences = 2, .ctx = 512});
        struct engine_request r = endless(&f, 200);
        for (size_t i = 0; i < 6; i++) {
            streams[i] = fixture_submit(&f, &r);
        }
        engine_stream_close(streams[5]);
        clock_sleep_ns(pause_us * 1000);
        engine_destroy(f.engine);
        f.engine = NULL;
        for (size_t i = 0; i < 5; i++) {
            struct fixture_result got = fixture_collect(streams[i]);
            assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
            fixture_result_deinit(&got);
        }
        mem_free((void *)r.prompt);
        fixture_close(&f);
    }
}

static void test_create_no_memory(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, &(struct fixture_params){0});
    struct engine *engine = NULL;
    for (long n = 0; n < 40 && !engine; n++) {
        struct err err = {0};
        const struct engine_params p = {.model = f.model,
                                        .text = f.text,
                                        .sequences_max = 2,
                                        .batch_rows_max = 8,
                                        .queue_max = 1};
        mem_fail_after(n);
        engine = engine_create(&p, &err);
        mem_fail_after(-1);
        assert_true(engine || err.code == ERR_MEMORY);
    }
    assert_non_null(engine);
    engine_destroy(engine);
    struct err err = {0};
    const struct engine_params none = {.model = f.model, .text = f.text};
    assert_null(engine_create(&none, &err));
    assert_int_equal(err.code, ERR_INVALID);
    engine_destroy(NULL);
    engine_stream_close(NULL);
    fixture_close(&f);
}

/* ---- many ---- */

enum { CLIENTS = 200 };

struct client {
    const struct fixture *f;
    uint32_t number;
    struct fixture_result result;
};

static void *be_client(void *arg)
{
    struct client *c = arg;
    struct err err = {0};
    struct engine_request r = fixture_request(c->f, c->number % 2 ? "Once upon a time" : "Tom", 12);
    r.sampling.temperature = 1;
    r.sampling.seed = c->number / 4;
    struct engine_stream *stream = engine_submit(c->f->engine, &r, NULL, NULL, &err);
    assert_non_null(stream);
    if (c->number % 4 >= 2) { /* every second leaves */
        clock_sleep_ns(c->number * 5000);
        engine_stream_close(stream);
    } else {
        c->result = fixture_collect(stream);
    }
    mem_free((void *)r.prompt);
    return NULL;
}

static void test_two_hundred(void **state)
{
    (void)state;
    struct fixture f;
    static struct client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    fixture_open(&f, &(struct fixture_params){.sequences = 8, .queue = CLIENTS, .threads = 2});
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.f = &f, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, be_client, &clients[i]), 0);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        if (i % 4 >= 2) {
            continue;
        }
        struct engine_request r = fixture_request(&f, i % 2 ? "Once upon a time" : "Tom", 12);
        r.sampling.temperature = 1;
        r.sampling.seed = i / 4;
        struct fixture_result alone = fixture_run(&f, &r);
        fixture_assert_equal(&alone, &clients[i].result);
        fixture_result_deinit(&alone);
        fixture_result_deinit(&clients[i].result);
        mem_free((void *)r.prompt);
    }
    struct engine_stats stats = read_stats(&f);
    assert_int_equal(stats.pages_used, 0);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.ttft.total + stats.cancelled >= CLIENTS, 1);
    fixture_close(&f);
}

/* An engine without work uses no processor time. */
static void test_idle(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, &(struct fixture_params){.threads = 2});
    struct engine_request r = fixture_request(&f, "Once", 4);
    struct fixture_result got = fixture_run(&f, &r);
    fixture_result_deinit(&got);
    clock_sleep_ns(5000000); /* the pool's members go to sleep */
    clock_t before = clock();
    clock_sleep_ns(200000000);
    assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 0.004);
    mem_free((void *)r.prompt);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_first_come),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_stalled_reader),
        cmocka_unit_test(test_notify),
        cmocka_unit_test(test_destroy_while_running),
        cmocka_unit_test(test_create_no_memory),
        cmocka_unit_test(test_two_hundred),
        cmocka_unit_test(test_idle),
    };
    return cmocka_run_group_tests_name("engine/worker", tests, NULL, NULL);
}
