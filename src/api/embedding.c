#include "api/embedding.h"

#include <math.h>
#include <openssl/evp.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "route/texts.h"

#define SLOT(member) offsetof(struct gen_request, embedding.member)

const struct api_field api_embedding_prompt_fields[] = {
    {.name = "input_type",
     .kind = API_TEXT,
     .offset = SLOT(prompt_name),
     .note = "what the texts are for (query, document, classification, clustering ...): the "
             "model's own words are put before each"},
    {.name = "prompt_name",
     .kind = API_TEXT,
     .offset = SLOT(prompt_name),
     .note = "another word for input_type"},
    {0},
};

bool api_embedding_parse(struct api_embedding *e, const struct api_embedding_dialect *dialect,
                         struct str body, struct err *err)
{
    e->dialect = dialect;
    api_request_init(&e->request, GEN_EMBEDDING);
    e->request.embedding.norm = 2;
    return api_request_read(&e->request, body, err) && dialect->parse(&e->request, err);
}

bool api_embedding_ask(struct api_embedding *e, struct route_registry *registry,
                       void (*notify)(void *arg), void *arg, struct err *err)
{
    const struct gen_request *request = &e->request;
    struct route_use_params params = {.id = request->model,
                                      .is_tagged = request->is_tagged,
                                      .has_keep = request->has_keep,
                                      .keep_ns = request->keep_ns,
                                      .notify = notify,
                                      .arg = arg};
    e->asked_ns = clock_now_ns();
    e->use = route_use_begin(registry, &params, err);
    return e->use != NULL;
}

/* ---- texts ---- */

/* A model is asked for what it can do. */
static bool check_kind(const struct api_embedding *e, struct err *err)
{
    const struct gen_embedding *want = &e->request.embedding;
    const enum model_encoder_pooling pooling = e->info->pooling;
    char quoted[STR_QUOTE_MAX];
    str_quote(quoted, e->request.model);
    if (want->is_rank && pooling != MODEL_ENCODER_RANK) {
        return err_set_param(err, ERR_UNSUPPORTED, "model",
                             "the model '%s' has no head that ranks; it gives vectors", quoted);
    }
    if (!want->is_rank && pooling == MODEL_ENCODER_RANK) {
        return err_set_param(err, ERR_UNSUPPORTED, "model",
                             "the model '%s' ranks documents (/v1/rerank); it gives no vectors",
                             quoted);
    }
    if (pooling == MODEL_ENCODER_NONE && !e->dialect->gives_rows) {
        return err_set_param(err, ERR_UNSUPPORTED, "model",
                             "the model '%s' gives a vector for each token (/embedding), not one "
                             "for a text",
                             quoted);
    }
    if (e->request.ctx_tokens > e->info->tokens_max) {
        return err_set_param(err, ERR_INVALID, "num_ctx",
                             "'num_ctx' is %u, but the model reads at most %u tokens",
                             e->request.ctx_tokens, e->info->tokens_max);
    }
    if (want->dimensions > e->info->width) {
        return err_set_param(err, ERR_INVALID, "dimensions",
                             "'dimensions' is %u, but the model '%s' has %u", want->dimensions,
                             quoted, e->info->width);
    }
    return true;
}

static bool check_ids(const struct gen_prompt *prompt, size_t vocab_count, struct err *err)
{
    for (size_t i = 0; i < prompt->ids.count; i++) {
        if ((size_t)prompt->ids.ids[i] >= vocab_count) {
            err_set_param(err, ERR_INVALID, "", "token id %d is outside the vocabulary of %zu",
                          (int)prompt->ids.ids[i], vocab_count);
            return err_wrap_param(err, "%s[%zu]", prompt->path, i);
        }
    }
    return true;
}

/* Cuts in front of the token that ends the text, where there is one. */
static void cut(struct text_ids *ids, size_t most, const struct text *text)
{
    text_id last = ids->ids[ids->count - 1];
    ids->count = most;
    if (text_kind_of(text, last) == TEXT_CONTROL) {
        ids->ids[most - 1] = last;
    }
}

