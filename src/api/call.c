#include "api/call.h"

#include <stdio.h>

#include "api/fields.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/os.h"
#include "base/utf8.h"

struct store *api_call_store(const struct api_call *call, struct err *err)
{
    if (!call->keep->store) {
        err_set(err, ERR_UNSUPPORTED, "this server stores nothing: %s", call->keep->lack);
    }
    return call->keep->store;
}

json_t *api_call_object(const struct api_call *call, struct err *err)
{
    struct json_limits limits = {.depth_max = API_BODY_DEPTH_MAX,
                                 .values_max = API_BODY_VALUES_MAX};
    json_t *object = json_parse(call->body.len ? call->body : STR("{}"), &limits, err);
    if (object && !json_is_object(object)) {
        json_decref(object);
        err_set(err, ERR_TYPE, "the body must be a JSON object");
        return NULL;
    }
    return object;
}

bool api_call_get(struct api_call *call, enum store_kind kind, struct str parent, struct str id,
                  const char *what, bool with_content, struct store_object *out, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct store *store = api_call_store(call, err);
    if (!store) {
        return false;
    }
    return store_get(store, kind, call->tenant, parent, id, with_content, &call->arena, out, err) ||
           (err->code == ERR_NOT_FOUND &&
            err_set(err, ERR_NOT_FOUND, "no %s with id '%s'", what, str_quote(quoted, id)));
}

bool api_call_delete(struct api_call *call, enum store_kind kind, const char *what,
                     const char *object, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct str id = call->ids[0];
    struct store *store = api_call_store(call, err);
    if (!store) {
        return false;
    }
    if (!store_delete(store, kind, call->tenant, STR(""), id, err)) {
        return err->code == ERR_NOT_FOUND &&
               err_set(err, ERR_NOT_FOUND, "no %s with id '%s'", what, str_quote(quoted, id));
    }
    buf_add_text(&call->out, "{\"id\":");
    json_write_string(&call->out, id);
    buf_add_format(&call->out, ",\"object\":\"%s\",\"deleted\":true}", object);
    return true;
}

void api_new_id(const char *prefix, char out[API_ID_MAX])
{
    uint64_t random[2];
    os_random(random, sizeof random);
    snprintf(out, API_ID_MAX, "%.20s%016llx%08llx", prefix, (unsigned long long)random[0],
             (unsigned long long)(random[1] >> 32));
}

/* ---- metadata ---- */

enum { PAIRS_MAX = 16, NAME_CHARS_MAX = 64, VALUE_CHARS_MAX = 512 };

bool api_check_metadata(const json_t *metadata, const char *param, struct err *err)
{
    if (!metadata || json_is_null(metadata)) {
        return true;
    }
    if (!json_is_object(metadata)) {
        return api_type_error(param, "an object", metadata, err);
    }
    if (json_object_size(metadata) > PAIRS_MAX) {
        return err_set_param(err, ERR_INVALID, param, "'%s' has %zu pairs, at most %d are allowed",
                             param, json_object_size(metadata), PAIRS_MAX);
    }
    json_t *object = (json_t *)(uintptr_t)metadata;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        char quoted[STR_QUOTE_MAX];
        struct str name = str_of(json_object_iter_key(it));
        const json_t *value = json_object_iter_value(it);
        str_quote(quoted, name);
        if (utf8_count(name) > NAME_CHARS_MAX) {
            return err_set_param(err, ERR_INVALID, param,
                                 "the name '%s' in '%s' has more than %d characters", quoted, param,
                                 NAME_CHARS_MAX);
        }
        if (!json_is_string(value)) {
            api_type_error(quoted, "a string", value, err);
            return err_wrap_param(err, "%s", param);
        }
        if (utf8_count(json_str(value)) > VALUE_CHARS_MAX) {
            err_set_param(err, ERR_INVALID, quoted, "the value has more than %d characters",
                          VALUE_CHARS_MAX);
            return err_wrap_param(err, "%s", param);
        }
    }
    return true;
}

/* `body` with another "metadata". New text in the arena. */
static bool replace_metadata(struct api_call *call, struct store_object *object, json_t *metadata,
                             struct err *err)
{
    json_t *body = json_parse(object->body, NULL, err);
    struct buf text = {0};
    if (!body) {
        return false;
    }
    if (json_object_set(body, "metadata", metadata ? metadata : json_null()) != 0) {
        json_decref(body);
        return err_set_memory(err, object->body.len);
    }
    json_write(&text, body);
    json_decref(body);
    const char *copy = text.failed ? NULL : arena_copy(&call->arena, buf_view(&text));
    object->body = (struct str){copy, text.len};
    buf_deinit(&text);
    return copy || err_set_memory(err, object->body.len);
}

