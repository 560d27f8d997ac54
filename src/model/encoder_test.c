/* Vectors and scores against the float64 reference (tests/golden/encoder), the same bytes in any
 * company, and files that lie. */
#include "model/fixture.h"

#include <math.h>

#include "base/json.h"
#include "base/os.h"
#include "model/encoder.h"
#include "model/traits.h"

struct golden {
    json_t *root;
    double range;
    int32_t *ids[MODEL_ENCODER_TEXTS_MAX];
    struct model_encoder_text texts[MODEL_ENCODER_TEXTS_MAX];
    size_t count;
};

static const char *path_of(char out[512], const char *name, const char *suffix)
{
    snprintf(out, 512, "%s/%s%s", TEST_ENCODERS, name, suffix);
    return out;
}

static struct golden open_golden(const char *name)
{
    struct golden g = {0};
    struct err err = {0};
    char path[512];
    size_t len = 0;
    char *text = os_file_slurp(path_of(path, name, ".json"), 16 << 20, &len, &err);
    assert_non_null(text);
    g.root = json_parse((struct str){text, len}, NULL, &err);
    mem_free(text);
    assert_non_null(g.root);
    g.range = json_number_value(json_object_get(g.root, "range"));
    json_t *texts = json_object_get(g.root, "texts"), *seconds = json_object_get(g.root, "seconds");
    g.count = json_array_size(texts);
    for (size_t i = 0; i < g.count; i++) {
        json_t *text_ids = json_array_get(texts, i);
        size_t count = json_array_size(text_ids);
        g.ids[i] = MEM_ARRAY(int32_t, count);
        for (size_t j = 0; j < count; j++) {
            g.ids[i][j] = (int32_t)json_integer_value(json_array_get(text_ids, j));
        }
        g.texts[i] = (struct model_encoder_text){
            g.ids[i], count, (size_t)json_integer_value(json_array_get(seconds, i))};
    }
    return g;
}

static void close_golden(struct golden *g)
{
    for (size_t i = 0; i < g->count; i++) {
        mem_free(g->ids[i]);
    }
    json_decref(g->root);
}

/* A model and its encoder. */
struct rig {
    struct fixture f;
    struct model_encoder *encoder;
    const struct model_encoder_info *info;
};

static struct rig open_rig(const char *name, enum cpu_level level, size_t threads)
{
    struct rig rig;
    struct err err = {0};
    struct model_params params = fixture_params();
    const struct model_encoder_params own = {0};
    char path[512];
    params.cpu_level = level;
    params.kv_type = KV_F16; /* of a decoder's cache; encoders have none */
    rig.f = fixture_open(path_of(path, name, ".gguf"), &params, threads);
    rig.encoder = model_encoder_create(rig.f.model, &own, &err);
    if (!rig.encoder) {
        fail_msg("%s: %s", name, err.text);
    }
    rig.info = model_encoder_info(rig.encoder);
    return rig;
}

static void close_rig(struct rig *rig)
{
    model_encoder_destroy(rig->encoder);
    fixture_close(&rig->f);
}

/* Numbers of a text's result. */
static size_t width_of(const struct rig *rig, const struct model_encoder_text *text)
{
    return rig->info->width * (rig->info->pooling == MODEL_ENCODER_NONE ? text->count : 1);
}

static float *run(const struct rig *rig, const struct model_encoder_text *texts, size_t count)
{
    size_t width = 0;
    for (size_t i = 0; i < count; i++) {
        width += width_of(rig, &texts[i]);
    }
    float *out = MEM_ARRAY(float, width);
    model_encoder_run(rig->encoder, texts, count, out);
    return out;
}

static double error_of(const struct golden *g, const struct rig *rig, const float *out)
{
    json_t *vectors = json_object_get(g->root, "vectors");
    double error = 0;
    for (size_t i = 0; i < g->count; i++) {
        json_t *want = json_array_get(vectors, i);
        size_t width = width_of(rig, &g->texts[i]);
        assert_int_equal(json_array_size(want), width);
        for (size_t j = 0; j < width; j++) {
            assert_true(isfinite(out[j]));
            error = fmax(error, fabs((double)out[j] - json_number_value(json_array_get(want, j))));
        }
        out += width;
    }
    return error / g->range;
}

