/* Packing and products: every row comes back as the codec decodes it, and products agree with a
 * double-precision product of the decoded weights and the quantised activations. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/size.h"
#include "tensor/fixture.h"
#include "tensor/matrix.h"
#include "tensor/panel.h"

static uint64_t seed = 1;

static uint32_t next_random(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static float random_float(void)
{
    return ((float)next_random() * 0x1p-31f - 1.0f) * 2.0f;
}

/* Random rows of a type: random bytes, but with scales that are finite and small. */
static uint8_t *random_rows(enum dtype type, size_t rows, size_t cols)
{
    const struct dtype_info *info = dtype_info(type);
    size_t bytes = dtype_row_bytes(type, cols) * rows;
    uint8_t *p = mem_alloc(bytes + 1, 1);

    assert_non_null(p);
    for (size_t i = 0; i < bytes; i++) {
        p[i] = (uint8_t)next_random();
    }
    for (size_t at = 0; at < bytes; at += info->block_bytes) {
        float value = random_float();
        if (info->block_len == 1) {
            codec_encode_row(type, &value, p + at, 1);
        } else {
            fixture_set_scale(type, p + at, value * 0.01f, value * 0.02f);
        }
    }
    return p;
}

static struct matrix packed(enum dtype type, size_t rows, size_t cols, const uint8_t *source)
{
    struct matrix m;
    size_t bytes = 0;

    assert_true(matrix_bytes(type, rows, cols, &bytes));
    uint8_t *memory = aligned_alloc(64, bytes + 64);
    assert_non_null(memory);
    memset(memory, 0xa5, bytes + 64);
    matrix_init(&m, type, rows, cols, memory);
    size_t panels = (rows + 15) / 16, first = panels / 2;
    /* In two calls, as two threads would. */
    matrix_pack(&m, 0, first, source, memory);
    matrix_pack(&m, first, panels - first, source + 16 * first * dtype_row_bytes(type, cols),
                memory);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(memory[bytes + i], 0xa5); /* nothing behind the end */
    }
    return m;
}

static const size_t row_counts[] = {1, 2, 15, 16, 17, 33, 100};
static const size_t block_counts[] = {1, 2, 3, 7, 8, 9, 17};

static void test_rows_come_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURE_TYPE_COUNT; i++) {
        for (size_t j = 0; j < 49; j++) {
            size_t rows = row_counts[j % 7], len = dtype_info(fixture_types[i])->block_len;
            size_t cols = block_counts[j / 7] * (len == 1 ? 13 : len);
            size_t row_bytes = dtype_row_bytes(fixture_types[i], cols);
            uint8_t *source = random_rows(fixture_types[i], rows, cols);
            struct matrix m = packed(fixture_types[i], rows, cols, source);
            float *a = MEM_ARRAY(float, cols), *b = MEM_ARRAY(float, cols);
            for (size_t r = 0; r < rows; r++) {
                codec_decode_row(fixture_types[i], source + r * row_bytes, a, cols);
                matrix_row(&m, r, b);
                assert_memory_equal(a, b, cols * sizeof *a);
            }
            mem_free(a);
            mem_free(b);
            mem_free(source);
            free((void *)(uintptr_t)m.bytes);
        }
    }
}

static void test_sizes(void **state)
{
    size_t bytes;

    (void)state;
    assert_true(matrix_bytes(DTYPE_Q4_K, 4096, 4096, &bytes));
    assert_in_range(bytes, 4096 * 4096 * 4.5 / 8, 4096 * 4096 * 4.5 * 1.05 / 8);
    assert_true(matrix_bytes(DTYPE_Q6_K, 4096, 4096, &bytes));
    assert_in_range(bytes, 4096 * 4096 * 6.5625 / 8, 4096 * 4096 * 6.5625 * 1.02 / 8);
    assert_true(matrix_bytes(DTYPE_Q8_0, 16, 32, &bytes));
    assert_int_equal(bytes % 64, 0);
    assert_true(matrix_bytes(DTYPE_F32, 0, 32, &bytes));
    assert_int_equal(bytes, 0);
    assert_false(matrix_bytes(DTYPE_F32, SIZE_MAX, SIZE_MAX, &bytes));
    assert_false(matrix_bytes(DTYPE_F32, SIZE_MAX / 64, 4096, &bytes));
    assert_false(matrix_bytes(DTYPE_Q8_0, SIZE_MAX, 32, &bytes));
    assert_false(matrix_supports(DTYPE_Q8_K));
    assert_false(matrix_supports(DTYPE_I32));
}

