/* POST /api/embed and the older POST /api/embeddings. */
#include "api/embedding.h"
#include "api/ollama.h"
#include "api/prompts.h"
#include "base/json.h"

#define SLOT(member) offsetof(struct gen_request, member)

static bool apply_input(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    const json_t *first = json_array_get(value, 0);
    if (json_is_array(value) && first && !json_is_string(first)) {
        return api_type_error(field->name, "a string or an array of strings", value, err);
    }
    if (json_is_array(value) && !first) { /* no texts: no vectors */
        request->prompts = ARENA_ARRAY(&request->arena, struct gen_prompt, 1);
        return request->prompts || err_set_memory(err, sizeof *request->prompts);
    }
    return api_read_prompts(request, field, value, ENGINE_EMBED_TEXTS, err);
}

static bool apply_prompt(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    return api_read_prompts(request, field, value, 1, err);
}

#define COMMON                                                                                     \
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model), .is_required = true},               \
        {.name = "options",                                                                        \
         .kind = API_CUSTOM,                                                                       \
         .apply = api_ollama_options,                                                              \
         .note = "checked as elsewhere; what steers sampling has nothing to act on"},              \
    {                                                                                              \
        .name = "keep_alive", .kind = API_CUSTOM, .apply = api_ollama_keep_alive                   \
    }

static const struct api_field embed_fields[] = {
    COMMON,
    {.name = "input", .kind = API_CUSTOM, .apply = apply_input, .is_required = true},
    {.name = "truncate",
     .kind = API_BOOL,
     .offset = SLOT(embedding.cuts),
     .note =
         "false by default, unlike Ollama: a text that is too long is an error. With true it is "
         "cut at its end, and 'truncated' lists which"},
    {.name = "dimensions",
     .kind = API_U32,
     .offset = SLOT(embedding.dimensions),
     .min = 1,
     .max = 1 << 20},
    {0},
};

static const struct api_field embeddings_fields[] = {
    COMMON,
    {.name = "prompt", .kind = API_CUSTOM, .apply = apply_prompt, .is_required = true},
    {0},
};

static const struct api_field *const embed_tables[] = {embed_fields, api_embedding_prompt_fields,
                                                       NULL};
static const struct api_field *const embeddings_tables[] = {embeddings_fields,
                                                            api_embedding_prompt_fields, NULL};

static bool parse_embed(struct gen_request *request, struct err *err)
{
    request->is_tagged = true;
    return api_fields_apply(request, request->body, embed_tables, err);
}

static bool parse_embeddings(struct gen_request *request, struct err *err)
{
    request->is_tagged = true;
    request->embedding.norm = -1; /* this endpoint gives them as they are */
    return api_fields_apply(request, request->body, embeddings_tables, err);
}

static void add_cut(const struct api_embedding *e, struct buf *out)
{
    bool any = false;
    for (size_t i = 0; i < e->request.prompt_count; i++) {
        if (e->is_cut[i]) {
            buf_add_format(out, "%s%zu", any ? "," : ",\"truncated\":[", i);
            any = true;
        }
    }
    buf_add_text(out, any ? "]" : "");
}

static bool answer_embed(struct api_embedding *e, struct buf *out, struct err *err)
{
    (void)err;
    buf_add_text(out, "{\"model\":");
    json_write_string(out, e->request.model);
    buf_add_text(out, ",\"embeddings\":[");
    for (size_t i = 0; i < e->request.prompt_count; i++) {
        buf_add_text(out, i ? "," : "");
        api_embedding_vector(e, i, out);
    }
    buf_add_char(out, ']');
    add_cut(e, out);
    const int64_t load_ns = e->ready_ns - e->asked_ns;
    double run_ms = 0;
    if (e->task) {
        struct engine_embed_timing timing = engine_embed_timing(e->task);
        run_ms = timing.queue_ms + timing.run_ms;
    }
    buf_add_format(out,
                   ",\"total_duration\":%lld,\"load_duration\":%lld,\"prompt_eval_count\":%llu}",
                   (long long)load_ns + (long long)(run_ms * 1e6), (long long)load_ns,
                   (unsigned long long)e->tokens);
    return true;
}

static bool answer_embeddings(struct api_embedding *e, struct buf *out, struct err *err)
{
    (void)err;
    buf_add_text(out, "{\"embedding\":");
    api_embedding_vector(e, 0, out);
    buf_add_char(out, '}');
    return true;
}

const struct api_embedding_dialect api_ollama_embed = {
    .parse = parse_embed, .answer = answer_embed, .tables = embed_tables};
const struct api_embedding_dialect api_ollama_embeddings = {
    .parse = parse_embeddings, .answer = answer_embeddings, .tables = embeddings_tables};
