#include "api/files.h"

#include <stdio.h>

#include "api/fields.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"

enum {
    PARTS_MAX = 8,
    NAME_BYTES_MAX = 255,
    EXPIRES_MIN_S = 3600,
    EXPIRES_MAX_S = 2592000, /* OpenAI's bounds: an hour, 30 days */
};

static const char what[] = "file";

void api_files_make(const struct api_keep *keep, struct str tenant, struct str content,
                    const char *name, const char *purpose, int64_t expires_s, struct buf *out,
                    struct store_object *object, char id[API_ID_MAX])
{
    int64_t now = clock_wall_s();
    (void)keep;
    api_new_id("file-", id);
    buf_add_format(out, "{\"id\":\"%s\",\"object\":\"file\",\"bytes\":%zu,\"created_at\":%lld", id,
                   content.len, (long long)now);
    if (expires_s) {
        buf_add_format(out, ",\"expires_at\":%lld", (long long)expires_s);
    }
    buf_add_text(out, ",\"filename\":");
    json_write_string(out, str_of(name));
    buf_add_text(out, ",\"purpose\":");
    json_write_string(out, str_of(purpose));
    buf_add_text(out, ",\"status\":\"processed\",\"status_details\":null}");
    *object = (struct store_object){.kind = STORE_FILE,
                                    .tenant = tenant,
                                    .id = str_of(id),
                                    .label = str_of(purpose),
                                    .created_s = now,
                                    .expires_s = expires_s,
                                    .body = buf_view(out),
                                    .content = content.ptr ? content : STR("")};
}

/* ---- upload ---- */

struct upload {
    struct str content, name, purpose;
    bool has_file, has_anchor;
    uint64_t seconds; /* until it expires; 0: never */
};

static bool read_purpose(struct str purpose, struct upload *upload, struct err *err)
{
    static const char *const known[] = {"assistants", "fine-tune", "vision", "evals"};
    char quoted[STR_QUOTE_MAX];
    upload->purpose = purpose;
    if (str_eq(purpose, STR("batch")) || str_eq(purpose, STR("user_data"))) {
        return true;
    }
    str_quote(quoted, purpose);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (str_eq(purpose, str_of(known[i]))) {
            return err_set_param(err, ERR_UNSUPPORTED, "purpose",
                                 "files for '%s' are not supported, only batch and user_data",
                                 quoted);
        }
    }
    return err_set_param(err, ERR_INVALID, "purpose",
                         "invalid value '%s' for 'purpose': must be batch or user_data", quoted);
}

static bool read_part(const struct api_part_field *part, struct upload *upload, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    if (str_eq(part->name, STR("file"))) {
        upload->has_file = true;
        upload->content = part->content;
        upload->name = part->file_name;
        return (part->file_name.len > 0 && part->file_name.len <= NAME_BYTES_MAX &&
                utf8_is_valid(part->file_name)) ||
               err_set_param(err, ERR_INVALID, "file",
                             "'file' needs a file name of 1 to %d bytes of UTF-8", NAME_BYTES_MAX);
    }
    if (str_eq(part->name, STR("purpose"))) {
        return read_purpose(part->content, upload, err);
    }
    if (str_eq(part->name, STR("expires_after[anchor]"))) {
        upload->has_anchor = true;
        return str_eq(part->content, STR("created_at")) ||
               err_set_param(err, ERR_INVALID, "expires_after.anchor",
                             "invalid value for 'expires_after.anchor': must be created_at");
    }
    if (str_eq(part->name, STR("expires_after[seconds]"))) {
        return (str_to_u64(part->content, &upload->seconds) && upload->seconds >= EXPIRES_MIN_S &&
                upload->seconds <= EXPIRES_MAX_S) ||
               err_set_param(err, ERR_INVALID, "expires_after.seconds",
                             "invalid value for 'expires_after.seconds': must be between %d and %d",
                             EXPIRES_MIN_S, EXPIRES_MAX_S);
    }
    str_quote(quoted, part->name);
    return api_unknown_error(quoted, err);
}

static bool read_upload(const struct api_call *call, struct upload *upload, struct err *err)
{
    struct api_part_field parts[PARTS_MAX];
    size_t count;
    if (!api_multipart_read(call->content_type, call->body, parts, PARTS_MAX, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_part(&parts[i], upload, err)) {
            return false;
        }
    }
    if (!upload->has_file) {
        return err_set_param(err, ERR_MISSING, "file", "missing required parameter: 'file'");
    }
    if (upload->has_anchor != (upload->seconds > 0)) {
        return err_set_param(err, ERR_MISSING, "expires_after",
                             "'expires_after' needs both anchor and seconds");
    }
    return upload->purpose.len > 0 ||
           err_set_param(err, ERR_MISSING, "purpose", "missing required parameter: 'purpose'");
}

bool api_files_create(struct api_call *call, struct err *err)
{
    struct upload upload = {0};
    struct store_object object;
    char id[API_ID_MAX];
    struct store *store = api_call_store(call, err);
    if (!store || !read_upload(call, &upload, err)) {
        return false;
    }
    const char *name = arena_copy(&call->arena, upload.name);
    const char *purpose = arena_copy(&call->arena, upload.purpose);
    if (!name || !purpose) {
        return err_set_memory(err, upload.name.len);
    }
    int64_t expires_s = upload.seconds ? clock_wall_s() + (int64_t)upload.seconds : 0;
    api_files_make(call->keep, call->tenant, upload.content, name, purpose, expires_s, &call->out,
                   &object, id);
    return !call->out.failed && store_put(store, &object, 1, err);
}

/* ---- the rest ---- */

bool api_files_list(struct api_call *call, struct err *err)
{
    static const char *const others[] = {"purpose", NULL};
    struct api_page page = {.query = {.kind = STORE_FILE, .label = api_call_query(call, "purpose")},
                            .others = others,
                            .limit_default = 10000,
                            .limit_max = 10000,
                            .newest_first = true};
    return api_call_page(call, &page, err);
}

bool api_files_get(struct api_call *call, struct err *err)
{
    struct store_object object;
    if (!api_call_get(call, STORE_FILE, STR(""), call->ids[0], what, false, &object, err)) {
        return false;
    }
    buf_add(&call->out, object.body);
    return true;
}

bool api_files_content(struct api_call *call, struct err *err)
{
    struct store_object object;
    if (!api_call_get(call, STORE_FILE, STR(""), call->ids[0], what, true, &object, err)) {
        return false;
    }
    buf_add(&call->out, object.content);
    call->media = "application/octet-stream";
    return true;
}

bool api_files_delete(struct api_call *call, struct err *err)
{
    return api_call_delete(call, STORE_FILE, what, "file", err);
}