static bool encode(struct api_embedding *e, size_t i, struct str prefix, size_t *second_at,
                   struct err *err)
{
    struct gen_prompt *prompt = &e->request.prompts[i];
    const struct gen_embedding *want = &e->request.embedding;
    const struct route_local *local = route_use_local(e->use);
    const struct text *text = route_local_text(local);
    *second_at = 0;
    bool ok = prompt->is_ids  ? check_ids(prompt, text_vocab_count(text), err)
              : want->is_rank ? route_pair_encode(local, want->query, prompt->text, &prompt->ids,
                                                  second_at, err)
                              : route_text_encode(local, prefix, prompt->text, &prompt->ids, err);
    if (!ok) {
        return false;
    }
    if (prompt->ids.count == 0) {
        return err_set_param(err, ERR_INVALID, prompt->path, "'%s' has no tokens", prompt->path);
    }
    if (prompt->ids.count > e->info->tokens_max && want->cuts) {
        cut(&prompt->ids, e->info->tokens_max, text);
        e->is_cut[i] = true;
    }
    if (prompt->ids.count > e->info->tokens_max) {
        return err_set_param(err, ERR_CONTEXT, prompt->path,
                             "'%s' has %zu tokens, but the model reads at most %u", prompt->path,
                             prompt->ids.count, e->info->tokens_max);
    }
    e->tokens += prompt->ids.count;
    return true;
}

static bool find_prefix(const struct api_embedding *e, struct str *prefix, struct err *err)
{
    struct str name = e->request.embedding.prompt_name;
    *prefix = (struct str){0};
    if (name.len == 0) {
        return true;
    }
    if (route_prompt_find(route_use_local(e->use), name, prefix, err)) {
        return true;
    }
    return err_wrap_param(err, json_object_get(e->request.body, "input_type") ? "input_type"
                                                                              : "prompt_name");
}

bool api_embedding_submit(struct api_embedding *e, void (*notify)(void *arg), void *arg,
                          struct err *err)
{
    const size_t count = e->request.prompt_count;
    struct engine_embed *engine = route_local_embed(route_use_local(e->use), err);
    struct engine_embed_text *texts =
        ARENA_ARRAY(&e->request.arena, struct engine_embed_text, count);
    struct str prefix;
    e->is_cut = ARENA_ARRAY(&e->request.arena, bool, count);
    e->ready_ns = clock_now_ns();
    if (!engine) {
        return false;
    }
    e->info = engine_embed_info(engine);
    if (count > 0 && (!texts || !e->is_cut)) {
        return err_set_memory(err, count * sizeof *texts);
    }
    if (!check_kind(e, err) || !find_prefix(e, &prefix, err)) {
        return false;
    }
    if (count == 0) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (!encode(e, i, prefix, &texts[i].second_at, err)) {
            return false;
        }
        texts[i].ids = e->request.prompts[i].ids.ids;
        texts[i].count = e->request.prompts[i].ids.count;
    }
    e->task = engine_embed_submit(engine, texts, count, notify, arg, err);
    return e->task != NULL;
}

bool api_embedding_is_done(const struct api_embedding *e)
{
    struct err ignored;
    return !e->task || engine_embed_is_done(e->task, &ignored);
}

/* ---- vectors ---- */

size_t api_embedding_rows(const struct api_embedding *e, size_t prompt)
{
    return e->info->pooling == MODEL_ENCODER_NONE ? e->request.prompts[prompt].ids.count : 1;
}

size_t api_embedding_row(const struct api_embedding *e, size_t prompt)
{
    size_t row = 0;
    for (size_t i = 0; i < prompt && e->info->pooling == MODEL_ENCODER_NONE; i++) {
        row += e->request.prompts[i].ids.count;
    }
    return e->info->pooling == MODEL_ENCODER_NONE ? row : prompt;
}

