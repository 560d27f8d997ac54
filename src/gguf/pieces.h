/* The vocabulary in a SentencePiece file (tokenizer.model): a protobuf message ModelProto, of which
 * field 1, repeated, is a piece: text (1), score (2, float), type (3: 1 normal, 2 unknown, 3
 * control, 4 user defined, 5 unused, 6 byte, the numbers of GGUF too). trainer_spec (2) has
 * model_type (3: 1 unigram, 2 BPE). Source: sentencepiece_model.proto. The file is hostile. */
#ifndef GGUF_PIECES_H
#define GGUF_PIECES_H

#include "base/err.h"
#include "base/str.h"

enum { PIECES_MAX = 1 << 22 };

struct gguf_piece {
    struct str text; /* in the parsed bytes */
    float score;
    uint32_t type;
};

struct gguf_pieces {
    struct gguf_piece *items; /* owned */
    size_t count;
    bool is_unigram;
};

bool gguf_pieces_parse(struct gguf_pieces *pieces, struct str bytes, struct err *err);
void gguf_pieces_deinit(struct gguf_pieces *pieces);

#endif
