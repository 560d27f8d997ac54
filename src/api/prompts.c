#include "api/prompts.h"

#include <stdio.h>

#include "base/json.h"

static bool read_ids(struct gen_prompt *prompt, const json_t *list, struct err *err)
{
    prompt->is_ids = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_integer(item)) {
            api_type_error("", "a token id", item, err);
            return err_wrap_param(err, "%s[%zu]", prompt->path, i);
        }
        json_int_t id = json_integer_value(item);
        if (id < 0 || id > INT32_MAX) {
            err_set_param(err, ERR_INVALID, "", "token id %lld is outside the vocabulary",
                          (long long)id);
            return err_wrap_param(err, "%s[%zu]", prompt->path, i);
        }
        if (!text_ids_add(&prompt->ids, (text_id)id)) {
            return err_set_memory(err, json_array_size(list) * sizeof(text_id));
        }
    }
    return true;
}

bool api_read_prompts(struct gen_request *request, const struct api_field *field,
                      const json_t *value, size_t count_max, struct err *err)
{
    const json_t *first = json_array_get(value, 0);
    bool is_many = json_is_string(first) || json_is_array(first);
    size_t count = is_many ? json_array_size(value) : 1;
    if (!json_is_string(value) && !json_is_array(value)) {
        return api_type_error(field->name, "a string or an array", value, err);
    }
    if (json_is_array(value) && !first) {
        return err_set_param(err, ERR_INVALID, field->name, "'%s' must not be empty", field->name);
    }
    if (count > count_max) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "%zu texts in '%s', at most %zu are allowed", count, field->name,
                             count_max);
    }
    request->prompts = ARENA_ARRAY(&request->arena, struct gen_prompt, count);
    if (!request->prompts) {
        return err_set_memory(err, count * sizeof *request->prompts);
    }
    request->prompt_count = count;
    for (size_t i = 0; i < count; i++) {
        struct gen_prompt *prompt = &request->prompts[i];
        const json_t *item = is_many ? json_array_get(value, i) : value;
        snprintf(prompt->path, sizeof prompt->path, is_many ? "%s[%zu]" : "%s", field->name, i);
        if (is_many && json_typeof(item) != json_typeof(first)) {
            return api_type_error(prompt->path, api_kind_of(first), item, err);
        }
        prompt->text = json_str(item);
        if (json_is_array(item) && !read_ids(prompt, item, err)) {
            return false;
        }
    }
    return true;
}
