#include "model/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct str model_key_of(struct model_keys *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->architecture, name);
    return str_of(r->key);
}

bool model_key_fail(struct model_keys *r, uint64_t value, const char *why)
{
    r->failed = true;
    return err_set(r->err, ERR_FORMAT, "key %s is %" PRIu64 ": %s", r->key, value, why);
}

static void fail_missing(struct model_keys *r)
{
    if (!r->failed) {
        r->failed = true;
        err_set(r->err, ERR_FORMAT, "key %s is missing", r->key);
    }
}

bool model_key_u32(struct model_keys *r, const char *name, uint32_t *out, uint32_t min,
                   uint32_t max)
{
    bool found = false;
    uint32_t value = 0;
    struct str key = model_key_of(r, name);
    if (r->failed) {
        return false;
    }
    if (!gguf_get_u32(r->gguf, key, &value, &found, r->err)) {
        r->failed = true;
        return false;
    }
    if (found && (value < min || value > max)) {
        char why[64];
        snprintf(why, sizeof why, "must be %u to %u", min, max);
        return model_key_fail(r, value, why);
    }
    *out = found ? value : *out;
    return found;
}

void model_key_need_u32(struct model_keys *r, const char *name, uint32_t *out, uint32_t min,
                        uint32_t max)
{
    if (!model_key_u32(r, name, out, min, max)) {
        fail_missing(r);
    }
}

static bool check_real(struct model_keys *r, double value, double min, double max)
{
    if (value >= min && value <= max) {
        return true;
    }
    r->failed = true;
    return err_set(r->err, ERR_FORMAT, "key %s is %g: must be %g to %g", r->key, value, min, max);
}

bool model_key_real(struct model_keys *r, const char *name, double *out, double min, double max)
{
    bool found = false;
    float value = 0;
    struct str key = model_key_of(r, name);
    if (r->failed) {
        return false;
    }
    if (!gguf_get_f32(r->gguf, key, &value, &found, r->err)) {
        r->failed = true;
        return false;
    }
    if (found && !check_real(r, (double)value, min, max)) {
        return false;
    }
    *out = found ? (double)value : *out;
    return found;
}

bool model_key_bool(struct model_keys *r, const char *name, bool *out)
{
    bool found = false;
    struct str key = model_key_of(r, name);
    if (!r->failed && !gguf_get_bool(r->gguf, key, out, &found, r->err)) {
        r->failed = true;
    }
    return found && !r->failed;
}

static bool is_real(enum gguf_kind kind)
{
    return kind == GGUF_F32 || kind == GGUF_F64;
}

/* The array of that name, or NULL; one that is too short or of another kind fails. */
static const struct gguf_value *find_array(struct model_keys *r, const char *name, uint32_t count,
                                           bool wants_reals)
{
    const struct gguf_entry *entry = gguf_find(r->gguf, model_key_of(r, name));
    if (!entry || entry->value.kind != GGUF_ARRAY) {
        return NULL;
    }
    const struct gguf_value *value = &entry->value;
    bool is_wrong = value->item_kind == GGUF_STRING || value->item_kind == GGUF_BOOL ||
                    value->item_kind == GGUF_ARRAY || is_real(value->item_kind) != wants_reals;
    if (is_wrong) {
        r->failed = true;
        err_set(r->err, ERR_FORMAT, "key %s: an array of %s is needed", r->key,
                wants_reals ? "real numbers" : "integers");
    } else if (value->count < count) {
        model_key_fail(r, value->count, "an array with one item for each layer is needed");
    }
    return value;
}

bool model_key_layers(struct model_keys *r, const char *name, uint32_t count, uint32_t *out,
                      size_t stride, uint32_t min, uint32_t max)
{
    uint32_t all = 0;
    const struct gguf_value *array = r->failed ? NULL : find_array(r, name, count, false);
    if (r->failed || (!array && !model_key_u32(r, name, &all, min, max))) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        int64_t item = array ? gguf_item_i64(array, i) : all;
        if (item < (int64_t)min || item > (int64_t)max) {
            r->failed = true;
            return err_set(r->err, ERR_FORMAT, "key %s: item %u is %" PRId64 ": must be %u to %u",
                           r->key, i, item, min, max);
        }
        uint32_t number = (uint32_t)item;
        memcpy((char *)out + i * stride, &number, sizeof number);
    }
    return true;
}

void model_key_need_layers(struct model_keys *r, const char *name, uint32_t count, uint32_t *out,
                           size_t stride, uint32_t min, uint32_t max)
{
    if (!model_key_layers(r, name, count, out, stride, min, max)) {
        fail_missing(r);
    }
}

void model_key_need_reals(struct model_keys *r, const char *name, uint32_t count, double *out,
                          size_t stride, double min, double max)
{
    double all = 0;
    const struct gguf_value *array = r->failed ? NULL : find_array(r, name, count, true);
    if (!r->failed && !array && !model_key_real(r, name, &all, min, max)) {
        fail_missing(r);
    }
    for (uint32_t i = 0; i < count && !r->failed; i++) {
        double item = array ? gguf_item_f64(array, i) : all;
        if (check_real(r, item, min, max)) {
            memcpy((char *)out + i * stride, &item, sizeof item);
        }
    }
}
