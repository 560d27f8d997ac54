/* From engine events to parts of an answer: the parser of the reply for chats, else plain text. */
#ifndef API_PARTS_H
#define API_PARTS_H

#include "api/request.h"
#include "chat/reply_parser.h"

struct gen_event;
struct gen_part;
struct api_render;

/* Of one choice. */
struct api_parts {
    struct chat_parser *parser; /* NULL: everything is text */
    struct chat_parts told;     /* since the last event that was given on */
    bool is_told;               /* it was: the next begins anew */
    struct engine_token *tokens;
    size_t token_count, token_cap;
    struct gen_part *pieces;
    size_t piece_cap;
};

bool api_parts_init(struct api_parts *parts, const struct gen_request *request);
void api_parts_deinit(struct api_parts *parts);

/* Fills *out from an event of the choice; false when out of memory. */
bool api_parts_take(struct api_parts *parts, struct api_render *render,
                    const struct engine_event *event, struct gen_event *out);

uint32_t api_parts_calls(const struct api_parts *parts);

/* Appends a text without the names of control tokens between their marks. */
void api_parts_plain(struct str text, struct buf *out);

#endif
