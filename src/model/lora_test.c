/* Adapters: logits against the float64 reference (tests/golden/lora), the same bytes alone and in a
 * batch of sequences that have others or none, and files that lie. */
#include "model/fixture.h"

#include <math.h>

#include "base/json.h"
#include "base/os.h"
#include "base/size.h"
#include "gguf/test_image.h"
#include "model/lora.h"
#include "model/lora_export.h"

/* ---- models with adapters ---- */

struct adapted {
    struct fixture fixture;
    struct gguf *adapters[MODEL_ADAPTERS_MAX];
    size_t count;
};

static struct gguf *open_adapter(const char *name)
{
    char path[512];
    struct err err = {0};
    snprintf(path, sizeof path, "%s/%s", TEST_ADAPTERS, name);
    struct gguf *gguf = gguf_open(path, &err);
    if (!gguf) {
        fail_msg("%s", err.text);
    }
    return gguf;
}

/* The files are closed once the model is loaded. */
static struct fixture open_adapted(const char *model, const char *const *names, size_t count,
                                   struct model_params params, size_t threads)
{
    char path[512], file[128];
    struct gguf *adapters[MODEL_ADAPTERS_MAX];
    for (size_t i = 0; i < count; i++) {
        adapters[i] = open_adapter(names[i]);
    }
    snprintf(file, sizeof file, "%s.gguf", model);
    params.adapters = (const struct gguf *const *)adapters;
    params.adapter_count = count;
    struct fixture f = fixture_open(fixture_path(path, file), &params, threads);
    for (size_t i = 0; i < count; i++) {
        gguf_close(adapters[i]);
    }
    return f;
}

/* Logits of one sequence, read in calls of `chunk` rows. */
static float *logits_of(const struct fixture *f, const float *scales, const int32_t *ids,
                        size_t count, size_t chunk)
{
    struct model_row rows[64];
    const uint32_t pages[] = {1, 0};
    const struct model_seq seq = {.pages = pages, .page_count = 2, .scales = scales};
    float *logits = MEM_ARRAY(float, count * f->vocab_count);
    assert_true(count <= 2 * KV_PAGE_TOKENS && chunk <= 64);
    for (size_t first = 0; first < count; first += chunk) {
        const size_t n = size_min(chunk, count - first);
        for (size_t i = 0; i < n; i++) {
            rows[i] = (struct model_row){
                .token = ids[first + i], .pos = (uint32_t)(first + i), .wants_logits = true};
        }
        const struct model_batch batch = {rows, n, &seq, 1};
        model_forward(f->model, &batch, logits + first * f->vocab_count);
    }
    return logits;
}

/* ---- goldens ---- */

static json_t *open_golden(const char *name)
{
    char path[512];
    struct err err = {0};
    size_t len = 0;
    snprintf(path, sizeof path, "%s/%s.json", TEST_ADAPTERS, name);
    char *text = os_file_slurp(path, 1 << 20, &len, &err);
    assert_non_null(text);
    json_t *root = json_parse((struct str){text, len}, NULL, &err);
    mem_free(text);
    assert_non_null(root);
    return root;
}

/* The model's file with the adapters in it, opened as any other. */
static struct fixture open_exported(const char *model, const char *const *names,
                                    const float *scales, size_t count)
{
    char path[512], file[128];
    struct err err = {0};
    struct gguf *adapters[MODEL_ADAPTERS_MAX];
    const struct model_params params = fixture_params();
    const char *merged = image_path("merged.gguf");
    for (size_t i = 0; i < count; i++) {
        adapters[i] = open_adapter(names[i]);
    }
    snprintf(file, sizeof file, "%s.gguf", model);
    struct gguf *base = gguf_open(fixture_path(path, file), &err);
    const struct model_lora_export how = {.model = base,
                                          .adapters = (const struct gguf *const *)adapters,
                                          .scales = scales,
                                          .count = count,
                                          .pool = pool_create(2, &err)};
    assert_non_null(base);
    assert_non_null(how.pool);
    assert_false(model_lora_export(&how, path, &err)); /* over itself */
    assert_int_equal(err.code, ERR_INVALID);
    if (!model_lora_export(&how, merged, &err)) {
        fail_msg("%s", err.text);
    }
    struct fixture f = fixture_open(merged, &params, 2);
    unlink(merged);
    pool_destroy(how.pool);
    gguf_close(base);
    for (size_t i = 0; i < count; i++) {
        gguf_close(adapters[i]);
    }
    return f;
}

