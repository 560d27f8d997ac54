#include "model/layout.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "model/attention.h"
#include "tensor/codec.h"

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
    if (is_vector && tensor->dims[1] > 1 && (cols > 1 || tensor->dims[0] == 1)) {
        /* heads or channels side by side */
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
    } else if (kind == WEIGHT_TURNED) {
        if (!codec_can_decode(tensor->type)) {
            return fail_type(p, tensor, codec_can_decode);
        }
        if (!matrix_bytes(DTYPE_F32, tensor->dims[0], row_count, &bytes)) {
            return err_set_memory(p->err, UINT64_MAX);
        }
        matrix_init(slot, DTYPE_F32, tensor->dims[0], row_count, NULL);
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
    uint64_t q = model_slot_width(W_Q, h, shape), k = model_slot_width(W_K, h, shape);
    uint64_t v = model_slot_width(W_V, h, shape);
    char name[64];
    snprintf(name, sizeof name, "blk.%u.attn_qkv.weight", index);
    const struct gguf_tensor *tensor = gguf_find_tensor(p->gguf, str_of(name));
    if (!tensor || shape->mixer != MIXER_ATTENTION) {
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

/* A tensor with three dimensions: `rows` rows for each expert, of which [first, first + count) are
 * the matrix at `at` in struct expert. */
struct stack {
    const char *part;
    uint64_t cols, rows, first, count;
    size_t at;
};

static bool take_stack(struct placer *p, const struct hparams *h, uint32_t index,
                       const struct stack *s)
{
    char name[64], wanted[96];
    snprintf(name, sizeof name, "blk.%u.%s.weight", index, s->part);
    const struct gguf_tensor *tensor = gguf_find_tensor(p->gguf, str_of(name));
    if (!tensor) {
        return fail_missing(p, name);
    }
    if (tensor->dims[0] != s->cols || tensor->dims[1] != s->rows ||
        tensor->dims[2] != h->expert_count || tensor->dims[3] != 1) {
        snprintf(wanted, sizeof wanted, "%" PRIu64 " x %" PRIu64 " x %u", s->cols, s->rows,
                 h->expert_count);
        return fail_shape(p, tensor, wanted);
    }
    for (uint32_t e = 0; e < h->expert_count; e++) {
        struct expert *expert = &p->layout->weights.layers[index].experts[e];
        if (!place_rows(p, WEIGHT_MATRIX, tensor, e * s->rows + s->first, s->count,
                        (char *)expert + s->at)) {
            return false;
        }
    }
    return true;
}

static bool has_tensor(const struct placer *p, uint32_t index, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%u.%s", index, name);
    return gguf_find_tensor(p->gguf, str_of(full)) != NULL;
}

static bool take_experts(struct placer *p, const struct hparams *h, uint32_t index)
{
    struct layout *l = p->layout;
    const size_t gate = offsetof(struct expert, gate), up = offsetof(struct expert, up);
    const uint64_t read_bytes = l->read_bytes, macs = l->macs;
    const uint64_t embed = h->embed_dim, ffn = h->expert_ffn_dim;
    const struct stack apart[] = {{"ffn_gate_exps", embed, ffn, 0, ffn, gate},
                                  {"ffn_up_exps", embed, ffn, 0, ffn, up}};
    const struct stack joint[] = {{"ffn_gate_up_exps", embed, 2 * ffn, 0, ffn, gate},
                                  {"ffn_gate_up_exps", embed, 2 * ffn, ffn, ffn, up}};
    const struct stack down = {
        "ffn_down_exps", ffn, embed, 0, embed, offsetof(struct expert, down)};
    if (!h->layers[index].has_experts) {
        return true;
    }
    const struct stack *inner = has_tensor(p, index, "ffn_gate_up_exps.weight") ? joint : apart;
    l->weights.layers[index].experts = l->weights.experts + (size_t)index * h->expert_count;
    bool ok = (h->gate == GATE_NONE || take_stack(p, h, index, &inner[0])) &&
              take_stack(p, h, index, &inner[1]) && take_stack(p, h, index, &down);
    /* A token reads those it uses. */
    l->read_bytes = read_bytes + (l->read_bytes - read_bytes) / h->expert_count * h->expert_used;
    l->macs = macs + (l->macs - macs) / h->expert_count * h->expert_used;
    return ok;
}

/* The tensors of the table. */
static bool take_slots(struct placer *p, const struct hparams *h, uint32_t index,
                       struct layer_facts *facts)
{
    const struct layer_shape *shape = &h->layers[index];
    struct layer *layer = &p->layout->weights.layers[index];
    const struct slot *slot;
    for (size_t i = 0; (slot = model_slot_at(i)) != NULL; i++) {
        enum taking taking = model_slot_taking(slot->presence, h, index, facts);
        char name[64];
        if (taking == TAKE_NOT) {
            continue;
        }
        snprintf(name, sizeof name, "blk.%u.%s", index, slot->name);
        facts->has_ffn_norm |= slot->presence == FFN_NORM && has_tensor(p, index, slot->name);
        bool is_norm = slot->presence == QK_NORM || slot->presence == KEY_NORM;
        uint64_t cols = is_norm && h->traits->qk_norm == QK_EACH_HEAD
                            ? shape->key_dim
                            : model_slot_width(slot->cols, h, shape);
        if (!take(p, name, slot->kind, cols, model_slot_width(slot->rows, h, shape),
                  taking == TAKE_ALWAYS, (char *)layer + slot->at)) {
            return false;
        }
    }
    return true;
}

/* Files of Qwen3-Next from before it was split have all inputs of the delta net in one tensor. */
static bool take_joint_inputs(struct placer *p, const struct hparams *h, uint32_t index)
{
    const struct recurrence *rec = &h->recurrence;
    char name[64];
    snprintf(name, sizeof name, "blk.%u.ssm_in.weight", index);
    return h->layers[index].mixer != MIXER_DELTA_NET ||
           take(p, name, WEIGHT_MATRIX, h->embed_dim, rec->channels + (uint64_t)rec->inner, false,
                &p->layout->weights.layers[index].mix_in);
}

/* The halves of each head: K turned, so that it takes a query to the latent space, and V. */
static bool take_joint_heads(struct placer *p, const struct hparams *h, uint32_t index,
                             const struct gguf_tensor *tensor)
{
    const struct latent *l = &h->latent;
    const uint32_t heads = h->layers[index].head_count;
    const uint64_t each = (uint64_t)l->nope_dim + l->value_dim;
    struct layer *layer = &p->layout->weights.layers[index];
    bool ok = check_shape(p, tensor, l->rank, each * heads, false);
    for (uint32_t i = 0; i < heads && ok; i++) {
        ok = place_rows(p, WEIGHT_TURNED, tensor, i * each, l->nope_dim, &layer->k_up[i]) &&
             place_rows(p, WEIGHT_MATRIX, tensor, i * each + l->nope_dim, l->value_dim,
                        &layer->v_up[i]);
    }
    return ok;
}

/* A tensor with three dimensions: a matrix for each head. */
static bool take_heads(struct placer *p, uint32_t index, const char *part, uint64_t cols,
                       uint64_t rows, uint32_t heads, struct matrix *out)
{
    char name[64], wanted[96];
    snprintf(name, sizeof name, "blk.%u.%s.weight", index, part);
    const struct gguf_tensor *tensor = gguf_find_tensor(p->gguf, str_of(name));
    if (!tensor) {
        return fail_missing(p, name);
    }
    if (tensor->dims[0] != cols || tensor->dims[1] != rows || tensor->dims[2] != heads ||
        tensor->dims[3] != 1) {
        snprintf(wanted, sizeof wanted, "%" PRIu64 " x %" PRIu64 " x %u", cols, rows, heads);
        return fail_shape(p, tensor, wanted);
    }
    for (uint32_t i = 0; i < heads; i++) {
        if (!place_rows(p, WEIGHT_MATRIX, tensor, i * rows, rows, &out[i])) {
            return false;
        }
    }
    return true;
}

static bool take_latent(struct placer *p, const struct hparams *h, uint32_t index)
{
    const struct latent *l = &h->latent;
    const uint32_t heads = h->layers[index].head_count;
    struct weights *w = &p->layout->weights;
    struct layer *layer = &w->layers[index];
    char name[64];
    if (h->layers[index].mixer != MIXER_LATENT) {
        return true;
    }
    layer->k_up = w->heads + 2 * (size_t)index * h->max.head_count;
    layer->v_up = layer->k_up + heads;
    snprintf(name, sizeof name, "blk.%u.attn_kv_b.weight", index);
    const struct gguf_tensor *joint = gguf_find_tensor(p->gguf, str_of(name));
    if (joint) {
        return take_joint_heads(p, h, index, joint);
    }
    return take_heads(p, index, "attn_k_b", l->nope_dim, l->rank, heads, layer->k_up) &&
           take_heads(p, index, "attn_v_b", l->rank, l->value_dim, heads, layer->v_up);
}

static bool take_layer(struct placer *p, const struct hparams *h, uint32_t index)
{
    struct layer *layer = &p->layout->weights.layers[index];
    if (!take_fused_qkv(p, h, index, layer) || !take_fused_up(p, h, index, layer) ||
        !take_experts(p, h, index) || !take_latent(p, h, index) ||
        !take_joint_inputs(p, h, index)) {
        return false;
    }
    struct layer_facts facts = {
        .is_fused = layer->q.rows != 0 || layer->mix_in.rows != 0,
        .has_pairs = has_tensor(p, index, "ssm_ba.weight"),
    };
    if (!take_slots(p, h, index, &facts)) {
        return false;
    }
    layer->is_parallel =
        h->is_parallel || (h->traits->residual == RESIDUAL_BY_FFN_NORM && !facts.has_ffn_norm);
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

static bool take_layer_inputs(struct placer *p, const struct hparams *h)
{
    struct weights *w = &p->layout->weights;
    const uint64_t d = h->layer_input_dim, n = h->layer_count * d;
    const struct gguf_tensor *rows = gguf_find_tensor(p->gguf, STR("per_layer_token_embd.weight"));
    if (d == 0) {
        return true;
    }
    if (!rows) {
        return fail_missing(p, "per_layer_token_embd.weight");
    }
    w->layer_type = rows->type;
    w->layer_row_bytes = rows->row_bytes;
    return check_shape(p, rows, n, h->vocab_count, false) &&
           place(p, WEIGHT_ROWS, rows, &w->layer_rows) &&
           take(p, "per_layer_model_proj.weight", WEIGHT_MATRIX, h->embed_dim, n, true,
                &w->layer_in) &&
           take(p, "per_layer_proj_norm.weight", WEIGHT_VECTOR, 1, d, true, &w->layer_norm);
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
    if (!take_types(p, h) || !take_layer_inputs(p, h)) {
        return false;
    }
    if (!t->has_embedding_norm) {
        return true;
    }
    return take(p, "token_embd_norm.weight", WEIGHT_VECTOR, 1, h->embed_dim, true,
                &w->embed_norm) &&
           (model_norm_bias_taking(t) == TAKE_NOT ||
            take(p, "token_embd_norm.bias", WEIGHT_VECTOR, 1, h->embed_dim, true,
                 &w->embed_norm_bias));
}

static bool take_rope_factors(struct placer *p, const struct hparams *h)
{
    struct weights *w = &p->layout->weights;
    uint64_t pairs = h->rope[ROPE_TABLE_MAIN].dim / 2;
    return pairs == 0 ||
           (take(p, "rope_freqs.weight", WEIGHT_VECTOR, 1, pairs, false, &w->rope_factors) &&
            take(p, "rope_factors_short.weight", WEIGHT_VECTOR, 1, pairs, false, &w->rope_short) &&
            take(p, "rope_factors_long.weight", WEIGHT_VECTOR, 1, pairs, false, &w->rope_long));
}

/* NeoBERT's has a name of its own, and the family may have one. */
static const char *output_norm_name(const struct placer *p, const struct traits *t)
{
    static const char other[] = "enc.output_norm.weight";
    return gguf_find_tensor(p->gguf, str_of(other)) ? other
           : t->end_norm                            ? t->end_norm
                                                    : "output_norm.weight";
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
        !take(p, output_norm_name(p, t), WEIGHT_VECTOR, 1, h->embed_dim, true, &w->output_norm)) {
        return false;
    }
    if (model_norm_bias_taking(t) != TAKE_NOT &&
        !take(p, "output_norm.bias", WEIGHT_VECTOR, 1, h->embed_dim,
              model_norm_bias_taking(t) == TAKE_ALWAYS, &w->output_norm_bias)) {
        return false;
    }
    return take(p, "output.bias", WEIGHT_VECTOR, 1, h->vocab_count, false, &w->output_bias) &&
           take_rope_factors(p, h);
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

/* Tensors that a file may hold and no forward pass needs: angles that old converters stored, layers
 * behind the last one, which guess further tokens, and keys that are read from another layer. */
static bool is_ignored(const struct hparams *h, struct str name)
{
    for (uint32_t i = 0; i < h->guessing_layers; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blk.%u.", h->layer_count + i);
        if (str_starts(name, str_of(prefix))) {
            return true;
        }
    }
    for (uint32_t i = 0; i < h->layer_count; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blk.%u.attn_", i);
        if (h->layers[i].source != i && str_starts(name, str_of(prefix)) &&
            (str_ends(name, STR(".attn_k.weight")) || str_ends(name, STR(".attn_v.weight")) ||
             str_ends(name, STR(".attn_k_norm.weight")))) {
            return true; /* a layer that reads another's keys may come with its own */
        }
    }
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
        if (!is_taken[i] && !is_ignored(h, name)) {
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
    size_t slots = 0;
    while (model_slot_at(slots)) {
        slots++;
    }
    const size_t heads = h->latent.rank != 0 ? h->max.head_count : 0;
    size_t items_max =
        (size_t)h->layer_count * (slots + 4 + 3 * (size_t)h->expert_count + 2 * heads) + 32;

    layout->items = MEM_ARRAY(struct weight_item, items_max);
    w->layers = MEM_ARRAY(struct layer, h->layer_count);
    if (h->expert_count != 0) {
        w->experts = MEM_ARRAY(struct expert, (size_t)h->layer_count * h->expert_count);
    }
    if (heads != 0) {
        w->heads = MEM_ARRAY(struct matrix, (size_t)h->layer_count * 2 * heads);
    }
    if ((heads != 0 && !w->heads) || !layout->items || !w->layers ||
        (h->expert_count != 0 && !w->experts)) {
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
    model_lora_deinit(&layout->lora);
    mem_free(layout->items);
    mem_free(layout->weights.layers);
    mem_free(layout->weights.experts);
    mem_free(layout->weights.heads);
    *layout = (struct layout){0};
}
