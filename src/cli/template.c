/* hearth template: renders a chat template with a JSON context. For people who debug prompts: the
 * context is passed as it is, so that the output is what Jinja2 gives. */
#include <getopt.h>
#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "chat/chat.h"
#include "chat/template.h"
#include "cli/cli.h"
#include "gguf/gguf.h"

static const char help[] =
    "usage: hearth template MODEL --json < CONTEXT\n"
    "       hearth template --file FILE --json < CONTEXT\n\n"
    "Renders the chat template of a model, or one from a file. CONTEXT is a JSON object with the\n"
    "template's variables: messages, tools, add_generation_prompt, bos_token, eos_token and any\n"
    "other. \"now\", a date and time like 2025-07-26T12:00:00, fixes what strftime_now prints. "
    "The\n"
    "rendered text is written exactly as it is; an error goes to standard error.\n\n"
    "  --file FILE   the template's source; no model is needed\n"
    "  --json        the context is JSON (the only form there is)\n"
    "  --help        this text\n";

enum { CONTEXT_BYTES_MAX = 256 << 20, SOURCE_BYTES_MAX = 4 << 20 };

/* Two to four digits at *at; moves on. */
static bool eat_number(struct str *s, size_t digits, int64_t *out)
{
    *out = 0;
    if (s->len < digits) {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        if (s->ptr[i] < '0' || s->ptr[i] > '9') {
            return false;
        }
        *out = *out * 10 + (s->ptr[i] - '0');
    }
    *s = str_slice(*s, digits, s->len);
    return true;
}

/* Days from 1970-01-01 in the Gregorian calendar (H. Hinnant, "chrono-compatible algorithms"). */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    const int64_t era = year / 400, in_era = year - era * 400;
    const int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static bool is_date(int64_t year, int64_t month, int64_t day)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || month < 1 || month > 12 || day < 1) {
        return false;
    }
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= lengths[month - 1] + (leap && month == 2);
}

/* "2025-07-26", "2025-07-26T12:00", "...:00", "...:00.5": what the wall shows, without a zone. */
static bool parse_now(struct str s, int64_t *clock_s)
{
    int64_t year, month, day, hour = 0, minute = 0, second = 0;
    if (!eat_number(&s, 4, &year) || !str_eat(&s, STR("-")) || !eat_number(&s, 2, &month) ||
        !str_eat(&s, STR("-")) || !eat_number(&s, 2, &day) || !is_date(year, month, day)) {
        return false;
    }
    if (s.len > 0) {
        if ((!str_eat(&s, STR("T")) && !str_eat(&s, STR(" "))) || !eat_number(&s, 2, &hour) ||
            !str_eat(&s, STR(":")) || !eat_number(&s, 2, &minute)) {
            return false;
        }
        if (str_eat(&s, STR(":")) && !eat_number(&s, 2, &second)) {
            return false;
        }
        if (str_eat(&s, STR("."))) {
            for (int64_t digit; eat_number(&s, 1, &digit);) {
            }
        }
    }
    *clock_s = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    return s.len == 0 && hour < 24 && minute < 60 && second < 60;
}

/* The text of the token whose id stands under `key`. */
static bool default_token(json_t *context, const char *name, const struct gguf *gguf,
                          struct str key, struct err *err)
{
    uint32_t id;
    bool found = false;
    if (json_object_get(context, name)) {
        return true;
    }
    if (!gguf_get_u32(gguf, key, &id, &found, err)) {
        return false;
    }
    const struct gguf_entry *tokens = gguf_find(gguf, STR("tokenizer.ggml.tokens"));
    if (!found || !tokens || tokens->value.kind != GGUF_ARRAY ||
        tokens->value.item_kind != GGUF_STRING || id >= tokens->value.count) {
        return true;
    }
    const struct str text = tokens->value.texts[id];
    json_t *value = json_stringn(text.ptr, text.len);
    return !value || json_object_set_new(context, name, value) == 0 || err_set_memory(err, 64);
}

