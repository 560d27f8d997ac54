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

/* Floats of a row, the most that a layer has. */
struct row_widths {
    size_t q, k, v, mix, aux[MIXER_AUX_COUNT];
    size_t widest; /* of what a product takes */
};

static struct row_widths row_widths(const struct hparams *h)
{
    struct row_widths w = {0};
    for (uint32_t i = 0; i < h->layer_count; i++) {
        const struct layer_shape *layer = &h->layers[i];
        uint64_t aux[MIXER_AUX_COUNT];
        w.q = size_max(w.q, (size_t)layer->head_count * layer->key_dim);
        w.k = size_max(w.k, (size_t)layer->kv_head_count * layer->key_dim);
        w.v = size_max(w.v, (size_t)layer->kv_head_count * layer->value_dim);
        w.mix = size_max(w.mix, (size_t)model_mix_floats(h, layer));
        model_mixer_widths(h, layer, aux);
        for (int k = 0; k < MIXER_AUX_COUNT; k++) {
            w.aux[k] = size_max(w.aux[k], (size_t)aux[k]);
            w.widest = size_max(w.widest, w.aux[k]);
        }
    }
    w.widest = size_max(w.widest, w.mix);
    return w;
}

void model_layout_scratch(struct carver *c, struct scratch *s, const struct hparams *h, size_t rows,
                          size_t piece, size_t ctx)
{
    struct row_widths w = row_widths(h);
    size_t widest =
        size_max(size_max(h->embed_dim, w.widest), size_max(h->max.ffn_dim, h->layer_input_dim));

    s->x = carve(c, rows, h->embed_dim, sizeof(float));
    s->norm = carve(c, piece, h->embed_dim, sizeof(float));
    s->side =
        h->traits->residual == RESIDUAL_SERIAL ? NULL : carve(c, rows, h->embed_dim, sizeof(float));
    s->q = carve(c, rows, w.q, sizeof(float));
    s->k = carve(c, piece, w.k, sizeof(float));
    s->v = carve(c, piece, w.v, sizeof(float));
    s->attn = carve(c, piece, w.mix, sizeof(float));
    for (int i = 0; i < MIXER_AUX_COUNT; i++) {
        s->aux[i] = carve(c, piece, w.aux[i], sizeof(float));
    }
    s->gate = carve(c, piece, size_max(h->max.ffn_dim, h->layer_input_dim), sizeof(float));
    s->up = carve(c, piece, h->max.ffn_dim, sizeof(float));
    if (h->expert_count != 0) {
        s->route = carve(c, piece, h->expert_count, sizeof(float));
        s->weights = carve(c, piece, h->expert_used, sizeof(float));
        s->chosen = carve(c, piece, h->expert_used, sizeof(uint32_t));
        s->expert_in = carve(c, piece, h->embed_dim, sizeof(float));
        s->expert_out = carve(c, piece, h->embed_dim, sizeof(float));
        s->expert_sum = carve(c, piece, h->embed_dim, sizeof(float));
    }
    if (h->layer_input_dim != 0) {
        size_t inputs = (size_t)h->layer_count * h->layer_input_dim;
        s->layer_inputs = carve(c, rows, inputs, sizeof(float));
        s->layer_tokens = carve(c, rows, inputs, sizeof(float));
    }
    if (h->traits->has_twin_ffn && h->expert_count != 0) {
        s->twin = carve(c, piece, h->embed_dim, sizeof(float));
    }
    s->cos = carve(c, rows, model_rope_pairs(h), sizeof(float));
    s->sin = carve(c, rows, model_rope_pairs(h), sizeof(float));
    s->rows = carve(c, rows, 1, sizeof *s->rows);
    s->part_floats = w.k == 0 ? 0
                              : model_attention_part_floats(piece, ctx, h->max.head_count,
                                                            h->max.kv_head_count, h->max.value_dim);
    s->part = carve(c, s->part_floats, 1, sizeof(float));
    s->act = carve(c, activation_bytes(piece, widest), 1, 1);
}

/* ---- the plan ---- */

