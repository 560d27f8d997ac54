/* Ids to text: pieces, the space in front, control tokens, and the stream that never cuts a
 * character. */
#include "text/test_vocab.h"

#include "base/utf8.h"

static const char multilingual[] =
    "Grüße, мир! 日本語テキスト 한국어 नमस्ते \U0001F600\U0001F469\u200D\U0001F4BB مرحبا ½";

/* Feeds a text id by id; what comes out is valid UTF-8 after every step, and all of it at last. */
static void stream_text(const char *file)
{
    struct text *text = vocab_must_open(file, NULL, 0);
    struct text_ids ids = must_encode(text, str_of(multilingual), (struct text_encode_opts){0});
    assert_true(ids.count > strlen(multilingual) / 4); /* most characters take several tokens */
    struct text_stream stream;
    struct buf out = {0};
    text_stream_init(&stream, text, false, true);
    for (size_t i = 0; i < ids.count; i++) {
        text_stream_feed(&stream, ids.ids[i], &out);
        assert_true(utf8_is_valid(buf_view(&out)));
        assert_true(stream.held_len <= 3);
    }
    text_stream_end(&stream, &out);
    assert_string_equal(out.ptr, multilingual);
    buf_deinit(&out);
    text_ids_deinit(&ids);
    text_close(text);
}

static void a_stream_never_cuts_a_character(void **state)
{
    (void)state;
    stream_text(BPE_FILE);
    stream_text(SPM_FILE);
}

/* Bytes that are no UTF-8 are not held back for ever, and the end gives what is left. */
static void a_stream_passes_broken_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t held; /* before the end */
    } cases[] = {
        {"\xFF", 0},
        {"a\x80", 0},
        {"\xC3", 1},
        {"\xE6\x97", 2},
        {"\xF0\x9F\x98", 3},
        {"\xE6\x97x", 0},
        {"\xC3\xC3\xA9", 0},
        {"\xF5\x80\x80", 0},
        {"\xED\xA0\x80", 0},
        {"\xE6\x97\xA5", 0},
        {"\xF0\x9F\x98\xF0", 1},
        {"\xC0\x80", 0},
    };
    struct text *text = vocab_must_open(BPE_FILE, NULL, 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct text_ids ids =
            must_encode(text, str_of(cases[i].bytes), (struct text_encode_opts){0});
        struct text_stream stream;
        struct buf out = {0};
        text_stream_init(&stream, text, false, false);
        for (size_t k = 0; k < ids.count; k++) {
            text_stream_feed(&stream, ids.ids[k], &out);
        }
        assert_int_equal(stream.held_len, cases[i].held);
        assert_int_equal(out.len, strlen(cases[i].bytes) - cases[i].held);
        text_stream_end(&stream, &out);
        assert_string_equal(out.ptr, cases[i].bytes);
        buf_deinit(&out);
        text_ids_deinit(&ids);
    }
    text_close(text);
}

static void control_tokens_show_on_request(void **state)
{
    (void)state;
    struct text *text = vocab_must_open(BPE_FILE, NULL, 0);
    const text_id end = text_find(text, STR("<|im_end|>")), tool = text_find(text, STR("<tool>"));
    const text_id ids[] = {end, tool, -1, 1 << 30, end};
    struct buf out = {0};
    text_decode(text, ids, COUNT_OF(ids), false, false, &out);
    assert_string_equal(out.ptr, "<tool>");
    buf_clear(&out);
    text_decode(text, ids, COUNT_OF(ids), true, false, &out);
    assert_string_equal(out.ptr, "<|im_end|><tool><|im_end|>");
    buf_deinit(&out);
    assert_int_equal(text_piece(text, -1, true).len, 0);
    assert_int_equal(text_piece(text, (text_id)text_vocab_count(text), true).len, 0);
    text_close(text);
}

/* Only the space that encoding put in front goes, also behind a BOS that is not shown. */
static void the_first_space_goes_at_the_start(void **state)
{
    (void)state;
    struct text *text = vocab_must_open(SPM_FILE, NULL, 0);
    const struct text_encode_opts add = {.add_special = true};
    struct text_ids ids = must_encode(text, STR("the the"), add);
    struct buf out = {0};
    assert_int_equal(ids.ids[0], text_bos(text));
    text_decode(text, ids.ids, ids.count, false, true, &out);
    assert_string_equal(out.ptr, "the the");
    buf_clear(&out);
    text_decode(text, ids.ids, ids.count, false, false, &out);
    assert_string_equal(out.ptr, " the the");
    buf_clear(&out);
    text_decode(text, ids.ids, ids.count, true, true, &out);
    assert_string_equal(out.ptr, "<s> the the");
    buf_clear(&out);
    struct text_stream stream;
    text_stream_init(&stream, text, false, true);
    for (size_t i = 0; i < ids.count; i++) {
        text_stream_feed(&stream, ids.ids[i], &out);
    }
    assert_string_equal(out.ptr, "the the");
    buf_deinit(&out);
    text_ids_deinit(&ids);
    text_close(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_never_cuts_a_character),
        cmocka_unit_test(a_stream_passes_broken_bytes),
        cmocka_unit_test(control_tokens_show_on_request),
        cmocka_unit_test(the_first_space_goes_at_the_start),
    };
    return cmocka_run_group_tests_name("text/decode", tests, NULL, NULL);
}
