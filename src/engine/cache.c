/* The prefix cache in memory.
 *
 * Keys and values of a position depend on the tokens up to it and on nothing else, bit for bit
 * (model.h). So a full page is known by its 64 tokens and the page before it, and all pages form a
 * forest:
 *
 *     salt ""   [ 0..63 system prompt ] --- [ 64..127 question A ] --- [ 128..191 answer, next
 * question ]
 *                                      \--- [ 64..127 question B ]
 *     salt "k"  [ 0..63 system prompt ]        other keys, other trees: nothing is shared
 *
 * A node is the page itself (its number is the node's). It is found by a hash over the parent's
 * number and the tokens; the tokens and the parent are compared in full, so a forged hash finds
 * nothing. A hash of the whole prefix alone would have been shorter, and wrong once in 2^64 or when
 * somebody wants it.
 *
 * References: each sequence has one to each of its pages, the index one to each that it knows. A
 * page in the index and in no sequence is idle; idle pages are evicted, the longest unused first,
 * when running sequences need pages. A sequence that holds a page holds its parents, and gives its
 * pages back from the last to the first, so in the list of the idle children always stand before
 * parents and eviction takes leaves. Every page costs the same bytes, so LRU needs no weights.
 *
 * A page is published when it is full and can no longer change (sequence.c), so a shared page is
 * never written and copy-on-write is not needed. When two sequences have computed the same page,
 * the second takes the first's and gives its own back; they are equal bit for bit.
 *
 * Admission promises a sequence the pages of its prompt, but it takes them one by one as it grows:
 * taking them at once would evict what others, or it itself, may still find. What keeps a promise:
 *
 *     unused + idle >= promised        after every call but a match that precedes a promise */
#include "engine/cache.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "engine/states.h"

enum {
    SIBLINGS_SEEN_MAX = 64, /* looked at for a near miss */
    NEAR_TOKENS_MIN = 16    /* every chat of a template begins alike */
};

static uint32_t buckets_for(uint32_t pages)
{
    uint32_t count = 16;
    while (count < pages && count < 1u << 30) {
        count *= 2;
    }
    return count;
}

uint64_t engine_cache_bytes(uint32_t page_total, uint32_t idle_max)
{
    uint64_t bytes = engine_pages_bytes(page_total);
    if (idle_max > 0) {
        bytes += (uint64_t)page_total * sizeof(struct engine_cache_node) +
                 (uint64_t)buckets_for(page_total) * sizeof(uint32_t);
    }
    return bytes;
}

bool engine_cache_init(struct engine_cache *cache, uint32_t page_total, uint32_t idle_max)
{
    *cache = (struct engine_cache){.idle_max = idle_max,
                                   .roots = ENGINE_CACHE_NONE,
                                   .oldest = ENGINE_CACHE_NONE,
                                   .newest = ENGINE_CACHE_NONE};
    if (!engine_pages_init(&cache->pages, page_total)) {
        return false;
    }
    if (idle_max == 0) {
        return true;
    }
    const uint32_t bucket_count = buckets_for(page_total);
    cache->nodes = MEM_ARRAY(struct engine_cache_node, page_total);
    cache->buckets = MEM_ARRAY(uint32_t, bucket_count);
    if (!cache->nodes || !cache->buckets) {
        engine_cache_deinit(cache);
        return false;
    }
    memset(cache->buckets, 0xff, bucket_count * sizeof *cache->buckets);
    cache->bucket_mask = bucket_count - 1;
    os_random(&cache->seed, sizeof cache->seed);
    return true;
}

void engine_cache_deinit(struct engine_cache *cache)
{
    engine_pages_deinit(&cache->pages);
    mem_free(cache->nodes);
    mem_free(cache->buckets);
    *cache = (struct engine_cache){0};
}

/* ---- the index ---- */

/* Seeded, so that nobody can aim at a bucket. */
static uint32_t bucket_of(const struct engine_cache *cache, uint32_t parent,
                          const struct engine_salt *salt, const text_id *tokens)
{
    const uint64_t odd = 0x9e3779b97f4a7c15ull;
    uint64_t hash = cache->seed ^ (parent + 1ull) * odd;
    if (parent == ENGINE_CACHE_NONE) {
        for (uint32_t i = 0; i < salt->len; i++) {
            hash = (hash ^ salt->bytes[i]) * odd;
        }
    }
    for (int i = 0; i < KV_PAGE_TOKENS; i++) {
        hash = (hash ^ (uint32_t)tokens[i]) * odd;
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash >> 16) & cache->bucket_mask;
}

