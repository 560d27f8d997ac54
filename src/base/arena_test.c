#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/mem.h"

static void blocks_are_apart_zeroed_and_aligned(void **state)
{
    (void)state;
    struct arena arena = arena_init(0);
    unsigned char *all[500];
    for (size_t i = 0; i < 500; i++) {
        all[i] = arena_alloc(&arena, i, 7);
        assert_non_null(all[i]);
        assert_int_equal((uintptr_t)all[i] % 16, 0);
        for (size_t b = 0; b < i * 7; b++) {
            assert_int_equal(all[i][b], 0);
        }
        memset(all[i], (int)(i & 255), i * 7);
    }
    for (size_t i = 0; i < 500; i++) {
        for (size_t b = 0; b < i * 7; b++) {
            assert_int_equal(all[i][b], i & 255);
        }
    }
    arena_deinit(&arena);
    assert_string_equal(arena_copy(&arena, STR("again")), "again");
    arena_deinit(&arena);
}

static void limits_and_overflow_give_null(void **state)
{
    (void)state;
    struct arena arena = arena_init(100);
    assert_null(arena_alloc(&arena, SIZE_MAX, 2));
    assert_null(arena_alloc(&arena, SIZE_MAX, 1));
    assert_null(arena_alloc(&arena, 101, 1));
    assert_non_null(arena_alloc(&arena, 90, 1));
    assert_null(arena_alloc(&arena, 10, 1)); /* 90 was rounded up to 96 */
    arena_deinit(&arena);
    arena = arena_init(0);
    mem_fail_after(0);
    assert_null(arena_alloc(&arena, 1, 1));
    mem_fail_after(-1);
    assert_non_null(arena_alloc(&arena, 1, 1));
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_apart_zeroed_and_aligned),
        cmocka_unit_test(limits_and_overflow_give_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
