/* A whole server in this process, with a small model of others (stories260K), spoken to over
 * sockets: what a sanitizer sees of its threads. The binary is tested from outside in tests/e2e. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/server.h"

struct fixture {
    struct route_registry *registry;
    struct server *server;
    struct server_address listen;
    uint16_t port;
};

static void start(struct fixture *fixture)
{
    static const struct route_model model = {.path =
                                                 TEST_ROOT "/tests/data/models/stories260K.gguf"};
    struct route_registry_params registry = {.models = &model,
                                             .model_count = 1,
                                             .local = route_local_params_default(),
                                             .keep_ns = ROUTE_KEEP_FOREVER};
    struct server_params params = server_params_default();
    struct err err = {0};
    char url[96];
    log_set_level(LOG_OFF);
    registry.local.threads = 1;
    fixture->registry = route_registry_create(&registry, &err);
    if (!fixture->registry) {
        fail_msg("%s", err.text);
    }
    assert_true(server_address_parse(STR("127.0.0.1:0"), &fixture->listen, &err));
    params.registry = fixture->registry;
    params.listens = &fixture->listen;
    params.listen_count = 1;
    params.header_timeout_s = 2;
    fixture->server = server_create(&params, &err);
    assert_true(fixture->server && server_start(fixture->server, &err));
    server_url(fixture->server, 0, url);
    fixture->port = (uint16_t)strtoul(strrchr(url, ':') + 1, NULL, 10);
    assert_true(route_registry_start(fixture->registry, &err));
    while (!route_registry_is_ready(fixture->registry)) {
        clock_sleep_ns(1000000);
    }
}

static void stop(struct fixture *fixture)
{
    server_destroy(fixture->server);
    route_registry_destroy(fixture->registry);
}

static int connect_to(uint16_t port)
{
    struct server_address address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(server_address_make(STR("127.0.0.1"), port, &address));
    assert_int_equal(connect(fd, &address.any, address.len), 0);
    return fd;
}

static void send_text(int fd, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        at += (size_t)n;
    }
}

/* A request with Connection: close; reads at most `most` bytes of the answer. */
static void ask(uint16_t port, const char *line, const char *body, size_t most, struct buf *answer)
{
    char head[512], bytes[4096];
    int fd = connect_to(port);
    int len = snprintf(head, sizeof head,
                       "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       line, strlen(body));
    send_text(fd, head, (size_t)len);
    send_text(fd, body, strlen(body));
    buf_clear(answer);
    ssize_t n;
    while (answer->len < most && (n = recv(fd, bytes, sizeof bytes, 0)) > 0) {
        buf_add(answer, (struct str){bytes, (size_t)n});
    }
    close(fd);
}

#define STORY                                                                                      \
    "{\"model\":\"stories260K\",\"prompt\":\"Once upon a "                                         \
    "time\",\"temperature\":0,\"max_tokens\":24"

static void plain_requests(void **state)
{
    struct fixture fixture;
    struct buf answer = {0};
    (void)state;
    start(&fixture);
    static const struct {
        const char *line, *body, *part;
    } cases[] = {
        {"GET /healthz", "", "200 OK"},
        {"GET /readyz", "", "{\"status\":\"ready\"}"},
        {"GET /v1/models", "", "\"id\":\"stories260K\""},
        {"GET /v1/models/stories260K", "", "\"architecture\":\"llama\""},
        {"GET /metrics", "", "hearth_kv_pages"},
        {"GET /", "", "POST /v1/completions"},
        {"PUT /", "", "405 Method"},
        {"GET /no", "", "404 Not Found"},
        {"POST /v1/completions", "{", "invalid_json"},
        {"POST /v1/completions", STORY "}", "\"finish_reason\":\"length\""},
        {"POST /v1/completions", STORY ",\"stream\":true,\"n\":3}", "data: [DONE]\n\n"},
        {"BAD REQUEST /", "", "400 Bad Request"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask(fixture.port, cases[i].line, cases[i].body, SIZE_MAX, &answer);
        if (!answer.ptr || !strstr(answer.ptr, cases[i].part)) {
            fail_msg("%s: %s", cases[i].line, answer.ptr ? answer.ptr : "no answer");
        }
        if (!strstr(answer.ptr, "X-Request-ID: ")) {
            fail_msg("%s has no id", cases[i].line);
        }
    }
    buf_deinit(&answer);
    stop(&fixture);
}

struct client {
    uint16_t port;
    int number;
    bool ok;
};

/* Even clients read a whole answer, odd ones leave: before, within or after the first bytes. */
static void *run_client(void *arg)
{
    struct client *client = arg;
    struct buf answer = {0};
    client->ok = true;
    for (int round = 0; round < 3; round++) {
        size_t most = client->number % 2 ? (size_t)(client->number % 5) * 100 : SIZE_MAX;
        ask(client->port, "POST /v1/completions", STORY ",\"stream\":true}", most, &answer);
        if (most == SIZE_MAX) {
            client->ok = client->ok && answer.ptr && strstr(answer.ptr, "data: [DONE]\n\n") != NULL;
        }
    }
    buf_deinit(&answer);
    return NULL;
}

static void many_clients_of_which_half_leave(void **state)
{
    enum { CLIENTS = 16 };
    struct fixture fixture;
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    (void)state;
    start(&fixture);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.port = fixture.port, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(clients[i].ok);
    }
    stop(&fixture);
}

/* The server goes while clients wait for answers of all kinds. */
static void stopping_under_load(void **state)
{
    struct fixture fixture;
    int fds[12];
    char head[256];
    static const char body[] = STORY ",\"stream\":true,\"ignore_eos\":true,\"n\":4}";
    (void)state;
    start(&fixture);
    int len = snprintf(head, sizeof head,
                       "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       sizeof body - 1);
    for (int i = 0; i < 12; i++) {
        fds[i] = connect_to(fixture.port);
        send_text(fds[i], head, (size_t)len);
        send_text(fds[i], body, i % 3 ? sizeof body - 1 : 5); /* some bodies never end */
    }
    clock_sleep_ns(20000000);
    server_drain(fixture.server);
    clock_sleep_ns(20000000);
    stop(&fixture);
    for (int i = 0; i < 12; i++) {
        close(fds[i]);
    }
}

static void an_open_bind_needs_a_key(void **state)
{
    static const struct str key = {"k", 1};
    struct server_params params = server_params_default();
    struct server_address any;
    struct err err = {0};
    (void)state;
    assert_true(server_address_parse(STR("0.0.0.0:0"), &any, &err));
    params.listens = &any;
    params.listen_count = 1;
    assert_false(server_check_bind(&params, &err));
    assert_int_equal(err.code, ERR_USAGE);
    params.keys = &key;
    params.key_count = 1;
    assert_true(server_check_bind(&params, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_bind_needs_a_key),
        cmocka_unit_test(plain_requests),
        cmocka_unit_test(many_clients_of_which_half_leave),
        cmocka_unit_test(stopping_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
