/* Models that users make of others: POST /api/create, /api/copy, DELETE /api/delete, and the files
 * that create may use, HEAD and POST /api/blobs/sha256:HEX.
 *
 * A made model is a name, the file behind it, and a definition (route/definition.h). It is written
 * to the store before the answer, as an object of the kind STORE_MODEL that belongs to no tenant:
 *
 *     {"path":"/x/m.gguf","definition":{"system":".."}}
 *
 * The one store of the server rather than a file of its own: both have to survive a crash after the
 * answer, and the store does. Uploaded files lie in a folder beside it, each under its digest; they
 * go with the last name that uses them, and so do those that `quantize` writes there. No other file
 * is ever deleted. */
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "api/ollama.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/os_private.h"
#include "route/quantize.h"

enum { NAME_MAX_BYTES = 256, DIGEST_HEX = 64, TEMPLATE_BYTES_MAX = 4 << 20 };

#define NDJSON "application/x-ndjson"

/* ---- names ---- */

/* NAME of NAME:latest, after a look at its bytes. */
static bool read_name(const json_t *body, const char *key, const char *older, struct str *out,
                      struct err *err)
{
    const json_t *value = json_object_get(body, key);
    if (!value && older) {
        value = json_object_get(body, older);
    }
    if (!value || json_is_null(value)) {
        return err_set_param(err, ERR_MISSING, key, "missing required parameter: '%s'", key);
    }
    if (!json_is_string(value)) {
        return api_type_error(key, "a string", value, err);
    }
    struct str name = json_str(value);
    if (str_ends(name, STR(":latest"))) {
        name.len -= 7;
    }
    bool ok = name.len > 0 && name.len <= NAME_MAX_BYTES;
    for (size_t i = 0; ok && i < name.len; i++) {
        char c = name.ptr[i];
        ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
             (i > 0 && strchr("._-:/", c) != NULL);
    }
    *out = name;
    return ok || err_set_param(err, ERR_INVALID, key,
                               "'%s' must be 1 to %d letters, digits, '.', '_', '-', ':' or '/', "
                               "beginning with a letter or digit",
                               key, NAME_MAX_BYTES);
}

/* ---- keeping ---- */

static bool keep_model(struct api_call *call, struct str name, const char *path,
                       const struct route_definition *definition, struct err *err)
{
    struct store *store = api_call_store(call, err);
    struct buf body = {0};
    if (!store) {
        return false;
    }
    buf_add_text(&body, "{\"path\":");
    json_write_string(&body, str_of(path));
    buf_add_text(&body, ",\"definition\":");
    if (definition) {
        json_write(&body, definition->object);
    } else {
        buf_add_text(&body, "null");
    }
    buf_add_char(&body, '}');
    const struct store_object object = {
        .kind = STORE_MODEL, .id = name, .created_s = clock_wall_s(), .body = buf_view(&body)};
    bool ok = body.failed ? err_set_memory(err, body.len) : store_put(store, &object, 1, err);
    buf_deinit(&body);
    return ok;
}

static bool restore_one(void *arg, const struct store_object *object)
{
    struct route_registry *registry = arg;
    struct json_limits limits = {.depth_max = API_BODY_DEPTH_MAX};
    struct err ignored; /* a name that is now a file's, or a model that this hearth cannot read */
    json_t *body = json_parse(object->body, &limits, &ignored);
    const char *path = json_string_value(json_object_get(body, "path"));
    json_t *given = json_object_get(body, "definition");
    struct route_definition *definition =
        json_is_object(given) ? route_definition_create(json_incref(given), &ignored) : NULL;
    if (path && (definition || !json_is_object(given))) {
        route_registry_add(registry, object->id, path, definition, &ignored);
    } else {
        route_definition_destroy(definition);
    }
    json_decref(body);
    return true;
}

bool api_ollama_restore(struct route_registry *registry, struct store *store, struct err *err)
{
    const struct store_query query = {.kind = STORE_MODEL};
    return store_list(store, &query, restore_one, registry, NULL, err);
}

/* ---- files ---- */

