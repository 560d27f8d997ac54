/* hearth perplexity MODEL FILE: how well a model foretells a text, by the method of
 * llama-perplexity (llama.cpp), so that the figures compare: the text is cut in chunks of --ctx
 * tokens, each read from an empty cache with BOS in place of its first token where the model wants
 * one; the second half of a chunk counts. With --stride N chunks begin N tokens apart and their
 * last N tokens count. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/chunks.h"
#include "cli/cli.h"
#include "cli/logits_file.h"
#include "cli/options.h"

struct options {
    enum cpu_level cpu_level;
    enum kv_type kv_type;
    uint32_t ctx_tokens, stride, chunks, threads;
    const char *save, *kl;
    bool is_json;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option rows[] = {
    {"ctx", "ctx-size", 'c', CLI_COUNT, AT(ctx_tokens), .low = 8, .high = 1 << 20,
     .value_name = "N", .help = "tokens of a chunk (512)"},
    {"stride", "ppl-stride", 0, CLI_COUNT, AT(stride), .low = 0, .high = 1 << 20, .value_name = "N",
     .help = "chunks begin so many tokens apart (0: one after the other)"},
    {"chunks", NULL, 0, CLI_COUNT, AT(chunks), .low = 0, .high = INT32_MAX, .value_name = "N",
     .help = "at most so many (0: all)"},
    {"save-logits", "save-all-logits", 0, CLI_TEXT, AT(save), .value_name = "FILE",
     .help = "write the distributions, for --kl of another model"},
    {"kl", "kl-divergence-base", 0, CLI_TEXT, AT(kl), .value_name = "FILE",
     .help = "compare with distributions that --save-logits wrote; the text is theirs"},
    {"json", NULL, 0, CLI_FLAG, AT(is_json), .help = "one JSON object"},
    {"kv", "kv-type", 0, CLI_KV, AT(kv_type), .value_name = "TYPE",
     .help = "cache type: f16 (default), bf16, f32, q8_0, q4_0"},
    {"threads", NULL, 't', CLI_COUNT, AT(threads), .low = 0, .high = 256, .value_name = "N",
     .help = "compute threads (0: one per physical core)"},
    {"cpu-level", NULL, 0, CLI_LEVEL, AT(cpu_level), .value_name = "L",
     .help = "reference, avx2, avx512, neon; lowers the level, never raises it"},
};

#undef AT

/* Sums over the tokens that count. */
struct sums {
    size_t count;
    double nll, nll_squares;
    double kl, kl_squares, kl_max;
    size_t same_best;
};

struct job {
    struct cli_chunks chunks;
    const struct options *options;
    const text_id *tokens; /* of the chunk */
    size_t token_count;
    struct sums sums;
    struct logits_file save, base;
    float *base_row; /* logarithms of probabilities */
    double *kls;     /* all of them, for the percentiles */
    size_t kl_room;
    bool failed;
    struct err *err;
};

/* The logarithm of the sum of exponentials. */
static double log_sum(const float *x, size_t n)
{
    float max = x[0];
    double sum = 0;

    for (size_t i = 1; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - max);
    }
    return max + log(sum);
}

static void add_divergence(struct job *job, const float *logits, double log_total)
{
    size_t vocab = job->chunks.vocab_count, best = 0, base_best = 0;
    double kl = 0;

    if (!cli_logits_get(&job->base, job->base_row, job->err)) {
        job->failed = true;
        return;
    }
    for (size_t i = 0; i < vocab; i++) {
        double p = job->base_row[i];
        best = logits[i] > logits[best] ? i : best;
        base_best = job->base_row[i] > job->base_row[base_best] ? i : base_best;
        kl += exp(p) * (p - (logits[i] - log_total));
    }
    job->sums.kl += kl;
    job->sums.kl_squares += kl * kl;
    job->sums.kl_max = fmax(job->sums.kl_max, kl);
    job->sums.same_best += best == base_best;
    if (job->sums.count < job->kl_room) {
        job->kls[job->sums.count] = kl;
    }
}

