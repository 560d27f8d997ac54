/* The reference for tiles of panels: plain C, in the order of panel.h. Every other level must give
 * these bits. fmaf here is the function of libm, exact with or without hardware for it. */
#include <math.h>

#include "tensor/codec.h"
#include "tensor/panel.h"

static float f16_at(const uint8_t *p)
{
    return codec_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* The weights of one block, unsigned, [16 rows][32 columns]. */
static void open_weights(struct panel_format f, const uint8_t *block, uint8_t w[TILE_ROWS][32])
{
    for (int g = 0; g < 8; g++) {
        for (int i = 0; i < 64; i++) {
            int q = f.bits == 8 ? block[64 * g + i] : block[64 * (g / 2) + i] >> (4 * (g % 2)) & 15;
            if (f.bits == 5) {
                q |= (block[256 + i] >> g & 1) << 4;
            } else if (f.bits == 6) {
                q |= (block[256 + 64 * (g / 4) + i] >> (2 * (g % 4)) & 3) << 4;
            }
            w[i / 4][4 * g + i % 4] = (uint8_t)q;
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

/* acc after block j of the group at head, for one row and token. */
static float add_block(struct panel_format f, const uint8_t *head, size_t j, size_t r,
                       const uint8_t w[32], const struct act_block *x, float acc)
{
    if (f.scale == SCALE_BLOCK) {
        int32_t sum = dot(w, x->q, 32) + x->neg_sum * (1 << f.zero_shift);
        return fmaf((float)sum * f16_at(head + 32 * j + 2 * r), x->scale, acc);
    }
    if (f.scale == SCALE_BLOCK_MIN) {
        float min = f16_at(head + PANEL_BLOCK_MIN_AT + 32 * j + 2 * r);
        float value = (float)dot(w, x->q, 32) * f16_at(head + 32 * j + 2 * r);
        return fmaf(fmaf((float)x->neg_sum, min, value), x->scale, acc);
    }
    float d = f16_at(head + 2 * r), t;
    if (f.scale == SCALE_MIN) {
        float min = f16_at(head + PANEL_DMIN_AT + 2 * r) * head[PANEL_MIN_AT + 16 * j + r];
        t = (float)dot(w, x->q, 32) * (d * head[PANEL_SCALE_AT + 16 * j + r]);
        t = fmaf((float)x->neg_sum, min, t);
    } else {
        const int8_t *scale = (const int8_t *)head + PANEL_HALF_AT + 32 * j + r;
        int32_t zero = 1 << f.zero_shift;
        t = (float)(dot(w, x->q, 16) + x->neg_half[0] * zero) * (d * scale[0]);
        t = fmaf((float)(dot(w + 16, x->q + 16, 16) + x->neg_half[1] * zero), d * scale[16], t);
    }
    return fmaf(t, x->scale, acc);
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

static void tile_q8_0(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_Q8_0), tile);
}

static void tile_q4_0(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_Q4_0), tile);
}

static void tile_q4_k(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_Q4_K), tile);
}

static void tile_q5_k(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_Q5_K), tile);
}

static void tile_q6_k(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_Q6_K), tile);
}

static void tile_q4_1(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_Q4_1), tile);
}

static void tile_q5_0(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_Q5_0), tile);
}

static void tile_q5_1(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_Q5_1), tile);
}

static void tile_iq4_nl(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_IQ4_NL), tile);
}

static void tile_iq4_xs(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_IQ4_XS), tile);
}

static void tile_q3_k(const struct panel_tile *tile)
{
    tile_quantized(panel_format(DTYPE_Q3_K), tile);
}

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
    set(&k->panel[DTYPE_Q8_0], tile_q8_0);
    set(&k->panel[DTYPE_Q4_0], tile_q4_0);
    set(&k->panel[DTYPE_Q4_K], tile_q4_k);
    set(&k->panel[DTYPE_Q5_K], tile_q5_k);
    set(&k->panel[DTYPE_Q6_K], tile_q6_k);
    set(&k->panel[DTYPE_Q4_1], tile_q4_1);
    set(&k->panel[DTYPE_Q5_0], tile_q5_0);
    set(&k->panel[DTYPE_Q5_1], tile_q5_1);
    set(&k->panel[DTYPE_IQ4_NL], tile_iq4_nl);
    set(&k->panel[DTYPE_IQ4_XS], tile_iq4_xs);
    set(&k->panel[DTYPE_Q3_K], tile_q3_k);
    set(&k->panel[DTYPE_F32], tile_f32);
    set(&k->panel[DTYPE_F16], tile_f16);
    set(&k->panel[DTYPE_BF16], tile_bf16);
}
