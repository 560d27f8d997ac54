/* `hearth bench --speculation`: what guessing tokens gains when the guesses are right, and what it
 * costs when they are not. */
#ifndef CLI_BENCH_DRAFT_H
#define CLI_BENCH_DRAFT_H

#include "base/buf.h"
#include "base/err.h"
#include "route/local.h"

enum { BENCH_PAIRS_MIN = 20 };

/* Runs `pairs` pairs for each share of right guesses and appends a table, or a JSON object. */
bool cli_bench_draft_run(struct route_local *local, uint32_t tokens, uint32_t pairs, bool is_json,
                         struct buf *out, struct err *err);

#endif
