/* Expression -> NFA (Thompson) -> DFA (subset construction), and products of DFAs.
 *
 * A DFA state is the set of the NFA states that consume a byte, accept, or wait for the end; states
 * that only branch are left out of the set. So `"` and each character behind it lead to the same
 * DFA state of a JSON string, which is what makes the masks of strings shareable.
 *
 * Assertions: ^ may be passed only in the closure of the very start. $ may be passed only to find
 * out whether a state accepts: nothing can be consumed behind it.
 *
 * Everything is bounded: DFA_NFA_MAX, DFA_STATES_MAX, MEMBERS_MAX and WORK_MAX are errors that name
 * the limit, so [ab]*a[ab]{20} costs some megabytes of work and is refused. */
#include "constrain/dfa.h"

#include <stdlib.h>

#include "base/mem.h"

enum { MEMBERS_MAX = 1 << 24, WORK_MAX = 1 << 25 /* ~0.2 s */, NONE = UINT32_MAX >> 1 };

enum nfa_kind { NFA_SPLIT, NFA_RANGE, NFA_BEGIN, NFA_END, NFA_ACCEPT };

struct nfa_state {
    uint8_t kind, lo, hi;
    uint32_t a, b; /* targets; b only of SPLIT, may be NONE */
};

/* A growing array of uint32_t, or of anything through its own cast. */
struct list {
    void *items;
    size_t count, cap;
};

struct builder {
    struct constrain_build *b;
    struct nfa_state *nfa;
    size_t nfa_count, nfa_cap;
    uint32_t *mark; /* [nfa_count] epoch of the closure that saw the state */
    uint32_t epoch;
    uint64_t work; /* states looked at */
    uint32_t *stack;
    struct list set;     /* uint32_t: the set being collected */
    struct list members; /* uint32_t: the sets of all states, one behind the other */
    struct list sets;    /* struct set */
    struct list edges;   /* struct constrain_edge */
    struct list first;   /* uint32_t */
    uint32_t *table;     /* hash of sets: index + 1 */
    size_t table_size;
};

struct set {
    size_t at, count;
    uint64_t hash;
    bool accepts;
};

static bool grow(struct constrain_build *b, struct list *list, size_t extra, size_t size)
{
    if (b->failed) {
        return false;
    }
    if (list->count + extra > list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        while (cap < list->count + extra) {
            cap *= 2;
        }
        void *items = mem_resize(list->items, cap, size);
        if (!items) {
            err_set_memory(b->err, cap * size);
            b->failed = true;
            return false;
        }
        list->items = items;
        list->cap = cap;
    }
    return true;
}

static bool push_u32(struct constrain_build *b, struct list *list, uint32_t value)
{
    if (!grow(b, list, 1, sizeof value)) {
        return false;
    }
    ((uint32_t *)list->items)[list->count++] = value;
    return true;
}

/* ---- NFA ---- */

static uint32_t nfa_add(struct builder *w, struct nfa_state state)
{
    if (w->b->failed) {
        return 0;
    }
    if (w->nfa_count == DFA_NFA_MAX) {
        constrain_fail(w->b, ERR_TOO_LARGE,
                       "a regular part is too large: more than %d states of its automaton",
                       DFA_NFA_MAX);
        return 0;
    }
    struct list list = {.items = w->nfa, .count = w->nfa_count, .cap = w->nfa_cap};
    if (!grow(w->b, &list, 1, sizeof state)) {
        return 0;
    }
    w->nfa = list.items;
    w->nfa_cap = list.cap;
    w->nfa[w->nfa_count] = state;
    return (uint32_t)w->nfa_count++;
}

static uint32_t nfa_split(struct builder *w, uint32_t a, uint32_t b)
{
    return nfa_add(w, (struct nfa_state){.kind = NFA_SPLIT, .a = a, .b = b});
}

static uint32_t nfa_of(struct builder *w, const struct constrain_expr *e, uint32_t next);

static uint32_t nfa_of_rep(struct builder *w, const struct constrain_expr *e, uint32_t next)
{
    uint32_t at = next;
    if (e->max == EXPR_UNBOUNDED) {
        at = nfa_split(w, NONE, next);
        const uint32_t body = nfa_of(w, e->parts[0], at);
        if (!w->b->failed) {
            w->nfa[at].a = body;
        }
    } else {
        for (uint64_t i = e->min; i < e->max && !w->b->failed; i++) {
            at = nfa_split(w, nfa_of(w, e->parts[0], at), next);
        }
    }
    for (uint64_t i = 0; i < e->min && !w->b->failed; i++) {
        at = nfa_of(w, e->parts[0], at);
    }
    return at;
}