/* "sha256:HEX" -> FOLDER/sha256-HEX, allocated in the call's arena. */
static char *blob_path(struct api_call *call, struct str digest, const char *param, struct err *err)
{
    struct str hex = digest;
    bool ok = str_eat(&hex, STR("sha256:")) && hex.len == DIGEST_HEX;
    for (size_t i = 0; ok && i < hex.len; i++) {
        ok = strchr("0123456789abcdef", hex.ptr[i]) != NULL;
    }
    if (!ok) {
        err_set_param(err, ERR_INVALID, param, "a digest is 'sha256:' and %d lower hex digits",
                      DIGEST_HEX);
        return NULL;
    }
    if (!call->keep->blobs_folder) {
        err_set(err, ERR_UNSUPPORTED, "this server stores nothing: %s", call->keep->lack);
        return NULL;
    }
    struct buf path = {0};
    buf_add_format(&path, "%s/sha256-", call->keep->blobs_folder);
    buf_add(&path, hex);
    char *copy = path.failed ? NULL : arena_copy(&call->arena, buf_view(&path));
    if (!copy) {
        err_set_memory(err, path.len);
    }
    buf_deinit(&path);
    return copy;
}

bool api_ollama_blob_find(struct api_call *call, struct err *err)
{
    char *path = blob_path(call, call->ids[0], "digest", err);
    return path && (os_path_exists(path) || err_set(err, ERR_NOT_FOUND, "there is no such blob"));
}

static bool check_digest(struct str bytes, struct str wanted, struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    unsigned len = 0;
    if (EVP_Digest(bytes.ptr ? bytes.ptr : "", bytes.len, digest, &len, EVP_sha256(), NULL) != 1) {
        return err_set_memory(err, bytes.len);
    }
    for (unsigned i = 0; i < len; i++) {
        snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
    }
    return str_eq(str_of(hex), str_slice(wanted, 7, wanted.len)) ||
           err_set_param(err, ERR_INVALID, "digest", "the bytes have the digest sha256:%s", hex);
}

bool api_ollama_blob_put(struct api_call *call, struct err *err)
{
    struct os_out out;
    char *path = blob_path(call, call->ids[0], "digest", err);
    if (!path || !check_digest(call->body, call->ids[0], err)) {
        return false;
    }
    if (os_path_exists(path)) {
        return true;
    }
    if (!os_private_folder(call->keep->blobs_folder, err) || !os_out_open(&out, path, err)) {
        return false;
    }
    bool ok = os_out_write(&out, call->body.ptr, call->body.len, err) && os_out_commit(&out, err);
    os_out_abort(&out);
    return ok;
}

/* ---- create ---- */

struct creating {
    struct api_call *call;
    const json_t *body;
    struct str name;
    const char *path;
    json_t *definition;                   /* owned */
    const struct gguf_mix_target *target; /* what the file is quantised to; NULL: it stays */
    json_t *body_owned;
    unsigned percent; /* told */
};

/* The file of an uploaded model: exactly one. */
static bool read_files(struct creating *creating, const json_t *files, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)files;
    void *it = json_object_iter(object);
    if (!json_is_object(files) || json_object_size(files) != 1) {
        return err_set_param(err, ERR_INVALID, "files",
                             "'files' is one GGUF file, {\"name.gguf\":\"sha256:...\"}");
    }
    creating->path = blob_path(creating->call, json_str(json_object_iter_value(it)), "files", err);
    return creating->path &&
           (os_path_exists(creating->path) ||
            err_set_param(err, ERR_NOT_FOUND, "files",
                          "the file was not uploaded: POST /api/blobs/sha256:... takes it"));
}

/* A model that is served, whose definition is inherited, or the path of a GGUF file. */
static bool read_from(struct creating *creating, const json_t *from, struct err *err)
{
    struct route_entry entry;
    struct str name = json_str(from);
    if (!json_is_string(from)) {
        return api_type_error("from", "a string", from, err);
    }
    if (name.len && name.ptr[0] == '/') {
        creating->path = arena_copy(&creating->call->arena, name);
        return creating->path != NULL || err_set_memory(err, name.len);
    }
    if (!route_registry_find(creating->call->registry, name, true, &entry, err)) {
        return err_wrap_param(err, "from");
    }
    creating->path = arena_copy(&creating->call->arena, str_of(entry.path));
    if (entry.definition) {
        json_decref(creating->definition);
        creating->definition = json_deep_copy(entry.definition->object);
    }
    route_entry_deinit(&entry);
    return (creating->path && creating->definition) || err_set_memory(err, name.len);
}

