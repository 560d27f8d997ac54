#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"

static void slices_are_clamped(void **state)
{
    (void)state;
    struct str s = STR("hearth");
    assert_true(str_eq(str_slice(s, 1, 3), STR("ea")));
    assert_true(str_eq(str_slice(s, 4, 99), STR("th")));
    assert_int_equal(str_slice(s, 9, 3).len, 0);
    assert_int_equal(str_slice((struct str){0}, 0, 5).len, 0);
}

static void finding(void **state)
{
    (void)state;
    assert_int_equal(str_find(STR("abcabc"), STR("bc"), 0), 1);
    assert_int_equal(str_find(STR("abcabc"), STR("bc"), 2), 4);
    assert_true(str_find(STR("abc"), STR("bcd"), 0) == SIZE_MAX);
    assert_true(str_find(STR("abc"), STR("c"), 4) == SIZE_MAX);
    assert_int_equal(str_find(STR("abc"), STR(""), 3), 3);
    assert_int_equal(str_find((struct str){0}, STR(""), 0), 0);
}

static void cutting(void **state)
{
    (void)state;
    struct str rest = STR("a,,b");
    assert_true(str_eq(str_cut(&rest, ','), STR("a")));
    assert_true(str_eq(str_cut(&rest, ','), STR("")));
    assert_true(str_eq(str_cut(&rest, ','), STR("b")));
    assert_int_equal(rest.len, 0);
}

static void numbers(void **state)
{
    (void)state;
    uint64_t u;
    int64_t i;
    double f;
    assert_true(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_false(str_to_u64(STR(""), &u));
    assert_false(str_to_u64(STR("+1"), &u));
    assert_false(str_to_u64(STR("1 "), &u));
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_true(str_to_f64(STR("-2.5e3"), &f) && f == -2500.0);
    assert_false(str_to_f64(STR("inf"), &f));
    assert_false(str_to_f64(STR("nan"), &f));
    assert_false(str_to_f64(STR("0x1p3"), &f));
    assert_false(str_to_f64(STR("1e999"), &f));
    assert_false(str_to_f64(STR(" 1"), &f));
}

static void quoting_hides_what_could_deceive(void **state)
{
    (void)state;
    char out[STR_QUOTE_MAX];
    assert_string_equal(str_quote(out, STR("plain \xc3\xa4")), "plain \xc3\xa4");
    assert_string_equal(str_quote(out, STR("a\nb\x1b[31m\"\\")), "a\\x0ab\\x1b[31m\\\"\\\\");
    assert_string_equal(str_quote(out, STR("\xff\xc3")), "\\xff\\xc3");
    assert_string_equal(str_quote(out, STR("\xe2\x80\xae")), "\\u{202e}");
    assert_string_equal(str_quote(out, (struct str){"a\0b", 3}), "a\\x00b");
    char big[500];
    memset(big, 'x', sizeof big);
    str_quote(out, (struct str){big, sizeof big});
    assert_true(strlen(out) < STR_QUOTE_MAX);
    assert_string_equal(out + strlen(out) - 3, "...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_clamped),
        cmocka_unit_test(finding),
        cmocka_unit_test(cutting),
        cmocka_unit_test(numbers),
        cmocka_unit_test(quoting_hides_what_could_deceive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
