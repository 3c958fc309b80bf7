/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-migration.c: godwit migration: moves, resizes and evacuations; following one to its end,
 * ending one early
 *
 * A move belongs to the nodes and to godwitd, not to this command: whatever happens here, it goes
 * on. */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

static bool
has_status(const json_t *migration, const char *const *statuses)
{
    return g_strv_contains(statuses, json_text_at(migration, "status"));
}

/* A resize that waits to be confirmed is where it was to go. */
bool
cli_migration_is_over(const json_t *migration)
{
    static const char *const over[] = {"completed", "error",    "failed", "cancelled", "finished",
                                       "confirmed", "reverted", "done",   NULL};

    return has_status(migration, over);
}

bool
cli_migration_went_well(const json_t *migration)
{
    static const char *const well[] = {"completed", "finished", "confirmed",
                                       "reverted",  "done",     NULL};

    return has_status(migration, well);
}

static bool
is_of_type(const json_t *migration, const char *type)
{
    return g_str_equal(json_text_at(migration, "type"), type);
}

char *
cli_migration_failure(const json_t *migration)
{
    const char *reason = json_text_at(migration, "reason");
    const char *dest = json_text_at(migration, "dest_host");
    const char *what = is_of_type(migration, "resize")       ? "resized"
                       : is_of_type(migration, "evacuation") ? "rescued"
                                                             : "moved";

    return g_strdup_printf("%s was not %s from %s to %s (%s, in phase %s): %s",
                           json_text_at(migration, "server_name"), what,
                           json_text_at(migration, "source_host"), *dest ? dest : "another host",
                           json_text_at(migration, "status"), json_text_at(migration, "phase"),
                           *reason ? reason : "no reason is recorded");
}

static json_t *
follow_to_end(Cli *cli, const char *id, GError **err)
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
        .is_over = cli_migration_is_over,
        .long_poll = true,
    };

    return cli_follow(cli, &follow, err);
}

bool
cli_follow_migration(Cli *cli, const char *id, GError **err)
{
    g_autoptr(json_t) migration = follow_to_end(cli, id, err);

    if (!migration)
        return false;
    if (cli->json)
        cli_print_object(cli, migration);
    if (!cli_migration_went_well(migration)) {
        g_autofree char *failure = cli_migration_failure(migration);

        return err_set(err, ERR_BACKEND, "%s", failure);
    }
    if (!cli->json) {
        g_autofree char *summary = progress_summary(migration);
        g_autofree char *clean = cli_text_clean(summary);

        fputs(clean, cli->out);
    }
    return true;
}

/* ---- list, show -------------------------------------------------------------------------------
 */

static const Column columns[] = {
    {"id", "id"},
    {"server", "server_name"},
    {"type", "type"},
    {"status", "status"},
    {"phase", "phase"},
    {"ahead", "queue_position"},
    {"from", "source_host"},
    {"to", "dest_host"},
    {"downtime ms", "downtime_ms"},
    {"encryption", "encryption"},
    {"begun", "created_at", CELL_TIME},
    {"reason", "reason"},
    {0},
};

/* What was not measured is no number to people. */
static void
hide_unmeasured(json_t *migration)
{
    static const char *const keys[] = {"downtime_ms", "total_ms"};

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (json_int_at(migration, keys[i]) < 0)
            json_object_set_new(migration, keys[i], json_null());
    }
}

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
    json_t *row;
    size_t i;

    if (!rows)
        return false;
    json_array_foreach(rows, i, row)
    {
        if (!cli->json)
            hide_unmeasured(row);
    }
    cli_print_list(cli, rows, columns);
    return true;
}

static void
flavor_to_name(json_t *fields, const char *key)
{
    const json_t *flavor = json_object_get(fields, key);

    if (json_is_object(flavor))
        json_object_set_new(
            fields, key,
            json_sprintf("%s (vCPUs: %d, %d MiB, %d GiB disk)", json_text_at(flavor, "name"),
                         (int)json_int_at(flavor, "vcpus"), (int)json_int_at(flavor, "ram_mb"),
                         (int)json_int_at(flavor, "disk_gb")));
}

/* What made sure that the former node cannot write, part by part. */
static void
print_fence(Cli *cli, const json_t *fence)
{
    g_autoptr(json_t) fields = json_object();
    const json_t *command = json_at(fence, "command"), *override = json_at(fence, "override");
    const char *const plain[] = {
        "storage",   "addresses",          "rounds", "confirmed_at", "stopped_there",
        "lifted_at", "stale_guest_stopped"};
    const char *part;
    json_t *us;

    for (size_t i = 0; i < G_N_ELEMENTS(plain); i++) {
        json_t *value = json_object_get(fence, plain[i]);

        if (value)
            json_object_set(fields, plain[i], value);
    }
    if (json_is_object(command))
        json_object_set_new(fields, "command",
                            json_sprintf("%s: %s", json_text_at(command, "program"),
                                         json_is_true(json_at(command, "done"))
                                             ? "the node is off"
                                             : json_text_at(command, "error")));
    if (json_is_object(override))
        json_object_set_new(fields, "override",
                            json_sprintf("\"%s\", by user %s", json_text_at(override, "reason"),
                                         json_text_at(override, "by")));
    json_object_foreach(json_object_get(fence, "us"), part, us)
    {
        g_autofree char *key = g_strconcat("time of ", part, NULL);
        g_autofree char *time = duration_text(json_integer_value(us));

        json_object_set_new(fields, key, json_string(time));
    }
    fputs("\nfence of its former node:\n", cli->out);
    cli_print_object(cli, fields);
}

