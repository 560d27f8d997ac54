/* The server: an HTTP front for the models of a registry. Its threads: one front (front.h), one of
 * libmicrohttpd, a few workers; engines have their own. server_create binds, so that the address is
 * known and a port in use is an error at once; from server_start on it answers. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/run.h"
#include "base/err.h"
#include "base/str.h"
#include "route/registry.h"
#include "server/address.h"

struct server;

struct server_params {
    struct route_registry *registry; /* borrowed */
    const struct server_address *listens;
    size_t listen_count;
    const struct str *keys, *origins, *hosts; /* access.h */
    size_t key_count, origin_count, host_count;
    const char *tls_cert, *tls_key; /* PEM files; NULL: plain HTTP */
    size_t connections_max;
    size_t body_bytes_max;   /* of one generation request */
    size_t bodies_bytes_max; /* of all requests being received at once */
    size_t worker_count;
    struct api_keep keep; /* where answers, files and batches are kept; the store is borrowed */
    double header_timeout_s, body_timeout_s, idle_timeout_s, write_timeout_s;
    double socket_idle_timeout_s; /* that a WebSocket may have no request */
};

/* The parameters of a server on no address, with the defaults of the settings table. */
struct server_params server_params_default(void);

/* ERR_USAGE for an address beyond loopback without keys. */
bool server_check_bind(const struct server_params *params, struct err *err);

/* Checks the bind and binds. What `params` points to is borrowed until server_destroy. */
struct server *server_create(const struct server_params *params, struct err *err);
bool server_start(struct server *server, struct err *err);

size_t server_listen_count(const struct server *server);

/* "http://127.0.0.1:8484" */
void server_url(const struct server *server, size_t index, char out[96]);

/* Accepts nothing more and lets answers under way end; /readyz says 503. */
void server_drain(struct server *server);
bool server_is_drained(struct server *server);

/* Cancels what still runs, ends all threads, frees. NULL is fine. */
void server_destroy(struct server *server);

#endif
