#include "tensor/convert.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/size.h"
#include "tensor/codec.h"

struct job {
    enum dtype from, to;
    const uint8_t *in;
    uint8_t *out;
    size_t count;
    float *scratch;
    float limit;
    _Atomic size_t bad; /* smallest index seen; SIZE_MAX: none */
};

/* Magnitudes below it stay finite. A block format stores max/127 or max/8 as a half float. */
static float limit_of(enum dtype type)
{
    switch (type) {
    case DTYPE_F16:
        return 65520.0F; /* rounds to infinity from here on */
    case DTYPE_BF16:
        return 0x1.ffp127F;
    case DTYPE_Q8_0:
        return 65520.0F * 127;
    case DTYPE_Q4_0:
        return 65520.0F * 8;
    default:
        return INFINITY;
    }
}

size_t codec_convert_bytes(const struct pool *pool)
{
    return pool_size(pool) * CODEC_PIECE * sizeof(float);
}

static void note_bad(struct job *job, size_t index)
{
    size_t seen = atomic_load(&job->bad);
    while (index < seen && !atomic_compare_exchange_weak(&job->bad, &seen, index)) {
    }
}

static void convert_piece(void *arg, size_t piece, size_t thread)
{
    struct job *job = arg;
    size_t first = piece * CODEC_PIECE, n = size_min(CODEC_PIECE, job->count - first);
    float *values = job->scratch + thread * CODEC_PIECE;
    codec_decode_row(job->from, job->in + dtype_row_bytes(job->from, first), values, n);
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(values[i]) < job->limit)) { /* true for NaN as well */
            note_bad(job, first + i);
            return;
        }
    }
    codec_encode_row(job->to, values, job->out + dtype_row_bytes(job->to, first), n);
}

bool codec_convert(struct pool *pool, enum dtype from, const void *in, enum dtype to, void *out,
                   size_t count, float *scratch, size_t *bad)
{
    struct job job = {.from = from,
                      .to = to,
                      .in = in,
                      .out = out,
                      .count = count,
                      .scratch = scratch,
                      .limit = limit_of(to),
                      .bad = SIZE_MAX};
    assert(codec_can_decode(from) && codec_can_encode(to));
    assert(count % dtype_info(from)->block_len == 0 && count % dtype_info(to)->block_len == 0);
    pool_run(pool, convert_piece, &job, (count + CODEC_PIECE - 1) / CODEC_PIECE);
    *bad = atomic_load(&job.bad);
    return *bad == SIZE_MAX;
}
