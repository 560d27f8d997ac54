/* Items of the Responses API: what each type may hold is a table; what is in none of its rows is
 * refused by its path. Items come back as the API tells them, with an id, and become messages. */
#include <openssl/evp.h>
#include <stdio.h>

#include "api/responses.h"
#include "base/json.h"
#include "base/mem.h"

/* ---- encrypted_content ---- */

static const struct str encoded_mark = {"hearth1:", 8};

void api_responses_encode(struct str text, struct buf *out)
{
    size_t len = (text.len + 2) / 3 * 4;
    buf_add(out, encoded_mark);
    if (text.len > INT32_MAX || !buf_reserve(out, len + 1)) {
        out->failed = true;
        return;
    }
    EVP_EncodeBlock((unsigned char *)out->ptr + out->len, (const unsigned char *)text.ptr,
                    (int)text.len);
    out->len += len;
}

bool api_responses_decode(struct str encoded, struct buf *out)
{
    if (!str_eat(&encoded, encoded_mark) || encoded.len % 4 != 0 || encoded.len > INT32_MAX ||
        !buf_reserve(out, encoded.len + 1)) {
        return false;
    }
    int len = EVP_DecodeBlock((unsigned char *)out->ptr + out->len,
                              (const unsigned char *)encoded.ptr, (int)encoded.len);
    if (len < 0) {
        return false;
    }
    size_t padding = str_ends(encoded, STR("==")) ? 2 : str_ends(encoded, STR("=")) ? 1 : 0;
    out->len += (size_t)len - padding;
    out->ptr[out->len] = 0;
    return true;
}

/* ---- content parts ---- */

static bool is_named(const json_t *value, const char *name)
{
    return str_eq(json_str(value), str_of(name));
}

/* Fields that a part of this type may have. */
static bool check_part_fields(const json_t *part, const char *text_name, struct err *err)
{
    static const char *const also[] = {"annotations", "logprobs", "prompt_cache_breakpoint", NULL};
    json_t *object = (json_t *)(uintptr_t)part;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        size_t i = 0;
        while (also[i] && strcmp(also[i], key) != 0) {
            i++;
        }
        if (strcmp(key, "type") != 0 && strcmp(key, text_name) != 0 && !also[i]) {
            return api_unknown_error(key, err);
        }
    }
    return true;
}

/* One part as the API tells it back; `is_output` says on which side it stands. New reference. */
static json_t *read_part(const json_t *part, bool is_output, struct err *err)
{
    static const char *const texts[] = {"input_text",   "output_text",    "text",
                                        "summary_text", "reasoning_text", "refusal"};
    const json_t *type = json_object_get(part, "type");
    if (!json_is_object(part)) {
        api_type_error("", "an object", part, err);
        return NULL;
    }
    if (!json_is_string(type)) {
        err_set_param(err, type ? ERR_TYPE : ERR_MISSING, "type",
                      "a content part needs the string 'type'");
        return NULL;
    }
    bool is_text = false;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        is_text = is_text || is_named(type, texts[i]);
    }
    if (!is_text) {
        char quoted[STR_QUOTE_MAX];
        err_set_param(err, ERR_UNSUPPORTED, "type",
                      "content of type '%s' is not supported: this server reads text only",
                      str_quote(quoted, json_str(type)));
        return NULL;
    }
    const char *text_name = is_named(type, "refusal") ? "refusal" : "text";
    const json_t *text = json_object_get(part, text_name);
    if (!json_is_string(text)) {
        err_set_param(err, text ? ERR_TYPE : ERR_MISSING, text_name,
                      "a content part of this type needs the string '%s'", text_name);
        return NULL;
    }
    if (!check_part_fields(part, text_name, err)) {
        return NULL;
    }
    if (is_named(type, "refusal")) {
        return json_pack("{s:s,s:O}", "type", "refusal", "refusal", text);
    }
    return is_output ? json_pack("{s:s,s:[],s:[],s:O}", "type", "output_text", "annotations",
                                 "logprobs", "text", text)
                     : json_pack("{s:s,s:O}", "type", "input_text", "text", text);
}

