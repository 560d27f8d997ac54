#include "api/fields.h"

#include <math.h>
#include <stdio.h>

#include "api/lora.h"
#include "base/json.h"

const char *api_kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

void api_error_text(const struct err *failure, struct buf *out)
{
    struct str field = str_of(failure->param), message = str_of(failure->text);
    if (field.len && str_find(message, field, 0) == SIZE_MAX) {
        buf_add(out, field);
        buf_add_text(out, ": ");
    }
    buf_add(out, message);
}

bool api_type_error(const char *param, const char *wanted, const json_t *got, struct err *err)
{
    if (param[0] == 0) { /* an item; err_wrap_param will say which */
        return err_set_param(err, ERR_TYPE, param, "invalid type: expected %s, but got %s", wanted,
                             api_kind_of(got));
    }
    return err_set_param(err, ERR_TYPE, param, "invalid type for '%s': expected %s, but got %s",
                         param, wanted, api_kind_of(got));
}

static bool range_error(const struct api_field *field, struct err *err)
{
    return err_set_param(err, ERR_INVALID, field->name,
                         "invalid value for '%s': must be between %.15g and %.15g", field->name,
                         field->min, field->max);
}

static bool put_number(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    void *slot = (char *)request + field->offset;
    double number = json_number_value(value);
    if (!(number >= field->min && number <= field->max)) {
        return range_error(field, err);
    }
    if (field->kind == API_F32) {
        *(float *)slot = (float)number;
    } else {
        json_int_t whole = json_integer_value(value);
        *(uint32_t *)slot = whole > UINT32_MAX ? UINT32_MAX : (uint32_t)whole;
    }
    return true;
}

static bool put(struct gen_request *request, const struct api_field *field, const json_t *value,
                struct err *err)
{
    void *slot = (char *)request + field->offset;
    switch (field->kind) {
    case API_BOOL:
        if (!json_is_boolean(value)) {
            return api_type_error(field->name, "a boolean", value, err);
        }
        *(bool *)slot = json_is_true(value);
        return true;
    case API_U32:
        if (!json_is_integer(value)) {
            return api_type_error(field->name, "an integer", value, err);
        }
        return put_number(request, field, value, err);
    case API_F32:
        if (!json_is_number(value)) {
            return api_type_error(field->name, "a number", value, err);
        }
        return put_number(request, field, value, err);
    case API_TEXT:
        if (!json_is_string(value)) {
            return api_type_error(field->name, "a string", value, err);
        }
        *(struct str *)slot = json_str(value);
        return true;
    case API_CUSTOM:
        return field->apply(request, field, value, err);
    case API_REFUSED:
        break;
    }
    return err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

static const struct api_field *find(const struct api_field *const *tables, const char *name)
{
    for (; *tables; tables++) {
        for (const struct api_field *field = *tables; field->name; field++) {
            if (strcmp(field->name, name) == 0) {
                return field;
            }
        }
    }
    return NULL;
}

bool api_unknown_error(const char *name, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    str_quote(quoted, str_of(name));
    return err_set_param(err, ERR_UNKNOWN, quoted, "unknown parameter: '%s'", quoted);
}

bool api_fields_apply(struct gen_request *request, const json_t *body,
                      const struct api_field *const *tables, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)body; /* jansson's iterators take no const */
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const json_t *value = json_object_iter_value(it);
        const struct api_field *field = find(tables, json_object_iter_key(it));
        if (!field) {
            return api_unknown_error(json_object_iter_key(it), err);
        }
        if (!json_is_null(value) && !put(request, field, value, err)) {
            return false;
        }
    }
    for (; *tables; tables++) {
        for (const struct api_field *field = *tables; field->name; field++) {
            const json_t *value = json_object_get(object, field->name);
            if (field->is_required && (!value || json_is_null(value))) {
                return err_set_param(err, ERR_MISSING, field->name,
                                     "missing required parameter: '%s'", field->name);
            }
        }
    }
    return true;
}

/* ---- fields with rules of their own ---- */

