/* A sequence's bytes do not depend on anything but its own request: not on the other sequences, the
 * threads, the chunks a prompt is cut in, the size of a step, or who comes and leaves meanwhile. */
#include "engine/fixture.h"

#include "engine/random.h"

enum { CASES = 8, ARRIVALS = 200 };

/* Requests of every kind; those of one fixture may be used with another of the same model. */
struct cases {
    struct engine_request r[CASES];
    struct str stops[1], bans[2], breakers[2];
};

static void make_cases(const struct fixture *f, struct cases *c)
{
    static const char *const prompts[CASES] = {
        "Once upon a time",
        "The big dog",
        ("Lily and Tom went to the park. They saw a big tree and a small bird. The bird was sad "
         "because it could not find its mom. Lily said, \"Let's help the bird!\" Tom said, \"Yes,"),
        "One day, a little boy named Tim went to the park with his mom. He saw",
        "a",
        "She was very happy. She was very happy. She was very",
        "The sun was hot and the",
        "Tom had a red ball. He liked to play with it every day. One day the ball was gone and Tom",
    };
    c->stops[0] = STR("mom");
    c->bans[0] = STR("park");
    c->bans[1] = STR("wanted to");
    c->breakers[0] = STR("\n");
    c->breakers[1] = STR(":");
    for (size_t i = 0; i < CASES; i++) {
        struct engine_request *r = &c->r[i];
        *r = fixture_request(f, prompts[i], (uint32_t)(24 + i * 3));
        r->wants_logprobs = true;
        r->top_logprobs = 3;
        r->sampling.seed = 1000 + i;
        r->sampling.temperature = i == 0 ? 0 : 0.9f;
    }
    c->r[1].sampling.top_p = 0.9f;
    c->r[2].sampling.mirostat = true;
    c->r[3].sampling.top_k = 20;
    c->r[3].sampling.xtc_probability = 0.5f;
    c->r[4].banned = c->bans;
    c->r[4].banned_count = 2;
    c->r[5].sampling.dry_multiplier = 0.8f;
    c->r[5].sampling.dry_sequence_breakers = c->breakers;
    c->r[5].sampling.dry_breaker_count = 2;
    c->r[6].stops = c->stops;
    c->r[6].stop_count = 1;
    c->r[7].prompt_logprobs = true;
    c->r[7].sampling.repeat_penalty = 1.2f;
    c->r[7].sampling.min_p = 0.05f;
}

static void drop_cases(struct cases *c)
{
    for (size_t i = 0; i < CASES; i++) {
        mem_free((void *)c->r[i].prompt);
    }
}

/* Each case alone, on one thread: what all others are compared with. */
static void run_alone(const struct fixture_params *p, struct fixture_result out[CASES])
{
    struct fixture f;
    struct cases c;
    fixture_open(&f, p);
    make_cases(&f, &c);
    for (size_t i = 0; i < CASES; i++) {
        out[i] = fixture_run(&f, &c.r[i]);
        assert_int_equal(out[i].last.kind, ENGINE_EVENT_DONE);
    }
    drop_cases(&c);
    fixture_close(&f);
}

/* All cases at once. */
static void run_together(const struct fixture_params *p, const struct fixture_result want[CASES])
{
    struct fixture f;
    struct cases c;
    struct engine_stream *streams[CASES];
    fixture_open(&f, p);
    make_cases(&f, &c);
    for (size_t i = 0; i < CASES; i++) {
        streams[i] = fixture_submit(&f, &c.r[i]);
    }
    for (size_t i = 0; i < CASES; i++) {
        struct fixture_result got = fixture_collect(streams[i]);
        fixture_assert_equal(&got, &want[i]);
        assert_int_equal(got.prompt_token_count, want[i].prompt_token_count);
        for (size_t t = 1; t < got.prompt_token_count; t++) {
            assert_memory_equal(&got.prompt_tokens[t].chosen, &want[i].prompt_tokens[t].chosen,
                                sizeof got.prompt_tokens[t].chosen);
        }
        fixture_result_deinit(&got);
    }
    drop_cases(&c);
    fixture_close(&f);
}

static void check_model(const char *path)
{
    struct fixture_result want[CASES];
    run_alone(&(struct fixture_params){.path = path, .batch_rows = 512}, want);
    static const uint32_t chunks[] = {1, 7, 64, 512};
    for (size_t threads = 1; threads <= 2; threads++) {
        for (size_t i = 0; i < 4; i++) {
            run_together(
                &(struct fixture_params){
                    .path = path, .threads = threads, .batch_rows = 512, .chunk = chunks[i]},
                want);
        }
    }
    /* Small steps, few sequences, a cache that makes requests wait for one another. */
    static const struct fixture_params tight[] = {
        {.sequences = 8, .batch_rows = 8},
        {.sequences = 8, .batch_rows = 3, .threads = 2},
        {.sequences = 3, .batch_rows = 11, .chunk = 5},
        {.sequences = 8, .batch_rows = 64, .kv_tokens = 256},
        {.sequences = 1, .batch_rows = 1},
    };
    for (size_t i = 0; i < sizeof tight / sizeof *tight; i++) {
        struct fixture_params p = tight[i];
        p.path = path;
        run_together(&p, want);
    }
    for (size_t i = 0; i < CASES; i++) {
        fixture_result_deinit(&want[i]);
    }
}

