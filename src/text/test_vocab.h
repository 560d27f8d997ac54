/* For the tests of this folder: vocabularies made of a base file and changed entries, and the
 * vectors of tests/data/text. */
#ifndef TEXT_TEST_VOCAB_H
#define TEXT_TEST_VOCAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/json.h"
#include "base/mem.h"
#include "gguf/writer.h"
#include "text/text.h"

#define BPE_FILE TEST_DATA "/text/bpe.gguf"
#define SPM_FILE TEST_DATA "/text/spm.gguf"

struct entry {
    const char *key;
    struct gguf_value value;
    bool is_absent;
};

#define ENTRY_STR(name, literal)                                                                   \
    {                                                                                              \
        .key = (name), .value = {                                                                  \
            .kind = GGUF_STRING,                                                                   \
            .count = 1,                                                                            \
            .text = {(literal), strlen(literal)}                                                   \
        }                                                                                          \
    }
#define ENTRY_U32(name, number)                                                                    \
    {                                                                                              \
        .key = (name), .value = {.kind = GGUF_U32, .count = 1, .u64 = (number) }                   \
    }
#define ENTRY_I32(name, number)                                                                    \
    {                                                                                              \
        .key = (name), .value = {.kind = GGUF_I32, .count = 1, .i64 = (number) }                   \
    }
#define ENTRY_BOOL(name, truth)                                                                    \
    {                                                                                              \
        .key = (name), .value = {.kind = GGUF_BOOL, .count = 1, .u64 = (truth) }                   \
    }
#define ENTRY_TEXTS(name, array, length)                                                           \
    {                                                                                              \
        .key = (name), .value = {                                                                  \
            .kind = GGUF_ARRAY,                                                                    \
            .item_kind = GGUF_STRING,                                                              \
            .count = (length),                                                                     \
            .texts = (array)                                                                       \
        }                                                                                          \
    }
#define ENTRY_NUMBERS(name, type, array, length)                                                   \
    {                                                                                              \
        .key = (name), .value = {                                                                  \
            .kind = GGUF_ARRAY,                                                                    \
            .item_kind = (type),                                                                   \
            .count = (length),                                                                     \
            .items = (array)                                                                       \
        }                                                                                          \
    }
#define ENTRY_ABSENT(name)                                                                         \
    {                                                                                              \
        .key = (name), .is_absent = true                                                           \
    }

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* The tokenizer of `base` (NULL: nothing) with these entries set or taken away. */
ATTR_UNUSED static struct text *vocab_open(const char *base, const struct entry *entries,
                                           size_t count, struct err *err)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/hearth-text-%ld.gguf", (long)getpid());
    struct gguf_writer *writer = gguf_writer_create(err);
    assert_non_null(writer);
    if (base) {
        struct gguf *from = gguf_open(base, err);
        assert_non_null(from);
        for (size_t i = 0; i < from->entry_count; i++) {
            bool is_changed = false;
            for (size_t k = 0; k < count; k++) {
                is_changed |= str_eq(from->entries[i].key, str_of(entries[k].key));
            }
            assert_true(is_changed || gguf_writer_set(writer, from->entries[i].key,
                                                      &from->entries[i].value, err));
        }
        gguf_close(from);
    }
    for (size_t k = 0; k < count; k++) {
        assert_true(entries[k].is_absent ||
                    gguf_writer_set(writer, str_of(entries[k].key), &entries[k].value, err));
    }
    assert_true(gguf_writer_begin(writer, path, err) && gguf_writer_commit(writer, err));
    gguf_writer_destroy(writer);
    struct gguf *gguf = gguf_open(path, err);
    unlink(path);
    assert_non_null(gguf);
    struct text *text = text_open(gguf, err);
    gguf_close(gguf); /* a tokenizer does not borrow from the file */
    return text;
}

/* Opens, or prints why not and fails. */
ATTR_UNUSED static struct text *vocab_must_open(const char *base, const struct entry *entries,
                                                size_t count)
{
    struct err err = {0};
    struct text *text = vocab_open(base, entries, count, &err);
    if (!text) {
        fail_msg("%s", err.text);
    }
    return text;
}

