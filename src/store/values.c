/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* values.c: what is in the store beside records: sequences, named values; and the load of the hosts
 */
#include "store/store-priv.h"

#include <string.h>

static bool
value_check(const StoreTx *tx, bool to_write, const char *what, GError **err)
{
    if (!store_inside_transaction())
        return err_set(err, ERR_BUG, "a transaction on %s is used after its end", what);
    if (to_write && !tx->writable)
        return err_set(err, ERR_BUG, "%s is written inside store_read", what);
    return true;
}

bool
store_next_number(StoreTx *tx, const char *sequence, int64_t *number, GError **err)
{
    if (!value_check(tx, true, "sequence", err))
        return false;
    AUTO_STATEMENT statement =
        conn_prepare(tx->conn,
                     "INSERT INTO sequence (name, value) VALUES (?, 1) "
                     "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
                     err);
    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, sequence, -1, SQLITE_STATIC);
    if (sqlite3_step(statement) != SQLITE_ROW)
        return conn_error(tx->conn, "taking the next number", err);
    *number = sqlite3_column_int64(statement, 0);
    return true;
}

char *
store_meta_get(StoreTx *tx, const char *key, GError **err)
{
    if (!value_check(tx, false, "meta", err))
        return NULL;
    AUTO_STATEMENT statement = conn_prepare(tx->conn, "SELECT value FROM meta WHERE key = ?", err);
    if (statement == NULL)
        return NULL;
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        return g_strdup((const char *)sqlite3_column_text(statement, 0));
    if (rc != SQLITE_DONE)
        conn_error(tx->conn, "reading meta", err);
    return NULL;
}

bool
store_meta_set(StoreTx *tx, const char *key, const char *value, GError **err)
{
    if (!value_check(tx, true, "meta", err))
        return false;
    AUTO_STATEMENT statement = conn_prepare(tx->conn,
                                            "INSERT INTO meta (key, value) VALUES (?, ?) ON "
                                            "CONFLICT (key) DO UPDATE SET value = excluded.value",
                                            err);
    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, value, -1, SQLITE_STATIC);
    if (sqlite3_step(statement) != SQLITE_DONE)
        return conn_error(tx->conn, "writing meta", err);
    return true;
}

/* ---- load of the hosts ----------------------------------------------------------------------- */
/* Rows of host name, servers, vcpus, ram_mb, added to loads; a host that was not asked for is
 * passed over. */
static bool
loads_add(StoreTx *tx, sqlite3_stmt *statement, GHashTable *by_name, GError **err)
{
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        HostLoad *load = g_hash_table_lookup(by_name, sqlite3_column_text(statement, 0));
        if (load == NULL)
            continue;
        load->servers += sqlite3_column_int64(statement, 1);
        load->vcpus_used += sqlite3_column_int64(statement, 2);
        load->ram_mb_used += sqlite3_column_int64(statement, 3);
    }
    return rc == SQLITE_DONE || conn_error(tx->conn, "adding up the load of the hosts", err);
}

static bool
loads_add_servers(StoreTx *tx, GHashTable *by_name, GError **err)
{
    AUTO_STATEMENT statement =
        conn_prepare(tx->conn,
                     "SELECT host, count(*), sum(vcpus), sum(ram_mb) FROM server "
                     "WHERE host IS NOT NULL AND vm_state <> ? GROUP BY host",
                     err);
    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, vm_state_names[VM_DELETED], -1, SQLITE_STATIC);
    return loads_add(tx, statement, by_name, err);
}

/* A resize holds on either node the larger of what the server has there and what it had, or is to
 * have: until it is confirmed or reverted both must be possible. What the server itself counts for
 * on its host is taken off again. */
static const char reserved_sql[] =
    "WITH held AS (SELECT m.dest_host AS dest, m.source_host AS source, s.host AS host, s.vcpus, "
    "s.ram_mb, iif(m.new_vcpus > 0, m.new_vcpus, s.vcpus) AS new_vcpus, "
    "iif(m.new_ram_mb > 0, m.new_ram_mb, s.ram_mb) AS new_ram_mb, m.old_vcpus, m.old_ram_mb "
    "FROM migration AS m JOIN server AS s ON s.id = m.server_id "
    "WHERE m.status = ?1 AND s.vm_state <> ?2) "
    "SELECT dest, host IS NOT dest, "
    "max(0, new_vcpus - iif(host IS dest, vcpus, 0)), "
    "max(0, new_ram_mb - iif(host IS dest, ram_mb, 0)) FROM held WHERE dest IS NOT NULL "
    "UNION ALL "
    "SELECT source, host IS NOT source, "
    "max(0, old_vcpus - iif(host IS source, vcpus, 0) - "
    "iif(source IS dest, max(0, new_vcpus - iif(host IS dest, vcpus, 0)), 0)), "
    "max(0, old_ram_mb - iif(host IS source, ram_mb, 0) - "
    "iif(source IS dest, max(0, new_ram_mb - iif(host IS dest, ram_mb, 0)), 0)) "
    "FROM held WHERE old_vcpus > 0";

/* A move reserves on its destination from the moment that is chosen until the server itself counts
 * there, or the move ends. */
static bool
loads_add_reservations(StoreTx *tx, GHashTable *by_name, GError **err)
{
    AUTO_STATEMENT statement = conn_prepare(tx->conn, reserved_sql, err);
    if (statement == NULL)
        return false;
    for (unsigned i = 0; migration_status_names[i] != NULL; i++) {
        if (migration_status_is_final((MigrationStatus)i))
            continue;
        sqlite3_reset(statement);
        sqlite3_bind_text(statement, 1, migration_status_names[i], -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 2, vm_state_names[VM_DELETED], -1, SQLITE_STATIC);
        if (!loads_add(tx, statement, by_name, err))
            return false;
    }
    return true;
}

bool
store_host_loads(StoreTx *tx, const GPtrArray *hosts, HostLoad *loads, GError **err)
{
    if (!value_check(tx, false, "server", err))
        return false;
    g_autoptr(GHashTable) by_name = g_hash_table_new(g_str_hash, g_str_equal);
    for (size_t i = 0; i < hosts->len; i++) {
        const Host *host = g_ptr_array_index(hosts, i);
        loads[i] = (HostLoad){.host = host};
        g_hash_table_insert(by_name, host->name, &loads[i]);
    }
    return loads_add_servers(tx, by_name, err) && loads_add_reservations(tx, by_name, err);
}
