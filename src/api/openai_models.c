#include "api/openai.h"
#include "base/json.h"

/* A file of ranks gives no vectors; any other decoder can be read for vectors, too. */
static void add_capabilities(const struct route_facts *facts, struct buf *out)
{
    const bool ranks = facts->pooling == MODEL_ENCODER_RANK;
    buf_add_text(out, ",\"capabilities\":[");
    buf_add_text(out, facts->is_encoder ? "" : "\"chat\",\"completion\",");
    buf_add_text(out, ranks ? "\"rerank\"]" : "\"embedding\"]");
}

/* How vectors are made. Where the file does not say how to pool, it is the mean. */
static void add_embedding(const struct route_entry *entry, const struct route_facts *facts,
                          struct buf *out)
{
    buf_add_format(out, ",\"embedding\":{\"pooling\":\"%s\",\"pooling_source\":\"%s\"",
                   model_encoder_pooling_name(facts->pooling),
                   facts->has_pooling_key ? "file" : "default");
    if (facts->pooling != MODEL_ENCODER_RANK) {
        const struct model_info *info =
            entry->local ? model_info(route_local_model(entry->local)) : NULL;
        buf_add_format(out, ",\"normalized\":true,\"dimensions\":%u",
                       info ? info->vector_width : facts->embed_dim);
    }
    buf_add_char(out, '}');
}

static void add_mean(const char *name, const struct engine_histogram *histogram, struct buf *out)
{
    char number[32];
    if (histogram->total) {
        json_format_double(histogram->sum / (double)histogram->total * 1e3, number);
        buf_add_format(out, ",\"%s\":%s", name, number);
    } else {
        buf_add_format(out, ",\"%s\":null", name);
    }
}

/* What it is loaded for, and what was seen since: means over all requests. */
static void add_limits(const struct route_local *local, struct buf *out)
{
    const struct route_local_params *params = route_local_params_of(local);
    struct engine *engine = route_local_engine(local);
    struct engine_stats stats;
    buf_add_format(out, ",\"limits\":{\"sequences\":%u,\"queue\":%u,\"batch_rows\":%u}",
                   params->sequences_max, params->queue_max, params->batch_rows_max);
    if (!engine) {
        return; /* an encoder */
    }
    engine_stats_read(engine, &stats);
    buf_add_format(out, ",\"measured\":{\"requests\":%llu", (unsigned long long)stats.requests);
    add_mean("first_token_ms", &stats.ttft, out);
    add_mean("inter_token_ms", &stats.inter_token, out);
    buf_add_char(out, '}');
}

static void add_model(const struct route_entry *entry, struct buf *out)
{
    const struct route_facts *facts = entry->facts;
    buf_add_text(out, "{\"id\":");
    json_write_string(out, entry->id);
    buf_add_format(out,
                   ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"local\",\"hearth\":{"
                   "\"state\":\"%s\"",
                   (long long)entry->created_s, route_state_name(entry->state));
    if (entry->local) {
        const struct model_info *info = model_info(route_local_model(entry->local));
        buf_add_format(out, ",\"context_length\":%u,\"vocabulary\":%u",
                       route_local_ctx_tokens(entry->local), info->vocab_count);
        add_limits(entry->local, out);
    }
    if (facts) {
        buf_add_format(out,
                       ",\"context_length_trained\":%u,\"parameters\":%llu,\"file_bytes\":%llu,"
                       "\"quantization\":",
                       facts->ctx_train_tokens, (unsigned long long)facts->parameter_count,
                       (unsigned long long)facts->file_bytes);
        json_write_string(out, str_of(facts->quantization));
        buf_add_text(out, ",\"architecture\":");
        json_write_string(out, str_of(facts->architecture));
        add_capabilities(facts, out);
        add_embedding(entry, facts, out);
    }
    buf_add_text(out, "}}");
}

bool api_openai_models(struct route_registry *registry, struct buf *out, struct err *err)
{
    struct route_list list;
    if (!route_registry_list(registry, &list, err)) {
        return false;
    }
    buf_add_text(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < list.count; i++) {
        buf_add_text(out, i ? "," : "");
        add_model(&list.entries[i], out);
    }
    buf_add_text(out, "]}");
    route_list_deinit(&list);
    return true;
}

bool api_openai_model(struct route_registry *registry, struct str id, struct buf *out,
                      struct err *err)
{
    struct route_entry entry;
    if (!route_registry_find(registry, id, false, &entry, err)) {
        return false;
    }
    add_model(&entry, out);
    route_entry_deinit(&entry);
    return true;
}