static bool set(struct creating *creating, const char *key, json_t *value, struct err *err)
{
    return json_object_set_new(creating->definition, key, value) == 0 ||
           err_set_memory(err, sizeof *value);
}

static bool read_template(struct creating *creating, const json_t *value, struct err *err)
{
    struct str text = json_str(value);
    if (!json_is_string(value)) {
        return api_type_error("template", "a string", value, err);
    }
    struct chat_template *compiled = chat_template_compile(text, NULL, err);
    chat_template_destroy(compiled);
    if (!compiled) {
        return err_wrap_param(err, "template");
    }
    return set(creating, "template", json_deep_copy(value), err);
}

/* Each is an option of /api/generate, in its range. */
static bool read_parameters(struct creating *creating, const json_t *value, struct err *err)
{
    struct gen_request scratch;
    static const struct api_field *const tables[] = {api_ollama_option_fields, NULL};
    json_t *old = json_object_get(creating->definition, "parameters");
    if (!json_is_object(value)) {
        return api_type_error("parameters", "an object", value, err);
    }
    api_request_init(&scratch, GEN_CHAT);
    bool ok = api_fields_apply(&scratch, value, tables, err) || err_wrap_param(err, "parameters");
    api_request_deinit(&scratch);
    json_t *all = old ? json_copy(old) : json_object();
    ok = ok && (json_object_update(all, (json_t *)(uintptr_t)value) == 0 ||
                err_set_memory(err, sizeof *all));
    ok = ok && set(creating, "parameters", json_incref(all), err);
    json_decref(all);
    return ok;
}

static bool read_messages(struct creating *creating, const json_t *value, struct err *err)
{
    static const struct api_field field = {.name = "messages"};
    struct gen_request scratch;
    api_request_init(&scratch, GEN_CHAT);
    bool ok = api_ollama_messages(&scratch, &field, value, err) &&
              set(creating, "messages", json_deep_copy(scratch.messages), err);
    api_request_deinit(&scratch);
    return ok;
}

static bool read_license(struct creating *creating, const json_t *value, struct err *err)
{
    json_t *list = json_is_array(value) ? json_deep_copy(value) : json_array();
    bool ok = list != NULL || err_set_memory(err, sizeof *list);
    if (ok && json_is_string(value)) {
        ok = json_array_append_new(list, json_deep_copy(value)) == 0;
    }
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        ok = json_is_string(json_array_get(list, i)) ||
             api_type_error("license", "a string or an array of strings", json_array_get(list, i),
                            err);
    }
    if (ok && !json_is_string(value) && !json_is_array(value)) {
        ok = api_type_error("license", "a string or an array of strings", value, err);
    }
    ok = ok && set(creating, "license", json_incref(list), err);
    json_decref(list);
    return ok;
}

static bool refuse(const char *name, const char *why, struct err *err)
{
    return err_set_param(err, ERR_UNSUPPORTED, name, "'%s' is not supported: %s", name, why);
}

static bool read_quantize(struct creating *creating, const char *name, const json_t *value,
                          struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    if (!json_is_string(value)) {
        return api_type_error(name, "a string", value, err);
    }
    if (json_string_length(value) == 0) {
        return true;
    }
    creating->target = gguf_mix_find(json_str(value));
    if (!creating->target) {
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' must be a type that `hearth quantize --help` lists, not %s",
                             name, str_quote(quoted, json_str(value)));
    }
    return creating->call->keep->blobs_folder ||
           err_set(err, ERR_UNSUPPORTED, "this server stores nothing: %s",
                   creating->call->keep->lack);
}

static bool read_field(struct creating *creating, const char *name, const json_t *value,
                       struct err *err)
{
    if (json_is_null(value) || strcmp(name, "model") == 0 || strcmp(name, "name") == 0 ||
        strcmp(name, "from") == 0 || strcmp(name, "files") == 0) {
        return true;
    }
    if (strcmp(name, "stream") == 0) {
        return json_is_boolean(value) || api_type_error(name, "a boolean", value, err);
    }
    if (strcmp(name, "template") == 0) {
        return read_template(creating, value, err);
    }
    if (strcmp(name, "system") == 0) {
        return json_is_string(value) ? set(creating, name, json_deep_copy(value), err)
                                     : api_type_error(name, "a string", value, err);
    }
    if (strcmp(name, "parameters") == 0) {
        return read_parameters(creating, value, err);
    }
    if (strcmp(name, "messages") == 0) {
        return read_messages(creating, value, err);
    }
    if (strcmp(name, "license") == 0) {
        return read_license(creating, value, err);
    }
    if (strcmp(name, "quantize") == 0 || strcmp(name, "quantization") == 0) {
        return read_quantize(creating, name, value, err);
    }
    if (strcmp(name, "adapters") == 0) {
        return json_object_size(value) == 0 ||
               refuse(name, "adapters are not part of a model", err);
    }
    if (strcmp(name, "modelfile") == 0 || strcmp(name, "path") == 0) {
        return refuse(name, "give its lines as the fields 'from', 'parameters', 'template' ...",
                      err);
    }
    return api_unknown_error(name, err);
}

