#include "gguf/mix.h"

#include <assert.h>

#include "base/buf.h"
#include "gguf/part.h"

static const struct target {
    enum dtype type;
    uint32_t file_type; /* enum llama_ftype of llama.h */
} targets[] = {{DTYPE_F16, 1}, {DTYPE_Q4_0, 2}, {DTYPE_Q8_0, 7}, {DTYPE_BF16, 32}};

static const struct target *find_target(enum dtype type)
{
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        if (targets[i].type == type) {
            return &targets[i];
        }
    }
    return NULL;
}

bool gguf_mix_supports(enum dtype target)
{
    return find_target(target) != NULL;
}

uint32_t gguf_mix_file_type(enum dtype target)
{
    assert(gguf_mix_supports(target));
    return find_target(target)->file_type;
}

void gguf_mix_init(struct gguf_mix *mix, const struct gguf *gguf, enum dtype target)
{
    const struct gguf_entry *arch = gguf_find(gguf, STR("general.architecture"));
    struct buf key = {0};
    uint64_t experts = 0;
    if (arch && arch->value.kind == GGUF_STRING) {
        buf_add(&key, arch->value.text);
        buf_add_text(&key, ".expert_count");
        const struct gguf_entry *entry = gguf_find(gguf, buf_view(&key));
        if (!entry || !gguf_value_u64(&entry->value, UINT32_MAX, &experts)) {
            experts = 0;
        }
        buf_deinit(&key);
    }
    *mix = (struct gguf_mix){.target = target,
                             .is_tied = !gguf_find_tensor(gguf, STR("output.weight")),
                             .has_8_experts = experts == 8};
}

static bool contains(struct str name, const char *part)
{
    return str_find(name, str_of(part), 0) != SIZE_MAX;
}

static bool contains_any(struct str name, const char *const *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (contains(name, parts[i])) {
            return true;
        }
    }
    return false;
}

/* Trailing dimensions of 1 do not make a vector a matrix. */
static bool is_matrix(const struct gguf_tensor *tensor)
{
    return tensor->dims[1] > 1 || tensor->dims[2] > 1 || tensor->dims[3] > 1;
}

static bool is_converted(const struct gguf_tensor *tensor)
{
    static const char *const kept[] = {
        /* norms, expert gates */
        "_norm.weight", "ffn_gate_inp.weight",
        /* gemma3n */
        "altup", "laurel", "per_layer_model_proj",
        /* mamba, lfm2 */
        "ssm_conv1d", "shortconv.conv.weight",
        /* rwkv */
        "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight",
        "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight",
        "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight",
        "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
        /* t5 */
        "attn_rel_b.weight",
        /* projectors */
        ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd",
        ".patch_merger"};
    struct str name = tensor->name;
    return is_matrix(tensor) && str_ends(name, STR("weight")) &&
           !str_eq(name, STR("position_embd.weight")) && !str_eq(name, STR("token_types.weight")) &&
           !contains_any(name, kept, sizeof kept / sizeof kept[0]);
}

enum dtype gguf_mix_type(const struct gguf_mix *mix, const struct gguf_tensor *tensor)
{
    static const char *const keys_and_values[] = {"attn_qkv.weight", "attn_kv_b.weight",
                                                  "attn_v.weight", "attn_k.weight"};
    struct str name = tensor->name;
    enum dtype type = mix->target;
    if (!is_converted(tensor)) {
        return tensor->type;
    }
    if (type == DTYPE_Q4_0) {
        bool is_output = str_eq(name, STR("output.weight"));
        bool is_embedding = str_eq(name, STR("token_embd.weight")) ||
                            str_eq(name, STR("per_layer_token_embd.weight"));
        if (is_output || (is_embedding && mix->is_tied) ||
            (mix->has_8_experts && contains_any(name, keys_and_values, 4))) {
            type = DTYPE_Q8_0;
        }
    }
    return tensor->dims[0] % dtype_info(type)->block_len ? DTYPE_F16 : type;
}
