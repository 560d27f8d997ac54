/* Tokenizers on arbitrary bytes: encode and decode must give the bytes back, whole and streamed,
 * and nothing that was not allowed may become a special token. The first byte picks the vocabulary
 * and the options. Vocabularies are those of tests/data/text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { VOCABS = 2 };

static struct text *vocabs[VOCABS];

static void check(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "text_fuzz: %s\n", what);
        abort();
    }
}

static const struct text *vocab(size_t i)
{
    static const char *const paths[VOCABS] = {TEST_DATA "/text/bpe.gguf",
                                              TEST_DATA "/text/spm.gguf"};
    if (!vocabs[i]) {
        struct err err = {0};
        struct gguf *gguf = gguf_open(paths[i], &err);
        check(gguf != NULL, err.text);
        vocabs[i] = text_open(gguf, &err);
        check(vocabs[i] != NULL, err.text);
        gguf_close(gguf);
    }
    return vocabs[i];
}

static bool same(const struct buf *buf, struct str s)
{
    return buf->len == s.len && (s.len == 0 || memcmp(buf->ptr, s.ptr, s.len) == 0);
}

/* True when a valid character of s begins before `at` and ends behind it. */
static bool cuts_character(struct str s, size_t at)
{
    uint32_t code;
    for (size_t back = 1; back <= 3 && back <= at; back++) {
        if (utf8_decode(s, at - back, &code) > back) {
            return true;
        }
    }
    return false;
}

static void round_trip(const struct text *text, struct str s)
{
    struct text_ids ids = {0};
    struct err err;
    struct buf whole = {0}, streamed = {0};
    struct text_stream stream;
    const struct text_encode_opts opts = {0};
    check(text_encode(text, s, &opts, &ids, &err), "encode");
    text_decode(text, ids.ids, ids.count, false, true, &whole);
    check(same(&whole, s), "the bytes did not come back");
    text_stream_init(&stream, text, false, true);
    for (size_t i = 0; i < ids.count; i++) {
        check(text_kind_of(text, ids.ids[i]) != TEXT_CONTROL, "text became a control token");
        text_stream_feed(&stream, ids.ids[i], &streamed);
        check(!cuts_character(s, streamed.len), "half a character came out");
    }
    text_stream_end(&stream, &streamed);
    check(same(&streamed, s), "the stream differs");
    buf_deinit(&whole);
    buf_deinit(&streamed);
    text_ids_deinit(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 3) {
        return 0;
    }
    const struct text *text = vocab(bytes[0] % VOCABS);
    const struct str s = {.ptr = (const char *)bytes + 3, .len = len - 3};
    round_trip(text, s);
    const struct text_span span = {.from = bytes[1], .to = (size_t)bytes[1] + bytes[2]};
    const struct text_encode_opts opts = {.add_special = bytes[0] & 2,
                                          .parse_special = bytes[0] & 4,
                                          .special_spans = &span,
                                          .special_span_count = 1};
    struct text_ids ids = {0};
    struct err err;
    check(text_encode(text, s, &opts, &ids, &err), "encode with special tokens");
    text_ids_deinit(&ids);
    return 0;
}
