#include "model/rope.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* The pair, not rounded, that turns `turns` times within the original context; times 2. */
static double yarn_dim(const struct rope_params *p, double turns)
{
    return p->dim * log(p->ctx_original / (turns * 2 * pi)) / (2 * log(p->base));
}

/* 1: this pair keeps its frequency; 0: it is stretched. */
static double yarn_mix(const struct rope_params *p, uint32_t i)
{
    double low = fmax(0, floor(yarn_dim(p, p->beta_fast)));
    double high = fmin(p->dim - 1, ceil(yarn_dim(p, p->beta_slow)));
    double ramp = (i - low) / fmax(0.001, high - low);
    return (1 - fmin(1, fmax(0, ramp))) * p->ext_factor;
}

/* Attention is sharpened with the logarithm of the extension. */
static double yarn_magnitude(double factor, double weight)
{
    return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

void model_rope_init(const struct rope_params *p, const float *factors, double *freq,
                     double *magnitude)
{
    bool is_yarn = p->scaling == ROPE_SCALING_YARN && p->ext_factor != 0;
    for (uint32_t i = 0; i < p->dim / 2; i++) {
        double plain = pow(p->base, -2.0 * i / p->dim) / (factors ? (double)factors[i] : 1.0);
        double mix = is_yarn ? yarn_mix(p, i) : 0;
        freq[i] = plain * mix + plain / p->factor * (1 - mix);
    }
    *magnitude = p->attn_factor;
    if (is_yarn) {
        *magnitude *= yarn_magnitude(p->factor, p->mul);
        if (p->log_mul != 0) {
            *magnitude /= yarn_magnitude(p->factor, p->log_mul);
        }
    }
}

void model_rope_table(const double *freq, double magnitude, size_t pairs, uint32_t pos,
                      float *cos_at, float *sin_at)
{
    for (size_t i = 0; i < pairs; i++) {
        double angle = pos * freq[i];
        cos_at[i] = (float)(cos(angle) * magnitude);
        sin_at[i] = (float)(sin(angle) * magnitude);
    }
}
