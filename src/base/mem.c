#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

static _Thread_local long successes_left = -1; /* negative: no injection */
static _Thread_local unsigned guard_depth;

static bool may_allocate(void)
{
    assert(guard_depth == 0 && "allocation inside the decode loop");
    if (successes_left < 0) {
        return true;
    }
    if (successes_left == 0) {
        return false;
    }
    successes_left--;
    return true;
}

void *mem_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (!size_mul(count, size, &bytes) || !may_allocate()) {
        return NULL;
    }
    return calloc(bytes ? bytes : 1, 1);
}

void *mem_resize(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (!size_mul(count, size, &bytes) || !may_allocate()) {
        return NULL;
    }
    return realloc(block, bytes ? bytes : 1);
}

void mem_free(void *block)
{
    free(block);
}

char *mem_copy(const char *bytes, size_t len)
{
    size_t cap;
    char *copy = size_add(len, 1, &cap) ? mem_alloc(cap, 1) : NULL;
    if (copy && len) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

void mem_fail_after(long successes)
{
    successes_left = successes;
}

void mem_guard_begin(void)
{
    guard_depth++;
}

void mem_guard_end(void)
{
    assert(guard_depth > 0);
    guard_depth--;
}
