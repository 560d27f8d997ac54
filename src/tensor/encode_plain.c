/* Blocks of one scale: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4 Q1_0 TQ1_0 TQ2_0. Without importance
 * Q4_0, Q8_0 and the likes are byte for byte what ggml's reference functions write. */
#include <math.h>
#include <string.h>

#include "tensor/codec.h"
#include "tensor/encode.h"
#include "tensor/encode_table.h"

/* v sqrt(sigma^2 + x^2) */
static void weigh(const float *x, const float *importance, float sigma2, size_t n, float *w)
{
    for (size_t i = 0; i < n; i++) {
        w[i] = importance[i] * sqrtf(sigma2 + x[i] * x[i]);
    }
}

static float stored_f16(uint8_t *p, float value)
{
    uint16_t half = codec_f32_to_f16(value);
    encode_store_u16(p, half);
    return codec_f16_to_f32(half);
}

void codec_encode_q8_0(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    float d = fabsf(codec_extreme(x, 32)) / 127, inverse = d != 0 ? 1 / d : 0;

    (void)importance;
    (void)sigma2;
    stored_f16(out, d);
    for (int j = 0; j < 32; j++) {
        float q = roundf(x[j] * inverse); /* half away from zero */
        out[2 + j] = (uint8_t)(int8_t)fminf(fmaxf(q, -128), 127);
    }
}

