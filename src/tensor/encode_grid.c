/* Blocks of the IQ types of codebooks (block_grid.h): groups of 8 or 4 values become the nearest
 * point of a lattice times a scale.
 *
 * The nearest point is found exactly. The error of a point is a sum over its values, so it is the
 * error of its first half plus that of its second: both are tables, made for the values at hand,
 * and a point costs two look-ups. For a part of a block (16 or 32 values) a few scales are tried;
 * each is improved by least squares over the points it leads to. Then the scales of all parts are
 * quantised, and the points are found again for the scales as stored. */
#include <math.h>
#include <string.h>

#include "tensor/codec.h"
#include "tensor/encode.h"
#include "tensor/grid.h"

enum { GROUPS_MAX = 64, PARTS_MAX = 16, WIDTH_MAX = 32 };

struct grid_kind {
    const uint16_t *points;
    size_t count;
    size_t len;         /* values of a point: 8 of 2 bits, or 4 of 3 bits */
    float level[8];     /* what a rank stands for */
    float shift;        /* added to all values of a point, or taken away; 0: none, but signs */
    size_t shift_width; /* values that share the sign of the shift */
    size_t width;       /* values of a part, with one scale */
    int scale_top;      /* a scale is 2 s + 1, s at most this */
    bool is_even;       /* eight signs have an even number of minuses */
    float spread;       /* of the mean square in the weights of importance */
    const float *tries; /* scales to try, of the first guess; 0 ends them */
};

struct grid_block {
    uint16_t point[GROUPS_MAX]; /* number of the point */
    uint8_t sign[32];           /* of 8 values each; with shifts: 255 or 0 */
    uint8_t scale[PARTS_MAX];
    uint16_t d;
};

/* Values of a part, made positive, and what an error in each weighs. */
struct grid_part {
    float x[WIDTH_MAX], w[WIDTH_MAX];
};

/* ---- the nearest point ---- */

/* Error of each choice of ranks for half a point of `len` values: table[ranks]. */
static void fill_half(const struct grid_kind *k, const float *x, const float *w, float scale,
                      float shift, float *table)
{
    size_t bits = k->len == 8 ? 2 : 3, ranks = (size_t)1 << bits, filled = 1;

    table[0] = 0;
    for (size_t i = 0; i < k->len / 2; i++) {
        float error[8];
        for (size_t r = 0; r < ranks; r++) {
            float e = x[i] - scale * (k->level[r] + shift);
            error[r] = w[i] * e * e;
        }
        for (size_t r = ranks; r-- > 0;) { /* downwards: the first part is read until last */
            for (size_t j = 0; j < filled; j++) {
                table[r * filled + j] = table[j] + error[r];
            }
        }
        filled *= ranks;
    }
}

static float find_point(const struct grid_kind *k, const float *x, const float *w, float scale,
                        float shift, uint16_t *number)
{
    float low[256], high[256], least = INFINITY;
    unsigned half_bits = k->len == 8 ? 8 : 6, mask = (1u << half_bits) - 1;

    fill_half(k, x, w, scale, shift, low);
    fill_half(k, x + k->len / 2, w + k->len / 2, scale, shift, high);
    for (size_t i = 0; i < k->count; i++) {
        float error = low[k->points[i] & mask] + high[k->points[i] >> half_bits];
        if (error < least) {
            least = error;
            *number = (uint16_t)i;
        }
    }
    return least;
}

/* The points of a part for a scale; shifts get their better sign. */
static void find_points(const struct grid_kind *k, const struct grid_part *part, float scale,
                        uint16_t *points, uint8_t *signs)
{
    size_t run = k->shift != 0 ? k->shift_width : k->len;

    for (size_t at = 0; at < k->width; at += run) {
        float plus = 0, minus = 0;
        uint16_t other[4];
        for (size_t i = 0; i < run; i += k->len) {
            size_t to = (at + i) / k->len;
            plus += find_point(k, part->x + at + i, part->w + at + i, scale, k->shift, &points[to]);
            if (k->shift != 0) {
                minus += find_point(k, part->x + at + i, part->w + at + i, scale, -k->shift,
                                    &other[i / k->len]);
            }
        }
        for (size_t i = 0; k->shift != 0 && i < run; i += 8) {
            signs[(at + i) / 8] = minus < plus ? 255 : 0;
        }
        if (k->shift != 0 && minus < plus) {
            memcpy(points + at / k->len, other, run / k->len * sizeof *points);
        }
    }
}

