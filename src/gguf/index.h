/* Finds an item of an array by its name in O(1): open addressing over 32-bit item numbers, at most
 * half full, hashed with SipHash-2-4 under a random key. The names come from a hostile file; with a
 * fixed hash 10^6 chosen names would make each look-up walk 10^6 slots. */
#ifndef GGUF_INDEX_H
#define GGUF_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* SipHash-2-4 (Aumasson and Bernstein 2012). */
uint64_t gguf_siphash(const uint64_t key[2], struct str bytes);

struct gguf_table {
    uint32_t *slots; /* item number + 1; 0: free; owned */
    size_t mask;
    uint64_t key[2];
    const char *items; /* borrowed; each item starts with its name, a struct str */
    size_t stride;     /* bytes from item to item */
};

/* Heap bytes a table of `count` items takes. */
uint64_t gguf_table_bytes(size_t count);

/* Builds the table of `count` items with room for `capacity` >= count. When two items have one
 * name, *second is the number of the later one and the earlier stands in *first; otherwise *second
 * is SIZE_MAX. */
bool gguf_table_init(struct gguf_table *table, const void *items, size_t count, size_t capacity,
                     size_t stride, size_t *first, size_t *second, struct err *err);
void gguf_table_deinit(struct gguf_table *table);

/* Enters item number `item`, whose name is new, within the capacity. */
void gguf_table_insert(struct gguf_table *table, size_t item);

/* The item of that name, or NULL. */
const void *gguf_table_find(const struct gguf_table *table, struct str name);

/* What struct gguf holds. */
struct gguf_index {
    struct gguf_table entries, tensors;
};

#endif
