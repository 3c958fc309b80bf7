/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* store-priv.h: inside of store/: a connection with its statements, and the pieces that store.c
 * puts together */
#pragma once

#include "store/lease.h"

#include <sqlite3.h>

#define STATEMENTS_MAX 48

typedef struct CachedStatement {
    char *sql;
    sqlite3_stmt *statement;
    uint64_t used_at; /* of Conn.clock: the least goes first */
} CachedStatement;

/* One SQLite connection; used by one thread at a time. */
typedef struct Conn {
    sqlite3 *db;
    const char *path; /* for messages */
    bool on_rados;
    LeaseGuard *guard; /* RADOS, once in use: told of failed reads and writes */
    GError *failure;   /* first of this transaction that is not about its data; a function must not
                          take it for "not there" */
    uint64_t clock;
    size_t n_statements;
    CachedStatement statements[STATEMENTS_MAX];
} Conn;

struct StoreTx {
    Conn *conn;
    bool writable;
};

/* path must outlive the connection. */
Conn *conn_open(const char *path, bool writable, GError **err);
/* The one connection there may be to a database on RADOS; uri as rados_vfs_uri gives it. */
Conn *conn_open_rados(const char *uri, const char *path, bool make, GError **err);
void conn_close(Conn *conn);

/* A statement ready to be bound; the connection keeps it. One text is in use once at a time: every
 * operation ends its statement before it returns. */
sqlite3_stmt *conn_prepare(Conn *conn, const char *sql, GError **err);
static inline void
statement_end(sqlite3_stmt **statement)
{
    if (*statement != NULL) {
        sqlite3_reset(*statement);
        sqlite3_clear_bindings(*statement);
    }
}
#define AUTO_STATEMENT __attribute__((cleanup(statement_end))) sqlite3_stmt *

/* Several statements without parameters; text of our own only. */
bool conn_exec(Conn *conn, const char *sql, GError **err);
/* One statement without parameters and without result, from the cache. */
bool conn_run(Conn *conn, const char *sql, GError **err);

bool conn_begin(Conn *conn, bool to_write, GError **err);
/* Every commit of the store passes here, and so the fault points store.commit.before and
 * store.commit.after. On failure the transaction is rolled back. */
bool conn_commit(Conn *conn, GError **err);
void conn_rollback(Conn *conn);

/* The one translation of SQLite's result of the last call into ours; always returns false. */
bool conn_error(Conn *conn, const char *doing, GError **err);

/* schema.c: create or upgrade the tables, then compare them with the records. */
bool schema_prepare(Conn *conn, GError **err);

/* ---- store.c, for copies ---- */
/* A connection to read from, until it is given back; on RADOS everybody else waits meanwhile. */
Conn *store_conn_take(Store *store, GError **err);
void store_conn_give(Store *store, Conn *conn);
/* Lease and connection and nothing else: no schema, no epoch, no thread; only store_raw_conn and
 * store_close are for it. must_exist: nothing is made. */
Store *store_open_raw(const StoreConfig *config, bool must_exist, GError **err);
Conn *store_raw_conn(Store *store);
