#include "model/merge.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "gguf/writer.h"
#include "model/merge_check.h"
#include "model/merge_elements.h"
#include "model/rewrite.h"
#include "tensor/codec.h"
#include "tensor/convert.h"

enum {
    CHUNK_ELEMENTS = 4 << 20, /* 16 MiB of floats; a multiple of every block length */
    CHUNK_PIECES = CHUNK_ELEMENTS / CODEC_PIECE,
    SOURCES_MAX = MODEL_MERGE_MAX + 1,
    QUANTIZATION_VERSION = 2, /* GGML_QNT_VERSION */
};

struct merger;
typedef void merge_piece_fn(struct merger *g, size_t piece, const float *const *in, size_t n);

struct merger {
    const struct model_merge *how;
    struct gguf *sources[SOURCES_MAX]; /* the models, then the base */
    size_t source_count;
    struct gguf_mix mix;
    struct gguf_writer *writer;
    struct merge_rule rule;

    /* The stretch at hand of the tensor at hand. */
    const struct gguf_tensor *tensors[SOURCES_MAX];
    const unsigned char *bytes[SOURCES_MAX];
    uint64_t first;
    size_t count;
    merge_piece_fn *fn;
    _Atomic size_t bad;         /* element * SOURCES_MAX + source; SIZE_MAX: none */
    bool is_second;             /* the second pass of counting */
    float *values;              /* [threads][SOURCES_MAX][CODEC_PIECE] */
    float *merged;              /* [CHUNK_ELEMENTS] */
    unsigned char *out;         /* CHUNK_ELEMENTS in the widest type */
    void *scratch;              /* of codec_convert */
    _Atomic uint64_t *bins;     /* TIES: [models][MERGE_BINS] */
    struct merge_angle *angles; /* SLERP: [CHUNK_PIECES] */
    struct merge_angle angle;

    uint64_t bytes_done, bytes_all, bytes_out, elements;
};

/* ---- the plan ---- */

static bool open_sources(struct merger *g, const char *out_path, struct err *err)
{
    char first[STR_QUOTE_MAX], other[STR_QUOTE_MAX];
    const struct model_merge *how = g->how;
    g->source_count = how->input_count + (how->base != NULL);
    for (size_t i = 0; i < g->source_count; i++) {
        const char *path = i < how->input_count ? how->inputs[i].path : how->base;
        struct gguf *gguf = g->sources[i] = gguf_open(path, err);
        if (!gguf || !model_rewrite_check(gguf, out_path, err)) {
            return false;
        }
        if (i > 0 && !model_merge_check(g->sources[0], gguf, err)) {
            return err_wrap(err, "%s and %s", str_quote(first, str_of(g->sources[0]->path)),
                            str_quote(other, str_of(gguf->path)));
        }
        g->bytes_all += gguf->tensor_bytes;
    }
    return true;
}

/* Frequencies of the rope and whatever is not a float are no weights. */
static bool is_constant(const struct gguf_tensor *tensor)
{
    return str_starts(tensor->name, STR("rope_")) || !codec_can_decode(tensor->type);
}

static enum dtype type_of(const struct merger *g, const struct gguf_tensor *tensor)
{
    return g->how->target && !is_constant(tensor) ? gguf_mix_type(&g->mix, tensor) : tensor->type;
}

static bool plan_tensor(struct merger *g, const struct gguf_tensor *tensor, struct err *err)
{
    char name[STR_QUOTE_MAX];
    enum dtype type = type_of(g, tensor);
    bool is_merged = !is_constant(tensor);
    str_quote(name, tensor->name);
    if (is_merged && !codec_can_encode(type)) {
        return err_set(
            err, ERR_UNSUPPORTED,
            "tensor \"%s\" has type %s, which hearth cannot write; name another (--type)", name,
            dtype_info(type)->name);
    }
    if (is_merged && g->how->target && gguf_mix_needs_importance(&g->mix, tensor)) {
        return err_set(err, ERR_INVALID,
                       "tensor \"%s\" as %s is useless without an importance matrix; merge to "
                       "another type and quantize that with one",
                       name, dtype_info(type)->name);
    }
    for (size_t i = 1; i < g->source_count; i++) {
        const struct gguf_tensor *other = gguf_find_tensor(g->sources[i], tensor->name);
        if (is_constant(tensor) ? other->type != tensor->type : !codec_can_decode(other->type)) {
            return err_set(err, ERR_INVALID, "tensor \"%s\" is %s in one model and %s in another",
                           name, dtype_info(tensor->type)->name, dtype_info(other->type)->name);
        }
    }
    g->elements += tensor->dims[0] * tensor->row_count;
    g->bytes_out += dtype_row_bytes(type, (size_t)tensor->dims[0]) * tensor->row_count;
    return gguf_writer_add(g->writer, tensor->name, type, tensor->dim_count, tensor->dims, err);
}

