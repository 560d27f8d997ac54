/* SentencePiece BPE (tokenizer.ggml.model "llama").
 *
 * Spaces are written as U+2581, one is put in front of the text (and, as llama.cpp does, behind
 * each special token), and the text starts as its characters. Of all neighbours whose joined text
 * is a token the pair with the highest score is merged, leftmost on ties, until none is left. What
 * is no token then becomes byte tokens <0xNN>, or the unknown token where the vocabulary has no
 * bytes.
 *
 * SentencePiece has no words: merging runs over the whole text. In nearly all vocabularies, though,
 * no token has U+2581 behind another character, so nothing is ever merged across such a place and
 * the text can be cut there into words: short, and remembered (cache.h). 8x faster on 4 KiB of
 * English, 30x on megabytes. A vocabulary that has such a token is merged as one text, O(n log n).
 *
 * SentencePiece cannot tell U+2581 in a text from a space. Where the vocabulary has bytes, such a
 * character is written as its three bytes here, so that it comes back.
 *
 * As in SentencePiece itself, only ordinary and user-defined tokens come from text: the characters
 * "<s>" or "<0x41>" written by a user never become that control or byte token.
 *
 * Source: Kudo and Richardson, arXiv 1808.06226; sentencepiece's bpe_model.cc. */
#include "base/mem.h"
#include "base/utf8.h"
#include "text/merge.h"
#include "text/vocab.h"

#define SPACE_MARK "\xE2\x96\x81"

enum { SPACE_MARK_LEN = 3 };

struct spm {
    struct text_table words; /* tokens that text may become */
    size_t word_len_max;
    bool has_words;   /* no token crosses into a next word */
    bool keeps_marks; /* U+2581 in a text is written as bytes */
};

static bool is_mark(struct str s, size_t at)
{
    return at + SPACE_MARK_LEN <= s.len && memcmp(s.ptr + at, SPACE_MARK, SPACE_MARK_LEN) == 0;
}

static size_t spell(struct str raw, char *out)
{
    size_t len = 0;
    for (size_t at = 0; at < raw.len;) {
        if (is_mark(raw, at)) {
            out[len++] = ' ';
            at += SPACE_MARK_LEN;
        } else {
            out[len++] = raw.ptr[at++];
        }
    }
    return len;
}

static bool crosses_words(struct str s)
{
    for (size_t at = 1; at + SPACE_MARK_LEN <= s.len; at++) {
        if (is_mark(s, at) && !(at >= SPACE_MARK_LEN && is_mark(s, at - SPACE_MARK_LEN))) {
            return true;
        }
    }
    return false;
}

/* ---- loading ---- */

static void spm_defaults(struct text *text, const struct gguf *gguf)
{
    (void)gguf;
    text->add_bos = true;
    text->add_space_prefix = true;
    /* the ids of every SentencePiece model that does not say otherwise */
    if (text->count > 2) {
        text->unk = text->kinds[0] == TEXT_UNKNOWN ? 0 : TEXT_NONE;
        text->bos = text->kinds[1] == TEXT_CONTROL ? 1 : TEXT_NONE;
        text->eos = text->kinds[2] == TEXT_CONTROL ? 2 : TEXT_NONE;
    }
}

static void spm_close(void *state)
{
    struct spm *spm = state;
    if (!spm) {
        return;
    }
    text_table_deinit(&spm->words);
    mem_free(spm);
}

/* ---- encoding ---- */

struct spm_run {
    struct text_merge merge;
    struct buf marked; /* the text with space marks */
};

/* Scores as numbers that sort the other way round: the highest score is the smallest. */
static inline uint32_t score_priority(const struct text *text, int64_t id)
{
    uint32_t bits = 0;
    const float score = text->scores ? text->scores[id] + 0.0f : 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    const uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~ascending; /* infinity gives 0x007FFFFF at least and 0xFF7FFFFF at most: never NONE */
}

static inline uint32_t pair_find(const struct text *text, struct str word,
                                 const struct text_symbol *left, const struct text_symbol *right,
                                 text_id *joined)
{
    const struct spm *spm = text->state;
    const size_t len = (size_t)left->len + right->len;
    if (len > spm->word_len_max) {
        return TEXT_MERGE_NONE;
    }
    const int64_t id = text_table_find(&spm->words, word.ptr + left->at, len);
    if (id < 0) {
        return TEXT_MERGE_NONE;
    }
    *joined = (text_id)id;
    return score_priority(text, id);
}

