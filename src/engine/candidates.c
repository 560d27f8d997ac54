#include "engine/candidates.h"

#include <math.h>

void engine_candidates_fill(struct engine_candidates *c, const float *logits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        c->items[i] = (struct engine_candidate){.id = (int32_t)i, .logit = logits[i]};
    }
    c->count = count;
    c->is_sorted = false;
}

float engine_candidates_max(const struct engine_candidates *c)
{
    float max = -INFINITY;
    size_t looked = c->is_sorted && c->count > 1 ? 1 : c->count;
    for (size_t i = 0; i < looked; i++) {
        max = c->items[i].logit > max ? c->items[i].logit : max;
    }
    return max;
}

void engine_candidates_softmax(struct engine_candidates *c)
{
    const float max = engine_candidates_max(c);
    double sum = 0;
    for (size_t i = 0; i < c->count; i++) {
        float distance = c->items[i].logit - max;
        /* expf is 0 below -103.98; the test spares the call for most of a vocabulary. It is also
         * false for NaN, which is what -inf minus -inf gives. */
        c->items[i].p = distance > -104.0f ? expf(distance) : 0.0f;
        sum += (double)c->items[i].p;
    }
    const double scale = sum > 0 ? 1 / sum : 0;
    for (size_t i = 0; i < c->count; i++) {
        c->items[i].p = (float)((double)c->items[i].p * scale);
    }
}

double engine_candidates_entropy(const struct engine_candidates *c)
{
    double entropy = 0;
    for (size_t i = 0; i < c->count; i++) {
        double p = (double)c->items[i].p;
        if (p > 0) {
            entropy -= p * log(p);
        }
    }
    return entropy;
}

/* ---- heap ---- */

static inline bool is_before(const struct engine_candidate *a, const struct engine_candidate *b)
{
    return a->key > b->key || (a->key == b->key && a->id < b->id);
}

static inline void swap(struct engine_candidate *a, struct engine_candidate *b)
{
    struct engine_candidate kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_down(struct engine_candidate *items, size_t count, size_t at)
{
    struct engine_candidate moved = items[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && is_before(&items[child + 1], &items[child])) {
            child++;
        }
        if (!is_before(&items[child], &moved)) {
            break;
        }
        items[at] = items[child];
        at = child;
    }
    items[at] = moved;
}

void engine_heap_build(struct engine_candidate *items, size_t count)
{
    for (size_t at = count / 2; at-- > 0;) {
        sift_down(items, count, at);
    }
}

void engine_heap_take(struct engine_candidate *items, size_t count)
{
    swap(&items[0], &items[count - 1]);
    sift_down(items, count - 1, 0);
}

void engine_heap_keep(struct engine_candidates *c, size_t keep)
{
    /* Taken candidates stand at the end, the best one last: turn the whole array round. */
    for (size_t i = 0, j = c->count; i + 1 < j; i++) {
        swap(&c->items[i], &c->items[--j]);
    }
    c->count = keep;
}

void engine_candidates_keep_best(struct engine_candidates *c, size_t keep)
{
    if (keep > c->count) {
        keep = c->count;
    }
    if (c->is_sorted) {
        c->count = keep;
        return;
    }
    for (size_t i = 0; i < c->count; i++) {
        c->items[i].key = c->items[i].logit;
    }
    engine_heap_build(c->items, c->count);
    for (size_t taken = 0; taken < keep; taken++) {
        engine_heap_take(c->items, c->count - taken);
    }
    engine_heap_keep(c, keep);
    c->is_sorted = true;
}
