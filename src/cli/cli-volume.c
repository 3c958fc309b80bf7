/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-volume.c: godwit volume */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#define SIZE_MAX_GB 1000000

static const Column columns[] = {
    {"id", "id"},
    {"name", "name"},
    {"status", "status"},
    {"GiB", "size"},
    {"type", "volume_type"},
    {"bootable", "bootable"},
    {"attached to", "attachments", CELL_ATTACHED},
    {0},
};

/* ---- waiting ----------------------------------------------------------------------------------
 */

static bool
is_settled(const json_t *volume)
{
    static const char *const busy[] = {"creating",  "downloading", "reserved", "attaching",
                                       "detaching", "extending",   "deleting", NULL};

    return !g_strv_contains(busy, json_text_at(volume, "status"));
}

/* The volume of Godwit's own API when nothing is done with it any more; a JSON null if it is gone,
 * where that is what one waits for. */
static json_t *
wait_settled(Cli *cli, const char *id, const char *name, bool until_gone, GError **err)
{
    g_autofree char *path = g_strconcat("/volumes/", id, NULL);
    g_autofree char *what = g_strconcat("the work on volume ", name, NULL);
    g_autofree char *again = g_strconcat("godwit volume show ", id, NULL);
    const Follow follow = {
        .path = path,
        .key = "volume",
        .what = what,
        .again = again,
        .meanwhile = "it goes on when godwitd is back",
        .phase_key = "status",
        .line = progress_volume_line,
        .is_over = is_settled,
        .until_gone = until_gone,
    };

    return cli_follow(cli, &follow, err);
}

static bool
has_status(const json_t *volume, const char *status)
{
    return g_str_equal(json_text_at(volume, "status"), status);
}

/* The reason, where there is one, says itself what was not done. */
static bool
volume_failed(const char *name, const char *what, const json_t *volume, GError **err)
{
    const char *reason = json_text_at(volume, "fault_message");
    const char *status = json_text_at(volume, "status");

    return *reason
               ? err_set(err, ERR_BACKEND, "volume %s (%s): %s", name, status, reason)
               : err_set(err, ERR_BACKEND, "volume %s %s; its status is %s, no reason is recorded",
                         name, what, status);
}

/* ---- create -----------------------------------------------------------------------------------
 */

/* What it is made from; at most one of three. */
static bool
add_origin(Cli *cli, json_t *wanted, GError **err)
{
    const struct {
        const char *option, *member;
        const Noun *noun;
    } origins[] = {
        {"image", "imageRef", &noun_image},
        {"snapshot", "snapshot_id", &noun_snapshot},
        {"source", "source_volid", &noun_volume},
    };
    const char *taken = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(origins); i++) {
        const char *name = args_text(cli->args, origins[i].option);

        if (name && taken)
            return usage_error(err, "--%s and --%s cannot both be what it is made from", taken,
                               origins[i].option);
        if (name)
            taken = origins[i].option;
    }
    if ((!taken || g_str_equal(taken, "image")) && !args_text(cli->args, "size"))
        return usage_error(err, "--size GIB is missing: how large it shall be");
    for (size_t i = 0; taken && i < G_N_ELEMENTS(origins); i++) {
        g_autoptr(json_t) origin = NULL;

        if (!g_str_equal(taken, origins[i].option))
            continue;
        origin = cli_find(cli, origins[i].noun, args_text(cli->args, taken), err);
        if (!origin)
            return false;
        json_object_set(wanted, origins[i].member, json_object_get(origin, "id"));
    }
    return true;
}

static bool
volume_create(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    int64_t size = 0;
    g_autoptr(json_t) metadata = cli_properties(cli, err);
    g_autoptr(json_t) volume = NULL;

    if (!metadata || !args_int(cli->args, "size", 1, SIZE_MAX_GB, &size, err))
        return false;

    g_autoptr(json_t) wanted =
        json_pack("{s:s,s:o*,s:s*,s:s*,s:O}", "name", name, "size",
                  size ? json_integer(size) : NULL, "volume_type", args_text(cli->args, "type"),
                  "description", args_text(cli->args, "description"), "metadata", metadata);
    g_autoptr(json_t) body = json_pack("{s:O}", "volume", wanted);

    if (!add_origin(cli, wanted, err))
        return false;
    if (!cli_post(cli, SERVICE_VOLUME, "/volumes", body, "volume", &volume, err)) {
        g_prefix_error(err, "cannot create volume %s: ", name);
        return false;
    }

    g_autofree char *id = g_strdup(json_text_at(volume, "id"));
    bool wait = args_flag(cli->args, "wait");

    if (wait) {
        g_autoptr(json_t) settled = wait_settled(cli, id, name, false, err);
        g_autofree char *path = g_strconcat("/volumes/", id, NULL);

        if (!settled)
            return false;
        if (!has_status(settled, "available") && !has_status(settled, "in-use"))
            return volume_failed(name, "could not be made", settled, err);
        json_decref(volume);
        volume = cli_get(cli, SERVICE_VOLUME, path, "volume", err);
        if (!volume)
            return false;
    }
    if (cli->json)
        cli_print_object(cli, volume);
    cli_say(cli, wait ? "volume %s created: %s" : "volume %s is being created: %s", name, id);
    return true;
}

