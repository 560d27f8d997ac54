/* The log of a response, and the events that tell it:
 *
 *     response.created, response.queued (in the background), response.in_progress
 *     per item   output_item.added, what the table below says, output_item.done
 *     response.completed | response.incomplete | response.failed, with the whole object
 *
 * A cancelled response ends its streams with response.incomplete: the API has no event of its own.
 */
#include <stdio.h>

#include "api/openai.h"
#include "api/responses.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

/* What is told of the kinds of items. A part (content, summary) is added before the first delta and
 * done after the last; kinds without one have no such events. */
static const struct kind {
    const char *prefix, *type;
    const char *delta, *done; /* NULL: the item comes as a whole */
    const char *done_name;    /* of the whole text in `done` and in the item */
    const char *part_added, *part_done, *part_type, *index_name;
} kinds[] = {
    [RESPONSES_MESSAGE] = {"msg_", "message", "response.output_text.delta",
                           "response.output_text.done", "text", "response.content_part.added",
                           "response.content_part.done", "output_text", "content_index"},
    [RESPONSES_REASONING] = {"rs_", "reasoning", "response.reasoning_text.delta",
                             "response.reasoning_text.done", "text", "response.content_part.added",
                             "response.content_part.done", "reasoning_text", "content_index"},
    [RESPONSES_FUNCTION] = {"fc_", "function_call", "response.function_call_arguments.delta",
                            "response.function_call_arguments.done", "arguments", NULL, NULL, NULL,
                            NULL},
    [RESPONSES_CUSTOM] = {"ctc_", "custom_tool_call", "response.custom_tool_call_input.delta",
                          "response.custom_tool_call_input.done", "input", NULL, NULL, NULL, NULL},
    [RESPONSES_LOCAL_SHELL] = {"lsh_", "local_shell_call", NULL, NULL, NULL, NULL, NULL, NULL,
                               NULL},
};

/* Reasoning whose summary was asked for. */
static const struct kind summary_kind = {"rs_",
                                         "reasoning",
                                         "response.reasoning_summary_text.delta",
                                         "response.reasoning_summary_text.done",
                                         "text",
                                         "response.reasoning_summary_part.added",
                                         "response.reasoning_summary_part.done",
                                         "summary_text",
                                         "summary_index"};

static const char *const status_names[] = {
    [RESPONSES_QUEUED] = "queued",       [RESPONSES_RUNNING] = "in_progress",
    [RESPONSES_COMPLETED] = "completed", [RESPONSES_INCOMPLETE] = "incomplete",
    [RESPONSES_FAILED] = "failed",       [RESPONSES_CANCELLED] = "cancelled",
};

static const struct kind *kind_of(const struct api_responses_log *log, size_t item)
{
    enum api_responses_kind kind = log->items[item].kind;
    return kind == RESPONSES_REASONING && log->has_summary ? &summary_kind : &kinds[kind];
}

/* ---- writing ---- */

void api_responses_log_deinit(struct api_responses_log *log)
{
    for (size_t i = 0; i < log->item_count; i++) {
        buf_deinit(&log->items[i].text);
        buf_deinit(&log->items[i].call_id);
        buf_deinit(&log->items[i].name);
        buf_deinit(&log->items[i].logprobs);
        mem_free(log->items[i].logprob_ends);
    }
    mem_free(log->items);
    mem_free(log->marks);
    json_decref(log->base);
    *log = (struct api_responses_log){0};
}

/* Room for one more. False and failed without memory. */
static bool grow(struct api_responses_log *log, void **list, size_t count, size_t *cap, size_t size)
{
    if (count < *cap) {
        return true;
    }
    size_t more = count + count / 2 + 16;
    void *grown = mem_resize(*list, more, size);
    if (!grown) {
        log->failed = true;
        return false;
    }
    *list = grown;
    *cap = more;
    return true;
}

static void mark(struct api_responses_log *log, enum api_responses_step step)
{
    if (!grow(log, (void **)&log->marks, log->mark_count, &log->mark_cap, sizeof *log->marks)) {
        return;
    }
    const struct api_responses_item *item = &log->items[log->item_count - 1];
    log->marks[log->mark_count++] =
        (struct api_responses_mark){.item = (uint32_t)(log->item_count - 1),
                                    .step = step,
                                    .text_end = (uint32_t)item->text.len,
                                    .logprob_end = (uint32_t)item->logprob_count};
}

static struct api_responses_item *last_item(struct api_responses_log *log)
{
    return log->item_count ? &log->items[log->item_count - 1] : NULL;
}

