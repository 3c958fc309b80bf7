/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* submit-resize.c: what the store alone can say against a resize, a cold migration, or their end,
 * is said before anything is accepted
 *
 * The order is that in which a person can act on it: the server's state, the flavor, the host that
 * was named, then whether any host can hold it. What only the nodes know comes out later, in the
 * record of the migration. */
#include <string.h>

#include "task/resize.h"
#include "task/runner.h"

const TaskSettings *
task_engine_settings(TaskEngine *engine)
{
    return engine_settings(engine);
}

/* ---- the flavor
 * --------------------------------------------------------------------------------------- */

static bool
refuse_smaller(const char *what, const char *unit, int64_t now, int64_t wanted, GError **err)
{
    return wanted >= now ||
           err_set(err, ERR_INVALID,
                   "Resize to a smaller %s is not possible: the instance has "
                   "%" PRId64 " %s, the flavor %" PRId64 ". What the guest has "
                   "written there would be cut off; choose a flavor with %" PRId64 " %s or more.",
                   what, now, unit, wanted, now, unit);
}

static bool
check_flavor(const Server *server, const Flavor *flavor, GError **err)
{
    if (strcmp(flavor->id, server->flavor_id) == 0)
        return err_set(err, ERR_INVALID,
                       "When resizing, instances must change flavor: instance %s has flavor %s "
                       "already. To give it another host with the same flavor, use 'migrate'.",
                       server->id, server->flavor_name);
    /* One that boots from a volume has no disk of its own, whatever the flavor says. */
    return (!*server->image_id ||
            refuse_smaller("disk", "GB", server->disk_gb, flavor->disk_gb, err)) &&
           refuse_smaller("ephemeral disk", "GB", server->ephemeral_gb, flavor->ephemeral_gb,
                          err) &&
           refuse_smaller("swap", "MB", server->swap_mb, flavor->swap_mb, err);
}

/* ---- the host
 * ----------------------------------------------------------------------------------------- */

static const Host *
find_host(const GPtrArray *hosts, const char *name)
{
    for (guint i = 0; i < hosts->len; i++) {
        const Host *host = g_ptr_array_index(hosts, i);

        if (g_strcmp0(host->name, name) == 0)
            return host;
    }
    return NULL;
}

/* The guest is to be powered off there, and its domain kept. */
static bool
check_source(const Server *server, const GPtrArray *hosts, GError **err)
{
    const Host *host = server->host ? find_host(hosts, server->host) : NULL;

    if (!server->host)
        return err_set(err, ERR_CONFLICT,
                       "instance %s is on no host: its creation failed; delete it and create it "
                       "again",
                       server->id);
    if (host && host->state == HOST_UP && !host->forced_down)
        return true;
    return err_set(err, ERR_CONFLICT,
                   "Compute service of %s, where instance %s is, is unavailable at this time: it "
                   "is %s. Wait until it is back; if it is dead for good, evacuate the instance.",
                   server->host, server->id,
                   !host               ? "not registered"
                   : host->forced_down ? "forced down"
                                       : host_state_names[host->state]);
}

static bool
check_dest(const Server *server, const Migration *migration, const TaskSettings *settings,
           const GPtrArray *hosts, GError **err)
{
    const char *name = migration->dest_host;
    const Host *host = find_host(hosts, name);
    bool stays = strcmp(migration->type, "resize") == 0 && settings->resize_same_host;

    if (!host)
        return err_set(err, ERR_INVALID,
                       "Compute host %s could not be found. The names of the hosts are in 'nova "
                       "hypervisor-list' and 'godwit host list'.",
                       name);
    if (g_strcmp0(server->host, name) == 0 && !stays)
        return err_set(err, ERR_INVALID,
                       "The target host can't be the same one: instance %s is on %s. Name another "
                       "host, or none to have one chosen.",
                       server->id, name);
    return placement_host_is_open(host, err);
}

static bool
check_place(StoreTx *tx, const Server *server, const Migration *migration,
            const TaskSettings *settings, GPtrArray *hosts, GError **err)
{
    g_autofree HostLoad *loads = g_new0(HostLoad, hosts->len + 1);
    g_autofree char *chosen = NULL;
    g_autoptr(GError) error = NULL;
    PlacementRequest request;

    if (!store_host_loads(tx, hosts, loads, err))
        return false;
    request = resize_placement(settings, server, migration, loads, hosts->len);
    chosen = placement_choose(&request, loads, hosts->len, &error);
    /* Nova answers "no valid host" of a move with 400. */
    return chosen || err_set(err, ERR_INVALID, "%s", error->message);
}