/* ---- list, show -------------------------------------------------------------------------------
 */

/* People know servers by their names. What cannot be learnt stays an id. */
static void
add_server_names(Cli *cli, json_t *volumes, bool all_projects)
{
    g_autoptr(json_t) servers = NULL;
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    json_t *volume, *attachment, *server;
    size_t i, k;

    json_array_foreach(volumes, i, volume)
    {
        json_array_foreach(json_object_get(volume, "attachments"), k, attachment)
        {
            if (!servers)
                servers = cli_get_all(cli, &noun_server,
                                      all_projects ? "/servers?all_tenants=1" : "/servers", NULL);
            break;
        }
    }
    json_array_foreach(servers, i, server) g_hash_table_insert(
        names, (char *)json_text_at(server, "id"), (char *)json_text_at(server, "name"));
    json_array_foreach(volumes, i, volume)
    {
        json_array_foreach(json_object_get(volume, "attachments"), k, attachment)
        {
            const char *name = g_hash_table_lookup(names, json_text_at(attachment, "server_id"));

            if (name)
                json_object_set_new(attachment, "server_name", json_string(name));
        }
    }
}

static bool
volume_list(Cli *cli, GError **err)
{
    bool all = args_flag(cli->args, "all-projects");
    g_autoptr(json_t) volumes = cli_get_all(
        cli, &noun_volume, all ? "/volumes/detail?all_tenants=1" : "/volumes/detail", err);

    if (!volumes)
        return false;
    if (!cli->json)
        add_server_names(cli, volumes, all);
    cli_print_list(cli, volumes, columns);
    return true;
}

/* The block storage API has no place for the reason of an error, nor for how far a copy is. */
static void
add_own_knowledge(Cli *cli, json_t *volume)
{
    g_autofree char *path = g_strconcat("/volumes/", json_text_at(volume, "id"), NULL);
    g_autoptr(json_t) own = cli_get(cli, SERVICE_GODWIT, path, "volume", NULL);
    json_t *percent = json_object_get(own, "progress_percent");
    json_t *fault = json_object_get(own, "fault_message");

    if (json_integer_value(percent) > 0 && json_integer_value(percent) < 100)
        json_object_set(volume, "progress_percent", percent);
    if (json_is_string(fault))
        json_object_set(volume, "fault_message", fault);
}

static bool
volume_show(Cli *cli, GError **err)
{
    g_autoptr(json_t) volume = cli_find(cli, &noun_volume, args_word(cli->args, 0), err);

    if (!volume)
        return false;
    add_own_knowledge(cli, volume);
    if (!cli->json) {
        g_autoptr(json_t) rows = json_pack("[O]", volume);
        add_server_names(cli, rows, false);
    }
    cli_print_object(cli, volume);
    return true;
}

static bool
volume_type_list(Cli *cli, GError **err)
{
    static const Column type_columns[] = {
        {"id", "id"}, {"name", "name"}, {"public", "is_public"}, {"description", "description"},
        {0},
    };
    g_autoptr(json_t) types = cli_get(cli, SERVICE_VOLUME, "/types", "volume_types", err);

    if (types)
        cli_print_list(cli, types, type_columns);
    return types != NULL;
}

/* ---- delete, extend, flatten ------------------------------------------------------------------
 */

static bool
wait_deleted(Cli *cli, const char *id, const char *name, GError **err)
{
    g_autoptr(json_t) left = wait_settled(cli, id, name, true, err);

    return left && (json_is_null(left) || volume_failed(name, "could not be deleted", left, err));
}

