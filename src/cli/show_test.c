/* hearth show: its JSON against gguf-py's reading of the same files, its text for people, escapes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "gguf/test_image.h"

/* Runs the command with stdout in a file; mem_free the result. */
static char *show(const char *path, const char *option, int wanted_status, size_t *len)
{
    char *argv[] = {(char *)"show", (char *)path, (char *)option, NULL};
    struct err err = {0};
    const char *text_path = image_path("stdout");
    int saved = dup(1), fd = open(text_path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    fflush(NULL);
    dup2(fd, 1);
    int status = cli_show(option ? 3 : 2, argv);
    fflush(NULL);
    dup2(saved, 1);
    close(saved);
    close(fd);
    assert_int_equal(status, wanted_status);
    char *text = os_file_slurp(text_path, 64 << 20, len, &err);
    assert_non_null(text);
    unlink(text_path);
    return text;
}

static json_t *show_json(const char *path)
{
    size_t len;
    struct err err = {0};
    char *text = show(path, "--json", 0, &len);
    json_t *root = json_parse((struct str){.ptr = text, .len = len}, NULL, &err);
    if (!root) {
        print_error("%s\n", err.text);
    }
    assert_non_null(root);
    mem_free(text);
    return root;
}

static int64_t integer(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void the_json_is_what_gguf_py_reads(void **state)
{
    (void)state;
    size_t len, i;
    struct err err = {0};
    const char *key;
    json_t *value;
    json_t *shown = show_json(TEST_DATA "/models/stories260K.gguf");
    char *text = os_file_slurp(TEST_DATA "/gguf/stories260K.json", 1 << 20, &len, &err);
    json_t *golden = json_parse((struct str){.ptr = text, .len = len}, NULL, &err);
    assert_int_equal(integer(shown, "version"), integer(golden, "version"));
    assert_int_equal(integer(shown, "alignment"), integer(golden, "alignment"));
    json_t *metadata = json_object_get(shown, "metadata");
    assert_int_equal(json_object_size(metadata),
                     json_object_size(json_object_get(golden, "metadata")));
    json_object_foreach(json_object_get(golden, "metadata"), key, value)
    {
        const json_t *ours = json_object_get(metadata, key);
        if (json_is_real(value)) {
            assert_true(json_number_value(ours) == json_number_value(value));
        } else if (json_is_array(value) && json_is_real(json_array_get(value, 0))) {
            assert_int_equal(json_array_size(ours), json_array_size(value));
        } else {
            assert_true(json_equal(ours, value));
        }
    }
    json_array_foreach(json_object_get(golden, "tensors"), i, value)
    {
        json_t *ours = json_array_get(json_object_get(shown, "tensors"), i);
        assert_int_equal(integer(ours, "shard"), 0);
        json_object_del(ours, "shard");
        assert_true(json_equal(ours, value));
    }
    assert_int_equal(i, json_array_size(json_object_get(shown, "tensors")));
    assert_int_equal(integer(shown, "tensor_bytes"), 1040128);
    assert_int_equal(integer(shown, "file_bytes"), 1054336);
    assert_true(json_is_null(json_object_get(shown, "chat_template")));
    const json_t *f32 = json_object_get(json_object_get(shown, "types"), "F32");
    assert_int_equal(integer(f32, "tensors"), 47);
    assert_int_equal(integer(f32, "bytes"), 1040128);
    assert_true(str_starts(json_str(json_object_get(f32, "kernel")), STR("float kernel, ")));
    json_decref(shown);
    json_decref(golden);
    mem_free(text);
}

static void numbers_are_exact(void **state)
{
    (void)state;
    size_t len;
    char *text = show(TEST_DATA "/gguf/kinds.gguf", "--json", 0, &len);
    const char *const parts[] = {
        "\"scalar.uint64\":18446744073709551615,",
        "\"scalar.int64\":-9223372036854775808,",
        "\"scalar.float32\":0.1,",
        "\"scalar.float64\":0.1,",
        "\"scalar.bool\":true,",
        "\"array.uint64\":[0,18446744073709551615]",
        "\"array.int64\":[-9223372036854775808,1]",
        "\"array.bool\":[true,false,true]",
        "\"array.float32\":[1.5,-0.0,3.4e+38]",
        "\"array.int8\":[-128,127]",
        "\"array.string\":[\"\",\"a\",",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_non_null(strstr(text, parts[i]));
    }
    mem_free(text);
}

static void a_split_model_shows_its_shards(void **state)
{
    (void)state;
    json_t *shown = show_json(TEST_DATA "/gguf/split-00003-of-00003.gguf");
    const json_t *tensors = json_object_get(shown, "tensors");
    assert_int_equal(integer(shown, "shards"), 3);
    assert_int_equal(integer(json_array_get(tensors, 4), "shard"), 2);
    json_decref(shown);
}

/* Odd values, and texts that want to rule the terminal. */
static const char *save_odd_file(void)
{
    struct buf b = {0};
    const char *path = image_path("odd.gguf");
    image_head(&b, 3, 1, 5);
    image_key(&b, "nan", GGUF_F32);
    image_bytes(&b, &(float){NAN}, 4);
    image_key(&b, "inf", GGUF_ARRAY);
    image_u32(&b, GGUF_F64);
    image_u64(&b, 1);
    image_bytes(&b, &(double){-INFINITY}, 8);
    image_key_str(&b, "bytes", "a\xff\"\\\x01z");
    image_key_str(&b, "key\x1b[2J", "\x1b]0;owned\a\n\u202e");
    image_key_str(&b, "tokenizer.chat_template", "{{ a }}\n\t\"\x1b[31m\" \\n");
    image_tensor(&b, "w\x1b[0m", 0, 1, IMAGE_DIMS(8), 0);
    image_pad(&b, 32);
    image_zeros(&b, 32);
    image_save(&b, path, 0);
    buf_deinit(&b);
    return path;
}

static void odd_values_are_json(void **state)
{
    (void)state;
    const char *path = save_odd_file();
    json_t *shown = show_json(path), *metadata = json_object_get(shown, "metadata");
    assert_true(json_is_null(json_object_get(metadata, "nan")));
    assert_true(json_is_null(json_array_get(json_object_get(metadata, "inf"), 0)));
    assert_true(
        str_eq(json_str(json_object_get(metadata, "bytes")), STR("a\xef\xbf\xbd\"\\\x01z")));
    assert_true(str_eq(json_str(json_object_get(shown, "chat_template")),
                       STR("{{ a }}\n\t\"\x1b[31m\" \\n")));
    json_decref(shown);
    unlink(path);
}

static void texts_of_the_file_do_not_reach_the_terminal(void **state)
{
    (void)state;
    size_t len;
    const char *path = save_odd_file();
    char *text = show(path, NULL, 0, &len);
    assert_null(memchr(text, 0x1b, len));
    assert_null(memchr(text, 7, len));
    assert_null(strstr(text, "\u202e"));
    const char *const parts[] = {
        "  nan = nan\n",
        "  inf = [-inf]\n",
        "  bytes = \"a\\xff\\\"\\\\\\x01z\"\n",
        "  key\\x1b[2J = \"\\x1b]0;owned\\x07\\n\\u{202e}\"\n",
        "  w\\x1b[0m ",
        "chat template\n{{ a }}\n\t\"\\x1b[31m\" \\n\n", /* its own lines and backslashes stay */
        "tokenizer.chat_template = (19 bytes, below)",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!strstr(text, parts[i])) {
            print_error("no %s in\n%s\n", parts[i], text);
            fail();
        }
    }
    mem_free(text);
    unlink(path);
}

static void long_values_are_cut_unless_asked_for(void **state)
{
    (void)state;
    enum { ITEMS = 40000, LETTERS = 70000 };
    struct buf b = {0};
    size_t len;
    const char *path = image_path("long.gguf");
    image_head(&b, 3, 0, 2);
    image_key(&b, "array", GGUF_ARRAY);
    image_u32(&b, GGUF_STRING);
    image_u64(&b, ITEMS);
    for (int i = 0; i < ITEMS; i++) {
        image_str(&b, "item");
    }
    image_key(&b, "text", GGUF_STRING);
    image_u64(&b, LETTERS);
    for (int i = 0; i < LETTERS; i += 2) {
        buf_add_text(&b, "\u00e9"); /* two bytes: pieces must not cut one in half */
    }
    image_save(&b, path, 0);
    char *text = show(path, NULL, 0, &len);
    assert_non_null(strstr(text, "\"item\", ... (40000 items)]"));
    assert_non_null(strstr(text, "... (70000 bytes)\""));
    assert_non_null(strstr(text, "no tensors"));
    assert_non_null(strstr(text, "no chat template"));
    assert_true(len < 2000);
    mem_free(text);
    text = show(path, "--full", 0, &len);
    assert_null(strstr(text, "..."));
    assert_true(len > ITEMS * 6 + LETTERS);
    mem_free(text);
    json_t *shown = show_json(path), *metadata = json_object_get(shown, "metadata");
    assert_int_equal(json_array_size(json_object_get(metadata, "array")), ITEMS);
    assert_int_equal(json_string_length(json_object_get(metadata, "text")), LETTERS);
    assert_null(strstr(json_string_value(json_object_get(metadata, "text")), "\ufffd"));
    json_decref(shown);
    unlink(path);
    buf_deinit(&b);
}

static void faults_have_a_status(void **state)
{
    (void)state;
    size_t len;
    char *text = show(image_path("missing.gguf"), NULL, 5, &len);
    assert_int_equal(len, 0);
    mem_free(text);
    text = show(TEST_DATA "/gguf/types.json", "--json", 3, &len);
    assert_int_equal(len, 0);
    mem_free(text);
    text = show(TEST_DATA "/gguf/kinds.gguf", "--bogus", 2, &len);
    mem_free(text);
    text = show(TEST_DATA "/gguf/kinds.gguf", "second", 2, &len);
    mem_free(text);
    text = show("--help", NULL, 0, &len);
    assert_non_null(strstr(text, "usage: hearth show FILE"));
    mem_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_json_is_what_gguf_py_reads),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(a_split_model_shows_its_shards),
        cmocka_unit_test(odd_values_are_json),
        cmocka_unit_test(texts_of_the_file_do_not_reach_the_terminal),
        cmocka_unit_test(long_values_are_cut_unless_asked_for),
        cmocka_unit_test(faults_have_a_status),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
