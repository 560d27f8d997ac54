/* Speculation: it changes the number of steps and nothing else, and what it wastes is bounded. */
#include "engine/fixture.h"

#include "engine/random.h"

enum { LENGTH = 400, KINDS = 7 };

/* Requests of every kind that a guess could disturb. */
struct kinds {
    struct engine_request r[KINDS];
    struct str bans[2], stops[1];
    struct constrain_grammar *grammar;
};

static void make_kinds(const struct fixture *f, struct kinds *k)
{
    struct err err = {0};
    k->bans[0] = STR("park");
    k->bans[1] = STR("wanted to");
    k->stops[0] = STR("friends");
    k->grammar = constrain_compile_regex(STR("([a-z]{2,6} ){60}end"), &err);
    if (!k->grammar) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < KINDS; i++) {
        struct engine_request *r = &k->r[i];
        *r = fixture_request(f, i % 2 ? "The big dog" : "Once upon a time", LENGTH);
        r->sampling.seed = i;
        r->sampling.temperature = i ? 0.8f : 0;
    }
    k->r[1].wants_logprobs = true;
    k->r[1].top_logprobs = 3;
    k->r[2].sampling.mirostat = true;
    k->r[3].banned = k->bans;
    k->r[3].banned_count = 2;
    k->r[4].grammar = k->grammar;
    k->r[5].stops = k->stops;
    k->r[5].stop_count = 1;
    k->r[6].sampling.repeat_penalty = 1.3f;
    k->r[6].prompt_logprobs = true;
}

static void drop_kinds(struct kinds *k)
{
    constrain_grammar_unref(k->grammar);
    for (size_t i = 0; i < KINDS; i++) {
        mem_free((void *)(uintptr_t)k->r[i].prompt);
    }
}

/* The tokens of what was said, as guesses. */
static struct text_ids encode(const struct fixture *f, const struct fixture_result *said)
{
    struct text_ids ids = {0};
    struct err err;
    assert_true(
        text_encode(f->text, buf_view(&said->text), &(struct text_encode_opts){0}, &ids, &err));
    return ids;
}

static const struct fixture_params with = {.ctx = 512, .speculates = true, .row_share = 0.1f},
                                   without = {.ctx = 512};

static void test_bytes(void **state)
{
    struct fixture plain, f;
    struct kinds k;
    uint32_t accepted = 0;
    (void)state;
    fixture_open(&plain, &without);
    fixture_open(&f, &with);
    make_kinds(&plain, &k);
    for (size_t i = 0; i < KINDS; i++) {
        struct engine_request r = k.r[i];
        struct fixture_result want = fixture_run(&plain, &r);
        assert_int_equal(want.last.kind, ENGINE_EVENT_DONE);
        struct text_ids ids = encode(&plain, &want);
        for (uint64_t corrupt = 0; corrupt <= 2; corrupt++) {
            for (size_t t = 0; t < ids.count; t++) { /* none, half, all of the guesses are wrong */
                const bool is_hit =
                    corrupt == 0 || (corrupt == 1 && engine_random(i, t, ENGINE_DRAW_TOKEN) < 0.5);
                ids.ids[t] = is_hit ? ids.ids[t] : (text_id)(300 + t % 50);
            }
            r.draft = ids.ids;
            r.draft_count = ids.count;
            struct fixture_result got = fixture_run(&f, &r);
            fixture_assert_equal(&got, &want);
            accepted += got.last.accepted_tokens;
            fixture_result_deinit(&got);
        }
        r.draft_count = 0;
        r.prediction = ids.ids;
        r.prediction_count = ids.count;
        struct fixture_result got = fixture_run(&f, &r);
        fixture_assert_equal(&got, &want);
        fixture_result_deinit(&got);
        text_ids_deinit(&ids);
        fixture_result_deinit(&want);
    }
    assert_true(accepted > 300);
    drop_kinds(&k);
    fixture_close(&plain);
    fixture_close(&f);
}

/* Recorded guesses save most steps; wrong ones cost next to nothing. */
static void test_steps(void **state)
{
    struct fixture f;
    struct engine_stats before, after;
    (void)state;
    fixture_open(&f, &with);
    struct engine_request r = fixture_request(&f, "Once upon a time", LENGTH);
    r.ignore_eos = true;
    r.wants_logprobs = true; /* to know the tokens */
    struct fixture_result said = fixture_run(&f, &r);
    text_id ids[LENGTH];
    assert_int_equal(said.token_count, LENGTH);
    for (size_t i = 0; i < LENGTH; i++) {
        ids[i] = said.tokens[i].chosen.id;
    }
    r.draft = ids;
    r.draft_count = LENGTH;
    engine_stats_read(f.engine, &before);
    struct fixture_result good = fixture_run(&f, &r);
    engine_stats_read(f.engine, &after);
    fixture_assert_equal(&good, &said);
    print_message("all guesses right: %d steps for %d tokens\n", (int)(after.steps - before.steps),
                  LENGTH);
    assert_true(after.steps - before.steps < LENGTH / 2);
    for (size_t i = 0; i < LENGTH; i++) {
        ids[i] = ids[i] == 300 ? 301 : 300;
    }
    struct fixture_result bad = fixture_run(&f, &r);
    fixture_assert_equal(&bad, &said);
    print_message("all wrong: %u positions in vain\n", bad.last.drafted_tokens);
    assert_int_equal(bad.last.accepted_tokens, 0);
    assert_true(bad.last.drafted_tokens <= LENGTH / 50);
    fixture_result_deinit(&bad);
    fixture_result_deinit(&good);
    fixture_result_deinit(&said);
    mem_free((void *)(uintptr_t)r.prompt);
    fixture_close(&f);
}

/* A conversation that repeats itself is guessed from itself. */
static void test_ngrams(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, &with);
    struct constrain_grammar *grammar;
    struct err err = {0};
    grammar = constrain_compile_regex(
        STR("(The cat sat on the red mat and looked at the moon\\. ?){9}"), &err);
    assert_non_null(grammar);
    struct engine_request r = fixture_request(&f, "Once", LENGTH);
    r.grammar = grammar;
    r.wants_logprobs = true; /* forced tokens come one by one */
    struct fixture_result got = fixture_run(&f, &r);
    assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
    print_message("repeated text: %u of %u guesses came true\n", got.last.accepted_tokens,
                  got.last.drafted_tokens);
    assert_true(got.last.accepted_tokens > got.last.completion_tokens / 2);
    fixture_result_deinit(&got);
    constrain_grammar_unref(grammar);
    mem_free((void *)(uintptr_t)r.prompt);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_ngrams),
    };
    return cmocka_run_group_tests_name("engine/draft", tests, NULL, NULL);
}