static void take_logits(void *arg, size_t pos, const float *logits)
{
    struct job *job = arg;

    if (pos + 1 >= job->token_count || job->failed) {
        return;
    }
    double total = log_sum(logits, job->chunks.vocab_count);
    double nll = total - logits[job->tokens[pos + 1]];
    job->sums.nll += nll;
    job->sums.nll_squares += nll * nll;
    if (job->base.file) {
        add_divergence(job, logits, total);
    }
    if (job->save.file && !cli_logits_put(&job->save, logits, job->err)) {
        job->failed = true;
    }
    job->sums.count++;
}

/* ---- the chunks ---- */

struct cut {
    size_t step, count, first; /* tokens from chunk to chunk; chunks; position that counts first */
};

static struct cut plan_cuts(const struct job *job)
{
    const struct options *o = job->options;
    size_t ctx = job->chunks.ctx_tokens, tokens = job->chunks.ids.count;
    struct cut cut = {.step = ctx, .count = tokens / ctx, .first = ctx / 2};

    if (o->stride > 0) {
        cut.step = o->stride;
        cut.count = (tokens - ctx + o->stride - 1) / o->stride;
        cut.first = ctx - o->stride - 1;
    }
    if (o->chunks > 0) {
        cut.count = size_min(cut.count, o->chunks);
    }
    return cut;
}

static bool open_files(struct job *job, const struct cut *cut, struct err *err)
{
    const struct options *o = job->options;
    const struct cli_chunks *c = &job->chunks;

    if (o->save && !cli_logits_create(&job->save, o->save, c->ctx_tokens, (uint32_t)c->vocab_count,
                                      (uint32_t)cut->count, c->ids.ids, err)) {
        return false;
    }
    if (!o->kl) {
        return true;
    }
    if (!cli_logits_open(&job->base, o->kl, err)) {
        return false;
    }
    if (job->base.vocab != c->vocab_count || job->base.ctx != c->ctx_tokens) {
        return err_set(err, ERR_INVALID,
                       "%s: chunks of %u tokens of a vocabulary of %u, here %u and %zu", o->kl,
                       job->base.ctx, job->base.vocab, c->ctx_tokens, c->vocab_count);
    }
    size_t count = size_min(cut->count, job->base.chunks) * c->ctx_tokens;
    if (memcmp(job->base.tokens, c->ids.ids, count * sizeof *c->ids.ids) != 0) {
        return err_set(err, ERR_INVALID, "%s: it is of another text or tokenizer", o->kl);
    }
    job->kl_room = count;
    job->base_row = MEM_ARRAY(float, c->vocab_count);
    job->kls = MEM_ARRAY(double, count);
    return (job->base_row && job->kls) || err_set_memory(err, count * sizeof *job->kls);
}

static bool run_chunks(struct job *job, struct cut cut, struct err *err)
{
    struct cli_chunks *c = &job->chunks;
    text_id *tokens = MEM_ARRAY(text_id, c->ctx_tokens);
    bool puts_bos = text_adds_bos(c->text) && text_bos(c->text) != TEXT_NONE;
    struct cli_progress progress;

    if (!tokens) {
        return err_set_memory(err, c->ctx_tokens * sizeof *tokens);
    }
    job->tokens = tokens;
    job->token_count = c->ctx_tokens;
    cli_progress_start(&progress, "perplexity", cut.count);
    for (size_t i = 0; i < cut.count && !job->failed; i++) {
        memcpy(tokens, c->ids.ids + i * cut.step, c->ctx_tokens * sizeof *tokens);
        tokens[0] = puts_bos ? text_bos(c->text) : tokens[0];
        cli_chunks_run(c, tokens, c->ctx_tokens, cut.first, take_logits, job);
        cli_progress_update(&progress, i + 1);
    }
    cli_progress_end(&progress);
    mem_free(tokens);
    return !job->failed;
}

/* ---- the answer ---- */

