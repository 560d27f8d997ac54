/* The store alone: what was written comes back from another store on the same folder, and nothing
 * else does (attacks H3 and H4: forged collisions, other models, truncated files, flipped bits). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/disk.h"

enum { SIZE = 3000, FILE_BYTES = SIZE + 512, MANY = 1 << 30 };

static char home[64], folder[80];

static int set_up(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/hearth-disk-XXXXXX");
    log_set_level(LOG_OFF);
    if (!mkdtemp(home)) {
        return -1;
    }
    snprintf(folder, sizeof folder, "%s/cache", home);
    return 0;
}

static int tear_down(void **state)
{
    char command[120];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

static struct engine_disk *open_store(uint64_t bytes_max)
{
    struct err err = {0};
    struct engine_disk *disk = engine_disk_open(folder, bytes_max, &err);
    if (!disk) {
        fail_msg("%s", err.text);
    }
    return disk;
}

/* Page `page` of the prompt `prompt`, under a model and a salt. */
static struct engine_page_key key_of(int prompt, int page, int model, const char *salt)
{
    struct engine_page_key key = {0};
    key.identity.bytes[0] = (uint8_t)model;
    engine_disk_root(&key.identity, salt, strlen(salt), &key.parent);
    for (int p = 0; p <= page; p++) {
        key.parent = p ? key.own : key.parent;
        for (int i = 0; i < KV_PAGE_TOKENS; i++) {
            key.tokens[i] = prompt * 1000 + p * KV_PAGE_TOKENS + i;
        }
        engine_disk_seal(&key);
    }
    return key;
}

static const uint8_t *bytes_of(const struct engine_page_key *key)
{
    static uint8_t bytes[SIZE];
    for (int i = 0; i < SIZE; i++) {
        bytes[i] = (uint8_t)(key->own.bytes[i % 32] + i / 32);
    }
    return bytes;
}

static void put(struct engine_disk *disk, const struct engine_page_key *key)
{
    engine_disk_write(disk, key, bytes_of(key), SIZE);
}

static bool get(struct engine_disk *disk, const struct engine_page_key *key)
{
    static uint8_t got[SIZE];
    memset(got, 0, SIZE);
    bool ok = engine_disk_read(disk, key, got, SIZE);
    assert_true(!ok || memcmp(got, bytes_of(key), SIZE) == 0);
    return ok;
}

static struct engine_disk_stats stats_of(struct engine_disk *disk)
{
    struct engine_disk_stats stats;
    engine_disk_stats_read(disk, &stats);
    return stats;
}

/* The path of the file of a page. */
static void path_of(const struct engine_page_key *key, char out[300])
{
    struct buf path = {0};
    buf_add_format(&path, "%s/", folder);
    for (int i = 0; i < 32; i++) {
        buf_add_format(&path, "%02x", key->own.bytes[i]);
    }
    buf_add_char(&path, '-');
    for (int i = 0; i < 32; i++) {
        buf_add_format(&path, "%02x", key->parent.bytes[i]);
    }
    buf_add_text(&path, ".kv");
    assert_false(path.failed);
    assert_true(path.len < 300);
    memcpy(out, path.ptr, path.len + 1);
    buf_deinit(&path);
}

static void test_comes_back(void **state)
{
    struct engine_page_key keys[3] = {key_of(1, 0, 7, ""), key_of(1, 1, 7, ""),
                                      key_of(2, 0, 7, "alice")};
    char path[300];
    struct stat st;
    (void)state;
    struct engine_disk *disk = open_store(MANY);
    for (int i = 0; i < 3; i++) {
        assert_false(engine_disk_has(disk, &keys[i].own));
        assert_false(get(disk, &keys[i]));
        put(disk, &keys[i]);
        put(disk, &keys[i]); /* once is enough */
        assert_true(get(disk, &keys[i]));
    }
    assert_int_equal(stats_of(disk).writes, 3);
    assert_int_equal(stats_of(disk).bytes, 3 * FILE_BYTES);
    engine_disk_close(disk);
    path_of(&keys[0], path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    disk = open_store(MANY);
    assert_int_equal(stats_of(disk).files, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(get(disk, &keys[i]));
    }
    engine_disk_close(disk);
}

/* Another model, salt, prefix or token is another page. */
static void test_keys(void **state)
{
    const struct engine_page_key keys[] = {
        key_of(1, 1, 7, ""),  key_of(1, 0, 7, ""),  key_of(2, 1, 7, ""),   key_of(1, 1, 8, ""),
        key_of(1, 1, 7, "a"), key_of(1, 1, 7, "b"), key_of(1, 1, 7, "ab"),
    };
    const size_t count = sizeof keys / sizeof *keys;
    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_memory_not_equal(&keys[i].own, &keys[j].own, sizeof keys[i].own);
        }
    }
    /* Known from elsewhere: python3, hashlib.sha256(b"hearth root 1" + bytes(32) + b"salt") */
    struct engine_digest zero = {{0}}, root;
    static const uint8_t want[4] = {0xdf, 0x7a, 0xba, 0x06};
    engine_disk_root(&zero, "salt", 4, &root);
    assert_memory_equal(root.bytes, want, sizeof want);
}

