/* Quantised blocks of a GGUF row opened into plain arrays: the one place that knows how ggml packs
 * them (block_q4_0 ... block_q6_K in ggml-common.h and the dequantize functions of ggml-quants.c,
 * llama.cpp). Decoding and packing both build on it.
 *
 *     Q4_0  d f16, qs[16]                     element j: low nibble of qs[j], j+16: high nibble
 *     Q4_1  d f16, m f16, qs[16]              value = d q + m
 *     Q5_0  d f16, qh[4], qs[16]              bit j of qh is bit 4 of element j
 *     Q5_1  d f16, m f16, qh[4], qs[16]
 *     Q8_0  d f16, qs[32]
 *     Q1_0  d f16, qs[16]                     128 bits; value = d or -d
 *     MXFP4 e u8, qs[16]                      as Q4_0 with d = 2^(e - 128)
 *     NVFP4 e[4], qs[32]                      4 x 16 elements, each a scale of 4 + 3 bits, halved
 *     IQ4_NL  as Q4_0, but the nibble is a place in a table of 16 values
 *     IQ4_XS  d f16, scales_h u16, scales_l[4], qs[128]; such nibbles with 8 scales of 6 bits
 *     Q2_K  scales[16] (low nibble scale, high min), qs[64], d f16, dmin f16
 *     Q3_K  hmask[32], qs[64], scales[12], d f16
 *     Q4_K  d f16, dmin f16, scales[12], qs[128]
 *     Q5_K  d f16, dmin f16, scales[12], qh[32], qs[128]
 *     Q6_K  ql[128], qh[64], scales[16] i8, d f16
 *     TQ1_0 qs[48], qh[4], d f16              5 digits to the base 3 in a byte, 4 in qh
 *     TQ2_0 qs[64], d f16                     value = d (q - 1)
 *
 * The IQ types are in block_grid.h, block_open.h opens them all. */
#ifndef TENSOR_BLOCK_H
#define TENSOR_BLOCK_H

#include <stdint.h>
#include <string.h>

#include "base/attr.h"
#include "tensor/codec.h"
#include "tensor/panel.h"

/* The weights are unsigned as in a panel: Q8_0 + 128, Q4_0 as stored, Q6_K as stored (zero 32), or
 * places in the type's table of values. */
struct block {
    uint8_t q[256];    /* block_len of them */
    uint8_t scale[16]; /* SCALE_MIN: 8 of 6 bits; SCALE_HALF: 16 of int8; SCALE_HALF_MIN: 16 of 4 */
    uint8_t min[16];   /* SCALE_MIN: 8 */
    uint16_t d[8];     /* f16 or bf16, of 32 weights each (NVFP4: 16); else d[0] */
    uint16_t dmin;     /* f16; Q4_1 Q5_1: -m */
    float wide;        /* SCALE_HALF */
};

/* Elements and bytes of a block, as constants. */
static ATTR_ALWAYS_INLINE size_t block_len(enum dtype type)
{
#define BLOCK_CASE(name, id, text, len, bytes)                                                     \
    case name:                                                                                     \
        return len;
    switch (type) {
        DTYPE_TABLE(BLOCK_CASE)
    }
#undef BLOCK_CASE
    return 1;
}

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

static inline uint32_t block_load_u32(const uint8_t *p)
{
    return block_load_u16(p) | (uint32_t)block_load_u16(p + 2) << 16;
}

static inline float block_load_f16(const uint8_t *p)
{
    return codec_f16_to_f32(block_load_u16(p));
}

static inline void block_open_q8_0(const uint8_t *p, struct block *b)
{
    b->d[0] = block_load_u16(p);
    for (int j = 0; j < 32; j++) {
        b->q[j] = p[2 + j] ^ 0x80;
    }
}

static inline void block_open_q4_0(const uint8_t *p, struct block *b)
{
    b->d[0] = block_load_u16(p);
    for (int j = 0; j < 16; j++) {
        b->q[j] = p[2 + j] & 15;
        b->q[j + 16] = p[2 + j] >> 4;
    }
}

static inline void block_open_q4_1(const uint8_t *p, struct block *b)
{
    block_open_q4_0(p + 2, b);
    b->d[0] = block_load_u16(p);
    b->dmin = block_load_u16(p + 2) ^ 0x8000;
}

static inline void block_open_q5_0(const uint8_t *p, struct block *b)
{
    uint32_t high = block_load_u32(p + 2);

    b->d[0] = block_load_u16(p);
    for (int j = 0; j < 16; j++) {
        b->q[j] = (uint8_t)((p[6 + j] & 15) | (high >> j & 1) << 4);
        b->q[j + 16] = (uint8_t)(p[6 + j] >> 4 | (high >> (j + 16) & 1) << 4);
    }
}

static inline void block_open_q5_1(const uint8_t *p, struct block *b)
{
    block_open_q5_0(p + 2, b);
    b->d[0] = block_load_u16(p);
    b->dmin = block_load_u16(p + 2) ^ 0x8000;
}

