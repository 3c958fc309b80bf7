/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-server.c: godwit server: create, look, delete */
#include "cli/cli.h"

#include <string.h>

#define WAIT_US       (600 * USEC_PER_SEC)
#define USER_DATA_MAX 49152 /* 64 KiB in base64 */
#define VOLUME_MAX_GB 1000000

static const Column columns[] = {
    {"id", "id"},
    {"name", "name"},
    {"status", "status"},
    {"task", "OS-EXT-STS:task_state"},
    {"host", "OS-EXT-SRV-ATTR:host"},
    {"addresses", "addresses", CELL_ADDRESSES},
    {"flavor", "flavor/original_name"},
    {0},
};

/* ---- create -----------------------------------------------------------------------------------
 */

static json_t *
networks_wanted(Cli *cli, GError **err)
{
    const GPtrArray *names = args_list(cli->args, "network");
    g_autoptr(json_t) list = json_array();

    if (!names)
        return json_string("auto");
    if (names->len == 1 && g_str_equal(names->pdata[0], "none"))
        return json_string("none");
    for (unsigned i = 0; i < names->len; i++) {
        g_autoptr(json_t) network = cli_find(cli, &noun_network, names->pdata[i], err);

        if (!network)
            return NULL;
        json_array_append_new(list, json_pack("{s:s}", "uuid", json_text_at(network, "id")));
    }
    return g_steal_pointer(&list);
}

static bool
add_user_data(Cli *cli, json_t *server, GError **err)
{
    const char *file = args_text(cli->args, "user-data");
    g_autofree char *data = NULL;
    size_t size;

    if (!file)
        return true;
    if (!file_read_bounded(file, USER_DATA_MAX, &data, &size, err))
        return false;

    g_autofree char *text = g_base64_encode((const unsigned char *)data, size);

    json_object_set_new(server, "user_data", json_string(text));
    return true;
}

/* Until the server is ACTIVE; *server is what it is like then. */
static bool
wait_active(Cli *cli, const char *id, json_t **server, GError **err)
{
    g_autofree char *path = g_strconcat("/servers/", id, NULL);
    int64_t deadline = clock_monotonic() + WAIT_US;

    while (clock_monotonic() < deadline) {
        json_decref(*server);
        *server = cli_get(cli, SERVICE_COMPUTE, path, "server", err);
        if (!*server)
            return false;

        const char *status = json_text_at(*server, "status");
        const char *fault = json_text_at(*server, "fault/message");

        if (g_str_equal(status, "ACTIVE"))
            return true;
        if (g_str_equal(status, "ERROR"))
            return err_set(err, ERR_BACKEND, "server %s could not be started: %s",
                           json_text_at(*server, "name"),
                           *fault ? fault : "see godwit server events");
        g_usleep(200 * USEC_PER_MSEC);
    }
    return err_set(err, ERR_TIMEOUT,
                   "server %s is not active after %d s; it is still being worked on: see godwit "
                   "server show %s",
                   id, (int)(WAIT_US / USEC_PER_SEC), id);
}

/* What it boots from: the flavor's disk made from an image, a new volume made from one, or a volume
 * that is there; and the volumes that it gets besides. */
