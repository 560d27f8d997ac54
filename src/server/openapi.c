/* A field's row becomes a JSON Schema: type and range as the row has them, null beside it where a
 * field may be absent, and null alone where the field is refused, for that is what the parser
 * takes. Rows whose value has rules of its own say only that they exist; their errors are precise.
 */
#include "server/openapi.h"

#include <stdio.h>

#include "api/anthropic.h"
#include "api/embedding.h"
#include "api/llama.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "api/responses.h"
#include "base/json.h"
#include "server/exchange.h"
#include "server/websocket.h"

#define SSE    "text/event-stream"
#define NDJSON "application/x-ndjson"

static const struct api_field *const *const show_tables = api_ollama_show_tables;
static const struct api_field *const *const completion_tables = api_llama_completion_tables;
static const struct api_field *const *const infill_tables = api_llama_infill_tables;
static const struct api_field *const *const responses_tables = api_responses_tables;

/* The bodies that are read by tables, and how their answers stream. Further ones are just objects.
 */
static const struct body {
    const char *pattern;
    const struct api_field *const *const *tables;
    const char *stream; /* NULL: never */
} bodies[] = {
    {"/v1/chat/completions", &api_openai_chat.tables, SSE},
    {"/v1/completions", &api_openai_completions.tables, SSE},
    {"/v1/responses", &responses_tables, SSE},
    {"/v1/responses/input_tokens", &responses_tables, NULL},
    {"/v1/embeddings", &api_openai_embeddings.tables, NULL},
    {"/v1/rerank", &api_rerank.tables, NULL},
    {"/v2/rerank", &api_rerank.tables, NULL},
    {"/rerank", &api_rerank.tables, NULL},
    {"/reranking", &api_rerank.tables, NULL},
    {"/v1/reranking", &api_rerank.tables, NULL},
    {"/embedding", &api_llama_embedding.tables, NULL},
    {"/embeddings", &api_llama_embedding.tables, NULL},
    {"/completion", &completion_tables, SSE},
    {"/completions", &completion_tables, SSE},
    {"/infill", &infill_tables, SSE},
    {"/tokenize", &api_llama_tokenize.tables, NULL},
    {"/detokenize", &api_llama_detokenize.tables, NULL},
    {"/apply-template", &api_llama_template.tables, NULL},
    {"/v1/messages", &api_anthropic_messages.tables, SSE},
    {"/v1/messages/count_tokens", &api_anthropic_count.tables, NULL},
    {"/api/chat", &api_ollama_chat.tables, NDJSON},
    {"/api/generate", &api_ollama_generate.tables, NDJSON},
    {"/api/embed", &api_ollama_embed.tables, NULL},
    {"/api/embeddings", &api_ollama_embeddings.tables, NULL},
    {"/api/show", &show_tables, NULL},
};

/* By the beginning of the path; the first that fits. */
static const struct family {
    const char *prefix, *tag, *error;
} families[] = {
    {"/v1/messages", "Anthropic", "AnthropicError"},
    {"/v1/", "OpenAI", "Error"},
    {"/api/", "Ollama", "OllamaError"},
    {"/completion", "llama-server", "LlamaError"},
    {"/infill", "llama-server", "LlamaError"},
    {"/tokenize", "llama-server", "LlamaError"},
    {"/detokenize", "llama-server", "LlamaError"},
    {"/apply-template", "llama-server", "LlamaError"},
    {"/props", "llama-server", "LlamaError"},
    {"/slots", "llama-server", "LlamaError"},
    {"/lora-adapters", "llama-server", "LlamaError"},
    {"/", "Server", "Error"},
};

static const struct family *family_of(const char *pattern)
{
    const struct family *family = families;
    while (!str_starts(str_of(pattern), str_of(family->prefix))) {
        family++;
    }
    return family;
}

static const struct body *body_of(const char *pattern)
{
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        if (strcmp(bodies[i].pattern, pattern) == 0) {
            return &bodies[i];
        }
    }
    return NULL;
}

/* ---- fields ---- */

static json_t *type_of(const struct api_field *field)
{
    const char *type = field->kind == API_BOOL     ? "boolean"
                       : field->kind == API_U32    ? "integer"
                       : field->kind == API_F32    ? "number"
                       : field->kind == API_TEXT   ? "string"
                       : field->kind != API_CUSTOM ? "null"
                                                   : NULL;
    if (!type) {
        return NULL;
    }
    return field->is_required || field->kind == API_REFUSED ? json_string(type)
                                                            : json_pack("[ss]", type, "null");
}