static void test_stories(void **state)
{
    (void)state;
    check_model(FIXTURE_STORIES);
}

static void test_nano(void **state)
{
    (void)state;
    check_model(FIXTURE_NANO);
}

/* Layers that pass on a state. */
static void test_states(void **state)
{
    (void)state;
    check_model(TEST_GOLDEN "/model/lfm2-f32.gguf");
    check_model(TEST_GOLDEN "/model/qwen35-f32.gguf");
}

/* ---- arrivals and departures ---- */

/* Two hundred requests of any lane and tenant that come at any time; a third are cancelled at any
 * time, some come with guesses, right and wrong. The rest must say what they say alone, and what a
 * cancelled one said is the beginning of it. */
static struct engine_request make_arrival(const struct cases *c, uint64_t i,
                                          const struct fixture_result *said, text_id *guesses)
{
    static const char *const tenants[] = {"", "a", "b"};
    struct engine_request r = c->r[i % CASES];
    r.lane = (enum engine_lane)(i / 3 % ENGINE_LANES);
    r.tenant = str_of(tenants[i / 7 % 3]);
    if (i % 5 == 0) {
        for (size_t t = 0; t < said->token_count; t++) {
            const bool is_right = engine_random(8, i * 1000 + t, ENGINE_DRAW_TOKEN) < 0.7;
            guesses[t] = is_right ? said->tokens[t].chosen.id : (text_id)(300 + t % 9);
        }
        r.draft = guesses;
        r.draft_count = said->token_count;
    }
    return r;
}

static void check_arrivals(const struct fixture_params *p, const struct fixture_result want[CASES])
{
    struct fixture f;
    struct cases c;
    struct engine_stream *streams[ARRIVALS] = {0};
    bool is_cancelled[ARRIVALS] = {0};
    fixture_open(&f, p);
    make_cases(&f, &c);
    for (uint64_t i = 0; i < ARRIVALS; i++) {
        double pause = engine_random(5, i, 0), leave = engine_random(6, i, 0);
        text_id guesses[64];
        const struct fixture_result *said = &want[i % CASES];
        assert_true(said->token_count <= sizeof guesses / sizeof *guesses);
        struct engine_request r = make_arrival(&c, i, said, guesses);
        streams[i] = fixture_submit(&f, &r);
        clock_sleep_ns((int64_t)(pause * 1e6));
        uint64_t who = (uint64_t)(leave * 3 * (double)(i + 1));
        if (who <= i) {
            engine_cancel(streams[who]);
            is_cancelled[who] = true;
        }
    }
    for (size_t i = 0; i < ARRIVALS; i++) {
        struct fixture_result got = fixture_collect(streams[i]);
        const struct fixture_result *all = &want[i % CASES];
        assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
        if (got.last.finish == ENGINE_CANCELLED) {
            assert_true(is_cancelled[i]);
            assert_true(got.text.len <= all->text.len);
            assert_memory_equal(got.text.ptr, all->text.ptr, got.text.len);
        } else {
            fixture_assert_equal(&got, all);
        }
        fixture_result_deinit(&got);
    }
    struct engine_stats stats;
    engine_stats_read(f.engine, &stats);
    print_message(
        "%d requests: %d paused, %d cached tokens, %d of %d guesses right, %d cancelled\n",
        ARRIVALS, (int)stats.preempted, (int)stats.cached_tokens, (int)stats.accepted,
        (int)stats.drafted, (int)stats.cancelled);
    assert_int_equal(stats.requests, ARRIVALS);
    assert_int_equal(stats.pages_used, 0);
    assert_int_equal(stats.finished_stop + stats.finished_length + stats.cancelled, ARRIVALS);
    drop_cases(&c);
    fixture_close(&f);
}

static void test_arrivals(void **state)
{
    static const struct fixture_params arrangements[] = {
        {.sequences = 6, .batch_rows = 32, .chunk = 9, .threads = 2},
        {.sequences = 8, .batch_rows = 64, .speculates = true, .row_share = 0.1f},
        {.sequences = 8,
         .batch_rows = 24,
         .kv_tokens = 320,
         .threads = 2,
         .speculates = true,
         .row_share = 0.05f},
        {.sequences = 2, .batch_rows = 16, .chunk = 3, .speculates = true},
    };
    struct fixture_result want[CASES];
    (void)state;
    run_alone(&(struct fixture_params){.batch_rows = 512}, want);
    for (size_t i = 0; i < sizeof arrangements / sizeof *arrangements; i++) {
        struct fixture_params p = arrangements[i];
        p.queue = ARRIVALS;
        check_arrivals(&p, want);
    }
    for (size_t i = 0; i < CASES; i++) {
        fixture_result_deinit(&want[i]);
    }
}

/* ---- prefixes ---- */

