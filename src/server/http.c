/* libmicrohttpd: requests come in as calls of on_request on its thread,
 *
 *     first call     headers are there   -> admit(): refusal, Host, Origin, route, key, type,
 * length body calls     0 or more           -> collect() last call      the request is whole -> the
 * route's handler, again after each wake on_completed   answered or given up -> log line, counters,
 * release
 *
 * A request that is not admitted is answered at once if it announced a body (libmicrohttpd then
 * closes the connection instead of reading it), else at the last call, which keeps the connection
 * alive. */
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "server/clients.h"
#include "server/exchange.h"
#include "server/guard.h"
#include "server/websocket.h"

enum {
    POOL_BYTES = 64 << 10, /* per connection: the head and one write buffer */
    STREAM_BLOCK_BYTES = 8 << 10,
    DISCARD_BYTES_MAX = 64 << 20, /* of a body that is too large, before we hang up */
};

/* ---- waking ---- */

void server_exchange_wake(struct server_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    if (exchange->suspended) {
        exchange->suspended = false;
        MHD_resume_connection(exchange->mhd);
    } else {
        exchange->woken = true;
    }
    pthread_mutex_unlock(&exchange->lock);
}

/* False when a wake came first: look again instead of sleeping. */
static bool suspend(struct server_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    bool sleeps = !exchange->woken;
    exchange->woken = false;
    if (sleeps) {
        exchange->suspended = true;
        MHD_suspend_connection(exchange->mhd);
    }
    pthread_mutex_unlock(&exchange->lock);
    return sleeps;
}

void server_http_left(void *arg, void *exchange)
{
    struct server_exchange *left = exchange;
    (void)arg;
    atomic_store(&left->gone, true);
    server_exchange_wake(left);
}

static bool is_over(const struct server_exchange *exchange)
{
    return atomic_load(&exchange->gone) || atomic_load(&exchange->server->stopping);
}

/* ---- beginning and end ---- */

struct str server_exchange_header(const struct server_exchange *exchange, const char *name)
{
    return str_of(MHD_lookup_connection_value(exchange->mhd, MHD_HEADER_KIND, name));
}

/* The client's id if it is harmless in logs and headers, else one of ours. */
static void choose_id(struct server_exchange *exchange)
{
    static const char marks[] = "-_.:";
    struct str given = server_exchange_header(exchange, "X-Request-ID");
    bool ok = given.len > 0 && given.len <= SERVER_ID_MAX;
    for (size_t i = 0; ok && i < given.len; i++) {
        char c = given.ptr[i];
        ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
             strchr(marks, c) != NULL;
    }
    if (ok) {
        memcpy(exchange->id, given.ptr, given.len);
        exchange->id[given.len] = 0;
        return;
    }
    uint64_t random[2];
    os_random(random, sizeof random);
    snprintf(exchange->id, sizeof exchange->id, "req_%016llx%08llx", (unsigned long long)random[0],
             (unsigned long long)(random[1] >> 32));
}

static struct server_exchange *exchange_create(struct server *server, struct MHD_Connection *mhd,
                                               const char *method)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct server_conn *conn = info ? info->socket_context : NULL;
    struct server_exchange *exchange = conn ? MEM_NEW(struct server_exchange) : NULL;
    if (!exchange) {
        return NULL;
    }
    exchange->server = server;
    exchange->conn = conn;
    exchange->mhd = mhd;
    exchange->method = str_of(method);
    exchange->started_ns = clock_now_ns();
    exchange->number = server_conn_begin(conn);
    pthread_mutex_init(&exchange->lock, NULL);
    choose_id(exchange);
    atomic_fetch_add(&server->metrics.active, 1);
    pthread_mutex_lock(&server->list_lock);
    exchange->next = server->exchanges;
    if (exchange->next) {
        exchange->next->prev = exchange;
    }
    server->exchanges = exchange;
    pthread_mutex_unlock(&server->list_lock);
    return exchange;
}

