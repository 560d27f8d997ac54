#include "server/background.h"

#include <stdio.h>

#include "api/responses.h"
#include "base/json.h"
#include "base/mem.h"
#include "server/calls.h"

enum { EVENTS_BYTES = 32 << 10 };

struct reader;

struct background {
    atomic_int refs; /* the list while it runs, each reader, each call that waits */
    struct server_backgrounds *all;
    struct server_generation *generation;
    char id[API_ID_MAX];
    unsigned char tenant[SERVER_TENANT_BYTES];
    size_t tenant_len;
    struct server_job job;
    atomic_bool is_queued; /* the job waits to run */
    atomic_bool is_cancelled;

    pthread_mutex_t lock; /* the run and its log, readers, has_ended */
    pthread_cond_t ended;
    struct reader *readers;
    bool has_ended;

    struct background *next, *prev; /* the list, under its lock */
};

/* An exchange that is told the events. */
struct reader {
    struct background *background;
    struct server_exchange *exchange;
    struct api_responses_cursor cursor;
    int64_t after;
    struct reader *next;
};

struct server_backgrounds {
    struct server *server;
    struct server_workers *driver; /* one thread */
    atomic_bool stopping;          /* set under the lock: no job is added afterwards */
    pthread_mutex_t lock;          /* first, and adding jobs */
    struct background *first;
};

/* ---- life ---- */

struct server_backgrounds *server_backgrounds_create(struct server *server, struct err *err)
{
    struct server_backgrounds *all = MEM_NEW(struct server_backgrounds);
    if (!all) {
        err_set_memory(err, sizeof *all);
        return NULL;
    }
    pthread_mutex_init(&all->lock, NULL);
    all->server = server;
    all->driver = server_workers_create(1, err);
    if (!all->driver) {
        server_backgrounds_destroy(all);
        return NULL;
    }
    return all;
}

static void unref(struct background *background)
{
    if (atomic_fetch_sub(&background->refs, 1) != 1) {
        return;
    }
    server_generation_leave(background->generation);
    pthread_mutex_destroy(&background->lock);
    pthread_cond_destroy(&background->ended);
    mem_free(background);
}

/* Counted. */
static struct background *find(struct server_backgrounds *all, struct str tenant, struct str id)
{
    pthread_mutex_lock(&all->lock);
    struct background *found = all->first;
    while (found && !(str_eq(id, str_of(found->id)) &&
                      str_eq(tenant, (struct str){(char *)found->tenant, found->tenant_len}))) {
        found = found->next;
    }
    if (found) {
        atomic_fetch_add(&found->refs, 1);
    }
    pthread_mutex_unlock(&all->lock);
    return found;
}

static void add_to_list(struct server_backgrounds *all, struct background *background)
{
    pthread_mutex_lock(&all->lock);
    background->next = all->first;
    if (background->next) {
        background->next->prev = background;
    }
    all->first = background;
    pthread_mutex_unlock(&all->lock);
}

static void remove_from_list(struct background *background)
{
    struct server_backgrounds *all = background->all;
    pthread_mutex_lock(&all->lock);
    if (background->prev) {
        background->prev->next = background->next;
    } else {
        all->first = background->next;
    }
    if (background->next) {
        background->next->prev = background->prev;
    }
    pthread_mutex_unlock(&all->lock);
    unref(background);
}

/* ---- driving on ---- */

static void wake_readers(struct background *background)
{
    for (struct reader *reader = background->readers; reader; reader = reader->next) {
        server_exchange_wake(reader->exchange);
    }
}

/* One turn; true once the end has come and is on the disk. */
static bool advance(struct background *background)
{
    struct err failure;
    struct buf unused = {0};
    enum server_pull pulled = SERVER_PULL_WAIT;
    if (atomic_load(&background->is_cancelled) &&
        server_generation_abandon(background->generation, NULL)) {
        return true;
    }
    pulled = server_generation_pull(background->generation, &unused, &failure);
    buf_deinit(&unused);
    if (failure.code != ERR_NONE) {
        server_generation_abandon(background->generation, &failure);
        return true;
    }
    return pulled == SERVER_PULL_END;
}

static void work(void *arg)
{
    struct background *background = arg;
    atomic_store(&background->is_queued, false);
    pthread_mutex_lock(&background->lock);
    bool ends = !background->has_ended && advance(background);
    background->has_ended = background->has_ended || ends;
    if (ends) {
        pthread_cond_broadcast(&background->ended);
    }
    wake_readers(background);
    pthread_mutex_unlock(&background->lock);
    if (ends) {
        remove_from_list(background);
    }
    unref(background);
}

