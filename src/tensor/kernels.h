/* The kernel table: pointers to the functions that do the arithmetic, filled once per CPU level by
 * an early-return ladder over the instruction-set files. Files of an instruction set include only
 * this header and panel.h. Each pointer states its exactness class:
 *
 *     EXACT   same bits as the reference at every level
 *     LEVEL   same bits for the same level whatever the batch, chunk, or thread; across levels only
 *             within the stated error
 *
 * (Which NaN a NaN is, is never promised.) Sizes of 0 are allowed everywhere. Pointers need only
 * the natural alignment of their element unless stated. `out` may be the same as an input where
 * that is said. */
#ifndef TENSOR_KERNELS_H
#define TENSOR_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "gguf/dtype.h"
#include "tensor/cpu.h"

/* 32 activations of one token. The sums are stored negated because that is how they are used: the
 * integer accumulators start at zero_point * neg_sum. */
struct act_block {
    int8_t q[32];        /* -127..127 */
    float scale;         /* value = q * scale */
    int32_t neg_sum;     /* -(q[0] + ... + q[31]) */
    int32_t neg_half[2]; /* the same for q[0..15] and q[16..31], for types with 16-wide scales */
};

_Static_assert(sizeof(struct act_block) == 48, "16-byte aligned records");

/* Tokens are worked on in tiles of at most 6, panels of weights in groups of at most 8: 2 panels x
 * 6 tokens fill the 32 registers of AVX-512 and NEON with 12 integer and 12 float accumulators. */
enum { TILE_TOKENS_MAX = 6, TILE_PANELS_MAX = 8, TILE_ROWS = 16 };

/* One tile: `panels` x `tokens` accumulators over a run of columns. The layout is in panel.h. */
struct panel_tile {
    const uint8_t *panel[TILE_PANELS_MAX]; /* aligned to 64; at the first column of the run */
    size_t panels, tokens;
    const struct act_block *act; /* quantised types: [blocks][tokens] */
    const float *x;              /* float types: [tokens] rows, x_stride floats apart */
    size_t x_stride;
    size_t count; /* quantised types: blocks of 32 columns; float types: columns */
    float *acc;   /* [panels][tokens][16], aligned to 64, added to */
    /* What to prefetch meanwhile: ahead_bytes (a multiple of 64, or 0) per block or 16 columns, of
     * each panel; ahead_stride bytes from panel to panel. */
    const uint8_t *ahead;
    size_t ahead_bytes, ahead_stride;
    /* Tiles of many panels prefetch their own streams: own_bytes are left of each, from panel[p]
     * on, and next[p] is where it goes on; NULL: nowhere. */
    size_t own_bytes;
    const uint8_t *next[TILE_PANELS_MAX];
};

typedef void panel_tile_fn(const struct panel_tile *tile);

/* The tile functions of one weight type, by the number of tokens in the tile. All give the same
 * bits. `few` serve a batch that is one tile: fewer tokens, more panels (more streams from memory);
 * `many` serve longer batches, always many_panels at once. */
struct panel_kernel {
    panel_tile_fn *few[TILE_TOKENS_MAX + 1];
    size_t few_panels[TILE_TOKENS_MAX + 1];
    panel_tile_fn *many[TILE_TOKENS_MAX + 1];
    size_t many_panels;
};

/* Types of keys and values in the cache. A page holds KV_PAGE_TOKENS positions; one head's part of
 * it:
 *
 *     float types   K [head_dim][64], so that the lanes of a vector are positions; V [64][head_dim]
 *     KV_Q8_0       K i8 [padded][64], V i8 [64][padded], then f16 scale[padded / 32][64]: one for
 * 32 dimensions of a position. padded: head_dim up to a multiple of 32 KV_Q4_0       K: byte [d /
 * 2][64] has dimension d (even) low, d + 1 high; V: byte [64][padded / 2] has in each 16 bytes
 * dimensions 0-15 of 32 low, 16-31 high; value = (q - 8) scale; scales as above */
enum kv_type { KV_F32, KV_F16, KV_BF16, KV_Q8_0, KV_Q4_0, KV_TYPE_COUNT };

enum { KV_PAGE_TOKENS = 64, KV_BLOCK_DIMS = 32 };

static inline size_t kv_padded(size_t head_dim)
{
    return (head_dim + KV_BLOCK_DIMS - 1) / KV_BLOCK_DIMS * KV_BLOCK_DIMS;
}

/* Bytes of one head's keys (or values) in a page, without scales; where the scales start. */
static inline size_t kv_data_bytes(enum kv_type type, size_t head_dim)
{
    switch (type) {
    case KV_F32:
        return head_dim * KV_PAGE_TOKENS * 4;
    case KV_Q8_0:
        return kv_padded(head_dim) * KV_PAGE_TOKENS;
    case KV_Q4_0:
        return kv_padded(head_dim) * KV_PAGE_TOKENS / 2;
    default:
        return head_dim * KV_PAGE_TOKENS * 2;
    }
}

/* Bytes of one head's keys (or values) in a page; a multiple of 64 for quantised types. */
static inline size_t kv_head_bytes(enum kv_type type, size_t head_dim)
{
    size_t scales = type == KV_Q8_0 || type == KV_Q4_0
                        ? kv_padded(head_dim) / KV_BLOCK_DIMS * KV_PAGE_TOKENS * 2
                        : 0;
    return kv_data_bytes(type, head_dim) + scales;
}

