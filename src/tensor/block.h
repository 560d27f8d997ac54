/* Quantised blocks of a GGUF row opened into plain arrays: the one place that knows how ggml packs
 * them (block_q4_0 ... block_q6_K in ggml-common.h and the dequantize functions of ggml-quants.c,
 * llama.cpp). Decoding and packing both build on it.
 *
 *     Q4_0  d f16, qs[16]                     element j: low nibble of qs[j], j+16: high nibble
 *     Q4_1  d f16, m f16, qs[16]              value = d q + m
 *     Q5_0  d f16, qh[4], qs[16]              bit j of qh is bit 4 of element j
 *     Q5_1  d f16, m f16, qh[4], qs[16]
 *     Q8_0  d f16, qs[32]
 *     IQ4_NL  as Q4_0, but the nibble is an index into 16 values
 *     IQ4_XS  d f16, scales_h u16, scales_l[4], qs[128]; such nibbles with 8 scales of 6 bits
 *     Q3_K  hmask[32], qs[64], scales[12], d f16
 *     Q4_K  d f16, dmin f16, scales[12], qs[128]
 *     Q5_K  d f16, dmin f16, scales[12], qh[32], qs[128]
 *     Q6_K  ql[128], qh[64], scales[16] i8, d f16 */
#ifndef TENSOR_BLOCK_H
#define TENSOR_BLOCK_H

#include <stdint.h>
#include <string.h>

#include "base/attr.h"
#include "tensor/panel.h"

/* The weights are unsigned as in a panel: Q8_0 + 128, Q4_0 as stored, Q6_K as stored (zero 32). */
struct block {
    uint8_t q[256];    /* 32 or 256 of them */
    uint8_t scale[16]; /* Q4_K Q5_K: 8 of 6 bits; Q3_K Q6_K IQ4_XS: 16 of int8 */
    uint8_t min[8];    /* Q4_K Q5_K */
    uint16_t d, dmin;  /* f16; Q4_1 Q5_1: dmin is -m */
};

/* Bytes of a block, as a constant. */
static ATTR_ALWAYS_INLINE size_t block_bytes(enum dtype type)
{
#define BLOCK_CASE(name, id, text, len, bytes)                                                     \
    case name:                                                                                     \
        return bytes;
    switch (type) {
        DTYPE_TABLE(BLOCK_CASE)
    }
#undef BLOCK_CASE
    return 0;
}

static inline uint16_t block_load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline void block_open_q8_0(const uint8_t *p, struct block *b)
{
    b->d = block_load_u16(p);
    for (int j = 0; j < 32; j++) {
        b->q[j] = p[2 + j] ^ 0x80;
    }
}

static inline void block_open_q4_0(const uint8_t *p, struct block *b)
{
    b->d = block_load_u16(p);
    for (int j = 0; j < 16; j++) {
        b->q[j] = p[2 + j] & 15;
        b->q[j + 16] = p[2 + j] >> 4;
    }
}

static inline void block_open_q4_1(const uint8_t *p, struct block *b)
{
    block_open_q4_0(p + 2, b);
    b->d = block_load_u16(p);
    b->dmin = block_load_u16(p + 2) ^ 0x8000;
}

static inline void block_open_q5_0(const uint8_t *p, struct block *b)
{
    uint32_t high = block_load_u16(p + 2) | (uint32_t)block_load_u16(p + 4) << 16;

    b->d = block_load_u16(p);
    for (int j = 0; j < 16; j++) {
        b->q[j] = (uint8_t)((p[6 + j] & 15) | (high >> j & 1) << 4);
        b->q[j + 16] = (uint8_t)(p[6 + j] >> 4 | (high >> (j + 16) & 1) << 4);
    }
}

static inline void block_open_q5_1(const uint8_t *p, struct block *b)
{
    block_open_q5_0(p + 2, b);
    b->d = block_load_u16(p);
    b->dmin = block_load_u16(p + 2) ^ 0x8000;
}

/* The 16 values of IQ4_NL and IQ4_XS, plus 128. */
static inline void block_open_values(const uint8_t *qs, uint8_t q[32])
{
    static const uint8_t value[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                      129, 141, 153, 166, 181, 197, 217, 241};
    for (int j = 0; j < 16; j++) {
        q[j] = value[qs[j] & 15];
        q[j + 16] = value[qs[j] >> 4];
    }
}

static inline void block_open_iq4_nl(const uint8_t *p, struct block *b)
{
    b->d = block_load_u16(p);
    block_open_values(p + 2, b->q);
}

static inline void block_open_iq4_xs(const uint8_t *p, struct block *b)
{
    uint16_t high = block_load_u16(p + 2);

    b->d = block_load_u16(p);
    for (int i = 0; i < 8; i++) {
        int scale = (p[4 + i / 2] >> (4 * (i % 2)) & 15) | (high >> (2 * i) & 3) << 4;
        b->scale[2 * i] = b->scale[2 * i + 1] = (uint8_t)(scale - 32);
        block_open_values(p + 8 + 16 * i, b->q + 32 * i);
    }
}