struct api_responses_item *api_responses_log_open(struct api_responses_log *log,
                                                  enum api_responses_kind kind)
{
    api_responses_log_close(log, false);
    if (!grow(log, (void **)&log->items, log->item_count, &log->item_cap, sizeof *log->items)) {
        return NULL;
    }
    struct api_responses_item *item = &log->items[log->item_count++];
    *item = (struct api_responses_item){.kind = kind};
    api_new_id(kinds[kind].prefix, item->id);
    mark(log, RESPONSES_OPEN);
    return item;
}

void api_responses_log_add(struct api_responses_log *log, struct str text)
{
    struct api_responses_item *item = last_item(log);
    if (item) {
        buf_add(&item->text, text);
        log->failed = log->failed || item->text.failed;
    }
}

void api_responses_log_logprob(struct api_responses_log *log, struct str json)
{
    struct api_responses_item *item = last_item(log);
    if (!item || !grow(log, (void **)&item->logprob_ends, item->logprob_count, &item->logprob_cap,
                       sizeof *item->logprob_ends)) {
        return;
    }
    if (item->logprobs.len) {
        buf_add_char(&item->logprobs, ',');
    }
    buf_add(&item->logprobs, json);
    item->logprob_ends[item->logprob_count++] = (uint32_t)item->logprobs.len;
    log->failed = log->failed || item->logprobs.failed;
}

void api_responses_log_delta(struct api_responses_log *log)
{
    struct api_responses_item *item = last_item(log);
    if (item && !item->is_closed) {
        mark(log, RESPONSES_DELTA);
    }
}

void api_responses_log_close(struct api_responses_log *log, bool is_cut)
{
    struct api_responses_item *item = last_item(log);
    if (item && !item->is_closed) {
        item->is_closed = true;
        item->is_cut = is_cut;
        mark(log, RESPONSES_CLOSE);
    }
}

void api_responses_log_end(struct api_responses_log *log, enum api_responses_status status)
{
    api_responses_log_close(log, status != RESPONSES_COMPLETED);
    log->status = status;
    if (status == RESPONSES_COMPLETED) {
        log->completed_s = clock_wall_s();
    }
}

/* ---- objects ---- */

static json_t *text_json(const struct buf *text)
{
    return json_stringn(text->ptr ? text->ptr : "", text->len);
}

