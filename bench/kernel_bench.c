/* Times the kernels of a level: products of packed matrices against the int8 peak and the read
 * bandwidth measured in the same run, and the other kernels against the reference.
 *
 *     kernel_bench [--filter TEXT] [--threads N] [--level NAME] [--seed N] [--rounds N] [--list]
 *
 * Each figure is the median of some rounds. Weights are random bytes with small scales: arithmetic
 * does not depend on values. A case of one token walks over several copies of the matrix, so that
 * the weights come from memory and not from a cache. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "tensor/fixture.h"
#include "tensor/limits.h"
#include "tensor/matrix.h"

enum { ROUNDS_MAX = 101 };

struct options {
    const char *filter;
    size_t threads, rounds;
    enum cpu_level level;
    bool list;
};

struct bench {
    struct options options;
    struct pool *pool;
    const struct kernels *kernels;
    uint64_t seed;
};

static uint32_t next_random(struct bench *b)
{
    b->seed = b->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(b->seed >> 32);
}

static void die(const char *what)
{
    fprintf(stderr, "kernel_bench: %s\n", what);
    exit(1);
}

static void *pages(size_t bytes)
{
    struct err err;
    void *p = os_pages_alloc(bytes, &err);
    if (p == NULL) {
        die(err.text);
    }
    return p;
}

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Median nanoseconds of one call. */
static double median_ns(const struct bench *b, void (*run)(void *), void *arg)
{
    int64_t ns[ROUNDS_MAX];

    run(arg);
    for (size_t i = 0; i < b->options.rounds; i++) {
        int64_t start = clock_now_ns();
        run(arg);
        ns[i] = clock_now_ns() - start;
    }
    qsort(ns, b->options.rounds, sizeof *ns, compare_i64);
    return (double)ns[b->options.rounds / 2];
}

/* True when the case is to run. */
static bool wanted(const struct bench *b, const char *name)
{
    if (b->options.filter != NULL && strstr(name, b->options.filter) == NULL) {
        return false;
    }
    if (b->options.list) {
        printf("%s\n", name);
    }
    return !b->options.list;
}

/* ---- products ---- */

struct product_case {
    struct bench *bench;
    struct matrix *copies; /* [copy_count] */
    size_t copy_count, next;
    struct activation act;
    float *y;
};

static void run_product(void *arg)
{
    struct product_case *c = arg;
    struct matrix *m = &c->copies[c->next++ % c->copy_count];
    struct product product = {.w = m, .y = c->y, .y_stride = m->rows};

    if (dtype_info(m->type)->block_len > 1) {
        activation_quantize(&c->act, c->bench->kernels, c->bench->pool);
    }
    matrix_multiply(c->bench->kernels, c->bench->pool, &c->act, &product, 1);
}

/* Random rows with scales near 0.01, packed. */
static void pack_random(struct bench *b, const struct matrix *m, uint8_t *bytes)
{
    const struct dtype_info *info = dtype_info(m->type);
    size_t row_bytes = dtype_row_bytes(m->type, m->cols), size = row_bytes * 16;
    uint8_t *rows = mem_alloc(size, 1);

    if (rows == NULL) {
        die("out of memory");
    }
    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint32_t word = next_random(b) & 0xbfffbfff; /* no huge floats */
        memcpy(rows + i, &word, 4);
    }
    for (size_t i = 0; info->block_len > 1 && i < size; i += info->block_bytes) {
        fixture_set_scale(m->type, rows + i, 0.01f, 0.01f);
    }
    for (size_t panel = 0; panel < m->rows / 16; panel++) {
        matrix_pack(m, panel, 1, rows, bytes);
    }
    mem_free(rows);
}

