/* Sequences under a grammar and with a budget for reasoning. */
#include "engine/fixture.h"

#include "base/json.h"

static struct constrain_grammar *schema_of(const char *source)
{
    struct err err = {0};
    json_t *schema = json_parse(str_of(source), NULL, &err);
    struct constrain_grammar *grammar = constrain_compile_schema(schema, true, &err);
    json_decref(schema);
    if (!grammar) {
        fail_msg("%s", err.text);
    }
    return grammar;
}

static struct constrain_grammar *regex_of(const char *source)
{
    struct err err = {0};
    struct constrain_grammar *grammar = constrain_compile_regex(str_of(source), &err);
    if (!grammar) {
        fail_msg("%s", err.text);
    }
    return grammar;
}

static const char person[] =
    "{\"type\":\"object\",\"properties\":{\"first_name\":{\"type\":\"string\",\"maxLength\":8},"
    "\"age_in_years\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":150},\"is_registered\":"
    "{\"type\":\"boolean\"}},\"required\":[\"first_name\",\"age_in_years\",\"is_registered\"],"
    "\"additionalProperties\":false}";

static struct engine_request wild_request(const struct fixture *f, const char *prompt,
                                          uint32_t max_tokens, uint64_t seed)
{
    struct engine_request r = fixture_request(f, prompt, max_tokens);
    r.sampling.temperature = 1.5f;
    r.sampling.seed = seed;
    return r;
}

static void check_person(struct str text)
{
    struct err err = {0};
    json_t *value = json_parse(text, NULL, &err);
    if (!value || !json_is_string(json_object_get(value, "first_name")) ||
        !json_is_integer(json_object_get(value, "age_in_years")) ||
        !json_is_boolean(json_object_get(value, "is_registered")) || json_object_size(value) != 3) {
        fail_msg("%.*s", STR_ARG(text));
    }
    json_decref(value);
}

/* Every sampler draws under the mask; a complete text ends the sequence although the model would go
 * on. */
static void a_schema_holds_under_every_sampler(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, &(struct fixture_params){.ctx = 512});
    struct constrain_grammar *grammar = schema_of(person);
    for (uint64_t seed = 0; seed < 24; seed++) {
        struct engine_request r = wild_request(&f, "Once upon", 300, seed);
        const struct engine_bias biases[] = {{f.text ? text_find(f.text, STR("}")) : 0, 20}};
        r.grammar = grammar;
        r.sampling.top_k = seed % 4 == 1 ? 3 : 0;
        r.sampling.top_p = seed % 4 == 2 ? 0.3f : 1;
        r.sampling.mirostat = seed % 4 == 3;
        r.sampling.mirostat_tau = 5;
        r.sampling.mirostat_eta = 0.1f;
        r.sampling.repeat_penalty = seed % 3 == 1 ? 2 : 1;
        r.sampling.repeat_last_n = 64;
        r.sampling.biases = biases;
        r.sampling.bias_count = seed % 5 == 1 && biases[0].id != TEXT_NONE;
        r.ignore_eos = seed % 2;
        struct fixture_result result = fixture_run(&f, &r);
        assert_int_equal(result.last.kind, ENGINE_EVENT_DONE);
        assert_int_equal(result.last.finish, ENGINE_STOP);
        check_person(buf_view(&result.text));
        fixture_result_deinit(&result);
        mem_free((void *)(uintptr_t)r.prompt);
    }
    constrain_grammar_unref(grammar);
    fixture_close(&f);
}

/* The rows of forced tokens are computed together, and one by one where their log probabilities are
 * told: the same text. Forced tokens stand in the log probabilities as well. */
static void forced_tokens_change_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, &(struct fixture_params){.path = FIXTURE_NANO, .ctx = 512});
    struct constrain_grammar *grammar = schema_of(person);
    struct engine_stats stats[2];
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct engine_request r = wild_request(&f, "Tell me a name.", 200, seed);
        r.grammar = grammar;
        engine_stats_read(f.engine, &stats[0]);
        struct fixture_result plain = fixture_run(&f, &r);
        engine_stats_read(f.engine, &stats[1]);
        r.wants_logprobs = true;
        r.top_logprobs = 2;
        struct fixture_result told = fixture_run(&f, &r);
        check_person(buf_view(&plain.text));
        assert_string_equal(plain.text.ptr, told.text.ptr);
        assert_int_equal(plain.last.completion_tokens, told.last.completion_tokens);
        assert_int_equal(told.token_count, told.last.completion_tokens);
        assert_true(stats[1].steps - stats[0].steps + 4 < plain.last.completion_tokens);
        fixture_result_deinit(&plain);
        fixture_result_deinit(&told);
        mem_free((void *)(uintptr_t)r.prompt);
    }
    constrain_grammar_unref(grammar);
    fixture_close(&f);
}

