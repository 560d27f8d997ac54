/* Where everything of a model stands in memory. One walk over the tensors decides it; the plan is
 * its sums, loading its execution, so that the plan is exact.
 *
 *     weights   one region: packed matrices, norms and biases as float, an untied token embedding
 *               in the file's own format (its rows are decoded one at a time)
 *     adapters  one region, lora.h
 *     pages     one region of page_count pages. A page holds 64 positions of every layer:
 *               layer 0 [ K: kv_head x key_dim x 64 | V: kv_head x 64 x value_dim ], layer 1 ...
 *     states    one region of states. A state is what the layers of a recurrence pass on, float:
 *               layer 0 [ last inputs of the convolution | matrices of the heads ], layer 1 ...
 *     scratch   the activations of one forward call
 *     tables    rope frequencies */
#ifndef MODEL_LAYOUT_H
#define MODEL_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/carve.h"
#include "base/err.h"
#include "gguf/gguf.h"
#include "model/hparams.h"
#include "model/lora.h"
#include "model/model.h"
#include "model/slots.h"
#include "tensor/matrix.h"

struct expert {
    struct matrix gate, up, down;
    const float *gate_bias, *up_bias, *down_bias; /* or NULL; in the layer's stacks of them */
};

struct layer {
    struct matrix q, k, v, out, gate, up, down; /* gate.rows is 0 without one */
    /* [embed_dim] or NULL. attn_norm_2 is that of the attention when it is not the ffn's. */
    const float *attn_norm, *attn_norm_bias, *attn_norm_2, *attn_norm_2_bias;
    const float *ffn_norm, *ffn_norm_bias;
    const float *attn_post_norm, *ffn_post_norm, *attn_post_norm_bias, *ffn_post_norm_bias;
    const float *q_norm, *k_norm; /* see qk_norm of the family; or NULL */
    const float *q_norm_bias, *k_norm_bias;
    const float *sinks; /* [head_count] or NULL */
    /* tail.c; twin.c */
    struct matrix tail_in, tail_out;
    const float *tail_norm, *tail_scale;
    const float *dense_post_norm, *experts_norm, *experts_post_norm;
    const float *router_scale;  /* [embed_dim]: the router reads x / rms(x) times this; or NULL */
    const float *expert_scales; /* [expert_count], of what experts give; or NULL */
    const float *q_bias, *k_bias, *v_bias, *out_bias, *gate_bias, *up_bias,
        *down_bias; /* or NULL */
    /* With experts: the rows of the router are theirs; gate, up and down above are the shared
     * one's, if there is one, and shared_gate its own gate, or NULL. */
    struct matrix router;
    struct expert *experts; /* [expert_count], in struct weights */
    const float *shared_gate;
    const float *router_bias;                           /* [expert_count], of the choice; or NULL */
    const float *score_bias;                            /* [expert_count], of the scores; or NULL */
    const float *gate_biases, *up_biases, *down_biases; /* [expert_count][...] or NULL */
    /* Of latent attention: q may come from the bottleneck q_down; keys and values of all heads from
     * kv_down. [head_count] matrices, in struct weights. */
    struct matrix q_down, kv_down;
    const float *q_down_norm, *kv_down_norm;
    struct matrix *k_up, *v_up; /* query to latent, latent to value */
    /* Of a layer that passes on a state, and its output matrix is `out`: */
    struct matrix mix_in, mix_gate, mix_rates, mix_decay;
    const float *conv, *conv_bias;         /* [channels][taps], [channels] or NULL */
    const float *decay, *step_bias, *skip; /* [heads] */
    const float *mix_norm;
    size_t state_offset; /* bytes into a state */
    size_t kv_offset;    /* bytes into a page */
    bool is_parallel;    /* attention and ffn have the same input */
    bool has_fused_bias; /* k_bias and v_bias stand behind q_bias in one tensor */
};

/* What follows the hidden states of a text besides the pooling; rows 0, NULL: not there.
 *
 *     classes   out(norm(act(dense x)))
 *     vectors   dense_3(dense_2 x) */
struct head {
    struct matrix dense, out, dense_2, dense_3;
    const float *dense_bias, *norm, *out_bias;
};

