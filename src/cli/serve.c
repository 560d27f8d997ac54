/* hearth serve: reads the settings, checks the models, listens, loads, serves until told to stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/ollama.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/cli.h"
#include "cli/types.h"
#include "engine/disk.h"
#include "engine/record.h"
#include "route/bundled.h"
#include "route/places.h"
#include "route/registry.h"
#include "server/server.h"
#include "server/settings.h"
#include "store/store.h"

extern char **environ;

enum { KEY_FILE_BYTES_MAX = 1 << 20 };

static void print_help(void)
{
    struct buf text = {0};
    buf_add_text(&text, "usage: hearth serve [MODEL...] [OPTIONS]\n\n"
                        "Serves models over the OpenAI API. MODEL is a GGUF file or a name that "
                        "`hearth list` shows;\nwithout one, the bundled model is served.\n\n"
                        "  --config FILE                YAML, or TOML if its name ends in .toml\n");
    server_settings_help(&text);
    buf_add_text(&text, "\nEach option is also a key of the config file and a variable "
                        "HEARTH_NAME; see docs/settings.md.\n");
    if (!text.failed) {
        fputs(text.ptr, stdout);
    }
    buf_deinit(&text);
}

/* ---- signals and news: one pipe that the main thread sleeps on ---- */

static int news[2] = {-1, -1};

static void tell(char what)
{
    ssize_t written = write(news[1], &what, 1);
    (void)written; /* a full pipe wakes as well */
}

static void on_signal(int number)
{
    int saved = errno;
    (void)number;
    tell('S');
    errno = saved;
}

static void on_model(void *arg)
{
    (void)arg;
    tell('M');
}

static bool open_news(struct err *err)
{
    if (pipe(news) != 0) {
        return err_set_errno(err, errno, "create a pipe");
    }
    for (int i = 0; i < 2; i++) {
        fcntl(news[i], F_SETFL, O_NONBLOCK);
        fcntl(news[i], F_SETFD, FD_CLOEXEC);
    }
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    return true;
}

/* Waits for news; 0 after timeout_ms (-1: never). */
static char wait_news(int timeout_ms)
{
    struct pollfd watched = {.fd = news[0], .events = POLLIN};
    char what = 0;
    if (poll(&watched, 1, timeout_ms) > 0 && read(news[0], &what, 1) == 1) {
        return what;
    }
    return 0;
}

/* ---- from settings to parameters ---- */

struct serve {
    struct server_settings settings;
    struct route_places places; /* whose models are loaded on demand */
    struct route_model *models; /* [model_count] */
    size_t model_count;
    struct route_adapters adapters; /* of the one model */
    struct server_address *listens;
    size_t listen_count;
    struct server_list keys;
    struct arena arena;
    struct engine_disk *disk;
    char *blobs_folder; /* beside the store */
    struct engine_recorder *recorder;
    struct err disk_fault; /* why there is none, to be told once the server runs */
    struct store *store;
    struct err store_fault; /* why there is none */
    struct route_registry *registry;
    struct server *server;
    bool is_settled; /* every model is loaded or has failed */
};

/* PATH=ID unless the whole is a path. An id may hold '/', so the last '=' counts. */
static bool add_model(struct serve *serve, const struct route_places *places, struct str text,
                      struct err *err)
{
    struct route_model *model = &serve->models[serve->model_count];
    const char *equals = os_path_exists(text.ptr) ? NULL : strrchr(text.ptr, '=');
    char *name = arena_copy(&serve->arena,
                            str_slice(text, 0, equals ? (size_t)(equals - text.ptr) : text.len));
    char *found = name ? route_places_find(places, name, err) : NULL;
    model->path = found ? arena_copy(&serve->arena, str_of(found)) : NULL;
    model->id = equals ? equals + 1 : NULL;
    if (found && !model->path) {
        err_set_memory(err, strlen(found));
    }
    mem_free(found);
    serve->model_count += model->path != NULL;
    return model->path != NULL;
}

