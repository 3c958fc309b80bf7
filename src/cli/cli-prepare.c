/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-prepare.c: godwit host prepare: machines become compute nodes, over ssh
 *
 * On a terminal a table of the nodes is drawn over itself while they are prepared, and what was
 * changed is printed afterwards; elsewhere a line is printed as soon as there is something to say.
 */
#include "cli/cli.h"
#include "cli/prepare-controller.h"
#include "cli/step-table.h"
#include "prepare/prepare.h"

#include <arpa/inet.h>
#include <string.h>

typedef struct Preparing {
    Cli *cli;
    NodeTarget **targets;
    unsigned n;
    bool show; /* differences too */
    unsigned changed;
    json_t *steps;  /* with --json */
    StepLive *live; /* on a terminal */
    GString *later; /* what is printed when the table is finished */
    PrepareController controller;
} Preparing;

static const char *const state_words[] = {
    [STEP_RUNNING] = "…",
    [STEP_SAME] = "as it should be",
    [STEP_CHANGED] = "changed",
    [STEP_FAILED] = "FAILED",
};

/* A line for people, or several where a difference is to be shown. Caller frees. */
static char *
step_text(const Preparing *preparing, const char *host, const char *step, StepState state,
          const char *detail)
{
    GString *out = g_string_new(NULL);
    bool diff = detail && g_str_has_prefix(detail, "--- ");
    g_autofree char *line = step_detail_line(detail);

    g_string_append_printf(out, "%-16s %-13s %s", host, step, state_words[state]);
    if (diff && preparing->show)
        g_string_append(out, ":\n");
    else if (detail)
        g_string_append(out, ": ");
    if (detail) {
        g_autofree char *clean = cli_text_clean(diff && !preparing->show ? line : detail);

        g_string_append(out, clean);
    }
    g_string_append_c(out, '\n');
    return g_string_free(out, FALSE);
}

static void
step_to_json(Preparing *preparing, const char *host, const char *step, StepState state,
             const char *detail)
{
    static const char *const names[] = {
        [STEP_RUNNING] = "notice",
        [STEP_SAME] = "same",
        [STEP_CHANGED] = "changed",
        [STEP_FAILED] = "failed",
    };
    g_autofree char *valid = detail ? g_utf8_make_valid(detail, -1) : NULL;

    if (state != STEP_RUNNING || detail)
        json_array_append_new(preparing->steps,
                              json_pack("{s:s,s:s,s:s,s:s?}", "host", host, "step", step, "state",
                                        names[state], "detail", valid));
}

static void
on_step(void *opaque, unsigned node, const char *step, StepState state, const char *detail)
{
    Preparing *preparing = opaque;
    const char *host = preparing->targets[node]->host;
    g_autofree char *text = step_text(preparing, host, step, state, detail);

    if (state == STEP_CHANGED)
        preparing->changed++;
    if (preparing->cli->json) {
        step_to_json(preparing, host, step, state, detail);
        return;
    }
    if (preparing->live) {
        step_live_event(preparing->live, node, step, state, detail);
        if (state == STEP_FAILED || (state == STEP_RUNNING && detail))
            step_live_above(preparing->live, text);
        else if (state == STEP_CHANGED)
            g_string_append(preparing->later, text);
        return;
    }
    if (state != STEP_RUNNING || detail)
        fputs(text, preparing->cli->out);
    fflush(preparing->cli->out);
}

static bool
sign(void *opaque, const char *role, const char *host, const char *request,
     const char *const *names, char **certificate, GError **err)
{
    const Preparing *preparing = opaque;

    return prepare_controller_sign(&preparing->controller, role, host, request, names, certificate,
                                   err);
}

static void
on_node(void *opaque, unsigned node, const char *hostname, const char *const *addresses)
{
    Preparing *preparing = opaque;
    FoundNode *found = &preparing->controller.found[node];

    g_free(found->hostname);
    g_strfreev(found->addresses);
    found->hostname = g_strdup(hostname);
    found->addresses = g_strdupv((char **)addresses);
}

