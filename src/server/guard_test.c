/* The guard against RFC 9112: what must pass, unchanged, and what must be refused, with which
 * status; each fed whole, byte by byte, and split in two at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/guard.h"

#define GET         "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST        "POST /x HTTP/1.1\r\nHost: a\r\n"
#define REFUSED_GET "GET /.refused HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

static void feed_split(struct str in, size_t first, struct server_guard *guard, struct buf *out)
{
    server_guard_feed(guard, str_slice(in, 0, first), out);
    server_guard_feed(guard, str_slice(in, first, in.len), out);
}

/* Feeds `in` in all ways and expects `out`, `status` and `requests`. */
static void expect(struct str in, struct str out, int status, uint32_t requests)
{
    for (size_t split = 0; split <= in.len + 1; split++) {
        struct server_guard guard = {0};
        struct buf got = {0};
        if (split <= in.len) {
            feed_split(in, split, &guard, &got);
        } else {
            for (size_t i = 0; i < in.len; i++) {
                server_guard_feed(&guard, str_slice(in, i, i + 1), &got);
            }
        }
        assert_int_equal(guard.status, status);
        assert_int_equal(guard.requests, requests);
        assert_int_equal(got.len, out.len);
        assert_true(str_eq(buf_view(&got), out));
        buf_deinit(&got);
        server_guard_deinit(&guard);
    }
}

static void passes(struct str in, uint32_t requests)
{
    expect(in, in, 0, requests);
}

static void refuses(struct str in, int status)
{
    expect(in, STR(REFUSED_GET), status, 1);
}

