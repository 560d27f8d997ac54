/* One request at a time: what comes out, and how it ends. */
#include "engine/fixture.h"

#include "base/json.h"
#include "base/os.h"

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    fixture_open(f, &(struct fixture_params){0});
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct engine_stats stats;
    engine_stats_read(f->engine, &stats);
    assert_int_equal(stats.pages_used, 0); /* whatever a test did, its pages came back */
    assert_int_equal(stats.waiting, 0);
    fixture_close(f);
    mem_free(f);
    return 0;
}

/* The text recorded from another program; see tests/data/models. */
static void test_recorded_text(void **state)
{
    const struct fixture *f = *state;
    struct err err;
    size_t len;
    char *json = os_file_slurp(TEST_DATA "/models/stories260K.greedy.json", 1 << 20, &len, &err);
    assert_non_null(json);
    json_t *golden = json_parse((struct str){json, len}, NULL, &err);
    struct str want = json_str(json_object_get(golden, "text"));
    struct engine_request r =
        fixture_request(f, json_string_value(json_object_get(golden, "prompt")), 200);
    struct fixture_result got = fixture_run(f, &r);
    assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
    assert_int_equal(got.last.finish, ENGINE_LENGTH);
    assert_int_equal(got.last.completion_tokens, 200);
    assert_int_equal(got.last.prompt_tokens, r.prompt_count);
    assert_int_equal(got.last.cached_tokens, 0);
    assert_int_equal(got.token_count, 200);
    assert_int_equal(got.text.len, want.len);
    assert_memory_equal(got.text.ptr, want.ptr, want.len);
    assert_true(got.events > 100); /* streamed, not told at the end */
    assert_true(got.last.timing.decode_ms > 0);
    fixture_result_deinit(&got);
    mem_free((void *)r.prompt);
    json_decref(golden);
    mem_free(json);
}

static void test_max_tokens(void **state)
{
    const struct fixture *f = *state;
    static const uint32_t counts[] = {0, 1, 2, 7};
    for (size_t i = 0; i < 4; i++) {
        struct engine_request r = fixture_request(f, "Once", counts[i]);
        struct fixture_result got = fixture_run(f, &r);
        assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
        assert_int_equal(got.last.finish, ENGINE_LENGTH);
        assert_int_equal(got.last.completion_tokens, counts[i]);
        assert_int_equal(got.text.len == 0, counts[i] == 0);
        fixture_result_deinit(&got);
        mem_free((void *)r.prompt);
    }
}

/* A sequence uses exactly the context; a limit beyond it is no error; a prompt beyond it is. */
static void test_context_end(void **state)
{
    const struct fixture *f = *state;
    const uint32_t ctx = engine_ctx_tokens(f->engine);
    text_id prompt[300];
    assert_int_equal(ctx, 256);
    for (size_t i = 0; i < 300; i++) {
        prompt[i] = 300 + (text_id)(i % 97);
    }
    struct engine_request r = {.prompt = prompt, .sampling = engine_sampling_default()};
    r.ignore_eos = true;
    for (int bounded = 0; bounded < 2; bounded++) {
        r.has_max_tokens = bounded;
        r.max_tokens = UINT32_MAX;
        for (uint32_t left = 0; left < 4; left++) {
            r.prompt_count = ctx - left;
            struct fixture_result got = fixture_run(f, &r);
            assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
            assert_int_equal(got.last.finish, ENGINE_LENGTH);
            assert_int_equal(got.last.completion_tokens, left);
            fixture_result_deinit(&got);
        }
    }
    struct err err = {0};
    r.prompt_count = ctx + 1;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_CONTEXT);
    assert_non_null(strstr(err.text, "257"));
    assert_non_null(strstr(err.text, "256"));
}

static void test_bad_requests(void **state)
{
    const struct fixture *f = *state;
    struct err err = {0};
    const text_id wrong[] = {1, 512}, negative[] = {-1};
    const struct str empty = STR("");
    char *megabyte = mem_alloc(1 << 20, 1);
    memset(megabyte, 'x', 1 << 20);
    const struct str big = {megabyte, 1 << 20};
    struct engine_request good = fixture_request(f, "Once", 3), r;

    r = good;
    r.prompt_count = 0;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    assert_string_equal(err.param, "prompt");
    r = good;
    r.prompt = wrong;
    r.prompt_count = 2;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
    r.prompt = negative;
    r.prompt_count = 1;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    r = good;
    r.top_logprobs = ENGINE_TOP_MAX + 1;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    assert_string_equal(err.param, "top_logprobs");
    r = good;
    r.min_tokens = 4;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    assert_string_equal(err.param, "min_tokens");
    r = good;
    r.stops = &empty;
    r.stop_count = 1;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    assert_string_equal(err.param, "stop");
    r.stops = &big;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    r.stop_count = 100000; /* refused by the count, before one is looked at */
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    r = good;
    r.banned = &empty;
    r.banned_count = 1;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    assert_string_equal(err.param, "banned_strings");
    r = good;
    r.sampling.temperature = NAN;
    assert_null(engine_submit(f->engine, &r, NULL, NULL, &err));
    assert_string_equal(err.param, "temperature");
    mem_free(megabyte);
    mem_free((void *)good.prompt);
}

