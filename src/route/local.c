#include "route/local.h"

#include <pthread.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "engine/identity.h"
#include "engine/record.h"
#include "engine/states.h"
#include "route/texts.h"

struct route_local {
    struct route_local_params params; /* every 0 replaced; strings are copies */
    char *path, *chat_template_file;
    struct gguf *gguf;
    struct gguf *adapters[MODEL_ADAPTERS_MAX];
    struct engine_adapter engine_adapters[MODEL_ADAPTERS_MAX];
    struct text *text;
    struct chat *chat;
    struct pool *pool;
    bool owns_pool;
    struct model *model;
    struct engine *engine;
    struct buf record_head;
    bool is_encoder;
    pthread_mutex_t embed_lock; /* embed */
    struct engine_embed *embed;
};

/* Rows with logits in a step beyond one per sequence let the log probabilities of a prompt be read
 * faster; 16 rows of a 150K vocabulary are 10 MB. */
enum { LOGITS_ROWS = 16 };

struct route_local_params route_local_params_default(void)
{
    return (struct route_local_params){.cpu_level = cpu_level_detect(),
                                       .kv_type = KV_F16,
                                       .cache_percent = 100,
                                       .drafts_max = ENGINE_DRAFT_MAX};
}

static const char *const kv_names[KV_TYPE_COUNT] = {
    [KV_F32] = "f32", [KV_F16] = "f16", [KV_BF16] = "bf16", [KV_Q8_0] = "q8_0", [KV_Q4_0] = "q4_0"};

bool route_kv_type_parse(struct str name, enum kv_type *out)
{
    if (name.len == 0 || str_eq(name, STR("auto"))) {
        return true;
    }
    for (int type = 0; type < KV_TYPE_COUNT; type++) {
        if (str_eq(name, str_of(kv_names[type]))) {
            *out = (enum kv_type)type;
            return true;
        }
    }
    return false;
}

const char *route_kv_type_name(enum kv_type type)
{
    return kv_names[type];
}

static void fill_defaults(struct route_local_params *p)
{
    enum { THREADS_MAX = 256 }; /* pool_create's */
    p->threads = p->threads ? p->threads : (uint32_t)os_cpu_cores();
    p->threads = (uint32_t)size_min(size_max(p->threads, 1), THREADS_MAX);
    p->sequences_max = p->sequences_max ? p->sequences_max : ROUTE_SEQUENCES;
    p->batch_rows_max = p->batch_rows_max ? p->batch_rows_max : ROUTE_BATCH_ROWS;
    p->queue_max = p->queue_max ? p->queue_max : ROUTE_QUEUE;
    if (p->prefill_chunk == 0 || p->prefill_chunk > p->batch_rows_max) {
        p->prefill_chunk = p->batch_rows_max;
    }
}

static uint32_t count_logits_rows(const struct route_local_params *p)
{
    return p->sequences_max > LOGITS_ROWS ? p->sequences_max : LOGITS_ROWS;
}

static bool copy_strings(struct route_local *local, struct err *err)
{
    struct route_local_params *p = &local->params;
    struct str path = str_of(p->path), file = str_of(p->chat_template_file);
    local->path = mem_copy(path.ptr, path.len);
    local->chat_template_file = p->chat_template_file ? mem_copy(file.ptr, file.len) : NULL;
    if (!local->path || (p->chat_template_file && !local->chat_template_file)) {
        return err_set_memory(err, path.len + file.len);
    }
    p->path = local->path;
    p->chat_template_file = local->chat_template_file;
    return true;
}

static size_t count_adapters(const struct route_local *local)
{
    return local->params.adapters ? local->params.adapters->count : 0;
}

/* The files that the weights come from. */
static bool open_files(struct route_local *local, struct err *err)
{
    local->gguf = gguf_open(local->path, err);
    local->is_encoder = local->gguf && model_is_encoder(local->gguf);
    return local->gguf && (count_adapters(local) == 0 ||
                           route_adapters_open(local->params.adapters, local->adapters, err));
}

static bool open_words(struct route_local *local, struct err *err)
{
    local->text = text_open(local->gguf, err);
    if (!local->text || local->is_encoder) {
        return local->text != NULL;
    }
    const struct chat_params params = {.gguf = local->gguf,
                                       .text = local->text,
                                       .template_file = local->params.chat_template_file};
    local->chat = chat_open(&params, err);
    return local->chat != NULL;
}

/* What each cached page costs the engine, measured on this many. */
enum { MANY_PAGES = 1 << 10 };

static struct engine_params engine_params_of(const struct route_local *local)
{
    const struct route_local_params *p = &local->params;
    return (struct engine_params){
        .model = local->model,
        .text = local->text,
        .sequences_max = p->sequences_max,
        .batch_rows_max = p->batch_rows_max,
        .prefill_chunk = p->prefill_chunk,
        .queue_max = p->queue_max,
        .lane_weights = {p->lane_weights[0], p->lane_weights[1], p->lane_weights[2]},
        .decode_stretch = p->decode_stretch,
        .drafts_max = p->drafts_max,
        .logits_rows_max = count_logits_rows(p),
        .cache_percent = p->cache_percent,
        .disk = p->disk,
        .recorder = p->recorder,
        .record_head = local->record_head.ptr,
        .adapters = local->engine_adapters,
        .adapter_count = count_adapters(local),
    };
}

