/* Messages as Anthropic has them -> messages as OpenAI's chat has them, which templates expect.
 *
 *     system: "a" | [{text}, ...]                  {"role":"system","content":"a"}
 *     user: [tool_result, ..., text, ...]          {"role":"tool","tool_call_id":..,"content":..}
 * ...
 *                                                  {"role":"user","content":"b"}
 *     assistant: [thinking, text, tool_use, ...]   {"role":"assistant","content":"c",
 *                                                   "reasoning_content":..,"tool_calls":[..]}
 *
 * The texts of blocks become one text, a block per line. Messages of one role in a row are one turn
 * and are joined in the same way. Each tool_use must be answered in the turn behind it and nothing
 * else be answered, as the API has it. If the last message is the assistant's, the answer goes on
 * in it. The blocks themselves are read in anthropic_blocks.c. */
#include "api/anthropic.h"
#include "base/json.h"

/* ---- what a turn becomes ---- */

void api_anthropic_turn_deinit(struct api_anthropic_turn *turn)
{
    buf_deinit(&turn->text);
    buf_deinit(&turn->thinking);
    json_decref(turn->calls);
    *turn = (struct api_anthropic_turn){0};
}

static bool set_text(json_t *message, const char *key, const struct buf *text)
{
    return !text->failed &&
           json_object_set_new(message, key, json_stringn(text->ptr ? text->ptr : "", text->len)) ==
               0;
}

/* Appends the message of the turn, or puts it at the front for the system prompt. */
static bool add_turn(struct gen_request *request, const char *role, struct api_anthropic_turn *turn,
                     bool at_front, struct err *err)
{
    json_t *message = json_pack("{s:s}", "role", role);
    bool ok = message && set_text(message, "content", &turn->text);
    ok = ok && (turn->thinking.len == 0 || set_text(message, "reasoning_content", &turn->thinking));
    ok = ok && (json_array_size(turn->calls) == 0 ||
                json_object_set(message, "tool_calls", turn->calls) == 0);
    if (!ok) {
        json_decref(message);
    } else if (at_front) {
        ok = json_array_insert_new(request->messages, 0, message) == 0;
    } else {
        ok = json_array_append_new(request->messages, message) == 0;
    }
    return ok || err_set_memory(err, turn->text.len);
}

static bool have_messages(struct gen_request *request, struct err *err)
{
    request->messages = request->messages ? request->messages : json_array();
    return request->messages || err_set_memory(err, sizeof(json_t *));
}

/* ---- content ---- */

/* A string, or blocks. Errors name the place below `name`. */
static bool read_content(struct gen_request *request, const char *name,
                         enum api_anthropic_place place, const json_t *content,
                         struct api_anthropic_turn *turn, struct err *err)
{
    if (json_is_string(content)) {
        buf_add_text(&turn->text, turn->text.len && json_string_length(content) ? "\n" : "");
        buf_add(&turn->text, json_str(content));
        turn->block_count += json_string_length(content) > 0;
        return !turn->text.failed || err_set_memory(err, json_string_length(content));
    }
    if (!json_is_array(content)) {
        return api_type_error(name, "a string or an array of content blocks", content, err);
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        if (!api_anthropic_read_block(request, place, json_array_get(content, i), turn, err)) {
            return err_wrap_param(err, "%s[%zu]", name, i);
        }
    }
    return !turn->text.failed || err_set_memory(err, turn->text.len);
}

bool api_anthropic_apply_system(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err)
{
    struct api_anthropic_turn turn = {0};
    bool ok = have_messages(request, err) &&
              read_content(request, field->name, API_ANTHROPIC_SYSTEM, value, &turn, err);
    if (ok && turn.text.len > 0) {
        ok = add_turn(request, "system", &turn, true, err);
    }
    api_anthropic_turn_deinit(&turn);
    return ok;
}

/* ---- messages ---- */

static bool read_role(const json_t *message, enum api_anthropic_place *out, struct err *err)
{
    static const char *const roles[] = {[API_ANTHROPIC_USER] = "user",
                                        [API_ANTHROPIC_ASSISTANT] = "assistant",
                                        [API_ANTHROPIC_SYSTEM] = "system"};
    const json_t *role = json_object_get(message, "role");
    char quoted[STR_QUOTE_MAX];
    if (!role || json_is_null(role)) {
        return err_set_param(err, ERR_MISSING, "role", "a message needs a 'role'");
    }
    if (!json_is_string(role)) {
        return api_type_error("role", "a string", role, err);
    }
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (str_eq(json_str(role), str_of(roles[i]))) {
            *out = (enum api_anthropic_place)i;
            return true;
        }
    }
    return err_set_param(err, ERR_INVALID, "role",
                         "invalid role '%s': must be user, assistant or system",
                         str_quote(quoted, json_str(role)));
}