static bool
add_disks(Cli *cli, json_t *server, GError **err)
{
    const char *image_name = args_text(cli->args, "image");
    const char *volume_name = args_text(cli->args, "volume");
    const GPtrArray *more = args_list(cli->args, "attach");
    int64_t new_gb = 0;
    g_autoptr(json_t) boot = NULL, mapping = json_array();

    if (!image_name == !volume_name)
        return usage_error(err, "either --image or --volume says what it boots from");
    if (volume_name && args_text(cli->args, "boot-from-volume"))
        return usage_error(err, "--boot-from-volume makes a volume from an image: it goes with "
                                "--image, not with --volume");
    if (!args_int(cli->args, "boot-from-volume", 1, VOLUME_MAX_GB, &new_gb, err))
        return false;
    if (args_flag(cli->args, "delete-volume") && image_name && !new_gb)
        return usage_error(err, "--delete-volume goes with --volume or --boot-from-volume");
    boot = cli_find(cli, image_name ? &noun_image : &noun_volume,
                    image_name ? image_name : volume_name, err);
    if (!boot)
        return false;
    /* Compute wants the image's own disk listed when there are others beside it. */
    if (image_name && !new_gb)
        json_object_set(server, "imageRef", json_object_get(boot, "id"));
    if (!image_name || new_gb || more)
        json_array_append_new(
            mapping, json_pack("{s:O,s:s,s:s,s:o*,s:i,s:b}", "uuid", json_at(boot, "id"),
                               "source_type", image_name ? "image" : "volume", "destination_type",
                               image_name && !new_gb ? "local" : "volume", "volume_size",
                               new_gb ? json_integer(new_gb) : NULL, "boot_index", 0,
                               "delete_on_termination",
                               (image_name && !new_gb) || args_flag(cli->args, "delete-volume")));
    for (unsigned i = 0; more && i < more->len; i++) {
        g_autoptr(json_t) volume = cli_find(cli, &noun_volume, more->pdata[i], err);

        if (!volume)
            return false;
        json_array_append_new(mapping, json_pack("{s:O,s:s,s:s,s:i}", "uuid", json_at(volume, "id"),
                                                 "source_type", "volume", "destination_type",
                                                 "volume", "boot_index", -1));
    }
    if (json_array_size(mapping) > 0)
        json_object_set(server, "block_device_mapping_v2", mapping);
    return true;
}

static bool
server_create(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autoptr(json_t) metadata = cli_properties(cli, err);
    g_autoptr(json_t) wanted =
        json_pack("{s:s,s:s*,s:s*}", "name", name, "host", args_text(cli->args, "host"), "key_name",
                  args_text(cli->args, "key-name"));
    g_autoptr(json_t) body = json_pack("{s:O}", "server", wanted);

    if (!metadata || !add_disks(cli, wanted, err))
        return false;

    g_autoptr(json_t) flavor = cli_find(cli, &noun_flavor, args_text(cli->args, "flavor"), err);
    g_autoptr(json_t) networks = flavor ? networks_wanted(cli, err) : NULL;
    g_autoptr(json_t) server = NULL;

    if (!networks || !add_user_data(cli, wanted, err))
        return false;
    json_object_set(wanted, "flavorRef", json_object_get(flavor, "id"));
    json_object_set(wanted, "networks", networks);
    if (json_object_size(metadata) > 0)
        json_object_set(wanted, "metadata", metadata);
    if (!cli_post(cli, SERVICE_COMPUTE, "/servers", body, "server", &server, err)) {
        g_prefix_error(err, "cannot create server %s: ", name);
        return false;
    }

    g_autofree char *id = g_strdup(json_text_at(server, "id"));

    if (args_flag(cli->args, "wait") && !wait_active(cli, id, &server, err))
        return false;
    if (cli->json)
        cli_print_object(cli, server);
    else if (args_flag(cli->args, "wait"))
        cli_say(cli, "server %s runs on %s: %s", name, json_text_at(server, "OS-EXT-SRV-ATTR:host"),
                id);
    else
        cli_say(cli, "server %s is being created: %s", name, id);
    return true;
}

/* ---- list, show, delete -----------------------------------------------------------------------
 */

static bool
server_list(Cli *cli, GError **err)
{
    g_autoptr(json_t) servers = cli_get_all(
        cli, &noun_server,
        args_flag(cli->args, "all-projects") ? "/servers/detail?all_tenants=1" : "/servers/detail",
        err);

    if (servers)
        cli_print_list(cli, servers, columns);
    return servers != NULL;
}

/* Compute's answer has no place for what is not known of a server, for its volumes with their
 * names, and for who has its disks open; Godwit's own has, for administrators. */
static void
add_own_knowledge(Cli *cli, json_t *server)
{
    static const char *const keys[] = {"uncertainty", "locked_by", "volumes", "disk_clients"};
    g_autofree char *path = g_strconcat("/servers/", json_text_at(server, "id"), NULL);
    g_autoptr(json_t) own = cli_get(cli, SERVICE_GODWIT, path, "server", NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        json_t *value = json_object_get(own, keys[i]);

        if (value && !json_is_null(value))
            json_object_set(server, keys[i], value);
    }
}

/* A table of its own below the fields, if there is anything in it. */
static void
print_rows(Cli *cli, json_t *server, const char *key, const Column *row_columns)
{
    g_autoptr(json_t) rows = json_incref(json_object_get(server, key));

    if (json_array_size(rows) == 0)
        return;
    fputc('\n', cli->out);
    cli_print_list(cli, rows, row_columns);
}