/* Sets the layers' offsets in a page and in a state; false when one does not fit a size_t. A model
 * without attention has pages of 64 bytes, so that they can be counted. */
static bool plan_page(struct layout *layout, const struct hparams *h, enum kv_type type)
{
    size_t at = 0, state = 0;
    if (h->traits->is_encoder) {
        return model_encoder_page_bytes(h, &layout->page_bytes);
    }
    for (uint32_t i = 0; i < h->layer_count; i++) {
        const struct layer_shape *shape = &h->layers[i];
        size_t bytes = kv_head_bytes(type, shape->key_dim) + kv_head_bytes(type, shape->value_dim);
        layout->weights.layers[i].kv_offset = at;
        layout->weights.layers[i].state_offset = state;
        if (shape->source != i) {
            layout->weights.layers[i].kv_offset = layout->weights.layers[shape->source].kv_offset;
            continue;
        }
        if (!size_mul(bytes, shape->kv_head_count, &bytes) || !size_add(at, bytes, &at) ||
            !size_add(state, model_state_floats(h, shape) * sizeof(float), &state)) {
            return false;
        }
    }
    return size_align(at == 0 ? 1 : at, 64, &layout->page_bytes) &&
           size_align(state, 64, &layout->state_bytes);
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
                   "states %llu, scratch %llu), %llu bytes are available",
                   (unsigned long long)whole_bytes(plan, params),
                   (unsigned long long)plan->weights_bytes, (unsigned long long)plan->kv_bytes,
                   plan->ctx_tokens, (unsigned long long)plan->states_bytes,
                   (unsigned long long)plan->scratch_bytes, (unsigned long long)budget);
}

static uint64_t pages_of(uint64_t tokens)
{
    return (tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}

/* Fills the plan for a context and a number of pages; false when the sums overflow. */
static bool fill(struct model_plan *plan, const struct layout *layout, const struct hparams *h,
                 const struct model_params *params, uint64_t ctx, uint64_t pages)
{
    struct encoder_work work;
    struct scratch scratch = {0};
    struct carver carver = {0};
    uint32_t states = params->states_max ? params->states_max : params->sequences_max;
    uint32_t rows = params->batch_rows_max;
    plan->ctx_tokens = (uint32_t)ctx;
    if (h->traits->is_encoder) {
        pages = model_encoder_pages(ctx);
        model_encoder_carve(&carver, &work, layout, h, ctx, 0);
    } else {
        model_layout_scratch(&carver, &scratch, h, rows, rows, ctx);
    }
    plan->kv_pages = pages > UINT32_MAX ? UINT32_MAX : (uint32_t)pages;
    plan->page_bytes = layout->page_bytes;
    plan->state_bytes = layout->state_bytes;
    plan->states = layout->state_bytes != 0 ? states : 0;
    plan->vocab_count = h->vocab_count;
    plan->weights_bytes = layout->weights_bytes;
    plan->adapters_bytes = layout->lora.bytes;
    plan->table_bytes = layout->table_bytes;
    plan->scratch_bytes = carver.used;
    plan->total_bytes = UINT64_MAX;
    return !carver.overflowed && size_mul_u64(plan->kv_pages, plan->page_bytes, &plan->kv_bytes) &&
           size_mul_u64(plan->states, plan->state_bytes, &plan->states_bytes) &&
           size_add_u64(plan->weights_bytes, plan->table_bytes, &plan->total_bytes) &&
           size_add_u64(plan->total_bytes, plan->adapters_bytes, &plan->total_bytes) &&
           size_add_u64(plan->total_bytes, plan->scratch_bytes, &plan->total_bytes) &&
           size_add_u64(plan->total_bytes, plan->states_bytes, &plan->total_bytes) &&
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
    layout->table_bytes = size_align_known(model_rope_pairs(h) * sizeof(double), 64);
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
        bool fits = fill(plan, layout, h, params, ctx, pages) &&
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
        fill(plan, layout, h, params, plan->ctx_tokens, pages);
    }
    return true;
}
