#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"

static char folder[] = "/tmp/hearth-os-test-XXXXXX";

static char *in_folder(char out[128], const char *name)
{
    snprintf(out, 128, "%s/%s", folder, name);
    return out;
}

static void write_file(const char *path, size_t len, int byte)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (size_t i = 0; i < len; i++) {
        fputc(byte, file);
    }
    assert_int_equal(fclose(file), 0);
}

static void only_regular_files_open(void **state)
{
    (void)state;
    char path[128];
    struct os_file file;
    struct err err = {0};
    assert_false(os_file_open(&file, folder, &err));
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_false(os_file_open(&file, "/dev/zero", &err));
    assert_int_equal(mkfifo(in_folder(path, "fifo"), 0600), 0);
    assert_false(os_file_open(&file, path, &err)); /* must not wait for a writer */
    assert_false(os_file_open(&file, in_folder(path, "missing"), &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "missing"));
    os_file_close(&file);
}

static void reading_past_the_end_is_an_error(void **state)
{
    (void)state;
    char path[128], bytes[16];
    struct os_file file;
    struct err err = {0};
    write_file(in_folder(path, "ten"), 10, 'x');
    assert_true(os_file_open(&file, path, &err));
    assert_int_equal(file.size, 10);
    assert_true(os_file_read(&file, 2, bytes, 8, &err));
    assert_true(os_file_read(&file, 10, bytes, 0, &err));
    assert_false(os_file_read(&file, 2, bytes, 9, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    struct os_map map;
    assert_false(os_map_open(&map, &file, 5, 6, &err));
    assert_false(os_map_open(&map, &file, UINT64_MAX, 2, &err));
    assert_true(os_map_open(&map, &file, 5, 5, &err));
    assert_int_equal(map.ptr[4], 'x');
    os_map_close(&map);
    os_map_close(&map);
    os_file_close(&file);
    size_t len;
    char *all = os_file_slurp(path, 10, &len, &err);
    assert_string_equal(all, "xxxxxxxxxx");
    mem_free(all);
    assert_null(os_file_slurp(path, 9, &len, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
}

static void a_truncated_map_reads_as_zero(void **state)
{
    (void)state;
    char path[128];
    struct os_file file;
    struct os_map map, other;
    struct err err = {0};
    write_file(in_folder(path, "shrinking"), 100000, 'y');
    assert_true(os_file_open(&file, path, &err));
    assert_true(os_map_open(&map, &file, 5000, 90000, &err));
    assert_true(os_map_open(&other, &file, 0, 4000, &err));
    assert_int_equal(map.ptr[89999], 'y');
    assert_int_equal(truncate(path, 4096), 0);
    unsigned sum = 0;
    for (size_t i = 0; i < map.len; i++) {
        sum += map.ptr[i];
    }
    assert_int_equal(sum, 0);
    assert_true(os_map_is_lost(&map));
    assert_false(os_map_is_lost(&other));
    assert_int_equal(other.ptr[0], 'y');
    os_map_close(&map);
    os_map_close(&other);
    os_file_close(&file);
}

static void output_files_appear_whole_or_not_at_all(void **state)
{
    (void)state;
    char path[128];
    struct os_out out;
    struct err err = {0};
    assert_true(os_out_open(&out, in_folder(path, "out"), &err));
    assert_true(os_out_write(&out, "hello", 5, &err));
    assert_true(os_out_write_at(&out, 0, "J", 1, &err));
    assert_false(os_path_exists(path));
    assert_true(os_out_commit(&out, &err));
    size_t len;
    char *text = os_file_slurp(path, 100, &len, &err);
    assert_string_equal(text, "Jello");
    mem_free(text);
    assert_true(os_out_open(&out, path, &err));
    assert_true(os_out_write(&out, "other", 5, &err));
    os_out_abort(&out);
    os_out_abort(&out);
    text = os_file_slurp(path, 100, &len, &err);
    assert_string_equal(text, "Jello");
    mem_free(text);
    assert_false(os_out_open(&out, "/nowhere/at/all", &err));
    assert_false(os_out_open(&out, folder, &err));
}

static bool note_name(void *arg, const char *name)
{
    strncat(arg, name, 64);
    strncat(arg, " ", 2);
    return true;
}

static void directories_are_sorted(void **state)
{
    (void)state;
    char path[128], names[512] = "";
    struct err err = {0};
    assert_int_equal(mkdir(in_folder(path, "dir"), 0700), 0);
    write_file(in_folder(path, "dir/b"), 1, 'b');
    write_file(in_folder(path, "dir/a"), 1, 'a');
    assert_true(os_dir_each(in_folder(path, "dir"), note_name, names, &err));
    assert_string_equal(names, "a b ");
    assert_false(os_dir_each(in_folder(path, "nodir"), note_name, names, &err));
}

static void pages_are_zero_and_aligned(void **state)
{
    (void)state;
    struct err err = {0};
    unsigned char *pages = os_pages_alloc(3 << 20, &err);
    assert_non_null(pages);
    assert_int_equal((uintptr_t)pages % (2 << 20), 0);
    assert_int_equal(pages[0] | pages[(3 << 20) - 1], 0);
    pages[(3 << 20) - 1] = 1;
    os_pages_free(pages, 3 << 20);
    assert_null(os_pages_alloc(SIZE_MAX - 5, &err));
    assert_int_equal(err.code, ERR_MEMORY);
}

static void address_limits_bound_what_is_available(void **state)
{
    (void)state;
    struct rlimit before, tight;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* the sanitizer's own reservations are larger than any limit */
#endif
    tight = before;
    tight.rlim_cur = 512u << 20;
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
    struct rlimit now;
    assert_int_equal(getrlimit(RLIMIT_AS, &now), 0);
    if (now.rlim_cur != tight.rlim_cur) {
        print_message("skipped: this emulator does not pass RLIMIT_AS on\n");
        skip();
    }
    assert_true(os_memory_available() < 512u << 20);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_true(os_memory_total() >= os_memory_rss());
}

static void changed_files_and_full_disks_are_told(void **state)
{
    (void)state;
    char path[128];
    struct os_file file;
    struct err err = {0};
    write_file(in_folder(path, "changing"), 10, 'x');
    assert_true(os_file_open(&file, path, &err));
    assert_false(os_file_has_changed(&file));
    assert_int_equal(truncate(path, 9), 0);
    assert_true(os_file_has_changed(&file));
    os_file_close(&file);
    assert_in_range(os_disk_available(in_folder(path, "not-there")), 1, UINT64_MAX - 1);
    assert_true(os_disk_available("/nowhere/at/all") == UINT64_MAX);
}

static void the_machine_has_processors(void **state)
{
    (void)state;
    char name[96];
    os_cpu_name(name);
    assert_true(strlen(name) > 0);
    assert_true(os_cpu_count() >= 1);
    assert_in_range(os_cpu_cores(), 1, os_cpu_count());
    assert_true(os_fd_count() >= 3);
    unsigned char a[16] = {0}, b[16] = {0};
    os_random(a, sizeof a);
    os_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    char *exe = os_exe_path(NULL);
    assert_non_null(strstr(exe, "os_test"));
    mem_free(exe);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_regular_files_open),
        cmocka_unit_test(reading_past_the_end_is_an_error),
        cmocka_unit_test(a_truncated_map_reads_as_zero),
        cmocka_unit_test(output_files_appear_whole_or_not_at_all),
        cmocka_unit_test(directories_are_sorted),
        cmocka_unit_test(pages_are_zero_and_aligned),
        cmocka_unit_test(address_limits_bound_what_is_available),
        cmocka_unit_test(changed_files_and_full_disks_are_told),
        cmocka_unit_test(the_machine_has_processors),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
