/* Heads of safetensors files and SentencePiece vocabularies, good ones and those that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "gguf/pieces.h"
#include "gguf/safetensors.h"

static bool parse(const char *head, uint64_t bytes, struct gguf_safetensors *all, struct err *err)
{
    *all = (struct gguf_safetensors){0};
    *err = (struct err){0};
    return gguf_safetensors_parse(all, str_of(head), 100, bytes, err);
}

static void good_heads(void **state)
{
    struct gguf_safetensors all;
    struct err err;
    (void)state;
    assert_true(parse("{\"__metadata__\":{\"format\":\"pt\"},"
                      "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                      "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
                      16, &all, &err));
    assert_int_equal(all.tensor_count, 2);
    const struct gguf_safetensor *b = gguf_safetensors_find(&all, STR("b"));
    assert_int_equal(b->offset, 104);
    assert_int_equal(b->dims[1], 3);
    assert_int_equal(b->type, DTYPE_BF16);
    gguf_safetensors_close(&all);
    assert_true(parse("{}", 0, &all, &err));
    gguf_safetensors_close(&all);
}

static void lying_heads(void **state)
{
    static const struct {
        const char *head, *wanted;
        uint64_t bytes;
    } cases[] = {
        {"[]", "no JSON object", 0},
        {"{", "head", 0},
        {"{\"a\":1}", "dtype", 4},
        {"{\"a\":{\"dtype\":\"F9\",\"shape\":[1],\"data_offsets\":[0,4]}}", "dtype", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "64 bits", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}",
         "64 bits", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", "dimensions",
         4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", "outside", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", "outside", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "do not fit", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         "overlaps", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "gap", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "reach the end", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}",
         "do not fit", 4},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf_safetensors all;
        struct err err;
        assert_false(parse(cases[i].head, cases[i].bytes, &all, &err));
        if (!strstr(err.text, cases[i].wanted)) {
            fail_msg("%zu: %s", i, err.text);
        }
        gguf_safetensors_close(&all);
    }
}

/* Field 1: piece "ab" of score 1 and type control; field 2: trainer with model_type BPE. */
static void pieces(void **state)
{
    static const char bytes[] = "\x0a\x0b\x0a\x02"
                                "ab\x15\x00\x00\x80\x3f\x18\x03\x12\x02\x18\x02\x0a\x03\x0a\x01"
                                "c";
    struct gguf_pieces p;
    struct err err = {0};
    (void)state;
    assert_true(gguf_pieces_parse(&p, (struct str){bytes, sizeof bytes - 1}, &err));
    assert_int_equal(p.count, 2);
    assert_true(str_eq(p.items[0].text, STR("ab")));
    assert_true(p.items[0].score == 1);
    assert_int_equal(p.items[0].type, 3);
    assert_int_equal(p.items[1].type, 1);
    assert_false(p.is_unigram);
    gguf_pieces_deinit(&p);
    for (size_t cut = 1; cut < sizeof bytes - 1; cut++) { /* cut anywhere: never beyond the end */
        err = (struct err){0};
        if (gguf_pieces_parse(&p, (struct str){bytes, cut}, &err)) {
            gguf_pieces_deinit(&p);
        }
    }
    assert_false(gguf_pieces_parse(&p, STR(""), &err));
    assert_false(gguf_pieces_parse(&p, STR("\x0a\xff\xff\xff\xff\x7f"), &err));
    assert_false(gguf_pieces_parse(&p, STR("\x0b\x01"), &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_heads),
        cmocka_unit_test(lying_heads),
        cmocka_unit_test(pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
