#include "model/recurrent.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "model/activate.h"

/* The layer's part of the state of a row's sequence. */
static float *state_of(const struct forward *f, size_t row)
{
    const struct model *m = f->m;
    size_t number = f->batch->seqs[f->rows[row].seq].state;
    uint8_t *at = m->states + number * (size_t)m->plan.state_bytes + f->layer->state_offset;
    return (float *)(void *)at;
}

/* The end of the run that begins with this row. */
static size_t run_end(const struct forward *f, size_t first)
{
    size_t end = first + 1;
    while (end < f->row_count && f->rows[end].seq == f->rows[first].seq) {
        end++;
    }
    return end;
}

void model_states_begin(struct forward *f)
{
    size_t bytes = (size_t)model_state_floats(&f->m->h, f->shape) * sizeof(float);
    for (size_t row = 0; row < f->row_count; row = run_end(f, row)) {
        if (f->rows[row].pos == 0) {
            memset(state_of(f, row), 0, bytes);
        }
    }
}

/* ---- the convolution ---- */

/* Rows of the run before this one, no more than the convolution looks back. */
static size_t rows_before(const struct forward *f, size_t row, size_t most)
{
    size_t count = 0;
    while (count < most && count < row && f->rows[row - count - 1].seq == f->rows[row].seq) {
        count++;
    }
    return count;
}

static void convolve_row(struct forward *f, size_t row)
{
    const struct convolution *c = f->convolution;
    const struct layer *layer = f->layer;
    size_t taps = f->m->h.recurrence.taps, channels = f->m->h.recurrence.channels;
    size_t before = rows_before(f, row, taps - 1);
    const float *state = state_of(f, row);
    float *y = c->y + row * channels;

    for (size_t j = 0; j < taps; j++) {
        /* The row of this tap is `back` rows before; without enough of them it is in the state. */
        size_t back = taps - 1 - j;
        const float *x =
            back <= before ? c->x + (row - back) * c->stride : state + (before + j) * channels;
        for (size_t i = 0; i < channels; i++) {
            float sum = j == 0 ? 0 : y[i];
            y[i] = sum + layer->conv[i * taps + j] * x[i];
        }
    }
    if (layer->conv_bias) {
        f->k->add(y, layer->conv_bias, y, channels);
    }
    if (c->has_silu) {
        model_silu(f->k, y, channels);
    }
}

/* The last inputs of a run. */
static void keep_inputs(const struct forward *f, size_t first, size_t end)
{
    const struct convolution *c = f->convolution;
    size_t kept = f->m->h.recurrence.taps - 1, channels = f->m->h.recurrence.channels;
    size_t count = end - first, old = count < kept ? kept - count : 0;
    float *state = state_of(f, first);
    memmove(state, state + (kept - old) * channels, old * channels * sizeof(float));
    for (size_t i = old; i < kept; i++) {
        memcpy(state + i * channels, c->x + (end - kept + i) * c->stride, channels * sizeof(float));
    }
}

void model_convolve(struct forward *f, const struct convolution *convolution)
{
    const struct recurrence *rec = &f->m->h.recurrence;
    f->convolution = convolution;
    model_each_row(f, convolve_row, (size_t)rec->channels * (rec->taps + 4));
    for (size_t row = 0; row < f->row_count;) {
        size_t end = run_end(f, row);
        keep_inputs(f, row, end);
        row = end;
    }
}

/* ---- heads ---- */

struct head_job {
    struct forward *f;
    head_fn *fn;
};

static void run_head_piece(void *arg, size_t piece, size_t thread)
{
    const struct head_job *job = arg;
    struct forward *f = job->f;
    const struct recurrence *rec = &f->m->h.recurrence;
    size_t first = 0, head = piece % rec->heads;
    (void)thread;
    for (size_t run = piece / rec->heads; run > 0; run--) {
        first = run_end(f, first);
    }
    float *memory = state_of(f, first) + (rec->taps - 1) * (size_t)rec->channels;
    memory += head * rec->key_dim * rec->value_dim;
    job->fn(f, first, run_end(f, first), head, memory);
}

void model_each_head(struct forward *f, head_fn *fn)
{
    struct head_job job = {f, fn};
    size_t runs = 0;
    for (size_t row = 0; row < f->row_count; row = run_end(f, row)) {
        runs++;
    }
    pool_run(f->m->pool, run_head_piece, &job, runs * f->m->h.recurrence.heads);
}

float model_softplus(float x)
{
    return x > 20 ? x : log1pf(expf(x));
}
