#include "gguf/mix.h"

#include <assert.h>

#include "base/buf.h"
#include "gguf/part.h"

#define TARGET(id, name, type, file_type) {id, name, type, file_type},
static const struct gguf_mix_target targets[GGUF_MIX_COUNT] = {GGUF_MIX_TABLE(TARGET)};
#undef TARGET

const struct gguf_mix_target *gguf_mix_target(enum gguf_mix_id id)
{
    return &targets[id];
}

const struct gguf_mix_target *gguf_mix_find(struct str name)
{
    static const struct {
        const char *name;
        enum gguf_mix_id id;
    } shorts[] = {{"Q3_K", GGUF_MIX_Q3_K_M}, {"Q4_K", GGUF_MIX_Q4_K_M}, {"Q5_K", GGUF_MIX_Q5_K_M}};

    for (size_t i = 0; i < GGUF_MIX_COUNT; i++) {
        if (str_eq_nocase(name, str_of(targets[i].name))) {
            return &targets[i];
        }
    }
    for (size_t i = 0; i < sizeof shorts / sizeof shorts[0]; i++) {
        if (str_eq_nocase(name, str_of(shorts[i].name))) {
            return &targets[shorts[i].id];
        }
    }
    return NULL;
}

/* ---- the model ---- */

/* A number under "<arch>.<name>"; of an array its first item; `absent` without one. */
static uint32_t read_number(const struct gguf *gguf, const char *name, uint32_t absent)
{
    const struct gguf_entry *arch = gguf_find(gguf, STR("general.architecture"));
    struct buf key = {0};
    uint64_t number = absent;

    if (!arch || arch->value.kind != GGUF_STRING) {
        return absent;
    }
    buf_add(&key, arch->value.text);
    buf_add_text(&key, name);
    const struct gguf_entry *entry = gguf_find(gguf, buf_view(&key));
    buf_deinit(&key);
    if (!entry) {
        return absent;
    }
    const struct gguf_value *value = &entry->value;
    if (value->kind == GGUF_ARRAY && value->count > 0 && value->item_kind != GGUF_STRING &&
        value->item_kind != GGUF_F32 && value->item_kind != GGUF_F64) {
        int64_t first = gguf_item_i64(value, 0);
        return first >= 0 && first <= UINT32_MAX ? (uint32_t)first : absent;
    }
    return gguf_value_u64(value, UINT32_MAX, &number) ? (uint32_t)number : absent;
}

/* N of "blk.N."; UINT32_MAX without one. */
static uint32_t layer_of(struct str name)
{
    uint64_t layer = 0;
    size_t end;

    if (!str_starts(name, STR("blk."))) {
        return UINT32_MAX;
    }
    end = str_find(name, STR("."), 4);
    if (end == SIZE_MAX || !str_to_u64((struct str){name.ptr + 4, end - 4}, &layer) ||
        layer >= UINT32_MAX) {
        return UINT32_MAX;
    }
    return (uint32_t)layer;
}

/* ---- the tensors ---- */

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

/* What a tensor is for. */
enum part {
    PART_OTHER,
    PART_OUTPUT,
    PART_EMBEDDING,
    PART_QKV,
    PART_VALUES,
    PART_KEYS,
    PART_QUERIES,
    PART_ATTENTION_OUT,
    PART_UP,
    PART_GATE,
    PART_DOWN
};

static enum part part_of(struct str name)
{
    static const struct {
        const char *text;
        enum part part;
    } parts[] = {
        {"attn_qkv.weight", PART_QKV},
        {"attn_kv_b.weight", PART_VALUES},
        {"attn_v.weight", PART_VALUES},
        {"attn_k.weight", PART_KEYS},
        {"attn_q.weight", PART_QUERIES},
        {"attn_output.weight", PART_ATTENTION_OUT},
        {"ffn_up", PART_UP},
        {"ffn_gate", PART_GATE},
        {"ffn_down", PART_DOWN},
    };

