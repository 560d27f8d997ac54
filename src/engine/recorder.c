/* Records as files: FOLDER/<seconds since 1970>-<number>.json */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os_private.h"
#include "engine/record.h"

struct waiting {
    struct buf record;
    struct waiting *next;
};

struct folder_recorder {
    struct engine_recorder base; /* first */
    char *folder;
    pthread_t thread;
    bool is_started;
    uint64_t number;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    struct waiting *first, *last;
    uint32_t count;
    uint64_t dropped;
    bool is_stopping;
};

static void write_one(struct folder_recorder *r, const struct buf *record)
{
    struct buf path = {0};
    struct err err = {0};
    buf_add_format(&path, "%s/%lld-%06" PRIu64 ".json", r->folder, (long long)time(NULL),
                   ++r->number);
    const struct os_part part = {record->ptr, record->len};
    bool ok = !path.failed && !record->failed && os_private_write(path.ptr, &part, 1, &err);
    if (!ok) {
        log_write(LOG_WARN, "a record cannot be written",
                  LOG_FIELDS(LOG_C("why", err.text[0] ? err.text : "out of memory")));
    }
    buf_deinit(&path);
}

static void *recorder_main(void *arg)
{
    struct folder_recorder *r = arg;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        struct waiting *next = r->first;
        if (next) {
            r->first = next->next;
            r->last = r->first ? r->last : NULL;
            r->count--;
            pthread_mutex_unlock(&r->lock);
            write_one(r, &next->record);
            buf_deinit(&next->record);
            mem_free(next);
            pthread_mutex_lock(&r->lock);
        } else if (r->is_stopping) {
            break;
        } else {
            pthread_cond_wait(&r->work, &r->lock);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void put(struct engine_recorder *recorder, struct str id, struct buf *record)
{
    struct folder_recorder *r = (struct folder_recorder *)recorder;
    struct waiting *node = MEM_NEW(struct waiting);
    (void)id;
    pthread_mutex_lock(&r->lock);
    const bool is_taken = node && r->count < ENGINE_RECORDS_WAITING_MAX;
    if (is_taken) {
        *node = (struct waiting){.record = *record};
        *(r->last ? &r->last->next : &r->first) = node;
        r->last = node;
        r->count++;
        pthread_cond_signal(&r->work);
    } else {
        r->dropped++;
    }
    const uint64_t dropped = r->dropped;
    pthread_mutex_unlock(&r->lock);
    if (!is_taken) {
        log_write(LOG_WARN, "a record is dropped: the disk is too slow",
                  LOG_FIELDS(LOG_I("dropped", dropped)));
        buf_deinit(record);
        mem_free(node);
    }
    *record = (struct buf){0};
}

struct engine_recorder *engine_recorder_open(const char *folder, bool only_asked, struct err *err)
{
    struct folder_recorder *r = MEM_NEW(struct folder_recorder);
    if (!r) {
        err_set_memory(err, sizeof *r);
        return NULL;
    }
    r->base = (struct engine_recorder){.put = put, .only_asked = only_asked};
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    r->folder = mem_copy(folder, strlen(folder));
    bool ok = r->folder ? os_private_folder(folder, err) : err_set_memory(err, strlen(folder));
    if (ok) {
        const int fault = pthread_create(&r->thread, NULL, recorder_main, r);
        ok = fault == 0 || err_set_errno(err, fault, "start the recorder's thread");
        r->is_started = ok;
    }
    if (!ok) {
        engine_recorder_close(&r->base);
        return NULL;
    }
    return &r->base;
}

void engine_recorder_close(struct engine_recorder *recorder)
{
    struct folder_recorder *r = (struct folder_recorder *)recorder;
    if (!r) {
        return;
    }
    if (r->is_started) {
        pthread_mutex_lock(&r->lock);
        r->is_stopping = true;
        pthread_cond_signal(&r->work);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
    }
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    mem_free(r->folder);
    mem_free(r);
}
