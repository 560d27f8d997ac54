/* A checkpoint in the layout of Hugging Face (config.json, safetensors, tokenizer files) as a GGUF
 * file. Families: see model_convert_families. What a checkpoint has and the family does not is
 * refused by name, as is a tokenizer whose pre-tokenizer is not known. */
#ifndef MODEL_CONVERT_H
#define MODEL_CONVERT_H

#include "base/err.h"
#include "gguf/dtype.h"

struct model_convert {
    const char *folder, *out;
    bool has_type;   /* else matrices keep theirs (F64 becomes F32) */
    enum dtype type; /* of matrices: F32, F16 or BF16; vectors are F32 */
    const char *pre; /* overrides the pre-tokenizer's name; NULL */
    void (*progress)(void *arg, uint64_t done, uint64_t all); /* bytes read; or NULL */
    bool (*is_cancelled)(void *arg);                          /* or NULL */
    void *arg;
};

struct model_convert_result {
    size_t tensors;
    uint64_t bytes;
};

bool model_convert(const struct model_convert *how, struct model_convert_result *result,
                   struct err *err);

/* Names of config.json's "architectures" that can be converted; NULL behind the last. */
const char *model_convert_family(size_t i);

#endif
