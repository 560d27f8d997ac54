/* Importance matrices: for each weight tensor, how much each column of its input counts, as the
 * mean square of what a model multiplied it with over some text. The file is the GGUF file that
 * llama.cpp (96dd1a8) writes and reads:
 *
 *     general.type "imatrix", imatrix.datasets [text], imatrix.chunk_count u32, imatrix.chunk_size
 * u32
 *     "<tensor>.in_sum2" F32 [columns, planes]   sums of squares
 *     "<tensor>.counts" F32 [1, planes]          of so many rows; planes are experts
 *
 * The file is hostile: shapes, types and values are checked. */
#ifndef GGUF_IMPORTANCE_H
#define GGUF_IMPORTANCE_H

#include "gguf/gguf.h"

struct gguf_importance;

/* ERR_FORMAT names the tensor that is wrong. */
struct gguf_importance *gguf_importance_open(const char *path, struct err *err);
void gguf_importance_close(struct gguf_importance *importance);

/* The means of a tensor, [planes][columns] with the planes of the tensor; *out is NULL when the
 * file has nothing on it. ERR_INVALID when its shape does not fit. */
bool gguf_importance_find(const struct gguf_importance *importance,
                          const struct gguf_tensor *tensor, const float **out, struct err *err);

/* What the file says of itself; "" and 0 without. */
struct str gguf_importance_dataset(const struct gguf_importance *importance);
uint32_t gguf_importance_chunks(const struct gguf_importance *importance);
size_t gguf_importance_count(const struct gguf_importance *importance);

/* ---- writing ---- */

struct gguf_importance_entry {
    struct str name; /* of the weight tensor */
    uint64_t cols, planes;
    const double *sums;   /* [planes][cols] of squares */
    const double *counts; /* [planes] rows */
};

bool gguf_importance_write(const char *path, const struct gguf_importance_entry *entries,
                           size_t count, struct str dataset, uint32_t chunks, uint32_t chunk_tokens,
                           struct err *err);

#endif
