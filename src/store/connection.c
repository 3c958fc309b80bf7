/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* connection.c: one SQLite connection: settings, cached statements, commit, and the translation of
 * SQLite's errors */
#include "store/store-priv.h"

#include <string.h>

/* Another program (a backup, an operator's sqlite3) may hold the file for a moment. */
#define BUSY_TIMEOUT_MS 5000

/* Of a file: kept small, it is in the kernel's page cache anyway, and there may be nine
 * connections. Sizes in KiB are negative. */
static const char settings[] =
    "PRAGMA synchronous = FULL;" /* an acknowledged write survives a power cut */
    "PRAGMA foreign_keys = ON;"
    "PRAGMA mmap_size = 0;"
    "PRAGMA temp_store = MEMORY;"
    "PRAGMA journal_size_limit = 16777216;";

/* On RADOS the one connection's cache is what answers reads. EXCLUSIVE before anything else: it is
 * what lets WAL work without shared memory, and WAL commits with one write where a rollback journal
 * needs four (2 ms against 5 ms). */
static const char rados_settings[] = "PRAGMA page_size = 16384;"
                                     "PRAGMA locking_mode = EXCLUSIVE;"
                                     "PRAGMA cache_size = -32768;";

/* A failed read or write of the cluster leaves open what has reached it. Nobody knows before the
 * log is read again by a new owner, so this one ends; before it is in use, opening just fails. */
static bool
rados_error(const Conn *conn, const char *doing, GError **err)
{
    if (conn->guard != NULL)
        lease_guard_lose(conn->guard, "the database on RADOS cannot be read or written");
    return err_set(err, ERR_UNREACHABLE,
                   "%s: %s cannot be read or written (%s, code %d). Look at \"ceph status\": are "
                   "the pool's placement groups active, is it full?",
                   doing, conn->path, sqlite3_errmsg(conn->db), sqlite3_extended_errcode(conn->db));
}

static bool
translate(const Conn *conn, const char *doing, GError **err)
{
    int rc = sqlite3_extended_errcode(conn->db);
    const char *why = sqlite3_errmsg(conn->db);
    const char *path = conn->path;
    if (conn->on_rados && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN ||
                           (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_FULL))
        return rados_error(conn, doing, err);
    switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
        if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY)
            return err_set(err, ERR_CONFLICT, "%s: it exists already (%s)", doing, why);
        if (rc == SQLITE_CONSTRAINT_FOREIGNKEY)
            return err_set(err, ERR_CONFLICT,
                           "%s: something else still refers to it, or it refers to something that "
                           "does not exist",
                           doing);
        return err_set(err, ERR_BUG, "%s: %s", doing, why);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_BUSY,
                       "%s: another program holds %s (%s). See who with \"fuser %s\"", doing, path,
                       why, path);
    case SQLITE_FULL:
        return err_set(err, ERR_BACKEND,
                       "%s: the file system of %s is full; nothing was changed. Free space there: "
                       "godwitd goes on by itself",
                       doing, path);
    case SQLITE_IOERR:
        return err_set(err, ERR_BACKEND,
                       "%s: reading or writing %s failed (%s, code %d). Look at the kernel's log "
                       "and the disk's free space",
                       doing, path, why, rc);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        if (conn->on_rados)
            return err_set(err, ERR_BACKEND,
                           "%s: %s is damaged (%s). Stop every controller, then restore a backup "
                           "under another name: godwit state copy BACKUP rados:POOL/NAMESPACE/NAME",
                           doing, path, why);
        return err_set(
            err, ERR_BACKEND,
            "%s: %s is damaged (%s). Stop godwitd, keep a copy of it and of %s-wal, then restore a "
            "backup or try \"sqlite3 %s .recover\"",
            doing, path, why, path, path);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
        return err_set(err, ERR_BACKEND,
                       "%s: %s cannot be opened for writing (%s). The file and its directory must "
                       "belong to godwitd's user",
                       doing, path, why);
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR:
        return err_set(err, ERR_BUG, "%s: %s", doing, why);
    default:
        return err_set(err, ERR_BACKEND, "%s: %s: %s (code %d)", doing, path, why, rc);
    }
}

bool
conn_error(Conn *conn, const char *doing, GError **err)
{
    GError *error = NULL;
    translate(conn, doing, &error);
    if (conn->failure == NULL && (sqlite3_errcode(conn->db) & 0xff) != SQLITE_CONSTRAINT)
        conn->failure = g_error_copy(error);
    g_propagate_error(err, error);
    return false;
}

