/* For tests and benches of this folder: the scales of blocks of random bytes. */
#ifndef TENSOR_FIXTURE_H
#define TENSOR_FIXTURE_H

#include <string.h>

#include "tensor/codec.h"

/* Every type that can be packed. */
static const enum dtype fixture_types[] = {
    DTYPE_F32,    DTYPE_F16,     DTYPE_BF16,   DTYPE_Q8_0,  DTYPE_Q4_0,  DTYPE_Q4_K,  DTYPE_Q5_K,
    DTYPE_Q6_K,   DTYPE_Q4_1,    DTYPE_Q5_0,   DTYPE_Q5_1,  DTYPE_Q2_K,  DTYPE_Q3_K,  DTYPE_IQ4_NL,
    DTYPE_IQ4_XS, DTYPE_MXFP4,   DTYPE_NVFP4,  DTYPE_Q1_0,  DTYPE_TQ1_0, DTYPE_TQ2_0, DTYPE_IQ3_XXS,
    DTYPE_IQ3_S,  DTYPE_IQ2_XXS, DTYPE_IQ2_XS, DTYPE_IQ2_S, DTYPE_IQ1_S, DTYPE_IQ1_M};

enum { FIXTURE_TYPE_COUNT = sizeof fixture_types / sizeof fixture_types[0] };

static inline size_t fixture_scale_at(enum dtype type)
{
    switch (type) {
    case DTYPE_Q2_K:
        return 80;
    case DTYPE_Q3_K:
        return 108;
    case DTYPE_Q6_K:
        return 208;
    case DTYPE_TQ1_0:
        return 52;
    case DTYPE_TQ2_0:
        return 64;
    default:
        return 0;
    }
}

/* Gives a quantised block the scale d and, where it has one, the minimum. Other bytes stay. */
static inline void fixture_set_scale(enum dtype type, uint8_t *block, float d, float min)
{
    uint16_t half = codec_f32_to_f16(d), other = codec_f32_to_f16(min);
    bool has_min = type == DTYPE_Q4_K || type == DTYPE_Q5_K || type == DTYPE_Q2_K ||
                   type == DTYPE_Q4_1 || type == DTYPE_Q5_1;
    size_t at = fixture_scale_at(type);

    if (type == DTYPE_MXFP4) {
        block[0] = (uint8_t)(112 + block[0] % 16);
    } else if (type == DTYPE_IQ1_M) {
        for (int i = 0; i < 4; i++) {
            block[49 + 2 * i] = (uint8_t)((block[49 + 2 * i] & 15) | (half >> (4 * i) & 15) << 4);
        }
    } else if (type != DTYPE_NVFP4) {
        memcpy(block + at, &half, 2);
        if (has_min) {
            memcpy(block + at + 2, &other, 2);
        }
    }
}

#endif
