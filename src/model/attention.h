/* Attention of a batch of rows over their sequences' pages. See attention.c. */
#ifndef MODEL_ATTENTION_H
#define MODEL_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "model/model.h"
#include "tensor/kernels.h"

struct attention {
    const struct kernels *kernels;
    enum kv_type kv_type;
    const uint8_t *pages; /* of the model */
    size_t page_bytes;
    size_t k_offset, v_offset; /* of this layer in a page */
    size_t head_count, kv_head_count, key_dim, value_dim;
    float scale;
    float cap;          /* soft cap of the scores; 0: none */
    float alibi_bias;   /* scores fall by slope(head) * distance; 0: none. See attention.c */
    size_t window;      /* a row sees so many positions, itself included; 0: all */
    size_t chunk;       /* a row sees those of its own chunk of so many positions; 0: all */
    const float *sinks; /* [head_count]: scores that take weight and give nothing; or NULL */
    const struct model_seq *seqs;
    const struct model_row *rows;
    size_t row_count;
    const float *q; /* [rows, head_count, key_dim] */
    float *out;     /* [rows, head_count, value_dim] */
    float *part;    /* part_floats floats: model_attention_part_floats */
    size_t part_floats;
};

/* Scratch for at most `rows` rows and positions below ctx. */
size_t model_attention_part_floats(size_t rows, size_t ctx, size_t head_count, size_t kv_head_count,
                                   size_t value_dim);

/* What ALiBi takes off a score of this head per position between query and key. */
float model_alibi_slope(float bias, size_t head_count, size_t head);

void model_attention_run(const struct attention *attention, struct pool *pool);

#endif
