/* The front: every connection passes through it. One thread accepts, limits, times, decrypts and
 * guards connections, and relays their bytes to and from libmicrohttpd over a socket pair:
 *
 *     client ==TLS or plain== front thread: TLS | guard | deadlines ==socketpair== libmicrohttpd
 *
 * Why a relay: libmicrohttpd does not watch a connection that is suspended (a client that leaves
 * would hold its sequence), its timeout counts inactivity only (one byte a second lives forever),
 * its own TLS moves four bytes at a time after an upgrade, and several malformed requests pass its
 * parser. All of these are answered here, in one place, for plain and TLS alike; the price is two
 * copies and two system calls per chunk.
 *
 * A connection is shared by the front thread and libmicrohttpd's thread and counted; what both
 * touch is under its lock. */
#ifndef SERVER_FRONT_H
#define SERVER_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "server/address.h"
#include "server/tls.h"

struct server_front;
struct server_conn;

struct server_front_params {
    const struct server_address *listens; /* port 0: the system chooses */
    size_t listen_count;
    struct server_tls *tls; /* NULL: plain */
    size_t connections_max;
    double header_timeout_s; /* a request head, or a TLS handshake, must be complete by then */
    double body_timeout_s;   /* and a body, plus a second per 16 KiB received */
    double idle_timeout_s;   /* between requests */
    double write_timeout_s;  /* a client that takes no byte of its answer */
    /* Front thread. Gives libmicrohttpd its end of the pair; takes ownership of fd in any case. */
    bool (*connect)(void *arg, int fd, const struct server_address *peer);
    /* Front thread, under the connection's lock, at most once per exchange: the client is gone. May
     * only wake somebody. */
    void (*left)(void *arg, void *exchange);
    void *arg;
};

/* Binds and listens. ERR_IO names the address. */
struct server_front *server_front_create(const struct server_front_params *params, struct err *err);
bool server_front_start(struct server_front *front, struct err *err);

/* The address that listens[index] was bound to, with its port. */
void server_front_address(const struct server_front *front, size_t index,
                          struct server_address *out);

/* Refuses new connections and closes idle ones; exchanges under way go on. */
void server_front_drain(struct server_front *front);

/* True when, after a drain, no connection is left. */
bool server_front_is_drained(struct server_front *front);

/* Ends the thread and closes all connections. Connections that libmicrohttpd still holds stay valid
 * until it lets go of them. */
void server_front_stop(struct server_front *front);
void server_front_destroy(struct server_front *front); /* after stop; NULL is fine */

struct server_front_stats {
    uint64_t accepted, refused, open;
};

void server_front_stats(struct server_front *front, struct server_front_stats *out);

/* ---- libmicrohttpd's side ---- */

/* The connection whose pair end is `fd`, counted; NULL if the client has gone already. */
struct server_conn *server_conn_take(struct server_front *front, int fd);
void server_conn_release(struct server_conn *conn);

/* A request of this connection starts. Returns its number (1, 2, ...). */
uint32_t server_conn_begin(struct server_conn *conn);

/* From now on until server_conn_end, `left` is called for `exchange` when the client leaves; false
 * when it has left already. */
bool server_conn_watch(struct server_conn *conn, void *exchange);

/* The connection speaks another protocol after the answer to this request: from now on bytes pass
 * unread, and only a client that takes nothing of what waits for it is cut. To be called before the
 * answer is written. */
void server_conn_upgrade(struct server_conn *conn);

/* The request has been answered or given up. */
void server_conn_end(struct server_conn *conn);

/* True if the guard refused request `number`: with which status, and why. */
bool server_conn_refusal(struct server_conn *conn, uint32_t number, int *status,
                         const char **reason);

#endif
