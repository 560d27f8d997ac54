/* AVX-512 (F BW VL DQ VNNI): one register is a vector of 16. */
#include <immintrin.h>
#include <string.h>

#include "tensor/exp.h"
#include "tensor/panel.h"

struct vec {
    __m512 v;
};
struct ivec {
    __m512i v;
};
struct wvec {
    __m512i v;
};

#define OP static ATTR_ALWAYS_INLINE

OP struct vec vec_set1(float x)
{
    return (struct vec){_mm512_set1_ps(x)};
}
OP struct vec vec_load(const float *p)
{
    return (struct vec){_mm512_loadu_ps(p)};
}
OP void vec_store(float *p, struct vec a)
{
    _mm512_storeu_ps(p, a.v);
}
OP struct vec vec_load_f16(const uint16_t *p)
{
    return (struct vec){_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p))};
}
OP struct vec vec_load_bf16(const uint16_t *p)
{
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
    return (struct vec){_mm512_castsi512_ps(wide)};
}
OP struct vec widen_u8(__m128i bytes)
{
    return (struct vec){_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))};
}
OP struct vec vec_load_u8(const uint8_t *p)
{
    return widen_u8(_mm_loadu_si128((const __m128i *)(const void *)p));
}
OP struct vec vec_load_low4(const uint8_t *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return widen_u8(_mm_and_si128(bytes, _mm_set1_epi8(15)));
}
OP struct vec vec_load_high4(const uint8_t *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return widen_u8(_mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15)));
}
OP struct vec vec_load_i8(const int8_t *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (struct vec){_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}
OP void vec_store_f16(uint16_t *p, struct vec a)
{
    __m256i half = _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256((__m256i *)(void *)p, half);
}
OP void vec_store_bf16(uint16_t *p, struct vec a)
{
    __m512i bits = _mm512_castps_si512(a.v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    __m256i half = _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
    _mm256_storeu_si256((__m256i *)(void *)p, half);
}
OP struct vec vec_fma(struct vec a, struct vec b, struct vec c)
{
    return (struct vec){_mm512_fmadd_ps(a.v, b.v, c.v)};
}
OP struct vec vec_add(struct vec a, struct vec b)
{
    return (struct vec){_mm512_add_ps(a.v, b.v)};
}
OP struct vec vec_sub(struct vec a, struct vec b)
{
    return (struct vec){_mm512_sub_ps(a.v, b.v)};
}
OP struct vec vec_mul(struct vec a, struct vec b)
{
    return (struct vec){_mm512_mul_ps(a.v, b.v)};
}
OP struct vec vec_div(struct vec a, struct vec b)
{
    return (struct vec){_mm512_div_ps(a.v, b.v)};
}
OP struct vec vec_rint(struct vec a)
{
    return (struct vec){_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/* a * 2^n for whole n, a normal result */
OP struct vec vec_scale2(struct vec a, struct vec n)
{
    return (struct vec){_mm512_scalef_ps(a.v, n.v)};
}
/* the nearest of [low, high]; a NaN stays */
OP struct vec vec_clamp(struct vec a, struct vec low, struct vec high)
{
    return (struct vec){_mm512_min_ps(high.v, _mm512_max_ps(low.v, a.v))};
}
/* a < b ? yes : no; a NaN gives no */
OP struct vec vec_select_less(struct vec a, struct vec b, struct vec yes, struct vec no)
{
    __mmask16 less = _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ);
    return (struct vec){_mm512_mask_blend_ps(less, no.v, yes.v)};
}
OP float vec_fold(struct vec a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
/* 32 floats a0 b0 a1 b1 ... */
OP void vec_load_pairs(const float *p, struct vec *a, struct vec *b)
{
    __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    __m512 x = _mm512_loadu_ps(p), y = _mm512_loadu_ps(p + 16);
    a->v = _mm512_permutex2var_ps(x, even, y);
    b->v = _mm512_permutex2var_ps(x, odd, y);
}
OP void vec_store_pairs(float *p, struct vec a, struct vec b)
{
    __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    _mm512_storeu_ps(p, _mm512_permutex2var_ps(a.v, low, b.v));
    _mm512_storeu_ps(p + 16, _mm512_permutex2var_ps(a.v, high, b.v));
}

OP struct ivec vec_magnitude(struct vec a)
{
    return (struct ivec){_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7fffffff))};
}
OP struct ivec vec_round(struct vec a)
{
    return (struct ivec){_mm512_cvtps_epi32(a.v)};
}
OP struct vec vec_of_int(struct ivec a)
{
    return (struct vec){_mm512_cvtepi32_ps(a.v)};
}
OP struct ivec ivec_set1(int32_t x)
{
    return (struct ivec){_mm512_set1_epi32(x)};
}
OP struct ivec ivec_shl(struct ivec a, unsigned bits)
{
    return (struct ivec){_mm512_slli_epi32(a.v, bits)};
}
OP struct ivec ivec_max(struct ivec a, struct ivec b)
{
    return (struct ivec){_mm512_max_epu32(a.v, b.v)};
}
OP uint32_t ivec_fold_max(struct ivec a)
{
    return _mm512_reduce_max_epu32(a.v);
}
OP int32_t ivec_fold_add(struct ivec a)
{
    return _mm512_reduce_add_epi32(a.v);
}
OP void ivec_store_i8(int8_t *p, struct ivec a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(a.v));
}

OP struct wvec wvec_load(const uint8_t *p)
{
    return (struct wvec){_mm512_load_si512(p)};
}
OP struct wvec wvec_low(struct wvec w)
{
    return (struct wvec){_mm512_and_si512(w.v, _mm512_set1_epi8(15))};
}
OP struct wvec wvec_high(struct wvec w)
{
    return (struct wvec){_mm512_and_si512(_mm512_srli_epi16(w.v, 4), _mm512_set1_epi8(15))};
}
OP __m512i moved(__m512i x, int left)
{
    return left >= 0 ? _mm512_slli_epi16(x, (unsigned)left) : _mm512_srli_epi16(x, (unsigned)-left);
}
/* (w << left) & mask, per byte; a negative left shifts right */
OP struct wvec wvec_take(struct wvec w, int left, char mask)
{
    return (struct wvec){_mm512_and_si512(moved(w.v, left), _mm512_set1_epi8(mask))};
}
/* w | (plane << left) & mask; 0xf8: a | (b & c) */
OP struct wvec wvec_or(struct wvec w, struct wvec plane, int left, char mask)
{
    __m512i m = _mm512_set1_epi8(mask);
    return (struct wvec){_mm512_ternarylogic_epi64(w.v, moved(plane.v, left), m, 0xf8)};
}
/* table[w], per byte below 16 */
OP struct wvec wvec_look_up(const uint8_t *table, struct wvec w)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return (struct wvec){_mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), w.v)};
}
/* acc + the dot products of 16 x 4 unsigned weights with 4 activations */
OP struct ivec ivec_dot(struct ivec acc, struct wvec w, const int8_t *x, unsigned bits)
{
    int32_t four;
    (void)bits;
    memcpy(&four, x, sizeof four);
    return (struct ivec){_mm512_dpbusd_epi32(acc.v, w.v, _mm512_set1_epi32(four))};
}

