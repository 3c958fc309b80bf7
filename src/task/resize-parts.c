/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resize-parts.c: what a resize, its confirmation and its revert have in common */
#include "task/resize.h"

#include <string.h>

/* ---- the record
 * --------------------------------------------------------------------------------------- */

static void
free_migration(gpointer migration)
{
    migration_free(migration);
}

static bool
read_migration(TaskRun *run, StoreTx *tx, GError **err)
{
    Migration *row = store_get_int(tx, &MIGRATION, run->task->migration_id, err);

    if (!row)
        return false;
    migration_free(run->data);
    run->data = row;
    run->data_free = free_migration;
    return true;
}

const Migration *
resize_migration(TaskRun *run, GError **err)
{
    return run_read(run, read_migration, err) ? run->data : NULL;
}

void
resize_enter_phase(TaskRun *run, const char *phase)
{
    phase_enter(run, "select", phase);
}

bool
resize_update(TaskRun *run, StoreTx *tx, void (*change)(TaskRun *run, Migration *row), GError **err)
{
    g_autoptr(Migration) row = store_get_int(tx, &MIGRATION, run->task->migration_id, err);

    if (!row)
        return false;
    if (change)
        change(run, row);
    phase_record(run, row);
    return store_update(tx, &MIGRATION, row, err);
}

bool
resize_on_one_host(const Migration *migration)
{
    return g_strcmp0(migration->source_host, migration->dest_host) == 0;
}

bool
resize_put(TaskRun *run, StoreTx *tx, bool on_dest, TaskState task_state, GError **err)
{
    g_autoptr(Migration) migration = store_get_int(tx, &MIGRATION, run->task->migration_id, err);
    g_autoptr(Server) server = migration ? store_get(tx, &SERVER, run->task->server_id, err) : NULL;
    const char *flavor;

    if (!server)
        return false;
    flavor = on_dest ? migration->new_flavor : migration->old_flavor;
    if (flavor && !server_flavor_apply(server, flavor, err))
        return false;
    text_set(&server->host, on_dest ? migration->dest_host : migration->source_host);
    part_console_add(server, server->host);
    server->power_state = POWER_SHUTDOWN;
    if (server->task_state != TASK_DELETING && server->task_state != TASK_REBUILDING)
        server->task_state = task_state; /* else somebody waits for just the end of this run */
    server->updated_at = clock_realtime();
    if (!store_update(tx, &SERVER, server, err))
        return false;
    server_free(run->server);
    run->server = g_steal_pointer(&server);
    return true;
}

Migration *
resize_find_finished(StoreTx *tx, const Server *server, GError **err)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, server->id, 0},
                               {"status", STORE_EQ, NULL, MIGRATION_FINISHED},
                               {NULL}};
    g_autoptr(GPtrArray) rows = store_list(
        tx, &MIGRATION,
        &(StoreQuery){.where = where, .order_by = "id", .descending = true, .limit = 1}, err);

    if (!rows)
        return NULL;
    if (rows->len == 0) {
        err_set(err, ERR_CONFLICT,
                "no resize of instance %s is recorded as finished, so there is nothing to confirm "
                "or revert",
                server->id);
        return NULL;
    }
    return record_copy(&MIGRATION, g_ptr_array_index(rows, 0));
}

bool
task_resize_holds(StoreTx *tx, const char *server_id, const char *host)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, server_id, 0}, {NULL}};
    g_autoptr(Server) server = store_get(tx, &SERVER, server_id, NULL);
    g_autoptr(GPtrArray) rows = NULL;

    if (!server || server->vm_state != VM_RESIZED)
        return false;
    rows = store_list(
        tx, &MIGRATION,
        &(StoreQuery){.where = where, .order_by = "id", .descending = true, .limit = 4}, NULL);
    for (guint i = 0; rows && i < rows->len; i++) {
        const Migration *row = g_ptr_array_index(rows, i);

        if ((row->status == MIGRATION_FINISHED || row->status == MIGRATION_CONFIRMING ||
             row->status == MIGRATION_REVERTING) &&
            (g_strcmp0(row->source_host, host) == 0 || g_strcmp0(row->dest_host, host) == 0))
            return true;
    }
    return false;
}

/* ---- a place
 * ------------------------------------------------------------------------------------------- */

static void
take_off(HostLoad *load, int64_t vcpus, int64_t ram_mb)
{
    load->vcpus_used -= vcpus;
    load->ram_mb_used -= ram_mb;
}

