/* A decode step reads every weight and the cache of its sequence once, so it cannot be faster than
 * memory is read; a prompt is multiplied by every weight, so it cannot be faster than the integer
 * units multiply, and its attention, which is computed in floats, not faster than those. The limits
 * are measured before and after each row, because a shared machine changes from minute to minute,
 * and the better of the two counts, so the fractions flatter nobody. */
#include "cli/bench_run.h"

#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/size.h"
#include "model/encoder.h"

struct limits {
    struct cpu_bandwidth read;
    double int8_gops, f32_gflops;
};

struct run {
    const struct bench_options *options;
    struct model *model;
    struct pool *pool;
    const struct kernels *kernels;
    struct model_row *rows;        /* [rows_max] */
    struct model_seq *seqs;        /* [sequences] */
    uint32_t *pages;               /* [page_count] */
    float *logits;                 /* [sequences, vocab_count] */
    struct model_encoder *encoder; /* of an encoder, else NULL; and what it takes and gives: */
    struct model_encoder_text texts[MODEL_ENCODER_TEXTS_MAX];
    int32_t *tokens; /* [rows_max] */
    float *vectors;  /* [texts][width] */
    double *rates;   /* [reps] */
    uint32_t filled; /* tokens of the first sequence that are in the cache */
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void *progress_arg;
    uint64_t reps_done, reps_all;
};

static uint32_t largest(const struct bench_list *list)
{
    uint32_t most = 0;
    for (size_t i = 0; i < list->count; i++) {
        most = list->values[i] > most ? list->values[i] : most;
    }
    return most;
}

uint32_t cli_bench_ctx_tokens(const struct bench_options *o)
{
    return largest(&o->depths) +
           (o->prefill_tokens > o->decode_tokens ? o->prefill_tokens : o->decode_tokens);
}

static size_t pages_each(const struct bench_options *o)
{
    return o->decode_tokens / KV_PAGE_TOKENS + 1;
}

uint32_t cli_bench_kv_tokens(const struct bench_options *o)
{
    size_t alone = cli_bench_ctx_tokens(o) / KV_PAGE_TOKENS + 1;
    size_t together = largest(&o->sequences) * pages_each(o);
    return (uint32_t)(size_max(alone, together) * KV_PAGE_TOKENS);
}

/* ---- figures ---- */

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

static struct bench_figure summarize(double *rates, size_t count)
{
    struct bench_figure f = {
        .median = median(rates, count), .low = rates[0], .high = rates[count - 1]};
    for (size_t i = 0; i < count; i++) {
        rates[i] = fabs(rates[i] - f.median);
    }
    f.deviation = median(rates, count);
    return f;
}

static bool measure_limits(const struct run *run, struct limits *limits, struct err *err)
{
    *limits = (struct limits){.int8_gops = cpu_peak_int8(run->kernels, run->pool),
                              .f32_gflops = cpu_peak_f32(run->kernels, run->pool)};
    return cpu_read_bandwidth(run->pool, 0, &limits->read, err);
}

/* ---- steps ---- */

/* Values do not matter for speed, but ids differ so that embedding rows are not all in the cache.
 */
static int32_t token_at(const struct run *run, uint32_t i)
{
    return (int32_t)(i * 2654435761u % model_info(run->model)->vocab_count);
}

/* Rows [pos, pos + count) of one sequence; logits of the last. */
static void forward(struct run *run, uint32_t pos, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        run->rows[i] = (struct model_row){
            .token = token_at(run, pos + i), .pos = pos + i, .wants_logits = i + 1 == count};
    }
    run->seqs[0] = (struct model_seq){
        .pages = run->pages, .page_count = cli_bench_kv_tokens(run->options) / KV_PAGE_TOKENS};
    const struct model_batch batch = {
        .rows = run->rows, .row_count = count, .seqs = run->seqs, .seq_count = 1};
    model_forward(run->model, &batch, run->logits);
}

static void read_prompt(struct run *run, uint32_t from, uint32_t to)
{
    while (from < to) {
        uint32_t count = (uint32_t)size_min(to - from, run->options->batch);
        forward(run, from, count);
        from += count;
    }
}

static double time_prefill(struct run *run, const struct bench_row *row)
{
    int64_t start = clock_now_ns();
    read_prompt(run, row->depth, row->depth + row->tokens);
    return row->tokens * 1e9 / (double)(clock_now_ns() - start);
}

static double time_decode(struct run *run, const struct bench_row *row)
{
    int64_t start = clock_now_ns();
    for (uint32_t i = 0; i < row->tokens; i++) {
        forward(run, row->depth + i, 1);
    }
    return row->tokens * 1e9 / (double)(clock_now_ns() - start);
}

