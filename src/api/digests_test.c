/* Digests of files against those that FIPS 180-4 gives and sha256sum prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/digests.h"
#include "base/clock.h"

static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char zeros_65_mib[] =
    "25631f11bd18756ec0029380ec886af0c8824dc6b2706bbdb1d9451c7cf45f42";

struct fixture {
    char folder[64];
    struct store *store;
    struct api_digests *digests;
};

static void start(struct fixture *f)
{
    struct err err = {0};
    f->store = store_open(f->folder, 0, &err);
    f->digests = f->store ? api_digests_create(f->store, &err) : NULL;
    if (!f->digests) {
        fail_msg("%s", err.text);
    }
}

static void stop(struct fixture *f)
{
    api_digests_destroy(f->digests);
    store_close(f->store);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->folder, sizeof f->folder, "/tmp/hearth-digests-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    start(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];
    stop(f);
    snprintf(command, sizeof command, "rm -r %s", f->folder);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* Writes a file with a time of change of its own; the path stays until the next call. */
static const char *put(const struct fixture *f, const char *name, const char *text, time_t changed)
{
    static char path[128];
    const struct timespec times[2] = {{.tv_sec = changed}, {.tv_sec = changed}};
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    return path;
}

static void expect(struct fixture *f, const char *path, const char *wanted)
{
    char hex[API_DIGEST_HEX + 1];
    assert_true(api_digests_get(f->digests, path, clock_now_ns() + 60000000000ll, hex));
    assert_string_equal(hex, wanted);
}

static void a_file(void **state)
{
    struct fixture *f = *state;
    expect(f, put(f, "a.gguf", "abc", 1000), abc);
    expect(f, put(f, "empty.gguf", "", 1000),
           "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void parts_are_one_behind_the_other(void **state)
{
    struct fixture *f = *state;
    char hex[API_DIGEST_HEX + 1], path[128];
    snprintf(path, sizeof path, "%s", put(f, "m-00001-of-00002.gguf", "a", 1000));
    assert_false(api_digests_get(f->digests, path, clock_now_ns() + 60000000000ll, hex));
    put(f, "m-00002-of-00002.gguf", "bc", 1000);
    expect(f, path, abc);
}

/* The same size and time: what the store has is believed. */
static void a_restart_reads_no_file(void **state)
{
    struct fixture *f = *state;
    expect(f, put(f, "a.gguf", "abc", 1000), abc);
    stop(f);
    start(f);
    expect(f, put(f, "a.gguf", "xyz", 1000), abc);
}

static void a_changed_file_is_read_again(void **state)
{
    struct fixture *f = *state;
    expect(f, put(f, "a.gguf", "xyz", 1000),
           "3608bca1e44ea6c4d268eb6db02260269892c0b42b86bbf1e77a6fa16c3c9282");
    expect(f, put(f, "a.gguf", "abc", 1001), abc);
    stop(f);
    start(f);
    expect(f, put(f, "a.gguf", "abc", 1002), abc);
}

static void nobody_waits_for_a_large_file(void **state)
{
    struct fixture *f = *state;
    char hex[API_DIGEST_HEX + 1];
    const char *path = put(f, "large.gguf", "", 1000);
    assert_int_equal(truncate(path, (off_t)65 << 20), 0);
    int64_t from_ns = clock_now_ns(), far_ns = from_ns + 600000000000ll;
    while (!api_digests_get(f->digests, path, far_ns, hex) && clock_now_ns() < far_ns) {
        usleep(1000);
    }
    assert_string_equal(hex, zeros_65_mib);
}

static void a_stop_does_not_wait_for_a_file(void **state)
{
    struct fixture *f = *state;
    char hex[API_DIGEST_HEX + 1];
    const char *path = put(f, "huge.gguf", "", 1000);
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    assert_false(api_digests_get(f->digests, path, clock_now_ns() + 600000000000ll, hex));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file),
        TEST(parts_are_one_behind_the_other),
        TEST(a_restart_reads_no_file),
        TEST(a_changed_file_is_read_again),
        TEST(nobody_waits_for_a_large_file),
        TEST(a_stop_does_not_wait_for_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