static json_t *field_schema(const struct api_field *field)
{
    json_t *schema = json_object();
    bool is_refused = field->kind == API_REFUSED;
    const char *state = is_refused ? "refused" : field->is_limited ? "limited" : "honoured";
    json_t *type = type_of(field);
    if (type) {
        json_object_set_new(schema, "type", type);
    }
    if (field->kind == API_U32) {
        json_object_set_new(schema, "minimum", json_integer((json_int_t)field->min));
        json_object_set_new(schema, "maximum", json_integer((json_int_t)field->max));
    } else if (field->kind == API_F32) {
        json_object_set_new(schema, "minimum", json_real(field->min));
        json_object_set_new(schema, "maximum", json_real(field->max));
    }
    if (field->note) {
        json_object_set_new(schema, "description", json_string(field->note));
    }
    json_object_set_new(schema, "x-hearth-state", json_string(state));
    return schema;
}

static json_t *body_schema(const struct api_field *const *tables)
{
    json_t *properties = json_object(), *required = json_array();
    for (; tables && *tables; tables++) {
        for (const struct api_field *field = *tables; field->name; field++) {
            json_object_set_new(properties, field->name, field_schema(field));
            if (field->is_required) {
                json_array_append_new(required, json_string(field->name));
            }
        }
    }
    json_t *schema =
        json_pack("{ss so so}", "type", "object", "properties", properties, "required", required);
    if (json_object_size(properties) > 0) {
        json_object_set_new(schema, "additionalProperties", json_false());
    }
    return schema;
}

/* ---- operations ---- */

/* "/v1/models/{id...}" -> "/v1/models/{id}", whose parameters go to `parameters`. */
static void path_of(const char *pattern, struct buf *path, json_t *parameters)
{
    struct str rest = str_of(pattern);
    while (rest.len) {
        size_t brace = str_find(rest, STR("{"), 0);
        if (brace == SIZE_MAX) {
            buf_add(path, rest);
            return;
        }
        size_t end = str_find(rest, STR("}"), brace);
        struct str name = str_slice(rest, brace + 1, end);
        name.len -= str_ends(name, STR("...")) ? 3 : 0;
        buf_add(path, str_slice(rest, 0, brace));
        buf_add_format(path, "{%.*s}", STR_ARG(name));
        json_array_append_new(parameters,
                              json_pack("{ss% ss sb s{ss}}", "name", name.ptr, name.len, "in",
                                        "path", "required", 1, "schema", "type", "string"));
        rest = str_slice(rest, end + 1, rest.len);
    }
}

/* "POST", "/v1/chat/completions" -> "post_v1_chat_completions" */
static void operation_id(const struct server_route *route, struct buf *out)
{
    for (const char *c = route->method; *c; c++) {
        buf_add_char(out, (char)(*c | 0x20));
    }
    bool is_gap = true;
    for (const char *c = route->pattern; *c; c++) {
        bool is_word = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9');
        if (is_word && is_gap) {
            buf_add_char(out, '_');
        }
        if (is_word) {
            buf_add_char(out, *c);
        }
        is_gap = !is_word;
    }
}

static json_t *answers(const struct server_route *route)
{
    char reference[64];
    const struct body *body = body_of(route->pattern);
    snprintf(reference, sizeof reference, "#/components/schemas/%s",
             family_of(route->pattern)->error);
    json_t *error = json_pack("{ss s{s{s{ss}}}}", "description", "an error", "content",
                              "application/json", "schema", "$ref", reference);
    if (route->handle == server_websocket) {
        return json_pack("{s{ss} so}", "101", "description", "speaks WebSocket from here on",
                         "default", error);
    }
    json_t *good = json_pack("{ss}", "description", "the answer");
    if (body && body->stream) {
        json_object_set_new(good, "content",
                            json_pack("{s{} s{}}", "application/json", body->stream));
    }
    return json_pack("{so so}", "200", good, "default", error);
}

static json_t *operation(const struct server_route *route, json_t *parameters)
{
    struct buf id = {0};
    operation_id(route, &id);
    json_t *result = json_pack("{ss s[s] ss so}", "operationId", buf_view(&id).ptr, "tags",
                               family_of(route->pattern)->tag, "summary", route->summary,
                               "responses", answers(route));
    buf_deinit(&id);
    if (json_array_size(parameters) > 0) {
        json_object_set(result, "parameters", parameters);
    }
    if (route->body_bytes_max > 0) {
        const struct body *body = body_of(route->pattern);
        const struct api_field *const *tables = body ? *body->tables : NULL;
        json_object_set_new(result, "requestBody",
                            json_pack("{sb s{s{so}}}", "required", 1, "content", "application/json",
                                      "schema", body_schema(tables)));
    }
    if (route->role == SERVER_ROLE_PUBLIC) {
        json_object_set_new(result, "security", json_array());
    }
    return result;
}

