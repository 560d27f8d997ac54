#include "model/slots.h"

#include "model/layout.h"

#define MATRIX(text, field, cols, rows, presence)                                                  \
    {                                                                                              \
        text, WEIGHT_MATRIX, offsetof(struct layer, field), cols, rows, presence                   \
    }
#define ROWS(text, field, cols, rows, presence)                                                    \
    {                                                                                              \
        text, WEIGHT_VECTOR, offsetof(struct layer, field), cols, rows, presence                   \
    }

#define VECTOR(text, field, rows, presence) ROWS(text, field, W_ONE, rows, presence)

static const struct slot slots[] = {
    VECTOR("attn_norm.weight", attn_norm, W_EMBED, PRE_NORM),
    VECTOR("attn_norm.bias", attn_norm_bias, W_EMBED, PRE_NORM_BIAS),
    VECTOR("attn_norm_2.weight", attn_norm_2, W_EMBED, SECOND_NORM),
    VECTOR("attn_norm_2.bias", attn_norm_2_bias, W_EMBED, SECOND_NORM),
    MATRIX("attn_q.weight", q, W_EMBED, W_Q, SPLIT),
    MATRIX("attn_k.weight", k, W_EMBED, W_K, SPLIT_KEY),
    MATRIX("attn_v.weight", v, W_EMBED, W_V, VALUE),
    VECTOR("attn_q.bias", q_bias, W_Q, SPLIT_BIAS),
    VECTOR("attn_k.bias", k_bias, W_K, SPLIT_BIAS),
    VECTOR("attn_v.bias", v_bias, W_V, SPLIT_BIAS),
    VECTOR("attn_q_norm.weight", q_norm, W_QNORM, QK_NORM),
    VECTOR("attn_k_norm.weight", k_norm, W_KNORM, KEY_NORM),
    VECTOR("attn_q_norm.bias", q_norm_bias, W_QNORM, QK_NORM_BIAS),
    VECTOR("attn_k_norm.bias", k_norm_bias, W_KNORM, QK_NORM_BIAS),
    MATRIX("attn_output.weight", out, W_MIX, W_EMBED, ATTENTION),
    VECTOR("attn_output.bias", out_bias, W_EMBED, ATTENTION_MAYBE),
    VECTOR("post_attention_norm.weight", attn_post_norm, W_EMBED, POST_NORM),
    VECTOR("attn_output_norm.weight", attn_post_norm, W_EMBED, SUM_NORM),
    VECTOR("attn_output_norm.bias", attn_post_norm_bias, W_EMBED, SUM_NORM),
    VECTOR("post_attention_norm.weight", ffn_norm, W_EMBED, POST_AS_FFN_NORM),
    VECTOR("ffn_norm.weight", ffn_norm, W_EMBED, FFN_NORM),
    VECTOR("ffn_norm.bias", ffn_norm_bias, W_EMBED, FFN_NORM_BIAS),
    MATRIX("ffn_gate.weight", gate, W_EMBED, W_FFN, GATE),
    MATRIX("ffn_up.weight", up, W_EMBED, W_FFN, UP),
    MATRIX("ffn_down.weight", down, W_FFN, W_EMBED, DOWN),
    VECTOR("ffn_gate.bias", gate_bias, W_FFN, GATE_BIAS),
    VECTOR("ffn_up.bias", up_bias, W_FFN, GATE_BIAS),
    VECTOR("ffn_down.bias", down_bias, W_EMBED, DOWN_BIAS),
    MATRIX("ffn_gate_inp.weight", router, W_EMBED, W_EXPERTS, ROUTER),
    MATRIX("ffn_gate_shexp.weight", gate, W_EMBED, W_SHARED, SHARED),
    MATRIX("ffn_up_shexp.weight", up, W_EMBED, W_SHARED, SHARED),
    MATRIX("ffn_down_shexp.weight", down, W_SHARED, W_EMBED, SHARED),
    VECTOR("exp_probs_b.bias", router_bias, W_EXPERTS, ROUTER_BIAS),
    VECTOR("ffn_gate_inp.bias", score_bias, W_EXPERTS, EXPERT_BIAS),
    ROWS("ffn_gate_exps.bias", gate_biases, W_EXPERT_FFN, W_ALL_FFN, EXPERT_BIAS),
    ROWS("ffn_up_exps.bias", up_biases, W_EXPERT_FFN, W_ALL_FFN, EXPERT_BIAS),
    ROWS("ffn_down_exps.bias", down_biases, W_EMBED, W_ALL_EMBED, EXPERT_BIAS),
    VECTOR("ffn_gate_inp_shexp.weight", shared_gate, W_EMBED, SHARED_GATE),
    VECTOR("post_ffw_norm.weight", ffn_post_norm, W_EMBED, POST_NORM),
    VECTOR("layer_output_norm.weight", ffn_post_norm, W_EMBED, SUM_NORM),
    VECTOR("layer_output_norm.bias", ffn_post_norm_bias, W_EMBED, SUM_NORM),
    MATRIX("inp_gate.weight", tail_in, W_EMBED, W_LAYER_INPUT, TAIL),
    MATRIX("proj.weight", tail_out, W_LAYER_INPUT, W_EMBED, TAIL),
    VECTOR("post_norm.weight", tail_norm, W_EMBED, TAIL),
    VECTOR("layer_output_scale.weight", tail_scale, W_ONE, TAIL_SCALE),
    VECTOR("ffn_gate_inp.scale", router_scale, W_EMBED, TWIN),
    VECTOR("pre_ffw_norm_2.weight", experts_norm, W_EMBED, TWIN),
    VECTOR("post_ffw_norm_1.weight", dense_post_norm, W_EMBED, TWIN),
    VECTOR("post_ffw_norm_2.weight", experts_post_norm, W_EMBED, TWIN),
    VECTOR("ffn_down_exps.scale", expert_scales, W_EXPERTS, TWIN_MAYBE),
    VECTOR("attn_sinks.weight", sinks, W_SINKS, SINKS),
    MATRIX("attn_q.weight", q, W_EMBED, W_LATENT_Q, LATENT_DIRECT),
    MATRIX("attn_q_a.weight", q_down, W_EMBED, W_QUERY_RANK, LATENT_NARROW),
    VECTOR("attn_q_a_norm.weight", q_down_norm, W_QUERY_RANK, LATENT_NARROW),
    MATRIX("attn_q_b.weight", q, W_QUERY_RANK, W_LATENT_Q, LATENT_NARROW),
    MATRIX("attn_kv_a_mqa.weight", kv_down, W_EMBED, W_LATENT, LATENT),
    VECTOR("attn_kv_a_norm.weight", kv_down_norm, W_RANK, LATENT),
    MATRIX("attn_output.weight", out, W_LATENT_MIX, W_EMBED, LATENT),
    MATRIX("shortconv.in_proj.weight", mix_in, W_EMBED, W_PROJECTION, SHORT_CONV),
    ROWS("shortconv.conv.weight", conv, W_TAPS, W_CONV, SHORT_CONV),
    MATRIX("shortconv.out_proj.weight", out, W_EMBED, W_EMBED, SHORT_CONV),
    MATRIX("attn_qkv.weight", mix_in, W_EMBED, W_CHANNELS, DELTA_NET_SPLIT),
    MATRIX("attn_gate.weight", mix_gate, W_EMBED, W_INNER, DELTA_NET_SPLIT),
    MATRIX("ssm_ba.weight", mix_rates, W_EMBED, W_TWO_HEADS, DELTA_NET_PAIRED),
    MATRIX("ssm_beta.weight", mix_rates, W_EMBED, W_HEADS, DELTA_NET_APART),
    MATRIX("ssm_alpha.weight", mix_decay, W_EMBED, W_HEADS, DELTA_NET_APART),
    VECTOR("ssm_norm.weight", mix_norm, W_VALUE, DELTA_NET),
    MATRIX("ssm_in.weight", mix_in, W_EMBED, W_PROJECTION, MAMBA2),
    VECTOR("ssm_conv1d.bias", conv_bias, W_CHANNELS, MAMBA2_MAYBE),
    VECTOR("ssm_d", skip, W_HEADS, MAMBA2),
    ROWS("ssm_norm.weight", mix_norm, W_GROUP, W_INNER, MAMBA2),
    ROWS("ssm_conv1d.weight", conv, W_TAPS, W_CONV, SSM),
    VECTOR("ssm_a", decay, W_HEADS, SSM),
    VECTOR("ssm_dt.bias", step_bias, W_HEADS, SSM),
    MATRIX("ssm_out.weight", out, W_INNER, W_EMBED, SSM),
};

