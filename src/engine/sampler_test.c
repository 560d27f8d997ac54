/* The samplers against what llama.cpp does with the same logits (tests/golden/samplers.json, made
 * by make_samplers.cpp), and what llama.cpp has no answer for: NaN, bans, the draw. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "engine/random.h"
#include "engine/sampler.h"
#include "engine/truncate.h"

enum { VOCAB_MAX = 512, HISTORY_MAX = 512 };

struct world {
    json_t *golden;
    struct gguf *gguf;
    struct text *text;
    struct engine_scratch scratch;
    struct engine_candidate items[VOCAB_MAX];
};

static int setup(void **state)
{
    struct err err;
    size_t len;
    struct world *w = MEM_NEW(struct world);
    char *json = os_file_slurp(TEST_GOLDEN "/samplers.json", 1 << 22, &len, &err);
    w->golden = json ? json_parse((struct str){json, len}, NULL, &err) : NULL;
    mem_free(json);
    w->gguf = gguf_open(TEST_DATA "/models/stories260K.gguf", &err);
    w->text = w->gguf ? text_open(w->gguf, &err) : NULL;
    if (!w->golden || !w->text) {
        print_error("%s\n", err.text);
        return -1;
    }
    w->scratch = (struct engine_scratch){.counts = MEM_ARRAY(uint32_t, VOCAB_MAX),
                                         .repeats = MEM_ARRAY(uint32_t, HISTORY_MAX),
                                         .row = MEM_ARRAY(float, VOCAB_MAX),
                                         .vocab_count = VOCAB_MAX,
                                         .ctx_tokens = HISTORY_MAX};
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    json_decref(w->golden);
    text_close(w->text);
    gguf_close(w->gguf);
    mem_free(w->scratch.counts);
    mem_free(w->scratch.repeats);
    mem_free(w->scratch.row);
    mem_free(w);
    return 0;
}

/* As in make_samplers.cpp. */
static void make_logits(const char *kind, float *out)
{
    uint32_t x = 12345;
    for (int i = 0; i < VOCAB_MAX; i++) {
        x = x * 1664525u + 1013904223u;
        float u = (float)(x >> 12) / 1048576.0f;
        if (strcmp(kind, "flat") == 0) {
            out[i] = u * 3.0f - 1.5f;
        } else if (strcmp(kind, "peaked") == 0) {
            out[i] = u * u * u * 14.0f - 6.0f;
        } else {
            out[i] = i == 100 ? 20.0f : u * 4.0f - 2.0f;
        }
    }
}

static float real(const json_t *c, const char *key)
{
    return (float)json_number_value(json_object_get(c, key));
}

static uint32_t whole(const json_t *c, const char *key)
{
    return (uint32_t)json_integer_value(json_object_get(c, key));
}

static struct engine_sampling read_sampling(const json_t *c, struct str breakers[])
{
    struct engine_sampling s = engine_sampling_default();
    s.repeat_last_n = whole(c, "repeat_last_n");
    s.repeat_penalty = real(c, "repeat_penalty");
    s.presence_penalty = real(c, "presence_penalty");
    s.frequency_penalty = real(c, "frequency_penalty");
    s.dry_multiplier = real(c, "dry_multiplier");
    s.dry_base = real(c, "dry_base");
    s.dry_allowed_length = whole(c, "dry_allowed_length");
    s.dry_penalty_last_n = whole(c, "dry_penalty_last_n");
    s.top_n_sigma = real(c, "top_n_sigma");
    s.top_k = whole(c, "top_k");
    s.typical_p = real(c, "typical_p");
    s.top_p = real(c, "top_p");
    s.min_p = real(c, "min_p");
    s.min_keep = whole(c, "min_keep");
    s.xtc_probability = real(c, "xtc_probability");
    s.xtc_threshold = real(c, "xtc_threshold");
    s.temperature = real(c, "temperature");
    s.dynatemp_range = real(c, "dynatemp_range");
    s.dynatemp_exponent = real(c, "dynatemp_exponent");
    s.mirostat = whole(c, "mirostat") == 2;
    s.mirostat_tau = real(c, "mirostat_tau");
    s.mirostat_eta = real(c, "mirostat_eta");
    const json_t *strings = json_object_get(c, "dry_sequence_breakers");
    for (size_t i = 0; i < json_array_size(strings); i++) {
        breakers[i] = json_str(json_array_get(strings, i));
    }
    s.dry_sequence_breakers = breakers;
    s.dry_breaker_count = json_array_size(strings);
    return s;
}

