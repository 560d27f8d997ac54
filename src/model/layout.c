#include "model/layout.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "model/attention.h"
#include "tensor/codec.h"

/* ---- the tensors of a layer ---- */

enum width { W_ONE, W_EMBED, W_Q, W_K, W_V, W_MIX, W_FFN, W_KEY };

struct slot {
    const char *name;
    enum weight_kind kind;
    size_t at;             /* in struct layer */
    enum width cols, rows; /* of a matrix; a vector has `rows` elements */
    enum { NEEDED, OPTIONAL, NEEDED_FOR_QK_NORM } presence;
};

#define MATRIX(text, field, cols, rows)                                                            \
    {                                                                                              \
        text, WEIGHT_MATRIX, offsetof(struct layer, field), cols, rows, NEEDED                     \
    }
#define VECTOR(text, field, rows, presence)                                                        \
    {                                                                                              \
        text, WEIGHT_VECTOR, offsetof(struct layer, field), W_ONE, rows, presence                  \
    }

static const struct slot slots[] = {
    VECTOR("attn_norm.weight", attn_norm, W_EMBED, NEEDED),
    MATRIX("attn_q.weight", q, W_EMBED, W_Q),
    MATRIX("attn_k.weight", k, W_EMBED, W_K),
    MATRIX("attn_v.weight", v, W_EMBED, W_V),
    VECTOR("attn_q.bias", q_bias, W_Q, OPTIONAL),
    VECTOR("attn_k.bias", k_bias, W_K, OPTIONAL),
    VECTOR("attn_v.bias", v_bias, W_V, OPTIONAL),
    VECTOR("attn_q_norm.weight", q_norm, W_KEY, NEEDED_FOR_QK_NORM),
    VECTOR("attn_k_norm.weight", k_norm, W_KEY, NEEDED_FOR_QK_NORM),
    MATRIX("attn_output.weight", out, W_MIX, W_EMBED),
    VECTOR("attn_output.bias", out_bias, W_EMBED, OPTIONAL),
    VECTOR("ffn_norm.weight", ffn_norm, W_EMBED, NEEDED),
    MATRIX("ffn_gate.weight", gate, W_EMBED, W_FFN),
    MATRIX("ffn_up.weight", up, W_EMBED, W_FFN),
    MATRIX("ffn_down.weight", down, W_FFN, W_EMBED),
    VECTOR("ffn_gate.bias", gate_bias, W_FFN, OPTIONAL),
    VECTOR("ffn_up.bias", up_bias, W_FFN, OPTIONAL),
    VECTOR("ffn_down.bias", down_bias, W_EMBED, OPTIONAL),
};

enum { SLOT_COUNT = sizeof slots / sizeof slots[0] };

static uint64_t width_of(enum width width, const struct hparams *h, const struct layer_shape *shape)
{
    switch (width) {
    case W_ONE:
        return 1;
    case W_EMBED:
        return h->embed_dim;
    case W_Q:
        return (uint64_t)shape->head_count * h->key_dim;
    case W_K:
        return (uint64_t)shape->kv_head_count * h->key_dim;
    case W_V:
        return (uint64_t)shape->kv_head_count * h->value_dim;
    case W_MIX:
        return (uint64_t)shape->head_count * h->value_dim;
    case W_FFN:
        return shape->ffn_dim;
    case W_KEY:
        return h->key_dim;
    }
    return 0;
}

/* ---- placing one tensor ---- */

struct placer {
    struct layout *layout;
    const struct gguf *gguf;
    struct err *err;
};

static bool fail_shape(struct placer *p, const struct gguf_tensor *tensor, const char *wanted)
{
    char quoted[STR_QUOTE_MAX], shape[96];
    size_t n = 0;
    for (uint32_t i = 0; i < tensor->dim_count; i++) {
        n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%" PRIu64, i ? " x " : "",
                              tensor->dims[i]);
    }
    return err_set(p->err, ERR_FORMAT, "tensor %s has the shape %s: %s is needed",
                   str_quote(quoted, tensor->name), shape, wanted);
}

