/* What a load test does, from JSON; docs/load.md has an example and the meaning of each key.
 * Unknown keys, wrong types and values out of range are refused by name. Pure. */
#ifndef TOOLKIT_SCENARIO_H
#define TOOLKIT_SCENARIO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { TOOLKIT_STAGES_MAX = 64, TOOLKIT_REQUESTS_MAX = 64, TOOLKIT_USERS_MAX = 1024 };

struct toolkit_request {
    uint32_t weight;
    struct str prompt; /* empty: made of `words` words */
    uint32_t words;
    uint32_t max_tokens; /* 0: not sent */
    bool fresh;
    const json_t *body; /* further fields; NULL */
};

struct toolkit_stage {
    uint32_t users;
    double seconds;
};

struct toolkit_limits { /* negative: none */
    double ttft_p99_ms, gap_p99_ms, tokens_per_second, errors_percent;
};

struct toolkit_scenario {
    json_t *tree; /* what texts and bodies are borrowed from; owned */
    struct str model;
    struct toolkit_stage stages[TOOLKIT_STAGES_MAX];
    size_t stage_count;
    double ramp_seconds;
    struct toolkit_request requests[TOOLKIT_REQUESTS_MAX];
    size_t request_count;
    uint64_t weights; /* of all requests */
    struct toolkit_limits limits;
};

/* One user for ten seconds, a prompt of 64 words, no limits; model empty. */
void toolkit_scenario_init(struct toolkit_scenario *scenario);
void toolkit_scenario_deinit(struct toolkit_scenario *scenario);

/* Takes the tree, in any case. ERR_TYPE, ERR_INVALID, ERR_UNKNOWN, ERR_MISSING. */
bool toolkit_scenario_read(struct toolkit_scenario *scenario, json_t *tree, struct err *err);

/* The chat body of request number `number`, streaming and with usage. False when memory is short.
 */
bool toolkit_scenario_body(const struct toolkit_scenario *scenario, uint64_t number,
                           struct buf *out);

#endif
