/* The identity of a model and of its numerics: a SHA-256 over
 *
 *     the program     version, size and time of the executable: another build may round otherwise
 *     the numerics    CPU level, element type of the cache, bytes of a page and of a state; the
 * context's length for models whose rope depends on it the file(s)     size and all bytes before
 * the first tensor: hyper-parameters, vocabulary, names, types and shapes of all tensors the
 * weights     4 KiB at the beginning, the middle and the end of each tensor
 *
 * Hashing all weights would take 0.3 s per GiB at each start, and longer from a cold disk; the
 * samples take 5 to 30 ms. What they miss is a file of the same size and the same head in which
 * bytes were changed between the samples by hand; training or quantising again changes every block.
 * Who can do that to a model's file can make it say anything without the cache. */
#include "engine/identity.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"

enum { SAMPLE_BYTES = 4096, CHUNK_BYTES = 1 << 20 };

struct hasher {
    EVP_MD_CTX *md;
    bool ok;
};

static void add(struct hasher *h, const void *bytes, size_t len)
{
    h->ok = h->ok && EVP_DigestUpdate(h->md, bytes, len) == 1;
}

static void add_number(struct hasher *h, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(number >> 8 * i);
    }
    add(h, bytes, sizeof bytes);
}

static bool add_program(struct hasher *h, struct err *err)
{
    static const char version[] = HEARTH_VERSION;
    struct os_file file;
    char *path = os_exe_path(err);
    bool ok = path && os_file_open(&file, path, err);
    mem_free(path);
    if (ok) {
        add(h, version, sizeof version);
        add_number(h, file.size);
        add_number(h, (uint64_t)file.mtime_ns);
        os_file_close(&file);
    }
    return ok;
}

static uint64_t head_bytes(const struct gguf *gguf, size_t shard)
{
    uint64_t end = gguf->shards[shard].size;
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        if (gguf->tensors[i].shard == shard && gguf->tensors[i].offset < end) {
            end = gguf->tensors[i].offset;
        }
    }
    return end;
}

/* The first `end` bytes of a file. */
static bool add_bytes(struct hasher *h, const struct os_file *file, uint64_t end, uint8_t *chunk,
                      struct err *err)
{
    for (uint64_t at = 0; at < end; at += CHUNK_BYTES) {
        size_t len = (size_t)(end - at < CHUNK_BYTES ? end - at : CHUNK_BYTES);
        if (!os_file_read(file, at, chunk, len, err)) {
            return false;
        }
        add(h, chunk, len);
    }
    return true;
}

static bool add_heads(struct hasher *h, const struct gguf *gguf, uint8_t *chunk, struct err *err)
{
    bool ok = true;
    for (size_t shard = 0; shard < gguf->shard_count && ok; shard++) {
        add_number(h, gguf->shards[shard].size);
        ok = add_bytes(h, &gguf->shards[shard], head_bytes(gguf, shard), chunk, err);
    }
    return ok;
}

static bool add_samples(struct hasher *h, const struct gguf *gguf, uint8_t *chunk, struct err *err)
{
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        const size_t len = (size_t)(tensor->bytes < SAMPLE_BYTES ? tensor->bytes : SAMPLE_BYTES);
        const uint64_t last = tensor->bytes - len;
        for (uint64_t part = 0; part <= 2; part++) {
            if (!os_file_read(&gguf->shards[tensor->shard], tensor->offset + last / 2 * part, chunk,
                              len, err)) {
                return false;
            }
            add(h, chunk, len);
        }
    }
    return true;
}

static bool begin(struct hasher *h, uint8_t **chunk, struct err *err)
{
    *h = (struct hasher){.md = EVP_MD_CTX_new()};
    *chunk = mem_alloc(CHUNK_BYTES, 1);
    h->ok = h->md && EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) == 1;
    return *chunk || err_set_memory(err, CHUNK_BYTES);
}

static bool end(struct hasher *h, uint8_t *chunk, bool ok, struct engine_digest *out,
                struct err *err)
{
    unsigned len = 0;
    if (ok && !(h->ok && EVP_DigestFinal_ex(h->md, out->bytes, &len) == 1 &&
                len == ENGINE_DIGEST_BYTES)) {
        ok = err_set(err, ERR_INTERNAL, "SHA-256 is not there");
    }
    EVP_MD_CTX_free(h->md);
    mem_free(chunk);
    return ok || err_wrap(err, "find out what the model is");
}

bool engine_identity(const struct gguf *gguf, const struct model_plan *plan, enum cpu_level level,
                     enum kv_type kv_type, struct engine_digest *out, struct err *err)
{
    struct hasher h;
    uint8_t *chunk;
    bool ok = begin(&h, &chunk, err) && add_program(&h, err);
    add_number(&h, level);
    add_number(&h, kv_type);
    add_number(&h, plan->page_bytes);
    add_number(&h, plan->state_bytes);
    add_number(&h, gguf_find_tensor(gguf, STR("rope_factors_long.weight")) ? plan->ctx_tokens : 0);
    ok = ok && add_heads(&h, gguf, chunk, err) && add_samples(&h, gguf, chunk, err);
    return end(&h, chunk, ok, out, err);
}

bool engine_model_digest(const struct gguf *gguf, struct engine_digest *out, struct err *err)
{
    struct hasher h;
    uint8_t *chunk;
    bool ok = begin(&h, &chunk, err) && add_heads(&h, gguf, chunk, err) &&
              add_samples(&h, gguf, chunk, err);
    return end(&h, chunk, ok, out, err);
}

bool engine_adapter_identity(const struct gguf *gguf, struct engine_digest *out, struct err *err)
{
    struct hasher h;
    uint8_t *chunk;
    bool ok = begin(&h, &chunk, err);
    for (size_t shard = 0; ok && shard < gguf->shard_count; shard++) {
        ok = add_bytes(&h, &gguf->shards[shard], gguf->shards[shard].size, chunk, err);
    }
    return end(&h, chunk, ok, out, err);
}
