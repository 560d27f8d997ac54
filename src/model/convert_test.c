/* Checkpoints of tests/data/convert, made of models of tests/golden/model by the definition of the
 * layout: converting gives back each tensor to the byte, and what config.json says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf/gguf.h"
#include "model/convert.h"

static char out_path[] = "/tmp/hearth-convert-XXXXXX";

static void same_tensors(const struct gguf *a, const struct gguf *b)
{
    struct err err = {0};
    assert_int_equal(a->tensor_count, b->tensor_count);
    for (size_t i = 0; i < a->tensor_count; i++) {
        const struct gguf_tensor *x = &a->tensors[i], *y = gguf_find_tensor(b, x->name);
        struct os_map p, q;
        assert_non_null(y);
        assert_int_equal(x->type, y->type);
        assert_memory_equal(x->dims, y->dims, sizeof x->dims);
        assert_true(gguf_rows_open(a, x, 0, x->row_count, &p, &err));
        assert_true(gguf_rows_open(b, y, 0, y->row_count, &q, &err));
        assert_memory_equal(p.ptr, q.ptr, x->bytes);
        os_map_close(&p);
        os_map_close(&q);
    }
}

static void same_numbers(const struct gguf *a, const struct gguf *b, const char *const *keys)
{
    for (size_t i = 0; keys[i]; i++) {
        const struct gguf_entry *x = gguf_find(a, str_of(keys[i]));
        const struct gguf_entry *y = gguf_find(b, str_of(keys[i]));
        assert_non_null(x);
        assert_non_null(y);
        assert_int_equal(x->value.kind, y->value.kind);
        assert_int_equal(x->value.u64, y->value.u64);
    }
}

static void check(const char *folder, const char *golden, const char *const *keys)
{
    struct err err = {0};
    struct model_convert_result result;
    const struct model_convert how = {.folder = folder, .out = out_path};
    if (!model_convert(&how, &result, &err)) {
        fail_msg("%s", err.text);
    }
    struct gguf *a = gguf_open(golden, &err), *b = gguf_open(out_path, &err);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(result.tensors, a->tensor_count);
    same_tensors(a, b);
    same_numbers(a, b, keys);
    const struct gguf_entry *tokens = gguf_find(b, STR("tokenizer.ggml.tokens"));
    const struct gguf_entry *kinds = gguf_find(b, STR("tokenizer.ggml.token_type"));
    assert_non_null(tokens);
    size_t count = (size_t)tokens->value.count;
    assert_true(str_eq(tokens->value.texts[count - 2], STR("<s>")));
    assert_int_equal(gguf_item_i64(&kinds->value, count - 2), 3); /* control */
    assert_int_equal(gguf_item_i64(&kinds->value, count - 1), 5); /* a row without a token */
    gguf_close(a);
    gguf_close(b);
}

static void test_llama(void **state)
{
    static const char *const keys[] = {
        "llama.block_count",    "llama.attention.head_count_kv", "llama.embedding_length",
        "llama.context_length", "llama.rope.dimension_count",    NULL};
    (void)state;
    check(TEST_DATA "/convert/llama", TEST_GOLDEN "/llama-f32.gguf", keys);
}

static void test_two_files(void **state)
{
    static const char *const keys[] = {"qwen3.block_count", "qwen3.attention.key_length", NULL};
    (void)state;
    check(TEST_DATA "/convert/qwen3", TEST_GOLDEN "/qwen3-f32.gguf", keys);
}

static void test_types(void **state)
{
    struct err err = {0};
    struct model_convert_result result;
    const struct model_convert how = {.folder = TEST_DATA "/convert/llama",
                                      .out = out_path,
                                      .has_type = true,
                                      .type = DTYPE_BF16};
    (void)state;
    assert_true(model_convert(&how, &result, &err));
    struct gguf *gguf = gguf_open(out_path, &err);
    assert_int_equal(gguf_find_tensor(gguf, STR("blk.0.attn_q.weight"))->type, DTYPE_BF16);
    assert_int_equal(gguf_find_tensor(gguf, STR("blk.0.attn_norm.weight"))->type, DTYPE_F32);
    gguf_close(gguf);
}

static void test_refused(void **state)
{
    struct err err = {0};
    struct model_convert_result result;
    struct model_convert how = {.folder = TEST_DATA "/gguf", .out = out_path};
    (void)state;
    unlink(out_path);
    assert_false(model_convert(&how, &result, &err));
    assert_non_null(strstr(err.text, "there is no config.json"));
    how.folder = "/nowhere";
    err = (struct err){0};
    assert_false(model_convert(&how, &result, &err));
    assert_int_equal(access(out_path, F_OK), -1); /* nothing is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_two_files),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_refused),
    };
    close(mkstemp(out_path));
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(out_path);
    return status;
}