static void check_golden(const char *name, enum cpu_level level, bool is_exported, double error_max)
{
    const char *names[MODEL_ADAPTERS_MAX];
    float scales[MODEL_ADAPTERS_MAX];
    int32_t ids[64];
    json_t *root = open_golden(name), *list = json_object_get(root, "adapters");
    json_t *tokens = json_object_get(root, "tokens"), *positions;
    const size_t count = json_array_size(list), length = json_array_size(tokens);
    const double range = json_number_value(json_object_get(root, "range"));
    for (size_t i = 0; i < count; i++) {
        json_t *item = json_array_get(list, i);
        names[i] = json_string_value(json_object_get(item, "file"));
        scales[i] = (float)json_number_value(json_object_get(item, "scale"));
    }
    for (size_t i = 0; i < length; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    }
    struct model_params params = fixture_params();
    params.cpu_level = level;
    const char *model = json_string_value(json_object_get(root, "model"));
    struct fixture f = is_exported ? open_exported(model, names, scales, count)
                                   : open_adapted(model, names, count, params, 2);
    assert_int_equal(model_info(f.model)->adapter_count, is_exported ? 0 : count);
    float *logits = logits_of(&f, is_exported ? NULL : scales, ids, length, 16);
    double worst = 0;
    positions = json_object_get(root, "positions");
    for (size_t i = 0; i < json_array_size(positions); i++) {
        const size_t pos = (size_t)json_integer_value(json_array_get(positions, i));
        json_t *row = json_array_get(json_object_get(root, "logits"), i);
        for (size_t v = 0; v < f.vocab_count; v++) {
            const double want = json_number_value(json_array_get(row, v));
            worst = fmax(worst, fabs(want - (double)logits[pos * f.vocab_count + v]) / range);
        }
    }
    if (!(worst <= error_max)) {
        fail_msg("%s at %s: %.2g of the range (at most %.2g)", name, cpu_level_name(level), worst,
                 error_max);
    }
    mem_free(logits);
    json_decref(root);
    fixture_close(&f);
}

static void test_goldens(void **state)
{
    static const char *const names[] = {"llama",           "llama-two",         "llama-wide",
                                        "phi3-fused",      "granitemoe-shared", "qwen35-mixers",
                                        "deepseek2-latent"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_golden(names[i], CPU_REFERENCE, false, 5e-6);
        check_golden(names[i], cpu_level_detect(), false, 5e-6);
        check_golden(names[i], cpu_level_detect(), true, 5e-6);
    }
    check_golden("llama-quantized", CPU_REFERENCE, false, 0.02); /* int8 activations */
    check_golden("llama-quantized", cpu_level_detect(), false, 0.02);
    check_golden("llama-quantized", cpu_level_detect(), true, 0.03); /* and weights, anew */
}

/* ---- a batch ---- */

enum { SEQUENCES = 4, TOKENS = 50 };

static const char *const two_adapters[] = {"llama-two-a.gguf", "llama-two-b.gguf"};

/* None, an adapter, both, and the other at another scale. */
static const float scales_of[SEQUENCES][2] = {{0, 0}, {1, 0}, {-0.5f, 1.25f}, {0, 0.3f}};

static int32_t token_at(size_t s, size_t i)
{
    return (int32_t)((i * 37 + s * 11 + i * i % 7) % 64);
}