static float find_p(const struct engine_candidates *c, int32_t id)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].id == id) {
            return c->items[i].p;
        }
    }
    return 0;
}

static void run_case(struct world *w, const json_t *c)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    const char *kind = json_string_value(json_object_get(c, "logits"));
    float logits[VOCAB_MAX];
    text_id history[HISTORY_MAX];
    struct str breakers[ENGINE_BREAKERS_MAX];
    struct err err;
    struct arena arena = arena_init(0);
    const json_t *ids = json_object_get(c, "history");
    const size_t history_count = json_array_size(ids);
    for (size_t i = 0; i < history_count; i++) {
        history[i] = (text_id)json_integer_value(json_array_get(ids, i));
    }
    struct engine_sampling s = read_sampling(c, breakers);
    struct engine_sampler sampler;
    assert_true(engine_sampler_init(&sampler, &s, w->text, &arena, &err));
    assert_true(engine_sampling_check(&s, VOCAB_MAX, &err));
    make_logits(kind, logits);
    engine_penalize(&s, logits, history, history_count, &w->scratch);
    engine_dry(&s, &sampler.breakers, logits, history, history_count, &w->scratch);
    struct engine_candidates left = {.items = w->items};
    engine_candidates_fill(&left, logits, VOCAB_MAX);
    if (s.mirostat) {
        engine_mirostat_narrow(&sampler, &left);
    } else {
        engine_sampler_narrow(&sampler, 0.5, &left);
    }
    size_t count = 0;
    for (size_t i = 0; i < left.count; i++) {
        count += left.items[i].p > 0;
    }
    if (count != whole(c, "count")) {
        fail_msg("%s (%s): %zu candidates, not %u", name, kind, count, whole(c, "count"));
    }
    const json_t *want = json_object_get(c, "candidates");
    for (size_t i = 0; i < json_array_size(want); i++) {
        const json_t *pair = json_array_get(want, i);
        int32_t id = (int32_t)json_integer_value(json_array_get(pair, 0));
        double p = json_number_value(json_array_get(pair, 1));
        double got = (double)find_p(&left, id);
        if (!(fabs(got - p) <= 2e-5 * p + 1e-9)) {
            fail_msg("%s (%s): token %d has p %.8g, not %.8g", name, kind, id, got, p);
        }
    }
    for (size_t i = 0; i < VOCAB_MAX; i++) {
        assert_int_equal(w->scratch.counts[i], 0);
    }
    arena_deinit(&arena);
}

static void test_golden(void **state)
{
    struct world *w = *state;
    const json_t *cases = json_object_get(w->golden, "cases");
    assert_true(json_array_size(cases) > 100);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        run_case(w, json_array_get(cases, i));
    }
}

/* ---- what has no golden ---- */

static enum engine_sample sample(struct world *w, const struct engine_sampling *s, float *logits,
                                 const struct engine_bans *bans, uint64_t number, text_id *id,
                                 struct engine_token *token, uint32_t top)
{
    struct engine_sampler sampler = {.params = s, .mu = 2 * s->mirostat_tau, .draws = number};
    struct engine_candidates c = {.items = w->items};
    const struct engine_bans none = {0};
    return engine_sample(&sampler, logits, bans ? bans : &none, NULL, 0, top, &c, &w->scratch, id,
                         token);
}

static void fill(float *logits, float value)
{
    for (int i = 0; i < VOCAB_MAX; i++) {
        logits[i] = value;
    }
}

