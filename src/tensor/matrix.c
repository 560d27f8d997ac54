/* Products: quantises activations into tiles and cuts products into pieces for the pool.
 *
 * A piece is a run of panels of one product times a run of token tiles. For a small batch only the
 * panels are cut, so that each weight is read once; a long batch is cut along the tokens as well
 * when there are fewer panels than the threads need. No two pieces share an output, so it does not
 * matter which thread runs which. */
#include "tensor/matrix.h"

#include <assert.h>

#include "base/size.h"
#include "tensor/panel.h"

/* ---- activations ---- */

static size_t blocks_of(size_t cols)
{
    return (cols + PANEL_BLOCK_COLS - 1) / PANEL_BLOCK_COLS;
}

size_t activation_bytes(size_t tokens, size_t cols)
{
    return size_align_known(tokens * blocks_of(cols) * sizeof(struct act_block), 64);
}

void activation_init(struct activation *act, const float *x, size_t x_stride, size_t tokens,
                     size_t cols, uint8_t *scratch)
{
    assert(((uintptr_t)scratch & 63) == 0);
    *act = (struct activation){.x = x,
                               .x_stride = x_stride,
                               .tokens = tokens,
                               .cols = cols,
                               .scratch = scratch,
                               .is_quantized = false};
}

struct quantize_job {
    const struct activation *act;
    const struct kernels *kernels;
};

/* One tile of tokens. */
static void quantize_tile(void *arg, size_t piece, size_t thread)
{
    const struct quantize_job *job = arg;
    const struct activation *act = job->act;
    size_t first = tile_start(act->tokens, piece), end = tile_start(act->tokens, piece + 1);
    struct act_block *out = (struct act_block *)(void *)act->scratch;

    (void)thread;
    out += first * blocks_of(act->cols);
    for (size_t t = first; t < end; t++) {
        const float *x = act->x + t * act->x_stride;
        job->kernels->quantize(x, act->cols, out + (t - first), end - first);
    }
}

void activation_quantize(struct activation *act, const struct kernels *k, struct pool *pool)
{
    /* Below this many values waking the pool costs more than it brings (about 10 us of work). */
    enum { ALONE_MAX = 65536 };
    struct quantize_job job = {.act = act, .kernels = k};
    size_t tiles = tile_count(act->tokens);

    if (tiles > 1 && act->tokens * act->cols > ALONE_MAX) {
        pool_run(pool, quantize_tile, &job, tiles);
    } else {
        for (size_t i = 0; i < tiles; i++) {
            quantize_tile(&job, i, 0);
        }
    }
    act->is_quantized = true;
}

/* ---- products ---- */

struct multiply {
    const struct kernels *kernels;
    const struct activation *act;
    const struct product *products;
    size_t product_count;
    size_t panel_step; /* panels of a piece */
    size_t tile_step;  /* tiles of a piece */
    size_t tile_pieces;
};

static size_t panel_count(const struct matrix *w)
{
    return (w->rows + MATRIX_PANEL_ROWS - 1) / MATRIX_PANEL_ROWS;
}

static size_t panel_pieces(const struct multiply *m, const struct product *product)
{
    return (panel_count(product->w) + m->panel_step - 1) / m->panel_step;
}

/* The neighbours in the piece order share their panels, so that a shared cache helps. */
static void multiply_piece(void *arg, size_t piece, size_t thread)
{
    const struct multiply *m = arg;
    const struct activation *act = m->act;
    const struct product *product = m->products;
    size_t tile = piece % m->tile_pieces * m->tile_step, i = piece / m->tile_pieces;

    (void)thread;
    while (i >= panel_pieces(m, product)) {
        i -= panel_pieces(m, product);
        product++;
    }
    const struct matrix *w = product->w;
    size_t panel = i * m->panel_step, row = panel * MATRIX_PANEL_ROWS;
    size_t panels = size_min(m->panel_step, panel_count(w) - panel);
    struct panel_job job = {
        .type = w->type,
        .panels = w->bytes + panel * w->panel_bytes,
        .panel_bytes = w->panel_bytes,
        .panel_count = panels,
        .cols = w->cols,
        .row_count = size_min(w->rows - row, panels * MATRIX_PANEL_ROWS),
        .act = (const struct act_block *)(const void *)act->scratch,
        .x = act->x,
        .x_stride = act->x_stride,
        .token_count = act->tokens,
        .tile_first = tile,
        .tile_count = size_min(m->tile_step, tile_count(act->tokens) - tile),
        .bias = product->bias != NULL ? product->bias + row : NULL,
        .y = product->y + row,
        .y_stride = product->y_stride,
    };
    kernels_run_panels(m->kernels, &job);
}

/* Chooses the size of the pieces. Six pieces per thread even out threads that are disturbed; a
 * piece has at least 64 KiB of weights per tile, so that a small model is not all hand-over. */
static void plan_pieces(struct multiply *m, size_t threads)
{
    enum { PIECES_PER_THREAD = 6, PIECE_BYTES_MIN = 65536 };
    size_t tiles = tile_count(m->act->tokens), panels = 0, panel_bytes = 1, group = 1;

    for (size_t i = 0; i < m->product_count; i++) {
        const struct matrix *w = m->products[i].w;
        const struct panel_kernel *kernel = &m->kernels->panel[w->type];
        size_t together = tiles == 1 ? kernel->few_panels[m->act->tokens] : kernel->many_panels;
        group = size_max(group, together);
        panels += panel_count(w);
        panel_bytes = size_max(panel_bytes, w->panel_bytes);
    }
    m->tile_step = tiles;
    m->tile_pieces = 1;
    if (threads == 1) {
        m->panel_step = size_max(panels, 1);
        return;
    }
    size_t wanted = threads * PIECES_PER_THREAD;
    size_t step = size_max(panels / wanted, PIECE_BYTES_MIN / (panel_bytes * tiles));
    step = size_min(size_max(step, 1), size_max((panels + threads - 1) / threads, 1));
    m->panel_step = step < group ? step : step - step % group;
    if (tiles > 1) {
        m->panel_step = size_max(m->panel_step, group);
        size_t pieces = (panels + m->panel_step - 1) / m->panel_step;
        size_t cuts = size_min((wanted + pieces - 1) / size_max(pieces, 1), tiles);
        m->tile_step = (tiles + cuts - 1) / size_max(cuts, 1);
        m->tile_pieces = (tiles + m->tile_step - 1) / m->tile_step;
    }
}

void matrix_multiply(const struct kernels *k, struct pool *pool, const struct activation *act,
                     const struct product *products, size_t product_count)
{
    struct multiply m = {
        .kernels = k, .act = act, .products = products, .product_count = product_count};
    size_t pieces = 0;

    if (act->tokens == 0) {
        return;
    }
    for (size_t i = 0; i < product_count; i++) {
        assert(products[i].w->cols == act->cols);
        assert(act->is_quantized || panel_format(products[i].w->type).scale == SCALE_NONE);
    }
    plan_pieces(&m, pool_size(pool));
    for (size_t i = 0; i < product_count; i++) {
        pieces += panel_pieces(&m, &products[i]) * m.tile_pieces;
    }
    if (pieces == 1) {
        multiply_piece(&m, 0, 0);
    } else if (pieces > 1) {
        pool_run(pool, multiply_piece, &m, pieces);
    }
}