/* Each state of a ready automaton becomes a chain of splits over its edges. */
static uint32_t nfa_of_dfa(struct builder *w, const struct constrain_dfa *dfa, uint32_t next)
{
    const size_t base = w->nfa_count;
    for (uint32_t i = 0; i < dfa->state_count; i++) {
        nfa_split(w, NONE, NONE);
    }
    for (uint32_t i = 0; i < dfa->state_count && !w->b->failed; i++) {
        uint32_t chain = dfa->flags[i] & DFA_ACCEPT ? next : NONE;
        for (uint32_t j = dfa->first[i]; j < dfa->first[i + 1]; j++) {
            const struct constrain_edge *edge = &dfa->edges[j];
            const uint32_t step =
                nfa_add(w, (struct nfa_state){.kind = NFA_RANGE,
                                              .lo = edge->lo,
                                              .hi = edge->hi,
                                              .a = (uint32_t)base + edge->target});
            chain = nfa_split(w, step, chain);
        }
        if (!w->b->failed) {
            w->nfa[base + i].a = chain;
        }
    }
    return (uint32_t)base;
}

/* Built from the end: returns the state from which `e` and then `next` match. */
static uint32_t nfa_of(struct builder *w, const struct constrain_expr *e, uint32_t next)
{
    uint32_t at = next;
    if (w->b->failed) {
        return next;
    }
    switch (e->kind) {
    case EXPR_NEVER:
        return nfa_split(w, NONE, NONE);
    case EXPR_EMPTY:
        return next;
    case EXPR_BYTES:
        for (size_t i = e->bytes.len; i-- > 0;) {
            const uint8_t byte = (uint8_t)e->bytes.ptr[i];
            at = nfa_add(w, (struct nfa_state){
                                .kind = NFA_RANGE, .lo = byte, .hi = byte, .a = at, .b = NONE});
        }
        return at;
    case EXPR_RANGE:
        return nfa_add(w,
                       (struct nfa_state){.kind = NFA_RANGE, .lo = e->lo, .hi = e->hi, .a = next});
    case EXPR_SEQ:
        for (size_t i = e->count; i-- > 0;) {
            at = nfa_of(w, e->parts[i], at);
        }
        return at;
    case EXPR_ALT:
        at = NONE;
        for (size_t i = e->count; i-- > 0;) {
            at = nfa_split(w, nfa_of(w, e->parts[i], next), at);
        }
        return at;
    case EXPR_REP:
        return nfa_of_rep(w, e, next);
    case EXPR_DFA:
        return nfa_of_dfa(w, e->dfa, next);
    case EXPR_BEGIN:
        return nfa_add(w, (struct nfa_state){.kind = NFA_BEGIN, .a = next});
    case EXPR_END:
        return nfa_add(w, (struct nfa_state){.kind = NFA_END, .a = next});
    case EXPR_REF:
        break;
    }
    constrain_fail(w->b, ERR_INTERNAL, "a reference inside of a regular part");
    return next;
}

/* ---- subset construction ---- */

/* Adds what can be reached from `from` without a byte to w->set. Returns true when the accepting
 * state is among it, or can be at the end of the text (`through_end`). */