static bool emit(struct text_run *run, struct str word, const struct text_symbol *symbol)
{
    if (LIKELY(symbol->id != TEXT_NONE)) {
        return text_ids_add(run->out, symbol->id);
    }
    for (size_t i = 0; i < symbol->len; i++) {
        if (!text_run_byte(run, (unsigned char)word.ptr[symbol->at + i])) {
            return false;
        }
    }
    return true;
}

static struct text_symbol symbol_at(const struct spm *spm, struct str word, size_t at)
{
    uint32_t code;
    const size_t len = utf8_decode(word, at, &code);
    struct text_symbol symbol = {.at = (uint32_t)at, .len = len > 0 ? (uint32_t)len : 1};
    symbol.id = (text_id)text_table_find(&spm->words, word.ptr + at, symbol.len);
    return symbol;
}

/* True when merging the characters of a token gives the token again, as of nearly all. */
static bool merges_to_itself(const struct text *text, size_t id)
{
    const struct str raw = text_strings_get(&text->raw, id);
    struct text_symbol symbols[TEXT_MERGE_SHORT];
    size_t count = 0, at = 0;
    for (; at < raw.len && count < TEXT_MERGE_SHORT; at += symbols[count++].len) {
        symbols[count] = symbol_at(text->state, raw, at);
    }
    return at == raw.len && text_merge_short(text, raw, symbols, count, pair_find) == 1 &&
           symbols[0].id == (text_id)id;
}

static bool spm_open(struct text *text, const struct gguf *gguf, struct err *err)
{
    (void)gguf;
    struct spm *spm = MEM_NEW(struct spm);
    text->state = spm;
    if (!spm) {
        return err_set_memory(err, sizeof *spm);
    }
    if (!text_table_init(&spm->words, &text->raw, text->count, err)) {
        return false;
    }
    spm->has_words = true;
    spm->keeps_marks = !text->remove_extra_spaces;
    for (size_t i = 0; i < SPACE_MARK_LEN; i++) {
        spm->keeps_marks &= text->bytes[(unsigned char)SPACE_MARK[i]] != TEXT_NONE;
    }
    for (size_t id = 0; id < text->count; id++) {
        const struct str raw = text_strings_get(&text->raw, id);
        if (!text_kind_is_plain(text->kinds[id]) || raw.len == 0) {
            continue;
        }
        text_table_add(&spm->words, (uint32_t)id);
        spm->word_len_max = raw.len > spm->word_len_max ? raw.len : spm->word_len_max;
        if (crosses_words(raw)) {
            spm->has_words = false;
        }
    }
    for (size_t id = 0; id < text->count; id++) {
        if (text_kind_is_plain(text->kinds[id]) && merges_to_itself(text, id)) {
            text->flags[id] |= TEXT_FLAG_WHOLE;
        }
    }
    return true;
}

static bool encode_short(struct text_run *run, struct str word, struct text_symbol *symbols,
                         size_t count)
{
    count = text_merge_short(run->text, word, symbols, count, pair_find);
    for (size_t i = 0; i < count; i++) {
        if (!emit(run, word, &symbols[i])) {
            return false;
        }
    }
    return true;
}

static bool encode_long(struct text_run *run, struct str word)
{
    const struct spm *spm = run->text->state;
    struct spm_run *scratch = run->scratch;
    if (!text_merge_reserve(&scratch->merge, word.len)) {
        return false;
    }
    struct text_symbol *symbols = scratch->merge.symbols;
    size_t count = 0;
    for (size_t at = 0; at < word.len; at += symbols[count++].len) {
        symbols[count] = symbol_at(spm, word, at);
    }
    text_merge_long(&scratch->merge, run->text, word, count, pair_find);
    for (size_t i = 0; i < count; i++) {
        if (symbols[i].len > 0 && !emit(run, word, &symbols[i])) {
            return false;
        }
    }
    return true;
}

static bool encode_word(struct text_run *run, struct str word)
{
    const struct spm *spm = run->text->state;
    bool hit;
    struct text_cache_entry *entry = text_cache_at(&run->cache, word, 0, &hit);
    if (hit) {
        for (size_t i = 0; i < entry->count; i++) {
            if (!text_ids_add(run->out, entry->ids[i])) {
                return false;
            }
        }
        return true;
    }
    const size_t first = run->out->count;
    const int64_t id =
        word.len <= spm->word_len_max ? text_table_find(&spm->words, word.ptr, word.len) : -1;
    if (id >= 0 && (run->text->flags[id] & TEXT_FLAG_WHOLE)) {
        return text_ids_add(run->out, (text_id)id);
    }
    struct text_symbol symbols[TEXT_MERGE_SHORT];
    size_t count = 0, at = 0;
    for (; at < word.len && count < TEXT_MERGE_SHORT; at += symbols[count++].len) {
        symbols[count] = symbol_at(spm, word, at);
    }
    const bool ok =
        at == word.len ? encode_short(run, word, symbols, count) : encode_long(run, word);
    if (ok && entry) {
        text_cache_put(entry, word, 0, run->out->ids + first, run->out->count - first);
    }
    return ok;
}

