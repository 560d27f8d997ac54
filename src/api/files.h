/* OpenAI's Files and Batches: uploads, and JSONL of requests that are answered when nothing else is
 * asked for. What runs a batch is in server/batches.h; here is what it is and what is told of it.
 */
#ifndef API_FILES_H
#define API_FILES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "api/call.h"

bool api_files_create(struct api_call *call, struct err *err);
bool api_files_list(struct api_call *call, struct err *err);
bool api_files_get(struct api_call *call, struct err *err);
bool api_files_content(struct api_call *call, struct err *err);
bool api_files_delete(struct api_call *call, struct err *err);

/* A file of ours: the JSON that tells of it, with its id, in `out`; its object for store_put in
 * *object. Borrows from `content` and `out`. */
void api_files_make(const struct api_keep *keep, struct str tenant, struct str content,
                    const char *name, const char *purpose, int64_t expires_s, struct buf *out,
                    struct store_object *object, char id[API_ID_MAX]);

/* One part of a multipart/form-data body (RFC 7578). */
struct api_part_field {
    struct str name, file_name, content;
};

/* Takes a body apart; borrows from it. ERR_INVALID when it is malformed or has more parts. */
bool api_multipart_read(struct str content_type, struct str body, struct api_part_field *parts,
                        size_t parts_max, size_t *count, struct err *err);

/* ---- batches ---- */

enum { API_BATCH_LINES_MAX = 50000 };

bool api_batches_create(struct api_call *call, struct err *err);
bool api_batches_list(struct api_call *call, struct err *err);
bool api_batches_get(struct api_call *call, struct err *err);

/* The dialect of a batch's endpoint; NULL if there is none. */
const struct api_dialect *api_batch_dialect(struct str endpoint);

/* A line of the input, checked: {"custom_id":...,"method":"POST","url":ENDPOINT,"body":{...}}. */
struct api_batch_line {
    struct str custom_id;
    struct buf body; /* JSON of the request */
};

bool api_batch_line_read(struct str line, struct str endpoint, struct arena *arena,
                         struct api_batch_line *out, struct err *err);

/* A line of the output or error file. `failure` NULL: `answer` is the body of a status 200.
 * ERR_TIMEOUT: the batch expired before it, ERR_CANCELLED: it was cancelled. */
void api_batch_line_write(struct str custom_id, struct str answer, const struct err *failure,
                          struct buf *out);

#endif
