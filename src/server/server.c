#include "server/server.h"

#include <stdio.h>
#include <sys/resource.h>

#include "api/digests.h"
#include "api/responses.h"
#include "base/clock.h"
#include "base/mem.h"
#include "server/background.h"
#include "server/batches.h"
#include "server/exchange.h"
#include "server/sessions.h"

enum { FDS_PER_CONNECTION = 3, FDS_OTHER = 64 };

struct server_params server_params_default(void)
{
    return (struct server_params){
        .connections_max = 1024,
        .body_bytes_max = 32 << 20,
        .bodies_bytes_max = 256 << 20,
        .worker_count = 2,
        .keep = {.lack = "no folder was given to keep it in"},
        .header_timeout_s = 10,
        .body_timeout_s = 30,
        .idle_timeout_s = 75,
        .socket_idle_timeout_s = 600,
        .write_timeout_s = 60,
    };
}

/* A connection takes a descriptor and both ends of a pair. The limit of the process is raised as
 * far as it goes, and the limit of connections lowered to what then fits. */
static void fit_connections(struct server_params *params)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    rlim_t want = (rlim_t)params->connections_max * FDS_PER_CONNECTION + FDS_OTHER;
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < want) {
        limit.rlim_cur =
            limit.rlim_max == RLIM_INFINITY || limit.rlim_max > want ? want : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < want) {
        size_t fits = limit.rlim_cur > FDS_OTHER + FDS_PER_CONNECTION
                          ? (size_t)(limit.rlim_cur - FDS_OTHER) / FDS_PER_CONNECTION
                          : 1;
        params->connections_max = fits;
    }
}

bool server_check_bind(const struct server_params *params, struct err *err)
{
    for (size_t i = 0; i < params->listen_count; i++) {
        if (params->key_count == 0 && !server_address_is_loopback(&params->listens[i])) {
            char text[SERVER_ADDRESS_TEXT];
            server_address_format(&params->listens[i], text);
            return err_set(err, ERR_USAGE,
                           "%s can be reached from other machines: set an API key (--api-key KEY, "
                           "--api-key-file FILE or HEARTH_API_KEY), or listen on 127.0.0.1",
                           text);
        }
    }
    return true;
}

static bool open_parts(struct server *server, struct err *err)
{
    const struct server_params *params = &server->params;
    struct server_access_params access = {.keys = params->keys,
                                          .key_count = params->key_count,
                                          .origins = params->origins,
                                          .origin_count = params->origin_count,
                                          .hosts = params->hosts,
                                          .host_count = params->host_count,
                                          .listens = params->listens,
                                          .listen_count = params->listen_count};
    server->access = server_access_create(&access, err);
    if (!server->access) {
        return false;
    }
    if (params->tls_cert &&
        !(server->tls = server_tls_create(params->tls_cert, params->tls_key, err))) {
        return false;
    }
    struct server_front_params front = {.listens = params->listens,
                                        .listen_count = params->listen_count,
                                        .tls = server->tls,
                                        .connections_max = params->connections_max,
                                        .header_timeout_s = params->header_timeout_s,
                                        .body_timeout_s = params->body_timeout_s,
                                        .idle_timeout_s = params->idle_timeout_s,
                                        .write_timeout_s = params->write_timeout_s,
                                        .connect = server_http_connect,
                                        .left = server_http_left,
                                        .arg = server};
    server->front = server_front_create(&front, err);
    return server->front != NULL;
}

struct server *server_create(const struct server_params *params, struct err *err)
{
    if (!server_routes_check(server_routes, err) || !server_check_bind(params, err)) {
        return NULL;
    }
    struct server *server = MEM_NEW(struct server);
    if (!server) {
        err_set_memory(err, sizeof *server);
        return NULL;
    }
    server->params = *params;
    server->registry = params->registry;
    server->metrics.started_ns = clock_now_ns();
    pthread_mutex_init(&server->list_lock, NULL);
    fit_connections(&server->params);
    if (!open_parts(server, err)) {
        server_destroy(server);
        return NULL;
    }
    return server;
}

bool server_start(struct server *server, struct err *err)
{
    struct store *store = server->params.keep.store;
    server->params.keep.digests = api_digests_create(store, err);
    server->workers = !server->params.keep.digests
                          ? NULL
                          : server_workers_create(server->params.worker_count, err);
    server->long_worker = server->workers ? server_workers_create(1, err) : NULL;
    server->sessions = server->long_worker ? server_sessions_create(server, err) : NULL;
    server->backgrounds = server->sessions ? server_backgrounds_create(server, err) : NULL;
    server->batches = server->backgrounds ? server_batches_create(server, err) : NULL;
    return server->batches && (!store || api_responses_recover(store, err)) &&
           server_http_start(server, err) && server_front_start(server->front, err);
}

size_t server_listen_count(const struct server *server)
{
    return server->params.listen_count;
}

void server_url(const struct server *server, size_t index, char out[96])
{
    struct server_address address;
    char text[SERVER_ADDRESS_TEXT];
    server_front_address(server->front, index, &address);
    server_address_format(&address, text);
    snprintf(out, 96, "http%s://%s", server->tls ? "s" : "", text);
}

void server_drain(struct server *server)
{
    atomic_store(&server->draining, true);
    if (server->sessions) {
        server_sessions_drain(server->sessions);
    }
    server_front_drain(server->front);
}

bool server_is_drained(struct server *server)
{
    return server_front_is_drained(server->front);
}

/* In the order in which parts stop calling each other: no new connections, no exchange, no worker
 * that submits for one. */
void server_destroy(struct server *server)
{
    if (!server) {
        return;
    }
    if (server->front) {
        server_front_stop(server->front);
    }
    server_sessions_stop(server->sessions);
    server_http_stop(server);
    server_sessions_destroy(server->sessions);
    server_backgrounds_stop(server->backgrounds);
    server_workers_destroy(server->workers);     /* after the calls that were left in its queue */
    server_workers_destroy(server->long_worker); /* to which those hand on */
    server_batches_destroy(server->batches);
    server_backgrounds_destroy(server->backgrounds);
    api_digests_destroy(server->params.keep.digests);
    server_front_destroy(server->front);
    server_tls_destroy(server->tls);
    server_access_destroy(server->access);
    pthread_mutex_destroy(&server->list_lock);
    mem_free(server);
}
