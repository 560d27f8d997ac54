/* Messages as a template wants them. What clients send (OpenAI's form) differs from what templates
 * were written for, and templates differ among each other:
 *
 *   - `arguments` come as JSON text; most templates want an object, some print the text. A model's
 *     own text is printed as it was, so that the prompt's tokens are those it wrote
 *   - `content` is null beside calls, which some templates test for and others print as "None"
 *   - custom tools and their calls are functions with one argument
 *   - what a template does not show at all (tools, calls, results) becomes text that it does show,
 *     in the format of the family */
#ifndef CHAT_MESSAGES_H
#define CHAT_MESSAGES_H

#include <jansson.h>

#include "chat/family.h"
#include "chat/template.h"

/* What a template makes of messages; found out by trying it. */
struct chat_shape {
    bool arguments_text; /* tool call arguments stay text */
    bool content_empty;  /* null content becomes "" */
    bool shows_tools, shows_calls, shows_results;
};

/* Converted messages and tools (owned), and objects whose text is known. */
struct chat_conversation {
    json_t *messages, *tools; /* tools: NULL when the template is not told of any */
    struct chat_verbatim *verbatim;
    size_t verbatim_count, verbatim_cap;
};

bool chat_conversation_init(struct chat_conversation *c, const struct chat_family *family,
                            const struct chat_shape *shape, const json_t *messages,
                            const json_t *tools, struct err *err);
void chat_conversation_deinit(struct chat_conversation *c);

/* A call as the family writes it; `number` counts the calls of its message. */
void chat_call_write(const struct chat_family *family, struct str name, struct str id,
                     const json_t *arguments, struct str arguments_text, size_t number,
                     struct buf *out);

#endif
