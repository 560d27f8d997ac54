/* Valid and invalid sequences after Markus Kuhn's UTF-8 decoder stress test and RFC 3629. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/utf8.h"

static void every_character_round_trips(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 0x110000; code++) {
        char bytes[4];
        uint32_t back;
        size_t len = utf8_encode(code, bytes);
        bool is_character = code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
        assert_int_equal(len != 0, is_character);
        if (len) {
            assert_int_equal(utf8_decode((struct str){bytes, len}, 0, &back), len);
            assert_int_equal(back, code);
            assert_int_equal(utf8_incomplete_tail((struct str){bytes, len}), 0);
            if (len > 1) {
                assert_int_equal(utf8_incomplete_tail((struct str){bytes, len - 1}), len - 1);
            }
        }
    }
}

static void malformed_sequences_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\xaf",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xfe",
                                      "\xff",
                                      "\xc3(",
                                      "\xe2\x82("};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t code;
        assert_int_equal(utf8_decode(str_of(bad[i]), 0, &code), 0);
        assert_false(utf8_is_valid(str_of(bad[i])));
    }
    assert_int_equal(utf8_valid_prefix(STR("ab\xff")), 2);
    assert_int_equal(utf8_valid_prefix((struct str){0}), 0);
    assert_int_equal(utf8_count(STR("\xc3\xa4x\xff")), 3);
}

static void tails_that_cannot_become_valid_are_not_held(void **state)
{
    (void)state;
    assert_int_equal(utf8_incomplete_tail(STR("a\xe2\x82")), 2);
    assert_int_equal(utf8_incomplete_tail(STR("a\xf0\x9f\xa6")), 3);
    assert_int_equal(utf8_incomplete_tail(STR("a\xe0\x80")), 0); /* overlong: never valid */
    assert_int_equal(utf8_incomplete_tail(STR("\x80\x80\x80")), 0);
    assert_int_equal(utf8_incomplete_tail(STR("a\xff")), 0);
    assert_int_equal(utf8_incomplete_tail((struct str){0}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_round_trips),
        cmocka_unit_test(malformed_sequences_are_refused),
        cmocka_unit_test(tails_that_cannot_become_valid_are_not_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
