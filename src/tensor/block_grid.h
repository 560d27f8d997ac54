/* Blocks of the IQ types opened into places in a table of values (panel_value): a rank of grid.h
 * and a sign.
 *
 *     IQ2_XXS  d f16, 8 x (4 points, u32: 4 x 7 signs, 4 scale)
 *     IQ2_XS   d f16, 32 x u16 (9 point, 7 signs), scales[8]
 *     IQ2_S    d f16, points[32], signs[32], high bits of the points[8], scales[8]
 *     IQ3_XXS  d f16, points[64], 8 x u32 (4 x 7 signs, 4 scale)
 *     IQ3_S    d f16, points[64], high bits[8], signs[32], scales[4]
 *     IQ1_S    d f16, points[32], 8 x u16 (4 x 3 high bits, 3 scale, sign of the shift)
 *     IQ1_M    points[32], 32 x 4 (3 high bits, sign of the shift), 4 x u16 (4 x 3 scale, 4 of d)
 *
 * A scale s counts 2 s + 1; the rest of the factor is a power of two and goes into d: 1/8 for IQ2
 * and IQ1, 1/4 for IQ3_XXS. All products are then exact, whatever their order. IQ1 adds 1/8 to its
 * points or takes it away: times 8, the values are -9 -1 7 or -7 1 9. */
#ifndef TENSOR_BLOCK_GRID_H
#define TENSOR_BLOCK_GRID_H

#include "tensor/block.h"
#include "tensor/grid.h"

/* Eight places of 3 bits: a rank of 2 bits, and a sign. */
static inline void block_open_eight(uint32_t point, uint32_t signs, uint8_t *q)
{
    for (int j = 0; j < 8; j++) {
        q[j] = (uint8_t)((point >> (2 * j) & 3) | (signs >> j & 1) << 2);
    }
}

/* Four places of 4 bits: a rank of 3 bits, and a sign. */
static inline void block_open_four(uint32_t point, uint32_t signs, uint8_t *q)
{
    for (int j = 0; j < 4; j++) {
        q[j] = (uint8_t)((point >> (3 * j) & 7) | (signs >> j & 1) << 3);
    }
}

static inline uint8_t block_odd(uint32_t scale)
{
    return (uint8_t)(2 * scale + 1);
}

static inline void block_open_iq2_xxs(const uint8_t *p, struct block *b)
{
    b->wide = block_load_f16(p) * 0.125f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *points = p + 2 + 8 * i;
        uint32_t more = block_load_u32(points + 4);
        b->scale[2 * i] = b->scale[2 * i + 1] = block_odd(more >> 28);
        for (int l = 0; l < 4; l++) {
            block_open_eight(codec_grid_iq2_xxs[points[l]], grid_signs(more >> (7 * l)),
                             b->q + 32 * i + 8 * l);
        }
    }
}

static inline void block_open_iq2_xs(const uint8_t *p, struct block *b)
{
    b->wide = block_load_f16(p) * 0.125f;
    for (int i = 0; i < 16; i++) {
        b->scale[i] = block_odd(p[66 + i / 2] >> (4 * (i % 2)) & 15);
    }
    for (int i = 0; i < 32; i++) {
        uint32_t code = block_load_u16(p + 2 + 2 * i);
        block_open_eight(codec_grid_iq2_xs[code & 511], grid_signs(code >> 9), b->q + 8 * i);
    }
}

static inline void block_open_iq2_s(const uint8_t *p, struct block *b)
{
    b->wide = block_load_f16(p) * 0.125f;
    for (int i = 0; i < 16; i++) {
        b->scale[i] = block_odd(p[74 + i / 2] >> (4 * (i % 2)) & 15);
    }
    for (int i = 0; i < 32; i++) {
        uint32_t high = p[66 + i / 4] >> (2 * (i % 4)) & 3;
        block_open_eight(codec_grid_iq2_s[p[2 + i] | high << 8], p[34 + i], b->q + 8 * i);
    }
}

static inline void block_open_iq3_xxs(const uint8_t *p, struct block *b)
{
    b->wide = block_load_f16(p) * 0.25f;
    for (int i = 0; i < 8; i++) {
        uint32_t more = block_load_u32(p + 66 + 4 * i);
        b->scale[2 * i] = b->scale[2 * i + 1] = block_odd(more >> 28);
        for (int l = 0; l < 8; l++) {
            uint32_t signs = grid_signs(more >> (7 * (l / 2))) >> (4 * (l % 2));
            block_open_four(codec_grid_iq3_xxs[p[2 + 8 * i + l]], signs, b->q + 32 * i + 4 * l);
        }
    }
}

static inline void block_open_iq3_s(const uint8_t *p, struct block *b)
{
    b->wide = block_load_f16(p);
    for (int i = 0; i < 8; i++) {
        uint32_t scale = p[106 + i / 2] >> (4 * (i % 2)) & 15;
        b->scale[2 * i] = b->scale[2 * i + 1] = block_odd(scale);
    }
    for (int i = 0; i < 64; i++) {
        uint32_t high = p[66 + i / 8] >> (i % 8) & 1;
        uint32_t signs = (uint32_t)p[74 + i / 2] >> (4 * (i % 2));
        block_open_four(codec_grid_iq3_s[p[2 + i] | high << 8], signs, b->q + 4 * i);
    }
}

static inline void block_open_iq1_s(const uint8_t *p, struct block *b)
{
    b->wide = block_load_f16(p) * 0.125f;
    for (int i = 0; i < 8; i++) {
        uint32_t more = block_load_u16(p + 34 + 2 * i), signs = more >> 15 ? 255 : 0;
        b->scale[2 * i] = b->scale[2 * i + 1] = block_odd(more >> 12 & 7);
        for (int l = 0; l < 4; l++) {
            uint32_t high = more >> (3 * l) & 7;
            block_open_eight(codec_grid_iq1[p[2 + 4 * i + l] | high << 8], signs,
                             b->q + 32 * i + 8 * l);
        }
    }
}

static inline void block_open_iq1_m(const uint8_t *p, struct block *b)
{
    uint32_t d = 0;

    for (int i = 0; i < 4; i++) {
        uint32_t scales = block_load_u16(p + 48 + 2 * i);
        d |= scales >> 12 << (4 * i);
        for (int j = 0; j < 4; j++) {
            b->scale[4 * i + j] = block_odd(scales >> (3 * j) & 7);
        }
    }
    b->wide = codec_f16_to_f32((uint16_t)d) * 0.125f;
    for (int i = 0; i < 32; i++) {
        uint32_t more = p[32 + i / 2] >> (4 * (i % 2)) & 15;
        block_open_eight(codec_grid_iq1[p[i] | (more & 7) << 8], more & 8 ? 255 : 0, b->q + 8 * i);
    }
}

#endif