static bool read_create(struct creating *creating, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)creating->body;
    const json_t *from = json_object_get(object, "from"), *files = json_object_get(object, "files");
    if (!read_name(object, "model", "name", &creating->name, err)) {
        return false;
    }
    if (!from == !files) {
        return err_set_param(err, ERR_MISSING, "from", "give one of 'from' and 'files'");
    }
    if (!(from ? read_from(creating, from, err) : read_files(creating, files, err))) {
        return false;
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        if (!read_field(creating, json_object_iter_key(it), json_object_iter_value(it), err)) {
            return false;
        }
    }
    struct route_facts facts;
    return route_facts_read(creating->path, &facts, err) || err_wrap_param(err, "from");
}

/* Takes the definition. The store first: what is there after the answer is there after a crash. */
static bool make(struct api_call *call, struct str name, const char *path, json_t *object,
                 struct err *err)
{
    struct route_entry entry;
    char quoted[STR_QUOTE_MAX];
    struct err absent;
    struct route_definition *definition = route_definition_create(object, err);
    if (!definition) {
        return false;
    }
    bool is_taken = route_registry_find(call->registry, name, true, &entry, &absent);
    bool is_file = is_taken && !entry.is_made;
    if (is_taken) {
        route_entry_deinit(&entry);
    }
    bool ok = !is_file || err_set_param(err, ERR_INVALID, "model",
                                        "'%s' is the name of a model file; choose another one",
                                        str_quote(quoted, name));
    ok = ok && keep_model(call, name, path, definition, err);
    if (!ok) {
        route_definition_destroy(definition);
        return false;
    }
    return route_registry_add(call->registry, name, path, definition, err);
}

static bool wants_stream(const struct creating *creating)
{
    return !json_is_false(json_object_get(creating->body, "stream"));
}

static void add_success(struct creating *creating)
{
    bool is_stream = wants_stream(creating);
    if (is_stream && !creating->call->media) { /* else it has been told */
        creating->call->media = NDJSON;
    }
    buf_add_text(&creating->call->out, is_stream ? "{\"status\":\"writing manifest\"}\n"
                                                   "{\"status\":\"success\"}\n"
                                                 : "{\"status\":\"success\"}");
}

static void creating_deinit(struct creating *creating)
{
    json_decref(creating->definition);
    json_decref(creating->body_owned);
}

/* ---- quantising ---- */

static bool is_abandoned(void *arg)
{
    struct creating *creating = arg;
    return creating->call->is_abandoned(creating->call);
}

/* A line per percent. */
static void tell_progress(void *arg, uint64_t done, uint64_t all)
{
    struct creating *creating = arg;
    struct buf line = {0};
    unsigned percent = all ? (unsigned)(100.0 * (double)done / (double)all) : 100;
    if (percent == creating->percent || !wants_stream(creating)) {
        return;
    }
    creating->percent = percent;
    buf_add_format(&line, "{\"status\":\"quantizing to %s\",\"total\":%llu,\"completed\":%llu}\n",
                   creating->target->name, (unsigned long long)all, (unsigned long long)done);
    creating->call->say(creating->call, buf_view(&line));
    buf_deinit(&line);
}

/* To a new file beside the uploaded ones, which goes with its last name as they do. */
static bool quantize(struct creating *creating, struct err *err)
{
    char id[API_ID_MAX];
    struct buf path = {0};
    const char *folder = creating->call->keep->blobs_folder, *from = creating->path;
    const struct route_quantize how = {.target = creating->target,
                                       .progress = tell_progress,
                                       .is_cancelled = is_abandoned,
                                       .arg = creating};
    api_new_id("quantized-", id);
    buf_add_format(&path, "%s/%s.gguf", folder, id);
    creating->path = path.failed ? NULL : arena_copy(&creating->call->arena, buf_view(&path));
    buf_deinit(&path);
    if (!creating->path) {
        return err_set_memory(err, sizeof id);
    }
    return os_private_folder(folder, err) && route_quantize(from, creating->path, &how, err);
}