/* A string or a list of parts -> a list of parts. New reference. */
static json_t *read_content(const json_t *content, const char *name, bool is_output,
                            struct err *err)
{
    json_t *list = json_array();
    if (json_is_string(content)) {
        json_t *part = json_pack("{s:s,s:O}", "type", "input_text", "text", content);
        json_t *read = part ? read_part(part, is_output, err) : NULL;
        json_decref(part);
        json_array_append_new(list, read);
        return list;
    }
    if (!json_is_array(content)) {
        json_decref(list);
        if (content) {
            api_type_error(name, "a string or an array of parts", content, err);
        } else {
            err_set_param(err, ERR_MISSING, name, "the item needs '%s'", name);
        }
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        json_t *part = read_part(json_array_get(content, i), is_output, err);
        if (!part) {
            err_wrap_param(err, "%s[%zu]", name, i);
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, part);
    }
    return list;
}

/* ---- items ---- */

enum item_field_kind {
    ITEM_TEXT,     /* a string, required */
    ITEM_OPTIONAL, /* a string, kept if it is there */
    ITEM_OUTPUT,   /* a string or text parts, required */
    ITEM_PARTS,    /* parts, empty if absent */
    ITEM_OBJECT,   /* an object, required */
    ITEM_DROPPED,  /* what responses carry and requests may repeat; nothing depends on it */
    ITEM_REFUSED
};

struct item_field {
    const char *name;
    enum item_field_kind kind;
};

#define CALL_FIELDS                                                                                \
    {"id", ITEM_OPTIONAL}, {"call_id", ITEM_TEXT}, {"status", ITEM_DROPPED},                       \
        {"caller", ITEM_REFUSED}, {"namespace", ITEM_REFUSED},                                     \
    {                                                                                              \
        "async", ITEM_REFUSED                                                                      \
    }

static const struct item_type {
    const char *type, *prefix;
    bool is_output; /* of the model */
    struct item_field fields[10];
} item_types[] = {
    {"function_call",
     "fc_",
     true,
     {CALL_FIELDS, {"name", ITEM_TEXT}, {"arguments", ITEM_TEXT}, {0}}},
    {"custom_tool_call",
     "ctc_",
     true,
     {CALL_FIELDS, {"name", ITEM_TEXT}, {"input", ITEM_TEXT}, {0}}},
    {"local_shell_call", "lsh_", true, {CALL_FIELDS, {"action", ITEM_OBJECT}, {0}}},
    {"function_call_output", "fco_", false, {CALL_FIELDS, {"output", ITEM_OUTPUT}, {0}}},
    {"custom_tool_call_output", "ctco_", false, {CALL_FIELDS, {"output", ITEM_OUTPUT}, {0}}},
    {"local_shell_call_output",
     "lsho_",
     false,
     {{"id", ITEM_OPTIONAL},
      {"call_id", ITEM_OPTIONAL},
      {"status", ITEM_DROPPED},
      {"output", ITEM_OUTPUT},
      {0}}},
    {"reasoning",
     "rs_",
     true,
     {{"id", ITEM_OPTIONAL},
      {"summary", ITEM_PARTS},
      {"content", ITEM_PARTS},
      {"encrypted_content", ITEM_OPTIONAL},
      {"status", ITEM_DROPPED},
      {0}}},
    {"item_reference", "", false, {{"id", ITEM_TEXT}, {0}}},
    {0},
};

