/* A generation and its threads:
 *
 *     libmicrohttpd   create, hand to a worker; later pull events, render, send; at last release
 *     worker          parse, find the model, render the template, tokenise, submit to the engine
 *     engine          notify: wakes libmicrohttpd's thread
 *     front           the client left: wakes it as well, with the exchange marked as gone
 *
 * It is counted: once for the exchange, once for the worker. `exchange` is NULL (under the lock)
 * after the client left; a worker that then finishes cancels what it submitted. Between PREPARING
 * and its end only the worker touches request, render and streams; afterwards only libmicrohttpd's
 * thread. */
#include "server/generate.h"

#include "api/openai.h"
#include "api/render.h"
#include "api/request.h"
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

    struct gen_request request;
    struct api_render render;
    struct engine_stream **streams; /* [stream_count], one per choice */
    size_t stream_count;
    size_t next_choice; /* whose turn it is to be read first */
    bool has_begun, has_ended, is_large;
};

static void close_streams(struct generation *generation)
{
    for (size_t i = 0; i < generation->stream_count; i++) {
        engine_cancel(generation->streams[i]); /* all first: closing may wait for a step */
    }
    for (size_t i = 0; i < generation->stream_count; i++) {
        engine_stream_close(generation->streams[i]);
    }
    mem_free(generation->streams);
    generation->streams = NULL;
    generation->stream_count = 0;
}

static void unref(struct generation *generation)
{
    if (atomic_fetch_sub(&generation->refs, 1) != 1) {
        return;
    }
    close_streams(generation);
    api_render_deinit(&generation->render);
    api_request_deinit(&generation->request);
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

static bool is_abandoned(struct generation *generation)
{
    pthread_mutex_lock(&generation->lock);
    bool abandoned = !generation->exchange || atomic_load(&generation->exchange->gone);
    pthread_mutex_unlock(&generation->lock);
    return abandoned;
}

static bool submit(struct generation *generation, struct engine *engine, struct err *err)
{
    size_t count = api_request_choices(&generation->request);
    generation->streams = MEM_ARRAY(struct engine_stream *, count);
    if (!generation->streams) {
        return err_set_memory(err, count * sizeof *generation->streams);
    }
    for (size_t i = 0; i < count; i++) {
        struct engine_request request;
        api_request_engine(&generation->request, i, str_of(generation->id), &request);
        request.cache_salt = (struct str){(const char *)generation->tenant, generation->tenant_len};
        struct engine_stream *stream = engine_submit(engine, &request, on_events, generation, err);
        if (!stream) {
            if (err->code == ERR_CONTEXT && err->param[0] == 0) {
                err_wrap_param(err, "%s",
                               generation->request.prompts[i / generation->request.n].path);
            }
            return false;
        }
        generation->streams[generation->stream_count++] = stream;
    }
    return true;
}

/* Equal texts promise equal answers: file, numerics, build. */
static void add_fingerprint(const struct route_local *local, struct buf *out)
{
    const struct route_local_params *params = route_local_params_of(local);
    const struct model_info *info =
        model_info(route_local_model((struct route_local *)(uintptr_t)local));
    buf_add_format(out, "%s %s %llu %llu %s %s", HEARTH_VERSION, info->architecture,
                   (unsigned long long)info->file_bytes, (unsigned long long)info->parameter_count,
                   cpu_level_name(params->cpu_level), route_kv_type_name(params->kv_type));
}

static bool prepare(struct generation *generation, struct err *err)
{
    struct gen_request *request = &generation->request;
    bool is_parsed = generation->dialect->parse(request, buf_view(&generation->body), err);
    server_exchange_free_body(generation->server, &generation->body);
    if (!is_parsed || is_abandoned(generation)) {
        return false;
    }
    struct route_local *local = api_request_local(request, generation->server->registry, err);
    if (!local || !api_request_prepare(request, local, err) || is_abandoned(generation)) {
        return false;
    }
    struct buf fingerprint = {0};
    add_fingerprint(local, &fingerprint);
    bool ok = api_render_init(&generation->render, generation->dialect, request,
                              route_local_text(local), request->model, buf_view(&fingerprint), err);
    buf_deinit(&fingerprint);
    return ok && submit(generation, route_local_engine(local), err);
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
        close_streams(generation);
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
    struct api_usage usage = api_render_usage(&generation->render);
    exchange->prompt_tokens = usage.prompt_tokens;
    exchange->completion_tokens = usage.completion_tokens;
    exchange->has_usage = true;
}

/* Takes events of all choices in turns until there are none or `out` is full. False with *failure
 * when the generation cannot go on. */
static bool drain(struct server_exchange *exchange, struct generation *generation, struct buf *out,
                  struct err *failure)
{
    size_t idle = 0;
    while (idle < generation->stream_count && out->len < PULL_BYTES) {
        size_t choice = generation->next_choice;
        struct engine_event event;
        generation->next_choice = (choice + 1) % generation->stream_count;
        if (generation->render.choices[choice].is_done ||
            !engine_next(generation->streams[choice], &event)) {
            idle++;
            continue;
        }
        idle = 0;
        bool ok = true;
        if (event.kind == ENGINE_EVENT_ERROR) {
            *failure = event.error;
            ok = false;
        } else if (event.kind == ENGINE_EVENT_DONE && event.finish == ENGINE_CANCELLED) {
            ok = err_set(failure, ERR_BUSY, "the server is stopping");
        } else {
            struct gen_event told;
            api_render_collect(&generation->render, choice, &event, &told);
            if (generation->request.stream) {
                generation->dialect->event(&generation->render, choice, &told, out);
            }
        }
        engine_event_deinit(&event);
        if (ok && (generation->render.failed || out->failed)) {
            ok = err_set_memory(failure, out->len);
        }
        if (!ok) {
            return false;
        }
    }
    if (api_render_is_done(&generation->render)) {
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
        generation->dialect->begin(&generation->render, out);
    }
    if (!drain(exchange, generation, out, &failure)) {
        generation->dialect->broken(&generation->render, &failure, out);
        exchange->fault = failure; /* for the log */
        generation->has_ended = true;
    } else if (api_render_is_done(&generation->render)) {
        generation->dialect->end(&generation->render, out);
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
    if (!api_render_is_done(&generation->render)) {
        return SERVER_STEP_WAIT;
    }
    generation->dialect->whole(&generation->render, &exchange->reply.body);
    if (generation->render.failed || exchange->reply.body.failed) {
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
    str_quote(exchange->model, generation->render.model);
    str_quote(exchange->user, str_slice(generation->request.user, 0, 64));
    if (!generation->request.stream) {
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