/* general.base_model.*: where the weights are from, as the format's definition names it. */
static bool describe_origin(struct merger *g, struct err *err)
{
    bool ok = gguf_writer_set_u32(g->writer, STR("general.base_model.count"),
                                  (uint32_t)g->source_count, err);
    for (size_t i = 0; i < g->source_count && ok; i++) {
        struct buf key = {0};
        struct str name = gguf_model_id(g->sources[i]->path);
        buf_add_format(&key, "general.base_model.%zu.name", i);
        ok = gguf_get_str(g->sources[i], STR("general.name"), &name, NULL, err) &&
             (!key.failed || err_set_memory(err, key.len)) &&
             gguf_writer_set_str(g->writer, buf_view(&key), name, err);
        buf_deinit(&key);
    }
    return ok;
}

static bool plan(struct merger *g, const char *out_path, struct err *err)
{
    const struct gguf *first = g->sources[0];
    const struct gguf_mix_target *target = g->how->target;
    if (first->tensor_count == 0) {
        return err_set(err, ERR_INVALID, "the models have no tensors");
    }
    if (!model_rewrite_metadata(g->writer, first, STR("general.base_model."), err) ||
        !describe_origin(g, err)) {
        return false;
    }
    if (target &&
        (!gguf_writer_set_u32(g->writer, STR("general.quantization_version"), QUANTIZATION_VERSION,
                              err) ||
         !gguf_writer_set_u32(g->writer, STR("general.file_type"), target->file_type, err))) {
        return false;
    }
    for (size_t i = 0; i < first->tensor_count; i++) {
        if (!plan_tensor(g, &first->tensors[i], err)) {
            return false;
        }
    }
    return model_rewrite_room(out_path, g->bytes_out, err);
}

/* The factors that do not depend on the tensor, and how often each tensor is read. */
static uint64_t init_rule(struct merger *g)
{
    const struct model_merge *how = g->how;
    double sum = 0;
    g->rule = (struct merge_rule){.method = how->method,
                                  .count = how->input_count,
                                  .lambda = how->lambda,
                                  .is_plain_sum = how->is_plain_sum};
    for (size_t i = 0; i < how->input_count; i++) {
        sum += how->inputs[i].weight;
    }
    for (size_t i = 0; i < how->input_count; i++) {
        bool is_mean = how->method == MODEL_MERGE_LINEAR && !how->is_plain_sum;
        g->rule.weights[i] = is_mean ? how->inputs[i].weight / sum : how->inputs[i].weight;
    }
    if (how->method == MODEL_MERGE_SLERP) {
        return 2;
    }
    return how->method == MODEL_MERGE_TIES && how->density < 1 ? 3 : 1;
}

/* ---- a pass over one tensor ---- */

static void run_piece(void *arg, size_t piece, size_t thread)
{
    struct merger *g = arg;
    size_t start = piece * CODEC_PIECE, n = size_min(CODEC_PIECE, g->count - start);
    const float *in[SOURCES_MAX];
    for (size_t i = 0; i < g->source_count; i++) {
        float *values = g->values + (thread * SOURCES_MAX + i) * CODEC_PIECE;
        enum dtype type = g->tensors[i]->type;
        codec_decode_row(type, g->bytes[i] + dtype_row_bytes(type, start), values, n);
        in[i] = values;
        for (size_t k = 0; k < n; k++) {
            if (!isfinite(values[k])) {
                size_t index = (start + k) * SOURCES_MAX + i, seen = atomic_load(&g->bad);
                while (index < seen && !atomic_compare_exchange_weak(&g->bad, &seen, index)) {
                }
                return;
            }
        }
    }
    g->fn(g, piece, in, n);
}

