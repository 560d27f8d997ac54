#include "route/facts.h"

#include <stdio.h>

#include "base/buf.h"
#include "gguf/summary.h"

static uint32_t read_u32(const struct gguf *gguf, struct str architecture, const char *name)
{
    struct buf key = {0};
    uint32_t value = 0;
    buf_add(&key, architecture);
    buf_add_text(&key, name);
    gguf_get_u32(gguf, buf_view(&key), &value, NULL, NULL);
    buf_deinit(&key);
    return value;
}

/* As the model reads it: the mean where nothing is said. */
static bool read_pooling(const struct gguf *gguf, struct str architecture,
                         enum model_encoder_pooling *out)
{
    struct buf key = {0};
    uint32_t value = MODEL_ENCODER_MEAN;
    bool found = false;
    buf_add(&key, architecture);
    buf_add_text(&key, ".pooling_type");
    gguf_get_u32(gguf, buf_view(&key), &value, &found, NULL);
    buf_deinit(&key);
    *out = value <= MODEL_ENCODER_RANK ? (enum model_encoder_pooling)value : MODEL_ENCODER_MEAN;
    return found;
}

void route_facts_of(const struct gguf *gguf, struct route_facts *out)
{
    struct gguf_summary summary;
    struct str architecture = {0};
    char quoted[STR_QUOTE_MAX];
    gguf_summarize(gguf, &summary);
    gguf_get_str(gguf, STR("general.architecture"), &architecture, NULL, NULL);
    *out = (struct route_facts){
        .parameter_count = summary.elements,
        .ctx_train_tokens = read_u32(gguf, architecture, ".context_length"),
        .embed_dim = read_u32(gguf, architecture, ".embedding_length"),
        .is_encoder = model_is_encoder(gguf),
        .file_bytes = gguf->file_bytes,
        .mtime_ns = gguf->shards[0].mtime_ns,
    };
    snprintf(out->architecture, sizeof out->architecture, "%.63s", str_quote(quoted, architecture));
    out->has_pooling_key = read_pooling(gguf, architecture, &out->pooling);
    if (summary.type_count) {
        snprintf(out->quantization, sizeof out->quantization, "%s",
                 dtype_info(summary.types[0].type)->name);
    }
}

bool route_facts_read(const char *path, struct route_facts *out, struct err *err)
{
    struct gguf *gguf = gguf_open(path, err);
    if (gguf) {
        route_facts_of(gguf, out);
    }
    gguf_close(gguf);
    return gguf != NULL;
}
