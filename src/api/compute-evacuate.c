/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-evacuate.c: evacuate: the server's node is dead, bring the server up on another
 *
 * The disks lie on storage that every node sees, so nothing is built anew, and a password cannot be
 * set. What makes sure that the dead node cannot write any more is the task's business; a person's
 * word for it, where nothing else can, comes by Godwit's own API alone (godwit-rescue.c): Nova's
 * has no place for the reason. */
#include <string.h>

#include "api/compute-priv.h"

static const BodyMember evacuate_members[] = {
    {.key = "host", .type = BODY_HOST_OR_NULL},
    {.key = "onSharedStorage", .type = BODY_BOOL, .required = true, .until = 13},
    {.key = "adminPass", .type = BODY_TEXT},
    {.key = "force", .type = BODY_BOOL, .since = 29, .until = 67},
    {0},
};
static const BodyMember evacuate_body[] = {
    {.key = "evacuate", .type = BODY_OBJECT, .members = evacuate_members}, {0}};

/* Nova's answer to a node that works is 400. That it is not merely unknown is judged later. */
static bool
source_is_dead(StoreTx *tx, const Server *server, GError **err)
{
    GError *error = NULL;
    g_autoptr(Host) host = server->host ? host_find(tx, server->host, &error) : NULL;

    if (error) {
        g_propagate_error(err, error);
        return false;
    }
    return !host || !host_is_up(host) ||
           err_set(err, ERR_INVALID,
                   "Compute service of %s is still in use: it is up. Move the instance with 'nova "
                   "live-migration'. If the host is dead all the same, say so first, with 'nova "
                   "service-force-down'.",
                   host->name);
}

static bool
dest_is_another(StoreTx *tx, const Server *server, const char *dest, GError **err)
{
    GError *error = NULL;
    g_autoptr(Host) host = dest ? host_find(tx, dest, &error) : NULL;

    if (error) {
        g_propagate_error(err, error);
        return false;
    }
    if (dest && !host)
        return err_set(err, ERR_NOT_FOUND,
                       "Compute host %s not found. The names of the hosts are in 'nova "
                       "hypervisor-list' and 'godwit host list'.",
                       dest);
    return !dest || g_strcmp0(server->host, dest) != 0 ||
           err_set(err, ERR_INVALID,
                   "The target host can't be the same one: instance %s is on %s. Name another "
                   "host, or none to have one chosen.",
                   server->id, dest);
}

/* Two nodes hold it, and which of them is to keep it is somebody's decision. */
static bool
is_not_resized(const Server *server, GError **err)
{
    return server->vm_state != VM_RESIZED ||
           err_set(err, ERR_CONFLICT,
                   "Cannot 'evacuate' instance %s while it is in vm_state resized: confirm the "
                   "resize first, with 'nova resize-confirm', which does not need host %s; then "
                   "evacuate it.",
                   server->id, server->host ? server->host : "");
}

bool
compute_evacuate_submit(StoreTx *tx, ApiCall *call, ComputeEvacuate *evacuate, GError **err)
{
    bool is_admin = call->caller->is_admin;
    const ActionRule *rule = action_rule_find("evacuate");
    g_autoptr(Server) server = api_server_get(tx, call, evacuate->server_id, err);
    TaskRequest request = compute_task_request(call);

    evacuate->request.engine = api_config(call->api)->tasks;
    return server && dest_is_another(tx, server, evacuate->request.dest, err) &&
           is_not_resized(server, err) && action_rule_permits(rule, server, is_admin, err) &&
           source_is_dead(tx, server, err) &&
           task_submit_evacuate(tx, server, &evacuate->request, is_admin, &request,
                                &evacuate->migration_id, err);
}

static bool
evacuate_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return compute_evacuate_submit(tx, call, opaque, err);
}

static void
action_evacuate(ApiCall *call, const json_t *arguments)
{
    ComputeEvacuate evacuate = {.server_id = api_param(call, "id"),
                                .request = {.dest = body_text(arguments, "host"),
                                            .leave_stopped = api_microversion_at_least(call, 95)}};

    if (!compute_admin_needed(call, "os-evacuate"))
        return;
    if (body_bool(arguments, "force", false) && !evacuate.request.dest) {
        api_fault(call, 400, "Can't force to a non-provided destination: name the host.");
        return;
    }
    if (json_object_get(arguments, "adminPass")) {
        api_fault(call, 400,
                  "admin password can't be changed on existing disk: the disk is on storage that "
                  "every host sees, and is kept. Leave the password out.");
        return;
    }
    if (!api_write(call, evacuate_run, &evacuate))
        return;
    api_wake(call);
    compute_migration_header(call, evacuate.migration_id);
    /* Clients of that age look for the member; there is no new password to tell. */
    if (api_microversion_at_least(call, 14))
        api_reply_empty(call, 200);
    else
        api_reply(call, 200, json_pack("{s:n}", "adminPass"));
}

const ComputeAction compute_evacuate_actions[] = {
    {"evacuate", evacuate_body, action_evacuate},
    {0},
};