static bool closure(struct builder *w, uint32_t from, bool at_start, bool through_end)
{
    size_t depth = 0;
    bool accepts = false;
    if (from != NONE && w->mark[from] != w->epoch) {
        w->mark[from] = w->epoch;
        w->stack[depth++] = from;
    }
    while (depth > 0) {
        const uint32_t at = w->stack[--depth];
        w->work++;
        const struct nfa_state *s = &w->nfa[at];
        uint32_t next[2] = {NONE, NONE};
        accepts |= s->kind == NFA_ACCEPT;
        if (s->kind == NFA_SPLIT) {
            next[0] = s->b;
            next[1] = s->a;
        } else if ((s->kind == NFA_BEGIN && at_start) || (s->kind == NFA_END && through_end)) {
            next[0] = s->a;
        }
        if (!through_end && (s->kind == NFA_RANGE || s->kind == NFA_END || s->kind == NFA_ACCEPT)) {
            push_u32(w->b, &w->set, at);
        }
        for (int i = 0; i < 2; i++) {
            if (next[i] != NONE && w->mark[next[i]] != w->epoch) {
                w->mark[next[i]] = w->epoch;
                w->stack[depth++] = next[i];
            }
        }
    }
    return accepts;
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool rehash(struct builder *w)
{
    const struct set *sets = w->sets.items;
    const size_t size = w->table_size ? w->table_size * 2 : 256;
    uint32_t *table = MEM_ARRAY(uint32_t, size);
    if (!table) {
        err_set_memory(w->b->err, size * sizeof *table);
        w->b->failed = true;
        return false;
    }
    for (size_t i = 0; i < w->sets.count; i++) {
        size_t slot = sets[i].hash & (size - 1);
        while (table[slot]) {
            slot = (slot + 1) & (size - 1);
        }
        table[slot] = (uint32_t)i + 1;
    }
    mem_free(w->table);
    w->table = table;
    w->table_size = size;
    return true;
}

/* True when w->set accepts; passing $ needs a second look, with marks of its own. */
static bool set_accepts(struct builder *w, bool at_start)
{
    const uint32_t *ids = w->set.items;
    bool accepts = false;
    w->epoch++;
    for (size_t i = 0; i < w->set.count; i++) {
        accepts |= w->nfa[ids[i]].kind == NFA_ACCEPT;
        if (w->nfa[ids[i]].kind == NFA_END) {
            accepts |= closure(w, ids[i], at_start, true);
        }
    }
    return accepts;
}

/* The DFA state of w->set, new or known; DFA_DEAD for the empty set or after a failure. */
static int32_t set_find(struct builder *w, bool at_start)
{
    if (w->set.count == 0 || w->b->failed) {
        return DFA_DEAD;
    }
    qsort(w->set.items, w->set.count, sizeof(uint32_t), compare_u32);
    const struct str key = {.ptr = w->set.items, .len = w->set.count * sizeof(uint32_t)};
    const uint64_t hash = str_hash(key);
    if (w->sets.count * 2 >= w->table_size && !rehash(w)) {
        return DFA_DEAD;
    }
    size_t slot = hash & (w->table_size - 1);
    for (; w->table[slot]; slot = (slot + 1) & (w->table_size - 1)) {
        const struct set *known = (struct set *)w->sets.items + (w->table[slot] - 1);
        if (known->hash == hash && known->count == w->set.count &&
            memcmp((uint32_t *)w->members.items + known->at, key.ptr, key.len) == 0) {
            return (int32_t)w->table[slot] - 1;
        }
    }
    if (w->sets.count == DFA_STATES_MAX || w->members.count + w->set.count > MEMBERS_MAX) {
        constrain_fail(w->b, ERR_TOO_LARGE,
                       "a regular part is too large: more than %d states of its automaton",
                       DFA_STATES_MAX);
        return DFA_DEAD;
    }
    if (!grow(w->b, &w->members, w->set.count, sizeof(uint32_t)) ||
        !grow(w->b, &w->sets, 1, sizeof(struct set))) {
        return DFA_DEAD;
    }
    memcpy((uint32_t *)w->members.items + w->members.count, key.ptr, key.len);
    ((struct set *)w->sets.items)[w->sets.count] =
        (struct set){.at = w->members.count,
                     .count = w->set.count,
                     .hash = hash,
                     .accepts = set_accepts(w, at_start)};
    w->members.count += w->set.count;
    w->table[slot] = (uint32_t)w->sets.count + 1;
    return (int32_t)w->sets.count++;
}

static void add_edge(struct builder *w, size_t state_first, uint8_t lo, uint8_t hi, int32_t target)
{
    if (!grow(w->b, &w->edges, 1, sizeof(struct constrain_edge))) {
        return;
    }
    struct constrain_edge *edges = w->edges.items;
    if (w->edges.count > state_first && edges[w->edges.count - 1].target == target &&
        edges[w->edges.count - 1].hi + 1 == lo) {
        edges[w->edges.count - 1].hi = hi;
        return;
    }
    edges[w->edges.count++] = (struct constrain_edge){.lo = lo, .hi = hi, .target = target};
}

static void expand(struct builder *w, size_t state)
{
    const size_t edges_first = w->edges.count;
    const struct set set = ((struct set *)w->sets.items)[state];
    bool cuts[257] = {false};
    for (size_t i = 0; i < set.count; i++) {
        const struct nfa_state *s = &w->nfa[((uint32_t *)w->members.items)[set.at + i]];
        if (s->kind == NFA_RANGE) {
            cuts[s->lo] = true;
            cuts[s->hi + 1] = true;
        }
    }
    for (int lo = 0, hi; lo < 256 && !w->b->failed; lo = hi) {
        hi = lo + 1;
        while (hi < 256 && !cuts[hi]) {
            hi++;
        }
        w->set.count = 0;
        w->epoch++;
        w->work += set.count;
        if (w->work > WORK_MAX) {
            constrain_fail(w->b, ERR_TOO_LARGE,
                           "a regular part is too large: more than %d steps to its automaton",
                           WORK_MAX);
            return;
        }
        for (size_t i = 0; i < set.count; i++) {
            const struct nfa_state *s = &w->nfa[((uint32_t *)w->members.items)[set.at + i]];
            if (s->kind == NFA_RANGE && s->lo <= lo && lo <= s->hi) {
                closure(w, s->a, false, false);
            }
        }
        const int32_t target = set_find(w, false);
        if (target != DFA_DEAD) {
            add_edge(w, edges_first, (uint8_t)lo, (uint8_t)(hi - 1), target);
        }
    }
}

/* ---- the finished automaton ---- */

/* The characters that stand in a JSON string as they are, as byte ranges. */
static const uint8_t plain[][4][2] = {
    {{0x20, 0x21}},
    {{0x23, 0x5B}},
    {{0x5D, 0x7F}},
    {{0xC2, 0xDF}, {0x80, 0xBF}},
    {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}},
    {{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}},
    {{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}},
};

