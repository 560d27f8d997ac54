/* Memory that is freed all at once: a chain of blocks that grow by doubling. Passed by pointer.
 * Everything a request or a parsed file owns lives in one arena. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/attr.h"
#include "base/str.h"

struct arena_block;

struct arena {
    struct arena_block *head;
    size_t used_total;  /* bytes handed out */
    size_t limit_bytes; /* 0: unlimited; an allocation beyond it gives NULL */
};

/* limit_bytes bounds what a hostile input can make us allocate; 0 is unlimited. */
struct arena arena_init(size_t limit_bytes);

/* Frees every block; the arena can be used again. */
void arena_deinit(struct arena *arena);

/* Zeroed, aligned to 16 bytes. NULL on overflow, over the limit or out of memory. */
void *arena_alloc(struct arena *arena, size_t count, size_t size) ATTR_MUST_CHECK;

/* A terminated copy; NULL like arena_alloc. */
char *arena_copy(struct arena *arena, struct str s) ATTR_MUST_CHECK;

#define ARENA_NEW(arena, type)          ((type *)arena_alloc((arena), 1, sizeof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_alloc((arena), (count), sizeof(type)))

#endif
