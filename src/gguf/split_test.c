/* Models of several files: those another program wrote, and attack A14 (counts, missing, foreign
 * and doubled parts, wrong totals). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "gguf/split.h"
#include "gguf/test_image.h"

static const char *data_path(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, TEST_DATA "/gguf/%s", name);
    return path;
}

static void any_part_opens_all(void **state)
{
    (void)state;
    for (int part = 1; part <= 3; part++) {
        char name[64];
        struct err err = {0};
        struct os_map map;
        uint64_t rows = 0;
        snprintf(name, sizeof name, "split-%05d-of-00003.gguf", part);
        struct gguf *gguf = gguf_open(data_path(name), &err);
        assert_non_null(gguf);
        assert_string_equal(gguf->path, data_path("split-00001-of-00003.gguf"));
        assert_int_equal(gguf->shard_count, 3);
        assert_int_equal(gguf->tensor_count, 5);
        assert_true(str_eq(gguf_find(gguf, STR("general.name"))->value.text, STR("three parts")));
        for (size_t i = 0; i < gguf->tensor_count; i++) {
            snprintf(name, sizeof name, "blk.%zu.weight", i);
            const struct gguf_tensor *tensor = gguf_find_tensor(gguf, str_of(name));
            assert_ptr_equal(tensor, &gguf->tensors[i]);
            assert_int_equal(tensor->shard, i / 2);
            assert_true(gguf_rows_open(gguf, tensor, 0, tensor->row_count, &map, &err));
            for (size_t j = 0; j < map.len; j++) {
                assert_true(map.ptr[j] < 64); /* what the script filled in */
            }
            os_map_close(&map);
            rows += tensor->row_count;
        }
        assert_int_equal(rows, 2 + 3 + 4 + 5 + 6);
        assert_int_equal(gguf->tensor_bytes, rows * 1024);
        gguf_close(gguf);
    }
}

static void names_of_parts(void **state)
{
    (void)state;
    struct gguf_split_name name;
    assert_true(gguf_split_parse(STR("/a/m-00002-of-00003.gguf"), &name));
    assert_true(str_eq(name.prefix, STR("/a/m")));
    assert_int_equal(name.number, 2);
    assert_int_equal(name.count, 3);
    const char *const others[] = {
        "",
        "m.gguf",
        "-00001-of-00001.gguf",
        "m-00000-of-00003.gguf",
        "m-00004-of-00003.gguf",
        "m-00001-of-00003.ggu",
        "m-0001-of-0003.gguf",
        "m_00001-of-00003.gguf",
        "m-0000x-of-00003.gguf",
        "m-00001-of-+0003.gguf",
        "m-00001-to-00003.gguf",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(gguf_split_parse(str_of(others[i]), &name));
    }
}

/* ---- built by hand ---- */

struct part {
    const char *file;   /* name in the test folder */
    uint32_t no, count; /* keys */
    int total;          /* split.tensors.count; -1: no such key */
    const char *tensor; /* one of 8 floats; NULL: none */
    const char *model;  /* general.name; NULL: no such key */
};

static void save_part(const struct part *part)
{
    struct buf b = {0};
    image_head(&b, 3, part->tensor != NULL, 2 + (part->total >= 0) + (part->model != NULL));
    image_key(&b, "split.no", GGUF_U16);
    image_bytes(&b, &part->no, 2);
    image_key(&b, "split.count", GGUF_U16);
    image_bytes(&b, &part->count, 2);
    if (part->total >= 0) {
        image_key(&b, "split.tensors.count", GGUF_I32);
        image_u32(&b, (uint32_t)part->total);
    }
    if (part->model) {
        image_key_str(&b, "general.name", part->model);
    }
    if (part->tensor) {
        image_tensor(&b, part->tensor, DTYPE_F32, 1, IMAGE_DIMS(8), 0);
        image_pad(&b, 32);
        image_zeros(&b, 32);
    }
    image_save(&b, image_path(part->file), 0);
    buf_deinit(&b);
}

/* Opens the first of the parts; NULL wanted: it must open. */
static void open_parts(const struct part *parts, size_t count, const char *wanted)
{
    struct err err = {0};
    for (size_t i = 0; i < count; i++) {
        save_part(&parts[i]);
    }
    struct gguf *gguf = gguf_open(image_path(parts[0].file), &err);
    if (wanted && !gguf && !strstr(err.text, wanted)) {
        print_error("wanted \"%s\"\n   got \"%s\"\n", wanted, err.text);
        fail();
    }
    assert_true((gguf == NULL) == (wanted != NULL));
    if (wanted) {
        assert_true(err.code == ERR_FORMAT || err.code == ERR_IO);
        assert_non_null(strstr(err.text, ".gguf"));
    }
    gguf_close(gguf);
    for (size_t i = 0; i < count; i++) {
        unlink(image_path(parts[i].file));
    }
}

#define OPEN(wanted, ...)                                                                          \
    open_parts((const struct part[]){__VA_ARGS__},                                                 \
               sizeof((const struct part[]){__VA_ARGS__}) / sizeof(struct part), wanted)

#define PART1 "m-00001-of-00002.gguf"
#define PART2 "m-00002-of-00002.gguf"

