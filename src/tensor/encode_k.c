/* Blocks of 256 with scales for their parts: Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS. The parts are fitted
 * one by one; their scales (and minima) are quantised together; then the integers are found for the
 * scales as stored. */
#include <math.h>
#include <string.h>

#include "tensor/codec.h"
#include "tensor/encode.h"
#include "tensor/encode_table.h"

enum { PARTS_MAX = 16 };

/* A block being encoded. */
struct super {
    uint8_t q[256];
    float scale[PARTS_MAX], min[PARTS_MAX], weight[PARTS_MAX]; /* of the parts, as fitted */
    uint8_t scale_q[PARTS_MAX], min_q[PARTS_MAX];
    uint16_t d, dmin;
};

static float mean_square(const float *x)
{
    float lane[8] = {0}, sum = 0;

    for (int i = 0; i < 256; i += 8) {
        for (int j = 0; j < 8; j++) {
            lane[j] += x[i + j] * x[i + j];
        }
    }
    for (int j = 0; j < 8; j++) {
        sum += lane[j];
    }
    return sum / 256;
}

static float sum_of(const float *w, size_t n)
{
    float sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += w[i];
    }
    return sum;
}

/* ---- with minima ---- */

struct affine_kind {
    size_t width;       /* of a part */
    int top, scale_top; /* largest integer of a weight, of a scale */
    float mean_share;   /* of the root of the mean square in the weights without importance */
    struct encode_search search, importance_search;
};

static void weigh_affine(const struct affine_kind *kind, const float *x, const float *importance,
                         float square, float *w)
{
    for (size_t i = 0; i < kind->width; i++) {
        float size = fabsf(x[i]);
        w[i] = importance != NULL ? importance[i] * sqrtf(square + size * size) : size;
    }
    if (importance == NULL && kind->mean_share > 0) {
        float sum = 0;
        for (size_t i = 0; i < kind->width; i++) {
            sum += x[i] * x[i];
        }
        float mean = sqrtf(sum / (float)kind->width);
        for (size_t i = 0; i < kind->width; i++) {
            w[i] += kind->mean_share * mean;
        }
    }
}

/* Quantises the scales (or minima) of the parts. */
static uint16_t quantize_scales(const float *scale, const float *weight, size_t parts, int top,
                                bool by_weight, uint8_t *q)
{
    float d;

    if (by_weight) {
        d = codec_fit_positive((struct encode_view){scale, weight, parts}, top);
    } else {
        d = fmaxf(codec_extreme(scale, parts), 0) / (float)top;
    }
    float inverse = d > 0 ? 1 / d : 0;
    for (size_t i = 0; i < parts; i++) {
        q[i] = (uint8_t)encode_level(scale[i], inverse, 0, (float)top);
    }
    return codec_f32_to_f16(d);
}

static void encode_affine(const struct affine_kind *kind, const float *x, const float *importance,
                          struct super *s)
{
    size_t parts = 256 / kind->width;
    float square = importance != NULL ? mean_square(x) * (kind->width == 32 ? 2 : 1) : 0, w[32];

    for (size_t p = 0; p < parts; p++) {
        const float *part = x + p * kind->width;
        weigh_affine(kind, part, importance != NULL ? importance + p * kind->width : NULL, square,
                     w);
        struct encode_affine fit =
            codec_fit_affine((struct encode_view){part, w, kind->width}, kind->top,
                             importance != NULL ? kind->importance_search : kind->search);
        s->scale[p] = fit.scale;
        s->min[p] = fit.min;
        s->weight[p] = sum_of(w, kind->width);
    }
    bool by_weight = importance != NULL;
    s->d = quantize_scales(s->scale, s->weight, parts, kind->scale_top, by_weight, s->scale_q);
    s->dmin = quantize_scales(s->min, s->weight, parts, kind->scale_top, by_weight, s->min_q);
    float d = codec_f16_to_f32(s->d), dmin = codec_f16_to_f32(s->dmin);
    for (size_t i = 0; i < 256; i++) {
        size_t p = i / kind->width;
        float scale = d * s->scale_q[p], inverse = scale > 0 ? 1 / scale : 0;
        s->q[i] = (uint8_t)encode_level(x[i] + dmin * s->min_q[p], inverse, 0, (float)kind->top);
    }
}