static bool has_salt(const struct engine_cache_node *node, const struct engine_salt *salt)
{
    return node->parent != ENGINE_CACHE_NONE ||
           (node->salt.len == salt->len && memcmp(node->salt.bytes, salt->bytes, salt->len) == 0);
}

static uint32_t find(const struct engine_cache *cache, uint32_t parent,
                     const struct engine_salt *salt, const text_id *tokens)
{
    uint32_t page = cache->buckets[bucket_of(cache, parent, salt, tokens)];
    for (; page != ENGINE_CACHE_NONE; page = cache->nodes[page].next_in_bucket) {
        const struct engine_cache_node *node = &cache->nodes[page];
        if (node->parent == parent && has_salt(node, salt) &&
            memcmp(node->tokens, tokens, sizeof node->tokens) == 0) {
            break;
        }
    }
    return page;
}

static uint32_t *children_of(struct engine_cache *cache, uint32_t parent)
{
    return parent == ENGINE_CACHE_NONE ? &cache->roots : &cache->nodes[parent].child;
}

static void link_node(struct engine_cache *cache, uint32_t page)
{
    struct engine_cache_node *node = &cache->nodes[page];
    uint32_t *bucket = &cache->buckets[bucket_of(cache, node->parent, &node->salt, node->tokens)];
    uint32_t *first = children_of(cache, node->parent);
    node->next_in_bucket = *bucket;
    *bucket = page;
    node->prev_sibling = ENGINE_CACHE_NONE;
    node->next_sibling = *first;
    if (*first != ENGINE_CACHE_NONE) {
        cache->nodes[*first].prev_sibling = page;
    }
    *first = page;
}

static void unlink_node(struct engine_cache *cache, uint32_t page)
{
    struct engine_cache_node *node = &cache->nodes[page];
    uint32_t *link = &cache->buckets[bucket_of(cache, node->parent, &node->salt, node->tokens)];
    while (*link != page) {
        link = &cache->nodes[*link].next_in_bucket;
    }
    *link = node->next_in_bucket;
    if (node->prev_sibling == ENGINE_CACHE_NONE) {
        *children_of(cache, node->parent) = node->next_sibling;
    } else {
        cache->nodes[node->prev_sibling].next_sibling = node->next_sibling;
    }
    if (node->next_sibling != ENGINE_CACHE_NONE) {
        cache->nodes[node->next_sibling].prev_sibling = node->prev_sibling;
    }
}

/* ---- the idle ---- */

static void leave_idle(struct engine_cache *cache, uint32_t page)
{
    struct engine_cache_node *node = &cache->nodes[page];
    assert(node->is_idle);
    *(node->older == ENGINE_CACHE_NONE ? &cache->oldest : &cache->nodes[node->older].newer) =
        node->newer;
    *(node->newer == ENGINE_CACHE_NONE ? &cache->newest : &cache->nodes[node->newer].older) =
        node->older;
    node->is_idle = false;
    cache->idle_count--;
}

static void enter_idle(struct engine_cache *cache, uint32_t page)
{
    struct engine_cache_node *node = &cache->nodes[page];
    node->older = cache->newest;
    node->newer = ENGINE_CACHE_NONE;
    *(cache->newest == ENGINE_CACHE_NONE ? &cache->oldest : &cache->nodes[cache->newest].newer) =
        page;
    cache->newest = page;
    node->is_idle = true;
    cache->idle_count++;
}

/* Takes a page out of the index, and with it those behind it: an idle page has none but pinned ones
 * (whose parents are not pinned), at most ENGINE_WRITES_MAX. */
static void forget(struct engine_cache *cache, uint32_t page)
{
    struct engine_cache_node *node = &cache->nodes[page];
    while (node->child != ENGINE_CACHE_NONE) {
        forget(cache, node->child);
    }
    if (node->is_idle) {
        leave_idle(cache, page);
    }
    if (cache->states) {
        engine_states_forget(cache->states, page);
    }
    unlink_node(cache, page);
    node->is_indexed = false;
    engine_pages_unref(&cache->pages, &page, 1);
    cache->evicted++;
}

static void hold(struct engine_cache *cache, uint32_t page)
{
    if (cache->nodes[page].is_idle) {
        leave_idle(cache, page);
    }
    engine_pages_ref(&cache->pages, page);
}

/* ---- promises ---- */

bool engine_cache_promise(struct engine_cache *cache, uint32_t count, uint32_t spare)
{
    uint64_t there = (uint64_t)cache->pages.unused_count + cache->idle_count;
    if ((uint64_t)cache->promised + count + spare > there) {
        return false;
    }
    cache->promised += count;
    return true;
}

