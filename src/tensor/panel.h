/* The packed layout of weights, shared by packing and by the kernels of every instruction set.
 *
 * A panel holds 16 rows. One vector lane is one output row, so that a dot product never has to be
 * summed across lanes, and the activation is a broadcast of 4 bytes. A quantised panel is a run of
 * groups of 256 columns; a group is a head with the scales and then up to 8 blocks of 32 columns
 * (the last group of a panel may have fewer; its head keeps its full size):
 *
 *     group      | head: scales of 16 rows x 8 blocks | block 0 | block 1 | ... | block 7 |
 *
 *     block      4 bit  4 x 64 bytes: byte 4r+c of vector i holds row r, column 8i+c in its low and
 *                       column 8i+4+c in its high nibble: one load feeds two dot products
 *                5 bit  and 64 bytes: bit g of byte 4r+c is bit 4 of row r, column 4g+c
 *                6 bit  and 2 x 64 bytes: bits 2(g%4).. of byte 4r+c of vector g/4 are bits 4-5
 *                8 bit  8 x 64 bytes: byte 4r+c of vector g is row r, column 4g+c
 *
 *     head       SCALE_BLOCK  f16 d[8][16]
 *                SCALE_BLOCK_MIN  f16 d[8][16], f16 min[8][16]
 *                SCALE_MIN    f16 d[16], f16 dmin[16], u8 scale[8][16], u8 min[8][16]
 *                SCALE_HALF   f16 d[16], i8 scale[8][2][16], 32 bytes of nothing
 *
 * Weights are stored unsigned, as vpdpbusd wants its first operand; the zero point comes back
 * through the sum of the activations. Everything starts on a multiple of 64 bytes except the rows
 * of 16 scales. Bits per weight against the file: Q8_0 and Q4_0 equal, Q4_K 4.625 (4.5), Q5_K 5.625
 * (5.5), Q6_K 6.625 (6.5625).
 *
 * Float panels: [cols][16] elements of the type.
 *
 * What a kernel computes for one output, in this order, at every level (fma rounds once):
 *
 *     SCALE_BLOCK  acc = fma((float)(sum q x - zero sum x) * d, dx, acc)               per block
 *     SCALE_MIN    t = (float)(sum q x) * (d * scale)
 *                  t = fma((float)(-sum x), dmin * min, t);  acc = fma(t, dx, acc)     per block
 *     SCALE_BLOCK_MIN  the same with d for d * scale and min for dmin * min
 *     SCALE_HALF   t = (float)(first 16) * (d * scale[0])
 *                  t = fma((float)(last 16), d * scale[1], t);  acc = fma(t, dx, acc)  per block
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

enum panel_scale { SCALE_NONE, SCALE_BLOCK, SCALE_BLOCK_MIN, SCALE_MIN, SCALE_HALF };

struct panel_format {
    enum panel_scale scale;
    unsigned bits;        /* of a stored weight: 4, 5, 6, 8; float types 16 or 32 */
    unsigned zero_shift;  /* zero point = 1 << zero_shift (SCALE_BLOCK, SCALE_HALF) */
    unsigned head_bytes;  /* of a group */
    unsigned block_bytes; /* of a block; float types: of a column */
};

/* Offsets in a head. */
enum {
    PANEL_BLOCK_MIN_AT = 256,
    PANEL_DMIN_AT = 32,
    PANEL_SCALE_AT = 64,
    PANEL_MIN_AT = 192,
    PANEL_HALF_AT = 32
};

/* A function instead of a table, so that kernels see constants. */
static ATTR_ALWAYS_INLINE struct panel_format panel_format(enum dtype type)
{
    switch (type) {
    case DTYPE_Q8_0:
        return (struct panel_format){SCALE_BLOCK, 8, 7, 256, 512};
    case DTYPE_Q4_0:
        return (struct panel_format){SCALE_BLOCK, 4, 3, 256, 256};
    case DTYPE_Q4_1:
        return (struct panel_format){SCALE_BLOCK_MIN, 4, 0, 512, 256};
    case DTYPE_Q5_0:
        return (struct panel_format){SCALE_BLOCK, 5, 4, 256, 320};
    case DTYPE_Q5_1:
        return (struct panel_format){SCALE_BLOCK_MIN, 5, 0, 512, 320};
    case DTYPE_IQ4_NL:
        return (struct panel_format){SCALE_BLOCK, 8, 7, 256, 512};
    case DTYPE_IQ4_XS:
        return (struct panel_format){SCALE_HALF, 8, 7, 320, 512};
    case DTYPE_Q3_K:
        return (struct panel_format){SCALE_HALF, 4, 2, 320, 256};
    case DTYPE_Q4_K:
        return (struct panel_format){SCALE_MIN, 4, 0, 320, 256};
    case DTYPE_Q5_K:
        return (struct panel_format){SCALE_MIN, 5, 0, 320, 320};
    case DTYPE_Q6_K:
        return (struct panel_format){SCALE_HALF, 6, 5, 320, 384};
    case DTYPE_F32:
        return (struct panel_format){SCALE_NONE, 32, 0, 0, 64};
    case DTYPE_F16:
    case DTYPE_BF16:
        return (struct panel_format){SCALE_NONE, 16, 0, 0, 32};
    default:
        return (struct panel_format){0};
    }
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
