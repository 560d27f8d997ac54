/* Load on any server that speaks OpenAI's chat completions: users that ask, read the stream to its
 * end, and ask again. One thread, libcurl's multi interface; what a user sees is what is measured:
 *
 *     ttft   from sending a request to the first piece of its answer
 *     gap    between two pieces of an answer
 *     rate   tokens of all users per second, as the server counts them (usage); a server that does
 *            not is counted in pieces
 *
 * A stage ends on time: what still runs is cut, and counts with what came of it. */
#ifndef TOOLKIT_LOAD_H
#define TOOLKIT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "toolkit/scenario.h"

struct toolkit_load_params {
    const char *url; /* of the server: with or without /v1 */
    const char *key; /* NULL: none */
    const struct toolkit_scenario *scenario;
    /* Called a few times a second; false ends the test with what there is. May be NULL. */
    bool (*progress)(void *arg, size_t stage, double part);
    void *arg;
};

struct toolkit_times { /* milliseconds */
    size_t count;
    double p50, p90, p99, max;
};

struct toolkit_stage_result {
    uint32_t users;
    double seconds;
    uint64_t completed, failed, cut;
    struct toolkit_times ttft, gap, whole;
    double tokens_per_second, requests_per_second;
    char first_error[256]; /* of those that failed; empty: none */
};

/* Fills results[scenario->stage_count]; *count is how many were run. False when nothing could be
 * started; requests that fail are counted, not errors of the test. */
bool toolkit_load_run(const struct toolkit_load_params *params,
                      struct toolkit_stage_result *results, size_t *count, struct err *err);

/* The first limit that the results exceed, as a sentence in `out`; false when all hold. */
bool toolkit_load_exceeds(const struct toolkit_limits *limits,
                          const struct toolkit_stage_result *results, size_t count, char out[256]);

#endif
