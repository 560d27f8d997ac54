/* Writes a model's file again with LoRA adapters added to its weights, in the types they have. */
#ifndef MODEL_LORA_EXPORT_H
#define MODEL_LORA_EXPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/pool.h"
#include "gguf/gguf.h"

struct model_lora_export {
    const struct gguf *model;
    const struct gguf *const *adapters; /* [count] */
    const float *scales;                /* [count] */
    size_t count;
    struct pool *pool;
    /* May be NULL; called from the calling thread with bytes of the model read. */
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
};

/* The adapters are checked as for loading. ERR_UNSUPPORTED names a tensor that an adapter changes
 * and whose type cannot be written without an importance matrix; ERR_INVALID an output that is the
 * model. Nothing is left of an output that is not complete. */
bool model_lora_export(const struct model_lora_export *export, const char *out, struct err *err);

#endif
