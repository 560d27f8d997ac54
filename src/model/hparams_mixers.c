/* Keys of what mixes positions besides attention. */
#include <inttypes.h>

#include "model/hparams.h"
#include "model/keys.h"

/* ---- the recurrences ---- */

static bool fail_sizes(struct model_keys *r, const char *name, uint32_t value, const char *why)
{
    model_key_of(r, name);
    return model_key_fail(r, value, why);
}

/* Sizes of the gated delta net and of Mamba 2. */
static bool read_ssm(struct model_keys *r, struct hparams *h)
{
    struct recurrence *rec = &h->recurrence;
    model_key_need_u32(r, "ssm.conv_kernel", &rec->taps, 2, MODEL_CONV_MAX);
    model_key_need_u32(r, "ssm.inner_size", &rec->inner, 1, MODEL_WIDTH_MAX);
    model_key_need_u32(r, "ssm.state_size", &rec->key_dim, 1, MODEL_HEAD_DIM_MAX);
    model_key_need_u32(r, "ssm.time_step_rank", &rec->heads, 1, MODEL_HEADS_MAX);
    model_key_need_u32(r, "ssm.group_count", &rec->groups, 1, MODEL_HEADS_MAX);
    if (r->failed) {
        return false;
    }
    if (rec->inner % rec->heads != 0) {
        return fail_sizes(r, "ssm.inner_size", rec->inner, "not a multiple of ssm.time_step_rank");
    }
    if (rec->heads % rec->groups != 0) {
        return fail_sizes(r, "ssm.time_step_rank", rec->heads, "not a multiple of ssm.group_count");
    }
    rec->value_dim = rec->inner / rec->heads;
    uint64_t channels = rec->inner + 2 * (uint64_t)rec->groups * rec->key_dim;
    if (channels > MODEL_WIDTH_MAX || (uint64_t)rec->inner * rec->key_dim > INT32_MAX) {
        return fail_sizes(r, "ssm.state_size", rec->key_dim, "the state is too large");
    }
    rec->channels = (uint32_t)channels;
    return true;
}

static bool read_recurrence(struct model_keys *r, struct hparams *h)
{
    if (h->traits->mixer != MIXER_SHORT_CONV) {
        return read_ssm(r, h);
    }
    model_key_need_u32(r, "shortconv.l_cache", &h->recurrence.taps, 2, MODEL_CONV_MAX);
    h->recurrence.channels = h->embed_dim;
    return !r->failed;
}

/* ---- latent attention ---- */

/* Files with K and V apart give the sizes of a head in the cache as key_length and value_length,
 * and those of the definition under other names. */
static bool read_latent(struct model_keys *r, struct hparams *h)
{
    struct latent *l = &h->latent;
    uint32_t key_dim = h->key_dim;
    l->value_dim = h->value_dim;
    l->rope_dim = h->rope[ROPE_TABLE_MAIN].dim;
    model_key_u32(r, "attention.q_lora_rank", &l->query_rank, 0, MODEL_WIDTH_MAX);
    model_key_need_u32(r, "attention.kv_lora_rank", &l->rank, 1, MODEL_HEAD_DIM_MAX);
    model_key_u32(r, "attention.value_length_mla", &l->value_dim, 1, MODEL_HEAD_DIM_MAX);
    model_key_u32(r, "attention.key_length_mla", &key_dim, 1, MODEL_HEAD_DIM_MAX);
    if (!r->failed && key_dim <= l->rope_dim) {
        return model_key_fail(r, key_dim, "must be more than rope.dimension_count");
    }
    l->nope_dim = key_dim - l->rope_dim;
    for (uint32_t i = 0; i < h->layer_count; i++) {
        struct layer_shape *layer = &h->layers[i];
        layer->mixer = MIXER_LATENT;
        layer->kv_head_count = 1;
        layer->key_dim = l->rank + l->rope_dim;
        layer->value_dim = l->rank;
        if ((uint64_t)layer->head_count * (key_dim > l->value_dim ? key_dim : l->value_dim) >
            MODEL_WIDTH_MAX) {
            return fail_sizes(r, "attention.head_count", layer->head_count,
                              "the heads are too many for their size");
        }
    }
    return !r->failed;
}

/* The last layers read the keys and values of the last one before them of their own kind. */
bool model_hparams_sources(struct model_keys *r, struct hparams *h)
{
    uint32_t shared = 0;
    if (h->traits->has_shared_keys) {
        model_key_u32(r, "attention.shared_kv_layers", &shared, 0, h->layer_count - 1);
    }
    for (uint32_t i = 0; i < h->layer_count && !r->failed; i++) {
        struct layer_shape *layer = &h->layers[i];
        layer->source = i;
        for (uint32_t from = h->layer_count - shared; i >= h->layer_count - shared && from-- > 0;) {
            if ((h->layers[from].window != 0) == (layer->window != 0)) {
                layer->source = from;
                layer->kv_head_count = h->layers[from].kv_head_count;
                break;
            }
            if (from == 0) {
                return model_key_fail(r, shared, "no layer before them is of the same kind");
            }
        }
    }
    return !r->failed;
}

