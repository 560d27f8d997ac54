/* Attention over paged keys and values.
 *
 * A row attends to the positions 0..pos of its sequence. The positions are cut in pages of 64 keys
 * and the pages in chunks of 16:
 *
 *     positions  |  page 0 | page 1 | ... | page 15 | page 16 | ...
 *                |------------ chunk 0 -------------|--- chunk 1 ...
 *
 * Within a chunk the pages are taken in order with the online softmax (Milakov and Gimelshein
 * 2018): a running maximum m, a running sum l of exp(score - m) and a running mix o of the values
 * with those weights; when a page raises m, l and o are multiplied by exp(m_old - m_new). The
 * results of the chunks are merged in order by the same rule. Where a chunk ends depends on the
 * position alone, so each row has one order of operations, whoever computes which chunk:
 *
 *     many rows  a piece of work is a block of rows times one key head and takes chunk after chunk.
 *                Rows of a block share the pages while they are in the cache.
 *     few rows   a piece is one chunk of one row and key head; a second job merges. So that one
 *                long sequence keeps all threads busy.
 *
 * Query heads that share a key head go through the kernels together: its keys are loaded once. */
#include "model/attention.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

enum {
    CHUNK_PAGES = 16,
    CHUNK_KEYS = CHUNK_PAGES * KV_PAGE_TOKENS,
    GROUP_HEADS = 16, /* query heads that go through the kernels together, at most */
    BLOCK_ROWS = 8,
    SPLIT_PIECES = 32,    /* row x key head pieces up to which the chunks are split */
    ALONE_MACS = 1 << 18, /* 10 us of work: below this waking the pool costs more than it brings */
};

/* The running softmax of one row and up to GROUP_HEADS heads. */
struct running {
    float max[GROUP_HEADS], sum[GROUP_HEADS];
};

static size_t chunks_of(size_t keys)
{
    return (keys + CHUNK_KEYS - 1) / CHUNK_KEYS;
}

size_t model_attention_part_floats(size_t rows, size_t ctx, size_t head_count, size_t kv_head_count,
                                   size_t value_dim)
{
    size_t chunks = chunks_of(ctx), split_rows = size_min(rows, SPLIT_PIECES / kv_head_count);
    if (chunks <= 1) {
        return 0;
    }
    return size_max(rows * head_count * value_dim,
                    split_rows * head_count * chunks * (value_dim + 2));
}

/* ---- one page ---- */

static const uint8_t *page_of(const struct attention *a, const struct model_row *row, size_t page)
{
    return a->pages + a->seqs[row->seq].pages[page] * a->page_bytes;
}

static size_t element_bytes(const struct attention *a)
{
    return a->kv_type == KV_F32 ? 4 : 2;
}

/* Largest of 64 scores; NaN does not count. 16 lanes, so that compilers use vector instructions. */
static float max_of(const float *score)
{
    float lane[16];
    memcpy(lane, score, sizeof lane);
    for (int i = 16; i < KV_PAGE_TOKENS; i += 16) {
        for (int j = 0; j < 16; j++) {
            lane[j] = score[i + j] > lane[j] ? score[i + j] : lane[j];
        }
    }
    float max = -INFINITY;
    for (int j = 0; j < 16; j++) {
        max = lane[j] > max ? lane[j] : max;
    }
    return max;
}

/* exp(from - to), 1 when nothing changed. */
static float rescale(const struct kernels *k, float from, float to)
{
    float e = from;
    return from == to ? 1.0f : k->exp_sum(&e, to, 1);
}

static void scale_by(float *x, float factor, size_t n)
{
    if (factor != 1.0f) {
        for (size_t i = 0; i < n; i++) {
            x[i] *= factor;
        }
    }
}

/* Adds `count` keys of one page to the running softmax of `heads` query heads of a row. q and out
 * are those of the first head. */
static void take_page(const struct attention *a, const uint8_t *page, size_t kv_head,
                      const float *q, size_t heads, size_t count, bool is_first,
                      struct running *run, float *out)
{
    const struct kernels *k = a->kernels;
    size_t bytes = element_bytes(a) * KV_PAGE_TOKENS;
    const uint8_t *keys = page + a->k_offset + kv_head * a->key_dim * bytes;
    const uint8_t *values = page + a->v_offset + kv_head * a->value_dim * bytes;
    float score[GROUP_HEADS * KV_PAGE_TOKENS];