/* Checks one message and adds it to its turn. */
static bool read_message(struct gen_request *request, const json_t *message,
                         enum api_anthropic_place place, bool may_be_empty,
                         struct api_anthropic_turn *turn, struct err *err)
{
    json_t *object = (json_t *)(uintptr_t)message;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        if (strcmp(key, "role") != 0 && strcmp(key, "content") != 0) {
            return api_unknown_error(key, err);
        }
    }
    const json_t *content = json_object_get(message, "content");
    if (!content || json_is_null(content)) {
        return err_set_param(err, ERR_MISSING, "content", "a message needs 'content'");
    }
    size_t before = turn->block_count;
    if (!read_content(request, "content", place, content, turn, err)) {
        return false;
    }
    return turn->block_count > before || may_be_empty ||
           err_set_param(err, ERR_INVALID, "content",
                         "all messages must have non-empty content, except for the optional final "
                         "assistant message");
}

/* "a, b": the ids of calls that nobody has answered. */
static bool fail_open_calls(const json_t *open, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    json_t *object = (json_t *)(uintptr_t)open;
    struct str first = str_of(json_object_iter_key(json_object_iter(object)));
    return err_set_param(err, ERR_INVALID, "",
                         "%zu `tool_use` blocks have no `tool_result` block in the next message; "
                         "the first has the id %s",
                         json_object_size(open), str_quote(quoted, first));
}

static bool end_turn(struct gen_request *request, enum api_anthropic_place place,
                     struct api_anthropic_turn *turn, struct err *err)
{
    static const char *const roles[] = {"user", "assistant", "system"};
    if (place == API_ANTHROPIC_USER && json_object_size(turn->open) > 0) {
        return fail_open_calls(turn->open, err);
    }
    if (place == API_ANTHROPIC_ASSISTANT) {
        json_object_clear(turn->open);
        for (size_t i = 0; i < json_array_size(turn->calls); i++) {
            const json_t *id = json_object_get(json_array_get(turn->calls, i), "id");
            if (json_object_set_new(turn->open, json_string_value(id), json_true()) != 0) {
                return err_set_memory(err, json_string_length(id));
            }
        }
    }
    bool is_empty = turn->text.len == 0 && turn->thinking.len == 0 && !turn->calls;
    return is_empty || add_turn(request, roles[place], turn, false, err);
}

/* One turn: messages[*at] and those of the same role behind it. */
static bool read_turn(struct gen_request *request, const json_t *messages, size_t *at, json_t *open,
                      struct err *err)
{
    size_t count = json_array_size(messages), first = *at;
    struct api_anthropic_turn turn = {.open = open};
    enum api_anthropic_place place = API_ANTHROPIC_USER, next = place;
    bool ok = true;
    for (; ok && *at < count; ++*at) {
        const json_t *message = json_array_get(messages, *at);
        ok = json_is_object(message) || api_type_error("", "an object", message, err);
        ok = ok && read_role(message, &next, err);
        if (ok && *at > first && next != place) {
            break;
        }
        place = next;
        bool may_be_empty = *at + 1 == count && place == API_ANTHROPIC_ASSISTANT;
        ok = ok && read_message(request, message, place, may_be_empty, &turn, err);
        if (!ok) {
            err_wrap_param(err, "messages[%zu]", *at);
        }
    }
    if (ok && !end_turn(request, place, &turn, err)) {
        ok = err_wrap_param(err, "messages[%zu]", *at - 1);
    }
    api_anthropic_turn_deinit(&turn);
    return ok;
}

bool api_anthropic_apply_messages(struct gen_request *request, const struct api_field *field,
                                  const json_t *value, struct err *err)
{
    if (!json_is_array(value)) {
        return api_type_error(field->name, "an array", value, err);
    }
    json_t *open = json_object();
    bool ok = have_messages(request, err) && (open || err_set_memory(err, sizeof *open));
    for (size_t at = 0; ok && at < json_array_size(value);) {
        ok = read_turn(request, value, &at, open, err);
    }
    if (ok && json_object_size(open) > 0) {
        fail_open_calls(open, err);
        ok = err_wrap_param(err, "messages[%zu]", json_array_size(value) - 1);
    }
    json_decref(open);
    return ok && (json_array_size(value) > 0 ||
                  err_set_param(err, ERR_INVALID, field->name, "at least one message is required"));
}

bool api_anthropic_finish_messages(struct gen_request *request, struct err *err)
{
    size_t count = json_array_size(request->messages);
    const json_t *last = count ? json_array_get(request->messages, count - 1) : NULL;
    struct str role = json_str(json_object_get(last, "role"));
    if (!str_eq(role, STR("assistant"))) {
        return count > 0 || err_set_param(err, ERR_INVALID, "messages",
                                          "at least one message with content is required");
    }
    struct str content = json_str(json_object_get(last, "content"));
    if (str_trim(content).len == 0 || strchr(" \t\r\n\f\v", content.ptr[content.len - 1])) {
        return err_set_param(err, ERR_INVALID, "messages",
                             "the final assistant message must not end with white space");
    }
    request->continues_final = true;
    return true;
}
