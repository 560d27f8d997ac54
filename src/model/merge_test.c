/* Merging against float64 (tests/golden/make_merge.py), the same bytes for any number of threads,
 * and inputs that do not fit together.
 *
 * Tolerance: what storing the result in its type loses at most (half a unit in the last place of
 * F32 and F16; half a step of a Q8_0 block and the rounding of its scale), plus 1e-7 of the
 * golden's own rounding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "gguf/test_image.h"
#include "model/merge.h"
#include "tensor/codec.h"

#define DATA TEST_DATA "/merge/"

static const struct model_merge_input pair[] = {{DATA "a.gguf", 1}, {DATA "b.gguf", 1}};

static bool try_merge(const char *out, const struct model_merge *how, size_t threads,
                      struct err *err)
{
    struct model_merge_result result;
    struct model_merge with_pool = *how;
    *err = (struct err){0};
    with_pool.pool = pool_create(threads, err);
    assert_non_null(with_pool.pool);
    bool ok = model_merge(out, &with_pool, &result, err);
    pool_destroy(with_pool.pool);
    return ok;
}

static float *read_tensor(const struct gguf *gguf, const struct gguf_tensor *tensor, size_t *count)
{
    struct os_map map;
    struct err err;
    *count = (size_t)(tensor->dims[0] * tensor->row_count);
    float *values = MEM_ARRAY(float, *count);
    assert_true(gguf_rows_open(gguf, tensor, 0, tensor->row_count, &map, &err));
    codec_decode_row(tensor->type, map.ptr, values, *count);
    os_map_close(&map);
    return values;
}

/* How far element i of a tensor of this type may be from the golden. */
static double tolerance(enum dtype type, const float *golden, size_t i)
{
    double x = fabs((double)golden[i]), largest = 0;
    switch (type) {
    case DTYPE_F32:
        return x * 2e-7 + 1e-9;
    case DTYPE_F16:
        return x * (0x1p-11 + 1e-6) + 0x1p-25;
    default:
        for (size_t k = i / 32 * 32; k < i / 32 * 32 + 32; k++) {
            largest = fmax(largest, fabs((double)golden[k]));
        }
        return largest / 127 * 0.5 + largest * 0x1p-11 + 1e-6;
    }
}

static void compare(const char *out, const char *golden)
{
    struct err err = {0};
    struct gguf *a = gguf_open(out, &err), *b = gguf_open(golden, &err);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(a->tensor_count, b->tensor_count);
    for (size_t i = 0; i < a->tensor_count; i++) {
        size_t count, golden_count;
        const struct gguf_tensor *tensor = &a->tensors[i];
        float *x = read_tensor(a, tensor, &count);
        float *y = read_tensor(b, gguf_find_tensor(b, tensor->name), &golden_count);
        assert_int_equal(count, golden_count);
        for (size_t k = 0; k < count; k++) {
            double off = fabs((double)x[k] - (double)y[k]);
            if (!(off <= tolerance(tensor->type, y, k))) {
                fail_msg("%s: %.*s[%zu] is %.9g, not %.9g", golden, STR_ARG(tensor->name), k,
                         (double)x[k], (double)y[k]);
            }
        }
        mem_free(x);
        mem_free(y);
    }
    gguf_close(a);
    gguf_close(b);
}

static void assert_same_file(const char *a_path, const char *b_path)
{
    size_t a_len, b_len;
    struct err err = {0};
    char *a = os_file_slurp(a_path, 1 << 20, &a_len, &err);
    char *b = os_file_slurp(b_path, 1 << 20, &b_len, &err);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
    mem_free(a);
    mem_free(b);
}

static void check(const char *name, const struct model_merge *how)
{
    char golden[512];
    struct err err;
    const char *one = image_path("one.gguf"), *three = image_path("three.gguf");
    snprintf(golden, sizeof golden, DATA "%s.gguf", name);
    if (!try_merge(one, how, 1, &err) || !try_merge(three, how, 3, &err)) {
        fail_msg("%s: %s", name, err.text);
    }
    compare(one, golden);
    assert_same_file(one, three);
    unlink(one);
    unlink(three);
}

