/* POST /tokenize, /detokenize, /apply-template: dry requests, whose answer is made of the prompt.
 */
#include <stdio.h>

#include "api/llama.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "base/json.h"
#include "base/utf8.h"

#define SLOT(member) offsetof(struct gen_request, member)

static bool check_text(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || api_type_error(field->name, "a string", value, err);
}

static bool check_bool(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_boolean(value) || api_type_error(field->name, "a boolean", value, err);
}

static bool check_ids(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err)
{
    (void)request;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        char path[48];
        snprintf(path, sizeof path, "%s[%zu]", field->name, i);
        if (!json_is_integer(item)) {
            return api_type_error(path, "a token id", item, err);
        }
        if (json_integer_value(item) < 0 || json_integer_value(item) > INT32_MAX) {
            return err_set_param(err, ERR_INVALID, path, "token id %lld is outside the vocabulary",
                                 (long long)json_integer_value(item));
        }
    }
    return json_is_array(value) || api_type_error(field->name, "an array of token ids", value, err);
}

static bool apply_kwargs(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    request->template_kwargs = value;
    return json_is_object(value) || api_type_error(field->name, "an object", value, err);
}

#define MODEL                                                                                      \
    {                                                                                              \
        .name = "model", .kind = API_TEXT, .offset = SLOT(model),                                  \
        .note = "an extension; needed where several are served"                                    \
    }

static const struct api_field tokenize_fields[] = {
    MODEL,
    {.name = "content", .kind = API_CUSTOM, .apply = check_text, .is_required = true},
    {.name = "add_special", .kind = API_CUSTOM, .apply = check_bool, .note = "false by default"},
    {.name = "parse_special", .kind = API_CUSTOM, .apply = check_bool, .note = "true by default"},
    {.name = "with_pieces", .kind = API_CUSTOM, .apply = check_bool},
    {0},
};

static const struct api_field detokenize_fields[] = {
    MODEL,
    {.name = "tokens", .kind = API_CUSTOM, .apply = check_ids, .is_required = true},
    {0},
};

static const struct api_field template_fields[] = {
    MODEL,
    {.name = "messages", .kind = API_CUSTOM, .apply = api_openai_messages, .is_required = true},
    {.name = "tools", .kind = API_CUSTOM, .apply = api_ollama_tools, .note = "functions"},
    {.name = "chat_template_kwargs", .kind = API_CUSTOM, .apply = apply_kwargs},
    {0},
};

static const struct api_field *const tokenize_tables[] = {tokenize_fields, NULL};
static const struct api_field *const detokenize_tables[] = {detokenize_fields, NULL};
static const struct api_field *const template_tables[] = {template_fields, NULL};

static bool parse(struct gen_request *request, enum gen_kind kind,
                  const struct api_field *const *tables, struct str body, struct err *err)
{
    api_llama_init(request, kind);
    request->is_dry = true;
    if (!api_request_read(request, body, err) ||
        !api_fields_apply(request, request->body, tables, err)) {
        return false;
    }
    request->prompts = ARENA_NEW(&request->arena, struct gen_prompt);
    if (!request->prompts) {
        return err_set_memory(err, sizeof *request->prompts);
    }
    request->prompt_count = 1;
    return true;
}

static bool is_true(const struct gen_request *request, const char *name)
{
    return json_is_true(json_object_get(request->body, name));
}

static bool parse_tokenize(struct gen_request *request, struct str body, struct err *err)
{
    if (!parse(request, GEN_TEXT, tokenize_tables, body, err)) {
        return false;
    }
    struct gen_prompt *prompt = request->prompts;
    prompt->text = json_str(json_object_get(request->body, "content"));
    prompt->no_special = !is_true(request, "add_special");
    prompt->parses_special = !json_is_false(json_object_get(request->body, "parse_special"));
    snprintf(prompt->path, sizeof prompt->path, "content");
    return true;
}

static bool parse_detokenize(struct gen_request *request, struct str body, struct err *err)
{
    if (!parse(request, GEN_TEXT, detokenize_tables, body, err)) {
        return false;
    }
    const json_t *tokens = json_object_get(request->body, "tokens");
    struct gen_prompt *prompt = request->prompts;
    prompt->is_ids = true;
    snprintf(prompt->path, sizeof prompt->path, "tokens");
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        if (!text_ids_add(&prompt->ids, (text_id)json_integer_value(json_array_get(tokens, i)))) {
            return err_set_memory(err, sizeof(text_id));
        }
    }
    return true;
}

static bool parse_template(struct gen_request *request, struct str body, struct err *err)
{
    if (!parse(request, GEN_CHAT, template_tables, body, err)) {
        return false;
    }
    snprintf(request->prompts[0].path, sizeof request->prompts[0].path, "messages");
    request->wants_words = true;
    return true;
}

/* ---- answers ---- */

/* A string, or its bytes where they are no text. */
static void add_piece(struct str piece, struct buf *out)
{
    if (utf8_is_valid(piece)) {
        json_write_string(out, piece);
        return;
    }
    buf_add_char(out, '[');
    for (size_t i = 0; i < piece.len; i++) {
        buf_add_format(out, i ? ",%u" : "%u", (unsigned)(unsigned char)piece.ptr[i]);
    }
    buf_add_char(out, ']');
}

static void tell_tokens(struct api_render *render, struct buf *out)
{
    const struct text_ids *ids = &render->request->prompts[0].ids;
    bool with_pieces = is_true(render->request, "with_pieces");
    buf_add_text(out, "{\"tokens\":[");
    for (size_t i = 0; i < ids->count; i++) {
        buf_add_text(out, i ? "," : "");
        if (with_pieces) {
            buf_add_format(out, "{\"id\":%ld,\"piece\":", (long)ids->ids[i]);
            add_piece(text_piece(render->text, ids->ids[i], true), out);
            buf_add_char(out, '}');
        } else {
            buf_add_format(out, "%ld", (long)ids->ids[i]);
        }
    }
    buf_add_text(out, "]}");
}

static void tell_text(struct api_render *render, struct buf *out)
{
    const struct text_ids *ids = &render->request->prompts[0].ids;
    struct buf text = {0};
    text_decode(render->text, ids->ids, ids->count, true, false, &text);
    buf_add_text(out, "{\"content\":");
    json_write_string(out, buf_view(&text));
    buf_add_char(out, '}');
    out->failed = out->failed || text.failed;
    buf_deinit(&text);
}

static void tell_words(struct api_render *render, struct buf *out)
{
    buf_add_text(out, "{\"prompt\":");
    json_write_string(out, buf_view(&render->request->words));
    buf_add_char(out, '}');
}

const struct api_dialect api_llama_tokenize = {
    .id_prefix = "tok-",
    .parse = parse_tokenize,
    .resolve = api_llama_resolve,
    .whole = tell_tokens,
    .tables = tokenize_tables,
};

const struct api_dialect api_llama_detokenize = {
    .id_prefix = "tok-",
    .parse = parse_detokenize,
    .resolve = api_llama_resolve,
    .whole = tell_text,
    .tables = detokenize_tables,
};

const struct api_dialect api_llama_template = {
    .id_prefix = "tok-",
    .parse = parse_template,
    .resolve = api_llama_resolve,
    .whole = tell_words,
    .tables = template_tables,
};
