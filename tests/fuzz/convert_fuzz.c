/* The parsers of hearth convert and perplexity on arbitrary bytes. The first byte picks one: the
 * head of a safetensors file, a SentencePiece vocabulary, the head of a file of logits. What they
 * accept must lie inside what was given. */
#include <stdint.h>
#include <stdlib.h>

#include "cli/logits_file.h"
#include "gguf/pieces.h"
#include "gguf/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void try_safetensors(struct str head)
{
    enum { DATA_BYTES = 1 << 16 };
    struct gguf_safetensors all = {0};
    struct err err = {0};
    if (gguf_safetensors_parse(&all, head, 8 + head.len, DATA_BYTES, &err)) {
        for (size_t i = 0; i < all.tensor_count; i++) {
            const struct gguf_safetensor *t = &all.tensors[i];
            if (t->offset < 8 + head.len || t->offset + t->bytes > 8 + head.len + DATA_BYTES) {
                abort();
            }
        }
    }
    gguf_safetensors_close(&all);
}

static void try_pieces(struct str bytes)
{
    struct gguf_pieces pieces;
    struct err err = {0};
    if (!gguf_pieces_parse(&pieces, bytes, &err)) {
        return;
    }
    for (size_t i = 0; i < pieces.count; i++) {
        struct str text = pieces.items[i].text;
        if (text.len > 0 && (text.ptr < bytes.ptr || text.ptr + text.len > bytes.ptr + bytes.len)) {
            abort();
        }
    }
    gguf_pieces_deinit(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return 0;
    }
    struct str rest = {(const char *)bytes + 1, len - 1};
    if (bytes[0] % 3 == 0) {
        try_safetensors(rest);
    } else if (bytes[0] % 3 == 1) {
        try_pieces(rest);
    } else if (rest.len >= 20) {
        struct logits_file file = {0};
        struct err err = {0};
        cli_logits_parse(&file, bytes + 1, rest.len, &err);
    }
    return 0;
}
