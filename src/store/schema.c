/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* schema.c: the tables, how an older file becomes a current one, and the proof that tables and
 * records agree
 *
 * PRAGMA user_version holds the number of steps a file has been through; application_id marks it as
 * ours. A step, once released, is never changed: a new one is added. All missing steps run in one
 * transaction with the new version number, so a crash leaves the old file or the new one. STRICT
 * tables keep SQLite from storing a text in a number's place; the only CHECKs are on booleans,
 * because names of enums grow and a CHECK cannot be altered. */
#include "store/store-priv.h"

#include <string.h>

#define APPLICATION_ID 0x47445754 /* "GDWT" */

static const char *const schema_steps[] = {
    /* 1: the first */
    "CREATE TABLE project (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,\n"
    "    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)), created_at INTEGER NOT NULL,\n"
    "    UNIQUE (name)\n"
    ") STRICT;\n"
    "\n"
    "CREATE TABLE user (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, password_hash TEXT,\n"
    "    default_project_id TEXT, email TEXT, description TEXT,\n"
    "    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)), created_at INTEGER NOT NULL,\n"
    "    password_changed_at INTEGER NOT NULL, UNIQUE (name)\n"
    ") STRICT;\n"
    "\n"
    "CREATE TABLE role (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, created_at INTEGER NOT NULL,\n"
    "    UNIQUE (name)\n"
    ") STRICT;\n"
    "\n"
    "CREATE TABLE assignment (\n"
    "    id TEXT PRIMARY KEY NOT NULL, user_id TEXT NOT NULL, project_id TEXT NOT NULL,\n"
    "    role_id TEXT NOT NULL, UNIQUE (user_id, project_id, role_id),\n"
    "    FOREIGN KEY (user_id) REFERENCES user (id) ON DELETE CASCADE,\n"
    "    FOREIGN KEY (project_id) REFERENCES project (id) ON DELETE CASCADE,\n"
    "    FOREIGN KEY (role_id) REFERENCES role (id) ON DELETE CASCADE\n"
    ") STRICT;\n"
    "CREATE INDEX assignment_by_project ON assignment (project_id);\n"
    "CREATE INDEX assignment_by_role ON assignment (role_id);\n"
    "\n"
    "CREATE TABLE token (\n"
    "    id TEXT PRIMARY KEY NOT NULL, user_id TEXT NOT NULL, project_id TEXT,\n"
    "    audit_id TEXT NOT NULL, methods TEXT NOT NULL, issued_at INTEGER NOT NULL,\n"
    "    expires_at INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX token_by_user ON token (user_id);\n"
    "CREATE INDEX token_by_expiry ON token (expires_at);\n"
    "\n"
    "CREATE TABLE host (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, service_id TEXT NOT NULL,\n"
    "    number INTEGER NOT NULL, uri TEXT NOT NULL, address TEXT NOT NULL,\n"
    "    migration_address TEXT, enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),\n"
    "    disabled_reason TEXT, forced_down INTEGER NOT NULL CHECK (forced_down IN (0, 1)),\n"
    "    state TEXT NOT NULL, state_reason TEXT, state_changed_at INTEGER NOT NULL,\n"
    "    vcpus INTEGER NOT NULL, memory_mb INTEGER NOT NULL, disk_gb INTEGER NOT NULL,\n"
    "    disk_free_gb INTEGER NOT NULL, cpu_info TEXT, hypervisor_cpu TEXT, cpu_models TEXT,\n"
    "    virt_type TEXT, libvirt_uuid TEXT, libvirt_version INTEGER NOT NULL,\n"
    "    qemu_version INTEGER NOT NULL, max_client_requests INTEGER NOT NULL,\n"
    "    encryption TEXT, storage_visible INTEGER NOT NULL CHECK (storage_visible IN (0, 1)),\n"
    "    storage_reason TEXT, started_at INTEGER NOT NULL, facts_at INTEGER NOT NULL,\n"
    "    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, UNIQUE (name),\n"
    "    UNIQUE (service_id), UNIQUE (number), UNIQUE (uri)\n"
    ") STRICT;\n"
    "\n"
    "CREATE TABLE flavor (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, vcpus INTEGER NOT NULL,\n"
    "    ram_mb INTEGER NOT NULL, disk_gb INTEGER NOT NULL, ephemeral_gb INTEGER NOT NULL,\n"
    "    swap_mb INTEGER NOT NULL, is_public INTEGER NOT NULL CHECK (is_public IN (0, 1)),\n"
    "    extra_specs TEXT NOT NULL, description TEXT, created_at INTEGER NOT NULL,\n"
    "    UNIQUE (name)\n"
    ") STRICT;\n"
    "\n"
    "CREATE TABLE image (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT, status TEXT NOT NULL, disk_format TEXT,\n"
    "    container_format TEXT, visibility TEXT NOT NULL, owner TEXT NOT NULL,\n"
    "    size INTEGER NOT NULL, virtual_size INTEGER NOT NULL, checksum TEXT, sha512 TEXT,\n"
    "    min_disk_gb INTEGER NOT NULL, min_ram_mb INTEGER NOT NULL,\n"
    "    is_protected INTEGER NOT NULL CHECK (is_protected IN (0, 1)),\n"
    "    is_hidden INTEGER NOT NULL CHECK (is_hidden IN (0, 1)), properties TEXT NOT NULL,\n"
    "    tags TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX image_by_owner ON image (owner);\n"
    "\n"
    "CREATE TABLE keypair (\n"
    "    id TEXT PRIMARY KEY NOT NULL, user_id TEXT NOT NULL, name TEXT NOT NULL,\n"
    "    type TEXT NOT NULL, public_key TEXT NOT NULL, fingerprint TEXT NOT NULL,\n"
    "    created_at INTEGER NOT NULL, UNIQUE (user_id, name)\n"
    ") STRICT;\n"
    "\n"
    "CREATE TABLE network (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, project_id TEXT NOT NULL,\n"
    "    bridge TEXT NOT NULL, mtu INTEGER NOT NULL,\n"
    "    shared INTEGER NOT NULL CHECK (shared IN (0, 1)),\n"
    "    admin_state_up INTEGER NOT NULL CHECK (admin_state_up IN (0, 1)),\n"
    "    description TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL\n"
    ") STRICT;\n"
    "\n"
    "CREATE TABLE subnet (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, network_id TEXT NOT NULL,\n"
    "    project_id TEXT NOT NULL, cidr TEXT NOT NULL, gateway_ip TEXT,\n"
    "    pool_start TEXT NOT NULL, pool_end TEXT NOT NULL, dns_nameservers TEXT NOT NULL,\n"
    "    host_routes TEXT NOT NULL,\n"
    "    enable_dhcp INTEGER NOT NULL CHECK (enable_dhcp IN (0, 1)),\n"
    "    description TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,\n"
    "    FOREIGN KEY (network_id) REFERENCES network (id)\n"
    ") STRICT;\n"
    "CREATE INDEX subnet_by_network ON subnet (network_id);\n"
    "\n"
    "CREATE TABLE port (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, network_id TEXT NOT NULL,\n"
    "    subnet_id TEXT, project_id TEXT NOT NULL, mac_address TEXT NOT NULL,\n"
    "    ip_address TEXT, device_id TEXT NOT NULL, device_owner TEXT NOT NULL,\n"
    "    description TEXT NOT NULL,\n"
    "    admin_state_up INTEGER NOT NULL CHECK (admin_state_up IN (0, 1)),\n"
    "    position INTEGER NOT NULL,\n"
    "    auto_delete INTEGER NOT NULL CHECK (auto_delete IN (0, 1)),\n"
    "    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, UNIQUE (mac_address),\n"
    "    UNIQUE (subnet_id, ip_address), FOREIGN KEY (network_id) REFERENCES network (id),\n"
    "    FOREIGN KEY (subnet_id) REFERENCES subnet (id)\n"
    ") STRICT;\n"
    "CREATE INDEX port_by_network ON port (network_id);\n"
    "CREATE INDEX port_by_device ON port (device_id);\n"
    "\n"
    "CREATE TABLE server (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, hostname TEXT NOT NULL,\n"
    "    description TEXT, project_id TEXT NOT NULL, user_id TEXT NOT NULL,\n"
    "    vm_state TEXT NOT NULL, task_state TEXT NOT NULL, power_state TEXT NOT NULL,\n"
    "    host TEXT, availability_zone TEXT, flavor_id TEXT NOT NULL,\n"
    "    flavor_name TEXT NOT NULL, vcpus INTEGER NOT NULL, ram_mb INTEGER NOT NULL,\n"
    "    disk_gb INTEGER NOT NULL, ephemeral_gb INTEGER NOT NULL, swap_mb INTEGER NOT NULL,\n"
    "    extra_specs TEXT NOT NULL, image_id TEXT NOT NULL, key_name TEXT, user_data TEXT,\n"
    "    config_drive INTEGER NOT NULL CHECK (config_drive IN (0, 1)),\n"
    "    metadata TEXT NOT NULL, tags TEXT NOT NULL, security_groups TEXT NOT NULL,\n"
    "    reservation_id TEXT NOT NULL, launch_index INTEGER NOT NULL,\n"
    "    number INTEGER NOT NULL, locked INTEGER NOT NULL CHECK (locked IN (0, 1)),\n"
    "    locked_reason TEXT, cpu_xml TEXT, machine TEXT, console_parts TEXT NOT NULL,\n"
    "    fault_code INTEGER NOT NULL, fault_message TEXT, fault_at INTEGER NOT NULL,\n"
    "    launched_at INTEGER NOT NULL, terminated_at INTEGER NOT NULL,\n"
    "    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, uncertainty TEXT,\n"
    "    UNIQUE (number)\n"
    ") STRICT;\n"
    "CREATE INDEX server_by_project ON server (project_id, created_at);\n"
    "CREATE INDEX server_by_host ON server (host, vm_state, vcpus, ram_mb);\n"
    "\n"
    "CREATE TABLE migration (\n"
    "    id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL, server_id TEXT NOT NULL,\n"
    "    project_id TEXT NOT NULL, user_id TEXT NOT NULL, type TEXT NOT NULL,\n"
    "    status TEXT NOT NULL, phase TEXT NOT NULL, source_host TEXT NOT NULL,\n"
    "    dest_host TEXT, dest_given INTEGER NOT NULL CHECK (dest_given IN (0, 1)),\n"
    "    flavor_id TEXT NOT NULL, reason TEXT, error_code TEXT, encryption TEXT, flags TEXT,\n"
    "    memory_total INTEGER NOT NULL, memory_processed INTEGER NOT NULL,\n"
    "    memory_remaining INTEGER NOT NULL, memory_bps INTEGER NOT NULL,\n"
    "    dirty_bps INTEGER NOT NULL, iterations INTEGER NOT NULL,\n"
    "    disk_total INTEGER NOT NULL, disk_processed INTEGER NOT NULL,\n"
    "    disk_remaining INTEGER NOT NULL, downtime_limit_ms INTEGER NOT NULL,\n"
    "    eta_ms INTEGER NOT NULL, downtime_ms INTEGER NOT NULL, total_ms INTEGER NOT NULL,\n"
    "    phases TEXT NOT NULL, predicted_ms INTEGER NOT NULL,\n"
    "    predicted_downtime_ms INTEGER NOT NULL, resumed_at INTEGER NOT NULL,\n"
    "    active_at INTEGER NOT NULL, created_at INTEGER NOT NULL,\n"
    "    started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,\n"
    "    UNIQUE (uuid)\n"
    ") STRICT;\n"
    "CREATE INDEX migration_by_server ON migration (server_id);\n"
    "CREATE INDEX migration_by_status ON migration (status);\n"
    "\n"
    "CREATE TABLE volume (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, description TEXT, project_id\n"
    "    TEXT NOT NULL, user_id TEXT NOT NULL, status TEXT NOT NULL, size_gb INTEGER NOT\n"
    "    NULL, volume_type TEXT NOT NULL, bootable INTEGER NOT NULL CHECK (bootable IN (0,\n"
    "    1)), read_only INTEGER NOT NULL CHECK (read_only IN (0, 1)), image_id TEXT,\n"
    "    image_metadata TEXT NOT NULL, snapshot_id TEXT, source_volume_id TEXT, metadata\n"
    "    TEXT NOT NULL, availability_zone TEXT, progress_percent INTEGER NOT NULL,\n"
    "    fault_message TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX volume_by_project ON volume (project_id, created_at);\n"
    "\n"
    "CREATE TABLE snapshot (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, description TEXT, volume_id TEXT\n"
    "    NOT NULL, project_id TEXT NOT NULL, user_id TEXT NOT NULL, status TEXT NOT NULL,\n"
    "    size_gb INTEGER NOT NULL, metadata TEXT NOT NULL, fault_message TEXT, created_at\n"
    "    INTEGER NOT NULL, updated_at INTEGER NOT NULL, FOREIGN KEY (volume_id) REFERENCES\n"
    "    volume (id)\n"
    ") STRICT;\n"
    "CREATE INDEX snapshot_by_volume ON snapshot (volume_id);\n"
    "CREATE INDEX snapshot_by_project ON snapshot (project_id);\n"
    "\n"
    "CREATE TABLE volume_type (\n"
    "    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, description TEXT, is_public\n"
    "    INTEGER NOT NULL CHECK (is_public IN (0, 1)), extra_specs TEXT NOT NULL,\n"
    "    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, UNIQUE (name)\n"
    ") STRICT;\n"
    "\n"
    "INSERT INTO volume_type (id, name, description, is_public, extra_specs, created_at, "
    "updated_at)\n"
    "    VALUES ('6a0e0bd4-53ee-4d0c-9d5e-0f6f7c0a3b51', '__DEFAULT__', 'Default Volume Type', 1,\n"
    "    '{}', unixepoch() * 1000000, unixepoch() * 1000000);\n"
    "\n"
    "CREATE TABLE attachment (\n"
    "    id TEXT PRIMARY KEY NOT NULL, volume_id TEXT NOT NULL, server_id TEXT NOT NULL,\n"
    "    state TEXT NOT NULL, device TEXT NOT NULL, boot_index INTEGER NOT NULL,\n"
    "    delete_on_termination INTEGER NOT NULL CHECK (delete_on_termination IN (0, 1)),\n"
    "    read_only INTEGER NOT NULL CHECK (read_only IN (0, 1)), tag TEXT, attached_at\n"
    "    INTEGER NOT NULL, created_at INTEGER NOT NULL, UNIQUE (volume_id), UNIQUE\n"
    "    (server_id, device), FOREIGN KEY (volume_id) REFERENCES volume (id), FOREIGN KEY\n"
    "    (server_id) REFERENCES server (id)\n"
    ") STRICT;\n"
    "\n"
    "CREATE TABLE quota (\n"
    "    id TEXT PRIMARY KEY NOT NULL, volumes INTEGER NOT NULL, snapshots INTEGER NOT\n"
    "    NULL, gigabytes INTEGER NOT NULL, per_volume_gigabytes INTEGER NOT NULL\n"
    ") STRICT;\n"
    "\n"
    "CREATE TABLE disk_client (\n"
    "    id INTEGER PRIMARY KEY AUTOINCREMENT, server_id TEXT NOT NULL, source TEXT NOT\n"
    "    NULL, host TEXT NOT NULL, address TEXT NOT NULL, created_at INTEGER NOT NULL,\n"
    "    UNIQUE (source, address)\n"
    ") STRICT;\n"
    "CREATE INDEX disk_client_by_server ON disk_client (server_id);\n"
    "CREATE INDEX disk_client_by_host ON disk_client (host);\n"
    "\n"
    "CREATE TABLE task (\n"
    "    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, server_id TEXT NOT NULL,\n"
    "    volume_id TEXT, migration_id INTEGER NOT NULL, status TEXT NOT NULL, phase INTEGER NOT "
    "NULL,\n"
    "    mark TEXT NOT NULL, params TEXT NOT NULL, state TEXT NOT NULL, host TEXT,\n"
    "    request_id TEXT NOT NULL, user_id TEXT NOT NULL, project_id TEXT NOT NULL,\n"
    "    deadline_at INTEGER NOT NULL, error_code TEXT, error_message TEXT,\n"
    "    epoch INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,\n"
    "    ended_at INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX task_by_status ON task (status);\n"
    "CREATE INDEX task_by_server ON task (server_id);\n"
    "CREATE INDEX task_by_volume ON task (volume_id);\n"
    "\n"
    "CREATE TABLE \"action\" (\n"
    "    id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL,\n"
    "    server_id TEXT NOT NULL, project_id TEXT NOT NULL, user_id TEXT NOT NULL,\n"
    "    action TEXT NOT NULL, message TEXT, started_at INTEGER NOT NULL,\n"
    "    updated_at INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX action_by_server ON \"action\" (server_id);\n"
    "CREATE INDEX action_by_request ON \"action\" (request_id);\n"
    "\n"
    "CREATE TABLE action_event (\n"
    "    id INTEGER PRIMARY KEY AUTOINCREMENT, action_id INTEGER NOT NULL,\n"
    "    event TEXT NOT NULL, host TEXT, result TEXT, details TEXT,\n"
    "    started_at INTEGER NOT NULL, finished_at INTEGER NOT NULL,\n"
    "    FOREIGN KEY (action_id) REFERENCES \"action\" (id) ON DELETE CASCADE\n"
    ") STRICT;\n"
    "CREATE INDEX action_event_by_action ON action_event (action_id);\n"
    "\n"
    "CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT, WITHOUT "
    "ROWID;\n"
    "CREATE TABLE sequence (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) STRICT, "
    "WITHOUT ROWID;\n",

    /* 2: wishes, the queue and attempts of moves; resize; evacuation and its fences */
    "ALTER TABLE migration ADD COLUMN wish TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE migration ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE migration ADD COLUMN attempts TEXT;\n"
    "ALTER TABLE migration ADD COLUMN old_vcpus INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE migration ADD COLUMN old_ram_mb INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE migration ADD COLUMN new_vcpus INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE migration ADD COLUMN new_ram_mb INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE migration ADD COLUMN old_flavor TEXT;\n"
    "ALTER TABLE migration ADD COLUMN new_flavor TEXT;\n"
    "ALTER TABLE migration ADD COLUMN old_vm_state TEXT NOT NULL DEFAULT 'active';\n"
    "ALTER TABLE migration ADD COLUMN fence TEXT;\n"
    "ALTER TABLE server ADD COLUMN locked_by TEXT;\n"
    "ALTER TABLE host ADD COLUMN foreign_domains INTEGER NOT NULL DEFAULT 0;\n"
    "CREATE INDEX migration_by_source ON migration (source_host, status);\n"
    "\n"
    "CREATE TABLE fence (\n"
    "    id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, address TEXT NOT NULL,\n"
    "    server_id TEXT NOT NULL, expires_at INTEGER NOT NULL, created_at INTEGER NOT NULL,\n"
    "    UNIQUE (address)\n"
    ") STRICT;\n"
    "CREATE INDEX fence_by_host ON fence (host);\n",
};

