/* What Ollama's clients ask about models: version, tags (all), ps (the loaded ones). */
#include <openssl/evp.h>
#include <stdio.h>

#include "api/digests.h"
#include "api/ollama.h"
#include "base/clock.h"
#include "base/json.h"

/* How long an answer waits for the digests of small files, all together. */
#define DIGEST_WAIT_NS 250000000ll

/* The far end that Ollama writes for a model that stays loaded. */
static const char never[] = "2318-01-01T00:00:00Z";

void api_ollama_version(struct buf *out)
{
    buf_add_text(out, "{\"version\":\"" HEARTH_VERSION "\"}");
}

/* "NAME" is "NAME:latest". */
static void add_name(struct str id, struct buf *out)
{
    struct buf name = {0};
    buf_add(&name, id);
    if (id.len && !memchr(id.ptr, ':', id.len)) {
        buf_add_text(&name, ":latest");
    }
    json_write_string(out, buf_view(&name));
    buf_deinit(&name);
}

void api_ollama_time(int64_t seconds, struct buf *out)
{
    char stamp[32];
    clock_format_utc(seconds * 1000, stamp);
    buf_add_format(out, "\"%s\"", stamp);
}

/* Names the file behind a model without reading its gigabytes: where it is, how large, from when.
 * Another file has another identity, and so has a file that was replaced. */
static void add_identity(const struct route_entry *entry, struct buf *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    struct buf what = {0};
    buf_add_format(&what, "%llu %lld ", (unsigned long long)entry->file_bytes,
                   (long long)entry->created_s);
    buf_add_text(&what, entry->path);
    if (what.failed || EVP_Digest(what.ptr, what.len, digest, &len, EVP_sha256(), NULL) != 1) {
        out->failed = true;
    }
    buf_deinit(&what);
    for (unsigned i = 0; i < len; i++) {
        buf_add_format(out, "%02x", digest[i]);
    }
}

/* "digest":HEX, and in "hearth" what it is of: the file's bytes ("sha256"), or, while those are
 * still being read, its place, size and time ("identity"). */
static void add_digest(struct api_call *call, const struct route_entry *entry, int64_t deadline_ns,
                       struct buf *out)
{
    char hex[API_DIGEST_HEX + 1];
    bool is_known = api_digests_get(call->keep->digests, entry->path, deadline_ns, hex);
    buf_add_text(out, "\"digest\":\"");
    if (is_known) {
        buf_add_text(out, hex);
    } else {
        add_identity(entry, out);
    }
    buf_add_format(out, "\",\"hearth\":{\"digest\":\"%s\"}", is_known ? "sha256" : "identity");
}

/* "5.2M", "7.6B" */
static void add_count(uint64_t count, struct buf *out)
{
    static const struct unit {
        double size;
        const char *name;
    } units[] = {{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "K"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if ((double)count >= units[i].size) {
            buf_add_format(out, "\"%.1f%s\"", (double)count / units[i].size, units[i].name);
            return;
        }
    }
    buf_add_format(out, "\"%llu\"", (unsigned long long)count);
}

/* Of a file that nobody has looked into yet only its format is known. */
void api_ollama_details(const struct route_entry *entry, struct buf *out)
{
    const struct route_facts *facts = entry->facts;
    buf_add_text(out, "\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":");
    json_write_string(out, str_of(facts ? facts->architecture : ""));
    buf_add_text(out, ",\"families\":[");
    if (facts) {
        json_write_string(out, str_of(facts->architecture));
    }
    buf_add_text(out, "],\"parameter_size\":");
    if (facts) {
        add_count(facts->parameter_count, out);
    } else {
        buf_add_text(out, "\"\"");
    }
    buf_add_text(out, ",\"quantization_level\":");
    json_write_string(out, str_of(facts ? facts->quantization : ""));
    buf_add_char(out, '}');
}

/* {"name":..,"model":..,"size":..,"digest":..,"details":{..}  without the closing brace */
static void add_model(struct api_call *call, const struct route_entry *entry, uint64_t size,
                      int64_t deadline_ns)
{
    struct buf *out = &call->out;
    buf_add_text(out, "{\"name\":");
    add_name(entry->id, out);
    buf_add_text(out, ",\"model\":");
    add_name(entry->id, out);
    buf_add_format(out, ",\"size\":%llu,", (unsigned long long)size);
    add_digest(call, entry, deadline_ns, out);
    buf_add_char(out, ',');
    api_ollama_details(entry, out);
}

bool api_ollama_tags(struct api_call *call, struct err *err)
{
    const int64_t deadline_ns = clock_now_ns() + DIGEST_WAIT_NS;
    struct buf *out = &call->out;
    struct route_list list;
    if (!route_registry_list(call->registry, &list, err)) {
        return false;
    }
    buf_add_text(out, "{\"models\":[");
    for (size_t i = 0; i < list.count; i++) {
        const struct route_entry *entry = &list.entries[i];
        buf_add_text(out, i ? "," : "");
        add_model(call, entry, entry->file_bytes, deadline_ns);
        buf_add_text(out, ",\"modified_at\":");
        api_ollama_time(entry->created_s, out);
        buf_add_char(out, '}');
    }
    buf_add_text(out, "]}");
    route_list_deinit(&list);
    return true;
}

bool api_ollama_ps(struct api_call *call, struct err *err)
{
    const int64_t deadline_ns = clock_now_ns() + DIGEST_WAIT_NS;
    struct buf *out = &call->out;
    bool any = false;
    struct route_list list;
    if (!route_registry_list(call->registry, &list, err)) {
        return false;
    }
    buf_add_text(out, "{\"models\":[");
    for (size_t i = 0; i < list.count; i++) {
        const struct route_entry *entry = &list.entries[i];
        if (!entry->local || !entry->was_asked) { /* another name's request loaded it */
            continue;
        }
        buf_add_text(out, any ? "," : "");
        any = true;
        add_model(call, entry, model_plan_of(route_local_model(entry->local))->total_bytes,
                  deadline_ns);
        buf_add_text(out, ",\"expires_at\":");
        if (entry->expires_ms == INT64_MAX) {
            buf_add_format(out, "\"%s\"", never);
        } else {
            char stamp[32];
            clock_format_utc(entry->expires_ms, stamp);
            buf_add_format(out, "\"%s\"", stamp);
        }
        buf_add_format(out, ",\"size_vram\":0,\"context_length\":%u}",
                       route_local_ctx_tokens(entry->local));
    }
    buf_add_text(out, "]}");
    route_list_deinit(&list);
    return true;
}
