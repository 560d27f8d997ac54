#include "server/clients.h"

#include "api/anthropic.h"
#include "api/llama.h"
#include "api/lora.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "server/calls.h"
#include "server/exchange.h"
#include "server/generate.h"

bool server_is_anthropic(const struct server_exchange *exchange)
{
    return server_exchange_header(exchange, "anthropic-version").len > 0;
}

/* ---- errors ---- */

static int plain_status(const struct err *failure)
{
    return err_info(failure->code)->http_status;
}

static void openai_error(const struct err *failure, struct str request_id, struct buf *out)
{
    (void)request_id; /* the header has it */
    api_openai_error(failure, out);
}

const struct server_client *server_client_of(const struct server_exchange *exchange)
{
    struct str path = buf_view(&exchange->path);
    static const struct server_client others[] = {
        {"/v1/messages", "request-id", api_anthropic_status, api_anthropic_error},
        {"/api", NULL, plain_status, api_ollama_error},
    };
    static const struct server_client openai = {"/", NULL, plain_status, openai_error};
    static const struct server_client llama = {"/", NULL, plain_status, api_llama_error};
    static const char *const native[] = {"/completion", "/completions", "/infill",
                                         "/tokenize",   "/detokenize",  "/apply-template",
                                         "/props",      "/slots",       "/lora-adapters"};
    for (size_t i = 0; i < sizeof native / sizeof *native; i++) {
        struct str rest = path;
        if (str_eat(&rest, str_of(native[i])) && (rest.len == 0 || rest.ptr[0] == '/')) {
            return &llama;
        }
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct str rest = path;
        if (str_eat(&rest, str_of(others[i].prefix)) && (rest.len == 0 || rest.ptr[0] == '/')) {
            return &others[i];
        }
    }
    if (server_is_anthropic(exchange) && str_starts(path, STR("/v1/models"))) {
        return &others[0]; /* both APIs have this path */
    }
    return &openai;
}

/* ---- Anthropic ---- */

static enum server_step anthropic(struct server_exchange *exchange,
                                  const struct api_dialect *dialect)
{
    struct err failure;
    if (!exchange->state &&
        !api_anthropic_version(server_exchange_header(exchange, "anthropic-version"), &failure)) {
        return server_exchange_fail(exchange, &failure);
    }
    return server_generate(exchange, dialect);
}

enum server_step server_anthropic_messages(struct server_exchange *exchange)
{
    return anthropic(exchange, &api_anthropic_messages);
}

enum server_step server_anthropic_count(struct server_exchange *exchange)
{
    return anthropic(exchange, &api_anthropic_count);
}

enum server_step server_anthropic_batches(struct server_exchange *exchange)
{
    return server_call(exchange, api_anthropic_batches);
}

/* ---- Ollama ---- */

static enum server_step reply_json(struct server_exchange *exchange)
{
    exchange->reply.status = 200;
    exchange->reply.content_type = "application/json; charset=utf-8";
    return SERVER_STEP_REPLY;
}

enum server_step server_ollama_chat(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_ollama_chat);
}

enum server_step server_ollama_generate(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_ollama_generate);
}

enum server_step server_ollama_tags(struct server_exchange *exchange)
{
    return server_call(exchange, api_ollama_tags);
}

enum server_step server_ollama_ps(struct server_exchange *exchange)
{
    return server_call(exchange, api_ollama_ps);
}

enum server_step server_ollama_show(struct server_exchange *exchange)
{
    return server_call(exchange, api_ollama_show);
}

enum server_step server_ollama_version(struct server_exchange *exchange)
{
    api_ollama_version(&exchange->reply.body);
    return reply_json(exchange);
}

enum server_step server_ollama_create(struct server_exchange *exchange)
{
    return server_call(exchange, api_ollama_create);
}

enum server_step server_ollama_copy(struct server_exchange *exchange)
{
    return server_call(exchange, api_ollama_copy);
}

enum server_step server_ollama_delete(struct server_exchange *exchange)
{
    return server_call(exchange, api_ollama_delete);
}

enum server_step server_ollama_blob_find(struct server_exchange *exchange)
{
    return server_call(exchange, api_ollama_blob_find);
}

enum server_step server_ollama_blob_put(struct server_exchange *exchange)
{
    enum server_step step = server_call(exchange, api_ollama_blob_put);
    if (step == SERVER_STEP_REPLY && exchange->reply.status == 200) {
        exchange->reply.status = 201;
    }
    return step;
}

enum server_step server_ollama_missing(struct server_exchange *exchange)
{
    struct err failure;
    err_set(&failure, ERR_UNSUPPORTED, "%s is not supported yet by this server",
            exchange->route->pattern);
    return server_exchange_fail(exchange, &failure);
}

/* ---- llama-server ---- */

enum server_step server_llama_completion(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_llama_completion);
}

enum server_step server_llama_infill(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_llama_infill);
}

enum server_step server_llama_tokenize(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_llama_tokenize);
}

enum server_step server_llama_detokenize(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_llama_detokenize);
}

enum server_step server_llama_template(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_llama_template);
}

enum server_step server_llama_props(struct server_exchange *exchange)
{
    return server_call(exchange, api_llama_props);
}

enum server_step server_llama_slots(struct server_exchange *exchange)
{
    return server_call(exchange, api_llama_slots);
}

enum server_step server_llama_adapters(struct server_exchange *exchange)
{
    return server_call(exchange, api_lora_list);
}

enum server_step server_llama_set_adapters(struct server_exchange *exchange)
{
    return server_call(exchange, api_lora_set);
}

enum server_step server_llama_fixed(struct server_exchange *exchange)
{
    return server_call(exchange, api_llama_fixed);
}
