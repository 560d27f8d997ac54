#include "constrain/machine.h"

#include <stdlib.h>

#include "base/mem.h"
#include "constrain/mask.h"

static uint64_t mix(uint64_t x)
{
    x *= 0x9E3779B97F4A7C15u;
    return x ^ (x >> 32);
}

static uint64_t config_hash(const struct constrain_config *c)
{
    return mix(mix((uint64_t)c->op << 32 | (uint32_t)c->state) ^
               mix((uint64_t)c->stack + c->count));
}

static bool config_same(const struct constrain_config *a, const struct constrain_config *b)
{
    return a->op == b->op && a->state == b->state && a->stack == b->stack && a->count == b->count;
}

static bool grow(struct constrain_run *run, void **items, size_t *cap, size_t need, size_t size)
{
    if (need > *cap && !run->failed) {
        size_t wanted = *cap ? *cap * 2 : 64;
        while (wanted < need) {
            wanted *= 2;
        }
        void *moved = mem_resize(*items, wanted, size);
        run->failed = !moved;
        if (moved) {
            *items = moved;
            *cap = wanted;
        }
    }
    return !run->failed;
}

/* A hash table of twice the size, filled anew by its owner. */
static uint32_t *table_grow(struct constrain_run *run, uint32_t **table, size_t *size)
{
    const size_t wanted = *size ? *size * 2 : 64;
    uint32_t *fresh = MEM_ARRAY(uint32_t, wanted);
    run->failed |= !fresh;
    if (fresh) {
        mem_free(*table);
        *table = fresh;
        *size = wanted;
    }
    return fresh;
}

/* ---- stacks ---- */

static uint64_t frame_hash(const struct constrain_frame *f)
{
    return mix(mix((uint64_t)f->op << 32 | f->parent) ^ f->count);
}

/* The number of a stack with this top; 0 when there is no room, which the caller treats as a way
 * that is closed. */
static uint32_t push(struct constrain_run *run, struct constrain_frame frame)
{
    if (run->frame_count * 2 >= run->frame_table_size) {
        if (!table_grow(run, &run->frame_table, &run->frame_table_size)) {
            return 0;
        }
        for (size_t i = 1; i < run->frame_count; i++) {
            size_t slot = frame_hash(&run->frames[i]) & (run->frame_table_size - 1);
            while (run->frame_table[slot]) {
                slot = (slot + 1) & (run->frame_table_size - 1);
            }
            run->frame_table[slot] = (uint32_t)i;
        }
    }
    size_t slot = frame_hash(&frame) & (run->frame_table_size - 1);
    for (; run->frame_table[slot]; slot = (slot + 1) & (run->frame_table_size - 1)) {
        const struct constrain_frame *known = &run->frames[run->frame_table[slot]];
        if (known->op == frame.op && known->parent == frame.parent && known->count == frame.count) {
            return run->frame_table[slot];
        }
    }
    if (run->frame_count >= FRAMES_MAX ||
        !grow(run, (void **)&run->frames, &run->frame_cap, run->frame_count + 1, sizeof frame)) {
        return 0;
    }
    run->frames[run->frame_count] = frame;
    run->frame_table[slot] = (uint32_t)run->frame_count;
    return (uint32_t)run->frame_count++;
}

/* ---- fronts ---- */

/* True when `config` is new to the front that is being built. */
static bool is_new(struct constrain_run *run, const struct constrain_config *config)
{
    if ((run->seen_count + 1) * 2 > run->seen_size) {
        const size_t size = run->seen_size ? run->seen_size * 2 : 256;
        struct constrain_seen *seen = MEM_ARRAY(struct constrain_seen, size);
        if (!seen) {
            run->failed = true;
            return false;
        }
        for (size_t i = 0; i < run->seen_size; i++) {
            if (run->seen[i].epoch == run->epoch) {
                size_t slot = config_hash(&run->seen[i].config) & (size - 1);
                while (seen[slot].epoch == run->epoch) {
                    slot = (slot + 1) & (size - 1);
                }
                seen[slot] = run->seen[i];
            }
        }
        mem_free(run->seen);
        run->seen = seen;
        run->seen_size = size;
    }
    size_t slot = config_hash(config) & (run->seen_size - 1);
    for (; run->seen[slot].epoch == run->epoch; slot = (slot + 1) & (run->seen_size - 1)) {
        if (config_same(&run->seen[slot].config, config)) {
            return false;
        }
    }
    run->seen[slot].epoch = run->epoch;
    run->seen[slot].config = *config;
    run->seen_count++;
    return true;
}

