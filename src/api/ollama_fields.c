/* Bodies of POST /api/generate and /api/chat: their fields. Messages and tools are read in
 * ollama_messages.c, options and keep_alive in ollama_options.c. */
#include <stdio.h>

#include "api/ollama.h"
#include "base/json.h"

#define SLOT(member) offsetof(struct gen_request, member)
#define REFUSED(field, reason)                                                                     \
    {                                                                                              \
        .name = field, .kind = API_REFUSED, .note = reason                                         \
    }

/* ---- other fields of both ---- */

static bool refuse(const struct api_field *field, struct err *err)
{
    return err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                         field->name, field->note);
}

/* Values that say nothing pass: "" and []. */
bool api_ollama_empty(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err)
{
    (void)request;
    bool is_empty = (json_is_string(value) && json_string_length(value) == 0) ||
                    (json_is_array(value) && json_array_size(value) == 0);
    return is_empty || refuse(field, err);
}

/* Absent or false is how hearth works; true is refused. */
static bool apply_never(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    (void)request;
    if (!json_is_boolean(value)) {
        return api_type_error(field->name, "a boolean", value, err);
    }
    return json_is_false(value) || refuse(field, err);
}

static bool apply_think(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    static const char *const levels[] = {"low", "medium", "high", "max"};
    struct str level = json_str(value);
    if (json_is_boolean(value)) {
        request->reasoning.mode = json_is_true(value) ? GEN_REASONING_ON : GEN_REASONING_OFF;
        return true;
    }
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a boolean or a level", value, err);
    }
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (str_eq(level, str_of(levels[i]))) {
            request->reasoning.mode = GEN_REASONING_ON;
            request->reasoning.effort = level;
            return true;
        }
    }
    return err_set_param(err, ERR_INVALID, field->name,
                         "'think' must be true, false, 'low', 'medium', 'high' or 'max'");
}

/* "json", a schema, or "" for neither. */
static bool apply_format(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    struct str word = json_str(value);
    char quoted[STR_QUOTE_MAX];
    if (json_is_object(value)) {
        request->format = GEN_FORMAT_SCHEMA;
        request->schema = value;
        request->schema_strict = true;
        return true;
    }
    if (!json_is_string(value)) {
        return api_type_error(field->name, "'json' or a schema", value, err);
    }
    if (str_eq(word, STR("json"))) {
        request->format = GEN_FORMAT_JSON_OBJECT;
        return true;
    }
    return word.len == 0 ||
           err_set_param(err, ERR_INVALID, field->name, "'%s' is no format; 'json' and schemas are",
                         str_quote(quoted, word));
}

static const struct api_field common_fields[] = {
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model), .is_required = true},
    {.name = "stream", .kind = API_BOOL, .offset = SLOT(stream), .note = "true by default"},
    {.name = "options",
     .kind = API_CUSTOM,
     .apply = api_ollama_options,
     .note = "see the options below"},
    {.name = "keep_alive",
     .kind = API_CUSTOM,
     .apply = api_ollama_keep_alive,
     .note = "seconds or a duration; negative: for ever; 0: unloaded when nobody uses it"},
    {.name = "format",
     .kind = API_CUSTOM,
     .apply = apply_format,
     .note = "'json' or a JSON schema; answers are valid by construction"},
    {.name = "think",
     .kind = API_CUSTOM,
     .apply = apply_think,
     .note = "true, false, or a level, told to the template"},
    {.name = "logprobs", .kind = API_BOOL, .offset = SLOT(wants_logprobs)},
    {.name = "top_logprobs", .kind = API_U32, .offset = SLOT(top_logprobs), .max = ENGINE_TOP_MAX},
    {.name = "truncate",
     .kind = API_CUSTOM,
     .apply = apply_never,
     .is_limited = true,
     .note = "a prompt that does not fit is an error, never cut"},
    {.name = "shift",
     .kind = API_CUSTOM,
     .apply = apply_never,
     .is_limited = true,
     .note = "an answer ends with the context; nothing is dropped from it"},
    {.name = "stream_interval",
     .kind = API_U32,
     .offset = SLOT(stream_interval),
     .min = 1,
     .max = 4096,
     .note = "an extension: tokens per line"},
    {0},
};

/* ---- generate ---- */

/* Checked and used by parse, because one decides about the other. */
static bool apply_text(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || api_type_error(field->name, "a string", value, err);
}

static bool apply_raw(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err)
{
    (void)request;
    return json_is_boolean(value) || api_type_error(field->name, "a boolean", value, err);
}

static bool apply_context(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        json_int_t id = json_integer_value(item);
        char path[48];
        snprintf(path, sizeof path, "context[%zu]", i);
        if (!json_is_integer(item)) {
            return api_type_error(path, "a token id", item, err);
        }
        if (id < 0 || id > INT32_MAX) {
            return err_set_param(err, ERR_INVALID, path, "token id %lld is outside the vocabulary",
                                 (long long)id);
        }
        if (!text_ids_add(&request->prefix, (text_id)id)) {
            return err_set_memory(err, json_array_size(value) * sizeof(text_id));
        }
    }
    return true;
}

