/* The index alone: what is found, what is evicted, and that promises hold. Pages here have no
 * contents, so the tests can compare with a model of what must be there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "engine/cache.h"

enum { P = KV_PAGE_TOKENS, PAGES = 12 };

static const struct engine_salt nobody = {.len = 0}, alice = {.bytes = "alice", .len = 5},
                                alic = {.bytes = "alic", .len = 4};

/* `count` tokens that are told apart by `seed` from position `from` on. */
static void fill(text_id *tokens, size_t count, size_t from, int seed)
{
    for (size_t i = 0; i < count; i++) {
        tokens[i] = (text_id)(i + (i >= from ? 1000u * (unsigned)seed : 0));
    }
}

/* A sequence that reads `page_count` pages of tokens, publishes them and ends. Gives the pages that
 * came from the cache. */
static uint32_t run(struct engine_cache *c, const struct engine_salt *salt, const text_id *tokens,
                    uint32_t page_count)
{
    uint32_t pages[PAGES];
    uint32_t held = engine_cache_match(c, ENGINE_CACHE_NONE, salt, tokens, (size_t)page_count * P,
                                       page_count, pages, NULL);
    const uint32_t found = held;
    assert_true(engine_cache_promise(c, page_count - held, 0));
    for (; held < page_count; held++) {
        pages[held] = engine_cache_take(c);
        pages[held] = engine_cache_publish(c, held ? pages[held - 1] : ENGINE_CACHE_NONE, salt,
                                           tokens + (size_t)held * P, pages[held]);
    }
    assert_int_equal(engine_cache_used(c), page_count);
    engine_cache_release(c, pages, page_count);
    assert_int_equal(engine_cache_used(c), 0);
    assert_int_equal(c->promised, 0);
    return found;
}

static void test_longest_prefix(void **state)
{
    (void)state;
    struct engine_cache c;
    text_id a[4 * P], b[4 * P];
    assert_true(engine_cache_init(&c, PAGES, PAGES));
    fill(a, 4 * P, 4 * P, 0);
    fill(b, 4 * P, 2 * P + 5, 1);
    assert_int_equal(run(&c, &nobody, a, 4), 0);
    assert_int_equal(run(&c, &nobody, a, 4), 4);
    assert_int_equal(run(&c, &nobody, b, 4), 2);
    assert_int_equal(run(&c, &nobody, b, 4), 4);
    assert_int_equal(c.idle_count, 6); /* 4 + 2 of its own */
    assert_int_equal(run(&c, &nobody, a, 1), 1);
    /* The same tokens at another place are another page. */
    assert_int_equal(run(&c, &nobody, a + P, 2), 0);
    engine_cache_deinit(&c);
}

static void test_salts(void **state)
{
    (void)state;
    struct engine_cache c;
    text_id a[2 * P];
    assert_true(engine_cache_init(&c, PAGES, PAGES));
    fill(a, 2 * P, 0, 1);
    assert_int_equal(run(&c, &alice, a, 2), 0);
    assert_int_equal(run(&c, &nobody, a, 2), 0);
    assert_int_equal(run(&c, &alic, a, 2), 0);
    assert_int_equal(run(&c, &alice, a, 2), 2);
    assert_int_equal(run(&c, &alic, a, 2), 2);
    assert_int_equal(c.idle_count, 6);
    engine_cache_deinit(&c);
}

/* Two that compute the same page at once end with one of them. */
static void test_same_page_twice(void **state)
{
    (void)state;
    struct engine_cache c;
    text_id a[P];
    assert_true(engine_cache_init(&c, 2, 2));
    fill(a, P, 0, 1);
    assert_true(engine_cache_promise(&c, 2, 0));
    uint32_t x = engine_cache_take(&c), y = engine_cache_take(&c);
    assert_int_equal(engine_cache_publish(&c, ENGINE_CACHE_NONE, &nobody, a, x), x);
    assert_int_equal(engine_cache_publish(&c, ENGINE_CACHE_NONE, &nobody, a, x), x);
    assert_int_equal(engine_cache_publish(&c, ENGINE_CACHE_NONE, &nobody, a, y), x);
    assert_int_equal(c.pages.unused_count, 1);
    engine_cache_release(&c, &x, 1);
    assert_int_equal(c.idle_count, 0);
    engine_cache_release(&c, &x, 1);
    assert_int_equal(c.idle_count, 1);
    engine_cache_deinit(&c);
}

static void test_eviction_order(void **state)
{
    (void)state;
    struct engine_cache c;
    text_id a[4 * P], b[4 * P], d[4 * P];
    assert_true(engine_cache_init(&c, 8, 8));
    fill(a, 4 * P, 0, 1);
    fill(b, 4 * P, 0, 2);
    fill(d, 4 * P, 0, 3);
    run(&c, &nobody, a, 4);
    run(&c, &nobody, b, 4);
    assert_int_equal(run(&c, &nobody, a, 4), 4); /* b is older now */
    assert_int_equal(run(&c, &nobody, d, 2), 0); /* takes the end of b */
    assert_int_equal(run(&c, &nobody, b, 2), 2); /* whose beginning is still there */
    assert_int_equal(run(&c, &nobody, a, 4), 4);
    assert_int_equal(c.evicted, 2);
    engine_cache_deinit(&c);
}

