#include "model/hparams.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"

/* Reads keys "ARCH.name". The first failure sticks in `err`; later reads do nothing. */
struct reader {
    const struct gguf *gguf;
    struct err *err;
    bool failed;
    char key[160];
};

static struct str key_of(struct reader *r, const struct hparams *h, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", h->traits->architecture, name);
    return str_of(r->key);
}

static bool fail_value(struct reader *r, uint64_t value, const char *why)
{
    r->failed = true;
    return err_set(r->err, ERR_FORMAT, "key %s is %" PRIu64 ": %s", r->key, value, why);
}

static bool read_u32(struct reader *r, const struct hparams *h, const char *name, uint32_t *out,
                     uint32_t min, uint32_t max)
{
    bool found = false;
    struct str key = key_of(r, h, name);
    if (r->failed) {
        return false;
    }
    if (!gguf_get_u32(r->gguf, key, out, &found, r->err)) {
        r->failed = true;
        return false;
    }
    if (found && (*out < min || *out > max)) {
        char why[64];
        snprintf(why, sizeof why, "must be %u to %u", min, max);
        return fail_value(r, *out, why);
    }
    return found;
}

static void need_u32(struct reader *r, const struct hparams *h, const char *name, uint32_t *out,
                     uint32_t min, uint32_t max)
{
    if (!read_u32(r, h, name, out, min, max) && !r->failed) {
        r->failed = true;
        err_set(r->err, ERR_FORMAT, "key %s is missing", r->key);
    }
}

/* Finite (gguf_get_f32 sees to it) and in [min, max]. */
static bool read_real(struct reader *r, const struct hparams *h, const char *name, double *out,
                      double min, double max)
{
    bool found = false;
    float value = 0;
    struct str key = key_of(r, h, name);
    if (r->failed) {
        return false;
    }
    if (!gguf_get_f32(r->gguf, key, &value, &found, r->err)) {
        r->failed = true;
        return false;
    }
    if (found && (value < min || value > max)) {
        r->failed = true;
        return err_set(r->err, ERR_FORMAT, "key %s is %g: must be %g to %g", r->key, (double)value,
                       min, max);
    }
    *out = found ? (double)value : *out;
    return found;
}

/* A number for all layers or an array with one for each. Returns false if the key is absent (or on
 * failure). `field` is the offset of the uint32_t in struct layer_shape. */
static bool read_layers(struct reader *r, struct hparams *h, const char *name, size_t field,
                        uint32_t max)
{
    if (r->failed) {
        return false;
    }
    const struct gguf_entry *entry = gguf_find(r->gguf, key_of(r, h, name));
    if (!entry) {
        return false;
    }
    const struct gguf_value *value = &entry->value;
    uint32_t all = 0;
    if (value->kind != GGUF_ARRAY) {
        if (!read_u32(r, h, name, &all, 1, max)) {
            return false;
        }
    } else if (value->item_kind == GGUF_STRING || value->item_kind == GGUF_F32 ||
               value->item_kind == GGUF_F64 || value->item_kind == GGUF_BOOL) {
        r->failed = true;
        return err_set(r->err, ERR_FORMAT, "key %s: an array of integers is needed", r->key);
    } else if (value->count < h->layer_count) {
        return fail_value(r, value->count, "an array with one item for each layer is needed");
    }
    for (uint32_t i = 0; i < h->layer_count; i++) {
        int64_t item = value->kind == GGUF_ARRAY ? gguf_item_i64(value, i) : all;
        if (item < 1 || item > (int64_t)max) {
            r->failed = true;
            return err_set(r->err, ERR_FORMAT, "key %s: item %u is %" PRId64 ": must be 1 to %u",
                           r->key, i, item, max);
        }
        uint32_t number = (uint32_t)item;
        memcpy((char *)&h->layers[i] + field, &number, sizeof number);
    }
    return true;
}

static void need_layers(struct reader *r, struct hparams *h, const char *name, size_t field,
                        uint32_t max)
{
    if (!read_layers(r, h, name, field, max) && !r->failed) {
        r->failed = true;
        err_set(r->err, ERR_FORMAT, "key %s is missing", r->key);
    }
}

