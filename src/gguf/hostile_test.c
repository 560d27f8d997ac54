/* Attacks on the container: group A of the list of attacks this project answers (A1 header ... A10
 * types, A13 files; A14, split models, is in split_test.c). Each must end in an error that names
 * the file, the key or tensor and the byte, without a crash, in bounded time and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/mem.h"
#include "gguf/test_image.h"

enum { TIB = 40 }; /* log2 */

static char message[sizeof((struct err *)0)->text]; /* of the last refusal */

/* Saves the image with `size` bytes (0: its own), expects the refusal and frees the image. */
static void refused_sized(struct buf *b, uint64_t size, const char *wanted)
{
    struct err err = {0};
    const char *path = image_path("attack.gguf");
    assert_false(b->failed);
    image_save(b, path, size);
    int64_t start = clock_now_ns();
    struct gguf *gguf = gguf_open(path, &err);
    assert_null(gguf);
    assert_true(clock_now_ns() - start < 5000000000);
    if (!strstr(err.text, wanted)) {
        print_error("wanted \"%s\"\n   got \"%s\"\n", wanted, err.text);
        fail();
    }
    assert_non_null(strstr(err.text, "attack.gguf"));
    assert_true(err.code == ERR_FORMAT || err.code == ERR_MEMORY);
    for (const char *c = err.text; *c; c++) {
        assert_true(*c >= ' ' || (unsigned char)*c >= 0x80); /* nothing a terminal would obey */
    }
    memcpy(message, err.text, sizeof message);
    unlink(path);
    buf_deinit(b);
    *b = (struct buf){0};
}

static void refused(struct buf *b, const char *wanted)
{
    refused_sized(b, 0, wanted);
}

/* ---- A1: the header ---- */

static void wrong_magic_and_version(void **state)
{
    (void)state;
    struct buf b = {0};
    refused(&b, "only 0 bytes");
    buf_add_text(&b, "GGU");
    refused(&b, "only 3 bytes");
    buf_add_text(&b, "GGUF");
    refused(&b, "the file ends inside the version at byte 4");
    buf_add_text(&b, "root:x:0:0:root:/root:/bin/bash\n");
    refused(&b, "not a GGUF file: byte 0");
    buf_add_text(&b, "FUGG....................");
    refused(&b, "swapped");
    image_bytes(&b, "PK\3\4................", 20);
    refused(&b, "zip archive");
    const uint32_t versions[] = {0, 1, 4, UINT32_MAX};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        image_head(&b, versions[i], 0, 0);
        refused(&b, "(byte 4) is not supported");
    }
    image_head(&b, 0x03000000, 0, 0);
    refused(&b, "big-endian");
    image_head(&b, 0x02000000, 0, 0);
    refused(&b, "big-endian");
}

/* ---- A2: counts ---- */

static void impossible_counts(void **state)
{
    (void)state;
    struct buf b = {0};
    const uint64_t counts[] = {1, 1ull << 32, 1ull << 58, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        image_head(&b, 3, counts[i], 0);
        refused(&b, "tensor count at byte 8 is");
        image_head(&b, 3, 0, counts[i]);
        refused(&b, "entry count at byte 16 is");
    }
    /* Counts that a sparse file of 1 TiB could hold: its zeros are no keys. */
    image_head(&b, 3, 0, 1ull << 36);
    refused_sized(&b, 1ull << TIB, "the key at byte 24 is empty");
    image_head(&b, 3, 1ull << 34, 0);
    refused_sized(&b, 1ull << TIB, "the tensor name at byte 24 is empty");
    /* One entry more than there is. */
    image_head(&b, 3, 0, 2);
    image_key_u32(&b, "a", 1);
    image_zeros(&b, 11);
    refused(&b, "the key at byte 41 is empty");
}

/* ---- A3: strings and keys ---- */

