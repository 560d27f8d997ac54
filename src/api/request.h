/* The one request: what every dialect parses into and the server runs, whatever the client spoke.
 *
 * A request asks for `choice_count` = prompt_count * n answers; choice i answers prompt i / n.
 * Everything hangs on the request's arena and its JSON body and lives until
 * api_request_deinit. Not shared between threads while it is being filled. */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "engine/engine.h"
#include "route/registry.h"
#include "text/text.h"

enum {
    API_STOPS_MAX = 16,
    API_STOP_BYTES_MAX = 1024,
    API_BANNED_MAX = 256,
    API_CHOICES_MAX = 128,
    API_BODY_DEPTH_MAX = 64,
    API_BODY_VALUES_MAX = 1000000,
};

enum gen_kind { GEN_CHAT, GEN_TEXT };

/* One prompt of a completion: text, or token ids as the client gave them. For a chat the ids come
 * from the template. `ids` is filled by api_request_prepare in every case. */
struct gen_prompt {
    struct str text;
    bool is_ids;
    bool parses_special; /* the client writes the template: special tokens of the text are such */
    struct text_ids ids;
    char path[32]; /* for errors: "prompt", "prompt[3]", "messages" */
};

/* What a client says of how the model should be loaded; 0: nothing. It is loaded already, so either
 * this is how, or the request is refused. */
struct gen_load {
    uint32_t threads, batch_rows;
    enum { GEN_KV_ANY, GEN_KV_F16, GEN_KV_F32 } kv;
};

struct gen_request {
    struct arena arena;
    json_t *body; /* owned */
    enum gen_kind kind;
    struct str model; /* as the client wrote it */
    bool is_tagged;   /* a model NAME is the same as NAME:latest */
    struct gen_load load;

    /* chat */
    json_t *messages; /* owned: as the template sees them */
    const json_t *template_kwargs;
    json_t *own_kwargs;     /* owned: what the dialect itself tells the template; NULL */
    bool continues_final;   /* the answer goes on in the last message, the assistant's */
    struct text_ids prefix; /* put before the conversation: the context of an earlier answer */

    /* text */
    struct gen_prompt *prompts; /* [prompt_count]; a chat has one */
    size_t prompt_count;
    bool echo;

    /* generation */
    bool is_dry; /* nothing is generated: the prompt, or that the model is there, is the answer */
    uint32_t ctx_tokens; /* prompt and answer at most; 0: as the model has it */
    struct engine_sampling sampling;
    bool has_seed;
    bool has_max_tokens;
    uint32_t max_tokens;
    uint32_t min_tokens;
    bool ignore_eos;
    bool wants_timings; /* what the cache and the clock say stands in the answer */
    const struct str *stops;
    size_t stop_count;
    const struct str *banned;
    size_t banned_count;
    bool wants_logprobs;
    uint32_t top_logprobs;
    uint32_t n;

    /* delivery */
    bool stream;
    bool include_usage;
    bool keeps_text; /* the text is collected although it is streamed */
    struct str user; /* whom the client speaks for; goes to the log */
};

/* Neutral sampling, one choice; the state from which a dialect's parser starts. */
void api_request_init(struct gen_request *request, enum gen_kind kind);
void api_request_deinit(struct gen_request *request);

/* Parses the body as one JSON object within the limits above. */
bool api_request_read(struct gen_request *request, struct str body, struct err *err);

/* Resolves the prompts to token ids: renders the template or tokenises the texts, and checks ids
 * that the client gave. May take seconds for a body of 32 MiB. */
bool api_request_prepare(struct gen_request *request, const struct route_local *local,
                         struct err *err);

/* The loaded model of the request, by the dialect's rule for names. Errors as
 * route_registry_find. */
struct route_local *api_request_local(const struct gen_request *request,
                                      struct route_registry *registry, struct err *err);

/* 0 for a dry request. */
size_t api_request_choices(const struct gen_request *request);

/* Fills the engine's request for one choice; borrows from `request`. Choice j of a prompt samples
 * with seed + j, so that n answers differ and each can be had again alone. */
void api_request_engine(const struct gen_request *request, size_t choice, struct str id,
                        struct engine_request *out);

#endif
