/* The Ollama dialect: generate, chat, and what tells of models. Shapes follow the public
 * documentation (docs/api.md of the project) and its client's types.
 *
 * Sampling starts from Ollama's documented defaults (temperature 0.8, top_k 40, top_p 0.9,
 * repeat_penalty 1.1), not from hearth's neutral ones. What Ollama would cut in silence (a prompt
 * beyond num_ctx) is an error here. */
#ifndef API_OLLAMA_H
#define API_OLLAMA_H

#include <stdbool.h>

#include "api/call.h"
#include "api/fields.h"
#include "api/render.h"
#include "base/buf.h"
#include "base/err.h"
#include "route/registry.h"
#include "store/store.h"

extern const struct api_dialect api_ollama_generate;
extern const struct api_dialect api_ollama_chat;

/* {"error":"..."} */
void api_ollama_error(const struct err *failure, struct str request_id, struct buf *out);

bool api_ollama_parse_generate(struct gen_request *request, struct str body, struct err *err);
bool api_ollama_parse_chat(struct gen_request *request, struct str body, struct err *err);

extern const struct api_field api_ollama_option_fields[];
extern const struct api_field *const api_ollama_generate_tables[];
extern const struct api_field *const api_ollama_chat_tables[];
extern const struct api_field *const api_ollama_show_tables[];

extern const struct api_field api_ollama_message_fields[];

/* The handlers of "options", "keep_alive", "messages" and "tools"; and of fields that may only be
 * empty. */
bool api_ollama_options(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err);
bool api_ollama_keep_alive(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err);
bool api_ollama_messages(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err);
bool api_ollama_tools(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err);
bool api_ollama_empty(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err);

/* Appends {"role","content"} to request->messages; false without memory. */
bool api_ollama_add_message(struct gen_request *request, const char *role, const json_t *content);

/* "1h15m30.5s", "300", "-1": a Go duration, or seconds; ROUTE_KEEP_FOREVER for negative ones. */
bool api_ollama_duration(struct str text, int64_t *ns);

/* GET /api/version, /api/tags, /api/ps. */
void api_ollama_version(struct buf *out);
api_call_fn api_ollama_tags, api_ollama_ps;

/* "details":{..} of a model; a time as a string. */
void api_ollama_details(const struct route_entry *entry, struct buf *out);
void api_ollama_time(int64_t seconds, struct buf *out);

/* POST /api/show. Reads the file of a model that is not loaded. */
api_call_fn api_ollama_show;

/* POST /api/create, /api/copy, DELETE /api/delete, and the files of create. */
api_call_fn api_ollama_create, api_ollama_copy, api_ollama_delete;
api_call_fn api_ollama_blob_find, api_ollama_blob_put;

/* Adds the models that were made before a restart. */
bool api_ollama_restore(struct route_registry *registry, struct store *store, struct err *err);

#endif
