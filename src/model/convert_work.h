/* What the files of a conversion share. */
#ifndef MODEL_CONVERT_WORK_H
#define MODEL_CONVERT_WORK_H

#include <jansson.h>

#include "gguf/safetensors.h"
#include "gguf/writer.h"
#include "model/convert.h"

/* How a family of checkpoints differs from Llama. */
struct convert_family {
    const char *hf, *arch;
    bool permutes;       /* q and k: halves of a head beside each other, as ROPE_NORM wants them */
    bool adds_one;       /* norms are stored less one */
    bool has_post_norms; /* post_attention_layernorm is behind attention, not before the ffn */
};

struct converter {
    const struct model_convert *how;
    const struct convert_family *family;
    json_t *config;
    struct gguf_safetensors tensors;
    struct gguf_writer *writer;
    uint32_t head_count, kv_head_count, expert_count, vocab_count;
};

/* A member of config.json that is a number; *out stays where it is absent or null. */
bool model_config_u32(const struct converter *c, const char *name, uint32_t *out, struct err *err);

/* Metadata of the model, and of the tokenizer. */
bool model_convert_metadata(struct converter *c, struct err *err);
bool model_convert_tokenizer(struct converter *c, struct err *err);

/* A text file of the folder; NULL without an error when it is not there. */
char *model_convert_read(const struct converter *c, const char *name, size_t *len, struct err *err);

#endif
