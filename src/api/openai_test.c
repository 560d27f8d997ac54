/* The dialect without a server: bodies in, requests out; events in, frames out. A small model of
 * others (stories260K) lends its vocabulary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "api/openai.h"
#include "base/json.h"
#include "base/mem.h"

static const char model_path[] = TEST_DATA "/models/stories260K.gguf";

/* ---- bodies ---- */

static void parses(const struct api_dialect *dialect, const char *body, struct gen_request *out)
{
    struct err err = {0};
    if (!dialect->parse(out, str_of(body), &err)) {
        fail_msg("%s: %s (%s)", body, err.text, err.param);
    }
}

static void refuses(const struct api_dialect *dialect, const char *body, enum err_code code,
                    const char *param)
{
    struct gen_request request;
    struct err err = {0};
    bool ok = dialect->parse(&request, str_of(body), &err);
    if (ok || err.code != code || strcmp(err.param, param) != 0) {
        fail_msg("%s: %s %s (%s)", body, ok ? "accepted" : err_info(err.code)->name, err.text,
                 err.param);
    }
    api_request_deinit(&request);
}

static void a_chat_body(void **state)
{
    struct gen_request request;
    struct buf messages = {0};
    (void)state;
    parses(&api_openai_chat,
           "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"a\"},"
           "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"b\"},"
           "{\"type\":\"text\",\"text\":\"c\"}],\"name\":\"ann\"},"
           "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"type\":"
           "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}],\"refusal\":null},"
           "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"d\"}],"
           "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"n\":2,\"stop\":[\"x\"],"
           "\"max_completion_tokens\":9223372036854775807,\"temperature\":0.5,\"seed\":-1,"
           "\"logprobs\":true,\"top_logprobs\":5,\"logit_bias\":{\"7\":-100},\"top_k\":40,"
           "\"user\":\"u\"}",
           &request);
    json_write(&messages, request.messages);
    assert_string_equal(
        messages.ptr,
        "[{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\\nc\","
        "\"name\":\"ann\"},{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}],\"content\":null},"
        "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"d\"}]");
    assert_true(request.stream && request.include_usage && request.wants_logprobs);
    assert_int_equal(api_request_choices(&request), 2);
    assert_true(request.has_max_tokens && request.max_tokens == UINT32_MAX);
    assert_true(request.sampling.temperature == 0.5f && request.sampling.seed == UINT64_MAX);
    assert_int_equal(request.sampling.top_k, 40);
    assert_int_equal(request.sampling.bias_count, 1);
    assert_int_equal(request.sampling.biases[0].id, 7);
    assert_int_equal(request.stop_count, 1);
    assert_true(str_eq(request.user, STR("u")));
    buf_deinit(&messages);
    api_request_deinit(&request);
}

#define CHAT "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

#define TOOL(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}"

static void refused_chat_bodies(void **state)
{
    const struct api_dialect *chat = &api_openai_chat;
    (void)state;
    refuses(chat, "", ERR_JSON, "");
    refuses(chat, "[]", ERR_TYPE, "");
    refuses(chat, CHAT ",}", ERR_JSON, "");
    refuses(chat, "{}", ERR_MISSING, "messages");
    refuses(chat, CHAT ",\"x\\u001b\":1}", ERR_UNKNOWN, "x\\x1b");
    refuses(chat, CHAT ",\"temperature\":\"1\"}", ERR_TYPE, "temperature");
    refuses(chat, CHAT ",\"temperature\":2.5}", ERR_INVALID, "temperature");
    refuses(chat, CHAT ",\"n\":1.0}", ERR_TYPE, "n");
    refuses(chat, CHAT ",\"tools\":[{}]}", ERR_MISSING, "tools[0].type");
    refuses(chat, CHAT ",\"tools\":[" TOOL("a b") "]}", ERR_INVALID, "tools[0].function.name");
    refuses(chat, CHAT ",\"tools\":[" TOOL("f") "," TOOL("f") "]}", ERR_INVALID,
            "tools[1].function.name");
    refuses(chat, CHAT ",\"tool_choice\":\"required\"}", ERR_INVALID, "tool_choice");
    refuses(chat, CHAT ",\"tool_choice\":\"some\"}", ERR_INVALID, "tool_choice");
    refuses(chat,
            CHAT ",\"tools\":[" TOOL(
                "f") "],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}}",
            ERR_INVALID, "tool_choice");
    refuses(chat, CHAT ",\"grammar\":\"root ::= \\\"a\\\"\",\"regex\":\"a\"}", ERR_INVALID,
            "regex");
    refuses(chat, CHAT ",\"reasoning_effort\":\"huge\"}", ERR_INVALID, "reasoning_effort");
    refuses(chat, CHAT ",\"stop\":[\"a\",\"\"]}", ERR_INVALID, "stop[1]");
    refuses(chat, CHAT ",\"logit_bias\":{\"1\":null}}", ERR_TYPE, "logit_bias");
    refuses(chat, CHAT ",\"stream_options\":{\"include_usage\":true}}", ERR_INVALID,
            "stream_options");
    refuses(chat, CHAT ",\"max_tokens\":1,\"max_completion_tokens\":2}", ERR_INVALID,
            "max_completion_tokens");
    refuses(chat, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[1]}]}", ERR_TYPE,
            "messages[0].content[0]");
    refuses(chat, "{\"model\":\"m\",\"messages\":[{\"role\":\"\",\"content\":\"\"}]}", ERR_INVALID,
            "messages[0].role");
}

