/* The state of a sequence's samplers and guide before a token: where a step back returns to. */
#ifndef ENGINE_POINT_H
#define ENGINE_POINT_H

#include <stdbool.h>
#include <stdint.h>

#include "constrain/constrain.h"

struct engine_point {
    float mu;                     /* mirostat */
    struct constrain_state place; /* in the grammar */
    bool is_inside;               /* of reasoning */
    uint32_t thought;             /* tokens of reasoning */
};

#endif