static json_t *all_paths(const struct server_route *routes)
{
    json_t *paths = json_object();
    for (; routes->pattern; routes++) {
        struct buf path = {0};
        json_t *parameters = json_array();
        char method[16];
        path_of(routes->pattern, &path, parameters);
        size_t len = 0;
        for (; routes->method[len] && len + 1 < sizeof method; len++) {
            method[len] = (char)(routes->method[len] | 0x20);
        }
        method[len] = 0;
        json_t *item = json_object_get(paths, buf_view(&path).ptr);
        if (!item) {
            item = json_object();
            json_object_set_new(paths, buf_view(&path).ptr, item);
        }
        json_object_set_new(item, method, operation(routes, parameters));
        json_decref(parameters);
        buf_deinit(&path);
    }
    return paths;
}

/* ---- the document ---- */

static json_t *schemas(void)
{
    static const char text[] =
        "{\"Error\":{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{"
        "\"type\":\"object\",\"required\":[\"message\",\"type\",\"param\",\"code\"],\"properties\":"
        "{"
        "\"message\":{\"type\":\"string\"},\"type\":{\"type\":\"string\"},"
        "\"param\":{\"type\":[\"string\",\"null\"]},\"code\":{\"type\":[\"string\",\"null\"]}}}}},"
        "\"AnthropicError\":{\"type\":\"object\",\"required\":[\"type\",\"error\"],\"properties\":{"
        "\"type\":{\"const\":\"error\"},\"request_id\":{\"type\":\"string\"},\"error\":{"
        "\"type\":\"object\",\"required\":[\"type\",\"message\"],\"properties\":{"
        "\"type\":{\"type\":\"string\"},\"message\":{\"type\":\"string\"}}}}},"
        "\"LlamaError\":{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{"
        "\"type\":\"object\",\"required\":[\"code\",\"message\",\"type\"],\"properties\":{"
        "\"code\":{\"type\":\"integer\"},\"message\":{\"type\":\"string\"},"
        "\"type\":{\"type\":\"string\"}}}}},"
        "\"OllamaError\":{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{"
        "\"error\":{\"type\":\"string\"}}}}";
    struct err err;
    return json_parse(STR(text), NULL, &err);
}

json_t *server_openapi_document(const struct server_route *routes)
{
    json_t *security = json_pack("[{s[]}{s[]}]", "bearer", "apiKey");
    json_t *schemes =
        json_pack("{s{ss ss} s{ss ss ss}}", "bearer", "type", "http", "scheme", "bearer", "apiKey",
                  "type", "apiKey", "in", "header", "name", "x-api-key");
    return json_pack(
        "{ss s{ss ss ss} s[{ss}] so so s{so so}}", "openapi", "3.1.0", "info", "title", "hearth",
        "version", HEARTH_VERSION, "description",
        "A server for language models. A field is honoured, or refused by name: null is the same "
        "as absent, and a refused field takes nothing else.",
        "servers", "url", "/", "security", security, "paths", all_paths(routes), "components",
        "securitySchemes", schemes, "schemas", schemas());
}

enum server_step server_openapi(struct server_exchange *exchange)
{
    json_t *document = server_openapi_document(server_routes);
    if (!document) {
        struct err failure;
        err_set_memory(&failure, 1 << 20);
        return server_exchange_fail(exchange, &failure);
    }
    json_write(&exchange->reply.body, document);
    json_decref(document);
    exchange->reply.status = 200;
    exchange->reply.content_type = "application/json";
    return SERVER_STEP_REPLY;
}

/* ---- the page ---- */

static const unsigned char page_html[] = {
#include "server/docs_page.html.inc"
};
static const unsigned char page_js[] = {
#include "server/docs_page.js.inc"
};
static const unsigned char page_css[] = {
#include "server/docs_page.css.inc"
};

static enum server_step reply_file(struct server_exchange *exchange, const char *type,
                                   struct str bytes)
{
    buf_add(&exchange->reply.body, bytes);
    exchange->reply.status = 200;
    exchange->reply.content_type = type;
    server_reply_header(&exchange->reply, "Content-Security-Policy",
                        "default-src 'none'; script-src 'self'; style-src 'self'; "
                        "connect-src 'self'; base-uri 'none'; form-action 'none'; "
                        "frame-ancestors 'none'");
    server_reply_header(&exchange->reply, "Referrer-Policy", "no-referrer");
    return SERVER_STEP_REPLY;
}

enum server_step server_docs_page(struct server_exchange *exchange)
{
    return reply_file(exchange, "text/html; charset=utf-8",
                      (struct str){(const char *)page_html, sizeof page_html});
}

enum server_step server_docs_script(struct server_exchange *exchange)
{
    return reply_file(exchange, "text/javascript; charset=utf-8",
                      (struct str){(const char *)page_js, sizeof page_js});
}

enum server_step server_docs_style(struct server_exchange *exchange)
{
    return reply_file(exchange, "text/css; charset=utf-8",
                      (struct str){(const char *)page_css, sizeof page_css});
}
