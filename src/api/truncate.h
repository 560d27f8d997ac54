/* A conversation that does not fit, made to fit where the client asked for that (drops_oldest): the
 * fewest of its first turns are left out, never the instructions before them. How many messages
 * went is told back. */
#ifndef API_TRUNCATE_H
#define API_TRUNCATE_H

#include "api/request.h"
#include "base/err.h"
#include "route/local.h"

/* After api_request_prepare. ERR_CONTEXT with both counts when the last turn alone does not fit. */
bool api_truncate(struct gen_request *request, const struct route_local *local, struct err *err);

#endif