static void log_exchange(const struct server_exchange *exchange, int status)
{
    struct log_field fields[16];
    size_t count = 0;
    fields[count++] = (struct log_field)LOG_C("id", exchange->id);
    fields[count++] = (struct log_field)LOG_S("method", str_slice(exchange->method, 0, 32));
    fields[count++] = (struct log_field)LOG_S("path", str_slice(buf_view(&exchange->path), 0, 256));
    fields[count++] = (struct log_field)LOG_I("status", status);
    fields[count++] = (struct log_field)LOG_F(
        "ms", (double)((clock_now_ns() - exchange->started_ns) / 1000) / 1e3);
    if (exchange->model[0]) {
        fields[count++] = (struct log_field)LOG_C("model", exchange->model);
    }
    if (exchange->user[0]) {
        fields[count++] = (struct log_field)LOG_C("user", exchange->user);
    }
    if (exchange->has_usage) {
        fields[count++] = (struct log_field)LOG_I("prompt_tokens", exchange->prompt_tokens);
        fields[count++] = (struct log_field)LOG_I("completion_tokens", exchange->completion_tokens);
    }
    if (exchange->fault.code != ERR_NONE) {
        fields[count++] = (struct log_field)LOG_C("error", err_info(exchange->fault.code)->name);
    }
    fields[count] = (struct log_field){.key = NULL};
    log_write(status >= 500 ? LOG_WARN : LOG_INFO, "request", fields);
}

void server_exchange_free_body(struct server *server, struct buf *body)
{
    atomic_fetch_sub(&server->bodies_bytes, body->len);
    buf_deinit(body);
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct server *server = arg;
    struct server_exchange *exchange = *state;
    (void)mhd;
    if (!exchange) {
        return;
    }
    *state = NULL;
    server_conn_end(exchange->conn); /* from here on the front does not know the exchange */
    pthread_mutex_lock(&server->list_lock);
    if (exchange->prev) {
        exchange->prev->next = exchange->next;
    } else {
        server->exchanges = exchange->next;
    }
    if (exchange->next) {
        exchange->next->prev = exchange->prev;
    }
    pthread_mutex_unlock(&server->list_lock);
    if (exchange->release) {
        exchange->release(exchange);
    }
    bool is_answered = why == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    int status = is_answered ? exchange->reply.status : 0;
    size_t row = exchange->route ? (size_t)(exchange->route - server_routes) : SERVER_ROUTES_MAX;
    server_metrics_count(&server->metrics, row, status);
    atomic_fetch_sub(&server->metrics.active, 1);
    log_exchange(exchange, is_answered ? status : err_info(ERR_CANCELLED)->http_status);
    server_exchange_free_body(server, &exchange->body);
    buf_deinit(&exchange->path);
    buf_deinit(&exchange->allow);
    buf_deinit(&exchange->chunk);
    buf_deinit(&exchange->reply.body);
    pthread_mutex_destroy(&exchange->lock);
    mem_free(exchange);
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **socket_state,
                          enum MHD_ConnectionNotificationCode what)
{
    struct server *server = arg;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_state = info ? server_conn_take(server->front, info->connect_fd) : NULL;
    } else {
        server_conn_release(*socket_state);
        *socket_state = NULL;
    }
}

/* ---- admission ---- */

enum server_step server_exchange_fail(struct server_exchange *exchange, const struct err *failure)
{
    const struct server_client *client = server_client_of(exchange);
    exchange->fault = *failure;
    exchange->reply.status = client->status(failure);
    exchange->reply.content_type = "application/json";
    exchange->reply.pull = NULL;
    const int retry_s = failure->retry_s ? (int)failure->retry_s : 1;
    exchange->reply.retry_after_s = failure->code == ERR_BUSY ? retry_s : 0;
    exchange->reply.upgrade = NULL;
    buf_clear(&exchange->reply.body);
    client->error(failure, str_of(exchange->id), &exchange->reply.body);
    return SERVER_STEP_REPLY;
}