/* Any thread; may be called under the generation's lock. */
static void drive(void *arg)
{
    struct background *background = arg;
    struct server_backgrounds *all = background->all;
    pthread_mutex_lock(&all->lock);
    if (!atomic_load(&all->stopping) && !atomic_exchange(&background->is_queued, true)) {
        atomic_fetch_add(&background->refs, 1);
        background->job = (struct server_job){.run = work, .arg = background};
        server_workers_add(all->driver, &background->job);
    }
    pthread_mutex_unlock(&all->lock);
}

void server_backgrounds_stop(struct server_backgrounds *all)
{
    if (all) {
        pthread_mutex_lock(&all->lock);
        atomic_store(&all->stopping, true);
        pthread_mutex_unlock(&all->lock);
        server_workers_destroy(all->driver);
        all->driver = NULL;
        for (struct background *at = all->first; at; at = at->next) {
            pthread_mutex_lock(&at->lock);
            pthread_cond_broadcast(&at->ended); /* calls that wait give up */
            pthread_mutex_unlock(&at->lock);
        }
    }
}

void server_backgrounds_destroy(struct server_backgrounds *all)
{
    if (!all) {
        return;
    }
    server_backgrounds_stop(all);
    while (all->first) {
        struct background *background = all->first;
        struct err failure;
        err_set(&failure, ERR_BUSY, "the server stopped before the response was complete");
        server_generation_abandon(background->generation, &failure);
        remove_from_list(background);
    }
    pthread_mutex_destroy(&all->lock);
    mem_free(all);
}

/* ---- readers ---- */

static void release(struct server_exchange *exchange)
{
    struct reader *reader = exchange->state;
    struct background *background = reader->background;
    pthread_mutex_lock(&background->lock);
    struct reader **at = &background->readers;
    while (*at != reader) {
        at = &(*at)->next;
    }
    *at = reader->next;
    pthread_mutex_unlock(&background->lock);
    exchange->state = NULL;
    mem_free(reader);
    unref(background);
}

static struct api_responses_log *log_of(struct background *background)
{
    struct api_run *run = server_generation_run_of(background->generation);
    return api_responses_log_of(&run->render);
}

static enum server_pull pull(struct server_exchange *exchange, struct buf *out)
{
    struct reader *reader = exchange->state;
    struct background *background = reader->background;
    pthread_mutex_lock(&background->lock);
    reader->cursor.holds_end = !background->has_ended; /* it is told when it is on the disk */
    api_responses_log_events(log_of(background), &reader->cursor, reader->after, EVENTS_BYTES, out);
    pthread_mutex_unlock(&background->lock);
    return out->len > 0               ? SERVER_PULL_MORE
           : reader->cursor.has_ended ? SERVER_PULL_END
                                      : SERVER_PULL_WAIT;
}

/* Takes the reference to the background in any case. */
static enum server_step read_events(struct server_exchange *exchange, struct background *background,
                                    int64_t after)
{
    struct reader *reader = MEM_NEW(struct reader);
    if (!reader) {
        struct err failure;
        unref(background);
        err_set_memory(&failure, sizeof *reader);
        return server_exchange_fail(exchange, &failure);
    }
    *reader = (struct reader){.background = background, .exchange = exchange, .after = after};
    pthread_mutex_lock(&background->lock);
    reader->next = background->readers;
    background->readers = reader;
    pthread_mutex_unlock(&background->lock);
    exchange->state = reader;
    exchange->release = release;
    exchange->reply.status = 200;
    exchange->reply.content_type = "text/event-stream; charset=utf-8";
    exchange->reply.pull = pull;
    return SERVER_STEP_REPLY;
}

static void add_object(struct background *background, struct buf *out)
{
    pthread_mutex_lock(&background->lock);
    json_t *object = api_responses_log_object(log_of(background));
    bool is_on_disk = background->has_ended;
    pthread_mutex_unlock(&background->lock);
    if (!is_on_disk && json_array_size(json_object_get(object, "output")) > 0) {
        json_object_set_new(object, "status", json_string("in_progress"));
        json_object_set_new(object, "completed_at", json_null());
        json_object_set_new(object, "incomplete_details", json_null());
        json_object_set_new(object, "output", json_array());
        json_object_set_new(object, "usage", json_null());
    }
    json_write(out, object);
    json_decref(object);
}

enum server_step server_background_adopt(struct server_exchange *exchange)
{
    struct server_generation *generation = exchange->state;
    struct background *background = MEM_NEW(struct background);
    struct api_run *run = server_generation_run_of(generation);
    if (!background) {
        struct err failure;
        err_set_memory(&failure, sizeof *background);
        return server_exchange_fail(exchange, &failure);
    }
    atomic_init(&background->refs, 2); /* the list, and this call */
    pthread_mutex_init(&background->lock, NULL);
    pthread_cond_init(&background->ended, NULL);
    background->all = exchange->server->backgrounds;
    background->generation = generation;
    snprintf(background->id, sizeof background->id, "%s", run->render.id);
    background->tenant_len = run->owner.tenant.len;
    memcpy(background->tenant, run->owner.tenant.ptr, background->tenant_len);
    exchange->state = NULL;
    exchange->release = NULL;
    add_to_list(background->all, background);
    bool streams = run->request.stream;
    if (!streams) {
        add_object(background, &exchange->reply.body);
    }
    server_generation_hand_on(generation, drive, background);
    drive(background); /* what came before it was handed on */
    if (streams) {
        return read_events(exchange, background, -1);
    }
    unref(background);
    exchange->reply.status = 200;
    exchange->reply.content_type = "application/json";
    return SERVER_STEP_REPLY;
}

