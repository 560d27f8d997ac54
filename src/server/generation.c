#include "server/generation.h"

#include "base/clock.h"
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
    enum stage { WORKING, LOADING, RUNNING, FAILED } stage;
    struct err failure;

    struct api_run run;
    bool is_parsed;            /* and the model was asked for */
    int64_t asked_ns, told_ns; /* since when it waits; when the client last heard of it */
    struct err commit_failure;
    enum { COMMIT_NONE, COMMIT_RUNNING, COMMIT_DONE, COMMIT_FAILED } commit; /* lock */
    bool has_begun, has_ended, is_large;
    bool has_failed; /* while it ran, with `failure` */
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

/* From the engine's thread or the registry's. */
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

/* What is to be done next; the stage that follows. */
static enum stage advance(struct server_generation *generation, struct err *err)
{
    struct api_run_owner owner = {
        .registry = generation->server->registry,
        .keep = &generation->server->params.keep,
        .id = str_of(generation->id),
        .tenant = {(const char *)generation->tenant, generation->tenant_len},
        .notify = on_events,
        .is_abandoned = is_abandoned,
        .arg = generation};
    if (!generation->is_parsed) {
        bool ok =
            api_run_parse(&generation->run, generation->dialect, buf_view(&generation->body), err);
        server_exchange_free_body(generation->server, &generation->body);
        if (!ok || !api_run_ask(&generation->run, &owner, err)) {
            return FAILED;
        }
        generation->is_parsed = true;
        generation->asked_ns = clock_now_ns();
        generation->told_ns = generation->asked_ns - ROUTE_PROGRESS_NS;
        if (api_run_poll(&generation->run, NULL, NULL) == ROUTE_USE_WAITING) {
            return LOADING;
        }
    }
    return api_run_submit(&generation->run, &owner, err) ? RUNNING : FAILED;
}

static void work(void *arg)
{
    struct server_generation *generation = arg;
    enum stage stage =
        is_abandoned(generation) ? FAILED : advance(generation, &generation->failure);
    pthread_mutex_lock(&generation->lock);
    generation->stage = stage;
    if (generation->wake) {
        generation->wake(generation->arg);
    }
    pthread_mutex_unlock(&generation->lock);
    unref(generation);
}

static void commit(void *arg)
{
    struct server_generation *generation = arg;
    bool ok = api_run_commit(&generation->run, &generation->commit_failure);
    pthread_mutex_lock(&generation->lock);
    generation->commit = ok ? COMMIT_DONE : COMMIT_FAILED;
    if (generation->wake) {
        generation->wake(generation->arg);
    }
    pthread_mutex_unlock(&generation->lock);
    unref(generation);
}

static void abandon(void *arg)
{
    struct server_generation *generation = arg;
    api_run_abandon(&generation->run, generation->has_failed ? &generation->failure : NULL);
    unref(generation);
}

static void hand_over(struct server_generation *generation, void (*run)(void *arg))
{
    atomic_fetch_add(&generation->refs, 1);
    generation->job = (struct server_job){.run = run, .arg = generation};
    server_workers_add(generation->server->workers, &generation->job);
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
    bool is_prepared = generation->stage != WORKING;
    bool is_lost = generation->stage == RUNNING && generation->commit == COMMIT_NONE &&
                   api_run_must_commit(&generation->run);
    pthread_mutex_unlock(&generation->lock);
    if (is_prepared) {
        api_run_stop(&generation->run);
    }
    if (is_lost) {
        hand_over(generation, abandon);
    }
    unref(generation);
}

/* The answer is complete. True once it may be told: nothing is kept of it, or it is on the disk. */
static bool is_committed(struct server_generation *generation, struct err *failure)
{
    if (!api_run_must_commit(&generation->run)) {
        return true;
    }
    pthread_mutex_lock(&generation->lock);
    int state = (int)generation->commit;
    generation->commit = state == COMMIT_NONE ? COMMIT_RUNNING : generation->commit;
    pthread_mutex_unlock(&generation->lock);
    if (state == COMMIT_NONE) {
        hand_over(generation, commit);
    } else if (state == COMMIT_FAILED) {
        *failure = generation->commit_failure;
    }
    return state == COMMIT_DONE;
}

/* The stage, after a look at the model that is waited for: once it is there, or is not to be had, a
 * worker goes on. */
