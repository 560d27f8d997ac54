/* How much memory a model takes, and how long its contexts may be in the memory there is. */
#include <assert.h>

#include "base/carve.h"
#include "base/os.h"
#include "base/size.h"
#include "base/str.h"
#include "model/attention.h"
#include "model/encoder.h"
#include "model/encoder_work.h"
#include "model/layout.h"

void model_layout_scratch(struct carver *c, struct scratch *s, const struct hparams *h, size_t rows,
                          size_t piece, size_t ctx)
{
    size_t heads = h->max.head_count, kv_heads = h->max.kv_head_count;
    size_t mix = heads * h->value_dim, tables = h->has_two_tables ? ROPE_TABLE_COUNT : 1;
    size_t widest = size_max(h->embed_dim, size_max(mix, h->max.ffn_dim));

    s->x = carve(c, rows, h->embed_dim, sizeof(float));
    s->norm = carve(c, piece, h->embed_dim, sizeof(float));
    s->side =
        h->traits->residual == RESIDUAL_SERIAL ? NULL : carve(c, rows, h->embed_dim, sizeof(float));
    s->q = carve(c, rows, heads * h->key_dim, sizeof(float));
    s->k = carve(c, piece, kv_heads * h->key_dim, sizeof(float));
    s->v = carve(c, piece, kv_heads * h->value_dim, sizeof(float));
    s->attn = carve(c, piece, mix, sizeof(float));
    s->gate = carve(c, piece, h->max.ffn_dim, sizeof(float));
    s->up = carve(c, piece, h->max.ffn_dim, sizeof(float));
    if (h->expert_count != 0) {
        s->route = carve(c, piece, h->expert_count, sizeof(float));
        s->weights = carve(c, piece, h->expert_used, sizeof(float));
        s->chosen = carve(c, piece, h->expert_used, sizeof(uint32_t));
        s->expert_in = carve(c, piece, h->embed_dim, sizeof(float));
        s->expert_out = carve(c, piece, h->embed_dim, sizeof(float));
        s->expert_sum = carve(c, piece, h->embed_dim, sizeof(float));
    }
    s->cos = carve(c, rows, tables * (h->rope.dim / 2), sizeof(float));
    s->sin = carve(c, rows, tables * (h->rope.dim / 2), sizeof(float));
    s->rows = carve(c, rows, 1, sizeof *s->rows);
    s->part_floats = model_attention_part_floats(piece, ctx, heads, kv_heads, h->value_dim);
    s->part = carve(c, s->part_floats, 1, sizeof(float));
    s->act = carve(c, activation_bytes(piece, widest), 1, 1);
}

/* ---- the plan ---- */

static uint64_t element_bytes(enum kv_type type)
{
    return type == KV_F32 ? 4 : 2;
}

/* Sets the layers' offsets in a page; false when a page does not fit a size_t. */
static bool plan_page(struct layout *layout, const struct hparams *h, enum kv_type type)
{
    size_t at = 0;
    if (h->traits->is_encoder) {
        return model_encoder_page_bytes(h, &layout->page_bytes);
    }
    for (uint32_t i = 0; i < h->layer_count; i++) {
        uint64_t per_key = (uint64_t)h->layers[i].kv_head_count * (h->key_dim + h->value_dim);
        layout->weights.layers[i].kv_offset = at;
        if (!size_add(at, per_key * KV_PAGE_TOKENS * element_bytes(type), &at)) {
            return false;
        }
    }
    return size_align(at, 64, &layout->page_bytes);
}

/* What the machine gives us when the caller does not say: what is free less a margin for the rest
 * of the process (tokenizer, requests, threads) and for the system. */
static uint64_t memory_budget(const struct model_params *params)
{
    uint64_t available = os_memory_available(), margin = 64ull << 20;
    if (params->memory_max) {
        return params->memory_max;
    }
    margin += available / 50;
    return available > margin ? available - margin : 0;
}

/* With what the caller needs beside it; UINT64_MAX when the sum overflows. */
static uint64_t whole_bytes(const struct model_plan *plan, const struct model_params *params)
{
    uint64_t bytes = UINT64_MAX;
    bool ok = size_mul_u64(plan->kv_pages, params->beside_page_bytes, &bytes) &&
              size_add_u64(bytes, params->beside_bytes, &bytes) &&
              size_add_u64(bytes, plan->total_bytes, &bytes);
    return ok ? bytes : UINT64_MAX;
}

static bool fail_memory(const struct model_plan *plan, const struct model_params *params,
                        uint64_t budget, struct err *err)
{
    return err_set(err, ERR_MEMORY,
                   "the model needs %llu bytes (weights %llu, cache %llu for %u tokens of context, "
                   "scratch %llu), %llu bytes are available",
                   (unsigned long long)whole_bytes(plan, params),
                   (unsigned long long)plan->weights_bytes, (unsigned long long)plan->kv_bytes,
                   plan->ctx_tokens, (unsigned long long)plan->scratch_bytes,
                   (unsigned long long)budget);
}