static bool read_heads(struct reader *r, struct hparams *h)
{
    need_layers(r, h, "attention.head_count", offsetof(struct layer_shape, head_count),
                MODEL_HEADS_MAX);
    if (!read_layers(r, h, "attention.head_count_kv", offsetof(struct layer_shape, kv_head_count),
                     MODEL_HEADS_MAX)) {
        for (uint32_t i = 0; i < h->layer_count; i++) {
            h->layers[i].kv_head_count = h->layers[i].head_count;
        }
    }
    need_layers(r, h, "feed_forward_length", offsetof(struct layer_shape, ffn_dim),
                MODEL_WIDTH_MAX);
    for (uint32_t i = 0; i < h->layer_count && !r->failed; i++) {
        struct layer_shape *layer = &h->layers[i];
        if (h->traits->has_half_ffn) {
            layer->ffn_dim /= 2;
        }
        if (layer->ffn_dim == 0) {
            key_of(r, h, "feed_forward_length");
            return fail_value(r, 1, "must be at least 2");
        }
        if (layer->head_count % layer->kv_head_count != 0) {
            key_of(r, h, "attention.head_count_kv");
            r->failed = true;
            return err_set(r->err, ERR_FORMAT,
                           "key %s is %u in layer %u: does not divide the head count %u", r->key,
                           layer->kv_head_count, i, layer->head_count);
        }
        h->max.head_count =
            layer->head_count > h->max.head_count ? layer->head_count : h->max.head_count;
        h->max.kv_head_count = layer->kv_head_count > h->max.kv_head_count ? layer->kv_head_count
                                                                           : h->max.kv_head_count;
        h->max.ffn_dim = layer->ffn_dim > h->max.ffn_dim ? layer->ffn_dim : h->max.ffn_dim;
    }
    return !r->failed;
}

/* Without key_length a head has embedding_length / head_count dimensions. */
static bool read_head_dim(struct reader *r, struct hparams *h, const char *name, uint32_t *out)
{
    uint32_t heads = h->layers[0].head_count;
    if (read_u32(r, h, name, out, 1, MODEL_HEAD_DIM_MAX) || r->failed) {
        return !r->failed;
    }
    if (h->embed_dim % heads != 0) {
        key_of(r, h, "embedding_length");
        r->failed = true;
        return err_set(r->err, ERR_FORMAT,
                       "key %s is %u: not a multiple of the head count %u, and there is no key "
                       "%s.%s",
                       r->key, h->embed_dim, heads, h->traits->architecture, name);
    }
    *out = h->embed_dim / heads;
    if (*out > MODEL_HEAD_DIM_MAX) {
        key_of(r, h, "embedding_length");
        return fail_value(r, h->embed_dim, "the heads are too large");
    }
    return true;
}

static bool read_rope_scaling(struct reader *r, struct hparams *h)
{
    struct rope_params *rope = &h->rope;
    struct str type = STR("linear");
    struct str key = key_of(r, h, "rope.scaling.type");
    if (r->failed || !gguf_get_str(r->gguf, key, &type, NULL, r->err)) {
        r->failed = true;
        return false;
    }
    if (str_eq(type, STR("yarn"))) {
        rope->scaling = ROPE_SCALING_YARN;
    } else if (str_eq(type, STR("linear"))) {
        rope->scaling = ROPE_SCALING_LINEAR;
    } else if (str_eq(type, STR("longrope"))) {
        rope->scaling = ROPE_SCALING_NONE; /* its factors are tensors */
    } else if (!str_eq(type, STR("none"))) {
        char quoted[STR_QUOTE_MAX];
        r->failed = true;
        return err_set(r->err, ERR_ARCH,
                       "key %s is \"%s\": only none, linear, longrope and yarn are supported",
                       r->key, str_quote(quoted, type));
    }
    if (!read_real(r, h, "rope.scaling.factor", &rope->factor, 0, 1e9)) {
        read_real(r, h, "rope.scale_linear", &rope->factor, 0, 1e9); /* its name before 2024 */
    }
    if (rope->factor == 0 || rope->scaling == ROPE_SCALING_NONE) {
        rope->factor = 1;
    }
    read_real(r, h, "rope.scaling.attn_factor", &rope->attn_factor, -1e9, 1e9);
    read_real(r, h, "rope.scaling.yarn_ext_factor", &rope->ext_factor, -1e9, 1e9);
    read_real(r, h, "rope.scaling.yarn_beta_fast", &rope->beta_fast, 1e-9, 1e9);
    read_real(r, h, "rope.scaling.yarn_beta_slow", &rope->beta_slow, 1e-9, 1e9);
    read_real(r, h, "rope.scaling.yarn_log_multiplier", &rope->log_mul, -1e9, 1e9);
    rope->ctx_original = h->ctx_train_tokens;
    read_u32(r, h, "rope.scaling.original_context_length", &rope->ctx_original, 0, MODEL_CTX_MAX);
    if (rope->ctx_original == 0) {
        rope->ctx_original = h->ctx_train_tokens;
    }
    return !r->failed;
}

