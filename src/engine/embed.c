/*     submit   ->   tasks:  A a0 a1 a2 a3    B b0    C c0 c1
 *     worker        batch:  a0 b0 c0 a1 c1 a2 ...            one of each task in turns
 *
 * Batches are kept to a few hundred tokens: more would not be faster, and whoever comes next waits
 * for the end of the batch that runs. A text that is longer is a batch of its own.
 *
 * A task belongs to its caller; the worker touches it only under the lock, except for the results
 * of the batch that runs, which the caller reads after the end. Closing a task of which texts are
 * in the running batch waits for the batch. */
#include "engine/embed.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/size.h"

enum { BATCH_ROWS = 512 };

struct engine_embed_task {
    struct engine_embed *embed;
    text_id *ids;                     /* [all tokens], owned */
    struct model_encoder_text *texts; /* [count], owned */
    float **out;                      /* [count] into `vectors`, owned */
    float *vectors;                   /* owned */
    size_t count;
    void (*notify)(void *arg);
    void *notify_arg;
    int64_t submitted_ns, started_ns, ended_ns;

    /* under the lock of the engine */
    size_t taken, done; /* texts that are in a batch, or through one */
    bool is_done, is_notifying;
    struct err failure;
    struct engine_embed_task *next; /* in the queue, while texts are to be taken */
};

/* A text of the batch. */
struct place {
    struct engine_embed_task *task;
    size_t index;
};

struct engine_embed {
    struct model_encoder *encoder;
    const struct model_encoder_info *info;
    uint32_t queue_max;
    pthread_t worker;
    bool is_started;
    float *results; /* worker: of a batch */
    struct place places[MODEL_ENCODER_TEXTS_MAX];
    size_t place_count;

    pthread_mutex_t lock; /* guards what follows, and the second half of tasks */
    pthread_cond_t work, changed;
    struct engine_embed_task *first, *last;
    bool is_stopping;
    struct engine_embed_stats stats;
};

static size_t width_of(const struct engine_embed *embed, size_t tokens)
{
    size_t rows = embed->info->pooling == MODEL_ENCODER_NONE ? tokens : 1;
    return rows * embed->info->width;
}

/* ---- worker ---- */

static void push(struct engine_embed *embed, struct engine_embed_task *task)
{
    task->next = NULL;
    if (embed->last) {
        embed->last->next = task;
    } else {
        embed->first = task;
    }
    embed->last = task;
}

static struct engine_embed_task *pop(struct engine_embed *embed)
{
    struct engine_embed_task *task = embed->first;
    embed->first = task->next;
    if (!embed->first) {
        embed->last = NULL;
    }
    return task;
}

static void unlink_task(struct engine_embed *embed, struct engine_embed_task *task)
{
    struct engine_embed_task **link = &embed->first, *previous = NULL;
    while (*link && *link != task) {
        previous = *link;
        link = &(*link)->next;
    }
    if (*link) {
        *link = task->next;
        embed->last = embed->last == task ? previous : embed->last;
    }
}

/* One text of each task in turns. Lock held. */
static size_t fill_batch(struct engine_embed *embed, struct model_encoder_text *texts)
{
    size_t rows = 0;
    embed->place_count = 0;
    while (embed->first && embed->place_count < MODEL_ENCODER_TEXTS_MAX) {
        struct engine_embed_task *task = embed->first;
        const struct model_encoder_text *text = &task->texts[task->taken];
        if (rows > 0 && rows + text->count > BATCH_ROWS) {
            break;
        }
        pop(embed);
        rows += text->count;
        texts[embed->place_count] = *text;
        embed->places[embed->place_count++] = (struct place){task, task->taken++};
        if (task->started_ns == 0) {
            task->started_ns = clock_now_ns();
        }
        if (task->taken < task->count) {
            push(embed, task);
        }
    }
    return rows;
}

/* Tells a task's end; the lock is let go of meanwhile. */
static void end_task(struct engine_embed *embed, struct engine_embed_task *task)
{
    task->ended_ns = clock_now_ns();
    task->is_done = true;
    embed->stats.waiting--;
    if (task->notify) {
        task->is_notifying = true;
        pthread_mutex_unlock(&embed->lock);
        task->notify(task->notify_arg);
        pthread_mutex_lock(&embed->lock);
        task->is_notifying = false;
    }
    pthread_cond_broadcast(&embed->changed);
}

static void keep_results(struct engine_embed *embed, const struct model_encoder_text *texts)
{
    const float *from = embed->results;
    for (size_t i = 0; i < embed->place_count; i++) {
        const struct place *place = &embed->places[i];
        size_t width = width_of(embed, texts[i].count);
        memcpy(place->task->out[place->index], from, width * sizeof *from);
        from += width;
    }
}

