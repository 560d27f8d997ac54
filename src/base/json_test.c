#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

static void refused(struct str text, const char *why)
{
    struct err err = {0};
    json_t *value = json_parse(text, NULL, &err);
    if (value) {
        fail_msg("accepted: %s", why);
    }
    assert_int_equal(err.code, ERR_JSON);
    assert_true(strlen(err.text) > 10);
}

static void malformed_texts_are_refused(void **state)
{
    (void)state;
    refused(STR(""), "empty");
    refused(STR("{\"a\":1,\"a\":2}"), "duplicate key");
    refused(STR("[1] x"), "trailing bytes");
    refused(STR("\xef\xbb\xbf[]"), "byte order mark");
    refused(STR("[\"\xff\"]"), "invalid UTF-8");
    refused(STR("[\"\\ud800\"]"), "lone surrogate");
    refused(STR("[1e400]"), "overflow");
    refused(STR("[01]"), "leading zero");
    refused(STR("[NaN]"), "NaN");
    refused(STR("[99999999999999999999]"), "integer overflow");
    refused(STR("{\"a\":}"), "missing value");
}

static void values_are_counted_before_parsing(void **state)
{
    struct json_limits limits = {.values_max = 4};
    struct err err = {0};
    (void)state;
    json_t *value = json_parse(STR("[1,\",,,[[[\",3]"), &limits, &err);
    assert_non_null(value);
    json_decref(value);
    assert_null(json_parse(STR("[1,2,3,4]"), &limits, &err));
    assert_int_equal(err.code, ERR_JSON);
    assert_null(json_parse(STR("{\"a\":[],\"b\":[],\"c\":{}}"), &limits, &err));
}

static void depth_costs_no_stack(void **state)
{
    (void)state;
    size_t deep = 1000000;
    char *text = malloc(deep);
    memset(text, '[', deep);
    refused((struct str){text, deep}, "deep");
    free(text);
    struct err err = {0};
    struct json_limits limits = {.depth_max = 2};
    json_t *value = json_parse(STR("[[\"[[[[\\\"[[\"]]"), &limits, &err);
    assert_non_null(value);
    json_decref(value);
    assert_null(json_parse(STR("[[[]]]"), &limits, &err));
}

static void values_round_trip(void **state)
{
    (void)state;
    static const char text[] =
        "{\"z\":[1,-2,9007199254740993,0.1,5.0,1e+30,true,false,null],"
        "\"a\":\"\\u0000\\n\\\"\xc3\xa4\xf0\x9f\xa6\x99\",\"e\":{},\"l\":[]}";
    struct err err = {0};
    json_t *value = json_parse(str_of(text), NULL, &err);
    assert_non_null(value);
    struct buf out = {0};
    json_write(&out, value);
    assert_string_equal(out.ptr, text);
    buf_clear(&out);
    json_write_indent(&out, value, 1);
    json_t *again = json_parse(buf_view(&out), NULL, &err);
    assert_true(json_equal(value, again));
    json_decref(again);
    json_decref(value);
    buf_deinit(&out);
}

static void bad_text_is_replaced_in_strings(void **state)
{
    (void)state;
    struct buf out = {0};
    json_write_string(&out, STR("a\xff\x01\x7f\xc3"));
    assert_string_equal(out.ptr, "\"a\xef\xbf\xbd\\u0001\x7f\xef\xbf\xbd\"");
    buf_deinit(&out);
}

static void floats_read_back(void **state)
{
    (void)state;
    const float cases[] = {0.0f,    -0.0f,   1.0f,   0.1f,       16777216.0f,
                           FLT_MAX, FLT_MIN, 1e-45f, 3.14159274f};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        json_format_float(cases[i], text);
        float back = strtof(text, NULL);
        assert_memory_equal(&back, &cases[i], sizeof back);
        double wide;
        json_format_double((double)cases[i] * 3, text);
        wide = strtod(text, NULL);
        assert_true(wide == (double)cases[i] * 3);
    }
    char text[32];
    json_format_float(NAN, text);
    assert_string_equal(text, "null");
    json_format_double(-INFINITY, text);
    assert_string_equal(text, "null");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_texts_are_refused),
        cmocka_unit_test(depth_costs_no_stack),
        cmocka_unit_test(values_are_counted_before_parsing),
        cmocka_unit_test(values_round_trip),
        cmocka_unit_test(floats_read_back),
        cmocka_unit_test(bad_text_is_replaced_in_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