static bool fail_type(struct placer *p, const struct gguf_tensor *tensor, bool (*can)(enum dtype))
{
    char quoted[STR_QUOTE_MAX], list[256] = "";
    size_t n = 0;
    for (uint32_t id = 0; id < KERNELS_TYPE_COUNT && n + 16 < sizeof list; id++) {
        const struct dtype_info *info = dtype_find(id);
        if (info && can(info->type)) {
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? " " : "", info->name);
        }
    }
    return err_set(p->err, ERR_ARCH,
                   "tensor %s has the type %s, which is not supported here "
                   "(supported: %s)",
                   str_quote(quoted, tensor->name), dtype_info(tensor->type)->name, list);
}

static bool check_shape(struct placer *p, const struct gguf_tensor *tensor, uint64_t cols,
                        uint64_t rows, bool is_vector)
{
    char wanted[64];
    uint64_t first = is_vector ? rows : cols, second = is_vector ? 1 : rows;
    if (tensor->dims[0] == first && tensor->dims[1] == second && tensor->dims[2] == 1 &&
        tensor->dims[3] == 1) {
        return true;
    }
    if (is_vector) {
        snprintf(wanted, sizeof wanted, "%" PRIu64, first);
    } else {
        snprintf(wanted, sizeof wanted, "%" PRIu64 " x %" PRIu64, first, second);
    }
    return fail_shape(p, tensor, wanted);
}

/* Gives the tensor its place. Bytes are rounded up to 64, so that each place is aligned. */
static bool place(struct placer *p, enum weight_kind kind, const struct gguf_tensor *tensor,
                  void *slot)
{
    struct layout *l = p->layout;
    size_t bytes = 0, end;
    uint64_t elements = tensor->dims[0] * tensor->row_count;

    if (kind == WEIGHT_MATRIX) {
        if (!matrix_supports(tensor->type)) {
            return fail_type(p, tensor, matrix_supports);
        }
        if (!matrix_bytes(tensor->type, tensor->row_count, tensor->dims[0], &bytes)) {
            return err_set_memory(p->err, UINT64_MAX);
        }
        matrix_init(slot, tensor->type, tensor->row_count, tensor->dims[0], NULL);
        l->read_bytes += bytes;
        l->macs += elements;
    } else {
        if (!codec_can_decode(tensor->type)) {
            return fail_type(p, tensor, codec_can_decode);
        }
        if (kind == WEIGHT_ROWS) {
            bytes = tensor->bytes;
            l->read_bytes += tensor->row_bytes;
        } else {
            bytes = elements * sizeof(float);
            l->read_bytes += bytes;
        }
    }
    if (!size_align(bytes, 64, &bytes) || !size_add(l->weights_bytes, bytes, &end)) {
        return err_set_memory(p->err, UINT64_MAX);
    }
    l->items[l->item_count++] = (struct weight_item){
        .kind = kind, .tensor = tensor, .slot = slot, .at = l->weights_bytes, .bytes = bytes};
    l->weights_bytes = end;
    l->parameters += elements;
    return true;
}

static bool fail_missing(struct placer *p, const char *name)
{
    return err_set(p->err, ERR_FORMAT, "tensor %s is missing", name);
}

/* Finds a tensor, checks its shape, places it. An absent one is fine unless it is needed. */
static bool take(struct placer *p, const char *name, enum weight_kind kind, uint64_t cols,
                 uint64_t rows, bool is_needed, void *slot)
{
    const struct gguf_tensor *tensor = gguf_find_tensor(p->gguf, str_of(name));
    if (!tensor) {
        return is_needed ? fail_missing(p, name) : true;
    }
    return check_shape(p, tensor, cols, rows, kind == WEIGHT_VECTOR) &&
           place(p, kind, tensor, slot);
}

/* ---- the walk ---- */

static bool take_layer(struct placer *p, const struct hparams *h, uint32_t index)
{
    const struct layer_shape *shape = &h->layers[index];
    struct layer *layer = &p->layout->weights.layers[index];
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        const struct slot *slot = &slots[i];
        if (slot->presence == NEEDED_FOR_QK_NORM && !h->traits->has_qk_norm) {
            continue;
        }
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s", index, slot->name);
        if (!take(p, name, slot->kind, width_of(slot->cols, h, shape),
                  width_of(slot->rows, h, shape), slot->presence != OPTIONAL,
                  (char *)layer + slot->at)) {
            return false;
        }
    }
    return true;
}