static void run_batch(struct engine_embed *embed)
{
    struct model_encoder_text texts[MODEL_ENCODER_TEXTS_MAX];
    size_t rows = fill_batch(embed, texts);
    pthread_mutex_unlock(&embed->lock);
    model_encoder_run(embed->encoder, texts, embed->place_count, embed->results);
    keep_results(embed, texts);
    pthread_mutex_lock(&embed->lock);
    embed->stats.batches++;
    embed->stats.tokens += rows;
    embed->stats.texts += embed->place_count;
    for (size_t i = 0; i < embed->place_count; i++) {
        struct engine_embed_task *task = embed->places[i].task;
        task->done++;
        if (task->done == task->count) {
            end_task(embed, task); /* all its places are behind us */
        }
    }
    embed->place_count = 0;
    pthread_cond_broadcast(&embed->changed);
}

static void *work(void *arg)
{
    struct engine_embed *embed = arg;
    pthread_mutex_lock(&embed->lock);
    for (;;) {
        while (!embed->first && !embed->is_stopping) {
            pthread_cond_wait(&embed->work, &embed->lock);
        }
        if (embed->is_stopping) {
            break;
        }
        run_batch(embed);
    }
    while (embed->first) {
        struct engine_embed_task *task = pop(embed);
        err_set(&task->failure, ERR_BUSY, "the server is stopping");
        end_task(embed, task);
    }
    pthread_mutex_unlock(&embed->lock);
    return NULL;
}

/* ---- life ---- */

struct engine_embed *engine_embed_create(const struct engine_embed_params *params, struct err *err)
{
    struct engine_embed *embed = MEM_NEW(struct engine_embed);
    if (!embed) {
        err_set_memory(err, sizeof *embed);
        return NULL;
    }
    pthread_mutex_init(&embed->lock, NULL);
    pthread_cond_init(&embed->work, NULL);
    pthread_cond_init(&embed->changed, NULL);
    embed->queue_max = params->queue_max ? params->queue_max : ENGINE_EMBED_QUEUE;
    embed->encoder = model_encoder_create(params->model, &params->encoder, err);
    if (!embed->encoder) {
        engine_embed_destroy(embed);
        return NULL;
    }
    embed->info = model_encoder_info(embed->encoder);
    size_t rows = embed->info->pooling == MODEL_ENCODER_NONE
                      ? size_max(embed->info->tokens_max, BATCH_ROWS)
                      : MODEL_ENCODER_TEXTS_MAX;
    embed->results = mem_alloc(rows * embed->info->width, sizeof *embed->results);
    if (!embed->results) {
        err_set_memory(err, rows * embed->info->width * sizeof *embed->results);
        engine_embed_destroy(embed);
        return NULL;
    }
    int fault = pthread_create(&embed->worker, NULL, work, embed);
    if (fault) {
        err_set_errno(err, fault, "start the encoder's thread");
        engine_embed_destroy(embed);
        return NULL;
    }
    embed->is_started = true;
    return embed;
}

void engine_embed_destroy(struct engine_embed *embed)
{
    if (!embed) {
        return;
    }
    if (embed->is_started) {
        pthread_mutex_lock(&embed->lock);
        embed->is_stopping = true;
        pthread_cond_broadcast(&embed->work);
        pthread_mutex_unlock(&embed->lock);
        pthread_join(embed->worker, NULL);
    }
    model_encoder_destroy(embed->encoder);
    mem_free(embed->results);
    pthread_cond_destroy(&embed->changed);
    pthread_cond_destroy(&embed->work);
    pthread_mutex_destroy(&embed->lock);
    mem_free(embed);
}

const struct model_encoder_info *engine_embed_info(const struct engine_embed *embed)
{
    return embed->info;
}

/* ---- tasks ---- */

static bool check_texts(const struct engine_embed *embed, const struct engine_embed_text *texts,
                        size_t count, size_t *tokens, struct err *err)
{
    *tokens = 0;
    if (count == 0 || count > ENGINE_EMBED_TEXTS) {
        return err_set(err, ERR_INVALID, "%zu texts, 1 to %d are allowed", count,
                       ENGINE_EMBED_TEXTS);
    }
    for (size_t i = 0; i < count; i++) {
        if (texts[i].count == 0) {
            return err_set(err, ERR_INVALID, "text %zu has no tokens", i);
        }
        if (texts[i].count > embed->info->tokens_max) {
            return err_set(err, ERR_CONTEXT,
                           "text %zu has %zu tokens, but the model reads at most %u", i,
                           texts[i].count, embed->info->tokens_max);
        }
        *tokens += texts[i].count;
    }
    return true;
}

static void free_task(struct engine_embed_task *task)
{
    mem_free(task->ids);
    mem_free(task->texts);
    mem_free(task->out);
    mem_free(task->vectors);
    mem_free(task);
}