/* Scales: low nibbles of 0-7 and 8-15 in the halves of bytes 0-7, their top two bits in bytes 8-11.
 */
static inline void block_open_q3_k(const uint8_t *p, struct block *b)
{
    const uint8_t *scales = p + 96;

    b->d = block_load_u16(p + 108);
    for (int i = 0; i < 16; i++) {
        int low = i < 8 ? scales[i] & 15 : scales[i - 8] >> 4;
        b->scale[i] = (uint8_t)((low | (scales[8 + i % 4] >> (2 * (i / 4)) & 3) << 4) - 32);
    }
    for (int i = 0; i < 256; i++) {
        int low = p[32 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3;
        b->q[i] = (uint8_t)(low | (p[i % 32] >> (i / 32) & 1) << 2);
    }
}

/* Eight pairs of 6-bit scale and min in 12 bytes: the first four of each plainly in the low six
 * bits of bytes 0-3 and 4-7, the others as a nibble of bytes 8-11 below the two top bits of bytes
 * 0-7. */
static inline void block_open_scales(const uint8_t *p, struct block *b)
{
    for (int j = 0; j < 4; j++) {
        b->scale[j] = p[j] & 63;
        b->min[j] = p[j + 4] & 63;
        b->scale[j + 4] = (uint8_t)((p[j + 8] & 15) | (p[j] >> 6) << 4);
        b->min[j + 4] = (uint8_t)((p[j + 8] >> 4) | (p[j + 4] >> 6) << 4);
    }
}

static inline void block_open_q4_k(const uint8_t *p, struct block *b)
{
    b->d = block_load_u16(p);
    b->dmin = block_load_u16(p + 2);
    block_open_scales(p + 4, b);
    for (int i = 0; i < 4; i++) {
        const uint8_t *qs = p + 16 + 32 * i;
        for (int j = 0; j < 32; j++) {
            b->q[64 * i + j] = qs[j] & 15;
            b->q[64 * i + 32 + j] = qs[j] >> 4;
        }
    }
}

static inline void block_open_q5_k(const uint8_t *p, struct block *b)
{
    b->d = block_load_u16(p);
    b->dmin = block_load_u16(p + 2);
    block_open_scales(p + 4, b);
    for (int i = 0; i < 4; i++) {
        const uint8_t *qh = p + 16, *qs = p + 48 + 32 * i;
        for (int j = 0; j < 32; j++) {
            b->q[64 * i + j] = (uint8_t)((qs[j] & 15) | (qh[j] >> (2 * i) & 1) << 4);
            b->q[64 * i + 32 + j] = (uint8_t)(qs[j] >> 4 | (qh[j] >> (2 * i + 1) & 1) << 4);
        }
    }
}

static inline void block_open_q6_k(const uint8_t *p, struct block *b)
{
    memcpy(b->scale, p + 192, 16);
    b->d = block_load_u16(p + 208);
    for (int i = 0; i < 2; i++) { /* halves of 128 elements: 64 bytes of ql, 32 of qh */
        const uint8_t *ql = p + 64 * i, *qh = p + 128 + 32 * i;
        uint8_t *q = b->q + 128 * i;
        for (int j = 0; j < 32; j++) {
            q[j] = (uint8_t)((ql[j] & 15) | (qh[j] & 3) << 4);
            q[j + 32] = (uint8_t)((ql[j + 32] & 15) | (qh[j] >> 2 & 3) << 4);
            q[j + 64] = (uint8_t)(ql[j] >> 4 | (qh[j] >> 4 & 3) << 4);
            q[j + 96] = (uint8_t)(ql[j + 32] >> 4 | (qh[j] >> 6) << 4);
        }
    }
}

static ATTR_ALWAYS_INLINE void block_open(enum dtype type, const uint8_t *bytes, struct block *b)
{
    switch (type) {
    case DTYPE_Q8_0:
        block_open_q8_0(bytes, b);
        break;
    case DTYPE_Q4_0:
        block_open_q4_0(bytes, b);
        break;
    case DTYPE_Q4_1:
        block_open_q4_1(bytes, b);
        break;
    case DTYPE_Q5_0:
        block_open_q5_0(bytes, b);
        break;
    case DTYPE_Q5_1:
        block_open_q5_1(bytes, b);
        break;
    case DTYPE_IQ4_NL:
        block_open_iq4_nl(bytes, b);
        break;
    case DTYPE_IQ4_XS:
        block_open_iq4_xs(bytes, b);
        break;
    case DTYPE_Q3_K:
        block_open_q3_k(bytes, b);
        break;
    case DTYPE_Q4_K:
        block_open_q4_k(bytes, b);
        break;
    case DTYPE_Q5_K:
        block_open_q5_k(bytes, b);
        break;
    case DTYPE_Q6_K:
        block_open_q6_k(bytes, b);
        break;
    default:
        break;
    }
}

#endif
