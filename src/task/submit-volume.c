/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* submit-volume.c: requests about volumes become rows: checked, announced and queued in one
 * transaction
 *
 * A volume's status is what keeps two requests apart: the transaction that accepts one takes it out
 * of the statuses that the other needs. */
#include <string.h>

#include "task/task-priv.h"

#define VOLUMES_PER_SERVER 24 /* what the bus of a guest takes, with room for its other devices */

/* ---- tasks -------------------------------------------------------------------------------------
 */

/* was: the status that the volume had; a task that changes nothing gives it back. */
static bool
insert_task(StoreTx *tx, const char *kind, const char *server_id, const char *volume_id,
            VolumeStatus was, const char *params, const TaskRequest *request, int64_t *task_id,
            GError **err)
{
    g_autofree char *state = g_strdup_printf("{\"was\":%d}", (int)was);
    int64_t now = clock_realtime();
    Task task = {
        .kind = (char *)kind,
        .server_id = (char *)server_id,
        .volume_id = (char *)volume_id,
        .status = TASK_OPEN,
        .mark = TASK_MARK_INTENT,
        .params = (char *)(params ? params : "{}"),
        .state = state,
        .host = (char *)request->host,
        .request_id = (char *)request->request_id,
        .user_id = (char *)request->user_id,
        .project_id = (char *)request->project_id,
        .created_at = now,
        .updated_at = now,
    };

    if (!store_insert(tx, &TASK, &task, err))
        return false;
    if (task_id)
        *task_id = task.id;
    return true;
}

static bool
set_volume_status(StoreTx *tx, Volume *volume, VolumeStatus status, GError **err)
{
    volume->status = status;
    volume->updated_at = clock_realtime();
    return store_update(tx, &VOLUME, volume, err);
}

