/* A blob has a trie of the strings that change, and the strings they become:
 *
 *     u32       bytes of the trie
 *     u32 ...   the trie, a double array
 *     bytes     the new strings, each ended by NUL; a leaf of the trie has the place of one
 *
 * A unit of the double array (Aoe 1989, as the darts-clone library stores it):
 *
 *     bit 31       leaf: bits 0..30 are its value
 *     bits 0..7    the byte that leads here      bit 8    a leaf hangs below
 *     bits 10..30  offset, times 256 if bit 9    children are at (own place XOR offset) XOR byte
 *
 * At each place of a text the longest string of the trie is replaced; where none begins a character
 * goes as it is. A table that is no trie gives nonsense, but every step stays inside: it is checked
 * against the end of the array, and a walk takes at most as many steps as there are bytes. */
#include "text/charsmap.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* No published table has a longer one; bounds the growth of a text. */
enum { REPLACEMENT_MAX = 255 };

bool text_charsmap_init(struct text_charsmap *map, struct str blob, struct err *err)
{
    *map = (struct text_charsmap){0};
    if (blob.len == 0) {
        return true;
    }
    const unsigned char *b = (const unsigned char *)blob.ptr;
    const size_t size =
        blob.len < 4 ? SIZE_MAX
                     : (size_t)b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
    if (size > blob.len - 4 || size < 4 || size % 4 != 0 || blob.len - 4 - size == 0 ||
        blob.ptr[blob.len - 1] != 0) {
        return err_set(err, ERR_FORMAT,
                       "tokenizer.ggml.precompiled_charsmap (%zu bytes) is no table of strings",
                       blob.len);
    }
    map->unit_count = size / 4;
    map->units = MEM_ARRAY(uint32_t, map->unit_count);
    map->texts_len = blob.len - 4 - size;
    map->texts = mem_copy(blob.ptr + 4 + size, map->texts_len);
    if (!map->units || !map->texts) {
        text_charsmap_deinit(map);
        return err_set_memory(err, blob.len);
    }
    for (size_t i = 0; i < map->unit_count; i++) {
        const unsigned char *u = b + 4 + 4 * i;
        map->units[i] =
            (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
    }
    return true;
}

void text_charsmap_deinit(struct text_charsmap *map)
{
    mem_free(map->units);
    mem_free(map->texts);
    *map = (struct text_charsmap){0};
}

static size_t child_base(size_t at, uint32_t unit)
{
    return at ^ (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* Length of the longest string of the trie at s[at], 0 if none; and what it becomes. */
static size_t find_longest(const struct text_charsmap *map, struct str s, size_t at,
                           struct str *becomes)
{
    size_t longest = 0, node = child_base(0, map->units[0]);
    for (size_t i = at; i < s.len; i++) {
        const unsigned char byte = (unsigned char)s.ptr[i];
        node ^= byte;
        if (byte == 0 || node >= map->unit_count) {
            break;
        }
        const uint32_t unit = map->units[node];
        if ((unit & (1u << 31 | 0xFF)) != byte) {
            break;
        }
        node = child_base(node, unit);
        if ((unit & 1u << 8) == 0) {
            continue;
        }
        const size_t text = node < map->unit_count ? map->units[node] & 0x7FFFFFFF : SIZE_MAX;
        if (text >= map->texts_len) {
            break;
        }
        const size_t len = strlen(map->texts + text); /* the last byte of all is NUL */
        if (len > REPLACEMENT_MAX) {
            break;
        }
        longest = i + 1 - at;
        *becomes = (struct str){map->texts + text, len};
    }
    return longest;
}

void text_charsmap_apply(const struct text_charsmap *map, struct str s, struct buf *out)
{
    buf_reserve(out, s.len);
    for (size_t at = 0, len; at < s.len; at += len) {
        struct str becomes;
        uint32_t code;
        len = map->units ? find_longest(map, s, at, &becomes) : 0;
        if (len > 0) {
            buf_add(out, becomes);
            continue;
        }
        len = utf8_decode(s, at, &code);
        if (len > 0) {
            buf_add(out, str_slice(s, at, at + len));
        } else {
            buf_add_text(out, "\xEF\xBF\xBD");
            len = 1;
        }
    }
}
