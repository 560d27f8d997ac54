/* The settings table: every row through file, environment and flags in their order, and through bad
 * values; the readers of config files; and that docs/settings.md is what the table says (run with
 * HEARTH_WRITE_DOCS=1 to write it). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "server/settings.h"

/* Three valid texts of a setting, none of which is its default. */
static void samples(const struct server_setting *setting, char out[3][64])
{
    struct str words = str_of(setting->choices);
    for (int i = 0; i < 3; i++) {
        switch (setting->kind) {
        case SERVER_SET_INT:
        case SERVER_SET_SECONDS:
            snprintf(out[i], 64, "%d", (int)setting->min + 3 + i);
            break;
        case SERVER_SET_CHOICE: {
            struct str word = str_cut(&words, ' ');
            if (str_eq(word, str_of(setting->default_text))) {
                word = str_cut(&words, ' ');
            }
            snprintf(out[i], 64, "%.*s", STR_ARG(word));
            break;
        }
        case SERVER_SET_TEXT:
        case SERVER_SET_LIST:
            snprintf(out[i], 64, "text%d", i);
            break;
        }
    }
}

/* The value as text. */
static void value_of(const struct server_settings *settings, const struct server_setting *setting,
                     char out[256])
{
    const void *slot = (const char *)settings + setting->offset;
    const struct server_list *list = slot;
    const struct str *text = slot;
    out[0] = 0;
    switch (setting->kind) {
    case SERVER_SET_INT:
        snprintf(out, 256, "%llu", (unsigned long long)*(const uint64_t *)slot);
        break;
    case SERVER_SET_SECONDS:
        snprintf(out, 256, "%g", *(const double *)slot);
        break;
    case SERVER_SET_TEXT:
    case SERVER_SET_CHOICE:
        snprintf(out, 256, "%.*s", STR_ARG(*text));
        break;
    case SERVER_SET_LIST:
        for (size_t i = 0; i < list->count; i++) {
            size_t used = strlen(out);
            snprintf(out + used, 256 - used, "%s%.*s", i ? "," : "", STR_ARG(list->items[i]));
        }
        break;
    }
}

