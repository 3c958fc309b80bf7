/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-status.c: godwit status */
#include "cli/cli.h"

static bool
status_show(Cli *cli, GError **err)
{
    g_autoptr(json_t) status = cli_get(cli, SERVICE_GODWIT, "/status", "status", err);

    if (status)
        cli_print_object(cli, status);
    return status != NULL;
}

const CliCommand status_commands[] = {
    {"status", "", 0, 0, NULL, status_show, "show the controller's state"},
    {0},
};
