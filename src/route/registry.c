/* Names and files: what there is, and how it changes. */
#include "route/registry.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/mem.h"
#include "base/os.h"
#include "route/shelf.h"

enum { TEMPLATE_BYTES_MAX = 4 << 20, NAMES_MAX = 10000 };

/* ---- files and names, under the lock ---- */

static void file_free(struct route_file *file)
{
    mem_free((void *)(uintptr_t)file->facts);
    mem_free(file->path);
    mem_free(file);
}

void route_file_release(struct route_registry *registry, struct route_file *file)
{
    if (--file->refs > 0) {
        return;
    }
    if (file->loaded) {
        route_file_unload(registry, file);
    }
    for (struct route_file **at = &registry->files; *at; at = &(*at)->next) {
        if (*at == file) {
            *at = file->next;
            break;
        }
    }
    file_free(file);
}

void route_name_release(struct route_name *name)
{
    if (--name->refs > 0) {
        return;
    }
    chat_close(name->chat);
    route_definition_destroy(name->definition);
    route_file_release(name->registry, name->file);
    mem_free(name->id);
    mem_free(name);
}

static struct route_file *find_file(const struct route_registry *registry, const char *path)
{
    for (struct route_file *file = registry->files; file; file = file->next) {
        if (strcmp(file->path, path) == 0) {
            return file;
        }
    }
    return NULL;
}

/* The file of a path with one more reference, at the end of the list if it is new. */
static struct route_file *take_file(struct route_registry *registry, const char *path,
                                    bool on_demand, struct err *err)
{
    struct route_file *file = find_file(registry, path), **end = &registry->files;
    if (file) {
        file->refs++;
        return file;
    }
    file = MEM_NEW(struct route_file);
    if (!file || !(file->path = mem_copy(path, strlen(path)))) {
        mem_free(file);
        err_set_memory(err, sizeof *file);
        return NULL;
    }
    struct os_file stat;
    struct err ignored; /* loading it tells what is wrong with it */
    if (os_file_open(&stat, path, &ignored)) {
        file->file_bytes = stat.size;
        file->mtime_ns = stat.mtime_ns;
        os_file_close(&stat);
    }
    file->params = registry->params.local;
    file->params.path = file->path;
    file->on_demand = on_demand;
    file->state = ROUTE_UNLOADED;
    file->keep_ns = registry->params.keep_ns;
    file->refs = 1;
    while (*end) {
        end = &(*end)->next;
    }
    *end = file;
    return file;
}

static bool reserve_name(struct route_registry *registry, struct err *err)
{
    if (registry->name_count < registry->name_cap) {
        return true;
    }
    size_t cap = registry->name_cap * 2 + 8;
    struct route_name **grown = mem_resize(registry->names, cap, sizeof *grown);
    if (!grown) {
        return err_set_memory(err, cap * sizeof *grown);
    }
    registry->names = grown;
    registry->name_cap = cap;
    return registry->name_count < NAMES_MAX ||
           err_set(err, ERR_INVALID, "there are %d models; no more are served", NAMES_MAX);
}

static struct route_name *add_name(struct route_registry *registry, struct str id, const char *path,
                                   bool on_demand, struct err *err)
{
    struct route_name *name = reserve_name(registry, err) ? MEM_NEW(struct route_name) : NULL;
    if (name) {
        name->registry = registry;
        name->id = mem_copy(id.ptr, id.len);
        name->file = name->id ? take_file(registry, path, on_demand, err) : NULL;
        name->refs = 1;
    }
    if (!name || !name->file) {
        if (name && !name->id) {
            err_set_memory(err, id.len);
        }
        mem_free(name ? name->id : NULL);
        mem_free(name);
        return NULL;
    }
    registry->names[registry->name_count++] = name;
    pthread_cond_signal(&registry->work); /* its facts are not known */
    return name;
}

static void drop_name(struct route_registry *registry, size_t index)
{
    struct route_name *name = registry->names[index];
    registry->name_count--;
    for (size_t i = index; i < registry->name_count; i++) {
        registry->names[i] = registry->names[i + 1];
    }
    route_name_release(name);
}

/* ---- looking up ---- */

static struct route_name *look_up(const struct route_registry *registry, struct str id)
{
    for (size_t i = 0; i < registry->name_count; i++) {
        if (str_eq(str_of(registry->names[i]->id), id)) {
            return registry->names[i];
        }
    }
    return NULL;
}