/* Of the whole, not of a node. */
static void
on_notice(void *opaque, const char *text)
{
    Preparing *preparing = opaque;

    if (preparing->cli->json)
        json_array_append_new(preparing->steps,
                              json_pack("{s:n,s:s,s:s,s:s}", "host", "step", "controller", "state",
                                        "notice", "detail", text));
    cli_say(preparing->cli, "%s", text);
}

static bool
address_check(const char *option, const char *address, GError **err)
{
    struct in6_addr binary;

    return inet_pton(AF_INET, address, &binary) == 1 ||
           inet_pton(AF_INET6, address, &binary) == 1 ||
           usage_error(err, "--%s takes a numeric address, not \"%s\"", option, address);
}

static bool
options_read(const CliArgs *args, PrepareOptions *options, GError **err)
{
    const char *transport = args_text(args, "transport");
    int64_t moves = 4;

    if (transport && !transport_parse(transport, &options->transport))
        return usage_error(err, "--transport takes tls, tcp or ssh, not \"%s\"", transport);
    if (!args_int(args, "moves", 1, 64, &moves, err) || !cli_account_check(args, "user", err) ||
        !cli_account_check(args, "group", err) || !cli_account_check(args, "ssh-mesh", err))
        return false;
    if (args_flag(args, "mesh-shell") && !args_text(args, "ssh-mesh"))
        return usage_error(err, "--mesh-shell is for the user of --ssh-mesh USER");
    options->moves = (unsigned)moves;
    options->listen_address = args_text(args, "listen-address");
    options->listen = args_flag(args, "listen");
    options->ceph = args_flag(args, "ceph") || args_text(args, "ceph-conf");
    options->dry_run = args_flag(args, "dry-run");
    options->firewall = !args_flag(args, "no-firewall");
    options->plaintext_accepted = args_flag(args, "i-know-it-is-plaintext");
    options->static_ownership = args_flag(args, "static-ownership");
    options->user = args_text(args, "user");
    options->group = args_text(args, "group");
    options->mesh_user = args_text(args, "ssh-mesh");
    options->mesh_shell = args_flag(args, "mesh-shell");
    options->ssh_config = args_text(args, "ssh-config");
    return !options->listen_address ||
           address_check("listen-address", options->listen_address, err);
}

static bool
nodes_run(Preparing *preparing, PrepareOptions *options, GError **err)
{
    const NodeTarget *const *targets = (const NodeTarget *const *)preparing->targets;
    PrepareEvents events = {
        .on_step = on_step, .sign = sign, .on_node = on_node, .opaque = preparing};
    g_autofree const char **hosts = g_new0(const char *, preparing->n);
    bool undo = args_flag(preparing->cli->args, "undo"), good;

    for (unsigned i = 0; i < preparing->n; i++)
        hosts[i] = targets[i]->host;
    options->cancel_fd = cli_interrupt_fd();
    if (!preparing->cli->json)
        preparing->live = step_live_new(preparing->cli->out, "HOST", hosts, preparing->n);
    good = undo ? prepare_undo(targets, preparing->n, options, &events, err)
                : prepare_hosts(targets, preparing->n, options, &events, err);
    step_live_end(preparing->live);
    fputs(preparing->later->str, preparing->cli->out);
    fflush(preparing->cli->out);
    return good;
}

static bool
prepare_run(Preparing *preparing, PrepareOptions *options, GError **err)
{
    PrepareController *controller = &preparing->controller;

    *controller = (PrepareController){
        .cli = preparing->cli,
        .targets = (const NodeTarget *const *)preparing->targets,
        .n = preparing->n,
        .options = options,
    };
    if (!prepare_controller_ask(controller, on_notice, preparing, err))
        return false;
    options->ca = controller->ca ? json_text_at(controller->ca, "certificate") : "";
    options->controllers = (const char *const *)controller->controllers->pdata;
    options->peers = (const char *const *)controller->peers->pdata;
    options->ceph_conf = controller->ceph_conf;
    return nodes_run(preparing, options, err);
}