static bool read_rope(struct reader *r, struct hparams *h)
{
    struct rope_params *rope = &h->rope;
    *rope = (struct rope_params){.base = 10000,
                                 .factor = 1,
                                 .attn_factor = 1,
                                 .ext_factor = 1,
                                 .beta_fast = 32,
                                 .beta_slow = 1};
    if (h->traits->rope == ROPE_NONE) {
        return true;
    }
    rope->dim = h->key_dim;
    read_u32(r, h, "rope.dimension_count", &rope->dim, 2, MODEL_HEAD_DIM_MAX);
    if (!r->failed && (rope->dim % 2 != 0 || rope->dim > h->key_dim)) {
        r->failed = true;
        return err_set(r->err, ERR_FORMAT,
                       "key %s is %u: must be even and at most the head's %u dimensions", r->key,
                       rope->dim, h->key_dim);
    }
    read_real(r, h, "rope.freq_base", &rope->base, 1e-9, 1e30);
    double alpha = 0; /* a larger base instead of a factor (Hunyuan) */
    read_real(r, h, "rope.scaling.alpha", &alpha, 0, 1e9);
    if (alpha > 0 && h->key_dim > 2) {
        rope->base *= pow(alpha, (double)h->key_dim / (h->key_dim - 2));
    }
    return read_rope_scaling(r, h);
}

/* ---- windows ---- */

/* Which layers have a window: a period (the last of each is without one) or a truth value for every
 * layer. */
static bool read_pattern(struct reader *r, struct hparams *h, uint32_t window)
{
    uint32_t period = h->traits->window_period;
    struct str key = key_of(r, h, "attention.sliding_window_pattern");
    const struct gguf_entry *entry = r->failed ? NULL : gguf_find(r->gguf, key);
    bool is_array = entry && entry->value.kind == GGUF_ARRAY;
    if (is_array && (entry->value.item_kind == GGUF_STRING || entry->value.item_kind == GGUF_F32 ||
                     entry->value.item_kind == GGUF_F64 || entry->value.item_kind == GGUF_ARRAY)) {
        r->failed = true;
        return err_set(r->err, ERR_FORMAT, "key %s: an array of truth values is needed", r->key);
    }
    if (is_array && entry->value.count < h->layer_count) {
        return fail_value(r, entry->value.count, "an array with one item for each layer is needed");
    }
    if (!is_array) {
        read_u32(r, h, "attention.sliding_window_pattern", &period, 0, UINT32_MAX);
    }
    for (uint32_t i = 0; i < h->layer_count && !r->failed; i++) {
        bool has_window =
            is_array ? gguf_item_i64(&entry->value, i) != 0
                     : period == 0 ||
                           (h->traits->has_wide_first ? i % period != 0 : i % period < period - 1);
        h->layers[i].window = has_window ? window : 0;
    }
    return !r->failed;
}

static bool read_windows(struct reader *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    uint32_t window = t->window_default;
    h->window_base = t->window_base > 0 ? (double)t->window_base : h->rope.base;
    h->has_scaled_window = !t->has_plain_window_rope;
    if (t->window_period != 0) {
        read_u32(r, h, "attention.sliding_window", &window, 0, UINT32_MAX);
        read_real(r, h, "rope.freq_base_swa", &h->window_base, 1e-9, 1e30);
        if (window != 0 && !read_pattern(r, h, window)) {
            return false;
        }
    }
    h->has_two_tables = window != 0 && (t->has_plain_window_rope || h->window_base != h->rope.base);
    for (uint32_t i = 0; i < h->layer_count; i++) {
        struct layer_shape *layer = &h->layers[i];
        layer->table =
            h->has_two_tables && layer->window != 0 ? ROPE_TABLE_WINDOW : ROPE_TABLE_MAIN;
        layer->turns = t->rope != ROPE_NONE && !(t->rope_layers == ROPE_NOT_FOURTH && i % 4 == 3) &&
                       !(t->rope_layers == ROPE_WINDOW_LAYERS && window != 0 && layer->window == 0);
    }
    return !r->failed;
}