static bool set(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

static json_t *part_json(const struct kind *kind, const struct api_responses_item *item,
                         bool is_whole)
{
    json_t *part = json_object();
    json_t *text = is_whole ? text_json(&item->text) : json_string("");
    set(part, "type", json_string(kind->part_type));
    if (item->kind == RESPONSES_MESSAGE) {
        struct buf list = {0};
        buf_add_char(&list, '[');
        buf_add(&list, is_whole ? buf_view(&item->logprobs) : (struct str){0});
        buf_add_char(&list, ']');
        set(part, "annotations", json_array());
        set(part, "logprobs", list.failed ? NULL : json_parse(buf_view(&list), NULL, NULL));
        buf_deinit(&list);
    }
    set(part, "text", text);
    return part;
}

/* {"type":"exec","command":[...],"env":{}...} from the arguments that the model wrote. */
static json_t *action_json(const struct api_responses_item *item)
{
    json_t *action = json_object();
    json_t *arguments = item->text.len ? json_parse(buf_view(&item->text), NULL, NULL) : NULL;
    set(action, "type", json_string("exec"));
    set(action, "command", json_array());
    set(action, "env", json_object());
    if (json_is_object(arguments)) {
        json_object_update(action, arguments);
    }
    json_decref(arguments);
    return action;
}

static void add_call(json_t *object, const struct kind *kind, const struct api_responses_item *item,
                     bool is_whole)
{
    set(object, "call_id", text_json(&item->call_id));
    if (item->kind == RESPONSES_LOCAL_SHELL) {
        set(object, "action", action_json(item));
        return;
    }
    set(object, "name", text_json(&item->name));
    set(object, kind->done_name, is_whole ? text_json(&item->text) : json_string(""));
}

static void add_reasoning(const struct api_responses_log *log, json_t *object,
                          const struct kind *kind, const struct api_responses_item *item,
                          bool is_whole)
{
    json_t *parts = json_array(), *none = json_array();
    if (is_whole) {
        json_array_append_new(parts, part_json(kind, item, true));
    }
    set(object, "summary", log->has_summary ? parts : none);
    if (log->has_summary) {
        json_decref(none);
    } else {
        set(object, "content", parts);
    }
    if (log->has_encrypted) {
        struct buf text = {0};
        api_responses_encode(buf_view(&item->text), &text);
        set(object, "encrypted_content", is_whole && !text.failed ? text_json(&text) : json_null());
        buf_deinit(&text);
    }
}

/* As it is added, without its text, or as a whole. */
static json_t *item_json(const struct api_responses_log *log, size_t index, bool is_whole)
{
    const struct api_responses_item *item = &log->items[index];
    const struct kind *kind = kind_of(log, index);
    json_t *object = json_object();
    set(object, "id", json_string(item->id));
    set(object, "type", json_string(kind->type));
    set(object, "status",
        json_string(!is_whole || !item->is_closed ? "in_progress"
                    : item->is_cut                ? "incomplete"
                                                  : "completed"));
    switch (item->kind) {
    case RESPONSES_MESSAGE:
        set(object, "role", json_string("assistant"));
        set(object, "content", json_array());
        if (is_whole) {
            json_array_append_new(json_object_get(object, "content"), part_json(kind, item, true));
        }
        break;
    case RESPONSES_REASONING:
        add_reasoning(log, object, kind, item, is_whole);
        break;
    default:
        add_call(object, kind, item, is_whole);
    }
    return object;
}

json_t *api_responses_log_output(const struct api_responses_log *log)
{
    json_t *output = json_array();
    for (size_t i = 0; i < log->item_count; i++) {
        json_array_append_new(output, item_json(log, i, true));
    }
    return output;
}

static json_t *usage_json(const struct api_responses_log *log)
{
    const struct api_usage *usage = &log->usage;
    return json_pack("{s:I,s:{s:I},s:I,s:{s:I},s:I}", "input_tokens",
                     (json_int_t)usage->prompt_tokens, "input_tokens_details", "cached_tokens",
                     (json_int_t)usage->cached_tokens, "output_tokens",
                     (json_int_t)usage->completion_tokens, "output_tokens_details",
                     "reasoning_tokens", (json_int_t)log->reasoning_tokens, "total_tokens",
                     (json_int_t)(usage->prompt_tokens + usage->completion_tokens));
}

/* The response at some time: status and whether it has its output. The order of keys is base's. */
static json_t *object_at(const struct api_responses_log *log, enum api_responses_status status,
                         bool has_output)
{
    json_t *object = json_copy(log->base);
    bool is_cut = has_output && status == RESPONSES_INCOMPLETE;
    set(object, "status", json_string(status_names[status]));
    set(object, "completed_at",
        has_output && log->completed_s ? json_integer(log->completed_s) : json_null());
    set(object, "error",
        status == RESPONSES_FAILED
            ? json_pack("{s:s,s:s}", "code", "server_error", "message", log->failure.text)
            : json_null());
    set(object, "incomplete_details",
        is_cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null());
    set(object, "output", has_output ? api_responses_log_output(log) : json_array());
    set(object, "usage", has_output && log->has_usage ? usage_json(log) : json_null());
    return object;
}

json_t *api_responses_log_object(const struct api_responses_log *log)
{
    return object_at(log, log->status, log->status >= RESPONSES_COMPLETED);
}

/* ---- events ---- */

struct telling {
    const struct api_responses_log *log;
    struct api_responses_cursor *cursor;
    int64_t after;
    struct buf *out;
};

/* Begins an event and says true, or skips it. */
static bool begin(struct telling *telling, const char *type)
{
    uint64_t number = telling->cursor->sequence++;
    if ((int64_t)number <= telling->after) {
        return false;
    }
    buf_add_format(telling->out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%llu", type,
                   type, (unsigned long long)number);
    return true;
}

static void end(struct telling *telling)
{
    buf_add_text(telling->out, "}\n\n");
}

static void add_json(struct telling *telling, const char *name, json_t *value)
{
    buf_add_format(telling->out, ",\"%s\":", name);
    if (value) {
        json_write(telling->out, value);
    } else {
        telling->out->failed = true;
    }
    json_decref(value);
}

static void tell_response(struct telling *telling, const char *type,
                          enum api_responses_status status, bool has_output)
{
    if (begin(telling, type)) {
        add_json(telling, "response", object_at(telling->log, status, has_output));
        end(telling);
    }
}

static bool begin_item(struct telling *telling, const char *type, size_t item)
{
    if (!begin(telling, type)) {
        return false;
    }
    buf_add_format(telling->out, ",\"output_index\":%zu", item);
    return true;
}

static void tell_item(struct telling *telling, size_t item, bool is_whole)
{
    if (begin_item(telling, is_whole ? "response.output_item.done" : "response.output_item.added",
                   item)) {
        add_json(telling, "item", item_json(telling->log, item, is_whole));
        end(telling);
    }
}

/* ,"item_id":...  and  ,"content_index":0 where the kind has parts */
static void add_place(struct telling *telling, const struct kind *kind, size_t item)
{
    buf_add_format(telling->out, ",\"item_id\":\"%s\"", telling->log->items[item].id);
    if (kind->index_name) {
        buf_add_format(telling->out, ",\"%s\":0", kind->index_name);
    }
}

static void tell_part(struct telling *telling, size_t item, bool is_whole)
{
    const struct kind *kind = kind_of(telling->log, item);
    if (kind->part_added &&
        begin_item(telling, is_whole ? kind->part_done : kind->part_added, item)) {
        add_place(telling, kind, item);
        add_json(telling, "part", part_json(kind, &telling->log->items[item], is_whole));
        end(telling);
    }
}

/* The logprobs [from, to) of the item. */
static void add_logprobs(struct telling *telling, const struct api_responses_item *item,
                         size_t from, size_t to)
{
    size_t begin_at = from ? item->logprob_ends[from - 1] + 1u : 0;
    size_t end_at = to > from ? item->logprob_ends[to - 1] : begin_at;
    buf_add_text(telling->out, ",\"logprobs\":[");
    buf_add(telling->out, str_slice(buf_view(&item->logprobs), begin_at, end_at));
    buf_add_char(telling->out, ']');
}

/* What the item had before this mark. */
static const struct api_responses_mark *mark_before(const struct telling *telling)
{
    static const struct api_responses_mark none;
    size_t at = telling->cursor->mark;
    const struct api_responses_mark *marks = telling->log->marks;
    return at > 0 && marks[at - 1].item == marks[at].item ? &marks[at - 1] : &none;
}

static void tell_delta(struct telling *telling, const struct api_responses_mark *now)
{
    const struct api_responses_item *item = &telling->log->items[now->item];
    const struct api_responses_mark *before = mark_before(telling);
    const struct kind *kind = kind_of(telling->log, now->item);
    struct str text = str_slice(buf_view(&item->text), before->text_end, now->text_end);
    if (!kind->delta || !begin_item(telling, kind->delta, now->item)) {
        return;
    }
    add_place(telling, kind, now->item);
    buf_add_text(telling->out, ",\"delta\":");
    json_write_string(telling->out, text);
    if (item->kind == RESPONSES_MESSAGE) {
        add_logprobs(telling, item, before->logprob_end, now->logprob_end);
    }
    if (telling->log->is_obfuscated) {
        api_openai_obfuscate(text.len, telling->out);
    }
    end(telling);
}

static void tell_text_done(struct telling *telling, size_t index)
{
    const struct api_responses_item *item = &telling->log->items[index];
    const struct kind *kind = kind_of(telling->log, index);
    if (!kind->done || !begin_item(telling, kind->done, index)) {
        return;
    }
    add_place(telling, kind, index);
    if (item->kind == RESPONSES_FUNCTION) {
        buf_add_text(telling->out, ",\"name\":");
        json_write_string(telling->out, buf_view(&item->name));
    }
    buf_add_format(telling->out, ",\"%s\":", kind->done_name);
    json_write_string(telling->out, buf_view(&item->text));
    if (item->kind == RESPONSES_MESSAGE) {
        add_logprobs(telling, item, 0, item->logprob_count);
    }
    end(telling);
}

static void tell_mark(struct telling *telling, const struct api_responses_mark *now)
{
    switch (now->step) {
    case RESPONSES_OPEN:
        tell_item(telling, now->item, false);
        tell_part(telling, now->item, false);
        break;
    case RESPONSES_DELTA:
        tell_delta(telling, now);
        break;
    case RESPONSES_CLOSE:
        tell_text_done(telling, now->item);
        tell_part(telling, now->item, true);
        tell_item(telling, now->item, true);
        break;
    }
}

static void tell_begin(struct telling *telling)
{
    bool waits = telling->log->is_background;
    enum api_responses_status first = waits ? RESPONSES_QUEUED : RESPONSES_RUNNING;
    tell_response(telling, "response.created", first, false);
    if (waits) {
        tell_response(telling, "response.queued", RESPONSES_QUEUED, false);
    }
    tell_response(telling, "response.in_progress", RESPONSES_RUNNING, false);
}

void api_responses_log_events(const struct api_responses_log *log,
                              struct api_responses_cursor *cursor, int64_t after, size_t bytes_max,
                              struct buf *out)
{
    struct telling telling = {.log = log, .cursor = cursor, .after = after, .out = out};
    if (!cursor->has_begun) {
        cursor->has_begun = true;
        tell_begin(&telling);
    }
    while (cursor->mark < log->mark_count && out->len < bytes_max) {
        tell_mark(&telling, &log->marks[cursor->mark]);
        cursor->mark++;
    }
    if (cursor->mark < log->mark_count || log->status < RESPONSES_COMPLETED || cursor->has_ended ||
        cursor->holds_end) {
        return;
    }
    cursor->has_ended = true;
    tell_response(&telling,
                  log->status == RESPONSES_COMPLETED ? "response.completed"
                  : log->status == RESPONSES_FAILED  ? "response.failed"
                                                     : "response.incomplete",
                  log->status, true);
}
