#include "gguf/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/size.h"

enum { INDEX_BYTES_MAX = 64 << 20, FILES_MAX = 4096 };

static bool fail(struct str name, const char *what, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    return err_set(err, ERR_FORMAT, "safetensors: tensor \"%s\" %s", str_quote(quoted, name), what);
}

static bool find_type(struct str name, enum dtype *type)
{
    static const struct {
        const char *name;
        enum dtype type;
    } types[] = {{"F32", DTYPE_F32}, {"F16", DTYPE_F16}, {"BF16", DTYPE_BF16}, {"F64", DTYPE_F64},
                 {"I8", DTYPE_I8},   {"I16", DTYPE_I16}, {"I32", DTYPE_I32},   {"I64", DTYPE_I64}};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (str_eq(name, str_of(types[i].name))) {
            *type = types[i].type;
            return true;
        }
    }
    return false;
}

static bool read_u64(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_shape(struct gguf_safetensor *t, const json_t *shape, struct err *err)
{
    size_t count = json_array_size(shape);

    if (!json_is_array(shape) || count > GGUF_DIMS_MAX) {
        return fail(t->name, "has no shape of at most 4 dimensions", err);
    }
    t->dim_count = (uint32_t)count;
    t->elements = 1;
    for (size_t i = 0; i < count; i++) {
        if (!read_u64(json_array_get(shape, i), &t->dims[i]) ||
            !size_mul_u64(t->elements, t->dims[i], &t->elements)) {
            return fail(t->name, "has a shape that does not fit 64 bits", err);
        }
    }
    return true;
}

static bool read_tensor(struct gguf_safetensor *t, const json_t *item, uint64_t data_at,
                        uint64_t data_bytes, struct err *err)
{
    const json_t *offsets = json_object_get(item, "data_offsets");
    uint64_t from, to, bytes;

    if (!find_type(json_str(json_object_get(item, "dtype")), &t->type)) {
        return fail(t->name, "has a dtype that cannot be converted", err);
    }
    if (!read_shape(t, json_object_get(item, "shape"), err)) {
        return false;
    }
    if (json_array_size(offsets) != 2 || !read_u64(json_array_get(offsets, 0), &from) ||
        !read_u64(json_array_get(offsets, 1), &to) || from > to || to > data_bytes) {
        return fail(t->name, "has data_offsets outside the file", err);
    }
    if (!size_mul_u64(t->elements, dtype_info(t->type)->block_bytes, &bytes) ||
        bytes != to - from) {
        return fail(t->name, "has data_offsets that do not fit its shape", err);
    }
    t->bytes = bytes;
    t->offset = data_at + from;
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const struct gguf_safetensor *x = a, *y = b;
    return x->offset != y->offset ? (x->offset < y->offset ? -1 : 1)
                                  : (x->bytes < y->bytes ? -1 : x->bytes > y->bytes);
}

/* The tensors of a file stand side by side from its first byte to its last. */
static bool check_places(struct gguf_safetensor *tensors, size_t count, uint64_t data_at,
                         uint64_t data_bytes, struct err *err)
{
    uint64_t at = data_at;

    qsort(tensors, count, sizeof *tensors, by_offset);
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].offset != at) {
            return fail(tensors[i].name, "overlaps another, or there is a gap before it", err);
        }
        at += tensors[i].bytes;
    }
    return at == data_at + data_bytes ||
           err_set(err, ERR_FORMAT, "safetensors: the tensors do not reach the end of the file");
}

static bool grow(struct gguf_safetensors *all, size_t more, struct err *err)
{
    size_t count = all->tensor_count + more;
    struct gguf_safetensor *tensors =
        count <= SAFETENSORS_TENSORS_MAX ? MEM_ARRAY(struct gguf_safetensor, count + 1) : NULL;

    if (!tensors) {
        return err_set(err, ERR_FORMAT, "safetensors: %zu tensors, at most %d", count,
                       SAFETENSORS_TENSORS_MAX);
    }
    if (all->tensor_count > 0) {
        memcpy(tensors, all->tensors, all->tensor_count * sizeof *tensors);
    }
    mem_free(all->tensors);
    all->tensors = tensors;
    return true;
}

bool gguf_safetensors_parse(struct gguf_safetensors *all, struct str head, uint64_t data_at,
                            uint64_t data_bytes, struct err *err)
{
    const struct json_limits limits = {.depth_max = 8, .values_max = 16 << 20};
    json_t *root = json_parse(head, &limits, err), *item;
    const char *key;
    size_t first = all->tensor_count;

    json_t **heads = root ? MEM_ARRAY(json_t *, all->file_count + 1) : NULL;
    if (!heads) {
        json_decref(root);
        return root ? err_set_memory(err, sizeof *heads) : err_wrap(err, "safetensors head");
    }
    if (all->file_count > 0) {
        memcpy(heads, all->heads, all->file_count * sizeof *heads);
    }
    mem_free(all->heads);
    all->heads = heads;
    all->heads[all->file_count++] = root;
    if (!json_is_object(root)) {
        return err_set(err, ERR_FORMAT, "safetensors: the head is no JSON object");
    }
    if (!grow(all, json_object_size(root), err)) {
        return false;
    }
    json_object_foreach(root, key, item)
    {
        struct gguf_safetensor t = {.name = str_of(key), .file = (uint32_t)(all->file_count - 1)};
        if (strcmp(key, "__metadata__") == 0) {
            continue;
        }
        if (!read_tensor(&t, item, data_at, data_bytes, err)) {
            return false;
        }
        all->tensors[all->tensor_count++] = t;
    }
    return check_places(all->tensors + first, all->tensor_count - first, data_at, data_bytes, err);
}

