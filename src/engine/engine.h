/* The engine of one loaded model: the only owner of its live inference state.
 *
 * Requests come in through a bounded queue; one worker thread admits them as sequences over paged
 * KV, plans one step at a time (a token of every running sequence first, then prompt rows up to the
 * batch limit), runs the forward pass, samples, and emits events. Readers take events from their
 * own stream. The same request and seed give the same bytes, whoever else is being served.
 *
 * A sequence is admitted when the pages of its prompt and the first of its answer are there, and
 * grows by pages up to the context. When one finds none, whoever comes last by lane and arrival is
 * paused: its pages go to the cache (and the disk), and it waits to go on with the same bytes. So
 * nothing is ever cut, and the first sequence of the first lane always goes on. Full pages of ended
 * sequences stay for prompts that begin with the same tokens; the answer's bytes are the same with
 * and without them. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "constrain/constrain.h"
#include "model/model.h"
#include "text/text.h"

struct engine;
struct engine_stream;
struct engine_disk;     /* disk.h */
struct engine_recorder; /* record.h */

enum { ENGINE_DIGEST_BYTES = 32, ENGINE_DRAFT_MAX = 15 /* drafts_max */ };

struct engine_digest { /* SHA-256 */
    uint8_t bytes[ENGINE_DIGEST_BYTES];
};

/* Who is served before whom; each lane gets its share all the same. */
enum engine_lane { ENGINE_INTERACTIVE, ENGINE_NORMAL, ENGINE_BATCH, ENGINE_LANES };

/* An adapter that the model was loaded with. */
struct engine_adapter {
    struct engine_digest digest; /* engine_adapter_identity */
    float scale;                 /* of requests that do not say */
};

struct engine_params {
    struct model *model;      /* borrowed; must outlive the engine */
    const struct text *text;  /* borrowed */
    uint32_t sequences_max;   /* running at once; <= model_params.sequences_max; no more than
                                 batch_rows_max are used, so that each gets a row in each step */
    uint32_t batch_rows_max;  /* rows of one step; <= model_params.batch_rows_max */
    uint32_t prefill_chunk;   /* prompt rows of one sequence per step; 0: batch_rows_max */
    uint32_t queue_max;       /* waiting requests; beyond it engine_submit is ERR_BUSY; >= 1 */
    uint32_t logits_rows_max; /* as given to the model; 0: sequences_max */
    uint32_t cache_percent;   /* of the pages, that may keep beginnings of ended sequences for new
                                 ones; 0: sequences share nothing */
    uint32_t lane_weights[ENGINE_LANES]; /* shares of the tokens; all 0: 8, 4, 1 */
    float decode_stretch;     /* while a prompt is read, a step may take so many times what it takes
                                 without; <= 1: as long as it wants */
    float row_share;          /* of a step's time that a guess is taken to cost; 0: as measured */
    uint32_t drafts_max;      /* tokens guessed ahead where that wins (draft.c); 0: none */
    struct engine_disk *disk; /* borrowed, where pages are kept beyond this engine; NULL: nowhere.
                                 Needs cache_percent > 0 */
    struct engine_digest identity;    /* with a disk: engine_identity */
    struct engine_recorder *recorder; /* borrowed, where answers are recorded (record.h); NULL */
    const char *record_head;          /* borrowed; with a recorder: engine_record_describe */
    const struct engine_adapter *adapters; /* [adapter_count], copied; as many as the model has */
    size_t adapter_count;
};

/* Sampling, in the order in which it is applied. Names and neutral values as in llama-server;
 * all-zero is NOT neutral: start from engine_sampling_default(). */
struct engine_bias {
    text_id id;
    float bias; /* -INFINITY bans */
};

struct engine_sampling {
    uint64_t seed;
    /* logits */
    const struct engine_bias *biases;
    size_t bias_count;
    uint32_t repeat_last_n;  /* window of the penalties; 0 off, UINT32_MAX the whole context */
    float repeat_penalty;    /* 1 off */
    float presence_penalty;  /* 0 off */
    float frequency_penalty; /* 0 off */
    float dry_multiplier;    /* 0 off */
    float dry_base;
    uint32_t dry_allowed_length;
    uint32_t dry_penalty_last_n; /* 0 off, UINT32_MAX the whole context */
    const struct str *dry_sequence_breakers;
    size_t dry_breaker_count;
    /* truncation */
    float top_n_sigma;     /* <= 0 off */
    uint32_t top_k;        /* 0 off */
    float typical_p;       /* 1 off */
    float top_p;           /* 1 off */
    float min_p;           /* 0 off */
    uint32_t min_keep;     /* candidates that truncation leaves at least; >= 1 */
    float xtc_probability; /* 0 off */
    float xtc_threshold;
    /* temperature */
    float temperature; /* 0: greedy, the lowest id among equals */
    float dynatemp_range;
    float dynatemp_exponent;
    /* mirostat v2 replaces truncation */
    bool mirostat;
    float mirostat_tau, mirostat_eta;
};

