/* The packed layout of weights, shared by packing and by the kernels of every instruction set.
 *
 * A panel holds 16 rows. One vector lane is one output row, so that a dot product never has to be
 * summed across lanes, and the activation is a broadcast of 4 bytes. A quantised panel is a run of
 * groups of 256 columns; a group is a head with the scales and then up to 8 blocks of 32 columns
 * (the last group of a panel may have fewer; its head keeps its full size):
 *
 *     group      | head: scales of 16 rows x 8 blocks | block 0 | block 1 | ... | block 7 |
 *
 *     block      2 bit  2 x 64 bytes: bits 2g.. of byte 4r+c of vector i are row r, column 16i+4g+c
 *                3 bit  and 64 bytes as with 5 bits, for bit 2
 *                4 bit  4 x 64 bytes: byte 4r+c of vector i holds row r, column 8i+c in its low and
 *                       column 8i+4+c in its high nibble: one load feeds two dot products
 *                5 bit  and 64 bytes: bit g of byte 4r+c is bit 4 of row r, column 4g+c
 *                6 bit  and 2 x 64 bytes: bits 2(g%4).. of byte 4r+c of vector g/4 are bits 4-5
 *                8 bit  8 x 64 bytes: byte 4r+c of vector g is row r, column 4g+c
 *
 *     head       SCALE_BLOCK  f16 d[8][16]
 *                SCALE_BF16   bf16 d[8][16]
 *                SCALE_PAIR   f16 d[8][2][16]
 *                SCALE_BLOCK_MIN  f16 d[8][16], f16 min[8][16]
 *                SCALE_MIN    f16 d[16], f16 dmin[16], u8 scale[8][16], u8 min[8][16]
 *                SCALE_HALF   f32 d[16], i8 scale[8][2][16]
 *                SCALE_HALF_MIN  f16 d[16], f16 dmin[16], u8 scale[8][2][16]: low nibble scale,
 *                             high nibble min
 *
 * Weights are stored unsigned, as vpdpbusd wants its first operand; the zero point comes back
 * through the sum of the activations. Everything starts on a multiple of 64 bytes except the rows
 * of 16 scales. Of the types with a table of at most 16 values a panel has places in it; a shuffle
 * of bytes makes them weights. Every type's weights are exactly those of its file. Bits per weight
 * against the file: Q8_0 and Q4_0 equal, Q2_K 2.625 (2.625), Q3_K 3.625 (3.4375), Q4_K 4.625 (4.5),
 * Q5_K 5.625 (5.5), Q6_K 6.625 (6.5625), IQ4_NL 4.5 (4.5), IQ4_XS 4.625 (4.25), IQ3 4.625 (3.06 and
 * 3.44), IQ2 3.625 (2.06 to 2.56), IQ1 3.625 (1.56 and 1.75), TQ and Q1_0 2.5 (1.12 to 2.06), MXFP4
 * 4.5 (4.25), NVFP4 5 (4.5).
 *
 * Float panels: [cols][16] elements of the type.
 *
 * What a kernel computes for one output, in this order, at every level (fma rounds once):
 *
 *     SCALE_BLOCK  acc = fma((float)(sum q x - zero sum x) * d, dx, acc)               per block
 *     SCALE_BF16   the same
 *     SCALE_MIN    t = (float)(sum q x) * (d * scale)
 *                  t = fma((float)(-sum x), dmin * min, t);  acc = fma(t, dx, acc)     per block
 *     SCALE_BLOCK_MIN  the same with d for d * scale and min for dmin * min
 *     SCALE_HALF   t = (float)(first 16) * (d * scale[0])
 *                  t = fma((float)(last 16), d * scale[1], t);  acc = fma(t, dx, acc)  per block
 *     SCALE_PAIR   the same with d[0] and d[1] for d * scale
 *     SCALE_HALF_MIN  t = (float)(first 16) * (d * scale[0])
 *                  t = fma((float)(-first 16 of x), dmin * min[0], t)
 *                  the same for the last 16, its product by fma;  acc = fma(t, dx, acc)
 *     float        acc = fma(w, x, acc)                                               per column
 *
 * Every integer is below 2^24, so its conversion is exact.
 *
 * Tokens are cut in tiles of almost equal size, at most 6; the quantised activations of a tile
 * stand as [block][token of the tile], so that a kernel has one pointer with constant offsets. */
#ifndef TENSOR_PANEL_H
#define TENSOR_PANEL_H

#include <stdbool.h>

#include "base/attr.h"
#include "tensor/kernels.h"

enum { PANEL_GROUP_COLS = 256, PANEL_BLOCK_COLS = 32, PANEL_GROUP_BLOCKS = 8 };

/* Columns between two prefetches (struct panel_tile): a block, or for float types: */
enum { PANEL_STEP_COLS = 16 };

enum panel_scale {
    SCALE_NONE,
    SCALE_BLOCK,
    SCALE_BF16,
    SCALE_PAIR,
    SCALE_BLOCK_MIN,
    SCALE_MIN,
    SCALE_HALF,
    SCALE_HALF_MIN
};

