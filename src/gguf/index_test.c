#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "gguf/index.h"

struct item {
    struct str name;
    char text[16];
};

/* The vectors of the reference implementation (vectors_sip64 of siphash.c, key 00..0f, input
 * 00..len-1), read as little-endian numbers. The one of length 15 is also in the paper. */
static void siphash_matches_the_reference(void **state)
{
    (void)state;
    const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    const struct {
        size_t len;
        uint64_t hash;
    } vectors[] = {
        {0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
        {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5},
    };
    char bytes[16];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)i;
    }
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct str input = {.ptr = bytes, .len = vectors[i].len};
        assert_true(gguf_siphash(key, input) == vectors[i].hash);
    }
}

static void every_item_is_found(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static struct item items[COUNT + 1];
    struct gguf_table table;
    struct err err;
    size_t first, second;
    for (size_t i = 0; i <= COUNT; i++) {
        snprintf(items[i].text, sizeof items[i].text, "item%zu", i);
        items[i].name = str_of(items[i].text);
    }
    const size_t counts[] = {0, 1, 2, 3, COUNT};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        assert_true(gguf_table_init(&table, items, counts[c], counts[c] + 1, sizeof items[0],
                                    &first, &second, &err));
        assert_true(second == SIZE_MAX);
        gguf_table_insert(&table, counts[c]);
        for (size_t i = 0; i <= COUNT; i++) {
            assert_ptr_equal(gguf_table_find(&table, items[i].name),
                             i <= counts[c] ? &items[i] : NULL);
        }
        assert_null(gguf_table_find(&table, STR("")));
        gguf_table_deinit(&table);
    }
    assert_null(gguf_table_find(&(struct gguf_table){0}, STR("item0")));
}

static void two_items_of_one_name_are_reported(void **state)
{
    (void)state;
    struct item items[4] = {
        {.name = STR("a")}, {.name = STR("b")}, {.name = STR("c")}, {.name = STR("b")}};
    struct gguf_table table;
    struct err err;
    size_t first, second;
    assert_true(gguf_table_init(&table, items, 4, 4, sizeof items[0], &first, &second, &err));
    assert_int_equal(first, 1);
    assert_int_equal(second, 3);
    gguf_table_deinit(&table);
    mem_fail_after(0);
    assert_false(gguf_table_init(&table, items, 4, 4, sizeof items[0], &first, &second, &err));
    mem_fail_after(-1);
    assert_int_equal(err.code, ERR_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_matches_the_reference),
        cmocka_unit_test(every_item_is_found),
        cmocka_unit_test(two_items_of_one_name_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
