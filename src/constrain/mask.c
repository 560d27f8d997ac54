#include "constrain/mask.h"

#include <pthread.h>

#include "base/mem.h"
#include "constrain/machine.h"

enum {
    KEPT_BYTES_MAX = 64 << 20, /* of one grammar; what comes later is computed each time */
    ROWS = 16,                 /* automaton states whose transitions are spread out at a time */
    SPARSE_MIN = 32            /* a mask is a list of ids while that is smaller */
};

/* What a set of tokens inside of an automaton depends on. */
struct key {
    uint64_t vocab; /* its id: an address may be used again */
    const struct constrain_dfa *dfa;
    int32_t state;
    bool counts;         /* COUNT, not TERM */
    uint64_t need, left; /* rounds, clamped */
};

struct inner {
    struct key key;
    uint32_t *bits; /* [words], or NULL: */
    uint32_t *ids;  /* [id_count] */
    size_t id_count;
    uint32_t *exits; /* nodes of the trie behind which the machine has to look */
    size_t exit_count;
    bool in_rest; /* of the trie `rest` */
    size_t bytes;
};

struct constrain_masks {
    pthread_mutex_t lock; /* guards all below; an entry never changes or moves */
    struct inner **table;
    size_t count, size, bytes;
};

struct constrain_masks *constrain_masks_create(void)
{
    struct constrain_masks *m = MEM_NEW(struct constrain_masks);
    if (m) {
        m->size = 64;
        m->table = MEM_ARRAY(struct inner *, m->size);
        if (!m->table || pthread_mutex_init(&m->lock, NULL) != 0) {
            mem_free(m->table);
            mem_free(m);
            return NULL;
        }
    }
    return m;
}

static void inner_free(struct inner *inner)
{
    if (inner) {
        mem_free(inner->bits);
        mem_free(inner->ids);
        mem_free(inner->exits);
        mem_free(inner);
    }
}

void constrain_masks_destroy(struct constrain_masks *m)
{
    if (!m) {
        return;
    }
    for (size_t i = 0; i < m->size; i++) {
        inner_free(m->table[i]);
    }
    pthread_mutex_destroy(&m->lock);
    mem_free(m->table);
    mem_free(m);
}

size_t constrain_masks_bytes(struct constrain_masks *m)
{
    pthread_mutex_lock(&m->lock);
    const size_t bytes = m->bytes;
    pthread_mutex_unlock(&m->lock);
    return bytes;
}

/* ---- the walk inside of one automaton ---- */

struct walker {
    struct constrain_run *run;
    struct key key;
    uint32_t *nodes; /* nodes with a token that is allowed, ascending */
    size_t node_count, node_cap;
    uint32_t *exits;
    size_t exit_count, exit_cap;
    bool failed;
    int32_t row_states[ROWS];
    int32_t rows[ROWS][256];
};

static const int32_t *row_of(struct walker *w, int32_t state)
{
    const int slot = state & (ROWS - 1);
    if (w->row_states[slot] != state) {
        const struct constrain_dfa *dfa = w->key.dfa;
        memset(w->rows[slot], 0xFF, sizeof w->rows[slot]);
        for (uint32_t i = dfa->first[state]; i < dfa->first[state + 1]; i++) {
            for (int byte = dfa->edges[i].lo; byte <= dfa->edges[i].hi; byte++) {
                w->rows[slot][byte] = dfa->edges[i].target;
            }
        }
        w->row_states[slot] = state;
    }
    return w->rows[slot];
}

static void note(struct walker *w, uint32_t **items, size_t *count, size_t *cap, uint32_t item)
{
    if (*count == *cap) {
        const size_t wanted = *cap ? *cap * 2 : 256;
        uint32_t *moved = mem_resize(*items, wanted, sizeof **items);
        if (!moved) {
            w->failed = true;
            return;
        }
        *items = moved;
        *cap = wanted;
    }
    (*items)[(*count)++] = item;
}