/* "...little girl named Lily. She loved to play outside..." cut by each of its substrings. */
static void test_stop_strings(void **state)
{
    const struct fixture *f = *state;
    struct engine_request r = fixture_request(f, "Once upon a time", 40);
    struct fixture_result whole = fixture_run(f, &r);
    assert_non_null(strstr(whole.text.ptr, "named Lily. She loved"));
    for (size_t len = 1; len <= 9; len += 4) {
        for (size_t at = 0; at + len <= whole.text.len && at < 70; at += 1 + (at > 24) * 3) {
            const struct str stops[] = {{whole.text.ptr + at, len}, STR("never said")};
            r.stops = stops;
            r.stop_count = 2;
            struct fixture_result got = fixture_run(f, &r);
            size_t first = str_find(buf_view(&whole.text), stops[0], 0);
            assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
            assert_int_equal(got.last.finish, ENGINE_STOP);
            assert_int_equal(got.text.len, first);
            assert_memory_equal(got.text.ptr, whole.text.ptr, first);
            fixture_result_deinit(&got);
        }
    }
    /* A stop that almost comes is text in the end. */
    const struct str almost = {"named Lily. She loved to fly", 28};
    r.stops = &almost;
    r.stop_count = 1;
    struct fixture_result got = fixture_run(f, &r);
    assert_int_equal(got.last.finish, ENGINE_LENGTH);
    assert_string_equal(got.text.ptr, whole.text.ptr);
    fixture_result_deinit(&got);
    fixture_result_deinit(&whole);
    mem_free((void *)r.prompt);
}

static void test_stop_hit(void **state)
{
    const struct fixture *f = *state;
    struct engine_request r = fixture_request(f, "Once upon a time", 40);
    const struct str stops[] = {STR("zebra"), STR("Lily")};
    r.stops = stops;
    r.stop_count = 2;
    struct engine_stream *stream = fixture_submit(f, &r);
    struct engine_event event;
    do {
        engine_wait(stream, &event);
        engine_event_deinit(&event);
    } while (event.kind == ENGINE_EVENT_TOKENS);
    assert_int_equal(event.kind, ENGINE_EVENT_DONE);
    assert_true(str_eq(event.stop_hit, STR("Lily")));
    assert_false(engine_next(stream, &event));
    engine_wait(stream, &event); /* after the end it does not block */
    assert_int_equal(event.kind, ENGINE_EVENT_DONE);
    engine_stream_close(stream);
    mem_free((void *)r.prompt);
}

static void test_banned(void **state)
{
    const struct fixture *f = *state;
    struct engine_request r = fixture_request(f, "Once upon a time", 60);
    struct fixture_result plain = fixture_run(f, &r);
    static const struct str bans[] = {STR("lily"),  STR("LITTLE GIRL"), STR("She loved to play"),
                                      STR(" the "), STR("e"),           STR(".")};
    for (size_t i = 0; i < sizeof bans / sizeof *bans; i++) {
        r.banned = &bans[i];
        r.banned_count = 1;
        struct fixture_result got = fixture_run(f, &r);
        assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
        assert_true(got.text.len > 0);
        for (size_t at = 0; at + bans[i].len <= got.text.len; at++) {
            assert_false(
                str_eq_nocase(str_slice(buf_view(&got.text), at, at + bans[i].len), bans[i]));
        }
        if (got.last.finish == ENGINE_LENGTH) {
            assert_int_equal(got.last.completion_tokens, 60);
            assert_int_equal(got.token_count, 60);
        }
        assert_string_not_equal(got.text.ptr, plain.text.ptr);
        fixture_result_deinit(&got);
    }
    r.banned = bans;
    r.banned_count = 4;
    r.wants_logprobs = true;
    struct fixture_result once = fixture_run(f, &r), twice = fixture_run(f, &r);
    fixture_assert_equal(&once, &twice);
    /* The tokens that are told are those of the text, not of what was taken back. */
    struct buf spelled = {0};
    for (size_t i = 0; i < once.token_count; i++) {
        buf_add(&spelled, text_piece(f->text, once.tokens[i].chosen.id, false));
    }
    assert_int_equal(spelled.len, once.text.len);
    assert_memory_equal(spelled.ptr, once.text.ptr, spelled.len);
    buf_deinit(&spelled);
    fixture_result_deinit(&once);
    fixture_result_deinit(&twice);
    fixture_result_deinit(&plain);
    mem_free((void *)r.prompt);
}

