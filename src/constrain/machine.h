/* The automaton at work: a front of configurations, each a place in the grammar with a stack.
 *
 *     configuration   operation, state of its automaton, count, stack
 *     stack           frames that link to their parents; equal frames are one, so a stack is a
 * number
 *
 * A byte moves each configuration; where an automaton accepts, what comes behind it joins the
 * front. Most fronts have one or two configurations. A front beyond FRONT_MAX drops further ones:
 * what is accepted stays valid, some of what is valid is no longer found. */
#ifndef CONSTRAIN_MACHINE_H
#define CONSTRAIN_MACHINE_H

#include "constrain/grammar.h"
#include "constrain/vocab.h"

enum { FRONT_MAX = 4096, FRAMES_MAX = 1 << 23, MASK_SLOTS = 16 };

struct constrain_config {
    uint32_t op, stack;
    int32_t state;
    uint32_t unused;
    uint64_t count; /* COUNT: texts read so far */
};

struct constrain_frame {
    uint32_t op, parent;
    uint64_t count; /* LOOP: rounds that ended */
};

/* Configurations [at, at + count) of run->configs. */
struct constrain_front {
    size_t at, count;
    bool accepts;
};

struct constrain_run {
    struct constrain_grammar *grammar;
    const struct constrain_vocab *vocab;
    struct constrain_frame *frames; /* [0] is the empty stack */
    size_t frame_count, frame_cap;
    uint32_t *frame_table; /* hash: index, 0 free */
    size_t frame_table_size;
    struct constrain_config *configs; /* scratch, used as a stack of fronts */
    size_t config_count, config_cap;
    struct constrain_config *kept; /* of all states */
    size_t kept_count, kept_cap;
    struct constrain_front *states; /* into kept */
    size_t state_count, state_cap;
    uint32_t *state_table; /* hash: index + 1 */
    size_t state_table_size;
    uint32_t current;
    struct constrain_seen { /* what is already in the front that is being built */
        uint32_t epoch;
        struct constrain_config config;
    } * seen;
    size_t seen_size, seen_count;
    uint32_t epoch;
    struct constrain_config *todo; /* stack of the closure */
    size_t todo_cap;
    uint32_t *walk; /* [piece_bytes_max + 1] scratch of mask.c */
    uint64_t *walk_counts;
    uint32_t mask_states[MASK_SLOTS]; /* state + 1 whose mask is in masks, or 0 */
    size_t mask_allowed[MASK_SLOTS];
    uint32_t *masks; /* [MASK_SLOTS][words] */
    bool failed;     /* out of memory: everything is refused from here on */
};

/* Begins a front at the end of the scratch; the caller restores run->config_count to give it back.
 */
struct constrain_front constrain_front_begin(struct constrain_run *run);

/* Adds what can come at `op` with `stack`. */
void constrain_front_add(struct constrain_run *run, struct constrain_front *front, uint32_t op,
                         uint32_t stack);

/* The front behind `from` and one byte. `from` may be in the scratch. */
struct constrain_front constrain_front_step(struct constrain_run *run,
                                            const struct constrain_front *from, bool is_kept,
                                            uint8_t byte);

#endif
