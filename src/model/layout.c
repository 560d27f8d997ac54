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

enum width { W_ONE, W_EMBED, W_Q, W_K, W_V, W_MIX, W_FFN, W_QNORM, W_KNORM, W_EXPERTS, W_SHARED };

/* When a tensor must, may or must not be there: presence_of. */
enum presence {
    NEEDED,
    OPTIONAL,
    SPLIT,      /* unless q, k and v are one tensor; so for their biases, which are optional: */
    SPLIT_BIAS, /* */
    PRE_NORM,
    PRE_NORM_BIAS,
    FFN_NORM,
    FFN_NORM_BIAS,
    SECOND_NORM,
    POST_NORM,
    POST_AS_FFN_NORM,
    SUM_NORM,
    QK_NORM,
    QK_NORM_BIAS,
    GATE,
    GATE_BIAS,
    UP,
    DOWN,
    DOWN_BIAS,
    ROUTER,
    SHARED,
    SHARED_GATE,
    ROUTER_BIAS,
};

struct slot {
    const char *name;
    enum weight_kind kind;
    size_t at;             /* in struct layer */
    enum width cols, rows; /* of a matrix; a vector has `rows` elements */
    enum presence presence;
};

#define MATRIX(text, field, cols, rows, presence)                                                  \
    {                                                                                              \
        text, WEIGHT_MATRIX, offsetof(struct layer, field), cols, rows, presence                   \
    }
#define VECTOR(text, field, rows, presence)                                                        \
    {                                                                                              \
        text, WEIGHT_VECTOR, offsetof(struct layer, field), W_ONE, rows, presence                  \
    }

static const struct slot slots[] = {
    VECTOR("attn_norm.weight", attn_norm, W_EMBED, PRE_NORM),
    VECTOR("attn_norm.bias", attn_norm_bias, W_EMBED, PRE_NORM_BIAS),
    VECTOR("attn_norm_2.weight", attn_norm_2, W_EMBED, SECOND_NORM),
    VECTOR("attn_norm_2.bias", attn_norm_2_bias, W_EMBED, SECOND_NORM),
    MATRIX("attn_q.weight", q, W_EMBED, W_Q, SPLIT),
    MATRIX("attn_k.weight", k, W_EMBED, W_K, SPLIT),
    MATRIX("attn_v.weight", v, W_EMBED, W_V, SPLIT),
    VECTOR("attn_q.bias", q_bias, W_Q, SPLIT_BIAS),
    VECTOR("attn_k.bias", k_bias, W_K, SPLIT_BIAS),
    VECTOR("attn_v.bias", v_bias, W_V, SPLIT_BIAS),
    VECTOR("attn_q_norm.weight", q_norm, W_QNORM, QK_NORM),
    VECTOR("attn_k_norm.weight", k_norm, W_KNORM, QK_NORM),
    VECTOR("attn_q_norm.bias", q_norm_bias, W_QNORM, QK_NORM_BIAS),
    VECTOR("attn_k_norm.bias", k_norm_bias, W_KNORM, QK_NORM_BIAS),
    MATRIX("attn_output.weight", out, W_MIX, W_EMBED, NEEDED),
    VECTOR("attn_output.bias", out_bias, W_EMBED, OPTIONAL),
    VECTOR("post_attention_norm.weight", attn_post_norm, W_EMBED, POST_NORM),
    VECTOR("attn_output_norm.weight", attn_post_norm, W_EMBED, SUM_NORM),
    VECTOR("attn_output_norm.bias", attn_post_norm_bias, W_EMBED, SUM_NORM),
    VECTOR("post_attention_norm.weight", ffn_norm, W_EMBED, POST_AS_FFN_NORM),
    VECTOR("ffn_norm.weight", ffn_norm, W_EMBED, FFN_NORM),
    VECTOR("ffn_norm.bias", ffn_norm_bias, W_EMBED, FFN_NORM_BIAS),
    MATRIX("ffn_gate.weight", gate, W_EMBED, W_FFN, GATE),
    MATRIX("ffn_up.weight", up, W_EMBED, W_FFN, UP),
    MATRIX("ffn_down.weight", down, W_FFN, W_EMBED, DOWN),
    VECTOR("ffn_gate.bias", gate_bias, W_FFN, GATE_BIAS),
    VECTOR("ffn_up.bias", up_bias, W_FFN, GATE_BIAS),
    VECTOR("ffn_down.bias", down_bias, W_EMBED, DOWN_BIAS),
    MATRIX("ffn_gate_inp.weight", router, W_EMBED, W_EXPERTS, ROUTER),
    MATRIX("ffn_gate_shexp.weight", gate, W_EMBED, W_SHARED, SHARED),
    MATRIX("ffn_up_shexp.weight", up, W_EMBED, W_SHARED, SHARED),
    MATRIX("ffn_down_shexp.weight", down, W_SHARED, W_EMBED, SHARED),
    VECTOR("exp_probs_b.bias", router_bias, W_EXPERTS, ROUTER_BIAS),
    VECTOR("ffn_gate_inp_shexp.weight", shared_gate, W_EMBED, SHARED_GATE),
    VECTOR("post_ffw_norm.weight", ffn_post_norm, W_EMBED, POST_NORM),
    VECTOR("layer_output_norm.weight", ffn_post_norm, W_EMBED, SUM_NORM),
    VECTOR("layer_output_norm.bias", ffn_post_norm_bias, W_EMBED, SUM_NORM),
};

