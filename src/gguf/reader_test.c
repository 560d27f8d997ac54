/* Files as they should be: every kind of value, golden descriptions by another library, typed
 * access, tensor rows. Attacks are in hostile_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "base/json.h"
#include "base/mem.h"
#include "gguf/summary.h"
#include "gguf/test_image.h"

/* ---- against gguf-py ---- */

static const char *const kind_names[GGUF_KIND_COUNT] = {
    [GGUF_U8] = "UINT8",      [GGUF_I8] = "INT8",     [GGUF_U16] = "UINT16",  [GGUF_I16] = "INT16",
    [GGUF_U32] = "UINT32",    [GGUF_I32] = "INT32",   [GGUF_F32] = "FLOAT32", [GGUF_BOOL] = "BOOL",
    [GGUF_STRING] = "STRING", [GGUF_ARRAY] = "ARRAY", [GGUF_U64] = "UINT64",  [GGUF_I64] = "INT64",
    [GGUF_F64] = "FLOAT64",
};

static json_t *load_golden(const char *name)
{
    char path[512];
    struct err err = {0};
    size_t len;
    snprintf(path, sizeof path, TEST_DATA "/gguf/%s", name);
    char *text = os_file_slurp(path, 1 << 20, &len, &err);
    assert_non_null(text);
    json_t *root = json_parse((struct str){.ptr = text, .len = len}, NULL, &err);
    assert_non_null(root);
    mem_free(text);
    return root;
}

static void same_text(struct str text, const json_t *golden)
{
    assert_true(str_eq(text, json_str(golden)));
}

static void same_unsigned(uint64_t value, const json_t *golden)
{
    uint64_t wanted; /* above 2^63 the golden file has text */
    if (json_is_string(golden)) {
        assert_true(str_to_u64(json_str(golden), &wanted));
    } else {
        wanted = (uint64_t)json_integer_value(golden);
    }
    assert_true(value == wanted);
}

static void same_item(const struct gguf_value *array, uint64_t i, const json_t *golden)
{
    switch (array->item_kind) {
    case GGUF_STRING:
        same_text(array->texts[i], golden);
        break;
    case GGUF_BOOL:
        assert_int_equal(gguf_item_i64(array, i), json_is_true(golden));
        break;
    case GGUF_F32:
        assert_true((float)gguf_item_f64(array, i) == (float)json_number_value(golden));
        break;
    case GGUF_F64:
        assert_true(gguf_item_f64(array, i) == json_number_value(golden));
        break;
    case GGUF_U64:
        same_unsigned((uint64_t)gguf_item_i64(array, i), golden);
        break;
    default:
        assert_true(gguf_item_i64(array, i) == json_integer_value(golden));
        break;
    }
}

static void same_value(const struct gguf_value *value, const json_t *golden)
{
    switch (value->kind) {
    case GGUF_STRING:
        same_text(value->text, golden);
        break;
    case GGUF_BOOL:
        assert_int_equal(value->u64, json_is_true(golden));
        break;
    case GGUF_F32:
        assert_true((float)value->f64 == (float)json_number_value(golden));
        break;
    case GGUF_F64:
        assert_true(value->f64 == json_number_value(golden));
        break;
    case GGUF_ARRAY:
        assert_int_equal(value->count, json_array_size(golden));
        for (uint64_t i = 0; i < value->count; i++) {
            same_item(value, i, json_array_get(golden, (size_t)i));
        }
        break;
    case GGUF_U64:
        same_unsigned(value->u64, golden);
        break;
    default: /* widened: a signed and an unsigned number that fit i64 have the same bits */
        assert_true(value->i64 == json_integer_value(golden));
        break;
    }
}