static struct route_name *look_up_tagged(const struct route_registry *registry, struct str id,
                                         bool is_tagged)
{
    static const struct str latest = {":latest", 7};
    struct route_name *name = look_up(registry, id);
    if (name || !is_tagged) {
        return name;
    }
    if (str_ends(id, latest)) {
        return look_up(registry, str_slice(id, 0, id.len - latest.len));
    }
    struct buf tagged = {0};
    buf_add(&tagged, id);
    buf_add(&tagged, latest);
    name = look_up(registry, buf_view(&tagged));
    buf_deinit(&tagged);
    return name;
}

struct found {
    char **paths;
    size_t count, cap;
};

static bool on_path(void *arg, const char *path)
{
    struct found *found = arg;
    if (found->count == found->cap) {
        size_t cap = found->cap * 2 + 16;
        char **grown = mem_resize(found->paths, cap, sizeof *grown);
        if (!grown) {
            return false;
        }
        found->paths = grown;
        found->cap = cap;
    }
    found->paths[found->count] = mem_copy(path, strlen(path));
    return found->paths[found->count] && ++found->count < NAMES_MAX;
}

static bool is_found(const struct found *found, const char *path)
{
    for (size_t i = 0; i < found->count; i++) {
        if (strcmp(found->paths[i], path) == 0) {
            return true;
        }
    }
    return false;
}

/* Names of what lies in the places now; those of what is gone go. Without the lock. */
static void look_into_places(struct route_registry *registry)
{
    struct found found = {0};
    struct err ignored;
    if (!registry->params.places) {
        return;
    }
    route_places_each(registry->params.places, on_path, &found, &ignored);
    pthread_mutex_lock(&registry->lock);
    for (size_t i = registry->name_count; i-- > 0;) {
        if (registry->names[i]->is_found && !is_found(&found, registry->names[i]->file->path)) {
            drop_name(registry, i);
        }
    }
    for (size_t i = 0; i < found.count; i++) {
        struct str id = gguf_model_id(found.paths[i]);
        if (id.len && !look_up(registry, id)) {
            struct route_name *name = add_name(registry, id, found.paths[i], true, &ignored);
            if (name) {
                name->is_found = true;
            }
        }
        mem_free(found.paths[i]);
    }
    pthread_mutex_unlock(&registry->lock);
    mem_free(found.paths);
}

struct route_name *route_name_find(struct route_registry *registry, struct str id, bool is_tagged,
                                   struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    pthread_mutex_lock(&registry->lock);
    struct route_name *name = look_up_tagged(registry, id, is_tagged);
    if (!name && registry->params.places) {
        pthread_mutex_unlock(&registry->lock);
        look_into_places(registry);
        pthread_mutex_lock(&registry->lock);
        name = look_up_tagged(registry, id, is_tagged);
    }
    if (!name) {
        err_set_param(err, ERR_MODEL, "model", "the model '%s' does not exist",
                      str_quote(quoted, id));
    }
    return name;
}

const char *route_state_name(enum route_state state)
{
    static const char *const names[] = {[ROUTE_UNLOADED] = "unloaded",
                                        [ROUTE_LOADING] = "loading",
                                        [ROUTE_READY] = "ready",
                                        [ROUTE_FAILED] = "failed"};
    return names[state];
}

double route_entry_progress(const struct route_entry *entry)
{
    if (entry->state == ROUTE_READY) {
        return 1;
    }
    return entry->load_bytes ? (double)entry->loaded_bytes / (double)entry->load_bytes : 0;
}

/* Under the lock. */
static void snap(struct route_name *name, struct route_entry *out)
{
    const struct route_file *file = name->file;
    int64_t deadline = route_file_deadline(file);
    name->refs++;
    *out = (struct route_entry){
        .id = str_of(name->id),
        .path = file->path,
        .state = file->state,
        .loaded_bytes = file->loaded_bytes,
        .load_bytes = file->load_bytes,
        .file_bytes = file->file_bytes,
        .created_s = file->mtime_ns / 1000000000,
        .on_demand = file->on_demand,
        .is_made = name->is_made,
        .was_asked = name->was_asked,
        .expires_ms = deadline == COND_NEVER
                          ? INT64_MAX
                          : clock_wall_ms() + (deadline - clock_now_ns()) / 1000000,
        .facts = file->facts,
        .template_file = name->registry->chat_template_file,
        .definition = name->definition,
        .failure = file->failure,
        .name = name,
        .loaded = file->loaded,
    };
    if (file->loaded) {
        out->local = file->loaded->local;
        file->loaded->holds++;
    }
}

void route_entry_deinit(struct route_entry *entry)
{
    if (entry->name) {
        struct route_registry *registry = entry->name->registry;
        pthread_mutex_lock(&registry->lock);
        route_loaded_release(registry, entry->loaded);
        route_name_release(entry->name);
        pthread_mutex_unlock(&registry->lock);
    }
    *entry = (struct route_entry){0};
}