/* The server that has the volume: *server_id is "" if none has. */
static bool
find_server(StoreTx *tx, const char *volume_id, char **server_id, GError **err)
{
    const StoreCond where[] = {{"volume_id", STORE_EQ, volume_id, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = store_list(tx, &ATTACHMENT, &(StoreQuery){.where = where}, err);

    if (!rows)
        return false;
    *server_id = g_strdup(rows->len ? ((Attachment *)g_ptr_array_index(rows, 0))->server_id : "");
    return true;
}

static bool
refuse_with_snapshots(StoreTx *tx, const Volume *volume, GError **err)
{
    /* One that is being deleted is gone first: the tasks of a volume follow each other. */
    const StoreCond where[] = {{"volume_id", STORE_EQ, volume->id, 0},
                               {"status", STORE_NE, NULL, SNAPSHOT_DELETING},
                               {NULL}};
    int64_t snapshots = store_count(tx, &SNAPSHOT, where, err);

    if (snapshots > 0)
        return err_set(err, ERR_CONFLICT,
                       "Invalid volume: Volume %s still has %" PRId64 " dependent snapshots.",
                       volume->id, snapshots);
    return snapshots == 0;
}

bool
task_submit_volume(StoreTx *tx, const char *action, Volume *volume, const TaskRequest *request,
                   int64_t *task_id, GError **err)
{
    const VolumeRule *rule = volume_rule_find(action);
    VolumeStatus was = volume->status;
    g_autofree char *server_id = NULL;

    if (!rule || !rule->task_kind)
        return err_set(err, ERR_BUG, "no task does '%s' to a volume", action);
    if (!volume_rule_permits(rule, volume, err) ||
        (rule->refused_with_snapshots && !refuse_with_snapshots(tx, volume, err)) ||
        !find_server(tx, volume->id, &server_id, err))
        return false;
    /* Only an extension is allowed while a server has the volume; it is about both. */
    if (*server_id && strcmp(action, "extend") != 0)
        return err_set(err, ERR_CONFLICT, "Invalid volume: Volume %s is attached to server %s.",
                       volume->id, server_id);
    return set_volume_status(tx, volume, rule->status_while, err) &&
           insert_task(tx, rule->task_kind, server_id, volume->id, was, request->params, request,
                       task_id, err);
}

bool
task_submit_snapshot(StoreTx *tx, const char *action, Volume *volume, Snapshot *snapshot,
                     bool force, const TaskRequest *request, int64_t *task_id, GError **err)
{
    bool is_create = strcmp(action, "snapshot-create") == 0;
    const VolumeRule *rule = volume_rule_find(force ? "snapshot-in-use" : "snapshot");
    g_autofree char *params = g_strdup_printf("{\"snapshot_id\":\"%s\"}", snapshot->id);

    if (!is_create && strcmp(action, "snapshot-delete") != 0)
        return err_set(err, ERR_BUG, "no task does '%s' to a snapshot", action);
    if (is_create && !volume_rule_permits(rule, volume, err))
        return false;
    if (!is_create && snapshot->status != SNAPSHOT_AVAILABLE &&
        snapshot->status != SNAPSHOT_ERROR && snapshot->status != SNAPSHOT_ERROR_DELETING)
        return err_set(err, ERR_CONFLICT,
                       "Invalid snapshot: Snapshot status must be available or error or "
                       "error_deleting to delete, but current status is: %s.",
                       snapshot_status_names[snapshot->status]);
    snapshot->status = is_create ? SNAPSHOT_CREATING : SNAPSHOT_DELETING;
    snapshot->updated_at = clock_realtime();
    return store_update(tx, &SNAPSHOT, snapshot, err) &&
           insert_task(tx, action, "", volume->id, volume->status, params, request, task_id, err);
}

/* ---- volumes in servers ------------------------------------------------------------------------
 */

static bool
choose_device(StoreTx *tx, const Server *server, const AttachRequest *request, char **device,
              GError **err)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, server->id, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = store_list(tx, &ATTACHMENT, &(StoreQuery){.where = where}, err);
    g_autofree const char **taken = NULL;
    bool is_root = request->boot_index == 0 && (!server->image_id || !*server->image_id);
    guint n = 0;

    if (!rows)
        return false;
    if (rows->len >= VOLUMES_PER_SERVER)
        return err_set(err, ERR_FORBIDDEN,
                       "The maximum allowed number of disk devices (%d) to attach to a single "
                       "instance has been exceeded.",
                       VOLUMES_PER_SERVER);
    taken = g_new0(const char *, rows->len + 2);
    for (; n < rows->len; n++)
        taken[n] = ((Attachment *)g_ptr_array_index(rows, n))->device;
    if (!is_root) /* of the server's own disk, or kept for the volume that it boots from */
        taken[n] = "vda";
    if (!request->device)
        return (*device = device_name_next(taken)) ||
               err_set(err, ERR_CONFLICT, "server %s has no device name left", server->id);
    *device = device_name_parse(request->device);
    if (!*device)
        return err_set(err, ERR_INVALID,
                       "The supplied device name (%s) is invalid: a disk of a server is called "
                       "/dev/vdb, /dev/vdc, …",
                       request->device);
    if (g_strv_contains(taken, *device))
        return err_set(err, ERR_CONFLICT, "The supplied device path (/dev/%s) is in use.", *device);
    return true;
}

/* The one exception from "available": a volume that is made together with its server. */
static bool
may_be_reserved(StoreTx *tx, const Volume *volume, GError **err)
{
    const StoreCond own_task[] = {
        {"volume_id", STORE_EQ, volume->id, 0}, {"status", STORE_EQ, NULL, TASK_OPEN}, {NULL}};
    int64_t open;

    if (volume->status != VOLUME_CREATING)
        return volume_rule_permits(volume_rule_find("attach"), volume, err);
    open = store_count(tx, &TASK, own_task, err);
    if (open > 0)
        return volume_rule_permits(volume_rule_find("attach"), volume, err);
    return open == 0;
}

bool
task_reserve_volume(StoreTx *tx, const Server *server, Volume *volume, const AttachRequest *request,
                    Attachment **attachment, GError **err)
{
    g_autofree char *id = uuid_new(), *device = NULL;
    int64_t now = clock_realtime();
    Attachment row = {
        .id = id,
        .volume_id = volume->id,
        .server_id = server->id,
        .state = ATTACHMENT_RESERVED,
        .boot_index = request->boot_index,
        .delete_on_termination = request->delete_on_termination,
        .read_only = volume->read_only,
        .tag = (char *)request->tag,
        .created_at = now,
    };

    if (!may_be_reserved(tx, volume, err) || !choose_device(tx, server, request, &device, err))
        return false;
    row.device = device;
    if (volume->status != VOLUME_CREATING && !set_volume_status(tx, volume, VOLUME_ATTACHING, err))
        return false;
    if (!store_insert(tx, &ATTACHMENT, &row, err))
        return false;
    if (attachment)
        *attachment = record_copy(&ATTACHMENT, &row);
    return true;
}

/* The rule of the action against the server, and the instance action that tells of it. */
static bool
open_action(StoreTx *tx, const char *action, const Server *server, bool caller_is_admin,
            const TaskRequest *request, const ActionRule **rule, GError **err)
{
    *rule = action_rule_find(action);
    return action_rule_permits(*rule, server, caller_is_admin, err) &&
           submit_insert_action(tx, *rule, server, request, clock_realtime(), err);
}

static char *
attachment_params(const Attachment *attachment)
{
    return g_strdup_printf("{\"attachment_id\":\"%s\"}", attachment->id);
}

bool
task_submit_attach(StoreTx *tx, Server *server, Volume *volume, const AttachRequest *attach,
                   bool caller_is_admin, const TaskRequest *request, Attachment **attachment,
                   GError **err)
{
    const ActionRule *rule;
    VolumeStatus was = volume->status;
    g_autofree char *params = NULL;
    g_autoptr(Attachment) row = NULL;

    if (!volume_rule_permits(volume_rule_find("attach"), volume, err) ||
        !open_action(tx, "attach-volume", server, caller_is_admin, request, &rule, err) ||
        !task_reserve_volume(tx, server, volume, attach, &row, err))
        return false;
    params = attachment_params(row);
    if (!insert_task(tx, rule->task_kind, server->id, volume->id, was, params, request, NULL, err))
        return false;
    if (attachment)
        *attachment = g_steal_pointer(&row);
    return true;
}

bool
task_submit_detach(StoreTx *tx, Server *server, Attachment *attachment, bool caller_is_admin,
                   const TaskRequest *request, GError **err)
{
    const ActionRule *rule;
    const VolumeRule *volume_rule = volume_rule_find("detach");
    g_autoptr(Volume) volume = NULL;
    g_autofree char *params = attachment_params(attachment);
    VolumeStatus was;

    if (attachment->boot_index == 0)
        return err_set(err, ERR_INVALID, "Cannot detach a root device volume");
    volume = store_get(tx, &VOLUME, attachment->volume_id, err);
    if (!volume || !volume_rule_permits(volume_rule, volume, err) ||
        !open_action(tx, "detach-volume", server, caller_is_admin, request, &rule, err))
        return false;
    was = volume->status;
    attachment->state = ATTACHMENT_DETACHING;
    return set_volume_status(tx, volume, volume_rule->status_while, err) &&
           store_update(tx, &ATTACHMENT, attachment, err) &&
           insert_task(tx, rule->task_kind, server->id, volume->id, was, params, request, NULL,
                       err);
}