/* What records say of program and model. */
static bool describe(struct route_local *local, struct err *err)
{
    const struct route_local_params *p = &local->params;
    struct engine_digest digest;
    if (!p->recorder) {
        return true;
    }
    if (!engine_model_digest(local->gguf, &digest, err)) {
        return false;
    }
    engine_record_describe(local->path, &digest, cpu_level_name(p->cpu_level),
                           route_kv_type_name(p->kv_type), model_plan_of(local->model)->ctx_tokens,
                           &local->record_head);
    return !local->record_head.failed || err_set_memory(err, local->record_head.len);
}

/* The engine's needs are part of the budget, so that what the model leaves is enough for it. */
static struct model_params model_params_of(const struct route_local *local)
{
    const struct route_local_params *p = &local->params;
    struct model_params params = {
        .cpu_level = p->cpu_level,
        .kv_type = p->kv_type,
        .ctx_tokens = p->ctx_tokens,
        .kv_tokens = p->kv_tokens,
        .sequences_max = p->sequences_max,
        .batch_rows_max = p->batch_rows_max,
        .logits_rows_max = count_logits_rows(p),
        .states_max = engine_states_wanted(p->sequences_max),
        .memory_max = p->memory_max,
        .adapters = (const struct gguf *const *)local->adapters,
        .adapter_count = count_adapters(local),
    };
    if (local->text && !local->is_encoder) {
        const struct engine_params engine = engine_params_of(local);
        const uint32_t vocab = (uint32_t)text_vocab_count(local->text);
        const uint64_t none = engine_bytes(&engine, vocab, 0, 0);
        const uint64_t many = engine_bytes(&engine, vocab, MANY_PAGES * KV_PAGE_TOKENS, MANY_PAGES);
        params.beside_bytes = none;
        params.beside_page_bytes = (many - none) / MANY_PAGES + 1;
    }
    return params;
}

static bool make_plan(const struct route_local *local, struct route_plan *plan, struct err *err)
{
    const struct model_params params = model_params_of(local);
    const struct engine_params engine = engine_params_of(local);
    const struct model_plan *m = &plan->model;
    *plan = (struct route_plan){.available_bytes = os_memory_available(),
                                .process_bytes = os_memory_rss()};
    if (!model_plan(local->gguf, &params, &plan->model, err)) {
        return false;
    }
    if (local->text && !local->is_encoder) {
        plan->engine_bytes = engine_bytes(&engine, m->vocab_count, m->ctx_tokens, m->kv_pages);
    }
    plan->round_bytes = os_pages_rounded(m->weights_bytes) + os_pages_rounded(m->adapters_bytes) +
                        os_pages_rounded(m->kv_bytes) + os_pages_rounded(m->states_bytes) +
                        os_pages_rounded(m->scratch_bytes + m->table_bytes) - m->total_bytes;
    plan->total_bytes =
        plan->process_bytes + plan->engine_bytes + m->total_bytes + plan->round_bytes;
    return true;
}

static bool open_weights(struct route_local *local,
                         void (*progress)(void *arg, uint64_t done, uint64_t all),
                         void *progress_arg, struct err *err)
{
    const struct route_local_params *p = &local->params;
    const struct model_params params = model_params_of(local);
    if (p->pool) {
        local->pool = p->pool;
    } else {
        local->pool = pool_create(p->threads, err);
        local->owns_pool = true;
    }
    if (!local->pool) {
        return false;
    }
    local->params.threads = (uint32_t)pool_size(local->pool);
    local->model = model_load(local->gguf, &params, local->pool, progress, progress_arg, err);
    return local->model != NULL;
}

/* A word ranker's classes are the logits of "yes" and "no". */
static struct engine_embed *make_embed(struct route_local *local, struct err *err)
{
    int32_t words[2];
    struct engine_embed_params params = {
        .model = local->model,
        .queue_max = local->params.queue_max,
    };
    if (!local->is_encoder && route_ranks_by_words(local->gguf, local->text, words)) {
        params.encoder.class_tokens = words;
        params.encoder.class_count = 2;
    }
    return engine_embed_create(&params, err);
}

static bool open_engine(struct route_local *local, struct err *err)
{
    const struct route_local_params *p = &local->params;
    if (local->is_encoder) {
        local->embed = make_embed(local, err);
        return local->embed != NULL;
    }
    for (size_t i = 0; i < count_adapters(local); i++) {
        local->engine_adapters[i].scale = p->adapters->items[i].scale;
        if (!engine_adapter_identity(local->adapters[i], &local->engine_adapters[i].digest, err)) {
            return false;
        }
    }
    if (!describe(local, err)) {
        return false;
    }
    struct engine_params params = engine_params_of(local);
    if (p->disk && !engine_identity(local->gguf, model_plan_of(local->model), p->cpu_level,
                                    p->kv_type, &params.identity, err)) {
        return false;
    }
    local->engine = engine_create(&params, err);
    return local->engine != NULL;
}