/* The bundled encoder answers to its name beside models that were named, so that vectors need no
 * setting; where models are looked for in folders it is found there. */
static bool add_encoder(struct serve *serve, struct err *err)
{
    struct err none;
    char *path;
    if (!route_bundled_encoder(&path, &none)) {
        return true;
    }
    struct route_model *model = &serve->models[serve->model_count];
    model->path = arena_copy(&serve->arena, str_of(path));
    mem_free(path);
    if (!model->path) {
        return err_set_memory(err, serve->model_count);
    }
    model->when = ROUTE_UNLISTED;
    bool is_there = false; /* somebody else's, or itself */
    for (size_t i = 0; i < serve->model_count; i++) {
        const struct route_model *other = &serve->models[i];
        struct str id = other->id ? str_of(other->id) : gguf_model_id(other->path);
        is_there = is_there || str_eq(id, gguf_model_id(model->path));
    }
    serve->model_count += !is_there;
    return true;
}

static bool find_adapters(struct serve *serve, struct err *err)
{
    const struct server_list *named = &serve->settings.lora;
    if (named->count > 0 && serve->model_count != 1) {
        return err_set(err, ERR_USAGE, "--lora needs exactly one model");
    }
    for (size_t i = 0; i < named->count; i++) {
        if (!route_adapters_add(&serve->adapters, named->items[i], err)) {
            return false;
        }
        serve->models[0].adapters = &serve->adapters;
    }
    return true;
}

static bool find_models(struct serve *serve, struct err *err)
{
    const struct server_list *named = &serve->settings.model;
    serve->models = ARENA_ARRAY(&serve->arena, struct route_model, named->count + 2);
    if (!serve->models) {
        return err_set_memory(err, sizeof *serve->models);
    }
    if (named->count == 0 && serve->settings.models_dir.count) {
        serve->is_settled = true; /* nothing is loaded at start */
    } else if (named->count == 0) {
        char *bundled;
        if (!route_bundled_model(&bundled, err)) {
            return false;
        }
        serve->models[0].path = arena_copy(&serve->arena, str_of(bundled));
        serve->model_count = 1;
        mem_free(bundled);
    } else {
        struct route_places places;
        bool ok = route_places_init(&places, err);
        for (size_t i = 0; ok && i < named->count; i++) {
            ok = add_model(serve, &places, named->items[i], err);
        }
        route_places_deinit(&places);
        if (!ok) {
            return false;
        }
    }
    if (serve->settings.alias.len && serve->model_count > 1) {
        return err_set(err, ERR_USAGE,
                       "--alias needs exactly one model; for several write "
                       "--model PATH=ID");
    }
    if (serve->settings.alias.len) {
        serve->models[0].id = serve->settings.alias.ptr;
    }
    return find_adapters(serve, err) &&
           (named->count == 0 || serve->settings.models_dir.count || add_encoder(serve, err));
}

/* Folders that were named; without any, and without a named model, the places where `hearth list`
 * looks. */
static bool find_places(struct serve *serve, struct err *err)
{
    const struct server_settings *settings = &serve->settings;
    if (settings->models_dir.count) {
        return route_places_of(&serve->places, settings->models_dir.items,
                               settings->models_dir.count, err);
    }
    return settings->model.count > 0 || route_places_init(&serve->places, err);
}

static bool find_listens(struct serve *serve, struct err *err)
{
    const struct server_settings *settings = &serve->settings;
    const struct server_list *list = &settings->listen;
    serve->listen_count = list->count ? list->count : 1;
    serve->listens = ARENA_ARRAY(&serve->arena, struct server_address, serve->listen_count);
    if (!serve->listens) {
        return err_set_memory(err, sizeof *serve->listens);
    }
    if (list->count && (server_settings_is_given(settings, "host") ||
                        server_settings_is_given(settings, "port"))) {
        return err_set(err, ERR_USAGE, "--listen stands instead of --host and --port, not beside");
    }
    for (size_t i = 0; i < list->count; i++) {
        if (!server_address_parse(list->items[i], &serve->listens[i], err)) {
            return err_wrap(err, "--listen");
        }
    }
    if (list->count == 0 &&
        !server_address_make(settings->host, (uint16_t)settings->port, &serve->listens[0])) {
        char quoted[STR_QUOTE_MAX];
        return err_set(err, ERR_USAGE, "--host: \"%s\" is no IP address",
                       str_quote(quoted, settings->host));
    }
    return true;
}

