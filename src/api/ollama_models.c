/* What Ollama's clients ask about models: version, tags (all), ps (the loaded ones), show (one). */
#include <openssl/evp.h>
#include <stdio.h>

#include "api/ollama.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"

enum { TEMPLATE_BYTES_MAX = 4 << 20 };

/* Models stay loaded; this is the far end that Ollama writes for that. */
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

static void add_time(int64_t seconds, struct buf *out)
{
    char stamp[32];
    clock_format_utc(seconds * 1000, stamp);
    buf_add_format(out, "\"%s\"", stamp);
}

/* Names the file behind a model without reading its gigabytes: where it is, how large, from when.
 * Another file has another digest, and so has a file that was replaced. */
static void add_digest(const struct route_entry *entry, struct buf *out)
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
    buf_add_char(out, '"');
    for (unsigned i = 0; i < len; i++) {
        buf_add_format(out, "%02x", digest[i]);
    }
    buf_add_char(out, '"');
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

/* Before a model is loaded only its format is known. */
static void add_details(const struct route_entry *entry, struct buf *out)
{
    const struct model_info *info =
        entry->local ? model_info(route_local_model(entry->local)) : NULL;
    buf_add_text(out, "\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":");
    json_write_string(out, str_of(info ? info->architecture : ""));
    buf_add_text(out, ",\"families\":[");
    if (info) {
        json_write_string(out, str_of(info->architecture));
    }
    buf_add_text(out, "],\"parameter_size\":");
    if (info) {
        add_count(info->parameter_count, out);
    } else {
        buf_add_text(out, "\"\"");
    }
    buf_add_text(out, ",\"quantization_level\":");
    json_write_string(out, str_of(info ? info->quantization : ""));
    buf_add_char(out, '}');
}

/* {"name":..,"model":..,"size":..,"digest":..,"details":{..}  without the closing brace */
static void add_model(const struct route_entry *entry, uint64_t size, struct buf *out)
{
    buf_add_text(out, "{\"name\":");
    add_name(entry->id, out);
    buf_add_text(out, ",\"model\":");
    add_name(entry->id, out);
    buf_add_format(out, ",\"size\":%llu,\"digest\":", (unsigned long long)size);
    add_digest(entry, out);
    buf_add_char(out, ',');
    add_details(entry, out);
}

void api_ollama_tags(struct route_registry *registry, struct buf *out)
{
    buf_add_text(out, "{\"models\":[");
    for (size_t i = 0; i < route_registry_count(registry); i++) {
        struct route_entry entry;
        route_registry_entry(registry, i, &entry, NULL);
        buf_add_text(out, i ? "," : "");
        add_model(&entry, entry.file_bytes, out);
        buf_add_text(out, ",\"modified_at\":");
        add_time(entry.created_s, out);
        buf_add_char(out, '}');
    }
    buf_add_text(out, "]}");
}

void api_ollama_ps(struct route_registry *registry, struct buf *out)
{
    bool any = false;
    buf_add_text(out, "{\"models\":[");
    for (size_t i = 0; i < route_registry_count(registry); i++) {
        struct route_entry entry;
        route_registry_entry(registry, i, &entry, NULL);
        if (!entry.local) {
            continue;
        }
        buf_add_text(out, any ? "," : "");
        any = true;
        add_model(&entry, model_plan_of(route_local_model(entry.local))->total_bytes, out);
        buf_add_format(out, ",\"expires_at\":\"%s\",\"size_vram\":0,\"context_length\":%u}", never,
                       engine_ctx_tokens(route_local_engine(entry.local)));
    }
    buf_add_text(out, "]}");
}

/* ---- show ---- */

static void add_item(const struct gguf_value *value, uint64_t index, struct buf *out)
{
    char number[32];
    if (value->item_kind == GGUF_STRING) {
        json_write_string(out, value->texts[index]);
    } else if (value->item_kind == GGUF_F32 || value->item_kind == GGUF_F64) {
        json_format_double(gguf_item_f64(value, index), number);
        buf_add_text(out, number);
    } else if (value->item_kind == GGUF_BOOL) {
        buf_add_text(out, gguf_item_i64(value, index) ? "true" : "false");
    } else {
        buf_add_format(out, "%lld", (long long)gguf_item_i64(value, index));
    }
}

/* Lists (of a whole vocabulary, mostly) only on demand. */
static void add_value(const struct gguf_value *value, bool verbose, struct buf *out)
{
    char number[32];
    switch (value->kind) {
    case GGUF_STRING:
        json_write_string(out, value->text);
        break;
    case GGUF_ARRAY:
        if (!verbose) {
            buf_add_text(out, "null");
            break;
        }
        buf_add_char(out, '[');
        for (uint64_t i = 0; i < value->count; i++) {
            buf_add_text(out, i ? "," : "");
            add_item(value, i, out);
        }
        buf_add_char(out, ']');
        break;
    case GGUF_F32:
    case GGUF_F64:
        json_format_double(value->f64, number);
        buf_add_text(out, number);
        break;
    case GGUF_BOOL:
        buf_add_text(out, value->u64 ? "true" : "false");
        break;
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
        buf_add_format(out, "%llu", (unsigned long long)value->u64);
        break;
    default:
        buf_add_format(out, "%lld", (long long)value->i64);
    }
}

static void add_model_info(const struct route_local *local, bool verbose, struct buf *out)
{
    const struct gguf *gguf = route_local_gguf(local);
    const struct model_info *info =
        model_info(route_local_model((struct route_local *)(uintptr_t)local));
    buf_add_format(out, ",\"model_info\":{\"general.parameter_count\":%llu",
                   (unsigned long long)info->parameter_count);
    for (size_t i = 0; i < gguf->entry_count; i++) {
        const struct gguf_entry *entry = &gguf->entries[i];
        if (str_starts(entry->key, STR("tokenizer.chat_template")) ||
            str_eq(entry->key, STR("general.parameter_count"))) {
            continue;
        }
        buf_add_char(out, ',');
        json_write_string(out, entry->key);
        buf_add_char(out, ':');
        add_value(&entry->value, verbose, out);
    }
    buf_add_char(out, '}');
}

static bool add_template(const struct route_local *local, struct buf *out, struct err *err)
{
    const char *file = route_local_params_of(local)->chat_template_file;
    struct chat_source source;
    size_t len = 0;
    char *bytes = file ? os_file_slurp(file, TEMPLATE_BYTES_MAX, &len, err) : NULL;
    if (file ? !bytes : !chat_source_find(route_local_gguf(local), false, &source, err)) {
        return false;
    }
    buf_add_text(out, ",\"template\":");
    json_write_string(out, file ? (struct str){bytes, len} : source.text);
    mem_free(bytes);
    return true;
}

static bool apply_verbose(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    (void)request;
    return json_is_boolean(value) || api_type_error(field->name, "a boolean", value, err);
}

static bool apply_nothing(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    (void)request;
    bool is_empty = (json_is_string(value) && json_string_length(value) == 0) ||
                    (json_is_object(value) && json_object_size(value) == 0);
    return is_empty || err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                                     field->name, field->note);
}

