/* One WebSocket and the requests on it. Belongs to the thread of the sessions, save for
 * server_session_wake's caller. */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/exchange.h"
#include "server/generation.h"
#include "server/sessions.h"
#include "server/socket.h"

struct server_session;

struct server_session_request {
    struct server_session *session;
    struct server_generation *generation;
    char id[64 + 1]; /* API_FRAME_ID_MAX */
    char log_id[SERVER_ID_MAX + 1];
    int64_t started_ns;
    atomic_bool woken;
};

struct server_session {
    struct server *server;
    struct server_exchange *exchange; /* not touched after server_exchange_closed */
    struct server_socket socket;
    struct server_session_request *requests[SERVER_SESSION_REQUESTS_MAX]; /* [request_count] */
    size_t request_count;
    size_t next_request; /* whose turn it is to be read first */
    uint32_t number;     /* of requests so far */
    unsigned char tenant[SERVER_TENANT_BYTES];
    size_t tenant_len;
    int64_t asked_ns; /* the last request came or ended */
    int64_t pinged_ns;
    unsigned watched;

    /* Any thread, under the generation's lock: the session has something to do. */
    void (*wake)(struct server_session *session);
    /* the sessions' */
    struct server_sessions *owner;
    struct server_session *next_ready;
    bool is_ready;
    struct server_session *next, *prev;
};

/* Takes the exchange's connection. NULL when memory is short. */
struct server_session *server_session_create(struct server_exchange *exchange, int fd,
                                             void (*wake)(struct server_session *session),
                                             struct server_sessions *owner);

/* Cancels the requests; from here on nobody wakes the session. */
void server_session_cancel(struct server_session *session);

/* Cancels, closes the connection, frees. */
void server_session_destroy(struct server_session *session);

/* Does what `what` (SERVER_CAN_READ | ...) allows and the clock asks for: reads messages, writes
 * what the requests say, pings. False when the session is over, else *again is when the clock may
 * ask for something. */
bool server_session_run(struct server_session *session, unsigned what, int64_t *again);

#endif