static bool copy_item_field(const struct item_type *type, const struct item_field *field,
                            const json_t *value, json_t *out, struct err *err)
{
    json_t *mutable = (json_t *)(uintptr_t)value;
    bool is_absent = !value || json_is_null(value);
    switch (field->kind) {
    case ITEM_TEXT:
        if (is_absent) {
            return err_set_param(err, ERR_MISSING, field->name, "an item of type '%s' needs '%s'",
                                 type->type, field->name);
        }
        ATTR_FALLTHROUGH;
    case ITEM_OPTIONAL:
        if (is_absent) {
            return true;
        }
        if (!json_is_string(value)) {
            return api_type_error(field->name, "a string", value, err);
        }
        return json_object_set(out, field->name, mutable) == 0 || err_set_memory(err, 0);
    case ITEM_OUTPUT:
        if (json_is_string(value)) {
            return json_object_set(out, field->name, mutable) == 0 || err_set_memory(err, 0);
        }
        ATTR_FALLTHROUGH;
    case ITEM_PARTS: {
        if (is_absent && field->kind == ITEM_PARTS) {
            return true;
        }
        json_t *parts = read_content(is_absent ? NULL : value, field->name, false, err);
        if (field->kind == ITEM_PARTS) {
            json_decref(parts);
            return parts && json_object_set(out, field->name, mutable) == 0;
        }
        return parts && json_object_set_new(out, field->name, parts) == 0;
    }
    case ITEM_OBJECT:
        if (!json_is_object(value)) {
            return is_absent ? err_set_param(err, ERR_MISSING, field->name, "the item needs '%s'",
                                             field->name)
                             : api_type_error(field->name, "an object", value, err);
        }
        return json_object_set(out, field->name, mutable) == 0 || err_set_memory(err, 0);
    case ITEM_DROPPED:
        return true;
    case ITEM_REFUSED:
        break;
    }
    return is_absent || json_is_false(value) ||
           (json_is_object(value) && is_named(json_object_get(value, "type"), "direct")) ||
           err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported in items",
                         field->name);
}

static bool check_item_names(const struct item_type *type, json_t *given, struct err *err)
{
    for (void *it = json_object_iter(given); it; it = json_object_iter_next(given, it)) {
        const char *key = json_object_iter_key(it);
        const struct item_field *field = type->fields;
        while (field->name && strcmp(field->name, key) != 0) {
            field++;
        }
        if (!field->name && strcmp(key, "type") != 0) {
            return api_unknown_error(key, err);
        }
    }
    return true;
}

static bool set_id(json_t *item, const char *prefix, const json_t *given)
{
    char id[API_ID_MAX];
    if (json_is_string(given) && json_string_length(given) > 0) {
        return json_object_set(item, "id", (json_t *)(uintptr_t)given) == 0;
    }
    api_new_id(prefix, id);
    return json_object_set_new(item, "id", json_string(id)) == 0;
}

static json_t *read_typed(const struct item_type *type, json_t *given, struct err *err)
{
    json_t *item = json_object();
    bool ok = check_item_names(type, given, err) &&
              set_id(item, type->prefix, json_object_get(given, "id")) &&
              json_object_set_new(item, "type", json_string(type->type)) == 0;
    for (const struct item_field *field = type->fields; ok && field->name; field++) {
        ok = copy_item_field(type, field, json_object_get(given, field->name), item, err);
    }
    if (ok && type->prefix[0] && strcmp(type->type, "reasoning") != 0) {
        ok = json_object_set_new(item, "status", json_string("completed")) == 0;
    }
    if (!ok) {
        json_decref(item);
        return NULL;
    }
    return item;
}

static bool check_role(const json_t *role, struct err *err)
{
    static const char *const roles[] = {"user", "assistant", "system", "developer"};
    for (size_t i = 0; i < 4; i++) {
        if (is_named(role, roles[i])) {
            return true;
        }
    }
    if (!json_is_string(role)) {
        return role ? api_type_error("role", "a string", role, err)
                    : err_set_param(err, ERR_MISSING, "role", "a message needs a 'role'");
    }
    char quoted[STR_QUOTE_MAX];
    return err_set_param(err, ERR_INVALID, "role",
                         "invalid role '%s': must be user, assistant, system or developer",
                         str_quote(quoted, json_str(role)));
}