/* Every byte is banned: no token is left, and that is told. */
static void test_banned_everything(void **state)
{
    const struct fixture *f = *state;
    struct engine_request r = fixture_request(f, "Once", 60);
    char letters[64][2];
    struct str bans[64];
    r.banned = bans;
    r.banned_count = 64;
    r.ignore_eos = true;
    for (size_t i = 0; i < 64; i++) {
        letters[i][0] = (char)(i < 32 ? 32 + i : 64 + i);
        bans[i] = (struct str){letters[i], 1};
    }
    struct fixture_result got = fixture_run(f, &r); /* bytes of other scripts are left */
    assert_true(got.last.kind == ENGINE_EVENT_DONE || got.last.kind == ENGINE_EVENT_ERROR);
    for (size_t i = 0; i < got.text.len; i++) {
        assert_true(got.text.ptr[i] < 32 || got.text.ptr[i] >= 127 ||
                    (got.text.ptr[i] >= 64 && got.text.ptr[i] < 96) ||
                    (got.text.ptr[i] >= '0' && got.text.ptr[i] <= '?'));
    }
    fixture_result_deinit(&got);

    struct engine_bias *biases = MEM_ARRAY(struct engine_bias, 512);
    for (text_id id = 0; id < 512; id++) {
        biases[id] = (struct engine_bias){id, -INFINITY};
    }
    r.banned_count = 0;
    r.sampling.biases = biases;
    r.sampling.bias_count = 512;
    got = fixture_run(f, &r);
    assert_int_equal(got.last.kind, ENGINE_EVENT_ERROR);
    assert_int_equal(got.last.error.code, ERR_INVALID);
    fixture_result_deinit(&got);
    mem_free(biases);
    mem_free((void *)r.prompt);
}

static void test_end_tokens(void **state)
{
    const struct fixture *f = *state;
    const text_id eos = text_eos(f->text);
    struct engine_request r = fixture_request(f, "Once", 20);
    const struct engine_bias bias = {eos, 100};
    r.sampling.biases = &bias;
    r.sampling.bias_count = 1;
    struct fixture_result got = fixture_run(f, &r);
    assert_int_equal(got.last.finish, ENGINE_STOP);
    assert_int_equal(got.last.completion_tokens, 1);
    assert_int_equal(got.text.len, 0);
    assert_int_equal(got.last.stop_hit.len, 0);
    fixture_result_deinit(&got);

    r.min_tokens = 5;
    got = fixture_run(f, &r);
    assert_int_equal(got.last.finish, ENGINE_STOP);
    assert_int_equal(got.last.completion_tokens, 6);
    assert_true(got.text.len > 0);
    fixture_result_deinit(&got);

    r.ignore_eos = true;
    got = fixture_run(f, &r);
    assert_int_equal(got.last.finish, ENGINE_LENGTH);
    assert_int_equal(got.last.completion_tokens, 20);
    fixture_result_deinit(&got);
    mem_free((void *)r.prompt);
}

static void test_seeds(void **state)
{
    const struct fixture *f = *state;
    struct engine_request r = fixture_request(f, "Once upon a time", 40);
    struct fixture_result got[4];
    r.sampling.temperature = 1;
    for (uint64_t i = 0; i < 4; i++) {
        r.sampling.seed = i < 2 ? 7 : i;
        got[i] = fixture_run(f, &r);
    }
    assert_string_equal(got[0].text.ptr, got[1].text.ptr);
    assert_string_not_equal(got[0].text.ptr, got[2].text.ptr);
    assert_string_not_equal(got[2].text.ptr, got[3].text.ptr);
    for (int i = 0; i < 4; i++) {
        fixture_result_deinit(&got[i]);
    }
    mem_free((void *)r.prompt);
}

