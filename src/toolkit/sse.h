/* Server-sent events out of bytes as they come (WHATWG HTML, 9.2.6): only `data` matters here,
 * other fields and comments are passed over. Pure; memory is bounded by the longest line. */
#ifndef TOOLKIT_SSE_H
#define TOOLKIT_SSE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

enum { TOOLKIT_SSE_BYTES_MAX = 16 << 20 };

struct toolkit_sse {
    struct buf line; /* not ended yet */
    struct buf data; /* of the event that is being read */
    bool has_data, after_return;
    /* An event with data. Borrowed. */
    void (*event)(void *arg, struct str data);
    void *arg;
};

/* `event` and `arg` are set, the rest is zero. */
void toolkit_sse_deinit(struct toolkit_sse *sse);

/* For the next stream. */
void toolkit_sse_reset(struct toolkit_sse *sse);

/* False when a line or an event is too long, or memory is short. */
bool toolkit_sse_feed(struct toolkit_sse *sse, struct str bytes);

#endif
