#include "api/dialect_fixture.h"

#include "api/anthropic.h"

static const struct api_dialect *const messages = &api_anthropic_messages;

#define USER(content) "{\"role\":\"user\",\"content\":" content "}"
#define BODY(list)    "{\"model\":\"m\",\"max_tokens\":7,\"messages\":[" list "]"
#define HI            BODY(USER("\"x\""))

static void a_body(void **state)
{
    struct gen_request request;
    (void)state;
    dialect_parses(
        messages,
        "{\"messages\":[" USER(
            "[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":"
            "{\"type\":\"ephemeral\"}},"
            "{\"type\":\"text\",\"text\":\"b\"}]") "," USER("\"c\"") ",{\"role\":"
                                                                     "\"assistant\","
                                                                     "\"content\":\"d\"}"
                                                                     "," USER(
                                                                         "\"e\"") "],"
                                                                                  "\"system\":[{"
                                                                                  "\"type\":"
                                                                                  "\"text\","
                                                                                  "\"text\":\"s\"},"
                                                                                  "{\"type\":"
                                                                                  "\"text\","
                                                                                  "\"text\":"
                                                                                  "\"t\"}],"
                                                                                  "\"model\":\"m\","
                                                                                  "\"max_tokens\":"
                                                                                  "7,"
                                                                                  "\"temperature\":"
                                                                                  "0.5,\"top_k\":3,"
                                                                                  "\"top_p\":0.25,"
                                                                                  "\"stop_"
                                                                                  "sequences\":["
                                                                                  "\"u\"],"
                                                                                  "\"stream\":true,"
                                                                                  "\"metadata\":{"
                                                                                  "\"user_id\":"
                                                                                  "\"v\"},"
                                                                                  "\"service_"
                                                                                  "tier\":"
                                                                                  "\"standard_"
                                                                                  "only\"}",
        &request);
    dialect_expects_messages(&request, "[{\"role\":\"system\",\"content\":\"s\\nt\"},"
                                       "{\"role\":\"user\",\"content\":\"a\\nb\\nc\"},"
                                       "{\"role\":\"assistant\",\"content\":\"d\"},"
                                       "{\"role\":\"user\",\"content\":\"e\"}]");
    assert_true(request.stream && !request.continues_final && !request.is_dry);
    assert_true(request.has_max_tokens && request.max_tokens == 7);
    assert_int_equal(request.sampling.top_k, 3);
    assert_true(request.sampling.temperature == 0.5f && request.sampling.top_p == 0.25f);
    assert_true(request.stop_count == 1 && str_eq(request.user, STR("v")));
    api_request_deinit(&request);
    dialect_parses(messages, BODY(USER("\"x\"") ",{\"role\":\"assistant\",\"content\":\"y\"}") "}",
                   &request);
    assert_true(request.continues_final);
    api_request_deinit(&request);
    dialect_parses(messages, BODY(USER("\"x\"") ",{\"role\":\"assistant\",\"content\":\"\"}") "}",
                   &request);
    assert_false(request.continues_final); /* an empty one says nothing */
    dialect_expects_messages(&request, "[{\"role\":\"user\",\"content\":\"x\"}]");
    api_request_deinit(&request);
    dialect_parses(&api_anthropic_count, "{\"model\":\"m\",\"messages\":[" USER("\"x\"") "]}",
                   &request);
    assert_true(request.is_dry && api_request_choices(&request) == 0);
    api_request_deinit(&request);
}

