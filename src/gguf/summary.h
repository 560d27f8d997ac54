/* What a model is made of: elements and bytes per type. */
#ifndef GGUF_SUMMARY_H
#define GGUF_SUMMARY_H

#include "gguf/gguf.h"

enum { GGUF_TYPES_MAX = 64 };

struct gguf_type_share {
    enum dtype type;
    uint64_t tensor_count, elements, bytes;
};

struct gguf_summary {
    struct gguf_type_share types[GGUF_TYPES_MAX]; /* those in use, most bytes first */
    size_t type_count;
    uint64_t elements;
    double bits_per_weight; /* 0 without tensors */
};

void gguf_summarize(const struct gguf *gguf, struct gguf_summary *out);

#endif
