/* The merge loop that both kinds of BPE share: join the neighbouring pair with the smallest
 * priority number, leftmost on ties, until no pair is left.
 *
 *     symbols   h  e  l  l  o        pairs: he 3, el 9, ll 5, lo 7
 *               he    l  l  o        best is he: joined; its right neighbour is looked up again
 *               he    ll    o
 *               he    llo            ...
 *
 * Short words (nearly all of them) live in small arrays that are scanned and closed up: for 5 pairs
 * that beats any queue. Long ones use a heap of pairs and a doubly linked list, O(n log n) for the
 * megabyte of one letter. A heap entry is stale when the two symbols no longer have the summed size
 * it was made for: symbols only grow, so an equal sum means the same pair.
 *
 * A function template: `find` is inlined into each of the two users. */
#ifndef TEXT_MERGE_H
#define TEXT_MERGE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"
#include "base/mem.h"
#include "text/vocab.h"

enum { TEXT_MERGE_SHORT = 32 }; /* symbols */

#define TEXT_MERGE_NONE UINT32_MAX /* priority: this pair never joins */

struct text_symbol {
    uint32_t at, len; /* bytes of the word; len 0: joined into its left neighbour */
    text_id id;       /* TEXT_NONE: no token */
};

/* Priority of joining two neighbours, and what they become. */
typedef uint32_t text_merge_find(const struct text *text, struct str word,
                                 const struct text_symbol *left, const struct text_symbol *right,
                                 text_id *joined);

struct text_merge_link {
    uint32_t prev, next; /* TEXT_MERGE_NONE: none */
};

struct text_merge_entry {
    uint64_t key; /* priority << 32 | index of the left symbol: total order */
    uint32_t size;
    text_id id;
};

/* Working memory of long words; grows, is reused, all-zero is empty. */
struct text_merge {
    struct text_symbol *symbols;
    struct text_merge_link *links;
    struct text_merge_entry *heap;
    size_t symbols_cap, heap_cap, heap_len;
};

static inline void text_merge_deinit(struct text_merge *merge)
{
    mem_free(merge->symbols);
    mem_free(merge->links);
    mem_free(merge->heap);
    *merge = (struct text_merge){0};
}

/* Room for a word of `count` symbols: each join adds two pairs and uses one up. */
static inline bool text_merge_reserve(struct text_merge *merge, size_t count)
{
    if (count <= merge->symbols_cap) {
        return true;
    }
    text_merge_deinit(merge);
    merge->symbols = MEM_ARRAY(struct text_symbol, count);
    merge->links = MEM_ARRAY(struct text_merge_link, count);
    merge->heap = MEM_ARRAY(struct text_merge_entry, 3 * count);
    merge->symbols_cap = count;
    merge->heap_cap = 3 * count;
    return merge->symbols && merge->links && merge->heap;
}

/* Four children per node: half the levels of a binary heap, and the four lie in one or two cache
 * lines; 1.25x on a megabyte of one letter. */
static inline void text_merge_sift_down(struct text_merge *merge, size_t at)
{
    struct text_merge_entry *heap = merge->heap;
    const struct text_merge_entry entry = heap[at];
    for (size_t child; (child = 4 * at + 1) < merge->heap_len; at = child) {
        const size_t end = child + 4 < merge->heap_len ? child + 4 : merge->heap_len;
        for (size_t i = child + 1; i < end; i++) {
            child = heap[i].key < heap[child].key ? i : child;
        }
        if (entry.key <= heap[child].key) {
            break;
        }
        heap[at] = heap[child];
    }
    heap[at] = entry;
}

static inline void text_merge_push(struct text_merge *merge, struct text_merge_entry entry)
{
    size_t at = merge->heap_len++;
    for (; at > 0 && entry.key < merge->heap[(at - 1) / 4].key; at = (at - 1) / 4) {
        merge->heap[at] = merge->heap[(at - 1) / 4];
    }
    merge->heap[at] = entry;
}

