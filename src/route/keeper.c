/* The keeper: the one thread that loads and unloads models.
 *
 *     for ever:  close what was unloaded and nobody holds any more
 *                unload the idle whose time has come
 *                load the file that was asked for first, after making room for it
 *                else read the head of a file that nobody has looked into yet
 *                else sleep until somebody asks, or until the next idle model's time
 *
 * A file with uses is never unloaded; a use that still waits counts as one. */
#include <stdio.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "route/budget.h"
#include "route/shelf.h"

enum {
    RESIDENTS_MAX = 256,
    CTX_WANTED = 8192, /* tokens for which an idle model has to make room, unless told */
};

/* ---- under the lock: small steps ---- */

int64_t route_file_deadline(const struct route_file *file)
{
    if (file->state != ROUTE_READY || file->users > 0 || file->keep_ns < 0) {
        return COND_NEVER;
    }
    return file->keep_ns > INT64_MAX - file->used_ns ? COND_NEVER : file->used_ns + file->keep_ns;
}

void route_file_unload(struct route_registry *registry, struct route_file *file)
{
    struct route_loaded *loaded = file->loaded;
    for (size_t i = 0; i < registry->name_count; i++) {
        if (registry->names[i]->file == file) {
            registry->names[i]->was_asked = false;
        }
    }
    file->loaded = NULL;
    file->state = ROUTE_UNLOADED;
    file->keep_ns = registry->params.keep_ns;
    loaded->next = registry->closing;
    registry->closing = loaded;
    route_loaded_release(registry, loaded);
    pthread_cond_signal(&registry->work);
}

void route_loaded_release(struct route_registry *registry, struct route_loaded *loaded)
{
    if (loaded && --loaded->holds == 0) {
        pthread_cond_signal(&registry->work);
    }
}

static void tell_uses(struct route_file *file)
{
    for (struct route_use *use = file->uses; use; use = use->next) {
        if (use->notify) {
            use->notify(use->arg);
        }
    }
}

/* The load has ended, well or not: all who wait learn it. */
static void settle(struct route_registry *registry, struct route_file *file)
{
    for (struct route_use *use = file->uses; use; use = use->next) {
        if (use->state != ROUTE_USE_WAITING) {
            continue;
        }
        if (file->loaded) {
            use->state = ROUTE_USE_READY;
            use->loaded = file->loaded;
            use->loaded->holds++;
            use->name->was_asked = true;
        } else {
            use->state = ROUTE_USE_FAILED;
            use->failure = file->failure;
        }
    }
    tell_uses(file);
    pthread_cond_broadcast(&registry->settled);
}

/* ---- closing ---- */

/* True if something was closed; the rest is held by snapshots, for a moment. */
static bool close_unused(struct route_registry *registry)
{
    for (struct route_loaded **at = &registry->closing; *at; at = &(*at)->next) {
        struct route_loaded *loaded = *at;
        if (loaded->holds == 0) {
            *at = loaded->next;
            for (size_t i = 0; i < registry->name_count; i++) {
                struct route_name *name = registry->names[i];
                if (name->chat_of == loaded) {
                    chat_close(name->chat);
                    name->chat = NULL;
                    name->chat_of = NULL;
                }
            }
            pthread_mutex_unlock(&registry->lock);
            route_local_close(loaded->local);
            os_memory_trim();
            mem_free(loaded);
            pthread_mutex_lock(&registry->lock);
            return true;
        }
    }
    return false;
}

static bool unload_expired(struct route_registry *registry)
{
    int64_t now = clock_now_ns();
    for (struct route_file *file = registry->files; file; file = file->next) {
        int64_t deadline = route_file_deadline(file);
        if (deadline != COND_NEVER && deadline <= now) {
            route_file_unload(registry, file);
            return true;
        }
    }
    return false;
}

/* ---- room ---- */

struct room {
    uint64_t need;  /* of the least plan that is worth to make room for */
    uint64_t free;  /* now */
    uint64_t other; /* bytes of the other loaded models */
};

static uint64_t loaded_bytes(const struct route_registry *registry)
{
    uint64_t sum = 0;
    for (const struct route_file *file = registry->files; file; file = file->next) {
        sum += file->loaded ? file->loaded->bytes : 0;
    }
    return sum;
}

/* The plan with a context as asked, or else of a usable length, in one sequence. Without the lock.
 */
