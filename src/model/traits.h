/* The families of models hearth runs: one row each. A row says what the file's numbers do not:
 * which pairs of a head rotary embedding turns, where the norms stand and of what kind they are,
 * how the feed-forward block is activated, which optional hyper-parameters are read. Everything
 * else comes from the file, so that a family is a row here and at most a few lines elsewhere.
 *
 * A field that is zero is what llama does. */
#ifndef MODEL_TRAITS_H
#define MODEL_TRAITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum rope_style {
    ROPE_NORM, /* pairs (2i, 2i + 1) */
    ROPE_NEOX, /* pairs (i, i + rope_dim / 2) */
    ROPE_NONE, /* no rotation: learned positions or a bias of the scores */
};

enum rope_layers {
    ROPE_ALL_LAYERS,
    ROPE_NOT_FOURTH,    /* layers 3, 7, 11 ... have no positions */
    ROPE_WINDOW_LAYERS, /* only layers with a window, if there are any */
};

enum norm_kind {
    NORM_RMS,   /* x / sqrt(mean(x^2) + eps) * w */
    NORM_LAYER, /* (x - mean) / sqrt(variance + eps) * w + b */
};

enum norm_bias { NORM_BIAS_NONE, NORM_BIAS_NEEDED, NORM_BIAS_OPTIONAL };

/* Where the norms of a block stand. */
enum norm_place {
    NORM_BEFORE,           /* x + block(norm(x)) */
    NORM_AFTER,            /* x + norm(block(x)) */
    NORM_BEFORE_AND_AFTER, /* x + norm(block(norm(x))) */
    NORM_OF_SUM,           /* norm(x + block(x)) */
};

/* The norm of queries and keys: of the family's kind, without bias unless the file has one. */
enum qk_norm {
    QK_NONE,
    QK_HEAD,       /* every head by the same weights */
    QK_HEAD_MAYBE, /* if the file has them */
    QK_BARE,       /* every head, without weights, where it turns; not with 128 experts (Llama 4) */
    QK_EACH_HEAD,  /* every head by its own, if the file has them */
    QK_WHOLE,      /* all heads as one vector */
    QK_WHOLE_MAYBE /* if the file has them */
};

enum ffn_act {
    ACT_SILU,
    ACT_GELU,
    ACT_RELU2,
    ACT_XIELU,      /* with numbers for each layer, xielu.* (Apertus) */
    ACT_SWIGLU_CUT, /* x / (1 + exp(-1.702 x)) (1 + up), both cut at 7 (gpt-oss) */
};

enum ffn_gate {
    GATE_OWN,   /* down(act(gate x) * (up x)) */
    GATE_IN_UP, /* the same; the rows of the gate stand before those of up, in one tensor */
    GATE_NONE,  /* down(act(up x)) */
    GATE_AS_IS, /* one of these, as the tensors of the first layer are */
};

enum residual {
    RESIDUAL_SERIAL,      /* x += attn(norm x); x += ffn(norm x) */
    RESIDUAL_PARALLEL,    /* x += attn(norm x) + ffn(norm x) with one norm, or two */
    RESIDUAL_KEY,         /* parallel if the key use_parallel_residual says so */
    RESIDUAL_BY_FFN_NORM, /* parallel in layers without a norm of the feed-forward block */
};

/* Mixture of experts: the feed-forward block is a choice of some out of many. */
enum experts {
    EXPERTS_NONE,
    EXPERTS_KEY,    /* if expert_count says so */
    EXPERTS_NEEDED, /* always */
};

/* One more expert that every row takes. */
enum shared_expert {
    SHARED_NONE,
    SHARED_KEY,       /* if expert_shared_feed_forward_length says so */
    SHARED_GATED,     /* always, times sigmoid(w x) */
    SHARED_DENSE,     /* always; of the dense width unless the key says so */
    SHARED_COUNT,     /* expert_shared_count times the width of the others */
    SHARED_COUNT_KEY, /* or times expert_shared_feed_forward_length */
    SHARED_SAME,      /* always, of the width of the others */
};

/* What mixes the positions of a sequence in a layer. */
enum mixer {
    MIXER_ATTENTION,
    MIXER_LATENT,     /* latent.c */
    MIXER_SHORT_CONV, /* short_conv.c */
    MIXER_DELTA_NET,  /* delta_net.c */
    MIXER_MAMBA2,     /* mamba2.c */
    MIXER_COUNT,
};

/* What makes a router's scores weights. */
enum gating {
    GATING_SOFTMAX,
    GATING_KEY,          /* expert_gating_func: softmax, the logistic function, or the first over
                            the chosen ones alone; softmax without the key */
    GATING_KEY_LOGISTIC, /* the same; the logistic function without the key */
    GATING_OF_CHOSEN,    /* experts are chosen by their scores; the logistic function of those
                            multiplies what goes into an expert, not what comes out (Llama 4) */
};

/* The weights of the chosen experts: */
enum expert_weights {
    WEIGHTS_ONE, /* are brought to a sum of 1 */
    WEIGHTS_AS_THEY_ARE,
    WEIGHTS_KEY, /* as expert_weights_norm says */
};

enum logit_scale { LOGIT_AS_IS, LOGIT_DIVIDED, LOGIT_MULTIPLIED };