static void test_not_finite(void **state)
{
    struct world *w = *state;
    float logits[VOCAB_MAX];
    text_id id;
    struct engine_sampling s = engine_sampling_default();
    for (int mode = 0; mode < 3; mode++) {
        s.temperature = mode == 0 ? 0 : 1;
        s.mirostat = mode == 2;
        fill(logits, NAN);
        assert_int_equal(sample(w, &s, logits, NULL, 0, &id, NULL, 0), ENGINE_SAMPLE_NOT_FINITE);
        fill(logits, -INFINITY);
        assert_int_equal(sample(w, &s, logits, NULL, 0, &id, NULL, 0), ENGINE_SAMPLE_NOT_FINITE);
        fill(logits, INFINITY);
        assert_int_equal(sample(w, &s, logits, NULL, 0, &id, NULL, 0), ENGINE_SAMPLE_NOT_FINITE);
        fill(logits, NAN);
        logits[77] = -3;
        assert_int_equal(sample(w, &s, logits, NULL, 0, &id, NULL, 0), ENGINE_SAMPLED);
        assert_int_equal(id, 77);
        fill(logits, 0);
        logits[78] = INFINITY;
        assert_int_equal(sample(w, &s, logits, NULL, 0, &id, NULL, 0), ENGINE_SAMPLED);
        assert_int_equal(id, 78);
    }
}

/* Every combination of extreme settings gives a token of the vocabulary that is not banned. */
static void test_extremes(void **state)
{
    struct world *w = *state;
    static const float temperatures[] = {0, 1e-38f, 1e-3f, 1, 2};
    static const float shares[] = {0, 1e-30f, 0.5f, 1};
    const text_id banned[] = {3, 500};
    const struct engine_bans bans = {.ids = banned, .id_count = 2};
    float logits[VOCAB_MAX];
    uint64_t number = 0;
    for (size_t t = 0; t < 5; t++) {
        for (size_t a = 0; a < 4; a++) {
            for (size_t b = 0; b < 4; b++) {
                struct engine_sampling s = engine_sampling_default();
                s.temperature = temperatures[t];
                s.top_p = shares[a];
                s.typical_p = shares[b];
                s.min_p = shares[a];
                s.top_n_sigma = shares[b] * 3;
                s.xtc_probability = shares[b];
                s.xtc_threshold = 0;
                s.dynatemp_range = shares[a];
                s.min_keep = (uint32_t)(a * b * 300);
                s.mirostat = (a + b) % 3 == 2;
                text_id id = -1;
                make_logits("peaked", logits);
                logits[3] = logits[500] = 40;
                assert_int_equal(sample(w, &s, logits, &bans, number++, &id, NULL, 0),
                                 ENGINE_SAMPLED);
                assert_in_range(id, 0, VOCAB_MAX - 1);
                assert_int_not_equal(id, 3);
                assert_int_not_equal(id, 500);
            }
        }
    }
}

static void test_bans(void **state)
{
    struct world *w = *state;
    float logits[VOCAB_MAX];
    uint64_t bits[VOCAB_MAX / 64];
    text_id id;
    struct engine_sampling s = engine_sampling_default();
    struct engine_bans bans = {.bits = {bits, NULL}, .bit_count = {VOCAB_MAX, 0}};
    memset(bits, 0xff, sizeof bits);
    fill(logits, 1);
    assert_int_equal(sample(w, &s, logits, &bans, 0, &id, NULL, 0), ENGINE_SAMPLE_NONE_LEFT);
    bits[3] &= ~(1ull << 8);
    fill(logits, 1);
    assert_int_equal(sample(w, &s, logits, &bans, 0, &id, NULL, 0), ENGINE_SAMPLED);
    assert_int_equal(id, 3 * 64 + 8);
    struct engine_bias biases[] = {{3 * 64 + 8, -INFINITY}};
    s.biases = biases;
    s.bias_count = 1;
    fill(logits, 1);
    assert_int_equal(sample(w, &s, logits, &bans, 0, &id, NULL, 0), ENGINE_SAMPLE_NONE_LEFT);
    bans.bit_count[0] = 5; /* bits beyond the count are nobody's */
    fill(logits, 1);
    s.temperature = 0;
    assert_int_equal(sample(w, &s, logits, &bans, 0, &id, NULL, 0), ENGINE_SAMPLED);
    assert_int_equal(id, 5);
}

static void test_greedy_ties(void **state)
{
    struct world *w = *state;
    float logits[VOCAB_MAX];
    text_id id;
    struct engine_sampling s = engine_sampling_default();
    s.temperature = 0;
    for (int chain = 0; chain < 2; chain++) {
        s.typical_p = chain ? 0.999f : 1; /* with the chain, and past it */
        fill(logits, -1);
        logits[40] = logits[41] = logits[300] = 2;
        assert_int_equal(sample(w, &s, logits, NULL, 0, &id, NULL, 0), ENGINE_SAMPLED);
        assert_int_equal(id, 40);
    }
}

