/* Packing: rows of a GGUF tensor into panels (panel.h), and one row back out of them. Runs once per
 * weight at load, so it is written for streaming: 16 rows are opened block by block into a small
 * table that stays in L1 and is written out in the order of the panel. */
#include <assert.h>
#include <string.h>

#include "base/size.h"
#include "tensor/block_open.h"
#include "tensor/codec.h"
#include "tensor/matrix.h"

bool matrix_supports(enum dtype type)
{
    return panel_format(type).bits != 0;
}

/* Bytes of one panel, a multiple of 64; false on overflow. */
static bool panel_bytes(enum dtype type, size_t cols, size_t *bytes)
{
    struct panel_format f = panel_format(type);
    size_t step = f.scale == SCALE_NONE ? 1 : PANEL_BLOCK_COLS, body, heads, total;

    if (cols > SIZE_MAX / 2) {
        return false;
    }
    size_t groups = f.scale == SCALE_NONE ? 0 : (cols + PANEL_GROUP_COLS - 1) / PANEL_GROUP_COLS;
    return size_mul((cols + step - 1) / step, f.block_bytes, &body) &&
           size_mul(groups, f.head_bytes, &heads) && size_add(body, heads, &total) &&
           size_align(total, 64, bytes);
}

bool matrix_bytes(enum dtype type, size_t rows, size_t cols, size_t *bytes)
{
    size_t panel;

    return panel_bytes(type, cols, &panel) && rows <= SIZE_MAX - MATRIX_PANEL_ROWS &&
           size_mul((rows + MATRIX_PANEL_ROWS - 1) / MATRIX_PANEL_ROWS, panel, bytes);
}

void matrix_init(struct matrix *matrix, enum dtype type, size_t rows, size_t cols, uint8_t *bytes)
{
    size_t panel = 0;
    bool fits = panel_bytes(type, cols, &panel);

    assert(fits && matrix_supports(type));
    assert(cols % dtype_info(type)->block_len == 0);
    assert(((uintptr_t)bytes & 63) == 0);
    (void)fits;
    *matrix = (struct matrix){
        .type = type, .rows = rows, .cols = cols, .panel_bytes = panel, .bytes = bytes};
}

/* ---- quantised panels ---- */

/* One group of 16 rows, opened: weights [16][256] and what the head needs. */
struct group {
    ATTR_ALIGNED(64) uint8_t q[TILE_ROWS][PANEL_GROUP_COLS];
    uint16_t d[2 * PANEL_GROUP_BLOCKS][TILE_ROWS]; /* per block or half of one; else [0] */
    uint16_t dmin[PANEL_GROUP_BLOCKS][TILE_ROWS];
    float wide[TILE_ROWS];
    uint8_t scale[16][TILE_ROWS];
    uint8_t min[16][TILE_ROWS];
};

static ATTR_ALWAYS_INLINE void open_row(enum dtype type, const uint8_t *bytes, size_t cols,
                                        size_t row, struct group *g)
{
    struct panel_format f = panel_format(type);
    size_t len = block_len(type), width = f.scale == SCALE_PAIR ? 16 : 32;
    struct block b = {0};

    for (size_t at = 0; at < cols; at += len, bytes += block_bytes(type)) {
        block_open(type, bytes, &b);
        memcpy(g->q[row] + at, b.q, len);
        for (size_t j = 0; len < 256 && j < len / width; j++) {
            g->d[at / width + j][row] = b.d[j];
        }
        g->dmin[at / 32][row] = b.dmin;
    }
    for (int j = 0; len == 256 && j < 8; j++) {
        g->d[j][row] = b.d[j];
    }
    g->wide[row] = b.wide;
    for (int j = 0; len == 256 && j < 16; j++) {
        g->scale[j][row] = b.scale[j];
        g->min[j][row] = b.min[j];
    }
}

