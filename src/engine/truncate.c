#include "engine/truncate.h"

#include <math.h>

void engine_top_n_sigma(struct engine_candidates *c, float n)
{
    if (n <= 0 || c->count <= 1) {
        return;
    }
    double sum = 0, squares = 0;
    size_t valid = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].logit != -INFINITY) {
            sum += (double)c->items[i].logit;
            valid++;
        }
    }
    const double mean = valid ? sum / (double)valid : 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].logit != -INFINITY) {
            double d = (double)c->items[i].logit - mean;
            squares += d * d;
        }
    }
    const double deviation = valid ? sqrt(squares / (double)valid) : 0;
    const double least = (double)engine_candidates_max(c) - (double)n * deviation;
    for (size_t i = 0; i < c->count; i++) {
        if ((double)c->items[i].logit < least) {
            c->items[i].logit = -INFINITY;
        }
    }
}

void engine_top_k(struct engine_candidates *c, size_t k)
{
    if (k > 0) {
        engine_candidates_keep_best(c, k);
    }
}

/* Takes candidates in the order of their keys until their mass says enough. Returns how many. */
static size_t take_mass(struct engine_candidates *c, double mass, bool is_strict, size_t min_keep)
{
    double sum = 0;
    size_t taken = 0;
    engine_heap_build(c->items, c->count);
    while (taken < c->count) {
        engine_heap_take(c->items, c->count - taken);
        taken++;
        sum += (double)c->items[c->count - taken].p;
        bool is_enough = is_strict ? sum > mass : sum >= mass;
        if (is_enough && taken >= min_keep) {
            break;
        }
    }
    return taken;
}

void engine_typical(struct engine_candidates *c, float p, size_t min_keep)
{
    if (p >= 1) {
        return;
    }
    engine_candidates_softmax(c);
    const double entropy = engine_candidates_entropy(c);
    for (size_t i = 0; i < c->count; i++) {
        double surprise = c->items[i].p > 0 ? -log((double)c->items[i].p) : INFINITY;
        c->items[i].key = (float)-fabs(surprise - entropy);
    }
    size_t kept = take_mass(c, (double)p, true, min_keep);
    engine_heap_keep(c, kept);
    c->is_sorted = false;
}

void engine_top_p(struct engine_candidates *c, float p, size_t min_keep)
{
    if (p >= 1) {
        return;
    }
    engine_candidates_softmax(c);
    if (c->is_sorted) {
        double sum = 0;
        for (size_t i = 0; i < c->count; i++) {
            sum += (double)c->items[i].p;
            if (sum >= (double)p && i + 1 >= min_keep) {
                c->count = i + 1;
                break;
            }
        }
        return;
    }
    for (size_t i = 0; i < c->count; i++) {
        c->items[i].key = c->items[i].logit;
    }
    size_t kept = take_mass(c, (double)p, false, min_keep);
    engine_heap_keep(c, kept);
    c->is_sorted = true;
}

void engine_min_p(struct engine_candidates *c, float p, size_t min_keep)
{
    if (p <= 0 || c->count == 0) {
        return;
    }
    const float least = engine_candidates_max(c) + logf(p);
    size_t passing = 0;
    for (size_t i = 0; i < c->count; i++) {
        passing += c->items[i].logit >= least;
    }
    if (passing < min_keep) {
        engine_candidates_keep_best(c, min_keep);
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].logit >= least) {
            c->items[kept++] = c->items[i];
        }
    }
    c->count = kept;
}

void engine_xtc(struct engine_candidates *c, float threshold, size_t min_keep)
{
    if (threshold > 0.5f || c->count < 2) {
        return;
    }
    engine_candidates_softmax(c);
    size_t above = 0, least = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].p < threshold || c->items[i].logit == -INFINITY) {
            continue;
        }
        /* The last one in sorted order: smallest logit, among equals the largest id. */
        if (above++ == 0 || c->items[i].logit < c->items[least].logit ||
            (c->items[i].logit == c->items[least].logit && c->items[i].id > c->items[least].id)) {
            least = i;
        }
    }
    if (above < 2 || c->count - (above - 1) < min_keep) {
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < c->count; i++) {
        bool is_top = c->items[i].p >= threshold && c->items[i].logit != -INFINITY;
        if (!is_top || i == least) {
            c->items[kept++] = c->items[i];
        }
    }
    c->count = kept;
}
