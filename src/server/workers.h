/* A few threads that do the heavy part of a request before it reaches the engine (parsing a body of
 * megabytes, rendering a template, tokenising), so that streams of others go on meanwhile. */
#ifndef SERVER_WORKERS_H
#define SERVER_WORKERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct server_workers;

struct server_job {
    void (*run)(void *arg);
    void *arg;
    struct server_job *next; /* the workers' */
};

struct server_workers *server_workers_create(size_t thread_count, struct err *err);

/* Runs the job on some thread, in order of arrival. The job must live until it runs. */
void server_workers_add(struct server_workers *workers, struct server_job *job);

/* Runs what was added, then ends the threads. NULL is fine. */
void server_workers_destroy(struct server_workers *workers);

#endif
