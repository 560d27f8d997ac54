/* hearth run and bench as a user meets them: in a process of their own, with pipes or a
 * pseudo-terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/cli.h"

#define STORIES TEST_DATA "/models/stories260K.gguf"
#define NANO    TEST_MODELS "/hearth-nano.gguf"
#define ARGS(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

struct process {
    pid_t pid;
    int in, out; /* our ends; the same for a terminal */
};

struct outcome {
    struct buf out;
    int status;
};

static bool joins_stderr; /* what the next process says on standard error is output, too */

/* Runs in the child. */
static void become(const char *const *args)
{
    char *argv[32];
    int argc = 0;
    for (; args[argc]; argc++) {
        argv[argc] = (char *)args[argc];
    }
    argv[argc] = NULL;
    setenv("XDG_STATE_HOME", "/dev/null", 1); /* root could make a folder anywhere else */
    setenv("HEARTH_MODELS", TEST_MODELS, 1);
    setenv("TERM", "xterm", 1);
    int status = strcmp(argv[0], "bench") == 0 ? cli_bench(argc, argv) : cli_run(argc, argv);
    fflush(NULL);
    _exit(status);
}

static struct process start_piped(const char *const *args)
{
    int in[2], out[2];
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        int quiet = open("/dev/null", O_WRONLY);
        dup2(joins_stderr ? 1 : quiet, 2);
        become(args);
    }
    close(in[0]);
    close(out[1]);
    return (struct process){pid, in[1], out[0]};
}

static struct process start_terminal(const char *const *args)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        int slave = open(ptsname(master), O_RDWR);
        ioctl(slave, TIOCSCTTY, 0);
        for (int fd = 0; fd < 3; fd++) {
            dup2(slave, fd);
        }
        close(master);
        become(args);
    }
    return (struct process){pid, master, master};
}

/* Reads until `wanted` stands in the output, with the prompt at its very end if `then_prompt`
 * (wanted NULL: until the end of the process), at most 20 s. */
static bool read_up_to(const struct process *p, struct buf *out, const char *wanted,
                       bool then_prompt)
{
    int64_t deadline = clock_now_ns() + 20000000000;
    for (;;) {
        char bytes[4096];
        if (wanted && out->ptr && strstr(out->ptr, wanted) &&
            (!then_prompt || str_ends(buf_view(out), STR(">>> ")))) {
            return true;
        }
        struct pollfd polled = {.fd = p->out, .events = POLLIN};
        if (clock_now_ns() > deadline || (poll(&polled, 1, 1000) < 0 && errno != EINTR)) {
            return false;
        }
        if (!polled.revents) {
            continue;
        }
        ssize_t n = read(p->out, bytes, sizeof bytes);
        if (n <= 0) {
            return wanted == NULL;
        }
        buf_add(out, (struct str){bytes, (size_t)n});
    }
}

static bool read_until(const struct process *p, struct buf *out, const char *wanted)
{
    return read_up_to(p, out, wanted, false);
}

static int finish(struct process *p, struct buf *out)
{
    int status = 0;
    bool is_ended = read_until(p, out, NULL);
    if (!is_ended) {
        kill(p->pid, SIGKILL);
    }
    waitpid(p->pid, &status, 0);
    if (p->in != p->out && p->in >= 0) {
        close(p->in);
    }
    close(p->out);
    assert_true(is_ended);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* One command with everything from a pipe. */
static struct outcome run(const char *input, const char *const *args)
{
    struct outcome o = {0};
    struct process p = start_piped(args);
    ssize_t n = write(p.in, input, strlen(input));
    assert_int_equal(n, strlen(input));
    close(p.in);
    p.in = -1;
    buf_add_text(&o.out, "");
    o.status = finish(&p, &o.out);
    return o;
}

static void expect_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->status, 0);
    assert_int_equal(b->status, 0);
    assert_true(a->out.len > 1);
    assert_string_equal(a->out.ptr, b->out.ptr);
}

