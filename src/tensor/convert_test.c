#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/codec.h"
#include "tensor/convert.h"

enum { LONG = 3 * CODEC_PIECE + 256 };

static float values[LONG];

static int fill(void **state)
{
    (void)state;
    uint32_t x = 1;
    for (size_t i = 0; i < LONG; i++) {
        x = x * 1664525 + 1013904223;
        values[i] = (float)(int32_t)x * 0x1p-30F;
    }
    return 0;
}

static void check_loss(const struct codec_conversion *c)
{
    float *back = MEM_ARRAY(float, LONG);
    struct codec_loss loss = {0};
    codec_decode_row(c->to, c->out, back, c->count);
    for (size_t i = 0; i < c->count; i++) {
        double x = values[i], difference = x - back[i];
        loss.squares += x * x;
        loss.differences += difference * difference;
    }
    assert_true(fabs(loss.squares - c->loss.squares) <= 1e-9 * loss.squares);
    assert_true(fabs(loss.differences - c->loss.differences) <= 1e-9 * loss.differences);
    mem_free(back);
}

/* In pieces on one, two and three threads as in one go on one. */
static void pieces_and_threads_do_not_show(void **state)
{
    (void)state;
    const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0};
    const size_t counts[] = {0, 32, 96, CODEC_PIECE, CODEC_PIECE + 32, LONG};
    unsigned char *wanted = mem_alloc(LONG, 4), *out = mem_alloc(LONG * 4 + 8, 1);
    for (size_t threads = 1; threads <= 3; threads++) {
        struct pool *pool = pool_create(threads, NULL);
        float *scratch = mem_alloc(codec_convert_bytes(pool, LONG), 1);
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
            for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
                size_t bad, bytes = dtype_row_bytes(types[t], counts[c]);
                codec_encode_row(types[t], values, wanted, counts[c]);
                memset(out, 0xee, bytes + 8);
                struct codec_conversion conversion = {.from = DTYPE_F32,
                                                      .to = types[t],
                                                      .in = values,
                                                      .out = out,
                                                      .count = counts[c],
                                                      .wants_loss = true};
                assert_true(codec_convert(pool, &conversion, scratch, &bad));
                check_loss(&conversion);
                assert_memory_equal(out, wanted, bytes);
                assert_int_equal(out[bytes], 0xee);
            }
        }
        mem_free(scratch);
        pool_destroy(pool);
    }
    mem_free(wanted);
    mem_free(out);
}

static size_t first_bad(struct pool *pool, float *scratch, enum dtype to, size_t at, float value)
{
    static unsigned char out[LONG * 4];
    float old = values[at];
    size_t bad;
    values[at] = value;
    struct codec_conversion conversion = {
        .from = DTYPE_F32, .to = to, .in = values, .out = out, .count = LONG};
    bool ok = codec_convert(pool, &conversion, scratch, &bad);
    values[at] = old;
    assert_int_equal(ok, bad == SIZE_MAX);
    return bad;
}

static void what_a_type_cannot_hold_is_found(void **state)
{
    (void)state;
    struct pool *pool = pool_create(2, NULL);
    float *scratch = mem_alloc(codec_convert_bytes(pool, LONG), 1);
    const struct {
        enum dtype to;
        float fits, does_not;
    } cases[] = {
        {DTYPE_F16, 65519.0F, 65520.0F},  {DTYPE_F16, -65519.0F, -1e9F},
        {DTYPE_BF16, 3.389e38F, 3.4e38F}, {DTYPE_Q8_0, 8e6F, 8.4e6F},
        {DTYPE_Q4_0, -5e5F, -5.3e5F},     {DTYPE_F32, 3.4e38F, INFINITY},
        {DTYPE_Q8_0, 0.0F, NAN},          {DTYPE_F16, 0.0F, -INFINITY},
    };
    const size_t places[] = {0, CODEC_PIECE - 1, CODEC_PIECE, LONG - 1};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t j = 0; j < sizeof places / sizeof places[0]; j++) {
            assert_true(first_bad(pool, scratch, cases[i].to, places[j], cases[i].fits) ==
                        SIZE_MAX);
            assert_int_equal(first_bad(pool, scratch, cases[i].to, places[j], cases[i].does_not),
                             places[j]);
        }
    }
    values[LONG - 2] = NAN; /* of two the first, whichever thread sees its own sooner */
    assert_int_equal(first_bad(pool, scratch, DTYPE_Q8_0, 40, NAN), 40);
    values[LONG - 2] = 0;
    mem_free(scratch);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_and_threads_do_not_show),
        cmocka_unit_test(what_a_type_cannot_hold_is_found),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
