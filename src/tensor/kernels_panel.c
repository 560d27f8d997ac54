/* Walks the tiles of a product:
 *
 *     chunks of up to 16 tiles of tokens      a chunk's activations of a run of columns stay in the
 *         runs of 2048 columns                second cache (96 x 2048 x 1.5 bytes = 300 KiB)
 *             groups of panels                one or two panels' weights of a run too (35 KiB each)
 *                 tiles                       one call of the kernel
 *
 * Weights are read from memory once per chunk: once for up to 96 tokens, and beyond that at a few
 * bytes per thousand operations. While one group is worked on, the next is prefetched, so that
 * reading and computing overlap even when a group meets only two tiles.
 *
 * The float accumulators of a group are parked in y between runs of columns. That changes nothing:
 * each is one chain over ascending columns however it is cut. A batch of one tile is not cut. */
#include <assert.h>
#include <string.h>

#include "base/size.h"
#include "tensor/panel.h"

enum { RUN_TILES = 16, RUN_UNITS = 8 };

struct walk {
    const struct panel_job *job;
    struct panel_format format;
    panel_tile_fn *const *run; /* by tokens */
    size_t panels;             /* worked on together: streams */
    size_t stream_panels;      /* panels from one stream to the next */
    size_t panel_first;        /* of the first stream */
    size_t unit_cols;          /* columns of a unit of work along the rows */
    size_t unit_bytes;
    size_t units, run_units;
    size_t tile_first, tiles; /* of the chunk */
    size_t tile_tokens, tile_extra;
};

/* tile_start without its division: it is asked often. */
static inline size_t token_of(const struct walk *w, size_t tile)
{
    return tile * w->tile_tokens + size_min(tile, w->tile_extra);
}

/* Accumulators of a group: [tiles][panels][tokens of the tile][16]. */
static float *acc_of(const struct walk *w, float *acc, size_t tile)
{
    return acc + (token_of(w, tile) - token_of(w, w->tile_first)) * w->panels * TILE_ROWS;
}

enum park { LOAD, STORE, FINISH };

/* In two local arrays, so that the compiler sees that nothing overlaps: 16 scalar additions instead
 * were a tenth of a product of 384 columns. */
static inline void add_bias(const float *from, const float *bias, float *to)
{
    float sum[TILE_ROWS], b[TILE_ROWS];
    memcpy(sum, from, sizeof sum);
    memcpy(b, bias, sizeof b);
    for (size_t r = 0; r < TILE_ROWS; r++) {
        sum[r] += b[r];
    }
    memcpy(to, sum, sizeof sum);
}

/* Between y and the accumulators of group `index` of the streams. */
static void park(const struct walk *w, enum park way, float *group_acc, size_t tile, size_t index)
{
    const struct panel_job *job = w->job;
    size_t token = token_of(w, tile), tokens = token_of(w, tile + 1) - token;
    float *acc = acc_of(w, group_acc, tile);
    size_t panel = w->panel_first + index;

    for (size_t p = 0; p < w->panels; p++, panel += w->stream_panels) {
        size_t row = panel * TILE_ROWS;
        if (panel >= job->panel_count) {
            break;
        }
        size_t rows = size_min(job->row_count - row, TILE_ROWS);
        float *y = job->y + token * job->y_stride + row;
        for (size_t t = 0; t < tokens; t++, acc += TILE_ROWS, y += job->y_stride) {
            float *to = way == LOAD ? acc : y;
            const float *from = way == LOAD ? y : acc;
            if (way == FINISH && job->bias != NULL && rows == TILE_ROWS) {
                add_bias(from, job->bias + row, to);
            } else if (way == FINISH && job->bias != NULL) {
                for (size_t r = 0; r < rows; r++) {
                    to[r] = from[r] + job->bias[row + r];
                }
            } else if (rows ==
                       TILE_ROWS) { /* without a call of memcpy: 5 % of a 2048x2048 product */
                memcpy(to, from, TILE_ROWS * sizeof *to);
            } else {
                memcpy(to, from, rows * sizeof *to);
            }
        }
    }
}

static const uint8_t *weights_of(const struct walk *w, size_t index, size_t stream, size_t unit)
{
    const struct panel_job *job = w->job;
    size_t panel = w->panel_first + index + stream * w->stream_panels;

    /* Behind the last panel the last one is computed again, and not stored. */
    return job->panels + size_min(panel, job->panel_count - 1) * job->panel_bytes +
           unit * w->unit_bytes;
}

/* Spreads the prefetching of the next group over the tiles of this one. */
static void plan_ahead(const struct walk *w, size_t tile, size_t index, size_t unit,
                       struct panel_tile *out)
{
    size_t bytes = w->run_units * w->unit_bytes, step_cols, steps;

    if (++index == w->stream_panels) {
        index = 0;
        unit += w->run_units;
        if (unit >= w->units) {
            return;
        }
    }
    step_cols = w->format.scale == SCALE_NONE ? PANEL_STEP_COLS : PANEL_BLOCK_COLS;
    steps = w->run_units * w->unit_cols / step_cols;
    size_t per_step = size_align_known((bytes + steps * w->tiles - 1) / (steps * w->tiles), 64);
    size_t done = (tile - w->tile_first) * steps * per_step;
    if (done < bytes) {
        out->ahead = weights_of(w, index, 0, unit) + done;
        out->ahead_bytes = per_step;
        out->ahead_stride = w->stream_panels * w->job->panel_bytes;
    }
}

