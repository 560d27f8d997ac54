/* What llama-server has beside OpenAI's API: completion and infill, tokens, the template, and what
 * tells of the server. Shapes follow the documentation of the project (tools/server/README.md).
 *
 * A request need not name a model while one is served. Prompts are raw: the client writes the
 * template itself, so special tokens in its text are such. */
#ifndef API_LLAMA_H
#define API_LLAMA_H

#include "api/call.h"
#include "api/fields.h"
#include "api/render.h"
#include "base/buf.h"
#include "base/err.h"

extern const struct api_dialect api_llama_completion;
extern const struct api_dialect api_llama_infill;

/* Dry: the tokens of a text, the text of tokens, the text of a conversation. */
extern const struct api_dialect api_llama_tokenize;
extern const struct api_dialect api_llama_detokenize;
extern const struct api_dialect api_llama_template;

/* GET /props, GET /slots; and the requests that would change them, refused. */
api_call_fn api_llama_props, api_llama_slots, api_llama_fixed;

/* {"error":{"code":400,"message":"..","type":".."}} */
void api_llama_error(const struct err *failure, struct str request_id, struct buf *out);

/* ---- pieces ---- */

extern const struct api_field *const api_llama_completion_tables[];
extern const struct api_field *const api_llama_infill_tables[];
bool api_llama_parse_completion(struct gen_request *request, struct str body, struct err *err);
bool api_llama_parse_infill(struct gen_request *request, struct str body, struct err *err);

/* The handler of "prompt". */
bool api_llama_prompt(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err);

/* Sampling as llama-server documents it when nothing is said. */
void api_llama_init(struct gen_request *request, enum gen_kind kind);

/* Fills in the one model that is served where the request names none. */
bool api_llama_resolve(struct gen_request *request, const struct api_run_owner *owner,
                       struct err *err);

/* The model that the query `model` names, or the only one; deinit it. */
bool api_llama_find_entry(struct api_call *call, struct route_entry *entry, struct err *err);

/* {"n_predict":..,"temperature":..,...} of a request. */
void api_llama_settings(const struct gen_request *request, uint32_t ctx_tokens, struct buf *out);

#endif
