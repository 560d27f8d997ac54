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

struct model_keys;

/* Bounds. Each is several times what any published model has; within them no product of two sizes
 * leaves 63 bits. */
enum {
    MODEL_LAYERS_MAX = 512,
    MODEL_HEADS_MAX = 1 << 16,
    MODEL_HEAD_DIM_MAX = 1 << 16,
    MODEL_WIDTH_MAX = 1 << 24, /* embedding, feed-forward, heads * head_dim */
    MODEL_CTX_MAX = INT32_MAX,
    MODEL_EXPERTS_MAX = 1024,
    MODEL_CONV_MAX = 64,       /* taps of a convolution over positions */
    MODEL_CHUNK_TOKENS = 8192, /* of Llama 4 */
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
    double beta_fast, beta_slow, log_mul, mul;
};

struct layer_shape {
    enum mixer mixer;
    uint32_t head_count, kv_head_count, ffn_dim;
    uint32_t key_dim, value_dim; /* of one head, as its keys and values stand in a page */
    /* A row sees so many positions, itself included; 0: all. In an encoder: half as many in each
     * direction, and itself. */
    uint32_t source; /* the layer whose keys and values it reads: itself, or one before */
    uint32_t window;
    uint32_t chunk;  /* or only those of its own chunk of so many; 0: all */
    double xielu[4]; /* alpha_n, alpha_p, beta, eps */
    bool has_experts;
    bool turns; /* its heads are rotated, by this table: */
    enum rope_table table;
};

/* A state that the positions of a sequence pass on (recurrent.h): the last taps - 1 inputs of a
 * convolution over `channels`, and a matrix [key_dim][value_dim] for each head. Heads share the
 * keys of their group. */
struct recurrence {
    uint32_t taps, channels; /* 0: no layer has one */
    uint32_t heads, groups, key_dim, value_dim;
    uint32_t inner; /* heads * value_dim */
};

/* Latent attention: queries may pass a bottleneck, keys and values come from one latent vector and
 * a rotated part that all heads share. */
struct latent {
    uint32_t query_rank; /* 0: queries come from the input itself */
    uint32_t rank, rope_dim;
    uint32_t nope_dim, value_dim; /* of one head */
};

struct hparams {
    const struct traits *traits;
    enum ffn_gate gate; /* never GATE_AS_IS once the layout is made */
    uint32_t layer_count, embed_dim, ctx_train_tokens;
    uint32_t guessing_layers;    /* of the file, behind layer_count: not run */
    uint32_t vocab_count;        /* as the metadata say; 0 when they do not, see layout.h */
    uint32_t key_dim, value_dim; /* of one head, where layers do not differ */
    float norm_eps;
    struct rope_params rope[ROPE_TABLE_COUNT];
    bool has_two_tables; /* layers with a window use ROPE_TABLE_WINDOW */
    bool is_parallel;    /* RESIDUAL_PARALLEL, or the key said so */
    double attn_scale;   /* of the scores */
    double embed_scale, residual_scale, logit_scale; /* 1 without; logits are divided */
    double score_cap, logit_cap;                     /* soft caps: c tanh(x / c); 0: none */
    double clamp;                                    /* of q, k and v; 0: none */
    double alibi_bias; /* head h of n adds -slope(h, n, this) * distance to its scores; 0: none */
    /* Queries are multiplied by 1 + scale * ln(1 + floor((pos + offset) / length)). */
    double temperature_scale; /* 0: none */
    uint32_t temperature_length, temperature_offset;
    bool is_causal;       /* a row sees only what stands before it, and itself */
    enum pooling pooling; /* as the key says, else the mean: */
    bool has_pooling_key;
    /* 0 without experts. Every row takes `used` of them, and the shared one if it has a width. */
    uint32_t expert_count, expert_used, expert_ffn_dim, shared_ffn_dim;
    enum { ROUTER_SOFTMAX, ROUTER_LOGISTIC, ROUTER_LATE } router; /* see enum gating */
    bool has_plain_weights; /* those of the chosen experts keep their sum */
    /* The chosen ones come from the best groups; 0: all are one group. */
    uint32_t expert_groups, expert_groups_used;
    double expert_scale;      /* of the sum of the chosen ones; 1 without */
    uint32_t layer_input_dim; /* of the inputs that each layer has of its own; 0: none */
    struct recurrence recurrence;
    struct latent latent;
    struct layer_shape max; /* over layers, each by itself */
    struct layer_shape layers[MODEL_LAYERS_MAX];
};

/* ERR_ARCH for an architecture that is not in the table, for experts and rope scalings we do not
 * know; ERR_FORMAT names the key and the value. */
bool model_hparams_read(struct hparams *h, const struct gguf *gguf, struct err *err);

/* Floats of a row besides its queries, keys and values that the mixer of a layer works with. */
enum { MIXER_AUX_COUNT = 4 };
void model_mixer_widths(const struct hparams *h, const struct layer_shape *shape,
                        uint64_t widths[MIXER_AUX_COUNT]);

/* Floats that it gives, for the output matrix to read. */
uint64_t model_mix_floats(const struct hparams *h, const struct layer_shape *shape);

/* Pairs of all tables together. */
uint32_t model_rope_pairs(const struct hparams *h);

/* Floats of the state that a layer passes on. */
uint64_t model_state_floats(const struct hparams *h, const struct layer_shape *shape);

/* ---- the parts of model_hparams_read ---- */

bool model_hparams_rope(struct model_keys *r, struct hparams *h);
bool model_hparams_windows(struct model_keys *r, struct hparams *h);
bool model_hparams_mixers(struct model_keys *r, struct hparams *h);
bool model_hparams_sources(struct model_keys *r, struct hparams *h);
bool model_hparams_experts(struct model_keys *r, struct hparams *h);

/* A factor that is absent or 0 is not applied. */
void model_hparams_scale(struct model_keys *r, const char *name, double *out);

#endif
