/* Inside the registry: its structures, for registry.c (names), use.c (who asks) and keeper.c (what
 * loads). Everything but `facts` once set is under the registry's lock. */
#ifndef ROUTE_SHELF_H
#define ROUTE_SHELF_H

#include <pthread.h>

#include "route/registry.h"

/* An opened model. Who holds it may use it also after its file was unloaded: only then it closes.
 */
struct route_loaded {
    struct route_local *local;
    uint64_t bytes;            /* route_local_bytes */
    size_t holds;              /* uses and snapshots, and one of the file while READY */
    struct route_loaded *next; /* among those that wait to be closed */
};

struct route_file {
    char *path;
    struct route_local_params params;
    size_t refs; /* of names, uses, and of the keeper while it works */
    bool on_demand;
    bool is_awaited;                 /* of the start; cleared when it was loaded once */
    uint64_t share;                  /* memory_max of that first load; 0: as there is */
    const struct route_facts *facts; /* owned; NULL: not read or not readable */
    bool facts_tried;
    uint64_t file_bytes;
    int64_t mtime_ns;
    enum route_state state;
    struct err failure; /* FAILED */
    int64_t failed_ns;
    uint64_t loaded_bytes, load_bytes;
    int64_t told_ns;             /* of progress */
    struct route_loaded *loaded; /* READY */
    uint64_t asked;              /* order of being asked for; 0: not wanted */
    size_t users;                /* uses of any state */
    struct route_use *uses;      /* a list of them */
    int64_t used_ns;             /* end of the last use */
    int64_t keep_ns;
    struct route_file *next;
};

struct route_name {
    struct route_registry *registry;
    char *id;
    struct route_file *file;
    struct route_definition *definition; /* NULL */
    struct chat *chat;                   /* of the definition's template, for `chat_of` */
    struct route_loaded *chat_of;
    size_t refs;    /* of the registry while it is listed, of uses and snapshots */
    bool is_made;   /* by route_registry_add */
    bool is_found;  /* in a place */
    bool is_quiet;  /* in no list while its file is not loaded */
    bool was_asked; /* since its file was loaded */
};

struct route_use {
    struct route_registry *registry;
    struct route_name *name;
    void (*notify)(void *arg);
    void *arg;
    enum route_use_state state;
    struct err failure;
    struct route_loaded *loaded;
    struct route_use *next, **at; /* in the list of its file */
};

struct route_registry {
    struct route_registry_params params; /* models: not after create */
    char *chat_template_file;
    pthread_mutex_t lock;
    pthread_cond_t work;    /* for the keeper */
    pthread_cond_t settled; /* a use changed its state */
    struct route_name **names;
    size_t name_count, name_cap;
    struct route_file *files;
    struct route_loaded *closing; /* to be closed when nobody holds them */
    uint64_t asked;               /* counter */
    pthread_t keeper;
    bool has_keeper, stopping;
};

/* keeper.c */
void *route_keeper(void *registry);

/* Moves a READY file to UNLOADED; the keeper closes what was loaded. Under the lock. */
void route_file_unload(struct route_registry *registry, struct route_file *file);

/* When the idle file shall go, by clock_now_ns; COND_NEVER. Under the lock. */
int64_t route_file_deadline(const struct route_file *file);

/* Under the lock. */
void route_loaded_release(struct route_registry *registry, struct route_loaded *loaded);
void route_name_release(struct route_name *name);
void route_file_release(struct route_registry *registry, struct route_file *file);

/* The name of an id, in the places if need be; NULL with ERR_MODEL. Takes the lock and keeps it. */
struct route_name *route_name_find(struct route_registry *registry, struct str id, bool is_tagged,
                                   struct err *err);

#endif
