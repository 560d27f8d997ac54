/* Stretches of a tensor from one type to another, in parallel, through float. Not on the hot path.
 */
#ifndef TENSOR_CONVERT_H
#define TENSOR_CONVERT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/pool.h"
#include "gguf/dtype.h"

/* Elements one thread converts at a time; a multiple of every block length. */
enum { CODEC_PIECE = 16384 };

/* Scratch for codec_convert: one piece of floats per thread. */
size_t codec_convert_bytes(const struct pool *pool);

/* Converts count elements (a multiple of both block lengths). scratch: codec_convert_bytes, aligned
 * for floats. False when an element is no number or too large for `to`: *bad is the first such one
 * (out is then only partly written). */
bool codec_convert(struct pool *pool, enum dtype from, const void *in, enum dtype to, void *out,
                   size_t count, float *scratch, size_t *bad);

#endif