struct constrain_front constrain_front_begin(struct constrain_run *run)
{
    if (++run->epoch == 0) { /* after 2^32 fronts old marks could be taken for new ones */
        memset(run->seen, 0, run->seen_size * sizeof *run->seen);
        run->epoch = 1;
    }
    run->seen_count = 0;
    return (struct constrain_front){.at = run->config_count};
}

static void front_append(struct constrain_run *run, struct constrain_front *front,
                         struct constrain_config config)
{
    if (front->count < FRONT_MAX && is_new(run, &config) &&
        grow(run, (void **)&run->configs, &run->config_cap, run->config_count + 1, sizeof config)) {
        run->configs[run->config_count++] = config;
        front->count++;
    }
}

enum { NOT_CONSUMING = -2 }; /* the state of a place that is only passed */

static void todo_push(struct constrain_run *run, size_t *depth, uint32_t op, uint32_t stack)
{
    const struct constrain_config place = {.op = op, .stack = stack, .state = NOT_CONSUMING};
    if (run->seen_count < 16 * FRONT_MAX && is_new(run, &place) &&
        grow(run, (void **)&run->todo, &run->todo_cap, *depth + 1, sizeof place)) {
        run->todo[(*depth)++] = place;
    }
}

/* Counts beyond the minimum of an endless repetition are all the same. */
static uint64_t count_up(const struct constrain_op *op, uint64_t count)
{
    return op->max == EXPR_UNBOUNDED && count >= op->min ? op->min : count + 1;
}

static void loop_enter(struct constrain_run *run, size_t *depth, uint32_t index, uint64_t count,
                       uint32_t parent)
{
    const uint32_t stack =
        push(run, (struct constrain_frame){.op = index, .parent = parent, .count = count});
    if (stack) {
        todo_push(run, depth, run->grammar->entries[run->grammar->ops[index].rule], stack);
    }
}

static void rule_return(struct constrain_run *run, size_t *depth, struct constrain_front *front,
                        uint32_t stack)
{
    if (stack == 0) {
        front->accepts = true;
        return;
    }
    const struct constrain_frame frame = run->frames[stack];
    const struct constrain_op *op = &run->grammar->ops[frame.op];
    if (op->kind == OP_CALL) {
        todo_push(run, depth, op->next, frame.parent);
        return;
    }
    const uint64_t count = count_up(op, frame.count);
    if (count >= op->min) {
        todo_push(run, depth, op->next, frame.parent);
    }
    if (count < op->max) {
        loop_enter(run, depth, frame.op, count, frame.parent);
    }
}

void constrain_front_add(struct constrain_run *run, struct constrain_front *front, uint32_t op_at,
                         uint32_t stack_at)
{
    size_t depth = 0;
    todo_push(run, &depth, op_at, stack_at);
    while (depth > 0 && !run->failed) {
        const struct constrain_config at = run->todo[--depth];
        const struct constrain_op *op = &run->grammar->ops[at.op];
        switch (op->kind) {
        case OP_TERM:
            if (op->dfa->flags[0] & DFA_ACCEPT) {
                todo_push(run, &depth, op->next, at.stack);
            }
            ATTR_FALLTHROUGH;
        case OP_COUNT:
            front_append(run, front, (struct constrain_config){.op = at.op, .stack = at.stack});
            break;
        case OP_CALL: {
            /* a call at the end of a rule needs no frame: right recursion keeps the stack flat */
            uint32_t stack = at.stack;
            if (op->next != OP_RETURN_INDEX) {
                stack = push(run, (struct constrain_frame){.op = at.op, .parent = at.stack});
                if (!stack) {
                    break;
                }
            }
            todo_push(run, &depth, run->grammar->entries[op->rule], stack);
            break;
        }
        case OP_LOOP:
            loop_enter(run, &depth, at.op, 0, at.stack);
            break;
        case OP_FORK:
            for (uint32_t i = op->fork_count; i-- > 0;) {
                todo_push(run, &depth, op->forks[i], at.stack);
            }
            break;
        case OP_RETURN:
            rule_return(run, &depth, front, at.stack);
            break;
        }
    }
}

