#include "engine/stream.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "engine/state.h"

struct engine_stream *engine_stream_create(struct engine *engine, void (*notify)(void *arg),
                                           void *notify_arg, struct err *err)
{
    struct engine_stream *stream = MEM_NEW(struct engine_stream);
    struct engine_event_node *last = MEM_NEW(struct engine_event_node);
    if (!stream || !last) {
        mem_free(stream);
        mem_free(last);
        err_set_memory(err, sizeof *stream + sizeof *last);
        return NULL;
    }
    stream->arena = arena_init(0);
    stream->notify = notify;
    stream->notify_arg = notify_arg;
    stream->engine = engine;
    stream->last = last;
    stream->refs = 2;
    atomic_init(&stream->is_cancelled, false);
    pthread_mutex_init(&stream->lock, NULL);
    pthread_cond_init(&stream->changed, NULL);
    return stream;
}

void engine_event_deinit(struct engine_event *event)
{
    buf_deinit(&event->text);
    mem_free(event->tokens);
    event->tokens = NULL;
    event->token_count = 0;
}

static void drop_events(struct engine_stream *stream)
{
    while (stream->first) {
        struct engine_event_node *node = stream->first;
        stream->first = node->next;
        engine_event_deinit(&node->event);
        mem_free(node);
    }
    stream->newest = NULL;
    stream->event_count = 0;
}

void engine_stream_unref(struct engine_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    assert(stream->refs > 0);
    bool is_last = --stream->refs == 0;
    pthread_mutex_unlock(&stream->lock);
    if (is_last) {
        drop_events(stream);
        mem_free(stream->last);
        arena_deinit(&stream->arena);
        pthread_cond_destroy(&stream->changed);
        pthread_mutex_destroy(&stream->lock);
        mem_free(stream);
    }
}

/* ---- worker ---- */

/* Called with the lock held; returns without it. */
static void announce(struct engine_stream *stream)
{
    pthread_cond_broadcast(&stream->changed);
    if (!stream->notify || stream->is_closed) {
        pthread_mutex_unlock(&stream->lock);
        return;
    }
    stream->is_notifying = true;
    pthread_mutex_unlock(&stream->lock);
    stream->notify(stream->notify_arg);
    pthread_mutex_lock(&stream->lock);
    stream->is_notifying = false;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

static void append(struct engine_stream *stream, struct engine_event_node *node)
{
    node->next = NULL;
    if (stream->newest) {
        stream->newest->next = node;
    } else {
        stream->first = node;
    }
    stream->newest = node;
    stream->event_count++;
}

/* The event that new text joins, when the reader is behind; else a new one. NULL: no memory. */
static struct engine_event *find_event(struct engine_stream *stream, bool is_prompt)
{
    if (stream->event_count >= ENGINE_EVENTS_APART &&
        stream->newest->event.kind == ENGINE_EVENT_TOKENS &&
        stream->newest->event.is_prompt == is_prompt) {
        return &stream->newest->event;
    }
    struct engine_event_node *node = MEM_NEW(struct engine_event_node);
    if (!node) {
        return NULL;
    }
    node->event.kind = ENGINE_EVENT_TOKENS;
    node->event.is_prompt = is_prompt;
    append(stream, node);
    return &node->event;
}

static bool extend(struct engine_event *event, struct str text, const struct engine_token *tokens,
                   size_t token_count)
{
    if (tokens && token_count) {
        size_t count = event->token_count + token_count;
        struct engine_token *grown = mem_resize(event->tokens, count, sizeof *grown);
        if (!grown) {
            return false;
        }
        memcpy(grown + event->token_count, tokens, token_count * sizeof *grown);
        event->tokens = grown;
    }
    event->token_count += token_count;
    buf_add(&event->text, text);
    return !event->text.failed;
}

bool engine_stream_emit(struct engine_stream *stream, struct str text,
                        const struct engine_token *tokens, size_t token_count, bool is_prompt)
{
    pthread_mutex_lock(&stream->lock);
    if (stream->is_closed) {
        pthread_mutex_unlock(&stream->lock);
        return true;
    }
    struct engine_event *event = find_event(stream, is_prompt);
    if (!event || !extend(event, text, tokens, token_count)) {
        pthread_mutex_unlock(&stream->lock);
        return false;
    }
    announce(stream);
    return true;
}

void engine_stream_place(struct engine_stream *stream, uint32_t ahead, uint32_t eta_s)
{
    pthread_mutex_lock(&stream->lock);
    struct engine_event_node *node = stream->newest; /* an unread place is replaced */
    if (stream->is_closed || (!node && !(node = MEM_NEW(struct engine_event_node)))) {
        pthread_mutex_unlock(&stream->lock);
        return;
    }
    if (!stream->newest) {
        append(stream, node);
    }
    node->event =
        (struct engine_event){.kind = ENGINE_EVENT_QUEUED, .ahead = ahead, .eta_s = eta_s};
    announce(stream);
}

void engine_stream_finish(struct engine_stream *stream, const struct engine_event *event)
{
    pthread_mutex_lock(&stream->lock);
    stream->engine = NULL;
    stream->last->event = *event;
    stream->last_kind = event->kind;
    append(stream, stream->last);
    stream->last = NULL;
    announce(stream);
}

/* ---- reader ---- */

static bool take(struct engine_stream *stream, struct engine_event *event)
{
    struct engine_event_node *node = stream->first;
    if (!node) {
        return false;
    }
    stream->first = node->next;
    if (!stream->first) {
        stream->newest = NULL;
    }
    stream->event_count--;
    *event = node->event;
    mem_free(node);
    return true;
}

bool engine_next(struct engine_stream *stream, struct engine_event *event)
{
    pthread_mutex_lock(&stream->lock);
    bool is_there = take(stream, event);
    pthread_mutex_unlock(&stream->lock);
    return is_there;
}

void engine_wait(struct engine_stream *stream, struct engine_event *event)
{
    pthread_mutex_lock(&stream->lock);
    while (!take(stream, event)) {
        if (!stream->engine) {
            *event = (struct engine_event){.kind = stream->last_kind, .finish = ENGINE_CANCELLED};
            break;
        }
        pthread_cond_wait(&stream->changed, &stream->lock);
    }
    pthread_mutex_unlock(&stream->lock);
}

void engine_cancel(struct engine_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    if (stream->engine && !atomic_exchange(&stream->is_cancelled, true)) {
        engine_wake(stream->engine);
    }
    pthread_mutex_unlock(&stream->lock);
}

void engine_stream_close(struct engine_stream *stream)
{
    if (!stream) {
        return;
    }
    engine_cancel(stream);
    pthread_mutex_lock(&stream->lock);
    stream->is_closed = true;
    while (stream->is_notifying) {
        pthread_cond_wait(&stream->changed, &stream->lock);
    }
    drop_events(stream);
    pthread_mutex_unlock(&stream->lock);
    engine_stream_unref(stream);
}
