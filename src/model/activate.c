/* Activations, caps and the layer norm, built on the kernels exp_sum and rms_norm.
 *
 * tanh and the logistic function are one exponential away from each other:
 *
 *     tanh(u) = 1 - 2 / (1 + e^2u)
 *     gelu(x) = x/2 (1 + tanh(u)) = x / (1 + e^-2u)     u = sqrt(2/pi) (x + 0.044715 x^3)
 *
 * so both take blocks of exponents through the vector exponential. The tanh formula of GELU is the
 * one GGUF files are run with (Hendrycks and Gimpel 2016), also for models that were trained with
 * the error function; the two differ by at most 5e-4.
 *
 * The layer norm is the RMS norm of x less its mean. */
#include "model/activate.h"

#include <math.h>

#include "base/size.h"

enum { BLOCK = 256, LANES = 16 };

/* 16 lanes, so that the sum is short chains and compilers use vector instructions. */
static float mean_of(const float *x, size_t n)
{
    float lane[LANES] = {0}, sum = 0;
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] += x[i + j];
        }
    }
    for (size_t j = 0; j < n - whole; j++) {
        lane[j] += x[whole + j];
    }
    for (size_t j = 0; j < LANES; j++) {
        sum += lane[j];
    }
    return sum / (float)n;
}

void model_layer_norm(const struct kernels *k, const float *x, const float *w, const float *b,
                      float eps, float *y, size_t n)
{
    float mean = mean_of(x, n);
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] - mean;
    }
    k->rms_norm(y, w, eps, y, n);
    if (b) {
        k->add(y, b, y, n);
    }
}

void model_gelu_mul(const struct kernels *k, const float *x, const float *z, float *y, size_t n)
{
    const float root = 0.7978845608F, cubic = 0.044715F;
    for (size_t i = 0; i < n; i += BLOCK) {
        float e[BLOCK];
        size_t count = size_min(BLOCK, n - i);
        for (size_t j = 0; j < count; j++) {
            float v = x[i + j];
            e[j] = -2 * root * v * (1 + cubic * v * v);
        }
        k->exp_sum(e, 0, count);
        for (size_t j = 0; j < count; j++) {
            y[i + j] = z ? x[i + j] / (1 + e[j]) * z[i + j] : x[i + j] / (1 + e[j]);
        }
    }
}

void model_relu2_mul(const float *x, const float *z, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float v = x[i] < 0 ? 0 : x[i];
        y[i] = z ? v * v * z[i] : v * v;
    }
}

static double softplus(double x)
{
    return x > 20 ? x : log1p(exp(x));
}

void model_xielu(const double numbers[4], const float *x, float *y, size_t n)
{
    double beta = numbers[2], eps = numbers[3];
    double below = beta + softplus(numbers[0]), above = softplus(numbers[1]);
    for (size_t i = 0; i < n; i++) {
        double v = (double)x[i];
        y[i] = (float)(v > 0 ? above * v * v + beta * v
                             : (expm1(v < eps ? v : eps) - v) * below + beta * v);
    }
}

void model_swiglu_cut(const struct kernels *k, const float *gate, const float *up, float *y,
                      size_t n)
{
    const float slope = 1.702F, limit = 7;
    for (size_t i = 0; i < n; i += BLOCK) {
        float e[BLOCK], g[BLOCK];
        size_t count = size_min(BLOCK, n - i);
        for (size_t j = 0; j < count; j++) {
            g[j] = gate[i + j] > limit ? limit : gate[i + j];
            e[j] = -slope * g[j];
        }
        k->exp_sum(e, 0, count);
        for (size_t j = 0; j < count; j++) {
            float u = up[i + j] > limit ? limit : up[i + j] < -limit ? -limit : up[i + j];
            y[i + j] = g[j] / (1 + e[j]) * (u + 1);
        }
    }
}

void model_sigmoid(const struct kernels *k, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = -x[i];
    }
    k->exp_sum(x, 0, n);
    for (size_t i = 0; i < n; i++) {
        x[i] = 1 / (1 + x[i]);
    }
}

void model_silu(const struct kernels *k, float *x, size_t n)
{
    for (size_t i = 0; i < n; i += BLOCK) {
        float e[BLOCK];
        size_t count = size_min(BLOCK, n - i);
        for (size_t j = 0; j < count; j++) {
            e[j] = -x[i + j];
        }
        k->exp_sum(e, 0, count);
        for (size_t j = 0; j < count; j++) {
            x[i + j] /= 1 + e[j];
        }
    }
}

void model_soft_cap(const struct kernels *k, float *x, size_t n, float cap)
{
    float inverse = 2 / cap;
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t count = size_min(BLOCK, n - i);
        for (size_t j = 0; j < count; j++) {
            x[i + j] *= inverse;
        }
        k->exp_sum(x + i, 0, count);
        for (size_t j = 0; j < count; j++) {
            x[i + j] = cap * (1 - 2 / (1 + x[i + j]));
        }
    }
}

void model_clamp(float *x, size_t n, float limit)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
    }
}
