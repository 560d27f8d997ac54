/* Weight matrices in the layout of the kernels, and the product with activations.
 *
 * A matrix y = W x of `rows` outputs and `cols` inputs is cut in panels of 16 rows (the last one
 * padded with zero rows). Inside a panel the elements stand column-group by column-group, 16 rows
 * side by side, so that one vector lane is one output row on every instruction set:
 *
 *     quantised types   groups of 4 columns: [16 rows][4 columns] bytes, the shape of
 * vpdpbusd/sdot; scales of the 16 rows stand together per block F32 F16 BF16      one column at a
 * time: [16 rows]
 *
 * Activations of quantised products are quantised once per token: int8, one float scale per 32
 * values, with the sum of each block for the zero points. Integer sums are exact; floating sums run
 * over the blocks of a row in ascending order with fused multiply-add, one chain per output
 * element, at every level and for every number of tokens. So y does not depend on the batch, the
 * thread count or (for quantised types) even the instruction set.
 *
 * Float products (F32 F16 BF16 weights) use float activations and float fused multiply-add. */
#ifndef TENSOR_MATRIX_H
#define TENSOR_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "gguf/dtype.h"
#include "tensor/kernels.h"

enum { MATRIX_PANEL_ROWS = 16 };

struct matrix {
    enum dtype type;
    size_t rows, cols;
    size_t panel_bytes;   /* multiple of 64 */
    const uint8_t *bytes; /* aligned to 64; panel i at bytes + i * panel_bytes; not owned */
};

/* Types a matrix can be made of: those that codec_can_decode. */
bool matrix_supports(enum dtype type);

/* Bytes of the packed matrix; false when it does not fit a size_t. cols is a multiple of the type's
 * block_len. */
bool matrix_bytes(enum dtype type, size_t rows, size_t cols, size_t *bytes);

/* Fills *matrix (no memory is allocated; `bytes` of matrix_bytes are filled later by matrix_pack).
 */
void matrix_init(struct matrix *matrix, enum dtype type, size_t rows, size_t cols, uint8_t *bytes);

/* Packs panels [panel, panel + count) from the rows of a GGUF tensor. `source` holds the rows from
 * 16 * panel on, as many as exist, unaligned. `bytes` is the memory of the whole matrix, to which
 * panel i goes at i * panel_bytes. Calls for different panels may run on several threads. */
void matrix_pack(const struct matrix *matrix, size_t panel, size_t count, const void *source,
                 uint8_t *bytes);

/* One row back as floats (token embeddings of tied matrices). out: [cols] */
void matrix_row(const struct matrix *matrix, size_t row, float *out);

/* Scratch for quantised activations of `tokens` rows of `cols` values (48 bytes per 32 values).
 * Multiple of 64. The product of both must fit a size_t 2 times over. */
size_t activation_bytes(size_t tokens, size_t cols);

/* x: [tokens, cols] with x_stride floats between rows. Fills the scratch (aligned to 64), in
 * parallel. */
struct activation {
    const float *x;
    size_t x_stride;
    size_t tokens, cols;
    uint8_t *scratch; /* quantised form, filled by activation_quantize */
    bool is_quantized;
};

void activation_init(struct activation *act, const float *x, size_t x_stride, size_t tokens,
                     size_t cols, uint8_t *scratch);

/* Quantises once for all products that use it; a product with a float matrix does not need it. */
void activation_quantize(struct activation *act, const struct kernels *k, struct pool *pool);

/* One product of a group that shares its input: y[t, r] = sum_c W[r, c] x[t, c], for all tokens t
 * and rows r. y: [tokens, rows] with y_stride floats between rows. bias: [rows] or NULL is added
 * last, as a plain float addition. */
struct product {
    const struct matrix *w;
    float *y;
    size_t y_stride;
    const float *bias;
};

/* Runs a group of products with the same input as one parallel job (q, k, v; gate, up). Every w has
 * act->cols columns; for a quantised w the activation must have been quantised. The y do not
 * overlap each other nor x. Never allocates. */
void matrix_multiply(const struct kernels *k, struct pool *pool, const struct activation *act,
                     const struct product *products, size_t product_count);

#endif
