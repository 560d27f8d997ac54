/* Rendering: engine events -> parts of an answer -> bytes of a dialect. A `struct api_render` takes
 * the events of one request apart (text, reasoning, tool calls) and collects what they say (per
 * choice: parts, log probabilities, finish reason; in sum: usage); a `struct api_dialect` is how
 * one API reads bodies and writes answers. Neither knows sockets or threads. */
#ifndef API_RENDER_H
#define API_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/parts.h"
#include "api/request.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "engine/engine.h"
#include "text/text.h"

struct api_field;
struct api_run_owner;

/* A piece of an answer, in the order of the answer. A call is CALL with id and name, ARGUMENTS in
 * any number of pieces, CALL_END; calls do not overlap. */
enum gen_part_kind {
    GEN_PART_TEXT,
    GEN_PART_REASONING,
    GEN_PART_CALL,
    GEN_PART_ARGUMENTS, /* of a function: JSON text; of a custom tool: its input */
    GEN_PART_CALL_END
};

struct gen_part {
    enum gen_part_kind kind;
    uint32_t call;       /* number of the call within its choice, from 0 */
    struct str text;     /* TEXT, REASONING, ARGUMENTS: whole characters */
    struct str id, name; /* CALL */
    bool is_custom;      /* of a call: to a custom tool */
};

enum gen_finish {
    GEN_FINISH_STOP,
    GEN_FINISH_LENGTH,
    GEN_FINISH_CALLS,
    GEN_FINISH_CONTEXT /* the context (or num_ctx) is full */
};

/* What one engine event says. Borrowed: valid until the next event of the request. */
struct gen_event {
    const struct gen_part *parts;
    size_t part_count;
    const struct engine_token *tokens; /* with log probabilities: of the texts told here, or of the
                                          prompt */
    size_t token_count;
    bool is_prompt;
    bool is_done;
    enum gen_finish finish; /* valid when done */
};

/* A part as a whole: text, reasoning, or a call with its arguments in `text`. */
struct api_part {
    enum gen_part_kind kind; /* TEXT, REASONING or CALL */
    struct buf text;
    struct str id, name; /* CALL; in the render's arena */
    bool is_custom;
};

struct api_choice {
    struct api_parts told;
    /* The answer as a whole: only when not streaming, or when the request keeps it. */
    struct api_part *parts;
    size_t part_count, part_cap;
    struct buf raw;              /* with keeps_text: as the model wrote it, markup included */
    struct engine_token *tokens; /* only when not streaming and log probabilities were asked */
    size_t token_count, token_cap;
    size_t text_offset; /* characters of the answer before the next token (legacy log probs) */
    uint32_t block;     /* a dialect's own: which block of its answer is open, */
    enum gen_part_kind block_kind; /* and what it holds */
    bool has_begun;                /* streaming: text was sent */
    bool is_done;
    enum gen_finish finish;
    struct str stop_hit; /* the request's stop string that ended it; empty if none did */
    struct engine_timing timing;
    struct engine_near_miss near_miss;
    uint32_t drafted_tokens, accepted_tokens; /* guesses; those that came true */
    uint32_t prompt_tokens, completion_tokens, cached_tokens;
    uint32_t reasoning_tokens; /* of completion_tokens */
};

struct api_render {
    const struct gen_request *request;
    const struct text *text; /* for the texts of tokens */
    struct str model;
    char id[48];
    char fingerprint[24];
    int64_t created_s;
    int64_t started_ns;  /* clock_now_ns */
    uint32_t ctx_tokens; /* longest sequence of the model */
    int64_t load_ns;     /* that the model took to be there, before that */
    struct api_choice *choices;
    size_t choice_count, done_count;
    struct arena arena;
    void *own;   /* the dialect's */
    bool failed; /* out of memory while collecting */
};

struct api_dialect {
    const char *id_prefix;
    const char *stream_type; /* media type of a stream; NULL: text/event-stream */
    bool (*parse)(struct gen_request *request, struct str body, struct err *err);
    const struct api_field *const *tables; /* the fields that parse knows; ends with NULL */
    /* Streaming: bytes before the first event, of one event (already collected), after the last,
     * and instead of what would follow when the generation fails midway. */
    void (*begin)(struct api_render *render, struct buf *out);
    void (*event)(struct api_render *render, size_t choice, const struct gen_event *event,
                  struct buf *out);
    void (*end)(struct api_render *render, struct buf *out);
    void (*broken)(struct api_render *render, const struct err *failure, struct buf *out);
    /* Streaming, before all that: a sign of life while the model is loaded (0 to 1), that clients
     * do not see as a part of the answer. NULL where there is no such sign. */
    void (*loading)(double progress, struct buf *out);
    /* The same while it waits for its turn: how many come before, and about how many seconds that
     * takes, 0 if unknown. */
    void (*queued)(const struct api_render *render, uint32_t ahead, uint32_t eta_s,
                   struct buf *out);
    /* Not streaming: the whole answer, once all choices are done. */
    void (*whole)(struct api_render *render, struct buf *out);

    /* The rest may be NULL. */
    bool always_tells; /* `event` is called for requests that do not stream as well */
    /* Reads what the request refers to; before a model is looked for, on a worker's thread. */
    bool (*resolve)(struct gen_request *request, const struct api_run_owner *owner,
                    struct err *err);
    /* For a request with is_kept, on a worker's thread: writes down that it is there, before
     * anything of it is told; */
    bool (*keep)(struct api_render *render, const struct api_run_owner *owner, struct err *err);
    /* puts the answer on the disk, once all choices are done and before `end` or `whole`; */
    bool (*commit)(struct api_render *render, const struct api_run_owner *owner, struct err *err);
    /* instead of commit when nobody waits for the answer any more, or it failed. */
    void (*abandon)(struct api_render *render, const struct api_run_owner *owner,
                    const struct err *failure);
    void (*release)(struct api_render *render); /* frees render->own */
};

/* `fingerprint_of` is any text that names model file, build and numerics: equal texts promise equal
 * answers for equal seeds. */
bool api_render_init(struct api_render *render, const struct api_dialect *dialect,
                     const struct gen_request *request, const struct text *text, struct str model,
                     struct str fingerprint_of, struct err *err);
void api_render_deinit(struct api_render *render);

/* Takes an event (tokens or done) apart and notes what it says. `event` stays the caller's and must
 * live as long as *out is used. */
void api_render_collect(struct api_render *render, size_t choice, const struct engine_event *event,
                        struct gen_event *out);

/* Appends the texts of all parts of a kind; a collected choice's content is its TEXT. */
void api_choice_join(const struct api_choice *choice, enum gen_part_kind kind, struct buf *out);

/* All choices have ended. */
bool api_render_is_done(const struct api_render *render);

struct api_usage {
    uint64_t prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens;
};

/* A prompt counts once, however many answers were asked for. */
struct api_usage api_render_usage(const struct api_render *render);

#endif
