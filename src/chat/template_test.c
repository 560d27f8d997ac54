/* Goldens made by Jinja2: real templates on conversations, and small cases of the whole language.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "chat/template.h"

enum { CLOCK_S = 1753531200, FILE_BYTES_MAX = 64 << 20 }; /* 2025-07-26 12:00:00 */

static json_t *load_json(const char *folder, const char *name)
{
    char path[1024];
    struct err err = {0};
    size_t len;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    char *bytes = os_file_slurp(path, FILE_BYTES_MAX, &len, &err);
    if (!bytes) {
        fail_msg("%s", err.text);
    }
    json_t *json = json_parse((struct str){bytes, len}, NULL, &err);
    mem_free(bytes);
    if (!json) {
        fail_msg("%s: %s", path, err.text);
    }
    return json;
}

/* Renders; the text or the error's message is left in `out` (mem_free it). */
static bool render(struct str source, const json_t *context, char **out, size_t *len)
{
    struct err err = {0};
    struct chat_text text;
    struct chat_render_opts opts = {.context = context, .has_clock = true, .clock_s = CLOCK_S};
    struct chat_template *tmpl = chat_template_compile(source, NULL, &err);
    bool good = tmpl && chat_template_render(tmpl, &opts, &text, &err);
    if (good) {
        *out = buf_take(&text.text, len);
        chat_text_deinit(&text);
    } else {
        assert_int_equal(err.code, ERR_TEMPLATE);
        *out = mem_copy(err.text, strlen(err.text));
        *len = strlen(err.text);
    }
    chat_template_destroy(tmpl);
    assert_non_null(*out);
    return good;
}

/* 1 when the outcome is not the expected one. */
static int compare(const char *label, struct str source, const json_t *context,
                   const json_t *expected)
{
    char *got;
    size_t len;
    bool good = render(source, context, &got, &len);
    const json_t *text = json_object_get(expected, "text");
    const char *error = json_string_value(json_object_get(expected, "error"));
    const char *message = json_string_value(json_object_get(expected, "message"));
    bool same;
    if (text) {
        same = good && str_eq(json_str(text), (struct str){got, len});
    } else {
        same = !good;
        if (strcmp(error, "TemplateError") == 0) {
            same = same && strcmp(got, message) == 0;
        } else if (strcmp(error, "UndefinedError") == 0 || strcmp(error, "SecurityError") == 0) {
            same = same && (strstr(got, message) != NULL || strstr(message, "super") != NULL ||
                            strstr(message, "parent block") != NULL ||
                            strstr(message, "'type' object") != NULL);
        }
    }
    if (!same) {
        print_message("%s\n  want %s\n  got  %s\n", label, text ? json_string_value(text) : message,
                      got);
    }
    mem_free(got);
    return !same;
}

static int run_folder(const char *folder)
{
    json_t *root = load_json(folder, "goldens.json");
    json_t *templates = json_object_get(root, "templates"), *cases = json_object_get(root, "cases");
    const char *file, *name;
    json_t *rows, *expected;
    int bad = 0, count = 0;
    json_object_foreach(templates, file, rows)
    {
        char path[1024], label[1024];
        struct err err;
        size_t len;
        snprintf(path, sizeof(path), "%s/%s", folder, file);
        char *source = os_file_slurp(path, FILE_BYTES_MAX, &len, &err);
        assert_non_null(source);
        json_object_foreach(rows, name, expected)
        {
            json_t *context = json_copy(json_object_get(cases, name));
            json_object_set(context, "bos_token", json_object_get(root, "bos_token"));
            json_object_set(context, "eos_token", json_object_get(root, "eos_token"));
            snprintf(label, sizeof(label), "%s: %s", file, name);
            bad += compare(label, (struct str){source, len}, context, expected);
            count++;
            json_decref(context);
        }
        mem_free(source);
    }
    json_decref(root);
    print_message("%d renderings\n", count);
    assert_true(count > 0);
    return bad;
}

static void test_real_templates(void **state)
{
    (void)state;
    assert_int_equal(run_folder(TEST_DATA "/templates"), 0);
}