static void methods_give_what_their_papers_say(void **state)
{
    (void)state;
    const char *a = DATA "a.gguf", *b = DATA "b.gguf", *c = DATA "c.gguf", *base = DATA "base.gguf";
    const struct model_merge_input near[] = {{a, 0.6}, {b, 0.2}, {base, -0.5}};
    const struct model_merge_input arc[] = {{a, 0.7}, {b, 0.3}}, line[] = {{a, 3}, {c, 1}};
    const struct model_merge_input tasks[] = {{a, 0.8}, {b, -0.3}}, half[] = {{a, 1}, {b, 0.5}};
    const struct model_merge_input minus[] = {{a, 1}, {b, -0.5}};
    const struct {
        const char *name;
        struct model_merge how;
    } cases[] = {
        {"linear", {.method = MODEL_MERGE_LINEAR, .inputs = near, .input_count = 2}},
        {"linear-sum",
         {.method = MODEL_MERGE_LINEAR, .inputs = near, .input_count = 3, .is_plain_sum = true}},
        {"slerp", {.method = MODEL_MERGE_SLERP, .inputs = arc, .input_count = 2}},
        {"slerp-line", {.method = MODEL_MERGE_SLERP, .inputs = line, .input_count = 2}},
        {"task",
         {.method = MODEL_MERGE_TASK,
          .inputs = tasks,
          .input_count = 2,
          .base = base,
          .lambda = 0.7}},
        {"ties",
         {.method = MODEL_MERGE_TIES,
          .inputs = half,
          .input_count = 2,
          .base = base,
          .density = 0.3,
          .lambda = 1.25}},
        {"ties-sum",
         {.method = MODEL_MERGE_TIES,
          .inputs = minus,
          .input_count = 2,
          .base = base,
          .density = 0.55,
          .lambda = 1,
          .is_plain_sum = true}},
        {"ties-all",
         {.method = MODEL_MERGE_TIES,
          .inputs = pair,
          .input_count = 2,
          .base = base,
          .density = 1,
          .lambda = 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(cases[i].name, &cases[i].how);
    }
}

static void metadata_is_the_first_models(void **state)
{
    (void)state;
    struct err err = {0};
    struct str text;
    const char *out = image_path("out.gguf");
    const struct model_merge how = {
        .inputs = pair, .input_count = 2, .target = gguf_mix_find(STR("Q8_0"))};
    assert_true(try_merge(out, &how, 2, &err));
    struct gguf *gguf = gguf_open(out, &err);
    assert_true(gguf_get_str(gguf, STR("general.name"), &text, NULL, &err));
    assert_true(str_eq(text, STR("a")));
    assert_true(gguf_get_str(gguf, STR("general.base_model.1.name"), &text, NULL, &err));
    assert_true(str_eq(text, STR("b")));
    assert_int_equal(gguf_find_tensor(gguf, STR("blk.0.attn_q.weight"))->type, DTYPE_Q8_0);
    assert_int_equal(gguf_find_tensor(gguf, STR("blk.0.attn_norm.weight"))->type, DTYPE_F32);
    assert_int_equal(gguf_find_tensor(gguf, STR("rope_freqs.weight"))->type, DTYPE_F32);
    gguf_close(gguf);
    unlink(out);
}

static void refused(const struct model_merge *how, const char *wanted)
{
    struct err err;
    char out[256];
    snprintf(out, sizeof out, "%s/out.gguf", image_folder);
    assert_false(try_merge(out, how, 2, &err));
    if (!strstr(err.text, wanted)) {
        fail_msg("wanted \"%s\"\n   got \"%s\"", wanted, err.text);
    }
    assert_false(os_path_exists(out));
}

static void requests_without_sense_are_refused(void **state)
{
    (void)state;
    const char *base = DATA "base.gguf";
    const struct model_merge_input zero[] = {{pair[0].path, 1}, {pair[1].path, -1}};
    const struct model_merge_input none[] = {{pair[0].path, 0}, {pair[1].path, 0}};
    const struct model_merge_input nan[] = {{pair[0].path, NAN}, {pair[1].path, 1}};
    struct model_merge how = {.inputs = pair, .input_count = 1, .lambda = 1, .density = 0.2};
    refused(&how, "merges 2 to 16 models, not 1");
    how.input_count = 2;
    how.base = base;
    refused(&how, "has no base");
    how.base = NULL;
    how.inputs = zero;
    refused(&how, "the weights sum to 0");
    how.inputs = none;
    refused(&how, "all weights are 0");
    how.inputs = nan;
    refused(&how, "finite numbers");
    how.method = MODEL_MERGE_SLERP;
    how.inputs = zero;
    refused(&how, "no negative weight");
    how.inputs = pair;
    how.input_count = 3;
    refused(&how, "merges 2 to 2 models, not 3");
    how.input_count = 2;
    how.method = MODEL_MERGE_TIES;
    refused(&how, "needs a base");
    how.base = base;
    const double densities[] = {0, -0.5, 1.5, NAN, INFINITY};
    for (size_t i = 0; i < sizeof densities / sizeof *densities; i++) {
        how.density = densities[i];
        refused(&how, "the density must be above 0 and at most 1");
    }
    how.density = 1;
    how.lambda = INFINITY;
    refused(&how, "lambda");
}

/* A model of one 32 x rows tensor of F32 and one vector of rope. */
struct sketch {
    const char *architecture, *key, *token, *name;
    uint32_t rows, heads;
    float value, rope;
};

static void save_sketch(const char *path, const struct sketch *s)
{
    struct buf b = {0};
    image_head(&b, 3, 2, 3);
    image_key_str(&b, "general.architecture", s->architecture);
    image_key_u32(&b, s->key, s->heads);
    image_key(&b, "tokenizer.ggml.tokens", GGUF_ARRAY);
    image_u32(&b, GGUF_STRING);
    image_u64(&b, 2);
    image_str(&b, "a");
    image_str(&b, s->token);
    image_tensor(&b, s->name, DTYPE_F32, 2, IMAGE_DIMS(32, s->rows), 0);
    image_tensor(&b, "rope_freqs.weight", DTYPE_F32, 1, IMAGE_DIMS(1), 128ull * s->rows);
    image_pad(&b, 32);
    for (uint32_t i = 0; i < 32 * s->rows; i++) {
        float value = i == 35 ? s->value : 1;
        image_bytes(&b, &value, sizeof value);
    }
    image_bytes(&b, &s->rope, sizeof s->rope);
    image_pad(&b, 32);
    image_save(&b, path, 0);
    buf_deinit(&b);
}

static void models_that_do_not_fit_are_named(void **state)
{
    (void)state;
    const struct sketch good = {"llama", "llama.heads", "b", "x.weight", 2, 4, 1, 1};
    const struct {
        struct sketch other;
        const char *wanted;
    } cases[] = {
        {{"qwen2", "qwen2.heads", "b", "x.weight", 2, 4, 1, 1}, "\"llama\" and \"qwen2\""},
        {{"llama", "llama.heads", "b", "x.weight", 2, 5, 1, 1}, "\"llama.heads\" differs"},
        {{"llama", "llama.tails", "b", "x.weight", 2, 4, 1, 1}, "has \"llama.heads\""},
        {{"llama", "llama.heads", "c", "x.weight", 2, 4, 1, 1}, "from item 1 on"},
        {{"llama", "llama.heads", "b", "y.weight", 2, 4, 1, 1}, "has the tensor \"x.weight\""},
        {{"llama", "llama.heads", "b", "x.weight", 3, 4, 1, 1},
         "is 32x2x1x1 in one model and 32x3x1x1 in the other"},
        {{"llama", "llama.heads", "b", "x.weight", 2, 4, NAN, 1},
         "other.gguf: tensor \"x.weight\" at byte 256: element 3 of row 1 is no finite number"},
        {{"llama", "llama.heads", "b", "x.weight", 2, 4, INFINITY, 1}, "no finite number"},
        {{"llama", "llama.heads", "b", "x.weight", 2, 4, 1, 2},
         "\"rope_freqs.weight\" cannot be merged and differs"},
    };
    const char *a = image_path("a.gguf"), *other = image_path("other.gguf");
    const struct model_merge_input inputs[] = {{a, 1}, {other, 1}};
    struct model_merge how = {.inputs = inputs, .input_count = 2, .lambda = 1, .density = 0.5};
    save_sketch(a, &good);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        save_sketch(other, &cases[i].other);
        refused(&how, cases[i].wanted);
        how.method = MODEL_MERGE_TIES; /* what has no value may not vanish in a trimmed element */
        how.base = a;
        refused(&how, cases[i].wanted);
        how.method = MODEL_MERGE_LINEAR;
        how.base = NULL;
    }
    unlink(a);
    unlink(other);
}

static void what_the_type_cannot_hold_is_named(void **state)
{
    (void)state;
    const struct sketch large = {"llama", "llama.heads", "b", "x.weight", 2, 4, 3e38F, 1};
    const char *a = image_path("a.gguf"), *b = image_path("b.gguf");
    const struct model_merge_input inputs[] = {{a, 1}, {b, 1}};
    struct model_merge how = {.inputs = inputs, .input_count = 2, .is_plain_sum = true};
    save_sketch(a, &large);
    save_sketch(b, &large);
    refused(&how, "tensor \"x.weight\": element 3 of row 1 becomes inf, which F32 cannot hold");
    how.is_plain_sum = false;
    how.target = gguf_mix_find(STR("F16"));
    refused(&how, "which F16 cannot hold");
    unlink(a);
    unlink(b);
}

static void an_input_is_no_output(void **state)
{
    (void)state;
    struct err err;
    const struct sketch good = {"llama", "llama.heads", "b", "x.weight", 2, 4, 1, 1};
    const char *a = image_path("a.gguf"), *b = image_path("b.gguf");
    const struct model_merge_input inputs[] = {{a, 1}, {b, 1}};
    const struct model_merge how = {.inputs = inputs, .input_count = 2};
    save_sketch(a, &good);
    save_sketch(b, &good);
    assert_false(try_merge(b, &how, 1, &err));
    assert_non_null(strstr(err.text, "is the input itself"));
    unlink(a);
    unlink(b);
}

/* A file that may not grow past some KiB, as on a full disk: an error, and nothing is left. */
static void a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    struct rlimit old, small;
    const struct model_merge how = {.inputs = pair, .input_count = 2};
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){.rlim_cur = 20000, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    refused(&how, "write");
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_give_what_their_papers_say),
        cmocka_unit_test(metadata_is_the_first_models),
        cmocka_unit_test(requests_without_sense_are_refused),
        cmocka_unit_test(models_that_do_not_fit_are_named),
        cmocka_unit_test(what_the_type_cannot_hold_is_named),
        cmocka_unit_test(an_input_is_no_output),
        cmocka_unit_test(a_full_disk_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