/* A token of each of several sequences per step, each with pages of its own. */
static double time_together(struct run *run, const struct bench_row *row)
{
    const size_t each = pages_each(run->options);
    int64_t start = clock_now_ns();
    for (uint32_t i = 0; i < row->tokens; i++) {
        for (uint32_t s = 0; s < row->sequences; s++) {
            run->seqs[s] = (struct model_seq){
                .pages = run->pages + s * each, .page_count = each, .state = (uint32_t)s};
            run->rows[s] = (struct model_row){.token = token_at(run, i * row->sequences + s),
                                              .pos = i,
                                              .seq = s,
                                              .wants_logits = true};
        }
        const struct model_batch batch = {.rows = run->rows,
                                          .row_count = row->sequences,
                                          .seqs = run->seqs,
                                          .seq_count = row->sequences};
        model_forward(run->model, &batch, run->logits);
    }
    return (double)row->tokens * row->sequences * 1e9 / (double)(clock_now_ns() - start);
}

static double time_encode(struct run *run, const struct bench_row *row)
{
    for (uint32_t i = 0; i < row->sequences; i++) {
        run->texts[i] =
            (struct model_encoder_text){run->tokens + (size_t)i * row->tokens, row->tokens, 0};
    }
    int64_t start = clock_now_ns();
    model_encoder_run(run->encoder, run->texts, row->sequences, run->vectors);
    return (double)row->tokens * row->sequences * 1e9 / (double)(clock_now_ns() - start);
}

/* ---- rows ---- */

static double time_row(struct run *run, const struct bench_row *row)
{
    return row->kind == BENCH_ENCODE    ? time_encode(run, row)
           : row->kind == BENCH_PREFILL ? time_prefill(run, row)
           : row->kind == BENCH_DECODE  ? time_decode(run, row)
                                        : time_together(run, row);
}

/* Mean number of tokens that a row's tokens look back at. */
static double mean_context(const struct bench_row *row)
{
    if (row->kind == BENCH_ENCODE) {
        return row->tokens; /* all of the text */
    }
    return row->depth + (row->tokens + 1) / 2.0;
}

static double decode_fraction(const struct run *run, const struct bench_row *row)
{
    const double cache = (double)model_plan_of(run->model)->page_bytes / KV_PAGE_TOKENS;
    const double weights = (double)model_info(run->model)->read_bytes_per_token;
    return (weights + cache * mean_context(row)) * row->rate.median / (row->read.gb_s * 1e9);
}

/* Scores and mixes are a multiplication and an addition each per head, element and key. */
static double prefill_fraction(const struct run *run, const struct bench_row *row)
{
    const struct model_info *info = model_info(run->model);
    const double products = 2 * (double)info->macs_per_token;
    const double attention =
        4.0 * info->layer_count * info->head_count * info->head_dim * mean_context(row);
    const double s_per_token =
        products / (row->int8_gops * 1e9) + attention / (row->f32_gflops * 1e9);
    return s_per_token * row->rate.median;
}

static void repeat(struct run *run, struct bench_row *row)
{
    time_row(run, row); /* warms caches and branch predictors, and faults pages in */
    for (uint32_t i = 0; i < run->options->reps; i++) {
        run->rates[i] = time_row(run, row);
        if (run->progress) {
            run->progress(run->progress_arg, ++run->reps_done, run->reps_all);
        }
    }
    row->rate = summarize(run->rates, run->options->reps);
}

/* `limits` are those before the row, and become those after it. */
static bool measure_row(struct run *run, struct limits *limits, struct bench_row *row,
                        struct err *err)
{
    struct limits after;
    if (!run->encoder && row->kind != BENCH_TOGETHER && row->depth > run->filled) {
        read_prompt(run, run->filled, row->depth);
        run->filled = row->depth;
    }
    repeat(run, row);
    if (!measure_limits(run, &after, err)) {
        return false;
    }
    row->read = after.read.gb_s > limits->read.gb_s ? after.read : limits->read;
    row->int8_gops = fmax(after.int8_gops, limits->int8_gops);
    row->f32_gflops = fmax(after.f32_gflops, limits->f32_gflops);
    const bool is_prefill = row->kind == BENCH_PREFILL || row->kind == BENCH_ENCODE;
    row->fraction = is_prefill                  ? prefill_fraction(run, row)
                    : row->kind == BENCH_DECODE ? decode_fraction(run, row)
                                                : 0;
    *limits = after;
    return true;
}

