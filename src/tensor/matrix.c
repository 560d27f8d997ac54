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

/* All products of a group, panels in groups that go through the kernel together, one after the
 * other; a piece is a run of these groups times a run of token tiles. */
struct multiply {
    const struct kernels *kernels;
    const struct activation *act;
    const struct product *products;
    size_t product_count;
    size_t threads;
    size_t group;       /* panels */
    size_t group_count; /* of all products */
    size_t rounds;      /* a batch of one tile: see piece_start; 0: pieces of group_step */
    size_t group_step;
    size_t tile_step; /* tiles of a piece */
    size_t tile_pieces, piece_count;
};

static size_t panel_count(const struct matrix *w)
{
    return (w->rows + MATRIX_PANEL_ROWS - 1) / MATRIX_PANEL_ROWS;
}

static size_t count_groups(const struct multiply *m, const struct matrix *w)
{
    return (panel_count(w) + m->group - 1) / m->group;
}

/* The first group of piece i. In a batch of one tile each thread's first piece is half of its
 * share, the next a quarter and so on, and the last two are equal: a piece starts with cold
 * streams, so that few are better, and small ones at the end even out threads of different speeds.
 */
static size_t piece_start(const struct multiply *m, size_t i)
{
    if (m->rounds == 0) {
        return size_min(i * m->group_step, m->group_count);
    }
    const size_t round = i / m->threads, place = i % m->threads;
    const size_t parts = m->threads << (m->rounds - 1); /* of which the last piece is one */
    if (round >= m->rounds) {
        return m->group_count;
    }
    const size_t size = round + 1 == m->rounds ? 1 : (size_t)1 << (m->rounds - 2 - round);
    const size_t before =
        round == 0 ? 0 : parts - m->threads * (2 * size - (round + 1 == m->rounds));
    return (before + place * size) * m->group_count / parts;
}

/* Product and place of group `*group`, which becomes the one within the product. */
static const struct product *find_product(const struct multiply *m, size_t *group)
{
    const struct product *product = m->products;

    while (*group >= count_groups(m, product->w)) {
        *group -= count_groups(m, product->w);
        product++;
    }
    return product;
}

/* Threads take pieces in turns, so the next one of this thread is probably `threads` further on. */
static void plan_next(const struct multiply *m, size_t piece, struct panel_job *job)
{
    size_t group = piece_start(m, piece + m->threads);

    if (m->rounds == 0 || group >= m->group_count) {
        return;
    }
    const struct matrix *w = find_product(m, &group)->w;
    const size_t end =
        group + piece_start(m, piece + m->threads + 1) - piece_start(m, piece + m->threads);
    job->next = w->bytes + group * m->group * w->panel_bytes;
    job->next_count = size_min(end * m->group, panel_count(w)) - group * m->group;
    job->next_bytes = w->panel_bytes;
}

/* Groups [from, to) of one product. */
static void multiply_groups(const struct multiply *m, const struct product *product, size_t from,
                            size_t to, size_t piece)
{
    const struct activation *act = m->act;
    const struct matrix *w = product->w;
    const size_t panel = from * m->group, row = panel * MATRIX_PANEL_ROWS;
    const size_t panels = size_min(to * m->group, panel_count(w)) - panel;
    const size_t tile = piece % m->tile_pieces * m->tile_step;
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
    plan_next(m, piece, &job);
    kernels_run_panels(m->kernels, &job);
}

/* The neighbours in the piece order share their panels, so that a shared cache helps. */
static void multiply_piece(void *arg, size_t piece, size_t thread)
{
    const struct multiply *m = arg;
    const size_t start = piece_start(m, piece / m->tile_pieces);
    size_t left = piece_start(m, piece / m->tile_pieces + 1) - start, group = start;

    (void)thread;
    if (left == 0) {
        return;
    }
    for (const struct product *p = find_product(m, &group); left > 0; p++, group = 0) {
        const size_t count = size_min(left, count_groups(m, p->w) - group);
        multiply_groups(m, p, group, group + count, piece);
        left -= count;
    }
}

/* Chooses the size of the pieces. For a long batch six pieces per thread even out threads that are
 * disturbed. A piece has at least 64 KiB of weights per tile, so that a small model is not all
 * hand-over. */
static void plan_pieces(struct multiply *m, size_t threads)
{
    enum { PIECES_PER_THREAD = 6, PIECE_BYTES_MIN = 65536, ROUNDS_MAX = 4 };
    size_t tiles = tile_count(m->act->tokens), bytes = 0;

    m->threads = threads;
    m->tile_step = tiles;
    m->tile_pieces = 1;
    for (size_t i = 0; i < m->product_count; i++) {
        const struct matrix *w = m->products[i].w;
        const struct panel_kernel *kernel = &m->kernels->panel[w->type];
        size_t together = tiles == 1 ? kernel->few_panels[m->act->tokens] : kernel->many_panels;
        m->group = size_max(m->group, together);
        bytes += panel_count(w) * w->panel_bytes;
    }
    for (size_t i = 0; i < m->product_count; i++) {
        m->group_count += count_groups(m, m->products[i].w);
    }
    if (threads == 1 || bytes * tiles < 2 * PIECE_BYTES_MIN) {
        m->group_step = size_max(m->group_count, 1);
        m->piece_count = m->group_count > 0;
        return;
    }
    if (tiles == 1) {
        m->rounds = 1;
        while (m->rounds < ROUNDS_MAX && bytes / (threads << m->rounds) >= PIECE_BYTES_MIN) {
            m->rounds++;
        }
        m->piece_count = threads * m->rounds;
        return;
    }
    size_t wanted = threads * PIECES_PER_THREAD;
    size_t least = PIECE_BYTES_MIN * m->group_count / (bytes * tiles);
    size_t step = size_max(size_max(m->group_count / wanted, least), 1);
    m->group_step = size_min(step, size_max((m->group_count + threads - 1) / threads, 1));
    size_t pieces = (m->group_count + m->group_step - 1) / m->group_step;
    size_t cuts = size_min((wanted + pieces - 1) / size_max(pieces, 1), tiles);
    m->tile_step = (tiles + cuts - 1) / size_max(cuts, 1);
    m->tile_pieces = (tiles + m->tile_step - 1) / m->tile_step;
    m->piece_count = pieces * m->tile_pieces;
}

void matrix_multiply(const struct kernels *k, struct pool *pool, const struct activation *act,
                     const struct product *products, size_t product_count)
{
    struct multiply m = {
        .kernels = k, .act = act, .products = products, .product_count = product_count, .group = 1};

    if (act->tokens == 0) {
        return;
    }
    for (size_t i = 0; i < product_count; i++) {
        assert(products[i].w->cols == act->cols);
        assert(act->is_quantized || panel_format(products[i].w->type).scale == SCALE_NONE);
    }
    plan_pieces(&m, pool_size(pool));
    if (m.piece_count == 1) {
        multiply_piece(&m, 0, 0);
    } else if (m.piece_count > 1) {
        pool_run(pool, multiply_piece, &m, m.piece_count);
    }
}