static const CliOption prepare_options[] = {
    {"transport", CLI_TEXT, "tls|tcp|ssh", "how nodes talk to each other (tls)"},
    {"controller", CLI_LIST, "IP",
     "address of a controller, let through the firewall (that of the API's URL)"},
    {"peer", CLI_LIST, "IP",
     "address of a node not named here, let through as registered ones are"},
    {"no-controller", CLI_FLAG, NULL, "ask no controller; with --transport tcp or --dry-run"},
    {"register", CLI_FLAG, NULL, "register the nodes with the controller afterwards"},
    {"moves", CLI_TEXT, "N", "moves at one time that a node shall carry (4)"},
    {"dry-run", CLI_FLAG, NULL, "show what would be changed, change nothing"},
    {"diff", CLI_FLAG, NULL, "show the difference of every file that is changed"},
    {"undo", CLI_FLAG, NULL, "put back what was there before"},
    {"ceph", CLI_FLAG, NULL,
     "disks are on Ceph: install what QEMU needs for it, write /etc/ceph/ceph.conf"},
    {"ceph-conf", CLI_TEXT, "FILE", "the same, with this file instead of what the controller says"},
    {"listen", CLI_FLAG, NULL, "libvirtd --listen instead of systemd's sockets"},
    {"listen-address", CLI_TEXT, "IP", "listen there only (everywhere)"},
    {"user", CLI_TEXT, "NAME", "user that QEMU runs as (the distribution's)"},
    {"group", CLI_TEXT, "NAME", "group that QEMU runs as (the distribution's)"},
    {"static-ownership", CLI_FLAG, NULL, "dynamic_ownership = 0: libvirt changes no file's owner"},
    {"ssh-mesh", CLI_TEXT, "USER", "this user runs commands on every other node by ssh"},
    {"mesh-shell", CLI_FLAG, NULL, "give that user a shell if he has none"},
    {"no-firewall", CLI_FLAG, NULL, "leave the node's firewall alone"},
    {"i-know-it-is-plaintext", CLI_FLAG, NULL, "transport tcp without a firewall"},
    {"ssh-config", CLI_TEXT, "FILE", "as ssh -F"},
    {0},
};

/* After all of it went well. */
static bool
prepare_finish(Preparing *preparing, const PrepareOptions *options, GError **err)
{
    Cli *cli = preparing->cli;

    if (options->dry_run) {
        cli_say(cli, "dry run: nothing was changed");
        return true;
    }
    if (preparing->changed == 0)
        cli_say(cli, "nothing had to be changed");
    if (args_flag(cli->args, "undo"))
        return true;
    if (options->transport == TRANSPORT_TCP)
        cli_say(cli, "PLAINTEXT: libvirt's channel and the guests' memory in moves are neither "
                     "encrypted nor authenticated");
    return prepare_controller_finish(&preparing->controller, prepare_options, on_notice, preparing,
                                     err);
}

static bool
host_prepare(Cli *cli, GError **err)
{
    PrepareOptions options = {.cancel_fd = -1};
    Preparing preparing = {.cli = cli, .steps = json_array(), .later = g_string_new(NULL)};
    bool ok = options_read(cli->args, &options, err) &&
              (preparing.targets = cli_targets_parse(cli->args->words, &preparing.n, err)) != NULL;

    preparing.show = options.dry_run || args_flag(cli->args, "diff");
    ok = ok && prepare_run(&preparing, &options, err) && prepare_finish(&preparing, &options, err);
    if (cli->json)
        cli_print_object(cli, preparing.steps);
    prepare_controller_clear(&preparing.controller);
    json_decref(preparing.steps);
    g_string_free(preparing.later, TRUE);
    cli_targets_free(preparing.targets);
    return ok;
}

const CliCommand prepare_commands[] = {
    {"host prepare", "[USER@]HOST...", 1, 200, prepare_options, host_prepare,
     "make machines into compute nodes, over ssh", true},
    {0},
};
