/* Batch invariance: the logits of a sequence are the same bytes alone, among seven others, on one
 * thread and two, and for any cut of the prompt into calls. Keys and values of a garbage page must
 * not shine through either. */
#include "model/fixture.h"

#include "base/size.h"
#include "model/instance.h"

enum { LONG_TOKENS = 600, OTHERS = 7 };

/* Ids of sequence s; the lengths of the others differ. */
static int32_t token_at(size_t s, size_t i)
{
    return (int32_t)((i * 37 + s * 11 + i * i % 7) % 64);
}

static size_t length_of(size_t s)
{
    return s == 0 ? LONG_TOKENS : 3 + s * 41;
}

static struct fixture open_model(const char *name, enum kv_type kv, size_t threads)
{
    char path[512];
    struct model_params params = fixture_params();
    params.kv_type = kv;
    params.sequences_max = 1 + OTHERS;
    params.batch_rows_max = 512;
    params.logits_rows_max = 512;
    params.ctx_tokens = LONG_TOKENS;
    params.kv_tokens = (1 + OTHERS) * 640;
    struct fixture f = fixture_open(fixture_path(path, name), &params, threads);
    memset(f.model->pages, 0xff, f.model->pages_bytes); /* NaN in every cache type */
    if (f.model->states) {
        memset(f.model->states, 0xff, f.model->states_bytes);
    }
    return f;
}

/* For so many layers. */
static bool is_early(void *layers)
{
    size_t *left = layers;
    return (*left)-- > 0;
}

/* Logits of sequence 0 while seven others run beside it: each call takes some rows of everyone. */
static float *logits_in_crowd(const struct fixture *f)
{
    struct model_seq seqs[1 + OTHERS];
    uint32_t *pages[1 + OTHERS];
    size_t at[1 + OTHERS] = {0}, vocab = f->vocab_count;
    struct model_row *rows = MEM_ARRAY(struct model_row, 512);
    float *logits = MEM_ARRAY(float, LONG_TOKENS *vocab), *out = MEM_ARRAY(float, 512 * vocab);
    for (size_t s = 0; s <= OTHERS; s++) {
        pages[s] = fixture_pages(10, s, 1 + OTHERS);
        seqs[s] = (struct model_seq){.pages = pages[s], .page_count = 10, .state = (uint32_t)s};
    }
    for (size_t call = 0; at[0] < LONG_TOKENS; call++) {
        size_t count = 0, first = 0, mine = 0;
        for (size_t k = 0; k <= OTHERS; k++) {
            size_t s = (k + call) % (1 + OTHERS); /* the order changes as well */
            size_t n = size_min(length_of(s) - at[s], 1 + (call * 7 + s * 5) % 43);
            if (s == 0) {
                first = count;
                mine = n;
            }
            for (size_t i = 0; i < n; i++, at[s]++) {
                rows[count++] = (struct model_row){.token = token_at(s, at[s]),
                                                   .pos = (uint32_t)at[s],
                                                   .seq = (uint32_t)s,
                                                   .wants_logits = true};
            }
        }
        const struct model_batch batch = {rows, count, seqs, 1 + OTHERS};
        if (!f->model->states && call % 3 == 1) { /* given up at some layer, then done again */
            size_t layers = call / 3 % (f->model->h.layer_count + 1);
            const bool is_done = layers == f->model->h.layer_count;
            assert_int_equal(model_forward_while(f->model, &batch, out, is_early, &layers),
                             is_done);
        }
        model_forward(f->model, &batch, out);
        memcpy(logits + (at[0] - mine) * vocab, out + first * vocab, mine * vocab * sizeof(float));
    }
    for (size_t s = 0; s <= OTHERS; s++) {
        mem_free(pages[s]);
    }
    mem_free(rows);
    mem_free(out);
    return logits;
}

static void expect_same(const float *a, const float *b, size_t vocab, const char *what)
{
    for (size_t i = 0; i < LONG_TOKENS; i++) {
        if (memcmp(a + i * vocab, b + i * vocab, vocab * sizeof(float)) != 0) {
            fail_msg("%s: logits of position %zu differ", what, i);
        }
    }
}

static void check_model(const char *name, enum kv_type kv)
{
    static const size_t chunks[] = {1, 7, 64, 512};
    int32_t ids[LONG_TOKENS];
    struct fixture one = open_model(name, kv, 1), two = open_model(name, kv, 2);
    for (size_t i = 0; i < LONG_TOKENS; i++) {
        ids[i] = token_at(0, i);
    }
    float *want = fixture_logits(&one, ids, LONG_TOKENS, 512);
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        char what[128];
        snprintf(what, sizeof what, "%s, chunks of %zu", name, chunks[i]);
        float *alone = fixture_logits(&one, ids, LONG_TOKENS, chunks[i]);
        float *threaded = fixture_logits(&two, ids, LONG_TOKENS, chunks[i]);
        expect_same(want, alone, one.vocab_count, what);
        expect_same(want, threaded, one.vocab_count, what);
        mem_free(alone);
        mem_free(threaded);
    }
    float *crowd = logits_in_crowd(&one), *threaded = logits_in_crowd(&two);
    expect_same(want, crowd, one.vocab_count, "among seven others");
    expect_same(want, threaded, one.vocab_count, "among seven others, two threads");
    mem_free(crowd);
    mem_free(threaded);
    mem_free(want);
    fixture_close(&one);
    fixture_close(&two);
}

static void test_float(void **state)
{
    (void)state;
    check_model("llama-f32.gguf", KV_F32);
    check_model("llama-f32.gguf", KV_Q8_0);
    check_model("llama-f32.gguf", KV_Q4_0);
    check_model("qwen3-bf16.gguf", KV_BF16);
}