static void bench_product(struct bench *b, enum dtype type, size_t rows, size_t cols, size_t tokens)
{
    enum { COLD_BYTES = 200 << 20 };
    struct product_case c = {.bench = b};
    size_t bytes = 0;
    char name[96];

    snprintf(name, sizeof name, "product %-5s %5zux%-5zu %3zu tokens", dtype_info(type)->name, rows,
             cols, tokens);
    if (!wanted(b, name)) {
        return;
    }
    if (!matrix_bytes(type, rows, cols, &bytes)) {
        die("matrix too large");
    }
    c.copy_count = tokens <= 8 ? COLD_BYTES / bytes + 1 : 1;
    uint8_t *memory = pages(bytes * c.copy_count);
    c.copies = MEM_ARRAY(struct matrix, c.copy_count);
    float *x = pages(tokens * cols * sizeof *x);
    c.y = pages(tokens * rows * sizeof *x);
    uint8_t *scratch = pages(activation_bytes(tokens, cols));
    if (c.copies == NULL) {
        die("out of memory");
    }
    for (size_t i = 0; i < c.copy_count; i++) {
        matrix_init(&c.copies[i], type, rows, cols, memory + i * bytes);
        if (i == 0) {
            pack_random(b, &c.copies[0], memory);
        } else {
            memcpy(memory + i * bytes, memory, bytes);
        }
    }
    for (size_t i = 0; i < tokens * cols; i++) {
        x[i] = (float)next_random(b) * 0x1p-31f - 1.0f;
    }
    activation_init(&c.act, x, cols, tokens, cols, scratch);
    double peak = cpu_peak_int8(b->kernels, b->pool);
    double ns = median_ns(b, run_product, &c);
    peak = (peak + cpu_peak_int8(b->kernels, b->pool)) / 2;
    double gops = 2.0 * (double)(rows * cols * tokens) / ns;
    printf("%s %10.1f us %7.1f GB/s %8.0f GOPS %5.1f %% of the int8 peak (%.0f)\n", name, ns / 1e3,
           (double)bytes / ns, gops, 100 * gops / peak, peak);
    mem_free(c.copies);
    os_pages_free(memory, bytes * c.copy_count);
    os_pages_free(x, tokens * cols * sizeof *x);
    os_pages_free(c.y, tokens * rows * sizeof *x);
    os_pages_free(scratch, activation_bytes(tokens, cols));
}

static void bench_products(struct bench *b)
{
    static const size_t shapes[][2] = {{2048, 2048}, {8192, 2048}, {4096, 14336}};
    static const size_t tokens[] = {1, 8, 32, 512};

    for (size_t i = 0; i < FIXTURE_TYPE_COUNT; i++) {
        for (size_t s = 0; s < 3; s++) {
            for (size_t t = 0; t < 4; t++) {
                bench_product(b, fixture_types[i], shapes[s][0], shapes[s][1], tokens[t]);
            }
        }
    }
}

/* ---- packing ---- */

struct pack_case {
    const struct matrix *m;
    const uint8_t *rows;
    uint8_t *bytes;
    size_t step;
};

static void pack_piece(void *arg, size_t piece, size_t thread)
{
    struct pack_case *c = arg;
    size_t row_bytes = dtype_row_bytes(c->m->type, c->m->cols);

    (void)thread;
    matrix_pack(c->m, piece, 1, c->rows + piece * 16 * row_bytes, c->bytes);
}

static struct pool *pack_pool;

static void run_pack(void *arg)
{
    struct pack_case *c = arg;
    pool_run(pack_pool, pack_piece, c, c->m->rows / 16);
}

static void bench_packs(struct bench *b)
{
    enum { ROWS = 4096, COLS = 4096 };

    for (size_t i = 0; i < FIXTURE_TYPE_COUNT; i++) {
        struct matrix m;
        size_t bytes = 0, source = dtype_row_bytes(fixture_types[i], COLS) * ROWS;
        char name[96];
        snprintf(name, sizeof name, "pack %s", dtype_info(fixture_types[i])->name);
        if (!wanted(b, name) || !matrix_bytes(fixture_types[i], ROWS, COLS, &bytes)) {
            continue;
        }
        struct pack_case c = {.m = &m, .rows = pages(source), .bytes = pages(bytes)};
        memset((void *)(uintptr_t)c.rows, 1, source);
        matrix_init(&m, fixture_types[i], ROWS, COLS, c.bytes);
        pack_pool = b->pool;
        double ns = median_ns(b, run_pack, &c);
        printf("%-37s %10.1f us %7.2f GB/s of the file\n", name, ns / 1e3, (double)source / ns);
        os_pages_free((void *)(uintptr_t)c.rows, source);
        os_pages_free(c.bytes, bytes);
    }
}

