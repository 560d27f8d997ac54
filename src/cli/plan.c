/* hearth plan: the memory a model would take here, without reading its weights. */
#include <stdio.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "route/local.h"

struct options {
    struct route_local_params local;
    uint32_t memory_mib;
    bool is_json;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option own_options[] = {
    {"parallel", NULL, 0, CLI_COUNT, AT(local.sequences_max), .low = 1, .high = 256,
     .value_name = "N", .help = "sequences generated at once (8)"},
    {"batch", NULL, 'b', CLI_COUNT, AT(local.batch_rows_max), .low = 1, .high = 8192,
     .value_name = "N", .help = "token rows of one step (512)"},
    {"kv-tokens", NULL, 0, CLI_COUNT, AT(local.kv_tokens), .low = 0, .high = 2147483647,
     .value_name = "N", .help = "tokens in the KV cache of all sequences (what they need or fits)"},
    {"memory-mib", NULL, 0, CLI_COUNT, AT(memory_mib), .low = 0, .high = 1 << 30, .value_name = "N",
     .help = "for a machine with so much free (what is free here)"},
    {"json", NULL, 0, CLI_FLAG, AT(is_json), .help = "one JSON object"},
};

#undef AT

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void write_text(const struct options *o, const struct route_plan *plan, struct buf *out)
{
    const struct model_plan *m = &plan->model;
    const struct row {
        const char *name;
        uint64_t bytes;
        const char *note;
    } rows[] = {
        {"weights", m->weights_bytes, "repacked for the kernels; the file is not kept"},
        {"KV cache", m->kv_bytes, ""},
        {"scratch", m->scratch_bytes, "activations of a step"},
        {"tables", m->table_bytes, "rope"},
        {"engine", plan->engine_bytes, "sequences, logits, samplers, index of the cache"},
        {"huge pages", plan->round_bytes, "the ends of the last ones"},
        {"process", plan->process_bytes, "program, tokenizer, template"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_add_format(out, "%-12s %10.1f MiB", rows[i].name, mib(rows[i].bytes));
        if (rows[i].bytes == m->kv_bytes && i == 1) {
            buf_add_format(out, "   %u pages of %.1f KiB, %s", m->kv_pages,
                           (double)m->page_bytes / 1024, route_kv_type_name(o->local.kv_type));
        } else if (rows[i].note[0]) {
            buf_add_format(out, "   %s", rows[i].note);
        }
        buf_add_char(out, '\n');
    }
    buf_add_format(out, "%-12s %10.1f MiB   at most; %.1f MiB may be taken now\n", "in all",
                   mib(plan->total_bytes), mib(plan->available_bytes));
    buf_add_format(out, "%-12s %10u tokens, %u for all sequences\n", "context", m->ctx_tokens,
                   m->kv_pages * KV_PAGE_TOKENS);
}

static void write_json(const struct options *o, const struct route_plan *plan, struct buf *out)
{
    const struct model_plan *m = &plan->model;
    const struct row {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"weights_bytes", m->weights_bytes},
        {"kv_bytes", m->kv_bytes},
        {"scratch_bytes", m->scratch_bytes},
        {"table_bytes", m->table_bytes},
        {"engine_bytes", plan->engine_bytes},
        {"round_bytes", plan->round_bytes},
        {"process_bytes", plan->process_bytes},
        {"total_bytes", plan->total_bytes},
        {"available_bytes", plan->available_bytes},
        {"ctx_tokens", m->ctx_tokens},
        {"kv_pages", m->kv_pages},
        {"page_bytes", m->page_bytes},
    };
    buf_add_format(out, "{\"kv_type\":\"%s\"", route_kv_type_name(o->local.kv_type));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_add_format(out, ",\"%s\":%llu", rows[i].name, (unsigned long long)rows[i].value);
    }
    buf_add_text(out, "}\n");
}

static void print_help(const struct cli_table *table)
{
    puts("usage: hearth plan [MODEL] [OPTIONS]\n\n"
         "The memory that serving a model would take here: every row comes from the code that "
         "allocates it.\nNo weights are read. Status 6 says that it does not fit.\n");
    cli_options_print(table, stdout);
}

int cli_plan(int argc, char **argv)
{
    struct options o = {.local = route_local_params_default()};
    struct cli_table table = {.count = 0};
    const char *operand = NULL;
    size_t operand_count = 0;
    struct route_plan plan;
    struct buf out = {0};
    struct err err = {0};
    cli_table_add(&table, own_options, sizeof own_options / sizeof *own_options, 0);
    cli_table_add(&table, cli_local_options, cli_local_option_count,
                  offsetof(struct options, local));
    if (cli_options_want_help(argc, argv)) {
        print_help(&table);
        return 0;
    }
    if (!cli_level_from_environment(&o.local.cpu_level, &err) ||
        !cli_options_parse(&table, &o, argc, argv, &operand, 1, &operand_count, &err)) {
        return cli_usage_error("plan", "%s", err.text);
    }
    char *path = cli_find_model(operand, &err);
    o.local.path = path;
    o.local.memory_max = (uint64_t)o.memory_mib << 20;
    bool ok = path && route_local_plan(&o.local, &plan, &err);
    if (ok) {
        (o.is_json ? write_json : write_text)(&o, &plan, &out);
        ok = (!out.failed || err_set_memory(&err, out.len)) && cli_write(out.ptr, out.len, &err);
    }
    buf_deinit(&out);
    mem_free(path);
    return ok ? 0 : cli_fail(&err);
}
