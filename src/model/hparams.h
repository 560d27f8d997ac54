/* Hyper-parameters: the numbers of the metadata that shape a model, checked. After
 * model_hparams_read every division, product and array index that uses them is safe; whether the
 * tensors agree with them is checked in layout.h. */
#ifndef MODEL_HPARAMS_H
#define MODEL_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "gguf/gguf.h"
#include "model/traits.h"

/* Bounds. Each is several times what any published model has; within them no product of two sizes
 * leaves 63 bits. */
enum {
    MODEL_LAYERS_MAX = 512,
    MODEL_HEADS_MAX = 1 << 16,
    MODEL_HEAD_DIM_MAX = 1 << 16,
    MODEL_WIDTH_MAX = 1 << 24, /* embedding, feed-forward, heads * head_dim */
    MODEL_CTX_MAX = INT32_MAX,
};

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_YARN };

/* The rotation of position pos turns pair i by pos * base^(-2i/dim) / factors[i], rescaled as
 * rope.h explains. */
struct rope_params {
    uint32_t dim; /* even, <= key_dim */
    double base;
    enum rope_scaling scaling;
    double factor;         /* context extension, >= 0; 1 without */
    double attn_factor;    /* multiplies cos and sin */
    uint32_t ctx_original; /* YaRN: the context before the extension */
    double ext_factor;     /* YaRN: 1 unless the file says */
    double beta_fast, beta_slow, log_mul;
};

struct layer_shape {
    uint32_t head_count, kv_head_count, ffn_dim;
};

struct hparams {
    const struct traits *traits;
    uint32_t layer_count, embed_dim, ctx_train_tokens;
    uint32_t vocab_count;        /* as the metadata say; 0 when they do not, see layout.h */
    uint32_t key_dim, value_dim; /* of one head */
    float norm_eps;
    struct rope_params rope;
    double attn_scale;                               /* of the scores */
    double embed_scale, residual_scale, logit_scale; /* 1 without */
    /* Queries are multiplied by 1 + scale * ln(1 + floor(pos / rope.ctx_original)). */
    double temperature_scale; /* 0: none */
    struct layer_shape max;   /* over layers, each by itself */
    struct layer_shape layers[MODEL_LAYERS_MAX];
};

/* ERR_ARCH for an architecture that is not in the table, for experts and rope scalings we do not
 * know; ERR_FORMAT names the key and the value. */
bool model_hparams_read(struct hparams *h, const struct gguf *gguf, struct err *err);

#endif
