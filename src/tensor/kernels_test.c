/* Every kernel of every level of this machine against the reference, bit for bit (each is of the
 * class EXACT or keeps the reference's order of operations anyway). Operands stand against a page
 * that cannot be touched, at the end and at the start in turn, so that a read or write outside
 * kills the test. Sizes are all small ones and some of real models; values include extremes.
 *
 * Needs nothing but libc and the folder itself, so that it also runs under an emulator
 * (tests/kernel/cross.sh). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/size.h"
#include "tensor/exp.h"
#include "tensor/fixture.h"
#include "tensor/limits.h"
#include "tensor/matrix.h"
#include "tensor/panel.h"

static uint64_t seed = 1;
static const char *level_text = "";
static size_t failures, checks;

static void fail(const char *what, size_t n)
{
    if (failures++ < 20) {
        printf("FAILED: %s %s, size %zu\n", level_text, what, n);
    }
}

/* ---- guarded memory ---- */

enum { GUARD_BYTES = 1 << 22, GUARD_SLOTS = 8 };

struct guard {
    uint8_t *start, *end; /* usable; before start and from end on every access faults */
};

static struct guard guards[GUARD_SLOTS];

static void guards_init(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    for (int i = 0; i < GUARD_SLOTS; i++) {
        uint8_t *p =
            mmap(NULL, GUARD_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect(p + page, GUARD_BYTES, PROT_READ | PROT_WRITE) != 0) {
            printf("cannot make guard pages\n");
            exit(1);
        }
        guards[i] = (struct guard){.start = p + page, .end = p + page + GUARD_BYTES};
    }
}

static bool at_end = true;

/* `bytes` of slot i against the guard page at its end or start; aligned to `align` at the end. */
static void *place(int slot, size_t bytes, size_t align)
{
    struct guard *g = &guards[slot];

    if (!at_end) {
        return g->start;
    }
    return g->end - bytes - (uintptr_t)(g->end - bytes) % align;
}

/* ---- values ---- */

static uint32_t next_random(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static float random_float(void)
{
    return (float)next_random() * 0x1p-31f - 1.0f;
}

/* Kinds of input: ordinary, wide range, and with single extreme values. */
enum { PLAIN, WIDE, EXTREME, KIND_COUNT };

static float value_of(int kind)
{
    static const float extremes[] = {
        0.0f,     -0.0f,     1e-45f, -1e-40f,    0x1p-126f, 0x1p-110f, 1e38f,    -3.4e38f,
        INFINITY, -INFINITY, NAN,    65504.0f,   65520.0f,  0x1p-24f,  0x1p-25f, 127.0f,
        0.5f,     -1.5f,     88.0f,  -87.33654f, -87.34f,   88.1f,     -100.0f,  1e-8f};
    uint32_t pick = next_random();

    if (kind == EXTREME && pick % 8 == 0) {
        return extremes[pick / 8 % (sizeof extremes / sizeof extremes[0])];
    }
    return kind == PLAIN ? random_float() : ldexpf(random_float(), (int)(pick % 40) - 20);
}

static void fill(float *x, size_t n, int kind)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = value_of(kind);
    }
}

/* Bits are equal; any NaN equals any NaN. */
static bool same_floats(const float *a, const float *b, size_t n)
{
    checks++;
    for (size_t i = 0; i < n; i++) {
        if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            if (failures < 20) {
                printf("  [%zu] %a, reference %a\n", i, (double)a[i], (double)b[i]);
            }
            return false;
        }
    }
    return true;
}

static size_t size_of_round(size_t round)
{
    static const size_t real[] = {576, 896, 1000, 2048, 4096, 4864};
    return round <= 300 ? round : real[round - 301];
}

enum { SIZE_ROUNDS = 307 };

/* ---- vectors ---- */