/* What needs little is tried first, so that a wrong file is told at once. */
static bool open_parts(struct route_local *local,
                       void (*progress)(void *arg, uint64_t done, uint64_t all), void *progress_arg,
                       struct err *err)
{
    const bool model_only = local->params.model_only;
    return open_files(local, err) && (model_only || open_words(local, err)) &&
           open_weights(local, progress, progress_arg, err) &&
           (model_only || open_engine(local, err));
}

/* With settled parameters and nothing open. */
static struct route_local *create(const struct route_local_params *params, struct err *err)
{
    struct route_local *local = MEM_NEW(struct route_local);
    if (!local) {
        err_set_memory(err, sizeof *local);
        return NULL;
    }
    pthread_mutex_init(&local->embed_lock, NULL);
    local->params = *params;
    fill_defaults(&local->params);
    if (!copy_strings(local, err)) {
        route_local_close(local);
        return NULL;
    }
    return local;
}

static bool fail_path(const struct route_local_params *params, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    return err_wrap(err, "load %s", str_quote(quoted, str_of(params->path)));
}

struct route_local *route_local_open(const struct route_local_params *params,
                                     void (*progress)(void *arg, uint64_t done, uint64_t all),
                                     void *progress_arg, struct err *err)
{
    struct route_local *local = create(params, err);
    if (!local) {
        return NULL;
    }
    if (!open_parts(local, progress, progress_arg, err)) {
        fail_path(params, err);
        route_local_close(local);
        return NULL;
    }
    const struct model_plan *plan = model_plan_of(local->model);
    local->params.ctx_tokens = plan->ctx_tokens;
    local->params.kv_tokens = plan->kv_pages * KV_PAGE_TOKENS;
    return local;
}

bool route_local_plan(const struct route_local_params *params, struct route_plan *plan,
                      struct err *err)
{
    struct route_local *local = create(params, err);
    if (!local) {
        return false;
    }
    bool ok = open_files(local, err) && (params->model_only || open_words(local, err)) &&
              make_plan(local, plan, err);
    route_local_close(local);
    return ok || fail_path(params, err);
}

void route_local_close(struct route_local *local)
{
    if (!local) {
        return;
    }
    engine_embed_destroy(local->embed);
    engine_destroy(local->engine);
    model_destroy(local->model);
    if (local->owns_pool) {
        pool_destroy(local->pool);
    }
    chat_close(local->chat);
    text_close(local->text);
    gguf_close(local->gguf);
    for (size_t i = 0; i < MODEL_ADAPTERS_MAX; i++) {
        gguf_close(local->adapters[i]);
    }
    mem_free(local->chat_template_file);
    buf_deinit(&local->record_head);
    mem_free(local->path);
    pthread_mutex_destroy(&local->embed_lock);
    mem_free(local);
}

uint64_t route_local_bytes(const struct route_local *local)
{
    const struct model_plan *plan = model_plan_of(local->model);
    const struct engine_params engine = engine_params_of(local);
    uint64_t bytes = plan->total_bytes;
    if (local->text) {
        bytes += engine_bytes(&engine, (uint32_t)text_vocab_count(local->text), plan->ctx_tokens,
                              plan->kv_pages);
    }
    return bytes;
}

struct str route_local_id(const struct route_local *local)
{
    return gguf_model_id(local->path);
}

const char *route_local_path(const struct route_local *local)
{
    return local->path;
}

const struct gguf *route_local_gguf(const struct route_local *local)
{
    return local->gguf;
}

const struct text *route_local_text(const struct route_local *local)
{
    return local->text;
}

const struct chat *route_local_chat(const struct route_local *local)
{
    return local->chat;
}

struct model *route_local_model(const struct route_local *local)
{
    return local->model;
}

struct pool *route_local_pool(const struct route_local *local)
{
    return local->pool;
}

struct engine *route_local_engine(const struct route_local *local)
{
    return local->engine;
}

struct engine_embed *route_local_embed_made(struct route_local *local)
{
    pthread_mutex_lock(&local->embed_lock);
    struct engine_embed *embed = local->embed;
    pthread_mutex_unlock(&local->embed_lock);
    return embed;
}

struct engine_embed *route_local_embed(struct route_local *local, struct err *err)
{
    pthread_mutex_lock(&local->embed_lock);
    if (!local->embed) {
        local->embed = make_embed(local, err);
    }
    struct engine_embed *embed = local->embed;
    pthread_mutex_unlock(&local->embed_lock);
    return embed;
}

uint32_t route_local_ctx_tokens(const struct route_local *local)
{
    return local->engine ? engine_ctx_tokens(local->engine) : local->params.ctx_tokens;
}

const struct route_local_params *route_local_params_of(const struct route_local *local)
{
    return &local->params;
}
