/* The reference level: plain C in the exact order of operations that every other level keeps. Sums
 * over a row run in 16 lanes (lane i takes the elements i, i + 16, ...), which are then folded in
 * halves: the order that one 512-bit, two 256-bit or four 128-bit registers give for free. */
#include <math.h>
#include <string.h>

#include "tensor/codec.h"
#include "tensor/exp.h"
#include "tensor/kernels.h"

enum { LANES = 16 };

static float fold(float lane[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            lane[i] += lane[i + half];
        }
    }
    return lane[0];
}

static uint32_t magnitude(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffff;
}

static void quantize_block(const float x[32], struct act_block *out)
{
    uint32_t max_bits = 0; /* as integers, so that infinity and NaN are the largest */
    float max;

    for (int i = 0; i < 32; i++) {
        uint32_t bits = magnitude(x[i]);
        max_bits = bits > max_bits ? bits : max_bits;
    }
    memcpy(&max, &max_bits, sizeof max);
    memset(out, 0, sizeof *out);
    if (max_bits >= 0x7f800000) {
        out->scale = NAN;
        return;
    }
    if (max < ACT_TINY) {
        return;
    }
    float inverse = 127.0f / max;
    out->scale = max / 127.0f;
    for (int i = 0; i < 32; i++) {
        out->q[i] = (int8_t)rintf(x[i] * inverse);
        out->neg_half[i / 16] -= out->q[i];
    }
    out->neg_sum = out->neg_half[0] + out->neg_half[1];
}

static void quantize(const float *x, size_t cols, struct act_block *out, size_t stride)
{
    for (size_t i = 0; i < cols; i += 32, out += stride) {
        float tail[32] = {0};
        if (cols - i >= 32) {
            quantize_block(x + i, out);
            continue;
        }
        memcpy(tail, x + i, (cols - i) * sizeof *x);
        quantize_block(tail, out);
    }
}

static void rms_norm(const float *x, const float *w, float eps, float *y, size_t n)
{
    float lane[LANES] = {0};

    for (size_t i = 0; i < n; i++) {
        lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
    }
    float inverse = 1.0f / sqrtf(fold(lane) / (float)n + eps);
    for (size_t i = 0; i < n; i++) {
        y[i] = w != NULL ? x[i] * inverse * w[i] : x[i] * inverse;
    }
}

static void add(const float *x, const float *z, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] + z[i];
    }
}

static float exp_of(float x)
{
    if (x < EXP_MIN) {
        return 0.0f;
    }
    if (x > EXP_MAX) {
        return INFINITY;
    }
    if (x != x) {
        return x;
    }
    float n = rintf(x * EXP_LOG2E);
    float r = fmaf(n, -EXP_LN2_LO, fmaf(n, -EXP_LN2_HI, x));
    float p = EXP_P0;
    p = fmaf(p, r, EXP_P1);
    p = fmaf(p, r, EXP_P2);
    p = fmaf(p, r, EXP_P3);
    p = fmaf(p, r, EXP_P4);
    p = fmaf(p, r, EXP_P5);
    p = fmaf(p, r * r, r) + 1.0f;
    uint32_t power_bits = (uint32_t)((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &power_bits, sizeof power);
    return p * power;
}

static void silu_mul(const float *gate, const float *up, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = gate[i] / (1.0f + exp_of(-gate[i])) * up[i];
    }
}

static float exp_sum(float *e, float max, size_t count)
{
    float lane[LANES] = {0};

    for (size_t i = 0; i < count; i++) {
        e[i] = exp_of(e[i] - max);
        lane[i % LANES] += e[i];
    }
    return fold(lane);
}

static void rope_norm(float *x, const float *cos, const float *sin, size_t n_head, size_t head_dim,
                      size_t rope_dim)
{
    for (size_t h = 0; h < n_head; h++, x += head_dim) {
        for (size_t i = 0; i < rope_dim / 2; i++) {
            float a = x[2 * i], b = x[2 * i + 1];
            x[2 * i] = a * cos[i] - b * sin[i];
            x[2 * i + 1] = b * cos[i] + a * sin[i];
        }
    }
}

