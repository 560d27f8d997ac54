#include "engine/pages.h"

#include <assert.h>

#include "base/mem.h"

bool engine_pages_init(struct engine_pages *pages, uint32_t total)
{
    *pages = (struct engine_pages){.total = total, .unused_count = total};
    pages->unused = MEM_ARRAY(uint32_t, total);
    pages->refs = MEM_ARRAY(uint32_t, total);
    if (!pages->unused || !pages->refs) {
        engine_pages_deinit(pages);
        return false;
    }
    for (uint32_t i = 0; i < total; i++) {
        pages->unused[i] = total - 1 - i; /* low numbers first */
    }
    return true;
}

uint64_t engine_pages_bytes(uint32_t total)
{
    return (uint64_t)total * 2 * sizeof(uint32_t);
}

void engine_pages_deinit(struct engine_pages *pages)
{
    mem_free(pages->unused);
    mem_free(pages->refs);
    *pages = (struct engine_pages){0};
}

bool engine_pages_take(struct engine_pages *pages, uint32_t *out, uint32_t count)
{
    if (count > pages->unused_count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = pages->unused[--pages->unused_count];
        assert(pages->refs[out[i]] == 0);
        pages->refs[out[i]] = 1;
    }
    return true;
}

void engine_pages_ref(struct engine_pages *pages, uint32_t page)
{
    assert(pages->refs[page] > 0);
    pages->refs[page]++;
}

void engine_pages_unref(struct engine_pages *pages, const uint32_t *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert(pages->refs[list[i]] > 0);
        if (--pages->refs[list[i]] == 0) {
            pages->unused[pages->unused_count++] = list[i];
        }
    }
}
