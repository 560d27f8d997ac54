/* The Anthropic dialect: messages, count_tokens and the list of models. Shapes, event order and
 * error types follow the public API reference (platform.claude.com/docs/en/api/messages). */
#ifndef API_ANTHROPIC_H
#define API_ANTHROPIC_H

#include <stdbool.h>

#include "api/call.h"
#include "api/fields.h"
#include "api/render.h"
#include "base/buf.h"
#include "base/err.h"
#include "route/registry.h"

extern const struct api_dialect api_anthropic_messages;

/* Its requests are dry: nothing is generated, the answer is the number of prompt tokens. */
extern const struct api_dialect api_anthropic_count;

/* {"type":"error","error":{"type":...,"message":...},"request_id":...} */
void api_anthropic_error(const struct err *failure, struct str request_id, struct buf *out);

/* The HTTP status of a failure where it differs from err_info's: 529 instead of 503. */
int api_anthropic_status(const struct err *failure);

/* The value of the header anthropic-version, empty if absent. */
bool api_anthropic_version(struct str version, struct err *err);

/* GET /v1/models and /v1/models/{id} for clients that send anthropic-version. */
api_call_fn api_anthropic_models, api_anthropic_model;

/* /v1/messages/batches: refused by name. */
api_call_fn api_anthropic_batches;

/* ---- pieces: the prompt (anthropic_messages.c, anthropic_blocks.c) ---- */

/* The handlers of "messages" and "system"; both add to request->messages, where the system prompt
 * comes first. Call api_anthropic_finish_messages when all fields were read. */
bool api_anthropic_apply_messages(struct gen_request *request, const struct api_field *field,
                                  const json_t *value, struct err *err);
bool api_anthropic_apply_system(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err);
bool api_anthropic_finish_messages(struct gen_request *request, struct err *err);

/* {"type":"ephemeral","ttl":"5m"|"1h"}: noted for the usage. */
bool api_anthropic_cache_control(struct gen_request *request, const struct api_field *field,
                                 const json_t *value, struct err *err);

enum api_anthropic_place {
    API_ANTHROPIC_USER,
    API_ANTHROPIC_ASSISTANT,
    API_ANTHROPIC_SYSTEM,
    API_ANTHROPIC_RESULT /* within a tool_result */
};

/* What the blocks of a turn add up to. */
struct api_anthropic_turn {
    struct buf text, thinking;
    json_t *calls;      /* owned; as tool_calls of OpenAI's chat, or NULL */
    json_t *open;       /* borrowed: ids of calls that are not answered yet */
    size_t block_count; /* that said something */
};
void api_anthropic_turn_deinit(struct api_anthropic_turn *turn);

/* Checks a block and adds it to the turn; a tool_result goes to request->messages at once. */
bool api_anthropic_read_block(struct gen_request *request, enum api_anthropic_place place,
                              const json_t *block, struct api_anthropic_turn *turn,
                              struct err *err);

/* The blocks that there are, for reading and for the compatibility page. Ends without a type. */
struct api_anthropic_block {
    const char *type;
    const struct api_field *fields;
    bool in_user, in_assistant, in_system, in_result;
};
extern const struct api_anthropic_block api_anthropic_blocks[];

/* ---- pieces: tools and thinking (anthropic_tools.c) ---- */

extern const struct api_field api_anthropic_tool_fields[];

bool api_anthropic_apply_tools(struct gen_request *request, const struct api_field *field,
                               const json_t *value, struct err *err);
bool api_anthropic_apply_tool_choice(struct gen_request *request, const struct api_field *field,
                                     const json_t *value, struct err *err);
bool api_anthropic_apply_thinking(struct gen_request *request, const struct api_field *field,
                                  const json_t *value, struct err *err);
bool api_anthropic_apply_output_config(struct gen_request *request, const struct api_field *field,
                                       const json_t *value, struct err *err);
bool api_anthropic_apply_output_format(struct gen_request *request, const struct api_field *field,
                                       const json_t *value, struct err *err);
bool api_anthropic_apply_context(struct gen_request *request, const struct api_field *field,
                                 const json_t *value, struct err *err);

/* What only the whole request shows: a named tool that is not there, a budget over max_tokens. */
bool api_anthropic_finish_tools(struct gen_request *request, struct err *err);

/* ---- pieces: the answer (anthropic_answer.c) ---- */

void api_anthropic_add_error(const struct err *failure, struct buf *out);

void api_anthropic_begin(struct api_render *render, struct buf *out);
void api_anthropic_event(struct api_render *render, size_t choice, const struct gen_event *event,
                         struct buf *out);
void api_anthropic_end(struct api_render *render, struct buf *out);
void api_anthropic_broken(struct api_render *render, const struct err *failure, struct buf *out);
void api_anthropic_loading(double progress, struct buf *out);
void api_anthropic_whole(struct api_render *render, struct buf *out);

#endif
