/* The allocation seam. All heap memory of hearth comes from here, so that a test can make the n-th
 * allocation fail and debug builds can forbid allocation in the decode loop. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

/* Zeroed memory for count * size bytes, or NULL when it cannot be had or the product overflows.
 * A count or size of 0 gives a valid pointer. */
void *mem_alloc(size_t count, size_t size) ATTR_MUST_CHECK;

/* Resizes to count * size bytes; new bytes are not zeroed. NULL on failure, old block kept. */
void *mem_resize(void *block, size_t count, size_t size) ATTR_MUST_CHECK;

/* NULL is fine. */
void mem_free(void *block);

/* A copy of len bytes with a terminating NUL. NULL on failure. */
char *mem_copy(const char *bytes, size_t len) ATTR_MUST_CHECK;

#define MEM_NEW(type)          ((type *)mem_alloc(1, sizeof(type)))
#define MEM_ARRAY(type, count) ((type *)mem_alloc((count), sizeof(type)))

/* Fault injection, for tests: after `successes` more allocations by this thread every further one
 * fails; a negative number switches it off. */
void mem_fail_after(long successes);

/* While a guard is held by this thread, an allocation aborts the process in debug builds (NDEBUG
 * unset) and is allowed otherwise. Guards nest. */
void mem_guard_begin(void);
void mem_guard_end(void);

#endif