/* True when each plain character that continues at byte `i` of row `row` leads from `state` to
 * `goal`, or with goal DFA_DEAD to an accepting last state. */
static bool plain_leads(const struct constrain_dfa *dfa, int32_t state, const uint8_t row[4][2],
                        int i, int32_t goal)
{
    if (i == 4 || row[i][1] == 0) {
        return goal == DFA_DEAD
                   ? (dfa->flags[state] & DFA_ACCEPT) && dfa->first[state] == dfa->first[state + 1]
                   : state == goal;
    }
    int byte = row[i][0];
    for (uint32_t j = dfa->first[state]; j < dfa->first[state + 1]; j++) {
        const struct constrain_edge *edge = &dfa->edges[j];
        if (edge->hi < byte) {
            continue;
        }
        if (edge->lo > byte || !plain_leads(dfa, edge->target, row, i + 1, goal)) {
            return false;
        }
        if (edge->hi >= row[i][1]) {
            return true;
        }
        byte = edge->hi + 1;
    }
    return false;
}

static bool all_plain_lead(const struct constrain_dfa *dfa, int32_t state, int32_t goal)
{
    bool ok = true;
    for (size_t row = 0; ok && row < sizeof plain / sizeof plain[0]; row++) {
        ok = plain_leads(dfa, state, plain[row], 0, goal);
    }
    return ok;
}

/* For each state whether an accepting one can be reached: backwards over the reversed edges. */
static void mark_useful(const uint32_t *first, const struct constrain_edge *edges, uint32_t count,
                        uint32_t *useful, uint32_t *scratch)
{
    uint32_t *starts = scratch, *sources = scratch + count + 2, *stack = sources + first[count];
    uint32_t depth = 0;
    memset(starts, 0, (count + 2) * sizeof *starts);
    for (uint32_t i = 0; i < first[count]; i++) {
        starts[edges[i].target + 2]++;
    }
    for (uint32_t i = 2; i < count + 2; i++) {
        starts[i] += starts[i - 1];
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = first[i]; j < first[i + 1]; j++) {
            sources[starts[edges[j].target + 1]++] = i;
        }
        if (useful[i]) {
            stack[depth++] = i;
        }
    }
    while (depth > 0) {
        const uint32_t at = stack[--depth];
        for (uint32_t j = starts[at]; j < starts[at + 1]; j++) {
            if (!useful[sources[j]]) {
                useful[sources[j]] = 1;
                stack[depth++] = sources[j];
            }
        }
    }
}

