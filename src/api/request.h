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
#include "base/buf.h"
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

enum gen_kind { GEN_CHAT, GEN_TEXT, GEN_EMBEDDING };

/* Which tools the answer may or must call. */
struct gen_tool_choice {
    enum gen_tool_mode { GEN_TOOLS_AUTO, GEN_TOOLS_NONE, GEN_TOOLS_REQUIRED } mode;
    const json_t *allowed; /* array of names; NULL: all. A named tool is REQUIRED with one name */
};

/* What the whole answer's text must be. */
enum gen_format {
    GEN_FORMAT_TEXT,
    GEN_FORMAT_JSON_OBJECT,
    GEN_FORMAT_SCHEMA,
    GEN_FORMAT_GBNF,
    GEN_FORMAT_REGEX
};

/* Whether and how long the model thinks before it answers. */
struct gen_reasoning {
    enum gen_reasoning_mode { GEN_REASONING_DEFAULT, GEN_REASONING_OFF, GEN_REASONING_ON } mode;
    struct str effort; /* "", "minimal", "low", "medium", "high", ...: told to the template */
    bool has_budget;
    uint32_t budget_tokens; /* at which the reasoning is closed */
    bool is_hidden;         /* the answer tells that there was some, not its text */
};

enum gen_lane { GEN_LANE_INTERACTIVE, GEN_LANE_NORMAL, GEN_LANE_BATCH };

/* One prompt of a completion: text, or token ids as the client gave them. For a chat the ids come
 * from the template. `ids` is filled by api_request_prepare in every case. */
struct gen_prompt {
    struct str text;
    bool is_ids;
    bool parses_special; /* the client writes the template: special tokens of the text are such */
    bool has_suffix;     /* the answer stands between `text` and `suffix` */
    struct str suffix, begun; /* what follows it; how it begins */
    const json_t *mixed;      /* ids and texts in a row, instead of `text`; NULL */
    bool no_special;          /* no BOS */
    const json_t *extra;      /* further files before them, [{"filename","text"}]; NULL */
    struct text_ids ids;
    char path[32]; /* for errors: "prompt", "prompt[3]", "messages" */
};

/* What a client says of how the model should be loaded; 0: nothing. It is loaded already, so either
 * this is how, or the request is refused. */
struct gen_load {
    uint32_t threads, batch_rows;
    enum { GEN_KV_ANY, GEN_KV_F16, GEN_KV_F32 } kv;
};

/* Vectors or ranks instead of a generation; the texts are the prompts. */
struct gen_embedding {
    bool is_rank;
    struct str prompt_name; /* what the texts are for; empty: they are read as they are */
    bool cuts;              /* a text that is too long is cut at its end, and the answer says so */
    /* vectors */
    uint32_t dimensions; /* the first so many, brought to length 1 again; 0: all */
    bool wants_base64;
    int32_t norm; /* llama-server's embd_normalize: 2 length 1, -1 none, 0 the largest is 32760, 1
                     the sum of magnitudes is 1, p the p-norm is 1 */
    /* ranks */
    struct str query;
    bool has_top_n, returns_documents, is_bare, wants_logistic;
    uint32_t top_n;
};

struct chat_reply;

struct gen_request {
    struct arena arena;
    json_t *body; /* owned */
    enum gen_kind kind;
    struct str model;           /* as the client wrote it */
    uint32_t cache_breakpoints; /* places that the client marked as worth to cache */
    bool cache_is_long;         /* one of them for an hour */
    bool is_tagged;             /* a model NAME is the same as NAME:latest */
    bool has_keep;              /* of the model, when the request is done */
    int64_t keep_ns;            /* ROUTE_KEEP_FOREVER; 0: it is unloaded when nobody else uses it */
    bool only_unloads; /* nothing else is asked for: the model goes, and is not loaded for that */
    struct gen_load load;

