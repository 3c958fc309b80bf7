/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-action.c: POST …/servers/ID/action: start, stop, reboot, live migration, console log
 *
 * The one member of the body names the action. What the state forbids is decided in the transaction
 * that accepts the request (action_rules of model/), and so is what the store knows of the chosen
 * host: a move that cannot succeed is refused at once, with what to do about it, and changes
 * nothing. What only the nodes know comes out later, in the migration record and the instance
 * action. */
#include <string.h>

#include "api/compute-priv.h"
#include "task/query.h"

static const char *const reboot_words[] = {"SOFT", "Soft", "soft", "HARD", "Hard", "hard", NULL};

static const BodyMember reboot_members[] = {
    {.key = "type", .type = BODY_WORD, .required = true, .words = reboot_words},
    {0},
};
static const BodyMember console_members[] = {
    {.key = "length", .type = BODY_INT_OR_NULL, .least = -1, .most = BODY_INT_MAX},
    {0},
};
static const BodyMember move_members[] = {
    {.key = "host", .type = BODY_HOST_OR_NULL, .required = true},
    {.key = "block_migration", .type = BODY_BOOL, .required = true, .until = 24},
    {.key = "disk_over_commit", .type = BODY_BOOL, .required = true, .until = 24},
    {.key = "block_migration", .type = BODY_BOOL_OR_AUTO, .required = true, .since = 25},
    {.key = "force", .type = BODY_BOOL, .since = 30, .until = 67},
    {0},
};

static const BodyMember start_body[] = {{.key = "os-start", .type = BODY_ANY}, {0}};
static const BodyMember stop_body[] = {{.key = "os-stop", .type = BODY_ANY}, {0}};
static const BodyMember reboot_body[] = {
    {.key = "reboot", .type = BODY_OBJECT, .members = reboot_members}, {0}};
static const BodyMember console_body[] = {
    {.key = "os-getConsoleOutput", .type = BODY_OBJECT, .members = console_members}, {0}};
static const BodyMember move_body[] = {
    {.key = "os-migrateLive", .type = BODY_OBJECT, .members = move_members}, {0}};

/* Known to Nova, not offered here: told apart from what nobody knows. */
static const char *const foreign_actions[] = {
    "addFixedIp",
    "addFloatingIp",
    "addSecurityGroup",
    "changePassword",
    "confirmResize",
    "createBackup",
    "createImage",
    "evacuate",
    "forceDelete",
    "injectNetworkInfo",
    "lock",
    "migrate",
    "os-getRDPConsole",
    "os-getSPICEConsole",
    "os-getSerialConsole",
    "os-getVNCConsole",
    "os-resetState",
    "pause",
    "rebuild",
    "removeFixedIp",
    "removeFloatingIp",
    "removeSecurityGroup",
    "rescue",
    "resetNetwork",
    "resize",
    "restore",
    "resume",
    "revertResize",
    "shelve",
    "shelveOffload",
    "suspend",
    "trigger_crash_dump",
    "unlock",
    "unpause",
    "unrescue",
    "unshelve",
    "os-resetNetwork",
    NULL,
};

/* ---- start, stop, reboot ------------------------------------------------------------------------
 */

static bool
power_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *action = opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    TaskRequest request = compute_task_request(call);
    int64_t task_id;

    return server &&
           task_submit(tx, action, server, call->caller->is_admin, &request, &task_id, err);
}

static void
power_submit(ApiCall *call, const char *action)
{
    if (!api_write(call, power_run, (void *)action))
        return;
    api_wake(call);
    api_reply_empty(call, 202);
}

static void
action_start(ApiCall *call, const json_t *arguments)
{
    (void)arguments;
    power_submit(call, "os-start");
}

static void
action_stop(ApiCall *call, const json_t *arguments)
{
    (void)arguments;
    power_submit(call, "os-stop");
}

static void
action_reboot(ApiCall *call, const json_t *arguments)
{
    bool hard = g_ascii_strcasecmp(body_text(arguments, "type"), "hard") == 0;

    power_submit(call, hard ? "reboot-hard" : "reboot-soft");
}

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

/* ---- live migration
 * ------------------------------------------------------------------------------ */

typedef struct MoveRequest {
    const char *host; /* NULL: to be chosen */
    int64_t migration_id;
} MoveRequest;

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
    if (host->forced_down)
        return err_set(err, ERR_INVALID,
                       "Compute service of %s is unavailable at this time: it is forced down. "
                       "Lift that with 'nova service-force-down --unset', or name another host.",
                       name);
    if (host->state != HOST_UP)
        return err_set(err, ERR_INVALID,
                       "Compute service of %s is unavailable at this time: it is %s (%s). Name "
                       "another host, or bring it up first.",
                       name, host_state_names[host->state],
                       host->state_reason ? host->state_reason : "no reason is recorded");
    if (!host->enabled)
        return err_set(err, ERR_INVALID,
                       "Compute service of %s is unavailable at this time: it is disabled (%s). "
                       "Enable it with 'openstack compute service set --enable %s nova-compute', "
                       "or name another host.",
                       name, host->disabled_reason ? host->disabled_reason : "no reason given",
                       name);
    return true;
}

static bool
move_check(StoreTx *tx, ApiCall *call, const Server *server, const MoveRequest *move, GError **err)
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

static bool
move_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    MoveRequest *move = opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    TaskRequest request = compute_task_request(call);

    if (!server)
        return false;
    /* The state is the first thing to say: a stopped server is not helped by naming another host.
     */
    if (!action_rule_permits(action_rule_find("os-migrateLive"), server, call->caller->is_admin,
                             err))
        return false;
    return move_check(tx, call, server, move, err) &&
           task_submit_live_migration(tx, server, move->host, call->caller->is_admin, &request,
                                      &move->migration_id, err);
}

static void
action_migrate_live(ApiCall *call, const json_t *arguments)
{
    MoveRequest move = {.host = body_text(arguments, "host")};

    if (!caller_is_manager(call->caller) || (move.host && !call->caller->is_admin)) {
        api_fault(call, 403,
                  "Policy doesn't allow os_compute_api:os-migrate-server:migrate_live%s to be "
                  "performed: %s.",
                  move.host ? ":host" : "",
                  move.host ? "only administrators choose the host"
                            : "the role manager or admin is needed");
        return;
    }
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
    g_autofree char *id = g_strdup_printf("%" PRId64, move.migration_id);
    api_header(call, "X-Godwit-Migration", id);
    api_reply_empty(call, 202);
}

/* ---- the one route
 * ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const BodyMember *body;
    void (*run)(ApiCall *call, const json_t *arguments);
} actions[] = {
    {"os-start", start_body, action_start},
    {"os-stop", stop_body, action_stop},
    {"reboot", reboot_body, action_reboot},
    {"os-migrateLive", move_body, action_migrate_live},
    {"os-getConsoleOutput", console_body, action_console},
};

void
compute_server_action(ApiCall *call)
{
    const char *name = json_object_iter_key(json_object_iter(call->body));

    if (!name || json_object_size(call->body) != 1) {
        api_fault(call, 400,
                  "Malformed request body: it must hold exactly one action, as {\"os-start\": "
                  "null}; this one holds %zu.",
                  json_object_size(call->body));
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (strcmp(actions[i].name, name) == 0) {
            if (body_accept(call, actions[i].body))
                actions[i].run(call, json_object_get(call->body, name));
            return;
        }
    }
    if (g_strv_contains(foreign_actions, name))
        api_fault(call, 400, "The action '%s' is not supported by this cloud yet.", name);
    else
        api_fault(call, 400, "There is no such action: %s", name);
}
