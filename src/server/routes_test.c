#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/address.h"
#include "server/routes.h"

static void a_route_without_a_role_does_not_start(void **state)
{
    struct err err = {0};
    (void)state;
    assert_true(server_routes_check(server_routes, &err));
    struct server_route rows[] = {server_routes[0], server_routes[1], {0}};
    rows[1].role = SERVER_ROLE_MISSING;
    assert_false(server_routes_check(rows, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    rows[1] = server_routes[1];
    rows[1].handle = NULL;
    assert_false(server_routes_check(rows, &err));
}

static void routes_are_found(void **state)
{
    static const struct {
        const char *method, *path, *pattern, *tail, *allow;
        enum err_code code;
    } cases[] = {
        {"GET", "/", "/", "", "", ERR_NONE},
        {"HEAD", "/healthz", "/healthz", "", "", ERR_NONE},
        {"GET", "/v1/models", "/v1/models", "", "", ERR_NONE},
        {"GET", "/v1/models/a/b:c", "/v1/models/{id...}", "a/b:c", "", ERR_NONE},
        {"POST", "/v1/completions", "/v1/completions", "", "", ERR_NONE},
        {"GET", "/v1/models/", NULL, "", "", ERR_NOT_FOUND},
        {"GET", "", NULL, "", "", ERR_NOT_FOUND},
        {"GET", "/v1", NULL, "", "", ERR_NOT_FOUND},
        {"get", "/healthz", NULL, "", "GET, HEAD, OPTIONS", ERR_METHOD},
        {"POST", "/v1/models/x", NULL, "", "GET, HEAD, OPTIONS", ERR_METHOD},
        {"HEAD", "/v1/completions", NULL, "", "POST, OPTIONS", ERR_METHOD},
    };
    struct buf allow = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        struct str parts[SERVER_PARTS_MAX];
        const struct server_route *route = server_routes_find(
            server_routes, str_of(cases[i].method), str_of(cases[i].path), parts, &allow, &err);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(route != NULL, cases[i].pattern != NULL);
        if (route) {
            assert_string_equal(route->pattern, cases[i].pattern);
            assert_true(str_eq(parts[0], str_of(cases[i].tail)));
        } else {
            assert_true(str_eq(buf_view(&allow), str_of(cases[i].allow)));
        }
    }
    buf_deinit(&allow);
}

static void parts_of_a_path_are_taken(void **state)
{
    static const struct server_route rows[] = {
        {.method = "GET", .pattern = "/a/{id}"},
        {.method = "GET", .pattern = "/a/{id}/items"},
        {.method = "GET", .pattern = "/a/{id}/items/{item}"},
        {.method = "POST", .pattern = "/a/new"},
        {.method = "GET", .pattern = "/b/{id}/{rest...}"},
        {0},
    };
    static const struct {
        const char *method, *path;
        int row; /* -1: not found, -2: wrong method */
        const char *first, *second;
    } cases[] = {
        {"GET", "/a/x", 0, "x", ""},          {"GET", "/a/x/items", 1, "x", ""},
        {"GET", "/a/x/items/y", 2, "x", "y"}, {"POST", "/a/new", 3, "", ""},
        {"GET", "/a/new", -2, "", ""}, /* spelled out, so it is no id */
        {"GET", "/b/x/y/z", 4, "x", "y/z"},   {"GET", "/a/", -1, "", ""},
        {"GET", "/a//items", -1, "", ""},     {"GET", "/a/x/", -1, "", ""},
        {"GET", "/a/x/items/", -1, "", ""},   {"GET", "/a/x/items/y/z", -1, "", ""},
        {"GET", "/b/x/", -1, "", ""},         {"PUT", "/a/new", -2, "", ""},
    };
    struct buf allow = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        struct str parts[SERVER_PARTS_MAX];
        const struct server_route *found = server_routes_find(
            rows, str_of(cases[i].method), str_of(cases[i].path), parts, &allow, &err);
        if (cases[i].row < 0) {
            assert_null(found);
            assert_int_equal(err.code, cases[i].row == -1 ? ERR_NOT_FOUND : ERR_METHOD);
            continue;
        }
        assert_ptr_equal(found, &rows[cases[i].row]);
        assert_true(str_eq(parts[0], str_of(cases[i].first)));
        assert_true(str_eq(parts[1], str_of(cases[i].second)));
    }
    buf_deinit(&allow);
}

static void paths_are_decoded_once(void **state)
{
    static const struct {
        const char *raw, *decoded; /* NULL: refused */
    } cases[] = {
        {"/", "/"},
        {"/a%2Fb", "/a/b"},
        {"/%e2%82%ac", "/\xe2\x82\xac"},
        {"/%252e", "/%2e"},
        {"/a..b", "/a..b"},
        {"/...", "/..."},
        {"", ""},
        {"/%00", NULL},
        {"/a/../b", NULL},
        {"/%2e%2E/a", NULL},
        {"/.", NULL},
        {"/a/..", NULL},
        {"/..%2f", NULL},
        {"/%", NULL},
        {"/%4", NULL},
        {"/%4g", NULL},
        {"/%c3", NULL},
        {"/%ed%a0%80", NULL},
    };
    struct buf out = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        bool ok = server_path_decode(str_of(cases[i].raw), &out, &err);
        if (ok != (cases[i].decoded != NULL)) {
            fail_msg("path %s", cases[i].raw);
        }
        if (ok) {
            assert_true(str_eq(buf_view(&out), str_of(cases[i].decoded)));
        } else {
            assert_int_equal(err.code, ERR_INVALID);
        }
    }
    buf_deinit(&out);
}

static void addresses_are_parsed(void **state)
{
    static const struct {
        const char *text, *printed; /* NULL: refused */
        bool loopback, any;
    } cases[] = {
        {"127.0.0.1:8484", "127.0.0.1:8484", true, false},
        {"localhost:0", "127.0.0.1:0", true, false},
        {"127.8.9.1:1", "127.8.9.1:1", true, false},
        {"[::1]:8484", "[::1]:8484", true, false},
        {"[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true, false},
        {"0.0.0.0:65535", "0.0.0.0:65535", false, true},
        {"[::]:1", "[::]:1", false, true},
        {"[::ffff:0.0.0.0]:1", "[::ffff:0.0.0.0]:1", false, true},
        {"192.168.0.1:80", "192.168.0.1:80", false, false},
        {"::1:80", NULL, false, false},
        {"127.0.0.1", NULL, false, false},
        {"127.0.0.1:65536", NULL, false, false},
        {"127.0.0.1:-1", NULL, false, false},
        {"127.0.0.1:", NULL, false, false},
        {"127.1:80", NULL, false, false},
        {"example.org:80", NULL, false, false},
        {":80", NULL, false, false},
        {"", NULL, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct server_address address;
        struct err err = {0};
        char printed[SERVER_ADDRESS_TEXT];
        bool ok = server_address_parse(str_of(cases[i].text), &address, &err);
        if (ok != (cases[i].printed != NULL)) {
            fail_msg("address %s", cases[i].text);
        }
        if (!ok) {
            assert_int_equal(err.code, ERR_USAGE);
            continue;
        }
        server_address_format(&address, printed);
        assert_string_equal(printed, cases[i].printed);
        assert_int_equal(server_address_is_loopback(&address), cases[i].loopback);
        assert_int_equal(server_address_is_any(&address), cases[i].any);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_without_a_role_does_not_start),
        cmocka_unit_test(routes_are_found),
        cmocka_unit_test(parts_of_a_path_are_taken),
        cmocka_unit_test(paths_are_decoded_once),
        cmocka_unit_test(addresses_are_parsed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
