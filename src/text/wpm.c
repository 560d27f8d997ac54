/* WordPiece (tokenizer.ggml.model "bert"): the tokenizer of BERT and its descendants.
 *
 *     "Unaffable!"  -> clean, lower case ->  unaffable !  ->  una ##ffa ##ble  !
 *
 *  1. Control characters, U+FFFD and NUL go; white space becomes a space; Chinese characters become
 *     words of one character; accents go (decompose, drop category Mn: only those, or Hindi would
 *     lose its vowels) and letters become lower case.
 *  2. The text is cut at white space, and around each punctuation character.
 *  3. Each word takes the longest token it begins with, then the longest that continues, and so on.
 *     A word that cannot be covered, or has more than 100 characters, is one unknown token.
 *
 * In the file a token that begins a word has U+2581 in front and one that continues a word has lost
 * its "##". A text is put between [CLS] and [SEP]. What was cleaned away does not come back.
 *
 * Source: google-research/bert tokenization.py; the Hugging Face BertNormalizer for the classes. */
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/vocab.h"

#define WORD_MARK "\xE2\x96\x81"

enum { WORD_MARK_LEN = 3, WORD_CHARS_MAX = 100, DECOMPOSED_MAX = 32 };

struct wpm {
    struct text_table words;
    size_t word_len_max;
};

static size_t spell(struct str raw, char *out)
{
    struct str rest = raw;
    size_t len = 0;
    if (str_eat(&rest, STR(WORD_MARK))) {
        out[len++] = ' ';
    }
    if (rest.len > 0) {
        memcpy(out + len, rest.ptr, rest.len);
    }
    return len + rest.len;
}

/* ---- loading ---- */

static void wpm_defaults(struct text *text, const struct gguf *gguf)
{
    (void)gguf;
    text->add_space_prefix = true; /* each word begins with one, and the first is not shown */
}

static text_id first_of(const struct text *text, text_id id, text_id other, const char *name)
{
    if (id != TEXT_NONE) {
        return id;
    }
    return other != TEXT_NONE ? other : text_find(text, str_of(name));
}

static void wpm_close(void *state)
{
    struct wpm *wpm = state;
    if (!wpm) {
        return;
    }
    text_table_deinit(&wpm->words);
    mem_free(wpm);
}

static bool wpm_open(struct text *text, const struct gguf *gguf, struct err *err)
{
    (void)gguf;
    struct wpm *wpm = MEM_NEW(struct wpm);
    text->state = wpm;
    if (!wpm) {
        return err_set_memory(err, sizeof *wpm);
    }
    text->cls = first_of(text, text->cls, text->bos, "[CLS]");
    text->sep = first_of(text, text->sep, text->eos, "[SEP]");
    text->unk = first_of(text, text->unk, TEXT_NONE, "[UNK]");
    if (text->unk == TEXT_NONE) {
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.unknown_token_id is missing");
    }
    if (!text_table_init(&wpm->words, &text->raw, text->count, err)) {
        return false;
    }
    for (size_t id = 0; id < text->count; id++) {
        const size_t len = text_strings_get(&text->raw, id).len;
        if (text_kind_is_plain(text->kinds[id]) && len > 0) {
            text_table_add(&wpm->words, (uint32_t)id);
            wpm->word_len_max = len > wpm->word_len_max ? len : wpm->word_len_max;
        }
    }
    return true;
}

/* ---- classes of characters ---- */