static void impossible_strings(void **state)
{
    (void)state;
    struct buf b = {0};
    const uint64_t lengths[] = {18, 1ull << 32, 1ull << 63, UINT64_MAX - 7, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        image_head(&b, 3, 0, 1);
        image_u64(&b, lengths[i]);
        image_zeros(&b, 17);
        refused(&b, "the key at byte 24 claims");
        image_head(&b, 3, 0, 1);
        image_key(&b, "general.name", GGUF_STRING);
        image_u64(&b, lengths[i]);
        image_zeros(&b, 17);
        refused(&b, "key \"general.name\" at byte 24: the string at byte 48 claims");
    }
    image_head(&b, 3, 0, 1); /* a string of 1 TiB that is there, in a hole */
    image_key(&b, "general.name", GGUF_STRING);
    image_u64(&b, (1ull << TIB) - 100);
    refused_sized(&b, 1ull << TIB, "that may be spent on it");
}

static void impossible_keys(void **state)
{
    (void)state;
    struct buf b = {0};
    image_head(&b, 3, 0, 1);
    image_key_u32(&b, "", 1);
    image_zeros(&b, 8);
    refused(&b, "key at byte 24 is empty");
    image_head(&b, 3, 0, 1); /* 64 KiB is one byte too long */
    image_u64(&b, 65536);
    for (int i = 0; i < 65536; i++) {
        buf_add_char(&b, 'k');
    }
    image_u32(&b, GGUF_U8);
    image_u8(&b, 1);
    refused(&b, "has 65536 bytes, the limit is 65535");
    image_head(&b, 3, 0, 1);
    image_u64(&b, 3);
    image_bytes(&b, "a\0b", 3);
    image_u32(&b, GGUF_U8);
    image_u8(&b, 1);
    refused(&b, "key \"a\\x00b\" at byte 24: the key is not text");
    const char *const invalid[] = {"\xff\xfe", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                   "\xe2\x82"};
    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++) {
        image_head(&b, 3, 0, 1);
        image_key_u32(&b, invalid[i], 1);
        refused(&b, "the key is not text");
    }
    image_head(&b, 3, 0, 1); /* what a terminal would obey comes out as text */
    image_key(&b, "\x1b]0;owned\x07\nkey", 77);
    refused_sized(&b, 100,
                  "key \"\\x1b]0;owned\\x07\\x0akey\" at byte 24: is of an unknown kind 77");
    image_head(&b, 3, 0, 2);
    image_key_u32(&b, "a.b", 1);
    image_key_u32(&b, "a.b", 1);
    refused(&b, "key \"a.b\" at byte 43: the key stands twice, first at byte 24");
}

/* ---- A4: arrays ---- */

static void array_of(struct buf *b, uint32_t item_kind, uint64_t count)
{
    image_head(b, 3, 0, 1);
    image_key(b, "arr", GGUF_ARRAY);
    image_u32(b, item_kind);
    image_u64(b, count);
}

static void impossible_arrays(void **state)
{
    (void)state;
    struct buf b = {0};
    const uint64_t counts[] = {3, 1ull << 32, 1ull << 60, 1ull << 61, 1ull << 63, UINT64_MAX};
    const uint32_t kinds[] = {GGUF_U64, GGUF_F64, GGUF_STRING};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (size_t j = 0; j < sizeof kinds / sizeof kinds[0]; j++) {
            array_of(&b, kinds[j], counts[i]);
            image_zeros(&b, 23);
            refused(&b, "key \"arr\" at byte 24: claims");
        }
    }
    array_of(&b, GGUF_KIND_COUNT, 1);
    image_u64(&b, 0);
    refused(&b, "array of an unknown kind 13 (byte 39)");
    array_of(&b, UINT32_MAX, 1);
    image_u64(&b, 0);
    refused(&b, "array of an unknown kind 4294967295");
    image_head(&b, 3, 0, 1); /* nested 1000 deep: refused at the first, no recursion */
    image_key(&b, "arr", GGUF_ARRAY);
    for (int i = 0; i < 1000; i++) {
        image_u32(&b, GGUF_ARRAY);
        image_u64(&b, 1);
    }
    refused(&b, "is an array of arrays (byte 39)");
    array_of(&b, GGUF_STRING, 3); /* lengths that sum to 2^64 + something small */
    image_u64(&b, 1ull << 63);
    image_u64(&b, 1ull << 63);
    image_u64(&b, 4);
    buf_add_text(&b, "abcd");
    refused(&b, "item 0 of 3: the string at byte 51 claims");
    array_of(&b, GGUF_STRING, 2);
    image_str(&b, "good");
    image_u64(&b, 5);
    image_zeros(&b, 4);
    refused(&b, "item 1 of 2: the string at byte 63 claims 5 bytes, but the file has only 4");
}