static bool admit_origin(struct server_exchange *exchange, struct str host, struct err *err)
{
    struct str origin = server_exchange_header(exchange, "Origin");
    if (origin.len == 0) {
        return true;
    }
    bool is_inference = exchange->route && exchange->route->role == SERVER_ROLE_INFERENCE;
    if (!server_access_origin(exchange->server->access, origin, host, is_inference, err)) {
        return false;
    }
    exchange->cors_origin = origin.ptr;
    return true;
}

/* A preflight asks for the path, whatever the method it announces. */
static bool admit_preflight(struct server_exchange *exchange, struct err *err)
{
    struct str asked = server_exchange_header(exchange, "Access-Control-Request-Method");
    struct err ignored;
    if (str_eq(buf_view(&exchange->path), STR("*"))) {
        buf_add_text(&exchange->allow, "GET, HEAD, POST, OPTIONS");
        exchange->is_preflight = true;
        return true;
    }
    exchange->route =
        server_routes_find(server_routes, asked.len ? asked : STR("OPTIONS"),
                           buf_view(&exchange->path), exchange->parts, &exchange->allow, &ignored);
    if (exchange->route) { /* ask again for the list of all methods */
        server_routes_find(server_routes, STR("OPTIONS"), buf_view(&exchange->path),
                           exchange->parts, &exchange->allow, &ignored);
    }
    if (exchange->allow.len == 0) {
        *err = ignored;
        return false;
    }
    if (!exchange->route) { /* policy of the path: that of its first row */
        struct str method = str_slice(buf_view(&exchange->allow), 0,
                                      str_find(buf_view(&exchange->allow), STR(","), 0));
        struct buf all = {0};
        exchange->route = server_routes_find(server_routes, method, buf_view(&exchange->path),
                                             exchange->parts, &all, &ignored);
        buf_deinit(&all);
    }
    exchange->is_preflight = true;
    return true;
}

/* Pages can send text/plain, forms and multipart anywhere without asking; only other types make the
 * browser ask first. Programs send no Origin, and many of them no type either. */
static bool admit_type(const struct server_exchange *exchange, struct err *err)
{
    struct str type = server_exchange_header(exchange, "Content-Type");
    bool is_browser = server_exchange_header(exchange, "Origin").len > 0 ||
                      server_exchange_header(exchange, "Sec-Fetch-Site").len > 0;
    struct str media = str_trim(str_cut(&type, ';'));
    bool is_json = str_eq_nocase(media, STR("application/json")) ||
                   (str_starts(media, STR("application/")) && str_ends(media, STR("+json")));
    if (is_browser && !is_json && exchange->route->body_bytes_max > 0) {
        return err_set(err, ERR_MEDIA, "the body must be sent as application/json");
    }
    return true;
}

static size_t body_limit(const struct server_exchange *exchange)
{
    if (!exchange->route) {
        return 0;
    }
    return exchange->route->body_bytes_max == SERVER_BODY_SETTING
               ? exchange->server->params.body_bytes_max
               : exchange->route->body_bytes_max;
}

static bool too_large(const struct server_exchange *exchange, struct err *err)
{
    return err_set(err, ERR_TOO_LARGE, "the body is larger than %zu bytes", body_limit(exchange));
}

static bool admit_length(const struct server_exchange *exchange, struct err *err)
{
    uint64_t length = 0;
    struct str text = server_exchange_header(exchange, "Content-Length");
    if (text.len && (!str_to_u64(text, &length) || length > body_limit(exchange))) {
        return too_large(exchange, err);
    }
    return true;
}

struct server_credentials server_exchange_credentials(const struct server_exchange *exchange)
{
    struct str api_key = server_exchange_header(exchange, "x-api-key");
    return (struct server_credentials){server_exchange_header(exchange, "Authorization"),
                                       api_key.len ? api_key : str_of(exchange->socket_key)};
}