/* Exactly the recorded text and a new line. */
static void test_raw(void **state)
{
    (void)state;
    struct err err;
    size_t len;
    char *json = os_file_slurp(TEST_DATA "/models/stories260K.greedy.json", 1 << 20, &len, &err);
    json_t *golden = json_parse((struct str){json, len}, NULL, &err);
    struct str want = json_str(json_object_get(golden, "text"));
    struct outcome argument =
        run("", ARGS("run", STORIES, "Once upon a time", "--raw", "-n", "200", "--temp", "0"));
    assert_int_equal(argument.status, 0);
    assert_int_equal(argument.out.len, want.len + 1);
    assert_memory_equal(argument.out.ptr, want.ptr, want.len);
    assert_int_equal(argument.out.ptr[want.len], '\n');
    struct outcome piped =
        run("Once upon a time\n", ARGS("run", "--raw", "-n200", "--temp=0", STORIES));
    struct outcome both = run(
        " a time", ARGS("run", STORIES, "--raw", "-p", "Once upon", "-n", "200", "--temp", "0"));
    expect_same(&argument, &piped);
    expect_same(&argument, &both);
    buf_deinit(&argument.out);
    buf_deinit(&piped.out);
    buf_deinit(&both.out);
    json_decref(golden);
    mem_free(json);
}

static void test_chat(void **state)
{
    (void)state;
    struct outcome one = run("", ARGS("run", NANO, "Hello\n\nthere", "--seed", "3"));
    struct outcome joined = run("there\n", ARGS("run", NANO, "Hello", "--seed", "3"));
    struct outcome piped = run("Hello\n\nthere", ARGS("run", NANO, "--seed", "3"));
    struct outcome option = run("", ARGS("run", NANO, "-p", "Hello\n\nthere", "--seed", "3"));
    expect_same(&one, &joined);
    expect_same(&one, &piped);
    expect_same(&one, &option);
    assert_int_equal(one.out.ptr[one.out.len - 1], '\n');
    struct outcome system =
        run("", ARGS("run", NANO, "Hello", "--system", "Answer in French.", "--temp", "0"));
    assert_int_equal(system.status, 0);
    buf_deinit(&one.out);
    buf_deinit(&joined.out);
    buf_deinit(&piped.out);
    buf_deinit(&option.out);
    buf_deinit(&system.out);
}

static void test_json(void **state)
{
    (void)state;
    struct err err;
    struct outcome o = run("", ARGS("run", STORIES, "--raw", "-p", "Once", "-n", "9", "--json",
                                    "--seed", "5", "--ignore-eos"));
    json_t *root = json_parse(buf_view(&o.out), NULL, &err);
    assert_non_null(root);
    assert_int_equal(json_integer_value(json_object_get(root, "completion_tokens")), 9);
    assert_int_equal(json_integer_value(json_object_get(root, "seed")), 5);
    assert_string_equal(json_string_value(json_object_get(root, "finish_reason")), "length");
    assert_true(json_string_length(json_object_get(root, "text")) > 0);
    json_decref(root);
    buf_deinit(&o.out);
}

static void test_ends(void **state)
{
    (void)state;
    struct outcome o = run("", ARGS("run", STORIES, "--raw", "-p", "Once upon a time", "-n", "60",
                                    "--temp", "0", "--stop", "named", "--stop", "zebra"));
    assert_string_equal(o.out.ptr, ", there was a little girl \n");
    buf_deinit(&o.out);
    o = run("", ARGS("run", STORIES, "--raw", "-p", "Once upon a time", "-n", "60", "--temp", "0",
                     "--ban", "lily"));
    assert_int_equal(o.status, 0);
    assert_null(strstr(o.out.ptr, "Lily"));
    buf_deinit(&o.out);
    o = run("", ARGS("run", STORIES, "--raw", "-p", "Once", "-n", "0"));
    assert_string_equal(o.out.ptr, "\n");
    buf_deinit(&o.out);
}