static void same_tensor(const struct gguf_tensor *tensor, const json_t *golden)
{
    const json_t *shape = json_object_get(golden, "shape");
    same_text(tensor->name, json_object_get(golden, "name"));
    same_text(str_of(dtype_info(tensor->type)->name), json_object_get(golden, "type"));
    assert_int_equal(tensor->dim_count, json_array_size(shape));
    for (uint32_t i = 0; i < tensor->dim_count; i++) {
        assert_true(tensor->dims[i] == (uint64_t)json_integer_value(json_array_get(shape, i)));
    }
    assert_true(tensor->offset == (uint64_t)json_integer_value(json_object_get(golden, "offset")));
    assert_true(tensor->bytes == (uint64_t)json_integer_value(json_object_get(golden, "bytes")));
}

static void same_file(const char *file, const char *golden_name)
{
    char path[512];
    struct err err = {0};
    json_t *golden = load_golden(golden_name), *metadata = json_object_get(golden, "metadata");
    json_t *tensors = json_object_get(golden, "tensors"), *kinds = json_object_get(golden, "kinds");
    snprintf(path, sizeof path, TEST_DATA "/%s", file);
    struct gguf *gguf = gguf_open(path, &err);
    assert_non_null(gguf);
    assert_int_equal(gguf->version, json_integer_value(json_object_get(golden, "version")));
    assert_int_equal(gguf->alignment, json_integer_value(json_object_get(golden, "alignment")));
    assert_int_equal(gguf->entry_count, json_object_size(metadata));
    for (size_t i = 0; i < gguf->entry_count; i++) {
        char key[128];
        const struct gguf_entry *entry = &gguf->entries[i];
        const struct gguf_value *value = &entry->value;
        snprintf(key, sizeof key, "%.*s", STR_ARG(entry->key));
        const json_t *kind = json_object_get(kinds, key);
        assert_string_equal(kind_names[value->kind], json_string_value(json_array_get(kind, 0)));
        if (value->kind == GGUF_ARRAY) {
            assert_string_equal(kind_names[value->item_kind],
                                json_string_value(json_array_get(kind, 1)));
        }
        same_value(value, json_object_get(metadata, key));
        assert_ptr_equal(gguf_find(gguf, entry->key), entry);
    }
    assert_int_equal(gguf->tensor_count, json_array_size(tensors));
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        same_tensor(&gguf->tensors[i], json_array_get(tensors, i));
        assert_ptr_equal(gguf_find_tensor(gguf, gguf->tensors[i].name), &gguf->tensors[i]);
    }
    gguf_close(gguf);
    json_decref(golden);
}

static void files_read_as_gguf_py_reads_them(void **state)
{
    (void)state;
    same_file("gguf/kinds.gguf", "kinds.json");
    same_file("models/stories260K.gguf", "stories260K.json");
}

/* ---- built by hand ---- */

static struct gguf *open_image(const struct buf *b, struct err *err)
{
    const char *path = image_path("model.gguf");
    assert_false(b->failed);
    image_save(b, path, 0);
    struct gguf *gguf = gguf_open(path, err);
    unlink(path);
    return gguf;
}

static void the_smallest_files_open(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct buf b = {0};
        struct err err = {0};
        struct gguf_summary summary;
        image_head(&b, version, 0, 0);
        struct gguf *gguf = open_image(&b, &err);
        assert_non_null(gguf);
        assert_int_equal(gguf->version, version);
        assert_int_equal(gguf->alignment, 32);
        assert_int_equal(gguf->entry_count + gguf->tensor_count, 0);
        assert_int_equal(gguf->file_bytes, 24);
        assert_null(gguf_find(gguf, STR("general.name")));
        assert_null(gguf_find_tensor(gguf, STR("")));
        gguf_summarize(gguf, &summary);
        assert_int_equal(summary.type_count, 0);
        gguf_close(gguf);
        buf_deinit(&b);
    }
    gguf_close(NULL);
}