static bool
volume_delete(Cli *cli, GError **err)
{
    g_autoptr(json_t) volumes = json_array();
    bool wait = args_flag(cli->args, "wait");
    json_t *volume;
    size_t i;

    /* All names are looked up before anything is deleted: one that is mistyped changes nothing. */
    for (unsigned k = 0; args_word(cli->args, k); k++) {
        volume = cli_find(cli, &noun_volume, args_word(cli->args, k), err);
        if (!volume)
            return false;
        json_array_append_new(volumes, volume);
    }
    json_array_foreach(volumes, i, volume)
    {
        g_autofree char *path =
            g_strconcat("/volumes/", json_text_at(volume, "id"),
                        args_flag(cli->args, "cascade") ? "?cascade=true" : "", NULL);

        if (!client_call(cli->client, SERVICE_VOLUME, "DELETE", path, NULL, NULL, err)) {
            g_prefix_error(err, "cannot delete volume %s: ", args_word(cli->args, (unsigned)i));
            return false;
        }
    }
    json_array_foreach(volumes, i, volume)
    {
        const char *name = args_word(cli->args, (unsigned)i);

        if (wait && !wait_deleted(cli, json_text_at(volume, "id"), name, err))
            return false;
        cli_say(cli, wait ? "volume %s deleted" : "volume %s is being deleted", name);
    }
    return true;
}

static bool
volume_extend(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    int64_t size = 0;

    if (!args_int(cli->args, "size", 1, SIZE_MAX_GB, &size, err))
        return false;

    g_autoptr(json_t) volume = cli_find(cli, &noun_volume, name, err);

    if (!volume)
        return false;

    const char *id = json_text_at(volume, "id");
    g_autofree char *path = g_strconcat("/volumes/", id, "/action", NULL);
    g_autoptr(json_t) body = json_pack("{s:{s:I}}", "os-extend", "new_size", (json_int_t)size);

    if (!client_call(cli->client, SERVICE_VOLUME, "POST", path, body, NULL, err)) {
        g_prefix_error(err, "cannot extend volume %s: ", name);
        return false;
    }
    if (!args_flag(cli->args, "wait")) {
        cli_say(cli, "volume %s is being extended to %" PRId64 " GiB", name, size);
        return true;
    }

    g_autoptr(json_t) settled = wait_settled(cli, id, name, false, err);

    if (!settled)
        return false;
    if (json_int_at(settled, "size_gb") < size || *json_text_at(settled, "fault_message"))
        return volume_failed(name, "could not be extended", settled, err);
    if (cli->json)
        cli_print_object(cli, settled);
    cli_say(cli, "volume %s has %" PRId64 " GiB now", name, json_int_at(settled, "size_gb"));
    return true;
}

static bool
volume_flatten(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autofree char *path = cli_find_path(cli, &noun_volume, name, err);
    g_autofree char *what = g_strconcat("volume ", name, NULL);

    return path && cli_flatten(cli, path, what, err);
}

/* ---- attach, detach ---------------------------------------------------------------------------
 */

/* That it ends in the right state is not enough: if the node went away in the middle, the volume is
 * in use although the guest may not have it, and the reason says so. */
static bool
wait_attachment(Cli *cli, const char *volume_id, bool attach, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autoptr(json_t) volume = wait_settled(cli, volume_id, name, false, err);

    if (!volume)
        return false;
    return (has_status(volume, attach ? "in-use" : "available") &&
            !*json_text_at(volume, "fault_message")) ||
           volume_failed(name, attach ? "could not be attached" : "could not be detached", volume,
                         err);
}

static bool
volume_attach(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0), *server_name = args_word(cli->args, 1);
    g_autoptr(json_t) volume = cli_find(cli, &noun_volume, name, err);
    g_autoptr(json_t) server = volume ? cli_find(cli, &noun_server, server_name, err) : NULL;
    g_autoptr(json_t) attachment = NULL;

    if (!server)
        return false;

    const char *volume_id = json_text_at(volume, "id"), *server_id = json_text_at(server, "id");
    g_autofree char *path = g_strconcat("/servers/", server_id, "/os-volume_attachments", NULL);
    g_autoptr(json_t) body = json_pack(
        "{s:{s:s,s:s*,s:s*,s:o*}}", "volumeAttachment", "volumeId", volume_id, "device",
        args_text(cli->args, "device"), "tag", args_text(cli->args, "tag"), "delete_on_termination",
        args_flag(cli->args, "delete-on-termination") ? json_true() : NULL);

    if (!cli_post(cli, SERVICE_COMPUTE, path, body, "volumeAttachment", &attachment, err)) {
        g_prefix_error(err, "volume %s is not attached to server %s: ", name, server_name);
        return false;
    }

    bool wait = args_flag(cli->args, "wait");

    if (wait && !wait_attachment(cli, volume_id, true, err))
        return false;
    if (cli->json)
        cli_print_object(cli, attachment);
    cli_say(cli, wait ? "server %s has volume %s as %s" : "server %s gets volume %s as %s",
            server_name, name, json_text_at(attachment, "device"));
    return true;
}

