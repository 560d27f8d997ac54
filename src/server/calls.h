/* The routes of api/call.h: each is answered by a function on a worker's thread. */
#ifndef SERVER_CALLS_H
#define SERVER_CALLS_H

#include "api/call.h"
#include "server/routes.h"

/* The handler of a row: runs `fn` on a worker and answers with what it wrote. */
enum server_step server_call(struct server_exchange *exchange, api_call_fn *fn);

#endif
