/* Byte-level BPE: each pre-tokenizer against vectors of the Hugging Face library and llama.cpp,
 * whole vocabularies where ../shared is there, arbitrary bytes, long words, linear time. */
#include "text/test_vocab.h"

#include "base/clock.h"
#include "base/os.h"
#include "text/pretok.h"

static const struct text_encode_opts plain = {0};

static struct text *open_pre(const char *pre)
{
    const struct entry entries[] = {ENTRY_STR("tokenizer.ggml.pre", pre)};
    return vocab_must_open(BPE_FILE, entries, 1);
}

static void every_pretokenizer_agrees(void **state)
{
    (void)state;
    json_t *root = vectors_load();
    const char *pre;
    json_t *rows;
    size_t count = 0;
    json_object_foreach(json_object_get(root, "bpe"), pre, rows)
    {
        struct text *text = open_pre(pre);
        char name[64];
        snprintf(name, sizeof name, "gpt2/%s", pre);
        assert_string_equal(text_name(text), name);
        check_vectors(text, pre, root, rows);
        text_close(text);
        count++;
    }
    assert_true(count >= 20);
    json_decref(root);
}

/* Rows without vectors of their own must at least compile, under each of their names. */
static void every_name_opens(void **state)
{
    (void)state;
    struct buf names = {0};
    text_pretok_list(&names);
    struct str rest = buf_view(&names);
    size_t count = 0;
    while (rest.len > 0) {
        char name[64];
        const struct str next = str_trim(str_cut(&rest, ','));
        snprintf(name, sizeof name, "%.*s", STR_ARG(next));
        struct text *text = open_pre(name);
        assert_round_trip(text, STR("It's 1234 \xD0\x96\xE6\x97\xA5  x\r\n\n IMGIMGAZ"));
        text_close(text);
        count++;
    }
    assert_true(count > 60);
    buf_deinit(&names);
}

static void an_unknown_pretokenizer_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    const struct entry entries[] = {ENTRY_STR("tokenizer.ggml.pre", "gpt-2\033[31m")};
    assert_null(vocab_open(BPE_FILE, entries, 1, &err));
    assert_int_equal(err.code, ERR_ARCH);
    assert_non_null(strstr(err.text, "llama-bpe, llama3"));
    assert_null(strchr(err.text, '\033'));
}

static void no_pretokenizer_means_default(void **state)
{
    (void)state;
    const struct entry entries[] = {ENTRY_ABSENT("tokenizer.ggml.pre")};
    struct text *text = vocab_must_open(BPE_FILE, entries, 1);
    assert_string_equal(text_name(text), "gpt2/default");
    json_t *root = vectors_load();
    check_vectors(text, "default", root, json_object_get(json_object_get(root, "bpe"), "default"));
    json_decref(root);
    text_close(text);
    text = open_pre("");
    assert_string_equal(text_name(text), "gpt2/default");
    text_close(text);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    static const char *const pres[] = {"gpt-2", "llama-bpe", "deepseek-llm", "afmoe", "tekken"};
    uint32_t random = 12345;
    for (size_t p = 0; p < COUNT_OF(pres); p++) {
        struct text *text = open_pre(pres[p]);
        char bytes[600];
        for (int round = 0; round < 60; round++) {
            for (size_t i = 0; i < sizeof bytes; i++) {
                random = random * 1664525 + 1013904223;
                bytes[i] = (char)(random >> 24);
            }
            assert_round_trip(text, (struct str){.ptr = bytes, .len = (size_t)round * 10});
        }
        for (int byte = 0; byte < 256; byte++) {
            bytes[0] = (char)byte;
            assert_round_trip(text, (struct str){.ptr = bytes, .len = 1});
        }
        text_close(text);
    }
}

/* Invalid bytes are words of their own; the text beside them is split as if it stood alone. */
static void invalid_bytes_stand_alone(void **state)
{
    (void)state;
    struct text *text = open_pre("gpt-2");
    struct text_ids whole = must_encode(text, STR(" the\xFF\xFE the"), plain);
    struct text_ids word = must_encode(text, STR(" the"), plain);
    assert_int_equal(whole.count, 2 * word.count + 2);
    for (size_t i = 0; i < word.count; i++) {
        assert_int_equal(whole.ids[i], word.ids[i]);
        assert_int_equal(whole.ids[word.count + 2 + i], word.ids[i]);
    }
    text_ids_deinit(&whole);
    text_ids_deinit(&word);
    text_close(text);
}

