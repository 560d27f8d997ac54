/* Counters of the HTTP side, and everything as Prometheus text (exposition format 0.0.4). Labels
 * take only values that the server chose itself: route patterns, status classes, served ids. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "route/registry.h"
#include "server/front.h"

enum { SERVER_ROUTES_MAX = 128, SERVER_CLASSES = 6 }; /* class 0: no answer, the client left */

struct server_metrics {
    atomic_uint_fast64_t requests[SERVER_ROUTES_MAX + 1][SERVER_CLASSES]; /* last: no route */
    atomic_int_fast64_t active;
    int64_t started_ns;
};

/* route is the row's index, or SERVER_ROUTES_MAX; status 0 when the client left. */
void server_metrics_count(struct server_metrics *metrics, size_t route, int status);

void server_metrics_write(struct server_metrics *metrics, struct route_registry *registry,
                          struct server_front *front, struct buf *out);

#endif