static const struct api_field generate_fields[] = {
    {.name = "prompt",
     .kind = API_CUSTOM,
     .apply = apply_text,
     .note = "an empty or absent one loads the model"},
    {.name = "system", .kind = API_CUSTOM, .apply = apply_text},
    {.name = "raw",
     .kind = API_CUSTOM,
     .apply = apply_raw,
     .note = "the prompt is the whole text, special tokens included"},
    {.name = "context",
     .kind = API_CUSTOM,
     .apply = apply_context,
     .note = "as an earlier answer gave it"},
    {.name = "suffix",
     .kind = API_CUSTOM,
     .apply = apply_text,
     .note = "what comes behind the answer, for models with tokens for that"},
    {.name = "images",
     .kind = API_CUSTOM,
     .apply = api_ollama_empty,
     .is_limited = true,
     .note = "models here see no images"},
    {.name = "template",
     .kind = API_TEXT,
     .offset = SLOT(template_text),
     .note = "a Jinja template instead of the model's own"},
    REFUSED("width", "models here make no images"),
    REFUSED("height", "models here make no images"),
    REFUSED("steps", "models here make no images"),
    {0},
};

const struct api_field *const api_ollama_generate_tables[] = {generate_fields, common_fields, NULL};

/* Sampling as Ollama documents it when nothing is said. */
static void init(struct gen_request *request, enum gen_kind kind)
{
    api_request_init(request, kind);
    request->is_tagged = true;
    request->stream = true;
    request->sampling.temperature = 0.8f;
    request->sampling.top_k = 40;
    request->sampling.top_p = 0.9f;
    request->sampling.repeat_penalty = 1.1f;
    request->sampling.repeat_last_n = 64;
}

static bool finish(struct gen_request *request, const char *path, bool is_empty, struct err *err)
{
    if (request->top_logprobs > 0 && !request->wants_logprobs) {
        return err_set_param(err, ERR_INVALID, "top_logprobs",
                             "'top_logprobs' needs 'logprobs' to be true");
    }
    request->is_dry = is_empty;
    request->only_unloads = is_empty && request->has_keep && request->keep_ns == 0;
    if (is_empty) {
        request->stream = false; /* a load has one answer in both cases */
        return true;
    }
    request->prompts = ARENA_NEW(&request->arena, struct gen_prompt);
    if (!request->prompts) {
        return err_set_memory(err, sizeof *request->prompts);
    }
    request->prompt_count = 1;
    snprintf(request->prompts[0].path, sizeof request->prompts[0].path, "%s", path);
    return true;
}

bool api_ollama_add_message(struct gen_request *request, const char *role, const json_t *content)
{
    json_t *message = json_object();
    return json_object_set_new(message, "role", json_string(role)) == 0 &&
                   json_object_set(message, "content", (json_t *)(uintptr_t)content) == 0
               ? json_array_append_new(request->messages, message) == 0
               : (json_decref(message), false);
}

bool api_ollama_parse_generate(struct gen_request *request, struct str body, struct err *err)
{
    init(request, GEN_CHAT);
    if (!api_request_read(request, body, err) ||
        !api_fields_apply(request, request->body, api_ollama_generate_tables, err)) {
        return false;
    }
    const json_t *prompt = json_object_get(request->body, "prompt");
    const json_t *system = json_object_get(request->body, "system");
    const json_t *suffix = json_object_get(request->body, "suffix");
    bool is_raw = json_is_true(json_object_get(request->body, "raw"));
    struct str text = json_str(prompt);
    if (!finish(request, "prompt", text.len == 0, err)) {
        return false;
    }
    if (request->is_dry) {
        return true;
    }
    if (is_raw || json_str(suffix).len > 0) {
        const char *name = is_raw ? "raw" : "suffix";
        if (json_str(system).len > 0 || request->prefix.count > 0 || request->template_text.len) {
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s' does not go with 'system', 'template' or 'context'", name);
        }
        request->kind = GEN_TEXT;
        request->prompts[0].text = text;
        request->prompts[0].parses_special = is_raw;
        request->prompts[0].has_suffix = json_str(suffix).len > 0;
        request->prompts[0].suffix = json_str(suffix);
        return true;
    }
    request->keeps_text = true; /* for the context that the answer ends with */
    request->messages = json_array();
    bool ok = json_str(system).len == 0 || api_ollama_add_message(request, "system", system);
    return (ok && api_ollama_add_message(request, "user", prompt)) || err_set_memory(err, text.len);
}

/* ---- chat ---- */

static const struct api_field chat_fields[] = {
    {.name = "messages",
     .kind = API_CUSTOM,
     .apply = api_ollama_messages,
     .note = "fields of a message see below; a final assistant message is continued; an empty list "
             "loads the model"},
    {.name = "tools",
     .kind = API_CUSTOM,
     .apply = api_ollama_tools,
     .note = "functions, as OpenAI's chat has them"},
    {0},
};

const struct api_field *const api_ollama_chat_tables[] = {chat_fields, common_fields, NULL};

bool api_ollama_parse_chat(struct gen_request *request, struct str body, struct err *err)
{
    init(request, GEN_CHAT);
    if (!api_request_read(request, body, err) ||
        !api_fields_apply(request, request->body, api_ollama_chat_tables, err)) {
        return false;
    }
    size_t count = json_array_size(request->messages);
    const json_t *last = count ? json_array_get(request->messages, count - 1) : NULL;
    request->keeps_text = request->tools != NULL; /* a call is told as a whole */
    request->continues_final = str_eq(json_str(json_object_get(last, "role")), STR("assistant")) &&
                               str_trim(json_str(json_object_get(last, "content"))).len > 0;
    return finish(request, "messages", count == 0, err);
}