/* Elements j and j + 16 share a byte; fifth bits go to `high`. */
static uint32_t put_nibbles(const uint8_t q[32], uint8_t *out)
{
    uint32_t high = 0;

    for (int j = 0; j < 16; j++) {
        out[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
        high |= (uint32_t)(q[j] >> 4) << j | (uint32_t)(q[j + 16] >> 4) << (j + 16);
    }
    return high;
}

static void put_high(uint8_t *out, uint32_t high)
{
    encode_store_u16(out, high & 0xffff);
    encode_store_u16(out + 2, high >> 16);
}

/* Scale and integers of Q4_0 (half 8) and Q5_0 (16). Without importance the value of largest
 * magnitude, with its sign, becomes -half, so that it is represented exactly. */
static void fit_signed(const float *x, const float *importance, float sigma2, int half, uint8_t *d,
                       uint8_t q[32])
{
    float w[32], scale, top = (float)(2 * half - 1);

    if (importance != NULL) {
        weigh(x, importance, sigma2, 32, w);
        scale = codec_fit_signed((struct encode_view){x, w, 32}, half);
    } else {
        scale = codec_extreme(x, 32) / (float)-half;
    }
    float inverse = scale != 0 ? 1 / scale : 0;
    stored_f16(d, scale);
    for (int j = 0; j < 32; j++) {
        q[j] = (uint8_t)fminf(fmaxf(x[j] * inverse + (float)half + 0.5f, 0), top);
    }
}

void codec_encode_q4_0(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    uint8_t q[32];

    fit_signed(x, importance, sigma2, 8, out, q);
    put_nibbles(q, out + 2);
}

void codec_encode_q5_0(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    uint8_t q[32];

    fit_signed(x, importance, sigma2, 16, out, q);
    put_high(out + 2, put_nibbles(q, out + 6));
}

/* Scale, minimum and integers of Q4_1 (top 15) and Q5_1 (31). */
static void fit_affine(const float *x, const float *importance, float sigma2, int top, uint8_t *out,
                       uint8_t q[32])
{
    static const struct encode_search search = {-0.9f, 0.05f, 36, false};
    float w[32], min = x[0], max = x[0], scale;

    if (importance != NULL) {
        weigh(x, importance, sigma2, 32, w);
        struct encode_affine fit = codec_fit_affine((struct encode_view){x, w, 32}, top, search);
        scale = fit.scale;
        min = -fit.min;
    } else {
        for (int j = 1; j < 32; j++) {
            min = x[j] < min ? x[j] : min;
            max = x[j] > max ? x[j] : max;
        }
        scale = (max - min) / (float)top;
    }
    float inverse = scale != 0 ? 1 / scale : 0;
    stored_f16(out, scale);
    stored_f16(out + 2, min);
    for (int j = 0; j < 32; j++) {
        q[j] = (uint8_t)fminf(fmaxf((x[j] - min) * inverse + 0.5f, 0), (float)top);
    }
}

void codec_encode_q4_1(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    uint8_t q[32];

    fit_affine(x, importance, sigma2, 15, out, q);
    put_nibbles(q, out + 4);
}

void codec_encode_q5_1(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    uint8_t q[32];

    fit_affine(x, importance, sigma2, 31, out, q);
    put_high(out + 4, put_nibbles(q, out + 8));
}

void codec_encode_iq4_nl(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    float w[32];
    uint8_t q[32];

    if (importance != NULL) {
        weigh(x, importance, 2 * sigma2, 32, w);
    }
    for (int j = 0; importance == NULL && j < 32; j++) {
        w[j] = x[j] * x[j];
    }
    float scale = codec_fit_table((struct encode_view){x, w, 32}, encode_iq4_values, 7);
    float inverse = scale != 0 ? 1 / scale : 0;
    stored_f16(out, scale);
    for (int j = 0; j < 32; j++) {
        q[j] = (uint8_t)codec_nearest(encode_iq4_values, x[j] * inverse);
    }
    put_nibbles(q, out + 2);
}

/* Doubled magnitudes 0 1 2 3 4 6 8 12 of the scale 2^(e - 128); the largest is below 8 times 2^e.
 */
void codec_encode_mxfp4(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const float middle[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
    float size = fabsf(codec_extreme(x, 32));
    int exponent = 0;
    uint8_t q[32];

    (void)importance;
    (void)sigma2;
    if (size > 0) {
        frexpf(size, &exponent); /* 2^(exponent - 1) <= size */
        exponent += 124;         /* - 1 - 2 + 127 */
        exponent = exponent < 0 ? 0 : exponent > 254 ? 254 : exponent;
    }
    out[0] = (uint8_t)exponent;
    for (int j = 0; j < 32; j++) {
        float value = ldexpf(fabsf(x[j]), 127 - exponent);
        unsigned place = 0;
        for (int i = 0; i < 7; i++) {
            place += value > middle[i];
        }
        q[j] = (uint8_t)(place | (x[j] < 0 && place != 0 ? 8 : 0));
    }
    put_nibbles(q, out + 1);
}

/* The mean magnitude, and the signs. */
void codec_encode_q1_0(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    float sum = 0;

    (void)importance;
    (void)sigma2;
    memset(out, 0, 18);
    for (int j = 0; j < 128; j++) {
        sum += fabsf(x[j]);
        out[2 + j / 8] = (uint8_t)(out[2 + j / 8] | (x[j] >= 0) << (j % 8));
    }
    stored_f16(out, sum / 128);
}

/* 0, 1 or 2 for -d, 0 and d, where d is the largest magnitude: made for weights that are so. */
static void find_digits(const float *x, uint8_t *d, uint8_t q[256])
{
    float size = fabsf(codec_extreme(x, 256)), inverse = size != 0 ? 1 / size : 0;

    stored_f16(d, size);
    for (int j = 0; j < 256; j++) {
        q[j] = (uint8_t)(roundf(x[j] * inverse) + 1);
    }
}

void codec_encode_tq2_0(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    uint8_t q[256];

    (void)importance;
    (void)sigma2;
    find_digits(x, out + 64, q);
    for (int j = 0; j < 64; j++) {
        const uint8_t *from = q + 128 * (j / 32) + j % 32;
        out[j] = (uint8_t)(from[0] | from[32] << 2 | from[64] << 4 | from[96] << 6);
    }
}

/* `digits` digits to a byte that is their number as a fraction of 256, rounded up. */
static void put_digits(const uint8_t *q, size_t width, size_t digits, uint8_t *out)
{
    for (size_t i = 0; i < width; i++) {
        unsigned number = 0;
        for (size_t n = 0; n < 5; n++) {
            number = 3 * number + (n < digits ? q[n * width + i] : 0);
        }
        out[i] = (uint8_t)((number * 256 + 242) / 243);
    }
}

void codec_encode_tq1_0(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    uint8_t q[256];

    (void)importance;
    (void)sigma2;
    find_digits(x, out + 52, q);
    put_digits(q, 32, 5, out);
    put_digits(q + 160, 16, 5, out + 32);
    put_digits(q + 240, 4, 4, out + 48);
}
