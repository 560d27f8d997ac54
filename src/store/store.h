/* What must survive a restart: one SQLite file in a folder that only this user may read and one
 * process at a time has. WAL with full sync: when a function here returns true, what it wrote is on
 * the disk.
 *
 * Everything is an object: a kind, an id, a JSON body, sometimes bytes beside it (a file's content)
 * and sometimes a parent (the items of a conversation, the lines of a batch), with which it goes.
 * Objects belong to a tenant, the digest of an API key; who names no tenant but his own can never
 * see another's.
 *
 *     object  number | kind | tenant | parent | id | state | label | created | expires | body
 *     content number | bytes
 *
 * Threads: any; calls take turns on a lock and wait for the disk, so none belongs on a thread that
 * serves others. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct store;

enum store_kind {
    STORE_CHAT = 1,     /* a stored chat completion */
    STORE_MESSAGE,      /* of its request; parent: the completion */
    STORE_RESPONSE,     /* of the Responses API; content: its event log */
    STORE_INPUT,        /* an input item; parent: the response */
    STORE_OUTPUT,       /* an output item; parent: the response */
    STORE_CONVERSATION, /* items are its children */
    STORE_ITEM,
    STORE_FILE, /* content: its bytes */
    STORE_BATCH,
    STORE_LINE,  /* the answer to a line of a batch; parent: the batch */
    STORE_MODEL, /* a name that was made of another model; of no tenant */
    STORE_DIGEST /* of a model file; id: its path; of no tenant */
};

struct store_object {
    enum store_kind kind;
    struct str tenant; /* may be empty */
    struct str parent; /* id of the object it goes with; may be empty */
    struct str id;
    struct str state;   /* what it waits for, for finding what was not finished; may be empty */
    struct str label;   /* what lists choose by: the model, the purpose of a file */
    int64_t created_s;  /* since 1970; kept when an object is written again */
    int64_t expires_s;  /* 0: never; from then on it is not there */
    struct str body;    /* JSON */
    struct str content; /* ptr NULL: none, or as it was */
};

/* Opens or makes FOLDER/hearth.db. `bytes_max` bounds the file, 0: 1 TiB. ERR_BUSY names the folder
 * when another process has it; ERR_FORMAT when the file is damaged or of a newer hearth. */
struct store *store_open(const char *folder, uint64_t bytes_max, struct err *err);
void store_close(struct store *store); /* NULL is fine */

/* Writes all objects or none. One with the same kind, tenant, parent and id is overwritten in its
 * place. ERR_FULL when the disk or the file is full. */
bool store_put(struct store *store, const struct store_object *objects, size_t count,
               struct err *err);

/* Copies the object to the arena; `with_content`: its bytes too. ERR_NOT_FOUND. */
bool store_get(struct store *store, enum store_kind kind, struct str tenant, struct str parent,
               struct str id, bool with_content, struct arena *arena, struct store_object *out,
               struct err *err);

/* Removes the object and its children. ERR_NOT_FOUND. */
bool store_delete(struct store *store, enum store_kind kind, struct str tenant, struct str parent,
                  struct str id, struct err *err);

/* Removes what has this parent. */
bool store_delete_children(struct store *store, struct str tenant, struct str parent,
                           struct err *err);

struct store_pair {
    struct str name, value;
};

struct store_query {
    enum store_kind kind;
    struct str tenant;
    bool any_tenant; /* for the server itself, after a restart */
    struct str parent;
    bool any_parent;
    struct str id, state, label;       /* empty: any */
    const struct store_pair *metadata; /* members that "metadata" of the body must have */
    size_t metadata_count;
    bool is_descending; /* newest first */
    struct str after;   /* id of the object before the first; empty: from the beginning */
    size_t limit;       /* 0: all */
};

/* Calls fn for each object in order of writing, without contents; what it gets is valid within the
 * call, which must not call the store. Stops when fn says false, which is no error. `has_more` (may
 * be NULL): there are objects beyond the limit. ERR_NOT_FOUND with param "after" when there is no
 * such object. */
bool store_list(struct store *store, const struct store_query *query,
                bool (*fn)(void *arg, const struct store_object *object), void *arg, bool *has_more,
                struct err *err);

/* Bytes of the file, and what bounds them. */
void store_size(struct store *store, uint64_t *bytes, uint64_t *bytes_max);

#endif
