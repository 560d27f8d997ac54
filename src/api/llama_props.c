/* GET /props and /slots. hearth has no slots: sequences share pages. What is told of them is how
 * many run: of `parallel` slots the first ones are busy. */
#include "api/llama.h"
#include "base/json.h"

bool api_llama_find_entry(struct api_call *call, struct route_entry *entry, struct err *err)
{
    struct gen_request request;
    struct api_run_owner owner = {.registry = call->registry};
    api_llama_init(&request, GEN_TEXT);
    request.model = api_call_query(call, "model");
    bool ok = api_llama_resolve(&request, &owner, err) &&
              route_registry_find(call->registry, request.model, false, entry, err);
    api_request_deinit(&request);
    return ok;
}

static uint32_t ctx_of(const struct route_entry *entry)
{
    return entry->local ? engine_ctx_tokens(route_local_engine(entry->local)) : 0;
}

static uint32_t slots_of(const struct route_entry *entry)
{
    return entry->local ? route_local_params_of(entry->local)->sequences_max : 0;
}

static void add_token(const char *key, const struct route_entry *entry, bool is_bos,
                      struct buf *out)
{
    const struct text *text = entry->local ? route_local_text(entry->local) : NULL;
    text_id id = !text ? TEXT_NONE : is_bos ? text_bos(text) : text_eos(text);
    buf_add_format(out, ",\"%s\":", key);
    json_write_string(out, id == TEXT_NONE ? (struct str){0} : text_raw(text, id));
}

static bool add_template(const struct route_entry *entry, struct buf *out, struct err *err)
{
    struct chat_source source = {0};
    struct gguf *own = entry->local ? NULL : gguf_open(entry->path, err);
    const struct gguf *gguf = entry->local ? route_local_gguf(entry->local) : own;
    bool ok = gguf && chat_source_find(gguf, false, &source, err);
    if (ok) {
        bool is_own = entry->definition && entry->definition->template_text.len;
        buf_add_text(out, ",\"chat_template\":");
        json_write_string(out, is_own ? entry->definition->template_text : source.text);
    }
    gguf_close(own);
    return ok;
}

bool api_llama_props(struct api_call *call, struct err *err)
{
    static const char *const names[] = {"model", "autoload", NULL};
    struct route_entry entry;
    struct gen_request request;
    struct buf *out = &call->out;
    if (!api_call_check_queries(call, names, err) || !api_llama_find_entry(call, &entry, err)) {
        return false;
    }
    api_llama_init(&request, GEN_TEXT);
    buf_add_format(out,
                   "{\"default_generation_settings\":{\"id\":0,\"id_task\":-1,\"n_ctx\":%u,"
                   "\"speculative\":false,\"is_processing\":false,\"params\":",
                   ctx_of(&entry));
    api_llama_settings(&request, ctx_of(&entry), out);
    api_request_deinit(&request);
    buf_add_format(out, "},\"total_slots\":%u,\"model_alias\":", slots_of(&entry));
    json_write_string(out, entry.id);
    buf_add_text(out, ",\"model_path\":");
    json_write_string(out, str_of(entry.path));
    bool ok = add_template(&entry, out, err);
    add_token("bos_token", &entry, true, out);
    add_token("eos_token", &entry, false, out);
    buf_add_format(out,
                   ",\"modalities\":{\"vision\":false,\"audio\":false},\"build_info\":\"hearth "
                   "%s\",\"is_sleeping\":%s}",
                   HEARTH_VERSION, entry.local ? "false" : "true");
    route_entry_deinit(&entry);
    return ok;
}

bool api_llama_slots(struct api_call *call, struct err *err)
{
    static const char *const names[] = {"model", "fail_on_no_slot", NULL};
    struct route_entry entry;
    struct engine_stats stats = {0};
    if (!api_call_check_queries(call, names, err) || !api_llama_find_entry(call, &entry, err)) {
        return false;
    }
    uint32_t count = slots_of(&entry);
    if (entry.local) {
        engine_stats_read(route_local_engine(entry.local), &stats);
    }
    bool must_be_free = str_eq(api_call_query(call, "fail_on_no_slot"), STR("1"));
    bool ok =
        !must_be_free || stats.running < count || err_set(err, ERR_BUSY, "no slot is available");
    buf_add_char(&call->out, '[');
    for (uint32_t i = 0; i < count; i++) {
        buf_add_format(&call->out,
                       "%s{\"id\":%u,\"id_task\":-1,\"n_ctx\":%u,\"speculative\":false,"
                       "\"is_processing\":%s}",
                       i ? "," : "", i, ctx_of(&entry), i < stats.running ? "true" : "false");
    }
    buf_add_char(&call->out, ']');
    route_entry_deinit(&entry);
    return ok;
}

bool api_llama_fixed(struct api_call *call, struct err *err)
{
    (void)call;
    return err_set(err, ERR_UNSUPPORTED,
                   "properties and slots cannot be changed: settings are read at start, and the "
                   "cache keeps prompts by itself");
}
