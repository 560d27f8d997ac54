#include "route/registry.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "base/os.h"

enum { TEMPLATE_BYTES_MAX = 4 << 20 };

struct slot {
    char *id, *path;
    int64_t created_s;
    struct route_local_params params;
    struct model_plan plan;
    uint64_t file_bytes;
    /* Below: written by the loading thread under the registry's lock. */
    enum route_state state;
    struct route_local *local;
    struct err failure;
    uint64_t loaded_bytes, load_bytes;
    struct route_registry *registry;
};

struct route_registry {
    struct slot *slots;
    size_t count;
    void (*notify)(void *arg);
    void *notify_arg;
    pthread_mutex_t lock; /* the slots' second half */
    pthread_t loader;
    bool has_loader;
    atomic_bool stopping;
};

/* ---- checks before anything is loaded ---- */

static struct model_params plan_params(const struct route_local_params *local)
{
    return (struct model_params){
        .cpu_level = local->cpu_level,
        .kv_type = local->kv_type,
        .ctx_tokens = local->ctx_tokens,
        .kv_tokens = local->kv_tokens,
        .sequences_max = local->sequences_max ? local->sequences_max : ROUTE_SEQUENCES,
        .batch_rows_max = local->batch_rows_max ? local->batch_rows_max : ROUTE_BATCH_ROWS,
        .memory_max = local->memory_max,
    };
}

static bool open_slot(struct slot *slot, const struct route_model *model,
                      const struct route_local_params *local, struct err *err)
{
    struct str id = model->id ? str_of(model->id) : gguf_model_id(model->path);
    slot->path = mem_copy(model->path, strlen(model->path));
    slot->id = mem_copy(id.ptr, id.len);
    if (!slot->path || !slot->id) {
        return err_set_memory(err, strlen(model->path) + id.len);
    }
    if (id.len == 0) {
        char quoted[STR_QUOTE_MAX];
        return err_set(err, ERR_USAGE, "model %s has an empty id",
                       str_quote(quoted, str_of(model->path)));
    }
    slot->params = *local;
    slot->params.path = slot->path;
    struct gguf *gguf = gguf_open(slot->path, err);
    if (!gguf) {
        return false;
    }
    struct model_params params = plan_params(local);
    bool fits = model_plan(gguf, &params, &slot->plan, err);
    slot->file_bytes = gguf->file_bytes;
    slot->created_s = gguf->shards[0].mtime_ns / 1000000000;
    if (!fits) {
        char quoted[STR_QUOTE_MAX];
        err_wrap(err, "load %s", str_quote(quoted, str_of(slot->path)));
    }
    gguf_close(gguf);
    return fits;
}

/* Several models share what is free: a plan that chose its own context took all of it. What is
 * left after every model's weights is split evenly, and each plan is made again within its share.
 */
static bool share_memory(struct route_registry *registry, struct err *err)
{
    uint64_t available = registry->slots[0].params.memory_max, weights = 0;
    if (available == 0) {
        uint64_t free_now = os_memory_available();
        available = free_now - free_now / 8; /* for everything that is not in a plan */
    }
    for (size_t i = 0; i < registry->count; i++) {
        weights += registry->slots[i].plan.weights_bytes;
    }
    if (weights > available) {
        return err_set(err, ERR_MEMORY,
                       "the weights of the %zu models need %llu bytes, %llu are available",
                       registry->count, (unsigned long long)weights, (unsigned long long)available);
    }
    for (size_t i = 0; i < registry->count; i++) {
        struct slot *slot = &registry->slots[i];
        slot->params.memory_max =
            slot->plan.weights_bytes + (available - weights) / registry->count;
        struct model_params params = plan_params(&slot->params);
        char quoted[STR_QUOTE_MAX];
        struct gguf *gguf = gguf_open(slot->path, err);
        bool fits = gguf && model_plan(gguf, &params, &slot->plan, err);
        gguf_close(gguf);
        if (!fits) {
            return err_wrap(err, "load %s beside %zu other models",
                            str_quote(quoted, str_of(slot->path)), registry->count - 1);
        }
    }
    return true;
}

static bool ids_differ(const struct route_registry *registry, struct err *err)
{
    for (size_t i = 0; i < registry->count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(registry->slots[i].id, registry->slots[j].id) == 0) {
                char quoted[STR_QUOTE_MAX];
                return err_set(err, ERR_USAGE,
                               "two models have the id %s; give one another: --model PATH=ID",
                               str_quote(quoted, str_of(registry->slots[i].id)));
            }
        }
    }
    return true;
}

/* The template that overrides the models' own: a mistake in it is found now. */
static bool check_template(const char *path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    size_t len = 0;
    char *source = os_file_slurp(path, TEMPLATE_BYTES_MAX, &len, err);
    struct chat_template *compiled =
        source ? chat_template_compile((struct str){source, len}, NULL, err) : NULL;
    bool ok = compiled != NULL;
    chat_template_destroy(compiled);
    mem_free(source);
    return ok || err_wrap(err, "chat template %s", str_quote(quoted, str_of(path)));
}

