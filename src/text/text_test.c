/* Loading: facts of a vocabulary, end tokens, and files that attack the loader. */
#include "text/test_vocab.h"

#include <math.h>

enum { TOKENS = 260 };

/* A small byte-level vocabulary whose lists the tests bend. */
static struct str tokens[TOKENS];
static char texts[TOKENS][8];
static int32_t kinds[TOKENS];
static float scores[TOKENS];

static void fill(void)
{
    for (int i = 0; i < TOKENS; i++) {
        snprintf(texts[i], sizeof texts[i], "t%d", i);
        tokens[i] = str_of(texts[i]);
        kinds[i] = TEXT_NORMAL;
        scores[i] = -(float)i;
    }
}

static const struct str merges[] = {{"t 1", 3}};

#define GOOD_ENTRIES                                                                               \
    ENTRY_STR("tokenizer.ggml.model", "gpt2"), ENTRY_STR("tokenizer.ggml.pre", "gpt-2"),           \
        ENTRY_TEXTS("tokenizer.ggml.tokens", tokens, TOKENS),                                      \
        ENTRY_TEXTS("tokenizer.ggml.merges", merges, 1)

enum { GOOD_COUNT = 4 };

/* The good vocabulary with one entry set or replaced must be refused with this code and words. */
static void refuses(struct entry change, enum err_code code, const char *words)
{
    struct entry entries[GOOD_COUNT + 1] = {GOOD_ENTRIES};
    size_t count = GOOD_COUNT;
    for (size_t i = 0; i < GOOD_COUNT; i++) {
        if (strcmp(entries[i].key, change.key) == 0) {
            entries[i] = entries[--count];
        }
    }
    entries[count++] = change;
    struct err err = {0};
    struct text *text = vocab_open(NULL, entries, count, &err);
    assert_null(text);
    assert_int_equal(err.code, code);
    if (!strstr(err.text, words)) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    }
}

static void a_plain_vocabulary_opens(void **state)
{
    (void)state;
    fill();
    const struct entry entries[] = {GOOD_ENTRIES};
    struct text *text = vocab_must_open(NULL, entries, GOOD_COUNT);
    assert_int_equal(text_vocab_count(text), TOKENS);
    assert_int_equal(text_bos(text), TEXT_NONE);
    assert_int_equal(text_eos(text), TEXT_NONE);
    assert_false(text_adds_bos(text) || text_adds_eos(text));
    assert_int_equal(text_find(text, STR("t7")), 7);
    assert_int_equal(text_find(text, STR("t")), TEXT_NONE);
    assert_int_equal(text_find(text, STR("")), TEXT_NONE);
    assert_true(str_eq(text_raw(text, 3), STR("t3")));
    assert_int_equal(text_raw(text, TOKENS).len, 0);
    assert_int_equal(text_kind_of(text, 3), TEXT_NORMAL);
    assert_int_equal(text_kind_of(text, -5), TEXT_UNUSED);
    assert_false(text_is_end(text, -1) || text_is_end(text, TOKENS));
    text_close(text);
    text_close(NULL);
}

static void lists_must_fit_each_other(void **state)
{
    (void)state;
    fill();
    const char *const list = "tokenizer.ggml.tokens", *const types = "tokenizer.ggml.token_type";
    refuses((struct entry)ENTRY_TEXTS(list, tokens, 0), ERR_FORMAT, "tokens is empty");
    refuses((struct entry)ENTRY_ABSENT(list), ERR_FORMAT, "tokens is missing");
    refuses((struct entry)ENTRY_NUMBERS(list, GGUF_I32, kinds, 3), ERR_FORMAT, "not a list of str");
    refuses((struct entry)ENTRY_U32(list, 3), ERR_FORMAT, "not a list of strings");
    refuses((struct entry)ENTRY_NUMBERS(types, GGUF_I32, kinds, TOKENS - 1), ERR_FORMAT,
            "token_type has 259 items, but there are 260 tokens");
    refuses((struct entry)ENTRY_TEXTS(types, tokens, TOKENS), ERR_FORMAT, "list of numbers");
    refuses((struct entry)ENTRY_NUMBERS(types, GGUF_F32, scores, TOKENS), ERR_FORMAT, "integers");
    refuses((struct entry)ENTRY_NUMBERS("tokenizer.ggml.scores", GGUF_F32, scores, 1), ERR_FORMAT,
            "scores has 1 items");
    scores[9] = NAN;
    refuses((struct entry)ENTRY_NUMBERS("tokenizer.ggml.scores", GGUF_F32, scores, TOKENS),
            ERR_FORMAT, "item 9 is not a number");
    kinds[4] = 7;
    refuses((struct entry)ENTRY_NUMBERS(types, GGUF_I32, kinds, TOKENS), ERR_FORMAT, "item 4 is 7");
    kinds[4] = -1;
    refuses((struct entry)ENTRY_NUMBERS(types, GGUF_I32, kinds, TOKENS), ERR_FORMAT,
            "item 4 is -1");
}

