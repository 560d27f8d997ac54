#include "server/batches.h"

#include <stdio.h>
#include <time.h>

#include "api/files.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/batch_lines.h"
#include "server/calls.h"

enum {
    LINES_AT_ONCE = 8,
    ERRORS_MAX = 50, /* told of an input file */
    LINE_BYTES_MAX = 4 << 20,
    RETRY_MS = 200 /* when the engine has no place */
};

struct server_batches {
    struct server *server;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* what follows; and reading, changing and writing a batch */
    pthread_cond_t news;
    bool has_news, stopping;
};

/* The batch that is being worked off; the thread's. */
struct work {
    struct server_batches *batches;
    struct store *store;
    struct arena arena;
    struct store_object object; /* of the batch; in the arena */
    json_t *json;               /* owned: its body */
    struct str endpoint;
    struct str *lines; /* [line_count] of the input file, in the arena */
    size_t line_count, next;
    bool *is_done; /* [line_count] */
    struct api_run_owner owner;
    struct server_batch_line slots[LINES_AT_ONCE];
    size_t busy;
};

/* ---- news ---- */

static void tell(struct server_batches *batches)
{
    pthread_mutex_lock(&batches->lock);
    batches->has_news = true;
    pthread_cond_signal(&batches->news);
    pthread_mutex_unlock(&batches->lock);
}

static void on_event(void *arg)
{
    tell(arg);
}

/* False when the server stops. */
static bool wait_for_news(struct server_batches *batches, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += timeout_ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&batches->lock);
    int fault = 0;
    while (!batches->has_news && !batches->stopping && fault == 0) {
        fault = timeout_ms < 0 ? pthread_cond_wait(&batches->news, &batches->lock)
                               : pthread_cond_timedwait(&batches->news, &batches->lock, &until);
    }
    batches->has_news = false;
    bool goes_on = !batches->stopping;
    pthread_mutex_unlock(&batches->lock);
    return goes_on;
}

/* ---- the batch on the disk ---- */

static void set_status(json_t *json, const char *status, const char *stamp)
{
    json_object_set_new(json, "status", json_string(status));
    json_object_set_new(json, stamp, json_integer(clock_wall_s()));
}

static struct str status_of(const json_t *json)
{
    return json_str(json_object_get(json, "status"));
}

/* Cancelling may have been written meanwhile by a call: it stays. Lock held. */
static void merge_cancel(struct work *work)
{
    struct arena arena = arena_init(0);
    struct store_object now;
    if (store_get(work->store, STORE_BATCH, work->object.tenant, STR(""), work->object.id, false,
                  &arena, &now, NULL)) {
        json_t *json = json_parse(now.body, NULL, NULL);
        if (str_eq(status_of(json), STR("cancelling"))) {
            json_object_set(work->json, "status", json_object_get(json, "status"));
            json_object_set(work->json, "cancelling_at", json_object_get(json, "cancelling_at"));
        }
        json_object_set(work->json, "metadata", json_object_get(json, "metadata"));
        json_decref(json);
    }
    arena_deinit(&arena);
}

/* Writes the batch with other objects. `is_open`: there is something left to do. */
static bool put(struct work *work, bool is_open, const struct store_object *others, size_t count,
                struct err *err)
{
    struct store_object objects[4];
    struct buf body = {0};
    json_write(&body, work->json);
    objects[0] = work->object;
    objects[0].state = is_open ? STR("open") : STR("");
    objects[0].body = buf_view(&body);
    for (size_t i = 0; i < count; i++) {
        objects[i + 1] = others[i];
    }
    bool ok = body.failed ? err_set_memory(err, body.len)
                          : store_put(work->store, objects, count + 1, err);
    buf_deinit(&body);
    return ok;
}

/* ---- input ---- */

static void add_error(json_t *errors, size_t line, const struct err *err)
{
    const char *code = err_info(err->code)->openai_code;
    if (json_array_size(errors) < ERRORS_MAX) {
        json_array_append_new(errors, json_pack("{s:s,s:s,s:s?,s:I}", "code",
                                                code ? code : "invalid_line", "message", err->text,
                                                "param", err->param[0] ? err->param : NULL, "line",
                                                (json_int_t)line));
    }
}

