/* A model: hyper-parameters and weights of a GGUF file, and its forward pass over a batch of rows.
 *
 * A family is a row of the traits table (traits.h) plus at most a few lines; nothing here knows
 * requests, text or sampling. The memory plan is computed by the code that allocates; loading
 * reserves it or fails before it reads a weight, and the forward pass never allocates.
 *
 * Batch invariance: the logits of a row depend on the tokens of its own sequence only, not on the
 * other rows, the cut into calls (chunks of a prompt), the thread count or the page numbers: bit
 * for bit. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "gguf/gguf.h"
#include "tensor/kernels.h"

struct model;

/* A product that is about to be computed: a weight tensor (or one of its planes, an expert) times
 * rows x ([rows, cols]). */
struct model_product_seen {
    struct str name;
    size_t plane, planes;
    const float *x;
    size_t rows, cols;
};

/* Told of the products of each forward pass, from the calling thread, where nothing may be
 * allocated: how an importance matrix is made. */
struct model_observer {
    void (*product)(void *arg, const struct model_product_seen *seen);
    void *arg;
};

/* LoRA adapters that a model may be loaded with (lora.h). */
enum { MODEL_ADAPTERS_MAX = 16 };

struct model_params {
    enum cpu_level cpu_level;
    enum kv_type kv_type;
    uint32_t ctx_tokens;      /* longest sequence; 0: the model's own, less if memory is short */
    uint32_t kv_tokens;       /* cache shared by all sequences, in tokens; 0: sequences_max full
                                 sequences, less if memory is short, at least one */
    uint32_t sequences_max;   /* sequences in one forward call; >= 1 */
    uint32_t batch_rows_max;  /* rows in one forward call; >= 1 */
    uint32_t logits_rows_max; /* rows with logits in one forward call; 0: as sequences_max */
    uint32_t states_max;      /* states of sequences; 0: as sequences_max */
    const struct model_observer *observer; /* borrowed; or NULL */
    uint64_t memory_max; /* bytes the plan may use; 0: os_memory_available() less a margin */
    const struct gguf *const *adapters; /* [adapter_count], borrowed for the call */
    size_t adapter_count;
    uint64_t beside_bytes, beside_page_bytes; /* of them the caller needs so many itself: in all,
                                                 and for each page */
};

/* Every byte that model_load allocates. total is the sum. */
struct model_plan {
    uint64_t weights_bytes;  /* packed matrices, norms, biases */
    uint64_t adapters_bytes; /* what adapters add to matrices */
    uint64_t kv_bytes;       /* the pages */
    uint64_t states_bytes;   /* the states */
    uint64_t scratch_bytes;  /* activations, quantised activations, scores */
    uint64_t table_bytes;    /* rope tables, page lists */
    uint64_t total_bytes;
    uint32_t ctx_tokens, kv_pages; /* as decided */
    uint64_t page_bytes;           /* one page of KV_PAGE_TOKENS tokens, all layers */
    uint32_t vocab_count;          /* as in model_info */
    uint32_t states;               /* how many; 0 for a model whose layers pass on none */
    uint64_t state_bytes;          /* one, all layers */
};

/* What becomes of the hidden states of a text that is read as a whole (encoder.h). */
enum model_encoder_pooling {
    MODEL_ENCODER_NONE, /* a vector for each token */
    MODEL_ENCODER_MEAN,
    MODEL_ENCODER_CLS,  /* the first token's */
    MODEL_ENCODER_LAST, /* the last token's */
    MODEL_ENCODER_RANK, /* classes; those of a decoder are probabilities */
};

/* "none", "mean", "cls", "last", "rank" */
const char *model_encoder_pooling_name(enum model_encoder_pooling pooling);

/* What the file says; constant after load. */
struct model_info {
    char architecture[64];
    char name[128]; /* general.name, quoted for printing; empty if absent */
    uint32_t layer_count, embed_dim, head_count, kv_head_count, head_dim, ffn_dim, vocab_count;
    uint32_t ctx_train_tokens; /* the context the model was trained for */
    enum model_encoder_pooling pooling;
    bool has_pooling_key;  /* else the file did not say, and it is the mean */
    uint32_t vector_width; /* of what comes out of that; 0: ranks */
    bool is_encoder;       /* makes vectors or ranks of whole texts (encoder.h), no logits */
    uint64_t parameter_count;
    size_t adapter_count;
    uint64_t file_bytes;
    char quantization[32];         /* most common type by bytes: "Q4_K" */
    uint64_t read_bytes_per_token; /* packed weight bytes a decode step reads */
    uint64_t macs_per_token;       /* multiply-adds of the matrix products per row, head included */
};

