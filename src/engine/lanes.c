/* Weighted fair queueing, twice: between lanes, and between the tenants of a lane.
 *
 *     interactive (8)   key A: 3 waiting, 2 running     served 410
 *                       key B: 1 waiting                served 395  <- next of the lane
 *     normal (4)        key C: 9 waiting                served 380
 *     batch (1)         key C: 200 waiting
 *
 * Each lane and each tenant counts the tokens that were computed for it, prompt and answer alike, a
 * lane divided by its weight. The turn is the lane's that was served least, the lower one's among
 * equals, and in it the tenant's that was served least. So nobody starves: whoever is passed over
 * stays where it is while the others' counts grow. Tokens are charged when they are computed: what
 * a request will cost is not known before, and counting requests would let long ones pay nothing.
 *
 * Who comes back after having had nothing to do starts at the least count of those who had: rest is
 * not saved up. A tenant that has neither waiting nor running requests is forgotten.
 *
 * Deficit round robin was the other candidate: it needs a request's cost when it is admitted, and
 * its share is right only over a whole round of the largest quantum. */
#include "engine/lanes.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "engine/state.h"

void engine_lanes_init(struct engine_lanes *lanes, const uint32_t weights[ENGINE_LANES])
{
    *lanes = (struct engine_lanes){0};
    for (int i = 0; i < ENGINE_LANES; i++) {
        lanes->lanes[i].weight = weights[i] ? weights[i] : 1;
    }
}

static struct engine_lane_state *lane_of(struct engine_lanes *lanes, const struct engine_tenant *t)
{
    return &lanes->lanes[t->lane];
}

static bool is_active(const struct engine_lane_state *lane)
{
    return lane->waiting + lane->running > 0;
}

/* ---- coming and going ---- */

/* A lane that had nothing to do goes on where the least served of the others is. */
static void wake_lane(struct engine_lanes *lanes, struct engine_lane_state *lane)
{
    double least = -1;
    for (int i = 0; i < ENGINE_LANES; i++) {
        const struct engine_lane_state *other = &lanes->lanes[i];
        if (is_active(other) && (least < 0 || other->served < least)) {
            least = other->served;
        }
    }
    lane->served = least > lane->served ? least : lane->served;
}

static struct engine_tenant *find(const struct engine_lane_state *lane, struct str name)
{
    struct engine_tenant *t = lane->tenants;
    while (t && !(t->name_len == name.len &&
                  (name.len == 0 || memcmp(t->name, name.ptr, name.len) == 0))) {
        t = t->next;
    }
    return t;
}

static struct engine_tenant *add_tenant(struct engine_lane_state *lane, enum engine_lane which,
                                        struct str name)
{
    struct engine_tenant *t = MEM_NEW(struct engine_tenant);
    if (!t) {
        return NULL;
    }
    for (const struct engine_tenant *other = lane->tenants; other; other = other->next) {
        t->served = other == lane->tenants || other->served < t->served ? other->served : t->served;
    }
    if (name.len) {
        memcpy(t->name, name.ptr, name.len);
    }
    t->name_len = (uint32_t)name.len;
    t->lane = which;
    t->next = lane->tenants;
    lane->tenants = t;
    return t;
}

static void drop_idle(struct engine_lanes *lanes, struct engine_tenant *t)
{
    struct engine_lane_state *lane = lane_of(lanes, t);
    if (t->waiting + t->running > 0) {
        return;
    }
    struct engine_tenant **link = &lane->tenants;
    while (*link != t) {
        link = &(*link)->next;
    }
    *link = t->next;
    mem_free(t);
}

static void count_waiting(struct engine_lanes *lanes, struct engine_tenant *t, int change)
{
    t->waiting += (uint32_t)change;
    lane_of(lanes, t)->waiting += (uint32_t)change;
    lanes->waiting += (uint32_t)change;
}

static void count_running(struct engine_lanes *lanes, struct engine_tenant *t, int change)
{
    t->running += (uint32_t)change;
    lane_of(lanes, t)->running += (uint32_t)change;
}

bool engine_lanes_push(struct engine_lanes *lanes, struct engine_sequence *seq, struct str tenant)
{
    const enum engine_lane which = seq->request.lane;
    struct engine_lane_state *lane = &lanes->lanes[which];
    assert(tenant.len <= ENGINE_TENANT_BYTES_MAX);
    if (!is_active(lane)) {
        wake_lane(lanes, lane);
    }
    struct engine_tenant *t = find(lane, tenant);
    t = t ? t : add_tenant(lane, which, tenant);
    if (!t) {
        return false;
    }
    seq->tenant = t;
    seq->next = NULL;
    *(t->last ? &t->last->next : &t->first) = seq;
    t->last = seq;
    count_waiting(lanes, t, 1);
    return true;
}