/* Blocks of all kinds, as they become messages of OpenAI's chat. */
static void blocks(void **state)
{
    struct gen_request request;
    (void)state;
    dialect_parses(
        messages,
        BODY(USER("\"q\"") ",{\"role\":\"assistant\",\"content\":["
                           "{\"type\":\"thinking\",\"thinking\":\"h\",\"signature\":\"s\"},"
                           "{\"type\":\"redacted_thinking\",\"data\":\"xyz\"},"
                           "{\"type\":\"text\",\"text\":\"a\"},"
                           "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"b\":["
                           "1,2.5],\"a\":null}},"
                           "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"g\",\"input\":{},"
                           "\"caller\":{\"type\":\"direct\"}}]}," USER(
                               "[{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"is_error\":"
                               "true,\"content\":\"no\"},"
                               "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":["
                               "{\"type\":\"text\",\"text\":\"r\"},{\"type\":\"document\","
                               "\"title\":\"T\","
                               "\"source\":{\"type\":\"text\",\"media_type\":\"text/"
                               "plain\",\"data\":\"D\"}}]},"
                               "{\"type\":\"text\",\"text\":\"go\"},"
                               "{\"type\":\"search_result\",\"source\":\"u\",\"title\":\"t\","
                               "\"content\":[{\"type\":\"text\",\"text\":\"c\"}]}]")) "}",
        &request);
    dialect_expects_messages(
        &request,
        "[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"h\",\"tool_calls\":["
        "{\"id\":\"t1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
        "\"{\\\"b\\\":[1,2.5],\\\"a\\\":null}\"}},"
        "{\"id\":\"t2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}"
        ","
        "{\"role\":\"tool\",\"tool_call_id\":\"t2\",\"content\":\"Error: no\"},"
        "{\"role\":\"tool\",\"tool_call_id\":\"t1\",\"content\":\"r\\nT\\nD\"},"
        "{\"role\":\"user\",\"content\":\"go\\nt\\nu\\nc\"}]");
    api_request_deinit(&request);
}

#define TOOL "{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\"}"

static void tools_and_thinking(void **state)
{
    struct gen_request request;
    struct buf tools = {0};
    (void)state;
    dialect_parses(
        messages,
        "{\"model\":\"m\",\"max_tokens\":5000,\"messages\":[" USER(
            "\"x\"") "],"
                     "\"tools\":[" TOOL
                     ",\"strict\":true,\"cache_control\":{\"type\":\"ephemeral\","
                     "\"ttl\":\"1h\"},\"input_examples\":[{\"a\":1}]}],"
                     "\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\",\"disable_parallel_tool_"
                     "use\":true},"
                     "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024,\"display\":"
                     "\"omitted\"},"
                     "\"output_config\":{\"effort\":\"xhigh\",\"format\":{\"type\":\"json_schema\","
                     "\"schema\":{\"type\":\"integer\"}}},"
                     "\"context_management\":{\"edits\":[{\"type\":\"clear_thinking_20251015\","
                     "\"keep\":\"all\"}]}}",
        &request);
    json_write(&tools, request.tools);
    assert_string_equal(tools.ptr,
                        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":"
                        "{\"type\":\"object\"},\"description\":\"d\\n\\nExample inputs:\\n"
                        "{\\\"a\\\":1}\",\"strict\":true}}]");
    buf_deinit(&tools);
    assert_int_equal(request.tool_choice.mode, GEN_TOOLS_REQUIRED);
    assert_int_equal(json_array_size(request.tool_choice.allowed), 1);
    assert_false(request.parallel_tool_calls);
    assert_true(request.reasoning.mode == GEN_REASONING_ON && request.reasoning.has_budget);
    assert_true(request.reasoning.budget_tokens == 1024 && request.reasoning.is_hidden);
    assert_true(str_eq(request.reasoning.effort, STR("xhigh")));
    assert_true(request.format == GEN_FORMAT_SCHEMA && request.schema_strict && request.schema);
    assert_true(request.cache_breakpoints == 1 && request.cache_is_long);
    api_request_deinit(&request);
    dialect_parses(messages, HI ",\"tools\":[],\"thinking\":{\"type\":\"adaptive\"}}", &request);
    assert_true(!request.tools && request.reasoning.mode == GEN_REASONING_ON);
    api_request_deinit(&request);
    dialect_parses(messages, HI ",\"tools\":[" TOOL "}],\"tool_choice\":{\"type\":\"none\"}}",
                   &request);
    assert_true(request.tool_choice.mode == GEN_TOOLS_NONE && request.parallel_tool_calls);
    assert_true(request.reasoning.mode == GEN_REASONING_OFF);
    api_request_deinit(&request);
}

static void refused_tools(void **state)
{
    static const struct {
        const char *more;
        enum err_code code;
        const char *param;
    } cases[] = {
        {"\"tools\":{}", ERR_TYPE, "tools"},
        {"\"tools\":[{}]", ERR_MISSING, "tools[0].name"},
        {"\"tools\":[{\"name\":\"web_search\",\"type\":\"web_search_20250305\"}]", ERR_UNSUPPORTED,
         "tools[0].type"},
        {"\"tools\":[" TOOL "}," TOOL "}]", ERR_INVALID, "tools[1].name"},
        {"\"tools\":[{\"name\":\"a b\",\"input_schema\":{\"type\":\"object\"}}]", ERR_INVALID,
         "tools[0].name"},
        {"\"tools\":[{\"name\":\"a\",\"input_schema\":{\"type\":\"array\"}}]", ERR_INVALID,
         "tools[0].input_schema.type"},
        {"\"tools\":[" TOOL ",\"defer_loading\":true}]", ERR_UNSUPPORTED, "tools[0].defer_loading"},
        {"\"tools\":[" TOOL ",\"allowed_callers\":[\"code_execution_20250825\"]}]", ERR_UNSUPPORTED,
         "tools[0].allowed_callers"},
        {"\"tools\":[" TOOL ",\"eager_input_streaming\":false}]", ERR_UNSUPPORTED,
         "tools[0].eager_input_streaming"},
        {"\"tools\":[" TOOL ",\"x\":1}]", ERR_UNKNOWN, "tools[0].x"},
        {"\"tool_choice\":{\"type\":\"any\"}", ERR_INVALID, "tool_choice"},
        {"\"tool_choice\":{\"type\":\"x\"}", ERR_INVALID, "tool_choice.type"},
        {"\"tool_choice\":{\"type\":\"auto\",\"y\":1}", ERR_UNKNOWN, "tool_choice.y"},
        {"\"tools\":[" TOOL "}],\"tool_choice\":{\"type\":\"tool\"}", ERR_MISSING,
         "tool_choice.name"},
        {"\"tools\":[" TOOL "}],\"tool_choice\":{\"type\":\"tool\",\"name\":\"z\"}", ERR_INVALID,
         "tool_choice.name"},
        {"\"thinking\":{\"type\":\"enabled\"}", ERR_MISSING, "thinking.budget_tokens"},
        {"\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1000}", ERR_INVALID,
         "thinking.budget_tokens"},
        {"\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}", ERR_INVALID,
         "thinking.budget_tokens"},
        {"\"thinking\":{\"type\":\"disabled\",\"budget_tokens\":1024}", ERR_INVALID,
         "thinking.budget_tokens"},
        {"\"thinking\":{\"type\":\"between_tools\"}", ERR_UNSUPPORTED, "thinking.type"},
        {"\"thinking\":{\"type\":\"adaptive\",\"display\":\"x\"}", ERR_INVALID, "thinking.display"},
        {"\"output_config\":{\"effort\":\"huge\"}", ERR_INVALID, "output_config.effort"},
        {"\"output_config\":{\"format\":{\"type\":\"json_schema\"}}", ERR_MISSING,
         "output_config.format.schema"},
        {"\"output_config\":{\"format\":{\"type\":\"grammar\"}}", ERR_INVALID,
         "output_config.format.type"},
        {"\"output_config\":{\"x\":1}", ERR_UNKNOWN, "output_config.x"},
        {"\"context_management\":{\"edits\":[{\"type\":\"clear_tool_uses_20250919\"}]}",
         ERR_UNSUPPORTED, "context_management"},
        {"\"mcp_servers\":[]", ERR_UNSUPPORTED, "mcp_servers"},
        {"\"speed\":\"fast\"", ERR_UNSUPPORTED, "speed"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[512];
        snprintf(body, sizeof body, HI ",%s}", cases[i].more);
        dialect_refuses(messages, body, cases[i].code, cases[i].param);
    }
}

#define CALL   "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}"
#define RESULT "{\"type\":\"tool_result\",\"tool_use_id\":\"t\"}"
#define MARKED "{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{\"type\":\"ephemeral\"}}"

static void refused_bodies(void **state)
{
    (void)state;
    dialect_refuses(messages, "[]", ERR_TYPE, "");
    dialect_refuses(messages, "{\"model\":\"m\",\"messages\":[" USER("\"x\"") "]}", ERR_MISSING,
                    "max_tokens");
    dialect_refuses(messages, BODY("") "}", ERR_INVALID, "messages");
    dialect_refuses(messages, BODY("{\"role\":\"assistant\",\"content\":\"\"}") "}", ERR_INVALID,
                    "messages");
    dialect_refuses(messages, BODY(USER("\"\"") "," USER("\"x\"")) "}", ERR_INVALID,
                    "messages[0].content");
    dialect_refuses(messages, BODY(USER("\"x\"") "," USER("[{\"type\":\"image\"}]")) "}",
                    ERR_UNSUPPORTED, "messages[1].content[0].type");
    dialect_refuses(messages, BODY(USER("[{\"source\":1,\"type\":\"document\"}]")) "}", ERR_TYPE,
                    "messages[0].content[0].source");
    dialect_refuses(messages, BODY(USER("[null]")) "}", ERR_TYPE, "messages[0].content[0]");
    dialect_refuses(messages, BODY(USER("\"x\"") ",{\"role\":\"tool\",\"content\":\"a\"}") "}",
                    ERR_INVALID, "messages[1].role");
    dialect_refuses(messages,
                    BODY(USER("\"x\"") ",{\"role\":\"assistant\",\"content\":\"y\\n\"}") "}",
                    ERR_INVALID, "messages");
    dialect_refuses(messages, HI ",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"2h\"}}",
                    ERR_INVALID, "cache_control.ttl");
    dialect_refuses(messages, HI ",\"cache_control\":{}}", ERR_MISSING, "cache_control.type");
    dialect_refuses(messages, HI ",\"temperature\":1.5}", ERR_INVALID, "temperature");
    dialect_refuses(messages, HI ",\"metadata\":{\"a\":1}}", ERR_UNKNOWN, "metadata.a");
    dialect_refuses(messages,
                    BODY(USER("\"x\"") ",{\"role\":\"assistant\",\"content\":[" CALL "]}") "}",
                    ERR_INVALID, "messages[1]");
    dialect_refuses(
        messages,
        BODY(USER("\"x\"") ",{\"role\":\"assistant\",\"content\":[" CALL "]}," USER("\"y\"")) "}",
        ERR_INVALID, "messages[2]");
    dialect_refuses(messages, BODY(USER("[" RESULT "]")) "}", ERR_INVALID,
                    "messages[0].content[0].tool_use_id");
    dialect_refuses(messages,
                    BODY(USER("\"x\"") ",{\"role\":\"assistant\",\"content\":[" CALL "]}," USER(
                        "[{\"type\":\"text\",\"text\":\"a\"}," RESULT "]")) "}",
                    ERR_INVALID, "messages[2].content[1].type");
    dialect_refuses(messages, BODY(USER("[" CALL "]")) "}", ERR_INVALID,
                    "messages[0].content[0].type");
    dialect_refuses(messages,
                    BODY(USER("[{\"type\":\"document\",\"source\":{\"type\":\"base64\"}}]")) "}",
                    ERR_UNSUPPORTED, "messages[0].content[0].source.type");
    dialect_refuses(messages,
                    BODY(USER("[" MARKED "," MARKED "," MARKED "," MARKED "," MARKED "]")) "}",
                    ERR_INVALID, "messages[0].content[4].cache_control");
    dialect_refuses(&api_anthropic_count, HI "}", ERR_UNKNOWN, "max_tokens");
}

static void memory_runs_out(void **state)
{
    (void)state;
    dialect_runs_out_of_memory(
        messages, BODY(USER("[{\"type\":\"text\",\"text\":\"a\"}]")) ",\"system\":\"s\",\"stop_"
                                                                     "sequences\":[\"a\"]}");
}

static void versions(void **state)
{
    static const char *const bad[] = {"2023-01-01", "2023-06-1", "2023/06/01", "x", "2023-06-010"};
    struct err err = {0};
    (void)state;
    assert_true(api_anthropic_version(STR(""), &err));
    assert_true(api_anthropic_version(STR("2023-06-01"), &err));
    assert_true(api_anthropic_version(STR("2026-10-21"), &err));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(api_anthropic_version(str_of(bad[i]), &err));
    }
}

#define EVENT(name, rest) "event: " name "\ndata: {\"type\":\"" name "\"" rest "}\n\n"
#define MESSAGE(content, stop, usage)                                                              \
    "{\"id\":\"ID\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\\\"x\","             \
    "\"content\":[" content "]," stop ",\"usage\":{" usage                                         \
    ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,\"ephemeral_1h_input_tokens\":0},"       \
    "\"server_tool_use\":null,\"service_tier\":\"standard\"}}"
#define STOP(reason, sequence) "\"stop_reason\":" reason ",\"stop_sequence\":" sequence
#define USAGE(in, cached, out)                                                                     \
    "\"input_tokens\":" in ",\"cache_creation_input_tokens\":0,"                                   \
    "\"cache_read_input_tokens\":" cached ",\"output_tokens\":" out

static const char *const pieces[] = {"a\xff", "", "\n", NULL};

static void a_stream(void **state)
{
    struct dialect_fixture *fixture = *state;
    struct engine_event done = {.finish = ENGINE_STOP,
                                .stop_hit = STR("u"),
                                .prompt_tokens = 5,
                                .completion_tokens = 3,
                                .cached_tokens = 4};
    struct buf out = {0};
    dialect_play(messages, HI ",\"stream\":true,\"stop_sequences\":[\"t\",\"u\"]}", fixture->text,
                 pieces, done, &out);
    assert_string_equal(
        out.ptr,
        EVENT("message_start",
              ",\"message\":" MESSAGE("", STOP("null", "null"), USAGE("5", "0", "0")))
            EVENT("content_block_start",
                  ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}") EVENT("ping",
                                                                                            "")
                EVENT("content_block_delta",
                      ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\xef\xbf\xbd\"}")
                    EVENT("content_block_delta",
                          ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\\n\"}")
                        EVENT("content_block_stop", ",\"index\":0") EVENT(
                            "message_delta",
                            ",\"delta\":{" STOP("\"stop_sequence\"",
                                                "\"u\"") "},"
                                                         "\"usage\":{" USAGE("1", "4", "3") "}")
                            EVENT("message_stop", ""));
    buf_deinit(&out);
}