static bool find_keys(struct serve *serve, struct err *err)
{
    const struct server_settings *settings = &serve->settings;
    size_t len = 0;
    serve->keys = settings->api_key;
    if (settings->api_key_file.len == 0) {
        return true;
    }
    char *slurped = os_file_slurp(settings->api_key_file.ptr, KEY_FILE_BYTES_MAX, &len, err);
    char *text = slurped ? arena_copy(&serve->arena, (struct str){slurped, len}) : NULL;
    mem_free(slurped);
    if (!text) {
        return err_wrap(err, "read the API keys");
    }
    size_t count = settings->api_key.count, lines = 1;
    for (size_t i = 0; i < len; i++) {
        lines += text[i] == '\n';
    }
    struct str *all = ARENA_ARRAY(&serve->arena, struct str, count + lines);
    if (!all) {
        return err_set_memory(err, lines * sizeof *all);
    }
    for (size_t i = 0; i < count; i++) {
        all[i] = settings->api_key.items[i];
    }
    struct str rest = {text, len};
    while (rest.len) {
        struct str key = str_trim(str_cut(&rest, '\n'));
        if (key.len && key.ptr[0] != '#') {
            all[count++] = key;
        }
    }
    serve->keys = (struct server_list){all, count};
    return count > 0 || err_set(err, ERR_USAGE, "the file of API keys holds none");
}

/* "8,4,1" */
static bool parse_weights(struct str text, uint32_t weights[ENGINE_LANES], struct err *err)
{
    enum { WEIGHT_MAX = 10000 };
    bool ok = true;
    for (int i = 0; i < ENGINE_LANES; i++) {
        uint64_t weight = 0;
        ok = ok && str_to_u64(str_trim(str_cut(&text, ',')), &weight) && weight >= 1 &&
             weight <= WEIGHT_MAX;
        weights[i] = (uint32_t)weight;
    }
    return (ok && text.len == 0) ||
           err_set(err, ERR_USAGE, "--lane-weights: three whole numbers from 1 to %d, as in 8,4,1",
                   WEIGHT_MAX);
}

static bool local_params(const struct server_settings *settings, struct route_local_params *out,
                         struct err *err)
{
    *out = route_local_params_default();
    out->ctx_tokens = (uint32_t)settings->ctx;
    out->kv_tokens = (uint32_t)settings->kv_tokens;
    out->sequences_max = (uint32_t)settings->parallel;
    out->threads = (uint32_t)settings->threads;
    out->batch_rows_max = (uint32_t)settings->batch;
    out->prefill_chunk = (uint32_t)settings->prefill_chunk;
    out->decode_stretch = (float)settings->decode_stretch;
    out->drafts_max = (uint32_t)settings->drafts;
    if (!parse_weights(settings->lane_weights, out->lane_weights, err)) {
        return false;
    }
    out->queue_max = (uint32_t)settings->queue;
    out->cache_percent = (uint32_t)settings->cache_share;
    out->memory_max = settings->memory_mib << 20;
    out->chat_template_file =
        settings->chat_template_file.len ? settings->chat_template_file.ptr : NULL;
    enum cpu_level level;
    if (!str_eq(settings->cpu_level, STR("auto")) && cpu_level_parse(settings->cpu_level, &level)) {
        if (kernels_get(level)->level != level) {
            return err_set(err, ERR_USAGE, "--cpu-level: this machine has no %s",
                           settings->cpu_level.ptr);
        }
        out->cpu_level = level;
    }
    return route_kv_type_parse(settings->kv, &out->kv_type) ||
           err_set(err, ERR_USAGE, "--kv: unknown type");
}

