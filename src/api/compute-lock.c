/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-lock.c: lock, unlock, os-resetState: actions that change the record and touch no node
 *
 * A lock remembers whose it is: one that an administrator set is not lifted by the owner. Setting a
 * state by hand is for a record that is wrong about a server at rest. It never takes the place of a
 * task that is still at work, and never forgets what two nodes hold for a resize. */
#include <string.h>

#include "api/compute-priv.h"

static const BodyMember lock_members[] = {
    {.key = "locked_reason", .type = BODY_TEXT, .least = 1, .most = 255},
    {0},
};
static const char *const state_words[] = {"active", "error", NULL};
static const BodyMember reset_members[] = {
    {.key = "state", .type = BODY_WORD, .required = true, .words = state_words},
    {0},
};

static const BodyMember lock_body[] = {
    {.key = "lock", .type = BODY_ANY, .until = 72},
    {.key = "lock", .type = BODY_OBJECT_OR_NULL, .since = 73, .members = lock_members},
    {0},
};
static const BodyMember unlock_body[] = {{.key = "unlock", .type = BODY_ANY}, {0}};
static const BodyMember reset_body[] = {
    {.key = "os-resetState", .type = BODY_OBJECT, .members = reset_members}, {0}};

bool
compute_action_record(StoreTx *tx, ApiCall *call, const Server *server, const char *title,
                      const char *event, GError **err)
{
    int64_t now = clock_realtime();
    Action action = {.request_id = call->request_id,
                     .server_id = server->id,
                     .project_id = call->caller->project_id,
                     .user_id = call->caller->user_id,
                     .action = (char *)title,
                     .started_at = now,
                     .updated_at = now};
    ActionEvent row = {
        .event = (char *)event, .result = (char *)"Success", .started_at = now, .finished_at = now};

    if (!store_insert(tx, &ACTION, &action, err))
        return false;
    row.action_id = action.id;
    return store_insert(tx, &ACTION_EVENT, &row, err);
}

/* ---- lock ---------------------------------------------------------------------------------------
 */

static bool
lock_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *reason = opaque;
    bool is_admin = call->caller->is_admin;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);

    if (!server)
        return false;
    if (server->locked && !is_admin) /* as it is, and whose it is */
        return true;
    server->locked = true;
    text_set(&server->locked_by, is_admin ? "admin" : "owner");
    if (reason)
        text_set(&server->locked_reason, reason);
    server->updated_at = clock_realtime();
    return store_update(tx, &SERVER, server, err) &&
           compute_action_record(tx, call, server, "lock", "api_lock", err);
}

static void
action_lock(ApiCall *call, const json_t *arguments)
{
    const char *reason =
        api_microversion_at_least(call, 73) ? body_text(arguments, "locked_reason") : NULL;

    if (api_write(call, lock_run, (void *)reason))
        api_reply_empty(call, 202);
}

static bool
unlock_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);

    (void)opaque;
    if (!server)
        return false;
    if (server->locked && g_strcmp0(server->locked_by, "admin") == 0 && !call->caller->is_admin)
        return err_set(err, ERR_FORBIDDEN,
                       "Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override "
                       "to be performed: an administrator has locked instance %s%s%s, and only an "
                       "administrator can unlock it.",
                       server->id, server->locked_reason ? ", because: " : "",
                       server->locked_reason ? server->locked_reason : "");
    server->locked = false;
    text_set(&server->locked_by, NULL);
    text_set(&server->locked_reason, NULL);
    server->updated_at = clock_realtime();
    return store_update(tx, &SERVER, server, err) &&
           compute_action_record(tx, call, server, "unlock", "api_unlock", err);
}

static void
action_unlock(ApiCall *call, const json_t *arguments)
{
    (void)arguments;
    if (api_write(call, unlock_run, NULL))
        api_reply_empty(call, 202);
}

/* ---- the state, by hand -------------------------------------------------------------------------
 */

/* A task that looks where the server is finds the new state as well as the old one. */
static bool
reset_is_safe(StoreTx *tx, const Server *server, VmState state, GError **err)
{
    const StoreCond open[] = {{"server_id", STORE_EQ, server->id, 0},
                              {"status", STORE_EQ, NULL, TASK_OPEN},
                              {"kind", STORE_NE, "server-reconcile", 0},
                              {0}};
    const StoreQuery query = {.where = open, .order_by = "id"};
    g_autoptr(GPtrArray) tasks = store_list(tx, &TASK, &query, err);

    if (!tasks)
        return false;
    if (tasks->len > 0) {
        const Task *task = tasks->pdata[0];

        return err_set(err, ERR_CONFLICT,
                       "Cannot 'os-resetState' instance %s while task %" PRId64
                       " (%s) is at work on it: it ends by itself, with its reason. Look at it "
                       "with 'godwit task show %" PRId64
                       "'; a live migration can be aborted with 'nova live-migration-abort'.",
                       server->id, task->id, task->kind, task->id);
    }
    if (server->vm_state == VM_RESIZED)
        return err_set(err, ERR_CONFLICT,
                       "Cannot 'os-resetState' instance %s while it is in vm_state resized: two "
                       "nodes hold it. Confirm the resize with 'nova resize-confirm', or go back "
                       "with 'nova resize-revert'.",
                       server->id);
    if (state == VM_ACTIVE && !server->host)
        return err_set(err, ERR_CONFLICT,
                       "Cannot 'os-resetState' instance %s to active: it is on no host. Delete it "
                       "and create it anew.",
                       server->id);
    return true;
}

static bool
reset_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    VmState state = *(const VmState *)opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);

    if (!server || !reset_is_safe(tx, server, state, err))
        return false;
    server->vm_state = state;
    server->task_state = TASK_NONE;
    server->updated_at = clock_realtime();
    return store_update(tx, &SERVER, server, err) &&
           compute_action_record(tx, call, server, "resetState", "api_reset_state", err);
}

static void
action_reset_state(ApiCall *call, const json_t *arguments)
{
    VmState state = strcmp(body_text(arguments, "state"), "error") == 0 ? VM_ERROR : VM_ACTIVE;

    if (!compute_admin_needed(call, "os-admin-actions:reset_state"))
        return;
    if (api_write(call, reset_run, &state))
        api_reply_empty(call, 202);
}

const ComputeAction compute_lock_actions[] = {
    {"lock", lock_body, action_lock},
    {"unlock", unlock_body, action_unlock},
    {"os-resetState", reset_body, action_reset_state},
    {0},
};
