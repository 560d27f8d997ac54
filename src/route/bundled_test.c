/* The bundled model is found beside a binary in each of the three layouts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "route/bundled.h"

/* A directory tree with one model file; paths are relative to it. */
static char root[64];

static void make(const char *dir, const char *file)
{
    char path[160], *slash;
    snprintf(path, sizeof path, "%s/%s", root, dir);
    for (slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    mkdir(path, 0700);
    if (file) {
        snprintf(path, sizeof path, "%s/%s/%s", root, dir, file);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fclose(f);
    }
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/hearth-bundled-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void check_found(const char *exe, const char *end)
{
    char exe_path[160];
    struct err err = {0};
    char *path = NULL;
    snprintf(exe_path, sizeof exe_path, "%s/%s", root, exe);
    assert_true(route_bundled_model_of(exe_path, &path, &err));
    assert_int_equal(access(path, R_OK), 0);
    assert_string_equal(path + strlen(path) - strlen(end), end);
    mem_free(path);
}

static void test_source_tree(void **state)
{
    (void)state;
    make("models", "hearth-nano.gguf");
    make("build", NULL);
    check_found("build/hearth", "/build/../models/hearth-nano.gguf");
}

static void test_installed(void **state)
{
    (void)state;
    make("bin", NULL);
    make("share/hearth/models", "hearth-nano.gguf");
    check_found("bin/hearth", "/bin/../share/hearth/models/hearth-nano.gguf");
}

static void test_archive(void **state)
{
    (void)state;
    make("x/models", "hearth-nano.gguf");
    check_found("x/hearth", "/x/models/hearth-nano.gguf");
}

static void test_absent(void **state)
{
    (void)state;
    char exe_path[160];
    struct err err = {0};
    char *path = NULL;
    snprintf(exe_path, sizeof exe_path, "%s/bin/hearth", root);
    assert_false(route_bundled_model_of(exe_path, &path, &err));
    assert_int_equal(err.code, ERR_MODEL);
    assert_null(path);
    assert_non_null(strstr(err.text, "share/hearth/models"));
}

static void test_no_memory(void **state)
{
    (void)state;
    struct err err = {0};
    char *path = NULL;
    mem_fail_after(0);
    bool is_found = route_bundled_model_of("/x/hearth", &path, &err);
    mem_fail_after(-1);
    assert_false(is_found);
    assert_int_equal(err.code, ERR_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_source_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_installed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_archive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_absent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests_name("route/bundled", tests, NULL, NULL);
}
