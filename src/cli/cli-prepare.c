/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-prepare.c: godwit host prepare: machines become compute nodes, over ssh
 *
 * Certificates are signed by the controller's CA, over the API; nothing else here needs it. */
#include "cli/cli.h"
#include "prepare/prepare.h"

#include <arpa/inet.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int cancel_fd = -1;

/* Only what a signal handler may do. */
static void
on_interrupt(int number)
{
    uint64_t one = 1;
    ssize_t ignored = write(cancel_fd, &one, sizeof one);
    (void)ignored;
}

typedef struct Preparing {
    Cli *cli;
    NodeTarget **targets;
    unsigned n;
    bool show; /* differences too */
    unsigned changed;
    json_t *steps; /* with --json */
} Preparing;

static const char *const state_words[] = {
    [STEP_RUNNING] = "…",
    [STEP_SAME] = "as it should be",
    [STEP_CHANGED] = "changed",
    [STEP_FAILED] = "FAILED",
};

static void
on_step(void *opaque, unsigned node, const char *step, StepState state, const char *detail)
{
    Preparing *preparing = opaque;
    Cli *cli = preparing->cli;
    const char *host = preparing->targets[node]->host;
    bool diff = detail && g_str_has_prefix(detail, "--- ");

    if (state == STEP_CHANGED)
        preparing->changed++;
    if (cli->json) {
        if (state != STEP_RUNNING || detail)
            json_array_append_new(preparing->steps, json_pack("{s:s,s:s,s:s,s:s?}", "host", host,
                                                              "step", step, "state",
                                                              state == STEP_SAME      ? "same"
                                                              : state == STEP_CHANGED ? "changed"
                                                              : state == STEP_FAILED  ? "failed"
                                                                                      : "notice",
                                                              "detail", detail));
        return;
    }
    if (state == STEP_RUNNING && !detail)
        return;
    if (diff && preparing->show)
        cli_say(cli, "%-16s %-13s %s:\n%s", host, step, state_words[state], detail);
    else if (diff)
        cli_say(cli, "%-16s %-13s %s: %.*s", host, step, state_words[state],
                (int)strcspn(strstr(detail, "\n+++ ") + 5, "\n"), strstr(detail, "\n+++ ") + 5);
    else
        cli_say(cli, "%-16s %-13s %s%s%s", host, step, state_words[state], detail ? ": " : "",
                detail ? detail : "");
    fflush(cli->out);
}

static bool
client_ensure(Cli *cli, GError **err)
{
    if (!cli->client) {
        CloudConfig *config = cloud_config_load(cli->args, err);

        if (config)
            cli->client = client_new(config);
    }
    return cli->client != NULL;
}

static bool
sign(void *opaque, const char *role, const char *host, const char *request,
     const char *const *names, char **certificate, GError **err)
{
    const Preparing *preparing = opaque;
    json_t *list = json_array();
    g_autoptr(json_t) answer = NULL;

    for (; *names; names++)
        json_array_append_new(list, json_string(*names));

    g_autoptr(json_t) body = json_pack("{s:{s:s,s:s,s:s,s:o}}", "certificate", "role", role, "host",
                                       host, "request", request, "names", list);

    if (!body)
        return err_set(err, ERR_INVALID, "the node's request is not a text");
    if (!cli_post(preparing->cli, SERVICE_GODWIT, "/certificates", body, "certificate", &answer,
                  err))
        return false;
    *certificate = g_strdup(json_text_at(answer, "certificate"));
    return true;
}

