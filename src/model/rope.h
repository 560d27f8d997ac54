/* Rotary position embedding: the angles of every pair and the cos/sin tables of a batch.
 *
 *     angle(pos, i) = pos * freq[i]         freq[i] = base^(-2i/dim) / factors[i]
 *
 * Context extension changes freq, so one table of frequencies serves all kinds:
 *
 *     linear   freq / factor
 *     llama 3  factors[i] from the tensor rope_freqs.weight
 *     YaRN     pairs that turn often keep freq, pairs that turn rarely get freq / factor, and a
 * ramp between: mix * freq + (1 - mix) * freq / factor. The pair that turns n times within the
 * original context is at  dim * ln(ctx / (2 pi n)) / (2 ln base); the ramp runs from n = beta_fast
 * to n = beta_slow. cos and sin are multiplied by (0.1 ln factor + 1) * attn_factor. (Peng et al.
 * 2023; as in ggml's rope_yarn.)
 *
 * Angles are computed in double: at position 10^6 a float angle is off by 0.03. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include <stddef.h>
#include <stdint.h>

#include "model/hparams.h"

/* Fills freq [dim / 2] and the factor of cos and sin. `factors` ([dim / 2]) may be NULL. */
void model_rope_init(const struct rope_params *params, const float *factors, double *freq,
                     double *magnitude);

/* cos and sin ([pairs]) of one position. */
void model_rope_table(const double *freq, double magnitude, size_t pairs, uint32_t pos,
                      float *cos_at, float *sin_at);

#endif
