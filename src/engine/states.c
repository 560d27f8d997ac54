/* States of sequences.
 *
 * Keys and values of a position stay; a state is overwritten by the next row. So what pages give
 * for nothing costs a copy here, and copies are made at page borders only, where the prefix cache
 * can find them:
 *
 *     pages of the cache   [ 0..63 ]-[ 64..127 ]-[ 128..191 ]-[ 192..255 ]
 *     kept with them                                   *                       states
 *     a prompt of 260 tokens that begins so finds four pages and one state: it goes on at 192,
 *     and the keys and values of 192..255 are there already (model_seq.ready)
 *
 * One state costs as much as the keys and values of hundreds or thousands of positions, so they are
 * kept where they will be asked for: at the last border of a prompt, at the border where a prompt
 * left what the cache knew (the next one that begins so will leave it there as well), and at the
 * last border of an answer. The longest unused go first.
 *
 * A running sequence has its state and one more: a copy from an earlier border to go back to when
 * the text has to be taken back (banned strings). Those two are promised: kept ones never hold more
 * than kept_max. */
#include "engine/states.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

enum { PER_SEQUENCE = 2, KEPT_MIN = 2 };

static uint32_t kept_for(uint32_t sequences_max)
{
    return sequences_max / 2 > KEPT_MIN ? sequences_max / 2 : KEPT_MIN;
}

uint32_t engine_states_wanted(uint32_t sequences_max)
{
    return PER_SEQUENCE * sequences_max + kept_for(sequences_max);
}

uint64_t engine_states_bytes(uint32_t sequences_max)
{
    return (uint64_t)engine_states_wanted(sequences_max) *
           (sizeof(struct engine_state_slot) + sizeof(uint32_t));
}

bool engine_states_init(struct engine_states *states, struct model *model,
                        struct engine_cache *cache, uint32_t sequences_max)
{
    const struct model_plan *plan = model_plan_of(model);
    *states = (struct engine_states){.model = model,
                                     .cache = cache,
                                     .bytes = plan->state_bytes,
                                     .oldest = ENGINE_STATE_NONE,
                                     .newest = ENGINE_STATE_NONE};
    if (plan->states == 0) {
        return true;
    }
    const uint32_t promised = PER_SEQUENCE * sequences_max;
    assert(plan->states >= promised);
    states->total = plan->states;
    states->kept_max = cache->nodes ? plan->states - promised : 0;
    states->slots = MEM_ARRAY(struct engine_state_slot, states->total);
    states->unused = MEM_ARRAY(uint32_t, states->total);
    if (!states->slots || !states->unused) {
        engine_states_deinit(states);
        return false;
    }
    for (uint32_t i = 0; i < states->total; i++) {
        states->unused[states->unused_count++] = states->total - 1 - i;
    }
    cache->states = states;
    return true;
}

void engine_states_deinit(struct engine_states *states)
{
    mem_free(states->slots);
    mem_free(states->unused);
    *states = (struct engine_states){0};
}

bool engine_states_are(const struct engine_states *states)
{
    return states->slots != NULL;
}

/* ---- those kept with pages ---- */

static void unlink_slot(struct engine_states *states, uint32_t state)
{
    const struct engine_state_slot *slot = &states->slots[state];
    *(slot->older == ENGINE_STATE_NONE ? &states->oldest : &states->slots[slot->older].newer) =
        slot->newer;
    *(slot->newer == ENGINE_STATE_NONE ? &states->newest : &states->slots[slot->newer].older) =
        slot->older;
}

static void link_newest(struct engine_states *states, uint32_t state)
{
    struct engine_state_slot *slot = &states->slots[state];
    slot->older = states->newest;
    slot->newer = ENGINE_STATE_NONE;
    *(states->newest == ENGINE_STATE_NONE ? &states->oldest
                                          : &states->slots[states->newest].newer) = state;
    states->newest = state;
}

static void drop(struct engine_states *states, uint32_t state)
{
    assert(states->slots[state].pins == 0);
    unlink_slot(states, state);
    states->cache->nodes[states->slots[state].page].state = ENGINE_STATE_NONE;
    states->kept_count--;
    engine_states_give(states, state);
}

/* The longest unused that nobody reads, or NONE. */
static uint32_t find_oldest(const struct engine_states *states)
{
    uint32_t state = states->oldest;
    while (state != ENGINE_STATE_NONE && states->slots[state].pins != 0) {
        state = states->slots[state].newer;
    }
    return state;
}

bool engine_states_keep(struct engine_states *states, uint32_t page, uint32_t from)
{
    if (states->kept_max == 0 || states->cache->nodes[page].state != ENGINE_STATE_NONE) {
        return false;
    }
    if (states->kept_count == states->kept_max) {
        const uint32_t oldest = find_oldest(states);
        if (oldest == ENGINE_STATE_NONE) {
            return false;
        }
        drop(states, oldest);
    }
    const uint32_t state = engine_states_take(states);
    engine_states_copy(states, state, from);
    states->slots[state] = (struct engine_state_slot){.page = page};
    link_newest(states, state);
    states->cache->nodes[page].state = state;
    states->kept_count++;
    return true;
}

uint32_t engine_states_find(struct engine_states *states, uint32_t page)
{
    const uint32_t state =
        states->kept_max == 0 ? ENGINE_STATE_NONE : states->cache->nodes[page].state;
    if (state != ENGINE_STATE_NONE) {
        unlink_slot(states, state);
        link_newest(states, state);
    }
    return state;
}

void engine_states_forget(struct engine_states *states, uint32_t page)
{
    if (states->cache->nodes[page].state != ENGINE_STATE_NONE) {
        drop(states, states->cache->nodes[page].state);
    }
}

void engine_states_pin(struct engine_states *states, uint32_t state)
{
    states->slots[state].pins++;
}

void engine_states_unpin(struct engine_states *states, uint32_t state)
{
    assert(states->slots[state].pins > 0);
    states->slots[state].pins--;
}

/* ---- all ---- */

uint32_t engine_states_take(struct engine_states *states)
{
    assert(states->unused_count > 0);
    return states->unused[--states->unused_count];
}

void engine_states_give(struct engine_states *states, uint32_t state)
{
    if (state != ENGINE_STATE_NONE) {
        states->unused[states->unused_count++] = state;
    }
}

void engine_states_copy(struct engine_states *states, uint32_t to, uint32_t from)
{
    memcpy(model_state(states->model, to), model_state(states->model, from), states->bytes);
}
