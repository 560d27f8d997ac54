/* The GGUF reader on arbitrary bytes: open, touch every value, map every tensor, read the keys that
 * models ask for by type. On Linux the file is a memfd that is kept and rewritten, so a run costs a
 * few system calls; elsewhere a temporary file. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gguf/gguf.h"
#include "gguf/summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static char path[64];
static volatile uint64_t sink; /* keeps the reads */

static int input_file(void)
{
#ifdef __linux__
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
#else
    snprintf(path, sizeof path, "/tmp/hearth-fuzz-XXXXXX");
    int fd = mkstemp(path);
#endif
    if (fd < 0) {
        abort();
    }
    return fd;
}

static uint64_t touch_value(const struct gguf_value *value)
{
    uint64_t sum = value->kind == GGUF_STRING ? str_hash(value->text) : 0;
    for (uint64_t i = 0; value->kind == GGUF_ARRAY && i < value->count; i++) {
        switch (value->item_kind) {
        case GGUF_STRING:
            sum += str_hash(value->texts[i]);
            break;
        case GGUF_F32:
        case GGUF_F64:
            sum += gguf_item_f64(value, i) > 0;
            break;
        default:
            sum += (uint64_t)gguf_item_i64(value, i);
            break;
        }
    }
    return sum;
}

static uint64_t touch_tensor(const struct gguf *gguf, const struct gguf_tensor *tensor)
{
    struct os_map map;
    struct err err;
    uint64_t sum = 0;
    if (!gguf_rows_open(gguf, tensor, 0, tensor->row_count, &map, &err)) {
        abort(); /* a checked range must map */
    }
    for (size_t i = 0; i < map.len; i++) {
        sum += map.ptr[i];
    }
    os_map_close(&map);
    return sum;
}

static uint64_t touch_model(const struct gguf *gguf)
{
    uint64_t sum = 0, u64;
    uint32_t u32;
    float f32;
    bool flag;
    struct str text;
    struct err err;
    struct gguf_summary summary;
    for (size_t i = 0; i < gguf->entry_count; i++) {
        struct str key = gguf->entries[i].key;
        if (gguf_find(gguf, key) != &gguf->entries[i]) {
            abort();
        }
        sum += touch_value(&gguf->entries[i].value);
        sum += gguf_get_u32(gguf, key, &u32, NULL, &err) ? u32 : 0;
        sum += gguf_get_u64(gguf, key, &u64, NULL, &err) ? u64 : 0;
        sum += gguf_get_f32(gguf, key, &f32, NULL, &err) ? f32 > 0 : 0;
        sum += gguf_get_bool(gguf, key, &flag, NULL, &err) ? flag : 0;
        sum += gguf_get_str(gguf, key, &text, NULL, &err) ? text.len : 0;
    }
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        if (gguf_find_tensor(gguf, gguf->tensors[i].name) != &gguf->tensors[i]) {
            abort();
        }
        sum += touch_tensor(gguf, &gguf->tensors[i]);
    }
    gguf_summarize(gguf, &summary);
    return sum + summary.elements;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static int fd = -1;
    struct err err = {0};
    if (fd < 0) {
        fd = input_file();
    }
    if (ftruncate(fd, 0) != 0 || pwrite(fd, bytes, len, 0) != (ssize_t)len) {
        abort();
    }
    struct gguf *gguf = gguf_open(path, &err);
    if (gguf) {
        sink = touch_model(gguf);
    } else if (err.code == ERR_NONE || !err.text[0]) {
        abort(); /* refused without a reason */
    }
    gguf_close(gguf);
    return 0;
}
