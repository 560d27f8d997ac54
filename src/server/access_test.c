#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "server/access.h"

static struct server_access *make(const char *listen, const struct str *keys, size_t key_count)
{
    static const struct str origins[] = {{"https://app.example", 19}, {"file://", 7}};
    static const struct str hosts[] = {{"llm.example", 11}};
    struct server_address address;
    struct err err = {0};
    assert_true(server_address_parse(str_of(listen), &address, &err));
    struct server_access_params params = {.keys = keys,
                                          .key_count = key_count,
                                          .origins = origins,
                                          .origin_count = 2,
                                          .hosts = hosts,
                                          .host_count = 1,
                                          .listens = &address,
                                          .listen_count = 1};
    struct server_access *access = server_access_create(&params, &err);
    assert_non_null(access);
    return access;
}

static void keys(void **state)
{
    static const struct str list[] = {{"alpha", 5}, {"beta", 4}};
    static const struct {
        const char *authorization, *api_key;
        bool fits;
    } cases[] = {
        {"Bearer alpha", "", true},
        {"bearer  beta ", "", true},
        {"", "beta", true},
        {"Bearer wrong", "beta", true},
        {"", "", false},
        {"Bearer", "", false},
        {"Bearer ", "", false},
        {"alpha", "", false},
        {"Bearer alphabeta", "", false},
        {"Bearer alph", "", false},
        {"Basic alpha", "", false},
        {"", "Bearer alpha", false},
        {"Bearer ALPHA", "", false},
    };
    struct server_access *access = make("127.0.0.1:0", list, 2);
    struct err err;
    (void)state;
    assert_true(server_access_has_keys(access));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err = (struct err){0};
        assert_int_equal(server_access_key(access, str_of(cases[i].authorization),
                                           str_of(cases[i].api_key), &err),
                         cases[i].fits);
        assert_int_equal(err.code, cases[i].fits ? ERR_NONE : ERR_AUTH);
    }
    server_access_destroy(access);
    access = make("127.0.0.1:0", NULL, 0);
    assert_true(server_access_key(access, STR(""), STR(""), &err));
    server_access_destroy(access);
}

static void tenants(void **state)
{
    static const struct str list[] = {{"alpha", 5}, {"beta", 4}};
    struct server_access *access = make("127.0.0.1:0", list, 2);
    unsigned char a[SERVER_TENANT_BYTES], b[SERVER_TENANT_BYTES];
    (void)state;
    assert_int_equal(server_access_tenant(access, STR("Bearer alpha"), STR(""), a), sizeof a);
    assert_int_equal(server_access_tenant(access, STR(""), STR("alpha"), b), sizeof b);
    assert_memory_equal(a, b, sizeof a);
    server_access_tenant(access, STR("bearer alpha "), STR("beta"), b);
    assert_memory_equal(a, b, sizeof a);
    server_access_tenant(access, STR("Bearer nonsense"), STR("beta"), b);
    assert_memory_not_equal(a, b, sizeof a);
    server_access_tenant(access, STR("Bearer beta"), STR(""), a);
    assert_memory_equal(a, b, sizeof a);
    server_access_destroy(access);
    access = make("127.0.0.1:0", NULL, 0);
    assert_int_equal(server_access_tenant(access, STR("Bearer alpha"), STR(""), a), 0);
    server_access_destroy(access);
}

static void hosts(void **state)
{
    static const struct {
        const char *host;
        bool loopback, lan, any; /* allowed when bound to 127.0.0.1, 10.0.0.7, 0.0.0.0 */
    } cases[] = {
        {"localhost", true, true, true},
        {"LocalHost:8484", true, true, true},
        {"127.0.0.1", true, true, true},
        {"127.1.2.3:1", true, true, true},
        {"[::1]", true, true, true},
        {"[::1]:80", true, true, true},
        {"[::ffff:127.0.0.1]", true, true, true},
        {"llm.example:443", true, true, true},
        {"10.0.0.7", false, true, true},
        {"10.0.0.8", false, false, true},
        {"[2001:db8::1]:8484", false, false, true},
        {"evil.example", false, false, false},
        {"127.0.0.1.evil.example", false, false, false},
        {"localhost.", false, false, false},
        {"", false, false, false},
        {":8484", false, false, false},
        {"localhost:", true, true, true},
        {"localhost:65536", false, false, false},
        {"localhost:x", false, false, false},
        {"[::1", false, false, false},
        {"::1]", false, false, false},
        {"[::1]x", false, false, false},
        {"2130706433", false, false, false},
        {"0x7f.1", false, false, false},
    };
    static const char *const binds[] = {"127.0.0.1:0", "10.0.0.7:0", "0.0.0.0:0"};
    (void)state;
    for (int bind = 0; bind < 3; bind++) {
        struct server_access *access = make(binds[bind], NULL, 0);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            const bool wanted[] = {cases[i].loopback, cases[i].lan, cases[i].any};
            struct err err = {0};
            if (server_access_host(access, str_of(cases[i].host), &err) != wanted[bind]) {
                fail_msg("host %s on %s", cases[i].host, binds[bind]);
            }
            assert_int_equal(err.code, wanted[bind] ? ERR_NONE : ERR_FORBIDDEN);
        }
        server_access_destroy(access);
    }
}

static void origins(void **state)
{
    static const struct {
        const char *origin;
        bool inference, other; /* allowed on routes that welcome loopback pages, and on others */
    } cases[] = {
        {"http://localhost:3000", true, false},
        {"https://127.0.0.1", true, false},
        {"http://[::1]:1", true, false},
        {"https://app.example", true, true},
        {"file://", true, true},
        {"http://llm.example:8484", true, true}, /* the server's own */
        {"http://llm.example", false, false},
        {"https://app.example:444", false, false},
        {"http://app.example", false, false},
        {"null", false, false},
        {"http://localhost.evil.example", false, false},
        {"http://evil.example/localhost", false, false},
        {"http://localhost@evil.example", false, false},
        {"ftp://localhost", false, false},
        {"localhost", false, false},
        {"http://", false, false},
    };
    struct server_access *access = make("127.0.0.1:0", NULL, 0);
    struct str host = STR("llm.example:8484");
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err;
        struct str origin = str_of(cases[i].origin);
        if (server_access_origin(access, origin, host, true, &err) != cases[i].inference ||
            server_access_origin(access, origin, host, false, &err) != cases[i].other) {
            fail_msg("origin %s", cases[i].origin);
        }
    }
    server_access_destroy(access);
}

static void memory_runs_out(void **state)
{
    struct server_access_params params = {0};
    struct err err = {0};
    (void)state;
    for (long after = 0; after < 2; after++) {
        mem_fail_after(after);
        struct server_access *access = server_access_create(&params, &err);
        mem_fail_after(-1);
        if (!access) {
            assert_int_equal(err.code, ERR_MEMORY);
        }
        server_access_destroy(access);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),    cmocka_unit_test(tenants),         cmocka_unit_test(hosts),
        cmocka_unit_test(origins), cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
