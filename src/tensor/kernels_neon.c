/* NEON with the dot product of ARMv8.2: four registers are a vector of 16.
 *
 * sdot multiplies signed bytes. Weights of up to 6 bits are non-negative bytes either way; those of
 * 8 bits lose their offset of 128 (by flipping the top bit) on the way in. */
#include <arm_neon.h>
#include <string.h>

#include "tensor/exp.h"
#include "tensor/panel.h"

struct vec {
    float32x4_t a, b, c, d;
};
struct ivec {
    int32x4_t a, b, c, d;
};
struct wvec {
    uint8x16_t a, b, c, d;
};

#define OP static ATTR_ALWAYS_INLINE

/* A vector of four registers, each f of the same registers of the operands. */
#define EACH1(type, f, x) ((struct type){f((x).a), f((x).b), f((x).c), f((x).d)})
#define EACH2(type, f, x, y)                                                                       \
    ((struct type){f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d)})

OP struct vec vec_set1(float x)
{
    float32x4_t v = vdupq_n_f32(x);
    return (struct vec){v, v, v, v};
}
OP struct vec vec_load(const float *p)
{
    return (struct vec){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
OP void vec_store(float *p, struct vec x)
{
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}
OP struct vec vec_load_f16(const uint16_t *p)
{
    float16x8_t low = vreinterpretq_f16_u16(vld1q_u16(p));
    float16x8_t high = vreinterpretq_f16_u16(vld1q_u16(p + 8));
    return (struct vec){vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low),
                        vcvt_f32_f16(vget_low_f16(high)), vcvt_high_f32_f16(high)};
}
OP float32x4_t widen_bf16(uint16x4_t x)
{
    return vreinterpretq_f32_u32(vshll_n_u16(x, 16));
}
OP struct vec vec_load_bf16(const uint16_t *p)
{
    return (struct vec){widen_bf16(vld1_u16(p)), widen_bf16(vld1_u16(p + 4)),
                        widen_bf16(vld1_u16(p + 8)), widen_bf16(vld1_u16(p + 12))};
}
OP struct vec widen_u8(uint8x16_t bytes)
{
    uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_high_u8(bytes);
    return (struct vec){
        vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_high_u16(low)),
        vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_high_u16(high))};
}
OP struct vec vec_load_u8(const uint8_t *p)
{
    return widen_u8(vld1q_u8(p));
}
OP struct vec vec_load_low4(const uint8_t *p)
{
    return widen_u8(vandq_u8(vld1q_u8(p), vdupq_n_u8(15)));
}
OP struct vec vec_load_high4(const uint8_t *p)
{
    return widen_u8(vshrq_n_u8(vld1q_u8(p), 4));
}
OP struct vec vec_load_i8(const int8_t *p)
{
    int8x16_t bytes = vld1q_s8(p);
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    return (struct vec){
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))};
}
OP void vec_store_f16(uint16_t *p, struct vec x)
{
    float16x8_t low = vcvt_high_f16_f32(vcvt_f16_f32(x.a), x.b);
    float16x8_t high = vcvt_high_f16_f32(vcvt_f16_f32(x.c), x.d);
    vst1q_u16(p, vreinterpretq_u16_f16(low));
    vst1q_u16(p + 8, vreinterpretq_u16_f16(high));
}
OP uint16x4_t round_bf16(float32x4_t x)
{
    uint32x4_t bits = vreinterpretq_u32_f32(x);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    uint32x4_t up = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), up, quiet), 16);
}
OP void vec_store_bf16(uint16_t *p, struct vec x)
{
    vst1_u16(p, round_bf16(x.a));
    vst1_u16(p + 4, round_bf16(x.b));
    vst1_u16(p + 8, round_bf16(x.c));
    vst1_u16(p + 12, round_bf16(x.d));
}
OP struct vec vec_fma(struct vec x, struct vec y, struct vec z)
{
    return (struct vec){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b),
                        vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}
