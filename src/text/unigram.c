/* SentencePiece unigram (tokenizer.ggml.model "t5"): T5, XLM-RoBERTa and the encoders made of it.
 *
 *     text -> normaliser (charsmap.c) -> spaces squeezed, written as U+2581, one in front -> words
 *     word -> the cut into tokens with the highest sum of scores
 *
 * The best cut is found by going through the word once (Viterbi): best[i] is the best sum of a cut
 * of the first i bytes, and each token that begins there may improve best[i + its length]. A
 * character that no token covers is unknown, at the lowest score less 10; neighbours of these are
 * one unknown token, or byte tokens where the vocabulary has them. What tokens begin at a place is
 * read off a trie.
 *
 * In nearly all vocabularies no token has U+2581 behind another character, so the best cut of a
 * text is that of its words one by one: short, and remembered (cache.h).
 *
 * Source: Kudo, arXiv 1804.10959; sentencepiece's unigram_model.cc and normalizer.cc. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/charsmap.h"
#include "text/vocab.h"

#define SPACE_MARK "\xE2\x96\x81"

enum { SPACE_MARK_LEN = 3, PIECE_BYTES_MAX = 512 /* a longer token is never found */ };

static const double unknown_penalty = 10;

/* Children of a node stand side by side, sorted by their byte. */
struct node {
    uint32_t first_child;
    text_id id; /* TEXT_NONE: no token ends here */
    uint16_t child_count;
    uint8_t byte;
};

struct unigram {
    struct text_charsmap charsmap;
    struct node *nodes; /* nodes[0] is the root */
    size_t node_count;
    double unknown_score;
    bool has_words; /* no token crosses into a next word */
    bool has_bytes;
};

static size_t spell(struct str raw, char *out)
{
    size_t len = 0;
    for (size_t at = 0; at < raw.len;) {
        if (str_starts(str_slice(raw, at, raw.len), STR(SPACE_MARK))) {
            out[len++] = ' ';
            at += SPACE_MARK_LEN;
        } else {
            out[len++] = raw.ptr[at++];
        }
    }
    return len;
}

static void unigram_defaults(struct text *text, const struct gguf *gguf)
{
    (void)gguf;
    text->add_eos = text->add_sep = true;
    text->add_space_prefix = true;
    text->remove_extra_spaces = true;
    if (text->count > 2) { /* those of T5 */
        text->eos = text->kinds[1] == TEXT_CONTROL ? 1 : TEXT_NONE;
        text->unk = text->kinds[2] == TEXT_UNKNOWN ? 2 : TEXT_NONE;
    }
}

/* ---- the trie ---- */

struct piece {
    struct str raw;
    text_id id;
};

static int compare_pieces(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    int order = str_compare(x->raw, y->raw);
    return order != 0 ? order : x->id < y->id ? -1 : x->id > y->id;
}

/* A node being made: pieces [from, to) have its bytes in front. */
struct range {
    uint32_t from, to;
};

/* Level by level, so that children follow each other. Nodes are at most the bytes of all pieces
 * and one. */
static void grow(struct unigram *u, const struct piece *pieces, struct range *ranges)
{
    size_t level_end = 1, depth = 0;
    u->node_count = 1;
    for (size_t n = 0; n < u->node_count; n++) {
        if (n == level_end) {
            level_end = u->node_count;
            depth++;
        }
        struct node *node = &u->nodes[n];
        struct range range = ranges[n];
        node->id = TEXT_NONE;
        while (range.from < range.to && pieces[range.from].raw.len == depth) {
            node->id = node->id == TEXT_NONE ? pieces[range.from].id : node->id;
            range.from++;
        }
        node->first_child = (uint32_t)u->node_count;
        while (range.from < range.to) {
            uint8_t byte = (uint8_t)pieces[range.from].raw.ptr[depth];
            uint32_t end = range.from + 1;
            while (end < range.to && (uint8_t)pieces[end].raw.ptr[depth] == byte) {
                end++;
            }
            u->nodes[u->node_count].byte = byte;
            ranges[u->node_count++] = (struct range){range.from, end};
            node->child_count++;
            range.from = end;
        }
    }
}

