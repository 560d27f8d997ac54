/* Packing: rows of a GGUF tensor into panels (panel.h), and one row back out of them. Runs once per
 * weight at load, so it is written for streaming: 16 rows are opened block by block into a small
 * table that stays in L1 and is written out in the order of the panel. */
#include <assert.h>
#include <string.h>

#include "base/size.h"
#include "tensor/block.h"
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
    uint16_t d[PANEL_GROUP_BLOCKS][TILE_ROWS]; /* SCALE_BLOCK: per block; else [0] */
    uint16_t dmin[PANEL_GROUP_BLOCKS][TILE_ROWS];
    uint8_t scale[16][TILE_ROWS];
    uint8_t min[PANEL_GROUP_BLOCKS][TILE_ROWS];
};

static ATTR_ALWAYS_INLINE void open_row(enum dtype type, const uint8_t *bytes, size_t blocks,
                                        size_t row, struct group *g)
{
    struct panel_format f = panel_format(type);
    struct block b = {0};

    if (f.scale == SCALE_BLOCK || f.scale == SCALE_BLOCK_MIN) {
        for (size_t j = 0; j < blocks; j++) {
            block_open(type, bytes + j * block_bytes(type), &b);
            memcpy(g->q[row] + 32 * j, b.q, 32);
            g->d[j][row] = b.d;
            g->dmin[j][row] = b.dmin;
        }
        return;
    }
    block_open(type, bytes, &b);
    memcpy(g->q[row], b.q, sizeof b.q);
    g->d[0][row] = b.d;
    g->dmin[0][row] = b.dmin;
    for (int j = 0; j < 16; j++) {
        g->scale[j][row] = b.scale[j];
    }
    for (int j = 0; j < 8; j++) {
        g->min[j][row] = b.min[j];
    }
}