/* What is left of the streams, and where they go on: in the next job's, cut like this one. Without
 * one the last lines are asked for again, which costs nothing. */
static void plan_own(const struct walk *w, size_t index, size_t unit, struct panel_tile *out)
{
    const struct panel_job *job = w->job;
    const size_t next_stream = (job->next_count + w->panels - 1) / w->panels * job->next_bytes;

    out->own_bytes = (w->stream_panels - index) * job->panel_bytes - unit * w->unit_bytes;
    for (size_t p = 0; p < w->panels; p++) {
        out->next[p] = job->next ? job->next + p * next_stream : out->panel[p];
    }
}

static void run_tile(const struct walk *w, size_t tile, size_t index, size_t unit, float *acc)
{
    const struct panel_job *job = w->job;
    size_t token = token_of(w, tile), tokens = token_of(w, tile + 1) - token;
    size_t col = unit * w->unit_cols;
    size_t cols = size_min(w->run_units * w->unit_cols, job->cols - col);
    struct panel_tile t = {.panels = w->panels, .tokens = tokens, .acc = acc_of(w, acc, tile)};

    for (size_t p = 0; p < w->panels; p++) {
        t.panel[p] = weights_of(w, index, p, unit);
    }
    plan_ahead(w, tile, index, unit, &t);
    plan_own(w, index, unit, &t);
    if (w->format.scale == SCALE_NONE) {
        t.x = job->x + token * job->x_stride + col;
        t.x_stride = job->x_stride;
        t.count = cols;
    } else {
        size_t blocks = job->cols / PANEL_BLOCK_COLS;
        t.act = job->act + token * blocks + col / PANEL_BLOCK_COLS * tokens;
        t.count = cols / PANEL_BLOCK_COLS;
    }
    w->run[tokens](&t);
}

static void run_group(const struct walk *w, size_t index, size_t unit)
{
    enum { TILE_FLOATS = 2 * TILE_PANELS_MAX * TILE_ROWS }; /* 12 or 8 accumulators of 16 */
    ATTR_ALIGNED(64) float acc[RUN_TILES * TILE_FLOATS];
    size_t end = w->tile_first + w->tiles;
    size_t tokens = token_of(w, end) - token_of(w, w->tile_first);
    bool is_last = unit + w->run_units >= w->units;

    assert(tokens * w->panels * TILE_ROWS <= sizeof acc / sizeof acc[0]);
    memset(acc, 0, tokens * w->panels * TILE_ROWS * sizeof acc[0]);
    for (size_t tile = w->tile_first; tile < end; tile++) {
        if (unit > 0) {
            park(w, LOAD, acc, tile, index);
        }
        if (w->units > 0) {
            run_tile(w, tile, index, unit, acc);
        }
        park(w, is_last ? FINISH : STORE, acc, tile, index);
    }
}

static void run_chunk(const struct walk *w)
{
    size_t unit = 0;

    do { /* once for a matrix without columns, which gives zeros */
        for (size_t i = 0; i < w->stream_panels; i++) {
            run_group(w, i, unit);
        }
        unit += w->run_units;
    } while (unit < w->units);
}

/* Works on panels [panel, end) in `panels` streams that lie behind one another, so that each stream
 * is read without a gap; that is what prefetching needs. */
static void run_streams(struct walk *w, panel_tile_fn *const *run, size_t panels, size_t panel,
                        size_t end)
{
    const struct panel_job *job = w->job;
    size_t tile_end = job->tile_first + job->tile_count;

    if (panel >= end) {
        return;
    }
    w->run = run;
    w->panels = panels;
    w->panel_first = panel;
    w->stream_panels = (end - panel + panels - 1) / panels;
    w->run_units = tile_count(job->token_count) > 1 ? RUN_UNITS : w->units;
    for (w->tile_first = job->tile_first; w->tile_first < tile_end; w->tile_first += RUN_TILES) {
        w->tiles = size_min(RUN_TILES, tile_end - w->tile_first);
        run_chunk(w);
    }
}

void kernels_run_panels(const struct kernels *k, const struct panel_job *job)
{
    const struct panel_kernel *kernel = &k->panel[job->type];
    struct walk w = {.job = job, .format = panel_format(job->type)};
    size_t done = 0;

    assert(kernel->few[1] != NULL);
    w.unit_cols = w.format.scale == SCALE_NONE ? 64 : PANEL_GROUP_COLS;
    w.unit_bytes =
        w.format.scale == SCALE_NONE ? 64 * w.format.block_bytes : panel_group_bytes(w.format);
    w.units = (job->cols + w.unit_cols - 1) / w.unit_cols;
    if (job->token_count == 0) {
        return;
    }
    w.tile_tokens = job->token_count / tile_count(job->token_count);
    w.tile_extra = job->token_count % tile_count(job->token_count);
    if (tile_count(job->token_count) == 1) {
        size_t panels = kernel->few_panels[job->token_count];
        done = job->panel_count - job->panel_count % panels;
        run_streams(&w, kernel->few, panels, 0, done);
    }
    run_streams(&w, kernel->many, kernel->many_panels, done, job->panel_count);
}