static void check(const char *name, enum cpu_level level, double error_max)
{
    struct golden g = open_golden(name);
    struct rig rig = open_rig(name, level, 2);
    float *out = run(&rig, g.texts, g.count);
    double error = error_of(&g, &rig, out);
    if (!(error <= error_max)) {
        fail_msg("%s at %s: error %.2g of the range (at most %.2g)", name, cpu_level_name(level),
                 error, error_max);
    }
    mem_free(out);
    close_rig(&rig);
    close_golden(&g);
}

static void check_levels(const char *name, double error_max)
{
    check(name, CPU_REFERENCE, error_max);
    if (cpu_level_detect() == CPU_AVX512) {
        check(name, CPU_AVX2, error_max);
    }
    check(name, cpu_level_detect(), error_max);
}

/* Required: 1e-4 of the range. */
static void test_families(void **state)
{
    (void)state;
    for (size_t i = 0; model_traits_at(i); i++) {
        if (model_traits_at(i)->is_encoder) {
            check_levels(model_traits_at(i)->proof, 3e-6);
        }
    }
}

static const char *const variants[] = {
    "bert-cls-fused-f32",    "bert-last-f32",          "bert-none-f32",
    "bert-rank-f32",         "bert-rank-direct-f32",   "bert-pair-f32",
    "bert-words-f32",        "bert-words-rank-f32",    "bert-long-f32",
    "jina-bert-v2-wide-f32", "jina-bert-v2-plain-f32", "jina-bert-v2-rank-f32",
    "modern-bert-rank-f32",  "modern-bert-long-f32",   "llama-mean-f32",
    "llama-unsaid-f32",      "llama-long-f32",         "qwen2-both-ways-f32",
    "qwen3-last-f32",        "qwen3-rank-f32",
};

enum { VARIANT_COUNT = sizeof variants / sizeof variants[0] };

static void test_variants(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        check_levels(variants[i], 3e-6);
    }
}

/* Required: 2e-3 for 16 bits. */
static void test_types(void **state)
{
    (void)state;
    check_levels("bert-f16", 1e-5);
    check_levels("bert-bf16", 1e-5);
    check_levels("bert-q8_0", 2e-2);
}

/* A batch equals its singles byte for byte, in any order and on any number of threads. */
static void check_company(const char *name)
{
    struct golden g = open_golden(name);
    struct rig rig = open_rig(name, cpu_level_detect(), 3);
    struct rig alone = open_rig(name, cpu_level_detect(), 1);
    struct model_encoder_text texts[8];
    size_t count = 0, at = 0;
    for (size_t i = g.count; i-- > 0;) {
        texts[count++] = g.texts[i];
        if (count < 6) { /* again, shorter, so that rows and pages stand elsewhere */
            texts[count] = g.texts[i];
            texts[count].count = (g.texts[i].count + 1) / 2;
            texts[count++].second_at = 0;
        }
    }
    float *batch = run(&rig, texts, count);
    for (size_t i = 0; i < count; i++) {
        float *single = run(&alone, &texts[i], 1);
        size_t width = width_of(&rig, &texts[i]);
        assert_memory_equal(batch + at, single, width * sizeof(float));
        at += width;
        mem_free(single);
    }
    mem_free(batch);
    close_rig(&alone);
    close_rig(&rig);
    close_golden(&g);
}

static void test_company(void **state)
{
    (void)state;
    for (size_t i = 0; model_traits_at(i); i++) {
        if (model_traits_at(i)->is_encoder) {
            check_company(model_traits_at(i)->proof);
        }
    }
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        check_company(variants[i]);
    }
    check_company("bert-q8_0");
    check_company("bert-f16");
}

