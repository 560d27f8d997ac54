/* The disk fails, the process dies, somebody else holds the lock: what was acknowledged is there,
 * what was not is there as a whole or not at all, and the error says what happened.
 *
 * A shim stands between SQLite and its files and counts writes and syncs: at the n-th it fails, or
 * kills the process. Other calls pass through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/store.h"

/* ---- the shim ---- */

static int steps_left = -1; /* until the fault; negative: none */
static bool kills;          /* instead of failing */
static int fault_code;
static sqlite3_vfs *real_vfs;

struct shim_file {
    sqlite3_file base;
    sqlite3_file *real;
};

static int count_step(void)
{
    if (steps_left < 0 || steps_left-- > 0) {
        return SQLITE_OK;
    }
    if (kills) {
        kill(getpid(), SIGKILL);
    }
    steps_left = 0; /* the disk stays broken */
    return fault_code;
}

#define REAL(file) (((struct shim_file *)(file))->real)
#define PASS(call) return REAL(f)->pMethods->call

static int shim_close(sqlite3_file *f)
{
    return REAL(f)->pMethods->xClose(REAL(f));
}

static int shim_read(sqlite3_file *f, void *out, int n, sqlite3_int64 at)
{
    PASS(xRead)(REAL(f), out, n, at);
}

/* Half of the bytes reach the disk. */
static int shim_write(sqlite3_file *f, const void *bytes, int n, sqlite3_int64 at)
{
    if (steps_left == 0) {
        REAL(f)->pMethods->xWrite(REAL(f), bytes, n / 2, at);
    }
    int fault = count_step();
    return fault ? fault : REAL(f)->pMethods->xWrite(REAL(f), bytes, n, at);
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    int fault = count_step();
    return fault ? fault : REAL(f)->pMethods->xTruncate(REAL(f), size);
}

static int shim_sync(sqlite3_file *f, int flags)
{
    int fault = count_step();
    return fault ? fault : REAL(f)->pMethods->xSync(REAL(f), flags);
}

static int shim_size(sqlite3_file *f, sqlite3_int64 *size)
{
    PASS(xFileSize)(REAL(f), size);
}

static int shim_lock(sqlite3_file *f, int level)
{
    PASS(xLock)(REAL(f), level);
}

static int shim_unlock(sqlite3_file *f, int level)
{
    PASS(xUnlock)(REAL(f), level);
}

static int shim_check(sqlite3_file *f, int *out)
{
    PASS(xCheckReservedLock)(REAL(f), out);
}

static int shim_control(sqlite3_file *f, int op, void *arg)
{
    PASS(xFileControl)(REAL(f), op, arg);
}

static int shim_sector(sqlite3_file *f)
{
    PASS(xSectorSize)(REAL(f));
}

static int shim_device(sqlite3_file *f)
{
    PASS(xDeviceCharacteristics)(REAL(f));
}

static int shim_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    PASS(xShmMap)(REAL(f), page, size, extend, out);
}

static int shim_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    PASS(xShmLock)(REAL(f), offset, n, flags);
}

static void shim_shm_barrier(sqlite3_file *f)
{
    REAL(f)->pMethods->xShmBarrier(REAL(f));
}

static int shim_shm_unmap(sqlite3_file *f, int remove)
{
    PASS(xShmUnmap)(REAL(f), remove);
}

static const sqlite3_io_methods shim_methods = {
    2,           shim_close,   shim_read,     shim_write,       shim_truncate,  shim_sync,
    shim_size,   shim_lock,    shim_unlock,   shim_check,       shim_control,   shim_sector,
    shim_device, shim_shm_map, shim_shm_lock, shim_shm_barrier, shim_shm_unmap, NULL,
    NULL};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct shim_file *shim = (struct shim_file *)file;
    (void)vfs;
    shim->real = (sqlite3_file *)(shim + 1);
    int fault = real_vfs->xOpen(real_vfs, name, shim->real, flags, out);
    shim->base.pMethods = shim->real->pMethods ? &shim_methods : NULL;
    return fault;
}

static void install_shim(void)
{
    static sqlite3_vfs shim;
    if (real_vfs) {
        return;
    }
    real_vfs = sqlite3_vfs_find(NULL);
    shim = *real_vfs;
    shim.zName = "shim";
    shim.szOsFile = (int)sizeof(struct shim_file) + real_vfs->szOsFile;
    shim.xOpen = shim_open;
    assert_int_equal(sqlite3_vfs_register(&shim, 1), SQLITE_OK);
}

/* ---- tests ---- */

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    install_shim();
    steps_left = -1;
    snprintf(folder, sizeof folder, "/tmp/hearth-fault-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    steps_left = -1;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    return 0;
}

