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
 * With a window of w a row starts at position pos - w + 1: at its page in its chunk; what lies
 * before is not touched. ALiBi (Press et al. 2022) subtracts slope * distance from a score: with n
 * heads and p the largest power of two <= n, head h has the slope 2^(-bias (h + 1) / p), and those
 * from p on 2^(-bias (2 (h - p) + 1) / 2p).
 *
 * A sink (gpt-oss) is one more score of a head, of no position: it takes part in the maximum and
 * the sum when all chunks are merged.
 *
 * Query heads that share a key head go through the kernels together: its keys are loaded once. */
#include "model/attention.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "model/activate.h"

enum {
    CHUNK_PAGES = 16,
    CHUNK_KEYS = CHUNK_PAGES * KV_PAGE_TOKENS,
    GROUP_HEADS = 16, /* query heads that go through the kernels together, at most */
    BLOCK_ROWS = 32,
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

/* The page behind `page`, if the row sees it. */
static const uint8_t *page_ahead(const struct attention *a, const struct model_row *row,
                                 size_t page)
{
    return page < row->pos / KV_PAGE_TOKENS ? page_of(a, row, page + 1) : NULL;
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

/* The first position a row sees. */
static size_t first_key(const struct attention *a, const struct model_row *row)
{
    if (a->chunk != 0) {
        return row->pos / a->chunk * a->chunk;
    }
    return a->window != 0 && row->pos >= a->window ? row->pos - a->window + 1 : 0;
}

float model_alibi_slope(float bias, size_t head_count, size_t head)
{
    size_t power = 1;
    while (power * 2 <= head_count) {
        power *= 2;
    }
    return head < power ? exp2f(-bias * (float)(head + 1) / (float)power)
                        : exp2f(-bias * (float)(2 * (head - power) + 1) / (float)(2 * power));
}

/* One page for one row: the keys [from, to) that the row sees. */
struct view {
    const uint8_t *bytes;
    const uint8_t *ahead;        /* the next page, to be prefetched meanwhile; NULL: none */
    size_t kv_head, head, heads; /* of the queries: the first, and how many */
    size_t from, to;
    size_t distance; /* of key 0 of the page; behind the row it wraps, and is not seen */
    bool is_first;   /* of the running softmax */
};

/* What families do to scores before the softmax. */
static void shape_scores(const struct attention *a, const struct view *view, float *score)
{
    size_t count = view->heads * KV_PAGE_TOKENS;
    if (a->cap != 0) {
        model_soft_cap(a->kernels, score, count, a->cap);
    }
    if (a->alibi_bias == 0) {
        return;
    }
    for (size_t h = 0; h < view->heads; h++) {
        float slope = model_alibi_slope(a->alibi_bias, a->head_count, view->head + h);
        for (size_t t = view->from; t < view->to; t++) {
            score[h * KV_PAGE_TOKENS + t] -= slope * (float)(view->distance - t);
        }
    }
}

/* Pages of a head lie far apart, 8 KiB of keys and as much of values each: the processor's own
 * prefetching starts anew in each of them (0.5B, decode at depth 16384: 39.5 to 42.7 tokens/s). */
static void prefetch(const uint8_t *ahead, size_t offset, size_t bytes)
{
    for (size_t at = 0; ahead && at < bytes; at += 64) {
        __builtin_prefetch(ahead + offset + at, 0, 2);
    }
}

/* Adds the keys of one page to the running softmax of the query heads of a row. q and out are those
 * of the first head. */
static void take_page(const struct attention *a, const struct view *view, const float *q,
                      struct running *run, float *out)
{
    const struct kernels *k = a->kernels;
    const size_t key_bytes = kv_head_bytes(a->kv_type, a->key_dim);
    const size_t value_bytes = kv_head_bytes(a->kv_type, a->value_dim);
    const size_t keys_at = a->k_offset + view->kv_head * key_bytes;
    const size_t values_at = a->v_offset + view->kv_head * value_bytes;
    const uint8_t *keys = view->bytes + keys_at, *values = view->bytes + values_at;
    float score[GROUP_HEADS * KV_PAGE_TOKENS];

    prefetch(view->ahead, keys_at, key_bytes);
    k->attn_score[a->kv_type](q, a->key_dim, view->heads, keys, a->key_dim, a->scale, score);
    shape_scores(a, view, score);
    for (size_t h = 0; h < view->heads; h++) {
        float *s = score + h * KV_PAGE_TOKENS, *o = out + h * a->value_dim;
        for (size_t t = 0; t < view->from; t++) {
            s[t] = -INFINITY;
        }
        for (size_t t = view->to; t < KV_PAGE_TOKENS; t++) {
            s[t] = -INFINITY;
        }
        float max = max_of(s), factor = 0;
        if (view->is_first) {
            run->sum[h] = 0;
            memset(o, 0, a->value_dim * sizeof *o);
        } else {
            max = run->max[h] > max ? run->max[h] : max;
            factor = rescale(k, run->max[h], max);
            scale_by(o, factor, a->value_dim);
        }
        run->max[h] = max;
        run->sum[h] = run->sum[h] * factor + k->exp_sum(s, max, view->to);
    }
    prefetch(view->ahead, values_at, value_bytes);
    k->attn_mix[a->kv_type](score, view->heads, values, a->value_dim, view->from, view->to, out,
                            a->value_dim);
}

/* The page for a row, if it sees any of it. */
static bool look(const struct attention *a, const struct model_row *row, size_t page,
                 struct view *view)
{
    size_t keys = (size_t)row->pos + 1, first = first_key(a, row), start = page * KV_PAGE_TOKENS;
    if (keys <= start || first >= start + KV_PAGE_TOKENS) {
        return false;
    }
    view->from = first > start ? first - start : 0;
    view->to = size_min(keys - start, KV_PAGE_TOKENS);
    view->distance = row->pos - start;
    view->is_first = page % CHUNK_PAGES == 0 || first >= start;
    return true;
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

/* The mix over the sum of the weights, among which a sink may be: of heads from `head` on. */
static void finish(const struct attention *a, size_t head, size_t heads, const struct running *run,
                   float *out)
{
    for (size_t h = 0; h < heads; h++) {
        float sum = run->sum[h], factor = 1;
        if (a->sinks) {
            float sink = a->sinks[head + h], max = sink > run->max[h] ? sink : run->max[h];
            factor = rescale(a->kernels, run->max[h], max);
            sum = sum * factor + rescale(a->kernels, sink, max);
        }
        float inverse = factor / sum;
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
 * share kv_head. A row's first chunk goes to run and a->out, later ones to next and a->part. Rows
 * that see nothing of the chunk are left alone. run, next: [end - first]. */
static void take_chunk(const struct attention *a, size_t first, size_t end, struct view view,
                       size_t chunk, struct running *run, struct running *next)
{
    size_t last = a->rows[end - 1].pos / KV_PAGE_TOKENS, start = chunk * CHUNK_PAGES;
    size_t from = size_max(start, first_key(a, &a->rows[first]) / KV_PAGE_TOKENS);
    for (size_t page = from; page <= last && page < start + CHUNK_PAGES; page++) {
        view.bytes = page_of(a, &a->rows[first], page);
        view.ahead = page_ahead(a, &a->rows[end - 1], page);
        for (size_t r = first; r < end; r++, view.ahead = NULL) {
            if (look(a, &a->rows[r], page, &view)) {
                bool is_first = first_key(a, &a->rows[r]) / CHUNK_KEYS == chunk;
                size_t at = r * a->head_count + view.head;
                take_page(a, &view, a->q + at * a->key_dim,
                          is_first ? &run[r - first] : &next[r - first],
                          (is_first ? a->out : a->part) + at * a->value_dim);
            }
        }
    }
}

static void sweep_heads(const struct attention *a, size_t first, size_t end, size_t kv_head,
                        size_t head, size_t heads)
{
    struct running run[BLOCK_ROWS], next[BLOCK_ROWS];
    const struct view view = {.kv_head = kv_head, .head = head, .heads = heads};
    size_t chunks = chunks_of((size_t)a->rows[end - 1].pos + 1);

    for (size_t chunk = first_key(a, &a->rows[first]) / CHUNK_KEYS; chunk < chunks; chunk++) {
        take_chunk(a, first, end, view, chunk, run, next);
        for (size_t r = first; r < end; r++) {
            if ((size_t)a->rows[r].pos >= chunk * CHUNK_KEYS &&
                first_key(a, &a->rows[r]) < chunk * CHUNK_KEYS) {
                size_t at = (r * a->head_count + head) * a->value_dim;
                merge(a, heads, &run[r - first], a->out + at, &next[r - first], a->part + at);
            }
        }
    }
    for (size_t r = first; r < end; r++) {
        finish(a, head, heads, &run[r - first], a->out + (r * a->head_count + head) * a->value_dim);
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
    size_t group = a->head_count / a->kv_head_count;

    (void)thread;
    for (size_t g = 0; g < group; g += GROUP_HEADS) {
        size_t heads = size_min(group - g, GROUP_HEADS), head = kv_head * group + g;
        struct view view = {.kv_head = kv_head, .head = head, .heads = heads};
        struct running run;
        float *out = part_of(split, row, head, chunk);
        bool sees_some = false;
        /* The mixes of the heads first, then their maxima and sums: the kernels want one stride. */
        for (size_t page = chunk * CHUNK_PAGES; page < (chunk + 1) * CHUNK_PAGES; page++) {
            if (look(a, &a->rows[row], page, &view)) {
                view.bytes = page_of(a, &a->rows[row], page);
                view.ahead = page_ahead(a, &a->rows[row], page);
                take_page(a, &view, a->q + (row * a->head_count + head) * a->key_dim, &run, out);
                sees_some = true;
            }
        }
        if (sees_some) {
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
    size_t first = first_key(a, &a->rows[row]) / CHUNK_KEYS;

    (void)thread;
    for (size_t g = 0; g < group; g += GROUP_HEADS) {
        size_t heads = size_min(group - g, GROUP_HEADS), head = kv_head * group + g;
        struct running run, next;
        float *out = a->out + (row * a->head_count + head) * a->value_dim;
        for (size_t chunk = first; chunk < chunks; chunk++) {
            const float *part = part_of(split, row, head, chunk);
            struct running *to = chunk == first ? &run : &next;
            memcpy(to->max, part + heads * a->value_dim, heads * sizeof(float));
            memcpy(to->sum, part + heads * (a->value_dim + 1), heads * sizeof(float));
            if (chunk == first) {
                memcpy(out, part, heads * a->value_dim * sizeof(float));
            } else {
                merge(a, heads, &run, out, &next, part);
            }
        }
        finish(a, head, heads, &run, out);
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