    if (str_eq(name, STR("output.weight"))) {
        return PART_OUTPUT;
    }
    if (str_eq(name, STR("token_embd.weight")) ||
        str_eq(name, STR("per_layer_token_embd.weight"))) {
        return PART_EMBEDDING;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (contains(name, parts[i].text)) {
            return parts[i].part;
        }
    }
    return PART_OTHER;
}

/* Tensors with values in them count as the values of their layer. */
static void count_values(struct gguf_mix *mix, const struct gguf *gguf)
{
    uint16_t has[GGUF_MIX_LAYERS_MAX] = {0}, before = 0;

    for (size_t i = 0; i < gguf->tensor_count; i++) {
        enum part part = part_of(gguf->tensors[i].name);
        uint32_t layer = layer_of(gguf->tensors[i].name);
        if ((part == PART_VALUES || part == PART_QKV) && layer < GGUF_MIX_LAYERS_MAX) {
            has[layer] = 1;
        }
    }
    for (size_t i = 0; i < GGUF_MIX_LAYERS_MAX; i++) {
        mix->values_before[i] = before;
        before = (uint16_t)(before + has[i]);
    }
    mix->value_count = before;
}

void gguf_mix_init(struct gguf_mix *mix, const struct gguf *gguf,
                   const struct gguf_mix_target *target, bool has_importance)
{
    const struct gguf_entry *arch = gguf_find(gguf, STR("general.architecture"));
    uint32_t heads = read_number(gguf, ".attention.head_count", 0);
    uint32_t keys = read_number(gguf, ".attention.head_count_kv", heads);
    uint32_t shared = read_number(gguf, ".attention.shared_kv_layers", 0);

    *mix = (struct gguf_mix){
        .target = target,
        .has_importance = has_importance,
        .is_tied = !gguf_find_tensor(gguf, STR("output.weight")),
        .is_falcon =
            arch && arch->value.kind == GGUF_STRING && str_eq(arch->value.text, STR("falcon")),
        .expert_count = read_number(gguf, ".expert_count", 0),
        .heads_per_key = keys > 0 && heads > keys ? heads / keys : 1,
        .layer_count = read_number(gguf, ".block_count", 0),
    };
    mix->is_70b = mix->layer_count == 80 && mix->heads_per_key > 1;
    mix->keyless_count = shared < mix->layer_count ? shared : 0;
    count_values(mix, gguf);
}

/* ---- the rules ---- */

/* The first and last eighth of the layers, and every third between. */
static bool wants_more(uint32_t layer, uint32_t count)
{
    return layer < count / 8 || layer >= 7 * count / 8 || (layer - count / 8) % 3 == 2;
}

static bool is_tiny(enum gguf_mix_id id)
{
    return id == GGUF_MIX_IQ2_XXS || id == GGUF_MIX_IQ2_XS || id == GGUF_MIX_IQ2_S ||
           id == GGUF_MIX_IQ2_M || id == GGUF_MIX_IQ1_S || id == GGUF_MIX_IQ1_M;
}

static enum dtype type_of_output(const struct gguf_mix *mix, const struct gguf_tensor *tensor)
{
    enum gguf_mix_id id = mix->target->id;

    if (id == GGUF_MIX_MXFP4_MOE || mix->is_falcon || mix->target->type == DTYPE_Q8_0 ||
        tensor->dims[0] % dtype_info(mix->target->type)->block_len != 0) {
        return DTYPE_Q8_0;
    }
    return is_tiny(id) || id == GGUF_MIX_IQ3_XXS ? DTYPE_Q5_K : DTYPE_Q6_K;
}

