#include "server/workers.h"

#include <pthread.h>

#include "base/mem.h"

struct server_workers {
    pthread_mutex_t lock; /* first, last, stopping */
    pthread_cond_t has_job;
    struct server_job *first, *last;
    bool stopping;
    size_t thread_count;
    pthread_t threads[];
};

static void *run(void *arg)
{
    struct server_workers *workers = arg;
    pthread_mutex_lock(&workers->lock);
    for (;;) {
        while (!workers->first && !workers->stopping) {
            pthread_cond_wait(&workers->has_job, &workers->lock);
        }
        struct server_job *job = workers->first;
        if (!job) {
            break;
        }
        workers->first = job->next;
        if (!workers->first) {
            workers->last = NULL;
        }
        pthread_mutex_unlock(&workers->lock);
        job->run(job->arg);
        pthread_mutex_lock(&workers->lock);
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

struct server_workers *server_workers_create(size_t thread_count, struct err *err)
{
    struct server_workers *workers =
        mem_alloc(1, sizeof *workers + thread_count * sizeof workers->threads[0]);
    if (!workers) {
        err_set_memory(err, sizeof *workers);
        return NULL;
    }
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->has_job, NULL);
    for (size_t i = 0; i < thread_count; i++) {
        int fault = pthread_create(&workers->threads[i], NULL, run, workers);
        if (fault != 0) {
            err_set_errno(err, fault, "start a request thread");
            server_workers_destroy(workers);
            return NULL;
        }
        workers->thread_count++;
    }
    return workers;
}

void server_workers_add(struct server_workers *workers, struct server_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&workers->lock);
    if (workers->last) {
        workers->last->next = job;
    } else {
        workers->first = job;
    }
    workers->last = job;
    pthread_cond_signal(&workers->has_job);
    pthread_mutex_unlock(&workers->lock);
}

void server_workers_destroy(struct server_workers *workers)
{
    if (!workers) {
        return;
    }
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->has_job);
    pthread_mutex_unlock(&workers->lock);
    for (size_t i = 0; i < workers->thread_count; i++) {
        pthread_join(workers->threads[i], NULL);
    }
    pthread_mutex_destroy(&workers->lock);
    pthread_cond_destroy(&workers->has_job);
    mem_free(workers);
}
