/* Logits against the float64 reference (tests/golden/model: tiny random models of each family, rope
 * kind and type with the logits that numpy gives; a third-party engine was compared when they were
 * made), and the recorded text of a model trained by others. */
#include "model/fixture.h"

#include <math.h>

#include "base/json.h"
#include "base/os.h"
#include "model/traits.h"

struct golden {
    json_t *root;
    double range;
    int32_t *ids;
    size_t count;
};

static struct golden open_golden(const char *name)
{
    struct golden g = {0};
    struct err err = {0};
    char path[512], file[128];
    size_t len = 0;
    snprintf(file, sizeof file, "%s.json", name);
    char *text = os_file_slurp(fixture_path(path, file), 16 << 20, &len, &err);
    assert_non_null(text);
    g.root = json_parse((struct str){text, len}, NULL, &err);
    mem_free(text);
    assert_non_null(g.root);
    json_t *tokens = json_object_get(g.root, "tokens");
    g.range = json_number_value(json_object_get(g.root, "range"));
    g.count = json_array_size(tokens);
    g.ids = MEM_ARRAY(int32_t, g.count);
    for (size_t i = 0; i < g.count; i++) {
        g.ids[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    }
    return g;
}

static double log_sum(const double *x, size_t n)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) {
        max = fmax(max, x[i]);
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp(x[i] - max);
    }
    return max + log(sum);
}

/* Worst difference as a part of the range, and mean KL(reference || ours) over positions. */
static void compare(const struct golden *g, const float *logits, size_t vocab, double *error,
                    double *kl)
{
    json_t *positions = json_object_get(g->root, "positions");
    json_t *expected = json_object_get(g->root, "logits");
    double *want = MEM_ARRAY(double, vocab), *have = MEM_ARRAY(double, vocab);
    *error = *kl = 0;
    for (size_t i = 0; i < json_array_size(positions); i++) {
        size_t pos = (size_t)json_integer_value(json_array_get(positions, i));
        json_t *row = json_array_get(expected, i);
        assert_int_equal(json_array_size(row), vocab);
        for (size_t v = 0; v < vocab; v++) {
            want[v] = json_number_value(json_array_get(row, v));
            have[v] = (double)logits[pos * vocab + v];
            assert_true(isfinite(have[v]));
            *error = fmax(*error, fabs(want[v] - have[v]) / g->range);
        }
        double want_sum = log_sum(want, vocab), have_sum = log_sum(have, vocab);
        for (size_t v = 0; v < vocab; v++) {
            *kl += exp(want[v] - want_sum) * (want[v] - want_sum - (have[v] - have_sum));
        }
    }
    *kl /= (double)json_array_size(positions);
    mem_free(want);
    mem_free(have);
}

static void check_model(const char *name, enum cpu_level level, enum kv_type kv_type,
                        double error_max, double kl_max)
{
    char path[512], file[128];
    struct golden g = open_golden(name);
    struct model_params params = fixture_params();
    params.cpu_level = level;
    params.kv_type = kv_type;
    params.ctx_tokens = (uint32_t)g.count;
    snprintf(file, sizeof file, "%s.gguf", name);
    struct fixture f = fixture_open(fixture_path(path, file), &params, 2);
    float *logits = fixture_logits(&f, g.ids, g.count, 16);
    double error, kl;
    compare(&g, logits, f.vocab_count, &error, &kl);
    if (!(error <= error_max) || !(kl <= kl_max)) {
        fail_msg("%s at %s: error %.2g of the range (at most %.2g), KL %.2g (at most %.2g)", name,
                 cpu_level_name(level), error, error_max, kl, kl_max);
    }
    mem_free(logits);
    mem_free(g.ids);
    json_decref(g.root);
    fixture_close(&f);
}

/* The reference and the best level of this machine, and what lies between. */
static void check_levels(const char *name, double error_max, double kl_max)
{
    check_model(name, CPU_REFERENCE, KV_F32, error_max, kl_max);
    if (cpu_level_detect() == CPU_AVX512) {
        check_model(name, CPU_AVX2, KV_F32, error_max, kl_max);
    }
    check_model(name, cpu_level_detect(), KV_F32, error_max, kl_max);
}

/* Required: 1e-4 of the range. Float sums of a few hundred terms give 1e-6. */
static void test_families(void **state)
{
    (void)state;
    for (size_t i = 0; model_traits_at(i); i++) {
        if (!model_traits_at(i)->is_encoder) { /* encoder_test.c */
            check_levels(model_traits_at(i)->proof, 5e-6, 1e-9);
        }
    }
}

