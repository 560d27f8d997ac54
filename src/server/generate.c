/* A generation and its threads:
 *
 *     libmicrohttpd   create, hand to a worker; later pull events, render, send; at last release
 *     worker          api_run_parse, api_run_submit
 *     engine          notify: wakes libmicrohttpd's thread
 *     front           the client left: wakes it as well, with the exchange marked as gone
 *
 * It is counted: once for the exchange, once for the worker. `exchange` is NULL (under the lock)
 * after the client left; a worker that then finishes cancels what it submitted. Between PREPARING
 * and its end only the worker touches the run; afterwards only libmicrohttpd's thread. */
#include "server/generate.h"

#include "api/openai.h"
#include "api/run.h"
#include "base/mem.h"
#include "base/os.h"
#include "server/exchange.h"

enum {
    PULL_BYTES = 32 << 10, /* rendered per turn, so that streams take turns */
    LARGE_BYTES = 1 << 20, /* a body whose heap is worth giving back */
};

struct generation {
    atomic_int refs;
    struct server *server;
    const struct api_dialect *dialect;
    struct server_job job;
    struct buf body;
    char id[SERVER_ID_MAX + 1];
    unsigned char tenant[SERVER_TENANT_BYTES];
    size_t tenant_len;
    pthread_mutex_t lock; /* exchange, stage */
    struct server_exchange *exchange;
    enum { PREPARING, RUNNING, FAILED } stage;
    struct err failure;

    struct api_run run;
    bool has_begun, has_ended, is_large;
};

static void unref(struct generation *generation)
{
    if (atomic_fetch_sub(&generation->refs, 1) != 1) {
        return;
    }
    api_run_close(&generation->run);
    server_exchange_free_body(generation->server, &generation->body);
    if (generation->is_large) {
        os_memory_trim(); /* JSON and tokens of 32 MiB are ten times that */
    }
    pthread_mutex_destroy(&generation->lock);
    mem_free(generation);
}

/* From the engine's thread. */
static void on_events(void *arg)
{
    struct generation *generation = arg;
    pthread_mutex_lock(&generation->lock);
    if (generation->exchange) {
        server_exchange_wake(generation->exchange);
    }
    pthread_mutex_unlock(&generation->lock);
}

/* ---- worker ---- */

static bool is_abandoned(void *arg)
{
    struct generation *generation = arg;
    pthread_mutex_lock(&generation->lock);
    bool abandoned = !generation->exchange || atomic_load(&generation->exchange->gone);
    pthread_mutex_unlock(&generation->lock);
    return abandoned;
}

static bool prepare(struct generation *generation, struct err *err)
{
    struct api_run_owner owner = {
        .registry = generation->server->registry,
        .id = str_of(generation->id),
        .tenant = {(const char *)generation->tenant, generation->tenant_len},
        .notify = on_events,
        .is_abandoned = is_abandoned,
        .arg = generation};
    bool is_parsed =
        api_run_parse(&generation->run, generation->dialect, buf_view(&generation->body), err);
    server_exchange_free_body(generation->server, &generation->body);
    return is_parsed && api_run_submit(&generation->run, &owner, err);
}

static void work(void *arg)
{
    struct generation *generation = arg;
    bool ok = !is_abandoned(generation) && prepare(generation, &generation->failure);
    pthread_mutex_lock(&generation->lock);
    generation->stage = ok ? RUNNING : FAILED;
    if (generation->exchange) {
        server_exchange_wake(generation->exchange);
    }
    pthread_mutex_unlock(&generation->lock);
    unref(generation);
}

/* ---- libmicrohttpd's thread ---- */

static void release(struct server_exchange *exchange)
{
    struct generation *generation = exchange->state;
    pthread_mutex_lock(&generation->lock);
    generation->exchange = NULL;
    bool is_prepared = generation->stage != PREPARING;
    pthread_mutex_unlock(&generation->lock);
    if (is_prepared) {
        api_run_stop(&generation->run);
    }
    exchange->state = NULL;
    unref(generation);
}

