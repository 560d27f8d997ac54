/* The memory of an encoder besides weights, for encoder.c and for the plan of an encoder's file. */
#ifndef MODEL_ENCODER_WORK_H
#define MODEL_ENCODER_WORK_H

#include "model/attention_whole.h"
#include "model/layout.h"

/* Rows that go through a block at once: their activations stay in the second-level cache. */
enum { MODEL_ENCODER_PIECE_ROWS = 256 };

struct encoder_work {
    struct scratch scratch;
    struct model_row *rows; /* [rows_max] of the call */
    struct whole_block *blocks;
    struct model_seq *seqs; /* [MODEL_ENCODER_TEXTS_MAX] */
    uint32_t *counts;       /* [MODEL_ENCODER_TEXTS_MAX] tokens */
    uint32_t *pages;        /* [pages] 0, 1, 2 ... */
    float *pooled, *inner;  /* [MODEL_ENCODER_TEXTS_MAX][widest of the head] */
    uint8_t *act;           /* quantised activations of the head */
    float *classes;         /* [class_count][embed_dim] of params.class_tokens */
};

/* Tokens of a call, for texts of at most so many; pages of one layer that they take. */
size_t model_encoder_rows(size_t tokens_max);
size_t model_encoder_pages(size_t tokens_max);

/* Bytes of a page: keys and values of the widest layer in F32. False when they are too many. */
bool model_encoder_page_bytes(const struct hparams *h, size_t *bytes);

void model_encoder_carve(struct carver *c, struct encoder_work *work, const struct layout *layout,
                         const struct hparams *h, size_t tokens_max, size_t class_count);

#endif