static enum stage look(struct server_generation *generation, double *progress)
{
    pthread_mutex_lock(&generation->lock);
    enum stage stage = generation->stage;
    pthread_mutex_unlock(&generation->lock);
    if (stage != LOADING || api_run_poll(&generation->run, progress, NULL) == ROUTE_USE_WAITING) {
        return stage;
    }
    pthread_mutex_lock(&generation->lock);
    generation->stage = WORKING;
    pthread_mutex_unlock(&generation->lock);
    atomic_fetch_add(&generation->refs, 1);
    server_workers_add(generation->server->workers, &generation->job);
    return WORKING;
}

enum server_generation_stage server_generation_stage(struct server_generation *generation)
{
    static const enum server_generation_stage stages[] = {[WORKING] = SERVER_GENERATION_PREPARING,
                                                          [LOADING] = SERVER_GENERATION_PREPARING,
                                                          [RUNNING] = SERVER_GENERATION_RUNNING,
                                                          [FAILED] = SERVER_GENERATION_FAILED};
    return stages[look(generation, NULL)];
}

bool server_generation_shows_loading(struct server_generation *generation)
{
    return look(generation, NULL) == LOADING && generation->run.request.stream &&
           generation->dialect->loading &&
           clock_now_ns() - generation->asked_ns >= ROUTE_PROGRESS_NS;
}

/* A sign of life, at most one per wake that the load is worth. */
static enum server_pull pull_loading(struct server_generation *generation, double progress,
                                     struct buf *out)
{
    int64_t now = clock_now_ns();
    if (now - generation->told_ns < ROUTE_PROGRESS_NS) {
        return SERVER_PULL_WAIT;
    }
    generation->told_ns = now;
    generation->dialect->loading(progress, out);
    return SERVER_PULL_MORE;
}

struct api_run *server_generation_run_of(struct server_generation *generation)
{
    return &generation->run;
}

void server_generation_hand_on(struct server_generation *generation, void (*wake)(void *arg),
                               void *arg)
{
    pthread_mutex_lock(&generation->lock);
    generation->wake = wake;
    generation->arg = arg;
    pthread_mutex_unlock(&generation->lock);
}

bool server_generation_abandon(struct server_generation *generation, const struct err *failure)
{
    pthread_mutex_lock(&generation->lock);
    bool is_open = generation->commit == COMMIT_NONE || generation->commit == COMMIT_FAILED;
    generation->commit = is_open ? COMMIT_DONE : generation->commit;
    pthread_mutex_unlock(&generation->lock);
    if (is_open) {
        api_run_stop(&generation->run);
        api_run_abandon(&generation->run, failure);
    }
    return is_open;
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
    double progress = 0;
    if (generation->has_ended) {
        return SERVER_PULL_END;
    }
    switch (look(generation, &progress)) {
    case WORKING:
        return SERVER_PULL_WAIT;
    case LOADING:
        return pull_loading(generation, progress, out);
    case FAILED:
        *failure = generation->failure;
        generation->dialect->broken(&run->render, failure, out);
        generation->has_ended = true;
        return SERVER_PULL_MORE;
    case RUNNING:
        break;
    }
    if (!generation->has_begun) {
        generation->has_begun = true;
        generation->dialect->begin(&run->render, out);
    }
    bool ok = api_run_drain(run, PULL_BYTES, out, failure);
    if (!ok) {
        generation->failure = *failure; /* for what is kept of it */
        generation->has_failed = true;
    } else if (api_run_is_done(run) && is_committed(generation, failure)) {
        generation->dialect->end(&run->render, out);
        generation->has_ended = true;
    }
    if (failure->code != ERR_NONE) {
        generation->dialect->broken(&run->render, failure, out);
        generation->has_ended = true;
    }
    return out->len > 0            ? SERVER_PULL_MORE
           : generation->has_ended ? SERVER_PULL_END
                                   : SERVER_PULL_WAIT;
}

enum server_pull server_generation_whole(struct server_generation *generation, struct buf *out,
                                         struct err *failure)
{
    struct api_run *run = &generation->run;
    struct buf unused = {0};
    failure->code = ERR_NONE;
    if (!api_run_drain(run, PULL_BYTES, &unused, failure)) {
        generation->failure = *failure; /* for what is kept of it */
        generation->has_failed = true;
    }
    buf_deinit(&unused);
    bool is_told =
        failure->code == ERR_NONE && api_run_is_done(run) && is_committed(generation, failure);
    if (failure->code != ERR_NONE) {
        return SERVER_PULL_BROKEN;
    }
    if (!is_told) {
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