static bool find_need(const struct route_file *file, uint64_t *need, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct route_local_params params = file->params;
    struct route_facts facts;
    struct route_plan plan;
    if (!route_facts_read(file->path, &facts, err)) {
        return err_wrap(err, "load %s", str_quote(quoted, str_of(file->path)));
    }
    if (params.ctx_tokens == 0) {
        params.ctx_tokens = facts.ctx_train_tokens && facts.ctx_train_tokens < CTX_WANTED
                                ? facts.ctx_train_tokens
                                : CTX_WANTED;
        if (params.kv_tokens && params.kv_tokens < params.ctx_tokens) {
            params.ctx_tokens = params.kv_tokens;
        }
    }
    params.kv_tokens = params.kv_tokens ? params.kv_tokens : params.ctx_tokens;
    params.memory_max = UINT64_MAX / 4; /* how much it is, not whether it fits */
    bool ok = route_local_plan(&params, &plan, err);
    *need = plan.model.total_bytes + plan.engine_bytes;
    return ok;
}

static uint64_t find_free(struct route_registry *registry)
{
    uint64_t limit = registry->params.local.memory_max, used = loaded_bytes(registry);
    uint64_t free_now = os_memory_available();
    free_now -= free_now / 8; /* for everything that is not in a plan */
    if (limit) {
        return limit > used ? limit - used : 0;
    }
    return free_now;
}

/* Unloads idle models until the need is met. False with the figures when that cannot be; the least
 * plan that fits at all is not for this function to find. */
static bool make_room(struct route_registry *registry, struct route_file *file, struct room *room,
                      struct err *err)
{
    for (;;) {
        while (close_unused(registry)) {
        }
        while (registry->closing && !registry->stopping) { /* a snapshot holds it for a moment */
            pthread_cond_wait(&registry->work, &registry->lock);
            while (close_unused(registry)) {
            }
        }
        room->free = find_free(registry);
        room->other = loaded_bytes(registry);
        if (room->need <= room->free) {
            return true;
        }
        struct route_resident residents[RESIDENTS_MAX];
        struct route_file *who[RESIDENTS_MAX];
        size_t count = 0;
        for (struct route_file *f = registry->files; f && count < RESIDENTS_MAX; f = f->next) {
            if (f->loaded && f != file) {
                residents[count] = (struct route_resident){
                    .bytes = f->loaded->bytes, .used_ns = f->used_ns, .is_idle = f->users == 0};
                who[count++] = f;
            }
        }
        size_t victim = route_budget_victim(residents, count, room->need - room->free);
        if (victim == SIZE_MAX) {
            return err_set_param(err, ERR_MEMORY, "model",
                                 "the model needs %llu bytes, %llu are free; the %zu other loaded "
                                 "models take %llu and are in use",
                                 (unsigned long long)room->need, (unsigned long long)room->free,
                                 count, (unsigned long long)room->other);
        }
        route_file_unload(registry, who[victim]);
    }
}

/* ---- loading ---- */

struct loading {
    struct route_registry *registry;
    struct route_file *file;
};

static void on_progress(void *arg, uint64_t done, uint64_t all)
{
    struct loading *loading = arg;
    struct route_file *file = loading->file;
    int64_t now = clock_now_ns();
    pthread_mutex_lock(&loading->registry->lock);
    file->loaded_bytes = done;
    file->load_bytes = all;
    if (now - file->told_ns >= ROUTE_PROGRESS_NS) {
        file->told_ns = now;
        for (struct route_file *f = loading->registry->files; f; f = f->next) {
            if (f->state == ROUTE_LOADING) { /* also those whose turn comes later */
                tell_uses(f);
            }
        }
    }
    pthread_mutex_unlock(&loading->registry->lock);
}

/* Memory for a plan that chooses its own context. At start each model has its share; later a model
 * takes what is free, but not all of a limit as long as others may want some. */
static uint64_t find_memory(const struct route_registry *registry, const struct route_file *file,
                            const struct room *room)
{
    if (file->is_awaited) {
        return file->share ? file->share : file->params.memory_max;
    }
    if (registry->params.local.memory_max == 0) {
        return 0;
    }
    bool is_only = registry->files == file && !file->next;
    uint64_t half = room->free / 2;
    return is_only ? room->free : half > room->need ? half : room->need;
}

