/* SentencePiece BPE against vectors of llama.cpp, in both ways of merging: word by word, and as one
 * text when a token crosses from word to word. */
#include "text/test_vocab.h"

#include "base/clock.h"

static const struct text_encode_opts plain = {0};

static void vectors_agree(void **state)
{
    (void)state;
    json_t *root = vectors_load();
    const json_t *rows = json_object_get(root, "spm");
    struct text *text = vocab_must_open(SPM_FILE, NULL, 0);
    assert_string_equal(text_name(text), "llama");
    check_vectors(text, "spm", root, json_object_get(rows, "spm"));
    text_close(text);
    text = vocab_must_open(TEST_DATA "/text/spm_cross.gguf", NULL, 0);
    check_vectors(text, "spm_cross", root, json_object_get(rows, "spm_cross"));
    text_close(text);
    json_decref(root);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    struct text *text = vocab_must_open(SPM_FILE, NULL, 0);
    uint32_t random = 99;
    char bytes[400];
    for (int round = 0; round < 40; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            random = random * 1664525 + 1013904223;
            bytes[i] = (char)(random >> 24);
        }
        assert_round_trip(text, (struct str){.ptr = bytes, .len = (size_t)round * 10});
    }
    assert_round_trip(text, STR(" \xE2\x96\x81 \xE2\x96\x81\xE2\x96\x82x"));
    for (int byte = 0; byte < 256; byte++) {
        bytes[0] = (char)byte;
        assert_round_trip(text, (struct str){.ptr = bytes, .len = 1});
    }
    text_close(text);
}

/* What a user types never becomes a control or byte token, whatever the merges would make of it. */
static void typed_marks_stay_text(void **state)
{
    (void)state;
    static const struct str tokens[] = {
        {"<unk>", 5}, {"<s>", 3},   {"</s>", 4}, {"<0x41>", 6}, {"<", 1},
        {"s", 1},     {">", 1},     {"<s", 2},   {"0x", 2},     {"<0", 2},
        {"0x41", 4},  {"<0x41", 5}, {"41", 2},   {"/s", 2},     {"\xE2\x96\x81", 3},
        {"0", 1},     {"x", 1},     {"4", 1},    {"1", 1},      {"/", 1},
    };
    static int32_t kinds[COUNT_OF(tokens)] = {2, 3, 3, 6};
    static float scores[COUNT_OF(tokens)];
    for (size_t i = 4; i < COUNT_OF(tokens); i++) {
        kinds[i] = 1;
        scores[i] = -(float)i;
    }
    /* without byte tokens for all, what has no token is unknown */
    const struct entry entries[] = {
        ENTRY_STR("tokenizer.ggml.model", "llama"),
        ENTRY_TEXTS("tokenizer.ggml.tokens", tokens, COUNT_OF(tokens)),
        ENTRY_NUMBERS("tokenizer.ggml.token_type", GGUF_I32, kinds, COUNT_OF(tokens)),
        ENTRY_NUMBERS("tokenizer.ggml.scores", GGUF_F32, scores, COUNT_OF(tokens)),
        ENTRY_BOOL("tokenizer.ggml.add_space_prefix", 0),
    };
    struct text *text = vocab_must_open(NULL, entries, COUNT_OF(entries));
    assert_pieces(text, STR("<s>"), plain, "<s|>");
    assert_pieces(text, STR("</s>"), plain, "<|/s|>");
    assert_pieces(text, STR("<0x41>"), plain, "<0x41|>");
    assert_ids(text, STR("A"), plain, "3"); /* the byte token, but for the byte */
    assert_ids(text, STR("B"), plain, "0"); /* unknown */
    struct text_encode_opts special = {.parse_special = true, .add_special = true};
    assert_ids(text, STR("</s>"), special, "1 2"); /* bos and eos are 1 and 2 by convention */
    text_close(text);
}

static void the_space_in_front_follows_the_flag(void **state)
{
    (void)state;
    struct text *text = vocab_must_open(SPM_FILE, NULL, 0);
    assert_pieces(text, STR("the"), plain, " the");
    assert_round_trip(text, STR(" the"));
    assert_pieces(text, STR("[USER]the"), plain, "[USER]| the");
    assert_round_trip(text, STR("[USER]the"));
    assert_round_trip(text, STR(" [USER] [USER][USER]  the"));
    text_close(text);
    const struct entry no_prefix[] = {ENTRY_BOOL("tokenizer.ggml.add_space_prefix", 0)};
    text = vocab_must_open(SPM_FILE, no_prefix, 1);
    assert_pieces(text, STR(" the"), plain, " the");
    assert_round_trip(text, STR(" the"));
    assert_round_trip(text, STR("the"));
    text_close(text);
}

static void extra_spaces_go_when_asked(void **state)
{
    (void)state;
    const struct entry squeeze[] = {ENTRY_BOOL("tokenizer.ggml.remove_extra_whitespaces", 1)};
    struct text *text = vocab_must_open(SPM_FILE, squeeze, 1);
    struct text_ids tight = must_encode(text, STR("the the"), plain);
    struct text_ids wide = must_encode(text, STR("   the    the  "), plain);
    assert_int_equal(tight.count, wide.count);
    assert_memory_equal(tight.ids, wide.ids, tight.count * sizeof *tight.ids);
    assert_ids(text, STR("    "), plain, "");
    text_ids_deinit(&tight);
    text_ids_deinit(&wide);
    text_close(text);
}

static void time_is_linear(void **state)
{
    (void)state;
    static const char *const files[] = {SPM_FILE, TEST_DATA "/text/spm_cross.gguf"};
    char *bytes = mem_alloc(1 << 20, 1);
    assert_non_null(bytes);
    for (size_t f = 0; f < COUNT_OF(files); f++) {
        struct text *text = vocab_must_open(files[f], NULL, 0);
        static const char fill[] = {'a', ' ', '\n', '\xE2', '\xFF'};
        for (size_t i = 0; i < sizeof fill; i++) {
            memset(bytes, fill[i], 1 << 20);
            const int64_t start_ns = clock_now_ns();
            struct text_ids ids = must_encode(text, (struct str){bytes, 1 << 20}, plain);
            text_ids_deinit(&ids);
            assert_true(clock_now_ns() - start_ns < 20000000000);
        }
        text_close(text);
    }
    mem_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_agree),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(typed_marks_stay_text),
        cmocka_unit_test(the_space_in_front_follows_the_flag),
        cmocka_unit_test(extra_spaces_go_when_asked),
        cmocka_unit_test(time_is_linear),
    };
    return cmocka_run_group_tests_name("text/spm", tests, NULL, NULL);
}