#define SLOT(member) offsetof(struct gen_request, member)

static const struct api_field show_fields[] = {
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model)},
    {.name = "name", .kind = API_TEXT, .offset = SLOT(model), .note = "the older word for 'model'"},
    {.name = "verbose",
     .kind = API_CUSTOM,
     .apply = apply_verbose,
     .note = "also the lists of the metadata"},
    {.name = "system",
     .kind = API_CUSTOM,
     .apply = apply_nothing,
     .is_limited = true,
     .note = "what is shown is the model as it is"},
    {.name = "template",
     .kind = API_CUSTOM,
     .apply = apply_nothing,
     .is_limited = true,
     .note = "what is shown is the model as it is"},
    {.name = "options",
     .kind = API_CUSTOM,
     .apply = apply_nothing,
     .is_limited = true,
     .note = "what is shown is the model as it is"},
    {0},
};

const struct api_field *const api_ollama_show_tables[] = {show_fields, NULL};

/* The entry of a loaded model; the names of entries are what its answer goes by. */
static bool find_entry(struct route_registry *registry, const struct route_local *local,
                       struct route_entry *entry)
{
    for (size_t i = 0; i < route_registry_count(registry); i++) {
        route_registry_entry(registry, i, entry, NULL);
        if (entry->local == local) {
            return true;
        }
    }
    return false;
}

static bool show(struct route_registry *registry, const struct gen_request *request,
                 struct buf *out, struct err *err)
{
    struct route_entry entry;
    struct str license = {0};
    struct err ignored;
    struct route_local *local = api_request_local(request, registry, err);
    if (!local || !find_entry(registry, local, &entry)) {
        return false;
    }
    gguf_get_str(route_local_gguf(local), STR("general.license"), &license, NULL, &ignored);
    struct buf modelfile = {0};
    buf_add_text(&modelfile, "FROM ");
    buf_add(&modelfile, entry.id);
    buf_add_char(&modelfile, '\n');
    buf_add_text(out, "{\"license\":");
    json_write_string(out, license);
    buf_add_text(out, ",\"modelfile\":");
    json_write_string(out, buf_view(&modelfile));
    buf_deinit(&modelfile);
    buf_add_text(out, ",\"parameters\":\"\",\"system\":\"\"");
    if (!add_template(local, out, err)) {
        return false;
    }
    buf_add_char(out, ',');
    add_details(&entry, out);
    add_model_info(local, json_is_true(json_object_get(request->body, "verbose")), out);
    buf_add_text(out, ",\"capabilities\":[\"completion\"],\"modified_at\":");
    add_time(entry.created_s, out);
    buf_add_char(out, '}');
    return true;
}

bool api_ollama_show(struct route_registry *registry, struct str body, struct buf *out,
                     struct err *err)
{
    struct gen_request request;
    api_request_init(&request, GEN_CHAT);
    request.is_tagged = true;
    bool ok = api_request_read(&request, body, err) &&
              api_fields_apply(&request, request.body, api_ollama_show_tables, err);
    if (ok && request.model.len == 0) {
        ok = err_set_param(err, ERR_MISSING, "model", "missing required parameter: 'model'");
    }
    ok = ok && show(registry, &request, out, err);
    if (!ok) {
        buf_clear(out);
    }
    api_request_deinit(&request);
    return ok;
}