static void tokens_must_make_sense(void **state)
{
    (void)state;
    static const char *const broken[] = {"<0x-1>", "<0x100>", "<0xZZ>", "<0x1>", "<0X41>", "", "A"};
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        fill();
        tokens[5] = str_of(broken[i]);
        kinds[5] = TEXT_BYTE;
        refuses((struct entry)ENTRY_NUMBERS("tokenizer.ggml.token_type", GGUF_I32, kinds, TOKENS),
                ERR_FORMAT, "item 5 is a byte token");
    }
    fill();
    tokens[200] = STR("t1\033");
    tokens[20] = tokens[200];
    refuses((struct entry)ENTRY_TEXTS("tokenizer.ggml.tokens", tokens, TOKENS), ERR_FORMAT,
            "items 20 and 200 are the same, \"t1\\x1b\"");
}

static void odd_tokens_are_tolerated(void **state)
{
    (void)state;
    fill();
    enum { LONG = 1 << 20 };
    char *huge = mem_alloc(LONG, 1);
    assert_non_null(huge);
    memset(huge, 'x', LONG);
    tokens[3] = tokens[4] = (struct str){"", 0}; /* real files have empty tokens, and several */
    tokens[5] = (struct str){huge, LONG};
    kinds[5] = TEXT_CONTROL;
    tokens[6] = (struct str){huge, LONG - 1};
    const struct entry entries[] = {
        GOOD_ENTRIES, ENTRY_NUMBERS("tokenizer.ggml.token_type", GGUF_I32, kinds, TOKENS)};
    struct text *text = vocab_must_open(NULL, entries, COUNT_OF(entries));
    const struct text_encode_opts special = {.parse_special = true};
    struct text_ids ids = must_encode(text, (struct str){huge, LONG}, special);
    text_ids_deinit(&ids);
    assert_int_equal(text_piece(text, 3, true).len, 0);
    assert_int_equal(text_piece(text, 6, true).len, LONG - 1);
    text_close(text);
    mem_free(huge);
}

static void special_ids_must_exist(void **state)
{
    (void)state;
    fill();
    refuses((struct entry)ENTRY_U32("tokenizer.ggml.bos_token_id", TOKENS), ERR_FORMAT,
            "bos_token_id is 260, but the ids are 0 to 259");
    refuses((struct entry)ENTRY_U32("tokenizer.ggml.eos_token_id", UINT32_MAX), ERR_FORMAT, "eos");
    refuses((struct entry)ENTRY_I32("tokenizer.ggml.eot_token_id", -1), ERR_FORMAT, "is -1");
    refuses((struct entry)ENTRY_U32("tokenizer.ggml.unknown_token_id", 5000), ERR_FORMAT, "5000");
    refuses((struct entry)ENTRY_STR("tokenizer.ggml.bos_token_id", "1"), ERR_FORMAT, "integer");
    static const int32_t list[] = {1, TOKENS};
    refuses((struct entry)ENTRY_NUMBERS("tokenizer.ggml.eos_token_ids", GGUF_I32, list, 2),
            ERR_FORMAT, "item 1 is 260");
    refuses((struct entry)ENTRY_TEXTS("tokenizer.ggml.eos_token_ids", merges, 1), ERR_FORMAT,
            "list of integers");
    refuses((struct entry)ENTRY_U32("tokenizer.ggml.add_bos_token", 7), ERR_FORMAT, "add_bos");
    /* files of real models have padding ids that do not exist */
    const struct entry entries[] = {GOOD_ENTRIES,
                                    ENTRY_U32("tokenizer.ggml.padding_token_id", UINT32_MAX)};
    text_close(vocab_must_open(NULL, entries, COUNT_OF(entries)));
}