/* All sequences in each call, a few rows of each; logits[s] of sequence s. */
static void run_together(const struct fixture *f, float *logits[SEQUENCES])
{
    struct model_seq seqs[SEQUENCES];
    uint32_t pages[SEQUENCES];
    size_t at[SEQUENCES] = {0}, vocab = f->vocab_count;
    struct model_row rows[64];
    float *out = MEM_ARRAY(float, 64 * vocab);
    for (size_t s = 0; s < SEQUENCES; s++) {
        pages[s] = (uint32_t)(SEQUENCES - 1 - s);
        seqs[s] = (struct model_seq){
            .pages = &pages[s], .page_count = 1, .scales = s == 0 ? NULL : scales_of[s]};
        logits[s] = MEM_ARRAY(float, TOKENS *vocab);
    }
    for (size_t call = 0, left = 1; left > 0; call++) {
        size_t count = 0, from[SEQUENCES], n[SEQUENCES];
        for (size_t k = 0; k < SEQUENCES; k++) {
            const size_t s = (k + call) % SEQUENCES;
            from[s] = count;
            n[s] = size_min(TOKENS - at[s], 1 + (call * 5 + s * 3) % 13);
            for (size_t i = 0; i < n[s]; i++) {
                rows[count++] = (struct model_row){.token = token_at(s, at[s] + i),
                                                   .pos = (uint32_t)(at[s] + i),
                                                   .seq = (uint32_t)s,
                                                   .wants_logits = true};
            }
        }
        const struct model_batch batch = {rows, count, seqs, SEQUENCES};
        model_forward(f->model, &batch, out);
        left = 0;
        for (size_t s = 0; s < SEQUENCES; s++) {
            memcpy(logits[s] + at[s] * vocab, out + from[s] * vocab, n[s] * vocab * sizeof(float));
            at[s] += n[s];
            left += TOKENS - at[s];
        }
    }
    mem_free(out);
}

static void check_invariance(const char *model, size_t threads)
{
    struct model_params params = fixture_params();
    float *together[SEQUENCES];
    char path[512], file[128];
    params.sequences_max = SEQUENCES;
    params.batch_rows_max = params.logits_rows_max = 64;
    params.ctx_tokens = 64;
    params.kv_tokens = 64 * SEQUENCES;
    struct fixture f = open_adapted(model, two_adapters, 2, params, threads);
    snprintf(file, sizeof file, "%s.gguf", model);
    struct fixture plain = fixture_open(fixture_path(path, file), &params, 1);
    const size_t bytes = TOKENS * f.vocab_count * sizeof(float);
    run_together(&f, together);
    for (size_t s = 0; s < SEQUENCES; s++) {
        int32_t ids[TOKENS];
        for (size_t i = 0; i < TOKENS; i++) {
            ids[i] = token_at(s, i);
        }
        float *alone = logits_of(&f, scales_of[s], ids, TOKENS, 7);
        float *without = logits_of(&plain, NULL, ids, TOKENS, 64);
        assert_memory_equal(together[s], alone, bytes);
        assert_int_equal(memcmp(together[s], without, bytes) == 0, s == 0);
        mem_free(alone);
        mem_free(without);
        mem_free(together[s]);
    }
    fixture_close(&plain);
    fixture_close(&f);
}

static void test_batch(void **state)
{
    (void)state;
    check_invariance("llama-f32", 1);
    check_invariance("llama-f32", 2);
}

/* ---- the plan ---- */

