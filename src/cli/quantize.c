/* hearth quantize IN OUT TYPE: converts the weights of a model. One pass over the file: a stretch
 * of a tensor is mapped, converted by all threads and appended to the output, so memory does not
 * grow with the model. The output appears under its name only when it is complete. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/pool.h"
#include "base/size.h"
#include "cli/cli.h"
#include "gguf/mix.h"
#include "gguf/writer.h"
#include "tensor/codec.h"
#include "tensor/convert.h"

enum {
    CHUNK_ELEMENTS = 4 << 20, /* 16 MiB of floats; a multiple of every block length */
    ALIGNMENT_KEPT_MAX = 64 << 10,
    THREADS_MAX = 256,
    QUANTIZATION_VERSION = 2, /* GGML_QNT_VERSION */
};

static const char help[] =
    "usage: hearth quantize IN OUT TYPE [--threads N]\n\n"
    "Writes the model IN (any part of a split one) to the single file OUT with its weights as\n"
    "TYPE: F16, BF16, Q8_0 or Q4_0. Norms and other small tensors keep their types; for Q4_0 the\n"
    "output matrix, or the embeddings where they double as one, is Q8_0. OUT appears only when it\n"
    "is complete; an existing OUT is replaced then.\n\n"
    "  --threads N   threads that convert; default: the processor's cores\n"
    "  --help        this text\n";

static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    is_interrupted = 1;
}

struct quantizer {
    struct gguf *gguf;
    struct gguf_mix mix;
    struct gguf_writer *writer;
    struct pool *pool;
    float *scratch;
    unsigned char *out; /* CHUNK_ELEMENTS in the widest type */
    struct cli_progress progress;
    uint64_t bytes_done, bytes_out;
};

/* ---- the plan ---- */

static bool plan_tensor(struct quantizer *q, const struct gguf_tensor *tensor, struct err *err)
{
    char name[STR_QUOTE_MAX];
    enum dtype type = gguf_mix_type(&q->mix, tensor);
    if (type != tensor->type && !codec_can_decode(tensor->type)) {
        return err_set(err, ERR_UNSUPPORTED,
                       "tensor \"%s\" at byte %" PRIu64 " has type %s, which hearth cannot decode",
                       str_quote(name, tensor->name), tensor->offset,
                       dtype_info(tensor->type)->name);
    }
    q->bytes_out += dtype_row_bytes(type, (size_t)tensor->dims[0]) * tensor->row_count;
    return gguf_writer_add(q->writer, tensor->name, type, tensor->dim_count, tensor->dims, err);
}

/* What says how the input was stored is not copied. */
static bool is_copied(const struct gguf_entry *entry, uint32_t alignment)
{
    return !str_eq(entry->key, STR("split.no")) && !str_eq(entry->key, STR("split.count")) &&
           !str_eq(entry->key, STR("split.tensors.count")) &&
           (!str_eq(entry->key, STR("general.alignment")) || alignment <= ALIGNMENT_KEPT_MAX);
}

static bool plan(struct quantizer *q, const char *out_path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    const struct gguf *gguf = q->gguf;
    if (gguf->tensor_count == 0) {
        return err_set(err, ERR_INVALID, "the file has no tensors to convert");
    }
    for (size_t i = 0; i < gguf->entry_count; i++) {
        const struct gguf_entry *entry = &gguf->entries[i];
        if (is_copied(entry, gguf->alignment) &&
            !gguf_writer_set(q->writer, entry->key, &entry->value, err)) {
            return false;
        }
    }
    if (!gguf_writer_set_u32(q->writer, STR("general.quantization_version"), QUANTIZATION_VERSION,
                             err) ||
        !gguf_writer_set_u32(q->writer, STR("general.file_type"), gguf_mix_file_type(q->mix.target),
                             err)) {
        return false;
    }
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        if (!plan_tensor(q, &gguf->tensors[i], err)) {
            return false;
        }
    }
    uint64_t room = os_disk_available(out_path);
    return q->bytes_out <= room ||
           err_set(err, ERR_IO,
                   "%s needs %" PRIu64 " bytes, but its disk has only %" PRIu64 " left",
                   str_quote(quoted, str_of(out_path)), q->bytes_out, room);
}

/* ---- the work ---- */

static bool check_interrupt(struct err *err)
{
    return !is_interrupted || err_set(err, ERR_CANCELLED, "interrupted; nothing was written");
}

