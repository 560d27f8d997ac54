/* hearth eval: its JSON against the float64 reference, round-trip digits, positions, the command
 * line and its errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/cli.h"

#define MODEL TEST_GOLDEN "/llama-f32.gguf"

static char out_path[64], in_path[64];

/* Runs `eval` with up to nine arguments; what it printed to stdout, mem_free it. */
static char *run(int wanted_status, const char *const *args)
{
    char *argv[12] = {(char *)"eval"};
    struct err err = {0};
    size_t len;
    int argc = 1, saved = dup(1), fd = open(out_path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    for (; args[argc - 1]; argc++) {
        argv[argc] = (char *)args[argc - 1];
    }
    fflush(NULL);
    dup2(fd, 1);
    int status = cli_eval(argc, argv);
    fflush(NULL);
    dup2(saved, 1);
    close(saved);
    close(fd);
    assert_int_equal(status, wanted_status);
    char *text = os_file_slurp(out_path, 64 << 20, &len, &err);
    assert_non_null(text);
    return text;
}

#define RUN(status, ...) run(status, (const char *const[]){__VA_ARGS__, NULL})

static json_t *parse(char *text)
{
    struct err err = {0};
    json_t *root = json_parse(str_of(text), NULL, &err);
    assert_non_null(root);
    mem_free(text);
    return root;
}

static void expect_fault(int status, const char *const *args)
{
    char *text = run(status, args);
    assert_string_equal(text, "");
    mem_free(text);
}

#define FAULT(status, ...) expect_fault(status, (const char *const[]){__VA_ARGS__, NULL})

static json_t *read_golden(void)
{
    struct err err = {0};
    size_t len;
    char *text = os_file_slurp(TEST_GOLDEN "/llama-f32.json", 1 << 20, &len, &err);
    assert_non_null(text);
    return parse(text);
}

static char *join_tokens(const json_t *golden)
{
    struct buf text = {0};
    size_t i;
    json_t *token;
    json_array_foreach(json_object_get(golden, "tokens"), i, token)
    {
        buf_add_format(&text, "%s%d", i ? ", " : "", (int)json_integer_value(token));
    }
    return buf_take(&text, NULL);
}

static void the_logits_are_those_of_the_reference(void **state)
{
    (void)state;
    json_t *golden = read_golden(), *row;
    char *tokens = join_tokens(golden);
    json_t *shown = parse(RUN(0, MODEL, "--tokens", tokens, "--positions", "all", "--json"));
    json_t *positions = json_object_get(shown, "positions");
    double range = json_number_value(json_object_get(golden, "range"));
    size_t i;
    assert_int_equal(json_array_size(positions), 40);
    json_array_foreach(json_object_get(golden, "logits"), i, row)
    {
        size_t pos =
            (size_t)json_integer_value(json_array_get(json_object_get(golden, "positions"), i));
        const json_t *have = json_array_get(positions, pos);
        const json_t *logits = json_object_get(have, "logits");
        assert_int_equal(json_integer_value(json_object_get(have, "pos")), pos);
        assert_int_equal(json_array_size(logits), 64);
        for (size_t v = 0; v < 64; v++) {
            double want = json_number_value(json_array_get(row, v));
            double got = json_number_value(json_array_get(logits, v));
            assert_true(fabs(want - got) <= 1e-4 * range);
        }
    }
    mem_free(tokens);
    json_decref(shown);
    json_decref(golden);
}

/* The last position alone has the same digits as among all, for every way to cut the prompt. */
static void the_last_position_is_the_same(void **state)
{
    (void)state;
    char *all = RUN(0, MODEL, "--tokens", "1,2,3,4,5", "--json");
    char *last = RUN(0, "--json", "--tokens=1,2,3,4,5", MODEL, "--positions", "last");
    char *cut = RUN(0, MODEL, "--tokens", "1,2,3,4,5", "--positions", "last", "--json", "--chunk",
                    "2", "--threads", "1");
    assert_string_equal(last, cut);
    const char *tail = strstr(all, "{\"pos\":4,");
    assert_non_null(tail);
    assert_string_equal(strstr(last, "{\"pos\":4,"), tail);
    assert_null(strstr(last, "\"pos\":3"));
    mem_free(all);
    mem_free(last);
    mem_free(cut);
}

static void digits_read_back_as_the_same_float(void **state)
{
    (void)state;
    json_t *root = parse(RUN(0, MODEL, "--tokens", "7", "--json", "--cpu-level", "reference"));
    json_t *logits =
        json_object_get(json_array_get(json_object_get(root, "positions"), 0), "logits");
    for (size_t i = 0; i < 64; i++) {
        double value = json_number_value(json_array_get(logits, i));
        char digits[32];
        json_format_float((float)value, digits);
        assert_true(strtod(digits, NULL) == value);
    }
    json_decref(root);
}

static void lists_come_from_files_and_standard_input(void **state)
{
    (void)state;
    char at[80];
    FILE *file = fopen(in_path, "w");
    fputs("1,2,\n 3\n", file);
    fclose(file);
    snprintf(at, sizeof at, "@%s", in_path);
    char *plain = RUN(0, MODEL, "--tokens", "1,2,3", "--json");
    char *from_file = RUN(0, MODEL, "--tokens", at, "--json");
    int saved = dup(0), fd = open(in_path, O_RDONLY);
    dup2(fd, 0);
    char *from_stdin = RUN(0, MODEL, "--tokens", "-", "--json");
    dup2(saved, 0);
    close(saved);
    close(fd);
    assert_string_equal(plain, from_file);
    assert_string_equal(plain, from_stdin);
    mem_free(plain);
    mem_free(from_file);
    mem_free(from_stdin);
}

static void without_json_people_can_read_it(void **state)
{
    (void)state;
    char *text = RUN(0, MODEL, "--tokens", "1,2", "--kv", "f16", "--ctx", "100");
    assert_true(strncmp(text, "0:  ", 4) == 0);
    assert_non_null(strstr(text, "\n1:  "));
    mem_free(text);
    text = RUN(0, "--help");
    assert_non_null(strstr(text, "usage: hearth eval"));
    mem_free(text);
}

static void wrong_command_lines_are_refused(void **state)
{
    (void)state;
    FAULT(2, MODEL);
    FAULT(2, "--tokens", "1");
    FAULT(2, MODEL, MODEL, "--tokens", "1");
    FAULT(2, MODEL, "--tokens", "");
    FAULT(2, MODEL, "--tokens", " ");
    FAULT(2, MODEL, "--tokens", "1,,2");
    FAULT(2, MODEL, "--tokens", "1,2,");
    FAULT(2, MODEL, "--tokens", "-1");
    FAULT(2, MODEL, "--tokens", "1,x");
    FAULT(2, MODEL, "--tokens", "99999999999");
    FAULT(2, MODEL, "--tokens", "64"); /* the vocabulary has 64 tokens */
    FAULT(2, MODEL, "--tokens", "1", "--positions", "first");
    FAULT(2, MODEL, "--tokens", "1", "--kv", "q9_0");
    FAULT(2, MODEL, "--tokens", "1", "--cpu-level", "mmx");
    FAULT(2, MODEL, "--tokens", "1", "--threads", "257");
    FAULT(2, MODEL, "--tokens", "1", "--chunk", "x");
    FAULT(2, MODEL, "--tokens", "1", "--unknown");
    FAULT(2, MODEL, "--tokens");
    FAULT(7, MODEL, "--tokens", "1,2,3", "--ctx", "2");
    FAULT(5, "/nonexistent.gguf", "--tokens", "1");
    FAULT(5, MODEL, "--tokens", "@/nonexistent");
    FAULT(3, TEST_GOLDEN "/llama-f32.json", "--tokens", "1");
}

static int make_paths(void **state)
{
    (void)state;
    snprintf(out_path, sizeof out_path, "/tmp/hearth-eval-%ld.out", (long)getpid());
    snprintf(in_path, sizeof in_path, "/tmp/hearth-eval-%ld.in", (long)getpid());
    return 0;
}

static int drop_paths(void **state)
{
    (void)state;
    unlink(out_path);
    unlink(in_path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_logits_are_those_of_the_reference),
        cmocka_unit_test(the_last_position_is_the_same),
        cmocka_unit_test(digits_read_back_as_the_same_float),
        cmocka_unit_test(lists_come_from_files_and_standard_input),
        cmocka_unit_test(without_json_people_can_read_it),
        cmocka_unit_test(wrong_command_lines_are_refused),
    };
    return cmocka_run_group_tests(tests, make_paths, drop_paths);
}
