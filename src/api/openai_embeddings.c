/* POST /v1/embeddings, and llama-server's /embedding. */
#include <stdio.h>

#include "api/embedding.h"
#include "api/prompts.h"
#include "base/json.h"

#define SLOT(member)           offsetof(struct gen_request, member)
#define EMBEDDING_SLOT(member) offsetof(struct gen_request, embedding.member)

static bool apply_input(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    if (request->prompts) {
        return err_set_param(err, ERR_INVALID, field->name, "'content' and 'input' are one field");
    }
    return api_read_prompts(request, field, value, ENGINE_EMBED_TEXTS, err);
}

static bool apply_format(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    struct str format = json_str(value);
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    request->embedding.wants_base64 = str_eq(format, STR("base64"));
    return request->embedding.wants_base64 || str_eq(format, STR("float")) ||
           err_set_param(err, ERR_INVALID, field->name,
                         "invalid value for 'encoding_format': must be 'float' or 'base64'");
}

static bool apply_norm(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    json_int_t norm = json_integer_value(value);
    if (norm < -1 || norm > 64) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid value for 'embd_normalize': must be between -1 and 64");
    }
    request->embedding.norm = (int32_t)norm;
    return true;
}

static const struct api_field openai_fields[] = {
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model), .is_required = true},
    {.name = "input",
     .kind = API_CUSTOM,
     .apply = apply_input,
     .is_required = true,
     .note = "a text, texts, token ids or lists of them; one that is too long is an error"},
    {.name = "encoding_format",
     .kind = API_CUSTOM,
     .apply = apply_format,
     .note = "float or base64 (little-endian 32-bit floats)"},
    {.name = "dimensions",
     .kind = API_U32,
     .offset = EMBEDDING_SLOT(dimensions),
     .min = 1,
     .max = 1 << 20,
     .note = "the first so many numbers, brought to length 1 again; sensible for models that were "
             "trained for it (Matryoshka)"},
    {.name = "user", .kind = API_TEXT, .offset = SLOT(user), .note = "goes to the log"},
    {0},
};

static const struct api_field *const openai_tables[] = {openai_fields, api_embedding_prompt_fields,
                                                        NULL};

static bool parse(struct gen_request *request, struct err *err)
{
    return api_fields_apply(request, request->body, openai_tables, err);
}

static bool answer(struct api_embedding *e, struct buf *out, struct err *err)
{
    (void)err;
    buf_add_text(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < e->request.prompt_count; i++) {
        buf_add_format(out,
                       "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
        api_embedding_vector(e, i, out);
        buf_add_char(out, '}');
    }
    buf_add_text(out, "],\"model\":");
    json_write_string(out, e->request.model);
    buf_add_format(out, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}",
                   (unsigned long long)e->tokens, (unsigned long long)e->tokens);
    return true;
}

const struct api_embedding_dialect api_openai_embeddings = {
    .parse = parse, .answer = answer, .tables = openai_tables};

/* ---- llama-server's: [{"index":0,"embedding":[[...]]}], a row for each token without pooling ---
 */

static const struct api_field llama_fields[] = {
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model), .is_required = true},
    {.name = "content", .kind = API_CUSTOM, .apply = apply_input},
    {.name = "input", .kind = API_CUSTOM, .apply = apply_input, .note = "another word for content"},
    {.name = "embd_normalize",
     .kind = API_CUSTOM,
     .apply = apply_norm,
     .note = "2 (the default) to length 1, -1 as the model gives them, 0 the largest to 32760, 1 "
             "the sum of magnitudes to 1, p the p-norm to 1"},
    {0},
};

static const struct api_field *const llama_tables[] = {llama_fields, api_embedding_prompt_fields,
                                                       NULL};

static bool parse_llama(struct gen_request *request, struct err *err)
{
    return api_fields_apply(request, request->body, llama_tables, err) &&
           (request->prompts ||
            err_set_param(err, ERR_MISSING, "content", "missing required parameter: 'content'"));
}

static bool answer_llama(struct api_embedding *e, struct buf *out, struct err *err)
{
    (void)err;
    buf_add_char(out, '[');
    for (size_t i = 0; i < e->request.prompt_count; i++) {
        size_t first = api_embedding_row(e, i), rows = api_embedding_rows(e, i);
        buf_add_format(out, "%s{\"index\":%zu,\"embedding\":[", i ? "," : "", i);
        for (size_t row = 0; row < rows; row++) {
            buf_add_text(out, row ? "," : "");
            api_embedding_vector(e, first + row, out);
        }
        buf_add_text(out, "]}");
    }
    buf_add_char(out, ']');
    return true;
}

const struct api_embedding_dialect api_llama_embedding = {
    .parse = parse_llama, .answer = answer_llama, .tables = llama_tables, .gives_rows = true};
