/* BPE by merges over characters ("gemma4") against what llama.cpp makes of texts. */
#include "text/test_vocab.h"

#include "base/os.h"

#define MERGED_FILE TEST_DATA "/text/merged.gguf"

static const struct text_encode_opts plain = {0};

static void vectors_agree(void **state)
{
    struct err err = {0};
    size_t len = 0;
    (void)state;
    char *json = os_file_slurp(TEST_DATA "/text/merged.json", 1 << 20, &len, &err);
    assert_non_null(json);
    json_t *root = json_parse((struct str){json, len}, NULL, &err);
    json_t *rows = json_object_get(root, "rows");
    struct text *text = vocab_must_open(MERGED_FILE, NULL, 0);
    assert_string_equal(text_name(text), "gemma4");
    assert_true(json_array_size(rows) > 80);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i), *want = json_object_get(row, "ids");
        struct text_ids ids = must_encode(text, json_str(json_object_get(row, "text")), plain);
        bool is_same = ids.count == json_array_size(want);
        for (size_t j = 0; is_same && j < ids.count; j++) {
            is_same = ids.ids[j] == json_integer_value(json_array_get(want, j));
        }
        if (!is_same) {
            fail_msg("text %zu: %s", i, json_string_value(json_object_get(row, "text")));
        }
        text_ids_deinit(&ids);
    }
    text_close(text);
    json_decref(root);
    mem_free(json);
}

/* Every text comes back, and so do bytes that are none. */
static void any_bytes_come_back(void **state)
{
    (void)state;
    struct text *text = vocab_must_open(MERGED_FILE, NULL, 0);
    uint32_t random = 7;
    char bytes[300];
    for (int round = 0; round < 60; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            random = random * 1664525 + 1013904223;
            const uint32_t byte = random >> 24;
            bytes[i] = round % 2 ? (char)byte : "the \n\xE6\x97"[byte % 7];
        }
        assert_round_trip(text, (struct str){bytes, sizeof bytes});
    }
    assert_round_trip(text, STR(" the theme\n\n\n  "));
    text_close(text);
}

static void special_tokens_are_found(void **state)
{
    (void)state;
    struct text *text = vocab_must_open(MERGED_FILE, NULL, 0);
    const struct text_encode_opts special = {.parse_special = true, .add_special = true};
    assert_ids(text, STR("<eos>"), special, "2 1"); /* bos is put in front */
    text_close(text);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    static const struct str one[] = {{"th", 2}};
    const struct entry alone[] = {ENTRY_TEXTS("tokenizer.ggml.merges", one, 1)};
    const struct entry none[] = {{.key = "tokenizer.ggml.merges", .is_absent = true}};
    struct err err = {0};
    assert_null(vocab_open(MERGED_FILE, alone, 1, &err));
    assert_non_null(strstr(err.text, "tokenizer.ggml.merges: item 0"));
    assert_null(vocab_open(MERGED_FILE, none, 1, &err));
    assert_non_null(strstr(err.text, "tokenizer.ggml.merges is missing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_agree),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(special_tokens_are_found),
        cmocka_unit_test(bad_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
