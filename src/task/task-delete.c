/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-delete.c: power off, forget the domain, remove the disk, then the row
 *
 *   domain ─► disk
 *
 * The domain goes before the disk: nothing may write to a disk that is being removed. The memory
 * of a suspended server goes with its domain. If its node does not answer, the server stays, in
 * ERROR, and says so: a guest that may run on must not lose its record. Its volumes are given back
 * with the row: those that go with the server are deleted by tasks of their own. */
#include "task/disk-clients.h"
#include "task/resize.h"
#include "task/task-flatten.h"
#include "task/task-priv.h"

static bool
remove_domain(TaskRun *run, GError **err)
{
    const char *host = run->server->host, *id = run->server->id;

    if (!host)
        return true;
    return host_domain_destroy(run_hosts(run), host, id, DEADLINE_WORK, err) &&
           host_domain_undefine(run_hosts(run), host, id, DEADLINE_WORK, err) &&
           resize_remove_others(run, err);
}

static bool
remove_disk(TaskRun *run, GError **err)
{
    g_autofree char *source = NULL, *format = NULL;

    if (!storage_disk_source(run_storage(run), run->server_id, &source, &format, err))
        return false;
    flatten_await(source, FLATTEN_AWAIT);
    if (!part_clear_disk_clients(run, err))
        return false;
    part_console_delete(run);
    return storage_disk_delete(run_storage(run), run->server->id, err);
}

static bool
release_ports(TaskRun *run, StoreTx *tx, GError **err)
{
    const StoreCond where[] = {{"device_id", STORE_EQ, run->task->server_id, 0}, {NULL}};
    g_autoptr(GPtrArray) ports = store_list(tx, &PORT, &(StoreQuery){.where = where}, err);

    for (guint i = 0; ports && i < ports->len; i++) {
        Port *port = g_ptr_array_index(ports, i);
        bool ok;

        if (port->auto_delete) {
            ok = store_delete(tx, &PORT, port->id, err);
        } else {
            text_set(&port->device_id, "");
            text_set(&port->device_owner, "");
            ok = store_update(tx, &PORT, port, err);
        }
        if (!ok)
            return false;
    }
    return ports != NULL;
}

static void
set_deleted(TaskRun *run, Server *server)
{
    server->vm_state = VM_DELETED;
    server->task_state = TASK_NONE;
    server->power_state = POWER_UNKNOWN;
    server->terminated_at = clock_realtime();
    text_set(&server->host, NULL);
    text_set(&server->uncertainty, NULL);
}

static bool
succeed(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autofree char *host = g_strdup(run->server->host);

    return release_ports(run, tx, err) && part_release_volumes(run, tx, false, err) &&
           part_forget_clients(tx, run->server_id, err) &&
           resize_end_with_server(run, tx, "the server was deleted before it was confirmed", err) &&
           run_update_server(run, tx, set_deleted, err) &&
           part_finish_action(run, tx, "compute_terminate_instance", host, NULL, err);
}

static void
set_undeleted(TaskRun *run, Server *server)
{
    server->vm_state = VM_ERROR;
    server->task_state = TASK_NONE;
    server->fault_code = 500;
    server->fault_at = clock_realtime();
    text_set(&server->fault_message, run_state_text(run, "reason"));
}

static bool
fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    g_autofree char *text =
        g_strdup_printf("not deleted: %s; delete it again when that is mended", reason->message);

    run_set_state_text(run, "reason", text);
    /* It is in ERROR from now on: nobody could confirm or revert, and give free what it holds. */
    return resize_end_with_server(run, tx, "its server is being deleted", err) &&
           run_update_server(run, tx, set_undeleted, err) &&
           part_finish_action(run, tx, "compute_terminate_instance", run->server->host, reason,
                              err);
}

static const TaskStep steps[] = {
    {"domain", NULL, remove_domain, NULL, NULL},
    {"disk", NULL, remove_disk, NULL, NULL},
};
const TaskKind task_server_delete = {"server-delete", steps, 2, 60 * USEC_PER_SEC, succeed, fail};