static void test_quantize(const struct kernels *k, const struct kernels *ref)
{
    for (size_t round = 0; round < SIZE_ROUNDS; round++) {
        size_t n = size_of_round(round), blocks = (n + 31) / 32;
        size_t bytes = blocks * sizeof(struct act_block);
        float *x = place(0, n * sizeof *x, 4);
        struct act_block *got = place(1, bytes, 16), *want = place(2, bytes, 16);
        fill(x, n, (int)(round % KIND_COUNT));
        memset((void *)got, 0x55, bytes);
        memset((void *)want, 0x55, bytes);
        k->quantize(x, n, got, 1);
        ref->quantize(x, n, want, 1);
        for (size_t b = 0; b < blocks; b++) {
            bool same = memcmp(got[b].q, want[b].q, 32) == 0 &&
                        same_floats(&got[b].scale, &want[b].scale, 1) &&
                        memcmp(&got[b].neg_sum, &want[b].neg_sum, 12) == 0;
            int sum = 0;
            for (int i = 0; i < 32; i++) {
                sum += got[b].q[i];
            }
            if (!same || sum != -got[b].neg_sum) {
                fail("quantize", n);
                break;
            }
        }
    }
}

static void test_rows(const struct kernels *k, const struct kernels *ref)
{
    for (size_t round = 0; round < SIZE_ROUNDS; round++) {
        size_t n = size_of_round(round), bytes = n * sizeof(float);
        int kind = (int)(round % KIND_COUNT);
        float *x = place(0, bytes, 4), *w = place(1, bytes, 4);
        float *got = place(2, bytes, 4), *want = place(3, bytes, 4);
        fill(x, n, kind);
        fill(w, n, kind);
        k->rms_norm(x, w, 1e-5f, got, n);
        ref->rms_norm(x, w, 1e-5f, want, n);
        if (!same_floats(got, want, n)) {
            fail("rms_norm", n);
        }
        memcpy(got, x, bytes);
        k->rms_norm(got, NULL, 0, got, n); /* in place, no weights */
        ref->rms_norm(x, NULL, 0, want, n);
        if (!same_floats(got, want, n)) {
            fail("rms_norm in place", n);
        }
        memcpy(got, x, bytes);
        k->add(got, w, got, n);
        ref->add(x, w, want, n);
        if (!same_floats(got, want, n)) {
            fail("add", n);
        }
        memcpy(got, x, bytes);
        k->silu_mul(got, w, got, n);
        ref->silu_mul(x, w, want, n);
        if (!same_floats(got, want, n)) {
            fail("silu_mul", n);
        }
        memcpy(got, x, bytes);
        memcpy(want, x, bytes);
        float a = k->exp_sum(got, 1.0f, n), b = ref->exp_sum(want, 1.0f, n);
        if (!same_floats(got, want, n) || !same_floats(&a, &b, 1)) {
            fail("exp_sum", n);
        }
    }
}

static void test_conversions(const struct kernels *k, const struct kernels *ref)
{
    for (size_t round = 0; round < SIZE_ROUNDS; round++) {
        size_t n = size_of_round(round);
        float *x = place(0, n * 4, 4);
        uint16_t *got = place(1, n * 2, 2), *want = place(2, n * 2, 2);
        for (size_t i = 0; i < n; i++) {
            uint32_t bits = next_random();
            memcpy(x + i, &bits, 4);
            if (round % 2 == 0) {
                x[i] = value_of(EXTREME);
            }
        }
        k->f32_to_f16(x, got, n);
        ref->f32_to_f16(x, want, n);
        if (memcmp(got, want, n * 2) != 0) {
            fail("f32_to_f16", n);
        }
        k->f32_to_bf16(x, got, n);
        ref->f32_to_bf16(x, want, n);
        if (memcmp(got, want, n * 2) != 0) {
            fail("f32_to_bf16", n);
        }
        checks += 2;
    }
}

