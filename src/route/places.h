/* Where models are looked for by name: the folder of the bundled model, $HEARTH_MODELS (folders
 * separated by ':'), and $XDG_DATA_HOME/hearth/models (~/.local/share/hearth/models). */
#ifndef ROUTE_PLACES_H
#define ROUTE_PLACES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

enum { ROUTE_PLACES_MAX = 16 };

struct route_places {
    char *folders[ROUTE_PLACES_MAX]; /* owned; in order of precedence; they need not exist */
    size_t count;
};

/* Exactly these folders, copied; false without memory. Beyond ROUTE_PLACES_MAX: ERR_USAGE. */
bool route_places_of(struct route_places *places, const struct str *folders, size_t count,
                     struct err *err);

/* From the environment of this process. */
bool route_places_init(struct route_places *places, struct err *err);
void route_places_deinit(struct route_places *places);

/* Calls fn with the path of each model (first parts of split ones only), sorted within a folder;
 * folders that cannot be read are skipped. Stops when fn says false. */
bool route_places_each(const struct route_places *places, bool (*fn)(void *arg, const char *path),
                       void *arg, struct err *err);

/* A model as a user names it: a path that exists, else an id (file name without .gguf) in one of
 * the places. mem_free the result. ERR_MODEL names the places. */
char *route_places_find(const struct route_places *places, const char *name, struct err *err);

#endif
