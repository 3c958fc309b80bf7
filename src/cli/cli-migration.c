/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-migration.c: godwit server migrate, godwit migration: moves, and following one to its end
 *
 * A move belongs to the nodes and to godwitd, not to this command: whatever happens here, it goes
 * on. */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

static bool
is_over(const json_t *migration)
{
    static const char *const final[] = {"completed", "error", "failed", "cancelled", NULL};

    return g_strv_contains(final, json_text_at(migration, "status"));
}

bool
cli_follow_migration(Cli *cli, const char *id, GError **err)
{
    g_autofree char *path = g_strconcat("/migrations/", id, NULL);
    g_autofree char *what = g_strconcat("move ", id, NULL);
    g_autofree char *again = g_strconcat("godwit migration show --follow ", id, NULL);
    const Follow follow = {
        .path = path,
        .key = "migration",
        .what = what,
        .again = again,
        .meanwhile = "the move goes on between the nodes",
        .phase_key = "phase",
        .line = progress_line,
        .is_over = is_over,
        .long_poll = true,
    };
    g_autoptr(json_t) migration = cli_follow(cli, &follow, err);

    if (!migration)
        return false;
    if (cli->json)
        cli_print_object(cli, migration);
    if (!g_str_equal(json_text_at(migration, "status"), "completed")) {
        const char *reason = json_text_at(migration, "reason");

        return err_set(err, ERR_BACKEND, "%s was not moved from %s to %s (%s, in phase %s): %s",
                       json_text_at(migration, "server_name"),
                       json_text_at(migration, "source_host"),
                       *json_text_at(migration, "dest_host") ? json_text_at(migration, "dest_host")
                                                             : "another host",
                       json_text_at(migration, "status"), json_text_at(migration, "phase"),
                       *reason ? reason : "no reason is recorded");
    }
    if (!cli->json) {
        g_autofree char *summary = progress_summary(migration);
        fputs(summary, cli->out);
    }
    return true;
}

/* ---- godwit server migrate --------------------------------------------------------------------
 */

static char *
newest_migration(Cli *cli, const char *server_id, GError **err)
{
    g_autofree char *path = g_strconcat("/migrations?limit=1&server=", server_id, NULL);
    g_autoptr(json_t) rows = cli_get(cli, SERVICE_GODWIT, path, "migrations", err);
    const json_t *id = rows ? json_object_get(json_array_get(rows, 0), "id") : NULL;

    if (rows && !id)
        err_set(err, ERR_NOT_FOUND,
                "the move was accepted, but there is no record of it yet; see "
                "godwit migration list");
    return id ? g_strdup_printf("%" PRId64, (int64_t)json_integer_value(id)) : NULL;
}

static bool
server_migrate(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    const char *host = args_text(cli->args, "host");

    g_autoptr(json_t) server = cli_find(cli, &noun_server, name, err);

    if (!server)
        return false;

    const char *server_id = json_text_at(server, "id");
    g_autofree char *path = g_strconcat("/servers/", server_id, "/action", NULL);
    g_autoptr(json_t) body =
        json_pack("{s:{s:s?,s:s}}", "os-migrateLive", "host", host, "block_migration", "auto");

    if (!client_call(cli->client, SERVICE_COMPUTE, "POST", path, body, NULL, err)) {
        g_prefix_error(err, "server %s is not moved%s%s: ", name, host ? " to " : "",
                       host ? host : "");
        return false;
    }

    g_autofree char *id = g_strdup(client_last_migration(cli->client));

    if (!id)
        id = newest_migration(cli, server_id, err);
    if (!id)
        return false;
    if (!args_flag(cli->args, "no-wait"))
        return cli_follow_migration(cli, id, err);
    if (cli->json) {
        g_autofree char *show = g_strconcat("/migrations/", id, NULL);
        g_autoptr(json_t) migration = cli_get(cli, SERVICE_GODWIT, show, "migration", err);

        if (migration)
            cli_print_object(cli, migration);
        return migration != NULL;
    }
    cli_say(cli, "move %s of server %s has begun; follow it with godwit migration show --follow %s",
            id, name, id);
    return true;
}

/* ---- godwit migration -------------------------------------------------------------------------
 */

static const Column columns[] = {
    {"id", "id"},
    {"server", "server_name"},
    {"status", "status"},
    {"phase", "phase"},
    {"from", "source_host"},
    {"to", "dest_host"},
    {"downtime ms", "downtime_ms"},
    {"encryption", "encryption"},
    {"begun", "created_at", CELL_TIME},
    {"reason", "reason"},
    {0},
};

static bool
migration_list(Cli *cli, GError **err)
{
    const char *server = args_text(cli->args, "server");
    int64_t limit = 100;

    if (!args_int(cli->args, "limit", 1, 1000, &limit, err))
        return false;

    g_autoptr(json_t) found = server ? cli_find(cli, &noun_server, server, err) : NULL;

    if (server && !found)
        return false;

    g_autofree char *path = g_strdup_printf("/migrations?limit=%" PRId64 "%s%s", limit,
                                            found ? "&server=" : "", json_text_at(found, "id"));
    g_autoptr(json_t) rows = cli_get(cli, SERVICE_GODWIT, path, "migrations", err);

    if (rows)
        cli_print_list(cli, rows, columns);
    return rows != NULL;
}

static bool
migration_show(Cli *cli, GError **err)
{
    const char *id = args_word(cli->args, 0);
    int64_t number;

    if (!parse_int64(id, 1, INT64_MAX, &number))
        return usage_error(err, "\"%s\" is not the number of a move: see godwit migration list",
                           id);
    if (args_flag(cli->args, "follow"))
        return cli_follow_migration(cli, id, err);

    g_autofree char *path = g_strconcat("/migrations/", id, NULL);
    g_autoptr(json_t) migration = cli_get(cli, SERVICE_GODWIT, path, "migration", err);

    if (migration)
        cli_print_object(cli, migration);
    return migration != NULL;
}

static const CliOption migrate_options[] = {
    {"live", CLI_FLAG, NULL, "without stopping the guest", true},
    {"host", CLI_TEXT, "HOST", "where to (chosen if not given)"},
    {"no-wait", CLI_FLAG, NULL, "return when the move has been accepted"},
    {0},
};
static const CliOption list_options[] = {
    {"server", CLI_TEXT, "SERVER", "only the moves of this server"},
    {"limit", CLI_TEXT, "N", "at most so many, newest first (100)"},
    {0},
};
static const CliOption show_options[] = {{"follow", CLI_FLAG, NULL, "stay until it has ended"},
                                         {0}};

const CliCommand migration_commands[] = {
    {"server migrate", "SERVER", 1, 1, migrate_options, server_migrate,
     "move a running server to another node"},
    {"migration list", "", 0, 0, list_options, migration_list, "list moves"},
    {"migration show", "ID", 1, 1, show_options, migration_show, "show a move"},
    {0},
};
