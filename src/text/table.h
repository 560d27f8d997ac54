/* Many short strings in one block, and a hash table over them: a vocabulary of 128k tokens costs
 * two allocations and loads in a few milliseconds. Both are immutable once built. */
#ifndef TEXT_TABLE_H
#define TEXT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

/* String i is bytes [offsets[i], offsets[i + 1]). */
struct text_strings {
    char *bytes;
    uint32_t *offsets; /* count + 1 */
    size_t count;
};

/* Room for `count` strings of `bytes` bytes together, all empty; text_strings_push fills it. */
bool text_strings_init(struct text_strings *strings, size_t count, size_t bytes, struct err *err);
void text_strings_deinit(struct text_strings *strings);

/* Ends string i after `len` bytes that the caller wrote at the pointer text_strings_next gives. */
static inline char *text_strings_next(struct text_strings *strings, size_t i)
{
    return strings->bytes + strings->offsets[i];
}

static inline void text_strings_end(struct text_strings *strings, size_t i, size_t len)
{
    strings->offsets[i + 1] = strings->offsets[i] + (uint32_t)len;
}

static inline struct str text_strings_get(const struct text_strings *strings, size_t i)
{
    return (struct str){.ptr = strings->bytes + strings->offsets[i],
                        .len = strings->offsets[i + 1] - strings->offsets[i]};
}

/* Open addressing with linear probing at load <= 1/2; a slot holds the upper half of the hash and
 * the index + 1. The seed is random, so that a file cannot be made to collide. */
struct text_table {
    const struct text_strings *strings;
    uint64_t *slots;
    size_t mask;
    uint64_t seed;
};

bool text_table_init(struct text_table *table, const struct text_strings *strings, size_t count,
                     struct err *err);
void text_table_deinit(struct text_table *table);

/* Inserts string `index`; returns the index that was there before under the same bytes, else -1. */
int64_t text_table_add(struct text_table *table, uint32_t index);

/* Multiply-fold over 8-byte words (the idea of wyhash): most tokens take one multiplication. */
static inline uint64_t text_hash_mix(uint64_t a, uint64_t b)
{
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t text_hash(const char *bytes, size_t len, uint64_t seed)
{
    uint64_t word, hash = seed ^ (len * 0x9E3779B97F4A7C15ull);
    for (; len > 8; bytes += 8, len -= 8) {
        memcpy(&word, bytes, 8);
        hash = text_hash_mix(hash ^ word, 0xA0761D6478BD642Full);
    }
    if (len >= 4) { /* the two reads overlap: 4..8 bytes without a loop */
        uint32_t low, high;
        memcpy(&low, bytes, 4);
        memcpy(&high, bytes + len - 4, 4);
        word = (uint64_t)low << 32 | high;
    } else if (len > 0) {
        word = (uint64_t)(unsigned char)bytes[0] << 16 |
               (uint64_t)(unsigned char)bytes[len >> 1] << 8 | (unsigned char)bytes[len - 1];
    } else {
        word = 0;
    }
    return text_hash_mix(hash ^ word, 0xE7037ED1A0B428DBull);
}

/* The index of a string, -1 if absent. */
static inline int64_t text_table_find(const struct text_table *table, const char *bytes, size_t len)
{
    const uint64_t hash = text_hash(bytes, len, table->seed);
    for (size_t at = hash & table->mask;; at = (at + 1) & table->mask) {
        const uint64_t slot = table->slots[at];
        if (slot == 0) {
            return -1;
        }
        if (slot >> 32 != hash >> 32) {
            continue;
        }
        const uint32_t index = (uint32_t)slot - 1;
        const struct str s = text_strings_get(table->strings, index);
        if (s.len == len && memcmp(s.ptr, bytes, len) == 0) {
            return index;
        }
    }
}

#endif
