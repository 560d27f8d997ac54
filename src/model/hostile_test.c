/* Files that lie about the model: each is a copy of a good one with one key, tensor or byte
 * changed. The error must name what is wrong; nothing may crash, also not when memory runs out. */
#include "model/fixture.h"

#include <math.h>
#include <unistd.h>

#include "base/os.h"
#include "gguf/writer.h"

/* What to change in the copy. */
struct change {
    const char *key; /* set to `value`, removed when value is NULL */
    const struct gguf_value *value;
    const char *tensor; /* gets `dims` and `type`, or all bytes 0xff, or is left out */
    const uint64_t *dims;
    enum dtype type;
    bool fills_ones, drops, adds;
};

static char temp_path[64];

static void copy_entries(struct gguf_writer *w, const struct gguf *from, const struct change *c)
{
    struct err err = {0};
    for (size_t i = 0; i < from->entry_count; i++) {
        const struct gguf_entry *entry = &from->entries[i];
        if (!c->key || !str_eq(entry->key, str_of(c->key))) {
            assert_true(gguf_writer_set(w, entry->key, &entry->value, &err));
        }
    }
    if (c->key && c->value) {
        assert_true(gguf_writer_set(w, str_of(c->key), c->value, &err));
    }
}

static void declare(struct gguf_writer *w, const struct gguf *from, const struct change *c)
{
    struct err err = {0};
    for (size_t i = 0; i < from->tensor_count; i++) {
        const struct gguf_tensor *t = &from->tensors[i];
        bool is_changed = c->tensor && str_eq(t->name, str_of(c->tensor));
        if (is_changed && c->drops) {
            continue;
        }
        bool reshapes = is_changed && c->dims;
        assert_true(gguf_writer_add(w, t->name, reshapes ? c->type : t->type,
                                    reshapes ? 2 : t->dim_count, reshapes ? c->dims : t->dims,
                                    &err));
    }
    if (c->adds) {
        assert_true(gguf_writer_add(w, str_of(c->tensor), DTYPE_F32, 2, c->dims, &err));
    }
}

static void copy_tensors(struct gguf_writer *w, const struct gguf *from, const struct change *c)
{
    struct err err = {0};
    for (size_t i = 0; i < from->tensor_count; i++) {
        const struct gguf_tensor *t = &from->tensors[i];
        bool is_changed = c->tensor && str_eq(t->name, str_of(c->tensor));
        size_t bytes = t->bytes;
        struct os_map map = {0};
        if (is_changed && c->drops) {
            continue;
        }
        if (is_changed && c->dims) {
            bytes = dtype_row_bytes(c->type, c->dims[0]) * c->dims[1];
        }
        unsigned char *data = MEM_ARRAY(unsigned char, bytes);
        if (is_changed) {
            memset(data, c->fills_ones ? 0xff : 0, bytes);
        } else {
            assert_true(gguf_rows_open(from, t, 0, t->row_count, &map, &err));
            memcpy(data, map.ptr, bytes);
            os_map_close(&map);
        }
        assert_true(gguf_writer_data(w, data, bytes, &err));
        mem_free(data);
    }
    if (c->adds) {
        unsigned char *data = MEM_ARRAY(unsigned char, c->dims[0] * c->dims[1] * 4);
        assert_true(gguf_writer_data(w, data, c->dims[0] * c->dims[1] * 4, &err));
        mem_free(data);
    }
}

static void write_copy(const char *name, const struct change *c)
{
    char path[512];
    struct err err = {0};
    struct gguf *from = gguf_open(fixture_path(path, name), &err);
    struct gguf_writer *w = gguf_writer_create(&err);
    assert_non_null(from);
    copy_entries(w, from, c);
    declare(w, from, c);
    assert_true(gguf_writer_begin(w, temp_path, &err));
    copy_tensors(w, from, c);
    assert_true(gguf_writer_commit(w, &err));
    gguf_writer_destroy(w);
    gguf_close(from);
}

/* Planning the changed copy must fail with this code, and the message must hold `text`. */
static void expect_error(const char *name, const struct change *c, enum err_code code,
                         const char *text)
{
    struct err err = {0};
    struct model_params params = fixture_params();
    struct model_plan plan;
    write_copy(name, c);
    struct gguf *gguf = gguf_open(temp_path, &err);
    assert_non_null(gguf);
    bool ok = model_plan(gguf, &params, &plan, &err);
    if (ok || err.code != code || !strstr(err.text, text) || !strstr(err.text, temp_path)) {
        fail_msg("key %s tensor %s: \"%s\" (%s) instead of \"%s\"", c->key ? c->key : "-",
                 c->tensor ? c->tensor : "-", ok ? "accepted" : err.text, err_info(err.code)->name,
                 text);
    }
    gguf_close(gguf);
}

static void expect_error_of(const char *name, const char *key, struct gguf_value value,
                            enum err_code code, const char *text)
{
    const struct change c = {.key = key, .value = &value};
    expect_error(name, &c, code, text);
}

static void expect_key_error(const char *key, struct gguf_value value, enum err_code code,
                             const char *text)
{
    const struct change c = {.key = key, .value = &value};
    expect_error("llama-f32.gguf", &c, code, text);
}

