#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static void appending(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 1000; i++) {
        buf_add_format(&b, "%d,", i);
    }
    assert_false(b.failed);
    assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_true(str_ends(buf_view(&b), STR("998,999,")));
    size_t len;
    char *bytes = buf_take(&b, &len);
    assert_int_equal(len, 3890);
    assert_int_equal(bytes[len], 0);
    mem_free(bytes);
    bytes = buf_take(&b, &len);
    assert_string_equal(bytes, "");
    mem_free(bytes);
}

static void failure_is_sticky(void **state)
{
    (void)state;
    struct buf b = {.limit = 4};
    buf_add_text(&b, "1234");
    assert_false(b.failed);
    buf_add_char(&b, '5');
    assert_true(b.failed);
    buf_add_text(&b, "");
    assert_true(b.failed);
    assert_int_equal(b.len, 4);
    assert_null(buf_take(&b, NULL));
    buf_clear(&b);
    assert_false(b.failed);
    assert_false(buf_reserve(&b, SIZE_MAX));
    buf_deinit(&b);
    mem_fail_after(0);
    struct buf starved = {0};
    buf_add_text(&starved, "x");
    mem_fail_after(-1);
    assert_true(starved.failed);
    buf_deinit(&starved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appending),
        cmocka_unit_test(failure_is_sticky),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