/* The small arrays and the heap must give the same: a word that is cut just above the limit. */
static void short_and_long_words_merge_alike(void **state)
{
    (void)state;
    struct text *text = open_pre("gpt-2");
    char word[80];
    for (size_t len = 28; len < sizeof word; len++) {
        memset(word, 'a', len);
        struct text_ids ids = must_encode(text, (struct str){.ptr = word, .len = len}, plain);
        assert_int_equal(ids.count, len / 4 + (len % 4) / 2 + len % 2);
        text_ids_deinit(&ids);
    }
    text_close(text);
}

static double encode_seconds(const struct text *text, char byte, size_t len)
{
    char *bytes = mem_alloc(len, 1);
    assert_non_null(bytes);
    memset(bytes, byte, len);
    const int64_t start_ns = clock_now_ns();
    struct text_ids ids = must_encode(text, (struct str){.ptr = bytes, .len = len}, plain);
    const double seconds = (double)(clock_now_ns() - start_ns) / 1e9;
    assert_true(ids.count > 0);
    text_ids_deinit(&ids);
    mem_free(bytes);
    return seconds;
}

/* Quadratic code takes minutes here; n log n less than a second, more under a sanitizer. */
static void time_is_linear(void **state)
{
    (void)state;
    static const char *const pres[] = {"gpt-2",     "llama-bpe", "qwen2",  "deepseek-llm",
                                       "starcoder", "smollm",    "gpt-4o", "jais-2",
                                       "afmoe",     "chameleon"};
    for (size_t p = 0; p < COUNT_OF(pres); p++) {
        struct text *text = open_pre(pres[p]);
        static const char bytes[] = {'a', 'A', ' ', '\n', '1', '.', '\''};
        for (size_t i = 0; i < sizeof bytes; i++) {
            const double seconds = encode_seconds(text, bytes[i], 200000);
            if (seconds > 5) {
                fail_msg("%s: 200 kB of 0x%02x take %.1f s", pres[p], bytes[i], seconds);
            }
        }
        text_close(text);
    }
    struct text *text = open_pre("llama-bpe");
    assert_true(encode_seconds(text, 'a', 1 << 20) < 20);
    text_close(text);
}

/* ---- whole vocabularies of ../shared ---- */

static char *slurp(const char *name, const char *suffix, size_t *len)
{
    const char *shared = getenv("HEARTH_SHARED");
    char path[512];
    struct err err = {0};
    snprintf(path, sizeof path, "%s/data/vocab/ggml-vocab-%s.gguf%s",
             shared ? shared : TEST_DATA "/../../../shared", name, suffix);
    return os_file_slurp(path, 1 << 28, len, &err);
}

/* NAME.gguf.inp has texts between marks, NAME.gguf.out a line of ids for each. */
static void check_whole(const char *name)
{
    const char *shared = getenv("HEARTH_SHARED");
    char path[512];
    size_t in_len = 0, out_len = 0;
    char *input = slurp(name, ".inp", &in_len), *output = slurp(name, ".out", &out_len);
    if (!input || !output) {
        printf("skipped: no ../shared/data/vocab/ggml-vocab-%s.gguf\n", name);
        mem_free(input);
        mem_free(output);
        return;
    }
    snprintf(path, sizeof path, "%s/data/vocab/ggml-vocab-%s.gguf",
             shared ? shared : TEST_DATA "/../../../shared", name);
    struct text *text = vocab_must_open(path, NULL, 0);
    const struct str mark = STR("\n__ggml_vocab_test__\n"), all = {input, in_len};
    struct str lines = {output, out_len};
    size_t count = 0;
    for (size_t at = 0; at <= all.len; count++) {
        const size_t found = str_find(all, mark, at);
        const size_t end = found == SIZE_MAX ? all.len : found;
        const struct str s = str_slice(all, at, end), line = str_trim(str_cut(&lines, '\n'));
        char wanted[8192];
        snprintf(wanted, sizeof wanted, "%.*s", STR_ARG(line));
        assert_ids(text, s, plain, wanted);
        at = end + mark.len;
    }
    assert_true(count > 40);
    text_close(text);
    mem_free(input);
    mem_free(output);
}

static void whole_vocabularies_agree(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt-2",        "llama-bpe", "qwen2",
                                        "deepseek-llm", "starcoder", "deepseek-coder",
                                        "llama-spm",    "phi-3",     "bert-bge"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        check_whole(names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pretokenizer_agrees),
        cmocka_unit_test(every_name_opens),
        cmocka_unit_test(an_unknown_pretokenizer_is_refused),
        cmocka_unit_test(no_pretokenizer_means_default),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(invalid_bytes_stand_alone),
        cmocka_unit_test(short_and_long_words_merge_alike),
        cmocka_unit_test(time_is_linear),
        cmocka_unit_test(whole_vocabularies_agree),
    };
    return cmocka_run_group_tests_name("text/bpe", tests, NULL, NULL);
}
