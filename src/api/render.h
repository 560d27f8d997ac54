/* Rendering: engine events -> bytes of a dialect. A `struct api_render` collects what the events of
 * one request say (per choice: text, log probabilities, finish reason; in sum: usage); a `struct
 * api_dialect` is how one API reads bodies and writes answers. Neither knows sockets or threads. */
#ifndef API_RENDER_H
#define API_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/request.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "engine/engine.h"
#include "text/text.h"

struct api_field;

struct api_choice {
    struct buf text;             /* only when not streaming, or when the request keeps it */
    struct engine_token *tokens; /* only when not streaming and log probabilities were asked */
    size_t token_count, token_cap;
    size_t text_offset; /* characters of the answer before the next token (legacy log probs) */
    bool has_begun;     /* streaming: text was sent */
    bool is_done;
    enum engine_finish finish;
    struct str stop_hit; /* the request's stop string that ended it; empty if none did */
    struct engine_timing timing;
    struct engine_near_miss near_miss;
    uint32_t prompt_tokens, completion_tokens, cached_tokens;
};

struct api_render {
    const struct gen_request *request;
    const struct text *text; /* for the texts of tokens */
    struct str model;
    char id[48];
    char fingerprint[24];
    int64_t created_s;
    int64_t started_ns; /* clock_now_ns */
    struct api_choice *choices;
    size_t choice_count, done_count;
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
    void (*event)(struct api_render *render, size_t choice, const struct engine_event *event,
                  struct buf *out);
    void (*end)(struct api_render *render, struct buf *out);
    void (*broken)(struct api_render *render, const struct err *failure, struct buf *out);
    /* Not streaming: the whole answer, once all choices are done. */
    void (*whole)(struct api_render *render, struct buf *out);
};

/* `fingerprint_of` is any text that names model file, build and numerics: equal texts promise equal
 * answers for equal seeds. */
bool api_render_init(struct api_render *render, const struct api_dialect *dialect,
                     const struct gen_request *request, const struct text *text, struct str model,
                     struct str fingerprint_of, struct err *err);
void api_render_deinit(struct api_render *render);

/* Takes note of an event (which stays the caller's). */
void api_render_collect(struct api_render *render, size_t choice, const struct engine_event *event);

/* All choices have ended. */
bool api_render_is_done(const struct api_render *render);

struct api_usage {
    uint64_t prompt_tokens, completion_tokens, cached_tokens;
};

/* A prompt counts once, however many answers were asked for. */
struct api_usage api_render_usage(const struct api_render *render);

#endif
