/* What of a chat completion outlives its answer: the fields that ask for it, the completion and its
 * messages on the disk, and the calls that read, list, change and delete them. */
#include <stdio.h>

#include "api/call.h"
#include "api/openai.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

static const char what[] = "chat completion";

/* ---- fields ---- */

static bool apply_store(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err)
{
    if (!json_is_boolean(value)) {
        return api_type_error(field->name, "a boolean", value, err);
    }
    request->is_kept = json_is_true(value);
    request->keeps_text = request->keeps_text || request->is_kept;
    return true;
}

static bool apply_metadata(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    request->metadata = value;
    return api_check_metadata(value, field->name, err);
}

/* {"type":"content","content":"..." or text parts} */
static bool apply_prediction(struct gen_request *request, const struct api_field *field,
                             const json_t *value, struct err *err)
{
    const json_t *content = json_object_get(value, "content");
    struct buf text = {0};
    bool ok = true;
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    if (!str_eq(json_str(json_object_get(value, "type")), STR("content"))) {
        return err_set_param(err, ERR_INVALID, "prediction.type",
                             "invalid value for 'prediction.type': must be content");
    }
    if (json_is_string(content)) {
        buf_add(&text, json_str(content));
    } else if (!json_is_array(content)) {
        return content ? api_type_error("prediction.content", "a string or an array of text parts",
                                        content, err)
                       : err_set_param(err, ERR_MISSING, "prediction.content",
                                       "missing required parameter: 'prediction.content'");
    }
    for (size_t i = 0; ok && i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        char path[48];
        snprintf(path, sizeof path, "prediction.content[%zu]", i);
        ok = str_eq(json_str(json_object_get(part, "type")), STR("text")) ||
             err_set_param(err, ERR_INVALID, path, "'%s' must be a part of type text", path);
        buf_add(&text, json_str(json_object_get(part, "text")));
    }
    if (ok) {
        const char *copy = text.failed ? NULL : arena_copy(&request->arena, buf_view(&text));
        request->prediction = (struct str){copy, copy ? text.len : 0};
        ok = copy || err_set_memory(err, text.len);
    }
    buf_deinit(&text);
    return ok;
}

static bool is_word(const json_t *value, const char *words)
{
    struct str rest = str_of(words), word = json_str(value);
    while (json_is_string(value) && rest.len) {
        if (str_eq(str_cut(&rest, ' '), word)) {
            return true;
        }
    }
    return false;
}

static bool apply_verbosity(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    (void)request;
    if (is_word(value, "low high")) {
        return err_set_param(err, ERR_UNSUPPORTED, field->name, "'verbosity' is not supported: %s",
                             field->note);
    }
    return is_word(value, "medium") ||
           err_set_param(err, json_is_string(value) ? ERR_INVALID : ERR_TYPE, field->name,
                         "invalid value for 'verbosity': must be low, medium or high");
}

static bool apply_text(struct gen_request *request, const struct api_field *field,
                       const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || api_type_error(field->name, "a string", value, err);
}

static bool apply_retention(struct gen_request *request, const struct api_field *field,
                            const json_t *value, struct err *err)
{
    (void)request;
    return is_word(value, "in_memory 24h") ||
           err_set_param(err, json_is_string(value) ? ERR_INVALID : ERR_TYPE, field->name,
                         "invalid value for 'prompt_cache_retention': must be in_memory or 24h");
}

const struct api_field api_openai_kept_fields[] = {
    {.name = "store", .kind = API_CUSTOM, .apply = apply_store, .note = "false unless told"},
    {.name = "metadata",
     .kind = API_CUSTOM,
     .apply = apply_metadata,
     .note = "kept with a stored completion, and told back"},
    {.name = "prediction",
     .kind = API_CUSTOM,
     .apply = apply_prediction,
     .note = "tokens are guessed from it"},
    {.name = "safety_identifier",
     .kind = API_TEXT,
     .offset = offsetof(struct gen_request, user),
     .note = "as user"},
    {.name = "prompt_cache_key",
     .kind = API_CUSTOM,
     .apply = apply_text,
     .note = "prompts are found by their tokens, so it changes nothing"},
    {.name = "prompt_cache_retention",
     .kind = API_CUSTOM,
     .apply = apply_retention,
     .note = "beginnings of prompts stay as long as there is room"},
    {.name = "verbosity",
     .kind = API_CUSTOM,
     .apply = apply_verbosity,
     .is_limited = true,
     .note = "models here have no such control"},
    {.name = "stream_interval",
     .kind = API_U32,
     .offset = offsetof(struct gen_request, stream_interval),
     .max = 4096,
     .note = "extension: tokens per event"},
    {0},
};

/* ---- on the disk ---- */

bool api_openai_stored_resolve(struct gen_request *request, const struct api_run_owner *owner,
                               struct err *err)
{
    return !request->is_kept || owner->keep->store ||
           err_set_param(err, ERR_UNSUPPORTED, "store", "this server stores nothing: %s",
                         owner->keep->lack);
}