static bool split_lines(struct work *work, struct str content, struct err *err)
{
    size_t cap = 1;
    for (size_t i = 0; i < content.len; i++) {
        cap += content.ptr[i] == '\n';
    }
    work->lines = ARENA_ARRAY(&work->arena, struct str, cap);
    work->is_done = ARENA_ARRAY(&work->arena, bool, cap);
    if (!work->lines || !work->is_done) {
        return err_set_memory(err, cap * sizeof *work->lines);
    }
    while (content.len) {
        struct str line = str_trim(str_cut(&content, '\n'));
        if (line.len) {
            work->lines[work->line_count++] = line;
        }
    }
    return true;
}

/* All lines are read once before any is answered; what is wrong with them fails the batch. */
static bool check_lines(struct work *work, json_t *errors)
{
    json_t *seen = json_object();
    struct err err;
    for (size_t i = 0; i < work->line_count; i++) {
        struct api_batch_line line;
        struct arena arena = arena_init(0);
        bool ok =
            work->lines[i].len <= LINE_BYTES_MAX
                ? api_batch_line_read(work->lines[i], work->endpoint, &arena, &line, &err)
                : err_set(&err, ERR_TOO_LARGE, "the line has more than %d bytes", LINE_BYTES_MAX);
        if (ok && json_object_get(seen, line.custom_id.ptr)) {
            ok = err_set_param(&err, ERR_INVALID, "custom_id", "the custom_id is not unique");
        }
        if (ok) {
            json_object_set_new(seen, line.custom_id.ptr, json_true());
            if (json_is_null(json_object_get(work->json, "model"))) {
                json_t *body = json_parse(buf_view(&line.body), NULL, NULL);
                json_t *model = json_object_get(body, "model");
                json_object_set(work->json, "model", model ? model : json_null());
                json_decref(body);
            }
        } else {
            add_error(errors, i + 1, &err);
        }
        if (work->lines[i].len <= LINE_BYTES_MAX) {
            buf_deinit(&line.body);
        }
        arena_deinit(&arena);
    }
    json_decref(seen);
    if (work->line_count == 0 || work->line_count > API_BATCH_LINES_MAX) {
        err_set(&err, ERR_INVALID, "the file has %zu lines; it must have between 1 and %d",
                work->line_count, API_BATCH_LINES_MAX);
        add_error(errors, 0, &err);
    }
    return json_array_size(errors) == 0;
}

static bool note_line(void *arg, const struct store_object *object)
{
    struct work *work = arg;
    uint64_t index;
    if (str_to_u64(object->id, &index) && index < work->line_count) {
        work->is_done[index] = true;
    }
    return true;
}

/* False when there is nothing to answer: it has failed, and says so. */
static bool begin(struct work *work)
{
    struct store_object file;
    struct err err = {0};
    json_t *errors = json_array();
    struct str id = json_str(json_object_get(work->json, "input_file_id"));
    work->endpoint = json_str(json_object_get(work->json, "endpoint"));
    bool ok = store_get(work->store, STORE_FILE, work->object.tenant, STR(""), id, true,
                        &work->arena, &file, &err) &&
              split_lines(work, file.content, &err);
    if (!ok) {
        add_error(errors, 0, &err);
    }
    ok = ok && check_lines(work, errors);
    struct store_query query = {
        .kind = STORE_LINE, .tenant = work->object.tenant, .parent = work->object.id};
    ok = ok && store_list(work->store, &query, note_line, work, NULL, &err);
    pthread_mutex_lock(&work->batches->lock);
    merge_cancel(work);
    if (!ok) {
        set_status(work->json, "failed", "failed_at");
        json_object_set_new(work->json, "errors",
                            json_pack("{s:s,s:O}", "object", "list", "data", errors));
        put(work, false, NULL, 0, NULL);
    } else if (str_eq(status_of(work->json), STR("validating"))) {
        set_status(work->json, "in_progress", "in_progress_at");
        json_object_set_new(json_object_get(work->json, "request_counts"), "total",
                            json_integer((json_int_t)work->line_count));
        ok = put(work, true, NULL, 0, NULL);
    }
    pthread_mutex_unlock(&work->batches->lock);
    json_decref(errors);
    return ok;
}

/* ---- answers ---- */

static void count(json_t *object, const char *name, json_int_t more)
{
    json_int_t sum = json_integer_value(json_object_get(object, name)) + more;
    json_object_set_new(object, name, json_integer(sum));
}