/* Copies the useful states into the grammar's arena. useful[i] comes in as "accepts". */
static const struct constrain_dfa *finish(struct constrain_build *b, const uint32_t *first,
                                          const struct constrain_edge *edges, uint32_t count,
                                          const bool *accepts)
{
    static const struct constrain_dfa nothing = {0};
    uint32_t *useful = MEM_ARRAY(uint32_t, count);
    uint32_t *scratch = MEM_ARRAY(uint32_t, (size_t)count * 2 + 2 + first[count]);
    struct constrain_dfa *dfa = ARENA_NEW(b->keep, struct constrain_dfa);
    uint32_t *out_first = ARENA_ARRAY(b->keep, uint32_t, (size_t)count + 1);
    struct constrain_edge *out = ARENA_ARRAY(b->keep, struct constrain_edge, first[count]);
    uint8_t *flags = ARENA_ARRAY(b->keep, uint8_t, count);
    if (!useful || !scratch || !dfa || !out_first || !out || !flags) {
        mem_free(useful);
        mem_free(scratch);
        constrain_fail_memory(b);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        useful[i] = accepts[i];
    }
    mark_useful(first, edges, count, useful, scratch);
    uint32_t *number = scratch, kept = 0, n = 0;
    for (uint32_t i = 0; i < count; i++) {
        number[i] = kept;
        kept += useful[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!useful[i]) {
            continue;
        }
        out_first[number[i]] = n;
        for (uint32_t j = first[i]; j < first[i + 1]; j++) {
            if (useful[edges[j].target]) {
                out[n] = edges[j];
                out[n++].target = (int32_t)number[edges[j].target];
            }
        }
        flags[number[i]] = accepts[i] ? DFA_ACCEPT : 0;
        flags[number[i]] |= n == out_first[number[i]] ? DFA_LAST : 0;
    }
    out_first[kept] = n;
    *dfa = (struct constrain_dfa){kept, out_first, out, flags};
    const bool is_empty = count == 0 || !useful[0];
    for (uint32_t i = 0; !is_empty && i < kept; i++) {
        flags[i] |= all_plain_lead(dfa, (int32_t)i, (int32_t)i) ? DFA_PLAIN : 0;
        flags[i] |= all_plain_lead(dfa, (int32_t)i, DFA_DEAD) ? DFA_PLAIN_ONCE : 0;
    }
    mem_free(useful);
    mem_free(scratch);
    return is_empty ? &nothing : dfa;
}

static const struct constrain_dfa *builder_end(struct builder *w)
{
    const struct constrain_dfa *dfa = NULL;
    bool *accepts = MEM_ARRAY(bool, w->sets.count);
    if (accepts && push_u32(w->b, &w->first, (uint32_t)w->edges.count) &&
        grow(w->b, &w->edges, 1, sizeof(struct constrain_edge))) {
        for (size_t i = 0; i < w->sets.count; i++) {
            accepts[i] = ((struct set *)w->sets.items)[i].accepts;
        }
        dfa = finish(w->b, w->first.items, w->edges.items, (uint32_t)w->sets.count, accepts);
    } else if (!w->b->failed) {
        err_set_memory(w->b->err, w->sets.count);
        w->b->failed = true;
    }
    mem_free(accepts);
    mem_free(w->nfa);
    mem_free(w->mark);
    mem_free(w->stack);
    mem_free(w->set.items);
    mem_free(w->members.items);
    mem_free(w->sets.items);
    mem_free(w->edges.items);
    mem_free(w->first.items);
    mem_free(w->table);
    return w->b->failed ? NULL : dfa;
}

const struct constrain_dfa *constrain_dfa_of(struct constrain_build *b,
                                             const struct constrain_expr *e)
{
    struct builder w = {.b = b};
    if (b->failed) {
        return NULL;
    }
    if (e->kind == EXPR_DFA) {
        return e->dfa;
    }
    const uint32_t accept = nfa_add(&w, (struct nfa_state){.kind = NFA_ACCEPT});
    const uint32_t start = nfa_of(&w, e, accept);
    w.mark = MEM_ARRAY(uint32_t, w.nfa_count);
    w.stack = MEM_ARRAY(uint32_t, w.nfa_count);
    if (!b->failed && (!w.mark || !w.stack)) {
        err_set_memory(b->err, w.nfa_count * sizeof(uint32_t));
        b->failed = true;
    }
    if (!b->failed) {
        w.epoch = 1;
        closure(&w, start, true, false);
        set_find(&w, true);
    }
    for (size_t i = 0; i < w.sets.count && !b->failed; i++) {
        push_u32(b, &w.first, (uint32_t)w.edges.count);
        expand(&w, i);
    }
    return builder_end(&w);
}

/* ---- products ---- */

