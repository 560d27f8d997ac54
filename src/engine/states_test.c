/* Models whose layers pass on a state: whatever is found in the cache or on disk, taken back or
 * computed again, the bytes are those of a run that begins at its beginning. */
#include "engine/fixture.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/disk.h"

#define LFM2   TEST_GOLDEN "/model/lfm2-f32.gguf"
#define QWEN35 TEST_GOLDEN "/model/qwen35-f32.gguf"

static const char *const models[] = {LFM2, QWEN35};
enum { MODELS = 2, CTX = 640, MANY = 1 << 30 };

static char home[64], folder[80];

static int set_up(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/hearth-states-XXXXXX");
    return mkdtemp(home) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

static struct fixture_params params_of(const char *path)
{
    return (struct fixture_params){.path = path, .ctx = CTX, .batch_rows = 512};
}

/* A prompt of `count` tokens; those from `branch` on depend on the variant. */
static struct engine_request make_request(size_t count, size_t branch, int variant,
                                          uint32_t max_tokens)
{
    text_id *prompt = MEM_ARRAY(text_id, count);
    for (size_t i = 0; i < count; i++) {
        size_t v = i < branch ? 0 : (size_t)variant;
        prompt[i] = (text_id)(3 + (i * 17 + i / 7 + v * 5) % 61);
    }
    struct engine_request r = {.prompt = prompt,
                               .prompt_count = count,
                               .sampling = engine_sampling_default(),
                               .has_max_tokens = true,
                               .max_tokens = max_tokens,
                               .ignore_eos = true,
                               .wants_logprobs = true,
                               .top_logprobs = 3};
    r.sampling.temperature = 0.8f;
    r.sampling.seed = 7 + (uint64_t)variant;
    return r;
}

static struct fixture_result run_fresh(const char *path, const struct engine_request *r)
{
    struct fixture f;
    struct fixture_params p = params_of(path);
    p.no_cache = true;
    fixture_open(&f, &p);
    struct fixture_result got = fixture_run(&f, r);
    assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
    fixture_close(&f);
    return got;
}

/* Runs it in f and compares with a fresh run; gives the tokens that came from the cache. */
static uint32_t expect_fresh(const struct fixture *f, const char *path,
                             const struct engine_request *r)
{
    struct fixture_result want = run_fresh(path, r), got = fixture_run(f, r);
    const uint32_t cached = got.last.cached_tokens;
    fixture_assert_equal(&got, &want);
    fixture_result_deinit(&want);
    fixture_result_deinit(&got);
    return cached;
}

static uint32_t ask(const struct fixture *f, const char *path, size_t count, size_t branch,
                    int variant)
{
    struct engine_request r = make_request(count, branch, variant, 20);
    uint32_t cached = expect_fresh(f, path, &r);
    mem_free((void *)r.prompt);
    return cached;
}

/* The same prompt again; prompts that leave it, of which the first makes the border that the second
 * finds. */
static void test_prefixes(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct fixture f;
        struct fixture_params p = params_of(models[i]);
        fixture_open(&f, &p);
        assert_int_equal(ask(&f, models[i], 300, 300, 0), 0);
        assert_int_equal(ask(&f, models[i], 300, 300, 0), 256);
        assert_int_equal(ask(&f, models[i], 310, 200, 1), 0); /* pages to 192, but no state */
        assert_int_equal(ask(&f, models[i], 330, 200, 2), 192);
        assert_int_equal(ask(&f, models[i], 310, 200, 1), 256);
        assert_int_equal(ask(&f, models[i], 100, 64, 3), 0);
        assert_int_equal(ask(&f, models[i], 128, 64, 4), 64);
        assert_int_equal(ask(&f, models[i], 64, 64, 0), 0);
        assert_int_equal(ask(&f, models[i], 1, 1, 0), 0);
        fixture_close(&f);
    }
}

/* The next turn of a conversation begins behind the answer of the one before. */
static void test_turns(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct fixture f;
        struct fixture_params p = params_of(models[i]);
        fixture_open(&f, &p);
        struct engine_request r = make_request(100, 100, 0, 200);
        struct fixture_result got = fixture_run(&f, &r);
        text_id *next = MEM_ARRAY(text_id, 400);
        memcpy(next, r.prompt, 100 * sizeof *next);
        assert_int_equal(got.token_count, 200);
        for (size_t t = 0; t < 200; t++) {
            next[100 + t] = got.tokens[t].chosen.id;
        }
        for (size_t t = 300; t < 330; t++) {
            next[t] = (text_id)(5 + t % 50);
        }
        mem_free((void *)r.prompt);
        r.prompt = next;
        r.prompt_count = 330;
        r.max_tokens = 10;
        assert_int_equal(expect_fresh(&f, models[i], &r), 256);
        mem_free(next);
        fixture_result_deinit(&got);
        fixture_close(&f);
    }
}

/* Banned strings that appear often, over page borders and at the beginning: the text goes back
 * again and again. */