static struct str to_text(struct arena *arena, const json_t *value)
{
    struct buf text = {0};
    json_write(&text, value);
    struct str copy = {text.failed ? NULL : arena_copy(arena, buf_view(&text)), text.len};
    buf_deinit(&text);
    return copy;
}

/* A message of the request as lists tell it: with an id, parts beside their text. */
static json_t *message_json(const json_t *given, const char *id)
{
    json_t *message = json_copy((json_t *)(uintptr_t)given);
    json_t *content = json_object_get(message, "content");
    json_object_set_new(message, "id", json_string(id));
    if (json_is_array(content)) {
        struct buf text = {0};
        json_object_set(message, "content_parts", content);
        for (size_t i = 0; i < json_array_size(content); i++) {
            buf_add(&text, json_str(json_object_get(json_array_get(content, i), "text")));
        }
        json_object_set_new(message, "content", json_stringn(text.ptr ? text.ptr : "", text.len));
        buf_deinit(&text);
    }
    return message;
}

bool api_openai_stored_commit(struct api_render *render, const struct api_run_owner *owner,
                              struct err *err)
{
    const json_t *messages = json_object_get(render->request->body, "messages");
    size_t count = json_array_size(messages) + 1;
    struct arena arena = arena_init(0);
    struct store_object *objects = MEM_ARRAY(struct store_object, count);
    struct buf body = {0};
    api_openai_chat.whole(render, &body);
    bool ok = objects && !body.failed && !render->failed;
    struct store_object object = {.kind = STORE_CHAT,
                                  .tenant = owner->tenant,
                                  .id = str_of(render->id),
                                  .label = render->model,
                                  .created_s = render->created_s,
                                  .expires_s = api_keep_until(owner->keep),
                                  .body = buf_view(&body)};
    if (ok) {
        objects[0] = object;
    }
    for (size_t i = 1; ok && i < count; i++) {
        char id[API_ID_MAX + 24];
        snprintf(id, sizeof id, "%s-%zu", render->id, i - 1);
        json_t *message = message_json(json_array_get(messages, i - 1), id);
        object.kind = STORE_MESSAGE;
        object.parent = str_of(render->id);
        object.label = (struct str){0};
        object.id = str_of(arena_copy(&arena, str_of(id)));
        object.body = to_text(&arena, message);
        json_decref(message);
        objects[i] = object;
        ok = object.id.ptr && object.body.ptr;
    }
    ok = ok ? store_put(owner->keep->store, objects, count, err)
            : err_set_memory(err, count * sizeof *objects);
    mem_free(objects);
    buf_deinit(&body);
    arena_deinit(&arena);
    return ok;
}

/* ---- calls ---- */

bool api_openai_stored_get(struct api_call *call, struct err *err)
{
    struct store_object object;
    if (!api_call_get(call, STORE_CHAT, STR(""), call->ids[0], what, false, &object, err)) {
        return false;
    }
    buf_add(&call->out, object.body);
    return true;
}

/* metadata[name]=value */
static bool read_pairs(struct api_call *call, struct store_pair *pairs, size_t max, size_t *count,
                       struct err *err)
{
    for (size_t i = 0; i < call->query_count; i++) {
        struct str name = call->queries[i].name;
        if (!str_starts(name, STR("metadata"))) {
            continue;
        }
        if (!str_eat(&name, STR("metadata[")) || !str_ends(name, STR("]")) || *count == max) {
            return err_set_param(err, ERR_INVALID, "metadata",
                                 "'metadata' is given as metadata[name]=value, at most %zu times",
                                 max);
        }
        pairs[(*count)++] =
            (struct store_pair){str_slice(name, 0, name.len - 1), call->queries[i].value};
    }
    return true;
}

bool api_openai_stored_list(struct api_call *call, struct err *err)
{
    static const char *const others[] = {"metadata", "model", NULL};
    struct store_pair pairs[16];
    struct api_page page = {
        .query = {.kind = STORE_CHAT, .label = api_call_query(call, "model"), .metadata = pairs},
        .others = others,
        .limit_default = 20,
        .limit_max = 100};
    return read_pairs(call, pairs, 16, &page.query.metadata_count, err) &&
           api_call_page(call, &page, err);
}

bool api_openai_stored_update(struct api_call *call, struct err *err)
{
    return api_call_update_metadata(call, STORE_CHAT, what, err);
}

bool api_openai_stored_delete(struct api_call *call, struct err *err)
{
    return api_call_delete(call, STORE_CHAT, what, "chat.completion.deleted", err);
}

bool api_openai_stored_messages(struct api_call *call, struct err *err)
{
    struct store_object object;
    struct api_page page = {.query = {.kind = STORE_MESSAGE, .parent = call->ids[0]},
                            .limit_default = 20,
                            .limit_max = 100};
    return api_call_get(call, STORE_CHAT, STR(""), call->ids[0], what, false, &object, err) &&
           api_call_page(call, &page, err);
}
