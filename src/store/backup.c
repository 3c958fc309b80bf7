/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backup.c: a copy of a store in use, and moving a state that is not
 *
 * In use on a file: a read connection's snapshot is copied in one go; writers do not wait for
 * readers in WAL mode. In use on RADOS: a few pages in each turn of the shared connection; SQLite
 * brings what is written through that connection meanwhile into the copy. */
#include "store/store-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define STEP_PAGES 64
/* A rollback on the source starts the copy anew. After this long it is done in one turn. */
#define PATIENCE_US (20 * USEC_PER_SEC)

typedef struct Table {
    char *name;
    int64_t rows;
} Table;

static void
table_free(void *data)
{
    Table *table = data;

    g_free(table->name);
    g_free(table);
}

static bool
copy_failed(const char *what, const char *path, int rc, GError **err)
{
    return err_set(err, ERR_BACKEND, "%s %s: %s (code %d)", what, path, sqlite3_errstr(rc), rc);
}

/* ---- copying ----------------------------------------------------------------------------------
 */
static bool
steps_run(Store *store, Conn **conn, sqlite3_backup *backup, const char *path, GError **err)
{
    int64_t deadline = clock_monotonic() + PATIENCE_US;
    int pages = store_has_lease(store) ? STEP_PAGES : -1;
    int rc;

    while ((rc = sqlite3_backup_step(backup, pages)) == SQLITE_OK) {
        store_conn_give(store, *conn);
        *conn = store_conn_take(store, err);
        if (*conn == NULL)
            return false;
        if (clock_monotonic() > deadline)
            pages = -1;
    }
    return rc == SQLITE_DONE || copy_failed("copying the state into", path, rc, err);
}

static bool
pages_copy(Store *store, sqlite3 *target, const char *path, GError **err)
{
    Conn *conn = store_conn_take(store, err);

    if (conn == NULL)
        return false;
    sqlite3_backup *backup = sqlite3_backup_init(target, "main", conn->db, "main");
    bool ok = backup != NULL
                  ? steps_run(store, &conn, backup, path, err)
                  : copy_failed("copying the state into", path, sqlite3_errcode(target), err);
    /* With the turn, too: it takes its hands off the source. */
    if (conn == NULL)
        conn = store_conn_take(store, NULL);
    int rc = sqlite3_backup_finish(backup);
    if (conn != NULL)
        store_conn_give(store, conn);
    return ok && (rc == SQLITE_OK || copy_failed("copying the state into", path, rc, err));
}

/* One file that is whole by itself, whatever the source's journal was. */
static bool
target_finish(sqlite3 *target, const char *path, GError **err)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_exec(target, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);

    if (rc != SQLITE_OK)
        return copy_failed("finishing", path, rc, err);
    rc = sqlite3_prepare_v2(target, "PRAGMA integrity_check", -1, &statement, NULL);
    bool good = rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW &&
                g_strcmp0((const char *)sqlite3_column_text(statement, 0), "ok") == 0;
    sqlite3_finalize(statement);
    return good || err_set(err, ERR_BACKEND,
                           "the copy in %s is damaged: look at the file system there, and at the "
                           "state itself",
                           path);
}