static void whole_messages(void **state)
{
    struct dialect_fixture *fixture = *state;
    static const char *const nothing[] = {NULL};
    static const struct {
        enum engine_finish finish;
        uint32_t tokens;
        const char *reason;
    } cases[] = {{ENGINE_STOP, 3, "\"end_turn\""},
                 {ENGINE_LENGTH, 7, "\"max_tokens\""},
                 {ENGINE_LENGTH, 6, "\"model_context_window_exceeded\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct engine_event done = {
            .finish = cases[i].finish, .prompt_tokens = 5, .completion_tokens = cases[i].tokens};
        struct buf out = {0};
        dialect_play(messages, HI "}", fixture->text, pieces, done, &out);
        assert_non_null(strstr(out.ptr, cases[i].reason));
        assert_non_null(strstr(out.ptr, "[{\"type\":\"text\",\"text\":\"a\xef\xbf\xbd\\n\"}]"));
        buf_deinit(&out);
    }
    struct engine_event done = {.finish = ENGINE_STOP, .prompt_tokens = 5, .completion_tokens = 1};
    struct buf out = {0};
    dialect_play(messages, HI "}", fixture->text, nothing, done, &out);
    assert_string_equal(out.ptr, MESSAGE("", STOP("\"end_turn\"", "null"), USAGE("5", "0", "1")));
    buf_clear(&out);
    dialect_play(&api_anthropic_count, "{\"model\":\"m\",\"messages\":[" USER("\"x\"") "]}",
                 fixture->text, nothing, done, &out);
    assert_string_equal(out.ptr, "{\"input_tokens\":5}");
    buf_deinit(&out);
}