/* The best scale for given points, and what it takes off the error. */
static float fit_points(const struct grid_kind *k, const struct grid_part *part,
                        const uint16_t *points, const uint8_t *signs, float *gain)
{
    unsigned bits = k->len == 8 ? 2 : 3;
    float xq = 0, qq = 0;

    for (size_t i = 0; i < k->width; i++) {
        unsigned rank = k->points[points[i / k->len]] >> (bits * (i % k->len)) & ((1u << bits) - 1);
        float shift = k->shift != 0 && signs[i / 8] != 0 ? -k->shift : k->shift;
        float q = k->level[rank] + shift;
        xq += part->w[i] * part->x[i] * q;
        qq += part->w[i] * q * q;
    }
    *gain = qq > 0 && xq > 0 ? xq * xq / qq : 0;
    return *gain > 0 ? xq / qq : 0;
}

static float fit_part(const struct grid_kind *k, const struct grid_part *part, uint8_t *signs)
{
    float guess, best = 0, most = 0, xx = 0, w = 0;
    uint16_t points[WIDTH_MAX / 4];

    for (size_t i = 0; i < k->width; i++) {
        xx += part->w[i] * part->x[i] * part->x[i];
        w += part->w[i];
    }
    guess = w > 0 ? sqrtf(xx / w) : 0;
    if (!(guess > ENCODE_TINY)) {
        return 0;
    }
    for (const float *try = k->tries; *try != 0; try++) {
        float scale = guess * *try, gain;
        for (int round = 0; round < 2; round++) {
            find_points(k, part, scale, points, signs);
            scale = fit_points(k, part, points, signs, &gain);
            if (!(gain > 0)) {
                break;
            }
            if (gain > most) {
                most = gain;
                best = scale;
            }
        }
    }
    return best;
}

/* ---- the block ---- */

static float mean_square(const float *x)
{
    float sum = 0;

    for (int i = 0; i < 256; i++) {
        sum += x[i] * x[i];
    }
    return sum / 256;
}

/* Signs of eight values; where their number must be even and is not, the value that matters least
 * is given the wrong one. */
static uint8_t take_signs(float *x, const float *w, bool is_even)
{
    unsigned signs = 0, least = 0;

    for (unsigned i = 0; i < 8; i++) {
        signs |= (unsigned)(x[i] < 0) << i;
        least = w[i] * x[i] * x[i] < w[least] * x[least] * x[least] ? i : least;
        x[i] = fabsf(x[i]);
    }
    if (is_even && __builtin_popcount(signs) % 2 != 0) {
        signs ^= 1u << least;
        x[least] = -x[least];
    }
    return (uint8_t)signs;
}

static void encode(const struct grid_kind *k, const float *x, const float *importance,
                   struct grid_block *b)
{
    size_t parts = 256 / k->width;
    struct grid_part part[PARTS_MAX];
    float scale[PARTS_MAX] = {0}, square = mean_square(x) * k->spread;

    memset(b, 0, sizeof *b);
    for (size_t p = 0; p < parts; p++) {
        for (size_t i = 0; i < k->width; i++) {
            float value = x[p * k->width + i];
            part[p].x[i] = value;
            part[p].w[i] = sqrtf(square + value * value) *
                           (importance != NULL ? importance[p * k->width + i] : 1);
        }
        for (size_t i = 0; k->shift == 0 && i < k->width; i += 8) {
            b->sign[(p * k->width + i) / 8] = take_signs(part[p].x + i, part[p].w + i, k->is_even);
        }
        scale[p] = fit_part(k, &part[p], b->sign + p * k->width / 8);
    }
    b->d = codec_f32_to_f16(codec_extreme(scale, parts) / (float)(2 * k->scale_top + 1));
    float d = codec_f16_to_f32(b->d), inverse = d > 0 ? 1 / d : 0;
    for (size_t p = 0; p < parts; p++) {
        float level = encode_level(0.5f * (scale[p] * inverse - 1), 1, 0, (float)k->scale_top);
        b->scale[p] = (uint8_t)level;
        find_points(k, &part[p], d * (2 * level + 1), b->point + p * k->width / k->len,
                    b->sign + p * k->width / 8);
    }
}