static void test_rope(const struct kernels *k, const struct kernels *ref)
{
    static const size_t dims[][2] = {{2, 2},   {8, 8},   {8, 4},     {32, 32},   {40, 20},
                                     {64, 64}, {80, 32}, {128, 128}, {256, 128}, {6, 0}};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        for (size_t heads = 0; heads < 5; heads++) {
            size_t dim = dims[i][0], rope = dims[i][1], n = heads * dim;
            float *got = place(0, n * 4, 4), *want = place(1, n * 4, 4);
            float *cos = place(2, rope / 2 * 4, 4), *sin = place(3, rope / 2 * 4, 4);
            fill(cos, rope / 2, PLAIN);
            fill(sin, rope / 2, PLAIN);
            for (int form = 0; form < 2; form++) {
                fill(want, n, WIDE);
                memcpy(got, want, n * 4);
                (form == 0 ? k->rope_norm : k->rope_neox)(got, cos, sin, heads, dim, rope);
                (form == 0 ? ref->rope_norm : ref->rope_neox)(want, cos, sin, heads, dim, rope);
                if (!same_floats(got, want, n)) {
                    fail(form == 0 ? "rope_norm" : "rope_neox", dim);
                }
            }
        }
    }
}

/* Fills the bytes of a head's part of a page; quantised types: random bytes and finite scales. */
static void fill_kv(enum kv_type type, void *p, size_t head_dim)
{
    size_t n = head_dim * KV_PAGE_TOKENS, data = kv_data_bytes(type, head_dim);

    for (size_t i = 0; i < n && type <= KV_BF16; i++) {
        float value = random_float();
        if (type == KV_F32) {
            memcpy((float *)p + i, &value, 4);
        } else {
            ((uint16_t *)p)[i] =
                type == KV_F16 ? codec_f32_to_f16(value) : codec_f32_to_bf16(value);
        }
    }
    for (size_t i = 0; i < data && type > KV_BF16; i++) {
        ((uint8_t *)p)[i] = (uint8_t)next_random();
    }
    for (size_t i = data; i < kv_head_bytes(type, head_dim); i += 2) {
        uint16_t half = codec_f32_to_f16(random_float());
        memcpy((uint8_t *)p + i, &half, 2);
    }
}

static void test_attention(const struct kernels *k, const struct kernels *ref)
{
    static const size_t dims[] = {0, 1, 8, 15, 16, 17, 32, 40, 64, 72, 80, 96, 128, 256};

    for (size_t i = 0; i < KV_TYPE_COUNT * sizeof dims / sizeof dims[0]; i++) {
        enum kv_type type = (enum kv_type)(i % KV_TYPE_COUNT);
        size_t dim = dims[i / KV_TYPE_COUNT];
        for (size_t heads = 0; heads < 10; heads++) {
            size_t stride = dim + heads % 3;
            size_t q_floats = heads == 0 ? 0 : (heads - 1) * stride + dim;
            float *q = place(0, q_floats * 4, 4), *got = place(1, heads * 256, 4);
            float *want = place(2, heads * 256, 4), *out = place(3, q_floats * 4, 4);
            float *out_want = place(4, q_floats * 4, 4);
            void *kv = place(5, kv_head_bytes(type, dim), type == KV_F32 ? 4 : 2);
            fill(q, q_floats, PLAIN);
            fill_kv(type, kv, dim);
            k->attn_score[type](q, stride, heads, kv, dim, 0.3f, got);
            ref->attn_score[type](q, stride, heads, kv, dim, 0.3f, want);
            if (!same_floats(got, want, heads * KV_PAGE_TOKENS)) {
                fail("attn_score", dim);
            }
            size_t to = (heads * 23 + dim) % (KV_PAGE_TOKENS + 1), from = to * (heads % 4) / 4;
            fill_kv(type, kv, dim);
            fill(out, q_floats, PLAIN);
            memcpy(out_want, out, q_floats * 4);
            k->attn_mix[type](want, heads, kv, dim, from, to, out, stride);
            ref->attn_mix[type](want, heads, kv, dim, from, to, out_want, stride);
            if (!same_floats(out, out_want, q_floats)) {
                fail("attn_mix", dim);
            }
        }
    }
}