static bool
conn_configure(Conn *conn, const char *first, GError **err)
{
    sqlite3_extended_result_codes(conn->db, 1);
    sqlite3_busy_timeout(conn->db, BUSY_TIMEOUT_MS);
    sqlite3_db_config(conn->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(conn->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* "name" is a column or an error, never a text by accident. */
    sqlite3_db_config(conn->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(conn->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    return conn_exec(conn, first, err) && conn_exec(conn, settings, err);
}

Conn *
conn_open(const char *path, bool writable, GError **err)
{
    Conn *conn = g_new0(Conn, 1);
    conn->path = path;
    /* The file is there already, made with mode 0600: SQLite gives -wal and -shm the same mode.
     * Read connections are opened for writing too, since a WAL reader writes the -shm file;
     * query_only keeps them from more. */
    int rc = sqlite3_open_v2(path, &conn->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        conn_error(conn, "opening the state file", err);
        conn_close(conn);
        return NULL;
    }
    if (!conn_configure(conn,
                        writable ? "PRAGMA cache_size = -1024"
                                 : "PRAGMA cache_size = -64; PRAGMA query_only = ON",
                        err)) {
        conn_close(conn);
        return NULL;
    }
    return conn;
}

Conn *
conn_open_rados(const char *uri, const char *path, bool make, GError **err)
{
    Conn *conn = g_new0(Conn, 1);
    conn->path = path;
    conn->on_rados = true;
    int rc = sqlite3_open_v2(
        uri, &conn->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, "ceph");
    if (rc != SQLITE_OK) {
        conn_error(conn, "opening the state", err);
        conn_close(conn);
        return NULL;
    }
    if (!conn_configure(conn, rados_settings, err)) {
        conn_close(conn);
        return NULL;
    }
    return conn;
}

void
conn_close(Conn *conn)
{
    if (conn == NULL)
        return;
    for (size_t i = 0; i < conn->n_statements; i++) {
        sqlite3_finalize(conn->statements[i].statement);
        g_free(conn->statements[i].sql);
    }
    sqlite3_close(conn->db);
    g_clear_error(&conn->failure);
    g_free(conn);
}

static CachedStatement *
statement_slot(Conn *conn)
{
    if (conn->n_statements < STATEMENTS_MAX)
        return &conn->statements[conn->n_statements++];
    CachedStatement *oldest = &conn->statements[0];
    for (size_t i = 1; i < STATEMENTS_MAX; i++) {
        if (conn->statements[i].used_at < oldest->used_at)
            oldest = &conn->statements[i];
    }
    sqlite3_finalize(oldest->statement);
    g_free(oldest->sql);
    return oldest;
}

sqlite3_stmt *
conn_prepare(Conn *conn, const char *sql, GError **err)
{
    for (size_t i = 0; i < conn->n_statements; i++) {
        CachedStatement *cached = &conn->statements[i];
        if (strcmp(cached->sql, sql) == 0) {
            cached->used_at = ++conn->clock;
            return cached->statement;
        }
    }
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v3(conn->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) !=
        SQLITE_OK) {
        conn_error(conn, "preparing a statement", err);
        return NULL;
    }
    CachedStatement *slot = statement_slot(conn);
    *slot =
        (CachedStatement){.sql = g_strdup(sql), .statement = statement, .used_at = ++conn->clock};
    return statement;
}

bool
conn_exec(Conn *conn, const char *sql, GError **err)
{
    if (sqlite3_exec(conn->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return conn_error(conn, "setting up the state file", err);
    return true;
}

bool
conn_run(Conn *conn, const char *sql, GError **err)
{
    AUTO_STATEMENT statement = conn_prepare(conn, sql, err);
    if (statement == NULL)
        return false;
    if (sqlite3_step(statement) != SQLITE_DONE)
        return conn_error(conn, sql, err);
    return true;
}

bool
conn_begin(Conn *conn, bool to_write, GError **err)
{
    return conn_run(conn, to_write ? "BEGIN IMMEDIATE" : "BEGIN DEFERRED", err);
}

bool
conn_commit(Conn *conn, GError **err)
{
    fault_point("store.commit.before");
    bool ok = conn_run(conn, "COMMIT", err);
    if (!ok)
        conn_rollback(conn);
    else
        fault_point("store.commit.after");
    return ok;
}

void
conn_rollback(Conn *conn)
{
    /* Nothing to roll back if SQLite has done so itself, as it does after some errors. */
    if (!sqlite3_get_autocommit(conn->db))
        conn_run(conn, "ROLLBACK", NULL);
}
