/* hearth tokenize: ids of stdin as JSON and as a table, the flags, files that cannot be used. */
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
#include "base/os.h"
#include "cli/cli.h"

#define BPE_FILE TEST_DATA "/text/bpe.gguf"
#define SPM_FILE TEST_DATA "/text/spm.gguf"

/* A temporary file with these bytes, open for reading and writing; it has no name any more. */
static int temp_file(struct str bytes)
{
    char path[] = "/tmp/hearth-tokenize-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, bytes.ptr, bytes.len), bytes.len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* Runs the command with `input` on stdin; what it wrote stands in `out`, the errors too. */
static int tokenize(struct str input, char out[4096], const char *const args[4])
{
    char *argv[6] = {(char *)"tokenize"};
    int argc = 1;
    for (; argc < 5 && args[argc - 1]; argc++) {
        argv[argc] = (char *)args[argc - 1];
    }
    const int in_fd = temp_file(input), out_fd = temp_file(STR(""));
    const int saved[3] = {dup(0), dup(1), dup(2)};
    fflush(NULL);
    dup2(in_fd, 0);
    dup2(out_fd, 1);
    dup2(out_fd, 2);
    const int status = cli_tokenize(argc, argv);
    fflush(NULL);
    for (int fd = 0; fd < 3; fd++) {
        dup2(saved[fd], fd);
        close(saved[fd]);
    }
    const ssize_t len = pread(out_fd, out, 4095, 0);
    assert_true(len >= 0);
    out[len] = '\0';
    close(in_fd);
    close(out_fd);
    return status;
}

static void json_has_the_ids(void **state)
{
    (void)state;
    /* the first 256 ids are the bytes in the order of GPT-2's alphabet: '!' is 0, '~' 93, NUL 188
     */
    static const struct {
        struct str input;
        const char *args[4];
        const char *wanted;
    } cases[] = {
        {{"", 0}, {BPE_FILE, "--json"}, "{\"tokens\":[]}\n"},
        {{"", 0}, {SPM_FILE, "--json"}, "{\"tokens\":[1]}\n"},
        {{"", 0}, {"--no-special", SPM_FILE, "--json"}, "{\"tokens\":[]}\n"},
        {{"a\0b", 3}, {"--json", BPE_FILE}, "{\"tokens\":[64,188,65]}\n"},
        {{"\xFF\n", 2}, {"--json", BPE_FILE}, "{\"tokens\":[187,198]}\n"},
        {{"<s>", 3}, {SPM_FILE, "--special-text", "--json"}, "{\"tokens\":[1]}\n"},
        {{"<s>", 3}, {SPM_FILE, "--special-text", "--no-special", "--json"}, "{\"tokens\":[1]}\n"},
    };
    char out[4096];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tokenize(cases[i].input, out, cases[i].args), 0);
        assert_string_equal(out, cases[i].wanted);
    }
    const char *const args[4] = {SPM_FILE, "--json"};
    assert_int_equal(tokenize(STR("<s>"), out, args), 0);
    assert_true(strncmp(out, "{\"tokens\":[1,", 13) == 0 && strlen(out) > 18); /* as text */
}

static void the_table_disturbs_no_terminal(void **state)
{
    (void)state;
    char out[4096];
    const char *const args[4] = {BPE_FILE, "--special-text"};
    assert_int_equal(tokenize(STR("a\033\n<|im_end|>"), out, args), 0);
    assert_non_null(strstr(out, "      64  \"a\"\n"));
    assert_non_null(strstr(out, "\"\\x1b\"\n"));
    assert_non_null(strstr(out, "\"\\n\"\n"));
    assert_non_null(strstr(out, "\"<|im_end|>\"  control\n"));
    assert_non_null(strstr(out, "4 tokens, gpt2/gpt-2\n"));
    assert_null(strchr(out, '\033'));
}

static void wrong_use_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *args[4];
        int status;
        const char *words;
    } cases[] = {
        {{NULL}, 2, "one model file is needed"},
        {{BPE_FILE, SPM_FILE}, 2, "one model file is needed"},
        {{BPE_FILE, "--jsn"}, 2, "--jsn"},
        {{TEST_DATA "/text/no-such-file.gguf"}, 5, "no-such-file.gguf"},
        {{TEST_DATA "/text/vectors.json"}, 3, "vectors.json"},
        {{TEST_DATA "/gguf/kinds.gguf"}, 3, "kinds.gguf: tokenizer"},
        {{"--help"}, 0, "usage: hearth tokenize"},
    };
    char out[4096];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tokenize(STR("x"), out, cases[i].args), cases[i].status);
        if (!strstr(out, cases[i].words)) {
            fail_msg("\"%s\" does not say \"%s\"", out, cases[i].words);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_the_ids),
        cmocka_unit_test(the_table_disturbs_no_terminal),
        cmocka_unit_test(wrong_use_is_told),
    };
    return cmocka_run_group_tests_name("cli/tokenize", tests, NULL, NULL);
}