static void odd_but_valid_values_are_accepted(void **state)
{
    (void)state;
    struct buf b = {0};
    struct err err = {0};
    image_head(&b, 3, 0, 8);
    image_key(&b, "a", GGUF_ARRAY); /* an empty array of each length-checked shape */
    image_u32(&b, GGUF_STRING);
    image_u64(&b, 0);
    image_key(&b, "b", GGUF_ARRAY);
    image_u32(&b, GGUF_F64);
    image_u64(&b, 0);
    image_key(&b, "c", GGUF_BOOL); /* any byte but 0 is true */
    image_u8(&b, 7);
    image_key(&b, "d", GGUF_STRING); /* tokens are bytes, not text */
    image_u64(&b, 3);
    image_bytes(&b, "\0\xff\n", 3);
    image_key(&b, "e", GGUF_ARRAY);
    image_u32(&b, GGUF_BOOL);
    image_u64(&b, 2);
    image_bytes(&b, "\x00\x80", 2);
    image_key(&b, "f", GGUF_F32);
    image_bytes(&b, &(float){NAN}, 4);
    image_key(&b, "general.alignment", GGUF_U64); /* the format says u32 */
    image_u64(&b, 1);
    image_key_str(&b, "g", "");
    struct gguf *gguf = open_image(&b, &err);
    assert_non_null(gguf);
    assert_int_equal(gguf->alignment, 1);
    assert_int_equal(gguf_find(gguf, STR("a"))->value.count, 0);
    assert_int_equal(gguf_find(gguf, STR("b"))->value.count, 0);
    assert_int_equal(gguf_find(gguf, STR("c"))->value.u64, 1);
    assert_true(str_eq(gguf_find(gguf, STR("d"))->value.text, STR("\0\xff\n")));
    assert_int_equal(gguf_item_i64(&gguf_find(gguf, STR("e"))->value, 0), 0);
    assert_int_equal(gguf_item_i64(&gguf_find(gguf, STR("e"))->value, 1), 1);
    assert_int_equal(gguf_find(gguf, STR("g"))->value.text.len, 0);
    gguf_close(gguf);
    buf_deinit(&b);
}

static void tensors_may_stand_in_any_order_with_gaps(void **state)
{
    (void)state;
    struct buf b = {0};
    struct err err = {0};
    struct os_map map;
    image_head(&b, 3, 3, 1);
    image_key_u32(&b, "general.alignment", 64);
    image_tensor(&b, "last", DTYPE_F32, 1, IMAGE_DIMS(2), 192);
    image_tensor(&b, "first", DTYPE_Q8_0, 4, IMAGE_DIMS(32, 1, 2, 1), 0);
    image_tensor(&b, "middle", DTYPE_I8, 3, IMAGE_DIMS(1, 1, 1), 128);
    image_pad(&b, 64);
    size_t data = b.len;
    image_zeros(&b, 192);
    image_bytes(&b, (float[]){1.5F, -2.5F}, 8);
    image_zeros(&b, 1000); /* bytes behind the last tensor */
    image_save(&b, image_path("order.gguf"), 0);
    struct gguf *gguf = gguf_open(image_path("order.gguf"), &err);
    assert_non_null(gguf);
    const struct gguf_tensor *first = gguf_find_tensor(gguf, STR("first"));
    assert_int_equal(first->dim_count, 4);
    assert_int_equal(first->row_bytes, 34);
    assert_int_equal(first->row_count, 2);
    assert_int_equal(first->bytes, 68);
    assert_int_equal(first->offset, data);
    const struct gguf_tensor *last = gguf_find_tensor(gguf, STR("last"));
    assert_int_equal(last->dims[1] * last->dims[2] * last->dims[3], 1);
    assert_int_equal(last->offset, data + 192);
    assert_true(gguf_rows_open(gguf, last, 0, 1, &map, &err));
    assert_int_equal(map.len, 8);
    assert_memory_equal(map.ptr, ((float[]){1.5F, -2.5F}), 8);
    os_map_close(&map);
    assert_true(gguf_rows_open(gguf, first, 1, 1, &map, &err));
    assert_int_equal(map.len, 34);
    os_map_close(&map);
    struct gguf_summary summary;
    gguf_summarize(gguf, &summary);
    assert_int_equal(summary.type_count, 3);
    assert_int_equal(summary.types[0].type, DTYPE_Q8_0);
    assert_int_equal(summary.elements, 64 + 2 + 1);
    assert_int_equal(gguf->tensor_bytes, 68 + 8 + 1);
    gguf_close(gguf);
    unlink(image_path("order.gguf"));
    buf_deinit(&b);
}

