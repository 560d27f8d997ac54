/* A call is counted as a generation is: once for the exchange, once for the worker, who may finish
 * after the client left. */
#include "server/calls.h"

#include "base/mem.h"
#include "server/exchange.h"
#include "server/guard.h"

enum { QUERIES_MAX = 32 };

struct call {
    atomic_int refs;
    struct server_job job;
    struct server *server;
    api_call_fn *fn;
    struct api_call api;
    struct buf body, query_text, parts[SERVER_PARTS_MAX], content_type;
    struct api_query queries[QUERIES_MAX];
    unsigned char tenant[SERVER_TENANT_BYTES];
    pthread_mutex_t lock; /* exchange, is_done, said, is_stream */
    struct server_exchange *exchange;
    bool is_done, ok;
    struct buf said; /* to be sent before api.out */
    bool is_stream;
    struct err failure;
};

static void unref(struct call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) != 1) {
        return;
    }
    server_exchange_free_body(call->server, &call->body);
    for (size_t i = 0; i < SERVER_PARTS_MAX; i++) {
        buf_deinit(&call->parts[i]);
    }
    buf_deinit(&call->query_text);
    buf_deinit(&call->content_type);
    buf_deinit(&call->api.out);
    buf_deinit(&call->said);
    arena_deinit(&call->api.arena);
    pthread_mutex_destroy(&call->lock);
    mem_free(call);
}

static void work(void *arg)
{
    struct call *call = arg;
    call->ok = call->fn(&call->api, &call->failure);
    if (call->ok && call->api.later) {
        call->fn = call->api.later;
        call->api.later = NULL;
        server_workers_add(call->server->long_worker, &call->job);
        return;
    }
    if (call->ok && call->api.out.failed) {
        call->ok = err_set_memory(&call->failure, call->api.out.len);
    }
    pthread_mutex_lock(&call->lock);
    call->is_done = true;
    if (call->exchange) {
        server_exchange_wake(call->exchange);
    }
    pthread_mutex_unlock(&call->lock);
    unref(call);
}

/* ---- answers that begin before the end ---- */

static struct call *call_of(struct api_call *api)
{
    return (struct call *)((char *)api - offsetof(struct call, api));
}

static void say(struct api_call *api, struct str bytes)
{
    struct call *call = call_of(api);
    pthread_mutex_lock(&call->lock);
    buf_add(&call->said, bytes);
    call->is_stream = true;
    if (call->exchange) {
        server_exchange_wake(call->exchange);
    }
    pthread_mutex_unlock(&call->lock);
}

static bool is_abandoned(struct api_call *api)
{
    struct call *call = call_of(api);
    pthread_mutex_lock(&call->lock);
    bool is_gone = !call->exchange || atomic_load(&call->exchange->gone);
    pthread_mutex_unlock(&call->lock);
    return is_gone;
}

static enum server_pull pull(struct server_exchange *exchange, struct buf *out)
{
    struct call *call = exchange->state;
    pthread_mutex_lock(&call->lock);
    bool is_broken = call->said.failed || (call->is_done && !call->ok);
    bool is_done = call->is_done && call->said.len == 0;
    buf_add(out, is_done ? buf_view(&call->api.out) : buf_view(&call->said));
    buf_clear(is_done ? &call->api.out : &call->said);
    pthread_mutex_unlock(&call->lock);
    return is_broken      ? SERVER_PULL_BROKEN
           : out->len > 0 ? SERVER_PULL_MORE
           : is_done      ? SERVER_PULL_END
                          : SERVER_PULL_WAIT;
}

static void release(struct server_exchange *exchange)
{
    struct call *call = exchange->state;
    pthread_mutex_lock(&call->lock);
    call->exchange = NULL;
    pthread_mutex_unlock(&call->lock);
    exchange->state = NULL;
    unref(call);
}

/* ---- queries ---- */

struct collecting {
    struct call *call;
    struct err *err;
    bool ok;
};

/* Both texts decoded, one behind the other, in query_text; as offsets until it no longer moves. */
static bool add_decoded(struct call *call, const char *raw, struct err *err)
{
    struct buf spaced = {0}, decoded = {0};
    buf_add_text(&spaced, raw ? raw : "");
    for (size_t i = 0; i < spaced.len; i++) {
        spaced.ptr[i] = spaced.ptr[i] == '+' ? ' ' : spaced.ptr[i];
    }
    bool ok = server_text_decode(buf_view(&spaced), &decoded, err);
    buf_add(&call->query_text, buf_view(&decoded));
    ok = ok && (!(spaced.failed || call->query_text.failed) || err_set_memory(err, spaced.len));
    buf_deinit(&spaced);
    buf_deinit(&decoded);
    return ok;
}

