/* Byte-level BPE (tokenizer.ggml.model "gpt2").
 *
 * The text is cut into words by a pre-tokenizer (pretok.c, split.c). Each word starts as its bytes
 * and neighbours are merged in the order of the list tokenizer.ggml.merges. Token texts in the file
 * are written in an alphabet of 256 printable characters, one per byte (GPT-2's bytes_to_unicode):
 * bytes 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for themselves as U+00NN, the other 68 are U+0100
 * onward in order, so a space is U+0120. Here everything is turned back to bytes once, at load.
 *
 * A merge is kept as (left id, right id) -> (rank, joined id) in one hash table. A merge of which a
 * part or the result is no ordinary token can never apply and is left out; real files have some
 * (GLM-4 lists merges of three parts). Control tokens are never made by merging.
 *
 * Bytes that are not UTF-8 cannot be given to the regexes: a run of them is a word of its own, and
 * what stands before and behind it is split as a text of its own.
 *
 * Source: Sennrich et al., arXiv 1508.07909; the tokenizers and llama.cpp projects for the details.
 */
#include "base/mem.h"
#include "base/os.h"
#include "base/utf8.h"
#include "text/merge.h"
#include "text/pretok.h"
#include "text/split.h"
#include "text/vocab.h"

struct merge_slot {
    uint32_t left, right; /* ids */
    uint32_t rank_1;      /* rank + 1; 0: empty */
    text_id joined;
};

struct bpe {
    const struct text_pretok *pretok;
    struct text_split *split;
    struct merge_slot *merges;
    size_t merges_mask;
    uint64_t seed;
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

static uint64_t pair_hash(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    return text_hash_mix(((uint64_t)left << 32 | right) ^ bpe->seed, 0x9E3779B97F4A7C15ull);
}

static void merge_add(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, text_id joined)
{
    size_t at = pair_hash(bpe, left, right) & bpe->merges_mask;
    for (; bpe->merges[at].rank_1 != 0; at = (at + 1) & bpe->merges_mask) {
        if (bpe->merges[at].left == left && bpe->merges[at].right == right) {
            return; /* listed twice: the first counts */
        }
    }
    bpe->merges[at] = (struct merge_slot){left, right, rank + 1, joined};
}

/* The id of an ordinary token, or -1. */
static int64_t plain_find(const struct text *text, const char *bytes, size_t len)
{
    const int64_t id = text_table_find(&text->by_raw, bytes, len);
    return id >= 0 && text_kind_is_plain(text->kinds[id]) ? id : -1;
}

/* "left right": the separator is the first space behind the first byte. `joint` has room for len.
 */
static bool merge_parse(const struct text *text, struct bpe *bpe, struct str merge, uint32_t rank,
                        char *joint, struct err *err)
{
    const size_t space = str_find(merge, STR(" "), 1);
    if (merge.len < 3 || space == SIZE_MAX || space + 1 == merge.len) {
        char quote[STR_QUOTE_MAX];
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges: item %u \"%s\" is not two parts",
                       rank, str_quote(quote, merge));
    }
    const size_t right_len = merge.len - space - 1;
    const int64_t left = plain_find(text, merge.ptr, space);
    const int64_t right = left < 0 ? -1 : plain_find(text, merge.ptr + space + 1, right_len);
    if (right < 0) {
        return true;
    }
    memcpy(joint, merge.ptr, space);
    memcpy(joint + space, merge.ptr + space + 1, right_len);
    const int64_t joined = plain_find(text, joint, merge.len - 1);
    if (joined >= 0) {
        merge_add(bpe, (uint32_t)left, (uint32_t)right, rank, (text_id)joined);
    }
    return true;
}

static bool load_merges(const struct text *text, struct bpe *bpe, const struct gguf *gguf,
                        struct err *err)
{
    const struct gguf_entry *entry = gguf_find(gguf, STR("tokenizer.ggml.merges"));
    if (!entry) {
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges is missing");
    }
    const struct gguf_value *value = &entry->value;
    if (value->kind != GGUF_ARRAY || value->item_kind != GGUF_STRING) {
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges is not a list of strings");
    }
    if (value->count > TEXT_MERGES_MAX) {
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges has %llu items, more than %d",
                       (unsigned long long)value->count, TEXT_MERGES_MAX);
    }
    size_t slot_count = 16, longest = 1;
    while (slot_count < 2 * value->count) {
        slot_count *= 2;
    }
    for (size_t i = 0; i < value->count; i++) {
        longest = value->texts[i].len > longest ? value->texts[i].len : longest;
    }
    bpe->merges_mask = slot_count - 1;
    os_random(&bpe->seed, sizeof bpe->seed);
    bpe->merges = MEM_ARRAY(struct merge_slot, slot_count);
    char *joint = mem_alloc(longest, 1);
    bool ok = bpe->merges && joint;
    if (!ok) {
        err_set_memory(err, slot_count * sizeof *bpe->merges + longest);
    }
    for (size_t i = 0; ok && i < value->count; i++) {
        ok = merge_parse(text, bpe, value->texts[i], (uint32_t)i, joint, err);
    }
    mem_free(joint);
    return ok;
}

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
    mem_free(bpe->merges);
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
    const uint32_t l = (uint32_t)left->id, r = (uint32_t)right->id;
    for (size_t at = pair_hash(bpe, l, r) & bpe->merges_mask;; at = (at + 1) & bpe->merges_mask) {
        const struct merge_slot *slot = &bpe->merges[at];
        if (slot->rank_1 == 0) {
            return TEXT_MERGE_NONE;
        }
        if (slot->left == l && slot->right == r) {
            *joined = slot->joined;
            return slot->rank_1 - 1;
        }
    }
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
    if (!find_pretok(text, bpe, gguf, err) || !load_merges(text, bpe, gguf, err) ||
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
