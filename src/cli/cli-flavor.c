/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-flavor.c: godwit flavor */
#include "cli/cli.h"

static const Column columns[] = {
    {"id", "id"},
    {"name", "name"},
    {"vcpus", "vcpus"},
    {"ram MiB", "ram"},
    {"disk GiB", "disk"},
    {"public", "os-flavor-access:is_public"},
    {0},
};

static bool
flavor_create(Cli *cli, GError **err)
{
    int64_t vcpus = 1, ram = 0, disk = 0;

    if (!args_int(cli->args, "vcpus", 1, 4096, &vcpus, err) ||
        !args_int(cli->args, "ram", 1, INT32_MAX, &ram, err) ||
        !args_int(cli->args, "disk", 0, INT32_MAX, &disk, err))
        return false;

    g_autoptr(json_t) body =
        json_pack("{s:{s:s,s:I,s:I,s:I,s:s*}}", "flavor", "name", args_word(cli->args, 0), "vcpus",
                  (json_int_t)vcpus, "ram", (json_int_t)ram, "disk", (json_int_t)disk, "id",
                  args_text(cli->args, "id"));
    g_autoptr(json_t) flavor = NULL;

    if (!cli_post(cli, SERVICE_COMPUTE, "/flavors", body, "flavor", &flavor, err))
        return false;
    if (cli->json)
        cli_print_object(cli, flavor);
    cli_say(cli, "flavor %s created: %s", json_text_at(flavor, "name"), json_text_at(flavor, "id"));
    return true;
}

static bool
flavor_list(Cli *cli, GError **err)
{
    g_autoptr(json_t) flavors =
        cli_get(cli, SERVICE_COMPUTE, "/flavors/detail?is_public=None", "flavors", err);

    if (flavors)
        cli_print_list(cli, flavors, columns);
    return flavors != NULL;
}

static bool
flavor_show(Cli *cli, GError **err)
{
    g_autoptr(json_t) flavor = cli_find(cli, &noun_flavor, args_word(cli->args, 0), err);

    if (flavor)
        cli_print_object(cli, flavor);
    return flavor != NULL;
}

static bool
flavor_delete(Cli *cli, GError **err)
{
    return cli_delete_all(cli, &noun_flavor, err);
}

static const CliOption create_options[] = {
    {"vcpus", CLI_TEXT, "N", "virtual CPUs", true},
    {"ram", CLI_TEXT, "MIB", "memory in MiB", true},
    {"disk", CLI_TEXT, "GIB", "size of the root disk in GiB", true},
    {"id", CLI_TEXT, "ID", "id, instead of a made-up one"},
    {0},
};

const CliCommand flavor_commands[] = {
    {"flavor create", "NAME", 1, 1, create_options, flavor_create, "make a flavor"},
    {"flavor list", "", 0, 0, NULL, flavor_list, "list the flavors"},
    {"flavor show", "FLAVOR", 1, 1, NULL, flavor_show, "show a flavor"},
    {"flavor delete", "FLAVOR...", 1, 100, NULL, flavor_delete, "delete flavors"},
    {0},
};