struct route_registry *route_registry_create(const struct route_registry_params *params,
                                             struct err *err)
{
    struct route_registry *registry = MEM_NEW(struct route_registry);
    if (!registry || !(registry->slots = MEM_ARRAY(struct slot, params->model_count))) {
        mem_free(registry);
        err_set_memory(err, params->model_count * sizeof(struct slot));
        return NULL;
    }
    pthread_mutex_init(&registry->lock, NULL);
    registry->count = params->model_count;
    registry->notify = params->notify;
    registry->notify_arg = params->notify_arg;
    const char *template_file = params->local.chat_template_file;
    bool ok = !template_file || check_template(template_file, err);
    for (size_t i = 0; ok && i < registry->count; i++) {
        registry->slots[i].registry = registry;
        ok = open_slot(&registry->slots[i], &params->models[i], &params->local, err);
    }
    ok = ok && ids_differ(registry, err);
    ok = ok && (registry->count < 2 || share_memory(registry, err));
    if (!ok) {
        route_registry_destroy(registry);
        return NULL;
    }
    return registry;
}

/* ---- loading ---- */

static void on_progress(void *arg, uint64_t done, uint64_t all)
{
    struct slot *slot = arg;
    pthread_mutex_lock(&slot->registry->lock);
    slot->loaded_bytes = done;
    slot->load_bytes = all;
    pthread_mutex_unlock(&slot->registry->lock);
}

static void *load_all(void *arg)
{
    struct route_registry *registry = arg;
    for (size_t i = 0; i < registry->count && !atomic_load(&registry->stopping); i++) {
        struct slot *slot = &registry->slots[i];
        struct err failure = {0};
        struct route_local *local = route_local_open(&slot->params, on_progress, slot, &failure);
        pthread_mutex_lock(&registry->lock);
        slot->local = local;
        slot->failure = failure;
        slot->state = local ? ROUTE_READY : ROUTE_FAILED;
        pthread_mutex_unlock(&registry->lock);
        if (registry->notify) {
            registry->notify(registry->notify_arg);
        }
    }
    return NULL;
}

bool route_registry_start(struct route_registry *registry, struct err *err)
{
    int fault = pthread_create(&registry->loader, NULL, load_all, registry);
    if (fault != 0) {
        return err_set_errno(err, fault, "start the loading thread");
    }
    registry->has_loader = true;
    return true;
}

void route_registry_destroy(struct route_registry *registry)
{
    if (!registry) {
        return;
    }
    atomic_store(&registry->stopping, true);
    if (registry->has_loader) {
        pthread_join(registry->loader, NULL);
    }
    for (size_t i = 0; i < registry->count; i++) {
        route_local_close(registry->slots[i].local);
        mem_free(registry->slots[i].id);
        mem_free(registry->slots[i].path);
    }
    pthread_mutex_destroy(&registry->lock);
    mem_free(registry->slots);
    mem_free(registry);
}

/* ---- looking up ---- */

size_t route_registry_count(const struct route_registry *registry)
{
    return registry->count;
}

void route_registry_entry(struct route_registry *registry, size_t index, struct route_entry *out,
                          struct err *failure)
{
    const struct slot *slot = &registry->slots[index];
    pthread_mutex_lock(&registry->lock);
    *out = (struct route_entry){
        .id = str_of(slot->id),
        .path = slot->path,
        .state = slot->state,
        .loaded_bytes = slot->loaded_bytes,
        .load_bytes = slot->load_bytes,
        .file_bytes = slot->file_bytes,
        .created_s = slot->created_s,
        .local = slot->local,
    };
    if (failure) {
        *failure = slot->failure;
    }
    pthread_mutex_unlock(&registry->lock);
}

struct route_local *route_registry_find(struct route_registry *registry, struct str id,
                                        struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    str_quote(quoted, id);
    for (size_t i = 0; i < registry->count; i++) {
        struct route_entry entry;
        struct err failure;
        route_registry_entry(registry, i, &entry, &failure);
        if (!str_eq(entry.id, id)) {
            continue;
        }
        if (entry.state == ROUTE_LOADING) {
            err_set_param(err, ERR_BUSY, "model", "the model '%s' is being loaded", quoted);
        } else if (entry.state == ROUTE_FAILED) {
            *err = failure;
        }
        return entry.local;
    }
    err_set_param(err, ERR_MODEL, "model", "the model '%s' does not exist", quoted);
    return NULL;
}

bool route_registry_is_ready(struct route_registry *registry)
{
    bool ready = true;
    pthread_mutex_lock(&registry->lock);
    for (size_t i = 0; i < registry->count; i++) {
        ready = ready && registry->slots[i].state == ROUTE_READY;
    }
    pthread_mutex_unlock(&registry->lock);
    return ready;
}
