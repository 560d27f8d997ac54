/* Keys and values on their way into a page of the cache (layout: enum kv_type in tensor/kernels.h).
 */
#ifndef MODEL_KV_H
#define MODEL_KV_H

#include <stdbool.h>

#include "tensor/kernels.h"

/* One position of one layer's part of a page. */
struct kv_page {
    const struct kernels *kernels;
    enum kv_type type;
    uint8_t *bytes; /* the keys of all heads, then the values */
    size_t slot;    /* position in the page */
};

/* k: [heads, key_dim], v: [heads, value_dim]. Quantised types store them turned. */
void model_kv_store(const struct kv_page *page, size_t heads, const float *k, size_t key_dim,
                    const float *v, size_t value_dim);

/* Turns `heads` vectors in place by a Hadamard matrix, which is its own inverse: outliers spread
 * over all dimensions, so that 4 bits serve them better. Queries and keys turned alike have the
 * products they had; values are turned back after they are mixed. Of both quantised types: on
 * stories260K it makes the divergence of 8 bits 2.4 times smaller. Dimensions that are no power of
 * two are turned in parts: 96 as 64 and 32. */
void model_kv_turn(float *x, size_t heads, size_t dim);

/* True for the types whose keys and values are stored turned. */
static inline bool model_kv_is_turned(enum kv_type type)
{
    return type == KV_Q8_0 || type == KV_Q4_0;
}

#endif