bool route_registry_list(struct route_registry *registry, struct route_list *list, struct err *err)
{
    look_into_places(registry);
    pthread_mutex_lock(&registry->lock);
    *list = (struct route_list){.entries = MEM_ARRAY(struct route_entry, registry->name_count)};
    for (size_t i = 0; list->entries && i < registry->name_count; i++) {
        const struct route_name *name = registry->names[i];
        if (!name->is_quiet || name->file->state != ROUTE_UNLOADED) {
            snap(registry->names[i], &list->entries[list->count++]);
        }
    }
    pthread_mutex_unlock(&registry->lock);
    return list->entries || err_set_memory(err, sizeof(struct route_entry));
}

void route_list_deinit(struct route_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        route_entry_deinit(&list->entries[i]);
    }
    mem_free(list->entries);
    *list = (struct route_list){0};
}

bool route_registry_find(struct route_registry *registry, struct str id, bool is_tagged,
                         struct route_entry *out, struct err *err)
{
    struct route_name *name = route_name_find(registry, id, is_tagged, err);
    if (name) {
        snap(name, out);
    }
    pthread_mutex_unlock(&registry->lock);
    return name != NULL;
}

bool route_registry_is_ready(struct route_registry *registry)
{
    bool ready = true;
    pthread_mutex_lock(&registry->lock);
    for (const struct route_file *file = registry->files; file; file = file->next) {
        ready = ready && !file->is_awaited;
    }
    pthread_mutex_unlock(&registry->lock);
    return ready;
}

/* ---- changing ---- */

bool route_registry_add(struct route_registry *registry, struct str id, const char *path,
                        struct route_definition *definition, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct route_name *name = NULL;
    bool ok = true;
    pthread_mutex_lock(&registry->lock);
    for (size_t i = 0; ok && i < registry->name_count; i++) {
        if (str_eq(str_of(registry->names[i]->id), id)) {
            ok = registry->names[i]->is_made ||
                 err_set_param(err, ERR_INVALID, "model",
                               "'%s' is the name of a model file; choose another one",
                               str_quote(quoted, id));
            if (ok) {
                struct route_name *old = registry->names[i];
                name = add_name(registry, id, path, true, err); /* first, so that a file stays */
                if (name) {
                    registry->names[i] = name;
                    registry->name_count--;
                    route_name_release(old);
                }
                break;
            }
        }
    }
    if (ok && !name) {
        name = add_name(registry, id, path, true, err);
    }
    if (name) {
        name->is_made = true;
        name->definition = definition;
    } else {
        route_definition_destroy(definition);
    }
    pthread_mutex_unlock(&registry->lock);
    return name != NULL;
}

bool route_registry_remove(struct route_registry *registry, struct str id, bool is_tagged,
                           struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct route_name *name = route_name_find(registry, id, is_tagged, err);
    bool ok = name && (name->is_made ||
                       err_set_param(err, ERR_FORBIDDEN, "model",
                                     "'%s' is a file of yours, which this server does not delete",
                                     str_quote(quoted, id)));
    for (size_t i = 0; ok && i < registry->name_count; i++) {
        if (registry->names[i] == name) {
            drop_name(registry, i);
            break;
        }
    }
    pthread_mutex_unlock(&registry->lock);
    return ok;
}

/* ---- checks before anything is loaded ---- */

static bool add_model(struct route_registry *registry, const struct route_model *model,
                      struct route_plan *plan, struct err *err)
{
    struct str id = model->id ? str_of(model->id) : gguf_model_id(model->path);
    char quoted[STR_QUOTE_MAX];
    if (id.len == 0) {
        return err_set(err, ERR_USAGE, "model %s has an empty id",
                       str_quote(quoted, str_of(model->path)));
    }
    if (look_up(registry, id)) {
        return err_set(err, ERR_USAGE,
                       "two models have the id %s; give one another: --model PATH=ID",
                       str_quote(quoted, id));
    }
    struct route_name *name =
        add_name(registry, id, model->path, model->when != ROUTE_AT_START, err);
    if (name) {
        name->is_quiet = model->when == ROUTE_UNLISTED;
        name->file->params.adapters =
            model->adapters ? model->adapters : name->file->params.adapters;
    }
    if (!name || model->when != ROUTE_AT_START || name->file->is_awaited) {
        return name != NULL;
    }
    struct route_facts *facts = MEM_NEW(struct route_facts);
    struct route_file *file = name->file;
    file->facts = facts;
    file->is_awaited = true;
    file->on_demand = false;
    file->state = ROUTE_LOADING;
    file->asked = ++registry->asked;
    if (!facts) {
        return err_set_memory(err, sizeof *facts);
    }
    if (!route_facts_read(model->path, facts, err)) {
        return false;
    }
    file->file_bytes = facts->file_bytes;
    struct route_local_params params = file->params;
    params.model_only = true; /* the head of the file will do */
    return route_local_plan(&params, plan, err);
}

