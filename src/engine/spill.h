/* Between the worker and the store on disk. See spill.c. Owned by the worker. */
#ifndef ENGINE_SPILL_H
#define ENGINE_SPILL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/disk.h"

struct engine_sequence;
struct engine_write;

enum { ENGINE_WRITES_MAX = 16 };

struct engine_spill {
    struct engine_digest *digests; /* [pages]; of indexed pages; NULL without a disk */
    bool *is_dirty, *is_waiting;   /* [pages]; not on disk yet; in `waiting` */
    uint32_t *waiting;             /* [pages], a ring */
    uint32_t waiting_first, waiting_count;
    struct engine_write *writes; /* [ENGINE_WRITES_MAX] */
    uint32_t writes_max, write_count, loading_count;
};

/* Nothing to do when the engine has no disk. */
bool engine_spill_init(struct engine *engine, struct err *err);
void engine_spill_deinit(struct engine *engine);

/* Bytes that init allocates. */
uint64_t engine_spill_bytes(uint32_t page_total);

/* A page was indexed. */
void engine_spill_note(struct engine *engine, uint32_t page);

/* Gives pages to the disk. */
void engine_spill_feed(struct engine *engine);

/* Uses what the disk has finished. */
void engine_spill_collect(struct engine *engine);

/* Begins to read what the disk has of the prompt; seq->load is set until it is there. */
void engine_spill_load(struct engine *engine, struct engine_sequence *seq);

/* At the end: waits for the reads; writes what there is time for, waits for what was begun. */
void engine_spill_wait_loads(struct engine *engine);
void engine_spill_flush(struct engine *engine);

#endif