/* A factor that is absent or 0 is not applied. */
static void read_scale(struct reader *r, const struct hparams *h, const char *name, double *out)
{
    double value = 0;
    read_real(r, h, name, &value, -1e9, 1e9);
    *out = value != 0 ? value : *out;
}

/* ---- experts ---- */

/* Which layers have experts, and whether the weights of the chosen ones are brought to 1. */
static bool read_expert_layers(struct reader *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    uint32_t dense = 0, step = 1, period = 0;
    h->has_plain_weights = t->has_plain_weights;
    if (t->has_leading_dense) {
        read_u32(r, h, "leading_dense_block_count", &dense, 0, h->layer_count);
        read_u32(r, h, "interleave_moe_layer_step", &step, 1, MODEL_LAYERS_MAX);
    }
    if (t->has_expert_period) {
        read_u32(r, h, "moe_every_n_layers", &period, 0, MODEL_LAYERS_MAX);
    }
    for (uint32_t i = 0; i < h->layer_count && !r->failed; i++) {
        h->layers[i].has_experts = t->has_expert_period ? period != 0 && i % period == 1
                                                        : i >= dense && (i + 1) % step == 0;
    }
    if (!r->failed && t->has_gating_keys && !t->has_sigmoid) {
        bool is_one = false;
        r->failed =
            !gguf_get_bool(r->gguf, key_of(r, h, "expert_weights_norm"), &is_one, NULL, r->err);
        h->has_plain_weights = !is_one;
    }
    return !r->failed;
}

static bool read_shared(struct reader *r, struct hparams *h, uint32_t dense)
{
    enum shared_expert shared = h->traits->shared;
    bool is_always = shared == SHARED_GATED || shared == SHARED_DENSE;
    uint32_t count = 0;
    if (shared == SHARED_COUNT) {
        need_u32(r, h, "expert_shared_count", &count, 0, MODEL_EXPERTS_MAX);
        if (!r->failed && (uint64_t)count * h->expert_ffn_dim > MODEL_WIDTH_MAX) {
            return fail_value(r, count, "the shared expert is too wide");
        }
        h->shared_ffn_dim = count * h->expert_ffn_dim;
    } else if (shared != SHARED_NONE) {
        h->shared_ffn_dim = is_always ? dense : 0;
        read_u32(r, h, "expert_shared_feed_forward_length", &h->shared_ffn_dim, is_always,
                 MODEL_WIDTH_MAX);
    }
    return !r->failed;
}

static bool read_experts(struct reader *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    uint32_t groups = 0, gating = 0, dense = h->max.ffn_dim;
    if (t->experts == EXPERTS_NONE) {
        return true;
    }
    if (t->experts == EXPERTS_NEEDED) {
        need_u32(r, h, "expert_count", &h->expert_count, 1, MODEL_EXPERTS_MAX);
    } else {
        read_u32(r, h, "expert_count", &h->expert_count, 0, MODEL_EXPERTS_MAX);
    }
    if (r->failed || h->expert_count == 0) {
        return !r->failed;
    }
    need_u32(r, h, "expert_used_count", &h->expert_used, 1, h->expert_count);
    read_u32(r, h, "expert_group_count", &groups, 0, 1); /* one group is none */
    /* 1 is softmax, 2 the logistic function */
    read_u32(r, h, "expert_gating_func", &gating, 0, t->has_gating_keys ? 2 : 1);
    h->has_sigmoid = gating == 2 || (gating == 0 && t->has_sigmoid);
    read_scale(r, h, "expert_weights_scale", &h->expert_scale);
    h->expert_ffn_dim = dense;
    if (!r->failed && t->has_expert_width &&
        !read_u32(r, h, "expert_feed_forward_length", &h->expert_ffn_dim, 1, MODEL_WIDTH_MAX)) {
        h->expert_ffn_dim = dense / h->expert_used;
    }
    if (!read_expert_layers(r, h)) {
        return false;
    }
    if (!r->failed && h->expert_ffn_dim == 0) {
        return fail_value(r, dense, "must be at least 1 for each expert in use");
    }
    if (!read_shared(r, h, dense)) {
        return false;
    }
    h->max.ffn_dim = 0;
    for (uint32_t i = 0; i < h->layer_count; i++) {
        uint32_t width = h->layers[i].has_experts ? h->expert_ffn_dim : h->layers[i].ffn_dim;
        h->max.ffn_dim = width > h->max.ffn_dim ? width : h->max.ffn_dim;
    }
    h->max.ffn_dim = h->max.ffn_dim > h->shared_ffn_dim ? h->max.ffn_dim : h->shared_ffn_dim;
    return !r->failed;
}

