/* A reply taken apart as it comes: reasoning, text, calls with their arguments.
 *
 * Fed with any pieces of the text (control tokens in their marks), it gives the same parts in sum.
 * Bytes are held back only while they may begin a marker; white space before a section of calls and
 * around reasoning belongs to neither. What looks like a call but is none stays text. */
#ifndef CHAT_REPLY_PARSER_H
#define CHAT_REPLY_PARSER_H

#include "base/buf.h"
#include "chat/reply.h"

enum chat_part_kind {
    CHAT_PART_TEXT,
    CHAT_PART_REASONING,
    CHAT_PART_CALL,
    CHAT_PART_ARGUMENTS,
    CHAT_PART_CALL_END
};

struct chat_part {
    enum chat_part_kind kind;
    uint32_t call;
    size_t at, len;               /* TEXT, REASONING, ARGUMENTS: in bytes */
    char id[16];                  /* CALL: as the model wrote it, or empty */
    const struct chat_tool *tool; /* CALL */
};

/* What one feed gave; neighbours of a kind are one part. */
struct chat_parts {
    struct buf bytes;
    struct chat_part *items;
    size_t count, cap;
    bool failed; /* out of memory */
};

void chat_parts_clear(struct chat_parts *parts);
void chat_parts_deinit(struct chat_parts *parts);

struct chat_parser;

/* Borrows the reply. NULL: no memory. */
struct chat_parser *chat_parser_create(const struct chat_reply *reply);
void chat_parser_destroy(struct chat_parser *parser); /* NULL is fine */

/* Appends to `out`. */
void chat_parser_feed(struct chat_parser *parser, struct str text, struct chat_parts *out);

/* The reply has ended: what was held comes out. */
void chat_parser_end(struct chat_parser *parser, struct chat_parts *out);

/* Calls begun so far. */
uint32_t chat_parser_calls(const struct chat_parser *parser);

/* What the byte that comes next belongs to, as far as is known. */
enum chat_part_kind chat_parser_kind(const struct chat_parser *parser);

#endif
