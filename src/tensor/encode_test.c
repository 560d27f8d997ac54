/* The error that the encoders leave, against that of ggml's reference quantisers
 * (tests/data/tensor: rmse.txt), on normal and heavy-tailed rows, with and without importance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tensor/codec.h"
#include "tensor/test_rows.h"

enum { COUNT = ROWS_COUNT * ROWS_LEN };

static double error_of(enum dtype type, enum rows_kind kind, const float *w)
{
    float *x = MEM_ARRAY(float, COUNT), *back = MEM_ARRAY(float, COUNT);
    uint8_t *out = mem_alloc(dtype_row_bytes(type, COUNT), 1);

    rows_fill(kind, x);
    for (size_t r = 0; r < ROWS_COUNT; r++) {
        codec_encode_weighted(type, x + r * ROWS_LEN, w, out + r * dtype_row_bytes(type, ROWS_LEN),
                              ROWS_LEN);
    }
    codec_decode_row(type, out, back, COUNT);
    double error = rows_error(x, back, w);
    mem_free(x);
    mem_free(back);
    mem_free(out);
    return error;
}

static void test_error(void **state)
{
    FILE *file = fopen(TEST_DATA "/rmse.txt", "r");
    float importance[ROWS_LEN];
    char name[32];
    int kind, weighted, lines = 0, bad = 0;
    double want;

    (void)state;
    assert_non_null(file);
    rows_importance(importance);
    while (fscanf(file, "%31s %d %d %lg", name, &kind, &weighted, &want) == 4) {
        const struct dtype_info *info = dtype_find_name(str_of(name));
        assert_non_null(info);
        if (!codec_can_encode(info->type)) {
            continue;
        }
        double got = error_of(info->type, (enum rows_kind)kind, weighted ? importance : NULL);
        bool is_good = got <= 1.02 * want;
        printf("%-8s %s, %-10s  %.5f of ggml's %.3g%s\n", name,
               kind ? "heavy-tailed" : "normal      ", weighted ? "importance" : "none", got / want,
               want, is_good ? "" : "  TOO LARGE");
        bad += !is_good;
        lines++;
    }
    fclose(file);
    assert_int_equal(bad, 0);
    assert_in_range(lines, 64, 92);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_error)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