static void test_second_process(void **state)
{
    struct err err = {0};
    (void)state;
    struct engine_disk *disk = open_store(MANY);
    assert_null(engine_disk_open(folder, MANY, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_non_null(strstr(err.text, folder));
    engine_disk_close(disk);
    engine_disk_close(open_store(MANY));
}

static void spoil(const char *path, off_t at, int flip, off_t length)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    if (flip) {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= (uint8_t)flip;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    if (length >= 0) {
        assert_int_equal(ftruncate(fd, length), 0);
    }
    close(fd);
}

/* A bit anywhere, an end anywhere: refused, counted, removed; a good copy can follow. */
static void test_damage(void **state)
{
    static const off_t lengths[] = {0, 1, 511, 512, 513, FILE_BYTES - 1, FILE_BYTES + 1, 1 << 20};
    struct engine_page_key key = key_of(1, 1, 7, "x");
    char path[300];
    uint64_t damaged = 0;
    (void)state;
    path_of(&key, path);
    struct engine_disk *disk = open_store(MANY);
    for (off_t at = 0; at < FILE_BYTES; at += at < 512 ? 7 : 101) {
        put(disk, &key);
        spoil(path, at, 1 << at % 8, -1);
        assert_false(get(disk, &key));
        assert_false(engine_disk_has(disk, &key.own));
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(stats_of(disk).damaged, ++damaged);
    }
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        put(disk, &key);
        spoil(path, 0, 0, lengths[i]);
        assert_false(get(disk, &key));
    }
    put(disk, &key);
    assert_int_equal(unlink(path), 0);
    assert_false(get(disk, &key));
    put(disk, &key);
    assert_true(get(disk, &key));
    engine_disk_close(disk);
}

/* Files under names that are not theirs: of another prompt, tenant or model, or links. */
static void test_forged(void **state)
{
    struct engine_page_key mine = key_of(1, 0, 7, ""),
                           others[] = {key_of(2, 0, 7, ""), key_of(1, 0, 8, ""),
                                       key_of(1, 0, 7, "bob"), key_of(1, 1, 7, "")};
    char path[300], other[300], target[100];
    (void)state;
    path_of(&mine, path);
    for (size_t i = 0; i < 4; i++) {
        struct engine_disk *disk = open_store(MANY);
        put(disk, &others[i]);
        engine_disk_close(disk);
        path_of(&others[i], other);
        assert_int_equal(rename(other, path), 0);
        disk = open_store(MANY);
        assert_true(engine_disk_has(disk, &mine.own)); /* so its name says */
        assert_false(get(disk, &mine));
        engine_disk_close(disk);
    }
    struct engine_disk *disk = open_store(MANY);
    put(disk, &mine);
    snprintf(target, sizeof target, "%s/elsewhere", home);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink(target, path), 0);
    assert_false(get(disk, &mine));
    engine_disk_close(disk);
    assert_int_equal(symlink(target, path), 0);
    disk = open_store(MANY);
    assert_false(engine_disk_has(disk, &mine.own));
    engine_disk_close(disk);
    assert_int_equal(unlink(path), 0);
}

