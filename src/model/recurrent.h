/* What layers share that pass a state from position to position (hparams.h has its sizes):
 *
 *     state of a layer   [taps - 1][channels]           the last inputs of the convolution
 *                        [heads][key_dim][value_dim]    what the heads remember
 *
 * The rows of a sequence in one call are a run. A head takes the rows of a run one after the other,
 * and a convolution looks back over the border of the call into the state, so it makes no
 * difference how a sequence is cut into calls: not to a single bit. The recurrences are computed
 * step by step, as they are defined, not in the chunked form of the papers, which sums in another
 * order for each cut; they are a hundredth of the work of the matrix products around them. */
#ifndef MODEL_RECURRENT_H
#define MODEL_RECURRENT_H

#include "model/forward.h"

/* Empties the states of sequences that begin in this call. */
void model_states_begin(struct forward *f);

/* A convolution over positions, each channel by itself: y[c] = sum_j conv[c][j] x[pos - taps + 1 +
 * j][c] (+ bias), tap by tap. */
struct convolution {
    const float *x; /* [rows], `stride` floats apart */
    size_t stride;
    float *y; /* [rows][channels]; not x */
    bool has_silu;
};

/* y of all rows; the state goes on. */
void model_convolve(struct forward *f, const struct convolution *convolution);

/* One head and the rows [first, end) of a run. memory: [key_dim][value_dim]. */
typedef void head_fn(struct forward *f, size_t first, size_t end, size_t head, float *memory);
void model_each_head(struct forward *f, head_fn *fn);

/* log(1 + exp(x)) */
float model_softplus(float x);

#endif
