#include "server/pages.h"

#include "api/anthropic.h"
#include "api/openai.h"
#include "base/json.h"
#include "server/calls.h"
#include "server/clients.h"
#include "server/exchange.h"

static enum server_step reply_json(struct server_exchange *exchange, int status)
{
    exchange->reply.status = status;
    exchange->reply.content_type = "application/json";
    return SERVER_STEP_REPLY;
}

enum server_step server_page_root(struct server_exchange *exchange)
{
    struct buf *out = &exchange->reply.body;
    exchange->reply.status = 200;
    exchange->reply.content_type = "text/plain; charset=utf-8";
    struct str agent = server_exchange_header(exchange, "User-Agent");
    if (str_starts(agent, STR("ollama"))) { /* its clients ask whether one of theirs is there */
        buf_add_text(out, "Ollama is running");
        return SERVER_STEP_REPLY;
    }
    buf_add_text(out, "hearth " HEARTH_VERSION ": a server for language models\n"
                      "Ollama is running: its API is at /api\n\n");
    for (const struct server_route *route = server_routes; route->pattern; route++) {
        buf_add_format(out, "%-4s %-24s %s\n", route->method, route->pattern, route->summary);
    }
    return SERVER_STEP_REPLY;
}

enum server_step server_page_health(struct server_exchange *exchange)
{
    buf_add_text(&exchange->reply.body, "{\"status\":\"ok\"}");
    return reply_json(exchange, 200);
}

/* As llama-server says it: 200 once the model generates, 503 while it loads. */
enum server_step server_page_llama_health(struct server_exchange *exchange)
{
    struct server *server = exchange->server;
    if (!atomic_load(&server->draining) && route_registry_is_ready(server->registry)) {
        return server_page_health(exchange);
    }
    buf_add_text(&exchange->reply.body, "{\"error\":{\"code\":503,\"message\":\"Loading model\","
                                        "\"type\":\"unavailable_error\"}}");
    exchange->reply.retry_after_s = 1;
    return reply_json(exchange, 503);
}

/* {"status":"ready"} or {"status":"loading","models":[{"state":..,"progress":..}]} */
enum server_step server_page_ready(struct server_exchange *exchange)
{
    struct server *server = exchange->server;
    struct buf *out = &exchange->reply.body;
    struct route_list list;
    struct err failure;
    bool is_draining = atomic_load(&server->draining);
    if (!is_draining && route_registry_is_ready(server->registry)) {
        buf_add_text(out, "{\"status\":\"ready\"}");
        return reply_json(exchange, 200);
    }
    if (!route_registry_list(server->registry, &list, &failure)) {
        return server_exchange_fail(exchange, &failure);
    }
    buf_add_format(out, "{\"status\":\"%s\",\"models\":[", is_draining ? "stopping" : "loading");
    for (size_t i = 0, written = 0; i < list.count; i++) {
        const struct route_entry *entry = &list.entries[i];
        if (!entry->on_demand) {
            buf_add_format(out, "%s{\"state\":\"%s\",\"progress\":%.3f}", written++ ? "," : "",
                           route_state_name(entry->state), route_entry_progress(entry));
        }
    }
    route_list_deinit(&list);
    buf_add_text(out, "]}");
    exchange->reply.retry_after_s = 1;
    return reply_json(exchange, 503);
}

enum server_step server_page_metrics(struct server_exchange *exchange)
{
    struct server *server = exchange->server;
    server_metrics_write(&server->metrics, server->registry, server->front, &exchange->reply.body);
    exchange->reply.status = 200;
    exchange->reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
    return SERVER_STEP_REPLY;
}

enum server_step server_page_models(struct server_exchange *exchange)
{
    if (server_is_anthropic(exchange)) {
        return server_call(exchange, api_anthropic_models);
    }
    struct err failure;
    if (!api_openai_models(exchange->server->registry, &exchange->reply.body, &failure)) {
        return server_exchange_fail(exchange, &failure);
    }
    return reply_json(exchange, 200);
}

enum server_step server_page_model(struct server_exchange *exchange)
{
    if (server_is_anthropic(exchange)) {
        return server_call(exchange, api_anthropic_model);
    }
    struct err failure;
    if (!api_openai_model(exchange->server->registry, exchange->parts[0], &exchange->reply.body,
                          &failure)) {
        return server_exchange_fail(exchange, &failure);
    }
    return reply_json(exchange, 200);
}
