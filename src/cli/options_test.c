/* The table-driven command line: forms, ranges, operands, faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/line.h"
#include "cli/options.h"
#include "cli/sampling.h"

struct values {
    uint32_t count, window;
    uint64_t seed;
    float number;
    const char *text;
    struct cli_texts texts;
    bool flag, has_seed;
    struct route_local_params local;
};

static const struct cli_option rows[] = {
    {.kind = CLI_TITLE, .help = "Things"},
    {"count", "number-of", 'c', CLI_COUNT, .offset = offsetof(struct values, count), .low = 1,
     .high = 10, .value_name = "N", .help = "how many"},
    {"window", NULL, 'w', CLI_WINDOW, .offset = offsetof(struct values, window), .help = "back"},
    {"seed", NULL, 's', CLI_SEED, .offset = offsetof(struct values, seed),
     .is_set = offsetof(struct values, has_seed), .help = "seed"},
    {"number", NULL, 'x', CLI_NUMBER, .offset = offsetof(struct values, number), .low = -2,
     .high = 2, .help = "real"},
    {"text", NULL, 'p', CLI_TEXT, .offset = offsetof(struct values, text), .help = "words"},
    {"each", NULL, 0, CLI_TEXTS, .offset = offsetof(struct values, texts), .help = "many"},
    {"flag", NULL, 'f', CLI_FLAG, .offset = offsetof(struct values, flag), .help = "yes"},
};

static bool parse(struct values *v, struct err *err, const char **operands, size_t *count,
                  const char *const *args)
{
    struct cli_table table = {.count = 0};
    char *argv[32] = {(char *)"test"};
    int argc = 1;
    for (; args[argc - 1]; argc++) {
        argv[argc] = (char *)args[argc - 1];
    }
    *v = (struct values){.local = {.cpu_level = CPU_AVX512}};
    cli_table_add(&table, rows, sizeof rows / sizeof *rows, 0);
    cli_table_add(&table, cli_local_options, cli_local_option_count,
                  offsetof(struct values, local));
    return cli_options_parse(&table, v, argc, argv, operands, 2, count, err);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_forms(void **state)
{
    (void)state;
    struct values v;
    struct err err;
    const char *operands[2];
    size_t count;
    assert_true(parse(&v, &err, operands, &count,
                      ARGS("model", "--count", "3", "-x", "-1.5", "--text=a=b", "prompt", "-f")));
    assert_int_equal(v.count, 3);
    assert_true(v.number == -1.5f);
    assert_string_equal(v.text, "a=b");
    assert_true(v.flag);
    assert_false(v.has_seed);
    assert_int_equal(count, 2);
    assert_string_equal(operands[0], "model");
    assert_string_equal(operands[1], "prompt");

    assert_true(parse(&v, &err, operands, &count,
                      ARGS("-c7", "--seed", "18446744073709551615", "-w", "-1", "--each", "",
                           "--each", "-f", "--", "-f", "--count")));
    assert_int_equal(v.count, 7);
    assert_true(v.seed == UINT64_MAX && v.has_seed);
    assert_true(v.window == UINT32_MAX);
    assert_int_equal(v.texts.count, 2);
    assert_int_equal(v.texts.items[0].len, 0);
    assert_true(str_eq(v.texts.items[1], STR("-f")));
    assert_false(v.flag);
    assert_int_equal(count, 2);
    assert_string_equal(operands[1], "--count");

    assert_true(parse(&v, &err, operands, &count, ARGS("--number-of=10", "-", "--kv", "bf16")));
    assert_int_equal(v.count, 10);
    assert_string_equal(operands[0], "-");
    assert_int_equal(v.local.kv_type, KV_BF16);
    assert_true(parse(&v, &err, operands, &count, ARGS("--cpu-level", "avx2")));
    assert_int_equal(v.local.cpu_level, CPU_AVX2);
    assert_true(parse(&v, &err, operands, &count, ARGS("--cpu-level", "neon")));
    assert_int_equal(v.local.cpu_level, CPU_AVX512); /* never raised */
}

static void test_faults(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"--count", "0"},
        {"--count", "11"},
        {"--count", "3x"},
        {"--count", "-1"},
        {"--count", ""},
        {"--count"},
        {"-c"},
        {"--number", "nan"},
        {"--number", "inf"},
        {"--number", "2.1"},
        {"--number", ""},
        {"--window", "-2"},
        {"--seed", "1.5"},
        {"--nothing"},
        {"-z"},
        {"--flag=1"},
        {"--kv", "f8"},
        {"--cpu-level", "x"},
        {"--threads", "257"},
        {"--", "a", "b"},
        {"--count=4294967297"},
        {"--seed", "18446744073709551616"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct values v;
        struct err err = {0};
        const char *operands[2];
        size_t count;
        const char *args[] = {"one", wrong[i][0], wrong[i][1], wrong[i][2], NULL};
        if (wrong[i][1] && !wrong[i][2]) {
            args[3] = NULL;
        }
        assert_false(parse(&v, &err, operands, &count, args));
        assert_int_equal(err.code, ERR_USAGE);
    }
}

static void test_sampling(void **state)
{
    (void)state;
    struct err err = {0};
    struct cli_sampling s;
    cli_sampling_init(&s);
    s.bias_texts.items[s.bias_texts.count++] = STR("15043+1.5");
    s.bias_texts.items[s.bias_texts.count++] = STR("7-2");
    s.bias_texts.items[s.bias_texts.count++] = STR("9-inf");
    assert_true(cli_sampling_finish(&s, &err));
    assert_int_equal(s.engine.bias_count, 3);
    assert_int_equal(s.engine.biases[0].id, 15043);
    assert_true(s.engine.biases[0].bias == 1.5f);
    assert_true(s.engine.biases[1].bias == -2);
    assert_true(s.engine.biases[2].bias == -INFINITY);
    assert_int_equal(s.engine.dry_breaker_count, 4);
    static const char *const wrong[] = {"",     "5",   "+1",    "5+",    "5+x",
                                        "-5+1", "5*3", "5+inf", "5+1000"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cli_sampling_init(&s);
        s.bias_texts.items[s.bias_texts.count++] = str_of(wrong[i]);
        assert_false(cli_sampling_finish(&s, &err));
    }
    cli_sampling_init(&s);
    s.breakers.items[s.breakers.count++] = STR("none");
    assert_true(cli_sampling_finish(&s, &err));
    assert_int_equal(s.engine.dry_breaker_count, 0);
    cli_sampling_init(&s);
    s.mirostat = 1;
    assert_false(cli_sampling_finish(&s, &err));
    cli_sampling_init(&s);
    s.engine.temperature = 2.5f;
    assert_false(cli_sampling_finish(&s, &err));
    assert_string_equal(err.param, "temperature");
}

static void expect_path(const char *state_home, const char *home, const char *want)
{
    char *path = cli_line_history_path(state_home, home);
    if (want) {
        assert_string_equal(path, want);
    } else {
        assert_null(path);
    }
    mem_free(path);
}

static void test_history_path(void **state)
{
    (void)state;
    expect_path("/s", "/h", "/s/hearth/history");
    expect_path(NULL, "/h", "/h/.local/state/hearth/history");
    expect_path("", "/h", "/h/.local/state/hearth/history");
    expect_path("relative", "/h", "/h/.local/state/hearth/history");
    expect_path(NULL, NULL, NULL);
    expect_path("", "", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_history_path),
    };
    return cmocka_run_group_tests_name("cli/options", tests, NULL, NULL);
}