#define U64(number)   ((struct gguf_value){.kind = GGUF_U64, .count = 1, .u64 = (number)})
#define F64(number)   ((struct gguf_value){.kind = GGUF_F64, .count = 1, .f64 = (number)})
#define TEXT(literal) ((struct gguf_value){.kind = GGUF_STRING, .count = 1, .text = STR(literal)})

static void test_numbers(void **state)
{
    static const struct {
        const char *key;
        uint64_t value;
        const char *text;
    } cases[] = {
        {"llama.block_count", 0, "llama.block_count is 0"},
        {"llama.block_count", 513, "llama.block_count is 513"},
        {"llama.block_count", 1ull << 31, "llama.block_count is 2147483648"},
        {"llama.block_count", 3, "tensor blk.2.attn_norm.weight is missing"},
        {"llama.context_length", 0, "llama.context_length is 0"},
        {"llama.context_length", 1ull << 63, "llama.context_length"},
        {"llama.embedding_length", 0, "llama.embedding_length is 0"},
        {"llama.embedding_length", 33, "llama.embedding_length is 33"},
        {"llama.embedding_length", 1ull << 40, "llama.embedding_length"},
        {"llama.embedding_length", 64, "tensor token_embd.weight has the shape 32 x 64: 64 x 64"},
        {"llama.attention.head_count", 0, "llama.attention.head_count is 0"},
        {"llama.attention.head_count", 3, "llama.attention.head_count_kv is 2"},
        {"llama.attention.head_count", UINT32_MAX, "llama.attention.head_count is 4294967295"},
        {"llama.attention.head_count_kv", 0, "llama.attention.head_count_kv is 0"},
        {"llama.attention.head_count_kv", 3, "llama.attention.head_count_kv is 3"},
        {"llama.attention.head_count_kv", 8, "llama.attention.head_count_kv is 8"},
        {"llama.attention.key_length", 0, "llama.attention.key_length is 0"},
        {"llama.attention.key_length", 1u << 20, "llama.attention.key_length is 1048576"},
        {"llama.feed_forward_length", 0, "llama.feed_forward_length is 0"},
        {"llama.feed_forward_length", 40, "tensor blk.0.ffn_gate.weight has the shape 32 x 48"},
        {"llama.rope.dimension_count", 0, "llama.rope.dimension_count is 0"},
        {"llama.rope.dimension_count", 7, "llama.rope.dimension_count is 7"},
        {"llama.rope.dimension_count", 10, "llama.rope.dimension_count is 10"},
        {"llama.vocab_size", 65, "tensor token_embd.weight has the shape 32 x 64: 32 x 65"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_key_error(cases[i].key, U64(cases[i].value), ERR_FORMAT, cases[i].text);
    }
    expect_key_error("llama.expert_count", U64(8), ERR_FORMAT,
                     "llama.expert_used_count is missing");
    expect_key_error("llama.expert_count", U64(1025), ERR_FORMAT, "llama.expert_count is 1025");
    expect_error_of("qwen3-f32.gguf", "qwen3.expert_count", U64(8), ERR_ARCH,
                    "qwen3.expert_count is 8");
    expect_key_error("llama.block_count", TEXT("two"), ERR_FORMAT, "llama.block_count");
    expect_key_error("llama.rope.freq_base", F64(0), ERR_FORMAT, "llama.rope.freq_base is 0");
    expect_key_error("llama.rope.freq_base", F64(NAN), ERR_FORMAT, "llama.rope.freq_base");
    expect_key_error("llama.rope.scaling.factor", F64(-2), ERR_FORMAT, "rope.scaling.factor is -2");
    expect_key_error("llama.attention.layer_norm_rms_epsilon", F64(-1), ERR_FORMAT,
                     "llama.attention.layer_norm_rms_epsilon is -1");
    expect_key_error("llama.rope.scaling.type", TEXT("longrope\x1b[31m"), ERR_ARCH,
                     "longrope\\x1b");
}

static void test_missing_keys(void **state)
{
    static const char *const keys[] = {"general.architecture",
                                       "llama.block_count",
                                       "llama.context_length",
                                       "llama.embedding_length",
                                       "llama.feed_forward_length",
                                       "llama.attention.head_count",
                                       "llama.attention.layer_norm_rms_epsilon"};
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct change c = {.key = keys[i]};
        expect_error("llama-f32.gguf", &c, ERR_FORMAT, keys[i]);
    }
}

static void test_layer_arrays(void **state)
{
    static const uint32_t numbers[] = {48, 48}, zero[] = {4, 0};
    static const float reals[] = {4, 4};
    struct gguf_value array = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_U32, .count = 1, .items = numbers};
    (void)state;
    expect_key_error("llama.feed_forward_length", array, ERR_FORMAT, "feed_forward_length is 1");
    array.items = zero;
    array.count = 2;
    expect_key_error("llama.attention.head_count", array, ERR_FORMAT, "item 1 is 0");
    array.item_kind = GGUF_F32;
    array.items = reals;
    expect_key_error("llama.attention.head_count", array, ERR_FORMAT, "an array of integers");
}