enum { SLOT_COUNT = sizeof slots / sizeof slots[0] };

const struct slot *model_slot_at(size_t i)
{
    return i < SLOT_COUNT ? &slots[i] : NULL;
}

enum taking model_norm_bias_taking(const struct traits *t)
{
    static const enum taking takings[] = {[NORM_BIAS_NONE] = TAKE_NOT,
                                          [NORM_BIAS_NEEDED] = TAKE_ALWAYS,
                                          [NORM_BIAS_OPTIONAL] = TAKE_IF_THERE};
    return takings[t->norm_bias];
}

static enum taking ffn_norm_taking(const struct hparams *h)
{
    const struct traits *t = h->traits;
    bool has_none = t->residual == RESIDUAL_PARALLEL || t->has_post_norm_as_ffn;
    return has_none ? TAKE_NOT : t->residual == RESIDUAL_BY_FFN_NORM ? TAKE_IF_THERE : TAKE_ALWAYS;
}

/* Of the tensors of a mixer. */
static enum taking mixer_taking(enum presence presence, const struct hparams *h, uint32_t index,
                                const struct layer_facts *facts)
{
    const struct traits *t = h->traits;
    const struct layer_shape *shape = &h->layers[index];
    bool is_shared = shape->source != index;
    bool is_attention = shape->mixer == MIXER_ATTENTION, is_delta = shape->mixer == MIXER_DELTA_NET;
    bool is_mamba = shape->mixer == MIXER_MAMBA2;
    switch (presence) {
    case ATTENTION:
        return is_attention ? TAKE_ALWAYS : TAKE_NOT;
    case ATTENTION_MAYBE:
        return is_attention ? TAKE_IF_THERE : TAKE_NOT;
    case SPLIT:
        return is_attention && !facts->is_fused ? TAKE_ALWAYS : TAKE_NOT;
    case SPLIT_BIAS:
        return is_attention && !facts->is_fused ? TAKE_IF_THERE : TAKE_NOT;
    case QK_NORM:
        return !is_attention || t->qk_norm == QK_NONE || t->qk_norm == QK_BARE ? TAKE_NOT
               : t->qk_norm == QK_HEAD || t->qk_norm == QK_WHOLE               ? TAKE_ALWAYS
                                                                               : TAKE_IF_THERE;
    case QK_NORM_BIAS:
        return is_attention && t->qk_norm == QK_WHOLE_MAYBE ? TAKE_IF_THERE : TAKE_NOT;
    case SPLIT_KEY:
    case VALUE:
        return is_shared || !is_attention || facts->is_fused ? TAKE_NOT
               : presence == VALUE && t->has_value_norm      ? TAKE_IF_THERE
                                                             : TAKE_ALWAYS;
    case KEY_NORM:
        return is_shared ? TAKE_NOT : mixer_taking(QK_NORM, h, index, facts);
    case TAIL:
        return h->layer_input_dim != 0 ? TAKE_ALWAYS : TAKE_NOT;
    case TAIL_SCALE:
        return t->has_layer_inputs ? TAKE_IF_THERE : TAKE_NOT;
    case SINKS:
        return t->has_sinks ? TAKE_ALWAYS : TAKE_NOT;
    case LATENT:
        return shape->mixer == MIXER_LATENT ? TAKE_ALWAYS : TAKE_NOT;
    case LATENT_DIRECT:
        return shape->mixer == MIXER_LATENT && h->latent.query_rank == 0 ? TAKE_ALWAYS : TAKE_NOT;
    case LATENT_NARROW:
        return shape->mixer == MIXER_LATENT && h->latent.query_rank != 0 ? TAKE_ALWAYS : TAKE_NOT;
    case SHORT_CONV:
        return shape->mixer == MIXER_SHORT_CONV ? TAKE_ALWAYS : TAKE_NOT;
    case SSM:
        return is_delta || is_mamba ? TAKE_ALWAYS : TAKE_NOT;
    case DELTA_NET:
        return is_delta ? TAKE_ALWAYS : TAKE_NOT;
    case DELTA_NET_SPLIT:
        return is_delta && !facts->is_fused ? TAKE_ALWAYS : TAKE_NOT;
    case DELTA_NET_PAIRED:
        return is_delta && facts->has_pairs ? TAKE_ALWAYS : TAKE_NOT;
    case DELTA_NET_APART:
        return is_delta && !facts->has_pairs ? TAKE_ALWAYS : TAKE_NOT;
    case MAMBA2:
        return is_mamba ? TAKE_ALWAYS : TAKE_NOT;
    case MAMBA2_MAYBE:
        return is_mamba ? TAKE_IF_THERE : TAKE_NOT;
    default:
        return TAKE_NOT;
    }
}

