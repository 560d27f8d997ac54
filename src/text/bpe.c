/* Byte-level BPE (tokenizer.ggml.model "gpt2").
 *
 * The text is cut into words by a pre-tokenizer (pretok.c, split.c). Each word starts as its bytes
 * and neighbours are merged in the order of the list tokenizer.ggml.merges. Token texts in the file
 * are written in an alphabet of 256 printable characters, one per byte (GPT-2's bytes_to_unicode):
 * bytes 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for themselves as U+00NN, the other 68 are U+0100
 * onward in order, so a space is U+0120. Here everything is turned back to bytes once, at load.
 *
 * Bytes that are not UTF-8 cannot be given to the regexes: a run of them is a word of its own, and
 * what stands before and behind it is split as a text of its own.
 *
 * Source: Sennrich et al., arXiv 1508.07909; the tokenizers and llama.cpp projects for the details.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "text/merges.h"
#include "text/pretok.h"
#include "text/split.h"
#include "text/vocab.h"

struct bpe {
    const struct text_pretok *pretok;
    struct text_split *split;
    struct text_merges merges;
    struct text_table words; /* tokens that a word of the same bytes becomes, by their bytes */
};

/* ---- the alphabet ---- */

static bool byte_stands_for_itself(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The byte of a character of the alphabet, or -1. */
static int alphabet_byte(uint32_t code)
{
    if (code < 256) {
        return byte_stands_for_itself(code) ? (int)code : -1;
    }
    if (code < 256 + 33) { /* 0x00..0x20 */
        return (int)code - 256;
    }
    if (code < 256 + 33 + 34) { /* 0x7F..0xA0 */
        return (int)code - 256 - 33 + 0x7F;
    }
    return code == 256 + 67 ? 0xAD : -1;
}

static size_t spell(struct str raw, char *out)
{
    size_t len = 0;
    for (size_t at = 0, n; at < raw.len; at += n) {
        uint32_t code = 0;
        n = utf8_decode(raw, at, &code);
        const int byte = n > 0 ? alphabet_byte(code) : -1;
        if (byte < 0) { /* not written in the alphabet: an added token, its text is what it says */
            memcpy(out, raw.ptr, raw.len);
            return raw.len;
        }
        out[len++] = (char)byte;
    }
    return len;
}

/* ---- loading ---- */

static bool is_spelled(const struct text *text, size_t id)
{
    const struct str raw = text_strings_get(&text->raw, id);
    uint32_t code;
    for (size_t at = 0, n; at < raw.len; at += n) {
        if ((n = utf8_decode(raw, at, &code)) == 0 || alphabet_byte(code) < 0) {
            return false;
        }
    }
    return raw.len > 0;
}

static bool find_pretok(struct text *text, struct bpe *bpe, const struct gguf *gguf,
                        struct err *err)
{
    struct str name = STR("default");
    bool found;
    if (!gguf_get_str(gguf, STR("tokenizer.ggml.pre"), &name, &found, err)) {
        return false;
    }
    name = name.len > 0 ? name : STR("default");
    bpe->pretok = text_pretok_find(name);
    if (bpe->pretok) {
        const size_t len = strlen(text->name);
        char *end = text->name + len;
        *end = '/';
        memcpy(end + 1, name.ptr, name.len);
        end[1 + name.len] = '\0';
        return true;
    }
    struct buf known = {0};
    char quote[STR_QUOTE_MAX];
    text_pretok_list(&known);
    err_set(err, ERR_ARCH, "pre-tokenizer \"%s\" is not known; known are: %s",
            str_quote(quote, name), known.ptr ? known.ptr : "");
    buf_deinit(&known);
    return false;
}

static void bpe_close(void *state)
{
    struct bpe *bpe = state;
    if (!bpe) {
        return;
    }
    text_split_close(bpe->split);
    text_table_deinit(&bpe->words);
    text_merges_deinit(&bpe->merges);
    mem_free(bpe);
}

static void bpe_defaults(struct text *text, const struct gguf *gguf)
{
    struct str name = STR("default");
    if (!gguf_get_str(gguf, STR("tokenizer.ggml.pre"), &name, NULL, NULL)) {
        return;
    }
    const struct text_pretok *pretok = text_pretok_find(name);
    text->add_bos = pretok && (pretok->flags & TEXT_PRETOK_ADD_BOS);
    text->add_sep = pretok && (pretok->flags & TEXT_PRETOK_ADD_SEP);
}

/* ---- encoding ---- */

struct bpe_run {
    struct text_split_run split;
    struct text_merge merge;
};

static inline uint32_t pair_find(const struct text *text, struct str word,
                                 const struct text_symbol *left, const struct text_symbol *right,
                                 text_id *joined)
{
    (void)word;
    const struct bpe *bpe = text->state;
    return text_merges_find(&bpe->merges, left->id, right->id, joined);
}

static bool emit(struct text_run *run, struct str word, const struct text_symbol *symbol)
{
    if (LIKELY(symbol->id != TEXT_NONE)) {
        return text_ids_add(run->out, symbol->id);
    }
    return text_run_byte(run, (unsigned char)word.ptr[symbol->at]); /* only bytes have no token */
}

static void set_bytes(const struct text *text, struct str word, struct text_symbol *symbols)
{
    for (size_t i = 0; i < word.len; i++) {
        symbols[i] = (struct text_symbol){
            .at = (uint32_t)i, .len = 1, .id = text->bytes[(unsigned char)word.ptr[i]]};
    }
}

/* True when merging the bytes of an ordinary token gives the token again. */
static bool merges_to_itself(const struct text *text, struct str piece, size_t id)
{
    struct text_symbol symbols[TEXT_MERGE_SHORT];
    if (piece.len > TEXT_MERGE_SHORT) {
        return false;
    }
    set_bytes(text, piece, symbols);
    return text_merge_short(text, piece, symbols, piece.len, pair_find) == 1 &&
           symbols[0].id == (text_id)id;
}

/* The tokens of single bytes, and the words that need no merging: with "whole words" all tokens,
 * else those that merging makes of their bytes anyway, which are nearly all. Needs the merges. */
static bool load_words(struct text *text, struct bpe *bpe, struct err *err)
{
    const bool has_all = bpe->pretok->flags & TEXT_PRETOK_WHOLE_WORDS;
    if (!text_table_init(&bpe->words, &text->pieces, text->count, err)) {
        return false;
    }
    for (size_t id = 0; id < text->count; id++) {
        const struct str piece = text_strings_get(&text->pieces, id);
        if (piece.len == 1 && text->kinds[id] == TEXT_NORMAL && is_spelled(text, id)) {
            text->bytes[(unsigned char)piece.ptr[0]] = (text_id)id;
        }
    }
    for (size_t id = 0; id < text->count; id++) {
        const struct str piece = text_strings_get(&text->pieces, id);
        if (text->kinds[id] == TEXT_NORMAL && is_spelled(text, id) &&
            (has_all || merges_to_itself(text, piece, id))) {
            text_table_add(&bpe->words, (uint32_t)id);
        }
    }
    return true;
}

static bool bpe_open(struct text *text, const struct gguf *gguf, struct err *err)
{
    struct bpe *bpe = MEM_NEW(struct bpe);
    text->state = bpe;
    if (!bpe) {
        return err_set_memory(err, sizeof *bpe);
    }
    if (!find_pretok(text, bpe, gguf, err) || !text_merges_load(&bpe->merges, text, gguf, err) ||
        !load_words(text, bpe, err)) {
        return false;
    }
    bpe->split = text_split_open(bpe->pretok, err);
    return bpe->split != NULL;
}

static bool encode_word(struct text_run *run, struct str word)
{
    const struct text *text = run->text;
    const struct bpe *bpe = text->state;
    struct bpe_run *scratch = run->scratch;
    const int64_t id = text_table_find(&bpe->words, word.ptr, word.len);
    if (id >= 0) {
        return text_ids_add(run->out, (text_id)id);
    }
    if (word.len <= TEXT_MERGE_SHORT) {
        struct text_symbol symbols[TEXT_MERGE_SHORT];
        set_bytes(text, word, symbols);
        const size_t count = text_merge_short(text, word, symbols, word.len, pair_find);
        for (size_t i = 0; i < count; i++) {
            if (!emit(run, word, &symbols[i])) {
                return false;
            }
        }
        return true;
    }
    if (!text_merge_reserve(&scratch->merge, word.len)) {
        return false;
    }
    set_bytes(text, word, scratch->merge.symbols);
    text_merge_long(&scratch->merge, text, word, word.len, pair_find);
    for (size_t i = 0; i < word.len; i++) {
        if (scratch->merge.symbols[i].len > 0 && !emit(run, word, &scratch->merge.symbols[i])) {
            return false;
        }
    }
    return true;
}

/* Stages from `stage` on; what a part becomes depends on its bytes and the stage alone, so it can
 * be remembered at every stage. Recursion is as deep as there are stages. */
static bool encode_part(struct text_run *run, struct str part, size_t stage)
{
    struct bpe_run *scratch = run->scratch;
    const struct bpe *bpe = run->text->state;
    bool hit;
    struct text_cache_entry *entry = text_cache_at(&run->cache, part, (unsigned)stage, &hit);
    if (hit) {
        for (size_t i = 0; i < entry->count; i++) {
            if (!text_ids_add(run->out, entry->ids[i])) {
                return false;
            }
        }
        return true;
    }
    const size_t first = run->out->count;
    bool ok = true;
    if (stage == text_split_stage_count(bpe->split)) {
        ok = encode_word(run, part);
    } else {
        size_t to = 0, match_to = 0;
        for (size_t at = 0; ok && at < part.len; at = to) {
            text_split_next(&scratch->split, stage, part, at, &to, &match_to);
            ok = encode_part(run, str_slice(part, at, to), stage + 1);
        }
    }
    if (ok && entry) {
        text_cache_put(entry, part, (unsigned)stage, run->out->ids + first,
                       run->out->count - first);
    }
    return ok;
}

/* Length of the bytes at the start of s that are no UTF-8. */
static size_t invalid_prefix(struct str s)
{
    size_t len = 0;
    uint32_t code;
    while (len < s.len && utf8_decode(s, len, &code) == 0) {
        len++;
    }
    return len;
}

static bool bpe_encode(struct text_run *run, struct str s, struct err *err)
{
    const struct bpe *bpe = run->text->state;
    if (!run->scratch) {
        struct bpe_run *scratch = MEM_NEW(struct bpe_run);
        run->scratch = scratch;
        if (!scratch || !text_split_begin(&scratch->split, bpe->split)) {
            return err_set_memory(err, sizeof *scratch);
        }
    }
    if (s.len >= UINT32_MAX / 4) {
        return err_set(err, ERR_TOO_LARGE, "a text of %zu bytes is too long", s.len);
    }
    while (s.len > 0) {
        const size_t valid = utf8_valid_prefix(s);
        if (valid > 0 && !encode_part(run, str_slice(s, 0, valid), 0)) {
            return err_set_memory(err, s.len);
        }
        s = str_slice(s, valid, s.len);
        const size_t invalid = invalid_prefix(s);
        if (invalid > 0 && !encode_word(run, str_slice(s, 0, invalid))) {
            return err_set_memory(err, s.len);
        }
        s = str_slice(s, invalid, s.len);
    }
    return true;
}

static void bpe_run_end(struct text_run *run)
{
    struct bpe_run *scratch = run->scratch;
    if (!scratch) {
        return;
    }
    text_split_end(&scratch->split);
    text_merge_deinit(&scratch->merge);
    mem_free(scratch);
}

const struct text_model text_model_bpe = {
    .name = "gpt2",
    .what = "byte-level BPE",
    .defaults = bpe_defaults,
    .spell = spell,
    .open = bpe_open,
    .close = bpe_close,
    .encode = bpe_encode,
    .run_end = bpe_run_end,
};