static void write_file(char path[64], const char *suffix, const char *text)
{
    static int number;
    snprintf(path, 64, "/tmp/hearth-settings-%d-%d%s", (int)getpid(), number++, suffix);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

struct layers {
    const char *file, *suffix;  /* text of the config file; NULL: none */
    const char *environment[4]; /* NAME=value */
    const char *flags[8];
};

static bool read_layers(const struct layers *layers, struct server_settings *out, struct err *err)
{
    char path[64] = "";
    const char *flags[12];
    int count = 0;
    if (layers->file) {
        write_file(path, layers->suffix, layers->file);
        flags[count++] = "--config";
        flags[count++] = path;
    }
    for (int i = 0; layers->flags[i]; i++) {
        flags[count++] = layers->flags[i];
    }
    struct server_settings_source source = {
        .argc = count, .argv = (char *const *)(uintptr_t)flags, .environment = layers->environment};
    bool ok = server_settings_read(out, &source, err);
    if (path[0]) {
        unlink(path);
    }
    return ok;
}

static void expect_setting(const struct layers *layers, const struct server_setting *setting,
                           const char *wanted, bool is_given)
{
    struct server_settings settings;
    struct err err = {0};
    char got[256];
    if (!read_layers(layers, &settings, &err)) {
        fail_msg("%s: %s", setting->name, err.text);
    }
    value_of(&settings, setting, got);
    assert_string_equal(got, wanted);
    assert_int_equal(server_settings_is_given(&settings, setting->name), is_given);
    server_settings_deinit(&settings);
}

/* Writes NAME: value as YAML and as TOML, the value quoted where it is a text. */
static void file_texts(const struct server_setting *setting, const char *value, char yaml[128],
                       char toml[128])
{
    bool is_number = setting->kind == SERVER_SET_INT || setting->kind == SERVER_SET_SECONDS;
    const char *quote = is_number ? "" : "\"";
    snprintf(yaml, 128, "# comment\n%s: %s\n", setting->name, value);
    snprintf(toml, 128, "# comment\n%s = %s%s%s\n", setting->name, quote, value, quote);
}

static void every_setting_goes_through_all_layers(void **state)
{
    (void)state;
    for (const struct server_setting *setting = server_setting_table; setting->name; setting++) {
        char value[3][64], flag[64], env[64], variable[160], yaml[128], toml[128];
        samples(setting, value);
        server_setting_flag(setting, flag);
        server_setting_env(setting, env);
        snprintf(variable, sizeof variable, "%s=%s", env, value[1]);
        file_texts(setting, value[0], yaml, toml);
        expect_setting(&(struct layers){0}, setting, setting->default_text, false);
        expect_setting(&(struct layers){.file = yaml, .suffix = ".yaml"}, setting, value[0], true);
        expect_setting(&(struct layers){.file = toml, .suffix = ".toml"}, setting, value[0], true);
        expect_setting(&(struct layers){.file = yaml, .suffix = "", .environment = {variable}},
                       setting, value[1], true);
        expect_setting(&(struct layers){.file = yaml,
                                        .suffix = ".yml",
                                        .environment = {variable},
                                        .flags = {flag, value[2]}},
                       setting, value[2], true);
        char joined[160], empty[96];
        snprintf(joined, sizeof joined, "%s=%s", flag, value[2]);
        snprintf(empty, sizeof empty, "%s=", env);
        expect_setting(&(struct layers){.environment = {empty}, .flags = {joined}}, setting,
                       value[2], true);
        expect_setting(&(struct layers){.environment = {empty}}, setting, setting->default_text,
                       false);
    }
}

static void refuses(const struct layers *layers, const char *part)
{
    struct server_settings settings;
    struct err err = {0};
    bool ok = read_layers(layers, &settings, &err);
    server_settings_deinit(&settings);
    if (ok || err.code != ERR_USAGE || !strstr(err.text, part)) {
        fail_msg("wanted \"%s\", got: %s", part, ok ? "success" : err.text);
    }
}

static void bad_texts(const struct server_setting *setting, char out[4][64])
{
    bool is_int = setting->kind == SERVER_SET_INT;
    snprintf(out[0], 64, "%s", "no such word");
    snprintf(out[1], 64, is_int ? "1.5" : "nan");
    snprintf(out[2], 64, is_int ? "%.0f" : "%.1f", setting->max + 1);
    snprintf(out[3], 64, "%g", setting->min - 1);
}

static void every_setting_refuses_bad_values(void **state)
{
    (void)state;
    for (const struct server_setting *setting = server_setting_table; setting->name; setting++) {
        char bad[4][64], flag[64], env[64], variable[512], yaml[512];
        server_setting_flag(setting, flag);
        server_setting_env(setting, env);
        bool is_free = setting->kind == SERVER_SET_TEXT || setting->kind == SERVER_SET_LIST;
        int count = is_free ? 0 : setting->kind == SERVER_SET_CHOICE ? 2 : 4;
        bad_texts(setting, bad);
        for (int i = 0; i < count; i++) {
            snprintf(variable, sizeof variable, "%s=%s", env, bad[i]);
            snprintf(yaml, sizeof yaml, "\n%s: %s\n", setting->name, bad[i]);
            refuses(&(struct layers){.flags = {flag, bad[i]}}, flag);
            refuses(&(struct layers){.environment = {variable}}, env);
            refuses(&(struct layers){.file = yaml, .suffix = ""}, ":2: ");
        }
        refuses(&(struct layers){.flags = {flag}}, "needs a value");
        snprintf(yaml, sizeof yaml, "%s: true\n", setting->name);
        refuses(&(struct layers){.file = yaml, .suffix = ""}, " must be ");
        snprintf(yaml, sizeof yaml, "%s:\n", setting->name);
        refuses(&(struct layers){.file = yaml, .suffix = ""}, " must be ");
        snprintf(yaml, sizeof yaml, "%s:\n  a: 1\n", setting->name);
        refuses(&(struct layers){.file = yaml, .suffix = ""}, "without nesting");
        snprintf(yaml, sizeof yaml, "%s: 1\n%s: 1\n", setting->name, setting->name);
        refuses(&(struct layers){.file = yaml, .suffix = ""}, "twice");
        snprintf(yaml, sizeof yaml, "%s = 1979-05-27\n", setting->name);
        refuses(&(struct layers){.file = yaml, .suffix = ".toml"}, ":1: ");
        if (setting->kind == SERVER_SET_LIST) {
            refuses(&(struct layers){.flags = {flag, ""}}, "empty");
        }
    }
}

static void lists_are_replaced_and_repeated(void **state)
{
    (void)state;
    const struct server_setting *model = server_setting_table;
    struct layers layers = {.file = "model: [a, b]\n", .suffix = ""};
    expect_setting(&layers, model, "a,b", true);
    layers.environment[0] = "HEARTH_MODEL=c, d";
    expect_setting(&layers, model, "c,d", true);
    layers.flags[0] = "e";
    layers.flags[1] = "--model";
    layers.flags[2] = "f=g";
    layers.flags[3] = "--";
    layers.flags[4] = "--model";
    expect_setting(&layers, model, "e,f=g,--model", true);
}

static void secrets_are_not_shown(void **state)
{
    struct server_settings settings;
    struct err err = {0};
    (void)state;
    struct layers layers = {.environment = {"HEARTH_API_KEY=hush,,hush"}};
    assert_false(read_layers(&layers, &settings, &err));
    assert_null(strstr(err.text, "hush"));
    server_settings_deinit(&settings);
}

static void unknown_names_are_refused(void **state)
{
    (void)state;
    refuses(&(struct layers){.flags = {"--prot", "1"}}, "--prot");
    refuses(&(struct layers){.flags = {"-p", "1"}}, "-p");
    refuses(&(struct layers){.file = "port: 1\nprot: 1\n", .suffix = ""}, ":2: prot");
    refuses(&(struct layers){.file = "port = 1\nprot = 1\n", .suffix = ".toml"}, ":2: prot");
    refuses(&(struct layers){.file = "[server]\nport = 1\n", .suffix = ".toml"}, ":1: ");
}

/* YAML 1.2's core schema, and what is left out of YAML on purpose. */
static void yaml_scalars(void **state)
{
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"a: no\nb: 010\nc: 0o10\nd: 0x1F\ne: +5\nf: 1.5\ng: 1e3\nh: ~\ni: True\n",
         "{\"a\":\"no\",\"b\":10,\"c\":8,\"d\":31,\"e\":5,\"f\":1.5,\"g\":1000.0,\"h\":null,"
         "\"i\":true}"},
        {"a: \"1\"\nb: '2'\nc: |\n  three\nd: 1_000\ne: .inf\nf: 12:30:45\n",
         "{\"a\":\"1\",\"b\":\"2\",\"c\":\"three\\n\",\"d\":\"1_000\",\"e\":\".inf\","
         "\"f\":\"12:30:45\"}"},
        {"a: [1, x, 'y']\nb:\n- 1\n- 2\n", "{\"a\":[1,\"x\",\"y\"],\"b\":[1,2]}"},
        {"", "{}"},
        {"# nothing\n", "{}"},
        {"---\na: 1\n...\n", "{\"a\":1}"},
        {"a: &b 1\n", NULL},
        {"a: !!str 1\n", NULL},
        {"a: [[1]]\n", NULL},
        {"a: {b: 1}\n", NULL},
        {"- a\n", NULL},
        {"a: 1\n---\nb: 2\n", NULL},
        {"a: \"\n", NULL},
        {"a: b: c\n", NULL},
        {"? [a]\n: b\n", NULL},
        {"just text", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *values = NULL, *lines = NULL;
        char message[256];
        struct buf got = {0};
        bool ok = server_yaml_read(str_of(cases[i].text), &values, &lines, message);
        if (ok) {
            json_write(&got, values);
        }
        assert_int_equal(ok, cases[i].json != NULL);
        if (ok) {
            assert_string_equal(got.ptr, cases[i].json);
        } else {
            assert_true(message[0] >= '1' && message[0] <= '9');
        }
        buf_deinit(&got);
        json_decref(values);
        json_decref(lines);
    }
}

