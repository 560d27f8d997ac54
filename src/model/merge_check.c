#include "model/merge_check.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- the request ---- */

static bool uses_base(const struct model_merge *how)
{
    return how->method == MODEL_MERGE_TASK || how->method == MODEL_MERGE_TIES;
}

static bool check_weights(const struct model_merge *how, struct err *err)
{
    double sum = 0, magnitude = 0;
    bool is_negative = false;
    for (size_t i = 0; i < how->input_count; i++) {
        sum += how->inputs[i].weight;
        magnitude += fabs(how->inputs[i].weight);
        is_negative |= how->inputs[i].weight < 0;
    }
    if (!isfinite(magnitude)) {
        return err_set(err, ERR_INVALID, "the weights must be finite numbers");
    }
    if (magnitude == 0) {
        return err_set(err, ERR_INVALID, "all weights are 0");
    }
    if (how->method == MODEL_MERGE_SLERP && is_negative) {
        return err_set(err, ERR_INVALID, "slerp takes no negative weight");
    }
    if (how->method == MODEL_MERGE_LINEAR && !how->is_plain_sum && fabs(sum) < 1e-6 * magnitude) {
        return err_set(err, ERR_INVALID, "the weights sum to %g, so that they cannot be normalised",
                       sum);
    }
    return true;
}

bool model_merge_check_request(const struct model_merge *how, struct err *err)
{
    size_t least = uses_base(how) ? 1 : 2;
    size_t most = how->method == MODEL_MERGE_SLERP ? 2 : MODEL_MERGE_MAX;
    if (how->input_count < least || how->input_count > most) {
        return err_set(err, ERR_INVALID, "this method merges %zu to %zu models, not %zu", least,
                       most, how->input_count);
    }
    if (uses_base(how) != (how->base != NULL)) {
        return err_set(err, ERR_INVALID,
                       how->base ? "this method has no base" : "this method needs a base");
    }
    if (how->method == MODEL_MERGE_TIES && !(how->density > 0 && how->density <= 1)) {
        return err_set(err, ERR_INVALID, "the density must be above 0 and at most 1, not %g",
                       how->density);
    }
    if (uses_base(how) && !isfinite(how->lambda)) {
        return err_set(err, ERR_INVALID, "lambda must be a finite number");
    }
    return check_weights(how, err);
}

/* ---- two models ---- */

/* Keys of the vocabulary itself; what else tokenizer.ggml.* has says how it is used. */
static bool is_vocabulary(struct str key)
{
    static const char *const keys[] = {"tokenizer.ggml.model",  "tokenizer.ggml.pre",
                                       "tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                                       "tokenizer.ggml.merges", "tokenizer.ggml.token_type"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (str_eq(key, str_of(keys[i]))) {
            return true;
        }
    }
    return false;
}

/* "llama.block_count" of the architecture "llama". */
static bool is_hyper_parameter(struct str key, struct str architecture)
{
    return str_starts(key, architecture) && key.len > architecture.len &&
           key.ptr[architecture.len] == '.';
}

static bool is_float(enum gguf_kind kind)
{
    return kind == GGUF_F32 || kind == GGUF_F64;
}

static bool same_scalar(const struct gguf_value *a, const struct gguf_value *b)
{
    if (a->kind == GGUF_STRING || b->kind == GGUF_STRING) {
        return a->kind == b->kind && str_eq(a->text, b->text);
    }
    if (is_float(a->kind) || is_float(b->kind)) {
        return is_float(a->kind) && is_float(b->kind) &&
               memcmp(&a->f64, &b->f64, sizeof a->f64) == 0;
    }
    return a->u64 == b->u64; /* of any width */
}

/* The first item that differs; `count` if none does. Both have as many items of one kind. */
static uint64_t first_difference(const struct gguf_value *a, const struct gguf_value *b)
{
    uint64_t i = 0;
    for (; i < a->count; i++) {
        bool same;
        if (a->item_kind == GGUF_STRING) {
            same = str_eq(a->texts[i], b->texts[i]);
        } else if (is_float(a->item_kind)) {
            double x = gguf_item_f64(a, i), y = gguf_item_f64(b, i);
            same = memcmp(&x, &y, sizeof x) == 0;
        } else {
            same = gguf_item_i64(a, i) == gguf_item_i64(b, i);
        }
        if (!same) {
            break;
        }
    }
    return i;
}