static enum dtype type_of_embedding(const struct gguf_mix *mix)
{
    switch (mix->target->id) {
    case GGUF_MIX_IQ2_XXS:
    case GGUF_MIX_IQ2_XS:
    case GGUF_MIX_IQ1_S:
    case GGUF_MIX_IQ1_M:
        return DTYPE_Q2_K;
    case GGUF_MIX_IQ2_S:
    case GGUF_MIX_IQ2_M:
    case GGUF_MIX_IQ3_XXS:
        return DTYPE_IQ3_S;
    case GGUF_MIX_TQ1_0:
    case GGUF_MIX_TQ2_0:
        return DTYPE_Q4_K;
    default:
        return mix->target->type;
    }
}

/* Targets of one and two bits. */
static enum dtype type_of_tiny(const struct gguf_mix *mix, enum part part, uint32_t layer)
{
    enum gguf_mix_id id = mix->target->id;
    bool is_2s = id == GGUF_MIX_IQ2_S || id == GGUF_MIX_IQ2_M;
    bool is_1 = id == GGUF_MIX_IQ1_S || id == GGUF_MIX_IQ1_M;
    enum dtype better = is_2s ? DTYPE_IQ3_S : DTYPE_Q2_K;

    switch (part) {
    case PART_VALUES:
    case PART_QKV:
        return mix->heads_per_key >= 4 || mix->expert_count >= 4 ? DTYPE_Q4_K : better;
    case PART_KEYS:
        return mix->expert_count == 8 ? DTYPE_Q4_K : mix->target->type;
    case PART_DOWN:
        return layer < mix->layer_count / 8 ? better : mix->target->type;
    case PART_ATTENTION_OUT:
        if (mix->expert_count == 8) {
            return DTYPE_Q5_K;
        }
        return is_1 ? DTYPE_IQ2_XXS : is_2s ? DTYPE_IQ3_S : mix->target->type;
    default:
        return mix->target->type;
    }
}

static enum dtype type_of_values_by_mix(const struct gguf_mix *mix, uint32_t index)
{
    bool is_grouped = mix->heads_per_key >= 4, more = wants_more(index, mix->value_count);

    switch (mix->target->id) {
    case GGUF_MIX_Q2_K:
        return is_grouped ? DTYPE_Q4_K : DTYPE_Q3_K;
    case GGUF_MIX_Q2_K_S:
    case GGUF_MIX_IQ3_XS:
    case GGUF_MIX_IQ3_S:
        return is_grouped ? DTYPE_Q4_K : mix->target->type;
    case GGUF_MIX_IQ3_XXS:
        return is_grouped ? DTYPE_Q4_K : mix->has_importance ? DTYPE_IQ3_XXS : DTYPE_IQ3_S;
    case GGUF_MIX_IQ3_M:
        return DTYPE_Q4_K;
    case GGUF_MIX_Q3_K_M:
        return index < 2 ? DTYPE_Q5_K : DTYPE_Q4_K;
    case GGUF_MIX_Q3_K_L:
        return DTYPE_Q5_K;
    case GGUF_MIX_IQ4_NL:
    case GGUF_MIX_IQ4_XS:
        return is_grouped ? DTYPE_Q5_K : mix->target->type;
    case GGUF_MIX_Q4_K_M:
    case GGUF_MIX_Q5_K_M:
        return more ? DTYPE_Q6_K : mix->target->type;
    case GGUF_MIX_Q4_K_S:
        return index < 4 ? DTYPE_Q5_K : DTYPE_Q4_K;
    default:
        return mix->target->type;
    }
}

static enum dtype type_of_values(const struct gguf_mix *mix, uint32_t layer)
{
    uint32_t index = layer < GGUF_MIX_LAYERS_MAX ? mix->values_before[layer] : mix->value_count;
    enum dtype type = type_of_values_by_mix(mix, index);

    if (mix->expert_count == 8) { /* small there, and all experts need them */
        return DTYPE_Q8_0;
    }
    return mix->is_70b && (type == DTYPE_Q3_K || type == DTYPE_Q4_K) ? DTYPE_Q5_K : type;
}