static ATTR_ALWAYS_INLINE uint32_t four_columns(const struct group *g, size_t row, size_t col)
{
    uint32_t word;
    memcpy(&word, &g->q[row][col], 4);
    return word;
}

/* Weights of 2 bits, and a plane of the third ones. */
static ATTR_ALWAYS_INLINE void write_pairs(struct panel_format f, const struct group *g, size_t col,
                                           uint8_t *out)
{
    uint32_t pairs[2][TILE_ROWS] = {0}, plane[TILE_ROWS] = {0};

    for (size_t i = 0; i < 8; i++) {
        for (size_t r = 0; r < TILE_ROWS; r++) {
            uint32_t four = four_columns(g, r, col + 4 * i);
            pairs[i / 4][r] |= (four & 0x03030303) << (2 * (i % 4));
            plane[r] |= (four >> 2 & 0x01010101) << i;
        }
    }
    memcpy(out, pairs, 128);
    if (f.bits == 3) {
        memcpy(out + 128, plane, 64);
    }
}

static ATTR_ALWAYS_INLINE void write_block(struct panel_format f, const struct group *g, size_t col,
                                           uint8_t *out)
{
    uint32_t low[TILE_ROWS], high[TILE_ROWS];

    if (f.bits == 8) {
        for (size_t i = 0; i < 8; i++) {
            for (size_t r = 0; r < TILE_ROWS; r++) {
                low[r] = four_columns(g, r, col + 4 * i);
            }
            memcpy(out + 64 * i, low, 64);
        }
        return;
    }
    uint32_t plane[2][TILE_ROWS] = {0};
    if (f.bits < 4) {
        write_pairs(f, g, col, out);
        return;
    }
    for (size_t i = 0; i < 4; i++) {
        for (size_t r = 0; r < TILE_ROWS; r++) {
            uint32_t a = four_columns(g, r, col + 8 * i), b = four_columns(g, r, col + 8 * i + 4);
            low[r] = (a & 0x0f0f0f0f) | (b & 0x0f0f0f0f) << 4;
            high[r] = (a >> 4 & 0x0f0f0f0f) | (b & 0xf0f0f0f0); /* for 5 and 6 bits */
        }
        memcpy(out + 64 * i, low, 64);
        for (size_t r = 0; f.bits == 5 && r < TILE_ROWS; r++) {
            plane[0][r] |= ((high[r] & 0x01010101) | (high[r] >> 3 & 0x02020202)) << (2 * i);
        }
        for (size_t r = 0; f.bits == 6 && r < TILE_ROWS; r++) {
            uint32_t pair = (high[r] & 0x03030303) | (high[r] >> 2 & 0x0c0c0c0c);
            plane[i / 2][r] |= pair << (4 * (i % 2));
        }
    }
    if (f.bits > 4) {
        memcpy(out + 256, plane, f.bits == 5 ? 64 : 128);
    }
}

static ATTR_ALWAYS_INLINE void write_head(struct panel_format f, const struct group *g,
                                          uint8_t *out)
{
    switch (f.scale) {
    case SCALE_BLOCK:
    case SCALE_BF16:
    case SCALE_PAIR:
        memcpy(out, g->d, f.head_bytes);
        break;
    case SCALE_BLOCK_MIN:
        memcpy(out, g->d, PANEL_BLOCK_MIN_AT);
        memcpy(out + PANEL_BLOCK_MIN_AT, g->dmin, sizeof g->dmin);
        break;
    case SCALE_MIN:
        memcpy(out, g->d[0], 32);
        memcpy(out + PANEL_DMIN_AT, g->dmin[0], 32);
        memcpy(out + PANEL_SCALE_AT, g->scale, 128);
        memcpy(out + PANEL_MIN_AT, g->min, 128);
        break;
    case SCALE_HALF:
        memcpy(out, g->wide, sizeof g->wide);
        memcpy(out + PANEL_HALF_AT, g->scale, 256);
        break;
    default:
        memcpy(out, g->d[0], 32);
        memcpy(out + PANEL_DMIN_AT, g->dmin[0], 32);
        for (size_t i = 0; i < 256; i++) {
            out[PANEL_HALF_AT + i] =
                (uint8_t)(g->scale[i / 16][i % 16] | g->min[i / 16][i % 16] << 4);
        }
        break;
    }
}

