/* GGUF files, v2 and v3, whole or split: metadata, tensor index, tensor bytes.
 *
 * The file is hostile. Metadata is read (not mapped) once, through a bounded cursor, into memory
 * that the `struct gguf` owns, so that a file changed later cannot change what was checked. Every
 * length, count, product and offset is checked; what is read is bounded by the file's own size and
 * by GGUF_METADATA_BYTES_MAX. Errors name the file, the key or tensor and the byte offset. Tensor
 * bytes are reached through guarded maps (base/os.h).
 *
 * A struct gguf is immutable after gguf_open and may be shared by threads. */
#ifndef GGUF_GGUF_H
#define GGUF_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/os.h"
#include "base/str.h"
#include "gguf/dtype.h"

enum gguf_kind { /* ids of the file format */
                 GGUF_U8,
                 GGUF_I8,
                 GGUF_U16,
                 GGUF_I16,
                 GGUF_U32,
                 GGUF_I32,
                 GGUF_F32,
                 GGUF_BOOL,
                 GGUF_STRING,
                 GGUF_ARRAY,
                 GGUF_U64,
                 GGUF_I64,
                 GGUF_F64,
                 GGUF_KIND_COUNT
};

struct gguf_value {
    enum gguf_kind kind;
    enum gguf_kind item_kind; /* of an array; arrays of arrays are refused */
    uint64_t count;           /* items of an array, else 1 */
    union {
        uint64_t u64;            /* U8 U16 U32 U64 BOOL, widened */
        int64_t i64;             /* I8 I16 I32 I64, widened */
        double f64;              /* F32 F64, widened */
        struct str text;         /* STRING */
        const void *items;       /* array of numbers, little endian as in the file, aligned to 16 */
        const struct str *texts; /* array of strings */
    };
};

struct gguf_entry {
    struct str key;
    struct gguf_value value;
    uint64_t offset; /* of the key in the file */
};

enum { GGUF_DIMS_MAX = 4 };

struct gguf_tensor {
    struct str name;
    enum dtype type;
    uint32_t dim_count;            /* 1..4 */
    uint64_t dims[GGUF_DIMS_MAX];  /* dims[0] is the row length; unused ones are 1 */
    uint64_t row_bytes, row_count; /* row_count = dims[1]*dims[2]*dims[3] */
    uint64_t bytes;                /* row_bytes * row_count */
    uint32_t shard;                /* which file of a split model */
    uint64_t offset;               /* of the first byte in that file */
    uint64_t info_offset;          /* of its entry in the index, for messages */
};

struct gguf {
    char *path;       /* of the first shard */
    uint32_t version; /* 2 or 3 */
    uint32_t alignment;
    struct gguf_entry *entries;
    size_t entry_count;
    struct gguf_tensor *tensors; /* of all shards */
    size_t tensor_count;
    struct os_file *shards;
    size_t shard_count;
    uint64_t tensor_bytes; /* sum over tensors */
    uint64_t file_bytes;   /* sum over shards */
    struct gguf_index *index;
    struct arena *arena;
};

/* Largest metadata (with the tensor index) that is read: 1 GiB, less when memory is short. */
#define GGUF_METADATA_BYTES_MAX (1ull << 30)

/* Opens a file; for a split model, the path of any part opens all parts beside it. */
struct gguf *gguf_open(const char *path, struct err *err);
void gguf_close(struct gguf *gguf);

/* NULL if absent. O(1). */
const struct gguf_entry *gguf_find(const struct gguf *gguf, struct str key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *gguf, struct str name);

/* Typed access. Integers of any width and sign are accepted where the value is in range, floats
 * accept F32 and F64. A key that is present with a wrong type is an error (false), an absent key
 * leaves *out alone and gives true; *found (may be NULL) tells. */
bool gguf_get_u32(const struct gguf *gguf, struct str key, uint32_t *out, bool *found,
                  struct err *err);
bool gguf_get_u64(const struct gguf *gguf, struct str key, uint64_t *out, bool *found,
                  struct err *err);
bool gguf_get_f32(const struct gguf *gguf, struct str key, float *out, bool *found,
                  struct err *err); /* finite */
bool gguf_get_bool(const struct gguf *gguf, struct str key, bool *out, bool *found,
                   struct err *err);
bool gguf_get_str(const struct gguf *gguf, struct str key, struct str *out, bool *found,
                  struct err *err);

/* One item of an integer array (U8..I64), widened. The caller has checked kind and count. */
int64_t gguf_item_i64(const struct gguf_value *array, uint64_t index);
double gguf_item_f64(const struct gguf_value *array, uint64_t index);

/* A guarded view of rows [row, row + count) of a tensor. After use check os_map_is_lost. */
bool gguf_rows_open(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t row,
                    uint64_t count, struct os_map *map, struct err *err);

/* The same for bytes [offset, offset + len) of a tensor. */
bool gguf_bytes_open(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t offset,
                     size_t len, struct os_map *map, struct err *err);

/* True when any shard's size or mtime differs from when it was opened. */
bool gguf_has_changed(const struct gguf *gguf);

/* "hearth-nano" of "/x/hearth-nano.gguf"; the shard suffix "-00001-of-00003" is dropped as well.
 * Borrows from path. */
struct str gguf_model_id(const char *path);

#endif
