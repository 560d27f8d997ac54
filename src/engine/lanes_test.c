/* Whose turn it is: shares of lanes and tenants, places, coming back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/state.h"

enum { CROWD = 400 };

static const uint32_t weights[ENGINE_LANES] = {8, 4, 1};

static void wait_in(struct engine_lanes *lanes, struct engine_sequence *seq, enum engine_lane lane,
                    const char *tenant)
{
    *seq = (struct engine_sequence){.request = {.lane = lane}};
    assert_true(engine_lanes_push(lanes, seq, str_of(tenant)));
}

/* Serves whose turn it is and gives it. */
static struct engine_sequence *serve(struct engine_lanes *lanes, uint32_t tokens)
{
    struct engine_sequence *seq = engine_lanes_next(lanes);
    assert_non_null(seq);
    assert_int_equal(engine_lanes_ahead(lanes, seq), 0);
    engine_lanes_take(lanes, seq);
    engine_lanes_charge(lanes, seq, tokens);
    return seq;
}

static void test_order(void **state)
{
    struct engine_lanes lanes;
    struct engine_sequence s[3];
    (void)state;
    engine_lanes_init(&lanes, weights);
    assert_null(engine_lanes_next(&lanes));
    for (int i = 0; i < 3; i++) {
        wait_in(&lanes, &s[i], ENGINE_NORMAL, "a");
        assert_int_equal(engine_lanes_ahead(&lanes, &s[i]), i);
    }
    assert_ptr_equal(serve(&lanes, 10), &s[0]);
    engine_lanes_return(&lanes, &s[0]); /* paused: before its equals */
    assert_ptr_equal(engine_lanes_next(&lanes), &s[0]);
    engine_lanes_remove(&lanes, &s[1]);
    assert_ptr_equal(serve(&lanes, 10), &s[0]);
    assert_ptr_equal(serve(&lanes, 10), &s[2]);
    assert_null(engine_lanes_next(&lanes));
    engine_lanes_end(&lanes, &s[0]);
    engine_lanes_end(&lanes, &s[2]);
    assert_null(lanes.lanes[ENGINE_NORMAL].tenants);
    assert_int_equal(lanes.waiting, 0);
}

/* Two tenants, one with long requests: tokens are shared evenly, not requests. */
static void test_tenants(void **state)
{
    static struct engine_sequence s[CROWD];
    struct engine_lanes lanes;
    uint64_t tokens[2] = {0};
    (void)state;
    engine_lanes_init(&lanes, weights);
    for (int i = 0; i < CROWD; i++) {
        wait_in(&lanes, &s[i], ENGINE_INTERACTIVE, i < CROWD / 2 ? "long" : "short");
    }
    for (int i = 0; i < CROWD / 2; i++) {
        struct engine_sequence *next = engine_lanes_next(&lanes);
        const bool is_long = next - s < CROWD / 2;
        tokens[is_long] += is_long ? 900 : 100;
        serve(&lanes, is_long ? 900 : 100);
        engine_lanes_end(&lanes, next);
    }
    assert_true(tokens[0] + 900 >= tokens[1] && tokens[1] + 900 >= tokens[0]);
    while (lanes.waiting) {
        engine_lanes_remove(&lanes, engine_lanes_next(&lanes));
    }
}

/* All lanes full: shares by weight, and the last lane is served all the time. */
static void test_lanes(void **state)
{
    static struct engine_sequence s[3 * CROWD];
    struct engine_lanes lanes;
    double served[ENGINE_LANES] = {0};
    int since_batch = 0;
    (void)state;
    engine_lanes_init(&lanes, weights);
    for (int i = 0; i < 3 * CROWD; i++) {
        wait_in(&lanes, &s[i], (enum engine_lane)(i / CROWD), "k");
    }
    for (int i = 0; i < CROWD; i++) {
        struct engine_sequence *seq = serve(&lanes, 50);
        served[seq->request.lane]++;
        since_batch = seq->request.lane == ENGINE_BATCH ? 0 : since_batch + 1;
        assert_true(since_batch <= 13);
        engine_lanes_end(&lanes, seq);
    }
    assert_true(served[0] / CROWD > 0.59 && served[0] / CROWD < 0.64); /* 8 of 13 */
    assert_true(served[2] / CROWD > 0.06 && served[2] / CROWD < 0.09); /* 1 of 13 */
    while (lanes.waiting) {
        engine_lanes_remove(&lanes, engine_lanes_next(&lanes));
    }
}

/* Rest is not saved up: who comes back does not take all turns until it has caught up. */
static void test_rest(void **state)
{
    static struct engine_sequence s[CROWD];
    struct engine_lanes lanes;
    int first = 0;
    (void)state;
    engine_lanes_init(&lanes, weights);
    for (int i = 0; i < CROWD / 2; i++) {
        wait_in(&lanes, &s[i], ENGINE_NORMAL, "busy");
    }
    for (int i = 0; i < 50; i++) {
        engine_lanes_end(&lanes, serve(&lanes, 1000));
    }
    for (int i = CROWD / 2; i < CROWD; i++) {
        wait_in(&lanes, &s[i], ENGINE_NORMAL, "rested");
    }
    for (int i = 0; i < 20; i++) {
        struct engine_sequence *seq = serve(&lanes, 1000);
        first += seq - s >= CROWD / 2;
        engine_lanes_end(&lanes, seq);
    }
    assert_int_equal(first, 10);
    wait_in(&lanes, &s[0], ENGINE_BATCH, "busy");
    assert_true(lanes.lanes[ENGINE_BATCH].served >= lanes.lanes[ENGINE_NORMAL].served);
    while (lanes.waiting) {
        engine_lanes_remove(&lanes, engine_lanes_next(&lanes));
    }
}

static void test_places(void **state)
{
    struct engine_lanes lanes;
    struct engine_sequence a[4], b, c[2];
    (void)state;
    engine_lanes_init(&lanes, weights);
    for (int i = 0; i < 4; i++) {
        wait_in(&lanes, &a[i], ENGINE_NORMAL, "a");
    }
    wait_in(&lanes, &b, ENGINE_NORMAL, "b");
    wait_in(&lanes, &c[0], ENGINE_BATCH, "a");
    wait_in(&lanes, &c[1], ENGINE_INTERACTIVE, "a");
    assert_int_equal(engine_lanes_ahead(&lanes, &c[1]), 0);
    assert_int_equal(engine_lanes_ahead(&lanes, &a[0]), 1); /* behind the interactive one */
    assert_int_equal(engine_lanes_ahead(&lanes, &b), 1);
    assert_int_equal(engine_lanes_ahead(&lanes, &a[3]), 6);
    assert_true(engine_lanes_ahead(&lanes, &c[0]) >= 2);
    while (lanes.waiting) {
        engine_lanes_remove(&lanes, engine_lanes_next(&lanes));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order), cmocka_unit_test(test_tenants), cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_rest),  cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests_name("engine/lanes", tests, NULL, NULL);
}
