/* What writing a model's file again needs, whatever is done to its weights. */
#ifndef MODEL_REWRITE_H
#define MODEL_REWRITE_H

#include "gguf/writer.h"

/* False if the output is, under whatever name, a file the input still needs. ERR_INVALID. */
bool model_rewrite_check(const struct gguf *gguf, const char *out_path, struct err *err);

/* Copies the metadata but for what says how the input was stored, and keys that begin with
 * `dropped` (if it is not empty). */
bool model_rewrite_metadata(struct gguf_writer *writer, const struct gguf *gguf, struct str dropped,
                            struct err *err);

/* False if the disk of the output cannot take so many bytes. ERR_IO. */
bool model_rewrite_room(const char *out_path, uint64_t bytes, struct err *err);

#endif
