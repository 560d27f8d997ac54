/* Files of next-token distributions, as llama-perplexity --save-all-logits writes and
 * --kl-divergence reads them (llama.cpp 96dd1a8), little endian:
 *
 *     "_logits_", u32 ctx, i32 vocabulary, i32 chunks, i32 token[chunks * ctx], and for each chunk
 * and position from ctx / 2 to ctx - 2: f32 scale, f32 least, u16 q[vocabulary up to even]
 *
 * where the logarithm of token i's probability is least + scale q[i]; what lies 16 below the
 * largest is cut off. */
#ifndef CLI_LOGITS_FILE_H
#define CLI_LOGITS_FILE_H

#include <stdio.h>

#include "base/err.h"
#include "text/text.h"

enum { LOGITS_CTX_MAX = 1 << 20, LOGITS_VOCAB_MAX = 1 << 24 };

struct logits_file {
    FILE *file;
    uint32_t ctx, vocab, chunks;
    text_id *tokens; /* owned, when read */
    uint16_t *row;   /* owned: one distribution as it is in the file */
};

bool cli_logits_create(struct logits_file *f, const char *path, uint32_t ctx, uint32_t vocab,
                       uint32_t chunks, const text_id *tokens, struct err *err);
bool cli_logits_put(struct logits_file *f, const float *logits, struct err *err);

/* Reads and checks the head: its sizes against the size of the file. */
bool cli_logits_open(struct logits_file *f, const char *path, struct err *err);
/* The next distribution as logarithms of probabilities; out: [vocab]. */
bool cli_logits_get(struct logits_file *f, float *out, struct err *err);

/* False when what was written did not reach the disk. */
bool cli_logits_close(struct logits_file *f, struct err *err);

/* The head alone, of bytes of a file of `file_bytes`: ctx, vocab, chunks. For the fuzzer too. */
bool cli_logits_parse(struct logits_file *f, const unsigned char head[20], uint64_t file_bytes,
                      struct err *err);

#endif
