/* Texts to vectors and scores: whole texts go through the layers at once, packed one behind the
 * other without padding, nothing is generated and nothing kept.
 *
 * An encoder's file (BERT and its kin) has no other use. Any decoder can be read this way too: then
 * a token sees what stands before it, as in generation, and the encoder has its own scratch beside
 * that of the decoder, so that both may run at the same time.
 *
 * A text's result depends on its own tokens only: not on the other texts of the call, their order,
 * or the number of threads, bit for bit. One call at a time per encoder. */
#ifndef MODEL_ENCODER_H
#define MODEL_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/model.h"

struct model_encoder;

enum {
    MODEL_ENCODER_TEXTS_MAX = 64,
    MODEL_ENCODER_TOKENS_DEFAULT = 8192,
    MODEL_ENCODER_ROWS_DEFAULT = 2048
};

struct model_encoder_params {
    uint32_t tokens_max; /* of a decoder: longest text; 0: its context, at most 8192 */
    /* Tokens whose logits behind the last one are the classes, for rerankers without a head of
     * their own (Qwen3-Reranker: "yes" and "no"). class_count 0: as the file says. */
    const int32_t *class_tokens;
    size_t class_count;
    uint64_t memory_max; /* of a decoder: bytes that may be taken; 0: what is free */
};

struct model_encoder_info {
    enum model_encoder_pooling pooling;
    bool has_pooling_key; /* else the file did not say, and it is the mean */
    bool is_causal;       /* a token sees only what stands before it */
    uint32_t width;       /* of a vector, or the number of classes */
    uint32_t tokens_max;  /* of one text */
    uint32_t rows_max;    /* tokens of all texts of a call; >= tokens_max */
    uint64_t scratch_bytes;
};

/* The model must outlive the encoder. An encoder's file uses what model_load reserved: one encoder
 * per model. ERR_ARCH for a decoder whose layers keep more than keys and values, ERR_MEMORY, or
 * ERR_FORMAT for ranks without classes. */
struct model_encoder *model_encoder_create(struct model *model,
                                           const struct model_encoder_params *params,
                                           struct err *err);
void model_encoder_destroy(struct model_encoder *encoder); /* NULL is fine */

const struct model_encoder_info *model_encoder_info(const struct model_encoder *encoder);

struct model_encoder_text {
    const int32_t *tokens; /* of the vocabulary */
    size_t count;          /* 1..tokens_max */
    size_t second_at;      /* of a pair: where the second text begins; 0 or count: nowhere */
};

/* Vectors as the model gives them, not normalised: [texts][width], or [tokens of all texts][width]
 * without pooling. At most MODEL_ENCODER_TEXTS_MAX texts and rows_max tokens. Never allocates. */
void model_encoder_run(struct model_encoder *encoder, const struct model_encoder_text *texts,
                       size_t count, float *out);

#endif
