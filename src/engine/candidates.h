/* The tokens a sampler may still choose from, and what all samplers need: probabilities, and the
 * best ones in order without sorting the rest.
 *
 * A vocabulary has 32K-256K entries and a step has about 10 ms, so nothing here sorts everything:
 * the best candidates come from a heap (linear to build, logarithmic per candidate taken), and the
 * caller stops as soon as it has enough. Order among equals is by id, so results do not depend on
 * the history of the array. */
#ifndef ENGINE_CANDIDATES_H
#define ENGINE_CANDIDATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine_candidate {
    int32_t id;
    float logit; /* -INFINITY: masked, never chosen, but still counted */
    float p;     /* valid after engine_candidates_softmax */
    float key;   /* what the heap orders by, descending */
};

struct engine_candidates {
    struct engine_candidate *items; /* borrowed; room for the vocabulary */
    size_t count;
    bool is_sorted; /* by logit descending, equals by id */
};

/* One candidate per logit, id = index. */
void engine_candidates_fill(struct engine_candidates *c, const float *logits, size_t count);

/* Largest logit; -INFINITY when there is none. */
float engine_candidates_max(const struct engine_candidates *c);

/* Fills p; the sum is 1 unless all are masked (then all p are 0). */
void engine_candidates_softmax(struct engine_candidates *c);

/* -sum p ln p over p > 0; needs softmax. */
double engine_candidates_entropy(const struct engine_candidates *c);

/* Turns items[0, count) into a heap by key. */
void engine_heap_build(struct engine_candidate *items, size_t count);

/* Moves the best of the heap items[0, count) to items[count - 1]; the rest stays a heap. */
void engine_heap_take(struct engine_candidate *items, size_t count);

/* Keeps the `keep` candidates that were taken last to the end of items[0, count), best first. */
void engine_heap_keep(struct engine_candidates *c, size_t keep);

/* Keeps the best `keep` by logit, sorted. */
void engine_candidates_keep_best(struct engine_candidates *c, size_t keep);

#endif