static void rope_neox(float *x, const float *cos, const float *sin, size_t n_head, size_t head_dim,
                      size_t rope_dim)
{
    size_t half = rope_dim / 2;

    for (size_t h = 0; h < n_head; h++, x += head_dim) {
        for (size_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cos[i] - b * sin[i];
            x[i + half] = b * cos[i] + a * sin[i];
        }
    }
}

/* ---- attention over one page of the cache ---- */

static float load(enum kv_type type, const void *p, size_t i)
{
    if (type == KV_F32) {
        return ((const float *)p)[i];
    }
    uint16_t bits = ((const uint16_t *)p)[i];
    return type == KV_F16 ? codec_f16_to_f32(bits) : codec_bf16_to_f32(bits);
}

static void score_of(enum kv_type type, const float *q, size_t q_stride, size_t heads,
                     const void *k, size_t head_dim, float scale, float *score)
{
    for (size_t h = 0; h < heads; h++, q += q_stride, score += KV_PAGE_TOKENS) {
        float acc[KV_PAGE_TOKENS] = {0};
        for (size_t d = 0; d < head_dim; d++) {
            for (size_t t = 0; t < KV_PAGE_TOKENS; t++) {
                acc[t] = fmaf(q[d], load(type, k, d * KV_PAGE_TOKENS + t), acc[t]);
            }
        }
        for (size_t t = 0; t < KV_PAGE_TOKENS; t++) {
            score[t] = acc[t] * scale;
        }
    }
}

static void mix_of(enum kv_type type, const float *p, size_t heads, const void *v, size_t head_dim,
                   size_t from, size_t to, float *out, size_t out_stride)
{
    for (size_t h = 0; h < heads; h++, p += KV_PAGE_TOKENS, out += out_stride) {
        for (size_t t = from; t < to; t++) {
            for (size_t d = 0; d < head_dim; d++) {
                out[d] = fmaf(p[t], load(type, v, t * head_dim + d), out[d]);
            }
        }
    }
}

/* The scale of dimension d of position t. */
static float kv_scale(enum kv_type type, const uint8_t *page, size_t head_dim, size_t d, size_t t)
{
    const uint16_t *scales = (const uint16_t *)(const void *)(page + kv_data_bytes(type, head_dim));
    return codec_f16_to_f32(scales[d / KV_BLOCK_DIMS * KV_PAGE_TOKENS + t]);
}

static float quantized_key(enum kv_type type, const uint8_t *k, size_t d, size_t t)
{
    if (type == KV_Q8_0) {
        return ((const int8_t *)k)[d * KV_PAGE_TOKENS + t];
    }
    return (float)((k[d / 2 * KV_PAGE_TOKENS + t] >> (4 * (d % 2)) & 15) - 8);
}

static float quantized_value(enum kv_type type, const uint8_t *v, size_t head_dim, size_t d,
                             size_t t)
{
    size_t padded = kv_padded(head_dim), in_block = d % KV_BLOCK_DIMS;

    if (type == KV_Q8_0) {
        return ((const int8_t *)v)[t * padded + d];
    }
    uint8_t both = v[t * padded / 2 + d / KV_BLOCK_DIMS * 16 + in_block % 16];
    return (float)((in_block < 16 ? both & 15 : both >> 4) - 8);
}

static void score_quantized_of(enum kv_type type, const float *q, size_t q_stride, size_t heads,
                               const void *k, size_t head_dim, float scale, float *score)
{
    for (size_t h = 0; h < heads; h++, q += q_stride, score += KV_PAGE_TOKENS) {
        for (size_t t = 0; t < KV_PAGE_TOKENS; t++) {
            float acc = 0, sum = 0;
            for (size_t d = 0; d < head_dim; d++) {
                sum = fmaf(q[d], quantized_key(type, k, d, t), d % KV_BLOCK_DIMS == 0 ? 0 : sum);
                if (d % KV_BLOCK_DIMS == KV_BLOCK_DIMS - 1 || d + 1 == head_dim) {
                    acc = fmaf(sum, kv_scale(type, k, head_dim, d, t), acc);
                }
            }
            score[t] = acc * scale;
        }
    }
}