static void huge_arrays_in_a_hole(void **state)
{
    (void)state;
    struct buf b = {0};
    array_of(&b, GGUF_U8, (1ull << TIB) - 100);
    refused_sized(&b, 1ull << TIB, "that may be spent on it");
    array_of(&b, GGUF_STRING, 1ull << 36);
    refused_sized(&b, 1ull << TIB, "that may be spent on it");
    array_of(&b, GGUF_STRING, 1ull << 33);
    refused_sized(&b, 1ull << TIB, "that may be spent on it");
}

/* ---- A5, A6: keys the container itself uses ---- */

static void impossible_alignments(void **state)
{
    (void)state;
    struct buf b = {0};
    const uint64_t values[] = {0, 3, 33, 1ull << 31, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        image_head(&b, 3, 0, 1);
        image_key(&b, "general.alignment", GGUF_U64);
        image_u64(&b, values[i]);
        refused(&b, "key \"general.alignment\" at byte 24: is ");
    }
    image_head(&b, 3, 0, 1);
    image_key_u32(&b, "general.alignment", 1u << 31);
    refused(&b, "must be a power of two");
    image_head(&b, 3, 0, 1);
    image_key_str(&b, "general.alignment", "32");
    refused(&b, "is not a positive integer");
    image_head(&b, 3, 0, 1);
    image_key(&b, "general.alignment", GGUF_F32);
    image_bytes(&b, &(float){32.0F}, 4);
    refused(&b, "is not a positive integer");
    image_head(&b, 3, 0, 1);
    image_key(&b, "general.alignment", GGUF_I32);
    image_u32(&b, (uint32_t)-32);
    refused(&b, "is not a positive integer");
    image_head(&b, 3, 0, 2); /* two answers to one question */
    image_key_u32(&b, "general.alignment", 32);
    image_key_u32(&b, "general.alignment", 64);
    refused(&b, "stands twice");
}

/* ---- A7, A8, A10: shapes and types ---- */

static void tensor_refused(uint32_t type, uint32_t dim_count, const uint64_t *dims, uint64_t offset,
                           const char *wanted)
{
    struct buf b = {0};
    image_head(&b, 3, 1, 0);
    image_tensor(&b, "blk.0.w", type, dim_count, dims, offset);
    image_pad(&b, 32);
    image_zeros(&b, 4096);
    refused(&b, wanted);
    assert_non_null(strstr(message, "tensor \"blk.0.w\" at byte 24: "));
}

static void impossible_shapes(void **state)
{
    (void)state;
    const uint64_t ones[8] = {1, 1, 1, 1, 1, 1, 1, 1}, half = 1ull << 32, top = 1ull << 63;
    tensor_refused(0, 0, ones, 0, "has 0 dimensions (byte 39)");
    tensor_refused(0, 5, ones, 0, "has 5 dimensions");
    struct buf b = {0};
    image_head(&b, 3, 1, 0);
    image_str(&b, "blk.0.w");
    image_u32(&b, UINT32_MAX); /* 2^32 - 1 dimensions; none is read */
    image_zeros(&b, 64);
    refused(&b, "has 4294967295 dimensions");
    tensor_refused(0, 1, IMAGE_DIMS(0), 0, "dimension 0 is 0 (byte 43)");
    tensor_refused(0, 3, IMAGE_DIMS(4, 4, 0), 0, "dimension 2 is 0 (byte 59)");
    tensor_refused(0, 1, IMAGE_DIMS(UINT64_MAX), 0, "dimension 0 is 18446744073709551615");
    tensor_refused(0, 1, IMAGE_DIMS(top), 0, "more than 2^63 elements");
    tensor_refused(0, 2, IMAGE_DIMS(half, half), 0,
                   "more than 2^63 elements"); /* 2^64: wraps to 0 */
    tensor_refused(0, 2, IMAGE_DIMS(half, half / 2), 0, "more than 2^63 elements");
    tensor_refused(0, 4, IMAGE_DIMS(half, half, half, half), 0, "more than 2^63 elements");
    tensor_refused(0, 3, IMAGE_DIMS(2, top - 1, 3), 0, "more than 2^63 elements");
    tensor_refused(0, 1, IMAGE_DIMS(top / 2), 0,
                   "more than 2^63 bytes as type F32"); /* 2^64 bytes */
    tensor_refused(0, 2, IMAGE_DIMS(4, top / 8), 0, "more than 2^63 bytes");
    tensor_refused(DTYPE_F64, 1, IMAGE_DIMS(top / 8), 0, "more than 2^63 bytes");
    tensor_refused(DTYPE_Q4_0, 1, IMAGE_DIMS(31), 0, "has rows of 31 elements (byte 51)");
    tensor_refused(DTYPE_Q4_0, 2, IMAGE_DIMS(16, 2), 0, "packs blocks of 32");
    tensor_refused(DTYPE_Q6_K, 1, IMAGE_DIMS(128), 0, "packs blocks of 256");
}