    k->attn_score[a->kv_type](q, a->key_dim, heads, keys, a->key_dim, a->scale, score);
    for (size_t h = 0; h < heads; h++) {
        float *s = score + h * KV_PAGE_TOKENS, *o = out + h * a->value_dim;
        for (size_t t = count; t < KV_PAGE_TOKENS; t++) {
            s[t] = -INFINITY;
        }
        float max = max_of(s), factor = 0;
        if (is_first) {
            run->sum[h] = 0;
            memset(o, 0, a->value_dim * sizeof *o);
        } else {
            max = run->max[h] > max ? run->max[h] : max;
            factor = rescale(k, run->max[h], max);
            scale_by(o, factor, a->value_dim);
        }
        run->max[h] = max;
        run->sum[h] = run->sum[h] * factor + k->exp_sum(s, max, count);
    }
    k->attn_mix[a->kv_type](score, heads, values, a->value_dim, count, out, a->value_dim);
}

/* Merges the result of a later chunk into that of the earlier ones. */
static void merge(const struct attention *a, size_t heads, struct running *run, float *out,
                  const struct running *next, const float *next_out)
{
    for (size_t h = 0; h < heads; h++) {
        float max = next->max[h] > run->max[h] ? next->max[h] : run->max[h];
        float factor = rescale(a->kernels, run->max[h], max);
        float next_factor = rescale(a->kernels, next->max[h], max);
        float *o = out + h * a->value_dim;
        const float *n = next_out + h * a->value_dim;
        for (size_t d = 0; d < a->value_dim; d++) {
            o[d] = o[d] * factor + n[d] * next_factor;
        }
        run->sum[h] = run->sum[h] * factor + next->sum[h] * next_factor;
        run->max[h] = max;
    }
}

static void finish(const struct attention *a, size_t heads, const struct running *run, float *out)
{
    for (size_t h = 0; h < heads; h++) {
        float inverse = 1.0f / run->sum[h];
        for (size_t d = 0; d < a->value_dim; d++) {
            out[h * a->value_dim + d] *= inverse;
        }
    }
}

/* ---- many rows ---- */

struct sweep {
    const struct attention *a;
    size_t block_rows;
};

/* One chunk for rows [first, end) of one sequence, positions ascending; heads [head, head + heads)
 * share kv_head. run: [end - first]. Rows that end before the chunk are left alone. */
static void take_chunk(const struct attention *a, size_t first, size_t end, size_t kv_head,
                       size_t head, size_t heads, size_t chunk, struct running *run, float *out)
{
    size_t last = a->rows[end - 1].pos / KV_PAGE_TOKENS, start = chunk * CHUNK_PAGES;
    for (size_t page = start; page <= last && page < start + CHUNK_PAGES; page++) {
        const uint8_t *bytes = page_of(a, &a->rows[first], page);
        for (size_t r = first; r < end; r++) {
            size_t keys = (size_t)a->rows[r].pos + 1;
            if (keys > page * KV_PAGE_TOKENS) {
                size_t at = r * a->head_count + head;
                take_page(a, bytes, kv_head, a->q + at * a->key_dim, heads,
                          size_min(keys - page * KV_PAGE_TOKENS, KV_PAGE_TOKENS), page == start,
                          &run[r - first], out + at * a->value_dim);
            }
        }
    }
}

static void sweep_heads(const struct attention *a, size_t first, size_t end, size_t kv_head,
                        size_t head, size_t heads)
{
    struct running run[BLOCK_ROWS], next[BLOCK_ROWS];
    size_t chunks = chunks_of((size_t)a->rows[end - 1].pos + 1);

    take_chunk(a, first, end, kv_head, head, heads, 0, run, a->out);
    for (size_t chunk = 1; chunk < chunks; chunk++) {
        take_chunk(a, first, end, kv_head, head, heads, chunk, next, a->part);
        for (size_t r = first; r < end; r++) {
            if ((size_t)a->rows[r].pos >= chunk * CHUNK_KEYS) {
                size_t at = (r * a->head_count + head) * a->value_dim;
                merge(a, heads, &run[r - first], a->out + at, &next[r - first], a->part + at);
            }
        }
    }
    for (size_t r = first; r < end; r++) {
        finish(a, heads, &run[r - first], a->out + (r * a->head_count + head) * a->value_dim);
    }
}

/* A block of rows, cut where the sequence changes, times one key head. */
static void sweep_piece(void *arg, size_t piece, size_t thread)
{
    const struct sweep *sweep = arg;
    const struct attention *a = sweep->a;
    size_t kv_head = piece % a->kv_head_count, block = piece / a->kv_head_count;
    size_t end = size_min(a->row_count, (block + 1) * sweep->block_rows);
    size_t group = a->head_count / a->kv_head_count;

    (void)thread;
    for (size_t first = block * sweep->block_rows, next; first < end; first = next) {
        for (next = first + 1; next < end && a->rows[next].seq == a->rows[first].seq;) {
            next++;
        }
        for (size_t g = 0; g < group; g += GROUP_HEADS) {
            sweep_heads(a, first, next, kv_head, kv_head * group + g,
                        size_min(group - g, GROUP_HEADS));
        }
    }
}