enum { TELLERS = 24 };

/* Prompts of 30 to 400 tokens that share beginnings of every length; the second half of them under
 * salts. Some are cancelled, some generate for long enough to fill pages of their own. */
static struct engine_request make_teller(const struct fixture *f, uint64_t i)
{
    static const char sentence[] =
        "Once upon a time there was a little girl named Lily. She loved to play in the park with "
        "her friend Tom. One day they saw a big brown dog. The dog was sad. ";
    struct buf text = {0};
    for (uint64_t part = 0; part < 1 + i % 6; part++) {
        buf_add_text(&text, sentence);
        buf_add_text(&text, part + 1 == i / 6 ? "Tim ran. " : "Sue sat. ");
    }
    struct engine_request r = fixture_request(f, text.ptr, 20 + (uint32_t)(i % 5) * 30);
    buf_deinit(&text);
    r.sampling.temperature = i % 2 ? 0.8f : 0;
    r.sampling.seed = i;
    r.wants_logprobs = true;
    r.top_logprobs = 2;
    r.prompt_logprobs = i % 7 == 3;
    r.cache_salt = i >= TELLERS / 2 ? STR("somebody") : (struct str){0};
    return r;
}

static void check_teller(struct fixture_result *got, const struct fixture_result *want)
{
    fixture_assert_equal(got, want);
    assert_int_equal(got->prompt_token_count, want->prompt_token_count);
    for (size_t t = 1; t < got->prompt_token_count; t++) {
        assert_memory_equal(&got->prompt_tokens[t].chosen, &want->prompt_tokens[t].chosen,
                            sizeof got->prompt_tokens[t].chosen);
    }
}

static void tell_all(const struct fixture_params *p, const struct fixture_result want[TELLERS],
                     uint64_t *cached)
{
    struct fixture f;
    struct engine_stats stats;
    fixture_open(&f, p);
    for (uint64_t round = 0; round < 3; round++) {
        struct engine_stream *streams[TELLERS];
        for (uint64_t i = 0; i < TELLERS; i++) {
            struct engine_request r = make_teller(&f, (i * 7 + round * 5) % TELLERS);
            streams[i] = fixture_submit(&f, &r);
            mem_free((void *)r.prompt);
            clock_sleep_ns(
                (int64_t)(engine_random(9, round * TELLERS + i, ENGINE_DRAW_TOKEN) * 2e5));
            if (round == 1 && i % 3 == 0) {
                engine_cancel(streams[i]);
            }
        }
        for (uint64_t i = 0; i < TELLERS; i++) {
            struct fixture_result got = fixture_collect(streams[i]);
            const struct fixture_result *all = &want[(i * 7 + round * 5) % TELLERS];
            assert_int_equal(got.last.kind, ENGINE_EVENT_DONE);
            assert_int_equal(got.last.cached_tokens % 64, 0);
            assert_true(got.last.cached_tokens < got.last.prompt_tokens);
            if (got.last.finish != ENGINE_CANCELLED) {
                check_teller(&got, all);
            }
            fixture_result_deinit(&got);
        }
    }
    engine_stats_read(f.engine, &stats);
    assert_int_equal(stats.pages_used, 0);
    *cached = stats.cached_tokens;
    fixture_close(&f);
}

static void test_prefixes(void **state)
{
    (void)state;
    struct fixture_result want[TELLERS];
    struct fixture f;
    uint64_t cached;
    fixture_open(&f, &(struct fixture_params){.ctx = 640, .batch_rows = 512, .no_cache = true});
    for (uint64_t i = 0; i < TELLERS; i++) {
        struct engine_request r = make_teller(&f, i);
        want[i] = fixture_run(&f, &r);
        assert_int_equal(want[i].last.cached_tokens, 0);
        mem_free((void *)r.prompt);
    }
    fixture_close(&f);
    static const struct fixture_params arrangements[] = {
        {.ctx = 640, .batch_rows = 512, .queue = TELLERS},
        {.ctx = 640, .batch_rows = 64, .chunk = 64, .threads = 2, .queue = TELLERS},
        {.ctx = 640, .batch_rows = 24, .chunk = 16, .sequences = 5, .queue = TELLERS},
        /* so few pages that everything is evicted all the time */
        {.ctx = 640, .batch_rows = 100, .kv_tokens = 640, .threads = 2, .queue = TELLERS},
        {.ctx = 640, .batch_rows = 7, .kv_tokens = 1000, .sequences = 3, .queue = TELLERS},
    };
    for (size_t i = 0; i < sizeof arrangements / sizeof *arrangements; i++) {
        tell_all(&arrangements[i], want, &cached);
        assert_true(cached > 500);
    }
    for (uint64_t i = 0; i < TELLERS; i++) {
        fixture_result_deinit(&want[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),  cmocka_unit_test(test_nano),
        cmocka_unit_test(test_states),   cmocka_unit_test(test_arrivals),
        cmocka_unit_test(test_prefixes),
    };
    return cmocka_run_group_tests_name("engine/invariance", tests, NULL, NULL);
}
