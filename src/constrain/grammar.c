/* Rules of expressions -> operations.
 *
 *   1. regular rules are put in place of their references, as far as they are small (`pack`)
 *   2. productive rules: what can never match a finite text is taken out; a start that cannot is an
 *      error (a contradictory schema, `root ::= root "a"`)
 *   3. nullable rules, for 4 and 5
 *   4. left recursion: refused. A rule that could call itself without consuming a byte would never
 *      come to an end
 *   5. repetitions of something that may be empty lose the empty rounds: (x?)* -> x*
 *   6. operations, from the end to the start; regular parts of bounded size become one automaton */
#include "constrain/grammar.h"

#include <stdlib.h>

#include "base/mem.h"
#include "constrain/mask.h"

enum {
    PACK_SIZE_MAX = 4000,      /* NFA states of a part that becomes one automaton */
    PACK_RULE_SIZE_MAX = 1500, /* of a rule that is copied to where it is used */
    PACK_DEPTH_MAX = 200,      /* rules within rules, for our own stack */
    OPS_MAX = 1 << 21,
    VISITS_MAX = 50000000 /* of expressions while properties of rules are computed */
};

/* What is already compiled: a hash table of (expression, next) -> operation. */
struct memo {
    const struct constrain_expr *expr;
    uint32_t next, op;
};

/* Literals that occur twice share their automaton. */
struct literal {
    const struct constrain_expr *expr;
    const struct constrain_dfa *dfa;
};

/* What is known about a rule. */
struct fact {
    bool productive, nullable;
    bool inlining;                      /* step 1 is inside of it */
    bool tried;                         /* step 1 has been there */
    const struct constrain_expr *whole; /* step 1: its body where it is copied, or NULL */
    uint32_t solid;                     /* the rule without the empty text, + 1 */
    bool needed;                        /* step 6: something calls it */
};

/* A growing list of rules. */
struct rule_list {
    uint32_t *rules;
    size_t count, cap;
};

struct compiler {
    struct constrain_build *b;
    struct constrain_grammar *g;
    bool pack;
    struct fact *facts; /* [b->rule_count] */
    size_t fact_cap, op_cap;
    struct memo *memos;
    size_t memo_count, memo_size;
    struct literal *literals;
    size_t literal_count, literal_size;
    struct rule_list needed; /* rules to compile, in the order in which they were called */
    long visits;
};

static bool out_of_memory(struct compiler *c, size_t bytes)
{
    if (!c->b->failed) {
        err_set_memory(c->b->err, bytes);
        c->b->failed = true;
    }
    return false;
}

static bool rule_push(struct compiler *c, struct rule_list *list, uint32_t rule)
{
    if (list->count == list->cap) {
        const size_t cap = list->cap ? list->cap * 2 : 64;
        uint32_t *rules = mem_resize(list->rules, cap, sizeof *rules);
        if (!rules) {
            return out_of_memory(c, cap * sizeof *rules);
        }
        list->rules = rules;
        list->cap = cap;
    }
    list->rules[list->count++] = rule;
    return true;
}

static bool facts_grow(struct compiler *c)
{
    if (c->b->failed) {
        return false;
    }
    if (c->b->rule_count > c->fact_cap) {
        const size_t cap = c->b->rule_count * 2;
        struct fact *facts = mem_resize(c->facts, cap, sizeof *facts);
        if (!facts) {
            return out_of_memory(c, cap * sizeof *facts);
        }
        memset(facts + c->fact_cap, 0, (cap - c->fact_cap) * sizeof *facts);
        c->facts = facts;
        c->fact_cap = cap;
    }
    return true;
}

/* A rule that the compiler itself needs; known to be productive and not nullable. */
static uint32_t solid_rule_add(struct compiler *c, const char *name)
{
    const uint32_t rule = constrain_rule_add(c->b, name);
    if (rule == UINT32_MAX || !facts_grow(c)) {
        return UINT32_MAX;
    }
    c->facts[rule] = (struct fact){.productive = true, .solid = rule + 1};
    return rule;
}

