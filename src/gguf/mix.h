/* Which type each tensor of a model gets when the model is quantised to a target: the rules that
 * llama-quantize (llama.cpp 96dd1a8, src/llama-quant.cpp) applies, so that files come out as users
 * of the field expect.
 *
 * Converted are tensors of two and more dimensions whose name ends in "weight", except norms,
 * positions, expert gates and other small ones that cost quality and save nothing. All else keeps
 * the type it has. A target names a type and a mix: the output matrix (or the embeddings that
 * double as one), values, keys and the downward projections of some layers get more bits than the
 * rest. A tensor whose rows are no multiple of the block gets a type with a shorter block, or F16.
 */
#ifndef GGUF_MIX_H
#define GGUF_MIX_H

#include "gguf/gguf.h"

/* X(enumerator, name, type of most tensors, file type: enum llama_ftype of llama.h) */
#define GGUF_MIX_TABLE(X)                                                                          \
    X(GGUF_MIX_F16, "F16", DTYPE_F16, 1)                                                           \
    X(GGUF_MIX_BF16, "BF16", DTYPE_BF16, 32)                                                       \
    X(GGUF_MIX_Q8_0, "Q8_0", DTYPE_Q8_0, 7)                                                        \
    X(GGUF_MIX_Q6_K, "Q6_K", DTYPE_Q6_K, 18)                                                       \
    X(GGUF_MIX_Q5_K_M, "Q5_K_M", DTYPE_Q5_K, 17)                                                   \
    X(GGUF_MIX_Q5_K_S, "Q5_K_S", DTYPE_Q5_K, 16)                                                   \
    X(GGUF_MIX_Q5_1, "Q5_1", DTYPE_Q5_1, 9)                                                        \
    X(GGUF_MIX_Q5_0, "Q5_0", DTYPE_Q5_0, 8)                                                        \
    X(GGUF_MIX_Q4_K_M, "Q4_K_M", DTYPE_Q4_K, 15)                                                   \
    X(GGUF_MIX_Q4_K_S, "Q4_K_S", DTYPE_Q4_K, 14)                                                   \
    X(GGUF_MIX_Q4_1, "Q4_1", DTYPE_Q4_1, 3)                                                        \
    X(GGUF_MIX_Q4_0, "Q4_0", DTYPE_Q4_0, 2)                                                        \
    X(GGUF_MIX_IQ4_NL, "IQ4_NL", DTYPE_IQ4_NL, 25)                                                 \
    X(GGUF_MIX_IQ4_XS, "IQ4_XS", DTYPE_IQ4_XS, 30)                                                 \
    X(GGUF_MIX_MXFP4_MOE, "MXFP4_MOE", DTYPE_MXFP4, 38)                                            \
    X(GGUF_MIX_Q3_K_L, "Q3_K_L", DTYPE_Q3_K, 13)                                                   \
    X(GGUF_MIX_Q3_K_M, "Q3_K_M", DTYPE_Q3_K, 12)                                                   \
    X(GGUF_MIX_Q3_K_S, "Q3_K_S", DTYPE_Q3_K, 11)                                                   \
    X(GGUF_MIX_IQ3_M, "IQ3_M", DTYPE_IQ3_S, 27)                                                    \
    X(GGUF_MIX_IQ3_S, "IQ3_S", DTYPE_IQ3_S, 26)                                                    \
    X(GGUF_MIX_IQ3_XS, "IQ3_XS", DTYPE_IQ3_S, 22)                                                  \
    X(GGUF_MIX_IQ3_XXS, "IQ3_XXS", DTYPE_IQ3_XXS, 23)                                              \
    X(GGUF_MIX_Q2_K, "Q2_K", DTYPE_Q2_K, 10)                                                       \
    X(GGUF_MIX_Q2_K_S, "Q2_K_S", DTYPE_Q2_K, 21)                                                   \
    X(GGUF_MIX_IQ2_M, "IQ2_M", DTYPE_IQ2_S, 29)                                                    \
    X(GGUF_MIX_IQ2_S, "IQ2_S", DTYPE_IQ2_XS, 28)                                                   \
    X(GGUF_MIX_IQ2_XS, "IQ2_XS", DTYPE_IQ2_XS, 20)                                                 \
    X(GGUF_MIX_IQ2_XXS, "IQ2_XXS", DTYPE_IQ2_XXS, 19)                                              \
    X(GGUF_MIX_IQ1_M, "IQ1_M", DTYPE_IQ1_M, 31)                                                    \
    X(GGUF_MIX_IQ1_S, "IQ1_S", DTYPE_IQ1_S, 24)                                                    \
    X(GGUF_MIX_TQ2_0, "TQ2_0", DTYPE_TQ2_0, 37)                                                    \
    X(GGUF_MIX_TQ1_0, "TQ1_0", DTYPE_TQ1_0, 36)

#define GGUF_MIX_ENUM(id, ...) id,
enum gguf_mix_id { GGUF_MIX_TABLE(GGUF_MIX_ENUM) GGUF_MIX_COUNT };
#undef GGUF_MIX_ENUM

struct gguf_mix_target {
    enum gguf_mix_id id;
    const char *name;
    enum dtype type;
    uint32_t file_type; /* the value of general.file_type */
};

/* The target of a name, ASCII case ignored (Q3_K, Q4_K, Q5_K: their M); NULL for an unknown one. */
const struct gguf_mix_target *gguf_mix_find(struct str name);
const struct gguf_mix_target *gguf_mix_target(enum gguf_mix_id id);

enum { GGUF_MIX_LAYERS_MAX = 1024 };

/* What the rules ask of a model. */
struct gguf_mix {
    const struct gguf_mix_target *target;
    bool has_importance;
    bool is_tied;           /* no output.weight: token_embd.weight is used in its place */
    bool is_falcon, is_70b; /* 70b: 80 layers with grouped heads */
    uint32_t expert_count;  /* 0: none */
    uint32_t heads_per_key; /* 1: not grouped */
    uint32_t layer_count;
    uint32_t keyless_count; /* the last layers, which use keys and values of earlier ones */
    uint32_t value_count;   /* layers with values of their own */
    uint16_t values_before[GGUF_MIX_LAYERS_MAX]; /* of them, before this layer */
};

/* has_importance: an importance matrix is at hand, which changes a few rules. */
void gguf_mix_init(struct gguf_mix *mix, const struct gguf *gguf,
                   const struct gguf_mix_target *target, bool has_importance);

enum dtype gguf_mix_type(const struct gguf_mix *mix, const struct gguf_tensor *tensor);

/* True for a type of so few bits that it is useless without an importance matrix. */
bool gguf_mix_needs_importance(const struct gguf_mix *mix, const struct gguf_tensor *tensor);

#endif