/* The keys that only some families read. */
static void test_family_keys(void **state)
{
    static const uint8_t truths[] = {1, 0, 1};
    static const float reals[] = {1, 0, 1};
    struct gguf_value array = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_BOOL, .count = 2, .items = truths};
    (void)state;
    expect_error_of("gemma3-f32.gguf", "gemma3.attention.sliding_window_pattern", array, ERR_FORMAT,
                    "sliding_window_pattern is 2: an array with one item for each layer");
    array.item_kind = GGUF_F32;
    array.items = reals;
    array.count = 3;
    expect_error_of("gemma3-f32.gguf", "gemma3.attention.sliding_window_pattern", array, ERR_FORMAT,
                    "an array of truth values");
    expect_error_of("gemma3-f32.gguf", "gemma3.attention.sliding_window", TEXT("wide"), ERR_FORMAT,
                    "gemma3.attention.sliding_window");
    expect_error_of("gemma3-f32.gguf", "gemma3.rope.freq_base_swa", F64(0), ERR_FORMAT,
                    "gemma3.rope.freq_base_swa is 0");
    expect_error_of("gemma2-f32.gguf", "gemma2.attn_logit_softcapping", F64(-5), ERR_FORMAT,
                    "gemma2.attn_logit_softcapping is -5");
    expect_error_of("gemma3-f32.gguf", "gemma3.attn_logit_softcapping", F64(5), ERR_ARCH,
                    "gemma3.attn_logit_softcapping is 5: not supported");
    expect_error_of("mpt-f32.gguf", "mpt.attention.max_alibi_bias", F64(NAN), ERR_FORMAT,
                    "mpt.attention.max_alibi_bias");
    expect_error_of("mpt-f32.gguf", "mpt.attention.clamp_kqv", F64(-1), ERR_FORMAT,
                    "mpt.attention.clamp_kqv is -1");
    expect_error_of("gptneox-f32.gguf", "gptneox.use_parallel_residual", TEXT("no"), ERR_FORMAT,
                    "gptneox.use_parallel_residual");
    expect_error_of("hunyuan-dense-f32.gguf", "hunyuan-dense.rope.scaling.alpha", F64(-1),
                    ERR_FORMAT, "rope.scaling.alpha is -1");
    expect_error_of("qwen-f32.gguf", "qwen.feed_forward_length", U64(1), ERR_FORMAT,
                    "qwen.feed_forward_length");
    expect_error_of("gpt2-f32.gguf", "gpt2.context_length", U64(47), ERR_FORMAT,
                    "tensor position_embd.weight has the shape 24 x 48: 24 x 47");
    expect_error_of("glm4-f32.gguf", "glm4.nextn_predict_layers", U64(1), ERR_ARCH,
                    "glm4.nextn_predict_layers is 1");
    expect_error_of("bloom-f32.gguf", "bloom.attention.layer_norm_epsilon", F64(2), ERR_FORMAT,
                    "bloom.attention.layer_norm_epsilon is 2");
}

