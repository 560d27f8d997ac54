/* The state of a reply's parser, shared by its files. */
#ifndef CHAT_REPLY_STATE_H
#define CHAT_REPLY_STATE_H

#include <string.h>

#include "chat/arguments.h"
#include "chat/reply_parser.h"

enum chat_state {
    CHAT_START,
    CHAT_REASON,
    CHAT_BODY,
    CHAT_IN_TEXT,
    CHAT_LITERAL,
    CHAT_WORD,
    CHAT_IN_ARGUMENTS,
    CHAT_AFTER,
    CHAT_HEADER
};

struct chat_parser {
    const struct chat_reply *reply;
    const struct chat_spelling *spelling;
    struct chat_parts *out; /* during a feed */
    enum chat_state state;
    struct buf held, raw;
    bool has_raw;        /* raw is being kept */
    bool is_after_space; /* white space is dropped: behind reasoning */

    /* a call */
    struct str literal; /* LITERAL: what must come, from literal_at on */
    size_t literal_at;
    struct str second; /* AFTER: the other way on */
    size_t second_at;
    bool first_lives, second_lives;
    size_t piece;
    struct buf word;
    const struct chat_tool *tool;
    char id[16];
    bool is_told;    /* CALL was given, CALL_END was not */
    struct buf late; /* arguments before the id */
    struct chat_arguments arguments;
    bool has_arguments;
    uint32_t calls;

    /* Harmony */
    enum chat_state after_header;
    bool failed;
};

/* ---- reply_parts.c: what comes out, and bytes that are held ---- */

void chat_parser_give(struct chat_parser *p, enum chat_part_kind kind, struct str bytes);
void chat_parser_give_call(struct chat_parser *p);
void chat_parser_end_call(struct chat_parser *p);
void chat_parser_hold(struct chat_parser *p, char c);

/* Feeds held bytes to the state that is now; empties `from`. */
void chat_parser_give_back(struct chat_parser *p, struct buf *from);

size_t chat_count_space(struct str s); /* at the start */

/* Bytes at the start of `held` that are a whole control token, or 0. */
size_t chat_unknown_mark(struct str held);

static inline bool chat_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool chat_may_become(struct str held, struct str marker)
{
    return marker.len > 0 && str_starts(marker, held);
}

/* Held bytes from `from` on; without the first `count`. */
static inline struct str chat_parser_held(const struct chat_parser *p, size_t from)
{
    return str_slice(buf_view(&p->held), from, p->held.len);
}

static inline void chat_parser_drop(struct chat_parser *p, size_t count)
{
    p->held.len -= count;
    memmove(p->held.ptr, p->held.ptr + count, p->held.len);
}

/* ---- reply_calls.c ---- */

/* A section of calls begins; the last trigger_len held bytes are its trigger. */
void chat_parser_section(struct chat_parser *p, size_t trigger_len);

/* No call after all: what was read of it is text. */
void chat_parser_abandon(struct chat_parser *p);

/* A byte in LITERAL, WORD, ARGUMENTS or AFTER. */
void chat_parser_call_byte(struct chat_parser *p, char c);

/* ---- reply_harmony.c ---- */

void chat_parser_harmony_byte(struct chat_parser *p, char c);

/* ---- reply_parser.c ---- */

void chat_parser_byte(struct chat_parser *p, char c);

#endif