struct weights {
    struct layer *layers;   /* owned */
    struct expert *experts; /* owned; [layers][expert_count] or NULL */
    struct matrix *heads;   /* owned; [layers][2][head_count] of latent attention or NULL */
    const float *output_norm, *output_norm_bias, *output_bias;
    const float *embed_norm, *embed_norm_bias; /* or NULL */
    /* [rope dim / 2] or NULL; short and long for contexts up to ctx_original and beyond. */
    const float *rope_factors, *rope_short, *rope_long;
    struct matrix layer_in; /* tail.c */
    const float *layer_norm;
    const uint8_t *layer_rows;
    size_t layer_row_bytes;
    enum dtype layer_type;
    struct matrix output; /* also the embedding when embed_rows is NULL; none in an encoder */
    const uint8_t *embed_rows;
    size_t embed_row_bytes;
    enum dtype embed_type;
    const uint8_t *type_rows; /* of the first and second text of a pair, or NULL */
    size_t type_row_bytes, type_count;
    enum dtype type_type;
    struct head head;
    const uint8_t *pos_rows; /* learned positions, [ctx_train_tokens], or NULL */
    size_t pos_row_bytes;
    enum dtype pos_type;
};

/* One tensor, or some of its rows, and its place. */
struct weight_item {
    enum weight_kind kind;
    const struct gguf_tensor *tensor;
    uint64_t row, row_count;
    void *slot;       /* struct matrix *, const float ** or const uint8_t ** */
    size_t at, bytes; /* in the weights region */
};

/* Activations of one call, all [row][...]. Buffers are shared where their lives do not meet. */
struct scratch {
    float *x;         /* [embed_dim] the residual stream */
    float *norm;      /* [embed_dim] normed input of a block; then the block's output */
    float *side;      /* [embed_dim] input of the ffn while attention runs; parallel models */
    float *q, *k, *v; /* [heads * head_dim] */
    float *attn;      /* [heads * value_dim], or what another mixer gives */
    float *aux[MIXER_AUX_COUNT];        /* model_mixer_widths */
    float *layer_inputs, *layer_tokens; /* [layers][layer_input_dim], or NULL */
    float *twin;                        /* [embed_dim] what the dense half gives, or NULL */
    float *part;                        /* partial results of attention, attention.h */
    float *gate, *up;                   /* [ffn_dim] */
    /* With experts: [expert_count] scores, [expert_used] weights and choices; the rows of one
     * expert side by side, and what it makes of them; the sum of all. */
    float *route, *weights, *expert_in, *expert_out, *expert_sum;
    uint32_t *chosen;
    float *cos, *sin; /* [all pairs of all tables] */
    uint8_t *act;     /* quantised activations */
    struct model_row *rows;
    size_t part_floats;
};

struct layout {
    struct weights weights;
    struct weight_item *items; /* owned */
    size_t item_count;
    struct lora lora;
    bool has_positions; /* learned: no context beyond them */
    size_t weights_bytes;
    size_t scratch_bytes, table_bytes;
    size_t page_bytes, state_bytes;
    uint64_t read_bytes, macs, parameters; /* see model_info */
};

/* Checks every tensor of the model against the hyper-parameters (and fills h->vocab_count from the
 * token embedding when the metadata do not say), and places it. Nothing is read. ERR_FORMAT names a
 * missing or misshapen tensor, ERR_ARCH a tensor of a type or name that hearth cannot use. */
bool model_layout_init(struct layout *layout, struct hparams *h, const struct gguf *gguf,
                       struct err *err);
void model_layout_deinit(struct layout *layout);

/* The scratch for calls of `rows` rows, of which `piece` go through a block at once, and contexts
 * of ctx tokens. */
void model_layout_scratch(struct carver *c, struct scratch *scratch, const struct hparams *h,
                          size_t rows, size_t piece, size_t ctx);

/* Decides ctx and pages and fills the plan; ERR_MEMORY when it does not fit. */
bool model_layout_plan(struct layout *layout, const struct hparams *h, enum kv_type kv_type,
                       const struct model_params *params, struct model_plan *plan, struct err *err);

#endif
