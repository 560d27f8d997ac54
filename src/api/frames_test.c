#include "api/frames.h"

#include "api/dialect_fixture.h"

#define BODY "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

static void envelopes(void **state)
{
    static const struct {
        const char *text;
        enum api_frame_kind kind;
        const char *id, *body;
    } cases[] = {
        {"{\"type\":\"cancel\",\"id\":\"a\"}", API_FRAME_CANCEL, "a", ""},
        {" { \"id\" : \"A-z_0.9:b\" ,\r\n\t\"type\" : \"cancel\" } ", API_FRAME_CANCEL, "A-z_0.9:b",
         ""},
        {"{\"type\":\"request\",\"id\":\"1\",\"body\":{}}", API_FRAME_REQUEST, "1", "{}"},
        {"{\"body\":{\"a\":\"}\\\"]\\\\\",\"b\":[{}]},\"id\":\"1\",\"type\":\"request\"}",
         API_FRAME_REQUEST, "1", "{\"a\":\"}\\\"]\\\\\",\"b\":[{}]}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct api_frame frame;
        struct err err = {0};
        if (!api_frame_read(str_of(cases[i].text), &frame, &err)) {
            fail_msg("%s: %s", cases[i].text, err.text);
        }
        assert_int_equal(frame.kind, cases[i].kind);
        assert_true(str_eq(frame.id, str_of(cases[i].id)));
        assert_true(str_eq(frame.body, str_of(cases[i].body)));
    }
}

static void refused_envelopes(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
        const char *param, *id;
    } cases[] = {
        {"", ERR_JSON, "", ""},
        {"[]", ERR_JSON, "", ""},
        {"x", ERR_JSON, "", ""},
        {"{", ERR_JSON, "", ""},
        {"{\"type\"}", ERR_JSON, "", ""},
        {"{\"type\":}", ERR_JSON, "", ""},
        {"{\"type\":\"cancel", ERR_JSON, "", ""},
        {"{\"type\":\"cancel\\", ERR_JSON, "", ""},
        {"{\"type\":\"cancel\" \"id\":\"a\"}", ERR_JSON, "", ""},
        {"{\"type\":\"cancel\",}", ERR_JSON, "", ""},
        {"{,\"type\":\"cancel\"}", ERR_JSON, "", ""},
        {"{type:\"cancel\"}", ERR_JSON, "", ""},
        {"{\"type\":\"cancel\",\"id\":\"a\"}x", ERR_JSON, "", ""},
        {"{\"type\":\"cancel\",\"id\":\"a\",\"id\":\"a\"}", ERR_JSON, "", ""},
        {"{\"type\":\"request\",\"id\":\"a\",\"body\":{\"a\":[}", ERR_JSON, "", ""},
        {"{}", ERR_MISSING, "id", ""},
        {"{\"type\":\"cancel\"}", ERR_MISSING, "id", ""},
        {"{\"type\":\"cancel\",\"id\":7}", ERR_TYPE, "id", ""},
        {"{\"type\":\"cancel\",\"id\":\"\"}", ERR_INVALID, "id", ""},
        {"{\"type\":\"cancel\",\"id\":\"a b\"}", ERR_INVALID, "id", ""},
        {"{\"type\":\"cancel\",\"id\":\"\\u0041\"}", ERR_INVALID, "id", ""},
        {"{\"type\":\"cancel\",\"id\":"
         "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
         ERR_INVALID, "id", ""},
        {"{\"id\":\"a\"}", ERR_MISSING, "type", "a"},
        {"{\"id\":\"a\",\"type\":null}", ERR_TYPE, "type", "a"},
        {"{\"id\":\"a\",\"type\":\"stop\"}", ERR_INVALID, "type", "a"},
        {"{\"id\":\"a\",\"type\":\"cancel\",\"x\":{}}", ERR_UNKNOWN, "x", "a"},
        {"{\"id\":\"a\",\"type\":\"cancel\",\"body\":{}}", ERR_UNKNOWN, "body", "a"},
        {"{\"id\":\"a\",\"type\":\"request\"}", ERR_MISSING, "body", "a"},
        {"{\"id\":\"a\",\"type\":\"request\",\"body\":\"{}\"}", ERR_TYPE, "body", "a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct api_frame frame;
        struct err err = {0};
        bool ok = api_frame_read(str_of(cases[i].text), &frame, &err);
        if (ok || err.code != cases[i].code || strcmp(err.param, cases[i].param) != 0 ||
            !str_eq(frame.id, str_of(cases[i].id))) {
            fail_msg("%s: %s %s (%s)", cases[i].text, ok ? "accepted" : err_info(err.code)->name,
                     err.text, err.param);
        }
    }
}

static void bodies(void **state)
{
    struct gen_request request;
    (void)state;
    dialect_parses(&api_frames_chat, "{\"type\":\"request\",\"id\":\"a\",\"body\":" BODY "}}",
                   &request);
    assert_true(request.stream);
    assert_true(str_eq(request.label, STR("a")));
    api_request_deinit(&request);
    dialect_parses(&api_frames_chat,
                   "{\"type\":\"request\",\"id\":\"a\",\"body\":" BODY ",\"stream\":false}}",
                   &request);
    assert_false(request.stream);
    api_request_deinit(&request);
    dialect_refuses(&api_frames_chat,
                    "{\"type\":\"request\",\"id\":\"a\",\"body\":" BODY ",\"n\":0}}", ERR_INVALID,
                    "n");
    dialect_refuses(&api_frames_chat, "{\"type\":\"request\",\"id\":\"a\",\"body\":{]}}", ERR_JSON,
                    "");
    dialect_runs_out_of_memory(&api_frames_chat,
                               "{\"type\":\"request\",\"id\":\"a\",\"body\":" BODY "}}");
}

static void answers(void **state)
{
    struct dialect_fixture *fixture = *state;
    static const char *const pieces[] = {"a\n", "\"b", NULL};
    struct engine_event done = {
        .finish = ENGINE_LENGTH, .prompt_tokens = 5, .completion_tokens = 2, .cached_tokens = 1};
    struct buf out = {0};
    dialect_play(&api_frames_chat, "{\"type\":\"request\",\"id\":\"q1\",\"body\":" BODY "}}",
                 fixture->text, pieces, done, &out);
    assert_true(str_starts(
        buf_view(&out), STR("{\"type\":\"token\",\"id\":\"q1\",\"index\":0,\"text\":\"a\\n\"}\n"
                            "{\"type\":\"token\",\"id\":\"q1\",\"index\":0,\"text\":\"\\\"b\"}\n"
                            "{\"type\":\"done\",\"id\":\"q1\",\"model\":\"m\\\"x\",\"created\":")));
    assert_non_null(strstr(out.ptr, "\"choices\":[{\"index\":0,\"finish_reason\":\"length\"}],"
                                    "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,"));
    assert_true(str_ends(buf_view(&out), STR("}\n")));
    buf_clear(&out);
    dialect_play(&api_frames_chat,
                 "{\"type\":\"request\",\"id\":\"q1\",\"body\":" BODY ",\"stream\":false}}",
                 fixture->text, pieces, done, &out);
    assert_true(
        str_starts(buf_view(&out), STR("{\"type\":\"done\",\"id\":\"q1\",\"answer\":{\"id\":\"ID\","
                                       "\"object\":\"chat.completion\",")));
    assert_non_null(strstr(out.ptr, "\"content\":\"a\\n\\\"b\""));
    assert_true(str_ends(buf_view(&out), STR("}}\n")));
    buf_deinit(&out);
}

/* What only other models say, told directly. */
static void calls_and_reasoning(void **state)
{
    (void)state;
    struct gen_request request;
    dialect_parses(&api_frames_chat, "{\"type\":\"request\",\"id\":\"a\",\"body\":" BODY "}}",
                   &request);
    struct api_render render = {.request = &request};
    const struct gen_part parts[] = {
        {.kind = GEN_PART_REASONING, .text = STR("hm")},
        {.kind = GEN_PART_CALL, .call = 1, .id = STR("c1"), .name = STR("f")},
        {.kind = GEN_PART_ARGUMENTS, .call = 1, .text = STR("{}")},
        {.kind = GEN_PART_ARGUMENTS, .call = 2, .text = STR("x"), .is_custom = true},
        {.kind = GEN_PART_CALL_END, .call = 1},
    };
    struct gen_event event = {.parts = parts, .part_count = sizeof parts / sizeof *parts};
    struct buf out = {0};
    api_frames_chat.event(&render, 3, &event, &out);
    assert_string_equal(
        out.ptr, "{\"type\":\"reasoning\",\"id\":\"a\",\"index\":3,\"text\":\"hm\"}\n"
                 "{\"type\":\"tool\",\"id\":\"a\",\"index\":3,\"call\":1,\"call_id\":\"c1\","
                 "\"name\":\"f\"}\n"
                 "{\"type\":\"tool\",\"id\":\"a\",\"index\":3,\"call\":1,\"arguments\":\"{}\"}\n"
                 "{\"type\":\"tool\",\"id\":\"a\",\"index\":3,\"call\":2,\"input\":\"x\"}\n"
                 "{\"type\":\"tool\",\"id\":\"a\",\"index\":3,\"call\":1,\"end\":true}\n");
    buf_clear(&out);
    api_frames_chat.queued(&render, 3, 0, &out);
    api_frames_chat.queued(&render, 2, 9, &out);
    assert_string_equal(out.ptr, "{\"type\":\"queued\",\"id\":\"a\",\"ahead\":3}\n"
                                 "{\"type\":\"queued\",\"id\":\"a\",\"ahead\":2,\"eta_s\":9}\n");
    buf_deinit(&out);
    api_request_deinit(&request);
}

static void short_frames(void **state)
{
    struct err failure;
    struct buf out = {0};
    (void)state;
    err_set_param(&failure, ERR_INVALID, "n", "no \"n\"");
    api_frame_error((struct str){0}, &failure, &out);
    api_frame_error(STR("a"), &failure, &out);
    api_frame_cancelled(STR("a"), &out);
    assert_string_equal(
        out.ptr,
        "{\"type\":\"error\",\"id\":null,\"status\":400,\"error\":{\"message\":\"no \\\"n\\\"\","
        "\"type\":\"invalid_request_error\",\"param\":\"n\",\"code\":\"invalid_value\"}}\n"
        "{\"type\":\"error\",\"id\":\"a\",\"status\":400,\"error\":{\"message\":\"no \\\"n\\\"\","
        "\"type\":\"invalid_request_error\",\"param\":\"n\",\"code\":\"invalid_value\"}}\n"
        "{\"type\":\"cancelled\",\"id\":\"a\"}\n");
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelopes),
        cmocka_unit_test(refused_envelopes),
        cmocka_unit_test(bodies),
        cmocka_unit_test(answers),
        cmocka_unit_test(calls_and_reasoning),
        cmocka_unit_test(short_frames),
    };
    return cmocka_run_group_tests(tests, dialect_fixture_open, dialect_fixture_close);
}
