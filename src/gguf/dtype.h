/* The element types of GGUF tensors: one row per type id of ggml (July 2026, ids 0-42). A type
 * packs `block_len` consecutive elements of a row into `block_bytes` bytes. Source: ggml.h and
 * ggml-common.h of llama.cpp. */
#ifndef GGUF_DTYPE_H
#define GGUF_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* X(enumerator, id, name, block_len, block_bytes). Ids 4, 5, 31-33, 36-38 were removed from ggml.
 */
#define DTYPE_TABLE(X)                                                                             \
    X(DTYPE_F32, 0, "F32", 1, 4)                                                                   \
    X(DTYPE_F16, 1, "F16", 1, 2)                                                                   \
    X(DTYPE_Q4_0, 2, "Q4_0", 32, 18)                                                               \
    X(DTYPE_Q4_1, 3, "Q4_1", 32, 20)                                                               \
    X(DTYPE_Q5_0, 6, "Q5_0", 32, 22)                                                               \
    X(DTYPE_Q5_1, 7, "Q5_1", 32, 24)                                                               \
    X(DTYPE_Q8_0, 8, "Q8_0", 32, 34)                                                               \
    X(DTYPE_Q8_1, 9, "Q8_1", 32, 36)                                                               \
    X(DTYPE_Q2_K, 10, "Q2_K", 256, 84)                                                             \
    X(DTYPE_Q3_K, 11, "Q3_K", 256, 110)                                                            \
    X(DTYPE_Q4_K, 12, "Q4_K", 256, 144)                                                            \
    X(DTYPE_Q5_K, 13, "Q5_K", 256, 176)                                                            \
    X(DTYPE_Q6_K, 14, "Q6_K", 256, 210)                                                            \
    X(DTYPE_Q8_K, 15, "Q8_K", 256, 292)                                                            \
    X(DTYPE_IQ2_XXS, 16, "IQ2_XXS", 256, 66)                                                       \
    X(DTYPE_IQ2_XS, 17, "IQ2_XS", 256, 74)                                                         \
    X(DTYPE_IQ3_XXS, 18, "IQ3_XXS", 256, 98)                                                       \
    X(DTYPE_IQ1_S, 19, "IQ1_S", 256, 50)                                                           \
    X(DTYPE_IQ4_NL, 20, "IQ4_NL", 32, 18)                                                          \
    X(DTYPE_IQ3_S, 21, "IQ3_S", 256, 110)                                                          \
    X(DTYPE_IQ2_S, 22, "IQ2_S", 256, 82)                                                           \
    X(DTYPE_IQ4_XS, 23, "IQ4_XS", 256, 136)                                                        \
    X(DTYPE_I8, 24, "I8", 1, 1)                                                                    \
    X(DTYPE_I16, 25, "I16", 1, 2)                                                                  \
    X(DTYPE_I32, 26, "I32", 1, 4)                                                                  \
    X(DTYPE_I64, 27, "I64", 1, 8)                                                                  \
    X(DTYPE_F64, 28, "F64", 1, 8)                                                                  \
    X(DTYPE_IQ1_M, 29, "IQ1_M", 256, 56)                                                           \
    X(DTYPE_BF16, 30, "BF16", 1, 2)                                                                \
    X(DTYPE_TQ1_0, 34, "TQ1_0", 256, 54)                                                           \
    X(DTYPE_TQ2_0, 35, "TQ2_0", 256, 66)                                                           \
    X(DTYPE_MXFP4, 39, "MXFP4", 32, 17)                                                            \
    X(DTYPE_NVFP4, 40, "NVFP4", 64, 36)                                                            \
    X(DTYPE_Q1_0, 41, "Q1_0", 128, 18)                                                             \
    X(DTYPE_Q2_0, 42, "Q2_0", 64, 18)

#define DTYPE_ENUM(name, id, ...) name = (id),
enum dtype { DTYPE_TABLE(DTYPE_ENUM) };
#undef DTYPE_ENUM

struct dtype_info {
    enum dtype type;
    const char *name; /* "Q4_K" */
    uint32_t block_len;
    uint32_t block_bytes;
};

/* The row of a type id from a file; NULL for an unknown or removed id. */
const struct dtype_info *dtype_find(uint32_t id);

/* "Q4_2" for the id of a type that ggml has removed, else NULL: for messages. */
const char *dtype_removed_name(uint32_t id);

/* The row of a name, ASCII case ignored; NULL if unknown. */
const struct dtype_info *dtype_find_name(struct str name);

/* The row of a known type. Never NULL. */
const struct dtype_info *dtype_info(enum dtype type);

/* Bytes of one row of n elements; n must be a multiple of block_len. */
size_t dtype_row_bytes(enum dtype type, size_t n);

#endif
