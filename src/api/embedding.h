/* Vectors and ranks from body to answer. Like api_run it has no thread and no lock of its own.
 *
 *     parse -> ask -> (model loads) -> submit -> (batches run) -> answer
 *
 * parse, submit and answer may take long and belong on a worker's thread. */
#ifndef API_EMBEDDING_H
#define API_EMBEDDING_H

#include <stdbool.h>
#include <stddef.h>

#include "api/fields.h"
#include "api/request.h"
#include "base/buf.h"
#include "base/err.h"
#include "engine/embed.h"
#include "route/registry.h"

struct api_embedding;

/* One API: a table of functions. */
struct api_embedding_dialect {
    bool (*parse)(struct gen_request *request, struct err *err); /* its body */
    /* The vectors are as `request.embedding` wants them, the scores raw. */
    bool (*answer)(struct api_embedding *embedding, struct buf *out, struct err *err);
    const struct api_field *const *tables;
    bool gives_rows; /* of models without pooling, too */
};

extern const struct api_embedding_dialect api_openai_embeddings; /* POST /v1/embeddings */
extern const struct api_embedding_dialect api_rerank;            /* POST /v1/rerank */
extern const struct api_embedding_dialect api_ollama_embed;      /* POST /api/embed */
extern const struct api_embedding_dialect api_ollama_embeddings; /* POST /api/embeddings */
extern const struct api_embedding_dialect api_llama_embedding;   /* POST /embedding */

struct api_embedding {
    const struct api_embedding_dialect *dialect;
    struct gen_request request;
    struct route_use *use;
    struct engine_embed_task *task;        /* NULL without texts */
    const struct model_encoder_info *info; /* once submitted */
    bool *is_cut;                          /* [prompt_count] in the arena */
    float *vectors;                        /* [rows][width], owned; once done */
    size_t width;
    uint64_t tokens; /* of all texts */
    int64_t asked_ns, ready_ns;
};

/* An all-zero embedding may be closed. */
bool api_embedding_parse(struct api_embedding *e, const struct api_embedding_dialect *dialect,
                         struct str body, struct err *err);

/* `notify` as route_use_params has it, and from the encoder's thread. */
bool api_embedding_ask(struct api_embedding *e, struct route_registry *registry,
                       void (*notify)(void *arg), void *arg, struct err *err);

/* The use must be READY. A text that is too long is ERR_CONTEXT with both counts. */
bool api_embedding_submit(struct api_embedding *e, void (*notify)(void *arg), void *arg,
                          struct err *err);

bool api_embedding_is_done(const struct api_embedding *e);

/* Once it is done. */
bool api_embedding_answer(struct api_embedding *e, struct buf *out, struct err *err);

/* Cancels and frees everything; may wait for a batch. */
void api_embedding_close(struct api_embedding *e);

/* ---- for the dialects ---- */

/* Vector of prompt i, of info->width numbers, less where dimensions were asked for; a row of it
 * without pooling. As JSON: [0.1,...], or its little-endian bytes in base64. */
void api_embedding_vector(const struct api_embedding *e, size_t row, struct buf *out);

/* First row of prompt i, and how many it has. */
size_t api_embedding_row(const struct api_embedding *e, size_t prompt);
size_t api_embedding_rows(const struct api_embedding *e, size_t prompt);

/* Fields that the APIs share: prompt_name and input_type. */
extern const struct api_field api_embedding_prompt_fields[];

#endif