/* ---- few rows ---- */

struct split {
    const struct attention *a;
    size_t chunks; /* of the longest row */
};

/* The partial result of a head and chunk: [value_dim + 2], maximum and sum last. */
static float *part_of(const struct split *split, size_t row, size_t head, size_t chunk)
{
    const struct attention *a = split->a;
    return a->part + ((chunk * a->row_count + row) * a->head_count + head) * (a->value_dim + 2);
}

static void split_chunk(void *arg, size_t piece, size_t thread)
{
    const struct split *split = arg;
    const struct attention *a = split->a;
    size_t kv_head = piece % a->kv_head_count, rest = piece / a->kv_head_count;
    size_t row = rest % a->row_count, chunk = rest / a->row_count;
    size_t group = a->head_count / a->kv_head_count, keys = (size_t)a->rows[row].pos + 1;

    (void)thread;
    for (size_t g = 0; g < group; g += GROUP_HEADS) {
        size_t heads = size_min(group - g, GROUP_HEADS), head = kv_head * group + g;
        struct running run;
        float *out = part_of(split, row, head, chunk);
        /* The mixes of the heads first, then their maxima and sums: the kernels want one stride. */
        for (size_t page = chunk * CHUNK_PAGES;
             page < (chunk + 1) * CHUNK_PAGES && page * KV_PAGE_TOKENS < keys; page++) {
            take_page(a, page_of(a, &a->rows[row], page), kv_head,
                      a->q + (row * a->head_count + head) * a->key_dim, heads,
                      size_min(keys - page * KV_PAGE_TOKENS, KV_PAGE_TOKENS),
                      page == chunk * CHUNK_PAGES, &run, out);
        }
        if (chunk * CHUNK_KEYS < keys) {
            memcpy(out + heads * a->value_dim, run.max, heads * sizeof(float));
            memcpy(out + heads * (a->value_dim + 1), run.sum, heads * sizeof(float));
        }
    }
}

static void merge_chunks(void *arg, size_t piece, size_t thread)
{
    const struct split *split = arg;
    const struct attention *a = split->a;
    size_t kv_head = piece % a->kv_head_count, row = piece / a->kv_head_count;
    size_t group = a->head_count / a->kv_head_count;
    size_t chunks = chunks_of((size_t)a->rows[row].pos + 1);

    (void)thread;
    for (size_t g = 0; g < group; g += GROUP_HEADS) {
        size_t heads = size_min(group - g, GROUP_HEADS), head = kv_head * group + g;
        struct running run, next;
        float *out = a->out + (row * a->head_count + head) * a->value_dim;
        for (size_t chunk = 0; chunk < chunks; chunk++) {
            const float *part = part_of(split, row, head, chunk);
            struct running *to = chunk == 0 ? &run : &next;
            memcpy(to->max, part + heads * a->value_dim, heads * sizeof(float));
            memcpy(to->sum, part + heads * (a->value_dim + 1), heads * sizeof(float));
            if (chunk == 0) {
                memcpy(out, part, heads * a->value_dim * sizeof(float));
            } else {
                merge(a, heads, &run, out, &next, part);
            }
        }
        finish(a, heads, &run, out);
    }
}

void model_attention_run(const struct attention *a, struct pool *pool)
{
    size_t longest = 0, keys = 0, threads = pool_size(pool);
    size_t pairs = a->row_count * a->kv_head_count;
    for (size_t r = 0; r < a->row_count; r++) {
        keys += (size_t)a->rows[r].pos + 1;
        longest = size_max(longest, (size_t)a->rows[r].pos + 1);
    }
    struct split split = {.a = a, .chunks = chunks_of(longest)};
    size_t parts = split.chunks * a->row_count * a->head_count * (a->value_dim + 2);
    if (threads > 1 && split.chunks > 1 && pairs <= SPLIT_PIECES && parts <= a->part_floats) {
        pool_run(pool, split_chunk, &split, pairs * split.chunks);
        pool_run(pool, merge_chunks, &split, pairs);
        return;
    }
    /* At least eight pieces per thread where there are enough rows. */
    struct sweep sweep = {.a = a, .block_rows = pairs / (threads * 8)};
    sweep.block_rows = size_max(1, size_min(sweep.block_rows, BLOCK_ROWS));
    size_t blocks = (a->row_count + sweep.block_rows - 1) / sweep.block_rows;
    if (keys * a->head_count * (a->key_dim + a->value_dim) < ALONE_MACS) {
        for (size_t i = 0; i < blocks * a->kv_head_count; i++) {
            sweep_piece(&sweep, i, 0);
        }
        return;
    }
    pool_run(pool, sweep_piece, &sweep, blocks * a->kv_head_count);
}