    /* chat */
    json_t *messages; /* owned: as the template sees them, in the form of OpenAI's chat (tool_calls
                         of an assistant, role tool, reasoning_content) */
    struct str template_text; /* a template of the request's own; empty: none */
    struct chat *own_chat;    /* owned: made of it */
    const struct chat *chat;  /* borrowed: of the model's definition; NULL: the model's own */
    const json_t *template_kwargs;
    json_t *own_kwargs;     /* owned: what the dialect itself tells the template; NULL */
    bool continues_final;   /* the answer goes on in the last message, the assistant's */
    struct text_ids prefix; /* put before the conversation: the context of an earlier answer */
    json_t *tools; /* owned array or NULL. As in OpenAI's chat: {"type":"function","function":{name,
                      description,parameters,strict}} or {"type":"custom","custom":{name,
                      description,format}} */
    struct gen_tool_choice tool_choice;
    struct chat_reply *reply; /* owned: how the answer is read, from api_request_prepare on */
    json_t *own_choice;       /* owned: tool_choice.allowed where the dialect made it; NULL */
    bool parallel_tool_calls; /* more than one call in an answer; true unless told otherwise */
    struct gen_reasoning reasoning;

    /* text */
    struct gen_prompt *prompts; /* [prompt_count]; a chat has one */
    size_t prompt_count;
    bool is_list; /* the client gave a list, also if of one */
    bool echo;

    struct gen_embedding embedding; /* GEN_EMBEDDING */

    /* generation */
    bool shuns_cache; /* nothing is taken from the cache */
    bool wants_ids;   /* the answer has the ids of its tokens; needs wants_logprobs */
    bool wants_words; /* a chat\'s rendered text is the answer; */
    struct buf words; /* it */
    bool is_dry; /* nothing is generated: the prompt, or that the model is there, is the answer */
    uint32_t ctx_tokens; /* prompt and answer at most; 0: as the model has it */
    struct engine_sampling sampling;
    bool has_seed;
    bool has_max_tokens;
    uint32_t max_tokens;
    uint32_t min_tokens;
    bool ignore_eos;
    bool drops_oldest;    /* of a chat whose prompt does not fit: the first turns are left out */
    size_t dropped_count; /* how many messages; filled by api_request_prepare */
    bool record;          /* the answer is recorded (hearth replay) */
    bool wants_timings;   /* what the cache and the clock say stands in the answer */
    const struct str *stops;
    size_t stop_count;
    const struct str *banned;
    size_t banned_count;
    bool wants_logprobs;
    uint32_t top_logprobs;
    uint32_t n;
    uint32_t best; /* of n answers that many are told, those of the highest mean log probability;
                      0: all */
    enum gen_format format;
    const json_t *schema;           /* GEN_FORMAT_SCHEMA: in the body */
    bool schema_strict;             /* keywords that cannot be enforced are refused */
    struct str grammar;             /* GEN_FORMAT_GBNF, GEN_FORMAT_REGEX: its source */
    const char *format_param;       /* what gave the format, for errors; NULL: response_format */
    struct str prediction;          /* text that the answer is expected to resemble; a hint */
    struct text_ids prediction_ids; /* filled by api_request_prepare */
    enum gen_lane lane;
    bool has_scales; /* of adapters, as in engine_request */
    uint32_t scale_count;
    float scales[MODEL_ADAPTERS_MAX];

    /* delivery */
    bool stream;
    bool include_usage;
    bool pads_deltas;           /* so that the sizes of events tell less */
    bool keeps_text;            /* the answer is collected although it is streamed */
    uint32_t stream_interval;   /* tokens per event; 0: every token is one */
    struct str label;           /* how the client calls the request in each frame; else empty */
    struct str user;            /* whom the client speaks for; goes to the log */
    bool is_kept;               /* the answer is stored (struct api_dialect, commit) */
    bool is_detached;           /* it is generated whether somebody waits for it or not */
    const json_t *metadata;     /* in the body; NULL */
    void *own;                  /* the dialect's, in the arena; what it holds beyond is freed by */
    void (*release)(void *own); /* this; NULL */
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

/* 0 for a dry request. */
size_t api_request_choices(const struct gen_request *request);

/* Fills the engine's request for one choice; borrows from `request`. Choice j of a prompt samples
 * with seed + j, so that n answers differ and each can be had again alone. */
void api_request_engine(const struct gen_request *request, size_t choice, struct str id,
                        struct engine_request *out);

#endif
