/* OpenAI's Responses API. Shapes follow the public reference; the parts:
 *
 *     responses_request.c  body -> gen_request: the field table
 *     responses_tools.c    its tools and choices of them, in the form of chat completions
 *     responses_items.c    items: checked, given ids, turned into messages of a conversation
 *     responses_log.c      what came of a response, and the events that tell it
 *     responses_keep.c     on the disk and back
 *     responses.c          the dialect
 *     responses_calls.c    retrieve, delete, input_items; conversations.c: those
 *
 * The order of things in a stream is a function of the log: it notes items, their texts, and where
 * each piece of text ended. So any reader, also one that comes back with `starting_after` after a
 * restart, is told the same events under the same sequence numbers. */
#ifndef API_RESPONSES_H
#define API_RESPONSES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/call.h"
#include "api/fields.h"
#include "api/render.h"
#include "api/run.h"

extern const struct api_dialect api_responses;
extern const struct api_dialect api_responses_count; /* POST /v1/responses/input_tokens */

/* ---- the request's own part: gen_request.own ---- */

struct api_responses_request {
    json_t *input;     /* owned: the items of this request, with ids */
    json_t *context;   /* owned: those before it, of earlier responses or the conversation */
    json_t *tool_json; /* owned: names for gen_request.tool_choice */
    struct str instructions, previous, conversation;
    uint32_t top_logprobs;
    bool wants_store, has_store; /* as the client wrote it */
    bool includes_logprobs, includes_encrypted;
    bool has_summary;   /* the reasoning is told as its summary */
    bool is_obfuscated; /* deltas are padded */
    bool has_shell;     /* the tool local_shell */
};

extern const struct api_field *const api_responses_tables[];
bool api_responses_parse(struct gen_request *request, struct str body, struct err *err);
struct api_responses_request *api_responses_own(const struct gen_request *request);

/* tools and tool_choice, in responses_tools.c: handlers of fields. */
bool api_responses_apply_tools(struct gen_request *request, const struct api_field *field,
                               const json_t *value, struct err *err);
bool api_responses_apply_choice(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err);

/* ---- items ---- */

#define RESPONSES_SHELL "local_shell" /* the function that stands for the tool of that type */

/* Checks each item of an array and appends it to `out` as the API tells it back, with an id.
 * Errors carry the path below `param` ("input"). */
bool api_responses_read_items(const json_t *items, const char *param, json_t *out, struct err *err);

/* Appends what the items say to `messages`, as chat templates expect it: what an assistant thought,
 * said and called in one turn is one message. */
bool api_responses_add_messages(const json_t *items, json_t *messages, struct err *err);

/* The reasoning of an item as its encrypted_content. Nothing here is secret from the client who
 * gets the text as well, so it is not encrypted: "hearth1:" and base64. Decoding takes only that.
 */
void api_responses_encode(struct str text, struct buf *out);
bool api_responses_decode(struct str encoded, struct buf *out);

/* ---- the log ---- */

enum api_responses_kind {
    RESPONSES_MESSAGE,
    RESPONSES_REASONING,
    RESPONSES_FUNCTION,
    RESPONSES_CUSTOM,
    RESPONSES_LOCAL_SHELL
};

enum api_responses_status {
    RESPONSES_QUEUED,
    RESPONSES_RUNNING,
    RESPONSES_COMPLETED,
    RESPONSES_INCOMPLETE,
    RESPONSES_FAILED,
    RESPONSES_CANCELLED
};

struct api_responses_item {
    enum api_responses_kind kind;
    char id[API_ID_MAX];
    struct buf text, call_id, name;
    struct buf logprobs;    /* JSON objects with commas between */
    uint32_t *logprob_ends; /* [logprob_count] in `logprobs` */
    size_t logprob_count, logprob_cap;
    bool is_closed, is_cut;
};

enum api_responses_step { RESPONSES_OPEN, RESPONSES_DELTA, RESPONSES_CLOSE };

struct api_responses_mark {
    uint32_t item;
    enum api_responses_step step;
    uint32_t text_end, logprob_end; /* DELTA: of the item's text and count of logprobs so far */
};

struct api_responses_log {
    json_t *base; /* owned: the response object; what changes is put in when it is told */
    enum api_responses_status status;
    struct err failure; /* FAILED */
    int64_t completed_s;
    bool is_background, has_summary, has_encrypted, is_obfuscated;
    struct api_usage usage;
    uint64_t reasoning_tokens;
    bool has_usage;
    struct api_responses_item *items; /* [item_count] */
    size_t item_count, item_cap;
    struct api_responses_mark *marks; /* [mark_count] */
    size_t mark_count, mark_cap;
    bool failed; /* out of memory */
};

/* All-zero but for `base` is an empty log. */
void api_responses_log_deinit(struct api_responses_log *log);

/* What the model says. Opening an item closes the one before. */
struct api_responses_item *api_responses_log_open(struct api_responses_log *log,
                                                  enum api_responses_kind kind);
void api_responses_log_add(struct api_responses_log *log, struct str text);
void api_responses_log_logprob(struct api_responses_log *log, struct str json);
void api_responses_log_delta(struct api_responses_log *log); /* what was added since the last one */
void api_responses_log_close(struct api_responses_log *log, bool is_cut);
void api_responses_log_end(struct api_responses_log *log, enum api_responses_status status);

/* The response as it is now; new reference, NULL without memory. */
json_t *api_responses_log_object(const struct api_responses_log *log);
json_t *api_responses_log_output(const struct api_responses_log *log);

/* Where a reader stands. All-zero: before the first event. */
struct api_responses_cursor {
    size_t mark;
    uint64_t sequence; /* of the next event */
    bool has_begun, has_ended;
    bool holds_end; /* the end is not told yet */
};

/* Appends the events from the cursor on, those whose number is greater than `after` (-1: all),
 * until there are none or `out` has bytes_max. */
void api_responses_log_events(const struct api_responses_log *log,
                              struct api_responses_cursor *cursor, int64_t after, size_t bytes_max,
                              struct buf *out);

/* Of a run of api_responses; NULL without memory. */
struct api_responses_log *api_responses_log_of(struct api_render *render);

/* ---- on the disk (responses_keep.c) ---- */

/* Items before this request's: of the responses that led to it, or of its conversation. */
bool api_responses_resolve(struct gen_request *request, const struct api_run_owner *owner,
                           struct err *err);

/* Puts the response and, the first time, its input. `appends`: to its conversation as well. */
bool api_responses_put(const struct api_responses_log *log, const struct gen_request *request,
                       const struct api_run_owner *owner, bool is_first, bool appends,
                       struct err *err);

/* A log from a stored response. */
bool api_responses_restore(const struct store_object *object, struct api_responses_log *log,
                           struct err *err);

/* After a restart: what was being generated has failed, and says so. */
bool api_responses_recover(struct store *store, struct err *err);

/* ---- calls ---- */

bool api_responses_call_get(struct api_call *call, struct err *err);
bool api_responses_call_delete(struct api_call *call, struct err *err);
bool api_responses_call_inputs(struct api_call *call, struct err *err);

bool api_conversations_create(struct api_call *call, struct err *err);
bool api_conversations_get(struct api_call *call, struct err *err);
bool api_conversations_update(struct api_call *call, struct err *err);
bool api_conversations_delete(struct api_call *call, struct err *err);
bool api_conversations_items(struct api_call *call, struct err *err);
bool api_conversations_add(struct api_call *call, struct err *err);
bool api_conversations_item(struct api_call *call, struct err *err);
bool api_conversations_remove(struct api_call *call, struct err *err);

#endif
