/* Records: what was asked comes back as it was, the answer made from it is the same, and files from
 * elsewhere are refused with a reason. */
#include "engine/fixture.h"

#include "base/json.h"
#include "engine/record.h"

struct kept {
    struct engine_recorder base; /* first */
    struct buf record;
    int count;
};

static void keep(struct engine_recorder *recorder, struct str id, struct buf *record)
{
    struct kept *kept = (struct kept *)recorder;
    (void)id;
    buf_deinit(&kept->record);
    kept->record = *record;
    *record = (struct buf){0};
    kept->count++;
}

static json_t *parse_kept(const struct kept *kept)
{
    struct err err = {0};
    json_t *record = json_parse(buf_view(&kept->record), NULL, &err);
    if (!record) {
        fail_msg("%s", err.text);
    }
    return record;
}

/* Every field away from its default. */
static struct engine_request make_request(const struct fixture *f)
{
    static const struct str stops[] = {{"friends", 7}, {"\"\n\\", 3}}, banned[] = {{"park", 4}},
                            breakers[] = {{"\n", 1}, {":", 1}};
    static const struct engine_bias biases[] = {{5, 0.1f}, {7, -INFINITY}};
    struct engine_request r = fixture_request(f, "Once upon a time", 60);
    r.min_tokens = 3;
    r.ignore_eos = true;
    r.stops = stops;
    r.stop_count = 2;
    r.banned = banned;
    r.banned_count = 1;
    r.wants_logprobs = true;
    r.top_logprobs = 2;
    r.sampling = (struct engine_sampling){.seed = UINT64_MAX - 5,
                                          .biases = biases,
                                          .bias_count = 2,
                                          .repeat_last_n = UINT32_MAX,
                                          .repeat_penalty = 1.1f,
                                          .presence_penalty = 0.2f,
                                          .frequency_penalty = 0.3f,
                                          .dry_multiplier = 0.4f,
                                          .dry_base = 1.75f,
                                          .dry_allowed_length = 3,
                                          .dry_penalty_last_n = 64,
                                          .dry_sequence_breakers = breakers,
                                          .dry_breaker_count = 2,
                                          .top_n_sigma = 2.5f,
                                          .top_k = 90,
                                          .typical_p = 0.97f,
                                          .top_p = 0.95f,
                                          .min_p = 0.01f,
                                          .min_keep = 2,
                                          .xtc_probability = 0.1f,
                                          .xtc_threshold = 0.2f,
                                          .temperature = 0.9f,
                                          .dynatemp_range = 0.1f,
                                          .dynatemp_exponent = 1.2f,
                                          .mirostat_tau = 4,
                                          .mirostat_eta = 0.2f};
    return r;
}

static void test_again(void **state)
{
    struct fixture f;
    struct kept kept = {.base.put = keep};
    struct arena arena = arena_init(0);
    struct engine_request again;
    struct err err = {0};
    (void)state;
    fixture_open(&f, &(struct fixture_params){.recorder = &kept.base});
    struct engine_request r = make_request(&f);
    struct fixture_result want = fixture_run(&f, &r);
    assert_int_equal(kept.count, 1);
    json_t *record = parse_kept(&kept);
    assert_true(engine_record_read(record, &arena, &again, &err));
    assert_int_equal(again.prompt_count, r.prompt_count);
    assert_memory_equal(again.prompt, r.prompt, r.prompt_count * sizeof *r.prompt);
    assert_true(again.sampling.seed == r.sampling.seed);
    assert_true(again.sampling.biases[1].bias == -INFINITY);
    struct fixture_result got = fixture_run(&f, &again);
    fixture_assert_equal(&got, &want);
    json_t *second = parse_kept(&kept);
    assert_true(json_equal(record, second));
    json_decref(record);
    json_decref(second);
    fixture_result_deinit(&got);
    fixture_result_deinit(&want);
    arena_deinit(&arena);
    mem_free((void *)(uintptr_t)r.prompt);
    fixture_close(&f);
    buf_deinit(&kept.record);
}

static void test_asked(void **state)
{
    struct fixture f;
    struct kept kept = {.base = {.put = keep, .only_asked = true}};
    struct err err = {0};
    (void)state;
    fixture_open(&f, &(struct fixture_params){.recorder = &kept.base});
    struct engine_request r = fixture_request(&f, "Once", 4);
    struct fixture_result one = fixture_run(&f, &r);
    assert_int_equal(kept.count, 0);
    r.record = true;
    struct fixture_result two = fixture_run(&f, &r);
    assert_int_equal(kept.count, 1);
    fixture_close(&f);
    fixture_open(&f, &(struct fixture_params){0});
    assert_null(engine_submit(f.engine, &r, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_string_equal(err.param, "record");
    mem_free((void *)(uintptr_t)r.prompt);
    fixture_result_deinit(&one);
    fixture_result_deinit(&two);
    fixture_close(&f);
    buf_deinit(&kept.record);
}

static void test_hostile(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"hearth_record\":2,\"request\":{}}",
        "{\"hearth_record\":1,\"request\":[]}",
        "{\"hearth_record\":1,\"request\":{}}",
        "{\"hearth_record\":1,\"request\":{\"has_grammar\":true}}",
        "{\"hearth_record\":1,\"request\":{\"has_max_tokens\":1}}",
        "{\"hearth_record\":1,\"request\":{\"has_max_tokens\":true,\"max_tokens\":-1}}",
        "{\"hearth_record\":1,\"request\":{\"has_max_tokens\":true,\"max_tokens\":4294967296}}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct arena arena = arena_init(0);
        struct engine_request request;
        struct err err = {0};
        json_t *record = json_parse(str_of(texts[i]), NULL, &err);
        assert_non_null(record);
        assert_false(engine_record_read(record, &arena, &request, &err));
        assert_true(err.text[0] != 0);
        json_decref(record);
        arena_deinit(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_asked),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests_name("engine/record", tests, NULL, NULL);
}