static void impossible_types(void **state)
{
    (void)state;
    tensor_refused(4, 1, IMAGE_DIMS(32), 0, "has the removed type id 4 (Q4_2) (byte 51)");
    tensor_refused(33, 1, IMAGE_DIMS(32), 0, "has the removed type id 33 (Q4_0_8_8)");
    tensor_refused(43, 1, IMAGE_DIMS(32), 0, "has the unknown type id 43");
    tensor_refused(UINT32_MAX, 1, IMAGE_DIMS(32), 0, "has the unknown type id -1");
    tensor_refused(1u << 31, 1, IMAGE_DIMS(32), 0, "has the unknown type id -2147483648");
}

/* ---- A8, A9: where the bytes are ---- */

static void impossible_ranges(void **state)
{
    (void)state;
    const uint64_t edge = UINT64_MAX - 31;
    tensor_refused(0, 1, IMAGE_DIMS(1025), 0, "its 4100 bytes at offset 0 of the data");
    tensor_refused(0, 1, IMAGE_DIMS(8), 4096, "end past the end of the file");
    tensor_refused(0, 1, IMAGE_DIMS(8), 16, "offset 16 is not a multiple of the alignment 32");
    tensor_refused(0, 1, IMAGE_DIMS(8), UINT64_MAX, "is not a multiple");
    tensor_refused(0, 1, IMAGE_DIMS(8), edge,
                   "end past the end of the file"); /* wraps with the start */
    tensor_refused(0, 1, IMAGE_DIMS(8), 1ull << 63, "end past the end of the file");
    /* A size whose padding to 32 wraps to 0: the bound must use the size itself. */
    tensor_refused(DTYPE_I8, 1, IMAGE_DIMS((1ull << 63) - 1), 0, "end past the end of the file");
}

static void overlap_refused(uint64_t first, uint64_t second, uint64_t third, const char *wanted)
{
    struct buf b = {0};
    image_head(&b, 3, 3, 0);
    image_tensor(&b, "a", 0, 1, IMAGE_DIMS(16), first);
    image_tensor(&b, "b", 0, 1, IMAGE_DIMS(16), second);
    image_tensor(&b, "c", 0, 1, IMAGE_DIMS(16), third);
    image_pad(&b, 32);
    image_zeros(&b, 4096);
    refused(&b, wanted);
}

static void overlapping_tensors(void **state)
{
    (void)state;
    overlap_refused(0, 0, 64, "overlap tensor");
    overlap_refused(0, 32, 96,
                    "tensor \"b\" at byte 57: its bytes from 160 on overlap tensor \"a\"");
    overlap_refused(128, 64, 96,
                    "tensor \"c\" at byte 90: its bytes from 224 on overlap tensor \"b\"");
}

static void two_tensors_of_one_name(void **state)
{
    (void)state;
    struct buf b = {0};
    image_head(&b, 3, 2, 0);
    image_tensor(&b, "same", 0, 1, IMAGE_DIMS(8), 0);
    image_tensor(&b, "same", 0, 1, IMAGE_DIMS(8), 32);
    image_zeros(&b, 4096);
    refused(&b, "tensor \"same\" at byte 60: the name stands twice, first at byte 24");
}

