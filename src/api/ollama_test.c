#include "api/dialect_fixture.h"

#include "api/ollama.h"

static const struct api_dialect *const generate = &api_ollama_generate;
static const struct api_dialect *const chat = &api_ollama_chat;

#define TEXT "{\"model\":\"m\",\"prompt\":\"x\""
#define CHAT "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

static void bodies(void **state)
{
    struct gen_request request;
    (void)state;
    dialect_parses(generate, TEXT ",\"system\":\"s\",\"context\":[1,2]}", &request);
    dialect_expects_messages(&request, "[{\"role\":\"system\",\"content\":\"s\"},"
                                       "{\"role\":\"user\",\"content\":\"x\"}]");
    assert_true(request.stream && request.is_tagged && request.keeps_text && !request.has_seed);
    assert_true(request.sampling.temperature == 0.8f && request.sampling.top_p == 0.9f);
    assert_int_equal(request.sampling.top_k, 40);
    assert_int_equal(request.prefix.count, 2);
    assert_false(request.has_max_tokens);
    api_request_deinit(&request);
    dialect_parses(generate,
                   TEXT
                   ",\"raw\":true,\"stream\":false,\"options\":{\"num_predict\":3,"
                   "\"seed\":9,\"num_ctx\":64,\"num_thread\":2,\"num_batch\":8,\"f16_kv\":true,"
                   "\"stop\":[\"q\"],\"repeat_last_n\":-1,\"mirostat\":2}}",
                   &request);
    assert_true(request.kind == GEN_TEXT && request.prompts[0].parses_special && !request.stream);
    assert_true(request.max_tokens == 3 && request.has_seed && request.ctx_tokens == 64);
    assert_true(request.load.threads == 2 && request.load.batch_rows == 8);
    assert_true(request.load.kv == GEN_KV_F16 && request.stop_count == 1);
    assert_true(request.sampling.repeat_last_n == UINT32_MAX && request.sampling.mirostat);
    api_request_deinit(&request);
    dialect_parses(chat, CHAT ",\"think\":false,\"format\":\"\",\"tools\":[]}", &request);
    assert_true(request.reasoning.mode == GEN_REASONING_OFF && request.format == GEN_FORMAT_TEXT);
    assert_true(!request.tools && !request.keeps_text);
    api_request_deinit(&request);
    dialect_parses(
        chat, CHAT ",\"think\":\"high\",\"format\":{\"type\":\"integer\"},\"stream_interval\":4}",
        &request);
    assert_true(request.reasoning.mode == GEN_REASONING_ON && request.stream_interval == 4);
    assert_true(str_eq(request.reasoning.effort, STR("high")));
    assert_true(request.format == GEN_FORMAT_SCHEMA && request.schema && request.schema_strict);
    api_request_deinit(&request);
    dialect_parses(generate, TEXT ",\"format\":\"json\",\"think\":true,\"template\":\"t\"}",
                   &request);
    assert_true(request.format == GEN_FORMAT_JSON_OBJECT &&
                str_eq(request.template_text, STR("t")));
    api_request_deinit(&request);
    dialect_parses(generate, TEXT ",\"suffix\":\"y\"}", &request);
    assert_true(request.kind == GEN_TEXT && request.prompts[0].has_suffix);
    assert_true(str_eq(request.prompts[0].suffix, STR("y")) && !request.prompts[0].parses_special);
    api_request_deinit(&request);
    dialect_parses(chat,
                   "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"},"
                   "{\"role\":\"assistant\",\"content\":\"y\",\"thinking\":\"z\"}]}",
                   &request);
    assert_true(request.continues_final);
    dialect_expects_messages(&request, "[{\"role\":\"user\",\"content\":\"x\"},{\"role\":"
                                       "\"assistant\",\"content\":\"y\",\"reasoning_content\":"
                                       "\"z\"}]");
    api_request_deinit(&request);
}

