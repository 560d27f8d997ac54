/* Bodies of POST /api/generate and /api/chat: fields and messages. */
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

/* Values that say nothing pass: "", [], false where they are such. */
static bool apply_empty(struct gen_request *request, const struct api_field *field,
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
    if (!json_is_false(value)) {
        return json_is_true(value) || json_is_string(value)
                   ? refuse(field, err)
                   : api_type_error(field->name, "a boolean or a level", value, err);
    }
    if (!request->own_kwargs) {
        request->own_kwargs = json_pack("{s:b}", "enable_thinking", 0);
        request->template_kwargs = request->own_kwargs;
    }
    return request->own_kwargs || err_set_memory(err, 64);
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
     .note = "models stay loaded; 0, which would unload one, is refused"},
    {.name = "format",
     .kind = API_CUSTOM,
     .apply = apply_empty,
     .is_limited = true,
     .note = "no format can be enforced yet"},
    {.name = "think",
     .kind = API_CUSTOM,
     .apply = apply_think,
     .is_limited = true,
     .note = "thinking cannot be separated yet; false tells the template so"},
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
     .apply = apply_empty,
     .is_limited = true,
     .note = "text cannot be filled in yet"},
    {.name = "images",
     .kind = API_CUSTOM,
     .apply = apply_empty,
     .is_limited = true,
     .note = "models here see no images"},
    {.name = "template",
     .kind = API_CUSTOM,
     .apply = apply_empty,
     .is_limited = true,
     .note = "the model's own chat template is used; write the whole prompt with 'raw'"},
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

static bool add_message(struct gen_request *request, const char *role, const json_t *content)
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
    bool is_raw = json_is_true(json_object_get(request->body, "raw"));
    struct str text = json_str(prompt);
    if (!finish(request, "prompt", text.len == 0, err)) {
        return false;
    }
    if (request->is_dry) {
        return true;
    }
    if (is_raw) {
        if (json_str(system).len > 0 || request->prefix.count > 0) {
            return err_set_param(err, ERR_INVALID, "raw",
                                 "'raw' does not go with 'system' or 'context'");
        }
        request->kind = GEN_TEXT;
        request->prompts[0].text = text;
        request->prompts[0].parses_special = true;
        return true;
    }
    request->keeps_text = true; /* for the context that the answer ends with */
    request->messages = json_array();
    bool ok = json_str(system).len == 0 || add_message(request, "system", system);
    return (ok && add_message(request, "user", prompt)) || err_set_memory(err, text.len);
}

/* ---- chat ---- */

static bool message_role(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct str role = json_str(value);
    (void)request;
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    if (str_eq(role, STR("tool"))) {
        return err_set_param(err, ERR_UNSUPPORTED, field->name,
                             "messages of role 'tool' are not supported: this server does not call "
                             "tools yet");
    }
    return str_eq(role, STR("system")) || str_eq(role, STR("user")) ||
           str_eq(role, STR("assistant")) ||
           err_set_param(err, ERR_INVALID, field->name,
                         "invalid role '%s': must be system, user or assistant",
                         str_quote(quoted, role));
}

static const struct api_field message_fields[] = {
    {.name = "role", .kind = API_CUSTOM, .apply = message_role, .is_required = true},
    {.name = "content", .kind = API_CUSTOM, .apply = apply_text},
    {.name = "thinking", .kind = API_CUSTOM, .apply = apply_text},
    {.name = "images",
     .kind = API_CUSTOM,
     .apply = apply_empty,
     .is_limited = true,
     .note = "models here see no images"},
    {.name = "tool_calls",
     .kind = API_CUSTOM,
     .apply = apply_empty,
     .is_limited = true,
     .note = "this server does not call tools yet"},
    {.name = "tool_name",
     .kind = API_CUSTOM,
     .apply = apply_empty,
     .is_limited = true,
     .note = "this server does not call tools yet"},
    {0},
};

static bool read_message(struct gen_request *request, const json_t *given, struct err *err)
{
    static const struct api_field *const tables[] = {message_fields, NULL};
    if (!json_is_object(given)) {
        return api_type_error("", "an object", given, err);
    }
    if (!api_fields_apply(request, given, tables, err)) {
        return false;
    }
    const json_t *role = json_object_get(given, "role"),
                 *content = json_object_get(given, "content");
    const json_t *thinking = json_object_get(given, "thinking");
    if (!json_is_string(content)) {
        return err_set_param(err, ERR_MISSING, "content", "a message needs 'content'");
    }
    if (!add_message(request, json_string_value(role), content)) {
        return err_set_memory(err, json_string_length(content));
    }
    json_t *message = json_array_get(request->messages, json_array_size(request->messages) - 1);
    return json_str(thinking).len == 0 ||
           json_object_set(message, "reasoning_content", (json_t *)(uintptr_t)thinking) == 0 ||
           err_set_memory(err, json_string_length(thinking));
}

bool api_ollama_messages(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    request->messages = json_array();
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!read_message(request, json_array_get(value, i), err)) {
            return err_wrap_param(err, "messages[%zu]", i);
        }
    }
    return true;
}

static const struct api_field chat_fields[] = {
    {.name = "messages",
     .kind = API_CUSTOM,
     .apply = api_ollama_messages,
     .note = "role (system, user, assistant), content, thinking; a final assistant message is "
             "continued; an empty list loads the model"},
    {.name = "tools",
     .kind = API_CUSTOM,
     .apply = apply_empty,
     .is_limited = true,
     .note = "this server does not call tools yet"},
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
    request->continues_final = str_eq(json_str(json_object_get(last, "role")), STR("assistant")) &&
                               str_trim(json_str(json_object_get(last, "content"))).len > 0;
    return finish(request, "messages", count == 0, err);
}
