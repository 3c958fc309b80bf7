/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-power.c: godwit server start, stop, pause, suspend, lock and the like: actions that leave a
 * server where it is
 *
 * With --wait a command stays until no task is at work on the server any more, and says why if its
 * status is then another than the one that was wanted. */
#include "cli/cli.h"

#include <string.h>

#define REASON_MAX 255

/* ---- waiting ----------------------------------------------------------------------------------
 */

static bool
is_settled(const json_t *server)
{
    return !*json_text_at(server, "OS-EXT-STS:task_state");
}

/* Why the newest action on the server failed; NULL if it did not, or nobody wrote it down. */
static char *
newest_failure(Cli *cli, const char *id)
{
    g_autofree char *list = g_strconcat("/servers/", id, "/os-instance-actions", NULL);
    g_autoptr(json_t) actions = cli_get(cli, SERVICE_COMPUTE, list, "instanceActions", NULL);
    const json_t *newest = json_array_get(actions, 0);
    g_autofree char *request = newest ? client_escape(json_text_at(newest, "request_id")) : NULL;
    g_autofree char *path = request ? g_strconcat(list, "/", request, NULL) : NULL;
    g_autoptr(json_t) action =
        path ? cli_get(cli, SERVICE_COMPUTE, path, "instanceAction", NULL) : NULL;
    json_t *event;
    size_t i;

    json_array_foreach(json_object_get(action, "events"), i, event)
    {
        if (g_ascii_strcasecmp(json_text_at(event, "result"), "Error") == 0)
            return g_strdup(json_text_at(event, "details"));
    }
    return NULL;
}

bool
cli_server_settle(Cli *cli, const char *id, const char *name, const char *const *wanted,
                  json_t **server, GError **err)
{
    g_autofree char *path = g_strconcat("/servers/", id, NULL);
    g_autofree char *what = g_strconcat("the work on server ", name, NULL);
    g_autofree char *again = g_strconcat("godwit server show ", id, NULL);
    const Follow follow = {
        .path = path,
        .key = "server",
        .what = what,
        .again = again,
        .meanwhile = "it goes on when godwitd is back",
        .phase_key = "OS-EXT-STS:task_state",
        .is_over = is_settled,
        .of_compute = true,
    };

    *server = cli_follow(cli, &follow, err);
    if (!*server)
        return false;
    if (g_strv_contains(wanted, json_text_at(*server, "status")))
        return true;

    const char *fault = json_text_at(*server, "fault/message");
    g_autofree char *failure = newest_failure(cli, id);

    return err_set(err, ERR_BACKEND, "server %s is %s now: %s", name,
                   json_text_at(*server, "status"),
                   failure && *failure ? failure
                   : *fault            ? fault
                                       : "no reason is recorded; see godwit server events");
}

bool
cli_server_act(Cli *cli, const ServerDeed *deed, json_t *body, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autoptr(json_t) taken = body, before = cli_find(cli, &noun_server, name, err);
    g_autofree char *id = before ? client_escape(json_text_at(before, "id")) : NULL;
    g_autofree char *path = id ? g_strconcat("/servers/", id, "/action", NULL) : NULL;
    g_autoptr(json_t) after = NULL;

    if (!path)
        return false;
    if (!client_call(cli->client, SERVICE_COMPUTE, "POST", path, taken, NULL, err)) {
        g_prefix_error(err, "server %s is not %s: ", name, deed->participle);
        return false;
    }
    if (!deed->wanted[0] || !args_flag(cli->args, "wait")) {
        cli_say(cli, "server %s is %s%s", name, deed->wanted[0] ? "being " : "", deed->participle);
        return true;
    }
    if (!cli_server_settle(cli, id, name, deed->wanted, &after, err)) {
        g_prefix_error(err, "server %s was not %s: ", name, deed->participle);
        return false;
    }
    if (cli->json)
        cli_print_object(cli, after);
    cli_say(cli, "server %s is %s", name, json_text_at(after, "status"));
    return true;
}

/* ---- the commands -----------------------------------------------------------------------------
 */

static bool
server_start(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"started", {"ACTIVE", NULL}};

    return cli_server_act(cli, &deed, json_pack("{s:n}", "os-start"), err);
}

