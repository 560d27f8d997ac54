/* How many prompt rows a step may have beside sequences that generate, so that these go on at their
 * pace. Only the cut of prompts into steps follows from it, never a byte. Owned by the worker. */
#ifndef ENGINE_PACE_H
#define ENGINE_PACE_H

#include <stdint.h>

enum { ENGINE_PACE_STEPS = 31 };

struct engine_pace {
    float stretch;                        /* engine_params.decode_stretch */
    int64_t decode_ns[ENGINE_PACE_STEPS]; /* the last steps without prompt rows, a ring */
    uint32_t count;                       /* of them, ever */
    double row_ns;                        /* what a prompt row adds to a step; 0: unknown */
};

/* A step of decode_rows and prompt_rows took ns. */
void engine_pace_note(struct engine_pace *pace, uint32_t decode_rows, uint32_t prompt_rows,
                      int64_t ns);

/* Prompt rows for a step in which others generate; at least 1, at most `most`. */
uint32_t engine_pace_rows(const struct engine_pace *pace, uint32_t most);

#endif