static void mix_quantized_of(enum kv_type type, const float *p, size_t heads, const void *v,
                             size_t head_dim, size_t from, size_t to, float *out, size_t out_stride)
{
    for (size_t h = 0; h < heads; h++, p += KV_PAGE_TOKENS, out += out_stride) {
        for (size_t t = from; t < to; t++) {
            for (size_t d = 0; d < head_dim; d++) {
                float weight = p[t] * kv_scale(type, v, head_dim, d, t);
                out[d] = fmaf(weight, quantized_value(type, v, head_dim, d, t), out[d]);
            }
        }
    }
}

#define ATTENTION(name, type, score_fn, mix_fn)                                                    \
    static void score_##name(const float *q, size_t q_stride, size_t heads, const void *k,         \
                             size_t head_dim, float scale, float *score)                           \
    {                                                                                              \
        score_fn(type, q, q_stride, heads, k, head_dim, scale, score);                             \
    }                                                                                              \
    static void mix_##name(const float *p, size_t heads, const void *v, size_t head_dim,           \
                           size_t from, size_t to, float *out, size_t out_stride)                  \
    {                                                                                              \
        mix_fn(type, p, heads, v, head_dim, from, to, out, out_stride);                            \
    }

ATTENTION(f32, KV_F32, score_of, mix_of)
ATTENTION(f16, KV_F16, score_of, mix_of)
ATTENTION(bf16, KV_BF16, score_of, mix_of)
ATTENTION(q8_0, KV_Q8_0, score_quantized_of, mix_quantized_of)
ATTENTION(q4_0, KV_Q4_0, score_quantized_of, mix_quantized_of)

/* ---- conversions ---- */

static void f32_to_f16(const float *x, uint16_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = codec_f32_to_f16(x[i]);
    }
}

static void f32_to_bf16(const float *x, uint16_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = codec_f32_to_bf16(x[i]);
    }
}

static uint32_t peak_int8(size_t steps, double *ops)
{
    uint8_t w[64];
    int8_t x[64];
    int32_t sum = 0;

    memset(w, 3, sizeof w);
    memset(x, (int)(steps & 7), sizeof x);
    for (size_t i = 0; i < steps; i++) {
        for (int j = 0; j < 64; j++) {
            sum += w[j] * x[j];
        }
        x[i % 64] = (int8_t)(sum & 7);
    }
    *ops = 2.0 * 64 * (double)steps;
    return (uint32_t)sum;
}

static float peak_f32(size_t steps, double *ops)
{
    float acc[LANES] = {0}, w = (float)(steps & 1);

    for (size_t i = 0; i < steps; i++) {
        for (int j = 0; j < LANES; j++) {
            acc[j] = fmaf(w, 0.5f, acc[j]);
        }
    }
    *ops = 2.0 * LANES * (double)steps;
    return fold(acc);
}

void kernels_init_reference(struct kernels *k)
{
    k->quantize = quantize;
    k->rms_norm = rms_norm;
    k->add = add;
    k->silu_mul = silu_mul;
    k->rope_norm = rope_norm;
    k->rope_neox = rope_neox;
    k->attn_score[KV_F32] = score_f32;
    k->attn_score[KV_F16] = score_f16;
    k->attn_score[KV_BF16] = score_bf16;
    k->attn_score[KV_Q8_0] = score_q8_0;
    k->attn_score[KV_Q4_0] = score_q4_0;
    k->attn_mix[KV_F32] = mix_f32;
    k->attn_mix[KV_F16] = mix_f16;
    k->attn_mix[KV_BF16] = mix_bf16;
    k->attn_mix[KV_Q8_0] = mix_q8_0;
    k->attn_mix[KV_Q4_0] = mix_q4_0;
    k->exp_sum = exp_sum;
    k->f32_to_f16 = f32_to_f16;
    k->f32_to_bf16 = f32_to_bf16;
    k->peak_int8 = peak_int8;
    k->peak_f32 = peak_f32;
    kernels_init_reference_panels(k);
}