static void impossible_tensor_names(void **state)
{
    (void)state;
    struct buf b = {0};
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    image_head(&b, 3, 1, 0);
    image_tensor(&b, name, 0, 1, IMAGE_DIMS(8), 0);
    image_zeros(&b, 4096);
    refused(&b, "the tensor name at byte 24 has 256 bytes");
    image_head(&b, 3, 1, 0);
    image_tensor(&b, "\x80", 0, 1, IMAGE_DIMS(8), 0);
    image_zeros(&b, 4096);
    refused(&b, "tensor \"\\x80\" at byte 24: the name is not text");
    image_head(&b, 3, 1, 0);
    image_u64(&b, UINT64_MAX);
    image_zeros(&b, 4096);
    refused(&b, "the tensor name at byte 24 claims");
}

/* ---- A13: what is no plain file ---- */

static void only_plain_files_open(void **state)
{
    (void)state;
    struct err err;
    const char *pipe_path = image_path("pipe.gguf"), *link_path = image_path("link.gguf");
    const char *const paths[] = {
        image_folder, "/dev/null", "/dev/zero", pipe_path, image_path("missing.gguf"), ""};
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        memset(&err, 0, sizeof err);
        assert_null(gguf_open(paths[i], &err)); /* must not wait for a writer */
        assert_int_equal(err.code, ERR_IO);
        assert_non_null(strstr(err.text, paths[i]));
    }
    unlink(pipe_path);
    assert_int_equal(symlink("/etc/passwd", link_path), 0);
    assert_null(gguf_open(link_path, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_null(strstr(err.text, "root")); /* tells nothing of what is in it */
    unlink(link_path);
}

static void hostile_paths_are_quoted(void **state)
{
    (void)state;
    struct err err = {0};
    assert_null(gguf_open("/nowhere/\x1b[31m\n.gguf", &err));
    assert_non_null(strstr(err.text, "\\x1b[31m\\x0a.gguf"));
    char path[3000];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    assert_null(gguf_open(path, &err));
    assert_int_equal(err.code, ERR_IO);
}

/* ---- sweeps over one good file ---- */

static struct buf good_file(void)
{
    struct buf b = {0};
    image_head(&b, 3, 3, 7);
    image_key_str(&b, "general.architecture", "llama");
    image_key_u32(&b, "general.alignment", 32);
    image_key_u32(&b, "split.count", 1);
    image_key_u32(&b, "split.no", 0);
    image_key_u32(&b, "split.tensors.count", 3);
    image_key(&b, "tokenizer.ggml.tokens", GGUF_ARRAY);
    image_u32(&b, GGUF_STRING);
    image_u64(&b, 3);
    image_str(&b, "<s>");
    image_str(&b, "");
    image_str(&b, "a");
    image_key(&b, "tokenizer.ggml.scores", GGUF_ARRAY);
    image_u32(&b, GGUF_F32);
    image_u64(&b, 3);
    image_zeros(&b, 12);
    image_tensor(&b, "norm", DTYPE_F32, 1, IMAGE_DIMS(8), 0);
    image_tensor(&b, "q8", DTYPE_Q8_0, 2, IMAGE_DIMS(32, 2), 32);
    image_tensor(&b, "f16", DTYPE_F16, 3, IMAGE_DIMS(4, 2, 2), 128);
    image_pad(&b, 32);
    image_zeros(&b, 160);
    return b;
}

/* Opens what was made of a good file and, if it opens, touches everything in it. */
static bool survives(const struct buf *b, const char *path)
{
    struct err err = {0};
    uint64_t sum = 0;
    image_save(b, path, 0);
    struct gguf *gguf = gguf_open(path, &err);
    if (!gguf) {
        assert_true(err.code != ERR_NONE && err.text[0]);
        return false;
    }
    for (size_t i = 0; i < gguf->entry_count; i++) {
        const struct gguf_value *value = &gguf->entries[i].value;
        for (uint64_t j = 0; value->kind == GGUF_ARRAY && j < value->count; j++) {
            sum += value->item_kind == GGUF_STRING ? str_hash(value->texts[j])
                   : value->item_kind == GGUF_F32 || value->item_kind == GGUF_F64
                       ? gguf_item_f64(value, j) > 0
                       : (uint64_t)gguf_item_i64(value, j);
        }
    }
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        struct os_map map;
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        assert_true(tensor->offset + tensor->bytes <= gguf->file_bytes);
        assert_true(gguf_rows_open(gguf, tensor, 0, tensor->row_count, &map, &err));
        for (size_t j = 0; j < map.len; j++) {
            sum += map.ptr[j];
        }
        os_map_close(&map);
    }
    gguf_close(gguf);
    return sum + 1 != 0;
}