/* ---- what not every family has ---- */

/* What hearth does not compute must not be computed without it. */
static bool refuse_unknown(struct reader *r, const struct hparams *h)
{
    const struct traits *t = h->traits;
    const struct {
        const char *name;
        bool is_known;
    } keys[] = {{"expert_count", t->experts != EXPERTS_NONE},
                {"nextn_predict_layers", false},
                {"attention.max_alibi_bias", t->alibi_bias < 0},
                {"attention.clamp_kqv", t->has_clamp},
                {"final_logit_softcapping", t->logit_cap != 0},
                {"attn_logit_softcapping", t->score_cap != 0}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && !r->failed; i++) {
        double value = 0;
        const struct gguf_entry *entry = gguf_find(r->gguf, key_of(r, h, keys[i].name));
        if (!entry || keys[i].is_known) {
            continue;
        }
        if (entry->value.kind == GGUF_F32 || entry->value.kind == GGUF_F64) {
            read_real(r, h, keys[i].name, &value, -INFINITY, INFINITY);
        } else {
            uint32_t count = 0;
            read_u32(r, h, keys[i].name, &count, 0, UINT32_MAX);
            value = count;
        }
        if (!r->failed && value != 0) {
            r->failed = true;
            return err_set(r->err, ERR_ARCH, "key %s is %g: not supported for architecture %s",
                           r->key, value, h->traits->architecture);
        }
    }
    return !r->failed;
}

static bool find_traits(struct hparams *h, const struct gguf *gguf, struct err *err)
{
    struct str architecture = {0};
    bool found = false;
    if (!gguf_get_str(gguf, STR("general.architecture"), &architecture, &found, err)) {
        return false;
    }
    if (!found) {
        return err_set(err, ERR_FORMAT, "key general.architecture is missing");
    }
    h->traits = model_traits_find(architecture);
    if (!h->traits) {
        struct buf list = {0};
        char quoted[STR_QUOTE_MAX];
        model_traits_list(&list);
        err_set(err, ERR_ARCH, "architecture \"%s\" is not supported (supported: %s)",
                str_quote(quoted, architecture), list.failed ? "?" : list.ptr);
        buf_deinit(&list);
        return false;
    }
    return true;
}

/* The tokens of the tokenizer, else the key vocab_size, else unknown (0). */
static void read_vocab_count(struct reader *r, struct hparams *h)
{
    const struct gguf_entry *tokens = gguf_find(r->gguf, STR("tokenizer.ggml.tokens"));
    if (tokens && tokens->value.kind == GGUF_ARRAY && tokens->value.count > 0) {
        snprintf(r->key, sizeof r->key, "tokenizer.ggml.tokens");
        if (tokens->value.count > MODEL_WIDTH_MAX) {
            fail_value(r, tokens->value.count, "too many tokens");
        }
        h->vocab_count = (uint32_t)tokens->value.count;
        return;
    }
    read_u32(r, h, "vocab_size", &h->vocab_count, 1, MODEL_WIDTH_MAX);
}

/* A file that does not say how to pool gets the mean. */
static bool read_pooling(struct reader *r, struct hparams *h)
{
    uint32_t pooling = POOLING_MEAN;
    h->is_causal = !h->traits->is_encoder;
    if (r->failed ||
        !gguf_get_bool(r->gguf, key_of(r, h, "attention.causal"), &h->is_causal, NULL, r->err)) {
        r->failed = true;
        return false;
    }
    h->has_pooling_key = read_u32(r, h, "pooling_type", &pooling, 0, POOLING_RANK);
    h->pooling = (enum pooling)pooling;
    return !r->failed;
}

static void set_default_scales(struct hparams *h)
{
    const struct traits *t = h->traits;
    /* Gemma 2 and 3 of 27B scale scores by the width per head, which is not that of their heads. */
    bool is_wide = t->wide_scale_layers != 0 && h->layer_count == t->wide_scale_layers;
    double dim = is_wide ? floor((double)h->embed_dim / h->layers[0].head_count) : h->key_dim;
    h->attn_scale = 1 / sqrt(dim > 0 ? dim : 1);
    h->embed_scale = t->has_root_embedding ? sqrt((double)h->embed_dim) : 1;
    if (t->embed_scale > 0) {
        h->embed_scale = (double)t->embed_scale;
        h->residual_scale = (double)t->residual_scale / sqrt((double)h->layer_count);
        h->logit_scale = h->embed_dim / (double)t->logit_width;
    }
}

