/* The examples of the standard (WHATWG HTML, 9.2.6), each at every split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "toolkit/sse.h"

static void collect(void *arg, struct str data)
{
    struct buf *out = arg;
    buf_add_char(out, '[');
    buf_add(out, data);
    buf_add_char(out, ']');
}

static void examples_at_every_split(void **state)
{
    static const struct {
        const char *text, *events;
    } cases[] = {
        {"data: This is the first message.\n\ndata: This is the second message, it\ndata: has two "
         "lines.\n\ndata: This is the third message.\n\n",
         "[This is the first message.][This is the second message, it\nhas two lines.][This is the "
         "third message.]"},
        {"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n", "[73857293][2153]"},
        {"data: YHOO\ndata: +2\ndata: 10\n\n", "[YHOO\n+2\n10]"},
        {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third "
         "event\n\n",
         "[first event][second event][ third event]"},
        {"data\n\ndata\ndata\n\ndata:", "[][\n]"},
        {"data:test\r\n\r\ndata: test\r\rdata: x\n\r\n", "[test][test][x]"},
        {"data: not ended\n", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str text = str_of(cases[i].text);
        for (size_t split = 0; split <= text.len; split++) {
            struct buf out = {0};
            struct toolkit_sse sse = {.event = collect, .arg = &out};
            assert_true(toolkit_sse_feed(&sse, str_slice(text, 0, split)));
            assert_true(toolkit_sse_feed(&sse, str_slice(text, split, text.len)));
            buf_add_char(&out, 0);
            assert_string_equal(out.ptr, cases[i].events);
            buf_deinit(&out);
            toolkit_sse_deinit(&sse);
        }
    }
}

static void a_line_without_end(void **state)
{
    static char bytes[1 << 20];
    struct buf out = {0};
    struct toolkit_sse sse = {.event = collect, .arg = &out};
    bool ok = true;
    (void)state;
    for (int i = 0; ok && i < 20; i++) {
        ok = toolkit_sse_feed(&sse, (struct str){bytes, sizeof bytes});
    }
    assert_false(ok);
    toolkit_sse_deinit(&sse);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_at_every_split),
        cmocka_unit_test(a_line_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
