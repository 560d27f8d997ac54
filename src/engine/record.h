/* Records of answers: all that an answer followed from, and the answer, as one JSON text, so that
 * it can be made again and compared (hearth replay). See record.c for the format. */
#ifndef ENGINE_RECORD_H
#define ENGINE_RECORD_H

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "engine/engine.h"

/* Where records go. `put` is called from the worker of an engine, takes the text (which may have
 * failed) and must not wait. */
struct engine_recorder {
    void (*put)(struct engine_recorder *recorder, struct str id, struct buf *record);
    bool only_asked; /* only requests that want it (engine_request.record) */
};

/* Files in a private folder, 0600 in 0700, written by a thread of its own. At most so many wait to
 * be written; further ones are dropped and counted in the log. */
enum { ENGINE_RECORDS_WAITING_MAX = 1024 };

struct engine_recorder *engine_recorder_open(const char *folder, bool only_asked, struct err *err);

/* Writes what waits. NULL is fine. */
void engine_recorder_close(struct engine_recorder *recorder);

/* What a record says of the program and the model; JSON members, without braces. */
void engine_record_describe(const char *path, const struct engine_digest *model,
                            const char *cpu_level, const char *kv_type, uint32_t ctx_tokens,
                            struct buf *out);

/* The record of a sequence that has ended. */
struct engine_sequence;
void engine_record_write(const struct engine *engine, const struct engine_sequence *seq,
                         enum engine_finish finish, struct buf *out);

/* Reads the request of a record; what it borrows is in the arena and in `record`. Ranges are
 * checked by engine_submit. */
bool engine_record_read(const json_t *record, struct arena *arena, struct engine_request *out,
                        struct err *err);

#endif
