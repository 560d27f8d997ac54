/* hearth merge METHOD OUT MODEL[:WEIGHT]...: one model of several (model/merge.h). */
#include <stdio.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "model/merge.h"

enum { THREADS_MAX = 256, OPERANDS_MAX = 2 + MODEL_MERGE_MAX };

static const struct method {
    const char *name, *formula;
} methods[] = {
    [MODEL_MERGE_LINEAR] = {"linear", "the weighted mean"},
    [MODEL_MERGE_SLERP] = {"slerp", "between two models on the arc; the weights say how far"},
    [MODEL_MERGE_TASK] = {"task", "BASE + lambda * sum of WEIGHT * (MODEL - BASE)"},
    [MODEL_MERGE_TIES] = {"ties", "the same with small differences dropped, and only those that\n"
                                  "          agree in sign with most of the weight, their mean"},
};

enum { METHOD_COUNT = sizeof methods / sizeof *methods };

struct options {
    const char *base, *type;
    float density, lambda;
    uint32_t thread_count;
    bool no_normalize, is_json;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option rows[] = {
    {"base", NULL, 0, CLI_TEXT, AT(base), .value_name = "MODEL",
     .help = "task, ties: the model the others were made of"},
    {"density", NULL, 0, CLI_NUMBER, AT(density), .low = 0, .high = 1, .value_name = "D",
     .help = "ties: which part of each tensor's differences stays (0.2)"},
    {"lambda", NULL, 0, CLI_NUMBER, AT(lambda), .low = -1000, .high = 1000, .value_name = "L",
     .help = "task, ties: a factor of what is added to the base (1)"},
    {"no-normalize", NULL, 0, CLI_FLAG, AT(no_normalize),
     .help = "linear, ties: sums, not divided by the weights"},
    {"type", NULL, 0, CLI_TEXT, AT(type), .value_name = "TYPE",
     .help = "one of hearth quantize's; without it tensors keep the first model's"},
    {"threads", NULL, 't', CLI_COUNT, AT(thread_count), .low = 1, .high = THREADS_MAX,
     .value_name = "N", .help = "threads that merge (the processor's cores)"},
    {"json", NULL, 0, CLI_FLAG, AT(is_json), .help = "one JSON object"},
};

#undef AT

static void print_help(const struct cli_table *table)
{
    printf("usage: hearth merge METHOD OUT MODEL[:WEIGHT]... [OPTIONS]\n\n"
           "Writes one model OUT of models with the same architecture, shapes and vocabulary.\n"
           "A MODEL is a file or a name of hearth list; a number after its last colon is its\n"
           "weight (1). Metadata, such as the chat template, is the first one's. OUT appears only\n"
           "when it is complete.\n\nmethods:\n");
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        printf("  %-7s %s\n", methods[i].name, methods[i].formula);
    }
    printf("\n");
    cli_options_print(table, stdout);
}

static bool find_method(const char *name, enum model_merge_method *method, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        if (str_eq(str_of(name), str_of(methods[i].name))) {
            *method = (enum model_merge_method)i;
            return true;
        }
    }
    return err_set(err, ERR_USAGE, "unknown method \"%s\": linear, slerp, task or ties",
                   str_quote(quoted, str_of(name)));
}

/* "a.gguf:0.6": the path (mem_free it) and the weight. */
static bool parse_model(const char *operand, char **path, double *weight, struct err *err)
{
    struct str text = str_of(operand);
    struct buf name = {0};
    size_t colon = text.len;
    *weight = 1;
    while (colon > 0 && text.ptr[colon - 1] != ':') {
        colon--;
    }
    if (colon > 1 && str_to_f64(str_slice(text, colon, text.len), weight)) {
        text.len = colon - 1;
    }
    buf_add(&name, text);
    buf_add_char(&name, 0);
    *path = name.failed ? NULL : cli_find_model(name.ptr, err);
    bool ok = *path || (name.failed && err_set_memory(err, text.len));
    buf_deinit(&name);
    return ok && *path;
}

