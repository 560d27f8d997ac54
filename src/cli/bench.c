/* hearth bench: how fast a model runs here, and how far that is from what the machine can do. This
 * file is the command; bench_run.c measures, bench_print.c shows. */
#include <stdio.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/bench_draft.h"
#include "cli/bench_print.h"
#include "cli/bench_run.h"
#include "cli/bench_server.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "route/facts.h"
#include "route/local.h"

enum { REPS_DEFAULT = 5, REPS_MAX = 1000, TOKENS_MAX = 1 << 20, SEQUENCES_MAX = 4096 };

struct options {
    struct route_local_params local;
    struct bench_options bench;
    const char *depths, *sequences; /* as written */
    bool is_json, speculates;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option own_options[] = {
    {"pp", NULL, 0, CLI_COUNT, AT(bench.prefill_tokens), .low = 0, .high = TOKENS_MAX,
     .value_name = "N", .help = "prompt tokens of a prefill row (512; 0: leave it out)"},
    {"tg", NULL, 0, CLI_COUNT, AT(bench.decode_tokens), .low = 0, .high = TOKENS_MAX,
     .value_name = "N", .help = "tokens of a decode row (128; 0: leave it out)"},
    {"depth", NULL, 'd', CLI_TEXT, AT(depths), .value_name = "N,...",
     .help = "tokens that are in the context before both; a list gives rows for each (0)"},
    {"sequences", NULL, 's', CLI_TEXT, AT(sequences), .value_name = "N,...",
     .help = "further rows: so many sequences that decode together"},
    {"text-tokens", NULL, 0, CLI_COUNT, AT(bench.text_tokens), .low = 1, .high = 8192,
     .value_name = "N", .help = "an encoder: tokens of each text of a batch (256)"},
    {"batch", NULL, 'b', CLI_COUNT, AT(bench.batch), .low = 1, .high = 1 << 14, .value_name = "N",
     .help = "prompt rows of one step (512)"},
    {"reps", NULL, 'r', CLI_COUNT, AT(bench.reps), .low = 1, .high = REPS_MAX, .value_name = "N",
     .help = "repetitions (5)"},
    {"speculation", NULL, 0, CLI_FLAG, AT(speculates),
     .help = "instead: speed with guessed tokens (all, half, none right) over without"},
    {"json", NULL, 0, CLI_FLAG, AT(is_json), .help = "one JSON object"},
};

#undef AT

static void make_table(struct cli_table *table)
{
    table->count = 0;
    cli_table_add(table, own_options, sizeof own_options / sizeof *own_options, 0);
    cli_table_add(table, cli_local_options, cli_local_option_count,
                  offsetof(struct options, local));
}

/* "1,2,3": ascending numbers of [low, high]. */
static bool parse_list(const char *name, const char *text, uint32_t low, uint32_t high,
                       struct bench_list *list, struct err *err)
{
    struct str rest = str_of(text);
    list->count = 0;
    for (bool is_last = false; !is_last;) {
        const size_t comma = str_find(rest, STR(","), 0);
        uint64_t value;
        is_last = comma == SIZE_MAX;
        const struct str item = is_last ? rest : str_slice(rest, 0, comma);
        if (!str_to_u64(item, &value) || value < low || value > high ||
            (list->count && value <= list->values[list->count - 1])) {
            char quoted[STR_QUOTE_MAX];
            return err_set(err, ERR_USAGE,
                           "--%s: \"%s\" is not a list of ascending numbers from %u to %u", name,
                           str_quote(quoted, str_of(text)), low, high);
        }
        if (list->count == BENCH_LIST_MAX) {
            return err_set(err, ERR_USAGE, "--%s: more than %d numbers", name, BENCH_LIST_MAX);
        }
        list->values[list->count++] = (uint32_t)value;
        rest = is_last ? rest : str_slice(rest, comma + 1, rest.len);
    }
    return true;
}

static bool parse_rows(struct options *o, struct err *err)
{
    struct bench_options *b = &o->bench;
    if (!parse_list("depth", o->depths, 0, TOKENS_MAX, &b->depths, err) ||
        (o->sequences &&
         !parse_list("sequences", o->sequences, 1, SEQUENCES_MAX, &b->sequences, err))) {
        return false;
    }
    if (b->prefill_tokens == 0 && b->decode_tokens == 0) {
        return err_set(err, ERR_USAGE, "--pp 0 and --tg 0 leave nothing to measure");
    }
    if (o->sequences && b->decode_tokens == 0) {
        return err_set(err, ERR_USAGE, "--sequences decodes, and --tg 0 leaves that out");
    }
    return true;
}

/* Speed does not depend on what a model was trained for: a short context is made longer. */
static bool size_model(struct options *o, struct err *err)
{
    const uint32_t tokens = cli_bench_ctx_tokens(&o->bench);
    const struct bench_list *s = &o->bench.sequences;
    const uint32_t together = s->count ? s->values[s->count - 1] : 1;
    if (o->local.ctx_tokens != 0 && o->local.ctx_tokens < tokens) {
        return err_set(err, ERR_USAGE, "--ctx %u is less than the %u tokens to be measured",
                       o->local.ctx_tokens, tokens);
    }
    o->local.model_only = !o->speculates;
    o->local.ctx_tokens = o->local.ctx_tokens ? o->local.ctx_tokens : tokens;
    o->local.kv_tokens = cli_bench_kv_tokens(&o->bench);
    o->local.sequences_max = together;
    o->local.batch_rows_max = o->bench.batch > together ? o->bench.batch : together;
    return true;
}

static bool parse(struct options *o, int argc, char **argv, struct err *err)
{
    struct cli_table table;
    const char *operands[1];
    size_t operand_count;
    *o = (struct options){.local = route_local_params_default(),
                          .bench = {.prefill_tokens = 512,
                                    .decode_tokens = 128,
                                    .text_tokens = 256,
                                    .reps = REPS_DEFAULT,
                                    .batch = ROUTE_BATCH_ROWS},
                          .depths = "0"};
    make_table(&table);
    if (!cli_level_from_environment(&o->local.cpu_level, err) ||
        !cli_options_parse(&table, o, argc, argv, operands, 1, &operand_count, err)) {
        return false;
    }
    o->local.path = operand_count ? operands[0] : NULL;
    if (o->speculates && o->bench.decode_tokens < 2) {
        return err_set(err, ERR_USAGE, "--speculation needs --tg 2 or more");
    }
    return parse_rows(o, err) && size_model(o, err);
}

static bool measure(const struct options *o, struct route_local *local, struct err *err)
{
    struct bench_row rows[BENCH_ROWS_MAX];
    struct cli_progress progress;
    struct buf out = {0};
    cli_progress_start(&progress, "measuring", 0);
    const size_t count = cli_bench_run(&o->bench, local, cli_show_progress, &progress, rows, err);
    cli_progress_end(&progress);
    if (count == 0) {
        return false;
    }
    if (o->is_json) {
        cli_bench_print_json(local, o->bench.reps, rows, count, &out);
    } else {
        cli_bench_print_table(local, rows, count, &out);
    }
    bool is_done = out.failed ? err_set_memory(err, out.len) : cli_write(out.ptr, out.len, err);
    buf_deinit(&out);
    return is_done;
}

static bool measure_speculation(const struct options *o, struct route_local *local, struct err *err)
{
    struct buf out = {0};
    const uint32_t pairs = o->bench.reps > BENCH_PAIRS_MIN ? o->bench.reps : BENCH_PAIRS_MIN;
    bool ok = (route_local_engine(local) ||
               err_set(err, ERR_UNSUPPORTED, "--speculation needs a model that generates")) &&
              cli_bench_draft_run(local, o->bench.decode_tokens, pairs, o->is_json, &out, err);
    ok = ok && (!out.failed || err_set_memory(err, out.len)) && cli_write(out.ptr, out.len, err);
    buf_deinit(&out);
    return ok;
}

int cli_bench(int argc, char **argv)
{
    if (cli_bench_wants_server(argc, argv)) {
        return cli_bench_server(argc, argv);
    }
    struct options o;
    struct err err = {0};
    struct cli_table table;
    struct cli_progress progress;
    if (cli_options_want_help(argc, argv)) {
        make_table(&table);
        printf("usage: hearth bench [MODEL] [OPTIONS]\n\n"
               "Measures prefill and decode, the machine's read bandwidth and int8 peak, and what\n"
               "part of the limits the model reaches. Without MODEL it is the bundled one.\n\n");
        cli_options_print(&table, stdout);
        return 0;
    }
    log_set_level(LOG_WARN);
    if (!parse(&o, argc, argv, &err)) {
        return err.code == ERR_USAGE ? cli_usage_error("bench", "%s", err.text) : cli_fail(&err);
    }
    char *path = cli_find_model(o.local.path, &err);
    if (!path) {
        return cli_fail(&err);
    }
    o.local.path = path;
    struct route_facts facts;
    if (route_facts_read(path, &facts, &err) && facts.is_encoder) {
        o.local.ctx_tokens = o.local.kv_tokens = 0; /* texts are as long as they may be */
    }
    cli_progress_start(&progress, "loading", 0);
    struct route_local *local = route_local_open(&o.local, cli_show_progress, &progress, &err);
    cli_progress_end(&progress);
    bool is_done = local && (o.speculates ? measure_speculation : measure)(&o, local, &err);
    route_local_close(local);
    mem_free(path);
    return is_done ? 0 : cli_fail(&err);
}
