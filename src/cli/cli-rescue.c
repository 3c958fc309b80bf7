/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-rescue.c: godwit host rescue, host forced-down, fence: the day on which a node is dead
 *
 * Each server is an evacuation of its own, which belongs to godwitd: this command asks for them all
 * and watches; whatever happens here, they go on. */
#include "cli/step-table.h"

#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#define POLL_US    (500 * USEC_PER_MSEC)
#define LIST_MOST  1000
#define REASON_MAX 255
#define AWAY       "godwitd does not answer; the rescue goes on when it is back; waiting for it ...\n"

bool
cli_override_reason(Cli *cli, const char **reason, GError **err)
{
    *reason = args_text(cli->args, "override");
    if (!*reason)
        return true;

    g_autofree char *stripped = g_strstrip(g_strdup(*reason));

    return (*stripped && g_utf8_strlen(*reason, -1) <= REASON_MAX) ||
           usage_error(err,
                       "--override wants the reason for which you are sure that the node is off, "
                       "in 1 to %d characters: it is kept in the record",
                       REASON_MAX);
}

/* ---- forced-down ------------------------------------------------------------------------------
 */

static bool
host_forced_down(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    bool down = !args_flag(cli->args, "unset");
    g_autofree char *escaped = client_escape(name);
    g_autofree char *list = g_strconcat("/os-services?binary=nova-compute&host=", escaped, NULL);
    g_autoptr(json_t) services = cli_get(cli, SERVICE_COMPUTE, list, "services", err);
    g_autoptr(json_t) body = json_pack("{s:b}", "forced_down", (int)down);

    if (!services)
        return false;
    if (json_array_size(services) != 1)
        return err_set(err, ERR_NOT_FOUND, "there is no host \"%s\": see godwit host list", name);

    const char *id = json_text_at(json_array_get(services, 0), "id");
    g_autofree char *path = g_strconcat("/os-services/", id, NULL);

    if (!client_call(cli->client, SERVICE_COMPUTE, "PUT", path, body, NULL, err))
        return false;
    cli_say(cli,
            down ? "host %s counts as down until that is lifted with godwit host forced-down "
                   "--unset %s; it takes no servers, and its own can be rescued"
                 : "host %s is no longer forced down%.0s: its state is what is seen of it",
            name, name);
    return true;
}

/* ---- rescue -----------------------------------------------------------------------------------
 */

typedef struct Rescued {
    char *name;
    int64_t id;        /* of its migration; 0: it was not accepted */
    json_t *migration; /* as seen last; NULL: not yet */
    char *error;       /* NULL, or why it was not accepted */
    char *shown;       /* the phase that the last event told */
} Rescued;

typedef struct Rescue {
    Cli *cli;
    const char *host;
    GPtrArray *servers; /* Rescued */
    StepLive *live;     /* NULL: a line per event instead */
} Rescue;

static void
rescued_free(void *opaque)
{
    Rescued *rescued = opaque;

    g_free(rescued->name);
    g_free(rescued->error);
    g_free(rescued->shown);
    json_decref(rescued->migration);
    g_free(rescued);
}

static GPtrArray *
read_accepted(const json_t *rows)
{
    GPtrArray *servers = g_ptr_array_new_with_free_func(rescued_free);
    const json_t *row;
    size_t i;

    json_array_foreach((json_t *)rows, i, row)
    {
        Rescued *rescued = g_new0(Rescued, 1);
        const char *name = json_text_at(row, "server/name");
        const char *error = json_text_at(row, "error/message");

        rescued->name = g_strdup(*name ? name : json_text_at(row, "server/id"));
        rescued->id = json_int_at(row, "migration/id");
        if (rescued->id == 0)
            rescued->error = g_strdup(*error ? error : "no reason is given");
        g_ptr_array_add(servers, rescued);
    }
    return servers;
}

static bool
is_over(const Rescued *rescued)
{
    return rescued->error || (rescued->migration && cli_migration_is_over(rescued->migration));
}

static bool
went_well(const Rescued *rescued)
{
    return rescued->migration && cli_migration_went_well(rescued->migration);
}