static bool
server_stop(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"stopped", {"SHUTOFF", NULL}};

    return cli_server_act(cli, &deed, json_pack("{s:n}", "os-stop"), err);
}

static bool
server_reboot(Cli *cli, GError **err)
{
    static const ServerDeed soft = {"rebooted", {"ACTIVE", NULL}},
                            reset = {"reset", {"ACTIVE", NULL}};
    bool hard = args_flag(cli->args, "hard");

    return cli_server_act(cli, hard ? &reset : &soft,
                          json_pack("{s:{s:s}}", "reboot", "type", hard ? "HARD" : "SOFT"), err);
}

static bool
server_pause(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"paused", {"PAUSED", NULL}};

    return cli_server_act(cli, &deed, json_pack("{s:n}", "pause"), err);
}

static bool
server_unpause(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"unpaused", {"ACTIVE", NULL}};

    return cli_server_act(cli, &deed, json_pack("{s:n}", "unpause"), err);
}

static bool
server_suspend(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"suspended", {"SUSPENDED", NULL}};

    return cli_server_act(cli, &deed, json_pack("{s:n}", "suspend"), err);
}

static bool
server_resume(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"resumed", {"ACTIVE", NULL}};

    return cli_server_act(cli, &deed, json_pack("{s:n}", "resume"), err);
}

static bool
server_lock(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"locked", {NULL}};
    const char *reason = args_text(cli->args, "reason");

    if (reason && (!*reason || g_utf8_strlen(reason, -1) > REASON_MAX))
        return usage_error(err, "--reason wants 1 to %d characters", REASON_MAX);
    return cli_server_act(cli, &deed,
                          reason ? json_pack("{s:{s:s}}", "lock", "locked_reason", reason)
                                 : json_pack("{s:n}", "lock"),
                          err);
}

static bool
server_unlock(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"unlocked", {NULL}};

    return cli_server_act(cli, &deed, json_pack("{s:n}", "unlock"), err);
}

static bool
server_reset_state(Cli *cli, GError **err)
{
    static const ServerDeed active = {"recorded as active", {NULL}},
                            error = {"recorded as in error", {NULL}};
    const char *state = args_word(cli->args, 1);
    bool is_active = g_str_equal(state, "active");

    if (!is_active && !g_str_equal(state, "error"))
        return usage_error(err, "\"%s\" is no state to reset to: active or error", state);
    return cli_server_act(cli, is_active ? &active : &error,
                          json_pack("{s:{s:s}}", "os-resetState", "state", state), err);
}

static const CliOption wait_options[] = {
    {"wait", CLI_FLAG, NULL, "return when it is done; failed if the server ends in another state"},
    {0}};
static const CliOption reboot_options[] = {
    {"hard", CLI_FLAG, NULL, "as if by the power switch"},
    {"wait", CLI_FLAG, NULL, "return when it is done; failed if the server ends in another state"},
    {0}};
static const CliOption lock_options[] = {{"reason", CLI_TEXT, "TEXT", "shown to whoever asks"},
                                         {0}};

const CliCommand power_commands[] = {
    {"server start", "SERVER", 1, 1, wait_options, server_start, "power on"},
    {"server stop", "SERVER", 1, 1, wait_options, server_stop, "shut down"},
    {"server reboot", "SERVER", 1, 1, reboot_options, server_reboot, "restart"},
    {"server pause", "SERVER", 1, 1, wait_options, server_pause,
     "let the guest stand still, its memory kept in RAM"},
    {"server unpause", "SERVER", 1, 1, wait_options, server_unpause, "let a paused guest go on"},
    {"server suspend", "SERVER", 1, 1, wait_options, server_suspend,
     "write the guest's memory to its node's disk and free its RAM"},
    {"server resume", "SERVER", 1, 1, wait_options, server_resume, "let a suspended guest go on"},
    {"server lock", "SERVER", 1, 1, lock_options, server_lock,
     "refuse whatever would change a server until it is unlocked"},
    {"server unlock", "SERVER", 1, 1, NULL, server_unlock, "permit it again"},
    {"server reset-state", "SERVER STATE", 2, 2, NULL, server_reset_state,
     "record that a server is active, or in error, and nothing else (administrators)"},
    {0},
};