/* Several models share what is free: a plan that chose its own context took all of it. What is
 * left after every model's weights is split evenly, and each plan is made again within its share.
 */
static bool share_memory(struct route_registry *registry, size_t count, uint64_t weights,
                         struct err *err)
{
    uint64_t available = registry->params.local.memory_max;
    if (available == 0) {
        uint64_t free_now = os_memory_available();
        available = free_now - free_now / 8; /* for everything that is not in a plan */
    }
    if (weights > available) {
        return err_set(err, ERR_MEMORY,
                       "the weights of the %zu models need %llu bytes, %llu are available", count,
                       (unsigned long long)weights, (unsigned long long)available);
    }
    for (struct route_file *file = registry->files; file; file = file->next) {
        struct route_plan plan;
        struct route_local_params params = file->params;
        if (!file->is_awaited) {
            continue;
        }
        file->share += (available - weights) / count;
        params.memory_max = file->share;
        params.model_only = true;
        if (!route_local_plan(&params, &plan, err)) {
            return err_wrap(err, "beside %zu other models", count - 1);
        }
    }
    return true;
}

static bool add_models(struct route_registry *registry, const struct route_registry_params *params,
                       struct err *err)
{
    size_t awaited = 0;
    uint64_t weights = 0;
    for (size_t i = 0; i < params->model_count; i++) {
        struct route_plan plan = {0};
        if (!add_model(registry, &params->models[i], &plan, err)) {
            return false;
        }
        if (plan.model.weights_bytes) {
            registry->names[i]->file->share = plan.model.weights_bytes;
            weights += plan.model.weights_bytes;
            awaited++;
        }
    }
    if (awaited < 2) {
        for (struct route_file *file = registry->files; file; file = file->next) {
            file->share = 0;
        }
        return true;
    }
    return share_memory(registry, awaited, weights, err);
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

/* ---- life ---- */

struct route_registry *route_registry_create(const struct route_registry_params *params,
                                             struct err *err)
{
    struct route_registry *registry = MEM_NEW(struct route_registry);
    if (!registry) {
        err_set_memory(err, sizeof *registry);
        return NULL;
    }
    pthread_mutex_init(&registry->lock, NULL);
    cond_init(&registry->work);
    cond_init(&registry->settled);
    registry->params = *params;
    registry->params.models = NULL;
    const char *template_file = params->local.chat_template_file;
    bool ok = !template_file || check_template(template_file, err);
    if (ok && template_file) {
        struct str path = str_of(template_file);
        registry->chat_template_file = mem_copy(path.ptr, path.len);
        registry->params.local.chat_template_file = registry->chat_template_file;
        ok = registry->chat_template_file || err_set_memory(err, path.len);
    }
    if (!ok || !add_models(registry, params, err)) {
        route_registry_destroy(registry);
        return NULL;
    }
    look_into_places(registry);
    return registry;
}

bool route_registry_start(struct route_registry *registry, struct err *err)
{
    int fault = pthread_create(&registry->keeper, NULL, route_keeper, registry);
    if (fault != 0) {
        return err_set_errno(err, fault, "start the thread that loads models");
    }
    registry->has_keeper = true;
    return true;
}

void route_registry_destroy(struct route_registry *registry)
{
    if (!registry) {
        return;
    }
    pthread_mutex_lock(&registry->lock);
    registry->stopping = true;
    pthread_cond_signal(&registry->work);
    pthread_mutex_unlock(&registry->lock);
    if (registry->has_keeper) {
        pthread_join(registry->keeper, NULL);
    }
    while (registry->name_count > 0) {
        drop_name(registry, registry->name_count - 1);
    }
    while (registry->closing) {
        struct route_loaded *loaded = registry->closing;
        registry->closing = loaded->next;
        route_local_close(loaded->local);
        mem_free(loaded);
    }
    pthread_cond_destroy(&registry->work);
    pthread_cond_destroy(&registry->settled);
    pthread_mutex_destroy(&registry->lock);
    mem_free(registry->chat_template_file);
    mem_free(registry->names);
    mem_free(registry);
}