static ATTR_ALWAYS_INLINE void write_group(struct panel_format f, const struct group *g,
                                           size_t blocks, uint8_t *out)
{
    write_head(f, g, out);
    for (size_t j = 0; j < blocks; j++) {
        write_block(f, g, 32 * j, out + f.head_bytes + j * f.block_bytes);
    }
}

/* rows: how many of the 16 exist; the others stay zero (weight = zero point, scale 0). */
static ATTR_ALWAYS_INLINE void pack_quantized(enum dtype type, size_t cols, const uint8_t *source,
                                              size_t row_bytes, size_t rows, uint8_t *out)
{
    struct panel_format f = panel_format(type);
    size_t unit = block_bytes(type) * (PANEL_GROUP_COLS / block_len(type));
    struct group g;

    memset(&g, 0, sizeof g);
    for (size_t col = 0, at = 0; col < cols; col += PANEL_GROUP_COLS, at += unit) {
        size_t group_cols = size_min(cols - col, PANEL_GROUP_COLS);
        if (group_cols < PANEL_GROUP_COLS) {
            memset(g.d, 0, sizeof g.d);
            memset(g.dmin, 0, sizeof g.dmin);
        }
        for (size_t r = 0; r < rows; r++) {
            open_row(type, source + r * row_bytes + at, group_cols, r, &g);
        }
        write_group(f, &g, group_cols / PANEL_BLOCK_COLS, out);
        out += panel_group_bytes(f);
    }
}

/* ---- float panels ---- */

static void pack_f32(size_t cols, const uint8_t *source, size_t rows, uint8_t *out)
{
    for (size_t c = 0; c < cols; c++) {
        for (size_t r = 0; r < rows; r++) {
            memcpy(out + 64 * c + 4 * r, source + 4 * (r * cols + c), 4);
        }
        memset(out + 64 * c + 4 * rows, 0, 4 * (TILE_ROWS - rows));
    }
}

static void pack_f16(size_t cols, const uint8_t *source, size_t rows, uint8_t *out)
{
    for (size_t c = 0; c < cols; c++) {
        for (size_t r = 0; r < rows; r++) {
            memcpy(out + 32 * c + 2 * r, source + 2 * (r * cols + c), 2);
        }
        memset(out + 32 * c + 2 * rows, 0, 2 * (TILE_ROWS - rows));
    }
    memset(out + 32 * cols, 0, 32 * (cols % 2)); /* the panel ends on a multiple of 64 */
}

