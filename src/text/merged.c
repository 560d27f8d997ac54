/* BPE by a list of merges over characters (tokenizer.ggml.model "gemma4").
 *
 * The vocabulary is written as SentencePiece writes it (a space is U+2581, bytes without a token
 * are <0x00> to <0xFF>), but what joins is said by tokenizer.ggml.merges, as in byte-level BPE. The
 * text is not cut into words: only runs of line breaks stand apart, and a run that is a token is
 * that token, whatever the merges make of it. No space is put in front.
 *
 * Source: the tokenizer.json of Gemma 4; llama.cpp for the runs of line breaks. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/merges.h"
#include "text/vocab.h"

#define SPACE_MARK "\xE2\x96\x81"
enum { SPACE_MARK_LEN = 3 };

struct merged_run {
    struct text_merge merge;
    struct buf marked;
};

static size_t spell(struct str raw, char *out)
{
    size_t len = 0;
    for (size_t at = 0; at < raw.len;) {
        const bool is_mark =
            at + SPACE_MARK_LEN <= raw.len && memcmp(raw.ptr + at, SPACE_MARK, SPACE_MARK_LEN) == 0;
        out[len++] = is_mark ? ' ' : raw.ptr[at];
        at += is_mark ? SPACE_MARK_LEN : 1;
    }
    return len;
}

static void merged_defaults(struct text *text, const struct gguf *gguf)
{
    (void)gguf;
    text->add_bos = true;
}

static bool merged_open(struct text *text, const struct gguf *gguf, struct err *err)
{
    struct text_merges *merges = MEM_NEW(struct text_merges);
    text->state = merges;
    if (!merges) {
        return err_set_memory(err, sizeof *merges);
    }
    for (size_t id = 0; id < text->count; id++) {
        const int byte = text_byte_parse(text_strings_get(&text->raw, id));
        if (byte >= 0 && text->kinds[id] == TEXT_BYTE) {
            text->bytes[byte] = (text_id)id;
        }
    }
    return text_merges_load(merges, text, gguf, err);
}

static void merged_close(void *state)
{
    if (state) {
        text_merges_deinit(state);
        mem_free(state);
    }
}

/* ---- encoding ---- */

static inline uint32_t pair_find(const struct text *text, struct str word,
                                 const struct text_symbol *left, const struct text_symbol *right,
                                 text_id *joined)
{
    (void)word;
    return left->id == TEXT_NONE || right->id == TEXT_NONE
               ? TEXT_MERGE_NONE
               : text_merges_find(text->state, left->id, right->id, joined);
}

static bool emit(struct text_run *run, struct str word, const struct text_symbol *symbol)
{
    if (symbol->id != TEXT_NONE) {
        return text_ids_add(run->out, symbol->id);
    }
    for (size_t i = symbol->at; i < (size_t)symbol->at + symbol->len; i++) {
        if (!text_run_byte(run, (unsigned char)word.ptr[i])) {
            return false;
        }
    }
    return true;
}

/* Characters, or bytes that are none. */
static size_t set_symbols(const struct text *text, struct str word, struct text_symbol *symbols)
{
    size_t count = 0;
    for (size_t at = 0; at < word.len;) {
        uint32_t code;
        const size_t n = utf8_decode(word, at, &code), len = n ? n : 1;
        symbols[count++] = (struct text_symbol){
            .at = (uint32_t)at,
            .len = (uint32_t)len,
            .id = (text_id)text_plain_find(text, word.ptr + at, len),
        };
        at += len;
    }
    return count;
}

static bool encode_word(struct text_run *run, struct str word)
{
    struct merged_run *scratch = run->scratch;
    struct text_symbol *symbols;
    const int64_t whole = word.ptr[0] == '\n' ? text_plain_find(run->text, word.ptr, word.len) : -1;
    if (whole >= 0) {
        return text_ids_add(run->out, (text_id)whole);
    }
    if (!text_merge_reserve(&scratch->merge, word.len)) {
        return false;
    }
    symbols = scratch->merge.symbols;
    const size_t count = set_symbols(run->text, word, symbols);
    text_merge_long(&scratch->merge, run->text, word, count, pair_find);
    for (size_t i = 0; i < count; i++) {
        if (symbols[i].len > 0 && !emit(run, word, &symbols[i])) {
            return false;
        }
    }
    return true;
}

static bool mark_spaces(struct str s, struct buf *out)
{
    buf_clear(out);
    for (size_t at = 0, to; at < s.len; at = to) {
        for (to = at; to < s.len && s.ptr[to] != ' '; to++) {
        }
        buf_add(out, str_slice(s, at, to));
        if (to < s.len) {
            buf_add_text(out, SPACE_MARK);
            to++;
        }
    }
    return !out->failed;
}

static bool merged_encode(struct text_run *run, struct str s, struct err *err)
{
    struct merged_run *scratch = run->scratch ? run->scratch : MEM_NEW(struct merged_run);
    run->scratch = scratch;
    if (s.len >= UINT32_MAX / 4) {
        return err_set(err, ERR_TOO_LARGE, "a text of %zu bytes is too long", s.len);
    }
    if (!scratch || !mark_spaces(s, &scratch->marked)) {
        return err_set_memory(err, s.len);
    }
    const struct str marked = buf_view(&scratch->marked);
    for (size_t at = 0, to; at < marked.len; at = to) {
        const bool is_break = marked.ptr[at] == '\n';
        for (to = at + 1; to < marked.len && (marked.ptr[to] == '\n') == is_break; to++) {
        }
        if (!encode_word(run, str_slice(marked, at, to))) {
            return err_set_memory(err, s.len);
        }
    }
    return true;
}

static void merged_run_end(struct text_run *run)
{
    struct merged_run *scratch = run->scratch;
    if (scratch) {
        text_merge_deinit(&scratch->merge);
        buf_deinit(&scratch->marked);
        mem_free(scratch);
    }
}

const struct text_model text_model_merged = {
    .name = "gemma4",
    .what = "BPE over characters",
    .defaults = merged_defaults,
    .spell = spell,
    .open = merged_open,
    .close = merged_close,
    .encode = merged_encode,
    .run_end = merged_run_end,
};
