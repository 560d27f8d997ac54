/* How the answer to one request is read, and what it must be: the family's format, the tools that
 * may be called, the grammar that holds the model to both, and where it thinks. Immutable once
 * made; the answers of a request share it, each with a parser of its own (reply_parser.h). */
#ifndef CHAT_REPLY_H
#define CHAT_REPLY_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "chat/tool_format.h"
#include "constrain/constrain.h"
#include "text/text.h"

struct chat;

struct chat_tool {
    struct str name;
    const json_t *parameters; /* NULL: none */
    size_t index;             /* in the request's tools */
    bool is_custom;           /* a custom tool: its input is the only argument */
    bool is_strict;
};

enum chat_answer { CHAT_TEXT, CHAT_JSON_OBJECT, CHAT_SCHEMA, CHAT_GBNF, CHAT_REGEX };

enum { CHAT_TOOLS_MAX = 512, CHAT_CALLS_MAX = 32, CHAT_NAME_MAX = 128 };

struct chat_reply_request {
    const json_t *tools; /* OpenAI's array, or NULL */
    bool may_call, must_call, many_calls;
    const json_t *allowed; /* names; NULL: all */
    enum chat_answer answer;
    const json_t *schema;
    bool is_strict;
    struct str source;     /* of GBNF or regex */
    struct str prompt_end; /* the rendered prompt, or its last 200 bytes */
    bool no_reasoning;     /* the model should not think */
};

enum chat_thinking {
    CHAT_THINKS_NOT, /* it has thought already, or the family has no markers */
    CHAT_MAY_THINK,  /* an opening marker may come */
    CHAT_IS_THINKING /* the prompt ends within reasoning */
};

struct chat_reply {
    const struct chat_spelling *spelling; /* the chat's */
    const struct chat_controls *controls;
    struct arena arena;
    json_t *kept; /* tools, schemas */
    struct chat_tool *tools;
    size_t tool_count;
    bool may_call, must_call, many_calls;
    enum chat_answer answer;
    const json_t *schema;
    bool is_strict;
    struct str source;
    enum chat_thinking thinking;
    bool closes_prompt; /* close_ids belong behind the prompt: it ends within reasoning */
    struct constrain_grammar *grammar; /* NULL: anything goes */
    struct text_ids close_ids;         /* the closing marker, for a budget */
};

/* Errors name the field: tools[0].function.parameters, response_format ... The grammar is taken
 * from the chat's cache when equal tools were seen before. */
struct chat_reply *chat_reply_create(const struct chat *chat,
                                     const struct chat_reply_request *request, struct err *err);
void chat_reply_destroy(struct chat_reply *reply); /* NULL is fine */

/* A string of this schema stands bare, not as JSON, where a format has bare values. */
bool chat_is_bare(const json_t *schema);

const struct chat_tool *chat_reply_tool(const struct chat_reply *reply, struct str name);

/* reply_grammar.c */
struct constrain_grammar *chat_reply_compile(struct chat_reply *reply, struct err *err);

#endif