static void walk(struct walker *w, const struct constrain_trie *trie)
{
    const struct constrain_dfa *dfa = w->key.dfa;
    int32_t *states = (int32_t *)w->run->walk;
    uint64_t *counts = w->run->walk_counts;
    states[0] = w->key.state;
    counts[0] = 0;
    for (uint32_t i = 0; i < trie->node_count && !w->failed;) {
        const struct constrain_node *node = &trie->nodes[i];
        int32_t state = row_of(w, states[node->depth - 1])[node->byte];
        if (state == DFA_DEAD) {
            i = node->end;
            continue;
        }
        const uint8_t flags = dfa->flags[state];
        uint64_t count = counts[node->depth - 1];
        bool goes_on = !(flags & DFA_LAST), may_exit = flags & DFA_ACCEPT;
        if (w->key.counts && may_exit) {
            count++;
            may_exit = count >= w->key.need;
            goes_on = count < w->key.left;
            state = 0;
        }
        states[node->depth] = state;
        counts[node->depth] = count;
        if (node->token >= 0) {
            note(w, &w->nodes, &w->node_count, &w->node_cap, i);
        }
        if (may_exit && node->end > i + 1) {
            note(w, &w->exits, &w->exit_count, &w->exit_cap, i);
        }
        i = goes_on ? i + 1 : node->end;
    }
}

/* Index of the first noted node at or behind `node`. */
static size_t lower_bound(const uint32_t *nodes, size_t count, uint32_t node)
{
    size_t from = 0;
    while (from < count) {
        const size_t mid = (from + count) / 2;
        if (nodes[mid] < node) {
            from = mid + 1;
        } else {
            count = mid;
        }
    }
    return from;
}

/* Keeps the exits behind which there are tokens that are not allowed anyway. */
static void drop_idle_exits(struct walker *w, const struct constrain_trie *trie)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->exit_count; i++) {
        const uint32_t from = w->exits[i] + 1, to = trie->nodes[w->exits[i]].end;
        const size_t allowed =
            lower_bound(w->nodes, w->node_count, to) - lower_bound(w->nodes, w->node_count, from);
        if (trie->tokens_before[to] - trie->tokens_before[from] > allowed) {
            w->exits[kept++] = w->exits[i];
        }
    }
    w->exit_count = kept;
}

static bool is_plain_state(const struct key *key)
{
    const uint8_t flags = key->dfa->flags[key->state];
    return key->counts ? key->state == 0 && (flags & DFA_PLAIN_ONCE) : flags & DFA_PLAIN;
}

/* The words of plain tokens that fit. */
static void add_plain(const struct constrain_vocab *v, const struct key *key, uint32_t *bits)
{
    if (!key->counts || key->left >= v->plain_chars_max) {
        for (size_t i = 0; i < v->words; i++) {
            bits[i] |= v->plain_bits[i];
        }
        return;
    }
    for (size_t i = 0; i < v->plain_count && v->plain_chars[i] <= key->left; i++) {
        bits[v->plain[i] / 32] |= 1u << (v->plain[i] % 32);
    }
}

static bool inner_fill(struct inner *inner, struct walker *w, const struct constrain_trie *trie)
{
    const struct constrain_vocab *v = w->run->vocab;
    size_t ids = 0;
    for (size_t i = 0; i < w->node_count; i++) {
        for (int32_t id = trie->nodes[w->nodes[i]].token; id >= 0; id = v->twins[id]) {
            ids++;
        }
    }
    if (inner->in_rest || ids > v->words) {
        inner->bits = MEM_ARRAY(uint32_t, v->words);
    } else {
        inner->ids = MEM_ARRAY(uint32_t, ids);
    }
    if (!inner->bits && !inner->ids) {
        return false;
    }
    for (size_t i = 0; i < w->node_count; i++) {
        for (int32_t id = trie->nodes[w->nodes[i]].token; id >= 0; id = v->twins[id]) {
            if (inner->bits) {
                inner->bits[id / 32] |= 1u << (id % 32);
            } else {
                inner->ids[inner->id_count++] = (uint32_t)id;
            }
        }
    }
    if (inner->in_rest) {
        add_plain(v, &inner->key, inner->bits);
    }
    inner->exits = w->exits;
    inner->exit_count = w->exit_count;
    w->exits = NULL;
    inner->bytes = sizeof *inner + (inner->bits ? v->words : ids) * sizeof(uint32_t) +
                   w->exit_cap * sizeof(uint32_t);
    return true;
}

