/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-move.c: godwit server migrate, resize, evacuate: what brings a server to another node or size
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#define PRIORITY_MAX 100

static char *
newest_migration(Cli *cli, const char *server_id, GError **err)
{
    g_autofree char *path = g_strconcat("/migrations?limit=1&server=", server_id, NULL);
    g_autoptr(json_t) rows = cli_get(cli, SERVICE_GODWIT, path, "migrations", err);
    const json_t *id = rows ? json_object_get(json_array_get(rows, 0), "id") : NULL;

    if (rows && !id)
        err_set(err, ERR_NOT_FOUND,
                "the request was accepted, but there is no record of it yet; see "
                "godwit migration list");
    return id ? g_strdup_printf("%" PRId64, (int64_t)json_integer_value(id)) : NULL;
}

typedef struct Departure {
    const json_t *server;
    ClientService service;
    const char *action;   /* of Godwit's own API: what its body has in it */
    json_t *body;         /* taken */
    const char *not_done; /* "is not moved", for messages */
    const char *noun;     /* "move" */
    bool wait;
} Departure;

/* Ask for it; then follow it, or say how it can be followed. */
static bool
depart(Cli *cli, const Departure *departure, GError **err)
{
    const char *name = args_word(cli->args, 0);
    const char *server_id = json_text_at(departure->server, "id");
    g_autoptr(json_t) body = departure->body, reply = NULL;
    g_autofree char *path =
        g_strdup_printf("/servers/%s/%s", server_id,
                        departure->service == SERVICE_COMPUTE ? "action" : departure->action);

    if (!client_call(cli->client, departure->service, "POST", path, body, &reply, err)) {
        g_prefix_error(err, "server %s %s: ", name, departure->not_done);
        return false;
    }

    g_autofree char *id = g_strdup(client_last_migration(cli->client));

    if (!id)
        id = newest_migration(cli, server_id, err);
    if (!id)
        return false;
    if (departure->wait)
        return cli_follow_migration(cli, id, err);
    if (cli->json) {
        g_autofree char *show = g_strconcat("/migrations/", id, NULL);
        g_autoptr(json_t) migration = cli_get(cli, SERVICE_GODWIT, show, "migration", err);

        if (migration)
            cli_print_object(cli, migration);
        return migration != NULL;
    }
    cli_say(cli, "%s %s of server %s has begun; follow it with godwit migration show --follow %s",
            departure->noun, id, name, id);
    return true;
}

/* HOST as a second word, or --host. */
static bool
host_wanted(Cli *cli, unsigned word, const char **host, GError **err)
{
    const char *option = args_text(cli->args, "host");

    *host = args_word(cli->args, word);
    if (*host && option)
        return usage_error(err, "the host is given twice: %s and --host %s", *host, option);
    if (option && !*option)
        return usage_error(err, "--host is empty");
    *host = *host ? *host : option;
    return true;
}

/* ---- migrate ----------------------------------------------------------------------------------
 */

static bool
server_migrate(Cli *cli, GError **err)
{
    bool live = args_flag(cli->args, "live");
    int64_t priority = -1; /* compute's request has no place for one */
    const char *host;

    if (!host_wanted(cli, 1, &host, err) ||
        !args_int(cli->args, "priority", 0, PRIORITY_MAX, &priority, err))
        return false;
    if (priority >= 0 && !live)
        return usage_error(err, "--priority goes with --live: only live migrations queue");

    g_autoptr(json_t) server = cli_find(cli, &noun_server, args_word(cli->args, 0), err);
    g_autofree char *not_done = g_strconcat("is not moved", host ? " to " : "", host, NULL);

    if (!server)
        return false;

    const Departure departure = {
        .server = server,
        .service = priority >= 0 ? SERVICE_GODWIT : SERVICE_COMPUTE,
        .action = "move",
        .body = priority >= 0
                    ? json_pack("{s:s*,s:I}", "host", host, "priority", (json_int_t)priority)
                : live ? json_pack("{s:{s:s?,s:s}}", "os-migrateLive", "host", host,
                                   "block_migration", "auto")
                       : json_pack("{s:o}", "migrate",
                                   host ? json_pack("{s:s}", "host", host) : json_null()),
        .not_done = not_done,
        .noun = live ? "move" : "cold migration",
        .wait = !args_flag(cli->args, "no-wait"),
    };

    return depart(cli, &departure, err);
}

/* ---- resize -----------------------------------------------------------------------------------
 */