static void every_cut_of_a_good_file_is_refused(void **state)
{
    (void)state;
    const char *path = image_path("sweep.gguf");
    struct buf b = good_file();
    size_t whole = b.len;
    assert_true(survives(&b, path));
    for (b.len = 0; b.len < whole; b.len++) {
        assert_false(survives(&b, path)); /* the last tensor ends with the file */
    }
    unlink(path);
    buf_deinit(&b);
}

static void every_changed_byte_is_survived(void **state)
{
    (void)state;
    const char *path = image_path("sweep.gguf");
    struct buf b = good_file();
    const unsigned char patterns[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (size_t i = 0; i < b.len; i++) {
        char old = b.ptr[i];
        for (size_t j = 0; j < sizeof patterns; j++) {
            b.ptr[i] = (char)patterns[j];
            survives(&b, path);
        }
        b.ptr[i] = old;
    }
    unlink(path);
    buf_deinit(&b);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    const char *path = image_path("sweep.gguf");
    struct buf b = good_file();
    bool opened = false;
    image_save(&b, path, 0);
    for (long n = 0; !opened; n++) {
        struct err err = {0};
        mem_fail_after(n);
        struct gguf *gguf = gguf_open(path, &err);
        mem_fail_after(-1);
        opened = gguf != NULL;
        assert_true(opened || err.code == ERR_MEMORY);
        gguf_close(gguf);
        assert_true(n < 100);
    }
    unlink(path);
    buf_deinit(&b);
}

/* ---- bounded time and memory ---- */

/* 3 million strings in 36 MB, and as many keys as 200 000: seconds would show here. */
static void large_metadata_reads_fast(void **state)
{
    (void)state;
    enum { STRINGS = 3000000, KEYS = 200000 };
    const char *path = image_path("large.gguf");
    struct buf b = {0};
    struct err err = {0};
    char key[32];
    image_head(&b, 3, 0, KEYS + 1);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key.%d", i);
        image_key_u32(&b, key, (uint32_t)i);
    }
    image_key(&b, "tokens", GGUF_ARRAY);
    image_u32(&b, GGUF_STRING);
    image_u64(&b, STRINGS);
    for (int i = 0; i < STRINGS; i++) {
        image_u64(&b, 4);
        image_u32(&b, (uint32_t)i);
    }
    image_save(&b, path, 0);
    int64_t start = clock_now_ns();
    struct gguf *gguf = gguf_open(path, &err);
    int64_t spent_ms = (clock_now_ns() - start) / 1000000;
    assert_non_null(gguf);
    print_message("%d keys, %d strings: %lld ms\n", KEYS, STRINGS, (long long)spent_ms);
    assert_true(spent_ms < 5000); /* 0.2 s on an idle machine; a sanitizer takes more */
    assert_int_equal(gguf_find(gguf, STR("key.77777"))->value.u64, 77777);
    assert_int_equal(*(const int *)gguf_find(gguf, STR("tokens"))->value.texts[STRINGS - 1].ptr,
                     STRINGS - 1);
    gguf_close(gguf);
    unlink(path);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_magic_and_version),
        cmocka_unit_test(impossible_counts),
        cmocka_unit_test(impossible_strings),
        cmocka_unit_test(impossible_keys),
        cmocka_unit_test(impossible_arrays),
        cmocka_unit_test(huge_arrays_in_a_hole),
        cmocka_unit_test(impossible_alignments),
        cmocka_unit_test(impossible_shapes),
        cmocka_unit_test(impossible_types),
        cmocka_unit_test(impossible_ranges),
        cmocka_unit_test(overlapping_tensors),
        cmocka_unit_test(two_tensors_of_one_name),
        cmocka_unit_test(impossible_tensor_names),
        cmocka_unit_test(only_plain_files_open),
        cmocka_unit_test(hostile_paths_are_quoted),
        cmocka_unit_test(every_cut_of_a_good_file_is_refused),
        cmocka_unit_test(every_changed_byte_is_survived),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(large_metadata_reads_fast),
    };
    return cmocka_run_group_tests(tests, image_setup, image_teardown);
}