/* merge->symbols[0..count) hold the word; afterwards those with len > 0 are the result. */
static ATTR_ALWAYS_INLINE void text_merge_long(struct text_merge *merge, const struct text *text,
                                               struct str word, size_t count, text_merge_find *find)
{
    struct text_symbol *symbols = merge->symbols;
    struct text_merge_link *links = merge->links;
    text_id id = TEXT_NONE;
    merge->heap_len = 0;
    for (uint32_t i = 0; i < count; i++) {
        links[i].prev = i == 0 ? TEXT_MERGE_NONE : i - 1;
        links[i].next = i + 1 == count ? TEXT_MERGE_NONE : i + 1;
        if (i + 1 == count) {
            break;
        }
        const uint32_t priority = find(text, word, &symbols[i], &symbols[i + 1], &id);
        if (priority != TEXT_MERGE_NONE) {
            merge->heap[merge->heap_len++] = (struct text_merge_entry){
                .key = (uint64_t)priority << 32 | i,
                .size = symbols[i].len + symbols[i + 1].len,
                .id = id,
            };
        }
    }
    for (size_t i = (merge->heap_len + 2) / 4; i-- > 0;) {
        text_merge_sift_down(merge, i);
    }

    while (merge->heap_len > 0) {
        const struct text_merge_entry best = merge->heap[0];
        merge->heap[0] = merge->heap[--merge->heap_len];
        if (merge->heap_len > 0) {
            text_merge_sift_down(merge, 0);
        }
        const uint32_t left = (uint32_t)best.key, right = links[left].next;
        if (symbols[left].len == 0 || right == TEXT_MERGE_NONE ||
            symbols[left].len + symbols[right].len != best.size) {
            continue;
        }
        symbols[left].len = best.size;
        symbols[left].id = best.id;
        symbols[right].len = 0;
        links[left].next = links[right].next;
        if (links[left].next != TEXT_MERGE_NONE) {
            links[links[left].next].prev = left;
        }
        const uint32_t pairs[2][2] = {{links[left].prev, left}, {left, links[left].next}};
        for (size_t i = 0; i < 2; i++) {
            const uint32_t a = pairs[i][0], b = pairs[i][1];
            if (a == TEXT_MERGE_NONE || b == TEXT_MERGE_NONE) {
                continue;
            }
            const uint32_t priority = find(text, word, &symbols[a], &symbols[b], &id);
            if (priority != TEXT_MERGE_NONE) {
                text_merge_push(merge, (struct text_merge_entry){
                                           .key = (uint64_t)priority << 32 | a,
                                           .size = symbols[a].len + symbols[b].len,
                                           .id = id,
                                       });
            }
        }
    }
}

/* symbols[0..count), count <= TEXT_MERGE_SHORT, become the result; returns how many are left. */
static ATTR_ALWAYS_INLINE size_t text_merge_short(const struct text *text, struct str word,
                                                  struct text_symbol *symbols, size_t count,
                                                  text_merge_find *find)
{
    uint32_t priorities[TEXT_MERGE_SHORT];
    text_id joined[TEXT_MERGE_SHORT];
    for (size_t i = 0; i + 1 < count; i++) {
        priorities[i] = find(text, word, &symbols[i], &symbols[i + 1], &joined[i]);
    }
    for (;;) {
        size_t best = 0;
        uint32_t priority = TEXT_MERGE_NONE;
        for (size_t i = 0; i + 1 < count; i++) {
            if (priorities[i] < priority) {
                priority = priorities[i];
                best = i;
            }
        }
        if (priority == TEXT_MERGE_NONE) {
            return count;
        }
        symbols[best].len += symbols[best + 1].len;
        symbols[best].id = joined[best];
        count--;
        for (size_t i = best + 1; i < count; i++) {
            symbols[i] = symbols[i + 1];
            priorities[i - 1] = priorities[i];
            joined[i - 1] = joined[i];
        }
        if (best > 0) {
            priorities[best - 1] =
                find(text, word, &symbols[best - 1], &symbols[best], &joined[best - 1]);
        }
        if (best + 1 < count) {
            priorities[best] = find(text, word, &symbols[best], &symbols[best + 1], &joined[best]);
        }
    }
}

#endif
