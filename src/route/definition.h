/* What a name adds to the file behind it: the model that a user made of another one by giving it a
 * template, a system prompt, parameters, messages or a license (Ollama's Modelfile has these
 * words). Immutable once made. Written as JSON:
 *
 *     {"template":"..","system":"..","parameters":{"temperature":0.5,"stop":["x"]},
 *      "messages":[{"role":"user","content":".."}],"license":["..."]} */
#ifndef ROUTE_DEFINITION_H
#define ROUTE_DEFINITION_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct route_definition {
    json_t *object; /* owned; the others borrow from it */
    struct str template_text, system;
    const json_t *parameters; /* object; names and ranges were checked by who made it; NULL */
    const json_t *messages;   /* array, as chat templates see them; NULL */
    const json_t *license;    /* array of strings; NULL */
};

/* Takes `object` over, also on failure: ERR_FORMAT names the member of a wrong type, ERR_UNKNOWN
 * one that does not belong here. */
struct route_definition *route_definition_create(json_t *object, struct err *err);
void route_definition_destroy(struct route_definition *definition);

/* A copy; NULL without memory or for NULL. */
struct route_definition *route_definition_copy(const struct route_definition *definition,
                                               struct err *err);

#endif
