/* The reader of LoRA adapters on arbitrary bytes, beside a small model: an adapter that is accepted
 * is loaded and changes a row; one that is not is refused with a reason. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static char path[64];

static int input_file(void)
{
#ifdef __linux__
    int fd = memfd_create("adapter", MFD_CLOEXEC);
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

static void check(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "lora_fuzz: %s\n", what);
        abort();
    }
}

static void run_row(struct model *model)
{
    static float logits[64];
    const float scale = 1;
    const uint32_t page = 0;
    const struct model_row row = {.token = 1, .wants_logits = true};
    const struct model_seq seq = {.pages = &page, .page_count = 1, .scales = &scale};
    check(model_info(model)->vocab_count == 64, "not the model that was meant");
    model_forward(model, &(struct model_batch){&row, 1, &seq, 1}, logits);
}

static void try_adapter(const struct gguf *adapter)
{
    static struct gguf *base;
    static struct pool *pool;
    struct err err = {0};
    if (!base) {
        base = gguf_open(TEST_DATA "/../golden/model/llama-f32.gguf", &err);
        check(base != NULL, err.text);
        pool = pool_create(1, &err);
        check(pool != NULL, err.text);
    }
    const struct model_params params = {.cpu_level = CPU_REFERENCE,
                                        .kv_type = KV_F32,
                                        .ctx_tokens = 64,
                                        .sequences_max = 1,
                                        .batch_rows_max = 1,
                                        .memory_max = 64 << 20,
                                        .adapters = &adapter,
                                        .adapter_count = 1};
    struct model *model = model_load(base, &params, pool, NULL, NULL, &err);
    if (model) {
        run_row(model);
    } else {
        check(err.code != ERR_NONE && err.text[0], "refused without a reason");
    }
    model_destroy(model);
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
    struct gguf *adapter = gguf_open(path, &err);
    if (adapter) {
        try_adapter(adapter);
    }
    gguf_close(adapter);
    return 0;
}
