#include "gguf/dtype.h"

#include <assert.h>

#define DTYPE_ROW(name, id, text, block_len, block_bytes) {name, text, block_len, block_bytes},
static const struct dtype_info table[] = {DTYPE_TABLE(DTYPE_ROW)};
#undef DTYPE_ROW

enum { TABLE_COUNT = sizeof table / sizeof table[0], ID_MAX = 63 };

/* id -> row + 1; 0: no such type. Filled by the compiler, so that a wrong id in a file costs one
 * comparison and one load. */
enum {
#define DTYPE_POSITION(name, ...) name##_POSITION,
    DTYPE_TABLE(DTYPE_POSITION)
#undef DTYPE_POSITION
};
#define DTYPE_SLOT(name, id, ...) [id] = name##_POSITION + 1,
static const uint8_t row_of_id[ID_MAX + 1] = {DTYPE_TABLE(DTYPE_SLOT)};
#undef DTYPE_SLOT

const struct dtype_info *dtype_find(uint32_t id)
{
    return id <= ID_MAX && row_of_id[id] ? &table[row_of_id[id] - 1] : NULL;
}

const char *dtype_removed_name(uint32_t id)
{
    static const struct {
        uint32_t id;
        const char *name;
    } removed[] = {
        {4, "Q4_2"},      {5, "Q4_3"},        {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},
        {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"},
    };
    for (size_t i = 0; i < sizeof removed / sizeof removed[0]; i++) {
        if (removed[i].id == id) {
            return removed[i].name;
        }
    }
    return NULL;
}

const struct dtype_info *dtype_find_name(struct str name)
{
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (str_eq_nocase(name, str_of(table[i].name))) {
            return &table[i];
        }
    }
    return NULL;
}

const struct dtype_info *dtype_info(enum dtype type)
{
    const struct dtype_info *info = dtype_find((uint32_t)type);
    assert(info);
    return info;
}

size_t dtype_row_bytes(enum dtype type, size_t n)
{
    const struct dtype_info *info = dtype_info(type);
    assert(n % info->block_len == 0);
    return n / info->block_len * info->block_bytes;
}