/* llama-server's norms besides the Euclidean one. */
static void scale_by_norm(float *v, size_t n, int32_t norm)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double x = fabs((double)v[i]);
        sum = norm == 0 ? fmax(sum, x) : sum + pow(x, norm);
    }
    sum = norm == 0 ? sum / 32760 : pow(sum, 1.0 / norm);
    for (size_t i = 0; i < n && sum > 0; i++) {
        v[i] = (float)((double)v[i] / sum);
    }
}

static bool check_finite(const float *v, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(v[i])) {
            return err_set(err, ERR_INTERNAL,
                           "the model gave a vector that is not finite (weights with NaN or "
                           "infinity?)");
        }
    }
    return true;
}

/* Copies what is wanted of each row and scales it. */
static bool take_vectors(struct api_embedding *e, struct err *err)
{
    const struct gen_embedding *want = &e->request.embedding;
    const float *from = engine_embed_vectors(e->task);
    const size_t width = e->info->width, count = e->request.prompt_count;
    const size_t rows = api_embedding_row(e, count - 1) + api_embedding_rows(e, count - 1);
    e->width = want->dimensions ? want->dimensions : width;
    e->vectors = mem_alloc(rows * e->width, sizeof *e->vectors);
    if (!e->vectors) {
        return err_set_memory(err, rows * e->width * sizeof *e->vectors);
    }
    if (!check_finite(from, rows * width, err)) {
        return false;
    }
    for (size_t row = 0; row < rows; row++) {
        float *v = e->vectors + row * e->width;
        memcpy(v, from + row * width, e->width * sizeof *v);
        if (want->is_rank || want->norm < 0) {
            continue;
        }
        if (want->norm == 2) {
            engine_embed_normalize(v, e->width);
        } else {
            scale_by_norm(v, e->width, want->norm);
        }
    }
    return true;
}

bool api_embedding_answer(struct api_embedding *e, struct buf *out, struct err *err)
{
    *err = (struct err){0};
    if (e->task) {
        engine_embed_is_done(e->task, err);
    }
    if (err->code != ERR_NONE || (e->task && !take_vectors(e, err)) ||
        !e->dialect->answer(e, out, err)) {
        return false;
    }
    if (out->failed) {
        out->failed = false;
        return err_set_memory(err, out->len);
    }
    return true;
}

static void add_base64(const float *v, size_t n, struct buf *out)
{
    enum { STEP = 768 }; /* bytes: a multiple of 3 and of 4 */
    buf_add_char(out, '"');
    for (size_t i = 0; i < n; i += STEP / 4) {
        unsigned char bytes[STEP], text[STEP / 3 * 4 + 1];
        size_t count = n - i < STEP / 4 ? n - i : STEP / 4;
        for (size_t j = 0; j < count; j++) {
            uint32_t bits;
            memcpy(&bits, v + i + j, sizeof bits);
            for (int b = 0; b < 4; b++) {
                bytes[4 * j + (size_t)b] = (unsigned char)(bits >> (8 * b));
            }
        }
        int len = EVP_EncodeBlock(text, bytes, (int)(4 * count));
        buf_add(out, (struct str){(const char *)text, (size_t)len});
    }
    buf_add_char(out, '"');
}

void api_embedding_vector(const struct api_embedding *e, size_t row, struct buf *out)
{
    const float *v = e->vectors + row * e->width;
    if (e->request.embedding.wants_base64) {
        add_base64(v, e->width, out);
        return;
    }
    buf_add_char(out, '[');
    for (size_t i = 0; i < e->width; i++) {
        char number[32];
        buf_add_text(out, i ? "," : "");
        buf_add(out, (struct str){number, json_format_float(v[i], number)});
    }
    buf_add_char(out, ']');
}

void api_embedding_close(struct api_embedding *e)
{
    engine_embed_close(e->task);
    route_use_end(e->use);
    mem_free(e->vectors);
    if (e->dialect) {
        api_request_deinit(&e->request);
    }
    *e = (struct api_embedding){0};
}
