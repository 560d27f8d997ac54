/* For tests: builds the bytes of a GGUF file field by field, right or wrong as the test wants, and
 * puts them in a file. It shares nothing with the writer, so that both can be judged. */
#ifndef GGUF_TEST_IMAGE_H
#define GGUF_TEST_IMAGE_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/buf.h"
#include "gguf/gguf.h"

static ATTR_UNUSED char image_folder[] = "/tmp/hearth-gguf-test-XXXXXX";

static ATTR_UNUSED int image_setup(void **state)
{
    (void)state;
    return mkdtemp(image_folder) ? 0 : -1;
}

/* Tests remove what they make; this fails when one forgot. */
static ATTR_UNUSED int image_teardown(void **state)
{
    (void)state;
    return rmdir(image_folder);
}

static ATTR_UNUSED const char *image_path(const char *name)
{
    static char paths[16][160]; /* those of one test may be in use at once */
    static unsigned next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", image_folder, name);
    return path;
}

static ATTR_UNUSED void image_bytes(struct buf *b, const void *bytes, size_t len)
{
    buf_add(b, (struct str){.ptr = bytes, .len = len});
}

static ATTR_UNUSED void image_u8(struct buf *b, uint8_t value)
{
    image_bytes(b, &value, sizeof value);
}

static ATTR_UNUSED void image_u32(struct buf *b, uint32_t value)
{
    image_bytes(b, &value, sizeof value);
}

static ATTR_UNUSED void image_u64(struct buf *b, uint64_t value)
{
    image_bytes(b, &value, sizeof value);
}

static ATTR_UNUSED void image_str(struct buf *b, const char *text)
{
    image_u64(b, strlen(text));
    buf_add_text(b, text);
}

static ATTR_UNUSED void image_head(struct buf *b, uint32_t version, uint64_t tensor_count,
                                   uint64_t entry_count)
{
    image_bytes(b, "GGUF", 4);
    image_u32(b, version);
    image_u64(b, tensor_count);
    image_u64(b, entry_count);
}

/* A key and the kind of its value; the value follows by hand. */
static ATTR_UNUSED void image_key(struct buf *b, const char *key, uint32_t kind)
{
    image_str(b, key);
    image_u32(b, kind);
}

static ATTR_UNUSED void image_key_u32(struct buf *b, const char *key, uint32_t value)
{
    image_key(b, key, GGUF_U32);
    image_u32(b, value);
}

static ATTR_UNUSED void image_key_str(struct buf *b, const char *key, const char *value)
{
    image_key(b, key, GGUF_STRING);
    image_str(b, value);
}

/* An entry of the tensor index. */
static ATTR_UNUSED void image_tensor(struct buf *b, const char *name, uint32_t type,
                                     uint32_t dim_count, const uint64_t *dims, uint64_t offset)
{
    image_str(b, name);
    image_u32(b, dim_count);
    for (uint32_t i = 0; i < dim_count; i++) {
        image_u64(b, dims[i]);
    }
    image_u32(b, type);
    image_u64(b, offset);
}

#define IMAGE_DIMS(...) ((const uint64_t[]){__VA_ARGS__})

static ATTR_UNUSED void image_pad(struct buf *b, size_t alignment)
{
    while (b->len % alignment) {
        buf_add_char(b, 0);
    }
}

static ATTR_UNUSED void image_zeros(struct buf *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_add_char(b, 0);
    }
}

/* Writes the bytes; a size larger than them leaves a hole at the end. */
static ATTR_UNUSED void image_save(const struct buf *b, const char *path, uint64_t size)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0 || (b->len && write(fd, b->ptr, b->len) != (ssize_t)b->len) ||
        (size > b->len && ftruncate(fd, (off_t)size) != 0)) {
        perror(path);
        abort();
    }
    close(fd);
}

#endif