static void others_in_the_batch_change_nothing(void **state)
{
    (void)state;
    enum { COUNT = 6 };
    struct fixture f;
    struct fixture_result alone[COUNT];
    struct engine_stream *streams[COUNT];
    struct constrain_grammar *grammar = schema_of(person);
    for (int crowd = 0; crowd < 2; crowd++) {
        fixture_open(&f, &(struct fixture_params){.batch_rows = crowd ? 8 : 64,
                                                  .chunk = crowd ? 3 : 0,
                                                  .threads = crowd ? 2 : 1});
        for (uint64_t i = 0; i < COUNT; i++) {
            struct engine_request r = wild_request(&f, "A big red dog was", 80, i);
            r.grammar = i % 3 == 2 ? NULL : grammar;
            streams[i] = fixture_submit(&f, &r);
            mem_free((void *)(uintptr_t)r.prompt);
            if (!crowd) {
                alone[i] = fixture_collect(streams[i]);
            }
        }
        for (int i = 0; crowd && i < COUNT; i++) {
            struct fixture_result result = fixture_collect(streams[i]);
            fixture_assert_equal(&alone[i], &result);
            fixture_result_deinit(&result);
            fixture_result_deinit(&alone[i]);
        }
        fixture_close(&f);
    }
    constrain_grammar_unref(grammar);
}

/* A banned string inside of a constrained text: back to where it began, grammar and all. */
static void a_step_back_takes_the_grammar_along(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, &(struct fixture_params){.path = FIXTURE_NANO});
    struct constrain_grammar *grammar = regex_of("((abc|xyz)-){3}\\.");
    const struct str banned[] = {STR("abc-xyz")};
    bool has_abc = false, has_xyz = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct engine_request r = wild_request(&f, "Say it", 60, seed);
        r.grammar = grammar;
        r.banned = banned;
        r.banned_count = 1;
        r.sampling.temperature = 2;
        struct fixture_result result = fixture_run(&f, &r);
        const struct str text = buf_view(&result.text);
        assert_int_equal(result.last.kind, ENGINE_EVENT_DONE);
        assert_int_equal(text.len, 13);
        has_abc = has_abc || str_find(text, STR("abc"), 0) != SIZE_MAX;
        has_xyz = has_xyz || str_find(text, STR("xyz"), 0) != SIZE_MAX;
        fixture_result_deinit(&result);
        mem_free((void *)(uintptr_t)r.prompt);
    }
    assert_true(has_abc && has_xyz);
    constrain_grammar_unref(grammar);
    fixture_close(&f);
}

static void ends_are_told_apart(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, &(struct fixture_params){0});
    /* max_tokens within the text */
    struct constrain_grammar *grammar = schema_of(person);
    struct engine_request r = wild_request(&f, "Once", 6, 1);
    r.grammar = grammar;
    struct fixture_result result = fixture_run(&f, &r);
    assert_int_equal(result.last.finish, ENGINE_LENGTH);
    assert_int_equal(result.last.completion_tokens, 6);
    fixture_result_deinit(&result);
    constrain_grammar_unref(grammar);
    /* a text that is complete with the last token allowed has not been cut */
    grammar = regex_of("a");
    r.grammar = grammar;
    r.max_tokens = 1;
    result = fixture_run(&f, &r);
    assert_int_equal(result.last.finish, ENGINE_STOP);
    assert_string_equal(result.text.ptr, "a");
    fixture_result_deinit(&result);
    /* a dead end: the only way on is banned */
    const struct str banned[] = {STR("a")};
    r.banned = banned;
    r.banned_count = 1;
    result = fixture_run(&f, &r);
    assert_int_equal(result.last.kind, ENGINE_EVENT_ERROR);
    assert_non_null(strstr(result.last.error.text, "the format"));
    fixture_result_deinit(&result);
    constrain_grammar_unref(grammar);
    mem_free((void *)(uintptr_t)r.prompt);
    fixture_close(&f);
}

/* The marker comes after the budget, is counted with the reasoning, and what follows is the
 * model's. */
static void a_budget_closes_the_reasoning(void **state)
{
    (void)state;
    struct fixture f;
    struct err err;
    struct text_ids close = {0};
    fixture_open(&f, &(struct fixture_params){.path = FIXTURE_NANO});
    assert_true(
        text_encode(f.text, STR("\n</think>"), &(struct text_encode_opts){0}, &close, &err));
    for (int grammar = 0; grammar < 2; grammar++) {
        struct engine_request r = wild_request(&f, "Think.", 60, 3);
        struct constrain_grammar *rest = regex_of("[ -~]{20}\n</think>\n\n(yes|no)");
        r.grammar = grammar ? rest : NULL;
        r.reasoning = (struct engine_reasoning){.open = STR("<think>"),
                                                .close = STR("</think>"),
                                                .is_open = true,
                                                .has_budget = true,
                                                .budget_tokens = grammar ? 1000 : 10,
                                                .close_ids = close.ids,
                                                .close_count = close.count};
        struct fixture_result result = fixture_run(&f, &r);
        const struct str text = buf_view(&result.text);
        assert_true(str_find(text, STR("\n</think>"), 0) != SIZE_MAX);
        if (grammar) {
            assert_true(str_ends(text, STR("yes")) || str_ends(text, STR("no")));
        } else {
            assert_int_equal(result.last.reasoning_tokens, 10 + close.count);
        }
        fixture_result_deinit(&result);
        constrain_grammar_unref(rest);
        mem_free((void *)(uintptr_t)r.prompt);
    }
    text_ids_deinit(&close);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schema_holds_under_every_sampler),
        cmocka_unit_test(forced_tokens_change_nothing),
        cmocka_unit_test(others_in_the_batch_change_nothing),
        cmocka_unit_test(a_step_back_takes_the_grammar_along),
        cmocka_unit_test(ends_are_told_apart),
        cmocka_unit_test(a_budget_closes_the_reasoning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
