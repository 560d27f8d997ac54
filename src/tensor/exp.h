/* The constants of the exponential that all levels compute with the same operations:
 *
 *     n = round(x / ln 2), r = x - n ln 2 (two steps), e^r = 1 + (r + r^2 P(r)), e^x = e^r 2^n
 *
 * P is the polynomial of Cephes' expf (S. Moshier); with fused multiply-add the relative error is
 * below 2e-7 on [-87.3, 88], measured over all floats there. Below EXP_MIN the result is 0 (it
 * would leave the normal range), above EXP_MAX infinity. */
#ifndef TENSOR_EXP_H
#define TENSOR_EXP_H

#define EXP_MIN    (-87.33654f)
#define EXP_MAX    88.0f
#define EXP_LOG2E  1.44269504088896341f
#define EXP_LN2_HI 0.693359375f
#define EXP_LN2_LO (-2.12194440e-4f)
#define EXP_P0     1.9875691500e-4f
#define EXP_P1     1.3981999507e-3f
#define EXP_P2     8.3334519073e-3f
#define EXP_P3     4.1665795894e-2f
#define EXP_P4     1.6666665459e-1f
#define EXP_P5     5.0000001201e-1f

/* Blocks of activations whose largest magnitude is below this count as zero: 127 / max stays finite
 * and the scale a normal number. */
#define ACT_TINY 0x1p-110f

#endif