static bool visit(struct compiler *c)
{
    if (++c->visits > VISITS_MAX) {
        constrain_fail(c->b, ERR_TOO_LARGE, "the rules of the grammar are too entangled");
    }
    return !c->b->failed;
}

/* Rebuilds an expression with `change` applied to its references. */
static const struct constrain_expr *rebuild(
    struct compiler *c, const struct constrain_expr *e,
    const struct constrain_expr *(*change)(struct compiler *, const struct constrain_expr *, int),
    int depth)
{
    if (!visit(c) || e->size != UINT64_MAX) {
        return e; /* without a reference inside */
    }
    if (e->kind == EXPR_REF) {
        return change(c, e, depth);
    }
    if (e->kind == EXPR_REP) {
        return constrain_rep(c->b, rebuild(c, e->parts[0], change, depth), e->min, e->max);
    }
    if (e->kind != EXPR_SEQ && e->kind != EXPR_ALT) {
        return e;
    }
    const struct constrain_expr **parts =
        ARENA_ARRAY(c->b->arena, const struct constrain_expr *, e->count);
    if (!parts) {
        return constrain_fail_memory(c->b);
    }
    for (size_t i = 0; i < e->count; i++) {
        parts[i] = rebuild(c, e->parts[i], change, depth);
    }
    return e->kind == EXPR_SEQ ? constrain_seq(c->b, e->count, parts)
                               : constrain_alt(c->b, e->count, parts);
}

/* ---- 1: regular rules in place ---- */

static const struct constrain_expr *put_in_place(struct compiler *c,
                                                 const struct constrain_expr *ref, int depth)
{
    struct fact *fact = &c->facts[ref->rule];
    if (fact->inlining || depth > PACK_DEPTH_MAX) {
        return ref;
    }
    if (!fact->tried) {
        fact->inlining = true;
        const struct constrain_expr *body =
            rebuild(c, c->b->rules[ref->rule].body, put_in_place, depth + 1);
        c->b->rules[ref->rule].body = body;
        fact->inlining = false;
        fact->tried = true;
        fact->whole = body->size <= PACK_RULE_SIZE_MAX ? body : NULL;
    }
    return fact->whole ? fact->whole : ref;
}

/* ---- 2, 3: productive and nullable rules ---- */

static bool is_productive(struct compiler *c, const struct constrain_expr *e)
{
    bool all = true, any = false;
    if (!visit(c)) {
        return true;
    }
    switch (e->kind) {
    case EXPR_NEVER:
        return false;
    case EXPR_REF:
        return c->facts[e->rule].productive;
    case EXPR_REP:
        return e->min == 0 || is_productive(c, e->parts[0]);
    case EXPR_SEQ:
    case EXPR_ALT:
        for (size_t i = 0; i < e->count; i++) {
            const bool one = is_productive(c, e->parts[i]);
            all &= one;
            any |= one;
        }
        return e->kind == EXPR_SEQ ? all : any;
    default:
        return true;
    }
}

static bool is_nullable(struct compiler *c, const struct constrain_expr *e)
{
    bool all = true, any = false;
    if (!visit(c)) {
        return false;
    }
    switch (e->kind) {
    case EXPR_EMPTY:
    case EXPR_BEGIN:
    case EXPR_END:
        return true;
    case EXPR_DFA:
        return e->dfa->flags[0] & DFA_ACCEPT;
    case EXPR_REF:
        return c->facts[e->rule].nullable;
    case EXPR_REP:
        return e->min == 0 || is_nullable(c, e->parts[0]);
    case EXPR_SEQ:
    case EXPR_ALT:
        for (size_t i = 0; i < e->count; i++) {
            const bool one = is_nullable(c, e->parts[i]);
            all &= one;
            any |= one;
        }
        return e->kind == EXPR_SEQ ? all : any;
    default:
        return false;
    }
}

/* Both are least fixpoints. Rules mostly stand before those they use, or the other way round, so
 * the passes change their direction. */
