/* hearth quantize: whole files against those another implementation made, and attack A17: whatever
 * the input is, a refusal has a message that names it, a status from 1 to 63, and leaves no output.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "gguf/test_image.h"

/* Runs the command with stdout and stderr in files; the text of stderr is in `message`. */
static char message[8192];

static int quantize(const char *in, const char *out, const char *type)
{
    char *argv[] = {(char *)"quantize",  (char *)in,  (char *)out, (char *)type,
                    (char *)"--threads", (char *)"2", NULL};
    int saved[2] = {dup(1), dup(2)};
    FILE *text = tmpfile();
    fflush(NULL);
    dup2(fileno(text), 1);
    dup2(fileno(text), 2);
    int status = cli_quantize(6, argv);
    fflush(NULL);
    dup2(saved[0], 1);
    dup2(saved[1], 2);
    close(saved[0]);
    close(saved[1]);
    rewind(text);
    size_t len = fread(message, 1, sizeof message - 1, text);
    message[len] = 0;
    fclose(text);
    return status;
}

static int files_in_folder(void)
{
    int count = 0;
    DIR *folder = opendir(image_folder);
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count - 2;
}

static void assert_same_file(const char *a_path, const char *b_path)
{
    size_t a_len, b_len;
    struct err err = {0};
    char *a = os_file_slurp(a_path, 1 << 20, &a_len, &err);
    char *b = os_file_slurp(b_path, 1 << 20, &b_len, &err);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
    mem_free(a);
    mem_free(b);
}

static void files_are_those_of_gguf_py(void **state)
{
    (void)state;
    const char *const types[][2] = {
        {"F16", "f16"}, {"BF16", "BF16"}, {"Q8_0", "q8_0"}, {"Q4_0", "Q4_0"}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char golden[512];
        const char *out = image_path("out.gguf");
        snprintf(golden, sizeof golden, TEST_DATA "/gguf/convert-%s.gguf", types[i][0]);
        assert_int_equal(quantize(TEST_DATA "/gguf/convert.gguf", out, types[i][1]), 0);
        assert_non_null(strstr(message, "bits each"));
        assert_same_file(out, golden);
        assert_int_equal(quantize(TEST_DATA "/gguf/convert.gguf", out, types[i][1]), 0);
        assert_same_file(out, golden); /* an old output is replaced */
        unlink(out);
        assert_int_equal(files_in_folder(), 0);
    }
}

static void a_split_model_becomes_one_file(void **state)
{
    (void)state;
    struct err err = {0};
    const char *out = image_path("out.gguf");
    assert_int_equal(quantize(TEST_DATA "/gguf/split-00002-of-00003.gguf", out, "F16"), 0);
    struct gguf *gguf = gguf_open(out, &err);
    assert_non_null(gguf);
    assert_int_equal(gguf->tensor_count, 5);
    assert_null(gguf_find(gguf, STR("split.count")));
    assert_int_equal(gguf_find_tensor(gguf, STR("blk.4.weight"))->type, DTYPE_F16);
    gguf_close(gguf);
    unlink(out);
}

/* Status and message of a refusal; `in` may not have changed and nothing may be left. */
static void refused(const char *in, const char *out, const char *type, const char *wanted)
{
    int before = files_in_folder();
    int status = quantize(in, out, type);
    assert_in_range(status, 1, 63);
    if (!strstr(message, wanted)) {
        print_error("wanted \"%s\"\n   got \"%s\"\n", wanted, message);
        fail();
    }
    assert_int_equal(strncmp(message, "hearth: ", 8), 0);
    assert_true(strlen(message) <= 4096);
    assert_int_equal(files_in_folder(), before);
}

static void wrong_command_lines(void **state)
{
    (void)state;
    const char *in = TEST_DATA "/gguf/convert.gguf", *out = image_path("out.gguf");
    refused(in, out, "F32", "unknown type");
    refused(in, out, "Q5", "unknown type");
    refused(in, out, "--bogus", "unknown option");
    refused(in, image_folder, "F16", "is not a regular file");
    refused(in, image_path("none/out.gguf"), "F16", "create ");
    refused(image_path("missing.gguf"), out, "F16", "missing.gguf");
}

static void the_input_is_no_output(void **state)
{
    (void)state;
    struct err err = {0};
    size_t len;
    const char *in = image_path("in.gguf"), *link_path = image_path("link.gguf");
    struct buf copy = {0};
    char *bytes = os_file_slurp(TEST_DATA "/gguf/convert.gguf", 1 << 20, &len, &err);
    image_bytes(&copy, bytes, len);
    image_save(&copy, in, 0);
    refused(in, in, "F16", "is the input itself");
    assert_int_equal(symlink(in, link_path), 0);
    refused(in, link_path, "F16", "is the input itself");
    refused(link_path, in, "F16", "is the input itself");
    unlink(link_path);
    assert_int_equal(link(in, link_path), 0);
    refused(in, link_path, "F16", "is the input itself");
    assert_same_file(in, TEST_DATA "/gguf/convert.gguf");
    unlink(link_path);
    unlink(in);
    mem_free(bytes);
    buf_deinit(&copy);
}