bool
store_backup(Store *store, const char *path, GError **err)
{
    sqlite3 *target = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_set(err, errno == EEXIST ? ERR_CONFLICT : ERR_BACKEND, "cannot make %s: %s",
                       path, errno_text(errno));
    close(fd);
    int rc = sqlite3_open_v2(path, &target, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    bool ok = rc == SQLITE_OK
                  ? pages_copy(store, target, path, err) && target_finish(target, path, err)
                  : copy_failed("cannot open", path, rc, err);
    sqlite3_close(target);
    if (!ok)
        unlink(path);
    return ok;
}

/* ---- moving -----------------------------------------------------------------------------------
 */
static int64_t
rows_of(Conn *conn, const char *table)
{
    /* A name cannot be bound; it is the schema's, and quoted. */
    char *sql = sqlite3_mprintf("SELECT count(*) FROM \"%w\"", table);
    sqlite3_stmt *statement = NULL;
    int64_t n = -1;

    if (sqlite3_prepare_v2(conn->db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        n = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_free(sql);
    return n;
}

/* Every table with its number of rows. */
static GPtrArray *
tables_read(Conn *conn, GError **err)
{
    g_autoptr(GPtrArray) tables = g_ptr_array_new_with_free_func(table_free);
    AUTO_STATEMENT statement = conn_prepare(
        conn, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", err);
    int rc;

    if (statement == NULL)
        return NULL;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        Table *table = g_new0(Table, 1);
        table->name = g_strdup((const char *)sqlite3_column_text(statement, 0));
        g_ptr_array_add(tables, table);
    }
    if (rc != SQLITE_DONE) {
        conn_error(conn, "reading the list of tables", err);
        return NULL;
    }
    for (unsigned i = 0; i < tables->len; i++) {
        Table *table = g_ptr_array_index(tables, i);
        table->rows = rows_of(conn, table->name);
        if (table->rows < 0) {
            conn_error(conn, "counting rows", err);
            return NULL;
        }
    }
    return g_steal_pointer(&tables);
}

static bool
tables_agree(const GPtrArray *there, const GPtrArray *here, const char *path, GError **err)
{
    bool same = there->len == here->len;

    for (unsigned i = 0; same && i < here->len; i++) {
        const Table *a = g_ptr_array_index(there, i), *b = g_ptr_array_index(here, i);
        same = strcmp(a->name, b->name) == 0 && a->rows == b->rows;
    }
    return same ||
           err_set(err, ERR_BACKEND, "the copy in %s does not have the same tables and rows", path);
}

static bool
raw_copy(Conn *from, Conn *to, GError **err)
{
    g_autoptr(GPtrArray) old = tables_read(to, err);
    g_autoptr(GPtrArray) source = old != NULL ? tables_read(from, err) : NULL;

    if (source == NULL)
        return false;
    if (old->len > 0)
        return err_set(err, ERR_CONFLICT,
                       "%s holds a state already; nothing was changed. Move it away first",
                       to->path);
    if (source->len == 0)
        return err_set(err, ERR_NOT_FOUND, "%s holds no state", from->path);
    if (!conn_exec(to, "PRAGMA journal_mode = DELETE", err))
        return false;
    sqlite3_backup *backup = sqlite3_backup_init(to->db, "main", from->db, "main");
    if (backup == NULL)
        return conn_error(to, "copying", err);
    int rc = sqlite3_backup_step(backup, -1);
    int finished = sqlite3_backup_finish(backup);
    if (rc != SQLITE_DONE || finished != SQLITE_OK)
        return copy_failed("copying the state into", to->path, rc != SQLITE_DONE ? rc : finished,
                           err);
    g_autoptr(GPtrArray) copied =
        target_finish(to->db, to->path, err) ? tables_read(to, err) : NULL;
    return copied != NULL && tables_agree(source, copied, to->path, err);
}

static void
tables_add_up(const GPtrArray *list, int64_t *tables, int64_t *rows)
{
    *tables = list->len;
    *rows = 0;
    for (unsigned i = 0; i < list->len; i++)
        *rows += ((const Table *)g_ptr_array_index(list, i))->rows;
}

static bool
copy_between(const StoreConfig *from, const StoreConfig *to, int64_t *tables, int64_t *rows,
             GError **err)
{
    g_autoptr(Store) source = store_open_raw(from, true, err);
    g_autoptr(Store) target = source != NULL ? store_open_raw(to, false, err) : NULL;

    if (target == NULL || !raw_copy(store_raw_conn(source), store_raw_conn(target), err))
        return false;
    g_autoptr(GPtrArray) copied = tables_read(store_raw_conn(target), err);
    if (copied == NULL)
        return false;
    tables_add_up(copied, tables, rows);
    return true;
}

bool
store_copy(const StoreConfig *from, const StoreConfig *to, int64_t *tables, int64_t *rows,
           GError **err)
{
    if (strcmp(from->state, to->state) == 0)
        return err_set(err, ERR_INVALID, "%s cannot be copied onto itself", from->state);
    if (!copy_between(from, to, tables, rows, err))
        return false;
    /* Opening raises the epoch above the source's, and shows that the copy can be opened. */
    g_autoptr(Store) target = store_open_with(to, err);
    return target != NULL;
}