static void unlink_waiting(struct engine_lanes *lanes, struct engine_sequence *seq)
{
    struct engine_tenant *t = seq->tenant;
    struct engine_sequence **link = &t->first, *previous = NULL;
    while (*link != seq) {
        previous = *link;
        link = &previous->next;
    }
    *link = seq->next;
    t->last = t->last == seq ? previous : t->last;
    seq->next = NULL;
    count_waiting(lanes, t, -1);
}

void engine_lanes_take(struct engine_lanes *lanes, struct engine_sequence *seq)
{
    unlink_waiting(lanes, seq);
    count_running(lanes, seq->tenant, 1);
}

void engine_lanes_return(struct engine_lanes *lanes, struct engine_sequence *seq)
{
    struct engine_tenant *t = seq->tenant;
    count_running(lanes, t, -1);
    seq->next = t->first;
    t->first = seq;
    t->last = t->last ? t->last : seq;
    count_waiting(lanes, t, 1);
}

void engine_lanes_remove(struct engine_lanes *lanes, struct engine_sequence *seq)
{
    unlink_waiting(lanes, seq);
    drop_idle(lanes, seq->tenant);
    seq->tenant = NULL;
}

void engine_lanes_end(struct engine_lanes *lanes, struct engine_sequence *seq)
{
    count_running(lanes, seq->tenant, -1);
    drop_idle(lanes, seq->tenant);
    seq->tenant = NULL;
}

void engine_lanes_charge(struct engine_lanes *lanes, const struct engine_sequence *seq,
                         uint32_t tokens)
{
    struct engine_lane_state *lane = lane_of(lanes, seq->tenant);
    lane->served += (double)tokens / lane->weight;
    seq->tenant->served += tokens;
}

/* ---- whose turn it is ---- */

bool engine_lanes_before(const struct engine_lanes *lanes, const struct engine_tenant *a,
                         const struct engine_tenant *b)
{
    const struct engine_lane_state *x = &lanes->lanes[a->lane], *y = &lanes->lanes[b->lane];
    if (a->lane != b->lane) {
        return x->served < y->served || (!(y->served < x->served) && a->lane < b->lane);
    }
    return a->served < b->served;
}

static const struct engine_lane_state *next_lane(const struct engine_lanes *lanes)
{
    const struct engine_lane_state *best = NULL;
    for (int i = 0; i < ENGINE_LANES; i++) {
        const struct engine_lane_state *lane = &lanes->lanes[i];
        if (lane->waiting > 0 && (!best || lane->served < best->served)) {
            best = lane;
        }
    }
    return best;
}

/* Tenants stand newest first; the oldest of equals is taken. */
static struct engine_tenant *next_tenant(const struct engine_lane_state *lane)
{
    struct engine_tenant *best = NULL;
    for (struct engine_tenant *t = lane->tenants; t; t = t->next) {
        if (t->waiting > 0 && (!best || t->served <= best->served)) {
            best = t;
        }
    }
    return best;
}

struct engine_sequence *engine_lanes_next(const struct engine_lanes *lanes)
{
    const struct engine_lane_state *lane = next_lane(lanes);
    return lane ? next_tenant(lane)->first : NULL;
}

/* Before the n-th of a line come at most n + 1 of each other tenant, and of another lane as many as
 * its weight is larger; what they will cost is not known. */
uint32_t engine_lanes_ahead(const struct engine_lanes *lanes, const struct engine_sequence *seq)
{
    const struct engine_tenant *own = seq->tenant;
    const struct engine_lane_state *lane = &lanes->lanes[own->lane];
    uint32_t in_line = 0;
    for (const struct engine_sequence *s = own->first; s != seq; s = s->next) {
        in_line++;
    }
    uint64_t ahead = in_line;
    for (const struct engine_tenant *t = lane->tenants; t; t = t->next) {
        const uint32_t turns = in_line + (t->served < own->served ? 1 : 0);
        ahead += t == own ? 0 : t->waiting < turns ? t->waiting : turns;
    }
    const uint64_t in_lane = ahead;
    for (int i = 0; i < ENGINE_LANES; i++) {
        const struct engine_lane_state *other = &lanes->lanes[i];
        const bool is_first =
            other->served < lane->served || (!(lane->served < other->served) && i < (int)own->lane);
        const uint64_t turns =
            (in_lane + (is_first ? 1 : 0)) * other->weight / lane->weight + (is_first ? 1 : 0);
        ahead += other == lane ? 0 : other->waiting < turns ? other->waiting : turns;
    }
    return ahead > UINT32_MAX ? UINT32_MAX : (uint32_t)ahead;
}

void engine_lanes_each(const struct engine_lanes *lanes,
                       void (*fn)(void *arg, struct engine_sequence *seq), void *arg)
{
    for (int i = 0; i < ENGINE_LANES; i++) {
        for (const struct engine_tenant *t = lanes->lanes[i].tenants; t; t = t->next) {
            for (struct engine_sequence *s = t->first; s; s = s->next) {
                fn(arg, s);
            }
        }
    }
}
