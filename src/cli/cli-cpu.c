/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-cpu.c: godwit cpu: what CPU the nodes can give to guests */
#include "cli/cli.h"

static bool
cpu_models(Cli *cli, GError **err)
{
    static const Column columns[] = {
        {"model", "name"}, {"everywhere", "everywhere"}, {"hosts", "hosts"}, {0}};
    g_autoptr(json_t) models = cli_get(cli, SERVICE_GODWIT, "/cpu/models", "models", err);

    if (models)
        cli_print_list(cli, models, columns);
    return models != NULL;
}

static bool
cpu_baseline(Cli *cli, GError **err)
{
    g_autoptr(json_t) baseline = cli_get(cli, SERVICE_GODWIT, "/cpu/baseline", "baseline", err);

    if (!baseline)
        return false;
    if (cli->json) {
        cli_print_object(cli, baseline);
    } else {
        cli_say(cli, "model %s", json_text_at(baseline, "model"));
        cli_say(cli, "limit %s",
                *json_text_at(baseline, "limit") ? json_text_at(baseline, "limit") : "none");
        cli_say(cli, "%s", json_text_at(baseline, "xml"));
    }
    return true;
}

/* A CPU that does not fit is a result, not a failed command; scripts see it by the exit code all
 * the same. */
static bool
cpu_compare(Cli *cli, GError **err)
{
    const char *host = args_text(cli->args, "host");
    const char *model = args_text(cli->args, "model");
    const char *server = args_text(cli->args, "server");
    g_autoptr(json_t) found = NULL, result = NULL;

    if (!model == !server)
        return usage_error(err, "compare what with the host: --model M or --server S?");
    if (server && !(found = cli_find(cli, &noun_server, server, err)))
        return false;

    g_autoptr(json_t) body = json_pack("{s:{s:s,s:s*,s:s*}}", "compare", "host", host, "model",
                                       model, "server", found ? json_text_at(found, "id") : NULL);

    if (!cli_post(cli, SERVICE_GODWIT, "/cpu/compare", body, "compare", &result, err))
        return false;
    if (cli->json)
        cli_print_object(cli, result);
    if (json_is_true(json_at(result, "compatible"))) {
        cli_say(cli, "%s fits on host %s", model ? model : server, host);
        return true;
    }
    return err_set(err, ERR_UNSUPPORTED, "%s does not fit on host %s: %s", model ? model : server,
                   host, json_text_at(result, "reason"));
}

static const CliOption compare_options[] = {
    {"host", CLI_TEXT, "HOST", "node to compare with", true},
    {"model", CLI_TEXT, "MODEL", "a CPU model by name"},
    {"server", CLI_TEXT, "SERVER", "the CPU that this running guest sees"},
    {0},
};

const CliCommand cpu_commands[] = {
    {"cpu models", "", 0, 0, NULL, cpu_models,
     "list the CPU models and the nodes that can give them"},
    {"cpu baseline", "", 0, 0, NULL, cpu_baseline,
     "show the CPU that all nodes can give, and what limits it"},
    {"cpu compare", "", 0, 0, compare_options, cpu_compare, "tell whether a CPU fits on a node"},
    {0},
};