/* ---- files ---- */

static bool open_file(struct gguf_safetensors *all, const char *path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    unsigned char len_bytes[8];
    struct os_file *file = &all->files[all->file_count];
    uint64_t len = 0;

    if (!os_file_open(file, path, err)) {
        return false;
    }
    bool ok = os_file_read(file, 0, len_bytes, sizeof len_bytes, err);
    for (int i = 0; ok && i < 8; i++) {
        len |= (uint64_t)len_bytes[i] << (8 * i);
    }
    if (ok && (len > SAFETENSORS_HEAD_MAX || len > file->size - 8)) {
        ok = err_set(err, ERR_FORMAT, "safetensors: a head of %llu bytes in a file of %llu",
                     (unsigned long long)len, (unsigned long long)file->size);
    }
    char *head = ok ? mem_alloc((size_t)len + 1, 1) : NULL;
    ok = ok && (head || err_set_memory(err, len));
    ok = ok && os_file_read(file, 8, head, (size_t)len, err);
    size_t before = all->file_count;
    ok = ok && gguf_safetensors_parse(all, (struct str){head, (size_t)len}, 8 + len,
                                      file->size - 8 - len, err);
    mem_free(head);
    if (all->file_count == before) {
        os_file_close(file);
    }
    return ok || err_wrap(err, "%s", str_quote(quoted, str_of(path)));
}

/* A name in a folder; a name with a slash could leave it. */
static bool open_in(struct gguf_safetensors *all, const char *folder, struct str name,
                    struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct buf path = {0};

    if (name.len == 0 || str_find(name, STR("/"), 0) != SIZE_MAX) {
        return err_set(err, ERR_FORMAT, "model.safetensors.index.json: \"%s\" is no file name",
                       str_quote(quoted, name));
    }
    buf_add_text(&path, folder);
    buf_add_char(&path, '/');
    buf_add(&path, name);
    buf_add_char(&path, 0);
    bool ok = path.failed ? err_set_memory(err, name.len) : open_file(all, path.ptr, err);
    buf_deinit(&path);
    return ok;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool open_index(struct gguf_safetensors *all, const char *folder, const char *path,
                       struct err *err)
{
    size_t len = 0, count = 0;
    char *bytes = os_file_slurp(path, INDEX_BYTES_MAX, &len, err);
    json_t *root = bytes ? json_parse((struct str){bytes, len}, NULL, err) : NULL, *item;
    const json_t *map = json_object_get(root, "weight_map");
    const char *key, **names = MEM_ARRAY(const char *, json_object_size(map) + 1);
    bool ok = root && names;

    json_object_foreach((json_t *)(uintptr_t)map, key, item)
    {
        if (ok && json_is_string(item)) {
            names[count++] = json_string_value(item);
        }
    }
    if (ok && count == 0) {
        ok = err_set(err, ERR_FORMAT, "model.safetensors.index.json: no weight_map");
    }
    if (ok) {
        qsort(names, count, sizeof *names, by_text);
    }
    all->files = ok ? MEM_ARRAY(struct os_file, FILES_MAX) : NULL;
    ok = ok && (all->files || err_set_memory(err, FILES_MAX * sizeof *all->files));
    for (size_t i = 0; ok && i < count; i++) {
        if (i > 0 && strcmp(names[i], names[i - 1]) == 0) {
            continue;
        }
        ok = all->file_count < FILES_MAX
                 ? open_in(all, folder, str_of(names[i]), err)
                 : err_set(err, ERR_FORMAT, "more than %d files", FILES_MAX);
    }
    json_decref(root);
    mem_free(names);
    mem_free(bytes);
    return ok;
}

bool gguf_safetensors_open(struct gguf_safetensors *all, const char *folder, struct err *err)
{
    struct buf index = {0};

    *all = (struct gguf_safetensors){0};
    buf_add_text(&index, folder);
    buf_add_text(&index, "/model.safetensors.index.json");
    buf_add_char(&index, 0);
    bool ok = !index.failed;
    if (ok && os_path_exists(index.ptr)) {
        ok = open_index(all, folder, index.ptr, err);
    } else if (ok) {
        all->files = MEM_ARRAY(struct os_file, 1);
        ok = all->files && open_in(all, folder, STR("model.safetensors"), err);
    }
    buf_deinit(&index);
    return ok;
}

void gguf_safetensors_close(struct gguf_safetensors *all)
{
    for (size_t i = 0; i < all->file_count; i++) {
        json_decref(all->heads[i]);
        if (all->files) {
            os_file_close(&all->files[i]);
        }
    }
    mem_free(all->heads);
    mem_free(all->files);
    mem_free(all->tensors);
    *all = (struct gguf_safetensors){0};
}

const struct gguf_safetensor *gguf_safetensors_find(const struct gguf_safetensors *all,
                                                    struct str name)
{
    for (size_t i = 0; i < all->tensor_count; i++) {
        if (str_eq(all->tensors[i].name, name)) {
            return &all->tensors[i];
        }
    }
    return NULL;
}
