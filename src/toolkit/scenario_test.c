#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/json.h"
#include "toolkit/load.h"
#include "toolkit/load_print.h"
#include "toolkit/scenario.h"

static bool reads(const char *text, struct toolkit_scenario *scenario, struct err *err)
{
    toolkit_scenario_init(scenario);
    json_t *tree = json_parse(str_of(text), NULL, err);
    assert_non_null(tree);
    return toolkit_scenario_read(scenario, tree, err);
}

static void a_scenario(void **state)
{
    struct toolkit_scenario scenario;
    struct err err = {0};
    (void)state;
    assert_true(
        reads("{\"model\":\"m\",\"ramp_seconds\":2,\"stages\":[{\"users\":1,\"seconds\":0.5},"
              "{\"users\":1024,\"seconds\":3}],\"requests\":[{\"weight\":3,\"prompt\":\"Hi\","
              "\"max_tokens\":7},{\"words\":5,\"fresh\":true,\"body\":{\"temperature\":0}}],"
              "\"limits\":{\"errors_percent\":0,\"gap_p99_ms\":5}}",
              &scenario, &err));
    assert_int_equal(scenario.stage_count, 2);
    assert_int_equal(scenario.stages[1].users, 1024);
    assert_int_equal(scenario.weights, 4);
    assert_true(scenario.limits.errors_percent == 0 && scenario.limits.ttft_p99_ms < 0);
    size_t prompts = 0;
    struct buf body = {0}, again = {0};
    for (uint64_t i = 0; i < 400; i++) {
        assert_true(toolkit_scenario_body(&scenario, i, &body));
        assert_true(toolkit_scenario_body(&scenario, i, &again));
        assert_true(str_eq(buf_view(&body), buf_view(&again)));
        prompts += strstr(body.ptr, "\"Hi\"") != NULL;
    }
    assert_in_range(prompts, 290, 310); /* three of four */
    assert_non_null(
        strstr(body.ptr, "\"stream\":true,\"stream_options\":{\"include_usage\":true}"));
    buf_deinit(&body);
    buf_deinit(&again);
    toolkit_scenario_deinit(&scenario);
}

static void refused_scenarios(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
    } cases[] = {
        {"[]", ERR_TYPE},
        {"{\"modle\":\"m\"}", ERR_UNKNOWN},
        {"{\"model\":5}", ERR_TYPE},
        {"{\"stages\":[]}", ERR_INVALID},
        {"{\"stages\":5}", ERR_INVALID},
        {"{\"stages\":[5]}", ERR_TYPE},
        {"{\"stages\":[{\"users\":1}]}", ERR_MISSING},
        {"{\"stages\":[{\"users\":0,\"seconds\":1}]}", ERR_INVALID},
        {"{\"stages\":[{\"users\":1025,\"seconds\":1}]}", ERR_INVALID},
        {"{\"stages\":[{\"users\":1.5,\"seconds\":1}]}", ERR_TYPE},
        {"{\"stages\":[{\"users\":1,\"seconds\":\"1\"}]}", ERR_TYPE},
        {"{\"stages\":[{\"users\":1,\"seconds\":1,\"x\":1}]}", ERR_UNKNOWN},
        {"{\"requests\":[{}]}", ERR_MISSING},
        {"{\"requests\":[{\"prompt\":\"a\",\"words\":5}]}", ERR_MISSING},
        {"{\"requests\":[{\"prompt\":\"\"}]}", ERR_TYPE},
        {"{\"requests\":[{\"words\":5,\"fresh\":1}]}", ERR_TYPE},
        {"{\"requests\":[{\"words\":5,\"body\":[]}]}", ERR_TYPE},
        {"{\"limits\":[]}", ERR_TYPE},
        {"{\"limits\":{\"ttft\":1}}", ERR_UNKNOWN},
        {"{\"limits\":{\"ttft_p99_ms\":-1}}", ERR_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct toolkit_scenario scenario;
        struct err err = {0};
        if (reads(cases[i].text, &scenario, &err) || err.code != cases[i].code) {
            fail_msg("%s: %s", cases[i].text, err.text);
        }
        toolkit_scenario_deinit(&scenario);
    }
}

static void limits(void **state)
{
    struct toolkit_stage_result results[] = {
        {.users = 1,
         .completed = 9,
         .failed = 1,
         .ttft.p99 = 10,
         .gap.p99 = 2,
         .tokens_per_second = 5},
        {.users = 4, .completed = 10, .ttft.p99 = 40, .gap.p99 = 8, .tokens_per_second = 15}};
    static const struct {
        struct toolkit_limits limits;
        const char *says;
    } cases[] = {{{-1, -1, -1, -1}, NULL},
                 {{40, 8, 15, 5}, NULL},
                 {{39, -1, -1, -1}, "4 users: p99 of"},
                 {{-1, 7, -1, -1}, "p99 between"},
                 {{-1, -1, 16, -1}, "at best"},
                 {{-1, -1, -1, 4.9}, "5.00 %"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char said[256];
        bool exceeds = toolkit_load_exceeds(&cases[i].limits, results, 2, said);
        assert_int_equal(exceeds, cases[i].says != NULL);
        assert_true(!exceeds || strstr(said, cases[i].says));
    }
    struct buf out = {0};
    toolkit_load_svg(results, 2, "a<b&c", &out);
    assert_true(str_starts(buf_view(&out), STR("<svg ")));
    assert_non_null(strstr(out.ptr, "<title>a&lt;b&amp;c</title>"));
    assert_null(strstr(out.ptr, "nan"));
    buf_clear(&out);
    toolkit_load_svg(results, 0, "", &out);
    assert_null(strstr(out.ptr, "nan"));
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scenario),
        cmocka_unit_test(refused_scenarios),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