static void good_sets_open(void **state)
{
    (void)state;
    OPEN(NULL, {PART1, 0, 2, 2, "a", "m"}, {PART2, 1, 2, 2, "b", NULL});
    OPEN(NULL, {PART2, 1, 2, 2, "b", NULL}, {PART1, 0, 2, 2, "a", "m"});
    OPEN(NULL, {PART1, 0, 2, -1, "a", "m"}, {PART2, 1, 2, -1, "b", "m"}); /* no total */
    OPEN(NULL, {PART1, 0, 2, 1, NULL, "m"},
         {PART2, 1, 2, 1, "b", NULL});         /* first without tensors */
    OPEN(NULL, {"m.gguf", 0, 1, 1, "a", "m"}); /* one of one */
    OPEN(NULL, {"m-00001-of-00001.gguf", 0, 1, 1, "a", "m"});
    OPEN(NULL, {"m.gguf", 0, 0, 1, "a", "m"}); /* what gguf-split --merge leaves */
}

static void impossible_counts(void **state)
{
    (void)state;
    OPEN("its key split.count is 0", {PART1, 0, 0, 2, "a", "m"}, {PART2, 1, 2, 2, "b", NULL});
    OPEN("key split.tensors.count is 2, but the file has 1", {"m.gguf", 0, 0, 2, "a", "m"});
    OPEN("split.count is 0 and split.no 0: no such part", {"m.gguf", 0, 0, -1, "a", "m"});
    OPEN("split.count is 0 and split.no 1: no such part", {"m.gguf", 1, 0, 1, "a", "m"});
    OPEN("split.count is 1 and split.no 1: no such part", {"m.gguf", 1, 1, 1, "a", "m"});
    OPEN("split.count is 65535, the limit is", {"m-00001-of-65535.gguf", 0, 65535, 2, "a", "m"});
    OPEN("its name must end in -00001-of-00002.gguf", {"m.gguf", 0, 2, 2, "a", "m"});
    OPEN("its name must end in -00001-of-00003.gguf", {PART1, 0, 3, 2, "a", "m"});
    OPEN("its name must end in -00002-of-00002.gguf", {PART1, 1, 2, 2, "a", "m"});
    OPEN("its name must end in -00006-of-00002.gguf", {PART1, 5, 2, 2, "a", "m"});
}

static void parts_missing_or_foreign(void **state)
{
    (void)state;
    OPEN("part 2 of 2: open ", {PART1, 0, 2, 2, "a", "m"});
    OPEN("part 1 of 2: open ", {PART2, 1, 2, 2, "b", NULL});
    OPEN("is named part 2 of 2, but its key split.no is 0", {PART1, 0, 2, 2, "a", "m"},
         {PART2, 0, 2, 2, "b", NULL});
    OPEN("split.count is 3, in another part it is 2", {PART1, 0, 2, 2, "a", "m"},
         {PART2, 1, 3, 2, "b", NULL});
    OPEN("split.tensors.count is 9, in another part it is 2", {PART1, 0, 2, 2, "a", "m"},
         {PART2, 1, 2, 9, "b", NULL});
    OPEN("split.tensors.count is 3, but the 2 parts have 2", {PART1, 0, 2, 3, "a", "m"},
         {PART2, 1, 2, 3, "b", NULL});
    OPEN("split.tensors.count is 0, but the 2 parts have 2", {PART1, 0, 2, 0, "a", "m"},
         {PART2, 1, 2, 0, "b", NULL});
    OPEN("tensor \"a\" stands in part 1 and in part 2", {PART1, 0, 2, 2, "a", "m"},
         {PART2, 1, 2, 2, "a", NULL});
    OPEN("is \"other\", in the first part \"m\": a part of another model",
         {PART1, 0, 2, 2, "a", "m"}, {PART2, 1, 2, 2, "b", "other"});
}

static void parts_that_are_no_parts(void **state)
{
    (void)state;
    struct buf b = {0};
    struct err err = {0};
    image_head(&b, 3, 0, 1); /* split.count of a wrong kind */
    image_key_str(&b, "split.count", "2");
    image_save(&b, image_path(PART1), 0);
    assert_null(gguf_open(image_path(PART1), &err));
    assert_non_null(strstr(err.text, "key \"split.count\" at byte 24: is not an integer"));
    buf_clear(&b);
    image_head(&b, 3, 0, 1);
    image_key(&b, "split.count", GGUF_I32);
    image_u32(&b, (uint32_t)-1);
    image_save(&b, image_path(PART1), 0);
    assert_null(gguf_open(image_path(PART1), &err));
    assert_non_null(strstr(err.text, "is not an integer from 0 to 65535"));
    buf_clear(&b);
    image_head(&b, 3, 0, 0); /* a part by its name only */
    image_save(&b, image_path(PART1), 0);
    assert_null(gguf_open(image_path(PART1), &err));
    assert_non_null(strstr(err.text, "is named part 1 of 2, but has no key split.count"));
    save_part(&(struct part){PART2, 1, 2, 2, "b", NULL});
    assert_null(gguf_open(image_path(PART2), &err));
    assert_non_null(strstr(err.text, "has no key split.count"));
    unlink(image_path(PART1));
    unlink(image_path(PART2));
    buf_deinit(&b);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    bool opened = false;
    for (long n = 0; !opened; n++) {
        struct err err = {0};
        mem_fail_after(n);
        struct gguf *gguf = gguf_open(data_path("split-00002-of-00003.gguf"), &err);
        mem_fail_after(-1);
        opened = gguf != NULL;
        assert_true(opened || err.code == ERR_MEMORY);
        gguf_close(gguf);
        assert_true(n < 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_part_opens_all),
        cmocka_unit_test(names_of_parts),
        cmocka_unit_test(good_sets_open),
        cmocka_unit_test(impossible_counts),
        cmocka_unit_test(parts_missing_or_foreign),
        cmocka_unit_test(parts_that_are_no_parts),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