/* ---- typed access ---- */

static struct gguf *typed_values(void)
{
    struct buf b = {0};
    struct err err = {0};
    image_head(&b, 3, 0, 8);
    image_key_u32(&b, "u32", 7);
    image_key(&b, "i32", GGUF_I32);
    image_u32(&b, UINT32_MAX); /* -1 */
    image_key(&b, "i8", GGUF_I8);
    image_u8(&b, 5);
    image_key(&b, "u64", GGUF_U64);
    image_u64(&b, 1ull << 32);
    image_key(&b, "f32", GGUF_F32);
    image_bytes(&b, &(float){0.25F}, 4);
    image_key(&b, "f64", GGUF_F64);
    image_bytes(&b, &(double){1e300}, 8);
    image_key_str(&b, "str", "seven");
    image_key(&b, "bool", GGUF_BOOL);
    image_u8(&b, 1);
    struct gguf *gguf = open_image(&b, &err);
    assert_non_null(gguf);
    buf_deinit(&b);
    return gguf;
}

static void typed_values_are_converted_in_range(void **state)
{
    (void)state;
    struct gguf *gguf = typed_values();
    uint32_t u32 = 99;
    uint64_t u64 = 99;
    float f32 = 99;
    bool flag = false, found;
    struct str text = STR("untouched");
    assert_true(gguf_get_u32(gguf, STR("u32"), &u32, &found, NULL) && found && u32 == 7);
    assert_true(gguf_get_u32(gguf, STR("i8"), &u32, NULL, NULL) && u32 == 5);
    assert_true(gguf_get_u64(gguf, STR("u64"), &u64, &found, NULL) && u64 == 1ull << 32);
    assert_true(gguf_get_f32(gguf, STR("f32"), &f32, &found, NULL) && f32 == 0.25F);
    assert_true(gguf_get_bool(gguf, STR("bool"), &flag, &found, NULL) && flag);
    assert_true(gguf_get_str(gguf, STR("str"), &text, &found, NULL));
    assert_true(str_eq(text, STR("seven")));
    text = STR("untouched");
    assert_true(gguf_get_str(gguf, STR("none"), &text, &found, NULL) && !found);
    assert_true(str_eq(text, STR("untouched")));
    u32 = 99;
    assert_true(gguf_get_u32(gguf, STR("none"), &u32, &found, NULL) && !found && u32 == 99);
    assert_true(gguf_get_u64(gguf, STR("none"), &u64, &found, NULL) && !found);
    assert_true(gguf_get_f32(gguf, STR("none"), &f32, &found, NULL) && !found);
    assert_true(gguf_get_bool(gguf, STR("none"), &flag, &found, NULL) && !found);
    gguf_close(gguf);
}