bool api_apply_seed(struct gen_request *request, const struct api_field *field, const json_t *value,
                    struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    request->sampling.seed = (uint64_t)json_integer_value(value);
    request->has_seed = true;
    return true;
}

/* A window in tokens: -1 is the whole context. */
bool api_apply_window(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    json_int_t tokens = json_integer_value(value);
    if (tokens < -1 || tokens > INT32_MAX) {
        return range_error(field, err);
    }
    uint32_t *slot = (uint32_t *)((char *)request + field->offset);
    *slot = tokens < 0 ? UINT32_MAX : (uint32_t)tokens;
    return true;
}

bool api_apply_max_tokens(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    json_int_t tokens = json_integer_value(value);
    json_int_t least = request->kind == GEN_CHAT ? 1 : 0;
    if (tokens < least) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid value for '%s': must be at least %d", field->name,
                             (int)least);
    }
    uint32_t cut = tokens > UINT32_MAX ? UINT32_MAX : (uint32_t)tokens;
    if (request->has_max_tokens && request->max_tokens != cut) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "'max_tokens' and 'max_completion_tokens' contradict each other");
    }
    request->has_max_tokens = true;
    request->max_tokens = cut;
    return true;
}

bool api_apply_mirostat(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    if (json_integer_value(value) != 0 && json_integer_value(value) != 2) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid value for 'mirostat': must be 0 (off) or 2");
    }
    request->sampling.mirostat = json_integer_value(value) == 2;
    return true;
}

static bool apply_logit_bias(struct gen_request *request, const struct api_field *field,
                             const json_t *value, struct err *err)
{
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    json_t *object = (json_t *)(uintptr_t)value;
    struct engine_bias *biases =
        ARENA_ARRAY(&request->arena, struct engine_bias, json_object_size(value));
    size_t count = 0;
    if (!biases) {
        return err_set_memory(err, json_object_size(value) * sizeof *biases);
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        char quoted[STR_QUOTE_MAX];
        int64_t id;
        double bias = json_number_value(json_object_iter_value(it));
        struct str key = str_of(json_object_iter_key(it));
        if (!str_to_i64(key, &id) || id < 0 || id > INT32_MAX) {
            return err_set_param(err, ERR_INVALID, field->name,
                                 "invalid key '%s' in 'logit_bias': must be a token id",
                                 str_quote(quoted, key));
        }
        if (!json_is_number(json_object_iter_value(it))) {
            return err_set_param(err, ERR_TYPE, field->name,
                                 "invalid type for the bias of token %lld: expected a number, but "
                                 "got %s",
                                 (long long)id, api_kind_of(json_object_iter_value(it)));
        }
        if (!(bias >= field->min && bias <= field->max)) {
            return err_set_param(err, ERR_INVALID, field->name,
                                 "invalid bias of token %lld: must be between %g and %g",
                                 (long long)id, field->min, field->max);
        }
        biases[count++] = (struct engine_bias){.id = (text_id)id, .bias = (float)bias};
    }
    request->sampling.biases = biases;
    request->sampling.bias_count = count;
    return true;
}

/* A string or a list of strings, each of 1..bytes_max bytes. */
static bool read_strings(struct gen_request *request, const struct api_field *field,
                         const json_t *value, size_t count_max, size_t bytes_max,
                         const struct str **out, size_t *out_count, struct err *err)
{
    bool is_list = json_is_array(value);
    size_t count = is_list ? json_array_size(value) : 1;
    if (!is_list && !json_is_string(value)) {
        return api_type_error(field->name, "a string or an array of strings", value, err);
    }
    if (count > count_max) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid '%s': %zu strings, at most %zu are allowed", field->name,
                             count, count_max);
    }
    struct str *list = ARENA_ARRAY(&request->arena, struct str, count);
    if (!list) {
        return err_set_memory(err, count * sizeof *list);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *item = is_list ? json_array_get(value, i) : value;
        char path[64];
        snprintf(path, sizeof path, is_list ? "%s[%zu]" : "%s", field->name, i);
        if (!json_is_string(item)) {
            return api_type_error(path, "a string", item, err);
        }
        list[i] = json_str(item);
        if (list[i].len == 0 || list[i].len > bytes_max) {
            return err_set_param(err, ERR_INVALID, path,
                                 "invalid value for '%s': must have between 1 and %zu bytes", path,
                                 bytes_max);
        }
    }
    *out = list;
    *out_count = count;
    return true;
}

