#include "gguf/index.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

uint64_t gguf_siphash(const uint64_t key[2], struct str bytes)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                     key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    size_t at = 0;
    for (bool last = false; !last;) {
        size_t n = bytes.len - at < 8 ? bytes.len - at : 8;
        uint64_t word = 0;
        if (n) {
            memcpy(&word, bytes.ptr + at, n);
        }
        last = n < 8; /* the last word, maybe without bytes, holds the length in its top byte */
        word |= last ? (uint64_t)bytes.len << 56 : 0;
        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
        at += n;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct str name_of(const struct gguf_table *table, size_t item)
{
    struct str name;
    memcpy(&name, table->items + item * table->stride, sizeof name);
    return name;
}

/* The slot of a name: where it stands, or the free slot where it would. */
static uint32_t *slot_of(const struct gguf_table *table, struct str name)
{
    size_t i = (size_t)gguf_siphash(table->key, name) & table->mask;
    while (table->slots[i] && !str_eq(name_of(table, table->slots[i] - 1), name)) {
        i = (i + 1) & table->mask;
    }
    return &table->slots[i];
}

static size_t slot_count(size_t count)
{
    size_t slots = 4;
    while (slots / 2 < count) {
        slots *= 2;
    }
    return slots;
}

uint64_t gguf_table_bytes(size_t count)
{
    return slot_count(count) * sizeof(uint32_t);
}

bool gguf_table_init(struct gguf_table *table, const void *items, size_t count, size_t capacity,
                     size_t stride, size_t *first, size_t *second, struct err *err)
{
    assert(count <= capacity && capacity < UINT32_MAX / 4); /* a budget of 1 GiB ends long before */
    size_t slots = slot_count(capacity);
    *second = SIZE_MAX;
    *table = (struct gguf_table){.items = items, .stride = stride, .mask = slots - 1};
    os_random(table->key, sizeof table->key);
    table->slots = MEM_ARRAY(uint32_t, slots);
    if (!table->slots) {
        return err_set_memory(err, slots * sizeof(uint32_t));
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t *slot = slot_of(table, name_of(table, i));
        if (*slot) {
            *first = *slot - 1;
            *second = i;
            return true;
        }
        *slot = (uint32_t)i + 1;
    }
    return true;
}

void gguf_table_insert(struct gguf_table *table, size_t item)
{
    uint32_t *slot = slot_of(table, name_of(table, item));
    assert(!*slot);
    *slot = (uint32_t)item + 1;
}

void gguf_table_deinit(struct gguf_table *table)
{
    mem_free(table->slots);
    table->slots = NULL;
}

const void *gguf_table_find(const struct gguf_table *table, struct str name)
{
    uint32_t item = table->slots ? *slot_of(table, name) : 0;
    return item ? table->items + (item - 1) * table->stride : NULL;
}