static const RecordType *const record_types[] = {
    &PROJECT,  &USER,        &ROLE,       &ASSIGNMENT, &TOKEN,        &HOST,
    &FLAVOR,   &IMAGE,       &KEYPAIR,    &NETWORK,    &SUBNET,       &PORT,
    &SERVER,   &MIGRATION,   &TASK,       &ACTION,     &ACTION_EVENT, &VOLUME,
    &SNAPSHOT, &VOLUME_TYPE, &ATTACHMENT, &QUOTA,      &DISK_CLIENT,  &FENCE,
};

static bool
pragma_read(Conn *conn, const char *sql, int64_t *value, GError **err)
{
    AUTO_STATEMENT statement = conn_prepare(conn, sql, err);
    if (statement == NULL)
        return false;
    if (sqlite3_step(statement) != SQLITE_ROW)
        return conn_error(conn, "reading the schema version", err);
    *value = sqlite3_column_int64(statement, 0);
    return true;
}

static bool
schema_upgrade(Conn *conn, int64_t version, GError **err)
{
    for (size_t i = (size_t)version; i < G_N_ELEMENTS(schema_steps); i++) {
        if (!conn_exec(conn, schema_steps[i], err)) {
            g_prefix_error(err, "schema step %zu: ", i + 1);
            return false;
        }
    }
    g_autofree char *marks =
        g_strdup_printf("PRAGMA application_id = %d; PRAGMA user_version = %zu;", APPLICATION_ID,
                        G_N_ELEMENTS(schema_steps));
    return conn_exec(conn, marks, err);
}