static bool is_word_start(struct str raw)
{
    size_t at = 0;
    while (str_starts(str_slice(raw, at, raw.len), STR(SPACE_MARK))) {
        at += SPACE_MARK_LEN;
    }
    return str_find(raw, STR(SPACE_MARK), at) == SIZE_MAX;
}

static bool make_trie(struct text *text, struct unigram *u, struct err *err)
{
    struct piece *pieces = MEM_ARRAY(struct piece, text->count);
    size_t count = 0, bytes = 1;
    double lowest = INFINITY;
    u->has_words = true;
    for (size_t id = 0; pieces && id < text->count; id++) {
        const struct str raw = text_strings_get(&text->raw, id);
        u->has_bytes |= text->kinds[id] == TEXT_BYTE;
        if (text->kinds[id] != TEXT_NORMAL || raw.len == 0 || raw.len > PIECE_BYTES_MAX) {
            continue;
        }
        pieces[count++] = (struct piece){raw, (text_id)id};
        bytes += raw.len;
        u->has_words = u->has_words && is_word_start(raw);
        lowest = fmin(lowest, text->scores ? (double)text->scores[id] : 0);
    }
    struct range *ranges = bytes < UINT32_MAX ? MEM_ARRAY(struct range, bytes) : NULL;
    u->nodes = ranges ? MEM_ARRAY(struct node, bytes) : NULL;
    bool ok = pieces && u->nodes;
    if (ok) {
        qsort(pieces, count, sizeof *pieces, compare_pieces);
        ranges[0] = (struct range){0, (uint32_t)count};
        grow(u, pieces, ranges);
        struct node *fitted = mem_resize(u->nodes, u->node_count, sizeof *fitted);
        u->nodes = fitted ? fitted : u->nodes;
        u->unknown_score = (isfinite(lowest) ? lowest : 0) - unknown_penalty;
    } else {
        err_set_memory(err, bytes * (sizeof *ranges + sizeof *u->nodes));
    }
    mem_free(pieces);
    mem_free(ranges);
    return ok;
}

static const struct node *child_of(const struct unigram *u, const struct node *node, uint8_t byte)
{
    size_t low = node->first_child, high = low + node->child_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (u->nodes[middle].byte < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_it = low < (size_t)node->first_child + node->child_count && u->nodes[low].byte == byte;
    return is_it ? &u->nodes[low] : NULL;
}

/* ---- loading ---- */

static void unigram_close(void *state)
{
    struct unigram *u = state;
    if (!u) {
        return;
    }
    text_charsmap_deinit(&u->charsmap);
    mem_free(u->nodes);
    mem_free(u);
}

/* The blob is an array of bytes, signed or not. */
static bool read_charsmap(struct unigram *u, const struct gguf *gguf, struct err *err)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const struct gguf_entry *entry = gguf_find(gguf, str_of(key));
    if (!entry) {
        return true;
    }
    const struct gguf_value *value = &entry->value;
    if (value->kind != GGUF_ARRAY || (value->item_kind != GGUF_U8 && value->item_kind != GGUF_I8)) {
        return err_set(err, ERR_FORMAT, "%s is not a list of bytes", key);
    }
    char *bytes = mem_alloc((size_t)value->count + 1, 1);
    if (!bytes) {
        return err_set_memory(err, value->count);
    }
    for (uint64_t i = 0; i < value->count; i++) {
        bytes[i] = (char)(unsigned char)gguf_item_i64(value, i);
    }
    bool ok = text_charsmap_init(&u->charsmap, (struct str){bytes, (size_t)value->count}, err);
    mem_free(bytes);
    return ok;
}

