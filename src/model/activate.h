/* The element-wise steps that some families have and the kernel table has not. Each gives the same
 * bits at every CPU level but layer_norm, which is as exact as the kernel rms_norm. */
#ifndef MODEL_ACTIVATE_H
#define MODEL_ACTIVATE_H

#include <stddef.h>

#include "tensor/kernels.h"

/* y = (x - mean) / sqrt(variance + eps) * w + b. w and b may be NULL: 1 and 0. y may be x. */
void model_layer_norm(const struct kernels *k, const float *x, const float *w, const float *b,
                      float eps, float *y, size_t n);

/* y = gelu(x) * z, by the tanh formula; z NULL: 1. y may be x or z. */
void model_gelu_mul(const struct kernels *k, const float *x, const float *z, float *y, size_t n);

/* y = max(x, 0)^2 * z; z NULL: 1. y may be x or z. */
void model_relu2_mul(const float *x, const float *z, float *y, size_t n);

/* y = x > 0: p x^2 + b x, else: n (exp(min(x, eps)) - 1 - x) + b x, where n and p are made of
 * numbers[0] and [1] (Huang and Schlag 2024). y may be x. */
void model_xielu(const double numbers[4], const float *x, float *y, size_t n);

/* y = g / (1 + exp(-1.702 g)) (1 + u), g = min(gate, 7), u = up cut to [-7, 7]. y may be gate. */
void model_swiglu_cut(const struct kernels *k, const float *gate, const float *up, float *y,
                      size_t n);

/* x = 1 / (1 + exp(-x)), in place. */
void model_sigmoid(const struct kernels *k, float *x, size_t n);

/* x = x / (1 + exp(-x)), in place. */
void model_silu(const struct kernels *k, float *x, size_t n);

/* x = cap * tanh(x / cap), in place. */
void model_soft_cap(const struct kernels *k, float *x, size_t n, float cap);

/* x = cut to [-limit, limit], in place; NaN stays. */
void model_clamp(float *x, size_t n, float limit);

#endif