ATTR_UNUSED static struct text_ids must_encode(const struct text *text, struct str s,
                                               struct text_encode_opts opts)
{
    struct text_ids ids = {0};
    struct err err = {0};
    if (!text_encode(text, s, &opts, &ids, &err)) {
        fail_msg("%s", err.text);
    }
    return ids;
}

/* The ids of s, written with spaces, must be `wanted`. */
ATTR_UNUSED static void assert_ids(const struct text *text, struct str s,
                                   struct text_encode_opts opts, const char *wanted)
{
    struct text_ids ids = must_encode(text, s, opts);
    struct buf line = {0};
    for (size_t i = 0; i < ids.count; i++) {
        buf_add_format(&line, "%s%d", i > 0 ? " " : "", (int)ids.ids[i]);
    }
    assert_string_equal(line.ptr ? line.ptr : "", wanted);
    buf_deinit(&line);
    text_ids_deinit(&ids);
}

/* What the pieces of s say, joined by '|'. */
ATTR_UNUSED static void assert_pieces(const struct text *text, struct str s,
                                      struct text_encode_opts opts, const char *wanted)
{
    struct text_ids ids = must_encode(text, s, opts);
    struct buf line = {0};
    for (size_t i = 0; i < ids.count; i++) {
        buf_add_text(&line, i > 0 ? "|" : "");
        buf_add(&line, text_piece(text, ids.ids[i], true));
    }
    assert_string_equal(line.ptr ? line.ptr : "", wanted);
    buf_deinit(&line);
    text_ids_deinit(&ids);
}

ATTR_UNUSED static void assert_round_trip(const struct text *text, struct str s)
{
    struct text_ids ids = must_encode(text, s, (struct text_encode_opts){0});
    struct buf back = {0};
    text_decode(text, ids.ids, ids.count, false, true, &back);
    assert_int_equal(back.len, s.len);
    assert_true(s.len == 0 || memcmp(back.ptr, s.ptr, s.len) == 0);
    buf_deinit(&back);
    text_ids_deinit(&ids);
}

/* tests/data/text/vectors.json */
ATTR_UNUSED static json_t *vectors_load(void)
{
    struct err err = {0};
    size_t len;
    char *text = os_file_slurp(TEST_DATA "/text/vectors.json", 1 << 24, &len, &err);
    assert_non_null(text);
    json_t *root = json_parse((struct str){.ptr = text, .len = len}, NULL, &err);
    mem_free(text);
    if (!root) {
        fail_msg("%s", err.text);
    }
    return root;
}

/* Every text of the vectors against one row of ids. */
ATTR_UNUSED static void compare_vectors(const struct text *text, const char *name,
                                        const json_t *root, const json_t *rows)
{
    const json_t *texts = json_object_get(root, "texts");
    assert_true(json_array_size(texts) == json_array_size(rows) && json_array_size(rows) > 50);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *row = json_array_get(rows, i);
        struct text_ids ids =
            must_encode(text, json_str(json_array_get(texts, i)), (struct text_encode_opts){0});
        bool is_same = ids.count == json_array_size(row);
        for (size_t k = 0; is_same && k < ids.count; k++) {
            is_same = ids.ids[k] == json_integer_value(json_array_get(row, k));
        }
        if (!is_same) {
            fail_msg("%s: text %zu differs", name, i);
        }
        text_ids_deinit(&ids);
    }
}

/* The same, and the texts must come back. */
ATTR_UNUSED static void check_vectors(const struct text *text, const char *name, const json_t *root,
                                      const json_t *rows)
{
    compare_vectors(text, name, root, rows);
    const json_t *texts = json_object_get(root, "texts");
    for (size_t i = 0; i < json_array_size(texts); i++) {
        assert_round_trip(text, json_str(json_array_get(texts, i)));
    }
}

#endif