/* ---- products ---- */

/* Product of decoded weights and (for quantised types) the int8 activations, in double; *size is
 * the sum of magnitudes, to which errors are relative. */
static double exact_product(const float *w, const float *x, size_t cols, bool quantized,
                            double *size)
{
    double sum = 0;

    *size = 0;
    for (size_t c = 0; c < cols; c += 32) {
        size_t n = size_min(32, cols - c);
        struct act_block block;
        kernels_get(CPU_REFERENCE)->quantize(x + c, n, &block, 1);
        for (size_t i = 0; i < n; i++) {
            double value = quantized ? (double)block.q[i] * block.scale : x[c + i];
            sum += value * w[c + i];
            *size += fabs(value * w[c + i]);
        }
    }
    return sum;
}

static void check_product(enum dtype type, size_t rows, size_t cols, size_t tokens,
                          struct pool *pool, enum cpu_level level)
{
    const struct kernels *k = kernels_get(level);
    uint8_t *source = random_rows(type, rows, cols);
    struct matrix m = packed(type, rows, cols, source);
    float *x = MEM_ARRAY(float, tokens *cols), *y = MEM_ARRAY(float, tokens *rows);
    float *bias = MEM_ARRAY(float, rows), *w = MEM_ARRAY(float, cols);
    uint8_t *scratch = aligned_alloc(64, activation_bytes(tokens, cols) + 64);
    struct activation act;

    for (size_t i = 0; i < tokens * cols; i++) {
        x[i] = random_float();
    }
    for (size_t i = 0; i < rows; i++) {
        bias[i] = random_float();
    }
    activation_init(&act, x, cols, tokens, cols, scratch);
    activation_quantize(&act, k, pool);
    struct product product = {.w = &m, .y = y, .y_stride = rows, .bias = bias};
    matrix_multiply(k, pool, &act, &product, 1);
    for (size_t r = 0; r < rows; r++) {
        matrix_row(&m, r, w);
        for (size_t t = 0; t < tokens; t++) {
            double size, want;
            want = exact_product(w, x + t * cols, cols, dtype_info(type)->block_len > 1, &size);
            double error = fabs(y[t * rows + r] - want - bias[r]);
            assert_true(error <= 1e-6 * sqrt((double)cols) * (size + 1));
        }
    }
    mem_free(source);
    mem_free(x);
    mem_free(y);
    mem_free(bias);
    mem_free(w);
    free(scratch);
    free((void *)(uintptr_t)m.bytes);
}

static void test_products(void **state)
{
    struct pool *pool = pool_create(2, NULL);

    (void)state;
    assert_non_null(pool);
    for (size_t i = 0; i < FIXTURE_TYPE_COUNT; i++) {
        size_t len = dtype_info(fixture_types[i])->block_len;
        for (size_t tokens = 1; tokens <= 14; tokens += tokens == 1 ? 5 : 4) {
            check_product(fixture_types[i], 37, len == 1 ? 48 : 3 * len, tokens, pool,
                          CPU_REFERENCE);
            check_product(fixture_types[i], 90, len == 1 ? 130 : 9 * len, tokens, pool,
                          cpu_level_detect());
        }
    }
    pool_destroy(pool);
}

/* ---- threads and groups ---- */

enum { GROUP = 3, GROUP_COLS = 512, GROUP_ROWS_MAX = 600, STRIDE = 640 };

