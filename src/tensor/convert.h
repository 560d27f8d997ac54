/* Stretches of a tensor from one type to another, in parallel, through float. Not on the hot path.
 */
#ifndef TENSOR_CONVERT_H
#define TENSOR_CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "gguf/dtype.h"

/* Elements one thread converts at a time; a multiple of every block length. */
enum { CODEC_PIECE = 16384 };

/* What a conversion lost: sums over elements. */
struct codec_loss {
    double squares;     /* x^2 */
    double differences; /* (x - x')^2 */
};

struct codec_conversion {
    enum dtype from, to;
    const void *in;
    void *out;
    size_t count; /* elements, a multiple of both block lengths */
    /* How much an error in each column matters, [planes][row_len]; or NULL. `first` is the first
     * element's place in the tensor, whose planes have plane_len elements. */
    const float *weights;
    uint64_t first, row_len, plane_len;
    bool wants_loss;
    struct codec_loss loss; /* the result, if wanted */
};

/* Scratch for conversions of up to `count` elements at once. 0: it does not fit a size_t. */
size_t codec_convert_bytes(const struct pool *pool, size_t count);

/* scratch: codec_convert_bytes, aligned for doubles. False when an element is no number or too
 * large for `to`: *bad is the first such one (out is then only partly written). The result depends
 * on the conversion alone, not on the threads. */
bool codec_convert(struct pool *pool, struct codec_conversion *conversion, void *scratch,
                   size_t *bad);

#endif