static void test_experts(void **state)
{
    static const uint64_t flat[] = {24, 7 * 16}, router[] = {24, 6};
    static const struct {
        const char *key;
        uint64_t value;
        const char *text;
    } cases[] = {
        {"qwen3moe.expert_count", 0, "qwen3moe.expert_count is 0"},
        {"qwen3moe.expert_count", UINT32_MAX, "qwen3moe.expert_count is 4294967295"},
        {"qwen3moe.expert_count", 6, "ffn_gate_exps.weight has the shape 24 x 16 x 7: 24 x 16 x 6"},
        {"qwen3moe.expert_used_count", 0, "qwen3moe.expert_used_count is 0"},
        {"qwen3moe.expert_used_count", 8, "qwen3moe.expert_used_count is 8"},
        {"qwen3moe.expert_group_count", 4, "qwen3moe.expert_group_count is 4"},
        {"qwen3moe.expert_gating_func", 2, "qwen3moe.expert_gating_func is 2"},
        {"qwen3moe.expert_feed_forward_length", 17, "24 x 16 x 7: 24 x 17 x 7 is needed"},
        {"qwen3moe.expert_feed_forward_length", 1u << 25, "expert_feed_forward_length is 33554432"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_error_of("qwen3moe-f32.gguf", cases[i].key, U64(cases[i].value), ERR_FORMAT,
                        cases[i].text);
    }
    expect_error_of("dots1-f32.gguf", "dots1.leading_dense_block_count", U64(3), ERR_FORMAT,
                    "dots1.leading_dense_block_count is 3");
    expect_error_of("dots1-f32.gguf", "dots1.leading_dense_block_count", U64(2), ERR_FORMAT,
                    "tensor blk.1.ffn_gate.weight is missing");
    expect_error_of("dots1-f32.gguf", "dots1.expert_gating_func", U64(4), ERR_FORMAT,
                    "dots1.expert_gating_func is 4");
    expect_error_of("dots1-f32.gguf", "dots1.expert_shared_count", U64(1025), ERR_FORMAT,
                    "dots1.expert_shared_count is 1025");
    expect_error_of("dots1-f32.gguf", "dots1.expert_weights_norm", U64(1), ERR_FORMAT,
                    "dots1.expert_weights_norm");
    expect_error_of("ernie4_5-moe-f32.gguf", "ernie4_5-moe.interleave_moe_layer_step", U64(0),
                    ERR_FORMAT, "ernie4_5-moe.interleave_moe_layer_step is 0");
    struct change c = {.tensor = "blk.1.ffn_up_exps.weight", .dims = flat, .type = DTYPE_F32};
    expect_error("qwen3moe-f32.gguf", &c, ERR_FORMAT, "24 x 112: 24 x 16 x 7 is needed");
    c = (struct change){.tensor = "blk.0.ffn_gate_inp.weight", .dims = router, .type = DTYPE_F32};
    expect_error("qwen3moe-f32.gguf", &c, ERR_FORMAT, "24 x 6: 24 x 7 is needed");
    c = (struct change){.tensor = "blk.0.ffn_down_exps.weight", .drops = true};
    expect_error("qwen3moe-f32.gguf", &c, ERR_FORMAT, "blk.0.ffn_down_exps.weight is missing");
    c.tensor = "blk.0.ffn_gate_inp_shexp.weight";
    expect_error("qwen2moe-f32.gguf", &c, ERR_FORMAT, "ffn_gate_inp_shexp.weight is missing");
    /* A router full of NaN still chooses experts that exist. */
    c = (struct change){.tensor = "blk.0.ffn_gate_inp.weight", .fills_ones = true};
    const int32_t ids[] = {1, 2, 3};
    struct model_params params = fixture_params();
    write_copy("qwen3moe-f32.gguf", &c);
    struct fixture f = fixture_open(temp_path, &params, 2);
    mem_free(fixture_logits(&f, ids, 3, 3));
    fixture_close(&f);
}

/* Keys and tensors of layers that pass on a state. */
static void test_recurrences(void **state)
{
    static const uint64_t thin[] = {4, 63}, flat[] = {3, 23};
    static const uint32_t heads[] = {0, 1, 0, 3};
    static const struct {
        const char *name, *key;
        uint64_t value;
        const char *text;
    } cases[] = {
        {"lfm2-f32.gguf", "lfm2.shortconv.l_cache", 1, "lfm2.shortconv.l_cache is 1"},
        {"lfm2-f32.gguf", "lfm2.shortconv.l_cache", 65, "lfm2.shortconv.l_cache is 65"},
        {"lfm2-f32.gguf", "lfm2.shortconv.l_cache", 4, "has the shape 3 x 24: 4 x 24 is needed"},
        {"lfm2-f32.gguf", "lfm2.attention.head_count_kv", 2, "lfm2.attention.head_count_kv is 2"},
        {"qwen35-f32.gguf", "qwen35.ssm.conv_kernel", 0, "qwen35.ssm.conv_kernel is 0"},
        {"qwen35-f32.gguf", "qwen35.ssm.time_step_rank", 0, "qwen35.ssm.time_step_rank is 0"},
        {"qwen35-f32.gguf", "qwen35.ssm.time_step_rank", 5, "not a multiple of ssm.time_step_rank"},
        {"qwen35-f32.gguf", "qwen35.ssm.group_count", 3, "not a multiple of ssm.group_count"},
        {"qwen35-f32.gguf", "qwen35.ssm.state_size", 1u << 17, "qwen35.ssm.state_size is 131072"},
        {"qwen35-f32.gguf", "qwen35.ssm.inner_size", 1u << 25, "qwen35.ssm.inner_size is 33554432"},
        {"qwen35-f32.gguf", "qwen35.full_attention_interval", 0, "full_attention_interval is 0"},
        {"qwen35-f32.gguf", "qwen35.full_attention_interval", 2,
         "blk.1.attn_q_norm.weight is missing"},
        {"qwen35-f32.gguf", "qwen35.attention.value_length", 4, "value_length is 4"},
        {"qwen35-f32.gguf", "qwen35.nextn_predict_layers", 3, "nextn_predict_layers is 3"},
    };
    struct gguf_value array = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_U32, .count = 3, .items = heads};
    struct change c = {.tensor = "blk.0.ssm_conv1d.weight", .dims = thin, .type = DTYPE_F32};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_error_of(cases[i].name, cases[i].key, U64(cases[i].value), ERR_FORMAT,
                        cases[i].text);
    }
    expect_error_of("lfm2-f32.gguf", "lfm2.attention.head_count_kv", array, ERR_FORMAT,
                    "head_count_kv is 3: an array with one item");
    array.count = 4; /* layer 3 becomes attention */
    expect_error_of("lfm2-f32.gguf", "lfm2.attention.head_count_kv", array, ERR_FORMAT,
                    "tensor blk.3.attn_q.weight is missing");
    expect_error("qwen35-f32.gguf", &c, ERR_FORMAT, "has the shape 4 x 63: 4 x 64 is needed");
    c = (struct change){.tensor = "blk.0.ssm_alpha.weight", .drops = true};
    expect_error("qwen35-f32.gguf", &c, ERR_FORMAT, "tensor blk.0.ssm_alpha.weight is missing");
    c.tensor = "blk.0.attn_gate.weight";
    expect_error("qwen35-f32.gguf", &c, ERR_FORMAT, "tensor blk.0.attn_gate.weight is missing");
    c = (struct change){.tensor = "blk.0.shortconv.conv.weight", .dims = flat, .type = DTYPE_F32};
    expect_error("lfm2-f32.gguf", &c, ERR_FORMAT, "has the shape 3 x 23: 3 x 24 is needed");
    c = (struct change){.tensor = "blk.1.shortconv.conv.weight", .adds = true, .dims = flat};
    expect_error("lfm2-f32.gguf", &c, ERR_ARCH, "blk.1.shortconv.conv.weight has no part");
}