bool api_call_update_metadata(struct api_call *call, enum store_kind kind, const char *what,
                              struct err *err)
{
    struct store_object object;
    json_t *given = api_call_object(call, err);
    if (!given) {
        return false;
    }
    json_t *metadata = json_object_get(given, "metadata");
    bool ok = api_check_metadata(metadata, "metadata", err);
    if (ok && !metadata) {
        ok = err_set_param(err, ERR_MISSING, "metadata", "missing required parameter: 'metadata'");
    }
    for (void *it = json_object_iter(given); ok && it; it = json_object_iter_next(given, it)) {
        ok = strcmp(json_object_iter_key(it), "metadata") == 0 ||
             api_unknown_error(json_object_iter_key(it), err);
    }
    ok = ok && api_call_get(call, kind, STR(""), call->ids[0], what, false, &object, err) &&
         replace_metadata(call, &object, metadata, err) &&
         store_put(call->keep->store, &object, 1, err);
    json_decref(given);
    if (ok) {
        buf_add(&call->out, object.body);
    }
    return ok;
}

/* ---- queries and pages ---- */

struct str api_call_query(const struct api_call *call, const char *name)
{
    for (size_t i = 0; i < call->query_count; i++) {
        if (str_eq(call->queries[i].name, str_of(name))) {
            return call->queries[i].value;
        }
    }
    return (struct str){0};
}

/* "metadata[key]" and "include[]" count as "metadata" and "include". */
static struct str stem(struct str name)
{
    return str_slice(name, 0, str_find(name, STR("["), 0));
}

bool api_call_check_queries(const struct api_call *call, const char *const *names, struct err *err)
{
    for (size_t i = 0; i < call->query_count; i++) {
        char quoted[STR_QUOTE_MAX];
        struct str name = stem(call->queries[i].name);
        size_t j = 0;
        while (names[j] && !str_eq(name, str_of(names[j]))) {
            j++;
        }
        if (!names[j]) {
            str_quote(quoted, call->queries[i].name);
            return api_unknown_error(quoted, err);
        }
    }
    return true;
}

static bool read_limit(const struct api_call *call, struct api_page *page, struct err *err)
{
    struct str text = api_call_query(call, "limit");
    uint64_t limit = page->limit_default;
    if (text.ptr && (!str_to_u64(text, &limit) || limit < 1 || limit > page->limit_max)) {
        return err_set_param(err, ERR_INVALID, "limit",
                             "invalid value for 'limit': must be between 1 and %zu",
                             page->limit_max);
    }
    page->query.limit = limit;
    return true;
}

static bool read_order(const struct api_call *call, struct api_page *page, struct err *err)
{
    struct str order = api_call_query(call, "order");
    page->query.is_descending = page->newest_first;
    if (!order.ptr) {
        return true;
    }
    page->query.is_descending = str_eq(order, STR("desc"));
    return page->query.is_descending || str_eq(order, STR("asc")) ||
           err_set_param(err, ERR_INVALID, "order",
                         "invalid value for 'order': must be asc or desc");
}

struct listing {
    struct buf *out;
    struct buf first, last;
};

static bool add_body(void *arg, const struct store_object *object)
{
    struct listing *listing = arg;
    if (listing->last.len == 0) {
        buf_add(&listing->first, object->id);
    } else {
        buf_add_char(listing->out, ',');
    }
    buf_clear(&listing->last);
    buf_add(&listing->last, object->id);
    buf_add(listing->out, object->body);
    return true;
}

static void add_id(const char *name, const struct buf *id, struct buf *out)
{
    buf_add_format(out, ",\"%s\":", name);
    if (id->len) {
        json_write_string(out, buf_view(id));
    } else {
        buf_add_text(out, "null");
    }
}

bool api_call_page(struct api_call *call, struct api_page *page, struct err *err)
{
    enum { NAMES_MAX = 12 };
    const char *names[NAMES_MAX] = {"limit", "order", "after"};
    struct listing listing = {.out = &call->out};
    struct store *store = api_call_store(call, err);
    bool has_more = false;
    for (size_t i = 0; page->others && page->others[i] && i + 4 < NAMES_MAX; i++) {
        names[3 + i] = page->others[i];
    }
    page->query.tenant = call->tenant;
    page->query.after = api_call_query(call, "after");
    if (!store || !api_call_check_queries(call, names, err) || !read_limit(call, page, err) ||
        !read_order(call, page, err)) {
        return false;
    }
    buf_add_text(&call->out, "{\"object\":\"list\",\"data\":[");
    bool ok = store_list(store, &page->query, add_body, &listing, &has_more, err);
    buf_add_char(&call->out, ']');
    add_id("first_id", &listing.first, &call->out);
    add_id("last_id", &listing.last, &call->out);
    buf_add_format(&call->out, ",\"has_more\":%s}", has_more ? "true" : "false");
    call->out.failed = call->out.failed || listing.first.failed || listing.last.failed;
    buf_deinit(&listing.first);
    buf_deinit(&listing.last);
    return ok;
}

int64_t api_keep_until(const struct api_keep *keep)
{
    enum { DAY_S = 86400 };
    return keep->days ? clock_wall_s() + (int64_t)keep->days * DAY_S : 0;
}