/* A message, with type or without: {"role":...,"content":...}. */
static json_t *read_message(json_t *given, struct err *err)
{
    static const struct item_type type = {"message",
                                          "msg_",
                                          false,
                                          {{"id", ITEM_OPTIONAL},
                                           {"role", ITEM_TEXT},
                                           {"content", ITEM_OUTPUT},
                                           {"status", ITEM_DROPPED},
                                           {"phase", ITEM_OPTIONAL},
                                           {0}}};
    const json_t *role = json_object_get(given, "role");
    if (!check_role(role, err) || !check_item_names(&type, given, err)) {
        return NULL;
    }
    json_t *content = read_content(json_object_get(given, "content"), "content",
                                   is_named(role, "assistant"), err);
    json_t *item = content ? json_object() : NULL;
    bool ok = item && set_id(item, "msg_", json_object_get(given, "id")) &&
              json_object_set_new(item, "type", json_string("message")) == 0 &&
              json_object_set_new(item, "status", json_string("completed")) == 0 &&
              json_object_set(item, "role", (json_t *)(uintptr_t)role) == 0 &&
              json_object_set(item, "content", content) == 0;
    json_decref(content);
    if (!ok) {
        json_decref(item);
        return NULL;
    }
    return item;
}

static json_t *read_item(json_t *given, struct err *err)
{
    if (!json_is_object(given)) {
        api_type_error("", "an object", given, err);
        return NULL;
    }
    const json_t *type = json_object_get(given, "type");
    if (type && !json_is_null(type) && !json_is_string(type)) {
        api_type_error("type", "a string", type, err);
        return NULL;
    }
    bool has_type = json_is_string(type);
    if (is_named(type, "message") || (!has_type && json_object_get(given, "role"))) {
        return read_message(given, err);
    }
    struct str name = has_type ? json_str(type) : STR("item_reference");
    for (const struct item_type *row = item_types; row->type; row++) {
        if (str_eq(name, str_of(row->type))) {
            return read_typed(row, given, err);
        }
    }
    char quoted[STR_QUOTE_MAX];
    err_set_param(err, ERR_UNSUPPORTED, "type", "items of type '%s' are not supported",
                  str_quote(quoted, name));
    return NULL;
}

bool api_responses_read_items(const json_t *items, const char *param, json_t *out, struct err *err)
{
    for (size_t i = 0; i < json_array_size(items); i++) {
        err_set(err, ERR_MEMORY, "out of memory while reading the items");
        json_t *item = read_item(json_array_get(items, i), err);
        if (!item || json_array_append_new(out, item) != 0) {
            return err_wrap_param(err, "%s[%zu]", param, i);
        }
    }
    return true;
}

/* ---- messages ---- */

/* The texts of parts, one per line, or of a string. */
static void join_texts(const json_t *content, struct buf *out)
{
    if (json_is_string(content)) {
        buf_add(out, json_str(content));
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const json_t *text = json_object_get(part, "text");
        buf_add_text(out, out->len && i ? "\n" : "");
        buf_add(out, json_str(text ? text : json_object_get(part, "refusal")));
    }
}

static bool take_text(json_t *message, const char *name, struct buf *text)
{
    bool ok = !text->failed &&
              json_object_set_new(message, name,
                                  json_stringn(text->ptr ? text->ptr : "", text->len)) == 0;
    buf_deinit(text);
    return ok;
}

struct building {
    json_t *messages;
    json_t *turn; /* borrowed: the assistant's message under way; NULL */
};

/* The assistant's message that what follows belongs to. */
static json_t *turn_of(struct building *building)
{
    if (!building->turn) {
        building->turn = json_pack("{s:s,s:n}", "role", "assistant", "content");
        if (json_array_append_new(building->messages, building->turn) != 0) {
            building->turn = NULL;
        }
    }
    return building->turn;
}

/* Texts of one turn are joined. */
static bool extend(json_t *message, const char *name, const json_t *content)
{
    struct buf text = {0};
    buf_add(&text, json_str(json_object_get(message, name)));
    buf_add_text(&text, text.len ? "\n" : "");
    join_texts(content, &text);
    return take_text(message, name, &text);
}

static bool add_message(struct building *building, const json_t *item)
{
    const json_t *role = json_object_get(item, "role");
    if (is_named(role, "assistant")) {
        json_t *turn = turn_of(building);
        /* What was said after calls begins another message. */
        if (turn && json_object_get(turn, "tool_calls")) {
            building->turn = NULL;
            turn = turn_of(building);
        }
        return turn && extend(turn, "content", json_object_get(item, "content"));
    }
    struct buf text = {0};
    json_t *message = json_object();
    building->turn = NULL;
    join_texts(json_object_get(item, "content"), &text);
    json_object_set_new(message, "role", json_string(is_named(role, "user") ? "user" : "system"));
    const bool is_taken = take_text(message, "content", &text); /* the message goes in any case */
    return json_array_append_new(building->messages, message) == 0 && is_taken;
}

