/* Requests under adapters: the same bytes alone, in a crowd of others and from the cache; pages
 * that never pass from one set of adapters to another, in memory and on disk. */
#include "engine/fixture.h"

#include <stdlib.h>

#include "engine/disk.h"

static const char *const files[] = {"stories-a.gguf", "stories-b.gguf"};

enum { WAYS = 5 };

/* None, each, both, and one at another scale. */
static const float ways[WAYS][2] = {{0, 0}, {1, 0}, {0, 1}, {0.5f, -1}, {1.5f, 0}};

static const char prompt[] =
    "Once upon a time there was a little girl named Lily. She loved to play in the park with her "
    "friend Tom. One day they saw a big brown dog. The dog was sad. Lily and Tom went to the park. "
    "They saw a big tree and a small bird. The bird was sad because it could not find its mom. Tom";

static struct fixture open_engine(bool no_cache, struct engine_disk *disk)
{
    struct fixture f;
    fixture_open(&f, &(struct fixture_params){.ctx = 512,
                                              .batch_rows = 40,
                                              .chunk = 30,
                                              .threads = 2,
                                              .no_cache = no_cache,
                                              .disk = disk,
                                              .adapters = files,
                                              .adapter_count = 2});
    return f;
}

static struct engine_request make_request(const struct fixture *f, const float scales[2])
{
    struct engine_request r = fixture_request(f, prompt, 24);
    r.wants_logprobs = true;
    r.top_logprobs = 2;
    r.has_scales = scales != NULL;
    r.scale_count = 2;
    if (scales) {
        memcpy(r.scales, scales, 2 * sizeof *scales);
    }
    return r;
}

static struct fixture_result ask(const struct fixture *f, const float scales[2], struct str salt)
{
    struct engine_request r = make_request(f, scales);
    r.cache_salt = salt;
    struct fixture_result got = fixture_run(f, &r);
    mem_free((void *)(uintptr_t)r.prompt);
    return got;
}

/* Tokens that came from the cache. */
static uint32_t cached(const struct fixture *f, const float scales[2], struct str salt)
{
    struct fixture_result got = ask(f, scales, salt);
    const uint32_t count = got.last.cached_tokens;
    assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
    fixture_result_deinit(&got);
    return count;
}

static void test_crowd(void **state)
{
    struct fixture_result want[WAYS];
    struct engine_stream *streams[2 * WAYS];
    (void)state;
    struct fixture f = open_engine(true, NULL);
    for (size_t i = 0; i < WAYS; i++) {
        want[i] = ask(&f, ways[i], (struct str){0});
        for (size_t k = 0; k < i; k++) { /* each is an answer of its own */
            assert_true(want[i].tokens[0].chosen.logprob != want[k].tokens[0].chosen.logprob);
        }
    }
    fixture_close(&f);
    f = open_engine(false, NULL);
    for (size_t i = 0; i < 2 * WAYS; i++) { /* two of each, to share what they may */
        struct engine_request r = make_request(&f, ways[i % WAYS]);
        streams[i] = fixture_submit(&f, &r);
        mem_free((void *)(uintptr_t)r.prompt);
    }
    for (size_t i = 0; i < 2 * WAYS; i++) {
        struct fixture_result got = fixture_collect(streams[i]);
        fixture_assert_equal(&got, &want[i % WAYS]);
        fixture_result_deinit(&got);
    }
    for (size_t i = 0; i < WAYS; i++) { /* out of the cache */
        struct fixture_result got = ask(&f, ways[i], (struct str){0});
        assert_true(got.last.cached_tokens >= KV_PAGE_TOKENS);
        fixture_assert_equal(&got, &want[i]);
        fixture_result_deinit(&got);
        fixture_result_deinit(&want[i]);
    }
    fixture_close(&f);
    fixture_open(&f, &(struct fixture_params){.ctx = 512}); /* a model without any */
    fixture_close(&f);
}

