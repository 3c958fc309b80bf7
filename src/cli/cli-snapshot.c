/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-snapshot.c: godwit snapshot: volumes as they were */
#include "cli/cli.h"

static const Column columns[] = {
    {"id", "id"},
    {"name", "name"},
    {"status", "status"},
    {"GiB", "size"},
    {"volume", "volume_id"},
    {"made", "created_at"},
    {0},
};

static bool
is_settled(const json_t *snapshot)
{
    const char *status = json_text_at(snapshot, "status");

    return !g_str_equal(status, "creating") && !g_str_equal(status, "deleting");
}

/* As wait_settled of volumes: the snapshot of Godwit's own API, a JSON null if it is gone. */
static json_t *
wait_settled(Cli *cli, const char *id, const char *name, GError **err)
{
    g_autofree char *path = g_strconcat("/snapshots/", id, NULL);
    g_autofree char *what = g_strconcat("the work on snapshot ", name, NULL);
    g_autofree char *again = g_strconcat("godwit snapshot show ", id, NULL);
    const Follow follow = {
        .path = path,
        .key = "snapshot",
        .what = what,
        .again = again,
        .meanwhile = "it goes on when godwitd is back",
        .phase_key = "status",
        .is_over = is_settled,
        .until_gone = true,
    };

    return cli_follow(cli, &follow, err);
}

static bool
snapshot_failed(const char *name, const char *what, const json_t *snapshot, GError **err)
{
    const char *reason = json_text_at(snapshot, "fault_message");

    return err_set(err, ERR_BACKEND, "snapshot %s could not be %s: %s", name, what,
                   *reason ? reason : "no reason is recorded");
}

static bool
snapshot_create(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0), *volume_name = args_text(cli->args, "volume");
    g_autoptr(json_t) metadata = cli_properties(cli, err);
    g_autoptr(json_t) volume = metadata ? cli_find(cli, &noun_volume, volume_name, err) : NULL;
    g_autoptr(json_t) snapshot = NULL;

    if (!volume)
        return false;

    g_autoptr(json_t) body = json_pack("{s:{s:s,s:s,s:s*,s:O}}", "snapshot", "name", name,
                                       "volume_id", json_text_at(volume, "id"), "description",
                                       args_text(cli->args, "description"), "metadata", metadata);

    if (!cli_post(cli, SERVICE_VOLUME, "/snapshots", body, "snapshot", &snapshot, err)) {
        g_prefix_error(err, "cannot make a snapshot of volume %s: ", volume_name);
        return false;
    }

    g_autofree char *id = g_strdup(json_text_at(snapshot, "id"));
    bool wait = args_flag(cli->args, "wait");

    if (wait) {
        g_autofree char *path = g_strconcat("/snapshots/", id, NULL);
        g_autoptr(json_t) settled = wait_settled(cli, id, name, err);

        if (!settled)
            return false;
        if (!g_str_equal(json_text_at(settled, "status"), "available"))
            return snapshot_failed(name, "made", settled, err);
        json_decref(snapshot);
        snapshot = cli_get(cli, SERVICE_VOLUME, path, "snapshot", err);
        if (!snapshot)
            return false;
    }
    if (cli->json)
        cli_print_object(cli, snapshot);
    cli_say(cli, wait ? "snapshot %s created: %s" : "snapshot %s is being made: %s", name, id);
    return true;
}

static bool
snapshot_list(Cli *cli, GError **err)
{
    const char *name = args_text(cli->args, "volume");
    g_autoptr(json_t) volume = name ? cli_find(cli, &noun_volume, name, err) : NULL;

    if (name && !volume)
        return false;

    const char *scope = args_flag(cli->args, "all-projects") ? "all_tenants=1" : "all_tenants=0";
    g_autofree char *path = g_strconcat("/snapshots/detail?", scope, volume ? "&volume_id=" : "",
                                        json_text_at(volume, "id"), NULL);
    g_autoptr(json_t) snapshots = cli_get_all(cli, &noun_snapshot, path, err);

    if (snapshots)
        cli_print_list(cli, snapshots, columns);
    return snapshots != NULL;
}

/* The block storage API has no place for the reason of an error. */
static bool
snapshot_show(Cli *cli, GError **err)
{
    g_autoptr(json_t) snapshot = cli_find(cli, &noun_snapshot, args_word(cli->args, 0), err);

    if (!snapshot)
        return false;

    g_autofree char *path = g_strconcat("/snapshots/", json_text_at(snapshot, "id"), NULL);
    g_autoptr(json_t) own = cli_get(cli, SERVICE_GODWIT, path, "snapshot", NULL);
    json_t *fault = json_object_get(own, "fault_message");

    if (json_is_string(fault))
        json_object_set(snapshot, "fault_message", fault);
    cli_print_object(cli, snapshot);
    return true;
}

static bool
snapshot_delete(Cli *cli, GError **err)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    bool wait = args_flag(cli->args, "wait");

    for (unsigned i = 0; args_word(cli->args, i); i++) {
        g_autoptr(json_t) found = cli_find(cli, &noun_snapshot, args_word(cli->args, i), err);

        if (!found)
            return false;
        g_ptr_array_add(ids, g_strdup(json_text_at(found, "id")));
    }
    for (unsigned i = 0; i < ids->len; i++) {
        g_autofree char *path = g_strconcat("/snapshots/", ids->pdata[i], NULL);

        if (!client_call(cli->client, SERVICE_VOLUME, "DELETE", path, NULL, NULL, err)) {
            g_prefix_error(err, "cannot delete snapshot %s: ", args_word(cli->args, i));
            return false;
        }
    }
    for (unsigned i = 0; i < ids->len; i++) {
        const char *name = args_word(cli->args, i);
        g_autoptr(json_t) left = wait ? wait_settled(cli, ids->pdata[i], name, err) : json_null();

        if (!left)
            return false;
        if (!json_is_null(left))
            return snapshot_failed(name, "deleted", left, err);
        cli_say(cli, wait ? "snapshot %s deleted" : "snapshot %s is being deleted", name);
    }
    return true;
}

static const CliOption create_options[] = {
    {"volume", CLI_TEXT, "VOLUME", "of which volume", true},
    {"description", CLI_TEXT, "TEXT", "for people"},
    {"property", CLI_LIST, "KEY=VALUE", "metadata; may be repeated"},
    {"wait", CLI_FLAG, NULL, "return when it is made"},
    {0},
};
static const CliOption list_options[] = {
    {"volume", CLI_TEXT, "VOLUME", "only those of this volume"},
    {"all-projects", CLI_FLAG, NULL, "of all projects, not only one's own"},
    {0},
};
static const CliOption delete_options[] = {{"wait", CLI_FLAG, NULL, "return when it is gone"}, {0}};

const CliCommand snapshot_commands[] = {
    {"snapshot create", "NAME", 1, 1, create_options, snapshot_create,
     "keep a volume as it is now, in use or not"},
    {"snapshot list", "", 0, 0, list_options, snapshot_list, "list the snapshots"},
    {"snapshot show", "SNAPSHOT", 1, 1, NULL, snapshot_show, "show a snapshot"},
    {"snapshot delete", "SNAPSHOT...", 1, 100, delete_options, snapshot_delete, "delete snapshots"},
    {0},
};