static void test_step_back(void **state)
{
    static const struct str bans[] = {{"e", sizeof "e" - 1},
                                      {"a", sizeof "a" - 1},
                                      {"th", sizeof "th" - 1},
                                      {"oo", sizeof "oo" - 1}};
    static const size_t counts[] = {1, 63, 64, 65, 200};
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct fixture f;
        struct fixture_params p = params_of(models[i]);
        fixture_open(&f, &p);
        for (size_t k = 0; k < 5; k++) {
            struct engine_request r = make_request(counts[k], counts[k], (int)k, 150);
            /* What two tokens make together is noticed when it is there already. */
            static const struct str pairs[] = {
                {"e a", sizeof "e a" - 1}, {"n th", sizeof "n th" - 1}, {"ho", sizeof "ho" - 1},
                {"as", sizeof "as" - 1},   {"s, ", sizeof "s, " - 1},   {"er", sizeof "er" - 1}};
            r.banned = k % 2 ? bans : pairs;
            r.banned_count = k % 2 ? 4 : 6;
            r.prompt_logprobs = k == 3;
            expect_fresh(&f, models[i], &r);
            expect_fresh(&f, models[i], &r);
            mem_free((void *)r.prompt);
        }
        fixture_close(&f);
    }
}

/* The answer with strings that it holds banned is the one of a model that never wrote them: of two
 * engines, one whose pages are all there and one that starts anew, in small steps. */
static void test_step_back_in_steps(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct engine_request r = make_request(130, 130, 2, 150);
        struct fixture_result plain = run_fresh(models[i], &r);
        static struct str bans[3];
        for (int b = 0; b < 3; b++) {
            bans[b] = (struct str){plain.text.ptr + 10 + 30 * b, 4};
        }
        r.banned = bans;
        r.banned_count = 3;
        struct fixture_result want = run_fresh(models[i], &r);
        assert_true(want.text.len != plain.text.len ||
                    memcmp(want.text.ptr, plain.text.ptr, plain.text.len) != 0);
        static const struct fixture_params arrangements[] = {
            {.batch_rows = 1, .sequences = 1}, {.batch_rows = 16, .threads = 2}, {.chunk = 7}};
        for (size_t k = 0; k < 3; k++) {
            struct fixture f;
            struct fixture_params p = arrangements[k];
            p.path = models[i];
            p.ctx = CTX;
            fixture_open(&f, &p);
            for (int again = 0; again < 3; again++) {
                struct fixture_result got = fixture_run(&f, &r);
                fixture_assert_equal(&got, &want);
                fixture_result_deinit(&got);
            }
            fixture_close(&f);
        }
        fixture_result_deinit(&want);
        fixture_result_deinit(&plain);
        mem_free((void *)r.prompt);
    }
}

/* More prompts at once than there are states to keep, and pages for few of them: sequences are
 * paused and come back. */
static void test_crowd(void **state)
{
    enum { CROWD = 24 };
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct fixture f;
        struct fixture_params p = params_of(models[i]);
        p.sequences = 3;
        p.queue = CROWD;
        p.threads = 2;
        p.kv_tokens = CTX;
        fixture_open(&f, &p);
        for (int round = 0; round < 2; round++) {
            struct engine_stream *streams[CROWD];
            struct engine_request requests[CROWD];
            for (int k = 0; k < CROWD; k++) {
                requests[k] = make_request(90 + 13 * (size_t)(k % 8), 70, k % 8, 120);
                streams[k] = fixture_submit(&f, &requests[k]);
                if (k % 5 == 4) {
                    engine_cancel(streams[k]);
                }
            }
            for (int k = 0; k < CROWD; k++) {
                struct fixture_result got = fixture_collect(streams[k]);
                assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
                if (got.last.finish != ENGINE_CANCELLED) {
                    struct fixture_result want = run_fresh(models[i], &requests[k]);
                    fixture_assert_equal(&got, &want);
                    fixture_result_deinit(&want);
                }
                fixture_result_deinit(&got);
                mem_free((void *)requests[k].prompt);
            }
        }
        struct engine_stats stats;
        engine_stats_read(f.engine, &stats);
        assert_true(stats.preempted > 0);
        fixture_close(&f);
    }
}

/* ---- the disk ---- */

/* One engine's life: asks once; gives the tokens that came from the disk. */
static uint32_t live(const char *path, size_t count, size_t branch, int variant)
{
    struct fixture f;
    struct err err = {0};
    struct fixture_params p = params_of(path);
    p.disk = engine_disk_open(folder, MANY, &err);
    assert_non_null(p.disk);
    fixture_open(&f, &p);
    uint32_t cached = ask(&f, path, count, branch, variant);
    fixture_close(&f);
    engine_disk_close(p.disk);
    return cached;
}

/* Cuts every file, of pages and of states. */
static void damage(void)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[400];
        snprintf(path, sizeof path, "%s/%.300s", folder, entry->d_name);
        FILE *file = strlen(entry->d_name) > 40 ? fopen(path, "r+b") : NULL;
        if (file) {
            assert_int_equal(ftruncate(fileno(file), 500), 0);
            fclose(file);
        }
    }
    closedir(dir);
}

static void test_disk(void **state)
{
    (void)state;
    log_set_level(LOG_OFF);
    for (int i = 0; i < MODELS; i++) {
        const char *path = models[i];
        snprintf(folder, sizeof folder, "%s/%d", home, i); /* the fixture tells no identity */
        assert_int_equal(live(path, 300, 300, 0), 0);
        assert_int_equal(live(path, 300, 300, 0), 256);
        assert_int_equal(live(path, 310, 200, 1), 0);
        assert_int_equal(live(path, 330, 200, 2), 0); /* no page of it was in memory: no border */
        assert_int_equal(live(path, 330, 200, 2), 320);
        damage();
        assert_int_equal(live(path, 300, 300, 0), 0);
        assert_int_equal(live(path, 300, 300, 0), 256);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_step_back),
        cmocka_unit_test(test_step_back_in_steps),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test_setup_teardown(test_disk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