static ATTR_ALWAYS_INLINE uint32_t four_columns(const struct group *g, size_t row, size_t col)
{
    uint32_t word;
    memcpy(&word, &g->q[row][col], 4);
    return word;
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

static ATTR_ALWAYS_INLINE void write_group(struct panel_format f, const struct group *g,
                                           size_t blocks, uint8_t *out)
{
    if (f.scale == SCALE_BLOCK) {
        memcpy(out, g->d, sizeof g->d);
    } else if (f.scale == SCALE_BLOCK_MIN) {
        memcpy(out, g->d, sizeof g->d);
        memcpy(out + PANEL_BLOCK_MIN_AT, g->dmin, sizeof g->dmin);
    } else if (f.scale == SCALE_MIN) {
        memcpy(out, g->d[0], 32);
        memcpy(out + PANEL_DMIN_AT, g->dmin[0], 32);
        memcpy(out + PANEL_SCALE_AT, g->scale, 128);
        memcpy(out + PANEL_MIN_AT, g->min, 128);
    } else {
        memcpy(out, g->d[0], 32);
        memcpy(out + PANEL_HALF_AT, g->scale, 256);
        memset(out + PANEL_HALF_AT + 256, 0, 32);
    }
    for (size_t j = 0; j < blocks; j++) {
        write_block(f, g, 32 * j, out + f.head_bytes + j * f.block_bytes);
    }
}

/* rows: how many of the 16 exist; the others stay zero (weight = zero point, scale 0). */
static ATTR_ALWAYS_INLINE void pack_quantized(enum dtype type, size_t cols, const uint8_t *source,
                                              size_t row_bytes, size_t rows, uint8_t *out)
{
    struct panel_format f = panel_format(type);
    bool is_small = f.scale == SCALE_BLOCK || f.scale == SCALE_BLOCK_MIN;
    size_t unit = block_bytes(type) * (is_small ? PANEL_GROUP_BLOCKS : 1);
    struct group g;

    memset(&g, 0, sizeof g);
    for (size_t col = 0, at = 0; col < cols; col += PANEL_GROUP_COLS, at += unit) {
        size_t blocks = size_min(cols - col, PANEL_GROUP_COLS) / PANEL_BLOCK_COLS;
        if (blocks < PANEL_GROUP_BLOCKS) {
            memset(g.d, 0, sizeof g.d);
            memset(g.dmin, 0, sizeof g.dmin);
        }
        for (size_t r = 0; r < rows; r++) {
            open_row(type, source + r * row_bytes + at, blocks, r, &g);
        }
        write_group(f, &g, blocks, out);
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

    switch (m->type) { /* constants, so that each type gets its own unrolled code */
    case DTYPE_Q8_0:
        pack_quantized(DTYPE_Q8_0, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_Q4_0:
        pack_quantized(DTYPE_Q4_0, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_Q4_K:
        pack_quantized(DTYPE_Q4_K, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_Q5_K:
        pack_quantized(DTYPE_Q5_K, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_Q6_K:
        pack_quantized(DTYPE_Q6_K, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_Q4_1:
        pack_quantized(DTYPE_Q4_1, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_Q5_0:
        pack_quantized(DTYPE_Q5_0, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_Q5_1:
        pack_quantized(DTYPE_Q5_1, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_IQ4_NL:
        pack_quantized(DTYPE_IQ4_NL, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_IQ4_XS:
        pack_quantized(DTYPE_IQ4_XS, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_Q3_K:
        pack_quantized(DTYPE_Q3_K, m->cols, source, row_bytes, rows, out);
        break;
    case DTYPE_F32:
        pack_f32(m->cols, source, rows, out);
        break;
    default:
        pack_f16(m->cols, source, rows, out);
        break;
    }
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

/* Weights of one row of one block, unsigned as stored. */
static void row_weights(struct panel_format f, const uint8_t *block, size_t row, uint8_t q[32])
{
    for (size_t g = 0; g < 8; g++) {
        for (size_t c = 0; c < 4; c++) {
            size_t at = 4 * row + c;
            uint8_t w;
            if (f.bits == 8) {
                w = block[64 * g + at];
            } else {
                w = block[64 * (g / 2) + at] >> (4 * (g % 2)) & 15;
            }
            if (f.bits == 5) {
                w = (uint8_t)(w | (block[256 + at] >> g & 1) << 4);
            } else if (f.bits == 6) {
                w = (uint8_t)(w | (block[256 + 64 * (g / 4) + at] >> (2 * (g % 4)) & 3) << 4);
            }
            q[4 * g + c] = w;
        }
    }
}

static float head_f16(const uint8_t *head, size_t at, size_t row)
{
    return codec_f16_to_f32(block_load_u16(head + at + 2 * row));
}

/* The rounding order of codec_decode_row, so that both give the same floats. */
static void row_block(struct panel_format f, const uint8_t *head, size_t j, size_t row, float *out)
{
    int zero = 1 << f.zero_shift;
    uint8_t q[32];

    row_weights(f, head + f.head_bytes + j * f.block_bytes, row, q);
    if (f.scale == SCALE_BLOCK) {
        float d = head_f16(head, 32 * j, row);
        for (int c = 0; c < 32; c++) {
            out[c] = (float)(q[c] - zero) * d;
        }
    } else if (f.scale == SCALE_BLOCK_MIN) {
        float d = head_f16(head, 32 * j, row);
        float min = head_f16(head, PANEL_BLOCK_MIN_AT + 32 * j, row);
        for (int c = 0; c < 32; c++) {
            out[c] = (float)q[c] * d - min;
        }
    } else if (f.scale == SCALE_MIN) {
        float d = head_f16(head, 0, row) * head[PANEL_SCALE_AT + 16 * j + row];
        float min = head_f16(head, PANEL_DMIN_AT, row) * head[PANEL_MIN_AT + 16 * j + row];
        for (int c = 0; c < 32; c++) {
            out[c] = d * q[c] - min;
        }
    } else {
        for (int c = 0; c < 32; c++) {
            uint8_t scale = head[PANEL_HALF_AT + 16 * (2 * j + c / 16) + row];
            out[c] = head_f16(head, 0, row) * (int8_t)scale * (float)(q[c] - zero);
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
