/* What the writer writes: the bytes of a small file by hand, a file of another library copied
 * without loss, refusals, and no trace of a file that was not finished. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>

#include "base/mem.h"
#include "gguf/test_image.h"
#include "gguf/writer.h"

static void assert_folder_is_empty(void)
{
    DIR *folder = opendir(image_folder);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        assert_true(entry->d_name[0] == '.' && strlen(entry->d_name) <= 2);
    }
    closedir(folder);
}

static void assert_file_is(const char *path, const struct buf *wanted)
{
    size_t len;
    struct err err;
    char *bytes = os_file_slurp(path, 1 << 20, &len, &err);
    assert_non_null(bytes);
    assert_int_equal(len, wanted->len);
    assert_memory_equal(bytes, wanted->ptr, len);
    mem_free(bytes);
}

static void bytes_are_those_of_the_format(void **state)
{
    (void)state;
    const char *path = image_path("out.gguf");
    struct err err = {0};
    struct buf wanted = {0};
    const float weights[3] = {1.0F, -2.0F, 0.5F};
    const char q8[34] = {1, 2, 3};
    const uint16_t items[2] = {1, 65535};
    struct gguf_value array = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_U16, .count = 2, .items = items};

    struct gguf_writer *writer = gguf_writer_create(&err);
    assert_non_null(writer);
    assert_true(gguf_writer_set_str(writer, STR("general.architecture"), STR("llama"), &err));
    assert_true(gguf_writer_set_u32(writer, STR("n"), 1, &err));
    assert_true(gguf_writer_set_f32(writer, STR("f"), 0.1F, &err));
    assert_true(gguf_writer_set_bool(writer, STR("b"), true, &err));
    assert_true(gguf_writer_set(writer, STR("a"), &array, &err));
    assert_true(gguf_writer_set_u32(writer, STR("n"), 9, &err)); /* the last value counts */
    assert_true(gguf_writer_add(writer, STR("w"), DTYPE_F32, 1, IMAGE_DIMS(3), &err));
    assert_true(gguf_writer_add(writer, STR("q"), DTYPE_Q8_0, 2, IMAGE_DIMS(32, 1), &err));
    assert_true(gguf_writer_begin(writer, path, &err));
    assert_false(os_path_exists(path));                      /* not before it is complete */
    assert_true(gguf_writer_data(writer, weights, 5, &err)); /* pieces need not fit tensors */
    assert_true(gguf_writer_data(writer, (const char *)weights + 5, 7, &err));
    assert_true(gguf_writer_data(writer, q8, 34, &err));
    assert_true(gguf_writer_commit(writer, &err));
    gguf_writer_destroy(writer);

    image_head(&wanted, 3, 2, 5);
    image_key_str(&wanted, "general.architecture", "llama");
    image_key_u32(&wanted, "n", 9);
    image_key(&wanted, "f", GGUF_F32);
    image_bytes(&wanted, &(float){0.1F}, 4);
    image_key(&wanted, "b", GGUF_BOOL);
    image_u8(&wanted, 1);
    image_key(&wanted, "a", GGUF_ARRAY);
    image_u32(&wanted, GGUF_U16);
    image_u64(&wanted, 2);
    image_bytes(&wanted, items, 4);
    image_tensor(&wanted, "w", 0, 1, IMAGE_DIMS(3), 0);
    image_tensor(&wanted, "q", 8, 2, IMAGE_DIMS(32, 1), 32);
    image_pad(&wanted, 32);
    image_bytes(&wanted, weights, 12);
    image_pad(&wanted, 32);
    image_bytes(&wanted, q8, 34);
    image_pad(&wanted, 32);
    assert_file_is(path, &wanted);
    unlink(path);
    buf_deinit(&wanted);
    assert_folder_is_empty();
}