static void make_file(const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void test_foreign_files(void **state)
{
    struct engine_page_key a = key_of(3, 0, 7, ""), circle = key_of(4, 1, 7, "");
    char path[300], name[300];
    (void)state;
    engine_disk_close(open_store(MANY));
    make_file("notes.txt");
    make_file(".kv");
    make_file("x.kv.new");
    path_of(&a, path);
    snprintf(name, sizeof name, "%s", strrchr(path, '/') + 1);
    name[3] = 'G';
    make_file(name);
    name[3] = 'A'; /* capitals are not ours */
    make_file(name);
    /* Two that say to stand before each other. */
    struct engine_digest own = circle.own;
    circle.own = circle.parent;
    circle.parent = own;
    path_of(&circle, path);
    make_file(strrchr(path, '/') + 1);
    circle.parent = circle.own;
    circle.own = own;
    path_of(&circle, path);
    make_file(strrchr(path, '/') + 1);
    struct engine_disk *disk = open_store(MANY);
    assert_int_equal(stats_of(disk).files, 2);
    engine_disk_touch(disk, &own);
    put(disk, &a);
    assert_true(get(disk, &a));
    engine_disk_close(disk);
    snprintf(path, sizeof path, "%s/x.kv.new", folder);
    assert_int_equal(access(path, F_OK), -1);
    disk = open_store(0); /* a quota of nothing removes pages, but not what is foreign */
    assert_int_equal(stats_of(disk).files, 0);
    engine_disk_close(disk);
    snprintf(path, sizeof path, "%s/notes.txt", folder);
    assert_int_equal(access(path, F_OK), 0);
}

/* A chain's beginning outlives its end, and what is used what is not; also over a restart. */
static void test_quota(void **state)
{
    (void)state;
    struct engine_disk *disk = open_store(6 * FILE_BYTES + 100);
    for (int prompt = 1; prompt <= 2; prompt++) {
        for (int page = 0; page < 3; page++) {
            struct engine_page_key key = key_of(prompt, page, 7, "");
            put(disk, &key);
            usleep(2000); /* for the times of the files */
        }
    }
    struct engine_page_key a[3], b[3], c = key_of(3, 0, 7, "");
    for (int page = 0; page < 3; page++) {
        a[page] = key_of(1, page, 7, "");
        b[page] = key_of(2, page, 7, "");
    }
    assert_true(get(disk, &a[0]));
    engine_disk_touch(disk, &a[1].own);
    put(disk, &c); /* the longest unused leaf goes: the end of a */
    assert_false(engine_disk_has(disk, &a[2].own));
    for (int page = 0; page < 3; page++) {
        assert_true(engine_disk_has(disk, &b[page].own));
    }
    engine_disk_close(disk);
    disk = open_store(5 * FILE_BYTES); /* times: b written last, a[0] read last */
    assert_int_equal(stats_of(disk).files, 5);
    assert_true(engine_disk_has(disk, &a[0].own));
    assert_false(engine_disk_has(disk, &a[1].own));
    engine_disk_close(disk);
    disk = open_store(3 * FILE_BYTES);
    assert_true(engine_disk_has(disk, &b[0].own)); /* before b[2], which is younger */
    assert_false(engine_disk_has(disk, &b[2].own) && !engine_disk_has(disk, &b[1].own));
    engine_disk_close(disk);
    disk = open_store(FILE_BYTES - 1);
    put(disk, &c);
    assert_int_equal(stats_of(disk).files, 0);
    engine_disk_close(disk);
}

static void test_no_memory(void **state)
{
    struct engine_page_key key = key_of(1, 0, 7, "");
    struct err err = {0};
    (void)state;
    struct engine_disk *disk = open_store(MANY);
    put(disk, &key);
    mem_fail_after(0);
    assert_false(get(disk, &key));
    mem_fail_after(-1);
    assert_true(get(disk, &key));
    engine_disk_close(disk);
    for (long n = 0; n < 60; n++) {
        mem_fail_after(n);
        disk = engine_disk_open(folder, MANY, &err);
        mem_fail_after(-1);
        engine_disk_close(disk);
    }
    assert_non_null(disk);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_comes_back), TEST(test_keys),      TEST(test_second_process),
        TEST(test_damage),     TEST(test_forged),    TEST(test_foreign_files),
        TEST(test_quota),      TEST(test_no_memory),
    };
    return cmocka_run_group_tests_name("engine/disk", tests, NULL, NULL);
}
