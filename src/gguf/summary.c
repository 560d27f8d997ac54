#include "gguf/summary.h"

#include <assert.h>
#include <string.h>

void gguf_summarize(const struct gguf *gguf, struct gguf_summary *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        size_t at = 0;
        while (at < out->type_count && out->types[at].type != tensor->type) {
            at++;
        }
        if (at == out->type_count) {
            assert(at < GGUF_TYPES_MAX);
            out->types[out->type_count++].type = tensor->type;
        }
        uint64_t elements = tensor->dims[0] * tensor->row_count;
        out->types[at].tensor_count++;
        out->types[at].elements += elements; /* <= 128 per byte of a real file: no overflow */
        out->types[at].bytes += tensor->bytes;
        out->elements += elements;
    }
    for (size_t i = 1; i < out->type_count; i++) {
        struct gguf_type_share share = out->types[i];
        size_t at = i;
        for (; at > 0 && out->types[at - 1].bytes < share.bytes; at--) {
            out->types[at] = out->types[at - 1];
        }
        out->types[at] = share;
    }
    if (out->elements) {
        out->bits_per_weight = 8.0 * (double)gguf->tensor_bytes / (double)out->elements;
    }
}