static bool unigram_open(struct text *text, const struct gguf *gguf, struct err *err)
{
    struct unigram *u = MEM_NEW(struct unigram);
    bool is_suffix = false;
    text->state = u;
    if (!u) {
        return err_set_memory(err, sizeof *u);
    }
    if (!gguf_get_bool(gguf, STR("tokenizer.ggml.treat_whitespace_as_suffix"), &is_suffix, NULL,
                       err)) {
        return false;
    }
    if (is_suffix) {
        return err_set(err, ERR_ARCH,
                       "tokenizer.ggml.treat_whitespace_as_suffix is true: not supported");
    }
    return read_charsmap(u, gguf, err) && make_trie(text, u, err);
}

/* ---- encoding ---- */

/* The best cut of the bytes before a place: its last token, and where that begins. */
struct place {
    double score;
    uint32_t from;
    text_id id; /* TEXT_NONE: an unknown character */
};

struct unigram_run {
    struct buf normal, marked;
    struct place *places;
    size_t place_cap;
    text_id *cut; /* of the word, last token first */
};

static bool reserve(struct unigram_run *scratch, size_t count)
{
    if (count <= scratch->place_cap) {
        return true;
    }
    mem_free(scratch->places);
    mem_free(scratch->cut);
    scratch->places = MEM_ARRAY(struct place, count);
    scratch->cut = MEM_ARRAY(text_id, count);
    scratch->place_cap = scratch->places && scratch->cut ? count : 0;
    return scratch->place_cap != 0;
}

static void improve(struct place *to, double score, size_t from, text_id id)
{
    if (to->score == -INFINITY || score > to->score) {
        *to = (struct place){score, (uint32_t)from, id};
    }
}

/* places[i] for all i in [1, word.len]; only ends of characters are reached. */
static void find_best(const struct text *text, struct str word, struct place *places)
{
    const struct unigram *u = text->state;
    for (size_t i = 0; i <= word.len; i++) {
        places[i] = (struct place){.score = i == 0 ? 0 : -INFINITY, .id = TEXT_NONE};
    }
    for (size_t at = 0, len; at < word.len; at += len) {
        const double before = places[at].score;
        const struct node *node = &u->nodes[0];
        bool has_one = false;
        uint32_t code;
        len = utf8_decode(word, at, &code); /* normalised text is UTF-8, unless a table breaks it */
        len = len > 0 ? len : 1;
        for (size_t end = at; end < word.len; end++) {
            node = child_of(u, node, (uint8_t)word.ptr[end]);
            if (!node) {
                break;
            }
            if (node->id != TEXT_NONE) {
                double score = text->scores ? (double)text->scores[node->id] : 0;
                improve(&places[end + 1], before + score, at, node->id);
                has_one = has_one || end + 1 == at + len;
            }
        }
        if (!has_one) {
            improve(&places[at + len], before + u->unknown_score, at, TEXT_NONE);
        }
    }
}

static bool emit_unknown(struct text_run *run, struct str bytes, bool *was_unknown)
{
    const struct unigram *u = run->text->state;
    bool ok = true;
    if (u->has_bytes) {
        for (size_t i = 0; ok && i < bytes.len; i++) {
            ok = text_run_byte(run, (unsigned char)bytes.ptr[i]);
        }
        return ok;
    }
    if (!*was_unknown && run->text->unk != TEXT_NONE) {
        ok = text_ids_add(run->out, run->text->unk);
    }
    *was_unknown = true;
    return ok;
}

