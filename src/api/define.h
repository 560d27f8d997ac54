/* A model's definition (route/definition.h) and a request: what the definition says holds where the
 * client says nothing. */
#ifndef API_DEFINE_H
#define API_DEFINE_H

#include "api/request.h"
#include "route/definition.h"

/* Adds the definition's system prompt, messages and parameters to a parsed request; NULL: nothing.
 * A prompt that the client writes itself (raw, text completions) gets the parameters only. */
bool api_request_define(struct gen_request *request, const struct route_definition *definition,
                        struct err *err);

#endif
