/* The OpenAI dialect: chat completions, legacy completions, models; and what they share. Shapes
 * follow the public API reference of OpenAI (platform.openai.com/docs/api-reference). */
#ifndef API_OPENAI_H
#define API_OPENAI_H

#include <stdbool.h>

#include "api/fields.h"
#include "api/render.h"
#include "base/buf.h"
#include "base/err.h"
#include "route/registry.h"

extern const struct api_dialect api_openai_chat;
extern const struct api_dialect api_openai_completions;

/* {"error":{"message":...,"type":...,"param":...,"code":...}} */
void api_openai_error(const struct err *failure, struct buf *out);

/* GET /v1/models and /v1/models/{id}. The extension object "hearth" of a model holds its state, and
 * once loaded its context length, parameters and quantisation. */
bool api_openai_models(struct route_registry *registry, struct buf *out, struct err *err);
bool api_openai_model(struct route_registry *registry, struct str id, struct buf *out,
                      struct err *err);

/* ---- stored chat completions (openai_stored.c) ---- */

struct api_call;
struct api_run_owner;

extern const struct api_field api_openai_kept_fields[];
bool api_openai_stored_resolve(struct gen_request *request, const struct api_run_owner *owner,
                               struct err *err);
bool api_openai_stored_commit(struct api_render *render, const struct api_run_owner *owner,
                              struct err *err);
bool api_openai_stored_get(struct api_call *call, struct err *err);
bool api_openai_stored_list(struct api_call *call, struct err *err);
bool api_openai_stored_update(struct api_call *call, struct err *err);
bool api_openai_stored_delete(struct api_call *call, struct err *err);
bool api_openai_stored_messages(struct api_call *call, struct err *err);

/* ---- tools and formats (openai_tools.c, openai_format.c) ---- */

extern const struct api_field api_openai_tool_fields[];
extern const struct api_field api_openai_format_fields[];

/* What only the whole request shows: a choice names tools that are there. */
bool api_openai_finish_tools(const struct gen_request *request, struct err *err);

/* The delta of a part that is no text; false: it has none. */
bool api_openai_delta(const struct api_render *render, const struct gen_part *part,
                      struct buf *out);

/* ,"reasoning_content":... and ,"tool_calls":[...] of a message, as far as there are such. */
void api_openai_message_parts(struct api_render *render, const struct api_choice *choice,
                              struct buf *out);

/* api_openai_finish, or "function_call" for a request with the legacy `functions`. */
const char *api_openai_chat_finish(const struct api_render *render,
                                   const struct api_choice *choice);

/* ---- pieces of chat and completions ---- */

/* The handler of the field "messages": fills request->messages. */
bool api_openai_messages(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err);

/* {"id":...,"object":OBJECT,"created":...,"model":...,"system_fingerprint":...  with neither a
 * closing brace nor a comma at the end */
void api_openai_head(const struct api_render *render, const char *object, struct buf *out);

/* ,"usage":{...} */
void api_openai_usage(const struct api_render *render, struct buf *out);

/* ,"timings":{...} for a request with `timings: true`: an extension with llama-server's names, of
 * the first choice. It is asked for, since it would make equal requests differ. cache_n tokens of
 * the prompt came from the prefix cache and prompt_n were computed. near_miss, when a cached prompt
 * began alike: position, id and text of this prompt's first token that differs; else null. */
void api_openai_timings(const struct api_render *render, struct buf *out);

/* "stop", "length" as JSON; null when the choice goes on. */
const char *api_openai_finish(const struct api_choice *choice);

/* A number no JSON lacks: -inf becomes -9999.0, as OpenAI writes it; NaN becomes null. */
void api_openai_logprob(float logprob, struct buf *out);

/* ,"obfuscation":"..." for a delta of `len` bytes: pads it to a multiple of 32, so that who sees
 * only the sizes of events learns less of the text. */
void api_openai_obfuscate(size_t len, struct buf *out);

/* "token":...,"logprob":...,"bytes":[...] */
void api_openai_token(const struct api_render *render, const struct engine_logprob *token,
                      struct buf *out);

/* [{...},...]: tokens with their log probabilities and alternatives */
void api_openai_tokens(const struct api_render *render, const struct engine_token *tokens,
                       size_t count, struct buf *out);

/* data: [DONE], preceded by the usage chunk of `object` when the client asked for it. */
void api_openai_end(struct api_render *render, const char *object, struct buf *out);

/* The SSE frame of an error within a stream. */
void api_openai_loading(double progress, struct buf *out);
void api_openai_queued(const struct api_render *render, uint32_t ahead, uint32_t eta_s,
                       struct buf *out);
void api_openai_broken(struct api_render *render, const struct err *failure, struct buf *out);

#endif
