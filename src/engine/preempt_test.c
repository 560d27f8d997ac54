/* Sequences that are paused for others: by memory, by lane, by tenant. What they say must be what
 * they say alone. */
#include "engine/fixture.h"

#include <stdlib.h>

#include "engine/disk.h"

enum { TALES = 6 };

static struct engine_request make_tale(const struct fixture *f, size_t i, uint32_t max_tokens)
{
    static const char *const prompts[TALES] = {
        "Once upon a time there was a boy",
        "The big dog was",
        "One day, a little boy named Tim went to the park with his mom. He saw a",
        "She was very happy. She",
        "Lily and Tom went to the park. They saw a big tree and a small bird. The bird was sad",
        "The sun was",
    };
    struct engine_request r = fixture_request(f, prompts[i], max_tokens);
    r.ignore_eos = true; /* as long as it may be */
    r.sampling.temperature = i % 2 ? 0.9f : 0;
    r.sampling.seed = i;
    r.sampling.mirostat = i == 3;
    r.wants_logprobs = i % 3 == 0;
    r.top_logprobs = 2;
    r.prompt_logprobs = i == 2;
    return r;
}

static void tell_alone(const struct fixture_params *p, uint32_t max_tokens,
                       struct fixture_result want[TALES])
{
    struct fixture f;
    struct fixture_params alone = *p;
    alone.no_cache = true;
    alone.disk = NULL;
    fixture_open(&f, &alone);
    for (size_t i = 0; i < TALES; i++) {
        struct engine_request r = make_tale(&f, i, max_tokens);
        want[i] = fixture_run(&f, &r);
        assert_int_equal(want[i].last.finish, ENGINE_LENGTH);
        mem_free((void *)r.prompt);
    }
    fixture_close(&f);
}

/* All at once, with pages for less than two of them. */
static void tell_together(const struct fixture_params *p, uint32_t max_tokens,
                          const struct fixture_result want[TALES])
{
    struct fixture f;
    struct engine_stats stats;
    struct engine_stream *streams[TALES];
    fixture_open(&f, p);
    for (size_t i = 0; i < TALES; i++) {
        struct engine_request r = make_tale(&f, i, max_tokens);
        r.lane = (enum engine_lane)(i % ENGINE_LANES);
        streams[i] = fixture_submit(&f, &r);
        mem_free((void *)r.prompt);
    }
    for (size_t i = 0; i < TALES; i++) {
        struct fixture_result got = fixture_collect(streams[i]);
        fixture_assert_equal(&got, &want[i]);
        assert_int_equal(got.prompt_token_count, want[i].prompt_token_count);
        assert_true(got.last.cached_tokens <= got.last.prompt_tokens);
        fixture_result_deinit(&got);
    }
    engine_stats_read(f.engine, &stats);
    assert_true(stats.preempted > 0);
    assert_true(stats.pages_used == 0 || p->disk); /* the disk may be writing still */
    assert_int_equal(stats.finished_length, TALES);
    fixture_close(&f);
}

static void test_memory(void **state)
{
    static const struct fixture_params tight[] = {
        {.ctx = 448, .kv_tokens = 448, .sequences = 6, .batch_rows = 64},
        {.ctx = 448, .kv_tokens = 640, .sequences = 6, .batch_rows = 7, .threads = 2},
        {.ctx = 448, .kv_tokens = 512, .sequences = 3, .batch_rows = 16, .no_cache = true},
    };
    struct fixture_result want[TALES];
    (void)state;
    tell_alone(&tight[0], 400, want);
    for (size_t i = 0; i < sizeof tight / sizeof *tight; i++) {
        tell_together(&tight[i], 400, want);
    }
    for (size_t i = 0; i < TALES; i++) {
        fixture_result_deinit(&want[i]);
    }
}

