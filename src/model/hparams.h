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
    MODEL_EXPERTS_MAX = 1024,
};

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_YARN };

/* Layers differ in what they rotate by: no table, or one of these. */
enum rope_table { ROPE_TABLE_MAIN, ROPE_TABLE_WINDOW, ROPE_TABLE_COUNT };

/* The rotation of position pos turns pair i by pos * base^(-2i/dim) / factors[i], rescaled as
 * rope.h explains. */
struct rope_params {
    uint32_t dim; /* even, <= key_dim; 0: nothing turns */
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
    /* A row sees so many positions, itself included; 0: all. In an encoder: half as many in each
     * direction, and itself. */
    uint32_t window;
    bool has_experts;
    bool turns; /* its heads are rotated, by this table: */
    enum rope_table table;
};

struct hparams {
    const struct traits *traits;
    enum ffn_gate gate; /* never GATE_AS_IS once the layout is made */
    uint32_t layer_count, embed_dim, ctx_train_tokens;
    uint32_t vocab_count;        /* as the metadata say; 0 when they do not, see layout.h */
    uint32_t key_dim, value_dim; /* of one head */
    float norm_eps;
    struct rope_params rope;
    double window_base; /* of ROPE_TABLE_WINDOW, which is scaled if has_scaled_window */
    bool has_scaled_window;
    bool has_two_tables; /* layers with a window use ROPE_TABLE_WINDOW */
    bool is_parallel;    /* RESIDUAL_PARALLEL, or the key said so */
    double attn_scale;   /* of the scores */
    double embed_scale, residual_scale, logit_scale; /* 1 without; logits are divided */
    double score_cap, logit_cap;                     /* soft caps: c tanh(x / c); 0: none */
    double clamp;                                    /* of q, k and v; 0: none */
    double alibi_bias; /* head h of n adds -slope(h, n, this) * distance to its scores; 0: none */
    /* Queries are multiplied by 1 + scale * ln(1 + floor(pos / rope.ctx_original)). */
    double temperature_scale; /* 0: none */
    bool is_causal;           /* a row sees only what stands before it, and itself */
    enum pooling pooling;     /* as the key says, else the mean: */
    bool has_pooling_key;
    /* 0 without experts. Every row takes `used` of them, and the shared one if it has a width. */
    uint32_t expert_count, expert_used, expert_ffn_dim, shared_ffn_dim;
    bool has_sigmoid, has_plain_weights; /* of the router; see traits */
    double expert_scale;                 /* of the sum of the chosen ones; 1 without */
    struct layer_shape max;              /* over layers, each by itself */
    struct layer_shape layers[MODEL_LAYERS_MAX];
};

/* ERR_ARCH for an architecture that is not in the table, for experts and rope scalings we do not
 * know; ERR_FORMAT names the key and the value. */
bool model_hparams_read(struct hparams *h, const struct gguf *gguf, struct err *err);

#endif
