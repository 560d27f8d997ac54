/* The schema and its history: step i brings a file of version i to i + 1, each in a transaction of
 * its own. A step that was ever released is never changed; what changes the schema is a new one. */
#include <stdio.h>

#include "store/sqlite.h"

static const char *const steps[] = {
    "CREATE TABLE object ("
    " number INTEGER PRIMARY KEY AUTOINCREMENT," /* the order of writing */
    " kind INTEGER NOT NULL,"
    " tenant BLOB NOT NULL,"
    " parent TEXT NOT NULL,"
    " id TEXT NOT NULL,"
    " state TEXT NOT NULL,"
    " label TEXT NOT NULL,"
    " created INTEGER NOT NULL,"
    " expires INTEGER NOT NULL,"
    " body TEXT NOT NULL,"
    " UNIQUE (tenant, kind, parent, id));"
    "CREATE INDEX object_expires ON object (expires) WHERE expires > 0;"
    "CREATE INDEX object_state ON object (kind, state) WHERE state <> '';"
    "CREATE INDEX object_id ON object (tenant, id);"
    "CREATE INDEX object_parent ON object (tenant, parent) WHERE parent <> '';"
    "CREATE TABLE content ("
    " number INTEGER PRIMARY KEY REFERENCES object (number) ON DELETE CASCADE,"
    " bytes BLOB NOT NULL);",
};

enum { STEP_COUNT = sizeof steps / sizeof *steps };

static bool read_version(struct store *store, int *version, struct err *err)
{
    sqlite3_stmt *statement = store_prepare(store, "PRAGMA user_version", err);
    if (!statement) {
        return false;
    }
    bool ok = sqlite3_step(statement) == SQLITE_ROW || store_fail(store, "read its version", err);
    *version = ok ? sqlite3_column_int(statement, 0) : 0;
    sqlite3_finalize(statement);
    return ok;
}

bool store_migrate(struct store *store, struct err *err)
{
    int version;
    if (!read_version(store, &version, err)) {
        return false;
    }
    if (version < 0 || version > STEP_COUNT) {
        return err_set(err, ERR_FORMAT,
                       "it has version %d, and this hearth knows up to %d: it was "
                       "written by a newer hearth",
                       version, STEP_COUNT);
    }
    for (; version < STEP_COUNT; version++) {
        char mark[48];
        snprintf(mark, sizeof mark, "PRAGMA user_version = %d", version + 1);
        bool ok = store_exec(store, "BEGIN IMMEDIATE", err) &&
                  store_exec(store, steps[version], err) && store_exec(store, mark, err) &&
                  store_exec(store, "COMMIT", err);
        if (!ok) {
            store_exec(store, "ROLLBACK", NULL);
            return err_wrap(err, "bring it to version %d", version + 1);
        }
    }
    return true;
}