bool api_apply_stop(struct gen_request *request, const struct api_field *field, const json_t *value,
                    struct err *err)
{
    return read_strings(request, field, value, API_STOPS_MAX, API_STOP_BYTES_MAX, &request->stops,
                        &request->stop_count, err);
}

static bool apply_banned(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    return read_strings(request, field, value, API_BANNED_MAX, API_STOP_BYTES_MAX, &request->banned,
                        &request->banned_count, err);
}

bool api_apply_breakers(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    return read_strings(request, field, value, API_STOPS_MAX, API_STOP_BYTES_MAX,
                        &request->sampling.dry_sequence_breakers,
                        &request->sampling.dry_breaker_count, err);
}

static bool apply_stream_options(struct gen_request *request, const struct api_field *field,
                                 const json_t *value, struct err *err)
{
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    json_t *object = (json_t *)(uintptr_t)value;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const json_t *item = json_object_iter_value(it);
        if (strcmp(json_object_iter_key(it), "include_obfuscation") == 0) {
            if (!json_is_boolean(item) && !json_is_null(item)) {
                return api_type_error("stream_options.include_obfuscation", "a boolean", item, err);
            }
            request->pads_deltas = json_is_true(item);
            continue;
        }
        if (strcmp(json_object_iter_key(it), "include_usage") != 0) {
            api_unknown_error(json_object_iter_key(it), err);
            return err_wrap_param(err, "stream_options");
        }
        if (!json_is_boolean(item) && !json_is_null(item)) {
            return api_type_error("stream_options.include_usage", "a boolean", item, err);
        }
        request->include_usage = json_is_true(item);
    }
    return true;
}

static bool apply_lane(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    static const char *const names[] = {[GEN_LANE_INTERACTIVE] = "interactive",
                                        [GEN_LANE_NORMAL] = "normal",
                                        [GEN_LANE_BATCH] = "batch"};
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    for (int lane = 0; lane < 3; lane++) {
        if (strcmp(json_string_value(value), names[lane]) == 0) {
            request->lane = (enum gen_lane)lane;
            return true;
        }
    }
    return err_set_param(err, ERR_INVALID, field->name,
                         "'%s' is 'interactive', 'normal' or 'batch'", field->name);
}

#define SLOT(member) offsetof(struct gen_request, member)

const struct api_field api_fields_shared[] = {
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model), .is_required = true},
    /* delivery */
    {.name = "stream", .kind = API_BOOL, .offset = SLOT(stream)},
    {.name = "stream_options", .kind = API_CUSTOM, .apply = apply_stream_options},
    {.name = "n", .kind = API_U32, .offset = SLOT(n), .min = 1, .max = API_CHOICES_MAX},
    {.name = "user", .kind = API_TEXT, .offset = SLOT(user)},
    {.name = "lane",
     .kind = API_CUSTOM,
     .apply = apply_lane,
     .note = "'interactive', 'normal' or 'batch': who is served before whom"},
    {.name = "lora",
     .kind = API_CUSTOM,
     .apply = api_apply_lora,
     .note = "a list of {\"id\",\"scale\"}: adapters of the start, the others are off"},
    /* length */
    {.name = "max_tokens", .kind = API_CUSTOM, .apply = api_apply_max_tokens},
    {.name = "min_tokens", .kind = API_U32, .offset = SLOT(min_tokens), .max = INT32_MAX},
    {.name = "num_ctx",
     .kind = API_U32,
     .offset = SLOT(ctx_tokens),
     .min = 1,
     .max = INT32_MAX,
     .note = "prompt and answer together; reserves no more of the cache"},
    {.name = "ignore_eos", .kind = API_BOOL, .offset = SLOT(ignore_eos)},
    {.name = "record",
     .kind = API_BOOL,
     .offset = SLOT(record),
     .note = "keeps a record for `hearth replay`, where the server has a folder for them"},
    {.name = "timings", .kind = API_BOOL, .offset = SLOT(wants_timings)},
    {.name = "stop", .kind = API_CUSTOM, .apply = api_apply_stop},
    {.name = "banned_strings", .kind = API_CUSTOM, .apply = apply_banned},
    {0},
};