static void test_logprobs(void **state)
{
    struct world *w = *state;
    float logits[VOCAB_MAX];
    text_id id;
    struct engine_token token;
    struct engine_sampling s = engine_sampling_default();
    struct engine_bias biases[] = {{7, 3}, {9, -INFINITY}};
    s.biases = biases;
    s.bias_count = 2;
    s.temperature = 0;
    s.top_k = 1; /* truncation and penalties do not show */
    fill(logits, 0);
    logits[7] = 1;
    logits[9] = 50;
    logits[2] = logits[1] = 2;
    assert_int_equal(sample(w, &s, logits, NULL, 0, &id, &token, 5), ENGINE_SAMPLED);
    double sum = exp(4) + 2 * exp(2) + (VOCAB_MAX - 4);
    assert_int_equal(id, 7);
    assert_int_equal(token.chosen.id, 7);
    assert_float_equal(token.chosen.logprob, (float)(4 - log(sum)), 1e-5);
    assert_int_equal(token.top_count, 5);
    static const text_id order[] = {7, 1, 2, 0, 3};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(token.top[i].id, order[i]);
    }
    assert_float_equal(token.top[1].logprob, (float)(2 - log(sum)), 1e-5);
    assert_float_equal(token.top[4].logprob, (float)(0 - log(sum)), 1e-5);

    /* Fewer with a probability than asked. */
    uint64_t bits[VOCAB_MAX / 64];
    memset(bits, 0xff, sizeof bits);
    bits[0] = ~6ull;
    const struct engine_bans bans = {.bits = {bits, NULL}, .bit_count = {VOCAB_MAX, 0}};
    s.bias_count = 0;
    fill(logits, 0);
    assert_int_equal(sample(w, &s, logits, &bans, 0, &id, &token, 20), ENGINE_SAMPLED);
    assert_int_equal(token.top_count, 2);
    assert_float_equal(token.top[0].logprob, (float)-log(2), 1e-6);
}

/* The draw follows the probabilities: chi-square over 8 candidates, 20000 draws; 7 degrees of
 * freedom, 99.99 % quantile 29.9. */
static void test_draw_distribution(void **state)
{
    struct world *w = *state;
    float logits[VOCAB_MAX];
    double p[8], sum = 0, chi = 0;
    size_t counts[8] = {0};
    struct engine_sampling s = engine_sampling_default();
    s.seed = 42;
    for (int i = 0; i < 8; i++) {
        p[i] = exp(i * 0.4);
        sum += p[i];
    }
    enum { DRAWS = 20000 };
    for (uint64_t n = 0; n < DRAWS; n++) {
        text_id id;
        fill(logits, -INFINITY);
        for (int i = 0; i < 8; i++) {
            logits[i * 60] = (float)i * 0.4f;
        }
        assert_int_equal(sample(w, &s, logits, NULL, n, &id, NULL, 0), ENGINE_SAMPLED);
        assert_int_equal(id % 60, 0);
        counts[id / 60]++;
    }
    for (int i = 0; i < 8; i++) {
        double want = p[i] / sum * (double)DRAWS;
        chi += ((double)counts[i] - want) * ((double)counts[i] - want) / want;
    }
    assert_true(chi < 29.9);
}

static void test_random(void **state)
{
    (void)state;
    double sum = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        double u = engine_random(1, i, ENGINE_DRAW_TOKEN);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_float_equal((float)(sum / 10000), 0.5, 0.015);
    assert_true(engine_random(1, 0, ENGINE_DRAW_TOKEN) != engine_random(2, 0, ENGINE_DRAW_TOKEN));
    assert_true(engine_random(1, 0, ENGINE_DRAW_TOKEN) != engine_random(1, 1, ENGINE_DRAW_TOKEN));
    assert_true(engine_random(1, 0, ENGINE_DRAW_TOKEN) != engine_random(1, 0, ENGINE_DRAW_XTC));
    /* SplitMix64 as published: seed 1234567 gives 6457827717110365317, then 3203168211198807973. */
    assert_true(engine_random_mix(1234567 + 0x9e3779b97f4a7c15u) == 6457827717110365317u);
    assert_true(engine_random_mix(1234567 + 2 * 0x9e3779b97f4a7c15u) == 3203168211198807973u);
}

