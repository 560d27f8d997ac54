/* The kernel table: pointers to the functions that do the arithmetic, filled once per CPU level by
 * an early-return ladder over the instruction-set files. Files of an instruction set include only
 * this header. Each pointer states its exactness class:
 *
 *     EXACT   same bits as the reference at every level
 *     LEVEL   same bits for the same level whatever the batch, chunk, or thread; across levels only
 *             within the stated error
 *
 * Sizes of 0 are allowed everywhere. Pointers need only the natural alignment of their element
 * unless stated. `out` may be the same as an input where that is said. */
#ifndef TENSOR_KERNELS_H
#define TENSOR_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "gguf/dtype.h"
#include "tensor/cpu.h"

/* Quantised activations of one token: cols/32 blocks (rounded up; the tail is zero). */
struct act_block_view {
    const int8_t *q;     /* [blocks * 32] */
    const float *scale;  /* [blocks] */
    const int32_t *sum;  /* [blocks], sum of the 32 q; and of each half for 16-wide scales: */
    const int32_t *half; /* [blocks * 2] */
};

/* Panels x tokens: y[t * y_stride + r] for 16 * panel_count rows from `panels` and token_count
 * tokens. `row_count` <= 16 * panel_count rows are stored. */
struct panel_job {
    const uint8_t *panels;
    size_t panel_bytes, panel_count;
    size_t cols;
    size_t row_count;
    const struct act_block_view *tokens; /* quantised types: [token_count] */
    const float *x;                      /* float types: [token_count, x_stride] */
    size_t x_stride;
    size_t token_count;
    float *y;
    size_t y_stride;
};

/* Attention of one query head group over one piece of keys; see attention.h. */
enum kv_type { KV_F32, KV_F16, KV_BF16, KV_TYPE_COUNT };

struct kernels {
    enum cpu_level level;

    /* EXACT. Quantises cols floats to int8 blocks of 32: scale = max|x| / 127, q = round half to
     * even of x / scale; a block of zeros has scale 0. Non-finite input gives scale NaN, q 0. */
    void (*quantize)(const float *x, size_t cols, int8_t *q, float *scale, int32_t *sum,
                     int32_t *half);

    /* Quantised types EXACT, float types LEVEL. Indexed by dtype id; NULL: not supported. */
    void (*panel[64])(const struct panel_job *job);

    /* LEVEL, relative error <= 4e-7 * sqrt(n). y = x / sqrt(mean(x^2) + eps) * w; w NULL: ones.
     * y may be x. n >= 0. */
    void (*rms_norm)(const float *x, const float *w, float eps, float *y, size_t n);

    /* EXACT (plain float operations). y may be x. */
    void (*add)(const float *x, const float *z, float *y, size_t n); /* y = x + z */

    /* LEVEL, relative error <= 2e-6. y = silu(gate) * up. y may be gate or up. */
    void (*silu_mul)(const float *gate, const float *up, float *y, size_t n);

    /* LEVEL. Rotates n_head heads of head_dim floats in place by angles given as cos/sin tables
     * [rope_dim / 2]. NORM rotates pairs (2i, 2i+1), NEOX pairs (i, i + rope_dim/2); dimensions
     * from rope_dim on stay. */
    void (*rope_norm)(float *x, const float *cos, const float *sin, size_t n_head, size_t head_dim,
                      size_t rope_dim);
    void (*rope_neox)(float *x, const float *cos, const float *sin, size_t n_head, size_t head_dim,
                      size_t rope_dim);

    /* LEVEL. One page of KV_PAGE_TOKENS = 64 keys: score[h * 64 + t] = scale * sum_d q[h * q_stride
     * + d] * K[d * 64 + t], d ascending, for `heads` query heads that share the key head.
     * k: [head_dim, 64] of the cache type. All 64 scores are written. */
    void (*attn_score[KV_TYPE_COUNT])(const float *q, size_t q_stride, size_t heads, const void *k,
                                      size_t head_dim, float scale, float *score);

    /* LEVEL. out[h * out_stride + d] += sum_t p[h * 64 + t] * V[t * head_dim + d], t ascending over
     * t < count. v: [64, head_dim]. */
    void (*attn_mix[KV_TYPE_COUNT])(const float *p, size_t heads, const void *v, size_t head_dim,
                                    size_t count, float *out, size_t out_stride);

    /* LEVEL, relative error <= 2e-6. In place e[i] = exp(e[i] - max) for i < count; returns the sum
     * in a fixed order. exp of -inf is 0. */
    float (*exp_sum)(float *e, float max, size_t count);

    /* EXACT. Conversions for the cache. */
    void (*f32_to_f16)(const float *x, uint16_t *y, size_t n);
    void (*f32_to_bf16)(const float *x, uint16_t *y, size_t n);
};

enum { KV_PAGE_TOKENS = 64 };

/* The table of a level; levels this binary or machine lacks give the next lower one. Immutable. */
const struct kernels *kernels_get(enum cpu_level level);

#endif
