/* Who comes next: the waiting requests in lanes, and inside a lane by tenant. See lanes.c. Guarded
 * by the engine's lock. */
#ifndef ENGINE_LANES_H
#define ENGINE_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

struct engine_sequence;

struct engine_tenant {
    uint8_t name[ENGINE_TENANT_BYTES_MAX];
    uint32_t name_len;
    enum engine_lane lane;
    double served; /* tokens, from the start of its lane's clock */
    struct engine_sequence *first, *last;
    uint32_t waiting, running;
    struct engine_tenant *next;
};

struct engine_lane_state {
    double served; /* tokens over weight */
    uint32_t weight;
    uint32_t waiting, running;
    struct engine_tenant *tenants; /* that wait or run */
};

struct engine_lanes {
    struct engine_lane_state lanes[ENGINE_LANES];
    uint32_t waiting;
};

/* weights[lane] >= 1. */
void engine_lanes_init(struct engine_lanes *lanes, const uint32_t weights[ENGINE_LANES]);

/* Puts a new one at the end of its tenant's line. False: no memory. */
bool engine_lanes_push(struct engine_lanes *lanes, struct engine_sequence *seq, struct str tenant);

/* The one whose turn it is; NULL: nobody waits. It stays where it is. */
struct engine_sequence *engine_lanes_next(const struct engine_lanes *lanes);

/* It runs from now on. */
void engine_lanes_take(struct engine_lanes *lanes, struct engine_sequence *seq);

/* A running one waits again, before all others of its tenant. */
void engine_lanes_return(struct engine_lanes *lanes, struct engine_sequence *seq);

/* A waiting one leaves. */
void engine_lanes_remove(struct engine_lanes *lanes, struct engine_sequence *seq);

/* A running one has ended. */
void engine_lanes_end(struct engine_lanes *lanes, struct engine_sequence *seq);

/* So many tokens were computed for it. */
void engine_lanes_charge(struct engine_lanes *lanes, const struct engine_sequence *seq,
                         uint32_t tokens);

/* True when `a` is to be served before `b`, which it is not of the same tenant. */
bool engine_lanes_before(const struct engine_lanes *lanes, const struct engine_tenant *a,
                         const struct engine_tenant *b);

/* How many are to be served before it, by what is known now: 0 for the next one. */
uint32_t engine_lanes_ahead(const struct engine_lanes *lanes, const struct engine_sequence *seq);

/* Calls fn for each waiting one; fn may not change the lanes. */
void engine_lanes_each(const struct engine_lanes *lanes,
                       void (*fn)(void *arg, struct engine_sequence *seq), void *arg);

#endif