enum { SLOT_COUNT = sizeof slots / sizeof slots[0] };

enum taking { TAKE_NOT, TAKE_IF_THERE, TAKE_ALWAYS };

static enum taking bias_taking(const struct traits *t)
{
    static const enum taking takings[] = {[NORM_BIAS_NONE] = TAKE_NOT,
                                          [NORM_BIAS_NEEDED] = TAKE_ALWAYS,
                                          [NORM_BIAS_OPTIONAL] = TAKE_IF_THERE};
    return takings[t->norm_bias];
}

static enum taking ffn_norm_taking(const struct hparams *h)
{
    const struct traits *t = h->traits;
    bool has_none = t->residual == RESIDUAL_PARALLEL || t->has_post_norm_as_ffn;
    return has_none ? TAKE_NOT : t->residual == RESIDUAL_BY_FFN_NORM ? TAKE_IF_THERE : TAKE_ALWAYS;
}

static enum taking presence_of(enum presence presence, const struct hparams *h, uint32_t index,
                               bool is_fused, bool has_ffn_norm)
{
    const struct traits *t = h->traits;
    bool is_normed = traits_norm_input(t) && !t->has_bare_norms;
    bool is_dense = !h->layers[index].has_experts;
    switch (presence) {
    case NEEDED:
        return TAKE_ALWAYS;
    case OPTIONAL:
        return TAKE_IF_THERE;
    case SPLIT:
    case SPLIT_BIAS:
        return is_fused ? TAKE_NOT : presence == SPLIT ? TAKE_ALWAYS : TAKE_IF_THERE;
    case PRE_NORM:
        return !is_normed                        ? TAKE_NOT
               : t->has_open_start && index == 0 ? TAKE_IF_THERE
                                                 : TAKE_ALWAYS;
    case PRE_NORM_BIAS:
        return is_normed ? bias_taking(t) : TAKE_NOT;
    case FFN_NORM:
        return is_normed ? ffn_norm_taking(h) : TAKE_NOT;
    case FFN_NORM_BIAS:
        return has_ffn_norm ? bias_taking(t) : TAKE_NOT;
    case SECOND_NORM:
        return (t->residual == RESIDUAL_PARALLEL && t->norm_bias != NORM_BIAS_NONE) ||
                       t->norm_place == NORM_OF_SUM
                   ? TAKE_IF_THERE
                   : TAKE_NOT;
    case POST_NORM:
        return t->norm_place == NORM_AFTER || t->norm_place == NORM_BEFORE_AND_AFTER ? TAKE_ALWAYS
                                                                                     : TAKE_NOT;
    case SUM_NORM:
        return t->norm_place == NORM_OF_SUM ? TAKE_ALWAYS : TAKE_NOT;
    case POST_AS_FFN_NORM:
        return t->has_post_norm_as_ffn ? TAKE_ALWAYS : TAKE_NOT;
    case QK_NORM:
        return t->qk_norm == QK_NONE                             ? TAKE_NOT
               : t->qk_norm == QK_HEAD || t->qk_norm == QK_WHOLE ? TAKE_ALWAYS
                                                                 : TAKE_IF_THERE;
    case QK_NORM_BIAS:
        return t->qk_norm == QK_WHOLE_MAYBE ? TAKE_IF_THERE : TAKE_NOT;
    case GATE:
        return is_dense && h->gate == GATE_OWN ? TAKE_ALWAYS : TAKE_NOT;
    case GATE_BIAS:
        return !is_dense || h->gate == GATE_IN_UP ? TAKE_NOT : TAKE_IF_THERE;
    case UP:
        return !is_dense || h->gate == GATE_IN_UP ? TAKE_NOT : TAKE_ALWAYS;
    case DOWN:
        return is_dense ? TAKE_ALWAYS : TAKE_NOT;
    case DOWN_BIAS:
        return is_dense ? TAKE_IF_THERE : TAKE_NOT;
    case ROUTER:
        return is_dense ? TAKE_NOT : TAKE_ALWAYS;
    case SHARED:
        return !is_dense && h->shared_ffn_dim != 0 ? TAKE_ALWAYS : TAKE_NOT;
    case ROUTER_BIAS:
        return !is_dense && t->has_router_bias ? TAKE_IF_THERE : TAKE_NOT;
    case SHARED_GATE:
        return !is_dense && t->shared == SHARED_GATED ? TAKE_ALWAYS : TAKE_NOT;
    }
    return TAKE_NOT;
}

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
    case W_EXPERTS:
        return h->expert_count;
    case W_SHARED:
        return h->shared_ffn_dim;
    case W_QNORM:
        return h->traits->qk_norm == QK_HEAD ? h->key_dim
                                             : (uint64_t)shape->head_count * h->key_dim;
    case W_KNORM:
        return h->traits->qk_norm == QK_HEAD ? h->key_dim
                                             : (uint64_t)shape->kv_head_count * h->key_dim;
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
    if (is_vector && cols > 1 && tensor->dims[1] > 1) { /* heads side by side */
        first = cols;
        second = rows / cols;
    }
    if (tensor->dims[0] == first && tensor->dims[1] == second && tensor->dims[2] == 1 &&
        tensor->dims[3] == 1) {
        return true;
    }
    if (is_vector && second == 1) {
        snprintf(wanted, sizeof wanted, "%" PRIu64, first);
    } else {
        snprintf(wanted, sizeof wanted, "%" PRIu64 " x %" PRIu64, first, second);
    }
    return fail_shape(p, tensor, wanted);
}

