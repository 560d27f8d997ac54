/* How a model is talked to: its own template (or the built-in one, or a file's), the special token
 * texts it knows, and from both: messages -> token ids. Immutable after chat_open. */
#ifndef CHAT_CHAT_H
#define CHAT_CHAT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "chat/template.h"
#include "gguf/gguf.h"
#include "text/text.h"

struct chat;

struct chat_params {
    const struct gguf *gguf;
    const struct text *text;
    const char *template_file; /* overrides the model's own; NULL */
    struct str template_text;  /* the same as text; empty: none */
};

struct chat *chat_open(const struct chat_params *params, struct err *err);
void chat_close(struct chat *chat);

/* "model", "built-in", "file" or "text": where the template comes from; shown at start. */
const char *chat_template_origin(const struct chat *chat);

/* The family answers in messages with channels, and always thinks (gpt-oss). */
bool chat_is_harmony(const struct chat *chat);

/* The template that a model's metadata selects: its own (its tool_use variant when `with_tools`),
 * or the built-in one that suits its vocabulary. Needs metadata only. The text is borrowed. */
struct chat_source {
    struct str text;
    const char *origin; /* "model" or "built-in" */
    bool is_tools_variant;
};

bool chat_source_find(const struct gguf *gguf, bool with_tools, struct chat_source *out,
                      struct err *err);

struct chat_request {
    const json_t *messages; /* array of {role, content, ...} as the template sees them */
    const json_t *tools;    /* array or NULL */
    const json_t *kwargs;   /* object (chat_template_kwargs) or NULL; names that would replace
                               messages, tools, bos_token, eos_token, add_generation_prompt are
                               ERR_INVALID */
    bool add_generation_prompt;
    bool continues_final; /* the prompt ends within the last message, right behind its content (a
                             string that is not empty), for the model to go on there; replaces
                             add_generation_prompt */
};

/* Renders and tokenises. BOS stands at the start exactly once if the model or the template wants
 * it. `rendered` (may be NULL) receives the text. */
bool chat_encode(const struct chat *chat, const struct chat_request *request, struct text_ids *out,
                 struct buf *rendered, struct err *err);

#endif