/* Keys and tensors of latent attention, groups of experts, sinks and activations by layer. */
static void test_newer_families(void **state)
{
    static const uint64_t thin[] = {16, 65}, few[] = {3, 1};
    static const float reals[] = {1, NAN};
    static const uint32_t numbers[] = {1, 1};
    static const struct {
        const char *name, *key;
        uint64_t value;
        const char *text;
    } cases[] = {
        {"deepseek2-f32.gguf", "deepseek2.attention.kv_lora_rank", 0, "kv_lora_rank is 0"},
        {"deepseek2-f32.gguf", "deepseek2.attention.kv_lora_rank", 1u << 20, "kv_lora_rank is 10"},
        {"deepseek2-f32.gguf", "deepseek2.attention.kv_lora_rank", 15, "8 x 16 x 3: 8 x 15 x 3 is"},
        {"deepseek2-f32.gguf", "deepseek2.attention.q_lora_rank", 0, "attn_q.weight is missing"},
        {"deepseek2-f32.gguf", "deepseek2.attention.q_lora_rank", 13, "24 x 14: 24 x 13 is needed"},
        {"deepseek2-f32.gguf", "deepseek2.attention.key_length_mla", 4, "key_length_mla is 4"},
        {"deepseek2-f32.gguf", "deepseek2.attention.key_length_mla", 13, "is needed"},
        {"deepseek2-f32.gguf", "deepseek2.attention.value_length_mla", 11, "is needed"},
        {"deepseek2-f32.gguf", "deepseek2.expert_group_count", 3, "expert_group_count is 3"},
        {"deepseek2-f32.gguf", "deepseek2.expert_group_count", 8, "expert_group_count is 8"},
        {"deepseek2-f32.gguf", "deepseek2.expert_group_used_count", 0, "group_used_count is 0"},
        {"deepseek2-f32.gguf", "deepseek2.expert_group_used_count", 5, "group_used_count is 5"},
        {"deepseek2-f32.gguf", "deepseek2.expert_group_used_count", 1, "too few experts"},
        {"deepseek2-f32.gguf", "deepseek2.attention.head_count", 4, "is needed"},
        {"deepseek2-joint-f32.gguf", "deepseek2.attention.value_length", 11, "is needed"},
        {"gpt-oss-f32.gguf", "gpt-oss.attention.head_count", 2, "is needed"},
        {"llama4-f32.gguf", "llama4.interleave_moe_layer_step", 0, "layer_step is 0"},
        {"glm4moe-f32.gguf", "glm4moe.nextn_predict_layers", 2, "nextn_predict_layers is 2"},
        {"bailingmoe2-f32.gguf", "bailingmoe2.expert_shared_feed_forward_length", 0, "length is 0"},
        {"bailingmoe2-f32.gguf", "bailingmoe2.expert_shared_count", 1024, "is needed"},
        {"gemma4-f32.gguf", "gemma4.attention.key_length_swa", 1, "key_length_swa is 1"},
        {"gemma4-f32.gguf", "gemma4.attention.key_length_swa", 12, "24 x 24: 24 x 36 is needed"},
        {"gemma4-f32.gguf", "gemma4.attention.value_length_swa", 4, "24 x 8: 24 x 4 is needed"},
        {"gemma4-f32.gguf", "gemma4.rope.dimension_count_swa", 10, "dimension_count_swa is 10"},
        {"gemma4-f32.gguf", "gemma4.attention.shared_kv_layers", 6, "shared_kv_layers is 6"},
        {"gemma4-f32.gguf", "gemma4.attention.shared_kv_layers", 3, "no layer before them"},
        {"gemma4-f32.gguf", "gemma4.attention.shared_kv_layers", 1, "attn_k.weight is missing"},
        {"gemma4-f32.gguf", "gemma4.embedding_length_per_layer_input", 9,
         "24 x 8: 24 x 9 is needed"},
        {"gemma4-f32.gguf", "gemma4.embedding_length_per_layer_input", 1u << 20,
         "input is 1048576"},
    };
    struct gguf_value array = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_F32, .count = 2, .items = reals};
    struct change c = {.tensor = "blk.0.attn_kv_b.weight", .dims = thin, .type = DTYPE_F32};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_error_of(cases[i].name, cases[i].key, U64(cases[i].value), ERR_FORMAT,
                        cases[i].text);
    }
    expect_error_of("apertus-f32.gguf", "xielu.alpha_n", array, ERR_FORMAT, "xielu.alpha_n is");
    array.count = 1;
    expect_error_of("apertus-f32.gguf", "xielu.beta", array, ERR_FORMAT, "xielu.beta is 1");
    array = (struct gguf_value){
        .kind = GGUF_ARRAY, .item_kind = GGUF_U32, .count = 2, .items = numbers};
    expect_error_of("apertus-f32.gguf", "xielu.eps", array, ERR_FORMAT, "an array of real numbers");
    expect_error("deepseek2-joint-f32.gguf", &c, ERR_FORMAT, "16 x 65: 16 x 54 is needed");
    c = (struct change){.tensor = "blk.1.attn_v_b.weight", .drops = true};
    expect_error("deepseek2-f32.gguf", &c, ERR_FORMAT, "tensor blk.1.attn_v_b.weight is missing");
    c.tensor = "blk.0.attn_sinks.weight";
    expect_error("gpt-oss-f32.gguf", &c, ERR_FORMAT, "tensor blk.0.attn_sinks.weight is missing");
    c.tensor = "blk.1.proj.weight";
    expect_error("gemma4-f32.gguf", &c, ERR_FORMAT, "tensor blk.1.proj.weight is missing");
    c.tensor = "per_layer_token_embd.weight";
    expect_error("gemma4-f32.gguf", &c, ERR_FORMAT, "per_layer_token_embd.weight is missing");
    c.tensor = "blk.0.pre_ffw_norm_2.weight";
    expect_error("gemma4-experts-f32.gguf", &c, ERR_FORMAT, "pre_ffw_norm_2.weight is missing");
    c = (struct change){.tensor = "blk.0.attn_sinks.weight", .dims = few, .type = DTYPE_F32};
    expect_error("gpt-oss-f32.gguf", &c, ERR_FORMAT, "has the shape 3 x 1: 4 is needed");
}