/* Sums under the names of the Responses API; chat completions have others. */
static void add_usage(struct work *work, struct str answer)
{
    json_t *json = json_parse(answer, NULL, NULL);
    const json_t *usage = json_object_get(json, "usage");
    const json_t *input = json_object_get(usage, "input_tokens");
    const json_t *output = json_object_get(usage, "output_tokens");
    input = input ? input : json_object_get(usage, "prompt_tokens");
    output = output ? output : json_object_get(usage, "completion_tokens");
    json_t *sums = json_object_get(work->json, "usage");
    if (!sums) {
        sums = json_pack("{s:i,s:{s:i},s:i,s:{s:i},s:i}", "input_tokens", 0, "input_tokens_details",
                         "cached_tokens", 0, "output_tokens", 0, "output_tokens_details",
                         "reasoning_tokens", 0, "total_tokens", 0);
        json_object_set_new(work->json, "usage", sums);
    }
    count(sums, "input_tokens", json_integer_value(input));
    count(sums, "output_tokens", json_integer_value(output));
    count(sums, "total_tokens", json_integer_value(input) + json_integer_value(output));
    json_decref(json);
}

/* The line's answer and the new counts, at once. */
static bool note_answer(struct work *work, size_t index, struct str custom_id, struct str answer,
                        const struct err *failure)
{
    char id[24];
    struct err err;
    struct buf text = {0};
    snprintf(id, sizeof id, "%08zu", index);
    api_batch_line_write(custom_id, answer, failure, &text);
    struct store_object line = {.kind = STORE_LINE,
                                .tenant = work->object.tenant,
                                .parent = work->object.id,
                                .id = str_of(id),
                                .label = failure ? STR("error") : STR("output"),
                                .created_s = clock_wall_s(),
                                .body = buf_view(&text)};
    pthread_mutex_lock(&work->batches->lock);
    merge_cancel(work);
    count(json_object_get(work->json, "request_counts"), failure ? "failed" : "completed", 1);
    if (!failure) {
        add_usage(work, answer);
    }
    bool ok = !text.failed && put(work, true, &line, 1, &err);
    pthread_mutex_unlock(&work->batches->lock);
    buf_deinit(&text);
    return ok;
}

static bool is_over(const struct work *work)
{
    return str_eq(status_of(work->json), STR("cancelling")) ||
           clock_wall_s() >= json_integer_value(json_object_get(work->json, "expires_at"));
}

static void fill_slots(struct work *work)
{
    for (size_t i = 0; i < LINES_AT_ONCE && !is_over(work); i++) {
        struct server_batch_line *slot = &work->slots[i];
        struct err err;
        while (work->next < work->line_count && work->is_done[work->next]) {
            work->next++;
        }
        if (slot->is_used || work->next == work->line_count) {
            continue;
        }
        slot->index = work->next++;
        slot->dialect = api_batch_dialect(work->endpoint);
        if (api_batch_line_read(work->lines[slot->index], work->endpoint, &work->arena, &slot->line,
                                &err)) {
            work->busy++;
            server_batch_line_start(slot, &work->owner);
        }
    }
}

