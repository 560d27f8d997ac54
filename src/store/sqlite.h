/* Of the folder: statements of SQLite as the other files here use them. */
#ifndef STORE_SQLITE_H
#define STORE_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>

#include "store/store.h"

struct store {
    pthread_mutex_t lock; /* db */
    sqlite3 *db;
    int folder_lock;
    uint64_t bytes_max;
    int64_t purged_s; /* when expired objects were last removed */
};

/* The error of the last call on the database, in hearth's words; false. */
bool store_fail(struct store *store, const char *what, struct err *err);

bool store_exec(struct store *store, const char *sql, struct err *err);

/* NULL and an error when it cannot be prepared. */
sqlite3_stmt *store_prepare(struct store *store, const char *sql, struct err *err);

/* An empty str binds an empty blob, not NULL. */
bool store_bind(struct store *store, sqlite3_stmt *statement, int index, struct str value,
                struct err *err);
struct str store_column(sqlite3_stmt *statement, int index);

/* Brings the file to the newest schema (schema.c). ERR_FORMAT if it is newer than that. */
bool store_migrate(struct store *store, struct err *err);

#endif
