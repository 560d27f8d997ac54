/* A stream that is being read should not notice that somebody else sends a long prompt. A step with
 * prompt rows takes
 *
 *     t(rows) = t(decode) + rows * row_ns
 *
 * t(decode) is the median of the last steps without prompt rows, row_ns a moving mean of what rows
 * have added lately, so it follows the depth of the prompt, the clock of the machine and whoever
 * else uses it. The bound is on the 99th percentile of the time between two tokens, so steps are
 * planned for less: the part between is for the scatter of single steps.
 *
 * Rejected: a fixed chunk. 64 rows are 3 ms for one model and 300 for another. */
#include "engine/pace.h"

#include <string.h>

/* Of the time that the stretch leaves, so much is planned. */
static const double planned_share = 0.7;

enum { ROWS_AT_FIRST = 8 };

static int64_t median(const struct engine_pace *pace)
{
    int64_t sorted[ENGINE_PACE_STEPS];
    const uint32_t count = pace->count < ENGINE_PACE_STEPS ? pace->count : ENGINE_PACE_STEPS;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] > pace->decode_ns[i]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = pace->decode_ns[i];
    }
    return count ? sorted[count / 2] : 0;
}

void engine_pace_note(struct engine_pace *pace, uint32_t decode_rows, uint32_t prompt_rows,
                      int64_t ns)
{
    if (decode_rows > 0 && prompt_rows == 0) {
        pace->decode_ns[pace->count++ % ENGINE_PACE_STEPS] = ns;
    } else if (decode_rows > 0 && pace->count > 0) {
        const double added = (double)(ns - median(pace)) / prompt_rows;
        const double least = (double)median(pace) / 1e4; /* never free */
        const double row_ns = added > least ? added : least;
        pace->row_ns = pace->row_ns > 0 ? pace->row_ns + (row_ns - pace->row_ns) / 4 : row_ns;
    }
}

uint32_t engine_pace_rows(const struct engine_pace *pace, uint32_t most)
{
    if (pace->stretch <= 1) {
        return most;
    }
    double rows = ROWS_AT_FIRST;
    if (pace->count > 0 && pace->row_ns > 0) {
        rows = planned_share * ((double)pace->stretch - 1) * (double)median(pace) / pace->row_ns;
    }
    return rows < 1 ? 1 : rows > most ? most : (uint32_t)rows;
}
