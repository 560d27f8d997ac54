/* hearth template: stdout is the text and nothing else, errors go to stderr with a status; FILE and
 * MODEL forms, `now`, bos and eos. What Jinja2 gives is tested in src/chat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "gguf/writer.h"

struct outcome {
    int status;
    size_t len; /* of out */
    char out[4096], errors[8192];
};

/* A temporary file with these bytes; without `path` it has no name any more. */
static int temp_file(struct str bytes, char path[64])
{
    char name[64] = "/tmp/hearth-template-XXXXXX";
    const int fd = mkstemp(name);
    assert_true(fd >= 0);
    if (path) {
        memcpy(path, name, sizeof name);
    } else {
        unlink(name);
    }
    assert_int_equal(write(fd, bytes.ptr, bytes.len), bytes.len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static size_t read_back(int fd, char *out, size_t size)
{
    const ssize_t len = pread(fd, out, size - 1, 0);
    assert_true(len >= 0);
    out[len] = '\0';
    close(fd);
    return (size_t)len;
}

static void run(struct str context, const char *const args[4], struct outcome *o)
{
    char *argv[6] = {(char *)"template"};
    int argc = 1;
    for (; argc < 5 && args[argc - 1]; argc++) {
        argv[argc] = (char *)args[argc - 1];
    }
    const int fds[3] = {temp_file(context, NULL), temp_file(STR(""), NULL),
                        temp_file(STR(""), NULL)};
    int saved[3];
    fflush(NULL);
    for (int fd = 0; fd < 3; fd++) {
        saved[fd] = dup(fd);
        dup2(fds[fd], fd);
    }
    o->status = cli_template(argc, argv);
    fflush(NULL);
    for (int fd = 0; fd < 3; fd++) {
        dup2(saved[fd], fd);
        close(saved[fd]);
    }
    close(fds[0]);
    o->len = read_back(fds[1], o->out, sizeof o->out);
    read_back(fds[2], o->errors, sizeof o->errors);
}

static void run_source(struct str source, struct str context, struct outcome *o)
{
    char path[64];
    close(temp_file(source, path));
    const char *const args[4] = {"--file", path, "--json"};
    run(context, args, o);
    unlink(path);
}

static void stdout_is_the_text(void **state)
{
    (void)state;
    static const struct {
        struct str source, context, wanted;
    } cases[] = {
        {STR("{{ x }}"), STR("{\"x\":\"a\\nb\"}"), STR("a\nb")},
        {STR("no newline at the end"), STR("{}"), STR("no newline at the end")},
        {STR("one is cut\n"), STR("{}"), STR("one is cut")},
        {STR("two\n\n"), STR("{}"), STR("two\n")},
        {STR(""), STR("{}"), STR("")},
        {STR("{{ x }}{{ y }}"), STR("{\"x\":\"a\\u0000b\"}"), STR("a\0b")},
        {STR("{{ messages[0].content }}|{{ add_generation_prompt }}|{{ tools }}|{{ none }}"),
         STR("{\"messages\":[{\"content\":\"\xC3\xA9\"}],\"add_generation_prompt\":true,"
             "\"tools\":[]}"),
         STR("\xC3\xA9|True|[]|None")},
        {STR("{{ bos_token }}{{ eos_token }}"), STR("{\"bos_token\":\"<s>\"}"), STR("<s>")},
        {STR("{{ strftime_now('%Y-%m-%d %H:%M:%S %a') }}"),
         STR("{\"now\":\"2025-07-26T12:34:56\"}"), STR("2025-07-26 12:34:56 Sat")},
        {STR("{{ strftime_now('%d %b %Y') }}"), STR("{\"now\":\"2024-02-29\"}"),
         STR("29 Feb 2024")},
        {STR("{{ strftime_now('%H:%M:%S') }}"), STR("{\"now\":\"1969-12-31 23:59:59.25\"}"),
         STR("23:59:59")},
    };
    struct outcome o;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_source(cases[i].source, cases[i].context, &o);
        assert_string_equal(o.errors, "");
        assert_int_equal(o.status, 0);
        assert_int_equal(o.len, cases[i].wanted.len);
        assert_memory_equal(o.out, cases[i].wanted.ptr, o.len);
    }
}

static void an_error_is_a_message_and_a_status(void **state)
{
    (void)state;
    static const struct {
        struct str source, context;
        int status;
        const char *words;
    } cases[] = {
        {STR("text{{ raise_exception('roles must alternate') }}"), STR("{}"), 8,
         "roles must alternate"},
        {STR("a\n{{ x.y }}"), STR("{}"), 8, "template line 2: 'x' is undefined"},
        {STR("{% if %}"), STR("{}"), 8, "template line 1"},
        {STR("{{ 1|nosuch }}"), STR("{}"), 8, "nosuch"},
        {STR("{{ messages.append(1) }}"), STR("{\"messages\":[]}"), 8, "unsafe"},
        {STR("x"), STR(""), 2, "context"}, /* empty stdin */
        {STR("x"), STR("  \n"), 2, "context"},
        {STR("x"), STR("{\"messages\":["), 2, "context"},
        {STR("x"), STR("{} {}"), 2, "context"},
        {STR("x"), STR("{\"a\":1,\"a\":2}x"), 2, "context"},
        {STR("x"), STR("[]"), 2, "must be a JSON object"},
        {STR("x"), STR("{\"now\":\"2025-02-29\"}"), 2, "\"now\""},
        {STR("x"), STR("{\"now\":\"2025-07-26T12:00:00Z\"}"), 2, "\"now\""},
        {STR("x"), STR("{\"now\":\"2025-07-26T24:00\"}"), 2, "\"now\""},
        {STR("x"), STR("{\"now\":1}"), 2, "\"now\""},
    };
    struct outcome o;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_source(cases[i].source, cases[i].context, &o);
        assert_int_equal(o.len, 0); /* not even the text before the error */
        assert_int_equal(o.status, cases[i].status);
        if (!strstr(o.errors, cases[i].words) || strncmp(o.errors, "hearth: ", 8) != 0) {
            fail_msg("\"%s\" does not say \"%s\"", o.errors, cases[i].words);
        }
    }
}

