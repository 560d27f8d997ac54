/* Reading and writing objects. */
#include <stdio.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/sqlite.h"

enum { PURGE_S = 600 }; /* expired objects cannot be read; their bytes are freed this often */

/* ---- writing ---- */

static const char put_sql[] =
    "INSERT INTO object (kind, tenant, parent, id, state, label, created, expires, body)"
    " VALUES (?1, ?2, CAST(?3 AS TEXT), CAST(?4 AS TEXT), CAST(?5 AS TEXT), CAST(?6 AS TEXT), ?7,"
    " ?8, CAST(?9 AS TEXT))"
    " ON CONFLICT (tenant, kind, parent, id) DO UPDATE SET state = excluded.state,"
    " label = excluded.label, expires = excluded.expires, body = excluded.body"
    " RETURNING number";

static bool put_content(struct store *store, int64_t number, struct str content, struct err *err)
{
    sqlite3_stmt *statement =
        store_prepare(store, "INSERT OR REPLACE INTO content (number, bytes) VALUES (?1, ?2)", err);
    bool ok = statement && sqlite3_bind_int64(statement, 1, number) == SQLITE_OK &&
              store_bind(store, statement, 2, content, err);
    if (ok && sqlite3_step(statement) != SQLITE_DONE) {
        ok = store_fail(store, "write the stored data", err);
    }
    sqlite3_finalize(statement);
    return ok;
}

static bool put_object(struct store *store, const struct store_object *object, struct err *err)
{
    sqlite3_stmt *statement = store_prepare(store, put_sql, err);
    bool ok = statement && sqlite3_bind_int(statement, 1, (int)object->kind) == SQLITE_OK &&
              store_bind(store, statement, 2, object->tenant, err) &&
              store_bind(store, statement, 3, object->parent, err) &&
              store_bind(store, statement, 4, object->id, err) &&
              store_bind(store, statement, 5, object->state, err) &&
              store_bind(store, statement, 6, object->label, err) &&
              sqlite3_bind_int64(statement, 7, object->created_s) == SQLITE_OK &&
              sqlite3_bind_int64(statement, 8, object->expires_s) == SQLITE_OK &&
              store_bind(store, statement, 9, object->body, err);
    int64_t number = 0;
    if (ok && sqlite3_step(statement) == SQLITE_ROW) {
        number = sqlite3_column_int64(statement, 0);
        ok = sqlite3_step(statement) == SQLITE_DONE ||
             store_fail(store, "write the stored data", err);
    } else if (ok) {
        ok = store_fail(store, "write the stored data", err);
    }
    sqlite3_finalize(statement);
    return ok && (!object->content.ptr || put_content(store, number, object->content, err));
}

static bool purge(struct store *store, struct err *err)
{
    char sql[96];
    int64_t now = clock_wall_s();
    if (now < store->purged_s + PURGE_S) {
        return true;
    }
    store->purged_s = now;
    snprintf(sql, sizeof sql, "DELETE FROM object WHERE expires > 0 AND expires <= %lld",
             (long long)now);
    return store_exec(store, sql, err);
}

/* A failed COMMIT leaves the transaction open. */
static bool finish(struct store *store, bool ok, struct err *err)
{
    ok = ok && store_exec(store, "COMMIT", err);
    if (!ok && !sqlite3_get_autocommit(store->db)) {
        store_exec(store, "ROLLBACK", NULL);
    }
    return ok;
}

bool store_put(struct store *store, const struct store_object *objects, size_t count,
               struct err *err)
{
    pthread_mutex_lock(&store->lock);
    bool ok = store_exec(store, "BEGIN IMMEDIATE", err) && purge(store, err);
    for (size_t i = 0; ok && i < count; i++) {
        ok = put_object(store, &objects[i], err);
    }
    ok = finish(store, ok, err);
    pthread_mutex_unlock(&store->lock);
    return ok;
}

static bool bind_key(struct store *store, sqlite3_stmt *statement, enum store_kind kind,
                     struct str tenant, struct str parent, struct str id, struct err *err)
{
    return sqlite3_bind_int(statement, 1, (int)kind) == SQLITE_OK &&
           store_bind(store, statement, 2, tenant, err) &&
           store_bind(store, statement, 3, parent, err) &&
           store_bind(store, statement, 4, id, err) &&
           sqlite3_bind_int64(statement, 5, clock_wall_s()) == SQLITE_OK;
}

#define KEY                                                                                        \
    "kind = ?1 AND tenant = ?2 AND parent = CAST(?3 AS TEXT) AND id = CAST(?4 AS TEXT)"            \
    " AND (expires = 0 OR expires > ?5)"

static bool missing(struct str id, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    return err_set(err, ERR_NOT_FOUND, "there is no '%s'", str_quote(quoted, id));
}