static bool admit_key(struct server_exchange *exchange, struct err *err)
{
    if (exchange->route->role == SERVER_ROLE_PUBLIC) {
        return true;
    }
    server_websocket_key(exchange);
    struct server_credentials given = server_exchange_credentials(exchange);
    return server_access_key(exchange->server->access, given.authorization, given.api_key, err);
}

static bool admit(struct server_exchange *exchange, const char *target, struct err *err)
{
    int status;
    const char *reason;
    if (server_conn_refusal(exchange->conn, exchange->number, &status, &reason)) {
        exchange->is_refused = true;
        return err_set(err, ERR_INVALID, "%s", reason);
    }
    struct str host = server_exchange_header(exchange, "Host");
    if (host.ptr && !server_access_host(exchange->server->access, host, err)) {
        return false;
    }
    if (!server_path_decode(str_of(target), &exchange->path, err)) {
        return false;
    }
    if (str_eq(exchange->method, STR("OPTIONS"))) {
        return admit_preflight(exchange, err) && admit_origin(exchange, host, err);
    }
    exchange->route = server_routes_find(server_routes, exchange->method, buf_view(&exchange->path),
                                         exchange->parts, &exchange->allow, err);
    if (!exchange->route) {
        struct err ignored;
        admit_origin(exchange, host, &ignored);
        return false;
    }
    return admit_origin(exchange, host, err) && admit_key(exchange, err) &&
           admit_type(exchange, err) && admit_length(exchange, err);
}

/* ---- answers ---- */

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    /* Refused only for control characters, which none of the values can hold. */
    enum MHD_Result ok = MHD_add_response_header(response, name, value);
    (void)ok;
}

void server_reply_header(struct server_reply *reply, const char *name, const char *format, ...)
{
    struct server_header *header = &reply->headers[reply->header_count];
    va_list args;
    if (reply->header_count == SERVER_HEADERS_OF_REPLY) {
        return;
    }
    va_start(args, format);
    header->name = name;
    vsnprintf(header->value, sizeof header->value, format, args);
    va_end(args);
    reply->header_count++;
}

static void add_headers(struct server_exchange *exchange, struct MHD_Response *response)
{
    const struct server_reply *reply = &exchange->reply;
    char number[16];
    add_header(response, "X-Request-ID", exchange->id);
    const char *id_header = server_client_of(exchange)->id_header;
    if (id_header) {
        add_header(response, id_header, exchange->id);
    }
    add_header(response, "X-Content-Type-Options", "nosniff");
    add_header(response, "Cache-Control", "no-store");
    if (reply->content_type) {
        add_header(response, "Content-Type", reply->content_type);
    }
    if (reply->pull) {
        add_header(response, "X-Accel-Buffering", "no"); /* proxies shall pass events at once */
    }
    for (size_t i = 0; i < reply->header_count; i++) {
        add_header(response, reply->headers[i].name, reply->headers[i].value);
    }
    if (reply->retry_after_s) {
        snprintf(number, sizeof number, "%d", reply->retry_after_s);
        add_header(response, "Retry-After", number);
    }
    if ((reply->status == 405 || exchange->is_preflight) && exchange->allow.len) {
        add_header(response, "Allow", exchange->allow.ptr);
    }
    if (reply->status == 401) {
        add_header(response, "WWW-Authenticate", "Bearer");
    }
    if (exchange->cors_origin) {
        add_header(response, "Access-Control-Allow-Origin", exchange->cors_origin);
        add_header(response, "Access-Control-Expose-Headers",
                   "X-Request-ID, request-id, Retry-After");
        add_header(response, "Vary", "Origin");
    }
    if (exchange->cors_origin && exchange->is_preflight) {
        struct str asked = server_exchange_header(exchange, "Access-Control-Request-Headers");
        add_header(response, "Access-Control-Allow-Methods", exchange->allow.ptr);
        add_header(response, "Access-Control-Max-Age", "600");
        if (asked.len) {
            add_header(response, "Access-Control-Allow-Headers", asked.ptr);
        }
    }
    if (exchange->is_refused || exchange->too_large || atomic_load(&exchange->server->draining)) {
        add_header(response, "Connection", "close");
    }
}