/* On the thread for long work. */
static bool quantize_and_make(struct api_call *call, struct err *err)
{
    struct creating *creating = call->state;
    bool is_stream = wants_stream(creating);
    call->media = is_stream ? NDJSON : NULL;
    creating->percent = UINT_MAX;
    if (is_stream) {
        call->say(call, STR("{\"status\":\"reading model\"}\n"));
    }
    bool is_written = quantize(creating, err);
    bool ok = is_written &&
              make(call, creating->name, creating->path, json_incref(creating->definition), err);
    if (ok) {
        add_success(creating);
    } else if (is_written) {
        os_private_remove(creating->path);
    }
    if (!ok && is_stream) { /* status 200 is on its way already */
        api_ollama_error(err, (struct str){0}, &call->out);
        buf_add_char(&call->out, '\n');
        ok = true;
    }
    creating_deinit(creating);
    return ok;
}

bool api_ollama_create(struct api_call *call, struct err *err)
{
    struct creating *creating = arena_alloc(&call->arena, 1, sizeof *creating);
    if (!creating) {
        return err_set_memory(err, sizeof *creating);
    }
    *creating = (struct creating){.call = call, .definition = json_object()};
    creating->body = creating->body_owned = api_call_object(call, err);
    bool ok = creating->body && read_create(creating, err);
    if (ok && creating->target) {
        call->state = creating;
        call->later = quantize_and_make;
        return true;
    }
    ok = ok && make(call, creating->name, creating->path, json_incref(creating->definition), err);
    if (ok) {
        add_success(creating);
    }
    creating_deinit(creating);
    return ok;
}

/* ---- copy, delete ---- */

static bool only(const json_t *body, const char *const *names, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)body;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
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

bool api_ollama_copy(struct api_call *call, struct err *err)
{
    static const char *const names[] = {"source", "destination", NULL};
    struct str source, destination;
    struct route_entry entry;
    json_t *body = api_call_object(call, err);
    bool ok = body && only(body, names, err) && read_name(body, "source", NULL, &source, err) &&
              read_name(body, "destination", NULL, &destination, err) &&
              route_registry_find(call->registry, source, true, &entry, err);
    if (ok) {
        json_t *definition =
            entry.definition ? json_deep_copy(entry.definition->object) : json_object();
        ok = make(call, destination, entry.path, definition, err);
        route_entry_deinit(&entry);
    }
    json_decref(body);
    return ok;
}

/* An uploaded file that no name uses any more. */
static void drop_blob(struct api_call *call, const char *path)
{
    struct route_list list;
    struct err ignored;
    const char *folder = call->keep->blobs_folder;
    bool is_ours = folder && str_starts(str_of(path), str_of(folder));
    if (!is_ours || !route_registry_list(call->registry, &list, &ignored)) {
        return;
    }
    for (size_t i = 0; is_ours && i < list.count; i++) {
        is_ours = strcmp(list.entries[i].path, path) != 0;
    }
    route_list_deinit(&list);
    if (is_ours) {
        os_private_remove(path);
    }
}

bool api_ollama_delete(struct api_call *call, struct err *err)
{
    static const char *const names[] = {"model", "name", NULL};
    struct str name;
    struct route_entry entry;
    struct store *store = NULL;
    json_t *body = api_call_object(call, err);
    bool ok = body && only(body, names, err) && read_name(body, "model", "name", &name, err) &&
              route_registry_find(call->registry, name, true, &entry, err);
    if (ok) {
        char *path = arena_copy(&call->arena, str_of(entry.path));
        struct str id = entry.id;
        ok = path ? route_registry_remove(call->registry, id, false, err)
                  : err_set_memory(err, id.len);
        ok = ok && (store = api_call_store(call, err)) != NULL &&
             store_delete(store, STORE_MODEL, (struct str){0}, (struct str){0}, id, err);
        route_entry_deinit(&entry);
        if (ok) {
            drop_blob(call, path);
        }
    }
    json_decref(body);
    return ok;
}
