/* The prefix cache of the pages: which tokens a full page holds, so that a sequence that begins
 * like an earlier one takes its pages instead of computing them. See cache.c. Owned by the worker.
 */
#ifndef ENGINE_CACHE_H
#define ENGINE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/pages.h"
#include "tensor/kernels.h"
#include "text/text.h"

#define ENGINE_CACHE_NONE UINT32_MAX

/* Whose prefixes may be seen, and under which adapters: sequences share pages only under equal
 * salts. With adapters it is a digest of all that (adapters.c), longer than a request's by a byte.
 */
struct engine_salt {
    uint8_t bytes[ENGINE_SALT_BYTES_MAX + 1];
    uint32_t len;
};

struct engine_cache_node {
    uint32_t parent; /* page; ENGINE_CACHE_NONE: the first page of a sequence */
    uint32_t child, next_sibling, prev_sibling; /* newest child first */
    uint32_t older, newer;                      /* among the idle */
    uint32_t next_in_bucket;
    bool is_indexed, is_idle;
    uint32_t state;          /* kept with it (states.h); or ENGINE_CACHE_NONE */
    struct engine_salt salt; /* of a first page */
    text_id tokens[KV_PAGE_TOKENS];
};

struct engine_states; /* states.h */

struct engine_cache {
    struct engine_states *states; /* to be told when a page leaves; NULL: there are none */
    struct engine_pages pages;
    struct engine_cache_node *nodes; /* [pages.total]; NULL when nothing is kept */
    uint32_t *buckets;               /* [bucket_mask + 1] */
    uint32_t bucket_mask;
    uint64_t seed;
    uint32_t roots;          /* first pages, newest first */
    uint32_t oldest, newest; /* of the idle: indexed and in no sequence */
    uint32_t idle_count, idle_max;
    uint32_t promised; /* pages that running sequences may still take */
    uint64_t evicted;
};

/* idle_max: pages that may be kept for nobody in particular; 0: nothing is indexed. */
bool engine_cache_init(struct engine_cache *cache, uint32_t page_total, uint32_t idle_max);
void engine_cache_deinit(struct engine_cache *cache);

/* Bytes that init allocates. */
uint64_t engine_cache_bytes(uint32_t page_total, uint32_t idle_max);

/* A promise of `count` pages, kept whatever happens to others; false when then fewer than `spare`
 * would be left. */
bool engine_cache_promise(struct engine_cache *cache, uint32_t count, uint32_t spare);

/* Gives back what was promised and not taken. */
void engine_cache_absolve(struct engine_cache *cache, uint32_t count);

/* One promised page, with one reference. */
uint32_t engine_cache_take(struct engine_cache *cache);

/* Where a cached sequence went another way. */
struct engine_cache_miss {
    bool is_near;
    uint32_t position; /* of the first token that differs */
};

/* Finds pages that continue `parent` (ENGINE_CACHE_NONE: begin a sequence) with tokens; at most
 * page_max of them go to `out`, each with a reference for the caller. `tokens` and `count` are of
 * the whole rest of the prompt; `miss` (may be NULL) counts from tokens[0]. */
uint32_t engine_cache_match(struct engine_cache *cache, uint32_t parent,
                            const struct engine_salt *salt, const text_id *tokens, size_t count,
                            uint32_t page_max, uint32_t *out, struct engine_cache_miss *miss);

/* Indexes a full page that the caller holds, as does its parent. Gives the page that the caller
 * holds from now on: another one when the same was indexed before. */
uint32_t engine_cache_publish(struct engine_cache *cache, uint32_t parent,
                              const struct engine_salt *salt, const text_id *tokens, uint32_t page);

/* A further reference to an indexed page, given back with engine_cache_release; false when a
 * promise needs the page. */
bool engine_cache_pin(struct engine_cache *cache, uint32_t page);

/* Gives back the references of a sequence to its pages, in their order. */
void engine_cache_release(struct engine_cache *cache, const uint32_t *list, uint32_t count);

/* Pages in sequences (and pinned ones). */
uint32_t engine_cache_used(const struct engine_cache *cache);

#endif