static void completion_bodies(void **state)
{
    const struct api_dialect *text = &api_openai_completions;
    struct gen_request request;
    (void)state;
    parses(text, "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"],\"n\":3,\"logprobs\":0}", &request);
    assert_int_equal(request.prompt_count, 2);
    assert_int_equal(api_request_choices(&request), 6);
    assert_int_equal(request.max_tokens, 16);
    assert_true(request.wants_logprobs && request.top_logprobs == 0);
    api_request_deinit(&request);
    parses(text, "{\"model\":\"m\",\"prompt\":[[1,2],[3]]}", &request);
    assert_true(request.prompts[0].is_ids && request.prompts[0].ids.count == 2);
    api_request_deinit(&request);
    refuses(text, "{\"model\":\"m\",\"prompt\":[1,\"a\"]}", ERR_TYPE, "prompt[1]");
    refuses(text, "{\"model\":\"m\",\"prompt\":[[1],\"a\"]}", ERR_TYPE, "prompt[1]");
    refuses(text, "{\"model\":\"m\",\"prompt\":[[1],[-1]]}", ERR_INVALID, "prompt[1][0]");
    refuses(text, "{\"model\":\"m\",\"prompt\":\"a\",\"best_of\":2,\"n\":3}", ERR_INVALID,
            "best_of");
    refuses(text, "{\"model\":\"m\",\"prompt\":\"a\",\"messages\":1}", ERR_UNKNOWN, "messages");
}

/* Every allocation of ours fails once; nothing leaks (ASan) and the error says so. */
static void memory_runs_out_while_parsing(void **state)
{
    (void)state;
    for (long after = 0; after < 20; after++) {
        struct gen_request request;
        struct err err = {0};
        mem_fail_after(after);
        bool ok = api_openai_chat.parse(
            &request,
            STR(CHAT
                ",\"stop\":[\"a\",\"b\"],\"logit_bias\":{\"1\":1},\"banned_strings\":[\"q\"]}"),
            &err);
        mem_fail_after(-1);
        assert_true(ok || err.code == ERR_MEMORY);
        api_request_deinit(&request);
    }
}

/* ---- answers ---- */

struct fixture {
    struct gguf *gguf;
    struct text *text;
};

static int open_fixture(void **state)
{
    static struct fixture fixture;
    struct err err = {0};
    fixture.gguf = gguf_open(model_path, &err);
    fixture.text = fixture.gguf ? text_open(fixture.gguf, &err) : NULL;
    *state = &fixture;
    return fixture.text ? 0 : -1;
}

static int close_fixture(void **state)
{
    struct fixture *fixture = *state;
    text_close(fixture->text);
    gguf_close(fixture->gguf);
    return 0;
}

static void send(const struct api_dialect *dialect, struct api_render *render, size_t choice,
                 struct engine_event event, const char *text, struct buf *out)
{
    buf_add_text(&event.text, text);
    struct gen_event told;
    api_render_collect(render, choice, &event, &told);
    if (render->request->stream) {
        dialect->event(render, choice, &told, out);
    }
    buf_deinit(&event.text);
}