static bool
schema_judge(Conn *conn, int64_t *version, GError **err)
{
    int64_t application = 0, objects = 0;
    if (!pragma_read(conn, "PRAGMA user_version", version, err) ||
        !pragma_read(conn, "PRAGMA application_id", &application, err) ||
        !pragma_read(conn, "SELECT count(*) FROM sqlite_schema", &objects, err))
        return false;
    if (application != APPLICATION_ID && (objects > 0 || *version != 0))
        return err_set(err, ERR_INVALID,
                       "%s is an SQLite database, but not a state file of Godwit; nothing was "
                       "changed. Check the path in "
                       "the configuration",
                       conn->path);
    if (*version < 0 || *version > (int64_t)G_N_ELEMENTS(schema_steps))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s has schema version %" PRId64
                       ", this godwitd knows up to %zu: it was written by a newer one. "
                       "Install that version again, or restore the copy made before the upgrade",
                       conn->path, *version, G_N_ELEMENTS(schema_steps));
    return true;
}

/* Kept in the file; only after it is known to be ours. */
static bool
journal_set(Conn *conn, GError **err)
{
    AUTO_STATEMENT statement = conn_prepare(conn, "PRAGMA journal_mode = WAL", err);
    if (statement == NULL)
        return false;
    if (sqlite3_step(statement) != SQLITE_ROW)
        return conn_error(conn, "setting the journal mode", err);
    const char *mode = (const char *)sqlite3_column_text(statement, 0);
    if (g_strcmp0(mode, "wal") != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the file system allows no write-ahead log (journal mode stays \"%s\"); "
                       "put the state "
                       "file on a local one",
                       conn->path, mode);
    return true;
}

static bool
columns_agree(Conn *conn, const RecordType *type, GError **err)
{
    AUTO_STATEMENT statement =
        conn_prepare(conn, "SELECT name, type FROM pragma_table_info(?) ORDER BY cid", err);
    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, type->table, -1, SQLITE_STATIC);
    size_t found = 0;
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        const char *column_type = (const char *)sqlite3_column_text(statement, 1);
        const Field *field = record_field(type, name);
        if (field == NULL)
            return err_set(err, ERR_BUG, "table %s has a column %s that the record lacks",
                           type->table, name);
        bool number = field->type == FIELD_INT || field->type == FIELD_BOOL;
        if (strcmp(column_type, number ? "INTEGER" : "TEXT") != 0)
            return err_set(err, ERR_BUG, "column %s.%s has type %s, which is not the record's",
                           type->table, name, column_type);
        found++;
    }
    if (rc != SQLITE_DONE)
        return conn_error(conn, "reading the schema", err);
    if (found != type->n_fields)
        return err_set(err, ERR_BUG, "table %s has %zu columns, the record %zu fields", type->table,
                       found, type->n_fields);
    return true;
}

bool
schema_prepare(Conn *conn, GError **err)
{
    int64_t version = 0;
    if (!schema_judge(conn, &version, err) || !journal_set(conn, err))
        return false;
    if (version < (int64_t)G_N_ELEMENTS(schema_steps)) {
        if (!conn_begin(conn, true, err))
            return false;
        if (!schema_upgrade(conn, version, err)) {
            conn_rollback(conn);
            return false;
        }
        if (!conn_commit(conn, err))
            return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(record_types); i++) {
        if (!columns_agree(conn, record_types[i], err))
            return false;
    }
    return true;
}
