/* Who has which state of a model whose layers pass one on (model.h), and the copies that are kept
 * with pages of the prefix cache. Owned by the worker. See states.c. */
#ifndef ENGINE_STATES_H
#define ENGINE_STATES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/cache.h"

#define ENGINE_STATE_NONE UINT32_MAX

struct engine_state_slot {
    uint32_t page; /* that it is kept with */
    uint32_t older, newer;
    uint32_t pins;
};

struct engine_states {
    struct model *model;
    struct engine_cache *cache;      /* its nodes know their state */
    struct engine_state_slot *slots; /* [total]; NULL for a model without */
    uint32_t *unused;                /* [unused_count] */
    uint32_t total, unused_count;
    uint32_t kept_count, kept_max, oldest, newest; /* those kept with pages */
    uint64_t bytes;                                /* of one */
};

/* States to give a model for so many sequences. */
uint32_t engine_states_wanted(uint32_t sequences_max);

/* Bytes that init allocates at most. */
uint64_t engine_states_bytes(uint32_t sequences_max);

bool engine_states_init(struct engine_states *states, struct model *model,
                        struct engine_cache *cache, uint32_t sequences_max);
void engine_states_deinit(struct engine_states *states);

/* Whether the model has states at all. */
bool engine_states_are(const struct engine_states *states);

/* A state for a running sequence: each may have two, and gets them always. */
uint32_t engine_states_take(struct engine_states *states);

/* NONE is fine. */
void engine_states_give(struct engine_states *states, uint32_t state);

void engine_states_copy(struct engine_states *states, uint32_t to, uint32_t from);

/* Keeps a copy with an indexed page, for sequences that go on behind it; false when there is one,
 * or no room. */
bool engine_states_keep(struct engine_states *states, uint32_t page, uint32_t from);

/* The state kept with a page, or NONE; the one used last lives longest. */
uint32_t engine_states_find(struct engine_states *states, uint32_t page);

/* The page leaves the index. */
void engine_states_forget(struct engine_states *states, uint32_t page);

/* While it is being read by another thread. */
void engine_states_pin(struct engine_states *states, uint32_t state);
void engine_states_unpin(struct engine_states *states, uint32_t state);

#endif
