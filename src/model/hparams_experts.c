/* Keys of mixtures of experts. */
#include "model/hparams.h"
#include "model/keys.h"

/* Which layers have experts. */
static bool read_expert_layers(struct model_keys *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    uint32_t dense = 0, step = 1, period = 0;
    if (t->has_leading_dense) {
        model_key_u32(r, "leading_dense_block_count", &dense, 0, h->layer_count);
        model_key_u32(r, "interleave_moe_layer_step", &step, 1, MODEL_LAYERS_MAX);
    }
    if (t->has_expert_period) {
        model_key_u32(r, "moe_every_n_layers", &period, 0, MODEL_LAYERS_MAX);
    }
    for (uint32_t i = 0; i < h->layer_count && !r->failed; i++) {
        h->layers[i].has_experts = t->has_expert_period ? period != 0 && i % period == 1
                                                        : i >= dense && (i + 1) % step == 0;
    }
    return !r->failed;
}

static bool read_shared(struct model_keys *r, struct hparams *h, uint32_t dense)
{
    enum shared_expert shared = h->traits->shared;
    bool is_always = shared == SHARED_GATED || shared == SHARED_DENSE;
    uint32_t count = 0;
    if (shared == SHARED_SAME) {
        h->shared_ffn_dim = h->expert_ffn_dim;
    } else if (shared == SHARED_COUNT || shared == SHARED_COUNT_KEY) {
        uint32_t each = h->expert_ffn_dim;
        if (shared == SHARED_COUNT_KEY) {
            model_key_u32(r, "expert_shared_feed_forward_length", &each, 1, MODEL_WIDTH_MAX);
        }
        model_key_need_u32(r, "expert_shared_count", &count, 0, MODEL_EXPERTS_MAX);
        if (!r->failed && (uint64_t)count * each > MODEL_WIDTH_MAX) {
            return model_key_fail(r, count, "the shared expert is too wide");
        }
        h->shared_ffn_dim = count * each;
    } else if (shared != SHARED_NONE) {
        h->shared_ffn_dim = is_always ? dense : 0;
        model_key_u32(r, "expert_shared_feed_forward_length", &h->shared_ffn_dim, is_always,
                      MODEL_WIDTH_MAX);
    }
    return !r->failed;
}

static bool read_groups(struct model_keys *r, struct hparams *h)
{
    uint32_t groups = 1;
    model_key_u32(r, "expert_group_count", &groups, 0, h->expert_count);
    if (r->failed || groups <= 1) {
        return !r->failed;
    }
    if (h->expert_count % groups != 0 || h->expert_count / groups < 2) {
        return model_key_fail(r, groups, "does not divide the experts in groups of two or more");
    }
    h->expert_groups = groups;
    model_key_need_u32(r, "expert_group_used_count", &h->expert_groups_used, 1, groups);
    if (!r->failed && h->expert_used > h->expert_count / groups * h->expert_groups_used) {
        return model_key_fail(r, h->expert_groups_used, "the groups have too few experts");
    }
    return !r->failed;
}

static bool read_router(struct model_keys *r, struct hparams *h)
{
    enum { FUNC_NONE, FUNC_SOFTMAX, FUNC_LOGISTIC, FUNC_SOFTMAX_CHOSEN };
    const struct traits *t = h->traits;
    uint32_t func = FUNC_NONE;
    bool has_key = t->gating == GATING_KEY || t->gating == GATING_KEY_LOGISTIC, is_one = false;
    model_key_u32(r, "expert_gating_func", &func, 0, has_key ? FUNC_SOFTMAX_CHOSEN : FUNC_SOFTMAX);
    if (t->gating == GATING_OF_CHOSEN) {
        h->router = ROUTER_LATE;
    } else if (func == FUNC_LOGISTIC || (func == FUNC_NONE && t->gating == GATING_KEY_LOGISTIC)) {
        h->router = ROUTER_LOGISTIC;
    }
    h->has_plain_weights = t->expert_weights == WEIGHTS_AS_THEY_ARE;
    if (t->expert_weights == WEIGHTS_KEY) {
        model_key_bool(r, "expert_weights_norm", &is_one);
        h->has_plain_weights = !is_one;
    }
    h->has_plain_weights &= func != FUNC_SOFTMAX_CHOSEN;
    model_hparams_scale(r, "expert_weights_scale", &h->expert_scale);
    return read_groups(r, h);
}

bool model_hparams_experts(struct model_keys *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    uint32_t dense = h->max.ffn_dim;
    if (t->experts == EXPERTS_NONE) {
        return true;
    }
    if (t->experts == EXPERTS_NEEDED) {
        model_key_need_u32(r, "expert_count", &h->expert_count, 1, MODEL_EXPERTS_MAX);
    } else {
        model_key_u32(r, "expert_count", &h->expert_count, 0, MODEL_EXPERTS_MAX);
    }
    if (r->failed || h->expert_count == 0) {
        return !r->failed;
    }
    model_key_need_u32(r, "expert_used_count", &h->expert_used, 1, h->expert_count);
    if (r->failed || !read_router(r, h)) {
        return false;
    }
    h->expert_ffn_dim = dense;
    if (!r->failed && t->has_expert_width &&
        !model_key_u32(r, "expert_feed_forward_length", &h->expert_ffn_dim, 1, MODEL_WIDTH_MAX)) {
        h->expert_ffn_dim = dense / h->expert_used;
    }
    if (!read_expert_layers(r, h)) {
        return false;
    }
    if (!r->failed && h->expert_ffn_dim == 0) {
        return model_key_fail(r, dense, "must be at least 1 for each expert in use");
    }
    if (!read_shared(r, h, dense)) {
        return false;
    }
    h->max.ffn_dim = 0;
    for (uint32_t i = 0; i < h->layer_count; i++) {
        bool has_dense = !h->layers[i].has_experts || t->has_twin_ffn;
        uint32_t width = h->layers[i].has_experts ? h->expert_ffn_dim : 0;
        width = has_dense && h->layers[i].ffn_dim > width ? h->layers[i].ffn_dim : width;
        h->max.ffn_dim = width > h->max.ffn_dim ? width : h->max.ffn_dim;
    }
    h->max.ffn_dim = h->max.ffn_dim > h->shared_ffn_dim ? h->max.ffn_dim : h->shared_ffn_dim;
    return !r->failed;
}
