/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-task.c: godwit task: the operations that godwitd carries out, and following one to its end */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

static bool
is_over(const json_t *task)
{
    return json_int_at(task, "ended_at") != 0;
}

bool
cli_follow_task(Cli *cli, int64_t id, const char *what, json_t **task, GError **err)
{
    g_autofree char *path = g_strdup_printf("/tasks/%" PRId64, id);
    g_autofree char *again = g_strdup_printf("godwit task show --follow %" PRId64, id);
    const Follow follow = {
        .path = path,
        .key = "task",
        .what = what,
        .again = again,
        .meanwhile = "it goes on when godwitd is back",
        .phase_key = "status",
        .line = progress_task_line,
        .is_over = is_over,
    };

    *task = cli_follow(cli, &follow, err);
    if (!*task)
        return false;
    if (g_str_equal(json_text_at(*task, "status"), "succeeded"))
        return true;

    const char *message = json_text_at(*task, "error_message");

    return err_set(err, ERR_BACKEND, "%s failed: %s", what,
                   *message ? message : "no reason is recorded");
}

bool
cli_flatten(Cli *cli, const char *path, const char *what, GError **err)
{
    g_autofree char *flatten = g_strconcat(path, "/flatten", NULL);
    g_autoptr(json_t) task = NULL;

    if (!cli_post(cli, SERVICE_GODWIT, flatten, NULL, "task", &task, err)) {
        g_prefix_error(err, "cannot flatten %s: ", what);
        return false;
    }

    int64_t id = json_int_at(task, "id");

    if (args_flag(cli->args, "wait")) {
        g_autofree char *copy = g_strdup_printf("the copy of %s", what);

        g_clear_pointer(&task, json_decref);
        if (!cli_follow_task(cli, id, copy, &task, err))
            return false;
        cli_say(cli, "%s holds all its data itself now", what);
    } else {
        cli_say(cli, "%s is being flattened; follow it with godwit task show --follow %" PRId64,
                what, id);
    }
    if (cli->json)
        cli_print_object(cli, task);
    return true;
}

static bool
task_list(Cli *cli, GError **err)
{
    static const Column columns[] = {
        {"id", "id"},
        {"kind", "kind"},
        {"server", "server_id"},
        {"volume", "volume_id"},
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

static bool
task_show(Cli *cli, GError **err)
{
    const char *text = args_word(cli->args, 0);
    g_autofree char *path = g_strconcat("/tasks/", text, NULL);
    g_autofree char *what = g_strconcat("task ", text, NULL);
    g_autoptr(json_t) task = NULL;
    int64_t id;
    bool ok;

    if (!parse_int64(text, 1, INT64_MAX, &id))
        return usage_error(err, "\"%s\" is not the number of a task: see godwit task list", text);
    if (args_flag(cli->args, "follow")) {
        ok = cli_follow_task(cli, id, what, &task, err);
    } else {
        task = cli_get(cli, SERVICE_GODWIT, path, "task", err);
        ok = task != NULL;
    }
    if (task)
        cli_print_object(cli, task);
    return ok;
}

static const CliOption list_options[] = {
    {"all", CLI_FLAG, NULL, "ended ones too, not only those under way"}, {0}};
static const CliOption show_options[] = {{"follow", CLI_FLAG, NULL, "stay until it has ended"},
                                         {0}};

const CliCommand task_commands[] = {
    {"task list", "", 0, 0, list_options, task_list, "list the operations under way"},
    {"task show", "ID", 1, 1, show_options, task_show, "show an operation"},
    {0},
};
