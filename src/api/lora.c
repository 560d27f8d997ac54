#include "api/lora.h"

#include <math.h>

#include "api/llama.h"
#include "base/json.h"

/* ---- a list of scales ---- */

static bool take_item(const json_t *item, const char *param, uint32_t *count,
                      float scales[MODEL_ADAPTERS_MAX], struct err *err)
{
    const json_t *id = json_object_get(item, "id"), *scale = json_object_get(item, "scale");
    if (!json_is_object(item) || json_object_size(item) != 2 || !json_is_integer(id) ||
        !json_is_number(scale)) {
        return err_set_param(err, ERR_TYPE, param,
                             "adapters are a list of {\"id\":number,\"scale\":number}");
    }
    const json_int_t number = json_integer_value(id);
    const double value = json_number_value(scale);
    if (number < 0 || number >= MODEL_ADAPTERS_MAX) {
        return err_set_param(err, ERR_INVALID, param, "there is no adapter %" JSON_INTEGER_FORMAT,
                             number);
    }
    if (!(fabs(value) <= ENGINE_SCALE_MAX)) {
        return err_set_param(err, ERR_INVALID, param, "the scale %g is not between -%d and %d",
                             value, ENGINE_SCALE_MAX, ENGINE_SCALE_MAX);
    }
    scales[number] = (float)value;
    *count = (uint32_t)number + 1 > *count ? (uint32_t)number + 1 : *count;
    return true;
}

/* count becomes the highest named id and one. */
static bool take_list(const json_t *list, const char *param, uint32_t *count,
                      float scales[MODEL_ADAPTERS_MAX], struct err *err)
{
    bool ok = json_is_array(list) || api_type_error(param, "an array", list, err);
    *count = 0;
    for (size_t i = 0; i < MODEL_ADAPTERS_MAX; i++) {
        scales[i] = 0;
    }
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        ok = take_item(json_array_get(list, i), param, count, scales, err);
    }
    return ok;
}

bool api_apply_lora(struct gen_request *request, const struct api_field *field, const json_t *value,
                    struct err *err)
{
    request->has_scales = true;
    return take_list(value, field->name, &request->scale_count, request->scales, err);
}

/* ---- routes ---- */

/* The engine of the model that the query names, or of the only one; it must be loaded. */
static struct engine *find_engine(struct api_call *call, struct route_entry *entry, struct err *err)
{
    static const char *const names[] = {"model", NULL};
    char quoted[STR_QUOTE_MAX];
    struct engine *engine = NULL;
    if (!api_call_check_queries(call, names, err) || !api_llama_find_entry(call, entry, err)) {
        return NULL;
    }
    if (!entry->local) {
        err_set_param(err, ERR_BUSY, "model", "the model '%s' is not loaded",
                      str_quote(quoted, entry->id));
    } else {
        engine = route_local_engine(entry->local);
        if (!engine) {
            err_set_param(err, ERR_UNSUPPORTED, "model",
                          "the model '%s' makes vectors of texts, it has no adapters",
                          str_quote(quoted, entry->id));
        }
    }
    if (!engine) {
        route_entry_deinit(entry);
    }
    return engine;
}

static size_t count_of(const struct route_entry *entry)
{
    const struct route_adapters *adapters = route_local_params_of(entry->local)->adapters;
    return adapters ? adapters->count : 0;
}

bool api_lora_list(struct api_call *call, struct err *err)
{
    struct route_entry entry;
    struct buf *out = &call->out;
    float scales[MODEL_ADAPTERS_MAX];
    struct engine *engine = find_engine(call, &entry, err);
    if (!engine) {
        return false;
    }
    engine_scales(engine, scales);
    buf_add_char(out, '[');
    for (size_t i = 0; i < count_of(&entry); i++) {
        const char *path = route_local_params_of(entry.local)->adapters->items[i].path;
        buf_add_format(out, "%s{\"id\":%zu,\"path\":", i ? "," : "", i);
        json_write_string(out, str_of(path));
        buf_add_format(out, ",\"scale\":%.9g}", (double)scales[i]);
    }
    buf_add_char(out, ']');
    route_entry_deinit(&entry);
    return true;
}

bool api_lora_set(struct api_call *call, struct err *err)
{
    struct route_entry entry;
    float scales[MODEL_ADAPTERS_MAX];
    uint32_t count = 0;
    json_t *list = json_parse(call->body, NULL, err);
    bool ok = list && take_list(list, "lora", &count, scales, err);
    json_decref(list);
    struct engine *engine = ok ? find_engine(call, &entry, err) : NULL;
    if (!engine) {
        return false;
    }
    if (count > count_of(&entry)) {
        ok = err_set_param(err, ERR_INVALID, "lora", "adapter %u of a model with %zu adapters",
                           count - 1, count_of(&entry));
    }
    ok = ok && engine_set_scales(engine, scales, err);
    route_entry_deinit(&entry);
    buf_add_text(&call->out, "{\"success\":true}");
    return ok;
}