static bool
server_show(Cli *cli, GError **err)
{
    static const Column volume_columns[] = {
        {"volume", "name"},
        {"id", "volume_id"},
        {"device", "device"},
        {"GiB", "size_gb"},
        {"state", "state"},
        {"read only", "read_only"},
        {"goes with the server", "delete_on_termination"},
        {0},
    };
    static const Column client_columns[] = {
        {"disk", "source"},
        {"open on", "host"},
        {"by client", "address"},
        {"since", "created_at", CELL_TIME},
        {0},
    };
    g_autoptr(json_t) server = cli_find(cli, &noun_server, args_word(cli->args, 0), err);

    if (!server)
        return false;
    add_own_knowledge(cli, server);
    if (cli->json) {
        cli_print_object(cli, server);
        return true;
    }

    g_autoptr(json_t) fields = json_copy(server);

    json_object_del(fields, "volumes");
    json_object_del(fields, "disk_clients");
    cli_print_object(cli, fields);
    print_rows(cli, server, "volumes", volume_columns);
    print_rows(cli, server, "disk_clients", client_columns);
    return true;
}

static bool
wait_gone(Cli *cli, const char *path, const char *name, GError **err)
{
    int64_t deadline = clock_monotonic() + WAIT_US;

    while (clock_monotonic() < deadline) {
        g_autoptr(GError) error = NULL;
        g_autoptr(json_t) server = cli_get(cli, SERVICE_COMPUTE, path, "server", &error);

        if (!server && err_is(error, ERR_NOT_FOUND))
            return true;
        if (!server) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        /* A server in ERROR may be deleted as well: the attempt has failed when its task has ended.
         */
        if (g_str_equal(json_text_at(server, "status"), "ERROR") &&
            !*json_text_at(server, "OS-EXT-STS:task_state"))
            return err_set(err, ERR_BACKEND, "server %s could not be deleted: %s", name,
                           json_text_at(server, "fault/message"));
        g_usleep(200 * USEC_PER_MSEC);
    }
    return err_set(err, ERR_TIMEOUT,
                   "server %s is still there after %d s; see godwit server events %s", name,
                   (int)(WAIT_US / USEC_PER_SEC), name);
}

static bool
server_delete(Cli *cli, GError **err)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    bool wait = args_flag(cli->args, "wait");

    /* All names are looked up before anything is deleted: one that is mistyped changes nothing. */
    for (unsigned i = 0; args_word(cli->args, i); i++) {
        char *path = cli_find_path(cli, &noun_server, args_word(cli->args, i), err);
        if (!path)
            return false;
        g_ptr_array_add(paths, path);
    }
    for (unsigned i = 0; i < paths->len; i++) {
        if (!client_call(cli->client, SERVICE_COMPUTE, "DELETE", paths->pdata[i], NULL, NULL,
                         err)) {
            g_prefix_error(err, "cannot delete server %s: ", args_word(cli->args, i));
            return false;
        }
    }
    for (unsigned i = 0; i < paths->len; i++) {
        const char *name = args_word(cli->args, i);
        if (wait && !wait_gone(cli, paths->pdata[i], name, err))
            return false;
        cli_say(cli, wait ? "server %s deleted" : "server %s is being deleted", name);
    }
    return true;
}

/* ---- console, events ---------------------------------------------------------------------------
 */

static bool
server_console(Cli *cli, GError **err)
{
    int64_t lines = 0;

    if (!args_int(cli->args, "lines", 1, 100000, &lines, err))
        return false;

    g_autofree char *path = cli_find_path(cli, &noun_server, args_word(cli->args, 0), err);
    g_autofree char *action = path ? g_strconcat(path, "/action", NULL) : NULL;
    g_autoptr(json_t) body = json_pack("{s:{s:o*}}", "os-getConsoleOutput", "length",
                                       lines ? json_integer(lines) : NULL);
    g_autoptr(json_t) output = NULL;

    if (!path || !cli_post(cli, SERVICE_COMPUTE, action, body, "output", &output, err))
        return false;
    if (cli->json)
        cli_print_object(cli, output);
    else
        fputs(json_string_value(output) ? json_string_value(output) : "", cli->out);
    return true;
}

