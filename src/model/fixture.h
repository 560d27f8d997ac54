/* What the tests of this folder share: a model of tests/golden/model, loaded, with page lists that
 * are deliberately not in order, and its logits for a list of tokens. */
#ifndef MODEL_FIXTURE_H
#define MODEL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/mem.h"
#include "model/model.h"

struct fixture {
    struct gguf *gguf;
    struct pool *pool;
    struct model *model;
    size_t vocab_count;
};

static inline const char *fixture_path(char out[512], const char *name)
{
    snprintf(out, 512, "%s/%s", TEST_GOLDEN, name);
    return out;
}

static inline struct model_params fixture_params(void)
{
    return (struct model_params){.cpu_level = cpu_level_detect(),
                                 .kv_type = KV_F32,
                                 .sequences_max = 1,
                                 .batch_rows_max = 16,
                                 .logits_rows_max = 16,
                                 .memory_max = 256u << 20};
}

static inline struct fixture fixture_open(const char *path, const struct model_params *params,
                                          size_t threads)
{
    struct fixture f = {0};
    struct err err = {0};
    f.gguf = gguf_open(path, &err);
    f.pool = f.gguf ? pool_create(threads, &err) : NULL;
    f.model = f.pool ? model_load(f.gguf, params, f.pool, NULL, NULL, &err) : NULL;
    if (!f.model) {
        fail_msg("%s", err.text);
    }
    f.vocab_count = model_info(f.model)->vocab_count;
    return f;
}

static inline void fixture_close(struct fixture *f)
{
    model_destroy(f->model);
    pool_destroy(f->pool);
    gguf_close(f->gguf);
}

/* Page i of a sequence that owns every `stride`-th page from `first` on, backwards. */
static inline uint32_t *fixture_pages(size_t count, size_t first, size_t stride)
{
    uint32_t *pages = MEM_ARRAY(uint32_t, count);
    for (size_t i = 0; i < count; i++) {
        pages[i] = (uint32_t)(first + (count - 1 - i) * stride);
    }
    return pages;
}

/* Logits of all positions, [count, vocab_count]; mem_free them. */
static inline float *fixture_logits(const struct fixture *f, const int32_t *ids, size_t count,
                                    size_t chunk)
{
    size_t page_count = (count + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    uint32_t *pages = fixture_pages(page_count, 0, 1);
    float *logits = MEM_ARRAY(float, count * f->vocab_count);
    struct model_row *rows = MEM_ARRAY(struct model_row, chunk);
    const struct model_seq seq = {.pages = pages, .page_count = page_count};
    for (size_t first = 0; first < count; first += chunk) {
        size_t n = count - first < chunk ? count - first : chunk;
        for (size_t i = 0; i < n; i++) {
            rows[i] = (struct model_row){
                .token = ids[first + i], .pos = (uint32_t)(first + i), .wants_logits = true};
        }
        const struct model_batch batch = {rows, n, &seq, 1};
        model_forward(f->model, &batch, logits + first * f->vocab_count);
    }
    mem_free(pages);
    mem_free(rows);
    return logits;
}

#endif