/* temperature 1, everything else off; OpenAI's defaults. */
struct engine_sampling engine_sampling_default(void);

/* Ranges in one place: ERR_INVALID with the field's name in err->param. */
bool engine_sampling_check(const struct engine_sampling *sampling, size_t vocab_count,
                           struct err *err);

/* Bounds of a request; more is ERR_INVALID. */
enum {
    ENGINE_TOP_MAX = 20,            /* top_logprobs */
    ENGINE_STOPS_MAX = 64,          /* stop strings */
    ENGINE_BANNED_MAX = 64,         /* banned strings */
    ENGINE_STRING_BYTES_MAX = 1024, /* of each of them; none may be empty */
    ENGINE_BIASES_MAX = 1 << 16,
    ENGINE_BREAKERS_MAX = 32,     /* dry_sequence_breakers; their first 40 bytes count */
    ENGINE_SALT_BYTES_MAX = 32,   /* cache_salt */
    ENGINE_TENANT_BYTES_MAX = 32, /* tenant */
    ENGINE_SCALE_MAX = 100        /* size of an adapter's scale */
};

/* Where an answer thinks, told by markers in its text, and how long. Borrowed. */
struct engine_reasoning {
    struct str open, close; /* as they stand in the text, control tokens with their marks; no close:
                               nothing is counted */
    bool is_open;           /* the prompt ends within reasoning */
    bool has_budget;
    uint32_t budget_tokens; /* after which the closing marker is forced: */
    const text_id *close_ids;
    size_t close_count;
};

struct engine_request {
    const text_id *prompt; /* at least one token */
    size_t prompt_count;
    struct engine_sampling sampling;
    bool has_max_tokens;
    uint32_t max_tokens; /* 0 allowed: reads the prompt, generates nothing */
    uint32_t min_tokens; /* end tokens are banned before */
    bool ignore_eos;
    const struct str *stops; /* stop strings; not part of the output */
    size_t stop_count;
    const struct str *banned; /* strings that must not appear (ASCII case ignored): generation
                                 steps back to the token where one began and takes another */
    size_t banned_count;
    bool wants_logprobs;
    uint32_t top_logprobs; /* 0..ENGINE_TOP_MAX */
    bool prompt_logprobs;  /* an event per prompt token (legacy completions with echo); the first
                              token has no log probability: NaN */
    bool special;          /* control tokens appear in the text */
    bool marks;            /* they appear with their marks (constrain.h), so that text never looks
                              like one; replaces `special` */
    struct constrain_grammar *grammar; /* what the text must be; NULL: anything. A reference is
                                          taken */
    struct engine_reasoning reasoning;
    struct str id;         /* for the log; the request id */
    struct str cache_salt; /* cached pages are shared only between requests of equal salts, so that
                              a tenant's prompts neither speed up nor betray another's; at most
                              ENGINE_SALT_BYTES_MAX bytes, empty: shared with all others without */
    const text_id *prediction; /* text that the answer is expected to resemble: guesses */
    size_t prediction_count;
    const text_id *draft; /* guesses by position: draft[i] for the generated token i. For */
    size_t draft_count;   /* measurements, or whoever knows the answer */
    bool only_draft;      /* no other guesses than these */
    enum engine_lane lane;
    struct str tenant; /* who asks; the tenants of a lane get equal shares. At most
                          ENGINE_TENANT_BYTES_MAX bytes */
    bool wants_place;  /* ENGINE_EVENT_QUEUED */
    bool record;       /* ERR_UNSUPPORTED without a recorder */
    bool has_scales;   /* scale_count of adapters, the others' are 0; else those of the engine */
    uint32_t scale_count;
    float scales[MODEL_ADAPTERS_MAX];
};

/* The first token of a prompt at which a cached sequence that began like it went another way. */
struct engine_near_miss {
    bool is_there;
    uint32_t position;
    text_id token; /* the request's own, never the other one's */
};

enum engine_finish { ENGINE_STOP, ENGINE_LENGTH, ENGINE_CANCELLED };

struct engine_logprob {
    text_id id;
    float logprob; /* natural log, of the model's distribution after bias and bans, before
                      penalties, truncation and temperature */
};

struct engine_token {
    struct engine_logprob chosen;
    struct engine_logprob top[ENGINE_TOP_MAX]; /* descending; ties by id */
    uint32_t top_count;
};

enum engine_event_kind {
    ENGINE_EVENT_TOKENS, /* text of one or more tokens; several only for a reader that is behind */
    ENGINE_EVENT_QUEUED, /* it waits: after ENGINE_BEAT_FIRST_MS, then every ENGINE_BEAT_MS */
    ENGINE_EVENT_DONE,   /* last */
    ENGINE_EVENT_ERROR   /* last */
};

struct engine_timing {
    double queue_ms, prefill_ms, decode_ms; /* prefill_ms: admission to first token */
};

