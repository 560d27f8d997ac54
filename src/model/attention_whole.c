/* Attention of texts that are there as a whole, for encoders: all keys and values of a text stand
 * in its pages before the first query is answered.
 *
 *     piece   up to 16 neighbouring queries of one text  x  one head
 *     group   4 pages = 256 keys: their scores at once, then one step of the online softmax
 *
 * The kernels of attention.c take several query heads for one key head; here they take several
 * rows of one head instead, so that every key and value that is loaded serves 16 queries. A text of
 * up to 256 tokens has one group, and nothing is ever rescaled.
 *
 * A row's sums run over the groups and pages that it sees, in order, whoever its neighbours are.
 * Which rows share a piece therefore changes nothing; blocks begin at multiples of 16 in their text
 * all the same, so that they are cut alike in every batch. */
#include "model/attention_whole.h"

#include <math.h>
#include <string.h>

#include "base/attr.h"
#include "base/size.h"
#include "model/activate.h"
#include "model/attention.h"

enum { GROUP_PAGES = 4, GROUP_KEYS = GROUP_PAGES * KV_PAGE_TOKENS, ALONE_MACS = 1 << 18 };

/* Scores of a block: [page][row][64], the shape of the kernels. */
typedef float scores[GROUP_PAGES][WHOLE_BLOCK_ROWS * KV_PAGE_TOKENS];

/* One piece of work. */
struct piece {
    const struct whole *w;
    const struct model_row *rows; /* of the block */
    size_t count;
    const struct model_seq *seq;
    size_t keys; /* of the text */
    size_t head, kv_head;
    const float *q; /* of the first row and this head */
    float *out;
    float max[WHOLE_BLOCK_ROWS], sum[WHOLE_BLOCK_ROWS];
};

/* The keys [from, to) that a row sees. */
struct sight {
    size_t from, to;
};

static struct sight sight_of(const struct piece *p, size_t row)
{
    size_t pos = p->rows[row].pos, window = p->w->window;
    struct sight sight = {0, p->keys};
    if (p->w->is_causal) {
        sight.to = pos + 1;
        sight.from = window != 0 && pos >= window ? pos - window + 1 : 0;
    } else if (window != 0) {
        sight.from = pos > window / 2 ? pos - window / 2 : 0;
        sight.to = size_min(p->keys, pos + window / 2 + 1);
    }
    return sight;
}

static const float *page_of(const struct piece *p, size_t page)
{
    const uint8_t *bytes = p->w->pages + p->seq->pages[page] * p->w->page_bytes;
    return (const float *)(const void *)bytes;
}

/* Rows [*first, *end) of the block see keys of [start, stop); they stand together. */
static void find_rows(const struct piece *p, size_t start, size_t stop, size_t *first, size_t *end)
{
    *first = *end = 0;
    for (size_t r = 0; r < p->count; r++) {
        struct sight sight = sight_of(p, r);
        if (sight.from < stop && sight.to > start) {
            *first = *end == 0 ? r : *first;
            *end = r + 1;
        }
    }
}

/* What families do to the 64 scores of a row; what it does not see becomes -inf. */
static void shape_row(const struct piece *p, size_t row, size_t start, float slope, float *s)
{
    struct sight sight = sight_of(p, row);
    if (p->w->cap != 0) {
        model_soft_cap(p->w->kernels, s, KV_PAGE_TOKENS, p->w->cap);
    }
    for (size_t t = 0; slope != 0 && t < KV_PAGE_TOKENS; t++) {
        float distance = (float)p->rows[row].pos - (float)(start + t);
        s[t] -= slope * fabsf(distance);
    }
    if (sight.from > start || sight.to < start + KV_PAGE_TOKENS) {
        for (size_t t = 0; t < KV_PAGE_TOKENS; t++) {
            s[t] = start + t >= sight.from && start + t < sight.to ? s[t] : -INFINITY;
        }
    }
}

/* 16 lanes, so that compilers use vector instructions. NaN does not count. */
static float max_of(const float *s, float max)
{
    float lane[16];
    memcpy(lane, s, sizeof lane);
    for (int i = 16; i < KV_PAGE_TOKENS; i += 16) {
        for (int j = 0; j < 16; j++) {
            lane[j] = s[i + j] > lane[j] ? s[i + j] : lane[j];
        }
    }
    for (int j = 0; j < 16; j++) {
        max = lane[j] > max ? lane[j] : max;
    }
    return max;
}

/* A row's step of the online softmax over the pages of a group; scores become weights. */
static void weigh_row(struct piece *p, size_t row, size_t pages, scores score)
{
    const struct kernels *k = p->w->kernels;
    float max = p->max[row], *out = p->out + row * p->w->head_count * p->w->value_dim;
    for (size_t i = 0; i < pages; i++) {
        max = max_of(score[i] + row * KV_PAGE_TOKENS, max);
    }
    if (max == -INFINITY) { /* none of these keys are seen, or none are numbers */
        for (size_t i = 0; i < pages; i++) {
            float *s = score[i] + row * KV_PAGE_TOKENS;
            for (size_t t = 0; t < KV_PAGE_TOKENS; t++) {
                s[t] = s[t] == -INFINITY ? 0 : s[t];
            }
        }
        return;
    }
    if (p->max[row] != -INFINITY && p->max[row] != max) {
        float factor = p->max[row];
        k->exp_sum(&factor, max, 1);
        p->sum[row] *= factor;
        for (size_t d = 0; d < p->w->value_dim; d++) {
            out[d] *= factor;
        }
    }
    p->max[row] = max;
    for (size_t i = 0; i < pages; i++) {
        p->sum[row] += k->exp_sum(score[i] + row * KV_PAGE_TOKENS, max, KV_PAGE_TOKENS);
    }
}