/* 2 bits of 128 elements to 32 bytes: the first 32 lowest. */
static void put_pairs(const uint8_t q[256], uint8_t *out)
{
    for (int j = 0; j < 64; j++) {
        const uint8_t *from = q + 128 * (j / 32) + j % 32;
        out[j] = (uint8_t)((from[0] & 3) | (from[32] & 3) << 2 | (from[64] & 3) << 4 |
                           (from[96] & 3) << 6);
    }
}

void codec_encode_q2_k(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct affine_kind kind = {
        16, 3, 15, 0, {-0.5f, 0.1f, 15, true}, {-0.9f, 0.05f, 36, false}};
    struct super s;

    (void)sigma2;
    encode_affine(&kind, x, importance, &s);
    for (int i = 0; i < 16; i++) {
        out[i] = (uint8_t)(s.scale_q[i] | s.min_q[i] << 4);
    }
    put_pairs(s.q, out + 16);
    encode_store_u16(out + 80, s.d);
    encode_store_u16(out + 82, s.dmin);
}

/* Eight scales and minima of 6 bits in 12 bytes (block_open_scales). */
static void put_scales(const struct super *s, uint8_t *out)
{
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(s->scale_q[j] | s->scale_q[j + 4] >> 4 << 6);
        out[j + 4] = (uint8_t)(s->min_q[j] | s->min_q[j + 4] >> 4 << 6);
        out[j + 8] = (uint8_t)((s->scale_q[j + 4] & 15) | (s->min_q[j + 4] & 15) << 4);
    }
}

/* Nibbles of 64 elements to 32 bytes. */
static void put_nibbles(const uint8_t q[256], uint8_t *out)
{
    for (int j = 0; j < 128; j++) {
        const uint8_t *from = q + 64 * (j / 32) + j % 32;
        out[j] = (uint8_t)((from[0] & 15) | (from[32] & 15) << 4);
    }
}

void codec_encode_q4_k(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct affine_kind kind = {
        32, 15, 63, 1, {-1, 0.1f, 20, false}, {-0.9f, 0.05f, 36, false}};
    struct super s;

    (void)sigma2;
    encode_affine(&kind, x, importance, &s);
    encode_store_u16(out, s.d);
    encode_store_u16(out + 2, s.dmin);
    put_scales(&s, out + 4);
    put_nibbles(s.q, out + 16);
}

void codec_encode_q5_k(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct affine_kind kind = {
        32, 31, 63, 1, {-0.5f, 0.1f, 15, false}, {-0.9f, 0.05f, 36, false}};
    struct super s;

    (void)sigma2;
    encode_affine(&kind, x, importance, &s);
    encode_store_u16(out, s.d);
    encode_store_u16(out + 2, s.dmin);
    put_scales(&s, out + 4);
    memset(out + 16, 0, 32);
    for (int i = 0; i < 256; i++) {
        out[16 + i % 32] = (uint8_t)(out[16 + i % 32] | (s.q[i] >> 4) << (i / 32));
    }
    put_nibbles(s.q, out + 48);
}

/* ---- without minima ---- */

/* Fits 16 parts of 16 with integers in [-half, half - 1]; scales as signed integers in [-top, top -
 * 1], stored plus top. x^2 weighs without importance. */
static void encode_signed(const float *x, const float *importance, float square, int half, int top,
                          struct super *s)
{
    float w[16];

    for (size_t p = 0; p < 16; p++) {
        const float *part = x + 16 * p;
        for (size_t i = 0; i < 16; i++) {
            w[i] = importance == NULL ? part[i] * part[i]
                                      : importance[16 * p + i] *
                                            (square > 0 ? sqrtf(square + part[i] * part[i]) : 1);
        }
        struct encode_view view = {part, w, 16};
        bool is_local = half == 4 && importance == NULL;
        s->scale[p] = is_local ? codec_fit_local(view, half) : codec_fit_signed(view, half);
        s->weight[p] = sum_of(w, 16);
    }
    float d = importance != NULL && square > 0
                  ? codec_fit_signed((struct encode_view){s->scale, s->weight, 16}, top)
                  : codec_extreme(s->scale, 16) / (float)-top;
    float inverse = d != 0 ? 1 / d : 0;
    s->d = codec_f32_to_f16(d);
    d = codec_f16_to_f32(s->d);
    for (size_t p = 0; p < 16; p++) {
        float level = encode_level(s->scale[p], inverse, (float)-top, (float)(top - 1));
        float scale = d * level, back = scale != 0 ? 1 / scale : 0;
        s->scale_q[p] = (uint8_t)(level + (float)top);
        for (size_t i = 16 * p; i < 16 * p + 16; i++) {
            float q = encode_level(x[i], back, (float)-half, (float)(half - 1));
            s->q[i] = (uint8_t)(q + (float)half);
        }
    }
}

