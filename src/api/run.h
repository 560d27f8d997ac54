/* One generation from body to answer, whoever waits for it: a connection, a response that runs in
 * the background, a line of a batch. It has no thread and no lock of its own; one caller at a time
 * touches it.
 *
 *     parse -> resolve -> ask -> submit -> drain ... drain -> commit -> the dialect's end or whole
 *
 * Between ask and submit a model may have to be loaded; api_run_poll tells how far that is.
 * parse, resolve, submit and commit may take long (a body of megabytes, a template, the disk) and
 * belong on a worker's thread; drain does not wait. */
#ifndef API_RUN_H
#define API_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/interval.h"
#include "api/render.h"
#include "api/request.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "engine/engine.h"
#include "route/registry.h"
#include "store/store.h"

/* Where what shall survive the process is kept. */
struct api_keep {
    struct store *store;         /* NULL: nowhere, because of `lack` */
    const char *lack;            /* "--data-dir is none" */
    const char *blobs_folder;    /* of uploaded model files; NULL: nowhere, for the same reason */
    struct api_digests *digests; /* of model files */
    uint64_t days;               /* that answers are kept; 0: until they are deleted */
};

/* For whom a run is, and who is told of its events. */
struct api_run_owner {
    struct route_registry *registry;
    const struct api_keep *keep;
    struct str id;                   /* of the HTTP request, for logs */
    struct str tenant;               /* digest of the API key; empty: none */
    void (*notify)(void *arg);       /* from the engine's thread, or the registry's while the model
                                        is loaded; may only wake somebody */
    bool (*is_abandoned)(void *arg); /* asked between steps that take long; NULL: never */
    void *arg;
};

struct api_run {
    const struct api_dialect *dialect;
    struct api_run_owner owner;
    struct gen_request request;
    struct api_render render;
    int64_t asked_ns;      /* when the model was asked for */
    struct route_use *use; /* of the model; NULL before ask, and for a request that unloads it */
    struct engine_stream **streams; /* [stream_count], one per choice */
    struct api_interval *intervals; /* [stream_count] of a request with stream_interval; NULL */
    size_t stream_count;
    size_t next_choice; /* whose turn it is to be read first */
};

/* An all-zero run may be closed. */
bool api_run_parse(struct api_run *run, const struct api_dialect *dialect, struct str body,
                   struct err *err);

/* Reads what the request refers to, finds the model and has it loaded if it is not. Keeps a copy of
 * *owner. */
bool api_run_ask(struct api_run *run, const struct api_run_owner *owner, struct err *err);

/* Of a run that has asked: WAITING for its model with the progress of the load (0 to 1), READY to
 * be submitted, or FAILED. Does not wait. */
enum route_use_state api_run_poll(const struct api_run *run, double *progress, struct err *err);

/* Asks if that was not done, waits for the model, makes tokens of the prompts and hands one
 * sequence per choice to the engine. False without an error when it was abandoned. From here on
 * the run stays where it is. */
bool api_run_submit(struct api_run *run, const struct api_run_owner *owner, struct err *err);

/* Takes events of all choices in turns until there are none or `out` has `bytes_max`; renders them
 * when the request streams. False with *failure when the generation cannot go on. */
bool api_run_drain(struct api_run *run, size_t bytes_max, struct buf *out, struct err *failure);

bool api_run_is_done(const struct api_run *run);

/* The answer must be put on the disk, with api_run_commit, before it is told. */
bool api_run_must_commit(const struct api_run *run);
bool api_run_commit(struct api_run *run, struct err *err);

/* Nobody waits any more, or `failure` ended it: what is kept of it says so. */
void api_run_abandon(struct api_run *run, const struct err *failure);

/* Cancels what runs and gives its streams back; may wait for a step of the engine. */
void api_run_stop(struct api_run *run);

/* Stops and frees everything. */
void api_run_close(struct api_run *run);

#endif
