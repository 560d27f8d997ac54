/* Vocabulary and tokenizer of a model: text <-> token ids.
 *
 * Text from users never becomes a control token: special tokens are looked for only where the
 * caller says so, byte range by byte range, while everything is still split and merged as one text.
 * A struct text is immutable after text_open and may be shared by threads. */
#ifndef TEXT_TEXT_H
#define TEXT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "gguf/gguf.h"

typedef int32_t text_id; /* a token id; the one typedef of the house, so that ids read as such */

enum { TEXT_NONE = -1 }; /* no such token */

/* token types of the file format (tokenizer.ggml.token_type) */
enum text_kind {
    TEXT_NORMAL = 1,
    TEXT_UNKNOWN = 2,
    TEXT_CONTROL = 3,
    TEXT_USER_DEFINED = 4,
    TEXT_UNUSED = 5,
    TEXT_BYTE = 6
};

struct text;

/* A growing list of ids; mem_free(ids) when done. */
struct text_ids {
    text_id *ids;
    size_t count, cap;
};

/* Bytes [from, to) of a text. */
struct text_span {
    size_t from, to;
};

struct text_encode_opts {
    bool add_special;   /* BOS/EOS as the model's metadata asks; BOS is not added twice when the
                           text itself begins with it as a parsed special token */
    bool parse_special; /* look for special tokens in the whole text ... */
    const struct text_span *special_spans; /* ... or only inside these ascending ranges */
    size_t special_span_count;
};

/* Needs only metadata: vocabulary-only files work. Errors: ERR_FORMAT (which key), ERR_ARCH for a
 * tokenizer model or pre-tokenizer that is not known (the message lists those that are). */
struct text *text_open(const struct gguf *gguf, struct err *err);
void text_close(struct text *text);

/* Appends the ids of `s`, arbitrary bytes of any length. Linear time. Fails only for lack of
 * memory. */
bool text_encode(const struct text *text, struct str s, const struct text_encode_opts *opts,
                 struct text_ids *out, struct err *err);

/* Appends the ids of two texts as the model wants a pair, with its special tokens; none are looked
 * for in the texts. *second_at: where in the new ids the part that a model with token types counts
 * as the second begins; 0 for models without. */
bool text_encode_pair(const struct text *text, struct str first, struct str second,
                      struct text_ids *out, size_t *second_at, struct err *err);

/* Bytes of one token as they stand in the output text: byte-level characters mapped back, the
 * SentencePiece space mark as a space, byte tokens as their byte. Control tokens give their text
 * only with `special`, else nothing. Borrowed. An id outside the vocabulary gives nothing. */
struct str text_piece(const struct text *text, text_id id, bool special);

/* The token's text as it stands in the file. Borrowed. */
struct str text_raw(const struct text *text, text_id id);

/* Appends the text of ids. For SentencePiece the space that the tokenizer put before the first word
 * is removed when `ids` is the start of a text (`at_start`), and behind user-defined tokens. */
void text_decode(const struct text *text, const text_id *ids, size_t count, bool special,
                 bool at_start, struct buf *out);

/* Streaming detokeniser: feeds one id, appends all bytes that are complete. Valid UTF-8 is never
 * split: up to 3 bytes of a character not yet complete are held back; bytes that can never become
 * valid come out as they are (the dialects write U+FFFD for them). */
struct text_stream {
    const struct text *text;
    bool special;
    bool at_start;
    char held[4];
    size_t held_len;
};

void text_stream_init(struct text_stream *stream, const struct text *text, bool special,
                      bool at_start);
void text_stream_feed(struct text_stream *stream, text_id id, struct buf *out);
void text_stream_end(struct text_stream *stream, struct buf *out); /* what is still held */

size_t text_vocab_count(const struct text *text);
enum text_kind text_kind_of(const struct text *text, text_id id);
text_id text_find(const struct text *text, struct str raw); /* exact token text; TEXT_NONE */
text_id text_bos(const struct text *text);                  /* TEXT_NONE if the model has none */
text_id text_eos(const struct text *text);
bool text_adds_bos(const struct text *text);
bool text_adds_eos(const struct text *text);

/* True for every token at which a generation ends: eos, eot, eom, and the lists of the metadata
 * (tokenizer.ggml.eos_token_ids ...), plus the well-known names (<|im_end|>, <|eot_id|>,
 * <end_of_turn>,
 * <|endoftext|> ...) when they are control tokens. */
bool text_is_end(const struct text *text, text_id id);

/* "gpt2/llama-bpe": tokenizer model and pre-tokenizer. */
const char *text_name(const struct text *text);

void text_ids_deinit(struct text_ids *ids);
bool text_ids_add(struct text_ids *ids, text_id id);

#endif