static enum server_step start(struct server_exchange *exchange, const struct api_dialect *dialect)
{
    struct generation *generation = MEM_NEW(struct generation);
    struct err failure;
    if (!generation) {
        err_set_memory(&failure, sizeof *generation);
        return server_exchange_fail(exchange, &failure);
    }
    atomic_init(&generation->refs, 2);
    pthread_mutex_init(&generation->lock, NULL);
    generation->server = exchange->server;
    generation->dialect = dialect;
    generation->exchange = exchange;
    generation->body = exchange->body;
    generation->is_large = exchange->body.len > LARGE_BYTES;
    exchange->body = (struct buf){0};
    memcpy(generation->id, exchange->id, sizeof generation->id);
    generation->tenant_len = server_access_tenant(
        exchange->server->access, server_exchange_header(exchange, MHD_HTTP_HEADER_AUTHORIZATION),
        server_exchange_header(exchange, "x-api-key"), generation->tenant);
    generation->job = (struct server_job){.run = work, .arg = generation};
    exchange->state = generation;
    exchange->release = release;
    server_workers_add(exchange->server->workers, &generation->job);
    return server_conn_watch(exchange->conn, exchange) ? SERVER_STEP_WAIT : SERVER_STEP_DROP;
}

static void note_usage(struct server_exchange *exchange, const struct generation *generation)
{
    struct api_usage usage = api_render_usage(&generation->run.render);
    exchange->prompt_tokens = usage.prompt_tokens;
    exchange->completion_tokens = usage.completion_tokens;
    exchange->has_usage = true;
}

/* False with *failure when the generation cannot go on. */
static bool drain(struct server_exchange *exchange, struct generation *generation, struct buf *out,
                  struct err *failure)
{
    if (!api_run_drain(&generation->run, PULL_BYTES, out, failure)) {
        return false;
    }
    if (api_run_is_done(&generation->run)) {
        note_usage(exchange, generation);
    }
    return true;
}

static enum server_pull pull(struct server_exchange *exchange, struct buf *out)
{
    struct generation *generation = exchange->state;
    struct err failure;
    if (generation->has_ended) {
        return SERVER_PULL_END;
    }
    if (!generation->has_begun) {
        generation->has_begun = true;
        generation->dialect->begin(&generation->run.render, out);
    }
    if (!drain(exchange, generation, out, &failure)) {
        generation->dialect->broken(&generation->run.render, &failure, out);
        exchange->fault = failure; /* for the log */
        generation->has_ended = true;
    } else if (api_run_is_done(&generation->run)) {
        generation->dialect->end(&generation->run.render, out);
        generation->has_ended = true;
    }
    return out->len > 0 ? SERVER_PULL_MORE : SERVER_PULL_WAIT;
}

static enum server_step reply_whole(struct server_exchange *exchange, struct generation *generation)
{
    struct err failure;
    struct buf unused = {0};
    bool ok = drain(exchange, generation, &unused, &failure);
    buf_deinit(&unused);
    if (!ok) {
        return server_exchange_fail(exchange, &failure);
    }
    if (!api_run_is_done(&generation->run)) {
        return SERVER_STEP_WAIT;
    }
    generation->dialect->whole(&generation->run.render, &exchange->reply.body);
    if (generation->run.render.failed || exchange->reply.body.failed) {
        err_set_memory(&failure, exchange->reply.body.len);
        exchange->reply.body.failed = false;
        return server_exchange_fail(exchange, &failure);
    }
    exchange->reply.status = 200;
    exchange->reply.content_type = "application/json";
    return SERVER_STEP_REPLY;
}

enum server_step server_generate(struct server_exchange *exchange,
                                 const struct api_dialect *dialect)
{
    struct generation *generation = exchange->state;
    if (!generation) {
        return start(exchange, dialect);
    }
    pthread_mutex_lock(&generation->lock);
    int stage = (int)generation->stage;
    pthread_mutex_unlock(&generation->lock);
    if (stage == PREPARING) {
        return SERVER_STEP_WAIT;
    }
    if (stage == FAILED) {
        return server_exchange_fail(exchange, &generation->failure);
    }
    str_quote(exchange->model, generation->run.render.model);
    str_quote(exchange->user, str_slice(generation->run.request.user, 0, 64));
    if (!generation->run.request.stream) {
        return reply_whole(exchange, generation);
    }
    exchange->reply.status = 200;
    exchange->reply.content_type =
        dialect->stream_type ? dialect->stream_type : "text/event-stream; charset=utf-8";
    exchange->reply.pull = pull;
    return SERVER_STEP_REPLY;
}

enum server_step server_generate_chat(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_openai_chat);
}

enum server_step server_generate_completion(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_openai_completions);
}
