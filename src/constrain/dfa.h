/* Deterministic automata over bytes for the regular parts: string contents, numbers, patterns,
 * formats, literals. Built once per grammar, immutable, trimmed: from each state an accepting one
 * can be reached, so a text that did not leave the automaton can always be finished. */
#ifndef CONSTRAIN_DFA_H
#define CONSTRAIN_DFA_H

#include "constrain/expr.h"

enum { DFA_DEAD = -1, DFA_STATES_MAX = 1 << 16, DFA_NFA_MAX = 1 << 20 };

enum constrain_dfa_flag {
    DFA_ACCEPT = 1,    /* the text may end here */
    DFA_LAST = 2,      /* nothing follows this state */
    DFA_PLAIN = 4,     /* each plain character (mask.h) leads back to this very state */
    DFA_PLAIN_ONCE = 8 /* each plain character leads to an accepting state where nothing follows */
};

struct constrain_edge {
    uint8_t lo, hi;
    int32_t target;
};

struct constrain_dfa {
    uint32_t state_count;               /* 0: the empty language. The start is state 0 */
    const uint32_t *first;              /* [state_count + 1] into edges */
    const struct constrain_edge *edges; /* per state ascending and disjoint */
    const uint8_t *flags;               /* [state_count] enum constrain_dfa_flag */
};

/* The automaton of an expression without references. Assertions hold at its ends. NULL after a
 * failure: ERR_TOO_LARGE names the limit. */
const struct constrain_dfa *constrain_dfa_of(struct constrain_build *b,
                                             const struct constrain_expr *e);

/* What is in both; what is in x and not in y. */
const struct constrain_dfa *constrain_dfa_and(struct constrain_build *b,
                                              const struct constrain_dfa *x,
                                              const struct constrain_dfa *y);
const struct constrain_dfa *constrain_dfa_minus(struct constrain_build *b,
                                                const struct constrain_dfa *x,
                                                const struct constrain_dfa *y);

/* No match of the automaton is the beginning of another: a count of matches is then the only way to
 * read a text. */
bool constrain_dfa_is_prefix_free(const struct constrain_dfa *dfa);

bool constrain_dfa_match(const struct constrain_dfa *dfa, struct str s);

static inline int32_t constrain_dfa_step(const struct constrain_dfa *dfa, int32_t state,
                                         uint8_t byte)
{
    uint32_t from = dfa->first[state], to = dfa->first[state + 1];
    while (from < to) {
        const uint32_t mid = (from + to) / 2;
        if (dfa->edges[mid].hi < byte) {
            from = mid + 1;
        } else if (dfa->edges[mid].lo > byte) {
            to = mid;
        } else {
            return dfa->edges[mid].target;
        }
    }
    return DFA_DEAD;
}

#endif