static void test_plan(void **state)
{
    char path[512];
    struct err err = {0};
    struct model_params params = fixture_params();
    struct model_plan plain, plan;
    struct gguf *base = gguf_open(fixture_path(path, "llama-f32.gguf"), &err);
    struct gguf *adapter = open_adapter("llama-a.gguf");
    const struct gguf *const list[] = {adapter, adapter};
    (void)state;
    assert_true(model_plan(base, &params, &plain, &err));
    params.adapters = list;
    params.adapter_count = 2; /* the same twice is two */
    assert_true(model_plan(base, &params, &plan, &err));
    assert_int_equal(plain.adapters_bytes, 0);
    assert_true(plan.adapters_bytes >= 2 * 4 * adapter->tensor_bytes / 4);
    assert_int_equal(plan.total_bytes, plain.total_bytes + plan.adapters_bytes);
    params.memory_max = plan.total_bytes - 1;
    params.ctx_tokens = plan.ctx_tokens;
    params.kv_tokens = plan.kv_pages * KV_PAGE_TOKENS;
    assert_false(model_plan(base, &params, &plan, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    params.adapter_count = MODEL_ADAPTERS_MAX + 1;
    assert_false(model_plan(base, &params, &plan, &err));
    assert_int_equal(err.code, ERR_INVALID);
    gguf_close(adapter);
    gguf_close(base);
}

/* ---- files that lie ---- */

struct lie {
    const char *model, *type, *adapter_type, *architecture, *name, *other_name;
    uint64_t a[3], b[3];
    uint32_t kind;
    bool no_alpha, is_alora;
    enum err_code code;
    const char *text;
};

static void write_lie(const struct lie *lie, const char *path)
{
    struct buf b = {0};
    char name[128];
    const uint64_t alignment = 32;
    uint64_t bytes = 4 * lie->a[0] * lie->a[1] * lie->a[2];
    image_head(&b, 3, lie->other_name ? 2 : 1, 4u - lie->no_alpha + lie->is_alora);
    image_key_str(&b, "general.type", lie->type ? lie->type : "adapter");
    image_key_str(&b, "adapter.type", lie->adapter_type ? lie->adapter_type : "lora");
    image_key_str(&b, "general.architecture", lie->architecture ? lie->architecture : "llama");
    if (!lie->no_alpha) {
        image_key(&b, "adapter.lora.alpha", GGUF_F32);
        const float alpha = 8;
        image_bytes(&b, &alpha, sizeof alpha);
    }
    if (lie->is_alora) {
        image_key_u32(&b, "adapter.alora.invocation_tokens", 3);
    }
    snprintf(name, sizeof name, "%s", lie->name);
    image_tensor(&b, name, lie->kind, 3, lie->a, 0);
    bytes = (bytes + alignment - 1) / alignment * alignment;
    if (lie->other_name) {
        image_tensor(&b, lie->other_name, 0, 3, lie->b, bytes);
        bytes += 4 * lie->b[0] * lie->b[1] * lie->b[2];
    }
    image_pad(&b, alignment);
    image_save(&b, path, b.len + bytes + alignment);
    buf_deinit(&b);
}

static void expect_refusal(const struct lie *lie)
{
    char path[512], file[128];
    struct err err = {0};
    struct model_params params = fixture_params();
    struct model_plan plan;
    const char *adapter_path = image_path("lie.gguf");
    write_lie(lie, adapter_path);
    snprintf(file, sizeof file, "%s.gguf", lie->model ? lie->model : "llama-f32");
    struct gguf *base = gguf_open(fixture_path(path, file), &err);
    struct gguf *adapter = gguf_open(adapter_path, &err);
    if (!base || !adapter) {
        fail_msg("%s: %s", lie->text, err.text);
    }
    const struct gguf *const list[] = {adapter};
    params.adapters = list;
    params.adapter_count = 1;
    const bool ok = model_plan(base, &params, &plan, &err);
    if (ok || err.code != lie->code || !strstr(err.text, lie->text) ||
        !strstr(err.text, "lie.gguf")) {
        fail_msg("\"%s\" (%s) instead of \"%s\"", ok ? "accepted" : err.text,
                 err_info(err.code)->name, lie->text);
    }
    gguf_close(adapter);
    gguf_close(base);
    unlink(adapter_path);
}

#define Q_A   "blk.0.attn_q.weight.lora_a"
#define Q_B   "blk.0.attn_q.weight.lora_b"
#define RIGHT .name = Q_A, .other_name = Q_B, .a = {32, 4, 1}, .b = {4, 32, 1}

static void test_lies(void **state)
{
    static const struct lie lies[] = {
        {RIGHT, .type = "model", .code = ERR_ARCH, .text = "general.type is \"model\""},
        {RIGHT, .adapter_type = "ia3", .code = ERR_ARCH, .text = "adapter.type is \"ia3\""},
        {RIGHT, .architecture = "qwen2", .code = ERR_ARCH, .text = "\"llama\" is needed"},
        {RIGHT, .no_alpha = true, .code = ERR_FORMAT, .text = "adapter.lora.alpha is missing"},
        {RIGHT, .is_alora = true, .code = ERR_ARCH, .text = "invocation_tokens"},
        {.name = Q_A, .a = {32, 4, 1}, .code = ERR_FORMAT, .text = "without its other half"},
        {.name = Q_A,
         .other_name = Q_B,
         .a = {31, 4, 1},
         .b = {4, 32, 1},
         .code = ERR_FORMAT,
         .text = "lora_a has the shape 31 x 4 x 1 x 1: 32 x 4"},
        {.name = Q_A,
         .other_name = Q_B,
         .a = {32, 4, 1},
         .b = {5, 32, 1},
         .code = ERR_FORMAT,
         .text = "lora_b has the shape 5 x 32 x 1 x 1: 4 x 32"},
        {.name = Q_A,
         .other_name = Q_B,
         .a = {32, 4, 1},
         .b = {4, 31, 1},
         .code = ERR_FORMAT,
         .text = "4 x 32 is needed"},
        {.name = Q_A,
         .other_name = Q_B,
         .a = {32, 4, 2},
         .b = {4, 32, 1},
         .code = ERR_FORMAT,
         .text = "32 x 4 x 2 x 1"},
        {.name = Q_A,
         .other_name = Q_B,
         .a = {32, 1025, 1},
         .b = {1025, 32, 1},
         .code = ERR_FORMAT,
         .text = "rank 1025"},
        {.name = "blk.9.attn_q.weight.lora_a",
         .other_name = "blk.9.attn_q.weight.lora_b",
         .a = {32, 4, 1},
         .b = {4, 32, 1},
         .code = ERR_ARCH,
         .text = "has no such matrix"},
        {.name = "token_embd.weight.lora_a",
         .other_name = "token_embd.weight.lora_b",
         .a = {32, 4, 1},
         .b = {4, 64, 1},
         .code = ERR_ARCH,
         .text = "cannot change here"},
        {.name = "blk.0.attn_norm.weight.lora_a",
         .other_name = "blk.0.attn_norm.weight.lora_b",
         .a = {32, 1, 1},
         .b = {1, 1, 1},
         .code = ERR_ARCH,
         .text = "cannot change here"},
        {.name = "blk.0.attn_q.weight",
         .a = {32, 4, 1},
         .code = ERR_ARCH,
         .text = "no part of a LoRA adapter"},
        {.name = ".lora_a", .a = {32, 4, 1}, .code = ERR_FORMAT, .text = "other half"},
        {.model = "llama-experts-f32",
         .name = "blk.0.ffn_up_exps.weight.lora_a",
         .other_name = "blk.0.ffn_up_exps.weight.lora_b",
         .a = {24, 4, 5},
         .b = {4, 20, 5},
         .code = ERR_ARCH,
         .text = "cannot change here"},
        {.model = "deepseek2-joint-f32",
         .architecture = "deepseek2",
         .name = "blk.0.attn_kv_b.weight.lora_a",
         .other_name = "blk.0.attn_kv_b.weight.lora_b",
         .a = {16, 4, 1},
         .b = {4, 66, 1},
         .code = ERR_ARCH,
         .text = "cannot change here"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        expect_refusal(&lies[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_lies),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