enum { KERNELS_TYPE_COUNT = 64 }; /* dtype ids are below */

struct kernels {
    enum cpu_level level;

    /* EXACT. Quantises cols floats to blocks of 32 (the tail of the last one is zero), block b to
     * out[b * stride]: scale = max|x| / 127, q = x * (127 / max|x|) rounded half to even. A block
     * with max|x| < 2^-110 has scale 0 and q 0; one with a NaN or infinity scale NaN and q 0. */
    void (*quantize)(const float *x, size_t cols, struct act_block *out, size_t stride);

    /* EXACT. Indexed by dtype id; few[1] is NULL for a type that is not supported. */
    struct panel_kernel panel[KERNELS_TYPE_COUNT];

    /* LEVEL, relative error <= 4e-7 * sqrt(n). y = x / sqrt(mean(x^2) + eps) * w; w NULL: ones.
     * y may be x. n >= 0. */
    void (*rms_norm)(const float *x, const float *w, float eps, float *y, size_t n);

    /* EXACT (plain float operations). y may be x or z. */
    void (*add)(const float *x, const float *z, float *y, size_t n); /* y = x + z */

    /* LEVEL, relative error <= 2e-6. y = silu(gate) * up. y may be gate or up. */
    void (*silu_mul)(const float *gate, const float *up, float *y, size_t n);

    /* EXACT. Rotates n_head heads of head_dim floats in place by angles given as cos/sin tables
     * [rope_dim / 2]. NORM rotates pairs (2i, 2i+1), NEOX pairs (i, i + rope_dim/2); dimensions
     * from rope_dim on stay. Each result is two products and one sum, rounded separately. */
    void (*rope_norm)(float *x, const float *cos, const float *sin, size_t n_head, size_t head_dim,
                      size_t rope_dim);
    void (*rope_neox)(float *x, const float *cos, const float *sin, size_t n_head, size_t head_dim,
                      size_t rope_dim);

    /* EXACT. One page of 64 keys: score[h * 64 + t] = scale * sum_d q[h * q_stride + d] * K[d][t],
     * fused multiply-add, d ascending, for `heads` query heads that share the key head; of
     * quantised types 32 dimensions are summed so, and the sums by fused multiply-add with their
     * scales. All 64 scores are written. */
    void (*attn_score[KV_TYPE_COUNT])(const float *q, size_t q_stride, size_t heads, const void *k,
                                      size_t head_dim, float scale, float *score);

    /* EXACT. out[h * out_stride + d] += sum_t p[h * 64 + t] * V[t][d], fused multiply-add onto out,
     * t ascending from `from` to below `to`; of quantised types p times the scale is rounded first.
     * v: one head's part of a page. */
    void (*attn_mix[KV_TYPE_COUNT])(const float *p, size_t heads, const void *v, size_t head_dim,
                                    size_t from, size_t to, float *out, size_t out_stride);

    /* EXACT, relative error <= 2e-6. In place e[i] = exp(e[i] - max) for i < count; returns the
     * sum, added in 16 interleaved lanes that are then folded in halves. exp of -inf is 0, of NaN
     * NaN; results below 2^-126 are 0. */
    float (*exp_sum)(float *e, float max, size_t count);

    /* EXACT. Conversions for the cache. */
    void (*f32_to_f16)(const float *x, uint16_t *y, size_t n);
    void (*f32_to_bf16)(const float *x, uint16_t *y, size_t n);

    /* Runs `steps` rounds of 16 independent integer dot products of the widest kind of the level on
     * registers; *ops becomes the multiplications and additions done. For cpu_peak_int8. */
    uint32_t (*peak_int8)(size_t steps, double *ops);

    /* The same with independent fused multiply-adds of floats. For cpu_peak_f32. */
    float (*peak_f32)(size_t steps, double *ops);
};

/* The table of a level; levels this binary or machine lacks give the next lower one. Immutable. */
const struct kernels *kernels_get(enum cpu_level level);

/* Panels x tokens: y[t * y_stride + r] (+ bias[r]) for the panels of one matrix. */
struct panel_job {
    enum dtype type;
    const uint8_t *panels; /* aligned to 64 */
    size_t panel_bytes, panel_count;
    size_t cols;
    size_t row_count;            /* <= 16 * panel_count rows are stored */
    const struct act_block *act; /* quantised types: the tiles of the whole batch (panel.h) */
    const float *x;              /* float types: [token_count, x_stride] */
    size_t x_stride;
    size_t token_count;            /* of the whole batch */
    size_t tile_first, tile_count; /* the tiles of tokens to do */
    const float *bias;             /* [row_count] or NULL */
    float *y;
    size_t y_stride;
    /* Where the caller is likely to go on, to be prefetched at the end: panels of next_bytes each
     * with the same job size; NULL: not known. */
    const uint8_t *next;
    size_t next_count, next_bytes;
};

void kernels_run_panels(const struct kernels *k, const struct panel_job *job);

/* The rungs of the ladder: each overwrites the pointers it improves. */
void kernels_init_reference(struct kernels *k);
void kernels_init_reference_panels(struct kernels *k);
void kernels_init_avx2(struct kernels *k);
void kernels_init_avx512(struct kernels *k);
void kernels_init_neon(struct kernels *k);

#endif