static void store_u32(uint8_t *p, uint32_t value)
{
    encode_store_u16(p, value & 0xffff);
    encode_store_u16(p + 2, value >> 16);
}

/* ---- the formats ---- */

#define LEVELS_IQ2                                                                                 \
    {                                                                                              \
        1, 25.0f / 8, 43.0f / 8                                                                    \
    }

static const float tries_iq2[] = {0.26f, 0.3f, 0.34f, 0.38f, 0.42f, 0.48f, 0};

/* Seven signs of each eight values, and the scale of 32. */
static uint32_t signs_and_scale(const struct grid_block *b, size_t part)
{
    uint32_t more = (uint32_t)b->scale[part] << 28;

    for (size_t l = 0; l < 4; l++) {
        more |= (uint32_t)(b->sign[4 * part + l] & 127) << (7 * l);
    }
    return more;
}

void codec_encode_iq2_xxs(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct grid_kind kind = {.points = codec_grid_iq2_xxs,
                                          .count = 256,
                                          .len = 8,
                                          .level = LEVELS_IQ2,
                                          .width = 32,
                                          .scale_top = 15,
                                          .is_even = true,
                                          .spread = 1,
                                          .tries = tries_iq2};
    struct grid_block b;

    (void)sigma2;
    encode(&kind, x, importance, &b);
    encode_store_u16(out, b.d);
    for (size_t i = 0; i < 8; i++) {
        for (size_t l = 0; l < 4; l++) {
            out[2 + 8 * i + l] = (uint8_t)b.point[4 * i + l];
        }
        store_u32(out + 6 + 8 * i, signs_and_scale(&b, i));
    }
}

void codec_encode_iq2_xs(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct grid_kind kind = {.points = codec_grid_iq2_xs,
                                          .count = 512,
                                          .len = 8,
                                          .level = LEVELS_IQ2,
                                          .width = 16,
                                          .scale_top = 15,
                                          .is_even = true,
                                          .spread = 1,
                                          .tries = tries_iq2};
    struct grid_block b;

    (void)sigma2;
    encode(&kind, x, importance, &b);
    encode_store_u16(out, b.d);
    for (size_t i = 0; i < 32; i++) {
        encode_store_u16(out + 2 + 2 * i, b.point[i] | (unsigned)(b.sign[i] & 127) << 9);
    }
    for (size_t i = 0; i < 8; i++) {
        out[66 + i] = (uint8_t)(b.scale[2 * i] | b.scale[2 * i + 1] << 4);
    }
}

void codec_encode_iq2_s(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct grid_kind kind = {.points = codec_grid_iq2_s,
                                          .count = 1024,
                                          .len = 8,
                                          .level = LEVELS_IQ2,
                                          .width = 16,
                                          .scale_top = 15,
                                          .spread = 2,
                                          .tries = tries_iq2};
    struct grid_block b;

    (void)sigma2;
    encode(&kind, x, importance, &b);
    memset(out, 0, 82);
    encode_store_u16(out, b.d);
    for (size_t i = 0; i < 32; i++) {
        out[2 + i] = (uint8_t)b.point[i];
        out[34 + i] = b.sign[i];
        out[66 + i / 4] = (uint8_t)(out[66 + i / 4] | (b.point[i] >> 8) << (2 * (i % 4)));
    }
    for (size_t i = 0; i < 8; i++) {
        out[74 + i] = (uint8_t)(b.scale[2 * i] | b.scale[2 * i + 1] << 4);
    }
}

static const float tries_iq3[] = {0.115f, 0.13f, 0.145f, 0.16f, 0.18f, 0.2f, 0};

