/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-action.c: POST …/servers/ID/action: finds what the body asks for; the console log
 *
 * The one member of the body names the action. Each action is a row of a table, in the file of its
 * kind: what its body may hold at which microversion, and who answers it. */
#include <string.h>

#include "api/compute-priv.h"
#include "task/query.h"

static const BodyMember console_members[] = {
    {.key = "length", .type = BODY_INT_OR_NULL, .least = -1, .most = BODY_INT_MAX},
    {0},
};
static const BodyMember console_body[] = {
    {.key = "os-getConsoleOutput", .type = BODY_OBJECT, .members = console_members}, {0}};

/* Known to Nova, not offered here: told apart from what nobody knows. */
static const char *const foreign_actions[] = {
    "addFixedIp",
    "addFloatingIp",
    "addSecurityGroup",
    "changePassword",
    "createBackup",
    "createImage",
    "forceDelete",
    "injectNetworkInfo",
    "os-getRDPConsole",
    "os-getSPICEConsole",
    "os-getSerialConsole",
    "os-getVNCConsole",
    "rebuild",
    "removeFixedIp",
    "removeFloatingIp",
    "removeSecurityGroup",
    "rescue",
    "resetNetwork",
    "restore",
    "shelve",
    "shelveOffload",
    "trigger_crash_dump",
    "unrescue",
    "unshelve",
    "os-resetNetwork",
    NULL,
};

/* ---- console log
 * --------------------------------------------------------------------------------- */

static bool
console_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    Server **server = opaque;

    *server = api_server_get(tx, call, api_param(call, "id"), err);
    if (!*server)
        return false;
    if ((*server)->vm_state == VM_BUILDING && (*server)->launched_at == 0)
        return err_set(err, ERR_CONFLICT,
                       "Instance %s is not ready: it has not been started yet, so there is no "
                       "console log. Try again when its status is ACTIVE.",
                       (*server)->id);
    return true;
}

static void
action_console(ApiCall *call, const json_t *arguments)
{
    g_autoptr(Server) server = NULL;
    g_autofree char *log = NULL, *clean = NULL;
    int64_t length = body_int(arguments, "length", -1);
    GError *error = NULL;

    if (!api_read(call, console_read, &server))
        return;
    if (length == 0) {
        api_reply(call, 200, json_pack("{s:s}", "output", ""));
        return;
    }
    log = query_console_log(api_config(call->api)->tasks, server, length < 0 ? 0 : length, &error);
    if (!log) {
        api_fail(call, error);
        return;
    }
    clean = g_utf8_make_valid(log, -1);
    for (char *c = clean; *c;
         c++) { /* a terminal's control characters have no business in a reply */
        if ((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t')
            *c = *c == '\r' ? '\n' : ' ';
    }
    api_reply(call, 200, json_pack("{s:s}", "output", clean));
}

/* ---- what several actions need
 * -------------------------------------------------------------------- */

bool
compute_manager_needed(ApiCall *call, const char *rule)
{
    if (caller_is_manager(call->caller))
        return true;
    api_fault(call, 403,
              "Policy doesn't allow os_compute_api:%s to be performed: the role manager or admin "
              "is needed.",
              rule);
    return false;
}

bool
compute_admin_needed(ApiCall *call, const char *rule)
{
    if (call->caller->is_admin)
        return true;
    api_fault(call, 403,
              "Policy doesn't allow os_compute_api:%s to be performed: this is for "
              "administrators.",
              rule);
    return false;
}

void
compute_migration_header(ApiCall *call, int64_t migration_id)
{
    g_autofree char *id = g_strdup_printf("%" PRId64, migration_id);

    api_header(call, "X-Godwit-Migration", id);
}

/* ---- the one route
 * ------------------------------------------------------------------------------- */

static const ComputeAction console_actions[] = {
    {"os-getConsoleOutput", console_body, action_console},
    {0},
};

static const ComputeAction *const tables[] = {
    compute_power_actions,    compute_move_actions, compute_resize_actions,
    compute_evacuate_actions, compute_lock_actions, console_actions,
};

static const ComputeAction *
action_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++)
        for (const ComputeAction *action = tables[i]; action->name; action++)
            if (strcmp(action->name, name) == 0)
                return action;
    return NULL;
}

void
compute_server_action(ApiCall *call)
{
    const char *name = json_object_iter_key(json_object_iter(call->body));
    const ComputeAction *action;

    if (!name || json_object_size(call->body) != 1) {
        api_fault(call, 400,
                  "Malformed request body: it must hold exactly one action, as {\"os-start\": "
                  "null}; this one holds %zu.",
                  json_object_size(call->body));
        return;
    }
    action = action_find(name);
    if (!action && g_strv_contains(foreign_actions, name))
        api_fault(call, 400, "The action '%s' is not supported by this cloud yet.", name);
    else if (!action)
        api_fault(call, 400, "There is no such action: %s", name);
    else if (body_accept(call, action->body))
        action->run(call, json_object_get(call->body, name));
}
