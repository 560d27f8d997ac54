#include "model/hparams.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "model/keys.h"

/* Which layers exist for the forward pass. Those behind, which guess further tokens, are not run.
 */
static void read_layer_count(struct model_keys *r, struct hparams *h)
{
    model_key_need_u32(r, "block_count", &h->layer_count, 1, MODEL_LAYERS_MAX);
    if (!r->failed && h->traits->has_guessing_layers) {
        model_key_u32(r, "nextn_predict_layers", &h->guessing_layers, 0, h->layer_count - 1);
        h->layer_count -= r->failed ? 0 : h->guessing_layers;
    }
}

static bool check_layer(struct model_keys *r, const struct hparams *h, uint32_t index)
{
    const struct layer_shape *layer = &h->layers[index];
    if (layer->ffn_dim == 0 && h->traits->experts != EXPERTS_NEEDED) {
        model_key_of(r, "feed_forward_length");
        return model_key_fail(r, 1, "must be at least 2");
    }
    if (layer->kv_head_count != 0 && layer->head_count % layer->kv_head_count != 0) {
        model_key_of(r, "attention.head_count_kv");
        r->failed = true;
        return err_set(r->err, ERR_FORMAT,
                       "key %s is %u in layer %u: does not divide the head count %u", r->key,
                       layer->kv_head_count, index, layer->head_count);
    }
    return true;
}

/* Layers without key heads pass on a state instead, where the family has such. */
static bool read_heads(struct model_keys *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    const size_t stride = sizeof *h->layers;
    struct layer_shape *first = h->layers;
    model_key_need_layers(r, "attention.head_count", h->layer_count, &first->head_count, stride, 1,
                          MODEL_HEADS_MAX);
    if (!model_key_layers(r, "attention.head_count_kv", h->layer_count, &first->kv_head_count,
                          stride, !t->has_headless_layers, MODEL_HEADS_MAX)) {
        for (uint32_t i = 0; i < h->layer_count; i++) {
            h->layers[i].kv_head_count = h->layers[i].head_count;
        }
    }
    if (!model_key_layers(r, "feed_forward_length", h->layer_count, &first->ffn_dim, stride, 1,
                          MODEL_WIDTH_MAX) &&
        !r->failed && t->experts != EXPERTS_NEEDED) {
        r->failed = true;
        err_set(r->err, ERR_FORMAT, "key %s is missing", r->key);
    }
    for (uint32_t i = 0; i < h->layer_count && !r->failed; i++) {
        h->layers[i].ffn_dim /= t->has_half_ffn ? 2 : 1;
        check_layer(r, h, i);
    }
    return !r->failed;
}

/* Without key_length a head has embedding_length / head_count dimensions. */
static bool read_head_dim(struct model_keys *r, struct hparams *h, const char *name, uint32_t *out)
{
    uint32_t heads = h->layers[0].head_count;
    if (model_key_u32(r, name, out, 1, MODEL_HEAD_DIM_MAX) || r->failed) {
        return !r->failed;
    }
    if (h->embed_dim % heads != 0) {
        model_key_of(r, "embedding_length");
        r->failed = true;
        return err_set(r->err, ERR_FORMAT,
                       "key %s is %u: not a multiple of the head count %u, and there is no key "
                       "%s.%s",
                       r->key, h->embed_dim, heads, h->traits->architecture, name);
    }
    *out = h->embed_dim / heads;
    if (*out > MODEL_HEAD_DIM_MAX) {
        model_key_of(r, "embedding_length");
        return model_key_fail(r, h->embed_dim, "the heads are too large");
    }
    return true;
}

void model_hparams_scale(struct model_keys *r, const char *name, double *out)
{
    double value = 0;
    model_key_real(r, name, &value, -1e9, 1e9);
    *out = value != 0 ? value : *out;
}

/* ---- what not every family has ---- */