static void test_faults(void **state)
{
    (void)state;
    char *words = mem_alloc(20001, 1);
    for (size_t i = 0; i < 20000; i += 2) {
        memcpy(words + i, "a ", 2);
    }
    const struct {
        int status;
        const char *args[8];
    } cases[] = {
        {2, {"run", NANO}}, /* an empty pipe is no prompt */
        {2, {"run", NANO, "a", "b"}},
        {2, {"run", NANO, "a", "-p", "b"}},
        {2, {"run", NANO, "a", "--nothing"}},
        {2, {"run", NANO, "a", "--temp", "3"}},
        {2, {"run", NANO, "a", "-n", "x"}},
        {2, {"run", NANO, "a", "--logit-bias", "99999999+1"}},
        {5, {"run", "/nonexistent.gguf", "a"}},
        {3, {"run", TEST_DATA "/models/stories260K.greedy.json", "a"}},
        {7, {"run", NANO, words}},
        {5, {"run", NANO, "a", "--chat-template-file", "/nonexistent"}},
        {2, {"bench", NANO, "--pp", "0", "--tg", "0"}},
        {2, {"bench", NANO, "--ctx", "5"}},
        {2, {"bench", NANO, "--depth", "5,5"}},
        {2, {"bench", NANO, "--depth", "1,"}},
        {2, {"bench", NANO, "--sequences", "0"}},
        {2, {"bench", NANO, "--sequences", "2", "--tg", "0"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct outcome o = run("", cases[i].args);
        if (o.status != cases[i].status || o.out.len != 0) {
            fail_msg("case %zu: status %d, not %d; %zu bytes of output", i, o.status,
                     cases[i].status, o.out.len);
        }
        buf_deinit(&o.out);
    }
    mem_free(words);
}

/* A fault that shows only while a model runs names the model, too. */
static void test_blame(void **state)
{
    (void)state;
    enum { SPOILED_BYTES = 4096 }; /* the end of the last tensor: all ones are NaN */
    char path[] = "/tmp/hearth-run-test-XXXXXX";
    size_t len = 0;
    struct err err;
    char *bytes = os_file_slurp(STORIES, 4 << 20, &len, &err);
    assert_non_null(bytes);
    assert_true(len > SPOILED_BYTES);
    memset(bytes + len - SPOILED_BYTES, 0xff, SPOILED_BYTES);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
    joins_stderr = true;
    struct outcome o = run("", ARGS("run", path, "Once", "--raw", "-n", "3"));
    assert_int_not_equal(o.status, 0);
    assert_non_null(strstr(o.out.ptr, path));
    buf_deinit(&o.out);

    o = run("", ARGS("run", STORIES, "Once", "--raw", "--ctx", "1"));
    assert_int_equal(o.status, 7);
    assert_non_null(strstr(o.out.ptr, STORIES));
    buf_deinit(&o.out);
    joins_stderr = false;
    unlink(path);
    mem_free(bytes);
}

static void test_names(void **state)
{
    (void)state;
    struct outcome by_name = run("", ARGS("run", "hearth-nano", "Hi", "--temp", "0", "-n", "4"));
    struct outcome by_path = run("", ARGS("run", NANO, "Hi", "--temp", "0", "-n", "4"));
    assert_int_equal(by_path.status, 0);
    expect_same(&by_name, &by_path);
    buf_deinit(&by_name.out);
    buf_deinit(&by_path.out);
    struct outcome o = run("", ARGS("run", "no-such-model", "Hi"));
    assert_int_equal(o.status, 4);
    buf_deinit(&o.out);
}

static void test_help(void **state)
{
    (void)state;
    struct outcome o = run("", ARGS("run", "--help"));
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out.ptr, "--top-k"));
    assert_non_null(strstr(o.out.ptr, "--threads"));
    buf_deinit(&o.out);
    o = run("", ARGS("bench", "-h"));
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out.ptr, "--pp"));
    buf_deinit(&o.out);
}

/* ---- at a terminal ---- */

static void type(const struct process *p, const char *keys)
{
    assert_int_equal(write(p->in, keys, strlen(keys)), strlen(keys));
}

static void test_talk(void **state)
{
    (void)state;
    struct buf out = {0};
    struct process p = start_terminal(ARGS("run", NANO, "--temp", "0"));
    assert_true(read_until(&p, &out, ">>> "));
    buf_clear(&out);
    type(&p, "What is hearth?\n");
    assert_true(read_until(&p, &out, "\r\n\r\n>>> ")); /* the answer, an empty line, the prompt */
    struct outcome piped = run("", ARGS("run", NANO, "What is hearth?", "--temp", "0"));
    piped.out.ptr[piped.out.len - 1] = 0;
    assert_non_null(strstr(out.ptr, piped.out.ptr));
    buf_clear(&out);
    /* A key pressed before the prompt stands finds the terminal in its other mode, where Ctrl-D is
     * eaten: so each step waits for its own prompt. */
    type(&p, "/nothing\n");
    assert_true(read_up_to(&p, &out, "unknown command /nothing", true));
    type(&p, "/reset\n");
    assert_true(read_up_to(&p, &out, "starts anew", true));
    buf_clear(&out);
    type(&p, "What is hearth?\n"); /* the same again, as nothing is remembered */
    assert_true(read_up_to(&p, &out, piped.out.ptr, true));
    type(&p, "\x04");
    assert_int_equal(finish(&p, &out), 0);
    buf_deinit(&piped.out);
    buf_deinit(&out);
}

