/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-move.c: os-migrateLive: a live migration is asked for
 *
 * What the store knows of the chosen host is judged in the transaction that accepts the request: a
 * move that cannot succeed is refused at once, with what to do about it, and changes nothing. What
 * only the nodes know comes out later, in the migration record and the instance action. */
#include <string.h>

#include "api/compute-priv.h"

static const BodyMember move_members[] = {
    {.key = "host", .type = BODY_HOST_OR_NULL, .required = true},
    {.key = "block_migration", .type = BODY_BOOL, .required = true, .until = 24},
    {.key = "disk_over_commit", .type = BODY_BOOL, .required = true, .until = 24},
    {.key = "block_migration", .type = BODY_BOOL_OR_AUTO, .required = true, .since = 25},
    {.key = "force", .type = BODY_BOOL, .since = 30, .until = 67},
    {0},
};

static const BodyMember move_body[] = {
    {.key = "os-migrateLive", .type = BODY_OBJECT, .members = move_members}, {0}};

/* What the store knows of the chosen host, before anything is accepted. */
static bool
move_check_host(const Server *server, const char *name, const GPtrArray *hosts, GError **err)
{
    const Host *host = NULL;

    for (guint i = 0; i < hosts->len && !host; i++) {
        const Host *candidate = hosts->pdata[i];
        if (strcmp(candidate->name, name) == 0)
            host = candidate;
    }
    if (!host)
        return err_set(err, ERR_INVALID,
                       "Compute host %s could not be found. The names of the hosts are in 'nova "
                       "hypervisor-list' and 'godwit host list'.",
                       name);
    if (g_strcmp0(server->host, name) == 0)
        return err_set(err, ERR_INVALID,
                       "Unable to migrate instance (%s) to current host (%s). Name another host, "
                       "or none to have one chosen.",
                       server->id, name);
    return placement_host_is_open(host, err);
}

static bool
move_check(StoreTx *tx, ApiCall *call, const Server *server, const ComputeMove *move, GError **err)
{
    const ApiConfig *config = api_config(call->api);
    g_autoptr(GPtrArray) hosts = NULL;
    g_autofree HostLoad *loads = NULL;
    g_autofree char *chosen = NULL;
    GError *error = NULL;

    if (!host_loads_read(tx, &hosts, &loads, err))
        return false;
    if (move->host && !move_check_host(server, move->host, hosts, err))
        return false;
    PlacementRequest placement = {.vcpus = server->vcpus,
                                  .ram_mb = server->ram_mb,
                                  .only_host = move->host,
                                  .exclude_host = server->host,
                                  .needs_storage = true,
                                  .cpu_ratio = config->cpu_ratio,
                                  .ram_ratio = config->ram_ratio,
                                  .reserved_ram_mb = config->reserved_ram_mb,
                                  .virt_type = config->libvirt ? config->libvirt->virt_type : NULL};
    chosen = placement_choose(&placement, loads, hosts->len, &error);
    if (chosen)
        return true;
    /* Nova answers "no valid host" of a move with 400. */
    err_set(err, ERR_INVALID, "%s", error->message);
    g_clear_error(&error);
    return false;
}

bool
compute_move_submit(StoreTx *tx, ApiCall *call, ComputeMove *move, GError **err)
{
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    TaskRequest request = compute_task_request(call);

    if (!server)
        return false;
    request.priority = move->priority;
    /* The state is the first thing to say: a stopped server is not helped by naming another host.
     */
    return action_rule_permits(action_rule_find("os-migrateLive"), server, call->caller->is_admin,
                               err) &&
           move_check(tx, call, server, move, err) &&
           task_submit_live_migration(tx, server, move->host, call->caller->is_admin, &request,
                                      &move->migration_id, err);
}

static bool
move_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return compute_move_submit(tx, call, opaque, err);
}

static void
action_migrate_live(ApiCall *call, const json_t *arguments)
{
    ComputeMove move = {.host = body_text(arguments, "host")};

    if (!compute_manager_needed(call, "os-migrate-server:migrate_live") ||
        (move.host && !compute_admin_needed(call, "os-migrate-server:migrate_live:host")))
        return;
    if (body_bool(arguments, "force", false) && !move.host) {
        api_fault(call, 400, "Can't force to a non-provided destination: name the host.");
        return;
    }
    if (body_bool(arguments, "block_migration", false)) {
        api_fault(call, 400,
                  "Block migration is not possible: the disks lie on storage that every host sees, "
                  "nothing has to be copied. Leave --block-migrate out.");
        return;
    }
    if (!api_write(call, move_run, &move))
        return;
    api_wake(call);
    compute_migration_header(call, move.migration_id);
    api_reply_empty(call, 202);
}

const ComputeAction compute_move_actions[] = {
    {"os-migrateLive", move_body, action_migrate_live},
    {0},
};