static void find_facts(struct compiler *c)
{
    const size_t count = c->b->rule_count;
    bool changed = true;
    for (int pass = 0; changed && !c->b->failed; pass++) {
        changed = false;
        for (size_t i = 0; i < count; i++) {
            const size_t rule = pass & 1 ? i : count - 1 - i;
            struct fact *fact = &c->facts[rule];
            const struct constrain_expr *body = c->b->rules[rule].body;
            if (!fact->productive && is_productive(c, body)) {
                fact->productive = true;
                changed = true;
            }
            if (!fact->nullable && is_nullable(c, body)) {
                fact->nullable = true;
                changed = true;
            }
        }
    }
}

static const struct constrain_expr *take_out(struct compiler *c, const struct constrain_expr *ref,
                                             int depth)
{
    (void)depth;
    return c->facts[ref->rule].productive ? ref : constrain_never();
}

/* ---- 4: left recursion ---- */

/* Adds the rules that `e` may call before a byte is consumed. Returns whether e may be empty. */
static bool first_calls(struct compiler *c, const struct constrain_expr *e, struct rule_list *out)
{
    bool nullable = e->kind == EXPR_SEQ;
    if (!visit(c)) {
        return false;
    }
    switch (e->kind) {
    case EXPR_REF:
        return rule_push(c, out, e->rule) && c->facts[e->rule].nullable;
    case EXPR_REP:
        return first_calls(c, e->parts[0], out) || e->min == 0;
    case EXPR_SEQ:
        for (size_t i = 0; i < e->count && nullable; i++) {
            nullable = first_calls(c, e->parts[i], out);
        }
        return nullable;
    case EXPR_ALT:
        for (size_t i = 0; i < e->count; i++) {
            nullable |= first_calls(c, e->parts[i], out);
        }
        return nullable;
    default:
        return is_nullable(c, e);
    }
}

/* Depth-first over "calls first"; a rule met again while it is open is left-recursive. The stack
 * is our own: there may be 100000 rules. */
static void refuse_left_recursion(struct compiler *c)
{
    const size_t count = c->b->rule_count;
    struct rule_list edges = {0};
    size_t *starts = MEM_ARRAY(size_t, count + 1), *at = MEM_ARRAY(size_t, count);
    uint32_t *stack = MEM_ARRAY(uint32_t, count);
    uint8_t *color = MEM_ARRAY(uint8_t, count);
    if (!starts || !at || !stack || !color) {
        out_of_memory(c, count * 25);
    }
    for (size_t i = 0; i < count && !c->b->failed; i++) {
        starts[i] = at[i] = edges.count;
        first_calls(c, c->b->rules[i].body, &edges);
        starts[i + 1] = edges.count;
    }
    for (size_t root = 0; root < count && !c->b->failed; root++) {
        size_t depth = 0;
        if (color[root] == 0) {
            stack[depth++] = (uint32_t)root;
            color[root] = 1;
        }
        while (depth > 0 && !c->b->failed) {
            const uint32_t rule = stack[depth - 1];
            if (at[rule] == starts[rule + 1]) {
                color[rule] = 2;
                depth--;
                continue;
            }
            const uint32_t to = edges.rules[at[rule]++];
            if (color[to] == 1) {
                constrain_fail(c->b, ERR_INVALID,
                               "%s is left-recursive: it can come back to itself without a "
                               "character in between",
                               c->b->rules[to].name);
            } else if (color[to] == 0) {
                color[to] = 1;
                stack[depth++] = to;
            }
        }
    }
    mem_free(edges.rules);
    mem_free(starts);
    mem_free(at);
    mem_free(stack);
    mem_free(color);
}

/* ---- 5: without the empty text ---- */

static const struct constrain_expr *solid(struct compiler *c, const struct constrain_expr *e);

static const struct constrain_expr *solid_ref(struct compiler *c, uint32_t rule)
{
    if (c->facts[rule].solid == 0) {
        const uint32_t twin = solid_rule_add(c, c->b->rules[rule].name);
        if (twin == UINT32_MAX) {
            return constrain_never();
        }
        c->facts[rule].solid = twin + 1;
        const struct constrain_expr *body = solid(c, c->b->rules[rule].body);
        c->b->rules[twin].body = body;
    }
    return constrain_ref(c->b, c->facts[rule].solid - 1);
}