static void test_info(void **state)
{
    static const struct {
        const char *name;
        enum model_encoder_pooling pooling;
        bool is_causal, is_said;
        uint32_t width;
    } cases[] = {{"bert-f32", MODEL_ENCODER_MEAN, false, true, 24},
                 {"bert-none-f32", MODEL_ENCODER_NONE, false, true, 24},
                 {"bert-rank-direct-f32", MODEL_ENCODER_RANK, false, true, 3},
                 {"gemma-embedding-f32", MODEL_ENCODER_MEAN, false, true, 24},
                 {"llama-unsaid-f32", MODEL_ENCODER_MEAN, true, false, 24},
                 {"qwen2-both-ways-f32", MODEL_ENCODER_MEAN, false, true, 24},
                 {"qwen3-last-f32", MODEL_ENCODER_LAST, true, true, 24},
                 {"qwen3-rank-f32", MODEL_ENCODER_RANK, true, true, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig rig = open_rig(cases[i].name, cpu_level_detect(), 1);
        assert_int_equal(rig.info->pooling, cases[i].pooling);
        assert_int_equal(rig.info->is_causal, cases[i].is_causal);
        assert_int_equal(rig.info->has_pooling_key, cases[i].is_said);
        assert_int_equal(rig.info->width, cases[i].width);
        assert_true(rig.info->rows_max >= rig.info->tokens_max);
        close_rig(&rig);
    }
}

/* The logits of two tokens, brought to a sum of 1: by hand from those of the decoder. */
static void test_class_tokens(void **state)
{
    static const int32_t tokens[] = {5, 9};
    struct golden g = open_golden("llama-mean-f32");
    struct rig rig = open_rig("llama-mean-f32", cpu_level_detect(), 2);
    const struct model_encoder_params params = {.class_tokens = tokens, .class_count = 2};
    struct err err = {0};
    (void)state;
    struct model_encoder *ranker = model_encoder_create(rig.f.model, &params, &err);
    assert_non_null(ranker);
    assert_int_equal(model_encoder_info(ranker)->pooling, MODEL_ENCODER_RANK);
    assert_int_equal(model_encoder_info(ranker)->width, 2);
    float scores[2 * MODEL_ENCODER_TEXTS_MAX];
    model_encoder_run(ranker, g.texts, g.count, scores);
    for (size_t i = 0; i < g.count; i++) {
        size_t count = g.texts[i].count, vocab = rig.f.vocab_count;
        float *logits = fixture_logits(&rig.f, g.texts[i].tokens, count, 16);
        const float *last = logits + (count - 1) * vocab;
        double first = 1 / (1 + exp((double)last[9] - (double)last[5]));
        assert_true(fabs((double)scores[2 * i] - first) < 2e-3); /* its cache is F16 */
        assert_true(fabs((double)scores[2 * i + 1] - (1 - first)) < 2e-3);
        mem_free(logits);
    }
    model_encoder_destroy(ranker);
    close_rig(&rig);
    close_golden(&g);
}

/* Every allocation may fail; nothing leaks and nothing half-made is used. */
static void test_memory(void **state)
{
    struct err err = {0};
    struct rig rig = open_rig("llama-mean-f32", cpu_level_detect(), 1);
    const struct model_encoder_params small = {.memory_max = 4096};
    (void)state;
    assert_null(model_encoder_create(rig.f.model, &small, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    const struct model_encoder_params params = {0};
    bool done = false;
    for (long n = 0; !done && n < 100; n++) {
        mem_fail_after(n);
        struct model_encoder *e = model_encoder_create(rig.f.model, &params, &err);
        mem_fail_after(-1);
        done = e != NULL;
        model_encoder_destroy(e);
    }
    assert_true(done);
    close_rig(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families), cmocka_unit_test(test_variants),
        cmocka_unit_test(test_types),    cmocka_unit_test(test_company),
        cmocka_unit_test(test_info),     cmocka_unit_test(test_class_tokens),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
