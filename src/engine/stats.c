/* Figures of the engine. The worker counts for itself and adds up once per step under the lock. */
#include <string.h>

#include "engine/state.h"

const double engine_bucket_s[ENGINE_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                0.25,  0.5,    1,     2.5,  5,     10,   30};

void engine_histogram_add(struct engine_histogram *histogram, double seconds)
{
    size_t bucket = 0;
    while (bucket < ENGINE_BUCKETS && seconds > engine_bucket_s[bucket]) {
        bucket++;
    }
    histogram->counts[bucket]++;
    histogram->sum += seconds;
    histogram->total++;
}

static void add_histogram(struct engine_histogram *sum, const struct engine_histogram *part)
{
    for (size_t i = 0; i <= ENGINE_BUCKETS; i++) {
        sum->counts[i] += part->counts[i];
    }
    sum->sum += part->sum;
    sum->total += part->total;
}

void engine_stats_add(struct engine *engine)
{
    struct engine_stats *part = &engine->step_stats, *sum = &engine->stats;
    pthread_mutex_lock(&engine->lock);
    sum->finished_stop += part->finished_stop;
    sum->finished_length += part->finished_length;
    sum->cancelled += part->cancelled;
    sum->failed += part->failed;
    sum->prompt_tokens += part->prompt_tokens;
    sum->completion_tokens += part->completion_tokens;
    sum->steps += part->steps;
    sum->preempted += part->preempted;
    sum->drafted += part->drafted;
    sum->accepted += part->accepted;
    sum->cached_tokens += part->cached_tokens;
    add_histogram(&sum->ttft, &part->ttft);
    add_histogram(&sum->inter_token, &part->inter_token);
    add_histogram(&sum->queue_wait, &part->queue_wait);
    sum->running = engine->running_count;
    sum->pages_used = engine_cache_used(&engine->cache);
    sum->pages_cached = engine->cache.idle_count;
    sum->pages_total = engine->cache.pages.total;
    pthread_mutex_unlock(&engine->lock);
    *part = (struct engine_stats){0};
}

void engine_stats_read(struct engine *engine, struct engine_stats *out)
{
    pthread_mutex_lock(&engine->lock);
    *out = engine->stats;
    out->waiting = engine->lanes.waiting;
    pthread_mutex_unlock(&engine->lock);
}
