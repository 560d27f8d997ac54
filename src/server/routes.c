#include "server/routes.h"

#include "base/utf8.h"
#include "server/background.h"
#include "server/batches.h"
#include "server/calls.h"
#include "server/clients.h"
#include "server/embed.h"
#include "server/generate.h"
#include "server/openapi.h"
#include "server/pages.h"
#include "server/websocket.h"

enum { SHOW_BYTES_MAX = 64 << 10, CALL_BYTES_MAX = 64 << 10 };

const struct server_route server_routes[] = {
    {"GET", "/", SERVER_ROLE_PUBLIC, 0, server_page_root, "what this is"},
    {"GET", "/healthz", SERVER_ROLE_PUBLIC, 0, server_page_health, "the process is alive"},
    {"GET", "/readyz", SERVER_ROLE_PUBLIC, 0, server_page_ready, "200 once every model generates"},
    {"GET", "/metrics", SERVER_ROLE_OPERATOR, 0, server_page_metrics, "Prometheus text"},
    {"GET", "/openapi.json", SERVER_ROLE_PUBLIC, 0, server_openapi, "this API, for machines"},
    {"GET", "/docs", SERVER_ROLE_PUBLIC, 0, server_docs_page, "this API, for people"},
    {"GET", "/docs/page.js", SERVER_ROLE_PUBLIC, 0, server_docs_script, "a part of that page"},
    {"GET", "/docs/page.css", SERVER_ROLE_PUBLIC, 0, server_docs_style, "a part of that page"},
    {"GET", "/v1/models", SERVER_ROLE_INFERENCE, 0, server_page_models, "the served models"},
    {"GET", "/v1/models/{id...}", SERVER_ROLE_INFERENCE, 0, server_page_model, "one of them"},
    {"POST", "/v1/chat/completions", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING,
     server_generate_chat, "answers a conversation"},
    {"GET", "/v1/chat/completions", SERVER_ROLE_INFERENCE, 0, server_chats_list,
     "stored conversations, by pages"},
    {"GET", "/v1/chat/completions/{id}", SERVER_ROLE_INFERENCE, 0, server_chats_get, "one of them"},
    {"POST", "/v1/chat/completions/{id}", SERVER_ROLE_INFERENCE, CALL_BYTES_MAX,
     server_chats_update, "changes its metadata"},
    {"DELETE", "/v1/chat/completions/{id}", SERVER_ROLE_INFERENCE, 0, server_chats_delete,
     "deletes it"},
    {"GET", "/v1/chat/completions/{id}/messages", SERVER_ROLE_INFERENCE, 0, server_chats_messages,
     "its messages, by pages"},
    {"POST", "/v1/completions", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING,
     server_generate_completion, "continues a text"},
    {"POST", "/v1/embeddings", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_openai_embeddings,
     "vectors of texts"},
    {"POST", "/v1/rerank", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_rerank,
     "ranks documents by a query"},
    {"POST", "/v2/rerank", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_rerank,
     "the same, for Cohere's clients"},
    {"POST", "/rerank", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_rerank, "the same"},
    {"POST", "/reranking", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_rerank, "the same"},
    {"POST", "/v1/reranking", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_rerank,
     "the same"},
    {"GET", "/v1/chat/stream", SERVER_ROLE_INFERENCE, 0, server_websocket,
     "a WebSocket for many conversations (docs/api/websocket.md)"},
    {"POST", "/v1/responses", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_responses_create,
     "answers, and keeps the answer"},
    {"POST", "/v1/responses/input_tokens", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING,
     server_responses_count, "counts the tokens of such a request"},
    {"GET", "/v1/responses/{id}", SERVER_ROLE_INFERENCE, 0, server_responses_get,
     "a stored response; stream=true&starting_after=N: its events"},
    {"DELETE", "/v1/responses/{id}", SERVER_ROLE_INFERENCE, 0, server_responses_delete,
     "deletes it"},
    {"POST", "/v1/responses/{id}/cancel", SERVER_ROLE_INFERENCE, CALL_BYTES_MAX,
     server_responses_cancel, "cancels it, if it is in the background"},
    {"GET", "/v1/responses/{id}/input_items", SERVER_ROLE_INFERENCE, 0, server_responses_inputs,
     "its input, by pages"},
    {"POST", "/v1/files", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_files_create,
     "uploads a file (multipart/form-data)"},
    {"GET", "/v1/files", SERVER_ROLE_INFERENCE, 0, server_files_list, "files, by pages"},
    {"GET", "/v1/files/{id}", SERVER_ROLE_INFERENCE, 0, server_files_get, "one of them"},
    {"GET", "/v1/files/{id}/content", SERVER_ROLE_INFERENCE, 0, server_files_content, "its bytes"},
    {"DELETE", "/v1/files/{id}", SERVER_ROLE_INFERENCE, 0, server_files_delete, "deletes it"},
    {"POST", "/v1/batches", SERVER_ROLE_INFERENCE, CALL_BYTES_MAX, server_batch_create,
     "answers the requests of a file when nothing else is asked"},
    {"GET", "/v1/batches", SERVER_ROLE_INFERENCE, 0, server_batches_list, "batches, by pages"},
    {"GET", "/v1/batches/{id}", SERVER_ROLE_INFERENCE, 0, server_batches_get, "one of them"},
    {"POST", "/v1/batches/{id}/cancel", SERVER_ROLE_INFERENCE, CALL_BYTES_MAX, server_batch_cancel,
     "cancels it"},
    {"POST", "/v1/conversations", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING,
     server_conversations_create, "makes a conversation"},
    {"GET", "/v1/conversations/{id}", SERVER_ROLE_INFERENCE, 0, server_conversations_get,
     "a conversation"},
    {"POST", "/v1/conversations/{id}", SERVER_ROLE_INFERENCE, CALL_BYTES_MAX,
     server_conversations_update, "changes its metadata"},
    {"DELETE", "/v1/conversations/{id}", SERVER_ROLE_INFERENCE, 0, server_conversations_delete,
     "deletes it with its items"},
    {"GET", "/v1/conversations/{id}/items", SERVER_ROLE_INFERENCE, 0, server_conversations_items,
     "its items, by pages"},
    {"POST", "/v1/conversations/{id}/items", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING,
     server_conversations_add, "adds items"},
    {"GET", "/v1/conversations/{id}/items/{item}", SERVER_ROLE_INFERENCE, 0,
     server_conversations_item, "one of them"},
    {"DELETE", "/v1/conversations/{id}/items/{item}", SERVER_ROLE_INFERENCE, 0,
     server_conversations_remove, "deletes it"},
    /* llama-server's */
    {"POST", "/embedding", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_llama_embedding,
     "vectors of texts, as llama-server has it"},
    {"POST", "/embeddings", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_llama_embedding,
     "the same"},
    {"GET", "/health", SERVER_ROLE_PUBLIC, 0, server_page_llama_health,
     "200 once every model generates, as llama-server has it"},
    {"POST", "/completion", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_llama_completion,
     "continues a text, as llama-server has it"},
    {"POST", "/completions", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_llama_completion,
     "the same"},
    {"POST", "/infill", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_llama_infill,
     "fills in between two texts"},
    {"POST", "/tokenize", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_llama_tokenize,
     "the tokens of a text"},
    {"POST", "/detokenize", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_llama_detokenize,
     "the text of tokens"},
    {"POST", "/apply-template", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_llama_template,
     "the text of a conversation"},
    {"GET", "/props", SERVER_ROLE_INFERENCE, 0, server_llama_props, "what the server is set to"},
    {"POST", "/props", SERVER_ROLE_OPERATOR, SERVER_BODY_SETTING, server_llama_fixed,
     "refused: settings are read at start"},
    {"GET", "/slots", SERVER_ROLE_OPERATOR, 0, server_llama_slots, "how many sequences run"},
    {"POST", "/slots/{id}", SERVER_ROLE_OPERATOR, SERVER_BODY_SETTING, server_llama_fixed,
     "refused: the cache keeps prompts by itself"},
    {"GET", "/lora-adapters", SERVER_ROLE_INFERENCE, 0, server_llama_adapters,
     "the adapters of the model, and how much they change it"},
    {"POST", "/lora-adapters", SERVER_ROLE_OPERATOR, CALL_BYTES_MAX, server_llama_set_adapters,
     "sets that for requests that do not say"},
    /* Anthropic's */
    {"POST", "/v1/messages", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_anthropic_messages,
     "answers a conversation, as Anthropic's API has it"},
    {"POST", "/v1/messages/count_tokens", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING,
     server_anthropic_count, "counts the tokens of such a conversation"},
    {"POST", "/v1/messages/batches", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING,
     server_anthropic_batches, "refused: /v1/batches runs batches"},
    {"GET", "/v1/messages/batches", SERVER_ROLE_INFERENCE, 0, server_anthropic_batches,
     "refused: /v1/batches runs batches"},
    {"GET", "/v1/messages/batches/{id...}", SERVER_ROLE_INFERENCE, 0, server_anthropic_batches,
     "refused: /v1/batches runs batches"},
    /* Ollama's */
    {"POST", "/api/chat", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_ollama_chat,
     "answers a conversation, as Ollama has it"},
    {"POST", "/api/generate", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_ollama_generate,
     "answers a prompt, as Ollama has it"},
    {"GET", "/api/tags", SERVER_ROLE_INFERENCE, 0, server_ollama_tags,
     "the served models; `digest` is the SHA-256 of the file (of a split one, of its parts one "
     "behind the other); while a large file is still being read it names path, size and time "
     "instead, and "
     "`hearth.digest` says which: `sha256` or `identity`"},
    {"GET", "/api/ps", SERVER_ROLE_INFERENCE, 0, server_ollama_ps,
     "the loaded models; `digest` as in /api/tags"},
    {"POST", "/api/show", SERVER_ROLE_INFERENCE, SHOW_BYTES_MAX, server_ollama_show,
     "what is known of a model"},
    {"GET", "/api/version", SERVER_ROLE_INFERENCE, 0, server_ollama_version, "the version"},
    {"POST", "/api/create", SERVER_ROLE_OPERATOR, SERVER_BODY_SETTING, server_ollama_create,
     "makes a model of another one"},
    {"POST", "/api/copy", SERVER_ROLE_OPERATOR, SERVER_BODY_SETTING, server_ollama_copy,
     "gives a model another name"},
    {"DELETE", "/api/delete", SERVER_ROLE_OPERATOR, SERVER_BODY_SETTING, server_ollama_delete,
     "deletes a made model"},
    {"GET", "/api/blobs/{digest}", SERVER_ROLE_OPERATOR, 0, server_ollama_blob_find,
     "whether a file was uploaded"},
    {"POST", "/api/blobs/{digest}", SERVER_ROLE_OPERATOR, SERVER_BODY_SETTING,
     server_ollama_blob_put, "takes a file for /api/create"},
    {"POST", "/api/pull", SERVER_ROLE_OPERATOR, SERVER_BODY_SETTING, server_ollama_missing,
     "refused: not supported yet"},
    {"POST", "/api/push", SERVER_ROLE_OPERATOR, SERVER_BODY_SETTING, server_ollama_missing,
     "refused: not supported yet"},
    {"POST", "/api/embed", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING, server_ollama_embed,
     "vectors of texts, as Ollama has it"},
    {"POST", "/api/embeddings", SERVER_ROLE_INFERENCE, SERVER_BODY_SETTING,
     server_ollama_embeddings, "the vector of a text, as Ollama had it"},
    {0},
};

