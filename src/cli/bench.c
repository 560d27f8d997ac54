/* hearth bench: how fast a model runs here, and how far that is from what the machine can do.
 *
 * A decode step reads every weight once, so it cannot be faster than memory is read; a prompt is
 * multiplied by every weight, so it cannot be faster than the integer units multiply. Both limits
 * are measured in the same run, next to the model, because a shared machine changes from minute to
 * minute:
 *
 *     decode_fraction  = weight bytes per token * tokens/s  /  read bandwidth
 *     prefill_fraction = 2 * multiply-adds per token * tokens/s  /  int8 peak
 *
 * Figures are medians; the deviation shown is the median absolute deviation. Limits are measured
 * before and after the model and the better of both counts, so the fractions flatter nobody. */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "route/local.h"
#include "tensor/limits.h"

enum { REPS_MIN = 5, REPS_MAX = 1000 };

struct options {
    struct route_local_params local;
    uint32_t prefill_tokens, decode_tokens, reps, depth, batch;
    bool is_json;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option own_options[] = {
    {"pp", NULL, 0, CLI_COUNT, AT(prefill_tokens), .low = 0, .high = 1 << 20, .value_name = "N",
     .help = "prompt tokens of the prefill run (512; 0: leave it out)"},
    {"tg", NULL, 0, CLI_COUNT, AT(decode_tokens), .low = 0, .high = 1 << 20, .value_name = "N",
     .help = "tokens of the decode run (128; 0: leave it out)"},
    {"depth", NULL, 'd', CLI_COUNT, AT(depth), .low = 0, .high = 1 << 20, .value_name = "N",
     .help = "tokens that are in the context before both (0)"},
    {"batch", NULL, 'b', CLI_COUNT, AT(batch), .low = 1, .high = 1 << 14, .value_name = "N",
     .help = "prompt rows of one step (512)"},
    {"reps", NULL, 'r', CLI_COUNT, AT(reps), .low = 1, .high = REPS_MAX, .value_name = "N",
     .help = "repetitions (5)"},
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

/* ---- figures ---- */

struct figure {
    double median, deviation, low, high; /* tokens per second */
};

struct result {
    struct figure prefill, decode;
    struct cpu_bandwidth read;
    double int8_gops;
    double prefill_fraction, decode_fraction;
};

static double median(double *values, size_t count)
{
    for (size_t i = 1; i < count; i++) { /* insertion sort: at most a thousand */
        double moved = values[i];
        size_t at = i;
        for (; at > 0 && values[at - 1] > moved; at--) {
            values[at] = values[at - 1];
        }
        values[at] = moved;
    }
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static struct figure summarize(double *rates, size_t count)
{
    struct figure f = {.median = median(rates, count), .low = rates[0], .high = rates[count - 1]};
    for (size_t i = 0; i < count; i++) {
        rates[i] = fabs(rates[i] - f.median);
    }
    f.deviation = median(rates, count);
    return f;
}

/* ---- running ---- */

struct bench {
    const struct options *options;
    struct model *model;
    struct pool *pool;
    struct model_row *rows; /* [batch] */
    uint32_t *pages;
    size_t page_count;
    float *logits; /* [vocab_count] */
    double *rates; /* [reps] */
    struct cli_progress progress;
    uint64_t steps_done;
};

/* Rows [pos, pos + count) of the one sequence; logits of the last. Values do not matter for speed,
 * but ids differ so that embedding rows are not all in the cache. */
static void forward(struct bench *b, uint32_t pos, uint32_t count)
{
    const uint32_t vocab = model_info(b->model)->vocab_count;
    const struct model_seq seq = {b->pages, b->page_count};
    for (uint32_t i = 0; i < count; i++) {
        b->rows[i] = (struct model_row){.token = (int32_t)((pos + i) * 2654435761u % vocab),
                                        .pos = pos + i,
                                        .wants_logits = i + 1 == count};
    }
    const struct model_batch batch = {
        .rows = b->rows, .row_count = count, .seqs = &seq, .seq_count = 1};
    model_forward(b->model, &batch, b->logits);
}

static void prefill(struct bench *b, uint32_t pos, uint32_t count)
{
    for (uint32_t done = 0; done < count;) {
        uint32_t rows = (uint32_t)size_min(count - done, b->options->batch);
        forward(b, pos + done, rows);
        done += rows;
    }
}

static double time_prefill(struct bench *b)
{
    int64_t start = clock_now_ns();
    prefill(b, b->options->depth, b->options->prefill_tokens);
    return b->options->prefill_tokens * 1e9 / (double)(clock_now_ns() - start);
}

static double time_decode(struct bench *b)
{
    int64_t start = clock_now_ns();
    for (uint32_t i = 0; i < b->options->decode_tokens; i++) {
        forward(b, b->options->depth + i, 1);
    }
    return b->options->decode_tokens * 1e9 / (double)(clock_now_ns() - start);
}

static struct figure repeat(struct bench *b, double (*run)(struct bench *b))
{
    run(b); /* warms caches and branch predictors, and faults pages in */
    for (uint32_t i = 0; i < b->options->reps; i++) {
        b->rates[i] = run(b);
        cli_progress_update(&b->progress, ++b->steps_done);
    }
    return summarize(b->rates, b->options->reps);
}

static bool measure_limits(const struct bench *b, struct result *result, struct err *err)
{
    const struct kernels *k = kernels_get(b->options->local.cpu_level);
    struct cpu_bandwidth read;
    if (!cpu_read_bandwidth(b->pool, 0, &read, err)) {
        return false;
    }
    double gops = cpu_peak_int8(k, b->pool);
    result->read = read.gb_s > result->read.gb_s ? read : result->read;
    result->int8_gops = fmax(result->int8_gops, gops);
    return true;
}

static bool run_all(struct bench *b, struct result *result, struct err *err)
{
    const struct options *o = b->options;
    const struct model_info *info = model_info(b->model);
    *result = (struct result){0};
    if (!measure_limits(b, result, err)) {
        return false;
    }
    cli_progress_start(&b->progress, "measuring", o->reps * 2ull);
    if (o->depth) {
        prefill(b, 0, o->depth);
    }
    if (o->prefill_tokens) {
        result->prefill = repeat(b, time_prefill);
    }
    if (o->decode_tokens) {
        result->decode = repeat(b, time_decode);
    }
    cli_progress_end(&b->progress);
    if (!measure_limits(b, result, err)) {
        return false;
    }
    result->prefill_fraction =
        2 * (double)info->macs_per_token * result->prefill.median / (result->int8_gops * 1e9);
    result->decode_fraction =
        (double)info->read_bytes_per_token * result->decode.median / (result->read.gb_s * 1e9);
    return true;
}

/* ---- output ---- */

static void add_number(struct buf *out, const char *key, double value)
{
    char digits[32];
    json_format_double(value, digits);
    buf_add_format(out, ",\"%s\":%s", key, digits);
}

static void add_figure(struct buf *out, const char *name, const struct figure *f)
{
    char key[64];
    snprintf(key, sizeof key, "%s_tok_s", name);
    add_number(out, key, f->median);
    snprintf(key, sizeof key, "%s_tok_s_mad", name);
    add_number(out, key, f->deviation);
    snprintf(key, sizeof key, "%s_tok_s_min", name);
    add_number(out, key, f->low);
    snprintf(key, sizeof key, "%s_tok_s_max", name);
    add_number(out, key, f->high);
}

static void write_json(struct buf *out, const struct route_local *local, const struct options *o,
                       const struct result *r)
{
    const struct model_info *info = model_info(route_local_model(local));
    char cpu[96];
    os_cpu_name(cpu);
    buf_add_text(out, "{\"model\":");
    json_write_string(out, route_local_id(local));
    buf_add_text(out, ",\"architecture\":");
    json_write_string(out, str_of(info->architecture));
    buf_add_text(out, ",\"quantization\":");
    json_write_string(out, str_of(info->quantization));
    buf_add_format(out, ",\"parameters\":%llu,\"file_bytes\":%llu",
                   (unsigned long long)info->parameter_count, (unsigned long long)info->file_bytes);
    buf_add_text(out, ",\"cpu\":");
    json_write_string(out, str_of(cpu));
    buf_add_format(out, ",\"cpu_level\":\"%s\",\"kv\":\"%s\",\"threads\":%u",
                   cpu_level_name(kernels_get(o->local.cpu_level)->level),
                   route_kv_type_name(o->local.kv_type), route_local_params_of(local)->threads);
    buf_add_format(out, ",\"prefill_tokens\":%u,\"decode_tokens\":%u,\"depth\":%u,\"reps\":%u",
                   o->prefill_tokens, o->decode_tokens, o->depth, o->reps);
    add_figure(out, "prefill", &r->prefill);
    add_figure(out, "decode", &r->decode);
    add_number(out, "read_gb_s", r->read.gb_s);
    add_number(out, "int8_gops", r->int8_gops);
    add_number(out, "prefill_fraction", r->prefill_fraction);
    add_number(out, "decode_fraction", r->decode_fraction);
    buf_add_format(out, ",\"version\":\"%s\"}\n", HEARTH_VERSION);
}

static void write_table(struct buf *out, const struct route_local *local, const struct options *o,
                        const struct result *r)
{
    const struct model_info *info = model_info(route_local_model(local));
    char cpu[96], quoted[STR_QUOTE_MAX];
    os_cpu_name(cpu);
    buf_add_format(out, "%s  %s %s, %.2f M parameters, %.1f MB read per token\n",
                   str_quote(quoted, route_local_id(local)), info->architecture, info->quantization,
                   (double)info->parameter_count / 1e6, (double)info->read_bytes_per_token / 1e6);
    buf_add_format(out, "%s, %u threads, %s, cache %s\n\n", cpu,
                   route_local_params_of(local)->threads,
                   cpu_level_name(kernels_get(o->local.cpu_level)->level),
                   route_kv_type_name(o->local.kv_type));
    buf_add_format(out, "%-10s %8s %12s %10s   %s\n", "", "tokens", "tokens/s", "+/-",
                   "of the limit");
    if (o->prefill_tokens) {
        buf_add_format(out, "%-10s %8u %12.1f %10.1f   %4.1f %% of %.0f G int8 operations/s\n",
                       "prefill", o->prefill_tokens, r->prefill.median, r->prefill.deviation,
                       r->prefill_fraction * 100, r->int8_gops);
    }
    if (o->decode_tokens) {
        buf_add_format(out, "%-10s %8u %12.1f %10.1f   %4.1f %% of %.1f GB/s (%zu streams)\n",
                       "decode", o->decode_tokens, r->decode.median, r->decode.deviation,
                       r->decode_fraction * 100, r->read.gb_s, r->read.streams);
    }
    if (r->decode_fraction > 1) {
        buf_add_text(out, "\nMore than 100 %: weights stayed in the processor's cache.\n");
    }
}

/* ---- the command ---- */

static bool allocate(struct bench *b, struct err *err)
{
    const struct options *o = b->options;
    const size_t vocab = model_info(b->model)->vocab_count;
    const size_t tokens = (size_t)o->depth + size_max(o->prefill_tokens, o->decode_tokens);
    b->page_count = tokens / KV_PAGE_TOKENS + 1;
    b->rows = MEM_ARRAY(struct model_row, o->batch);
    b->pages = MEM_ARRAY(uint32_t, b->page_count);
    b->logits = MEM_ARRAY(float, vocab);
    b->rates = MEM_ARRAY(double, o->reps);
    for (size_t i = 0; b->pages && i < b->page_count; i++) {
        b->pages[i] = (uint32_t)i;
    }
    return (b->rows && b->pages && b->logits && b->rates) ||
           err_set_memory(err, vocab * sizeof(float) + o->batch * sizeof *b->rows);
}

static bool run_bench(const struct options *o, struct route_local *local, struct err *err)
{
    struct bench b = {
        .options = o, .model = route_local_model(local), .pool = route_local_pool(local)};
    struct result result;
    struct buf out = {0};
    bool is_done = allocate(&b, err) && run_all(&b, &result, err);
    if (is_done) {
        (o->is_json ? write_json : write_table)(&out, local, o, &result);
        is_done = out.failed ? err_set_memory(err, out.len) : cli_write(out.ptr, out.len, err);
    }
    buf_deinit(&out);
    mem_free(b.rows);
    mem_free(b.pages);
    mem_free(b.logits);
    mem_free(b.rates);
    return is_done;
}

static bool parse(struct options *o, int argc, char **argv, struct err *err)
{
    struct cli_table table;
    const char *operands[1];
    size_t operand_count;
    *o = (struct options){.local = route_local_params_default(),
                          .prefill_tokens = 512,
                          .decode_tokens = 128,
                          .reps = REPS_MIN,
                          .batch = ROUTE_BATCH_ROWS};
    make_table(&table);
    if (!cli_level_from_environment(&o->local.cpu_level, err) ||
        !cli_options_parse(&table, o, argc, argv, operands, 1, &operand_count, err)) {
        return false;
    }
    o->local.path = operand_count ? operands[0] : NULL;
    const uint32_t most =
        o->prefill_tokens > o->decode_tokens ? o->prefill_tokens : o->decode_tokens;
    if (most == 0) {
        return err_set(err, ERR_USAGE, "--pp 0 and --tg 0 leave nothing to measure");
    }
    o->local.model_only = true;
    o->local.sequences_max = 1;
    o->local.batch_rows_max = o->batch;
    /* Speed does not depend on what a model was trained for: a short context is made longer. */
    if (o->local.ctx_tokens == 0) {
        o->local.ctx_tokens = o->depth + most;
    } else if (o->local.ctx_tokens < o->depth + most) {
        return err_set(err, ERR_USAGE, "--ctx %u is less than the %u tokens to be measured",
                       o->local.ctx_tokens, o->depth + most);
    }
    return true;
}

int cli_bench(int argc, char **argv)
{
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
    cli_progress_start(&progress, "loading", 0);
    struct route_local *local = route_local_open(&o.local, cli_show_progress, &progress, &err);
    cli_progress_end(&progress);
    bool is_done = local && run_bench(&o, local, &err);
    route_local_close(local);
    mem_free(path);
    return is_done ? 0 : cli_fail(&err);
}
