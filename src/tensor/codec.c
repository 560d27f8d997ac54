#include "tensor/codec.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "tensor/block_open.h"
#include "tensor/encode.h"

/* ---- 16-bit floats ---- */

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float codec_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t exponent = bits >> 10 & 31, fraction = bits & 0x3ff;

    if (exponent == 31) { /* a NaN becomes quiet, as the conversion instructions make it */
        uint32_t quiet = fraction != 0 ? 0x400000 : 0;
        return float_of_bits(sign | 0x7f800000 | quiet | fraction << 13);
    }
    if (exponent == 0) {
        float tiny = (float)fraction * 0x1p-24f;
        return float_of_bits(sign | bits_of_float(tiny));
    }
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t codec_f32_to_f16(float value)
{
    uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;

    if (size > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x3ff));
    }
    if (size >= 0x477ff000) { /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    }
    if (size < 0x38800000) { /* below 2^-14: adding 0.5 lets the adder round at 2^-24 */
        uint32_t fraction = bits_of_float(float_of_bits(size) + 0.5f) - 0x3f000000;
        return (uint16_t)(sign | fraction);
    }
    uint32_t odd = size >> 13 & 1;
    return (uint16_t)(sign | (size - 0x38000000 + 0xfff + odd) >> 13);
}

float codec_bf16_to_f32(uint16_t bits)
{
    return float_of_bits((uint32_t)bits << 16);
}

uint16_t codec_f32_to_bf16(float value)
{
    uint32_t bits = bits_of_float(value);

    if ((bits & 0x7fffffff) > 0x7f800000) {
        return (uint16_t)(bits >> 16 | 0x40);
    }
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* ---- decoding ---- */

static float load_f32(const uint8_t *p)
{
    float value;
    memcpy(&value, p, sizeof value);
    return value;
}

/* The weights of a block without their zero point. */
static void signed_weights(struct panel_format f, const struct block *b, size_t len, int *q)
{
    const uint8_t *values = panel_values(f.values);

    for (size_t j = 0; j < len; j++) {
        q[j] = (values != NULL ? values[b->q[j]] : b->q[j]) - panel_zero(f);
    }
}

/* Scales without a minimum. */
static void decode_signed(struct panel_format f, const struct block *b, size_t len, float *out)
{
    int q[256];

    signed_weights(f, b, len, q);
    for (size_t j = 0; j < len; j++) {
        float scale;
        if (f.scale == SCALE_HALF) {
            scale = b->wide * (int8_t)b->scale[j / 16];
        } else if (f.scale == SCALE_BF16) {
            scale = codec_bf16_to_f32(b->d[j / 32]);
        } else {
            scale = codec_f16_to_f32(b->d[f.scale == SCALE_PAIR ? j / 16 : j / 32]);
        }
        out[j] = (float)q[j] * scale;
    }
}

/* The products are rounded in the order of ggml's dequantize functions: (d * scale) * q - dmin *
 * min. */
static void decode_block(enum dtype type, const uint8_t *bytes, float *out)
{
    struct panel_format f = panel_format(type);
    size_t len = block_len(type);
    struct block b = {0};

    block_open(type, bytes, &b);
    float d = codec_f16_to_f32(b.d[0]), dmin = codec_f16_to_f32(b.dmin);
    if (f.scale == SCALE_BLOCK_MIN) {
        for (size_t j = 0; j < len; j++) {
            out[j] = (float)b.q[j] * d - dmin;
        }
    } else if (f.scale == SCALE_MIN || f.scale == SCALE_HALF_MIN) {
        size_t width = f.scale == SCALE_MIN ? 32 : 16;
        for (size_t j = 0; j < len; j++) {
            float scale = d * b.scale[j / width], min = dmin * b.min[j / width];
            out[j] = scale * b.q[j] - min;
        }
    } else {
        decode_signed(f, &b, len, out);
    }
}

bool codec_can_decode(enum dtype type)
{
    return panel_format(type).bits != 0;
}

void codec_decode_row(enum dtype type, const void *bytes, float *out, size_t n)
{
    const struct dtype_info *info = dtype_info(type);
    const uint8_t *p = bytes;

    assert(codec_can_decode(type));
    assert(n % info->block_len == 0);
    for (size_t i = 0; i < n; i += info->block_len, p += info->block_bytes) {
        if (type == DTYPE_F32) {
            out[i] = load_f32(p);
        } else if (type == DTYPE_F16) {
            out[i] = codec_f16_to_f32(block_load_u16(p));
        } else if (type == DTYPE_BF16) {
            out[i] = codec_bf16_to_f32(block_load_u16(p));
        } else {
            decode_block(type, p, out + i);
        }
    }
}

/* ---- encoding ---- */

static codec_encode_fn *encoder_of(enum dtype type)
{
    switch (type) {
#define ENCODE_CASE(NAME, name)                                                                    \
    case DTYPE_##NAME:                                                                             \
        return codec_encode_##name;
        CODEC_ENCODED(ENCODE_CASE)
#undef ENCODE_CASE
    default:
        return NULL;
    }
}

bool codec_can_encode(enum dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16 || encoder_of(type) != NULL;
}

static void encode_floats(enum dtype type, const float *in, uint8_t *p, size_t n)
{
    if (type == DTYPE_F32) {
        memcpy(p, in, n * sizeof *in);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        encode_store_u16(p + 2 * i,
                         type == DTYPE_F16 ? codec_f32_to_f16(in[i]) : codec_f32_to_bf16(in[i]));
    }
}

static float mean_square(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * x[i];
    }
    return n == 0 ? 0 : (float)(sum / (double)n);
}

void codec_encode_weighted(enum dtype type, const float *in, const float *weights, void *bytes,
                           size_t n)
{
    const struct dtype_info *info = dtype_info(type);
    codec_encode_fn *encode = encoder_of(type);
    uint8_t *p = bytes;

    assert(codec_can_encode(type));
    assert(n % info->block_len == 0);
    if (encode == NULL) {
        encode_floats(type, in, p, n);
        return;
    }
    float sigma2 = weights != NULL ? mean_square(in, n) : 0;
    for (size_t i = 0; i < n; i += info->block_len, p += info->block_bytes) {
        encode(in + i, weights != NULL ? weights + i : NULL, sigma2, p);
    }
}

void codec_encode_row(enum dtype type, const float *in, void *bytes, size_t n)
{
    codec_encode_weighted(type, in, NULL, bytes, n);
}