/* States are planned to the byte. */
static void test_states(void **state)
{
    char path[512];
    struct err err = {0};
    struct model_params params = fixture_params();
    struct model_plan plan;
    (void)state;
    struct gguf *gguf = gguf_open(fixture_path(path, "qwen35-f32.gguf"), &err);
    params.sequences_max = 3;
    assert_true(model_plan(gguf, &params, &plan, &err));
    /* 2 layers: 3 inputs of 64 channels, 4 heads of 8 x 8 */
    assert_int_equal(plan.state_bytes, 2 * (3 * 64 + 4 * 8 * 8) * 4);
    assert_int_equal(plan.states, 3);
    params.states_max = 7;
    assert_true(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(plan.states_bytes, 7 * plan.state_bytes);
    assert_int_equal(plan.total_bytes, plan.weights_bytes + plan.kv_bytes + plan.scratch_bytes +
                                           plan.table_bytes + plan.states_bytes);
    params.memory_max = plan.weights_bytes + plan.states_bytes;
    assert_false(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    gguf_close(gguf);
    gguf = gguf_open(fixture_path(path, "llama-f32.gguf"), &err);
    assert_true(model_plan(gguf, &(struct model_params){.sequences_max = 1, .batch_rows_max = 1},
                           &plan, &err));
    assert_int_equal(plan.states, 0);
    gguf_close(gguf);
}

/* Tensors that only some families have: fused ones, norms, biases of norms. */
static void test_family_tensors(void **state)
{
    static const uint64_t thin[] = {24, 71};
    struct change c = {.tensor = "blk.0.attn_qkv.weight", .dims = thin, .type = DTYPE_F32};
    (void)state;
    expect_error("gpt2-f32.gguf", &c, ERR_FORMAT, "has the shape 24 x 71: 24 x 72 is needed");
    c = (struct change){.tensor = "blk.1.attn_qkv.weight", .drops = true};
    expect_error("gpt2-f32.gguf", &c, ERR_FORMAT, "tensor blk.1.attn_q.weight is missing");
    c = (struct change){.tensor = "blk.0.attn_q.weight", .adds = true, .dims = thin};
    expect_error("gpt2-f32.gguf", &c, ERR_ARCH, "tensor blk.0.attn_q.weight has no part");
    c = (struct change){.tensor = "blk.0.ffn_up.weight", .dims = thin, .type = DTYPE_F32};
    expect_error("chatglm-f32.gguf", &c, ERR_FORMAT, "has the shape 24 x 71: 24 x 80 is needed");
    c.drops = true;
    expect_error("chatglm-f32.gguf", &c, ERR_FORMAT, "tensor blk.0.ffn_up.weight is missing");
    c = (struct change){.tensor = "blk.1.ffn_norm.bias", .drops = true};
    expect_error("gpt2-f32.gguf", &c, ERR_FORMAT, "tensor blk.1.ffn_norm.bias is missing");
    c.tensor = "position_embd.weight";
    expect_error("gpt2-f32.gguf", &c, ERR_FORMAT, "tensor position_embd.weight is missing");
    c.tensor = "token_embd_norm.bias";
    expect_error("bloom-f32.gguf", &c, ERR_FORMAT, "tensor token_embd_norm.bias is missing");
    c.tensor = "blk.0.post_ffw_norm.weight";
    expect_error("gemma2-f32.gguf", &c, ERR_FORMAT, "tensor blk.0.post_ffw_norm.weight is missing");
    c = (struct change){.tensor = "blk.0.attn_q_norm.weight", .dims = thin, .type = DTYPE_F32};
    expect_error("command-r-qk-norm-f32.gguf", &c, ERR_FORMAT, "24 x 71: 6 x 4 is needed");
}

/* Learned positions end where they end. */
static void test_learned_positions(void **state)
{
    char path[512];
    struct err err = {0};
    struct model_params params = fixture_params();
    struct model_plan plan;
    (void)state;
    struct gguf *gguf = gguf_open(fixture_path(path, "gpt2-f32.gguf"), &err);
    assert_true(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(plan.ctx_tokens, 48);
    params.ctx_tokens = 49;
    assert_false(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.text, "learned positions for 48"));
    gguf_close(gguf);
}

static void test_architectures(void **state)
{
    (void)state;
    expect_key_error("general.architecture", TEXT("mamba9"), ERR_ARCH,
                     "\"mamba9\" is not supported (supported: llama");
    expect_key_error("general.architecture", U64(3), ERR_FORMAT, "general.architecture");
    /* The same tensors under another family: its keys are missing. */
    expect_key_error("general.architecture", TEXT("qwen3"), ERR_FORMAT, "qwen3.block_count");
}

static void test_tensors(void **state)
{
    static const uint64_t wrong[] = {32, 31}, turned[] = {48, 32}, wide[] = {256, 2};
    struct change c = {.tensor = "blk.1.attn_v.weight", .drops = true};
    (void)state;
    expect_error("llama-f32.gguf", &c, ERR_FORMAT, "tensor blk.1.attn_v.weight is missing");
    c.tensor = "output_norm.weight";
    expect_error("llama-f32.gguf", &c, ERR_FORMAT, "tensor output_norm.weight is missing");
    c.tensor = "token_embd.weight";
    expect_error("llama-f32.gguf", &c, ERR_FORMAT, "tensor token_embd.weight is missing");

    c = (struct change){.tensor = "blk.0.attn_q.weight", .dims = wrong, .type = DTYPE_F32};
    expect_error("llama-f32.gguf", &c, ERR_FORMAT, "has the shape 32 x 31: 32 x 32 is needed");
    c = (struct change){.tensor = "blk.0.ffn_gate.weight", .dims = turned, .type = DTYPE_F32};
    expect_error("llama-f32.gguf", &c, ERR_FORMAT, "has the shape 48 x 32: 32 x 48 is needed");
    c = (struct change){.tensor = "blk.0.attn_norm.weight", .dims = wrong, .type = DTYPE_F32};
    expect_error("llama-f32.gguf", &c, ERR_FORMAT, "has the shape 32 x 31: 32 is needed");
    /* Experts without a count, or anything else that has no part in the family. */
    c = (struct change){.tensor = "blk.0.ffn_gate_exps.weight", .adds = true, .dims = wrong};
    expect_error("llama-f32.gguf", &c, ERR_ARCH, "tensor blk.0.ffn_gate_exps.weight has no part");
    c = (struct change){.tensor = "blk.0.attn_q_norm.weight", .adds = true, .dims = wrong};
    expect_error("llama-f32.gguf", &c, ERR_ARCH, "tensor blk.0.attn_q_norm.weight has no part");

    static const uint64_t square[] = {256, 256};
    c = (struct change){.tensor = "blk.0.attn_q.weight", .dims = square, .type = DTYPE_I8};
    expect_error("llama-q4_k.gguf", &c, ERR_ARCH, "tensor blk.0.attn_q.weight has the type I8");
    expect_error("llama-q4_k.gguf", &c, ERR_ARCH, "(supported: F32 F16 Q4_0 ");
    (void)wide;
}

/* NaN and infinity come out as they are; nothing hangs or crashes. */
static void test_weights_not_finite(void **state)
{
    static const char *const files[] = {"llama-f32.gguf", "llama-q8_0.gguf", "llama-q4_k.gguf"};
    const int32_t ids[] = {1, 2, 3, 4, 5};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const struct change c = {.tensor = "blk.0.attn_k.weight", .fills_ones = true};
        struct model_params params = fixture_params();
        write_copy(files[i], &c);
        struct fixture f = fixture_open(temp_path, &params, 2);
        float *logits = fixture_logits(&f, ids, 5, 3);
        assert_true(isnan(logits[0]) || i > 0);
        mem_free(logits);
        fixture_close(&f);
    }
}

/* The plan is exact: with one byte less it is refused, with both figures. */
static void test_memory(void **state)
{
    char path[512], figures[64];
    struct err err = {0};
    struct model_params params = fixture_params();
    struct model_plan plan, again;
    (void)state;
    struct gguf *gguf = gguf_open(fixture_path(path, "llama-f32.gguf"), &err);
    params.ctx_tokens = params.kv_tokens = 512;
    assert_true(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(plan.total_bytes,
                     plan.weights_bytes + plan.kv_bytes + plan.scratch_bytes + plan.table_bytes);
    assert_int_equal(plan.kv_bytes, plan.kv_pages * plan.page_bytes);
    /* 2 layers of 2 heads of 8 for keys and for values, float, 64 positions */
    assert_int_equal(plan.page_bytes, 2 * 2 * (8 + 8) * 4 * 64);
    assert_int_equal(plan.kv_pages, 8);
    params.memory_max = plan.total_bytes;
    assert_true(model_plan(gguf, &params, &again, &err));
    params.memory_max = plan.total_bytes - 1;
    assert_false(model_plan(gguf, &params, &again, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    snprintf(figures, sizeof figures, "needs %llu bytes", (unsigned long long)plan.total_bytes);
    assert_non_null(strstr(err.text, figures));
    snprintf(figures, sizeof figures, "%llu bytes are available",
             (unsigned long long)plan.total_bytes - 1);
    assert_non_null(strstr(err.text, figures));
    /* Left open, the context shrinks to what there is, but not to nothing. */
    params.ctx_tokens = params.kv_tokens = 0;
    assert_true(model_plan(gguf, &params, &again, &err));
    assert_true(again.ctx_tokens < 512 && again.ctx_tokens >= 64);
    assert_true(again.total_bytes <= params.memory_max);
    params.memory_max = plan.weights_bytes;
    assert_false(model_plan(gguf, &params, &again, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    gguf_close(gguf);
}

static void test_cache_defaults(void **state)
{
    char path[512];
    struct err err = {0};
    struct model_params params = fixture_params();
    struct model_plan plan;
    (void)state;
    struct gguf *gguf = gguf_open(fixture_path(path, "llama-f32.gguf"), &err);
    params.sequences_max = 5;
    assert_true(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(plan.ctx_tokens, 512);
    assert_int_equal(plan.kv_pages, 5 * 8);
    params.kv_tokens = 100;
    assert_true(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(plan.ctx_tokens, 100);
    assert_int_equal(plan.kv_pages, 2);
    params.ctx_tokens = 101;
    assert_false(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(err.code, ERR_INVALID);
    gguf_close(gguf);
}

/* A file may claim any context; the plan takes what there is memory for. */
static void test_huge_context(void **state)
{
    const struct gguf_value value = U64(INT32_MAX);
    const struct change c = {.key = "llama.context_length", .value = &value};
    struct err err = {0};
    struct model_params params = fixture_params();
    struct model_plan plan;
    (void)state;
    write_copy("llama-f32.gguf", &c);
    struct gguf *gguf = gguf_open(temp_path, &err);
    params.sequences_max = 4;
    assert_true(model_plan(gguf, &params, &plan, &err));
    assert_true(plan.ctx_tokens >= 64 && plan.total_bytes <= params.memory_max);
    assert_true(plan.kv_pages >= plan.ctx_tokens / 64);
    params.memory_max = 0; /* the machine's own */
    assert_true(model_plan(gguf, &params, &plan, &err));
    assert_true(plan.total_bytes <= os_memory_available());
    params.ctx_tokens = INT32_MAX;
    assert_false(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    params.ctx_tokens = UINT32_MAX;
    assert_false(model_plan(gguf, &params, &plan, &err));
    assert_int_equal(err.code, ERR_INVALID);
    gguf_close(gguf);
}

static void test_changed_file(void **state)
{
    const struct change none = {0};
    struct err err = {0};
    struct model_params params = fixture_params();
    struct pool *pool = pool_create(2, &err);
    (void)state;
    write_copy("llama-f32.gguf", &none);
    struct gguf *gguf = gguf_open(temp_path, &err);
    assert_non_null(gguf);
    assert_int_equal(truncate(temp_path, 20000), 0);
    assert_null(model_load(gguf, &params, pool, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_non_null(strstr(err.text, temp_path));
    gguf_close(gguf);
    pool_destroy(pool);
}

static void fail_each_allocation(const char *name)
{
    char path[512];
    struct err err = {0};
    struct model_params params = fixture_params();
    struct pool *pool = pool_create(1, &err);
    struct gguf *gguf = gguf_open(fixture_path(path, name), &err);
    for (long n = 0;; n++) {
        mem_fail_after(n);
        struct model *model = model_load(gguf, &params, pool, NULL, NULL, &err);
        mem_fail_after(-1);
        if (model) {
            assert_true(n >= 4);
            model_destroy(model);
            break;
        }
        assert_int_equal(err.code, ERR_MEMORY);
    }
    model_destroy(NULL);
    gguf_close(gguf);
    pool_destroy(pool);
}

static void test_no_memory(void **state)
{
    (void)state;
    fail_each_allocation("qwen3-f32.gguf");
    fail_each_allocation("qwen3moe-f32.gguf");
    fail_each_allocation("lfm2-f32.gguf");
    fail_each_allocation("deepseek2-joint-f32.gguf");
}

static int make_temp(void **state)
{
    (void)state;
    snprintf(temp_path, sizeof temp_path, "/tmp/hearth-model-%ld.gguf", (long)getpid());
    return 0;
}

static int drop_temp(void **state)
{
    (void)state;
    unlink(temp_path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_missing_keys),
        cmocka_unit_test(test_layer_arrays),   cmocka_unit_test(test_architectures),
        cmocka_unit_test(test_tensors),        cmocka_unit_test(test_weights_not_finite),
        cmocka_unit_test(test_memory),         cmocka_unit_test(test_cache_defaults),
        cmocka_unit_test(test_huge_context),   cmocka_unit_test(test_changed_file),
        cmocka_unit_test(test_no_memory),      cmocka_unit_test(test_experts),
        cmocka_unit_test(test_recurrences),    cmocka_unit_test(test_newer_families),
        cmocka_unit_test(test_states),         cmocka_unit_test(test_family_keys),
        cmocka_unit_test(test_family_tensors), cmocka_unit_test(test_learned_positions),
    };
    return cmocka_run_group_tests(tests, make_temp, drop_temp);
}