static void test_logprobs(void **state)
{
    const struct fixture *f = *state;
    struct engine_request r = fixture_request(f, "Once upon a time", 12);
    r.wants_logprobs = true;
    r.top_logprobs = 5;
    struct fixture_result got = fixture_run(f, &r);
    assert_int_equal(got.token_count, 12);
    for (size_t i = 0; i < got.token_count; i++) {
        const struct engine_token *t = &got.tokens[i];
        assert_int_equal(t->top_count, 5);
        assert_int_equal(t->chosen.id, t->top[0].id); /* greedy */
        assert_true(t->chosen.logprob == t->top[0].logprob);
        for (int k = 1; k < 5; k++) {
            assert_true(t->top[k].logprob <= t->top[k - 1].logprob);
        }
        assert_true(t->chosen.logprob <= 0);
    }
    /* The same text read as a prompt has the same log probabilities, bit for bit. */
    text_id *longer = MEM_ARRAY(text_id, r.prompt_count + 12);
    memcpy(longer, r.prompt, r.prompt_count * sizeof *longer);
    for (size_t i = 0; i < 12; i++) {
        longer[r.prompt_count + i] = got.tokens[i].chosen.id;
    }
    struct engine_request echo = r;
    echo.prompt = longer;
    echo.prompt_count += 12;
    echo.max_tokens = 0;
    echo.prompt_logprobs = true;
    struct fixture_result read = fixture_run(f, &echo);
    assert_int_equal(read.last.finish, ENGINE_LENGTH);
    assert_int_equal(read.prompt_token_count, echo.prompt_count);
    assert_int_equal(read.token_count, 0);
    assert_true(isnan(read.prompt_tokens[0].chosen.logprob));
    for (size_t i = 0; i < 12; i++) {
        const struct engine_token *t = &read.prompt_tokens[r.prompt_count + i];
        assert_memory_equal(&t->chosen, &got.tokens[i].chosen, sizeof t->chosen);
        assert_memory_equal(t->top, got.tokens[i].top, 5 * sizeof *t->top);
    }
    assert_non_null(strstr(read.prompt_text.ptr, "Once upon a time, there was"));
    echo.max_tokens = 3; /* prompt and answer both */
    struct fixture_result both = fixture_run(f, &echo);
    assert_int_equal(both.prompt_token_count, echo.prompt_count);
    assert_int_equal(both.token_count, 3);
    fixture_result_deinit(&both);
    fixture_result_deinit(&read);
    fixture_result_deinit(&got);
    mem_free(longer);
    mem_free((void *)r.prompt);
}

/* A history penalty sees the prompt: the greedy next token loses its place. */
static void test_samplers_reach_the_model(void **state)
{
    const struct fixture *f = *state;
    struct engine_request r = fixture_request(f, "Once upon a time", 30);
    struct fixture_result plain = fixture_run(f, &r);
    r.sampling.repeat_penalty = 1.5f;
    struct fixture_result repeat = fixture_run(f, &r);
    assert_string_not_equal(plain.text.ptr, repeat.text.ptr);
    r.sampling = engine_sampling_default();
    r.sampling.temperature = 1;
    r.sampling.top_k = 1; /* leaves nothing to the draw */
    struct fixture_result top = fixture_run(f, &r);
    assert_string_equal(plain.text.ptr, top.text.ptr);
    r.sampling.top_k = 0;
    r.sampling.mirostat = true;
    r.sampling.mirostat_tau = 2;
    struct fixture_result mirostat = fixture_run(f, &r);
    assert_int_equal(mirostat.last.kind, ENGINE_EVENT_DONE);
    fixture_result_deinit(&plain);
    fixture_result_deinit(&repeat);
    fixture_result_deinit(&top);
    fixture_result_deinit(&mirostat);
    mem_free((void *)r.prompt);
}

static void test_submit_no_memory(void **state)
{
    const struct fixture *f = *state;
    const struct str stops[] = {STR("a stop"), STR("another")}, bans[] = {STR("Lily")};
    const struct engine_bias bias = {5, 1};
    struct engine_request r = fixture_request(f, "Once", 2);
    struct engine_stream *stream = NULL;
    r.stops = stops;
    r.stop_count = 2;
    r.banned = bans;
    r.banned_count = 1;
    r.sampling.biases = &bias;
    r.sampling.bias_count = 1;
    r.id = STR("request-1");
    for (long n = 0; n < 200 && !stream; n++) {
        struct err err = {0};
        mem_fail_after(n);
        stream = engine_submit(f->engine, &r, NULL, NULL, &err);
        mem_fail_after(-1);
        assert_true(stream || err.code == ERR_MEMORY);
    }
    struct fixture_result got = fixture_collect(stream);
    assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
    fixture_result_deinit(&got);
    mem_free((void *)r.prompt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_recorded_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_max_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_context_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_hit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_banned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_banned_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_seeds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logprobs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_samplers_reach_the_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_submit_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests_name("engine/engine", tests, NULL, NULL);
}
