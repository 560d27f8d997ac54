/* WordPiece against vectors of the Hugging Face library, and the whole BERT vocabulary of ../shared
 * in bpe_test.c. */
#include "text/test_vocab.h"

#define WPM_FILE TEST_DATA "/text/wpm.gguf"

static const struct text_encode_opts plain = {0};

static void vectors_agree(void **state)
{
    (void)state;
    json_t *root = vectors_load();
    struct text *text = vocab_must_open(WPM_FILE, NULL, 0);
    assert_string_equal(text_name(text), "bert");
    compare_vectors(text, "wpm", root, json_object_get(json_object_get(root, "wpm"), "wpm"));
    text_close(text);
    json_decref(root);
}

static void a_text_is_wrapped(void **state)
{
    (void)state;
    struct text *text = vocab_must_open(WPM_FILE, NULL, 0);
    const struct text_encode_opts add = {.add_special = true};
    assert_pieces(text, STR("Hello, World"), add, "[CLS]| hello| ,| world|[SEP]");
    assert_pieces(text, STR(""), add, "[CLS]|[SEP]");
    assert_pieces(text, STR(""), plain, "");
    const struct text_encode_opts both = {.add_special = true, .parse_special = true};
    assert_pieces(text, STR("[CLS]hello[SEP]"), both, "[CLS]| hello|[SEP]");
    text_close(text);
    /* the names are known without ids in the metadata */
    const struct entry no_ids[] = {ENTRY_ABSENT("tokenizer.ggml.bos_token_id"),
                                   ENTRY_ABSENT("tokenizer.ggml.seperator_token_id"),
                                   ENTRY_ABSENT("tokenizer.ggml.unknown_token_id")};
    text = vocab_must_open(WPM_FILE, no_ids, COUNT_OF(no_ids));
    assert_pieces(text, STR("hello"), add, "[CLS]| hello|[SEP]");
    text_close(text);
}

static void odd_text_is_cleaned(void **state)
{
    (void)state;
    struct text *text = vocab_must_open(WPM_FILE, NULL, 0);
    assert_pieces(text, STR("H\xC3\xA9LLO"), plain, " hello");      /* composed accent */
    assert_pieces(text, STR("He\xCC\x81llo"), plain, " hello");     /* and decomposed */
    assert_pieces(text, STR("hel\xFFlo\x00"), plain, " hello");     /* no UTF-8, NUL */
    assert_pieces(text, STR("hel\xE2\x80\x8Dlo"), plain, " hello"); /* a joiner, category Cf */
    assert_pieces(text, STR("the\xC2\xA0the"), plain, " the| the"); /* no-break space */
    char word[102];
    memset(word, 'a', sizeof word);
    struct text_ids ids = must_encode(text, (struct str){word, 100}, plain);
    assert_int_equal(ids.count, 100);
    text_ids_deinit(&ids);
    assert_pieces(text, (struct str){word, 101}, plain, "[UNK]");
    text_close(text);
}

static void decoding_joins_the_parts(void **state)
{
    (void)state;
    struct text *text = vocab_must_open(WPM_FILE, NULL, 0);
    struct text_ids ids =
        must_encode(text, STR("Testing the Tests"), (struct text_encode_opts){.add_special = true});
    struct buf out = {0};
    text_decode(text, ids.ids, ids.count, false, true, &out);
    assert_string_equal(out.ptr, "testing the tests");
    buf_deinit(&out);
    text_ids_deinit(&ids);
    text_close(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_agree),
        cmocka_unit_test(a_text_is_wrapped),
        cmocka_unit_test(odd_text_is_cleaned),
        cmocka_unit_test(decoding_joins_the_parts),
    };
    return cmocka_run_group_tests_name("text/wpm", tests, NULL, NULL);
}