void codec_encode_iq3_xxs(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct grid_kind kind = {.points = codec_grid_iq3_xxs,
                                          .count = 256,
                                          .len = 4,
                                          .level = {1, 3, 5, 7, 9, 11, 13, 15.5f},
                                          .width = 32,
                                          .scale_top = 15,
                                          .is_even = true,
                                          .spread = 2,
                                          .tries = tries_iq3};
    struct grid_block b;

    (void)sigma2;
    encode(&kind, x, importance, &b);
    encode_store_u16(out, b.d);
    for (size_t i = 0; i < 64; i++) {
        out[2 + i] = (uint8_t)b.point[i];
    }
    for (size_t i = 0; i < 8; i++) {
        store_u32(out + 66 + 4 * i, signs_and_scale(&b, i));
    }
}

void codec_encode_iq3_s(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct grid_kind kind = {.points = codec_grid_iq3_s,
                                          .count = 512,
                                          .len = 4,
                                          .level = {1, 3, 5, 7, 9, 11, 13, 15},
                                          .width = 32,
                                          .scale_top = 15,
                                          .spread = 2,
                                          .tries = tries_iq3};
    struct grid_block b;

    (void)sigma2;
    encode(&kind, x, importance, &b);
    memset(out, 0, 110);
    encode_store_u16(out, b.d);
    for (size_t i = 0; i < 64; i++) {
        out[2 + i] = (uint8_t)b.point[i];
        out[66 + i / 8] = (uint8_t)(out[66 + i / 8] | (b.point[i] >> 8) << (i % 8));
    }
    memcpy(out + 74, b.sign, 32);
    for (size_t i = 0; i < 4; i++) {
        out[106 + i] = (uint8_t)(b.scale[2 * i] | b.scale[2 * i + 1] << 4);
    }
}

static const float tries_iq1[] = {0.8f, 1, 1.25f, 1.5f, 0};

void codec_encode_iq1_s(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct grid_kind kind = {.points = codec_grid_iq1,
                                          .count = 2048,
                                          .len = 8,
                                          .level = {-1, 0, 1},
                                          .shift = 0.125f,
                                          .shift_width = 32,
                                          .width = 32,
                                          .scale_top = 7,
                                          .spread = 2,
                                          .tries = tries_iq1};
    struct grid_block b;

    (void)sigma2;
    encode(&kind, x, importance, &b);
    encode_store_u16(out, b.d);
    for (size_t i = 0; i < 8; i++) {
        unsigned more = (unsigned)b.scale[i] << 12 | (b.sign[4 * i] != 0 ? 0x8000 : 0);
        for (size_t l = 0; l < 4; l++) {
            out[2 + 4 * i + l] = (uint8_t)b.point[4 * i + l];
            more |= (unsigned)(b.point[4 * i + l] >> 8) << (3 * l);
        }
        encode_store_u16(out + 34 + 2 * i, more);
    }
}

void codec_encode_iq1_m(const float *x, const float *importance, float sigma2, uint8_t *out)
{
    static const struct grid_kind kind = {.points = codec_grid_iq1,
                                          .count = 2048,
                                          .len = 8,
                                          .level = {-1, 0, 1},
                                          .shift = 0.125f,
                                          .shift_width = 8,
                                          .width = 16,
                                          .scale_top = 7,
                                          .spread = 2,
                                          .tries = tries_iq1};
    struct grid_block b;

    (void)sigma2;
    encode(&kind, x, importance, &b);
    memset(out, 0, 56);
    for (size_t i = 0; i < 32; i++) {
        unsigned more = (unsigned)(b.point[i] >> 8) | (b.sign[i] != 0 ? 8 : 0);
        out[i] = (uint8_t)b.point[i];
        out[32 + i / 2] = (uint8_t)(out[32 + i / 2] | more << (4 * (i % 2)));
    }
    for (size_t i = 0; i < 4; i++) {
        unsigned scales = (unsigned)(b.d >> (4 * i) & 15) << 12;
        for (size_t j = 0; j < 4; j++) {
            scales |= (unsigned)b.scale[4 * i + j] << (3 * j);
        }
        encode_store_u16(out + 48 + 2 * i, scales);
    }
}
