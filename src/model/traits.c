/* The table of families. Sources: the model definitions published with the weights, and the GGUF
 * conventions of llama.cpp (src/llama-model.cpp, llama_model_rope_type). */
#include "model/traits.h"

static const struct traits families[] = {
    {.architecture = "llama", .models = "Llama 1-3, Mistral 7B, TinyLlama, Yi", .rope = ROPE_NORM},
    {.architecture = "mistral3",
     .models = "Ministral 3",
     .rope = ROPE_NORM,
     .has_temperature = true},
    {.architecture = "granite",
     .models = "Granite 3 (dense)",
     .rope = ROPE_NORM,
     .has_scales = true},
    {.architecture = "qwen2", .models = "Qwen2, Qwen2.5", .rope = ROPE_NEOX},
    {.architecture = "qwen3", .models = "Qwen3 (dense)", .rope = ROPE_NEOX, .has_qk_norm = true},
};

enum { FAMILY_COUNT = sizeof families / sizeof families[0] };

const struct traits *model_traits_at(size_t i)
{
    return i < FAMILY_COUNT ? &families[i] : NULL;
}

const struct traits *model_traits_find(struct str architecture)
{
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        if (str_eq(architecture, str_of(families[i].architecture))) {
            return &families[i];
        }
    }
    return NULL;
}

void model_traits_list(struct buf *out)
{
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        buf_add_text(out, i ? ", " : "");
        buf_add_text(out, families[i].architecture);
    }
}
