/* An engine with a disk: what one engine has read, the next one finds, with equal bytes; damage,
 * cancels and few pages change nothing but the time. */
#include "engine/fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/disk.h"

enum { MANY = 1 << 30 };

static char home[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/hearth-spill-XXXXXX");
    return mkdtemp(home) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

static struct engine_disk *open_store(void)
{
    struct err err = {0};
    struct engine_disk *disk = engine_disk_open(home, MANY, &err);
    if (!disk) {
        fail_msg("%s", err.text);
    }
    return disk;
}

static struct engine_request make_request(const struct fixture *f, int variant)
{
    static const char sentence[] =
        "Once upon a time there was a little girl named Lily. She loved to play in the park with "
        "her friend Tom. One day they saw a big brown dog. The dog was sad. ";
    struct buf text = {0};
    for (int i = 0; i < 4; i++) {
        buf_add_text(&text, i == variant ? "Tim and Sue ran home. " : "");
        buf_add_text(&text, sentence);
    }
    struct engine_request r = fixture_request(f, text.ptr, 70);
    buf_deinit(&text);
    r.wants_logprobs = true;
    r.top_logprobs = 2;
    return r;
}

static struct fixture_result ask(const struct fixture *f, int variant, struct str salt)
{
    struct engine_request r = make_request(f, variant);
    r.cache_salt = salt;
    struct fixture_result got = fixture_run(f, &r);
    mem_free((void *)r.prompt);
    return got;
}

/* One engine's life: asks once and checks the answer; gives the tokens that came from a cache. */
static uint32_t live(const struct fixture_params *base, int variant, struct str salt,
                     const struct fixture_result *want)
{
    struct fixture f;
    struct fixture_params p = *base;
    p.disk = open_store();
    fixture_open(&f, &p);
    struct fixture_result got = ask(&f, variant, salt);
    fixture_assert_equal(&got, want);
    const uint32_t cached = got.last.cached_tokens;
    fixture_result_deinit(&got);
    fixture_close(&f);
    engine_disk_close(p.disk);
    return cached;
}

static void damage_all(int every)
{
    int number = 0;
    DIR *dir = opendir(home);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[400];
        if (strlen(entry->d_name) > 100 && number++ % every == 0) {
            snprintf(path, sizeof path, "%s/%s", home, entry->d_name);
            assert_int_equal(truncate(path, 600), 0);
        }
    }
    closedir(dir);
    assert_true(number > 0);
}

static void test_found_again(void **state)
{
    (void)state;
    static const struct fixture_params arrangements[] = {
        {.ctx = 640, .batch_rows = 512},
        {.ctx = 640, .batch_rows = 20, .threads = 2},
        {.ctx = 640, .batch_rows = 64, .kv_tokens = 640},
    };
    struct fixture f;
    struct fixture_result want[2];
    log_set_level(LOG_OFF);
    fixture_open(&f, &(struct fixture_params){.ctx = 640, .batch_rows = 512, .no_cache = true});
    for (int i = 0; i < 2; i++) {
        want[i] = ask(&f, i + 2, (struct str){0});
    }
    fixture_close(&f);
    const uint32_t whole = (want[0].last.prompt_tokens - 1) / 64 * 64;
    assert_true(whole >= 192);
    const struct fixture_params *a = arrangements;
    assert_int_equal(live(&a[0], 2, STR(""), &want[0]), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(live(&a[i], 2, STR(""), &want[0]), whole);
    }
    const uint32_t shared = live(&a[0], 3, STR(""), &want[1]);
    assert_true(shared >= 64 && shared < whole);
    assert_int_equal(live(&a[0], 2, STR("other"), &want[0]), 0);
    damage_all(1);
    assert_int_equal(live(&a[0], 2, STR(""), &want[0]), 0);
    assert_int_equal(live(&a[1], 2, STR(""), &want[0]), whole);
    damage_all(3);
    for (int i = 0; i < 3; i++) { /* whatever is left, the bytes are the same */
        live(&a[i], 3, STR(""), &want[1]);
    }
    assert_int_equal(live(&a[0], 3, STR(""), &want[1]), whole);
    for (int i = 0; i < 2; i++) {
        fixture_result_deinit(&want[i]);
    }
}

/* Many at once over a cache that holds two of them, with cancels: pages come and go all the time.
 */
static void test_crowd(void **state)
{
    (void)state;
    enum { CROWD = 20 };
    struct fixture f;
    struct fixture_result want[4];
    log_set_level(LOG_OFF);
    fixture_open(&f, &(struct fixture_params){.ctx = 640, .batch_rows = 512, .no_cache = true});
    for (int i = 0; i < 4; i++) {
        want[i] = ask(&f, i, (struct str){0});
    }
    fixture_close(&f);
    for (int life = 0; life < 4; life++) {
        struct engine_stream *streams[CROWD];
        struct fixture_params p = {.ctx = 640,
                                   .batch_rows = 40,
                                   .threads = 2,
                                   .queue = CROWD,
                                   .kv_tokens = life % 2 ? 1100 : 0,
                                   .disk = open_store()};
        fixture_open(&f, &p);
        for (int i = 0; i < CROWD; i++) {
            struct engine_request r = make_request(&f, (i + life) % 4);
            streams[i] = fixture_submit(&f, &r);
            mem_free((void *)r.prompt);
            if (i % 5 == 4) {
                engine_cancel(streams[i - 1]);
            }
        }
        for (int i = 0; i < CROWD; i++) {
            struct fixture_result got = fixture_collect(streams[i]);
            if (got.last.finish != ENGINE_CANCELLED) {
                fixture_assert_equal(&got, &want[(i + life) % 4]);
            }
            fixture_result_deinit(&got);
        }
        fixture_close(&f);
        engine_disk_close(p.disk);
        if (life == 2) {
            damage_all(2);
        }
    }
    for (int i = 0; i < 4; i++) {
        fixture_result_deinit(&want[i]);
    }
}

/* An engine that goes while it reads and writes. */
static void test_early_end(void **state)
{
    (void)state;
    log_set_level(LOG_OFF);
    for (int round = 0; round < 6; round++) {
        struct fixture f;
        struct fixture_params p = {.ctx = 640, .batch_rows = 512, .disk = open_store()};
        fixture_open(&f, &p);
        struct engine_request r = make_request(&f, 1);
        struct engine_stream *stream = fixture_submit(&f, &r);
        mem_free((void *)r.prompt);
        clock_sleep_ns(round * 700000);
        engine_destroy(f.engine);
        f.engine = NULL;
        struct fixture_result got = fixture_collect(stream);
        assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
        fixture_result_deinit(&got);
        fixture_close(&f);
        engine_disk_close(p.disk);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {TEST(test_found_again), TEST(test_crowd),
                                       TEST(test_early_end)};
    return cmocka_run_group_tests_name("engine/spill", tests, NULL, NULL);
}
