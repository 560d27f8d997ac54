/* The codebooks of the IQ types (ggml-common.h of llama.cpp, 96dd1a8): points of a lattice, eight
 * or four magnitudes each. A point is one number with the rank of each magnitude, the first lowest:
 *
 *     IQ2   8 x 2 bits   0 1 2 are 8 25 43
 *     IQ3   4 x 3 bits   XXS: 4 12 20 28 36 44 52 62; S: 1 3 5 7 9 11 13 15
 *     IQ1   8 x 2 bits   0 1 2 are -1 0 1
 *
 * Signs of IQ2_XXS, IQ2_XS and IQ3_XXS are 7 bits for 8 values; the last makes their number even.
 */
#ifndef TENSOR_GRID_H
#define TENSOR_GRID_H

#include <stdint.h>

extern const uint16_t codec_grid_iq2_xxs[256];
extern const uint16_t codec_grid_iq2_xs[512];
extern const uint16_t codec_grid_iq2_s[1024];
extern const uint16_t codec_grid_iq3_xxs[256];
extern const uint16_t codec_grid_iq3_s[512];
extern const uint16_t codec_grid_iq1[2048];

/* The eight signs of seven bits. */
static inline uint32_t grid_signs(uint32_t seven)
{
    seven &= 127;
    uint32_t odd = seven ^ seven >> 4;
    return seven | (0x6996u >> (odd & 15) & 1) << 7;
}

#endif
