/* The vocabulary as tries. Nodes stand in preorder, so a walk is one loop: a byte that cannot come
 * skips to `end`, the first node behind the subtree.
 *
 *     tokens a, ab, b        node   byte depth end token
 *                              0     a     1    2    a
 *                              1     b     2    2    ab
 *                              2     b     1    3    b
 *
 * Nine tokens of ten are plain: whole characters that stand in a JSON string as they are. Inside of
 * a string they are all allowed, which needs no walk; the second trie, `rest`, holds the others. */
#ifndef CONSTRAIN_VOCAB_H
#define CONSTRAIN_VOCAB_H

#include "constrain/constrain.h"

struct constrain_node {
    uint32_t end;
    int32_t token; /* the first of those with these bytes, or -1 */
    uint16_t depth;
    uint8_t byte;
};

struct constrain_trie {
    struct constrain_node *nodes;
    uint32_t *tokens_before; /* [node_count + 1] nodes with a token before this one */
    uint32_t node_count;
};

struct constrain_vocab {
    uint64_t id; /* never used twice in a process */
    size_t count, words;
    struct str *pieces; /* [count] into bytes */
    char *bytes;
    int32_t *twins; /* [count] the next token with the same bytes, or -1 */
    uint32_t *ends; /* end tokens */
    size_t end_count;
    size_t piece_bytes_max;
    struct constrain_trie all, rest;
    uint32_t *plain_bits;  /* [words] */
    uint32_t *plain;       /* plain tokens by their number of characters */
    uint32_t *plain_chars; /* [plain_count] that number */
    size_t plain_count;
    uint32_t plain_chars_max; /* of the longest */
};

#endif