/* Spaces become marks. With remove_extra_spaces, runs become one and those at the ends go. */
static void mark_spaces(const struct text *text, struct str s, bool has_prefix, struct buf *out)
{
    const bool squeeze = text->remove_extra_spaces;
    if (squeeze) {
        while (s.len > 0 && s.ptr[0] == ' ') {
            s = str_slice(s, 1, s.len);
        }
        while (s.len > 0 && s.ptr[s.len - 1] == ' ') {
            s.len--;
        }
    }
    size_t space_count = 0;
    for (size_t i = 0; i < s.len; i++) {
        space_count += s.ptr[i] == ' ';
    }
    buf_clear(out);
    if (!buf_reserve(out, s.len + (SPACE_MARK_LEN - 1) * space_count + SPACE_MARK_LEN)) {
        return;
    }
    char *to = out->ptr;
    if (has_prefix && !(squeeze && s.len == 0)) {
        memcpy(to, SPACE_MARK, SPACE_MARK_LEN);
        to += SPACE_MARK_LEN;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != ' ') {
            *to++ = s.ptr[i];
        } else if (!(squeeze && s.ptr[i - 1] == ' ')) { /* squeezed text begins with no space */
            memcpy(to, SPACE_MARK, SPACE_MARK_LEN);
            to += SPACE_MARK_LEN;
        }
    }
    out->len = (size_t)(to - out->ptr);
}

/* End of the word at `at`: where a mark follows another character. */
static size_t word_end(struct str s, size_t at)
{
    while (is_mark(s, at)) {
        at += SPACE_MARK_LEN;
    }
    for (; at < s.len; at++) {
        const char *mark = memchr(s.ptr + at, SPACE_MARK[0], s.len - at);
        if (!mark) {
            return s.len;
        }
        at = (size_t)(mark - s.ptr);
        if (is_mark(s, at)) {
            return at;
        }
    }
    return s.len;
}

/* Text without marks of its own. */
static bool encode_part(struct text_run *run, struct str s, bool has_prefix, struct err *err)
{
    const struct spm *spm = run->text->state;
    struct spm_run *scratch = run->scratch;
    mark_spaces(run->text, s, has_prefix, &scratch->marked);
    if (scratch->marked.failed) {
        return err_set_memory(err, s.len);
    }
    const struct str marked = buf_view(&scratch->marked);
    for (size_t at = 0, to; at < marked.len; at = to) {
        to = spm->has_words ? word_end(marked, at) : marked.len;
        if (!encode_word(run, str_slice(marked, at, to))) {
            return err_set_memory(err, s.len);
        }
    }
    return true;
}

static bool spm_encode(struct text_run *run, struct str s, struct err *err)
{
    const struct text *text = run->text;
    const struct spm *spm = text->state;
    if (!run->scratch) {
        run->scratch = MEM_NEW(struct spm_run);
        if (!run->scratch) {
            return err_set_memory(err, sizeof(struct spm_run));
        }
    }
    if (s.len >= UINT32_MAX / 4) {
        return err_set(err, ERR_TOO_LARGE, "a text of %zu bytes is too long", s.len);
    }
    bool has_prefix = text->add_space_prefix && s.len > 0;
    while (spm->keeps_marks) {
        const size_t mark = str_find(s, STR(SPACE_MARK), 0);
        if (mark == SIZE_MAX) {
            break;
        }
        if (!encode_part(run, str_slice(s, 0, mark), has_prefix, err)) {
            return false;
        }
        for (size_t i = 0; i < SPACE_MARK_LEN; i++) {
            if (!text_run_byte(run, (unsigned char)SPACE_MARK[i])) {
                return err_set_memory(err, s.len);
            }
        }
        s = str_slice(s, mark + SPACE_MARK_LEN, s.len);
        has_prefix = false;
    }
    return encode_part(run, s, has_prefix, err);
}

static void spm_run_end(struct text_run *run)
{
    struct spm_run *scratch = run->scratch;
    if (!scratch) {
        return;
    }
    text_merge_deinit(&scratch->merge);
    buf_deinit(&scratch->marked);
    mem_free(scratch);
}

const struct text_model text_model_spm = {
    .name = "llama",
    .what = "SentencePiece BPE",
    .defaults = spm_defaults,
    .spell = spell,
    .open = spm_open,
    .close = spm_close,
    .encode = spm_encode,
    .run_end = spm_run_end,
};
