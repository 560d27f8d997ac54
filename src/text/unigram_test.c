/* Unigram vocabularies against vectors of llama.cpp and the Hugging Face library, the table of the
 * normaliser from hostile files, pairs of texts. */
#include "text/test_vocab.h"

#include "base/os.h"

#include "text/charsmap.h"

#define UNIGRAM_FILE TEST_DATA "/text/unigram.gguf"

static const struct text_encode_opts plain = {0};

/* Where the judges differ, what SentencePiece does counts: the longest string of the table is
 * replaced, and a mark that the text has is one more character. */
static void vectors_agree(void **state)
{
    struct err err = {0};
    size_t len = 0, differ = 0;
    (void)state;
    char *json = os_file_slurp(TEST_DATA "/text/unigram.json", 1 << 20, &len, &err);
    assert_non_null(json);
    json_t *root = json_parse((struct str){json, len}, NULL, &err);
    json_t *rows = json_object_get(root, "rows");
    struct text *text = vocab_must_open(UNIGRAM_FILE, NULL, 0);
    assert_string_equal(text_name(text), "t5");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i), *want = json_object_get(row, "llama.cpp");
        struct text_ids ids = must_encode(text, json_str(json_object_get(row, "text")), plain);
        bool is_same = ids.count == json_array_size(want);
        for (size_t j = 0; is_same && j < ids.count; j++) {
            is_same = ids.ids[j] == json_integer_value(json_array_get(want, j));
        }
        if (!is_same) {
            fail_msg("text %zu: %s", i, json_string_value(json_object_get(row, "text")));
        }
        differ += !json_equal(want, json_object_get(row, "tokenizers"));
        text_ids_deinit(&ids);
    }
    assert_int_equal(differ, 2);
    text_close(text);
    json_decref(root);
    mem_free(json);
}

static void a_text_is_wrapped(void **state)
{
    struct text *text = vocab_must_open(UNIGRAM_FILE, NULL, 0);
    const struct text_encode_opts add = {.add_special = true};
    struct text_ids ids = {0};
    struct err err;
    size_t second_at = 1;
    (void)state;
    assert_pieces(text, STR("hello world"), add, "<s>| hello| world|</s>");
    assert_pieces(text, STR("<s>"), plain, " |<unk>|s|<unk>");
    assert_true(text_encode_pair(text, STR("hello"), STR("world"), &ids, &second_at, &err));
    static const char *const want[] = {"<s>", " hello", "</s>", "</s>", " world", "</s>"};
    assert_int_equal(ids.count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_true(str_eq(text_piece(text, ids.ids[i], true), str_of(want[i])));
    }
    assert_int_equal(second_at, 0);
    text_ids_deinit(&ids);
    text_close(text);
}

static void decoding_gives_the_normal_text(void **state)
{
    struct text *text = vocab_must_open(UNIGRAM_FILE, NULL, 0);
    struct text_ids ids = must_encode(text, STR("  the  \xEF\xAC\x81le "), plain);
    struct buf out = {0};
    (void)state;
    text_decode(text, ids.ids, ids.count, false, true, &out);
    assert_string_equal(out.ptr, "the file");
    buf_deinit(&out);
    text_ids_deinit(&ids);
    text_close(text);
}

/* A megabyte of one letter takes no longer per byte than a line. */
static void long_runs_end(void **state)
{
    struct text *text = vocab_must_open(UNIGRAM_FILE, NULL, 0);
    size_t len = 1 << 20;
    char *run = mem_alloc(len, 1);
    (void)state;
    memset(run, 'a', len);
    struct text_ids ids = must_encode(text, (struct str){run, len}, plain);
    assert_true(ids.count > len / 16);
    text_ids_deinit(&ids);
    mem_free(run);
    text_close(text);
}

static void tables_that_lie(void **state)
{
    static const char *const bad[] = {"\1",
                                      "\4\0\0\0",
                                      "\4\0\0\0....",
                                      "\4\0\0\0....x",
                                      "\377\377\377\377....",
                                      "\3\0\0\0.........\0"};
    static const size_t lens[] = {1, 4, 8, 9, 8, 14};
    struct text_charsmap map;
    struct err err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        assert_false(text_charsmap_init(&map, (struct str){bad[i], lens[i]}, &err));
        assert_int_equal(err.code, ERR_FORMAT);
    }
    /* Units that point everywhere: nothing is read outside, and a text ends. */
    unsigned char blob[4 + 64 + 8] = {64};
    for (unsigned seed = 1; seed < 2000; seed++) {
        unsigned x = seed;
        for (size_t i = 4; i < 68; i++) {
            x = x * 1103515245u + 12345u;
            blob[i] = (unsigned char)(x >> 16);
        }
        assert_true(text_charsmap_init(&map, (struct str){(char *)blob, sizeof blob}, &err));
        struct buf out = {0};
        text_charsmap_apply(&map, STR("abc\xFF\xC3\xA9xyz"), &out);
        assert_false(out.failed);
        assert_true(out.len < 4096);
        buf_deinit(&out);
        text_charsmap_deinit(&map);
    }
    assert_true(text_charsmap_init(&map, (struct str){0}, &err));
    text_charsmap_deinit(&map);
}

static void metadata_that_lies(void **state)
{
    static const struct entry suffix[] = {
        ENTRY_BOOL("tokenizer.ggml.treat_whitespace_as_suffix", true)};
    static const struct entry text_map[] = {
        ENTRY_STR("tokenizer.ggml.precompiled_charsmap", "abc")};
    struct err err = {0};
    (void)state;
    assert_null(vocab_open(UNIGRAM_FILE, suffix, COUNT_OF(suffix), &err));
    assert_int_equal(err.code, ERR_ARCH);
    assert_null(vocab_open(UNIGRAM_FILE, text_map, COUNT_OF(text_map), &err));
    assert_int_equal(err.code, ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_agree),
        cmocka_unit_test(a_text_is_wrapped),
        cmocka_unit_test(decoding_gives_the_normal_text),
        cmocka_unit_test(long_runs_end),
        cmocka_unit_test(tables_that_lie),
        cmocka_unit_test(metadata_that_lies),
    };
    return cmocka_run_group_tests_name("text/unigram", tests, NULL, NULL);
}