/* The same with pages that go to the disk and come back from it. */
static void test_disk(void **state)
{
    char folder[] = "/tmp/hearth-preempt-XXXXXX", command[128];
    struct err err = {0};
    struct fixture_result want[TALES];
    (void)state;
    assert_non_null(mkdtemp(folder));
    struct engine_disk *disk = engine_disk_open(folder, 64 << 20, &err);
    assert_non_null(disk);
    const struct fixture_params p = {
        .ctx = 448, .kv_tokens = 512, .sequences = 6, .batch_rows = 64, .threads = 2, .disk = disk};
    tell_alone(&p, 400, want);
    tell_together(&p, 400, want);
    struct engine_disk_stats stats;
    engine_disk_stats_read(disk, &stats);
    assert_true(stats.writes > 0);
    engine_disk_close(disk);
    for (size_t i = 0; i < TALES; i++) {
        fixture_result_deinit(&want[i]);
    }
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* ---- for others ---- */

/* Waits until a stream has said something. */
static void wait_for_text(struct engine_stream *stream)
{
    struct engine_event event;
    do {
        engine_wait(stream, &event);
        assert_int_not_equal(event.kind, ENGINE_EVENT_ERROR);
        assert_int_not_equal(event.kind, ENGINE_EVENT_DONE);
        engine_event_deinit(&event);
    } while (event.kind != ENGINE_EVENT_TOKENS);
}

/* Two long ones have both places; a third must get one of them and the paused one come back. */
static void check_yields(enum engine_lane long_lane, const char *long_tenant,
                         enum engine_lane short_lane, const char *short_tenant)
{
    struct fixture f;
    struct engine_stats stats;
    struct engine_stream *streams[3];
    fixture_open(&f, &(struct fixture_params){.ctx = 2048, .sequences = 3});
    for (size_t i = 0; i < 3; i++) {
        struct engine_request r = make_tale(&f, i, 1800);
        r.wants_logprobs = r.prompt_logprobs = false;
        r.lane = long_lane;
        r.tenant = str_of(long_tenant);
        streams[i] = fixture_submit(&f, &r);
        mem_free((void *)r.prompt);
        wait_for_text(streams[i]);
    }
    struct engine_request r = make_tale(&f, 5, 8);
    r.lane = short_lane;
    r.tenant = str_of(short_tenant);
    struct fixture_result quick = fixture_run(&f, &r);
    mem_free((void *)r.prompt);
    engine_stats_read(f.engine, &stats);
    assert_int_equal(stats.finished_length, 1); /* before any of the others */
    assert_int_equal(stats.preempted, 1);
    assert_int_equal(quick.last.completion_tokens, 8);
    for (size_t i = 0; i < 3; i++) {
        struct fixture_result got = fixture_collect(streams[i]);
        assert_int_equal(got.last.finish, ENGINE_LENGTH);
        assert_int_equal(got.last.completion_tokens, 1800);
        fixture_result_deinit(&got);
    }
    fixture_result_deinit(&quick);
    fixture_close(&f);
}

static void test_lane(void **state)
{
    (void)state;
    check_yields(ENGINE_BATCH, "", ENGINE_INTERACTIVE, "");
    check_yields(ENGINE_BATCH, "a", ENGINE_NORMAL, "a");
}

static void test_tenant(void **state)
{
    (void)state;
    check_yields(ENGINE_NORMAL, "a", ENGINE_NORMAL, "b");
}

/* ---- places ---- */

static void test_places(void **state)
{
    struct fixture f;
    struct engine_event event;
    (void)state;
    fixture_open(&f, &(struct fixture_params){.sequences = 1, .ctx = 2048});
    struct engine_request r = make_tale(&f, 0, 1500);
    r.wants_logprobs = false;
    r.wants_place = true;
    struct engine_stream *first = fixture_submit(&f, &r);
    wait_for_text(first);
    r.max_tokens = 5;
    struct engine_stream *second = fixture_submit(&f, &r), *third = fixture_submit(&f, &r);
    engine_wait(second, &event);
    assert_int_equal(event.kind, ENGINE_EVENT_QUEUED);
    assert_int_equal(event.ahead, 0);
    engine_wait(third, &event);
    assert_int_equal(event.kind, ENGINE_EVENT_QUEUED);
    assert_int_equal(event.ahead, 1);
    engine_stream_close(first);
    for (int i = 0; i < 2; i++) {
        struct fixture_result got = fixture_collect(i ? third : second);
        assert_int_equal(got.last.completion_tokens, 5);
        fixture_result_deinit(&got);
    }
    mem_free((void *)r.prompt);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory), cmocka_unit_test(test_disk),   cmocka_unit_test(test_lane),
        cmocka_unit_test(test_tenant), cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests_name("engine/preempt", tests, NULL, NULL);
}
