/* One request and its answer, on libmicrohttpd's thread. A handler that has to wait says so and the
 * connection is suspended; server_exchange_wake, from any thread, has it called again. */
#ifndef SERVER_EXCHANGE_H
#define SERVER_EXCHANGE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "route/registry.h"
#include "server/access.h"
#include "server/front.h"
#include "server/metrics.h"
#include "server/routes.h"
#include "server/server.h"
#include "server/workers.h"

struct server_exchange;

enum { SERVER_HEADERS_OF_REPLY = 4 };

/* What a streaming answer gives. */
enum server_pull {
    SERVER_PULL_MORE, /* bytes were appended */
    SERVER_PULL_WAIT, /* none now; server_exchange_wake follows */
    SERVER_PULL_END,
    SERVER_PULL_BROKEN /* end the connection, so that the client sees the answer is cut */
};

struct server_reply {
    int status;
    const char *content_type;
    struct buf body;
    /* Streaming instead of a body; after END or BROKEN it is not called again. */
    enum server_pull (*pull)(struct server_exchange *exchange, struct buf *out);
    int retry_after_s; /* 0: no such header */
    /* Further headers; names are literals, values have no control characters. */
    struct server_header {
        const char *name;
        char value[192];
    } headers[SERVER_HEADERS_OF_REPLY];
    size_t header_count;
    /* Status 101 instead of an answer: called once, on libmicrohttpd's thread, with the descriptor
     * of the connection. The exchange lives until server_exchange_closed. */
    void (*upgrade)(struct server_exchange *exchange, int fd);
};

enum { SERVER_ID_MAX = 64, SERVER_KEY_MAX = 512 };

struct server_exchange {
    struct server *server;
    struct server_conn *conn;
    struct MHD_Connection *mhd;
    uint32_t number; /* within the connection */
    char id[SERVER_ID_MAX + 1];
    struct str method;
    struct buf path;  /* decoded */
    struct buf allow; /* methods, for 405 and preflights */
    const struct server_route *route;
    struct str parts[SERVER_PARTS_MAX]; /* what each {...} of the route took */
    const char *cors_origin;            /* welcome; NULL: no CORS headers */
    bool is_preflight, is_refused, too_large;
    struct err fault; /* code != ERR_NONE: the answer, whatever the handler would say */
    struct buf body;
    size_t discarded_bytes;
    struct server_reply reply;
    struct buf chunk; /* of a stream, not yet sent */
    size_t chunk_at;
    bool is_ended;
    int64_t started_ns;

    char socket_key[SERVER_KEY_MAX + 1]; /* came as a WebSocket protocol; else empty */
    struct MHD_UpgradeResponseHandle *upgraded;

    /* the handler's */
    void *state;
    void (*release)(struct server_exchange *exchange);

    /* for the log */
    char model[STR_QUOTE_MAX];
    char user[STR_QUOTE_MAX];
    uint64_t prompt_tokens, completion_tokens;
    bool has_usage;

    pthread_mutex_t lock; /* suspended, woken */
    bool suspended, woken;
    atomic_bool gone;                    /* the client left, or the server stops */
    struct server_exchange *next, *prev; /* the server's list, under its lock */
};

struct server {
    struct server_params params;
    struct route_registry *registry;
    struct server_access *access;
    struct server_tls *tls;
    struct server_front *front;
    struct server_workers *workers;
    struct server_workers *long_worker; /* one thread for work of minutes (api_call.later) */
    struct server_sessions *sessions;
    struct server_backgrounds *backgrounds;
    struct server_batches *batches;
    struct server_metrics metrics;
    struct MHD_Daemon *mhd;
    atomic_size_t bodies_bytes; /* held by requests being received */
    atomic_bool draining, stopping;
    pthread_mutex_t list_lock;
    struct server_exchange *exchanges;
};

/* Any thread; the exchange must be alive. */
void server_exchange_wake(struct server_exchange *exchange);

/* An error as the answer: status, body and headers in the
 * dialect of the path. */
enum server_step server_exchange_fail(struct server_exchange *exchange, const struct err *failure);

/* Value of a request header; empty if absent. */
struct str server_exchange_header(const struct server_exchange *exchange, const char *name);

/* What a request proves itself with: the values of its headers, or a key that a page sent as a
 * WebSocket protocol because it can set no header. */
struct server_credentials {
    struct str authorization, api_key;
};
struct server_credentials server_exchange_credentials(const struct server_exchange *exchange);

/* Formats a further header of the answer. */
void server_reply_header(struct server_reply *reply, const char *name, const char *format, ...)
    ATTR_PRINTF(3, 4);

/* The upgraded connection is no longer used: it is closed and the exchange ends. Any thread; the
 * exchange may be gone when this returns. */
void server_exchange_closed(struct server_exchange *exchange);

/* Gives the bytes of a body back to the server's budget. */
void server_exchange_free_body(struct server *server, struct buf *body);

/* ---- libmicrohttpd's callbacks (http.c) ---- */

bool server_http_start(struct server *server, struct err *err);
void server_http_stop(struct server *server);

/* Hands a pair end over; the front's `connect`. */
bool server_http_connect(void *arg, int fd, const struct server_address *peer);

/* The front's `left`. */
void server_http_left(void *arg, void *exchange);

#endif
