/* Special tokens and where they may stand, BOS and EOS, failing allocations. */
#include "text/test_vocab.h"

/* ids of tests/data/text/bpe.gguf: the special tokens are the last four */
static text_id base_id;

static struct text *open_bpe(void)
{
    struct text *text = vocab_must_open(BPE_FILE, NULL, 0);
    base_id = text_find(text, STR("<|endoftext|>"));
    assert_int_equal(base_id + 4, text_vocab_count(text));
    return text;
}

static void nothing_is_special_unless_asked(void **state)
{
    (void)state;
    struct text *text = open_bpe();
    const struct text_encode_opts plain = {0};
    struct text_ids ids = must_encode(text, STR("<|im_start|>a<|im_end|><|endoftext|>"), plain);
    for (size_t i = 0; i < ids.count; i++) {
        assert_int_equal(text_kind_of(text, ids.ids[i]), TEXT_NORMAL);
    }
    assert_true(ids.count > 10);
    text_ids_deinit(&ids);
    assert_pieces(text, STR("a<|im_end|>b"), (struct text_encode_opts){.parse_special = true},
                  "a|<|im_end|>|b");
    text_close(text);
}

static void user_defined_tokens_are_found_everywhere(void **state)
{
    (void)state;
    struct text *text = open_bpe();
    assert_pieces(text, STR("a<tool>b"), (struct text_encode_opts){0}, "a|<tool>|b");
    text_close(text);
}