/* Gives rows of the tensor their place. Bytes are rounded up to 64, so that each place is aligned.
 */
static bool place_rows(struct placer *p, enum weight_kind kind, const struct gguf_tensor *tensor,
                       uint64_t row, uint64_t row_count, void *slot)
{
    struct layout *l = p->layout;
    size_t bytes = 0, end;
    uint64_t elements = tensor->dims[0] * row_count;

    if (kind == WEIGHT_MATRIX) {
        if (!matrix_supports(tensor->type)) {
            return fail_type(p, tensor, matrix_supports);
        }
        if (!matrix_bytes(tensor->type, row_count, tensor->dims[0], &bytes)) {
            return err_set_memory(p->err, UINT64_MAX);
        }
        matrix_init(slot, tensor->type, row_count, tensor->dims[0], NULL);
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
    l->items[l->item_count++] = (struct weight_item){.kind = kind,
                                                     .tensor = tensor,
                                                     .row = row,
                                                     .row_count = row_count,
                                                     .slot = slot,
                                                     .at = l->weights_bytes,
                                                     .bytes = bytes};
    l->weights_bytes = end;
    l->parameters += elements;
    return true;
}

static bool place(struct placer *p, enum weight_kind kind, const struct gguf_tensor *tensor,
                  void *slot)
{
    return place_rows(p, kind, tensor, 0, tensor->row_count, slot);
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

/* q, k and v as one tensor, in any family: three matrices of its rows. */
static bool take_fused_qkv(struct placer *p, const struct hparams *h, uint32_t index,
                           struct layer *layer)
{
    const struct layer_shape *shape = &h->layers[index];
    uint64_t q = width_of(W_Q, h, shape), k = width_of(W_K, h, shape), v = width_of(W_V, h, shape);
    char name[64];
    snprintf(name, sizeof name, "blk.%u.attn_qkv.weight", index);
    const struct gguf_tensor *tensor = gguf_find_tensor(p->gguf, str_of(name));
    if (!tensor) {
        return true;
    }
    if (!check_shape(p, tensor, h->embed_dim, q + k + v, false) ||
        !place_rows(p, WEIGHT_MATRIX, tensor, 0, q, &layer->q) ||
        !place_rows(p, WEIGHT_MATRIX, tensor, q, k, &layer->k) ||
        !place_rows(p, WEIGHT_MATRIX, tensor, q + k, v, &layer->v)) {
        return false;
    }
    snprintf(name, sizeof name, "blk.%u.attn_qkv.bias", index);
    layer->has_fused_bias = gguf_find_tensor(p->gguf, str_of(name)) != NULL;
    return take(p, name, WEIGHT_VECTOR, 1, q + k + v, false, &layer->q_bias);
}

/* Gate and up as one tensor. */
static bool take_fused_up(struct placer *p, const struct hparams *h, uint32_t index,
                          struct layer *layer)
{
    uint64_t rows = h->layers[index].ffn_dim;
    char name[64];
    if (h->gate != GATE_IN_UP || h->layers[index].has_experts) {
        return true;
    }
    snprintf(name, sizeof name, "blk.%u.ffn_up.weight", index);
    const struct gguf_tensor *tensor = gguf_find_tensor(p->gguf, str_of(name));
    if (!tensor) {
        return fail_missing(p, name);
    }
    return check_shape(p, tensor, h->embed_dim, 2 * rows, false) &&
           place_rows(p, WEIGHT_MATRIX, tensor, 0, rows, &layer->gate) &&
           place_rows(p, WEIGHT_MATRIX, tensor, rows, rows, &layer->up);
}

/* Rows [e * rows, (e + 1) * rows) of a tensor with three dimensions are expert e's matrix. */
static bool take_stack(struct placer *p, const struct hparams *h, uint32_t index, const char *part,
                       uint64_t cols, uint64_t rows, size_t at)
{
    char name[64], wanted[96];
    snprintf(name, sizeof name, "blk.%u.%s.weight", index, part);
    const struct gguf_tensor *tensor = gguf_find_tensor(p->gguf, str_of(name));
    if (!tensor) {
        return fail_missing(p, name);
    }
    if (tensor->dims[0] != cols || tensor->dims[1] != rows || tensor->dims[2] != h->expert_count ||
        tensor->dims[3] != 1) {
        snprintf(wanted, sizeof wanted, "%" PRIu64 " x %" PRIu64 " x %u", cols, rows,
                 h->expert_count);
        return fail_shape(p, tensor, wanted);
    }
    for (uint32_t e = 0; e < h->expert_count; e++) {
        struct expert *expert = &p->layout->weights.layers[index].experts[e];
        if (!place_rows(p, WEIGHT_MATRIX, tensor, e * rows, rows, (char *)expert + at)) {
            return false;
        }
    }
    return true;
}

static bool take_experts(struct placer *p, const struct hparams *h, uint32_t index)
{
    struct layout *l = p->layout;
    uint64_t read_bytes = l->read_bytes, macs = l->macs, ffn = h->expert_ffn_dim;
    if (!h->layers[index].has_experts) {
        return true;
    }
    l->weights.layers[index].experts = l->weights.experts + (size_t)index * h->expert_count;
    bool ok =
        (h->gate == GATE_NONE || take_stack(p, h, index, "ffn_gate_exps", h->embed_dim, ffn,
                                            offsetof(struct expert, gate))) &&
        take_stack(p, h, index, "ffn_up_exps", h->embed_dim, ffn, offsetof(struct expert, up)) &&
        take_stack(p, h, index, "ffn_down_exps", ffn, h->embed_dim, offsetof(struct expert, down));
    /* A token reads those it uses. */
    l->read_bytes = read_bytes + (l->read_bytes - read_bytes) / h->expert_count * h->expert_used;
    l->macs = macs + (l->macs - macs) / h->expert_count * h->expert_used;
    return ok;
}

static bool take_layer(struct placer *p, const struct hparams *h, uint32_t index)
{
    const struct layer_shape *shape = &h->layers[index];
    struct layer *layer = &p->layout->weights.layers[index];
    bool has_ffn_norm = false;
    if (!take_fused_qkv(p, h, index, layer) || !take_fused_up(p, h, index, layer) ||
        !take_experts(p, h, index)) {
        return false;
    }
    bool is_fused = layer->q.rows != 0;
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        const struct slot *slot = &slots[i];
        enum taking taking = presence_of(slot->presence, h, index, is_fused, has_ffn_norm);
        char name[64];
        if (taking == TAKE_NOT) {
            continue;
        }
        snprintf(name, sizeof name, "blk.%u.%s", index, slot->name);
        bool is_there = gguf_find_tensor(p->gguf, str_of(name)) != NULL;
        has_ffn_norm |= slot->presence == FFN_NORM && is_there;
        uint64_t cols = slot->presence == QK_NORM && h->traits->qk_norm == QK_EACH_HEAD
                            ? h->key_dim
                            : width_of(slot->cols, h, shape);
        if (!take(p, name, slot->kind, cols, width_of(slot->rows, h, shape), taking == TAKE_ALWAYS,
                  (char *)layer + slot->at)) {
            return false;
        }
    }
    layer->is_parallel =
        h->is_parallel || (h->traits->residual == RESIDUAL_BY_FFN_NORM && !has_ffn_norm);
    return true;
}

/* Row 0 is that of the only text, or of the first of a pair; row 1 that of the second. */
static bool take_types(struct placer *p, const struct hparams *h)
{
    struct weights *w = &p->layout->weights;
    const struct gguf_tensor *types = gguf_find_tensor(p->gguf, STR("token_types.weight"));
    if (!h->traits->has_token_types || !types) {
        return true;
    }
    w->type_type = types->type;
    w->type_row_bytes = types->row_bytes;
    w->type_count = types->dims[1];
    return (types->dims[1] > 0 || fail_shape(p, types, "at least one row")) &&
           check_shape(p, types, h->embed_dim, types->dims[1], false) &&
           place(p, WEIGHT_ROWS, types, &w->type_rows);
}

/* What stands before the first layer besides the embedding. */
static bool take_start(struct placer *p, const struct hparams *h)
{
    struct weights *w = &p->layout->weights;
    const struct traits *t = h->traits;
    const struct gguf_tensor *positions = gguf_find_tensor(p->gguf, STR("position_embd.weight"));
    if (t->positions == POSITIONS_NEEDED && !positions) {
        return fail_missing(p, "position_embd.weight");
    }
    if (t->positions != POSITIONS_NONE && positions) {
        w->pos_type = positions->type;
        w->pos_row_bytes = positions->row_bytes;
        if (!check_shape(p, positions, h->embed_dim, h->ctx_train_tokens, false) ||
            !place(p, WEIGHT_ROWS, positions, &w->pos_rows)) {
            return false;
        }
        p->layout->has_positions = true;
    }
    if (!take_types(p, h)) {
        return false;
    }
    if (!t->has_embedding_norm) {
        return true;
    }
    return take(p, "token_embd_norm.weight", WEIGHT_VECTOR, 1, h->embed_dim, true,
                &w->embed_norm) &&
           (bias_taking(t) == TAKE_NOT || take(p, "token_embd_norm.bias", WEIGHT_VECTOR, 1,
                                               h->embed_dim, true, &w->embed_norm_bias));
}

static bool take_rope_factors(struct placer *p, const struct hparams *h)
{
    struct weights *w = &p->layout->weights;
    uint64_t pairs = h->rope.dim / 2;
    return pairs == 0 ||
           (take(p, "rope_freqs.weight", WEIGHT_VECTOR, 1, pairs, false, &w->rope_factors) &&
            take(p, "rope_factors_short.weight", WEIGHT_VECTOR, 1, pairs, false, &w->rope_short) &&
            take(p, "rope_factors_long.weight", WEIGHT_VECTOR, 1, pairs, false, &w->rope_long));
}

/* NeoBERT's has a name of its own. */
static const char *output_norm_name(const struct placer *p)
{
    static const char other[] = "enc.output_norm.weight";
    return gguf_find_tensor(p->gguf, str_of(other)) ? other : "output_norm.weight";
}

/* A matrix with so many columns, of as many rows as it has, if it is there. */
static bool take_dense(struct placer *p, const char *name, uint64_t cols, struct matrix *out)
{
    const struct gguf_tensor *tensor = gguf_find_tensor(p->gguf, str_of(name));
    if (!tensor) {
        return true;
    }
    if (tensor->dims[1] == 0 || tensor->dims[1] > MODEL_WIDTH_MAX) {
        return fail_shape(p, tensor, "one row or more");
    }
    return take(p, name, WEIGHT_MATRIX, cols, tensor->dims[1], true, out);
}

/* What makes vectors and classes of pooled hidden states. Any family's file may have them. */
static bool take_head(struct placer *p, const struct hparams *h)
{
    struct head *head = &p->layout->weights.head;
    uint64_t width = h->embed_dim;
    if (!take_dense(p, "cls.weight", width, &head->dense)) {
        return false;
    }
    width = head->dense.rows != 0 ? head->dense.rows : width;
    if ((head->dense.rows != 0 &&
         (!take(p, "cls.bias", WEIGHT_VECTOR, 1, width, false, &head->dense_bias) ||
          !take(p, "cls.norm.weight", WEIGHT_VECTOR, 1, width, false, &head->norm))) ||
        !take_dense(p, "cls.output.weight", width, &head->out) ||
        (head->out.rows != 0 &&
         !take(p, "cls.output.bias", WEIGHT_VECTOR, 1, head->out.rows, false, &head->out_bias)) ||
        !take_dense(p, "dense_2.weight", h->embed_dim, &head->dense_2)) {
        return false;
    }
    width = head->dense_2.rows != 0 ? head->dense_2.rows : h->embed_dim;
    return take_dense(p, "dense_3.weight", width, &head->dense_3);
}

static bool take_end(struct placer *p, const struct hparams *h)
{
    struct weights *w = &p->layout->weights;
    const struct traits *t = h->traits;
    if (t->norm_place == NORM_OF_SUM) {
        return take_rope_factors(p, h);
    }
    if (!t->has_bare_norms &&
        !take(p, output_norm_name(p), WEIGHT_VECTOR, 1, h->embed_dim, true, &w->output_norm)) {
        return false;
    }
    if (bias_taking(t) != TAKE_NOT && !take(p, "output_norm.bias", WEIGHT_VECTOR, 1, h->embed_dim,
                                            bias_taking(t) == TAKE_ALWAYS, &w->output_norm_bias)) {
        return false;
    }
    if (!take(p, "output.bias", WEIGHT_VECTOR, 1, h->vocab_count, false, &w->output_bias)) {
        return false;
    }
    return take_rope_factors(p, h);
}

/* GATE_AS_IS: files of one architecture come with a gate of its own, one in `up`, or none. */
static void find_gate(const struct placer *p, struct hparams *h)
{
    const struct gguf_tensor *up = gguf_find_tensor(p->gguf, STR("blk.0.ffn_up.weight"));
    if (h->gate == GATE_AS_IS) {
        bool is_own = gguf_find_tensor(p->gguf, STR("blk.0.ffn_gate.weight")) != NULL;
        bool is_inside = up && up->dims[1] == 2 * (uint64_t)h->layers[0].ffn_dim;
        h->gate = is_own ? GATE_OWN : is_inside ? GATE_IN_UP : GATE_NONE;
    }
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
    w->embed_type = embed->type;
    w->embed_row_bytes = embed->row_bytes;
    if (h->traits->is_encoder) {
        return place(p, WEIGHT_ROWS, embed, &w->embed_rows);
    }
    if (!output) {
        return place(p, WEIGHT_MATRIX, embed, &w->output);
    }
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
    size_t items_max = (size_t)h->layer_count * (SLOT_COUNT + 4 + 3 * (size_t)h->expert_count) + 32;

    layout->items = MEM_ARRAY(struct weight_item, items_max);
    w->layers = MEM_ARRAY(struct layer, h->layer_count);
    if (h->expert_count != 0) {
        w->experts = MEM_ARRAY(struct expert, (size_t)h->layer_count * h->expert_count);
    }
    if (!layout->items || !w->layers || (h->expert_count != 0 && !w->experts)) {
        err_set_memory(err, items_max * sizeof *layout->items);
        model_layout_deinit(layout);
        return false;
    }
    find_gate(&p, h);
    bool ok = take_embedding(&p, h);
    for (uint32_t i = 0; i < h->layer_count && ok; i++) {
        ok = take_layer(&p, h, i);
    }
    ok = ok && take_start(&p, h) && take_end(&p, h) && take_head(&p, h) && refuse_unknown(&p, h);
    if (!ok) {
        model_layout_deinit(layout);
    }
    return ok;
}

void model_layout_deinit(struct layout *layout)
{
    mem_free(layout->items);
    mem_free(layout->weights.layers);
    mem_free(layout->weights.experts);
    *layout = (struct layout){0};
}