/* Pages [page, page + pages). */
static void take_group(struct piece *p, size_t page, size_t pages, float slope)
{
    const struct whole *w = p->w;
    const size_t q_stride = w->head_count * w->key_dim, out_stride = w->head_count * w->value_dim;
    ATTR_ALIGNED(64) scores score;
    size_t first, end;

    find_rows(p, page * KV_PAGE_TOKENS, (page + pages) * KV_PAGE_TOKENS, &first, &end);
    if (first == end) {
        return;
    }
    for (size_t i = 0; i < pages; i++) {
        const float *keys = page_of(p, page + i) + p->kv_head * w->key_dim * KV_PAGE_TOKENS;
        w->kernels->attn_score[KV_F32](p->q + first * q_stride, q_stride, end - first, keys,
                                       w->key_dim, w->scale, score[i] + first * KV_PAGE_TOKENS);
        for (size_t r = first; r < end; r++) {
            shape_row(p, r, (page + i) * KV_PAGE_TOKENS, slope, score[i] + r * KV_PAGE_TOKENS);
        }
    }
    for (size_t r = first; r < end; r++) {
        weigh_row(p, r, pages, score);
    }
    for (size_t i = 0; i < pages; i++) {
        size_t start = (page + i) * KV_PAGE_TOKENS;
        size_t count = size_min(p->keys - start, KV_PAGE_TOKENS);
        const float *values =
            (const float *)(const void *)((const uint8_t *)page_of(p, page + i) + w->v_offset);
        find_rows(p, start, start + count, &first, &end);
        w->kernels->attn_mix[KV_F32](score[i] + first * KV_PAGE_TOKENS, end - first,
                                     values + p->kv_head * w->value_dim * KV_PAGE_TOKENS,
                                     w->value_dim, 0, count, p->out + first * out_stride,
                                     out_stride);
    }
}

static float slope_of(const struct whole *w, size_t head)
{
    return w->alibi_bias != 0 ? model_alibi_slope(w->alibi_bias, w->head_count, head) : 0;
}

static void run_piece(void *arg, size_t index, size_t thread)
{
    const struct whole *w = arg;
    const struct whole_block *block = &w->blocks[index / w->head_count];
    const size_t head = index % w->head_count, first = block->first;
    const uint32_t seq = w->rows[first].seq;
    struct piece p = {
        .w = w,
        .rows = w->rows + first,
        .count = block->count,
        .seq = &w->seqs[seq],
        .keys = w->counts[seq],
        .head = head,
        .kv_head = head / (w->head_count / w->kv_head_count),
        .q = w->q + (first * w->head_count + head) * w->key_dim,
        .out = w->out + (first * w->head_count + head) * w->value_dim,
    };
    const size_t pages = (p.keys + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    const size_t out_stride = w->head_count * w->value_dim;
    const float slope = slope_of(w, head);

    (void)thread;
    for (size_t r = 0; r < p.count; r++) {
        p.max[r] = -INFINITY;
        p.sum[r] = 0;
        memset(p.out + r * out_stride, 0, w->value_dim * sizeof(float));
    }
    for (size_t page = 0; page < pages; page += GROUP_PAGES) {
        take_group(&p, page, size_min(pages - page, GROUP_PAGES), slope);
    }
    for (size_t r = 0; r < p.count; r++) {
        float inverse = 1.0f / p.sum[r];
        for (size_t d = 0; d < w->value_dim; d++) {
            p.out[r * out_stride + d] *= inverse;
        }
    }
}

size_t model_whole_blocks(size_t rows, size_t texts)
{
    return rows / WHOLE_BLOCK_ROWS + 2 * texts + 1;
}

/* Cut where the text changes and at every 16th position of it. */
static size_t cut_blocks(const struct whole *w)
{
    size_t count = 0;
    for (size_t row = 0; row < w->row_count; row++) {
        const struct model_row *at = &w->rows[row];
        bool is_new = row == 0 || at[-1].seq != at->seq || at->pos % WHOLE_BLOCK_ROWS == 0 ||
                      w->blocks[count - 1].count == WHOLE_BLOCK_ROWS;
        if (is_new) {
            w->blocks[count++] = (struct whole_block){.first = (uint32_t)row};
        }
        w->blocks[count - 1].count++;
    }
    return count;
}

void model_attend_whole(const struct whole *w, struct pool *pool)
{
    size_t blocks = cut_blocks(w), macs = 0;
    for (size_t i = 0; i < blocks; i++) {
        macs += (size_t)w->blocks[i].count * w->counts[w->rows[w->blocks[i].first].seq] *
                w->head_count * (w->key_dim + w->value_dim);
    }
    if (macs < ALONE_MACS) {
        for (size_t i = 0; i < blocks * w->head_count; i++) {
            run_piece((void *)(uintptr_t)w, i, 0);
        }
    } else {
        pool_run(pool, run_piece, (void *)(uintptr_t)w, blocks * w->head_count);
    }
}
