#include "text/table.h"

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"

bool text_strings_init(struct text_strings *strings, size_t count, size_t bytes, struct err *err)
{
    if (count >= INT32_MAX || bytes >= UINT32_MAX) {
        return err_set(err, ERR_FORMAT, "the vocabulary has more than 4 GiB of text");
    }
    strings->count = count;
    strings->bytes = mem_alloc(bytes + 1, 1);
    strings->offsets = MEM_ARRAY(uint32_t, count + 1);
    if (!strings->bytes || !strings->offsets) {
        text_strings_deinit(strings);
        return err_set_memory(err, bytes + 4 * (unsigned long long)count);
    }
    return true;
}

void text_strings_deinit(struct text_strings *strings)
{
    mem_free(strings->bytes);
    mem_free(strings->offsets);
    *strings = (struct text_strings){0};
}

bool text_table_init(struct text_table *table, const struct text_strings *strings, size_t count,
                     struct err *err)
{
    size_t slot_count = 16;
    while (slot_count < 2 * count) {
        slot_count *= 2;
    }
    table->strings = strings;
    table->mask = slot_count - 1;
    os_random(&table->seed, sizeof table->seed);
    table->slots = MEM_ARRAY(uint64_t, slot_count);
    return table->slots || err_set_memory(err, 8 * (unsigned long long)slot_count);
}

void text_table_deinit(struct text_table *table)
{
    mem_free(table->slots);
    *table = (struct text_table){0};
}

int64_t text_table_add(struct text_table *table, uint32_t index)
{
    const struct str s = text_strings_get(table->strings, index);
    const int64_t before = text_table_find(table, s.ptr, s.len);
    if (before >= 0) {
        return before;
    }
    const uint64_t hash = text_hash(s.ptr, s.len, table->seed);
    size_t at = hash & table->mask;
    while (table->slots[at] != 0) {
        at = (at + 1) & table->mask;
    }
    table->slots[at] = (hash >> 32 << 32) | (index + 1);
    return -1;
}
