/* The served models: which names there are, what stands behind them, and who uses it.
 *
 *     name  "hearth-nano", "poet:latest"     an id; several may stand for one file, each with its
 *      |                                     own definition (definition.h)
 *     file  UNLOADED -> LOADING -> READY     loaded once, whoever asks, and at most once at a time
 *      |        ^----------------|           unloaded when idle: at its time, on demand, for room
 *     use   a request                        waits while the file loads, then holds it loaded
 *
 * One thread, the keeper, loads and unloads; it sleeps until somebody asks or a time has come.
 * Plans of loaded models fit together: for a model that does not fit, idle ones go, and if that
 * does not suffice its request is ERR_MEMORY with the figures. An id that is not served is
 * ERR_MODEL; never does one model answer for another. All functions may be called from any thread.
 */
#ifndef ROUTE_REGISTRY_H
#define ROUTE_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "route/definition.h"
#include "route/facts.h"
#include "route/local.h"
#include "route/places.h"

struct route_registry;

enum route_state { ROUTE_UNLOADED, ROUTE_LOADING, ROUTE_READY, ROUTE_FAILED };

struct route_model {
    const char *path;
    const char *id; /* NULL: the file name without .gguf and shard suffix */
    enum route_when {
        ROUTE_AT_START,
        ROUTE_ON_DEMAND, /* loaded when it is asked for */
        ROUTE_UNLISTED   /* the same, and in no list before that */
    } when;
    const struct route_adapters *adapters; /* borrowed while the registry lives; NULL: none */
};

enum { ROUTE_KEEP_FOREVER = -1 };

struct route_registry_params {
    const struct route_model *models;
    size_t model_count;
    /* For every model; path is filled in. memory_max is for the plans of all loaded models. */
    struct route_local_params local;
    const struct route_places *places; /* borrowed: what lies there is served on demand, also when
                                          it came later; NULL */
    int64_t keep_ns; /* how long an idle model stays where no request says; ROUTE_KEEP_FOREVER */
    /* Called from the keeper when a model changes its state. May be NULL. */
    void (*notify)(void *arg);
    void *notify_arg;
};

/* Opens the files that are not on demand and checks that their plans fit together: a model that
 * cannot be served is an error here, not later. Two models of one id are ERR_USAGE. */
struct route_registry *route_registry_create(const struct route_registry_params *params,
                                             struct err *err);

/* Starts the keeper, which loads what is not on demand, in order. Call once. */
bool route_registry_start(struct route_registry *registry, struct err *err);

/* Waits for a load under way, closes all models. No use may be left. NULL is fine. */
void route_registry_destroy(struct route_registry *registry);

/* True when every model that is not on demand has been loaded. */
bool route_registry_is_ready(struct route_registry *registry);

/* ---- what there is ---- */

/* A model at one moment. What it points to stays until route_entry_deinit. */
struct route_entry {
    struct str id;
    const char *path;
    enum route_state state;
    uint64_t loaded_bytes, load_bytes; /* progress of ROUTE_LOADING */
    uint64_t file_bytes;               /* of all parts */
    int64_t created_s;                 /* mtime of the file, seconds since 1970 */
    bool on_demand;                    /* not loaded at start */
    bool is_made;                      /* a definition or a file that route_registry_add brought */
    bool was_asked;                    /* since it was loaded, by this id or at start */
    int64_t expires_ms;                /* wall clock; INT64_MAX: never; READY and idle */
    const struct route_facts *facts;   /* NULL: not read yet, or not readable */
    const char *template_file;         /* of the start, overrides the file's; NULL */
    const struct route_definition *definition; /* NULL: the file as it is */
    struct route_local *local;                 /* NULL unless READY */
    struct err failure;                        /* of ROUTE_FAILED */
    struct route_name *name;                   /* private */
    struct route_loaded *loaded;               /* private */
};
void route_entry_deinit(struct route_entry *entry);

struct route_list {
    struct route_entry *entries; /* in the order in which they came */
    size_t count;
};

const char *route_state_name(enum route_state state); /* "ready" */
double route_entry_progress(const struct route_entry *entry);

/* All models as they are now. ERR_MEMORY. */
bool route_registry_list(struct route_registry *registry, struct route_list *list, struct err *err);
void route_list_deinit(struct route_list *list);

/* One model; ERR_MODEL if there is none of that id. `is_tagged`: NAME is the same as NAME:latest.
 */
bool route_registry_find(struct route_registry *registry, struct str id, bool is_tagged,
                         struct route_entry *out, struct err *err);

/* ---- using a model ---- */

struct route_use;

struct route_use_params {
    struct str id;
    bool is_tagged;
    bool has_keep;
    int64_t keep_ns; /* how long the model stays after its last use; 0: not at all */
    /* Called (under a lock: it may only wake somebody) when the use changes from WAITING, and
     * every ROUTE_PROGRESS_NS or so while the model loads. May be NULL. */
    void (*notify)(void *arg);
    void *arg;
};

#define ROUTE_PROGRESS_NS 5000000000ll

enum route_use_state { ROUTE_USE_WAITING, ROUTE_USE_READY, ROUTE_USE_FAILED };

/* Asks for a model. It is loaded if it is not; the use waits meanwhile. NULL: ERR_MODEL (param
 * "model"), ERR_MEMORY. A model whose load has just failed is not tried again at once: that use is
 * FAILED. */
struct route_use *route_use_begin(struct route_registry *registry,
                                  const struct route_use_params *params, struct err *err);

/* `progress` (may be NULL): 0 to 1 of the load; `err` (may be NULL) why it FAILED. */
enum route_use_state route_use_poll(struct route_use *use, double *progress, struct err *err);

/* Waits until it is READY (true) or FAILED. For threads that may sleep. */
bool route_use_wait(struct route_use *use, struct err *err);

/* Of a READY use; they stay until route_use_end. */
struct route_local *route_use_local(const struct route_use *use);
const struct route_definition *route_use_definition(const struct route_use *use); /* NULL: none */

/* The model's chat, or the name's own if its definition has a template: ERR_TEMPLATE. */
const struct chat *route_use_chat(struct route_use *use, struct err *err);

/* Also while it waits. After it returned, notify is not called again. NULL is fine. */
void route_use_end(struct route_use *use);

/* Unloads the model of an id as soon as it is idle, which is at once if nobody uses it. ERR_MODEL.
 */
bool route_registry_unload(struct route_registry *registry, struct str id, bool is_tagged,
                           struct err *err);

/* ---- changing what there is ---- */

/* Adds a name for the file at `path`. `definition` is taken over, also on failure; NULL: the file
 * as it is. A name that exists is replaced if it was added in this way, else ERR_INVALID. */
bool route_registry_add(struct route_registry *registry, struct str id, const char *path,
                        struct route_definition *definition, struct err *err);

/* Removes a name that was added; a file that no name is left for is unloaded when idle. ERR_MODEL
 * if there is none, ERR_FORBIDDEN if it came with the start or lies in a place. */
bool route_registry_remove(struct route_registry *registry, struct str id, bool is_tagged,
                           struct err *err);

#endif