bool server_routes_check(const struct server_route *routes, struct err *err)
{
    for (; routes->pattern; routes++) {
        if (routes->role == SERVER_ROLE_MISSING || !routes->method || !routes->handle) {
            return err_set(err, ERR_INTERNAL, "the route %s has no role, method or handler",
                           routes->pattern);
        }
    }
    return true;
}

static bool matches(const char *pattern, struct str path, struct str parts[SERVER_PARTS_MAX])
{
    struct str rest = str_of(pattern);
    size_t count = 0;
    memset(parts, 0, SERVER_PARTS_MAX * sizeof *parts);
    for (;;) {
        size_t brace = str_find(rest, STR("{"), 0);
        if (brace == SIZE_MAX) {
            return str_eq(rest, path);
        }
        if (!str_eat(&path, str_slice(rest, 0, brace)) || count == SERVER_PARTS_MAX) {
            return false;
        }
        size_t end = str_find(rest, STR("}"), brace);
        bool takes_all = str_ends(str_slice(rest, brace, end), STR("..."));
        size_t slash = takes_all ? SIZE_MAX : str_find(path, STR("/"), 0);
        struct str part = str_slice(path, 0, slash);
        if (part.len == 0) {
            return false;
        }
        parts[count++] = part;
        path = str_slice(path, part.len, path.len);
        rest = str_slice(rest, end + 1, rest.len);
    }
}