static void page_is_current(void **state)
{
    static const char path[] = TEST_ROOT "/docs/settings.md";
    struct buf page = {0};
    struct err err = {0};
    size_t len = 0;
    (void)state;
    server_settings_page(&page);
    assert_false(page.failed);
    if (getenv("HEARTH_WRITE_DOCS")) {
        struct os_out out;
        assert_true(os_out_open(&out, path, &err) && os_out_write(&out, page.ptr, page.len, &err) &&
                    os_out_commit(&out, &err));
    }
    char *kept = os_file_slurp(path, 1 << 20, &len, &err);
    if (!kept || len != page.len || memcmp(kept, page.ptr, len) != 0) {
        fail_msg("docs/settings.md is not current; run this test with HEARTH_WRITE_DOCS=1");
    }
    mem_free(kept);
    buf_deinit(&page);
}

static void help_has_every_flag(void **state)
{
    struct buf help = {0};
    (void)state;
    server_settings_help(&help);
    for (const struct server_setting *setting = server_setting_table; setting->name; setting++) {
        char flag[64];
        server_setting_flag(setting, flag);
        assert_true(str_find(buf_view(&help), str_of(flag), 0) != SIZE_MAX);
    }
    buf_deinit(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_goes_through_all_layers),
        cmocka_unit_test(every_setting_refuses_bad_values),
        cmocka_unit_test(lists_are_replaced_and_repeated),
        cmocka_unit_test(secrets_are_not_shown),
        cmocka_unit_test(unknown_names_are_refused),
        cmocka_unit_test(yaml_scalars),
        cmocka_unit_test(page_is_current),
        cmocka_unit_test(help_has_every_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
