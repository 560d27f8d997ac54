/* Requests that generate nothing: what is stored is listed, read, changed, deleted. Each endpoint
 * is a function over a `struct api_call`; it may wait for the disk and runs on a worker's thread.
 * Also what these endpoints share: ids, metadata, lists by pages. */
#ifndef API_CALL_H
#define API_CALL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/run.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "route/registry.h"
#include "store/store.h"

struct api_query { /* of the URL, decoded */
    struct str name, value;
};

struct api_call;
typedef bool api_call_fn(struct api_call *call, struct err *err);

struct api_call {
    struct route_registry *registry;
    const struct api_keep *keep;
    void *host;        /* the server, for calls that it answers itself */
    struct str tenant; /* digest of the API key */
    struct str ids[2]; /* of the path */
    const struct api_query *queries;
    size_t query_count;
    struct str content_type, body;
    struct arena arena; /* freed when the answer was given */

    struct buf out;
    const char *media; /* of `out`; NULL: application/json */

    /* Set by the endpoint when it returns true: it goes on there, on the one thread for work of
     * minutes, with what it left in `state`. */
    api_call_fn *later;
    void *state;

    /* The caller's. Sends bytes at once, with `media`: from then on the answer is a stream, which
     * `out` ends, and an error is the endpoint's to write. And whether anybody still waits. */
    void (*say)(struct api_call *call, struct str bytes);
    bool (*is_abandoned)(struct api_call *call);
};

/* ERR_UNSUPPORTED, telling why, when there is no store. */
struct store *api_call_store(const struct api_call *call, struct err *err);

/* The body as one JSON object, bounded; json_decref it. An empty body is an empty object. */
json_t *api_call_object(const struct api_call *call, struct err *err);

/* Reads a stored object; ERR_NOT_FOUND tells "no WHAT with id 'ID'". */
bool api_call_get(struct api_call *call, enum store_kind kind, struct str parent, struct str id,
                  const char *what, bool with_content, struct store_object *out, struct err *err);

/* {"id":...,"object":OBJECT,"deleted":true} after deleting it. */
bool api_call_delete(struct api_call *call, enum store_kind kind, const char *what,
                     const char *object, struct err *err);

/* Room for an id: prefix, 24 hexadecimal digits, NUL. */
enum { API_ID_MAX = 48 };
void api_new_id(const char *prefix, char out[API_ID_MAX]);

/* At most 16 pairs, names of at most 64 and values of at most 512 characters. null is fine. */
bool api_check_metadata(const json_t *metadata, const char *param, struct err *err);

/* Queries that a list knows beside limit, order and after; ends with NULL. */
struct api_page {
    struct store_query query;
    const char *const *others;
    size_t limit_default, limit_max;
    bool newest_first; /* without `order` */
};

/* {"object":"list","data":[...],"first_id":...,"last_id":...,"has_more":...} of the bodies. */
bool api_call_page(struct api_call *call, struct api_page *page, struct err *err);

/* Value of a query; ptr NULL: absent. */
struct str api_call_query(const struct api_call *call, const char *name);

/* Every query is in the list (which ends with NULL), or ERR_UNKNOWN. */
bool api_call_check_queries(const struct api_call *call, const char *const *names, struct err *err);

/* Replaces the metadata of a stored object's JSON body by that of the call's body. */
bool api_call_update_metadata(struct api_call *call, enum store_kind kind, const char *what,
                              struct err *err);

/* When what is written now is to be forgotten; 0: never. */
int64_t api_keep_until(const struct api_keep *keep);

#endif
