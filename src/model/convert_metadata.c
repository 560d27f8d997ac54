/* The hyper-parameters of a checkpoint's config.json as GGUF metadata. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "model/convert_work.h"

static bool fail(const char *name, const char *what, struct err *err)
{
    return err_set(err, ERR_FORMAT, "config.json: %s %s", name, what);
}

bool model_config_u32(const struct converter *c, const char *name, uint32_t *out, struct err *err)
{
    const json_t *value = json_object_get(c->config, name);

    if (!value || json_is_null(value)) {
        return true;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > INT32_MAX) {
        return fail(name, "is no number that can be", err);
    }
    *out = (uint32_t)json_integer_value(value);
    return true;
}

static bool config_f32(const struct converter *c, const char *name, float *out, struct err *err)
{
    const json_t *value = json_object_get(c->config, name);

    if (!value || json_is_null(value)) {
        return true;
    }
    if (!json_is_number(value) || !isfinite(json_number_value(value))) {
        return fail(name, "is no number", err);
    }
    *out = (float)json_number_value(value);
    return true;
}

static struct str key_of(const struct converter *c, const char *name, char out[128])
{
    snprintf(out, 128, "%s.%s", c->family->arch, name);
    return str_of(out);
}

static bool put_u32(struct converter *c, const char *name, uint32_t value, struct err *err)
{
    char key[128];
    return gguf_writer_set_u32(c->writer, key_of(c, name, key), value, err);
}

static bool put_f32(struct converter *c, const char *name, float value, struct err *err)
{
    char key[128];
    return gguf_writer_set_f32(c->writer, key_of(c, name, key), value, err);
}

/* config.json's name, GGUF's, and whether a model may lack it. */
static const struct number {
    const char *hf, *gguf;
    bool is_optional;
} numbers[] = {
    {"max_position_embeddings", "context_length", false},
    {"hidden_size", "embedding_length", false},
    {"num_hidden_layers", "block_count", false},
    {"intermediate_size", "feed_forward_length", false},
    {"num_attention_heads", "attention.head_count", false},
    {"vocab_size", "vocab_size", false},
    {"num_local_experts", "expert_count", true},
    {"num_experts_per_tok", "expert_used_count", true},
    {"original_max_position_embeddings", "rope.scaling.original_context_length", true},
};

static bool put_numbers(struct converter *c, struct err *err)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        uint32_t value = UINT32_MAX;
        if (!model_config_u32(c, numbers[i].hf, &value, err)) {
            return false;
        }
        if (value == UINT32_MAX && !numbers[i].is_optional) {
            return fail(numbers[i].hf, "is missing", err);
        }
        if (value != UINT32_MAX && !put_u32(c, numbers[i].gguf, value, err)) {
            return false;
        }
    }
    return true;
}

static bool put_heads(struct converter *c, struct err *err)
{
    uint32_t hidden = 0, head_dim = 0;

    if (!model_config_u32(c, "num_attention_heads", &c->head_count, err) ||
        !model_config_u32(c, "hidden_size", &hidden, err)) {
        return false;
    }
    c->kv_head_count = c->head_count;
    if (!model_config_u32(c, "num_key_value_heads", &c->kv_head_count, err) ||
        !model_config_u32(c, "num_local_experts", &c->expert_count, err) ||
        !model_config_u32(c, "vocab_size", &c->vocab_count, err)) {
        return false;
    }
    if (c->head_count == 0 || c->kv_head_count == 0) {
        return fail("num_attention_heads", "is 0", err);
    }
    head_dim = hidden / c->head_count;
    bool is_given = json_is_integer(json_object_get(c->config, "head_dim"));
    return model_config_u32(c, "head_dim", &head_dim, err) &&
           put_u32(c, "attention.head_count_kv", c->kv_head_count, err) &&
           put_u32(c, "rope.dimension_count", head_dim, err) &&
           (!is_given || (put_u32(c, "attention.key_length", head_dim, err) &&
                          put_u32(c, "attention.value_length", head_dim, err)));
}