bool model_hparams_mixers(struct model_keys *r, struct hparams *h)
{
    const struct traits *t = h->traits;
    uint32_t interval = 4;
    if (t->has_query_gate && h->value_dim != h->key_dim) {
        return fail_sizes(r, "attention.value_length", h->value_dim,
                          "must be attention.key_length, since queries are gated");
    }
    if (t->mixer == MIXER_LATENT) {
        return read_latent(r, h);
    }
    if (t->mixer != MIXER_ATTENTION && !read_recurrence(r, h)) {
        return false;
    }
    if (t->mixer != MIXER_ATTENTION && !t->has_headless_layers) {
        model_key_u32(r, "full_attention_interval", &interval, 1, MODEL_LAYERS_MAX);
    }
    for (uint32_t i = 0; i < h->layer_count && !r->failed; i++) {
        struct layer_shape *layer = &h->layers[i];
        bool is_attention =
            t->has_headless_layers ? layer->kv_head_count != 0 : (i + 1) % interval == 0;
        if (t->mixer != MIXER_ATTENTION && !is_attention) {
            layer->mixer = t->mixer;
            layer->kv_head_count = 0;
        } else {
            layer->key_dim = h->key_dim;
            layer->value_dim = h->value_dim;
        }
    }
    return !r->failed;
}

/* ---- what they need ---- */

void model_mixer_widths(const struct hparams *h, const struct layer_shape *shape,
                        uint64_t widths[MIXER_AUX_COUNT])
{
    const struct recurrence *rec = &h->recurrence;
    for (int i = 0; i < MIXER_AUX_COUNT; i++) {
        widths[i] = 0;
    }
    switch (shape->mixer) {
    case MIXER_LATENT: /* bottleneck; queries, or what heads give; the latent and the shared key */
        widths[0] = h->latent.query_rank;
        widths[1] = shape->head_count * ((uint64_t)h->latent.nope_dim + h->latent.rope_dim);
        widths[2] = shape->head_count * (uint64_t)h->latent.value_dim;
        widths[1] = widths[1] > widths[2] ? widths[1] : widths[2];
        widths[2] = shape->key_dim;
        return;
    case MIXER_SHORT_CONV: /* two gates and the input */
        widths[0] = 3 * (uint64_t)h->embed_dim;
        return;
    case MIXER_DELTA_NET: /* q, k, v; the same convolved and two vectors of each head, or all in the
                             file's order */
        widths[0] = rec->channels;
        widths[1] = rec->channels + 2 * (uint64_t)rec->inner;
        widths[2] = rec->inner;               /* gate of the output */
        widths[3] = 2 * (uint64_t)rec->heads; /* beta and alpha */
        return;
    case MIXER_MAMBA2: /* gate, x, B, C, step; x, B, C convolved */
        widths[0] = rec->inner + (uint64_t)rec->channels + rec->heads;
        widths[1] = rec->channels;
        return;
    case MIXER_ATTENTION:
    case MIXER_COUNT:
        break;
    }
    if (h->traits->has_query_gate) { /* queries and gates as they come; the gates */
        widths[0] = 2 * (uint64_t)shape->head_count * shape->key_dim;
        widths[1] = widths[0] / 2;
    }
}

uint64_t model_mix_floats(const struct hparams *h, const struct layer_shape *shape)
{
    switch (shape->mixer) {
    case MIXER_SHORT_CONV:
        return h->embed_dim;
    case MIXER_DELTA_NET:
    case MIXER_MAMBA2:
        return h->recurrence.inner;
    case MIXER_ATTENTION:
    case MIXER_LATENT:
    case MIXER_COUNT:
        break;
    }
    return (uint64_t)shape->head_count * shape->value_dim;
}

uint32_t model_rope_pairs(const struct hparams *h)
{
    uint32_t window = h->has_two_tables ? h->rope[ROPE_TABLE_WINDOW].dim / 2 : 0;
    return h->rope[ROPE_TABLE_MAIN].dim / 2 + window;
}

uint64_t model_state_floats(const struct hparams *h, const struct layer_shape *shape)
{
    const struct recurrence *rec = &h->recurrence;
    if (shape->mixer == MIXER_ATTENTION || shape->mixer == MIXER_LATENT) {
        return 0;
    }
    return (rec->taps - 1) * (uint64_t)rec->channels + (uint64_t)rec->inner * rec->key_dim;
}