static bool convert_chunk(struct quantizer *q, const struct gguf_tensor *tensor, enum dtype type,
                          uint64_t first, size_t count, const unsigned char *in, struct err *err)
{
    char name[STR_QUOTE_MAX];
    size_t bad;
    if (type == tensor->type) {
        return gguf_writer_data(q->writer, in, dtype_row_bytes(type, count), err);
    }
    if (!codec_convert(q->pool, tensor->type, in, type, q->out, count, q->scratch, &bad)) {
        uint64_t at = first + bad;
        float value;
        size_t block = dtype_info(tensor->type)->block_len, start = bad - bad % block;
        float values[256]; /* the longest block */
        codec_decode_row(tensor->type, in + dtype_row_bytes(tensor->type, start), values, block);
        value = values[bad - start];
        return err_set(err, ERR_FORMAT,
                       "tensor \"%s\" at byte %" PRIu64 ": element %" PRIu64 " of row %" PRIu64
                       " is %g, which %s cannot hold",
                       str_quote(name, tensor->name), tensor->offset, at % tensor->dims[0],
                       at / tensor->dims[0], (double)value, dtype_info(type)->name);
    }
    return gguf_writer_data(q->writer, q->out, dtype_row_bytes(type, count), err);
}

/* Blocks follow each other without gaps from row to row, so the chunks need not be rows: a row of
 * any length is converted in bounded memory. */
static bool write_tensor(struct quantizer *q, const struct gguf_tensor *tensor, struct err *err)
{
    char name[STR_QUOTE_MAX];
    enum dtype type = gguf_mix_type(&q->mix, tensor);
    uint64_t total = tensor->dims[0] * tensor->row_count;
    for (uint64_t first = 0; first < total; first += CHUNK_ELEMENTS) {
        struct os_map map;
        size_t count = total - first < CHUNK_ELEMENTS ? (size_t)(total - first) : CHUNK_ELEMENTS;
        size_t bytes = dtype_row_bytes(tensor->type, count);
        uint64_t offset = dtype_row_bytes(tensor->type, (size_t)first);
        if (!check_interrupt(err) || !gguf_bytes_open(q->gguf, tensor, offset, bytes, &map, err)) {
            return false;
        }
        bool ok = convert_chunk(q, tensor, type, first, count, map.ptr, err);
        /* A write from lost pages fails in the kernel, before the guard of the map can know. */
        if (os_map_is_lost(&map) || (!ok && gguf_has_changed(q->gguf))) {
            ok =
                err_set(err, ERR_IO,
                        "tensor \"%s\" at byte %" PRIu64 ": the file was changed while it was read",
                        str_quote(name, tensor->name), tensor->offset);
        }
        os_map_close(&map);
        if (!ok) {
            return false;
        }
        q->bytes_done += bytes;
        cli_progress_update(&q->progress, q->bytes_done);
    }
    return true;
}

static bool write_tensors(struct quantizer *q, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    bool ok = true;
    cli_progress_start(&q->progress, "quantize", q->gguf->tensor_bytes);
    for (size_t i = 0; i < q->gguf->tensor_count && ok; i++) {
        ok = write_tensor(q, &q->gguf->tensors[i], err);
    }
    cli_progress_end(&q->progress);
    if (ok && gguf_has_changed(q->gguf)) {
        ok = err_set(err, ERR_IO, "the file was changed while it was read");
    }
    return ok || err_wrap(err, "%s", str_quote(quoted, str_of(q->gguf->path)));
}

/* The output must not be a file the input still needs, under whatever name. */
static bool check_output(const struct gguf *gguf, const char *out_path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct os_file file;
    struct err ignored;
    if (!os_path_exists(out_path) || !os_file_open(&file, out_path, &ignored)) {
        return true; /* opening it for writing says what is wrong */
    }
    bool is_input = false;
    for (size_t i = 0; i < gguf->shard_count; i++) {
        is_input |= gguf->shards[i].device == file.device && gguf->shards[i].inode == file.inode;
    }
    os_file_close(&file);
    return !is_input || err_set(err, ERR_INVALID, "%s is the input itself; name another output",
                                str_quote(quoted, str_of(out_path)));
}