/* Tell what is new of a server. */
static void
rescued_tell(const Rescue *rescue, unsigned i)
{
    Rescued *rescued = rescue->servers->pdata[i];
    const json_t *move = rescued->migration;
    const char *dest = json_text_at(move, "dest_host");
    const char *phase = json_text_at(move, "phase");
    const char *step = rescued->error ? "refused" : *phase ? phase : "waits";
    StepState state = !is_over(rescued)    ? STEP_RUNNING
                      : went_well(rescued) ? STEP_SAME
                                           : STEP_FAILED;
    g_autofree char *said = g_strdup_printf("%s %d %s", step, (int)state, dest);
    g_autofree char *way = *dest ? g_strdup_printf("%s -> %s", rescue->host, dest) : NULL;
    const char *detail = state != STEP_FAILED ? way
                         : rescued->error     ? rescued->error
                                              : json_text_at(move, "reason");

    if (g_strcmp0(said, rescued->shown) == 0)
        return;
    g_free(rescued->shown);
    rescued->shown = g_steal_pointer(&said);
    if (rescue->live)
        step_live_event(rescue->live, i, step, state, detail);
    if (rescue->live || rescue->cli->json)
        return;

    g_autofree char *line = g_strdup_printf("%s: %s%s%s%s", rescued->name, step,
                                            state == STEP_SAME     ? " ok"
                                            : state == STEP_FAILED ? " FAILED"
                                                                   : "",
                                            detail ? "  " : "", detail ? detail : "");
    g_autofree char *clean = cli_text_clean(line);

    fprintf(stderr, "%s\n", clean);
}

/* One look at all of them. */
static bool
look(const Rescue *rescue, GError **err)
{
    g_autofree char *list = g_strdup_printf("/migrations?limit=%d", LIST_MOST);
    g_autoptr(json_t) rows = cli_get(rescue->cli, SERVICE_GODWIT, list, "migrations", err);
    g_autoptr(GHashTable) by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
    json_t *row;
    size_t i;

    if (!rows)
        return false;
    for (unsigned k = 0; k < rescue->servers->len; k++) {
        Rescued *rescued = rescue->servers->pdata[k];

        if (rescued->id != 0)
            g_hash_table_insert(by_id, &rescued->id, rescued);
    }
    json_array_foreach(rows, i, row)
    {
        int64_t id = json_int_at(row, "id");
        Rescued *rescued = g_hash_table_lookup(by_id, &id);

        if (rescued) {
            json_decref(rescued->migration);
            rescued->migration = json_incref(row);
            g_hash_table_remove(by_id, &id);
        }
    }

    /* Those that are no longer among the newest. */
    GHashTableIter iter;
    void *value;

    g_hash_table_iter_init(&iter, by_id);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Rescued *rescued = value;
        g_autofree char *path = g_strdup_printf("/migrations/%" PRId64, rescued->id);
        json_t *move = cli_get(rescue->cli, SERVICE_GODWIT, path, "migration", err);

        if (!move)
            return false;
        json_decref(rescued->migration);
        rescued->migration = move;
    }
    return true;
}

static bool
watch(const Rescue *rescue, GError **err)
{
    const Follow follow = {
        .what = "the rescue",
        .again = "godwit migration list",
        .meanwhile = "the rescue goes on when it is back",
    };
    int64_t gone_since = 0;

    client_catch_interrupt();
    for (;;) {
        g_autoptr(GError) error = NULL;
        bool all_over = true;

        if (!client_is_interrupted() && !look(rescue, &error) && !client_is_interrupted()) {
            bool is_first = gone_since == 0;

            if (!cli_controller_away(&follow, rescue->live || rescue->cli->json, &gone_since,
                                     &error, err))
                return false;
            if (is_first && rescue->live)
                step_live_above(rescue->live, AWAY);
            continue;
        }
        if (client_is_interrupted())
            return err_set(err, ERR_CANCELLED,
                           "stopped watching; the rescue itself goes on. See how it fares: godwit "
                           "migration list");
        gone_since = 0;
        for (unsigned i = 0; i < rescue->servers->len; i++) {
            rescued_tell(rescue, i);
            all_over = all_over && is_over(rescue->servers->pdata[i]);
        }
        if (all_over)
            return true;
        g_usleep(POLL_US);
    }
}

/* Rows for people and for --json, whether they have been followed or not. */
static json_t *
rescue_rows(const Rescue *rescue)
{
    json_t *rows = json_array();

    for (unsigned i = 0; i < rescue->servers->len; i++) {
        const Rescued *rescued = rescue->servers->pdata[i];
        const json_t *move = rescued->migration;
        const char *reason = rescued->error ? rescued->error : json_text_at(move, "reason");
        int64_t ended = json_int_at(move, "ended_at");
        g_autofree char *time =
            ended ? duration_text(ended - json_int_at(move, "created_at")) : NULL;

        json_array_append_new(
            rows, json_pack("{s:s,s:o,s:s,s:o*,s:s*,s:o*}", "server", rescued->name, "move",
                            rescued->id ? json_integer(rescued->id) : json_null(), "status",
                            rescued->error ? "refused"
                            : move         ? json_text_at(move, "status")
                                           : "accepted",
                            "to", move ? json_incref((json_t *)json_at(move, "dest_host")) : NULL,
                            "time", time, "reason", *reason ? json_string(reason) : NULL));
    }
    return rows;
}

