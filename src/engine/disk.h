/* Cache pages on disk: found again after a restart, a kill or an unload. See disk.c for the format.
 *
 * One store serves all engines of a process. Reading and writing take as long as the disk does and
 * are meant for the store's own thread (engine_disk_run); engine_disk_has may be called by any. */
#ifndef ENGINE_DISK_H
#define ENGINE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/engine.h"
#include "tensor/kernels.h"
#include "text/text.h"

/* What a page is known by; everything that its bytes depend on goes into `own`. */
struct engine_page_key {
    struct engine_digest identity; /* of model and numerics */
    struct engine_digest parent;   /* of the page before; of identity and salt for a first page */
    struct engine_digest own;
    text_id tokens[KV_PAGE_TOKENS];
};

/* The parent of first pages. */
void engine_disk_root(const struct engine_digest *identity, const void *salt, size_t salt_len,
                      struct engine_digest *out);

/* Sets `own` from the rest. */
void engine_disk_seal(struct engine_page_key *key);

/* Makes the folder and takes its lock (ERR_BUSY names it when another process has it), finds what
 * is there, and starts the thread. Holds at most bytes_max of files. */
struct engine_disk *engine_disk_open(const char *folder, uint64_t bytes_max, struct err *err);

/* Runs what is queued, then ends. Engines that use it must be gone. NULL is fine. */
void engine_disk_close(struct engine_disk *disk);

/* Any thread. A hint: the file may turn out to be damaged. */
bool engine_disk_has(struct engine_disk *disk, const struct engine_digest *own);

/* Says that pages are in use, so that they outlive others: the page and all before it. */
void engine_disk_touch(struct engine_disk *disk, const struct engine_digest *own);

/* False when it is not there or no longer what was written; then it is logged and removed. `bytes`
 * may have been overwritten nevertheless. */
bool engine_disk_read(struct engine_disk *disk, const struct engine_page_key *key, void *bytes,
                      size_t size);

/* Removes a page. */
void engine_disk_drop(struct engine_disk *disk, const struct engine_page_key *key);

/* Makes room first. A fault is logged, and for a minute nothing is written. */
void engine_disk_write(struct engine_disk *disk, const struct engine_page_key *key,
                       const void *bytes, size_t size);

/* ---- the thread ---- */

struct engine_disk_job {
    void (*run)(struct engine_disk_job *job);
    struct engine_disk_job *next;
};

/* Never blocks. Urgent jobs come before all others, otherwise in order. */
void engine_disk_run(struct engine_disk *disk, struct engine_disk_job *job, bool is_urgent);

/* ---- figures ---- */

struct engine_disk_stats {
    uint64_t bytes, bytes_max, files, reads, writes, damaged, evicted;
};
void engine_disk_stats_read(struct engine_disk *disk, struct engine_disk_stats *out);

#endif