/* More templates than are kept here: a folder with goldens.json made by make_goldens.py. */
static void test_more_templates(void **state)
{
    (void)state;
    const char *folder = getenv("HEARTH_TEMPLATE_DIR");
    if (!folder) {
        print_message("HEARTH_TEMPLATE_DIR is not set: no more templates\n");
        skip();
    }
    assert_int_equal(run_folder(folder), 0);
}

static void test_language(void **state)
{
    (void)state;
    json_t *root = load_json(TEST_DATA "/templates", "jinja_cases.json");
    const json_t *context = json_object_get(root, "context");
    json_t *row;
    size_t i;
    int bad = 0;
    json_array_foreach(json_object_get(root, "cases"), i, row)
    {
        struct str source = json_str(json_object_get(row, "src"));
        bad += compare(json_string_value(json_object_get(row, "src")), source, context, row);
    }
    json_decref(root);
    assert_true(i > 1000);
    assert_int_equal(bad, 0);
}

/* A million tokens of text: no bound of a template may refuse what a long context takes, nor may it
 * be slow. 4 MiB take under 0.2 s in an optimised build. */
static void test_long_message(void **state)
{
    static const char words[] = "The <think>quick</think> na\xC3\xAFve fox. \n";
    enum { BYTES = 4 << 20, WORD = sizeof(words) - 1 };
    (void)state;
    json_t *root = load_json(TEST_DATA "/templates", "goldens.json"), *rows;
    const char *file;
    char *bytes = mem_alloc(BYTES, 1);
    assert_non_null(bytes);
    for (size_t i = 0; i + WORD <= BYTES; i += WORD) {
        memcpy(bytes + i, words, WORD);
    }
    const size_t len = (size_t)BYTES / WORD * WORD;
    json_t *content = json_stringn(bytes, len);
    assert_non_null(content);
    json_t *context =
        json_pack("{s:[{s:s,s:o}],s:b,s:s,s:s}", "messages", "role", "user", "content", content,
                  "add_generation_prompt", 1, "bos_token", "<s>", "eos_token", "</s>");
    json_object_foreach(json_object_get(root, "templates"), file, rows)
    {
        char path[1024], *got;
        struct err err;
        size_t source_len, got_len;
        snprintf(path, sizeof(path), TEST_DATA "/templates/%s", file);
        char *source = os_file_slurp(path, FILE_BYTES_MAX, &source_len, &err);
        assert_non_null(source);
        if (!render((struct str){source, source_len}, context, &got, &got_len)) {
            fail_msg("%s: %s", file, got);
        }
        assert_true(got_len >= len - 2); /* some trim */
        mem_free(got);
        mem_free(source);
    }
    json_decref(context);
    json_decref(root);
    mem_free(bytes);
}

/* Every allocation fails once: an error, no leak, no crash. */
static void test_no_memory(void **state)
{
    (void)state;
    struct str source = STR("{% macro m(x) %}{{ x|upper }}{% endmacro %}{% for k, v in d.items() %}"
                            "{% set y = m(k) ~ v|tojson %}{{ y|join(',') }}{{ '%s' % y }}"
                            "{% endfor %}{{ d|dictsort }}{{ 'x' * 5000 }}");
    json_t *context = json_pack("{s:{s:i,s:[s]}}", "d", "a", 1, "b", "c");
    bool done = false;
    for (long n = 0; n < 500 && !done; n++) {
        struct err err = {0};
        struct chat_text text;
        struct chat_render_opts opts = {.context = context};
        mem_fail_after(n);
        struct chat_template *tmpl = chat_template_compile(source, NULL, &err);
        done = tmpl && chat_template_render(tmpl, &opts, &text, &err);
        mem_fail_after(-1);
        if (done) {
            chat_text_deinit(&text);
        } else {
            assert_int_equal(err.code, ERR_MEMORY);
        }
        chat_template_destroy(tmpl);
    }
    assert_true(done);
    json_decref(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_templates), cmocka_unit_test(test_more_templates),
        cmocka_unit_test(test_language),       cmocka_unit_test(test_long_message),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