/* ---- accepting
 * ---------------------------------------------------------------------------------------- */

static bool
insert_and_queue(StoreTx *tx, const char *action, Server *server, Migration *migration,
                 bool caller_is_admin, const TaskRequest *request, GError **err)
{
    TaskRequest with_id = *request;

    if (!store_insert(tx, &MIGRATION, migration, err))
        return false;
    with_id.migration_id = migration->id;
    with_id.host = migration->dest_host;
    return task_submit(tx, action, server, caller_is_admin, &with_id, NULL, err);
}

bool
task_submit_resize(StoreTx *tx, Server *server, const Flavor *flavor, const char *dest,
                   bool caller_is_admin, const TaskRequest *request, int64_t *migration_id,
                   GError **err)
{
    const char *action = flavor ? "resize" : "migrate";
    const TaskSettings *settings = request->settings;
    g_autoptr(GPtrArray) hosts = NULL;
    g_autofree char *uuid = uuid_new(), *old_flavor = NULL, *new_flavor = NULL;
    int64_t now = clock_realtime();

    if (!settings)
        return err_set(err, ERR_BUG, "a resize is submitted without the settings to judge it by");
    if (!action_rule_permits(action_rule_find(action), server, caller_is_admin, err) ||
        (flavor && !check_flavor(server, flavor, err)) ||
        !(hosts = store_list(tx, &HOST, NULL, err)))
        return false;
    if (flavor) {
        old_flavor = server_flavor_format(server);
        new_flavor = flavor_format(flavor);
    }
    Migration migration = {
        .uuid = uuid,
        .server_id = server->id,
        .project_id = server->project_id,
        .user_id = (char *)request->user_id,
        .type = (char *)(flavor ? "resize" : "migration"),
        .status = MIGRATION_PRE_MIGRATING,
        .phase = (char *)"select",
        .source_host = server->host,
        .dest_host = (char *)dest,
        .dest_given = dest != NULL,
        .flavor_id = server->flavor_id,
        .downtime_ms = -1,
        .total_ms = -1,
        .phases = (char *)"{}",
        .created_at = now,
        .updated_at = now,
        .old_vcpus = server->vcpus,
        .old_ram_mb = server->ram_mb,
        .new_vcpus = flavor ? flavor->vcpus : server->vcpus,
        .new_ram_mb = flavor ? flavor->ram_mb : server->ram_mb,
        .old_flavor = old_flavor,
        .new_flavor = new_flavor,
        .old_vm_state = server->vm_state,
    };
    if (!check_source(server, hosts, err) ||
        (dest && !check_dest(server, &migration, settings, hosts, err)) ||
        !check_place(tx, server, &migration, settings, hosts, err) ||
        !insert_and_queue(tx, action, server, &migration, caller_is_admin, request, err))
        return false;
    *migration_id = migration.id;
    return true;
}

/* A revert needs both nodes: nothing is begun that cannot be ended. */
static bool
check_revert(StoreTx *tx, const Migration *migration, GError **err)
{
    const char *names[] = {migration->source_host, migration->dest_host};
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err);

    if (!hosts)
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        const Host *host = find_host(hosts, names[i]);

        if (!host || host->state != HOST_UP || host->forced_down)
            return err_set(err, ERR_CONFLICT,
                           "Cannot revert the resize of instance %s: its %s host %s is %s. Bring "
                           "it back and revert then, or confirm the resize.",
                           migration->server_id, i == 0 ? "former" : "present", names[i],
                           !host               ? "not registered any more"
                           : host->forced_down ? "forced down"
                                               : host_state_names[host->state]);
    }
    return true;
}

bool
task_submit_end_resize(StoreTx *tx, const char *action, Server *server, bool caller_is_admin,
                       const TaskRequest *request, GError **err)
{
    const ActionRule *rule = action_rule_find(action);
    bool reverts = strcmp(action, "revertResize") == 0;
    g_autoptr(Migration) migration = NULL;
    TaskRequest with_id = *request;

    if (!rule)
        return err_set(err, ERR_BUG, "no rule for '%s'", action);
    if (!action_rule_permits(rule, server, caller_is_admin, err) ||
        !(migration = resize_find_finished(tx, server, err)) ||
        (reverts && !check_revert(tx, migration, err)))
        return false;
    migration->status = reverts ? MIGRATION_REVERTING : MIGRATION_CONFIRMING;
    migration->updated_at = clock_realtime();
    with_id.migration_id = migration->id;
    return store_update(tx, &MIGRATION, migration, err) &&
           task_submit(tx, action, server, caller_is_admin, &with_id, NULL, err);
}