/* A file with a vocabulary and no tensors, of an architecture nobody knows. */
static void write_vocabulary(const char *path, const char *source)
{
    static const struct str texts[] = {STR("<bos>"), STR("<eos>"), STR("a")};
    const struct gguf_value tokens = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_STRING, .count = 3, .texts = texts};
    struct err err = {0};
    struct gguf_writer *w = gguf_writer_create(&err);
    assert_non_null(w);
    assert_true(gguf_writer_set_str(w, STR("general.architecture"), STR("mystery"), &err) &&
                gguf_writer_set_str(w, STR("tokenizer.ggml.model"), STR("unknown"), &err) &&
                gguf_writer_set(w, STR("tokenizer.ggml.tokens"), &tokens, &err) &&
                gguf_writer_set_u32(w, STR("tokenizer.ggml.bos_token_id"), 0, &err) &&
                gguf_writer_set_u32(w, STR("tokenizer.ggml.eos_token_id"), 1, &err));
    if (source) {
        assert_true(
            gguf_writer_set_str(w, STR("tokenizer.chat_template"), str_of(source), &err) &&
            gguf_writer_set_str(w, STR("tokenizer.chat_template.tool_use"), STR("tools!"), &err));
    }
    assert_true(gguf_writer_begin(w, path, &err) && gguf_writer_commit(w, &err));
    gguf_writer_destroy(w);
}

static void a_model_needs_only_its_vocabulary(void **state)
{
    (void)state;
    char path[64];
    struct outcome o;
    close(temp_file(STR(""), path));
    const char *const args[4] = {path, "--json"};
    write_vocabulary(path, "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}\n");
    run(STR("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"), args, &o);
    assert_string_equal(o.errors, "");
    assert_string_equal(o.out, "<bos>hi<eos>");
    assert_int_equal(o.status, 0);
    run(STR("{\"bos_token\":\"\",\"messages\":[{\"content\":\"hi\"}]}"), args, &o);
    assert_string_equal(o.out, "hi<eos>"); /* the context wins */
    run(STR("{\"messages\":[],\"tools\":[{}]}"), args, &o);
    assert_string_equal(o.out, "tools!");
    write_vocabulary(path, "{{ nosuch.x }}");
    run(STR("{}"), args, &o);
    assert_int_equal(o.status, 8);
    assert_string_equal(o.out, "");
    write_vocabulary(path, NULL); /* the built-in one, and a line that says so */
    run(STR("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"), args, &o);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out, "hi"));
    assert_non_null(strstr(o.errors, "built-in"));
    unlink(path);
}

static void wrong_use_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *args[4];
        int status;
        const char *words;
    } cases[] = {
        {{NULL}, 2, "one model file or --file"},
        {{"a", "b"}, 2, "one model file or --file"},
        {{"a", "--file", "b"}, 2, "one model file or --file"},
        {{"a", "--jsn"}, 2, "--jsn"},
        {{"--file"}, 2, "--file"},
        {{"--file", TEST_DATA "/no-such.jinja"}, 5, "no-such.jinja"},
        {{TEST_DATA "/no-such.gguf"}, 5, "no-such.gguf"},
        {{TEST_DATA "/templates/README.md"}, 3, "README.md"},
    };
    struct outcome o;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run(STR("{}"), cases[i].args, &o);
        assert_int_equal(o.status, cases[i].status);
        assert_int_equal(o.len, 0);
        if (!strstr(o.errors, cases[i].words)) {
            fail_msg("\"%s\" does not say \"%s\"", o.errors, cases[i].words);
        }
    }
    const char *const help[4] = {"--help"};
    run(STR(""), help, &o);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out, "usage: hearth template"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stdout_is_the_text),
        cmocka_unit_test(an_error_is_a_message_and_a_status),
        cmocka_unit_test(a_model_needs_only_its_vocabulary),
        cmocka_unit_test(wrong_use_is_told),
    };
    return cmocka_run_group_tests_name("cli/template", tests, NULL, NULL);
}