static size_t list_rows(const struct bench_options *o, struct bench_row *rows)
{
    size_t count = 0;
    for (size_t i = 0; i < o->depths.count; i++) {
        if (o->prefill_tokens) {
            rows[count++] = (struct bench_row){.kind = BENCH_PREFILL,
                                               .tokens = o->prefill_tokens,
                                               .depth = o->depths.values[i],
                                               .sequences = 1};
        }
        if (o->decode_tokens) {
            rows[count++] = (struct bench_row){.kind = BENCH_DECODE,
                                               .tokens = o->decode_tokens,
                                               .depth = o->depths.values[i],
                                               .sequences = 1};
        }
    }
    for (size_t i = 0; i < o->sequences.count && o->decode_tokens; i++) {
        rows[count++] = (struct bench_row){.kind = BENCH_TOGETHER,
                                           .tokens = o->decode_tokens,
                                           .sequences = o->sequences.values[i]};
    }
    return count;
}

/* As many texts as a batch of the server has, and a query alone. */
static size_t list_texts(const struct bench_options *o, const struct model_encoder_info *info,
                         struct bench_row *rows)
{
    const uint32_t tokens = (uint32_t)size_min(o->text_tokens, info->tokens_max),
                   most = info->rows_max / tokens;
    const uint32_t texts = (uint32_t)size_max(1, size_min(o->batch / tokens, most));
    rows[0] = (struct bench_row){.kind = BENCH_ENCODE,
                                 .tokens = tokens,
                                 .sequences = (uint32_t)size_min(texts, MODEL_ENCODER_TEXTS_MAX)};
    rows[1] = (struct bench_row){.kind = BENCH_ENCODE, .tokens = 32, .sequences = 1};
    return info->tokens_max >= 32 ? 2 : 1;
}

static bool open_encoder(struct run *run, struct err *err)
{
    const struct model_encoder_params params = {0};
    run->encoder = model_encoder_create(run->model, &params, err);
    if (!run->encoder) {
        return false;
    }
    const struct model_encoder_info *info = model_encoder_info(run->encoder);
    const size_t rows =
        info->pooling == MODEL_ENCODER_NONE ? info->rows_max : MODEL_ENCODER_TEXTS_MAX;
    run->tokens = MEM_ARRAY(int32_t, info->rows_max);
    run->vectors = MEM_ARRAY(float, rows * info->width);
    run->rates = MEM_ARRAY(double, run->options->reps);
    for (uint32_t i = 0; run->tokens && i < info->rows_max; i++) {
        run->tokens[i] = token_at(run, i);
    }
    return (run->tokens && run->vectors && run->rates) ||
           err_set_memory(err, rows * info->width * sizeof(float));
}

static bool allocate(struct run *run, struct err *err)
{
    if (model_info(run->model)->is_encoder) {
        return open_encoder(run, err);
    }
    const struct bench_options *o = run->options;
    const size_t sequences = size_max(largest(&o->sequences), 1);
    const size_t vocab = model_info(run->model)->vocab_count;
    const size_t page_count = cli_bench_kv_tokens(o) / KV_PAGE_TOKENS;
    run->rows = MEM_ARRAY(struct model_row, size_max(o->batch, sequences));
    run->seqs = MEM_ARRAY(struct model_seq, sequences);
    run->pages = MEM_ARRAY(uint32_t, page_count);
    run->logits = MEM_ARRAY(float, sequences *vocab);
    run->rates = MEM_ARRAY(double, o->reps);
    for (size_t i = 0; run->pages && i < page_count; i++) {
        run->pages[i] = (uint32_t)i;
    }
    return (run->rows && run->seqs && run->pages && run->logits && run->rates) ||
           err_set_memory(err, sequences * vocab * sizeof(float));
}

static void release(struct run *run)
{
    mem_free(run->rows);
    mem_free(run->seqs);
    mem_free(run->pages);
    mem_free(run->logits);
    mem_free(run->rates);
    mem_free(run->tokens);
    mem_free(run->vectors);
    model_encoder_destroy(run->encoder);
}

size_t cli_bench_run(const struct bench_options *options, struct route_local *local,
                     void (*progress)(void *arg, uint64_t done, uint64_t all), void *progress_arg,
                     struct bench_row rows[BENCH_ROWS_MAX], struct err *err)
{
    size_t count = list_rows(options, rows);
    struct run run = {.options = options,
                      .model = route_local_model(local),
                      .pool = route_local_pool(local),
                      .kernels = kernels_get(route_local_params_of(local)->cpu_level),
                      .progress = progress,
                      .progress_arg = progress_arg,
                      .reps_all = count * options->reps};
    struct limits limits;
    bool is_done = allocate(&run, err) && measure_limits(&run, &limits, err);
    if (is_done && run.encoder) {
        count = list_texts(options, model_encoder_info(run.encoder), rows);
        run.reps_all = count * options->reps;
    }
    for (size_t i = 0; i < count && is_done; i++) {
        is_done = measure_row(&run, &limits, &rows[i], err);
    }
    release(&run);
    return is_done ? count : 0;
}