/* The error of the exponential, which all levels share, against the libm of double. */
static void test_exp_error(const struct kernels *k)
{
    double worst = 0;

    for (float x = EXP_MIN; x <= 0; x += 0.0137f) {
        float y = x;
        k->exp_sum(&y, 0, 1);
        worst = fmax(worst, fabs((double)y / exp((double)x) - 1));
    }
    checks++;
    if (worst > 2e-6) {
        fail("exp is off", 0);
    }
    float special[4] = {-INFINITY, NAN, -200.0f, 0.0f};
    k->exp_sum(special, 0, 4);
    if (special[0] != 0 || !isnan(special[1]) || special[2] != 0 || special[3] != 1) {
        fail("exp of special values", 0);
    }
}

/* ---- panels ---- */

/* Rows of random bytes with finite scales; kind EXTREME: all weights at the ends of their range. */
static void fill_rows(enum dtype type, uint8_t *p, size_t bytes, int kind)
{
    const struct dtype_info *info = dtype_info(type);

    for (size_t i = 0; i < bytes; i++) {
        uint32_t pick = next_random();
        p[i] = (uint8_t)(kind == EXTREME ? (pick & 1 ? 0xff : pick & 2 ? 0x80 : 0) : pick);
    }
    for (size_t at = 0; at < bytes; at += info->block_bytes) {
        float value = random_float();
        if (info->block_len == 1) {
            codec_encode_row(type, &value, p + at, 1);
        } else {
            fixture_set_scale(type, p + at, value, value * 0.3f);
        }
    }
}

struct panel_case {
    enum dtype type;
    size_t rows, cols, tokens;
    int kind;
};

/* y of one product, run over all tiles in pieces of `tile_step` tiles. */
static void run_case(const struct kernels *k, const struct panel_case *c, const struct matrix *m,
                     const struct act_block *act, const float *x, size_t tile_step, float *y)
{
    struct panel_job job = {.type = c->type,
                            .panels = m->bytes,
                            .panel_bytes = m->panel_bytes,
                            .panel_count = (c->rows + 15) / 16,
                            .cols = c->cols,
                            .row_count = c->rows,
                            .act = act,
                            .x = x,
                            .x_stride = c->cols,
                            .token_count = c->tokens,
                            .y = y,
                            .y_stride = c->rows};
    for (size_t tile = 0; tile < tile_count(c->tokens); tile += tile_step) {
        job.tile_first = tile;
        job.tile_count = size_min(tile_step, tile_count(c->tokens) - tile);
        kernels_run_panels(k, &job);
    }
}

