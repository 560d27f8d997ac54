/* The compiled form: rules of operations over automata, executed by machine.c.
 *
 * An operation is a place in a rule. All but TERM and COUNT consume nothing:
 *
 *     TERM   dfa, next            a text of the automaton
 *     COUNT  dfa, min, max, next  min..max texts of it in a row (string lengths, .{0,1000000})
 *     CALL   rule, next           pushes itself; the rule's RETURN comes back to next
 *     LOOP   rule, min, max, next the same, counted (array items)
 *     FORK   alternatives
 *     RETURN                      pops; with an empty stack the text may end
 *
 * So a count is a number in a stack frame or in a configuration and costs no states. */
#ifndef CONSTRAIN_GRAMMAR_H
#define CONSTRAIN_GRAMMAR_H

#include <pthread.h>
#include <stdatomic.h>

#include "constrain/constrain.h"
#include "constrain/dfa.h"
#include "constrain/expr.h"

enum constrain_op_kind { OP_TERM, OP_COUNT, OP_CALL, OP_LOOP, OP_FORK, OP_RETURN };

enum { OP_RETURN_INDEX = 0 }; /* all rules share one RETURN */

struct constrain_op {
    enum constrain_op_kind kind;
    uint32_t next;                   /* not FORK, RETURN */
    uint32_t rule;                   /* CALL, LOOP */
    const struct constrain_dfa *dfa; /* TERM, COUNT */
    const uint32_t *forks;           /* FORK */
    uint32_t fork_count;
    uint64_t min, max; /* COUNT, LOOP: min >= 1 */
};

struct constrain_grammar {
    atomic_uint refs;
    struct arena arena;
    struct constrain_op *ops;
    size_t op_count;
    uint32_t *entries; /* [rules] first operation */
    struct constrain_masks *masks;
};

/* Builds and frees what one compilation needs: fill the rules, then finish. */
struct constrain_grammar *constrain_grammar_begin(struct constrain_build *b, struct err *err);

/* Rule 0 is the start. `pack` lets the compiler put whole regular rules into one automaton; a front
 * end that chose its automata itself says false. Frees the build. NULL after a failure. */
struct constrain_grammar *constrain_grammar_end(struct constrain_build *b,
                                                struct constrain_grammar *grammar, bool pack);

#endif