static enum dtype type_of_keys(const struct gguf_mix *mix, bool is_query)
{
    if (!is_query && mix->expert_count == 8) {
        return DTYPE_Q8_0;
    }
    switch (mix->target->id) {
    case GGUF_MIX_IQ3_XS:
        return DTYPE_IQ3_XXS;
    case GGUF_MIX_IQ3_XXS:
        return DTYPE_IQ2_S;
    default:
        return mix->target->type;
    }
}

static enum dtype type_of_down(const struct gguf_mix *mix, uint32_t layer)
{
    uint32_t count = mix->layer_count;
    bool more = wants_more(layer, count), is_first = layer < count / 8;
    enum dtype type = mix->target->type;

    switch (mix->target->id) {
    case GGUF_MIX_Q2_K:
        return DTYPE_Q3_K;
    case GGUF_MIX_Q2_K_S:
        return is_first ? DTYPE_Q4_K : type;
    case GGUF_MIX_IQ3_XXS:
        return mix->has_importance ? type : is_first ? DTYPE_Q4_K : DTYPE_Q3_K;
    case GGUF_MIX_Q3_K_M:
        return layer < count / 16 ? DTYPE_Q5_K : !mix->is_falcon || more ? DTYPE_Q4_K : DTYPE_Q3_K;
    case GGUF_MIX_IQ3_M:
        return is_first || (mix->expert_count == 8 && more) ? DTYPE_Q4_K : type;
    case GGUF_MIX_Q3_K_L:
        return mix->is_falcon ? DTYPE_Q4_K : DTYPE_Q5_K;
    case GGUF_MIX_Q4_K_M:
        if (mix->is_falcon) {
            return layer < count / 16 ? DTYPE_Q6_K : more ? DTYPE_Q5_K : DTYPE_Q4_K;
        }
        return more ? DTYPE_Q6_K : type;
    case GGUF_MIX_Q5_K_M:
        return more ? DTYPE_Q6_K : type;
    case GGUF_MIX_IQ4_NL:
    case GGUF_MIX_IQ4_XS:
        return is_first && !mix->has_importance ? DTYPE_Q5_K : type;
    case GGUF_MIX_Q4_K_S:
        return is_first && !mix->is_falcon ? DTYPE_Q5_K : type;
    case GGUF_MIX_Q4_0:
        return is_first && mix->has_importance ? DTYPE_Q4_1 : type;
    case GGUF_MIX_Q5_0:
        return is_first && mix->has_importance ? DTYPE_Q5_1 : type;
    default:
        return type;
    }
}

/* Of Mixtral; its experts share the attention. */
static bool is_raised_with_experts(enum gguf_mix_id id)
{
    switch (id) {
    case GGUF_MIX_Q2_K:
    case GGUF_MIX_IQ3_XS:
    case GGUF_MIX_IQ3_XXS:
    case GGUF_MIX_Q3_K_S:
    case GGUF_MIX_Q3_K_M:
    case GGUF_MIX_IQ4_NL:
    case GGUF_MIX_Q4_K_S:
    case GGUF_MIX_Q4_K_M:
    case GGUF_MIX_IQ3_S:
    case GGUF_MIX_IQ3_M:
    case GGUF_MIX_IQ4_XS:
        return true;
    default:
        return false;
    }
}

static enum dtype type_of_attention_out(const struct gguf_mix *mix)
{
    enum gguf_mix_id id = mix->target->id;

    if (mix->is_falcon) {
        return id == GGUF_MIX_Q3_K_L ? DTYPE_Q4_K : mix->target->type;
    }
    if (mix->expert_count == 8) {
        return is_raised_with_experts(id) ? DTYPE_Q5_K : mix->target->type;
    }
    switch (id) {
    case GGUF_MIX_Q2_K:
        return DTYPE_Q3_K;
    case GGUF_MIX_IQ3_XXS:
        return DTYPE_IQ3_S;
    case GGUF_MIX_Q3_K_M:
    case GGUF_MIX_IQ3_M:
        return DTYPE_Q4_K;
    case GGUF_MIX_Q3_K_L:
        return DTYPE_Q5_K;
    default:
        return mix->target->type;
    }
}

