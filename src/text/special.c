#include "text/special.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/text.h"

static bool kind_is_special(uint8_t kind)
{
    return kind == TEXT_CONTROL || kind == TEXT_USER_DEFINED || kind == TEXT_UNKNOWN;
}

/* Heap sort by bytes: qsort has no argument for the strings, and some vocabularies have thousands.
 */
static int compare(const struct text_special *special, uint32_t a, uint32_t b)
{
    return str_compare(text_strings_get(special->raw, a), text_strings_get(special->raw, b));
}

static void sift_down(struct text_special *special, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count &&
            compare(special, special->ids[child], special->ids[child + 1]) < 0) {
            child++;
        }
        if (compare(special, special->ids[at], special->ids[child]) >= 0) {
            return;
        }
        const uint32_t id = special->ids[at];
        special->ids[at] = special->ids[child];
        special->ids[child] = id;
    }
}

static void sort(struct text_special *special)
{
    for (size_t i = special->count / 2; i-- > 0;) {
        sift_down(special, i, special->count);
    }
    for (size_t end = special->count; end > 1; end--) {
        const uint32_t id = special->ids[0];
        special->ids[0] = special->ids[end - 1];
        special->ids[end - 1] = id;
        sift_down(special, 0, end - 1);
    }
}

bool text_special_init(struct text_special *special, const struct text_strings *raw,
                       const uint8_t *kinds, struct err *err)
{
    *special = (struct text_special){.raw = raw};
    size_t count = 0;
    for (size_t i = 0; i < raw->count; i++) {
        count += kind_is_special(kinds[i]);
    }
    special->ids = MEM_ARRAY(uint32_t, count);
    special->is_free = MEM_ARRAY(uint8_t, count);
    if (!special->ids || !special->is_free) {
        text_special_deinit(special);
        return err_set_memory(err, 5 * (unsigned long long)count);
    }
    for (size_t i = 0; i < raw->count; i++) {
        const size_t len = text_strings_get(raw, i).len;
        if (kind_is_special(kinds[i]) && len > 0 && len <= TEXT_SPECIAL_BYTES_MAX) {
            special->ids[special->count++] = (uint32_t)i;
        }
    }
    sort(special);
    for (size_t i = 0; i < special->count; i++) {
        const unsigned char byte = (unsigned char)text_strings_get(raw, special->ids[i]).ptr[0];
        special->first[byte + 1]++;
        special->is_free[i] = kinds[special->ids[i]] == TEXT_USER_DEFINED;
        if (special->is_free[i]) {
            special->free_first[byte] = special->has_free = true;
        }
    }
    for (size_t byte = 0; byte < 256; byte++) {
        special->first[byte + 1] += special->first[byte];
    }
    return true;
}

void text_special_deinit(struct text_special *special)
{
    mem_free(special->ids);
    mem_free(special->is_free);
    *special = (struct text_special){0};
}

/* First index in [low, high) whose byte at `depth` is >= byte; all there are longer than depth. */
static size_t lower_bound(const struct text_special *special, size_t low, size_t high, size_t depth,
                          unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct str s = text_strings_get(special->raw, special->ids[middle]);
        if ((unsigned char)s.ptr[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool text_special_match_at(const struct text_special *special, struct str s, size_t at,
                           size_t limit, struct text_special_match *match)
{
    const unsigned first = (unsigned char)s.ptr[at];
    size_t low = special->first[first], high = special->first[first + 1];
    bool found = false;
    for (size_t depth = 1; low < high; depth++) {
        const uint32_t id = special->ids[low];
        if (text_strings_get(special->raw, id).len == depth) {
            if (special->is_free[low] || at + depth <= limit) {
                *match = (struct text_special_match){.from = at, .to = at + depth, .id = id};
                found = true;
            }
            low++;
        }
        if (at + depth >= s.len) {
            break;
        }
        const unsigned byte = (unsigned char)s.ptr[at + depth];
        low = lower_bound(special, low, high, depth, byte);
        high = lower_bound(special, low, high, depth, byte + 1);
    }
    return found;
}