static const struct constrain_expr *solid_dfa(struct compiler *c, const struct constrain_dfa *dfa)
{
    return constrain_leaf(
        c->b, constrain_dfa_minus(c->b, dfa, constrain_dfa_of(c->b, constrain_empty())));
}

/* What `e` matches, save the empty text. a b, both nullable: solid(a) b | solid(b). */
static const struct constrain_expr *solid(struct compiler *c, const struct constrain_expr *e)
{
    const struct constrain_expr *out = constrain_never(), *rest = constrain_empty();
    if (c->b->failed || !is_nullable(c, e)) {
        return e;
    }
    switch (e->kind) {
    case EXPR_DFA:
        return solid_dfa(c, e->dfa);
    case EXPR_REF:
        return solid_ref(c, e->rule);
    case EXPR_ALT:
        for (size_t i = 0; i < e->count; i++) {
            out = constrain_either(c->b, out, solid(c, e->parts[i]));
        }
        return out;
    case EXPR_SEQ:
        for (size_t i = e->count; i-- > 0;) {
            out = constrain_either(c->b, out, constrain_join(c->b, solid(c, e->parts[i]), rest));
            rest = constrain_join(c->b, e->parts[i], rest);
        }
        return out;
    case EXPR_REP:
        return constrain_rep(c->b, solid(c, e->parts[0]), 1, e->max);
    default:
        return constrain_never(); /* EMPTY, BEGIN, END */
    }
}

/* ---- 6: operations ---- */

static uint32_t op_add(struct compiler *c, struct constrain_op op)
{
    struct constrain_grammar *g = c->g;
    if (c->b->failed) {
        return 0;
    }
    if (g->op_count == OPS_MAX) {
        constrain_fail(c->b, ERR_TOO_LARGE, "the grammar has more than %d operations", OPS_MAX);
        return 0;
    }
    if (g->op_count == c->op_cap) {
        const size_t cap = c->op_cap ? c->op_cap * 2 : 64;
        struct constrain_op *ops = mem_resize(g->ops, cap, sizeof *ops);
        if (!ops) {
            return out_of_memory(c, cap * sizeof *ops);
        }
        g->ops = ops;
        c->op_cap = cap;
    }
    g->ops[g->op_count] = op;
    return (uint32_t)g->op_count++;
}

static uint64_t mix(uint64_t x)
{
    x *= 0x9E3779B97F4A7C15u;
    return x ^ (x >> 29);
}

/* The slot of (e, next): found, or free to be filled. NULL without memory. */
static struct memo *memo_slot(struct compiler *c, const struct constrain_expr *e, uint32_t next)
{
    if (c->memo_count * 2 >= c->memo_size) {
        const size_t size = c->memo_size ? c->memo_size * 2 : 256;
        struct memo *memos = MEM_ARRAY(struct memo, size);
        if (!memos) {
            out_of_memory(c, size * sizeof *memos);
            return NULL;
        }
        for (size_t i = 0; i < c->memo_size; i++) {
            const struct memo *old = &c->memos[i];
            size_t slot = mix((uintptr_t)old->expr ^ mix(old->next)) & (size - 1);
            while (old->expr && memos[slot].expr) {
                slot = (slot + 1) & (size - 1);
            }
            if (old->expr) {
                memos[slot] = *old;
            }
        }
        mem_free(c->memos);
        c->memos = memos;
        c->memo_size = size;
    }
    size_t slot = mix((uintptr_t)e ^ mix(next)) & (c->memo_size - 1);
    while (c->memos[slot].expr && (c->memos[slot].expr != e || c->memos[slot].next != next)) {
        slot = (slot + 1) & (c->memo_size - 1);
    }
    return &c->memos[slot];
}

static bool same_literal(const struct constrain_expr *a, const struct constrain_expr *b)
{
    return a == b || (a->kind == EXPR_BYTES && b->kind == EXPR_BYTES && str_eq(a->bytes, b->bytes));
}