OP struct vec vec_add(struct vec x, struct vec y)
{
    return EACH2(vec, vaddq_f32, x, y);
}
OP struct vec vec_sub(struct vec x, struct vec y)
{
    return EACH2(vec, vsubq_f32, x, y);
}
OP struct vec vec_mul(struct vec x, struct vec y)
{
    return EACH2(vec, vmulq_f32, x, y);
}
OP struct vec vec_div(struct vec x, struct vec y)
{
    return EACH2(vec, vdivq_f32, x, y);
}
OP struct vec vec_rint(struct vec x)
{
    return EACH1(vec, vrndnq_f32, x);
}
OP float32x4_t power2(float32x4_t x)
{
    int32x4_t n = vaddq_s32(vcvtnq_s32_f32(x), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(n, 23));
}
/* x * 2^n for whole n in [-126, 127], a normal result */
OP struct vec vec_scale2(struct vec x, struct vec n)
{
    return vec_mul(x, EACH1(vec, power2, n));
}
/* the nearest of [low, high]; a NaN stays */
OP struct vec vec_clamp(struct vec x, struct vec low, struct vec high)
{
    return EACH2(vec, vminq_f32, EACH2(vec, vmaxq_f32, x, low), high);
}
/* x < y ? yes : no; a NaN gives no */
OP struct vec vec_select_less(struct vec x, struct vec y, struct vec yes, struct vec no)
{
    return (struct vec){
        vbslq_f32(vcltq_f32(x.a, y.a), yes.a, no.a), vbslq_f32(vcltq_f32(x.b, y.b), yes.b, no.b),
        vbslq_f32(vcltq_f32(x.c, y.c), yes.c, no.c), vbslq_f32(vcltq_f32(x.d, y.d), yes.d, no.d)};
}
OP float vec_fold(struct vec x)
{
    float32x4_t quarter = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    float32x2_t half = vadd_f32(vget_low_f32(quarter), vget_high_f32(quarter));
    return vget_lane_f32(half, 0) + vget_lane_f32(half, 1);
}
/* 32 floats x0 y0 x1 y1 ... */
OP void vec_load_pairs(const float *p, struct vec *x, struct vec *y)
{
    float32x4x2_t a = vld2q_f32(p), b = vld2q_f32(p + 8);
    float32x4x2_t c = vld2q_f32(p + 16), d = vld2q_f32(p + 24);
    *x = (struct vec){a.val[0], b.val[0], c.val[0], d.val[0]};
    *y = (struct vec){a.val[1], b.val[1], c.val[1], d.val[1]};
}
OP void vec_store_pairs(float *p, struct vec x, struct vec y)
{
    vst2q_f32(p, ((float32x4x2_t){{x.a, y.a}}));
    vst2q_f32(p + 8, ((float32x4x2_t){{x.b, y.b}}));
    vst2q_f32(p + 16, ((float32x4x2_t){{x.c, y.c}}));
    vst2q_f32(p + 24, ((float32x4x2_t){{x.d, y.d}}));
}

OP int32x4_t magnitude(float32x4_t x)
{
    return vandq_s32(vreinterpretq_s32_f32(x), vdupq_n_s32(0x7fffffff));
}
OP struct ivec vec_magnitude(struct vec x)
{
    return EACH1(ivec, magnitude, x);
}
OP struct ivec vec_round(struct vec x)
{
    return EACH1(ivec, vcvtnq_s32_f32, x);
}
OP struct vec vec_of_int(struct ivec x)
{
    return EACH1(vec, vcvtq_f32_s32, x);
}
OP struct ivec ivec_set1(int32_t x)
{
    int32x4_t v = vdupq_n_s32(x);
    return (struct ivec){v, v, v, v};
}
OP struct ivec ivec_shl(struct ivec x, unsigned bits)
{
    int32x4_t by = vdupq_n_s32((int32_t)bits);
    return (struct ivec){vshlq_s32(x.a, by), vshlq_s32(x.b, by), vshlq_s32(x.c, by),
                         vshlq_s32(x.d, by)};
}
/* Of magnitudes, which are not negative. */
OP struct ivec ivec_max(struct ivec x, struct ivec y)
{
    return EACH2(ivec, vmaxq_s32, x, y);
}
OP uint32_t ivec_fold_max(struct ivec x)
{
    return (uint32_t)vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.a, x.b), vmaxq_s32(x.c, x.d)));
}
OP int32_t ivec_fold_add(struct ivec x)
{
    return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d)));
}
OP void ivec_store_i8(int8_t *p, struct ivec x)
{
    int16x8_t low = vqmovn_high_s32(vqmovn_s32(x.a), x.b);
    int16x8_t high = vqmovn_high_s32(vqmovn_s32(x.c), x.d);
    vst1q_s8(p, vqmovn_high_s16(vqmovn_s16(low), high));
}