static bool add_reasoning(struct building *building, const json_t *item)
{
    const json_t *content = json_object_get(item, "content");
    const json_t *encoded = json_object_get(item, "encrypted_content");
    const json_t *summary = json_object_get(item, "summary");
    struct buf text = {0};
    if (building->turn && json_object_get(building->turn, "tool_calls")) {
        building->turn = NULL;
    }
    if (json_array_size(content) > 0) {
        join_texts(content, &text);
    } else if (!json_is_string(encoded) || !api_responses_decode(json_str(encoded), &text)) {
        join_texts(summary, &text);
    }
    if (text.len == 0) {
        buf_deinit(&text);
        return true;
    }
    json_t *turn = turn_of(building);
    if (!turn) {
        buf_deinit(&text);
        return false;
    }
    return take_text(turn, "reasoning_content", &text);
}

/* A call in the form of chat completions. New reference. */
static json_t *call_json(const json_t *item)
{
    const json_t *id = json_object_get(item, "call_id");
    const json_t *name = json_object_get(item, "name");
    if (is_named(json_object_get(item, "type"), "custom_tool_call")) {
        return json_pack("{s:O,s:s,s:{s:O,s:O}}", "id", id, "type", "custom", "custom", "name",
                         name, "input", json_object_get(item, "input"));
    }
    if (is_named(json_object_get(item, "type"), "function_call")) {
        return json_pack("{s:O,s:s,s:{s:O,s:O}}", "id", id, "type", "function", "function", "name",
                         name, "arguments", json_object_get(item, "arguments"));
    }
    /* local_shell_call: what the model wrote were the members of action but its type */
    struct buf text = {0};
    json_t *action = json_copy(json_object_get(item, "action"));
    json_object_del(action, "type");
    if (json_object_size(json_object_get(action, "env")) == 0) {
        json_object_del(action, "env");
    }
    json_write(&text, action);
    json_decref(action);
    json_t *call =
        json_pack("{s:O,s:s,s:{s:s,s:o}}", "id", id, "type", "function", "function", "name",
                  RESPONSES_SHELL, "arguments", json_stringn(text.ptr ? text.ptr : "", text.len));
    buf_deinit(&text);
    return call;
}

static bool add_call(struct building *building, const json_t *item)
{
    json_t *turn = turn_of(building);
    json_t *calls = json_object_get(turn, "tool_calls");
    if (turn && !calls) {
        calls = json_array();
        json_object_set_new(turn, "tool_calls", calls);
    }
    return calls && json_array_append_new(calls, call_json(item)) == 0;
}

static bool add_output(struct building *building, const json_t *item)
{
    struct buf text = {0};
    json_t *message = json_pack("{s:s}", "role", "tool");
    const json_t *id = json_object_get(item, "call_id");
    building->turn = NULL;
    join_texts(json_object_get(item, "output"), &text);
    json_object_set(message, "tool_call_id",
                    (json_t *)(uintptr_t)(id ? id : json_object_get(item, "id")));
    const bool is_taken = take_text(message, "content", &text); /* the message goes in any case */
    return json_array_append_new(building->messages, message) == 0 && is_taken;
}

bool api_responses_add_messages(const json_t *items, json_t *messages, struct err *err)
{
    struct building building = {.messages = messages};
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        struct str type = json_str(json_object_get(item, "type"));
        bool ok = str_eq(type, STR("message"))     ? add_message(&building, item)
                  : str_eq(type, STR("reasoning")) ? add_reasoning(&building, item)
                  : str_ends(type, STR("_output")) ? add_output(&building, item)
                                                   : add_call(&building, item);
        if (!ok) {
            return err_set_memory(err, 0);
        }
    }
    return true;
}