/* True for a file of an encoder's architecture (encoder.h). */
bool model_is_encoder(const struct gguf *gguf);

/* The plan for a file and params. ERR_ARCH names an unsupported architecture (and lists those
 * supported) or an unsupported tensor type; ERR_FORMAT hyper-parameters or shapes that are wrong;
 * ERR_MEMORY gives both figures when it does not fit. */
bool model_plan(const struct gguf *gguf, const struct model_params *params, struct model_plan *plan,
                struct err *err);

/* Loads (packs weights on the pool). `progress` (may be NULL) is called from the calling thread
 * with bytes done and to do. The gguf may be closed afterwards. ERR_FORMAT when the file changed or
 * shrank while it was read. */
struct model *model_load(const struct gguf *gguf, const struct model_params *params,
                         struct pool *pool,
                         void (*progress)(void *arg, uint64_t done, uint64_t all),
                         void *progress_arg, struct err *err);
void model_destroy(struct model *model);

/* With an observer: calls fn for each product there can be, without rows, before any is made. */
void model_each_product(const struct model *model,
                        void (*fn)(void *arg, const struct model_product_seen *seen), void *arg);

const struct model_info *model_info(const struct model *model);
const struct model_plan *model_plan_of(const struct model *model);

/* ---- cache pages ---- */

/* Pages are numbered 0..kv_pages-1 and owned by the caller (the engine decides who has which).
 * Contents are undefined until written by a forward pass. */

/* The bytes of a page, model_plan.page_bytes of them, all layers: to be copied away and back as a
 * whole. */
void *model_page(struct model *model, uint32_t page);

/* ---- states ---- */

/* Besides pages, layers that are recurrences (short convolutions, delta nets, Mamba) have a state:
 * all that they know of a sequence's positions so far. States are numbered 0..states-1 and owned by
 * the caller, one for each running sequence and others for copies. A forward pass brings the state
 * of a sequence from its first row's position to behind its last row; at position 0 it begins with
 * an empty one, whatever stands there. A state cannot go back: a caller that may have to keeps
 * copies. */

/* The bytes of a state, model_plan.state_bytes of them. */
void *model_state(struct model *model, uint32_t state);

/* One sequence of a batch: its pages in order of position. pages[i] holds positions
 * [64 i, 64 i + 64). Must cover the last position of the batch. Borrowed during the call. */
struct model_seq {
    const uint32_t *pages;
    size_t page_count;
    uint32_t state; /* stands at the position of its first row; of a model without: not looked at */
    const float *scales; /* [adapter_count], how much each adapter changes it: 0 not at all; NULL:
                            none does. The pages must have been written under the same */
    uint32_t ready; /* positions below have their keys and values already, which stay as they are:
                       their rows are there for the state alone. 0 otherwise */
};

/* One row: a token at a position of a sequence. Rows of a sequence stand together, positions
 * ascending without gaps; all earlier positions of that sequence are in its pages. */
struct model_row {
    int32_t token;
    uint32_t pos;
    uint32_t seq;  /* index in seqs */
    uint16_t type; /* of encoders: 1 in the second text of a pair */
    bool wants_logits;
};

struct model_batch {
    const struct model_row *rows;
    size_t row_count;
    const struct model_seq *seqs;
    size_t seq_count;
};

/* Computes all rows, writes their keys and values to the pages and the logits of the rows that want
 * them to `logits` ([wanted, vocab_count], in row order). One call at a time per model. Never
 * allocates. Tokens outside the vocabulary are the caller's fault (assert). */
void model_forward(struct model *model, const struct model_batch *batch, float *logits);

/* The same, but asks between layers whether it is still wanted. False: it has given up; keys and
 * values of the batch's rows are undefined, and the batch may be computed again with the same
 * result. Not for models with states, which would have gone on half the way. */
bool model_forward_while(struct model *model, const struct model_batch *batch, float *logits,
                         bool (*is_wanted)(void *arg), void *arg);

#endif