static struct engine_embed_task *copy_texts(struct engine_embed *embed,
                                            const struct engine_embed_text *texts, size_t count,
                                            size_t tokens, struct err *err)
{
    size_t rows = embed->info->pooling == MODEL_ENCODER_NONE ? tokens : count;
    struct engine_embed_task *task = MEM_NEW(struct engine_embed_task);
    if (task) {
        task->ids = mem_alloc(tokens, sizeof *task->ids);
        task->texts = mem_alloc(count, sizeof *task->texts);
        task->out = mem_alloc(count, sizeof *task->out);
        task->vectors = mem_alloc(rows * embed->info->width, sizeof *task->vectors);
    }
    if (!task || !task->ids || !task->texts || !task->out || !task->vectors) {
        err_set_memory(err, tokens * sizeof(text_id) + rows * embed->info->width * sizeof(float));
        if (task) {
            free_task(task);
        }
        return NULL;
    }
    text_id *ids = task->ids;
    float *out = task->vectors;
    for (size_t i = 0; i < count; i++) {
        memcpy(ids, texts[i].ids, texts[i].count * sizeof *ids);
        task->texts[i] = (struct model_encoder_text){ids, texts[i].count, texts[i].second_at};
        task->out[i] = out;
        ids += texts[i].count;
        out += width_of(embed, texts[i].count);
    }
    task->embed = embed;
    task->count = count;
    return task;
}

struct engine_embed_task *engine_embed_submit(struct engine_embed *embed,
                                              const struct engine_embed_text *texts, size_t count,
                                              void (*notify)(void *arg), void *notify_arg,
                                              struct err *err)
{
    size_t tokens;
    struct engine_embed_task *task = NULL;
    if (check_texts(embed, texts, count, &tokens, err)) {
        task = copy_texts(embed, texts, count, tokens, err);
    }
    if (!task) {
        return NULL;
    }
    task->notify = notify;
    task->notify_arg = notify_arg;
    task->submitted_ns = clock_now_ns();
    pthread_mutex_lock(&embed->lock);
    bool is_full = embed->stats.waiting >= embed->queue_max, stops = embed->is_stopping;
    if (is_full || stops) {
        embed->stats.rejected++;
    } else {
        embed->stats.tasks++;
        embed->stats.waiting++;
        push(embed, task);
        pthread_cond_signal(&embed->work);
    }
    pthread_mutex_unlock(&embed->lock);
    if (is_full || stops) {
        free_task(task);
        err_set(err, ERR_BUSY, stops ? "the server is stopping" : "too many texts are waiting");
        return NULL;
    }
    return task;
}

bool engine_embed_is_done(struct engine_embed_task *task, struct err *failure)
{
    pthread_mutex_lock(&task->embed->lock);
    bool is_done = task->is_done;
    *failure = task->failure;
    pthread_mutex_unlock(&task->embed->lock);
    return is_done;
}

bool engine_embed_wait(struct engine_embed_task *task, struct err *failure)
{
    pthread_mutex_lock(&task->embed->lock);
    while (!task->is_done) {
        pthread_cond_wait(&task->embed->changed, &task->embed->lock);
    }
    *failure = task->failure;
    pthread_mutex_unlock(&task->embed->lock);
    return failure->code == ERR_NONE;
}

const float *engine_embed_vectors(const struct engine_embed_task *task)
{
    return task->vectors;
}

struct engine_embed_timing engine_embed_timing(const struct engine_embed_task *task)
{
    return (struct engine_embed_timing){
        .queue_ms = (double)(task->started_ns - task->submitted_ns) / 1e6,
        .run_ms = (double)(task->ended_ns - task->started_ns) / 1e6};
}

static bool is_in_batch(const struct engine_embed *embed, const struct engine_embed_task *task)
{
    for (size_t i = 0; i < embed->place_count; i++) {
        if (embed->places[i].task == task) {
            return true;
        }
    }
    return false;
}

void engine_embed_close(struct engine_embed_task *task)
{
    if (!task) {
        return;
    }
    struct engine_embed *embed = task->embed;
    pthread_mutex_lock(&embed->lock);
    unlink_task(embed, task);
    while (is_in_batch(embed, task) || task->is_notifying) {
        task->notify = NULL;
        pthread_cond_wait(&embed->changed, &embed->lock);
        unlink_task(embed, task);
    }
    embed->stats.waiting -= !task->is_done;
    pthread_mutex_unlock(&embed->lock);
    free_task(task);
}

/* ---- the rest ---- */

void engine_embed_stats_read(struct engine_embed *embed, struct engine_embed_stats *out)
{
    pthread_mutex_lock(&embed->lock);
    *out = embed->stats;
    pthread_mutex_unlock(&embed->lock);
}

void engine_embed_normalize(float *vector, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)vector[i] * (double)vector[i];
    }
    if (!(sum > 0) || isinf(sum)) {
        return;
    }
    double inverse = 1 / sqrt(sum);
    for (size_t i = 0; i < count; i++) {
        vector[i] = (float)((double)vector[i] * inverse);
    }
}
