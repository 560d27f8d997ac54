/* The engine of vectors and ranks: texts of many requests become batches of one encoder.
 *
 * A task is the texts of one request. The worker takes one text of each task in turns until a batch
 * is full, so that a short query does not wait behind a long list. A text's result is the same
 * bytes in any batch. */
#ifndef ENGINE_EMBED_H
#define ENGINE_EMBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/encoder.h"
#include "text/text.h"

struct engine_embed;
struct engine_embed_task;

enum { ENGINE_EMBED_TEXTS = 2048 /* of one task */, ENGINE_EMBED_QUEUE = 256 /* tasks */ };

struct engine_embed_params {
    struct model *model; /* borrowed; must outlive the engine */
    struct model_encoder_params encoder;
    uint32_t queue_max; /* waiting tasks; beyond it submit is ERR_BUSY; 0: ENGINE_EMBED_QUEUE */
};

/* ERR_MEMORY, ERR_ARCH, ERR_FORMAT as model_encoder_create; ERR_IO: no thread. */
struct engine_embed *engine_embed_create(const struct engine_embed_params *params, struct err *err);

/* Refuses new tasks, ends the worker, frees. Tasks that are still open fail with ERR_BUSY and must
 * be closed as usual. NULL is fine. */
void engine_embed_destroy(struct engine_embed *embed);

const struct model_encoder_info *engine_embed_info(const struct engine_embed *embed);

struct engine_embed_text {
    const text_id *ids;
    size_t count, second_at; /* see model_encoder_text */
};

/* Copies the texts and queues them. `notify` (may be NULL) is called once, from the worker, when
 * the task has ended: it may only wake somebody. ERR_CONTEXT with both counts and the number of the
 * text for one that is too long, ERR_INVALID for one without tokens or no texts, ERR_BUSY when the
 * queue is full. */
struct engine_embed_task *engine_embed_submit(struct engine_embed *embed,
                                              const struct engine_embed_text *texts, size_t count,
                                              void (*notify)(void *arg), void *notify_arg,
                                              struct err *err);

/* True when there is nothing more to wait for; *failure tells whether it went well. */
bool engine_embed_is_done(struct engine_embed_task *task, struct err *failure);

/* Waits for that; for callers with a thread of their own. False with the failure. */
bool engine_embed_wait(struct engine_embed_task *task, struct err *failure);

/* Once it is done: [texts][width], without pooling [tokens of all texts][width]; as the model gives
 * them, not normalised. Borrowed from the task. */
const float *engine_embed_vectors(const struct engine_embed_task *task);

/* Milliseconds from submission to the first batch, and in batches. */
struct engine_embed_timing {
    double queue_ms, run_ms;
};

struct engine_embed_timing engine_embed_timing(const struct engine_embed_task *task);

/* Cancels if it still waits or runs, at the end of a batch, and frees. After it returned, notify is
 * not called any more. NULL is fine. */
void engine_embed_close(struct engine_embed_task *task);

struct engine_embed_stats {
    uint64_t tasks, texts, tokens, batches, failed, rejected;
    uint32_t waiting; /* tasks */
};

void engine_embed_stats_read(struct engine_embed *embed, struct engine_embed_stats *out);

/* Brings a vector to length 1; one that has none (0, NaN, infinity) stays. */
void engine_embed_normalize(float *vector, size_t count);

#endif