static bool copy_tensors(const struct gguf *gguf, struct gguf_writer *writer, struct err *err)
{
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        struct os_map map;
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        if (!gguf_rows_open(gguf, tensor, 0, tensor->row_count, &map, err)) {
            return false;
        }
        bool ok = gguf_writer_data(writer, map.ptr, map.len, err);
        os_map_close(&map);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool copy_model(const struct gguf *gguf, struct gguf_writer *writer, const char *path,
                       struct err *err)
{
    for (size_t i = 0; i < gguf->entry_count; i++) {
        if (!gguf_writer_set(writer, gguf->entries[i].key, &gguf->entries[i].value, err)) {
            return false;
        }
    }
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        if (!gguf_writer_add(writer, tensor->name, tensor->type, tensor->dim_count, tensor->dims,
                             err)) {
            return false;
        }
    }
    return gguf_writer_begin(writer, path, err) && copy_tensors(gguf, writer, err) &&
           gguf_writer_commit(writer, err);
}

/* gguf-py and this writer lay files out alike, so a copy has the same bytes: all kinds, alignment
 * 64, ten tensor types. */
static void a_copy_of_a_foreign_file_is_that_file(void **state)
{
    (void)state;
    const char *const sources[] = {TEST_DATA "/gguf/kinds.gguf",
                                   TEST_DATA "/models/stories260K.gguf"};
    for (size_t i = 0; i < 2; i++) {
        const char *path = image_path("copy.gguf");
        struct err err = {0};
        struct gguf *gguf = gguf_open(sources[i], &err);
        struct gguf_writer *writer = gguf_writer_create(&err);
        assert_true(copy_model(gguf, writer, path, &err));
        gguf_writer_destroy(writer);
        gguf_close(gguf);
        size_t a_len, b_len;
        char *a = os_file_slurp(sources[i], 2 << 20, &a_len, &err);
        char *b = os_file_slurp(path, 2 << 20, &b_len, &err);
        assert_int_equal(a_len, b_len);
        assert_memory_equal(a, b, a_len);
        mem_free(a);
        mem_free(b);
        unlink(path);
    }
}

/* Pieces above the writer's buffer go out past it; they must stay between the small ones. */
static void large_pieces_keep_their_place(void **state)
{
    (void)state;
    enum { LARGE = 1 << 20 };
    const char *path = image_path("large.gguf");
    struct err err = {0};
    struct os_map map;
    unsigned char *bytes = mem_alloc(LARGE, 1);
    for (size_t i = 0; i < LARGE; i++) {
        bytes[i] = (unsigned char)(i * 131 >> 7);
    }
    struct gguf_writer *writer = gguf_writer_create(&err);
    struct str text = {.ptr = (const char *)bytes, .len = LARGE};
    assert_true(gguf_writer_set_str(writer, STR("before"), STR("b"), &err));
    assert_true(gguf_writer_set_str(writer, STR("text"), text, &err));
    assert_true(gguf_writer_set_str(writer, STR("after"), STR("a"), &err));
    assert_true(gguf_writer_add(writer, STR("small"), DTYPE_I8, 1, IMAGE_DIMS(3), &err));
    assert_true(gguf_writer_add(writer, STR("large"), DTYPE_I8, 2, IMAGE_DIMS(LARGE, 1), &err));
    assert_true(gguf_writer_add(writer, STR("last"), DTYPE_I8, 1, IMAGE_DIMS(3), &err));
    assert_true(gguf_writer_begin(writer, path, &err));
    assert_true(gguf_writer_data(writer, "abc", 3, &err));
    assert_true(gguf_writer_data(writer, bytes, LARGE, &err));
    assert_true(gguf_writer_data(writer, "xyz", 3, &err));
    assert_true(gguf_writer_commit(writer, &err));
    gguf_writer_destroy(writer);
    struct gguf *gguf = gguf_open(path, &err);
    assert_non_null(gguf);
    assert_true(str_eq(gguf_find(gguf, STR("text"))->value.text, text));
    assert_true(str_eq(gguf_find(gguf, STR("after"))->value.text, STR("a")));
    const void *const wanted[] = {"abc", bytes, "xyz"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(gguf_rows_open(gguf, &gguf->tensors[i], 0, 1, &map, &err));
        assert_memory_equal(map.ptr, wanted[i], map.len);
        os_map_close(&map);
    }
    gguf_close(gguf);
    unlink(path);
    mem_free(bytes);
}