static void test_mirostat_update(void **state)
{
    (void)state;
    struct engine_sampling s = engine_sampling_default();
    struct engine_sampler sampler = {.params = &s, .mu = 10};
    engine_mirostat_update(&sampler, 0.25f); /* surprise 2, tau 5, eta 0.1 */
    assert_float_equal(sampler.mu, 10.3f, 1e-6);
}

static void test_check(void **state)
{
    (void)state;
    struct err err;
    static const struct {
        const char *param;
        size_t offset;
        float good, bad;
    } cases[] = {
#define CASE(field, good, bad) {#field, offsetof(struct engine_sampling, field), good, bad}
        CASE(temperature, 2, 2.001f),
        CASE(temperature, 0, -1),
        CASE(temperature, 1, NAN),
        CASE(temperature, 1, INFINITY),
        CASE(top_p, 0, -0.1f),
        CASE(top_p, 1, 1.1f),
        CASE(min_p, 1, 2),
        CASE(typical_p, 0.5f, NAN),
        CASE(top_n_sigma, -1, -INFINITY),
        CASE(xtc_probability, 1, 1.5f),
        CASE(xtc_threshold, 0, -1),
        CASE(repeat_penalty, 1, 0),
        CASE(repeat_penalty, 2, INFINITY),
        CASE(presence_penalty, -2, -2.1f),
        CASE(frequency_penalty, 2, 2.1f),
        CASE(dry_multiplier, 1, -1),
        CASE(dry_base, 1, 0.5f),
        CASE(mirostat_tau, 0, -1),
        CASE(mirostat_eta, 1, NAN),
        CASE(dynatemp_range, 1, -1),
        CASE(dynatemp_exponent, 1, -0.5f),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct engine_sampling s = engine_sampling_default();
        float *field = (float *)(void *)((char *)&s + cases[i].offset);
        *field = cases[i].good;
        assert_true(engine_sampling_check(&s, VOCAB_MAX, &err));
        *field = cases[i].bad;
        assert_false(engine_sampling_check(&s, VOCAB_MAX, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.param, cases[i].param);
    }
    static const struct engine_bias bad[] = {
        {-1, 0}, {VOCAB_MAX, 0}, {0, NAN}, {0, INFINITY}, {0, 100.5f}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct engine_sampling s = engine_sampling_default();
        s.biases = &bad[i];
        s.bias_count = 1;
        assert_false(engine_sampling_check(&s, VOCAB_MAX, &err));
        assert_string_equal(err.param, "logit_bias");
    }
    struct engine_sampling s = engine_sampling_default();
    s.bias_count = ENGINE_BIASES_MAX + 1;
    assert_false(engine_sampling_check(&s, VOCAB_MAX, &err));
    s = engine_sampling_default();
    s.dry_sequence_breakers = &STR("");
    s.dry_breaker_count = 1;
    assert_false(engine_sampling_check(&s, VOCAB_MAX, &err));
    assert_string_equal(err.param, "dry_sequence_breakers");
    s.dry_breaker_count = ENGINE_BREAKERS_MAX + 1;
    assert_false(engine_sampling_check(&s, VOCAB_MAX, &err));
}

static void test_breakers_no_memory(void **state)
{
    struct world *w = *state;
    const struct str breakers[] = {STR("\n"), STR("upon a")};
    struct engine_sampling s = engine_sampling_default();
    s.dry_multiplier = 1;
    s.dry_sequence_breakers = breakers;
    s.dry_breaker_count = 2;
    bool is_done = false;
    for (long n = 0; n < 2000 && !is_done; n++) {
        struct err err = {0};
        struct arena arena = arena_init(0);
        struct engine_sampler sampler;
        mem_fail_after(n);
        is_done = engine_sampler_init(&sampler, &s, w->text, &arena, &err);
        mem_fail_after(-1);
        assert_true(is_done || err.code == ERR_MEMORY);
        arena_deinit(&arena);
    }
    assert_true(is_done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_bans),
        cmocka_unit_test(test_greedy_ties),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_draw_distribution),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_mirostat_update),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_breakers_no_memory),
    };
    return cmocka_run_group_tests_name("engine/sampler", tests, setup, teardown);
}
