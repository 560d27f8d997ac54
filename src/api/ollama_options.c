/* The options of /api/generate and /api/chat, and keep_alive. Those of loading pass where the model
 * is loaded in that way; the others are refused by name. */
#include "api/ollama.h"
#include "base/json.h"

/* ---- options ---- */

#define SLOT(member) offsetof(struct gen_request, member)

static bool integer(const struct api_field *field, const json_t *value, json_int_t *out,
                    struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    *out = json_integer_value(value);
    if (*out < (json_int_t)field->min || *out > (json_int_t)field->max) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid value for '%s': must be between %.15g and %.15g", field->name,
                             field->min, field->max);
    }
    return true;
}

/* -1: until the end, -2: until the context is full; here both end with the context. */
static bool apply_predict(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    json_int_t tokens = 0;
    if (!integer(field, value, &tokens, err)) {
        return false;
    }
    request->has_max_tokens = tokens >= 0;
    request->max_tokens = tokens >= 0 ? (uint32_t)tokens : 0;
    return true;
}

/* -1 chooses one, as no seed does. */
static bool apply_seed(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    if (json_is_integer(value) && json_integer_value(value) == -1) {
        request->has_seed = false;
        return true;
    }
    return api_apply_seed(request, field, value, err);
}

/* Options of the loading to which the loaded model gives one answer: these values are what is. */
static bool apply_satisfied(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    static const struct satisfied {
        const char *name;
        bool when_true, when_false;
    } rows[] = {
        {"numa", false, true},           {"low_vram", true, true},
        {"logits_all", false, true},     {"vocab_only", false, true},
        {"use_mmap", false, true},       {"use_mlock", false, true},
        {"embedding_only", false, true}, {"penalize_newline", true, false},
    };
    (void)request;
    if (!json_is_boolean(value)) {
        return api_type_error(field->name, "a boolean", value, err);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, field->name) == 0 &&
            (json_is_true(value) ? rows[i].when_true : rows[i].when_false)) {
            return true;
        }
    }
    return err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' cannot be %s: %s", field->name,
                         json_is_true(value) ? "true" : "false", field->note);
}

/* Integers of which [min, max] is what is. */
static bool apply_within(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    (void)request;
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    json_int_t number = json_integer_value(value);
    return (number >= (json_int_t)field->min && number <= (json_int_t)field->max) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' cannot be %lld: %s", field->name,
                         (long long)number, field->note);
}