static void what_cannot_be_written_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct gguf_value nested = {.kind = GGUF_ARRAY, .item_kind = GGUF_ARRAY, .count = 0};
    struct gguf_writer *writer = gguf_writer_create(&err);
    assert_false(gguf_writer_set_u32(writer, STR(""), 1, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_false(gguf_writer_set_u32(writer, STR("a\0b"), 1, &err));
    assert_false(gguf_writer_set_u32(writer, STR("\xff"), 1, &err));
    assert_false(gguf_writer_set(writer, STR("nested"), &nested, &err));
    assert_true(gguf_writer_add(writer, STR("w"), DTYPE_F32, 1, IMAGE_DIMS(3), &err));
    assert_false(gguf_writer_add(writer, STR("w"), DTYPE_F32, 1, IMAGE_DIMS(3), &err));
    assert_non_null(strstr(err.text, "tensor \"w\": the name is taken"));
    assert_false(gguf_writer_add(writer, STR(""), DTYPE_F32, 1, IMAGE_DIMS(3), &err));
    assert_false(gguf_writer_add(writer, STR("q"), DTYPE_Q4_0, 1, IMAGE_DIMS(33), &err));
    assert_non_null(strstr(err.text, "rows of 33 elements cannot be Q4_0"));
    assert_false(gguf_writer_add(writer, STR("q"), DTYPE_F32, 2, IMAGE_DIMS(3, 0), &err));
    assert_false(
        gguf_writer_add(writer, STR("q"), DTYPE_F32, 2, IMAGE_DIMS(1ull << 33, 1ull << 33), &err));
    assert_true(gguf_writer_set_u32(writer, STR("general.alignment"), 48, &err));
    assert_false(gguf_writer_begin(writer, image_path("bad.gguf"), &err));
    assert_non_null(strstr(err.text, "power of two"));
    gguf_writer_destroy(writer);
    gguf_writer_destroy(NULL);
    assert_folder_is_empty();
}

static void an_unfinished_file_leaves_no_trace(void **state)
{
    (void)state;
    const char bytes[64] = {0};
    for (size_t len = 0; len <= 44; len += 4) { /* 40 bytes are declared */
        struct err err = {0};
        struct gguf_writer *writer = gguf_writer_create(&err);
        assert_true(gguf_writer_add(writer, STR("v"), DTYPE_F32, 1, IMAGE_DIMS(2), &err));
        assert_true(gguf_writer_add(writer, STR("w"), DTYPE_F32, 1, IMAGE_DIMS(8), &err));
        assert_true(gguf_writer_begin(writer, image_path("out.gguf"), &err));
        bool taken = gguf_writer_data(writer, bytes, len, &err);
        assert_int_equal(taken, len <= 40);
        if (len < 40) {
            assert_false(gguf_writer_commit(writer, &err));
            assert_non_null(strstr(err.text, len < 8 ? "tensor \"v\" got" : "tensor \"w\" got"));
        }
        gguf_writer_destroy(writer);
        assert_folder_is_empty();
    }
}

static void a_folder_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    struct err err = {0};
    struct gguf_writer *writer = gguf_writer_create(&err);
    assert_false(gguf_writer_begin(writer, image_path("none/out.gguf"), &err));
    assert_int_equal(err.code, ERR_IO);
    gguf_writer_destroy(writer);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    const char *path = image_path("copy.gguf");
    struct err err = {0};
    struct gguf *gguf = gguf_open(TEST_DATA "/gguf/kinds.gguf", &err);
    assert_non_null(gguf);
    bool written = false;
    for (long n = 0; !written; n++) {
        mem_fail_after(n);
        struct gguf_writer *writer = gguf_writer_create(&err);
        written = writer && copy_model(gguf, writer, path, &err);
        mem_fail_after(-1);
        gguf_writer_destroy(writer);
        assert_true(written || err.code == ERR_MEMORY);
        assert_int_equal(os_path_exists(path), written);
        assert_true(n < 300);
    }
    unlink(path);
    assert_folder_is_empty();
    gguf_close(gguf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_of_the_format),
        cmocka_unit_test(a_copy_of_a_foreign_file_is_that_file),
        cmocka_unit_test(large_pieces_keep_their_place),
        cmocka_unit_test(what_cannot_be_written_is_refused),
        cmocka_unit_test(an_unfinished_file_leaves_no_trace),
        cmocka_unit_test(a_folder_that_is_not_there_is_an_error),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
