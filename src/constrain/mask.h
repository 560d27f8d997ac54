/* Which tokens may come next.
 *
 * For one configuration the answer has two parts. What stays inside of the automaton depends only
 * on its state (and on how many rounds a count still needs and allows), not on the stack: this set
 * is computed once by a walk over the trie and kept with the grammar, for all runs. Tokens that
 * leave the automaton (`",` at the end of a string) depend on what the stack says. The walk notes
 * where in the trie the automaton can be left with tokens behind that are not allowed anyway, and
 * only these few subtrees are walked again with the whole machine. The mask of a whole state is
 * kept too, in a few slots of the run.
 *
 * Counts are clamped to the longest token for the key: "at least 1000 more characters" is the same
 * as "at least as many as any token has".
 *
 * Inside of a JSON string, plain tokens (vocab.h) are allowed without a walk. */
#ifndef CONSTRAIN_MASK_H
#define CONSTRAIN_MASK_H

#include <stddef.h>

struct constrain_masks;

/* The memory of one grammar; safe for threads. NULL without memory. */
struct constrain_masks *constrain_masks_create(void);
void constrain_masks_destroy(struct constrain_masks *masks);
size_t constrain_masks_bytes(struct constrain_masks *masks);

#endif