/* Ctrl-C ends the answer, at the prompt the program. */
static void test_interrupt(void **state)
{
    (void)state;
    struct buf out = {0};
    struct process p = start_terminal(
        ARGS("run", NANO, "--ignore-eos", "--ctx", "20000", "--cpu-level", "reference"));
    assert_true(read_until(&p, &out, ">>> "));
    buf_clear(&out);
    type(&p, "Tell me a story\n");
    assert_true(read_until(&p, &out, "story\r\n"));
    clock_sleep_ns(200000000); /* while the line is still edited, Ctrl-C is a key */
    type(&p, "\x03");
    assert_true(read_until(&p, &out, "\r\n\r\n>>> "));
    type(&p, "\x03");
    assert_int_equal(finish(&p, &out), 0);
    buf_deinit(&out);
}

/* A model that says ESC: token 30 of the stories is the byte 0x1b. */
static void test_escapes(void **state)
{
    (void)state;
    const char *const *args =
        ARGS("run", STORIES, "Once", "--raw", "-n", "5", "--temp", "0", "--logit-bias", "30+100");
    struct outcome piped = run("", args);
    assert_string_equal(piped.out.ptr, "\x1b\x1b\x1b\x1b\x1b\n");
    struct buf out = {0};
    struct process p = start_terminal(args);
    assert_int_equal(finish(&p, &out), 0);
    assert_non_null(out.ptr);
    assert_null(strchr(out.ptr, 0x1b));
    buf_deinit(&out);
    buf_deinit(&piped.out);
}

/* ---- bench ---- */

static void test_bench(void **state)
{
    (void)state;
    static const char *const keys[] = {"prefill_tok_s", "decode_tok_s",     "read_gb_s",
                                       "int8_gops",     "prefill_fraction", "decode_fraction"};
    struct err err;
    struct outcome o =
        run("", ARGS("bench", STORIES, "--json", "--pp", "40", "--tg", "8", "-r", "2"));
    assert_int_equal(o.status, 0);
    json_t *root = json_parse(buf_view(&o.out), NULL, &err);
    assert_non_null(root);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        assert_true(json_number_value(json_object_get(root, keys[i])) > 0);
    }
    /* 2 * macs * tokens/s over the peak, recomputed from the shape: F32 weights of 260K parameters
     * read 4 bytes each. */
    double decode = json_number_value(json_object_get(root, "decode_tok_s"));
    double read_gb_s = json_number_value(json_object_get(root, "read_gb_s"));
    double fraction = json_number_value(json_object_get(root, "decode_fraction"));
    double bytes = fraction * read_gb_s * 1e9 / decode;
    assert_true(bytes > 0.9e6 && bytes < 1.3e6);
    json_decref(root);
    buf_deinit(&o.out);
    o = run("", ARGS("bench", STORIES, "--json", "--pp", "16", "--tg", "4", "-r", "1", "--depth",
                     "0,100", "--sequences", "1,3"));
    root = json_parse(buf_view(&o.out), NULL, &err);
    const json_t *rows = json_object_get(root, "rows");
    assert_int_equal(json_array_size(rows), 6); /* two kinds at two depths, two together */
    assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, 2), "depth")), 100);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, 5), "sequences")), 3);
    for (size_t i = 0; i < 6; i++) {
        assert_true(json_number_value(json_object_get(json_array_get(rows, i), "tok_s")) > 0);
    }
    json_decref(root);
    buf_deinit(&o.out);
    o = run("", ARGS("bench", STORIES, "--pp", "16", "--tg", "0", "-r", "1"));
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out.ptr, "prefill"));
    assert_null(strstr(o.out.ptr, "\ndecode"));
    buf_deinit(&o.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw),     cmocka_unit_test(test_chat),
        cmocka_unit_test(test_json),    cmocka_unit_test(test_ends),
        cmocka_unit_test(test_faults),  cmocka_unit_test(test_help),
        cmocka_unit_test(test_blame),   cmocka_unit_test(test_names),
        cmocka_unit_test(test_talk),    cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_bench),
    };
    return cmocka_run_group_tests_name("cli/run", tests, NULL, NULL);
}
