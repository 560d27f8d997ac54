/* Random numbers of a sequence: a pure function of its seed, the number of the draw and the purpose
 * of the draw. No state is shared or carried, so a sequence draws the same numbers whoever runs
 * beside it, however its prompt was cut, and after a restart.
 *
 * This is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014)
 * with a hashed seed as its start, read at any place: output n is mix(start + n * golden). */
#ifndef ENGINE_RANDOM_H
#define ENGINE_RANDOM_H

#include <stdint.h>

/* Purposes, so that switching one sampler on does not move the draws of another. */
enum engine_draw { ENGINE_DRAW_TOKEN, ENGINE_DRAW_XTC, ENGINE_DRAW_KINDS };

static inline uint64_t engine_random_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Uniform in [0, 1), 53 bits. */
static inline double engine_random(uint64_t seed, uint64_t draw, enum engine_draw purpose)
{
    const uint64_t golden = 0x9e3779b97f4a7c15u;
    uint64_t start = engine_random_mix(seed + golden);
    uint64_t place = draw * ENGINE_DRAW_KINDS + (uint64_t)purpose + 1;
    return (double)(engine_random_mix(start + place * golden) >> 11) * 0x1p-53;
}

#endif