static bool fail_source(struct merger *g, size_t bad, struct err *err)
{
    char path[STR_QUOTE_MAX], name[STR_QUOTE_MAX];
    const struct gguf *gguf = g->sources[bad % SOURCES_MAX];
    const struct gguf_tensor *tensor = g->tensors[bad % SOURCES_MAX];
    uint64_t at = g->first + bad / SOURCES_MAX;
    return err_set(err, ERR_FORMAT,
                   "%s: tensor \"%s\" at byte %" PRIu64 ": element %" PRIu64 " of row %" PRIu64
                   " is no finite number",
                   str_quote(path, str_of(gguf->path)), str_quote(name, tensor->name),
                   tensor->offset, at % tensor->dims[0], at / tensor->dims[0]);
}

/* Opens the stretch [first, first + count) in all sources; maps[0..*opened) are open, also after a
 * failure. */
static bool open_stretch(struct merger *g, struct os_map *maps, size_t *opened, struct err *err)
{
    for (size_t i = 0; i < g->source_count; i++) {
        enum dtype type = g->tensors[i]->type;
        if (!gguf_bytes_open(g->sources[i], g->tensors[i], dtype_row_bytes(type, (size_t)g->first),
                             dtype_row_bytes(type, g->count), &maps[i], err)) {
            return false;
        }
        g->bytes[i] = maps[i].ptr;
        *opened = i + 1;
    }
    return true;
}

static bool close_stretch(struct merger *g, struct os_map *maps, size_t opened, bool ok,
                          struct err *err)
{
    char path[STR_QUOTE_MAX];
    for (size_t i = 0; i < opened; i++) {
        if (os_map_is_lost(&maps[i]) || (!ok && gguf_has_changed(g->sources[i]))) {
            ok = err_set(err, ERR_IO, "%s was changed while it was read",
                         str_quote(path, str_of(g->sources[i]->path)));
        }
        os_map_close(&maps[i]);
        g->bytes_done += dtype_row_bytes(g->tensors[i]->type, g->count);
    }
    if (ok && g->how->progress) {
        g->how->progress(g->how->arg, g->bytes_done, g->bytes_all);
    }
    return ok;
}

static bool check_cancelled(const struct merger *g, struct err *err)
{
    const struct model_merge *how = g->how;
    return !how->is_cancelled || !how->is_cancelled(how->arg) ||
           err_set(err, ERR_CANCELLED, "interrupted; nothing was written");
}

/* Stretch by stretch: fn for each piece of decoded floats (may be NULL), then `after` (may be
 * NULL) with the stretch still open. */
static bool pass(struct merger *g, merge_piece_fn *fn,
                 bool (*after)(struct merger *g, struct err *err), struct err *err)
{
    uint64_t total = g->tensors[0]->dims[0] * g->tensors[0]->row_count;
    bool ok = true;
    g->fn = fn;
    for (g->first = 0; g->first < total && ok; g->first += g->count) {
        struct os_map maps[SOURCES_MAX];
        size_t opened = 0;
        g->count = (size_t)(total - g->first < CHUNK_ELEMENTS ? total - g->first : CHUNK_ELEMENTS);
        ok = check_cancelled(g, err) && open_stretch(g, maps, &opened, err);
        if (ok && fn) {
            atomic_store(&g->bad, SIZE_MAX);
            pool_run(g->how->pool, run_piece, g, (g->count + CODEC_PIECE - 1) / CODEC_PIECE);
            size_t bad = atomic_load(&g->bad);
            ok = bad == SIZE_MAX || fail_source(g, bad, err);
        }
        ok = ok && (!after || after(g, err));
        ok = close_stretch(g, maps, opened, ok, err);
    }
    return ok;
}

/* ---- what is done in a pass ---- */