/* False when the disk is full or broken: the batch is left for the next start. */
static bool advance_slots(struct work *work)
{
    for (size_t i = 0; i < LINES_AT_ONCE; i++) {
        struct server_batch_line *slot = &work->slots[i];
        if (!slot->is_used) {
            continue;
        }
        enum server_batch_state state = server_batch_line_advance(slot, &work->owner);
        if (state == SERVER_BATCH_WAITS) {
            continue;
        }
        bool ok = note_answer(work, slot->index, slot->line.custom_id, buf_view(&slot->answer),
                              state == SERVER_BATCH_FAILED ? &slot->failure : NULL);
        work->is_done[slot->index] = true;
        server_batch_line_end(slot);
        work->busy--;
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* Lines that were not answered are told in the error file. */
static bool give_up(struct work *work)
{
    bool is_cancelled = str_eq(status_of(work->json), STR("cancelling"));
    struct err why;
    if (is_cancelled) {
        err_set(&why, ERR_CANCELLED, "the batch was cancelled before this request was answered");
    } else {
        err_set(&why, ERR_TIMEOUT, "the batch expired before this request was answered");
    }
    for (size_t i = 0; i < LINES_AT_ONCE; i++) {
        server_batch_line_end(&work->slots[i]);
    }
    work->busy = 0;
    for (size_t i = 0; i < work->line_count; i++) {
        struct api_batch_line line;
        struct err err;
        if (work->is_done[i]) {
            continue;
        }
        if (api_batch_line_read(work->lines[i], work->endpoint, &work->arena, &line, &err) &&
            !note_answer(work, i, line.custom_id, (struct str){0}, &why)) {
            buf_deinit(&line.body);
            return false;
        }
        buf_deinit(&line.body);
    }
    return true;
}

/* ---- output ---- */

static bool append_line(void *arg, const struct store_object *object)
{
    buf_add(arg, object->body);
    return true;
}

static bool collect(struct work *work, const char *label, struct buf *out, struct err *err)
{
    struct store_query query = {.kind = STORE_LINE,
                                .tenant = work->object.tenant,
                                .parent = work->object.id,
                                .label = str_of(label)};
    return store_list(work->store, &query, append_line, out, NULL, err) &&
           (!out->failed || err_set_memory(err, out->len));
}

/* Files and the final state in one transaction; the lines go afterwards. */
static bool finish(struct work *work, const char *status, const char *stamp, struct err *err)
{
    static const char *const labels[] = {"output", "error"};
    static const char *const names[] = {"output_file_id", "error_file_id"};
    struct buf contents[2] = {{0}, {0}}, bodies[2] = {{0}, {0}};
    struct store_object files[2];
    char ids[2][API_ID_MAX], file_names[2][API_ID_MAX + 16];
    size_t file_count = 0;
    const json_t *keep = json_object_get(work->json, "output_expires_after");
    json_int_t seconds = json_integer_value(json_object_get(keep, "seconds"));
    bool ok = true;
    for (size_t i = 0; ok && i < 2; i++) {
        ok = collect(work, labels[i], &contents[i], err);
        if (ok && contents[i].len) {
            snprintf(file_names[i], sizeof file_names[i], "%.40s_%s.jsonl", work->object.id.ptr,
                     labels[i]);
            api_files_make(work->owner.keep, work->object.tenant, buf_view(&contents[i]),
                           file_names[i], "batch_output", seconds ? clock_wall_s() + seconds : 0,
                           &bodies[i], &files[file_count++], ids[i]);
            json_object_set_new(work->json, names[i], json_string(ids[i]));
        }
    }
    if (ok) {
        pthread_mutex_lock(&work->batches->lock);
        set_status(work->json, status, stamp);
        ok = put(work, false, files, file_count, err) &&
             store_delete_children(work->store, work->object.tenant, work->object.id, err);
        pthread_mutex_unlock(&work->batches->lock);
    }
    for (size_t i = 0; i < 2; i++) {
        buf_deinit(&contents[i]);
        buf_deinit(&bodies[i]);
    }
    return ok;
}

/* ---- the thread ---- */

/* True when the batch is over; false when the server stops or the disk fails. */
static bool answer_all(struct work *work)
{
    for (;;) {
        fill_slots(work);
        if (!advance_slots(work)) {
            return false;
        }
        if (is_over(work)) {
            return give_up(work);
        }
        if (work->busy == 0 && work->next >= work->line_count) {
            return true;
        }
        /* News of the engine come by themselves; the clock is for what it refused. */
        if (!wait_for_news(work->batches, RETRY_MS)) {
            return false;
        }
    }
}

static void log_failure(const struct work *work, const struct err *err)
{
    log_write(LOG_WARN, "a batch stays unfinished",
              LOG_FIELDS(LOG_S("batch", work->object.id), LOG_C("why", err->text)));
}

/* True when it is over. */
static bool work_off(struct work *work)
{
    struct err err = {0};
    work->json = json_parse(work->object.body, NULL, &err);
    bool ok = work->json && begin(work);
    if (ok) {
        ok = answer_all(work);
        bool is_cancelled = str_eq(status_of(work->json), STR("cancelling"));
        json_int_t expires = json_integer_value(json_object_get(work->json, "expires_at"));
        size_t answered = 0;
        for (size_t i = 0; i < work->line_count; i++) {
            answered += work->is_done[i];
        }
        bool is_expired = answered < work->line_count && clock_wall_s() >= expires;
        if (ok) {
            json_object_set_new(work->json, "finalizing_at", json_integer(clock_wall_s()));
            ok = finish(work,
                        is_cancelled ? "cancelled"
                        : is_expired ? "expired"
                                     : "completed",
                        is_cancelled ? "cancelled_at"
                        : is_expired ? "expired_at"
                                     : "completed_at",
                        &err);
        }
    }
    if (!ok && err.code != ERR_NONE) {
        log_failure(work, &err);
    }
    for (size_t i = 0; i < LINES_AT_ONCE; i++) {
        server_batch_line_end(&work->slots[i]);
    }
    ok = ok || str_eq(status_of(work->json), STR("failed"));
    json_decref(work->json);
    return ok;
}

static bool take_first(void *arg, const struct store_object *object)
{
    struct work *work = arg;
    work->object = *object;
    struct str *texts[] = {&work->object.tenant, &work->object.id, &work->object.body};
    for (size_t i = 0; i < 3; i++) {
        texts[i]->ptr = arena_copy(&work->arena, *texts[i]);
    }
    work->object.parent = work->object.state = work->object.label = (struct str){0};
    return false;
}

/* The oldest open batch, worked off. False when there is none. */
static bool run_one(struct server_batches *batches)
{
    struct store_query query = {
        .kind = STORE_BATCH, .any_tenant = true, .state = STR("open"), .limit = 1};
    struct work *work = MEM_NEW(struct work);
    struct err err;
    if (!work) {
        return false;
    }
    work->batches = batches;
    work->store = batches->server->params.keep.store;
    work->arena = arena_init(0);
    bool ok = store_list(work->store, &query, take_first, work, NULL, &err) &&
              work->object.body.len > 0 && work->object.body.ptr && work->object.id.ptr;
    if (ok) {
        work->owner = (struct api_run_owner){.registry = batches->server->registry,
                                             .keep = &batches->server->params.keep,
                                             .id = work->object.id,
                                             .tenant = work->object.tenant,
                                             .notify = on_event,
                                             .arg = batches};
        ok = work_off(work);
    }
    arena_deinit(&work->arena);
    mem_free(work);
    return ok;
}

static void *run(void *arg)
{
    struct server_batches *batches = arg;
    do {
        while (run_one(batches)) {
        }
    } while (wait_for_news(batches, -1));
    return NULL;
}

struct server_batches *server_batches_create(struct server *server, struct err *err)
{
    struct server_batches *batches = MEM_NEW(struct server_batches);
    if (!batches) {
        err_set_memory(err, sizeof *batches);
        return NULL;
    }
    batches->server = server;
    pthread_mutex_init(&batches->lock, NULL);
    pthread_cond_init(&batches->news, NULL);
    int fault =
        server->params.keep.store ? pthread_create(&batches->thread, NULL, run, batches) : 0;
    if (fault != 0) {
        err_set_errno(err, fault, "start the thread of batches");
        server_batches_destroy(batches);
        return NULL;
    }
    batches->has_thread = server->params.keep.store != NULL;
    return batches;
}

void server_batches_destroy(struct server_batches *batches)
{
    if (!batches) {
        return;
    }
    pthread_mutex_lock(&batches->lock);
    batches->stopping = true;
    pthread_cond_signal(&batches->news);
    pthread_mutex_unlock(&batches->lock);
    if (batches->has_thread) {
        pthread_join(batches->thread, NULL);
    }
    pthread_mutex_destroy(&batches->lock);
    pthread_cond_destroy(&batches->news);
    mem_free(batches);
}

/* ---- calls ---- */

static struct server_batches *batches_of(const struct api_call *call)
{
    const struct server *server = call->host;
    return server->batches;
}

static bool create(struct api_call *call, struct err *err)
{
    bool ok = api_batches_create(call, err);
    if (ok) {
        tell(batches_of(call));
    }
    return ok;
}

static bool cancel(struct api_call *call, struct err *err)
{
    struct server_batches *batches = batches_of(call);
    struct store_object object;
    pthread_mutex_lock(&batches->lock);
    bool ok = api_call_get(call, STORE_BATCH, STR(""), call->ids[0], "batch", false, &object, err);
    json_t *json = ok ? json_parse(object.body, NULL, err) : NULL;
    struct str status = status_of(json);
    bool is_open = str_eq(status, STR("validating")) || str_eq(status, STR("in_progress"));
    if (json && !is_open && !str_eq(status, STR("cancelling")) &&
        !str_eq(status, STR("cancelled"))) {
        ok = err_set(err, ERR_INVALID, "a batch that is %.*s cannot be cancelled", STR_ARG(status));
    } else if (json) {
        if (is_open) {
            set_status(json, "cancelling", "cancelling_at");
        }
        json_write(&call->out, json);
        object.body = buf_view(&call->out);
        ok = !is_open || store_put(call->keep->store, &object, 1, err);
        batches->has_news = true;
        pthread_cond_signal(&batches->news);
    }
    pthread_mutex_unlock(&batches->lock);
    json_decref(json);
    return ok && call->out.len > 0;
}

enum server_step server_batch_create(struct server_exchange *exchange)
{
    return server_call(exchange, create);
}

enum server_step server_batch_cancel(struct server_exchange *exchange)
{
    return server_call(exchange, cancel);
}
