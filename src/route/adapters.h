/* The LoRA adapters that a model is opened with, as a user names them: FILE or FILE=SCALE. */
#ifndef ROUTE_ADAPTERS_H
#define ROUTE_ADAPTERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "gguf/gguf.h"
#include "model/model.h"

struct route_adapter {
    char *path;  /* owned */
    float scale; /* of requests that do not say */
};

struct route_adapters { /* all zero: none */
    struct route_adapter items[MODEL_ADAPTERS_MAX];
    size_t count;
};

/* The scale stands behind the last '=' unless the whole is the path of a file; else it is 1.
 * ERR_USAGE for one that is no number of a possible size, and for too many adapters. */
bool route_adapters_add(struct route_adapters *adapters, struct str text, struct err *err);
void route_adapters_deinit(struct route_adapters *adapters);

/* All of them, to gguf_close; on failure none. */
bool route_adapters_open(const struct route_adapters *adapters,
                         struct gguf *files[MODEL_ADAPTERS_MAX], struct err *err);

#endif