static bool check_value(const struct gguf_entry *x, const struct gguf_entry *y, struct err *err)
{
    char key[STR_QUOTE_MAX];
    const struct gguf_value *a = &x->value, *b = &y->value;
    str_quote(key, x->key);
    if (a->kind != GGUF_ARRAY && b->kind != GGUF_ARRAY) {
        return same_scalar(a, b) ||
               err_set(err, ERR_INVALID, "\"%s\" differs between the models", key);
    }
    if (a->kind != b->kind || a->item_kind != b->item_kind) {
        return err_set(err, ERR_INVALID, "\"%s\" has another kind in the other model", key);
    }
    if (a->count != b->count) {
        return err_set(err, ERR_INVALID,
                       "\"%s\" has %" PRIu64 " items in one model and %" PRIu64 " in the other",
                       key, a->count, b->count);
    }
    uint64_t i = first_difference(a, b);
    return i == a->count ||
           err_set(err, ERR_INVALID, "\"%s\" differs between the models from item %" PRIu64 " on",
                   key, i);
}

/* All entries of `a` that matter are in `b`; their values are compared once, on the way there. */
static bool check_entries(const struct gguf *a, const struct gguf *b, struct str architecture,
                          bool with_values, struct err *err)
{
    char key[STR_QUOTE_MAX];
    for (size_t i = 0; i < a->entry_count; i++) {
        const struct gguf_entry *x = &a->entries[i], *y;
        if (!is_vocabulary(x->key) && !is_hyper_parameter(x->key, architecture)) {
            continue;
        }
        y = gguf_find(b, x->key);
        if (!y) {
            return err_set(err, ERR_INVALID, "only one of the models has \"%s\"",
                           str_quote(key, x->key));
        }
        if (with_values && !check_value(x, y, err)) {
            return false;
        }
    }
    return true;
}

static bool check_tensor(const struct gguf_tensor *x, const struct gguf_tensor *y, struct err *err)
{
    char name[STR_QUOTE_MAX];
    str_quote(name, x->name);
    if (!y) {
        return err_set(err, ERR_INVALID, "only one of the models has the tensor \"%s\"", name);
    }
    if (memcmp(x->dims, y->dims, sizeof x->dims) != 0) {
        return err_set(err, ERR_INVALID,
                       "tensor \"%s\" is %" PRIu64 "x%" PRIu64 "x%" PRIu64 "x%" PRIu64
                       " in one model and %" PRIu64 "x%" PRIu64 "x%" PRIu64 "x%" PRIu64
                       " in the other",
                       name, x->dims[0], x->dims[1], x->dims[2], x->dims[3], y->dims[0], y->dims[1],
                       y->dims[2], y->dims[3]);
    }
    return true;
}

bool model_merge_check(const struct gguf *first, const struct gguf *other, struct err *err)
{
    struct str a = {0}, b = {0};
    char quoted_a[STR_QUOTE_MAX], quoted_b[STR_QUOTE_MAX];

    if (!gguf_get_str(first, STR("general.architecture"), &a, NULL, err) ||
        !gguf_get_str(other, STR("general.architecture"), &b, NULL, err)) {
        return false;
    }
    if (!str_eq(a, b)) {
        return err_set(err, ERR_INVALID, "the architectures are \"%s\" and \"%s\"",
                       str_quote(quoted_a, a), str_quote(quoted_b, b));
    }
    if (!check_entries(first, other, a, true, err) || !check_entries(other, first, a, false, err)) {
        return false;
    }
    for (size_t i = 0; i < first->tensor_count; i++) {
        const struct gguf_tensor *x = &first->tensors[i];
        if (!check_tensor(x, gguf_find_tensor(other, x->name), err)) {
            return false;
        }
    }
    for (size_t i = 0; i < other->tensor_count; i++) {
        const struct gguf_tensor *y = &other->tensors[i];
        if (!check_tensor(y, gguf_find_tensor(first, y->name), err)) {
            return false;
        }
    }
    return true;
}
