/* GET /v1/models as Anthropic has it, for clients that send the header anthropic-version. */
#include "api/anthropic.h"
#include "base/clock.h"
#include "base/json.h"

enum { LIMIT_DEFAULT = 20, LIMIT_MAX = 1000 };

static void add_model(const struct route_entry *entry, struct buf *out)
{
    char stamp[32];
    clock_format_utc(entry->created_s * 1000, stamp);
    buf_add_text(out, "{\"type\":\"model\",\"id\":");
    json_write_string(out, entry->id);
    buf_add_text(out, ",\"display_name\":");
    json_write_string(out, entry->id);
    buf_add_format(out,
                   ",\"created_at\":\"%s\",\"lifecycle\":\"active\",\"max_input_tokens\":", stamp);
    if (entry->local) {
        uint32_t tokens = route_local_ctx_tokens(entry->local);
        buf_add_format(out, "%u,\"max_tokens\":%u}", tokens, tokens);
    } else {
        buf_add_text(out, "null,\"max_tokens\":null}");
    }
}

static bool read_limit(struct str text, size_t *out, struct err *err)
{
    uint64_t limit = LIMIT_DEFAULT;
    if (text.len && (!str_to_u64(text, &limit) || limit < 1 || limit > LIMIT_MAX)) {
        return err_set_param(err, ERR_INVALID, "limit", "must be between 1 and %d", LIMIT_MAX);
    }
    *out = (size_t)limit;
    return true;
}

static bool find_id(const struct route_list *list, const char *param, struct str id, size_t *out,
                    struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    for (size_t i = 0; i < list->count; i++) {
        if (str_eq(list->entries[i].id, id)) {
            *out = i;
            return true;
        }
    }
    return err_set_param(err, ERR_INVALID, param, "there is no model '%s'", str_quote(quoted, id));
}

static void write_page(const struct route_list *list, size_t from, size_t to, bool has_more,
                       struct buf *out)
{
    buf_add_text(out, "{\"data\":[");
    for (size_t i = from; i < to; i++) {
        buf_add_text(out, i > from ? "," : "");
        add_model(&list->entries[i], out);
    }
    buf_add_format(out, "],\"has_more\":%s,\"first_id\":", has_more ? "true" : "false");
    if (from == to) {
        buf_add_text(out, "null,\"last_id\":null}");
        return;
    }
    json_write_string(out, list->entries[from].id);
    buf_add_text(out, ",\"last_id\":");
    json_write_string(out, list->entries[to - 1].id);
    buf_add_char(out, '}');
}

bool api_anthropic_models(struct api_call *call, struct err *err)
{
    static const char *const names[] = {"after_id", "before_id", "limit", NULL};
    struct str after = api_call_query(call, "after_id"), before = api_call_query(call, "before_id");
    struct route_list list;
    size_t limit = 0, from = 0;
    if (!api_call_check_queries(call, names, err) ||
        !read_limit(api_call_query(call, "limit"), &limit, err) ||
        !route_registry_list(call->registry, &list, err)) {
        return false;
    }
    size_t to = list.count;
    bool ok = true;
    if (after.len) {
        ok = find_id(&list, "after_id", after, &from, err);
        from += ok;
    } else if (before.len) {
        ok = find_id(&list, "before_id", before, &to, err);
    }
    if (ok) {
        size_t all = to - from;
        if (all > limit && before.len) {
            from = to - limit; /* the page that ends there */
        } else if (all > limit) {
            to = from + limit;
        }
        write_page(&list, from, to, all > limit, &call->out);
    }
    route_list_deinit(&list);
    return ok;
}

bool api_anthropic_model(struct api_call *call, struct err *err)
{
    struct route_entry entry;
    if (!route_registry_find(call->registry, call->ids[0], false, &entry, err)) {
        return false;
    }
    add_model(&entry, &call->out);
    route_entry_deinit(&entry);
    return true;
}

bool api_anthropic_batches(struct api_call *call, struct err *err)
{
    (void)call;
    return err_set(err, ERR_UNSUPPORTED,
                   "batches of messages are not supported; this server has OpenAI's /v1/batches");
}