static enum MHD_Result collect_query(void *arg, enum MHD_ValueKind kind, const char *name,
                                     const char *value)
{
    struct collecting *collecting = arg;
    struct call *call = collecting->call;
    (void)kind;
    if (call->api.query_count == QUERIES_MAX) {
        collecting->ok =
            err_set(collecting->err, ERR_INVALID, "more than %d query parameters", QUERIES_MAX);
        return MHD_NO;
    }
    struct api_query *query = &call->queries[call->api.query_count++];
    size_t from = call->query_text.len;
    collecting->ok = add_decoded(call, name, collecting->err);
    query->name.len = call->query_text.len - from;
    from = call->query_text.len;
    collecting->ok = collecting->ok && add_decoded(call, value, collecting->err);
    query->value.len = call->query_text.len - from;
    return collecting->ok ? MHD_YES : MHD_NO;
}

static bool read_queries(struct server_exchange *exchange, struct call *call, struct err *err)
{
    struct collecting collecting = {.call = call, .err = err, .ok = true};
    MHD_get_connection_values(exchange->mhd, MHD_GET_ARGUMENT_KIND, collect_query, &collecting);
    const char *at = call->query_text.ptr ? call->query_text.ptr : "";
    for (size_t i = 0; collecting.ok && i < call->api.query_count; i++) {
        call->queries[i].name.ptr = at;
        at += call->queries[i].name.len;
        call->queries[i].value.ptr = at;
        at += call->queries[i].value.len;
    }
    call->api.queries = call->queries;
    return collecting.ok;
}

/* ---- the handler ---- */

static bool fill(struct server_exchange *exchange, struct call *call, struct err *err)
{
    struct str type = server_exchange_header(exchange, "Content-Type");
    size_t tenant_len = server_access_tenant(
        exchange->server->access, server_exchange_header(exchange, MHD_HTTP_HEADER_AUTHORIZATION),
        server_exchange_header(exchange, "x-api-key"), call->tenant);
    buf_add(&call->content_type, type);
    call->api.content_type = buf_view(&call->content_type);
    call->api.registry = exchange->server->registry;
    call->api.keep = &exchange->server->params.keep;
    call->api.host = exchange->server;
    call->api.say = say;
    call->api.is_abandoned = is_abandoned;
    call->api.tenant = (struct str){(const char *)call->tenant, tenant_len};
    call->api.arena = arena_init(0);
    call->body = exchange->body;
    exchange->body = (struct buf){0};
    call->api.body = buf_view(&call->body);
    for (size_t i = 0; i < SERVER_PARTS_MAX; i++) {
        buf_add(&call->parts[i], exchange->parts[i]);
        call->api.ids[i] = buf_view(&call->parts[i]);
    }
    return read_queries(exchange, call, err);
}

static enum server_step start(struct server_exchange *exchange, api_call_fn *fn)
{
    struct err failure;
    struct call *call = MEM_NEW(struct call);
    if (!call) {
        err_set_memory(&failure, sizeof *call);
        return server_exchange_fail(exchange, &failure);
    }
    atomic_init(&call->refs, 1);
    pthread_mutex_init(&call->lock, NULL);
    call->server = exchange->server;
    call->fn = fn;
    call->exchange = exchange;
    exchange->state = call;
    exchange->release = release;
    if (!fill(exchange, call, &failure)) {
        return server_exchange_fail(exchange, &failure);
    }
    atomic_fetch_add(&call->refs, 1);
    call->job = (struct server_job){.run = work, .arg = call};
    server_workers_add(exchange->server->workers, &call->job);
    return server_conn_watch(exchange->conn, exchange) ? SERVER_STEP_WAIT : SERVER_STEP_DROP;
}

enum server_step server_call(struct server_exchange *exchange, api_call_fn *fn)
{
    struct call *call = exchange->state;
    if (!call) {
        return start(exchange, fn);
    }
    pthread_mutex_lock(&call->lock);
    bool is_done = call->is_done, is_stream = call->is_stream;
    pthread_mutex_unlock(&call->lock);
    if (is_stream) {
        exchange->reply.status = 200;
        exchange->reply.content_type = call->api.media;
        exchange->reply.pull = pull;
        return SERVER_STEP_REPLY;
    }
    if (!is_done) {
        return SERVER_STEP_WAIT;
    }
    if (!call->ok) {
        return server_exchange_fail(exchange, &call->failure);
    }
    exchange->reply.body = call->api.out;
    call->api.out = (struct buf){0};
    exchange->reply.status = 200;
    exchange->reply.content_type = call->api.media ? call->api.media : "application/json";
    return SERVER_STEP_REPLY;
}