static void wrong_types_are_named(void **state)
{
    (void)state;
    struct gguf *gguf = typed_values();
    uint32_t u32 = 99;
    uint64_t u64;
    float f32;
    bool flag;
    struct str text;
    struct err err = {0};
    assert_false(gguf_get_u32(gguf, STR("i32"), &u32, NULL, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_non_null(strstr(err.text, "model.gguf: key \"i32\" at byte 43: is -1, must be 0 to"));
    assert_int_equal(u32, 99);
    assert_false(gguf_get_u32(gguf, STR("u64"), &u32, NULL, &err));
    assert_non_null(strstr(err.text, "is 4294967296, must be"));
    assert_false(gguf_get_u32(gguf, STR("f32"), &u32, NULL, &err));
    assert_non_null(strstr(err.text, "is a 32-bit float, must be an integer"));
    assert_false(gguf_get_u64(gguf, STR("str"), &u64, NULL, &err));
    assert_false(gguf_get_u64(gguf, STR("bool"), &u64, NULL, &err));
    assert_false(gguf_get_f32(gguf, STR("f64"), &f32, NULL, &err)); /* infinite as a float */
    assert_non_null(strstr(err.text, "must be finite"));
    assert_false(gguf_get_f32(gguf, STR("u32"), &f32, NULL, &err));
    assert_false(gguf_get_bool(gguf, STR("u32"), &flag, NULL, &err));
    assert_false(gguf_get_str(gguf, STR("u32"), &text, NULL, &err));
    assert_non_null(strstr(err.text, "must be a string"));
    gguf_close(gguf);
}

/* ---- files that change ---- */

static struct buf one_tensor(uint64_t rows)
{
    struct buf b = {0};
    image_head(&b, 3, 1, 0);
    image_tensor(&b, "w", DTYPE_F32, 2, IMAGE_DIMS(1024, rows), 0);
    image_pad(&b, 32);
    for (uint64_t i = 0; i < rows * 1024; i++) {
        image_bytes(&b, &(float){1.0F}, 4);
    }
    return b;
}

/* A13: the lost pages read as zero, the map says so, and nobody dies. */
static void a_file_truncated_while_mapped_is_noticed(void **state)
{
    (void)state;
    const char *path = image_path("cut.gguf");
    struct buf b = one_tensor(64);
    struct err err = {0};
    struct os_map map;
    image_save(&b, path, 0);
    struct gguf *gguf = gguf_open(path, &err);
    assert_non_null(gguf);
    assert_false(gguf_has_changed(gguf));
    assert_true(gguf_rows_open(gguf, &gguf->tensors[0], 1, 63, &map, &err));
    assert_int_equal(truncate(path, 8192), 0);
    const volatile float *rows = (const volatile float *)map.ptr;
    assert_true(rows[62 * 1024] == 0.0F);
    assert_true(os_map_is_lost(&map));
    assert_true(gguf_has_changed(gguf));
    os_map_close(&map);
    gguf_close(gguf);
    unlink(path);
    buf_deinit(&b);
}

/* A13: another file under the same name does not reach a model that is open. */
static void a_file_replaced_while_open_stays_what_it_was(void **state)
{
    (void)state;
    const char *path = image_path("old.gguf"), *other = image_path("new.gguf");
    struct buf b = one_tensor(2), junk = {0};
    struct err err = {0};
    struct os_map map;
    image_save(&b, path, 0);
    struct gguf *gguf = gguf_open(path, &err);
    assert_non_null(gguf);
    buf_add_text(&junk, "not a model at all");
    image_save(&junk, other, 0);
    assert_int_equal(rename(other, path), 0);
    assert_true(gguf_rows_open(gguf, &gguf->tensors[0], 1, 1, &map, &err));
    assert_true(((const float *)map.ptr)[1023] == 1.0F);
    assert_false(os_map_is_lost(&map));
    os_map_close(&map);
    gguf_close(gguf);
    unlink(path);
    buf_deinit(&b);
    buf_deinit(&junk);
}

static void ids_are_file_names_without_suffix(void **state)
{
    (void)state;
    const char *const cases[][2] = {
        {"/x/hearth-nano.gguf", "hearth-nano"},
        {"hearth-nano.gguf", "hearth-nano"},
        {"/x/big-00002-of-00003.gguf", "big"},
        {"/x/big-00004-of-00003.gguf", "big-00004-of-00003"},
        {"/x/big-0002-of-0003.gguf", "big-0002-of-0003"},
        {"-00001-of-00001.gguf", "-00001-of-00001"},
        {"/x/noext", "noext"},
        {"/x.gguf/y", "y"},
        {".gguf", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(str_eq(gguf_model_id(cases[i][0]), str_of(cases[i][1])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_read_as_gguf_py_reads_them),
        cmocka_unit_test(the_smallest_files_open),
        cmocka_unit_test(odd_but_valid_values_are_accepted),
        cmocka_unit_test(tensors_may_stand_in_any_order_with_gaps),
        cmocka_unit_test(typed_values_are_converted_in_range),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(a_file_truncated_while_mapped_is_noticed),
        cmocka_unit_test(a_file_replaced_while_open_stays_what_it_was),
        cmocka_unit_test(ids_are_file_names_without_suffix),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