/* Calls without ids are numbered; a tool's message answers the first open one of its name. */
static void calls(void **state)
{
    struct gen_request request;
    struct buf tools = {0};
    (void)state;
    dialect_parses(
        chat,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"},"
        "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":["
        "{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1]}}},"
        "{\"id\":\"own\",\"function\":{\"index\":1,\"name\":\"g\",\"arguments\":{}}},"
        "{\"function\":{\"name\":\"f\"}}]},"
        "{\"role\":\"tool\",\"tool_name\":\"g\",\"content\":\"1\"},"
        "{\"role\":\"tool\",\"tool_name\":\"f\",\"content\":\"2\"},"
        "{\"role\":\"tool\",\"content\":\"3\"},{\"role\":\"tool\",\"content\":\"4\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]}",
        &request);
    dialect_expects_messages(
        &request,
        "[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_"
        "calls\":["
        "{\"id\":\"call_0\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{"
        "\\\"a\\\":[1]}\"}},"
        "{\"id\":\"own\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}},"
        "{\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}"
        "\"}}]},"
        "{\"role\":\"tool\",\"content\":\"1\",\"name\":\"g\",\"tool_call_id\":\"own\"},"
        "{\"role\":\"tool\",\"content\":\"2\",\"name\":\"f\",\"tool_call_id\":\"call_0\"},"
        "{\"role\":\"tool\",\"content\":\"3\",\"tool_call_id\":\"call_2\"},"
        "{\"role\":\"tool\",\"content\":\"4\"}]");
    json_write(&tools, request.tools);
    assert_string_equal(
        tools.ptr, "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]");
    assert_true(request.keeps_text);
    buf_deinit(&tools);
    api_request_deinit(&request);
}

static void loads(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } keep[] = {{"\"5m\"", 300000000000},
                {"\"1h30m\"", 5400000000000},
                {"\"1.5h\"", 5400000000000},
                {"300", 300000000000},
                {"-1", ROUTE_KEEP_FOREVER},
                {"\"-1m\"", ROUTE_KEEP_FOREVER},
                {"\"10\"", 10000000000},
                {"0.5", 500000000},
                {"1e300", INT64_MAX},
                {"\"9999999999h\"", INT64_MAX},
                {"\"2ms3us4ns\"", 2003004},
                {"\"1\xc2\xb5s\"", 1000},
                {"0", 0},
                {"\"0\"", 0},
                {"\"0s\"", 0},
                {"\"0h0m0.0s\"", 0},
                {"0.0", 0},
                {"\"-0\"", 0}};
    static const char *const bad[] = {"\"\"",  "\"m\"", "\"5x\"",  "\"5 m\"",   "true",
                                      "\".\"", "\"-\"", "\"5m5\"", "\"1..5h\"", "[]"};
    char body[96];
    struct gen_request request;
    (void)state;
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
        snprintf(body, sizeof body, "{\"model\":\"m\",\"keep_alive\":%s}", keep[i].text);
        dialect_parses(i % 2 ? chat : generate, body, &request);
        assert_true(request.is_dry && !request.stream && api_request_choices(&request) == 0);
        assert_true(request.has_keep && request.keep_ns == keep[i].ns);
        assert_int_equal(request.only_unloads, keep[i].ns == 0);
        api_request_deinit(&request);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(body, sizeof body, "{\"model\":\"m\",\"keep_alive\":%s}", bad[i]);
        bool is_type = bad[i][0] == 't' || bad[i][0] == '[';
        dialect_refuses(chat, body, is_type ? ERR_TYPE : ERR_INVALID, "keep_alive");
    }
    dialect_parses(chat, "{\"model\":\"m\",\"keep_alive\":null}", &request);
    assert_true(request.is_dry && !request.has_keep && !request.only_unloads);
    api_request_deinit(&request);
    dialect_parses(generate, TEXT ",\"keep_alive\":0}", &request);
    assert_true(!request.is_dry && request.has_keep && !request.only_unloads);
    api_request_deinit(&request);
}

