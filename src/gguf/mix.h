/* Which type each tensor of a model gets when the model is quantised to a target type: the rules
 * that llama-quantize applies to its plain targets, so that files come out as users of the field
 * expect.
 *
 * Converted are tensors of two and more dimensions whose name ends in "weight", except norms,
 * positions, expert gates and other small ones that cost quality and save nothing. All else keeps
 * the type it has. For Q4_0 the output matrix (or the embeddings that double as one) and, in models
 * of 8 experts, the keys and values are Q8_0: llama-quantize takes Q6_K and Q8_0 there. A tensor
 * whose rows are no multiple of the block becomes F16. */
#ifndef GGUF_MIX_H
#define GGUF_MIX_H

#include "gguf/gguf.h"

struct gguf_mix {
    enum dtype target; /* F16 BF16 Q8_0 Q4_0 */
    bool is_tied;      /* no output.weight: token_embd.weight is used in its place */
    bool has_8_experts;
};

/* True for the types a model can be quantised to. */
bool gguf_mix_supports(enum dtype target);

void gguf_mix_init(struct gguf_mix *mix, const struct gguf *gguf, enum dtype target);

enum dtype gguf_mix_type(const struct gguf_mix *mix, const struct gguf_tensor *tensor);

/* The value of general.file_type. */
uint32_t gguf_mix_file_type(enum dtype target);

#endif