/* What one model of a family does not show. */
static void test_variants(void **state)
{
    static const char *const names[] = {
        "llama-mha-one-layer-f32", "llama-wide-head-f32",     "llama-biases-f32",
        "llama-factors-tied-f32",  "llama-linear-f32",        "llama-yarn-f32",
        "llama-scale-linear-f32",  "llama-ffn-per-layer-f32", "qwen2-yarn-f32",
        "phi3-long-f32",           "phi3-short-f32",          "olmo2-f32",
        "stablelm-parallel-f32",   "gptneox-serial-f32",      "mpt-positions-f32",
        "mpt-qk-norm-f32",         "falcon-two-norms-f32",    "command-r-qk-norm-f32",
        "exaone4-window-f32",      "llama-experts-f32",       "granitemoe-alone-f32",
        "dots1-plain-f32",         "qwen3next-joint-f32",     "granitehybrid-experts-f32",
        "deepseek2-joint-f32",     "deepseek2-lite-f32",      "glm4moe-plain-f32",
        "gemma4-experts-f32"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_levels(names[i], 5e-6, 1e-9);
    }
}

/* 2200 positions: three chunks of attention; windows that begin in the chunk before. */
static void test_long_context(void **state)
{
    (void)state;
    check_levels("llama-long-f32", 5e-6, 1e-9);
    check_levels("cohere2-long-f32", 5e-6, 1e-9);
    check_levels("llama4-long-f32", 5e-6, 1e-9); /* 8300: a chunk ends */
}

/* Required: 2e-3. Weights of 16 bits are multiplied with float activations, so nothing is lost. */
static void test_f16_bf16(void **state)
{
    (void)state;
    check_levels("llama-f16", 5e-6, 1e-9);
    check_levels("qwen3-bf16", 5e-6, 1e-9);
}

static void test_quantized(void **state)
{
    static const char *const names[] = {"llama-q8_0",    "qwen2-q4_0-tied", "llama-q4_k",
                                        "llama-q5_k",    "qwen3-q6_k-tied", "llama-mix",
                                        "qwen3moe-q8_0", "gpt-oss-mxfp4"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_levels(names[i], 0.02, 1e-3);
    }
}

/* A cache of 16 bits costs what its rounding costs: 2^-12 and 2^-9 relative. */
static void test_narrow_cache(void **state)
{
    (void)state;
    check_model("llama-yarn-f32", cpu_level_detect(), KV_F16, 2e-3, 1e-5);
    check_model("llama-yarn-f32", cpu_level_detect(), KV_BF16, 2e-2, 1e-3);
}

/* Greedy text of stories260K as recorded from another engine. Its cache was F16, so the first
 * difference may be a near tie: top two within 1e-3 of the range. */
static void test_recorded_text(void **state)
{
    struct err err = {0};
    size_t len = 0;
    (void)state;
    char *text = os_file_slurp(TEST_DATA "/models/stories260K.greedy.json", 1 << 20, &len, &err);
    assert_non_null(text);
    json_t *root = json_parse((struct str){text, len}, NULL, &err);
    json_t *tokens = json_object_get(root, "tokens");
    /* BOS and "Once upon a time" by the model's own tokenizer. */
    static const int32_t prompt[] = {1, 403, 407, 261, 378};
    size_t prompt_count = sizeof prompt / sizeof prompt[0], count = json_array_size(tokens);
    int32_t ids[512];
    memcpy(ids, prompt, sizeof prompt);
    assert_true(count > 100 && count + prompt_count < 512);
    for (size_t i = 0; i < count; i++) {
        ids[prompt_count + i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    }
    struct model_params params = fixture_params();
    struct fixture f = fixture_open(TEST_DATA "/models/stories260K.gguf", &params, 2);
    float *logits = fixture_logits(&f, ids, prompt_count + count - 1, 16);
    for (size_t i = 0; i < count; i++) {
        const float *row = logits + (prompt_count - 1 + i) * f.vocab_count;
        size_t best = 0;
        float low = row[0];
        for (size_t v = 1; v < f.vocab_count; v++) {
            best = row[v] > row[best] ? v : best;
            low = row[v] < low ? row[v] : low;
        }
        int32_t recorded = ids[prompt_count + i];
        float gap = (row[best] - row[recorded]) / (row[best] - low);
        if (gap > 1e-3f) {
            fail_msg("token %zu: %zu instead of %d, by %g of the range", i, best, recorded,
                     (double)gap);
        }
        if (best != (size_t)recorded) {
            break; /* a near tie: from here on the texts differ */
        }
    }
    mem_free(logits);
    mem_free(text);
    json_decref(root);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),      cmocka_unit_test(test_variants),
        cmocka_unit_test(test_long_context),  cmocka_unit_test(test_f16_bf16),
        cmocka_unit_test(test_quantized),     cmocka_unit_test(test_narrow_cache),
        cmocka_unit_test(test_recorded_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
