/* What is written can be read by its tenant and by nobody else, in order, also after a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/store.h"

struct fixture {
    char folder[64];
    struct store *store;
    struct arena arena;
};

static struct store *open_or_fail(const char *folder, uint64_t bytes_max)
{
    struct err err = {0};
    struct store *store = store_open(folder, bytes_max, &err);
    if (!store) {
        fail_msg("%s", err.text);
    }
    return store;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/hearth-store-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->store = open_or_fail(fixture->folder, 0);
    fixture->arena = arena_init(0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[128];
    store_close(fixture->store);
    arena_deinit(&fixture->arena);
    snprintf(command, sizeof command, "rm -rf %s", fixture->folder);
    assert_int_equal(system(command), 0);
    free(fixture);
    return 0;
}

static struct store_object object_of(const char *tenant, const char *id, const char *body)
{
    return (struct store_object){.kind = STORE_RESPONSE,
                                 .tenant = str_of(tenant),
                                 .id = str_of(id),
                                 .created_s = 5,
                                 .body = str_of(body)};
}

static void put(struct fixture *fixture, struct store_object object)
{
    struct err err = {0};
    if (!store_put(fixture->store, &object, 1, &err)) {
        fail_msg("%s", err.text);
    }
}

static bool get(struct fixture *fixture, const char *tenant, const char *id,
                struct store_object *out)
{
    struct err err = {0};
    bool ok = store_get(fixture->store, STORE_RESPONSE, str_of(tenant), STR(""), str_of(id), true,
                        &fixture->arena, out, &err);
    assert_true(ok || err.code == ERR_NOT_FOUND);
    return ok;
}

static void what_is_written_is_there_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct store_object object = object_of("ann", "a", "{\"x\":1}"), got;
    object.content = (struct str){"\0\xff\n", 3};
    object.state = STR("queued");
    put(fixture, object);
    object.state = STR("done");
    object.created_s = 9; /* kept as it was */
    object.content = (struct str){0};
    put(fixture, object);
    store_close(fixture->store);
    fixture->store = open_or_fail(fixture->folder, 0);
    assert_true(get(fixture, "ann", "a", &got));
    assert_true(str_eq(got.body, object.body) && str_eq(got.state, STR("done")));
    assert_true(str_eq(got.content, (struct str){"\0\xff\n", 3}));
    assert_int_equal(got.created_s, 5);
}

