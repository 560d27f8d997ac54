#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "gguf/dtype.h"

/* Every row against tests/data/gguf/types.json, made by gguf-py. */
static void the_table_is_that_of_ggml(void **state)
{
    (void)state;
    size_t len, i;
    json_t *row;
    struct err err = {0};
    char *text = os_file_slurp(TEST_DATA "/gguf/types.json", 1 << 20, &len, &err);
    assert_non_null(text);
    json_t *root = json_parse((struct str){.ptr = text, .len = len}, NULL, &err);
    assert_non_null(root);
    size_t known = 0;
    json_array_foreach(json_object_get(root, "types"), i, row)
    {
        uint32_t id = (uint32_t)json_integer_value(json_object_get(row, "id"));
        const struct dtype_info *info = dtype_find(id);
        if (id > 41) { /* gguf-py of a fork, which took these ids for itself */
            continue;
        }
        assert_non_null(info);
        assert_int_equal(info->type, id);
        assert_string_equal(info->name, json_string_value(json_object_get(row, "name")));
        assert_int_equal(info->block_len, json_integer_value(json_object_get(row, "block")));
        if (id != DTYPE_Q8_1) { /* gguf-py counts two floats; ggml-common.h has two halves: 36 */
            assert_int_equal(info->block_bytes, json_integer_value(json_object_get(row, "bytes")));
        }
        known++;
    }
    size_t ours = 0;
    for (uint32_t id = 0; id < 300; id++) {
        ours += dtype_find(id) != NULL;
    }
    assert_int_equal(ours, known + 1);               /* Q2_0 is younger than that gguf-py */
    assert_int_equal(dtype_find(42)->block_len, 64); /* block_q2_0: a half and 16 bytes */
    assert_int_equal(dtype_find(42)->block_bytes, 18);
    assert_int_equal(dtype_info(DTYPE_Q8_1)->block_bytes, 36);
    json_decref(root);
    mem_free(text);
}

static void unknown_ids_and_names_are_not_found(void **state)
{
    (void)state;
    const uint32_t ids[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 63, 64, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        assert_null(dtype_find(ids[i]));
    }
    assert_string_equal(dtype_removed_name(31), "Q4_0_4_4");
    assert_null(dtype_removed_name(2));
    assert_null(dtype_removed_name(UINT32_MAX));
    assert_null(dtype_find_name(STR("")));
    assert_null(dtype_find_name(STR("Q4_")));
    assert_null(dtype_find_name(STR("Q4_0 ")));
    assert_int_equal(dtype_find_name(STR("q4_k"))->type, DTYPE_Q4_K);
    assert_int_equal(dtype_find_name(STR("bf16"))->type, DTYPE_BF16);
}

static void rows_are_whole_blocks(void **state)
{
    (void)state;
    assert_int_equal(dtype_row_bytes(DTYPE_F32, 0), 0);
    assert_int_equal(dtype_row_bytes(DTYPE_F32, 7), 28);
    assert_int_equal(dtype_row_bytes(DTYPE_Q8_0, 64), 68);
    assert_int_equal(dtype_row_bytes(DTYPE_Q6_K, 512), 420);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_that_of_ggml),
        cmocka_unit_test(unknown_ids_and_names_are_not_found),
        cmocka_unit_test(rows_are_whole_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