static void refused_bodies(void **state)
{
    (void)state;
    dialect_refuses(generate, TEXT ",\"options\":{\"x\":1}}", ERR_UNKNOWN, "options.x");
    dialect_refuses(generate, TEXT ",\"options\":{\"use_mmap\":true}}", ERR_UNSUPPORTED,
                    "options.use_mmap");
    dialect_refuses(generate, TEXT ",\"options\":{\"num_gpu\":1}}", ERR_UNSUPPORTED,
                    "options.num_gpu");
    dialect_refuses(generate, TEXT ",\"options\":{\"num_predict\":-3}}", ERR_INVALID,
                    "options.num_predict");
    dialect_refuses(generate, TEXT ",\"options\":[]}", ERR_TYPE, "options");
    dialect_refuses(generate, TEXT ",\"context\":[1,-1]}", ERR_INVALID, "context[1]");
    dialect_refuses(generate, TEXT ",\"context\":[\"1\"]}", ERR_TYPE, "context[0]");
    dialect_refuses(generate, TEXT ",\"raw\":true,\"context\":[1]}", ERR_INVALID, "raw");
    dialect_refuses(generate, TEXT ",\"suffix\":\"y\",\"system\":\"s\"}", ERR_INVALID, "suffix");
    dialect_refuses(generate, TEXT ",\"images\":[\"aGk=\"]}", ERR_UNSUPPORTED, "images");
    dialect_refuses(generate, "{\"prompt\":\"x\"}", ERR_MISSING, "model");
    dialect_refuses(generate, TEXT ",\"messages\":[]}", ERR_UNKNOWN, "messages");
    dialect_refuses(chat, CHAT ",\"format\":\"xml\"}", ERR_INVALID, "format");
    dialect_refuses(chat, CHAT ",\"format\":1}", ERR_TYPE, "format");
    dialect_refuses(chat, CHAT ",\"think\":\"hard\"}", ERR_INVALID, "think");
    dialect_refuses(chat, CHAT ",\"tools\":[{\"type\":\"x\"}]}", ERR_UNSUPPORTED, "tools[0].type");
    dialect_refuses(chat, CHAT ",\"tools\":[{\"type\":\"function\",\"function\":{}}]}", ERR_MISSING,
                    "tools[0].function.name");
    dialect_refuses(chat,
                    "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{}]}]}",
                    ERR_MISSING, "messages[0].tool_calls[0].function");
    dialect_refuses(chat,
                    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\","
                    "\"images\":[\"aGk=\"]}]}",
                    ERR_UNSUPPORTED, "messages[0].images");
    dialect_refuses(chat, CHAT ",\"think\":1}", ERR_TYPE, "think");
    dialect_refuses(chat, CHAT ",\"top_logprobs\":1}", ERR_INVALID, "top_logprobs");
    dialect_refuses(chat, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":1}]}",
                    ERR_TYPE, "messages[0].content");
    dialect_refuses(chat, "{\"model\":\"m\",\"messages\":[{\"role\":\"x\",\"content\":\"\"}]}",
                    ERR_INVALID, "messages[0].role");
}

static void memory_runs_out(void **state)
{
    (void)state;
    dialect_runs_out_of_memory(generate, TEXT ",\"system\":\"s\",\"context\":[1],\"options\":{"
                                              "\"stop\":[\"a\"]}}");
    dialect_runs_out_of_memory(chat, CHAT ",\"think\":false}");
}

static bool has(const struct buf *out, const char *part)
{
    return strstr(out->ptr, part) != NULL;
}

static void answers(void **state)
{
    struct dialect_fixture *fixture = *state;
    static const char *const pieces[] = {"a", "", "b", NULL};
    struct engine_event done = {.finish = ENGINE_STOP,
                                .prompt_tokens = 5,
                                .completion_tokens = 3,
                                .timing = {.queue_ms = 1, .prefill_ms = 2.5, .decode_ms = 4}};
    struct buf out = {0};
    dialect_play(chat, CHAT "}", fixture->text, pieces, done, &out);
    size_t lines = 0;
    for (size_t i = 0; i < out.len; i++) {
        lines += out.ptr[i] == '\n';
    }
    assert_int_equal(lines, 3);
    assert_true(
        has(&out, "\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n"));
    assert_true(has(&out, "\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\","
                          "\"total_duration\":"));
    assert_true(has(&out, "\"load_duration\":1000000,\"prompt_eval_count\":5,"
                          "\"prompt_eval_duration\":2500000,\"eval_count\":3,"
                          "\"eval_duration\":4000000}\n"));
    buf_clear(&out);
    done.finish = ENGINE_LENGTH;
    dialect_play(generate, TEXT ",\"stream\":false}", fixture->text, pieces, done, &out);
    assert_true(has(&out, "\"response\":\"ab\",\"done\":true,\"done_reason\":\"length\","
                          "\"context\":[10,11,12,13,14,"));
    buf_clear(&out);
    dialect_play(generate, "{\"model\":\"m\"}", fixture->text, pieces, done, &out);
    assert_true(has(&out, "\"response\":\"\",\"done\":true,\"done_reason\":\"load\"}"));
    buf_clear(&out);
    dialect_play(generate, "{\"model\":\"m\",\"keep_alive\":0}", fixture->text, pieces, done, &out);
    assert_true(has(&out, "\"response\":\"\",\"done\":true,\"done_reason\":\"unload\"}"));
    buf_clear(&out);
    dialect_play(chat, "{\"model\":\"m\",\"messages\":[]}", fixture->text, pieces, done, &out);
    assert_true(has(&out, "\"content\":\"\"},\"done\":true,\"done_reason\":\"load\"}"));
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies),          cmocka_unit_test(calls),
        cmocka_unit_test(loads),           cmocka_unit_test(refused_bodies),
        cmocka_unit_test(memory_runs_out), cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests(tests, dialect_fixture_open, dialect_fixture_close);
}