/* Tables of values; PLAIN is none. */
enum panel_values {
    VALUES_PLAIN,
    VALUES_FP4, /* MXFP4, NVFP4: doubled */
    VALUES_IQ4,
    VALUES_IQ3_XXS,
    VALUES_IQ3_S,
    VALUES_IQ2,
    VALUES_IQ1
};

struct panel_format {
    enum panel_scale scale;
    unsigned bits;        /* of a stored weight: 2, 3, 4, 5, 6, 8; float types 16 or 32 */
    unsigned zero_shift;  /* zero point = 1 << zero_shift (all without a minimum) */
    unsigned head_bytes;  /* of a group */
    unsigned block_bytes; /* of a block; float types: of a column */
    enum panel_values values;
};

/* Offsets in a head. */
enum {
    PANEL_BLOCK_MIN_AT = 256,
    PANEL_DMIN_AT = 32,
    PANEL_SCALE_AT = 64,
    PANEL_MIN_AT = 192,
    PANEL_HALF_AT = 64
};

/* A function instead of a table, so that kernels see constants. */
static ATTR_ALWAYS_INLINE struct panel_format panel_format(enum dtype type)
{
    switch (type) {
    case DTYPE_Q8_0:
        return (struct panel_format){SCALE_BLOCK, 8, 7, 256, 512, VALUES_PLAIN};
    case DTYPE_Q4_0:
        return (struct panel_format){SCALE_BLOCK, 4, 3, 256, 256, VALUES_PLAIN};
    case DTYPE_Q4_1:
        return (struct panel_format){SCALE_BLOCK_MIN, 4, 0, 512, 256, VALUES_PLAIN};
    case DTYPE_Q5_0:
        return (struct panel_format){SCALE_BLOCK, 5, 4, 256, 320, VALUES_PLAIN};
    case DTYPE_Q5_1:
        return (struct panel_format){SCALE_BLOCK_MIN, 5, 0, 512, 320, VALUES_PLAIN};
    case DTYPE_Q1_0:
    case DTYPE_TQ1_0:
    case DTYPE_TQ2_0:
        return (struct panel_format){SCALE_BLOCK, 2, 0, 256, 128, VALUES_PLAIN};
    case DTYPE_MXFP4:
        return (struct panel_format){SCALE_BF16, 4, 4, 256, 256, VALUES_FP4};
    case DTYPE_NVFP4:
        return (struct panel_format){SCALE_PAIR, 4, 4, 512, 256, VALUES_FP4};
    case DTYPE_IQ4_NL:
        return (struct panel_format){SCALE_BLOCK, 4, 7, 256, 256, VALUES_IQ4};
    case DTYPE_IQ4_XS:
        return (struct panel_format){SCALE_HALF, 4, 7, 320, 256, VALUES_IQ4};
    case DTYPE_IQ3_XXS:
        return (struct panel_format){SCALE_HALF, 4, 6, 320, 256, VALUES_IQ3_XXS};
    case DTYPE_IQ3_S:
        return (struct panel_format){SCALE_HALF, 4, 4, 320, 256, VALUES_IQ3_S};
    case DTYPE_IQ2_XXS:
    case DTYPE_IQ2_XS:
    case DTYPE_IQ2_S:
        return (struct panel_format){SCALE_HALF, 3, 6, 320, 192, VALUES_IQ2};
    case DTYPE_IQ1_S:
    case DTYPE_IQ1_M:
        return (struct panel_format){SCALE_HALF, 3, 4, 320, 192, VALUES_IQ1};
    case DTYPE_Q2_K:
        return (struct panel_format){SCALE_HALF_MIN, 2, 0, 320, 128, VALUES_PLAIN};
    case DTYPE_Q3_K:
        return (struct panel_format){SCALE_HALF, 3, 2, 320, 192, VALUES_PLAIN};
    case DTYPE_Q4_K:
        return (struct panel_format){SCALE_MIN, 4, 0, 320, 256, VALUES_PLAIN};
    case DTYPE_Q5_K:
        return (struct panel_format){SCALE_MIN, 5, 0, 320, 320, VALUES_PLAIN};
    case DTYPE_Q6_K:
        return (struct panel_format){SCALE_HALF, 6, 5, 320, 384, VALUES_PLAIN};
    case DTYPE_F32:
        return (struct panel_format){SCALE_NONE, 32, 0, 0, 64, VALUES_PLAIN};
    case DTYPE_F16:
    case DTYPE_BF16:
        return (struct panel_format){SCALE_NONE, 16, 0, 0, 32, VALUES_PLAIN};
    default:
        return (struct panel_format){0};
    }
}