static void pack_panel(const struct matrix *m, const uint8_t *source, size_t rows, uint8_t *out)
{
    size_t row_bytes = dtype_row_bytes(m->type, m->cols);

#define PACK_CASE(NAME, name)                                                                      \
    case DTYPE_##NAME:                                                                             \
        pack_quantized(DTYPE_##NAME, m->cols, source, row_bytes, rows, out);                       \
        break;
    switch (m->type) { /* constants, so that each type gets its own unrolled code */
        BLOCK_TYPES(PACK_CASE)
    case DTYPE_F32:
        pack_f32(m->cols, source, rows, out);
        break;
    default:
        pack_f16(m->cols, source, rows, out);
        break;
    }
#undef PACK_CASE
}

void matrix_pack(const struct matrix *matrix, size_t panel, size_t count, const void *source,
                 uint8_t *bytes)
{
    size_t row_bytes = dtype_row_bytes(matrix->type, matrix->cols);
    const uint8_t *rows = source;

    for (size_t i = panel; i < panel + count; i++) {
        size_t row = i * TILE_ROWS;
        assert(row < matrix->rows);
        pack_panel(matrix, rows, size_min(matrix->rows - row, TILE_ROWS),
                   bytes + i * matrix->panel_bytes);
        rows += TILE_ROWS * row_bytes;
    }
}

/* ---- one row back ---- */

/* Weights of one row of one block, without their zero point. */
static void row_weights(struct panel_format f, const uint8_t *block, size_t row, int q[32])
{
    const uint8_t *values = panel_values(f.values);

    for (size_t i = 0; i < 32; i++) {
        uint8_t w = panel_weight(f, block, row, i);
        q[i] = (values != NULL ? values[w] : w) - panel_zero(f);
    }
}

static float head_f16(const uint8_t *head, size_t at, size_t row)
{
    return block_load_f16(head + at + 2 * row);
}

/* The scale of the weights [16 half, 16 half + 16) of block j, for the formats without a minimum.
 */
static float row_scale(struct panel_format f, const uint8_t *head, size_t j, size_t half,
                       size_t row)
{
    float wide;

    if (f.scale == SCALE_HALF) {
        memcpy(&wide, head + 4 * row, sizeof wide);
        return wide * (int8_t)head[PANEL_HALF_AT + 16 * (2 * j + half) + row];
    }
    if (f.scale == SCALE_BF16) {
        return codec_bf16_to_f32(block_load_u16(head + 32 * j + 2 * row));
    }
    return head_f16(head, f.scale == SCALE_PAIR ? 32 * (2 * j + half) : 32 * j, row);
}

/* The rounding order of codec_decode_row, so that both give the same floats. */
static void row_block(struct panel_format f, const uint8_t *head, size_t j, size_t row, float *out)
{
    int q[32];

    row_weights(f, head + f.head_bytes + j * f.block_bytes, row, q);
    for (size_t half = 0; half < 2; half++) {
        float d, min = 0;
        if (f.scale == SCALE_BLOCK_MIN) {
            d = head_f16(head, 32 * j, row);
            min = head_f16(head, PANEL_BLOCK_MIN_AT + 32 * j, row);
        } else if (f.scale == SCALE_MIN) {
            d = head_f16(head, 0, row) * head[PANEL_SCALE_AT + 16 * j + row];
            min = head_f16(head, PANEL_DMIN_AT, row) * head[PANEL_MIN_AT + 16 * j + row];
        } else if (f.scale == SCALE_HALF_MIN) {
            uint8_t both = head[PANEL_HALF_AT + 16 * (2 * j + half) + row];
            d = head_f16(head, 0, row) * (float)(both & 15);
            min = head_f16(head, PANEL_DMIN_AT, row) * (float)(both >> 4);
        } else {
            d = row_scale(f, head, j, half, row);
        }
        for (size_t c = 16 * half; c < 16 * half + 16; c++) {
            out[c] = d * (float)q[c] - min;
        }
    }
}

void matrix_row(const struct matrix *matrix, size_t row, float *out)
{
    struct panel_format f = panel_format(matrix->type);
    const uint8_t *panel = matrix->bytes + row / TILE_ROWS * matrix->panel_bytes;
    size_t lane = row % TILE_ROWS;

    assert(row < matrix->rows);
    if (f.scale == SCALE_NONE) {
        size_t size = f.block_bytes / TILE_ROWS;
        for (size_t c = 0; c < matrix->cols; c++) {
            codec_decode_row(matrix->type, panel + c * f.block_bytes + size * lane, out + c, 1);
        }
        return;
    }
    for (size_t col = 0; col < matrix->cols; col += PANEL_BLOCK_COLS) {
        const uint8_t *head = panel + col / PANEL_GROUP_COLS * panel_group_bytes(f);
        row_block(f, head, col / PANEL_BLOCK_COLS % PANEL_GROUP_BLOCKS, lane, out + col);
    }
}