/* Opens `file`. Called and returns with the lock, which it gives up meanwhile. */
static struct route_loaded *open_file(struct route_registry *registry, struct route_file *file,
                                      struct err *err)
{
    struct route_loaded *loaded = MEM_NEW(struct route_loaded);
    struct room room = {0};
    if (!loaded) {
        err_set_memory(err, sizeof *loaded);
        return NULL;
    }
    bool ok = true;
    if (!file->is_awaited) { /* those of the start were found to fit together */
        pthread_mutex_unlock(&registry->lock);
        ok = find_need(file, &room.need, err);
        pthread_mutex_lock(&registry->lock);
        ok = ok && make_room(registry, file, &room, err);
    }
    struct route_local_params params = file->params;
    params.memory_max = find_memory(registry, file, &room);
    pthread_mutex_unlock(&registry->lock);
    struct loading loading = {registry, file};
    loaded->local = ok ? route_local_open(&params, on_progress, &loading, err) : NULL;
    pthread_mutex_lock(&registry->lock);
    if (!loaded->local) {
        mem_free(loaded);
        return NULL;
    }
    loaded->bytes = route_local_bytes(loaded->local);
    loaded->holds = 1;
    return loaded;
}

static void log_load(const struct route_file *file, const struct err *failure, int64_t started_ns)
{
    char quoted[STR_QUOTE_MAX];
    double ms = (double)(clock_now_ns() - started_ns) / 1e6;
    str_quote(quoted, str_of(file->path));
    if (file->loaded) {
        log_write(LOG_INFO, "model loaded",
                  LOG_FIELDS(LOG_C("file", quoted), LOG_F("ms", ms),
                             LOG_I("bytes", file->loaded->bytes)));
    } else {
        log_write(LOG_ERROR, "model failed to load",
                  LOG_FIELDS(LOG_C("file", quoted), LOG_C("error", failure->text)));
    }
}

static void load(struct route_registry *registry, struct route_file *file)
{
    struct err failure = {0};
    int64_t started_ns = clock_now_ns();
    file->asked = 0;
    file->state = ROUTE_LOADING;
    file->loaded_bytes = file->load_bytes = 0;
    file->told_ns = started_ns;
    file->refs++; /* its names may go meanwhile */
    file->loaded = open_file(registry, file, &failure);
    file->state = file->loaded ? ROUTE_READY : ROUTE_FAILED;
    file->failure = failure;
    file->used_ns = file->failed_ns = clock_now_ns();
    if (file->loaded) {
        for (size_t i = 0; file->is_awaited && i < registry->name_count; i++) {
            struct route_name *name = registry->names[i];
            name->was_asked = name->was_asked || name->file == file;
        }
        file->is_awaited = false;
    }
    settle(registry, file);
    log_load(file, &failure, started_ns);
    route_file_release(registry, file);
    if (registry->params.notify) {
        pthread_mutex_unlock(&registry->lock);
        registry->params.notify(registry->params.notify_arg);
        pthread_mutex_lock(&registry->lock);
    }
}

static bool load_next(struct route_registry *registry)
{
    struct route_file *next = NULL;
    for (struct route_file *file = registry->files; file; file = file->next) {
        if (file->asked && (!next || file->asked < next->asked)) {
            next = file;
        }
    }
    if (!next) {
        return false;
    }
    if (next->users == 0 && !next->is_awaited) { /* whoever asked has left */
        next->asked = 0;
        next->state = ROUTE_UNLOADED;
        return true;
    }
    load(registry, next);
    return true;
}

/* ---- facts ---- */

static bool read_facts(struct route_registry *registry)
{
    for (struct route_file *file = registry->files; file; file = file->next) {
        if (file->facts || file->facts_tried) {
            continue;
        }
        struct route_facts *facts = MEM_NEW(struct route_facts);
        struct err failure;
        file->facts_tried = true;
        file->refs++;
        pthread_mutex_unlock(&registry->lock);
        bool ok = facts && route_facts_read(file->path, facts, &failure);
        pthread_mutex_lock(&registry->lock);
        if (ok) {
            file->facts = facts;
            file->file_bytes = facts->file_bytes;
        } else {
            mem_free(facts);
        }
        route_file_release(registry, file);
        return true;
    }
    return false;
}

/* ---- the thread ---- */

static int64_t next_deadline(const struct route_registry *registry)
{
    int64_t next = COND_NEVER;
    for (const struct route_file *file = registry->files; file; file = file->next) {
        int64_t deadline = route_file_deadline(file);
        if (deadline != COND_NEVER && (next == COND_NEVER || deadline < next)) {
            next = deadline;
        }
    }
    return next;
}

void *route_keeper(void *arg)
{
    struct route_registry *registry = arg;
    pthread_mutex_lock(&registry->lock);
    while (!registry->stopping) {
        if (!close_unused(registry) && !unload_expired(registry) && !load_next(registry) &&
            !read_facts(registry)) {
            cond_wait_until(&registry->work, &registry->lock, next_deadline(registry));
        }
    }
    pthread_mutex_unlock(&registry->lock);
    return NULL;
}