static bool read_caps(struct reader *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    h->score_cap = t->score_cap > 0 ? (double)t->score_cap : 0;
    h->logit_cap = t->logit_cap > 0 ? (double)t->logit_cap : 0;
    h->alibi_bias = t->alibi_bias > 0 ? (double)t->alibi_bias : 0;
    if (t->score_cap != 0) {
        read_real(r, h, "attn_logit_softcapping", &h->score_cap, 0, 1e9);
    }
    if (t->logit_cap != 0) {
        read_real(r, h, "final_logit_softcapping", &h->logit_cap, 0, 1e9);
    }
    if (t->alibi_bias < 0) {
        read_real(r, h, "attention.max_alibi_bias", &h->alibi_bias, 0, 1e3);
    }
    if (t->has_clamp) {
        read_real(r, h, "attention.clamp_kqv", &h->clamp, 0, 1e9);
    }
    h->is_parallel = t->residual == RESIDUAL_PARALLEL;
    if (!r->failed && t->residual == RESIDUAL_KEY) {
        h->is_parallel = true;
        r->failed = !gguf_get_bool(r->gguf, key_of(r, h, "use_parallel_residual"), &h->is_parallel,
                                   NULL, r->err);
    }
    return !r->failed;
}

static bool read_scales(struct reader *r, struct hparams *h)
{
    bool turns = true;
    set_default_scales(h);
    if (h->traits->logit_scale != LOGIT_AS_IS) {
        read_scale(r, h, "logit_scale", &h->logit_scale);
        if (h->traits->logit_scale == LOGIT_MULTIPLIED) {
            h->logit_scale = 1 / h->logit_scale;
        }
    }
    if (h->traits->has_scales) {
        read_scale(r, h, "embedding_scale", &h->embed_scale);
        read_scale(r, h, "residual_scale", &h->residual_scale);
        read_scale(r, h, "attention.scale", &h->attn_scale);
        /* Granite files switch rotation off by this key. */
        if (!r->failed &&
            !gguf_get_bool(r->gguf, key_of(r, h, "rope.scaling.finetuned"), &turns, NULL, r->err)) {
            r->failed = true;
        } else if (!turns) {
            r->failed = true;
            err_set(r->err, ERR_ARCH, "key %s is false: not supported", r->key);
        }
    }
    if (h->traits->has_temperature) {
        read_real(r, h, "attention.temperature_scale", &h->temperature_scale, -1e9, 1e9);
    }
    return !r->failed;
}

bool model_hparams_read(struct hparams *h, const struct gguf *gguf, struct err *err)
{
    *h = (struct hparams){
        .embed_scale = 1, .residual_scale = 1, .logit_scale = 1, .expert_scale = 1};
    struct reader r = {.gguf = gguf, .err = err};
    if (!find_traits(h, gguf, err)) {
        return false;
    }
    h->gate = h->traits->gate;
    need_u32(&r, h, "block_count", &h->layer_count, 1, MODEL_LAYERS_MAX);
    need_u32(&r, h, "embedding_length", &h->embed_dim, 1, MODEL_WIDTH_MAX);
    need_u32(&r, h, "context_length", &h->ctx_train_tokens, 1, MODEL_CTX_MAX);
    double eps = 0;
    const char *eps_name = h->traits->norm == NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                                       : "attention.layer_norm_epsilon";
    if (!read_real(&r, h, eps_name, &eps, 0, 1) && !r.failed) {
        return err_set(err, ERR_FORMAT, "key %s is missing", r.key);
    }
    h->norm_eps = (float)eps;
    if (r.failed || !read_heads(&r, h) ||
        !read_head_dim(&r, h, "attention.key_length", &h->key_dim) ||
        !read_head_dim(&r, h, "attention.value_length", &h->value_dim) || !read_rope(&r, h) ||
        !read_windows(&r, h) || !read_caps(&r, h) || !read_experts(&r, h) ||
        !refuse_unknown(&r, h)) {
        return false;
    }
    uint64_t width =
        (uint64_t)h->max.head_count * (h->key_dim > h->value_dim ? h->key_dim : h->value_dim);
    if (width > MODEL_WIDTH_MAX) {
        key_of(&r, h, "attention.head_count");
        return fail_value(&r, h->max.head_count, "the heads are too many for their size");
    }
    read_vocab_count(&r, h);
    return read_pooling(&r, h) && read_scales(&r, h);
}
