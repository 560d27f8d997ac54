/* AVX2 with FMA and F16C: two registers are a vector of 16.
 *
 * There is no dot product of bytes in int32; vpmaddubsw adds pairs in int16 with saturation, which
 * must not happen: an unsigned weight of 6 bits gives at most 2 * 63 * 127 = 16002 and one of 7
 * bits 2 * 127 * 127 = 32258, but one of 8 bits 2 * 255 * 127 = 64770. Weights of 8 bits therefore
 * go in as magnitude and sign (the sign moved to the activation): at most 2 * 128 * 127 = 32512. */
#include <immintrin.h>
#include <string.h>

#include "tensor/exp.h"
#include "tensor/panel.h"

struct vec {
    __m256 a, b;
};
struct ivec {
    __m256i a, b;
};
struct wvec {
    __m256i a, b;
};

#define OP static ATTR_ALWAYS_INLINE

OP __m256i load256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
OP __m128i load128(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

OP struct vec vec_set1(float x)
{
    return (struct vec){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
OP struct vec vec_load(const float *p)
{
    return (struct vec){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
OP void vec_store(float *p, struct vec x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
OP struct vec vec_load_f16(const uint16_t *p)
{
    return (struct vec){_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128(p + 8))};
}
OP __m256 widen_bf16(__m128i half)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
OP struct vec vec_load_bf16(const uint16_t *p)
{
    return (struct vec){widen_bf16(load128(p)), widen_bf16(load128(p + 8))};
}
OP struct vec vec_load_i8(const int8_t *p)
{
    __m128i bytes = load128(p);
    return (struct vec){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
OP struct vec widen_u8(__m128i bytes)
{
    return (struct vec){_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)))};
}
OP struct vec vec_load_u8(const uint8_t *p)
{
    return widen_u8(load128(p));
}
OP struct vec vec_load_low4(const uint8_t *p)
{
    return widen_u8(_mm_and_si128(load128(p), _mm_set1_epi8(15)));
}
OP struct vec vec_load_high4(const uint8_t *p)
{
    return widen_u8(_mm_and_si128(_mm_srli_epi16(load128(p), 4), _mm_set1_epi8(15)));
}
OP void vec_store_f16(uint16_t *p, struct vec x)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT };
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x.a, NEAREST));
    _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(x.b, NEAREST));
}
OP __m256i round_bf16(__m256 x)
{
    __m256i bits = _mm256_castps_si256(x), one = _mm256_set1_epi32(1);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
}
OP void vec_store_bf16(uint16_t *p, struct vec x)
{
    __m256i both = _mm256_packus_epi32(round_bf16(x.a), round_bf16(x.b));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(both, 0xd8));
}
OP struct vec vec_fma(struct vec x, struct vec y, struct vec z)
{
    return (struct vec){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
OP struct vec vec_add(struct vec x, struct vec y)
{
    return (struct vec){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
OP struct vec vec_sub(struct vec x, struct vec y)
{
    return (struct vec){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
OP struct vec vec_mul(struct vec x, struct vec y)
{
    return (struct vec){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
OP struct vec vec_div(struct vec x, struct vec y)
{
    return (struct vec){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
OP struct vec vec_rint(struct vec x)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return (struct vec){_mm256_round_ps(x.a, NEAREST), _mm256_round_ps(x.b, NEAREST)};
}
OP __m256 power2(__m256 x)
{
    __m256i n = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(n, 23));
}
/* x * 2^n for whole n in [-126, 127], a normal result */
OP struct vec vec_scale2(struct vec x, struct vec n)
{
    return (struct vec){_mm256_mul_ps(x.a, power2(n.a)), _mm256_mul_ps(x.b, power2(n.b))};
}
/* the nearest of [low, high]; a NaN stays */
OP struct vec vec_clamp(struct vec x, struct vec low, struct vec high)
{
    return (struct vec){_mm256_min_ps(high.a, _mm256_max_ps(low.a, x.a)),
                        _mm256_min_ps(high.b, _mm256_max_ps(low.b, x.b))};
}
/* x < y ? yes : no; a NaN gives no */
OP struct vec vec_select_less(struct vec x, struct vec y, struct vec yes, struct vec no)
{
    return (struct vec){_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                        _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
OP float vec_fold(struct vec x)
{
    __m256 b = _mm256_add_ps(x.a, x.b);
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
OP void load_pairs(const float *p, __m256 *even, __m256 *odd)
{
    __m256 x = _mm256_loadu_ps(p), y = _mm256_loadu_ps(p + 8);
    __m256i e = _mm256_castps_si256(_mm256_shuffle_ps(x, y, 0x88));
    __m256i o = _mm256_castps_si256(_mm256_shuffle_ps(x, y, 0xdd));
    *even = _mm256_castsi256_ps(_mm256_permute4x64_epi64(e, 0xd8));
    *odd = _mm256_castsi256_ps(_mm256_permute4x64_epi64(o, 0xd8));
}
/* 32 floats x0 y0 x1 y1 ... */
OP void vec_load_pairs(const float *p, struct vec *x, struct vec *y)
{
    load_pairs(p, &x->a, &y->a);
    load_pairs(p + 16, &x->b, &y->b);
}
OP void store_pairs(float *p, __m256 x, __m256 y)
{
    __m256 low = _mm256_unpacklo_ps(x, y), high = _mm256_unpackhi_ps(x, y);
    _mm256_storeu_ps(p, _mm256_permute2f128_ps(low, high, 0x20));
    _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
}
OP void vec_store_pairs(float *p, struct vec x, struct vec y)
{
    store_pairs(p, x.a, y.a);
    store_pairs(p + 16, x.b, y.b);
}

OP struct ivec vec_magnitude(struct vec x)
{
    __m256i mask = _mm256_set1_epi32(0x7fffffff);
    return (struct ivec){_mm256_and_si256(_mm256_castps_si256(x.a), mask),
                         _mm256_and_si256(_mm256_castps_si256(x.b), mask)};
}
OP struct ivec vec_round(struct vec x)
{
    return (struct ivec){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
OP struct vec vec_of_int(struct ivec x)
{
    return (struct vec){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
OP struct ivec ivec_set1(int32_t x)
{
    return (struct ivec){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
OP struct ivec ivec_shl(struct ivec x, unsigned bits)
{
    return (struct ivec){_mm256_slli_epi32(x.a, (int)bits), _mm256_slli_epi32(x.b, (int)bits)};
}
OP struct ivec ivec_max(struct ivec x, struct ivec y)
{
    return (struct ivec){_mm256_max_epu32(x.a, y.a), _mm256_max_epu32(x.b, y.b)};
}
OP uint32_t ivec_fold_max(struct ivec x)
{
    __m256i b = _mm256_max_epu32(x.a, x.b);
    __m128i c = _mm_max_epu32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
    c = _mm_max_epu32(c, _mm_shuffle_epi32(c, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(c, _mm_shuffle_epi32(c, 0xb1)));
}
OP int32_t ivec_fold_add(struct ivec x)
{
    __m256i b = _mm256_add_epi32(x.a, x.b);
    __m128i c = _mm_add_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
    c = _mm_add_epi32(c, _mm_shuffle_epi32(c, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(c, _mm_shuffle_epi32(c, 0xb1)));
}
OP void ivec_store_i8(int8_t *p, struct ivec x)
{
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
    __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)(void *)p, bytes);
}

OP struct wvec wvec_load(const uint8_t *p)
{
    return (struct wvec){load256(p), load256(p + 32)};
}
OP struct wvec wvec_low(struct wvec w)
{
    __m256i mask = _mm256_set1_epi8(15);
    return (struct wvec){_mm256_and_si256(w.a, mask), _mm256_and_si256(w.b, mask)};
}
OP struct wvec wvec_high(struct wvec w)
{
    __m256i mask = _mm256_set1_epi8(15);
    return (struct wvec){_mm256_and_si256(_mm256_srli_epi16(w.a, 4), mask),
                         _mm256_and_si256(_mm256_srli_epi16(w.b, 4), mask)};
}
OP __m256i moved(__m256i x, int left)
{
    return left >= 0 ? _mm256_slli_epi16(x, left) : _mm256_srli_epi16(x, -left);
}
/* (w << left) & mask, per byte; a negative left shifts right */
OP struct wvec wvec_take(struct wvec w, int left, char mask)
{
    __m256i m = _mm256_set1_epi8(mask);
    return (struct wvec){_mm256_and_si256(moved(w.a, left), m),
                         _mm256_and_si256(moved(w.b, left), m)};
}
/* w | (plane << left) & mask */
OP struct wvec wvec_or(struct wvec w, struct wvec plane, int left, char mask)
{
    struct wvec more = wvec_take(plane, left, mask);
    return (struct wvec){_mm256_or_si256(w.a, more.a), _mm256_or_si256(w.b, more.b)};
}
/* table[w], per byte below 16 */
OP struct wvec wvec_look_up(const uint8_t *table, struct wvec w)
{
    __m256i t = _mm256_broadcastsi128_si256(load128(table));
    return (struct wvec){_mm256_shuffle_epi8(t, w.a), _mm256_shuffle_epi8(t, w.b)};
}
/* Sums of two products in int16. */
OP __m256i dot_16(__m256i w, __m256i x, unsigned bits)
{
    if (bits == 8) {
        __m256i value = _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80));
        w = _mm256_abs_epi8(value);
        x = _mm256_sign_epi8(x, value);
    }
    return _mm256_maddubs_epi16(w, x);
}
OP __m256i dot_half(__m256i acc, __m256i even, __m256i odd, __m256i x, __m256i y, unsigned bits)
{
    __m256i one = _mm256_set1_epi16(1), a = dot_16(even, x, bits), b = dot_16(odd, y, bits);

    if (bits < 7) { /* both fit int16 together: 2 * 16002 */
        return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_add_epi16(a, b), one));
    }
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(a, one));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(b, one));
}
/* acc + the dot products of 16 x (4 + 4) weights with 8 activations */
OP struct ivec ivec_dot_pair(struct ivec acc, struct wvec even, struct wvec odd, const int8_t *x,
                             unsigned bits)
{
    int32_t four[2];

    memcpy(four, x, sizeof four);
    __m256i low = _mm256_set1_epi32(four[0]), high = _mm256_set1_epi32(four[1]);
    return (struct ivec){dot_half(acc.a, even.a, odd.a, low, high, bits),
                         dot_half(acc.b, even.b, odd.b, low, high, bits)};
}

#define DOT_PAIRS 1

/* ivec_dot_pair takes the zero point of 8-bit weights off by itself. */
enum { DOT_SIGNED_8 = 1 };

enum { MANY_PANELS = 1 };

#define TILE_SHAPES(X, kind, name, type)                                                           \
    X(kind, name, type, 4, 1)                                                                      \
    X(kind, name, type, 2, 2)                                                                      \
    X(kind, name, type, 1, 1)                                                                      \
    X(kind, name, type, 1, 2)                                                                      \
    X(kind, name, type, 1, 3)                                                                      \
    X(kind, name, type, 1, 4)                                                                      \
    X(kind, name, type, 1, 5)                                                                      \
    X(kind, name, type, 1, 6)

#define TILE_TABLE(name)                                                                           \
    {                                                                                              \
        .few = {NULL, name##_4x1, name##_2x2, name##_1x3, name##_1x4, name##_1x5, name##_1x6},     \
        .few_panels = {0, 4, 2, 1, 1, 1, 1},                                                       \
        .many = {NULL, name##_1x1, name##_1x2, name##_1x3, name##_1x4, name##_1x5, name##_1x6},    \
        .many_panels = 1                                                                           \
    }

#include "tensor/panel_tile.inc"

enum { ATTN_HEADS = 2, ATTN_WIDE = 2 };

#include "tensor/vector.inc"

static uint32_t peak_int8(size_t steps, double *ops)
{
    __m256i acc[12], w = _mm256_set1_epi8((char)(steps & 15)), x = _mm256_set1_epi8(3);
    uint32_t sum = 0;

    UNROLL
    for (int i = 0; i < 12; i++) {
        acc[i] = _mm256_set1_epi16((short)i);
    }
    for (size_t step = 0; step < steps; step++) {
        UNROLL
        for (int i = 0; i < 12; i++) {
            __asm__ volatile("" : "+x"(w)); /* or the product is computed once */
            acc[i] = _mm256_add_epi16(acc[i], _mm256_maddubs_epi16(w, x));
        }
    }
    UNROLL
    for (int i = 0; i < 12; i++) {
        sum += (uint32_t)_mm256_extract_epi32(acc[i], 0);
    }
    *ops = 2.0 * 32 * 12 * (double)steps;
    return sum;
}

void kernels_init_avx2(struct kernels *k)
{
    init_panels(k);
    init_vectors(k);
    k->peak_int8 = peak_int8;
}