/* FOLDER/prefix of --cache-dir, else of the user's caches; empty when there is no such place. */
static struct str find_cache_folder(struct serve *serve)
{
    struct buf path = {0};
    struct str base = serve->settings.cache_dir, xdg = str_of(getenv("XDG_CACHE_HOME"));
    struct str home = str_of(getenv("HOME"));
    if (base.len) {
        buf_add(&path, base);
    } else if (xdg.len && xdg.ptr[0] == '/') { /* else invalid, says the XDG specification */
        buf_add(&path, xdg);
        buf_add_text(&path, "/hearth");
    } else if (home.len && os_path_exists(home.ptr)) { /* no home is made for a cache */
        buf_add(&path, home);
        buf_add_text(&path, "/.cache/hearth");
    }
    if (path.len) {
        buf_add_text(&path, "/prefix");
    }
    struct str found = {path.failed ? NULL : arena_copy(&serve->arena, buf_view(&path)), path.len};
    buf_deinit(&path);
    return found.ptr ? found : (struct str){0};
}

/* --record keeps every answer, --record-asked those that want it. */
static bool open_recorder(struct serve *serve, struct err *err)
{
    const struct str all = serve->settings.record, asked = serve->settings.record_asked;
    if (all.len && asked.len) {
        return err_set(err, ERR_USAGE, "--record and --record-asked do not go together");
    }
    if (all.len + asked.len > 0) {
        serve->recorder = engine_recorder_open(all.len ? all.ptr : asked.ptr, asked.len > 0, err);
        return serve->recorder || err_wrap(err, all.len ? "--record" : "--record-asked");
    }
    return true;
}

/* One process at a time has a folder. Without the one that was asked for the server does not start;
 * without the default one it serves and says that it keeps nothing. */
static bool open_disk(struct serve *serve, struct err *err)
{
    struct server_settings *settings = &serve->settings;
    if (settings->cache_disk == 0 || settings->cache_share == 0) {
        return true;
    }
    struct str folder = find_cache_folder(serve);
    if (folder.len) {
        serve->disk = engine_disk_open(folder.ptr, settings->cache_disk, err);
    } else {
        err_set(err, ERR_IO, "neither XDG_CACHE_HOME nor HOME says where");
    }
    if (serve->disk) {
        return true;
    }
    if (settings->cache_dir.len) {
        return err_wrap(err, "--cache-dir");
    }
    serve->disk_fault = *err;
    *err = (struct err){0};
    return true;
}

/* FOLDER of --data-dir, else of the user's data; what is stored lies in `store` below it. */
static struct str find_data_folder(struct serve *serve)
{
    struct buf path = {0};
    struct str xdg = str_of(getenv("XDG_DATA_HOME")), home = str_of(getenv("HOME"));
    if (serve->settings.data_dir.len) {
        buf_add(&path, serve->settings.data_dir);
    } else if (xdg.len && xdg.ptr[0] == '/') {
        buf_add(&path, xdg);
        buf_add_text(&path, "/hearth");
    } else if (home.len && os_path_exists(home.ptr)) {
        buf_add(&path, home);
        buf_add_text(&path, "/.local/share/hearth");
    }
    if (path.len) {
        buf_add_text(&path, "/store");
    }
    struct str found = {path.failed ? NULL : arena_copy(&serve->arena, buf_view(&path)), path.len};
    buf_deinit(&path);
    return found.ptr ? found : (struct str){0};
}

/* As with the cache: without the folder that was asked for the server does not start, without the
 * default one it serves, says so, and refuses requests that want to be stored. */
