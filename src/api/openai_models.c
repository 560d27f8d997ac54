#include "api/openai.h"
#include "base/json.h"

static void add_model(struct route_registry *registry, size_t index, struct buf *out)
{
    static const char *const states[] = {
        [ROUTE_LOADING] = "loading", [ROUTE_READY] = "ready", [ROUTE_FAILED] = "failed"};
    struct route_entry entry;
    route_registry_entry(registry, index, &entry, NULL);
    buf_add_text(out, "{\"id\":");
    json_write_string(out, entry.id);
    buf_add_format(out,
                   ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"local\",\"hearth\":{"
                   "\"state\":\"%s\"",
                   (long long)entry.created_s, states[entry.state]);
    if (entry.local) {
        const struct model_info *info = model_info(route_local_model(entry.local));
        buf_add_format(out,
                       ",\"context_length\":%u,\"context_length_trained\":%u,\"parameters\":%llu,"
                       "\"file_bytes\":%llu,\"vocabulary\":%u,\"quantization\":",
                       engine_ctx_tokens(route_local_engine(entry.local)), info->ctx_train_tokens,
                       (unsigned long long)info->parameter_count,
                       (unsigned long long)info->file_bytes, info->vocab_count);
        json_write_string(out, str_of(info->quantization));
        buf_add_text(out, ",\"architecture\":");
        json_write_string(out, str_of(info->architecture));
        buf_add_text(out, ",\"capabilities\":[\"chat\",\"completion\"]");
    }
    buf_add_text(out, "}}");
}

void api_openai_models(struct route_registry *registry, struct buf *out)
{
    buf_add_text(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < route_registry_count(registry); i++) {
        buf_add_text(out, i ? "," : "");
        add_model(registry, i, out);
    }
    buf_add_text(out, "]}");
}

bool api_openai_model(struct route_registry *registry, struct str id, struct buf *out,
                      struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    for (size_t i = 0; i < route_registry_count(registry); i++) {
        struct route_entry entry;
        route_registry_entry(registry, i, &entry, NULL);
        if (str_eq(entry.id, id)) {
            add_model(registry, i, out);
            return true;
        }
    }
    return err_set_param(err, ERR_MODEL, "model", "the model '%s' does not exist",
                         str_quote(quoted, id));
}
