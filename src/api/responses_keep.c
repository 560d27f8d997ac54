/* Responses on the disk. A response is an object whose content is the marks of its log; its input
 * and output items are its children, so that they can be listed, and found by an item_reference. */
#include <stdio.h>

#include "api/responses.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

enum { CHAIN_MAX = 1000, MARK_NUMBERS = 4 };

static const struct str running = {"in_progress", 11};

/* ---- what came before ---- */

static bool append_body(void *arg, const struct store_object *object)
{
    json_t *item = json_parse(object->body, NULL, NULL);
    return json_array_append_new(arg, item) == 0;
}

static bool list_items(const struct api_run_owner *owner, enum store_kind kind, struct str parent,
                       json_t *out, struct err *err)
{
    struct store_query query = {.kind = kind, .tenant = owner->tenant, .parent = parent};
    return store_list(owner->keep->store, &query, append_body, out, NULL, err);
}

static json_t *get_body(const struct api_run_owner *owner, enum store_kind kind, struct str id,
                        struct arena *arena, struct err *err)
{
    struct store_object object;
    return store_get(owner->keep->store, kind, owner->tenant, STR(""), id, false, arena, &object,
                     err)
               ? json_parse(object.body, NULL, err)
               : NULL;
}

/* Input and output of the response `id`, in front of `context`; *id is the one before. */
static bool prepend(const struct api_run_owner *owner, struct arena *arena, struct str *id,
                    json_t **context, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    json_t *body = get_body(owner, STORE_RESPONSE, *id, arena, err);
    if (!body) {
        return err->code == ERR_NOT_FOUND &&
               err_set_param(err, ERR_NOT_FOUND, "previous_response_id",
                             "no response with id '%s' is stored", str_quote(quoted, *id));
    }
    struct str status = json_str(json_object_get(body, "status"));
    json_t *items = json_array();
    bool ok = list_items(owner, STORE_INPUT, *id, items, err);
    if (ok && !str_eq(status, STR("completed")) && !str_eq(status, STR("incomplete"))) {
        ok = err_set_param(err, ERR_INVALID, "previous_response_id",
                           "the response '%s' cannot be continued: it is %.*s",
                           str_quote(quoted, *id), STR_ARG(status));
    }
    ok = ok && ((json_array_extend(items, json_object_get(body, "output")) == 0 &&
                 json_array_extend(items, *context) == 0) ||
                err_set_memory(err, 0));
    const char *previous =
        arena_copy(arena, json_str(json_object_get(body, "previous_response_id")));
    *id = str_of(previous);
    json_decref(body);
    json_decref(*context);
    *context = items;
    return ok;
}

static bool add_chain(struct gen_request *request, const struct api_run_owner *owner,
                      struct err *err)
{
    struct api_responses_request *own = api_responses_own(request);
    struct str id = own->previous;
    bool ok = true;
    for (int depth = 0; ok && id.len; depth++) {
        ok = depth < CHAIN_MAX ? prepend(owner, &request->arena, &id, &own->context, err)
                               : err_set_param(err, ERR_INVALID, "previous_response_id",
                                               "more than %d responses before this one", CHAIN_MAX);
    }
    return ok;
}

static bool add_conversation(struct gen_request *request, const struct api_run_owner *owner,
                             struct err *err)
{
    struct api_responses_request *own = api_responses_own(request);
    char quoted[STR_QUOTE_MAX];
    json_t *body = get_body(owner, STORE_CONVERSATION, own->conversation, &request->arena, err);
    if (!body) {
        return err->code == ERR_NOT_FOUND &&
               err_set_param(err, ERR_NOT_FOUND, "conversation", "no conversation with id '%s'",
                             str_quote(quoted, own->conversation));
    }
    json_decref(body);
    return list_items(owner, STORE_ITEM, own->conversation, own->context, err);
}

