/* Checkpoints in safetensors files, one or several (model.safetensors.index.json): the tensors of a
 * folder and where they stand. A file is
 *
 *     u64 length of the head | head: a JSON object | bytes of the tensors
 *
 * where the head has for each tensor {"dtype", "shape", "data_offsets": [from, to)}, offsets
 * counted from the end of the head; "__metadata__" is not a tensor. The file is hostile: the head's
 * length is bounded, shapes and offsets are checked against each other and the file's size, and
 * tensors may not overlap or leave gaps. */
#ifndef GGUF_SAFETENSORS_H
#define GGUF_SAFETENSORS_H

#include <jansson.h>

#include "gguf/gguf.h"

enum { SAFETENSORS_HEAD_MAX = 100 << 20, SAFETENSORS_TENSORS_MAX = 1 << 20 };

struct gguf_safetensor {
    struct str name;
    enum dtype type; /* F32 F16 BF16 F64 and the integers */
    uint32_t dim_count;
    uint64_t dims[GGUF_DIMS_MAX]; /* as the file has them: the row length is the last */
    uint64_t elements, offset, bytes;
    uint32_t file;
};

struct gguf_safetensors {
    struct os_file *files;
    size_t file_count;
    json_t **heads; /* they own the names */
    struct gguf_safetensor *tensors;
    size_t tensor_count;
};

/* The tensors of one file's head (without the leading length), added to `all`. data_at: where the
 * tensor bytes begin; data_bytes: how many there are. */
bool gguf_safetensors_parse(struct gguf_safetensors *all, struct str head, uint64_t data_at,
                            uint64_t data_bytes, struct err *err);

/* model.safetensors of a folder, or the files that its index names. */
bool gguf_safetensors_open(struct gguf_safetensors *all, const char *folder, struct err *err);
void gguf_safetensors_close(struct gguf_safetensors *all);

const struct gguf_safetensor *gguf_safetensors_find(const struct gguf_safetensors *all,
                                                    struct str name);

#endif
