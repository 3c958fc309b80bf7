/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-status.c: godwit status, godwit task list */
#include "cli/cli.h"

static bool
status_show(Cli *cli, GError **err)
{
    g_autoptr(json_t) status = cli_get(cli, SERVICE_GODWIT, "/status", "status", err);

    if (status)
        cli_print_object(cli, status);
    return status != NULL;
}

static bool
task_list(Cli *cli, GError **err)
{
    static const Column columns[] = {
        {"id", "id"},
        {"kind", "kind"},
        {"server", "server_id"},
        {"status", "status"},
        {"phase", "phase"},
        {"mark", "mark"},
        {"begun", "created_at", CELL_TIME},
        {"error", "error_message"},
        {0},
    };
    bool all = args_flag(cli->args, "all");
    g_autoptr(json_t) tasks =
        cli_get(cli, SERVICE_GODWIT, all ? "/tasks" : "/tasks?open=1", "tasks", err);

    if (tasks)
        cli_print_list(cli, tasks, columns);
    return tasks != NULL;
}

static const CliOption task_options[] = {
    {"all", CLI_FLAG, NULL, "ended ones too, not only those under way"}, {0}};

const CliCommand status_commands[] = {
    {"status", "", 0, 0, NULL, status_show, "show the controller's state"},
    {"task list", "", 0, 0, task_options, task_list, "list the operations under way"},
    {0},
};
