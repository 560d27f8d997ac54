/* POST /v1/rerank: the shape that Jina, Cohere and llama-server share, best document first; and
 * that of text-embeddings-inference where the documents are called "texts".
 *
 * A score is what the model's head gives: a logit without bounds for a class head, a probability
 * for a reranker that answers yes or no. `normalize` makes a probability of a logit, too. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/embedding.h"
#include "base/json.h"

#define SLOT(member)      offsetof(struct gen_request, member)
#define RANK_SLOT(member) offsetof(struct gen_request, embedding.member)
#define REFUSED(field, why)                                                                        \
    {                                                                                              \
        .name = field, .kind = API_REFUSED, .note = why                                            \
    }

/* A text, or an object with a text. */
static bool read_text(const json_t *item, const char *path, struct str *out, struct err *err)
{
    const json_t *text = json_is_object(item) ? json_object_get(item, "text") : item;
    if (!json_is_string(text)) {
        return api_type_error(path, "a string or an object with 'text'", item, err);
    }
    *out = json_str(text);
    return true;
}

static bool apply_documents(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    const size_t count = json_array_size(value);
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    if (request->prompts) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "'documents' and 'texts' are one field");
    }
    if (count == 0 || count > ENGINE_EMBED_TEXTS) {
        return err_set_param(err, ERR_INVALID, field->name, "%zu %s, 1 to %d are allowed", count,
                             field->name, ENGINE_EMBED_TEXTS);
    }
    request->prompts = ARENA_ARRAY(&request->arena, struct gen_prompt, count);
    if (!request->prompts) {
        return err_set_memory(err, count * sizeof *request->prompts);
    }
    request->prompt_count = count;
    request->embedding.is_bare = strcmp(field->name, "texts") == 0;
    for (size_t i = 0; i < count; i++) {
        struct gen_prompt *prompt = &request->prompts[i];
        snprintf(prompt->path, sizeof prompt->path, "%s[%zu]", field->name, i);
        if (!read_text(json_array_get(value, i), prompt->path, &prompt->text, err)) {
            return false;
        }
    }
    return true;
}

static bool apply_query(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    return read_text(value, field->name, &request->embedding.query, err);
}

static bool apply_top_n(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    json_int_t top = json_integer_value(value);
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    if (top < 1) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid value for '%s': must be at least 1", field->name);
    }
    request->embedding.has_top_n = true;
    request->embedding.top_n = top > UINT32_MAX ? UINT32_MAX : (uint32_t)top;
    return true;
}

static bool apply_raw(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err)
{
    if (!json_is_boolean(value)) {
        return api_type_error(field->name, "a boolean", value, err);
    }
    request->embedding.wants_logistic = json_is_false(value);
    return true;
}

/* Nothing is ever cut, so "no" is how it is. */
static bool apply_no_cut(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    (void)request;
    return json_is_false(value) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

static const struct api_field fields[] = {
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model), .is_required = true},
    {.name = "query", .kind = API_CUSTOM, .apply = apply_query, .is_required = true},
    {.name = "documents",
     .kind = API_CUSTOM,
     .apply = apply_documents,
     .note = "strings, or objects with 'text'; a pair that is too long is an error"},
    {.name = "texts",
     .kind = API_CUSTOM,
     .apply = apply_documents,
     .note = "the documents, and a bare array of {index, score} as the answer"},
    {.name = "top_n",
     .kind = API_CUSTOM,
     .apply = apply_top_n,
     .note = "the best so many; more than there are is all"},
    {.name = "top_k", .kind = API_CUSTOM, .apply = apply_top_n, .note = "another word for top_n"},
    {.name = "return_documents", .kind = API_BOOL, .offset = RANK_SLOT(returns_documents)},
    {.name = "return_text",
     .kind = API_BOOL,
     .offset = RANK_SLOT(returns_documents),
     .note = "another word for return_documents"},
    {.name = "normalize",
     .kind = API_BOOL,
     .offset = RANK_SLOT(wants_logistic),
     .note = "scores from 0 to 1 by the logistic function; those of models that answer yes or no "
             "are so already"},
    {.name = "raw_scores",
     .kind = API_CUSTOM,
     .apply = apply_raw,
     .note = "the opposite of normalize"},
    {.name = "truncate",
     .kind = API_CUSTOM,
     .apply = apply_no_cut,
     .is_limited = true,
     .note = "nothing is cut"},
    {.name = "truncation",
     .kind = API_CUSTOM,
     .apply = apply_no_cut,
     .is_limited = true,
     .note = "nothing is cut"},
    {.name = "user", .kind = API_TEXT, .offset = SLOT(user), .note = "goes to the log"},
    REFUSED("max_chunks_per_doc", "documents are not cut in chunks"),
    REFUSED("max_tokens_per_doc", "documents are not cut"),
    REFUSED("rank_fields", "a document is its 'text'"),
    {0},
};

static const struct api_field *const tables[] = {fields, NULL};

static bool parse(struct gen_request *request, struct err *err)
{
    request->embedding.is_rank = true;
    return api_fields_apply(request, request->body, tables, err) &&
           (request->prompts || err_set_param(err, ERR_MISSING, "documents",
                                              "missing required parameter: 'documents'"));
}

struct ranked {
    size_t index;
    float score;
};

/* Best first, equals in the order of the request. */
static int compare(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score < y->score || x->score > y->score) {
        return x->score < y->score ? 1 : -1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static void add_result(const struct api_embedding *e, const struct ranked *ranked, struct buf *out)
{
    const struct gen_embedding *want = &e->request.embedding;
    const struct str text = e->request.prompts[ranked->index].text;
    char number[32];
    json_format_float(ranked->score, number);
    buf_add_format(out, "{\"index\":%zu,\"%s\":%s", ranked->index,
                   want->is_bare ? "score" : "relevance_score", number);
    if (want->returns_documents) {
        buf_add_text(out, want->is_bare ? ",\"text\":" : ",\"document\":{\"text\":");
        json_write_string(out, text);
        buf_add_text(out, want->is_bare ? "" : "}");
    }
    buf_add_char(out, '}');
}

static bool answer(struct api_embedding *e, struct buf *out, struct err *err)
{
    const struct gen_embedding *want = &e->request.embedding;
    const bool is_logit = route_local_engine(route_use_local(e->use)) == NULL;
    size_t count = e->request.prompt_count;
    struct ranked *ranked = ARENA_ARRAY(&e->request.arena, struct ranked, count);
    if (!ranked) {
        return err_set_memory(err, count * sizeof *ranked);
    }
    for (size_t i = 0; i < count; i++) {
        float score = e->vectors[i * e->width]; /* of several classes the first */
        bool maps = want->wants_logistic && is_logit;
        ranked[i] = (struct ranked){i, maps ? (float)(1 / (1 + exp(-(double)score))) : score};
    }
    qsort(ranked, count, sizeof *ranked, compare);
    count = want->has_top_n && want->top_n < count ? want->top_n : count;
    buf_add_text(out, want->is_bare ? "[" : "{\"object\":\"list\",\"results\":[");
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, i ? "," : "");
        add_result(e, &ranked[i], out);
    }
    if (want->is_bare) {
        buf_add_char(out, ']');
        return true;
    }
    buf_add_text(out, "],\"model\":");
    json_write_string(out, e->request.model);
    buf_add_format(out, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}",
                   (unsigned long long)e->tokens, (unsigned long long)e->tokens);
    return true;
}

const struct api_embedding_dialect api_rerank = {
    .parse = parse, .answer = answer, .tables = tables};
