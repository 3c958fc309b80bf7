/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* store-priv.h: inside of store/: a connection with its statements, and the pieces that store.c
 * puts together */
#pragma once

#include "store/store.h"

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
    const char *path;
    bool writable;
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

bool conn_begin(Conn *conn, GError **err);
/* Every commit of the store passes here, and so the fault points store.commit.before and
 * store.commit.after. On failure the transaction is rolled back. */
bool conn_commit(Conn *conn, GError **err);
void conn_rollback(Conn *conn);

/* The one translation of SQLite's result of the last call into ours; always returns false. */
bool conn_error(Conn *conn, const char *doing, GError **err);

/* schema.c: create or upgrade the tables, then compare them with the records. */
bool schema_prepare(Conn *conn, GError **err);

/* lease-file.c: PATH.lock, held until lease_close or the end of the process. -1 on error. */
int lease_open(const char *path, GError **err);
void lease_close(int fd);
