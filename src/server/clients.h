/* The routes of clients that do not speak OpenAI's API, and how errors are told to each. */
#ifndef SERVER_CLIENTS_H
#define SERVER_CLIENTS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "server/routes.h"

/* A family of clients, known by the paths they ask for: so an error has the shape they expect also
 * where no route answers (404, 405) or none was reached (401, 413). */
struct server_client {
    const char *prefix;    /* of its paths */
    const char *id_header; /* a further name for X-Request-ID; NULL */
    int (*status)(const struct err *failure);
    void (*error)(const struct err *failure, struct str request_id, struct buf *out);
};

/* OpenAI's for paths of nobody. /v1/models is Anthropic's for who says so. */
const struct server_client *server_client_of(const struct server_exchange *exchange);

/* The request has a header anthropic-version. */
bool server_is_anthropic(const struct server_exchange *exchange);

enum server_step server_anthropic_messages(struct server_exchange *exchange);
enum server_step server_anthropic_count(struct server_exchange *exchange);
enum server_step server_anthropic_batches(struct server_exchange *exchange);

enum server_step server_llama_completion(struct server_exchange *exchange);
enum server_step server_llama_infill(struct server_exchange *exchange);
enum server_step server_llama_tokenize(struct server_exchange *exchange);
enum server_step server_llama_detokenize(struct server_exchange *exchange);
enum server_step server_llama_template(struct server_exchange *exchange);
enum server_step server_llama_props(struct server_exchange *exchange);
enum server_step server_llama_slots(struct server_exchange *exchange);
enum server_step server_llama_adapters(struct server_exchange *exchange);
enum server_step server_llama_set_adapters(struct server_exchange *exchange);
enum server_step server_llama_fixed(struct server_exchange *exchange);

enum server_step server_ollama_chat(struct server_exchange *exchange);
enum server_step server_ollama_generate(struct server_exchange *exchange);
enum server_step server_ollama_tags(struct server_exchange *exchange);
enum server_step server_ollama_ps(struct server_exchange *exchange);
enum server_step server_ollama_show(struct server_exchange *exchange);
enum server_step server_ollama_create(struct server_exchange *exchange);
enum server_step server_ollama_copy(struct server_exchange *exchange);
enum server_step server_ollama_delete(struct server_exchange *exchange);
enum server_step server_ollama_blob_find(struct server_exchange *exchange);
enum server_step server_ollama_blob_put(struct server_exchange *exchange);
enum server_step server_ollama_version(struct server_exchange *exchange);

/* What Ollama has and hearth has not yet: refused by its path. */
enum server_step server_ollama_missing(struct server_exchange *exchange);

#endif
