/* The prompt of POST /completion: "text" | [1, 2] | [1, "text", 2] | {"prompt_string":"text"}, or a
 * list of several of these. */
#include <stdio.h>

#include "api/llama.h"
#include "base/json.h"

/* One prompt that is an object: images beside the text are refused. */
static bool read_object(struct gen_prompt *prompt, const json_t *value, struct err *err)
{
    const json_t *media = json_object_get(value, "multimodal_data");
    const json_t *text = json_object_get(value, "prompt_string");
    if (json_array_size(media) > 0) {
        return err_set_param(err, ERR_UNSUPPORTED, "multimodal_data",
                             "'multimodal_data' is not supported: models here see no images");
    }
    if (!json_is_string(text)) {
        return err_set_param(err, ERR_MISSING, "prompt_string",
                             "a prompt that is an object needs a 'prompt_string'");
    }
    prompt->text = json_str(text);
    return true;
}

/* Ids alone are taken as they are; with texts between them they are tokenised later. */
static bool read_list(struct gen_prompt *prompt, const json_t *list, struct err *err)
{
    bool has_text = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        json_int_t id = json_integer_value(item);
        bool is_ok = json_is_string(item) || json_is_integer(item);
        if (!is_ok) {
            api_type_error("", "a token id or a string", item, err);
        } else if (id < 0 || id > INT32_MAX) {
            is_ok = err_set_param(err, ERR_INVALID, "", "token id %lld is outside the vocabulary",
                                  (long long)id);
        }
        if (!is_ok) {
            return err_wrap_param(err, "[%zu]", i);
        }
        has_text |= json_is_string(item);
    }
    if (has_text) {
        prompt->mixed = list;
        return true;
    }
    prompt->is_ids = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!text_ids_add(&prompt->ids, (text_id)json_integer_value(json_array_get(list, i)))) {
            return err_set_memory(err, json_array_size(list) * sizeof(text_id));
        }
    }
    return true;
}

static bool read_prompt(struct gen_prompt *prompt, const json_t *value, struct err *err)
{
    prompt->parses_special = true;
    if (json_is_string(value)) {
        prompt->text = json_str(value);
        return true;
    }
    if (json_is_object(value)) {
        return read_object(prompt, value, err);
    }
    return json_is_array(value) ? read_list(prompt, value, err)
                                : api_type_error("", "a string, an array or an object", value, err);
}

/* A list is several prompts if each of its items can be one, and one prompt if it has an id. */
static bool is_several(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (json_is_integer(json_array_get(value, i))) {
            return false;
        }
    }
    return json_is_array(value) && json_array_size(value) > 0;
}

bool api_llama_prompt(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err)
{
    bool several = is_several(value);
    size_t count = several ? json_array_size(value) : 1;
    if (json_is_array(value) && json_array_size(value) == 0) {
        return err_set_param(err, ERR_INVALID, field->name, "'prompt' must not be empty");
    }
    if (count > API_CHOICES_MAX) {
        return err_set_param(err, ERR_INVALID, field->name, "%zu prompts, at most %d are allowed",
                             count, API_CHOICES_MAX);
    }
    request->prompts = ARENA_ARRAY(&request->arena, struct gen_prompt, count);
    if (!request->prompts) {
        return err_set_memory(err, count * sizeof *request->prompts);
    }
    request->prompt_count = count;
    request->is_list = several;
    for (size_t i = 0; i < count; i++) {
        struct gen_prompt *prompt = &request->prompts[i];
        snprintf(prompt->path, sizeof prompt->path, several ? "prompt[%zu]" : "prompt", i);
        if (!read_prompt(prompt, several ? json_array_get(value, i) : value, err)) {
            return err_wrap_param(err, "%s", prompt->path);
        }
    }
    return true;
}

/* ---- the model ---- */

bool api_llama_resolve(struct gen_request *request, const struct api_run_owner *owner,
                       struct err *err)
{
    struct route_list list;
    const struct route_entry *only = NULL;
    size_t loaded_at_start = 0;
    if (request->model.len) {
        return true;
    }
    if (!route_registry_list(owner->registry, &list, err)) {
        return false;
    }
    for (size_t i = 0; i < list.count; i++) {
        loaded_at_start += !list.entries[i].on_demand;
        only = !list.entries[i].on_demand ? &list.entries[i] : only;
    }
    if (list.count == 1) {
        only = &list.entries[0];
        loaded_at_start = 1;
    }
    bool ok = loaded_at_start == 1 ||
              err_set_param(err, ERR_MISSING, "model",
                            "%zu models are served: name one with 'model'", list.count);
    if (ok) {
        char *id = arena_copy(&request->arena, only->id);
        request->model = (struct str){id, only->id.len};
        ok = id != NULL || err_set_memory(err, only->id.len);
    }
    route_list_deinit(&list);
    return ok;
}