/* ---- vectors ---- */

enum { VECTOR_LEN = 4096, HEADS = 8, HEAD_DIM = 128 };

struct vector_case {
    const struct kernels *k;
    ATTR_ALIGNED(64) float x[VECTOR_LEN], w[VECTOR_LEN], y[VECTOR_LEN];
    float page[KV_PAGE_TOKENS * HEAD_DIM], score[HEADS * KV_PAGE_TOKENS];
    struct act_block blocks[VECTOR_LEN / 32];
};

static void run_quantize(void *arg)
{
    struct vector_case *c = arg;
    c->k->quantize(c->x, VECTOR_LEN, c->blocks, 1);
}

static void run_rms_norm(void *arg)
{
    struct vector_case *c = arg;
    c->k->rms_norm(c->x, c->w, 1e-5f, c->y, VECTOR_LEN);
}

static void run_add(void *arg)
{
    struct vector_case *c = arg;
    c->k->add(c->x, c->w, c->y, VECTOR_LEN);
}

static void run_silu_mul(void *arg)
{
    struct vector_case *c = arg;
    c->k->silu_mul(c->x, c->w, c->y, VECTOR_LEN);
}

static void run_rope_norm(void *arg)
{
    struct vector_case *c = arg;
    c->k->rope_norm(c->y, c->x, c->w, VECTOR_LEN / HEAD_DIM, HEAD_DIM, HEAD_DIM);
}

static void run_rope_neox(void *arg)
{
    struct vector_case *c = arg;
    c->k->rope_neox(c->y, c->x, c->w, VECTOR_LEN / HEAD_DIM, HEAD_DIM, HEAD_DIM);
}

static void run_score_f32(void *arg)
{
    struct vector_case *c = arg;
    c->k->attn_score[KV_F32](c->x, HEAD_DIM, HEADS, c->page, HEAD_DIM, 0.1f, c->score);
}

static void run_score_f16(void *arg)
{
    struct vector_case *c = arg;
    c->k->attn_score[KV_F16](c->x, HEAD_DIM, HEADS, c->page, HEAD_DIM, 0.1f, c->score);
}

static void run_mix_f32(void *arg)
{
    struct vector_case *c = arg;
    c->k->attn_mix[KV_F32](c->w, HEADS, c->page, HEAD_DIM, KV_PAGE_TOKENS, c->y, HEAD_DIM);
}

static void run_mix_f16(void *arg)
{
    struct vector_case *c = arg;
    c->k->attn_mix[KV_F16](c->w, HEADS, c->page, HEAD_DIM, KV_PAGE_TOKENS, c->y, HEAD_DIM);
}

static void run_exp_sum(void *arg)
{
    struct vector_case *c = arg;
    memcpy(c->y, c->x, sizeof c->y);
    c->k->exp_sum(c->y, 1.0f, VECTOR_LEN);
}

static void run_f16(void *arg)
{
    struct vector_case *c = arg;
    c->k->f32_to_f16(c->x, (uint16_t *)(void *)c->y, VECTOR_LEN);
}

