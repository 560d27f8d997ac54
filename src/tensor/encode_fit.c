/* Least squares for the scales of blocks. */
#include <math.h>

#include "tensor/encode.h"

enum { LANES = 8 };

static float fold(const float lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

float codec_extreme(const float *x, size_t n)
{
    float extreme = 0;

    for (size_t i = 0; i < n; i++) {
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    }
    return extreme;
}

/* Of one rounding q: sums of w x q and w q q. The best scale is their quotient, and it takes
 * (w x q)^2 / (w q q) off the error. */
struct projection {
    float xq, qq;
};

static struct projection project(struct encode_view v, float inverse, float low, float high)
{
    float xq[LANES] = {0}, qq[LANES] = {0};

    for (size_t i = 0; i < v.n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            float q = encode_level(v.x[i + j], inverse, low, high), wq = v.w[i + j] * q;
            xq[j] += wq * v.x[i + j];
            qq[j] += wq * q;
        }
    }
    return (struct projection){fold(xq), fold(qq)};
}

static bool is_better(struct projection p, float best)
{
    return p.qq > 0 && p.xq * p.xq > best * p.qq;
}

float codec_fit_signed(struct encode_view v, int half)
{
    float extreme = codec_extreme(v.x, v.n), scale = 0, best = 0;

    if (fabsf(extreme) < ENCODE_TINY) {
        return 0;
    }
    for (int i = -9; i <= 9; i++) {
        float inverse = -((float)half + 0.1f * (float)i) / extreme;
        struct projection p = project(v, inverse, (float)-half, (float)(half - 1));
        if (is_better(p, best)) {
            scale = p.xq / p.qq;
            best = scale * p.xq;
        }
    }
    return scale;
}

float codec_fit_local(struct encode_view v, int half)
{
    float extreme = codec_extreme(v.x, v.n), inverse = -(float)half / extreme, scale = 0;

    if (fabsf(extreme) < ENCODE_TINY) {
        return 0;
    }
    for (int i = 0; i < 5; i++) {
        struct projection p = project(v, inverse, (float)-half, (float)(half - 1));
        if (!(p.qq > 0) || p.xq / p.qq == scale || p.xq == 0) {
            break;
        }
        scale = p.xq / p.qq;
        inverse = 1 / scale;
    }
    return scale;
}

float codec_fit_positive(struct encode_view v, int top)
{
    float extreme = codec_extreme(v.x, v.n), scale = 0, best = 0;

    if (extreme < ENCODE_TINY) {
        return 0;
    }
    for (int i = -4; i <= 9; i++) {
        float inverse = ((float)top + 0.1f * (float)i) / extreme;
        struct projection p = project(v, inverse, 0, (float)top);
        if (is_better(p, best)) {
            scale = p.xq / p.qq;
            best = scale * p.xq;
        }
    }
    return scale;
}

unsigned codec_nearest(const int8_t table[16], float x)
{
    unsigned place = 0;

    for (unsigned i = 0; i < 15; i++) {
        place += x > 0.5f * (float)(table[i] + table[i + 1]);
    }
    return place;
}

static struct projection project_table(struct encode_view v, float inverse, const int8_t table[16])
{
    float xq[LANES] = {0}, qq[LANES] = {0};

    for (size_t i = 0; i < v.n; i += LANES) {
        float q[LANES];
        for (size_t j = 0; j < LANES; j++) {
            q[j] = table[0];
        }
        for (size_t k = 0; k < 15; k++) { /* a step up at each middle that x is above */
            float middle = 0.5f * (float)(table[k] + table[k + 1]);
            float step = (float)(table[k + 1] - table[k]);
            for (size_t j = 0; j < LANES; j++) {
                q[j] += v.x[i + j] * inverse > middle ? step : 0;
            }
        }
        for (size_t j = 0; j < LANES; j++) {
            float wq = v.w[i + j] * q[j];
            xq[j] += wq * v.x[i + j];
            qq[j] += wq * q[j];
        }
    }
    return (struct projection){fold(xq), fold(qq)};
}