/* The set of a product state is the pair (x, y); y is DFA_DEAD once a text left y (minus only). */
static int32_t pair_find(struct builder *w, const struct constrain_dfa *x,
                         const struct constrain_dfa *y, int32_t at_x, int32_t at_y, bool minus)
{
    if (at_x == DFA_DEAD || (at_y == DFA_DEAD && !minus)) {
        return DFA_DEAD;
    }
    const uint32_t pair[2] = {(uint32_t)at_x, (uint32_t)at_y};
    const uint64_t hash = str_hash((struct str){.ptr = (const char *)pair, .len = sizeof pair});
    if (w->sets.count * 2 >= w->table_size && !rehash(w)) {
        return DFA_DEAD;
    }
    size_t slot = hash & (w->table_size - 1);
    for (; w->table[slot]; slot = (slot + 1) & (w->table_size - 1)) {
        const size_t known = w->table[slot] - 1;
        if (memcmp((uint32_t *)w->members.items + 2 * known, pair, sizeof pair) == 0) {
            return (int32_t)known;
        }
    }
    if (w->sets.count == DFA_STATES_MAX) {
        constrain_fail(w->b, ERR_TOO_LARGE,
                       "a combination of patterns, formats or lengths is too large: more than %d "
                       "states of its automaton",
                       DFA_STATES_MAX);
        return DFA_DEAD;
    }
    if (!push_u32(w->b, &w->members, pair[0]) || !push_u32(w->b, &w->members, pair[1]) ||
        !grow(w->b, &w->sets, 1, sizeof(struct set))) {
        return DFA_DEAD;
    }
    const bool in_x = x->flags[at_x] & DFA_ACCEPT;
    const bool in_y = at_y != DFA_DEAD && (y->flags[at_y] & DFA_ACCEPT);
    ((struct set *)w->sets.items)[w->sets.count] =
        (struct set){.hash = hash, .accepts = in_x && in_y != minus};
    w->table[slot] = (uint32_t)w->sets.count + 1;
    return (int32_t)w->sets.count++;
}

static const struct constrain_dfa *product(struct constrain_build *b, const struct constrain_dfa *x,
                                           const struct constrain_dfa *y, bool minus)
{
    struct builder w = {.b = b};
    if (b->failed || !x || !y) {
        return NULL;
    }
    if (x->state_count == 0 || y->state_count == 0) {
        return minus ? x : y->state_count == 0 ? y : x;
    }
    pair_find(&w, x, y, 0, 0, minus);
    for (size_t i = 0; i < w.sets.count && !b->failed; i++) {
        const size_t edges_first = w.edges.count;
        const int32_t at_x = ((int32_t *)w.members.items)[2 * i];
        const int32_t at_y = ((int32_t *)w.members.items)[2 * i + 1];
        push_u32(b, &w.first, (uint32_t)w.edges.count);
        for (uint32_t j = x->first[at_x]; j < x->first[at_x + 1]; j++) {
            for (int byte = x->edges[j].lo; byte <= x->edges[j].hi; byte++) {
                const int32_t to_y =
                    at_y == DFA_DEAD ? DFA_DEAD : constrain_dfa_step(y, at_y, (uint8_t)byte);
                const int32_t to = pair_find(&w, x, y, x->edges[j].target, to_y, minus);
                if (to != DFA_DEAD) {
                    add_edge(&w, edges_first, (uint8_t)byte, (uint8_t)byte, to);
                }
            }
        }
    }
    return builder_end(&w);
}

const struct constrain_dfa *constrain_dfa_and(struct constrain_build *b,
                                              const struct constrain_dfa *x,
                                              const struct constrain_dfa *y)
{
    return product(b, x, y, false);
}

const struct constrain_dfa *constrain_dfa_minus(struct constrain_build *b,
                                                const struct constrain_dfa *x,
                                                const struct constrain_dfa *y)
{
    return product(b, x, y, true);
}

bool constrain_dfa_match(const struct constrain_dfa *dfa, struct str s)
{
    int32_t state = dfa->state_count ? 0 : DFA_DEAD;
    for (size_t i = 0; i < s.len && state != DFA_DEAD; i++) {
        state = constrain_dfa_step(dfa, state, (uint8_t)s.ptr[i]);
    }
    return state != DFA_DEAD && (dfa->flags[state] & DFA_ACCEPT);
}

bool constrain_dfa_is_prefix_free(const struct constrain_dfa *dfa)
{
    for (uint32_t i = 0; i < dfa->state_count; i++) {
        if ((dfa->flags[i] & (DFA_ACCEPT | DFA_LAST)) == DFA_ACCEPT) {
            return false;
        }
    }
    return true;
}