static void bench_vectors(struct bench *b)
{
    static const struct {
        const char *name;
        void (*run)(void *);
        double flops; /* or elements */
    } cases[] = {
        {"vector quantize 4096", run_quantize, VECTOR_LEN},
        {"vector rms_norm 4096", run_rms_norm, 4 * VECTOR_LEN},
        {"vector add 4096", run_add, VECTOR_LEN},
        {"vector silu_mul 4096", run_silu_mul, VECTOR_LEN},
        {"vector rope_norm 4096", run_rope_norm, 3 * VECTOR_LEN},
        {"vector rope_neox 4096", run_rope_neox, 3 * VECTOR_LEN},
        {"vector attn_score f32 8x128", run_score_f32, 2.0 * HEADS * HEAD_DIM * 64},
        {"vector attn_score f16 8x128", run_score_f16, 2.0 * HEADS * HEAD_DIM * 64},
        {"vector attn_mix f32 8x128", run_mix_f32, 2.0 * HEADS * HEAD_DIM * 64},
        {"vector attn_mix f16 8x128", run_mix_f16, 2.0 * HEADS * HEAD_DIM * 64},
        {"vector exp_sum 4096", run_exp_sum, VECTOR_LEN},
        {"vector f32_to_f16 4096", run_f16, VECTOR_LEN},
    };
    struct vector_case *c = pages(sizeof *c);

    for (size_t i = 0; i < VECTOR_LEN; i++) {
        c->x[i] = (float)next_random(b) * 0x1p-31f - 1.0f;
        c->w[i] = (float)next_random(b) * 0x1p-32f;
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!wanted(b, cases[i].name)) {
            continue;
        }
        c->k = kernels_get(CPU_REFERENCE);
        double reference = median_ns(b, cases[i].run, c);
        c->k = b->kernels;
        double ns = median_ns(b, cases[i].run, c);
        printf("%-37s %10.1f ns %7.1fx the reference %7.1f Gop/s\n", cases[i].name, ns,
               reference / ns, cases[i].flops / ns);
    }
    os_pages_free(c, sizeof *c);
}

/* ---- command line ---- */

static void print_limits(const struct bench *b)
{
    struct cpu_bandwidth bandwidth;
    struct err err;

    if (b->options.list) {
        return;
    }
    if (!cpu_read_bandwidth(b->pool, 0, &bandwidth, &err)) {
        die(err.text);
    }
    printf("%s, %zu threads: int8 peak %.0f GOPS, read %.1f GB/s with %zu streams per thread\n",
           cpu_level_name(b->kernels->level), pool_size(b->pool),
           cpu_peak_int8(b->kernels, b->pool), bandwidth.gb_s, bandwidth.streams);
}

static uint64_t number(const char *text)
{
    uint64_t value = 0;
    if (text == NULL || !str_to_u64(str_of(text), &value)) {
        die("a number is wanted");
    }
    return value;
}

int main(int argc, char **argv)
{
    struct bench b = {.seed = 1};
    struct err err;

    b.options = (struct options){.threads = os_cpu_cores(), .rounds = 11};
    b.options.level = cpu_level_detect();
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--list") == 0) {
            b.options.list = true;
            continue;
        }
        if (strcmp(argv[i], "--filter") == 0 && value != NULL) {
            b.options.filter = value;
        } else if (strcmp(argv[i], "--threads") == 0) {
            b.options.threads = size_max(1, size_min(number(value), 256));
        } else if (strcmp(argv[i], "--rounds") == 0) {
            b.options.rounds = size_max(1, size_min(number(value), ROUNDS_MAX));
        } else if (strcmp(argv[i], "--seed") == 0) {
            b.seed = number(value);
        } else if (strcmp(argv[i], "--level") != 0 ||
                   !cpu_level_parse(str_of(value), &b.options.level)) {
            die("usage: kernel_bench [--filter TEXT] [--threads N] [--level NAME] [--seed N] "
                "[--rounds N] [--list]");
        }
        i++;
    }
    b.pool = pool_create(b.options.threads, &err);
    if (b.pool == NULL) {
        die(err.text);
    }
    b.kernels = kernels_get(b.options.level);
    print_limits(&b);
    bench_products(&b);
    bench_packs(&b);
    bench_vectors(&b);
    print_limits(&b);
    pool_destroy(b.pool);
    return 0;
}
