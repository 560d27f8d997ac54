#include "model/quantize.h"

#include <inttypes.h>

#include "base/mem.h"
#include "base/os.h"
#include "gguf/importance.h"
#include "gguf/writer.h"
#include "model/rewrite.h"
#include "tensor/codec.h"

enum {
    CHUNK_ELEMENTS = 4 << 20, /* 16 MiB of floats; a multiple of every block length */
    QUANTIZATION_VERSION = 2, /* GGML_QNT_VERSION */
};

struct quantizer {
    const struct model_quantize *how;
    struct gguf *gguf;
    struct gguf_mix mix;
    struct gguf_writer *writer;
    void *scratch;
    unsigned char *out; /* CHUNK_ELEMENTS in the widest type */
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
    const float *means = NULL;
    const struct gguf_importance *importance = q->how->importance;
    if (importance && !gguf_importance_find(importance, tensor, &means, err)) {
        return false;
    }
    if (!means && gguf_mix_needs_importance(&q->mix, tensor)) {
        return err_set(err, ERR_INVALID,
                       "tensor \"%s\" as %s is useless without an importance matrix%s",
                       str_quote(name, tensor->name), dtype_info(type)->name,
                       importance ? ", and the one given has nothing on it" : " (--imatrix)");
    }
    q->bytes_out += dtype_row_bytes(type, (size_t)tensor->dims[0]) * tensor->row_count;
    return gguf_writer_add(q->writer, tensor->name, type, tensor->dim_count, tensor->dims, err);
}

/* The keys that llama-quantize writes. */
static bool describe_importance(struct quantizer *q, struct err *err)
{
    const struct gguf_importance *im = q->how->importance;
    return gguf_writer_set_str(q->writer, STR("quantize.imatrix.file"),
                               str_of(q->how->importance_name), err) &&
           gguf_writer_set_str(q->writer, STR("quantize.imatrix.dataset"),
                               gguf_importance_dataset(im), err) &&
           gguf_writer_set_u32(q->writer, STR("quantize.imatrix.entries_count"),
                               (uint32_t)gguf_importance_count(im), err) &&
           gguf_writer_set_u32(q->writer, STR("quantize.imatrix.chunks_count"),
                               gguf_importance_chunks(im), err);
}

static bool plan(struct quantizer *q, const char *out_path, struct err *err)
{
    const struct gguf *gguf = q->gguf;
    if (gguf->tensor_count == 0) {
        return err_set(err, ERR_INVALID, "the file has no tensors to convert");
    }
    if (!model_rewrite_metadata(q->writer, gguf, (struct str){0}, err)) {
        return false;
    }
    if (q->how->importance && !describe_importance(q, err)) {
        return false;
    }
    if (!gguf_writer_set_u32(q->writer, STR("general.quantization_version"), QUANTIZATION_VERSION,
                             err) ||
        !gguf_writer_set_u32(q->writer, STR("general.file_type"), q->mix.target->file_type, err)) {
        return false;
    }
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        if (!plan_tensor(q, &gguf->tensors[i], err)) {
            return false;
        }
    }
    return model_rewrite_room(out_path, q->bytes_out, err);
}

/* ---- the work ---- */

static bool check_cancelled(const struct quantizer *q, struct err *err)
{
    const struct model_quantize *how = q->how;
    return !how->is_cancelled || !how->is_cancelled(how->arg) ||
           err_set(err, ERR_CANCELLED, "interrupted; nothing was written");
}

/* The error for the element that the target cannot hold. */
static bool fail_value(const struct gguf_tensor *tensor, enum dtype type, uint64_t first,
                       size_t bad, const unsigned char *in, struct err *err)
{
    char name[STR_QUOTE_MAX];
    uint64_t at = first + bad;
    float values[256]; /* the longest block */
    size_t block = dtype_info(tensor->type)->block_len, start = bad - bad % block;
    codec_decode_row(tensor->type, in + dtype_row_bytes(tensor->type, start), values, block);
    return err_set(err, ERR_FORMAT,
                   "tensor \"%s\" at byte %" PRIu64 ": element %" PRIu64 " of row %" PRIu64
                   " is %g, which %s cannot hold",
                   str_quote(name, tensor->name), tensor->offset, at % tensor->dims[0],
                   at / tensor->dims[0], (double)values[bad - start], dtype_info(type)->name);
}

