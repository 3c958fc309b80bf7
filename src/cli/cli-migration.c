/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-migration.c: godwit server migrate, godwit migration: moves, and following one to its end
 *
 * A move belongs to the nodes and to godwitd, not to this command: whatever happens here, it goes
 * on. */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define POLL_MS       1000
#define PLAIN_LINE_US (5 * USEC_PER_SEC)
#define GONE_WAIT_US  (120 * USEC_PER_SEC) /* a controller that is restarted is back by then */

static bool
is_final(const char *status)
{
    static const char *const final[] = {"completed", "error", "failed", "cancelled", NULL};

    return g_strv_contains(final, status);
}

static unsigned
terminal_width(FILE *stream)
{
    struct winsize size = {0};

    return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col - 1u
                                                                             : 79u;
}

typedef struct Display {
    bool quiet; /* --json: no progress at all */
    bool is_tty;
    bool line_open;
    char phase[32];
    int64_t shown_us;
} Display;

static void
display_end(Display *display)
{
    if (display->line_open)
        fputc('\n', stderr);
    display->line_open = false;
}

/* On a terminal the line is redrawn; elsewhere a new one is written when the phase changes, or at
 * times. */
static void
display_progress(Display *display, const json_t *migration)
{
    int64_t now = clock_monotonic();
    const char *phase = json_text_at(migration, "phase");
    bool is_new = !g_str_equal(phase, display->phase);

    if (display->quiet || (!display->is_tty && !is_new && now - display->shown_us < PLAIN_LINE_US))
        return;

    g_autofree char *line =
        progress_line(migration, display->is_tty ? terminal_width(stderr) : UINT_MAX);

    if (display->is_tty)
        fprintf(stderr, "\r%s\033[K", line);
    else
        fprintf(stderr, "%s\n", line);
    fflush(stderr);
    display->line_open = display->is_tty;
    display->shown_us = now;
    g_strlcpy(display->phase, phase, sizeof(display->phase));
}

/* The controller does not answer: wait for it, as the move goes on without it. */
static bool
controller_gone(Display *display, int64_t *since, const char *id, GError **error, GError **err)
{
    int64_t now = clock_monotonic();

    if (!err_is(*error, ERR_UNREACHABLE) && !err_is(*error, ERR_TIMEOUT) &&
        !err_is(*error, ERR_BUSY)) {
        g_propagate_error(err, g_steal_pointer(error));
        return false;
    }
    if (*since == 0) {
        display_end(display);
        if (!display->quiet)
            fprintf(stderr, "godwitd does not answer; the move goes on between the nodes; waiting "
                            "for godwitd to come back ...\n");
        *since = now;
    } else if (now - *since > GONE_WAIT_US) {
        g_propagate_prefixed_error(
            err, g_steal_pointer(error),
            "how move %s ended is not known, godwitd has not answered for %d "
            "s; see godwit migration show %s: ",
            id, (int)(GONE_WAIT_US / USEC_PER_SEC), id);
        return false;
    }
    g_clear_error(error);
    g_usleep(500 * USEC_PER_MSEC);
    return true;
}

/* The migration as it is at its end; NULL with *err if that cannot be learnt. */
static json_t *
follow(Cli *cli, const char *id, GError **err)
{
    Display display = {.quiet = cli->json, .is_tty = isatty(STDERR_FILENO)};
    int64_t gone_since = 0, updated = -1;
    g_autofree char *base = g_strconcat("/migrations/", id, NULL);

    client_catch_interrupt();
    for (;;) {
        g_autofree char *path = updated < 0 ? g_strdup(base)
                                            : g_strdup_printf("%s?since=%" PRId64 "&wait_ms=%d",
                                                              base, updated, POLL_MS);
        g_autoptr(GError) error = NULL;
        g_autoptr(json_t) migration = client_is_interrupted()
                                          ? NULL
                                          : cli_get(cli, SERVICE_GODWIT, path, "migration", &error);

        if (client_is_interrupted()) {
            display_end(&display);
            err_set(err, ERR_CANCELLED,
                    "stopped watching; move %s itself goes on. See how it fares: "
                    "godwit migration show --follow %s",
                    id, id);
            return NULL;
        }
        if (!migration) {
            if (!controller_gone(&display, &gone_since, id, &error, err))
                return NULL;
            continue;
        }
        gone_since = 0;
        updated = json_int_at(migration, "updated_at");
        display_progress(&display, migration);
        if (is_final(json_text_at(migration, "status"))) {
            display_end(&display);
            return g_steal_pointer(&migration);
        }
    }
}

bool
cli_follow_migration(Cli *cli, const char *id, GError **err)
{
    g_autoptr(json_t) migration = follow(cli, id, err);

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
