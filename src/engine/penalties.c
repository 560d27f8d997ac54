#include "engine/penalties.h"

#include <assert.h>
#include <math.h>

#include "base/size.h"

void engine_penalize(const struct engine_sampling *sampling, float *logits, const text_id *history,
                     size_t history_count, struct engine_scratch *scratch)
{
    if (sampling->repeat_penalty == 1 && sampling->presence_penalty == 0 &&
        sampling->frequency_penalty == 0) {
        return;
    }
    const size_t window = size_min(history_count, sampling->repeat_last_n);
    const text_id *ids = history + (history_count - window);
    for (size_t i = 0; i < window; i++) {
        scratch->counts[ids[i]]++;
    }
    for (size_t i = 0; i < window; i++) {
        uint32_t count = scratch->counts[ids[i]];
        if (count == 0) {
            continue; /* done at an earlier occurrence */
        }
        scratch->counts[ids[i]] = 0;
        float *logit = &logits[ids[i]];
        /* Division alone would make tokens with a negative logit more likely. */
        *logit = *logit > 0 ? *logit / sampling->repeat_penalty : *logit * sampling->repeat_penalty;
        *logit -= (float)count * sampling->frequency_penalty + sampling->presence_penalty;
    }
}