static void errors(void **state)
{
    static const struct {
        enum err_code code;
        int status;
        const char *type;
    } cases[] = {{ERR_INVALID, 400, "invalid_request_error"},
                 {ERR_AUTH, 401, "authentication_error"},
                 {ERR_FORBIDDEN, 403, "permission_error"},
                 {ERR_MODEL, 404, "not_found_error"},
                 {ERR_NOT_FOUND, 404, "not_found_error"},
                 {ERR_METHOD, 405, "invalid_request_error"},
                 {ERR_TOO_LARGE, 413, "request_too_large"},
                 {ERR_BUSY, 529, "overloaded_error"},
                 {ERR_INTERNAL, 500, "api_error"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err failure;
        struct buf out = {0}, wanted = {0};
        err_set_param(&failure, cases[i].code, "messages[0].content[12]", "a \"b\"");
        api_anthropic_error(&failure, STR("r"), &out);
        buf_add_format(&wanted,
                       "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":"
                       "\"messages.0.content.12: a \\\"b\\\"\"},\"request_id\":\"r\"}",
                       cases[i].type);
        assert_string_equal(out.ptr, wanted.ptr);
        assert_int_equal(api_anthropic_status(&failure), cases[i].status);
        buf_deinit(&out);
        buf_deinit(&wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body),
        cmocka_unit_test(blocks),
        cmocka_unit_test(tools_and_thinking),
        cmocka_unit_test(refused_tools),
        cmocka_unit_test(refused_bodies),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(versions),
        cmocka_unit_test(a_stream),
        cmocka_unit_test(whole_messages),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, dialect_fixture_open, dialect_fixture_close);
}