/* Standard error of a mean. */
static double mean_error(double sum, double squares, size_t count)
{
    double mean = sum / (double)count, variance = squares / (double)count - mean * mean;
    return count > 1 && variance > 0 ? sqrt(variance / (double)(count - 1)) : 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool report(const struct job *job, size_t chunks, struct err *err)
{
    const struct sums *s = &job->sums;
    double n = (double)s->count, ppl = exp(s->nll / n);
    double error = ppl * mean_error(s->nll, s->nll_squares, s->count);
    bool is_json = job->options->is_json;
    struct buf out = {0};

    buf_add_format(&out,
                   is_json ? "{\"perplexity\":%.6f,\"error\":%.6f,\"tokens\":%zu,\"chunks\":%zu"
                           : "perplexity %.4f +/- %.5f (%zu tokens of %zu chunks)\n",
                   ppl, error, s->count, chunks);
    if (job->kls) {
        qsort(job->kls, s->count, sizeof *job->kls, compare);
        double p99 = job->kls[(size_t)(0.99 * (n - 1))], median = job->kls[s->count / 2];
        buf_add_format(&out,
                       is_json ? ",\"kl\":{\"mean\":%.9g,\"error\":%.9g,\"median\":%.9g,"
                                 "\"p99\":%.9g,\"max\":%.9g,\"same_best\":%.6f}"
                               : "KL divergence %.6f +/- %.6f, median %.6f, 99 %% %.6f, largest "
                                 "%.6f\nthe same best token %.2f %%\n",
                       s->kl / n, mean_error(s->kl, s->kl_squares, s->count), median, p99,
                       s->kl_max, (is_json ? 1 : 100) * (double)s->same_best / n);
    }
    if (is_json) {
        buf_add_text(&out, "}\n");
    }
    bool ok = out.failed ? err_set_memory(err, out.len) : cli_write(out.ptr, out.len, err);
    buf_deinit(&out);
    return ok;
}

static bool run(const struct options *o, const char *const *operands, struct err *err)
{
    struct job job = {.options = o, .err = err};
    struct err ignored = {0};
    const struct cli_chunks_params params = {.model = operands[0],
                                             .text = operands[1],
                                             .cpu_level = o->cpu_level,
                                             .kv_type = o->kv_type,
                                             .ctx_tokens = o->ctx_tokens + o->stride / 2,
                                             .threads = o->threads};
    bool ok = cli_chunks_open(&job.chunks, &params, err);
    struct cut cut = ok ? plan_cuts(&job) : (struct cut){0};
    if (ok && o->stride >= job.chunks.ctx_tokens) {
        ok = err_set(err, ERR_USAGE, "--stride %u must be less than a chunk of %u tokens",
                     o->stride, job.chunks.ctx_tokens);
    }
    ok = ok && open_files(&job, &cut, err);
    if (ok && job.base.file) {
        cut.count = size_min(cut.count, job.base.chunks);
    }
    ok = ok && run_chunks(&job, cut, err) && report(&job, cut.count, err);
    ok = cli_logits_close(&job.save, ok ? err : &ignored) && ok;
    cli_logits_close(&job.base, &ignored);
    cli_chunks_close(&job.chunks);
    mem_free(job.base_row);
    mem_free(job.kls);
    return ok;
}

int cli_perplexity(int argc, char **argv)
{
    struct options o = {.kv_type = KV_F16, .cpu_level = cpu_level_detect(), .ctx_tokens = 512};
    struct cli_table table = {0};
    struct err err = {0};
    const char *operands[2];
    size_t count = 0;

    cli_table_add(&table, rows, sizeof rows / sizeof *rows, 0);
    if (cli_options_want_help(argc, argv)) {
        printf(
            "usage: hearth perplexity MODEL FILE [OPTIONS]\n\n"
            "How well a model foretells the text in FILE (- for standard input): the perplexity,\n"
            "by the method of llama-perplexity. With --kl also how far its distributions are\n"
            "from those of another model.\n\n");
        cli_options_print(&table, stdout);
        return 0;
    }
    bool ok = cli_level_from_environment(&o.cpu_level, &err) &&
              cli_options_parse(&table, &o, argc, argv, operands, 2, &count, &err);
    if (ok && count != 2) {
        ok = err_set(&err, ERR_USAGE, "a model and a text are needed");
    }
    if (ok && o.stride > 0 && (o.save || o.kl)) {
        ok = err_set(&err, ERR_USAGE, "--save-logits and --kl need chunks without --stride");
    }
    ok = ok && run(&o, operands, &err);
    if (!ok && err.code == ERR_USAGE) {
        return cli_usage_error("perplexity", "%s", err.text);
    }
    return ok ? 0 : cli_fail(&err);
}
