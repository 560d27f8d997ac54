/* A model of this machine, opened as a whole: file, tokenizer, chat template, weights, compute pool
 * and engine, in that order and from one set of parameters. `run`, `bench` and the server's
 * registry all open models here, so that they cannot differ in what a parameter means.
 *
 * Threads: route_local_open runs in the calling thread (seconds to minutes for a large file) and
 * may run for several models at once. The accessors may be used by any thread afterwards;
 * everything they give is borrowed and dies with route_local_close. */
#ifndef ROUTE_LOCAL_H
#define ROUTE_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "base/str.h"
#include "chat/chat.h"
#include "engine/embed.h"
#include "engine/engine.h"
#include "gguf/gguf.h"
#include "model/model.h"
#include "route/adapters.h"
#include "tensor/cpu.h"
#include "tensor/kernels.h"
#include "text/text.h"

struct route_local;

struct route_local_params {
    const char *path;                      /* of the GGUF file, or of any part of a split one */
    const char *chat_template_file;        /* overrides the model's own; NULL */
    const struct route_adapters *adapters; /* borrowed; NULL: none */
    struct pool *pool;                     /* borrowed compute pool to share; NULL: an own one */
    uint32_t threads;                      /* of an own pool; 0: os_cpu_cores() */
    enum cpu_level cpu_level;              /* as detected, or lower */
    enum kv_type kv_type;
    uint32_t ctx_tokens;     /* longest sequence; 0: the model's own, less if memory is short */
    uint32_t kv_tokens;      /* cache shared by all sequences; 0: as model_params says */
    uint32_t sequences_max;  /* running at once; 0: ROUTE_SEQUENCES */
    uint32_t batch_rows_max; /* rows of one step; 0: ROUTE_BATCH_ROWS */
    uint32_t prefill_chunk;  /* prompt rows of one sequence per step; 0: batch_rows_max */
    uint32_t queue_max;      /* waiting requests; 0: ROUTE_QUEUE */
    uint32_t lane_weights[ENGINE_LANES]; /* as in engine_params */
    float decode_stretch;
    uint32_t drafts_max;
    uint32_t cache_percent; /* of the cache, for prompts of ended sequences; 0: none are kept */
    struct engine_recorder *recorder; /* borrowed, where answers are recorded; NULL */
    struct engine_disk *disk;         /* borrowed, where cached prompts outlive the process; NULL */
    uint64_t memory_max;              /* bytes of the memory plan; 0: what is free */
    bool model_only; /* no tokenizer, template or engine: needs no vocabulary (bench) */
};

enum { ROUTE_SEQUENCES = 8, ROUTE_BATCH_ROWS = 512, ROUTE_QUEUE = 512 };

/* Everything as the comments above say for 0, cpu_level_detect(), KV_F16, cache_percent 100. */
struct route_local_params route_local_params_default(void);

/* "", "auto": unchanged (true); "f32", "f16", "bf16": sets *out; else false. */
bool route_kv_type_parse(struct str name, enum kv_type *out);
const char *route_kv_type_name(enum kv_type type);

/* The memory of a model opened with these parameters, from the code that allocates it. */
struct route_plan {
    struct model_plan model;
    uint64_t process_bytes;   /* resident now, with file, tokenizer and template open */
    uint64_t engine_bytes;    /* sequences, logits, samplers, index of the cache */
    uint64_t round_bytes;     /* what whole 2 MiB pages take more than the model's plan */
    uint64_t total_bytes;     /* resident at most while the whole cache is in use; requests and
                                 connections come on top */
    uint64_t available_bytes; /* what this process might take now, beyond process_bytes */
};

/* Opens everything but the weights, and closes it again. ERR_MEMORY with both figures when it does
 * not fit. */
bool route_local_plan(const struct route_local_params *params, struct route_plan *plan,
                      struct err *err);

/* `progress` (may be NULL) is called from the calling thread with bytes of weights done and to do.
 * Errors are wrapped with the quoted path. */
struct route_local *route_local_open(const struct route_local_params *params,
                                     void (*progress)(void *arg, uint64_t done, uint64_t all),
                                     void *progress_arg, struct err *err);

/* Stops the engine (its streams must be closed before) and frees everything. NULL is fine. */
void route_local_close(struct route_local *local);

/* File name without ".gguf" and shard suffix: the id under which a model is served by default. */
struct str route_local_id(const struct route_local *local);

/* What its model and engine take of memory_max. */
uint64_t route_local_bytes(const struct route_local *local);

const char *route_local_path(const struct route_local *local);

const struct gguf *route_local_gguf(const struct route_local *local);
const struct text *route_local_text(const struct route_local *local); /* NULL if model_only */
/* NULL if model_only, and for an encoder. */
const struct chat *route_local_chat(const struct route_local *local);
struct model *route_local_model(const struct route_local *local);
struct pool *route_local_pool(const struct route_local *local);
/* NULL if model_only, and for an encoder, which generates nothing. */
struct engine *route_local_engine(const struct route_local *local);

/* The engine of vectors and ranks. That of an encoder is there from the start, a decoder's is made
 * by the first call: ERR_MEMORY with both figures if it does not fit. Any thread. */
struct engine_embed *route_local_embed(struct route_local *local, struct err *err);

/* The same if it is there already, else NULL. */
struct engine_embed *route_local_embed_made(struct route_local *local);

/* The longest text: of prompt and answer, or what an encoder reads. */
uint32_t route_local_ctx_tokens(const struct route_local *local);

/* What was decided: every 0 replaced. */
const struct route_local_params *route_local_params_of(const struct route_local *local);

#endif
