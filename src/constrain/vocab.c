#include "constrain/vocab.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/utf8.h"

enum { PIECE_BYTES_MAX = 4096 }; /* longer tokens are never allowed */

static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        const uint8_t byte = (uint8_t)s.ptr[i];
        if (byte < 0x20 || byte == '"' || byte == '\\') {
            return false;
        }
    }
    return s.len > 0 && utf8_is_valid(s);
}

struct entry {
    struct str bytes;
    uint32_t id;
    uint32_t chars; /* of a plain token; else 0 */
};

static int by_bytes(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    const int order = str_compare(x->bytes, y->bytes);
    return order ? order : x->id < y->id ? -1 : 1;
}

static int by_chars(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->chars != y->chars ? (x->chars < y->chars ? -1 : 1) : x->id < y->id ? -1 : 1;
}

static size_t common_prefix(struct str a, struct str b)
{
    size_t i = 0;
    while (i < a.len && i < b.len && a.ptr[i] == b.ptr[i]) {
        i++;
    }
    return i;
}

/* Entries sorted by bytes; those with equal bytes are chained through `twins`. */
static bool trie_build(struct constrain_trie *trie, const struct entry *entries, size_t count,
                       int32_t *twins)
{
    uint32_t open[PIECE_BYTES_MAX + 1]; /* the nodes on the way to the last token */
    size_t nodes = 0, depth = 0;
    for (size_t i = 0; i < count; i++) {
        nodes +=
            entries[i].bytes.len - (i ? common_prefix(entries[i - 1].bytes, entries[i].bytes) : 0);
    }
    trie->nodes = MEM_ARRAY(struct constrain_node, nodes);
    trie->tokens_before = MEM_ARRAY(uint32_t, nodes + 1);
    if (!trie->nodes || !trie->tokens_before) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const struct str s = entries[i].bytes;
        const size_t shared = i ? common_prefix(entries[i - 1].bytes, s) : 0;
        if (i && shared == s.len) { /* the same bytes: sorted, so the previous is not longer */
            const uint32_t last = entries[i - 1].id;
            twins[last] = (int32_t)entries[i].id;
            continue;
        }
        while (depth > shared) {
            trie->nodes[open[depth--]].end = trie->node_count;
        }
        while (depth < s.len) {
            const uint8_t byte = (uint8_t)s.ptr[depth];
            open[++depth] = trie->node_count;
            trie->nodes[trie->node_count++] =
                (struct constrain_node){.byte = byte, .depth = (uint16_t)depth, .token = -1};
        }
        trie->nodes[open[depth]].token = (int32_t)entries[i].id;
    }
    while (depth > 0) {
        trie->nodes[open[depth--]].end = trie->node_count;
    }
    for (uint32_t i = 0; i < trie->node_count; i++) {
        trie->tokens_before[i + 1] = trie->tokens_before[i] + (trie->nodes[i].token >= 0);
    }
    return true;
}

static void plain_build(struct constrain_vocab *v, struct entry *entries, size_t count)
{
    qsort(entries, count, sizeof *entries, by_chars);
    for (size_t i = 0; i < count; i++) {
        const uint32_t id = entries[i].id;
        if (entries[i].chars > 0) {
            v->plain_bits[id / 32] |= 1u << (id % 32);
            v->plain_chars[v->plain_count] = entries[i].chars;
            v->plain[v->plain_count++] = id;
            v->plain_chars_max = entries[i].chars;
        }
    }
}

static bool vocab_build(struct constrain_vocab *v, struct entry *entries)
{
    size_t used = 0, rest = 0;
    for (size_t id = 0; id < v->count; id++) {
        const struct str s = v->pieces[id];
        v->twins[id] = -1;
        if (s.len > 0 && s.len <= PIECE_BYTES_MAX) {
            entries[used++] =
                (struct entry){s, (uint32_t)id, is_plain(s) ? (uint32_t)utf8_count(s) : 0};
            v->piece_bytes_max = s.len > v->piece_bytes_max ? s.len : v->piece_bytes_max;
        }
    }
    qsort(entries, used, sizeof *entries, by_bytes);
    if (!trie_build(&v->all, entries, used, v->twins)) {
        return false;
    }
    for (size_t i = 0; i < used; i++) {
        if (entries[i].chars == 0) {
            const struct entry swap = entries[rest];
            entries[rest++] = entries[i]; /* keeps the order of the rest */
            entries[i] = swap;
        }
    }
    if (!trie_build(&v->rest, entries, rest, v->twins)) {
        return false;
    }
    plain_build(v, entries, used);
    return true;
}