float codec_fit_table(struct encode_view v, const int8_t table[16], int tries)
{
    float extreme = codec_extreme(v.x, v.n), scale = 0, best = 0;

    if (fabsf(extreme) < ENCODE_TINY) {
        return 0;
    }
    for (int i = -tries - 1; i <= tries; i++) {
        /* The extreme at the first value, a little beyond or before it; once at its negative. */
        float inverse = (float)(i < -tries ? -table[0] : table[0] + i) / extreme;
        struct projection p = project_table(v, inverse, table);
        if (is_better(p, best)) {
            scale = p.xq / p.qq;
            best = scale * p.xq;
        }
    }
    return scale;
}

/* ---- with a minimum ---- */

struct affine_sums {
    float w, x, q, qq, xq; /* each times w */
};

static struct affine_sums sum_affine(struct encode_view v, float min, float inverse, float top)
{
    float w[LANES] = {0}, x[LANES] = {0}, q[LANES] = {0}, qq[LANES] = {0}, xq[LANES] = {0};

    for (size_t i = 0; i < v.n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            float level = encode_level(v.x[i + j] - min, inverse, 0, top);
            float wq = v.w[i + j] * level;
            w[j] += v.w[i + j];
            x[j] += v.w[i + j] * v.x[i + j];
            q[j] += wq;
            qq[j] += wq * level;
            xq[j] += wq * v.x[i + j];
        }
    }
    return (struct affine_sums){fold(w), fold(x), fold(q), fold(qq), fold(xq)};
}

/* The error of scale and minimum (<= 0 here) with the levels of the candidate. */
static float affine_error(struct encode_view v, float min, float inverse, float top,
                          struct encode_affine fit, bool is_absolute)
{
    float error[LANES] = {0};

    for (size_t i = 0; i < v.n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            float level = encode_level(v.x[i + j] - min, inverse, 0, top);
            float e = fit.scale * level + fit.min - v.x[i + j];
            e = is_absolute ? fabsf(e) : e * e;
            error[j] += v.w[i + j] * e;
        }
    }
    return fold(error);
}

static bool solve(struct affine_sums s, struct encode_affine *fit)
{
    float determinant = s.w * s.qq - s.q * s.q;

    if (!(determinant > 0)) {
        return false;
    }
    fit->scale = (s.w * s.xq - s.x * s.q) / determinant;
    fit->min = (s.qq * s.x - s.q * s.xq) / determinant;
    if (fit->min > 0) {
        fit->min = 0;
        fit->scale = s.xq / s.qq;
    }
    return true;
}

struct encode_affine codec_fit_affine(struct encode_view v, int top, struct encode_search search)
{
    float min = 0, max = v.x[0];

    for (size_t i = 0; i < v.n; i++) {
        min = v.x[i] < min ? v.x[i] : min;
        max = v.x[i] > max ? v.x[i] : max;
    }
    if (!(max - min > ENCODE_TINY)) {
        return (struct encode_affine){0, -min};
    }
    float inverse = (float)top / (max - min);
    struct encode_affine best = {(max - min) / (float)top, min};
    float best_error = affine_error(v, min, inverse, (float)top, best, search.is_absolute);
    for (int i = 0; i <= search.count; i++) {
        struct encode_affine fit;
        float from = best.min; /* the levels of a candidate count from the best minimum so far */
        inverse = ((float)top + search.first + search.step * (float)i) / (max - from);
        if (!solve(sum_affine(v, from, inverse, (float)top), &fit)) {
            continue;
        }
        float error = affine_error(v, from, inverse, (float)top, fit, search.is_absolute);
        if (error < best_error) {
            best_error = error;
            best = fit;
        }
    }
    return (struct encode_affine){best.scale, -best.min};
}