static uint64_t pages_of(uint64_t tokens)
{
    return (tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}

/* Fills the plan for a context and a number of pages; false when the sums overflow. */
static bool fill(struct model_plan *plan, const struct layout *layout, const struct hparams *h,
                 uint32_t rows, uint64_t ctx, uint64_t pages)
{
    struct encoder_work work;
    struct scratch scratch = {0};
    struct carver carver = {0};
    plan->ctx_tokens = (uint32_t)ctx;
    if (h->traits->is_encoder) {
        pages = model_encoder_pages(ctx);
        model_encoder_carve(&carver, &work, layout, h, ctx, 0);
    } else {
        model_layout_scratch(&carver, &scratch, h, rows, rows, ctx);
    }
    plan->kv_pages = pages > UINT32_MAX ? UINT32_MAX : (uint32_t)pages;
    plan->page_bytes = layout->page_bytes;
    plan->vocab_count = h->vocab_count;
    plan->weights_bytes = layout->weights_bytes;
    plan->table_bytes = layout->table_bytes;
    plan->scratch_bytes = carver.used;
    plan->total_bytes = UINT64_MAX;
    return !carver.overflowed && size_mul_u64(plan->kv_pages, plan->page_bytes, &plan->kv_bytes) &&
           size_add_u64(plan->weights_bytes, plan->table_bytes, &plan->total_bytes) &&
           size_add_u64(plan->total_bytes, plan->scratch_bytes, &plan->total_bytes) &&
           size_add_u64(plan->total_bytes, plan->kv_bytes, &plan->total_bytes);
}

/* A context that the caller left open shrinks until one full sequence fits. The cache may take half
 * of what is left besides the weights when nobody asked for a size: the other half is for the
 * user's other programs. */
bool model_layout_plan(struct layout *layout, const struct hparams *h, enum kv_type kv_type,
                       const struct model_params *params, struct model_plan *plan, struct err *err)
{
    const bool is_encoder = h->traits->is_encoder;
    const uint32_t kv_tokens = is_encoder ? 0 : params->kv_tokens;
    uint64_t budget = memory_budget(params), share = budget;
    uint64_t longest = is_encoder ? MODEL_ENCODER_TOKENS_DEFAULT : MODEL_CTX_MAX;
    uint64_t ctx = params->ctx_tokens ? params->ctx_tokens : size_min(h->ctx_train_tokens, longest);

    assert(params->batch_rows_max >= 1 && params->sequences_max >= 1);
    *plan = (struct model_plan){0};
    layout->table_bytes =
        size_align_known(ROPE_TABLE_COUNT * (h->rope.dim / 2) * sizeof(double), 64);
    if (ctx > MODEL_CTX_MAX) {
        return err_set(err, ERR_INVALID, "a context of %u tokens: at most %d", params->ctx_tokens,
                       MODEL_CTX_MAX);
    }
    if (layout->has_positions && ctx > h->ctx_train_tokens) {
        return err_set(err, ERR_INVALID,
                       "a context of %u tokens: the model has learned positions for %u",
                       params->ctx_tokens, h->ctx_train_tokens);
    }
    if (kv_tokens && params->ctx_tokens && kv_tokens < params->ctx_tokens) {
        return err_set(err, ERR_INVALID,
                       "a cache of %u tokens cannot hold one context of %u tokens", kv_tokens,
                       params->ctx_tokens);
    }
    if (!plan_page(layout, h, kv_type)) {
        return err_set_memory(err, UINT64_MAX);
    }
    if (kv_tokens && ctx > kv_tokens) {
        ctx = kv_tokens;
    }
    if (!params->memory_max && !kv_tokens && budget > layout->weights_bytes) {
        share = layout->weights_bytes + (budget - layout->weights_bytes) / 2;
    }
    for (;; ctx = ctx * 7 / 8 / KV_PAGE_TOKENS * KV_PAGE_TOKENS) {
        uint64_t pages = pages_of(kv_tokens ? kv_tokens : ctx);
        bool is_open = !params->ctx_tokens && ctx >= 2 * KV_PAGE_TOKENS;
        bool fits = fill(plan, layout, h, params->batch_rows_max, ctx, pages) &&
                    whole_bytes(plan, params) <= (is_open ? share : budget);
        if (fits) {
            break;
        }
        if (!is_open) {
            return fail_memory(plan, params, budget, err);
        }
    }
    if (!kv_tokens && !is_encoder) {
        uint64_t whole = whole_bytes(plan, params), left = share > whole ? share - whole : 0;
        uint64_t pages = plan->kv_pages, most = pages * params->sequences_max;
        uint64_t more = left / (plan->page_bytes + params->beside_page_bytes);
        pages = more > most - pages ? most : pages + more;
        pages = pages > UINT32_MAX ? UINT32_MAX : pages;
        fill(plan, layout, h, params->batch_rows_max, plan->ctx_tokens, pages);
    }
    return true;
}
