/* What the head of a model file says, without loading it. */
#ifndef ROUTE_FACTS_H
#define ROUTE_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "gguf/gguf.h"
#include "model/model.h"

struct route_facts {
    char architecture[64];
    char quantization[32]; /* the type of most bytes */
    uint64_t parameter_count;
    uint32_t ctx_train_tokens, embed_dim; /* 0: the file does not say */
    bool is_encoder;                      /* it makes vectors or ranks, it does not generate */
    enum model_encoder_pooling pooling;   /* of texts that are read as a whole */
    bool has_pooling_key;                 /* else the file did not say, and it is the mean */
    uint64_t file_bytes;                  /* of all parts */
    int64_t mtime_ns;
};

void route_facts_of(const struct gguf *gguf, struct route_facts *out);

/* Opens the file for it. */
bool route_facts_read(const char *path, struct route_facts *out, struct err *err);

#endif