enum taking model_slot_taking(enum presence presence, const struct hparams *h, uint32_t index,
                              const struct layer_facts *facts)
{
    const struct traits *t = h->traits;
    const struct layer_shape *shape = &h->layers[index];
    bool is_normed = traits_norm_input(t) && !t->has_bare_norms;
    bool is_plain = !shape->has_experts; /* no experts */
    bool is_dense = is_plain || t->has_twin_ffn;
    switch (presence) {
    case NEEDED:
        return TAKE_ALWAYS;
    case PRE_NORM:
        return !is_normed                        ? TAKE_NOT
               : t->has_open_start && index == 0 ? TAKE_IF_THERE
                                                 : TAKE_ALWAYS;
    case PRE_NORM_BIAS:
        return is_normed ? model_norm_bias_taking(t) : TAKE_NOT;
    case FFN_NORM:
        return is_normed ? ffn_norm_taking(h) : TAKE_NOT;
    case FFN_NORM_BIAS:
        return facts->has_ffn_norm ? model_norm_bias_taking(t) : TAKE_NOT;
    case SECOND_NORM:
        return (t->residual == RESIDUAL_PARALLEL && t->norm_bias != NORM_BIAS_NONE) ||
                       t->norm_place == NORM_OF_SUM
                   ? TAKE_IF_THERE
                   : TAKE_NOT;
    case POST_NORM:
        return t->norm_place == NORM_AFTER || t->norm_place == NORM_BEFORE_AND_AFTER ? TAKE_ALWAYS
                                                                                     : TAKE_NOT;
    case SUM_NORM:
        return t->norm_place == NORM_OF_SUM ? TAKE_ALWAYS : TAKE_NOT;
    case POST_AS_FFN_NORM:
        return t->has_post_norm_as_ffn ? TAKE_ALWAYS : TAKE_NOT;
    case GATE:
        return is_dense && h->gate == GATE_OWN ? TAKE_ALWAYS : TAKE_NOT;
    case GATE_BIAS:
        return !is_dense || h->gate == GATE_IN_UP ? TAKE_NOT : TAKE_IF_THERE;
    case UP:
        return !is_dense || h->gate == GATE_IN_UP ? TAKE_NOT : TAKE_ALWAYS;
    case DOWN:
        return is_dense ? TAKE_ALWAYS : TAKE_NOT;
    case DOWN_BIAS:
        return is_dense ? TAKE_IF_THERE : TAKE_NOT;
    case ROUTER:
        return is_plain ? TAKE_NOT : TAKE_ALWAYS;
    case SHARED:
        return !is_plain && h->shared_ffn_dim != 0 ? TAKE_ALWAYS : TAKE_NOT;
    case ROUTER_BIAS:
        return !is_plain && t->has_router_bias ? TAKE_IF_THERE : TAKE_NOT;
    case TWIN:
        return !is_plain && t->has_twin_ffn ? TAKE_ALWAYS : TAKE_NOT;
    case TWIN_MAYBE:
        return !is_plain && t->has_twin_ffn ? TAKE_IF_THERE : TAKE_NOT;
    case EXPERT_BIAS:
        return !is_plain && t->has_expert_biases ? TAKE_IF_THERE : TAKE_NOT;
    case SHARED_GATE:
        return !is_plain && t->shared == SHARED_GATED ? TAKE_ALWAYS : TAKE_NOT;
    default:
        return mixer_taking(presence, h, index, facts);
    }
}