static void well_formed_requests_pass(void **state)
{
    (void)state;
    passes(STR(GET "\r\n"), 1);
    passes(STR("GET / HTTP/1.0\r\n\r\n"), 1);
    passes(STR(GET "X: \t caf\xc3\xa9 \r\nEmpty:\r\n\r\n"), 1);
    passes(STR(POST "Content-Length: 5\r\n\r\nab\r\n\0" GET "\r\n"), 2);
    passes(STR(POST "Content-Length: 0\r\n\r\n" GET "\r\n" GET "\r\n"), 3);
    passes(STR(POST "content-length:3\r\nExpect: 100-Continue\r\n\r\nabc"), 1);
    passes(STR("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), 1);
    passes(STR(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" GET "\r\n"), 2);
    expect(STR("\r\n\r\n" GET "\r\n"), STR(GET "\r\n"), 0, 1);
}

static void chunks_are_written_anew(void **state)
{
    (void)state;
    expect(STR(POST "Transfer-Encoding: Chunked\r\n\r\n"
                    "003;a=b;c=\"d\"\r\nabc\r\nA \r\n0123456789\r\n00\r\nTrailer: x\r\n\r\n"),
           STR(POST "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n"),
           0, 1);
}

static void ambiguous_framing_is_refused(void **state)
{
    (void)state;
    refuses(STR(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
    refuses(STR(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"), 400);
    refuses(STR(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde"), 400);
    refuses(STR(POST "Content-Length: 5, 5\r\n\r\nabcde"), 400);
    refuses(STR(POST "Content-Length : 5\r\n\r\nabcde"), 400);
    refuses(STR(POST "Content-Length: -5\r\n\r\nabcde"), 400);
    refuses(STR(POST "Content-Length: +5\r\n\r\nabcde"), 400);
    refuses(STR(POST "Content-Length: 0x5\r\n\r\nabcde"), 400);
    refuses(STR(POST "Content-Length:\r\n\r\n"), 400);
    refuses(STR(POST "Content-Length: 18446744073709551616\r\n\r\n"), 400);
    refuses(STR(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501);
    refuses(STR(POST "Transfer-Encoding: xchunked\r\n\r\n"), 501);
    refuses(STR(POST "Transfer-Encoding: identity\r\n\r\n"), 501);
    refuses(STR(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    refuses(STR("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

static void malformed_heads_are_refused(void **state)
{
    (void)state;
    refuses(STR("GET / HTTP/1.1\nHost: a\n\n"), 400);
    refuses(STR("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400);
    refuses(STR("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"), 400);
    refuses(STR(GET "X: a\0b\r\n\r\n"), 400);
    refuses(STR("GET /\0 HTTP/1.1\r\n\r\n"), 400);
    refuses(STR(GET "X: a\x01\r\n\r\n"), 400);
    refuses(STR(GET "X: a\r\n folded\r\n\r\n"), 400);
    refuses(STR(GET "no colon\r\n\r\n"), 400);
    refuses(STR(GET ": no name\r\n\r\n"), 400);
    refuses(STR(GET "b@d: x\r\n\r\n"), 400);
    refuses(STR("GET / HTTP/1.1\r\n\r\n"), 400);
    refuses(STR(GET "Host: b\r\n\r\n"), 400);
    refuses(STR(GET "Origin: a\r\norigin: b\r\n\r\n"), 400);
    refuses(STR("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    refuses(STR("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    refuses(STR("GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    refuses(STR("GET /\r\n\r\n"), 400);
    refuses(STR("G(T / HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    refuses(STR("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
    refuses(STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    refuses(STR("\x16\x03\x01\x02\x00\x01"), 400);
    refuses(STR(POST "Expect: everything\r\n\r\n"), 417);
}

static void refusals_take_their_turn(void **state)
{
    (void)state;
    expect(STR(GET "\r\n" POST "Content-Length: x\r\n\r\nabc" GET "\r\n"),
           STR(GET "\r\n" REFUSED_GET), 400, 2);
}

/* The body ends, so that the parser behind hands the request over and the refusal is its answer. */
static void malformed_chunks_end_the_body(void **state)
{
    (void)state;
#define HEAD POST "Transfer-Encoding: chunked\r\n\r\n"
    expect(STR(HEAD "xyz\r\n"), STR(HEAD "0\r\n\r\n"), 400, 1);
    expect(STR(HEAD "-1\r\n"), STR(HEAD "0\r\n\r\n"), 400, 1);
    expect(STR(HEAD "\r\n"), STR(HEAD "0\r\n\r\n"), 400, 1);
    expect(STR(HEAD "3\nabc"), STR(HEAD "0\r\n\r\n"), 400, 1);
    expect(STR(HEAD "1000000000000000\r\n"), STR(HEAD "0\r\n\r\n"), 400, 1);
    expect(STR(HEAD "3\r\nabcd\r\n"), STR(HEAD "3\r\nabc\r\n0\r\n\r\n"), 400, 1);
    expect(STR(HEAD "0\r\nbad\n"), STR(HEAD "0\r\n\r\n"), 400, 1);
#undef HEAD
}

/* Feeds `count` copies of `piece` behind `head`; the status of the refusal. */
static int flood(const char *head, const char *piece, size_t count)
{
    struct server_guard guard = {0};
    struct buf out = {0};
    server_guard_feed(&guard, str_of(head), &out);
    for (size_t i = 0; i < count && guard.status == 0; i++) {
        server_guard_feed(&guard, str_of(piece), &out);
        assert_true(guard.line.len <= SERVER_HEAD_BYTES_MAX);
    }
    int status = guard.status;
    buf_deinit(&out);
    server_guard_deinit(&guard);
    return status;
}

static void floods_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(flood(GET, "x: y\r\n", 90), 0);
    assert_int_equal(flood(GET, "x: y\r\n", 100000), 431);
    assert_int_equal(flood(GET "x: ", "yyyyyyyyyyyyyyyy", 1 << 20), 431);
    assert_int_equal(flood("GET /", "yyyyyyyyyyyyyyyy", 1 << 20), 431);
    assert_int_equal(flood(POST "Transfer-Encoding: chunked\r\n\r\n1;", "eeeeeeee", 1 << 20), 400);
    assert_int_equal(flood(POST "Transfer-Encoding: chunked\r\n\r\n0\r\n", "T: t\r\n", 1 << 20),
                     400);
    assert_int_equal(flood("", "\r\n", 1000), 0);
    struct server_guard guard = {0};
    struct buf out = {0}, head = {0};
    buf_add_text(&head, "GET /");
    for (int i = 0; i < 9000; i++) {
        buf_add_char(&head, 'p');
    }
    buf_add_text(&head, " HTTP/1.1\r\nHost: a\r\n\r\n");
    server_guard_feed(&guard, buf_view(&head), &out);
    assert_int_equal(guard.status, 414);
    buf_deinit(&out);
    buf_deinit(&head);
    server_guard_deinit(&guard);
}

static void many_headers_are_refused(void **state)
{
    struct server_guard guard = {0};
    struct buf out = {0}, head = {0};
    (void)state;
    buf_add_text(&head, GET);
    for (int i = 0; i < SERVER_HEADERS_MAX; i++) {
        buf_add_text(&head, "a:\r\n");
    }
    buf_add_text(&head, "\r\n");
    server_guard_feed(&guard, buf_view(&head), &out);
    assert_int_equal(guard.status, 431);
    buf_deinit(&out);
    buf_deinit(&head);
    server_guard_deinit(&guard);
}

static void phases_are_told(void **state)
{
    struct server_guard guard = {0};
    struct buf out = {0};
    (void)state;
    assert_int_equal(server_guard_phase(&guard), SERVER_GUARD_IDLE);
    server_guard_feed(&guard, STR("P"), &out);
    assert_int_equal(server_guard_phase(&guard), SERVER_GUARD_HEAD);
    server_guard_feed(&guard, STR("OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na"), &out);
    assert_int_equal(server_guard_phase(&guard), SERVER_GUARD_BODY);
    server_guard_feed(&guard, STR("b"), &out);
    assert_int_equal(server_guard_phase(&guard), SERVER_GUARD_IDLE);
    server_guard_feed(&guard, STR("\n"), &out);
    assert_int_equal(server_guard_phase(&guard), SERVER_GUARD_REFUSED);
    buf_deinit(&out);
    server_guard_deinit(&guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_requests_pass),
        cmocka_unit_test(chunks_are_written_anew),
        cmocka_unit_test(ambiguous_framing_is_refused),
        cmocka_unit_test(malformed_heads_are_refused),
        cmocka_unit_test(refusals_take_their_turn),
        cmocka_unit_test(malformed_chunks_end_the_body),
        cmocka_unit_test(floods_are_bounded),
        cmocka_unit_test(many_headers_are_refused),
        cmocka_unit_test(phases_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