/* References in the input become the items that they name. */
static bool follow(struct gen_request *request, const struct api_run_owner *owner, struct err *err)
{
    static const enum store_kind places[] = {STORE_OUTPUT, STORE_INPUT, STORE_ITEM};
    json_t *input = api_responses_own(request)->input;
    for (size_t i = 0; i < json_array_size(input); i++) {
        const json_t *item = json_array_get(input, i);
        char quoted[STR_QUOTE_MAX], path[40];
        struct str id = json_str(json_object_get(item, "id"));
        json_t *found = json_array();
        if (!str_eq(json_str(json_object_get(item, "type")), STR("item_reference"))) {
            json_decref(found);
            continue;
        }
        bool ok = owner->keep->store != NULL;
        for (size_t j = 0; ok && j < 3 && json_array_size(found) == 0; j++) {
            struct store_query query = {.kind = places[j],
                                        .tenant = owner->tenant,
                                        .any_parent = true,
                                        .id = id,
                                        .limit = 1};
            ok = store_list(owner->keep->store, &query, append_body, found, NULL, err);
        }
        snprintf(path, sizeof path, "input[%zu].id", i);
        if (ok && json_array_size(found) == 0) {
            ok = err_set_param(err, ERR_NOT_FOUND, path, "no item with id '%s' is stored",
                               str_quote(quoted, id));
        } else if (!owner->keep->store) {
            err_set_param(err, ERR_UNSUPPORTED, path, "this server stores nothing: %s",
                          owner->keep->lack);
        }
        ok = ok && json_array_set(input, i, json_array_get(found, 0)) == 0;
        json_decref(found);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool decide_keeping(struct gen_request *request, const struct api_run_owner *owner,
                           struct err *err)
{
    const struct api_responses_request *own = api_responses_own(request);
    const char *param = own->previous.len                    ? "previous_response_id"
                        : own->conversation.len              ? "conversation"
                        : request->is_detached               ? "background"
                        : own->has_store && own->wants_store ? "store"
                                                             : NULL;
    request->is_kept = !own->has_store || own->wants_store;
    if (owner->keep->store) {
        return true;
    }
    request->is_kept = false;
    return !param || err_set_param(err, ERR_UNSUPPORTED, param,
                                   "'%s' needs what this server does not do, it stores nothing: %s",
                                   param, owner->keep->lack);
}

bool api_responses_resolve(struct gen_request *request, const struct api_run_owner *owner,
                           struct err *err)
{
    struct api_responses_request *own = api_responses_own(request);
    own->context = json_array();
    if (!decide_keeping(request, owner, err) || !follow(request, owner, err) ||
        (own->previous.len && !add_chain(request, owner, err)) ||
        (own->conversation.len && !add_conversation(request, owner, err))) {
        return false;
    }
    json_t *all = json_array();
    request->messages = json_array();
    if (own->instructions.len) {
        json_array_append_new(request->messages,
                              json_pack("{s:s,s:s%}", "role", "system", "content",
                                        own->instructions.ptr, own->instructions.len));
    }
    bool ok = json_array_extend(all, own->context) == 0 &&
              json_array_extend(all, own->input) == 0 && request->messages &&
              api_responses_add_messages(all, request->messages, err);
    json_decref(all);
    return ok && (json_array_size(request->messages) > 0 ||
                  err_set_param(err, ERR_INVALID, "input", "'input' must not be empty"));
}

/* ---- writing ---- */

struct writing {
    struct arena arena;
    struct store_object *objects;
    size_t count, cap;
    struct str tenant;
    int64_t created_s, expires_s;
};

static struct str to_text(struct arena *arena, const json_t *value)
{
    struct buf text = {0};
    json_write(&text, value);
    struct str copy = {text.failed ? NULL : arena_copy(arena, buf_view(&text)), text.len};
    buf_deinit(&text);
    return copy;
}

static struct store_object *add_object(struct writing *writing, enum store_kind kind,
                                       struct str parent, struct str id, const json_t *body)
{
    if (writing->count == writing->cap) {
        size_t cap = writing->cap * 2 + 16;
        struct store_object *grown = mem_resize(writing->objects, cap, sizeof *grown);
        if (!grown) {
            return NULL;
        }
        writing->objects = grown;
        writing->cap = cap;
    }
    struct store_object *object = &writing->objects[writing->count];
    *object = (struct store_object){.kind = kind,
                                    .tenant = writing->tenant,
                                    .parent = parent,
                                    .id = id,
                                    .created_s = writing->created_s,
                                    .expires_s = writing->expires_s,
                                    .body = to_text(&writing->arena, body)};
    if (!object->body.ptr) {
        return NULL;
    }
    writing->count++;
    return object;
}

/* Items that a client gave the same id are all kept: the later ones get another. */
static bool add_items(struct writing *writing, enum store_kind kind, struct str parent,
                      const json_t *items)
{
    json_t *seen = json_object();
    bool ok = seen != NULL;
    for (size_t i = 0; ok && i < json_array_size(items); i++) {
        json_t *item = json_array_get(items, i);
        const char *id = json_string_value(json_object_get(item, "id"));
        char other[API_ID_MAX];
        if (json_object_get(seen, id)) {
            api_new_id("item_", other);
            json_object_set_new(item, "id", json_string(other));
            id = json_string_value(json_object_get(item, "id"));
        }
        ok = json_object_set_new(seen, id, json_true()) == 0;
        struct str name = {arena_copy(&writing->arena, str_of(id)), strlen(id)};
        struct store_object *object =
            ok && name.ptr ? add_object(writing, kind, parent, name, item) : NULL;
        if (object && kind == STORE_ITEM) {
            object->expires_s = 0; /* conversations stay */
        }
        ok = object != NULL;
    }
    json_decref(seen);
    return ok;
}

static struct str marks_text(struct arena *arena, const struct api_responses_log *log)
{
    struct buf text = {0};
    buf_add_char(&text, '[');
    for (size_t i = 0; i < log->mark_count; i++) {
        const struct api_responses_mark *mark = &log->marks[i];
        buf_add_format(&text, "%s%u,%u,%u,%u", i ? "," : "", mark->item, (unsigned)mark->step,
                       mark->text_end, mark->logprob_end);
    }
    buf_add_char(&text, ']');
    struct str copy = {text.failed ? NULL : arena_copy(arena, buf_view(&text)), text.len};
    buf_deinit(&text);
    return copy;
}

static bool add_response(struct writing *writing, const struct api_responses_log *log,
                         const json_t *body)
{
    struct str id = json_str(json_object_get(body, "id"));
    struct store_object *object = add_object(writing, STORE_RESPONSE, STR(""), id, body);
    if (!object) {
        return false;
    }
    object->label = json_str(json_object_get(body, "model"));
    if (log->status < RESPONSES_COMPLETED) {
        object->state = running;
        return true;
    }
    object->content = marks_text(&writing->arena, log);
    return object->content.ptr != NULL;
}

bool api_responses_put(const struct api_responses_log *log, const struct gen_request *request,
                       const struct api_run_owner *owner, bool is_first, bool appends,
                       struct err *err)
{
    const struct api_responses_request *own = api_responses_own(request);
    struct writing writing = {.arena = arena_init(0),
                              .tenant = owner->tenant,
                              .created_s = clock_wall_s(),
                              .expires_s = api_keep_until(owner->keep)};
    json_t *body = api_responses_log_object(log);
    json_t *output = json_object_get(body, "output");
    struct str id = json_str(json_object_get(body, "id"));
    bool ok = body && add_response(&writing, log, body) &&
              (!is_first || add_items(&writing, STORE_INPUT, id, own->input)) &&
              add_items(&writing, STORE_OUTPUT, id, output);
    if (ok && appends && own->conversation.len) {
        ok = add_items(&writing, STORE_ITEM, own->conversation, own->input) &&
             add_items(&writing, STORE_ITEM, own->conversation, output);
    }
    ok = ok ? store_put(owner->keep->store, writing.objects, writing.count, err)
            : err_set_memory(err, writing.arena.used_total);
    json_decref(body);
    mem_free(writing.objects);
    arena_deinit(&writing.arena);
    return ok;
}

/* ---- reading ---- */

static bool damaged(struct err *err)
{
    return err_set(err, ERR_FORMAT, "a stored response is damaged");
}

static enum api_responses_status status_of(const json_t *body)
{
    static const struct name {
        const char *name;
        enum api_responses_status status;
    } names[] = {{"completed", RESPONSES_COMPLETED},
                 {"incomplete", RESPONSES_INCOMPLETE},
                 {"failed", RESPONSES_FAILED},
                 {"cancelled", RESPONSES_CANCELLED},
                 {"queued", RESPONSES_QUEUED}};
    struct str status = json_str(json_object_get(body, "status"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (str_eq(status, str_of(names[i].name))) {
            return names[i].status;
        }
    }
    return RESPONSES_RUNNING;
}

static enum api_responses_kind item_kind(const json_t *item)
{
    struct str type = json_str(json_object_get(item, "type"));
    return str_eq(type, STR("reasoning"))          ? RESPONSES_REASONING
           : str_eq(type, STR("function_call"))    ? RESPONSES_FUNCTION
           : str_eq(type, STR("custom_tool_call")) ? RESPONSES_CUSTOM
           : str_eq(type, STR("local_shell_call")) ? RESPONSES_LOCAL_SHELL
                                                   : RESPONSES_MESSAGE;
}

static void restore_text(struct api_responses_log *log, const json_t *item)
{
    struct api_responses_item *last = &log->items[log->item_count - 1];
    const json_t *parts = json_object_get(item, "content");
    const json_t *summary = json_object_get(item, "summary");
    const json_t *part = json_array_get(json_array_size(parts) ? parts : summary, 0);
    const json_t *logprobs = json_object_get(part, "logprobs");
    switch (last->kind) {
    case RESPONSES_MESSAGE:
    case RESPONSES_REASONING:
        log->has_summary = log->has_summary || json_array_size(summary) > 0;
        log->has_encrypted =
            log->has_encrypted || json_is_string(json_object_get(item, "encrypted_content"));
        api_responses_log_add(log, json_str(json_object_get(part, "text")));
        break;
    case RESPONSES_FUNCTION:
        api_responses_log_add(log, json_str(json_object_get(item, "arguments")));
        break;
    case RESPONSES_CUSTOM:
        api_responses_log_add(log, json_str(json_object_get(item, "input")));
        break;
    case RESPONSES_LOCAL_SHELL: {
        struct buf text = {0};
        json_write(&text, json_object_get(item, "action"));
        api_responses_log_add(log, buf_view(&text));
        buf_deinit(&text);
    }
    }
    for (size_t i = 0; i < json_array_size(logprobs); i++) {
        struct buf text = {0};
        json_write(&text, json_array_get(logprobs, i));
        api_responses_log_logprob(log, buf_view(&text));
        buf_deinit(&text);
    }
}

static bool restore_item(struct api_responses_log *log, const json_t *item, struct err *err)
{
    struct api_responses_item *opened = api_responses_log_open(log, item_kind(item));
    if (!opened) {
        return err_set_memory(err, 0);
    }
    snprintf(opened->id, sizeof opened->id, "%s",
             json_string_value(json_object_get(item, "id"))
                 ? json_string_value(json_object_get(item, "id"))
                 : "");
    buf_add(&opened->call_id, json_str(json_object_get(item, "call_id")));
    buf_add(&opened->name, json_str(json_object_get(item, "name")));
    opened->is_closed = true;
    opened->is_cut = str_eq(json_str(json_object_get(item, "status")), STR("incomplete"));
    restore_text(log, item);
    return !log->failed || err_set_memory(err, 0);
}

/* The marks replace those that restoring the items left. */
static bool restore_marks(struct api_responses_log *log, struct str content, struct err *err)
{
    json_t *numbers = json_parse(content, NULL, err);
    size_t count = json_array_size(numbers) / MARK_NUMBERS;
    mem_free(log->marks);
    log->mark_count = log->mark_cap = 0;
    log->marks = MEM_ARRAY(struct api_responses_mark, count);
    bool ok = numbers && (log->marks || err_set_memory(err, count * sizeof *log->marks));
    for (size_t i = 0; ok && i < count; i++) {
        json_int_t n[MARK_NUMBERS];
        const struct api_responses_mark *last = i ? &log->marks[i - 1] : NULL;
        for (size_t j = 0; j < MARK_NUMBERS; j++) {
            n[j] = json_integer_value(json_array_get(numbers, i * MARK_NUMBERS + j));
        }
        ok = n[0] >= 0 && (size_t)n[0] < log->item_count && n[1] >= RESPONSES_OPEN &&
             n[1] <= RESPONSES_CLOSE && n[2] >= 0 && (size_t)n[2] <= log->items[n[0]].text.len &&
             n[3] >= 0 && (size_t)n[3] <= log->items[n[0]].logprob_count &&
             (!last || last->item != n[0] || (last->text_end <= n[2] && last->logprob_end <= n[3]));
        log->marks[log->mark_count++] =
            (struct api_responses_mark){.item = (uint32_t)n[0],
                                        .step = (enum api_responses_step)n[1],
                                        .text_end = (uint32_t)n[2],
                                        .logprob_end = (uint32_t)n[3]};
        ok = ok || damaged(err);
    }
    log->mark_cap = count;
    json_decref(numbers);
    return ok;
}

static void restore_usage(struct api_responses_log *log)
{
    const json_t *usage = json_object_get(log->base, "usage");
    const json_t *input = json_object_get(usage, "input_tokens_details");
    const json_t *output = json_object_get(usage, "output_tokens_details");
    log->has_usage = json_is_object(usage);
    log->usage = (struct api_usage){
        .prompt_tokens = (uint64_t)json_integer_value(json_object_get(usage, "input_tokens")),
        .completion_tokens = (uint64_t)json_integer_value(json_object_get(usage, "output_tokens")),
        .cached_tokens = (uint64_t)json_integer_value(json_object_get(input, "cached_tokens"))};
    log->reasoning_tokens =
        (uint64_t)json_integer_value(json_object_get(output, "reasoning_tokens"));
}

bool api_responses_restore(const struct store_object *object, struct api_responses_log *log,
                           struct err *err)
{
    *log = (struct api_responses_log){.base = json_parse(object->body, NULL, err)};
    if (!log->base) {
        return false;
    }
    const json_t *output = json_object_get(log->base, "output");
    const json_t *error = json_object_get(log->base, "error");
    log->is_background = json_is_true(json_object_get(log->base, "background"));
    log->completed_s = json_integer_value(json_object_get(log->base, "completed_at"));
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(output); i++) {
        ok = restore_item(log, json_array_get(output, i), err);
    }
    ok = ok && (object->content.len == 0 ? log->item_count == 0 || damaged(err)
                                         : restore_marks(log, object->content, err));
    restore_usage(log);
    log->status = status_of(log->base);
    if (json_is_object(error)) {
        err_set(&log->failure, ERR_INTERNAL, "%.*s",
                STR_ARG(json_str(json_object_get(error, "message"))));
    }
    return ok;
}

/* ---- after a restart ---- */

struct recovering {
    struct arena *arena;
    struct store_object *objects;
    size_t count, cap;
    bool failed;
};

static bool note_running(void *arg, const struct store_object *object)
{
    struct recovering *all = arg;
    if (all->count == all->cap) {
        struct store_object *grown =
            mem_resize(all->objects, all->cap * 2 + 16, sizeof *all->objects);
        if (!grown) {
            all->failed = true;
            return false;
        }
        all->objects = grown;
        all->cap = all->cap * 2 + 16;
    }
    struct store_object *copy = &all->objects[all->count++];
    *copy = *object;
    json_t *body = json_parse(object->body, NULL, NULL);
    json_object_set_new(body, "status", json_string("failed"));
    json_object_set_new(body, "error",
                        json_pack("{s:s,s:s}", "code", "server_error", "message",
                                  "the server stopped before the response was complete"));
    copy->body = to_text(all->arena, body);
    json_decref(body);
    copy->tenant.ptr = arena_copy(all->arena, object->tenant);
    copy->id.ptr = arena_copy(all->arena, object->id);
    copy->label.ptr = arena_copy(all->arena, object->label);
    copy->parent = copy->state = (struct str){0};
    copy->content = STR("[]");
    all->failed = !copy->body.ptr || !copy->tenant.ptr || !copy->id.ptr || !copy->label.ptr;
    return !all->failed;
}

bool api_responses_recover(struct store *store, struct err *err)
{
    struct arena arena = arena_init(0);
    struct recovering all = {.arena = &arena};
    struct store_query query = {.kind = STORE_RESPONSE, .any_tenant = true, .state = running};
    bool ok = store_list(store, &query, note_running, &all, NULL, err) &&
              (!all.failed || err_set_memory(err, arena.used_total)) &&
              (all.count == 0 || store_put(store, all.objects, all.count, err));
    mem_free(all.objects);
    arena_deinit(&arena);
    return ok;
}
