/* The arithmetic of merging, on floats of one tensor. Formulas and sources: merge_elements.c. */
#ifndef MODEL_MERGE_ELEMENTS_H
#define MODEL_MERGE_ELEMENTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/merge.h"

/* How one tensor is merged. in[0..count) below are the models, in[count] the base, if any. */
struct merge_rule {
    enum model_merge_method method;
    size_t count;
    double weights[MODEL_MERGE_MAX]; /* LINEAR and SLERP: the factors themselves */
    double lambda;
    bool is_plain_sum;
    uint32_t least[MODEL_MERGE_MAX]; /* TIES: magnitude of the smallest difference kept, as bits */
};

void model_merge_elements(const struct merge_rule *rule, const float *const *in, size_t n,
                          float *out);

/* ---- SLERP ---- */

struct merge_angle {
    double ab, aa, bb; /* inner products */
};

void model_merge_angle_add(struct merge_angle *angle, const float *a, const float *b, size_t n);
/* The factors of the two vectors for 0 <= t <= 1. */
void model_merge_slerp_factors(const struct merge_angle *angle, double t, double factors[2]);

/* ---- TIES: the magnitude that `keep` of the differences reach ---- */

enum { MERGE_BINS = 1 << 16, MERGE_LOW_BITS = 15 };

/* Counts by the upper 16 bits of the magnitudes' 31; with `upper` (not UINT32_MAX) by the lower 15,
 * of those that have it. Threads may count at once. */
void model_merge_count(const float *in, const float *base, size_t n, uint32_t upper,
                       _Atomic uint64_t bins[MERGE_BINS]);

/* The bin with the keep-th largest; *keep becomes its rank within that bin. */
uint32_t model_merge_find_bin(const _Atomic uint64_t bins[MERGE_BINS], uint64_t *keep);

#endif
