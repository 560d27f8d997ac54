/* Who has which page of the cache. Pages are counted references, so that sequences with the same
 * beginning can share them; a sequence writes only to pages it alone holds. Owned by the worker. */
#ifndef ENGINE_PAGES_H
#define ENGINE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

struct engine_pages {
    uint32_t *unused; /* [unused_count], a stack */
    uint32_t *refs;   /* [total] */
    uint32_t unused_count, total;
};

bool engine_pages_init(struct engine_pages *pages, uint32_t total);
void engine_pages_deinit(struct engine_pages *pages);

/* Bytes that init allocates. */
uint64_t engine_pages_bytes(uint32_t total);

/* Takes `count` pages with one reference each, or none and returns false. */
bool engine_pages_take(struct engine_pages *pages, uint32_t *out, uint32_t count);

void engine_pages_ref(struct engine_pages *pages, uint32_t page);

/* Gives back one reference to each. */
void engine_pages_unref(struct engine_pages *pages, const uint32_t *list, uint32_t count);

#endif
