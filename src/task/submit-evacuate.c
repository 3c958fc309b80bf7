/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* submit-evacuate.c: may this server be brought up elsewhere, and how is its node shut out? */
#include <string.h>

#include "task/runner.h"

static Host *
find_host(StoreTx *tx, const char *name)
{
    const StoreCond where[] = {{"name", STORE_EQ, name, 0}, {NULL}};

    return store_find(tx, &HOST, where, NULL);
}

static bool
check_source(StoreTx *tx, const Server *server, GError **err)
{
    g_autoptr(Host) host = NULL;

    if (server->task_state == TASK_REBUILDING)
        return err_set(err, ERR_CONFLICT, "server %s is being evacuated already", server->id);
    if (server->task_state == TASK_DELETING)
        return err_set(err, ERR_CONFLICT, "server %s is being deleted", server->id);
    if (!server->host)
        return err_set(err, ERR_CONFLICT,
                       "server %s is on no host: there is nothing to evacuate it from", server->id);
    host = find_host(tx, server->host);
    if (!host || host->forced_down || host->state == HOST_DOWN)
        return true;
    if (host->state == HOST_UNKNOWN)
        return err_set(
            err, ERR_CONFLICT,
            "whether %s is up is not known yet: wait some seconds until it has answered "
            "or is down, or force it down with `nova service-force-down %s nova-compute`",
            host->name, host->name);
    return err_set(err, ERR_CONFLICT,
                   "%s is up: stop it, or force it down with `nova service-force-down %s "
                   "nova-compute`; servers of a host that is up are moved, not evacuated",
                   host->name, host->name);
}

static bool
check_dest(StoreTx *tx, const Server *server, const char *dest, GError **err)
{
    g_autoptr(Host) host = NULL;

    if (!dest)
        return true;
    if (g_strcmp0(server->host, dest) == 0)
        return err_set(err, ERR_CONFLICT, "%s is the host that server %s is to be evacuated from",
                       dest, server->id);
    host = find_host(tx, dest);
    if (!host)
        return err_set(err, ERR_NOT_FOUND, "Compute host %s could not be found.", dest);
    if (host->forced_down || host->state != HOST_UP)
        return err_set(err, ERR_CONFLICT, "%s is not up: no server can be started there", dest);
    return host->enabled || err_set(err, ERR_CONFLICT, "%s is disabled%s%s: enable it first", dest,
                                    host->disabled_reason ? ", " : "",
                                    host->disabled_reason ? host->disabled_reason : "");
}

static bool
check_fence(const Server *server, const EvacuateRequest *evacuate, GError **err)
{
    TaskEngine *engine = (TaskEngine *)evacuate->engine;
    const char *command = engine ? engine_settings(engine)->fence_command : NULL;

    if ((engine && engine_storage(engine)->ops->can_fence) || (command && *command) ||
        (evacuate->override && *evacuate->override))
        return true;
    return err_set(err, ERR_CONFLICT,
                   "%s may still run server %s, and this storage cannot shut it out: configure "
                   "fence_command in [rescue], or make sure that %s is off and say so with `godwit "
                   "host rescue %s --override REASON`",
                   server->host, server->id, server->host, server->host);
}

/* What the server was before the first attempt that broke it. */
static VmState
state_before(StoreTx *tx, const Server *server)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, server->id, 0},
                               {"type", STORE_EQ, "evacuation", 0},
                               {"source_host", STORE_EQ, server->host, 0},
                               {"status", STORE_EQ, NULL, MIGRATION_ERROR},
                               {NULL}};
    g_autoptr(GPtrArray) rows = NULL;

    if (server->vm_state != VM_ERROR)
        return server->vm_state;
    rows = store_list(
        tx, &MIGRATION,
        &(StoreQuery){.where = where, .order_by = "id", .descending = true, .limit = 1}, NULL);
    return rows && rows->len ? ((Migration *)g_ptr_array_index(rows, 0))->old_vm_state : VM_ERROR;
}

static char *
task_params(const EvacuateRequest *evacuate)
{
    json_t *params = json_pack("{s:b}", "leave_stopped", evacuate->leave_stopped);
    char *text;

    if (evacuate->override && *evacuate->override)
        json_object_set_new(params, "override", json_string(evacuate->override));
    text = json_dumps(params, JSON_COMPACT);
    json_decref(params);
    return text;
}

bool
task_submit_evacuate(StoreTx *tx, Server *server, const EvacuateRequest *evacuate,
                     bool caller_is_admin, const TaskRequest *request, int64_t *migration_id,
                     GError **err)
{
    g_autofree char *uuid = uuid_new(), *params = task_params(evacuate);
    int64_t now = clock_realtime(), task_id;
    TaskRequest with_id = *request;
    Migration migration = {
        .uuid = uuid,
        .server_id = server->id,
        .project_id = server->project_id,
        .user_id = (char *)request->user_id,
        .type = (char *)"evacuation",
        .status = MIGRATION_ACCEPTED,
        .phase = (char *)"verify",
        .source_host = server->host,
        .dest_host = (char *)evacuate->dest,
        .dest_given = evacuate->dest != NULL,
        .flavor_id = server->flavor_id,
        .downtime_ms = -1,
        .total_ms = -1,
        .phases = (char *)"{}",
        .old_vm_state = state_before(tx, server),
        .created_at = now,
        .updated_at = now,
    };

    if (!check_source(tx, server, err) || !check_dest(tx, server, evacuate->dest, err) ||
        !check_fence(server, evacuate, err) || !store_insert(tx, &MIGRATION, &migration, err))
        return false;
    with_id.migration_id = migration.id;
    with_id.host = evacuate->dest;
    with_id.params = params;
    if (!task_submit(tx, "evacuate", server, caller_is_admin, &with_id, &task_id, err))
        return false;
    *migration_id = migration.id;
    return true;
}