static void spans_bound_special_tokens(void **state)
{
    (void)state;
    struct text *text = open_bpe();
    /* 0         1         2         3
     * 0123456789012345678901234567890123456
     * <|im_end|>x<|im_end|>y<|im_end|>       */
    const struct str s = STR("<|im_end|>x<|im_end|>y<|im_end|>");
    const struct {
        struct text_span spans[3];
        size_t count;
        int special[3]; /* which of the three are found */
    } cases[] = {
        {{{0, 0}}, 0, {0, 0, 0}},
        {{{0, 10}}, 1, {1, 0, 0}},
        {{{0, 9}}, 1, {0, 0, 0}},  /* cut short */
        {{{1, 10}}, 1, {0, 0, 0}}, /* begins before */
        {{{11, 21}}, 1, {0, 1, 0}},
        {{{0, 10}, {22, 32}}, 2, {1, 0, 1}},
        {{{0, 4}, {4, 10}}, 2, {1, 0, 0}}, /* ranges that touch are one */
        {{{0, 4}, {5, 10}}, 2, {0, 0, 0}},
        {{{0, 0}, {22, 400}}, 2, {0, 0, 1}}, /* beyond the end */
        {{{0, 1}, {1, 2}, {2, 32}}, 3, {1, 1, 1}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct text_encode_opts opts = {.special_spans = cases[i].spans,
                                              .special_span_count = cases[i].count};
        struct text_ids ids = must_encode(text, s, opts);
        int found = 0;
        for (size_t k = 0; k < ids.count; k++) {
            found += ids.ids[k] == base_id + 2;
        }
        assert_int_equal(found, cases[i].special[0] + cases[i].special[1] + cases[i].special[2]);
        text_ids_deinit(&ids);
    }
    text_close(text);
}

static void the_longest_at_the_first_place_wins(void **state)
{
    (void)state;
    static const struct str tokens[] = {{"a", 1},    {"b", 1},     {"<", 1},  {"<a", 2},
                                        {"<a>", 3},  {"<ab", 3},   {"b>", 2}, {"<a>b", 4},
                                        {"\xFF", 1}, {"<ab>b", 5}, {">", 1}};
    static const int32_t kinds[COUNT_OF(tokens)] = {1, 1, 1, 3, 3, 3, 3, 4, 3, 3, 1};
    static const struct str merges[] = {{"a b", 3}};
    const struct entry entries[] = {
        ENTRY_STR("tokenizer.ggml.model", "gpt2"),
        ENTRY_STR("tokenizer.ggml.pre", "gpt-2"),
        ENTRY_TEXTS("tokenizer.ggml.tokens", tokens, COUNT_OF(tokens)),
        ENTRY_TEXTS("tokenizer.ggml.merges", merges, 1),
        ENTRY_NUMBERS("tokenizer.ggml.token_type", GGUF_I32, kinds, COUNT_OF(tokens)),
    };
    struct text *text = vocab_must_open(NULL, entries, COUNT_OF(entries));
    const struct text_encode_opts special = {.parse_special = true};
    assert_ids(text, STR("<a>b>"), special, "7 10");
    assert_ids(text, STR("<a>"), special, "4");
    assert_ids(text, STR("<a"), special, "3");
    assert_ids(text, STR("<ab>b"), special, "9");
    assert_ids(text, STR("<ab>a"), special, "5 10 0");
    assert_ids(text, STR("ab>\xFF"), special, "0 6 8");
    assert_ids(text, STR("<a>b"), (struct text_encode_opts){0}, "7"); /* user-defined */
    assert_ids(text, STR("<ab>b"), (struct text_encode_opts){0}, "2 0 1 10 1");
    text_close(text);
}

static void bos_and_eos_come_once(void **state)
{
    (void)state;
    const struct entry entries[] = {ENTRY_BOOL("tokenizer.ggml.add_bos_token", 1),
                                    ENTRY_BOOL("tokenizer.ggml.add_eos_token", 1)};
    struct text *text = vocab_must_open(BPE_FILE, entries, 2);
    assert_true(text_adds_bos(text) && text_adds_eos(text));
    const struct text_encode_opts add = {.add_special = true};
    const struct text_encode_opts both = {.add_special = true, .parse_special = true};
    const struct text_span head = {0, 13};
    const struct text_encode_opts span = {
        .add_special = true, .special_spans = &head, .special_span_count = 1};
    assert_pieces(text, STR(""), add, "<|endoftext|>|<|im_end|>");
    assert_pieces(text, STR(""), (struct text_encode_opts){0}, "");
    assert_pieces(text, STR("a"), add, "<|endoftext|>|a|<|im_end|>");
    assert_pieces(text, STR("<|endoftext|>a"), both, "<|endoftext|>|a|<|im_end|>");
    assert_pieces(text, STR("<|endoftext|>a"), span, "<|endoftext|>|a|<|im_end|>");
    assert_pieces(text, STR("<|endoftext|><|endoftext|>"), both,
                  "<|endoftext|>|<|endoftext|>|<|im_end|>");
    assert_pieces(text, STR("a<|im_end|>"), both, "<|endoftext|>|a|<|im_end|>");
    assert_pieces(text, STR("<|im_end|>"), both, "<|endoftext|>|<|im_end|>");
    /* typed by a user it is text, so BOS is still added */
    struct text_ids ids = must_encode(text, STR("<|endoftext|>"), add);
    assert_int_equal(ids.ids[0], text_bos(text));
    assert_true(ids.count > 4 && ids.ids[1] != text_bos(text));
    text_ids_deinit(&ids);
    text_close(text);
}

static void ids_are_appended(void **state)
{
    (void)state;
    struct text *text = open_bpe();
    struct text_ids ids = {0};
    struct err err = {0};
    const struct text_encode_opts opts = {.add_special = true, .parse_special = true};
    assert_true(text_ids_add(&ids, base_id));
    assert_true(text_encode(text, STR("<|endoftext|>"), &opts, &ids, &err));
    assert_int_equal(ids.count, 2);
    text_ids_deinit(&ids);
    text_close(text);
}

/* Phi-3: white space behind a special token belongs to it. */
static void phi3_takes_the_space_behind(void **state)
{
    (void)state;
    const struct entry entries[] = {ENTRY_STR("general.name", "Phi-3 mini")};
    struct text *text = vocab_must_open(BPE_FILE, entries, 1);
    const struct text_encode_opts special = {.parse_special = true};
    assert_pieces(text, STR("<|im_end|>\n a"), special, "<|im_end|>|a");
    assert_pieces(text, STR("<|endoftext|>\na"), special, "<|endoftext|>|\n|a");
    assert_pieces(text, STR("<|im_end|> "), special, "<|im_end|>");
    text_close(text);
}

/* Each allocation fails once: an error or the right ids, never a crash or half a result. */
static void failing_memory_is_reported(void **state)
{
    (void)state;
    static const char *const files[] = {BPE_FILE, SPM_FILE};
    for (size_t f = 0; f < COUNT_OF(files); f++) {
        struct err err = {0};
        struct gguf *gguf = gguf_open(files[f], &err);
        assert_non_null(gguf);
        struct text *text = NULL;
        for (long n = 0; !text && n < 200; n++) {
            mem_fail_after(n);
            text = text_open(gguf, &err);
            mem_fail_after(-1);
            assert_true(text || err.code == ERR_MEMORY);
        }
        assert_non_null(text);
        gguf_close(gguf);
        char bytes[3000];
        memset(bytes, 'a', sizeof bytes);
        memcpy(bytes + 1000, " a b\n", 5);
        bytes[2000] = '\xFF';
        const struct str s = {.ptr = bytes, .len = sizeof bytes};
        const struct text_encode_opts opts = {.add_special = true, .parse_special = true};
        struct text_ids wanted = must_encode(text, s, opts);
        bool ok = false;
        for (long n = 0; !ok && n < 200; n++) {
            struct text_ids ids = {0};
            mem_fail_after(n);
            ok = text_encode(text, s, &opts, &ids, &err);
            mem_fail_after(-1);
            assert_int_equal(ids.count, ok ? wanted.count : 0);
            assert_true(ok || err.code == ERR_MEMORY);
            text_ids_deinit(&ids);
        }
        assert_true(ok);
        text_ids_deinit(&wanted);
        text_close(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_special_unless_asked),
        cmocka_unit_test(user_defined_tokens_are_found_everywhere),
        cmocka_unit_test(spans_bound_special_tokens),
        cmocka_unit_test(the_longest_at_the_first_place_wins),
        cmocka_unit_test(bos_and_eos_come_once),
        cmocka_unit_test(ids_are_appended),
        cmocka_unit_test(phi3_takes_the_space_behind),
        cmocka_unit_test(failing_memory_is_reported),
    };
    return cmocka_run_group_tests_name("text/encode", tests, NULL, NULL);
}
