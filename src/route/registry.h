/* The served models: which ids there are and what stands behind them. The set is fixed at start;
 * each model is loaded by one background thread, in order, so that the server listens at once. An
 * id that is not served is ERR_MODEL; never does one model answer for another. */
#ifndef ROUTE_REGISTRY_H
#define ROUTE_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "route/local.h"

struct route_registry;

enum route_state { ROUTE_LOADING, ROUTE_READY, ROUTE_FAILED };

struct route_model {
    const char *path;
    const char *id; /* NULL: the file name without .gguf and shard suffix */
};

struct route_registry_params {
    const struct route_model *models;
    size_t model_count;
    struct route_local_params local; /* for every model; path is filled in */
    /* Called from the loading thread when a model changes its state. May be NULL. */
    void (*notify)(void *arg);
    void *notify_arg;
};

/* What is known of a model; texts live as long as the registry. */
struct route_entry {
    struct str id;
    const char *path;
    enum route_state state;
    uint64_t loaded_bytes, load_bytes; /* progress of ROUTE_LOADING */
    uint64_t file_bytes;               /* of all parts */
    int64_t created_s;                 /* mtime of the file, seconds since 1970 */
    struct route_local *local;         /* NULL unless READY */
};

/* Opens every file and checks its memory plan, and that all plans fit together: a model that cannot
 * be served is an error here, not later. Two models of one id are ERR_USAGE. */
struct route_registry *route_registry_create(const struct route_registry_params *params,
                                             struct err *err);

/* Starts the loading thread. Call once. */
bool route_registry_start(struct route_registry *registry, struct err *err);

/* Waits for the loading thread, closes all models. No stream may be open. NULL is fine. */
void route_registry_destroy(struct route_registry *registry);

size_t route_registry_count(const struct route_registry *registry);

/* A snapshot of entry `index`; any thread. `failure` (may be NULL) receives why a FAILED one did.
 */
void route_registry_entry(struct route_registry *registry, size_t index, struct route_entry *out,
                          struct err *failure);

/* The loaded model of an id: ERR_MODEL if there is none of that id, ERR_BUSY while it loads, its
 * own error if it failed; param "model". */
struct route_local *route_registry_find(struct route_registry *registry, struct str id,
                                        struct err *err);

/* True when every model is READY. */
bool route_registry_is_ready(struct route_registry *registry);

#endif