static ssize_t on_stream(void *arg, uint64_t position, char *out, size_t max)
{
    struct server_exchange *exchange = arg;
    (void)position;
    while (exchange->chunk_at == exchange->chunk.len) {
        buf_clear(&exchange->chunk);
        exchange->chunk_at = 0;
        if (is_over(exchange)) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        enum server_pull pulled =
            exchange->is_ended ? SERVER_PULL_END : exchange->reply.pull(exchange, &exchange->chunk);
        if (pulled == SERVER_PULL_BROKEN || exchange->chunk.failed) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        exchange->is_ended = pulled == SERVER_PULL_END;
        if (exchange->is_ended && exchange->chunk.len == 0) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (pulled == SERVER_PULL_WAIT && suspend(exchange)) {
            return 0;
        }
    }
    size_t count = exchange->chunk.len - exchange->chunk_at;
    count = count < max ? count : max;
    memcpy(out, exchange->chunk.ptr + exchange->chunk_at, count);
    exchange->chunk_at += count;
    return (ssize_t)count;
}

static void on_upgrade(void *arg, struct MHD_Connection *mhd, void *state, const char *extra,
                       size_t extra_len, MHD_socket fd, struct MHD_UpgradeResponseHandle *handle)
{
    struct server_exchange *exchange = arg;
    (void)mhd;
    (void)state;
    (void)extra; /* empty: the front lets nothing through before the answer */
    (void)extra_len;
    exchange->upgraded = handle;
    exchange->reply.upgrade(exchange, fd);
}

void server_exchange_closed(struct server_exchange *exchange)
{
    MHD_upgrade_action(exchange->upgraded, MHD_UPGRADE_ACTION_CLOSE);
}

