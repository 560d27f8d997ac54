/* Encoders: floats to blocks, one block at a time. Internal to the folder; codec.h is the door.
 *
 * What is minimised is sum w (x - x')^2. Where no importance is given, w is what ggml's reference
 * quantisers take (x^2, |x|, or |x| and the mean): large weights matter more than their share of a
 * plain mean square; with importance v it is v sqrt(sigma^2 + x^2). The searches are least squares
 * for a scale (and minimum) over candidate roundings; the integers are then found again for the
 * scale as it is stored.
 *
 * All arithmetic is plain C in one order, so that a file does not depend on the machine. Sums run
 * in 8 lanes, which compilers turn into vectors. */
#ifndef TENSOR_ENCODE_H
#define TENSOR_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf/dtype.h"

/* Below this a block counts as zero. */
#define ENCODE_TINY 1e-15f

/* What a fit over n values (a multiple of 8) works on. */
struct encode_view {
    const float *x, *w;
    size_t n;
};

/* Nearest integer, ties to even; |x| < 2^22. */
static inline float encode_round(float x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

static inline float encode_clamp(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

/* The integer of x for an inverse scale. */
static inline float encode_level(float x, float inverse, float low, float high)
{
    return encode_round(encode_clamp(x * inverse, low, high));
}

/* The value of largest magnitude, with its sign. */
float codec_extreme(const float *x, size_t n);

/* The scale s that makes sum w (x - s q)^2 smallest over candidate q in [-half, half - 1]; its sign
 * is such that the extreme becomes -half or so. 0 for a block of zeros. */
float codec_fit_signed(struct encode_view v, int half);

/* The same from one candidate only, improved until it stands still. */
float codec_fit_local(struct encode_view v, int half);

/* The same for q of a table of 16 ascending values, `tries` candidates to each side. */
float codec_fit_table(struct encode_view v, const int8_t table[16], int tries);

/* For x >= 0, q in [0, top]; used for scales. */
float codec_fit_positive(struct encode_view v, int top);

/* x ~ s q - m with s, m >= 0 and q in [0, top]. Candidate inverse scales are (top + first + step i)
 * / range, i <= count. is_absolute: |x - x'| is minimised instead of its square. */
struct encode_search {
    float first, step;
    int count;
    bool is_absolute;
};

struct encode_affine {
    float scale, min;
};

struct encode_affine codec_fit_affine(struct encode_view v, int top, struct encode_search search);

/* Place of the table's value nearest to x. */
unsigned codec_nearest(const int8_t table[16], float x);

/* One block each. w: importance of its elements, or NULL; sigma2: mean square of the row, which
 * only counts with importance. */
typedef void codec_encode_fn(const float *x, const float *w, float sigma2, uint8_t *out);

/* X(NAME, name) of the types with an encoder. */
#define CODEC_ENCODED(X)                                                                           \
    X(Q8_0, q8_0)                                                                                  \
    X(Q4_0, q4_0)                                                                                  \
    X(Q4_1, q4_1)                                                                                  \
    X(Q5_0, q5_0)                                                                                  \
    X(Q5_1, q5_1)                                                                                  \
    X(Q1_0, q1_0)                                                                                  \
    X(MXFP4, mxfp4)                                                                                \
    X(TQ1_0, tq1_0)                                                                                \
    X(TQ2_0, tq2_0)                                                                                \
    X(IQ4_NL, iq4_nl)                                                                              \
    X(IQ4_XS, iq4_xs)                                                                              \
    X(Q2_K, q2_k)                                                                                  \
    X(Q3_K, q3_k)                                                                                  \
    X(Q4_K, q4_k)                                                                                  \
    X(Q5_K, q5_k)                                                                                  \
    X(Q6_K, q6_k)                                                                                  \
    X(IQ3_XXS, iq3_xxs)                                                                            \
    X(IQ3_S, iq3_s)                                                                                \
    X(IQ2_XXS, iq2_xxs)                                                                            \
    X(IQ2_XS, iq2_xs)                                                                              \
    X(IQ2_S, iq2_s)                                                                                \
    X(IQ1_S, iq1_s)                                                                                \
    X(IQ1_M, iq1_m)

#define ENCODE_DECLARE(NAME, name) codec_encode_fn codec_encode_##name;
CODEC_ENCODED(ENCODE_DECLARE)
#undef ENCODE_DECLARE

static inline void encode_store_u16(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

#endif
