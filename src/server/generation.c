#include "server/generation.h"

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"

enum {
    PULL_BYTES = 32 << 10, /* rendered per turn, so that streams take turns */
    LARGE_BYTES = 1 << 20, /* a body whose heap is worth giving back */
};

struct server_generation {
    atomic_int refs;
    struct server *server;
    const struct api_dialect *dialect;
    struct server_job job;
    struct buf body;
    char id[SERVER_ID_MAX + 1];
    unsigned char tenant[SERVER_TENANT_BYTES];
    size_t tenant_len;
    pthread_mutex_t lock; /* wake, stage */
    void (*wake)(void *arg);
    void *arg;
    enum server_generation_stage stage;
    struct err failure;

    struct api_run run;
    bool has_begun, has_ended, is_large;
};

static void unref(struct server_generation *generation)
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
    struct server_generation *generation = arg;
    pthread_mutex_lock(&generation->lock);
    if (generation->wake) {
        generation->wake(generation->arg);
    }
    pthread_mutex_unlock(&generation->lock);
}

/* ---- worker ---- */

static bool is_abandoned(void *arg)
{
    struct server_generation *generation = arg;
    pthread_mutex_lock(&generation->lock);
    bool abandoned = !generation->wake;
    pthread_mutex_unlock(&generation->lock);
    return abandoned;
}

static bool prepare(struct server_generation *generation, struct err *err)
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
    struct server_generation *generation = arg;
    bool ok = !is_abandoned(generation) && prepare(generation, &generation->failure);
    pthread_mutex_lock(&generation->lock);
    generation->stage = ok ? SERVER_GENERATION_RUNNING : SERVER_GENERATION_FAILED;
    if (generation->wake) {
        generation->wake(generation->arg);
    }
    pthread_mutex_unlock(&generation->lock);
    unref(generation);
}

/* ---- owner ---- */

struct server_generation *server_generation_create(const struct server_generation_params *params,
                                                   struct buf *body, struct err *err)
{
    struct server_generation *generation = MEM_NEW(struct server_generation);
    if (!generation) {
        server_exchange_free_body(params->server, body);
        err_set_memory(err, sizeof *generation);
        return NULL;
    }
    atomic_init(&generation->refs, 2);
    pthread_mutex_init(&generation->lock, NULL);
    generation->server = params->server;
    generation->dialect = params->dialect;
    generation->wake = params->wake;
    generation->arg = params->arg;
    generation->body = *body;
    generation->is_large = body->len > LARGE_BYTES;
    *body = (struct buf){0};
    memcpy(generation->id, params->id.ptr, size_min(params->id.len, SERVER_ID_MAX));
    generation->tenant_len = size_min(params->tenant.len, SERVER_TENANT_BYTES);
    if (generation->tenant_len) {
        memcpy(generation->tenant, params->tenant.ptr, generation->tenant_len);
    }
    generation->job = (struct server_job){.run = work, .arg = generation};
    server_workers_add(params->server->workers, &generation->job);
    return generation;
}

void server_generation_leave(struct server_generation *generation)
{
    if (!generation) {
        return;
    }
    pthread_mutex_lock(&generation->lock);
    generation->wake = NULL;
    bool is_prepared = generation->stage != SERVER_GENERATION_PREPARING;
    pthread_mutex_unlock(&generation->lock);
    if (is_prepared) {
        api_run_stop(&generation->run);
    }
    unref(generation);
}

enum server_generation_stage server_generation_stage(struct server_generation *generation)
{
    pthread_mutex_lock(&generation->lock);
    enum server_generation_stage stage = generation->stage;
    pthread_mutex_unlock(&generation->lock);
    return stage;
}

const struct api_run *server_generation_run(const struct server_generation *generation)
{
    return &generation->run;
}

const struct err *server_generation_failure(const struct server_generation *generation)
{
    return &generation->failure;
}

enum server_pull server_generation_pull(struct server_generation *generation, struct buf *out,
                                        struct err *failure)
{
    struct api_run *run = &generation->run;
    failure->code = ERR_NONE;
    if (generation->has_ended) {
        return SERVER_PULL_END;
    }
    if (!generation->has_begun) {
        generation->has_begun = true;
        generation->dialect->begin(&run->render, out);
    }
    if (!api_run_drain(run, PULL_BYTES, out, failure)) {
        generation->dialect->broken(&run->render, failure, out);
        generation->has_ended = true;
    } else if (api_run_is_done(run)) {
        generation->dialect->end(&run->render, out);
        generation->has_ended = true;
    }
    return out->len > 0 ? SERVER_PULL_MORE : SERVER_PULL_WAIT;
}

enum server_pull server_generation_whole(struct server_generation *generation, struct buf *out,
                                         struct err *failure)
{
    struct api_run *run = &generation->run;
    struct buf unused = {0};
    bool ok = api_run_drain(run, PULL_BYTES, &unused, failure);
    buf_deinit(&unused);
    if (!ok) {
        return SERVER_PULL_BROKEN;
    }
    if (!api_run_is_done(run)) {
        return SERVER_PULL_WAIT;
    }
    generation->dialect->whole(&run->render, out);
    if (run->render.failed || out->failed) {
        err_set_memory(failure, out->len);
        out->failed = false;
        return SERVER_PULL_BROKEN;
    }
    return SERVER_PULL_MORE;
}