/* Scaled rotations change every logit; what cannot be carried over is refused. */
static bool put_rope(struct converter *c, struct err *err)
{
    const json_t *scaling = json_object_get(c->config, "rope_scaling");
    const json_t *parameters = json_object_get(c->config, "rope_parameters");
    float base = 10000;

    if (!config_f32(c, "rope_theta", &base, err)) {
        return false;
    }
    if (json_is_number(json_object_get(parameters, "rope_theta"))) {
        base = (float)json_number_value(json_object_get(parameters, "rope_theta"));
    }
    if (!put_f32(c, "rope.freq_base", base, err)) {
        return false;
    }
    if (!json_is_object(scaling)) {
        return true;
    }
    struct str type = json_str(json_object_get(scaling, "rope_type"));
    type = type.len > 0 ? type : json_str(json_object_get(scaling, "type"));
    if (str_eq(type, STR("default")) || type.len == 0) {
        return true;
    }
    bool is_linear = str_eq(type, STR("linear")), is_yarn = str_eq(type, STR("yarn"));
    double factor = json_number_value(json_object_get(scaling, "factor"));
    if ((!is_linear && !is_yarn) || !(factor > 0)) {
        char quoted[STR_QUOTE_MAX];
        return err_set(err, ERR_UNSUPPORTED,
                       "config.json: rope_scaling of type \"%s\" cannot be converted",
                       str_quote(quoted, type));
    }
    char key[128];
    const json_t *original = json_object_get(scaling, "original_max_position_embeddings");
    return gguf_writer_set_str(c->writer, key_of(c, "rope.scaling.type", key), type, err) &&
           put_f32(c, "rope.scaling.factor", (float)factor, err) &&
           (!json_is_integer(original) || put_u32(c, "rope.scaling.original_context_length",
                                                  (uint32_t)json_integer_value(original), err));
}

static bool put_rest(struct converter *c, struct err *err)
{
    bool has_window = !json_is_false(json_object_get(c->config, "use_sliding_window"));
    float eps = 1e-6f, cap = 0, last_cap = 0;
    uint32_t window = 0, file_type = c->how->has_type && c->how->type == DTYPE_F32    ? 0
                                     : c->how->has_type && c->how->type == DTYPE_BF16 ? 32
                                                                                      : 1;

    if (!config_f32(c, "rms_norm_eps", &eps, err) ||
        !config_f32(c, "attn_logit_softcapping", &cap, err) ||
        !config_f32(c, "final_logit_softcapping", &last_cap, err) ||
        !model_config_u32(c, "sliding_window", &window, err)) {
        return false;
    }
    return put_f32(c, "attention.layer_norm_rms_epsilon", eps, err) &&
           (cap == 0 || put_f32(c, "attn_logit_softcapping", cap, err)) &&
           (last_cap == 0 || put_f32(c, "final_logit_softcapping", last_cap, err)) &&
           (window == 0 || !has_window || put_u32(c, "attention.sliding_window", window, err)) &&
           gguf_writer_set_u32(c->writer, STR("general.file_type"), file_type, err);
}

bool model_convert_metadata(struct converter *c, struct err *err)
{
    struct str folder = str_of(c->how->folder), name;

    while (folder.len > 1 && folder.ptr[folder.len - 1] == '/') {
        folder.len--;
    }
    name = folder;
    for (size_t i = 0; i < folder.len; i++) {
        if (folder.ptr[i] == '/') {
            name = (struct str){folder.ptr + i + 1, folder.len - i - 1};
        }
    }
    return gguf_writer_set_str(c->writer, STR("general.architecture"), str_of(c->family->arch),
                               err) &&
           gguf_writer_set_str(c->writer, STR("general.name"), name, err) && put_numbers(c, err) &&
           put_heads(c, err) && put_rope(c, err) && put_rest(c, err);
}
