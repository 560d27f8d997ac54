/* Low-rank adapters (Hu et al. 2021): files that change matrices of a model a little, read beside
 * it and added when a row runs.
 *
 *     y = W x + scale * (alpha / rank) * B (A x)       A [rank][cols]   B [rows][rank]
 *
 * Each sequence has its own scales; a row without adapters keeps its bytes. What an adapter file
 * holds is a GGUF of its own: general.type "adapter", adapter.type "lora", adapter.lora.alpha, and
 * two tensors NAME.lora_a and NAME.lora_b for each matrix NAME that it changes. One that changes
 * what hearth cannot change in this way (embeddings, norms, stacked experts) is refused by name.
 *
 * A matrix that is a part of a fused tensor takes its rows of B. */
#ifndef MODEL_LORA_H
#define MODEL_LORA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "gguf/gguf.h"
#include "tensor/matrix.h"

struct layout;
struct hparams;
struct forward;

enum { MODEL_ADAPTER_RANK_MAX = 1024 };

/* What one adapter adds to one matrix. Both factors lie turned, so that kernels run along the rank
 * and along the rows. */
struct lora_part {
    const struct matrix *matrix; /* the layout's */
    uint32_t adapter, rank;
    float factor; /* alpha / rank */
    size_t at;    /* in the region: a [cols][rank], then b [rank][rows] */
    const float *a, *b;
    const struct gguf_tensor *a_tensor, *b_tensor; /* while it is loaded */
    uint64_t row;                                  /* of b_tensor */
};

struct lora {
    struct lora_part *parts; /* owned; by the address of the packed matrix once loaded */
    size_t part_count, adapter_count;
    size_t bytes; /* of the region */
};

/* Finds the place of every tensor of the adapters; nothing is read. ERR_FORMAT and ERR_ARCH name
 * the file and the key or tensor. */
bool model_lora_init(struct lora *lora, const struct layout *layout, const struct hparams *h,
                     const struct gguf *model, const struct gguf *const *adapters, size_t count,
                     struct err *err);
void model_lora_deinit(struct lora *lora);

/* Reads them into the region. The layout's matrices have their bytes. */
bool model_lora_load(struct lora *lora, const struct gguf *const *adapters, uint8_t *region,
                     struct err *err);

/* Adds to the product y = w x of the rows f->rows what their sequences' adapters add. */
void model_lora_add(struct forward *f, const struct product *product, const float *x,
                    size_t stride);

#endif
