/* hearth lora: what is in an adapter, and a model with adapters written as a file of its own. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "model/lora_export.h"
#include "route/adapters.h"

struct options {
    struct cli_texts lora;
    const char *out;
    uint32_t threads;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option rows[] = {
    {"lora", NULL, 0, CLI_TEXTS, AT(lora), .value_name = "FILE[=SCALE]",
     .help = "an adapter to add; may be given several times"},
    {"output", NULL, 'o', CLI_TEXT, AT(out), .value_name = "FILE", .help = "the file to write"},
    {"threads", NULL, 't', CLI_COUNT, AT(threads), .low = 0, .high = 256, .value_name = "N",
     .help = "compute threads (0: one per physical core)"},
};

#undef AT

/* ---- show ---- */

/* NAME.lora_a: [cols][rank]; its other half has the rows. */
static void show_pair(const struct gguf *gguf, const struct gguf_tensor *a, struct buf *out)
{
    char name[256], quoted[STR_QUOTE_MAX];
    struct str base = str_slice(a->name, 0, a->name.len - strlen(".lora_a"));
    snprintf(name, sizeof name, "%.*s.lora_b", (int)base.len, base.ptr);
    const struct gguf_tensor *b = gguf_find_tensor(gguf, str_of(name));
    buf_add_format(out, "  %-36s rank %4llu   %6llu x %-6llu %s\n", str_quote(quoted, base),
                   (unsigned long long)a->dims[1], (unsigned long long)(b ? b->dims[1] : 0),
                   (unsigned long long)a->dims[0], dtype_info(a->type)->name);
}

static int show(const char *path)
{
    struct err err = {0};
    struct buf out = {0};
    struct str architecture = {0}, name = {0}, type = {0};
    char quoted[STR_QUOTE_MAX];
    float alpha = 0;
    struct gguf *gguf = gguf_open(path, &err);
    bool ok = gguf && gguf_get_str(gguf, STR("adapter.type"), &type, NULL, &err) &&
              gguf_get_str(gguf, STR("general.architecture"), &architecture, NULL, &err) &&
              gguf_get_str(gguf, STR("general.name"), &name, NULL, &err) &&
              gguf_get_f32(gguf, STR("adapter.lora.alpha"), &alpha, NULL, &err);
    if (ok && !str_eq(type, STR("lora"))) {
        ok = err_set(&err, ERR_FORMAT, "%s is no LoRA adapter: adapter.type is \"%s\"", path,
                     str_quote(quoted, type));
    }
    if (ok) {
        buf_add_format(&out, "name          %s\n", str_quote(quoted, name));
        buf_add_format(&out, "architecture  %s\n", str_quote(quoted, architecture));
        buf_add_format(&out, "alpha         %g\n", (double)alpha);
        buf_add_format(&out, "bytes         %llu\nmatrices\n",
                       (unsigned long long)gguf->tensor_bytes);
    }
    for (size_t i = 0; ok && i < gguf->tensor_count; i++) {
        if (str_ends(gguf->tensors[i].name, STR(".lora_a"))) {
            show_pair(gguf, &gguf->tensors[i], &out);
        }
    }
    ok = ok && (!out.failed || err_set_memory(&err, out.len)) && cli_write(out.ptr, out.len, &err);
    buf_deinit(&out);
    gguf_close(gguf);
    return ok ? 0 : cli_fail(&err);
}

/* ---- export ---- */

static void show_progress(void *arg, uint64_t done, uint64_t all)
{
    struct cli_progress *progress = arg;
    progress->total = all;
    cli_progress_update(progress, done);
}

static bool export(const char *path, const struct options *o, const struct route_adapters *adapters,
                   struct err *err)
{
    struct gguf *files[MODEL_ADAPTERS_MAX] = {0};
    float scales[MODEL_ADAPTERS_MAX] = {0};
    struct cli_progress progress;
    struct gguf *model = gguf_open(path, err);
    bool ok = model && route_adapters_open(adapters, files, err);
    struct pool *pool = ok ? pool_create(o->threads ? o->threads : os_cpu_cores(), err) : NULL;
    for (size_t i = 0; i < adapters->count; i++) {
        scales[i] = adapters->items[i].scale;
    }
    const struct model_lora_export how = {.model = model,
                                          .adapters = (const struct gguf *const *)files,
                                          .scales = scales,
                                          .count = adapters->count,
                                          .pool = pool,
                                          .progress = show_progress,
                                          .arg = &progress};
    cli_progress_start(&progress, "export", 0);
    ok = pool && model_lora_export(&how, o->out, err);
    cli_progress_end(&progress);
    pool_destroy(pool);
    for (size_t i = 0; i < MODEL_ADAPTERS_MAX; i++) {
        gguf_close(files[i]);
    }
    gguf_close(model);
    return ok;
}

static int export_all(const char *path, const struct options *o)
{
    struct route_adapters adapters = {0};
    struct err err = {0};
    bool ok = true;
    if (!o->out || o->lora.count == 0) {
        return cli_usage_error("lora", "export needs --lora FILE and -o OUT");
    }
    for (size_t i = 0; ok && i < o->lora.count; i++) {
        ok = route_adapters_add(&adapters, o->lora.items[i], &err);
    }
    ok = ok && export(path, o, &adapters, &err);
    route_adapters_deinit(&adapters);
    return ok                      ? 0
           : err.code == ERR_USAGE ? cli_usage_error("lora", "%s", err.text)
                                   : cli_fail(&err);
}

int cli_lora(int argc, char **argv)
{
    struct options options = {0};
    struct cli_table table = {0};
    struct err err = {0};
    const char *operands[2];
    size_t count = 0;
    cli_table_add(&table, rows, sizeof rows / sizeof *rows, 0);
    if (cli_options_want_help(argc, argv)) {
        printf("usage: hearth lora show FILE\n"
               "       hearth lora export MODEL --lora FILE[=SCALE]... -o OUT\n\n"
               "Shows what a LoRA adapter changes, or writes a model with adapters added to its\n"
               "weights, in the types they have.\n\n");
        cli_options_print(&table, stdout);
        return 0;
    }
    if (!cli_options_parse(&table, &options, argc, argv, operands, 2, &count, &err)) {
        return cli_usage_error("lora", "%s", err.text);
    }
    if (count == 2 && strcmp(operands[0], "show") == 0 && options.lora.count == 0 && !options.out) {
        return show(operands[1]);
    }
    if (count == 2 && strcmp(operands[0], "export") == 0) {
        return export_all(operands[1], &options);
    }
    return cli_usage_error("lora", "show FILE or export MODEL is needed");
}
