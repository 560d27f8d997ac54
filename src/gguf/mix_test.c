#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gguf/mix.h"
#include "gguf/test_image.h"

static struct gguf_tensor tensor_of(const char *name, uint64_t columns, uint64_t rows,
                                    uint64_t planes)
{
    return (struct gguf_tensor){.name = str_of(name),
                                .type = DTYPE_F32,
                                .dim_count = 3,
                                .dims = {columns, rows, planes, 1},
                                .row_count = rows * planes};
}

/* What llama-quantize (May 2026) does with these names. */
static void types_are_those_of_llama_quantize(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t columns, rows, planes;
        enum dtype f16, q8, q4;
    } cases[] = {
        {"blk.0.attn_q.weight", 64, 64, 1, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0},
        {"token_embd.weight", 64, 64, 1, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0},
        {"output.weight", 64, 64, 1, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q8_0},
        {"blk.0.ffn_down_exps.weight", 32, 1, 8, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0},
        {"blk.0.ffn_down.weight", 172, 64, 1, DTYPE_F16, DTYPE_F16, DTYPE_F16},
        {"output.weight", 40, 64, 1, DTYPE_F16, DTYPE_F16, DTYPE_F16},
        {"blk.0.attn_norm.weight", 64, 1, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
        {"blk.0.attn_q_norm.weight", 64, 2, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
        {"blk.0.attn_q.bias", 64, 2, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
        {"blk.0.ffn_gate_inp.weight", 64, 8, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
        {"position_embd.weight", 64, 8, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
        {"token_types.weight", 64, 2, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
        {"blk.0.ssm_conv1d.weight", 32, 8, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
        {"v.patch_embd.weight", 32, 8, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
        {"weight", 32, 8, 1, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0},
        {"weights", 32, 8, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
        {"", 32, 8, 1, DTYPE_F32, DTYPE_F32, DTYPE_F32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf_tensor tensor =
            tensor_of(cases[i].name, cases[i].columns, cases[i].rows, cases[i].planes);
        const struct gguf_mix f16 = {.target = gguf_mix_target(GGUF_MIX_F16)};
        const struct gguf_mix q8 = {.target = gguf_mix_target(GGUF_MIX_Q8_0)};
        const struct gguf_mix q4 = {.target = gguf_mix_target(GGUF_MIX_Q4_0)};
        assert_int_equal(gguf_mix_type(&f16, &tensor), cases[i].f16);
        assert_int_equal(gguf_mix_type(&q8, &tensor), cases[i].q8);
        assert_int_equal(gguf_mix_type(&q4, &tensor), cases[i].q4);
    }
}

static void the_model_decides_about_output_and_experts(void **state)
{
    (void)state;
    for (int experts = 7; experts <= 8; experts++) {
        struct buf b = {0};
        struct err err = {0};
        struct gguf_mix mix;
        image_head(&b, 3, 1, 2);
        image_key_str(&b, "general.architecture", "llama");
        image_key_u32(&b, "llama.expert_count", (uint32_t)experts);
        image_tensor(&b, experts == 8 ? "output.weight" : "token_embd.weight", 0, 1, IMAGE_DIMS(8),
                     0);
        image_pad(&b, 32);
        image_zeros(&b, 32);
        image_save(&b, image_path("mix.gguf"), 0);
        struct gguf *gguf = gguf_open(image_path("mix.gguf"), &err);
        assert_non_null(gguf);
        gguf_mix_init(&mix, gguf, gguf_mix_target(GGUF_MIX_Q4_0), false);
        assert_int_equal(mix.is_tied, experts != 8);
        assert_int_equal(mix.expert_count, experts);
        gguf_close(gguf);
        unlink(image_path("mix.gguf"));
        buf_deinit(&b);
    }
    const struct gguf_mix_target *target = gguf_mix_target(GGUF_MIX_Q4_0);
    const struct gguf_mix tied = {.target = target, .is_tied = true};
    const struct gguf_mix mixtral = {.target = target, .expert_count = 8};
    struct gguf_tensor embeddings = tensor_of("token_embd.weight", 64, 64, 1);
    struct gguf_tensor keys = tensor_of("blk.3.attn_k.weight", 64, 64, 1);
    assert_int_equal(gguf_mix_type(&tied, &embeddings), DTYPE_Q8_0); /* no Q6_K of 64 columns */
    embeddings.dims[0] = 256;
    assert_int_equal(gguf_mix_type(&tied, &embeddings), DTYPE_Q6_K);
    assert_int_equal(gguf_mix_type(&tied, &keys), DTYPE_Q4_0);
    assert_int_equal(gguf_mix_type(&mixtral, &keys), DTYPE_Q8_0);
}

static void targets_have_names_and_file_types(void **state)
{
    (void)state;
    assert_int_equal(gguf_mix_find(STR("f16"))->file_type, 1);
    assert_int_equal(gguf_mix_find(STR("Q4_0"))->file_type, 2);
    assert_int_equal(gguf_mix_find(STR("Q8_0"))->file_type, 7);
    assert_int_equal(gguf_mix_find(STR("BF16"))->file_type, 32);
    assert_int_equal(gguf_mix_find(STR("q4_k"))->id, GGUF_MIX_Q4_K_M);
    assert_int_equal(gguf_mix_find(STR("mxfp4_moe"))->file_type, 38);
    assert_null(gguf_mix_find(STR("")));
    assert_null(gguf_mix_find(STR("MXFP4")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_those_of_llama_quantize),
        cmocka_unit_test(the_model_decides_about_output_and_experts),
        cmocka_unit_test(targets_have_names_and_file_types),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
