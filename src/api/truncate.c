#include "api/truncate.h"

#include "chat/reply.h"

/* Room for the answer: what was asked for, at most half of the context; an eighth if nothing was.
 */
static size_t room_of(const struct gen_request *request, size_t ctx_tokens)
{
    size_t room = request->has_max_tokens ? request->max_tokens : ctx_tokens / 8;
    return room < ctx_tokens / 2 ? room : ctx_tokens / 2;
}

static bool has_role(const json_t *message, const char *role)
{
    return str_eq(json_str(json_object_get(message, "role")), str_of(role));
}

/* Messages without those of [head, from), where head counts the instructions at the beginning. */
static json_t *without(json_t *messages, size_t head, size_t from)
{
    json_t *kept = json_array();
    for (size_t i = 0; i < json_array_size(messages); i++) {
        if (i < head || i >= from) {
            json_array_append(kept, json_array_get(messages, i));
        }
    }
    return kept;
}

/* Where the k-th turn begins: at a message of the user. */
static size_t turn_start(const json_t *messages, size_t head, size_t k)
{
    size_t i = head;
    for (size_t seen = 0; i < json_array_size(messages); i++) {
        if (has_role(json_array_get(messages, i), "user") && seen++ == k) {
            break;
        }
    }
    return i;
}

static bool prepare_from(struct gen_request *request, const struct route_local *local,
                         json_t *messages, size_t head, size_t from, struct err *err)
{
    json_t *kept = without(messages, head, from);
    json_decref(request->messages);
    request->messages = kept;
    request->dropped_count = from - head;
    text_ids_deinit(&request->prompts[0].ids);
    chat_reply_destroy(request->reply);
    request->reply = NULL;
    return api_request_prepare(request, local, err);
}

bool api_truncate(struct gen_request *request, const struct route_local *local, struct err *err)
{
    size_t ctx_tokens = engine_ctx_tokens(route_local_engine(local));
    size_t limit = ctx_tokens - room_of(request, ctx_tokens);
    if (!request->drops_oldest || request->prompts[0].ids.count <= limit) {
        return true;
    }
    json_t *messages = json_incref(request->messages);
    size_t head = 0, turns = 0;
    while (has_role(json_array_get(messages, head), "system")) {
        head++;
    }
    for (size_t i = head; i < json_array_size(messages); i++) {
        turns += has_role(json_array_get(messages, i), "user");
    }
    /* The fewest turns to leave out: low do not suffice, high may. */
    size_t low = 0, high = turns ? turns - 1 : 0;
    bool ok = true;
    while (ok && low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        ok = prepare_from(request, local, messages, head, turn_start(messages, head, middle), err);
        if (request->prompts[0].ids.count <= limit) {
            high = middle;
        } else {
            low = middle;
        }
    }
    if (ok && high > 0) {
        ok = prepare_from(request, local, messages, head, turn_start(messages, head, high), err);
    }
    json_decref(messages);
    if (ok && request->prompts[0].ids.count > limit) {
        ok = err_set_param(err, ERR_CONTEXT, request->prompts[0].path,
                           "the last turn alone has %zu tokens; the context of %zu leaves %zu",
                           request->prompts[0].ids.count, ctx_tokens, limit);
    }
    return ok;
}