static void test_promises(void **state)
{
    (void)state;
    struct engine_cache c;
    text_id a[3 * P];
    uint32_t held[4];
    assert_true(engine_cache_init(&c, 4, 4));
    fill(a, 3 * P, 0, 1);
    run(&c, &nobody, a, 3);
    assert_int_equal(c.idle_count, 3);
    assert_false(engine_cache_promise(&c, 5, 0));
    assert_true(engine_cache_promise(&c, 4, 0));
    assert_false(engine_cache_promise(&c, 1, 0));
    for (int i = 0; i < 4; i++) { /* the idle make room */
        held[i] = engine_cache_take(&c);
    }
    assert_int_equal(c.idle_count, 0);
    engine_cache_release(&c, held, 4);
    assert_int_equal(c.pages.unused_count, 4);
    /* A match takes idle pages from under a promise; the promise that follows must see that. */
    run(&c, &nobody, a, 3);
    assert_true(engine_cache_promise(&c, 3, 0));
    assert_int_equal(engine_cache_match(&c, ENGINE_CACHE_NONE, &nobody, a, 3 * P, 3, held, NULL),
                     3);
    assert_false(engine_cache_promise(&c, 1, 0));
    engine_cache_release(&c, held, 3);
    engine_cache_absolve(&c, 3);
    engine_cache_deinit(&c);
}

static void test_shares(void **state)
{
    (void)state;
    struct engine_cache c;
    text_id a[4 * P];
    fill(a, 4 * P, 0, 1);
    assert_true(engine_cache_init(&c, PAGES, 3));
    assert_int_equal(run(&c, &nobody, a, 4), 0);
    assert_int_equal(c.idle_count, 3);
    assert_int_equal(run(&c, &nobody, a, 4), 3);
    engine_cache_deinit(&c);
    assert_true(engine_cache_init(&c, PAGES, 0)); /* off */
    assert_int_equal(run(&c, &nobody, a, 4), 0);
    assert_int_equal(run(&c, &nobody, a, 4), 0);
    assert_int_equal(c.pages.unused_count, PAGES);
    engine_cache_deinit(&c);
}

static struct engine_cache_miss look(struct engine_cache *c, const struct engine_salt *salt,
                                     const text_id *tokens, size_t count, uint32_t want)
{
    struct engine_cache_miss miss;
    uint32_t pages[PAGES];
    uint32_t found = engine_cache_match(c, ENGINE_CACHE_NONE, salt, tokens, count,
                                        (uint32_t)((count - 1) / P), pages, &miss);
    assert_int_equal(found, want);
    engine_cache_release(c, pages, found);
    return miss;
}

static void test_near_miss(void **state)
{
    (void)state;
    struct engine_cache c;
    text_id a[3 * P], b[3 * P];
    assert_true(engine_cache_init(&c, PAGES, PAGES));
    fill(a, 3 * P, 3 * P, 0);
    run(&c, &nobody, a, 3);
    for (size_t at = 0; at < 3 * P; at++) {
        fill(b, 3 * P, at, 1);
        struct engine_cache_miss miss = look(&c, &nobody, b, 3 * P, (uint32_t)(at / P));
        assert_true(miss.is_near == (at >= 16));
        assert_true(!miss.is_near || miss.position == at);
        assert_false(look(&c, &alice, b, 3 * P, 0).is_near); /* nobody else's business */
    }
    /* A prompt that ends before a cached one differs from nothing. */
    assert_false(look(&c, &nobody, a, P + 9, 1).is_near);
    assert_false(look(&c, &nobody, a, 2 * P, 1).is_near);
    engine_cache_deinit(&c);
}

/* Whatever is asked: references and promises add up, and nothing is found that was not put in. */
static void test_random(void **state)
{
    (void)state;
    struct engine_cache c;
    uint32_t seed = 7;
    assert_true(engine_cache_init(&c, PAGES, 9));
    for (int round = 0; round < 4000; round++) {
        text_id tokens[4 * P];
        seed = seed * 1664525u + 1013904223u;
        fill(tokens, 4 * P, (seed >> 8) % (4 * P), (int)(seed >> 20) % 5);
        run(&c, seed >> 30 ? &nobody : &alice, tokens, 1 + (seed >> 5) % 4);
        assert_int_equal(c.pages.unused_count + c.idle_count, PAGES);
        assert_true(c.idle_count <= 9);
    }
    engine_cache_deinit(&c);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (long n = 0; n < 4; n++) {
        struct engine_cache c;
        mem_fail_after(n);
        assert_false(engine_cache_init(&c, PAGES, PAGES));
        mem_fail_after(-1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longest_prefix),  cmocka_unit_test(test_salts),
        cmocka_unit_test(test_same_page_twice), cmocka_unit_test(test_eviction_order),
        cmocka_unit_test(test_promises),        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_near_miss),       cmocka_unit_test(test_random),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("engine/cache", tests, NULL, NULL);
}
