/* `stream_interval`: tokens are told several at a time, so that a client is woken less often. */
#ifndef API_INTERVAL_H
#define API_INTERVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

/* What has come of a choice and was not told yet: an event of tokens. All-zero: nothing. */
struct api_interval {
    struct engine_event held;
};

/* Takes an event of tokens over (it is empty afterwards). False without memory. */
bool api_interval_add(struct api_interval *interval, struct engine_event *event);

/* Enough tokens are held. */
bool api_interval_is_full(const struct api_interval *interval, uint32_t tokens);

/* Something is held; it is moved to *out, which the caller frees. */
bool api_interval_take(struct api_interval *interval, struct engine_event *out);

void api_interval_deinit(struct api_interval *interval);

#endif
