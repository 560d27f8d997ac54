/* One block of any quantised type, opened. */
#ifndef TENSOR_BLOCK_OPEN_H
#define TENSOR_BLOCK_OPEN_H

#include "tensor/block.h"
#include "tensor/block_grid.h"

/* X(NAME, name) of every type that is not plain floats. */
#define BLOCK_TYPES(X)                                                                             \
    X(Q8_0, q8_0)                                                                                  \
    X(Q4_0, q4_0)                                                                                  \
    X(Q4_1, q4_1)                                                                                  \
    X(Q5_0, q5_0)                                                                                  \
    X(Q5_1, q5_1)                                                                                  \
    X(Q1_0, q1_0)                                                                                  \
    X(MXFP4, mxfp4)                                                                                \
    X(NVFP4, nvfp4)                                                                                \
    X(IQ4_NL, iq4_nl)                                                                              \
    X(IQ4_XS, iq4_xs)                                                                              \
    X(Q2_K, q2_k)                                                                                  \
    X(Q3_K, q3_k)                                                                                  \
    X(Q4_K, q4_k)                                                                                  \
    X(Q5_K, q5_k)                                                                                  \
    X(Q6_K, q6_k)                                                                                  \
    X(TQ1_0, tq1_0)                                                                                \
    X(TQ2_0, tq2_0)                                                                                \
    X(IQ2_XXS, iq2_xxs)                                                                            \
    X(IQ2_XS, iq2_xs)                                                                              \
    X(IQ2_S, iq2_s)                                                                                \
    X(IQ3_XXS, iq3_xxs)                                                                            \
    X(IQ3_S, iq3_s)                                                                                \
    X(IQ1_S, iq1_s)                                                                                \
    X(IQ1_M, iq1_m)

static ATTR_ALWAYS_INLINE void block_open(enum dtype type, const uint8_t *bytes, struct block *b)
{
#define BLOCK_OPEN_CASE(NAME, name)                                                                \
    case DTYPE_##NAME:                                                                             \
        block_open_##name(bytes, b);                                                               \
        break;
    switch (type) {
        BLOCK_TYPES(BLOCK_OPEN_CASE)
    default:
        break;
    }
#undef BLOCK_OPEN_CASE
}

#endif
