/* hearth run: talk with a model at the terminal, or answer one prompt.
 *
 *     hearth run                          talk with the bundled model
 *     hearth run MODEL "Why is snow white?"
 *     git diff | hearth run MODEL "Write a commit message for this:"
 *     hearth run MODEL --raw -n 50 "Once upon a time"
 *
 * Standard output is the answer and a new line, nothing else; notes go to standard error. On a
 * terminal the answer's control characters are left out: a model (or whoever trained it) does not
 * get to move the cursor or write to the clipboard. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/line.h"
#include "cli/options.h"
#include "cli/sampling.h"
#include "cli/types.h"
#include "cli/wake.h"
#include "route/local.h"

enum {
    STDIN_BYTES_MAX = 64 << 20,
    STDIN_WAIT_MS = 5000, /* for a first byte when there is a prompt already */
};

struct options {
    struct route_local_params local;
    const char *prompt, *system, *tokens;
    bool is_raw, is_json, shows_stats;
    struct cli_texts lora;
    struct cli_sampling sampling;
};

struct run {
    struct options options;
    struct route_adapters adapters;
    struct route_local *local;
    json_t *messages; /* of the conversation */
    bool has_max_tokens, is_terminal;
    uint32_t max_tokens;
    struct buf shown; /* scratch of show */
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option own_options[] = {
    {"prompt", NULL, 'p', CLI_TEXT, AT(prompt), .value_name = "TEXT",
     .help = "the prompt; the answer is printed and the command ends"},
    {"predict", "n-predict", 'n', CLI_TEXT, AT(tokens), .value_name = "N",
     .help = "tokens of an answer at most (-1: up to the context)"},
    {"system", NULL, 0, CLI_TEXT, AT(system), .value_name = "TEXT", .help = "the system prompt"},
    {"raw", NULL, 0, CLI_FLAG, AT(is_raw), .help = "continue the text, without a chat template"},
    {"json", NULL, 0, CLI_FLAG, AT(is_json), .help = "one JSON object with text, counts and times"},
    {"stats", NULL, 0, CLI_FLAG, AT(shows_stats), .help = "tokens per second, on standard error"},
    {"chat-template-file", NULL, 0, CLI_TEXT, AT(local.chat_template_file), .value_name = "FILE",
     .help = "in place of the model's own template"},
    {"lora", NULL, 0, CLI_TEXTS, AT(lora), .value_name = "FILE[=SCALE]",
     .help = "a LoRA adapter of the model; may be given several times"},
};

#undef AT

static void make_table(struct cli_table *table)
{
    table->count = 0;
    cli_table_add(table, own_options, sizeof own_options / sizeof *own_options, 0);
    cli_table_add(table, cli_local_options, cli_local_option_count,
                  offsetof(struct options, local));
    cli_table_add(table, cli_sampling_options, cli_sampling_option_count,
                  offsetof(struct options, sampling));
}

static void print_help(void)
{
    struct cli_table table;
    make_table(&table);
    printf(
        "usage: hearth run [MODEL] [PROMPT] [OPTIONS]\n\n"
        "Talks with a model at the terminal, or answers one prompt: from the command line, from\n"
        "a pipe on standard input, or both (the pipe's text follows the prompt). MODEL is a\n"
        "GGUF file or a name that `hearth list` shows; without one it is the bundled model.\n\n");
    cli_options_print(&table, stdout);
}

/* ---- showing ---- */

static bool is_shown(uint32_t code)
{
    return code == '\n' || code == '\t' || (code >= 0x20 && code < 0x7f) || code >= 0xa0;
}

/* Text as it may reach a terminal: no control characters, whole characters only. */
static void clean(struct buf *out, struct str text)
{
    for (size_t at = 0; at < text.len;) {
        uint32_t code;
        size_t len = utf8_decode(text, at, &code);
        if (len == 0) {
            buf_add(out, STR("\xef\xbf\xbd"));
            at++;
        } else {
            if (is_shown(code)) {
                buf_add(out, str_slice(text, at, at + len));
            }
            at += len;
        }
    }
}

static bool show(struct run *run, struct str text, struct err *err)
{
    if (run->options.is_json) {
        return true;
    }
    if (!run->is_terminal) {
        return cli_write(text.ptr, text.len, err);
    }
    buf_clear(&run->shown);
    clean(&run->shown, text);
    return cli_write(run->shown.ptr, run->shown.len, err);
}

/* ---- an answer ---- */

struct answer {
    struct buf text;
    struct engine_event last;
};

static struct engine_request make_request(const struct run *run, const struct text_ids *ids)
{
    const struct cli_sampling *s = &run->options.sampling;
    return (struct engine_request){
        .prompt = ids->ids,
        .prompt_count = ids->count,
        .sampling = s->engine,
        .has_max_tokens = run->has_max_tokens,
        .max_tokens = run->max_tokens,
        .min_tokens = s->min_tokens,
        .ignore_eos = s->ignore_eos,
        .stops = s->stops.items,
        .stop_count = s->stops.count,
        .banned = s->banned.items,
        .banned_count = s->banned.count,
        .id = STR("run"),
    };
}

/* Says whose fault it is: a template that refuses, a prompt too long, weights that are no numbers.
 */
static bool blame_model(const struct run *run, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    return err_wrap(err, "%s", str_quote(quoted, str_of(route_local_path(run->local))));
}

/* Shows events until the last one or the first fault. */
static bool follow_stream(struct run *run, struct engine_stream *stream, struct answer *answer,
                          struct err *err)
{
    for (;;) {
        while (engine_next(stream, &answer->last)) {
            struct engine_event *event = &answer->last;
            if (event->kind == ENGINE_EVENT_DONE) {
                return true;
            }
            if (event->kind == ENGINE_EVENT_ERROR) {
                *err = event->error;
                return blame_model(run, err);
            }
            buf_add(&answer->text, buf_view(&event->text));
            bool is_shown = show(run, buf_view(&event->text), err);
            engine_event_deinit(event);
            if (!is_shown) {
                return false;
            }
        }
        if (cli_wake_take_interrupt() || cli_wake_must_leave()) {
            engine_cancel(stream);
        }
        cli_wake_wait(-1, -1);
    }
}

static bool answer_ids(struct run *run, const struct text_ids *ids, struct answer *answer,
                       struct err *err)
{
    const struct engine_request request = make_request(run, ids);
    *answer = (struct answer){0};
    struct engine_stream *stream =
        engine_submit(route_local_engine(run->local), &request, cli_wake_notify, NULL, err);
    bool is_done = stream ? follow_stream(run, stream, answer, err) : blame_model(run, err);
    engine_stream_close(stream);
    if (is_done && answer->text.failed) {
        return err_set_memory(err, answer->text.len);
    }
    return is_done;
}

static bool add_message(struct run *run, const char *role, struct str content, struct err *err)
{
    struct buf valid = {0};
    for (size_t at = 0; at < content.len;) { /* JSON strings are UTF-8 */
        struct str rest = str_slice(content, at, content.len);
        size_t len = utf8_valid_prefix(rest);
        buf_add(&valid, str_slice(rest, 0, len));
        if (len < rest.len) {
            buf_add(&valid, STR("\xef\xbf\xbd"));
            len++;
        }
        at += len;
    }
    json_t *text = json_stringn(valid.ptr ? valid.ptr : "", valid.len);
    bool is_added = !valid.failed && text &&
                    json_array_append_new(
                        run->messages, json_pack("{s:s, s:O}", "role", role, "content", text)) == 0;
    json_decref(text);
    buf_deinit(&valid);
    return is_added || err_set_memory(err, content.len);
}

static void start_conversation(struct run *run)
{
    struct err err;
    json_array_clear(run->messages);
    if (run->options.system && !add_message(run, "system", str_of(run->options.system), &err)) {
        cli_fail(&err);
    }
}

static void drop_last_message(struct run *run)
{
    json_array_remove(run->messages, json_array_size(run->messages) - 1);
}

/* Answers a prompt and, in a conversation, remembers both. */
static bool answer_prompt(struct run *run, struct str prompt, struct answer *answer,
                          struct err *err)
{
    struct text_ids ids = {0};
    bool is_encoded, is_done;
    *answer = (struct answer){0};
    if (run->options.is_raw) {
        const struct text_encode_opts opts = {.add_special = true};
        is_encoded = text_encode(route_local_text(run->local), prompt, &opts, &ids, err);
    } else {
        const struct chat_request request = {.messages = run->messages,
                                             .add_generation_prompt = true};
        if (!add_message(run, "user", prompt, err)) {
            return false;
        }
        is_encoded = chat_encode(route_local_chat(run->local), &request, &ids, NULL, err);
    }
    is_done = is_encoded ? answer_ids(run, &ids, answer, err) : blame_model(run, err);
    if (!run->options.is_raw) {
        if (is_done) {
            is_done = add_message(run, "assistant", buf_view(&answer->text), err);
        } else {
            drop_last_message(run);
        }
    }
    text_ids_deinit(&ids);
    return is_done;
}

static double per_second(uint32_t count, double ms)
{
    return ms > 0 ? count * 1000.0 / ms : 0;
}

static void show_stats(const struct engine_event *e)
{
    uint32_t decoded = e->completion_tokens ? e->completion_tokens - 1 : 0;
    fprintf(stderr, "%u prompt tokens, %.1f/s; %u tokens, %.1f/s\n", e->prompt_tokens,
            per_second(e->prompt_tokens, e->timing.prefill_ms), e->completion_tokens,
            per_second(decoded, e->timing.decode_ms));
}

static bool show_json(const struct run *run, const struct answer *answer, struct err *err)
{
    static const char *const finishes[] = {"stop", "length", "cancelled"};
    const struct engine_event *e = &answer->last;
    struct buf out = {0};
    uint32_t decoded = e->completion_tokens ? e->completion_tokens - 1 : 0;
    char prefill[32], decode[32];
    json_format_double(per_second(e->prompt_tokens, e->timing.prefill_ms), prefill);
    json_format_double(per_second(decoded, e->timing.decode_ms), decode);
    buf_add_text(&out, "{\"text\":");
    json_write_string(&out, buf_view(&answer->text));
    buf_add_format(&out,
                   ",\"finish_reason\":\"%s\",\"prompt_tokens\":%u,\"completion_tokens\":%u,"
                   "\"seed\":%llu,\"prefill_tok_s\":%s,\"decode_tok_s\":%s}\n",
                   finishes[e->finish], e->prompt_tokens, e->completion_tokens,
                   (unsigned long long)run->options.sampling.engine.seed, prefill, decode);
    bool is_written = !out.failed ? cli_write(out.ptr, out.len, err) : err_set_memory(err, out.len);
    buf_deinit(&out);
    return is_written;
}

/* ---- one prompt ---- */

static int run_once(struct run *run, struct str prompt)
{
    struct err err = {0};
    struct answer answer;
    bool is_done = answer_prompt(run, prompt, &answer, &err);
    if (is_done) {
        is_done = run->options.is_json ? show_json(run, &answer, &err) : cli_write("\n", 1, &err);
    }
    if (is_done && run->options.shows_stats) {
        show_stats(&answer.last);
    }
    if (is_done && answer.last.finish == ENGINE_CANCELLED) {
        is_done = err_set(&err, ERR_CANCELLED, "interrupted");
    }
    buf_deinit(&answer.text);
    return is_done ? 0 : cli_fail(&err);
}

/* What a pipe brings. With a prompt at hand an open pipe that stays silent is not waited for
 * endlessly: programs that start us often leave one. */
static bool read_pipe(bool has_prompt, struct buf *out, struct err *err)
{
    if (isatty(STDIN_FILENO)) {
        return true;
    }
    if (has_prompt && !cli_wake_wait(STDIN_FILENO, STDIN_WAIT_MS)) {
        fprintf(stderr, "hearth: nothing came on standard input for %d s; going on without it\n",
                STDIN_WAIT_MS / 1000);
        return true;
    }
    size_t len;
    char *text = cli_read_stdin(STDIN_BYTES_MAX, &len, err);
    if (!text) {
        return false;
    }
    if (len > 0 && text[len - 1] == '\n') {
        len--; /* echo's */
    }
    buf_add(out, (struct str){text, len});
    mem_free(text);
    return !out->failed || err_set_memory(err, len);
}

/* Prompt and pipe together: an empty line between them, or nothing when the text is continued. */
static bool join_prompt(const struct run *run, struct buf *out, struct err *err)
{
    const struct options *o = &run->options;
    struct buf piped = {0};
    bool is_read = read_pipe(o->prompt != NULL, &piped, err);
    if (o->prompt) {
        buf_add_text(out, o->prompt);
        if (piped.len > 0 && !o->is_raw) {
            buf_add_text(out, "\n\n");
        }
    }
    buf_add(out, buf_view(&piped));
    buf_deinit(&piped);
    return is_read && (!out->failed || err_set_memory(err, out->len));
}

/* ---- a conversation ---- */

static const char talk_help[] =
    "/reset   forget the conversation\n"
    "/exit    leave (also Ctrl-D, or Ctrl-C at the prompt)\n"
    "/help    this text\n"
    "Ctrl-C stops an answer. A line that ends with \\ goes on in the next.\n";

/* True when the entry was a command; *leave says whether it was the last. */
static bool run_command(struct run *run, struct str entry, bool *leave)
{
    if (entry.len == 0 || entry.ptr[0] != '/') {
        return entry.len == 0;
    }
    if (str_eq(entry, STR("/exit")) || str_eq(entry, STR("/quit")) || str_eq(entry, STR("/bye"))) {
        *leave = true;
    } else if (str_eq(entry, STR("/reset")) || str_eq(entry, STR("/clear"))) {
        start_conversation(run);
        fprintf(stderr, "the conversation starts anew\n");
    } else if (str_eq(entry, STR("/help")) || str_eq(entry, STR("/?"))) {
        fputs(talk_help, stderr);
    } else {
        struct str name = str_cut(&entry, ' ');
        char quoted[STR_QUOTE_MAX];
        bool is_path = str_find(name, STR("/"), 1) != SIZE_MAX; /* "/etc/hosts is ..." */
        if (is_path) {
            return false;
        }
        fprintf(stderr, "unknown command %s; /help lists them\n", str_quote(quoted, name));
    }
    return true;
}

static bool answer_entry(struct run *run, struct str entry, struct err *err)
{
    struct answer answer;
    bool is_done = answer_prompt(run, entry, &answer, err);
    bool is_written = cli_write("\n\n", 2, err);
    if (is_done && run->options.shows_stats) {
        show_stats(&answer.last);
    }
    buf_deinit(&answer.text);
    if (!is_done) {
        cli_fail(err); /* a fault of one turn; the conversation goes on */
        if (err->code == ERR_CONTEXT) {
            fprintf(stderr, "/reset starts anew; --ctx makes room for more\n");
        }
    }
    return is_written;
}

static int talk(struct run *run)
{
    struct err err = {0};
    struct buf entry = {0};
    bool leave = false, is_broken = false;
    struct cli_line *line = cli_line_open(&err);
    if (!line) {
        return cli_fail(&err);
    }
    char quoted[STR_QUOTE_MAX];
    fprintf(stderr, "%s, %u tokens of context; /help for help\n",
            str_quote(quoted, route_local_id(run->local)),
            engine_ctx_tokens(route_local_engine(run->local)));
    cli_print_types(stderr, route_local_gguf(run->local),
                    kernels_get(run->options.local.cpu_level));
    while (!leave && !is_broken && cli_line_read(line, &entry) == CLI_LINE_TEXT) {
        struct str text = str_trim(buf_view(&entry));
        if (!run_command(run, text, &leave)) {
            is_broken = !answer_entry(run, text, &err);
        }
        leave |= cli_wake_must_leave();
    }
    cli_line_close(line);
    buf_deinit(&entry);
    fprintf(stderr, "\n");
    return is_broken ? cli_fail(&err) : 0;
}

/* ---- the command ---- */

static bool read_max_tokens(struct run *run, struct err *err)
{
    uint64_t count;
    const char *text = run->options.tokens;
    char quoted[STR_QUOTE_MAX];
    if (!text || str_eq(str_of(text), STR("-1"))) {
        return true;
    }
    if (!str_to_u64(str_of(text), &count) || count > UINT32_MAX) {
        return err_set(err, ERR_USAGE, "--predict: \"%s\" is not a number of tokens",
                       str_quote(quoted, str_of(text)));
    }
    run->has_max_tokens = true;
    run->max_tokens = (uint32_t)count;
    return true;
}

static bool parse(struct run *run, int argc, char **argv, struct err *err)
{
    struct options *o = &run->options;
    struct cli_table table;
    const char *operands[2];
    size_t operand_count = 0;
    o->local = route_local_params_default();
    o->local.sequences_max = 1;
    cli_sampling_init(&o->sampling);
    if (!cli_level_from_environment(&o->local.cpu_level, err)) {
        return false;
    }
    make_table(&table);
    if (!cli_options_parse(&table, o, argc, argv, operands, 2, &operand_count, err)) {
        return false;
    }
    if (operand_count == 2 && o->prompt) {
        return err_set(err, ERR_USAGE, "the prompt is given twice, as an argument and by --prompt");
    }
    o->local.path = operand_count > 0 ? operands[0] : NULL;
    o->prompt = operand_count == 2 ? operands[1] : o->prompt;
    o->local.adapters = &run->adapters;
    for (size_t i = 0; i < o->lora.count; i++) {
        if (!route_adapters_add(&run->adapters, o->lora.items[i], err)) {
            return false;
        }
    }
    return read_max_tokens(run, err) && cli_sampling_finish(&o->sampling, err);
}

static bool open_model(struct run *run, struct err *err)
{
    struct cli_progress progress;
    char *path = cli_find_model(run->options.local.path, err);
    if (!path) {
        return false;
    }
    run->options.local.path = path;
    cli_progress_start(&progress, "loading", 0);
    run->local = route_local_open(&run->options.local, cli_show_progress, &progress, err);
    cli_progress_end(&progress);
    mem_free(path);
    if (!run->local) {
        return false;
    }
    if (!route_local_engine(run->local)) {
        char quoted[STR_QUOTE_MAX];
        return err_set(err, ERR_UNSUPPORTED,
                       "%s makes vectors of texts, it does not generate; try: hearth embed",
                       str_quote(quoted, route_local_id(run->local)));
    }
    const char *origin = chat_template_origin(route_local_chat(run->local));
    if (!run->options.is_raw && str_eq(str_of(origin), STR("built-in"))) {
        fprintf(stderr, "hearth: the model brings no chat template; a built-in one is used\n");
    }
    return true;
}

static int run_prompts(struct run *run)
{
    struct err err = {0};
    struct buf prompt = {0};
    bool talks = !run->options.prompt && isatty(STDIN_FILENO);
    int status;
    if (!talks && !join_prompt(run, &prompt, &err)) {
        status = cli_fail(&err);
    } else if (!talks && prompt.len == 0) {
        status = cli_usage_error("run", "there is no prompt, and standard input is no terminal");
    } else if (!cli_wake_open(&err)) {
        status = cli_fail(&err);
    } else {
        start_conversation(run);
        status = talks ? talk(run) : run_once(run, buf_view(&prompt));
    }
    buf_deinit(&prompt);
    return status;
}

int cli_run(int argc, char **argv)
{
    struct err err = {0};
    if (cli_options_want_help(argc, argv)) {
        print_help();
        return 0;
    }
    struct run *run = MEM_NEW(struct run);
    if (!run) {
        err_set_memory(&err, sizeof *run);
        return cli_fail(&err);
    }
    int status;
    log_set_level(LOG_WARN);
    run->is_terminal = isatty(STDOUT_FILENO) == 1;
    run->messages = json_array();
    if (!run->messages) {
        err_set_memory(&err, 64);
        status = cli_fail(&err);
    } else if (!parse(run, argc, argv, &err)) {
        status = err.code == ERR_USAGE ? cli_usage_error("run", "%s", err.text) : cli_fail(&err);
    } else {
        status = open_model(run, &err) ? run_prompts(run) : cli_fail(&err);
    }
    route_local_close(run->local);
    cli_wake_close();
    route_adapters_deinit(&run->adapters);
    json_decref(run->messages);
    buf_deinit(&run->shown);
    mem_free(run);
    return status;
}
