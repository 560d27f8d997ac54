/* Who has to go, as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "route/budget.h"

static void the_longest_unused_that_suffices_goes(void **state)
{
    static const struct route_resident residents[] = {
        {100, 50, true}, {300, 40, true}, {400, 60, true}, {900, 10, false}, {50, 5, true}};
    static const struct {
        uint64_t missing;
        size_t victim;
    } cases[] = {{10, 4},  {50, 4},  {51, 1},  {300, 1},        {301, 2},
                 {400, 2}, {401, 4}, {850, 4}, {851, SIZE_MAX}, {UINT64_MAX, SIZE_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(route_budget_victim(residents, 5, cases[i].missing), cases[i].victim);
    }
    assert_int_equal(route_budget_victim(residents, 0, 1), SIZE_MAX);
    assert_int_equal(route_budget_victim(residents + 3, 1, 1), SIZE_MAX);
}

static void sums_do_not_wrap(void **state)
{
    static const struct route_resident huge[] = {{UINT64_MAX - 1, 2, true},
                                                 {UINT64_MAX - 1, 1, true}};
    (void)state;
    assert_int_equal(route_budget_victim(huge, 2, UINT64_MAX), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_unused_that_suffices_goes),
        cmocka_unit_test(sums_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
