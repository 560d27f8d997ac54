/* Keys of the rotation and of windows. */
#include <math.h>

#include "model/hparams.h"
#include "model/keys.h"

static bool read_rope_scaling(struct model_keys *r, struct hparams *h)
{
    struct rope_params *rope = &h->rope[ROPE_TABLE_MAIN];
    struct str type = STR("linear");
    struct str key = model_key_of(r, "rope.scaling.type");
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
    if (!model_key_real(r, "rope.scaling.factor", &rope->factor, 0, 1e9)) {
        model_key_real(r, "rope.scale_linear", &rope->factor, 0, 1e9); /* its name before 2024 */
    }
    if (rope->factor == 0 || rope->scaling == ROPE_SCALING_NONE) {
        rope->factor = 1;
    }
    model_key_real(r, "rope.scaling.attn_factor", &rope->attn_factor, -1e9, 1e9);
    model_key_real(r, "rope.scaling.yarn_ext_factor", &rope->ext_factor, -1e9, 1e9);
    model_key_real(r, "rope.scaling.yarn_beta_fast", &rope->beta_fast, 1e-9, 1e9);
    model_key_real(r, "rope.scaling.yarn_beta_slow", &rope->beta_slow, 1e-9, 1e9);
    model_key_real(r, "rope.scaling.yarn_log_multiplier", &rope->log_mul, -1e9, 1e9);
    if (h->traits->has_yarn_scores && rope->log_mul != 0) {
        rope->log_mul *= 10; /* its files have a tenth of it, and both logarithms the same weight */
        rope->mul = rope->log_mul;
    }
    rope->ctx_original = h->ctx_train_tokens;
    model_key_u32(r, "rope.scaling.original_context_length", &rope->ctx_original, 0, MODEL_CTX_MAX);
    if (rope->ctx_original == 0) {
        rope->ctx_original = h->ctx_train_tokens;
    }
    return !r->failed;
}

/* Even, and within the head. */
static bool read_rope_dim(struct model_keys *r, const char *name, uint32_t head_dim, uint32_t *dim)
{
    model_key_u32(r, name, dim, 2, MODEL_HEAD_DIM_MAX);
    if (!r->failed && (*dim % 2 != 0 || *dim > head_dim)) {
        r->failed = true;
        return err_set(r->err, ERR_FORMAT,
                       "key %s is %u: must be even and at most the head's %u dimensions", r->key,
                       *dim, head_dim);
    }
    return !r->failed;
}

bool model_hparams_rope(struct model_keys *r, struct hparams *h)
{
    struct rope_params *rope = &h->rope[ROPE_TABLE_MAIN];
    *rope = (struct rope_params){.base = 10000,
                                 .factor = 1,
                                 .attn_factor = 1,
                                 .ext_factor = 1,
                                 .beta_fast = 32,
                                 .beta_slow = 1,
                                 .mul = 1};
    if (h->traits->rope == ROPE_NONE) {
        return true;
    }
    rope->dim = h->key_dim;
    if (!read_rope_dim(r, "rope.dimension_count", h->key_dim, &rope->dim)) {
        return false;
    }
    model_key_real(r, "rope.freq_base", &rope->base, 1e-9, 1e30);
    double alpha = 0; /* a larger base instead of a factor (Hunyuan) */
    model_key_real(r, "rope.scaling.alpha", &alpha, 0, 1e9);
    if (alpha > 0 && h->key_dim > 2) {
        rope->base *= pow(alpha, (double)h->key_dim / (h->key_dim - 2));
    }
    return read_rope_scaling(r, h);
}

/* ---- windows ---- */

/* Which layers have a window: a period (the last of each is without one) or a truth value for every
 * layer. */