/* ARCH.pooling_type; the same numbers as enum model_encoder_pooling */
enum pooling { POOLING_NONE, POOLING_MEAN, POOLING_CLS, POOLING_LAST, POOLING_RANK };

struct traits {
    const char *architecture; /* general.architecture, also the prefix of the keys */
    const char *models;       /* for people: which published models these are */
    const char *end_norm;     /* the tensor of the last norm; NULL: output_norm.weight */
    const char *proof;        /* golden of tests/golden/model, without its suffix */
    bool is_encoder;          /* every row sees the whole text, and there are no logits */
    enum rope_style rope;
    enum rope_layers rope_layers;
    enum norm_kind norm;
    enum norm_bias norm_bias;
    enum norm_place norm_place;
    enum qk_norm qk_norm;
    enum ffn_act activation;
    enum ffn_gate gate;
    enum residual residual;
    enum logit_scale logit_scale;
    enum experts experts;
    enum shared_expert shared;
    enum mixer mixer;         /* of the layers that are not attention: */
    bool has_headless_layers; /* those whose head_count_kv is 0; else all but every
                                 full_attention_interval-th */
    bool has_query_gate;      /* attn_q has a gate behind each head's query */
    bool has_tiled_groups;    /* head h has the keys of group h % groups, not h / (heads/groups) */
    bool has_guessing_layers; /* the last nextn_predict_layers are not run */
    bool has_leading_dense;   /* leading_dense_block_count layers come without experts, or all but
                                 every interleave_moe_layer_step-th */
    bool has_router_bias;     /* exp_probs_b is added to choose, not to weigh, if the file has it */
    bool has_expert_biases;   /* of the router's scores and of the experts' matrices */
    enum gating gating;
    enum expert_weights expert_weights;
    bool has_expert_width;     /* expert_feed_forward_length; without: the dense one / used */
    bool has_expert_period;    /* only layers 1, 1 + n, ... have experts: moe_every_n_layers */
    bool has_bare_norms;       /* norms have no weights */
    bool has_open_start;       /* the first layer's attention may come without its norm */
    bool has_late_qk_norm;     /* after the rotation instead of before */
    bool has_post_norm_as_ffn; /* the norm of the ffn is called post_attention_norm */
    bool has_half_ffn;         /* feed_forward_length counts gate and up */
    bool has_scales; /* embedding_scale, residual_scale, logit_scale, attention.scale are read */
    /* has_scales: without the keys; 0: 1. The residual scale is this / sqrt(layers), the logit
     * scale embedding_length / this. */
    float embed_scale, residual_scale, logit_width;
    bool has_temperature;    /* attention.temperature_scale is read (Ministral 3) */
    bool has_sinks;          /* each head has a score that takes weight and gives nothing */
    bool has_chunks;         /* windows are chunks of 8192 positions instead, and queries of layers
                                without rotation get sharper with the position (Llama 4) */
    bool has_plain_scores;   /* not divided by the root of the head's width */
    bool has_window_heads;   /* layers with a window have heads of attention.key_length_swa, which
                                turn without rope_freqs */
    bool has_shared_keys;    /* attention.shared_kv_layers layers read those of an earlier one */
    bool has_value_norm;     /* values are normed without weights; without attn_v they are the keys
                                before their norm */
    bool has_layer_inputs;   /* embedding_length_per_layer_input; tail.c */
    bool has_twin_ffn;       /* experts stand beside the dense block; twin.c */
    bool has_yarn_scores;    /* YaRN sharpens the scores as well (DeepSeek 2) */
    bool has_clamp;          /* attention.clamp_kqv is read */
    bool has_root_embedding; /* embeddings are multiplied by sqrt(embedding_length) */
    bool has_embedding_norm;
    enum { POSITIONS_NONE, POSITIONS_NEEDED, POSITIONS_OPTIONAL } positions; /* learned */
    float alibi_bias; /* scores fall with the distance; < 0: as attention.max_alibi_bias says */
    uint32_t window_period;     /* the last of so many layers sees everything; 0: no windows */
    bool has_wide_first;        /* the first of them does, not the last */
    uint32_t window_default;    /* tokens, without the key attention.sliding_window */
    bool has_plain_window_rope; /* layers with a window are rotated without context extension */
    float window_base;          /* their rope base without the key; 0: that of the others */
    float score_cap, logit_cap; /* soft caps without their keys; < 0: none without the key */
    uint32_t wide_scale_layers; /* at this depth scores are scaled by the width per head */
    bool has_token_types;       /* token_types.weight is added to the embedding, if there */
    bool has_mean_head;         /* classes are found from the mean, by GELU instead of tanh */
};

/* The blocks of these get norm(x), those of others x itself. */
static inline bool traits_norm_input(const struct traits *t)
{
    return t->norm_place == NORM_BEFORE || t->norm_place == NORM_BEFORE_AND_AFTER;
}

/* NULL if the architecture is not supported. */
const struct traits *model_traits_find(struct str architecture);

/* Row i of the table; NULL past its end. */
const struct traits *model_traits_at(size_t i);

/* Appends "llama, qwen2, qwen3". */
void model_traits_list(struct buf *out);

#endif
