/* One GGUF file of a model: header, metadata and tensor index, checked. A whole model is one part
 * or several (split.c). */
#ifndef GGUF_PART_H
#define GGUF_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf/cursor.h"
#include "gguf/gguf.h"
#include "gguf/index.h"

enum { GGUF_ALIGNMENT_DEFAULT = 32 };

struct gguf_part {
    struct os_file file;
    uint32_t version, alignment;
    struct gguf_entry *entries; /* owned */
    size_t entry_count;
    struct gguf_tensor *tensors; /* owned; names and offsets checked within this part */
    size_t tensor_count;
    struct gguf_table entry_table, tensor_table;
};

/* Opens and reads one file. On failure everything is released and the message names the path. */
bool gguf_part_open(struct gguf_part *part, const char *path, struct gguf_budget *budget,
                    struct arena *arena, struct err *err);
void gguf_part_close(struct gguf_part *part);

/* The tensor index at the cursor, `count` entries; then the ranges of all tensors are checked. */
bool gguf_part_read_tensors(struct gguf_part *part, struct gguf_cursor *cursor,
                            struct gguf_text *text, uint64_t count, struct err *err);

/* "a string", "an array of strings", "a 32-bit unsigned integer" ... for messages. */
const char *gguf_kind_name(enum gguf_kind kind);

/* Bytes of one number in the file; 0 for strings and arrays. */
size_t gguf_kind_bytes(enum gguf_kind kind);

/* An integer of a value that must be in range; used for typed access and for the file's own keys.
 */
bool gguf_value_u64(const struct gguf_value *value, uint64_t max, uint64_t *out);

/* Puts `key "x" at byte N: ` before the message; false. */
bool gguf_wrap_key(struct err *err, const struct gguf_entry *entry);

/* A path for a message; the end of a long one is kept, it tells more than the start. */
const char *gguf_quote_path(char out[STR_QUOTE_MAX], const char *path);

/* Grows an array of `count` items of `size` bytes so that one more fits; charged to the budget. */
bool gguf_grow(void **items, size_t count, size_t *cap, size_t size, struct gguf_budget *budget,
               struct err *err);

#endif
