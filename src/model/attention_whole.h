/* Attention of texts that are there as a whole. See attention_whole.c. */
#ifndef MODEL_ATTENTION_WHOLE_H
#define MODEL_ATTENTION_WHOLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "model/model.h"
#include "tensor/kernels.h"

enum { WHOLE_BLOCK_ROWS = 16 };

/* Neighbouring rows of one text that are worked on together. */
struct whole_block {
    uint32_t first, count; /* of the rows */
};

struct whole {
    const struct kernels *kernels;
    const uint8_t *pages; /* KV_F32 */
    size_t page_bytes;
    size_t v_offset; /* in a page; keys are at 0 */
    size_t head_count, kv_head_count, key_dim, value_dim;
    float scale;
    float cap;        /* soft cap of the scores; 0: none */
    float alibi_bias; /* scores fall by slope(head) * |distance|; 0: none */
    size_t window;    /* see struct layer_shape; 0: everything is seen */
    bool is_causal;
    const struct model_seq *seqs;
    const uint32_t *counts; /* tokens of each sequence */
    const struct model_row *rows;
    size_t row_count;
    const float *q;             /* [rows, head_count, key_dim] */
    float *out;                 /* [rows, head_count, value_dim] */
    struct whole_block *blocks; /* room for row_count / 16 + 2 per sequence + 1 */
};

void model_attend_whole(const struct whole *whole, struct pool *pool);

/* Room for the blocks of so many rows of so many texts. */
size_t model_whole_blocks(size_t rows, size_t texts);

#endif
