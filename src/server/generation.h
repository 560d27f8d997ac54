/* A generation for somebody who waits, a connection or a request on a WebSocket, and its threads:
 *
 *     owner     create; later, woken, pull or whole; at last leave
 *     worker    api_run_parse, api_run_submit
 *     engine    notify: wakes the owner
 *
 * It is counted: once for the owner, once for the worker. After leave nobody is woken, and a worker
 * that then finishes cancels what it submitted. Until the stage is another than PREPARING only the
 * worker touches the run; afterwards only the owner's thread. */
#ifndef SERVER_GENERATION_H
#define SERVER_GENERATION_H

#include <stdbool.h>
#include <stddef.h>

#include "api/run.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "server/exchange.h"

struct server_generation;

enum server_generation_stage {
    SERVER_GENERATION_PREPARING,
    SERVER_GENERATION_RUNNING,
    SERVER_GENERATION_FAILED /* the body was refused, or nothing could be started */
};

struct server_generation_params {
    struct server *server;
    const struct api_dialect *dialect;
    struct str id;     /* for logs; copied, cut to SERVER_ID_MAX */
    struct str tenant; /* server_access_tenant; copied */
    /* Any thread, under a lock that leave takes as well: may only wake somebody. */
    void (*wake)(void *arg);
    void *arg;
};

/* Takes the bytes of `body`, which count in the server's budget, in any case. */
struct server_generation *server_generation_create(const struct server_generation_params *params,
                                                   struct buf *body, struct err *err);

enum server_generation_stage server_generation_stage(struct server_generation *generation);

/* RUNNING: what was asked and what came of it so far. */
const struct api_run *server_generation_run(const struct server_generation *generation);

/* FAILED: why. */
const struct err *server_generation_failure(const struct server_generation *generation);

/* RUNNING and streaming: appends what the dialect says of what has come. When the generation cannot
 * go on, that is told in the dialect and in *failure, else *failure stays ERR_NONE. */
enum server_pull server_generation_pull(struct server_generation *generation, struct buf *out,
                                        struct err *failure);

/* RUNNING and not streaming: MORE with the whole answer, WAIT, or BROKEN with *failure. */
enum server_pull server_generation_whole(struct server_generation *generation, struct buf *out,
                                         struct err *failure);

/* The owner's last call; cancels what runs. */
void server_generation_leave(struct server_generation *generation);

#endif
