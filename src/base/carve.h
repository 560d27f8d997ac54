/* One block of memory cut into arrays: the same function counts the bytes (without a base) and,
 * over the block of that size, hands out the places. So a plan and its allocation cannot differ. */
#ifndef BASE_CARVE_H
#define BASE_CARVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/size.h"

struct carver {
    uint8_t *base; /* NULL: count only */
    size_t used;
    bool overflowed;
};

/* The next rows * count * size bytes, aligned to 64; NULL without a base. */
static inline void *carve(struct carver *c, size_t rows, size_t count, size_t size)
{
    size_t at = c->used, bytes = 0;
    if (!size_mul(rows, count, &bytes) || !size_mul(bytes, size, &bytes) ||
        !size_align(bytes, 64, &bytes) || !size_add(at, bytes, &c->used)) {
        c->overflowed = true;
        return NULL;
    }
    return c->base ? c->base + at : NULL;
}

/* Bytes of the whole; 0 when they do not fit a size_t. */
static inline size_t carve_bytes(const struct carver *c)
{
    return c->overflowed ? 0 : c->used;
}

#endif