static bool apply_tail_free(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    (void)request;
    if (!json_is_number(value)) {
        return api_type_error(field->name, "a number", value, err);
    }
    double z = json_number_value(value);
    return (z >= 1 && z <= 1) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

static bool apply_kv(struct gen_request *request, const struct api_field *field,
                     const json_t *value, struct err *err)
{
    if (!json_is_boolean(value)) {
        return api_type_error(field->name, "a boolean", value, err);
    }
    request->load.kv = json_is_true(value) ? GEN_KV_F16 : GEN_KV_F32;
    return true;
}

const struct api_field api_ollama_option_fields[] = {
    /* length */
    {.name = "num_predict",
     .kind = API_CUSTOM,
     .apply = apply_predict,
     .min = -2,
     .max = INT32_MAX,
     .note = "-1 and -2: until the context is full"},
    {.name = "num_ctx",
     .kind = API_U32,
     .offset = SLOT(ctx_tokens),
     .min = 1,
     .max = INT32_MAX,
     .note = "prompt and answer together; reserves no more of the cache; more than the model is "
             "loaded with is refused with both counts"},
    {.name = "num_keep",
     .kind = API_CUSTOM,
     .apply = apply_within,
     .min = -1,
     .max = INT32_MAX,
     .note = "nothing is ever dropped from a context, so all tokens are kept"},
    {.name = "stop", .kind = API_CUSTOM, .apply = api_apply_stop},
    /* sampling */
    {.name = "seed", .kind = API_CUSTOM, .apply = apply_seed, .note = "-1 chooses one"},
    {.name = "temperature", .kind = API_F32, .offset = SLOT(sampling.temperature), .max = 2},
    {.name = "top_k", .kind = API_U32, .offset = SLOT(sampling.top_k), .max = INT32_MAX},
    {.name = "top_p", .kind = API_F32, .offset = SLOT(sampling.top_p), .max = 1},
    {.name = "min_p", .kind = API_F32, .offset = SLOT(sampling.min_p), .max = 1},
    {.name = "typical_p", .kind = API_F32, .offset = SLOT(sampling.typical_p), .max = 1},
    {.name = "tfs_z",
     .kind = API_CUSTOM,
     .apply = apply_tail_free,
     .is_limited = true,
     .note = "there is no tail-free sampling; only 1, which is off"},
    {.name = "repeat_last_n",
     .kind = API_CUSTOM,
     .apply = api_apply_window,
     .offset = SLOT(sampling.repeat_last_n),
     .min = -1,
     .max = INT32_MAX},
    {.name = "repeat_penalty",
     .kind = API_F32,
     .offset = SLOT(sampling.repeat_penalty),
     .min = 0.01,
     .max = 10},
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
    {.name = "penalize_newline",
     .kind = API_CUSTOM,
     .apply = apply_satisfied,
     .is_limited = true,
     .note = "penalties know no exceptions"},
    {.name = "mirostat",
     .kind = API_CUSTOM,
     .apply = api_apply_mirostat,
     .note = "0 or 2; version 1 is refused"},
    {.name = "mirostat_tau", .kind = API_F32, .offset = SLOT(sampling.mirostat_tau), .max = 100},
    {.name = "mirostat_eta", .kind = API_F32, .offset = SLOT(sampling.mirostat_eta), .max = 1},
    /* loading: passes if the model is loaded in that way */
    {.name = "num_thread",
     .kind = API_U32,
     .offset = SLOT(load.threads),
     .max = INT32_MAX,
     .note = "as the model is loaded, or 0"},
    {.name = "num_batch",
     .kind = API_U32,
     .offset = SLOT(load.batch_rows),
     .max = INT32_MAX,
     .note = "at most what the model is loaded with"},
    {.name = "num_gpu",
     .kind = API_CUSTOM,
     .apply = apply_within,
     .min = -1,
     .max = 0,
     .note = "models run on the CPU; -1 (choose) and 0 are fine"},
    {.name = "main_gpu",
     .kind = API_CUSTOM,
     .apply = apply_within,
     .min = 0,
     .max = 0,
     .note = "models run on the CPU; 0 is fine"},
    {.name = "low_vram",
     .kind = API_CUSTOM,
     .apply = apply_satisfied,
     .is_limited = true,
     .note = "no graphics memory is used"},
    {.name = "f16_kv",
     .kind = API_CUSTOM,
     .apply = apply_kv,
     .note = "true: the cache holds F16, false: F32"},
    {.name = "numa",
     .kind = API_CUSTOM,
     .apply = apply_satisfied,
     .is_limited = true,
     .note = "memory is not placed by node"},
    {.name = "use_mmap",
     .kind = API_CUSTOM,
     .apply = apply_satisfied,
     .is_limited = true,
     .note = "weights are repacked in memory when they are loaded"},
    {.name = "use_mlock",
     .kind = API_CUSTOM,
     .apply = apply_satisfied,
     .is_limited = true,
     .note = "memory is not locked"},
    {.name = "vocab_only",
     .kind = API_CUSTOM,
     .apply = apply_satisfied,
     .is_limited = true,
     .note = "models are loaded whole"},
    {.name = "logits_all",
     .kind = API_CUSTOM,
     .apply = apply_satisfied,
     .is_limited = true,
     .note = "logits are computed where they are needed"},
    {.name = "embedding_only",
     .kind = API_CUSTOM,
     .apply = apply_satisfied,
     .is_limited = true,
     .note = "models here generate"},
    {0},
};

bool api_ollama_options(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    static const struct api_field *const tables[] = {api_ollama_option_fields, NULL};
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    return api_fields_apply(request, value, tables, err) || err_wrap_param(err, "options");
}

/* ---- keep_alive ---- */

/* "1.5" of a unit of so many nanoseconds, added to *ns; too much is the largest there is. */
static bool add_part(struct str number, double unit_ns, int64_t *ns)
{
    double value;
    if (!str_to_f64(number, &value)) {
        return false;
    }
    double sum = (double)*ns + value * unit_ns;
    *ns = sum >= 9.2e18 ? INT64_MAX : (int64_t)sum;
    return true;
}

bool api_ollama_duration(struct str text, int64_t *ns)
{
    static const struct unit {
        const char *name;
        double ns;
    } units[] = {{"ns", 1},  {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"ms", 1e6},
                 {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    bool is_negative = str_eat(&text, STR("-")), any = false;
    *ns = 0;
    if (!is_negative) {
        str_eat(&text, STR("+"));
    }
    while (text.len > 0) {
        size_t digits = 0;
        while (digits < text.len &&
               ((text.ptr[digits] >= '0' && text.ptr[digits] <= '9') || text.ptr[digits] == '.')) {
            digits++;
        }
        struct str number = str_slice(text, 0, digits), rest = str_slice(text, digits, text.len);
        double unit_ns = rest.len == 0 && !any ? 1e9 : 0; /* a bare number is seconds */
        for (size_t i = 0; unit_ns <= 0 && i < sizeof units / sizeof *units; i++) {
            struct str behind = rest;
            bool is_end = str_eat(&behind, str_of(units[i].name)) &&
                          (behind.len == 0 || (behind.ptr[0] >= '0' && behind.ptr[0] <= '9') ||
                           behind.ptr[0] == '.');
            if (is_end) {
                unit_ns = units[i].ns;
                rest = behind;
            }
        }
        if (unit_ns <= 0 || !add_part(number, unit_ns, ns)) {
            return false;
        }
        any = true;
        text = rest;
    }
    if (is_negative && *ns > 0) {
        *ns = ROUTE_KEEP_FOREVER;
    }
    return any;
}

/* How long the model stays loaded after this request. */
bool api_ollama_keep_alive(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    if (json_is_string(value)) {
        char quoted[STR_QUOTE_MAX];
        if (!api_ollama_duration(json_str(value), &request->keep_ns)) {
            return err_set_param(err, ERR_INVALID, field->name,
                                 "invalid duration '%s' in 'keep_alive': write \"5m\", \"1h30m\", "
                                 "or a number of seconds",
                                 str_quote(quoted, json_str(value)));
        }
    } else if (json_is_number(value)) {
        double seconds = json_number_value(value);
        request->keep_ns = seconds < 0        ? ROUTE_KEEP_FOREVER
                           : seconds >= 9.2e9 ? INT64_MAX
                                              : (int64_t)(seconds * 1e9);
    } else {
        return api_type_error(field->name, "a duration or a number of seconds", value, err);
    }
    request->has_keep = true;
    return true;
}