/* The automaton of a regular expression, shared between equal literals. */
static const struct constrain_dfa *dfa_of(struct compiler *c, const struct constrain_expr *e)
{
    if (c->literal_count * 2 >= c->literal_size) {
        const size_t size = c->literal_size ? c->literal_size * 2 : 256;
        struct literal *literals = MEM_ARRAY(struct literal, size);
        if (!literals) {
            out_of_memory(c, size * sizeof *literals);
            return NULL;
        }
        for (size_t i = 0; i < c->literal_size; i++) {
            const struct constrain_expr *old = c->literals[i].expr;
            if (old) {
                size_t slot =
                    (old->kind == EXPR_BYTES ? str_hash(old->bytes) : mix((uintptr_t)old)) &
                    (size - 1);
                while (literals[slot].expr) {
                    slot = (slot + 1) & (size - 1);
                }
                literals[slot] = c->literals[i];
            }
        }
        mem_free(c->literals);
        c->literals = literals;
        c->literal_size = size;
    }
    size_t slot =
        (e->kind == EXPR_BYTES ? str_hash(e->bytes) : mix((uintptr_t)e)) & (c->literal_size - 1);
    while (c->literals[slot].expr && !same_literal(c->literals[slot].expr, e)) {
        slot = (slot + 1) & (c->literal_size - 1);
    }
    if (!c->literals[slot].expr) {
        const struct constrain_dfa *dfa = constrain_dfa_of(c->b, e);
        if (!dfa) {
            return NULL;
        }
        c->literals[slot] = (struct literal){e, dfa};
        c->literal_count++;
    }
    return c->literals[slot].dfa;
}

static bool is_lexical(const struct compiler *c, const struct constrain_expr *e)
{
    return e->kind == EXPR_DFA || e->kind == EXPR_BYTES || e->kind == EXPR_RANGE ||
           (c->pack && e->size <= PACK_SIZE_MAX && e->kind != EXPR_EMPTY && e->kind != EXPR_NEVER);
}

/* Puts a regular expression into one automaton. False when it has too many states, which is no
 * fault: it is then compiled by its structure. */
static bool pack(struct compiler *c, const struct constrain_expr *e,
                 const struct constrain_dfa **out)
{
    struct err *outer = c->b->err, inner = {0};
    const bool is_leaf = e->kind == EXPR_DFA || e->kind == EXPR_BYTES || e->kind == EXPR_RANGE;
    c->b->err = is_leaf ? outer : &inner;
    *out = dfa_of(c, e);
    c->b->err = outer;
    if (c->b->failed && !is_leaf) {
        if (inner.code == ERR_TOO_LARGE) {
            c->b->failed = false;
        } else if (outer) {
            *outer = inner;
        }
    }
    return *out != NULL;
}

static uint32_t compile(struct compiler *c, const struct constrain_expr *e, uint32_t next);

static uint32_t need(struct compiler *c, uint32_t rule)
{
    if (!c->b->failed && !c->facts[rule].needed) {
        c->facts[rule].needed = true;
        rule_push(c, &c->needed, rule);
    }
    return rule;
}

static uint32_t compile_rep(struct compiler *c, const struct constrain_expr *e, uint32_t next)
{
    const struct constrain_expr *body = e->parts[0];
    uint64_t min = e->min;
    const struct constrain_dfa *dfa = NULL;
    uint32_t op;
    if (is_nullable(c, body)) {
        const bool lexical = is_lexical(c, body);
        min = 0;
        if (lexical && !pack(c, body, &dfa) && c->b->failed) {
            return 0;
        }
        body = dfa ? solid_dfa(c, dfa) : solid(c, body);
    }
    if (c->b->failed || body->kind == EXPR_NEVER) {
        return next;
    }
    const uint64_t rounds = min ? min : 1;
    if (e->max == 1) {
        op = compile(c, body, next);
    } else if (is_lexical(c, body) && pack(c, body, &dfa) && constrain_dfa_is_prefix_free(dfa)) {
        op = op_add(c,
                    (struct constrain_op){
                        .kind = OP_COUNT, .dfa = dfa, .next = next, .min = rounds, .max = e->max});
    } else {
        uint32_t rule = body->rule;
        if (body->kind != EXPR_REF) {
            rule = solid_rule_add(c, "a repetition");
            if (rule == UINT32_MAX) {
                return 0;
            }
            c->b->rules[rule].body = body;
        }
        op = op_add(c, (struct constrain_op){.kind = OP_LOOP,
                                             .rule = need(c, rule),
                                             .next = next,
                                             .min = rounds,
                                             .max = e->max});
    }
    if (min > 0 || c->b->failed) {
        return op;
    }
    uint32_t *forks = ARENA_ARRAY(&c->g->arena, uint32_t, 2);
    if (!forks) {
        constrain_fail_memory(c->b);
        return 0;
    }
    forks[0] = op;
    forks[1] = next;
    return op_add(c, (struct constrain_op){.kind = OP_FORK, .forks = forks, .fork_count = 2});
}