static struct inner *inner_create(struct constrain_run *run, const struct key *key)
{
    struct inner *inner = MEM_NEW(struct inner);
    struct walker *w = MEM_NEW(struct walker);
    if (inner && w) {
        inner->key = *key;
        inner->in_rest = is_plain_state(key);
        w->run = run;
        w->key = *key;
        memset(w->row_states, 0xFF, sizeof w->row_states);
        const struct constrain_trie *trie = inner->in_rest ? &run->vocab->rest : &run->vocab->all;
        walk(w, trie);
        drop_idle_exits(w, trie);
        w->failed |= !inner_fill(inner, w, trie);
        mem_free(w->nodes);
        mem_free(w->exits);
    }
    if (!inner || !w || w->failed) {
        inner_free(inner);
        inner = NULL;
    }
    mem_free(w);
    return inner;
}

/* ---- the memory of them ---- */

static size_t key_slot(const struct constrain_masks *m, const struct key *key)
{
    uint64_t words[6] = {key->vocab,  (uintptr_t)key->dfa, (uint32_t)key->state,
                         key->counts, key->need,           key->left};
    return str_hash((struct str){.ptr = (const char *)words, .len = sizeof words}) & (m->size - 1);
}

static bool key_same(const struct key *a, const struct key *b)
{
    return a->vocab == b->vocab && a->dfa == b->dfa && a->state == b->state &&
           a->counts == b->counts && a->need == b->need && a->left == b->left;
}

static size_t find_slot(const struct constrain_masks *m, const struct key *key)
{
    size_t slot = key_slot(m, key);
    while (m->table[slot] && !key_same(&m->table[slot]->key, key)) {
        slot = (slot + 1) & (m->size - 1);
    }
    return slot;
}

static bool masks_grow(struct constrain_masks *m)
{
    struct inner **old = m->table;
    const size_t old_size = m->size;
    struct inner **table = MEM_ARRAY(struct inner *, old_size * 2);
    if (!table) {
        return false;
    }
    m->table = table;
    m->size = old_size * 2;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i]) {
            m->table[find_slot(m, &old[i]->key)] = old[i];
        }
    }
    mem_free(old);
    return true;
}

/* The set of `key`, kept or new. *is_kept: it belongs to the grammar, else the caller frees it. */
static struct inner *inner_find(struct constrain_run *run, const struct key *key, bool *is_kept)
{
    struct constrain_masks *m = run->grammar->masks;
    pthread_mutex_lock(&m->lock);
    struct inner *inner = m->table[find_slot(m, key)];
    pthread_mutex_unlock(&m->lock);
    *is_kept = true;
    if (inner) {
        return inner;
    }
    inner = inner_create(run, key);
    if (!inner) {
        return NULL;
    }
    pthread_mutex_lock(&m->lock);
    size_t slot = find_slot(m, key);
    if (m->table[slot]) { /* another run was faster */
        inner_free(inner);
        inner = m->table[slot];
    } else if (m->bytes + inner->bytes > KEPT_BYTES_MAX ||
               (m->count * 2 >= m->size && !masks_grow(m))) {
        *is_kept = false;
    } else {
        m->table[find_slot(m, key)] = inner;
        m->count++;
        m->bytes += inner->bytes;
    }
    pthread_mutex_unlock(&m->lock);
    return inner;
}

/* ---- with the whole machine ---- */

/* Allows the tokens below `exit` that the fronts behind it accept. The fronts of the way down to a
 * node lie in the scratch one behind the other; run->walk holds their sizes by depth. */
