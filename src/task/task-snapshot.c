/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-snapshot.c: create and delete a snapshot of a volume
 *
 *   create:  take                     row: creating ─► available │ error
 *   delete:  remove                   row: deleting ─► gone │ available │ error_deleting
 *
 * Keyed by the volume, so that the snapshots of one volume and its deletion follow each other. */
#include "task/task-priv.h"

static const char *
snapshot_id(TaskRun *run)
{
    const char *id = json_string_value(json_object_get(run->params, "snapshot_id"));

    return id ? id : "";
}

static bool
set_snapshot(TaskRun *run, StoreTx *tx, SnapshotStatus status, const char *reason, GError **err)
{
    g_autoptr(Snapshot) row = store_get(tx, &SNAPSHOT, snapshot_id(run), err);

    if (!row)
        return false;
    row->status = status;
    text_set(&row->fault_message, reason);
    row->updated_at = clock_realtime();
    return store_update(tx, &SNAPSHOT, row, err);
}

/* ---- create
 * ----------------------------------------------------------------------------------------- */

static bool
take(TaskRun *run, GError **err)
{
    return storage_snapshot_create(run_storage(run), run->volume_id, snapshot_id(run), err);
}

static bool
remove_snapshot(TaskRun *run, GError **err)
{
    return storage_snapshot_delete(run_storage(run), run->volume_id, snapshot_id(run), err);
}

static bool
create_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return set_snapshot(run, tx, SNAPSHOT_AVAILABLE, NULL, err);
}

static bool
create_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    return set_snapshot(run, tx, SNAPSHOT_ERROR, reason->message, err);
}

static const TaskStep create_steps[] = {{"take", NULL, take, NULL, remove_snapshot}};
const TaskKind task_snapshot_create = {"snapshot-create", create_steps,     1,
                                       60 * USEC_PER_SEC, create_succeeded, create_failed};

/* ---- delete
 * ----------------------------------------------------------------------------------------- */

static bool
delete_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return store_delete(tx, &SNAPSHOT, snapshot_id(run), err);
}

static bool
delete_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    SnapshotStatus status =
        err_is(reason, ERR_CONFLICT) ? SNAPSHOT_AVAILABLE : SNAPSHOT_ERROR_DELETING;

    return set_snapshot(run, tx, status, reason->message, err);
}

static const TaskStep delete_steps[] = {{"remove", NULL, remove_snapshot, NULL, NULL}};
const TaskKind task_snapshot_delete = {"snapshot-delete", delete_steps,     1,
                                       60 * USEC_PER_SEC, delete_succeeded, delete_failed};