struct engine_event {
    enum engine_event_kind kind;
    struct buf text;             /* whole UTF-8 characters (or bytes that can never be valid); a
                                    character that the end of generation cuts in half is left out */
    struct engine_token *tokens; /* [token_count] when logprobs were asked, else NULL */
    size_t token_count;          /* tokens that this text stands for; may be 0 */
    bool is_prompt;              /* prompt_logprobs: tokens of the prompt */
    enum engine_finish finish;   /* DONE */
    struct str stop_hit;         /* DONE by a stop string: which; borrowed from the stream */
    uint32_t prompt_tokens, completion_tokens, cached_tokens; /* DONE; an end token that was
                                                                 generated counts */
    uint32_t reasoning_tokens;                                /* DONE; of the completion */
    uint32_t drafted_tokens, accepted_tokens; /* DONE; guesses, those that came true */
    struct engine_timing timing;              /* DONE */
    struct engine_near_miss near_miss;        /* DONE */
    struct err error;                         /* ERROR */
    uint32_t ahead;                           /* QUEUED: those that come before */
    uint32_t eta_s;                           /* QUEUED: about; 0: unknown */
};

enum { ENGINE_EVENTS_APART = 64, ENGINE_BEAT_FIRST_MS = 200, ENGINE_BEAT_MS = 5000 };

/* Bytes that engine_create allocates beside a model of that vocabulary, context and pages; of the
 * disk it only matters whether there is one. Requests come on top. */
uint64_t engine_bytes(const struct engine_params *params, uint32_t vocab_count, uint32_t ctx_tokens,
                      uint32_t kv_pages);

/* ERR_MEMORY, ERR_IO (no thread), ERR_INVALID for counts of 0. */
struct engine *engine_create(const struct engine_params *params, struct err *err);

/* Refuses new requests, cancels what runs, joins the worker, frees. Streams that are still open get
 * their last event, may be read, and must be closed as usual. NULL is fine. */
void engine_destroy(struct engine *engine);

/* Copies the request, queues it, and returns its stream. `notify` (may be NULL) is called from the
 * worker, without locks that a reader takes, whenever new events are there: it may only wake
 * somebody. ERR_CONTEXT with both counts when the prompt alone does not fit the context; ERR_BUSY
 * when the queue is full; ERR_INVALID for ranges. */
struct engine_stream *engine_submit(struct engine *engine, const struct engine_request *request,
                                    void (*notify)(void *arg), void *notify_arg, struct err *err);

/* Takes the next event; false if there is none yet. Events stay separate until a reader is
 * ENGINE_EVENTS_APART behind, then texts are joined; a stream that nobody reads holds at most the
 * output of its sequence, which ends at the context. The caller frees it with engine_event_deinit.
 */
bool engine_next(struct engine_stream *stream, struct engine_event *event);

/* Like engine_next, but waits; for callers with a thread of their own. After the last event it
 * gives that event's kind again, without contents. */
void engine_wait(struct engine_stream *stream, struct engine_event *event);
void engine_event_deinit(struct engine_event *event);

/* Frees the sequence within one step, also while its prompt is being read. A DONE event with
 * ENGINE_CANCELLED follows unless the stream has ended. */
void engine_cancel(struct engine_stream *stream);

/* Cancels if still running and gives the stream back. NULL is fine. After it returned, notify is
 * never called again for this stream. */
void engine_stream_close(struct engine_stream *stream);

/* ---- adapters ---- */

/* How much each adapter changes requests that do not say. Any thread. */
void engine_scales(struct engine *engine, float scales[MODEL_ADAPTERS_MAX]);

/* Changes that for requests to come. Finite, as of requests: ERR_INVALID. */
bool engine_set_scales(struct engine *engine, const float scales[MODEL_ADAPTERS_MAX],
                       struct err *err);

/* ---- figures ---- */

enum { ENGINE_BUCKETS = 14 };

/* Upper bounds in seconds of the histograms below; the last bucket is +Inf. */
extern const double engine_bucket_s[ENGINE_BUCKETS];

struct engine_histogram {
    uint64_t counts[ENGINE_BUCKETS + 1];
    double sum;
    uint64_t total;
};

struct engine_stats {
    uint64_t requests, finished_stop, finished_length, cancelled, failed, rejected;
    uint64_t preempted;                               /* times that a sequence was paused */
    uint64_t drafted, accepted;                       /* guesses, and those that came true */
    uint64_t prompt_tokens, completion_tokens, steps; /* prompt_tokens: computed */
    uint64_t cached_tokens;                           /* of prompts, taken from the cache */
    uint32_t running, waiting;
    uint32_t pages_used, pages_cached, pages_total; /* cached: in no sequence any more */
    struct engine_histogram ttft, inter_token, queue_wait;
};

void engine_stats_read(struct engine *engine, struct engine_stats *out);

/* Longest sequence in tokens, prompt and answer: the model's context, or the whole cache where that
 * is smaller. */
uint32_t engine_ctx_tokens(const struct engine *engine);

#endif
