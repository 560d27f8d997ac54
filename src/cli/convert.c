/* hearth convert DIR: a checkpoint of Hugging Face's layout as a GGUF file (model/convert.h). */
#include <stdio.h>

#include "base/buf.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "model/convert.h"

struct options {
    const char *out, *type, *pre;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option rows[] = {
    {"output", "outfile", 'o', CLI_TEXT, AT(out), .value_name = "FILE",
     .help = "where to write (DIR with .gguf behind it)"},
    {"type", "outtype", 0, CLI_TEXT, AT(type), .value_name = "TYPE",
     .help = "F32, F16 or BF16 for matrices; without it they keep theirs"},
    {"pre", NULL, 0, CLI_TEXT, AT(pre), .value_name = "NAME",
     .help = "the pre-tokenizer, where its pattern is not known"},
};

#undef AT

static bool parse_type(const char *name, struct model_convert *how, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    const struct dtype_info *info = name ? dtype_find_name(str_of(name)) : NULL;

    if (!name) {
        return true;
    }
    if (!info || (info->type != DTYPE_F32 && info->type != DTYPE_F16 && info->type != DTYPE_BF16)) {
        return err_set(err, ERR_USAGE,
                       "--type: \"%s\" is not F32, F16 or BF16; hearth quantize "
                       "makes others",
                       str_quote(quoted, str_of(name)));
    }
    how->has_type = true;
    how->type = info->type;
    return true;
}

static bool run(const struct options *o, const char *folder, struct err *err)
{
    struct cli_interrupt interrupt;
    struct cli_progress progress;
    struct model_convert how = {.folder = folder,
                                .out = o->out,
                                .pre = o->pre,
                                .progress = cli_show_progress,
                                .is_cancelled = cli_is_interrupted,
                                .arg = &progress};
    struct model_convert_result result = {0};
    struct buf name = {0};
    char quoted[STR_QUOTE_MAX], text[STR_QUOTE_MAX + 128];

    if (!parse_type(o->type, &how, err)) {
        return false;
    }
    if (!how.out) {
        struct str dir = str_of(folder);
        while (dir.len > 1 && dir.ptr[dir.len - 1] == '/') {
            dir.len--;
        }
        buf_add(&name, dir);
        buf_add_text(&name, ".gguf");
        buf_add_char(&name, 0);
        how.out = name.ptr;
    }
    cli_interrupt_watch(&interrupt);
    cli_progress_start(&progress, "convert", 0);
    bool ok = !name.failed && model_convert(&how, &result, err);
    cli_progress_end(&progress);
    cli_interrupt_end(&interrupt);
    if (ok) {
        int n = snprintf(text, sizeof text, "%s: %zu tensors, %.2f MiB read\n",
                         str_quote(quoted, str_of(how.out)), result.tensors,
                         (double)result.bytes / (1024.0 * 1024.0));
        ok = cli_write(text, (size_t)n, err);
    }
    buf_deinit(&name);
    return ok;
}

int cli_convert(int argc, char **argv)
{
    struct options o = {0};
    struct cli_table table = {0};
    struct err err = {0};
    const char *operands[1];
    size_t count = 0;

    cli_table_add(&table, rows, sizeof rows / sizeof *rows, 0);
    if (cli_options_want_help(argc, argv)) {
        printf(
            "usage: hearth convert DIR [OPTIONS]\n\n"
            "Makes a GGUF file of a checkpoint: config.json, safetensors, and tokenizer.json or\n"
            "tokenizer.model. Architectures:\n\n ");
        for (size_t i = 0; model_convert_family(i); i++) {
            printf(" %s%s", model_convert_family(i), i % 3 == 2 ? "\n " : "");
        }
        printf("\n\n");
        cli_options_print(&table, stdout);
        return 0;
    }
    bool ok = cli_options_parse(&table, &o, argc, argv, operands, 1, &count, &err);
    if (ok && count != 1) {
        ok = err_set(&err, ERR_USAGE, "a folder is needed");
    }
    ok = ok && run(&o, operands[0], &err);
    if (!ok && err.code == ERR_USAGE) {
        return cli_usage_error("convert", "%s", err.text);
    }
    return ok ? 0 : cli_fail(&err);
}
