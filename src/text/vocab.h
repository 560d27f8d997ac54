/* What the files of this folder share: the vocabulary itself and the seam between the kinds of
 * tokenizer. A kind is one file with one row of struct text_model. Not for other folders. */
#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H

#include "text/cache.h"
#include "text/special.h"
#include "text/table.h"
#include "text/text.h"

enum { TEXT_COUNT_MAX = 1 << 22 };  /* tokens; the largest vocabularies have 2^18..2^20 */
enum { TEXT_MERGES_MAX = 1 << 22 }; /* merges; the largest real lists have 450 thousand */

enum {
    TEXT_FLAG_END = 1,    /* a generation ends at this token */
    TEXT_FLAG_RSTRIP = 2, /* white space after this special token belongs to it */
    TEXT_FLAG_WHOLE = 4   /* SentencePiece: a word of this text becomes this token */
};

struct text {
    const struct text_model *model;
    void *state; /* of the model */
    char name[96];
    size_t count;
    struct text_strings raw;    /* as in the file */
    struct text_strings pieces; /* as in the output */
    struct text_table by_raw;
    uint8_t *kinds; /* enum text_kind */
    uint8_t *flags; /* TEXT_FLAG_* */
    float *scores;  /* NULL when the file has none */
    struct text_special special;
    text_id bos, eos, unk, sep, cls;
    bool add_bos, add_eos;
    bool add_sep; /* between the texts of a pair, behind the end of the first */
    bool add_space_prefix;
    bool remove_extra_spaces;
    text_id bytes[256]; /* the token of each single byte, or TEXT_NONE */
};

/* One call of text_encode: its output and scratch memory. */
struct text_run {
    const struct text *text;
    struct text_ids *out;
    struct text_cache cache;
    void *scratch; /* of the model; freed by its run_end */
    bool failed;   /* out of memory */
};

struct text_model {
    const char *name; /* tokenizer.ggml.model */
    const char *what; /* for people */

    /* Sets defaults that metadata may override: add_bos, add_space_prefix, bos ... */
    void (*defaults)(struct text *text, const struct gguf *gguf);

    /* Writes the piece of an ordinary token to `out` (room for raw.len bytes); returns its length.
     */
    size_t (*spell)(struct str raw, char *out);

    /* After kinds, pieces and special ids are known. close gets NULL-able state. */
    bool (*open)(struct text *text, const struct gguf *gguf, struct err *err);
    void (*close)(void *state);

    /* Appends the ids of text without special tokens: all of it, or what stands before, between or
     * behind them. run_end frees run->scratch. */
    bool (*encode)(struct text_run *run, struct str s, struct err *err);
    void (*run_end)(struct text_run *run);

    bool wraps; /* add_special puts `cls` in front and `sep` behind (BERT), not bos and eos */
};

extern const struct text_model text_model_bpe, text_model_spm, text_model_merged,
    text_model_unigram, text_model_wpm;

/* Which kinds of token ordinary text may become. */
static inline bool text_kind_is_plain(uint8_t kind)
{
    return kind == TEXT_NORMAL || kind == TEXT_USER_DEFINED;
}

/* Byte of "<0xNN>", or -1. */
int text_byte_parse(struct str raw);

/* Marks the tokens at which a generation ends, and gives tokens with well-known control names the
 * kind TEXT_CONTROL. Source of the lists: metadata and the names in endings.c. */
bool text_endings_mark(struct text *text, const struct gguf *gguf, struct err *err);

/* Reads an id; absent leaves *out alone. An id outside the vocabulary is an error, or, when it is
 * not `needed`, the same as absent (real files have bad padding ids). */
bool text_id_read(const struct text *text, const struct gguf *gguf, const char *key, bool needed,
                  text_id *out, struct err *err);

/* Emits one byte that no token covers: its byte token, else unknown, else U+FFFD. */
bool text_run_byte(struct text_run *run, unsigned char byte);

#endif