static bool encode_word(struct text_run *run, struct str word, bool *was_unknown)
{
    struct unigram_run *scratch = run->scratch;
    bool hit;
    struct text_cache_entry *entry = text_cache_at(&run->cache, word, 0, &hit);
    if (hit) {
        for (size_t i = 0; i < entry->count; i++) {
            if (!text_ids_add(run->out, entry->ids[i])) {
                return false;
            }
        }
        *was_unknown = false;
        return true;
    }
    if (!reserve(scratch, word.len + 1)) {
        return false;
    }
    find_best(run->text, word, scratch->places);
    size_t first = run->out->count, count = 0;
    bool is_plain = true;
    for (size_t end = word.len; end > 0; end = scratch->places[end].from) {
        scratch->cut[count++] = (text_id)end;
    }
    for (size_t from = 0; count > 0;) {
        const size_t end = (size_t)scratch->cut[--count];
        const text_id id = scratch->places[end].id;
        bool ok = id != TEXT_NONE ? text_ids_add(run->out, id)
                                  : emit_unknown(run, str_slice(word, from, end), was_unknown);
        if (!ok) {
            return false;
        }
        *was_unknown = *was_unknown && id == TEXT_NONE;
        is_plain = is_plain && id != TEXT_NONE;
        from = end;
    }
    if (entry && is_plain) {
        text_cache_put(entry, word, 0, run->out->ids + first, run->out->count - first);
    }
    return true;
}

/* Spaces become marks, one stands in front; squeezed: runs become one and those at the ends go. */
static void mark_spaces(const struct text *text, struct str s, struct buf *out)
{
    const bool squeeze = text->remove_extra_spaces;
    bool after_space = true;
    while (squeeze && s.len > 0 && s.ptr[s.len - 1] == ' ') {
        s.len--;
    }
    while (squeeze && s.len > 0 && s.ptr[0] == ' ') {
        s = str_slice(s, 1, s.len);
    }
    buf_clear(out);
    if (s.len > 0 && text->add_space_prefix) {
        buf_add_text(out, SPACE_MARK);
    }
    for (size_t i = 0; i < s.len; i++) {
        bool is_space = s.ptr[i] == ' ';
        if (!is_space) {
            buf_add_char(out, s.ptr[i]);
        } else if (!squeeze || !after_space) {
            buf_add_text(out, SPACE_MARK);
        }
        after_space = is_space;
    }
}

/* End of the word at `at`: where a mark follows another character. */
static size_t word_end(struct str s, size_t at)
{
    while (str_starts(str_slice(s, at, s.len), STR(SPACE_MARK))) {
        at += SPACE_MARK_LEN;
    }
    size_t mark = str_find(s, STR(SPACE_MARK), at);
    return mark == SIZE_MAX ? s.len : mark;
}

static bool unigram_encode(struct text_run *run, struct str s, struct err *err)
{
    const struct unigram *u = run->text->state;
    if (!run->scratch) {
        run->scratch = MEM_NEW(struct unigram_run);
        if (!run->scratch) {
            return err_set_memory(err, sizeof(struct unigram_run));
        }
    }
    struct unigram_run *scratch = run->scratch;
    if (s.len >= UINT32_MAX / 1024) {
        return err_set(err, ERR_TOO_LARGE, "a text of %zu bytes is too long", s.len);
    }
    buf_clear(&scratch->normal);
    text_charsmap_apply(&u->charsmap, s, &scratch->normal);
    mark_spaces(run->text, buf_view(&scratch->normal), &scratch->marked);
    if (scratch->normal.failed || scratch->marked.failed) {
        return err_set_memory(err, s.len);
    }
    const struct str marked = buf_view(&scratch->marked);
    bool was_unknown = false;
    for (size_t at = 0, to; at < marked.len; at = to) {
        to = u->has_words ? word_end(marked, at) : marked.len;
        if (!encode_word(run, str_slice(marked, at, to), &was_unknown)) {
            return err_set_memory(err, s.len);
        }
    }
    return true;
}

static void unigram_run_end(struct text_run *run)
{
    struct unigram_run *scratch = run->scratch;
    if (!scratch) {
        return;
    }
    buf_deinit(&scratch->normal);
    buf_deinit(&scratch->marked);
    mem_free(scratch->places);
    mem_free(scratch->cut);
    mem_free(scratch);
}

const struct text_model text_model_unigram = {
    .name = "t5",
    .what = "SentencePiece unigram",
    .defaults = unigram_defaults,
    .spell = spell,
    .open = unigram_open,
    .close = unigram_close,
    .encode = unigram_encode,
    .run_end = unigram_run_end,
};