/* Two choices through a dialect; the fields that change from run to run are fixed. */
static void play(const struct api_dialect *dialect, const char *body, const struct text *text,
                 struct engine_token *tokens, struct buf *out)
{
    struct gen_request request;
    struct api_render render;
    struct err err = {0};
    size_t with_tokens = tokens ? 1 : 0;
    parses(dialect, body, &request);
    assert_true(api_render_init(&render, dialect, &request, text, STR("m\"x"), STR("f"), &err));
    snprintf(render.id, sizeof render.id, "ID");
    snprintf(render.fingerprint, sizeof render.fingerprint, "FP");
    render.created_s = 1;
    if (request.stream) {
        dialect->begin(&render, out);
    }
    struct engine_event piece = {.kind = ENGINE_EVENT_TOKENS, .token_count = 1, .tokens = tokens};
    struct engine_event none = {.kind = ENGINE_EVENT_TOKENS, .token_count = 1 - with_tokens};
    struct engine_event done = {.kind = ENGINE_EVENT_DONE,
                                .finish = ENGINE_LENGTH,
                                .prompt_tokens = 5,
                                .completion_tokens = 2,
                                .cached_tokens = 1};
    send(dialect, &render, 0, piece, "a\xff\n", out);
    send(dialect, &render, 1, none, "", out);
    send(dialect, &render, 1, done, "", out);
    assert_false(api_render_is_done(&render));
    done.finish = ENGINE_STOP;
    send(dialect, &render, 0, done, "", out);
    assert_true(api_render_is_done(&render));
    if (request.stream) {
        dialect->end(&render, out);
    } else {
        dialect->whole(&render, out);
    }
    assert_false(out->failed || render.failed);
    api_render_deinit(&render);
    api_request_deinit(&request);
}

#define HEAD(object)                                                                               \
    "{\"id\":\"ID\",\"object\":\"" object "\",\"created\":1,\"model\":\"m\\\"x\","                 \
    "\"system_fingerprint\":\"FP\""
#define USAGE                                                                                      \
    ",\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":4,\"total_tokens\":9,"                  \
    "\"prompt_tokens_details\":{\"cached_tokens\":1},"                                             \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0}}"
#define TIMINGS                                                                                    \
    ",\"timings\":{\"cache_n\":1,\"prompt_n\":4,\"predicted_n\":2,\"queue_ms\":0.0,"               \
    "\"prompt_ms\":0.0,\"predicted_ms\":0.0,\"near_miss\":null}"

static void a_chat_in_one_piece(void **state)
{
    struct fixture *fixture = *state;
    struct buf out = {0};
    play(&api_openai_chat, CHAT ",\"n\":2,\"timings\":true}", fixture->text, NULL, &out);
    assert_string_equal(
        out.ptr,
        HEAD("chat.completion") ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                                "\"content\":\"a\xef\xbf\xbd\\n\",\"refusal\":null},"
                                "\"logprobs\":null,\"finish_reason\":\"stop\"},{\"index\":1,"
                                "\"message\":{\"role\":\"assistant\",\"content\":\"\","
                                "\"refusal\":null},\"logprobs\":null,\"finish_reason\":"
                                "\"length\"}]" USAGE TIMINGS ",\"service_tier\":\"default\"}");
    buf_deinit(&out);
}

#define CHUNK(choices) "data: " HEAD("chat.completion.chunk") ",\"choices\":[" choices "]"

