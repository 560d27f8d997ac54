/* Writes GGUF v3. Metadata and the tensor index are declared first, then the bytes of each tensor
 * in the declared order; the file appears under its name only when complete (os_out). */
#ifndef GGUF_WRITER_H
#define GGUF_WRITER_H

#include "gguf/gguf.h"

struct gguf_writer;

struct gguf_writer *gguf_writer_create(struct err *err);
/* Removes what was written unless gguf_writer_commit succeeded. */
void gguf_writer_destroy(struct gguf_writer *writer);

/* Copies a value under a key; a key set twice keeps the last value. */
bool gguf_writer_set(struct gguf_writer *writer, struct str key, const struct gguf_value *value,
                     struct err *err);
bool gguf_writer_set_u32(struct gguf_writer *writer, struct str key, uint32_t value,
                         struct err *err);
bool gguf_writer_set_f32(struct gguf_writer *writer, struct str key, float value, struct err *err);
bool gguf_writer_set_bool(struct gguf_writer *writer, struct str key, bool value, struct err *err);
bool gguf_writer_set_str(struct gguf_writer *writer, struct str key, struct str value,
                         struct err *err);

/* Declares a tensor; dims[0] must be a multiple of the type's block_len. */
bool gguf_writer_add(struct gguf_writer *writer, struct str name, enum dtype type,
                     uint32_t dim_count, const uint64_t *dims, struct err *err);

/* Creates the file and writes everything but tensor bytes. */
bool gguf_writer_begin(struct gguf_writer *writer, const char *path, struct err *err);

/* Appends bytes of the current tensor; the padding between tensors is added by the writer. */
bool gguf_writer_data(struct gguf_writer *writer, const void *bytes, size_t len, struct err *err);

/* Fails unless exactly the declared bytes were written. */
bool gguf_writer_commit(struct gguf_writer *writer, struct err *err);

#endif
