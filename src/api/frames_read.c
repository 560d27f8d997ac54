/* The envelope of a frame: three known members at most, of which one may be megabytes long and is
 * only measured. What is inside of it is checked by whoever parses it. */
#include "api/fields.h"
#include "api/frames.h"

struct scan {
    const char *at, *end;
};

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r')) {
        scan->at++;
    }
}

static bool eat(struct scan *scan, char c)
{
    skip_space(scan);
    if (scan->at == scan->end || *scan->at != c) {
        return false;
    }
    scan->at++;
    return true;
}

/* From an opening quote to behind the closing one. */
static bool skip_string(struct scan *scan)
{
    for (scan->at++; scan->at < scan->end; scan->at++) {
        if (*scan->at == '"') {
            scan->at++;
            return true;
        }
        if (*scan->at == '\\') {
            scan->at++;
            if (scan->at == scan->end) {
                break;
            }
        }
    }
    return false;
}

/* Arrays and objects by counting brackets outside of strings: their kinds are not compared here. */
static bool skip_nested(struct scan *scan)
{
    size_t depth = 0;
    while (scan->at < scan->end) {
        char c = *scan->at;
        if (c == '"') {
            if (!skip_string(scan)) {
                return false;
            }
            continue;
        }
        scan->at++;
        if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
            if (depth == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool skip_scalar(struct scan *scan)
{
    const char *from = scan->at;
    while (scan->at < scan->end && memchr(",}] \t\r\n", *scan->at, 7) == NULL) {
        scan->at++;
    }
    return scan->at > from;
}

/* The next value as its bytes; false where there is none or it does not end. */
static bool take_value(struct scan *scan, struct str *out)
{
    skip_space(scan);
    if (scan->at == scan->end) {
        return false;
    }
    const char *from = scan->at;
    bool ok = *from == '"'                   ? skip_string(scan)
              : *from == '{' || *from == '[' ? skip_nested(scan)
                                             : skip_scalar(scan);
    *out = (struct str){from, (size_t)(scan->at - from)};
    return ok;
}

static bool is_text(struct str value)
{
    return value.len >= 2 && value.ptr[0] == '"';
}

/* Names and ids have no characters that need an escape, so a value with one is simply none. */
static struct str text_of(struct str value)
{
    return is_text(value) ? str_slice(value, 1, value.len - 1) : (struct str){0};
}

static bool malformed(struct err *err)
{
    return err_set(err, ERR_JSON, "the message is not one JSON object");
}

static bool type_error(const char *name, const char *wanted, struct err *err)
{
    return err_set_param(err, ERR_TYPE, name, "invalid type for '%s': expected %s", name, wanted);
}

static bool missing(const char *name, struct err *err)
{
    return err_set_param(err, ERR_MISSING, name, "missing required parameter: '%s'", name);
}

struct members {
    struct str type, id, body;
    char unknown[STR_QUOTE_MAX]; /* the first of these; empty: none */
};

static bool put(struct members *members, struct str name, struct str value, struct err *err)
{
    struct str *slot = str_eq(name, STR("type"))   ? &members->type
                       : str_eq(name, STR("id"))   ? &members->id
                       : str_eq(name, STR("body")) ? &members->body
                                                   : NULL;
    if (!slot) {
        if (members->unknown[0] == 0) {
            str_quote(members->unknown, name);
        }
        return true;
    }
    if (slot->len) {
        return err_set(err, ERR_JSON, "the message has the member '%.*s' twice", STR_ARG(name));
    }
    *slot = value;
    return true;
}

static bool read_members(struct str text, struct members *out, struct err *err)
{
    struct scan scan = {text.ptr, text.ptr + text.len};
    if (text.len == 0 || !eat(&scan, '{')) {
        return malformed(err);
    }
    bool is_first = true;
    while (!eat(&scan, '}')) {
        struct str name, value;
        if ((!is_first && !eat(&scan, ',')) || !take_value(&scan, &name) || !is_text(name) ||
            !eat(&scan, ':') || !take_value(&scan, &value)) {
            return malformed(err);
        }
        if (!put(out, text_of(name), value, err)) {
            return false;
        }
        is_first = false;
    }
    skip_space(&scan);
    return scan.at == scan.end || malformed(err);
}

static bool read_id(struct str value, struct str *out, struct err *err)
{
    static const char marks[] = "-_.:";
    struct str id = text_of(value);
    if (value.len && !is_text(value)) {
        return type_error("id", "a string", err);
    }
    if (value.len == 0) {
        return missing("id", err);
    }
    bool ok = id.len > 0 && id.len <= API_FRAME_ID_MAX;
    for (size_t i = 0; ok && i < id.len; i++) {
        char c = id.ptr[i];
        ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
             (c != 0 && strchr(marks, c) != NULL);
    }
    if (!ok) {
        return err_set_param(err, ERR_INVALID, "id",
                             "invalid value for 'id': must be 1 to %d letters, digits or -_.:",
                             (int)API_FRAME_ID_MAX);
    }
    *out = id;
    return true;
}

static bool read_kind(const struct members *members, struct api_frame *out, struct err *err)
{
    if (members->type.len == 0) {
        return missing("type", err);
    }
    if (!is_text(members->type)) {
        return type_error("type", "a string", err);
    }
    struct str type = text_of(members->type);
    bool is_request = str_eq(type, STR("request"));
    if (!is_request && !str_eq(type, STR("cancel"))) {
        char quoted[STR_QUOTE_MAX];
        return err_set_param(err, ERR_INVALID, "type",
                             "invalid value for 'type': '%s' is neither request nor cancel",
                             str_quote(quoted, type));
    }
    out->kind = is_request ? API_FRAME_REQUEST : API_FRAME_CANCEL;
    return true;
}

bool api_frame_read(struct str text, struct api_frame *out, struct err *err)
{
    struct members members = {0};
    *out = (struct api_frame){0};
    if (!read_members(text, &members, err) || !read_id(members.id, &out->id, err) ||
        !read_kind(&members, out, err)) {
        return false;
    }
    if (members.unknown[0]) {
        return err_set_param(err, ERR_UNKNOWN, members.unknown, "unknown parameter: '%s'",
                             members.unknown);
    }
    if (out->kind == API_FRAME_CANCEL) {
        return members.body.len == 0 || api_unknown_error("body", err);
    }
    if (members.body.len == 0) {
        return missing("body", err);
    }
    out->body = members.body;
    return members.body.ptr[0] == '{' || type_error("body", "an object", err);
}