static bool
server_resize(Cli *cli, GError **err)
{
    const char *flavor_name = args_word(cli->args, 1);
    const char *host;

    if (!host_wanted(cli, 2, &host, err))
        return false;

    g_autoptr(json_t) server = cli_find(cli, &noun_server, args_word(cli->args, 0), err);
    g_autoptr(json_t) flavor = server ? cli_find(cli, &noun_flavor, flavor_name, err) : NULL;
    g_autofree char *not_done = g_strdup_printf("is not resized to flavor %s", flavor_name);

    if (!flavor)
        return false;

    /* Compute's request has no place for a host. */
    const Departure departure = {
        .server = server,
        .service = host ? SERVICE_GODWIT : SERVICE_COMPUTE,
        .action = "resize",
        .body = host ? json_pack("{s:O,s:s}", "flavor", json_at(flavor, "id"), "host", host)
                     : json_pack("{s:{s:O}}", "resize", "flavorRef", json_at(flavor, "id")),
        .not_done = not_done,
        .noun = "resize",
        .wait = args_flag(cli->args, "wait"),
    };

    return depart(cli, &departure, err);
}

static bool
server_resize_confirm(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"confirmed", {"ACTIVE", "SHUTOFF", "PAUSED", NULL}};

    return cli_server_act(cli, &deed, json_pack("{s:n}", "confirmResize"), err);
}

static bool
server_resize_revert(Cli *cli, GError **err)
{
    static const ServerDeed deed = {"reverted", {"ACTIVE", "SHUTOFF", NULL}};

    return cli_server_act(cli, &deed, json_pack("{s:n}", "revertResize"), err);
}

/* ---- evacuate ---------------------------------------------------------------------------------
 */

static bool
server_evacuate(Cli *cli, GError **err)
{
    const char *host, *override;
    bool stopped = args_flag(cli->args, "stopped"), own;

    if (!host_wanted(cli, 1, &host, err) || !cli_override_reason(cli, &override, err))
        return false;

    g_autoptr(json_t) server = cli_find(cli, &noun_server, args_word(cli->args, 0), err);

    if (!server)
        return false;
    own = override || stopped; /* compute's request has no place for these */

    const Departure departure = {
        .server = server,
        .service = own ? SERVICE_GODWIT : SERVICE_COMPUTE,
        .action = "evacuate",
        .body = own ? json_pack("{s:s*,s:s*,s:b}", "dest", host, "override", override, "stopped",
                                (int)stopped)
                    : json_pack("{s:{s:s*}}", "evacuate", "host", host),
        .not_done = "is not rescued",
        .noun = "rescue",
        .wait = args_flag(cli->args, "wait"),
    };

    return depart(cli, &departure, err);
}

static const CliOption migrate_options[] = {
    {"live", CLI_FLAG, NULL, "without stopping the guest; else it is shut down and started there"},
    {"host", CLI_TEXT, "HOST", "where to (chosen if not given)"},
    {"priority", CLI_TEXT, "N", "0 to 100: the higher, the sooner out of the queue (0)"},
    {"no-wait", CLI_FLAG, NULL, "return when the move has been accepted"},
    {0},
};
static const CliOption resize_options[] = {
    {"host", CLI_TEXT, "HOST", "where it is to run then (chosen if not given)"},
    {"wait", CLI_FLAG, NULL, "return when it runs with its new size"},
    {0},
};
static const CliOption end_options[] = {
    {"wait", CLI_FLAG, NULL, "return when it is done; failed if the server ends in another state"},
    {0}};
static const CliOption evacuate_options[] = {
    {"host", CLI_TEXT, "HOST", "where to (chosen if not given)"},
    {"override", CLI_TEXT, "REASON",
     "you have made sure that its node is off: needed where nothing can fence it"},
    {"stopped", CLI_FLAG, NULL, "do not start it there"},
    {"wait", CLI_FLAG, NULL, "return when it runs elsewhere"},
    {0},
};

const CliCommand move_commands[] = {
    {"server migrate", "SERVER [HOST]", 1, 2, migrate_options, server_migrate,
     "move a server to another node"},
    {"server resize", "SERVER FLAVOR", 2, 2, resize_options, server_resize,
     "give a server another flavor"},
    {"server resize-confirm", "SERVER", 1, 1, end_options, server_resize_confirm,
     "keep what a resize or a cold migration has made, and free what it kept"},
    {"server resize-revert", "SERVER", 1, 1, end_options, server_resize_revert,
     "back to the former flavor and node"},
    {"server evacuate", "SERVER [HOST]", 1, 2, evacuate_options, server_evacuate,
     "bring a server of a dead node up on another one"},
    {0},
};
