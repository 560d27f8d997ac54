/* Walks the tiles of a product. For each group of panels:
 *
 *     runs of up to 16 tiles of tokens        their accumulators stay in L1 (12 KiB)
 *         runs of columns                     the panels' weights of a run stay in L1
 *             tiles                           one call of the kernel
 *
 * A float accumulator is stored and reloaded between runs of columns, which changes nothing: it is
 * one chain over ascending columns however it is cut. A batch of one tile (decode) is not cut. */
#include <assert.h>
#include <string.h>

#include "base/size.h"
#include "tensor/panel.h"

enum {
    RUN_TILES = 16,
    /* Weights of one run of columns of all panels of a group: two thirds of a 48 KiB L1. */
    RUN_BYTES = 32768,
};

struct walk {
    const struct panel_job *job;
    struct panel_format format;
    panel_tile_fn *const *run; /* by tokens */
    size_t panels;             /* worked on together: streams */
    size_t stream_panels;      /* panels from one stream to the next */
    size_t unit_cols;          /* columns of a unit of work along the rows */
    size_t unit_bytes;
    size_t units, run_units;
};

/* Tokens [start of tile first, end of tile last) x `panels` panels from panel `at`. */
static void store(const struct walk *w, const float *acc, size_t token, size_t tokens, size_t at)
{
    const struct panel_job *job = w->job;

    for (size_t p = 0; p < w->panels; p++, at += w->stream_panels) {
        size_t row = at * TILE_ROWS;
        if (at >= job->panel_count) {
            break;
        }
        size_t rows = size_min(job->row_count - row, TILE_ROWS);
        for (size_t t = 0; t < tokens; t++) {
            const float *from = acc + (p * tokens + t) * TILE_ROWS;
            float *to = job->y + (token + t) * job->y_stride + row;
            if (job->bias == NULL) {
                memcpy(to, from, rows * sizeof *to);
                continue;
            }
            for (size_t r = 0; r < rows; r++) {
                to[r] = from[r] + job->bias[row + r];
            }
        }
    }
}

static void run_tile(const struct walk *w, size_t index, size_t panel, size_t unit, float *acc)
{
    const struct panel_job *job = w->job;
    size_t token = tile_start(job->token_count, index);
    size_t tokens = tile_start(job->token_count, index + 1) - token;
    size_t col = unit * w->unit_cols;
    size_t cols = size_min(w->run_units * w->unit_cols, job->cols - col);
    struct panel_tile tile = {.panels = w->panels, .tokens = tokens, .acc = acc};

    /* Behind the last panel the last one is computed again, and not stored. */
    for (size_t p = 0; p < w->panels; p++) {
        size_t i = size_min(panel + p * w->stream_panels, job->panel_count - 1);
        tile.panel[p] = job->panels + i * job->panel_bytes + unit * w->unit_bytes;
    }
    if (w->format.scale == SCALE_NONE) {
        tile.x = job->x + token * job->x_stride + col;
        tile.x_stride = job->x_stride;
        tile.count = cols;
    } else {
        size_t blocks = job->cols / PANEL_BLOCK_COLS;
        tile.act = job->act + token * blocks + col / PANEL_BLOCK_COLS * tokens;
        tile.count = cols / PANEL_BLOCK_COLS;
    }
    w->run[tokens](&tile);
}

static void run_panels(const struct walk *w, size_t panel)
{
    enum { TILE_FLOATS = TILE_PANELS_MAX * TILE_TOKENS_MAX * TILE_ROWS / 4 };
    ATTR_ALIGNED(64) float acc[RUN_TILES * TILE_FLOATS];
    const struct panel_job *job = w->job;
    size_t end = job->tile_first + job->tile_count;

    for (size_t first = job->tile_first; first < end; first += RUN_TILES) {
        size_t tiles = size_min(RUN_TILES, end - first);
        size_t start = tile_start(job->token_count, first);
        size_t tokens = tile_start(job->token_count, first + tiles) - start;
        size_t floats = w->panels * TILE_ROWS;
        assert(tokens * floats <= sizeof acc / sizeof acc[0]);
        memset(acc, 0, tokens * floats * sizeof acc[0]);
        for (size_t unit = 0; unit < w->units; unit += w->run_units) {
            for (size_t i = first; i < first + tiles; i++) {
                size_t at = tile_start(job->token_count, i) - start;
                run_tile(w, i, panel, unit, acc + at * floats);
            }
        }
        for (size_t i = first; i < first + tiles; i++) {
            size_t token = tile_start(job->token_count, i);
            size_t count = tile_start(job->token_count, i + 1) - token;
            store(w, acc + (token - start) * floats, token, count, panel);
        }
    }
}

/* Works on panels [panel, end): (end - panel) / panels in each of `panels` streams that lie behind
 * one another, so that each stream is read without a gap; that is what prefetching needs. */
static void run_streams(struct walk *w, panel_tile_fn *const *run, size_t panels, size_t panel,
                        size_t end)
{
    w->run = run;
    w->panels = panels;
    w->stream_panels = (end - panel + panels - 1) / panels;
    w->run_units = w->units;
    if (w->job->tile_count > 1) {
        w->run_units = size_max(1, RUN_BYTES / (panels * w->unit_bytes));
    }
    for (size_t i = 0; i < w->stream_panels; i++) {
        run_panels(w, panel + i);
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
    if (tile_count(job->token_count) == 1) {
        size_t panels = kernel->few_panels[job->token_count];
        done = job->panel_count - job->panel_count % panels;
        run_streams(&w, kernel->few, panels, 0, done);
    }
    run_streams(&w, kernel->many, kernel->many_panels, done, job->panel_count);
}
