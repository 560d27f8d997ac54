/* Arguments of a call as JSON text, whatever the model's family writes, byte by byte.
 *
 *     JSON        {"a": 1}                                  taken as it is
 *     elements    <parameter=a>\n1\n</parameter>            strings bare, all else JSON
 *     keywords    a=1, b='x', c=[True, None]                Python's literals
 *
 * What comes out is the same however the text was split. */
#ifndef CHAT_ARGUMENTS_H
#define CHAT_ARGUMENTS_H

#include "base/buf.h"
#include "chat/reply.h"

enum chat_step {
    CHAT_STEP_MORE, /* the byte belongs to the arguments */
    CHAT_STEP_DONE, /* they are complete; of keywords the byte, a ), comes behind them */
    CHAT_STEP_BAD   /* they are no arguments */
};

struct chat_arguments {
    char kind; /* 'a', 'x' or 'p' */
    const struct chat_spelling *spelling;
    const struct chat_tool *tool;
    int state, depth;
    bool in_string, is_escaped, is_first, is_bare;
    char quote;
    char hex[2];
    int hex_left;
    struct buf held; /* what may still become something else */
    struct buf word; /* a key, a value that is no bare string, a Python word */
    /* of a custom tool: only the string of {"input": "..."} comes out */
    int custom_state;
    uint32_t custom_code, custom_high;
    int custom_hex;
};

void chat_arguments_init(struct chat_arguments *a, const struct chat_spelling *spelling, char kind,
                         const struct chat_tool *tool);
void chat_arguments_deinit(struct chat_arguments *a);

/* One byte; what becomes certain by it is appended to `out`. */
enum chat_step chat_arguments_feed(struct chat_arguments *a, char byte, struct buf *out);

/* Elements: the arguments end here (the parser saw what follows them). */
void chat_arguments_end(struct chat_arguments *a, struct buf *out);

#endif