static bool open_store(struct serve *serve, struct err *err)
{
    if (str_eq(serve->settings.data_dir, STR("none"))) {
        err_set(&serve->store_fault, ERR_UNSUPPORTED, "--data-dir is none");
        return true;
    }
    struct str folder = find_data_folder(serve);
    if (folder.len) {
        serve->store = store_open(folder.ptr, serve->settings.data_mib << 20, err);
    } else {
        err_set(err, ERR_IO, "neither XDG_DATA_HOME nor HOME says where");
    }
    if (serve->store) {
        struct buf blobs = {0};
        buf_add(&blobs, str_slice(folder, 0, folder.len - strlen("/store")));
        buf_add_text(&blobs, "/blobs");
        serve->blobs_folder = blobs.failed ? NULL : arena_copy(&serve->arena, buf_view(&blobs));
        buf_deinit(&blobs);
    }
    if (serve->store) {
        return true;
    }
    if (serve->settings.data_dir.len) {
        return err_wrap(err, "--data-dir");
    }
    serve->store_fault = *err;
    *err = (struct err){0};
    return true;
}

static bool server_params_of(struct serve *serve, struct server_params *out, struct err *err)
{
    const struct server_settings *settings = &serve->settings;
    if ((settings->tls_cert.len > 0) != (settings->tls_key.len > 0)) {
        return err_set(err, ERR_USAGE, "--tls-cert and --tls-key must be given together");
    }
    *out = (struct server_params){
        .registry = serve->registry,
        .listens = serve->listens,
        .listen_count = serve->listen_count,
        .keys = serve->keys.items,
        .key_count = serve->keys.count,
        .origins = settings->allowed_origin.items,
        .origin_count = settings->allowed_origin.count,
        .hosts = settings->allowed_host.items,
        .host_count = settings->allowed_host.count,
        .tls_cert = settings->tls_cert.len ? settings->tls_cert.ptr : NULL,
        .tls_key = settings->tls_key.len ? settings->tls_key.ptr : NULL,
        .connections_max = settings->connections,
        .body_bytes_max = settings->body_mib << 20,
        .bodies_bytes_max = settings->bodies_mib << 20,
        .worker_count = settings->workers,
        .keep = {.store = serve->store,
                 .blobs_folder = serve->blobs_folder,
                 .lack = serve->store_fault.text,
                 .days = settings->data_days},
        .header_timeout_s = settings->header_timeout,
        .body_timeout_s = settings->body_timeout,
        .idle_timeout_s = settings->idle_timeout,
        .socket_idle_timeout_s = settings->socket_idle_timeout,
        .write_timeout_s = settings->write_timeout,
    };
    return true;
}

static bool set_up(struct serve *serve, int argc, char **argv, struct err *err)
{
    struct server_settings_source source = {
        .argc = argc - 1, .argv = argv + 1, .environment = (const char *const *)environ};
    struct route_registry_params registry = {.notify = on_model};
    struct server_params params;
    enum log_level level;
    if (!server_settings_read(&serve->settings, &source, err)) {
        return false;
    }
    if (log_level_parse(serve->settings.log_level, &level)) {
        log_set_level(level);
    }
    if (!find_models(serve, err) || !find_places(serve, err) || !find_listens(serve, err) ||
        !find_keys(serve, err) || !local_params(&serve->settings, &registry.local, err)) {
        return false;
    }
    /* Binding comes first: it is quick, and a refusal of an open bind should not wait for files. */
    if (!server_params_of(serve, &params, err) || !server_check_bind(&params, err) ||
        !open_news(err) || !open_disk(serve, err) || !open_recorder(serve, err) ||
        !open_store(serve, err)) {
        return false;
    }
    params.keep.store = serve->store;
    params.keep.blobs_folder = serve->blobs_folder;
    registry.local.disk = serve->disk;
    registry.local.recorder = serve->recorder;
    registry.models = serve->models;
    registry.places = serve->places.count ? &serve->places : NULL;
    registry.keep_ns = serve->settings.keep_alive < 0 ? ROUTE_KEEP_FOREVER
                                                      : (int64_t)(serve->settings.keep_alive * 1e9);
    registry.model_count = serve->model_count;
    serve->registry = route_registry_create(&registry, err);
    params.registry = serve->registry;
    if (serve->registry && serve->store &&
        !api_ollama_restore(serve->registry, serve->store, err)) {
        return false;
    }
    serve->server = serve->registry ? server_create(&params, err) : NULL;
    return serve->server && server_start(serve->server, err) &&
           route_registry_start(serve->registry, err);
}

