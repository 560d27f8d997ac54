#include "model/kv.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "model/hparams.h"

/* ---- float types ---- */

static void store_f32(const struct kv_page *p, const float *k, size_t key_dim, const float *v,
                      size_t value_dim, float *keys, float *values)
{
    for (size_t i = 0; i < key_dim; i++) {
        keys[i * KV_PAGE_TOKENS + p->slot] = k[i];
    }
    memcpy(values + p->slot * value_dim, v, value_dim * sizeof *v);
}

static void convert(const struct kv_page *p, const float *x, uint16_t *y, size_t n)
{
    if (p->type == KV_F16) {
        p->kernels->f32_to_f16(x, y, n);
    } else {
        p->kernels->f32_to_bf16(x, y, n);
    }
}

static void store_16(const struct kv_page *p, const float *k, size_t key_dim, const float *v,
                     size_t value_dim, uint16_t *keys, uint16_t *values)
{
    enum { STEP = 256 };
    uint16_t narrow[STEP];

    for (size_t i = 0; i < key_dim; i += STEP) {
        size_t n = size_min(STEP, key_dim - i);
        convert(p, k + i, narrow, n);
        for (size_t j = 0; j < n; j++) {
            keys[(i + j) * KV_PAGE_TOKENS + p->slot] = narrow[j];
        }
    }
    convert(p, v, values + p->slot * value_dim, value_dim);
}

/* ---- quantised types ---- */

static float level_of(float x, float inverse)
{
    float level = x * inverse;
    level = level < -8 ? -8 : level > 7 ? 7 : level;
    return rintf(level);
}

/* The scale of 4 bits that leaves the least square error, of a few that bring the value of largest
 * magnitude to -8, or clip it a little. */
static float best_scale(const float *x, size_t n, float extreme)
{
    static const float ends[] = {-8, -8.5f, -9, -9.5f, -7.5f, -7, 7};
    float best = extreme / -8, least = INFINITY;

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        float inverse = ends[i] / extreme, xq = 0, qq = 0;
        for (size_t j = 0; j < n; j++) {
            float q = level_of(x[j], inverse);
            xq += x[j] * q;
            qq += q * q;
        }
        if (qq > 0 && -xq * xq / qq < least) {
            least = -xq * xq / qq;
            best = xq / qq;
        }
    }
    return best;
}

/* 32 values as integers of [-127, 127] or [-8, 7] and their scale, which is returned as f16. What
 * is no number makes the scale one that is none. */
static uint16_t quantize(const struct kv_page *p, const float *x, size_t n, int8_t q[KV_BLOCK_DIMS])
{
    float extreme = 0, sum = 0, scale;
    uint16_t half;

    for (size_t i = 0; i < n; i++) {
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
        sum += x[i] * 0; /* 0 for numbers */
    }
    memset(q, 0, KV_BLOCK_DIMS);
    if (extreme == 0 || sum != 0) {
        scale = sum;
    } else if (p->type == KV_Q8_0) {
        scale = fabsf(extreme) / 127;
        for (size_t i = 0; i < n; i++) {
            q[i] = (int8_t)rintf(x[i] / scale);
        }
    } else {
        scale = best_scale(x, n, extreme);
        for (size_t i = 0; i < n; i++) {
            q[i] = (int8_t)level_of(x[i], 1 / scale);
        }
    }
    p->kernels->f32_to_f16(&scale, &half, 1);
    return half;
}

static void put_scale(const struct kv_page *p, uint8_t *head, size_t dim, size_t block,
                      uint16_t scale)
{
    uint16_t *scales = (uint16_t *)(void *)(head + kv_data_bytes(p->type, dim));
    scales[block * KV_PAGE_TOKENS + p->slot] = scale;
}

static void store_keys(const struct kv_page *p, const float *k, size_t dim, uint8_t *head)
{
    for (size_t d = 0; d < dim; d += KV_BLOCK_DIMS) {
        int8_t q[KV_BLOCK_DIMS];
        put_scale(p, head, dim, d / KV_BLOCK_DIMS,
                  quantize(p, k + d, size_min(dim - d, KV_BLOCK_DIMS), q));
        for (size_t i = 0; i < KV_BLOCK_DIMS; i++) {
            if (p->type == KV_Q8_0) {
                head[(d + i) * KV_PAGE_TOKENS + p->slot] = (uint8_t)q[i];
            } else if (i % 2 == 0) {
                head[(d + i) / 2 * KV_PAGE_TOKENS + p->slot] =
                    (uint8_t)((q[i] + 8) | (q[i + 1] + 8) << 4);
            }
        }
    }
}

static void store_values(const struct kv_page *p, const float *v, size_t dim, uint8_t *head)
{
    for (size_t d = 0; d < dim; d += KV_BLOCK_DIMS) {
        int8_t q[KV_BLOCK_DIMS];
        put_scale(p, head, dim, d / KV_BLOCK_DIMS,
                  quantize(p, v + d, size_min(dim - d, KV_BLOCK_DIMS), q));
        if (p->type == KV_Q8_0) {
            memcpy(head + p->slot * kv_padded(dim) + d, q, KV_BLOCK_DIMS);
            continue;
        }
        uint8_t *to = head + (p->slot * kv_padded(dim) + d) / 2;
        for (size_t i = 0; i < 16; i++) {
            to[i] = (uint8_t)((q[i] + 8) | (q[i + 16] + 8) << 4);
        }
    }
}

void model_kv_store(const struct kv_page *p, size_t heads, const float *k, size_t key_dim,
                    const float *v, size_t value_dim)
{
    size_t key_bytes = kv_head_bytes(p->type, key_dim);
    size_t value_bytes = kv_head_bytes(p->type, value_dim);

    for (size_t h = 0; h < heads; h++, k += key_dim, v += value_dim) {
        uint8_t *keys = p->bytes + h * key_bytes;
        uint8_t *values = p->bytes + heads * key_bytes + h * value_bytes;
        if (p->type == KV_F32) {
            store_f32(p, k, key_dim, v, value_dim, (float *)(void *)keys, (float *)(void *)values);
        } else if (p->type == KV_F16 || p->type == KV_BF16) {
            store_16(p, k, key_dim, v, value_dim, (uint16_t *)(void *)keys,
                     (uint16_t *)(void *)values);
        } else {
            float turned[MODEL_HEAD_DIM_MAX];
            memcpy(turned, k, key_dim * sizeof *k);
            model_kv_turn(turned, 1, key_dim);
            store_keys(p, turned, key_dim, keys);
            memcpy(turned, v, value_dim * sizeof *v);
            model_kv_turn(turned, 1, value_dim);
            store_values(p, turned, value_dim, values);
        }
    }
}

/* ---- rotation ---- */

/* The fast Walsh-Hadamard transform of n = 2^i values, divided by the root of n. */
static void turn(float *x, size_t n)
{
    float factor = 1 / sqrtf((float)n);

    for (size_t step = 1; step < n; step *= 2) {
        for (size_t i = 0; i < n; i += 2 * step) {
            for (size_t j = i; j < i + step; j++) {
                float a = x[j], b = x[j + step];
                x[j] = a + b;
                x[j + step] = a - b;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

void model_kv_turn(float *x, size_t heads, size_t dim)
{
    for (size_t h = 0; h < heads; h++) {
        for (size_t left = dim; left > 0;) {
            size_t n = 1;
            while (2 * n <= left) {
                n *= 2;
            }
            turn(x, n);
            x += n;
            left -= n;
        }
    }
}