static enum MHD_Result send_reply(struct server_exchange *exchange)
{
    struct MHD_Response *response;
    struct server_reply *reply = &exchange->reply;
    if (reply->upgrade) {
        server_conn_upgrade(exchange->conn);
        response = MHD_create_response_for_upgrade(on_upgrade, exchange);
    } else if (reply->pull) {
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES,
                                                     on_stream, exchange, NULL);
    } else {
        size_t len = 0;
        char *bytes = buf_take(&reply->body, &len);
        if (!bytes) {
            return MHD_NO;
        }
        response = MHD_create_response_from_buffer_with_free_callback(len, bytes, mem_free);
    }
    if (!response) {
        return MHD_NO;
    }
    add_headers(exchange, response);
    enum MHD_Result queued =
        MHD_queue_response(exchange->mhd, (unsigned)exchange->reply.status, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result send_fault(struct server_exchange *exchange)
{
    int status;
    const char *reason;
    struct err fault = exchange->fault;
    server_exchange_fail(exchange, &fault);
    if (server_conn_refusal(exchange->conn, exchange->number, &status, &reason)) {
        exchange->reply.status = status; /* the guard knows better: 414, 417, 431, 501, 505 */
    }
    return send_reply(exchange);
}

/* ---- requests ---- */

/* Body bytes. What goes beyond a limit is read and dropped, within reason, because libmicrohttpd
 * takes no answer before the body has ended. */
static bool collect(struct server_exchange *exchange, const char *bytes, size_t len)
{
    struct server *server = exchange->server;
    size_t held = atomic_fetch_add(&server->bodies_bytes, len);
    if (exchange->fault.code == ERR_NONE && exchange->body.len + len > body_limit(exchange)) {
        too_large(exchange, &exchange->fault);
        exchange->too_large = true;
    } else if (exchange->fault.code == ERR_NONE && held + len > server->params.bodies_bytes_max) {
        err_set(&exchange->fault, ERR_BUSY, "too many requests are being received; try again");
    }
    if (exchange->fault.code == ERR_NONE) {
        buf_add(&exchange->body, (struct str){bytes, len});
        if (!exchange->body.failed) {
            return true;
        }
        err_set_memory(&exchange->fault, exchange->body.len + len);
    }
    atomic_fetch_sub(&server->bodies_bytes, len);
    /* A body that nobody will read must not keep the others out of the budget. */
    server_exchange_free_body(server, &exchange->body);
    exchange->discarded_bytes += len;
    return exchange->discarded_bytes <= DISCARD_BYTES_MAX;
}

static enum MHD_Result run(struct server_exchange *exchange)
{
    int status;
    const char *reason;
    if (exchange->fault.code == ERR_NONE &&
        server_conn_refusal(exchange->conn, exchange->number, &status, &reason)) {
        exchange->is_refused = true; /* a malformed chunk, found after the head was fine */
        err_set(&exchange->fault, ERR_INVALID, "%s", reason);
    }
    if (exchange->fault.code != ERR_NONE) {
        return send_fault(exchange);
    }
    if (exchange->is_preflight) {
        exchange->reply.status = 204;
        return send_reply(exchange);
    }
    for (;;) {
        if (is_over(exchange)) {
            return MHD_NO;
        }
        switch (exchange->route->handle(exchange)) {
        case SERVER_STEP_REPLY:
            return send_reply(exchange);
        case SERVER_STEP_DROP:
            return MHD_NO;
        case SERVER_STEP_WAIT:
            if (suspend(exchange)) {
                return MHD_YES;
            }
            break;
        }
    }
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *target,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **state)
{
    struct server_exchange *exchange = *state;
    (void)version;
    if (!exchange) {
        exchange = exchange_create(arg, mhd, method);
        *state = exchange;
        if (!exchange) {
            return MHD_NO;
        }
        bool is_admitted = admit(exchange, target, &exchange->fault);
        bool has_body = server_exchange_header(exchange, "Content-Length").len > 0 ||
                        server_exchange_header(exchange, "Transfer-Encoding").len > 0;
        return is_admitted || !has_body ? MHD_YES : send_fault(exchange);
    }
    if (*upload_len > 0) {
        bool goes_on = collect(exchange, upload, *upload_len);
        *upload_len = 0;
        return goes_on ? MHD_YES : MHD_NO;
    }
    return run(exchange);
}

/* ---- life ---- */

/* Paths are decoded by server_path_decode, once and with checks; libmicrohttpd shall not touch
 * them. */
static size_t keep_escaped(void *arg, struct MHD_Connection *mhd, char *text)
{
    (void)arg;
    (void)mhd;
    return strlen(text);
}

static void ignore_log(void *arg, const char *format, va_list args)
{
    (void)arg;
    (void)format;
    (void)args; /* may quote what a client sent; our own log line tells of every request */
}

bool server_http_start(struct server *server, struct err *err)
{
    server->mhd = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE |
            MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC,
        0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, ignore_log, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, server, MHD_OPTION_UNESCAPE_CALLBACK, keep_escaped, NULL,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)(server->params.connections_max * 2 + 64),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    return server->mhd || err_set(err, ERR_IO, "libmicrohttpd did not start");
}

bool server_http_connect(void *arg, int fd, const struct server_address *peer)
{
    struct server *server = arg;
    return MHD_add_connection(server->mhd, fd, &peer->any, peer->len) == MHD_YES;
}

/* libmicrohttpd must not be stopped while a connection is suspended: all are woken with `stopping`
 * set and end by themselves. */
void server_http_stop(struct server *server)
{
    if (!server->mhd) {
        return;
    }
    atomic_store(&server->stopping, true);
    for (bool any = true; any;) {
        pthread_mutex_lock(&server->list_lock);
        any = server->exchanges != NULL;
        for (struct server_exchange *x = server->exchanges; x; x = x->next) {
            server_exchange_wake(x);
        }
        pthread_mutex_unlock(&server->list_lock);
        if (any) {
            clock_sleep_ns(1000000);
        }
    }
    MHD_stop_daemon(server->mhd);
    server->mhd = NULL;
}