static bool
targets_parse(Preparing *preparing, const CliArgs *args, GError **err)
{
    preparing->n = args->words->len;
    preparing->targets = g_new0(NodeTarget *, preparing->n + 1);
    for (unsigned i = 0; i < preparing->n; i++) {
        preparing->targets[i] = node_target_parse(args_word(args, i), err);
        if (!preparing->targets[i])
            return false;
    }
    return true;
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
options_read(const CliArgs *args, PrepareOptions *options, GPtrArray *controllers, GError **err)
{
    const char *transport = args_text(args, "transport");
    const GPtrArray *given = args_list(args, "controller");
    int64_t moves = 4;

    if (transport && !transport_parse(transport, &options->transport))
        return usage_error(err, "--transport takes tls, tcp or ssh, not \"%s\"", transport);
    if (!args_int(args, "moves", 1, 64, &moves, err))
        return false;
    for (unsigned i = 0; given && i < given->len; i++) {
        if (!address_check("controller", g_ptr_array_index(given, i), err))
            return false;
        g_ptr_array_add(controllers, g_ptr_array_index(given, i));
    }
    g_ptr_array_add(controllers, NULL);
    options->moves = (unsigned)moves;
    options->controllers = (const char *const *)controllers->pdata;
    options->listen_address = args_text(args, "listen-address");
    options->listen = args_flag(args, "listen");
    options->ceph = args_flag(args, "ceph");
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

static void
interrupt_catch(PrepareOptions *options)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (cancel_fd >= 0)
        sigaction(SIGINT, &action, NULL);
    options->cancel_fd = cancel_fd;
}

static bool
prepare_run(Cli *cli, Preparing *preparing, PrepareOptions *options, GError **err)
{
    const NodeTarget *const *targets = (const NodeTarget *const *)preparing->targets;
    PrepareEvents events = {.on_step = on_step, .sign = sign, .opaque = preparing};
    g_autoptr(json_t) ca = NULL;

    interrupt_catch(options);
    if (args_flag(cli->args, "undo"))
        return prepare_undo(targets, preparing->n, options, &events, err);
    if (options->transport != TRANSPORT_TCP && !options->dry_run) {
        if (!client_ensure(cli, err) || !(ca = cli_get(cli, SERVICE_GODWIT, "/ca", "ca", err)))
            return false;
        options->ca = json_text_at(ca, "certificate");
    } else {
        options->ca = "";
    }
    return prepare_hosts(targets, preparing->n, options, &events, err);
}

static bool
host_prepare(Cli *cli, GError **err)
{
    g_autoptr(GPtrArray) controllers = g_ptr_array_new();
    PrepareOptions options = {.cancel_fd = -1};
    Preparing preparing = {.cli = cli, .steps = json_array()};
    bool ok = options_read(cli->args, &options, controllers, err) &&
              targets_parse(&preparing, cli->args, err);

    preparing.show = options.dry_run || args_flag(cli->args, "diff");
    ok = ok && prepare_run(cli, &preparing, &options, err);
    if (cli->json)
        cli_print_object(cli, preparing.steps);
    if (ok && options.dry_run)
        cli_say(cli, "dry run: nothing was changed");
    else if (ok && preparing.changed == 0)
        cli_say(cli, "nothing had to be changed");
    if (ok && options.transport == TRANSPORT_TCP)
        cli_say(cli, "PLAINTEXT: libvirt's channel and the guests' memory in moves are neither "
                     "encrypted nor authenticated");
    json_decref(preparing.steps);
    for (unsigned i = 0; preparing.targets && preparing.targets[i]; i++)
        node_target_free(preparing.targets[i]);
    g_free(preparing.targets);
    return ok;
}

static const CliOption prepare_options[] = {
    {"transport", CLI_TEXT, "tls|tcp|ssh", "how nodes talk to each other (tls)"},
    {"controller", CLI_LIST, "IP", "address of a controller, let through the firewall"},
    {"moves", CLI_TEXT, "N", "moves at one time that a node shall carry (4)"},
    {"dry-run", CLI_FLAG, NULL, "show what would be changed, change nothing"},
    {"diff", CLI_FLAG, NULL, "show the difference of every file that is changed"},
    {"undo", CLI_FLAG, NULL, "put back what was there before"},
    {"ceph", CLI_FLAG, NULL, "disks are on Ceph: install what QEMU needs for it"},
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

/* Exit codes for monitoring: 0 if all is well, 1 if a check failed or warns and --strict is given.
 */
static bool
doctor(Cli *cli, GError **err)
{
    static const Column columns[] = {{"host", "host"},     {"check", "check"},
                                     {"status", "status"}, {"evidence", "evidence"},
                                     {"remedy", "remedy"}, {0}};
    Preparing preparing = {.cli = cli};
    PrepareOptions options = {.cancel_fd = -1};
    g_autoptr(GPtrArray) checks = NULL;
    g_autoptr(json_t) rows = json_array();
    unsigned counts[3] = {0};
    bool ok = targets_parse(&preparing, cli->args, err);

    interrupt_catch(&options);
    if (ok)
        checks = doctor_run((const NodeTarget *const *)preparing.targets, preparing.n,
                            args_text(cli->args, "ssh-config"), options.cancel_fd,
                            args_flag(cli->args, "drift"), err);
    for (unsigned i = 0; checks && i < checks->len; i++) {
        const Check *check = g_ptr_array_index(checks, i);

        counts[check->status]++;
        json_array_append_new(rows,
                              json_pack("{s:s,s:s,s:s,s:s,s:s?}", "host", check->host, "check",
                                        check->name, "status", check_status_names[check->status],
                                        "evidence", check->evidence, "remedy", check->remedy));
    }
    if (checks)
        cli_print_list(cli, rows, columns);
    for (unsigned i = 0; preparing.targets && preparing.targets[i]; i++)
        node_target_free(preparing.targets[i]);
    g_free(preparing.targets);
    if (!checks)
        return false;
    if (counts[CHECK_FAIL] > 0 || (counts[CHECK_WARN] > 0 && args_flag(cli->args, "strict")))
        return err_set(err, ERR_CONFLICT, "%u checks failed, %u warn, %u passed",
                       counts[CHECK_FAIL], counts[CHECK_WARN], counts[CHECK_PASS]);
    cli_say(cli, "no check failed, %u warn, %u passed", counts[CHECK_WARN], counts[CHECK_PASS]);
    return true;
}

static const CliOption doctor_options[] = {
    {"drift", CLI_FLAG, NULL, "only compare the nodes with what prepare wrote"},
    {"strict", CLI_FLAG, NULL, "fail on warnings too"},
    {"ssh-config", CLI_TEXT, "FILE", "as ssh -F"},
    {0},
};

const CliCommand prepare_commands[] = {
    {"host prepare", "[USER@]HOST...", 1, 200, prepare_options, host_prepare,
     "make machines into compute nodes, over ssh", true},
    {"doctor", "[USER@]HOST...", 1, 200, doctor_options, doctor,
     "check everything that a move needs, over ssh", true},
    {0},
};
