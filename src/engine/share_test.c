/* Choices of one prompt, and prompts of one moment that begin alike, are read once. */
#include "engine/fixture.h"

enum { CHOICES = 6 };

static const char prompt[] =
    "Once upon a time there was a little girl named Lily. She loved to play in the park with her "
    "friend Tom. One day they saw a big brown dog. The dog was sad. Lily and Tom went to the park. "
    "They saw a big tree and a small bird. The bird was sad because it could not find its mom. Tom";

static struct engine_request make_choice(const struct fixture *f, uint64_t i, bool differs)
{
    static const char *const ends[] = {" said no", " ran", " and Lily laughed",
                                       " fell",    "",     " sat"};
    char text[512];
    snprintf(text, sizeof text, "%s%s", prompt, differs ? ends[i] : "");
    struct engine_request r = fixture_request(f, text, 40);
    r.sampling.temperature = 1;
    r.sampling.seed = i;
    r.wants_logprobs = true;
    r.top_logprobs = 2;
    return r;
}

static void check(const struct fixture_params *p, bool differs)
{
    struct fixture f;
    struct engine_stats before, after;
    struct fixture_result want[CHOICES];
    struct engine_stream *streams[CHOICES];
    size_t prompt_count = 0;
    fixture_open(&f, &(struct fixture_params){.ctx = 512, .no_cache = true});
    for (uint64_t i = 0; i < CHOICES; i++) {
        struct engine_request r = make_choice(&f, i, differs);
        prompt_count = r.prompt_count > prompt_count ? r.prompt_count : prompt_count;
        want[i] = fixture_run(&f, &r);
        mem_free((void *)(uintptr_t)r.prompt);
    }
    fixture_close(&f);
    fixture_open(&f, p);
    engine_stats_read(f.engine, &before);
    for (uint64_t i = 0; i < CHOICES; i++) {
        struct engine_request r = make_choice(&f, i, differs);
        streams[i] = fixture_submit(&f, &r);
        mem_free((void *)(uintptr_t)r.prompt);
    }
    for (uint64_t i = 0; i < CHOICES; i++) {
        struct fixture_result got = fixture_collect(streams[i]);
        fixture_assert_equal(&got, &want[i]);
        fixture_result_deinit(&got);
        fixture_result_deinit(&want[i]);
    }
    engine_stats_read(f.engine, &after);
    const uint64_t computed = after.prompt_tokens - before.prompt_tokens;
    /* The prompt once, and of each other its last rows: a few are not waited for. */
    const size_t own = differs ? 16 : 8;
    print_message("%zu prompt tokens, %d choices: %d computed\n", prompt_count, CHOICES,
                  (int)computed);
    assert_true(computed <= prompt_count + CHOICES * own);
    fixture_close(&f);
}

static void test_choices(void **state)
{
    (void)state;
    check(&(struct fixture_params){.ctx = 512, .batch_rows = 512}, false);
    check(&(struct fixture_params){.ctx = 512, .batch_rows = 50, .chunk = 20, .threads = 2}, false);
    check(&(struct fixture_params){.ctx = 512, .batch_rows = 512, .speculates = true}, false);
}

static void test_beginnings(void **state)
{
    (void)state;
    check(&(struct fixture_params){.ctx = 512, .batch_rows = 512}, true);
    check(&(struct fixture_params){.ctx = 512, .batch_rows = 30}, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_beginnings),
    };
    return cmocka_run_group_tests_name("engine/share", tests, NULL, NULL);
}