static bool delete_object(struct store *store, enum store_kind kind, struct str tenant,
                          struct str parent, struct str id, struct err *err)
{
    sqlite3_stmt *statement = store_prepare(store, "DELETE FROM object WHERE " KEY, err);
    bool ok = statement && bind_key(store, statement, kind, tenant, parent, id, err);
    if (ok && sqlite3_step(statement) != SQLITE_DONE) {
        ok = store_fail(store, "delete stored data", err);
    }
    sqlite3_finalize(statement);
    return ok && (sqlite3_changes(store->db) > 0 || missing(id, err));
}

static bool delete_children(struct store *store, struct str tenant, struct str parent,
                            struct err *err)
{
    sqlite3_stmt *statement = store_prepare(
        store, "DELETE FROM object WHERE tenant = ?1 AND parent = CAST(?2 AS TEXT)", err);
    bool ok = statement && store_bind(store, statement, 1, tenant, err) &&
              store_bind(store, statement, 2, parent, err);
    if (ok && sqlite3_step(statement) != SQLITE_DONE) {
        ok = store_fail(store, "delete stored data", err);
    }
    sqlite3_finalize(statement);
    return ok;
}

bool store_delete_children(struct store *store, struct str tenant, struct str parent,
                           struct err *err)
{
    pthread_mutex_lock(&store->lock);
    bool ok =
        store_exec(store, "BEGIN IMMEDIATE", err) && delete_children(store, tenant, parent, err);
    ok = finish(store, ok, err);
    pthread_mutex_unlock(&store->lock);
    return ok;
}

bool store_delete(struct store *store, enum store_kind kind, struct str tenant, struct str parent,
                  struct str id, struct err *err)
{
    pthread_mutex_lock(&store->lock);
    bool ok = store_exec(store, "BEGIN IMMEDIATE", err) &&
              delete_object(store, kind, tenant, parent, id, err) &&
              (id.len == 0 || delete_children(store, tenant, id, err));
    ok = finish(store, ok, err);
    pthread_mutex_unlock(&store->lock);
    return ok;
}

/* ---- reading ---- */

#define COLUMNS "kind, tenant, parent, id, state, label, created, expires, body"

static void read_row(sqlite3_stmt *statement, struct store_object *out)
{
    *out = (struct store_object){.kind = (enum store_kind)sqlite3_column_int(statement, 0),
                                 .tenant = store_column(statement, 1),
                                 .parent = store_column(statement, 2),
                                 .id = store_column(statement, 3),
                                 .state = store_column(statement, 4),
                                 .label = store_column(statement, 5),
                                 .created_s = sqlite3_column_int64(statement, 6),
                                 .expires_s = sqlite3_column_int64(statement, 7),
                                 .body = store_column(statement, 8)};
}

static bool copy(struct arena *arena, struct str *s)
{
    s->ptr = arena_copy(arena, *s);
    return s->ptr != NULL;
}

bool store_get(struct store *store, enum store_kind kind, struct str tenant, struct str parent,
               struct str id, bool with_content, struct arena *arena, struct store_object *out,
               struct err *err)
{
    pthread_mutex_lock(&store->lock);
    sqlite3_stmt *statement =
        store_prepare(store,
                      with_content ? "SELECT " COLUMNS ", (SELECT bytes FROM content c WHERE"
                                     " c.number = object.number) FROM object WHERE " KEY
                                   : "SELECT " COLUMNS " FROM object WHERE " KEY,
                      err);
    bool ok = statement && bind_key(store, statement, kind, tenant, parent, id, err);
    int step = ok ? sqlite3_step(statement) : SQLITE_ERROR;
    if (ok && step != SQLITE_ROW) {
        ok = step == SQLITE_DONE ? missing(id, err) : store_fail(store, "read stored data", err);
    }
    if (ok) {
        read_row(statement, out);
        if (with_content) {
            out->content = store_column(statement, 9);
        }
        struct str *texts[] = {&out->tenant, &out->parent, &out->id,     &out->state,
                               &out->label,  &out->body,   &out->content};
        size_t bytes = out->body.len + out->content.len;
        for (size_t i = 0; ok && i < sizeof texts / sizeof *texts; i++) {
            ok = copy(arena, texts[i]) || err_set_memory(err, bytes);
        }
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->lock);
    return ok;
}

/* ---- lists ---- */

/* ?1 kind ?2 tenant ?3 parent ?4 now ?5 state ?6 label ?7 number to start behind ?8 id, pairs */
enum { PARAM_PAIRS = 9 };