static void test_case(const struct kernels *k, const struct kernels *ref,
                      const struct panel_case *c)
{
    struct matrix m;
    size_t bytes = 0, y_bytes = c->rows * c->tokens * 4;
    size_t source_bytes = dtype_row_bytes(c->type, c->cols) * c->rows;
    size_t blocks = (c->cols + 31) / 32, tiles = tile_count(c->tokens);

    matrix_bytes(c->type, c->rows, c->cols, &bytes);
    uint8_t *source = place(0, source_bytes, 1), *memory = place(1, bytes, 64);
    float *x = place(2, c->tokens * c->cols * 4, 4);
    struct act_block *act = place(3, c->tokens * blocks * sizeof *act, 64);
    float *got = place(4, y_bytes, 4), *want = place(5, y_bytes, 4);
    fill_rows(c->type, source, source_bytes, c->kind);
    matrix_init(&m, c->type, c->rows, c->cols, memory);
    matrix_pack(&m, 0, (c->rows + 15) / 16, source, memory);
    for (size_t i = 0; i < c->tokens * c->cols; i++) { /* EXTREME: every q is 127 or -127 */
        x[i] = c->kind == EXTREME ? (next_random() & 1 ? 1.0f : -1.0f) : random_float();
    }
    for (size_t i = 0; i < tiles; i++) {
        size_t first = tile_start(c->tokens, i), end = tile_start(c->tokens, i + 1);
        for (size_t t = first; t < end; t++) {
            ref->quantize(x + t * c->cols, c->cols, act + first * blocks + (t - first),
                          end - first);
        }
    }
    run_case(ref, c, &m, act, x, SIZE_MAX / 2, want);
    memset(got, 0x55, y_bytes);
    run_case(k, c, &m, act, x, SIZE_MAX / 2, got);
    if (!same_floats(got, want, c->rows * c->tokens)) {
        fail(dtype_info(c->type)->name, c->cols);
    }
    memset(got, 0x55, y_bytes);
    run_case(k, c, &m, act, x, 2, got);
    if (!same_floats(got, want, c->rows * c->tokens)) {
        fail("pieces of tiles", c->cols);
    }
    /* Each token alone gives the same bits as in the batch. */
    struct panel_case one = *c;
    one.tokens = 1;
    for (size_t t = 0; t < c->tokens; t++) {
        ref->quantize(x + t * c->cols, c->cols, act, 1);
        run_case(k, &one, &m, act, x + t * c->cols, 1, got);
        if (!same_floats(got, want + t * c->rows, c->rows)) {
            fail("a token alone", c->tokens);
            break;
        }
    }
}

static void test_panels(const struct kernels *k, const struct kernels *ref)
{
    static const size_t rows[] = {1, 16, 17, 40, 130, 150};

    for (size_t i = 0; i < FIXTURE_TYPE_COUNT; i++) {
        size_t len = dtype_info(fixture_types[i])->block_len;
        for (size_t round = 0; round < 40; round++) {
            struct panel_case c = {.type = fixture_types[i], .tokens = round + 1};
            size_t blocks = 1 + next_random() % (len == 256 ? 3 : 12);
            c.rows = rows[next_random() % 6];
            c.cols = len == 1 ? 1 + next_random() % 200 : blocks * len;
            c.kind = round % 4 == 3 ? EXTREME : PLAIN;
            test_case(k, ref, &c);
        }
        /* More than one run of columns (2048, or 512 for floats), and a last group of 1 block. */
        struct panel_case c = {.type = fixture_types[i], .rows = 34, .tokens = 13};
        c.cols = len == 1 ? 1100 : len == 256 ? 2304 : 4096 + len;
        test_case(k, ref, &c);
        c.cols = 0;
        test_case(k, ref, &c);
    }
}

static void test_peak(const struct kernels *k)
{
    double ops = 0;
    k->peak_int8(10, &ops);
    checks++;
    if (!(ops > 0)) {
        fail("peak_int8", 10);
    }
}

int main(int argc, char **argv)
{
    enum cpu_level best = cpu_level_detect();
    const struct kernels *ref = kernels_get(CPU_REFERENCE);

    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    guards_init();
    for (int level = 0; level < CPU_LEVEL_COUNT; level++) {
        const struct kernels *k = kernels_get((enum cpu_level)level);
        if ((int)k->level != level || level == CPU_REFERENCE) {
            continue;
        }
        level_text = cpu_level_name(k->level);
        for (int end = 0; end < 2; end++) {
            at_end = end == 1;
            test_quantize(k, ref);
            test_rows(k, ref);
            test_conversions(k, ref);
            test_rope(k, ref);
            test_attention(k, ref);
            test_panels(k, ref);
        }
        test_exp_error(k);
        test_peak(k);
        printf("%s: %zu checks so far, %zu failed\n", level_text, checks, failures);
    }
    at_end = true;
    level_text = "reference";
    test_exp_error(ref);
    printf("best level %s: %zu checks, %zu failed\n", cpu_level_name(best), checks, failures);
    return failures != 0;
}