/* Without adapters the bytes are those of a model that was loaded without. */
static void test_untouched(void **state)
{
    struct fixture with = open_engine(false, NULL), plain;
    (void)state;
    fixture_open(&plain, &(struct fixture_params){.ctx = 512});
    struct fixture_result a = ask(&with, ways[0], (struct str){0});
    struct engine_request r = make_request(&plain, NULL);
    struct fixture_result b = fixture_run(&plain, &r);
    fixture_assert_equal(&a, &b);
    fixture_result_deinit(&a);
    fixture_result_deinit(&b);
    mem_free((void *)(uintptr_t)r.prompt);
    fixture_close(&with);
    fixture_close(&plain);
}

static void test_cache(void **state)
{
    struct fixture f = open_engine(false, NULL);
    const struct str none = {0}, other = STR("other");
    (void)state;
    for (size_t i = 0; i < WAYS; i++) {
        assert_int_equal(cached(&f, ways[i], none), 0);
    }
    for (size_t i = 0; i < WAYS; i++) {
        assert_true(cached(&f, ways[i], none) >= KV_PAGE_TOKENS);
        assert_int_equal(cached(&f, ways[i], other), 0); /* a salt still counts */
        assert_true(cached(&f, ways[i], other) >= KV_PAGE_TOKENS);
    }
    assert_int_equal(cached(&f, (const float[]){0.25f, 0}, none), 0);
    assert_true(cached(&f, (const float[]){-0.0f, 0}, none) >= KV_PAGE_TOKENS); /* is none */
    fixture_close(&f);
}

static void test_disk(void **state)
{
    char home[] = "/tmp/hearth-adapters-XXXXXX", command[64];
    struct err err = {0};
    (void)state;
    assert_non_null(mkdtemp(home));
    for (int turn = 0; turn < 2; turn++) {
        struct engine_disk *disk = engine_disk_open(home, 1 << 30, &err);
        assert_non_null(disk);
        struct fixture f = open_engine(false, disk);
        const uint32_t found = cached(&f, ways[1], (struct str){0});
        assert_true(turn == 0 ? found == 0 : found >= KV_PAGE_TOKENS);
        if (turn == 1) {
            assert_int_equal(cached(&f, ways[0], (struct str){0}), 0);
            assert_int_equal(cached(&f, ways[2], (struct str){0}), 0);
            assert_int_equal(cached(&f, ways[4], (struct str){0}), 0);
        }
        fixture_close(&f);
        engine_disk_close(disk);
    }
    snprintf(command, sizeof command, "rm -rf '%s'", home);
    assert_int_equal(system(command), 0);
}

static void test_defaults(void **state)
{
    struct fixture f = open_engine(false, NULL);
    struct err err = {0};
    float scales[MODEL_ADAPTERS_MAX];
    (void)state;
    engine_scales(f.engine, scales);
    assert_true(scales[0] == 0 && scales[1] == 0);
    struct fixture_result want = ask(&f, ways[3], (struct str){0});
    memcpy(scales, ways[3], sizeof ways[3]);
    assert_true(engine_set_scales(f.engine, scales, &err));
    struct fixture_result got = ask(&f, NULL, (struct str){0});
    assert_true(got.last.cached_tokens >= KV_PAGE_TOKENS);
    fixture_assert_equal(&got, &want);
    fixture_result_deinit(&got);
    fixture_result_deinit(&want);
    scales[1] = NAN;
    assert_false(engine_set_scales(f.engine, scales, &err));
    assert_int_equal(err.code, ERR_INVALID);
    engine_scales(f.engine, scales);
    assert_true(scales[1] == ways[3][1]);
    fixture_close(&f);
}

static void test_refusals(void **state)
{
    struct fixture f = open_engine(false, NULL);
    static const float wrong[] = {NAN, INFINITY, -101, 100.5f};
    struct err err = {0};
    (void)state;
    struct engine_request r = make_request(&f, ways[1]);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        r.scales[1] = wrong[i];
        assert_null(engine_submit(f.engine, &r, NULL, NULL, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.param, "lora");
    }
    r.scales[1] = 0;
    r.scale_count = 3;
    assert_null(engine_submit(f.engine, &r, NULL, NULL, &err));
    assert_non_null(strstr(err.text, "adapter 2 of a model with 2 adapters"));
    mem_free((void *)(uintptr_t)r.prompt);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crowd),    cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_cache),    cmocka_unit_test(test_disk),
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("engine/adapters", tests, NULL, NULL);
}
