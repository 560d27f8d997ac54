#include "store/store.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/os_private.h"
#include "store/sqlite.h"

enum {
    BUSY_MS = 2000, /* another program that looks into the file has this long to finish */
    PAGE_BYTES = 4096,
    LENGTH_MAX = 1 << 30 /* of a body or content, and of a statement */
};

static const uint64_t bytes_max_default = (uint64_t)1 << 40;

/* ---- statements ---- */

bool store_fail(struct store *store, const char *what, struct err *err)
{
    int fault = sqlite3_extended_errcode(store->db);
    switch (fault & 0xff) {
    case SQLITE_FULL:
        return err_set(err, ERR_FULL,
                       "%s: no room: the disk is full, or the stored data has reached its limit of "
                       "%llu MiB (--data-mib)",
                       what, (unsigned long long)(store->bytes_max >> 20));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_BUSY, "%s: another program has locked the stored data", what);
    case SQLITE_NOMEM:
        return err_set(err, ERR_MEMORY, "%s: out of memory", what);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(err, ERR_FORMAT, "%s: the file of stored data is damaged: %s", what,
                       sqlite3_errstr(fault));
    case SQLITE_TOOBIG:
        return err_set(err, ERR_TOO_LARGE, "%s: more than %d bytes in one object", what,
                       LENGTH_MAX);
    default:
        return err_set(err, ERR_IO, "%s: %s (SQLite %d)", what, sqlite3_errstr(fault), fault);
    }
}

bool store_exec(struct store *store, const char *sql, struct err *err)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ||
           store_fail(store, "write the stored data", err);
}

sqlite3_stmt *store_prepare(struct store *store, const char *sql, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK) {
        store_fail(store, "read the stored data", err);
        return NULL;
    }
    return statement;
}

bool store_bind(struct store *store, sqlite3_stmt *statement, int index, struct str value,
                struct err *err)
{
    return sqlite3_bind_blob64(statement, index, value.ptr ? value.ptr : "", value.len,
                               SQLITE_STATIC) == SQLITE_OK ||
           store_fail(store, "write the stored data", err);
}

struct str store_column(sqlite3_stmt *statement, int index)
{
    const char *bytes = sqlite3_column_blob(statement, index);
    int len = sqlite3_column_bytes(statement, index);
    return (struct str){bytes, bytes && len > 0 ? (size_t)len : 0};
}

/* ---- life ---- */

/* The file exists with mode 0600 before SQLite sees it: its -wal and -shm get the same mode. */
static bool make_file(const char *path, struct err *err)
{
    struct os_file file;
    if (!os_path_exists(path)) {
        return os_private_write(path, NULL, 0, err);
    }
    if (!os_private_open(&file, path, err)) {
        return false;
    }
    os_file_close(&file);
    return true;
}

static bool configure(struct store *store, struct err *err)
{
    char pages[64];
    sqlite3_busy_timeout(store->db, BUSY_MS);
    sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, LENGTH_MAX);
    sqlite3_limit(store->db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    snprintf(pages, sizeof pages, "PRAGMA max_page_count = %llu",
             (unsigned long long)(store->bytes_max / PAGE_BYTES));
    return store_exec(store, "PRAGMA page_size = 4096", err) &&
           store_exec(store, "PRAGMA journal_mode = WAL", err) &&
           store_exec(store, "PRAGMA synchronous = FULL", err) &&
           store_exec(store, "PRAGMA foreign_keys = ON", err) &&
           store_exec(store, "PRAGMA secure_delete = ON", err) && /* deleted is gone */
           store_exec(store, "PRAGMA journal_size_limit = 16777216", err) &&
           store_exec(store, pages, err);
}

static bool open_file(struct store *store, const char *path, struct err *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (!make_file(path, err)) {
        return false;
    }
    if (sqlite3_open_v2(path, &store->db, flags, NULL) != SQLITE_OK) {
        return store->db ? store_fail(store, "open it", err)
                         : err_set(err, ERR_MEMORY, "out of memory");
    }
    return configure(store, err) && store_migrate(store, err);
}

struct store *store_open(const char *folder, uint64_t bytes_max, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct buf path = {0};
    struct store *store = MEM_NEW(struct store);
    if (!store) {
        err_set_memory(err, sizeof *store);
        return NULL;
    }
    pthread_mutex_init(&store->lock, NULL);
    store->bytes_max = bytes_max ? bytes_max : bytes_max_default;
    store->folder_lock = -1;
    buf_add_format(&path, "%s/hearth.db", folder);
    bool ok =
        os_private_folder(folder, err) && (store->folder_lock = os_private_lock(folder, err)) >= 0;
    if (ok && path.failed) {
        ok = err_set_memory(err, strlen(folder));
    }
    if (ok && !open_file(store, path.ptr, err)) {
        ok = err_wrap(err, "open the stored data %s", str_quote(quoted, buf_view(&path)));
    }
    buf_deinit(&path);
    if (!ok) {
        store_close(store);
        return NULL;
    }
    return store;
}

void store_close(struct store *store)
{
    if (!store) {
        return;
    }
    sqlite3_close(store->db);
    os_private_unlock(store->folder_lock);
    pthread_mutex_destroy(&store->lock);
    mem_free(store);
}

void store_size(struct store *store, uint64_t *bytes, uint64_t *bytes_max)
{
    pthread_mutex_lock(&store->lock);
    sqlite3_stmt *statement = store_prepare(store, "PRAGMA page_count", NULL);
    *bytes = statement && sqlite3_step(statement) == SQLITE_ROW
                 ? (uint64_t)sqlite3_column_int64(statement, 0) * PAGE_BYTES
                 : 0;
    *bytes_max = store->bytes_max;
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->lock);
}