static void walk_exit(struct constrain_run *run, const struct constrain_trie *trie, uint32_t exit,
                      const struct constrain_front *start, struct constrain_front *fronts,
                      uint32_t *bits)
{
    const uint32_t base = trie->nodes[exit].depth, end = trie->nodes[exit].end;
    fronts[0] = *start;
    for (uint32_t i = exit + 1; i < end && !run->failed;) {
        const struct constrain_node *node = &trie->nodes[i];
        const uint32_t depth = node->depth - base;
        const struct constrain_front *from = &fronts[depth - 1];
        run->config_count = from->at + from->count;
        fronts[depth] = constrain_front_step(run, from, false, node->byte);
        if (fronts[depth].count == 0 && !fronts[depth].accepts) {
            i = node->end;
            continue;
        }
        for (int32_t id = node->token; id >= 0; id = run->vocab->twins[id]) {
            bits[id / 32] |= 1u << (id % 32);
        }
        i = fronts[depth].count ? i + 1 : node->end;
    }
    run->config_count = start->at + start->count;
}

static struct key key_of(const struct constrain_run *run, const struct constrain_config *config)
{
    const struct constrain_op *op = &run->grammar->ops[config->op];
    const uint64_t longest = run->vocab->piece_bytes_max + 1;
    struct key key = {.vocab = run->vocab->id, .dfa = op->dfa, .state = config->state};
    if (op->kind == OP_COUNT) {
        const uint64_t need = op->min > config->count ? op->min - config->count : 0;
        const uint64_t left = op->max == EXPR_UNBOUNDED ? op->max : op->max - config->count;
        key.counts = true;
        key.need = need < longest ? need : longest;
        key.left = left < longest ? left : longest;
    }
    return key;
}

static void config_mask(struct constrain_run *run, struct constrain_config config,
                        struct constrain_front *fronts, uint32_t *bits)
{
    const struct key key = key_of(run, &config);
    bool is_kept;
    struct inner *inner = inner_find(run, &key, &is_kept);
    if (!inner) {
        run->failed = true;
        return;
    }
    for (size_t i = 0; inner->bits && i < run->vocab->words; i++) {
        bits[i] |= inner->bits[i];
    }
    for (size_t i = 0; i < inner->id_count; i++) {
        bits[inner->ids[i] / 32] |= 1u << (inner->ids[i] % 32);
    }
    if (inner->exit_count > 0) {
        const size_t before = run->config_count;
        struct constrain_front behind = constrain_front_begin(run);
        constrain_front_add(run, &behind, run->grammar->ops[config.op].next, config.stack);
        const struct constrain_trie *trie = inner->in_rest ? &run->vocab->rest : &run->vocab->all;
        for (size_t i = 0; behind.count > 0 && i < inner->exit_count; i++) {
            walk_exit(run, trie, inner->exits[i], &behind, fronts, bits);
        }
        run->config_count = before;
    }
    if (!is_kept) {
        inner_free(inner);
    }
}

static void state_mask(struct constrain_run *run, uint32_t *bits)
{
    const struct constrain_vocab *v = run->vocab;
    const struct constrain_front front = run->states[run->current];
    struct constrain_front *fronts = MEM_ARRAY(struct constrain_front, v->piece_bytes_max + 1);
    memset(bits, 0, v->words * sizeof *bits);
    run->failed |= !fronts;
    for (size_t i = 0; i < front.count && !run->failed; i++) {
        config_mask(run, run->kept[front.at + i], fronts, bits);
    }
    for (size_t i = 0; front.accepts && i < v->end_count; i++) {
        bits[v->ends[i] / 32] |= 1u << (v->ends[i] % 32);
    }
    if (run->failed) {
        memset(bits, 0, v->words * sizeof *bits);
    }
    mem_free(fronts);
}

size_t constrain_mask(struct constrain_run *run, uint32_t *bits)
{
    const size_t words = run->vocab->words, slot = run->current & (MASK_SLOTS - 1);
    uint32_t *kept = run->masks + slot * words;
    if (run->mask_states[slot] != run->current + 1) {
        size_t allowed = 0;
        state_mask(run, kept);
        for (size_t i = 0; i < words; i++) {
            allowed += (size_t)__builtin_popcount(kept[i]);
        }
        run->mask_allowed[slot] = allowed;
        run->mask_states[slot] = run->failed ? 0 : run->current + 1;
    }
    if (words) {
        memcpy(bits, kept, words * sizeof *bits);
    }
    return run->mask_allowed[slot];
}