/* ---- what is printed ---- */

static void print_addresses(const struct serve *serve)
{
    for (size_t i = 0; i < server_listen_count(serve->server); i++) {
        char url[96];
        server_url(serve->server, i, url);
        printf("listening on %s\n", url);
    }
    fflush(stdout);
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void print_machine(void)
{
    char name[96], quoted[STR_QUOTE_MAX];
    os_cpu_name(name);
    printf("machine: %s, %zu cores, %s; %.1f GiB of memory, %.1f free for us\n",
           str_quote(quoted, str_of(name)), os_cpu_cores(), cpu_level_name(cpu_level_detect()),
           mib(os_memory_total()) / 1024, mib(os_memory_available()) / 1024);
    fflush(stdout);
}

static void print_model(const struct route_entry *entry)
{
    char quoted[STR_QUOTE_MAX];
    const struct model_info *info = model_info(route_local_model(entry->local));
    const struct model_plan *plan = model_plan_of(route_local_model(entry->local));
    const struct route_local_params *params = route_local_params_of(entry->local);
    printf("model %s: %s, %.1f M parameters, %s; ", str_quote(quoted, entry->id),
           info->architecture, (double)info->parameter_count / 1e6, info->quantization);
    if (info->is_encoder) {
        printf("makes %s\n  texts of %u tokens, pooled by %s\n",
               info->vector_width ? "vectors" : "ranks", plan->ctx_tokens,
               model_encoder_pooling_name(info->pooling));
    } else {
        printf("template: %s\n  context %u tokens, %u sequences at once, %u waiting\n",
               chat_template_origin(route_local_chat(entry->local)), plan->ctx_tokens,
               params->sequences_max, params->queue_max);
    }
    printf("  memory %.1f MiB: weights %.1f, KV cache %.1f (%s), scratch %.1f, tables %.1f\n",
           mib(plan->total_bytes), mib(plan->weights_bytes), mib(plan->kv_bytes),
           route_kv_type_name(params->kv_type), mib(plan->scratch_bytes), mib(plan->table_bytes));
    printf("  %zu threads, kernels: %s\n", pool_size(route_local_pool(entry->local)),
           cpu_level_name(params->cpu_level));
    cli_print_types(stdout, route_local_gguf(entry->local), kernels_get(params->cpu_level));
}

/* "curl -N URL/..." with the first model: something to paste. */
static void print_hint(const struct serve *serve, const struct route_entry *first)
{
    char url[96], quoted[STR_QUOTE_MAX];
    server_url(serve->server, 0, url);
    if (first->facts && first->facts->is_encoder) {
        printf("try:\n  curl %s/v1/embeddings -H 'content-type: application/json'%s "
               "-d '{\"model\":\"%s\",\"input\":\"What is hearth?\"}'\n",
               url, serve->keys.count ? " -H \"authorization: Bearer $KEY\"" : "",
               str_quote(quoted, first->id));
        return;
    }
    printf("try:\n  curl -N %s/v1/chat/completions -H 'content-type: application/json'%s "
           "-d '{\"model\":\"%s\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":"
           "\"What is hearth?\"}]}'\n",
           url, serve->keys.count ? " -H \"authorization: Bearer $KEY\"" : "",
           str_quote(quoted, first->id));
}

/* Nothing is loaded at start; what there is to ask for. */
static void print_first(const struct serve *serve)
{
    struct route_list list;
    struct err ignored;
    if (route_registry_list(serve->registry, &list, &ignored)) {
        printf("%zu models, loaded when they are asked for\n", list.count);
        if (list.count) {
            print_hint(serve, &list.entries[0]);
        }
        route_list_deinit(&list);
        fflush(stdout);
    }
}

/* A model of the start was loaded or failed: it is told once. False when none of them is left to
 * serve; *err says why. Later loads stand in the log. */
static bool on_news_of_models(struct serve *serve, uint64_t *told, struct err *err)
{
    struct route_list list;
    if (serve->is_settled) {
        return true;
    }
    if (!route_registry_list(serve->registry, &list, err)) {
        return false;
    }
    size_t count = 0, failed = 0, settled = 0;
    for (size_t i = 0; i < list.count && i < serve->model_count; i++) {
        const struct route_entry *entry = &list.entries[i];
        count++;
        failed += entry->state == ROUTE_FAILED;
        settled += entry->state != ROUTE_LOADING;
        if (entry->state == ROUTE_LOADING || (i < 64 && *told & 1ull << i)) {
            continue;
        }
        *told |= i < 64 ? 1ull << i : 0;
        if (entry->local) {
            print_model(entry);
        } else if (entry->state == ROUTE_FAILED) {
            *err = entry->failure;
            cli_fail(&entry->failure);
        }
    }
    serve->is_settled = settled == count;
    if (serve->is_settled && failed < count) {
        print_hint(serve, &list.entries[0]);
    }
    route_list_deinit(&list);
    fflush(stdout);
    return failed < count;
}

/* ---- life ---- */

static void stop(struct serve *serve)
{
    double grace_s = serve->settings.grace;
    int64_t until_ns = clock_now_ns() + (int64_t)(grace_s * 1e9);
    fprintf(stderr, "hearth: stopping; answers under way have %.15g s\n", grace_s);
    server_drain(serve->server);
    while (!server_is_drained(serve->server) && clock_now_ns() < until_ns) {
        if (wait_news(20) == 'S') {
            break; /* told twice */
        }
    }
}

static int serve_until_told(struct serve *serve, struct err *err)
{
    uint64_t told = 0;
    if (serve->disk_fault.code != ERR_NONE) {
        log_write(LOG_WARN, "prompts are not kept on disk",
                  LOG_FIELDS(LOG_C("why", serve->disk_fault.text)));
    }
    if (serve->store_fault.code != ERR_NONE && serve->store_fault.code != ERR_UNSUPPORTED) {
        log_write(LOG_WARN, "nothing is stored", LOG_FIELDS(LOG_C("why", serve->store_fault.text)));
    }
    print_addresses(serve);
    print_machine();
    if (serve->model_count == 0) {
        print_first(serve);
    }
    for (;;) {
        char what = wait_news(-1);
        if (what == 'M' && !on_news_of_models(serve, &told, err)) {
            return err_info(err->code)->exit_status;
        }
        if (what == 'S') {
            stop(serve);
            return 0;
        }
    }
}

int cli_serve(int argc, char **argv)
{
    struct serve serve = {0};
    struct err err = {0};
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return 0;
        }
    }
    os_memory_keep_small();
    serve.arena = arena_init(0);
    int status;
    if (set_up(&serve, argc, argv, &err)) {
        status = serve_until_told(&serve, &err);
    } else if (err.code == ERR_USAGE) {
        status = cli_usage_error("serve", "%s", err.text);
    } else {
        status = cli_fail(&err);
    }
    server_destroy(serve.server);
    if (serve.server && !serve.is_settled) {
        fflush(NULL);
        _exit(status); /* a load cannot be interrupted, and nothing is lost with it */
    }
    route_registry_destroy(serve.registry);
    route_places_deinit(&serve.places);
    engine_disk_close(serve.disk);
    engine_recorder_close(serve.recorder);
    store_close(serve.store);
    server_settings_deinit(&serve.settings);
    route_adapters_deinit(&serve.adapters);
    arena_deinit(&serve.arena);
    return status;
}