/* Windows, caps, distances, parallel layers, layer norms: each in one model at least. */
static void test_families(void **state)
{
    static const char *const names[] = {"gemma2-f32.gguf",        "gemma3-f32.gguf",
                                        "olmo2-window-f32.gguf",  "cohere2-f32.gguf",
                                        "refact-f32.gguf",        "phi2-f32.gguf",
                                        "bloom-f32.gguf",         "stablelm-parallel-f32.gguf",
                                        "phi3-long-f32.gguf",     "nemotron-f32.gguf",
                                        "qwen2moe-f32.gguf",      "llama-experts-f32.gguf",
                                        "dots1-f32.gguf",         "lfm2-f32.gguf",
                                        "qwen3next-f32.gguf",     "qwen35-f32.gguf",
                                        "granitehybrid-f32.gguf", "deepseek2-f32.gguf",
                                        "minicpm3-f32.gguf",      "gpt-oss-f32.gguf",
                                        "llama4-f32.gguf",        "apertus-f32.gguf",
                                        "gemma4-f32.gguf",        "gemma4-experts-f32.gguf"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_model(names[i], i % 2 ? KV_F32 : KV_F16);
    }
}

static void test_quantized(void **state)
{
    (void)state;
    check_model("llama-mix.gguf", KV_F16);
    check_model("llama-q8_0.gguf", KV_BF16);
    check_model("qwen3moe-q8_0.gguf", KV_F16);
}

/* A long context: chunks of attention are split over threads when few rows run, and only then. */
static void check_split(const char *name)
{
    enum { TOKENS = 2200 };
    char path[512];
    int32_t ids[TOKENS];
    float *logits[4];
    struct model_params params = fixture_params();
    params.batch_rows_max = params.logits_rows_max = 512;
    params.ctx_tokens = TOKENS;
    for (size_t i = 0; i < TOKENS; i++) {
        ids[i] = token_at(1, i);
    }
    struct fixture one = fixture_open(fixture_path(path, name), &params, 1);
    struct fixture three = fixture_open(path, &params, 3);
    memset(one.model->pages, 0xff, one.model->pages_bytes);
    memset(three.model->pages, 0xff, three.model->pages_bytes);
    logits[0] = fixture_logits(&one, ids, TOKENS, 512);
    logits[1] = fixture_logits(&three, ids, TOKENS, 512);
    logits[2] = fixture_logits(&three, ids, TOKENS, 11); /* split: 11 rows x 2 heads */
    logits[3] = fixture_logits(&three, ids, TOKENS, 1);
    for (int i = 1; i < 4; i++) {
        assert_memory_equal(logits[0], logits[i], TOKENS * one.vocab_count * sizeof(float));
    }
    for (int i = 0; i < 4; i++) {
        mem_free(logits[i]);
    }
    fixture_close(&one);
    fixture_close(&three);
}

static void test_split_attention(void **state)
{
    (void)state;
    check_split("llama-long-f32.gguf");
    check_split("cohere2-long-f32.gguf"); /* a window of 300 */
}

/* Rows that want no logits get none, and change nothing for those that do. */
static void check_wanted(const char *name)
{
    enum { COUNT = 40 };
    char path[512];
    int32_t ids[COUNT];
    struct model_row rows[COUNT];
    struct model_params params = fixture_params();
    params.batch_rows_max = params.logits_rows_max = COUNT;
    struct fixture f = fixture_open(fixture_path(path, name), &params, 2);
    for (size_t i = 0; i < COUNT; i++) {
        ids[i] = token_at(2, i);
        rows[i] = (struct model_row){
            .token = ids[i], .pos = (uint32_t)i, .wants_logits = i % 13 == 5 || i + 1 == COUNT};
    }
    float *all = fixture_logits(&f, ids, COUNT, COUNT), some[5 * 64];
    const uint32_t page = 0;
    const struct model_seq seq = {.pages = &page, .page_count = 1};
    const struct model_batch batch = {rows, COUNT, &seq, 1};
    assert_int_equal(f.vocab_count, 64);
    memset(some, 0, sizeof some);
    model_forward(f.model, &batch, some);
    static const size_t wanted[] = {5, 18, 31, 39};
    for (size_t i = 0; i < 4; i++) {
        assert_memory_equal(some + i * 64, all + wanted[i] * 64, 64 * sizeof(float));
    }
    assert_true(some[4 * 64] == 0.0f);
    const struct model_batch empty = {rows, 0, &seq, 1};
    model_forward(f.model, &empty, NULL);
    mem_free(all);
    fixture_close(&f);
}

static void test_wanted_rows(void **state)
{
    (void)state;
    check_wanted("llama-f32.gguf");
    check_wanted("cohere2-f32.gguf"); /* parallel: the input of the ffn goes on as well */
    check_wanted("gpt2-f32.gguf");
    check_wanted("exaone4-f32.gguf");
    check_wanted("qwen3moe-f32.gguf");
    check_wanted("lfm2-f32.gguf"); /* the last layer is a recurrence */
    check_wanted("granitehybrid-f32.gguf");
    check_wanted("qwen3next-joint-f32.gguf");
    check_wanted("qwen35-f32.gguf");
    check_wanted("deepseek2-f32.gguf");
    check_wanted("gemma4-f32.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float),       cmocka_unit_test(test_families),
        cmocka_unit_test(test_quantized),   cmocka_unit_test(test_split_attention),
        cmocka_unit_test(test_wanted_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