static bool report(const struct options *o, const char *out, const struct model_merge *how,
                   const struct model_merge_result *result, struct err *err)
{
    struct buf text = {0};
    char quoted[STR_QUOTE_MAX];
    if (o->is_json) {
        buf_add_text(&text, "{\"output\":");
        json_write_string(&text, str_of(out));
        buf_add_format(&text,
                       ",\"method\":\"%s\",\"models\":%zu,\"tensors\":%llu,\"elements\":%llu,"
                       "\"bytes_in\":%llu,\"bytes_out\":%llu}\n",
                       methods[how->method].name, how->input_count,
                       (unsigned long long)result->tensors, (unsigned long long)result->elements,
                       (unsigned long long)result->bytes_in, (unsigned long long)result->bytes_out);
    } else {
        buf_add_format(&text, "%s: %llu tensors of %zu models merged, %.2f MiB of weights\n",
                       str_quote(quoted, str_of(out)), (unsigned long long)result->tensors,
                       how->input_count, (double)result->bytes_out / (1024.0 * 1024.0));
    }
    bool ok = (!text.failed || err_set_memory(err, text.len)) && cli_write(text.ptr, text.len, err);
    buf_deinit(&text);
    return ok;
}

static bool run(const struct options *o, const char *out, struct model_merge *how, struct err *err)
{
    struct cli_interrupt interrupt;
    struct cli_progress progress;
    struct model_merge_result result;
    how->pool = pool_create(o->thread_count, err);
    if (!how->pool) {
        return false;
    }
    how->progress = cli_show_progress;
    how->is_cancelled = cli_is_interrupted;
    how->arg = &progress;
    cli_interrupt_watch(&interrupt);
    cli_progress_start(&progress, "merge", 0);
    bool ok = model_merge(out, how, &result, err);
    cli_progress_end(&progress);
    cli_interrupt_end(&interrupt);
    pool_destroy(how->pool);
    return ok && report(o, out, how, &result, err);
}

static bool check_options(const struct options *o, struct model_merge *how, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    how->target = o->type ? gguf_mix_find(str_of(o->type)) : NULL;
    if (o->type && !how->target) {
        return err_set(err, ERR_USAGE, "unknown type \"%s\"; hearth quantize --help lists them",
                       str_quote(quoted, str_of(o->type)));
    }
    how->density = (double)o->density;
    how->lambda = (double)o->lambda;
    how->is_plain_sum = o->no_normalize;
    return true;
}

static bool merge(const struct options *o, const char *const *operands, size_t count,
                  struct err *err)
{
    struct model_merge_input inputs[MODEL_MERGE_MAX];
    char *paths[MODEL_MERGE_MAX] = {0}, *base = NULL;
    struct model_merge how = {.inputs = inputs};
    if (count < 3) {
        return err_set(err, ERR_USAGE, "merge needs a method, an output and models");
    }
    bool ok = find_method(operands[0], &how.method, err) && check_options(o, &how, err);
    for (size_t i = 0; i < count - 2 && ok; i++) {
        ok = parse_model(operands[i + 2], &paths[i], &inputs[i].weight, err);
        inputs[i].path = paths[i];
        how.input_count = i + 1;
    }
    if (ok && o->base) {
        how.base = base = cli_find_model(o->base, err);
        ok = base != NULL;
    }
    ok = ok && run(o, operands[1], &how, err);
    for (size_t i = 0; i < MODEL_MERGE_MAX; i++) {
        mem_free(paths[i]);
    }
    mem_free(base);
    return ok;
}

int cli_merge(int argc, char **argv)
{
    struct options o = {.density = 0.2F,
                        .lambda = 1,
                        .thread_count = (uint32_t)size_min(os_cpu_cores(), THREADS_MAX)};
    struct cli_table table = {0};
    struct err err = {0};
    const char *operands[OPERANDS_MAX];
    size_t count = 0;

    cli_table_add(&table, rows, sizeof rows / sizeof *rows, 0);
    if (cli_options_want_help(argc, argv)) {
        print_help(&table);
        return 0;
    }
    bool ok = cli_options_parse(&table, &o, argc, argv, operands, OPERANDS_MAX, &count, &err) &&
              merge(&o, operands, count, &err);
    if (!ok && err.code == ERR_USAGE) {
        return cli_usage_error("merge", "%s", err.text);
    }
    return ok ? 0 : cli_fail(&err);
}
