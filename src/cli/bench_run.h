/* What `hearth bench` measures: rows of one loaded model, each between its own measurements of the
 * machine's limits. */
#ifndef CLI_BENCH_RUN_H
#define CLI_BENCH_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "route/local.h"
#include "tensor/limits.h"

enum { BENCH_LIST_MAX = 16, BENCH_ROWS_MAX = 3 * BENCH_LIST_MAX };

/* A list of the command line: "0,4096,16384". */
struct bench_list {
    uint32_t values[BENCH_LIST_MAX];
    size_t count;
};

struct bench_options {
    uint32_t prefill_tokens, decode_tokens; /* 0: no such rows */
    uint32_t text_tokens;                   /* of each text of an encoder */
    struct bench_list depths;               /* tokens before both; ascending */
    struct bench_list sequences;            /* that decode together, from an empty context */
    uint32_t reps, batch;                   /* repetitions; rows of one step */
};

enum bench_kind { BENCH_PREFILL, BENCH_DECODE, BENCH_TOGETHER, BENCH_ENCODE };

struct bench_figure {
    double median, deviation, low, high; /* tokens per second, of all sequences */
};

struct bench_row {
    enum bench_kind kind;
    uint32_t tokens, depth, sequences; /* of ENCODE: of a text, 0, texts of a call */
    struct bench_figure rate;
    /* The better of the measurements before and after the row. */
    struct cpu_bandwidth read;
    double int8_gops, f32_gflops;
    /* Time that the limits ask for over the time it took: of a decoding row the bytes of weights
     * and cache over the read bandwidth, of a prefill row the products over the int8 peak and
     * attention over the float peak (of an encoding row the same). 0: a row that no single limit
     * bounds. */
    double fraction;
};

/* Measures all rows that the options ask for, in the order prefill, decode by depth, then together.
 * Returns their number; 0 with an error. `progress` as in route_local_open, counting repetitions.
 */
size_t cli_bench_run(const struct bench_options *options, struct route_local *local,
                     void (*progress)(void *arg, uint64_t done, uint64_t all), void *progress_arg,
                     struct bench_row rows[BENCH_ROWS_MAX], struct err *err);

/* Tokens that one sequence needs, and all of them together. */
uint32_t cli_bench_ctx_tokens(const struct bench_options *options);
uint32_t cli_bench_kv_tokens(const struct bench_options *options);

#endif
