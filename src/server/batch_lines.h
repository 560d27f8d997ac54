/* One line of a batch while it is answered: a generation or an embedding. Everything on the batch's
 * thread; notify may come from any. */
#ifndef SERVER_BATCH_LINES_H
#define SERVER_BATCH_LINES_H

#include "api/embedding.h"
#include "api/files.h"
#include "api/run.h"
#include "base/buf.h"
#include "base/err.h"

struct server_batch_line {
    size_t index; /* in the input file */
    bool is_used;
    struct api_batch_line line;
    const struct api_dialect *dialect; /* NULL: an embedding */
    struct api_run run;
    struct api_embedding embedding;
    bool is_submitted;
    struct buf answer;
    struct err failure;
};

/* For whom: registry, keep, tenant, notify, arg. */
void server_batch_line_start(struct server_batch_line *line, const struct api_run_owner *owner);

enum server_batch_state { SERVER_BATCH_WAITS, SERVER_BATCH_ANSWERED, SERVER_BATCH_FAILED };

/* ANSWERED: `answer` is the JSON; FAILED: `failure` says why. */
enum server_batch_state server_batch_line_advance(struct server_batch_line *line,
                                                  const struct api_run_owner *owner);

/* Cancels and frees; the slot can be used again. */
void server_batch_line_end(struct server_batch_line *line);

#endif
