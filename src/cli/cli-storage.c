/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-storage.c: godwit storage: the pools, their key on the nodes, what lies about in them */
#include "cli/cli.h"

#include <inttypes.h>

static bool
storage_list(Cli *cli, GError **err)
{
    static const Column columns[] = {
        {"for", "purpose"},
        {"name", "name"},
        {"driver", "driver"},
        {"things", "things"},
        {"used", "used_bytes", CELL_BYTES},
        {"free", "free_bytes", CELL_BYTES},
        {"total", "total_bytes", CELL_BYTES},
        {"trouble", "trouble"},
        {0},
    };
    g_autoptr(json_t) storage = cli_get(cli, SERVICE_GODWIT, "/storage", "storage", err);

    int64_t foreign = storage ? json_int_at(storage, "orphans/foreign") : 0;

    if (!storage)
        return false;
    cli_print_list(cli, json_at(storage, "pools"), columns);
    if (foreign > 0) {
        g_autofree char *time = cell_text(json_at(storage, "orphans/swept_at"), CELL_TIME);
        cli_say(cli,
                "\nNot made by this Godwit: %" PRId64
                " (counted %s); godwit storage sweep names them",
                foreign, time);
    }
    return true;
}

static bool
storage_show(Cli *cli, GError **err)
{
    g_autofree char *name = client_escape(args_word(cli->args, 0));
    g_autofree char *path = g_strconcat("/storage/", name, NULL);
    g_autoptr(json_t) pool = cli_get(cli, SERVICE_GODWIT, path, "pool", err);

    if (pool)
        cli_print_object(cli, pool);
    return pool != NULL;
}

/* The whole is done only when every node has the key: a node without it cannot start a server. */
static bool
storage_rotate_key(Cli *cli, GError **err)
{
    static const Column columns[] = {
        {"node", "host"}, {"has the key", "ok"}, {"reason", "reason"}, {0}};
    g_autoptr(json_t) rotation = NULL;
    unsigned missing = 0;
    json_t *node;
    size_t i;

    if (!cli_post(cli, SERVICE_GODWIT, "/storage/rotate-key", NULL, "rotation", &rotation, err))
        return false;

    const json_t *nodes = json_at(rotation, "nodes");

    if (cli->json)
        cli_print_object(cli, rotation);
    else
        cli_print_list(cli, nodes, columns);
    json_array_foreach((json_t *)nodes, i, node) missing += !json_is_true(json_at(node, "ok"));
    if (missing > 0)
        return err_set(err, ERR_BACKEND,
                       "%u of %zu nodes did not get the key. A node gets it by itself when it "
                       "connects again; or mend what is named above and repeat this",
                       missing, json_array_size(nodes));
    return true;
}

static bool
storage_sweep(Cli *cli, GError **err)
{
    g_autoptr(json_t) sweep = NULL;
    json_t *name;
    size_t i;

    if (!cli_post(cli, SERVICE_GODWIT, "/storage/sweep", NULL, "sweep", &sweep, err))
        return false;
    if (cli->json)
        cli_print_object(cli, sweep);
    cli_say(cli, "%" PRId64 " removed, %" PRId64 " that Godwit did not make left alone",
            json_int_at(sweep, "removed"), json_int_at(sweep, "foreign"));
    json_array_foreach(json_at(sweep, "foreign_names"), i, name)
    {
        g_autofree char *text = cell_text(name, CELL_TEXT);
        cli_say(cli, "  %s", text);
    }
    return true;
}

const CliCommand storage_commands[] = {
    {"storage list", "", 0, 0, NULL, storage_list, "list the pools and what room is in them"},
    {"storage show", "NAME", 1, 1, NULL, storage_show,
     "show one: images, instances, volumes, or the pool's name"},
    {"storage rotate-key", "", 0, 0, NULL, storage_rotate_key,
     "read the cluster's key again and give it to every node"},
    {"storage sweep", "", 0, 0, NULL, storage_sweep,
     "remove disks and volumes whose records are gone, count what is foreign"},
    {0},
};
