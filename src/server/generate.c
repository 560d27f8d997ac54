#include "server/generate.h"

#include "api/openai.h"
#include "server/background.h"
#include "server/exchange.h"
#include "server/generation.h"

static void wake(void *arg)
{
    server_exchange_wake(arg);
}

static void release(struct server_exchange *exchange)
{
    server_generation_leave(exchange->state);
    exchange->state = NULL;
}

static enum server_step start(struct server_exchange *exchange, const struct api_dialect *dialect)
{
    unsigned char tenant[SERVER_TENANT_BYTES];
    struct server_credentials given = server_exchange_credentials(exchange);
    size_t tenant_len =
        server_access_tenant(exchange->server->access, given.authorization, given.api_key, tenant);
    struct server_generation_params params = {.server = exchange->server,
                                              .dialect = dialect,
                                              .id = str_of(exchange->id),
                                              .tenant = {(const char *)tenant, tenant_len},
                                              .wake = wake,
                                              .arg = exchange};
    struct err failure;
    exchange->release = release;
    exchange->state = server_generation_create(&params, &exchange->body, &failure);
    if (!exchange->state) {
        return server_exchange_fail(exchange, &failure);
    }
    return server_conn_watch(exchange->conn, exchange) ? SERVER_STEP_WAIT : SERVER_STEP_DROP;
}

static void note_usage(struct server_exchange *exchange, struct server_generation *generation)
{
    const struct api_run *run = server_generation_run(generation);
    if (api_run_is_done(run)) {
        struct api_usage usage = api_render_usage(&run->render);
        exchange->prompt_tokens = usage.prompt_tokens;
        exchange->completion_tokens = usage.completion_tokens;
        exchange->has_usage = true;
    }
}

static enum server_pull pull(struct server_exchange *exchange, struct buf *out)
{
    struct err failure;
    enum server_pull pulled = server_generation_pull(exchange->state, out, &failure);
    if (failure.code != ERR_NONE) {
        exchange->fault = failure; /* for the log */
    }
    note_usage(exchange, exchange->state);
    return pulled;
}

static enum server_step reply_whole(struct server_exchange *exchange)
{
    struct err failure;
    switch (server_generation_whole(exchange->state, &exchange->reply.body, &failure)) {
    case SERVER_PULL_WAIT:
        return SERVER_STEP_WAIT;
    case SERVER_PULL_MORE:
        break;
    default:
        return server_exchange_fail(exchange, &failure);
    }
    note_usage(exchange, exchange->state);
    exchange->reply.status = 200;
    exchange->reply.content_type = "application/json";
    return SERVER_STEP_REPLY;
}

enum server_step server_generate(struct server_exchange *exchange,
                                 const struct api_dialect *dialect)
{
    struct server_generation *generation = exchange->state;
    if (!generation) {
        return start(exchange, dialect);
    }
    switch (server_generation_stage(generation)) {
    case SERVER_GENERATION_PREPARING:
        if (!server_generation_shows_loading(generation)) {
            return SERVER_STEP_WAIT;
        }
        break;
    case SERVER_GENERATION_FAILED:
        return server_exchange_fail(exchange, server_generation_failure(generation));
    case SERVER_GENERATION_RUNNING:
        break;
    }
    const struct api_run *run = server_generation_run(generation);
    if (run->request.is_detached) {
        return server_background_adopt(exchange);
    }
    str_quote(exchange->model, run->request.model);
    str_quote(exchange->user, str_slice(run->request.user, 0, 64));
    if (!run->request.stream) {
        return reply_whole(exchange);
    }
    exchange->reply.status = 200;
    exchange->reply.content_type =
        dialect->stream_type ? dialect->stream_type : "text/event-stream; charset=utf-8";
    exchange->reply.pull = pull;
    return SERVER_STEP_REPLY;
}

enum server_step server_generate_chat(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_openai_chat);
}

enum server_step server_generate_completion(struct server_exchange *exchange)
{
    return server_generate(exchange, &api_openai_completions);
}
