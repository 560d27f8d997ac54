/* Uses: who asks for a model, waits for it and holds it. */
#include "base/clock.h"
#include "base/mem.h"
#include "route/shelf.h"

#define RETRY_NS 2000000000ll /* after a load that failed */

/* What the file is now decides what the new use is. Under the lock. */
static void ask(struct route_registry *registry, struct route_use *use)
{
    struct route_file *file = use->name->file;
    if (file->loaded) {
        use->state = ROUTE_USE_READY;
        use->loaded = file->loaded;
        use->loaded->holds++;
        use->name->was_asked = true;
        return;
    }
    if (file->state == ROUTE_FAILED && clock_now_ns() - file->failed_ns < RETRY_NS) {
        use->state = ROUTE_USE_FAILED;
        use->failure = file->failure;
        return;
    }
    use->state = ROUTE_USE_WAITING;
    if (file->state != ROUTE_LOADING) {
        file->state = ROUTE_LOADING;
        file->loaded_bytes = file->load_bytes = 0;
        file->asked = ++registry->asked;
        pthread_cond_signal(&registry->work);
    }
}

struct route_use *route_use_begin(struct route_registry *registry,
                                  const struct route_use_params *params, struct err *err)
{
    struct route_use *use = MEM_NEW(struct route_use);
    if (!use) {
        err_set_memory(err, sizeof *use);
        return NULL;
    }
    struct route_name *name = route_name_find(registry, params->id, params->is_tagged, err);
    if (!name) {
        pthread_mutex_unlock(&registry->lock);
        mem_free(use);
        return NULL;
    }
    struct route_file *file = name->file;
    *use = (struct route_use){.registry = registry,
                              .name = name,
                              .notify = params->notify,
                              .arg = params->arg,
                              .next = file->uses,
                              .at = &file->uses};
    if (use->next) {
        use->next->at = &use->next;
    }
    file->uses = use;
    file->users++;
    file->keep_ns = params->has_keep ? params->keep_ns : registry->params.keep_ns;
    name->refs++;
    ask(registry, use);
    pthread_mutex_unlock(&registry->lock);
    return use;
}

enum route_use_state route_use_poll(struct route_use *use, double *progress, struct err *err)
{
    pthread_mutex_lock(&use->registry->lock);
    const struct route_file *file = use->name->file;
    enum route_use_state state = use->state;
    if (progress) {
        *progress = file->load_bytes ? (double)file->loaded_bytes / (double)file->load_bytes : 0;
    }
    if (err && state == ROUTE_USE_FAILED) {
        *err = use->failure;
    }
    pthread_mutex_unlock(&use->registry->lock);
    return state;
}

bool route_use_wait(struct route_use *use, struct err *err)
{
    pthread_mutex_lock(&use->registry->lock);
    while (use->state == ROUTE_USE_WAITING) {
        pthread_cond_wait(&use->registry->settled, &use->registry->lock);
    }
    pthread_mutex_unlock(&use->registry->lock);
    return route_use_poll(use, NULL, err) == ROUTE_USE_READY;
}

struct route_local *route_use_local(const struct route_use *use)
{
    return use->loaded->local;
}

const struct route_definition *route_use_definition(const struct route_use *use)
{
    return use->name->definition;
}

const struct chat *route_use_chat(struct route_use *use, struct err *err)
{
    struct route_name *name = use->name;
    struct route_local *local = use->loaded->local;
    if (!name->definition || name->definition->template_text.len == 0) {
        return route_local_chat(local);
    }
    pthread_mutex_lock(&use->registry->lock);
    bool is_there = name->chat_of == use->loaded;
    const struct chat *found = is_there ? name->chat : NULL;
    pthread_mutex_unlock(&use->registry->lock);
    if (is_there) {
        return found;
    }
    const struct chat_params params = {.gguf = route_local_gguf(local),
                                       .text = route_local_text(local),
                                       .template_text = name->definition->template_text};
    struct chat *made = chat_open(&params, err);
    if (!made) {
        return NULL;
    }
    pthread_mutex_lock(&use->registry->lock);
    if (name->chat_of != use->loaded) {
        chat_close(name->chat);
        name->chat = made;
        name->chat_of = use->loaded;
        made = NULL;
    }
    found = name->chat;
    pthread_mutex_unlock(&use->registry->lock);
    chat_close(made); /* another one was quicker */
    return found;
}

void route_use_end(struct route_use *use)
{
    if (!use) {
        return;
    }
    struct route_registry *registry = use->registry;
    pthread_mutex_lock(&registry->lock);
    struct route_file *file = use->name->file;
    *use->at = use->next;
    if (use->next) {
        use->next->at = use->at;
    }
    file->users--;
    file->used_ns = clock_now_ns();
    route_loaded_release(registry, use->loaded);
    if (file->users == 0 && file->loaded && file->keep_ns == 0) {
        route_file_unload(registry, file); /* now, so that whoever looks next sees it gone */
    } else if (file->users == 0 && file->keep_ns > 0) {
        pthread_cond_signal(&registry->work); /* a time to wait for */
    }
    route_name_release(use->name);
    pthread_mutex_unlock(&registry->lock);
    mem_free(use);
}

bool route_registry_unload(struct route_registry *registry, struct str id, bool is_tagged,
                           struct err *err)
{
    struct route_name *name = route_name_find(registry, id, is_tagged, err);
    if (name) {
        struct route_file *file = name->file;
        file->keep_ns = 0;
        if (file->loaded && file->users == 0) {
            route_file_unload(registry, file);
        }
    }
    pthread_mutex_unlock(&registry->lock);
    return name != NULL;
}
