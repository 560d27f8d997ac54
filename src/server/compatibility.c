#include "server/compatibility.h"

#include <stdio.h>

#include "api/anthropic.h"
#include "api/embedding.h"
#include "api/llama.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "api/responses.h"
#include "server/routes.h"

/* In tables a bar would end the cell. */
static void add_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        buf_add_text(out, *text == '|' ? "\\|" : (char[2]){*text, 0});
    }
}

static void add_value(const struct api_field *field, struct buf *out)
{
    switch (field->kind) {
    case API_BOOL:
        buf_add_text(out, "boolean");
        break;
    case API_U32:
        buf_add_format(out, "integer, %.10g to %.10g", field->min, field->max);
        break;
    case API_F32:
        buf_add_format(out, "number, %g to %g", field->min, field->max);
        break;
    case API_TEXT:
        buf_add_text(out, "string");
        break;
    case API_CUSTOM:
    case API_REFUSED:
        break;
    }
}

static void add_row(const struct api_field *field, struct buf *out)
{
    bool is_refused = field->kind == API_REFUSED;
    buf_add_format(out, "| `%s` | %s | ", field->name,
                   is_refused          ? "refused"
                   : field->is_limited ? "refused, unless it asks for what happens anyway"
                                       : "honoured");
    add_value(field, out);
    buf_add_text(out, field->is_required ? "(required) | " : " | ");
    add_cell(out, field->note ? field->note : "");
    buf_add_text(out, " |\n");
}

static void add_fields(const char *title, const struct api_field *const *tables, struct buf *out)
{
    buf_add_format(out, "\n## %s\n\n| field | state | value | note |\n|---|---|---|---|\n", title);
    for (; *tables; tables++) {
        for (const struct api_field *field = *tables; field->name; field++) {
            add_row(field, out);
        }
    }
}

void server_compatibility_page(struct buf *out)
{
    static const struct api_field *const messages[] = {api_ollama_message_fields, NULL};
    static const struct api_field *const options[] = {api_ollama_option_fields, NULL};
    static const struct api_field *const tools[] = {api_anthropic_tool_fields, NULL};
    buf_add_text(
        out,
        "# Compatibility\n\n"
        "Generated from the route table and the field tables of `src/api`, which the parsers\n"
        "themselves walk. A field is honoured, or it is refused by name with a reason (HTTP 400 "
        "in\n"
        "the shape of the API); a field that is in no table is refused as unknown. `null` is the\n"
        "same as absent.\n\n"
        "## Endpoints\n\n| method | path | what |\n|---|---|---|\n");
    for (const struct server_route *route = server_routes; route->pattern; route++) {
        buf_add_format(out, "| %s | `%s` | %s |\n", route->method, route->pattern, route->summary);
    }
    buf_add_text(
        out,
        "\nHeaders: `Authorization: Bearer KEY` or `x-api-key: KEY`; `X-Request-ID` names the\n"
        "request in both directions. Anthropic's routes also answer with `request-id`, take\n"
        "`anthropic-version` from 2023-06-01 on, and let any `anthropic-beta` and `?beta=true`\n"
        "pass.\n");
    add_fields("OpenAI: POST /v1/chat/completions", api_openai_chat.tables, out);
    add_fields("OpenAI: POST /v1/completions", api_openai_completions.tables, out);
    add_fields("OpenAI: POST /v1/embeddings", api_openai_embeddings.tables, out);
    add_fields("Jina, Cohere, llama-server: POST /v1/rerank", api_rerank.tables, out);
    add_fields("llama-server: POST /embedding", api_llama_embedding.tables, out);
    add_fields("OpenAI: POST /v1/responses, /v1/responses/input_tokens", api_responses_tables, out);
    add_fields("Anthropic: POST /v1/messages", api_anthropic_messages.tables, out);
    add_fields("Anthropic: POST /v1/messages/count_tokens", api_anthropic_count.tables, out);
    add_fields("Anthropic: a tool", tools, out);
    for (const struct api_anthropic_block *block = api_anthropic_blocks; block->type; block++) {
        const struct api_field *const fields[] = {block->fields, NULL};
        char title[64];
        snprintf(title, sizeof title, "Anthropic: a content block of type %s", block->type);
        add_fields(title, fields, out);
    }
    add_fields("llama-server: POST /completion", api_llama_completion.tables, out);
    add_fields("llama-server: POST /infill", api_llama_infill.tables, out);
    add_fields("llama-server: POST /tokenize", api_llama_tokenize.tables, out);
    add_fields("llama-server: POST /detokenize", api_llama_detokenize.tables, out);
    add_fields("llama-server: POST /apply-template", api_llama_template.tables, out);
    add_fields("Ollama: POST /api/generate", api_ollama_generate.tables, out);
    add_fields("Ollama: POST /api/chat", api_ollama_chat.tables, out);
    add_fields("Ollama: POST /api/embed", api_ollama_embed.tables, out);
    add_fields("Ollama: POST /api/embeddings", api_ollama_embeddings.tables, out);
    add_fields("Ollama: a message", messages, out);
    add_fields("Ollama: POST /api/show", api_ollama_show_tables, out);
    add_fields("Ollama: options", options, out);
}
