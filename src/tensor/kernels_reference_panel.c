/* The reference for tiles of panels: plain C, in the order of panel.h. Every other level must give
 * these bits. fmaf here is the function of libm, exact with or without hardware for it. */
#include <math.h>
#include <string.h>

#include "tensor/codec.h"
#include "tensor/panel.h"

static float f16_at(const uint8_t *p)
{
    return codec_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* The weights of one block, unsigned, [16 rows][32 columns]. */
static void open_weights(struct panel_format f, const uint8_t *block, uint8_t w[TILE_ROWS][32])
{
    const uint8_t *values = panel_values(f.values);

    for (size_t r = 0; r < TILE_ROWS; r++) {
        for (size_t i = 0; i < 32; i++) {
            uint8_t q = panel_weight(f, block, r, i);
            w[r][i] = values != NULL ? values[q] : q;
        }
    }
}

static int32_t dot(const uint8_t *w, const int8_t *x, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++) {
        sum += w[i] * x[i];
    }
    return sum;
}

/* The sum of half a block: what its 16 weights give without the scale of the activations, on top of
 * t. The first half has no t. */
static float add_half(struct panel_format f, const uint8_t *head, size_t j, size_t half, size_t r,
                      const uint8_t w[32], const struct act_block *x, float t)
{
    const uint8_t *scale = head + PANEL_HALF_AT + 16 * (2 * j + half) + r;
    int32_t neg = x->neg_half[half];
    float sum = (float)(dot(w + 16 * half, x->q + 16 * half, 16) + neg * panel_zero(f)), d;

    if (f.scale == SCALE_HALF) {
        memcpy(&d, head + 4 * r, sizeof d);
        d *= (int8_t)*scale;
    } else if (f.scale == SCALE_PAIR) {
        d = f16_at(head + 32 * (2 * j + half) + 2 * r);
    } else {
        d = f16_at(head + 2 * r) * (float)(*scale & 15);
    }
    t = half == 0 ? sum * d : fmaf(sum, d, t);
    if (f.scale == SCALE_HALF_MIN) {
        t = fmaf((float)neg, f16_at(head + PANEL_DMIN_AT + 2 * r) * (float)(*scale >> 4), t);
    }
    return t;
}

/* acc after block j of the group at head, for one row and token. */
static float add_block(struct panel_format f, const uint8_t *head, size_t j, size_t r,
                       const uint8_t w[32], const struct act_block *x, float acc)
{
    const uint8_t *d = head + 32 * j + 2 * r;

    if (f.scale == SCALE_BLOCK || f.scale == SCALE_BF16) {
        int32_t sum = dot(w, x->q, 32) + x->neg_sum * panel_zero(f);
        float scale =
            f.scale == SCALE_BLOCK ? f16_at(d) : codec_bf16_to_f32((uint16_t)(d[0] | d[1] << 8));
        return fmaf((float)sum * scale, x->scale, acc);
    }
    if (f.scale == SCALE_BLOCK_MIN) {
        float value = (float)dot(w, x->q, 32) * f16_at(d);
        return fmaf(fmaf((float)x->neg_sum, f16_at(d + PANEL_BLOCK_MIN_AT), value), x->scale, acc);
    }
    if (f.scale == SCALE_MIN) {
        float min = f16_at(head + PANEL_DMIN_AT + 2 * r) * head[PANEL_MIN_AT + 16 * j + r];
        float scale = f16_at(head + 2 * r) * head[PANEL_SCALE_AT + 16 * j + r];
        float t = fmaf((float)x->neg_sum, min, (float)dot(w, x->q, 32) * scale);
        return fmaf(t, x->scale, acc);
    }
    float t = add_half(f, head, j, 0, r, w, x, 0);
    return fmaf(add_half(f, head, j, 1, r, w, x, t), x->scale, acc);
}

static void tile_quantized(struct panel_format f, const struct panel_tile *tile)
{
    for (size_t p = 0; p < tile->panels; p++) {
        for (size_t b = 0; b < tile->count; b++) {
            size_t j = b % PANEL_GROUP_BLOCKS;
            const uint8_t *head = tile->panel[p] + b / PANEL_GROUP_BLOCKS * panel_group_bytes(f);
            uint8_t w[TILE_ROWS][32];
            open_weights(f, head + f.head_bytes + j * f.block_bytes, w);
            for (size_t t = 0; t < tile->tokens; t++) {
                float *acc = tile->acc + (p * tile->tokens + t) * TILE_ROWS;
                for (size_t r = 0; r < TILE_ROWS; r++) {
                    const struct act_block *x = &tile->act[b * tile->tokens + t];
                    acc[r] = add_block(f, head, j, r, w[r], x, acc[r]);
                }
            }
        }
    }
}

/* A function of each format; types that differ in their files only share one. */
#define REFERENCE_TILE(NAME, name)                                                                 \
    static void tile_##name(const struct panel_tile *tile)                                         \
    {                                                                                              \
        tile_quantized(panel_format(DTYPE_##NAME), tile);                                          \
    }

PANEL_TYPES(REFERENCE_TILE)

static void tile_float(enum dtype type, const struct panel_tile *tile)
{
    size_t size = panel_format(type).block_bytes;

    for (size_t p = 0; p < tile->panels; p++) {
        for (size_t c = 0; c < tile->count; c++) {
            float w[TILE_ROWS];
            codec_decode_row(type, tile->panel[p] + c * size, w, TILE_ROWS);
            for (size_t t = 0; t < tile->tokens; t++) {
                float *acc = tile->acc + (p * tile->tokens + t) * TILE_ROWS;
                float x = tile->x[t * tile->x_stride + c];
                for (size_t r = 0; r < TILE_ROWS; r++) {
                    acc[r] = fmaf(w[r], x, acc[r]);
                }
            }
        }
    }
}

static void tile_f32(const struct panel_tile *tile)
{
    tile_float(DTYPE_F32, tile);
}

static void tile_f16(const struct panel_tile *tile)
{
    tile_float(DTYPE_F16, tile);
}

static void tile_bf16(const struct panel_tile *tile)
{
    tile_float(DTYPE_BF16, tile);
}

static void set(struct panel_kernel *kernel, panel_tile_fn *tile)
{
    for (size_t t = 1; t <= TILE_TOKENS_MAX; t++) {
        kernel->few[t] = kernel->many[t] = tile;
        kernel->few_panels[t] = 1;
    }
    kernel->many_panels = 1;
}

void kernels_init_reference_panels(struct kernels *k)
{
#define SET_TILE(NAME, name) set(&k->panel[DTYPE_##NAME], tile_##name);
    PANEL_TYPES(SET_TILE)
#undef SET_TILE
    set(&k->panel[DTYPE_F32], tile_f32);
    set(&k->panel[DTYPE_F16], tile_f16);
    set(&k->panel[DTYPE_BF16], tile_bf16);
    kernels_share_panels(k);
}
