/* DRY: looks for the places where the end of the history stood before, and makes the token that
 * followed there less likely, the more so the longer the match is.
 *
 *     history (oldest first)          a b c d a b c
 *     suffix matches ending at        . . 3 . . . .        "a b c" ends there as well
 *     token that followed             . . . d . . .        d would make it 4: penalised with n = 3
 *
 * Read backwards, r[0] the newest token, the length of the match at k is the Z function of r: the
 * longest common prefix of r and r[k..]. It is computed in linear time (Gusfield, "Algorithms on
 * strings, trees and sequences", 1997, section 1.4). Sequence breakers (new line, quote, ...) bound
 * the length: a match never reaches back over one. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "engine/penalties.h"

/* ln of the largest float: a larger exponent would overflow. */
static const double float_max_ln = 88.7228391;

static bool is_on(const struct engine_sampling *s)
{
    return s->dry_multiplier != 0 && s->dry_base >= 1 && s->dry_penalty_last_n != 0;
}

/* ---- breakers ---- */

struct split_list {
    struct engine_breaker *items;
    size_t count, cap;
};

static bool add_split(struct split_list *list, const struct engine_breaker *entry)
{
    for (size_t i = list->count; i-- > 0 && list->items[i].head == entry->head;) {
        if (list->items[i].tail_count == entry->tail_count &&
            memcmp(list->items[i].tail, entry->tail, entry->tail_count * sizeof(text_id)) == 0) {
            return true;
        }
    }
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        struct engine_breaker *items = mem_resize(list->items, cap, sizeof *items);
        if (!items) {
            return false;
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = *entry;
    return true;
}

/* The tokens of the breaker's rest, which begins inside another token. */
static bool add_tail(struct split_list *list, const struct text *text, text_id head,
                     struct str rest)
{
    struct text_ids ids = {0};
    struct engine_breaker entry = {.head = head};
    if (!text_encode(text, rest, &(struct text_encode_opts){0}, &ids, NULL)) {
        text_ids_deinit(&ids);
        return false;
    }
    entry.tail_count = (uint32_t)size_min(ids.count, ENGINE_BREAKER_TAIL_MAX);
    memcpy(entry.tail, ids.ids, entry.tail_count * sizeof(text_id));
    text_ids_deinit(&ids);
    return add_split(list, &entry);
}

/* One token against one breaker. */
static bool match_token(struct engine_breakers *breakers, struct split_list *list,
                        const struct text *text, text_id id, struct str breaker)
{
    struct str piece = text_piece(text, id, true);
    if (str_find(piece, breaker, 0) != SIZE_MAX) {
        breakers->is_single[id / 64] |= 1ull << (id % 64);
        return true;
    }
    size_t from = piece.len >= breaker.len ? piece.len - breaker.len + 1 : 0;
    for (size_t at = from; at < piece.len; at++) {
        size_t len = piece.len - at;
        if (memcmp(piece.ptr + at, breaker.ptr, len) == 0 &&
            !add_tail(list, text, id, str_slice(breaker, len, breaker.len))) {
            return false;
        }
    }
    return true;
}

static int compare_heads(const void *a, const void *b)
{
    text_id x = ((const struct engine_breaker *)a)->head;
    text_id y = ((const struct engine_breaker *)b)->head;
    return (x > y) - (x < y);
}

bool engine_breakers_init(struct engine_breakers *breakers, const struct engine_sampling *sampling,
                          const struct text *text, struct arena *arena, struct err *err)
{
    *breakers = (struct engine_breakers){0};
    if (!is_on(sampling) || sampling->dry_breaker_count == 0) {
        return true;
    }
    const size_t vocab_count = text_vocab_count(text);
    const size_t words = vocab_count / 64 + 1;
    struct split_list list = {0};
    bool is_done = false;
    breakers->is_single = ARENA_ARRAY(arena, uint64_t, words);
    if (!breakers->is_single) {
        goto done;
    }
    for (size_t id = 0; id < vocab_count; id++) {
        for (size_t b = 0; b < sampling->dry_breaker_count; b++) {
            struct str breaker =
                str_slice(sampling->dry_sequence_breakers[b], 0, ENGINE_BREAKER_BYTES_MAX);
            if (!match_token(breakers, &list, text, (text_id)id, breaker)) {
                goto done;
            }
        }
    }
    breakers->split = ARENA_ARRAY(arena, struct engine_breaker, list.count);
    if (!breakers->split) {
        goto done;
    }
    if (list.count) {
        memcpy(breakers->split, list.items, list.count * sizeof *list.items);
        qsort(breakers->split, list.count, sizeof *list.items, compare_heads);
    }
    breakers->split_count = list.count;
    breakers->vocab_count = vocab_count;
    is_done = true;
done:
    mem_free(list.items);
    return is_done || err_set_memory(err, words * 8 + list.cap * sizeof *list.items);
}

static bool is_single(const struct engine_breakers *breakers, text_id id)
{
    return (size_t)id < breakers->vocab_count &&
           (breakers->is_single[id / 64] >> (id % 64) & 1) != 0;
}

/* Length of the longest breaker that begins at r[at] and runs towards r[0], or -1. */
static int64_t find_breaker(const struct engine_breakers *breakers, const text_id *newest,
                            size_t at)
{
    const text_id head = *(newest - at);
    int64_t longest = is_single(breakers, head) ? 0 : -1;
    size_t low = 0, high = breakers->split_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (breakers->split[middle].head < head) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < breakers->split_count && breakers->split[low].head == head; low++) {
        const struct engine_breaker *entry = &breakers->split[low];
        if ((int64_t)entry->tail_count <= longest || entry->tail_count > at) {
            continue;
        }
        /* Oldest first, the tail stands right behind the head. */
        if (memcmp(entry->tail, newest - at + 1, entry->tail_count * sizeof(text_id)) == 0) {
            longest = entry->tail_count;
        }
    }
    return longest;
}