static bool is_space(uint32_t code)
{
    if (code < 0x80) {
        return code == ' ' || (code >= '\t' && code <= '\r');
    }
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return code == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

/* Taken out of the text; tab and line ends are white space, other controls are not. */
static bool is_dropped(uint32_t code)
{
    if (code == '\t' || code == '\n' || code == '\r') {
        return false;
    }
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return code == 0xFFFD || category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
           category == UTF8PROC_CATEGORY_CN || category == UTF8PROC_CATEGORY_CO;
}

static bool is_punctuation(uint32_t code)
{
    if (code < 0x80) { /* all signs, also those that Unicode calls symbols */
        return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') ||
               (code >= '[' && code <= '`') || (code >= '{' && code <= '~');
    }
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/* The blocks as the original lists them, its 0x2B920 included. */
static bool is_chinese(uint32_t code)
{
    return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) ||
           (code >= 0x20000 && code <= 0x2A6DF) || (code >= 0x2A700 && code <= 0x2B73F) ||
           (code >= 0x2B740 && code <= 0x2B81F) || (code >= 0x2B920 && code <= 0x2CEAF) ||
           (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x2F800 && code <= 0x2FA1F);
}

/* ---- encoding ---- */

struct wpm_run {
    struct buf word; /* the mark and the cleaned characters of the word so far */
    size_t chars;
};

/* Longest tokens first; what was added for this word is taken back when a part has none. */
static bool match_word(struct text_run *run, struct str word)
{
    const struct wpm *wpm = run->text->state;
    const size_t first = run->out->count;
    for (size_t at = 0, to; at < word.len; at = to) {
        int64_t id = -1;
        for (to = word.len < at + wpm->word_len_max ? word.len : at + wpm->word_len_max; to > at;
             to--) {
            id = text_table_find(&wpm->words, word.ptr + at, to - at);
            if (id >= 0) {
                break;
            }
        }
        if (id < 0) {
            run->out->count = first;
            return text_ids_add(run->out, run->text->unk);
        }
        if (!text_ids_add(run->out, (text_id)id)) {
            return false;
        }
    }
    return true;
}

static bool end_word(struct text_run *run)
{
    struct wpm_run *scratch = run->scratch;
    const struct str word = buf_view(&scratch->word);
    bool ok = !scratch->word.failed;
    if (ok && scratch->chars > WORD_CHARS_MAX) {
        ok = text_ids_add(run->out, run->text->unk);
    } else if (ok && scratch->chars > 0) {
        ok = match_word(run, word);
    }
    buf_clear(&scratch->word);
    scratch->chars = 0;
    return ok;
}

static void add_char(struct wpm_run *scratch, uint32_t code)
{
    char bytes[4];
    if (scratch->chars == 0) {
        buf_add_text(&scratch->word, WORD_MARK);
    }
    if (++scratch->chars <= WORD_CHARS_MAX) { /* a longer word is unknown whatever follows */
        buf_add(&scratch->word, (struct str){.ptr = bytes, .len = utf8_encode(code, bytes)});
    }
}

/* A cleaned character: ends the word, is a word, or continues one. */
static bool take_char(struct text_run *run, uint32_t code, bool is_alone)
{
    if (is_space(code)) {
        return end_word(run);
    }
    is_alone = is_alone || is_punctuation(code);
    if (is_alone && !end_word(run)) {
        return false;
    }
    add_char(run->scratch, code);
    return !is_alone || end_word(run);
}

static bool take_raw(struct text_run *run, uint32_t code)
{
    if (code < 0x80) { /* nearly all of English */
        const bool is_drop =
            code < ' ' ? !(code == '\t' || code == '\n' || code == '\r') : code == 0x7F;
        const bool is_upper = code >= 'A' && code <= 'Z';
        return is_drop || take_char(run, is_upper ? code + 'a' - 'A' : code, false);
    }
    if (is_dropped(code)) {
        return true;
    }
    utf8proc_int32_t parts[DECOMPOSED_MAX];
    int boundary_class = 0;
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        (utf8proc_int32_t)code, parts, DECOMPOSED_MAX, UTF8PROC_DECOMPOSE, &boundary_class);
    const bool is_alone = is_chinese(code);
    for (utf8proc_ssize_t i = 0; i < count && i < DECOMPOSED_MAX; i++) {
        if (utf8proc_category(parts[i]) == UTF8PROC_CATEGORY_MN) {
            continue;
        }
        if (!take_char(run, (uint32_t)utf8proc_tolower(parts[i]), is_alone)) {
            return false;
        }
    }
    return true;
}

static bool wpm_encode(struct text_run *run, struct str s, struct err *err)
{
    if (!run->scratch) {
        run->scratch = MEM_NEW(struct wpm_run);
        if (!run->scratch) {
            return err_set_memory(err, sizeof(struct wpm_run));
        }
    }
    for (size_t at = 0, len; at < s.len; at += len) {
        uint32_t code = 0xFFFD; /* what is no UTF-8 goes as U+FFFD does */
        len = utf8_decode(s, at, &code);
        len = len > 0 ? len : 1;
        if (!take_raw(run, code)) {
            return err_set_memory(err, s.len);
        }
    }
    return end_word(run) || err_set_memory(err, s.len);
}

static void wpm_run_end(struct text_run *run)
{
    struct wpm_run *scratch = run->scratch;
    if (!scratch) {
        return;
    }
    buf_deinit(&scratch->word);
    mem_free(scratch);
}

const struct text_model text_model_wpm = {
    .name = "bert",
    .what = "WordPiece",
    .defaults = wpm_defaults,
    .spell = spell,
    .open = wpm_open,
    .close = wpm_close,
    .encode = wpm_encode,
    .run_end = wpm_run_end,
    .wraps = true,
};