static void compose(const struct store_query *query, struct buf *sql)
{
    buf_add_text(sql, "SELECT " COLUMNS " FROM object WHERE kind = ?1"
                      " AND (expires = 0 OR expires > ?4)");
    buf_add_text(sql, query->any_tenant ? " AND ?2 IS NOT NULL" : " AND tenant = ?2");
    buf_add_text(sql, query->any_parent ? " AND ?3 IS NOT NULL" : " AND parent = CAST(?3 AS TEXT)");
    buf_add_text(sql, query->id.len ? " AND id = CAST(?8 AS TEXT)" : " AND ?8 IS NOT NULL");
    buf_add_text(sql, query->state.len ? " AND state = CAST(?5 AS TEXT)" : " AND ?5 IS NOT NULL");
    buf_add_text(sql, query->label.len ? " AND label = CAST(?6 AS TEXT)" : " AND ?6 IS NOT NULL");
    buf_add_text(sql, query->is_descending ? " AND number < ?7" : " AND number > ?7");
    for (size_t i = 0; i < query->metadata_count; i++) {
        buf_add_format(sql,
                       " AND EXISTS (SELECT 1 FROM json_each(object.body, '$.metadata') m WHERE"
                       " m.key = CAST(?%d AS TEXT) AND m.value = CAST(?%d AS TEXT))",
                       PARAM_PAIRS + (int)i * 2, PARAM_PAIRS + (int)i * 2 + 1);
    }
    buf_add_format(sql, " ORDER BY number %s", query->is_descending ? "DESC" : "ASC");
    if (query->limit) {
        buf_add_format(sql, " LIMIT %zu", query->limit + 1);
    }
}

/* The number of the object that `after` names. */
static bool find_after(struct store *store, const struct store_query *query, int64_t *number,
                       struct err *err)
{
    *number = query->is_descending ? INT64_MAX : 0;
    if (query->after.len == 0) {
        return true;
    }
    sqlite3_stmt *statement = store_prepare(store, "SELECT number FROM object WHERE " KEY, err);
    bool ok = statement && bind_key(store, statement, query->kind, query->tenant, query->parent,
                                    query->after, err);
    int step = ok ? sqlite3_step(statement) : SQLITE_ERROR;
    if (ok && step == SQLITE_ROW) {
        *number = sqlite3_column_int64(statement, 0);
    } else if (ok && step == SQLITE_DONE) {
        missing(query->after, err);
        ok = err_wrap_param(err, "after");
    } else if (ok) {
        ok = store_fail(store, "read stored data", err);
    }
    sqlite3_finalize(statement);
    return ok;
}

static sqlite3_stmt *prepare_list(struct store *store, const struct store_query *query,
                                  struct err *err)
{
    int64_t number;
    struct buf sql = {0};
    if (!find_after(store, query, &number, err)) {
        return NULL;
    }
    compose(query, &sql);
    sqlite3_stmt *statement =
        sql.failed ? NULL : store_prepare(store, sql.ptr, err); /* without memory: as below */
    if (sql.failed) {
        err_set_memory(err, sql.len);
    }
    buf_deinit(&sql);
    bool ok = statement && sqlite3_bind_int(statement, 1, (int)query->kind) == SQLITE_OK &&
              store_bind(store, statement, 2, query->tenant, err) &&
              store_bind(store, statement, 3, query->parent, err) &&
              sqlite3_bind_int64(statement, 4, clock_wall_s()) == SQLITE_OK &&
              store_bind(store, statement, 5, query->state, err) &&
              store_bind(store, statement, 6, query->label, err) &&
              sqlite3_bind_int64(statement, 7, number) == SQLITE_OK &&
              store_bind(store, statement, 8, query->id, err);
    for (size_t i = 0; ok && i < query->metadata_count; i++) {
        int at = PARAM_PAIRS + (int)i * 2;
        ok = store_bind(store, statement, at, query->metadata[i].name, err) &&
             store_bind(store, statement, at + 1, query->metadata[i].value, err);
    }
    if (!ok) {
        sqlite3_finalize(statement);
        return NULL;
    }
    return statement;
}

bool store_list(struct store *store, const struct store_query *query,
                bool (*fn)(void *arg, const struct store_object *object), void *arg, bool *has_more,
                struct err *err)
{
    pthread_mutex_lock(&store->lock);
    sqlite3_stmt *statement = prepare_list(store, query, err);
    bool ok = statement != NULL, more = false, goes_on = true;
    for (size_t count = 0; ok && goes_on; count++) {
        struct store_object object;
        int step = sqlite3_step(statement);
        if (step != SQLITE_ROW) {
            ok = step == SQLITE_DONE || store_fail(store, "read stored data", err);
            break;
        }
        if (query->limit && count == query->limit) {
            more = true;
            break;
        }
        read_row(statement, &object);
        goes_on = fn(arg, &object);
    }
    sqlite3_finalize(statement);
    if (has_more) {
        *has_more = more;
    }
    pthread_mutex_unlock(&store->lock);
    return ok;
}
