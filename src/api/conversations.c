/* Conversations: items that responses read and add to. */
#include "api/responses.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

enum { ITEMS_MAX = 20 }; /* of one request, as the public API has it */

static const char what[] = "conversation";

/* Fields of the body are in the list of names. */
static bool check_names(json_t *body, const char *const *names, struct err *err)
{
    for (void *it = json_object_iter(body); it; it = json_object_iter_next(body, it)) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], json_object_iter_key(it)) != 0) {
            i++;
        }
        if (!names[i]) {
            return api_unknown_error(json_object_iter_key(it), err);
        }
    }
    return true;
}

/* The items of a body, checked and with ids; NULL if it has none, which is fine. */
static bool read_items(const json_t *body, json_t **out, struct err *err)
{
    const json_t *items = json_object_get(body, "items");
    *out = json_array();
    if (!items || json_is_null(items)) {
        return true;
    }
    if (!json_is_array(items)) {
        return api_type_error("items", "an array", items, err);
    }
    if (json_array_size(items) > ITEMS_MAX) {
        return err_set_param(err, ERR_INVALID, "items", "%zu items, at most %d are allowed at once",
                             json_array_size(items), ITEMS_MAX);
    }
    return api_responses_read_items(items, "items", *out, err);
}

static struct str to_text(struct arena *arena, const json_t *value)
{
    struct buf text = {0};
    json_write(&text, value);
    struct str copy = {text.failed ? NULL : arena_copy(arena, buf_view(&text)), text.len};
    buf_deinit(&text);
    return copy;
}

/* The conversation itself, if `body` is given, and items of it. */
static bool put(struct api_call *call, struct str id, struct str body, const json_t *items,
                struct err *err)
{
    struct store_object objects[ITEMS_MAX + 1];
    size_t count = 0;
    struct store_object object = {
        .kind = STORE_CONVERSATION, .tenant = call->tenant, .created_s = clock_wall_s()};
    if (body.ptr) {
        object.id = id;
        object.body = body;
        objects[count++] = object;
    }
    object.kind = STORE_ITEM;
    object.parent = id;
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        object.id = json_str(json_object_get(item, "id"));
        object.body = to_text(&call->arena, item);
        if (!object.body.ptr) {
            return err_set_memory(err, call->arena.used_total);
        }
        objects[count++] = object;
    }
    struct store *store = api_call_store(call, err);
    return store && store_put(store, objects, count, err);
}

bool api_conversations_create(struct api_call *call, struct err *err)
{
    static const char *const names[] = {"items", "metadata", NULL};
    char id[API_ID_MAX];
    json_t *body = api_call_object(call, err), *items = NULL;
    bool ok = body && check_names(body, names, err) &&
              api_check_metadata(json_object_get(body, "metadata"), "metadata", err) &&
              read_items(body, &items, err);
    if (ok) {
        const json_t *metadata = json_object_get(body, "metadata");
        api_new_id("conv_", id);
        buf_add_format(&call->out,
                       "{\"id\":\"%s\",\"object\":\"conversation\",\"created_at\":%lld,"
                       "\"metadata\":",
                       id, (long long)clock_wall_s());
        if (json_is_object(metadata)) {
            json_write(&call->out, metadata);
        } else {
            buf_add_text(&call->out, "{}");
        }
        buf_add_char(&call->out, '}');
        ok = !call->out.failed ? put(call, str_of(id), buf_view(&call->out), items, err)
                               : err_set_memory(err, call->out.len);
    }
    json_decref(items);
    json_decref(body);
    return ok;
}

static bool get(struct api_call *call, struct store_object *out, struct err *err)
{
    return api_call_get(call, STORE_CONVERSATION, STR(""), call->ids[0], what, false, out, err);
}

bool api_conversations_get(struct api_call *call, struct err *err)
{
    struct store_object object;
    if (!get(call, &object, err)) {
        return false;
    }
    buf_add(&call->out, object.body);
    return true;
}

bool api_conversations_update(struct api_call *call, struct err *err)
{
    return api_call_update_metadata(call, STORE_CONVERSATION, what, err);
}

bool api_conversations_delete(struct api_call *call, struct err *err)
{
    return api_call_delete(call, STORE_CONVERSATION, what, "conversation.deleted", err);
}

bool api_conversations_items(struct api_call *call, struct err *err)
{
    static const char *const others[] = {"include", NULL};
    struct store_object object;
    struct api_page page = {.query = {.kind = STORE_ITEM, .parent = call->ids[0]},
                            .others = others,
                            .limit_default = 20,
                            .limit_max = 100,
                            .newest_first = true};
    return get(call, &object, err) && api_call_page(call, &page, err);
}

/* The new items as a list. */
bool api_conversations_add(struct api_call *call, struct err *err)
{
    static const char *const names[] = {"items", NULL};
    struct store_object object;
    json_t *items = NULL, *body = api_call_object(call, err);
    bool ok = body && check_names(body, names, err);
    if (ok && !json_object_get(body, "items")) {
        ok = err_set_param(err, ERR_MISSING, "items", "missing required parameter: 'items'");
    }
    ok = ok && read_items(body, &items, err) && get(call, &object, err) &&
         put(call, call->ids[0], (struct str){0}, items, err);
    if (ok) {
        size_t count = json_array_size(items);
        const json_t *first = json_object_get(json_array_get(items, 0), "id");
        const json_t *last = json_object_get(json_array_get(items, count ? count - 1 : 0), "id");
        json_t *list = json_pack("{s:s,s:O,s:O?,s:O?,s:b}", "object", "list", "data", items,
                                 "first_id", first, "last_id", last, "has_more", 0);
        json_write(&call->out, list);
        json_decref(list);
    }
    json_decref(items);
    json_decref(body);
    return ok;
}

bool api_conversations_item(struct api_call *call, struct err *err)
{
    struct store_object object;
    if (!get(call, &object, err) ||
        !api_call_get(call, STORE_ITEM, call->ids[0], call->ids[1], "item", false, &object, err)) {
        return false;
    }
    buf_add(&call->out, object.body);
    return true;
}

/* Gives the conversation. */
bool api_conversations_remove(struct api_call *call, struct err *err)
{
    struct store_object object;
    char quoted[STR_QUOTE_MAX];
    if (!get(call, &object, err)) {
        return false;
    }
    if (!store_delete(call->keep->store, STORE_ITEM, call->tenant, call->ids[0], call->ids[1],
                      err)) {
        return err->code == ERR_NOT_FOUND &&
               err_set(err, ERR_NOT_FOUND, "no item with id '%s'", str_quote(quoted, call->ids[1]));
    }
    buf_add(&call->out, object.body);
    return true;
}
