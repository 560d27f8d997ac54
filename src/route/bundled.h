/* Where the model that comes with hearth lies. Found from the place of the running binary, so that
 * it works from a build tree, an unpacked archive and an installation, with an empty HOME. */
#ifndef ROUTE_BUNDLED_H
#define ROUTE_BUNDLED_H

#include <stdbool.h>

#include "base/err.h"

/* Sets *path (mem_free it). ERR_MODEL, naming the places that were looked at, when there is none.
 */
bool route_bundled_model(char **path, struct err *err);

/* The same for the encoder that comes along, the default of `hearth embed`. */
bool route_bundled_encoder(char **path, struct err *err);

/* The same for a binary at `exe_path`; for tests. */
bool route_bundled_model_of(const char *exe_path, char **path, struct err *err);

#endif
