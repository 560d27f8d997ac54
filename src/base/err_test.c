#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static void wrapping_puts_context_in_front(void **state)
{
    (void)state;
    struct err err = {0};
    assert_false(err_set_param(&err, ERR_TYPE, "role", "must be a string"));
    assert_false(err_wrap_param(&err, "messages[%d]", 2));
    assert_false(err_wrap(&err, "read %s", "body"));
    assert_string_equal(err.text, "read body: must be a string");
    assert_string_equal(err.param, "messages[2].role");
    assert_false(err_set_param(&err, ERR_TYPE, "[3]", "must be a number"));
    err_wrap_param(&err, "stop");
    assert_string_equal(err.param, "stop[3]");
    assert_false(err_set(NULL, ERR_IO, "nobody listens"));
    assert_false(err_wrap(NULL, "nobody"));
}

static void long_texts_are_cut_visibly(void **state)
{
    (void)state;
    struct err err = {0};
    char big[3000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    err_set(&err, ERR_IO, "%s", big);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_string_equal(err.text + strlen(err.text) - 3, "...");
    err_wrap(&err, "load");
    assert_int_equal(strncmp(err.text, "load: xxx", 9), 0);
    assert_string_equal(err.text + strlen(err.text) - 3, "...");
}

static void exit_statuses_are_small(void **state)
{
    (void)state;
    for (int code = 1; code < ERR_COUNT; code++) {
        const struct err_info *info = err_info((enum err_code)code);
        assert_in_range(info->exit_status, 1, 63);
        assert_in_range(info->http_status, 400, 599);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrapping_puts_context_in_front),
        cmocka_unit_test(long_texts_are_cut_visibly),
        cmocka_unit_test(exit_statuses_are_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