OP struct wvec wvec_load(const uint8_t *p)
{
    return (struct wvec){vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
}
OP uint8x16_t low_nibbles(uint8x16_t w)
{
    return vandq_u8(w, vdupq_n_u8(15));
}
OP uint8x16_t high_nibbles(uint8x16_t w)
{
    return vshrq_n_u8(w, 4);
}
OP struct wvec wvec_low(struct wvec w)
{
    return EACH1(wvec, low_nibbles, w);
}
OP struct wvec wvec_high(struct wvec w)
{
    return EACH1(wvec, high_nibbles, w);
}
OP uint8x16_t take(uint8x16_t w, int left, char mask)
{
    return vandq_u8(vshlq_u8(w, vdupq_n_s8((int8_t)left)), vdupq_n_u8((uint8_t)mask));
}
/* (w << left) & mask, per byte; a negative left shifts right */
OP struct wvec wvec_take(struct wvec w, int left, char mask)
{
    return (struct wvec){take(w.a, left, mask), take(w.b, left, mask), take(w.c, left, mask),
                         take(w.d, left, mask)};
}
/* w | (plane << left) & mask */
OP struct wvec wvec_or(struct wvec w, struct wvec plane, int left, char mask)
{
    struct wvec more = wvec_take(plane, left, mask);
    return EACH2(wvec, vorrq_u8, w, more);
}
/* table[w], per byte below 16 */
OP struct wvec wvec_look_up(const uint8_t *table, struct wvec w)
{
    uint8x16_t t = vld1q_u8(table);
    return (struct wvec){vqtbl1q_u8(t, w.a), vqtbl1q_u8(t, w.b), vqtbl1q_u8(t, w.c),
                         vqtbl1q_u8(t, w.d)};
}
OP int32x4_t dot_quarter(int32x4_t acc, uint8x16_t w, int8x16_t x, unsigned bits)
{
    w = bits == 8 ? veorq_u8(w, vdupq_n_u8(0x80)) : w;
    return vdotq_s32(acc, vreinterpretq_s8_u8(w), x);
}
/* acc + the dot products of 16 x 4 weights with 4 activations */
OP struct ivec ivec_dot(struct ivec acc, struct wvec w, const int8_t *x, unsigned bits)
{
    int8x16_t wide = vreinterpretq_s8_s32(vld1q_dup_s32((const int32_t *)(const void *)x));
    return (struct ivec){dot_quarter(acc.a, w.a, wide, bits), dot_quarter(acc.b, w.b, wide, bits),
                         dot_quarter(acc.c, w.c, wide, bits), dot_quarter(acc.d, w.d, wide, bits)};
}

#define DOT_PAIRS 0

/* ivec_dot takes the zero point of 8-bit weights off by itself. */
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

enum { ATTN_HEADS = 4, ATTN_WIDE = 1 };

#include "tensor/vector.inc"

static uint32_t peak_int8(size_t steps, double *ops)
{
    int32x4_t acc[16];
    int8x16_t w = vdupq_n_s8((int8_t)(steps & 15)), x = vdupq_n_s8(3);
    uint32_t sum = 0;

    UNROLL
    for (int i = 0; i < 16; i++) {
        acc[i] = vdupq_n_s32(i);
    }
    for (size_t step = 0; step < steps; step++) {
        UNROLL
        for (int i = 0; i < 16; i++) {
            __asm__ volatile("" : "+w"(w)); /* or the product is computed once */
            acc[i] = vdotq_s32(acc[i], w, x);
        }
    }
    UNROLL
    for (int i = 0; i < 16; i++) {
        sum += (uint32_t)vaddvq_s32(acc[i]);
    }
    *ops = 2.0 * 16 * 16 * (double)steps;
    return sum;
}

void kernels_init_neon(struct kernels *k)
{
    init_panels(k);
    init_vectors(k);
    k->peak_int8 = peak_int8;
}