/* Three products of one input, of different types and heights, into y [tokens][GROUP][STRIDE]. */
static void run_group(const struct matrix *m, const float *x, size_t x_stride, size_t tokens,
                      size_t threads, uint8_t *scratch, float *y)
{
    const struct kernels *k = kernels_get(cpu_level_detect());
    struct pool *pool = pool_create(threads, NULL);
    struct product products[GROUP];
    struct activation act;

    assert_non_null(pool);
    memset(y, 0x55, tokens * GROUP * STRIDE * sizeof *y);
    activation_init(&act, x, x_stride, tokens, GROUP_COLS, scratch);
    activation_quantize(&act, k, pool);
    for (size_t i = 0; i < GROUP; i++) {
        products[i] = (struct product){.w = &m[i], .y = y + i * STRIDE, .y_stride = GROUP * STRIDE};
    }
    matrix_multiply(k, pool, &act, products, GROUP);
    pool_destroy(pool);
}

/* The same bits for every number of threads and whoever else is in the batch; nothing is written
 * beside the rows. */
static void test_threads(void **state)
{
    static const enum dtype group_types[GROUP] = {DTYPE_Q4_K, DTYPE_F16, DTYPE_Q8_0};
    static const size_t group_rows[GROUP] = {GROUP_ROWS_MAX, 37, 130};
    static const size_t batches[] = {1, 2, 7, 33, 130};
    enum { TOKENS_MAX = 130, X_STRIDE = GROUP_COLS + 3 };
    size_t y_floats = (size_t)TOKENS_MAX * GROUP * STRIDE;
    float *x = MEM_ARRAY(float, TOKENS_MAX *X_STRIDE);
    float *want = MEM_ARRAY(float, y_floats), *got = MEM_ARRAY(float, y_floats);
    uint8_t *scratch = aligned_alloc(64, activation_bytes(TOKENS_MAX, GROUP_COLS));
    uint8_t *source[GROUP];
    struct matrix m[GROUP];

    (void)state;
    for (size_t i = 0; i < GROUP; i++) {
        source[i] = random_rows(group_types[i], group_rows[i], GROUP_COLS);
        m[i] = packed(group_types[i], group_rows[i], GROUP_COLS, source[i]);
    }
    for (size_t i = 0; i < (size_t)TOKENS_MAX * X_STRIDE; i++) {
        x[i] = random_float();
    }
    run_group(m, x, X_STRIDE, TOKENS_MAX, 1, scratch, want);
    for (size_t i = group_rows[1]; i < STRIDE; i++) {
        uint32_t bits;
        memcpy(&bits, &want[STRIDE + i], sizeof bits);
        assert_int_equal(bits, 0x55555555);
    }
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        for (size_t threads = 1; threads <= 4; threads++) {
            run_group(m, x, X_STRIDE, batches[b], threads, scratch, got);
            assert_memory_equal(got, want, batches[b] * GROUP * STRIDE * sizeof *got);
        }
    }
    for (size_t i = 0; i < GROUP; i++) {
        mem_free(source[i]);
        free((void *)(uintptr_t)m[i].bytes);
    }
    mem_free(x);
    mem_free(want);
    mem_free(got);
    free(scratch);
}

/* No tokens, no rows, no columns: nothing happens, or zeros plus the bias. */
static void test_empty(void **state)
{
    const struct kernels *k = kernels_get(cpu_level_detect());
    struct pool *pool = pool_create(1, NULL);
    ATTR_ALIGNED(64) uint8_t memory[64] = {0};
    float y[3] = {1, 2, 3}, bias[3] = {4, 5, 6};
    struct activation act;
    struct matrix m;

    (void)state;
    assert_non_null(pool);
    matrix_init(&m, DTYPE_F32, 3, 0, memory);
    struct product product = {.w = &m, .y = y, .y_stride = 3, .bias = bias};
    activation_init(&act, y, 0, 0, 0, NULL);
    activation_quantize(&act, k, pool);
    matrix_multiply(k, pool, &act, &product, 1); /* no tokens */
    assert_true(y[0] == 1);
    activation_init(&act, y, 0, 1, 0, NULL);
    matrix_multiply(k, pool, &act, &product, 0); /* no products */
    matrix_multiply(k, pool, &act, &product, 1); /* no columns */
    assert_true(y[0] == 4 && y[1] == 5 && y[2] == 6);
    matrix_init(&m, DTYPE_F32, 0, 0, memory);
    matrix_multiply(k, pool, &act, &product, 1); /* no rows */
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_come_back), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_products),       cmocka_unit_test(test_threads),
        cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