static void merges_are_checked(void **state)
{
    (void)state;
    fill();
    static const struct str broken[] = {{"nospace", 7}}, halves[] = {{"a ", 2}};
    static struct str many[(1 << 22) + 1];
    const char *const key = "tokenizer.ggml.merges";
    refuses((struct entry)ENTRY_ABSENT(key), ERR_FORMAT, "merges is missing");
    refuses((struct entry)ENTRY_TEXTS(key, broken, 1), ERR_FORMAT, "\"nospace\" is not two parts");
    refuses((struct entry)ENTRY_TEXTS(key, halves, 1), ERR_FORMAT, "not two parts");
    refuses((struct entry)ENTRY_NUMBERS(key, GGUF_I32, kinds, 3), ERR_FORMAT, "list of strings");
    for (size_t i = 0; i < COUNT_OF(many); i++) {
        many[i] = STR("a b");
    }
    refuses((struct entry)ENTRY_TEXTS(key, many, COUNT_OF(many)), ERR_FORMAT, "more than 4194304");
    /* unknown parts, three parts, twice the same: never applied, and real files have them */
    static const struct str odd[] = {{"q w", 3}, {"t 1 0", 5}, {"t 1", 3}, {"t 1", 3}, {"  x", 3}};
    struct entry entries[] = {GOOD_ENTRIES};
    entries[3] = (struct entry)ENTRY_TEXTS(key, odd, COUNT_OF(odd));
    text_close(vocab_must_open(NULL, entries, GOOD_COUNT));
}

static void unknown_models_are_named(void **state)
{
    (void)state;
    fill();
    const char *const key = "tokenizer.ggml.model";
    refuses((struct entry)ENTRY_STR(key, "rwkv\n"), ERR_ARCH, "\"rwkv\\x0a\" is not supported");
    refuses((struct entry)ENTRY_STR(key, "rwkv"), ERR_ARCH, "gpt2 (byte-level BPE), llama (Sent");
    refuses((struct entry)ENTRY_ABSENT(key), ERR_FORMAT, "has no tokenizer");
    refuses((struct entry)ENTRY_U32(key, 1), ERR_FORMAT, key);
}

/* ---- end tokens ---- */

static void set_token(int id, const char *name, enum text_kind kind)
{
    tokens[id] = str_of(name);
    kinds[id] = (int32_t)kind;
}

static struct text *open_kinds(struct entry more)
{
    const struct entry entries[] = {
        GOOD_ENTRIES, ENTRY_NUMBERS("tokenizer.ggml.token_type", GGUF_I32, kinds, TOKENS), more};
    return vocab_must_open(NULL, entries, COUNT_OF(entries));
}

static void generations_end_at_every_end_token(void **state)
{
    (void)state;
    fill();
    set_token(10, "<|im_end|>", TEXT_USER_DEFINED); /* a file that has the kind wrong */
    set_token(11, "<|eot_id|>", TEXT_CONTROL);
    set_token(12, "</s>", TEXT_NORMAL); /* ordinary text, as in HTML */
    set_token(13, "<EOT>", TEXT_CONTROL);
    set_token(14, "<|end|>", TEXT_CONTROL);
    static const int32_t list[] = {20, 21};
    struct text *text =
        open_kinds((struct entry)ENTRY_NUMBERS("tokenizer.ggml.eos_token_ids", GGUF_I32, list, 2));
    static const text_id ends[] = {10, 11, 13, 14, 20, 21}, others[] = {0, 12, 15, 22};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        assert_true(text_is_end(text, ends[i]));
    }
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_false(text_is_end(text, others[i]));
    }
    assert_int_equal(text_kind_of(text, 10), TEXT_CONTROL);
    assert_int_equal(text_kind_of(text, 12), TEXT_NORMAL);
    text_close(text);

    text = open_kinds((struct entry)ENTRY_U32("tokenizer.ggml.eot_token_id", 30));
    assert_true(text_is_end(text, 30));
    text_close(text);
}

/* gpt-oss: <|end|> ends a message inside of an answer, not the answer. */
static void harmony_answers_go_on_behind_end(void **state)
{
    (void)state;
    fill();
    set_token(10, "<|end|>", TEXT_CONTROL);
    set_token(11, "<|return|>", TEXT_CONTROL);
    set_token(12, "<|call|>", TEXT_CONTROL);
    struct text *text = open_kinds((struct entry)ENTRY_U32("tokenizer.ggml.eos_token_id", 11));
    assert_false(text_is_end(text, 10));
    assert_true(text_is_end(text, 11));
    assert_true(text_is_end(text, 12));
    text_close(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_vocabulary_opens),
        cmocka_unit_test(lists_must_fit_each_other),
        cmocka_unit_test(tokens_must_make_sense),
        cmocka_unit_test(odd_tokens_are_tolerated),
        cmocka_unit_test(special_ids_must_exist),
        cmocka_unit_test(merges_are_checked),
        cmocka_unit_test(unknown_models_are_named),
        cmocka_unit_test(generations_end_at_every_end_token),
        cmocka_unit_test(harmony_answers_go_on_behind_end),
    };
    return cmocka_run_group_tests_name("text/text", tests, NULL, NULL);
}