/* The 16 weights that places stand for, zero point included; IQ2 and IQ1 have 8. */
static inline const uint8_t *panel_values(enum panel_values values)
{
    static const uint8_t fp4[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};
    static const uint8_t iq4[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                    129, 141, 153, 166, 181, 197, 217, 241};
    static const uint8_t iq3_xxs[16] = {68, 76, 84, 92, 100, 108, 116, 126,
                                        60, 52, 44, 36, 28,  20,  12,  2};
    static const uint8_t iq3_s[16] = {17, 19, 21, 23, 25, 27, 29, 31, 15, 13, 11, 9, 7, 5, 3, 1};
    static const uint8_t iq2[16] = {72, 89, 107, 64, 56, 39, 21, 64};
    static const uint8_t iq1[16] = {9, 17, 25, 16, 7, 15, 23, 16};

    switch (values) {
    case VALUES_FP4:
        return fp4;
    case VALUES_IQ4:
        return iq4;
    case VALUES_IQ3_XXS:
        return iq3_xxs;
    case VALUES_IQ3_S:
        return iq3_s;
    case VALUES_IQ2:
        return iq2;
    case VALUES_IQ1:
        return iq1;
    default:
        return NULL;
    }
}

/* What a weight stands above its value. */
static ATTR_ALWAYS_INLINE int panel_zero(struct panel_format f)
{
    bool has_min = f.scale == SCALE_MIN || f.scale == SCALE_BLOCK_MIN || f.scale == SCALE_HALF_MIN;
    return has_min ? 0 : 1 << f.zero_shift;
}

/* Column i of a row of a block, as it is stored. Not for kernels. */
static inline uint8_t panel_weight(struct panel_format f, const uint8_t *block, size_t row,
                                   size_t i)
{
    size_t g = i / 4, at = 4 * row + i % 4;

    switch (f.bits) {
    case 2:
        return block[64 * (g / 4) + at] >> (2 * (g % 4)) & 3;
    case 3:
        return (uint8_t)((block[64 * (g / 4) + at] >> (2 * (g % 4)) & 3) |
                         (block[128 + at] >> g & 1) << 2);
    case 8:
        return block[64 * g + at];
    default:
        break;
    }
    uint8_t low = (uint8_t)(block[64 * (g / 2) + at] >> (4 * (g % 2)) & 15);
    if (f.bits == 5) {
        return (uint8_t)(low | (block[256 + at] >> g & 1) << 4);
    }
    if (f.bits == 4) {
        return low;
    }
    return (uint8_t)(low | (block[256 + 64 * (g / 4) + at] >> (2 * (g % 4)) & 3) << 4);
}

/* Bits of a weight as it is multiplied. */
static ATTR_ALWAYS_INLINE unsigned panel_width(struct panel_format f)
{
    return f.values == VALUES_PLAIN ? f.bits : f.zero_shift + 1;
}

/* X(NAME, name) of the quantised types that have kernels of their own ... */
#define PANEL_TYPES(X)                                                                             \
    X(Q8_0, q8_0)                                                                                  \
    X(Q4_0, q4_0)                                                                                  \
    X(Q4_K, q4_k)                                                                                  \
    X(Q5_K, q5_k)                                                                                  \
    X(Q6_K, q6_k)                                                                                  \
    X(Q4_1, q4_1)                                                                                  \
    X(Q5_0, q5_0)                                                                                  \
    X(Q5_1, q5_1)                                                                                  \
    X(IQ4_NL, iq4_nl)                                                                              \
    X(IQ4_XS, iq4_xs)                                                                              \
    X(Q2_K, q2_k)                                                                                  \
    X(Q3_K, q3_k)                                                                                  \
    X(MXFP4, mxfp4)                                                                                \
    X(NVFP4, nvfp4)                                                                                \
    X(TQ2_0, tq2_0)                                                                                \
    X(IQ3_XXS, iq3_xxs)                                                                            \
    X(IQ3_S, iq3_s)                                                                                \
    X(IQ2_XXS, iq2_xxs)                                                                            \
    X(IQ1_S, iq1_s)

/* ... and of those that share them, because packed they are the same. */
static inline void kernels_share_panels(struct kernels *k)
{
    k->panel[DTYPE_Q1_0] = k->panel[DTYPE_TQ1_0] = k->panel[DTYPE_TQ2_0];
    k->panel[DTYPE_IQ2_XS] = k->panel[DTYPE_IQ2_S] = k->panel[DTYPE_IQ2_XXS];
    k->panel[DTYPE_IQ1_M] = k->panel[DTYPE_IQ1_S];
}

/* Bytes of a whole group of 256 columns; float types: of 256 columns. */
static ATTR_ALWAYS_INLINE size_t panel_group_bytes(struct panel_format f)
{
    size_t blocks = f.scale == SCALE_NONE ? PANEL_GROUP_COLS : PANEL_GROUP_BLOCKS;
    return f.head_bytes + blocks * f.block_bytes;
}

/* Tiles of a batch, and the first token of tile i (tile_count: the end). */
static inline size_t tile_count(size_t tokens)
{
    return (tokens + TILE_TOKENS_MAX - 1) / TILE_TOKENS_MAX;
}

static inline size_t tile_start(size_t tokens, size_t i)
{
    size_t count = tile_count(tokens);
    /* tokens = count * small + extra; the first `extra` tiles have one token more. */
    size_t small = count == 0 ? 0 : tokens / count, extra = tokens - count * small;
    return i * small + (i < extra ? i : extra);
}

#endif