static uint32_t compile_alt(struct compiler *c, const struct constrain_expr *e, uint32_t next)
{
    uint32_t *forks = ARENA_ARRAY(&c->g->arena, uint32_t, e->count);
    if (!forks) {
        constrain_fail_memory(c->b);
        return 0;
    }
    for (size_t i = 0; i < e->count; i++) {
        forks[i] = compile(c, e->parts[i], next);
    }
    return op_add(c, (struct constrain_op){
                         .kind = OP_FORK, .forks = forks, .fork_count = (uint32_t)e->count});
}

static uint32_t compile_new(struct compiler *c, const struct constrain_expr *e, uint32_t next)
{
    const struct constrain_dfa *dfa;
    if (is_lexical(c, e) && pack(c, e, &dfa)) {
        return op_add(c, (struct constrain_op){.kind = OP_TERM, .dfa = dfa, .next = next});
    }
    if (c->b->failed) {
        return 0;
    }
    switch (e->kind) {
    case EXPR_EMPTY:
        return next;
    case EXPR_SEQ:
        for (size_t i = e->count; i-- > 0;) {
            next = compile(c, e->parts[i], next);
        }
        return next;
    case EXPR_ALT:
        return compile_alt(c, e, next);
    case EXPR_REP:
        return compile_rep(c, e, next);
    case EXPR_REF:
        return op_add(
            c, (struct constrain_op){.kind = OP_CALL, .rule = need(c, e->rule), .next = next});
    case EXPR_BEGIN:
    case EXPR_END:
        constrain_fail(c->b, ERR_TOO_LARGE,
                       "a regular expression with assertions is too large for one automaton");
        return 0;
    default: /* NEVER: a fork without alternatives; is not reached in productive rules */
        return op_add(c, (struct constrain_op){.kind = OP_FORK});
    }
}

/* Regular runs inside of a sequence go into one automaton together. */
static const struct constrain_expr *group(struct compiler *c, const struct constrain_expr *e)
{
    if (!c->pack || e->kind != EXPR_SEQ || e->size <= PACK_SIZE_MAX) {
        return e;
    }
    const struct constrain_expr **parts =
        ARENA_ARRAY(c->b->arena, const struct constrain_expr *, e->count);
    size_t count = 0;
    if (!parts) {
        return constrain_fail_memory(c->b);
    }
    for (size_t i = 0, to; i < e->count; i = to) {
        uint64_t size = 2;
        for (to = i; to < e->count && e->parts[to]->size <= PACK_SIZE_MAX - size; to++) {
            size += e->parts[to]->size;
        }
        to += to == i;
        parts[count++] = constrain_seq(c->b, to - i, e->parts + i);
    }
    struct constrain_expr *out = ARENA_NEW(c->b->arena, struct constrain_expr);
    if (!out) {
        return constrain_fail_memory(c->b);
    }
    *out = *e; /* not constrain_seq, which would take the groups apart */
    out->parts = parts;
    out->count = count;
    return out;
}

