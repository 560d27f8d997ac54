/* The rows of `hearth bench` as a table for people and as one JSON object. */
#ifndef CLI_BENCH_PRINT_H
#define CLI_BENCH_PRINT_H

#include "base/buf.h"
#include "cli/bench_run.h"
#include "route/local.h"

void cli_bench_print_table(const struct route_local *local, const struct bench_row *rows,
                           size_t count, struct buf *out);

/* {"model":...,"rows":[...]} and, for the first row of each kind without depth, the names
 * prefill_tok_s, decode_tok_s, their fractions and limits at the top. */
void cli_bench_print_json(const struct route_local *local, uint32_t reps,
                          const struct bench_row *rows, size_t count, struct buf *out);

#endif