uint64_t model_slot_width(enum width width, const struct hparams *h,
                          const struct layer_shape *shape)
{
    const struct recurrence *rec = &h->recurrence;
    uint64_t mixer[MIXER_AUX_COUNT];
    switch (width) {
    case W_ONE:
        return 1;
    case W_EMBED:
        return h->embed_dim;
    case W_Q:
        return (h->traits->has_query_gate ? 2 : 1) * (uint64_t)shape->head_count * shape->key_dim;
    case W_K:
        return (uint64_t)shape->kv_head_count * shape->key_dim;
    case W_V:
        return (uint64_t)shape->kv_head_count * shape->value_dim;
    case W_MIX:
        return (uint64_t)shape->head_count * shape->value_dim;
    case W_FFN:
        return shape->ffn_dim;
    case W_EXPERTS:
        return h->expert_count;
    case W_EXPERT_FFN:
        return h->expert_ffn_dim;
    case W_ALL_FFN:
        return (uint64_t)h->expert_count * h->expert_ffn_dim;
    case W_ALL_EMBED:
        return (uint64_t)h->expert_count * h->embed_dim;
    case W_SHARED:
        return h->shared_ffn_dim;
    case W_QNORM:
        return h->traits->qk_norm == QK_HEAD || h->traits->qk_norm == QK_HEAD_MAYBE
                   ? shape->key_dim
                   : (uint64_t)shape->head_count * shape->key_dim;
    case W_KNORM:
        return h->traits->qk_norm == QK_HEAD || h->traits->qk_norm == QK_HEAD_MAYBE
                   ? shape->key_dim
                   : (uint64_t)shape->kv_head_count * shape->key_dim;
    case W_LAYER_INPUT:
        return h->layer_input_dim;
    case W_SINKS:
        return shape->head_count;
    case W_LATENT_Q:
        return shape->head_count * ((uint64_t)h->latent.nope_dim + h->latent.rope_dim);
    case W_LATENT_MIX:
        return shape->head_count * (uint64_t)h->latent.value_dim;
    case W_QUERY_RANK:
        return h->latent.query_rank;
    case W_RANK:
        return h->latent.rank;
    case W_LATENT:
        return (uint64_t)h->latent.rank + h->latent.rope_dim;
    case W_TAPS:
        return rec->taps;
    case W_CONV:
        return (uint64_t)rec->taps * rec->channels;
    case W_CHANNELS:
        return rec->channels;
    case W_HEADS:
        return rec->heads;
    case W_TWO_HEADS:
        return 2 * (uint64_t)rec->heads;
    case W_INNER:
        return rec->inner;
    case W_VALUE:
        return rec->value_dim;
    case W_GROUP:
        return rec->inner / rec->groups;
    case W_PROJECTION:
        model_mixer_widths(h, shape, mixer);
        return mixer[0];
    }
    return 0;
}
