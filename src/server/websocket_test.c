/* The pure parts of the handshake; connections are in tests/e2e/ws.test.mjs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "server/websocket.h"

/* RFC 6455, 1.3 */
static void the_answer_to_a_key(void **state)
{
    char accept[29];
    (void)state;
    server_websocket_accept(STR("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/* RFC 4648, 10, and the two letters that base64url has of its own (its table 2). */
static void keys_in_base64url(void **state)
{
    static const struct {
        const char *text, *key;
    } cases[] = {
        {"Zg", "f"},          {"Zm8", "fo"},          {"Zm9v", "foo"},         {"Zm9vYg", "foob"},
        {"Zm9vYmE", "fooba"}, {"Zm9vYmFy", "foobar"}, {"-_-_", "\xfb\xff\xbf"}};
    static const char *const bad[] = {"", "Z", "Zg==", "Zm+v", "Zm/v", "Zm 9", "AAAA"};
    char out[10];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(server_websocket_decode_key(str_of(cases[i].text), out, sizeof out));
        assert_string_equal(out, cases[i].key);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(server_websocket_decode_key(str_of(bad[i]), out, sizeof out));
    }
    assert_true(server_websocket_decode_key(STR("Zm9vZm9vZm9v"), out, 10)); /* 9 bytes and NUL */
    assert_false(server_websocket_decode_key(STR("Zm9vZm9vZm9v"), out, 9));
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_answer_to_a_key),
        cmocka_unit_test(keys_in_base64url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
