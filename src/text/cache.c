#include "text/cache.h"

#include <string.h>

#include "base/mem.h"
#include "text/table.h"

_Static_assert(sizeof(struct text_cache_entry) == 64, "an entry is one cache line");

void text_cache_init(struct text_cache *cache, size_t len)
{
    *cache = (struct text_cache){0};
    if (len < 512) {
        return;
    }
    size_t count = 64; /* 8192 entries are 512 KiB: they stay in the L2 cache */
    while (count < 8192 && count < len / 16) {
        count *= 2;
    }
    cache->block = mem_alloc(count + 1, sizeof(struct text_cache_entry));
    if (!cache->block) {
        return;
    }
    cache->entries = (struct text_cache_entry *)(((uintptr_t)cache->block + 63) & ~(uintptr_t)63);
    cache->mask = count - 1;
}

void text_cache_deinit(struct text_cache *cache)
{
    mem_free(cache->block);
    *cache = (struct text_cache){0};
}

struct text_cache_entry *text_cache_at(struct text_cache *cache, struct str piece, unsigned stage,
                                       bool *hit)
{
    *hit = false;
    if (!cache->entries || piece.len == 0 || piece.len > TEXT_CACHE_BYTES) {
        return NULL;
    }
    const uint64_t hash = text_hash(piece.ptr, piece.len, stage);
    struct text_cache_entry *pair = &cache->entries[hash & cache->mask & ~(uint64_t)1];
    for (size_t i = 0; i < 2; i++) {
        if (pair[i].len == piece.len && pair[i].stage == stage &&
            memcmp(pair[i].bytes, piece.ptr, piece.len) == 0) {
            *hit = true;
            return &pair[i];
        }
    }
    return pair[0].len == 0 ? &pair[0] : &pair[1];
}

void text_cache_put(struct text_cache_entry *entry, struct str piece, unsigned stage,
                    const int32_t *ids, size_t count)
{
    if (count > TEXT_CACHE_IDS) {
        return;
    }
    entry->len = (uint8_t)piece.len;
    entry->stage = (uint8_t)stage;
    entry->count = (uint8_t)count;
    memcpy(entry->bytes, piece.ptr, piece.len);
    if (count > 0) {
        memcpy(entry->ids, ids, count * sizeof *ids);
    }
}