const struct api_field api_fields_sampling[] = {
    /* OpenAI's */
    {.name = "temperature", .kind = API_F32, .offset = SLOT(sampling.temperature), .max = 2},
    {.name = "top_p", .kind = API_F32, .offset = SLOT(sampling.top_p), .max = 1},
    {.name = "seed", .kind = API_CUSTOM, .apply = api_apply_seed},
    {.name = "presence_penalty",
     .kind = API_F32,
     .offset = SLOT(sampling.presence_penalty),
     .min = -2,
     .max = 2},
    {.name = "frequency_penalty",
     .kind = API_F32,
     .offset = SLOT(sampling.frequency_penalty),
     .min = -2,
     .max = 2},
    {.name = "logit_bias", .kind = API_CUSTOM, .apply = apply_logit_bias, .min = -100, .max = 100},
    /* llama-server's */
    {.name = "top_k", .kind = API_U32, .offset = SLOT(sampling.top_k), .max = INT32_MAX},
    {.name = "min_p", .kind = API_F32, .offset = SLOT(sampling.min_p), .max = 1},
    {.name = "min_keep", .kind = API_U32, .offset = SLOT(sampling.min_keep), .max = INT32_MAX},
    {.name = "typical_p", .kind = API_F32, .offset = SLOT(sampling.typical_p), .max = 1},
    {.name = "top_n_sigma",
     .kind = API_F32,
     .offset = SLOT(sampling.top_n_sigma),
     .min = -1,
     .max = 100},
    {.name = "repeat_penalty",
     .kind = API_F32,
     .offset = SLOT(sampling.repeat_penalty),
     .min = 0.01,
     .max = 10},
    {.name = "repeat_last_n",
     .kind = API_CUSTOM,
     .apply = api_apply_window,
     .offset = SLOT(sampling.repeat_last_n),
     .min = -1,
     .max = INT32_MAX},
    {.name = "dry_multiplier",
     .kind = API_F32,
     .offset = SLOT(sampling.dry_multiplier),
     .max = 100},
    {.name = "dry_base", .kind = API_F32, .offset = SLOT(sampling.dry_base), .min = 1, .max = 100},
    {.name = "dry_allowed_length",
     .kind = API_U32,
     .offset = SLOT(sampling.dry_allowed_length),
     .max = INT32_MAX},
    {.name = "dry_penalty_last_n",
     .kind = API_CUSTOM,
     .apply = api_apply_window,
     .offset = SLOT(sampling.dry_penalty_last_n),
     .min = -1,
     .max = INT32_MAX},
    {.name = "dry_sequence_breakers", .kind = API_CUSTOM, .apply = api_apply_breakers},
    {.name = "xtc_probability",
     .kind = API_F32,
     .offset = SLOT(sampling.xtc_probability),
     .max = 1},
    {.name = "xtc_threshold", .kind = API_F32, .offset = SLOT(sampling.xtc_threshold), .max = 1},
    {.name = "dynatemp_range", .kind = API_F32, .offset = SLOT(sampling.dynatemp_range), .max = 2},
    {.name = "dynatemp_exponent",
     .kind = API_F32,
     .offset = SLOT(sampling.dynatemp_exponent),
     .max = 100},
    {.name = "mirostat", .kind = API_CUSTOM, .apply = api_apply_mirostat},
    {.name = "mirostat_tau", .kind = API_F32, .offset = SLOT(sampling.mirostat_tau), .max = 100},
    {.name = "mirostat_eta", .kind = API_F32, .offset = SLOT(sampling.mirostat_eta), .max = 1},
    {0},
};