/* Pairs that are written together: number 2i and 2i + 1. */
static bool put_pair(struct store *store, int i, struct err *err)
{
    static char content[3000];
    char ids[2][16];
    struct store_object objects[2];
    memset(content, 'x', sizeof content);
    for (int j = 0; j < 2; j++) {
        snprintf(ids[j], sizeof ids[j], "%d", 2 * i + j);
        objects[j] = (struct store_object){.kind = STORE_RESPONSE,
                                           .tenant = STR("t"),
                                           .id = str_of(ids[j]),
                                           .body = STR("{}"),
                                           .content = {content, sizeof content}};
    }
    return store_put(store, objects, 2, err);
}

static bool has(struct store *store, int number)
{
    char id[16];
    struct store_object object;
    struct err err;
    struct arena arena = arena_init(0);
    snprintf(id, sizeof id, "%d", number);
    bool found = store_get(store, STORE_RESPONSE, STR("t"), STR(""), str_of(id), true, &arena,
                           &object, &err);
    assert_true(!found || object.content.len == 3000);
    arena_deinit(&arena);
    return found;
}

/* Reopens and checks: all `acknowledged` pairs are there, none is there by half. */
static void check(int acknowledged)
{
    struct err err = {0};
    struct store *store = store_open(folder, 0, &err);
    if (!store) {
        fail_msg("%s", err.text);
    }
    for (int i = 0; i < 12; i++) {
        bool first = has(store, 2 * i), second = has(store, 2 * i + 1);
        assert_int_equal(first, second);
        assert_true(first || i >= acknowledged);
    }
    store_close(store);
}

/* In a child that dies at step n of writing four pairs; a byte through the pipe is an
 * acknowledgement. */
static void a_kill_at_each_step_loses_nothing_acknowledged(void **state)
{
    (void)state;
    bool survives = false;
    for (int n = 0; !survives; n++) {
        int ends[2], status, acknowledged = 0;
        char byte;
        assert_true(n < 2000);
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            kills = true;
            steps_left = n;
            struct store *store = store_open(folder, 0, NULL);
            for (int i = 0; store && i < 4; i++) {
                if (!put_pair(store, i, NULL) || write(ends[1], "a", 1) != 1) {
                    _exit(1);
                }
            }
            store_close(store);
            _exit(store ? 0 : 1);
        }
        close(ends[1]);
        while (read(ends[0], &byte, 1) == 1) {
            acknowledged++;
        }
        close(ends[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        survives = WIFEXITED(status);
        assert_true(!survives || WEXITSTATUS(status) == 0);
        check(acknowledged);
        tear_down(state);
        set_up(state);
    }
}

static void a_failing_disk_is_told_and_loses_nothing(void **state)
{
    static const struct {
        int fault;
        enum err_code code;
    } faults[] = {{SQLITE_IOERR_WRITE, ERR_IO}, {SQLITE_FULL, ERR_FULL}};
    for (size_t f = 0; f < 2; f++) {
        bool survives = false;
        fault_code = faults[f].fault;
        for (int n = 0; !survives; n++) {
            int acknowledged = 0;
            struct err err = {0};
            steps_left = n;
            struct store *store = store_open(folder, 0, &err);
            while (store && acknowledged < 3 && put_pair(store, acknowledged, &err)) {
                acknowledged++;
            }
            survives = acknowledged == 3;
            if (!survives && err.code != faults[f].code && err.code != ERR_IO) {
                fail_msg("step %d: %s", n, err.text);
            }
            steps_left = -1;
            if (store && !survives) { /* the disk is well again, and so is the store */
                assert_true(put_pair(store, 11, &err));
            }
            store_close(store);
            check(acknowledged);
            tear_down(state);
            set_up(state);
        }
    }
}

static void a_lock_of_another_program_is_told(void **state)
{
    (void)state;
    struct err err = {0};
    char path[96];
    sqlite3 *other;
    struct store *store = store_open(folder, 0, &err);
    assert_non_null(store);
    assert_true(put_pair(store, 0, &err));
    snprintf(path, sizeof path, "%s/hearth.db", folder);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", 0, 0, 0), SQLITE_OK);
    assert_false(put_pair(store, 1, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_true(has(store, 0)); /* reading goes on */
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", 0, 0, 0), SQLITE_OK);
    sqlite3_close(other);
    assert_true(put_pair(store, 1, &err));
    store_close(store);
    check(2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_kill_at_each_step_loses_nothing_acknowledged),
        TEST(a_failing_disk_is_told_and_loses_nothing),
        TEST(a_lock_of_another_program_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
