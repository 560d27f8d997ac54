#include "base/arena.h"

#include "base/mem.h"
#include "base/size.h"

enum { ALIGN = 16, BLOCK_FIRST = 4096, BLOCK_MAX = 1 << 20 };

/* Blocks are linked newest first; only the newest has free room that is still used. */
struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(ALIGN) unsigned char bytes[];
};

struct arena arena_init(size_t limit_bytes)
{
    return (struct arena){.limit_bytes = limit_bytes};
}

void arena_deinit(struct arena *arena)
{
    while (arena->head) {
        struct arena_block *next = arena->head->next;
        mem_free(arena->head);
        arena->head = next;
    }
    arena->used_total = 0;
}

static struct arena_block *block_create(const struct arena *arena, size_t need)
{
    size_t cap = arena->head ? size_min(arena->head->cap * 2, BLOCK_MAX) : BLOCK_FIRST;
    size_t total;
    cap = size_max(cap, need);
    if (!size_add(cap, sizeof(struct arena_block), &total)) {
        return NULL;
    }
    struct arena_block *block = mem_alloc(1, total);
    if (block) {
        block->cap = cap;
    }
    return block;
}

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    size_t bytes, total;
    if (!size_mul(count, size, &bytes) || !size_align(bytes ? bytes : 1, ALIGN, &bytes) ||
        !size_add(arena->used_total, bytes, &total) ||
        (arena->limit_bytes && total > arena->limit_bytes)) {
        return NULL;
    }
    if (!arena->head || arena->head->cap - arena->head->used < bytes) {
        struct arena_block *block = block_create(arena, bytes);
        if (!block) {
            return NULL;
        }
        block->next = arena->head;
        arena->head = block;
    }
    void *out = arena->head->bytes + arena->head->used;
    arena->head->used += bytes;
    arena->used_total = total;
    return out;
}

char *arena_copy(struct arena *arena, struct str s)
{
    size_t cap;
    char *copy = size_add(s.len, 1, &cap) ? arena_alloc(arena, cap, 1) : NULL;
    if (copy && s.len) {
        memcpy(copy, s.ptr, s.len);
    }
    return copy;
}