#define DOT_PAIRS 0

enum { DOT_SIGNED_8 = 0 };

/* Decode keeps 8 streams in flight (measured: 4 reach 90 % of what 8 do). */
enum { MANY_PANELS = 2 };

#define TILE_SHAPES(X, kind, name, type)                                                           \
    X(kind, name, type, 4, 1)                                                                      \
    X(kind, name, type, 4, 2)                                                                      \
    X(kind, name, type, 4, 3)                                                                      \
    X(kind, name, type, 2, 1)                                                                      \
    X(kind, name, type, 2, 2)                                                                      \
    X(kind, name, type, 2, 3)                                                                      \
    X(kind, name, type, 2, 4)                                                                      \
    X(kind, name, type, 2, 5)                                                                      \
    X(kind, name, type, 2, 6)

#define TILE_TABLE(name)                                                                           \
    {                                                                                              \
        .few = {NULL, name##_4x1, name##_4x2, name##_4x3, name##_2x4, name##_2x5, name##_2x6},     \
        .few_panels = {0, 4, 4, 4, 2, 2, 2},                                                       \
        .many = {NULL, name##_2x1, name##_2x2, name##_2x3, name##_2x4, name##_2x5, name##_2x6},    \
        .many_panels = 2                                                                           \
    }

#include "tensor/panel_tile.inc"

enum { ATTN_HEADS = 4, ATTN_WIDE = 4 };

#include "tensor/vector.inc"

static uint32_t peak_int8(size_t steps, double *ops)
{
    __m512i acc[16], w = _mm512_set1_epi8((char)(steps & 15)), x = _mm512_set1_epi8(3);
    uint32_t sum = 0;

    UNROLL
    for (int i = 0; i < 16; i++) {
        acc[i] = _mm512_set1_epi32(i);
    }
    for (size_t step = 0; step < steps; step++) {
        UNROLL
        for (int i = 0; i < 16; i++) {
            acc[i] = _mm512_dpbusd_epi32(acc[i], w, x);
        }
    }
    UNROLL
    for (int i = 0; i < 16; i++) {
        sum += (uint32_t)_mm512_reduce_add_epi32(acc[i]);
    }
    *ops = 2.0 * 64 * 16 * (double)steps;
    return sum;
}

void kernels_init_avx512(struct kernels *k)
{
    init_panels(k);
    init_vectors(k);
    k->peak_int8 = peak_int8;
}
