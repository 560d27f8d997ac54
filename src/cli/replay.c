/* hearth replay: makes a recorded answer again and compares it, token by token. What differs
 * between then and now (program, model, instruction set) is told whether or not the answer does. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "engine/record.h"
#include "route/local.h"

enum { RECORD_BYTES_MAX = 256 << 20, RECORD_DEPTH_MAX = 8 };

struct options {
    struct route_local_params local;
    const char *model;
};

static const struct cli_option own_options[] = {
    {"model", NULL, 'm', CLI_TEXT, .offset = offsetof(struct options, model), .value_name = "MODEL",
     .help = "instead of the file that the record names"},
};

/* Keeps the record of the answer that is made again. */
struct capture {
    struct engine_recorder base; /* first */
    struct buf record;
};

static void keep(struct engine_recorder *recorder, struct str id, struct buf *record)
{
    struct capture *capture = (struct capture *)recorder;
    (void)id;
    buf_deinit(&capture->record);
    capture->record = *record;
    *record = (struct buf){0};
}

struct replay {
    struct options options;
    const char *path; /* of the record */
    json_t *record, *again;
    struct arena arena;
    struct engine_request request;
    struct capture capture;
    struct route_local *local;
};

/* ---- the record ---- */

static json_t *parse(struct str text, struct err *err)
{
    return json_parse(text, &(struct json_limits){.depth_max = RECORD_DEPTH_MAX}, err);
}

static bool read_record(struct replay *r, struct err *err)
{
    size_t len = 0;
    char quoted[STR_QUOTE_MAX];
    char *text = os_file_slurp(r->path, RECORD_BYTES_MAX, &len, err);
    r->record = text ? parse((struct str){text, len}, err) : NULL;
    mem_free(text);
    if (r->record && engine_record_read(r->record, &r->arena, &r->request, err)) {
        return true;
    }
    return err_wrap(err, "%s", str_quote(quoted, str_of(r->path)));
}

static bool take_settings(struct replay *r, struct err *err)
{
    struct route_local_params *p = &r->options.local;
    const json_int_t ctx = json_integer_value(json_object_get(r->record, "ctx_tokens"));
    enum cpu_level level;
    if (ctx < 1 || ctx > INT32_MAX ||
        !cpu_level_parse(json_str(json_object_get(r->record, "cpu_level")), &level) ||
        !route_kv_type_parse(json_str(json_object_get(r->record, "kv_type")), &p->kv_type)) {
        return err_set(err, ERR_FORMAT, "the record does not tell how the model was loaded");
    }
    p->ctx_tokens = (uint32_t)ctx;
    p->cpu_level = level < p->cpu_level ? level : p->cpu_level;
    p->sequences_max = 1;
    p->cache_percent = 0;
    r->capture.base.put = keep;
    p->recorder = &r->capture.base;
    return true;
}

/* ---- the answer, again ---- */

static bool generate(struct replay *r, struct err *err)
{
    struct engine_stream *stream =
        engine_submit(route_local_engine(r->local), &r->request, NULL, NULL, err);
    bool ok = stream != NULL;
    for (bool has_ended = !ok; !has_ended;) {
        struct engine_event event;
        engine_wait(stream, &event);
        has_ended = event.kind == ENGINE_EVENT_DONE || event.kind == ENGINE_EVENT_ERROR;
        if (event.kind == ENGINE_EVENT_ERROR) {
            *err = event.error;
            ok = false;
        }
        engine_event_deinit(&event);
    }
    engine_stream_close(stream);
    r->again = ok ? parse(buf_view(&r->capture.record), err) : NULL;
    return r->again != NULL;
}

static bool open_model(struct replay *r, struct err *err)
{
    const json_t *path = json_object_get(json_object_get(r->record, "model"), "path");
    const char *name = r->options.model ? r->options.model : json_string_value(path);
    char *found = name ? cli_find_model(name, err) : NULL;
    if (!found) {
        return name ? err_wrap(err, "the model of the record (--model names another)")
                    : err_set(err, ERR_FORMAT, "the record names no model; use --model");
    }
    r->options.local.path = found;
    r->local = route_local_open(&r->options.local, NULL, NULL, err);
    mem_free(found);
    return r->local && (route_local_engine(r->local) ||
                        err_set(err, ERR_UNSUPPORTED, "the model does not generate"));
}

/* ---- what differs ---- */

static void tell_difference(const char *what, const json_t *then, const json_t *now)
{
    if (!json_equal((json_t *)(uintptr_t)then, (json_t *)(uintptr_t)now)) {
        struct buf text = {0};
        buf_add_format(&text, "%s then: ", what);
        then ? json_write(&text, then) : buf_add_text(&text, "unknown");
        buf_add_text(&text, ", now: ");
        now ? json_write(&text, now) : buf_add_text(&text, "unknown");
        if (!text.failed) {
            printf("%s\n", text.ptr);
        }
        buf_deinit(&text);
    }
}

static bool compare(const struct replay *r)
{
    const json_t *then = json_object_get(r->record, "answer");
    const json_t *now = json_object_get(r->again, "answer");
    const json_t *old = json_object_get(then, "tokens"), *new = json_object_get(now, "tokens");
    static const char *const around[] = {"version", "cpu_level", "kv_type", "ctx_tokens"};
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        tell_difference(around[i], json_object_get(r->record, around[i]),
                        json_object_get(r->again, around[i]));
    }
    tell_difference("model", json_object_get(json_object_get(r->record, "model"), "digest"),
                    json_object_get(json_object_get(r->again, "model"), "digest"));
    if (json_equal((json_t *)(uintptr_t)then, (json_t *)(uintptr_t)now)) {
        printf("the same answer: %zu tokens\n", json_array_size(new));
        return true;
    }
    size_t at = 0;
    while (at < json_array_size(old) && at < json_array_size(new) &&
           json_equal(json_array_get(old, at), json_array_get(new, at))) {
        at++;
    }
    printf("the answers differ from token %zu on (%zu tokens then, %zu now)\n", at,
           json_array_size(old), json_array_size(new));
    tell_difference("token", json_array_get(old, at), json_array_get(new, at));
    tell_difference("finish", json_object_get(then, "finish"), json_object_get(now, "finish"));
    return false;
}

int cli_replay(int argc, char **argv)
{
    struct replay r = {.options.local = route_local_params_default()};
    struct cli_table table = {.count = 0};
    size_t operand_count = 0;
    struct err err = {0};
    cli_table_add(&table, own_options, sizeof own_options / sizeof *own_options, 0);
    if (cli_options_want_help(argc, argv)) {
        puts(
            "usage: hearth replay RECORD [--model MODEL]\n\n"
            "Makes an answer again that `hearth serve --record FOLDER` has recorded. Status 0: the "
            "same tokens;\n1: others, and it says from where on and what is not as it was.\n");
        cli_options_print(&table, stdout);
        return 0;
    }
    if (!cli_options_parse(&table, &r.options, argc, argv, &r.path, 1, &operand_count, &err)) {
        return cli_usage_error("replay", "%s", err.text);
    }
    if (operand_count != 1) {
        return cli_usage_error("replay", "which record?");
    }
    r.arena = arena_init(0);
    bool ok = cli_level_from_environment(&r.options.local.cpu_level, &err) &&
              read_record(&r, &err) && take_settings(&r, &err) && open_model(&r, &err) &&
              generate(&r, &err);
    int status = ok ? !compare(&r) : cli_fail(&err);
    route_local_close(r.local);
    buf_deinit(&r.capture.record);
    json_decref(r.record);
    json_decref(r.again);
    arena_deinit(&r.arena);
    return status;
}
