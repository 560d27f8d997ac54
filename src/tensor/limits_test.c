/* CPU detection and the measured limits: plausible, and refused politely without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/limits.h"

static void test_levels(void **state)
{
    enum cpu_level level;

    (void)state;
    for (int i = 0; i < CPU_LEVEL_COUNT; i++) {
        assert_true(cpu_level_parse(str_of(cpu_level_name((enum cpu_level)i)), &level));
        assert_int_equal(level, i);
        /* What a level gives is never above it, and always complete. */
        const struct kernels *k = kernels_get((enum cpu_level)i);
        assert_true((int)k->level <= i);
        assert_non_null(k->panel[DTYPE_Q4_K].few[1]);
        assert_non_null(k->attn_score[KV_BF16]);
    }
    assert_false(cpu_level_parse(STR("AVX2"), &level));
    assert_false(cpu_level_parse(STR(""), &level));
    assert_int_equal(kernels_get(cpu_level_detect())->level, cpu_level_detect());
}

static void test_features(void **state)
{
    char text[256];

    (void)state;
    memset(text, 'x', sizeof text);
    cpu_feature_text(text);
    assert_non_null(memchr(text, '\0', sizeof text));
    if (cpu_level_detect() >= CPU_AVX2 && cpu_level_detect() <= CPU_AVX512) {
        assert_non_null(strstr(text, "avx2"));
        assert_non_null(strstr(text, "fma"));
    }
}

static void test_limits(void **state)
{
    struct pool *pool = pool_create(2, NULL);
    struct cpu_bandwidth bandwidth;
    struct err err = {0};

    (void)state;
    assert_non_null(pool);
    for (int i = 0; i <= (int)cpu_level_detect(); i++) {
        double gops = cpu_peak_int8(kernels_get((enum cpu_level)i), pool);
        assert_true(gops > 0.01 && gops < 1e7);
        gops = cpu_peak_f32(kernels_get((enum cpu_level)i), pool);
        assert_true(gops > 0.001 && gops < 1e7);
    }
    assert_true(cpu_read_bandwidth(pool, 16 << 20, &bandwidth, &err));
    assert_true(bandwidth.gb_s > 0.01 && bandwidth.gb_s < 1e5);
    assert_in_range(bandwidth.streams, 1, 8);
    assert_false(cpu_read_bandwidth(pool, SIZE_MAX / 4, &bandwidth, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