/* ---- calls ---- */

static struct server_backgrounds *all_of(const struct api_call *call)
{
    struct server *server = call->host;
    return server->backgrounds;
}

static bool get_response(struct api_call *call, struct err *err)
{
    struct background *background = find(all_of(call), call->tenant, call->ids[0]);
    if (!background) {
        return api_responses_call_get(call, err);
    }
    add_object(background, &call->out);
    unref(background);
    return true;
}

static bool read_after(struct str text, int64_t *after, struct err *err)
{
    *after = -1;
    return !text.ptr || (str_to_i64(text, after) && *after >= 0) ||
           err_set_param(err, ERR_INVALID, "starting_after",
                         "invalid value for 'starting_after': must be a sequence number");
}

/* The events of a response that has ended, as one body. */
static bool get_events(struct api_call *call, struct err *err)
{
    struct store_object object;
    struct api_responses_log log;
    struct api_responses_cursor cursor = {0};
    int64_t after;
    if (!read_after(api_call_query(call, "starting_after"), &after, err) ||
        !api_call_get(call, STORE_RESPONSE, STR(""), call->ids[0], "response", true, &object,
                      err)) {
        return false;
    }
    bool ok = api_responses_restore(&object, &log, err);
    if (ok && log.status < RESPONSES_COMPLETED) {
        ok = err_set(err, ERR_INVALID,
                     "the response is being generated for another connection, "
                     "which alone can stream it: it is not in the background");
    } else if (ok) {
        log.is_obfuscated = str_eq(api_call_query(call, "include_obfuscation"), STR("true"));
        api_responses_log_events(&log, &cursor, after, SIZE_MAX, &call->out);
        call->media = "text/event-stream; charset=utf-8";
    }
    api_responses_log_deinit(&log);
    return ok;
}

static const char *query_of(const struct server_exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->mhd, MHD_GET_ARGUMENT_KIND, name);
}

enum server_step server_responses_get(struct server_exchange *exchange)
{
    struct err failure;
    unsigned char tenant[SERVER_TENANT_BYTES];
    int64_t after;
    struct str streams = str_of(query_of(exchange, "stream"));
    if (!str_eq(streams, STR("true"))) {
        return server_call(exchange, get_response);
    }
    if (exchange->state) {
        return server_call(exchange, get_events);
    }
    size_t len = server_access_tenant(
        exchange->server->access, server_exchange_header(exchange, MHD_HTTP_HEADER_AUTHORIZATION),
        server_exchange_header(exchange, "x-api-key"), tenant);
    struct background *background =
        find(exchange->server->backgrounds, (struct str){(char *)tenant, len}, exchange->parts[0]);
    if (!background) {
        return server_call(exchange, get_events);
    }
    if (!read_after(str_of(query_of(exchange, "starting_after")), &after, &failure)) {
        unref(background);
        return server_exchange_fail(exchange, &failure);
    }
    return read_events(exchange, background, after);
}

/* Waits for the end of a response that runs; at most a step of the engine and the disk. */
static void cancel(struct api_call *call)
{
    struct background *background = find(all_of(call), call->tenant, call->ids[0]);
    if (!background) {
        return;
    }
    atomic_store(&background->is_cancelled, true);
    drive(background);
    pthread_mutex_lock(&background->lock);
    while (!background->has_ended && !atomic_load(&background->all->stopping)) {
        pthread_cond_wait(&background->ended, &background->lock);
    }
    pthread_mutex_unlock(&background->lock);
    unref(background);
}

static bool cancel_response(struct api_call *call, struct err *err)
{
    cancel(call);
    if (!api_responses_call_get(call, err)) {
        return false;
    }
    json_t *body = json_parse(buf_view(&call->out), NULL, err);
    bool ok = json_is_true(json_object_get(body, "background")) ||
              err_set(err, ERR_INVALID, "only a response in the background can be cancelled");
    json_decref(body);
    return ok;
}

static bool delete_response(struct api_call *call, struct err *err)
{
    cancel(call);
    return api_responses_call_delete(call, err);
}

enum server_step server_responses_cancel(struct server_exchange *exchange)
{
    return server_call(exchange, cancel_response);
}

enum server_step server_responses_delete(struct server_exchange *exchange)
{
    return server_call(exchange, delete_response);
}