static bool
volume_detach(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autoptr(json_t) volume = cli_find(cli, &noun_volume, name, err);

    if (!volume)
        return false;

    const char *volume_id = json_text_at(volume, "id");
    const json_t *first = json_array_get(json_object_get(volume, "attachments"), 0);
    const char *server_id = json_text_at(first, "server_id");

    if (!*server_id)
        return err_set(err, ERR_CONFLICT, "volume %s is attached to no server; its status is %s",
                       name, json_text_at(volume, "status"));

    g_autofree char *path =
        g_strconcat("/servers/", server_id, "/os-volume_attachments/", volume_id, NULL);

    if (!client_call(cli->client, SERVICE_COMPUTE, "DELETE", path, NULL, NULL, err)) {
        g_prefix_error(err, "volume %s is not detached: ", name);
        return false;
    }
    if (!args_flag(cli->args, "wait")) {
        cli_say(cli, "volume %s is being detached", name);
        return true;
    }
    if (!wait_attachment(cli, volume_id, false, err))
        return false;
    cli_say(cli, "volume %s is free", name);
    return true;
}

static const CliOption create_options[] = {
    {"size", CLI_TEXT, "GIB", "how large; may be left out with --snapshot and --source"},
    {"image", CLI_TEXT, "IMAGE", "a copy of this image, to boot from"},
    {"snapshot", CLI_TEXT, "SNAPSHOT", "a copy of this snapshot"},
    {"source", CLI_TEXT, "VOLUME", "a copy of this volume as it is now"},
    {"type", CLI_TEXT, "TYPE", "volume type (the default one)"},
    {"description", CLI_TEXT, "TEXT", "for people"},
    {"property", CLI_LIST, "KEY=VALUE", "metadata; may be repeated"},
    {"wait", CLI_FLAG, NULL, "return when it can be used"},
    {0},
};
static const CliOption list_options[] = {
    {"all-projects", CLI_FLAG, NULL, "of all projects, not only one's own"}, {0}};
static const CliOption delete_options[] = {
    {"cascade", CLI_FLAG, NULL, "with its snapshots"},
    {"wait", CLI_FLAG, NULL, "return when it is gone"},
    {0},
};
static const CliOption extend_options[] = {
    {"size", CLI_TEXT, "GIB", "the new size", true},
    {"wait", CLI_FLAG, NULL, "return when it has that size"},
    {0},
};
static const CliOption attach_options[] = {
    {"device", CLI_TEXT, "NAME", "vdb, vdc, ... (the next free one)"},
    {"tag", CLI_TEXT, "TEXT", "told to the guest in its metadata"},
    {"delete-on-termination", CLI_FLAG, NULL, "delete it with the server"},
    {"wait", CLI_FLAG, NULL, "return when the server has it"},
    {0},
};
static const CliOption detach_options[] = {
    {"wait", CLI_FLAG, NULL, "return when the guest has let go of it"}, {0}};
static const CliOption flatten_options[] = {
    {"wait", CLI_FLAG, NULL, "return when it holds all its data itself"}, {0}};

const CliCommand volume_commands[] = {
    {"volume create", "NAME", 1, 1, create_options, volume_create, "make a volume"},
    {"volume list", "", 0, 0, list_options, volume_list, "list the volumes"},
    {"volume show", "VOLUME", 1, 1, NULL, volume_show, "show a volume"},
    {"volume delete", "VOLUME...", 1, 100, delete_options, volume_delete, "delete volumes"},
    {"volume extend", "VOLUME", 1, 1, extend_options, volume_extend, "make a volume larger"},
    {"volume attach", "VOLUME SERVER", 2, 2, attach_options, volume_attach,
     "give a volume to a server, running or not"},
    {"volume detach", "VOLUME", 1, 1, detach_options, volume_detach,
     "take a volume away from its server"},
    {"volume flatten", "VOLUME", 1, 1, flatten_options, volume_flatten,
     "let it hold all its data itself, apart from what it was made from"},
    {"volume type list", "", 0, 0, NULL, volume_type_list, "list the volume types"},
    {0},
};