static void tenants_do_not_see_each_other(void **state)
{
    struct fixture *fixture = *state;
    struct store_object got;
    struct err err = {0};
    put(fixture, object_of("ann", "a", "1"));
    put(fixture, object_of("bob", "a", "2"));
    assert_true(get(fixture, "ann", "a", &got) && str_eq(got.body, STR("1")));
    assert_true(get(fixture, "bob", "a", &got) && str_eq(got.body, STR("2")));
    assert_false(get(fixture, "", "a", &got));
    assert_false(store_delete(fixture->store, STORE_RESPONSE, STR("cat"), STR(""), STR("a"), &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_true(store_delete(fixture->store, STORE_RESPONSE, STR("ann"), STR(""), STR("a"), &err));
    assert_false(get(fixture, "ann", "a", &got));
    assert_true(get(fixture, "bob", "a", &got));
}

static bool add_id(void *arg, const struct store_object *object)
{
    buf_add(arg, object->id);
    return true;
}

static void lists(struct fixture *fixture, struct store_query query, const char *wanted, bool more)
{
    struct buf ids = {0};
    struct err err = {0};
    bool has_more = !more;
    query.kind = query.kind ? query.kind : STORE_RESPONSE;
    if (!store_list(fixture->store, &query, add_id, &ids, &has_more, &err)) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(ids.ptr ? ids.ptr : "", wanted);
    assert_int_equal(has_more, more);
    buf_deinit(&ids);
}

static void lists_are_in_order_and_by_pages(void **state)
{
    static const struct store_pair pair = {{"k", 1}, {"v", 1}};
    struct fixture *fixture = *state;
    struct str ann = STR("ann");
    struct err err = {0};
    for (char c = 'a'; c <= 'e'; c++) {
        char id[2] = {c, 0};
        struct store_object object =
            object_of("ann", id, c == 'b' || c == 'd' ? "{\"metadata\":{\"k\":\"v\"}}" : "{}");
        object.label = c < 'c' ? STR("early") : STR("late");
        object.state = c == 'e' ? STR("open") : STR("");
        put(fixture, object);
    }
    put(fixture, object_of("bob", "z", "{}"));
    put(fixture, object_of("ann", "a", "{}")); /* keeps its place, loses its label */
    lists(fixture, (struct store_query){.tenant = ann}, "abcde", false);
    lists(fixture, (struct store_query){.tenant = ann, .is_descending = true}, "edcba", false);
    lists(fixture, (struct store_query){.tenant = ann, .limit = 2}, "ab", true);
    lists(fixture, (struct store_query){.tenant = ann, .limit = 5}, "abcde", false);
    lists(fixture, (struct store_query){.tenant = ann, .limit = 2, .after = STR("b")}, "cd", true);
    lists(fixture,
          (struct store_query){.tenant = ann, .after = STR("b"), .is_descending = true, .limit = 9},
          "a", false);
    lists(fixture, (struct store_query){.tenant = ann, .label = STR("late")}, "cde", false);
    lists(fixture, (struct store_query){.tenant = ann, .metadata = &pair, .metadata_count = 1},
          "bd", false);
    lists(fixture, (struct store_query){.any_tenant = true, .state = STR("open")}, "e", false);
    lists(fixture, (struct store_query){.any_tenant = true}, "abcdez", false);
    lists(fixture, (struct store_query){.tenant = ann, .id = STR("c"), .any_parent = true}, "c",
          false);
    struct store_query query = {.kind = STORE_RESPONSE, .tenant = ann, .after = STR("z")};
    assert_false(store_list(fixture->store, &query, add_id, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(err.param, "after");
}

static void children_go_with_their_parent(void **state)
{
    struct fixture *fixture = *state;
    struct err err = {0};
    struct store_object objects[] = {object_of("ann", "p", "{}"), object_of("ann", "c", "{}"),
                                     object_of("bob", "c", "{}")};
    objects[1].kind = objects[2].kind = STORE_INPUT;
    objects[1].parent = objects[2].parent = STR("p");
    objects[1].content = STR("bytes");
    assert_true(store_put(fixture->store, objects, 3, &err));
    assert_true(store_delete(fixture->store, STORE_RESPONSE, STR("ann"), STR(""), STR("p"), &err));
    lists(fixture,
          (struct store_query){.kind = STORE_INPUT, .any_tenant = true, .parent = STR("p")}, "c",
          false); /* bob's */
    lists(fixture,
          (struct store_query){.kind = STORE_INPUT, .tenant = STR("ann"), .parent = STR("p")}, "",
          false);
}

static void what_has_expired_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    struct store_object object = object_of("ann", "a", "{}"), got;
    object.expires_s = clock_wall_s() + 1000;
    put(fixture, object);
    assert_true(get(fixture, "ann", "a", &got));
    object.expires_s = clock_wall_s();
    put(fixture, object);
    assert_false(get(fixture, "ann", "a", &got));
    lists(fixture, (struct store_query){.tenant = STR("ann")}, "", false);
}

static void files_are_private(void **state)
{
    static const char *const names[] = {"hearth.db", "hearth.db-wal", "hearth.db-shm"};
    struct fixture *fixture = *state;
    struct stat st;
    put(fixture, object_of("ann", "a", "{}"));
    assert_int_equal(stat(fixture->folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    for (size_t i = 0; i < 3; i++) {
        char path[96];
        snprintf(path, sizeof path, "%s/%s", fixture->folder, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void one_process_has_a_folder(void **state)
{
    struct fixture *fixture = *state;
    struct err err = {0};
    assert_null(store_open(fixture->folder, 0, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_non_null(strstr(err.text, fixture->folder));
}

static void a_newer_or_foreign_file_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct err err = {0};
    char path[96];
    sqlite3 *db;
    store_close(fixture->store);
    fixture->store = NULL;
    snprintf(path, sizeof path, "%s/hearth.db", fixture->folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", 0, 0, 0), SQLITE_OK);
    sqlite3_close(db);
    assert_null(store_open(fixture->folder, 0, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_non_null(strstr(err.text, "newer hearth"));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 8192; i++) {
        fputc('x', file);
    }
    fclose(file);
    assert_null(store_open(fixture->folder, 0, &err));
    assert_int_equal(err.code, ERR_FORMAT);
}

static void the_file_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct err err = {0};
    struct store_object got;
    uint64_t bytes, bytes_max;
    char *big = calloc(1, 600 << 10);
    store_close(fixture->store);
    fixture->store = open_or_fail(fixture->folder, 1 << 20);
    memset(big, 'x', 600 << 10);
    struct store_object object = object_of("ann", "a", "{}");
    object.content = (struct str){big, 600 << 10};
    put(fixture, object);
    object.id = STR("b");
    assert_false(store_put(fixture->store, &object, 1, &err));
    assert_int_equal(err.code, ERR_FULL);
    assert_non_null(strstr(err.text, "1 MiB"));
    assert_true(get(fixture, "ann", "a", &got));
    assert_false(get(fixture, "ann", "b", &got));
    store_size(fixture->store, &bytes, &bytes_max);
    assert_in_range(bytes, 600 << 10, 1 << 20);
    assert_true(store_delete(fixture->store, STORE_RESPONSE, STR("ann"), STR(""), STR("a"), &err));
    put(fixture, object); /* there is room again */
    free(big);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_there_after_a_restart),
        TEST(tenants_do_not_see_each_other),
        TEST(lists_are_in_order_and_by_pages),
        TEST(children_go_with_their_parent),
        TEST(what_has_expired_is_not_there),
        TEST(files_are_private),
        TEST(one_process_has_a_folder),
        TEST(a_newer_or_foreign_file_is_refused),
        TEST(the_file_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