void codec_encode_q3_k(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    struct super s;

    (void)sigma2;
    encode_signed(x, importance, importance != NULL ? 2 * mean_square(x) : 0, 4, 32, &s);
    memset(out, 0, 32);
    for (int i = 0; i < 256; i++) {
        out[i % 32] = (uint8_t)(out[i % 32] | (s.q[i] >> 2) << (i / 32));
    }
    put_pairs(s.q, out + 32);
    for (int i = 0; i < 8; i++) {
        out[96 + i] = (uint8_t)((s.scale_q[i] & 15) | (s.scale_q[i + 8] & 15) << 4);
    }
    for (int i = 0; i < 4; i++) {
        out[104 + i] = (uint8_t)(s.scale_q[i] >> 4 | s.scale_q[i + 4] >> 4 << 2 |
                                 s.scale_q[i + 8] >> 4 << 4 | s.scale_q[i + 12] >> 4 << 6);
    }
    encode_store_u16(out + 108, s.d);
}

void codec_encode_q6_k(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    struct super s;

    (void)sigma2;
    encode_signed(x, importance, 0, 32, 128, &s);
    for (int i = 0; i < 2; i++) { /* halves of 128 elements: 64 bytes of low bits, 32 of high */
        const uint8_t *q = s.q + 128 * i;
        for (int j = 0; j < 32; j++) {
            out[64 * i + j] = (uint8_t)((q[j] & 15) | (q[j + 64] & 15) << 4);
            out[64 * i + 32 + j] = (uint8_t)((q[j + 32] & 15) | (q[j + 96] & 15) << 4);
            out[128 + 32 * i + j] = (uint8_t)(q[j] >> 4 | q[j + 32] >> 4 << 2 |
                                              q[j + 64] >> 4 << 4 | q[j + 96] >> 4 << 6);
        }
    }
    for (int i = 0; i < 16; i++) {
        out[192 + i] = s.scale_q[i] ^ 0x80;
    }
    encode_store_u16(out + 208, s.d);
}

/* Eight parts of 32 with the values of IQ4_NL and signed scales of 6 bits. */
void codec_encode_iq4_xs(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    float square = importance != NULL ? 2 * mean_square(x) : 0, scale[8], w[32];
    unsigned high = 0;
    uint8_t q[256];

    (void)sigma2;
    memset(out, 0, 136);
    for (int p = 0; p < 8; p++) {
        const float *part = x + 32 * p;
        for (int i = 0; i < 32; i++) {
            w[i] = importance == NULL ? part[i] * part[i]
                                      : importance[32 * p + i] * sqrtf(square + part[i] * part[i]);
        }
        scale[p] = codec_fit_table((struct encode_view){part, w, 32}, encode_iq4_values, 7);
    }
    uint16_t half = codec_f32_to_f16(codec_extreme(scale, 8) / -32);
    float d = codec_f16_to_f32(half), inverse = d != 0 ? 1 / d : 0;
    for (int p = 0; p < 8; p++) {
        float level = encode_level(scale[p], inverse, -32, 31), back = d * level;
        unsigned stored = (unsigned)(level + 32);
        back = back != 0 ? 1 / back : 0;
        for (int i = 32 * p; i < 32 * p + 32; i++) {
            q[i] = (uint8_t)codec_nearest(encode_iq4_values, x[i] * back);
        }
        out[4 + p / 2] = (uint8_t)(out[4 + p / 2] | (stored & 15) << (4 * (p % 2)));
        high |= stored >> 4 << (2 * p);
    }
    encode_store_u16(out, half);
    encode_store_u16(out + 2, high);
    for (int p = 0; p < 8; p++) {
        for (int j = 0; j < 16; j++) {
            out[8 + 16 * p + j] = (uint8_t)(q[32 * p + j] | q[32 * p + 16 + j] << 4);
        }
    }
}