static void merge_piece(struct merger *g, size_t piece, const float *const *in, size_t n)
{
    model_merge_elements(&g->rule, in, n, g->merged + piece * CODEC_PIECE);
}

static bool write_merged(struct merger *g, struct err *err)
{
    char name[STR_QUOTE_MAX];
    const struct gguf_tensor *tensor = g->tensors[0];
    struct codec_conversion conversion = {
        .from = DTYPE_F32,
        .to = type_of(g, tensor),
        .in = g->merged,
        .out = g->out,
        .count = g->count,
        .first = g->first,
        .row_len = tensor->dims[0],
        .plane_len = tensor->dims[0] * tensor->dims[1],
    };
    size_t bad;
    if (!codec_convert(g->how->pool, &conversion, g->scratch, &bad)) {
        uint64_t at = g->first + bad;
        return err_set(err, ERR_FORMAT,
                       "tensor \"%s\": element %" PRIu64 " of row %" PRIu64
                       " becomes %g, which %s cannot hold",
                       str_quote(name, tensor->name), at % tensor->dims[0], at / tensor->dims[0],
                       (double)g->merged[bad], dtype_info(conversion.to)->name);
    }
    return gguf_writer_data(g->writer, g->out, dtype_row_bytes(conversion.to, g->count), err);
}

static bool write_constant(struct merger *g, struct err *err)
{
    char name[STR_QUOTE_MAX];
    size_t len = dtype_row_bytes(g->tensors[0]->type, g->count);
    for (size_t i = 1; i < g->source_count; i++) {
        if (memcmp(g->bytes[0], g->bytes[i], len) != 0) {
            return err_set(err, ERR_INVALID,
                           "tensor \"%s\" cannot be merged and differs between the models",
                           str_quote(name, g->tensors[0]->name));
        }
    }
    return gguf_writer_data(g->writer, g->bytes[0], len, err);
}

static void angle_piece(struct merger *g, size_t piece, const float *const *in, size_t n)
{
    g->angles[piece] = (struct merge_angle){0};
    model_merge_angle_add(&g->angles[piece], in[0], in[1], n);
}

/* In the order of the pieces, whichever thread was first. */
static bool sum_angles(struct merger *g, struct err *err)
{
    (void)err;
    for (size_t i = 0; i * CODEC_PIECE < g->count; i++) {
        g->angle.ab += g->angles[i].ab;
        g->angle.aa += g->angles[i].aa;
        g->angle.bb += g->angles[i].bb;
    }
    return true;
}

static bool find_slerp(struct merger *g, struct err *err)
{
    const struct model_merge_input *inputs = g->how->inputs;
    g->angle = (struct merge_angle){0};
    if (!pass(g, angle_piece, sum_angles, err)) {
        return false;
    }
    model_merge_slerp_factors(&g->angle, inputs[1].weight / (inputs[0].weight + inputs[1].weight),
                              g->rule.weights);
    return true;
}

static void count_piece(struct merger *g, size_t piece, const float *const *in, size_t n)
{
    (void)piece;
    for (size_t i = 0; i < g->rule.count; i++) {
        uint32_t upper = g->is_second ? g->rule.least[i] : UINT32_MAX;
        model_merge_count(in[i], in[g->rule.count], n, upper, g->bins + i * MERGE_BINS);
    }
}

static void clear_bins(struct merger *g)
{
    for (size_t i = 0; i < g->rule.count * MERGE_BINS; i++) {
        atomic_store_explicit(&g->bins[i], 0, memory_order_relaxed);
    }
}

static bool find_least(struct merger *g, struct err *err)
{
    double wanted = g->how->density * (double)(g->tensors[0]->dims[0] * g->tensors[0]->row_count);
    uint64_t keep[MODEL_MERGE_MAX];
    for (int second = 0; second < 2; second++) {
        g->is_second = second != 0;
        clear_bins(g);
        if (!pass(g, count_piece, NULL, err)) {
            return false;
        }
        for (size_t i = 0; i < g->rule.count; i++) {
            if (!g->is_second) {
                keep[i] = wanted < 1 ? 1 : (uint64_t)floor(wanted + 0.5);
                g->rule.least[i] = 0;
            }
            uint32_t bin = model_merge_find_bin(g->bins + i * MERGE_BINS, &keep[i]);
            g->rule.least[i] = g->is_second ? g->rule.least[i] << MERGE_LOW_BITS | bin : bin;
        }
    }
    return true;
}