static bool convert_chunk(struct quantizer *q, struct model_quantized *done, uint64_t first,
                          size_t count, const unsigned char *in, struct err *err)
{
    const struct gguf_tensor *tensor = done->tensor;
    size_t bad;
    if (done->type == tensor->type) {
        return gguf_writer_data(q->writer, in, dtype_row_bytes(done->type, count), err);
    }
    struct codec_conversion conversion = {
        .from = tensor->type,
        .to = done->type,
        .in = in,
        .out = q->out,
        .count = count,
        .first = first,
        .row_len = tensor->dims[0],
        .plane_len = tensor->dims[0] * tensor->dims[1],
        .wants_loss = q->how->done != NULL,
    };
    if (q->how->importance &&
        !gguf_importance_find(q->how->importance, tensor, &conversion.weights, err)) {
        return false;
    }
    if (!codec_convert(q->how->pool, &conversion, q->scratch, &bad)) {
        return fail_value(tensor, done->type, first, bad, in, err);
    }
    done->loss.squares += conversion.loss.squares;
    done->loss.differences += conversion.loss.differences;
    return gguf_writer_data(q->writer, q->out, dtype_row_bytes(done->type, count), err);
}

/* Blocks follow each other without gaps from row to row, so the chunks need not be rows: a row of
 * any length is converted in bounded memory. */
static bool write_tensor(struct quantizer *q, const struct gguf_tensor *tensor, struct err *err)
{
    char name[STR_QUOTE_MAX];
    struct model_quantized done = {.tensor = tensor, .type = gguf_mix_type(&q->mix, tensor)};
    uint64_t total = tensor->dims[0] * tensor->row_count;
    for (uint64_t first = 0; first < total; first += CHUNK_ELEMENTS) {
        struct os_map map;
        size_t count = total - first < CHUNK_ELEMENTS ? (size_t)(total - first) : CHUNK_ELEMENTS;
        size_t bytes = dtype_row_bytes(tensor->type, count);
        uint64_t offset = dtype_row_bytes(tensor->type, (size_t)first);
        if (!check_cancelled(q, err) ||
            !gguf_bytes_open(q->gguf, tensor, offset, bytes, &map, err)) {
            return false;
        }
        bool ok = convert_chunk(q, &done, first, count, map.ptr, err);
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
        if (q->how->progress) {
            q->how->progress(q->how->arg, q->bytes_done, q->gguf->tensor_bytes);
        }
    }
    if (q->how->done) {
        q->how->done(q->how->arg, &done);
    }
    return true;
}

static bool write_tensors(struct quantizer *q, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    bool ok = true;
    for (size_t i = 0; i < q->gguf->tensor_count && ok; i++) {
        ok = write_tensor(q, &q->gguf->tensors[i], err);
    }
    if (ok && gguf_has_changed(q->gguf)) {
        ok = err_set(err, ERR_IO, "the file was changed while it was read");
    }
    return ok || err_wrap(err, "%s", str_quote(quoted, str_of(q->gguf->path)));
}

static bool quantize(struct quantizer *q, const char *in_path, const char *out_path,
                     struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    if (!(q->gguf = gguf_open(in_path, err)) || !model_rewrite_check(q->gguf, out_path, err) ||
        !(q->writer = gguf_writer_create(err))) {
        return false;
    }
    gguf_mix_init(&q->mix, q->gguf, q->how->target, q->how->importance != NULL);
    q->out = MEM_ARRAY(unsigned char, (size_t)CHUNK_ELEMENTS * sizeof(float));
    q->scratch = mem_alloc(codec_convert_bytes(q->how->pool, CHUNK_ELEMENTS), 1);
    if (!q->out || !q->scratch) {
        return err_set_memory(err, (size_t)CHUNK_ELEMENTS * sizeof(float));
    }
    if (!plan(q, out_path, err)) {
        return err_wrap(err, "quantize %s", str_quote(quoted, str_of(in_path)));
    }
    return gguf_writer_begin(q->writer, out_path, err) && write_tensors(q, err) &&
           check_cancelled(q, err) && gguf_writer_commit(q->writer, err);
}

bool model_quantize(const char *in, const char *out, const struct model_quantize *how,
                    struct model_quantize_result *result, struct err *err)
{
    struct quantizer q = {.how = how};
    bool ok = quantize(&q, in, out, err);

    gguf_writer_destroy(q.writer); /* removes what is not complete */
    *result = (struct model_quantize_result){.bytes_out = q.bytes_out};
    if (q.gguf) {
        result->bytes_in = q.gguf->tensor_bytes;
        for (size_t i = 0; i < q.gguf->tensor_count; i++) {
            result->elements += q.gguf->tensors[i].dims[0] * q.gguf->tensors[i].row_count;
        }
    }
    mem_free(q.out);
    mem_free(q.scratch);
    gguf_close(q.gguf);
    return ok;
}
