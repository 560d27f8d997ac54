/* hearth bench --server: load on a server, by a scenario file or by a list of user counts. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/bench_server.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "toolkit/load.h"
#include "toolkit/load_print.h"

enum { SCENARIO_BYTES_MAX = 4 << 20 };

struct options {
    const char *server, *scenario, *model, *users, *key, *svg;
    float seconds;
    uint32_t max_tokens;
    bool is_json;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option own_options[] = {
    {"server", NULL, 0, CLI_TEXT, AT(server), .value_name = "URL",
     .help = "the server, with or without /v1"},
    {"scenario", NULL, 0, CLI_TEXT, AT(scenario), .value_name = "FILE",
     .help = "JSON: stages, requests, limits (docs/load.md)"},
    {"model", NULL, 'm', CLI_TEXT, AT(model), .value_name = "ID", .help = "the model to ask"},
    {"users", NULL, 'u', CLI_TEXT, AT(users), .value_name = "N,...",
     .help = "a stage for each number of users that ask at once (1)"},
    {"seconds", NULL, 't', CLI_NUMBER, AT(seconds), .low = 0.1, .high = 86400, .value_name = "S",
     .help = "how long each of these stages takes (10)"},
    {"max-tokens", NULL, 'n', CLI_COUNT, AT(max_tokens), .low = 1, .high = 1 << 24,
     .value_name = "N", .help = "length of answers without a scenario (128)"},
    {"api-key", NULL, 0, CLI_TEXT, AT(key), .value_name = "KEY",
     .help = "a key; HEARTH_API_KEY is read as well, and other users do not see it"},
    {"json", NULL, 0, CLI_FLAG, AT(is_json), .help = "the results as JSON"},
    {"svg", NULL, 0, CLI_TEXT, AT(svg), .value_name = "FILE", .help = "and a picture of them"},
};

#undef AT

static void print_help(const struct cli_table *table)
{
    printf("usage: hearth bench --server URL [OPTIONS]\n\n"
           "Puts load on any server that speaks OpenAI's chat completions, and tells the time to\n"
           "the first token, the time between tokens, and tokens per second.\n\n");
    cli_options_print(table, stdout);
}

static bool read_scenario(const char *path, struct toolkit_scenario *scenario, struct err *err)
{
    size_t len = 0;
    char *text = os_file_slurp(path, SCENARIO_BYTES_MAX, &len, err);
    json_t *tree = text ? json_parse((struct str){text, len}, NULL, err) : NULL;
    mem_free(text);
    return tree && toolkit_scenario_read(scenario, tree, err);
}

/* "1,4,16" as stages of so many seconds. */
static bool make_stages(const struct options *options, struct toolkit_scenario *scenario,
                        struct err *err)
{
    struct str rest = str_of(options->users ? options->users : "1");
    scenario->stage_count = 0;
    while (rest.len) {
        uint64_t users;
        struct str word = str_trim(str_cut(&rest, ','));
        if (!str_to_u64(word, &users) || users < 1 || users > TOOLKIT_USERS_MAX ||
            scenario->stage_count == TOOLKIT_STAGES_MAX) {
            return err_set(err, ERR_USAGE, "--users takes up to %d numbers from 1 to %d",
                           (int)TOOLKIT_STAGES_MAX, (int)TOOLKIT_USERS_MAX);
        }
        scenario->stages[scenario->stage_count++] =
            (struct toolkit_stage){.users = (uint32_t)users, .seconds = (double)options->seconds};
    }
    return scenario->stage_count > 0 || err_set(err, ERR_USAGE, "--users has no number");
}

static bool prepare(const struct options *options, struct toolkit_scenario *scenario,
                    struct err *err)
{
    toolkit_scenario_init(scenario);
    scenario->requests[0].max_tokens = options->max_tokens;
    if (options->scenario && !read_scenario(options->scenario, scenario, err)) {
        return err_wrap(err, "%s", options->scenario);
    }
    if ((!options->scenario || options->users) && !make_stages(options, scenario, err)) {
        return false;
    }
    if (options->model) {
        scenario->model = str_of(options->model);
    }
    return scenario->model.len > 0 || err_set(err, ERR_USAGE, "--model is needed");
}

static bool write_svg(const struct options *options, const struct toolkit_stage_result *results,
                      size_t count, struct err *err)
{
    struct buf picture = {0};
    struct os_out file;
    toolkit_load_svg(results, count, options->server, &picture);
    bool ok = os_out_open(&file, options->svg, err) &&
              os_out_write(&file, picture.ptr, picture.len, err) && os_out_commit(&file, err);
    buf_deinit(&picture);
    return ok;
}

static bool show(const struct options *options, const struct toolkit_stage_result *results,
                 size_t count, struct err *err)
{
    struct buf out = {0};
    if (options->is_json) {
        toolkit_load_json(results, count, &out);
    } else {
        toolkit_load_table(results, count, &out);
    }
    bool ok = cli_write(out.ptr, out.len, err);
    buf_deinit(&out);
    return ok && (!options->svg || write_svg(options, results, count, err));
}

struct watch {
    struct cli_progress bar;
    size_t stage_count;
};

static bool on_progress(void *arg, size_t stage, double part)
{
    struct watch *watch = arg;
    cli_progress_update(&watch->bar, (uint64_t)(((double)stage + part) * 1000));
    return true;
}

static int run(const struct options *options, struct toolkit_scenario *scenario)
{
    struct toolkit_stage_result results[TOOLKIT_STAGES_MAX];
    struct watch watch = {.stage_count = scenario->stage_count};
    struct toolkit_load_params params = {.url = options->server,
                                         .key =
                                             options->key ? options->key : getenv("HEARTH_API_KEY"),
                                         .scenario = scenario,
                                         .progress = on_progress,
                                         .arg = &watch};
    struct err err;
    size_t count = 0;
    char exceeded[256];
    cli_progress_start(&watch.bar, "load", scenario->stage_count * 1000);
    bool ok = toolkit_load_run(&params, results, &count, &err);
    cli_progress_end(&watch.bar);
    if (!ok || !show(options, results, count, &err)) {
        return cli_fail(&err);
    }
    if (toolkit_load_exceeds(&scenario->limits, results, count, exceeded)) {
        err_set(&err, ERR_LIMIT, "%s", exceeded);
        return cli_fail(&err);
    }
    return 0;
}

bool cli_bench_wants_server(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (str_starts(str_of(argv[i]), STR("--server"))) {
            return true;
        }
    }
    return false;
}

int cli_bench_server(int argc, char **argv)
{
    struct options options = {.seconds = 10, .max_tokens = 128};
    struct cli_table table = {0};
    struct toolkit_scenario scenario;
    struct err err;
    size_t operand_count;
    cli_table_add(&table, own_options, sizeof own_options / sizeof *own_options, 0);
    if (cli_options_want_help(argc, argv)) {
        print_help(&table);
        return 0;
    }
    if (!cli_options_parse(&table, &options, argc, argv, NULL, 0, &operand_count, &err)) {
        return cli_usage_error("bench --server", "%s", err.text);
    }
    if (!prepare(&options, &scenario, &err)) {
        toolkit_scenario_deinit(&scenario);
        return cli_fail(&err);
    }
    int status = run(&options, &scenario);
    toolkit_scenario_deinit(&scenario);
    return status;
}
