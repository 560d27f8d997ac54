/* Batches as the API has them: made, listed, read; and their lines. */
#include <stdio.h>

#include "api/embedding.h"
#include "api/files.h"
#include "api/openai.h"
#include "api/responses.h"
#include "base/clock.h"
#include "base/json.h"

enum { WINDOW_S = 86400, KEEP_MIN_S = 3600, KEEP_MAX_S = 2592000 };

static const char what[] = "batch";

const struct api_dialect *api_batch_dialect(struct str endpoint)
{
    return str_eq(endpoint, STR("/v1/chat/completions")) ? &api_openai_chat
           : str_eq(endpoint, STR("/v1/completions"))    ? &api_openai_completions
           : str_eq(endpoint, STR("/v1/responses"))      ? &api_responses
                                                         : NULL;
}

/* ---- lines ---- */

static bool check_line(const json_t *line, struct str endpoint, struct err *err)
{
    static const char *const names[] = {"custom_id", "method", "url", "body", NULL};
    json_t *object = (json_t *)(uintptr_t)line;
    if (!json_is_object(line)) {
        return err_set(err, ERR_TYPE, "the line must be a JSON object");
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], json_object_iter_key(it)) != 0) {
            i++;
        }
        if (!names[i]) {
            return api_unknown_error(json_object_iter_key(it), err);
        }
    }
    for (size_t i = 0; names[i]; i++) {
        const json_t *value = json_object_get(line, names[i]);
        bool is_body = strcmp(names[i], "body") == 0;
        if (!value) {
            return err_set_param(err, ERR_MISSING, names[i], "the line has no '%s'", names[i]);
        }
        if (is_body ? !json_is_object(value) : json_string_length(value) == 0) {
            return api_type_error(names[i], is_body ? "an object" : "a string", value, err);
        }
    }
    if (!str_eq(json_str(json_object_get(line, "method")), STR("POST"))) {
        return err_set_param(err, ERR_INVALID, "method", "the method must be POST");
    }
    return str_eq(json_str(json_object_get(line, "url")), endpoint) ||
           err_set_param(err, ERR_INVALID, "url", "the url is not the batch's endpoint");
}

bool api_batch_line_read(struct str line, struct str endpoint, struct arena *arena,
                         struct api_batch_line *out, struct err *err)
{
    struct json_limits limits = {.depth_max = API_BODY_DEPTH_MAX,
                                 .values_max = API_BODY_VALUES_MAX};
    json_t *read = json_parse(line, &limits, err);
    const json_t *body = json_object_get(read, "body");
    bool ok = read && check_line(read, endpoint, err);
    *out = (struct api_batch_line){0};
    if (ok && json_is_true(json_object_get(body, "stream"))) {
        err_set_param(err, ERR_INVALID, "body.stream", "a batch has no streams");
        ok = false;
    }
    if (ok && json_is_true(json_object_get(body, "background"))) {
        err_set_param(err, ERR_INVALID, "body.background", "a batch is in the background itself");
        ok = false;
    }
    if (ok) {
        struct str id = json_str(json_object_get(read, "custom_id"));
        out->custom_id = (struct str){arena_copy(arena, id), id.len};
        json_write(&out->body, body);
        ok = (out->custom_id.ptr && !out->body.failed) || err_set_memory(err, line.len);
    }
    json_decref(read);
    return ok;
}

void api_batch_line_write(struct str custom_id, struct str answer, const struct err *failure,
                          struct buf *out)
{
    char id[API_ID_MAX];
    api_new_id("batch_req_", id);
    buf_add_format(out, "{\"id\":\"%s\",\"custom_id\":", id);
    json_write_string(out, custom_id);
    if (failure && failure->code == ERR_TIMEOUT) {
        buf_add_text(out, ",\"response\":null,\"error\":{\"code\":\"batch_expired\",\"message\":");
        json_write_string(out, str_of(failure->text));
        buf_add_text(out, "}}\n");
        return;
    }
    if (failure && failure->code == ERR_CANCELLED) {
        buf_add_text(out,
                     ",\"response\":null,\"error\":{\"code\":\"batch_cancelled\",\"message\":");
        json_write_string(out, str_of(failure->text));
        buf_add_text(out, "}}\n");
        return;
    }
    buf_add_format(out, ",\"response\":{\"status_code\":%d,\"request_id\":\"%s\",\"body\":",
                   failure ? err_info(failure->code)->http_status : 200, id + 6);
    if (failure) {
        api_openai_error(failure, out);
    } else {
        buf_add(out, answer);
    }
    buf_add_text(out, "},\"error\":null}\n");
}

/* ---- calls ---- */

static bool check_names(json_t *body, struct err *err)
{
    static const char *const names[] = {
        "input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after", NULL};
    for (void *it = json_object_iter(body); it; it = json_object_iter_next(body, it)) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], json_object_iter_key(it)) != 0) {
            i++;
        }
        if (!names[i]) {
            return api_unknown_error(json_object_iter_key(it), err);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_object_get(body, names[i]);
        if (!value || json_is_null(value)) {
            return err_set_param(err, ERR_MISSING, names[i], "missing required parameter: '%s'",
                                 names[i]);
        }
        if (!json_is_string(value)) {
            return api_type_error(names[i], "a string", value, err);
        }
    }
    return true;
}