static bool quantize(struct quantizer *q, const char *in_path, const char *out_path,
                     enum dtype target, size_t thread_count, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    if (!(q->gguf = gguf_open(in_path, err)) || !check_output(q->gguf, out_path, err) ||
        !(q->writer = gguf_writer_create(err)) || !(q->pool = pool_create(thread_count, err))) {
        return false;
    }
    gguf_mix_init(&q->mix, q->gguf, target);
    q->out = MEM_ARRAY(unsigned char, (size_t)CHUNK_ELEMENTS * sizeof(float));
    q->scratch = mem_alloc(codec_convert_bytes(q->pool), 1);
    if (!q->out || !q->scratch) {
        return err_set_memory(err, (size_t)CHUNK_ELEMENTS * sizeof(float));
    }
    if (!plan(q, out_path, err)) {
        return err_wrap(err, "quantize %s", str_quote(quoted, str_of(in_path)));
    }
    return gguf_writer_begin(q->writer, out_path, err) && write_tensors(q, err) &&
           check_interrupt(err) && gguf_writer_commit(q->writer, err);
}

static bool report(const struct quantizer *q, const char *out_path, struct err *err)
{
    char quoted[STR_QUOTE_MAX], text[512];
    uint64_t elements = 0;
    for (size_t i = 0; i < q->gguf->tensor_count; i++) {
        elements += q->gguf->tensors[i].dims[0] * q->gguf->tensors[i].row_count;
    }
    double mib = 1024.0 * 1024.0, bits = 8.0 / (double)elements;
    int n = snprintf(text, sizeof text,
                     "%s: %.2f MiB of weights, %.2f bits each (was %.2f MiB, %.2f bits)\n",
                     str_quote(quoted, str_of(out_path)), (double)q->bytes_out / mib,
                     (double)q->bytes_out * bits, (double)q->gguf->tensor_bytes / mib,
                     (double)q->gguf->tensor_bytes * bits);
    return cli_write(text, (size_t)n, err);
}

static int run(const char *in_path, const char *out_path, enum dtype target, size_t thread_count)
{
    struct quantizer q = {0};
    struct err err = {0};
    struct sigaction old_int, old_term, action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    is_interrupted = 0;
    sigaction(SIGINT, &action, &old_int);
    sigaction(SIGTERM, &action, &old_term);
    bool ok = quantize(&q, in_path, out_path, target, thread_count, &err);
    gguf_writer_destroy(q.writer); /* removes what is not complete */
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    ok = ok && report(&q, out_path, &err);
    pool_destroy(q.pool);
    mem_free(q.out);
    mem_free(q.scratch);
    gguf_close(q.gguf);
    return ok ? 0 : cli_fail(&err);
}

int cli_quantize(int argc, char **argv)
{
    static const struct option options[] = {
        {"threads", required_argument, NULL, 't'}, {"help", no_argument, NULL, 'h'}, {0}};
    char quoted[STR_QUOTE_MAX];
    struct err err = {0};
    uint64_t thread_count = size_min(os_cpu_cores(), THREADS_MAX);
    opterr = 0;
    optind = 0; /* glibc: start over, also when another command has parsed before */
    for (int c; (c = getopt_long(argc, argv, "ht:", options, NULL)) != -1;) {
        switch (c) {
        case 't':
            if (!str_to_u64(str_of(optarg), &thread_count) || thread_count < 1 ||
                thread_count > THREADS_MAX) {
                return cli_usage_error("quantize", "--threads must be 1 to %d, not \"%s\"",
                                       THREADS_MAX, str_quote(quoted, str_of(optarg)));
            }
            break;
        case 'h':
            return cli_write(help, sizeof help - 1, &err) ? 0 : cli_fail(&err);
        default:
            return cli_usage_error("quantize", "unknown option or missing value: %s",
                                   str_quote(quoted, str_of(argv[optind - 1])));
        }
    }
    if (argc - optind != 3) {
        return cli_usage_error("quantize", "quantize needs an input, an output and a type");
    }
    const struct dtype_info *target = dtype_find_name(str_of(argv[optind + 2]));
    if (!target || !gguf_mix_supports(target->type)) {
        return cli_usage_error("quantize", "%s \"%s\"; hearth writes F16, BF16, Q8_0 and Q4_0",
                               target ? "cannot quantise to" : "unknown type",
                               str_quote(quoted, str_of(argv[optind + 2])));
    }
    return run(argv[optind], argv[optind + 1], target->type, (size_t)thread_count);
}