/* On its own host the server makes room for itself; and what it has reserved already is its own. */
PlacementRequest
resize_placement(const TaskSettings *settings, const Server *server, const Migration *migration,
                 HostLoad *loads, size_t n)
{
    bool stays = strcmp(migration->type, "resize") == 0 && settings->resize_same_host;

    for (size_t i = 0; i < n; i++) {
        const char *name = loads[i].host->name;
        bool is_source = g_strcmp0(name, migration->source_host) == 0;

        if (is_source && stays)
            take_off(&loads[i], server->vcpus, server->ram_mb);
        if (!migration->id || g_strcmp0(name, migration->dest_host) != 0)
            continue;
        if (is_source)
            take_off(&loads[i], MAX(migration->new_vcpus - server->vcpus, 0),
                     MAX(migration->new_ram_mb - server->ram_mb, 0));
        else
            take_off(&loads[i], migration->new_vcpus, migration->new_ram_mb);
    }
    return (PlacementRequest){
        .vcpus = migration->new_vcpus,
        .ram_mb = migration->new_ram_mb,
        .only_host = migration->dest_given ? migration->dest_host : NULL,
        .exclude_host = stays ? NULL : migration->source_host,
        .needs_storage = true,
        .cpu_ratio = settings->cpu_ratio,
        .ram_ratio = settings->ram_ratio,
        .reserved_ram_mb = settings->reserved_ram_mb,
        .virt_type = settings->libvirt ? settings->libvirt->virt_type : NULL,
    };
}

/* ---- domains
 * ------------------------------------------------------------------------------------------- */

bool
resize_start(TaskRun *run, GError **err)
{
    /* Before the config drive is written, too: a dead QEMU's watch on it would delay that. */
    return part_clear_disk_clients(run, err) && part_make_config_drive(run, err) &&
           part_start_domain(run, err);
}

bool
resize_define(TaskRun *run, GError **err)
{
    const char *host = run->server->host;
    g_autoptr(ServerSpec) spec = part_server_spec(run, host, err);

    return spec && host_domain_define(run_hosts(run), host, spec, DEADLINE_WORK, err);
}

/* Whoever was here before us may have got as far as that; and if the host does not answer, the step
 * itself is never run. */
StepProbe
resize_probe_start(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);

    if (!migration)
        return STEP_UNKNOWN;
    if (run->taken_up && migration->old_vm_state == VM_ACTIVE)
        run_set_state_int(run, "tried", 1);
    return part_probe_running(run, err);
}

static bool
does_not_answer(const GError *error)
{
    return err_is(error, ERR_UNREACHABLE) || err_is(error, ERR_TIMEOUT);
}

bool
resize_remove_domain(TaskRun *run, const char *host, bool *left, GError **err)
{
    g_autoptr(GError) error = NULL;

    *left = false;
    if (host_domain_destroy(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, &error) &&
        host_domain_undefine(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, &error))
        return true;
    *left = does_not_answer(error);
    if (!*left) {
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    log_event(LOG_LEVEL_NOTICE, "task",
              "what a resize has left on a host is removed when that answers again", "server",
              run->server_id, "host", host, "reason", error->message, NULL);
    return true;
}

/* ---- the end of the server
 * ------------------------------------------------------------------------------ */

static GPtrArray *
list_open(StoreTx *tx, const char *server_id, GError **err)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, server_id, 0}, {NULL}};
    g_autoptr(GPtrArray) rows =
        store_list(tx, &MIGRATION, &(StoreQuery){.where = where, .order_by = "id"}, err);

    for (guint i = rows ? rows->len : 0; i-- > 0;) {
        const Migration *row = g_ptr_array_index(rows, i);
        bool is_resize = strcmp(row->type, "resize") == 0 || strcmp(row->type, "migration") == 0;

        if (!is_resize || migration_status_is_final(row->status))
            g_ptr_array_remove_index(rows, i);
    }
    return g_steal_pointer(&rows);
}

typedef struct OpenRead {
    const char *server_id;
    GPtrArray *rows;
} OpenRead;

static bool
read_open(StoreTx *tx, void *opaque, GError **err)
{
    OpenRead *read = opaque;

    return (read->rows = list_open(tx, read->server_id, err)) != NULL;
}

bool
resize_remove_others(TaskRun *run, GError **err)
{
    OpenRead read = {.server_id = run->server_id};
    g_autoptr(GPtrArray) rows = NULL;

    if (!store_read(run_store(run), read_open, &read, err))
        return false;
    rows = read.rows;
    for (guint i = 0; i < rows->len; i++) {
        const Migration *row = g_ptr_array_index(rows, i);
        const char *hosts[] = {row->source_host, row->dest_host};

        for (size_t k = 0; k < G_N_ELEMENTS(hosts); k++) {
            bool left;

            if (hosts[k] && g_strcmp0(hosts[k], run->server->host) != 0 &&
                !resize_remove_domain(run, hosts[k], &left, err))
                return false;
        }
    }
    return true;
}

bool
resize_end_with_server(TaskRun *run, StoreTx *tx, const char *why, GError **err)
{
    g_autoptr(GPtrArray) rows = list_open(tx, run->task->server_id, err);

    for (guint i = 0; rows && i < rows->len; i++) {
        Migration *row = g_ptr_array_index(rows, i);

        row->status = MIGRATION_CONFIRMED; /* as Nova says of it */
        row->ended_at = row->updated_at = clock_realtime();
        text_set(&row->reason, why);
        if (!store_update(tx, &MIGRATION, row, err))
            return false;
    }
    return rows != NULL;
}