/* A row spells the path out: then rows with parts in braces do not mean it. */
static bool is_spelled_out(const struct server_route *routes, struct str path)
{
    while (routes->pattern && !str_eq(str_of(routes->pattern), path)) {
        routes++;
    }
    return routes->pattern != NULL;
}

const struct server_route *server_routes_find(const struct server_route *routes, struct str method,
                                              struct str path, struct str parts[SERVER_PARTS_MAX],
                                              struct buf *allow, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct str wanted = str_eq(method, STR("HEAD")) ? STR("GET") : method;
    bool is_exact = is_spelled_out(routes, path);
    buf_clear(allow);
    for (; routes->pattern; routes++) {
        if (!matches(routes->pattern, path, parts) || (is_exact && parts[0].len)) {
            continue;
        }
        if (str_eq(str_of(routes->method), wanted)) {
            return routes;
        }
        buf_add_format(allow, "%s%s%s", allow->len ? ", " : "", routes->method,
                       str_eq(str_of(routes->method), STR("GET")) ? ", HEAD" : "");
    }
    if (allow->len) {
        buf_add_text(allow, ", OPTIONS");
        err_set(err, ERR_METHOD, "this path does not take the method %s; it takes %s",
                str_quote(quoted, method), allow->ptr);
    } else {
        err_set(err, ERR_NOT_FOUND, "there is nothing at %s", str_quote(quoted, path));
    }
    return NULL;
}

static int hex_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool server_text_decode(struct str raw, struct buf *out, struct err *err)
{
    buf_clear(out);
    buf_reserve(out, raw.len);
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (c == '%') {
            bool is_whole = raw.len - i > 2;
            int high = is_whole ? hex_of(raw.ptr[i + 1]) : -1;
            int low = is_whole ? hex_of(raw.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return err_set(err, ERR_INVALID, "it holds a malformed escape");
            }
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == 0) {
            return err_set(err, ERR_INVALID, "it holds a NUL");
        }
        buf_add_char(out, c);
    }
    if (out->failed) {
        return err_set_memory(err, raw.len);
    }
    return utf8_is_valid(buf_view(out)) || err_set(err, ERR_INVALID, "it is not UTF-8");
}

bool server_path_decode(struct str raw, struct buf *out, struct err *err)
{
    if (!server_text_decode(raw, out, err)) {
        return err_wrap(err, "the path");
    }
    struct str rest = buf_view(out);
    while (rest.len) {
        struct str part = str_cut(&rest, '/');
        if (str_eq(part, STR(".")) || str_eq(part, STR(".."))) {
            return err_set(err, ERR_INVALID, "the path holds '.' or '..'");
        }
    }
    return true;
}