static bool take_embedding(struct placer *p, struct hparams *h)
{
    struct weights *w = &p->layout->weights;
    const struct gguf_tensor *embed = gguf_find_tensor(p->gguf, STR("token_embd.weight"));
    const struct gguf_tensor *output = gguf_find_tensor(p->gguf, STR("output.weight"));

    if (!embed) {
        return fail_missing(p, "token_embd.weight");
    }
    if (h->vocab_count == 0) {
        if (embed->dims[1] == 0 || embed->dims[1] > MODEL_WIDTH_MAX) {
            return fail_shape(p, embed, "a row for each token");
        }
        h->vocab_count = (uint32_t)embed->dims[1];
    }
    if (!check_shape(p, embed, h->embed_dim, h->vocab_count, false)) {
        return false;
    }
    if (!output) {
        return place(p, WEIGHT_MATRIX, embed, &w->output);
    }
    w->embed_type = embed->type;
    w->embed_row_bytes = embed->row_bytes;
    return place(p, WEIGHT_ROWS, embed, &w->embed_rows) &&
           check_shape(p, output, h->embed_dim, h->vocab_count, false) &&
           place(p, WEIGHT_MATRIX, output, &w->output);
}

/* Tensors that a file may hold and no forward pass needs: angles that old converters stored. */
static bool is_ignored(struct str name)
{
    return str_ends(name, STR(".attn_rot_embd")) || str_ends(name, STR(".rotary_emb.inv_freq")) ||
           str_ends(name, STR(".attn_rot_embd.weight"));
}

/* A tensor that the walk did not take would be part of the model and not of the result. */
static bool refuse_unknown(struct placer *p, const struct hparams *h)
{
    const struct layout *l = p->layout;
    bool *is_taken = MEM_ARRAY(bool, p->gguf->tensor_count);
    bool ok = true;
    if (!is_taken) {
        return err_set_memory(p->err, p->gguf->tensor_count);
    }
    for (size_t i = 0; i < l->item_count; i++) {
        is_taken[l->items[i].tensor - p->gguf->tensors] = true;
    }
    for (size_t i = 0; i < p->gguf->tensor_count && ok; i++) {
        char quoted[STR_QUOTE_MAX];
        struct str name = p->gguf->tensors[i].name;
        if (!is_taken[i] && !is_ignored(name)) {
            ok =
                err_set(p->err, ERR_ARCH, "tensor %s has no part in architecture %s with %u layers",
                        str_quote(quoted, name), h->traits->architecture, h->layer_count);
        }
    }
    mem_free(is_taken);
    return ok;
}

bool model_layout_init(struct layout *layout, struct hparams *h, const struct gguf *gguf,
                       struct err *err)
{
    *layout = (struct layout){0};
    struct placer p = {.layout = layout, .gguf = gguf, .err = err};
    struct weights *w = &layout->weights;
    size_t items_max = (size_t)h->layer_count * SLOT_COUNT + 8;

    layout->items = MEM_ARRAY(struct weight_item, items_max);
    w->layers = MEM_ARRAY(struct layer, h->layer_count);
    if (!layout->items || !w->layers) {
        err_set_memory(err, items_max * sizeof *layout->items);
        model_layout_deinit(layout);
        return false;
    }
    bool ok = take_embedding(&p, h);
    for (uint32_t i = 0; i < h->layer_count && ok; i++) {
        ok = take_layer(&p, h, i);
    }
    ok =
        ok &&
        take(&p, "output_norm.weight", WEIGHT_VECTOR, 1, h->embed_dim, true, &w->output_norm) &&
        take(&p, "output.bias", WEIGHT_VECTOR, 1, h->vocab_count, false, &w->output_bias) &&
        take(&p, "rope_freqs.weight", WEIGHT_VECTOR, 1, h->rope.dim / 2, false, &w->rope_factors) &&
        refuse_unknown(&p, h);
    if (!ok) {
        model_layout_deinit(layout);
    }
    return ok;
}

void model_layout_deinit(struct layout *layout)
{
    mem_free(layout->items);
    mem_free(layout->weights.layers);
    *layout = (struct layout){0};
}