static bool render(const json_t *context, struct str source, const struct chat_render_opts *opts,
                   struct err *err)
{
    struct chat_text text;
    struct chat_render_opts all = *opts;
    all.context = context;
    struct chat_template *tmpl = chat_template_compile(source, NULL, err);
    bool good = tmpl && chat_template_render(tmpl, &all, &text, err);
    if (good) {
        const struct str s = buf_view(&text.text);
        good = cli_write(s.ptr ? s.ptr : "", s.len, err);
        chat_text_deinit(&text);
    }
    chat_template_destroy(tmpl);
    return good;
}

static json_t *read_context(struct chat_render_opts *opts, struct err *err)
{
    size_t len;
    char *bytes = cli_read_stdin(CONTEXT_BYTES_MAX, &len, err);
    if (!bytes) {
        return NULL;
    }
    json_t *context = json_parse((struct str){bytes, len}, NULL, err);
    mem_free(bytes);
    if (!context) {
        err_wrap(err, "context");
        return NULL;
    }
    const json_t *now = json_object_get(context, "now");
    if (!json_is_object(context)) {
        err_set(err, ERR_TYPE, "the context must be a JSON object");
    } else if (now && !(json_is_string(now) && parse_now(json_str(now), &opts->clock_s))) {
        err_set_param(err, ERR_INVALID, "now",
                      "\"now\" must be a date and time like 2025-07-26T12:00:00");
    } else {
        opts->has_clock = now != NULL;
        json_object_del(context, "now");
        return context;
    }
    json_decref(context);
    return NULL;
}

static bool render_model(const char *path, json_t *context, const struct chat_render_opts *opts,
                         struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct chat_source source;
    struct gguf *gguf = gguf_open(path, err);
    if (!gguf) {
        return false;
    }
    const bool tools = json_array_size(json_object_get(context, "tools")) > 0;
    bool good =
        chat_source_find(gguf, tools, &source, err) &&
        default_token(context, "bos_token", gguf, STR("tokenizer.ggml.bos_token_id"), err) &&
        default_token(context, "eos_token", gguf, STR("tokenizer.ggml.eos_token_id"), err);
    if (!good) {
        err_wrap(err, "%s", str_quote(quoted, str_of(path)));
    } else if (str_eq(str_of(source.origin), STR("built-in"))) {
        fprintf(stderr, "hearth: the model brings no chat template; a built-in one is used\n");
    }
    good = good && render(context, source.text, opts, err);
    gguf_close(gguf);
    return good;
}

static bool render_file(const char *path, json_t *context, const struct chat_render_opts *opts,
                        struct err *err)
{
    size_t len;
    char *bytes = os_file_slurp(path, SOURCE_BYTES_MAX, &len, err);
    bool good = bytes && render(context, (struct str){bytes, len}, opts, err);
    mem_free(bytes);
    return good;
}

int cli_template(int argc, char **argv)
{
    static const struct option options[] = {
        {"file", required_argument, NULL, 'f'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct err err = {0};
    const char *file = NULL;
    optind = 0; /* also restarts GNU getopt's permutation */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'f':
            file = optarg;
            break;
        case 'j':
            break;
        case 'h':
            return cli_write(help, sizeof help - 1, &err) ? 0 : cli_fail(&err);
        default: {
            char quote[STR_QUOTE_MAX];
            return cli_usage_error("template", "unknown or incomplete option \"%s\"",
                                   str_quote(quote, str_of(argv[optind - 1])));
        }
        }
    }
    if (argc - optind != (file ? 0 : 1)) {
        return cli_usage_error("template", "one model file or --file FILE is needed");
    }
    struct chat_render_opts opts = {0};
    json_t *context = read_context(&opts, &err);
    bool good = context && (file ? render_file(file, context, &opts, &err)
                                 : render_model(argv[optind], context, &opts, &err));
    json_decref(context);
    return good ? 0 : cli_fail(&err);
}
