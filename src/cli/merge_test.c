/* hearth merge: weights on the command line, and refusals that leave no output. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "gguf/test_image.h"

#define A TEST_DATA "/merge/a.gguf"
#define B TEST_DATA "/merge/b.gguf"

/* Runs the command with stdout and stderr in `message`. */
static char message[8192];

static int run(const char *method, const char *out, const char *first, const char *second,
               const char *option)
{
    char *argv[] = {(char *)"merge", (char *)method, (char *)out, (char *)first,
                    (char *)second,  (char *)option, NULL};
    int saved[2] = {dup(1), dup(2)};
    FILE *text = tmpfile();
    fflush(NULL);
    dup2(fileno(text), 1);
    dup2(fileno(text), 2);
    int status = cli_merge(option ? 6 : 5, argv);
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

static void weights_stand_behind_colons(void **state)
{
    (void)state;
    struct err err;
    size_t a_len = 0, b_len = 0;
    const char *one = image_path("one.gguf"), *two = image_path("two.gguf");
    assert_int_equal(run("linear", one, A ":0.75", B ":0.25", "--json"), 0);
    assert_non_null(strstr(message, "\"method\":\"linear\",\"models\":2,\"tensors\":6,"));
    assert_int_equal(run("linear", two, A ":3", B, NULL), 0); /* the same shares */
    char *a = os_file_slurp(one, 1 << 20, &a_len, &err),
         *b = os_file_slurp(two, 1 << 20, &b_len, &err);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
    mem_free(a);
    mem_free(b);
    unlink(one);
    unlink(two);
}

static void wrong_command_lines_leave_nothing(void **state)
{
    (void)state;
    const struct {
        const char *method, *first, *second, *option, *wanted;
    } cases[] = {
        {"mean", A, B, NULL, "unknown method \"mean\""},
        {"linear", A ":1", B ":-1", NULL, "the weights sum to 0"},
        {"linear", A, B ":x", NULL, "b.gguf:x"},
        {"linear", A, B, "--type=Q5", "unknown type \"Q5\""},
        {"linear", A, B, "--base=" A, "has no base"},
        {"ties", A, B, NULL, "needs a base"},
        {"ties", A, B, "--density=1.5", "density"},
        {"linear", A, TEST_DATA "/merge/none.gguf", NULL, "none.gguf"},
    };
    const char *out = image_path("out.gguf");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = run(cases[i].method, out, cases[i].first, cases[i].second, cases[i].option);
        assert_in_range(status, 1, 63);
        if (!strstr(message, cases[i].wanted)) {
            fail_msg("wanted \"%s\"\n   got \"%s\"", cases[i].wanted, message);
        }
        assert_false(os_path_exists(out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_stand_behind_colons),
        cmocka_unit_test(wrong_command_lines_leave_nothing),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
