/* The log of a response: every reader is told the same events, from wherever it begins, also from
 * what was stored; and what is read and written of files and batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/files.h"
#include "api/responses.h"
#include "base/json.h"

/* Reasoning, a message in three pieces, two calls. */
static void fill(struct api_responses_log *log)
{
    *log = (struct api_responses_log){
        .base = json_pack("{s:s,s:s,s:s}", "id", "resp_1", "object", "response", "model", "m"),
        .status = RESPONSES_RUNNING};
    api_responses_log_open(log, RESPONSES_REASONING);
    api_responses_log_add(log, STR("hm\n"));
    api_responses_log_delta(log);
    api_responses_log_open(log, RESPONSES_MESSAGE);
    static const char *const pieces[] = {"a", "\"\xe2\x82\xac", ""};
    for (size_t i = 0; i < 3; i++) {
        api_responses_log_add(log, str_of(pieces[i]));
        api_responses_log_logprob(log, STR("{\"logprob\":-0.5}"));
        api_responses_log_delta(log);
    }
    struct api_responses_item *call = api_responses_log_open(log, RESPONSES_FUNCTION);
    assert_non_null(call);
    buf_add_text(&call->call_id, "call_1");
    buf_add_text(&call->name, "f");
    api_responses_log_add(log, STR("{}"));
    api_responses_log_delta(log);
    call = api_responses_log_open(log, RESPONSES_LOCAL_SHELL);
    assert_non_null(call);
    buf_add_text(&call->call_id, "call_2");
    api_responses_log_add(log, STR("{\"command\":[\"ls\"]}"));
    api_responses_log_delta(log);
    log->usage = (struct api_usage){.prompt_tokens = 3, .completion_tokens = 2};
    log->has_usage = true;
    api_responses_log_end(log, RESPONSES_COMPLETED);
    assert_false(log->failed);
}

static void tell(const struct api_responses_log *log, int64_t after, size_t bytes_max,
                 struct buf *out)
{
    struct api_responses_cursor cursor = {0};
    while (!cursor.has_ended) {
        struct buf piece = {0};
        api_responses_log_events(log, &cursor, after, bytes_max, &piece);
        assert_false(piece.failed);
        buf_add(out, buf_view(&piece));
        buf_deinit(&piece);
    }
}

static void any_reader_is_told_the_same(void **state)
{
    struct api_responses_log log;
    struct buf all = {0};
    (void)state;
    fill(&log);
    tell(&log, -1, SIZE_MAX, &all);
    struct str rest = buf_view(&all);
    for (int64_t after = 0; rest.len; after++) {
        struct buf some = {0};
        size_t end = str_find(rest, STR("\n\n"), 0);
        char number[48];
        snprintf(number, sizeof number, "\"sequence_number\":%lld", (long long)after);
        assert_true(str_find(str_slice(rest, 0, end), str_of(number), 0) != SIZE_MAX);
        rest = str_slice(rest, end + 2, rest.len);
        tell(&log, after, 1, &some); /* one event at a time */
        assert_true(str_eq(buf_view(&some), rest));
        buf_deinit(&some);
    }
    buf_deinit(&all);
    api_responses_log_deinit(&log);
}

static void what_is_stored_is_told_the_same(void **state)
{
    struct api_responses_log log, restored;
    struct buf first = {0}, second = {0}, body = {0}, marks = {0};
    struct err err = {0};
    (void)state;
    fill(&log);
    json_t *object = api_responses_log_object(&log);
    json_write(&body, object);
    json_decref(object);
    buf_add_char(&marks, '[');
    for (size_t i = 0; i < log.mark_count; i++) {
        buf_add_format(&marks, "%s%u,%u,%u,%u", i ? "," : "", log.marks[i].item,
                       (unsigned)log.marks[i].step, log.marks[i].text_end,
                       log.marks[i].logprob_end);
    }
    buf_add_char(&marks, ']');
    struct store_object stored = {.body = buf_view(&body), .content = buf_view(&marks)};
    assert_true(api_responses_restore(&stored, &restored, &err));
    tell(&log, -1, SIZE_MAX, &first);
    tell(&restored, -1, SIZE_MAX, &second);
    assert_string_equal(first.ptr, second.ptr);
    api_responses_log_deinit(&restored);
    static const char *const damaged[] = {"[9,0,0,0]", "[0,7,0,0]",         "[0,1,99,0]",
                                          "[0,1,0,9]", "[0,1,2,0,0,1,1,0]", "[-1,0,0,0]",
                                          "x"};
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        stored.content = str_of(damaged[i]);
        assert_false(api_responses_restore(&stored, &restored, &err));
        api_responses_log_deinit(&restored);
    }
    buf_deinit(&first);
    buf_deinit(&second);
    buf_deinit(&body);
    buf_deinit(&marks);
    api_responses_log_deinit(&log);
}

static void items_become_messages(void **state)
{
    static const char text[] =
        "[{\"role\":\"user\",\"content\":\"a\"},"
        "{\"type\":\"reasoning\",\"summary\":[],\"encrypted_content\":\"hearth1:aG0=\"},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"b\"}]},"
        "{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"1\",\"output\":\"c\"}]";
    struct err err = {0};
    struct buf out = {0};
    json_t *given = json_parse(str_of(text), NULL, &err), *items = json_array();
    json_t *messages = json_array();
    (void)state;
    assert_true(api_responses_read_items(given, "input", items, &err));
    assert_true(api_responses_add_messages(items, messages, &err));
    json_write(&out, messages);
    assert_string_equal(
        out.ptr, "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\","
                 "\"reasoning_content\":\"hm\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\","
                 "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
                 "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"c\"}]");
    buf_deinit(&out);
    json_decref(given);
    json_decref(items);
    json_decref(messages);
}

static void parts_of_a_form(void **state)
{
    struct api_part_field parts[2];
    struct err err = {0};
    size_t count;
    (void)state;
    assert_true(api_multipart_read(
        STR("multipart/form-data; boundary=\"x y\""),
        STR("--x y\r\ncontent-disposition: form-data; name=\"a\"; filename=\"b;c\"\r\n"
            "Content-Type: text/plain\r\n\r\n\r\n--x\r\n\r\n--x y\r\n"
            "Content-Disposition: form-data; name=d\r\n\r\n\r\n--x y--\r\n"),
        parts, 2, &count, &err));
    assert_int_equal(count, 2);
    assert_true(str_eq(parts[0].name, STR("a")) && str_eq(parts[0].file_name, STR("b;c")));
    assert_true(str_eq(parts[0].content, STR("\r\n--x\r\n")));
    assert_true(str_eq(parts[1].name, STR("d")) && parts[1].content.len == 0);
    assert_false(api_multipart_read(STR("text/plain"), STR(""), parts, 2, &count, &err));
    assert_int_equal(err.code, ERR_MEDIA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_reader_is_told_the_same),
        cmocka_unit_test(what_is_stored_is_told_the_same),
        cmocka_unit_test(items_become_messages),
        cmocka_unit_test(parts_of_a_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
