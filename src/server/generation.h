/* A generation for somebody who waits, a connection or a request on a WebSocket, and its threads:
 *
 *     owner     create; later, woken, pull or whole; at last leave
 *     worker    api_run_parse, api_run_ask; api_run_submit once the model is there
 *     engine    notify: wakes the owner; while the model is loaded the registry does
 *
 * It is counted: once for the owner, once for a worker. After leave nobody is woken, and a worker
 * that then finishes cancels what it submitted. While a worker has it only the worker touches the
 * run; else only the owner's thread. A model that is being loaded takes no worker's time. */
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
    SERVER_GENERATION_PREPARING, /* also: its model is being loaded */
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

/* The owner asks after each wake; that is also what hands a request whose model has come to a
 * worker.
 */
enum server_generation_stage server_generation_stage(struct server_generation *generation);

/* PREPARING: the model takes so long to load that a streaming answer should begin with a sign of
 * life. Then server_generation_pull may be called already; a FAILED one tells why through it. */
bool server_generation_shows_loading(struct server_generation *generation);

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

/* RUNNING: from now on another is woken. */
void server_generation_hand_on(struct server_generation *generation, void (*wake)(void *arg),
                               void *arg);

/* RUNNING: ends it, and what is kept of it says so (NULL: cancelled). Waits for a step of the
 * engine and the disk. False, and nothing is done, when the answer is complete and being kept. */
bool server_generation_abandon(struct server_generation *generation, const struct err *failure);

/* The run, for the owner. */
struct api_run *server_generation_run_of(struct server_generation *generation);

/* The owner's last call; cancels what runs. */
void server_generation_leave(struct server_generation *generation);

#endif