static bool write_tensor(struct merger *g, const struct gguf_tensor *tensor, struct err *err)
{
    for (size_t i = 0; i < g->source_count; i++) {
        g->tensors[i] = gguf_find_tensor(g->sources[i], tensor->name);
    }
    if (is_constant(tensor)) {
        return pass(g, NULL, write_constant, err);
    }
    if (g->how->method == MODEL_MERGE_SLERP && !find_slerp(g, err)) {
        return false;
    }
    if (g->bins && !find_least(g, err)) {
        return false;
    }
    return pass(g, merge_piece, write_merged, err);
}

static bool write_tensors(struct merger *g, struct err *err)
{
    char path[STR_QUOTE_MAX];
    for (size_t i = 0; i < g->sources[0]->tensor_count; i++) {
        if (!write_tensor(g, &g->sources[0]->tensors[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; i < g->source_count; i++) {
        if (gguf_has_changed(g->sources[i])) {
            return err_set(err, ERR_IO, "%s was changed while it was read",
                           str_quote(path, str_of(g->sources[i]->path)));
        }
    }
    return true;
}

static bool reserve(struct merger *g, uint64_t passes, struct err *err)
{
    size_t floats = pool_size(g->how->pool) * SOURCES_MAX * CODEC_PIECE;
    g->values = MEM_ARRAY(float, floats);
    g->merged = MEM_ARRAY(float, CHUNK_ELEMENTS);
    g->out = MEM_ARRAY(unsigned char, (size_t)CHUNK_ELEMENTS * sizeof(float));
    g->scratch = mem_alloc(codec_convert_bytes(g->how->pool, CHUNK_ELEMENTS), 1);
    g->angles = MEM_ARRAY(struct merge_angle, CHUNK_PIECES);
    if (passes == 3) {
        g->bins = MEM_ARRAY(_Atomic uint64_t, g->rule.count *MERGE_BINS);
    }
    return (g->values && g->merged && g->out && g->scratch && g->angles &&
            (passes != 3 || g->bins)) ||
           err_set_memory(err, floats * sizeof(float) + (size_t)CHUNK_ELEMENTS * 2 * sizeof(float));
}

static bool merge(struct merger *g, const char *out_path, struct err *err)
{
    if (!model_merge_check_request(g->how, err) || !open_sources(g, out_path, err) ||
        !(g->writer = gguf_writer_create(err))) {
        return false;
    }
    if (g->how->target) {
        gguf_mix_init(&g->mix, g->sources[0], g->how->target, false);
    }
    uint64_t passes = init_rule(g);
    g->bytes_all *= passes;
    return reserve(g, passes, err) && plan(g, out_path, err) &&
           gguf_writer_begin(g->writer, out_path, err) && write_tensors(g, err) &&
           check_cancelled(g, err) && gguf_writer_commit(g->writer, err);
}

bool model_merge(const char *out, const struct model_merge *how, struct model_merge_result *result,
                 struct err *err)
{
    struct merger *g = MEM_NEW(struct merger);
    *result = (struct model_merge_result){0};
    if (!g) {
        return err_set_memory(err, sizeof *g);
    }
    g->how = how;
    bool ok = merge(g, out, err);
    gguf_writer_destroy(g->writer); /* removes what is not complete */
    result->bytes_out = g->bytes_out;
    result->elements = g->elements;
    result->tensors = ok ? g->sources[0]->tensor_count : 0;
    for (size_t i = 0; i < g->source_count; i++) {
        result->bytes_in += g->sources[i] ? g->sources[i]->tensor_bytes : 0;
        gguf_close(g->sources[i]);
    }
    mem_free(g->values);
    mem_free(g->merged);
    mem_free(g->out);
    mem_free(g->scratch);
    mem_free(g->bins);
    mem_free(g->angles);
    mem_free(g);
    return ok;
}
