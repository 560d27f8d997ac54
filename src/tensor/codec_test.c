/* Codecs against ggml (tests/data/tensor) and the 16-bit floats against their definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tensor/fixture.h"
#include "tensor/matrix.h"

/* One record of a golden file: type, n, bytes. */
static bool next_record(FILE *file, uint32_t head[3])
{
    return fread(head, 4, 3, file) == 3;
}

static FILE *open_golden(const char *name)
{
    char path[1024];

    snprintf(path, sizeof path, "%s/%s", TEST_DATA, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("cannot open %s", path);
    }
    return file;
}

static void read_exactly(FILE *file, void *out, size_t len)
{
    assert_int_equal(fread(out, 1, len, file), len);
}

static bool same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void test_decode(void **state)
{
    FILE *file = open_golden("decode.bin");
    uint32_t head[3];
    size_t known = 0;

    (void)state;
    while (next_record(file, head)) {
        uint8_t *bytes = mem_alloc(head[2] + 1, 1);
        float *want = MEM_ARRAY(float, head[1]), *got = MEM_ARRAY(float, head[1]);
        read_exactly(file, bytes + 1, head[2]);
        read_exactly(file, want, head[1] * 4);
        const struct dtype_info *info = dtype_find(head[0]);
        assert_non_null(info);
        assert_int_equal(dtype_row_bytes(info->type, head[1]), head[2]);
        if (codec_can_decode(info->type)) {
            codec_decode_row(info->type, bytes + 1, got, head[1]); /* unaligned on purpose */
            for (size_t i = 0; i < head[1]; i++) {
                if (!same_float(got[i], want[i])) {
                    fail_msg("%s[%zu]: %a, ggml %a", info->name, i, (double)got[i],
                             (double)want[i]);
                }
            }
            known++;
        }
        mem_free(bytes);
        mem_free(want);
        mem_free(got);
    }
    assert_int_equal(known, 27);
    fclose(file);
}

static void test_encode(void **state)
{
    FILE *file = open_golden("encode.bin");
    uint32_t head[3];
    size_t count = 0;

    (void)state;
    for (; next_record(file, head); count++) {
        uint8_t want[2048], got[2048];
        float in[256];
        assert_true(head[1] == 256 && head[2] <= sizeof want);
        read_exactly(file, in, sizeof in);
        read_exactly(file, want, head[2]);
        assert_true(codec_can_encode((enum dtype)head[0]));
        codec_encode_row((enum dtype)head[0], in, got, head[1]);
        assert_memory_equal(got, want, head[2]);
    }
    assert_int_equal(count, 16);
    fclose(file);
}

/* Every f16 survives the way to float and back; the middle between two neighbours goes to the even
 * one, a little more goes up. */
static void test_f16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float value = codec_f16_to_f32((uint16_t)h);
        assert_int_equal(codec_f32_to_f16(value), h);
        assert_int_equal(codec_f32_to_f16(-value), h | 0x8000);
        double exact =
            (h >> 10) == 0 ? ldexp(h & 0x3ff, -24) : ldexp(1024 + (h & 0x3ff), (int)(h >> 10) - 25);
        assert_true((double)value == exact);
        if (h < 0x7bff) {
            float next = codec_f16_to_f32((uint16_t)(h + 1)), middle = (value + next) / 2;
            assert_int_equal(codec_f32_to_f16(middle), h + (h & 1));
            assert_int_equal(codec_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
            assert_int_equal(codec_f32_to_f16(nextafterf(middle, 0)), h);
        }
    }
    assert_int_equal(codec_f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(codec_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(codec_f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(codec_f32_to_f16(65520.0f), 0x7c00);
    assert_true(isnan(codec_f16_to_f32(codec_f32_to_f16(NAN))));
    assert_true(isinf(codec_f16_to_f32(0xfc00)));
    assert_true(isnan(codec_f16_to_f32(0x7c01)));
}

static void test_bf16(void **state)
{
    (void)state;
    assert_int_equal(codec_f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(codec_f32_to_bf16(0x1.01p0f), 0x3f80);     /* the middle: even */
    assert_int_equal(codec_f32_to_bf16(0x1.03p0f), 0x3f82);     /* the middle: even */
    assert_int_equal(codec_f32_to_bf16(0x1.010002p0f), 0x3f81); /* a little more */
    assert_int_equal(codec_f32_to_bf16(3.4e38f), 0x7f80);
    assert_int_equal(codec_f32_to_bf16(INFINITY), 0x7f80);
    assert_true(isnan(codec_bf16_to_f32(codec_f32_to_bf16(NAN))));
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = codec_bf16_to_f32((uint16_t)h);
        assert_true(isnan(value) || codec_f32_to_bf16(value) == h);
    }
}

/* What a hostile or odd input may hold: NaN and infinity must not break the encoder. */
static void test_encode_extremes(void **state)
{
    float in[32] = {0};
    uint8_t out[34];

    (void)state;
    in[3] = INFINITY;
    in[4] = NAN;
    in[5] = -INFINITY;
    codec_encode_row(DTYPE_Q8_0, in, out, 32);
    codec_encode_row(DTYPE_Q4_0, in, out, 32);
    memset(in, 0, sizeof in);
    codec_encode_row(DTYPE_Q8_0, in, out, 32);
    for (int i = 0; i < 34; i++) {
        assert_int_equal(out[i], 0);
    }
    codec_encode_row(DTYPE_Q8_0, in, out, 0); /* nothing */
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURE_TYPE_COUNT; i++) {
        assert_true(codec_can_decode(fixture_types[i]));
        assert_true(matrix_supports(fixture_types[i]));
    }
    assert_false(codec_can_decode(DTYPE_I8));
    assert_false(codec_can_decode(DTYPE_Q8_K));
    assert_false(codec_can_encode(DTYPE_Q8_K));
    assert_false(codec_can_encode(DTYPE_NVFP4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_encode_extremes),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