static bool
server_flatten(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autofree char *path = cli_find_path(cli, &noun_server, name, err);
    g_autofree char *what = g_strconcat("the disk of server ", name, NULL);

    return path && cli_flatten(cli, path, what, err);
}

/* One row per event, newest action first, with the reason of what failed. */
static bool
server_events(Cli *cli, GError **err)
{
    static const Column event_columns[] = {
        {"begun", "start_time"},  {"action", "action"},
        {"event", "event"},       {"result", "result"},
        {"ended", "finish_time"}, {"request", "request_id"},
        {"details", "details"},   {0},
    };
    g_autofree char *path = cli_find_path(cli, &noun_server, args_word(cli->args, 0), err);
    g_autofree char *list = path ? g_strconcat(path, "/os-instance-actions", NULL) : NULL;
    g_autoptr(json_t) actions =
        list ? cli_get(cli, SERVICE_COMPUTE, list, "instanceActions", err) : NULL;
    g_autoptr(json_t) rows = json_array(), whole = json_array();
    json_t *action, *event;
    size_t i, k;

    if (!actions)
        return false;
    json_array_foreach(actions, i, action)
    {
        g_autofree char *id = client_escape(json_text_at(action, "request_id"));
        g_autofree char *one = g_strconcat(list, "/", id, NULL);
        json_t *detail = cli_get(cli, SERVICE_COMPUTE, one, "instanceAction", err);

        if (!detail)
            return false;
        json_array_append_new(whole, detail);
        json_array_append_new(
            rows, json_pack("{s:O,s:O?,s:O?,s:O?}", "action", json_at(action, "action"),
                            "start_time", json_at(action, "start_time"), "request_id",
                            json_at(action, "request_id"), "details", json_at(action, "message")));
        json_array_foreach(json_object_get(detail, "events"), k, event)
            json_array_append(rows, event);
    }
    cli_print_list(cli, cli->json ? whole : rows, event_columns);
    return true;
}

static const CliOption create_options[] = {
    {"image", CLI_TEXT, "IMAGE", "what it boots from"},
    {"volume", CLI_TEXT, "VOLUME", "boot from this volume instead"},
    {"boot-from-volume", CLI_TEXT, "GIB", "boot from a new volume of this size, made from --image"},
    {"delete-volume", CLI_FLAG, NULL, "delete that volume with the server"},
    {"attach", CLI_LIST, "VOLUME", "a further volume; may be repeated"},
    {"flavor", CLI_TEXT, "FLAVOR", "its size", true},
    {"network", CLI_LIST, "NETWORK",
     "network, or \"none\"; may be repeated (the only one there is)"},
    {"host", CLI_TEXT, "HOST", "node to run on (chosen if not given)"},
    {"key-name", CLI_TEXT, "KEYPAIR", "ssh key for its first user"},
    {"user-data", CLI_TEXT, "FILE", "handed to the guest by config drive"},
    {"property", CLI_LIST, "KEY=VALUE", "metadata; may be repeated"},
    {"wait", CLI_FLAG, NULL, "return when it runs"},
    {0},
};
static const CliOption list_options[] = {
    {"all-projects", CLI_FLAG, NULL, "of all projects, not only one's own"}, {0}};
static const CliOption delete_options[] = {{"wait", CLI_FLAG, NULL, "return when it is gone"}, {0}};
static const CliOption flatten_options[] = {
    {"wait", CLI_FLAG, NULL, "return when the disk holds all its data itself"}, {0}};
static const CliOption console_options[] = {{"lines", CLI_TEXT, "N", "only so many, from the end"},
                                            {0}};

const CliCommand server_commands[] = {
    {"server create", "NAME", 1, 1, create_options, server_create, "make and start a server"},
    {"server list", "", 0, 0, list_options, server_list, "list the servers"},
    {"server show", "SERVER", 1, 1, NULL, server_show, "show a server"},
    {"server delete", "SERVER...", 1, 100, delete_options, server_delete,
     "delete servers and their disks"},
    {"server flatten", "SERVER", 1, 1, flatten_options, server_flatten,
     "let its disk hold all its data itself, apart from the image"},
    {"server console", "SERVER", 1, 1, console_options, server_console,
     "print what the guest wrote to its serial console"},
    {"server events", "SERVER", 1, 1, NULL, server_events,
     "list what was done to a server and how it ended"},
    {0},
};