static void config_step(struct constrain_run *run, struct constrain_front *front,
                        struct constrain_config config, uint8_t byte)
{
    const struct constrain_op *op = &run->grammar->ops[config.op];
    config.state = constrain_dfa_step(op->dfa, config.state, byte);
    if (config.state == DFA_DEAD) {
        return;
    }
    const uint8_t flags = op->dfa->flags[config.state];
    if (!(flags & DFA_LAST)) {
        front_append(run, front, config);
    }
    if (!(flags & DFA_ACCEPT)) {
        return;
    }
    if (op->kind == OP_TERM) {
        constrain_front_add(run, front, op->next, config.stack);
        return;
    }
    config.count = count_up(op, config.count);
    config.state = 0;
    if (config.count >= op->min) {
        constrain_front_add(run, front, op->next, config.stack);
    }
    if (config.count < op->max) {
        front_append(run, front, config);
    }
}

struct constrain_front constrain_front_step(struct constrain_run *run,
                                            const struct constrain_front *from, bool is_kept,
                                            uint8_t byte)
{
    struct constrain_front front = constrain_front_begin(run);
    for (size_t i = 0; i < from->count && !run->failed; i++) {
        config_step(run, &front, (is_kept ? run->kept : run->configs)[from->at + i], byte);
    }
    return front;
}

/* ---- states ---- */

static int by_place(const void *a, const void *b)
{
    const struct constrain_config *x = a, *y = b;
    if (x->op != y->op) {
        return x->op < y->op ? -1 : 1;
    }
    if (x->stack != y->stack) {
        return x->stack < y->stack ? -1 : 1;
    }
    if (x->state != y->state) {
        return x->state < y->state ? -1 : 1;
    }
    return x->count < y->count ? -1 : x->count > y->count;
}

static uint64_t front_hash(const struct constrain_config *configs,
                           const struct constrain_front *front)
{
    uint64_t hash = front->count * 2 + front->accepts;
    for (size_t i = 0; i < front->count; i++) {
        hash = mix(hash ^ config_hash(&configs[front->at + i]));
    }
    return hash;
}

static bool front_same(const struct constrain_run *run, const struct constrain_front *kept,
                       const struct constrain_front *front)
{
    bool same = kept->count == front->count && kept->accepts == front->accepts;
    for (size_t i = 0; same && i < kept->count; i++) {
        same = config_same(&run->kept[kept->at + i], &run->configs[front->at + i]);
    }
    return same;
}

/* Keeps a front of the scratch as a state and makes it the current one. */
static bool state_enter(struct constrain_run *run, struct constrain_front front)
{
    if (run->failed) {
        return false;
    }
    if (front.count > 1) {
        qsort(run->configs + front.at, front.count, sizeof *run->configs, by_place);
    }
    if (run->state_count * 2 >= run->state_table_size) {
        if (!table_grow(run, &run->state_table, &run->state_table_size)) {
            return false;
        }
        for (size_t i = 0; i < run->state_count; i++) {
            size_t slot = front_hash(run->kept, &run->states[i]) & (run->state_table_size - 1);
            while (run->state_table[slot]) {
                slot = (slot + 1) & (run->state_table_size - 1);
            }
            run->state_table[slot] = (uint32_t)i + 1;
        }
    }
    size_t slot = front_hash(run->configs, &front) & (run->state_table_size - 1);
    for (; run->state_table[slot]; slot = (slot + 1) & (run->state_table_size - 1)) {
        if (front_same(run, &run->states[run->state_table[slot] - 1], &front)) {
            run->current = run->state_table[slot] - 1;
            return true;
        }
    }
    if (!grow(run, (void **)&run->kept, &run->kept_cap, run->kept_count + front.count,
              sizeof *run->kept) ||
        !grow(run, (void **)&run->states, &run->state_cap, run->state_count + 1,
              sizeof *run->states)) {
        return false;
    }
    if (front.count) {
        memcpy(run->kept + run->kept_count, run->configs + front.at,
               front.count * sizeof *run->kept);
    }
    front.at = run->kept_count;
    run->kept_count += front.count;
    run->states[run->state_count] = front;
    run->state_table[slot] = (uint32_t)run->state_count + 1;
    run->current = (uint32_t)run->state_count++;
    return true;
}