static bool
rescue_judge(const Rescue *rescue, bool waited, GError **err)
{
    unsigned n_failed = 0;

    for (unsigned i = 0; i < rescue->servers->len; i++) {
        const Rescued *rescued = rescue->servers->pdata[i];

        n_failed += waited ? !went_well(rescued) : rescued->error != NULL;
    }
    return n_failed == 0 ||
           err_set(err, ERR_BACKEND,
                   "%u of %u servers of host %s %s rescued: the reasons are above; when they are "
                   "mended, the same command takes up what is left",
                   n_failed, rescue->servers->len, rescue->host, waited ? "were not" : "cannot be");
}

static bool
rescue_watch(Rescue *rescue, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    bool ok;

    for (unsigned i = 0; i < rescue->servers->len; i++)
        g_ptr_array_add(names, ((Rescued *)rescue->servers->pdata[i])->name);
    if (!rescue->cli->json)
        rescue->live = step_live_new(rescue->cli->out, "SERVER", (const char *const *)names->pdata,
                                     names->len);
    ok = watch(rescue, err);
    step_live_end(rescue->live);
    return ok;
}

static bool
host_rescue(Cli *cli, GError **err)
{
    static const Column columns[] = {
        {"server", "server"},
        {"move", "move"},
        {"status", "status"},
        {"to", "to"},
        {"time", "time"},
        {"reason", "reason"},
        {0},
    };
    Rescue rescue = {.cli = cli, .host = args_word(cli->args, 0)};
    const char *to = args_text(cli->args, "to"), *override;
    bool wait = args_flag(cli->args, "wait");
    g_autofree char *escaped = client_escape(rescue.host);
    g_autofree char *path = g_strconcat("/hosts/", escaped, "/rescue", NULL);
    g_autoptr(json_t) reply = NULL;

    if (!cli_override_reason(cli, &override, err))
        return false;
    if (to && g_str_equal(to, rescue.host))
        return usage_error(err, "--to %s is the host that is dead: name another, or none", to);

    g_autoptr(json_t) body = json_pack("{s:s*,s:s*,s:b}", "dest", to, "override", override,
                                       "stopped", (int)args_flag(cli->args, "stopped"));

    if (!cli_post(cli, SERVICE_GODWIT, path, body, "rescue", &reply, err)) {
        g_prefix_error(err, "host %s is not rescued: ", rescue.host);
        return false;
    }

    g_autoptr(GPtrArray) servers = read_accepted(reply);

    rescue.servers = servers;
    if (servers->len == 0) {
        cli_say(cli, "host %s has no servers: there is nothing to rescue", rescue.host);
        if (cli->json)
            cli_print_list(cli, reply, columns);
        return true;
    }
    if (wait && !rescue_watch(&rescue, err))
        return false;

    g_autoptr(json_t) rows = rescue_rows(&rescue);

    cli_print_list(cli, rows, columns);
    return rescue_judge(&rescue, wait, err);
}

/* ---- fences -----------------------------------------------------------------------------------
 */

static bool
fence_list(Cli *cli, GError **err)
{
    static const Column columns[] = {
        {"host", "host"},
        {"client", "address"},
        {"disk of", "server_name"},
        {"since", "created_at", CELL_TIME},
        {"until", "expires_at", CELL_TIME},
        {0},
    };
    const char *host = args_text(cli->args, "host");
    g_autofree char *escaped = client_escape(host ? host : "");
    g_autofree char *path = g_strconcat("/fences", host ? "?host=" : "", escaped, NULL);
    g_autoptr(json_t) fences = cli_get(cli, SERVICE_GODWIT, path, "fences", err);

    if (fences)
        cli_print_list(cli, fences, columns);
    return fences != NULL;
}

static const CliOption forced_options[] = {
    {"unset", CLI_FLAG, NULL, "let it count again as what is seen of it"}, {0}};
static const CliOption rescue_options[] = {
    {"to", CLI_TEXT, "HOST", "bring all of them up there (chosen for each if not given)"},
    {"override", CLI_TEXT, "REASON",
     "you have made sure that the node is off: needed where nothing can fence it"},
    {"stopped", CLI_FLAG, NULL, "do not start them there"},
    {"wait", CLI_FLAG, NULL, "stay, with a row for each server, until all run elsewhere"},
    {0},
};
static const CliOption fence_options[] = {
    {"host", CLI_TEXT, "HOST", "only the clients of this node"}, {0}};

const CliCommand rescue_commands[] = {
    {"host forced-down", "NAME", 1, 1, forced_options, host_forced_down,
     "let a node count as down, whatever is seen of it"},
    {"host rescue", "NAME", 1, 1, rescue_options, host_rescue,
     "bring the servers of a dead node up on others"},
    {"fence list", "", 0, 0, fence_options, fence_list,
     "list the clients that are shut out of the storage"},
    {0},
};