static inline void block_open_nibbles(const uint8_t *qs, size_t half, uint8_t *q)
{
    for (size_t j = 0; j < half; j++) {
        q[j] = qs[j] & 15;
        q[j + half] = qs[j] >> 4;
    }
}

static inline void block_open_q1_0(const uint8_t *p, struct block *b)
{
    b->d[0] = b->d[1] = b->d[2] = b->d[3] = block_load_u16(p);
    for (int j = 0; j < 128; j++) {
        b->q[j] = (uint8_t)(2 * (p[2 + j / 8] >> (j % 8) & 1));
    }
}

/* 2^(e - 128) as bf16: the two smallest are subnormal. */
static inline void block_open_mxfp4(const uint8_t *p, struct block *b)
{
    b->d[0] = (uint16_t)(p[0] < 2 ? 0x20 << p[0] : (p[0] - 1) << 7);
    block_open_nibbles(p + 1, 16, b->q);
}

/* Half the scale as f16: its exponent has the bias 7; 0x7f is no number and counts as 0. */
static inline void block_open_nvfp4(const uint8_t *p, struct block *b)
{
    for (int i = 0; i < 4; i++) {
        uint32_t e = p[i] >> 3 & 15, m = p[i] & 7;
        float size = e == 0 ? (float)m * 0x1p-10f : (float)(8 + m) * (float)(1u << e) * 0x1p-11f;
        b->d[i] = codec_f32_to_f16(p[i] == 0x7f ? 0 : size);
        block_open_nibbles(p + 4 + 8 * i, 8, b->q + 16 * i);
    }
}

static inline void block_open_iq4_nl(const uint8_t *p, struct block *b)
{
    b->d[0] = block_load_u16(p);
    block_open_nibbles(p + 2, 16, b->q);
}

static inline void block_open_iq4_xs(const uint8_t *p, struct block *b)
{
    uint16_t high = block_load_u16(p + 2);

    b->wide = block_load_f16(p);
    for (int i = 0; i < 8; i++) {
        int scale = (p[4 + i / 2] >> (4 * (i % 2)) & 15) | (high >> (2 * i) & 3) << 4;
        b->scale[2 * i] = b->scale[2 * i + 1] = (uint8_t)(scale - 32);
        block_open_nibbles(p + 8 + 16 * i, 16, b->q + 32 * i);
    }
}

/* 128 elements to 32 bytes: the first 32 in the lowest two bits. */
static inline void block_open_pairs(const uint8_t *qs, uint8_t *q)
{
    for (int i = 0; i < 256; i++) {
        q[i] = qs[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3;
    }
}

static inline void block_open_q2_k(const uint8_t *p, struct block *b)
{
    b->d[0] = block_load_u16(p + 80);
    b->dmin = block_load_u16(p + 82);
    for (int i = 0; i < 16; i++) {
        b->scale[i] = p[i] & 15;
        b->min[i] = p[i] >> 4;
    }
    block_open_pairs(p + 16, b->q);
}

static inline void block_repeat_d(const uint8_t *p, struct block *b)
{
    for (int i = 0; i < 8; i++) {
        b->d[i] = block_load_u16(p);
    }
}

static inline void block_open_tq2_0(const uint8_t *p, struct block *b)
{
    block_repeat_d(p + 64, b);
    block_open_pairs(p, b->q);
}

/* A byte is a fraction of 256: its digits come out at the top when it is multiplied by 3. The
 * first digits of a run of `width` bytes stand together, then the second ones. */
static inline uint8_t *block_open_digits(const uint8_t *bytes, size_t width, size_t digits,
                                         uint8_t *q)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};

    for (size_t n = 0; n < digits; n++) {
        for (size_t i = 0; i < width; i++) {
            uint8_t rest = (uint8_t)(bytes[i] * power[n]);
            *q++ = (uint8_t)(rest * 3 >> 8);
        }
    }
    return q;
}

static inline void block_open_tq1_0(const uint8_t *p, struct block *b)
{
    block_repeat_d(p + 52, b);
    uint8_t *q = block_open_digits(p, 32, 5, b->q);
    q = block_open_digits(p + 32, 16, 5, q);
    block_open_digits(p + 48, 4, 4, q);
}

/* Scales: low nibbles of 0-7 and 8-15 in the halves of bytes 0-7, their top two bits in bytes 8-11.
 */
static inline void block_open_q3_k(const uint8_t *p, struct block *b)
{
    const uint8_t *scales = p + 96;

    b->wide = block_load_f16(p + 108);
    for (int i = 0; i < 16; i++) {
        int low = i < 8 ? scales[i] & 15 : scales[i - 8] >> 4;
        b->scale[i] = (uint8_t)((low | (scales[8 + i % 4] >> (2 * (i / 4)) & 3) << 4) - 32);
    }
    block_open_pairs(p + 32, b->q);
    for (int i = 0; i < 256; i++) {
        b->q[i] = (uint8_t)(b->q[i] | (p[i % 32] >> (i / 32) & 1) << 2);
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
    b->d[0] = block_load_u16(p);
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
    b->d[0] = block_load_u16(p);
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
    b->wide = block_load_f16(p + 208);
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

#endif
