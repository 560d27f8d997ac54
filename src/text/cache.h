/* Remembers what short pieces of text became, within one text_encode call: natural text repeats its
 * words, and a hit costs one cache line instead of a regex and some merges. Two entries of 64 bytes
 * per place: the first keeps what came first, which are the frequent words, the second is replaced.
 * Per call, so no lock and no growth. */
#ifndef TEXT_CACHE_H
#define TEXT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { TEXT_CACHE_BYTES = 29, TEXT_CACHE_IDS = 8 };

struct text_cache_entry {
    int32_t ids[TEXT_CACHE_IDS];
    uint8_t len; /* 0: empty */
    uint8_t stage;
    uint8_t count;
    char bytes[TEXT_CACHE_BYTES];
};

struct text_cache {
    struct text_cache_entry *entries; /* NULL: caches nothing */
    void *block;                      /* entries are aligned inside it */
    size_t mask;
};

/* Sized for a text of `len` bytes; short texts get none. Never fails: without memory it is off. */
void text_cache_init(struct text_cache *cache, size_t len);
void text_cache_deinit(struct text_cache *cache);

/* The entry where `piece` belongs, or NULL when it is not cacheable. *hit tells whether it holds
 * the piece already. `stage` tells apart pieces that have still to be split differently. */
struct text_cache_entry *text_cache_at(struct text_cache *cache, struct str piece, unsigned stage,
                                       bool *hit);

void text_cache_put(struct text_cache_entry *entry, struct str piece, unsigned stage,
                    const int32_t *ids, size_t count);

#endif