static uint32_t compile(struct compiler *c, const struct constrain_expr *e, uint32_t next)
{
    struct memo *slot = memo_slot(c, e, next);
    if (!slot || c->b->failed) {
        return 0;
    }
    if (slot->expr) {
        return slot->op;
    }
    const uint32_t op = compile_new(c, group(c, e), next);
    slot = memo_slot(c, e, next); /* the table may have moved */
    if (slot && !slot->expr) {
        *slot = (struct memo){.expr = e, .next = next, .op = op};
        c->memo_count++;
    }
    return op;
}

/* Only what can be called is compiled; compiling a rule may call further ones. */
static void compile_rules(struct compiler *c)
{
    struct constrain_grammar *g = c->g;
    size_t cap = 0;
    op_add(c, (struct constrain_op){.kind = OP_RETURN});
    need(c, 0);
    for (size_t i = 0; i < c->needed.count && !c->b->failed; i++) {
        const uint32_t rule = c->needed.rules[i];
        if (c->b->rule_count > cap) {
            cap = c->b->rule_count * 2;
            uint32_t *entries = mem_resize(g->entries, cap, sizeof *entries);
            if (!entries) {
                out_of_memory(c, cap * sizeof *entries);
                return;
            }
            g->entries = entries;
        }
        g->entries[rule] = compile(c, c->b->rules[rule].body, OP_RETURN_INDEX);
    }
}

struct constrain_grammar *constrain_grammar_begin(struct constrain_build *b, struct err *err)
{
    struct constrain_grammar *g = MEM_NEW(struct constrain_grammar);
    *b = (struct constrain_build){.err = err};
    b->arena = MEM_NEW(struct arena);
    if (!g || !b->arena) {
        err_set_memory(err, sizeof *g);
        mem_free(b->arena);
        mem_free(g);
        return NULL;
    }
    *b->arena = arena_init(CONSTRAIN_MEMORY_MAX);
    g->arena = arena_init(CONSTRAIN_MEMORY_MAX);
    b->keep = &g->arena;
    atomic_init(&g->refs, 1);
    return g;
}

struct constrain_grammar *constrain_grammar_end(struct constrain_build *b,
                                                struct constrain_grammar *g, bool is_packed)
{
    struct compiler c = {.b = b, .g = g, .pack = is_packed};
    if (facts_grow(&c) && is_packed) {
        const struct constrain_expr *start = constrain_ref(b, 0);
        put_in_place(&c, start, 0);
        for (uint32_t i = 1; i < b->rule_count && !b->failed; i++) {
            put_in_place(&c, constrain_ref(b, i), 0);
        }
    }
    if (!b->failed) {
        find_facts(&c);
    }
    if (!b->failed && !c.facts[0].productive) {
        constrain_fail(b, ERR_INVALID, "%s can never be satisfied: no finite text matches it",
                       b->rules[0].name);
    }
    for (size_t i = 0; i < b->rule_count && !b->failed; i++) {
        b->rules[i].body = rebuild(&c, b->rules[i].body, take_out, 0);
    }
    if (!b->failed) {
        refuse_left_recursion(&c);
    }
    if (!b->failed) {
        compile_rules(&c);
    }
    if (!b->failed) {
        g->masks = constrain_masks_create();
        b->failed = !g->masks && !err_set_memory(b->err, 0);
    }
    mem_free(c.facts);
    mem_free(c.memos);
    mem_free(c.literals);
    mem_free(c.needed.rules);
    arena_deinit(b->arena);
    mem_free(b->arena);
    if (b->failed) {
        constrain_grammar_unref(g);
        return NULL;
    }
    return g;
}

struct constrain_grammar *constrain_grammar_ref(struct constrain_grammar *g)
{
    atomic_fetch_add(&g->refs, 1);
    return g;
}

void constrain_grammar_unref(struct constrain_grammar *g)
{
    if (g && atomic_fetch_sub(&g->refs, 1) == 1) {
        constrain_masks_destroy(g->masks);
        mem_free(g->ops);
        mem_free(g->entries);
        arena_deinit(&g->arena);
        mem_free(g);
    }
}

size_t constrain_grammar_bytes(const struct constrain_grammar *g)
{
    return g->arena.used_total + g->op_count * sizeof *g->ops + constrain_masks_bytes(g->masks);
}
