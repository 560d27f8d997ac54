/* Writes a model's file again with its weights in other types: what `hearth quantize` and the API's
 * create do. One pass over the file: a stretch of a tensor is mapped, converted by all threads and
 * appended to the output, so memory does not grow with the model. The output appears under its name
 * only when it is complete. */
#ifndef MODEL_QUANTIZE_H
#define MODEL_QUANTIZE_H

#include "base/pool.h"
#include "gguf/mix.h"
#include "tensor/convert.h"

struct gguf_importance;

/* One tensor that is done. */
struct model_quantized {
    const struct gguf_tensor *tensor; /* as it was */
    enum dtype type;
    struct codec_loss loss; /* zero when it was only copied */
};

struct model_quantize {
    const struct gguf_mix_target *target;     /* gguf_mix_find */
    const struct gguf_importance *importance; /* or NULL */
    const char *importance_name;              /* of its file, for the metadata */
    struct pool *pool;                        /* of the caller; it is used by this call alone */
    /* All may be NULL and are called from the calling thread: bytes of the input read; a tensor
     * that is done (its loss is measured only if this is set); whether to stop. */
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void (*done)(void *arg, const struct model_quantized *tensor);
    bool (*is_cancelled)(void *arg);
    void *arg;
};

struct model_quantize_result {
    uint64_t elements;
    uint64_t bytes_in, bytes_out; /* of tensors */
};

/* in: a GGUF file, any part of a split one; out: a path, replaced when the file is complete.
 * ERR_UNSUPPORTED names a tensor of a type that cannot be read; ERR_FORMAT a weight that the type
 * cannot hold; ERR_INVALID a missing importance matrix, or an output that is the input;
 * ERR_CANCELLED when is_cancelled said so; in all cases nothing is left of the output. */
bool model_quantize(const char *in, const char *out, const struct model_quantize *how,
                    struct model_quantize_result *result, struct err *err);

#endif
