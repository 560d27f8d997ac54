/* The normaliser's table and the unigram tokenizer on arbitrary bytes. The first two bytes are the
 * length of a table; a text follows. A table that is accepted may be nonsense, but the text ends,
 * stays small, and is cut into tokens of the vocabulary that decode to something. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/charsmap.h"
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "unigram_fuzz: %s\n", what);
        abort();
    }
}

static const struct text *vocab(void)
{
    static struct text *text;
    if (!text) {
        struct err err = {0};
        struct gguf *gguf = gguf_open(TEST_DATA "/text/unigram.gguf", &err);
        check(gguf != NULL, err.text);
        text = text_open(gguf, &err);
        check(text != NULL, err.text);
        gguf_close(gguf);
    }
    return text;
}

static void try_table(struct str blob, struct str s)
{
    struct text_charsmap map;
    struct err err = {0};
    struct buf out = {0};
    if (text_charsmap_init(&map, blob, &err)) {
        text_charsmap_apply(&map, s, &out);
        check(out.len <= 256 * s.len, "the text grew without bound");
        buf_deinit(&out);
        text_charsmap_deinit(&map);
    } else {
        check(err.code == ERR_FORMAT, "a table was refused for no reason");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2) {
        return 0;
    }
    size_t table = (size_t)bytes[0] | (size_t)bytes[1] << 8;
    table = table < len - 2 ? table : len - 2;
    const struct str all = {.ptr = (const char *)bytes + 2, .len = len - 2};
    const struct str s = str_slice(all, table, all.len);
    struct text_ids ids = {0};
    struct buf out = {0};
    struct err err;
    const struct text_encode_opts opts = {.add_special = true};
    try_table(str_slice(all, 0, table), s);
    check(text_encode(vocab(), s, &opts, &ids, &err), "encode");
    check(ids.count >= 2 && ids.count <= 2 + 33 * s.len, "too many tokens");
    for (size_t i = 0; i < ids.count; i++) {
        check((size_t)ids.ids[i] < text_vocab_count(vocab()), "a token outside the vocabulary");
    }
    text_decode(vocab(), ids.ids, ids.count, false, true, &out);
    buf_deinit(&out);
    text_ids_deinit(&ids);
    return 0;
}
