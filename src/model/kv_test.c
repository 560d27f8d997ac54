/* What the types of the cache cost: the Kullback-Leibler divergence of the next token's
 * distribution from that of an F32 cache, over a text the model writes itself (greedy, F32). And
 * that turning by a Hadamard matrix twice gives back what it took. */
#include "model/fixture.h"

#include <math.h>

#include "model/kv.h"

enum { TEXT_TOKENS = 400 };

static struct fixture open_type(const char *path, enum kv_type type)
{
    struct model_params params = fixture_params();
    params.kv_type = type;
    params.ctx_tokens = params.kv_tokens = TEXT_TOKENS;
    params.batch_rows_max = params.logits_rows_max = TEXT_TOKENS;
    return fixture_open(path, &params, 2);
}

static int32_t best_of(const float *logits, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return (int32_t)best;
}

/* The model's own text; where it would end or go in circles another token is put in. */
static void write_text(const struct fixture *f, int32_t *ids)
{
    size_t page_count = (TEXT_TOKENS + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    uint32_t *pages = fixture_pages(page_count, 0, 1);
    float *logits = MEM_ARRAY(float, f->vocab_count);
    const struct model_seq seq = {.pages = pages, .page_count = page_count};
    ids[0] = 1;
    for (uint32_t i = 0; i + 1 < TEXT_TOKENS; i++) {
        const struct model_row row = {.token = ids[i], .pos = i, .wants_logits = true};
        const struct model_batch batch = {&row, 1, &seq, 1};
        model_forward(f->model, &batch, logits);
        ids[i + 1] = i % 40 == 39 ? (int32_t)(300 + i / 4) : best_of(logits, f->vocab_count);
    }
    mem_free(pages);
    mem_free(logits);
}

static double log_sum(const float *x, size_t n, float *max)
{
    double sum = 0;
    *max = x[0];
    for (size_t i = 1; i < n; i++) {
        *max = x[i] > *max ? x[i] : *max;
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - *max);
    }
    return log(sum);
}

static double divergence(const float *p, const float *q, size_t n)
{
    float p_max, q_max;
    double p_log = log_sum(p, n, &p_max), q_log = log_sum(q, n, &q_max), sum = 0;
    for (size_t i = 0; i < n; i++) {
        double lp = (double)p[i] - p_max - p_log, lq = (double)q[i] - q_max - q_log;
        sum += exp(lp) * (lp - lq);
    }
    return sum;
}

static void check_model(const char *path, const double bounds[KV_TYPE_COUNT])
{
    static const char *const names[KV_TYPE_COUNT] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
    int32_t ids[TEXT_TOKENS];
    struct fixture exact = open_type(path, KV_F32);
    write_text(&exact, ids);
    float *want = fixture_logits(&exact, ids, TEXT_TOKENS, TEXT_TOKENS);
    for (int type = 0; type < KV_TYPE_COUNT; type++) {
        struct fixture f = open_type(path, (enum kv_type)type);
        float *got = fixture_logits(&f, ids, TEXT_TOKENS, TEXT_TOKENS);
        double sum = 0, worst = 0;
        for (size_t i = 0; i < TEXT_TOKENS; i++) {
            size_t at = i * f.vocab_count;
            double kl = divergence(want + at, got + at, f.vocab_count);
            sum += kl;
            worst = fmax(worst, kl);
        }
        printf("%s, %s: mean KL %.3g, worst %.3g\n", strrchr(path, '/') + 1, names[type],
               sum / TEXT_TOKENS, worst);
        if (!(sum / TEXT_TOKENS <= bounds[type])) {
            fail_msg("%s: mean KL %g > %g", names[type], sum / TEXT_TOKENS, bounds[type]);
        }
        mem_free(got);
        fixture_close(&f);
    }
    mem_free(want);
    fixture_close(&exact);
}

static void test_divergence(void **state)
{
    static const double nano[KV_TYPE_COUNT] = {0, 5e-4, 1e-3, 1e-3, 3e-2};
    static const double stories[KV_TYPE_COUNT] = {0, 1e-5, 5e-4, 2e-3, 0.5};
    (void)state;
    check_model(TEST_ROOT "/models/hearth-nano.gguf", nano);
    check_model(TEST_DATA "/models/stories260K.gguf", stories);
}

static void test_turn(void **state)
{
    static const size_t dims[] = {1, 2, 7, 8, 64, 80, 96, 128, 192};
    (void)state;
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        float x[3 * 192], squares = 0, turned = 0;
        for (size_t j = 0; j < 3 * dims[i]; j++) {
            x[j] = (float)((j * 37 + 11) % 23) - 11;
            squares += x[j] * x[j];
        }
        model_kv_turn(x, 3, dims[i]);
        for (size_t j = 0; j < 3 * dims[i]; j++) {
            turned += x[j] * x[j];
        }
        assert_true(fabsf(turned - squares) <= 1e-4f * squares);
        model_kv_turn(x, 3, dims[i]);
        for (size_t j = 0; j < 3 * dims[i]; j++) {
            assert_true(fabsf(x[j] - ((float)((j * 37 + 11) % 23) - 11)) < 1e-4f);
        }
    }
}

/* A value that is none does not hide behind a scale. */
static void test_nan(void **state)
{
    static const enum kv_type types[] = {KV_Q8_0, KV_Q4_0};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        ATTR_ALIGNED(64) uint8_t bytes[8192] = {0};
        const struct kv_page page = {kernels_get(CPU_REFERENCE), types[i], bytes, 5};
        float k[32] = {1, 2, NAN}, v[32] = {1, -INFINITY}, q[32] = {1}, score[KV_PAGE_TOKENS];
        float p[KV_PAGE_TOKENS] = {0}, out[32] = {0};
        model_kv_store(&page, 1, k, 32, v, 32);
        page.kernels->attn_score[types[i]](q, 32, 1, bytes, 32, 1, score);
        p[5] = 1;
        page.kernels->attn_mix[types[i]](p, 1, bytes + kv_head_bytes(types[i], 32), 32, 5, 6, out,
                                         32);
        assert_true(isnan(score[5]));
        assert_true(isnan(out[0]));
        assert_true(score[4] == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turn),
        cmocka_unit_test(test_nan),
        cmocka_unit_test(test_divergence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