static bool read_pattern(struct model_keys *r, struct hparams *h, uint32_t window)
{
    uint32_t period = h->traits->window_period;
    struct str key = model_key_of(r, "attention.sliding_window_pattern");
    const struct gguf_entry *entry = r->failed ? NULL : gguf_find(r->gguf, key);
    bool is_array = entry && entry->value.kind == GGUF_ARRAY;
    if (is_array && (entry->value.item_kind == GGUF_STRING || entry->value.item_kind == GGUF_F32 ||
                     entry->value.item_kind == GGUF_F64 || entry->value.item_kind == GGUF_ARRAY)) {
        r->failed = true;
        return err_set(r->err, ERR_FORMAT, "key %s: an array of truth values is needed", r->key);
    }
    if (is_array && entry->value.count < h->layer_count) {
        return model_key_fail(r, entry->value.count,
                              "an array with one item for each layer is needed");
    }
    if (!is_array) {
        model_key_u32(r, "attention.sliding_window_pattern", &period, 0, UINT32_MAX);
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

/* Layers with a window may turn by another base, without the extension of the context. */
static bool read_window_rope(struct model_keys *r, struct hparams *h, const uint32_t *key_dim)
{
    const struct traits *t = h->traits;
    const struct rope_params *main = &h->rope[ROPE_TABLE_MAIN];
    struct rope_params *rope = &h->rope[ROPE_TABLE_WINDOW];
    *rope = *main;
    rope->base = t->window_base > 0 ? (double)t->window_base : main->base;
    model_key_real(r, "rope.freq_base_swa", &rope->base, 1e-9, 1e30);
    if (t->has_plain_window_rope) {
        rope->scaling = ROPE_SCALING_NONE;
        rope->factor = rope->attn_factor = 1;
    }
    h->has_two_tables = t->has_plain_window_rope || rope->base != main->base;
    if (t->has_window_heads) {
        rope->dim = main->dim < *key_dim ? main->dim : *key_dim;
        return read_rope_dim(r, "rope.dimension_count_swa", *key_dim, &rope->dim);
    }
    return !r->failed;
}

/* Llama 4: what would be windows are chunks, and a window of 0 says that there are none. */
static void make_chunks(struct hparams *h, uint32_t window)
{
    if (window != 0) {
        h->temperature_scale = 0.1;
        h->temperature_length = MODEL_CHUNK_TOKENS;
        h->temperature_offset = 1;
    }
    for (uint32_t i = 0; i < h->layer_count; i++) {
        struct layer_shape *layer = &h->layers[i];
        layer->chunk = layer->window != 0 ? MODEL_CHUNK_TOKENS : 0;
        layer->window = 0;
        layer->turns |= window == 0;
    }
}

bool model_hparams_windows(struct model_keys *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    uint32_t window = t->window_default, key_dim = h->key_dim, value_dim = h->value_dim;
    if (t->window_period != 0) {
        model_key_u32(r, "attention.sliding_window", &window, 0, UINT32_MAX);
        if (t->has_window_heads) {
            model_key_u32(r, "attention.key_length_swa", &key_dim, 2, MODEL_HEAD_DIM_MAX);
            model_key_u32(r, "attention.value_length_swa", &value_dim, 1, MODEL_HEAD_DIM_MAX);
        }
        if (window != 0 && (!read_window_rope(r, h, &key_dim) || !read_pattern(r, h, window))) {
            return false;
        }
    }
    for (uint32_t i = 0; i < h->layer_count; i++) {
        struct layer_shape *layer = &h->layers[i];
        if (t->has_window_heads && layer->window != 0) {
            layer->key_dim = key_dim;
            layer->value_dim = value_dim;
        }
        layer->table =
            h->has_two_tables && layer->window != 0 ? ROPE_TABLE_WINDOW : ROPE_TABLE_MAIN;
        layer->turns = t->rope != ROPE_NONE && !(t->rope_layers == ROPE_NOT_FOURTH && i % 4 == 3) &&
                       !(t->rope_layers == ROPE_WINDOW_LAYERS && window != 0 && layer->window == 0);
    }
    if (t->has_chunks) {
        make_chunks(h, window);
    }
    return !r->failed;
}