/* What hearth does not compute must not be computed without it. */
static bool refuse_unknown(struct model_keys *r, const struct hparams *h)
{
    const struct traits *t = h->traits;
    const struct {
        const char *name;
        bool is_known;
    } keys[] = {{"expert_count", t->experts != EXPERTS_NONE},
                {"nextn_predict_layers", t->has_guessing_layers},
                {"attention.max_alibi_bias", t->alibi_bias < 0},
                {"attention.clamp_kqv", t->has_clamp},
                {"final_logit_softcapping", t->logit_cap != 0},
                {"attn_logit_softcapping", t->score_cap != 0}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && !r->failed; i++) {
        double value = 0;
        const struct gguf_entry *entry = gguf_find(r->gguf, model_key_of(r, keys[i].name));
        if (!entry || keys[i].is_known) {
            continue;
        }
        if (entry->value.kind == GGUF_F32 || entry->value.kind == GGUF_F64) {
            model_key_real(r, keys[i].name, &value, -INFINITY, INFINITY);
        } else {
            uint32_t count = 0;
            model_key_u32(r, keys[i].name, &count, 0, UINT32_MAX);
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
static void read_vocab_count(struct model_keys *r, struct hparams *h)
{
    const struct gguf_entry *tokens = gguf_find(r->gguf, STR("tokenizer.ggml.tokens"));
    if (tokens && tokens->value.kind == GGUF_ARRAY && tokens->value.count > 0) {
        snprintf(r->key, sizeof r->key, "tokenizer.ggml.tokens");
        if (tokens->value.count > MODEL_WIDTH_MAX) {
            model_key_fail(r, tokens->value.count, "too many tokens");
        }
        h->vocab_count = (uint32_t)tokens->value.count;
        return;
    }
    model_key_u32(r, "vocab_size", &h->vocab_count, 1, MODEL_WIDTH_MAX);
}

/* A file that does not say how to pool gets the mean. */
static bool read_pooling(struct model_keys *r, struct hparams *h)
{
    uint32_t pooling = POOLING_MEAN;
    h->is_causal = !h->traits->is_encoder;
    model_key_bool(r, "attention.causal", &h->is_causal);
    h->has_pooling_key = model_key_u32(r, "pooling_type", &pooling, 0, POOLING_RANK);
    h->pooling = (enum pooling)pooling;
    return !r->failed;
}

/* What YaRN multiplies the scores of DeepSeek 2 by: the square of a logarithm of the extension. */
static double yarn_sharpness(const struct rope_params *rope)
{
    bool is_yarn = rope->scaling == ROPE_SCALING_YARN && rope->ext_factor != 0;
    if (!is_yarn || rope->factor <= 1) {
        return 1;
    }
    double log_factor = log(rope->factor), plain = rope->log_mul != 0 ? 1 : 1 + 0.1 * log_factor;
    double scale = rope->attn_factor * plain * (1 + 0.1 * rope->log_mul * log_factor);
    return scale * scale;
}

static void set_default_scales(struct hparams *h)
{
    const struct traits *t = h->traits;
    /* Gemma 2 and 3 of 27B scale scores by the width per head, which is not that of their heads. */
    bool is_wide = t->wide_scale_layers != 0 && h->layer_count == t->wide_scale_layers;
    double dim = is_wide ? floor((double)h->embed_dim / h->layers[0].head_count) : h->key_dim;
    if (h->latent.rank != 0) {
        dim = (double)h->latent.nope_dim + h->latent.rope_dim;
    }
    h->attn_scale = t->has_plain_scores ? 1 : 1 / sqrt(dim > 0 ? dim : 1);
    h->attn_scale *= t->has_yarn_scores ? yarn_sharpness(&h->rope[ROPE_TABLE_MAIN]) : 1;
    h->embed_scale = t->has_root_embedding ? sqrt((double)h->embed_dim) : 1;
    if (t->embed_scale > 0) {
        h->embed_scale = (double)t->embed_scale;
        h->residual_scale = (double)t->residual_scale / sqrt((double)h->layer_count);
        h->logit_scale = h->embed_dim / (double)t->logit_width;
    }
}

static bool read_xielu(struct model_keys *r, struct hparams *h)
{
    static const char *const names[] = {"alpha_n", "alpha_p", "beta", "eps"};
    struct model_keys own = {.gguf = r->gguf, .architecture = "xielu", .err = r->err};
    for (int i = 0; i < 4 && h->traits->activation == ACT_XIELU; i++) {
        model_key_need_reals(&own, names[i], h->layer_count, &h->layers[0].xielu[i],
                             sizeof h->layers[0], -1e9, 1e9);
    }
    r->failed |= own.failed;
    return !r->failed;
}

static bool read_caps(struct model_keys *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    h->score_cap = t->score_cap > 0 ? (double)t->score_cap : 0;
    h->logit_cap = t->logit_cap > 0 ? (double)t->logit_cap : 0;
    h->alibi_bias = t->alibi_bias > 0 ? (double)t->alibi_bias : 0;
    if (t->score_cap != 0) {
        model_key_real(r, "attn_logit_softcapping", &h->score_cap, 0, 1e9);
    }
    if (t->logit_cap != 0) {
        model_key_real(r, "final_logit_softcapping", &h->logit_cap, 0, 1e9);
    }
    if (t->alibi_bias < 0) {
        model_key_real(r, "attention.max_alibi_bias", &h->alibi_bias, 0, 1e3);
    }
    if (t->has_clamp) {
        model_key_real(r, "attention.clamp_kqv", &h->clamp, 0, 1e9);
    }
    h->is_parallel = t->residual == RESIDUAL_PARALLEL;
    if (t->residual == RESIDUAL_KEY) {
        h->is_parallel = true;
        model_key_bool(r, "use_parallel_residual", &h->is_parallel);
    }
    return !r->failed;
}

static bool read_scales(struct model_keys *r, struct hparams *h)
{
    bool turns = true;
    set_default_scales(h);
    if (h->traits->logit_scale != LOGIT_AS_IS) {
        model_hparams_scale(r, "logit_scale", &h->logit_scale);
        if (h->traits->logit_scale == LOGIT_MULTIPLIED) {
            h->logit_scale = 1 / h->logit_scale;
        }
    }
    if (h->traits->has_scales) {
        model_hparams_scale(r, "embedding_scale", &h->embed_scale);
        model_hparams_scale(r, "residual_scale", &h->residual_scale);
        model_hparams_scale(r, "attention.scale", &h->attn_scale);
        /* Granite files switch rotation off by this key. */
        model_key_bool(r, "rope.scaling.finetuned", &turns);
        for (uint32_t i = 0; i < h->layer_count; i++) {
            h->layers[i].turns &= turns;
        }
    }
    if (h->traits->has_temperature) {
        h->temperature_length = h->rope[ROPE_TABLE_MAIN].ctx_original;
        model_key_real(r, "attention.temperature_scale", &h->temperature_scale, -1e9, 1e9);
        model_key_u32(r, "attention.temperature_length", &h->temperature_length, 1, MODEL_CTX_MAX);
    }
    return !r->failed;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* The largest of everything, and whether the heads of a layer fit. */
static bool find_max(struct model_keys *r, struct hparams *h)
{
    struct layer_shape *max = &h->max;
    for (uint32_t i = 0; i < h->layer_count; i++) {
        const struct layer_shape *layer = &h->layers[i];
        uint64_t dim = larger(layer->key_dim, layer->value_dim);
        if (dim * layer->head_count > MODEL_WIDTH_MAX) {
            model_key_of(r, "attention.head_count");
            return model_key_fail(r, layer->head_count, "the heads are too many for their size");
        }
        max->head_count = larger(max->head_count, layer->head_count);
        max->kv_head_count = larger(max->kv_head_count, layer->kv_head_count);
        max->key_dim = larger(max->key_dim, layer->key_dim);
        max->value_dim = larger(max->value_dim, layer->value_dim);
        max->ffn_dim = larger(max->ffn_dim, layer->ffn_dim);
    }
    return true;
}

static bool read_epsilon(struct model_keys *r, struct hparams *h)
{
    double eps = 0;
    const char *name = h->traits->norm == NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                                   : "attention.layer_norm_epsilon";
    if (!model_key_real(r, name, &eps, 0, 1) && !r->failed) {
        r->failed = true;
        return err_set(r->err, ERR_FORMAT, "key %s is missing", r->key);
    }
    h->norm_eps = (float)eps;
    return !r->failed;
}

bool model_hparams_read(struct hparams *h, const struct gguf *gguf, struct err *err)
{
    *h = (struct hparams){
        .embed_scale = 1, .residual_scale = 1, .logit_scale = 1, .expert_scale = 1};
    if (!find_traits(h, gguf, err)) {
        return false;
    }
    struct model_keys r = {.gguf = gguf, .architecture = h->traits->architecture, .err = err};
    h->gate = h->traits->gate;
    read_layer_count(&r, h);
    model_key_need_u32(&r, "embedding_length", &h->embed_dim, 1, MODEL_WIDTH_MAX);
    model_key_need_u32(&r, "context_length", &h->ctx_train_tokens, 1, MODEL_CTX_MAX);
    if (!read_epsilon(&r, h) || !read_heads(&r, h) ||
        !read_head_dim(&r, h, "attention.key_length", &h->key_dim) ||
        !read_head_dim(&r, h, "attention.value_length", &h->value_dim) ||
        !model_hparams_rope(&r, h) || !model_hparams_mixers(&r, h) ||
        !model_hparams_windows(&r, h) || !model_hparams_sources(&r, h) || !find_max(&r, h) ||
        !read_caps(&r, h) || !read_xielu(&r, h) || !model_hparams_experts(&r, h) ||
        !refuse_unknown(&r, h)) {
        return false;
    }
    if (h->traits->has_layer_inputs) {
        model_key_u32(&r, "embedding_length_per_layer_input", &h->layer_input_dim, 0,
                      MODEL_WIDTH_MAX / MODEL_LAYERS_MAX);
    }
    read_vocab_count(&r, h);
    return read_pooling(&r, h) && read_scales(&r, h);
}