/* How far back a repetition may reach: to the newest breaker. */
static size_t find_limit(const struct engine_breakers *breakers, const text_id *newest,
                         size_t window)
{
    if (!breakers->is_single) {
        return window;
    }
    for (size_t at = 0; at < window; at++) {
        int64_t len = find_breaker(breakers, newest, at);
        if (len >= 0) {
            return at - (size_t)len;
        }
    }
    return window;
}

/* repeats[k] = min(limit, common prefix of r and r[k..]), 1 <= k < window; r[i] = newest[-i]. */
static void find_repeats(uint32_t *repeats, const text_id *newest, size_t window, size_t limit)
{
    size_t left = 0, right = 0; /* the match r[left, right) that reaches furthest */
    for (size_t k = 1; k < window; k++) {
        size_t len = 0;
        if (k < right) {
            len = size_min(repeats[k - left], right - k);
        }
        /* Beyond the limit nobody asks, so the walk stops there. */
        while (len < limit && k + len < window && *(newest - len) == *(newest - k - len)) {
            len++;
        }
        repeats[k] = (uint32_t)size_min(len, limit);
        if (k + len > right) {
            left = k;
            right = k + len;
        }
    }
}

void engine_dry(const struct engine_sampling *sampling, const struct engine_breakers *breakers,
                float *logits, const text_id *history, size_t history_count,
                struct engine_scratch *scratch)
{
    if (!is_on(sampling)) {
        return;
    }
    const size_t allowed = sampling->dry_allowed_length;
    size_t window = size_min(history_count, sampling->dry_penalty_last_n);
    window = size_min(window, scratch->ctx_tokens);
    if (window <= allowed) {
        return;
    }
    const text_id *newest = history + history_count - 1;
    const size_t limit = find_limit(breakers, newest, window);
    if (limit < allowed) {
        return;
    }
    find_repeats(scratch->repeats, newest, window, limit);

    /* The longest repetition each token would continue; counts hold length + 1, 0 is none. */
    for (size_t k = 1; k < window; k++) {
        uint32_t len = scratch->repeats[k];
        uint32_t *longest = &scratch->counts[*(newest - k + 1)];
        if (len >= allowed && *longest < len + 1) {
            *longest = len + 1;
        }
    }
    const double base_ln = log((double)sampling->dry_base);
    const size_t exponent_max =
        sampling->dry_base > 1.000001f ? (size_t)(float_max_ln / base_ln) : SIZE_MAX;
    for (size_t k = 1; k < window; k++) {
        const text_id id = *(newest - k + 1);
        if (scratch->counts[id] == 0) {
            continue;
        }
        size_t exponent = size_min(scratch->counts[id] - 1 - allowed, exponent_max);
        scratch->counts[id] = 0;
        if (!is_single(breakers, id) && logits[id] != -INFINITY) {
            float penalty = sampling->dry_multiplier * powf(sampling->dry_base, (float)exponent);
            logits[id] = fmaxf(logits[id] - penalty, -1e30f); /* unlikely, but not banned */
        }
    }
}
