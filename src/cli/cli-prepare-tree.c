/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-prepare-tree.c: godwit prepare files: a compute node's configuration files below a directory
 */
#include "cli/cli.h"
#include "prepare/prepare.h"

#include <arpa/inet.h>

typedef struct Files {
    Cli *cli;
    json_t *steps;
    bool show; /* differences */
    bool changed;
} Files;

static void
on_step(void *opaque, unsigned node, const char *step, StepState state, const char *detail)
{
    Files *files = opaque;
    const char *word = state == STEP_CHANGED ? "changed" : state == STEP_SAME ? "same" : "notice";
    g_autofree char *valid = g_utf8_make_valid(detail, -1), *clean = cli_text_clean(detail);

    files->changed |= state == STEP_CHANGED;
    if (files->cli->json)
        json_array_append_new(
            files->steps, json_pack("{s:s,s:s,s:s}", "step", step, "state", word, "detail", valid));
    else if (state == STEP_CHANGED && files->show)
        cli_say(files->cli, "%s", clean);
    else if (state == STEP_RUNNING)
        cli_say(files->cli, "%s: %s", step, clean);
}

/* Numeric addresses; *list is the option's values, NULL-ended, free with g_free. */
static bool
addresses_read(const CliArgs *args, const char *option, const char ***list, GError **err)
{
    const GPtrArray *given = args_list(args, option);
    struct in6_addr binary;

    *list = g_new0(const char *, (given ? given->len : 0) + 1);
    for (unsigned i = 0; given && i < given->len; i++) {
        const char *address = g_ptr_array_index(given, i);

        if (inet_pton(AF_INET, address, &binary) != 1 && inet_pton(AF_INET6, address, &binary) != 1)
            return usage_error(err, "--%s takes a numeric address, not \"%.100s\"", option,
                               address);
        (*list)[i] = address;
    }
    return true;
}

static bool
prepare_files(Cli *cli, GError **err)
{
    const CliArgs *args = cli->args;
    const char *transport = args_text(args, "transport");
    g_autofree const char **controllers = NULL, **peers = NULL, **listen = NULL;
    g_autoptr(json_t) steps = json_array();
    Files files = {.cli = cli, .steps = steps};
    PrepareEvents events = {.on_step = on_step, .opaque = &files};
    PrepareOptions options = {.cancel_fd = -1};
    int64_t moves = 4;

    if (transport && !transport_parse(transport, &options.transport))
        return usage_error(err, "--transport takes tls, tcp or ssh, not \"%s\"", transport);
    if (!args_int(args, "moves", 1, 64, &moves, err) || !cli_account_check(args, "user", err) ||
        !cli_account_check(args, "group", err) ||
        !addresses_read(args, "controller", &controllers, err) ||
        !addresses_read(args, "peer", &peers, err) ||
        !addresses_read(args, "listen-address", &listen, err))
        return false;
    options.moves = (unsigned)moves;
    options.controllers = controllers;
    options.peers = peers;
    options.listen_address = args_text(args, "listen-address");
    options.listen = args_flag(args, "listen");
    options.user = args_text(args, "user");
    options.group = args_text(args, "group");
    options.static_ownership = args_flag(args, "static-ownership");
    options.firewall = !args_flag(args, "no-firewall");
    options.plaintext_accepted = args_flag(args, "i-know-it-is-plaintext");
    options.dry_run = args_flag(args, "dry-run");
    files.show = options.dry_run || args_flag(args, "diff");
    if (!prepare_tree(args_text(args, "root"), &options, args_flag(args, "units"), &events, err))
        return false;
    if (cli->json)
        cli_print_object(cli, steps);
    else if (!files.changed)
        cli_say(cli, "nothing had to be changed");
    else if (options.dry_run)
        cli_say(cli, "dry run: nothing was changed");
    return true;
}

static const CliOption files_options[] = {
    {"root", CLI_TEXT, "DIR", "the directory that is the node's root", .required = true},
    {"transport", CLI_TEXT, "tls|tcp|ssh", "how nodes talk to each other (tls)"},
    {"moves", CLI_TEXT, "N", "moves at one time that a node shall carry (4)"},
    {"listen", CLI_FLAG, NULL, "libvirtd --listen instead of systemd's sockets"},
    {"listen-address", CLI_TEXT, "IP", "listen there only (everywhere)"},
    {"user", CLI_TEXT, "NAME", "user that QEMU runs as (the distribution's)"},
    {"group", CLI_TEXT, "NAME", "group that QEMU runs as (the distribution's)"},
    {"static-ownership", CLI_FLAG, NULL, "dynamic_ownership = 0: libvirt changes no file's owner"},
    {"units", CLI_FLAG, NULL, "systemd's drop-in for the listener, and the firewall's rules, too"},
    {"controller", CLI_LIST, "IP", "address of a controller, let through the firewall"},
    {"peer", CLI_LIST, "IP", "address of another compute node, let through the firewall"},
    {"no-firewall", CLI_FLAG, NULL, "no rules for the firewall"},
    {"i-know-it-is-plaintext", CLI_FLAG, NULL, "transport tcp without a firewall"},
    {"dry-run", CLI_FLAG, NULL, "show what would be changed, change nothing"},
    {"diff", CLI_FLAG, NULL, "show the difference of every file that is changed"},
    {0},
};

const CliCommand prepare_tree_commands[] = {
    {"prepare files", "", 0, 0, files_options, prepare_files,
     "write a compute node's configuration files below a directory", true},
    {0},
};
