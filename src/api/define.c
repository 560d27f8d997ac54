#include "api/define.h"

#include <string.h>

#include "api/ollama.h"
#include "base/json.h"

/* One setting under the names that the dialects have for it; NULL ends a row. */
static const char *const synonyms[][6] = {
    {"num_predict", "max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", NULL},
    {"stop", "stop_sequences", NULL},
    {"num_thread", NULL},
};

static bool is_in(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return value && !json_is_null(value);
}

/* In the body, or in its "options". */
static bool is_said(const struct gen_request *request, const char *name)
{
    const json_t *options = json_object_get(request->body, "options");
    if (is_in(request->body, name) || is_in(options, name)) {
        return true;
    }
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++) {
        if (strcmp(synonyms[i][0], name) == 0) {
            for (size_t j = 1; synonyms[i][j]; j++) {
                if (is_in(request->body, synonyms[i][j])) {
                    return true;
                }
            }
        }
    }
    return false;
}

static bool apply_parameters(struct gen_request *request, const json_t *parameters, struct err *err)
{
    static const struct api_field *const tables[] = {api_ollama_option_fields, NULL};
    json_t *object = (json_t *)(uintptr_t)parameters, *unsaid = json_object();
    bool ok = unsaid != NULL || err_set_memory(err, sizeof *unsaid);
    for (void *it = json_object_iter(object); ok && it; it = json_object_iter_next(object, it)) {
        const char *name = json_object_iter_key(it);
        if (!is_said(request, name)) {
            ok = json_object_set(unsaid, name, json_object_iter_value(it)) == 0 ||
                 err_set_memory(err, sizeof *unsaid);
        }
    }
    ok = ok && (api_fields_apply(request, unsaid, tables, err) ||
                err_wrap(err, "the model's definition"));
    json_decref(unsaid); /* what was applied borrows from the definition, which the use holds */
    return ok;
}

static bool has_system(const json_t *messages)
{
    struct str role = json_str(json_object_get(json_array_get(messages, 0), "role"));
    return str_eq(role, STR("system")) || str_eq(role, STR("developer"));
}

/* The system prompt first, then the definition's messages, then the client's. */
static bool apply_messages(struct gen_request *request, const struct route_definition *definition,
                           struct err *err)
{
    size_t at = has_system(request->messages) ? 1 : 0;
    bool ok = true;
    if (at == 0 && definition->system.len) {
        json_t *message = json_pack("{s:s,s:s%}", "role", "system", "content",
                                    definition->system.ptr, definition->system.len);
        ok = message && json_array_insert_new(request->messages, 0, message) == 0;
        at = 1;
    }
    for (size_t i = 0; ok && i < json_array_size(definition->messages); i++) {
        ok = json_array_insert(request->messages, at + i,
                               json_array_get(definition->messages, i)) == 0;
    }
    return ok || err_set_memory(err, definition->system.len);
}

bool api_request_define(struct gen_request *request, const struct route_definition *definition,
                        struct err *err)
{
    if (!definition) {
        return true;
    }
    bool ok = !definition->parameters || apply_parameters(request, definition->parameters, err);
    bool is_chat = request->kind == GEN_CHAT && json_array_size(request->messages) > 0;
    return ok && (!is_chat || apply_messages(request, definition, err));
}