static bool check_values(const json_t *body, struct err *err)
{
    struct str endpoint = json_str(json_object_get(body, "endpoint"));
    char quoted[STR_QUOTE_MAX];
    if (!api_batch_dialect(endpoint) && !str_eq(endpoint, STR("/v1/embeddings"))) {
        return err_set_param(err, ERR_UNSUPPORTED, "endpoint",
                             "batches of '%s' are not supported, only /v1/chat/completions, "
                             "/v1/completions, /v1/responses and /v1/embeddings",
                             str_quote(quoted, endpoint));
    }
    if (!str_eq(json_str(json_object_get(body, "completion_window")), STR("24h"))) {
        return err_set_param(err, ERR_INVALID, "completion_window",
                             "invalid value for 'completion_window': must be 24h");
    }
    const json_t *expires = json_object_get(body, "output_expires_after");
    if (expires && !json_is_null(expires)) {
        json_int_t seconds = json_integer_value(json_object_get(expires, "seconds"));
        bool has_anchor = str_eq(json_str(json_object_get(expires, "anchor")), STR("created_at"));
        if (!has_anchor || seconds < KEEP_MIN_S || seconds > KEEP_MAX_S) {
            return err_set_param(err, ERR_INVALID, "output_expires_after",
                                 "'output_expires_after' is {anchor: \"created_at\", seconds: %d "
                                 "to %d}",
                                 KEEP_MIN_S, KEEP_MAX_S);
        }
    }
    return api_check_metadata(json_object_get(body, "metadata"), "metadata", err);
}

static bool check_file(struct api_call *call, struct str id, struct err *err)
{
    struct store_object file;
    if (!api_call_get(call, STORE_FILE, STR(""), id, "file", false, &file, err)) {
        return err->code == ERR_NOT_FOUND ? err_wrap_param(err, "input_file_id") : false;
    }
    return str_eq(file.label, STR("batch")) ||
           err_set_param(err, ERR_INVALID, "input_file_id",
                         "the file's purpose must be batch, not %.*s", STR_ARG(file.label));
}

static json_t *batch_json(const json_t *body, const char *id)
{
    json_int_t now = clock_wall_s();
    json_t *metadata = json_object_get(body, "metadata");
    json_t *expires = json_object_get(body, "output_expires_after");
    json_t *batch = json_pack(
        "{s:s,s:s,s:O,s:n,s:n,s:O,s:O,s:s,s:n,s:n,s:I,s:n,s:I,s:n,s:n,s:n,s:n,s:n,s:n,"
        "s:{s:i,s:i,s:i},s:O?}",
        "id", id, "object", "batch", "endpoint", json_object_get(body, "endpoint"), "model",
        "errors", "input_file_id", json_object_get(body, "input_file_id"), "completion_window",
        json_object_get(body, "completion_window"), "status", "validating", "output_file_id",
        "error_file_id", "created_at", now, "in_progress_at", "expires_at", now + WINDOW_S,
        "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at",
        "request_counts", "total", 0, "completed", 0, "failed", 0, "metadata",
        json_is_object(metadata) ? metadata : NULL);
    if (json_is_object(expires)) {
        json_object_set(batch, "output_expires_after", expires);
    }
    return batch;
}

bool api_batches_create(struct api_call *call, struct err *err)
{
    char id[API_ID_MAX];
    struct store *store = api_call_store(call, err);
    json_t *body = store ? api_call_object(call, err) : NULL;
    bool ok = body && check_names(body, err) && check_values(body, err) &&
              check_file(call, json_str(json_object_get(body, "input_file_id")), err);
    if (ok) {
        api_new_id("batch_", id);
        json_t *batch = batch_json(body, id);
        json_write(&call->out, batch);
        struct store_object object = {.kind = STORE_BATCH,
                                      .tenant = call->tenant,
                                      .id = str_of(id),
                                      .state = STR("open"),
                                      .created_s = clock_wall_s(),
                                      .body = buf_view(&call->out)};
        ok = batch && !call->out.failed ? store_put(store, &object, 1, err)
                                        : err_set_memory(err, call->out.len);
        json_decref(batch);
    }
    json_decref(body);
    return ok;
}

bool api_batches_list(struct api_call *call, struct err *err)
{
    struct api_page page = {.query = {.kind = STORE_BATCH},
                            .limit_default = 20,
                            .limit_max = 100,
                            .newest_first = true};
    return api_call_page(call, &page, err);
}

bool api_batches_get(struct api_call *call, struct err *err)
{
    struct store_object object;
    if (!api_call_get(call, STORE_BATCH, STR(""), call->ids[0], what, false, &object, err)) {
        return false;
    }
    buf_add(&call->out, object.body);
    return true;
}
