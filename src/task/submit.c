/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* submit.c: a request becomes a row: checked, announced and queued in one transaction */
#include <string.h>

#include "task/task-priv.h"

static const TaskKind *const kinds[] = {
    &task_server_create,         &task_server_start,         &task_server_stop,
    &task_server_reboot,         &task_server_delete,        &task_volume_create,
    &task_server_live_migrate,   &task_server_reconcile,     &task_volume_delete,
    &task_volume_extend,         &task_volume_attach,        &task_volume_detach,
    &task_snapshot_create,       &task_snapshot_delete,      &task_server_flatten,
    &task_volume_flatten,        &task_server_pause,         &task_server_unpause,
    &task_server_suspend,        &task_server_resume,        &task_server_resize,
    &task_server_confirm_resize, &task_server_revert_resize, &task_server_evacuate,
};

const TaskKind *
task_kind_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

bool
submit_insert_action(StoreTx *tx, const ActionRule *rule, const Server *server,
                     const TaskRequest *request, int64_t now, GError **err)
{
    Action action = {
        .request_id = (char *)request->request_id,
        .server_id = server->id,
        .project_id = (char *)request->project_id,
        .user_id = (char *)request->user_id,
        .action = (char *)rule->title,
        .started_at = now,
        .updated_at = now,
    };

    return store_insert(tx, &ACTION, &action, err);
}

static bool
insert_task(StoreTx *tx, const char *kind, const Server *server, const TaskRequest *request,
            int64_t now, int64_t *task_id, GError **err)
{
    Task task = {
        .kind = (char *)kind,
        .server_id = server->id,
        .migration_id = request->migration_id,
        .status = TASK_OPEN,
        .phase = 0,
        .mark = TASK_MARK_INTENT,
        .params = (char *)(request->params ? request->params : "{}"),
        .state = (char *)"{}",
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

bool
task_submit(StoreTx *tx, const char *action, Server *server, bool caller_is_admin,
            const TaskRequest *request, int64_t *task_id, GError **err)
{
    const ActionRule *rule = action_rule_find(action);
    int64_t now = clock_realtime();

    if (!rule || !rule->task_kind)
        return err_set(err, ERR_BUG, "no task does '%s'", action);
    if (!action_rule_permits(rule, server, caller_is_admin, err))
        return false;
    server->task_state = rule->task_state;
    server->updated_at = now;
    return store_update(tx, &SERVER, server, err) &&
           submit_insert_action(tx, rule, server, request, now, err) &&
           insert_task(tx, rule->task_kind, server, request, now, task_id, err);
}

bool
task_submit_live_migration(StoreTx *tx, Server *server, const char *dest, bool caller_is_admin,
                           const TaskRequest *request, int64_t *migration_id, GError **err)
{
    g_autofree char *uuid = uuid_new();
    int64_t now = clock_realtime();
    Migration migration = {
        .uuid = uuid,
        .server_id = server->id,
        .project_id = server->project_id,
        .user_id = (char *)request->user_id,
        .type = (char *)"live-migration",
        .status = MIGRATION_ACCEPTED,
        .phase = (char *)"queue",
        .source_host = server->host,
        .dest_host = (char *)dest,
        .dest_given = dest != NULL,
        .flavor_id = server->flavor_id,
        .priority = request->priority,
        .downtime_ms = -1,
        .total_ms = -1,
        .phases = (char *)"{}",
        .created_at = now,
        .updated_at = now,
    };
    TaskRequest with_id = *request;
    int64_t task_id;

    if (!server->host)
        return err_set(err, ERR_CONFLICT, "server %s is on no host: there is nothing to move",
                       server->id);
    if (!store_insert(tx, &MIGRATION, &migration, err))
        return false;
    with_id.migration_id = migration.id;
    with_id.host = dest;
    if (!task_submit(tx, "os-migrateLive", server, caller_is_admin, &with_id, &task_id, err))
        return false;
    *migration_id = migration.id;
    return true;
}

bool
part_finish_action(TaskRun *run, StoreTx *tx, const char *event, const char *host,
                   const GError *reason, GError **err)
{
    const StoreCond where[] = {{"request_id", STORE_EQ, run->task->request_id, 0},
                               {"server_id", STORE_EQ, run->task->server_id, 0},
                               {NULL}};
    g_autoptr(Action) action = NULL;
    int64_t now = clock_realtime();
    ActionEvent row = {0};

    if (!run->task->request_id ||
        !*run->task->request_id) /* nobody asked for it: a reconciliation */
        return true;
    action = store_find(tx, &ACTION, where, err);
    if (!action)
        return false;
    action->updated_at = now;
    text_set(&action->message, reason ? reason->message : NULL);
    row.action_id = action->id;
    row.event = (char *)event;
    row.host = (char *)host;
    row.result = (char *)(reason ? "Error" : "Success");
    row.details = (char *)(reason ? reason->message : NULL);
    row.started_at = run->task->created_at;
    row.finished_at = now;
    return store_update(tx, &ACTION, action, err) && store_insert(tx, &ACTION_EVENT, &row, err);
}
