#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os_private.h"

static char home[] = "/tmp/hearth-private-XXXXXX", folder[128], path[160];

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(home)) {
        return -1;
    }
    snprintf(folder, sizeof folder, "%s/a/b", home);
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int tear_down(void **state)
{
    char command[200];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

static unsigned mode_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(name, &st), 0);
    return st.st_mode & 0777;
}

static void a_folder_is_private(void **state)
{
    struct err err = {0};
    (void)state;
    assert_true(os_private_folder(folder, &err));
    assert_int_equal(mode_of(folder), 0700);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_true(os_private_folder(folder, &err));
    assert_int_equal(mode_of(folder), 0700);
    assert_false(os_private_folder("/dev/null", &err));
    assert_int_equal(err.code, ERR_IO);
    assert_false(os_private_folder("/proc/nothing/here", &err));
    assert_false(os_private_folder("", &err));
}

static void one_process_has_the_lock(void **state)
{
    struct err err = {0};
    (void)state;
    int lock = os_private_lock(folder, &err), status = -1;
    assert_true(lock >= 0);
    pid_t child = fork();
    if (child == 0) {
        int other = os_private_lock(folder, &err);
        _exit(other == -1 && err.code == ERR_BUSY && strstr(err.text, folder) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    os_private_unlock(lock);
    lock = os_private_lock(folder, &err);
    assert_true(lock >= 0);
    os_private_unlock(lock);
    os_private_unlock(-1);
}

static void a_file_appears_whole(void **state)
{
    struct err err = {0};
    struct os_file file;
    char got[8] = {0}, temp[200];
    const struct os_part parts[] = {{"one", 3}, {"", 0}, {"two", 3}};
    (void)state;
    snprintf(temp, sizeof temp, "%s.new", path);
    assert_int_equal(symlink("/dev/full", temp), 0); /* is not followed */
    assert_true(os_private_write(path, parts, 3, &err));
    assert_int_equal(mode_of(path), 0600);
    assert_false(os_path_exists(temp));
    assert_true(os_private_open(&file, path, &err));
    assert_int_equal(file.size, 6);
    assert_true(os_file_read(&file, 0, got, 6, &err));
    assert_string_equal(got, "onetwo");
    os_private_touch(&file);
    os_file_close(&file);
    assert_true(os_private_write(path, parts, 1, &err)); /* over the old one */
    assert_true(os_private_open(&file, path, &err));
    assert_int_equal(file.size, 3);
    os_file_close(&file);
    assert_true(os_private_remove(path));
    assert_false(os_private_remove(path));
    assert_false(os_private_write("/proc/nothing", parts, 1, &err));
}

static void only_own_regular_files_open(void **state)
{
    struct err err = {0};
    struct os_file file;
    (void)state;
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_false(os_private_open(&file, path, &err));
    assert_int_equal(file.fd, -1);
    assert_true(os_private_remove(path));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(os_private_open(&file, path, &err));
    assert_true(os_private_remove(path));
    assert_false(os_private_open(&file, path, &err));
    assert_false(os_private_open(&file, folder, &err));
}

static void lack_of_memory(void **state)
{
    struct err err = {0};
    (void)state;
    mem_fail_after(0);
    assert_false(os_private_folder(folder, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    assert_int_equal(os_private_lock(folder, &err), -1);
    assert_false(os_private_write(path, &(struct os_part){"x", 1}, 1, &err));
    mem_fail_after(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_is_private),  cmocka_unit_test(one_process_has_the_lock),
        cmocka_unit_test(a_file_appears_whole), cmocka_unit_test(only_own_regular_files_open),
        cmocka_unit_test(lack_of_memory),
    };
    return cmocka_run_group_tests_name("base/os_private", tests, set_up, tear_down);
}
