/* The channel from the worker to one reader: a list of events, and the cancel flag that goes the
 * other way. The worker and the reader each hold one reference.
 *
 *     worker                     lock                        reader
 *     engine_stream_emit   ->    events ... events     ->    engine_next, engine_wait
 *     engine_stream_finish ->    last event
 *     is_cancelled         <-                          <-    engine_cancel, engine_stream_close
 *
 * Lock order: the lock of a stream, then the lock of the engine. The worker takes neither while it
 * holds the other, and holds none while it calls notify. */
#ifndef ENGINE_STREAM_H
#define ENGINE_STREAM_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "engine/engine.h"

struct engine_event_node {
    struct engine_event event;
    struct engine_event_node *next;
};

struct engine_stream {
    struct arena arena; /* the copy of the request; constant after submit */
    void (*notify)(void *arg);
    void *notify_arg;
    atomic_bool is_cancelled;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct engine *engine; /* NULL once the sequence has ended */
    struct engine_event_node *first, *newest;
    size_t event_count;
    struct engine_event_node *last; /* made ahead, so that an end can always be told */
    enum engine_event_kind last_kind;
    bool is_closed, is_notifying;
    unsigned refs;
};

/* With two references. */
struct engine_stream *engine_stream_create(struct engine *engine, void (*notify)(void *arg),
                                           void *notify_arg, struct err *err);
void engine_stream_unref(struct engine_stream *stream);

/* Text and tokens (NULL without log probabilities; token_count then still counts). Copies. False
 * when out of memory. */
bool engine_stream_emit(struct engine_stream *stream, struct str text,
                        const struct engine_token *tokens, size_t token_count, bool is_prompt);

/* Tells a reader its place among those that wait. Without memory it is not told. */
void engine_stream_place(struct engine_stream *stream, uint32_t ahead, uint32_t eta_s);

/* The last event; *event is moved. */
void engine_stream_finish(struct engine_stream *stream, const struct engine_event *event);

#endif
