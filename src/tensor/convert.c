#include "tensor/convert.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>

#include "base/size.h"
#include "tensor/codec.h"

struct job {
    struct codec_conversion *conversion;
    struct codec_loss *losses; /* [pieces] */
    float *values;             /* [threads][2 * CODEC_PIECE] */
    float limit;
    _Atomic size_t bad; /* smallest index seen; SIZE_MAX: none */
};

/* Magnitudes below it stay finite. Block formats store a share of the largest as a half float;
 * those with minima or scales of scales are held to what a half float holds. */
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
    case DTYPE_F32:
    case DTYPE_MXFP4:
        return INFINITY;
    default:
        return 65520.0F;
    }
}

static size_t piece_count(size_t count)
{
    return count / CODEC_PIECE + (count % CODEC_PIECE != 0);
}

size_t codec_convert_bytes(const struct pool *pool, size_t count)
{
    size_t losses, values, total;

    return size_mul(piece_count(count), sizeof(struct codec_loss), &losses) &&
                   size_mul(pool_size(pool), 2 * CODEC_PIECE * sizeof(float), &values) &&
                   size_add(losses, values, &total)
               ? total
               : 0;
}

static void note_bad(struct job *job, size_t index)
{
    size_t seen = atomic_load(&job->bad);
    while (index < seen && !atomic_compare_exchange_weak(&job->bad, &seen, index)) {
    }
}

/* Row by row, because each has the weights from its beginning on. */
static void encode(const struct codec_conversion *c, size_t first, const float *values, size_t n,
                   uint8_t *out)
{
    if (c->weights == NULL) {
        codec_encode_row(c->to, values, out, n);
        return;
    }
    for (size_t done = 0; done < n;) {
        uint64_t at = c->first + first + done, column = at % c->row_len;
        size_t run = (size_t)(c->row_len - column < n - done ? c->row_len - column : n - done);
        const float *weights = c->weights + at / c->plane_len * c->row_len + column;
        codec_encode_weighted(c->to, values + done, weights, out + dtype_row_bytes(c->to, done),
                              run);
        done += run;
    }
}

static struct codec_loss loss_of(const struct codec_conversion *c, const float *values, size_t n,
                                 const uint8_t *out, float *back)
{
    struct codec_loss loss = {0};

    codec_decode_row(c->to, out, back, n);
    for (size_t i = 0; i < n; i++) {
        double x = values[i], difference = x - back[i];
        loss.squares += x * x;
        loss.differences += difference * difference;
    }
    return loss;
}

static void convert_piece(void *arg, size_t piece, size_t thread)
{
    struct job *job = arg;
    struct codec_conversion *c = job->conversion;
    size_t first = piece * CODEC_PIECE, n = size_min(CODEC_PIECE, c->count - first);
    float *values = job->values + thread * 2 * CODEC_PIECE;
    uint8_t *out = (uint8_t *)c->out + dtype_row_bytes(c->to, first);

    codec_decode_row(c->from, (const uint8_t *)c->in + dtype_row_bytes(c->from, first), values, n);
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(values[i]) < job->limit)) { /* true for NaN as well */
            note_bad(job, first + i);
            return;
        }
    }
    encode(c, first, values, n, out);
    if (c->wants_loss) {
        job->losses[piece] = loss_of(c, values, n, out, values + CODEC_PIECE);
    }
}

bool codec_convert(struct pool *pool, struct codec_conversion *c, void *scratch, size_t *bad)
{
    size_t pieces = piece_count(c->count);
    struct job job = {.conversion = c,
                      .losses = scratch,
                      .values = (float *)(void *)((struct codec_loss *)scratch + pieces),
                      .limit = limit_of(c->to),
                      .bad = SIZE_MAX};

    assert(codec_can_decode(c->from) && codec_can_encode(c->to));
    assert(c->count % dtype_info(c->from)->block_len == 0);
    assert(c->count % dtype_info(c->to)->block_len == 0);
    pool_run(pool, convert_piece, &job, pieces);
    *bad = atomic_load(&job.bad);
    c->loss = (struct codec_loss){0};
    for (size_t i = 0; c->wants_loss && *bad == SIZE_MAX && i < pieces; i++) {
        c->loss.squares += job.losses[i].squares;
        c->loss.differences += job.losses[i].differences;
    }
    return *bad == SIZE_MAX;
}
