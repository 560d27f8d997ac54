/* Importance matrices: what is written is read, and what does not fit is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "gguf/importance.h"
#include "gguf/test_image.h"

static struct gguf_tensor tensor_of(const char *name, uint64_t cols, uint64_t planes)
{
    return (struct gguf_tensor){.name = str_of(name),
                                .dim_count = 3,
                                .dims = {cols, 7, planes, 1},
                                .row_count = 7 * planes};
}

static void means_come_back(void **state)
{
    (void)state;
    struct err err = {0};
    const char *path = image_path("im.gguf");
    const double dense[4] = {2, 4, 6, 8}, experts[4] = {3, 9, 5, 5}, n[1] = {2}, counts[2] = {3, 0};
    const struct gguf_importance_entry entries[] = {
        {STR("blk.0.ffn_up.weight"), 4, 1, dense, n},
        {STR("blk.0.ffn_up_exps.weight"), 2, 2, experts, counts},
    };
    assert_true(gguf_importance_write(path, entries, 2, STR("a text"), 7, 512, &err));
    struct gguf_importance *im = gguf_importance_open(path, &err);
    assert_non_null(im);
    assert_int_equal(gguf_importance_count(im), 2);
    assert_int_equal(gguf_importance_chunks(im), 7);
    assert_true(str_eq(gguf_importance_dataset(im), STR("a text")));
    const float *means;
    struct gguf_tensor t = tensor_of("blk.0.ffn_up.weight", 4, 1);
    assert_true(gguf_importance_find(im, &t, &means, &err));
    assert_true(means[0] == 1 && means[3] == 4);
    t = tensor_of("blk.0.ffn_up_exps.weight", 2, 2);
    assert_true(gguf_importance_find(im, &t, &means, &err));
    assert_true(means[0] == 1 && means[1] == 3 && means[2] == 1 && means[3] == 1); /* unused: 1 */
    t = tensor_of("blk.1.ffn_up.weight", 4, 1);
    assert_true(gguf_importance_find(im, &t, &means, &err));
    assert_null(means);
    t = tensor_of("blk.0.ffn_up.weight", 8, 1);
    assert_false(gguf_importance_find(im, &t, &means, &err));
    assert_non_null(strstr(err.text, "of another model"));
    gguf_importance_close(im);
    unlink(path);
}

static void refused(const struct gguf_importance_entry *entry, const char *wanted)
{
    struct err err = {0};
    const char *path = image_path("im.gguf");
    assert_true(gguf_importance_write(path, entry, entry ? 1 : 0, STR(""), 1, 8, &err));
    assert_null(gguf_importance_open(path, &err));
    if (!strstr(err.text, wanted)) {
        fail_msg("%s", err.text);
    }
    unlink(path);
}

static void what_is_no_mean_is_refused(void **state)
{
    (void)state;
    const double bad[2] = {1, -1}, nan[2] = {NAN, 1}, good[2] = {1, 1}, n[1] = {1}, minus[1] = {-1};
    const struct gguf_importance_entry entries[] = {
        {STR("w"), 2, 1, bad, n}, {STR("w"), 2, 1, nan, n}, {STR("w"), 2, 1, good, minus}};
    refused(&entries[0], "sum of squares that is none");
    refused(&entries[1], "sum of squares that is none");
    refused(&entries[2], "count that is none");
    struct err err = {0};
    assert_null(gguf_importance_open(TEST_DATA "/gguf/convert.gguf", &err));
    assert_non_null(strstr(err.text, "not an importance matrix"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_come_back),
        cmocka_unit_test(what_is_no_mean_is_refused),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