struct constrain_run *constrain_run_create(struct constrain_grammar *grammar,
                                           const struct constrain_vocab *vocab, struct err *err)
{
    struct constrain_run *run = MEM_NEW(struct constrain_run);
    if (run) {
        const size_t depth = vocab->piece_bytes_max + 1;
        run->grammar = constrain_grammar_ref(grammar);
        run->vocab = vocab;
        run->frame_count = 1;
        run->walk = MEM_ARRAY(uint32_t, depth);
        run->walk_counts = MEM_ARRAY(uint64_t, depth);
        run->masks = MEM_ARRAY(uint32_t, MASK_SLOTS * vocab->words);
    }
    if (run && run->walk && run->walk_counts && run->masks &&
        grow(run, (void **)&run->frames, &run->frame_cap, 64, sizeof *run->frames)) {
        struct constrain_front front = constrain_front_begin(run);
        constrain_front_add(run, &front, grammar->entries[0], 0);
        if (state_enter(run, front)) {
            run->config_count = 0;
            return run;
        }
    }
    constrain_run_destroy(run);
    err_set_memory(err, sizeof *run);
    return NULL;
}

void constrain_run_destroy(struct constrain_run *run)
{
    if (!run) {
        return;
    }
    constrain_grammar_unref(run->grammar);
    mem_free(run->frames);
    mem_free(run->frame_table);
    mem_free(run->configs);
    mem_free(run->kept);
    mem_free(run->states);
    mem_free(run->state_table);
    mem_free(run->seen);
    mem_free(run->todo);
    mem_free(run->walk);
    mem_free(run->walk_counts);
    mem_free(run->masks);
    mem_free(run);
}

struct constrain_state constrain_save(const struct constrain_run *run)
{
    return (struct constrain_state){run->current};
}

void constrain_restore(struct constrain_run *run, struct constrain_state state)
{
    run->current = state.id;
}

bool constrain_accept_bytes(struct constrain_run *run, struct str bytes)
{
    struct constrain_front front = run->states[run->current];
    bool is_kept = true;
    for (size_t i = 0; i < bytes.len; i++) {
        const struct constrain_front from = front;
        front = constrain_front_step(run, &from, is_kept, (uint8_t)bytes.ptr[i]);
        if (!is_kept) { /* the previous front is no longer needed */
            memmove(run->configs, run->configs + front.at, front.count * sizeof *run->configs);
        }
        front.at = 0;
        run->config_count = front.count;
        is_kept = false;
        if ((front.count == 0 && !front.accepts) || run->failed) {
            run->config_count = 0;
            return false;
        }
    }
    const bool ok = is_kept || state_enter(run, front);
    run->config_count = 0;
    return ok;
}

static bool is_end(const struct constrain_vocab *vocab, text_id id)
{
    for (size_t i = 0; i < vocab->end_count; i++) {
        if (vocab->ends[i] == (uint32_t)id) {
            return true;
        }
    }
    return false;
}

bool constrain_accept(struct constrain_run *run, text_id id)
{
    if (id < 0 || (size_t)id >= run->vocab->count || run->failed) {
        return false;
    }
    if (is_end(run->vocab, id)) {
        return constrain_can_end(run);
    }
    const struct str piece = run->vocab->pieces[id];
    return piece.len > 0 && piece.len <= run->vocab->piece_bytes_max &&
           constrain_accept_bytes(run, piece);
}

bool constrain_can_end(const struct constrain_run *run)
{
    return run->states[run->current].accepts;
}

bool constrain_must_end(const struct constrain_run *run)
{
    return run->states[run->current].count == 0;
}

/* The only byte that can follow, or -1. */
static int forced_byte(const struct constrain_run *run)
{
    const struct constrain_front *front = &run->states[run->current];
    int byte = -1;
    if (front->accepts) {
        return -1;
    }
    for (size_t i = 0; i < front->count; i++) {
        const struct constrain_config *config = &run->kept[front->at + i];
        const struct constrain_dfa *dfa = run->grammar->ops[config->op].dfa;
        for (uint32_t j = dfa->first[config->state]; j < dfa->first[config->state + 1]; j++) {
            if (dfa->edges[j].lo != dfa->edges[j].hi || (byte >= 0 && byte != dfa->edges[j].lo)) {
                return -1;
            }
            byte = dfa->edges[j].lo;
        }
    }
    return byte;
}

void constrain_forced(struct constrain_run *run, size_t limit, struct buf *out)
{
    const uint32_t before = run->current;
    for (size_t i = 0; i < limit; i++) {
        const int byte = forced_byte(run);
        const char c = (char)byte;
        if (byte < 0 || !constrain_accept_bytes(run, (struct str){.ptr = &c, .len = 1})) {
            break;
        }
        buf_add_char(out, c);
    }
    run->current = before;
}