/* A file with one 32 x 4 tensor. */
static void save_tensor(const char *path, const char *name, uint32_t type, const void *bytes,
                        size_t len)
{
    struct buf b = {0};
    image_head(&b, 3, 1, 0);
    image_tensor(&b, name, type, 2, IMAGE_DIMS(32, 4), 0);
    image_pad(&b, 32);
    image_bytes(&b, bytes, len);
    image_save(&b, path, 0);
    buf_deinit(&b);
}

static void weights_that_do_not_fit_are_named(void **state)
{
    (void)state;
    float weights[128] = {0};
    const char *out = image_path("out.gguf"), *in = image_path("in.gguf");
    weights[70] = NAN;
    save_tensor(in, "blk.0.a.weight", DTYPE_F32, weights, sizeof weights);
    refused(in, out, "Q8_0", "tensor \"blk.0.a.weight\" at byte 96: element 6 of row 2 is nan");
    weights[70] = -INFINITY;
    save_tensor(in, "blk.0.a.weight", DTYPE_F32, weights, sizeof weights);
    refused(in, out, "BF16", "element 6 of row 2 is -inf, which BF16 cannot hold");
    weights[70] = 1e5F;
    save_tensor(in, "blk.0.a.weight", DTYPE_F32, weights, sizeof weights);
    refused(in, out, "F16", "element 6 of row 2 is 100000, which F16 cannot hold");
    assert_int_equal(quantize(in, out, "Q8_0"), 0);
    unlink(out);
    save_tensor(in, "\x1b[2J.weight", DTYPE_F64, weights, sizeof weights);
    refused(in, out, "F16", "end past the end of the file");
    unlink(in);
}

static void types_without_a_decoder_are_named(void **state)
{
    (void)state;
    const char bytes[1024] = {0};
    const char *out = image_path("out.gguf"), *in = image_path("in.gguf");
    save_tensor(in, "\x1b[2J.weight", DTYPE_F64, bytes, 1024);
    refused(in, out, "F16",
            "tensor \"\\x1b[2J.weight\" at byte 96 has type F64, which hearth cannot");
    save_tensor(in, "blk.0.a.weight", DTYPE_Q8_1, bytes, 144);
    refused(in, out, "Q4_0", "has type Q8_1, which hearth cannot decode");
    save_tensor(in, "blk.0.a.table", DTYPE_I32, bytes, 512); /* not a weight: kept as it is */
    assert_int_equal(quantize(in, out, "Q4_0"), 0);
    unlink(out);
    unlink(in);
}

/* A17: the container attacks through this command. */
static void hostile_files_are_refused(void **state)
{
    (void)state;
    const char *in = image_path("attack.gguf"), *out = image_path("out.gguf");
    struct buf b = {0};
    image_save(&b, in, 0);
    refused(in, out, "F16", "only 0 bytes");
    refused("/dev/zero", out, "F16", "not a regular file");
    image_head(&b, 3, 1, 0);
    image_tensor(&b, "w.weight", 2, 2, IMAGE_DIMS(1ull << 32, 1ull << 32), 0);
    image_zeros(&b, 64);
    image_save(&b, in, 0);
    refused(in, out, "F16", "attack.gguf: tensor \"w.weight\" at byte 24");
    buf_clear(&b);
    image_head(&b, 3, 0, 0);
    image_save(&b, in, 0);
    refused(in, out, "F16", "attack.gguf: the file has no tensors");
    buf_clear(&b); /* 1 TiB of zeros that are really there, as far as the file system says */
    image_head(&b, 3, 1, 0);
    image_tensor(&b, "w.weight", DTYPE_F32, 2, IMAGE_DIMS(1 << 20, (1 << 18) - 1), 0);
    image_save(&b, in, 1ull << 40);
    refused(in, out, "F16", "bytes, but its disk has only");
    unlink(in);
    buf_deinit(&b);
}

/* Every byte of a small model changed to 0xff in turn: a status, never a signal, and either a whole
 * output or none. */
static void every_changed_byte_is_survived(void **state)
{
    (void)state;
    struct buf b = {0};
    const char *in = image_path("in.gguf"), *out = image_path("out.gguf");
    image_head(&b, 3, 2, 2);
    image_key_str(&b, "general.architecture", "llama");
    image_key_u32(&b, "general.alignment", 32);
    image_tensor(&b, "a.weight", DTYPE_Q8_0, 2, IMAGE_DIMS(32, 2), 0);
    image_tensor(&b, "norm", DTYPE_F32, 1, IMAGE_DIMS(8), 96);
    image_pad(&b, 32);
    image_zeros(&b, 128);
    for (size_t i = 0; i < b.len; i++) {
        char old = b.ptr[i];
        b.ptr[i] = (char)0xff;
        image_save(&b, in, 0);
        int status = quantize(in, out, "F16");
        assert_in_range(status, 0, 63);
        assert_int_equal(os_path_exists(out), status == 0);
        unlink(out);
        b.ptr[i] = old;
    }
    unlink(in);
    buf_deinit(&b);
    assert_int_equal(files_in_folder(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_those_of_gguf_py),
        cmocka_unit_test(a_split_model_becomes_one_file),
        cmocka_unit_test(wrong_command_lines),
        cmocka_unit_test(the_input_is_no_output),
        cmocka_unit_test(weights_that_do_not_fit_are_named),
        cmocka_unit_test(types_without_a_decoder_are_named),
        cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(every_changed_byte_is_survived),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