/* The type for a tensor of a mix, before its shape is looked at. */
static enum dtype wanted_type(const struct gguf_mix *mix, const struct gguf_tensor *tensor)
{
    enum gguf_mix_id id = mix->target->id;
    enum part part = part_of(tensor->name);
    uint32_t layer = layer_of(tensor->name), count = mix->layer_count;

    if ((part == PART_KEYS || part == PART_VALUES) && layer != UINT32_MAX &&
        mix->keyless_count > 0 && layer >= count - mix->keyless_count) {
        return DTYPE_Q8_0; /* not used by the model, so that no importance is known */
    }
    if (part == PART_OUTPUT || (part == PART_EMBEDDING && mix->is_tied)) {
        return type_of_output(mix, tensor);
    }
    if (id == GGUF_MIX_MXFP4_MOE) {
        return tensor->dims[2] > 1 ? DTYPE_MXFP4 : DTYPE_Q8_0;
    }
    if (part == PART_EMBEDDING) {
        return type_of_embedding(mix);
    }
    if (is_tiny(id)) {
        return type_of_tiny(mix, part, layer);
    }
    switch (part) {
    case PART_VALUES:
    case PART_QKV: /* taken for values before its own rule is reached, as llama-quantize does */
        return type_of_values(mix, layer);
    case PART_KEYS:
    case PART_QUERIES:
        return type_of_keys(mix, part == PART_QUERIES);
    case PART_DOWN:
        return type_of_down(mix, layer);
    case PART_ATTENTION_OUT:
        return type_of_attention_out(mix);
    case PART_GATE:
    case PART_UP:
        return id == GGUF_MIX_IQ3_XS && layer >= count / 8 && layer < 7 * count / 8
                   ? DTYPE_IQ3_XXS
                   : mix->target->type;
    default:
        return mix->target->type;
    }
}

/* A type with a shorter block, for rows that are no multiple of 256. */
static enum dtype shorter(enum dtype type)
{
    switch (type) {
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
    case DTYPE_TQ1_0:
    case DTYPE_TQ2_0:
        return DTYPE_Q4_0;
    case DTYPE_Q4_K:
        return DTYPE_Q5_0;
    case DTYPE_Q5_K:
        return DTYPE_Q5_1;
    case DTYPE_Q6_K:
        return DTYPE_Q8_0;
    default:
        return dtype_info(type)->block_len == 256 ? DTYPE_IQ4_NL : DTYPE_F16;
    }
}

enum dtype gguf_mix_type(const struct gguf_mix *mix, const struct gguf_tensor *tensor)
{
    enum dtype type = mix->target->type;

    if (!is_converted(tensor)) {
        return tensor->type;
    }
    if (dtype_info(type)->block_len > 1) {
        type = wanted_type(mix, tensor);
    }
    if (tensor->dims[0] % dtype_info(type)->block_len != 0) {
        type = shorter(type);
    }
    return tensor->dims[0] % dtype_info(type)->block_len != 0 ? DTYPE_F16 : type;
}

bool gguf_mix_needs_importance(const struct gguf_mix *mix, const struct gguf_tensor *tensor)
{
    enum part part = part_of(tensor->name);

    if (!is_converted(tensor) || part == PART_EMBEDDING || part == PART_OUTPUT) {
        return false;
    }
    switch (gguf_mix_type(mix, tensor)) {
    case DTYPE_IQ3_XXS:
    case DTYPE_IQ2_XXS:
    case DTYPE_IQ2_XS:
    case DTYPE_IQ2_S:
    case DTYPE_IQ1_M:
    case DTYPE_IQ1_S:
        return true;
    case DTYPE_Q2_K:
        return mix->target->id == GGUF_MIX_Q2_K_S;
    default:
        return false;
    }
}