void engine_cache_absolve(struct engine_cache *cache, uint32_t count)
{
    assert(count <= cache->promised);
    cache->promised -= count;
}

uint32_t engine_cache_take(struct engine_cache *cache)
{
    uint32_t page = ENGINE_CACHE_NONE;
    assert(cache->promised > 0);
    cache->promised--;
    if (cache->pages.unused_count == 0) {
        forget(cache, cache->oldest);
    }
    bool ok = engine_pages_take(&cache->pages, &page, 1);
    assert(ok);
    (void)ok;
    return page;
}

/* ---- what sequences do ---- */

static uint32_t count_common(const text_id *a, const text_id *b, size_t count)
{
    uint32_t common = 0;
    while (common < count && a[common] == b[common]) {
        common++;
    }
    return common;
}

/* The cached page behind `parent` that goes along longest. */
static void find_near(struct engine_cache *cache, uint32_t parent, const struct engine_salt *salt,
                      const text_id *tokens, size_t count, uint32_t matched,
                      struct engine_cache_miss *miss)
{
    const text_id *rest = tokens + (size_t)matched * KV_PAGE_TOKENS;
    const size_t left = count - (size_t)matched * KV_PAGE_TOKENS;
    const size_t most = left < KV_PAGE_TOKENS ? left : KV_PAGE_TOKENS;
    uint32_t page = *children_of(cache, parent), best = 0;
    bool is_seen = false;
    for (int i = 0; i < SIBLINGS_SEEN_MAX && page != ENGINE_CACHE_NONE; i++) {
        const struct engine_cache_node *node = &cache->nodes[page];
        if (has_salt(node, salt)) {
            uint32_t common = count_common(node->tokens, rest, most);
            best = common > best ? common : best;
            is_seen = true;
        }
        page = node->next_sibling;
    }
    miss->position = matched * KV_PAGE_TOKENS + best;
    miss->is_near = is_seen && best < most && miss->position >= NEAR_TOKENS_MIN;
}

uint32_t engine_cache_match(struct engine_cache *cache, uint32_t parent,
                            const struct engine_salt *salt, const text_id *tokens, size_t count,
                            uint32_t page_max, uint32_t *out, struct engine_cache_miss *miss)
{
    uint32_t matched = 0;
    if (miss) {
        *miss = (struct engine_cache_miss){0};
    }
    if (!cache->nodes) {
        return 0;
    }
    for (; matched < page_max && (size_t)(matched + 1) * KV_PAGE_TOKENS <= count; matched++) {
        uint32_t page = find(cache, parent, salt, tokens + (size_t)matched * KV_PAGE_TOKENS);
        if (page == ENGINE_CACHE_NONE) {
            break;
        }
        hold(cache, page);
        out[matched] = parent = page;
    }
    if (miss) {
        find_near(cache, parent, salt, tokens, count, matched, miss);
    }
    return matched;
}

uint32_t engine_cache_publish(struct engine_cache *cache, uint32_t parent,
                              const struct engine_salt *salt, const text_id *tokens, uint32_t page)
{
    if (!cache->nodes || cache->nodes[page].is_indexed) {
        return page;
    }
    uint32_t same = find(cache, parent, salt, tokens);
    if (same != ENGINE_CACHE_NONE) {
        hold(cache, same);
        engine_pages_unref(&cache->pages, &page, 1);
        return same;
    }
    struct engine_cache_node *node = &cache->nodes[page];
    *node = (struct engine_cache_node){.parent = parent,
                                       .child = ENGINE_CACHE_NONE,
                                       .is_indexed = true,
                                       .state = ENGINE_CACHE_NONE,
                                       .salt = *salt};
    memcpy(node->tokens, tokens, sizeof node->tokens);
    engine_pages_ref(&cache->pages, page);
    link_node(cache, page);
    return page;
}

void engine_cache_release(struct engine_cache *cache, const uint32_t *list, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;) {
        engine_pages_unref(&cache->pages, &list[i], 1);
        if (cache->nodes && cache->nodes[list[i]].is_indexed && cache->pages.refs[list[i]] == 1) {
            enter_idle(cache, list[i]);
        }
    }
    while (cache->idle_count > cache->idle_max) {
        forget(cache, cache->oldest);
    }
}

bool engine_cache_pin(struct engine_cache *cache, uint32_t page)
{
    const uint64_t there = (uint64_t)cache->pages.unused_count + cache->idle_count;
    if (cache->nodes[page].is_idle && there <= cache->promised) {
        return false;
    }
    hold(cache, page);
    return true;
}

uint32_t engine_cache_used(const struct engine_cache *cache)
{
    return cache->pages.total - cache->pages.unused_count - cache->idle_count;
}