struct constrain_vocab *constrain_vocab_of(const struct str *pieces, const bool *ends, size_t count,
                                           struct err *err)
{
    struct constrain_vocab *v = MEM_NEW(struct constrain_vocab);
    struct entry *entries = MEM_ARRAY(struct entry, count);
    size_t bytes = 0, end_count = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += pieces[i].len;
        end_count += ends && ends[i];
    }
    if (v) {
        static atomic_uint_fast64_t ids;
        v->id = atomic_fetch_add(&ids, 1) + 1;
        v->count = count;
        v->words = (count + 31) / 32;
        v->pieces = MEM_ARRAY(struct str, count);
        v->bytes = MEM_ARRAY(char, bytes);
        v->twins = MEM_ARRAY(int32_t, count);
        v->ends = MEM_ARRAY(uint32_t, end_count);
        v->plain_bits = MEM_ARRAY(uint32_t, v->words);
        v->plain = MEM_ARRAY(uint32_t, count);
        v->plain_chars = MEM_ARRAY(uint32_t, count);
    }
    if (!v || !entries || !v->pieces || !v->bytes || !v->twins || !v->ends || !v->plain_bits ||
        !v->plain || !v->plain_chars) {
        goto failed;
    }
    char *to = v->bytes;
    for (size_t i = 0; i < count; i++) {
        if (ends && ends[i]) {
            v->ends[v->end_count++] = (uint32_t)i;
        } else if (pieces[i].len > 0) {
            memcpy(to, pieces[i].ptr, pieces[i].len);
            v->pieces[i] = (struct str){.ptr = to, .len = pieces[i].len};
            to += pieces[i].len;
        }
    }
    if (!vocab_build(v, entries)) {
        goto failed;
    }
    mem_free(entries);
    return v;
failed:
    mem_free(entries);
    constrain_vocab_destroy(v);
    err_set_memory(err, bytes + count * sizeof *entries);
    return NULL;
}

/* Bytes of broken characters that a tokenizer keeps as tokens of their own. */
static bool has_mark(struct str piece)
{
    return piece.len > 0 && (memchr(piece.ptr, CONSTRAIN_MARK_BEGIN[0] & 0xFF, piece.len) ||
                             memchr(piece.ptr, CONSTRAIN_MARK_END[0] & 0xFF, piece.len));
}

static struct str mark_piece(struct arena *arena, struct str raw)
{
    char *copy = arena_alloc(arena, raw.len + 2, 1);
    if (!copy) {
        return (struct str){0};
    }
    copy[0] = CONSTRAIN_MARK_BEGIN[0];
    if (raw.len) {
        memcpy(copy + 1, raw.ptr, raw.len);
    }
    copy[raw.len + 1] = CONSTRAIN_MARK_END[0];
    return (struct str){copy, raw.len + 2};
}

struct constrain_vocab *constrain_vocab_create(const struct text *text, struct err *err)
{
    const size_t count = text_vocab_count(text);
    struct str *pieces = MEM_ARRAY(struct str, count);
    bool *ends = MEM_ARRAY(bool, count);
    struct constrain_vocab *vocab = NULL;
    struct arena arena = arena_init(0);
    bool is_complete = pieces && ends;
    if (is_complete) {
        for (size_t i = 0; i < count; i++) {
            const text_id id = (text_id)i;
            const enum text_kind kind = text_kind_of(text, id);
            ends[i] = text_is_end(text, id);
            if (kind == TEXT_NORMAL || kind == TEXT_BYTE || kind == TEXT_USER_DEFINED) {
                const struct str piece = text_piece(text, id, false);
                pieces[i] = has_mark(piece) ? (struct str){0} : piece;
            } else if (kind == TEXT_CONTROL && !ends[i]) {
                pieces[i] = mark_piece(&arena, text_raw(text, id));
                is_complete = is_complete && pieces[i].ptr;
            }
        }
    }
    if (is_complete) {
        vocab = constrain_vocab_of(pieces, ends, count, err);
    } else {
        err_set_memory(err, count * sizeof *pieces);
    }
    arena_deinit(&arena);
    mem_free(pieces);
    mem_free(ends);
    return vocab;
}

void constrain_vocab_destroy(struct constrain_vocab *v)
{
    if (!v) {
        return;
    }
    mem_free(v->pieces);
    mem_free(v->bytes);
    mem_free(v->twins);
    mem_free(v->ends);
    mem_free(v->all.nodes);
    mem_free(v->all.tokens_before);
    mem_free(v->rest.nodes);
    mem_free(v->rest.tokens_before);
    mem_free(v->plain_bits);
    mem_free(v->plain);
    mem_free(v->plain_chars);
    mem_free(v);
}

size_t constrain_vocab_count(const struct constrain_vocab *vocab)
{
    return vocab->count;
}

size_t constrain_vocab_words(const struct constrain_vocab *vocab)
{
    return vocab->words;
}