/* The fields, and below them the attempts and what was fenced as tables of their own. */
static void
print_migration(Cli *cli, const json_t *migration)
{
    static const Column attempt_columns[] = {
        {"tried before", "host"},
        {"at", "at", CELL_TIME},
        {"error", "error_code"},
        {"reason", "reason"},
        {0},
    };
    g_autoptr(json_t) fields = json_copy((json_t *)migration);
    const json_t *attempts = json_at(migration, "attempts"), *fence = json_at(migration, "fence");

    if (cli->json) {
        cli_print_object(cli, migration);
        return;
    }
    hide_unmeasured(fields);
    flavor_to_name(fields, "old_flavor");
    flavor_to_name(fields, "new_flavor");
    json_object_del(fields, "attempts");
    json_object_del(fields, "fence");
    cli_print_object(cli, fields);
    if (json_array_size(attempts) > 0) {
        fputc('\n', cli->out);
        cli_print_list(cli, attempts, attempt_columns);
    }
    if (json_is_object(fence))
        print_fence(cli, fence);
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
        print_migration(cli, migration);
    return migration != NULL;
}

/* ---- abort, force-complete --------------------------------------------------------------------
 */

/* The live migration with that number, or the one under way of the server with that name. */
static json_t *
find_under_way(Cli *cli, const char *word, GError **err)
{
    g_autofree char *path = NULL;
    int64_t number;

    if (parse_int64(word, 1, INT64_MAX, &number)) {
        path = g_strdup_printf("/migrations/%" PRId64, number);
        return cli_get(cli, SERVICE_GODWIT, path, "migration", err);
    }

    g_autoptr(json_t) server = cli_find(cli, &noun_server, word, err);

    if (!server)
        return NULL;
    path = g_strconcat(
        "/migrations?open=1&type=live-migration&limit=1&server=", json_text_at(server, "id"), NULL);

    g_autoptr(json_t) rows = cli_get(cli, SERVICE_GODWIT, path, "migrations", err);

    if (!rows)
        return NULL;
    if (json_array_size(rows) > 0)
        return json_incref(json_array_get(rows, 0));
    err_set(err, ERR_NOT_FOUND,
            "no live migration of server %s is under way: see godwit migration list --server %s",
            word, word);
    return NULL;
}

/* Ask it of the move; *migration is what it is like then. */
static bool
steer(Cli *cli, const char *wish, const char *participle, json_t **migration, GError **err)
{
    g_autoptr(json_t) found = find_under_way(cli, args_word(cli->args, 0), err);
    g_autofree char *path = NULL;

    if (!found)
        return false;
    path = g_strdup_printf("/migrations/%" PRId64 "/%s", json_int_at(found, "id"), wish);
    if (cli_post(cli, SERVICE_GODWIT, path, NULL, "migration", migration, err))
        return true;
    g_prefix_error(err, "move %" PRId64 " of server %s is not %s: ", json_int_at(found, "id"),
                   json_text_at(found, "server_name"), participle);
    return false;
}

static bool
migration_abort(Cli *cli, GError **err)
{
    g_autoptr(json_t) asked = NULL, ended = NULL;

    if (!steer(cli, "abort", "aborted", &asked, err))
        return false;

    g_autofree char *id = g_strdup_printf("%" PRId64, json_int_at(asked, "id"));
    const char *name = json_text_at(asked, "server_name");

    if (!args_flag(cli->args, "wait")) {
        cli_say(cli,
                "move %s of server %s is being aborted; see how it ends with godwit migration "
                "show --follow %s",
                id, name, id);
        if (cli->json)
            cli_print_object(cli, asked);
        return true;
    }
    ended = follow_to_end(cli, id, err);
    if (!ended)
        return false;
    if (cli->json)
        cli_print_object(cli, ended);
    if (!g_str_equal(json_text_at(ended, "status"), "cancelled"))
        return err_set(err, ERR_CONFLICT,
                       "move %s of server %s was not aborted, it had its end before: %s%s%s", id,
                       name, json_text_at(ended, "status"),
                       *json_text_at(ended, "reason") ? ", " : "", json_text_at(ended, "reason"));
    cli_say(cli, "move %s aborted: server %s runs on %s as before", id, name,
            json_text_at(ended, "source_host"));
    return true;
}

static bool
migration_force_complete(Cli *cli, GError **err)
{
    g_autoptr(json_t) asked = NULL;

    if (!steer(cli, "force-complete", "forced", &asked, err))
        return false;

    g_autofree char *id = g_strdup_printf("%" PRId64, json_int_at(asked, "id"));

    if (args_flag(cli->args, "wait"))
        return cli_follow_migration(cli, id, err);
    cli_say(cli,
            "move %s of server %s is made to end soon; see how it ends with godwit migration "
            "show --follow %s",
            id, json_text_at(asked, "server_name"), id);
    if (cli->json)
        cli_print_object(cli, asked);
    return true;
}

static const CliOption list_options[] = {
    {"server", CLI_TEXT, "SERVER", "only the moves of this server"},
    {"limit", CLI_TEXT, "N", "at most so many, newest first (100)"},
    {0},
};
static const CliOption show_options[] = {{"follow", CLI_FLAG, NULL, "stay until it has ended"},
                                         {0}};
static const CliOption steer_options[] = {{"wait", CLI_FLAG, NULL, "return when it has ended"},
                                          {0}};

const CliCommand migration_commands[] = {
    {"migration list", "", 0, 0, list_options, migration_list,
     "list moves, resizes and evacuations, newest first"},
    {"migration show", "ID", 1, 1, show_options, migration_show, "show a move"},
    {"migration abort", "ID|SERVER", 1, 1, steer_options, migration_abort,
     "end a live migration, the guest staying where it is; a queued one, too"},
    {"migration force-complete", "ID|SERVER", 1, 1, steer_options, migration_force_complete,
     "let a live migration end soon, by post-copy or by pausing the guest"},
    {0},
};