static void a_chat_as_a_stream(void **state)
{
    struct fixture *fixture = *state;
    struct buf out = {0};
    play(&api_openai_chat,
         CHAT ",\"n\":2,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
         fixture->text, NULL, &out);
    assert_string_equal(
        out.ptr,
        CHUNK(
            "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
            "\"logprobs\":null,\"finish_reason\":null}") ",\"usage\":null}\n\n" CHUNK("{\"index\":"
                                                                                      "1,\"delta\":"
                                                                                      "{\"role\":"
                                                                                      "\"assistant"
                                                                                      "\","
                                                                                      "\"content\":"
                                                                                      "\"\","
                                                                                      "\"refusal\":"
                                                                                      "null},"
                                                                                      "\"logprobs\""
                                                                                      ":null,"
                                                                                      "\"finish_"
                                                                                      "reason\":"
                                                                                      "null}") ",\""
                                                                                               "usa"
                                                                                               "ge"
                                                                                               "\":"
                                                                                               "nul"
                                                                                               "l}"
                                                                                               "\n"
                                                                                               "\n" CHUNK(
                                                                                                   "{\"index\":0,\"delta\":{\"content\":\"a\xef\xbf\xbd\\n\"},\"logprobs\":null,"
                                                                                                   "\"finish_reason\":null}") ",\"usage\":null}\n\n" CHUNK("{\"index\":1,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}") ",\"usage\":null}\n\n" CHUNK("{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}") ",\"usage\":null}\n\n" CHUNK("")
                                                                                                   USAGE
        "}\n\n"
        "data: [DONE]\n\n");
    buf_deinit(&out);
}

static void log_probabilities(void **state)
{
    struct fixture *fixture = *state;
    struct engine_token token = {
        .chosen = {.id = 3 + 'a', .logprob = -0.5f},
        .top = {{.id = 3 + 'a', .logprob = -0.5f}, {.id = 3 + 0xc3, .logprob = -INFINITY}},
        .top_count = 2}; /* byte tokens of SentencePiece: <0x61>, <0xC3> */
    struct buf out = {0};
    play(&api_openai_chat, CHAT ",\"n\":2,\"logprobs\":true,\"top_logprobs\":2}", fixture->text,
         &token, &out);
    assert_non_null(
        strstr(out.ptr, "\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":"
                        "[97],\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97]}"
                        ",{\"token\":\"\xef\xbf\xbd\",\"logprob\":-9999.0,\"bytes\":[195]}]}],"
                        "\"refusal\":null}"));
    buf_deinit(&out);
    token.chosen.logprob = NAN; /* the first token of an echoed prompt */
    play(&api_openai_completions, "{\"model\":\"m\",\"prompt\":\"q\",\"n\":2,\"logprobs\":2}",
         fixture->text, &token, &out);
    assert_non_null(strstr(out.ptr, "\"logprobs\":{\"tokens\":[\"a\"],\"token_logprobs\":[null],"
                                    "\"top_logprobs\":[null],\"text_offset\":[0]}"));
    buf_deinit(&out);
}

static void completions_and_echo(void **state)
{
    struct fixture *fixture = *state;
    struct buf out = {0};
    play(&api_openai_completions, "{\"model\":\"m\",\"prompt\":\"q\",\"n\":2,\"echo\":true}",
         fixture->text, NULL, &out);
    assert_string_equal(out.ptr,
                        HEAD("text_completion") ",\"choices\":[{\"index\":0,\"text\":"
                                                "\"qa\xef\xbf\xbd\\n\",\"logprobs\":null,"
                                                "\"finish_reason\":\"stop\"},{\"index\":1,"
                                                "\"text\":\"q\",\"logprobs\":null,"
                                                "\"finish_reason\":\"length\"}]" USAGE "}");
    buf_deinit(&out);
}

static void errors(void **state)
{
    struct err failure;
    struct buf out = {0};
    (void)state;
    err_set_param(&failure, ERR_INVALID, "messages[0].role", "bad \"role\"");
    api_openai_error(&failure, &out);
    assert_string_equal(out.ptr,
                        "{\"error\":{\"message\":\"bad \\\"role\\\"\",\"type\":"
                        "\"invalid_request_error\",\"param\":\"messages[0].role\",\"code\":"
                        "\"invalid_value\"}}");
    buf_clear(&out);
    err_set(&failure, ERR_USAGE, "x");
    api_openai_error(&failure, &out);
    assert_string_equal(out.ptr, "{\"error\":{\"message\":\"x\",\"type\":\"invalid_request_error\","
                                 "\"param\":null,\"code\":null}}");
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_body),
        cmocka_unit_test(refused_chat_bodies),
        cmocka_unit_test(completion_bodies),
        cmocka_unit_test(memory_runs_out_while_parsing),
        cmocka_unit_test(a_chat_in_one_piece),
        cmocka_unit_test(a_chat_as_a_stream),
        cmocka_unit_test(log_probabilities),
        cmocka_unit_test(completions_and_echo),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
