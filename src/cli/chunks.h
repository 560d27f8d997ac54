/* A text in chunks through a model, each from an empty cache: what perplexity and imatrix do. */
#ifndef CLI_CHUNKS_H
#define CLI_CHUNKS_H

#include "base/err.h"
#include "base/pool.h"
#include "model/model.h"
#include "text/text.h"

struct cli_chunks_params {
    const char *model, *text; /* a path or name as --model takes it; a file, "-" for stdin */
    enum cpu_level cpu_level;
    enum kv_type kv_type;
    uint32_t ctx_tokens;             /* of a chunk, >= 2 */
    uint32_t threads;                /* 0: one per core */
    struct model_observer *observer; /* as in model_params; or NULL */
};

struct cli_chunks {
    struct pool *pool;
    struct text *text;
    struct model *model;
    struct text_ids ids; /* of the whole text */
    size_t vocab_count;
    uint32_t ctx_tokens;
    /* Owned, of the calls. */
    struct model_row *rows;
    uint32_t *pages;
    float *logits;
};

/* Loads the model and tokenizes the text, special tokens of the text parsed. */
bool cli_chunks_open(struct cli_chunks *c, const struct cli_chunks_params *params, struct err *err);
void cli_chunks_close(struct cli_chunks *c);

/* Computes tokens[0..count), count <= ctx_tokens, and gives the logits of the positions from
 * `first` on, in order. */
typedef void cli_chunk_fn(void *arg, size_t pos, const float *logits);
void cli_chunks_run(struct cli_chunks *c, const text_id *tokens, size_t count, size_t first,
                    cli_chunk_fn *fn, void *arg);

#endif
